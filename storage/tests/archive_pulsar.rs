//! The archiver on a real Pulsar, where `AQUIFER_TEST_PULSAR` names one: each message once, the pin behind the archive, a removed pin noticed.

use std::sync::Arc;

use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, build_entry};
use aquifer_formats::payload::{Format, encoder, topic_schema_of};
use aquifer_model::{Cut, Partition, SqlType, TopicName};
use aquifer_storage::Log;
use aquifer_storage::archive::ArchiveLocation;
use aquifer_storage::archive::archiver::{ArchiveSettings, Archiver, PIN};
use aquifer_storage::archive::chain::Chain;
use aquifer_storage::archive::status::status;
use aquifer_storage::archive::verify::verify;
use aquifer_storage::pulsar::{PulsarConfig, PulsarLog};
use aquifer_storage::reader::{OnDecodeError, TieredTopic};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::BigInt.nullable().to_field("n")]))
}

async fn append(topic: &TieredTopic, partition: &Partition, from: i64, to: i64) {
    let schema = topic_schema_of(Format::Avro, "t", &columns()).expect("one column");
    let mut appender = topic.log.open_appender(partition, "writer").await.expect("opens");
    let spec = EntrySpec { producer_name: "writer".into(), publish_time_ms: 1, batched: true, ..Default::default() };
    for n in from..to {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![2 * n, 2 * n + 1]));
        let rows = RecordBatch::try_new(columns(), vec![values]).expect("one column");
        let payloads = encoder(Format::Avro, columns(), Some(&schema)).expect("made").encode(&rows).expect("encodes");
        let message = |i: usize| NewMessage {
            sequence_id: 2 * n + i as i64,
            payload: Some(payloads.value(i)),
            ..Default::default()
        };
        let bytes = build_entry(&spec, &[message(0), message(1)]).expect("two messages");
        appender.append(bytes, 2 * n, 2 * n + 1, 2).await.expect("stored");
    }
}

async fn archived(topic: &TieredTopic, partition: &Partition) -> Vec<i64> {
    let identity = topic.log.identity(&topic.topic).await.expect("there");
    let chain = Chain::new(topic.archive.as_ref().expect("given"), &identity, partition);
    let mut values = Vec::new();
    for file in chain.load().await.expect("whole").map(|state| state.files).unwrap_or_default() {
        let bytes = chain.read_file(&file.path).await.expect("there");
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("Parquet") {
            let batch = batch.expect("Parquet");
            values.extend(batch.column_by_name("n").expect("a column").as_primitive::<Int64Type>().values());
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulsar_topic_is_archived_once_and_its_pin_follows() {
    let Some(given) = std::env::var("AQUIFER_TEST_PULSAR").ok().filter(|given| !given.is_empty()) else {
        assert!(
            std::env::var("AQUIFER_TEST_REQUIRE").is_err(),
            "AQUIFER_TEST_PULSAR is not set, and AQUIFER_TEST_REQUIRE is"
        );
        eprintln!("NOT RUN: AQUIFER_TEST_PULSAR is not set (run `make test`)");
        return;
    };
    let (service, admin) = given.split_once(',').expect("pulsar://HOST:PORT,http://HOST:PORT");
    let config = PulsarConfig {
        service_url: Some(service.to_string()),
        admin_url: Some(admin.to_string()),
        ..Default::default()
    };
    let log = Arc::new(PulsarLog::new(config).expect("two addresses"));
    let folder = tempfile::tempdir().expect("a folder");
    let name: TopicName = format!("archive_{}", uuid::Uuid::new_v4().simple()).parse().expect("a name");
    log.create_topic(&name, 2).await.expect("new");
    log.put_schema(&name, &topic_schema_of(Format::Avro, "t", &columns()).expect("one column"))
        .await
        .expect("registered");
    let topic = TieredTopic {
        log,
        archive: Some(ArchiveLocation::local(folder.path()).expect("a folder")),
        topic: name.clone(),
        format: Format::Avro,
        value_columns: columns(),
        on_error: OnDecodeError::Fail,
        limits: EntryLimits::default(),
    };
    let settings = ArchiveSettings { rows_per_commit: 16, ..Default::default() };
    for partition in topic.log.partitions(&name).await.expect("made") {
        // Nothing is there yet: the pin is made, and nothing is written.
        let archiver = Archiver::new(topic.clone(), settings.clone());
        assert_eq!(archiver.run_once(&partition).await.expect("archives").end, Cut::Start);
        for (from, to) in [(0, 20), (20, 21), (21, 50)] {
            append(&topic, &partition, from, to).await;
            let done = Archiver::new(topic.clone(), settings.clone()).run_once(&partition).await.expect("archives");
            assert_eq!(done.rows as i64, 2 * (to - from));
            let found = status(&topic, &partition).await.expect("asked");
            assert_eq!((found.lag_entries, found.archive_rows as i64), (0, 2 * to));
            assert_eq!(found.pin, Some(found.archive_end));
            assert_eq!(found.log_end, found.archive_end.position());
        }
        // The ledger that was read last is still there: nothing can be missing, and the chain says so.
        topic.log.remove_pin(&partition, PIN).await.expect("removed");
        append(&topic, &partition, 50, 60).await;
        assert_eq!(status(&topic, &partition).await.expect("asked").pin, None);
        archiver.run_once(&partition).await.expect("archives");
        assert_eq!(archived(&topic, &partition).await, (0..120).collect::<Vec<i64>>());
        assert_eq!(verify(&topic, &partition).await.expect("proven").rows, 120);
    }
    topic.log.delete_topic(&name).await.expect("deleted");
}
