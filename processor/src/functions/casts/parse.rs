//! Values from text, as Flink's CAST reads them: blanks trimmed, more forms than its formats take.

use std::sync::Arc;

use aquifer_formats::text::Tz;
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array, StringViewArray,
};
use arrow::compute::cast as arrow_cast;
use arrow::datatypes::DataType;

use super::{fitted_binary, offset_at_wall};

/// A column of texts as values of a type. A text that is none fails with `Invalid`, or is NULL if `try_cast`.
pub(super) fn column(texts: &StringViewArray, to: &SqlType, zone: Option<Tz>, try_cast: bool) -> Result<ArrayRef> {
    fn each<T>(
        texts: &StringViewArray,
        to: &SqlType,
        try_cast: bool,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<Option<T>>> {
        // Blanks around a timestamp make it none.
        let is_moment = matches!(to, SqlType::Timestamp(_) | SqlType::TimestampLtz(_));
        let one = |text: Option<&str>| match text {
            None => Ok(None),
            Some(text) => match read(if is_moment { text } else { text.trim() }) {
                Some(value) => Ok(Some(value)),
                None if try_cast => Ok(None),
                None => {
                    let shown: String = text.chars().take(40).collect();
                    Err(Error::invalid(format!("'{shown}' is no {to}: use TRY_CAST to get NULL for such texts")))
                }
            },
        };
        texts.iter().map(one).collect()
    }
    let integers = |min: i64, max: i64| -> Result<ArrayRef> {
        let values = each(texts, to, try_cast, |text| integer(text).filter(|n| (min..=max).contains(n)))?;
        Ok(arrow_cast(&Int64Array::from(values), &to.to_arrow())?)
    };
    let ticks = |read: &dyn Fn(&str) -> Option<i64>, narrow: bool| -> Result<ArrayRef> {
        let values: ArrayRef = Arc::new(Int64Array::from(each(texts, to, try_cast, read)?));
        let values = if narrow { arrow_cast(&values, &DataType::Int32)? } else { values };
        Ok(arrow_cast(&values, &to.to_arrow())?)
    };
    match to {
        SqlType::TinyInt => integers(i8::MIN.into(), i8::MAX.into()),
        SqlType::SmallInt => integers(i16::MIN.into(), i16::MAX.into()),
        SqlType::Int => integers(i32::MIN.into(), i32::MAX.into()),
        SqlType::BigInt => integers(i64::MIN, i64::MAX),
        SqlType::Float => Ok(Arc::new(Float32Array::from(each(texts, to, try_cast, |text| {
            double(text).and_then(|_| trimmed_suffix(text).parse::<f32>().ok())
        })?))),
        SqlType::Double => Ok(Arc::new(Float64Array::from(each(texts, to, try_cast, double)?))),
        SqlType::Decimal(precision, scale) => {
            let values = each(texts, to, try_cast, |text| decimal(text, *precision, *scale))?;
            let values: Decimal128Array = values.into_iter().map(Option::flatten).collect();
            Ok(Arc::new(values.with_precision_and_scale(*precision, *scale as i8)?))
        }
        SqlType::Boolean => Ok(Arc::new(BooleanArray::from(each(texts, to, try_cast, boolean)?))),
        SqlType::Binary(length) | SqlType::Varbinary(length) => {
            let bytes: BinaryViewArray = texts.iter().map(|text| text.map(str::as_bytes)).collect();
            let bytes: ArrayRef = Arc::new(bytes);
            fitted_binary(&bytes, *length, matches!(to, SqlType::Binary(_)))
        }
        SqlType::Date => ticks(&|text| date(text.split(' ').next()?), true),
        SqlType::Time(digits) => {
            let (unit, narrow) = if *digits <= 3 {
                (1_000_000, true)
            } else if *digits <= 6 {
                (1_000, false)
            } else {
                (1, false)
            };
            let cut = 10i64.pow(9 - u32::from(*digits));
            ticks(&move |text| Some(time(text)? / cut * cut / unit), narrow)
        }
        SqlType::Timestamp(digits) | SqlType::TimestampLtz(digits) => {
            let unit: i128 = match digits {
                0..=3 => 1_000_000,
                4..=6 => 1_000,
                _ => 1,
            };
            let cut = 10i128.pow(9 - u32::from(*digits));
            let is_instant = matches!(to, SqlType::TimestampLtz(_));
            let read = move |text: &str| {
                let mut nanos = timestamp(text)?;
                if let (true, Some(zone)) = (is_instant, zone) {
                    nanos -= offset_at_wall(nanos, zone)?;
                }
                i64::try_from((nanos.div_euclid(cut) * cut).div_euclid(unit)).ok()
            };
            let values: ArrayRef = Arc::new(Int64Array::from(each(texts, to, try_cast, read)?));
            let data = arrow::array::Array::to_data(&values).into_builder().data_type(to.to_arrow()).build()?;
            Ok(arrow::array::make_array(data))
        }
        other => Err(Error::invalid(format!("a text cannot be cast to {other}"))),
    }
}

/// `7`, `+7`, `1.9` (which is 1); no exponent.
fn integer(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match whole {
        "" | "-" | "+" if fraction.is_empty() => None,
        "" | "-" | "+" => Some(0),
        whole => whole.parse().ok(),
    }
}

fn trimmed_suffix(text: &str) -> &str {
    text.strip_suffix(['d', 'D', 'f', 'F'])
        .filter(|rest| rest.ends_with(|c: char| c.is_ascii_digit() || c == '.'))
        .unwrap_or(text)
}

/// What Java reads as a double.
fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" | "+NaN" | "-NaN" => return Some(f64::NAN),
        "Infinity" | "+Infinity" => return Some(f64::INFINITY),
        "-Infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let text = trimmed_suffix(text);
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if plain { text.parse().ok() } else { None }
}

/// A decimal rounded half up; the inner `None`: it does not fit.
pub(super) fn decimal(text: &str, precision: u8, scale: u8) -> Option<Option<i128>> {
    aquifer_formats::scalar_parse::decimal(text, precision, scale).map(|found| match found {
        aquifer_formats::scalar_parse::Decimal::Fits(value) => Some(value),
        aquifer_formats::scalar_parse::Decimal::TooWide => None,
    })
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn digits(text: &str, most: usize) -> Option<u32> {
    if text.is_empty() || text.len() > most || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// `2024-2-9`, `2024-02`, `2024` as days since 1970.
fn date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |part| digits(part, 2))?;
    let day = parts.next().map_or(Some(1), |part| digits(part, 2))?;
    if parts.next().is_some() {
        return None;
    }
    let day = chrono::NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    Some((day - chrono::NaiveDate::default()).num_days())
}

/// `10:30:15.25`, `10:30`, `10` as nanoseconds since midnight.
fn time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = parts.next().map_or(Some(0), |part| digits(part, 2))?;
    let second = parts.next().map_or(Some(0), |part| digits(part, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = match fraction {
        None | Some("") => 0,
        Some(fraction) => {
            let kept = &fraction[..fraction.len().min(9)];
            i64::from(digits(kept, 9)?) * 10i64.pow(9 - kept.len() as u32)
        }
    };
    Some(i64::from(hour * 3600 + minute * 60 + second) * 1_000_000_000 + nanos)
}

/// `2024-02-29 10:30:15.25` or a day alone, as nanoseconds since 1970.
fn timestamp(text: &str) -> Option<i128> {
    let (day, clock) = match text.split_once(' ') {
        Some((day, clock)) => (day, Some(clock.trim())),
        None => (text, None),
    };
    let nanos = match clock {
        None => 0,
        Some(clock) => {
            // A clock without seconds is none here, nor is one with more than nine digits behind them.
            let fraction = clock.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            if clock.matches(':').count() != 2 || fraction > 9 {
                return None;
            }
            i128::from(time(clock)?)
        }
    };
    Some(i128::from(whole_date(day)?) * super::DAY + nanos)
}

/// The day of a timestamp: year, month and day are all written, and a day after the month's last is the last.
fn whole_date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let number: u32 = digits(day, 2).filter(|day| (29..=31).contains(day)).unwrap_or_default();
    let last = (28..=number).rev().find_map(|day| date(&format!("{year}-{month}-{day}")));
    if number > 28 { last } else { date(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_flink_reads_them() {
        assert_eq!(
            [" 1 ".trim(), "+7", "1.9", "1e3", "", "-"].map(integer),
            [Some(1), Some(7), Some(1), None, None, None]
        );
        assert_eq!(
            ["T", "true", "1", "no", "maybe"].map(boolean),
            [Some(true), Some(true), Some(true), Some(false), None]
        );
        assert_eq!(date("2024-2-9"), Some(19_762));
        assert_eq!(date("2024"), Some(19_723));
        assert_eq!(date("1"), Some(-719_162));
        assert_eq!(date("2023-02-29"), None);
        assert_eq!(timestamp("2024-02-29 01:02"), None);
        assert_eq!(timestamp("2024-02"), None);
        assert_eq!(timestamp("2023-02-30"), timestamp("2023-02-28"));
        assert_eq!(timestamp("1970-01-01 00:00:01.5"), Some(1_500_000_000));
        assert_eq!(time("10:30"), Some(37_800_000_000_000));
        assert_eq!(decimal("1.005", 5, 2), Some(Some(101)));
        assert_eq!(decimal("1000", 5, 2), Some(None));
    }
}
