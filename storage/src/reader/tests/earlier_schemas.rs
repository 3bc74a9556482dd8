//! What was archived by an earlier schema, or in another format than the table's: the archive gives what the log gives, or says that it cannot.

use aquifer_formats::payload::columns_of;
use aquifer_model::{PayloadKind, SchemaVersion, TopicSchema};
use arrow::compute::concat_batches;
use arrow::datatypes::Float64Type;
use arrow::util::pretty::pretty_format_batches;

use super::*;

/// A topic whose log keeps everything.
struct Kept {
    topic: TieredTopic,
    partition: Partition,
    last: Option<Position>,
    sequence: i64,
    _folder: tempfile::TempDir,
}

impl Kept {
    async fn new(format: Format, value_columns: SchemaRef) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = EmbeddedSettings { sync: false, ..Default::default() };
        let log = EmbeddedLog::open(&folder.path().join("log"), settings).expect("opens");
        let name: TopicName = "t".parse().expect("a name");
        log.create_topic(&name, 0).await.expect("new");
        let topic = TieredTopic {
            log,
            archive: Some(ArchiveLocation::local(&folder.path().join("archive")).expect("a folder")),
            topic: name.clone(),
            format,
            value_columns,
            on_error: OnDecodeError::Skip,
            limits: EntryLimits::default(),
        };
        Self { topic, partition: Partition::new(name, None), last: None, sequence: 0, _folder: folder }
    }

    async fn register(&self, schema: &TopicSchema) -> SchemaVersion {
        self.topic.log.put_schema(&self.topic.topic, schema).await.expect("registered")
    }

    /// Appends one entry.
    async fn append(&mut self, version: Option<&SchemaVersion>, payloads: &[Option<&[u8]>]) {
        let mut appender = self.topic.log.open_appender(&self.partition, "p").await.expect("opens");
        let first = self.sequence;
        let messages: Vec<NewMessage<'_>> = (first..)
            .zip(payloads)
            .map(|(sequence_id, payload)| NewMessage { sequence_id, payload: *payload, ..Default::default() })
            .collect();
        let schema_version = version.map(|version| version.0.clone());
        let spec = EntrySpec { producer_name: "p".into(), batched: true, schema_version, ..Default::default() };
        let bytes = build_entry(&spec, &messages).expect("an entry");
        self.sequence += payloads.len() as i64;
        let stored = appender.append(bytes, first, self.sequence - 1, payloads.len() as u32).await.expect("stored");
        let Receipt::Stored(position) = stored else { panic!("not a duplicate") };
        self.last = Some(position);
    }

    async fn archive(&self) {
        Archiver::new(self.topic.clone(), ArchiveSettings::default())
            .run_once(&self.partition)
            .await
            .expect("archives");
    }

    /// All rows of one tier, and what reading them skipped and pruned.
    async fn read(
        &self,
        tiers: Tiers,
        columns: &[&str],
        filter: Option<Arc<dyn ReadFilter>>,
    ) -> Result<(RecordBatch, u64, u64)> {
        let request = ReadRequest { tiers, filter, ..request(columns, 50) };
        let end = self.last.map(Cut::After);
        let mut reader = self.topic.open(&self.partition, Cut::Start, end, request).await?;
        let batches = all(&mut reader).await?;
        let tier = if tiers == Tiers::Log { Tier::Log } else { Tier::Archive };
        assert!(batches.iter().all(|batch| batch.tier == tier || batch.rows.num_rows() == 0));
        let rows: Vec<RecordBatch> = batches.into_iter().map(|batch| batch.rows).collect();
        let statistics = reader.statistics();
        let rows = concat_batches(&reader.schema(), &rows)?;
        Ok((rows, statistics.skipped_messages, statistics.pruned_rows))
    }

    /// The rows that both tiers give.
    async fn both_tiers(&self, columns: &[&str]) -> RecordBatch {
        let (log, skipped, _) = self.read(Tiers::Log, columns, None).await.expect("the log");
        let (archive, skipped_there, _) = self.read(Tiers::Archive, columns, None).await.expect("the archive");
        let shown = |rows: &RecordBatch| pretty_format_batches(std::slice::from_ref(rows)).expect("text").to_string();
        assert_eq!(shown(&archive), shown(&log));
        assert_eq!((archive, skipped_there), (log.clone(), skipped));
        log
    }
}

fn avro(fields: serde_json::Value) -> TopicSchema {
    let definition = serde_json::json!({"type": "record", "name": "t", "fields": fields}).to_string().into_bytes();
    TopicSchema { name: "t".into(), kind: PayloadKind::Avro, definition, properties: Default::default() }
}

fn bytes_column(name: &str, of: SqlType) -> SchemaRef {
    Arc::new(Schema::new(vec![of.nullable().to_field(name)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_archived_under_a_name_is_read_by_its_alias_and_rows_in_it_by_theirs() {
    let row = |fields| serde_json::json!({"type": "record", "name": "r", "fields": fields});
    let old = avro(serde_json::json!([
        {"name": "number", "type": "int"},
        {"name": "inner", "type": row(serde_json::json!([{"name": "a", "type": "int"}, {"name": "b", "type": "int"}]))},
    ]));
    let new = avro(serde_json::json!([
        {"name": "inner", "type": row(serde_json::json!([
            {"name": "b", "type": "long"}, {"name": "c", "type": "int", "aliases": ["a"]}, {"name": "d", "type": "int", "default": 9},
        ]))},
        {"name": "n", "type": "long", "aliases": ["never", "number"]},
        {"name": "later", "type": "string", "default": "then"},
    ]));
    let mut kept = Kept::new(Format::Avro, columns_of(&old).expect("columns").1).await;
    let version = kept.register(&old).await;
    // Zigzag: number, a, b.
    let datums: Vec<Vec<u8>> = (0..60u8).map(|n| vec![2 * n, 2, 4]).collect();
    let payloads: Vec<Option<&[u8]>> = datums.iter().map(|datum| Some(&datum[..])).chain([None]).collect();
    for payloads in payloads.chunks(10) {
        kept.append(Some(&version), payloads).await;
    }
    kept.archive().await;
    kept.register(&new).await;
    kept.topic.value_columns = columns_of(&new).expect("columns").1;
    let rows = kept.both_tiers(&["n", "inner", "later", column::ENTRY]).await;
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &(0..60).collect::<Vec<i64>>()[..]);
    let inner = rows.column(1).as_struct();
    assert_eq!(inner.column(0).as_primitive::<Int64Type>().value(7), 2);
    assert_eq!([1, 2].map(|field| inner.column(field).as_primitive::<Int32Type>().value(7)), [1, 9]);
    assert_eq!(rows.column(2).as_string_view().value(59), "then");
    kept.both_tiers(&["later"]).await;
    kept.both_tiers(&["inner"]).await;
    // Row groups are left out by what the column was called then.
    let filter: Arc<dyn ReadFilter> = Arc::new(Between(20..=22));
    let (rows, _, pruned) = kept.read(Tiers::Archive, &["n"], Some(filter)).await.expect("reads");
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[20, 21, 22]);
    assert!(pruned > 20, "{pruned} rows are left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_json_has_beside_its_schema_is_archived_with_it() {
    let fields =
        serde_json::json!([{"name": "id", "type": ["null", "long"]}, {"name": "s", "type": ["null", "string"]}]);
    let schema = TopicSchema { kind: PayloadKind::Json, ..avro(fields) };
    let mut kept = Kept::new(Format::Json, columns_of(&schema).expect("columns").1).await;
    let version = kept.register(&schema).await;
    let payloads: [Option<&[u8]>; 7] = [
        Some(br#"{"id": 1, "s": "one", "extra": "e"}"#),
        Some(br#"{"id": 2, "s": "two"}"#),
        Some(br#"{"id": 3.5, "s": "three"}"#),
        None,
        Some(br#"{"id": 4, "s": 44, "extra": null}"#),
        Some(br#"{"id": "five"}"#),
        Some(br#"{"id": "6", "s": "six"}"#),
    ];
    kept.append(Some(&version), &payloads).await;
    kept.append(None, &payloads[..2]).await;
    kept.archive().await;
    let rows = kept.both_tiers(&["id", "s"]).await;
    let ids: Vec<_> = rows.column(0).as_primitive::<Int64Type>().iter().flatten().collect();
    assert_eq!(ids, [1, 2, 3, 4, 6, 1, 2]);
    // Tables that name more, or read a field as what it was.
    kept.topic.value_columns = Arc::new(Schema::new(vec![
        SqlType::Double.nullable().to_field("id"),
        SqlType::STRING.nullable().to_field("s"),
        SqlType::STRING.nullable().to_field("extra"),
    ]));
    let rows = kept.both_tiers(&["id", "extra", "s"]).await;
    let extra: Vec<_> = rows.column(1).as_string_view().iter().collect();
    assert_eq!(extra, [Some("e"), None, None, None, None, Some("e"), None]);
    assert_eq!(rows.column(0).as_primitive::<Float64Type>().value(2), 3.5);
    kept.topic.value_columns = Arc::new(Schema::new(vec![SqlType::STRING.nullable().to_field("extra")]));
    assert_eq!(kept.both_tiers(&["extra"]).await.column(0).null_count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_archived_as_bytes_is_decoded_by_the_table_that_reads_it() {
    let mut kept = Kept::new(Format::Raw, bytes_column("value", SqlType::BYTES)).await;
    let payloads: [Option<&[u8]>; 6] = [
        Some(br#"{"id": 1, "name": "one"}"#),
        Some(br#"{"id": 2}"#),
        None,
        Some(b"no JSON"),
        Some(br#"{"value": 7, "name": "three", "id": 3}"#),
        Some(br#"{"id": null, "name": "none"}"#),
    ];
    kept.append(None, &payloads).await;
    kept.append(None, &[Some(b"4,four"), Some(br#"{"id": 5, "name": "five"}"#)]).await;
    kept.archive().await;
    let raw = kept.both_tiers(&["value"]).await;
    assert_eq!(raw.num_rows(), 7);
    kept.topic.format = Format::Json;
    kept.topic.value_columns = Arc::new(Schema::new(vec![
        SqlType::BigInt.nullable().to_field("id"),
        SqlType::STRING.nullable().to_field("name"),
        SqlType::Int.nullable().to_field("value"),
    ]));
    let rows = kept.both_tiers(&["id", "name", "value", column::BATCH_INDEX]).await;
    let ids: Vec<_> = rows.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(ids, [Some(1), Some(2), Some(3), None, Some(5)]);
    assert_eq!(rows.column(2).as_primitive::<Int32Type>().iter().flatten().collect::<Vec<_>>(), [7]);
    // Whether a message can be read does not depend on who asks for what.
    assert_eq!(kept.both_tiers(&[]).await.num_rows(), 5);
    assert_eq!(kept.both_tiers(&[column::ENTRY, "value"]).await.num_rows(), 5);
    let n = kept.topic.value_columns.fields().iter().map(|field| field.as_ref().clone());
    kept.topic.value_columns = Arc::new(Schema::new(
        n.map(|field| if field.name() == "id" { field.with_name("n") } else { field }).collect::<Vec<_>>(),
    ));
    let filter: Arc<dyn ReadFilter> = Arc::new(Between(0..=9));
    assert_eq!(kept.read(Tiers::Archive, &["n"], Some(filter)).await.expect("reads").0.num_rows(), 0);
    kept.topic.format = Format::Csv;
    kept.topic.value_columns =
        Arc::new(Schema::new(vec![SqlType::STRING.nullable().to_field("a"), SqlType::STRING.nullable().to_field("b")]));
    kept.both_tiers(&["b", "a"]).await;
    // The one column has another name, or is text.
    for (name, of) in [("payload", SqlType::BYTES), ("value", SqlType::STRING), ("text", SqlType::STRING)] {
        kept.topic.format = Format::Raw;
        kept.topic.value_columns = bytes_column(name, of);
        let rows = kept.both_tiers(&[name]).await;
        assert_eq!((rows.num_rows(), rows.column(0).null_count()), (7, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_that_were_archived_as_columns_are_not_given_as_nulls() {
    let schema = avro(serde_json::json!([{"name": "n", "type": "int"}]));
    let mut kept = Kept::new(Format::Avro, columns_of(&schema).expect("columns").1).await;
    let version = kept.register(&schema).await;
    kept.append(Some(&version), &[Some(&[2]), None]).await;
    kept.archive().await;
    kept.topic.format = Format::Raw;
    kept.topic.value_columns = bytes_column("payload", SqlType::BYTES);
    let (rows, ..) = kept.read(Tiers::Log, &["payload"], None).await.expect("the log has them");
    assert_eq!(rows.column(0).as_binary_view().iter().collect::<Vec<_>>(), [Some(&[2u8][..])]);
    let error = kept.read(Tiers::Archive, &["payload"], None).await.expect_err("they are gone");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("made by avro") && error.to_string().contains("'scan.tiers' = 'log'"),
        "{error}"
    );
    let (rows, ..) = kept.read(Tiers::Archive, &[column::ENTRY], None).await.expect("no payload is asked for");
    assert_eq!(rows.num_rows(), 1);
}
