use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use aquifer_catalog::{ColumnDefinition, ColumnKind, MetadataKey};
use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, build_entry, summarize};
use aquifer_formats::messages::{MessageBatch, MessageBatchBuilder, column};
use aquifer_formats::payload::decoder;
use aquifer_model::{Cut, SqlType};
use aquifer_storage::LogOver;
use aquifer_storage::embedded::{EmbeddedLog, EmbeddedSettings};
use aquifer_storage::log::Receipt;
use aquifer_storage::reader::{OnDecodeError, ReadRequest, Tiers};
use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray, UInt8Array,
};
use arrow::datatypes::{Int64Type, Schema, TimestampMillisecondType};
use bytes::Bytes;

use super::*;

fn physical(name: &str, type_text: &str) -> ColumnDefinition {
    ColumnDefinition { name: name.into(), kind: ColumnKind::Physical { type_text: type_text.into() }, comment: None }
}

fn metadata(name: &str, type_text: &str, key: MetadataKey) -> ColumnDefinition {
    let kind = ColumnKind::Metadata { type_text: type_text.into(), key, is_virtual: false };
    ColumnDefinition { name: name.into(), kind, comment: None }
}

fn definition() -> TableDefinition {
    TableDefinition {
        columns: vec![
            physical("id", "BIGINT"),
            physical("room", "STRING"),
            metadata("ts", "TIMESTAMP_LTZ(3)", MetadataKey::EventTime),
            metadata("k", "STRING", MetadataKey::Key),
        ],
        ..Default::default()
    }
}

fn fields(columns: &[(&str, &str)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, t)| SqlType::parse(t).expect("a type").to_field(name));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

async fn topic(log: Arc<dyn Log>, partitions: u32) -> TieredTopic {
    let name: TopicName = "t".parse().expect("a name");
    log.create_topic(&name, partitions).await.expect("made");
    TieredTopic {
        log,
        archive: None,
        topic: name,
        format: Format::Avro,
        value_columns: fields(&[("id", "BIGINT"), ("room", "STRING")]),
        on_error: OnDecodeError::Fail,
        limits: EntryLimits::default(),
    }
}

fn rows(ids: Range<i64>, keyed: bool) -> ChangeBatch {
    let schema = fields(&[("room", "STRING"), ("id", "BIGINT"), ("k", "STRING"), ("ts", "TIMESTAMP_LTZ(3)")]);
    let rooms: ArrayRef =
        Arc::new(StringViewArray::from_iter(ids.clone().map(|id| (id % 5 != 0).then(|| format!("room {}", id % 7)))));
    let keys: ArrayRef =
        Arc::new(StringViewArray::from_iter(ids.clone().map(|id| keyed.then(|| format!("key {}", id % 11)))));
    let times: ArrayRef = Arc::new(
        TimestampMillisecondArray::from_iter(ids.clone().map(|id| (id % 3 != 0).then_some(1_000 + id)))
            .with_timezone("UTC"),
    );
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    ChangeBatch::inserts(RecordBatch::try_new(schema, vec![rooms, ids, keys, times]).expect("fits"))
}

async fn write(topic: &TieredTopic, batches: &[ChangeBatch]) -> Result<()> {
    let sink = TopicSink::open(topic.clone(), &definition(), &batches[0].schema()).await?;
    let mut writer = sink.open(WriterId { job: "test".into(), index: 0 }).await?;
    for (epoch, batch) in batches.iter().enumerate() {
        writer.write(batch).await?;
        writer.prepare(Epoch(epoch as u64)).await?;
    }
    Ok(())
}

/// What lies in the log: the messages of each partition, and each entry's number of messages.
async fn stored(topic: &TieredTopic) -> Vec<(MessageBatch, Vec<u32>)> {
    let mut all = Vec::new();
    for partition in topic.log.partitions(&topic.topic).await.expect("partitions") {
        let mut builder = MessageBatchBuilder::new(topic.limits);
        let mut counts = Vec::new();
        if let Some(last) = topic.log.last_position(&partition).await.expect("asked") {
            let mut reader = topic.log.open_reader(&partition, Cut::Start).await.expect("a reader");
            'read: loop {
                for entry in reader.next(1 << 20).await.expect("entries") {
                    counts.push(summarize(&entry.bytes, &topic.limits).expect("whole").messages);
                    builder.append_entry(entry.position, &entry.bytes).expect("whole");
                    if entry.position == last {
                        break 'read;
                    }
                }
            }
        }
        all.push((builder.finish(), counts));
    }
    all
}

/// The stored rows: id, room, key, event time; checks that sequence ids rise without a gap.
async fn stored_rows(topic: &TieredTopic) -> Vec<Vec<(i64, Option<String>, Option<String>, Option<i64>)>> {
    let schema = topic.log.schema(&topic.topic, None).await.expect("asked").expect("registered").1;
    let mut decoder = decoder(topic.format, topic.value_columns.clone(), Some(&schema)).expect("a decoder");
    let mut all = Vec::new();
    for (messages, _) in stored(topic).await {
        let rows = messages.rows();
        let versions = rows.column_by_name(column::SCHEMA_VERSION).expect("there").as_binary_view();
        for version in decoder.missing_versions(versions) {
            let found = topic.log.schema(&topic.topic, Some(&version)).await.expect("asked");
            decoder.add_schema(version, found.as_ref().map(|(_, schema)| schema)).expect("taken");
        }
        let decoded = decoder.decode(messages.payloads(), versions).expect("decoded");
        assert!(decoded.errors.is_empty(), "{:?}", decoded.errors);
        let sequence = rows.column_by_name(column::SEQUENCE_ID).expect("there").as_primitive::<Int64Type>();
        assert!(sequence.values().iter().zip(0..).all(|(found, expected)| *found == expected), "{sequence:?}");
        let ids = decoded.rows.column(0).as_primitive::<Int64Type>();
        let rooms = decoded.rows.column(1).as_string_view();
        let keys = rows.column_by_name(column::KEY).expect("there").as_binary_view();
        let times = rows.column_by_name(column::EVENT_TIME).expect("there").as_primitive::<TimestampMillisecondType>();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let row = |at: usize| {
            (
                ids.value(at),
                rooms.is_valid(at).then(|| rooms.value(at).to_string()),
                keys.is_valid(at).then(|| text(keys.value(at))),
                times.is_valid(at).then(|| times.value(at)),
            )
        };
        all.push((0..rows.num_rows()).map(row).collect());
    }
    all
}

fn open_log(folder: &tempfile::TempDir) -> Arc<dyn Log> {
    EmbeddedLog::open(folder.path(), EmbeddedSettings { sync: false, ..Default::default() }).expect("opened")
}

#[tokio::test]
async fn rows_come_back_as_messages_with_key_and_event_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let topic = topic(open_log(&folder), 3).await;
    write(&topic, &[rows(0..700, true), rows(700..900, true)]).await.expect("written");
    let partitions = stored_rows(&topic).await;
    let mut keys: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for (partition, rows) in partitions.iter().enumerate() {
        assert!(!rows.is_empty());
        assert!(rows.is_sorted_by_key(|row| row.0), "one key's rows stay in order");
        for (id, room, key, time) in rows {
            assert!(ids.insert(*id), "{id} is there twice");
            assert_eq!(*room, (id % 5 != 0).then(|| format!("room {}", id % 7)));
            assert_eq!(*time, (id % 3 != 0).then_some(1_000 + id));
            assert_eq!(*key, Some(format!("key {}", id % 11)));
            keys.entry(key.clone().expect("a key")).or_default().insert(partition);
        }
    }
    assert_eq!(ids.len(), 900);
    assert!(keys.values().all(|partitions| partitions.len() == 1), "a key has one partition: {keys:?}");
}

#[tokio::test]
async fn rows_without_a_key_go_round_entry_by_entry() {
    let folder = tempfile::tempdir().expect("a folder");
    let topic = topic(open_log(&folder), 3).await;
    write(&topic, &[rows(0..6_500, false)]).await.expect("written");
    let counts: Vec<Vec<u32>> = stored(&topic).await.into_iter().map(|(_, counts)| counts).collect();
    assert_eq!(counts, [vec![1000, 1000, 500], vec![1000, 1000], vec![1000, 1000]]);
    assert_eq!(stored_rows(&topic).await.concat().len(), 6_500);
}

#[tokio::test]
async fn a_table_says_under_which_name_and_in_what_entries_its_rows_are_written() {
    for (options, expected) in [
        (vec![("sink.batching.max-messages", "3")], vec![3, 3, 3, 1]),
        (vec![("sink.batching.max-bytes", "1")], vec![1; 10]),
        (vec![("sink.batching", "false"), ("sink.batching.max-messages", "3")], vec![1; 10]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let topic = topic(open_log(&folder), 0).await;
        let mut definition = definition();
        definition.options = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        definition.options.insert("sink.producer-name".into(), "mine".into());
        let batch = rows(0..10, true);
        let sink = TopicSink::open(topic.clone(), &definition, &batch.schema()).await.expect("a sink");
        let mut writer = sink.open(WriterId { job: "test".into(), index: 0 }).await.expect("a writer");
        writer.write(&batch).await.expect("written");
        writer.prepare(Epoch(0)).await.expect("sent");
        let (messages, counts) = stored(&topic).await.remove(0);
        assert_eq!(counts, expected, "{options:?}");
        assert_eq!(stored_rows(&topic).await[0].len(), 10);
        let names = messages.rows().column_by_name(column::PRODUCER_NAME).expect("there");
        let names = arrow::compute::cast(names, &DataType::Utf8View).expect("text");
        assert!(names.as_string_view().iter().all(|name| name == Some("mine")), "{names:?}");
        // Another writer of the same job has a name of its own.
        let mut second = sink.open(WriterId { job: "test".into(), index: 1 }).await.expect("a writer");
        second.write(&batch).await.expect("written");
        second.prepare(Epoch(0)).await.expect("sent");
        let (messages, _) = stored(&topic).await.remove(0);
        let names = messages.rows().column_by_name(column::PRODUCER_NAME).expect("there");
        let names = arrow::compute::cast(names, &DataType::Utf8View).expect("text");
        assert_eq!(names.as_string_view().iter().filter(|name| *name == Some("mine-1")).count(), 10);
    }
}

#[tokio::test]
async fn an_entry_that_the_log_would_not_take_is_cut_in_two_and_a_row_that_is_too_long_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = EmbeddedSettings { max_entry_bytes: 2_000, sync: false, ..Default::default() };
    let log = EmbeddedLog::open(folder.path(), settings).expect("opened");
    let topic = topic(log, 0).await;
    write(&topic, &[rows(0..400, true)]).await.expect("written");
    assert!(stored(&topic).await[0].1.len() > 1);
    assert_eq!(stored_rows(&topic).await[0].len(), 400);

    let schema = fields(&[("room", "STRING")]);
    let mut hash = 7u64;
    let noise: String = std::iter::repeat_with(|| {
        hash = hash.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        char::from(b'a' + (hash >> 60) as u8)
    })
    .take(9_000)
    .collect();
    let long = RecordBatch::try_new(schema, vec![Arc::new(StringViewArray::from(vec![noise]))]).expect("fits");
    let error = write(&topic, &[ChangeBatch::inserts(long)]).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn exactly_once_is_refused_and_what_the_topic_lacks_is_said_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let topic = topic(open_log(&folder), 0).await;
    let mut definition = definition();
    definition.options.insert("sink.delivery-guarantee".into(), "exactly-once".into());
    let batch = rows(0..2, true);
    let error = TopicSink::open(topic.clone(), &definition, &batch.schema()).await.expect_err("refused");
    assert!(error.to_string().contains("needs jobs with checkpoints"), "an embedded log deduplicates: {error}");
    let without = no_exactly_once(&topic.topic, Ok(Policies { deduplicates: false, ..Policies::default() }));
    assert!(without.to_string().contains("switch that on first"), "{without}");
    let unknown = no_exactly_once(&topic.topic, Err(Error::denied("the right to read policies is missing")));
    assert_eq!(unknown.kind(), ErrorKind::Denied);
    assert!(unknown.to_string().contains("cannot be seen: the right to read policies is missing"), "{unknown}");
}

#[tokio::test]
async fn an_update_into_a_topic_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let topic = topic(open_log(&folder), 0).await;
    let changes = ChangeBatch::new(rows(0..2, true).rows().clone(), UInt8Array::from(vec![1, 2])).expect("kinds");
    let error = write(&topic, &[changes]).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(stored_rows(&topic).await.concat().is_empty());
}

#[tokio::test]
async fn after_an_unknown_outcome_the_same_bytes_are_sent_again_and_nothing_is_lost_or_doubled() {
    let folder = tempfile::tempdir().expect("a folder");
    let flaky = Arc::new(FlakyLog { log: open_log(&folder), calls: AtomicU32::new(0), opened: AtomicU32::new(0) });
    let topic = topic(Arc::clone(&flaky) as Arc<dyn Log>, 2).await;
    write(&topic, &[rows(0..3_000, true), rows(3_000..6_000, true)]).await.expect("written in the end");
    let ids: Vec<i64> = stored_rows(&topic).await.concat().into_iter().map(|row| row.0).collect();
    assert_eq!(ids.len(), 6_000);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 6_000);
    assert!(flaky.opened.load(Ordering::Relaxed) > 4, "it failed and was opened again");
}

#[tokio::test]
async fn bad_messages_are_sent_again_over_connections_that_break() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = open_log(&folder);
    let flaky = Arc::new(FlakyLog { log: Arc::clone(&inner), calls: AtomicU32::new(0), opened: AtomicU32::new(0) });
    let mut topic = topic(Arc::clone(&flaky) as Arc<dyn Log>, 0).await;
    topic.on_error = OnDecodeError::DeadLetter("bad".parse().expect("a name"));
    topic.format = Format::Json;
    let partition = Partition::new(topic.topic.clone(), None);
    let mut appender = inner.open_appender(&partition, "torn").await.expect("opens");
    let spec = EntrySpec { producer_name: "torn".into(), ..Default::default() };
    let torn: Vec<String> = (0..9).map(|id| format!("{{\"id\": torn {id}")).collect();
    for (id, text) in (0..).zip(&torn) {
        let message = NewMessage { sequence_id: id, payload: Some(text.as_bytes()), ..Default::default() };
        appender.append(build_entry(&spec, &[message]).expect("an entry"), id, id, 1).await.expect("stored");
    }
    let end = Cut::from(inner.last_position(&partition).await.expect("asked"));
    let request = ReadRequest {
        columns: vec!["id".into()],
        filter: None,
        time_column: None,
        tiers: Tiers::Both,
        batch_rows: 100,
        decoders: 1,
    };
    let mut reader = topic.open(&partition, Cut::Start, Some(end), request).await.expect("opens");
    while let Some(batch) = reader.next().await.expect("no letter is lost to a connection") {
        assert_eq!(batch.rows.num_rows(), 0);
    }
    assert!(flaky.opened.load(Ordering::Relaxed) > 2, "it failed and was opened again");
    topic.topic = "bad".parse().expect("a name");
    let (letters, _) = stored(&topic).await.pop().expect("one partition");
    let payloads = letters.payloads();
    let letters: Vec<&[u8]> = (0..payloads.len()).map(|row| payloads.value(row)).collect();
    assert_eq!(letters, torn.iter().map(String::as_bytes).collect::<Vec<_>>(), "each once, in order");
}

/// A log whose appenders break: some before the entry is stored, some after, some at the second entry.
#[derive(Debug)]
struct FlakyLog {
    log: Arc<dyn Log>,
    calls: AtomicU32,
    opened: AtomicU32,
}

struct FlakyAppender {
    appender: Box<dyn Appender>,
    call: u32,
    appends: u32,
    broken: bool,
}

#[async_trait]
impl Appender for FlakyAppender {
    fn last_sequence_id(&self) -> i64 {
        self.appender.last_sequence_id()
    }
    async fn append(&mut self, bytes: Bytes, lowest: i64, highest: i64, messages: u32) -> Result<Receipt> {
        assert!(!self.broken, "an appender that failed is not used again");
        self.appends += 1;
        match (self.call % 3, self.appends) {
            (0, 1) => return self.appender.append(bytes, lowest, highest, messages).await,
            (1, _) => {}
            _ => drop(self.appender.append(bytes, lowest, highest, messages).await?),
        }
        self.broken = true;
        Err(Error::unknown("the connection broke"))
    }
}

#[async_trait]
impl LogOver for FlakyLog {
    fn under(&self) -> &dyn Log {
        self.log.as_ref()
    }
    async fn open_appender(&self, partition: &Partition, producer_name: &str) -> Result<Box<dyn Appender>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let appender = self.log.open_appender(partition, producer_name).await?;
        Ok(Box::new(FlakyAppender {
            appender,
            call: self.calls.fetch_add(1, Ordering::Relaxed),
            appends: 0,
            broken: false,
        }))
    }
    async fn policies(&self, _topic: &TopicName) -> Result<Policies> {
        Err(Error::denied("no admin rights"))
    }
}
