//! Entries that cannot be taken apart, and schema versions that cannot be used: what each policy does, in both tiers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use aquifer_model::{Error, PayloadKind, TopicSchema};
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use pulsar::message::proto::MessageMetadata;

use super::*;
use crate::log::{Entry, EntryReader};
use crate::log_over::LogOver;

/// An entry of one garbage message whose checksum is wrong, and one that says it has a billion messages.
fn bad_entries() -> [Bytes; 2] {
    let spec = EntrySpec { producer_name: "bad".into(), publish_time_ms: 5, batched: true, ..Default::default() };
    let message = NewMessage { sequence_id: 0, payload: Some(b"payload"), ..Default::default() };
    let good = build_entry(&spec, &[message]).expect("an entry");
    let mut torn = good.to_vec();
    let last = torn.len() - 1;
    torn[last] ^= 1;
    let lying = MessageMetadata {
        producer_name: "bad".into(),
        sequence_id: 1,
        publish_time: 5,
        num_messages_in_batch: Some(1_000_000_000),
        ..Default::default()
    };
    [Bytes::from(torn), framed(&lying, b"payload")]
}

/// An entry as it is stored: magic, checksum, metadata with its length, payload.
fn framed(metadata: &MessageMetadata, payload: &[u8]) -> Bytes {
    let metadata = metadata.encode_to_vec();
    let summed = [&(metadata.len() as u32).to_be_bytes(), metadata.as_slice(), payload].concat();
    Bytes::from([&[0x0e, 0x01], crc32c::crc32c(&summed).to_be_bytes().as_slice(), &summed].concat())
}

/// Appends an entry for each bad one, in whose place `log` gives that.
async fn append_bad(world: &mut World, log: &OddLog) -> Vec<(Position, Bytes)> {
    let mut appender = world.topic.log.open_appender(&world.partition, "bad").await.expect("opens");
    let mut stored = Vec::new();
    for (id, bad) in (0..).zip(bad_entries()) {
        let spec = EntrySpec { producer_name: "bad".into(), ..Default::default() };
        let message = NewMessage { sequence_id: id, payload: Some(b"payload"), ..Default::default() };
        let bytes = build_entry(&spec, &[message]).expect("an entry");
        let receipt = appender.append(bytes, id, id, 1).await.expect("stored");
        let Receipt::Stored(position) = receipt else { panic!("not a duplicate") };
        world.entries.push(position);
        log.replaced.lock().expect("not poisoned").insert((world.partition.to_string(), position), bad.clone());
        stored.push((position, bad));
    }
    stored
}

fn numbers(batches: &[ReadBatch]) -> Vec<String> {
    batches.iter().flat_map(|batch| rows_as_text(&batch.rows)).collect()
}

fn expected(world: &World) -> Vec<String> {
    let rows = world.records.iter().filter(|record| matches!(record.kind, Written::Row { .. }));
    rows.map(|record| as_text(record, &["n".to_string()])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_cannot_be_taken_apart_go_the_way_of_the_policy_and_harm_no_neighbour() {
    let letters: TopicName = "letters".parse().expect("a name");
    for policy in [OnDecodeError::Fail, OnDecodeError::Skip, OnDecodeError::DeadLetter(letters.clone())] {
        let mut world = World::new(7, policy.clone()).await;
        let log = OddLog::over(&world.topic.log);
        world.topic.log = Arc::clone(&log) as Arc<dyn Log>;
        world.append(3, 4, false).await;
        let bad = append_bad(&mut world, &log).await;
        world.append(3, 4, false).await;
        let end = Cut::After(*world.entries.last().expect("written"));
        for archived in [false, true] {
            if archived {
                let archiver = Archiver::new(world.topic.clone(), ArchiveSettings::default());
                let done = archiver.run_once(&world.partition).await;
                if policy == OnDecodeError::Fail {
                    // Nothing is passed over that nobody allowed to.
                    let error = done.expect_err("it stands at the entry").to_string();
                    assert!(
                        error.contains("aquifer.on-decode-error") && error.contains(&bad[0].0.to_string()),
                        "{error}"
                    );
                    continue;
                }
                assert_eq!(done.expect("archives").end, end);
            }
            let mut reader = world.open(Cut::Start, Some(end), request(&["n"], 100)).await;
            let read = all(&mut reader).await;
            if policy == OnDecodeError::Fail {
                let error = read.expect_err("it fails").to_string();
                assert!(error.contains("aquifer.on-decode-error") && error.contains(&bad[0].0.to_string()), "{error}");
                continue;
            }
            assert_eq!(numbers(&read.expect("the others are read")), expected(&world), "{policy:?} {archived}");
            let skipped = reader.statistics().skipped_messages;
            // What the archiver left out is in no archive.
            assert_eq!(skipped > 0, !archived, "{policy:?}");
        }
        if let OnDecodeError::DeadLetter(to) = &policy {
            let partition = Partition::new(to.clone(), None);
            let sent = bodies(world.topic.log.as_ref(), &partition, 4).await;
            // By the reader, and by the archiver.
            let once: Vec<Vec<u8>> = bad.iter().map(|(_, bytes)| bytes.to_vec()).collect();
            assert_eq!(sent, [once.clone(), once].concat());
        }
    }
}

/// The payloads of the first messages of a partition.
async fn bodies(log: &dyn Log, partition: &Partition, count: usize) -> Vec<Vec<u8>> {
    let mut reader = log.open_reader(partition, Cut::Start).await.expect("opens");
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let entries =
            tokio::time::timeout(Duration::from_secs(30), reader.next(1 << 20)).await.expect("they are there");
        let mut builder = aquifer_formats::messages::MessageBatchBuilder::new(EntryLimits::default());
        for entry in entries.expect("read") {
            builder.append_entry(entry.position, &entry.bytes).expect("an entry");
        }
        let batch = builder.finish();
        bodies.extend(batch.payloads().iter().map(|body| body.expect("a value").to_vec()));
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_cannot_be_used_harms_only_the_messages_that_name_it() {
    let mut world = World::new(8, OnDecodeError::Skip).await;
    world.append(2, 3, false).await;
    let unusable = TopicSchema {
        name: "t".into(),
        kind: PayloadKind::Avro,
        definition: b"\"a text\"".to_vec(),
        properties: Default::default(),
    };
    let version = world.topic.log.put_schema(&world.topic.topic, &unusable).await.expect("registered");
    let spec = EntrySpec { producer_name: "other".into(), schema_version: Some(version.0), ..Default::default() };
    let message = NewMessage { sequence_id: 0, payload: Some(b"\x02"), ..Default::default() };
    let bytes = build_entry(&spec, &[message]).expect("an entry");
    let mut appender = world.topic.log.open_appender(&world.partition, "other").await.expect("opens");
    let Receipt::Stored(position) = appender.append(bytes, 0, 0, 1).await.expect("stored") else {
        panic!("a duplicate")
    };
    world.entries.push(position);
    // The newest schema is a good one again.
    let good = topic_schema_of(Format::Avro, "t", &table()).expect("columns");
    world
        .topic
        .log
        .put_schema(&world.topic.topic, &TopicSchema { name: "again".into(), ..good })
        .await
        .expect("registered");
    world.append(2, 3, false).await;
    let end = Cut::After(*world.entries.last().expect("written"));
    for archived in [false, true] {
        if archived {
            world.archive().await;
        }
        let mut reader = world.open(Cut::Start, Some(end), request(&["n"], 100)).await;
        assert_eq!(numbers(&all(&mut reader).await.expect("the others are read")), expected(&world));
        assert_eq!(reader.statistics().skipped_messages, 1);
        let mut strict = world.topic.clone();
        strict.on_error = OnDecodeError::Fail;
        let mut reader =
            strict.open(&world.partition, Cut::Start, Some(end), request(&["n"], 100)).await.expect("opens");
        let error = all(&mut reader).await.expect_err("it fails").to_string();
        assert!(error.contains("schema version") && error.contains("aquifer.on-decode-error"), "{error}");
    }
}

/// What is given in the place of an entry, by partition and position.
type Replaced = BTreeMap<(String, Position), Bytes>;

/// A log that is away now and then, and gives other bytes in the place of some entries.
#[derive(Debug)]
struct OddLog {
    log: Arc<dyn Log>,
    /// So many times more a reader finds it away.
    away: Arc<AtomicU32>,
    replaced: Arc<Mutex<Replaced>>,
}

impl OddLog {
    fn over(log: &Arc<dyn Log>) -> Arc<Self> {
        Arc::new(Self { log: Arc::clone(log), away: Arc::default(), replaced: Arc::default() })
    }
}

struct OddReader {
    partition: Partition,
    reader: Box<dyn EntryReader>,
    away: Arc<AtomicU32>,
    replaced: Arc<Mutex<Replaced>>,
}

#[async_trait]
impl EntryReader for OddReader {
    async fn next(&mut self, max_bytes: usize) -> Result<Vec<Entry>> {
        let takes_one = |left: u32| left.checked_sub(1);
        if self.away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes_one).is_ok() {
            return Err(Error::unavailable("the broker is away"));
        }
        let mut entries = self.reader.next(max_bytes).await?;
        let replaced = self.replaced.lock().expect("not poisoned");
        for entry in &mut entries {
            if let Some(bytes) = replaced.get(&(self.partition.to_string(), entry.position)) {
                entry.bytes = bytes.clone();
            }
        }
        Ok(entries)
    }
}

#[async_trait]
impl LogOver for OddLog {
    fn under(&self) -> &dyn Log {
        self.log.as_ref()
    }
    async fn open_reader(&self, partition: &Partition, after: Cut) -> Result<Box<dyn EntryReader>> {
        let reader = self.log.open_reader(partition, after).await?;
        let (away, replaced) = (Arc::clone(&self.away), Arc::clone(&self.replaced));
        Ok(Box::new(OddReader { partition: partition.clone(), reader, away, replaced }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_without_a_stop_outlasts_a_log_that_is_away_and_one_with_a_stop_says_so() {
    let mut world = World::new(9, OnDecodeError::Fail).await;
    world.append(4, 3, false).await;
    let log = OddLog::over(&world.topic.log);
    let away = &log.away;
    away.store(3, Ordering::Relaxed);
    let mut topic = world.topic.clone();
    topic.log = Arc::clone(&log) as Arc<dyn Log>;
    let mut reader = topic.open(&world.partition, Cut::Start, None, request(&["n"], 100)).await.expect("opens");
    let mut read = Vec::new();
    for again in [0, 2] {
        away.fetch_max(again, Ordering::Relaxed);
        while read.len() < expected(&world).len() {
            let batch = next(&mut reader).await.expect("it goes on").expect("without an end");
            read.extend(rows_as_text(&batch.rows));
        }
        assert_eq!(away.load(Ordering::Relaxed), 0);
        world.append(2, 3, false).await;
    }
    assert_eq!(read, expected(&world)[..read.len()]);
    away.store(1, Ordering::Relaxed);
    let end = Cut::After(*world.entries.last().expect("written"));
    let mut bounded = topic.open(&world.partition, Cut::Start, Some(end), request(&["n"], 100)).await.expect("opens");
    assert_eq!(all(&mut bounded).await.expect_err("it is away").kind(), ErrorKind::Unavailable);
}
