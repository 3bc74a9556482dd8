//! Payload bytes to and from typed columns.
//!
//! A decoder never lets one bad payload harm its neighbours: the bad row's columns are NULL and it is listed with its reason.
//! Each payload is read by the schema version that its message names, projected to the table's columns by name.

pub(crate) mod avro;
mod avro_bounds;
mod avro_fit;
mod avro_flat;
mod avro_reader;
pub(crate) mod avro_schema;
mod avro_walk;
mod avro_write;
mod json;
pub(crate) mod json_column;
pub(crate) mod json_text;
mod json_written;
mod key_value;
mod protobuf;
mod protobuf_shape;
mod protobuf_write;
mod raw;
mod versions;

pub use avro_fit::{cast_column, fit_column};

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;

use aquifer_model::{Error, PayloadKind, Result, SchemaVersion, TopicSchema};
use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::csv;

/// How payloads are written: Flink's format names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `avro`: bare datums, by the topic's registered schemas.
    Avro,
    /// `json`: one object a message.
    Json,
    /// `csv`: one record a message, columns by their place; its options stand in the metadata of the columns' schema.
    Csv,
    /// `raw`: the payload is the one column (STRING, BYTES, a primitive, a date or a time).
    Raw,
    /// `protobuf`: messages, by the descriptor of the topic's schema.
    Protobuf,
    /// `key-value`: a key and a value, each by its own part of the topic's schema.
    KeyValue,
}

impl FromStr for Format {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "avro" => Ok(Self::Avro),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "raw" => Ok(Self::Raw),
            "protobuf" => Ok(Self::Protobuf),
            "key-value" => Ok(Self::KeyValue),
            _ => {
                Err(Error::invalid(format!("unknown format `{text}`: use avro, json, csv, protobuf, raw or key-value")))
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avro => "avro",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Raw => "raw",
            Self::Protobuf => "protobuf",
            Self::KeyValue => "key-value",
        })
    }
}

impl Format {
    /// Whether payloads of this format are what a topic with a schema of this kind has.
    pub fn fits(self, kind: PayloadKind) -> bool {
        use PayloadKind as Kind;
        match self {
            Self::Avro => kind == Kind::Avro,
            Self::Json => !matches!(kind, Kind::Avro | Kind::KeyValue),
            Self::Csv => matches!(kind, Kind::Bytes | Kind::String),
            Self::Protobuf => matches!(kind, Kind::Protobuf | Kind::ProtobufNative),
            Self::KeyValue => kind == Kind::KeyValue,
            Self::Raw => raw::type_of(kind).is_some(),
        }
    }
}

/// A payload that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadError {
    /// Its row in the batch given.
    pub row: usize,
    /// Why.
    pub reason: String,
}

/// Decoded payloads.
#[derive(Debug, Clone)]
pub struct DecodedPayloads {
    /// A row for each payload given; all NULL where the payload is NULL or bad (all fields of this schema are nullable).
    pub rows: RecordBatch,
    /// The bad ones, by row.
    pub errors: Vec<PayloadError>,
    /// Rows, rising, whose columns tell less than the payload does: it has a field that its schema does not have, or a value that was rounded, cut or taken as
    /// another type. Bad ones may be among them. Where the columns do not have all fields of the payload's schema, that alone is not told here.
    pub lossy: Vec<usize>,
}

/// Payloads to columns.
///
/// # Contract
/// *Caller*: before [`PayloadDecoder::decode`], gives the schema of every version that
/// [`PayloadDecoder::missing_versions`] names. *Implementation*: bounded memory for hostile bytes; never panics.
pub trait PayloadDecoder: Send {
    /// The columns it makes: the value columns asked for, in that order, all nullable.
    fn schema(&self) -> SchemaRef;
    /// The versions in this column (NULL: none named) whose schema it does not have yet.
    fn missing_versions(&self, versions: &BinaryViewArray) -> Vec<SchemaVersion>;
    /// Takes a version's schema; `None` if the registry does not have it (its payloads are then bad rows).
    fn add_schema(&mut self, version: SchemaVersion, schema: Option<&TopicSchema>) -> Result<()>;
    /// Decodes a column of payloads. Bad ones are listed in their order.
    fn decode(&mut self, payloads: &BinaryViewArray, versions: &BinaryViewArray) -> Result<DecodedPayloads>;
    /// Lets go of memory that is kept for the next batch: for one who waits long.
    fn release(&mut self) {}
    /// What a value column of messages is that were decoded before the table had it: NULL, or what the topic's schema says.
    fn lacking(&self, column: &Field, rows: usize) -> Result<ArrayRef> {
        Ok(new_null_array(column.data_type(), rows))
    }
    /// The names that this column may have where messages were decoded earlier, beside its own: its aliases in the topic's schema.
    fn earlier_names(&self, _column: &str) -> &[String] {
        &[]
    }
    /// A value column as it was decoded by an earlier schema of the topic, as this table has it. Fields of rows in it are found by name.
    fn fitted(&self, earlier: &ArrayRef, column: &Field) -> Result<ArrayRef> {
        fit_column(earlier, column)
    }
    /// Decodes messages whose keys are at hand too: a separated KeyValue schema has columns there.
    fn decode_keyed(
        &mut self,
        payloads: &BinaryViewArray,
        _keys: &BinaryViewArray,
        versions: &BinaryViewArray,
    ) -> Result<DecodedPayloads> {
        self.decode(payloads, versions)
    }
}

/// Columns to payloads, one a row.
pub trait PayloadEncoder: Send {
    /// Encodes all rows; the columns are those it was made for. NULL is a message without a value.
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray>;
    /// The keys of all rows, where the schema puts columns there.
    fn encode_keys(&mut self, _rows: &RecordBatch) -> Result<Option<BinaryArray>> {
        Ok(None)
    }
}

/// A decoder for `format` that makes `columns`, all of the table's value columns. `topic_schema` is the topic's newest schema, used for
/// messages that name no version.
pub fn decoder(
    format: Format,
    columns: SchemaRef,
    topic_schema: Option<&TopicSchema>,
) -> Result<Box<dyn PayloadDecoder>> {
    projected_decoder(format, &Arc::clone(&columns), columns, topic_schema)
}

/// A decoder that makes `columns`, a projection of the table's value columns, which are `table`.
pub fn projected_decoder(
    format: Format,
    table: &SchemaRef,
    columns: SchemaRef,
    topic_schema: Option<&TopicSchema>,
) -> Result<Box<dyn PayloadDecoder>> {
    Ok(match format {
        Format::Avro => {
            // On a topic without a schema the table's columns are the schema, as in Flink.
            let own = match topic_schema {
                None if !table.fields().is_empty() => Some(topic_schema_of(format, "record", table)?),
                _ => None,
            };
            Box::new(avro::AvroDecoder::new(columns, topic_schema.or(own.as_ref()))?)
        }
        Format::Json => Box::new(json::JsonDecoder::new(table, columns, topic_schema)?),
        Format::Csv => Box::new(csv::message::MessageDecoder::new(table, columns)?),
        Format::Raw => Box::new(raw::RawDecoder::new(columns, topic_schema)?),
        Format::Protobuf => Box::new(protobuf::ProtobufDecoder::new(columns, topic_schema)?),
        Format::KeyValue => Box::new(key_value::KeyValueDecoder::new(table, columns, topic_schema)?),
    })
}

/// An encoder of `columns` by `topic_schema` (needed for Avro and KeyValue).
pub fn encoder(
    format: Format,
    columns: SchemaRef,
    topic_schema: Option<&TopicSchema>,
) -> Result<Box<dyn PayloadEncoder>> {
    Ok(match format {
        Format::Avro => Box::new(avro::AvroEncoder::new(columns, topic_schema)?),
        Format::Json => Box::new(json::JsonEncoder::new(columns)?),
        Format::Csv => Box::new(csv::message::MessageEncoder::new(columns)?),
        Format::Raw => Box::new(raw::RawEncoder::new(columns, topic_schema)?),
        Format::Protobuf => Box::new(protobuf::ProtobufEncoder::new(columns, topic_schema)?),
        Format::KeyValue => Box::new(key_value::KeyValueEncoder::new(columns, topic_schema)?),
    })
}

/// The format and the columns of a topic with this schema (a native table). Types carry `aquifer.type` metadata.
pub fn columns_of(schema: &TopicSchema) -> Result<(Format, SchemaRef)> {
    match schema.kind {
        PayloadKind::Avro => Ok((Format::Avro, avro_schema::columns(&schema.definition)?)),
        PayloadKind::Json => Ok((Format::Json, avro_schema::columns(&schema.definition)?)),
        PayloadKind::Protobuf | PayloadKind::ProtobufNative => {
            Ok((Format::Protobuf, protobuf_shape::Message::of(schema)?.columns()))
        }
        PayloadKind::KeyValue => Ok((Format::KeyValue, key_value::columns(schema)?)),
        kind => {
            let sql_type = raw::type_of(kind).ok_or_else(|| Error::internal("a schema without columns"))?;
            let name = schema.properties.get(COLUMN_PROPERTY).map_or(VALUE_COLUMN, String::as_str);
            Ok((Format::Raw, Arc::new(Schema::new(vec![sql_type.nullable().to_field(name)]))))
        }
    }
}

/// The column of a topic whose payload is one value, where its schema gives it no other name.
pub const VALUE_COLUMN: &str = "value";
/// The property of such a schema that names the column: the registry has no other place for it, and other clients let it be.
const COLUMN_PROPERTY: &str = "aquifer.column";

/// The schema to register for a table with these value columns.
pub fn topic_schema_of(format: Format, name: &str, columns: &SchemaRef) -> Result<TopicSchema> {
    let (kind, definition) = match format {
        Format::Avro => (PayloadKind::Avro, avro_schema::definition(name, columns)?),
        Format::Json => (PayloadKind::Json, avro_schema::definition(name, columns)?),
        Format::Raw => (raw::kind_of(columns)?, Vec::new()),
        Format::Csv => {
            return Err(Error::unsupported(
                "Pulsar's registry has no schema for CSV: name a topic without a schema with 'connector' = 'pulsar', 'topics' = '…'",
            ));
        }
        Format::Protobuf => {
            return Err(Error::unsupported(
                "a topic with a Protobuf schema is not made by CREATE TABLE: register the schema, and the topic is a table",
            ));
        }
        Format::KeyValue => {
            return Err(Error::unsupported(
                "a topic with a KeyValue schema is not made by CREATE TABLE: register the schema, and the topic is a table",
            ));
        }
    };
    let mut properties = BTreeMap::new();
    if format == Format::Raw
        && let [one] = columns.fields().as_ref()
        && one.name() != VALUE_COLUMN
    {
        properties.insert(COLUMN_PROPERTY.to_string(), one.name().clone());
    }
    Ok(TopicSchema { name: name.to_string(), kind, definition, properties })
}

/// Asks a library that may panic at what it is given: that is an error then. Its own state is not to be used again.
fn guarded<T>(what: &str, ask: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| Err(Error::corrupt(format!("{what} cannot be right"))))
}

/// The versions in this column that are not known yet, each once.
fn versions_not_in(versions: &BinaryViewArray, is_known: impl Fn(&[u8]) -> bool) -> Vec<SchemaVersion> {
    let mut missing: Vec<SchemaVersion> = Vec::new();
    for run in runs_of(versions, versions.len()).into_iter().filter(|run| versions.is_valid(run.start)) {
        let version = versions.value(run.start);
        if !is_known(version) && !missing.iter().any(|known| known.0 == version) {
            missing.push(SchemaVersion(version.to_vec()));
        }
    }
    missing
}

/// Stretches of rows that name one version.
fn runs_of(versions: &BinaryViewArray, rows: usize) -> Vec<Range<usize>> {
    let version_of = |row: usize| if versions.is_null(row) { &[][..] } else { versions.value(row) };
    let views = versions.views();
    // Equal views are equal bytes; others may be, too.
    let is_same = |a: usize, b: usize| {
        (views[a] == views[b] && versions.is_null(a) == versions.is_null(b)) || version_of(a) == version_of(b)
    };
    let mut runs = Vec::new();
    let mut from = 0;
    while from < rows {
        let to = (from + 1..rows).find(|row| !is_same(from, *row)).unwrap_or(rows);
        runs.push(from..to);
        from = to;
    }
    runs
}

/// Rows of which none can be read, for one reason.
fn all_bad(columns: &SchemaRef, payloads: &BinaryViewArray, reason: &str) -> Result<DecodedPayloads> {
    let arrays = columns.fields().iter().map(|field| new_null_array(field.data_type(), payloads.len())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(payloads.len()));
    let rows = RecordBatch::try_new_with_options(Arc::clone(columns), arrays, &options)?;
    let bad = (0..payloads.len()).filter(|row| payloads.is_valid(*row));
    let errors = bad.map(|row| PayloadError { row, reason: reason.to_string() }).collect();
    Ok(DecodedPayloads { rows, errors, lossy: Vec::new() })
}

/// Rows of which some are left out: `row[i]` is where row `i` of the result comes from; `None` gives NULLs.
pub(crate) fn scatter(rows: &RecordBatch, from: &[Option<u32>]) -> Result<RecordBatch> {
    let from = UInt32Array::from(from.to_vec());
    let columns = rows.columns().iter().map(|column| take(column, &from, None)).collect::<Result<Vec<_>, _>>()?;
    // Without columns there are still rows.
    let options = RecordBatchOptions::new().with_row_count(Some(from.len()));
    Ok(RecordBatch::try_new_with_options(rows.schema(), columns, &options)?)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod type_tests;
