//! Jobs on timely, with input in memory.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aquifer_catalog::options::{Alignment, Emit, WatermarkSettings};
use aquifer_model::{ChangeBatch, Cut, ErrorKind, Result, Watermark};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::physical_expr::expressions::col;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::mpsc;

use super::source::{Script, ScriptedInput};
use super::*;
use crate::operators::aggregates::{AggregateKind, AggregateSpec};
use crate::operators::stateless::{Stateless, Step};
use crate::operators::testing::changelog;
use crate::operators::window_aggregate::{GroupColumn, WindowAggregate, WindowAggregateSpec};
use crate::plan::WindowKind;
use crate::streaming::{JobSettings, RunningJob};

const PATIENCE: Duration = Duration::from_secs(30);
const SIZE: i64 = 10;

fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), true)
}

/// Columns `ts`, `wm` (the row's own watermark), `key`.
fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![time("ts"), time("wm"), Field::new("key", DataType::Int64, true)]))
}

fn batch(rows: &[(i64, i64, i64)]) -> ChangeBatch {
    let times = |at: fn(&(i64, i64, i64)) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(at(row))).collect::<TimestampMillisecondArray>())
    };
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
    let batch = RecordBatch::try_new(columns(), vec![times(|row| row.0), times(|row| row.1), keys]);
    ChangeBatch::inserts(batch.expect("fits"))
}

/// `SELECT key, window_end, COUNT(*) … GROUP BY window_start, window_end, key`.
fn counting(input: ScriptedInput, per_row: bool) -> JobSpec {
    let mut fields: Vec<Field> = columns().fields().iter().map(|field| Field::clone(field)).collect();
    fields.extend(["window_start", "window_end", "window_time"].map(time));
    let row_watermark = per_row.then(|| {
        fields.push(Field::new(ROW_WATERMARK, DataType::Int64, false));
        fields.len() - 1
    });
    let windowed: SchemaRef = Arc::new(Schema::new(fields));
    let kind = WindowKind::Tumble { size: SIZE, offset: 0 };
    let run = Stateless::new(vec![Step::Window { time_column: 0, kind, schema: Arc::clone(&windowed) }]);
    let count = AggregateSpec {
        kind: AggregateKind::Count,
        argument: None,
        argument_type: None,
        output: Arc::new(Field::new("rows", DataType::Int64, false)),
    };
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        time("window_end"),
        Field::clone(&count.output),
    ]));
    let spec = WindowAggregateSpec {
        start: 3,
        end: 4,
        group: vec![GroupColumn::Key(2), GroupColumn::End],
        aggregates: vec![count],
        schema: Arc::clone(&schema),
        row_watermark,
    };
    let key = Field::new("key", DataType::Int64, true);
    let stage = StageSpec {
        name: "window".to_string(),
        keys: vec![2],
        key_fields: [key].into_iter().collect(),
        make: Arc::new(move || Ok(Box::new(WindowAggregate::new(spec.clone(), &windowed)?))),
        run: Stateless::default(),
    };
    let watermark = WatermarkSpec {
        time_column: ("ts".to_string(), 0),
        expression: col("wm", &columns()).expect("a column"),
        timeless: None,
    };
    let input = InputSpec {
        input: Arc::new(input),
        before_watermark: Stateless::default(),
        watermark: Some(watermark),
        times: WatermarkSettings::default(),
        row_watermark: per_row,
        run,
    };
    JobSpec { inputs: vec![input], stages: vec![stage], schema }
}

fn settings(workers: usize) -> JobSettings {
    JobSettings { workers, epoch_rows: 10, ..JobSettings::default() }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

async fn finish(job: &mut RunningJob) -> Result<Vec<String>> {
    let mut lines = vec![];
    while let Some(changes) = within(job.changes.recv()).await {
        lines.extend(changelog(&[changes?]));
    }
    lines.sort();
    Ok(lines)
}

fn start(spec: JobSpec, settings: JobSettings) -> RunningJob {
    runtime::start(spec, settings, None, None).expect("starts")
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn held_open(partitions: usize) -> (ScriptedInput, Vec<Arc<Script>>) {
    ScriptedInput::held_open(columns(), partitions)
}

#[tokio::test]
async fn a_window_comes_while_the_source_still_waits_and_its_state_is_freed() {
    for workers in 1..=3 {
        let (input, scripts) = held_open(1);
        let mut job = start(counting(input, false), settings(workers));
        scripts[0].push(batch(&[(1, 1, 7), (2, 2, 8), (3, 3, 7)]));
        let counters = Arc::clone(&job.counters);
        until("three rows make two groups", || counters.state_keys.load(Ordering::Relaxed) == 2).await;
        scripts[0].push(batch(&[(12, 12, 7)]));
        let mut lines = vec![];
        while lines.len() < 2 {
            let changes = within(job.changes.recv()).await.expect("a first window").expect("no error");
            lines.extend(changelog(&[changes]));
        }
        lines.sort();
        assert_eq!(lines, ["+I 7 10 2", "+I 8 10 1"]);
        until("the fired window is freed", || counters.state_keys.load(Ordering::Relaxed) == 1).await;
        scripts[0].push(batch(&[(5, 5, 1)]));
        until("the late row is counted", || counters.late_rows.load(Ordering::Relaxed) == 1).await;
        scripts[0].close();
        assert_eq!(finish(&mut job).await.expect("ends by itself"), ["+I 7 20 1"]);
    }
}

#[tokio::test]
async fn a_quiet_partition_holds_the_watermark_back_until_it_is_idle() {
    let (input, scripts) = held_open(2);
    let idle_timeout = Duration::from_millis(50);
    let started = Instant::now();
    let mut job = start(counting(input, false), JobSettings { idle_timeout, ..settings(1) });
    scripts[0].push(batch(&[(1, 1, 7), (30, 30, 7)]));
    let changes = within(job.changes.recv()).await.expect("a window").expect("no error");
    assert_eq!(changelog(&[changes]), ["+I 7 10 1"]);
    assert!(started.elapsed() >= idle_timeout, "not before the other partition was idle");

    let (input, scripts) = held_open(2);
    let mut job = start(counting(input, false), settings(1));
    scripts[0].push(batch(&[(1, 1, 7), (30, 30, 7)]));
    until("the rows came", || job.counters.epochs.load(Ordering::Relaxed) > 0).await;
    assert!(job.changes.try_recv().is_err(), "without a timeout nothing is idle");
    scripts[1].push(batch(&[(25, 25, 1)]));
    let changes = within(job.changes.recv()).await.expect("a window").expect("no error");
    assert_eq!(changelog(&[changes]), ["+I 7 10 1"]);
}

/// Rows in partitions, in batches, out of order by up to 30 ms while the watermark lags by 10.
fn random_input(seed: u64, partitions: usize) -> Vec<Vec<Vec<(i64, i64, i64)>>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut partition = |_| {
        let mut now = 0;
        (0..random.random_range(3..8))
            .map(|_| {
                let row = |_| {
                    now += random.random_range(0..6);
                    let time = now - if random.random_bool(0.1) { 30 } else { random.random_range(0..10) };
                    (time, now - 10, random.random_range(0..20))
                };
                (0..6).map(row).collect()
            })
            .collect()
    };
    (0..partitions).map(&mut partition).collect()
}

fn bounded(input: &[Vec<Vec<(i64, i64, i64)>>]) -> ScriptedInput {
    let batches = input.iter().map(|partition| partition.iter().map(|rows| batch(rows)).collect());
    ScriptedInput::bounded(columns(), batches.collect())
}

/// Counts by key and window, of one partition read row by row, without the late rows.
fn oracle(rows: impl Iterator<Item = (i64, i64, i64)>) -> (Vec<String>, u64) {
    oracle_with_gap(rows, 1)
}

/// The same with a watermark after every `gap` rows.
fn oracle_with_gap(rows: impl Iterator<Item = (i64, i64, i64)>, gap: usize) -> (Vec<String>, u64) {
    let (mut counts, mut late, mut watermark) = (BTreeMap::<(i64, i64), u64>::new(), 0, Watermark::MIN);
    let mut said = Watermark::MIN;
    for (row, (time, says, key)) in rows.enumerate() {
        let end = time.div_euclid(SIZE) * SIZE + SIZE;
        if watermark.0 >= end - 1 {
            late += 1;
        } else {
            *counts.entry((key, end)).or_default() += 1;
        }
        said.advance_to(Watermark(says));
        if (row + 1).is_multiple_of(gap) {
            watermark = said;
        }
    }
    let mut lines: Vec<String> = counts.iter().map(|((key, end), rows)| format!("+I {key} {end} {rows}")).collect();
    lines.sort();
    (lines, late)
}

#[tokio::test]
async fn with_a_watermark_after_every_row_the_answer_is_exactly_the_oracles() {
    let mut all_late = 0;
    for seed in 0..8 {
        let input = random_input(seed, 1);
        let (expected, late) = oracle(input[0].iter().flatten().copied());
        for workers in 1..=3 {
            let settings = JobSettings { watermark_per_row: true, ..settings(workers) };
            let mut job = start(counting(bounded(&input), true), settings);
            assert_eq!(finish(&mut job).await.expect("ends"), expected, "seed {seed}, {workers} workers");
            assert_eq!(job.counters.late_rows.load(Ordering::Relaxed), late);
            assert_eq!(job.counters.state_keys.load(Ordering::Relaxed), 0);
        }
        all_late += late;
    }
    assert!(all_late > 0, "some rows are late");
}

#[tokio::test]
async fn a_table_says_itself_whether_a_watermark_follows_its_rows() {
    let mut all_late = 0;
    for seed in 0..8 {
        let input = random_input(seed, 1);
        for gap in [1, 2, 5] {
            let (expected, late) = oracle_with_gap(input[0].iter().flatten().copied(), gap);
            let mut spec = counting(bounded(&input), true);
            spec.inputs[0].times.emit = Some(Emit::Rows(gap as u64));
            let mut job = start(spec, settings(2));
            assert_eq!(finish(&mut job).await.expect("ends"), expected, "seed {seed}, gap {gap}");
            assert_eq!(job.counters.late_rows.load(Ordering::Relaxed), late);
            all_late += late;
        }
        // And that it does not, whatever the session says: all is read in one epoch.
        let mut spec = counting(bounded(&input), true);
        spec.inputs[0].times.emit = Some(Emit::Periodic);
        let one_epoch = JobSettings {
            watermark_per_row: true,
            epoch_rows: 100_000,
            epoch_interval: PATIENCE,
            ..JobSettings::default()
        };
        let mut job = start(spec, one_epoch);
        finish(&mut job).await.expect("ends");
        assert_eq!(job.counters.late_rows.load(Ordering::Relaxed), 0, "seed {seed}");
    }
    assert!(all_late > 0, "some rows are late");
}

#[tokio::test]
async fn a_table_says_itself_when_its_partitions_are_idle() {
    for (own, session) in [(Some(Duration::from_millis(50)), Duration::ZERO), (None, Duration::from_millis(50))] {
        let (input, scripts) = held_open(2);
        let mut spec = counting(input, false);
        spec.inputs[0].times.idle_timeout = own;
        let mut job = start(spec, JobSettings { idle_timeout: session, ..settings(1) });
        scripts[0].push(batch(&[(1, 1, 7), (30, 30, 7)]));
        let changes = within(job.changes.recv()).await.expect("a window").expect("no error");
        assert_eq!(changelog(&[changes]), ["+I 7 10 1"]);
    }
}

/// An input that stops at an event time; told that quiet partitions may end it closes these scripts.
#[derive(Debug)]
struct Stopping {
    input: ScriptedInput,
    scripts: Vec<Arc<Script>>,
    stop: Watermark,
    told: Arc<Mutex<Vec<(i64, Duration)>>>,
}

#[async_trait]
impl JobInput for Stopping {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
    async fn partitions(&self) -> Result<Vec<String>> {
        self.input.partitions().await
    }
    async fn open(&self, partition: &str, from: Option<Cut>) -> Result<Box<dyn JobSource>> {
        self.input.open(partition, from).await
    }
    fn stop_watermark(&self) -> Option<Watermark> {
        Some(self.stop)
    }
    fn end_quiet_partitions(&self, from_ms: i64, quiet: Duration) {
        self.told.lock().expect("not poisoned").push((from_ms, quiet));
        if from_ms == i64::MIN {
            self.scripts.iter().for_each(|script| script.close());
        }
    }
}

#[tokio::test]
async fn a_stop_that_one_partition_has_reached_lets_the_others_end() {
    let second = Duration::from_secs(1);
    let timeout = Duration::from_secs(3600);
    for (idle_timeout, expected) in
        [(Duration::ZERO, vec![(i64::MIN, second)]), (timeout, vec![(50, timeout), (i64::MIN, timeout)])]
    {
        let (input, scripts) = held_open(3);
        scripts[0].push(batch(&[(1, 1, 7), (45, 45, 7)]));
        scripts[0].push(batch(&[(60, 60, 7)]));
        scripts[0].push(batch(&[(70, 70, 7)]));
        scripts[1].push(batch(&[(12, 12, 8)]));
        let told: Arc<Mutex<Vec<(i64, Duration)>>> = Arc::default();
        let mut spec = counting(ScriptedInput::bounded(columns(), vec![]), false);
        spec.inputs[0].input = Arc::new(Stopping { input, scripts, stop: Watermark(50), told: Arc::clone(&told) });
        let mut job = start(spec, JobSettings { idle_timeout, ..settings(2) });
        let lines = finish(&mut job).await.expect("ends, though one is empty and one quiet");
        // What comes behind the stop is not read.
        assert_eq!(lines, ["+I 7 10 1", "+I 7 50 1", "+I 7 70 1", "+I 8 20 1"]);
        assert_eq!(*told.lock().expect("not poisoned"), expected);
    }
}

#[tokio::test]
async fn a_job_that_goes_on_knows_that_its_stop_was_reached() {
    let spec = |scripts: &[Arc<Script>], input: ScriptedInput| {
        let mut spec = counting(ScriptedInput::bounded(columns(), vec![]), false);
        let scripts = scripts.to_vec();
        spec.inputs[0].input = Arc::new(Stopping { input, scripts, stop: Watermark(50), told: Arc::default() });
        spec
    };
    let (input, scripts) = held_open(2);
    scripts[0].push(batch(&[(60, 60, 7)]));
    let job = start(spec(&[], input), settings(1));
    let deadline = Instant::now() + PATIENCE;
    let snapshot = loop {
        let snapshot = within(job.handle.snapshot()).await.expect("runs on");
        if snapshot.sources.partitions.get(&(0, "0".to_string())).is_some_and(|mark| mark.ended) {
            break snapshot;
        }
        assert!(Instant::now() < deadline, "the first partition ends");
    };
    drop(job);
    let (input, scripts) = held_open(2);
    let mut job = runtime::start(spec(&scripts, input), settings(1), Some(snapshot), None).expect("starts");
    assert_eq!(finish(&mut job).await.expect("ends"), ["+I 7 70 1"]);
}

#[tokio::test]
async fn an_aligned_partition_waits_for_the_slowest_that_is_not_idle() {
    let rows: Vec<i64> = (0..100).map(|n| n * 10).collect();
    let taken = |job: &RunningJob| job.counters.worker_rows.lock().expect("not poisoned").iter().sum::<u64>();
    for idle_timeout in [Duration::ZERO, Duration::from_millis(200)] {
        let (input, scripts) = held_open(2);
        let mut spec = counting(input, false);
        let alignment = Alignment { group: "g".to_string(), max_drift: Duration::from_millis(100) };
        spec.inputs[0].times.alignment = Some(alignment);
        scripts[1].push(batch(&[(0, 0, 1)]));
        rows.iter().for_each(|at| scripts[0].push(batch(&[(*at, *at, 2)])));
        let mut job = start(spec, JobSettings { idle_timeout, ..settings(1) });
        if idle_timeout.is_zero() {
            // One batch beyond the drift.
            until("it goes as far as it may", || taken(&job) == 13).await;
            let snapshot = within(job.handle.snapshot()).await.expect("runs");
            assert_eq!(snapshot.sources.partitions[&(0, "0".to_string())].watermark, Watermark(110));
            scripts[1].push(batch(&[(500, 500, 1)]));
            until("it follows the slowest", || taken(&job) == 64).await;
            let snapshot = within(job.handle.snapshot()).await.expect("runs");
            assert_eq!(snapshot.sources.partitions[&(0, "0".to_string())].watermark, Watermark(610));
            scripts[1].close();
        }
        let all = if idle_timeout.is_zero() { 102 } else { 101 };
        until("what is idle or has ended holds nobody", || {
            while job.changes.try_recv().is_ok() {}
            taken(&job) == all
        })
        .await;
        scripts.iter().for_each(|script| script.close());
        finish(&mut job).await.expect("ends");
    }
}

#[tokio::test]
async fn one_two_and_three_workers_give_one_answer_and_all_take_part() {
    let rows: Vec<(i64, i64, i64)> = (0..900).map(|n| (n, n - 50, n * 7 % 31)).collect();
    let partitions: Vec<Vec<Vec<_>>> = (0..3)
        .map(|partition| rows.iter().skip(partition).step_by(3).copied().collect::<Vec<_>>())
        .map(|rows| rows.chunks(7).map(<[_]>::to_vec).collect())
        .collect();
    let mut in_order = rows.clone();
    in_order.sort_unstable();
    let (expected, _) = oracle(in_order.into_iter().map(|(time, _, key)| (time, i64::MIN, key)));
    for workers in 1..=3 {
        let mut job = start(counting(bounded(&partitions), false), settings(workers));
        assert_eq!(finish(&mut job).await.expect("ends"), expected, "{workers} workers");
        let shares = job.counters.worker_rows.lock().expect("not poisoned").clone();
        assert_eq!((shares.len(), shares.iter().sum::<u64>()), (workers, 900));
        assert!(shares.iter().all(|rows| *rows > 0), "{shares:?}");
    }
}

#[tokio::test]
async fn stopped_after_every_epoch_a_job_goes_on_with_any_number_of_workers() {
    for seed in 0..3 {
        let input = random_input(seed, 1);
        let (expected, late) = oracle(input[0].iter().flatten().copied());
        let per_row = |workers| JobSettings { watermark_per_row: true, epoch_rows: 1, ..settings(workers) };
        let (snapshots_to, mut snapshots) = mpsc::unbounded_channel();
        let spec = counting(bounded(&input), true);
        let mut job = runtime::start(spec, per_row(2), None, Some(snapshots_to)).expect("starts");
        assert_eq!(finish(&mut job).await.expect("ends"), expected);
        let mut kept = vec![];
        while let Some(snapshot) = snapshots.recv().await {
            kept.push(snapshot);
        }
        assert!(kept.len() > 2, "{} epochs", kept.len());
        for (workers, snapshot) in (1..=3).flat_map(|workers| kept.iter().map(move |snapshot| (workers, snapshot))) {
            let spec = counting(bounded(&input), true);
            let mut job = runtime::start(spec, per_row(workers), Some(snapshot.clone()), None).expect("starts");
            let rest = finish(&mut job).await.expect("ends");
            let open = |line: &&String| {
                let end = line.split(' ').nth(2).and_then(|end| end.parse::<i64>().ok()).expect("a window's end");
                end - 1 > snapshot.sources.watermark.0
            };
            let expected: Vec<String> = expected.iter().filter(open).cloned().collect();
            assert_eq!(rest, expected, "seed {seed}, stopped after epoch {}, {workers} workers", snapshot.epoch);
            assert!(job.counters.late_rows.load(Ordering::Relaxed) <= late);
            assert_eq!(job.counters.state_keys.load(Ordering::Relaxed), 0);
        }
    }
}

/// Panics or fails at its second batch.
struct Faulty(bool, u32);

impl Operator for Faulty {
    fn on_batch(&mut self, _: Port, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        self.1 += 1;
        assert!(self.1 < 2 || !self.0, "one batch too many");
        if self.1 >= 2 {
            return Err(aquifer_model::Error::invalid("no second batch"));
        }
        out.push(batch);
        Ok(())
    }
    fn on_epoch_end(&mut self, _: &EpochEnd, _: &mut Output) -> Result<()> {
        Ok(())
    }
    fn snapshot(&mut self, _: &mut Snapshot) -> Result<()> {
        Ok(())
    }
    fn restore(&mut self, _: &SnapshotReader) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_error_or_panic_in_an_operator_ends_the_job_with_one_error() {
    for (panics, kind, text) in
        [(true, ErrorKind::Internal, "one batch too many"), (false, ErrorKind::Invalid, "no second batch")]
    {
        for workers in 1..=3 {
            let (input, scripts) = held_open(1);
            let mut spec = counting(input, false);
            spec.stages[0].make = Arc::new(move || Ok(Box::new(Faulty(panics, 0))));
            let mut job = start(spec, settings(workers));
            scripts[0].push(batch(&[(1, 1, 7)]));
            let first = within(job.changes.recv()).await.expect("the first batch passes");
            assert_eq!(first.expect("no error yet").num_rows(), 1);
            scripts[0].push(batch(&[(1, 1, 7)]));
            let error = within(job.changes.recv()).await.expect("an error").expect_err("the second batch fails");
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(text), "{error}");
            assert!(within(job.changes.recv()).await.is_none(), "the error is the last item");
        }
    }
}

#[tokio::test]
async fn dropping_the_changes_stops_an_open_job() {
    let (input, scripts) = held_open(2);
    let job = start(counting(input, false), settings(2));
    scripts[0].push(batch(&[(1, 1, 7)]));
    let handle = job.handle.clone();
    let snapshot = within(handle.snapshot()).await.expect("the job runs");
    assert_eq!(snapshot.operators.len(), 1);
    drop(job);
    let script = Arc::downgrade(&scripts[0]);
    drop(scripts);
    until("every thread is gone and has let go of the input", || script.strong_count() == 0).await;
    assert!(handle.snapshot().await.is_err());
}

#[tokio::test]
async fn an_event_time_that_is_null_fails_the_job() {
    let rows = batch(&[(1, 1, 7)]);
    let mut columns = rows.rows().columns().to_vec();
    columns[0] = Arc::new(TimestampMillisecondArray::from(vec![None::<i64>]));
    let rows = ChangeBatch::inserts(RecordBatch::try_new(rows.schema(), columns).expect("fits"));
    let mut job = start(counting(ScriptedInput::bounded(self::columns(), vec![vec![rows]]), false), settings(1));
    let error = finish(&mut job).await.expect_err("no window for it");
    assert!(error.to_string().contains("`ts` is NULL"), "{error}");
}

/// Processor time of this process so far, in clock ticks (a hundredth of a second).
fn processor_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
}

#[tokio::test]
#[ignore = "measures this process's processor time for ten seconds: run it alone"]
async fn a_hundred_idle_jobs_cost_less_than_a_hundredth_of_a_core() {
    let mut jobs = vec![];
    for _ in 0..100 {
        let (input, scripts) = held_open(1);
        let job = start(counting(input, false), settings(2));
        scripts[0].push(batch(&[(1, 1, 7)]));
        until("it runs", || job.counters.epochs.load(Ordering::Relaxed) > 0).await;
        jobs.push((job, scripts));
    }
    let before = processor_ticks();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let ticks = processor_ticks() - before;
    assert!(ticks < 10, "{ticks} hundredths of a second in ten seconds");
    for (job, scripts) in &mut jobs {
        scripts[0].push(batch(&[(30, 30, 7)]));
        assert!(within(job.changes.recv()).await.expect("a window").is_ok());
    }
}
