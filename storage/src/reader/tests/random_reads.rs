//! Random reads of random topics while entries are appended, archived and trimmed, against a list of all records.
//!
//! ```text
//!  step (another task):  append ─► archive ─► trim            whatever of it has happened when, the read gives the same
//!  read:        start, stop ─► cuts ─► (narrowed by the filter) ─► one reader a partition, or several side by side ─► rows = records between the cuts
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

/// Rows whose numbers, times, keys and places are these; row groups, files and tiers are left out by all of them.
#[derive(Debug, Clone, Default)]
struct Wanted {
    n: Option<RangeInclusive<i64>>,
    ts: Option<RangeInclusive<i64>>,
    published: Option<RangeInclusive<i64>>,
    keys: Option<Vec<Vec<u8>>>,
    /// The first and the last entry.
    positions: Option<(Position, Position)>,
    /// The tier that a row is read from.
    tier: Option<Tier>,
}

impl Wanted {
    fn any(random: &mut StdRng, world: &World) -> Self {
        let sequence = world.sequence;
        let mut wanted = Self::default();
        if random.random_bool(0.4) {
            let low = random.random_range(0..=sequence);
            wanted.n = Some(low..=low + random.random_range(0..60));
        }
        if random.random_bool(0.2) {
            let low = 1_000_000 + random.random_range(-10..=sequence * 10 + 10);
            wanted.published = Some(low..=low + random.random_range(0..2000));
        }
        if random.random_bool(0.2) {
            let keys = random.random_range(0..3);
            wanted.keys = Some((0..keys).filter_map(|_| key_of(random.random_range(0..sequence * 2))).collect());
        }
        if random.random_bool(0.2) {
            let mut place = || {
                let mut place = world.entries[random.random_range(0..world.entries.len())];
                match random.random_range(0..4) {
                    0 => place.entry = 0,
                    1 => place.entry = u64::MAX,
                    2 => place.ledger += random.random_range(0..3),
                    _ => {}
                }
                place
            };
            let (first, last) = (place(), place());
            wanted.positions = Some((first.min(last), first.max(last)));
        }
        if random.random_bool(0.1) {
            wanted.tier = Some(if random.random() { Tier::Archive } else { Tier::Log });
        }
        wanted
    }

    fn is_all(&self) -> bool {
        self.n.is_none() && self.ts.is_none() && self.keys.is_none() && self.reads_all()
    }

    /// Whether no message is left out before it is looked at: what does not decode may be in any of them then.
    fn reads_all(&self) -> bool {
        self.published.is_none() && self.positions.is_none() && self.tier.is_none()
    }

    /// But for the tier.
    fn record(&self, record: &Record) -> bool {
        let Written::Row { n, ts, .. } = &record.kind else { return false };
        let in_n = |range: &RangeInclusive<i64>| n.is_some_and(|n| range.contains(&n));
        self.n.as_ref().is_none_or(in_n)
            && self.ts.as_ref().is_none_or(|range| range.contains(ts))
            && self.published.as_ref().is_none_or(|range| range.contains(&record.publish_time))
            && self.keys.as_ref().is_none_or(|keys| record.key.as_ref().is_some_and(|key| keys.contains(key)))
            && self.positions.is_none_or(|(first, last)| first <= record.position && record.position <= last)
    }

    /// Whether a row that is wanted but for the tier must be given, and whether it may be: archived before the read, and when it has ended.
    fn given(&self, tiers: Tiers, before: bool, after: bool) -> (bool, bool) {
        match (tiers, self.tier) {
            (Tiers::Both, None) => (true, true),
            (Tiers::Both | Tiers::Archive, Some(Tier::Archive)) | (Tiers::Archive, None) => (before, after),
            (Tiers::Both, Some(Tier::Log)) => (!after, !before),
            // The log keeps what is archived for a while.
            (Tiers::Log, None | Some(Tier::Log)) => (!after, true),
            (Tiers::Log, Some(Tier::Archive)) | (Tiers::Archive, Some(Tier::Log)) => (false, false),
        }
    }
}

impl ReadFilter for Wanted {
    fn columns(&self) -> Vec<String> {
        let mut names = vec!["ts", "n"];
        names.extend(self.published.as_ref().map(|_| column::PUBLISH_TIME));
        names.extend(self.keys.as_ref().map(|_| column::KEY));
        names.extend(self.positions.iter().flat_map(|_| [column::LEDGER, column::ENTRY]));
        names.extend(self.tier.map(|_| TIER));
        names.into_iter().map(String::from).collect()
    }
    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let times = rows.column(0).as_primitive::<TimestampMillisecondType>();
        let numbers = rows.column(1).as_primitive::<Int64Type>();
        let inside = |range: &Option<RangeInclusive<i64>>, value: Option<i64>| match range {
            Some(range) => value.is_some_and(|value| range.contains(&value)),
            None => true,
        };
        let of = |name: &str| rows.column_by_name(name).expect("asked for");
        let published =
            self.published.as_ref().map(|_| of(column::PUBLISH_TIME).as_primitive::<TimestampMillisecondType>());
        let mut kept = Vec::with_capacity(rows.num_rows());
        for (row, (ts, n)) in times.iter().zip(numbers).enumerate() {
            let mut keep = inside(&self.ts, ts) && inside(&self.n, n);
            keep &= inside(&self.published, published.map(|published| published.value(row)));
            if let Some(keys) = &self.keys {
                let found = of(column::KEY).as_binary_view();
                keep &= found.is_valid(row) && keys.iter().any(|key| key.as_slice() == found.value(row));
            }
            if let Some((first, last)) = self.positions {
                let number = |name: &str| of(name).as_primitive::<UInt64Type>().value(row);
                let at = Position::new(number(column::LEDGER), number(column::ENTRY));
                keep &= first <= at && at <= last;
            }
            if let Some(tier) = self.tier {
                keep &= of(TIER).as_string_view().value(row) == tier.name();
            }
            kept.push(keep);
        }
        Ok(BooleanArray::from(kept))
    }
    fn may_match(&self, statistics: &dyn ContainerStatistics) -> Result<Vec<bool>> {
        let mut may = vec![true; statistics.num_containers()];
        let ledgers = self.positions.map(|(first, last)| first.ledger as i64..=last.ledger as i64);
        for (name, range) in
            [("n", &self.n), ("ts", &self.ts), (column::PUBLISH_TIME, &self.published), (column::LEDGER, &ledgers)]
        {
            let bounds = (statistics.min_values(name), statistics.max_values(name));
            let (Some(range), (Some(low), Some(high))) = (range, bounds) else { continue };
            let as_long = |array: &ArrayRef| match name {
                "n" => array.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
                column::LEDGER => array.as_primitive::<UInt64Type>().iter().map(|n| n.map(|n| n as i64)).collect(),
                _ => array.as_primitive::<TimestampMillisecondType>().iter().collect(),
            };
            for ((may, low), high) in may.iter_mut().zip(as_long(&low)).zip(as_long(&high)) {
                *may &= low.is_none_or(|low| low <= *range.end()) && high.is_none_or(|high| high >= *range.start());
            }
        }
        if let (Some(tier), Some(found)) = (self.tier, statistics.min_values(TIER)) {
            for (may, found) in may.iter_mut().zip(found.as_string_view()) {
                *may &= found == Some(tier.name());
            }
        }
        Ok(may)
    }
    fn message_keys(&self) -> Option<&[Vec<u8>]> {
        self.keys.as_deref()
    }
    fn positions(&self) -> (Position, Position) {
        self.positions.unwrap_or((Position::new(0, 0), Position::new(u64::MAX, u64::MAX)))
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
    skipped: u64,
    /// Reads that failed at a message that does not decode, as they had to.
    failed: usize,
    /// Reads of the log alone that came after it was trimmed.
    gone: usize,
}

/// One read of one partition, in order or in stretches side by side; `narrow`: only where its filter leaves something.
async fn read(
    world: &World,
    (from, to): (Cut, Cut),
    most: usize,
    request: &ReadRequest,
    narrow: bool,
) -> Result<(Vec<ReadBatch>, Seen)> {
    let (mut interval, mut tiers) = (Interval::new(from, to), request.tiers);
    if let Some(filter) = request.filter.as_ref().filter(|_| narrow) {
        match world.topic.narrowed(&world.partition, interval, tiers, filter.as_ref()).await? {
            Some((left, left_tiers)) => {
                assert!(left.from >= from && left.to <= to, "{left} is a part of {interval}");
                (interval, tiers) = (left, left_tiers);
            }
            None => return Ok((Vec::new(), Seen::default())),
        }
    }
    let stretches = match interval.is_empty() || tiers == Tiers::Log {
        true => vec![interval],
        false => world.topic.stretches(&world.partition, (interval.from, interval.to), most, 5).await?,
    };
    let reads = stretches.into_iter().map(|Interval { from, to }| async move {
        let mut reader = world.open(from, Some(to), ReadRequest { tiers, ..request.clone() }).await;
        let batches = all(&mut reader).await?;
        let mut at = from;
        for batch in &batches {
            assert!(batch.cut > at, "cuts rise");
            at = batch.cut;
        }
        let stop = from.max(to);
        assert!(at == stop || tiers == Tiers::Archive && at < stop, "the last cut is the stop: {at}, {stop}");
        Ok::<_, aquifer_model::Error>((batches, reader.statistics()))
    });
    let mut seen = Seen::default();
    let mut batches = Vec::new();
    for (some, statistics) in try_join_all(reads).await? {
        seen.archive_rows += statistics.archive_rows;
        seen.log_rows += statistics.log_rows;
        seen.pruned_rows += statistics.pruned_rows;
        seen.skipped += statistics.skipped_messages;
        batches.extend(some);
    }
    seen.rows = batches.iter().map(|batch| batch.rows.num_rows()).sum();
    Ok((batches, seen))
}

/// Whether rows are a part of others, in order.
fn is_part(rows: &[String], of: &[String]) -> bool {
    let mut of = of.iter();
    rows.iter().all(|row| of.any(|other| other == row))
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
        let letters: TopicName = "letters".parse().expect("a name");
        worlds[0].topic.log.create_topic(&letters, 0).await.expect("new");
        let worlds: Vec<Shared> = worlds.into_iter().map(|world| Arc::new(Mutex::new(world))).collect();
        for nth in 0..READS.min(reads - done) {
            let label = format!("topic {topic}, read {nth}");
            let mut random = StdRng::seed_from_u64(topic << 20 | nth as u64);
            let beside = tokio::spawn(step(worlds.clone(), StdRng::from_rng(&mut random), most, garbage));
            let sequence = worlds[0].lock().await.sequence;
            let (start, stop) = (Bound::any(&mut random, sequence), Bound::any(&mut random, sequence));
            let mut wanted = Wanted::any(&mut random, &*worlds[0].lock().await);
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
            if !wanted.is_all() {
                request.filter = Some(Arc::new(wanted.clone()));
            }
            let time = [None, Some("ts"), Some(column::PUBLISH_TIME)][random.random_range(0..3)];
            request.time_column = time.map(str::to_string);
            request.tiers = match random.random_range(0..8) {
                0 => Tiers::Archive,
                1 => Tiers::Log,
                _ => Tiers::Both,
            };
            let on_error = match random.random_range(0..6) {
                0 => OnDecodeError::Fail,
                1 => OnDecodeError::DeadLetter(letters.clone()),
                _ => OnDecodeError::Skip,
            };
            let ordered = random.random_bool(0.6);
            let most_stretches = if ordered { 1 } else { 4 };
            // What is not read tells no time.
            let narrow = time.is_none() && random.random_bool(0.7);

            // One cut a partition, all before the first row; then all partitions side by side.
            let mut plan = Vec::new();
            for shared in &worlds {
                let world = shared.lock().await;
                let cuts = (start.cut(&world, true).await, stop.cut(&world, false).await);
                let mut aside = aside(&world);
                aside.topic.on_error = on_error.clone();
                let border = world.topic.border(&world.partition).await.expect("known");
                plan.push((aside, cuts, border));
            }
            let each = plan.iter().map(|(world, cuts, _)| read(world, *cuts, most_stretches, &request, narrow));
            let results = futures::future::join_all(each).await;
            beside.await.expect("archives");
            for (((_, (from, to), before), result), shared) in plan.iter().zip(results).zip(&worlds) {
                let world = shared.lock().await;
                let what = format!(
                    "{label}: {} ({from}, {to}] {start:?} {stop:?} {on_error:?} narrow {narrow} {request:?}",
                    world.partition
                );
                let interval = Interval::new(*from, *to);
                let passed = || world.records.iter().filter(|record| interval.contains(record.position));
                let bad = passed().filter(|record| record.kind == Written::Garbage).count();
                let (batches, found) = match result {
                    Ok(found) => found,
                    Err(error) if error.kind() == ErrorKind::Gone && request.tiers == Tiers::Log => {
                        seen.gone += 1;
                        continue;
                    }
                    Err(error) => {
                        let may_fail = on_error == OnDecodeError::Fail && bad > 0;
                        assert!(may_fail && error.kind() == ErrorKind::Corrupt, "{what}: {error}");
                        seen.failed += 1;
                        continue;
                    }
                };
                let after = world.topic.border(&world.partition).await.expect("known");
                let given = |record: &Record| {
                    wanted.given(request.tiers, before.covers(record.position), after.covers(record.position))
                };
                let texts = |is_it: &dyn Fn(&Record) -> bool| -> Vec<String> {
                    let rows = passed().filter(|record| wanted.record(record) && is_it(record));
                    rows.map(|record| as_text(record, &request.columns)).collect()
                };
                let (least, most) = (texts(&|record| given(record).0), texts(&|record| given(record).1));
                let rows: Vec<String> = batches.iter().flat_map(|batch| rows_as_text(&batch.rows)).collect();
                if least == most {
                    assert_eq!(found.rows, least.len(), "{what}");
                    assert_eq!(rows, least, "{what}");
                } else {
                    let within = found.rows >= least.len() && is_part(&least, &rows) && is_part(&rows, &most);
                    assert!(within, "{what}: {least:?} ≤ {rows:?} ≤ {most:?}");
                }
                assert!(found.skipped <= bad as u64, "{what}");
                if wanted.reads_all() && request.tiers == Tiers::Both {
                    assert_eq!(found.skipped, bad as u64, "{what}");
                    assert!(bad == 0 || on_error != OnDecodeError::Fail, "{what}");
                }
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
                if request.tiers == Tiers::Both {
                    assert_eq!(batches.iter().filter_map(|batch| batch.time_max).max(), latest, "{what}");
                }
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
    assert!(reads < 200 || seen.failed > 0, "some met a message that does not decode: {seen:?}");
}
