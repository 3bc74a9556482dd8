//! Raw payloads: the whole payload is the one column: text, bytes, or a big-endian primitive as Pulsar's own schemas write it.

use std::sync::Arc;

use aquifer_model::{Error, PayloadKind, Result, SchemaVersion, TopicSchema};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BinaryViewArray, BooleanArray, PrimitiveArray, RecordBatch,
    StringViewBuilder,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    SchemaRef,
};

use super::{DecodedPayloads, PayloadDecoder, PayloadEncoder, PayloadError};

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
        other => return Err(Error::unsupported(format!("the format `raw` cannot hold {other}; use avro or json"))),
    })
}

/// Reads one value a payload.
pub(super) struct RawDecoder {
    columns: SchemaRef,
    kind: Option<PayloadKind>,
}

impl RawDecoder {
    pub fn new(columns: SchemaRef) -> Result<Self> {
        // No column at all is a projection to nothing: rows are only counted.
        let kind = if columns.fields().is_empty() { None } else { Some(kind_of(&columns)?) };
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        Ok(Self { columns: Arc::new(Schema::new(fields)), kind })
    }
}

fn primitives<T: ArrowPrimitiveType, const N: usize>(
    payloads: &BinaryViewArray,
    read: fn([u8; N]) -> T::Native,
    errors: &mut Vec<PayloadError>,
) -> ArrayRef {
    let values = payloads.iter().enumerate().map(|(row, payload)| {
        let payload = payload?;
        let value = payload.try_into().ok().map(read);
        if value.is_none() {
            errors.push(PayloadError {
                row,
                reason: format!("the payload has {} bytes, it should have {N}", payload.len()),
            });
        }
        value
    });
    Arc::new(values.collect::<PrimitiveArray<T>>())
}

impl PayloadDecoder for RawDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn missing_versions(&self, _versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        Vec::new()
    }

    fn add_schema(&mut self, _version: SchemaVersion, _schema: Option<&TopicSchema>) -> Result<()> {
        Ok(())
    }

    fn decode(&mut self, payloads: &BinaryViewArray, _versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        let mut errors = Vec::new();
        let column: ArrayRef = match self.kind {
            None => {
                let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(payloads.len()));
                let rows = RecordBatch::try_new_with_options(Arc::clone(&self.columns), vec![], &options)?;
                return Ok(DecodedPayloads { rows, errors });
            }
            Some(PayloadKind::String) => {
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
            Some(PayloadKind::Boolean) => {
                let values = payloads.iter().enumerate().map(|(row, payload)| match payload? {
                    [0] => Some(false),
                    [1] => Some(true),
                    _ => {
                        errors.push(PayloadError { row, reason: "the payload is no boolean".into() });
                        None
                    }
                });
                Arc::new(values.collect::<BooleanArray>())
            }
            Some(PayloadKind::Int8) => primitives::<Int8Type, 1>(payloads, i8::from_be_bytes, &mut errors),
            Some(PayloadKind::Int16) => primitives::<Int16Type, 2>(payloads, i16::from_be_bytes, &mut errors),
            Some(PayloadKind::Int32) => primitives::<Int32Type, 4>(payloads, i32::from_be_bytes, &mut errors),
            Some(PayloadKind::Int64) => primitives::<Int64Type, 8>(payloads, i64::from_be_bytes, &mut errors),
            Some(PayloadKind::Float) => primitives::<Float32Type, 4>(payloads, f32::from_be_bytes, &mut errors),
            Some(PayloadKind::Double) => primitives::<Float64Type, 8>(payloads, f64::from_be_bytes, &mut errors),
            Some(_) => Arc::new(payloads.clone()),
        };
        Ok(DecodedPayloads { rows: RecordBatch::try_new(Arc::clone(&self.columns), vec![column])?, errors })
    }
}

/// Writes one value a payload; NULL becomes an empty payload.
pub(super) struct RawEncoder {
    kind: PayloadKind,
}

impl RawEncoder {
    pub fn new(columns: SchemaRef) -> Result<Self> {
        Ok(Self { kind: kind_of(&columns)? })
    }
}

impl PayloadEncoder for RawEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let column = rows.column(0);
        let mut payloads = BinaryBuilder::with_capacity(rows.num_rows(), rows.num_rows() * 8);
        for row in 0..rows.num_rows() {
            if column.is_null(row) {
                payloads.append_value([]);
                continue;
            }
            match self.kind {
                PayloadKind::String => payloads.append_value(column.as_string_view().value(row)),
                PayloadKind::Boolean => payloads.append_value([u8::from(column.as_boolean().value(row))]),
                PayloadKind::Int8 => payloads.append_value(column.as_primitive::<Int8Type>().value(row).to_be_bytes()),
                PayloadKind::Int16 => {
                    payloads.append_value(column.as_primitive::<Int16Type>().value(row).to_be_bytes())
                }
                PayloadKind::Int32 => {
                    payloads.append_value(column.as_primitive::<Int32Type>().value(row).to_be_bytes())
                }
                PayloadKind::Int64 => {
                    payloads.append_value(column.as_primitive::<Int64Type>().value(row).to_be_bytes())
                }
                PayloadKind::Float => {
                    payloads.append_value(column.as_primitive::<Float32Type>().value(row).to_be_bytes())
                }
                PayloadKind::Double => {
                    payloads.append_value(column.as_primitive::<Float64Type>().value(row).to_be_bytes())
                }
                _ => payloads.append_value(column.as_binary_view().value(row)),
            }
        }
        Ok(payloads.finish())
    }
}
