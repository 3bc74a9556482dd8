//! Dates, times and decimals from text, as Flink's JSON format reads them. Each gives `None` for text that is not wholly one.

/// `2024-02-29` as days since 1970; years of four digits.
pub fn date(text: &str) -> Option<i64> {
    let [a, b, c, d, b'-', e, f, b'-', g, h] = *text.as_bytes() else { return None };
    let year = number(&[a, b, c, d])?;
    let (month, day) = (number(&[e, f])?, number(&[g, h])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=length).contains(&day).then(|| days(year, month, day))
}

/// `10:00:00` with up to nine digits of fraction, in ticks since midnight; digits beyond `digits` are cut.
pub fn time(text: &str, per_second: i64, digits: u8) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, fraction)| (clock, Some(fraction)));
    let [a, b, b':', c, d, b':', e, f] = *clock.as_bytes() else { return None };
    let (hour, minute, second) = (number(&[a, b])?, number(&[c, d])?, number(&[e, f])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut ticks = 0;
    if let Some(fraction) = fraction {
        if fraction.len() > 9 || (fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit())) {
            return None;
        }
        let kept = &fraction.as_bytes()[..fraction.len().min(usize::from(digits))];
        let mut unit = per_second;
        for digit in kept {
            unit /= 10;
            ticks += i64::from(digit - b'0') * unit;
        }
    }
    Some((hour * 3600 + minute * 60 + second) * per_second + ticks)
}

/// `2024-02-29 10:00:00.123` in ticks since 1970; `None` also where that is out of range.
pub fn timestamp(text: &str, per_second: i64, digits: u8) -> Option<i64> {
    let (day, clock) = text.split_once(' ')?;
    let ticks = i128::from(date(day)?) * 86_400 * i128::from(per_second);
    i64::try_from(ticks + i128::from(time(clock, per_second, digits)?)).ok()
}

/// `2024-02-29T10:00:00.123` or `2024-02-29T10:00`, as [`timestamp`].
pub fn iso_timestamp(text: &str, per_second: i64, digits: u8) -> Option<i64> {
    let (day, clock) = text.split_once('T')?;
    let ticks = i128::from(date(day)?) * 86_400 * i128::from(per_second);
    let clock = match clock.len() {
        5 => time(&format!("{clock}:00"), per_second, digits)?,
        _ => time(clock, per_second, digits)?,
    };
    i64::try_from(ticks + i128::from(clock)).ok()
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Days since 1970 of a day in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last of its year; 400 years are 146,097 days.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A decimal that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimal {
    /// Its value times 10^scale, rounded half up.
    Fits(i128),
    /// It has more digits than the precision.
    TooWide,
}

/// `-12.5e3` as DECIMAL(precision, scale).
pub fn decimal(text: &str, precision: u8, scale: u8) -> Option<Decimal> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let exponent: i64 = match exponent {
        None => 0,
        Some(exponent) => exponent.parse::<i32>().ok()?.into(),
    };
    let (negative, mantissa) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if (whole.is_empty() && fraction.is_empty()) || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // The value is 0.ddd… × 10^point over the digits from the first that is not zero.
    let zeros = digits().take_while(|digit| *digit == b'0').count();
    if zeros == whole.len() + fraction.len() {
        return Some(Decimal::Fits(0));
    }
    let point = whole.len() as i64 - zeros as i64 + exponent;
    let kept = point + i64::from(scale);
    if kept < 0 {
        return Some(Decimal::Fits(0));
    }
    if kept > 38 {
        return Some(Decimal::TooWide);
    }
    let mut rest = digits().skip(zeros);
    let mut number = 0i128;
    for _ in 0..kept {
        number = number * 10 + i128::from(rest.next().unwrap_or(b'0') - b'0');
    }
    number += i128::from(rest.next().unwrap_or(b'0') >= b'5');
    if number >= 10i128.pow(u32::from(precision)) {
        return Some(Decimal::TooWide);
    }
    Some(Decimal::Fits(if negative { -number } else { number }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scalar_text;

    #[test]
    fn only_whole_values_are_read() {
        assert_eq!(date("2024-02-29"), Some(19_782));
        assert_eq!(date("0001-01-01"), Some(-719_162));
        for wrong in
            ["2023-02-29", "2024-13-01", "2024-00-01", "2024-2-9", "2024-02-29 ", "20240229", "", "２024-01-01"]
        {
            assert_eq!(date(wrong), None, "{wrong}");
        }
        assert_eq!(time("12:34:56.789", 1000, 3), Some(45_296_789));
        assert_eq!(time("12:34:56.7899", 1000, 2), Some(45_296_780));
        for wrong in ["24:00:00", "1:00:00", "12:34", "12:34:56.", "12:34:56.1234567890", "12:34:56Z"] {
            assert_eq!(time(wrong, 1000, 3), None, "{wrong}");
        }
        assert_eq!(timestamp("1969-12-31 23:59:59.999", 1000, 3), Some(-1));
        assert_eq!(timestamp("1970-01-01T00:00:00", 1000, 3), None);
        assert_eq!(iso_timestamp("1970-01-01T00:00:01.5", 1000, 3), Some(1500));
        assert_eq!(iso_timestamp("1970-01-01T00:01", 1000, 3), Some(60_000));
        assert_eq!(iso_timestamp("1970-01-01 00:00:00", 1000, 3), None);
        assert_eq!(timestamp("9999-12-31 00:00:00", 1_000_000_000, 9), None, "nanoseconds do not reach it");
    }

    #[test]
    fn decimals_are_rounded_half_up_and_told_when_they_are_too_wide() {
        use Decimal::{Fits, TooWide};
        let cases = [
            ("99.994", Some(Fits(9999))),
            ("99.996", Some(TooWide)),
            ("123.4", Some(TooWide)),
            ("1e1", Some(Fits(1000))),
            ("-0.005", Some(Fits(-1))),
            ("-0.0049", Some(Fits(0))),
            (".5", Some(Fits(50))),
            ("+5.", Some(Fits(500))),
            ("0000000000000000000000000000000000000000000001", Some(Fits(100))),
            ("1e2147483647", Some(TooWide)),
            ("1e-2147483647", Some(Fits(0))),
            ("0e2147483647", Some(Fits(0))),
            ("1e99999999999", None),
            ("", None),
            (".", None),
            ("-", None),
            ("1.2.3", None),
            ("0x1", None),
            ("NaN", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decimal(text, 4, 2), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ticks in -62_135_596_800_000i64..=253_402_300_799_999, number: i64, scale in 0u8..=19) {
            let mut text = String::new();
            scalar_text::timestamp(ticks, 1000, 0, 3, &mut text);
            prop_assert_eq!(timestamp(&text, 1000, 3), Some(ticks));
            text.clear();
            scalar_text::decimal(number.into(), scale, &mut text);
            prop_assert_eq!(decimal(&text, 38, scale), Some(Decimal::Fits(number.into())));
        }

        #[test]
        fn no_text_makes_them_panic(text in "[-+0-9.eE: T]{0,30}") {
            let _ = (date(&text), time(&text, 1_000_000_000, 9), timestamp(&text, 1000, 3), decimal(&text, 38, 38));
        }
    }
}
