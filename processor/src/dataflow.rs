//! The dataflow: operators on timely workers, epochs, watermarks, snapshots.

pub mod operator;

use arrow::datatypes::Schema;

pub use operator::{EpochEnd, Operator, Output, Port, Snapshot, SnapshotReader};

/// The name of the hidden last column (Int64, milliseconds) with the watermark before each row, where a job judges lateness row by row.
pub const ROW_WATERMARK: &str = "__watermark";

/// Whether the last column is [`ROW_WATERMARK`].
pub(crate) fn has_row_watermark(schema: &Schema) -> bool {
    schema.fields().last().is_some_and(|field| field.name() == ROW_WATERMARK)
}
