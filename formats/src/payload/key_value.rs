//! KeyValue payloads: two payloads, each by a schema of its own.
//!
//! ```text
//!  INLINE     payload = length key length value           (lengths: 4 bytes big-endian; -1: NULL)
//!  SEPARATED  the message's key = key, payload = value
//! ```
//!
//! The value's columns stand as they would without a key; before them stands `key` (`__key__` where the value has a `key`): the key's one column, or a
//! ROW of its columns.
//!
//! Where both the message's part and the topic's own are Avro, the one is read as the other by Avro's rules: defaults, aliases, wider types. Of JSON, defaults of fields
//! that are never null.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aquifer_model::sql_type::{ColumnType, RowField};
use aquifer_model::{Error, PayloadKind, Result, SchemaVersion, SqlType, TopicSchema};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BinaryViewArray, BinaryViewBuilder, RecordBatch,
    RecordBatchOptions, StructArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::versions::{Versions, by_version};
use super::{DecodedPayloads, PayloadDecoder, PayloadEncoder, PayloadError, columns_of, scatter};

/// The key's column.
pub(super) const KEY_COLUMN: &str = "key";
/// The key's column where the value has one of that name.
const OTHER_KEY_COLUMN: &str = "__key__";

/// Where the key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Inline,
    Separated,
}

/// Both schemas of a KeyValue schema.
#[derive(Debug, Clone)]
struct Pair {
    place: Place,
    key: TopicSchema,
    value: TopicSchema,
}

impl Pair {
    fn of(schema: &TopicSchema) -> Result<Self> {
        if schema.kind != PayloadKind::KeyValue {
            return Err(Error::invalid(format!("a schema of kind {:?} has no key", schema.kind)));
        }
        let torn = || Error::invalid("a KeyValue schema is torn: it ends before its parts do");
        let mut rest = schema.definition.as_slice();
        let mut part = || -> Result<Vec<u8>> {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(torn)?;
            // A part without a definition has the length -1.
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
            let (part, after) = after.split_at_checked(length).ok_or_else(torn)?;
            rest = after;
            Ok(part.to_vec())
        };
        let (key, value) = (part()?, part()?);
        let place = match schema.properties.get("kv.encoding.type").map(String::as_str) {
            Some("SEPARATED") => Place::Separated,
            None | Some("INLINE") => Place::Inline,
            Some(other) => return Err(Error::unsupported(format!("the KeyValue encoding `{other}` is not known"))),
        };
        Ok(Self { place, key: part_schema(schema, "key", key)?, value: part_schema(schema, "value", value)? })
    }

    /// The columns: the key's first.
    fn columns(&self) -> Result<SchemaRef> {
        let value = columns_of(&self.value)?.1;
        let name = if value.column_with_name(KEY_COLUMN).is_some() { OTHER_KEY_COLUMN } else { KEY_COLUMN };
        let mut fields = vec![self.key_type()?.to_field(name)];
        fields.extend(value.fields().iter().map(|field| field.as_ref().clone()));
        Ok(Arc::new(Schema::new(fields)))
    }

    fn key_type(&self) -> Result<ColumnType> {
        let columns = columns_of(&self.key)?.1;
        if is_one(&self.key) {
            return ColumnType::of_field(columns.field(0));
        }
        let fields = columns
            .fields()
            .iter()
            .map(|field| Ok(RowField { name: field.name().clone(), column_type: ColumnType::of_field(field)? }));
        Ok(SqlType::Row(fields.collect::<Result<_>>()?).nullable())
    }

    /// The key's column among the table's.
    fn key_column(&self, columns: &Schema) -> Result<Option<usize>> {
        let own = self.columns()?;
        Ok(columns.column_with_name(own.field(0).name()).map(|(index, _)| index))
    }
}

/// Whether a schema's payload is one value.
fn is_one(schema: &TopicSchema) -> bool {
    match schema.kind {
        PayloadKind::Avro | PayloadKind::Json => {
            super::avro_schema::parse(&schema.definition).is_ok_and(|s| !matches!(s, apache_avro::Schema::Record(_)))
        }
        kind => super::raw::type_of(kind).is_some(),
    }
}

fn part_schema(schema: &TopicSchema, part: &str, definition: Vec<u8>) -> Result<TopicSchema> {
    let property = |name: &str| schema.properties.get(&format!("{part}.schema.{name}")).map(String::as_str);
    let kind = match property("type").unwrap_or("BYTES") {
        "NONE" | "BYTES" => PayloadKind::Bytes,
        "STRING" => PayloadKind::String,
        "JSON" => PayloadKind::Json,
        "AVRO" => PayloadKind::Avro,
        "BOOLEAN" => PayloadKind::Boolean,
        "INT8" => PayloadKind::Int8,
        "INT16" => PayloadKind::Int16,
        "INT32" => PayloadKind::Int32,
        "INT64" => PayloadKind::Int64,
        "FLOAT" => PayloadKind::Float,
        "DOUBLE" => PayloadKind::Double,
        "DATE" => PayloadKind::Date,
        "TIME" => PayloadKind::Time,
        "TIMESTAMP" => PayloadKind::Timestamp,
        "INSTANT" => PayloadKind::Instant,
        "LOCAL_DATE" => PayloadKind::LocalDate,
        "LOCAL_TIME" => PayloadKind::LocalTime,
        "LOCAL_DATE_TIME" => PayloadKind::LocalDateTime,
        "PROTOBUF" => PayloadKind::Protobuf,
        "PROTOBUF_NATIVE" => PayloadKind::ProtobufNative,
        other => return Err(Error::unsupported(format!("the {part} of a KeyValue schema is of type `{other}`"))),
    };
    let properties: BTreeMap<String, String> =
        property("properties").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    Ok(TopicSchema { name: property("name").unwrap_or_default().to_string(), kind, definition, properties })
}

/// The columns of a KeyValue topic.
pub(super) fn columns(schema: &TopicSchema) -> Result<SchemaRef> {
    Pair::of(schema)?.columns()
}

/// Reads keys and values by their own decoders.
pub(super) struct KeyValueDecoder {
    columns: SchemaRef,
    /// The table's options of formats, which are the value's.
    options: HashMap<String, String>,
    /// The topic's own schemas.
    reader: Option<Pair>,
    versions: Versions<Version>,
}

/// One schema version, made ready.
struct Version {
    place: Place,
    key: Option<(usize, bool, Part)>,
    value: Part,
    /// For each column but the key's its place among the value's.
    sources: Vec<Option<usize>>,
}

/// Reads one part of the messages of one version.
struct Part {
    decoder: Box<dyn PayloadDecoder>,
    /// What the decoder calls that version; `None` where it has no other.
    version: Option<&'static [u8]>,
}

impl Part {
    /// `columns` of what is written by `writer`; as `reader` has it, where it can be read so.
    fn new(columns: Schema, writer: &TopicSchema, reader: Option<&TopicSchema>) -> Result<Self> {
        const WRITER: &[u8] = b"writer";
        if let Some(reader) = reader.filter(|reader| resolves(writer, reader)) {
            let mut decoder = super::decoder(columns_of(reader)?.0, Arc::new(columns), Some(reader))?;
            decoder.add_schema(SchemaVersion(WRITER.to_vec()), Some(writer))?;
            return Ok(Self { decoder, version: Some(WRITER) });
        }
        let (format, _) = columns_of(writer)?;
        Ok(Self { decoder: super::decoder(format, Arc::new(columns), Some(writer))?, version: None })
    }

    fn decode(&mut self, payloads: &BinaryViewArray) -> Result<DecodedPayloads> {
        let versions: BinaryViewArray = std::iter::repeat_n(self.version, payloads.len()).collect();
        self.decoder.decode(payloads, &versions)
    }
}

/// Whether a part is read as another schema has it.
fn resolves(writer: &TopicSchema, reader: &TopicSchema) -> bool {
    writer.kind == reader.kind && matches!(writer.kind, PayloadKind::Avro | PayloadKind::Json)
}

impl Version {
    /// For messages by `schema` where the topic's own is `reader`.
    fn new(
        schema: &TopicSchema,
        reader: Option<&Pair>,
        columns: &SchemaRef,
        options: &HashMap<String, String>,
    ) -> Result<Self> {
        let pair = Pair::of(schema)?;
        // What the key's column is called depends on the value's fields, and the table has those of the topic's own schema.
        let key_at = reader.unwrap_or(&pair).key_column(columns)?;
        let key = match key_at {
            None => None,
            Some(at) => {
                let (_, own) = columns_of(&pair.key)?;
                let (is_row, wanted) = match columns.field(at).data_type() {
                    DataType::Struct(fields) if !is_one(&pair.key) => (true, Schema::new(fields.clone())),
                    _ if is_one(&pair.key) => {
                        (false, Schema::new(vec![columns.field(at).clone().with_name(own.field(0).name())]))
                    }
                    other => {
                        return Err(Error::invalid(format!(
                            "the column `{}` is the key, which is a ROW and not {other}",
                            columns.field(at).name()
                        )));
                    }
                };
                Some((at, is_row, Part::new(wanted, &pair.key, reader.map(|reader| &reader.key))?))
            }
        };
        let (_, own) = columns_of(&pair.value)?;
        // What the message's schema lacks, the other one may have a default or an older name for.
        let has_all = reader.is_some_and(|reader| resolves(&pair.value, &reader.value));
        let mut wanted: Vec<Field> = Vec::new();
        let sources = columns.fields().iter().enumerate().map(|(at, field)| {
            let is_there = Some(at) != key_at && (has_all || own.column_with_name(field.name()).is_some());
            is_there.then(|| {
                wanted.push(field.as_ref().clone());
                wanted.len() - 1
            })
        });
        let sources = sources.collect();
        let wanted = Schema::new(wanted).with_metadata(options.clone());
        let value = Part::new(wanted, &pair.value, reader.map(|reader| &reader.value))?;
        Ok(Self { place: pair.place, key, value, sources })
    }

    fn decode(
        &mut self,
        columns: &SchemaRef,
        payloads: &BinaryViewArray,
        keys: Option<&BinaryViewArray>,
    ) -> Result<DecodedPayloads> {
        let count = payloads.len();
        let mut reasons: Vec<Option<String>> = vec![None; count];
        let (keys, values) = match self.place {
            Place::Inline => {
                let (mut keys, mut values) =
                    (BinaryViewBuilder::with_capacity(count), BinaryViewBuilder::with_capacity(count));
                for (row, reason) in reasons.iter_mut().enumerate() {
                    let parts = payloads.is_valid(row).then(|| split(payloads.value(row)));
                    let (key, value) = match parts {
                        Some(Ok(parts)) => parts,
                        Some(Err(why)) => {
                            *reason = Some(why.to_string());
                            (None, None)
                        }
                        None => (None, None),
                    };
                    keys.append_option(key);
                    values.append_option(value);
                }
                (keys.finish(), values.finish())
            }
            Place::Separated => match keys {
                Some(keys) => (keys.clone(), payloads.clone()),
                None => (std::iter::repeat_n(None::<&[u8]>, count).collect(), payloads.clone()),
            },
        };
        let mut note = |errors: Vec<PayloadError>, part: &str| {
            for error in errors {
                reasons[error.row].get_or_insert_with(|| format!("the {part}: {}", error.reason));
            }
        };
        let decoded = self.value.decode(&values)?;
        note(decoded.errors, "value");
        let mut lossy = decoded.lossy;
        let mut key_array = None;
        if let Some((at, is_row, part)) = &mut self.key {
            // A message without a value is no row: its key need not be one that can be read.
            let decoded = part.decode(&keys)?;
            let array: ArrayRef = match (columns.field(*at).data_type(), *is_row) {
                (DataType::Struct(fields), true) => {
                    // Where a field is NOT NULL a key that is missing or bad has NULL there, which the row's own NULL hides.
                    let mut valid: Vec<bool> = (0..count).map(|row| keys.is_valid(row)).collect();
                    decoded.errors.iter().for_each(|error| valid[error.row] = false);
                    let parts = decoded.rows.columns().to_vec();
                    Arc::new(StructArray::try_new_with_length(fields.clone(), parts, Some(valid.into()), count)?)
                }
                _ => Arc::clone(decoded.rows.column(0)),
            };
            note(decoded.errors, "key");
            lossy.extend(decoded.lossy);
            lossy.sort_unstable();
            lossy.dedup();
            key_array = Some((*at, array));
        }
        let arrays = columns.fields().iter().zip(&self.sources).enumerate().map(|(at, (field, source))| {
            match (&key_array, source) {
                (Some((key_at, array)), _) if *key_at == at => Arc::clone(array),
                (_, Some(source)) => Arc::clone(decoded.rows.column(*source)),
                _ => arrow::array::new_null_array(field.data_type(), count),
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(Arc::clone(columns), arrays.collect(), &options)?;
        let errors: Vec<PayloadError> = reasons
            .into_iter()
            .enumerate()
            .filter_map(|(row, reason)| Some(PayloadError { row, reason: reason? }))
            .collect();
        if errors.is_empty() {
            return Ok(DecodedPayloads { rows, errors, lossy });
        }
        let mut from: Vec<Option<u32>> = (0..count as u32).map(Some).collect();
        errors.iter().for_each(|error| from[error.row] = None);
        Ok(DecodedPayloads { rows: scatter(&rows, &from)?, errors, lossy })
    }
}

type Parts<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Takes an inline payload apart.
fn split(payload: &[u8]) -> std::result::Result<Parts<'_>, &'static str> {
    const SHORT: &str = "the payload ends before its key and value do";
    let part = |bytes: &mut &[u8]| -> std::result::Result<Option<std::ops::Range<usize>>, &'static str> {
        let at = payload.len() - bytes.len();
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(SHORT)?;
        match i32::from_be_bytes(*length) {
            -1 => {
                *bytes = rest;
                Ok(None)
            }
            length => {
                let length = usize::try_from(length).map_err(|_| "a length in the payload is negative")?;
                *bytes = rest.get(length..).ok_or(SHORT)?;
                Ok(Some(at + 4..at + 4 + length))
            }
        }
    };
    let mut rest = payload;
    let (key, value) = (part(&mut rest)?, part(&mut rest)?);
    if !rest.is_empty() {
        return Err("bytes are left after the value");
    }
    Ok((key.map(|range| &payload[range]), value.map(|range| &payload[range])))
}

impl KeyValueDecoder {
    /// A decoder that makes `columns`, a projection of the table's, which are `table`.
    pub fn new(table: &SchemaRef, columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let (columns, options) = (Arc::new(Schema::new(fields)), table.metadata().clone());
        let reader = topic_schema.map(Pair::of).transpose()?;
        let default = topic_schema.map(|schema| Version::new(schema, reader.as_ref(), &columns, &options));
        Ok(Self { columns, reader, versions: Versions::new(default.transpose()?), options })
    }

    fn decode_runs(
        &mut self,
        payloads: &BinaryViewArray,
        keys: Option<&BinaryViewArray>,
        versions: &BinaryViewArray,
    ) -> Result<DecodedPayloads> {
        let Self { columns, versions: known, .. } = self;
        let mut lossy = Vec::new();
        let mut all = by_version(columns, payloads, versions, |version, run, errors| {
            let part = payloads.slice(run.start, run.len());
            let keys = keys.map(|keys| keys.slice(run.start, run.len()));
            let decoded = match known.get(version) {
                Some(version) => version.decode(columns, &part, keys.as_ref())?,
                None => super::all_bad(
                    columns,
                    &part,
                    "the registry does not have the schema that the message is written by",
                )?,
            };
            lossy.extend(decoded.lossy.iter().map(|row| row + run.start));
            errors.extend(decoded.errors.into_iter().map(|error| PayloadError { row: error.row + run.start, ..error }));
            Ok(decoded.rows)
        })?;
        all.lossy = lossy;
        Ok(all)
    }
}

impl KeyValueDecoder {
    /// What reads messages of the topic's own schema.
    fn own(&self) -> Option<&Version> {
        self.versions.known.get(&[][..]).and_then(Option::as_ref)
    }

    /// The key's decoder, if the column is the key.
    fn key_of(&self, column: &str) -> Option<(bool, &dyn PayloadDecoder)> {
        let (at, is_row, part) = self.own()?.key.as_ref()?;
        (self.columns.field(*at).name() == column).then_some((*is_row, part.decoder.as_ref()))
    }
}

impl PayloadDecoder for KeyValueDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn missing_versions(&self, versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        self.versions.missing(versions)
    }

    fn add_schema(&mut self, version: SchemaVersion, schema: Option<&TopicSchema>) -> Result<()> {
        let made = schema.map(|schema| Version::new(schema, self.reader.as_ref(), &self.columns, &self.options));
        self.versions.add(version, made.transpose()?);
        Ok(())
    }

    fn lacking(&self, column: &Field, rows: usize) -> Result<ArrayRef> {
        match self.own() {
            Some(own) if self.key_of(column.name()).is_none() => own.value.decoder.lacking(column, rows),
            _ => Ok(arrow::array::new_null_array(column.data_type(), rows)),
        }
    }

    fn earlier_names(&self, column: &str) -> &[String] {
        match self.own() {
            Some(own) if self.key_of(column).is_none() => own.value.decoder.earlier_names(column),
            _ => &[],
        }
    }

    fn fitted(&self, earlier: &ArrayRef, column: &Field) -> Result<ArrayRef> {
        match (self.key_of(column.name()), earlier.as_struct_opt(), column.data_type()) {
            (Some((true, key)), Some(earlier), DataType::Struct(fields)) => {
                let parts = fields.iter().map(|field| {
                    let mut names = std::iter::once(field.name()).chain(key.earlier_names(field.name()));
                    match names.find_map(|name| earlier.column_by_name(name)) {
                        Some(part) => key.fitted(part, field),
                        None => key.lacking(field, earlier.len()),
                    }
                });
                let (parts, nulls) = (parts.collect::<Result<Vec<_>>>()?, earlier.nulls().cloned());
                Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), parts, nulls, earlier.len())?))
            }
            (None, ..) => match self.own() {
                Some(own) => own.value.decoder.fitted(earlier, column),
                None => super::fit_column(earlier, column),
            },
            _ => super::fit_column(earlier, column),
        }
    }

    fn release(&mut self) {
        for version in self.versions.known.values_mut().flatten() {
            version.key.iter_mut().for_each(|(.., part)| part.decoder.release());
            version.value.decoder.release();
        }
    }

    fn decode(&mut self, payloads: &BinaryViewArray, versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        self.decode_runs(payloads, None, versions)
    }

    fn decode_keyed(
        &mut self,
        payloads: &BinaryViewArray,
        keys: &BinaryViewArray,
        versions: &BinaryViewArray,
    ) -> Result<DecodedPayloads> {
        self.decode_runs(payloads, Some(keys), versions)
    }
}

/// Writes keys and values by their own encoders.
pub(super) struct KeyValueEncoder {
    place: Place,
    key: (usize, bool, SchemaRef, Box<dyn PayloadEncoder>),
    value: (Vec<usize>, SchemaRef, Box<dyn PayloadEncoder>),
}

impl KeyValueEncoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let schema = topic_schema.ok_or_else(|| Error::invalid("a topic without a schema has no key and value"))?;
        let pair = Pair::of(schema)?;
        let at = pair.key_column(&columns)?.ok_or_else(|| {
            Error::invalid("the topic's messages have a key with a schema: the table needs a column `key` for it")
        })?;
        let (format, own) = columns_of(&pair.key)?;
        let (is_row, key_columns) = match columns.field(at).data_type() {
            DataType::Struct(fields) if !is_one(&pair.key) => (true, Schema::new(fields.clone())),
            _ => (false, Schema::new(vec![columns.field(at).clone().with_name(own.field(0).name())])),
        };
        let key_columns: SchemaRef = Arc::new(key_columns);
        let key = super::encoder(format, Arc::clone(&key_columns), Some(&pair.key))?;
        let (format, own) = columns_of(&pair.value)?;
        let places: Vec<usize> = (0..columns.fields().len()).filter(|n| *n != at).collect();
        if let Some(strange) = places.iter().find(|n| own.column_with_name(columns.field(**n).name()).is_none()) {
            return Err(Error::invalid(format!(
                "the topic's schema has no field `{}`",
                columns.field(*strange).name()
            )));
        }
        let value_columns: SchemaRef = Arc::new(columns.project(&places)?);
        let value = super::encoder(format, Arc::clone(&value_columns), Some(&pair.value))?;
        Ok(Self { place: pair.place, key: (at, is_row, key_columns, key), value: (places, value_columns, value) })
    }

    fn keys(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let (at, is_row, columns, encoder) = &mut self.key;
        let column = rows.column(*at);
        let arrays = if *is_row { column.as_struct().columns().to_vec() } else { vec![Arc::clone(column)] };
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let written = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        if column.null_count() == 0 {
            return encoder.encode(&written);
        }
        // A key that is NULL is not encoded.
        let there = arrow::compute::is_not_null(column)?;
        let encoded = encoder.encode(&arrow::compute::filter_record_batch(&written, &there)?)?;
        let mut keys = BinaryBuilder::new();
        let mut given = encoded.iter();
        for row in 0..rows.num_rows() {
            keys.append_option(if there.value(row) { given.next().flatten() } else { None });
        }
        Ok(keys.finish())
    }
}

impl PayloadEncoder for KeyValueEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let (places, columns, encoder) = &mut self.value;
        let arrays = places.iter().map(|at| Arc::clone(rows.column(*at))).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let values = encoder.encode(&RecordBatch::try_new_with_options(Arc::clone(columns), arrays, &options)?)?;
        if self.place == Place::Separated {
            return Ok(values);
        }
        let keys = self.keys(rows)?;
        let mut payloads = BinaryBuilder::new();
        let mut payload = Vec::new();
        for (key, value) in keys.iter().zip(&values) {
            payload.clear();
            for part in [key, value] {
                let length = part.map_or(Ok(-1), |part| i32::try_from(part.len()));
                let length = length.map_err(|_| Error::invalid("a key or value is too long"))?;
                payload.extend_from_slice(&length.to_be_bytes());
                payload.extend_from_slice(part.unwrap_or_default());
            }
            payloads.append_value(&payload);
        }
        Ok(payloads.finish())
    }

    fn encode_keys(&mut self, rows: &RecordBatch) -> Result<Option<BinaryArray>> {
        match self.place {
            Place::Inline => Ok(None),
            Place::Separated => self.keys(rows).map(Some),
        }
    }
}
