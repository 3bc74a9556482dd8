//! JSON payloads: one object a message, as Flink's `json` format reads and writes it.
//!
//! ```text
//!  payload ─► scanner (tokens, borrowed) ─► a builder a column        columns ─► one buffer of objects and their ends
//! ```
//!
//! A payload that fails leaves its row NULL; the columns are mended before the next one. Where the topic's schema says that a field is never null
//! and has a default, payloads that lack the field (those of earlier versions) have the default.

use std::sync::Arc;

use aquifer_model::{Error, PayloadKind, Result, SchemaVersion, TopicSchema};
use arrow::array::{Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::avro_reader::{Reader, lacking};
use super::avro_schema;
use super::json_column::{JsonRules, Row};
use super::json_text::{Scanner, Step, Token};
use super::{DecodedPayloads, PayloadDecoder, PayloadEncoder, PayloadError, scatter};
use crate::json_write::{Style, write_text, write_value};
use crate::values::Values;

/// Reads objects.
pub(super) struct JsonDecoder {
    columns: SchemaRef,
    row: Row,
    scratch: String,
    /// The defaults of fields that are never null.
    reader: Option<Reader>,
}

impl JsonDecoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let columns = Arc::new(Schema::new(fields));
        let rules = JsonRules { numbers_are_times: true, ..JsonRules::default() };
        let schema = topic_schema.filter(|schema| schema.kind == PayloadKind::Json);
        // Where the words are no Avro schema, they say nothing of fields.
        let reader = match schema.and_then(|schema| avro_schema::parse(&schema.definition).ok()) {
            Some(schema) => Some(Reader::new(&schema, columns.fields())?.never_null(&schema)),
            None => None,
        };
        Ok(Self { row: Row::new(columns.fields(), rules)?, columns, scratch: String::new(), reader })
    }

    /// A column with its default in place of NULL.
    fn completed(&self, array: ArrayRef, column: &Field, payloads: &BinaryViewArray) -> Result<ArrayRef> {
        let known = self.reader.as_ref().and_then(|reader| reader.field(column.name()));
        let Some(known) = known.filter(|_| array.null_count() > 0) else { return Ok(array) };
        let lacking: Vec<bool> = (0..array.len()).map(|row| array.is_null(row) && payloads.is_valid(row)).collect();
        Ok(match known.default_where(&lacking)? {
            Some(defaults) => zip(&BooleanArray::from(lacking), &defaults, &array)?,
            None => array,
        })
    }

    fn read(&mut self, payload: &[u8]) -> Step<()> {
        let text = std::str::from_utf8(payload).map_err(|_| "the payload is not UTF-8")?;
        let mut json = Scanner::new(text);
        if json.value()? != Token::Object {
            return Err("the payload is no JSON object".into());
        }
        self.row.read_object(&mut json, &mut self.scratch)?;
        json.end()
    }
}

impl PayloadDecoder for JsonDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn missing_versions(&self, _versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        Vec::new()
    }

    fn add_schema(&mut self, _version: SchemaVersion, _schema: Option<&TopicSchema>) -> Result<()> {
        Ok(())
    }

    fn lacking(&self, column: &Field, rows: usize) -> Result<ArrayRef> {
        lacking(self.reader.as_ref(), &column.clone().with_nullable(true), rows)
    }

    fn decode(&mut self, payloads: &BinaryViewArray, _versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        let mut errors = Vec::new();
        for row in 0..payloads.len() {
            if payloads.is_null(row) {
                self.row.fill();
            } else if let Err(reason) = self.read(payloads.value(row)) {
                errors.push(PayloadError { row, reason: reason.into_owned() });
                self.row.mend_to(row + 1);
            }
        }
        let arrays = self.row.finish()?.into_iter().zip(self.columns.fields());
        let arrays = arrays.map(|(array, column)| self.completed(array, column, payloads)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(payloads.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.columns), arrays, &options)?;
        if errors.is_empty() {
            return Ok(DecodedPayloads { rows, errors });
        }
        // What a bad payload had given before it failed is taken back.
        let mut from: Vec<Option<u32>> = (0..payloads.len() as u32).map(Some).collect();
        errors.iter().for_each(|error| from[error.row] = None);
        Ok(DecodedPayloads { rows: scatter(&rows, &from)?, errors })
    }
}

/// Writes objects.
pub(super) struct JsonEncoder {
    columns: SchemaRef,
    /// Before each column's value: a bracket or comma, its name, a colon.
    names: Vec<Vec<u8>>,
}

impl JsonEncoder {
    pub fn new(columns: SchemaRef) -> Result<Self> {
        let names = columns.fields().iter().enumerate().map(|(n, field)| {
            let mut name = vec![if n == 0 { b'{' } else { b',' }];
            write_text(field.name(), &mut name)?;
            name.push(b':');
            Ok(name)
        });
        Ok(Self { names: names.collect::<Result<_>>()?, columns })
    }
}

impl PayloadEncoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let columns = rows.columns().iter().zip(self.columns.fields()).map(|(array, field)| Values::of(array, field));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut objects = Vec::new();
        let mut ends = Vec::with_capacity(rows.num_rows() + 1);
        ends.push(0);
        let mut scratch = String::new();
        for row in 0..rows.num_rows() {
            for (name, column) in self.names.iter().zip(&columns) {
                objects.extend_from_slice(name);
                write_value(column, row, Style::MESSAGE, &mut scratch, &mut objects)?;
            }
            objects.extend_from_slice(if columns.is_empty() { b"{}" } else { b"}" });
            ends.push(i32::try_from(objects.len()).map_err(|_| Error::invalid("a batch is too large to encode"))?);
        }
        Ok(BinaryArray::new(OffsetBuffer::new(ends.into()), objects.into(), None))
    }
}

#[cfg(test)]
mod tests;
