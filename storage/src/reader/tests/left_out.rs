//! What a filter leaves unread: files by their manifest, tiers and stretches by where rows can lie.

use bytes::Bytes;
use prost::Message;
use pulsar::message::proto::BrokerEntryMetadata;

use super::*;

/// Keeps rows by one number that is known of each.
#[derive(Debug)]
enum Only {
    /// Published in this range.
    Published(RangeInclusive<i64>),
    /// Taken by a broker at this time or later.
    Taken(i64),
    /// Between these entries.
    Between(Position, Position),
    /// Read from this tier.
    From(Tier),
}

impl ReadFilter for Only {
    fn columns(&self) -> Vec<String> {
        let names = match self {
            Only::Published(_) => vec![column::PUBLISH_TIME],
            Only::Taken(_) => vec![column::BROKER_PUBLISH_TIME],
            Only::Between(..) => vec![column::LEDGER, column::ENTRY],
            Only::From(_) => vec![TIER],
        };
        names.into_iter().map(String::from).collect()
    }
    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let times = || rows.column(0).as_primitive::<TimestampMillisecondType>();
        let kept: Vec<bool> = match self {
            Only::Published(range) => times().values().iter().map(|time| range.contains(time)).collect(),
            Only::Taken(from) => times().iter().map(|time| time.is_some_and(|time| time >= *from)).collect(),
            Only::Between(first, last) => {
                let number = |column: usize, row: usize| rows.column(column).as_primitive::<UInt64Type>().value(row);
                let at = |row| Position::new(number(0, row), number(1, row));
                (0..rows.num_rows()).map(|row| (*first..=*last).contains(&at(row))).collect()
            }
            Only::From(tier) => rows.column(0).as_string_view().iter().map(|t| t == Some(tier.name())).collect(),
        };
        Ok(BooleanArray::from(kept))
    }
    fn may_match(&self, statistics: &dyn ContainerStatistics) -> Result<Vec<bool>> {
        let all = vec![true; statistics.num_containers()];
        Ok(match self {
            Only::Published(range) => {
                let bounds = (statistics.min_values(column::PUBLISH_TIME), statistics.max_values(column::PUBLISH_TIME));
                let (Some(low), Some(high)) = bounds else { return Ok(all) };
                let longs = |array: &ArrayRef| array.as_primitive::<TimestampMillisecondType>().iter().collect();
                let (low, high): (Vec<Option<i64>>, Vec<Option<i64>>) = (longs(&low), longs(&high));
                let may = |(low, high): (Option<i64>, Option<i64>)| {
                    low.is_none_or(|low| low <= *range.end()) && high.is_none_or(|high| high >= *range.start())
                };
                low.into_iter().zip(high).map(may).collect()
            }
            Only::From(tier) => match statistics.min_values(TIER) {
                Some(found) => found.as_string_view().iter().map(|found| found == Some(tier.name())).collect(),
                None => all,
            },
            Only::Taken(_) | Only::Between(..) => all,
        })
    }
    fn positions(&self) -> (Position, Position) {
        match self {
            Only::Between(first, last) => (*first, *last),
            _ => (Position::new(0, 0), Position::new(u64::MAX, u64::MAX)),
        }
    }
    fn broker_published_from(&self) -> Option<i64> {
        match self {
            Only::Taken(from) => Some(*from),
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_manifest_rules_its_rows_out_is_not_opened_and_tells_its_time() {
    let mut world = World::new(21, OnDecodeError::Skip).await;
    for _ in 0..4 {
        world.append(20, 4, true).await;
        world.archive().await;
    }
    let end = Cut::After(*world.entries.last().expect("some"));
    let rows = world.records.len() as u64;
    let latest = world.records.iter().map(|record| record.publish_time).max();
    let times = world.records.iter().filter_map(|record| match &record.kind {
        Written::Row { ts, .. } => Some(*ts),
        _ => None,
    });
    let latest_ts = times.max();
    for (time, told, opens) in
        [(None, None, false), (Some(column::PUBLISH_TIME), latest, false), (Some("ts"), latest_ts, true)]
    {
        let mut request = request(&["n"], 50);
        request.filter = Some(Arc::new(Only::Published(9_000_000_000..=i64::MAX)));
        request.time_column = time.map(str::to_string);
        let mut reader = world.open(Cut::Start, Some(end), request).await;
        let batches = all(&mut reader).await.expect("reads");
        assert_eq!(batches.last().expect("a cut").cut, end);
        assert!(batches.iter().all(|batch| batch.rows.num_rows() == 0));
        assert_eq!(batches.iter().filter_map(|batch| batch.time_max).max(), told, "{time:?}");
        let statistics = reader.statistics();
        assert_eq!(statistics.archive_bytes > 0, opens, "{time:?}: {statistics:?}");
        if !opens {
            assert_eq!((statistics.pruned_rows, statistics.skipped_messages), (rows, 0), "{time:?}");
        }
    }
    // Of several files those are opened that may have something.
    let whole = read_bytes(&world, end, None).await.1;
    let middle = world.records[world.records.len() / 2].publish_time;
    let (found, bytes) = read_bytes(&world, end, Some(middle)).await;
    let wanted = |record: &&Record| record.publish_time == middle && matches!(record.kind, Written::Row { .. });
    assert_eq!(found, world.records.iter().filter(wanted).count());
    assert!(bytes > 0 && bytes < whole, "{bytes} of {whole} bytes");
}

/// How many rows were published at a time, and the bytes read for them.
async fn read_bytes(world: &World, end: Cut, time: Option<i64>) -> (usize, u64) {
    let mut request = request(&["n"], 50);
    if let Some(time) = time {
        request.filter = Some(Arc::new(Only::Published(time..=time)));
    }
    let mut reader = world.open(Cut::Start, Some(end), request).await;
    let batches = all(&mut reader).await.expect("reads");
    (batches.iter().map(|batch| batch.rows.num_rows()).sum(), reader.statistics().archive_bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_on_places_narrows_what_is_read_to_them() {
    let mut world = World::new(23, OnDecodeError::Fail).await;
    world.append(20, 2, false).await;
    world.archive().await;
    world.append(13, 2, false).await;
    let all_of_it = Interval::new(Cut::Start, Cut::After(world.entries[32]));
    let border = Cut::After(world.entries[19]);
    let narrowed = async |tiers: Tiers, filter: Only| {
        world.topic.narrowed(&world.partition, all_of_it, tiers, &filter).await.expect("known")
    };
    let behind = Interval::new(border, all_of_it.to);
    assert_eq!(narrowed(Tiers::Both, Only::From(Tier::Log)).await, Some((behind, Tiers::Both)));
    assert_eq!(narrowed(Tiers::Both, Only::From(Tier::Archive)).await, Some((all_of_it, Tiers::Archive)));
    assert_eq!(narrowed(Tiers::Log, Only::From(Tier::Archive)).await, None);
    for (first, last) in [(0, 0), (3, 11), (17, 25), (20, 20), (26, 32)] {
        let (first, last) = (world.entries[first], world.entries[last]);
        let (left, tiers) = narrowed(Tiers::Both, Only::Between(first, last)).await.expect("something");
        let kept: Vec<&Position> = world.entries.iter().filter(|entry| left.contains(**entry)).collect();
        assert_eq!((kept.first(), kept.last()), (Some(&&first), Some(&&last)), "{left}");
        assert_eq!(tiers, Tiers::Both);
    }
    let nowhere = Position::new(world.entries[32].ledger + 9, 0);
    assert_eq!(narrowed(Tiers::Both, Only::Between(nowhere, nowhere)).await, None);
}

/// An entry as a broker stores it that says when it took it.
fn taken_at(time_ms: i64, entry: &Bytes) -> Bytes {
    let metadata = BrokerEntryMetadata { broker_timestamp: Some(time_ms as u64), index: None }.encode_to_vec();
    let length = (metadata.len() as u32).to_be_bytes();
    Bytes::from([[0x0e, 0x02].as_slice(), length.as_slice(), metadata.as_slice(), &entry[..]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brokers_publish_time_narrows_the_log_and_leaves_no_entry_out() {
    let mut world = World::new(22, OnDecodeError::Skip).await;
    let mut appender = world.topic.log.open_appender(&world.partition, "b").await.expect("opens");
    let mut taken = Vec::new();
    for id in 0..90i64 {
        let spec = EntrySpec { producer_name: "b".into(), publish_time_ms: 5, ..Default::default() };
        let message = NewMessage { sequence_id: id, payload: Some(b"x"), ..Default::default() };
        let entry = build_entry(&spec, &[message]).expect("an entry");
        // Brokers' clocks are a little apart, and one says nothing.
        let time = (id % 7 != 3).then(|| 1_000_000 + id * 40 + world.random.random_range(-70..70));
        let bytes = time.map_or_else(|| entry.clone(), |time| taken_at(time, &entry));
        let Receipt::Stored(position) = appender.append(bytes, id, id, 1).await.expect("stored") else {
            panic!("not a duplicate")
        };
        taken.push((position, time));
    }
    let end = Cut::After(taken[89].0);
    let mut moved = 0;
    for from in (999_000..1_005_000).step_by(97) {
        let wanted = Interval::new(Cut::Start, end);
        let filter = Only::Taken(from);
        let left = world.topic.narrowed(&world.partition, wanted, Tiers::Both, &filter).await.expect("found");
        let is_left = |position| left.is_some_and(|(interval, _)| interval.contains(position));
        for (position, time) in &taken {
            assert!(time.is_none_or(|time| time < from) || is_left(*position), "{position} from {from}: {left:?}");
        }
        moved += usize::from(!is_left(taken[0].0));
    }
    assert!(moved > 20, "the beginning was left out {moved} times");
}
