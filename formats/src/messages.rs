//! Messages in columns: one row a message, the payload still as its bytes.
//!
//! Both tiers give this shape: the log's entries are split into it, the archive's files keep its columns.

use std::sync::Arc;

use aquifer_model::sql_type::LTZ_ZONE;
use arrow::array::{BinaryViewArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

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
        Field::new(EVENT_TIME, instant, true),
        Field::new(KEY, DataType::BinaryView, true),
        Field::new(PROPERTIES, properties_type(), false),
        Field::new(PRODUCER_NAME, DataType::Utf8View, false),
        Field::new(SEQUENCE_ID, DataType::Int64, false),
        Field::new(SCHEMA_VERSION, DataType::BinaryView, true),
        Field::new(PAYLOAD, DataType::BinaryView, true),
        Field::new(NULL_VALUE, DataType::Boolean, false),
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
        use arrow::array::AsArray;
        self.0.column(10).as_binary_view()
    }
}

/// Splits entries into message rows.
#[derive(Debug)]
pub struct MessageBatchBuilder {
    _limits: crate::entry::EntryLimits,
}

impl MessageBatchBuilder {
    /// An empty builder under these limits.
    pub fn new(limits: crate::entry::EntryLimits) -> Self {
        Self { _limits: limits }
    }

    /// Checks, inflates and splits one entry, and gives how many rows it added. On an error (`Corrupt`, or `Unsupported` for
    /// encrypted and chunked messages) nothing is added.
    pub fn append_entry(
        &mut self,
        _position: aquifer_model::Position,
        _bytes: &bytes::Bytes,
    ) -> aquifer_model::Result<u32> {
        todo!()
    }

    /// Rows so far.
    pub fn num_rows(&self) -> usize {
        todo!()
    }

    /// Payload bytes so far.
    pub fn payload_bytes(&self) -> usize {
        todo!()
    }

    /// The rows; the builder is empty again.
    pub fn finish(&mut self) -> MessageBatch {
        todo!()
    }
}
