//! Raw payloads: the whole payload is the one column: text, bytes, or one value as Pulsar's own schemas write it, big-endian.
//!
//! | schema | bytes | column |
//! |---|---|---|
//! | DATE, TIME, TIMESTAMP (Java's old types) | 8: milliseconds | DATE, TIME(3), TIMESTAMP(3) |
//! | LOCAL_DATE, LOCAL_TIME | 8: days; 8: nanoseconds | DATE, TIME(9) |
//! | LOCAL_DATE_TIME | 8 + 8: both | TIMESTAMP(9) |
//! | INSTANT | 8 + 4: seconds, nanoseconds | TIMESTAMP_LTZ(9) |
//!
//! What is out of a column's range is a bad row. A message whose schema version is of another kind is read by that one, then cast.

use std::collections::HashMap;
use std::sync::Arc;

use aquifer_model::{Error, PayloadKind, Result, SchemaVersion, SqlType, TopicSchema};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BinaryViewArray, BooleanArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringViewBuilder,
};
use arrow::compute::{CastOptions, cast, cast_with_options, concat};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Schema, SchemaRef, Time32MillisecondType, Time64NanosecondType, TimeUnit, TimestampMillisecondType,
    TimestampNanosecondType,
};

use super::{DecodedPayloads, PayloadDecoder, PayloadEncoder, PayloadError};

const DAY_MILLIS: i64 = 86_400_000;
const DAY_NANOS: i64 = 86_400_000_000_000;
const SECOND_NANOS: i64 = 1_000_000_000;

/// The column type of a schema whose payload is one value; `None` for those of several.
pub(super) fn type_of(kind: PayloadKind) -> Option<SqlType> {
    Some(match kind {
        // Protobuf messages are not taken apart: the column has their bytes.
        PayloadKind::Bytes | PayloadKind::Other | PayloadKind::Protobuf | PayloadKind::ProtobufNative => SqlType::BYTES,
        PayloadKind::String => SqlType::STRING,
        PayloadKind::Boolean => SqlType::Boolean,
        PayloadKind::Int8 => SqlType::TinyInt,
        PayloadKind::Int16 => SqlType::SmallInt,
        PayloadKind::Int32 => SqlType::Int,
        PayloadKind::Int64 => SqlType::BigInt,
        PayloadKind::Float => SqlType::Float,
        PayloadKind::Double => SqlType::Double,
        PayloadKind::Date | PayloadKind::LocalDate => SqlType::Date,
        PayloadKind::Time => SqlType::Time(3),
        PayloadKind::LocalTime => SqlType::Time(9),
        PayloadKind::Timestamp => SqlType::Timestamp(3),
        PayloadKind::LocalDateTime => SqlType::Timestamp(9),
        PayloadKind::Instant => SqlType::TimestampLtz(9),
        PayloadKind::Avro | PayloadKind::Json | PayloadKind::KeyValue => return None,
    })
}

/// The registry's type for a table of one column.
pub(super) fn kind_of(columns: &Schema) -> Result<PayloadKind> {
    let [field] = columns.fields().as_ref() else {
        return Err(Error::invalid(
            "the format `raw` has exactly one column: the payload; use avro or json for several",
        ));
    };
    Ok(match field.data_type() {
        DataType::Utf8View => PayloadKind::String,
        DataType::BinaryView => PayloadKind::Bytes,
        DataType::Boolean => PayloadKind::Boolean,
        DataType::Int8 => PayloadKind::Int8,
        DataType::Int16 => PayloadKind::Int16,
        DataType::Int32 => PayloadKind::Int32,
        DataType::Int64 => PayloadKind::Int64,
        DataType::Float32 => PayloadKind::Float,
        DataType::Float64 => PayloadKind::Double,
        DataType::Date32 => PayloadKind::LocalDate,
        DataType::Time32(_) => PayloadKind::Time,
        DataType::Time64(TimeUnit::Nanosecond) => PayloadKind::LocalTime,
        DataType::Timestamp(TimeUnit::Millisecond, None) => PayloadKind::Timestamp,
        DataType::Timestamp(TimeUnit::Nanosecond, None) => PayloadKind::LocalDateTime,
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => PayloadKind::Instant,
        DataType::Time64(_) | DataType::Timestamp(..) => {
            return Err(Error::unsupported(
                "the format `raw` keeps times as Pulsar's schemas do: use TIME(3), TIME(9), TIMESTAMP(3), TIMESTAMP(9) or TIMESTAMP_LTZ(9)",
            ));
        }
        other => return Err(Error::unsupported(format!("the format `raw` cannot hold {other}; use avro or json"))),
    })
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating()
}

/// How payloads of `schema` are read into a column whose own kind is `own`.
fn kind_for(schema: Option<&TopicSchema>, own: PayloadKind) -> PayloadKind {
    let (Some(schema), Some(wanted)) = (schema, type_of(own)) else { return own };
    let Some(found) = type_of(schema.kind) else { return own };
    let (found, wanted) = (found.to_arrow(), wanted.to_arrow());
    if found == wanted || is_number(&found) && is_number(&wanted) { schema.kind } else { own }
}

/// Reads one value a payload.
pub(super) struct RawDecoder {
    columns: SchemaRef,
    /// The column's own kind; `None`: no column is wanted, and rows are only counted.
    own: Option<PayloadKind>,
    /// By the version's bytes; no bytes: messages that name none.
    kinds: HashMap<Vec<u8>, PayloadKind>,
}

impl RawDecoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let own = if columns.fields().is_empty() { None } else { Some(kind_of(&columns)?) };
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let kinds = own.map(|own| (Vec::new(), kind_for(topic_schema, own))).into_iter().collect();
        Ok(Self { columns: Arc::new(Schema::new(fields)), own, kinds })
    }

    /// Whether a version can change how the bytes are read.
    fn asks_versions(&self) -> bool {
        !matches!(self.own, None | Some(PayloadKind::Bytes | PayloadKind::String))
    }

    /// Reads payloads of one kind, whose first is row `offset` of the batch.
    fn read(
        &self,
        kind: PayloadKind,
        payloads: &BinaryViewArray,
        offset: usize,
        errors: &mut Vec<PayloadError>,
    ) -> Result<ArrayRef> {
        let from = errors.len();
        let found = read(kind, payloads, errors);
        errors[from..].iter_mut().for_each(|error| error.row += offset);
        let wanted = self.columns.field(0).data_type();
        if found.data_type() == wanted {
            return Ok(found);
        }
        let fitted = cast_with_options(&found, wanted, &CastOptions { safe: true, ..Default::default() })?;
        for row in (0..found.len()).filter(|row| found.is_valid(*row) && fitted.is_null(*row)) {
            errors.push(PayloadError { row: row + offset, reason: format!("the value is too large for {wanted}") });
        }
        errors[from..].sort_by_key(|error| error.row);
        Ok(fitted)
    }
}

type Read<T, const N: usize> = fn([u8; N]) -> std::result::Result<T, &'static str>;

fn values<T: ArrowPrimitiveType, const N: usize>(
    payloads: &BinaryViewArray,
    read: Read<T::Native, N>,
    errors: &mut Vec<PayloadError>,
) -> PrimitiveArray<T> {
    let values = payloads.iter().enumerate().map(|(row, payload)| {
        let payload = payload?;
        let reason = match <[u8; N]>::try_from(payload).map(read) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(reason)) => reason.to_string(),
            Err(_) => format!("the payload has {} bytes, it should have {N}", payload.len()),
        };
        errors.push(PayloadError { row, reason });
        None
    });
    values.collect()
}

fn date_of(days: i64) -> std::result::Result<i32, &'static str> {
    i32::try_from(days).map_err(|_| "the date is out of range")
}

fn nanos_of_day(nanos: i64) -> std::result::Result<i64, &'static str> {
    if (0..DAY_NANOS).contains(&nanos) { Ok(nanos) } else { Err("the time of day is out of range") }
}

fn instant_of(count: i64, size: i64, rest: i64) -> std::result::Result<i64, &'static str> {
    // The first second that fits is not whole: what is added may bring it into range.
    let whole = i128::from(count) * i128::from(size) + i128::from(rest);
    i64::try_from(whole).map_err(|_| "the time is outside of what nanoseconds since 1970 can say (1677 to 2262)")
}

fn halves(bytes: [u8; 16]) -> (i64, i64) {
    let number = u128::from_be_bytes(bytes);
    ((number >> 64) as i64, number as i64)
}

/// Reads payloads into the column of their kind.
fn read(kind: PayloadKind, payloads: &BinaryViewArray, errors: &mut Vec<PayloadError>) -> ArrayRef {
    match kind {
        PayloadKind::String => {
            let mut texts = StringViewBuilder::with_capacity(payloads.len());
            for (row, payload) in payloads.iter().enumerate() {
                match payload.map(std::str::from_utf8) {
                    Some(Ok(text)) => texts.append_value(text),
                    Some(Err(_)) => {
                        errors.push(PayloadError { row, reason: "the payload is not UTF-8".into() });
                        texts.append_null();
                    }
                    None => texts.append_null(),
                }
            }
            Arc::new(texts.finish())
        }
        PayloadKind::Boolean => {
            let values = payloads.iter().enumerate().map(|(row, payload)| match payload? {
                [0] => Some(false),
                [1] => Some(true),
                _ => {
                    errors.push(PayloadError { row, reason: "the payload is no boolean (one byte, 0 or 1)".into() });
                    None
                }
            });
            Arc::new(values.collect::<BooleanArray>())
        }
        PayloadKind::Int8 => Arc::new(values::<Int8Type, 1>(payloads, |b| Ok(i8::from_be_bytes(b)), errors)),
        PayloadKind::Int16 => Arc::new(values::<Int16Type, 2>(payloads, |b| Ok(i16::from_be_bytes(b)), errors)),
        PayloadKind::Int32 => Arc::new(values::<Int32Type, 4>(payloads, |b| Ok(i32::from_be_bytes(b)), errors)),
        PayloadKind::Int64 => Arc::new(values::<Int64Type, 8>(payloads, |b| Ok(i64::from_be_bytes(b)), errors)),
        PayloadKind::Float => Arc::new(values::<Float32Type, 4>(payloads, |b| Ok(f32::from_be_bytes(b)), errors)),
        PayloadKind::Double => Arc::new(values::<Float64Type, 8>(payloads, |b| Ok(f64::from_be_bytes(b)), errors)),
        PayloadKind::Date => {
            let read = |bytes| date_of(i64::from_be_bytes(bytes).div_euclid(DAY_MILLIS));
            Arc::new(values::<Date32Type, 8>(payloads, read, errors))
        }
        PayloadKind::LocalDate => {
            Arc::new(values::<Date32Type, 8>(payloads, |bytes| date_of(i64::from_be_bytes(bytes)), errors))
        }
        PayloadKind::Time => {
            let read = |bytes| Ok(i64::from_be_bytes(bytes).rem_euclid(DAY_MILLIS) as i32);
            Arc::new(values::<Time32MillisecondType, 8>(payloads, read, errors))
        }
        PayloadKind::LocalTime => {
            Arc::new(values::<Time64NanosecondType, 8>(payloads, |b| nanos_of_day(i64::from_be_bytes(b)), errors))
        }
        PayloadKind::Timestamp => {
            Arc::new(values::<TimestampMillisecondType, 8>(payloads, |b| Ok(i64::from_be_bytes(b)), errors))
        }
        PayloadKind::LocalDateTime => {
            let read = |bytes| {
                let (days, nanos) = halves(bytes);
                instant_of(days, DAY_NANOS, nanos_of_day(nanos)?)
            };
            Arc::new(values::<TimestampNanosecondType, 16>(payloads, read, errors))
        }
        PayloadKind::Instant => {
            let read = |bytes: [u8; 12]| {
                let mut wide = [0; 16];
                wide[4..].copy_from_slice(&bytes);
                let number = u128::from_be_bytes(wide);
                let (seconds, nanos) = ((number >> 32) as i64, i64::from(number as u32 as i32));
                if !(0..SECOND_NANOS).contains(&nanos) {
                    return Err("the nanoseconds are out of range");
                }
                instant_of(seconds, SECOND_NANOS, nanos)
            };
            let instants = values::<TimestampNanosecondType, 12>(payloads, read, errors);
            Arc::new(instants.with_timezone(aquifer_model::sql_type::LTZ_ZONE))
        }
        _ => Arc::new(payloads.clone()),
    }
}

impl PayloadDecoder for RawDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn missing_versions(&self, versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        match self.asks_versions() {
            true => super::versions_not_in(versions, |version| self.kinds.contains_key(version)),
            false => Vec::new(),
        }
    }

    fn add_schema(&mut self, version: SchemaVersion, schema: Option<&TopicSchema>) -> Result<()> {
        if let Some(own) = self.own {
            self.kinds.insert(version.0, kind_for(schema, own));
        }
        Ok(())
    }

    fn decode(&mut self, payloads: &BinaryViewArray, versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        let mut errors = Vec::new();
        let Some(own) = self.own else {
            let options = RecordBatchOptions::new().with_row_count(Some(payloads.len()));
            let rows = RecordBatch::try_new_with_options(Arc::clone(&self.columns), vec![], &options)?;
            return Ok(DecodedPayloads { rows, errors, lossy: Vec::new() });
        };
        let default = self.kinds.get(&[][..]).copied().unwrap_or(own);
        let mut runs: Vec<ArrayRef> = Vec::new();
        if payloads.is_empty() || self.kinds.values().all(|kind| *kind == default) {
            runs.push(self.read(default, payloads, 0, &mut errors)?);
        } else {
            for run in super::runs_of(versions, payloads.len()) {
                let version = if versions.is_null(run.start) { &[] } else { versions.value(run.start) };
                let kind = self.kinds.get(version).copied().unwrap_or(default);
                runs.push(self.read(kind, &payloads.slice(run.start, run.len()), run.start, &mut errors)?);
            }
        }
        let column = match runs.as_slice() {
            [one] => Arc::clone(one),
            several => concat(&several.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
        };
        let rows = RecordBatch::try_new(Arc::clone(&self.columns), vec![column])?;
        Ok(DecodedPayloads { rows, errors, lossy: Vec::new() })
    }
}

/// Writes one value a payload; NULL becomes a message without a value.
pub(super) struct RawEncoder {
    kind: PayloadKind,
    column_type: DataType,
}

impl RawEncoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let own = kind_of(&columns)?;
        let kind = kind_for(topic_schema, own);
        if let Some(schema) = topic_schema
            && type_of(schema.kind).is_some()
            && !matches!(schema.kind, PayloadKind::Bytes | PayloadKind::Other)
            && kind != schema.kind
        {
            return Err(Error::invalid(format!(
                "the topic's schema is {:?}, which a column of {} cannot be written as",
                schema.kind,
                columns.field(0).data_type()
            )));
        }
        let column_type = type_of(kind).ok_or_else(|| Error::internal("a raw kind has a type"))?.to_arrow();
        Ok(Self { kind, column_type })
    }
}

fn write<T: ArrowPrimitiveType, const N: usize>(
    column: &ArrayRef,
    payloads: &mut BinaryBuilder,
    write: fn(T::Native) -> [u8; N],
) {
    for value in column.as_primitive::<T>() {
        match value {
            Some(value) => payloads.append_value(write(value)),
            None => payloads.append_null(),
        }
    }
}

impl PayloadEncoder for RawEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let column = match rows.column(0) {
            column if column.data_type() == &self.column_type => Arc::clone(column),
            column => {
                let options = CastOptions { safe: false, ..Default::default() };
                cast_with_options(column, &self.column_type, &options)
                    .map_err(|error| Error::invalid("a value does not fit the topic's schema").with_source(error))?
            }
        };
        let mut payloads = BinaryBuilder::with_capacity(rows.num_rows(), rows.num_rows() * 8);
        let out = &mut payloads;
        match self.kind {
            PayloadKind::String => column.as_string_view().iter().for_each(|text| out.append_option(text)),
            PayloadKind::Boolean => {
                column.as_boolean().iter().for_each(|value| out.append_option(value.map(|value| [u8::from(value)])));
            }
            PayloadKind::Int8 => write::<Int8Type, 1>(&column, out, i8::to_be_bytes),
            PayloadKind::Int16 => write::<Int16Type, 2>(&column, out, i16::to_be_bytes),
            PayloadKind::Int32 => write::<Int32Type, 4>(&column, out, i32::to_be_bytes),
            PayloadKind::Int64 => write::<Int64Type, 8>(&column, out, i64::to_be_bytes),
            PayloadKind::Float => write::<Float32Type, 4>(&column, out, f32::to_be_bytes),
            PayloadKind::Double => write::<Float64Type, 8>(&column, out, f64::to_be_bytes),
            PayloadKind::Date => {
                write::<Date32Type, 8>(&column, out, |days| (i64::from(days) * DAY_MILLIS).to_be_bytes());
            }
            PayloadKind::LocalDate => write::<Date32Type, 8>(&column, out, |days| i64::from(days).to_be_bytes()),
            PayloadKind::Time => {
                write::<Time32MillisecondType, 8>(&column, out, |millis| i64::from(millis).to_be_bytes());
            }
            PayloadKind::LocalTime => write::<Time64NanosecondType, 8>(&column, out, i64::to_be_bytes),
            PayloadKind::Timestamp => write::<TimestampMillisecondType, 8>(&column, out, i64::to_be_bytes),
            PayloadKind::LocalDateTime => write::<TimestampNanosecondType, 16>(&column, out, |nanos| {
                let (days, rest) = (nanos.div_euclid(DAY_NANOS) as u64, nanos.rem_euclid(DAY_NANOS) as u64);
                ((u128::from(days) << 64) | u128::from(rest)).to_be_bytes()
            }),
            PayloadKind::Instant => write::<TimestampNanosecondType, 12>(&column, out, |nanos| {
                let mut bytes = [0; 12];
                bytes[..8].copy_from_slice(&nanos.div_euclid(SECOND_NANOS).to_be_bytes());
                bytes[8..].copy_from_slice(&(nanos.rem_euclid(SECOND_NANOS) as i32).to_be_bytes());
                bytes
            }),
            _ => {
                let column = cast(&column, &DataType::BinaryView)?;
                column.as_binary_view().iter().for_each(|bytes| out.append_option(bytes));
            }
        }
        Ok(payloads.finish())
    }
}
