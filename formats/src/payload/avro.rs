//! Avro payloads: bare datums, each by the writer schema that its message names.
//!
//! ```text
//!  datum ─► walk over the writer schema (whole? nothing hostile?) ─► framed, a batch at once ─► arrow-avro ─► cast to the table's types
//! ```
//!
//! The walk proves that a datum is whole and ends where it should before the columnar decoder sees it: that decoder would otherwise spoil a
//! datum's neighbours, or trust sizes that the bytes do not hold.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema as Avro;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};
use aquifer_model::{Error, Result, SchemaVersion, TopicSchema};
use arrow::array::{Array, ArrayRef, BinaryArray, BinaryViewArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{
    AvroSchema, CONFLUENT_MAGIC, Fingerprint, FingerprintAlgorithm, SCHEMA_METADATA_KEY, SchemaStore,
};
use arrow_avro::writer::format::AvroBinaryFormat;
use arrow_avro::writer::{Encoder, WriterBuilder};

use super::{DecodedPayloads, PayloadDecoder, PayloadEncoder, PayloadError, avro_schema, scatter};

const MAX_DEPTH: usize = 64;
/// Rows that arrow-avro decodes at once.
const CHUNK: usize = 8192;

/// Reads datums of several schema versions.
pub(crate) struct AvroDecoder {
    columns: SchemaRef,
    /// By the version's bytes; no bytes: messages that name none. `None`: the registry does not have it.
    writers: HashMap<Vec<u8>, Option<Writer>>,
}

/// One version's schema, made ready.
struct Writer {
    shape: Shape,
    decoder: Decoder,
    /// For each column of the table the decoder's column that it comes from.
    sources: Vec<Option<usize>>,
}

impl AvroDecoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let columns = Arc::new(Schema::new(fields));
        let default = topic_schema.map(|schema| Writer::new(&schema.definition, &columns)).transpose()?;
        Ok(Self { columns, writers: HashMap::from([(Vec::new(), default)]) })
    }

    /// Decodes the payloads of rows `from..to`, which all name one version.
    fn decode_run(
        &mut self,
        payloads: &BinaryViewArray,
        version: &[u8],
        rows: std::ops::Range<usize>,
        errors: &mut Vec<PayloadError>,
    ) -> Result<RecordBatch> {
        let writer = self.writers.get_mut(version).and_then(Option::as_mut);
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
                None if version.is_empty() => Err("the message names no schema version, and the topic has no schema"),
                None => Err("the registry does not have the schema version that the message names"),
            };
            match checked {
                Ok(()) => {
                    framed.extend_from_slice(&CONFLUENT_MAGIC);
                    framed.extend_from_slice(&1u32.to_be_bytes());
                    framed.extend_from_slice(datum);
                    good.push(Some(count));
                    count += 1;
                }
                Err(reason) => {
                    errors.push(PayloadError { row, reason: reason.to_string() });
                    good.push(None);
                }
            }
        }
        let decoded = match writer {
            Some(writer) if count > 0 => writer.decode(&framed, count as usize, &self.columns)?,
            _ => RecordBatch::new_empty(Arc::clone(&self.columns)),
        };
        if count as usize == rows.len() { Ok(decoded) } else { scatter(&decoded, &good) }
    }
}

impl PayloadDecoder for AvroDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn missing_versions(&self, versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        let mut missing: Vec<SchemaVersion> = Vec::new();
        let mut last: &[u8] = &[];
        for version in versions.iter().flatten() {
            if version != last {
                if !self.writers.contains_key(version) && !missing.iter().any(|m| m.0 == version) {
                    missing.push(SchemaVersion(version.to_vec()));
                }
                last = version;
            }
        }
        missing
    }

    fn add_schema(&mut self, version: SchemaVersion, schema: Option<&TopicSchema>) -> Result<()> {
        let writer = schema.map(|schema| Writer::new(&schema.definition, &self.columns)).transpose()?;
        self.writers.insert(version.0, writer);
        Ok(())
    }

    fn decode(&mut self, payloads: &BinaryViewArray, versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        let mut errors = Vec::new();
        let mut runs = Vec::new();
        let version_of = |row: usize| if versions.is_null(row) { &[][..] } else { versions.value(row) };
        let mut from = 0;
        while from < payloads.len() {
            let version = version_of(from);
            let to = (from + 1..payloads.len()).find(|row| version_of(*row) != version).unwrap_or(payloads.len());
            runs.push(self.decode_run(payloads, version, from..to, &mut errors)?);
            from = to;
        }
        let rows = match runs.as_slice() {
            [one] => one.clone(),
            several => concat_batches(&self.columns, several)?,
        };
        Ok(DecodedPayloads { rows, errors })
    }
}

impl Writer {
    fn new(definition: &[u8], columns: &SchemaRef) -> Result<Self> {
        let schema = avro_schema::parse(definition)?;
        let shape = Shape::of(&schema, &mut HashMap::new(), 0)?;
        let Avro::Record(record) = &schema else {
            return Err(Error::unsupported("an Avro topic whose schema is no record"));
        };
        // Only the fields that the table has are decoded; with none wanted, one is, so that rows are counted.
        let mut wanted: Vec<usize> =
            columns.fields().iter().filter_map(|column| record.lookup.get(column.name()).copied()).collect();
        if wanted.is_empty() {
            wanted = (!record.fields.is_empty()).then_some(0).into_iter().collect();
        }
        let text = std::str::from_utf8(definition).map_err(|_| Error::invalid("an Avro schema is not UTF-8"))?;
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        let fingerprint = Fingerprint::load_fingerprint_id(1u32.to_be());
        store.set(fingerprint, AvroSchema::new(text.to_string())).map_err(unusable)?;
        let decoder = ReaderBuilder::new()
            .with_batch_size(CHUNK)
            // Its views lose NULLs (59.3); the cast to views afterwards shares the texts' buffer.
            .with_utf8_view(false)
            .with_projection(wanted)
            .with_writer_schema_store(store)
            .with_active_fingerprint(fingerprint)
            .build_decoder()
            .map_err(unusable)?;
        let decoded = decoder.schema();
        let sources = columns.fields().iter().map(|column| decoded.index_of(column.name()).ok()).collect();
        Ok(Self { shape, decoder, sources })
    }

    /// Decodes `count` framed datums that the walk has found whole.
    fn decode(&mut self, framed: &[u8], count: usize, columns: &SchemaRef) -> Result<RecordBatch> {
        let failed = |error| Error::internal("decoding Avro datums that had been checked").with_source(error);
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
            let arrays = columns.fields().iter().zip(&self.sources).map(|(field, source)| match source {
                Some(source) => cast_column(batch.column(*source), field.data_type(), field.name()),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
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
}

fn unusable(error: arrow::error::ArrowError) -> Error {
    Error::unsupported("an Avro schema cannot be used").with_source(error)
}

/// Casts a decoded column to the table's type.
pub fn cast_column(array: &ArrayRef, to: &DataType, name: &str) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..Default::default() };
    cast_with_options(array, to, &options).map_err(|error| {
        Error::invalid(format!("column `{name}` is stored as {} and cannot be read as {to}", array.data_type()))
            .with_source(error)
    })
}

/// What a datum of a schema looks like in bytes.
pub(crate) enum Shape {
    Nothing,
    Boolean,
    Int,
    Long,
    Fixed(usize),
    Bytes,
    Text,
    Enum(usize),
    Array(Arc<Shape>),
    Map(Arc<Shape>),
    Union(Vec<Arc<Shape>>),
    Record(Vec<Arc<Shape>>),
    Shared(Arc<Shape>),
}

impl Shape {
    fn of(schema: &Avro, named: &mut HashMap<Name, Arc<Shape>>, depth: usize) -> Result<Self> {
        if depth > MAX_DEPTH {
            return Err(Error::invalid(format!("an Avro schema is nested deeper than {MAX_DEPTH}")));
        }
        let mut inner = |schema: &Avro| Ok::<_, Error>(Arc::new(Shape::of(schema, named, depth + 1)?));
        Ok(match schema {
            Avro::Null => Shape::Nothing,
            Avro::Boolean => Shape::Boolean,
            Avro::Int | Avro::Date | Avro::TimeMillis => Shape::Int,
            Avro::Long
            | Avro::TimeMicros
            | Avro::TimestampMillis
            | Avro::TimestampMicros
            | Avro::TimestampNanos
            | Avro::LocalTimestampMillis
            | Avro::LocalTimestampMicros
            | Avro::LocalTimestampNanos => Shape::Long,
            Avro::Float => Shape::Fixed(4),
            Avro::Double => Shape::Fixed(8),
            Avro::Bytes | Avro::BigDecimal | Avro::Uuid(UuidSchema::Bytes) => Shape::Bytes,
            Avro::String | Avro::Uuid(UuidSchema::String) => Shape::Text,
            Avro::Uuid(UuidSchema::Fixed(fixed)) | Avro::Duration(fixed) => Shape::Fixed(fixed.size),
            Avro::Fixed(fixed) => {
                named.insert(fixed.name.clone(), Arc::new(Shape::Fixed(fixed.size)));
                Shape::Fixed(fixed.size)
            }
            Avro::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Shape::Bytes,
                InnerDecimalSchema::Fixed(fixed) => Shape::Fixed(fixed.size),
            },
            Avro::Enum(symbols) => {
                named.insert(symbols.name.clone(), Arc::new(Shape::Enum(symbols.symbols.len())));
                Shape::Enum(symbols.symbols.len())
            }
            Avro::Array(array) => Shape::Array(inner(&array.items)?),
            Avro::Map(map) => Shape::Map(inner(&map.types)?),
            Avro::Union(union) => Shape::Union(union.variants().iter().map(inner).collect::<Result<_>>()?),
            Avro::Record(record) => {
                let fields = record.fields.iter().map(|f| inner(&f.schema)).collect::<Result<Vec<_>>>()?;
                let shape = Arc::new(Shape::Record(fields));
                named.insert(record.name.clone(), Arc::clone(&shape));
                Shape::Shared(shape)
            }
            Avro::Ref { name } => match named.get(name) {
                Some(shape) => Shape::Shared(Arc::clone(shape)),
                None => return Err(Error::unsupported(format!("the Avro type `{name}` contains itself"))),
            },
        })
    }

    /// The shape of a definition.
    pub fn parse(definition: &[u8]) -> Result<Self> {
        Self::of(&avro_schema::parse(definition)?, &mut HashMap::new(), 0)
    }

    /// The datums of this shape that stand one after the other, as many as told.
    pub fn split<'a>(&self, datums: &'a [u8], count: usize) -> std::result::Result<Vec<&'a [u8]>, &'static str> {
        let mut walk = Walk { rest: datums, budget: datums.len() * 8 + 1024 };
        let mut parts = Vec::new();
        for _ in 0..count {
            let before = walk.rest;
            walk.value(self)?;
            parts.push(&before[..before.len() - walk.rest.len()]);
        }
        if walk.rest.is_empty() { Ok(parts) } else { Err("bytes are left after the Avro datums") }
    }

    /// Whether `datum` is one whole value of this shape and nothing else.
    fn check(&self, datum: &[u8]) -> std::result::Result<(), &'static str> {
        let mut walk = Walk { rest: datum, budget: datum.len() * 8 + 1024 };
        walk.value(self)?;
        if walk.rest.is_empty() { Ok(()) } else { Err("bytes are left after the Avro datum") }
    }
}

/// A walk over a datum's bytes. Items that take no bytes cost budget, so that a count of 2^60 nulls ends soon.
struct Walk<'a> {
    rest: &'a [u8],
    budget: usize,
}

type Step<T> = std::result::Result<T, &'static str>;
const SHORT: &str = "the Avro datum ends too early";

impl Walk<'_> {
    fn skip(&mut self, length: usize) -> Step<()> {
        self.rest = self.rest.get(length..).ok_or(SHORT)?;
        Ok(())
    }

    fn long(&mut self) -> Step<i64> {
        let mut number = 0u64;
        for (n, byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * n as u32).min(63);
            if byte & 0x80 == 0 {
                if n == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[n + 1..];
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(if self.rest.len() < 10 { SHORT } else { "a number in the Avro datum is too long" })
    }

    fn length(&mut self) -> Step<usize> {
        let length = self.long()?;
        usize::try_from(length)
            .map_err(|_| "a length in the Avro datum is negative")
            .and_then(|length| if length > self.rest.len() { Err(SHORT) } else { Ok(length) })
    }

    fn text(&mut self) -> Step<()> {
        let length = self.length()?;
        std::str::from_utf8(&self.rest[..length]).map_err(|_| "a text in the Avro datum is not UTF-8")?;
        self.skip(length)
    }

    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Step<()>) -> Step<()> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.length()?;
                count = count.checked_neg().ok_or("a count in the Avro datum is impossible")?;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    fn value(&mut self, shape: &Shape) -> Step<()> {
        self.budget = self.budget.checked_sub(1).ok_or("the Avro datum holds more items than its bytes can")?;
        match shape {
            Shape::Nothing => Ok(()),
            Shape::Boolean => match self.rest.first().ok_or(SHORT)? {
                0 | 1 => self.skip(1),
                _ => Err("a boolean in the Avro datum is neither 0 nor 1"),
            },
            Shape::Int => i32::try_from(self.long()?).map(drop).map_err(|_| "an int in the Avro datum is too large"),
            Shape::Long => self.long().map(drop),
            Shape::Fixed(size) => self.skip(*size),
            Shape::Bytes => {
                let length = self.length()?;
                self.skip(length)
            }
            Shape::Text => self.text(),
            Shape::Enum(symbols) => match usize::try_from(self.long()?) {
                Ok(symbol) if symbol < *symbols => Ok(()),
                _ => Err("an enum in the Avro datum has no such symbol"),
            },
            Shape::Array(item) => self.blocks(|walk| walk.value(item)),
            Shape::Map(item) => self.blocks(|walk| {
                walk.text()?;
                walk.value(item)
            }),
            Shape::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|n| branches.get(n));
                self.value(branch.ok_or("a union in the Avro datum has no such branch")?)
            }
            Shape::Record(fields) => fields.iter().try_for_each(|field| self.value(field)),
            Shape::Shared(shape) => self.value(shape),
        }
    }
}

/// Writes datums.
pub(crate) struct AvroEncoder {
    /// What arrow-avro is given: the columns in Arrow types that it writes as the schema says.
    schema: SchemaRef,
    encoder: Encoder,
}

impl AvroEncoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let topic_schema = topic_schema.ok_or_else(|| {
            Error::invalid("a topic without a schema cannot be written as Avro; register one, or use 'format' = 'json'")
        })?;
        let avro = avro_schema::columns(&topic_schema.definition)?;
        for field in avro.fields() {
            if !field.is_nullable() && columns.index_of(field.name()).is_err() {
                return Err(Error::invalid(format!("the topic's schema needs a value for `{}`", field.name())));
            }
        }
        // Columns in the schema's order and types; what the table does not have is NULL.
        let text = String::from_utf8_lossy(&topic_schema.definition).into_owned();
        let fields: Vec<Field> =
            avro.fields().iter().map(|f| f.as_ref().clone().with_metadata(HashMap::new())).collect();
        let schema = Schema::new_with_metadata(fields, HashMap::from([(SCHEMA_METADATA_KEY.to_string(), text)]));
        let encoder = WriterBuilder::new(schema.clone())
            .build_encoder::<AvroBinaryFormat>()
            .map_err(|error| Error::unsupported("a topic's Avro schema cannot be written").with_source(error))?;
        Ok(Self { schema: Arc::new(schema), encoder })
    }
}

impl PayloadEncoder for AvroEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let arrays = self.schema.fields().iter().map(|field| match rows.column_by_name(field.name()) {
            Some(array) if !field.is_nullable() && array.null_count() > 0 => Err(Error::invalid(format!(
                "column `{}` is NOT NULL in the topic's schema, and a row has NULL",
                field.name()
            ))),
            Some(array) => cast_column(array, field.data_type(), field.name()),
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        });
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays.collect::<Result<Vec<_>>>()?)?;
        let failed = |error| Error::invalid("a row cannot be written as Avro").with_source(error);
        self.encoder.encode(&batch).map_err(failed)?;
        let encoded = self.encoder.flush();
        let offsets = encoded.offsets().iter().map(|offset| i32::try_from(*offset));
        let offsets: Vec<i32> = offsets
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| Error::invalid("a batch is too large to encode"))?;
        Ok(BinaryArray::new(OffsetBuffer::new(offsets.into()), encoded.bytes().clone().into(), None))
    }
}
