//! Random reads of random topics while entries are appended, archived and trimmed, against a list of all records.
//!
//! ```text
//!  step (another task):  append ─► archive ─► trim            whatever of it has happened when, the read gives the same
//!  read:        start, stop ─► cuts ─► one reader a partition, or several side by side ─► rows = records between the cuts
//! ```
//!
//! How many: `AQUIFER_READS`. A read that fails names its seed; the same seed makes the same choices.

use futures::future::try_join_all;
use tokio::sync::Mutex;

use super::*;

/// Reads of one topic before the next is made.
const READS: usize = 25;

type Shared = Arc<Mutex<World>>;

/// Where a read begins or ends.
#[derive(Debug, Clone, Copy)]
enum Bound {
    Earliest,
    /// All that is there now.
    Latest,
    /// An entry, with it or without it.
    Entry {
        nth: f64,
        inclusive: bool,
    },
    /// The first entry published at that time or later.
    Published(i64),
    /// Records of that time or later.
    Event(i64),
}

impl Bound {
    fn any(random: &mut StdRng, sequence: i64) -> Self {
        let event = random.random_range(0..=sequence * 1000);
        match random.random_range(0..6) {
            0 => Self::Earliest,
            1 => Self::Latest,
            2 | 3 => Self::Entry { nth: random.random(), inclusive: random.random() },
            4 => Self::Published(1_000_000 + event / 100),
            _ => Self::Event(event),
        }
    }

    /// The cut of a partition, which lies where the records say. Nothing is appended meanwhile; archiving and trimming go on.
    async fn cut(self, world: &World, is_start: bool) -> Cut {
        let end = world.entries.last().map_or(Cut::Start, |last| Cut::After(*last));
        match self {
            Self::Earliest => Cut::Start,
            Self::Event(_) if is_start => Cut::Start,
            Self::Latest | Self::Event(_) => {
                let cut = world.topic.end_cuts().await.expect("known")[&world.partition];
                assert_eq!(cut, end, "the end of all that is there");
                cut
            }
            Self::Published(time) => {
                let cut = world.topic.cut_at_publish_time(&world.partition, time).await.expect("found");
                let first = world.records.iter().find(|record| record.publish_time >= time);
                let before = world.records.iter().filter(|r| first.is_none_or(|first| r.position < first.position));
                assert_eq!(cut, before.map(|r| Cut::After(r.position)).max().unwrap_or(Cut::Start), "{time}");
                cut
            }
            Self::Entry { nth, inclusive } => {
                let position = world.entries[(nth * world.entries.len() as f64) as usize];
                if inclusive != is_start {
                    return Cut::After(position);
                }
                let cut = world.topic.cut_before(&world.partition, position).await.expect("known");
                let before = world.entries.iter().rfind(|entry| **entry < position);
                assert!(!cut.covers(position) && before.is_none_or(|before| cut.covers(*before)), "{cut} {position}");
                cut
            }
        }
    }
}

/// Rows whose `n` and whose `ts` lie in ranges; row groups are left out by both.
#[derive(Debug, Clone)]
struct Wanted {
    n: Option<RangeInclusive<i64>>,
    ts: Option<RangeInclusive<i64>>,
}

impl Wanted {
    fn record(&self, record: &Record) -> bool {
        let Written::Row { n, ts, .. } = &record.kind else { return false };
        let in_n = |range: &RangeInclusive<i64>| n.is_some_and(|n| range.contains(&n));
        self.n.as_ref().is_none_or(in_n) && self.ts.as_ref().is_none_or(|range| range.contains(ts))
    }
}

impl ReadFilter for Wanted {
    fn columns(&self) -> Vec<String> {
        vec!["ts".into(), "n".into()]
    }
    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let times = rows.column(0).as_primitive::<TimestampMillisecondType>();
        let numbers = rows.column(1).as_primitive::<Int64Type>();
        let inside = |range: &Option<RangeInclusive<i64>>, value: Option<i64>| match range {
            Some(range) => value.is_some_and(|value| range.contains(&value)),
            None => true,
        };
        Ok(times.iter().zip(numbers).map(|(ts, n)| Some(inside(&self.ts, ts) && inside(&self.n, n))).collect())
    }
    fn may_match(&self, statistics: &dyn ContainerStatistics) -> Result<Vec<bool>> {
        let mut may = vec![true; statistics.num_containers()];
        for (name, range) in [("n", &self.n), ("ts", &self.ts)] {
            let bounds = (statistics.min_values(name), statistics.max_values(name));
            let (Some(range), (Some(low), Some(high))) = (range, bounds) else { continue };
            let as_long = |array: &ArrayRef| match name {
                "n" => array.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
                _ => array.as_primitive::<TimestampMillisecondType>().iter().collect(),
            };
            for ((may, low), high) in may.iter_mut().zip(as_long(&low)).zip(as_long(&high)) {
                *may &= low.is_none_or(|low| low <= *range.end()) && high.is_none_or(|high| high >= *range.start());
            }
        }
        Ok(may)
    }
}

/// What goes on beside a read: entries come to a partition, and sometimes it is archived and trimmed.
async fn step(worlds: Vec<Shared>, mut random: StdRng, most: usize, garbage: bool) {
    let world = &worlds[random.random_range(0..worlds.len())];
    let (topic, partition) = {
        let mut world = world.lock().await;
        world.append(random.random_range(1..4), most, garbage).await;
        (world.topic.clone(), world.partition.clone())
    };
    if random.random_bool(0.3) {
        let settings = ArchiveSettings { rows_per_commit: random.random_range(8..80), ..Default::default() };
        Archiver::new(topic, settings).run_once(&partition).await.expect("archives");
    }
}

/// What a read saw, for the counts at the end.
#[derive(Debug, Default)]
struct Seen {
    rows: usize,
    archive_rows: u64,
    log_rows: u64,
    pruned_rows: u64,
}

/// One read of one partition, in order or in stretches side by side.
async fn read(world: &World, (from, to): (Cut, Cut), most: usize, request: &ReadRequest) -> (Vec<ReadBatch>, Seen) {
    let stretches = match to > from {
        true => world.topic.stretches(&world.partition, (from, to), most, 5).await.expect("known"),
        false => vec![Interval::new(from, to)],
    };
    let reads = stretches.into_iter().map(|Interval { from, to }| async move {
        let mut reader = world.open(from, Some(to), request.clone()).await;
        let batches = all(&mut reader).await?;
        let mut at = from;
        for batch in &batches {
            assert!(batch.cut > at, "cuts rise");
            at = batch.cut;
        }
        assert_eq!(at, from.max(to), "the last cut is the stop");
        Ok::<_, aquifer_model::Error>((batches, reader.statistics()))
    });
    let mut seen = Seen::default();
    let mut batches = Vec::new();
    for (some, statistics) in try_join_all(reads).await.expect("reads") {
        seen.archive_rows += statistics.archive_rows;
        seen.log_rows += statistics.log_rows;
        seen.pruned_rows += statistics.pruned_rows;
        batches.extend(some);
    }
    seen.rows = batches.iter().map(|batch| batch.rows.num_rows()).sum();
    (batches, seen)
}

/// A reader of a world that others may append to meanwhile.
fn aside(world: &World) -> World {
    World {
        topic: world.topic.clone(),
        partition: world.partition.clone(),
        records: Vec::new(),
        entries: Vec::new(),
        random: world.random.clone(),
        sequence: world.sequence,
        archive_folder: world.archive_folder.clone(),
        _folder: Arc::clone(&world._folder),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_reads_give_what_the_oracle_has_while_archiving_and_trimming_run() {
    let reads: usize = std::env::var("AQUIFER_READS").ok().map_or(1000, |text| text.parse().expect("a number"));
    let mut seen = Seen::default();
    let mut done = 0;
    for topic in 0.. {
        if done >= reads {
            break;
        }
        let partitions = (topic % 4 + 1) as u32;
        let (garbage, most) = (topic % 2 == 0, if topic % 3 == 0 { 20 } else { 5 });
        let mut worlds = World::several(topic, OnDecodeError::Skip, partitions).await;
        if topic % 5 != 0 {
            // Every fifth archive is a folder; syncing files is most of the time that archiving takes.
            let store = ArchiveLocation::in_store(Arc::new(object_store::memory::InMemory::new()), "archive");
            worlds.iter_mut().for_each(|world| world.topic.archive = Some(store.clone()));
        }
        for world in &mut worlds {
            world.append(12, most, garbage).await;
            world.archive().await;
            world.append(8, most, garbage).await;
        }
        let worlds: Vec<Shared> = worlds.into_iter().map(|world| Arc::new(Mutex::new(world))).collect();
        for nth in 0..READS.min(reads - done) {
            let label = format!("topic {topic}, read {nth}");
            let mut random = StdRng::seed_from_u64(topic << 20 | nth as u64);
            let beside = tokio::spawn(step(worlds.clone(), StdRng::from_rng(&mut random), most, garbage));
            let sequence = worlds[0].lock().await.sequence;
            let (start, stop) = (Bound::any(&mut random, sequence), Bound::any(&mut random, sequence));
            let low = random.random_range(0..=sequence);
            let mut wanted = Wanted { n: None, ts: None };
            if random.random_bool(0.4) {
                wanted.n = Some(low..=low + random.random_range(0..60));
            }
            let times = match (start, stop) {
                (Bound::Event(from), Bound::Event(to)) => Some(from..=to - 1),
                (Bound::Event(from), _) => Some(from..=i64::MAX),
                (_, Bound::Event(to)) => Some(i64::MIN..=to - 1),
                _ => None,
            };
            wanted.ts = times;
            let possible =
                ["n", "ts", "name", column::LEDGER, column::ENTRY, column::BATCH_INDEX, column::PUBLISH_TIME];
            let columns: Vec<&str> = possible.into_iter().filter(|_| random.random_bool(0.4)).collect();
            let mut request = request(&columns, random.random_range(1..60));
            if wanted.n.is_some() || wanted.ts.is_some() {
                request.filter = Some(Arc::new(wanted.clone()));
            }
            let time = [None, Some("ts"), Some(column::PUBLISH_TIME)][random.random_range(0..3)];
            request.time_column = time.map(str::to_string);
            let ordered = random.random_bool(0.6);
            let most_stretches = if ordered { 1 } else { 4 };

            // One cut a partition, all before the first row; then all partitions side by side.
            let mut plan = Vec::new();
            for shared in &worlds {
                let world = shared.lock().await;
                let cuts = (start.cut(&world, true).await, stop.cut(&world, false).await);
                plan.push((aside(&world), cuts));
            }
            let each = plan.iter().map(|(world, cuts)| read(world, *cuts, most_stretches, &request));
            let results = futures::future::join_all(each).await;
            beside.await.expect("archives");
            for (((_, (from, to)), (batches, found)), shared) in plan.iter().zip(results).zip(&worlds) {
                let world = shared.lock().await;
                let what = format!("{label}: {} ({from}, {to}] {start:?} {stop:?} {request:?}", world.partition);
                let interval = Interval::new(*from, *to);
                let passed = || world.records.iter().filter(|record| interval.contains(record.position));
                let expected = passed().filter(|record| wanted.record(record));
                let expected: Vec<String> = expected.map(|record| as_text(record, &request.columns)).collect();
                let rows: Vec<String> = batches.iter().flat_map(|batch| rows_as_text(&batch.rows)).collect();
                assert_eq!(found.rows, expected.len(), "{what}");
                assert_eq!(rows, expected, "{what}");
                // What is filtered or left out changes no time.
                let latest = match time {
                    None => None,
                    Some("ts") => passed()
                        .filter_map(|record| match &record.kind {
                            Written::Row { ts, .. } => Some(*ts),
                            _ => None,
                        })
                        .max(),
                    Some(_) => passed().map(|record| record.publish_time).max(),
                };
                assert_eq!(batches.iter().filter_map(|batch| batch.time_max).max(), latest, "{what}");
                seen.rows += found.rows;
                seen.archive_rows += found.archive_rows;
                seen.log_rows += found.log_rows;
                seen.pruned_rows += found.pruned_rows;
            }
            done += 1;
        }
    }
    println!("{done} reads: {seen:?}");
    assert_eq!(done, reads);
    let least = reads as u64;
    assert!(seen.rows as u64 > least && seen.archive_rows > least && seen.log_rows > least, "{seen:?}");
    assert!(seen.pruned_rows > least / 10, "row groups were left out: {seen:?}");
}
