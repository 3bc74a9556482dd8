//! Who writes and who reads in a drill: our producer with its account, our reader, and the official Python client with its receipts.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aquifer_formats::chunked::build_chunks;
use aquifer_formats::entry::{Compression, EntryLimits, EntrySpec, NewMessage, build_entry, summarize};
use aquifer_formats::messages::MessageBatchBuilder;
use aquifer_model::{Cut, ErrorKind, Partition, Position};
use aquifer_storage::pulsar::{ProducerSettings, PulsarLog};
use aquifer_storage::{Entry, EntryReader, FinishedEntry, Log, Receipt};
use arrow::array::Array;
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The end of what a program said.
pub fn end_of(said: &[u8]) -> String {
    String::from_utf8_lossy(&said[said.len().saturating_sub(6000)..]).into_owned()
}

/// What is waited for comes within this time.
pub const PATIENCE: Duration = Duration::from_secs(360);

/// The next entry: one message or a batch, of any codec, of small or large values that name themselves.
pub fn next_entry(random: &mut StdRng, producer: &str, first: i64) -> FinishedEntry {
    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy];
    let messages = if random.random_bool(0.3) { 1 } else { random.random_range(2..60) };
    let longest = if random.random_bool(0.05) { 40_000 } else { 400 };
    let values: Vec<Vec<u8>> = (first..first + messages)
        .map(|id| {
            let mut value = id.to_string().into_bytes();
            value.extend((0..random.random_range(0..longest) / messages).map(|_| random.random::<u8>()));
            value
        })
        .collect();
    let spec = EntrySpec {
        producer_name: producer.into(),
        publish_time_ms: 1_700_000_000_000,
        compression: CODECS[random.random_range(0..5)],
        batched: messages > 1,
        ..Default::default()
    };
    let given: Vec<NewMessage<'_>> = (first..)
        .zip(&values)
        .map(|(sequence_id, value)| NewMessage { sequence_id, payload: Some(value), ..Default::default() })
        .collect();
    let bytes = build_entry(&spec, &given).unwrap();
    FinishedEntry { bytes, lowest: first, highest: first + messages - 1, messages: messages as u32, chunk: false }
}

/// A message that is too long for one entry, in chunks; with what a reader is to be given for the last of them.
pub fn next_chunks(random: &mut StdRng, producer: &str, id: i64) -> (Vec<FinishedEntry>, Bytes) {
    const LONGEST_ENTRY: usize = 2000;
    let mut value = id.to_string().into_bytes();
    let length = random.random_range(2 * LONGEST_ENTRY..10 * LONGEST_ENTRY);
    value.extend((0..length).map(|_| random.random::<u8>()));
    let spec = EntrySpec { producer_name: producer.into(), publish_time_ms: 1_700_000_000_000, ..Default::default() };
    let message = NewMessage { sequence_id: id, payload: Some(&value), ..Default::default() };
    let chunks = build_chunks(&spec, &message, LONGEST_ENTRY).unwrap();
    let entry = |bytes| FinishedEntry { bytes, lowest: id, highest: id, messages: 1, chunk: true };
    (chunks.into_iter().map(entry).collect(), build_entry(&spec, &[message]).unwrap())
}

/// What a producer of ours did, in order: the receipt of each entry, and what a reader is to be given for it; nothing for a chunk that is not the last.
pub type Account = Vec<(Option<Bytes>, Receipt)>;

/// Writes plain entries and batches, and chunked messages if `chunks_wanted`, until `done` says that it is enough; counts receipts in `acknowledged`.
pub async fn write(
    log: &PulsarLog,
    partition: &Partition,
    mut random: StdRng,
    chunks_wanted: bool,
    acknowledged: &AtomicUsize,
    done: impl Fn() -> bool,
) -> Account {
    let settings = ProducerSettings { resend_within: PATIENCE, ..ProducerSettings::new("writer") };
    let mut producer = log.open_producer(partition, settings).await.unwrap();
    let (mut expected, mut receipts, mut next) = (Vec::new(), Vec::new(), 0);
    while !done() {
        while producer.unanswered() < 30 {
            if chunks_wanted && random.random_bool(0.15) {
                let (chunks, whole) = next_chunks(&mut random, "writer", next);
                expected.extend(std::iter::repeat_n(None, chunks.len() - 1).chain([Some(whole)]));
                chunks.into_iter().for_each(|chunk| producer.send(chunk).unwrap());
                next += 1;
            } else {
                let entry = next_entry(&mut random, "writer", next);
                next = entry.highest + 1;
                expected.push(Some(entry.bytes.clone()));
                producer.send(entry).unwrap();
            }
        }
        let receipt = tokio::time::timeout(PATIENCE, producer.receipt()).await.expect("a receipt in time");
        receipts.push(receipt.unwrap().expect("entries are on their way"));
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    receipts.extend(tokio::time::timeout(PATIENCE, producer.flush()).await.expect("receipts in time").unwrap());
    assert_eq!(expected.len(), receipts.len());
    expected.into_iter().zip(receipts).collect()
}

/// How many messages an entry holds.
fn messages(entry: &Entry) -> u32 {
    summarize(&entry.bytes, &EntryLimits::default()).unwrap().messages
}

/// A reader, opened as often as it takes while connections break.
async fn open(log: &PulsarLog, partition: &Partition, after: Cut) -> Box<dyn EntryReader> {
    let opened = async {
        loop {
            match log.open_reader(partition, after).await {
                Ok(reader) => return reader,
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.expect("opened in time")
}

/// Reads from the start until what was announced as the last position has come. Now and then the reader is given up between the chunks of a message
/// and another goes on from there, as a job does that was stopped.
pub async fn read(log: &PulsarLog, partition: &Partition, mut last: watch::Receiver<Option<Position>>) -> Vec<Entry> {
    let mut reader = open(log, partition, Cut::Start).await;
    let mut given: Vec<Entry> = Vec::new();
    loop {
        let until = *last.borrow_and_update();
        if until.is_some_and(|until| given.last().is_some_and(|entry| entry.position >= until)) {
            return given;
        }
        let next = async {
            tokio::select! {
                entries = reader.next(4 * 1024) => entries.unwrap(),
                Ok(()) = last.changed() => Vec::new(),
            }
        };
        let entries = tokio::time::timeout(PATIENCE, next).await.expect("entries in time");
        if let Some(between) = entries.last().filter(|entry| messages(entry) == 0 && entry.position.entry % 4 == 0) {
            reader = open(log, partition, Cut::After(between.position)).await;
        }
        given.extend(entries);
    }
}

/// Holds what was read against an account: every message once, in order, with its bytes, where its receipt says. Chunks that were stored again before
/// their last one was known as a duplicate are given as nothing.
pub fn check_account(given: &[Entry], account: &Account) {
    assert!(given.windows(2).all(|pair| pair[0].position < pair[1].position));
    let given: Vec<&Entry> = given.iter().filter(|entry| messages(entry) > 0).collect();
    let account: Vec<_> = account.iter().filter_map(|(bytes, receipt)| Some((bytes.as_ref()?, receipt))).collect();
    for (number, (entry, (bytes, receipt))) in given.iter().zip(&account).enumerate() {
        assert!(entry.bytes.ends_with(bytes), "entry {number} at {} is another than was sent", entry.position);
        if let Receipt::Stored(position) = receipt {
            assert_eq!(entry.position, *position, "entry {number}");
        }
    }
    assert_eq!(given.len(), account.len(), "entries read and acknowledged");
}

/// Batches of messages that name themselves, under a producer name of its own, until standard input ends; then the receipts, a line each:
/// ledger, entry, place in the batch (-1: none; ledger and entry -1: known as a duplicate), value as hex.
const PYTHON_WRITES: &str = r"
import sys, threading, random, pulsar
stop, lines, lock = threading.Event(), {}, threading.Lock()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
client = pulsar.Client(sys.argv[1], operation_timeout_seconds=300)
producer = client.create_producer(sys.argv[2], producer_name='python', send_timeout_millis=0, batching_enabled=True,
    batching_max_publish_delay_ms=5, block_if_queue_full=True, compression_type=pulsar.CompressionType.LZ4)
chance, n = random.Random(4), 0
def told(n, value):
    def receipt(result, at):
        with lock:
            lines[n] = (result, at, value)
    return receipt
while not stop.wait(0.01):
    for _ in range(chance.randint(1, 40)):
        value = b'%d ' % n + chance.randbytes(chance.randint(0, 300))
        producer.send_async(value, told(n, value))
        n += 1
    producer.flush()
producer.flush()
with open(sys.argv[3], 'w') as out:
    for i in range(n):
        result, at, value = lines[i]
        assert result == pulsar.Result.Ok, (i, result)
        out.write('%d %d %d %s\n' % (at.ledger_id(), at.entry_id(), at.batch_index(), value.hex()))
client.close()
";

/// The official client, writing. Killed when dropped: it would wait for a broker that is gone for ever.
pub struct Python {
    child: Child,
    folder: tempfile::TempDir,
}

impl Python {
    /// Begins to write; `None` where there is no Python with the client.
    pub fn start(service: &str, partition: &Partition) -> Option<Self> {
        let Some(python) = std::env::var_os("AQUIFER_TEST_PYTHON") else {
            assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_PYTHON is not set");
            eprintln!("SKIPPED, THE PYTHON CLIENT IS NOT TESTED: set AQUIFER_TEST_PYTHON");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(python)
            .args(["-c", PYTHON_WRITES, service, &partition.to_string()])
            .arg(folder.path().join("receipts"))
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(folder.path().join("log")).unwrap())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Some(Self { child, folder })
    }

    /// Lets it end, and gives its receipts: the position if it has one, and the value.
    pub async fn finish(mut self) -> Vec<(Option<Position>, Vec<u8>)> {
        drop(self.child.stdin.take());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let log = || end_of(&std::fs::read(self.folder.path().join("log")).unwrap());
        let Ok(status) = ended else { panic!("the Python client does not end:\n{}", log()) };
        assert!(status.unwrap().success(), "the Python client failed:\n{}", log());
        let text = std::fs::read_to_string(self.folder.path().join("receipts")).unwrap();
        text.lines().map(receipt_line).collect()
    }
}

fn receipt_line(line: &str) -> (Option<Position>, Vec<u8>) {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap();
    let place = word().parse().ok().zip(word().parse().ok());
    let (_batch_index, hex) = (word(), word());
    let value = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    (place.map(|(ledger, entry)| Position::new(ledger, entry)), value)
}

/// Holds what was read against the Python client's receipts: every message once, in order.
pub fn check_receipts(given: &[Entry], receipts: &[(Option<Position>, Vec<u8>)]) {
    let mut receipts = receipts.iter().enumerate();
    for entry in given {
        let mut builder = MessageBatchBuilder::new(EntryLimits::default());
        builder.append_entry(entry.position, &entry.bytes).unwrap();
        let batch = builder.finish();
        let payloads = batch.payloads();
        for row in 0..payloads.len() {
            let (number, (position, value)) = receipts.next().expect("no more was acknowledged");
            assert!(payloads.value(row) == value, "message {number} at {} is another than was sent", entry.position);
            assert!(position.is_none_or(|position| position == entry.position), "message {number}");
        }
    }
    assert_eq!(receipts.next().map(|(number, _)| number), None, "acknowledged and not read");
}
