//! Interval literals: one unit or a range of them, to months or milliseconds.

use aquifer_model::{Error, Result};
use sqlparser::ast::{Expr, Interval, UnaryOperator, Value};

/// What an interval literal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// YEAR and MONTH.
    Months(i64),
    /// WEEK, DAY … SECOND.
    Millis(i64),
}

/// Units from the largest on, with what one is in milliseconds (months for the first two) and how a literal separates it from the next.
const UNITS: [(&str, i64); 8] = [
    ("YEAR", 12),
    ("QUARTER", 3),
    ("MONTH", 1),
    ("WEEK", 7 * 86_400_000),
    ("DAY", 86_400_000),
    ("HOUR", 3_600_000),
    ("MINUTE", 60_000),
    ("SECOND", 1_000),
];

/// Reads an interval literal.
pub(super) fn length(interval: &Interval) -> Result<Length> {
    let shown = Expr::Interval(interval.clone());
    let wrong = || {
        Error::invalid(format!(
            "`{shown}` is no interval: write INTERVAL '10' MINUTE, INTERVAL '1 02:30:00' DAY TO SECOND or INTERVAL '1-6' YEAR TO MONTH"
        ))
    };
    let (negative, text) = literal(&interval.value).ok_or_else(wrong)?;
    let unit = |field: &sqlparser::ast::DateTimeField| {
        let name = field.to_string().to_ascii_uppercase();
        let name = name.strip_suffix('S').unwrap_or(&name).to_string();
        UNITS.iter().position(|(known, _)| *known == name)
    };
    let first = interval.leading_field.as_ref().and_then(unit).ok_or_else(wrong)?;
    let last = match &interval.last_field {
        None => first,
        Some(field) => unit(field).filter(|last| *last > first).ok_or_else(wrong)?,
    };
    let text = text.trim();
    let (inner, text) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let total = if UNITS[first].0 == "YEAR" && last != first {
        if UNITS[last].0 != "MONTH" {
            return Err(wrong());
        }
        let (years, months) = text.split_once('-').ok_or_else(wrong)?;
        number(years).zip(number(months).filter(|m| *m < 12)).map(|(y, m)| y * 12 + m).ok_or_else(wrong)?
    } else if first <= 2 {
        if last != first {
            return Err(wrong());
        }
        number(text).and_then(|n| n.checked_mul(UNITS[first].1)).ok_or_else(wrong)?
    } else {
        clock(text, first, last).ok_or_else(wrong)?
    };
    let total = if negative != inner { -total } else { total };
    Ok(if first <= 2 { Length::Months(total) } else { Length::Millis(total) })
}

/// A quoted text, with a minus before it or not.
fn literal(value: &Expr) -> Option<(bool, String)> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some((false, text.clone())),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => literal(expr).map(|(negative, text)| (!negative, text)),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => literal(expr),
        _ => None,
    }
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() < 16 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// `1 02:30:15.5` from the first unit to the last.
fn clock(text: &str, first: usize, last: usize) -> Option<i64> {
    let mut rest = text;
    let mut total = 0i64;
    for (unit, (name, factor)) in UNITS.into_iter().enumerate().take(last + 1).skip(first) {
        let (part, next) =
            if unit == last { (rest, "") } else { rest.split_once(if name == "DAY" { ' ' } else { ':' })? };
        rest = next.trim_start();
        let part = part.trim();
        let value = if name == "SECOND" {
            let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
            let fraction: String = fraction.chars().chain("000".chars()).take(3.max(fraction.len())).collect();
            if fraction.len() > 9 {
                return None;
            }
            number(whole)?.checked_mul(1000)?.checked_add(number(&fraction[..3])?)?
        } else {
            number(part)?.checked_mul(factor)?
        };
        let limit = match name {
            "HOUR" => 24 * 3_600_000,
            "MINUTE" | "SECOND" => 60 * factor,
            _ => i64::MAX,
        };
        if unit != first && value >= limit {
            return None;
        }
        total = total.checked_add(value)?;
    }
    Some(total)
}

/// The same interval in the one form that DataFusion's planner reads.
pub(super) fn plain(interval: &Interval) -> Result<Interval> {
    let text = match length(interval)? {
        Length::Months(months) => format!("{months} months"),
        Length::Millis(millis) => {
            let (days, rest) = (millis / 86_400_000, millis % 86_400_000);
            let sign = if rest < 0 { "-" } else { "" };
            format!("{days} days {sign}{}.{:03} seconds", (rest / 1000).abs(), (rest % 1000).abs())
        }
    };
    Ok(Interval {
        value: Box::new(Expr::Value(Value::SingleQuotedString(text).into())),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::statement::parse_expression;
    use super::*;

    fn read(text: &str) -> Result<Length> {
        match parse_expression(text)? {
            Expr::Interval(interval) => length(&interval),
            other => Err(Error::invalid(other.to_string())),
        }
    }

    #[test]
    fn intervals_of_one_unit_and_of_several_are_read() {
        use Length::{Millis, Months};
        for (text, expected) in [
            ("INTERVAL '10' MINUTE", Millis(600_000)),
            ("INTERVAL '1.5' SECOND", Millis(1500)),
            ("INTERVAL -'3' SECOND", Millis(-3000)),
            ("INTERVAL '-3' SECOND", Millis(-3000)),
            ("INTERVAL '1 02:30:00.25' DAY TO SECOND", Millis(95_400_250)),
            ("INTERVAL '2:30' HOUR TO MINUTE", Millis(9_000_000)),
            ("INTERVAL '1-6' YEAR TO MONTH", Months(18)),
            ("INTERVAL '2' YEAR", Months(24)),
            ("INTERVAL '1' WEEK", Millis(604_800_000)),
            ("INTERVAL '0' SECOND", Millis(0)),
        ] {
            assert_eq!(read(text).expect(text), expected, "{text}");
        }
        for wrong in
            ["INTERVAL 'x' HOUR", "INTERVAL '1'", "INTERVAL '1-13' YEAR TO MONTH", "INTERVAL '1 25:00' DAY TO MINUTE"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
