//! Records of plain fields, decoded in one pass over their bytes: numbers into columns, texts one behind the other, bytes as views into the payloads.
//!
//! ```text
//!  payload   │ 0x54 0x0e G o o g l e │   ─►   price 42     channel …Google     mark ─► (block, offset 9, length 30)
//! ```
//!
//! The pass proves what the walk of [`super::avro_walk`] proves, but for UTF-8, which is checked of a whole column at the end: text by text that took a
//! quarter of all the time from a broker's entry to rows, more than to copy them. Where anything is wrong, or where a field or a
//! column is not plain, the general decoder takes over: it tells which datum is bad and why.
//!
//! A column's memory serves one batch after the other ([`crate::memory`]).

use std::ops::Range;
use std::sync::Arc;

use apache_avro::Schema as Avro;
use apache_avro::schema::RecordSchema;
use aquifer_model::Result;
use arrow::array::builder::make_view;
use arrow::array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringArray, StringViewArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};

use super::avro_fit::absent;
use super::avro_reader::Reader;
use super::avro_walk::{Shape, Step, Walk};
use crate::memory::Memory;

/// How a field's bytes become a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes,
}

/// One field of the writer's record, in its order.
struct FlatField {
    /// The number of the branch that is null, of a nullable field.
    null: Option<i64>,
    /// The column it goes to and how; `None`: it is passed over.
    to: Option<(usize, Kind)>,
    shape: Arc<Shape>,
}

/// A record of which all wanted fields are plain.
pub(super) struct Flat {
    fields: Vec<FlatField>,
    /// The fields behind the last wanted one are passed over like others: a datum must be whole.
    columns: usize,
}

/// Views up to this length hold their bytes.
const INLINE_BYTES: u32 = 12;

/// The kind of a plain type that a column takes as it is.
fn kind_of(schema: &Avro, column: &DataType) -> Option<Kind> {
    let utc = |zone: &Option<Arc<str>>| zone.as_deref().is_none_or(|zone| matches!(zone, "UTC" | "+00:00"));
    Some(match (schema, column) {
        (Avro::Boolean, DataType::Boolean) => Kind::Boolean,
        // The wider types of Avro's promotions are cast by column at the end.
        (Avro::Int, DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Float64)
        | (Avro::Date, DataType::Date32) => Kind::Int,
        (Avro::Long, DataType::Int64 | DataType::Float32 | DataType::Float64) => Kind::Long,
        (Avro::TimestampMillis | Avro::LocalTimestampMillis, DataType::Timestamp(TimeUnit::Millisecond, zone))
        | (Avro::TimestampMicros | Avro::LocalTimestampMicros, DataType::Timestamp(TimeUnit::Microsecond, zone))
            if utc(zone) =>
        {
            Kind::Long
        }
        (Avro::Float, DataType::Float32 | DataType::Float64) => Kind::Float,
        (Avro::Double, DataType::Float64) => Kind::Double,
        (Avro::String | Avro::Bytes, DataType::Utf8View) => Kind::Text,
        (Avro::Bytes, DataType::BinaryView) => Kind::Bytes,
        _ => return None,
    })
}

/// A field's type without its null, and the number of that branch.
fn nullable(schema: &Avro) -> Option<(&Avro, Option<i64>)> {
    let Avro::Union(union) = schema else { return Some((schema, None)) };
    match union.variants() {
        [Avro::Null, present] => Some((present, Some(0))),
        [present, Avro::Null] => Some((present, Some(1))),
        _ => None,
    }
}

impl Flat {
    /// The plan for a record, of this shape, whose fields `taken` go to the columns; `None` where one is not plain.
    pub fn new(record: &RecordSchema, shape: &Shape, taken: &[Option<usize>], columns: &SchemaRef) -> Option<Self> {
        let Shape::Record(shapes) = shape.resolved() else { return None };
        let mut fields = Vec::with_capacity(record.fields.len());
        for (n, (field, (_, shape))) in record.fields.iter().zip(shapes).enumerate() {
            let mut plan = FlatField { null: None, to: None, shape: Arc::clone(shape) };
            let mut of = taken.iter().zip(columns.fields()).enumerate().filter(|(_, (taken, _))| **taken == Some(n));
            match (of.next(), of.next()) {
                (Some((at, (_, column))), None) => {
                    let (present, null) = nullable(&field.schema)?;
                    plan.null = null;
                    plan.to = Some((at, kind_of(present, column.data_type())?));
                }
                (None, _) => {}
                _ => return None,
            }
            fields.push(plan);
        }
        Some(Self { fields, columns: columns.fields().len() })
    }

    /// Decodes the payloads of `rows`; `None` where one is not whole or not UTF-8 where it should be. NULL payloads give rows of NULLs.
    pub fn decode(
        &self,
        payloads: &BinaryViewArray,
        rows: Range<usize>,
        reader: Option<&Reader>,
        columns: &SchemaRef,
        memories: &mut Vec<ColumnMemory>,
    ) -> Result<Option<RecordBatch>> {
        let count = rows.len();
        let first = rows.start;
        memories.resize_with(self.columns, ColumnMemory::default);
        let mut stores: Vec<Option<Store>> = Vec::with_capacity(self.columns);
        stores.resize_with(self.columns, || None);
        let texts = self.fields.iter().filter(|field| matches!(field.to, Some((_, Kind::Text)))).count();
        // A view begins with its length.
        let bytes: usize = payloads.views()[rows.clone()].iter().map(|view| *view as u32 as usize).sum();
        for (at, kind) in self.fields.iter().filter_map(|field| field.to) {
            stores[at] = Some(Store::new(kind, count, bytes / texts.max(1), &mut memories[at]));
        }
        for row in rows {
            if payloads.is_null(row) {
                stores.iter_mut().flatten().for_each(Store::null);
                continue;
            }
            let datum = payloads.value(row);
            let place = Place::of(payloads.views()[row], datum.len());
            if self.datum(datum, place, &mut stores).is_err() {
                return Ok(None);
            }
        }
        let blocks: Arc<[Buffer]> = payloads.data_buffers().into();
        let mut arrays = Vec::with_capacity(self.columns);
        for ((store, field), memory) in stores.into_iter().zip(columns.fields()).zip(memories) {
            let array = match store {
                Some(store) => store.finish(count, &blocks, field, memory)?,
                None => {
                    let known = reader.and_then(|reader| reader.field(field.name()));
                    let present = || (first..first + count).map(|row| payloads.is_valid(row)).collect::<Vec<_>>();
                    let defaults = known.map(|known| known.default_where(&present())).transpose()?.flatten();
                    Some(defaults.map_or_else(|| absent(field, count), Ok)?)
                }
            };
            let Some(array) = array else { return Ok(None) };
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(columns), arrays, &options)?))
    }

    fn datum(&self, datum: &[u8], place: Place, stores: &mut [Option<Store>]) -> Step<()> {
        let mut walk = Walk::new(datum);
        for field in &self.fields {
            let Some((at, _)) = field.to else {
                walk.value(&field.shape)?;
                continue;
            };
            let Some(store) = &mut stores[at] else { continue };
            if let Some(null) = field.null {
                match walk.branch()? {
                    branch if branch == null => {
                        store.null();
                        continue;
                    }
                    0 | 1 => {}
                    _ => return Err("a union in the Avro datum has no such branch"),
                }
            }
            match &mut store.values {
                Values::Bits(bits) => match walk.take(1)?[0] {
                    bit @ (0 | 1) => bits.push(bit == 1),
                    _ => return Err("a boolean in the Avro datum is neither 0 nor 1"),
                },
                Values::Ints(ints) => {
                    ints.push(i32::try_from(walk.long()?).map_err(|_| "an int in the Avro datum is too large")?);
                }
                Values::Longs(longs) => longs.push(walk.long()?),
                Values::Floats(floats) => floats.push(f32::from_le_bytes(fixed(walk.take(4)?))),
                Values::Doubles(doubles) => doubles.push(f64::from_le_bytes(fixed(walk.take(8)?))),
                Values::Texts { bytes, ends } => {
                    let length = walk.length()?;
                    let rest = walk.rest();
                    walk.take(length)?;
                    add_text(bytes, rest, length);
                    ends.push(i32::try_from(bytes.len()).map_err(|_| "texts of more than 2 GiB")?);
                }
                Values::Views(views) => {
                    let length = walk.length()?;
                    let at = datum.len() - walk.rest().len();
                    views.push(place.view(walk.take(length)?, at));
                }
            }
        }
        if walk.rest().is_empty() { Ok(()) } else { Err("bytes are left after the Avro datum") }
    }
}

/// Adds the first `length` bytes of the rest of a datum. Short texts are copied in a piece of a fixed length, of which what lies behind is taken off again:
/// that needs no call.
#[inline]
fn add_text(bytes: &mut Vec<u8>, rest: &[u8], length: usize) {
    const SHORT: usize = 16;
    const MIDDLE: usize = 64;
    let end = bytes.len() + length;
    match (rest.first_chunk::<SHORT>(), rest.first_chunk::<MIDDLE>()) {
        (Some(piece), _) if length <= SHORT => bytes.extend_from_slice(piece),
        (_, Some(piece)) if length <= MIDDLE => bytes.extend_from_slice(piece),
        _ => bytes.extend_from_slice(&rest[..length]),
    }
    bytes.truncate(end);
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

/// Where a datum lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    block: u32,
    offset: u32,
}

impl Place {
    /// Of a payload's view: length, prefix, block, offset. A short payload lies in its view, and so will all that is in it.
    fn of(view: u128, length: usize) -> Self {
        if length <= INLINE_BYTES as usize {
            Self { block: 0, offset: 0 }
        } else {
            Self { block: (view >> 64) as u32, offset: (view >> 96) as u32 }
        }
    }

    /// The view of bytes that lie so far into the datum.
    fn view(self, bytes: &[u8], at: usize) -> u128 {
        make_view(bytes, self.block, self.offset + at as u32)
    }
}

/// Adds a value, and tells how many there were before it.
fn push<T>(values: &mut Vec<T>, value: T) -> usize {
    values.push(value);
    values.len() - 1
}

/// The memory of a column, from one batch to the next.
#[derive(Debug, Default)]
pub(super) struct ColumnMemory {
    values: Memory,
    /// Of a text column: where each ends.
    ends: Memory,
}

/// A column being filled.
struct Store {
    values: Values,
    /// A flag for each value up to the last NULL; those behind it are there.
    valid: Vec<bool>,
}

enum Values {
    Bits(Vec<bool>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    /// One behind the other, and where each ends, behind a first 0.
    Texts {
        bytes: Vec<u8>,
        ends: Vec<i32>,
    },
    Views(Vec<u128>),
}

impl Store {
    /// `text_bytes`: about so many a text column will have.
    fn new(kind: Kind, rows: usize, text_bytes: usize, memory: &mut ColumnMemory) -> Self {
        let values = &mut memory.values;
        let values = match kind {
            Kind::Boolean => Values::Bits(Vec::with_capacity(rows)),
            Kind::Int => Values::Ints(values.take_empty(rows)),
            Kind::Long => Values::Longs(values.take_empty(rows)),
            Kind::Float => Values::Floats(values.take_empty(rows)),
            Kind::Double => Values::Doubles(values.take_empty(rows)),
            Kind::Text => {
                let mut ends = memory.ends.take_empty(rows + 1);
                ends.push(0);
                Values::Texts { bytes: values.take_empty(text_bytes), ends }
            }
            Kind::Bytes => Values::Views(values.take_empty(rows)),
        };
        Self { values, valid: Vec::new() }
    }

    fn null(&mut self) {
        let before = match &mut self.values {
            Values::Bits(bits) => push(bits, false),
            Values::Ints(ints) => push(ints, 0),
            Values::Longs(longs) => push(longs, 0),
            Values::Floats(floats) => push(floats, 0.0),
            Values::Doubles(doubles) => push(doubles, 0.0),
            Values::Texts { ends, .. } => {
                let end = ends.last().copied().unwrap_or(0);
                push(ends, end) - 1
            }
            Values::Views(views) => push(views, 0),
        };
        self.valid.resize(before, true);
        self.valid.push(false);
    }

    /// The column; `None` where a text is not UTF-8.
    fn finish(
        mut self,
        rows: usize,
        blocks: &Arc<[Buffer]>,
        field: &Field,
        memory: &mut ColumnMemory,
    ) -> Result<Option<ArrayRef>> {
        let nulls = (!self.valid.is_empty()).then(|| {
            self.valid.resize(rows, true);
            NullBuffer::from(self.valid)
        });
        let ColumnMemory { values, ends: memory_of_ends } = memory;
        let array: ArrayRef = match self.values {
            Values::Bits(bits) => Arc::new(BooleanArray::new(BooleanBuffer::from(bits), nulls)),
            Values::Ints(ints) => Arc::new(Int32Array::new(values.lend(ints).into(), nulls)),
            Values::Longs(longs) => Arc::new(Int64Array::new(values.lend(longs).into(), nulls)),
            Values::Floats(floats) => Arc::new(Float32Array::new(values.lend(floats).into(), nulls)),
            Values::Doubles(doubles) => Arc::new(Float64Array::new(values.lend(doubles).into(), nulls)),
            Values::Texts { bytes, ends } => {
                let ends = OffsetBuffer::new(memory_of_ends.lend(ends).into());
                match StringArray::try_new(ends, values.lend(bytes), nulls) {
                    Ok(texts) => Arc::new(StringViewArray::from(&texts)),
                    Err(_) => return Ok(None),
                }
            }
            Values::Views(views) => {
                Arc::new(BinaryViewArray::try_new(values.lend(views).into(), Arc::clone(blocks), nulls)?)
            }
        };
        Ok(Some(if array.data_type() == field.data_type() { array } else { cast(&array, field.data_type())? }))
    }
}
