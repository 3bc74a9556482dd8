//! Rows into a topic, at least once: batched entries, written under a producer name with rising sequence ids.
//!
//! ```text
//!  row ─► partition (its key's hash, else in turn) ─► held rows ─► entry (≤ 1000 messages, ≈ 128 KiB, LZ4) ─► appender ─► receipt
//! ```
//!
//! What was sent and not answered is sent again, the same bytes under the same sequence ids, so that a log that deduplicates keeps it once. At an
//! epoch's end everything taken has its receipt. A process that dies and starts over writes its rows again under another name.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aquifer_catalog::TableDefinition;
use aquifer_catalog::options::{SinkSettings, table_settings};
use aquifer_formats::chunked::build_chunks;
use aquifer_formats::entry::{Compression, EntrySpec, NewMessage, build_entry};
use aquifer_formats::payload::{Format, PayloadEncoder, encoder, topic_schema_of};
use aquifer_formats::routing::KeyHash;
use aquifer_model::{
    ChangeBatch, Epoch, Error, ErrorKind, Partition, Result, RowKind, SchemaVersion, TopicName, TopicSchema,
};
use aquifer_storage::log::{Appender, DEFAULT_MESSAGE_BYTES, FinishedEntry, Log, Policies};
use aquifer_storage::reader::TieredTopic;
use arrow::array::Array;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use super::message::Layout;
use crate::connector::{Accepts, Delivery, Prepared, Sink, Writer, WriterId};

/// Beyond this many messages an entry is closed, where the table does not say it.
const ENTRY_MESSAGES: usize = 1000;
/// Beyond this many bytes an entry is closed, where the table does not say it.
const ENTRY_BYTES: usize = 128 * 1024;
/// So many closed entries of one partition wait before they are sent.
const ENTRIES_WAITING: usize = 8;
/// So long an entry is tried again while the log cannot be reached, where the table does not say it.
const RETRY_FOR: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A topic as a place for rows.
#[derive(Debug)]
pub struct TopicSink {
    topic: TieredTopic,
    layout: Layout,
    partitions: Vec<Partition>,
    schema: Option<(SchemaVersion, TopicSchema)>,
    max_entry_bytes: usize,
    settings: SinkSettings,
    key_format: Format,
}

impl TopicSink {
    /// For rows with this schema, columns found by name. An Avro topic without a schema gets the table's.
    pub async fn open(topic: TieredTopic, definition: &TableDefinition, rows: &SchemaRef) -> Result<Self> {
        let settings = table_settings(&definition.options)?.sink;
        let key_fields = if settings.upsert { &definition.primary_key } else { &settings.key_fields };
        if settings.upsert && key_fields.is_empty() {
            return Err(Error::invalid(
                "a table of `upsert-pulsar` needs a PRIMARY KEY (…) NOT ENFORCED: it makes the messages' key",
            ));
        }
        let layout = Layout::new(definition, &topic.value_columns, rows, key_fields)?;
        let key_format = key_format(&settings, layout.key_schema())?;
        let schema = find_schema(&topic).await?;
        let partitions = topic.log.partitions(&topic.topic).await?;
        // Without admin rights the policies are not known, which does not matter here but for the limit.
        let policies = topic.log.policies(&topic.topic).await;
        if settings.exactly_once {
            return Err(no_exactly_once(&topic.topic, policies));
        }
        let max_entry_bytes = policies.map_or(DEFAULT_MESSAGE_BYTES, |policies| policies.max_message_bytes);
        Ok(Self { topic, layout, partitions, schema, max_entry_bytes, settings, key_format })
    }

    fn limits(&self) -> Limits {
        let messages = self.settings.batch_messages.unwrap_or(ENTRY_MESSAGES);
        Limits {
            messages: if self.settings.batching { messages } else { 1 },
            // What is held never outgrows what one entry may be.
            bytes: self.settings.batch_bytes.unwrap_or(ENTRY_BYTES).min(self.max_entry_bytes),
            longest: self.max_entry_bytes,
            whole: self.settings.chunking.then_some(self.topic.limits.max_inflated_bytes),
            retry_for: self.settings.send_timeout.unwrap_or(RETRY_FOR),
        }
    }
}

/// What is missing for exactly-once into a topic, the topic's own part first.
fn no_exactly_once(topic: &TopicName, policies: Result<Policies>) -> Error {
    let later = "jobs with checkpoints, which are not there yet: write 'sink.delivery-guarantee' = 'at-least-once'";
    match policies {
        Err(error) => {
            error.context(format_args!("whether `{topic}` deduplicates, as exactly-once needs, cannot be seen"))
        }
        Ok(Policies { deduplicates: false, .. }) => Error::invalid(format!(
            "exactly-once needs a topic that deduplicates, and `{topic}` does not: switch that on first (pulsar-admin namespaces set-deduplication --enable {}/{}). It also needs {later}",
            topic.tenant, topic.namespace
        )),
        Ok(_) => Error::unsupported(format!("exactly-once into `{topic}` needs {later}")),
    }
}

/// How the key is written: as it is said, else one text or one sequence of bytes as it is and anything else as JSON.
fn key_format(settings: &SinkSettings, key: Option<&SchemaRef>) -> Result<Format> {
    let Some(key) = key else { return Ok(Format::Raw) };
    let is_plain =
        matches!(key.fields().as_ref(), [one] if matches!(one.data_type(), DataType::Utf8View | DataType::BinaryView));
    match settings.key_format {
        Some(Format::Raw) if key.fields().len() > 1 => Err(Error::invalid(format!(
            "the key has {} columns, and the format `raw` takes one: write 'key.format' = 'json'",
            key.fields().len()
        ))),
        Some(format) => Ok(format),
        None if is_plain => Ok(Format::Raw),
        None => Ok(Format::Json),
    }
}

/// The schema that messages are written by, with its version; `None` if they name none.
async fn find_schema(topic: &TieredTopic) -> Result<Option<(SchemaVersion, TopicSchema)>> {
    let found = topic.log.schema(&topic.topic, None).await?;
    match found {
        Some((_, schema)) if !topic.format.fits(schema.kind) => Err(Error::invalid(format!(
            "the topic `{}` has a schema of kind {:?}, which the format `{}` cannot write: change the table's `format`",
            topic.topic, schema.kind, topic.format
        ))),
        Some(found) => Ok(Some(found)),
        None if topic.format == Format::Avro => {
            let schema = topic_schema_of(topic.format, &topic.topic.name, &topic.value_columns)?;
            let version = topic.log.put_schema(&topic.topic, &schema).await?;
            Ok(Some((version, schema)))
        }
        None => Ok(None),
    }
}

#[async_trait]
impl Sink for TopicSink {
    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn accepts(&self) -> Accepts {
        if self.settings.upsert { Accepts::Changes } else { Accepts::Inserts }
    }

    async fn open(&self, writer: WriterId) -> Result<Box<dyn Writer>> {
        // No two writers share a name: each numbers its own messages under it.
        let producer = match &self.settings.producer_name {
            Some(name) if writer.index == 0 => name.clone(),
            Some(name) => format!("{name}-{}", writer.index),
            None => format!("{}-{}", writer.job, writer.index),
        };
        let schema = self.schema.as_ref();
        let values =
            encoder(self.topic.format, Arc::clone(&self.topic.value_columns), schema.map(|(_, schema)| schema))?;
        let lanes = self.partitions.iter().map(|partition| {
            let spec = EntrySpec {
                producer_name: producer.clone(),
                publish_time_ms: 0,
                schema_version: schema.map(|(version, _)| version.0.clone()),
                compression: self.settings.compression.unwrap_or(Compression::Lz4),
                batched: self.settings.batching,
                delay_ms: i64::try_from(self.settings.delay.as_millis()).unwrap_or(i64::MAX),
            };
            Lane::open(Arc::clone(&self.topic.log), partition.clone(), spec, self.limits())
        });
        let key_encoder = match self.layout.key_schema() {
            Some(columns) => {
                let schema = topic_schema_of(self.key_format, "key", columns)?;
                Some(encoder(self.key_format, Arc::clone(columns), Some(&schema))?)
            }
            None => None,
        };
        let lanes = join_all(lanes).await.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(Box::new(TopicWriter {
            topic: self.topic.topic.clone(),
            layout: self.layout.clone(),
            encoder: values,
            key_encoder,
            settings: self.settings.clone(),
            lanes,
            current: 0,
        }))
    }

    async fn commit(&self, _epoch: Epoch, _prepared: Vec<Prepared>) -> Result<()> {
        Ok(())
    }
}

struct TopicWriter {
    topic: TopicName,
    layout: Layout,
    encoder: Box<dyn PayloadEncoder>,
    /// Of the columns that make the key, if columns do.
    key_encoder: Option<Box<dyn PayloadEncoder>>,
    settings: SinkSettings,
    lanes: Vec<Lane>,
    /// The partition that takes the next row without a key.
    current: usize,
}

#[async_trait]
impl Writer for TopicWriter {
    async fn write(&mut self, changes: &ChangeBatch) -> Result<()> {
        if !self.settings.upsert && !changes.is_insert_only() {
            return Err(Error::invalid(format!(
                "the topic `{}` takes new rows only, and an update or delete came",
                self.topic
            )));
        }
        let parts = self.layout.split(changes.rows())?;
        let payloads = self.encoder.encode(&parts.values)?;
        let keys = match (&mut self.key_encoder, self.layout.key_rows(changes.rows())?) {
            (Some(encoder), Some(rows)) => Some(encoder.encode(&rows)?),
            // The topic's schema may put columns into the key.
            _ => self.encoder.encode_keys(&parts.values)?,
        };
        let key_hash = if self.settings.murmur3 { KeyHash::Murmur3 } else { KeyHash::Java };
        for row in 0..payloads.len() {
            let kind = changes.kind(row);
            if kind == RowKind::UpdateBefore {
                // The update's new row comes under the same key.
                continue;
            }
            let key = match &keys {
                Some(keys) => keys.is_valid(row).then(|| keys.value(row)),
                None => parts.key(row),
            };
            let message = HeldMessage {
                key,
                payload: (payloads.is_valid(row) && kind != RowKind::Delete).then(|| payloads.value(row)),
                event_time_ms: parts.event_time_ms(row),
                properties: parts.properties(row),
                ordering_key: parts.ordering_key(row),
            };
            let lane = match message.key {
                Some(key) if !self.settings.round_robin => key_hash.partition_of(key, self.lanes.len()),
                _ => self.current,
            };
            if self.lanes[lane].hold(message)? && lane == self.current {
                self.current = (self.current + 1) % self.lanes.len();
            }
            if self.lanes[lane].sealed.len() >= ENTRIES_WAITING {
                self.send_all().await?;
            }
        }
        Ok(())
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<Prepared> {
        for lane in &mut self.lanes {
            lane.seal()?;
        }
        self.current = (self.current + 1) % self.lanes.len();
        self.send_all().await?;
        Ok(Prepared::default())
    }
}

impl TopicWriter {
    async fn send_all(&mut self) -> Result<()> {
        join_all(self.lanes.iter_mut().map(Lane::send)).await.into_iter().collect()
    }
}

struct HeldMessage<'a> {
    key: Option<&'a [u8]>,
    payload: Option<&'a [u8]>,
    event_time_ms: Option<i64>,
    properties: Vec<(String, String)>,
    ordering_key: Option<&'a [u8]>,
}

/// A message whose bytes lie in its lane's buffer.
struct Held {
    key: Option<Range<usize>>,
    payload: Option<Range<usize>>,
    event_time_ms: Option<i64>,
    properties: Vec<(String, String)>,
    ordering_key: Option<Range<usize>>,
}

/// When a lane closes an entry, and when it gives one up.
#[derive(Clone, Copy)]
struct Limits {
    messages: usize,
    bytes: usize,
    /// The longest entry that the log takes.
    longest: usize,
    /// The longest payload of a message that is cut into chunks, as it is read by default; `None`: none is cut.
    whole: Option<usize>,
    retry_for: Duration,
}

/// One partition being written.
struct Lane {
    log: Arc<dyn Log>,
    partition: Partition,
    spec: EntrySpec,
    limits: Limits,
    appender: Option<Box<dyn Appender>>,
    next_sequence_id: i64,
    buffer: Vec<u8>,
    held: Vec<Held>,
    /// Closed entries without a receipt.
    sealed: VecDeque<FinishedEntry>,
}

impl Lane {
    async fn open(log: Arc<dyn Log>, partition: Partition, spec: EntrySpec, limits: Limits) -> Result<Self> {
        let appender = log.open_appender(&partition, &spec.producer_name).await?;
        Ok(Self {
            next_sequence_id: appender.last_sequence_id() + 1,
            appender: Some(appender),
            log,
            partition,
            spec,
            limits,
            buffer: Vec::new(),
            held: Vec::new(),
            sealed: VecDeque::new(),
        })
    }

    /// Takes a message; says whether that closed an entry.
    fn hold(&mut self, message: HeldMessage<'_>) -> Result<bool> {
        let mut keep = |bytes: &[u8]| {
            let from = self.buffer.len();
            self.buffer.extend_from_slice(bytes);
            from..self.buffer.len()
        };
        self.held.push(Held {
            key: message.key.map(&mut keep),
            ordering_key: message.ordering_key.map(&mut keep),
            payload: message.payload.map(&mut keep),
            event_time_ms: message.event_time_ms,
            properties: message.properties,
        });
        let full = self.held.len() >= self.limits.messages || self.buffer.len() >= self.limits.bytes;
        if full {
            self.seal()?;
        }
        Ok(full)
    }

    /// Makes an entry of what is held; several if one would be too long.
    fn seal(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.spec.publish_time_ms =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
            self.seal_some(&held)?;
        }
        self.buffer.clear();
        Ok(())
    }

    fn seal_some(&mut self, held: &[Held]) -> Result<()> {
        let bytes_of = |range: &Option<Range<usize>>| range.clone().map(|range| &self.buffer[range]);
        let messages: Vec<NewMessage<'_>> = held
            .iter()
            .zip(self.next_sequence_id..)
            .map(|(held, sequence_id)| NewMessage {
                sequence_id,
                key: bytes_of(&held.key),
                payload: bytes_of(&held.payload),
                event_time_ms: held.event_time_ms,
                properties: &held.properties,
                ordering_key: bytes_of(&held.ordering_key),
            })
            .collect();
        let bytes = build_entry(&self.spec, &messages)?;
        if bytes.len() > self.limits.longest {
            if let [message] = &messages[..] {
                let chunks = self.chunks(message, bytes.len())?;
                let id = self.next_sequence_id;
                let chunk = chunks.len() > 1;
                let entry = |bytes| FinishedEntry { bytes, lowest: id, highest: id, messages: 1, chunk };
                self.sealed.extend(chunks.into_iter().map(entry));
                self.next_sequence_id += 1;
                return Ok(());
            }
            let (first, second) = held.split_at(held.len() / 2);
            self.seal_some(first)?;
            return self.seal_some(second);
        }
        let lowest = self.next_sequence_id;
        self.next_sequence_id += held.len() as i64;
        let highest = self.next_sequence_id - 1;
        let messages = held.len() as u32;
        self.sealed.push_back(FinishedEntry { bytes, lowest, highest, messages, chunk: false });
        Ok(())
    }

    /// The chunks of a message that makes an entry of `length` bytes, over the longest.
    fn chunks(&self, message: &NewMessage<'_>, length: usize) -> Result<Vec<Bytes>> {
        let Limits { longest, whole, .. } = self.limits;
        let Some(whole) = whole else {
            return Err(Error::invalid(format!(
                "a row makes a message of {length} bytes for `{}`, which takes at most {longest}: 'sink.chunking' = 'true' cuts it into chunks",
                self.partition
            )));
        };
        let payload = message.payload.map_or(0, <[u8]>::len);
        if payload > whole {
            return Err(Error::invalid(format!(
                "a row makes a message of {payload} bytes for `{}`, of which at most {whole} would be read: set 'aquifer.max-inflated-bytes' higher",
                self.partition
            )));
        }
        build_chunks(&self.spec, message, longest)
    }

    /// Sends what is closed, all of it on its way at once, and waits for the receipts.
    async fn send(&mut self) -> Result<()> {
        let mut deadline = Instant::now() + self.limits.retry_for;
        let mut pause = FIRST_PAUSE;
        let mut receipts = Vec::new();
        while !self.sealed.is_empty() {
            let waiting = self.sealed.len();
            let sent = match &mut self.appender {
                Some(appender) => appender.append_all(&mut self.sealed, &mut receipts).await,
                None => match self.log.open_appender(&self.partition, &self.spec.producer_name).await {
                    Ok(appender) => {
                        self.appender = Some(appender);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            if self.sealed.len() < waiting {
                (deadline, pause) = (Instant::now() + self.limits.retry_for, FIRST_PAUSE);
            }
            match sent {
                Ok(()) => {}
                // Sent or not: the same bytes under the same ids.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Unavailable)
                        && Instant::now() + pause < deadline =>
                {
                    tracing::warn!(partition = %self.partition, %error, "sending entries again");
                    self.appender = None;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error.context(format!("writing to `{}`", self.partition))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
