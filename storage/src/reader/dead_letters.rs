//! Messages that could not be read, on their way to another topic.
//!
//! ```text
//!  bad message ─► pending ─► (before the batch that leaves it out is given) ─► sealed: entries, in chunks where they are long ─► the dead-letter topic
//! ```
//!
//! At least once: whoever reads a stretch again sends its bad messages again. A letter has the original bytes, keys, event time and properties; further
//! properties say where it came from and why (Pulsar's own names where it has some).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aquifer_formats::chunked::build_chunks;
use aquifer_formats::entry::{Compression, EntrySpec, NewMessage};
use aquifer_formats::messages::column;
use aquifer_model::{ErrorKind, Partition, Position, Result, TopicName};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, TimestampMillisecondType};
use uuid::Uuid;

use crate::archive::manifest::hex;
use crate::log::{Appender, DEFAULT_MESSAGE_BYTES, FinishedEntry, Log};

/// What a reason may be long: properties travel with every message.
const MAX_REASON_CHARS: usize = 1000;
/// So long sending is tried again without any receipt.
const RETRY_FOR: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Letters above this are compressed.
const COMPRESSED_FROM_BYTES: usize = 4096;

/// A message that cannot be read, and what is known of it.
#[derive(Debug)]
pub(super) struct BadMessage<'a> {
    pub position: Position,
    /// Its place in its entry; `None`: the whole entry is bad.
    pub batch_index: Option<i32>,
    key: Option<&'a [u8]>,
    ordering_key: Option<&'a [u8]>,
    event_time_ms: Option<i64>,
    schema_version: Option<&'a [u8]>,
    properties: Vec<(String, String)>,
    /// Of a bad entry all of its bytes.
    bytes: &'a [u8],
    pub reason: &'a str,
}

impl<'a> BadMessage<'a> {
    /// An entry that cannot be taken apart.
    pub fn of_entry(position: Position, bytes: &'a [u8], reason: &'a str) -> Self {
        Self {
            position,
            batch_index: None,
            key: None,
            ordering_key: None,
            event_time_ms: None,
            schema_version: None,
            properties: Vec::new(),
            bytes,
            reason,
        }
    }

    /// The message in this row, whose payload is `bytes`. Of the columns of messages those that were read are asked.
    pub fn of_row(rows: &'a RecordBatch, row: usize, position: Position, bytes: &'a [u8], reason: &'a str) -> Self {
        let there = |name: &str| rows.column_by_name(name).filter(|column| column.is_valid(row));
        let cell =
            |name: &str| there(name).and_then(|column| column.as_binary_view_opt()).map(|column| column.value(row));
        let index = there(column::BATCH_INDEX).and_then(|column| column.as_primitive_opt::<Int32Type>());
        let times = there(column::EVENT_TIME).and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
        Self {
            position,
            batch_index: Some(index.map_or(0, |index| index.value(row))),
            key: cell(column::KEY),
            ordering_key: cell(column::ORDERING_KEY),
            event_time_ms: times.map(|times| times.value(row)),
            schema_version: cell(column::SCHEMA_VERSION),
            properties: properties_of(rows, row),
            bytes,
            reason,
        }
    }

    /// What could not be done with it.
    pub fn stage(&self) -> &'static str {
        if self.batch_index.is_some() { "payload" } else { "entry" }
    }
}

/// The message columns of which a letter takes something beside position, payload and schema version.
pub(super) const OF_LETTERS: [&str; 4] = [column::KEY, column::ORDERING_KEY, column::EVENT_TIME, column::PROPERTIES];

/// A message's properties; none where they were not read.
fn properties_of(rows: &RecordBatch, row: usize) -> Vec<(String, String)> {
    let Some(maps) = rows.column_by_name(column::PROPERTIES).and_then(|column| column.as_map_opt()) else {
        return Vec::new();
    };
    let entries = maps.value(row);
    let texts = |index: usize| cast(entries.column(index), &DataType::Utf8).ok();
    let (Some(names), Some(values)) = (texts(0), texts(1)) else { return Vec::new() };
    let text = |value: Option<&str>| value.unwrap_or_default().to_string();
    let pairs = names.as_string::<i32>().iter().zip(values.as_string::<i32>());
    pairs.map(|(name, value)| (text(name), text(value))).collect()
}

/// What is sent of a bad message.
struct Letter {
    sequence_id: i64,
    key: Option<Vec<u8>>,
    ordering_key: Option<Vec<u8>>,
    event_time_ms: Option<i64>,
    /// The message's own, and then ours.
    properties: Vec<(String, String)>,
    /// How many of them are the message's.
    own_properties: usize,
    bytes: Vec<u8>,
    is_bare: bool,
}

impl Letter {
    /// Leaves out the message's keys and properties, and says so.
    fn make_bare(&mut self) {
        (self.key, self.ordering_key, self.is_bare) = (None, None, true);
        self.properties.drain(..self.own_properties);
        self.properties.push(("aquifer.left-out".to_string(), "key and properties".to_string()));
    }
}

/// The letters of one reader.
pub(super) struct DeadLetters {
    log: Arc<dyn Log>,
    to: TopicName,
    pending: VecDeque<Letter>,
    /// Entries of letters, in the order of their ids; all parts of a letter in chunks have its id.
    sealed: VecDeque<FinishedEntry>,
    /// Unique, so that no two readers' sequence ids meet.
    producer: String,
    next_sequence_id: i64,
    appender: Option<Box<dyn Appender>>,
    /// The longest entry that the topic takes; asked for once.
    longest: Option<usize>,
}

impl DeadLetters {
    pub fn new(log: Arc<dyn Log>, to: TopicName) -> Self {
        let producer = format!("aquifer-dead-letters-{}", Uuid::new_v4());
        let (pending, sealed) = (VecDeque::new(), VecDeque::new());
        Self { log, to, pending, sealed, producer, next_sequence_id: 0, appender: None, longest: None }
    }

    /// Keeps a letter until [`DeadLetters::flush`].
    pub fn add(&mut self, partition: &Partition, bad: BadMessage<'_>) {
        let Position { ledger, entry } = bad.position;
        let index = bad.batch_index.map_or_else(|| "-1".to_string(), |index| index.to_string());
        let partition_index = partition.index.map_or(-1, i64::from);
        let ours = [
            ("REAL_TOPIC", Some(partition.to_string())),
            ("ORIGIN_MESSAGE_ID", Some(format!("{ledger}:{entry}:{partition_index}:{index}"))),
            ("aquifer.stage", Some(bad.stage().to_string())),
            ("aquifer.reason", Some(bad.reason.chars().take(MAX_REASON_CHARS).collect())),
            // Its number is one of the topic's own schemas: here it would name another one.
            ("aquifer.schema-version", bad.schema_version.map(hex)),
        ];
        let mut properties = bad.properties;
        properties.retain(|(own, _)| ours.iter().all(|(name, _)| own != name));
        let own_properties = properties.len();
        properties.extend(ours.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))));
        self.pending.push_back(Letter {
            sequence_id: self.next_sequence_id,
            key: bad.key.map(<[u8]>::to_vec),
            ordering_key: bad.ordering_key.map(<[u8]>::to_vec),
            event_time_ms: bad.event_time_ms,
            properties,
            own_properties,
            bytes: bad.bytes.to_vec(),
            is_bare: false,
        });
        self.next_sequence_id += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.sealed.is_empty()
    }

    /// Makes entries of the letters that wait; the same ones are sent again where that is needed.
    fn seal(&mut self, longest: usize) -> Result<()> {
        while let Some(letter) = self.pending.front_mut() {
            let id = letter.sequence_id;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
            let is_long = letter.bytes.len() > COMPRESSED_FROM_BYTES;
            let spec = EntrySpec {
                producer_name: self.producer.clone(),
                publish_time_ms: now,
                compression: if is_long { Compression::Zstd } else { Compression::None },
                ..EntrySpec::default()
            };
            let message = NewMessage {
                sequence_id: id,
                key: letter.key.as_deref(),
                payload: Some(&letter.bytes),
                event_time_ms: letter.event_time_ms,
                properties: &letter.properties,
                ordering_key: letter.ordering_key.as_deref(),
            };
            let entries = match build_chunks(&spec, &message, longest) {
                Ok(entries) => entries,
                // Key and properties go into every chunk: where they leave no room, they stay behind.
                Err(_) if !letter.is_bare => {
                    letter.make_bare();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let chunk = entries.len() > 1;
            let finished = |bytes| FinishedEntry { bytes, lowest: id, highest: id, messages: 1, chunk };
            self.sealed.extend(entries.into_iter().map(finished));
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Sends what waits; over a connection that broke again, under the same ids. After an error, or dropped half way, what had been sent may be sent
    /// again.
    pub async fn flush(&mut self) -> Result<()> {
        let mut deadline = Instant::now() + RETRY_FOR;
        let mut pause = FIRST_PAUSE;
        while !self.is_empty() {
            let sent = match self.appender.take() {
                Some(mut appender) => {
                    let longest = self.longest.unwrap_or(DEFAULT_MESSAGE_BYTES);
                    self.seal(longest).map_err(|error| error.context(format_args!("a letter to `{}`", self.to)))?;
                    let waiting = self.sealed.len();
                    let sent = appender.append_all(&mut self.sealed, &mut Vec::new()).await;
                    if self.sealed.len() < waiting {
                        (deadline, pause) = (Instant::now() + RETRY_FOR, FIRST_PAUSE);
                    }
                    // One that failed, or was dropped half way, is of no more use.
                    if sent.is_ok() {
                        self.appender = Some(appender);
                    }
                    sent
                }
                None => match open(self.log.as_ref(), &self.to, &self.producer).await {
                    Ok(appender) => {
                        self.appender = Some(appender);
                        if self.longest.is_none() {
                            // Without admin rights the policies are not known: then what brokers take by default holds.
                            let policies = self.log.policies(&self.to).await;
                            self.longest = policies.ok().map(|policies| policies.max_message_bytes);
                        }
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
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
