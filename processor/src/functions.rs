//! Expressions in Flink's meaning: operators, casts and scalar functions, typed when a statement is bound.
//!
//! ```text
//!  operators  left + right ─► Flink's result type ─► our checked arithmetic, or DataFusion's comparison over equal types
//!  casts      CAST(x AS T) ─► Arrow's where it means the same, else ours
//!  functions  NAME(…)      ─► ours by name; a name that Flink does not have is unknown
//! ```

pub mod aggregates;
mod arithmetic;
mod casts;
mod intervals;
mod operators;
mod ranking;
mod scalar;
mod types;

use aquifer_formats::text::Tz;
use aquifer_model::{Error, Result, SqlType};
use arrow::datatypes::Field;
use datafusion::common::config::ConfigOptions;

pub use arithmetic::negate;
pub use casts::{cast, cast_column};
pub(crate) use casts::{offset_at_instant, offset_at_wall};
pub use operators::binary;
pub use ranking::ranking;
pub use scalar::{original, scalar, scalar_names};
pub use types::{common_type, is_boolean, type_of};

/// The session's zone as a statement carries it: a region or an offset such as `+08:00`; `None` is UTC.
pub(crate) fn session_zone(config: &ConfigOptions) -> Result<Option<Tz>> {
    // UTC needs no arithmetic at all.
    let Some(name) = config.execution.time_zone.as_deref().filter(|name| *name != "UTC") else { return Ok(None) };
    name.parse().map(Some).map_err(|_| Error::invalid(format!("`{name}` is no time zone")))
}

/// A type in Flink's words.
pub fn shown(field: &Field) -> String {
    SqlType::from_arrow(field.data_type()).map_or_else(|_| field.data_type().to_string(), |found| found.to_string())
}

#[cfg(test)]
mod tests;
