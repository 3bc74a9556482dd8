//! How far inputs have been read for good: what an epoch was made of need not be kept once its changes are handed over.
//!
//! ```text
//!  feeder ──close(epoch, cuts)──► closed epochs ──hand_over(epoch)──► newest cut a partition ──► JobInput::passed
//! ```
//!
//! At most the epochs in flight and one cut a partition are kept, however long an input takes to note it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aquifer_model::{Cut, Epoch};
use futures::{StreamExt, stream};
use tokio::sync::Notify;

use super::job::InputSpec;

/// Inputs are told at most this often.
const PAUSE: Duration = Duration::from_secs(1);
/// So many at once.
const AT_ONCE: usize = 32;

/// By input and partition.
type Cuts = BTreeMap<(usize, String), Cut>;

#[derive(Debug, Default)]
pub(crate) struct Passed {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    closed: VecDeque<(Epoch, Cuts)>,
    passed: Cuts,
}

impl Passed {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An epoch has all its rows: up to here they were read.
    pub(crate) fn close(&self, epoch: Epoch, cuts: Cuts) {
        self.with(|state| state.closed.push_back((epoch, cuts)));
    }

    /// The changes of this epoch, and of all before it, are handed over.
    pub(crate) fn hand_over(&self, epoch: Epoch) {
        self.with(|state| {
            while let Some((_, cuts)) = state.closed.pop_front_if(|(closed, _)| *closed <= epoch) {
                state.passed.extend(cuts);
            }
        });
        self.changed.notify_one();
    }

    /// A partition is no longer there: one that is made again under its name has other positions.
    pub(crate) fn forget(&self, partition: &(usize, String)) {
        self.with(|state| {
            for (_, cuts) in &mut state.closed {
                cuts.remove(partition);
            }
            state.passed.remove(partition);
        });
    }

    /// Waits for cuts that nobody was told yet.
    async fn next(&self) -> Cuts {
        loop {
            let passed = self.with(|state| std::mem::take(&mut state.passed));
            if !passed.is_empty() {
                return passed;
            }
            self.changed.notified().await;
        }
    }

    /// Tells the inputs, for ever, each cut once; again after a pause where that failed.
    pub(crate) async fn tell(&self, inputs: &[InputSpec]) {
        let mut told = Cuts::new();
        loop {
            let mut passed = self.next().await;
            passed.retain(|partition, cut| told.get(partition) != Some(cut));
            let telling = passed.into_iter().map(|(partition, cut)| async move {
                let outcome = inputs[partition.0].input.passed(&partition.1, cut).await;
                (partition, cut, outcome)
            });
            let outcomes: Vec<_> = stream::iter(telling).buffer_unordered(AT_ONCE).collect().await;
            for (partition, cut, outcome) in outcomes {
                match outcome {
                    Ok(()) => {
                        told.insert(partition, cut);
                    }
                    Err(error) => {
                        tracing::warn!(partition = partition.1, "telling how far it is read: {error}");
                        self.with(|state| {
                            state.passed.entry(partition).or_insert(cut);
                        });
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use aquifer_model::Position;

    use super::*;

    fn cuts(entry: u64) -> Cuts {
        Cuts::from([((0, "p".to_string()), Cut::After(Position::new(1, entry)))])
    }

    #[tokio::test]
    async fn only_what_was_handed_over_is_passed_and_the_newest_cut_counts() {
        let passed = Passed::default();
        for epoch in 0..4 {
            passed.close(Epoch(epoch), cuts(epoch * 10));
        }
        assert!(
            tokio::time::timeout(Duration::from_millis(20), passed.next()).await.is_err(),
            "nothing is handed over"
        );
        passed.hand_over(Epoch(0));
        passed.hand_over(Epoch(2));
        assert_eq!(passed.next().await, cuts(20));
        assert!(tokio::time::timeout(Duration::from_millis(20), passed.next()).await.is_err(), "each is told once");
        passed.hand_over(Epoch(3));
        assert_eq!(passed.next().await, cuts(30));
        // One that was told to be gone is not spoken of again.
        passed.close(Epoch(4), cuts(40));
        passed.forget(&(0, "p".to_string()));
        passed.hand_over(Epoch(4));
        assert!(tokio::time::timeout(Duration::from_millis(20), passed.next()).await.is_err());
    }
}
