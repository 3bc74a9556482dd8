//! What every log must do, run on each of them: the embedded one always, Pulsar where `AQUIFER_TEST_PULSAR` names one.

#![allow(clippy::panic)] // this is test code

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aquifer_formats::entry::{Compression, EntryLimits, EntrySpec, NewMessage, build_entry};
use aquifer_formats::messages::MessageBatchBuilder;
use aquifer_model::{Cut, ErrorKind, Partition, PayloadKind, Position, SchemaVersion, TopicName, TopicSchema};
use aquifer_storage::embedded::{EmbeddedLog, EmbeddedSettings};
use aquifer_storage::pulsar::{PulsarConfig, PulsarLog};
use aquifer_storage::{Appender, Entry, Log, Receipt};
use bytes::Bytes;

const PRODUCER: &str = "writer";

fn message(sequence_id: i64, payload: Option<&[u8]>) -> NewMessage<'_> {
    NewMessage { sequence_id, payload, ..Default::default() }
}

fn single(sequence_id: i64, payload: &[u8]) -> Bytes {
    let spec = EntrySpec { producer_name: PRODUCER.into(), publish_time_ms: 1_700_000_000_000, ..Default::default() };
    build_entry(&spec, &[message(sequence_id, Some(payload))]).expect("one message")
}

async fn append(appender: &mut dyn Appender, bytes: Bytes, lowest: i64, highest: i64) -> Position {
    let count = u32::try_from(highest - lowest + 1).expect("a few");
    match appender.append(bytes, lowest, highest, count).await.expect("stored") {
        Receipt::Stored(position) => position,
        Receipt::Duplicate => panic!("{lowest}..={highest} is no duplicate"),
    }
}

/// Entries after `after` up to the last one now.
async fn read(log: &dyn Log, partition: &Partition, after: Cut) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let Some(last) = log.last_position(partition).await.expect("asked") else { return entries };
    if after.covers(last) {
        return entries;
    }
    let mut reader = log.open_reader(partition, after).await.expect("opens");
    while entries.last().is_none_or(|entry| entry.position < last) {
        let next = tokio::time::timeout(Duration::from_secs(30), reader.next(1 << 20)).await;
        entries.extend(next.expect("entries come within 30 s").expect("readable"));
    }
    entries
}

fn payloads(entries: &[Entry]) -> Vec<Option<Vec<u8>>> {
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    for entry in entries {
        builder.append_entry(entry.position, &entry.bytes).expect("whole");
    }
    builder.finish().payloads().iter().map(|payload| payload.map(<[u8]>::to_vec)).collect()
}

/// A topic of this name in `public/default` must not be there yet.
async fn conforms(log: Arc<dyn Log>, name: &str) {
    let log = log.as_ref();
    let topic: TopicName = name.parse().expect("a name");

    // Unknown topics are named; made ones are listed once, with their partitions.
    let error = log.partitions(&topic).await.expect_err("not made yet");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(name), "{error:?}");
    log.create_topic(&topic, 2).await.expect("made");
    assert_eq!(log.create_topic(&topic, 2).await.expect_err("made already").kind(), ErrorKind::Invalid);
    let partitions = log.partitions(&topic).await.expect("made");
    assert_eq!(partitions, [0, 1].map(|n| Partition::new(topic.clone(), Some(n))));
    let listed = log.topics("public", "default").await.expect("listed");
    assert_eq!(listed.iter().filter(|t| t.name.starts_with(name)).collect::<Vec<_>>(), [&topic]);
    assert!(log.namespaces().await.expect("listed").contains(&("public".into(), "default".into())));
    let identity = log.identity(&topic).await.expect("made");
    assert_eq!(log.identity(&topic).await.expect("made"), identity);
    assert!(log.policies(&topic).await.expect("readable").max_message_bytes >= 1 << 20);

    // An empty partition.
    let partition = &partitions[0];
    assert_eq!(log.last_position(partition).await.expect("asked"), None);
    assert_eq!(log.find_pin(partition, "pin").await.expect("asked"), None);
    let mut pin = log.open_pin(partition, "pin").await.expect("made");
    assert_eq!(log.find_pin(partition, "pin").await.expect("asked"), Some(Cut::Start));
    assert_eq!(pin.cut().await.expect("stands"), Cut::Start);

    // Each kind of entry, byte for byte behind whatever the broker adds in front.
    let mut appender = log.open_appender(partition, PRODUCER).await.expect("opens");
    assert_eq!(appender.last_sequence_id(), -1);
    let mut written: Vec<(Position, Bytes)> = Vec::new();
    let properties = [("a".to_string(), "b".to_string())];
    let mut next = 1;
    for compression in [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy]
    {
        for batched in [false, true] {
            let spec = EntrySpec {
                producer_name: PRODUCER.into(),
                publish_time_ms: 1_700_000_000_000,
                compression,
                batched,
                ..EntrySpec::default()
            };
            let count = if batched { 3 } else { 1 };
            let messages: Vec<NewMessage<'_>> = (next..next + count)
                .map(|sequence_id| NewMessage {
                    key: Some(b"key"),
                    event_time_ms: Some(5),
                    properties: &properties,
                    ..message(sequence_id, (sequence_id % 4 != 0).then_some(b"payload payload payload".as_slice()))
                })
                .collect();
            let bytes = build_entry(&spec, &messages).expect("messages");
            let position = append(appender.as_mut(), bytes.clone(), next, next + count - 1).await;
            written.push((position, bytes));
            next += count;
        }
    }
    assert!(written.is_sorted_by_key(|(position, _)| *position));
    let entries = read(log, partition, Cut::Start).await;
    assert_eq!(entries.len(), written.len());
    for (entry, (position, bytes)) in entries.iter().zip(&written) {
        assert_eq!(entry.position, *position);
        assert!(entry.bytes.ends_with(bytes), "the entry at {position} has other bytes");
    }
    let values = payloads(&entries);
    assert_eq!(values.len() as i64, next - 1);
    assert_eq!(values.iter().filter(|value| value.is_none()).count(), ((next - 1) / 4) as usize);
    assert_eq!(log.last_position(partition).await.expect("asked"), written.last().map(|(position, _)| *position));

    // Duplicates are dropped, also by a producer that comes again.
    let (_, last) = written.last().expect("some").clone();
    let receipt = appender.append(last, next - 3, next - 1, 3).await.expect("answered");
    assert_eq!(receipt, Receipt::Duplicate);
    drop(appender);
    let mut appender = log.open_appender(partition, PRODUCER).await.expect("opens again");
    assert_eq!(appender.last_sequence_id(), next - 1);
    assert_eq!(appender.append(single(1, b"again"), 1, 1, 1).await.expect("answered"), Receipt::Duplicate);
    let position = append(appender.as_mut(), single(next, b"tail"), next, next).await;
    written.push((position, single(next, b"tail")));

    // Partitions are logs of their own: marks, entries and pins of one are not those of the other.
    assert_eq!(log.last_position(&partitions[1]).await.expect("asked"), None);
    let mut beside = log.open_appender(&partitions[1], PRODUCER).await.expect("opens");
    assert_eq!(beside.last_sequence_id(), -1);
    append(beside.as_mut(), single(7, b"beside"), 7, 7).await;
    assert_eq!(payloads(&read(log, &partitions[1], Cut::Start).await), [Some(b"beside".to_vec())]);
    drop(beside);
    let unknown = Partition::new(topic.clone(), Some(9));
    assert_eq!(log.last_position(&unknown).await.expect_err("there are two").kind(), ErrorKind::Invalid);

    // From the middle, and in small pieces.
    for (n, (position, _)) in written.iter().enumerate() {
        let rest = read(log, partition, Cut::After(*position)).await;
        assert_eq!(
            rest.iter().map(|e| e.position).collect::<Vec<_>>(),
            written[n + 1..].iter().map(|w| w.0).collect::<Vec<_>>()
        );
    }
    let mut reader = log.open_reader(partition, Cut::Start).await.expect("opens");
    let mut small = Vec::new();
    while small.len() < written.len() {
        let next = reader.next(1).await.expect("readable");
        assert!(!next.is_empty());
        small.extend(next.into_iter().map(|entry| entry.position));
    }
    assert_eq!(small, written.iter().map(|w| w.0).collect::<Vec<_>>());

    // A reader at the end waits, and is woken.
    let waiting = tokio::time::timeout(Duration::from_millis(200), reader.next(1 << 20)).await;
    assert!(waiting.is_err(), "there is nothing to read");
    let position = append(appender.as_mut(), single(next + 1, b"live"), next + 1, next + 1).await;
    let live =
        tokio::time::timeout(Duration::from_secs(30), reader.next(1 << 20)).await.expect("woken").expect("readable");
    assert_eq!(live.iter().map(|e| e.position).collect::<Vec<_>>(), [position]);

    // Pins move forward only, and are still there when opened again.
    pin.advance(written[2].0).await.expect("moves");
    pin.advance(written[1].0).await.expect("stays");
    assert_eq!(pin.cut().await.expect("stands"), Cut::After(written[2].0));
    drop(pin);
    let pin = log.open_pin(partition, "pin").await.expect("opens again");
    assert_eq!(pin.cut().await.expect("stands"), Cut::After(written[2].0));
    drop(pin);
    log.remove_pin(partition, "pin").await.expect("removed");
    log.remove_pin(partition, "pin").await.expect("no error");
    assert_eq!(log.find_pin(partition, "pin").await.expect("asked"), None);

    // Ledgers cover what was written.
    let ledgers = log.ledgers(partition).await.expect("listed");
    assert!(ledgers.iter().is_sorted_by_key(|ledger| ledger.id));
    for (position, _) in &written {
        let ledger = ledgers.iter().find(|ledger| ledger.id == position.ledger).expect("its ledger is listed");
        assert!(position.entry < ledger.entries, "{position} in {ledger:?}");
    }

    // Schemas.
    assert_eq!(log.schema(&topic, None).await.expect("asked"), None);
    let schema = |fields: &str| TopicSchema {
        name: name.to_string(),
        kind: PayloadKind::Avro,
        definition: format!(r#"{{"type":"record","name":"r","fields":[{fields}]}}"#).into_bytes(),
        properties: BTreeMap::new(),
    };
    let first = schema(r#"{"name":"a","type":"int"}"#);
    let second = schema(r#"{"name":"a","type":"int"},{"name":"b","type":["null","int"],"default":null}"#);
    let versions = [
        log.put_schema(&topic, &first).await.expect("registered"),
        log.put_schema(&topic, &second).await.expect("registered"),
        log.put_schema(&topic, &first).await.expect("known"),
    ];
    assert_eq!(versions[0], versions[2]);
    assert_ne!(versions[0], versions[1]);
    for (version, expected) in [(Some(&versions[0]), &first), (Some(&versions[1]), &second), (None, &second)] {
        let (found_version, found) = log.schema(&topic, version).await.expect("asked").expect("there");
        assert_eq!(version.unwrap_or(&versions[1]), &found_version);
        assert_eq!((found.kind, &found.definition), (expected.kind, &expected.definition));
    }
    assert_eq!(log.schema(&topic, Some(&SchemaVersion::from_number(99))).await.expect("asked"), None);

    // A topic made again is another one.
    drop((reader, appender));
    log.delete_topic(&topic).await.expect("deleted");
    log.create_topic(&topic, 0).await.expect("made again");
    assert_ne!(log.identity(&topic).await.expect("made"), identity);
    let partitions = log.partitions(&topic).await.expect("made");
    assert_eq!(partitions, [Partition::new(topic.clone(), None)]);
    assert_eq!(log.last_position(&partitions[0]).await.expect("asked"), None);
    log.delete_topic(&topic).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_log_conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = EmbeddedSettings { segment_entries: 4, ..Default::default() };
    let log = EmbeddedLog::open(folder.path(), settings).expect("opens");
    conforms(log, "conformance").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pulsar_conforms() {
    let Ok(addresses) = std::env::var("AQUIFER_TEST_PULSAR") else {
        assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_PULSAR is not set");
        eprintln!("SKIPPED, NOTHING TESTED: set AQUIFER_TEST_PULSAR=pulsar://HOST:PORT,http://HOST:PORT");
        return;
    };
    let (service, admin) = addresses.split_once(',').expect("pulsar://HOST:PORT,http://HOST:PORT");
    let config = PulsarConfig {
        service_url: Some(service.to_string()),
        admin_url: Some(admin.to_string()),
        ..PulsarConfig::default()
    };
    let log = Arc::new(PulsarLog::new(config).expect("addresses"));
    conforms(log, &format!("conformance-{:08x}", rand::random::<u32>())).await;
}
