//! Reading at strength against a real broker, and in both directions against other clients: `AQUIFER_TEST_PULSAR=pulsar://HOST:PORT,http://HOST:PORT`,
//! and `AQUIFER_TEST_PYTHON` for the official Python client.

#![allow(clippy::unwrap_used, clippy::panic, clippy::large_futures)]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use aquifer_formats::chunked::build_chunks;
use aquifer_formats::entry::{Compression, EntryLimits, EntrySpec, NewMessage, broker_metadata, build_entry};
use aquifer_formats::messages::MessageBatchBuilder;
use aquifer_model::{Cut, Partition, Position};
use aquifer_storage::pulsar::{EncryptedMessages, ProducerSettings, PulsarConfig, PulsarLog};
use aquifer_storage::{Entry, FinishedEntry, Log};
use futures::StreamExt;
use pulsar::compression::{Compression as CrateCompression, CompressionLz4, CompressionZlib, CompressionZstd};
use pulsar::consumer::{ConsumerOptions, InitialPosition};
use pulsar::{Consumer, ProducerOptions, Pulsar, TokioExecutor};

#[path = "shared/plain.rs"]
mod plain;

use plain::{Plain, WAYS, new_partition, noise, sample, spec, split, write_sample};

struct Broker {
    service: String,
    admin: String,
}

fn broker() -> Option<Broker> {
    let Ok(text) = std::env::var("AQUIFER_TEST_PULSAR") else {
        assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_PULSAR is not set");
        eprintln!("SKIPPED, NOTHING TESTED: set AQUIFER_TEST_PULSAR=pulsar://HOST:PORT,http://HOST:PORT");
        return None;
    };
    let (service, admin) = text.split_once(',').expect("pulsar://HOST:PORT,http://HOST:PORT");
    Some(Broker { service: service.trim().into(), admin: admin.trim().into() })
}

impl Broker {
    fn log(&self) -> PulsarLog {
        self.log_with(PulsarConfig::default())
    }

    fn log_with(&self, config: PulsarConfig) -> PulsarLog {
        let (service_url, admin_url) = (Some(self.service.clone()), Some(self.admin.clone()));
        PulsarLog::new(PulsarConfig { service_url, admin_url, ..config }).unwrap()
    }

    async fn admin(&self, method: reqwest::Method, partition: &Partition, what: &str) -> serde_json::Value {
        let (topic, local) = (&partition.topic, partition.local_name());
        let url = format!("{}/admin/v2/persistent/{}/{}/{local}/{what}", self.admin, topic.tenant, topic.namespace);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.request(method, url).send().await.unwrap();
        assert!(response.status().is_success(), "{what}: {:?}", response.text().await);
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default()
    }

    /// Runs a Python program with the official client; what it says on standard error. The client logs to standard output.
    fn python(&self, program: &str, partition: &Partition, arguments: &[&str]) -> Option<String> {
        let Some(python) = std::env::var_os("AQUIFER_TEST_PYTHON") else {
            assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_PYTHON is not set");
            eprintln!("SKIPPED, THE PYTHON CLIENT IS NOT TESTED: set AQUIFER_TEST_PYTHON");
            return None;
        };
        let output = Command::new(python)
            .args(["-c", program, &self.service, &partition.to_string()])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}", &said[said.len().saturating_sub(3000)..]);
        Some(said.into_owned())
    }
}

/// Entries after `cut` until the last of the log has come.
async fn read_after(log: &PulsarLog, partition: &Partition, cut: Cut) -> Vec<Entry> {
    plain::read_after(log, partition, cut, Duration::from_secs(30)).await
}

/// Prints each message as hex of key and value, `-` where there is none, until `count` came.
const PYTHON_READS: &str = r#"
import sys, base64, pulsar
client = pulsar.Client(sys.argv[1])
reader = client.create_reader(sys.argv[2], pulsar.MessageId.earliest)
for _ in range(int(sys.argv[3])):
    message = reader.read_next(30000)
    key = message.partition_key().encode() if message.partition_key() else b''
    print((key.hex() or '-') + ' ' + (message.data().hex() or '-'), file=sys.stderr)
client.close()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_reads_what_we_write() {
    let Some(broker) = broker() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "to-python").await;
    let mut written = write_sample(&log, &partition, &WAYS).await;
    assert_eq!(split(&read_after(&log, &partition, Cut::Start).await), written, "we read it ourselves");
    let large = noise(7_000_000);
    let mut producer = log.open_producer(&partition, ProducerSettings::new("chunks")).await.unwrap();
    let message = NewMessage { key: Some(b"large"), payload: Some(&large), ..Default::default() };
    let named = EntrySpec { producer_name: "chunks".into(), ..spec(Compression::Zstd, false) };
    let chunks = build_chunks(&named, &message, 1_000_000).unwrap();
    assert!(chunks.len() > 3);
    for bytes in chunks {
        producer.send(FinishedEntry { bytes, lowest: 0, highest: 0, messages: 1, chunk: true }).unwrap();
    }
    producer.flush().await.unwrap();
    written.push((Some(b"large".to_vec()), Some(large)));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let Some(read) = broker.python(PYTHON_READS, &partition, &[&written.len().to_string()]) else { return };
    let or_dash = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) if !bytes.is_empty() => hex(bytes),
        _ => "-".to_string(),
    };
    // This client shows a binary key as its base64 text.
    let shown = |key: &Option<Vec<u8>>| match key.as_deref() {
        Some([0xff, 0xfe]) => Some(b"//4=".to_vec()),
        other => other.map(<[u8]>::to_vec),
    };
    let expected: Vec<String> =
        written.iter().map(|(key, value)| format!("{} {}", or_dash(&shown(key)), or_dash(value))).collect();
    assert_eq!(read.lines().collect::<Vec<_>>(), expected);
}

/// Writes the same messages under every codec, batched and not, then one that takes several chunks between two that do not.
const PYTHON_WRITES: &str = r#"
import sys, pulsar
client = pulsar.Client(sys.argv[1])
for codec in ['NONE', 'LZ4', 'ZLib', 'ZSTD', 'SNAPPY']:
    for batched in [True, False]:
        producer = client.create_producer(sys.argv[2], compression_type=getattr(pulsar.CompressionType, codec),
            batching_enabled=batched, batching_max_publish_delay_ms=1000)
        for n in range(20):
            producer.send_async(b'value %d' % n * (n + 1), None, partition_key='key %d' % n if n % 2 else None)
        producer.flush()
        producer.close()
noise, state = bytearray(12000000), 1
for n in range(len(noise)):
    state = (state * 1664525 + 1013904223) & 0xffffffff
    noise[n] = state >> 24
producer = client.create_producer(sys.argv[2], chunking_enabled=True, batching_enabled=False)
producer.send(b'before')
producer.send(bytes(noise))
producer.send(b'after')
client.close()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_the_python_client_writes() {
    let Some(broker) = broker() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "from-python").await;
    if broker.python(PYTHON_WRITES, &partition, &[]).is_none() {
        return;
    }
    let entries = read_after(&log, &partition, Cut::Start).await;
    let once: Vec<Plain> = (0..20)
        .map(|n| {
            let value = format!("value {n}").repeat(n + 1).into_bytes();
            ((n % 2 == 1).then(|| format!("key {n}").into_bytes()), Some(value))
        })
        .collect();
    let mut expected = Vec::new();
    for _ in 0..10 {
        expected.extend(once.iter().cloned());
    }
    expected.extend([b"before".to_vec(), noise(12_000_000), b"after".to_vec()].map(|value| (None, Some(value))));
    let given = split(&entries);
    assert_eq!(given.len(), expected.len());
    assert!(given == expected);
    // A reader that starts between the chunks has the whole message too.
    let whole = &entries[entries.len() - 2];
    let before = Position::new(whole.position.ledger, whole.position.entry - 1);
    let rest = read_after(&log, &partition, Cut::After(before)).await;
    assert_eq!(
        rest.iter().map(|entry| entry.position).collect::<Vec<_>>(),
        [whole.position, entries.last().unwrap().position]
    );
    assert!(rest[0].bytes == whole.bytes);
    let metadata = broker_metadata(&entries[0].bytes);
    assert!(metadata.index.is_some() && metadata.broker_time_ms.is_some(), "{metadata:?}");
}

/// Writes a plain and an encrypted message.
const PYTHON_ENCRYPTS: &str = r#"
import sys, pulsar
client = pulsar.Client(sys.argv[1])
client.create_producer(sys.argv[2]).send(b'plain one')
reader = pulsar.CryptoKeyReader(sys.argv[3] + '/public.pem', sys.argv[3] + '/private.pem')
producer = client.create_producer(sys.argv[2], encryption_key='a key', crypto_key_reader=reader,
    compression_type=pulsar.CompressionType.ZSTD)
producer.send(b'a secret', properties={'p': 'q'})
client.create_producer(sys.argv[2]).send(b'plain two')
client.close()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_messages_fail_are_passed_over_or_given_as_they_are() {
    let Some(broker) = broker() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "encrypted").await;
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["genrsa", "-out", "private.pem", "2048"][..],
        &["rsa", "-in", "private.pem", "-pubout", "-out", "public.pem"],
    ] {
        assert!(Command::new("openssl").args(arguments).current_dir(folder.path()).output().unwrap().status.success());
    }
    let Some(_) = broker.python(PYTHON_ENCRYPTS, &partition, &[&folder.path().display().to_string()]) else { return };
    let read = async |encrypted| {
        let log = broker.log_with(PulsarConfig { encrypted, ..Default::default() });
        read_after(&log, &partition, Cut::Start).await
    };
    let untouched = read(EncryptedMessages::Fail).await;
    assert_eq!(untouched.len(), 3);
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    let error = builder.append_entry(untouched[1].position, &untouched[1].bytes).expect_err("encrypted");
    assert!(error.to_string().contains("encrypted"), "{error}");
    let plain = |text: &str| (None, Some(text.as_bytes().to_vec()));
    assert_eq!(split(&read(EncryptedMessages::Discard).await), [plain("plain one"), plain("plain two")]);
    let raw = read(EncryptedMessages::Raw).await;
    let messages = split(&raw);
    assert_eq!((&messages[0], &messages[2]), (&plain("plain one"), &plain("plain two")));
    let cipher = messages[1].1.as_ref().expect("cipher text");
    assert!(!cipher.is_empty() && !cipher.windows(8).any(|part| part == b"a secret"));
    let text = String::from_utf8_lossy(&raw[1].bytes);
    assert!(text.contains("encryption.key.a key") && text.contains("encryption.parameter"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pulsar_crates_client_reads_what_we_write_and_we_what_it_writes() {
    let Some(broker) = broker() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "crate").await;
    // It reads Snappy in another format than all other clients, and gives a message without value as an empty one.
    let written = write_sample(&log, &partition, &WAYS[..8]).await;
    let client: Pulsar<_> = Pulsar::builder(broker.service.clone(), TokioExecutor).build().await.unwrap();
    let options =
        ConsumerOptions { initial_position: InitialPosition::Earliest, durable: Some(false), ..Default::default() };
    let mut consumer: Consumer<Vec<u8>, _> = client
        .consumer()
        .with_topic(partition.to_string())
        .with_subscription("second-opinion")
        .with_options(options)
        .build()
        .await
        .unwrap();
    for (index, (key, value)) in written.iter().enumerate() {
        let next = tokio::time::timeout(Duration::from_secs(30), consumer.next()).await.expect("in time");
        let message = next.unwrap().unwrap();
        let metadata = &message.payload.metadata;
        let shown = key.as_ref().map(|key| match std::str::from_utf8(key) {
            Ok(text) => text.to_string(),
            Err(_) => "//4=".to_string(),
        });
        assert_eq!(metadata.partition_key, shown, "message {index}");
        assert!(message.payload.data == value.clone().unwrap_or_default(), "message {index}");
    }
    drop(consumer);
    let mut expected = written.clone();
    for (number, compression) in [
        None,
        Some(CrateCompression::Lz4(CompressionLz4::default())),
        Some(CrateCompression::Zlib(CompressionZlib::default())),
        Some(CrateCompression::Zstd(CompressionZstd::default())),
    ]
    .into_iter()
    .enumerate()
    {
        for batch_size in [None, Some(3)] {
            let options = ProducerOptions { compression: compression.clone(), batch_size, ..Default::default() };
            let mut producer = client
                .producer()
                .with_topic(partition.to_string())
                .with_name(format!("crate-{number}-{}", batch_size.is_some()))
                .with_options(options)
                .build()
                .await
                .unwrap();
            let mut receipts = Vec::new();
            for (key, value) in sample().into_iter().filter(|(_, value)| value.is_some()) {
                let text = key.as_ref().and_then(|key| String::from_utf8(key.clone()).ok());
                let message = pulsar::producer::Message {
                    payload: value.clone().unwrap(),
                    partition_key: text.clone(),
                    ..Default::default()
                };
                receipts.push(producer.send_non_blocking(message).await.unwrap());
                expected.push((text.map(String::into_bytes), value));
            }
            if batch_size.is_some() {
                producer.send_batch().await.unwrap();
            }
            for receipt in receipts {
                receipt.await.unwrap();
            }
        }
    }
    let given = split(&read_after(&log, &partition, Cut::Start).await);
    assert_eq!(given.len(), expected.len());
    for (index, pair) in given.iter().zip(&expected).enumerate() {
        assert!(pair.0 == pair.1, "message {index}");
    }
}

#[tokio::test]
async fn a_compacted_topic_gives_the_newest_message_of_each_key() {
    let Some(broker) = broker() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "compacted").await;
    let mut producer = log.open_producer(&partition, ProducerSettings::new("writer")).await.unwrap();
    for sequence_id in 0..100i64 {
        let (key, value) = (format!("key {}", sequence_id % 7), sequence_id.to_string());
        let payload = (sequence_id != 99).then_some(value.as_bytes());
        let message = NewMessage { sequence_id, key: Some(key.as_bytes()), payload, ..Default::default() };
        let bytes = build_entry(&spec(Compression::None, sequence_id % 2 == 0), &[message]).unwrap();
        let (lowest, highest) = (sequence_id, sequence_id);
        producer.send(FinishedEntry { bytes, lowest, highest, messages: 1, chunk: false }).unwrap();
    }
    producer.flush().await.unwrap();
    broker.admin(reqwest::Method::PUT, &partition, "compaction").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = broker.admin(reqwest::Method::GET, &partition, "compaction").await;
        match status["status"].as_str() {
            Some("SUCCESS") => break,
            // The broker has loaded the topic anew since it was asked, and forgot.
            Some("NOT_RUN") if Instant::now() < deadline => {
                broker.admin(reqwest::Method::PUT, &partition, "compaction").await;
            }
            other => assert!(other != Some("ERROR") && Instant::now() < deadline, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let all = split(&read_after(&log, &partition, Cut::Start).await);
    assert_eq!(all.len(), 100, "who does not ask for it gets everything");
    let compacted = broker.log_with(PulsarConfig { read_compacted: true, ..Default::default() });
    let mut reader = compacted.open_reader(&partition, Cut::Start).await.unwrap();
    let expected: BTreeSet<Plain> = (92..99)
        .filter(|n| n % 7 != 99 % 7)
        .map(|n: i64| (Some(format!("key {}", n % 7).into_bytes()), Some(n.to_string().into_bytes())))
        .collect();
    // The broker may keep a key's last message although it has no value: it is no value then.
    let mut newest = BTreeSet::new();
    while newest.len() < expected.len() {
        let next = tokio::time::timeout(Duration::from_secs(30), reader.next(1 << 20)).await;
        newest.extend(split(&next.expect("in time").unwrap()).into_iter().filter(|(_, value)| value.is_some()));
    }
    assert_eq!(newest, expected, "no older value, and none of the key that has none any more");
}

#[tokio::test]
async fn a_pin_is_connected_again_at_once() {
    let Some(broker) = broker() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "kept-pin").await;
    let pin = log.open_pin(&partition, "pin").await.unwrap();
    let consumers = async || {
        let stats = broker.admin(reqwest::Method::GET, &partition, "stats").await;
        stats["subscriptions"]["pin"]["consumers"].as_array().map(Vec::len)
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    for _ in 0..3 {
        broker.admin(reqwest::Method::PUT, &partition, "unload").await;
        while consumers().await != Some(1) {
            assert!(Instant::now() < deadline, "nobody moved the pin, and it is not connected");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // With its holder gone first: a removal under one is the next test's.
    drop(pin);
    log.remove_pin(&partition, "pin").await.unwrap();
    assert_eq!(log.find_pin(&partition, "pin").await.unwrap(), None);
}

#[tokio::test]
async fn a_pin_that_is_removed_under_its_holder_stays_removed() {
    let Some(broker) = broker() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "removed-pin").await;
    // The holder subscribes again as soon as the broker closes its consumer, which it does before the subscription is gone.
    for number in 0..20 {
        let name = format!("pin-{number}");
        let _pin = log.open_pin(&partition, &name).await.unwrap();
        broker.log().remove_pin(&partition, &name).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut seen_gone = 0;
        // Made again it is there for good: a few looks in a row tell.
        while seen_gone < 5 {
            let found = log.find_pin(&partition, &name).await.unwrap();
            seen_gone = if found.is_none() { seen_gone + 1 } else { 0 };
            assert!(Instant::now() < deadline, "pin {number} was made again: {found:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
