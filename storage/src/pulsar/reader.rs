//! Reads one partition: a passing consumer that is made again, after the last entry given, whenever it is lost.
//!
//! ```text
//!  consumer ──entries──► drop what is at or before the cut ──► given, cut moves
//!     ▲ lost (unload, broken connection, overflow)
//!     └── made again after the cut, with growing pauses, until the operation's time is over: `Unavailable`
//! ```
//!
//! What is taken in goes through the intake, which puts chunks together. Brokers differ in whether a start is inclusive, so the cut alone decides what is given. The state of a recovery lives in the reader,
//! not in the future: who polls with short timeouts gets there too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;

use aquifer_model::{Cut, Error, Partition, Position, Result};

use super::brokers::{Brokers, CONSUME, Retry, jittered};
use super::commands::Subscription;
use super::consumer::Consumer;
use super::failure::{Failure, Tried};
use super::intake::Intake;
use super::queue::Taken;
use crate::log::{Entry, EntryReader};

const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// So far before a reader's start the first chunks of a message are looked for.
const LOOK_BACK_ENTRIES: u64 = 2000;

pub(super) struct PulsarReader {
    brokers: Arc<Brokers>,
    partition: Partition,
    /// Everything up to here has been taken in.
    given: Cut,
    state: State,
    intake: Intake,
    /// What lies before the reader's start, being read for the chunks in it.
    looking_back: Option<BoxFuture<'static, Result<Intake>>>,
}

enum State {
    Open(Consumer),
    Lost { since: Instant, pause: Duration, reopening: BoxFuture<'static, Tried<Consumer>> },
}

impl PulsarReader {
    pub fn new(brokers: Arc<Brokers>, partition: Partition, after: Cut, consumer: Consumer) -> Self {
        let reading = brokers.reading();
        let intake = Intake::new(reading.encrypted, reading.chunks, after);
        Self { brokers, partition, given: after, state: State::Open(consumer), intake, looking_back: None }
    }

    /// Starts to take in, apart, what lies before `from`.
    fn look_back(&mut self, from: Position) {
        let (brokers, partition) = (self.brokers.clone(), self.partition.clone());
        let earlier = self.intake.for_looking_back();
        self.looking_back = Some(Box::pin(look_back(brokers, partition, from, earlier)));
    }

    fn lose(&mut self, since: Instant, pause: Duration) {
        let (brokers, partition, after) = (self.brokers.clone(), self.partition.clone(), self.given);
        let reopening = Box::pin(async move {
            tokio::time::sleep(jittered(pause)).await;
            Consumer::open(&brokers, &partition, &passing(after)).await
        });
        self.state = State::Lost { since, pause, reopening };
    }

    /// Whether another try is allowed after this failure; if not, the error, and a later call starts afresh.
    fn on_failure(&mut self, failure: Failure, since: Instant, pause: Duration) -> Result<()> {
        let limit = self.brokers.operation_timeout();
        let over = since.elapsed() + pause >= limit;
        let passes = failure.passes() || failure.has_no_code();
        if passes && !over {
            self.lose(since, (pause * 2).clamp(Duration::from_millis(20), LONGEST_PAUSE));
            return Ok(());
        }
        let doing = format!("reading `{}` {}", self.partition, self.given);
        self.lose(Instant::now(), Duration::ZERO);
        let error = failure.into_error(&doing, CONSUME);
        if passes {
            Err(Error::unavailable(format!("{error} (tried for {} ms)", limit.as_millis())))
        } else {
            Err(error)
        }
    }
}

/// Takes into `earlier` the chunks that lie before `from`. A consumer that is lost is made again after the last entry taken in.
async fn look_back(brokers: Arc<Brokers>, partition: Partition, from: Position, mut earlier: Intake) -> Result<Intake> {
    let mut after = brokers.look_back(&partition, from, LOOK_BACK_ENTRIES).await;
    let mut retry = Retry::patient(brokers.operation_timeout());
    loop {
        let before = after;
        match take_until(&brokers, &partition, &mut after, from, &mut earlier).await {
            Ok(()) => return Ok(earlier),
            Err(failure) => {
                if after != before {
                    retry = Retry::patient(brokers.operation_timeout());
                }
                let doing = || format!("looking for the first chunks of the message at {from} of `{partition}`");
                retry.after(failure, doing, CONSUME).await?;
            }
        }
    }
}

/// Moves `after` with what is taken in, until `from` is reached or the consumer is lost.
async fn take_until(
    brokers: &Brokers,
    partition: &Partition,
    after: &mut Cut,
    from: Position,
    earlier: &mut Intake,
) -> Tried<()> {
    let consumer = Consumer::open(brokers, partition, &passing(*after)).await?;
    loop {
        match consumer.take(1 << 20) {
            Taken::Entries(mut entries) => {
                let all = entries.iter().any(|entry| entry.position >= from);
                entries.retain(|entry| entry.position < from && !after.covers(entry.position));
                if let Some(last) = entries.last() {
                    *after = Cut::After(last.position);
                }
                earlier.add(entries);
                // What can be given was given before, or is not asked for.
                drop(earlier.give());
                if all {
                    return Ok(());
                }
            }
            Taken::Empty => consumer.changed().await,
            Taken::Ended(cause) => return Err(Failure::Final(Error::unavailable(cause))),
        }
    }
}

/// A subscription that is forgotten with its connection, under a name of its own.
pub(super) fn passing(after: Cut) -> Subscription {
    Subscription::Passing { name: passing_name(), after }
}

pub(super) fn passing_name() -> String {
    format!("aquifer-reader-{:016x}", rand::random::<u64>())
}

#[async_trait]
impl EntryReader for PulsarReader {
    fn trickles(&self) -> bool {
        true
    }

    async fn next(&mut self, max_bytes: usize) -> Result<Vec<Entry>> {
        loop {
            if let Some(looking) = &mut self.looking_back {
                let found = looking.await;
                self.looking_back = None;
                self.intake.go_on(found?);
            }
            let (given, back) = self.intake.give();
            if let Some(from) = back {
                self.look_back(from);
            }
            if !given.is_empty() {
                return Ok(given);
            }
            if self.looking_back.is_some() {
                continue;
            }
            match &mut self.state {
                State::Open(consumer) => match consumer.take(max_bytes) {
                    Taken::Entries(mut entries) => {
                        entries.retain(|entry| {
                            let new = !self.given.covers(entry.position);
                            if new {
                                self.given = Cut::After(entry.position);
                            }
                            new
                        });
                        self.intake.add(entries);
                    }
                    Taken::Empty => consumer.changed().await,
                    Taken::Ended(why) => {
                        tracing::debug!(partition = %self.partition, after = %self.given, why, "reader is made again");
                        self.lose(Instant::now(), Duration::ZERO);
                    }
                },
                State::Lost { since, pause, reopening } => {
                    let (since, pause) = (*since, *pause);
                    match reopening.await {
                        Ok(consumer) => self.state = State::Open(consumer),
                        Err(failure) => self.on_failure(failure, since, pause)?,
                    }
                }
            }
        }
    }
}
