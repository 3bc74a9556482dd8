//! The official Java client reads what we write and we read what it writes: every codec, batched and not, keyed, chunked, and without values.
//!
//! The client is among the broker's jars; `Pair.java` is run from its source, which a runtime environment of Java 17 does.

use std::path::Path;
use std::process::{Command, Stdio};

use aquifer_formats::chunked::build_chunks;
use aquifer_formats::entry::{Compression, EntryLimits, EntrySpec, NewMessage, build_entry};
use aquifer_formats::messages::MessageBatchBuilder;
use aquifer_model::{Cut, Partition};
use aquifer_storage::pulsar::{ProducerSettings, PulsarLog};
use aquifer_storage::{FinishedEntry, Log};
use arrow::array::{Array, AsArray, BinaryViewArray};

use super::given::{Given, given};
use super::own::services;
use super::peers::{PATIENCE, new_partition};

/// A message's key and its value.
type Plain = (Option<Vec<u8>>, Option<Vec<u8>>);

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy];

/// Bytes that no codec makes shorter; `Pair.java` makes the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What is written under each codec, batched and not; `Pair.java` writes the same.
fn sample() -> Vec<Plain> {
    vec![
        (Some(b"key one".to_vec()), Some(b"first".to_vec())),
        (None, Some(noise(5000))),
        (Some(vec![0xff, 0xfe]), Some(b"binary key".to_vec())),
        (Some("schl\u{fc}ssel".into()), None),
        (None, Some(Vec::new())),
        (Some(b"last".to_vec()), Some(vec![b'z'; 20_000])),
    ]
}

/// All that either side writes.
fn expected() -> Vec<Plain> {
    let mut all: Vec<Plain> = (0..2 * CODECS.len()).flat_map(|_| sample()).collect();
    all.push((None, Some(b"before".to_vec())));
    all.push((Some(b"large".to_vec()), Some(noise(12_000_000))));
    all.push((None, Some(b"after".to_vec())));
    all
}

fn spec(compression: Compression, batched: bool) -> EntrySpec {
    EntrySpec {
        producer_name: "writer".into(),
        publish_time_ms: 1_700_000_000_000,
        compression,
        batched,
        ..Default::default()
    }
}

fn message(sequence_id: i64, plain: &Plain) -> NewMessage<'_> {
    NewMessage { sequence_id, key: plain.0.as_deref(), payload: plain.1.as_deref(), ..Default::default() }
}

async fn write_expected(log: &PulsarLog, partition: &Partition) {
    let mut producer = log.open_producer(partition, ProducerSettings::new("writer")).await.unwrap();
    let mut next = 0;
    for codec in CODECS {
        for batched in [true, false] {
            let sample = sample();
            for part in sample.chunks(if batched { sample.len() } else { 1 }) {
                let messages: Vec<NewMessage<'_>> = (next..).zip(part).map(|(id, plain)| message(id, plain)).collect();
                let bytes = build_entry(&spec(codec, batched), &messages).unwrap();
                let (lowest, messages) = (next, messages.len() as u32);
                next += i64::from(messages);
                producer.send(FinishedEntry { bytes, lowest, highest: next - 1, messages, chunk: false }).unwrap();
            }
        }
    }
    for plain in &expected()[12 * CODECS.len()..] {
        let chunks = build_chunks(&spec(Compression::Zstd, false), &message(next, plain), 1_000_000).unwrap();
        let chunk = chunks.len() > 1;
        for bytes in chunks {
            producer.send(FinishedEntry { bytes, lowest: next, highest: next, messages: 1, chunk }).unwrap();
        }
        next += 1;
    }
    producer.flush().await.unwrap();
}

async fn read_all(log: &PulsarLog, partition: &Partition) -> Vec<Plain> {
    let last = log.last_position(partition).await.unwrap().expect("something was written");
    let mut reader = log.open_reader(partition, Cut::Start).await.unwrap();
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    let mut at = None;
    while at.is_none_or(|at| at < last) {
        for entry in tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.expect("in time").unwrap() {
            builder.append_entry(entry.position, &entry.bytes).unwrap();
            at = Some(entry.position);
        }
    }
    let batch = builder.finish();
    let keys = batch.rows().column_by_name("__key").unwrap().as_binary_view();
    let payloads = batch.payloads();
    let bytes = |array: &BinaryViewArray, row: usize| array.is_valid(row).then(|| array.value(row).to_vec());
    (0..batch.rows().num_rows()).map(|row| (bytes(keys, row), bytes(payloads, row))).collect()
}

/// Says where two lists differ, and not all of what they hold.
fn check(given: &[Plain], expected: &[Plain], who: &str) {
    assert_eq!(given.len(), expected.len(), "{who}");
    for (number, (given, expected)) in given.iter().zip(expected).enumerate() {
        assert!(given.0 == expected.0, "{who}: the key of message {number}: {:?}", given.0);
        assert!(given.1 == expected.1, "{who}: the value of message {number}");
    }
}

/// Runs `Pair.java`.
async fn java(services: &Path, arguments: Vec<String>) {
    let script = services.join("pulsar.sh");
    let run = move || {
        let lib = Command::new(script).arg("lib").stderr(Stdio::inherit()).output().unwrap();
        assert!(lib.status.success(), "pulsar.sh lib failed");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pulsar_drills/Pair.java");
        let said = Command::new("java")
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(format!("{}/*", String::from_utf8(lib.stdout).unwrap().trim()))
            .arg(source)
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(3000)..]).into_owned();
        assert!(said.status.success(), "{}\n{}", text(&said.stdout), text(&said.stderr));
    };
    tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(run)).await.expect("it ends").unwrap();
}

/// What `Pair.java` wrote down.
fn shown(text: &str) -> Vec<Plain> {
    let bytes = |hex: &str| {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (hex != "-").then(|| (0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>())
    };
    text.lines().map(|line| line.split_once(' ').unwrap()).map(|(key, value)| (bytes(key), bytes(value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_java_client_reads_what_we_write() {
    let (Some(Given { service, admin }), Some(services)) = (given(), services()) else { return };
    let log = Given { service: service.clone(), admin }.log();
    let partition = new_partition(&log, "to-java").await;
    write_expected(&log, &partition).await;
    let expected = expected();
    check(&read_all(&log, &partition).await, &expected, "we read it ourselves");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("read");
    let (count, path) = (expected.len().to_string(), file.display().to_string());
    java(&services, vec!["read".into(), service, partition.to_string(), count, path]).await;
    check(&shown(&std::fs::read_to_string(&file).unwrap()), &expected, "the Java client");
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_the_java_client_writes() {
    let (Some(broker), Some(services)) = (given(), services()) else { return };
    let log = broker.log();
    let partition = new_partition(&log, "from-java").await;
    java(&services, vec!["write".into(), broker.service.clone(), partition.to_string()]).await;
    check(&read_all(&log, &partition).await, &expected(), "of the Java client");
}
