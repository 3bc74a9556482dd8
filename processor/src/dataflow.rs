//! The dataflow: operators on timely workers, epochs, watermarks, snapshots.
//!
//! ```text
//!  partitions ─► feeder ─► worker queues ─► stateless run ─► exchange ─► stage ─► … ─► sink ─► supervisor ─► changes
//!               (epoch clock,               └──────────── timely, one computation a job ──────────┘
//!                watermarks)
//! ```
//!
//! * The feeder closes epochs for all partitions together; what holds at an epoch's end is decided there once and told to every worker.
//! * No more than `epochs_in_flight` epochs are between feeder and supervisor.
//! * An error or a panic in a part stops the whole job; nothing of a job outlives it.

mod alignment;
pub(crate) mod feeder;
pub(crate) mod job;
pub mod operator;
mod passed;
pub mod runtime;
pub mod source;
pub(crate) mod watermarks;
mod worker;

#[cfg(test)]
mod tests;

use arrow::datatypes::Schema;

pub use job::{InputSpec, JobSnapshot, JobSpec, PartitionMark, SourceMarks, StageSpec, WatermarkSpec};
pub use operator::{EpochEnd, Operator, Output, Port, Snapshot, SnapshotReader};
pub use runtime::JobHandle;
pub(crate) use source::ReadAhead;
pub use source::{JobInput, JobSource, ScriptedInput, SourceBatch};

/// The name of the hidden last column (Int64, milliseconds) with the watermark before each row, where a job judges lateness row by row.
pub const ROW_WATERMARK: &str = "__watermark";

/// Whether the last column is [`ROW_WATERMARK`].
pub(crate) fn has_row_watermark(schema: &Schema) -> bool {
    schema.fields().last().is_some_and(|field| field.name() == ROW_WATERMARK)
}
