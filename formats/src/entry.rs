//! One log entry's bytes, in Pulsar's own layout: taking apart, checking, building.
//!
//! ```text
//!  [0x0e02 size broker-entry-metadata]? [0x0e01 crc32c]? metadata-size metadata payload
//! ```
//!
//! Sizes are 4 bytes big-endian; the checksum covers everything after itself. Lengths are compared with what is there before
//! anything is read or allocated.

use aquifer_model::{Error, Result};
use base64::Engine;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use pulsar::message::proto;

pub use crate::compression::Compression;
use crate::compression::{check_claim, compress};

const MAGIC_BROKER_METADATA: [u8; 2] = [0x0e, 0x02];
const MAGIC_CHECKSUM: [u8; 2] = [0x0e, 0x01];
/// About what a message in a batch takes beside its payload.
const SINGLE_BYTES: usize = 24;

/// What an entry may cost before it is refused. Checked before anything is allocated.
#[derive(Debug, Clone, Copy)]
pub struct EntryLimits {
    /// The longest entry, in bytes.
    pub max_entry_bytes: usize,
    /// The most that one entry's payload may inflate to, in bytes.
    pub max_inflated_bytes: usize,
}

/// What an entry may inflate to where nothing is said, and the least that an entry as it is stored may have.
const INFLATED_BYTES: usize = 64 * 1024 * 1024;
/// An entry's head, and what the broker may put before it.
const BESIDE_BYTES: usize = 74 * 1024;

/// The least that a message in a batch takes: four bytes of length, and two of metadata that say how long it is.
const LEAST_MESSAGE_BYTES: usize = 6;
/// What a row takes, beside its payload, while its entry is taken apart and put into columns: 96 bytes of [`crate::messages`]' own and all columns.
const ROW_BYTES: usize = 256;
/// So many times what a payload may inflate to may an entry's payload and rows take together.
const ROWS_TIMES: usize = 4;
/// What an entry's payload and rows may always take together, however little a payload may inflate to: some 250,000 small messages.
const LEAST_ROWS_BYTES: usize = 64 * 1024 * 1024;
/// An entry's metadata may be this part of what its payload may inflate to: a field of two bytes becomes one of up to 72 in memory.
const METADATA_PART: usize = 10;
/// How long an entry's metadata may always be.
const LEAST_METADATA_BYTES: usize = 1024 * 1024;

impl Default for EntryLimits {
    fn default() -> Self {
        Self::of_inflated(INFLATED_BYTES)
    }
}

impl EntryLimits {
    /// Payloads of up to `bytes`, inflated. An entry as it is stored may always be as long as by default: a chunked message that was put together is one.
    pub fn of_inflated(bytes: usize) -> Self {
        Self { max_entry_bytes: bytes.max(INFLATED_BYTES) + BESIDE_BYTES, max_inflated_bytes: bytes }
    }

    /// Refuses a batch that claims more messages than can lie in so many bytes of payload, inflated, or more than may be made of one entry: by default a million
    /// of a few bytes, 780,000 in 64 MiB. Rows and payload then take at most four times what a payload may inflate to, or 64 MiB where that is more; keys and
    /// properties are copied, which adds at most three times the payload.
    pub(crate) fn check_messages(&self, count: u32, payload_bytes: usize) -> Result<()> {
        let count = count as usize;
        if count > payload_bytes / LEAST_MESSAGE_BYTES {
            return Err(Error::corrupt(format!("{count} messages cannot lie in {payload_bytes} bytes")));
        }
        let most = self.max_inflated_bytes.saturating_mul(ROWS_TIMES).max(LEAST_ROWS_BYTES);
        let needed = count.saturating_mul(ROW_BYTES).saturating_add(payload_bytes);
        if needed > most {
            return Err(Error::unsupported(format!(
                "an entry of {count} messages in {payload_bytes} bytes would take {needed} bytes of memory, above the limit of {most}: if it is right, set \
                 'aquifer.max-inflated-bytes' of the table or its catalog higher"
            )));
        }
        Ok(())
    }

    /// The longest metadata of an entry.
    fn max_metadata_bytes(&self) -> usize {
        (self.max_inflated_bytes / METADATA_PART).max(LEAST_METADATA_BYTES)
    }
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
    /// Milliseconds after the publish time before which a broker does not give the entry to shared subscriptions; 0: at once.
    pub delay_ms: i64,
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
    /// The key that a shared-by-key subscription orders by, in the place of the partition key.
    pub ordering_key: Option<&'a [u8]>,
}

impl NewMessage<'_> {
    /// The key as the wire has it, text where it can be, and whether that is base64.
    fn wire_key(&self) -> (Option<String>, Option<bool>) {
        match self.key.map(std::str::from_utf8) {
            None => (None, None),
            Some(Ok(text)) => (Some(text.to_string()), Some(false)),
            Some(Err(_)) => {
                let bytes = self.key.unwrap_or_default();
                (Some(base64::engine::general_purpose::STANDARD.encode(bytes)), Some(true))
            }
        }
    }

    fn wire_properties(&self) -> Vec<proto::KeyValue> {
        self.properties.iter().map(|(key, value)| proto::KeyValue { key: key.clone(), value: value.clone() }).collect()
    }

    fn wire_event_time(&self) -> Option<u64> {
        self.event_time_ms.map(|ms| ms as u64)
    }
}

/// Builds a finished entry: magic, CRC32C, metadata with `highest_sequence_id` set, payload. Fails with `Invalid` on no message, or on
/// several that are not batched.
pub fn build_entry(spec: &EntrySpec, messages: &[NewMessage<'_>]) -> Result<Bytes> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
        return Err(Error::invalid("an entry needs a message"));
    };
    if messages.len() > 1 && !spec.batched {
        return Err(Error::invalid("several messages in one entry must be batched"));
    }
    let mut metadata = proto::MessageMetadata {
        producer_name: spec.producer_name.clone(),
        sequence_id: first.sequence_id as u64,
        highest_sequence_id: Some(last.sequence_id as u64),
        publish_time: spec.publish_time_ms as u64,
        schema_version: spec.schema_version.clone(),
        deliver_at_time: (spec.delay_ms > 0).then(|| spec.publish_time_ms.saturating_add(spec.delay_ms)),
        ..Default::default()
    };
    let payload = if spec.batched {
        metadata.num_messages_in_batch =
            Some(i32::try_from(messages.len()).map_err(|_| Error::invalid("too many messages"))?);
        let bytes: usize = messages.iter().map(|message| message.payload.map_or(0, <[u8]>::len) + SINGLE_BYTES).sum();
        let mut payload = Vec::with_capacity(bytes);
        for message in messages {
            let (partition_key, partition_key_b64_encoded) = message.wire_key();
            let bytes = message.payload.unwrap_or_default();
            let single = proto::SingleMessageMetadata {
                properties: message.wire_properties(),
                partition_key,
                partition_key_b64_encoded,
                payload_size: i32::try_from(bytes.len()).map_err(|_| Error::invalid("a message is too long"))?,
                event_time: message.wire_event_time(),
                sequence_id: Some(message.sequence_id as u64),
                null_value: message.payload.is_none().then_some(true),
                ordering_key: message.ordering_key.map(<[u8]>::to_vec),
                ..Default::default()
            };
            payload.put_u32(single.encoded_len() as u32);
            single.encode(&mut payload).map_err(|error| Error::internal("encoding metadata").with_source(error))?;
            payload.extend_from_slice(bytes);
        }
        payload
    } else {
        (metadata.partition_key, metadata.partition_key_b64_encoded) = first.wire_key();
        metadata.properties = first.wire_properties();
        metadata.event_time = first.wire_event_time();
        metadata.null_value = first.payload.is_none().then_some(true);
        metadata.ordering_key = first.ordering_key.map(<[u8]>::to_vec);
        first.payload.unwrap_or_default().to_vec()
    };
    // The C++ client inflates nothing to nothing only without a codec: it throws away an empty ZLIB payload.
    let payload = if spec.compression == Compression::None || payload.is_empty() {
        payload
    } else {
        metadata.compression = Some(match spec.compression {
            Compression::None => proto::CompressionType::None,
            Compression::Lz4 => proto::CompressionType::Lz4,
            Compression::Zlib => proto::CompressionType::Zlib,
            Compression::Zstd => proto::CompressionType::Zstd,
            Compression::Snappy => proto::CompressionType::Snappy,
        } as i32);
        metadata.uncompressed_size =
            Some(u32::try_from(payload.len()).map_err(|_| Error::invalid("an entry is too long"))?);
        compress(spec.compression, &payload)?
    };

    Ok(frame(&metadata, &payload))
}

/// An entry of this metadata and payload: magic, CRC32C over what follows, length, metadata, payload.
pub(crate) fn frame(metadata: &proto::MessageMetadata, payload: &[u8]) -> Bytes {
    let length = metadata.encoded_len();
    let mut entry = BytesMut::with_capacity(10 + length + payload.len());
    entry.put_slice(&MAGIC_CHECKSUM);
    entry.put_u32(0);
    entry.put_u32(length as u32);
    entry.put_slice(&metadata.encode_to_vec());
    entry.put_slice(payload);
    let checksum = crc32c::crc32c(&entry[6..]);
    entry[2..6].copy_from_slice(&checksum.to_be_bytes());
    entry.freeze()
}

/// An entry taken apart, its payload still compressed.
#[derive(Debug)]
pub(crate) struct ParsedEntry {
    pub metadata: proto::MessageMetadata,
    pub payload: Bytes,
}

impl ParsedEntry {
    /// Checks frame and checksum.
    pub fn parse(bytes: &Bytes, limits: &EntryLimits) -> Result<Self> {
        if bytes.len() > limits.max_entry_bytes {
            return Err(Error::unsupported(format!(
                "an entry of {} bytes is above the limit of {}: if it is right, set 'aquifer.max-inflated-bytes' of the table or its catalog higher",
                bytes.len(),
                limits.max_entry_bytes
            )));
        }
        if let Some(((long, limit), _)) = cut_off_head(bytes) {
            return Err(Error::unsupported(format!(
                "an entry came in a frame of {long} bytes, over the limit of {limit} bytes: to read it raise 'max-frame-bytes'"
            )));
        }
        let mut at = 0;
        if bytes.starts_with(&MAGIC_BROKER_METADATA) {
            at = 2;
            let size = read_u32(bytes, &mut at)? as usize;
            at = at.checked_add(size).filter(|at| *at <= bytes.len()).ok_or_else(torn)?;
        }
        if bytes[at..].starts_with(&MAGIC_CHECKSUM) {
            at += 2;
            let expected = read_u32(bytes, &mut at)?;
            let found = crc32c::crc32c(&bytes[at..]);
            if found != expected {
                return Err(Error::corrupt(format!("an entry's checksum is {found:08x}, it should be {expected:08x}")));
            }
        }
        let size = read_u32(bytes, &mut at)? as usize;
        let end = at.checked_add(size).filter(|end| *end <= bytes.len()).ok_or_else(torn)?;
        let most = limits.max_metadata_bytes();
        if size > most {
            return Err(Error::unsupported(format!(
                "an entry's metadata of {size} bytes is above the limit of {most}: if it is right, set 'aquifer.max-inflated-bytes' of the table or its catalog higher"
            )));
        }
        let metadata = proto::MessageMetadata::decode(&bytes[at..end])
            .map_err(|error| Error::corrupt("an entry's metadata cannot be read").with_source(error))?;
        Ok(Self { metadata, payload: bytes.slice(end..) })
    }

    /// How many messages it holds: none where it is a marker of the broker.
    pub fn messages(&self) -> Result<u32> {
        if self.metadata.marker_type.is_some() {
            return Ok(0);
        }
        match self.metadata.num_messages_in_batch {
            None => Ok(1),
            Some(n) => u32::try_from(n)
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| Error::corrupt(format!("an entry says that it holds {n} messages"))),
        }
    }

    /// Whether its messages stand in a batch, one after the other with metadata of their own.
    pub fn is_batch(&self) -> bool {
        self.metadata.num_messages_in_batch.is_some()
    }

    /// How its payload is compressed and to how many bytes it claims to inflate, if it is.
    pub fn compressed(&self, limits: &EntryLimits) -> Result<Option<(Compression, usize)>> {
        let compression = match self.metadata.compression.unwrap_or(0) {
            0 => return Ok(None),
            1 => Compression::Lz4,
            2 => Compression::Zlib,
            3 => Compression::Zstd,
            4 => Compression::Snappy,
            n => return Err(Error::unsupported(format!("an entry is compressed by codec {n}, which is not known"))),
        };
        let claimed = self.metadata.uncompressed_size.unwrap_or(0) as usize;
        Ok(Some((compression, check_claim(claimed, limits.max_inflated_bytes)?)))
    }
}

fn torn() -> Error {
    Error::corrupt("an entry is torn: it ends before its own lengths do")
}

fn read_u32(bytes: &[u8], at: &mut usize) -> Result<u32> {
    let end = *at + 4;
    let number = bytes.get(*at..end).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes).ok_or_else(torn)?;
    *at = end;
    Ok(number)
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

/// What a broker may put before an entry: when it took it, and its number in the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BrokerMetadata {
    /// Milliseconds since 1970 by the broker's clock.
    pub broker_time_ms: Option<i64>,
    /// The index of the entry's last message. An aid for lag, no identity: transactions and replays make it jump.
    pub index: Option<u64>,
}

impl BrokerMetadata {
    /// The index of a message of an entry of `count`, as the Java client's `getIndex` tells it.
    pub fn index_of(&self, batch_index: i32, count: u32) -> Option<i64> {
        let before_last = i64::from(count) - 1 - i64::from(batch_index);
        // An entry of a transaction is counted as one message: its first ones have no number.
        i64::try_from(self.index?).ok()?.checked_sub(before_last).filter(|index| *index >= 0)
    }
}

/// What the broker put before an entry; nothing where it does not, or where it cannot be read.
pub fn broker_metadata(bytes: &Bytes) -> BrokerMetadata {
    let read = || {
        let rest = bytes.strip_prefix(&MAGIC_BROKER_METADATA)?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        proto::BrokerEntryMetadata::decode(rest.get(..u32::from_be_bytes(*size) as usize)?).ok()
    };
    read().map_or_else(BrokerMetadata::default, |metadata| BrokerMetadata {
        broker_time_ms: metadata.broker_timestamp.map(|ms| ms as i64),
        index: metadata.index,
    })
}

/// What was made of an entry, behind what the broker put before that.
pub(crate) fn with_broker_metadata_of(entry: &Bytes, made: Bytes) -> Bytes {
    let head = entry.strip_prefix(&MAGIC_BROKER_METADATA).and_then(|rest| {
        let (size, _) = rest.split_first_chunk::<4>()?;
        entry.get(..(u32::from_be_bytes(*size) as usize).checked_add(6)?)
    });
    head.map_or(made.clone(), |head| [head, &made].concat().into())
}

/// How what stands for an entry that was not taken in begins: two bytes that no entry of Pulsar's begins with, then two lengths.
const MAGIC_CUT_OFF: [u8; 2] = [0x0e, 0xff];

/// What stands for an entry whose frame of so many `bytes` was over a `limit`: the head of it. It fails to decode, saying so.
pub fn cut_off(bytes: usize, limit: usize, head: &[u8]) -> Bytes {
    let mut marker = Vec::with_capacity(18 + head.len());
    marker.extend_from_slice(&MAGIC_CUT_OFF);
    marker.extend_from_slice(&(bytes as u64).to_be_bytes());
    marker.extend_from_slice(&(limit as u64).to_be_bytes());
    marker.extend_from_slice(head);
    marker.into()
}

/// The bytes of the frame and the limit, and the head of the entry, where `entry` was made by [`cut_off`].
pub fn cut_off_head(entry: &[u8]) -> Option<((u64, u64), &[u8])> {
    let rest = entry.strip_prefix(&MAGIC_CUT_OFF)?;
    let (bytes, rest) = rest.split_first_chunk::<8>()?;
    let (limit, head) = rest.split_first_chunk::<8>()?;
    Some(((u64::from_be_bytes(*bytes), u64::from_be_bytes(*limit)), head))
}

/// Reads an entry's head. Fails with `Corrupt` on a bad checksum, a torn frame or impossible lengths.
pub fn summarize(bytes: &Bytes, limits: &EntryLimits) -> Result<EntrySummary> {
    let entry = ParsedEntry::parse(bytes, limits)?;
    let metadata = &entry.metadata;
    let chunk = match (metadata.chunk_id, metadata.num_chunks_from_msg) {
        (Some(id), Some(count)) if count > 1 => {
            let wrong = |_| Error::corrupt(format!("chunk {id} of {count} is impossible"));
            Some((u32::try_from(id).map_err(wrong)?, u32::try_from(count).map_err(wrong)?))
        }
        _ => None,
    };
    Ok(EntrySummary {
        producer_name: metadata.producer_name.clone(),
        lowest_sequence_id: metadata.sequence_id as i64,
        highest_sequence_id: metadata.highest_sequence_id.unwrap_or(0).max(metadata.sequence_id) as i64,
        messages: entry.messages()?,
        publish_time_ms: metadata.publish_time as i64,
        chunk,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_tells_what_was_built() {
        let spec = EntrySpec { producer_name: "p".into(), publish_time_ms: 5, batched: true, ..Default::default() };
        let messages: Vec<_> = (7..10).map(|sequence_id| NewMessage { sequence_id, ..Default::default() }).collect();
        let entry = build_entry(&spec, &messages).expect("three messages");
        let summary = summarize(&entry, &EntryLimits::default()).expect("built by us");
        assert_eq!((summary.lowest_sequence_id, summary.highest_sequence_id, summary.messages), (7, 9, 3));
        assert_eq!((summary.producer_name.as_str(), summary.publish_time_ms, summary.chunk), ("p", 5, None));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let message = NewMessage { payload: Some(b"hello"), ..Default::default() };
        let entry = build_entry(&EntrySpec::default(), &[message]).expect("one message");
        for bit in 16..entry.len() * 8 {
            let mut damaged = entry.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(summarize(&damaged.into(), &EntryLimits::default()).is_err(), "bit {bit}");
        }
        for length in 0..entry.len() {
            assert!(summarize(&entry.slice(..length), &EntryLimits::default()).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn an_empty_payload_is_not_compressed() {
        let spec = EntrySpec { compression: Compression::Zlib, ..Default::default() };
        let entry =
            build_entry(&spec, &[NewMessage { payload: Some(b""), ..Default::default() }]).expect("one message");
        let parsed = ParsedEntry::parse(&entry, &EntryLimits::default()).expect("whole");
        assert_eq!((parsed.metadata.compression, parsed.payload.len()), (None, 0));
    }

    #[test]
    fn a_delay_counts_from_the_publish_time() {
        for (delay_ms, batched) in [(0, false), (2500, false), (2500, true), (i64::MAX, true)] {
            let spec = EntrySpec { publish_time_ms: 1000, delay_ms, batched, ..Default::default() };
            let entry = build_entry(&spec, &[NewMessage::default()]).expect("one message");
            let parsed = ParsedEntry::parse(&entry, &EntryLimits::default()).expect("whole");
            let due = (delay_ms > 0).then(|| delay_ms.saturating_add(1000));
            assert_eq!(parsed.metadata.deliver_at_time, due, "{delay_ms} {batched}");
        }
    }

    #[test]
    fn broker_metadata_before_an_entry_is_passed_over() {
        let entry = build_entry(&EntrySpec::default(), &[NewMessage::default()]).expect("one message");
        let mut bytes = vec![0x0e, 0x02, 0, 0, 0, 2, 0x10, 7];
        bytes.extend_from_slice(&entry);
        let bytes = Bytes::from(bytes);
        assert_eq!(broker_metadata(&bytes), BrokerMetadata { broker_time_ms: None, index: Some(7) });
        for end in 0..8 {
            assert_eq!(broker_metadata(&bytes.slice(..end)), BrokerMetadata::default());
        }
        assert_eq!(broker_metadata(&entry), BrokerMetadata::default());
        assert_eq!(with_broker_metadata_of(&bytes, entry.clone()), bytes);
        assert_eq!(with_broker_metadata_of(&entry, entry.clone()), entry);
        assert_eq!(
            summarize(&bytes, &EntryLimits::default()).expect("whole"),
            summarize(&entry, &EntryLimits::default()).expect("whole")
        );
    }

    #[test]
    fn an_entry_without_messages_or_above_the_limit_is_refused() {
        assert!(build_entry(&EntrySpec::default(), &[]).is_err());
        assert!(build_entry(&EntrySpec::default(), &[NewMessage::default(), NewMessage::default()]).is_err());
        let entry = build_entry(&EntrySpec::default(), &[NewMessage::default()]).expect("one message");
        let limits = EntryLimits { max_entry_bytes: entry.len() - 1, ..Default::default() };
        assert!(summarize(&entry, &limits).is_err());
    }

    #[test]
    fn messages_are_refused_that_cannot_be_there_or_take_too_much() {
        const MIB: usize = 1 << 20;
        let default = EntryLimits::default();
        for (limits, count, bytes, is_fine) in [
            (default, 1, 6, true),
            (default, 2, 11, false),
            (default, u32::MAX, usize::MAX, false),
            // What a client may be set to: a batch of 5 MiB of small messages.
            (default, 500_000, 5 * MIB, true),
            (default, 780_000, 64 * MIB, true),
            (default, 1_000_000, 6_000_000, true),
            (default, 11_000_000, 64 * MIB, false),
            (EntryLimits::of_inflated(64 << 10), 200_000, 5 * MIB, true),
            (EntryLimits::of_inflated(64 << 10), 300_000, 5 * MIB, false),
            (EntryLimits::of_inflated(1 << 30), 11_000_000, 64 * MIB, true),
            (EntryLimits { max_inflated_bytes: usize::MAX, ..default }, 11_000_000, 64 * MIB, true),
        ] {
            assert_eq!(limits.check_messages(count, bytes).is_ok(), is_fine, "{count} in {bytes}");
        }
    }

    #[test]
    fn metadata_above_the_limit_is_refused() {
        let key = vec![b'k'; LEAST_METADATA_BYTES];
        let message = NewMessage { key: Some(&key), ..Default::default() };
        let entry = build_entry(&EntrySpec::default(), &[message]).expect("one message");
        assert!(summarize(&entry, &EntryLimits::default()).is_ok());
        let error = summarize(&entry, &EntryLimits::of_inflated(64 << 10)).expect_err("too long");
        assert!(error.to_string().contains("above the limit of 1048576"), "{error}");
    }
}
