//! Plans as jobs, with input in memory.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use aquifer_model::{Cut, ErrorKind, Position};
use arrow::array::{ArrayRef, Int32Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use async_trait::async_trait;
use datafusion::common::DFSchema;
use datafusion::execution::SessionStateBuilder;
use datafusion::functions_aggregate::expr_fn::{avg, count, max, sum};
use datafusion::logical_expr::{Expr, Extension, JoinType, LogicalPlanBuilder, col, lit};
use datafusion::scalar::ScalarValue;

use super::*;
use crate::dataflow::{JobInput, JobSource, ScriptedInput, SourceBatch};
use crate::operators::testing::changelog;
use crate::plan::{WatermarkNode, WindowKind, WindowNode};

mod tiered;

const PATIENCE: Duration = Duration::from_secs(60);

fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), true)
}

fn readings() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device", DataType::Int32, true),
        time("ts"),
        Field::new("value", DataType::Int32, true),
    ]))
}

fn batch(rows: &[(i32, i64, Option<i32>)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>()),
    ];
    ChangeBatch::inserts(RecordBatch::try_new(readings(), columns).expect("fits"))
}

fn state() -> SessionState {
    SessionStateBuilder::new().with_default_features().build()
}

fn scan(input: Arc<dyn JobInput>) -> LogicalPlanBuilder {
    LogicalPlanBuilder::scan("readings", Arc::new(StreamTable(input)), None).expect("a scan")
}

fn bounded(rows: &[(i32, i64, Option<i32>)]) -> LogicalPlanBuilder {
    scan(Arc::new(ScriptedInput::bounded(readings(), vec![rows.chunks(2).map(batch).collect()])))
}

fn extension(node: impl datafusion::logical_expr::UserDefinedLogicalNodeCore) -> LogicalPlanBuilder {
    LogicalPlanBuilder::from(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

fn watermarked(input: LogicalPlanBuilder, delay_ms: i64) -> LogicalPlanBuilder {
    let input = input.build().expect("a plan");
    let delay = lit(ScalarValue::new_interval_mdn(0, 0, delay_ms * 1_000_000));
    let schema = Arc::clone(input.schema());
    extension(WatermarkNode { input: Arc::new(input), column: "ts".to_string(), expression: col("ts") - delay, schema })
}

fn tumbled(input: LogicalPlanBuilder, size: i64) -> LogicalPlanBuilder {
    let input = input.build().expect("a plan");
    let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
    fields.extend(["window_start", "window_end", "window_time"].map(|name| (None, Arc::new(time(name)))));
    let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default()).expect("names differ"));
    let kind = WindowKind::Tumble { size, offset: 0 };
    extension(WindowNode { input: Arc::new(input), time_column: "ts".to_string(), kind, schema })
}

fn settings(workers: usize) -> JobSettings {
    JobSettings { workers, epoch_rows: 4, ..JobSettings::default() }
}

async fn run(plan: LogicalPlanBuilder, settings: JobSettings) -> Result<(Vec<String>, u64)> {
    let state = state();
    let plan = state.optimize(&plan.build().expect("a plan")).expect("optimizes");
    let mut job = start(&plan, &state, settings).await?;
    let mut lines = vec![];
    while let Some(changes) = tokio::time::timeout(PATIENCE, job.changes.recv()).await.expect("in time") {
        let changes = changes?;
        assert_eq!(changes.schema().fields().len(), job.schema.fields().len());
        lines.extend(changelog(&[changes]));
    }
    Ok((lines, job.counters.late_rows.load(Ordering::Relaxed)))
}

async fn sorted(plan: impl Fn() -> LogicalPlanBuilder, workers: usize, per_row: bool) -> (Vec<String>, u64) {
    let settings = JobSettings { watermark_per_row: per_row, ..settings(workers) };
    let (mut lines, late) = run(plan(), settings).await.expect("runs");
    lines.sort();
    (lines, late)
}

const ROWS: &[(i32, i64, Option<i32>)] = &[
    (1, 1, Some(10)),
    (2, 4, Some(-1)),
    (1, 9, None),
    (1, 12, Some(5)),
    (2, 8, Some(4)),
    (2, 25, Some(7)),
    (1, 3, Some(1000)),
    (1, 26, Some(2)),
];

#[tokio::test]
async fn a_windowed_aggregate_gives_one_answer_however_many_workers() {
    let plan = || {
        let windowed = tumbled(watermarked(bounded(ROWS), 2), 10);
        let group = [col("window_start"), col("window_end"), col("device")];
        windowed
            .filter(col("device").gt(lit(0)))
            .and_then(|p| {
                p.aggregate(
                    group,
                    [count(lit(1i64)).alias("n"), sum(col("value")).alias("total"), max(col("value")).alias("most")],
                )
            })
            .and_then(|p| p.filter(col("n").gt_eq(lit(1i64))))
            .and_then(|p| p.project([col("device"), col("window_end"), col("n"), col("total"), col("most")]))
            .expect("a plan")
    };
    let expected = ["+I 1 10 2 10 10", "+I 1 20 1 5 5", "+I 1 30 1 2 2", "+I 2 10 1 -1 -1", "+I 2 30 1 7 7"];
    for workers in 1..=3 {
        let (lines, late) = sorted(plan, workers, true).await;
        assert_eq!((lines, late), (expected.map(String::from).to_vec(), 2), "{workers} workers");
        let (lines, _) = sorted(plan, workers, false).await;
        assert_eq!(lines.len(), expected.len());
    }
}

#[tokio::test]
async fn a_window_of_windows_fires_too() {
    let windowed = tumbled(watermarked(bounded(ROWS), 100), 10);
    let group = [col("window_start"), col("window_end")];
    let plan = windowed
        .aggregate([col("window_start"), col("window_end"), col("device")], [sum(col("value")).alias("total")])
        .and_then(|p| p.aggregate(group, [max(col("total")).alias("most"), count(lit(1i64)).alias("devices")]))
        .expect("a plan");
    let (lines, late) = run(plan, settings(2)).await.expect("runs");
    assert_eq!((lines.len(), late), (3, 0));
    assert!(lines.contains(&"+I 0 10 1010 2".to_string()), "{lines:?}");
}

#[test]
fn columns_that_nobody_uses_are_not_read() {
    let plan = tumbled(watermarked(bounded(ROWS), 2), 10)
        .aggregate([col("window_start"), col("window_end")], [sum(col("value")).alias("total")])
        .and_then(|plan| plan.project([col("window_end"), col("total")]))
        .and_then(LogicalPlanBuilder::build)
        .expect("a plan");
    let plan = state().optimize(&plan).expect("optimizes").display_indent().to_string();
    assert!(plan.contains("TableScan: readings projection=[ts, value]"), "{plan}");
}

fn fold(lines: Vec<String>) -> Vec<String> {
    let mut rows = BTreeMap::<String, i64>::new();
    for line in lines {
        *rows.entry(line[3..].to_string()).or_default() += if line.starts_with('+') { 1 } else { -1 };
    }
    rows.into_iter().flat_map(|(row, n)| vec![row; usize::try_from(n).expect("taken back once")]).collect()
}

#[tokio::test]
async fn aggregates_without_a_window_are_updated() {
    let by_device = bounded(ROWS).aggregate([col("device")], [count(col("value")).alias("n")]).expect("a plan");
    let (lines, _) = run(by_device, settings(2)).await.expect("runs");
    assert!(lines.iter().any(|line| line.starts_with("-U")), "{lines:?}");
    assert_eq!(fold(lines), ["1 4", "2 3"]);
    let none: Vec<Expr> = vec![];
    let global = bounded(ROWS).aggregate(none, [count(lit(1i64)).alias("n")]).expect("a plan");
    assert_eq!(fold(run(global, settings(3)).await.expect("runs").0), ["8"]);
    let distinct = bounded(ROWS).project([col("device")]).and_then(LogicalPlanBuilder::distinct).expect("a plan");
    assert_eq!(fold(run(distinct, settings(2)).await.expect("runs").0), ["1", "2"]);
    let start_only = tumbled(watermarked(bounded(ROWS), 0), 10);
    let start_only = start_only.aggregate([col("window_start")], [count(lit(1i64)).alias("n")]).expect("a plan");
    let (lines, late) = run(start_only, settings(1)).await.expect("runs");
    assert_eq!((fold(lines), late), (vec!["0 5".to_string(), "10 1".to_string(), "20 2".to_string()], 0));
    let average = bounded(ROWS).filter(col("device").eq(lit(2))).expect("a plan");
    let average = average.aggregate([col("device")], [avg(col("value")).alias("mean")]).expect("a plan");
    let lines = fold(run(average, settings(1)).await.expect("runs").0);
    assert!(lines[0].starts_with("2 3.33"), "{lines:?}");
}

#[tokio::test]
async fn stateless_queries_keep_the_order_and_values_join_in() {
    let plan =
        bounded(ROWS).filter(col("value").gt(lit(4))).and_then(|p| p.project([col("value") * lit(2)])).expect("a plan");
    assert_eq!(run(plan, settings(1)).await.expect("runs").0, ["+I 20", "+I 10", "+I 14", "+I 2000"]);
    let values = LogicalPlanBuilder::values(vec![vec![lit(7)], vec![lit(8)]]).expect("values");
    let table = bounded(ROWS).project([col("device")]).expect("a plan");
    let both = values.union(table.build().expect("a plan")).expect("a union");
    let (mut lines, _) = run(both, settings(2)).await.expect("runs");
    lines.sort();
    assert_eq!(lines.len(), 10);
    assert_eq!(&lines[8..], ["+I 7", "+I 8"]);
    let one = LogicalPlanBuilder::empty(true).project([lit(1)]).expect("a plan");
    assert_eq!(run(one, settings(1)).await.expect("runs").0, ["+I 1"]);
}

#[tokio::test]
async fn what_streaming_cannot_run_is_refused_by_name() {
    let none: Vec<Expr> = vec![];
    let counted = || bounded(ROWS).aggregate([col("device")], [count(col("value")).alias("n")]).expect("a plan");
    let other = || {
        scan(Arc::new(ScriptedInput::bounded(readings(), vec![]))).alias("other").and_then(LogicalPlanBuilder::build)
    };
    let cases: Vec<(LogicalPlanBuilder, ErrorKind, &str)> = vec![
        (bounded(ROWS).sort([col("ts").sort(true, true)]).expect("a plan"), ErrorKind::Unsupported, "ORDER BY"),
        (bounded(ROWS).limit(0, Some(3)).expect("a plan"), ErrorKind::Unsupported, "LIMIT"),
        (
            bounded(ROWS)
                .join(other().expect("a plan"), JoinType::Inner, (vec!["readings.device"], vec!["other.device"]), None)
                .expect("a plan"),
            ErrorKind::Unsupported,
            "join",
        ),
        (counted().aggregate(none, [max(col("n"))]).expect("a plan"), ErrorKind::Unsupported, "MIN` and `MAX"),
        (
            bounded(ROWS)
                .aggregate([col("device")], [datafusion::functions_aggregate::expr_fn::stddev(col("value"))])
                .expect("a plan"),
            ErrorKind::Unsupported,
            "STDDEV",
        ),
        (tumbled(bounded(ROWS), 10), ErrorKind::Invalid, "WATERMARK FOR ts"),
    ];
    for (plan, kind, text) in cases {
        let error = run(plan, settings(1)).await.expect_err(text);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(kind == ErrorKind::Invalid || error.to_string().contains("'batch'"), "{error}");
    }
}

/// Makes its rows as they are asked for: `windows` windows of 10 ms with `rows` rows each.
#[derive(Debug)]
struct Generator {
    windows: i64,
    rows: usize,
}

struct GeneratorSource(Arc<Generator>, i64);

#[async_trait]
impl JobInput for Arc<Generator> {
    fn schema(&self) -> SchemaRef {
        readings()
    }
    async fn partitions(&self) -> Result<Vec<String>> {
        Ok(vec!["0".to_string()])
    }
    async fn open(&self, _: &str, _: Option<Cut>) -> Result<Box<dyn JobSource>> {
        Ok(Box::new(GeneratorSource(Arc::clone(self), 0)))
    }
}

#[async_trait]
impl JobSource for GeneratorSource {
    async fn next(&mut self) -> Result<Option<SourceBatch>> {
        const AT_ONCE: i64 = 10;
        if self.1 >= self.0.windows {
            return Ok(None);
        }
        let (first, rows) = (self.1, self.0.rows as i64 * AT_ONCE);
        self.1 += AT_ONCE;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values((0..rows).map(|row| (row % 5) as i32))),
            Arc::new(TimestampMillisecondArray::from_iter_values(
                (0..rows).map(|row| first * 10 + row * 10 * AT_ONCE / rows),
            )),
            Arc::new(Int32Array::from_iter_values((0..rows).map(|row| row as i32))),
        ];
        let changes = ChangeBatch::inserts(RecordBatch::try_new(readings(), columns)?);
        Ok(Some(SourceBatch { changes, cut: Cut::After(Position::new(0, self.1 as u64)), time: None }))
    }
}

#[tokio::test]
async fn five_million_rows_over_ten_thousand_windows_keep_a_flat_state() {
    let generator = Arc::new(Generator { windows: 10_000, rows: 500 });
    let plan = tumbled(watermarked(scan(Arc::new(generator)), 20), 10)
        .aggregate(
            [col("window_start"), col("window_end"), col("device")],
            [count(lit(1i64)).alias("n"), sum(col("value"))],
        )
        .expect("a plan");
    let state = state();
    let plan = state.optimize(&plan.build().expect("a plan")).expect("optimizes");
    let settings = JobSettings { workers: 2, epoch_rows: 20_000, epochs_in_flight: 2, ..JobSettings::default() };
    let mut job = start(&plan, &state, settings).await.expect("starts");
    let (mut rows, mut counted, mut most) = (0, 0, 0);
    while let Some(changes) = tokio::time::timeout(PATIENCE, job.changes.recv()).await.expect("in time") {
        let changes = changes.expect("no error");
        most = most.max(job.counters.state_keys.load(Ordering::Relaxed));
        rows += changes.num_rows();
        let counts = changes.rows().column(3);
        let counts = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(counts);
        counted += arrow::compute::sum(counts).unwrap_or(0);
    }
    assert_eq!((rows, counted), (50_000, 5_000_000));
    assert!(most > 0 && most < 2_000, "{most} keys and windows at once");
    assert_eq!(job.counters.state_keys.load(Ordering::Relaxed), 0);
    assert_eq!(job.counters.late_rows.load(Ordering::Relaxed), 0);
}
