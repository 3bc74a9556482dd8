//! A job as data: inputs, stages, and what a snapshot of it holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aquifer_model::{Cut, Epoch, Result, Watermark};
use arrow::datatypes::{Fields, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use super::operator::{Operator, Snapshot};
use super::source::JobInput;
use crate::operators::stateless::Stateless;

/// A job: inputs side by side, then stages one after the other.
#[derive(Debug)]
pub struct JobSpec {
    /// What it reads; all give the same columns after their runs.
    pub inputs: Vec<InputSpec>,
    /// What follows, with an exchange before each.
    pub stages: Vec<StageSpec>,
    /// The result's columns.
    pub schema: SchemaRef,
}

/// One input and what happens to its rows before the first stage.
#[derive(Debug)]
pub struct InputSpec {
    /// The partitions.
    pub input: Arc<dyn JobInput>,
    /// What must run before the watermark can be computed.
    pub before_watermark: Stateless,
    /// Its watermark; without one it stays below all rows until the input ends.
    pub watermark: Option<WatermarkSpec>,
    /// Whether the run before the watermark ends with the hidden column [`super::ROW_WATERMARK`].
    pub row_watermark: bool,
    /// What runs on the workers.
    pub run: Stateless,
}

/// How a row's watermark is computed.
#[derive(Debug, Clone)]
pub struct WatermarkSpec {
    /// The time column's name, for messages, and its place; a NULL in it is an error.
    pub time_column: (String, usize),
    /// The watermark, of a timestamp type; NULL says nothing.
    pub expression: Arc<dyn PhysicalExpr>,
}

/// A stateful operator and what runs behind it.
#[derive(Clone)]
pub struct StageSpec {
    /// What it is, for messages.
    pub name: String,
    /// The columns of its input whose hash says which worker takes a row.
    pub keys: Vec<usize>,
    /// These columns.
    pub key_fields: Fields,
    /// Makes one worker's instance.
    pub make: Arc<dyn Fn() -> Result<Box<dyn Operator>> + Send + Sync>,
    /// What runs on its output.
    pub run: Stateless,
}

impl fmt::Debug for StageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageSpec").field("name", &self.name).field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// A job at the end of an epoch: from it the job goes on, on any number of workers, as if it had not stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSnapshot {
    /// The epoch that ended.
    pub epoch: Epoch,
    /// Where its inputs stood.
    pub sources: SourceMarks,
    /// Each stage's part, of all workers.
    pub operators: Vec<Snapshot>,
}

/// Where a job's inputs stood at the end of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceMarks {
    /// The combined watermark.
    pub watermark: Watermark,
    /// By input and partition.
    pub partitions: BTreeMap<(usize, String), PartitionMark>,
}

/// Where one partition stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionMark {
    /// Where to resume; `None`: nothing was read of it, it starts where the statement says.
    pub cut: Option<Cut>,
    /// Its own watermark.
    pub watermark: Watermark,
    /// It did not hold the combined watermark back.
    pub idle: bool,
    /// Nothing more comes.
    pub ended: bool,
}
