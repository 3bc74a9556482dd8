//! Payload bytes to and from typed columns.
//!
//! A decoder never lets one bad payload harm its neighbours: the bad row's columns are NULL and it is listed with its reason.
//! Each payload is read by the schema version that its message names, projected to the table's columns by name.

pub(crate) mod avro;
pub(crate) mod avro_schema;
mod json;
pub(crate) mod json_column;
pub(crate) mod json_text;
mod raw;

pub use avro::cast_column;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aquifer_model::{Error, PayloadKind, Result, SchemaVersion, SqlType, TopicSchema};
use arrow::array::{BinaryArray, BinaryViewArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};

/// How payloads are written: Flink's format names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `avro`: bare datums, by the topic's registered schemas.
    Avro,
    /// `json`: one object a message.
    Json,
    /// `raw`: the payload is the one column (STRING, BYTES or a primitive).
    Raw,
}

impl FromStr for Format {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "avro" => Ok(Self::Avro),
            "json" => Ok(Self::Json),
            "raw" => Ok(Self::Raw),
            _ => Err(Error::invalid(format!("unknown format `{text}`: use avro, json or raw"))),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avro => "avro",
            Self::Json => "json",
            Self::Raw => "raw",
        })
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
    /// Decodes a column of payloads.
    fn decode(&mut self, payloads: &BinaryViewArray, versions: &BinaryViewArray) -> Result<DecodedPayloads>;
}

/// Columns to payloads, one a row.
pub trait PayloadEncoder: Send {
    /// Encodes all rows; the columns are those it was made for.
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray>;
}

/// A decoder for `format` that makes `columns` (a projection of the table's value columns). `topic_schema` is the topic's newest schema,
/// used for messages that name no version.
pub fn decoder(
    format: Format,
    columns: SchemaRef,
    topic_schema: Option<&TopicSchema>,
) -> Result<Box<dyn PayloadDecoder>> {
    Ok(match format {
        Format::Avro => Box::new(avro::AvroDecoder::new(columns, topic_schema)?),
        Format::Json => Box::new(json::JsonDecoder::new(columns)?),
        Format::Raw => Box::new(raw::RawDecoder::new(columns)?),
    })
}

/// An encoder of `columns` by `topic_schema` (needed for Avro).
pub fn encoder(
    format: Format,
    columns: SchemaRef,
    topic_schema: Option<&TopicSchema>,
) -> Result<Box<dyn PayloadEncoder>> {
    Ok(match format {
        Format::Avro => Box::new(avro::AvroEncoder::new(columns, topic_schema)?),
        Format::Json => Box::new(json::JsonEncoder::new(columns)?),
        Format::Raw => Box::new(raw::RawEncoder::new(columns)?),
    })
}

/// The format and the columns of a topic with this schema (a native table). Types carry `aquifer.type` metadata.
pub fn columns_of(schema: &TopicSchema) -> Result<(Format, SchemaRef)> {
    let one =
        |sql_type: SqlType| Ok((Format::Raw, Arc::new(Schema::new(vec![sql_type.nullable().to_field(VALUE_COLUMN)]))));
    match schema.kind {
        PayloadKind::Avro => Ok((Format::Avro, avro_schema::columns(&schema.definition)?)),
        PayloadKind::Json => Ok((Format::Json, avro_schema::columns(&schema.definition)?)),
        PayloadKind::Bytes | PayloadKind::Other => one(SqlType::BYTES),
        PayloadKind::String => one(SqlType::STRING),
        PayloadKind::Boolean => one(SqlType::Boolean),
        PayloadKind::Int8 => one(SqlType::TinyInt),
        PayloadKind::Int16 => one(SqlType::SmallInt),
        PayloadKind::Int32 => one(SqlType::Int),
        PayloadKind::Int64 => one(SqlType::BigInt),
        PayloadKind::Float => one(SqlType::Float),
        PayloadKind::Double => one(SqlType::Double),
    }
}

/// The column of a topic whose payload is one value.
pub const VALUE_COLUMN: &str = "value";

/// The schema to register for a table with these value columns.
pub fn topic_schema_of(format: Format, name: &str, columns: &SchemaRef) -> Result<TopicSchema> {
    let (kind, definition) = match format {
        Format::Avro => (PayloadKind::Avro, avro_schema::definition(name, columns)?),
        Format::Json => (PayloadKind::Json, avro_schema::definition(name, columns)?),
        Format::Raw => (raw::kind_of(columns)?, Vec::new()),
    };
    Ok(TopicSchema { name: name.to_string(), kind, definition, properties: Default::default() })
}

/// Rows of which some are left out: `row[i]` is where row `i` of the result comes from; `None` gives NULLs.
fn scatter(rows: &RecordBatch, from: &[Option<u32>]) -> Result<RecordBatch> {
    let from = UInt32Array::from(from.to_vec());
    let columns = rows.columns().iter().map(|column| take(column, &from, None)).collect::<Result<Vec<_>, _>>()?;
    // Without columns there are still rows.
    let options = RecordBatchOptions::new().with_row_count(Some(from.len()));
    Ok(RecordBatch::try_new_with_options(rows.schema(), columns, &options)?)
}

#[cfg(test)]
mod tests;
