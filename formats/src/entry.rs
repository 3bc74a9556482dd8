//! One log entry's bytes, in Pulsar's own layout: taking apart, checking, building.
//!
//! ```text
//!  [0x0e02 size broker-entry-metadata]? [0x0e01 crc32c]? metadata-size metadata payload
//! ```

use bytes::Bytes;

use aquifer_model::Result;

/// What an entry may cost before it is refused. Checked before anything is allocated.
#[derive(Debug, Clone, Copy)]
pub struct EntryLimits {
    /// The longest entry, in bytes.
    pub max_entry_bytes: usize,
    /// The most that one entry's payload may inflate to, in bytes.
    pub max_inflated_bytes: usize,
}

impl Default for EntryLimits {
    fn default() -> Self {
        Self { max_entry_bytes: 5 * 1024 * 1024 + 10 * 1024 + 64 * 1024, max_inflated_bytes: 64 * 1024 * 1024 }
    }
}

/// How an entry's payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Raw LZ4 block.
    Lz4,
    /// Zlib with header.
    Zlib,
    /// A zstd frame.
    Zstd,
    /// Raw Snappy.
    Snappy,
}

/// What all messages of an entry share.
#[derive(Debug, Clone, Default)]
pub struct EntrySpec {
    /// Who writes.
    pub producer_name: String,
    /// Milliseconds since 1970.
    pub publish_time_ms: i64,
    /// The registry's version bytes.
    pub schema_version: Option<Vec<u8>>,
    /// How the payload is compressed.
    pub compression: Compression,
    /// Whether the messages stand in a batch; must be true for more than one.
    pub batched: bool,
}

/// One message to be written.
#[derive(Debug, Clone, Default)]
pub struct NewMessage<'a> {
    /// Its sequence id; dense and rising inside an entry.
    pub sequence_id: i64,
    /// The partition key.
    pub key: Option<&'a [u8]>,
    /// The payload; `None` for a message without a value.
    pub payload: Option<&'a [u8]>,
    /// Milliseconds since 1970.
    pub event_time_ms: Option<i64>,
    /// Properties.
    pub properties: &'a [(String, String)],
}

/// Builds a finished entry: magic, CRC32C, metadata with `highest_sequence_id` set, payload.
pub fn build_entry(_spec: &EntrySpec, _messages: &[NewMessage<'_>]) -> Result<Bytes> {
    todo!()
}

/// What a log needs to know of an entry without splitting it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntrySummary {
    /// Who wrote it.
    pub producer_name: String,
    /// The sequence id of its first message.
    pub lowest_sequence_id: i64,
    /// The sequence id of its last message.
    pub highest_sequence_id: i64,
    /// How many messages it holds.
    pub messages: u32,
    /// Milliseconds since 1970.
    pub publish_time_ms: i64,
    /// Chunk number and count, where the entry is a part of a chunked message.
    pub chunk: Option<(u32, u32)>,
}

/// Reads an entry's head. Fails with `Corrupt` on a bad checksum, a torn frame or impossible lengths.
pub fn summarize(_bytes: &Bytes, _limits: &EntryLimits) -> Result<EntrySummary> {
    todo!()
}
