//! What the table's own schema says of fields that a message's version lacks or names otherwise: defaults and aliases, by Avro's rules of resolution.
//!
//! ```text
//!  message (writer)   {a, old}         old: found by its alias     gone: not read
//!  table   (reader)   {a, new ("old"), added = 7}                  added: 7 in every row
//! ```
//!
//! A name counts before an alias. A field without a default is NULL where it lacks.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema as Avro;
use apache_avro::schema::{Name, RecordSchema, UuidSchema};
use aquifer_model::{Error, Result};
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, ListArray, MapArray, StringArray, StructArray, Time32MillisecondArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt32Array, new_empty_array,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Fields};
use serde_json::Value;

use super::avro_fit::{absent, cast_column};
use super::avro_schema::branch_names;

/// The reader's view of a type, as deep as its column goes.
#[derive(Debug, Clone)]
pub(super) enum Reader {
    Record(Vec<ReaderField>),
    Array(Box<Reader>),
    Map(Box<Reader>),
    /// By the branches' names.
    Union(Vec<(String, Reader)>),
    Plain,
}

/// A field of a record that the table has.
#[derive(Debug, Clone)]
pub(super) struct ReaderField {
    name: String,
    aliases: Vec<String>,
    /// One row, of the column's type; `None`: NULL.
    default: Option<ArrayRef>,
    inner: Reader,
}

impl Reader {
    /// The reader's view of a schema that gives these columns. A schema that is no record is the column by itself.
    ///
    /// # Errors
    /// A default that is no value of its field's type.
    pub fn new(schema: &Avro, columns: &Fields) -> Result<Self> {
        let Avro::Record(record) = schema else { return Ok(Self::Plain) };
        let mut names = HashMap::new();
        name_types(schema, &mut names);
        Self::record(record, columns, &names)
    }

    fn record(record: &RecordSchema, columns: &Fields, names: &HashMap<Name, &Avro>) -> Result<Self> {
        let mut fields = Vec::new();
        for field in &record.fields {
            let Some((_, column)) = columns.find(&field.name) else { continue };
            let default = match &field.default {
                None | Some(Value::Null) => None,
                Some(default) => Some(constant(&field.schema, default, column, names).map_err(|error| {
                    error.context(format_args!("the default of field `{}` in the topic's Avro schema", field.name))
                })?),
            };
            fields.push(ReaderField {
                name: field.name.clone(),
                aliases: field.aliases.clone(),
                default,
                inner: Self::of(&field.schema, column.data_type(), names)?,
            });
        }
        Ok(Self::Record(fields))
    }

    /// Without the fields that may be null.
    pub fn never_null(self, schema: &Avro) -> Self {
        let (Self::Record(mut fields), Avro::Record(record)) = (self, schema) else { return Self::Plain };
        fields.retain(|known| {
            let field = record.fields.iter().find(|field| field.name == known.name);
            field.is_some_and(|field| !matches!(field.schema, Avro::Union(_)))
        });
        Self::Record(fields)
    }

    /// Ends where the column does, so a type that contains itself is no danger.
    fn of(schema: &Avro, column: &DataType, names: &HashMap<Name, &Avro>) -> Result<Self> {
        Ok(match (present(schema, names), column) {
            (Avro::Record(record), DataType::Struct(fields)) => Self::record(record, fields, names)?,
            (Avro::Array(array), DataType::List(item)) => {
                Self::Array(Box::new(Self::of(&array.items, item.data_type(), names)?))
            }
            (Avro::Map(map), DataType::Map(entries, _)) => match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => {
                    Self::Map(Box::new(Self::of(&map.types, pair[1].data_type(), names)?))
                }
                _ => Self::Plain,
            },
            (Avro::Union(union), DataType::Struct(fields)) => {
                let branches = branch_names(union.variants()).into_iter().zip(union.variants());
                let branches = branches.filter_map(|(name, branch)| {
                    let (_, field) = fields.find(&name)?;
                    Some(Self::of(branch, field.data_type(), names).map(|reader| (name, reader)))
                });
                Self::Union(branches.collect::<Result<_>>()?)
            }
            _ => Self::Plain,
        })
    }

    pub fn field(&self, name: &str) -> Option<&ReaderField> {
        match self {
            Self::Record(fields) => fields.iter().find(|field| field.name == name),
            _ => None,
        }
    }

    pub fn branch(&self, name: &str) -> Option<&Reader> {
        match self {
            Self::Union(branches) => branches.iter().find(|(branch, _)| branch == name).map(|(_, reader)| reader),
            _ => None,
        }
    }
}

impl ReaderField {
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    pub fn inner(&self) -> &Reader {
        &self.inner
    }

    /// The default where the flag is set, elsewhere NULL; `None` where there is none.
    pub fn default_where(&self, wanted: &[bool]) -> Result<Option<ArrayRef>> {
        let Some(default) = &self.default else { return Ok(None) };
        let from: UInt32Array = wanted.iter().map(|wanted| wanted.then_some(0)).collect();
        Ok(Some(take(default, &from, None)?))
    }
}

/// The name by which a writer has the field of this name: its own, or one of its aliases.
pub(super) fn source<'a>(reader: Option<&'a Reader>, name: &'a str, has: impl Fn(&str) -> bool) -> Option<&'a str> {
    if has(name) {
        return Some(name);
    }
    reader?.field(name)?.aliases.iter().map(String::as_str).find(|alias| has(alias))
}

/// A column of a field that the writer lacks: the reader's default, or NULL.
pub(super) fn lacking(reader: Option<&Reader>, column: &Field, rows: usize) -> Result<ArrayRef> {
    match reader.and_then(|reader| reader.field(column.name())?.default.as_ref()) {
        Some(default) => Ok(take(default, &UInt32Array::from(vec![0; rows]), None)?),
        None => absent(column, rows),
    }
}

/// Collects what names stand for.
pub(super) fn name_types<'a>(schema: &'a Avro, names: &mut HashMap<Name, &'a Avro>) {
    if !matches!(schema, Avro::Ref { .. })
        && let Some(name) = schema.name()
    {
        names.insert(name.clone(), schema);
    }
    match schema {
        Avro::Record(record) => record.fields.iter().for_each(|field| name_types(&field.schema, names)),
        Avro::Array(array) => name_types(&array.items, names),
        Avro::Map(map) => name_types(&map.types, names),
        Avro::Union(union) => union.variants().iter().for_each(|branch| name_types(branch, names)),
        _ => {}
    }
}

/// A type without its name and its null; a union of several others stays one.
pub(super) fn present<'a>(schema: &'a Avro, names: &HashMap<Name, &'a Avro>) -> &'a Avro {
    match schema {
        Avro::Ref { name } => names.get(name).copied().unwrap_or(schema),
        Avro::Union(union) => {
            let mut others = union.variants().iter().filter(|branch| !matches!(branch, Avro::Null));
            match (others.next(), others.next()) {
                (Some(one), None) => present(one, names),
                _ => schema,
            }
        }
        other => other,
    }
}

fn no_value(schema: &Avro, value: &Value) -> Error {
    Error::invalid(format!(
        "`{value}` is no value of the Avro type {:?}",
        apache_avro::schema::SchemaKind::from(schema)
    ))
}

/// A default as one row of a column. Bytes are written as text, a character a byte.
fn constant(schema: &Avro, value: &Value, to: &Field, names: &HashMap<Name, &Avro>) -> Result<ArrayRef> {
    let wrong = || no_value(schema, value);
    let long = || value.as_i64().ok_or_else(wrong);
    let int = || i32::try_from(long()?).map_err(|_| wrong());
    let double = || value.as_f64().ok_or_else(wrong);
    let text = || value.as_str().ok_or_else(wrong);
    let bytes = || {
        let bytes = text()?.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| wrong()));
        bytes.collect::<Result<Vec<u8>>>()
    };
    let array: ArrayRef = match schema {
        Avro::Null if value.is_null() => return Ok(new_null_array(to.data_type(), 1)),
        Avro::Null => return Err(wrong()),
        Avro::Boolean => Arc::new(BooleanArray::from(vec![value.as_bool().ok_or_else(wrong)?])),
        Avro::Int => Arc::new(Int32Array::from(vec![int()?])),
        Avro::Date => Arc::new(Date32Array::from(vec![int()?])),
        Avro::TimeMillis => Arc::new(Time32MillisecondArray::from(vec![int()?])),
        Avro::Long => Arc::new(Int64Array::from(vec![long()?])),
        Avro::TimeMicros => Arc::new(Time64MicrosecondArray::from(vec![long()?])),
        Avro::TimestampMillis | Avro::LocalTimestampMillis => {
            Arc::new(TimestampMillisecondArray::from(vec![long()?]).with_timezone_opt(zone_of(to)))
        }
        Avro::TimestampMicros | Avro::LocalTimestampMicros => {
            Arc::new(TimestampMicrosecondArray::from(vec![long()?]).with_timezone_opt(zone_of(to)))
        }
        Avro::TimestampNanos | Avro::LocalTimestampNanos => {
            Arc::new(TimestampNanosecondArray::from(vec![long()?]).with_timezone_opt(zone_of(to)))
        }
        Avro::Float => Arc::new(Float32Array::from(vec![double()? as f32])),
        Avro::Double => Arc::new(Float64Array::from(vec![double()?])),
        Avro::String | Avro::Enum(_) | Avro::Uuid(UuidSchema::String) => Arc::new(StringArray::from(vec![text()?])),
        Avro::Bytes | Avro::BigDecimal | Avro::Fixed(_) | Avro::Duration(_) | Avro::Uuid(_) => {
            Arc::new(BinaryArray::from(vec![bytes()?.as_slice()]))
        }
        Avro::Decimal(decimal) => {
            let bytes = bytes()?;
            let first = *bytes.first().ok_or_else(wrong)?;
            let sign = if first >= 0x80 { u8::MAX } else { 0 };
            let mut whole = [sign; 16];
            let rest = bytes.len().saturating_sub(whole.len());
            if bytes[..rest].iter().any(|byte| *byte != sign) {
                return Err(wrong());
            }
            let kept = &bytes[rest..];
            whole[16 - kept.len()..].copy_from_slice(kept);
            let (precision, scale) = (u8::try_from(decimal.precision), i8::try_from(decimal.scale));
            let (Ok(precision), Ok(scale)) = (precision, scale) else { return Err(wrong()) };
            let unscaled = Decimal128Array::from(vec![i128::from_be_bytes(whole)]);
            Arc::new(unscaled.with_precision_and_scale(precision, scale)?)
        }
        Avro::Array(array) => {
            let DataType::List(item) = to.data_type() else { return Err(wrong()) };
            let values = value.as_array().ok_or_else(wrong)?;
            let items = values.iter().map(|value| constant(&array.items, value, item, names)).collect::<Result<_>>()?;
            let offsets = OffsetBuffer::from_lengths([values.len()]);
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, joined(items, item.data_type())?, None)?)
        }
        Avro::Map(map) => {
            let DataType::Map(entries, sorted) = to.data_type() else { return Err(wrong()) };
            let DataType::Struct(pair) = entries.data_type() else { return Err(wrong()) };
            let values = value.as_object().ok_or_else(wrong)?;
            let keys: ArrayRef = Arc::new(StringArray::from_iter_values(values.keys()));
            let keys = cast_column(&keys, pair[0].data_type(), to.name())?;
            let items = values.values().map(|value| constant(&map.types, value, &pair[1], names));
            let items = joined(items.collect::<Result<_>>()?, pair[1].data_type())?;
            let pairs = StructArray::try_new(pair.clone(), vec![keys, items], None)?;
            let offsets = OffsetBuffer::from_lengths([values.len()]);
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, None, *sorted)?)
        }
        Avro::Record(record) => {
            let DataType::Struct(fields) = to.data_type() else { return Err(wrong()) };
            let values = value.as_object().ok_or_else(wrong)?;
            let columns = fields.iter().map(|column| {
                let field = record.fields.iter().find(|field| field.name == *column.name()).ok_or_else(wrong)?;
                let value = values.get(&field.name).or(field.default.as_ref()).ok_or_else(wrong)?;
                constant(&field.schema, value, column, names)
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, 1)?)
        }
        Avro::Union(union) => {
            // A default is of the first branch; since Avro 1.12 of any.
            let others = union.variants().iter().filter(|branch| !matches!(branch, Avro::Null)).count();
            if value.is_null() || others == 0 {
                return Ok(new_null_array(to.data_type(), 1));
            }
            for (branch, name) in union.variants().iter().zip(branch_names(union.variants())) {
                if matches!(branch, Avro::Null) {
                    continue;
                }
                if others == 1 {
                    return constant(branch, value, to, names);
                }
                let DataType::Struct(fields) = to.data_type() else { return Err(wrong()) };
                let Some((at, field)) = fields.find(&name) else { continue };
                let Ok(one) = constant(branch, value, field, names) else { continue };
                let mut columns: Vec<ArrayRef> =
                    fields.iter().map(|field| new_null_array(field.data_type(), 1)).collect();
                columns[at] = one;
                return Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, 1)?));
            }
            return Err(wrong());
        }
        Avro::Ref { name } => {
            let found = names.get(name).ok_or_else(wrong)?;
            return constant(found, value, to, names);
        }
    };
    cast_column(&array, to.data_type(), to.name())
}

/// The zone of a column, so that a count since the epoch is cast as one.
fn zone_of(to: &Field) -> Option<Arc<str>> {
    match to.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}

fn joined(rows: Vec<ArrayRef>, to: &DataType) -> Result<ArrayRef> {
    if rows.is_empty() {
        return Ok(new_empty_array(to));
    }
    let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
    Ok(concat(&rows)?)
}
