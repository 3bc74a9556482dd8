//! The reader against an oracle: a list of all records, read by its positions.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use aquifer_formats::entry::{Compression, EntrySpec, NewMessage, build_entry};
use aquifer_formats::messages::column;
use aquifer_formats::payload::{encoder, topic_schema_of};
use aquifer_model::{ErrorKind, Position, SqlType};
use arrow::array::{Array, AsArray, BooleanArray, Int64Array, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{Int32Type, Int64Type, Schema, TimestampMillisecondType, UInt64Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

mod bad_entries;
mod earlier_schemas;
mod later_columns;
mod left_out;
mod random_reads;

use super::*;
use crate::archive::archiver::{ArchiveSettings, Archiver, PIN};
use crate::embedded::{EmbeddedLog, EmbeddedSettings};
use crate::log::{Pin, Receipt};

/// What was written, in log order.
#[derive(Debug, Clone)]
struct Record {
    position: Position,
    batch_index: i32,
    publish_time: i64,
    key: Option<Vec<u8>>,
    kind: Written,
}

/// The key of the message with this sequence id: few neighbours have the same, some have none.
fn key_of(sequence: i64) -> Option<Vec<u8>> {
    (sequence % 11 != 0).then(|| format!("key {}", sequence / 10).into_bytes())
}

#[derive(Debug, Clone, PartialEq)]
enum Written {
    Row { n: Option<i64>, ts: i64, name: String },
    Nothing,
    Garbage,
}

fn table() -> SchemaRef {
    Arc::new(Schema::new(vec![
        SqlType::BigInt.nullable().to_field("n"),
        SqlType::Timestamp(3).nullable().to_field("ts"),
        SqlType::STRING.nullable().to_field("name"),
    ]))
}

/// A topic with its archive, and all that was written to it.
struct World {
    topic: TieredTopic,
    partition: Partition,
    records: Vec<Record>,
    entries: Vec<Position>,
    random: StdRng,
    sequence: i64,
    archive_folder: std::path::PathBuf,
    _folder: Arc<tempfile::TempDir>,
}

impl World {
    async fn new(seed: u64, on_error: OnDecodeError) -> Self {
        Self::several(seed, on_error, 0).await.pop().expect("one")
    }

    /// The partitions of one topic; of a topic without partitions the one that it is.
    async fn several(seed: u64, on_error: OnDecodeError, partitions: u32) -> Vec<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let settings =
            EmbeddedSettings { segment_entries: 4, retention: Some(Duration::ZERO), sync: false, ..Default::default() };
        let log = EmbeddedLog::open(&folder.path().join("log"), settings).expect("opens");
        let name: TopicName = "t".parse().expect("a name");
        log.create_topic(&name, partitions).await.expect("new");
        let schema = topic_schema_of(Format::Avro, "t", &table()).expect("columns");
        log.put_schema(&name, &schema).await.expect("registered");
        let numbers = if partitions == 0 { vec![None] } else { (0..partitions).map(Some).collect() };
        let all: Vec<Partition> = numbers.into_iter().map(|number| Partition::new(name.clone(), number)).collect();
        for partition in &all {
            log.open_pin(partition, PIN).await.expect("made before anything is trimmed");
        }
        let archive_folder = folder.path().join("archive");
        let topic = TieredTopic {
            log,
            archive: Some(ArchiveLocation::local(&archive_folder).expect("a folder")),
            topic: name,
            format: Format::Avro,
            value_columns: table(),
            on_error,
            limits: EntryLimits::default(),
        };
        let folder = Arc::new(folder);
        let world = |partition: Partition| Self {
            topic: topic.clone(),
            records: Vec::new(),
            entries: Vec::new(),
            random: StdRng::seed_from_u64(seed ^ (u64::from(partition.number()) << 32)),
            partition,
            sequence: 0,
            archive_folder: archive_folder.clone(),
            _folder: Arc::clone(&folder),
        };
        all.into_iter().map(world).collect()
    }

    /// Appends entries of up to `most` messages.
    async fn append(&mut self, entries: usize, most: usize, garbage: bool) {
        let schema = topic_schema_of(Format::Avro, "t", &table()).expect("columns");
        let mut encode = encoder(Format::Avro, table(), Some(&schema)).expect("an encoder");
        let mut appender = self.topic.log.open_appender(&self.partition, "p").await.expect("opens");
        for _ in 0..entries {
            let count = self.random.random_range(1..=most);
            let publish_time = 1_000_000 + self.sequence * 10 + self.random.random_range(-50..50);
            let written: Vec<Written> = (0..count as i64)
                .map(|i| match self.random.random_range(0..20) {
                    0 => Written::Nothing,
                    1 if garbage => Written::Garbage,
                    _ => Written::Row {
                        n: self.random.random_bool(0.9).then_some(self.sequence + i),
                        ts: (self.sequence + i) * 1000 + self.random.random_range(-20_000..20_000),
                        name: format!("a name that is longer than a view {}", self.random.random_range(0..9)),
                    },
                })
                .collect();
            let (mut n, mut ts, mut name) = (Vec::new(), Vec::new(), Vec::new());
            for one in &written {
                if let Written::Row { n: a, ts: b, name: c } = one {
                    n.push(*a);
                    ts.push(Some(*b));
                    name.push(Some(c.clone()));
                }
            }
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from(n)),
                Arc::new(TimestampMillisecondArray::from(ts)),
                Arc::new(StringViewArray::from_iter(name)),
            ];
            let payloads = encode.encode(&RecordBatch::try_new(table(), columns).expect("rows")).expect("encodes");
            let mut next = 0..payloads.len();
            let keys: Vec<Option<Vec<u8>>> = (0..count as i64).map(|i| key_of(self.sequence + i)).collect();
            let messages: Vec<NewMessage<'_>> = written
                .iter()
                .enumerate()
                .map(|(i, one)| NewMessage {
                    sequence_id: self.sequence + i as i64,
                    key: keys[i].as_deref(),
                    payload: match one {
                        Written::Row { .. } => Some(payloads.value(next.next().expect("one a row"))),
                        Written::Nothing => None,
                        Written::Garbage => Some(b"\xff\xff\xff"),
                    },
                    ..Default::default()
                })
                .collect();
            let spec = EntrySpec {
                producer_name: "p".into(),
                publish_time_ms: publish_time,
                batched: true,
                compression: if self.random.random_bool(0.5) { Compression::Zstd } else { Compression::None },
                ..Default::default()
            };
            let bytes = build_entry(&spec, &messages).expect("an entry");
            let last = self.sequence + count as i64 - 1;
            let stored = appender.append(bytes, self.sequence, last, count as u32).await.expect("stored");
            let Receipt::Stored(position) = stored else { panic!("not a duplicate") };
            self.sequence += count as i64;
            self.entries.push(position);
            for (batch_index, (kind, key)) in written.into_iter().zip(keys).enumerate() {
                self.records.push(Record { position, batch_index: batch_index as i32, publish_time, key, kind });
            }
        }
    }

    async fn archive(&mut self) {
        let settings = ArchiveSettings { rows_per_commit: self.random.random_range(8..80), ..Default::default() };
        Archiver::new(self.topic.clone(), settings).run_once(&self.partition).await.expect("archives");
    }

    fn any_cut(&mut self) -> Cut {
        match self.random.random_range(0..=self.entries.len()) {
            0 => Cut::Start,
            n => Cut::After(self.entries[n - 1]),
        }
    }

    async fn open(&self, from: Cut, to: Option<Cut>, request: ReadRequest) -> PartitionReader {
        self.topic.open(&self.partition, from, to, request).await.expect("opens")
    }
}

/// `n` lies in a range.
#[derive(Debug, Clone)]
struct Between(RangeInclusive<i64>);

impl ReadFilter for Between {
    fn columns(&self) -> Vec<String> {
        vec!["n".into()]
    }
    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let values = rows.column(0).as_primitive::<Int64Type>();
        Ok(values.iter().map(|value| value.map(|value| self.0.contains(&value))).collect())
    }
    fn may_match(&self, statistics: &dyn ContainerStatistics) -> Result<Vec<bool>> {
        let (Some(low), Some(high)) = (statistics.min_values("n"), statistics.max_values("n")) else {
            return Ok(vec![true; statistics.num_containers()]);
        };
        let (low, high) = (low.as_primitive::<Int64Type>(), high.as_primitive::<Int64Type>());
        Ok(low
            .iter()
            .zip(high)
            .map(|(low, high)| {
                low.is_none_or(|low| low <= *self.0.end()) && high.is_none_or(|high| high >= *self.0.start())
            })
            .collect())
    }
}

fn request(columns: &[&str], batch_rows: usize) -> ReadRequest {
    ReadRequest {
        columns: columns.iter().map(|name| name.to_string()).collect(),
        filter: None,
        time_column: None,
        tiers: Tiers::Both,
        batch_rows,
        // As often as not on tasks of their own.
        decoders: 1 + batch_rows % 3,
    }
}

/// One row as text, from the columns asked for.
fn as_text(record: &Record, columns: &[String]) -> String {
    let Written::Row { n, ts, name } = &record.kind else { panic!("no row") };
    let texts: Vec<String> = columns
        .iter()
        .map(|column| match column.as_str() {
            "n" => format!("{n:?}"),
            "ts" => format!("{ts}"),
            "name" => name.clone(),
            column::LEDGER => format!("{}", record.position.ledger),
            column::ENTRY => format!("{}", record.position.entry),
            column::BATCH_INDEX => format!("{}", record.batch_index),
            column::PUBLISH_TIME => format!("{}", record.publish_time),
            TOPIC => "persistent://public/default/t".to_string(),
            PARTITION => "0".to_string(),
            other => panic!("{other}"),
        })
        .collect();
    texts.join("|")
}

fn rows_as_text(batch: &RecordBatch) -> Vec<String> {
    (0..batch.num_rows())
        .map(|row| {
            let texts: Vec<String> = batch
                .columns()
                .iter()
                .zip(batch.schema().fields())
                .map(|(column, field)| match field.name().as_str() {
                    "n" => {
                        let values = column.as_primitive::<Int64Type>();
                        format!("{:?}", values.is_valid(row).then(|| values.value(row)))
                    }
                    "ts" | column::PUBLISH_TIME => {
                        column.as_primitive::<TimestampMillisecondType>().value(row).to_string()
                    }
                    "name" | TOPIC => column.as_string_view().value(row).to_string(),
                    PARTITION | column::BATCH_INDEX => column.as_primitive::<Int32Type>().value(row).to_string(),
                    _ => column.as_primitive::<UInt64Type>().value(row).to_string(),
                })
                .collect();
            texts.join("|")
        })
        .collect()
}

async fn next(reader: &mut PartitionReader) -> Result<Option<ReadBatch>> {
    tokio::time::timeout(Duration::from_secs(30), reader.next()).await.expect("a bounded read ends")
}

async fn all(reader: &mut PartitionReader) -> Result<Vec<ReadBatch>> {
    let mut batches = Vec::new();
    while let Some(batch) = next(reader).await? {
        batches.push(batch);
    }
    Ok(batches)
}

#[test]
fn a_reader_can_move_between_threads() {
    fn sends<T: Send>(_: &T) {}
    fn check(reader: &mut PartitionReader) {
        sends(reader);
        sends(&reader.next());
    }
    let _ = check;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_stretch_is_given_once_in_order_while_the_border_moves() {
    let mut tiers = BTreeSet::new();
    let mut pruned = 0;
    let mut mixed = 0;
    for seed in 0..25 {
        let mut world = World::new(seed, OnDecodeError::Skip).await;
        let garbage = seed % 2 == 0;
        let most = if seed % 3 == 0 { 40 } else { 5 };
        for _ in 0..3 {
            let count = world.random.random_range(1..30);
            world.append(count, most, garbage).await;
            if world.random.random_bool(0.6) {
                world.archive().await;
            }
        }
        for _ in 0..8 {
            let (mut from, mut to) = (world.any_cut(), world.any_cut());
            if from > to && world.random.random_bool(0.9) {
                (from, to) = (to, from);
            }
            let possible = [
                "n",
                "ts",
                "name",
                column::LEDGER,
                column::ENTRY,
                column::BATCH_INDEX,
                column::PUBLISH_TIME,
                TOPIC,
                PARTITION,
            ];
            let columns: Vec<&str> = possible.into_iter().filter(|_| world.random.random_bool(0.4)).collect();
            let mut request = request(&columns, world.random.random_range(1..60));
            let low = world.random.random_range(0..=world.sequence);
            let range = low..=low + world.random.random_range(0..60);
            let filtered = world.random.random_bool(0.6);
            if filtered {
                request.filter = Some(Arc::new(Between(range.clone())));
            }
            let time = [None, Some("ts"), Some(column::PUBLISH_TIME)][world.random.random_range(0..3)];
            request.time_column = time.map(str::to_string);

            let mut reader = world.open(from, Some(to), request.clone()).await;
            let mut batches = Vec::new();
            let known = world.records.clone();
            while let Some(batch) = next(&mut reader).await.expect("reads") {
                batches.push(batch);
                if world.random.random_bool(0.05) {
                    world.append(3, most, garbage).await;
                    world.archive().await;
                }
            }
            let interval = Interval::new(from, to);
            let wanted = |record: &&Record| match &record.kind {
                Written::Row { n, .. } => !filtered || n.is_some_and(|n| range.contains(&n)),
                _ => false,
            };
            let expected: Vec<String> = known
                .iter()
                .filter(|record| interval.contains(record.position))
                .filter(wanted)
                .map(|record| as_text(record, &request.columns))
                .collect();
            let rows: usize = batches.iter().map(|batch| batch.rows.num_rows()).sum();
            assert_eq!(rows, expected.len(), "seed {seed} {interval} {request:?}");
            let found: Vec<String> = batches.iter().flat_map(|batch| rows_as_text(&batch.rows)).collect();
            assert_eq!(found, expected, "seed {seed} {interval} {request:?}");

            // Cuts rise, end where the stop is, and each tells the time of all rows up to it.
            let mut at = from;
            for batch in &batches {
                assert!(batch.cut > at, "seed {seed}: {} after {at}", batch.cut);
                let passed = Interval::new(at, batch.cut);
                let times = known.iter().filter(|record| passed.contains(record.position));
                let latest = match time {
                    None => None,
                    Some("ts") => times
                        .filter_map(|record| match &record.kind {
                            Written::Row { ts, .. } => Some(*ts),
                            _ => None,
                        })
                        .max(),
                    Some(_) => times.map(|record| record.publish_time).max(),
                };
                assert_eq!(batch.time_max, latest, "seed {seed} {passed} {time:?} filtered: {filtered}");
                let here = known
                    .iter()
                    .filter(|record| passed.contains(record.position))
                    .filter(wanted)
                    .map(|record| as_text(record, &request.columns));
                assert_eq!(batch.rows.num_rows(), here.count(), "seed {seed}: a batch has the rows up to its cut");
                at = batch.cut;
                tiers.insert(format!("{:?}", batch.tier));
            }
            assert_eq!(at, from.max(to), "seed {seed}");
            pruned += reader.statistics().pruned_rows;
            mixed += usize::from(batches.windows(2).any(|two| two[0].tier != two[1].tier));

            // From any cut that was given the rest follows.
            if !batches.is_empty() {
                let n = world.random.random_range(0..batches.len());
                request.batch_rows = world.random.random_range(1..60);
                let mut rest = world.open(batches[n].cut, Some(to), request.clone()).await;
                let rest = all(&mut rest).await.expect("reads");
                let again: Vec<String> =
                    batches[..=n].iter().chain(&rest).flat_map(|b| rows_as_text(&b.rows)).collect();
                assert_eq!(again, expected, "seed {seed}: resumed at {}", batches[n].cut);
            }
        }
    }
    assert_eq!(tiers.len(), 2, "both tiers were read");
    assert!(pruned > 100, "row groups were pruned: {pruned} rows");
    assert!(mixed > 10, "reads crossed the border: {mixed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_found_the_log_trimmed_goes_back_to_the_archive() {
    let mut world = World::new(1, OnDecodeError::Fail).await;
    world.append(40, 3, false).await;
    world.archive().await;
    world.append(40, 3, false).await;
    let end = world.topic.end_cuts().await.expect("known")[&world.partition];
    assert_eq!(end, Cut::After(world.entries[79]));
    let mut reader = world.open(Cut::Start, Some(end), request(&["n", TIER], 7)).await;
    let mut batches = Vec::new();
    // Into the log's part; what is unread of it is then archived and trimmed.
    while batches.last().is_none_or(|batch: &ReadBatch| batch.tier == Tier::Archive) {
        batches.push(next(&mut reader).await.expect("reads").expect("more"));
    }
    world.append(40, 3, false).await;
    world.archive().await;
    let kept = world.topic.log.ledgers(&world.partition).await.expect("listed");
    assert!(kept[0].id > end.position().expect("not empty").ledger, "the rest is gone from the log");
    batches.extend(all(&mut reader).await.expect("reads"));
    let found: usize = batches.iter().map(|batch| batch.rows.num_rows()).sum();
    let rows = |record: &&Record| matches!(record.kind, Written::Row { .. }) && end.covers(record.position);
    assert_eq!(found, world.records.iter().filter(rows).count());
    let text = rows_tiers(&batches);
    assert!(text.contains("archive") && text.contains("log"), "{text:?}");
    assert_eq!(reader.statistics().log_rows + reader.statistics().archive_rows, found as u64);
}

fn rows_tiers(batches: &[ReadBatch]) -> BTreeSet<String> {
    let mut tiers = BTreeSet::new();
    for batch in batches {
        let column = batch.rows.column_by_name(TIER).expect("asked for").as_string_view();
        tiers.extend(column.iter().flatten().map(str::to_string));
    }
    tiers
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbounded_read_goes_from_history_to_live_without_a_seam() {
    let mut world = World::new(5, OnDecodeError::Fail).await;
    world.append(30, 4, false).await;
    world.archive().await;
    world.append(10, 4, false).await;
    let mut reader = world.open(Cut::Start, None, request(&["n"], 16)).await;
    let mut found = Vec::new();
    for round in 0..6 {
        let end = Cut::After(*world.entries.last().expect("appended"));
        loop {
            let batch = next(&mut reader).await.expect("reads").expect("no end");
            found.extend(rows_as_text(&batch.rows));
            if batch.cut >= end {
                break;
            }
        }
        // Nothing more is there: it waits, and dropping the wait loses nothing.
        assert!(tokio::time::timeout(Duration::from_millis(20), reader.next()).await.is_err());
        if round % 2 == 0 {
            world.archive().await;
        }
        world.append(9, 4, false).await;
        if round == 3 {
            world.archive().await;
        }
    }
    let columns = ["n".to_string()];
    let written = world.records.iter().filter(|record| matches!(record.kind, Written::Row { .. }));
    let expected: Vec<String> = written.map(|record| as_text(record, &columns)).collect();
    assert_eq!(found, expected[..found.len()]);
    assert!(expected.len() - found.len() <= 36, "all but the last round");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_damaged_file_fails_and_is_named() {
    let mut world = World::new(2, OnDecodeError::Fail).await;
    world.append(60, 3, false).await;
    world.archive().await;
    let mut files = Vec::new();
    let mut folders = vec![world.archive_folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("listed").flatten().map(|entry| entry.path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false if entry.extension().is_some() => files.push(entry),
                false => {}
            }
        }
    }
    let file = files.first().expect("archived");
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let bytes = std::fs::read(file).expect("readable");
    let read = async || {
        let end = Cut::After(world.entries[59]);
        all(&mut world.open(Cut::Start, Some(end), request(&["n"], 100)).await).await
    };
    let whole = read().await.expect("whole");
    for (damage, kind) in
        [(None, ErrorKind::Gone), (Some(bytes.len() - 3), ErrorKind::Corrupt), (Some(0), ErrorKind::Corrupt)]
    {
        match damage {
            None => std::fs::remove_file(file).expect("removable"),
            Some(length) => std::fs::write(file, &bytes[..length]).expect("writable"),
        }
        let error = read().await.expect_err("damaged");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(&name) && error.to_string().contains("public/default/t"), "{error}");
        let whole = format!("file `{}`", file.display());
        assert!(error.to_string().contains(&whole), "{whole}: {error}");
    }
    let mut flipped = bytes.clone();
    let at = flipped.len() - 40;
    flipped[at..].fill(0xff);
    std::fs::write(file, &flipped).expect("writable");
    assert!(read().await.expect_err("damaged").to_string().contains(&name));
    std::fs::write(file, &bytes).expect("writable");
    let again = read().await.expect("whole");
    let count = |batches: &[ReadBatch]| batches.iter().map(|batch| batch.rows.num_rows()).sum::<usize>();
    assert_eq!(count(&whole), count(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_from_both_tiers_is_named() {
    let mut world = World::new(3, OnDecodeError::Fail).await;
    world.append(20, 2, false).await;
    world.archive().await;
    let border = Cut::After(world.entries[19]);
    world.append(20, 2, false).await;
    let stop = Cut::After(world.entries[39]);
    let mut reader = world.open(border, Some(stop), request(&["n"], 2)).await;
    let first = next(&mut reader).await.expect("reads").expect("rows").cut;
    // Someone removes the pin, and the log forgets.
    world.topic.log.remove_pin(&world.partition, PIN).await.expect("removed");
    world.append(20, 2, false).await;
    let kept = world.topic.log.ledgers(&world.partition).await.expect("listed")[0].id;
    assert!(kept > stop.position().expect("an entry").ledger);
    let error = loop {
        match next(&mut reader).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("entries are missing"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Gone);
    assert!(
        error.to_string().contains("are gone from the log") && error.to_string().contains("start the read later"),
        "{error}"
    );
    let from_first = all(&mut world.open(first, Some(stop), request(&["n"], 2)).await).await;
    assert_eq!(from_first.expect_err("gone").kind(), ErrorKind::Gone);

    // Without an archive: a stop that lies in what was trimmed does not wait for ever.
    world.topic.archive = None;
    let error = all(&mut world.open(first, Some(stop), request(&["n"], 2)).await).await.expect_err("gone");
    assert!(error.kind() == ErrorKind::Gone && error.to_string().contains("there is no archive"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_does_not_decode_fails_by_name_or_is_counted_in_both_tiers() {
    for archived in [false, true] {
        let mut world = World::new(8, OnDecodeError::Fail).await;
        world.append(30, 6, true).await;
        if archived {
            world.archive().await;
        }
        let bad: Vec<&Record> = world.records.iter().filter(|r| r.kind == Written::Garbage).collect();
        let end = Cut::After(world.entries[29]);
        let error = all(&mut world.open(Cut::Start, Some(end), request(&["n"], 50)).await).await.expect_err("garbage");
        let place = format!("{}/{}", bad[0].position, bad[0].batch_index);
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error.to_string().contains(&place) && error.to_string().contains("public/default/t"),
            "{place}: {error}"
        );
        let mut topic = world.topic.clone();
        topic.on_error = OnDecodeError::Skip;
        for columns in [&["n"][..], &[], &[PARTITION]] {
            let mut reader =
                topic.open(&world.partition, Cut::Start, Some(end), request(columns, 50)).await.expect("opens");
            let rows: usize = all(&mut reader).await.expect("reads").iter().map(|batch| batch.rows.num_rows()).sum();
            assert_eq!(rows, world.records.iter().filter(|r| matches!(r.kind, Written::Row { .. })).count());
            assert_eq!(reader.statistics().skipped_messages, bad.len() as u64);
            let nothing = world.records.iter().filter(|r| r.kind == Written::Nothing).count() as u64;
            assert_eq!(reader.statistics().null_messages, nothing);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_the_start_is_empty_and_one_tier_alone_can_be_read() {
    let mut world = World::new(6, OnDecodeError::Fail).await;
    world.append(12, 2, false).await;
    world.archive().await;
    world.append(3, 2, false).await;
    let end = Cut::After(world.entries[14]);
    assert!(
        all(&mut world.open(Cut::Start, Some(Cut::Start), request(&["n"], 9)).await).await.expect("empty").is_empty()
    );
    let mut archive = request(&[TIER], 9);
    archive.tiers = Tiers::Archive;
    let batches = all(&mut world.open(Cut::Start, None, archive).await).await.expect("reads");
    assert_eq!(batches.last().expect("rows").cut, Cut::After(world.entries[11]));
    let mut log = request(&[TIER], 9);
    log.tiers = Tiers::Log;
    let batches = all(&mut world.open(Cut::Start, Some(end), log).await).await.expect("reads");
    assert_eq!(rows_tiers(&batches), BTreeSet::from(["log".to_string()]));
    let mut pin: Box<dyn Pin> = world.topic.log.open_pin(&world.partition, PIN).await.expect("there");
    pin.advance(world.entries[11]).await.expect("stands there already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_time_and_a_position_become_cuts_in_either_tier() {
    let (mut archived, mut in_log) = (0, 0);
    for seed in 0..6 {
        let mut world = World::new(seed, OnDecodeError::Skip).await;
        for _ in 0..3 {
            let count = world.random.random_range(1..25);
            world.append(count, 5, seed % 2 == 0).await;
            if world.random.random_bool(0.5) {
                world.archive().await;
            }
        }
        let before = |index: usize| match index {
            0 => Cut::Start,
            n => Cut::After(world.entries[n - 1]),
        };
        let border = world.topic.chains().await.expect("local").map(|(l, i)| Chain::new(&l, &i, &world.partition));
        let border = border.expect("an archive").newest().await.expect("readable").map_or(Cut::Start, |(m, _)| m.to);
        let times: Vec<i64> = world
            .entries
            .iter()
            .map(|entry| world.records.iter().find(|record| record.position == *entry).expect("a record").publish_time)
            .collect();
        let (low, high) = (times.iter().min().expect("some"), times.iter().max().expect("some"));
        for time in (low - 1..=high + 1).step_by(97).chain(times.iter().copied()) {
            let found = world.topic.cut_at_publish_time(&world.partition, time).await.expect("found");
            let first = times.iter().position(|published| *published >= time).unwrap_or(times.len());
            assert_eq!(found, before(first), "seed {seed}, published at {time}");
            if found < border { archived += 1 } else { in_log += 1 }
        }
        for (index, entry) in world.entries.iter().enumerate() {
            let cut = world.topic.cut_before(&world.partition, *entry).await.expect("known");
            assert!(cut >= before(index) && !cut.covers(*entry), "seed {seed}: {cut} before {entry}");
            let columns = ["n".to_string()];
            let end = Cut::After(*world.entries.last().expect("some"));
            let rows = all(&mut world.open(cut, Some(end), request(&["n"], 50)).await).await.expect("reads");
            let rows: Vec<String> = rows.iter().flat_map(|batch| rows_as_text(&batch.rows)).collect();
            let from = world.records.iter().filter(|record| record.position >= *entry);
            let from = from.filter(|record| matches!(record.kind, Written::Row { .. }));
            assert_eq!(rows, from.map(|record| as_text(record, &columns)).collect::<Vec<_>>());
        }
    }
    assert!(archived > 20 && in_log > 20, "both tiers were searched: {archived}, {in_log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbounded_read_that_fell_behind_trimming_goes_on_without_a_new_message() {
    let mut world = World::new(11, OnDecodeError::Fail).await;
    world.append(30, 3, false).await;
    // A cut whose ledger goes: everything after it is archived and trimmed while the reader is not looking.
    let from = Cut::After(world.entries[2]);
    let mut topic = world.topic.clone();
    topic.archive = None;
    let mut stale = topic.open(&world.partition, from, None, request(&["n"], 1000)).await.expect("opens");
    world.archive().await;
    let kept = world.topic.log.ledgers(&world.partition).await.expect("listed");
    assert!(kept.iter().all(|ledger| ledger.id > world.entries[2].ledger));
    let mut reader = world.open(from, None, request(&["n"], 1000)).await;
    let end = Cut::After(world.entries[29]);
    let mut found = Vec::new();
    loop {
        let batch = next(&mut reader).await.expect("reads").expect("no end");
        found.extend(rows_as_text(&batch.rows));
        if batch.cut >= end {
            break;
        }
    }
    let columns = ["n".to_string()];
    let after = world.records.iter().filter(|record| !from.covers(record.position));
    let rows = after.filter(|record| matches!(record.kind, Written::Row { .. }));
    assert_eq!(found, rows.map(|record| as_text(record, &columns)).collect::<Vec<_>>());

    // Without the archive there is nowhere to go on: it says so, although nothing is sent any more.
    let error = loop {
        match next(&mut stale).await {
            Ok(batch) => assert!(batch.is_some(), "it has no end"),
            Err(error) => break error,
        }
    };
    assert!(error.kind() == ErrorKind::Gone && error.to_string().contains("are gone from the log"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stretches_that_are_read_side_by_side_give_each_record_once() {
    let mut world = World::new(12, OnDecodeError::Skip).await;
    for _ in 0..5 {
        world.append(25, 4, true).await;
        world.archive().await;
    }
    world.append(10, 4, true).await;
    let to = Cut::After(*world.entries.last().expect("some"));
    let columns = ["n".to_string()];
    for most in [1, 2, 3, 100] {
        for _ in 0..4 {
            let from = world.any_cut();
            let found = world.topic.stretches(&world.partition, (from, to), most, 10).await.expect("known");
            assert!(found.len() <= most && (most < 3 || from > Cut::Start || found.len() > 1), "{found:?}");
            assert_eq!((found[0].from, found[found.len() - 1].to), (from, to));
            assert!(found.windows(2).all(|two| two[0].to == two[1].from));
            let mut rows = Vec::new();
            for Interval { from, to } in found {
                let batches = all(&mut world.open(from, Some(to), request(&["n"], 50)).await).await.expect("reads");
                rows.extend(batches.iter().flat_map(|batch| rows_as_text(&batch.rows)));
            }
            let wanted = world.records.iter().filter(|record| !from.covers(record.position));
            let wanted = wanted.filter(|record| matches!(record.kind, Written::Row { .. }));
            assert_eq!(rows, wanted.map(|record| as_text(record, &columns)).collect::<Vec<_>>(), "{most} from {from}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_without_a_possible_row_are_not_decoded() {
    let mut world = World::new(13, OnDecodeError::Fail).await;
    world.append(12, 1, false).await;
    world.archive().await;
    let end = Cut::After(world.entries[11]);
    let range = 9..=10;
    let wanted = |record: &&Record| matches!(&record.kind, Written::Row { n: Some(n), .. } if range.contains(n));
    let columns = ["n".to_string()];
    let expected: Vec<String> = world.records.iter().filter(wanted).map(|r| as_text(r, &columns)).collect();
    assert!(!expected.is_empty());
    let mut decoded = Vec::new();
    for time_column in [None, Some("ts".to_string())] {
        let mut request = request(&["n"], 50);
        request.filter = Some(Arc::new(Between(9..=10)));
        request.time_column = time_column;
        let mut reader = world.open(Cut::Start, Some(end), request).await;
        let batches = all(&mut reader).await.expect("reads");
        let found: Vec<String> = batches.iter().flat_map(|batch| rows_as_text(&batch.rows)).collect();
        assert_eq!(found, expected);
        decoded.push((reader.statistics().archive_rows, reader.statistics().pruned_rows));
    }
    // One row group of up to twelve rows in pages of four: where nobody asks for times, one or two pages are enough.
    assert!(decoded[0].0 < decoded[1].0 && decoded[0].1 >= 4 && decoded[1].1 == 0, "{decoded:?}");
}
