//! Functions of times. Fields of a TIMESTAMP_LTZ are those of the session's wall clock.

mod pattern;

use std::sync::Arc;

use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Volatility;

use super::super::casts::{cast_column, offset_at_instant, offset_at_wall};
use super::super::types::common_type;
use super::{Call, Kernel, pure, want};

type Types<'a> = &'a [SqlType];
type Literals<'a> = &'a [Option<&'a ScalarValue>];
type Typed = Option<(Vec<SqlType>, SqlType)>;

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;

fn extract_t(types: Types<'_>, literals: Literals<'_>) -> Typed {
    let [unit, time] = types else { return None };
    let unit_name = literals.first().copied().flatten().and_then(text_of);
    let fits = match (time, unit_name.as_deref()) {
        // A time of day has no date's fields, a date no clock's.
        (SqlType::Time(_), Some(name)) => {
            matches!(name, "HOUR" | "MINUTE" | "SECOND" | "MILLISECOND" | "MICROSECOND" | "NANOSECOND")
        }
        _ => true,
    };
    (want::is_text(unit) && want::is_time(time) && fits).then(|| (vec![SqlType::STRING, time.clone()], SqlType::BigInt))
}

fn text_of(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => Some(text.to_ascii_uppercase()),
        _ => None,
    }
}

fn field_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [time] if want::is_moment(time) => Some((vec![time.clone()], SqlType::BigInt)),
        _ => None,
    }
}

fn clock_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [time] if want::is_time(time) && *time != SqlType::Date => Some((vec![time.clone()], SqlType::BigInt)),
        _ => None,
    }
}

fn format_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [time, format] if want::is_text(format) => match time {
            SqlType::Timestamp(_) | SqlType::TimestampLtz(_) | SqlType::Date => {
                Some((vec![time.clone(), SqlType::STRING], SqlType::STRING))
            }
            text if want::is_text(text) => Some((vec![SqlType::STRING; 2], SqlType::STRING)),
            _ => None,
        },
        _ => None,
    }
}

fn to_date_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["s", "ss"], SqlType::Date)
}

fn to_timestamp_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["s", "ss"], SqlType::Timestamp(3))
}

fn to_ltz_t(types: Types<'_>, literals: Literals<'_>) -> Typed {
    let digits = match literals.get(1).copied().flatten() {
        Some(ScalarValue::Int64(Some(n))) => u8::try_from(*n).ok()?,
        Some(ScalarValue::Int32(Some(n))) => u8::try_from(*n).ok()?,
        _ => 3,
    };
    match types {
        [number] | [number, _] if want::is_number(number) && types.iter().skip(1).all(want::is_integer) => {
            let mut wanted = vec![if want::is_integer(number) { SqlType::BigInt } else { SqlType::Double }];
            wanted.extend(types.get(1).map(|_| SqlType::BigInt));
            // Seconds (0) have milliseconds too, as in Flink.
            Some((wanted, SqlType::TimestampLtz(digits.max(3))))
        }
        _ => want::any_of(types, &["s", "ss", "sss"], SqlType::TimestampLtz(3)),
    }
}

fn from_unix_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["i", "is"], SqlType::STRING)
}

fn unix_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    if types.is_empty() {
        return Some((Vec::new(), SqlType::BigInt));
    }
    want::any_of(types, &["s", "ss"], SqlType::BigInt)
}

fn add_t(types: Types<'_>, literals: Literals<'_>) -> Typed {
    let [unit, count, time] = types else { return None };
    let unit_name = literals.first().copied().flatten().and_then(text_of);
    let of_a_day = matches!(unit_name.as_deref(), Some("HOUR" | "MINUTE" | "SECOND" | "MILLISECOND" | "MICROSECOND"));
    let result = match time {
        SqlType::Date if of_a_day => SqlType::Timestamp(6),
        other => other.clone(),
    };
    (want::is_text(unit) && want::is_integer(count) && want::is_moment(time))
        .then(|| (vec![SqlType::STRING, SqlType::BigInt, time.clone()], result))
}

fn diff_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    let [unit, from, to] = types else { return None };
    (want::is_text(unit) && want::is_moment(from) && want::is_moment(to))
        .then(|| (vec![SqlType::STRING, from.clone(), to.clone()], SqlType::Int))
}

fn overlaps_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    let fits = types.len() == 4 && types.iter().all(want::is_time);
    let both = |a: usize, b: usize| common_type(&[types[a].clone(), types[b].clone()]);
    // Two pairs of one kind: days with days, instants with instants.
    (fits && both(0, 2).is_some() && both(0, 1).is_some() && both(2, 3).is_some())
        .then(|| (types.to_vec(), SqlType::Boolean))
}

fn convert_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["sss"], SqlType::STRING)
}

macro_rules! none {
    ($name:ident, $result:expr) => {
        fn $name(types: Types<'_>, _: Literals<'_>) -> Typed {
            types.is_empty().then(|| (Vec::new(), $result))
        }
    };
}

none!(now_t, SqlType::TimestampLtz(3));
none!(local_t, SqlType::Timestamp(3));
none!(date_t, SqlType::Date);
none!(time_t, SqlType::Time(0));

/// A function of the moment at which it is computed, which is one for all rows of a batch.
const fn of_now(
    name: &'static str,
    usage: &'static str,
    typing: super::Typing,
    run: fn(&[ArrayRef], &Call<'_>) -> Result<ArrayRef>,
) -> Kernel {
    Kernel { name, usage, typing, volatility: Volatility::Volatile, run }
}

pub(super) const KERNELS: &[Kernel] = &[
    pure("EXTRACT", "EXTRACT(unit FROM time)", extract_t, |a, call| {
        let unit = one_text(&a[0])?;
        fields(&a[1], call, 1, &unit)
    }),
    pure("YEAR", "YEAR(date)", field_t, |a, call| fields(&a[0], call, 0, "YEAR")),
    pure("QUARTER", "QUARTER(date)", field_t, |a, call| fields(&a[0], call, 0, "QUARTER")),
    pure("MONTH", "MONTH(date)", field_t, |a, call| fields(&a[0], call, 0, "MONTH")),
    pure("WEEK", "WEEK(date)", field_t, |a, call| fields(&a[0], call, 0, "WEEK")),
    pure("DAYOFYEAR", "DAYOFYEAR(date)", field_t, |a, call| fields(&a[0], call, 0, "DOY")),
    pure("DAYOFMONTH", "DAYOFMONTH(date)", field_t, |a, call| fields(&a[0], call, 0, "DAY")),
    pure("DAYOFWEEK", "DAYOFWEEK(date)", field_t, |a, call| fields(&a[0], call, 0, "DOW")),
    pure("HOUR", "HOUR(timestamp)", clock_t, |a, call| fields(&a[0], call, 0, "HOUR")),
    pure("MINUTE", "MINUTE(timestamp)", clock_t, |a, call| fields(&a[0], call, 0, "MINUTE")),
    pure("SECOND", "SECOND(timestamp)", clock_t, |a, call| fields(&a[0], call, 0, "SECOND")),
    pure("DATE_FORMAT", "DATE_FORMAT(timestamp, format)", format_t, date_format),
    pure("TO_DATE", "TO_DATE(text[, format])", to_date_t, |a, _| to_date(a)),
    pure("TO_TIMESTAMP", "TO_TIMESTAMP(text[, format])", to_timestamp_t, |a, _| to_timestamp(a, |nanos, _| Ok(nanos))),
    pure(
        "TO_TIMESTAMP_LTZ",
        "TO_TIMESTAMP_LTZ(number, digits) or TO_TIMESTAMP_LTZ(text[, format[, zone]])",
        to_ltz_t,
        to_ltz,
    ),
    pure("FROM_UNIXTIME", "FROM_UNIXTIME(seconds[, format])", from_unix_t, from_unix),
    of_now("UNIX_TIMESTAMP", "UNIX_TIMESTAMP([text[, format]])", unix_t, unix_timestamp),
    pure("TIMESTAMPADD", "TIMESTAMPADD(unit, count, time)", add_t, timestamp_add),
    pure("TIMESTAMPDIFF", "TIMESTAMPDIFF(unit, from, to)", diff_t, timestamp_diff),
    pure("$OVERLAPS", "(start, end) OVERLAPS (start, end)", overlaps_t, overlaps),
    pure("CONVERT_TZ", "CONVERT_TZ(text, zone, zone)", convert_t, |a, _| convert_tz(a)),
    of_now("NOW", "NOW()", now_t, |_, call| of_nanos(&vec![Some(now()); call.rows], call.result.data_type())),
    of_now("CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP", now_t, |_, call| {
        of_nanos(&vec![Some(now()); call.rows], call.result.data_type())
    }),
    of_now("CURRENT_ROW_TIMESTAMP", "CURRENT_ROW_TIMESTAMP()", now_t, |_, call| {
        of_nanos(&vec![Some(now()); call.rows], call.result.data_type())
    }),
    of_now("PROCTIME", "PROCTIME()", now_t, |_, call| of_nanos(&vec![Some(now()); call.rows], call.result.data_type())),
    of_now("LOCALTIMESTAMP", "LOCALTIMESTAMP", local_t, |_, call| local_now(call, |nanos| nanos)),
    of_now("CURRENT_DATE", "CURRENT_DATE", date_t, |_, call| local_now(call, |nanos| nanos)),
    of_now("CURRENT_TIME", "CURRENT_TIME", time_t, |_, call| {
        local_now(call, |nanos| nanos.rem_euclid(DAY) / SECOND * SECOND)
    }),
    of_now("LOCALTIME", "LOCALTIME", time_t, |_, call| {
        local_now(call, |nanos| nanos.rem_euclid(DAY) / SECOND * SECOND)
    }),
];

fn now() -> i128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i128 * 1_000_000)
}

fn local_now(call: &Call<'_>, of: impl Fn(i128) -> i128) -> Result<ArrayRef> {
    let instant = now();
    let wall = match call.zone {
        Some(zone) => instant + offset_at_instant(instant, zone).unwrap_or_default(),
        None => instant,
    };
    of_nanos(&vec![Some(of(wall)); call.rows], call.result.data_type())
}

fn one_text(column: &ArrayRef) -> Result<String> {
    let texts = column.as_string_view();
    let found = texts.iter().flatten().next().map(str::to_ascii_uppercase);
    found.or_else(|| texts.is_empty().then(String::new)).ok_or_else(|| Error::invalid("a unit of time is expected"))
}

/// Times on the wall clock, in nanoseconds; times of day since midnight.
fn wall(column: &ArrayRef, call: &Call<'_>, argument: usize) -> Result<Vec<Option<i128>>> {
    let from = ColumnType::of_field(&call.fields[argument])?.sql_type;
    let nanos = nanos_of(column)?;
    let is_instant = matches!(from, SqlType::TimestampLtz(_));
    let far = || Error::invalid("a time is out of the calendar's range");
    nanos
        .into_iter()
        .map(|value| match (value, call.zone, is_instant) {
            (Some(value), Some(zone), true) => Ok(Some(value + offset_at_instant(value, zone).ok_or_else(far)?)),
            (value, ..) => Ok(value),
        })
        .collect()
}

fn nanos_of(column: &ArrayRef) -> Result<Vec<Option<i128>>> {
    let unit: i128 = match column.data_type() {
        DataType::Date32 => DAY,
        DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => match unit {
            arrow::datatypes::TimeUnit::Second => SECOND,
            arrow::datatypes::TimeUnit::Millisecond => 1_000_000,
            arrow::datatypes::TimeUnit::Microsecond => 1_000,
            arrow::datatypes::TimeUnit::Nanosecond => 1,
        },
        DataType::Null => return Ok(vec![None; column.len()]),
        other => return Err(Error::internal(format!("{other} is no time"))),
    };
    let ticks = match column.data_type() {
        DataType::Date32 | DataType::Time32(_) => cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(column, &DataType::Int64)?,
    };
    Ok(ticks.as_primitive::<Int64Type>().iter().map(|tick| tick.map(|tick| i128::from(tick) * unit)).collect())
}

/// Nanoseconds as a column of this type; fails where one is out of its range.
fn of_nanos(values: &[Option<i128>], to: &DataType) -> Result<ArrayRef> {
    let unit: i128 = match to {
        DataType::Date32 => DAY,
        DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => match unit {
            arrow::datatypes::TimeUnit::Second => SECOND,
            arrow::datatypes::TimeUnit::Millisecond => 1_000_000,
            arrow::datatypes::TimeUnit::Microsecond => 1_000,
            arrow::datatypes::TimeUnit::Nanosecond => 1,
        },
        other => return Err(Error::internal(format!("{other} is no time"))),
    };
    let far = || Error::invalid("a time is out of the range of its type");
    let ticks = values.iter().map(|value| match value {
        None => Ok(None),
        Some(value) => i64::try_from(value.div_euclid(unit)).map(Some).map_err(|_| far()),
    });
    let ticks: ArrayRef = Arc::new(ticks.collect::<Result<Int64Array>>()?);
    Ok(match to {
        DataType::Date32 | DataType::Time32(_) => cast(&cast(&ticks, &DataType::Int32)?, to)?,
        _ => arrow::array::make_array(ticks.to_data().into_builder().data_type(to.clone()).build()?),
    })
}

fn calendar(nanos: i128) -> Result<NaiveDateTime> {
    let far = || Error::invalid("a time is out of the calendar's range");
    let seconds = i64::try_from(nanos.div_euclid(SECOND)).map_err(|_| far())?;
    let rest = nanos.rem_euclid(SECOND) as u32;
    Ok(chrono::DateTime::from_timestamp(seconds, rest).ok_or_else(far)?.naive_utc())
}

fn to_nanos(time: NaiveDateTime) -> i128 {
    let utc = time.and_utc();
    i128::from(utc.timestamp()) * SECOND + i128::from(utc.timestamp_subsec_nanos())
}

fn fields(column: &ArrayRef, call: &Call<'_>, argument: usize, unit: &str) -> Result<ArrayRef> {
    let read: fn(&NaiveDateTime) -> i64 = match unit {
        "YEAR" => |t| t.year().into(),
        "QUARTER" => |t| i64::from((t.month() - 1) / 3 + 1),
        "MONTH" => |t| t.month().into(),
        "WEEK" => |t| t.iso_week().week().into(),
        "DAY" => |t| t.day().into(),
        "DOY" => |t| t.ordinal().into(),
        "DOW" => |t| i64::from(t.weekday().num_days_from_sunday() + 1),
        "ISODOW" => |t| t.weekday().number_from_monday().into(),
        "ISOYEAR" => |t| t.iso_week().year().into(),
        "HOUR" => |t| t.hour().into(),
        "MINUTE" => |t| t.minute().into(),
        "SECOND" => |t| t.second().into(),
        "MILLISECOND" => |t| i64::from(t.nanosecond() / 1_000_000),
        "MICROSECOND" => |t| i64::from(t.nanosecond() / 1_000),
        "NANOSECOND" => |t| t.nanosecond().into(),
        "EPOCH" => |t| t.and_utc().timestamp(),
        "DECADE" => |t| i64::from(t.year()).div_euclid(10),
        "CENTURY" => |t| (i64::from(t.year()) + 99).div_euclid(100),
        "MILLENNIUM" => |t| (i64::from(t.year()) + 999).div_euclid(1000),
        other => return Err(Error::invalid(format!("a time has no field `{other}`"))),
    };
    let found = wall(column, call, argument)?.into_iter().map(|value| match value {
        None => Ok(None),
        Some(value) => calendar(value).map(|time| Some(read(&time))),
    });
    Ok(Arc::new(found.collect::<Result<Int64Array>>()?))
}

/// FLOOR and CEIL of a time to a unit.
pub(super) fn floor(columns: &[ArrayRef], call: &Call<'_>, up: bool) -> Result<ArrayRef> {
    let unit = one_text(&columns[1])?;
    let from = ColumnType::of_field(&call.fields[0])?.sql_type;
    let is_instant = matches!(from, SqlType::TimestampLtz(_));
    let far = || Error::invalid("a time is out of the calendar's range");
    let step = |time: i128| -> Result<i128> {
        let fixed = match unit.as_str() {
            "NANOSECOND" => 1,
            "MICROSECOND" => 1_000,
            "MILLISECOND" => 1_000_000,
            "SECOND" => SECOND,
            "MINUTE" => 60 * SECOND,
            "HOUR" => 3600 * SECOND,
            "DAY" => DAY,
            _ => 0,
        };
        if fixed > 0 {
            let down = time.div_euclid(fixed) * fixed;
            return Ok(if up && down != time { down + fixed } else { down });
        }
        let day = calendar(time)?.date();
        let first = |year: i32, month: u32| NaiveDate::from_ymd_opt(year, month, 1).ok_or_else(far);
        let next = |year: i32, month: u32| if month > 12 { first(year + 1, month - 12) } else { first(year, month) };
        let (down, after) = match unit.as_str() {
            "WEEK" => {
                let back = day.weekday().num_days_from_sunday();
                let down = day.checked_sub_days(chrono::Days::new(back.into())).ok_or_else(far)?;
                (down, down.checked_add_days(chrono::Days::new(7)).ok_or_else(far)?)
            }
            "MONTH" => (first(day.year(), day.month())?, next(day.year(), day.month() + 1)?),
            "QUARTER" => {
                let month = (day.month() - 1) / 3 * 3 + 1;
                (first(day.year(), month)?, next(day.year(), month + 3)?)
            }
            "YEAR" => (first(day.year(), 1)?, first(day.year() + 1, 1)?),
            "DECADE" => {
                let year = day.year().div_euclid(10) * 10;
                (first(year, 1)?, first(year + 10, 1)?)
            }
            "CENTURY" | "MILLENNIUM" => {
                let years = if unit == "CENTURY" { 100 } else { 1000 };
                let year = (day.year() - 1).div_euclid(years) * years + 1;
                (first(year, 1)?, first(year + years, 1)?)
            }
            other => return Err(Error::invalid(format!("a time is not rounded to `{other}`"))),
        };
        let nanos = |day: NaiveDate| to_nanos(day.and_time(chrono::NaiveTime::MIN));
        Ok(if up && nanos(down) != time { nanos(after) } else { nanos(down) })
    };
    let instants = nanos_of(&columns[0])?;
    let found = wall(&columns[0], call, 0)?.into_iter().enumerate().map(|(row, value)| match value {
        None => Ok(None),
        Some(value) => {
            let mut time = step(value)?;
            if let (true, Some(instant)) = (is_instant, instants[row]) {
                // As Flink has it: what the clocks were ahead at the instant itself, also where they were set between it and the floor.
                time -= value - instant;
            }
            Ok(Some(time))
        }
    });
    of_nanos(&found.collect::<Result<Vec<_>>>()?, call.result.data_type())
}

fn date_format(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let times = if columns[0].data_type() == &DataType::Utf8View {
        nanos_of(&cast_column(&columns[0], &SqlType::STRING, &SqlType::Timestamp(9), None, true)?)?
    } else {
        wall(&columns[0], call, 0)?
    };
    format_all(&times, Some(&columns[1]), "")
}

fn format_all(times: &[Option<i128>], formats: Option<&ArrayRef>, default: &str) -> Result<ArrayRef> {
    let formats = formats.map(|column| column.as_string_view());
    let mut prepared: Option<(String, pattern::Pattern)> = None;
    let texts = times.iter().enumerate().map(|(row, time)| {
        let format = match formats {
            None => default,
            Some(formats) if formats.is_null(row) => return Ok(None),
            Some(formats) => formats.value(row),
        };
        let Some(time) = time else { return Ok(None) };
        if prepared.as_ref().is_none_or(|(known, _)| known != format) {
            prepared = Some((format.to_string(), pattern::Pattern::new(format)?));
        }
        let time = calendar(*time)?;
        Ok(prepared.as_ref().map(|(_, pattern)| pattern.format(&time)))
    });
    Ok(Arc::new(texts.collect::<Result<StringViewArray>>()?))
}

/// Texts read by a format, or by Flink's default forms. What does not fit is NULL.
fn parsed(columns: &[ArrayRef]) -> Result<Vec<Option<i128>>> {
    let formats = columns.get(1).map(|column| column.as_string_view());
    let mut prepared: Option<(String, pattern::Pattern)> = None;
    let default = pattern::Pattern::new("yyyy-MM-dd HH:mm:ss")?;
    columns[0]
        .as_string_view()
        .iter()
        .enumerate()
        .map(|(row, text)| {
            let Some(text) = text else { return Ok(None) };
            match formats {
                None => Ok(pattern::lenient(text).or_else(|| default.parse(text)).map(to_nanos)),
                Some(formats) if formats.is_null(row) => Ok(None),
                Some(formats) => {
                    let format = formats.value(row);
                    if prepared.as_ref().is_none_or(|(known, _)| known != format) {
                        prepared = Some((format.to_string(), pattern::Pattern::new(format)?));
                    }
                    Ok(prepared.as_ref().and_then(|(_, pattern)| pattern.parse(text)).map(to_nanos))
                }
            }
        })
        .collect()
}

fn to_date(columns: &[ArrayRef]) -> Result<ArrayRef> {
    if columns.len() == 1 {
        return cast_column(&columns[0], &SqlType::STRING, &SqlType::Date, None, true);
    }
    of_nanos(&parsed(columns)?, &DataType::Date32)
}

fn to_timestamp(columns: &[ArrayRef], of: impl Fn(i128, usize) -> Result<i128>) -> Result<ArrayRef> {
    let times = parsed(&columns[..columns.len().min(2)])?;
    let times = times.into_iter().enumerate().map(|(row, time)| time.map(|time| of(time, row)).transpose());
    of_nanos(&times.collect::<Result<Vec<_>>>()?, &SqlType::Timestamp(3).to_arrow())
}

fn to_ltz(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    if columns[0].data_type() == &DataType::Utf8View {
        // A text without a zone is read as UTC.
        let zones = columns.get(2).map(|column| column.as_string_view());
        let far = || Error::invalid("a time is out of the calendar's range");
        let plain = to_timestamp(columns, |nanos, row| match zones {
            Some(zones) if zones.is_valid(row) => {
                let zone = aquifer_formats::text::parse_zone(zones.value(row))?;
                Ok(nanos - offset_at_wall(nanos, zone).ok_or_else(far)?)
            }
            _ => Ok(nanos),
        })?;
        return Ok(arrow::array::make_array(
            plain.to_data().into_builder().data_type(call.result.data_type().clone()).build()?,
        ));
    }
    let digits = match columns.get(1) {
        Some(digits) => digits.as_primitive::<Int64Type>().iter().flatten().next().unwrap_or(3),
        None => 3,
    };
    let unit: i128 = match digits {
        0 => SECOND,
        3 => 1_000_000,
        other => {
            return Err(Error::invalid(format!(
                "TO_TIMESTAMP_LTZ(number, digits) takes 0 (seconds) or 3 (milliseconds), not {other}"
            )));
        }
    };
    let values: Vec<Option<i128>> = if columns[0].data_type() == &DataType::Float64 {
        let doubles = columns[0].as_primitive::<arrow::datatypes::Float64Type>();
        doubles.iter().map(|x| x.map(|x| (x * unit as f64) as i128)).collect()
    } else {
        columns[0].as_primitive::<Int64Type>().iter().map(|x| x.map(|x| i128::from(x) * unit)).collect()
    };
    of_nanos(&values, call.result.data_type())
}

fn from_unix(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let far = || Error::invalid("a time is out of the calendar's range");
    let seconds = columns[0].as_primitive::<Int64Type>();
    let times = seconds.iter().map(|seconds| match seconds {
        None => Ok(None),
        Some(seconds) => {
            let instant = i128::from(seconds) * SECOND;
            let offset = call.zone.map_or(Some(0), |zone| offset_at_instant(instant, zone)).ok_or_else(far)?;
            Ok(Some(instant + offset))
        }
    });
    format_all(&times.collect::<Result<Vec<_>>>()?, columns.get(1), "yyyy-MM-dd HH:mm:ss")
}

fn unix_timestamp(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    if columns.is_empty() {
        return Ok(Arc::new(Int64Array::from(vec![(now() / SECOND) as i64; call.rows])));
    }
    let far = || Error::invalid("a time is out of the calendar's range");
    let seconds = parsed(columns)?.into_iter().map(|time| match time {
        None => Ok(None),
        Some(wall) => {
            let offset = call.zone.map_or(Some(0), |zone| offset_at_wall(wall, zone)).ok_or_else(far)?;
            Ok(i64::try_from((wall - offset).div_euclid(SECOND)).ok())
        }
    });
    Ok(Arc::new(seconds.collect::<Result<Int64Array>>()?))
}

/// Months of a unit, or nanoseconds.
fn length(unit: &str) -> Result<(i64, i128)> {
    Ok(match unit.trim_start_matches("SQL_TSI_") {
        "YEAR" => (12, 0),
        "QUARTER" => (3, 0),
        "MONTH" => (1, 0),
        "WEEK" => (0, 7 * DAY),
        "DAY" => (0, DAY),
        "HOUR" => (0, 3600 * SECOND),
        "MINUTE" => (0, 60 * SECOND),
        "SECOND" => (0, SECOND),
        "MILLISECOND" | "FRAC_SECOND" => (0, 1_000_000),
        "MICROSECOND" => (0, 1_000),
        "NANOSECOND" => (0, 1),
        other => return Err(Error::invalid(format!("`{other}` is no unit of time: use YEAR … SECOND"))),
    })
}

fn add_months(time: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let count = chrono::Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months >= 0 { time.checked_add_months(count) } else { time.checked_sub_months(count) }
}

fn timestamp_add(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let (months, nanos) = length(&one_text(&columns[0])?)?;
    let counts = columns[1].as_primitive::<Int64Type>();
    let far = || Error::invalid("TIMESTAMPADD leaves the calendar's range");
    let times = nanos_of(&columns[2])?.into_iter().zip(counts.iter()).map(|pair| {
        let (Some(time), Some(count)) = pair else { return Ok(None) };
        if months == 0 {
            return nanos.checked_mul(count.into()).and_then(|more| time.checked_add(more)).map(Some).ok_or_else(far);
        }
        let total = months.checked_mul(count).ok_or_else(far)?;
        add_months(calendar(time)?, total).map(|time| Some(to_nanos(time))).ok_or_else(far)
    });
    of_nanos(&times.collect::<Result<Vec<_>>>()?, call.result.data_type())
}

/// Whole units from one time to another, toward zero.
fn timestamp_diff(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let (months, nanos) = length(&one_text(&columns[0])?)?;
    let (from, to) = (wall(&columns[1], call, 1)?, wall(&columns[2], call, 2)?);
    let found = from.into_iter().zip(to).map(|pair| {
        let (Some(from), Some(to)) = pair else { return Ok(None) };
        let units = if months == 0 {
            (to - from) / nanos
        } else {
            let (a, b) = (calendar(from)?, calendar(to)?);
            let month = |time: &NaiveDateTime| i64::from(time.year()) * 12 + i64::from(time.month0());
            let mut whole = month(&b) - month(&a);
            // A month is whole once its day and clock are reached.
            let rest = |time: &NaiveDateTime| (time.day(), time.time());
            if whole > 0 && rest(&b) < rest(&a) {
                whole -= 1;
            } else if whole < 0 && rest(&b) > rest(&a) {
                whole += 1;
            }
            i128::from(whole / months)
        };
        i32::try_from(units).map(Some).map_err(|_| Error::invalid("TIMESTAMPDIFF does not fit INT: use a larger unit"))
    });
    Ok(Arc::new(found.collect::<Result<arrow::array::Int32Array>>()?))
}

/// Whether two spans of time have a moment in common, their ends among them; an end may stand before its start.
fn overlaps(columns: &[ArrayRef], _call: &Call<'_>) -> Result<ArrayRef> {
    let bounds = columns.iter().map(nanos_of).collect::<Result<Vec<_>>>()?;
    let found = (0..columns[0].len()).map(|row| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|n| bounds[n][row]);
        let (a, b, c, d) = (a?, b?, c?, d?);
        Some(a.max(b) >= c.min(d) && c.max(d) >= a.min(b))
    });
    Ok(Arc::new(found.collect::<arrow::array::BooleanArray>()))
}

fn convert_tz(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let [from, to] = [1, 2].map(|n| columns[n].as_string_view());
    let pattern = pattern::Pattern::new("yyyy-MM-dd HH:mm:ss")?;
    let texts = parsed(&columns[..1])?.into_iter().enumerate().map(|(row, time)| {
        let (Some(wall), true, true) = (time, from.is_valid(row), to.is_valid(row)) else { return Ok(None) };
        let zones = [from.value(row), to.value(row)].map(aquifer_formats::text::parse_zone);
        let [Ok(from), Ok(to)] = zones else { return Ok(None) };
        let instant = offset_at_wall(wall, from).map(|offset| wall - offset);
        let there = instant.and_then(|instant| Some(instant + offset_at_instant(instant, to)?));
        there.map(|there| Ok(pattern.format(&calendar(there)?))).transpose()
    });
    Ok(Arc::new(texts.collect::<Result<StringViewArray>>()?))
}
