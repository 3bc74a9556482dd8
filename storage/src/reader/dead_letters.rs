//! Messages that could not be read, on their way to another topic.
//!
//! ```text
//!  bad message ─► pending ─► (before the batch that leaves it out is given) ─► the dead-letter topic
//! ```
//!
//! At least once: whoever reads a stretch again sends its bad messages again. A letter has the original bytes, key and event time; properties say where it
//! came from and why (Pulsar's own names where it has some).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aquifer_formats::entry::{EntrySpec, NewMessage, build_entry};
use aquifer_model::{ErrorKind, Partition, Position, Result, TopicName};
use uuid::Uuid;

use crate::log::{Appender, FinishedEntry, Log};

/// What a reason may be long: properties travel with every message.
const MAX_REASON_CHARS: usize = 1000;
/// So long sending is tried again without any receipt.
const RETRY_FOR: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A message that cannot be read, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct BadMessage<'a> {
    pub position: Position,
    /// Its place in its entry; `None`: the whole entry is bad.
    pub batch_index: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub event_time_ms: Option<i64>,
    /// Of a bad entry all of its bytes.
    pub bytes: &'a [u8],
    pub reason: &'a str,
}

/// The letters of one reader.
pub(super) struct DeadLetters {
    log: Arc<dyn Log>,
    to: TopicName,
    /// One entry a letter.
    pending: VecDeque<FinishedEntry>,
    /// Unique, so that no two readers' sequence ids meet.
    producer: String,
    next_sequence_id: i64,
    appender: Option<Box<dyn Appender>>,
}

impl DeadLetters {
    pub fn new(log: Arc<dyn Log>, to: TopicName) -> Self {
        let producer = format!("aquifer-dead-letters-{}", Uuid::new_v4());
        Self { log, to, pending: VecDeque::new(), producer, next_sequence_id: 0, appender: None }
    }

    /// Keeps a letter until [`DeadLetters::flush`].
    pub fn add(&mut self, partition: &Partition, bad: BadMessage<'_>) -> Result<()> {
        let Position { ledger, entry } = bad.position;
        let index = bad.batch_index.map_or_else(|| "-1".to_string(), |index| index.to_string());
        let partition_index = partition.index.map_or(-1, i64::from);
        let properties = [
            ("REAL_TOPIC", partition.to_string()),
            ("ORIGIN_MESSAGE_ID", format!("{ledger}:{entry}:{partition_index}:{index}")),
            ("aquifer.stage", if bad.batch_index.is_some() { "payload" } else { "entry" }.to_string()),
            ("aquifer.reason", bad.reason.chars().take(MAX_REASON_CHARS).collect()),
        ];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let spec = EntrySpec { producer_name: self.producer.clone(), publish_time_ms: now, ..EntrySpec::default() };
        let id = self.next_sequence_id;
        let message = NewMessage {
            sequence_id: id,
            key: bad.key,
            payload: Some(bad.bytes),
            event_time_ms: bad.event_time_ms,
            properties: &properties.map(|(name, value)| (name.to_string(), value)),
            ordering_key: None,
        };
        let bytes = build_entry(&spec, &[message])?;
        self.pending.push_back(FinishedEntry { bytes, lowest: id, highest: id, messages: 1, chunk: false });
        self.next_sequence_id += 1;
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Sends what waits; over a connection that broke again, under the same ids. After an error, or dropped half way, what had been sent may be sent
    /// again.
    pub async fn flush(&mut self) -> Result<()> {
        let mut deadline = Instant::now() + RETRY_FOR;
        let mut pause = FIRST_PAUSE;
        while !self.pending.is_empty() {
            let waiting = self.pending.len();
            let sent = match self.appender.take() {
                Some(mut appender) => {
                    let sent = appender.append_all(&mut self.pending, &mut Vec::new()).await;
                    // One that failed, or was dropped half way, is of no more use.
                    if sent.is_ok() {
                        self.appender = Some(appender);
                    }
                    sent
                }
                None => match open(self.log.as_ref(), &self.to, &self.producer).await {
                    Ok(appender) => {
                        self.appender = Some(appender);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            if self.pending.len() < waiting {
                (deadline, pause) = (Instant::now() + RETRY_FOR, FIRST_PAUSE);
            }
            match sent {
                Ok(()) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Unavailable)
                        && Instant::now() + pause < deadline =>
                {
                    tracing::warn!(topic = %self.to, %error, "sending bad messages again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error.context(format_args!("sending bad messages to `{}`", self.to))),
            }
        }
        Ok(())
    }
}

/// A producer of the topic's first partition; the topic is made where it is not there.
async fn open(log: &dyn Log, to: &TopicName, producer: &str) -> Result<Box<dyn Appender>> {
    let found = log.partitions(to).await.ok().and_then(|partitions| partitions.into_iter().next());
    let first = match found {
        Some(first) => first,
        None => {
            // A broker that lets nobody make topics may make them itself.
            let made = log.create_topic(to, 0).await;
            let first = Partition::new(to.clone(), None);
            return log.open_appender(&first, producer).await.map_err(|error| made.err().unwrap_or(error));
        }
    };
    log.open_appender(&first, producer).await
}
