//! Other clients read what we write and we read what they write: every codec, batched and not, keyed, chunked, and without values.
//!
//! | client | its half |
//! |---|---|
//! | official Java | `Pair.java`, run from its source, which a runtime environment of Java 17 does; the client is among the broker's jars |
//! | `magnetar-driver` | integration-tests/magnetar, named by `AQUIFER_TEST_MAGNETAR` |
//!
//! The Python client and the `pulsar` crate are paired in `pulsar_reading.rs`, with the same table of cases.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aquifer_formats::chunked::build_chunks;
use aquifer_formats::entry::{Compression, EntrySpec};
use aquifer_model::{Cut, Partition};
use aquifer_storage::FinishedEntry;
use aquifer_storage::pulsar::{ProducerSettings, PulsarLog};

use super::given::given;
use super::own::services;
use super::peers::{PATIENCE, end_of};
use super::plain::{Plain, WAYS, Way, message, new_partition, noise, read_after, sample, spec, split, write_sample};

/// What comes last: a message too large for one entry, between two that are not.
fn large() -> [Plain; 3] {
    let large = (Some(b"large".to_vec()), Some(noise(12_000_000)));
    [(None, Some(b"before".to_vec())), large, (None, Some(b"after".to_vec()))]
}

/// All that the Java client writes.
fn expected_of_java() -> Vec<Plain> {
    WAYS.iter().flat_map(|_| sample()).chain(large()).collect()
}

/// All that `magnetar-driver` writes. It cannot write compressed batches and compressed empty values so that they are read, and forgets in a
/// batch that a key is base64.
fn expected_of_magnetar() -> Vec<Plain> {
    let mut batch = sample();
    batch[2].0 = Some(b"//4=".to_vec());
    let with_value = || sample().into_iter().filter(|plain| plain.1.as_ref().is_some_and(|value| !value.is_empty()));
    let codecs = WAYS.iter().filter(|(codec, batched)| !batched && *codec != Compression::None);
    batch.into_iter().chain(sample()).chain(codecs.flat_map(|_| with_value())).chain(large()).collect()
}

/// Writes the sample in each of these ways, then what is large, and tells all of it.
async fn write_all(log: &PulsarLog, partition: &Partition, ways: &[Way], of_chunks: Compression) -> Vec<Plain> {
    let mut written = write_sample(log, partition, ways).await;
    let mut producer = log.open_producer(partition, ProducerSettings::new("chunks")).await.unwrap();
    let spec = EntrySpec { producer_name: "chunks".into(), ..spec(of_chunks, false) };
    for (id, plain) in (0..).zip(large()) {
        let chunks = build_chunks(&spec, &message(id, &plain), 1_000_000).unwrap();
        let chunk = chunks.len() > 1;
        for bytes in chunks {
            producer.send(FinishedEntry { bytes, lowest: id, highest: id, messages: 1, chunk }).unwrap();
        }
        written.push(plain);
    }
    producer.flush().await.unwrap();
    written
}

async fn read_all(log: &PulsarLog, partition: &Partition) -> Vec<Plain> {
    split(&read_after(log, partition, Cut::Start, PATIENCE).await)
}

/// Says where two lists differ, and not all of what they hold.
fn check(given: &[Plain], expected: &[Plain], who: &str) {
    assert_eq!(given.len(), expected.len(), "{who}");
    for (number, (given, expected)) in given.iter().zip(expected).enumerate() {
        assert!(given.0 == expected.0, "{who}: the key of message {number}: {:?}", given.0);
        assert!(given.1 == expected.1, "{who}: the value of message {number}");
    }
}

/// A client that is run as `… write SERVICE TOPIC` and `… read SERVICE TOPIC COUNT FILE`.
enum Peer {
    /// By the jars that this script names.
    Java(PathBuf),
    /// This program.
    Magnetar(PathBuf),
}

impl Peer {
    fn java() -> Option<Self> {
        services().map(|services| Self::Java(services.join("pulsar.sh")))
    }

    fn magnetar() -> Option<Self> {
        let program = std::env::var_os("AQUIFER_TEST_MAGNETAR");
        if program.is_none() {
            assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_MAGNETAR is not set");
            eprintln!(
                "SKIPPED, NOTHING TESTED: set AQUIFER_TEST_MAGNETAR to the program that integration-tests/magnetar builds"
            );
        }
        program.map(|program| Self::Magnetar(program.into()))
    }

    fn command(&self) -> Command {
        match self {
            Self::Magnetar(program) => Command::new(program),
            Self::Java(script) => {
                let lib = Command::new(script).arg("lib").stderr(Stdio::inherit()).output().unwrap();
                assert!(lib.status.success(), "pulsar.sh lib failed");
                let mut command = Command::new("java");
                command
                    .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"])
                    .arg(format!("{}/*", String::from_utf8(lib.stdout).unwrap().trim()))
                    .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pulsar_drills/Pair.java"));
                command
            }
        }
    }

    /// What it can read: in which ways, and a message in chunks under which codec.
    fn reads(&self) -> (Vec<Way>, Compression) {
        match self {
            Self::Java(_) => (WAYS.to_vec(), Compression::Zstd),
            // Compressed batches it passes over without a word; an inflated message in chunks it holds against the limit of a frame.
            Self::Magnetar(_) => {
                let ways = WAYS.into_iter().filter(|(codec, batched)| !batched || *codec == Compression::None);
                (ways.collect(), Compression::None)
            }
        }
    }

    async fn run(self, arguments: Vec<String>) {
        let said = tokio::process::Command::from(self.command()).args(arguments).kill_on_drop(true).output();
        let said = tokio::time::timeout(PATIENCE, said).await.expect("it ends").unwrap();
        assert!(said.status.success(), "{}\n{}", end_of(&said.stdout), end_of(&said.stderr));
    }
}

/// What a peer wrote down.
fn shown(text: &str) -> Vec<Plain> {
    let bytes = |hex: &str| {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (hex != "-").then(|| (0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>())
    };
    text.lines().map(|line| line.split_once(' ').unwrap()).map(|(key, value)| (bytes(key), bytes(value))).collect()
}

async fn reads_what_we_write(peer: Option<Peer>) {
    let (Some(broker), Some(peer)) = (given(), peer) else { return };
    let log = broker.log();
    let partition = new_partition(&log, "to-peer").await;
    let (ways, of_chunks) = peer.reads();
    let expected = write_all(&log, &partition, &ways, of_chunks).await;
    check(&read_all(&log, &partition).await, &expected, "we read it ourselves");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("read");
    let (count, path) = (expected.len().to_string(), file.display().to_string());
    peer.run(vec!["read".into(), broker.service, partition.to_string(), count, path]).await;
    check(&shown(&std::fs::read_to_string(&file).unwrap()), &expected, "the peer");
}

async fn we_read_what_it_writes(peer: Option<Peer>, expected: &[Plain]) {
    let (Some(broker), Some(peer)) = (given(), peer) else { return };
    let log = broker.log();
    let partition = new_partition(&log, "from-peer").await;
    peer.run(vec!["write".into(), broker.service, partition.to_string()]).await;
    check(&read_all(&log, &partition).await, expected, "of the peer");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_java_client_reads_what_we_write() {
    reads_what_we_write(Peer::java()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_the_java_client_writes() {
    we_read_what_it_writes(Peer::java(), &expected_of_java()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn magnetar_reads_what_we_write() {
    reads_what_we_write(Peer::magnetar()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_magnetar_writes() {
    we_read_what_it_writes(Peer::magnetar(), &expected_of_magnetar()).await;
}
