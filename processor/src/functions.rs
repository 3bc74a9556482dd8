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
mod scalar;
mod types;

use aquifer_model::SqlType;
use arrow::datatypes::Field;

pub use arithmetic::negate;
pub use casts::{cast, cast_column};
pub use operators::binary;
pub use scalar::{scalar, scalar_names};
pub use types::{common_type, is_boolean, type_of};

/// A type in Flink's words.
pub fn shown(field: &Field) -> String {
    SqlType::from_arrow(field.data_type()).map_or_else(|_| field.data_type().to_string(), |found| found.to_string())
}

#[cfg(test)]
mod tests;
