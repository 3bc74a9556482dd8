//! What a file's footer says of its row groups: where they lie, and which may hold a row to keep.

use aquifer_formats::messages::column;
use aquifer_model::{Cut, Interval, Position, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, UInt64Type};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::RowGroupMetaData;

use super::ContainerStatistics;
use super::layout::max_time;
use super::stored::{EarlierNames, stored_in};
use crate::archive::file::stored_name;

/// Where a row group lies relative to the stretch that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// All of it is behind the start.
    Before,
    /// All of it is wanted.
    Inside,
    /// Some of it may be wanted.
    Partly,
    /// All of it is behind the stop.
    After,
}

/// Places a row group by the ranges of its ledger and entry columns.
pub(super) fn place(interval: Interval, ledger: Option<(u64, u64)>, entry: Option<(u64, u64)>) -> Placement {
    let (Some((low_ledger, high_ledger)), Some((low_entry, high_entry))) = (ledger, entry) else {
        return Placement::Partly;
    };
    // Entries are numbered per ledger, so only in one ledger are their bounds those of the rows.
    let one = low_ledger == high_ledger;
    let first = Position::new(low_ledger, if one { low_entry } else { 0 });
    let last = Position::new(high_ledger, if one { high_entry } else { u64::MAX });
    if interval.from.covers(last) {
        Placement::Before
    } else if !interval.to.covers(first) {
        Placement::After
    } else if !interval.from.covers(first) && interval.to.covers(last) {
        Placement::Inside
    } else {
        Placement::Partly
    }
}

/// The row groups of one file.
pub(super) struct RowGroups<'a> {
    pub metadata: &'a ArrowReaderMetadata,
    /// The table's value columns: statistics are of their types.
    pub columns: &'a SchemaRef,
    /// What they were called before.
    pub earlier: &'a EarlierNames,
}

impl RowGroups<'_> {
    fn groups(&self) -> &[RowGroupMetaData] {
        self.metadata.metadata().row_groups()
    }

    pub(super) fn converter<'a>(&'a self, stored: &'a str) -> Option<StatisticsConverter<'a>> {
        let converter =
            StatisticsConverter::try_new(stored, self.metadata.schema(), self.metadata.parquet_schema()).ok()?;
        converter.parquet_column_index().is_some().then(|| converter.with_missing_null_counts_as_zero(false))
    }

    fn range(&self, stored: &str, group: usize) -> Option<(u64, u64)> {
        let converter = self.converter(stored)?;
        let one = self.groups().get(group..group + 1)?;
        let (min, max) = (converter.row_group_mins(one).ok()?, converter.row_group_maxes(one).ok()?);
        let (min, max) = (min.as_primitive_opt::<UInt64Type>()?, max.as_primitive_opt::<UInt64Type>()?);
        (min.is_valid(0) && max.is_valid(0)).then(|| (min.value(0), max.value(0)))
    }

    /// The ledger of all rows of a row group, if it is one.
    pub fn only_ledger(&self, group: usize) -> Option<u64> {
        self.range(column::LEDGER, group).and_then(|(low, high)| (low == high).then_some(low))
    }

    /// Where a row group lies.
    pub fn place(&self, group: usize, interval: Interval) -> Placement {
        place(interval, self.range(column::LEDGER, group), self.range(column::ENTRY, group))
    }

    /// Whether all values of a column are NULL in a row group.
    pub fn is_all_null(&self, stored: &str, group: usize) -> bool {
        let counts = self.converter(stored).and_then(|c| c.row_group_null_counts(&self.groups()[group..=group]).ok());
        counts.is_some_and(|counts| counts.is_valid(0) && counts.value(0) as i64 == self.groups()[group].num_rows())
    }

    /// Whether a Boolean column is false in all rows of a row group.
    pub fn is_all_false(&self, stored: &str, group: usize) -> bool {
        let max = self.converter(stored).and_then(|c| c.row_group_maxes(&self.groups()[group..=group]).ok());
        let max: Option<BooleanArray> = max.and_then(|max| max.as_boolean_opt().cloned());
        max.is_some_and(|max| max.is_valid(0) && !max.value(0))
    }

    /// The largest time of a row group; the outer `None`: not known.
    pub fn max_time(&self, name: &str, group: usize) -> Result<Option<Option<i64>>> {
        let stored = self.stored(name);
        if self.is_all_null(&stored, group) {
            return Ok(Some(None));
        }
        let Some(maxes) = self.max_values(name) else { return Ok(None) };
        if maxes.is_null(group) {
            return Ok(None);
        }
        Ok(Some(max_time(&maxes.slice(group, 1))?))
    }

    pub(super) fn stored(&self, name: &str) -> String {
        match self.columns.fields().find(name) {
            Some(_) if !is_message_column(name) => {
                let earlier = self.earlier.get(name).map_or(&[][..], Vec::as_slice);
                stored_in(self.metadata.schema(), name, earlier).map_or_else(|| stored_name(name), String::from)
            }
            _ => name.to_string(),
        }
    }

    fn extremes(
        &self,
        name: &str,
        take: impl Fn(&StatisticsConverter<'_>, &[RowGroupMetaData]) -> Option<ArrayRef>,
    ) -> Option<ArrayRef> {
        let stored = self.stored(name);
        self.as_in_table(name, take(&self.converter(&stored)?, self.groups())?)
    }

    /// Minima or maxima of a column in the table's type; `None` where they do not bound its values.
    pub(super) fn as_in_table(&self, name: &str, found: ArrayRef) -> Option<ArrayRef> {
        let wanted = match self.columns.fields().find(name) {
            Some((_, field)) if !is_message_column(name) => field.data_type().clone(),
            _ => found.data_type().clone(),
        };
        // Statistics leave NaN out, which comparisons do not.
        if found.data_type().is_floating() || wanted.is_floating() {
            return None;
        }
        if found.data_type() == &wanted {
            return Some(found);
        }
        keeps_order(found.data_type(), &wanted).then(|| cast(&found, &wanted).ok()).flatten()
    }
}

fn is_message_column(name: &str) -> bool {
    aquifer_formats::messages::message_schema().fields().find(name).is_some()
}

/// Whether casting keeps the order of values and loses none.
fn keeps_order(from: &DataType, to: &DataType) -> bool {
    use DataType::{Int8, Int16, Int32, Int64, Timestamp};
    let width = |t: &DataType| match t {
        Int8 => Some(1),
        Int16 => Some(2),
        Int32 => Some(3),
        Int64 => Some(4),
        _ => None,
    };
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match (from, to) {
        (Timestamp(a, from_zone), Timestamp(b, to_zone)) => digits(a) <= digits(b) && from_zone == to_zone,
        (a, b) => matches!((width(a), width(b)), (Some(a), Some(b)) if a <= b),
    }
}

impl ContainerStatistics for RowGroups<'_> {
    fn num_containers(&self) -> usize {
        self.groups().len()
    }

    fn min_values(&self, column: &str) -> Option<ArrayRef> {
        self.extremes(column, |converter, groups| converter.row_group_mins(groups).ok())
    }

    fn max_values(&self, column: &str) -> Option<ArrayRef> {
        self.extremes(column, |converter, groups| converter.row_group_maxes(groups).ok())
    }

    fn null_counts(&self, column: &str) -> Option<ArrayRef> {
        // Of a column that is not in this file nothing is known: the topic's schema may have a default for it.
        let stored = self.stored(column);
        Some(std::sync::Arc::new(self.converter(&stored)?.row_group_null_counts(self.groups()).ok()?))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts = self.groups().iter().map(|group| group.num_rows() as u64);
        Some(std::sync::Arc::new(UInt64Array::from_iter_values(counts)))
    }
}

/// The stretch of a file that is read.
pub(super) fn wanted_of(covers: Interval, wanted: Interval) -> Interval {
    Interval::new(covers.from.max(wanted.from), covers.to.min(wanted.to))
}

/// Whether a file is touched at all.
pub(super) fn touches(covers: Interval, wanted: Interval) -> bool {
    covers.to > wanted.from && (covers.from < wanted.to || covers.from == Cut::Start && wanted.to > Cut::Start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ledger: u64, entry: u64) -> Cut {
        Cut::After(Position::new(ledger, entry))
    }

    #[test]
    fn a_row_group_is_placed_by_its_bounds_and_in_doubt_read() {
        let interval = Interval::new(after(5, 10), after(7, 20));
        let cases = [
            ((5, 5), (0, 10), Placement::Before),
            ((5, 5), (0, 11), Placement::Partly),
            ((5, 5), (11, 90), Placement::Inside),
            ((4, 5), (0, 5), Placement::Partly),
            ((3, 4), (0, 500), Placement::Before),
            ((6, 6), (0, 500), Placement::Inside),
            ((6, 7), (0, 3), Placement::Partly),
            ((7, 7), (3, 20), Placement::Inside),
            ((7, 7), (3, 21), Placement::Partly),
            ((7, 7), (21, 30), Placement::After),
            ((8, 9), (0, 1), Placement::After),
        ];
        for (ledger, entry, placement) in cases {
            assert_eq!(place(interval, Some(ledger), Some(entry)), placement, "{ledger:?} {entry:?}");
        }
        assert_eq!(place(interval, None, Some((1, 2))), Placement::Partly);
    }
}
