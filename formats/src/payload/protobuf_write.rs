//! Columns to Protobuf messages, by the descriptor of the topic's schema.
//!
//! A NULL field is left out; a reader sees the type's default where the field has no presence of its own. Fields come in the order of their numbers.

use aquifer_model::{Error, Result, TopicSchema};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Decimal128Array, Float32Array, Float64Array,
    Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Decimal128Type, Field as Column, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef,
};

use super::PayloadEncoder;
use super::avro_fit::fit;
use super::protobuf_shape::{Field, Kind, Message, Occurs};
use crate::varint::{write_varint, zigzag};

/// Writes messages.
pub(in crate::payload) struct ProtobufEncoder {
    message: Message,
    /// For each field the column that it is written from.
    sources: Vec<Option<usize>>,
}

impl ProtobufEncoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let schema = topic_schema.ok_or_else(|| {
            Error::invalid("Protobuf messages are written by the topic's schema, and it has none: register one first")
        })?;
        let message = Message::of(schema)?;
        for column in columns.fields() {
            let field = message.fields.iter().find(|field| field.name == *column.name());
            let field = field.ok_or_else(|| {
                Error::invalid(format!("the topic's Protobuf message has no field `{}`", column.name()))
            })?;
            known(column.data_type(), &field.sql_type().to_arrow(), column.name())?;
        }
        let sources = message.fields.iter().map(|field| columns.index_of(&field.name).ok()).collect();
        Ok(Self { message, sources })
    }
}

/// Whether every field of a nested row has a place in the message.
fn known(from: &DataType, to: &DataType, path: &str) -> Result<()> {
    match (from, to) {
        (DataType::Struct(from), DataType::Struct(to)) => from.iter().try_for_each(|field| {
            let path = format!("{path}.{}", field.name());
            match to.find(field.name()) {
                Some((_, target)) => known(field.data_type(), target.data_type(), &path),
                None => Err(Error::invalid(format!("the topic's Protobuf message has no field `{path}`"))),
            }
        }),
        (DataType::List(from), DataType::List(to)) | (DataType::Map(from, _), DataType::Map(to, _)) => {
            known(from.data_type(), to.data_type(), path)
        }
        _ => Ok(()),
    }
}

impl PayloadEncoder for ProtobufEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let mut writers = Vec::new();
        for (field, source) in self.message.fields.iter().zip(&self.sources) {
            let Some(source) = source else { continue };
            let natural = Column::new(&field.name, field.sql_type().to_arrow(), true);
            writers.push(Writer::new(field, &fit(rows.column(*source), None, None, &natural)?)?);
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(rows.num_rows() + 1));
        ends.push(0);
        for row in 0..rows.num_rows() {
            for writer in &writers {
                writer.write(row, &mut bytes)?;
            }
            ends.push(i32::try_from(bytes.len()).map_err(|_| Error::invalid("a batch is too large to encode"))?);
        }
        Ok(BinaryArray::new(OffsetBuffer::new(ends.into()), bytes.into(), None))
    }
}

/// A field and its column.
struct Writer<'a> {
    field: &'a Field,
    cells: Cells<'a>,
    nulls: Option<NullBuffer>,
}

enum Cells<'a> {
    Double(Float64Array),
    Float(Float32Array),
    Int(Int32Array),
    BigInt(Int64Array),
    Decimal(Decimal128Array),
    Bool(BooleanArray),
    Text(StringViewArray),
    Bytes(BinaryViewArray),
    Row(Vec<Writer<'a>>),
    /// Where each row's elements end, and they.
    List(OffsetBuffer<i32>, Box<Writer<'a>>),
    /// Where each row's entries end, and they.
    Map(OffsetBuffer<i32>, Vec<Writer<'a>>),
}

impl<'a> Writer<'a> {
    fn new(field: &'a Field, array: &ArrayRef) -> Result<Self> {
        let nulls = array.logical_nulls();
        let inner = |message: &'a Message, columns: &[ArrayRef]| {
            message
                .fields
                .iter()
                .zip(columns)
                .map(|(field, array)| Writer::new(field, array))
                .collect::<Result<Vec<_>>>()
        };
        let cells = match (field.occurs, &field.kind, array.data_type()) {
            (Occurs::Repeated { .. }, _, DataType::List(_)) => {
                let lists = array.as_list::<i32>();
                Cells::List(lists.offsets().clone(), Box::new(Self::of_items(field, lists.values())?))
            }
            (Occurs::Map, Kind::Message(entry), DataType::Map(..)) => {
                let maps = array.as_map();
                Cells::Map(maps.offsets().clone(), inner(entry, maps.entries().columns())?)
            }
            _ => Self::one(field, array)?,
        };
        Ok(Self { field, cells, nulls })
    }

    fn of_items(field: &'a Field, items: &ArrayRef) -> Result<Self> {
        Ok(Self { field, cells: Self::one(field, items)?, nulls: items.logical_nulls() })
    }

    /// The cells of values that are no lists.
    fn one(field: &'a Field, array: &ArrayRef) -> Result<Cells<'a>> {
        Ok(match (&field.kind, array.data_type()) {
            (Kind::Message(message), DataType::Struct(_)) => {
                let columns = array.as_struct().columns();
                let fields = message.fields.iter().zip(columns);
                Cells::Row(fields.map(|(field, array)| Writer::new(field, array)).collect::<Result<_>>()?)
            }
            (_, DataType::Float64) => Cells::Double(array.as_primitive::<Float64Type>().clone()),
            (_, DataType::Float32) => Cells::Float(array.as_primitive::<Float32Type>().clone()),
            (_, DataType::Int32) => Cells::Int(array.as_primitive::<Int32Type>().clone()),
            (_, DataType::Int64) => Cells::BigInt(array.as_primitive::<Int64Type>().clone()),
            (_, DataType::Decimal128(..)) => Cells::Decimal(array.as_primitive::<Decimal128Type>().clone()),
            (_, DataType::Boolean) => Cells::Bool(array.as_boolean().clone()),
            (_, DataType::Utf8View) => Cells::Text(array.as_string_view().clone()),
            (_, DataType::BinaryView) => Cells::Bytes(array.as_binary_view().clone()),
            (_, other) => return Err(Error::internal(format!("the field `{}` is written from {other}", field.name))),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Writes a row's field; NULL is nothing.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.is_null(row) {
            return Ok(());
        }
        match &self.cells {
            Cells::List(ends, items) => {
                let elements = ends[row] as usize..ends[row + 1] as usize;
                if let Some(null) = elements.clone().find(|element| items.is_null(*element)) {
                    let (name, at) = (&self.field.name, null - elements.start + 1);
                    return Err(Error::invalid(format!(
                        "element {at} of `{name}` is NULL, which Protobuf does not have in lists"
                    )));
                }
                match self.field.occurs {
                    Occurs::Repeated { writes_packed: true } if !elements.is_empty() => {
                        with_length(self.field.number, out, |out| {
                            elements.into_iter().try_for_each(|element| items.value(element, out))
                        })
                    }
                    _ => elements.into_iter().try_for_each(|element| items.tagged(element, out)),
                }
            }
            Cells::Map(ends, entry) => (ends[row] as usize..ends[row + 1] as usize).try_for_each(|place| {
                if entry.iter().any(|writer| writer.is_null(place)) {
                    let name = &self.field.name;
                    return Err(Error::invalid(format!(
                        "a value of `{name}` is NULL, which Protobuf does not have in maps"
                    )));
                }
                with_length(self.field.number, out, |out| entry.iter().try_for_each(|writer| writer.write(place, out)))
            }),
            _ => self.tagged(row, out),
        }
    }

    /// Writes a value behind its field's number.
    fn tagged(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match &self.cells {
            Cells::Row(fields) => {
                with_length(self.field.number, out, |out| fields.iter().try_for_each(|field| field.write(row, out)))
            }
            _ => {
                let wire_type = match self.field.kind {
                    Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
                    Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
                    Kind::Text | Kind::Bytes | Kind::Opaque | Kind::Message(_) => 2,
                    _ => 0,
                };
                write_varint(u64::from(self.field.number) << 3 | wire_type, out);
                self.value(row, out)
            }
        }
    }

    /// Writes a value alone.
    fn value(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let kind = &self.field.kind;
        match &self.cells {
            Cells::Double(values) => out.extend_from_slice(&values.value(row).to_le_bytes()),
            Cells::Float(values) => out.extend_from_slice(&values.value(row).to_le_bytes()),
            Cells::Int(values) => match (kind, values.value(row)) {
                (Kind::Sfixed32, value) => out.extend_from_slice(&value.to_le_bytes()),
                (Kind::Sint32, value) => write_varint(zigzag(value.into()), out),
                (_, value) => write_varint(i64::from(value) as u64, out),
            },
            Cells::BigInt(values) => match (kind, values.value(row)) {
                (Kind::Sfixed64, value) => out.extend_from_slice(&value.to_le_bytes()),
                (Kind::Sint64, value) => write_varint(zigzag(value), out),
                (Kind::Uint32, value) => write_varint(self.unsigned::<u32>(value.into())?.into(), out),
                (Kind::Fixed32, value) => out.extend_from_slice(&self.unsigned::<u32>(value.into())?.to_le_bytes()),
                (_, value) => write_varint(value as u64, out),
            },
            Cells::Decimal(values) => {
                let value = self.unsigned::<u64>(values.value(row))?;
                match kind {
                    Kind::Fixed64 => out.extend_from_slice(&value.to_le_bytes()),
                    _ => write_varint(value, out),
                }
            }
            Cells::Bool(values) => out.push(u8::from(values.value(row))),
            Cells::Text(values) => match kind {
                Kind::Enum(names) => {
                    let name = values.value(row);
                    let number = names.number(name).or_else(|| name.parse().ok()).ok_or_else(|| {
                        Error::invalid(format!("`{name}` is no value of the enumeration of `{}`", self.field.name))
                    })?;
                    write_varint(i64::from(number) as u64, out);
                }
                _ => bytes(values.value(row).as_bytes(), out),
            },
            Cells::Bytes(values) => bytes(values.value(row), out),
            Cells::Row(_) | Cells::List(..) | Cells::Map(..) => {
                return Err(Error::internal(format!("the field `{}` has no single value", self.field.name)));
            }
        }
        Ok(())
    }

    fn unsigned<T: TryFrom<i128>>(&self, value: i128) -> Result<T> {
        T::try_from(value)
            .map_err(|_| Error::invalid(format!("{value} does not fit into `{}`, which has no sign", self.field.name)))
    }
}

fn bytes(value: &[u8], out: &mut Vec<u8>) {
    write_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Writes what has a length before it.
fn with_length(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    write_varint(u64::from(number) << 3 | 2, out);
    let start = out.len();
    write(out)?;
    // The length is known now; it is written behind and turned to the front.
    let end = out.len();
    write_varint((end - start) as u64, out);
    let length = out.len() - end;
    out[start..].rotate_right(length);
    Ok(())
}
