//! What cannot be read on a real Pulsar, where `AQUIFER_TEST_PULSAR` names one: letters longer than an entry, schema versions that no registry gives.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aquifer_formats::chunked::build_chunks;
use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage};
use aquifer_formats::messages::MessageBatchBuilder;
use aquifer_formats::payload::{Format, topic_schema_of};
use aquifer_model::{Cut, Partition, SqlType, TopicName};
use aquifer_storage::pulsar::{PulsarConfig, PulsarLog};
use aquifer_storage::reader::{OnDecodeError, ReadRequest, TieredTopic, Tiers};
use aquifer_storage::{FinishedEntry, Log};
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// The longest entry of the broker.
const ENTRY_BYTES: usize = 5 << 20;

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::BigInt.nullable().to_field("n")]))
}

fn log() -> Option<Arc<PulsarLog>> {
    let Some(given) = std::env::var("AQUIFER_TEST_PULSAR").ok().filter(|given| !given.is_empty()) else {
        assert!(std::env::var("AQUIFER_TEST_REQUIRE").is_err(), "AQUIFER_TEST_PULSAR is not set");
        eprintln!("NOT RUN: AQUIFER_TEST_PULSAR is not set (run `make test`)");
        return None;
    };
    let (service, admin) = given.split_once(',').expect("pulsar://HOST:PORT,http://HOST:PORT");
    let (service_url, admin_url) = (Some(service.to_string()), Some(admin.to_string()));
    let config = PulsarConfig { service_url, admin_url, ..Default::default() };
    Some(Arc::new(PulsarLog::new(config).expect("two addresses")))
}

/// A topic of numbers, and its one partition.
async fn topic_of(
    log: &Arc<PulsarLog>,
    name: &str,
    format: Format,
    on_error: OnDecodeError,
) -> (TieredTopic, Partition) {
    let topic: TopicName = format!("{name}_{}", uuid::Uuid::new_v4().simple()).parse().expect("a name");
    log.create_topic(&topic, 0).await.expect("new");
    log.put_schema(&topic, &topic_schema_of(format, "t", &columns()).expect("one column")).await.expect("new");
    let partition = Partition::new(topic.clone(), None);
    let tiered = TieredTopic {
        log: Arc::clone(log) as Arc<dyn Log>,
        archive: None,
        topic,
        format,
        value_columns: columns(),
        on_error,
        limits: EntryLimits::default(),
    };
    (tiered, partition)
}

/// Appends messages, each in entries of its own, and gives the cut behind the last.
async fn append(topic: &TieredTopic, partition: &Partition, messages: &[(EntrySpec, &[u8])]) -> Cut {
    let mut appender = topic.log.open_appender(partition, "writer").await.expect("opens");
    let properties = [("trace".to_string(), "abc".to_string())];
    for (id, (spec, payload)) in (0..).zip(messages) {
        let (payload, key) = (Some(*payload), Some(&b"k"[..]));
        let message = NewMessage { sequence_id: id, payload, key, properties: &properties, ..Default::default() };
        let bytes = build_chunks(spec, &message, ENTRY_BYTES).expect("entries");
        let chunk = bytes.len() > 1;
        let entry = |bytes| FinishedEntry { bytes, lowest: id, highest: id, messages: 1, chunk };
        let mut entries: VecDeque<_> = bytes.into_iter().map(entry).collect();
        appender.append_all(&mut entries, &mut Vec::new()).await.expect("stored");
    }
    let last = topic.log.last_position(partition).await.expect("asked");
    Cut::After(last.expect("written"))
}

/// The numbers up to the cut, and how many messages were left out.
async fn read(topic: &TieredTopic, partition: &Partition, end: Cut) -> (Vec<i64>, u64) {
    let request = ReadRequest {
        columns: vec!["n".into()],
        filter: None,
        time_column: None,
        tiers: Tiers::Log,
        batch_rows: 100,
        decoders: 1,
    };
    let mut reader = topic.open(partition, Cut::Start, Some(end), request).await.expect("opens");
    let mut numbers = Vec::new();
    loop {
        let batch = tokio::time::timeout(Duration::from_secs(120), reader.next()).await.expect("it ends");
        let Some(batch) = batch.expect("it is read") else { break };
        numbers.extend(batch.rows.column(0).as_primitive::<Int64Type>().values());
    }
    (numbers, reader.statistics().skipped_messages)
}

fn spec() -> EntrySpec {
    EntrySpec { producer_name: "writer".into(), publish_time_ms: 1, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_longer_than_an_entry_becomes_a_letter_in_chunks() {
    let Some(log) = log() else { return };
    let letters: TopicName = format!("letters_{}", uuid::Uuid::new_v4().simple()).parse().expect("a name");
    let (topic, partition) = topic_of(&log, "long", Format::Json, OnDecodeError::DeadLetter(letters.clone())).await;
    let mut garbage = vec![0; 12 << 20];
    StdRng::seed_from_u64(1).fill_bytes(&mut garbage);
    let messages: [(EntrySpec, &[u8]); 3] = [(spec(), b"{\"n\":1}"), (spec(), &garbage), (spec(), b"{\"n\":3}")];
    let end = append(&topic, &partition, &messages).await;
    assert_eq!(read(&topic, &partition, end).await, (vec![1, 3], 1));
    let mut reader = log.open_reader(&Partition::new(letters.clone(), None), Cut::Start).await.expect("opens");
    let letter = loop {
        let next = tokio::time::timeout(Duration::from_secs(120), reader.next(1 << 20)).await.expect("it was sent");
        let mut builder = MessageBatchBuilder::new(EntryLimits::default());
        for entry in next.expect("read") {
            builder.append_entry(entry.position, &entry.bytes).expect("an entry");
        }
        if builder.num_rows() > 0 {
            break builder.finish();
        }
    };
    assert_eq!(letter.payloads().value(0).len(), garbage.len());
    assert!(letter.payloads().value(0) == garbage, "the bytes are others");
    let properties = arrow::util::pretty::pretty_format_columns(
        "p",
        &[Arc::clone(letter.rows().column_by_name("__properties").expect("a column"))],
    );
    let properties = properties.expect("text").to_string();
    assert!(properties.contains("trace: abc") && properties.contains("REAL_TOPIC"), "{properties}");
    log.delete_topic(&letters).await.expect("deleted");
    log.delete_topic(&topic.topic).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_no_registry_gives_make_bad_messages_and_cut_no_connection() {
    let Some(log) = log() else { return };
    let (topic, partition) = topic_of(&log, "versions", Format::Avro, OnDecodeError::Skip).await;
    let of = |version: &[u8]| EntrySpec { schema_version: Some(version.to_vec()), ..spec() };
    // The second branch of a union, and 7.
    let good = &[2, 14];
    let version = log.schema(&topic.topic, None).await.expect("asked").expect("registered").0;
    let messages: [(EntrySpec, &[u8]); 6] = [
        (of(&version.0), good),
        (of(&[1, 2, 3]), good),
        (of(&[0; 16]), good),
        (of(&[0x7f; 8]), good),
        (of(&[9]), good),
        (of(&version.0), good),
    ];
    let end = append(&topic, &partition, &messages).await;
    assert_eq!(read(&topic, &partition, end).await, (vec![7, 7], 4));
    log.delete_topic(&topic.topic).await.expect("deleted");
}
