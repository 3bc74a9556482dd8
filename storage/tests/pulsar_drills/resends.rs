//! A producer process killed while it sends, and started again with the same name and the same sequence ids.
//!
//! The child is this very test binary, asked for [`the_child_sends_until_it_is_killed`]. Entry `k` has the same bytes in every process. A child
//! begins at or before the first entry that has no receipt, so it sends again what is stored already.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use aquifer_model::{Cut, Partition, Position};
use aquifer_storage::pulsar::{ProducerSettings, PulsarConfig, PulsarLog};
use aquifer_storage::{Entry, FinishedEntry, Log, Receipt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::given::{Given, given};
use super::peers::{PATIENCE, next_entry};
use super::plain::new_partition;
use super::{number, seed};

/// What the child is told: addresses, partition, and from which entry to which it sends. Without it that test does nothing.
const TASK: &str = "AQUIFER_RESENDER";

fn entry(k: u64) -> FinishedEntry {
    next_entry(&mut StdRng::seed_from_u64(k), "resender", k as i64 * 60)
}

#[tokio::test]
#[ignore = "started by the test below"]
async fn the_child_sends_until_it_is_killed() {
    let Ok(task) = std::env::var(TASK) else { return };
    let words: Vec<&str> = task.split(' ').collect();
    let [service, admin, partition, from, to] = words[..] else { panic!("{task}") };
    let (service_url, admin_url) = (Some(service.to_string()), Some(admin.to_string()));
    let log = PulsarLog::new(PulsarConfig { service_url, admin_url, ..Default::default() }).unwrap();
    let partition = Partition::new(partition.parse().unwrap(), None);
    let mut producer = log.open_producer(&partition, ProducerSettings::new("resender")).await.unwrap();
    let (mut next, mut answered, to): (u64, u64, u64) =
        (from.parse().unwrap(), from.parse().unwrap(), to.parse().unwrap());
    while answered < to {
        while next < to && producer.unanswered() < 30 {
            producer.send(entry(next)).unwrap();
            next += 1;
        }
        match producer.receipt().await.unwrap().expect("on its way") {
            Receipt::Stored(at) => println!("receipt {answered} {} {}", at.ledger, at.entry),
            Receipt::Duplicate => println!("receipt {answered}"),
        }
        std::io::stdout().flush().unwrap();
        answered += 1;
    }
}

fn start_child(
    broker: &Given,
    partition: &Partition,
    from: u64,
    to: u64,
) -> (Child, Receiver<(u64, Option<Position>)>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "resends::the_child_sends_until_it_is_killed", "--ignored", "--nocapture"])
        .env(TASK, format!("{} {} {partition} {from} {to}", broker.service, broker.admin))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, receipts) = mpsc::channel();
    let stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            // The last line of a process that was killed may be half a line; it has no end then, and may not be what it looks like.
            let Ok(line) = line else { break };
            // The harness says its own before, on the same line.
            let Some((_, numbers)) = line.split_once("receipt ") else { continue };
            let numbers: Vec<u64> = numbers.split(' ').filter_map(|word| word.parse().ok()).collect();
            let receipt = match numbers[..] {
                [k, ledger, entry] => (k, Some(Position::new(ledger, entry))),
                [k] => (k, None),
                _ => continue,
            };
            if sender.send(receipt).is_err() {
                break;
            }
        }
    });
    (child, receipts)
}

/// Sends through processes that are killed, then through one that is not; how many entries, and where receipts said they are.
fn send_through_kills(broker: &Given, partition: &Partition, kills: u64) -> (u64, BTreeMap<u64, Vec<Position>>) {
    let mut random = StdRng::seed_from_u64(seed());
    let mut places: BTreeMap<u64, Vec<Position>> = BTreeMap::new();
    // The first entry without a receipt.
    let mut without = 0;
    for _ in 0..kills {
        let from = without - without.min(random.random_range(0..40));
        let wanted = random.random_range(1..150);
        let (mut child, receipts) = start_child(broker, partition, from, u64::MAX / 60);
        let mut killed = false;
        let mut count = 0;
        // After the kill: what the process had said by then.
        while let Ok((k, place)) = receipts.recv_timeout(PATIENCE) {
            places.entry(k).or_default().extend(place);
            without = without.max(k + 1);
            count += 1;
            if count >= wanted && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        assert!(killed, "the child ended by itself, or gave no receipt in time");
        child.wait().unwrap();
    }
    let total = without + 100;
    let (mut child, receipts) = start_child(broker, partition, without.saturating_sub(50), total);
    while let Ok((k, place)) = receipts.recv_timeout(PATIENCE) {
        places.entry(k).or_default().extend(place);
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(places.last_key_value().map(|(k, _)| *k), Some(total - 1));
    (total, places)
}

async fn read_all(log: &PulsarLog, partition: &Partition) -> Vec<Entry> {
    let last = log.last_position(partition).await.unwrap().expect("something was written");
    let mut reader = log.open_reader(partition, Cut::Start).await.unwrap();
    let mut entries: Vec<Entry> = Vec::new();
    while entries.last().is_none_or(|entry| entry.position < last) {
        entries.extend(tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.expect("in time").unwrap());
    }
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_killed_and_sends_the_same_again_loses_and_repeats_nothing() {
    let Some(broker) = given() else { return };
    let log = broker.log();
    let kills = number("AQUIFER_RESENDS", 5);
    let partition = new_partition(&log, "resent").await;
    assert!(log.policies(&partition.topic).await.unwrap().deduplicates);
    let (total, places) = tokio::task::block_in_place(|| send_through_kills(&broker, &partition, kills));
    let entries = read_all(&log, &partition).await;
    for (k, read) in (0..total).zip(&entries) {
        assert!(read.bytes.ends_with(&entry(k).bytes), "entry {k} at {}", read.position);
        let said = places.get(&k).map_or(&[][..], Vec::as_slice);
        assert!(said.iter().all(|place| *place == read.position), "entry {k} at {}: {said:?}", read.position);
    }
    assert_eq!(entries.len() as u64, total, "each once");
    eprintln!("{kills} kills, {total} entries");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_topic_that_does_not_deduplicate_nothing_is_lost_and_repeats_are_the_same_bytes() {
    let Some(broker) = given() else { return };
    let log = broker.log();
    let partition = new_partition(&log, "repeated").await;
    broker.set(&partition, "deduplicationEnabled", &serde_json::json!(false)).await;
    let deadline = std::time::Instant::now() + PATIENCE;
    while log.policies(&partition.topic).await.unwrap().deduplicates {
        assert!(std::time::Instant::now() < deadline, "the policy is not taken over");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (total, places) = tokio::task::block_in_place(|| send_through_kills(&broker, &partition, 2));
    let entries = read_all(&log, &partition).await;
    let mut copies: BTreeMap<u64, Vec<Position>> = BTreeMap::new();
    for read in &entries {
        let summary =
            aquifer_formats::entry::summarize(&read.bytes, &aquifer_formats::entry::EntryLimits::default()).unwrap();
        let k = summary.lowest_sequence_id as u64 / 60;
        assert!(read.bytes.ends_with(&entry(k).bytes), "entry {k} at {}", read.position);
        copies.entry(k).or_default().push(read.position);
    }
    assert!(copies.keys().copied().eq(0..total), "none is lost");
    for (k, said) in &places {
        assert!(said.iter().all(|place| copies[k].contains(place)), "entry {k}: {said:?} of {:?}", copies[k]);
    }
}
