//! The entries of one consumer between the connection, which never waits, and the reader, which takes them when it likes.
//!
//! What is queued is bounded twice: permits keep it near its window, and at four times that the queue ends itself; its
//! consumer is then closed and made again after what was queued. So one slow reader never holds up the connection it shares.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::flow::{Flow, messages_in};
use super::window::Window;
use crate::log::Entry;

#[derive(Debug)]
pub(super) struct EntryQueue {
    state: Mutex<State>,
    changed: Notify,
    window: Window,
}

#[derive(Debug)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    flow: Flow,
    ended: Option<String>,
}

/// What a reader finds.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    /// At least one, in order.
    Entries(Vec<Entry>),
    /// Nothing yet.
    Empty,
    /// Nothing, and nothing will come: why.
    Ended(String),
}

impl EntryQueue {
    pub fn new(window: Window) -> Self {
        let state = State { entries: VecDeque::new(), bytes: 0, flow: Flow::new(), ended: None };
        Self { state: Mutex::new(state), changed: Notify::new(), window }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an entry, of which nobody hears before [`EntryQueue::announce`]. False if it no longer takes any: its consumer is to be closed.
    pub fn push(&self, entry: Entry) -> bool {
        let mut state = self.lock();
        if state.ended.is_some() {
            return false;
        }
        // One entry more than the limit always fits: the largest is some 5 MiB.
        if state.bytes > self.window.most().saturating_mul(4) {
            state.ended = Some("more arrived than was asked for".into());
        } else {
            state.flow.arrived(entry.bytes.len(), messages_in(&entry.bytes));
            state.bytes += entry.bytes.len();
            state.entries.push_back(entry);
        }
        state.ended.is_none()
    }

    /// Wakes who waits. Said once for all that came together: woken for each entry, a reader that is faster than its broker takes them one by one.
    pub fn announce(&self) {
        self.changed.notify_one();
    }

    /// Nothing more will come. What is queued is still given.
    pub fn end(&self, why: impl Into<String>) {
        self.lock().ended.get_or_insert_with(|| why.into());
        self.changed.notify_one();
    }

    /// Takes about `max_bytes` of entries, at least one if there are any; and the permits to grant after that.
    pub fn take(&self, max_bytes: usize) -> (Taken, Option<u32>) {
        let mut state = self.lock();
        let mut entries = Vec::new();
        let mut bytes = 0;
        while let Some(next) = state.entries.front() {
            if !entries.is_empty() && bytes + next.bytes.len() > max_bytes {
                break;
            }
            bytes += next.bytes.len();
            entries.extend(state.entries.pop_front());
        }
        state.bytes -= bytes;
        let taken = match &state.ended {
            _ if !entries.is_empty() => Taken::Entries(entries),
            Some(why) => Taken::Ended(why.clone()),
            None => Taken::Empty,
        };
        let queued = state.bytes;
        let permits = if state.ended.is_none() { state.flow.grant(queued, self.window.bytes()) } else { None };
        (taken, permits)
    }

    /// Why nothing more will come, if so.
    pub fn ended(&self) -> Option<String> {
        self.lock().ended.clone()
    }

    /// Waits until nothing more will come, for one that takes nothing.
    pub async fn until_ended(&self) {
        while self.ended().is_none() {
            self.changed().await;
        }
    }

    /// Waits until something was put in since the last wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::window::Windows;
    use super::*;
    use aquifer_model::Position;
    use bytes::Bytes;

    fn queue(window: usize) -> EntryQueue {
        EntryQueue::new(Arc::new(Windows::new(window)).open())
    }

    fn entry(number: u64, length: usize) -> Entry {
        Entry { position: Position::new(1, number), bytes: Bytes::from(vec![0; length]) }
    }

    fn numbers(taken: Taken) -> Vec<u64> {
        match taken {
            Taken::Entries(entries) => entries.iter().map(|entry| entry.position.entry).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn it_gives_whole_entries_up_to_the_bytes_asked_for_but_never_none() {
        let queue = queue(1000);
        for number in 0..4 {
            assert!(queue.push(entry(number, 100)));
        }
        assert_eq!(numbers(queue.take(250).0), [0, 1]);
        assert_eq!(numbers(queue.take(1).0), [2]);
        assert_eq!(numbers(queue.take(1000).0), [3]);
        assert_eq!(queue.take(1000).0, Taken::Empty);
    }

    #[test]
    fn beyond_the_hard_limit_it_ends_after_what_is_queued() {
        let queue = queue(100);
        for number in 0..5 {
            assert!(queue.push(entry(number, 100)), "{number}");
        }
        assert!(!queue.push(entry(5, 100)));
        assert!(!queue.push(entry(6, 1)));
        assert_eq!(numbers(queue.take(usize::MAX).0), [0, 1, 2, 3, 4]);
        assert!(matches!(queue.take(1), (Taken::Ended(_), None)));
    }
}
