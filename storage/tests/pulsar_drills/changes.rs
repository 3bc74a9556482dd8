//! Topics that change under a reader: partitions added, deleted and made again, truncated; and one of two hundred partitions.

use std::collections::BTreeMap;

use aquifer_model::{Cut, Partition, Position, TopicName};
use aquifer_storage::pulsar::{ProducerSettings, PulsarLog};
use aquifer_storage::{Entry, EntryReader, FinishedEntry, Log, Receipt};
use futures::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::Method;

use super::given::given;
use super::peers::{PATIENCE, next_entry};
use super::plain::new_partition;

fn unique(name: &str) -> TopicName {
    TopicName::new("public", "default", format!("{name}-{:08x}", rand::random::<u32>()))
}

/// Writes so many entries under a name of its own; each with its position.
async fn write(log: &PulsarLog, partition: &Partition, name: &str, count: usize) -> Vec<(Position, FinishedEntry)> {
    let mut random = StdRng::seed_from_u64(u64::from(partition.index.unwrap_or_default()));
    let mut producer = log.open_producer(partition, ProducerSettings::new(name)).await.unwrap();
    let mut sent = Vec::new();
    let mut next = 0;
    for _ in 0..count {
        let entry = next_entry(&mut random, name, next);
        next = entry.highest + 1;
        sent.push(entry.clone());
        producer.send(entry).unwrap();
    }
    let receipts = producer.flush().await.unwrap().into_iter().map(|receipt| match receipt {
        Receipt::Stored(position) => position,
        Receipt::Duplicate => panic!("a duplicate"),
    });
    receipts.zip(sent).collect()
}

/// The next `count` entries.
async fn read(reader: &mut dyn EntryReader, count: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        entries.extend(tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.expect("in time").unwrap());
    }
    entries
}

fn check(given: &[Entry], written: &[(Position, FinishedEntry)]) {
    assert_eq!(given.len(), written.len());
    for (entry, (position, sent)) in given.iter().zip(written) {
        assert_eq!(entry.position, *position);
        assert!(entry.bytes.ends_with(&sent.bytes), "{position}");
    }
}

/// That a reader gives nothing more: what is written next is the next that it gives.
async fn check_end(log: &PulsarLog, reader: &mut dyn EntryReader, partition: &Partition) {
    let last = write(log, partition, "last", 1).await;
    check(&read(reader, 1).await, &last);
}

#[tokio::test]
async fn partitions_that_are_added_are_listed_and_read_and_the_old_are_read_on() {
    let Some(broker) = given() else { return };
    let log = broker.log();
    let topic = unique("grows");
    log.create_topic(&topic, 2).await.unwrap();
    let old = log.partitions(&topic).await.unwrap();
    assert_eq!(old.len(), 2);
    let mut readers = Vec::new();
    for partition in &old {
        let mut reader = log.open_reader(partition, Cut::Start).await.unwrap();
        let written = write(&log, partition, "before", 5).await;
        check(&read(&mut *reader, 5).await, &written);
        readers.push(reader);
    }
    broker.set(&Partition::new(topic.clone(), None), "partitions", &serde_json::json!(5)).await;
    let all = log.partitions(&topic).await.unwrap();
    assert_eq!(all.len(), 5, "the same session sees them");
    assert_eq!(all[..2], old);
    for partition in &all[2..] {
        readers.push(log.open_reader(partition, Cut::Start).await.unwrap());
    }
    for (partition, reader) in all.iter().zip(&mut readers) {
        let written = write(&log, partition, "after", 5).await;
        check(&read(&mut **reader, 5).await, &written);
        check_end(&log, &mut **reader, partition).await;
    }
}

#[tokio::test]
async fn a_topic_that_is_deleted_and_made_again_is_another_and_gives_only_its_own() {
    let Some(broker) = given() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "again").await;
    let (first, identity) = (write(&log, &partition, "one", 6).await, log.identity(&partition.topic).await.unwrap());
    let mut under = log.open_reader(&partition, Cut::Start).await.unwrap();
    check(&read(&mut *under, 6).await, &first);
    log.delete_topic(&partition.topic).await.unwrap();
    log.create_topic(&partition.topic, 0).await.unwrap();
    assert_ne!(log.identity(&partition.topic).await.unwrap(), identity, "its positions mean something else");
    let second = write(&log, &partition, "two", 6).await;
    let mut reader = log.open_reader(&partition, Cut::Start).await.unwrap();
    check(&read(&mut *reader, 6).await, &second);
    // Who read the old one either learns that it is gone, or goes on with the new one's entries: never anything twice or by halves.
    let mut given: Vec<Entry> = Vec::new();
    while given.len() < second.len() {
        match tokio::time::timeout(PATIENCE, under.next(1 << 20)).await.expect("in time") {
            Ok(entries) => given.extend(entries),
            Err(error) => {
                assert!(error.to_string().contains(&partition.topic.name), "{error}");
                break;
            }
        }
    }
    check(&given, &second[..given.len()]);
    check_end(&log, &mut *reader, &partition).await;
}

#[tokio::test]
async fn after_a_truncation_what_is_left_and_what_comes_is_read_once() {
    let Some(broker) = given() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "truncated").await;
    let before = write(&log, &partition, "before", 8).await;
    let mut under = log.open_reader(&partition, Cut::Start).await.unwrap();
    check(&read(&mut *under, 8).await, &before);
    broker.ask(Method::DELETE, &partition, "truncate", None).await;
    let after = write(&log, &partition, "after", 8).await;
    // The reader that was there, one from a place that is gone, one from the end of what is gone.
    check(&read(&mut *under, 8).await, &after);
    for cut in [Cut::After(before[2].0), Cut::After(before[7].0)] {
        let mut reader = log.open_reader(&partition, cut).await.unwrap();
        let mut given: Vec<Entry> = Vec::new();
        while given.last().is_none_or(|entry| entry.position < after[7].0) {
            given.extend(read(&mut *reader, 1).await);
        }
        // Ledgers go when the broker comes to it: what is still there may be given, in order, once.
        let left = given.len() - after.len();
        check(&given[left..], &after);
        let rest: Vec<_> = before.iter().filter(|(position, _)| !cut.covers(*position)).cloned().collect();
        check(&given[..left], &rest[rest.len() - left..]);
    }
    check_end(&log, &mut *under, &partition).await;
}

#[tokio::test]
async fn two_hundred_partitions_are_written_and_read_in_one_process() {
    let Some(broker) = given() else { return };
    let log = broker.log();
    let topic = unique("wide");
    log.create_topic(&topic, 200).await.unwrap();
    let partitions = log.partitions(&topic).await.unwrap();
    assert_eq!(partitions.len(), 200);
    let mut readers = BTreeMap::new();
    for partition in &partitions {
        readers.insert(partition.clone(), log.open_reader(partition, Cut::Start).await.unwrap());
    }
    let all_written = join_all(partitions.iter().map(|partition| write(&log, partition, "writer", 10))).await;
    // All readers are open at once; each has what was written to its partition, to the last.
    let all_given = join_all(readers.values_mut().map(|reader| read(&mut **reader, 10))).await;
    assert!(readers.keys().eq(&partitions));
    for (given, written) in all_given.iter().zip(&all_written) {
        check(given, written);
    }
    let messages: u32 = all_written.iter().flatten().map(|(_, entry)| entry.messages).sum();
    eprintln!("{messages} messages in 2000 entries of 200 partitions");
}
