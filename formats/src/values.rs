//! Reach into a column row by row, by its SQL type: what every writer of text walks over.
//!
//! Arrow types that stand for the same SQL type (dictionaries, 32-bit offsets, unsigned numbers) are brought to one form once a column, so that a
//! row costs a match and no allocation.

use std::sync::Arc;

use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array,
    IntervalMonthDayNanoArray, StringViewArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};

/// A column's NULLs and values.
pub(crate) struct Values {
    nulls: Option<NullBuffer>,
    pub kind: Kind,
}

/// A column's values, by kind.
pub(crate) enum Kind {
    Null,
    Boolean(BooleanArray),
    Integer(Int64Array),
    Float(Float32Array),
    Double(Float64Array),
    Decimal {
        values: Decimal128Array,
        scale: u8,
    },
    Text(StringViewArray),
    /// JSON text.
    Variant(StringViewArray),
    Binary(BinaryViewArray),
    /// Days since 1970.
    Date(Int64Array),
    /// Ticks since midnight.
    Time {
        ticks: Int64Array,
        per_second: i64,
        digits: u8,
    },
    /// Ticks since 1970; `local`: an instant, shown in a zone.
    Timestamp {
        ticks: Int64Array,
        per_second: i64,
        digits: u8,
        local: bool,
    },
    Months(IntervalMonthDayNanoArray),
    Millis(IntervalMonthDayNanoArray),
    Array {
        offsets: OffsetBuffer<i32>,
        items: Box<Values>,
    },
    Map {
        offsets: OffsetBuffer<i32>,
        keys: Box<Values>,
        values: Box<Values>,
    },
    Row {
        fields: Fields,
        values: Vec<Values>,
    },
}

impl Values {
    /// Reaches into `array`, whose type is that of `field`.
    pub fn of(array: &ArrayRef, field: &Field) -> Result<Self> {
        let sql_type = ColumnType::of_field(&field.clone().with_data_type(array.data_type().clone()))?.sql_type;
        let to = |data_type: &DataType| -> Result<ArrayRef> {
            if array.data_type() == data_type { Ok(Arc::clone(array)) } else { Ok(cast(array, data_type)?) }
        };
        let kind = match &sql_type {
            SqlType::Null => Kind::Null,
            SqlType::Boolean => Kind::Boolean(to(&DataType::Boolean)?.as_boolean().clone()),
            SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => Kind::Integer(int64(array)?),
            SqlType::Float => Kind::Float(to(&DataType::Float32)?.as_primitive().clone()),
            SqlType::Double => Kind::Double(to(&DataType::Float64)?.as_primitive().clone()),
            SqlType::Decimal(_, scale) => {
                Kind::Decimal { values: to(&sql_type.to_arrow())?.as_primitive().clone(), scale: *scale }
            }
            SqlType::Variant => Kind::Variant(to(&DataType::Utf8View)?.as_string_view().clone()),
            SqlType::Char(_) | SqlType::Varchar(_) => Kind::Text(to(&DataType::Utf8View)?.as_string_view().clone()),
            SqlType::Binary(_) | SqlType::Varbinary(_) => {
                Kind::Binary(to(&DataType::BinaryView)?.as_binary_view().clone())
            }
            SqlType::Date => Kind::Date(int64(&to(&DataType::Date32)?)?),
            SqlType::Time(digits) => {
                let per_second = ticks_per_second(array.data_type())?;
                Kind::Time { ticks: int64(array)?, per_second, digits: *digits }
            }
            SqlType::Timestamp(digits) | SqlType::TimestampLtz(digits) => Kind::Timestamp {
                per_second: ticks_per_second(array.data_type())?,
                ticks: int64(array)?,
                digits: *digits,
                local: matches!(sql_type, SqlType::TimestampLtz(_)),
            },
            SqlType::IntervalMonths => Kind::Months(interval(array)?),
            SqlType::IntervalMillis => Kind::Millis(interval(array)?),
            SqlType::Array(_) => {
                let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
                    array.data_type()
                else {
                    return Err(odd(array.data_type()));
                };
                let list = to(&DataType::List(Arc::clone(item)))?;
                let list = list.as_list::<i32>();
                Kind::Array { offsets: list.offsets().clone(), items: Box::new(Self::of(list.values(), item)?) }
            }
            SqlType::Map(..) | SqlType::Multiset(_) => {
                let Some(map) = array.as_map_opt() else { return Err(odd(array.data_type())) };
                let fields = map.entries().fields();
                Kind::Map {
                    offsets: map.offsets().clone(),
                    keys: Box::new(Self::of(map.keys(), &fields[0])?),
                    values: Box::new(Self::of(map.values(), &fields[1])?),
                }
            }
            SqlType::Row(_) => {
                let Some(row) = array.as_struct_opt() else { return Err(odd(array.data_type())) };
                let values = row.columns().iter().zip(row.fields()).map(|(column, field)| Self::of(column, field));
                Kind::Row { fields: row.fields().clone(), values: values.collect::<Result<_>>()? }
            }
        };
        Ok(Self { nulls: array.logical_nulls(), kind })
    }

    /// Whether row `row` is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.kind, Kind::Null) || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

fn odd(data_type: &DataType) -> Error {
    Error::unsupported(format!("values of the Arrow type {data_type} have no text"))
}

/// The numbers of integers, dates, times and timestamps.
fn int64(array: &ArrayRef) -> Result<Int64Array> {
    let array = match array.data_type() {
        DataType::Dictionary(_, value) => cast(array, value)?,
        DataType::Time32(_) | DataType::Date32 => cast(array, &DataType::Int32)?,
        _ => Arc::clone(array),
    };
    Ok(cast(&array, &DataType::Int64)?.as_primitive().clone())
}

fn interval(array: &ArrayRef) -> Result<IntervalMonthDayNanoArray> {
    Ok(cast(array, &DataType::Interval(IntervalUnit::MonthDayNano))?.as_primitive().clone())
}

fn ticks_per_second(data_type: &DataType) -> Result<i64> {
    match data_type {
        DataType::Dictionary(_, value) => ticks_per_second(value),
        DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => Ok(match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        }),
        other => Err(odd(other)),
    }
}

/// The items of a row's array or map.
pub(crate) fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

/// The months of an interval.
pub(crate) fn total_months(array: &IntervalMonthDayNanoArray, row: usize) -> i64 {
    i64::from(array.value(row).months)
}

/// The days and time of an interval, in milliseconds.
pub(crate) fn total_millis(array: &IntervalMonthDayNanoArray, row: usize) -> i64 {
    let interval = array.value(row);
    i64::from(interval.days) * 86_400_000 + interval.nanoseconds / 1_000_000
}
