//! JSON payloads: one object a message, as Flink's `json` format reads and writes it.
//!
//! ```text
//!  payload ─► scanner (tokens, borrowed) ─► a builder a column        columns ─► one buffer of objects and their ends
//! ```
//!
//! A payload that fails leaves its row NULL; the columns are mended before the next one. Where the topic's schema says that a field is never null
//! and has a default, payloads that lack the field (those of earlier versions) have the default. The options stand beside the table's columns, in their schema's metadata
//! (see [`MessageFormat::json_of_schema`]).
//!
//! A schema version tells how its messages' JSON is to be understood ([`Written`]), so rows are read by runs of one version. A version that nobody has is read as the
//! topic's own.

use std::sync::Arc;

use apache_avro::Schema as Avro;
use aquifer_model::{Error, PayloadKind, Result, SchemaVersion, TopicSchema};
use arrow::array::{Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::avro_reader::{Reader, lacking};
use super::avro_schema;
use super::json_column::{JsonRules, Row, TimestampText};
use super::json_text::{Scanner, Step, Token};
use super::json_written::{Written, is_of_use, written};
use super::versions::Versions;
use super::{DecodedPayloads, PayloadDecoder, PayloadEncoder, PayloadError, runs_of, scatter};
use crate::changelog::MessageFormat;
use crate::json_write::{Style, write_text, write_value};
use crate::values::Values;

/// Reads objects.
pub(super) struct JsonDecoder {
    columns: SchemaRef,
    row: Row,
    scratch: String,
    /// The defaults of fields that are never null.
    reader: Option<Reader>,
    /// How each version's messages are written; `None`: no schema says anything of these columns.
    written: Option<Versions<Vec<Written>>>,
}

/// The topic's schema as Avro's, if it is one of JSON. Where its words are no Avro schema, they say nothing of fields.
fn avro_of(schema: &TopicSchema) -> Option<Avro> {
    match schema.kind {
        PayloadKind::Json => avro_schema::parse(&schema.definition).ok(),
        _ => None,
    }
}

impl JsonDecoder {
    /// A decoder that makes `columns`, a projection of the table's, which are `table`.
    pub fn new(table: &SchemaRef, columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let columns = Arc::new(Schema::new(fields));
        let rules = JsonRules { numbers_are_times: true, ..MessageFormat::json_of_schema(table)?.rules };
        let schema = topic_schema.and_then(avro_of);
        let written =
            is_of_use(columns.fields()).then(|| Versions::new(Some(written(columns.fields(), schema.as_ref()))));
        let reader = match schema {
            Some(schema) => Some(Reader::new(&schema, columns.fields())?.never_null(&schema)),
            None => None,
        };
        Ok(Self { row: Row::new(columns.fields(), rules)?, columns, scratch: String::new(), reader, written })
    }

    /// Makes ready for messages of a version.
    fn learn(&mut self, version: &[u8]) {
        let Some(known) = &mut self.written else { return };
        let version = if known.get(version).is_some() { version } else { &[] };
        if let Some(written) = known.get(version) {
            self.row.learn(&mut written.iter());
        }
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

    /// Reads a payload, and tells whether the columns tell less than it.
    fn read(&mut self, payload: &[u8]) -> Step<bool> {
        let text = std::str::from_utf8(payload).map_err(|_| "the payload is not UTF-8")?;
        let mut json = Scanner::new(text);
        if json.value()? != Token::Object {
            return Err("the payload is no JSON object".into());
        }
        self.row.read_object(&mut json, &mut self.scratch)?;
        json.end()?;
        Ok(json.is_lossy())
    }
}

impl PayloadDecoder for JsonDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn missing_versions(&self, versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        self.written.as_ref().map_or_else(Vec::new, |known| known.missing(versions))
    }

    fn add_schema(&mut self, version: SchemaVersion, schema: Option<&TopicSchema>) -> Result<()> {
        if let Some(known) = &mut self.written {
            let schema = schema.and_then(avro_of);
            known.add(version, schema.map(|schema| written(self.columns.fields(), Some(&schema))));
        }
        Ok(())
    }

    fn lacking(&self, column: &Field, rows: usize) -> Result<ArrayRef> {
        lacking(self.reader.as_ref(), &column.clone().with_nullable(true), rows)
    }

    fn decode(&mut self, payloads: &BinaryViewArray, versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        let (mut errors, mut lossy) = (Vec::new(), Vec::new());
        let runs = match &self.written {
            Some(_) => runs_of(versions, payloads.len()),
            None => std::iter::once(0..payloads.len()).collect(),
        };
        for run in runs {
            if self.written.is_some() {
                self.learn(if versions.is_null(run.start) { &[] } else { versions.value(run.start) });
            }
            for row in run {
                if payloads.is_null(row) {
                    self.row.fill();
                    continue;
                }
                match self.read(payloads.value(row)) {
                    Ok(is_lossy) => lossy.extend(is_lossy.then_some(row)),
                    Err(reason) => {
                        errors.push(PayloadError { row, reason: reason.into_owned() });
                        self.row.mend_to(row + 1);
                    }
                }
            }
        }
        let arrays = self.row.finish()?.into_iter().zip(self.columns.fields());
        let arrays = arrays.map(|(array, column)| self.completed(array, column, payloads)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(payloads.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.columns), arrays, &options)?;
        if errors.is_empty() {
            return Ok(DecodedPayloads { rows, errors, lossy });
        }
        // What a bad payload had given before it failed is taken back.
        let mut from: Vec<Option<u32>> = (0..payloads.len() as u32).map(Some).collect();
        errors.iter().for_each(|error| from[error.row] = None);
        Ok(DecodedPayloads { rows: scatter(&rows, &from)?, errors, lossy })
    }
}

/// Writes objects.
pub(super) struct JsonEncoder {
    columns: SchemaRef,
    /// Each column's name, a colon after it.
    names: Vec<Vec<u8>>,
    style: Style,
    skip_nulls: bool,
}

impl JsonEncoder {
    pub fn new(columns: SchemaRef) -> Result<Self> {
        let format = MessageFormat::json_of_schema(&columns)?;
        let names = columns.fields().iter().map(|field| {
            let mut name = Vec::new();
            write_text(field.name(), &mut name)?;
            name.push(b':');
            Ok(name)
        });
        let (iso, skip_nulls) = (format.rules.timestamps == TimestampText::Iso8601, format.ignore_null_fields);
        let style = Style::Message { iso, skip_nulls };
        Ok(Self { names: names.collect::<Result<_>>()?, columns, style, skip_nulls })
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
            objects.push(b'{');
            let mut first = true;
            for (name, column) in self.names.iter().zip(&columns) {
                if self.skip_nulls && column.is_null(row) {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    objects.push(b',');
                }
                objects.extend_from_slice(name);
                write_value(column, row, self.style, &mut scratch, &mut objects)?;
            }
            objects.push(b'}');
            ends.push(i32::try_from(objects.len()).map_err(|_| Error::invalid("a batch is too large to encode"))?);
        }
        Ok(BinaryArray::new(OffsetBuffer::new(ends.into()), objects.into(), None))
    }
}

#[cfg(test)]
mod tests;
