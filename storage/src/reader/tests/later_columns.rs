//! Columns that the table has and files of the archive have not, or have with another type.

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::archive::chain::{Chain, Commit};
use crate::archive::manifest::{Draft, Kind, Manifest, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_came_later_are_null_and_changed_types_are_cast() {
    let mut world = World::new(4, OnDecodeError::Skip).await;
    world.append(20, 3, false).await;
    world.archive().await;
    let mut topic = world.topic.clone();
    topic.value_columns = Arc::new(Schema::new(vec![
        SqlType::Double.nullable().to_field("n"),
        SqlType::Timestamp(6).nullable().to_field("ts"),
        SqlType::STRING.nullable().to_field("later"),
    ]));
    let mut request = request(&["later", "n"], 100);
    request.time_column = Some("ts".into());
    let end = Cut::After(world.entries[19]);
    let mut reader = topic.open(&world.partition, Cut::Start, Some(end), request).await.expect("opens");
    let schema = reader.schema();
    let batches = all(&mut reader).await.expect("reads");
    let latest = world.records.iter().filter_map(|r| match r.kind {
        Written::Row { ts, .. } => Some(ts * 1000),
        _ => None,
    });
    assert_eq!(batches.iter().filter_map(|batch| batch.time_max).max(), latest.max());
    for batch in batches {
        assert_eq!(batch.rows.schema(), schema);
        assert_eq!(batch.rows.column(0).null_count(), batch.rows.num_rows());
    }
    let error = topic.open(&world.partition, Cut::Start, None, super::request(&["latr"], 1)).await;
    assert!(error.expect_err("unknown").to_string().contains("no column `latr`"));
}

/// `later` is 7; containers of which all rows are known to be NULL are left out.
#[derive(Debug)]
struct IsSeven;

impl ReadFilter for IsSeven {
    fn columns(&self) -> Vec<String> {
        vec!["later".into()]
    }
    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        Ok(rows.column(0).as_primitive::<Int64Type>().iter().map(|value| Some(value == Some(7))).collect())
    }
    fn may_match(&self, statistics: &dyn ContainerStatistics) -> Result<Vec<bool>> {
        let (Some(nulls), Some(rows)) = (statistics.null_counts("later"), statistics.row_counts()) else {
            return Ok(vec![true; statistics.num_containers()]);
        };
        let (nulls, rows) = (nulls.as_primitive::<UInt64Type>(), rows.as_primitive::<UInt64Type>());
        Ok(nulls.iter().zip(rows).map(|(nulls, rows)| nulls.is_none() || nulls != rows).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_archived_rows_by_the_default_of_a_column_that_came_later() {
    let mut world = World::new(5, OnDecodeError::Fail).await;
    world.append(12, 2, false).await;
    world.archive().await;
    let columns = vec![SqlType::BigInt.nullable().to_field("n"), SqlType::BigInt.nullable().to_field("later")];
    let mut topic = world.topic.clone();
    topic.value_columns = Arc::new(Schema::new(columns));
    let mut schema = topic_schema_of(Format::Avro, "t", &table()).expect("columns");
    let mut definition: serde_json::Value = serde_json::from_slice(&schema.definition).expect("JSON");
    let later = serde_json::json!({"name": "later", "type": ["long", "null"], "default": 7});
    definition["fields"].as_array_mut().expect("fields").push(later);
    schema.definition = definition.to_string().into_bytes();
    topic.log.put_schema(&topic.topic, &schema).await.expect("registered");
    let mut request = request(&["n"], 100);
    request.filter = Some(Arc::new(IsSeven));
    let end = Cut::After(world.entries[11]);
    let mut reader = topic.open(&world.partition, Cut::Start, Some(end), request).await.expect("opens");
    let found: Vec<String> =
        all(&mut reader).await.expect("reads").iter().flat_map(|batch| rows_as_text(&batch.rows)).collect();
    let rows = world.records.iter().filter(|record| matches!(record.kind, Written::Row { .. }));
    assert_eq!(found, rows.map(|record| as_text(record, &["n".to_string()])).collect::<Vec<_>>());
}

/// What messages have beside what the first archive files kept.
const ADDED: [&str; 5] = [
    column::ORDERING_KEY,
    column::REPLICATED_FROM,
    column::MESSAGE_SIZE,
    column::BROKER_PUBLISH_TIME,
    column::MESSAGE_INDEX,
];

/// The same archive elsewhere, in files that lack [`ADDED`].
async fn as_it_was_before(world: &World, folder: &std::path::Path) -> ArchiveLocation {
    let (location, identity) = world.topic.chains().await.expect("asked").expect("an archive");
    let old = ArchiveLocation::local(folder).expect("a folder");
    let chain = Chain::new(&old, &identity, &world.partition);
    let from = Chain::new(&location, &identity, &world.partition);
    let state = from.load().await.expect("loads").expect("a chain");
    let mut added = Vec::new();
    for file in &state.files {
        let bytes = from.read_file(&file.path).await.expect("reads");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
        let kept: Vec<usize> = (0..reader.schema().fields().len())
            .filter(|at| !ADDED.contains(&reader.schema().field(*at).name().as_str()))
            .collect();
        let schema = Arc::new(reader.schema().project(&kept).expect("columns"));
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).expect("a writer");
        for batch in reader.build().expect("a reader") {
            writer.write(&batch.expect("rows").project(&kept).expect("columns")).expect("writes");
        }
        let bytes = writer.into_inner().expect("closes");
        added.push(DataFile { bytes: bytes.len() as u64, sha256: sha256(&bytes), ..file.clone() });
        chain.put_file(&file.path, bytes.into()).await.expect("kept");
    }
    let draft = Draft {
        kind: Kind::Data,
        owner: "before".into(),
        topic: world.topic.topic.clone(),
        identity,
        partition: world.partition.number(),
        added,
        ledgers: state.newest.ledgers.clone(),
        schemas: Default::default(),
        unpinned: false,
    };
    let manifest = Manifest::after(None, draft, "token".into());
    assert_eq!(chain.commit(&manifest).await.expect("written"), Commit::Mine);
    old
}

#[tokio::test(flavor = "multi_thread")]
async fn what_older_files_do_not_say_of_a_message_is_null_and_the_log_says_it() {
    let mut world = World::new(6, OnDecodeError::Fail).await;
    world.append(12, 3, false).await;
    world.archive().await;
    let archived = world.entries[11];
    world.append(3, 3, false).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut topic = world.topic.clone();
    let whole = topic.clone();
    topic.archive = Some(as_it_was_before(&world, folder.path()).await);
    let end = Cut::After(*world.entries.last().expect("written"));
    let mut columns = vec!["n", TIER];
    columns.extend(ADDED);
    // Since the columns are there, both tiers say it.
    for (topic, says) in [(topic, false), (whole, true)] {
        let request = request(&columns, 100);
        let mut reader = topic.open(&world.partition, Cut::Start, Some(end), request).await.expect("opens");
        let (mut old, mut new) = (0, 0);
        for batch in all(&mut reader).await.expect("reads") {
            let rows = batch.rows.num_rows();
            let sizes = batch.rows.column(4).as_primitive::<Int32Type>();
            match batch.tier {
                Tier::Archive if !says => {
                    assert_eq!(sizes.null_count(), rows);
                    old += rows;
                }
                tier => {
                    assert!(sizes.iter().all(|size| size.is_some_and(|size| size > 0)), "{sizes:?}");
                    if tier == Tier::Log { new += rows } else { old += rows }
                }
            }
            // No key, no other cluster, and no broker that puts anything before an entry.
            assert_eq!([2, 3, 5, 6].map(|column| batch.rows.column(column).null_count()), [rows; 4]);
        }
        let is_row = |record: &&Record| matches!(record.kind, Written::Row { .. });
        let before = world.records.iter().filter(is_row).filter(|record| record.position <= archived).count();
        assert_eq!((old, old + new), (before, world.records.iter().filter(is_row).count()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_values_that_do_not_fit_the_tables_type_harm_no_neighbour() {
    for on_error in [OnDecodeError::Skip, OnDecodeError::Fail] {
        let mut world = World::new(6, on_error.clone()).await;
        world.append(80, 5, false).await;
        world.archive().await;
        let mut topic = world.topic.clone();
        // What the topic was archived with holds numbers that a byte does not.
        topic.value_columns = Arc::new(Schema::new(vec![SqlType::TinyInt.nullable().to_field("n")]));
        let end = Cut::After(*world.entries.last().expect("written"));
        let columns = ["n", column::ENTRY];
        let mut reader =
            topic.open(&world.partition, Cut::Start, Some(end), request(&columns, 100)).await.expect("opens");
        let read = all(&mut reader).await;
        let too_large = |record: &&Record| matches!(record.kind, Written::Row { n: Some(n), .. } if n > 127);
        let rows = || world.records.iter().filter(|record| matches!(record.kind, Written::Row { .. }));
        let bad = rows().filter(too_large).count();
        assert!(bad > 0 && bad < rows().count());
        if on_error == OnDecodeError::Fail {
            let error = read.expect_err("one does not fit").to_string();
            assert!(
                error.contains("column `n` is archived as") && error.contains("aquifer.on-decode-error"),
                "{error}"
            );
            continue;
        }
        let mut found = Vec::new();
        for batch in read.expect("the others are read") {
            let numbers = batch.rows.column(0).as_primitive::<arrow::datatypes::Int8Type>();
            found.extend(numbers.iter().map(|n| n.map(i64::from)));
        }
        let expected = rows().filter(|record| !too_large(record)).map(|record| match record.kind {
            Written::Row { n, .. } => n,
            _ => None,
        });
        assert_eq!(found, expected.collect::<Vec<_>>());
        assert_eq!(reader.statistics().skipped_messages, bad as u64);
    }
}
