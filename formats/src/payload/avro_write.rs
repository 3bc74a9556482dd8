//! Writes Avro datums: a walk over the schema and the columns beside each other, row by row into one buffer.
//!
//! Every schema that a topic can have is written: unions in any order and of several types, enums, fixed sizes, decimals in bytes. A field that the
//! table does not have gets the schema's default, else null; where the schema has neither, making the encoder fails.

use std::collections::HashMap;

use apache_avro::Schema as Avro;
use apache_avro::schema::{InnerDecimalSchema, Name, RecordSchema, UuidSchema};
use apache_avro::types::Value;
use aquifer_model::{Error, Result, TopicSchema};
use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::SchemaRef;

use super::avro_fit::cast_column;
use super::{PayloadEncoder, avro_schema};
use crate::values::{Kind, Values, range};
use crate::varint::{write_varint, zigzag};

/// Writes datums.
pub(crate) struct AvroEncoder {
    fields: Vec<Part>,
    /// The columns that the schema's fields are written from.
    columns: SchemaRef,
    /// Whether the payload is a value by itself.
    bare: bool,
}

/// A field of the record.
enum Part {
    /// From the column with this index.
    Column(usize, Shape),
    /// Always these bytes.
    Fixed(Vec<u8>),
}

/// How a value is written.
#[derive(Debug, Clone)]
enum Shape {
    Null,
    Boolean,
    Integer,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    /// Big-endian, as few bytes as it takes.
    Decimal,
    /// Big-endian, this many bytes.
    FixedDecimal(usize),
    Array(Box<Shape>),
    Map(Box<Shape>),
    /// Null's branch, the other's, and it.
    Nullable(u8, u8, Box<Shape>),
    /// Null's branch; the branches of a ROW's fields, in order.
    Union(Option<u8>, Vec<(u8, Shape)>),
    /// The fields of a ROW, in order.
    Record(Vec<Shape>),
}

impl AvroEncoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let topic_schema = topic_schema.ok_or_else(|| {
            Error::invalid("a topic without a schema cannot be written as Avro; register one, or use 'format' = 'json'")
        })?;
        let avro = avro_schema::parse(&topic_schema.definition)?;
        let written = avro_schema::stored_columns(&topic_schema.definition)?;
        let mut named = HashMap::new();
        let Avro::Record(record) = &avro else {
            let fields = vec![Part::Column(0, Shape::of(&avro, &mut named, 0)?)];
            return Ok(Self { fields, columns: written, bare: true });
        };
        let shape = Shape::of_record(record, &mut named, 0)?;
        let mut fields = Vec::with_capacity(record.fields.len());
        for (n, (field, shape)) in record.fields.iter().zip(shape).enumerate() {
            if columns.index_of(&field.name).is_ok() {
                fields.push(Part::Column(n, shape));
                continue;
            }
            let absent = default_bytes(field, &shape)?;
            let missing = || Error::invalid(format!("the topic's schema needs a value for `{}`", field.name));
            fields.push(Part::Fixed(absent.ok_or_else(missing)?));
        }
        Ok(Self { fields, columns: written, bare: false })
    }
}

/// What is written for a field that the table does not have.
fn default_bytes(field: &apache_avro::schema::RecordField, shape: &Shape) -> Result<Option<Vec<u8>>> {
    if let Some(default) = &field.default {
        let value = Value::try_from(default.clone()).and_then(|value| value.resolve(&field.schema));
        let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&field.schema).build();
        if let (Ok(value), Ok(writer)) = (value, writer)
            && let Ok(bytes) = writer.write_value_to_vec(value)
        {
            return Ok(Some(bytes));
        }
    }
    let mut bytes = Vec::new();
    Ok(match shape {
        Shape::Nullable(null, ..) | Shape::Union(Some(null), _) => {
            long(i64::from(*null), &mut bytes);
            Some(bytes)
        }
        Shape::Null => Some(bytes),
        _ => None,
    })
}

impl Shape {
    fn of_record(record: &RecordSchema, named: &mut HashMap<Name, Shape>, depth: usize) -> Result<Vec<Shape>> {
        record.fields.iter().map(|field| Shape::of(&field.schema, named, depth + 1)).collect()
    }

    fn of(schema: &Avro, named: &mut HashMap<Name, Shape>, depth: usize) -> Result<Self> {
        if depth > avro_schema::MAX_DEPTH {
            return Err(Error::invalid("an Avro schema is nested too deeply"));
        }
        let mut keep = |name: &Name, shape: Shape| {
            named.insert(name.clone(), shape.clone());
            shape
        };
        Ok(match schema {
            Avro::Null => Shape::Null,
            Avro::Boolean => Shape::Boolean,
            Avro::Int
            | Avro::Long
            | Avro::Date
            | Avro::TimeMillis
            | Avro::TimeMicros
            | Avro::TimestampMillis
            | Avro::TimestampMicros
            | Avro::TimestampNanos
            | Avro::LocalTimestampMillis
            | Avro::LocalTimestampMicros
            | Avro::LocalTimestampNanos => Shape::Integer,
            Avro::Float => Shape::Float,
            Avro::Double => Shape::Double,
            Avro::Bytes | Avro::BigDecimal | Avro::Uuid(UuidSchema::Bytes) => Shape::Bytes,
            Avro::String | Avro::Uuid(UuidSchema::String) => Shape::Text,
            Avro::Uuid(UuidSchema::Fixed(fixed)) | Avro::Duration(fixed) | Avro::Fixed(fixed) => {
                keep(&fixed.name, Shape::Fixed(fixed.size))
            }
            Avro::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Shape::Decimal,
                InnerDecimalSchema::Fixed(fixed) => keep(&fixed.name, Shape::FixedDecimal(fixed.size)),
            },
            Avro::Enum(symbols) => keep(&symbols.name, Shape::Enum(symbols.symbols.clone())),
            Avro::Array(array) => Shape::Array(Box::new(Self::of(&array.items, named, depth + 1)?)),
            Avro::Map(map) => Shape::Map(Box::new(Self::of(&map.types, named, depth + 1)?)),
            Avro::Union(union) => {
                let variants = union.variants();
                let branch =
                    |n: usize| u8::try_from(n).map_err(|_| Error::unsupported("an Avro union of more than 256 types"));
                let null = variants.iter().position(|v| matches!(v, Avro::Null)).map(branch).transpose()?;
                let mut others = Vec::new();
                for (n, variant) in variants.iter().enumerate().filter(|(_, v)| !matches!(v, Avro::Null)) {
                    others.push((branch(n)?, Self::of(variant, named, depth + 1)?));
                }
                match (null, others.len()) {
                    (Some(null), 1) => {
                        let (other, shape) = others.remove(0);
                        Shape::Nullable(null, other, Box::new(shape))
                    }
                    (Some(_), 0) => Shape::Nullable(0, 0, Box::new(Shape::Null)),
                    _ => Shape::Union(null, others),
                }
            }
            Avro::Record(record) => {
                let shape = Shape::Record(Self::of_record(record, named, depth)?);
                named.insert(record.name.clone(), shape.clone());
                shape
            }
            Avro::Ref { name } => named
                .get(name)
                .cloned()
                .ok_or_else(|| Error::unsupported(format!("the Avro type `{name}` contains itself")))?,
        })
    }
}

impl PayloadEncoder for AvroEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let mut parts = Vec::with_capacity(self.fields.len());
        for part in &self.fields {
            parts.push(match part {
                Part::Column(index, shape) => {
                    let field = self.columns.field(*index);
                    let column = match self.bare {
                        true => rows.columns().first(),
                        false => rows.column_by_name(field.name()),
                    };
                    let array = column.ok_or_else(|| {
                        Error::internal(format!("the rows to encode have no column `{}`", field.name()))
                    })?;
                    if !field.is_nullable() && array.null_count() > 0 {
                        return Err(Error::invalid(format!(
                            "column `{}` is NOT NULL in the topic's schema, and a row has NULL",
                            field.name()
                        )));
                    }
                    let array = cast_column(array, field.data_type(), field.name())?;
                    (Ok((Values::of(&array, field)?, shape)), field.name().as_str())
                }
                Part::Fixed(bytes) => (Err(bytes), ""),
            });
        }
        let mut datums = Vec::new();
        let mut ends = Vec::with_capacity(rows.num_rows() + 1);
        ends.push(0);
        for row in 0..rows.num_rows() {
            for (part, name) in &parts {
                match part {
                    Ok((values, shape)) => write(shape, values, row, &mut datums)
                        .map_err(|error| error.context(format_args!("column `{name}`")))?,
                    Err(bytes) => datums.extend_from_slice(bytes),
                }
            }
            ends.push(i32::try_from(datums.len()).map_err(|_| Error::invalid("a batch is too large to encode"))?);
        }
        Ok(BinaryArray::new(OffsetBuffer::new(ends.into()), datums.into(), None))
    }
}

fn long(value: i64, out: &mut Vec<u8>) {
    write_varint(zigzag(value), out);
}

fn block(bytes: &[u8], out: &mut Vec<u8>) {
    long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

fn write(shape: &Shape, values: &Values, row: usize, out: &mut Vec<u8>) -> Result<()> {
    let is_null = values.is_null(row);
    match shape {
        Shape::Nullable(null, other, inner) => {
            if is_null {
                long(i64::from(*null), out);
                return Ok(());
            }
            long(i64::from(*other), out);
            return write(inner, values, row, out);
        }
        Shape::Union(Some(null), _) if is_null => {
            long(i64::from(*null), out);
            return Ok(());
        }
        Shape::Null => return Ok(()),
        _ if is_null => return Err(Error::invalid("the topic's schema takes no NULL here, and a row has one")),
        _ => {}
    }
    match (shape, &values.kind) {
        (Shape::Boolean, Kind::Boolean(array)) => out.push(u8::from(array.value(row))),
        (Shape::Integer, Kind::Integer(array) | Kind::Date(array)) => long(array.value(row), out),
        (Shape::Integer, Kind::Time { ticks, .. } | Kind::Timestamp { ticks, .. }) => long(ticks.value(row), out),
        (Shape::Float, Kind::Float(array)) => out.extend_from_slice(&array.value(row).to_le_bytes()),
        (Shape::Double, Kind::Double(array)) => out.extend_from_slice(&array.value(row).to_le_bytes()),
        (Shape::Bytes, Kind::Binary(array)) => block(array.value(row), out),
        (Shape::Text, Kind::Text(array)) => block(array.value(row).as_bytes(), out),
        (Shape::Fixed(size), Kind::Binary(array)) => {
            let bytes = array.value(row);
            if bytes.len() != *size {
                return Err(Error::invalid(format!(
                    "the topic's schema takes exactly {size} bytes, and a row has {}",
                    bytes.len()
                )));
            }
            out.extend_from_slice(bytes);
        }
        (Shape::Enum(symbols), Kind::Text(array)) => {
            let text = array.value(row);
            let symbol = symbols.iter().position(|symbol| symbol == text).ok_or_else(|| {
                Error::invalid(format!("`{text}` is no symbol of the topic's enum ({})", symbols.join(", ")))
            })?;
            long(symbol as i64, out);
        }
        (Shape::Decimal, Kind::Decimal { values, .. }) => {
            let bytes = values.value(row).to_be_bytes();
            block(&bytes[sign_bytes(&bytes)..], out);
        }
        (Shape::FixedDecimal(size), Kind::Decimal { values, .. }) => {
            let number = values.value(row);
            let bytes = number.to_be_bytes();
            let least = bytes.len() - sign_bytes(&bytes);
            if least > *size {
                return Err(Error::invalid(format!("a decimal does not fit the {size} bytes of the topic's schema")));
            }
            let sign = if number < 0 { 0xff } else { 0 };
            out.extend(std::iter::repeat_n(sign, size.saturating_sub(bytes.len())));
            out.extend_from_slice(&bytes[bytes.len().saturating_sub(*size)..]);
        }
        (Shape::Array(inner), Kind::Array { offsets, items }) => {
            let range = range(offsets, row);
            if !range.is_empty() {
                long(range.len() as i64, out);
                for item in range {
                    write(inner, items, item, out)?;
                }
            }
            out.push(0);
        }
        (Shape::Map(inner), Kind::Map { offsets, keys, values }) => {
            let range = range(offsets, row);
            if !range.is_empty() {
                long(range.len() as i64, out);
                for item in range {
                    write(&Shape::Text, keys, item, out)?;
                    write(inner, values, item, out)?;
                }
            }
            out.push(0);
        }
        (Shape::Union(_, branches), Kind::Row { values, .. }) => {
            let mut given = values.iter().zip(branches).filter(|(column, _)| !column.is_null(row));
            let (Some((column, (branch, inner))), None) = (given.next(), given.next()) else {
                return Err(Error::invalid("of the fields of a union exactly one has a value"));
            };
            long(i64::from(*branch), out);
            write(inner, column, row, out)?;
        }
        (Shape::Record(parts), Kind::Row { fields, values }) => {
            for ((inner, column), field) in parts.iter().zip(values).zip(fields) {
                write(inner, column, row, out)
                    .map_err(|error| error.context(format_args!("field `{}`", field.name())))?;
            }
        }
        _ => return Err(Error::internal("a column does not have the type of the Avro schema it is written by")),
    }
    Ok(())
}

/// How many leading bytes only repeat the sign.
fn sign_bytes(bytes: &[u8; 16]) -> usize {
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
    let is_spare = |n: &usize| bytes[*n] == sign && (bytes[n + 1] & 0x80 == 0) == (sign == 0);
    (0..15).take_while(is_spare).count()
}
