//! CAST and TRY_CAST by Flink's rules: Arrow's cast where it means the same, else ours.
//!
//! | from → to | rule |
//! |---|---|
//! | integer → narrower | wraps, TRY_CAST too |
//! | FLOAT, DOUBLE → integer | truncated, saturated |
//! | anything → DECIMAL | rounded half up; NULL if it does not fit |
//! | text → anything | blanks trimmed; fails if it is none, TRY_CAST gives NULL |
//! | anything → text | `aquifer_formats::text`, then cut or padded to the type's length |
//! | TIMESTAMP ↔ TIMESTAMP_LTZ | by the session's zone |

mod parse;

use std::sync::Arc;

use aquifer_formats::text::{TextStyle, Tz, parse_zone, text_column};
use aquifer_model::sql_type::{ColumnType, MAX_LENGTH};
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray, BooleanArray, Decimal128Array, Int64Array,
    ListArray, MapArray, PrimitiveArray, StringViewArray, StringViewBuilder, StructArray,
};
use arrow::compute::{CastOptions, cast as arrow_cast, cast_with_options};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, i256,
};
use chrono::{LocalResult, Offset, TimeZone};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::session_zone;
use super::types::{exact, is_number, is_text, type_of};
use crate::batch::{external, from_datafusion};

/// CAST, or TRY_CAST, of a bound expression. Fails where Flink has no such cast.
pub fn cast(input: Expr, to: &SqlType, try_cast: bool, schema: &DFSchema) -> Result<Expr> {
    let from = type_of(&input, schema)?;
    if let Expr::Literal(value, _) = &input
        && (value.is_null() || (exact(&from).is_some() && exact(to).is_some()))
        && let Ok(column) = value.to_array()
        && let Ok(column) = cast_column(&column, &from, to, None, try_cast)
        && let Ok(value) = ScalarValue::try_from_array(&column, 0)
    {
        return Ok(Expr::Literal(value, None));
    }
    if from == *to {
        return Ok(input);
    }
    if !exists(&from, to) {
        return Err(Error::invalid(format!("{from} cannot be cast to {to}")));
    }
    let (_, field) = input.to_field(schema).map_err(from_datafusion)?;
    if is_plain(&from, to) {
        if *field.data_type() == to.to_arrow() && is_text(to) {
            return Ok(input);
        }
        let target = ColumnType { sql_type: to.clone(), nullable: field.is_nullable() }.to_field("");
        return Ok(Expr::Cast(Cast::new_from_field(Box::new(input), Arc::new(target))));
    }
    let function = FlinkCast { from, to: to.clone(), try_cast, signature: Signature::any(1, Volatility::Stable) };
    Ok(ScalarUDF::from(function).call(vec![input]))
}

/// Whether Flink has the cast.
fn exists(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::{
        Array, Binary, Boolean, Date, IntervalMillis, IntervalMonths, Map, Multiset, Null, Row, Time, Timestamp,
        TimestampLtz, Varbinary,
    };
    let binary = |one: &SqlType| matches!(one, Binary(_) | Varbinary(_));
    let interval = |one: &SqlType| matches!(one, IntervalMonths | IntervalMillis);
    match (from, to) {
        (Null, _) => true,
        (a, b) if a == b => true,
        (_, b) if is_text(b) => true,
        (a, b) if is_text(a) => {
            is_number(b) || binary(b) || matches!(b, Boolean | Date | Time(_) | Timestamp(_) | TimestampLtz(_))
        }
        (a, b) if is_number(a) && is_number(b) => true,
        (a, Boolean) | (Boolean, a) if is_number(a) => true,
        (a, b) if binary(a) && binary(b) => true,
        (Date, Timestamp(_) | TimestampLtz(_)) => true,
        (Time(_), Time(_) | Timestamp(_) | TimestampLtz(_)) => true,
        (Timestamp(_) | TimestampLtz(_), Date | Time(_) | Timestamp(_) | TimestampLtz(_)) => true,
        (a, b) if interval(a) && interval(b) => a == b,
        (Array(a), Array(b)) | (Multiset(a), Multiset(b)) => exists(&a.sql_type, &b.sql_type),
        (Map(a, x), Map(b, y)) => exists(&a.sql_type, &b.sql_type) && exists(&x.sql_type, &y.sql_type),
        (Row(a), Row(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| exists(&a.column_type.sql_type, &b.column_type.sql_type))
        }
        _ => false,
    }
}

/// Whether Arrow's cast means the same and loses nothing.
fn is_plain(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::{BigInt, Double, Float, Int, SmallInt, TinyInt, Varchar};
    let width = |one: &SqlType| [TinyInt, SmallInt, Int, BigInt].iter().position(|known| known == one);
    match (from, to) {
        (a, b) if width(a).is_some() && width(b).is_some() => width(a) <= width(b),
        (a, Double) if width(a).is_some() => true,
        (TinyInt | SmallInt | Int, Float) | (Float, Double) => true,
        (a, SqlType::Decimal(precision, scale)) => {
            exact(a).is_some_and(|(p, s)| s <= i32::from(*scale) && p - s <= i32::from(*precision) - i32::from(*scale))
        }
        (SqlType::Decimal(..), Double) => true,
        (a, Varchar(length)) if is_text(a) => match a {
            SqlType::Char(own) | Varchar(own) => own <= length,
            _ => false,
        },
        (SqlType::Timestamp(a), SqlType::Timestamp(b)) | (SqlType::TimestampLtz(a), SqlType::TimestampLtz(b)) => a <= b,
        _ => false,
    }
}

/// A cast that Arrow does not do as Flink does.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FlinkCast {
    from: SqlType,
    to: SqlType,
    try_cast: bool,
    signature: Signature,
}

impl ScalarUDFImpl for FlinkCast {
    fn name(&self) -> &str {
        if self.try_cast { "TRY_CAST" } else { "CAST" }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _types: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(self.to.to_arrow())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> datafusion::common::Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable())
            || self.try_cast
            || matches!(self.to, SqlType::Decimal(..));
        Ok(Arc::new(ColumnType { sql_type: self.to.clone(), nullable }.to_field(self.name())))
    }
    fn display_name(&self, args: &[Expr]) -> datafusion::common::Result<String> {
        Ok(format!("{}({} AS {})", self.name(), args.first().map(ToString::to_string).unwrap_or_default(), self.to))
    }
    fn schema_name(&self, args: &[Expr]) -> datafusion::common::Result<String> {
        let input = args.first().map(|arg| arg.schema_name().to_string()).unwrap_or_default();
        Ok(format!("{}({input} AS {})", self.name(), self.to))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let zone = session_zone(&args.config_options).map_err(external)?;
        let input = &args.args[0];
        let one = matches!(input, ColumnarValue::Scalar(_));
        let column = input.to_array(if one { 1 } else { args.number_rows })?;
        let result = cast_column(&column, &self.from, &self.to, zone, self.try_cast).map_err(external)?;
        Ok(if one { ColumnarValue::Scalar(super::scalar::one_value(&result)?) } else { ColumnarValue::Array(result) })
    }
}

/// Casts a column; `zone` is the session's, UTC if there is none. A value that cannot be cast fails with `Invalid`, or is NULL under TRY_CAST.
pub fn cast_column(
    column: &ArrayRef,
    from: &SqlType,
    to: &SqlType,
    zone: Option<Tz>,
    try_cast: bool,
) -> Result<ArrayRef> {
    use SqlType::{
        Array, BigInt, Binary, Boolean, Char, Date, Decimal, Double, Float, Int, Map, Multiset, Null, Row, SmallInt,
        Time, Timestamp, TimestampLtz, TinyInt, Varbinary, Varchar,
    };
    let target = to.to_arrow();
    if *from == Null || column.data_type().is_null() {
        return Ok(arrow::array::new_null_array(&target, column.len()));
    }
    if from == to || is_plain(from, to) {
        return Ok(arrow_cast(column, &target)?);
    }
    match (from, to) {
        (_, Char(length) | Varchar(length)) => {
            let texts =
                if is_text(from) { arrow_cast(column, &DataType::Utf8View)? } else { to_text(column, from, zone)? };
            Ok(fitted(texts.as_string_view(), *length, matches!(to, Char(_))))
        }
        (a, _) if is_text(a) => {
            let texts = arrow_cast(column, &DataType::Utf8View)?;
            parse::column(texts.as_string_view(), to, zone, try_cast)
        }
        (Boolean, number) if is_number(number) => {
            let bits = arrow_cast(column, &DataType::Int32)?;
            cast_column(&bits, &Int, number, zone, try_cast)
        }
        (number, Boolean) if is_number(number) => {
            let doubles = arrow_cast(column, &DataType::Float64)?;
            let bits: BooleanArray =
                doubles.as_primitive::<Float64Type>().iter().map(|x| x.map(|x| x != 0.0)).collect();
            Ok(Arc::new(bits))
        }
        (_, Decimal(precision, scale)) => to_decimal(column, from, *precision, *scale),
        (Float | Double, TinyInt | SmallInt | Int | BigInt) => {
            let doubles = arrow_cast(column, &DataType::Float64)?;
            let doubles = doubles.as_primitive::<Float64Type>();
            // To INT and BIGINT a double saturates; the narrower types take the low bits of that INT.
            Ok(match to {
                BigInt => Arc::new(doubles.unary::<_, Int64Type>(|x| x as i64)),
                Int => Arc::new(doubles.unary::<_, Int32Type>(|x| x as i32)),
                SmallInt => Arc::new(doubles.unary::<_, Int16Type>(|x| x as i32 as i16)),
                _ => Arc::new(doubles.unary::<_, Int8Type>(|x| x as i32 as i8)),
            })
        }
        (Decimal(_, scale), TinyInt | SmallInt | Int | BigInt) => {
            let unit = 10i128.pow(u32::from(*scale));
            let decimals = column.as_primitive::<Decimal128Type>();
            wrapped(decimals.unary::<_, Decimal128Type>(|value| value / unit), to)
        }
        (TinyInt | SmallInt | Int | BigInt, TinyInt | SmallInt | Int | BigInt) => {
            let wide = arrow_cast(column, &DataType::Int64)?;
            wrapped(wide.as_primitive::<Int64Type>().clone(), to)
        }
        (number, Float | Double) if is_number(number) => {
            if matches!((from, to), (Decimal(..), Float)) {
                let doubles = arrow_cast(column, &DataType::Float64)?;
                return Ok(Arc::new(doubles.as_primitive::<Float64Type>().unary::<_, Float32Type>(|x| x as f32)));
            }
            Ok(arrow_cast(column, &target)?)
        }
        (Binary(_) | Varbinary(_), Binary(length) | Varbinary(length)) => {
            Ok(fitted_binary(column, *length, matches!(to, Binary(_)))?)
        }
        (Date | Time(_) | Timestamp(_) | TimestampLtz(_), Date | Time(_) | Timestamp(_) | TimestampLtz(_)) => {
            times(column, from, to, zone)
        }
        (Array(a), Array(b)) => {
            let list = column.as_list::<i32>();
            let values = cast_column(list.values(), &a.sql_type, &b.sql_type, zone, try_cast)?;
            let item = match &target {
                DataType::List(item) => Arc::clone(item),
                _ => Arc::new(Field::new("item", values.data_type().clone(), true)),
            };
            let item = Arc::new(item.as_ref().clone().with_nullable(item.is_nullable() || values.null_count() > 0));
            Ok(Arc::new(ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned())?))
        }
        (Map(a, x), Map(b, y)) => {
            map(column, (&a.sql_type, &x.sql_type), (&b.sql_type, &y.sql_type), &target, zone, try_cast)
        }
        (Multiset(a), Multiset(b)) => map(column, (&a.sql_type, &Int), (&b.sql_type, &Int), &target, zone, try_cast),
        (Row(a), Row(b)) => {
            let DataType::Struct(fields) = &target else { return Err(Error::internal("a row is a structure")) };
            let rows = column.as_struct();
            let columns = rows.columns().iter().zip(a.iter().zip(b)).map(|(column, (a, b))| {
                cast_column(column, &a.column_type.sql_type, &b.column_type.sql_type, zone, try_cast)
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let fields = fields.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
            Ok(Arc::new(StructArray::try_new(fields.into(), columns, rows.nulls().cloned())?))
        }
        _ => Err(Error::invalid(format!("{from} cannot be cast to {to}"))),
    }
}

fn map(
    column: &ArrayRef,
    from: (&SqlType, &SqlType),
    to: (&SqlType, &SqlType),
    target: &DataType,
    zone: Option<Tz>,
    try_cast: bool,
) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = target else { return Err(Error::internal("a map is a map")) };
    let DataType::Struct(fields) = entries.data_type() else { return Err(Error::internal("entries are structures")) };
    let map = column.as_map();
    let keys = cast_column(map.keys(), from.0, to.0, zone, try_cast)?;
    let values = cast_column(map.values(), from.1, to.1, zone, try_cast)?;
    let pairs = StructArray::try_new(fields.clone(), vec![keys, values], map.entries().nulls().cloned())?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), map.offsets().clone(), pairs, map.nulls().cloned(), *sorted)?))
}

/// The low bits of whole numbers.
fn wrapped<T>(values: PrimitiveArray<T>, to: &SqlType) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128>,
{
    Ok(match to {
        SqlType::BigInt => Arc::new(values.unary::<_, Int64Type>(|x| x.into() as i64)),
        SqlType::Int => Arc::new(values.unary::<_, Int32Type>(|x| x.into() as i32)),
        SqlType::SmallInt => Arc::new(values.unary::<_, Int16Type>(|x| x.into() as i16)),
        SqlType::TinyInt => Arc::new(values.unary::<_, Int8Type>(|x| x.into() as i8)),
        other => return Err(Error::internal(format!("{other} is no integer"))),
    })
}

/// Rounded half up; NULL where it does not fit.
fn to_decimal(column: &ArrayRef, from: &SqlType, precision: u8, scale: u8) -> Result<ArrayRef> {
    let limit = 10i128.pow(u32::from(precision));
    let fits = |value: i128| value.unsigned_abs() < limit.unsigned_abs();
    let values: Decimal128Array = match exact(from) {
        Some((_, own)) => {
            let digits = DataType::Decimal128(38, own as i8);
            let column = arrow_cast(column, &digits)?;
            let shift = i32::from(scale) - own;
            let rescaled = |value: i128| -> Option<i128> {
                let value = i256::from_i128(value);
                let unit =
                    (0..shift.unsigned_abs()).try_fold(i256::ONE, |unit, _| unit.checked_mul(i256::from_i128(10)))?;
                let result = if shift >= 0 {
                    value.checked_mul(unit)?
                } else {
                    let half = unit.checked_div(i256::from_i128(2))?;
                    let away = if value.is_negative() { value.checked_sub(half)? } else { value.checked_add(half)? };
                    away.checked_div(unit)?
                };
                result.to_i128()
            };
            column.as_primitive::<Decimal128Type>().iter().map(|x| x.and_then(rescaled).filter(|x| fits(*x))).collect()
        }
        None => {
            // The shortest text that reads back, as Java makes a decimal of a double.
            let doubles = arrow_cast(column, &DataType::Float64)?;
            let of = |x: f64| parse::decimal(&format!("{x}"), precision, scale).flatten();
            doubles.as_primitive::<Float64Type>().iter().map(|x| x.and_then(of)).collect()
        }
    };
    Ok(Arc::new(values.with_precision_and_scale(precision, scale as i8)?))
}

fn to_text(column: &ArrayRef, from: &SqlType, zone: Option<Tz>) -> Result<ArrayRef> {
    let field = from.clone().nullable().to_field("");
    let column = if column.data_type() == field.data_type() {
        Arc::clone(column)
    } else {
        arrow_cast(column, field.data_type())?
    };
    let style = TextStyle::cast(match zone {
        Some(zone) => zone,
        None => parse_zone("UTC")?,
    });
    Ok(Arc::new(text_column(&column, &field, &style)?))
}

/// Texts cut to a length in characters, and padded to it.
fn fitted(texts: &StringViewArray, length: u32, pad: bool) -> ArrayRef {
    if length == MAX_LENGTH {
        return Arc::new(texts.clone());
    }
    let length = length as usize;
    let mut fitted = StringViewBuilder::with_capacity(texts.len());
    for text in texts {
        let Some(text) = text else {
            fitted.append_null();
            continue;
        };
        let count = text.chars().count();
        if count > length {
            fitted.append_value(text.chars().take(length).collect::<String>());
        } else if pad && count < length {
            fitted.append_value(format!("{text}{}", " ".repeat(length - count)));
        } else {
            fitted.append_value(text);
        }
    }
    Arc::new(fitted.finish())
}

fn fitted_binary(column: &ArrayRef, length: u32, pad: bool) -> Result<ArrayRef> {
    let column = arrow_cast(column, &DataType::BinaryView)?;
    let length = length as usize;
    let fit = |bytes: &[u8]| {
        let mut bytes = bytes[..bytes.len().min(length)].to_vec();
        if pad {
            bytes.resize(length, 0);
        }
        bytes
    };
    let bytes: BinaryViewArray = column.as_binary_view().iter().map(|bytes| bytes.map(fit)).collect();
    Ok(Arc::new(bytes))
}

const DAY: i128 = 86_400_000_000_000;

/// Dates, times of day and timestamps into each other, by nanoseconds; digits that the target has not are cut.
fn times(column: &ArrayRef, from: &SqlType, to: &SqlType, zone: Option<Tz>) -> Result<ArrayRef> {
    let unit = |one: &SqlType| -> i128 {
        match one.to_arrow() {
            DataType::Date32 => DAY,
            DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            },
            _ => 1,
        }
    };
    let digits = |one: &SqlType| match one {
        SqlType::Time(p) | SqlType::Timestamp(p) | SqlType::TimestampLtz(p) => 10i128.pow(9 - u32::from(*p)),
        _ => 1,
    };
    let column =
        if *column.data_type() == from.to_arrow() { Arc::clone(column) } else { arrow_cast(column, &from.to_arrow())? };
    let ticks = match from.to_arrow() {
        DataType::Date32 | DataType::Time32(_) => {
            arrow_cast(&arrow_cast(&column, &DataType::Int32)?, &DataType::Int64)?
        }
        _ => arrow_cast(&column, &DataType::Int64)?,
    };
    let is_ltz = |one: &SqlType| matches!(one, SqlType::TimestampLtz(_));
    let far = || Error::invalid(format!("a value of {from} is out of the range of {to}"));
    let (own, wanted, cut) = (unit(from), unit(to), digits(to));
    let convert = |tick: i64| -> Result<i64> {
        let mut nanos = i128::from(tick) * own;
        if let Some(zone) = zone {
            if is_ltz(from) && !is_ltz(to) {
                nanos += offset_at_instant(nanos, zone).ok_or_else(far)?;
            } else if !is_ltz(from) && is_ltz(to) {
                nanos -= offset_at_wall(nanos, zone).ok_or_else(far)?;
            }
        }
        let nanos = match to {
            SqlType::Date => nanos.div_euclid(DAY) * DAY,
            SqlType::Time(_) => nanos.rem_euclid(DAY),
            _ => nanos,
        };
        // Toward the past, before 1970 too.
        let kept = nanos.div_euclid(cut) * cut;
        let kept = if matches!(to, SqlType::Date) { nanos } else { kept };
        i64::try_from(kept.div_euclid(wanted)).map_err(|_| far())
    };
    let ticks: Int64Array = ticks.as_primitive::<Int64Type>().try_unary(convert)?;
    let ticks: ArrayRef = Arc::new(ticks);
    let target = to.to_arrow();
    Ok(match &target {
        DataType::Date32 | DataType::Time32(_) => {
            let narrow = CastOptions { safe: false, ..CastOptions::default() };
            arrow_cast(&cast_with_options(&ticks, &DataType::Int32, &narrow)?, &target)?
        }
        DataType::Timestamp(unit, Some(_)) => {
            let plain = arrow_cast(&ticks, &DataType::Timestamp(*unit, None))?;
            // The instants are in UTC already: only the type is changed.
            let data = plain.to_data().into_builder().data_type(target.clone()).build()?;
            arrow::array::make_array(data)
        }
        _ => arrow_cast(&ticks, &target)?,
    })
}

/// What a zone's clocks are ahead of UTC at an instant, in nanoseconds.
pub(crate) fn offset_at_instant(nanos: i128, zone: Tz) -> Option<i128> {
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    let utc = chrono::DateTime::from_timestamp(seconds, 0)?.naive_utc();
    Some(i128::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * 1_000_000_000)
}

/// The same at a time on the zone's clocks: in a gap as if it were not, in an overlap the first.
pub(crate) fn offset_at_wall(nanos: i128, zone: Tz) -> Option<i128> {
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    let local = chrono::DateTime::from_timestamp(seconds, 0)?.naive_utc();
    let offset = match zone.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => offset,
        LocalResult::None => zone.offset_from_utc_datetime(&local.checked_sub_signed(chrono::TimeDelta::days(1))?),
    };
    Some(i128::from(offset.fix().local_minus_utc()) * 1_000_000_000)
}
