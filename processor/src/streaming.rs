//! From a logical plan to a streaming job.

mod aggregates;
mod planner;
mod pushdown;
mod tiered;

use std::sync::Arc;
use std::time::Duration;

use aquifer_model::{ChangeBatch, Result, Watermark};
use arrow::datatypes::SchemaRef;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::LogicalPlan;
use tokio::sync::mpsc;

use crate::dataflow::{JobHandle, JobSnapshot, runtime};

pub use tiered::StreamTable;
pub(crate) use tiered::{ScannedTable, find_table};

/// How a job runs: the settings of a session that matter here.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// Workers of the job: `parallelism.default`.
    pub workers: usize,
    /// After this long without a row a partition no longer holds the watermark back; zero: never. `table.exec.source.idle-timeout`.
    pub idle_timeout: Duration,
    /// A watermark after every row: `pipeline.auto-watermark-interval` = 0.
    pub watermark_per_row: bool,
    /// An epoch ends at the latest after this time.
    pub epoch_interval: Duration,
    /// An epoch ends at the latest after this many rows.
    pub epoch_rows: usize,
    /// How many epochs the sources may run ahead of the sink.
    pub epochs_in_flight: usize,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            workers: 1,
            idle_timeout: Duration::ZERO,
            watermark_per_row: false,
            epoch_interval: Duration::from_millis(100),
            epoch_rows: 65_536,
            epochs_in_flight: 4,
        }
    }
}

/// A job that runs. Dropping it stops it.
#[derive(Debug)]
pub struct RunningJob {
    /// The result's columns.
    pub schema: SchemaRef,
    /// The changelog, in order; ends when the job ends. An error is the last item.
    pub changes: mpsc::Receiver<Result<ChangeBatch>>,
    /// Counters that move while it runs.
    pub counters: Arc<JobCounters>,
    /// For snapshots. Dropping it changes nothing.
    pub handle: JobHandle,
}

/// Counters of a job.
#[derive(Debug, Default)]
pub struct JobCounters {
    /// (row, window) pairs that came too late.
    pub late_rows: std::sync::atomic::AtomicU64,
    /// Rows each worker took in after the exchange (or read, where there is none).
    pub worker_rows: std::sync::Mutex<Vec<u64>>,
    /// The watermark of the last epoch that was closed, in milliseconds since 1970; before that the lowest number.
    pub watermark: AtomicWatermark,
    /// Epochs ended.
    pub epochs: std::sync::atomic::AtomicU64,
    /// Keys (or key and window pairs) now in state, all operators.
    pub state_keys: std::sync::atomic::AtomicU64,
}

/// A watermark that the feeder sets and others read.
#[derive(Debug)]
pub struct AtomicWatermark(std::sync::atomic::AtomicI64);

impl Default for AtomicWatermark {
    fn default() -> Self {
        Self(std::sync::atomic::AtomicI64::new(Watermark::MIN.0))
    }
}

impl AtomicWatermark {
    /// Sets it.
    pub fn set(&self, watermark: Watermark) {
        self.0.store(watermark.0, std::sync::atomic::Ordering::Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> Watermark {
        Watermark(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// Starts an optimized plan as a streaming job. Its scans are [`crate::batch::TieredTable`]s (found by downcasting `TableScan::source`, itself or the provider
/// in it), [`StreamTable`]s, values and one-row relations. What streaming cannot run is refused with `Unsupported`, naming it.
pub async fn start(plan: &LogicalPlan, state: &SessionState, settings: JobSettings) -> Result<RunningJob> {
    start_from(plan, state, settings, None).await
}

/// Starts a plan from a snapshot of the same plan, perhaps with another number of workers.
pub async fn start_from(
    plan: &LogicalPlan,
    state: &SessionState,
    settings: JobSettings,
    from: Option<JobSnapshot>,
) -> Result<RunningJob> {
    let spec = planner::plan_job(plan, state, settings.watermark_per_row)?;
    runtime::start(spec, settings, from, None)
}

#[cfg(test)]
mod tests;
