//! The dataflow: operators on timely workers, epochs, watermarks, snapshots.

pub mod operator;

pub use operator::{EpochEnd, Operator, Output, Port, Snapshot, SnapshotReader};
