//! Avro payloads: bare datums, each by the writer schema that its message names.
//!
//! ```text
//!  datum ─► walk over the writer schema (whole? nothing hostile?) ─► framed, a batch at once ─► arrow-avro ─► fitted to the table's types
//! ```
//!
//! Records of plain fields go another way, in one pass ([`super::avro_flat`]); this one takes what is left, and every batch with a bad datum.
//!
//! The walk proves that a datum is whole and ends where it should before the columnar decoder sees it: that decoder would otherwise spoil a
//! datum's neighbours, or trust sizes that the bytes do not hold. Where a batch fails all the same (a value that the table's type cannot hold),
//! its datums are decoded again one by one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use apache_avro::Schema as Avro;
use aquifer_model::{Error, Result, SchemaVersion, TopicSchema};
use arrow::array::{Array, ArrayRef, BinaryViewArray, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, CONFLUENT_MAGIC, Fingerprint, FingerprintAlgorithm, SchemaStore};

use super::avro_fit::fit;
use super::avro_flat::{ColumnMemory, Flat};
use super::avro_reader::{Reader, ReaderField, lacking, source};
use super::versions::{Versions, by_version, one_by_one, why_unknown};
use super::{DecodedPayloads, PayloadDecoder, PayloadError, avro_schema, guarded, scatter};

pub(crate) use super::avro_walk::Shape;
pub(crate) use super::avro_write::AvroEncoder;

/// Rows that arrow-avro decodes at once.
const CHUNK: usize = 8192;

/// Reads datums of several schema versions.
pub(crate) struct AvroDecoder {
    columns: SchemaRef,
    /// The topic's own schema.
    reader: Option<Arc<Reader>>,
    writers: Versions<Writer>,
    /// By column.
    memories: Vec<ColumnMemory>,
}

/// One version's schema, made ready.
struct Writer {
    shape: Shape,
    /// What the columnar decoder is made of.
    definition: String,
    wanted: Vec<usize>,
    decoder: Decoder,
    reader: Option<Arc<Reader>>,
    /// For each column of the table the decoder's column that it comes from.
    sources: Vec<Option<usize>>,
    /// Where all wanted fields are plain.
    flat: Option<Flat>,
}

impl AvroDecoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let columns = Arc::new(Schema::new(fields));
        let reader = match topic_schema {
            Some(schema) => Some(Arc::new(Reader::new(&avro_schema::parse(&schema.definition)?, columns.fields())?)),
            None => None,
        };
        let default =
            topic_schema.map(|schema| Writer::new(&schema.definition, reader.clone(), &columns)).transpose()?;
        Ok(Self { columns, reader, writers: Versions::new(default), memories: Vec::new() })
    }

    /// Decodes the payloads of `rows`, which all name one version.
    fn decode_run(
        &mut self,
        payloads: &BinaryViewArray,
        version: &[u8],
        rows: Range<usize>,
        errors: &mut Vec<PayloadError>,
    ) -> Result<RecordBatch> {
        let mut writer = self.writers.get(version);
        if let Some(flat) = writer.as_ref().and_then(|writer| writer.flat.as_ref())
            && let Some(decoded) =
                flat.decode(payloads, rows.clone(), self.reader.as_deref(), &self.columns, &mut self.memories)?
        {
            return Ok(decoded);
        }
        let mut good = Vec::with_capacity(rows.len());
        let mut framed = Vec::new();
        let mut count = 0u32;
        for row in rows.clone() {
            if payloads.is_null(row) {
                good.push(None);
                continue;
            }
            let datum = payloads.value(row);
            let checked = match &writer {
                Some(writer) => writer.shape.check(datum),
                None => Err(why_unknown(version)),
            };
            match checked {
                Ok(()) => {
                    frame(datum, &mut framed);
                    good.push(Some(count));
                    count += 1;
                }
                Err(reason) => {
                    errors.push(PayloadError { row, reason: reason.to_string() });
                    good.push(None);
                }
            }
        }
        let decoded = match &mut writer {
            Some(writer) if count > 0 => match writer.decode(&framed, count as usize, &self.columns) {
                Ok(decoded) => decoded,
                Err(_) => return writer.decode_singly(payloads, rows, &good, &self.columns, errors),
            },
            _ => RecordBatch::new_empty(Arc::clone(&self.columns)),
        };
        if count as usize == rows.len() { Ok(decoded) } else { scatter(&decoded, &good) }
    }
}

/// Puts a datum behind the mark that tells the columnar decoder its schema.
fn frame(datum: &[u8], framed: &mut Vec<u8>) {
    framed.extend_from_slice(&CONFLUENT_MAGIC);
    framed.extend_from_slice(&1u32.to_be_bytes());
    framed.extend_from_slice(datum);
}

impl PayloadDecoder for AvroDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn missing_versions(&self, versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        self.writers.missing(versions)
    }

    fn add_schema(&mut self, version: SchemaVersion, schema: Option<&TopicSchema>) -> Result<()> {
        let writer = schema.map(|schema| Writer::new(&schema.definition, self.reader.clone(), &self.columns));
        let writer = writer.transpose()?;
        self.writers.add(version, writer);
        Ok(())
    }

    fn lacking(&self, column: &Field, rows: usize) -> Result<ArrayRef> {
        lacking(self.reader.as_deref(), &column.clone().with_nullable(true), rows)
    }

    fn earlier_names(&self, column: &str) -> &[String] {
        self.reader.as_ref().and_then(|reader| reader.field(column)).map_or(&[], ReaderField::aliases)
    }

    fn fitted(&self, earlier: &ArrayRef, column: &Field) -> Result<ArrayRef> {
        let known = self.reader.as_ref().and_then(|reader| reader.field(column.name()));
        fit(earlier, None, known.map(ReaderField::inner), column)
    }

    fn release(&mut self) {
        self.memories.clear();
    }

    fn decode(&mut self, payloads: &BinaryViewArray, versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        let columns = Arc::clone(&self.columns);
        by_version(&columns, payloads, versions, |version, run, errors| self.decode_run(payloads, version, run, errors))
    }
}

/// A columnar decoder of some fields of a record.
fn columnar(definition: &str, wanted: &[usize]) -> Result<Decoder> {
    let unusable = |error| Error::unsupported("an Avro schema cannot be used").with_source(error);
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    let fingerprint = Fingerprint::load_fingerprint_id(1u32.to_be());
    store.set(fingerprint, AvroSchema::new(definition.to_string())).map_err(unusable)?;
    ReaderBuilder::new()
        .with_batch_size(CHUNK)
        // Its views lose NULLs (59.3); the cast to views afterwards shares the texts' buffer.
        .with_utf8_view(false)
        .with_projection(wanted.to_vec())
        .with_writer_schema_store(store)
        .with_active_fingerprint(fingerprint)
        .build_decoder()
        .map_err(unusable)
}

impl Writer {
    fn new(definition: &[u8], reader: Option<Arc<Reader>>, columns: &SchemaRef) -> Result<Self> {
        let schema = avro_schema::parse(definition)?;
        let Avro::Record(record) = &schema else {
            // A value by itself becomes the one field of a record, whose bytes are the same.
            let definition = avro_schema::wrapped(definition)?;
            return Self::new(&definition, reader, columns);
        };
        let shape = Shape::of(&schema, &mut HashMap::new(), 0)?;
        // Only the fields that the table has are decoded; with none wanted, one is, so that rows are counted.
        let of_column = |column: &Field| {
            let has = |name: &str| record.lookup.contains_key(name);
            record.lookup.get(source(reader.as_deref(), column.name(), has)?).copied()
        };
        let taken: Vec<Option<usize>> = columns.fields().iter().map(|column| of_column(column)).collect();
        let mut wanted: Vec<usize> = taken.iter().copied().flatten().collect();
        // A field may be two columns: its name's and, by an alias, another's.
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            wanted = (!record.fields.is_empty()).then_some(0).into_iter().collect();
        }
        let definition = avro_schema::plainer(definition)?;
        let decoder = guarded("an Avro schema", || columnar(&definition, &wanted))?;
        let decoded = decoder.schema();
        let sources = taken.iter().map(|field| decoded.index_of(&record.fields[(*field)?].name).ok()).collect();
        let flat = Flat::new(record, &shape, &taken, columns);
        Ok(Self { shape, definition, wanted, decoder, reader, sources, flat })
    }

    /// Decodes `count` framed datums that the walk has found whole. After an error the decoder is a new one.
    fn decode(&mut self, framed: &[u8], count: usize, columns: &SchemaRef) -> Result<RecordBatch> {
        let decoded = guarded("an Avro datum", || self.decode_columns(framed, count, columns));
        if decoded.is_err() {
            self.decoder = columnar(&self.definition, &self.wanted)?;
        }
        decoded
    }

    fn decode_columns(&mut self, framed: &[u8], count: usize, columns: &SchemaRef) -> Result<RecordBatch> {
        let failed = |error| Error::corrupt("an Avro datum cannot be decoded").with_source(error);
        let reader = self.reader.as_deref();
        if self.sources.iter().all(Option::is_none) {
            // The datums are whole, and nothing of them is wanted.
            let arrays = columns.fields().iter().map(|field| lacking(reader, field, count));
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            let arrays = arrays.collect::<Result<Vec<_>>>()?;
            return Ok(RecordBatch::try_new_with_options(Arc::clone(columns), arrays, &options)?);
        }
        let mut batches = Vec::new();
        let mut at = 0;
        while at < framed.len() {
            let consumed = self.decoder.decode(&framed[at..]).map_err(failed)?;
            at += consumed;
            let flushed = self.decoder.flush().map_err(failed)?;
            if consumed == 0 && flushed.is_none() {
                return Err(Error::internal("an Avro datum that had been checked was not taken"));
            }
            batches.extend(flushed);
        }
        let mut done = Vec::with_capacity(batches.len());
        for batch in &batches {
            let arrays = columns.fields().iter().zip(&self.sources).map(|(field, source)| {
                let known = reader.and_then(|reader| reader.field(field.name()));
                match source {
                    Some(source) => {
                        let column = batch.column(*source);
                        let shape = self.shape.field(batch.schema_ref().field(*source).name());
                        fit(column, shape, known.map(ReaderField::inner), field)
                    }
                    None => lacking(reader, field, batch.num_rows()),
                }
            });
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let arrays = arrays.collect::<Result<Vec<_>>>()?;
            done.push(RecordBatch::try_new_with_options(Arc::clone(columns), arrays, &options)?);
        }
        let batch = match done.as_slice() {
            [one] => one.clone(),
            several => concat_batches(columns, several)?,
        };
        if batch.num_rows() != count {
            return Err(Error::internal(format!("{count} Avro datums became {} rows", batch.num_rows())));
        }
        Ok(batch)
    }

    /// Decodes the datums of `rows` of which `good` tells that they are whole, each by itself.
    fn decode_singly(
        &mut self,
        payloads: &BinaryViewArray,
        rows: Range<usize>,
        good: &[Option<u32>],
        columns: &SchemaRef,
        errors: &mut Vec<PayloadError>,
    ) -> Result<RecordBatch> {
        let first = rows.start;
        let mut framed = Vec::new();
        one_by_one(columns, rows, errors, |row, _| {
            if good[row - first].is_none() {
                return Ok(None);
            }
            framed.clear();
            frame(payloads.value(row), &mut framed);
            self.decode(&framed, 1, columns).map(Some)
        })
    }
}

#[cfg(test)]
mod evolution_tests;
#[cfg(test)]
mod tests;
