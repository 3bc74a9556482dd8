//! Messages in columns: one row a message, the payload still as its bytes.
//!
//! Both tiers give this shape: the log's entries are split into it, the archive's files keep its columns.

use std::borrow::Cow;
use std::iter::repeat_n;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use aquifer_model::sql_type::LTZ_ZONE;
use aquifer_model::{Error, Position, Result};
use arrow::array::{
    ArrayBuilder, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, BooleanArray, BooleanBufferBuilder,
    Int32Array, Int64Array, MapArray, RecordBatch, StringArray, StringBuilder, StringViewArray, StructArray,
    TimestampMillisecondArray, UInt64Array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{BinaryViewType, DataType, Field, Schema, SchemaRef, StringViewType, TimeUnit};
use base64::Engine;
use bytes::Bytes;
use pulsar::message::proto::MessageMetadata;

use self::payloads::Payloads;
use self::shared::Shared;
use crate::chunked::ChunkBounds;
use crate::entry::{BrokerMetadata, EntryLimits, ParsedEntry, broker_metadata};
use crate::memory::Reused;
use crate::single::{SingleMetadata, WrittenProperties};

/// Names of the columns that describe a message, the same in memory and in archive files.
pub mod column {
    /// UInt64: the ledger of the entry.
    pub const LEDGER: &str = "__ledger";
    /// UInt64: the entry in its ledger.
    pub const ENTRY: &str = "__entry";
    /// Int32: the message's place in its entry, from 0.
    pub const BATCH_INDEX: &str = "__batch_index";
    /// Timestamp(ms, UTC): when the producer sent it.
    pub const PUBLISH_TIME: &str = "__publish_time";
    /// Timestamp(ms, UTC): the producer's event time; NULL where unset (0 on the wire).
    pub const EVENT_TIME: &str = "__event_time";
    /// BinaryView: the partition key's bytes, base64 undone; NULL where there is none.
    pub const KEY: &str = "__key";
    /// Map<Utf8, Utf8>: the properties; empty where there are none.
    pub const PROPERTIES: &str = "__properties";
    /// Utf8View: who sent it.
    pub const PRODUCER_NAME: &str = "__producer_name";
    /// Int64: its sequence id.
    pub const SEQUENCE_ID: &str = "__sequence_id";
    /// BinaryView: the registry's version bytes; NULL where the message names none.
    pub const SCHEMA_VERSION: &str = "__schema_version";
    /// BinaryView: the payload; NULL where the message has no value (a tombstone) or, in the archive, where it was decoded.
    pub const PAYLOAD: &str = "__payload";
    /// Boolean: the message has no value.
    pub const NULL_VALUE: &str = "__null_value";
    /// BinaryView: the ordering key's bytes; NULL where there is none.
    pub const ORDERING_KEY: &str = "__ordering_key";
    /// Utf8View: the cluster that the message was first written in; NULL where it was not replicated.
    pub const REPLICATED_FROM: &str = "__replicated_from";
    /// Int32: the payload's bytes, not compressed; 0 where the message has no value. NULL in archive files that are older than the column.
    pub const MESSAGE_SIZE: &str = "__message_size";
    /// Timestamp(ms, UTC): when the broker took the message's entry, by its own clock; NULL where it does not say.
    pub const BROKER_PUBLISH_TIME: &str = "__broker_publish_time";
    /// Int64: the broker's number of the message in its partition; NULL where it gives none.
    pub const MESSAGE_INDEX: &str = "__message_index";
}

/// The schema of a message batch: the columns of [`column`], in that order.
pub fn message_schema() -> SchemaRef {
    use column::*;
    let instant = DataType::Timestamp(TimeUnit::Millisecond, Some(LTZ_ZONE.into()));
    Arc::new(Schema::new(vec![
        Field::new(LEDGER, DataType::UInt64, false),
        Field::new(ENTRY, DataType::UInt64, false),
        Field::new(BATCH_INDEX, DataType::Int32, false),
        Field::new(PUBLISH_TIME, instant.clone(), false),
        Field::new(EVENT_TIME, instant.clone(), true),
        Field::new(KEY, DataType::BinaryView, true),
        Field::new(PROPERTIES, properties_type(), false),
        Field::new(PRODUCER_NAME, DataType::Utf8View, false),
        Field::new(SEQUENCE_ID, DataType::Int64, false),
        Field::new(SCHEMA_VERSION, DataType::BinaryView, true),
        Field::new(PAYLOAD, DataType::BinaryView, true),
        Field::new(NULL_VALUE, DataType::Boolean, false),
        Field::new(ORDERING_KEY, DataType::BinaryView, true),
        Field::new(REPLICATED_FROM, DataType::Utf8View, true),
        Field::new(MESSAGE_SIZE, DataType::Int32, true),
        Field::new(BROKER_PUBLISH_TIME, instant, true),
        Field::new(MESSAGE_INDEX, DataType::Int64, true),
    ]))
}

/// The type of the properties column.
pub fn properties_type() -> DataType {
    let entries = DataType::Struct(
        vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, false)].into(),
    );
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

/// Messages in log order, of one partition. Its columns are those of [`message_schema`].
#[derive(Debug, Clone)]
pub struct MessageBatch(RecordBatch);

impl MessageBatch {
    /// The columns.
    pub fn rows(&self) -> &RecordBatch {
        &self.0
    }

    /// The payload column.
    pub fn payloads(&self) -> &BinaryViewArray {
        self.0.column(10).as_binary_view()
    }
}

/// Splits entries into message rows.
///
/// Messages are views into their entry's payload, inflated ([`payloads`]).
#[derive(Debug)]
pub struct MessageBatchBuilder {
    limits: EntryLimits,
    ledger: Reused<u64>,
    entry: Reused<u64>,
    batch_index: Reused<i32>,
    publish_time: Reused<i64>,
    event_time: Vec<Option<i64>>,
    key: BinaryViewBuilder,
    /// Rows without a key behind those in `key`: most topics have none.
    keyless: usize,
    property_keys: StringBuilder,
    property_values: StringBuilder,
    property_ends: Vec<i32>,
    producer_name: Shared,
    sequence_id: Vec<i64>,
    schema_version: Shared,
    payloads: Payloads,
    null_value: BooleanBufferBuilder,
    ordering_key: BinaryViewBuilder,
    replicated_from: Shared,
    message_size: Vec<i32>,
    broker_time: Vec<Option<i64>>,
    message_index: Vec<Option<i64>>,
    /// How many rows the last batch had: the next one will hardly be another size.
    room: usize,
    left_out: LeftOut,
}

/// Columns that nobody asks for: they are not filled.
#[derive(Debug, Clone, Copy, Default)]
struct LeftOut {
    event_time: bool,
    properties: bool,
    producer_name: bool,
    sequence_id: bool,
    ordering_key: bool,
    replicated_from: bool,
    message_size: bool,
    broker_time: bool,
    message_index: bool,
}

/// Texts up to this length lie in their views.
const INLINE_BYTES: usize = 12;

/// One message as it lies in its entry.
struct Split<'a> {
    batch_index: i32,
    key: Option<Cow<'a, [u8]>>,
    event_time: u64,
    sequence_id: i64,
    null_value: bool,
    ordering_key: Option<&'a [u8]>,
    payload: Range<usize>,
    /// Of a message in a batch; those of one that is alone are its entry's.
    properties: Option<WrittenProperties<'a>>,
}

impl MessageBatchBuilder {
    /// An empty builder under these limits.
    pub fn new(limits: EntryLimits) -> Self {
        Self {
            limits,
            ledger: Reused::default(),
            entry: Reused::default(),
            batch_index: Reused::default(),
            publish_time: Reused::default(),
            event_time: Vec::new(),
            key: BinaryViewBuilder::new(),
            keyless: 0,
            property_keys: StringBuilder::new(),
            property_values: StringBuilder::new(),
            property_ends: Vec::new(),
            producer_name: Shared::default(),
            sequence_id: Vec::new(),
            schema_version: Shared::default(),
            payloads: Payloads::new(),
            null_value: BooleanBufferBuilder::new(0),
            ordering_key: BinaryViewBuilder::new(),
            replicated_from: Shared::default(),
            message_size: Vec::new(),
            broker_time: Vec::new(),
            message_index: Vec::new(),
            room: 0,
            left_out: LeftOut::default(),
        }
    }

    /// The same builder, of whose columns only the `wanted` ones will be read: event time, properties, producer name, sequence id, ordering key,
    /// cluster, size and what the broker says are left NULL, empty or 0 where they are not among them.
    pub fn only(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        self.left_out = LeftOut {
            event_time: !wanted(column::EVENT_TIME),
            properties: !wanted(column::PROPERTIES),
            producer_name: !wanted(column::PRODUCER_NAME),
            sequence_id: !wanted(column::SEQUENCE_ID),
            ordering_key: !wanted(column::ORDERING_KEY),
            replicated_from: !wanted(column::REPLICATED_FROM),
            message_size: !wanted(column::MESSAGE_SIZE),
            broker_time: !wanted(column::BROKER_PUBLISH_TIME),
            message_index: !wanted(column::MESSAGE_INDEX),
        };
        self
    }

    /// Makes room for as many rows as the last batch had, when the first comes: a builder that waits holds no memory.
    fn make_room(&mut self) {
        let rows = std::mem::take(&mut self.room);
        self.ledger.reserve(rows);
        self.entry.reserve(rows);
        self.batch_index.reserve(rows);
        self.publish_time.reserve(rows);
        self.event_time.reserve(rows);
        self.property_ends.reserve(rows + 1);
        self.sequence_id.reserve(rows);
        self.payloads.reserve(rows);
        self.null_value = BooleanBufferBuilder::new(rows);
        if !self.left_out.message_size {
            self.message_size.reserve(rows);
        }
    }

    /// Checks, inflates and splits one entry, and gives how many rows it added. On an error nothing is added: `Corrupt` where its bytes are wrong, `Unsupported`
    /// where they may be right (above a limit, encrypted, a part of a chunked message).
    pub fn append_entry(&mut self, position: Position, bytes: &Bytes) -> Result<u32> {
        let entry = ParsedEntry::parse(bytes, &self.limits)?;
        let metadata = &entry.metadata;
        if !metadata.encryption_keys.is_empty() {
            return Err(Error::unsupported(
                "the entry is encrypted, and Aquifer has no keys: 'on-encrypted' = 'discard' of the catalog, or of a table with a connector, leaves such messages out, \
                 'raw' gives their bytes",
            ));
        }
        if metadata.num_chunks_from_msg.is_some_and(|count| count > 1) {
            return Err(self.chunk(metadata));
        }
        let count = entry.messages()?;
        if count == 0 {
            return Ok(0);
        }
        if self.room > 0 {
            self.make_room();
        }
        let place = self.payloads.place(&entry, &self.limits)?;
        let payload = self.payloads.at(&place);
        let messages = if entry.is_batch() {
            self.limits.check_messages(count, payload.len())?;
            split_batch(&entry, payload, count)?
        } else {
            vec![single_message(&entry, payload)?]
        };

        // From here on nothing fails half way: what could is done first.
        let left_out = self.left_out;
        let broker = match left_out.broker_time && left_out.message_index {
            true => BrokerMetadata::default(),
            false => broker_metadata(bytes),
        };
        for message in &messages {
            self.null_value.append(message.null_value);
            self.batch_index.values.push(message.batch_index);
            if !left_out.event_time {
                self.event_time.push((message.event_time != 0).then_some(message.event_time as i64));
            }
            if !left_out.sequence_id {
                self.sequence_id.push(message.sequence_id);
            }
            if !left_out.ordering_key {
                self.ordering_key.append_option(message.ordering_key);
            }
            if !left_out.message_size {
                self.message_size.push(if message.null_value { 0 } else { message.payload.len() as i32 });
            }
            if !left_out.message_index {
                self.message_index.push(broker.index_of(message.batch_index, count));
            }
            match message.key.as_deref() {
                Some(key) => {
                    (0..std::mem::take(&mut self.keyless)).for_each(|_| self.key.append_null());
                    self.key.append_value(key);
                }
                None => self.keyless += 1,
            }
            if left_out.properties {
                continue;
            }
            for (key, value) in message.properties.iter().flat_map(WrittenProperties::pairs) {
                self.property_keys.append_value(key);
                self.property_values.append_value(value);
            }
            if !entry.is_batch() {
                for pair in &metadata.properties {
                    self.property_keys.append_value(&pair.key);
                    self.property_values.append_value(&pair.value);
                }
            }
            self.property_ends.push(self.property_keys.len() as i32);
        }
        let parts = messages.into_iter().map(|message| (!message.null_value).then_some(message.payload));
        let parts: Vec<_> = parts.collect();
        let added = parts.len();
        self.payloads.take_in(place, parts);
        if !left_out.broker_time {
            self.broker_time.extend(repeat_n(broker.broker_time_ms, added));
        }
        self.append_shared(position, metadata, added);
        Ok(added as u32)
    }

    /// Why a chunk is no message: it is too long to be put together, or some of it is missing.
    fn chunk(&self, metadata: &MessageMetadata) -> Error {
        let most = ChunkBounds::of_inflated(self.limits.max_inflated_bytes).max_bytes;
        match metadata.total_chunk_msg_size.and_then(|bytes| usize::try_from(bytes).ok()) {
            Some(bytes) if bytes > most => Error::unsupported(format!(
                "the entry is a part of a chunked message of {bytes} bytes, above the limit of {most}: if it is right, set 'aquifer.max-inflated-bytes' of the table or \
                 its catalog higher"
            )),
            _ => Error::unsupported("the entry is a part of a chunked message"),
        }
    }

    /// Adds what all messages of an entry share.
    fn append_shared(&mut self, position: Position, metadata: &MessageMetadata, count: usize) {
        if !self.left_out.producer_name {
            self.producer_name.push(Some(metadata.producer_name.as_bytes()), count);
        }
        if !self.left_out.replicated_from {
            self.replicated_from.push(metadata.replicated_from.as_deref().map(str::as_bytes), count);
        }
        self.schema_version.push(metadata.schema_version.as_deref(), count);
        self.ledger.values.extend(repeat_n(position.ledger, count));
        self.entry.values.extend(repeat_n(position.entry, count));
        self.publish_time.values.extend(repeat_n(metadata.publish_time as i64, count));
    }

    /// Rows so far.
    pub fn num_rows(&self) -> usize {
        self.ledger.values.len()
    }

    /// Payload bytes so far, inflated.
    pub fn payload_bytes(&self) -> usize {
        self.payloads.bytes()
    }

    /// Lets go of the memory that is kept for the next batch: for one who waits long.
    pub fn release(&mut self) {
        self.payloads.release();
        self.ledger.release();
        self.entry.release();
        self.batch_index.release();
        self.publish_time.release();
        for shared in [&mut self.producer_name, &mut self.schema_version, &mut self.replicated_from] {
            shared.release();
        }
    }

    /// The rows; the builder is empty again.
    pub fn finish(&mut self) -> MessageBatch {
        self.room = self.num_rows();
        let rows = self.num_rows();
        let instant = |values: TimestampMillisecondArray| Arc::new(values.with_timezone(LTZ_ZONE));
        let key: ArrayRef = match self.key.is_empty() {
            true => blank(|blank| &blank.bytes, rows),
            false => {
                (0..self.keyless).for_each(|_| self.key.append_null());
                Arc::new(self.key.finish())
            }
        };
        self.keyless = 0;
        let times = |left_out: bool, values: &mut Vec<Option<i64>>| -> ArrayRef {
            match left_out {
                true => blank(|blank| &blank.times, rows),
                false => instant(std::mem::take(values).into()),
            }
        };
        let properties: ArrayRef = match self.left_out.properties {
            true => blank(|blank| &blank.properties, rows),
            false => {
                let mut offsets = std::mem::take(&mut self.property_ends);
                offsets.insert(0, 0);
                let offsets = OffsetBuffer::new(offsets.into());
                properties_of(offsets, self.property_keys.finish(), self.property_values.finish())
            }
        };
        let sequence_id: ArrayRef = match self.left_out.sequence_id {
            true => blank(|blank| &blank.zeros, rows),
            false => Arc::new(Int64Array::from(std::mem::take(&mut self.sequence_id))),
        };
        let producer_name: ArrayRef = match self.left_out.producer_name {
            true => blank(|blank| &blank.empty_texts, rows),
            false => self.producer_name.finish::<StringViewType>(rows),
        };
        let ordering_key: ArrayRef = match self.left_out.ordering_key {
            true => blank(|blank| &blank.bytes, rows),
            false => Arc::new(self.ordering_key.finish()),
        };
        let replicated_from: ArrayRef = match self.left_out.replicated_from {
            true => blank(|blank| &blank.texts, rows),
            false => self.replicated_from.finish::<StringViewType>(rows),
        };
        let message_size: ArrayRef = match self.left_out.message_size {
            true => blank(|blank| &blank.sizes, rows),
            false => Arc::new(Int32Array::from(std::mem::take(&mut self.message_size))),
        };
        let message_index: ArrayRef = match self.left_out.message_index {
            true => blank(|blank| &blank.numbers, rows),
            false => Arc::new(Int64Array::from(std::mem::take(&mut self.message_index))),
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::new(self.ledger.finish(), None)),
            Arc::new(UInt64Array::new(self.entry.finish(), None)),
            Arc::new(Int32Array::new(self.batch_index.finish(), None)),
            instant(TimestampMillisecondArray::new(self.publish_time.finish(), None)),
            times(self.left_out.event_time, &mut self.event_time),
            key,
            properties,
            producer_name,
            sequence_id,
            self.schema_version.finish::<BinaryViewType>(rows),
            Arc::new(self.payloads.finish()),
            Arc::new(BooleanArray::new(self.null_value.finish(), None)),
            ordering_key,
            replicated_from,
            message_size,
            times(self.left_out.broker_time, &mut self.broker_time),
            message_index,
        ];
        MessageBatch(
            RecordBatch::try_new(message_schema(), columns).expect("one value was added to each column for each row"),
        )
    }
}

/// More rows than most batches have.
const BLANK_ROWS: usize = 16 * 1024;

/// What stands in the columns that nobody asks for. One for the whole process, of which batches take slices: made anew for each batch they cost a reader of
/// few columns a tenth of its time.
struct Blank {
    times: ArrayRef,
    numbers: ArrayRef,
    sizes: ArrayRef,
    bytes: ArrayRef,
    texts: ArrayRef,
    empty_texts: ArrayRef,
    zeros: ArrayRef,
    properties: ArrayRef,
}

static BLANK: LazyLock<Blank> = LazyLock::new(|| Blank::of(BLANK_ROWS));

impl Blank {
    fn of(rows: usize) -> Self {
        Self {
            times: Arc::new(TimestampMillisecondArray::new_null(rows).with_timezone(LTZ_ZONE)),
            numbers: Arc::new(Int64Array::new_null(rows)),
            sizes: Arc::new(Int32Array::new_null(rows)),
            bytes: new_null_array(&DataType::BinaryView, rows),
            texts: new_null_array(&DataType::Utf8View, rows),
            // A view of zeros is an empty text.
            empty_texts: Arc::new(StringViewArray::new(vec![0u128; rows].into(), Vec::new(), None)),
            zeros: Arc::new(Int64Array::from(vec![0; rows])),
            properties: properties_of(
                OffsetBuffer::new_zeroed(rows),
                StringArray::new_null(0),
                StringArray::new_null(0),
            ),
        }
    }
}

/// A column that nobody asks for.
fn blank(column: fn(&Blank) -> &ArrayRef, rows: usize) -> ArrayRef {
    if rows <= BLANK_ROWS { column(&BLANK).slice(0, rows) } else { Arc::clone(column(&Blank::of(rows))) }
}

fn properties_of(offsets: OffsetBuffer<i32>, keys: StringArray, values: StringArray) -> ArrayRef {
    let DataType::Map(entries, _) = properties_type() else { unreachable_schema() };
    let DataType::Struct(pair) = entries.data_type().clone() else { unreachable_schema() };
    let pairs = StructArray::new(pair, vec![Arc::new(keys), Arc::new(values)], None);
    Arc::new(MapArray::new(entries, offsets, pairs, None, false))
}

fn unreachable_schema() -> ! {
    unreachable!("the properties column is a map of pairs, see `properties_type`")
}

fn decoded_key(key: &[u8], is_base64: bool) -> Result<Cow<'_, [u8]>> {
    if !is_base64 {
        return Ok(Cow::Borrowed(key));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(key);
    bytes.map(Cow::Owned).map_err(|error| Error::corrupt("a message's key is no base64").with_source(error))
}

fn single_message<'a>(entry: &'a ParsedEntry, payload: &[u8]) -> Result<Split<'a>> {
    let metadata = &entry.metadata;
    let key = metadata.partition_key.as_deref().filter(|_| !metadata.null_partition_key.unwrap_or(false));
    let is_base64 = metadata.partition_key_b64_encoded.unwrap_or(false);
    Ok(Split {
        batch_index: 0,
        key: key.map(|key| decoded_key(key.as_bytes(), is_base64)).transpose()?,
        event_time: metadata.event_time.unwrap_or(0),
        sequence_id: metadata.sequence_id as i64,
        null_value: metadata.null_value.unwrap_or(false),
        ordering_key: metadata.ordering_key.as_deref(),
        payload: 0..payload.len(),
        properties: None,
    })
}

/// `count` passed [`EntryLimits::check_messages`].
fn split_batch<'a>(entry: &ParsedEntry, payload: &'a [u8], count: u32) -> Result<Vec<Split<'a>>> {
    // As many as can lie there, and a batch that is right has.
    let mut messages = Vec::with_capacity(count as usize);
    let mut at = 0usize;
    let torn = || Error::corrupt("a batch is torn: it ends before its messages do");
    for batch_index in 0..count {
        let size =
            payload.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes).ok_or_else(torn)?
                as usize;
        at += 4;
        let single = SingleMetadata::parse(payload.get(at..at.saturating_add(size)).ok_or_else(torn)?)?;
        at += size;
        let end = at.checked_add(single.payload_size).filter(|end| *end <= payload.len()).ok_or_else(torn)?;
        if !single.compacted_out {
            messages.push(Split {
                batch_index: batch_index as i32,
                key: single.key.map(|key| decoded_key(key, single.key_is_base64)).transpose()?,
                event_time: single.event_time,
                // Whoever wrote a number near the largest one lied or counts on: neither is worth a panic.
                sequence_id: single
                    .sequence_id
                    .unwrap_or_else(|| entry.metadata.sequence_id.wrapping_add(u64::from(batch_index)))
                    as i64,
                null_value: single.null_value,
                ordering_key: single.ordering_key,
                payload: at..end,
                properties: single.properties,
            });
        }
        at = end;
    }
    Ok(messages)
}

mod payloads;
mod shared;
#[cfg(test)]
mod tests;
