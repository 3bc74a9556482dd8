//! The log of a partition, as every implementation gives it: whole entries, at positions, in order.
//!
//! ```text
//!  Appender ──► entry bytes ──► ledgers 7, 9, 12 … ──► EntryReader
//!                                  ▲ Pin: nothing after it is trimmed
//! ```
//!
//! An entry is handed over as Pulsar stores it: optional broker entry metadata, optional magic and CRC32C, message
//! metadata, and the payload still compressed and batched. Every implementation stores and gives the same bytes;
//! `aquifer_formats::entry` takes them apart. One conformance suite (`storage/tests/`) runs on all implementations.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use aquifer_model::{Cut, Error, Partition, Position, Result, SchemaVersion, TopicIdentity, TopicName, TopicSchema};

/// The longest message that a broker takes where nothing else is set, in bytes.
pub const DEFAULT_MESSAGE_BYTES: usize = 5 * 1024 * 1024;
/// The most partitions of a topic: each is a reader or a writer with buffers of its own.
pub const MAX_PARTITIONS: u32 = 10_000;

/// One stored entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies.
    pub position: Position,
    /// Its bytes, as the broker stores them.
    pub bytes: Bytes,
}

/// A log of topics.
///
/// # Contract
///
/// *Caller*: keeps a topic's [`TopicIdentity`] beside every position it stores, and compares before it uses one. Appends to one
/// partition under one producer name from one place at a time.
///
/// *Implementation*: positions rise strictly within a partition. An entry is never given with other bytes or at another position.
/// An entry whose append was answered with a receipt is given to every reader that starts before it, until it is trimmed; it is not
/// trimmed while a pin stands before it. All methods may be called at the same time. Unknown topics are `Invalid`
/// errors that name the topic; a log that cannot be reached is `Unavailable` and names address and cause.
#[async_trait]
pub trait Log: Send + Sync + Debug {
    /// The partitions of a topic, by number; one without an index if the topic is not partitioned.
    async fn partitions(&self, topic: &TopicName) -> Result<Vec<Partition>>;

    /// Makes a topic with `partitions` partitions (0: not partitioned). Fails with `Invalid` if it is there.
    async fn create_topic(&self, topic: &TopicName, partitions: u32) -> Result<()>;

    /// Deletes a topic with all its data, pins and schemas.
    async fn delete_topic(&self, topic: &TopicName) -> Result<()>;

    /// The topics of `tenant/namespace`, a partitioned one once, sorted, without system topics.
    async fn topics(&self, tenant: &str, namespace: &str) -> Result<Vec<TopicName>>;

    /// All `tenant/namespace` pairs, sorted, without system namespaces.
    async fn namespaces(&self) -> Result<Vec<(String, String)>>;

    /// Makes a namespace (and its tenant). Fails with `Invalid` if it is there.
    async fn create_namespace(&self, tenant: &str, namespace: &str) -> Result<()>;

    /// Deletes a namespace that has no topics. Fails with `Invalid` if it has some, or is not there.
    async fn delete_namespace(&self, tenant: &str, namespace: &str) -> Result<()> {
        Err(Error::unsupported(format!("{} cannot delete the namespace `{tenant}/{namespace}`", self.address())))
    }

    /// Sets policies of a namespace; those that are `None` stay as they are.
    async fn set_namespace_policies(&self, tenant: &str, namespace: &str, _policies: &NamespacePolicies) -> Result<()> {
        Err(Error::unsupported(format!(
            "{} keeps no policies of `{tenant}/{namespace}`: what an embedded log keeps is an option of its catalog (retention, segment-bytes, segment-entries)",
            self.address()
        )))
    }

    /// The policies that are set of a namespace, those that are not being `None`.
    async fn namespace_policies(&self, _tenant: &str, _namespace: &str) -> Result<NamespacePolicies> {
        Ok(NamespacePolicies::default())
    }

    /// A reader of everything after `after`. It gives no entry at or before that cut, whatever the log's own start does. If
    /// entries after the cut have been trimmed it starts at the first that is left; who needs no gap compares with [`Log::ledgers`].
    async fn open_reader(&self, partition: &Partition, after: Cut) -> Result<Box<dyn EntryReader>>;

    /// The last entry a reader can be given now; `None` if there is none now (never written, or all trimmed).
    async fn last_position(&self, partition: &Partition) -> Result<Option<Position>>;

    /// A writer under `producer_name`. Sequence ids at or below [`Appender::last_sequence_id`] are duplicates.
    async fn open_appender(&self, partition: &Partition, producer_name: &str) -> Result<Box<dyn Appender>>;

    /// The durable pin `name`, made at the partition's first entry if it is not there.
    async fn open_pin(&self, partition: &Partition, name: &str) -> Result<Box<dyn Pin>>;

    /// Where the pin `name` stands, `None` if there is none. Never makes one.
    async fn find_pin(&self, partition: &Partition, name: &str) -> Result<Option<Cut>>;

    /// Removes a pin; it is no error if there is none.
    async fn remove_pin(&self, partition: &Partition, name: &str) -> Result<()>;

    /// The ledgers that are still kept, by id.
    async fn ledgers(&self, partition: &Partition) -> Result<Vec<LedgerInfo>>;

    /// What makes this topic this one. The UUID is made and stored if the topic has none.
    async fn identity(&self, topic: &TopicName) -> Result<TopicIdentity>;

    /// The rules under which the log forgets.
    async fn policies(&self, topic: &TopicName) -> Result<Policies>;

    /// A schema by version, or the newest with its version; `None` if the topic has none.
    async fn schema(
        &self,
        topic: &TopicName,
        version: Option<&SchemaVersion>,
    ) -> Result<Option<(SchemaVersion, TopicSchema)>>;

    /// Registers a schema and gives its version; the same schema again gives the same version.
    async fn put_schema(&self, topic: &TopicName, schema: &TopicSchema) -> Result<SchemaVersion>;

    /// What to call this log in messages: its address or folder.
    fn address(&self) -> String;
}

/// What can be set of a namespace. `None` is left alone; an inner `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespacePolicies {
    /// How long messages are kept that everybody has read, in minutes.
    pub retention_minutes: Option<Option<i64>>,
    /// How much of them a topic keeps, in MiB.
    pub retention_mebibytes: Option<Option<i64>>,
    /// After how long messages count as read, in seconds.
    pub message_ttl_seconds: Option<Option<i64>>,
    /// How much of a topic stays with the brokers before it is offloaded, in bytes.
    pub offload_threshold_bytes: Option<Option<i64>>,
    /// Pulsar's name of a schema compatibility strategy.
    pub schema_compatibility: Option<String>,
    /// Whether brokers deduplicate.
    pub deduplicates: Option<bool>,
}

/// One partition being read.
#[async_trait]
pub trait EntryReader: Send {
    /// Waits for entries and gives at least one, in order, at most about `max_bytes` of them (one entry may be larger).
    /// Cancel-safe: dropping the future loses nothing.
    async fn next(&mut self, max_bytes: usize) -> Result<Vec<Entry>>;

    /// Whether entries trickle in over a network, so that it pays to let some come together before they are taken.
    fn trickles(&self) -> bool {
        false
    }
}

/// What became of an appended entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is stored here.
    Stored(Position),
    /// Its sequence ids were already behind the producer's mark: it is stored elsewhere, and this copy was dropped.
    Duplicate,
}

/// One entry to be appended, as `aquifer_formats::entry` builds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedEntry {
    /// Its bytes, beginning with the checksum.
    pub bytes: Bytes,
    /// The sequence id of its first message.
    pub lowest: i64,
    /// The sequence id of its last message.
    pub highest: i64,
    /// How many messages it holds.
    pub messages: u32,
    /// Whether it is a part of a chunked message; all parts have one sequence id.
    pub chunk: bool,
}

/// One producer of one partition.
#[async_trait]
pub trait Appender: Send {
    /// The highest sequence id the log knows of this producer; -1 if none. Rises with receipts.
    fn last_sequence_id(&self) -> i64;

    /// Stores one finished entry (as `aquifer_formats::entry` builds it, its producer name and sequence ids inside and equal to
    /// these) and waits for the receipt. `lowest..=highest` are its messages' ids. An `Unknown` error means it may be stored: open
    /// again and append the same bytes with the same ids. **Not cancel-safe.**
    async fn append(&mut self, bytes: Bytes, lowest: i64, highest: i64, messages: u32) -> Result<Receipt>;

    /// Stores several finished entries in order, as many on their way at once as the log bears. An entry whose receipt came has left
    /// `entries` and its receipt stands in `receipts`; of those left after an error nothing is known, as after [`Appender::append`].
    /// **Not cancel-safe.**
    async fn append_all(&mut self, entries: &mut VecDeque<FinishedEntry>, receipts: &mut Vec<Receipt>) -> Result<()> {
        while let Some(entry) = entries.front() {
            if entry.chunk {
                return Err(Error::unsupported("this log takes no messages in chunks: write smaller ones"));
            }
            receipts.push(self.append(entry.bytes.clone(), entry.lowest, entry.highest, entry.messages).await?);
            entries.pop_front();
        }
        Ok(())
    }
}

/// A durable mark in a partition. The log keeps everything after it.
#[async_trait]
pub trait Pin: Send + Debug {
    /// Whether it was there before it was opened. A pin made now has held nothing back until now.
    fn was_there(&self) -> bool;

    /// Where it stands. After a crash of the log it may have moved back, never forward.
    async fn cut(&self) -> Result<Cut>;

    /// Moves it: everything up to `position` may be trimmed. Never moves back. Returns with the log's receipt.
    async fn advance(&mut self, position: Position) -> Result<()>;
}

/// One ledger of a partition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LedgerInfo {
    /// Its id.
    pub id: u64,
    /// How many entries it holds; final only when `closed`.
    pub entries: u64,
    /// Bytes of its entries.
    pub bytes: u64,
    /// Whether no entry will be added.
    pub closed: bool,
}

/// The rules under which a topic forgets, as far as they endanger what is not archived. `None`: off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policies {
    /// How long entries are kept after every pin has passed them; zero: not at all. `None`: for ever.
    pub retention: Option<Duration>,
    /// Moves all pins after this time: archiving is refused.
    pub message_ttl: Option<Duration>,
    /// Whether a backlog quota may skip the slowest pin: archiving is refused.
    pub evicts_backlog: bool,
    /// Deletes idle subscriptions after this time: archiving is refused.
    pub subscription_expiry: Option<Duration>,
    /// Whether duplicates by producer name and sequence id are dropped.
    pub deduplicates: bool,
    /// The longest message the log takes, in bytes.
    pub max_message_bytes: usize,
}
