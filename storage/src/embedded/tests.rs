use std::time::Duration;

use aquifer_formats::entry::{EntrySpec, NewMessage, build_entry};
use aquifer_model::ErrorKind;
use proptest::prelude::*;

use std::collections::BTreeMap;

use super::*;
use crate::log::Entry;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn entry(producer: &str, sequence_id: i64, payload: &[u8]) -> Bytes {
    let spec = EntrySpec { producer_name: producer.into(), ..Default::default() };
    build_entry(&spec, &[NewMessage { sequence_id, payload: Some(payload), ..Default::default() }])
        .expect("one message")
}

fn quick(segment_entries: u64, retention: Option<Duration>) -> EmbeddedSettings {
    EmbeddedSettings { segment_entries, retention, sync: false, ..Default::default() }
}

async fn read_all(log: &EmbeddedLog, partition: &Partition, after: Cut) -> Vec<Entry> {
    let Some(last) = log.last_position(partition).await.expect("there") else { return Vec::new() };
    let mut entries = Vec::new();
    if Cut::After(last) <= after {
        return entries;
    }
    let mut reader = log.open_reader(partition, after).await.expect("there");
    while entries.last().is_none_or(|e: &Entry| e.position < last) {
        entries.extend(reader.next(200).await.expect("readable"));
    }
    entries
}

fn segment_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a partition's folder")
        .map(|entry| entry.expect("listed").path())
        .filter(|path| path.extension().is_some_and(|e| e == "segment"))
        .collect();
    files.sort();
    files
}

#[derive(Debug, Clone)]
enum Step {
    Append { producer: u8, ahead: i64, messages: u8 },
    Reopen,
    Advance { pin: bool, at: prop::sample::Index },
    MakePin,
    RemovePin,
    Read { at: prop::sample::Index },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..3, -1i64..3, 1u8..4).prop_map(|(producer, ahead, messages)| Step::Append { producer, ahead, messages }),
        1 => Just(Step::Reopen),
        2 => (any::<bool>(), any::<prop::sample::Index>()).prop_map(|(pin, at)| Step::Advance { pin, at }),
        1 => Just(Step::MakePin),
        1 => Just(Step::RemovePin),
        2 => any::<prop::sample::Index>().prop_map(|at| Step::Read { at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The oracle is a vector of all entries that had a receipt; what retention 0 and the pins allow may be gone from its front, nothing else.
    #[test]
    fn whatever_is_done_each_acknowledged_entry_is_kept_once_in_order_until_the_pins_pass_it(steps in prop::collection::vec(any_step(), 1..60)) {
        runtime().block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let settings = quick(3, Some(Duration::ZERO));
            let mut log = EmbeddedLog::open(folder.path(), settings.clone()).expect("opens");
            let topic: TopicName = "t".parse().expect("a name");
            log.create_topic(&topic, 0).await.expect("new");
            let partition = Partition::new(topic, None);
            log.open_pin(&partition, "kept").await.expect("made");
            let (mut all, mut marks) = (Vec::<Entry>::new(), [-1i64; 3]);
            let mut gone = 0;
            let mut pins: BTreeMap<&str, Cut> = BTreeMap::from([("kept", Cut::Start)]);
            for step in steps {
                match step {
                    Step::Append { producer, ahead, messages } => {
                        let name = format!("p{producer}");
                        let mut appender = log.open_appender(&partition, &name).await.expect("opens");
                        let mark = &mut marks[producer as usize];
                        prop_assert_eq!(appender.last_sequence_id(), *mark);
                        let lowest = (*mark + ahead).max(0);
                        let highest = lowest + i64::from(messages) - 1;
                        let spec = EntrySpec { producer_name: name, batched: true, ..Default::default() };
                        let list: Vec<_> = (lowest..=highest).map(|sequence_id| NewMessage { sequence_id, payload: Some(b"x"), ..Default::default() }).collect();
                        let bytes = build_entry(&spec, &list).expect("messages");
                        let receipt = appender.append(bytes.clone(), lowest, highest, messages.into()).await.expect("stored");
                        match receipt {
                            Receipt::Duplicate => prop_assert!(lowest <= *mark),
                            Receipt::Stored(position) => {
                                prop_assert!(lowest > *mark);
                                prop_assert!(all.last().is_none_or(|last| last.position < position));
                                *mark = highest;
                                all.push(Entry { position, bytes });
                            }
                        }
                    }
                    Step::Reopen => {
                        drop(log);
                        log = EmbeddedLog::open(folder.path(), settings.clone()).expect("opens again");
                    }
                    Step::Advance { pin, at } if !all.is_empty() => {
                        let name = if pin { "kept" } else { "other" };
                        let position = all[at.index(all.len())].position;
                        if let Some(cut) = pins.get_mut(name) {
                            *cut = (*cut).max(Cut::After(position));
                            log.open_pin(&partition, name).await.expect("there").advance(position).await.expect("advances");
                        }
                    }
                    Step::MakePin => {
                        log.open_pin(&partition, "other").await.expect("made");
                        pins.entry("other").or_insert(Cut::Start);
                    }
                    Step::RemovePin => {
                        log.remove_pin(&partition, "other").await.expect("removed");
                        pins.remove("other");
                    }
                    Step::Read { at } if !all.is_empty() => {
                        let after = Cut::After(all[at.index(all.len())].position);
                        let read = read_all(&log, &partition, after).await;
                        let expected: Vec<Entry> = all.iter().filter(|e| !after.covers(e.position)).cloned().collect();
                        prop_assert!(expected.ends_with(&read));
                    }
                    Step::Advance { .. } | Step::Read { .. } => {}
                }
                for (name, cut) in &pins {
                    prop_assert_eq!(log.open_pin(&partition, name).await.expect("there").cut().await.expect("stands"), *cut);
                }
                let lowest = pins.values().min().copied().expect("one is always kept");
                let read = read_all(&log, &partition, Cut::Start).await;
                prop_assert!(all.ends_with(&read), "what is read is a tail of what was acknowledged");
                // A pin made late does not bring back what was trimmed before it.
                let needed = all[gone..].iter().filter(|e| !lowest.covers(e.position)).count();
                gone = all.len() - read.len();
                prop_assert!(read.len() >= needed, "{} of {} entries that a pin holds", read.len(), needed);
                prop_assert!(read.len() <= needed + 6, "closed ledgers behind all pins are gone");
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_torn_tail_is_cut_back_wherever_it_is_torn() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let topic: TopicName = "t".parse().expect("a name");
        let partition = Partition::new(topic.clone(), None);
        let log = EmbeddedLog::open(folder.path(), quick(100, None)).expect("opens");
        log.create_topic(&topic, 0).await.expect("new");
        let mut appender = log.open_appender(&partition, "p").await.expect("opens");
        for n in 0..3 {
            appender.append(entry("p", n, b"hello"), n, n, 1).await.expect("stored");
        }
        drop((appender, log));
        let file = segment_files(&folder.path().join("topics/public/default/t/0")).remove(0);
        let whole = fs::read(&file).expect("readable");
        let last = whole.len() - segment::RECORD_HEADER - entry("p", 2, b"hello").len();
        for length in (last + 1)..whole.len() {
            fs::write(&file, &whole[..length]).expect("writable");
            let log = EmbeddedLog::open(folder.path(), quick(100, None)).expect("opens");
            let read = read_all(&log, &partition, Cut::Start).await;
            assert_eq!(read.len(), 2, "cut at {length}");
            let appender = log.open_appender(&partition, "p").await.expect("opens");
            assert_eq!(appender.last_sequence_id(), 1);
        }
        // A tail of zeros, as file systems leave after a power cut.
        fs::write(&file, [&whole[..], &[0; 64]].concat()).expect("writable");
        let log = EmbeddedLog::open(folder.path(), quick(100, None)).expect("opens");
        assert_eq!(read_all(&log, &partition, Cut::Start).await.len(), 3);
    });
}

#[test]
fn damage_before_the_tail_names_file_and_offset() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let topic: TopicName = "t".parse().expect("a name");
        let partition = Partition::new(topic.clone(), None);
        let log = EmbeddedLog::open(folder.path(), quick(2, None)).expect("opens");
        log.create_topic(&topic, 0).await.expect("new");
        let mut appender = log.open_appender(&partition, "p").await.expect("opens");
        for n in 0..5 {
            appender.append(entry("p", n, b"hello"), n, n, 1).await.expect("stored");
        }
        drop((appender, log));
        let first = segment_files(&folder.path().join("topics/public/default/t/0")).remove(0);
        let mut bytes = fs::read(&first).expect("readable");
        bytes[HEADER_AND_A_BIT] ^= 1;
        fs::write(&first, &bytes).expect("writable");
        let log = EmbeddedLog::open(folder.path(), quick(2, None)).expect("opens");
        let mut reader = log.open_reader(&partition, Cut::Start).await.expect("there");
        let error = reader.next(1 << 20).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains(&first.display().to_string()) && text.contains("offset 16"), "{text}");
    });
}

const HEADER_AND_A_BIT: usize = 16 + 16 + 3;

#[test]
fn damage_to_what_was_acknowledged_is_told_and_never_cut_off() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let topic: TopicName = "t".parse().expect("a name");
        let partition = Partition::new(topic.clone(), None);
        let log = EmbeddedLog::open(folder.path(), quick(100, None)).expect("opens");
        log.create_topic(&topic, 0).await.expect("new");
        let mut appender = log.open_appender(&partition, "p").await.expect("opens");
        for n in 0..3 {
            appender.append(entry("p", n, b"hello"), n, n, 1).await.expect("stored");
        }
        drop((appender, log));
        let file = segment_files(&folder.path().join("topics/public/default/t/0")).remove(0);
        let whole = fs::read(&file).expect("readable");
        let record = segment::RECORD_HEADER + entry("p", 0, b"hello").len();
        assert_eq!(whole.len(), HEADER_BYTES + 3 * record);
        // Every byte of the first two records, lengths too: the third says that they were synced.
        for at in HEADER_BYTES..HEADER_BYTES + 2 * record {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            fs::write(&file, &bytes).expect("writable");
            let log = EmbeddedLog::open(folder.path(), quick(100, None)).expect("opens");
            let error = log.last_position(&partition).await.expect_err("damaged");
            let text = error.to_string();
            let offset = format!("offset {}:", HEADER_BYTES + (at - HEADER_BYTES) / record * record);
            assert!(error.kind() == ErrorKind::Corrupt && text.contains(&offset), "byte {at}: {text}");
            assert!(text.contains(&file.display().to_string()), "{text}");
            assert_eq!(fs::read(&file).expect("readable"), bytes, "nothing is cut off");
        }
    });
}

const HEADER_BYTES: usize = 16;

#[test]
fn appends_that_were_not_synced_yet_are_a_torn_tail_in_whatever_order_they_reached_the_disk() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let topic: TopicName = "t".parse().expect("a name");
        let partition = Partition::new(topic.clone(), None);
        let log = EmbeddedLog::open(folder.path(), quick(100, None)).expect("opens");
        log.create_topic(&topic, 0).await.expect("new");
        let mut appender = log.open_appender(&partition, "p").await.expect("opens");
        appender.append(entry("p", 0, b"hello"), 0, 0, 1).await.expect("stored");
        drop((appender, log));
        let file = segment_files(&folder.path().join("topics/public/default/t/0")).remove(0);
        let whole = fs::read(&file).expect("readable");
        // Two appends that waited for one sync; of the first only zeros arrived.
        let synced = whole.len() as u64;
        let lost = vec![0; segment::record(&entry("q", 0, b"lost"), synced).len()];
        let arrived = segment::record(&entry("r", 0, b"arrived"), synced);
        fs::write(&file, [&whole[..], &lost, &arrived].concat()).expect("writable");
        let log = EmbeddedLog::open(folder.path(), quick(100, None)).expect("opens");
        assert_eq!(read_all(&log, &partition, Cut::Start).await.len(), 1);
        assert_eq!(fs::read(&file).expect("readable"), whole);
    });
}

#[test]
fn who_holds_a_topic_that_was_deleted_is_told_and_harms_no_later_one() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let topic: TopicName = "t".parse().expect("a name");
        let partition = Partition::new(topic.clone(), None);
        let log = EmbeddedLog::open(folder.path(), quick(100, None)).expect("opens");
        log.create_topic(&topic, 0).await.expect("new");
        let mut appender = log.open_appender(&partition, "p").await.expect("opens");
        let mut pin = log.open_pin(&partition, "pin").await.expect("made");
        let mut reader = log.open_reader(&partition, Cut::Start).await.expect("opens");
        let waiting = tokio::spawn(async move { reader.next(1 << 20).await });
        log.delete_topic(&topic).await.expect("deleted");
        log.create_topic(&topic, 0).await.expect("made again");
        assert_eq!(log.last_position(&partition).await.expect("open"), None);
        let woken = tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("woken").expect("no panic");
        assert_eq!(woken.expect_err("deleted").kind(), ErrorKind::Gone);
        let error = appender.append(entry("p", 0, b"hello"), 0, 0, 1).await.expect_err("deleted");
        assert_eq!(error.kind(), ErrorKind::Gone);
        assert_eq!(pin.advance(Position::new(0, 0)).await.expect_err("deleted").kind(), ErrorKind::Gone);
        drop(log);
        let log = EmbeddedLog::open(folder.path(), quick(100, None)).expect("opens");
        assert_eq!(log.last_position(&partition).await.expect("open"), None);
    });
}

#[test]
fn a_second_opening_is_refused_until_the_first_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(folder.path(), EmbeddedSettings::default()).expect("opens");
    let error = EmbeddedLog::open(folder.path(), EmbeddedSettings::default()).expect_err("locked");
    assert!(error.to_string().contains("open in another process"), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(log);
    EmbeddedLog::open(folder.path(), EmbeddedSettings::default()).expect("free again");
}

#[test]
fn many_producers_share_syncs_and_each_gets_its_receipt() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let topic: TopicName = "t".parse().expect("a name");
        let partition = Partition::new(topic.clone(), Some(1));
        let log = EmbeddedLog::open(folder.path(), EmbeddedSettings { segment_entries: 64, ..Default::default() })
            .expect("opens");
        log.create_topic(&topic, 2).await.expect("new");
        let tasks: Vec<_> = (0..8)
            .map(|producer| {
                let (log, partition) = (Arc::clone(&log), partition.clone());
                tokio::spawn(async move {
                    let name = format!("p{producer}");
                    let mut appender = log.open_appender(&partition, &name).await.expect("opens");
                    for n in 0..50 {
                        appender.append(entry(&name, n, b"x"), n, n, 1).await.expect("stored");
                    }
                })
            })
            .collect();
        // A reader that starts before anything is written sees all of it.
        let mut reader = log.open_reader(&partition, Cut::Start).await.expect("there");
        let mut read = Vec::new();
        while read.len() < 400 {
            read.extend(reader.next(1 << 16).await.expect("readable").into_iter().map(|e| e.position));
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        assert!(read.is_sorted() && read.len() == 400);
    });
}

#[test]
fn a_mark_outlives_the_entries_that_made_it() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let topic: TopicName = "t".parse().expect("a name");
        let partition = Partition::new(topic.clone(), None);
        let settings = quick(2, Some(Duration::ZERO));
        let log = EmbeddedLog::open(folder.path(), settings.clone()).expect("opens");
        log.create_topic(&topic, 0).await.expect("new");
        let mut first = log.open_appender(&partition, "first").await.expect("opens");
        first.append(entry("first", 41, b"x"), 41, 41, 1).await.expect("stored");
        let mut other = log.open_appender(&partition, "other").await.expect("opens");
        for n in 0..9 {
            other.append(entry("other", n, b"x"), n, n, 1).await.expect("stored");
        }
        drop((first, other, log));
        for _ in 0..2 {
            let log = EmbeddedLog::open(folder.path(), settings.clone()).expect("opens");
            let ledgers = log.ledgers(&partition).await.expect("listed");
            assert!(
                ledgers.iter().all(|ledger| ledger.id > 0),
                "without a pin only the open ledger stays: {ledgers:?}"
            );
            let mut first = log.open_appender(&partition, "first").await.expect("opens");
            assert_eq!(first.last_sequence_id(), 41);
            let receipt = first.append(entry("first", 41, b"x"), 41, 41, 1).await.expect("answered");
            assert_eq!(receipt, Receipt::Duplicate);
        }
    });
}

#[test]
fn an_entry_over_the_limit_is_refused_and_harms_nothing() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let topic: TopicName = "t".parse().expect("a name");
        let partition = Partition::new(topic.clone(), None);
        let settings = EmbeddedSettings { max_entry_bytes: 200, ..quick(100, None) };
        let log = EmbeddedLog::open(folder.path(), settings).expect("opens");
        log.create_topic(&topic, 0).await.expect("new");
        let mut appender = log.open_appender(&partition, "p").await.expect("opens");
        assert!(appender.append(entry("p", 0, &[7; 200]), 0, 0, 1).await.is_err());
        assert!(appender.append(Bytes::from_static(b"no entry"), 0, 0, 1).await.is_err());
        appender.append(entry("p", 0, b"small"), 0, 0, 1).await.expect("stored");
        assert_eq!(read_all(&log, &partition, Cut::Start).await.len(), 1);
    });
}
