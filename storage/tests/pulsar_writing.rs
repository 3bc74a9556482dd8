//! Writing at strength against a real broker: `AQUIFER_TEST_PULSAR=pulsar://HOST:PORT,http://HOST:PORT`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::time::Duration;

use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, build_entry, summarize};
use aquifer_model::{Cut, ErrorKind, Partition, TopicName};
use aquifer_storage::pulsar::{AccessMode, ProducerSettings, PulsarConfig, PulsarLog};
use aquifer_storage::{FinishedEntry, Log, Receipt};

fn log() -> Option<PulsarLog> {
    let Ok(text) = std::env::var("AQUIFER_TEST_PULSAR") else {
        assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_PULSAR is not set");
        eprintln!("SKIPPED, NOTHING TESTED: set AQUIFER_TEST_PULSAR=pulsar://HOST:PORT,http://HOST:PORT");
        return None;
    };
    let (service, admin) = text.split_once(',').expect("pulsar://HOST:PORT,http://HOST:PORT");
    let (service_url, admin_url) = (Some(service.trim().to_string()), Some(admin.trim().to_string()));
    Some(PulsarLog::new(PulsarConfig { service_url, admin_url, ..Default::default() }).unwrap())
}

async fn new_partition(log: &PulsarLog, name: &str) -> Partition {
    let topic = TopicName::new("public", "default", format!("{name}-{:08x}", rand::random::<u32>()));
    log.create_topic(&topic, 0).await.unwrap();
    Partition::new(topic, None)
}

fn finished(producer: &str, lowest: i64, highest: i64) -> FinishedEntry {
    let messages: Vec<NewMessage<'_>> = (lowest..=highest)
        .map(|sequence_id| NewMessage { sequence_id, payload: Some(b"some bytes"), ..Default::default() })
        .collect();
    let spec = EntrySpec { producer_name: producer.into(), publish_time_ms: 1, batched: true, ..Default::default() };
    let messages_in = messages.len() as u32;
    FinishedEntry {
        bytes: build_entry(&spec, &messages).unwrap(),
        lowest,
        highest,
        messages: messages_in,
        chunk: false,
    }
}

/// The sequence ids of the first `count` entries.
async fn ids(log: &PulsarLog, partition: &Partition, count: usize) -> Vec<(i64, i64)> {
    let mut reader = log.open_reader(partition, Cut::Start).await.unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let entries = tokio::time::timeout(Duration::from_secs(30), reader.next(1 << 20)).await.unwrap().unwrap();
        found.extend(entries.iter().map(|entry| {
            let summary = summarize(&entry.bytes, &EntryLimits::default()).unwrap();
            (summary.lowest_sequence_id, summary.highest_sequence_id)
        }));
    }
    found
}

#[tokio::test]
async fn a_pipeline_gets_its_receipts_in_order_and_repeats_are_duplicates() {
    let Some(log) = log() else { return };
    let partition = new_partition(&log, "pipeline").await;
    let mut appender = log.open_appender(&partition, "writer").await.unwrap();
    let entries: Vec<FinishedEntry> = (0..300).map(|n| finished("writer", n * 10, n * 10 + 9)).collect();
    let (mut waiting, mut receipts) = (VecDeque::from(entries.clone()), Vec::new());
    appender.append_all(&mut waiting, &mut receipts).await.unwrap();
    assert!(waiting.is_empty());
    let positions: Vec<_> = receipts
        .iter()
        .map(|receipt| match receipt {
            Receipt::Stored(position) => *position,
            Receipt::Duplicate => panic!("a duplicate"),
        })
        .collect();
    assert_eq!(positions.len(), 300);
    assert!(positions.is_sorted_by(|a, b| a < b));
    assert_eq!(appender.last_sequence_id(), 2999);
    let (mut again, mut receipts) = (VecDeque::from(entries), Vec::new());
    again.push_back(finished("writer", 3000, 3000));
    appender.append_all(&mut again, &mut receipts).await.unwrap();
    assert!(receipts[..300].iter().all(|receipt| *receipt == Receipt::Duplicate));
    assert!(matches!(receipts[300], Receipt::Stored(_)));
    let mut expected: Vec<_> = (0..300).map(|n| (n * 10, n * 10 + 9)).collect();
    expected.push((3000, 3000));
    assert_eq!(ids(&log, &partition, 301).await, expected);
    // What no broker takes stops the pipeline where it stands; what went before has its receipts.
    let mut bad =
        VecDeque::from([finished("writer", 3001, 3001), FinishedEntry { messages: 0, ..finished("writer", 1, 1) }]);
    let mut receipts = Vec::new();
    let error = appender.append_all(&mut bad, &mut receipts).await.expect_err("no messages");
    assert_eq!((error.kind(), receipts.len(), bad.len()), (ErrorKind::Invalid, 1, 1), "{error}");
}

#[tokio::test]
async fn a_producer_sends_again_in_order_across_unloads() {
    let Some(log) = log() else { return };
    let partition = new_partition(&log, "resend").await;
    let admin = std::env::var("AQUIFER_TEST_PULSAR").unwrap().split_once(',').unwrap().1.to_string();
    let unload = format!("{admin}/admin/v2/persistent/public/default/{}/unload", partition.local_name());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut producer = log.open_producer(&partition, ProducerSettings::new("writer")).await.unwrap();
    let (mut next, mut answered) = (0, 0);
    for round in 0..6 {
        let unloading = tokio::spawn(client.put(&unload).send());
        while next < (round + 1) * 100 {
            let entry = finished("writer", next * 3, next * 3 + 2);
            while !producer.has_room(entry.bytes.len()) || producer.unanswered() > 20 {
                assert!(producer.receipt().await.unwrap().is_some());
                answered += 1;
            }
            producer.send(entry).unwrap();
            next += 1;
        }
        assert!(unloading.await.unwrap().unwrap().status().is_success());
    }
    answered += producer.flush().await.unwrap().len() as i64;
    assert_eq!(answered, next);
    let expected: Vec<_> = (0..next).map(|n| (n * 3, n * 3 + 2)).collect();
    assert_eq!(ids(&log, &partition, expected.len()).await, expected, "each once, in order");
}

#[tokio::test]
async fn exclusive_producers_shut_others_out_and_fencing_evicts_them() {
    let Some(log) = log() else { return };
    let partition = new_partition(&log, "access").await;
    let with = |name: &str, access| ProducerSettings { access, ..ProducerSettings::new(name) };
    let mut first = log.open_producer(&partition, with("first", AccessMode::Exclusive)).await.unwrap();
    let error = log.open_producer(&partition, with("second", AccessMode::Exclusive)).await.err().expect("taken");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    first.send(finished("first", 0, 0)).unwrap();
    assert_eq!(first.flush().await.unwrap().len(), 1);
    // Who waits gets it when the other goes.
    let waiting = log.open_producer(&partition, with("third", AccessMode::WaitForExclusive));
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut waiting).await.is_err(), "it waits");
    drop(first);
    let mut third = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("its turn").unwrap();
    let epoch = third.topic_epoch().expect("an epoch");
    third.send(finished("third", 0, 0)).unwrap();
    assert_eq!(third.flush().await.unwrap().len(), 1);
    // Fencing evicts the owner, which learns it when it writes.
    let mut fourth = log.open_producer(&partition, with("fourth", AccessMode::ExclusiveWithFencing)).await.unwrap();
    assert!(fourth.topic_epoch().expect("an epoch") > epoch);
    let outcome = match third.send(finished("third", 1, 1)) {
        Ok(()) => third.receipt().await.map(drop),
        Err(error) => Err(error),
    };
    let error = outcome.expect_err("evicted");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    fourth.send(finished("fourth", 0, 0)).unwrap();
    assert_eq!(fourth.flush().await.unwrap().len(), 1);
    assert_eq!(ids(&log, &partition, 3).await, [(0, 0), (0, 0), (0, 0)]);
}
