//! A job over a topic of two partitions, half in the archive and half in an embedded log.

use aquifer_catalog::options::WatermarkSettings;
use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, build_entry};
use aquifer_formats::payload::{Format, encoder, topic_schema_of};
use aquifer_model::{Partition, SqlType, TopicName, Watermark};
use aquifer_storage::archive::ArchiveLocation;
use aquifer_storage::archive::archiver::{ArchiveSettings, Archiver, PIN};
use aquifer_storage::embedded::{EmbeddedLog, EmbeddedSettings};
use aquifer_storage::log::Log;
use aquifer_storage::reader::{OnDecodeError, TieredTopic, Tiers};

use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;

use super::*;
use crate::batch::{StartMode, TieredTable, Until};
use crate::streaming::tiered::TieredInput;

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        SqlType::Int.nullable().to_field("device"),
        SqlType::Timestamp(3).nullable().to_field("ts"),
        SqlType::Int.nullable().to_field("value"),
    ]))
}

struct World {
    topic: TieredTopic,
    partitions: Vec<Partition>,
    sequence: i64,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = EmbeddedSettings {
            segment_entries: 4,
            retention: Some(Duration::ZERO),
            sync: false,
            ..EmbeddedSettings::default()
        };
        let log = EmbeddedLog::open(&folder.path().join("log"), settings).expect("opens");
        let name: TopicName = "readings".parse().expect("a name");
        log.create_topic(&name, 2).await.expect("new");
        let schema = topic_schema_of(Format::Avro, "readings", &columns()).expect("columns");
        log.put_schema(&name, &schema).await.expect("registered");
        let partitions = log.partitions(&name).await.expect("two");
        for partition in &partitions {
            log.open_pin(partition, PIN).await.expect("made before anything is trimmed");
        }
        let archive = ArchiveLocation::local(&folder.path().join("archive")).expect("a folder");
        let topic = TieredTopic {
            log,
            archive: Some(archive),
            topic: name,
            format: Format::Avro,
            value_columns: columns(),
            on_error: OnDecodeError::Fail,
            limits: EntryLimits::default(),
        };
        Self { topic, partitions, sequence: 0, _folder: folder }
    }

    /// Appends one entry with these rows.
    async fn append(&mut self, partition: usize, rows: &[(i32, i64, Option<i32>)]) {
        let schema = topic_schema_of(Format::Avro, "readings", &columns()).expect("columns");
        let mut encode = encoder(Format::Avro, columns(), Some(&schema)).expect("an encoder");
        let rows = RecordBatch::try_new(columns(), batch(rows).rows().columns().to_vec()).expect("the same types");
        let payloads = encode.encode(&rows).expect("encodes");
        let messages: Vec<NewMessage<'_>> = (0..rows.num_rows())
            .map(|row| NewMessage {
                sequence_id: self.sequence + row as i64,
                payload: Some(payloads.value(row)),
                ..NewMessage::default()
            })
            .collect();
        let spec = EntrySpec { producer_name: "p".into(), publish_time_ms: 1, batched: true, ..EntrySpec::default() };
        let bytes = build_entry(&spec, &messages).expect("an entry");
        let mut appender = self.topic.log.open_appender(&self.partitions[partition], "p").await.expect("opens");
        let last = self.sequence + rows.num_rows() as i64 - 1;
        appender.append(bytes, self.sequence, last, rows.num_rows() as u32).await.expect("stored");
        self.sequence = last + 1;
    }

    fn plan(
        &self,
        start: StartMode,
        end: Option<BTreeMap<Partition, Cut>>,
        delay: i64,
    ) -> (LogicalPlanBuilder, TieredTable) {
        let table = TieredTable {
            name: "readings".to_string(),
            topics: vec![self.topic.clone()],
            schema: columns(),
            reader_columns: ["device", "ts", "value"].map(String::from).to_vec(),
            start,
            end,
            until: None,
            watermarks: WatermarkSettings::default(),
            tiers: Tiers::Both,
            pin: None,
            discovery: None,
            statistics: Arc::default(),
        };
        (counted(&table, delay), table)
    }

    /// A read that stops at an event time.
    fn stopping(&self, stop: i64, end: Option<BTreeMap<Partition, Cut>>, delay: i64) -> LogicalPlanBuilder {
        let (_, mut table) = self.plan(StartMode::Earliest, end, delay);
        table.until = Some(Until { watermark: Some(Watermark(stop)), publish_time_ms: None });
        counted(&table, delay)
    }
}

/// How many rows of a table each device has in each window.
fn counted(table: &TieredTable, delay: i64) -> LogicalPlanBuilder {
    let input = TieredInput::new(table, &[0, 1, 2], None, None).expect("its columns");
    tumbled(watermarked(scan(Arc::new(input)), delay), 10)
        .aggregate([col("window_start"), col("window_end"), col("device")], [count(lit(1i64)).alias("n")])
        .expect("a plan")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_by_event_time_ends_though_a_partition_is_empty_or_quiet() {
    let mut world = World::new().await;
    world.append(0, &[(1, 5, None), (1, 60, None)]).await;
    let sorted = async |plan: LogicalPlanBuilder, settings: JobSettings| {
        let mut lines = run(plan, settings).await.expect("runs").0;
        lines.sort();
        lines
    };
    let stopped = world.stopping(50, None, 0);
    assert_eq!(sorted(stopped, settings(1)).await, ["+I 0 10 1 1", "+I 60 70 1 1"], "one is empty");
    // Quiet below the stop: in the log or in the archive, what is there is given.
    world.append(1, &[(2, 7, None)]).await;
    let expected = ["+I 0 10 1 1", "+I 0 10 2 1", "+I 60 70 1 1"];
    assert_eq!(sorted(world.stopping(50, None, 0), settings(1)).await, expected);
    let archiver = Archiver::new(world.topic.clone(), ArchiveSettings::default());
    archiver.run_once(&world.partitions[1]).await.expect("archives");
    assert_eq!(sorted(world.stopping(50, None, 0), settings(2)).await, expected);
    // Nobody gets there, but the clock has, and a timeout says what quiet is.
    let quiet = JobSettings { idle_timeout: Duration::from_millis(50), ..settings(1) };
    assert_eq!(sorted(world.stopping(1050, None, 1000), quiet).await, expected);
    // Another stop comes first.
    let end = world.topic.end_cuts().await.expect("known");
    assert_eq!(sorted(world.stopping(i64::MAX - 1, Some(end), 1000), settings(2)).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_time_is_read_though_another_partition_has_reached_the_stop() {
    let mut world = World::new().await;
    world.append(0, &[(1, 60, None)]).await;
    let state = state();
    let plan = state.optimize(&world.stopping(50, None, 0).build().expect("a plan")).expect("optimizes");
    let idle_timeout = Duration::from_secs(10);
    let mut job = start(&plan, &state, JobSettings { idle_timeout, ..settings(1) }).await.expect("starts");
    let first = (0, world.partitions[0].to_string());
    let ended = async {
        while !job.handle.snapshot().await.expect("runs").sources.partitions.get(&first).is_some_and(|mark| mark.ended)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the first partition ends");
    world.append(1, &[(3, 8, None)]).await;
    let lines = finish(&mut job).await;
    assert_eq!(lines, ["+I 0 10 3 1", "+I 60 70 1 1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_and_live_rows_come_once_stopped_at_any_epoch() {
    let mut world = World::new().await;
    let mut expected = BTreeMap::<(i64, i32), u64>::new();
    for entry in 0..24i64 {
        let rows: Vec<(i32, i64, Option<i32>)> =
            (0..3).map(|row| ((entry * 3 + row) as i32 % 5, entry * 4 + row, Some(1))).collect();
        rows.iter().for_each(|row| *expected.entry((row.1 / 10 * 10, row.0)).or_default() += 1);
        world.append(entry as usize % 2, &rows).await;
        if entry == 12 {
            for partition in &world.partitions {
                let archiver = Archiver::new(world.topic.clone(), ArchiveSettings::default());
                archiver.run_once(partition).await.expect("archives");
            }
        }
    }
    let mut expected: Vec<String> =
        expected.iter().map(|((start, device), n)| format!("+I {start} {} {device} {n}", start + 10)).collect();
    expected.sort();
    let end = world.topic.end_cuts().await.expect("ends");
    let state = state();
    // The watermark stays below all windows until the end, so whoever goes on from any epoch gives everything.
    let optimized = |plan: LogicalPlanBuilder| state.optimize(&plan.build().expect("a plan")).expect("optimizes");
    let (plan, table) = world.plan(StartMode::Earliest, Some(end.clone()), 1000);
    let (snapshots_to, mut snapshots) = mpsc::unbounded_channel();
    let spec = planner::plan_job(&optimized(plan), &state, false).expect("plans");
    let mut job = runtime::start(spec, settings(2), None, Some(snapshots_to)).expect("starts");
    assert_eq!(finish(&mut job).await, expected);
    let statistics = table.statistics.lock().expect("not poisoned").clone();
    let rows = |of: fn(&aquifer_storage::reader::ReadStatistics) -> u64| statistics.values().map(of).sum::<u64>();
    assert_eq!((rows(|s| s.archive_rows), rows(|s| s.log_rows)), (39, 33));
    let mut stops = 0;
    while let Some(snapshot) = snapshots.recv().await {
        if snapshot.sources.watermark == aquifer_model::Watermark::MAX {
            continue;
        }
        let (plan, _) = world.plan(StartMode::Earliest, Some(end.clone()), 1000);
        let workers = 1 + stops % 3;
        let from = Some(snapshot);
        let mut job = start_from(&optimized(plan), &state, settings(workers), from).await.expect("starts");
        assert_eq!(finish(&mut job).await, expected, "after stop {stops}");
        stops += 1;
    }
    assert!(stops > 3, "{stops} epochs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_from_latest_gives_what_comes_after_and_waits() {
    let mut world = World::new().await;
    world.append(0, &[(1, 1, None), (2, 30, None)]).await;
    let state = state();
    let (plan, _) = world.plan(StartMode::Latest, None, 0);
    let plan = state.optimize(&plan.build().expect("a plan")).expect("optimizes");
    let mut job = start(&plan, &state, settings(2)).await.expect("starts");
    // A snapshot answers once every partition is open.
    job.handle.snapshot().await.expect("runs");
    world.append(0, &[(7, 41, None), (7, 55, None)]).await;
    world.append(1, &[(7, 42, None), (8, 57, None)]).await;
    let changes = tokio::time::timeout(PATIENCE, job.changes.recv()).await.expect("in time").expect("a window");
    assert_eq!(changelog(&[changes.expect("no error")]), ["+I 40 50 7 2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_the_readers_apply_changes_neither_rows_nor_watermarks() {
    let mut world = World::new().await;
    for round in 0..3i64 {
        for entry in 0..6i64 {
            let at = round * 100 + entry * 10;
            world.append(0, &[(1, at, Some(entry as i32)), (2, at + 3, None), (1, at - 25, None)]).await;
            // Nothing of this partition is wanted, but its times count.
            world.append(1, &[(9, at + 1, None), (9, at + 2, None)]).await;
        }
        if round < 2 {
            for partition in &world.partitions {
                let archiver = Archiver::new(world.topic.clone(), ArchiveSettings::default());
                archiver.run_once(partition).await.expect("archives");
            }
        }
    }
    let end = world.topic.end_cuts().await.expect("known");
    let filtered = |scan: LogicalPlanBuilder, delay: i64| {
        let wanted = watermarked(scan, delay).filter(col("device").eq(lit(1i32))).expect("a filter");
        tumbled(wanted, 10)
            .aggregate([col("window_start"), col("window_end"), col("device")], [count(lit(1i64)).alias("n")])
            .expect("a plan")
    };
    // A delay that makes no row late: which rows are late hangs on how the partitions' reads interleave.
    let (_, table) = world.plan(StartMode::Earliest, Some(end.clone()), 1000);
    let input = TieredInput::new(&table, &[0, 1, 2], None, None).expect("its columns");
    let one_worker = || JobSettings { epoch_rows: 1, ..settings(1) };
    let (mut expected, late) = run(filtered(scan(Arc::new(input)), 1000), one_worker()).await.expect("runs");
    expected.sort();
    assert!(expected.len() > 15 && late == 0, "{expected:?}, {late} late");
    let pushed = |table: TieredTable, delay: i64| {
        let table = Arc::new(table);
        let source = provider_as_source(Arc::clone(&table) as Arc<dyn TableProvider>);
        (filtered(LogicalPlanBuilder::scan("readings", source, None).expect("a scan"), delay), table)
    };
    let (_, table) = world.plan(StartMode::Earliest, Some(end), 1000);
    let (plan, table) = pushed(table, 1000);
    let (mut lines, _) = run(plan, one_worker()).await.expect("runs");
    lines.sort();
    assert_eq!(lines, expected);
    let read = table.read_so_far();
    assert!(read.pruned_rows >= 24, "the second partition's files are not read: {read:?}");

    // Held open: what was left out lets windows fire all the same.
    let (_, table) = world.plan(StartMode::Earliest, None, 0);
    let (plan, _table) = pushed(table, 0);
    let state = state();
    let plan = state.optimize(&plan.build().expect("a plan")).expect("optimizes");
    let mut job = start(&plan, &state, settings(2)).await.expect("starts");
    let mut seen = vec![];
    while !seen.iter().any(|line: &String| line.starts_with("+I 240 250 1")) {
        let changes = tokio::time::timeout(PATIENCE, job.changes.recv()).await.expect("in time").expect("more");
        seen.extend(changelog(&[changes.expect("no error")]));
    }
}

async fn finish(job: &mut RunningJob) -> Vec<String> {
    let mut lines = vec![];
    while let Some(changes) = tokio::time::timeout(PATIENCE, job.changes.recv()).await.expect("in time") {
        lines.extend(changelog(&[changes.expect("no error")]));
    }
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_keeps_what_was_not_read_and_lets_go_of_what_was() {
    let mut world = World::new().await;
    let (log, partition) = (Arc::clone(&world.topic.log), world.partitions[0].clone());
    let (_, mut table) = world.plan(StartMode::Earliest, None, 0);
    table.pin = Some("mine".to_string());
    for at in 0..4 {
        world.append(0, &[(1, at, None)]).await;
    }
    let input = TieredInput::new(&table, &[0, 1, 2], None, None).expect("its columns");
    assert_eq!(log.find_pin(&partition, "mine").await.expect("asked"), None, "planning makes none");
    let names = input.partitions().await.expect("listed");
    let _source = input.open(&names[0], None).await.expect("opens");
    // Nothing else holds it, and the log keeps nothing of itself.
    log.remove_pin(&partition, PIN).await.expect("removed");
    for at in 4..12 {
        world.append(0, &[(1, at, None)]).await;
    }
    let kept = || async { log.ledgers(&partition).await.expect("listed") };
    let before = kept().await;
    assert_eq!(before.iter().map(|ledger| ledger.entries).sum::<u64>(), 12, "{before:?}");
    let passed = Cut::After(aquifer_model::Position::new(before[1].id, before[1].entries - 1));
    input.passed(&names[0], passed).await.expect("moves");
    assert_eq!(log.find_pin(&partition, "mine").await.expect("asked"), Some(passed));
    assert_eq!(kept().await, before[2..], "what was read is trimmed, and no more");
    // Who removed it meant it.
    log.remove_pin(&partition, "mine").await.expect("removed");
    input.passed(&names[0], passed).await.expect("no error");
    assert_eq!(log.find_pin(&partition, "mine").await.expect("asked"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_subscription_follows_what_it_handed_over() {
    let mut world = World::new().await;
    let (log, partition) = (Arc::clone(&world.topic.log), world.partitions[1].clone());
    let (_, mut table) = world.plan(StartMode::Earliest, None, 0);
    table.pin = Some("mine".to_string());
    world.append(1, &[(1, 1, None), (2, 2, None)]).await;
    let input = TieredInput::new(&table, &[0, 1, 2], None, None).expect("its columns");
    let state = state();
    let plan = state.optimize(&scan(Arc::new(input)).build().expect("a plan")).expect("optimizes");
    let mut job = start(&plan, &state, settings(2)).await.expect("starts");
    for round in 0..2 {
        let changes = tokio::time::timeout(PATIENCE, job.changes.recv()).await.expect("in time").expect("rows");
        assert_eq!(changes.expect("no error").num_rows(), 2);
        let last = Cut::from(log.last_position(&partition).await.expect("known"));
        let moved = async {
            while log.find_pin(&partition, "mine").await.expect("asked") != Some(last) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, moved).await.unwrap_or_else(|_| unreachable!("round {round}: the pin stays"));
        world.append(1, &[(3, 3, None), (4, 4, None)]).await;
    }
    // It is durable: the next run finds it.
    drop(job);
    assert!(log.find_pin(&partition, "mine").await.expect("asked").is_some());
}
