//! The options of `datagen`, with Flink's names; `seed` is ours.
//!
//! | option | is | default |
//! |---|---|---|
//! | `rows-per-second` | how fast | 10,000 |
//! | `number-of-rows` | where it ends | without an end |
//! | `fields.NAME.kind` | `random` or `sequence` | `random` |
//! | `fields.NAME.min`, `.max` | bounds of a random number | those of its type |
//! | `fields.NAME.length` | of a random text | 100 |
//! | `fields.NAME.start`, `.end` | of a sequence, which ends the table | needed |
//! | `seed` | of the randomness | 0 |

use std::str::FromStr;

use aquifer_model::{Error, Result, SqlType};
use aquifer_processor::connector::{Table, nearest_known};
use aquifer_processor::sink::writable_columns;
use arrow::datatypes::SchemaRef;

/// How a column is made.
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
    /// Hexadecimal digits.
    Text {
        length: usize,
    },
    /// The time of making it, in milliseconds.
    Now,
    /// `start`, `start + 1`, … `end`.
    Sequence {
        start: i64,
        end: i64,
    },
}

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct DatagenConfig {
    pub schema: SchemaRef,
    pub kinds: Vec<Kind>,
    pub rows_per_second: u64,
    /// Where it ends: by `number-of-rows` or by its shortest sequence.
    pub rows: Option<u64>,
    pub seed: u64,
}

const LONGEST_TEXT: usize = 1 << 20;

impl DatagenConfig {
    pub fn of(table: &Table) -> Result<Self> {
        let schema = writable_columns(table)?;
        let options = &table.definition.options;
        let top = ["rows-per-second", "number-of-rows", "seed", "scan.parallelism"];
        for key in options.keys().filter(|key| *key != "connector" && !top.contains(&key.as_str())) {
            let field = key.strip_prefix("fields.").and_then(|rest| rest.rsplit_once('.'));
            let known = ["kind", "min", "max", "length", "start", "end"];
            match field {
                Some((name, what)) if known.contains(&what) => {
                    if schema.index_of(name).is_err() {
                        return Err(Error::invalid(format!("the option `{key}` names no column of the table")));
                    }
                }
                Some((name, what)) => {
                    return Err(Error::invalid(format!(
                        "unknown option `{key}` of the connector `datagen`: of `fields.{name}.` {}",
                        nearest_known(what, known)
                    )));
                }
                None => {
                    return Err(Error::invalid(format!(
                        "unknown option `{key}` of the connector `datagen`: {}",
                        nearest_known(key, top)
                    )));
                }
            }
        }
        let mut rows: Option<u64> = number(table, "number-of-rows")?;
        let mut kinds = Vec::new();
        for field in schema.fields() {
            let sql_type = aquifer_model::sql_type::ColumnType::of_field(field)?.sql_type;
            let kind = kind_of(table, field.name(), &sql_type)?;
            if let Kind::Sequence { start, end } = kind {
                let length = end.abs_diff(start).saturating_add(1);
                rows = Some(rows.map_or(length, |rows| rows.min(length)));
            }
            kinds.push(kind);
        }
        let rows_per_second = number(table, "rows-per-second")?.unwrap_or(10_000);
        if rows_per_second == 0 {
            return Err(Error::invalid("'rows-per-second' must be above 0"));
        }
        Ok(Self { schema, kinds, rows_per_second, rows, seed: number(table, "seed")?.unwrap_or(0) })
    }
}

fn number<N: FromStr>(table: &Table, key: &str) -> Result<Option<N>> {
    let parse =
        |text: &String| text.parse().map_err(|_| Error::invalid(format!("'{key}' = '{text}' is no number that fits")));
    table.definition.options.get(key).map(parse).transpose()
}

fn kind_of(table: &Table, name: &str, sql_type: &SqlType) -> Result<Kind> {
    let key = |what: &str| format!("fields.{name}.{what}");
    let bounds = |min: i64, max: i64| -> Result<Kind> {
        let (min, max) = (number(table, &key("min"))?.unwrap_or(min), number(table, &key("max"))?.unwrap_or(max));
        match min <= max {
            true => Ok(Kind::Integer { min, max }),
            false => Err(Error::invalid(format!("of the column `{name}` the smallest value is above the largest"))),
        }
    };
    match table.definition.options.get(&key("kind")).map(String::as_str) {
        Some("sequence") => {
            let (Some(start), Some(end)) = (number(table, &key("start"))?, number(table, &key("end"))?) else {
                return Err(Error::invalid(format!(
                    "the sequence `{name}` needs '{}' and '{}'",
                    key("start"),
                    key("end")
                )));
            };
            let fits = matches!(
                sql_type,
                SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt | SqlType::Varchar(_)
            );
            match start <= end && fits {
                true => Ok(Kind::Sequence { start, end }),
                false if fits => Err(Error::invalid(format!("the sequence `{name}` starts behind its end"))),
                false => Err(Error::unsupported(format!(
                    "the column `{name}` cannot be a sequence: its type is no whole number"
                ))),
            }
        }
        None | Some("random") => match sql_type {
            SqlType::Boolean => Ok(Kind::Boolean),
            SqlType::TinyInt => bounds(i8::MIN.into(), i8::MAX.into()),
            SqlType::SmallInt => bounds(i16::MIN.into(), i16::MAX.into()),
            SqlType::Int => bounds(i32::MIN.into(), i32::MAX.into()),
            SqlType::BigInt => bounds(i64::MIN, i64::MAX),
            SqlType::Float | SqlType::Double => {
                let min: f64 = number(table, &key("min"))?.unwrap_or(0.0);
                let max: f64 = number(table, &key("max"))?.unwrap_or(1.0);
                match min < max && min.is_finite() && max.is_finite() {
                    true => Ok(Kind::Float { min, max }),
                    false => Err(Error::invalid(format!(
                        "of the column `{name}` the smallest value is not below the largest"
                    ))),
                }
            }
            SqlType::Char(length) => Ok(Kind::Text { length: (*length as usize).min(LONGEST_TEXT) }),
            SqlType::Varchar(longest) => {
                let length = number(table, &key("length"))?.unwrap_or(100usize);
                Ok(Kind::Text { length: length.min(*longest as usize).min(LONGEST_TEXT) })
            }
            SqlType::Timestamp(digits) | SqlType::TimestampLtz(digits) if *digits <= 3 => Ok(Kind::Now),
            other => {
                Err(Error::unsupported(format!("datagen does not make values of type {other:?} (column `{name}`) yet")))
            }
        },
        Some(other) => Err(Error::invalid(format!("'{}' = '{other}': write random or sequence", key("kind")))),
    }
}
