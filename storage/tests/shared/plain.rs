//! Messages as any client sees them, and the ones that are written for other clients to read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aquifer_formats::entry::{Compression, EntryLimits, EntrySpec, NewMessage, build_entry};
use aquifer_formats::messages::MessageBatchBuilder;
use aquifer_model::{Cut, Partition, TopicName};
use aquifer_storage::pulsar::{ProducerSettings, PulsarLog};
use aquifer_storage::{Entry, FinishedEntry, Log, Receipt};
use arrow::array::{Array, AsArray, BinaryViewArray};

/// What a message is to other clients: its key and its value.
pub type Plain = (Option<Vec<u8>>, Option<Vec<u8>>);
/// A codec, and whether messages lie in a batch.
pub type Way = (Compression, bool);

/// Every codec, batched and not.
pub const WAYS: [Way; 10] = [
    (Compression::None, true),
    (Compression::None, false),
    (Compression::Lz4, true),
    (Compression::Lz4, false),
    (Compression::Zlib, true),
    (Compression::Zlib, false),
    (Compression::Zstd, true),
    (Compression::Zstd, false),
    (Compression::Snappy, true),
    (Compression::Snappy, false),
];

/// A new topic without partitions.
pub async fn new_partition(log: &PulsarLog, name: &str) -> Partition {
    let topic = TopicName::new("public", "default", format!("{name}-{:08x}", rand::random::<u32>()));
    log.create_topic(&topic, 0).await.unwrap();
    Partition::new(topic, None)
}

/// Bytes that no codec makes shorter; the peers make the same.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What is written in each way, with and without keys and values; the peers write the same.
pub fn sample() -> Vec<Plain> {
    vec![
        (Some(b"key one".to_vec()), Some(b"first".to_vec())),
        (None, Some(noise(5000))),
        (Some(vec![0xff, 0xfe]), Some(b"binary key".to_vec())),
        (Some("schl\u{fc}ssel".into()), None),
        (None, Some(Vec::new())),
        (Some(b"last".to_vec()), Some(vec![b'z'; 20_000])),
    ]
}

pub fn spec(compression: Compression, batched: bool) -> EntrySpec {
    let publish_time_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    EntrySpec { producer_name: "writer".into(), publish_time_ms, compression, batched, ..Default::default() }
}

pub fn message(sequence_id: i64, plain: &Plain) -> NewMessage<'_> {
    NewMessage { sequence_id, key: plain.0.as_deref(), payload: plain.1.as_deref(), ..Default::default() }
}

/// Writes the sample in each of these ways, and tells all of it.
pub async fn write_sample(log: &PulsarLog, partition: &Partition, ways: &[Way]) -> Vec<Plain> {
    let mut producer = log.open_producer(partition, ProducerSettings::new("writer")).await.unwrap();
    let (sample, mut written, mut next) = (sample(), Vec::new(), 0);
    for (codec, batched) in ways {
        for part in sample.chunks(if *batched { sample.len() } else { 1 }) {
            let messages: Vec<NewMessage<'_>> = (next..).zip(part).map(|(id, plain)| message(id, plain)).collect();
            let bytes = build_entry(&spec(*codec, *batched), &messages).unwrap();
            let (lowest, messages) = (next, messages.len() as u32);
            next += i64::from(messages);
            producer.send(FinishedEntry { bytes, lowest, highest: next - 1, messages, chunk: false }).unwrap();
        }
        written.extend(sample.iter().cloned());
    }
    for receipt in producer.flush().await.unwrap() {
        assert!(matches!(receipt, Receipt::Stored(_)));
    }
    written
}

/// Entries after `cut` until the last of the log has come, each within `patience`.
pub async fn read_after(log: &PulsarLog, partition: &Partition, cut: Cut, patience: Duration) -> Vec<Entry> {
    let Some(last) = log.last_position(partition).await.unwrap() else { return Vec::new() };
    let mut reader = log.open_reader(partition, cut).await.unwrap();
    let mut entries: Vec<Entry> = Vec::new();
    while entries.last().is_none_or(|entry| entry.position < last) {
        let next = tokio::time::timeout(patience, reader.next(1 << 20)).await;
        entries.extend(next.expect("an entry in time").unwrap());
    }
    entries
}

pub fn split(entries: &[Entry]) -> Vec<Plain> {
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    for entry in entries {
        builder.append_entry(entry.position, &entry.bytes).unwrap();
    }
    let batch = builder.finish();
    let keys = batch.rows().column_by_name("__key").unwrap().as_binary_view();
    let payloads = batch.payloads();
    let bytes = |array: &BinaryViewArray, row: usize| array.is_valid(row).then(|| array.value(row).to_vec());
    (0..batch.rows().num_rows()).map(|row| (bytes(keys, row), bytes(payloads, row))).collect()
}
