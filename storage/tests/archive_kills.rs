//! The archiver on the embedded log, killed by SIGKILL at every step and at random: archive and log together hold each message once.
//!
//! ```text
//!  test: appends ─► child: opens log, archives, prints each step, waits for a line ◄─ test: a line, or SIGKILL
//!    └──────────────────────── again and again, then: rows of the files + entries after the archive's end == all that was written
//! ```
//!
//! The child is this very test binary, asked for [`the_child_archives_step_by_step`].

#![allow(clippy::panic)] // this is test code

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, build_entry};
use aquifer_formats::messages::{MessageBatchBuilder, column};
use aquifer_formats::payload::{Format, decoder, encoder, topic_schema_of};
use aquifer_model::{Cut, Partition, SqlType, TopicName};
use aquifer_storage::Log;
use aquifer_storage::archive::ArchiveLocation;
use aquifer_storage::archive::archiver::{ArchiveSettings, Archiver, Observer, PIN, Step};
use aquifer_storage::archive::chain::Chain;
use aquifer_storage::archive::verify::verify;
use aquifer_storage::embedded::{EmbeddedLog, EmbeddedSettings};
use aquifer_storage::reader::{OnDecodeError, TieredTopic};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Tells the child which folder is meant; without it that test does nothing.
const FOLDER: &str = "AQUIFER_ARCHIVE_DRILL";
const MESSAGES: i64 = 5;
/// Before each run so many entries are added.
const ENTRIES: i64 = 12;
const LEAST_KILLS: u32 = 40;
const LEAST_COMMITS: u64 = 50;
/// Between reading and acknowledging.
const MUST_BE_HIT: [Step; 8] = [
    Step::Read,
    Step::Continuity,
    Step::Cut,
    Step::WriteFile,
    Step::VerifyFile,
    Step::Commit,
    Step::ReadBack,
    Step::Ack,
];

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::BigInt.nullable().to_field("n")]))
}

/// The topic, made if it is not there: ledgers of four entries that are deleted as soon as the pin has passed them.
async fn open(folder: &Path) -> (TieredTopic, Partition) {
    let settings =
        EmbeddedSettings { segment_entries: 4, retention: Some(Duration::ZERO), sync: false, ..Default::default() };
    let log = EmbeddedLog::open(&folder.join("log"), settings).expect("no other process has it");
    let topic: TopicName = "t".parse().expect("a name");
    let partition = Partition::new(topic.clone(), None);
    if log.topics("public", "default").await.expect("listed").is_empty() {
        log.create_topic(&topic, 0).await.expect("new");
        let schema = topic_schema_of(Format::Avro, "t", &columns()).expect("one column");
        log.put_schema(&topic, &schema).await.expect("registered");
        // With no retention the pin must be there before the first message.
        log.open_pin(&partition, PIN).await.expect("made");
    }
    let archive = Some(ArchiveLocation::local(&folder.join("archive")).expect("a folder"));
    let topic = TieredTopic {
        log,
        archive,
        topic,
        format: Format::Avro,
        value_columns: columns(),
        on_error: OnDecodeError::Fail,
        limits: EntryLimits::default(),
    };
    (topic, partition)
}

/// Adds entries `from..to`; entry `n` holds the values from `n * MESSAGES` on.
async fn append(topic: &TieredTopic, partition: &Partition, from: i64, to: i64) {
    let schema = topic_schema_of(Format::Avro, "t", &columns()).expect("one column");
    let mut appender = topic.log.open_appender(partition, "p").await.expect("opens");
    let spec = EntrySpec { producer_name: "p".into(), publish_time_ms: 1, batched: true, ..Default::default() };
    for n in from..to {
        let first = n * MESSAGES;
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + MESSAGES));
        let rows = RecordBatch::try_new(columns(), vec![values]).expect("one column");
        let payloads = encoder(Format::Avro, columns(), Some(&schema)).expect("made").encode(&rows).expect("encodes");
        let message = |i: i64| NewMessage {
            sequence_id: first + i,
            payload: Some(payloads.value(i as usize)),
            ..Default::default()
        };
        let messages: Vec<_> = (0..MESSAGES).map(message).collect();
        let bytes = build_entry(&spec, &messages).expect("five messages");
        appender.append(bytes, first, first + MESSAGES - 1, MESSAGES as u32).await.expect("stored");
    }
}

/// Values in the archive's files in order, the archive's end, and how many manifests with data there are.
async fn archived(topic: &TieredTopic, partition: &Partition) -> (Vec<i64>, Cut, u64) {
    let identity = topic.log.identity(&topic.topic).await.expect("there");
    let chain = Chain::new(topic.archive.as_ref().expect("given"), &identity, partition);
    let Some(state) = chain.load().await.expect("whole") else { return (Vec::new(), Cut::Start, 0) };
    let mut values = Vec::new();
    for file in &state.files {
        let bytes = chain.read_file(&file.path).await.expect("there");
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("Parquet") {
            let batch = batch.expect("Parquet");
            values.extend(batch.column_by_name("n").expect("a column").as_primitive::<Int64Type>().values());
        }
    }
    (values, state.end(), state.files.len() as u64)
}

/// Values of the log's entries after a cut.
async fn in_log(topic: &TieredTopic, partition: &Partition, after: Cut) -> Vec<i64> {
    let Some(last) = topic.log.last_position(partition).await.expect("asked") else { return Vec::new() };
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    let mut at = after;
    let mut reader = topic.log.open_reader(partition, after).await.expect("opens");
    while !at.covers(last) {
        for entry in reader.next(1 << 20).await.expect("readable") {
            builder.append_entry(entry.position, &entry.bytes).expect("whole");
            at = Cut::After(entry.position);
        }
    }
    let schema = topic.log.schema(&topic.topic, None).await.expect("asked").map(|(_, schema)| schema);
    let messages = builder.finish();
    let versions = messages.rows().column_by_name(column::SCHEMA_VERSION).expect("a column").as_binary_view().clone();
    let mut decoder = decoder(Format::Avro, columns(), schema.as_ref()).expect("made");
    let decoded = decoder.decode(messages.payloads(), &versions).expect("decodes");
    assert!(decoded.errors.is_empty());
    decoded.rows.column(0).as_primitive::<Int64Type>().values().to_vec()
}

/// A child that archives, and what it prints.
struct Archiving {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Archiving {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a test has a path"))
            .args(["--exact", "the_child_archives_step_by_step", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary can be started");
        let stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, stdin, lines }
    }

    /// The step it waits at; `None` when it has ended.
    fn next_step(&mut self) -> Option<Step> {
        loop {
            match self.lines.recv_timeout(Duration::from_secs(120)) {
                // The first one stands behind the test's name.
                Ok(line) => match line.split_once("STEP ") {
                    Some((_, name)) => return Some(Step::named(name.trim()).expect("a step's name")),
                    None => continue,
                },
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("the child neither takes a step nor ends"),
            }
        }
    }

    fn go(&mut self) {
        // A child that has ended shows by its next step.
        let _ = self.stdin.write_all(b"\n").and_then(|()| self.stdin.flush());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_child_archives_step_by_step() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (topic, partition) = open(Path::new(&folder)).await;
    let observer: Observer = Arc::new(|_, step| {
        println!("STEP {step}");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("readable");
    });
    let settings = ArchiveSettings { rows_per_commit: 15, ..Default::default() };
    Archiver::new(topic, settings).observed(observer).run_once(&partition).await.expect("archives");
}

#[test]
fn killed_at_every_step_the_archiver_loses_and_repeats_nothing() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = StdRng::seed_from_u64(3);
    let mut kills: BTreeMap<Step, u32> = BTreeMap::new();
    let mut written = 0;
    let (mut commits, mut runs) = (0, 0);
    let enough = |kills: &BTreeMap<Step, u32>, commits: u64| {
        Step::ALL.iter().all(|step| kills.contains_key(step))
            && kills.values().sum::<u32>() >= LEAST_KILLS
            && commits >= LEAST_COMMITS
    };
    while !enough(&kills, commits) {
        runs += 1;
        assert!(runs < 600, "after {runs} runs: {commits} commits, kills {kills:?}");
        commits = runtime.block_on(async {
            let (topic, partition) = open(folder.path()).await;
            append(&topic, &partition, written, written + ENTRIES).await;
            written += ENTRIES;
            let (values, end, commits) = archived(&topic, &partition).await;
            let rest = in_log(&topic, &partition, end).await;
            let all: Vec<i64> = values.into_iter().chain(rest).collect();
            assert_eq!(all, (0..written * MESSAGES).collect::<Vec<_>>(), "run {runs}, kills {kills:?}");
            commits
        });
        // A step that was never the last one is a target when it comes up; else the kill falls anywhere, or between two steps.
        let mut child = Archiving::start(folder.path());
        let mut left = random.random_range(1..60);
        while let Some(step) = child.next_step() {
            left -= 1;
            let target = !kills.contains_key(&step) && random.random_bool(0.4);
            if target || left == 0 {
                *kills.entry(step).or_default() += 1;
                if random.random_bool(0.5) {
                    // The step is under way when the signal comes.
                    child.go();
                    std::thread::sleep(Duration::from_micros(random.random_range(0..3_000)));
                }
                break;
            }
            child.go();
        }
        child.child.kill().expect("a child of ours");
        child.child.wait().expect("a child of ours");
    }
    println!("{} kills in {runs} runs, {commits} commits:", kills.values().sum::<u32>());
    for step in Step::ALL {
        let count = kills.get(&step).copied().unwrap_or_default();
        println!("  {:<16} {count:>3} {}", step.name(), "#".repeat(count as usize));
    }
    assert!(MUST_BE_HIT.iter().all(|step| kills.contains_key(step)));

    let mut child = Archiving::start(folder.path());
    while child.next_step().is_some() {
        child.go();
    }
    assert!(child.child.wait().expect("a child of ours").success(), "the last run ends well");
    runtime.block_on(async {
        let (topic, partition) = open(folder.path()).await;
        let (values, end, _) = archived(&topic, &partition).await;
        assert_eq!(values, (0..written * MESSAGES).collect::<Vec<_>>(), "all is archived, once, in order");
        assert_eq!(in_log(&topic, &partition, end).await, Vec::<i64>::new());
        let first = topic.log.ledgers(&partition).await.expect("listed")[0].id;
        assert!(first > written as u64 / 8, "the log has let the archived ledgers go; the first is {first}");
        assert_eq!(verify(&topic, &partition).await.expect("proven").rows, (written * MESSAGES) as u64);
    });
}
