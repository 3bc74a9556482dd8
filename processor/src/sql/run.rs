//! Runs a bound query, in batch or as a stream, and reports on it.

use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use aquifer_model::{ChangeBatch, Error, Result, Watermark};
use aquifer_storage::reader::ReadStatistics;
use arrow::datatypes::{Schema, SchemaRef, TimestampMillisecondType};
use arrow::temporal_conversions::as_datetime;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlanProperties, execute_stream};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::binder::Bound;
use super::{Report, Running};
use crate::batch::{TieredTable, from_datafusion};
use crate::runtimes;
use crate::streaming::{self, JobCounters, JobSettings};

/// What a query's readers and its job count.
#[derive(Debug)]
pub(super) struct QueryReport {
    pub tables: Vec<Arc<TieredTable>>,
    pub counters: Option<Arc<JobCounters>>,
}

impl Report for QueryReport {
    fn line(&self) -> String {
        let mut line = String::new();
        let (mut archive, mut log, mut pruned, mut nulls) = (0, 0, 0, 0);
        for table in &self.tables {
            let read = table.read_so_far();
            archive += read.archive_rows;
            log += read.log_rows;
            pruned += read.pruned_rows;
            nulls += read.null_messages;
        }
        let _ = write!(line, "{archive} rows from the archive, {log} rows from the log");
        for (count, what) in [
            (pruned, "rows left out by statistics"),
            (nulls, "messages without a value"),
            (self.skipped_messages(), "messages that did not decode, left out"),
            (self.late_rows(), "late rows"),
        ] {
            if count > 0 {
                let _ = write!(line, ", {count} {what}");
            }
        }
        line
    }

    fn reached(&self) -> String {
        let mut parts = vec![];
        let watermark = self.counters.as_ref().map(|counters| counters.watermark.get());
        if let Some(watermark) =
            watermark.filter(|watermark| *watermark > Watermark::MIN && *watermark < Watermark::MAX)
        {
            let time = as_datetime::<TimestampMillisecondType>(watermark.0);
            parts.extend(time.map(|time| format!("watermark {}", time.format("%Y-%m-%d %H:%M:%S%.3f"))));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let partitions: Vec<ReadStatistics> = self.tables.iter().flat_map(|table| table.read_by_partition()).collect();
        let log_time = |read: &ReadStatistics| read.log_time_ms.map(|time| if read.log_at_end { now } else { time });
        for (tier, times) in [
            ("archive", partitions.iter().filter_map(|read| read.archive_time_ms).collect::<Vec<_>>()),
            ("log", partitions.iter().filter_map(log_time).collect()),
        ] {
            if let Some(oldest) = times.iter().min() {
                let of = if times.len() == 1 { "partition" } else { "partitions" };
                let behind =
                    if *oldest >= now { "at its end".to_string() } else { format!("{} behind", lag(now - oldest)) };
                parts.push(format!("{} {of} in the {tier}, {behind}", times.len()));
            }
        }
        parts.join(", ")
    }

    fn late_rows(&self) -> u64 {
        self.counters.as_ref().map_or(0, |counters| counters.late_rows.load(Ordering::Relaxed))
    }

    fn skipped_messages(&self) -> u64 {
        self.tables.iter().map(|table| table.read_so_far().skipped_messages).sum()
    }

    fn read(&self) -> (u64, u64) {
        self.tables.iter().map(|table| table.read_so_far()).fold((0, 0), |(rows, bytes), read| {
            (rows + read.archive_rows + read.log_rows, bytes + read.archive_bytes + read.log_bytes)
        })
    }
}

/// A stretch of time as people say it, in its largest unit.
fn lag(millis: i64) -> String {
    let millis = millis.max(0);
    match millis / 1000 {
        0..60 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// The columns of a plan.
pub(super) fn output_schema(plan: &LogicalPlan) -> SchemaRef {
    let fields = plan.schema().fields().iter().cloned().collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

/// Starts a bound query.
pub(super) async fn start(bound: Bound, state: &SessionState, job: Option<JobSettings>) -> Result<Running> {
    let bounded = bound.is_bounded();
    let schema = output_schema(&bound.plan);
    let plan = state.optimize(&bound.plan).map_err(from_datafusion)?;
    match job {
        Some(settings) => {
            refuse_subqueries(&plan)?;
            let job = streaming::start(&plan, state, settings).await?;
            let report = QueryReport { tables: bound.tables, counters: Some(Arc::clone(&job.counters)) };
            let changes = forward_job(job, Arc::clone(&schema));
            Ok(Running { schema, streaming: true, bounded, changes, report: Arc::new(report) })
        }
        None => {
            let physical = state.query_planner().create_physical_plan(&plan, state).await.map_err(from_datafusion)?;
            tracing::debug!(partitions = physical.output_partitioning().partition_count(), "running in batch");
            let room = runtimes::batch()?;
            let mut stream = {
                // Some plans begin to run when they are asked for their stream.
                let _inside = room.enter();
                execute_stream(physical, state.task_ctx()).map_err(from_datafusion)?
            };
            let (sender, changes) = mpsc::channel(4);
            let named = Arc::clone(&schema);
            let stopped = sender.clone();
            let rows = async move {
                while let Some(next) = stream.next().await {
                    let batch = next.map_err(from_datafusion).and_then(|rows| renamed(&rows, &named));
                    let is_last = batch.is_err();
                    if sender.send(batch.map(ChangeBatch::inserts)).await.is_err() || is_last {
                        return;
                    }
                }
            };
            // A panic must not look like the end of the rows.
            room.spawn(async move {
                let ended = tokio::select! {
                    ended = AssertUnwindSafe(rows).catch_unwind() => ended,
                    () = stopped.closed() => return,
                };
                if let Err(panic) = ended {
                    let _ = stopped.send(Err(super::fault(panic.as_ref()))).await;
                }
            });
            let report = QueryReport { tables: bound.tables, counters: None };
            Ok(Running { schema, streaming: false, bounded: true, changes, report: Arc::new(report) })
        }
    }
}

/// A stream runs joins of subqueries where it has them, never a subquery as a value.
fn refuse_subqueries(plan: &LogicalPlan) -> Result<()> {
    let is_one = |one: &Expr| {
        Ok(matches!(one, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
    };
    let found = plan.exists(|node| {
        let mut found = false;
        node.apply_expressions(|expression| {
            found |= expression.exists(is_one)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    });
    if found.map_err(from_datafusion)? {
        return Err(Error::unsupported(
            "a subquery in an expression of a streaming query: run it with `SET 'execution.runtime-mode' = 'batch'`",
        ));
    }
    Ok(())
}

/// The job's changes under the query's names; the job lives as long as somebody listens.
fn forward_job(mut job: streaming::RunningJob, schema: SchemaRef) -> mpsc::Receiver<Result<ChangeBatch>> {
    let (sender, changes) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                next = job.changes.recv() => next,
                () = sender.closed() => return,
            };
            let Some(next) = next else { return };
            let next = next.and_then(|batch| batch.with_rows(renamed(batch.rows(), &schema)?));
            let is_last = next.is_err();
            if sender.send(next).await.is_err() || is_last {
                return;
            }
        }
    });
    changes
}

/// The same columns under the plan's names and types.
fn renamed(rows: &arrow::array::RecordBatch, schema: &SchemaRef) -> Result<arrow::array::RecordBatch> {
    let nullable: Vec<_> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    if rows.num_columns() != nullable.len() {
        return Err(Error::internal("a query gave another number of columns than it was planned with"));
    }
    crate::batch::as_table(rows, &Arc::new(Schema::new(nullable)))
}
