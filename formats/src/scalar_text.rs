//! The texts of single values, as Flink's `CAST(… AS STRING)` writes them, by arithmetic into one buffer.

use std::fmt::Write;

const SECONDS_A_DAY: i64 = 86_400;

/// Writes a double as Java does: the shortest digits that read back to it, `1.0E7` from 10^7 on and below 10^-3.
pub(crate) fn double(value: f64, out: &mut String) {
    java(
        value,
        value.is_nan(),
        value.is_infinite(),
        value < 0.0,
        |digits, out| match digits {
            None => write!(out, "{value:e}"),
            Some(digits) => write!(out, "{value:.digits$e}"),
        },
        out,
    );
}

/// Writes a float as Java does.
pub(crate) fn float(value: f32, out: &mut String) {
    java(
        f64::from(value),
        value.is_nan(),
        value.is_infinite(),
        value < 0.0,
        |digits, out| match digits {
            None => write!(out, "{value:e}"),
            Some(digits) => write!(out, "{value:.digits$e}"),
        },
        out,
    );
}

/// Brings Rust's `d.ddde±n` to Java's form. `scientific` writes the value with all its digits, or rounded to some after the point.
fn java(
    value: f64,
    is_nan: bool,
    is_infinite: bool,
    is_negative: bool,
    scientific: impl Fn(Option<usize>, &mut Short) -> std::fmt::Result,
    out: &mut String,
) {
    if is_nan {
        out.push_str("NaN");
        return;
    }
    if is_infinite {
        out.push_str(if is_negative { "-Infinity" } else { "Infinity" });
        return;
    }
    let mut short = Short::default();
    let _ = scientific(None, &mut short);
    if !short.text().contains('.') {
        // Java gives at least two digits, and of those the nearest: the smallest double is 4.9E-324, not 5.0E-324.
        short = Short::default();
        let _ = scientific(Some(1), &mut short);
    }
    let (mantissa, exponent) = short.text().split_once('e').unwrap_or((short.text(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.push('-');
            rest
        }
        None => mantissa,
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if value == 0.0 {
        out.push_str("0.0");
    } else if !(-3..7).contains(&exponent) {
        let _ = write!(out, "{whole}.{fraction}E{exponent}");
    } else if exponent < 0 {
        out.push_str("0.");
        (1..-exponent).for_each(|_| out.push('0'));
        out.push_str(whole);
        out.push_str(if fraction == "0" { "" } else { fraction });
    } else {
        let places = exponent as usize;
        out.push_str(whole);
        if fraction.len() > places {
            let (before, after) = fraction.split_at(places);
            let _ = write!(out, "{before}.{after}");
        } else {
            out.push_str(fraction);
            (fraction.len()..places).for_each(|_| out.push('0'));
            out.push_str(".0");
        }
    }
}

/// A text of at most 32 bytes, on the stack: a double's digits, sign and exponent.
#[derive(Default)]
struct Short {
    bytes: [u8; 32],
    length: usize,
}

impl Short {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Writes `unscaled / 10^scale` with all digits of the scale.
pub(crate) fn decimal(unscaled: i128, scale: u8, out: &mut String) {
    if unscaled < 0 {
        out.push('-');
    }
    let digits = unscaled.unsigned_abs();
    let Some(unit) = 10u128.checked_pow(u32::from(scale)).filter(|_| scale > 0) else {
        let _ = write!(out, "{digits}");
        return;
    };
    let _ = write!(out, "{}.{:0width$}", digits / unit, digits % unit, width = usize::from(scale));
}

/// Writes days since 1970 as `2024-02-29`.
pub(crate) fn date(days: i64, out: &mut String) {
    let (year, month, day) = civil(days);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
}

/// Writes ticks since midnight as `10:00:00.123`, with `digits` digits of the second's fraction.
pub(crate) fn time(ticks: i64, per_second: i64, digits: u8, out: &mut String) {
    let seconds = ticks.div_euclid(per_second).rem_euclid(SECONDS_A_DAY);
    clock(seconds, out);
    fraction(ticks.rem_euclid(per_second), per_second, digits, out);
}

/// Writes ticks since 1970 as `2024-02-29 10:00:00.123`, with `digits` digits of the second's fraction.
pub(crate) fn timestamp(ticks: i64, per_second: i64, offset_seconds: i64, digits: u8, out: &mut String) {
    let seconds = ticks.div_euclid(per_second).saturating_add(offset_seconds);
    date(seconds.div_euclid(SECONDS_A_DAY), out);
    out.push(' ');
    clock(seconds.rem_euclid(SECONDS_A_DAY), out);
    fraction(ticks.rem_euclid(per_second), per_second, digits, out);
}

fn clock(seconds: i64, out: &mut String) {
    two(seconds / 3600, out);
    out.push(':');
    two(seconds / 60 % 60, out);
    out.push(':');
    two(seconds % 60, out);
}

fn two(number: i64, out: &mut String) {
    out.push((b'0' + (number / 10 % 10) as u8) as char);
    out.push((b'0' + (number % 10) as u8) as char);
}

fn fraction(mut ticks: i64, mut per_second: i64, digits: u8, out: &mut String) {
    if digits == 0 {
        return;
    }
    out.push('.');
    for _ in 0..digits {
        per_second /= 10;
        if per_second == 0 {
            out.push('0');
            continue;
        }
        out.push((b'0' + (ticks / per_second) as u8) as char);
        ticks %= per_second;
    }
}

/// Year, month and day of a day since 1970, in the Gregorian calendar without an end to either side.
fn civil(days: i64) -> (i64, u8, u8) {
    // Years begin in March here, so that the leap day is the last of its year; 400 years are 146,097 days.
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month + 2) / 5 + 1) as u8;
    let month = if month < 10 { month + 3 } else { month - 9 } as u8;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Writes months as Flink does: `+1-02`.
pub(crate) fn months(months: i64, out: &mut String) {
    let sign = if months < 0 { '-' } else { '+' };
    let months = months.unsigned_abs();
    let _ = write!(out, "{sign}{}-{:02}", months / 12, months % 12);
}

/// Writes milliseconds as Flink does: `+0 01:00:00.000`.
pub(crate) fn millis(millis: i64, out: &mut String) {
    out.push(if millis < 0 { '-' } else { '+' });
    let millis = millis.unsigned_abs();
    let _ = write!(out, "{} ", millis / 86_400_000);
    clock((millis / 1000 % 86_400) as i64, out);
    fraction((millis % 1000) as i64, 1000, 3, out);
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use chrono::Datelike;
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl Fn(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100.0, "100.0"),
            (123456.75, "123456.75"),
            (9999999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (12345678.9, "1.23456789E7"),
            (0.001, "0.001"),
            (0.0123, "0.0123"),
            (0.00099, "9.9E-4"),
            (1e300, "1.0E300"),
            (2e23, "2.0E23"),
            (5e-324, "4.9E-324"),
            (f64::MAX, "1.7976931348623157E308"),
            (-f64::MAX, "-1.7976931348623157E308"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in cases {
            assert_eq!(written(|out| double(value, out)), text);
        }
        for (value, text) in [(0.1f32, "0.1"), (1e7, "1.0E7"), (16777216.0, "1.6777216E7"), (1.4e-45, "1.4E-45")] {
            assert_eq!(written(|out| float(value, out)), text);
        }
    }

    #[test]
    fn decimals_intervals_and_fractions_keep_all_their_digits() {
        assert_eq!(written(|out| decimal(-5, 2, out)), "-0.05");
        assert_eq!(written(|out| decimal(1234, 0, out)), "1234");
        assert_eq!(written(|out| decimal(i128::MIN, 38, out)), "-1.70141183460469231731687303715884105728");
        assert_eq!(written(|out| months(14, out)), "+1-02");
        assert_eq!(written(|out| months(-25, out)), "-2-01");
        assert_eq!(written(|out| millis(3_600_000, out)), "+0 01:00:00.000");
        assert_eq!(written(|out| millis(-93_784_567, out)), "-1 02:03:04.567");
        assert_eq!(written(|out| time(45_296_789, 1000, 3, out)), "12:34:56.789");
        assert_eq!(written(|out| time(45_296_789, 1000, 0, out)), "12:34:56");
        assert_eq!(written(|out| timestamp(-1, 1_000_000_000, 0, 9, out)), "1969-12-31 23:59:59.999999999");
        assert_eq!(written(|out| timestamp(0, 1000, 3600, 5, out)), "1970-01-01 01:00:00.00000");
        assert_eq!(written(|out| timestamp(i64::MIN, 1000, 0, 3, out)).len(), "-292275055-05-16 16:47:04.192".len());
    }

    proptest! {
        #[test]
        fn dates_are_chronos(days in -700_000i64..2_900_000) {
            let expected = chrono::NaiveDate::from_num_days_from_ce_opt((days + 719_163) as i32).expect("in range");
            prop_assert_eq!(civil(days), (i64::from(expected.year()), expected.month() as u8, expected.day() as u8));
        }

        #[test]
        fn a_doubles_text_reads_back_to_it(bits: u64) {
            let value = f64::from_bits(bits);
            let text = written(|out| double(value, out));
            if !value.is_nan() {
                prop_assert_eq!(text.parse::<f64>().expect("a number").to_bits(), bits);
            }
        }
    }
}
