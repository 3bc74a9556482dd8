//! The options of `datagen`, with Flink's names; `seed` is ours.
//!
//! | option | is | default |
//! |---|---|---|
//! | `rows-per-second` | how fast | 10,000 |
//! | `number-of-rows` | where it ends | without an end |
//! | `fields.NAME.kind` | `random` or `sequence` | `random` |
//! | `fields.NAME.min`, `.max` | bounds of a random number | those of its type |
//! | `fields.NAME.length` | of a random text, binary or array | 100; of an array 3 |
//! | `fields.NAME.var-len` | whether that is only the longest | `false` |
//! | `fields.NAME.max-past` | how long before now a random time is at most | 0 |
//! | `fields.NAME.null-rate` | how often it is NULL | 0 |
//! | `fields.NAME.start`, `.end` | of a sequence, which ends the table | needed |
//! | `seed` | of the randomness | 0 |
//!
//! The items of an array are `fields.NAME.element`, a field of a ROW is `fields.NAME.FIELD`.

use std::collections::BTreeSet;
use std::str::FromStr;

use aquifer_model::{Error, Result, SqlType, sql_type::ColumnType};
use aquifer_processor::connector::{Table, nearest_known};
use aquifer_processor::sink::writable_columns;
use arrow::datatypes::{DataType, Field, SchemaRef};

use crate::options;

/// How a column is made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Made {
    pub kind: Kind,
    pub data_type: DataType,
    /// How often it is NULL, from 0 to 1.
    pub null_rate: f64,
}

/// What a column is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Boolean,
    /// Whole numbers, both ends inside.
    Integer {
        min: i64,
        max: i64,
    },
    /// Numbers, `max` outside.
    Float {
        min: f64,
        max: f64,
    },
    /// Numbers times 10^scale, both ends inside.
    Decimal {
        min: i128,
        max: i128,
    },
    /// Hexadecimal digits.
    Text(Length),
    Binary(Length),
    /// The time of making it, or up to so many milliseconds before.
    Time {
        max_past: i64,
    },
    /// `start`, `start + 1`, … `end`.
    Sequence {
        start: i64,
        end: i64,
    },
    Array {
        length: u64,
        item: Box<Made>,
    },
    Row(Vec<Made>),
}

/// How long a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    pub longest: usize,
    /// Whether it may be shorter.
    pub varies: bool,
}

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct DatagenConfig {
    pub schema: SchemaRef,
    pub columns: Vec<Made>,
    pub rows_per_second: u64,
    /// Where it ends: by `number-of-rows` or by its shortest sequence.
    pub rows: Option<u64>,
    pub seed: u64,
}

const LONGEST_TEXT: usize = 1 << 20;
const LONGEST_ARRAY: u64 = 10_000;

/// Reads options, and keeps which keys there are.
struct Options<'a> {
    table: &'a Table,
    known: BTreeSet<String>,
}

impl Options<'_> {
    fn text(&mut self, prefix: &str, what: &str) -> Option<&str> {
        let key = format!("{prefix}.{what}");
        let value = self.table.definition.options.get(&key);
        self.known.insert(key);
        value.map(String::as_str)
    }

    fn number<N: FromStr>(&mut self, prefix: &str, what: &str) -> Result<Option<N>> {
        self.text(prefix, what);
        options::number(self.table, &format!("{prefix}.{what}"))
    }
}

impl DatagenConfig {
    pub fn of(table: &Table) -> Result<Self> {
        let schema = writable_columns(table)?;
        let top = ["connector", "rows-per-second", "number-of-rows", "seed", "scan.parallelism"];
        let mut options = Options { table, known: top.map(String::from).into() };
        let mut rows: Option<u64> = options::number(table, "number-of-rows")?;
        let mut columns = Vec::new();
        for field in schema.fields() {
            let made = made(&mut options, field, &format!("fields.{}", field.name()))?;
            if let Kind::Sequence { start, end } = made.kind {
                let length = end.abs_diff(start).saturating_add(1);
                rows = Some(rows.map_or(length, |rows| rows.min(length)));
            }
            columns.push(made);
        }
        if let Some(unknown) = table.definition.options.keys().find(|key| !options.known.contains(*key)) {
            let of_column = |field: &&std::sync::Arc<Field>| unknown.starts_with(&format!("fields.{}.", field.name()));
            if unknown.starts_with("fields.") && !schema.fields().iter().any(|field| of_column(&field)) {
                return Err(Error::invalid(format!("the option `{unknown}` names no column of the table")));
            }
            return Err(Error::invalid(format!(
                "unknown option `{unknown}` of the connector `datagen`: {}",
                nearest_known(unknown, options.known.iter().map(String::as_str))
            )));
        }
        let rows_per_second = options::number(table, "rows-per-second")?.unwrap_or(10_000);
        if rows_per_second == 0 {
            return Err(Error::invalid("'rows-per-second' must be above 0"));
        }
        Ok(Self { schema, columns, rows_per_second, rows, seed: options::number(table, "seed")?.unwrap_or(0) })
    }
}

fn made(options: &mut Options<'_>, field: &Field, prefix: &str) -> Result<Made> {
    let sql_type = ColumnType::of_field(field)?.sql_type;
    let null_rate: f64 = options.number(prefix, "null-rate")?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&null_rate) || (null_rate > 0.0 && !field.is_nullable()) {
        return Err(Error::invalid(format!(
            "'{prefix}.null-rate' = '{null_rate}': write a number from 0 to 1, and 0 for a column that is NOT NULL"
        )));
    }
    let kind = match options.text(prefix, "kind") {
        Some("sequence") => sequence(options, &sql_type, prefix)?,
        None | Some("random") => random(options, field, &sql_type, prefix)?,
        Some(other) => return Err(Error::invalid(format!("'{prefix}.kind' = '{other}': write random or sequence"))),
    };
    Ok(Made { kind, data_type: field.data_type().clone(), null_rate })
}

fn sequence(options: &mut Options<'_>, sql_type: &SqlType, prefix: &str) -> Result<Kind> {
    let (Some(start), Some(end)) = (options.number(prefix, "start")?, options.number(prefix, "end")?) else {
        return Err(Error::invalid(format!("a sequence needs '{prefix}.start' and '{prefix}.end'")));
    };
    let numbers = matches!(
        sql_type,
        SqlType::TinyInt
            | SqlType::SmallInt
            | SqlType::Int
            | SqlType::BigInt
            | SqlType::Float
            | SqlType::Double
            | SqlType::Decimal(..)
            | SqlType::Varchar(_)
    );
    if !numbers || prefix.ends_with(".element") {
        return Err(Error::unsupported(format!("`{prefix}` of type {sql_type} cannot be a sequence")));
    }
    match start <= end {
        true => Ok(Kind::Sequence { start, end }),
        false => Err(Error::invalid(format!("the sequence `{prefix}` starts behind its end"))),
    }
}

fn random(options: &mut Options<'_>, field: &Field, sql_type: &SqlType, prefix: &str) -> Result<Kind> {
    let wrong = || Error::invalid(format!("of `{prefix}` the smallest value is above the largest"));
    let mut bounds = |min: i64, max: i64| -> Result<Kind> {
        let min = options.number(prefix, "min")?.unwrap_or(min);
        let max = options.number(prefix, "max")?.unwrap_or(max);
        if min <= max { Ok(Kind::Integer { min, max }) } else { Err(wrong()) }
    };
    match sql_type {
        SqlType::Boolean => Ok(Kind::Boolean),
        SqlType::TinyInt => bounds(i8::MIN.into(), i8::MAX.into()),
        SqlType::SmallInt => bounds(i16::MIN.into(), i16::MAX.into()),
        SqlType::Int => bounds(i32::MIN.into(), i32::MAX.into()),
        SqlType::BigInt => bounds(i64::MIN, i64::MAX),
        SqlType::Float | SqlType::Double => {
            let min: f64 = options.number(prefix, "min")?.unwrap_or(0.0);
            let max: f64 = options.number(prefix, "max")?.unwrap_or(1.0);
            if min < max && min.is_finite() && max.is_finite() { Ok(Kind::Float { min, max }) } else { Err(wrong()) }
        }
        SqlType::Decimal(precision, scale) => {
            let largest = 10i128.pow(u32::from(*precision)) - 1;
            let mut bound = |what: &str, default: i128| -> Result<i128> {
                let Some(text) = options.text(prefix, what) else { return Ok(default) };
                match aquifer_formats::scalar_parse::decimal(text, *precision, *scale) {
                    Some(aquifer_formats::scalar_parse::Decimal::Fits(number)) => Ok(number),
                    _ => Err(Error::invalid(format!("'{prefix}.{what}' = '{text}' is no {sql_type}"))),
                }
            };
            let (min, max) = (bound("min", -largest)?, bound("max", largest)?);
            if min <= max { Ok(Kind::Decimal { min, max }) } else { Err(wrong()) }
        }
        SqlType::Char(length) => Ok(Kind::Text(fixed(*length))),
        SqlType::Binary(length) => Ok(Kind::Binary(fixed(*length))),
        SqlType::Varchar(longest) => Ok(Kind::Text(length(options, prefix, *longest)?)),
        SqlType::Varbinary(longest) => Ok(Kind::Binary(length(options, prefix, *longest)?)),
        SqlType::Date | SqlType::Time(_) | SqlType::Timestamp(_) | SqlType::TimestampLtz(_) => {
            options.text(prefix, "max-past");
            let max_past = options::duration(options.table, &format!("{prefix}.max-past"))?.unwrap_or_default();
            Ok(Kind::Time { max_past: i64::try_from(max_past.as_millis()).unwrap_or(i64::MAX) })
        }
        SqlType::Array(_) => {
            let length: u64 = options.number(prefix, "length")?.unwrap_or(3);
            let DataType::List(item) = field.data_type() else {
                return Err(Error::internal("an array of another type"));
            };
            if length > LONGEST_ARRAY {
                return Err(Error::invalid(format!("'{prefix}.length' is above {LONGEST_ARRAY}")));
            }
            Ok(Kind::Array { length, item: Box::new(made(options, item, &format!("{prefix}.element"))?) })
        }
        SqlType::Row(_) => {
            let DataType::Struct(fields) = field.data_type() else {
                return Err(Error::internal("a row of another type"));
            };
            let part = |field: &std::sync::Arc<Field>| made(options, field, &format!("{prefix}.{}", field.name()));
            Ok(Kind::Row(fields.iter().map(part).collect::<Result<_>>()?))
        }
        other => Err(Error::unsupported(format!("datagen makes no values of type {other} (`{prefix}`)"))),
    }
}

fn fixed(length: u32) -> Length {
    Length { longest: (length as usize).min(LONGEST_TEXT), varies: false }
}

fn length(options: &mut Options<'_>, prefix: &str, longest: u32) -> Result<Length> {
    let length = options.number(prefix, "length")?.unwrap_or(100usize);
    let varies = match options.text(prefix, "var-len") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(Error::invalid(format!("'{prefix}.var-len' = '{other}': write true or false"))),
    };
    Ok(Length { longest: length.min(longest as usize).min(LONGEST_TEXT), varies })
}
