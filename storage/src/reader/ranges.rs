//! What is known of parts of a partition before anything of them is opened: a filter that is asked about it leaves out tiers and files.
//!
//! ```text
//!  partition   topic and number: the same in all rows
//!  tier        its name
//!  file        where its entries lie, when they were published, their event times: in its manifest
//! ```
//!
//! A file's ranges are those of all its messages, of those without a value and those that do not decode too.

use std::sync::Arc;

use aquifer_formats::messages::column;
use aquifer_model::sql_type::LTZ_ZONE;
use aquifer_model::{Interval, Partition, Position};
use arrow::array::{ArrayRef, Int32Array, StringViewArray, TimestampMillisecondArray, UInt64Array};

use super::row_groups::wanted_of;
use super::{ContainerStatistics, PARTITION, TIER, TOPIC, Tier};
use crate::archive::manifest::DataFile;

/// Parts of one partition, as containers.
pub(super) struct Ranges<'a> {
    partition: &'a Partition,
    parts: Vec<Part<'a>>,
}

/// A tier, or a file of the archive.
struct Part<'a> {
    tier: Tier,
    file: Option<&'a DataFile>,
}

/// An end of a range.
#[derive(Debug, Clone, Copy)]
enum End {
    Low,
    High,
}

impl End {
    fn of<T>(self, (low, high): (T, T)) -> T {
        match self {
            End::Low => low,
            End::High => high,
        }
    }
}

impl<'a> Ranges<'a> {
    /// A container a tier.
    pub fn of_tiers(partition: &'a Partition, tiers: &[Tier]) -> Self {
        Self { partition, parts: tiers.iter().map(|tier| Part { tier: *tier, file: None }).collect() }
    }

    /// A container a file.
    pub fn of_files(partition: &'a Partition, files: impl Iterator<Item = &'a DataFile>) -> Self {
        Self { partition, parts: files.map(|file| Part { tier: Tier::Archive, file: Some(file) }).collect() }
    }

    fn ends(&self, name: &str, end: End) -> Option<ArrayRef> {
        let numbers = |of: fn((Position, Position)) -> Option<(u64, u64)>| -> ArrayRef {
            let range = |part: &Part<'_>| part.file.and_then(|file| file.positions).and_then(of);
            Arc::new(self.parts.iter().map(|part| range(part).map(|range| end.of(range))).collect::<UInt64Array>())
        };
        let times = |of: fn(&DataFile) -> Option<(i64, i64)>| -> ArrayRef {
            let range = |part: &Part<'_>| part.file.and_then(of);
            let times = self.parts.iter().map(|part| range(part).map(|range| end.of(range)));
            Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone(LTZ_ZONE))
        };
        let found: ArrayRef = match name {
            TOPIC => {
                let topic = self.partition.topic.to_string();
                Arc::new(StringViewArray::from_iter_values(self.parts.iter().map(|_| topic.as_str())))
            }
            PARTITION => {
                let number = self.partition.number() as i32;
                Arc::new(Int32Array::from(vec![number; self.parts.len()]))
            }
            TIER => Arc::new(StringViewArray::from_iter_values(self.parts.iter().map(|part| part.tier.name()))),
            column::LEDGER => numbers(|(first, last)| Some((first.ledger, last.ledger))),
            // Entries are numbered per ledger.
            column::ENTRY => {
                numbers(|(first, last)| (first.ledger == last.ledger).then_some((first.entry, last.entry)))
            }
            column::PUBLISH_TIME => times(|file| file.publish_time_ms),
            column::EVENT_TIME => times(|file| file.event_time_ms),
            _ => return None,
        };
        Some(found)
    }
}

impl ContainerStatistics for Ranges<'_> {
    fn num_containers(&self) -> usize {
        self.parts.len()
    }

    fn min_values(&self, name: &str) -> Option<ArrayRef> {
        self.ends(name, End::Low)
    }

    fn max_values(&self, name: &str) -> Option<ArrayRef> {
        self.ends(name, End::High)
    }

    fn null_counts(&self, name: &str) -> Option<ArrayRef> {
        let never_null = [TOPIC, PARTITION, TIER, column::LEDGER, column::ENTRY, column::PUBLISH_TIME];
        never_null.contains(&name).then(|| Arc::new(UInt64Array::from(vec![0; self.parts.len()])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts = self.parts.iter().map(|part| part.file.map(|file| file.rows));
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }
}

/// The largest time of a file that is left out unopened, as its manifest tells it. `None`: it must be opened, as a part of it is not wanted or its
/// manifest does not tell.
pub(super) fn told_time(file: &DataFile, wanted: Interval, time_column: Option<&str>) -> Option<Option<i64>> {
    if wanted_of(file.covers, wanted) != file.covers {
        return None;
    }
    let latest = |range: Option<(i64, i64)>| range.map(|(_, latest)| Some(latest));
    match time_column {
        None => Some(None),
        Some(column::PUBLISH_TIME) => latest(file.publish_time_ms),
        Some(column::EVENT_TIME) => latest(file.event_time_ms),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use aquifer_model::Cut;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int32Type, TimestampMillisecondType, UInt64Type};

    use super::*;

    fn after(ledger: u64, entry: u64) -> Cut {
        Cut::After(Position::new(ledger, entry))
    }

    fn file(covers: Interval, positions: Option<((u64, u64), (u64, u64))>) -> DataFile {
        DataFile {
            path: "d/1.parquet".into(),
            covers,
            rows: 7,
            entries: 3,
            bytes: 100,
            sha256: String::new(),
            positions: positions.map(|(a, b)| (Position::new(a.0, a.1), Position::new(b.0, b.1))),
            publish_time_ms: Some((10, 20)),
            event_time_ms: None,
            schema_versions: Vec::new(),
        }
    }

    #[test]
    fn a_files_manifest_bounds_positions_and_times_and_nothing_else() {
        let partition = Partition::new("t".parse().expect("a name"), Some(3));
        let covers = Interval::new(Cut::Start, after(5, 9));
        let files = [file(covers, Some(((4, 2), (5, 9)))), file(covers, Some(((5, 1), (5, 9)))), file(covers, None)];
        let ranges = Ranges::of_files(&partition, files.iter());
        let both = |name: &str| (ranges.min_values(name).expect("known"), ranges.max_values(name).expect("known"));
        let longs = |array: ArrayRef| array.as_primitive::<UInt64Type>().iter().collect::<Vec<_>>();
        let (low, high) = both(column::LEDGER);
        assert_eq!((longs(low), longs(high)), (vec![Some(4), Some(5), None], vec![Some(5), Some(5), None]));
        let (low, high) = both(column::ENTRY);
        assert_eq!((longs(low), longs(high)), (vec![None, Some(1), None], vec![None, Some(9), None]));
        let (low, high) = both(column::PUBLISH_TIME);
        let schema = aquifer_formats::messages::message_schema();
        let published = schema.field_with_name(column::PUBLISH_TIME).expect("a message column");
        assert_eq!(low.data_type(), published.data_type());
        let time = |array: &ArrayRef| array.as_primitive::<TimestampMillisecondType>().value(0);
        assert_eq!((time(&low), time(&high)), (10, 20));
        assert_eq!(both(column::EVENT_TIME).0.null_count(), 3, "not known");
        assert_eq!(both(PARTITION).0.as_primitive::<Int32Type>().values(), &[3, 3, 3]);
        assert_eq!(both(TOPIC).1.as_string_view().value(2), "persistent://public/default/t");
        assert_eq!(both(TIER).1.as_string_view().value(0), "archive");
        assert!(ranges.min_values("n").is_none() && ranges.null_counts(column::KEY).is_none());
        let tiers = Ranges::of_tiers(&partition, &[Tier::Log]);
        assert_eq!(tiers.min_values(TIER).expect("known").as_string_view().value(0), "log");
        assert_eq!(tiers.min_values(column::LEDGER).expect("a column").null_count(), 1);
    }

    #[test]
    fn a_file_is_left_out_unopened_where_its_manifest_tells_the_time() {
        let covers = Interval::new(after(4, 0), after(5, 9));
        let file = file(covers, None);
        let whole = Interval::new(Cut::Start, after(9, 9));
        for (wanted, column, told) in [
            (whole, None, Some(None)),
            (covers, None, Some(None)),
            (Interval::new(after(4, 1), after(9, 9)), None, None),
            (Interval::new(Cut::Start, after(5, 8)), None, None),
            (whole, Some(column::PUBLISH_TIME), Some(Some(20))),
            (whole, Some(column::EVENT_TIME), None),
            (whole, Some("ts"), None),
        ] {
            assert_eq!(told_time(&file, wanted, column), told, "{wanted} {column:?}");
        }
    }
}
