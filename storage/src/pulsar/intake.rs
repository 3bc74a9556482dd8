//! What a reader makes of the entries that arrive: chunked messages put together, encrypted ones by policy, all else untouched.
//!
//! ```text
//!  arrived ──plain──────────────────────────────► given
//!     ├──chunk──► held ──last──► given whole, in the last chunk's place
//!     │             └── its first chunks lie before the cut: look back once, then go on
//!     └──encrypted──► given as it is | passed over | given as cipher text
//! ```
//!
//! A reader that starts between the chunks of a message looks back so far that it has them. What is still an orphan then is given as its last
//! chunk, which fails to decode: one bad message, by the policy for bad messages. Where nothing is given an entry without messages stands, so that a
//! position is never waited for in vain.

use std::collections::VecDeque;

use aquifer_formats::chunked::{ChunkBounds, ChunkJoiner, Joined, without_messages};
use aquifer_formats::encrypted::cipher_text_message;
use aquifer_model::{Cut, Position};

use super::config::EncryptedMessages;
use super::flow::scan;
use crate::log::Entry;

#[derive(Debug)]
pub(super) struct Intake {
    encrypted: EncryptedMessages,
    bounds: ChunkBounds,
    joiner: ChunkJoiner,
    arrived: VecDeque<Entry>,
    looked_back: bool,
}

impl Intake {
    /// For a reader that starts at `after`.
    pub fn new(encrypted: EncryptedMessages, bounds: ChunkBounds, after: Cut) -> Self {
        Self {
            encrypted,
            bounds,
            joiner: ChunkJoiner::new(bounds),
            arrived: VecDeque::new(),
            looked_back: after == Cut::Start,
        }
    }

    /// Takes in what arrived, in order.
    pub fn add(&mut self, entries: Vec<Entry>) {
        self.arrived.extend(entries);
    }

    /// Takes out what can be given; with the place to look back from, if that must be done first.
    pub fn give(&mut self) -> (Vec<Entry>, Option<Position>) {
        let mut given = Vec::with_capacity(self.arrived.len());
        while let Some(entry) = self.arrived.pop_front() {
            let shape = scan(&entry.bytes);
            if shape.encrypted {
                match self.encrypted {
                    EncryptedMessages::Discard => given.push(emptied(entry)),
                    EncryptedMessages::Raw => {
                        let bytes = cipher_text_message(&entry.bytes).unwrap_or_else(|_| entry.bytes.clone());
                        given.push(Entry { bytes, ..entry });
                    }
                    EncryptedMessages::Fail => given.push(entry),
                }
                continue;
            }
            if !shape.chunk {
                given.push(entry);
                continue;
            }
            match self.joiner.take(&entry.bytes) {
                Joined::Given(bytes) => given.push(Entry { bytes, ..entry }),
                Joined::Held => given.push(emptied(entry)),
                Joined::Orphan { .. } if !self.looked_back => {
                    let from = entry.position;
                    self.arrived.push_front(entry);
                    return (given, Some(from));
                }
                Joined::Orphan { last: true, .. } => given.push(entry),
                Joined::Orphan { last: false, .. } => given.push(emptied(entry)),
            }
        }
        (given, None)
    }

    /// An empty one to take in what lies before the place to look back from.
    pub fn for_looking_back(&self) -> Self {
        Self { looked_back: true, ..Self::new(self.encrypted, self.bounds, Cut::Start) }
    }

    /// Goes on with what `earlier` holds. What is held here was begun later, if at all, and is held there too.
    pub fn go_on(&mut self, earlier: Self) {
        self.joiner = earlier.joiner;
        self.looked_back = true;
    }
}

fn emptied(entry: Entry) -> Entry {
    Entry { bytes: without_messages(&entry.bytes), ..entry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, summarize};
    use bytes::Bytes;

    fn message(name: &str, sequence_id: i64, length: usize) -> Vec<Bytes> {
        let payload = vec![b'x'; length];
        let spec = EntrySpec { producer_name: name.into(), ..Default::default() };
        let message = NewMessage { sequence_id, payload: Some(&payload), ..Default::default() };
        aquifer_formats::chunked::build_chunks(&spec, &message, 500).expect("entries")
    }

    fn entries(bytes: impl IntoIterator<Item = Bytes>) -> Vec<Entry> {
        let place = |(entry, bytes)| Entry { position: Position::new(1, entry), bytes };
        (0..).zip(bytes).map(place).collect()
    }

    fn with_messages(given: Vec<Entry>) -> Vec<Entry> {
        let has = |entry: &Entry| summarize(&entry.bytes, &EntryLimits::default()).expect("an entry").messages > 0;
        given.into_iter().filter(has).collect()
    }

    fn ids(given: &[Entry]) -> Vec<(String, i64, Option<(u32, u32)>)> {
        let tell = |entry: &Entry| {
            let summary = summarize(&entry.bytes, &EntryLimits::default()).expect("an entry");
            (summary.producer_name, summary.lowest_sequence_id, summary.chunk)
        };
        given.iter().map(tell).collect()
    }

    #[test]
    fn wherever_a_reader_starts_it_gives_each_message_once() {
        let (a, b) = (message("a", 1, 1500), message("b", 2, 1000));
        let small = message("c", 3, 10).remove(0);
        // a0 b0 a1 c b1 a2 … interleaved.
        let mut order = vec![a[0].clone(), b[0].clone(), a[1].clone(), small];
        order.extend(b[1..].iter().cloned());
        order.extend(a[2..].iter().cloned());
        let log = entries(order);
        let mut all = Intake::new(EncryptedMessages::Fail, ChunkBounds::default(), Cut::Start);
        all.add(log.clone());
        let (whole, None) = all.give() else { unreachable!("nothing lies before the start") };
        assert_eq!(whole.len(), log.len());
        let whole = with_messages(whole);
        assert_eq!(whole.len(), 3);
        assert!(ids(&whole).iter().all(|(.., chunk)| chunk.is_none()));
        for start in 1..log.len() {
            let mut intake =
                Intake::new(EncryptedMessages::Fail, ChunkBounds::default(), Cut::After(log[start - 1].position));
            intake.add(log[start..].to_vec());
            let (mut given, back) = intake.give();
            if let Some(from) = back {
                let mut earlier = intake.for_looking_back();
                earlier.add(log.iter().filter(|entry| entry.position < from).cloned().collect());
                earlier.give();
                intake.go_on(earlier);
                let (rest, None) = intake.give() else { unreachable!("once is enough") };
                given.extend(rest);
            }
            let expected: Vec<_> =
                whole.iter().filter(|entry| entry.position >= log[start].position).cloned().collect();
            assert_eq!(given.len(), log.len() - start);
            assert_eq!(with_messages(given), expected, "after {start} entries");
        }
    }

    #[test]
    fn what_stays_an_orphan_is_one_bad_message() {
        let chunks = message("a", 1, 2000);
        let mut intake = Intake::new(EncryptedMessages::Fail, ChunkBounds::default(), Cut::Start);
        intake.add(entries(chunks[1..].iter().cloned()));
        let (given, None) = intake.give() else { unreachable!("it starts at the start") };
        let bad = with_messages(given);
        assert_eq!(bad.len(), 1);
        assert!(ids(&bad)[0].2.is_some(), "the last chunk, as it is");
    }
}
