//! The narrowest type that holds all values seen.

use aquifer_formats::scalar_parse;
use aquifer_model::SqlType;
use aquifer_model::sql_type::RowField;
use serde_json::Value;

/// What was seen of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// No value, or NULL only.
    Nothing,
    Boolean,
    Long,
    Double,
    Date,
    /// `digits` of a second's fraction; `iso`: with `T`; `local`: with `Z`.
    Timestamp {
        digits: u8,
        iso: bool,
        local: bool,
    },
    Array(Box<Seen>),
    Row(Vec<(String, Seen)>),
    /// Anything else, and what fits nothing narrower.
    Text,
}

/// Rows in rows are looked into this deep; below, they are text.
const MAX_DEPTH: usize = 16;

impl Seen {
    /// What a JSON value is.
    pub fn of_json(value: &Value) -> Self {
        Self::of_json_at(value, 0)
    }

    fn of_json_at(value: &Value, depth: usize) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_i64() => Self::Long,
            Value::Number(_) => Self::Double,
            Value::String(text) => Self::of_text(text, false),
            _ if depth == MAX_DEPTH => Self::Text,
            Value::Array(items) => {
                let all = items.iter().map(|item| Self::of_json_at(item, depth + 1)).fold(Self::Nothing, Self::and);
                Self::Array(Box::new(all))
            }
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| (name.clone(), Self::of_json_at(value, depth + 1));
                Self::Row(fields.iter().map(field).collect())
            }
        }
    }

    /// What a text is: a date, a time or just text; with `scalars` also a number or a boolean.
    pub fn of_text(text: &str, scalars: bool) -> Self {
        let trimmed = text.trim();
        if scalars && trimmed.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
            if trimmed.parse::<i64>().is_ok() {
                return Self::Long;
            }
            if trimmed.parse::<f64>().is_ok() {
                return Self::Double;
            }
        }
        if scalars && (text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")) {
            return Self::Boolean;
        }
        if scalar_parse::date(text).is_some() {
            return Self::Date;
        }
        let (time, local) = text.strip_suffix('Z').map_or((text, false), |time| (time, true));
        let iso = scalar_parse::iso_timestamp(time, 1_000, 9).is_some();
        if iso || scalar_parse::timestamp(time, 1_000, 9).is_some() {
            let fraction = time.rsplit_once('.').map_or(0, |(_, fraction)| fraction.len());
            let digits = match fraction {
                0..=3 => 3,
                4..=6 => 6,
                _ => 9,
            };
            return Self::Timestamp { digits, iso, local };
        }
        Self::Text
    }

    /// What holds both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (same, other) if same == other => same,
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::Long, Self::Double) | (Self::Double, Self::Long) => Self::Double,
            (Self::Timestamp { digits: a, iso, local }, Self::Timestamp { digits: b, iso: i, local: l })
                if iso == i && local == l =>
            {
                Self::Timestamp { digits: a.max(b), iso, local }
            }
            (Self::Array(one), Self::Array(other)) => Self::Array(Box::new(one.and(*other))),
            (Self::Row(mut fields), Self::Row(others)) => {
                for (name, seen) in others {
                    match fields.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => *known = std::mem::replace(known, Self::Nothing).and(seen),
                        None => fields.push((name, seen)),
                    }
                }
                Self::Row(fields)
            }
            _ => Self::Text,
        }
    }

    /// Which standards of timestamps are in it: SQL's, ISO-8601's.
    pub fn standards(&self, [sql, iso]: [bool; 2]) -> [bool; 2] {
        match self {
            Self::Timestamp { iso: true, .. } => [sql, true],
            Self::Timestamp { .. } => [true, iso],
            Self::Array(items) => items.standards([sql, iso]),
            Self::Row(fields) => fields.iter().fold([sql, iso], |found, (_, seen)| seen.standards(found)),
            _ => [sql, iso],
        }
    }

    /// Makes ISO-8601's timestamps texts, where they cannot be read.
    pub fn iso_to_text(&mut self) {
        match self {
            Self::Timestamp { iso: true, .. } => *self = Self::Text,
            Self::Array(items) => items.iso_to_text(),
            Self::Row(fields) => fields.iter_mut().for_each(|(_, seen)| seen.iso_to_text()),
            _ => {}
        }
    }

    /// Its type.
    pub fn sql_type(&self) -> SqlType {
        match self {
            Self::Nothing | Self::Text => SqlType::STRING,
            Self::Boolean => SqlType::Boolean,
            Self::Long => SqlType::BigInt,
            Self::Double => SqlType::Double,
            Self::Date => SqlType::Date,
            Self::Timestamp { digits, local: false, .. } => SqlType::Timestamp(*digits),
            Self::Timestamp { digits, local: true, .. } => SqlType::TimestampLtz(*digits),
            Self::Array(items) => SqlType::Array(Box::new(items.sql_type().nullable())),
            Self::Row(fields) if fields.is_empty() => SqlType::STRING,
            Self::Row(fields) => SqlType::Row(
                fields
                    .iter()
                    .map(|(name, seen)| RowField { name: name.clone(), column_type: seen.sql_type().nullable() })
                    .collect(),
            ),
        }
    }
}
