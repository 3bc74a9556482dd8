//! Which pages of a row group may hold a row to keep: the filter asked about stretches between the page borders of its columns.
//!
//! ```text
//!  column a   ├─────────┼─────────┼─────────┤        pages differ from column to column,
//!  column b   ├──────┼──────┼──────┼────────┤        so a stretch has one page of each
//!  stretches  ├──────┼──┼───┼─────┼┼────────┤  ─►  rows to decode
//! ```

use std::ops::Range;
use std::sync::Arc;

use aquifer_model::Result;
use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::UInt64Type;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::{ParquetColumnIndex, ParquetOffsetIndex};

use super::row_groups::RowGroups;
use super::{ContainerStatistics, ReadFilter};

/// The pages of one row group.
pub(super) struct Pages<'a> {
    groups: &'a RowGroups<'a>,
    group: usize,
    columns: &'a ParquetColumnIndex,
    offsets: &'a ParquetOffsetIndex,
    /// Where each stretch begins, rising from 0.
    starts: Vec<usize>,
    rows: usize,
}

impl<'a> Pages<'a> {
    /// The stretches of a row group by the pages of these columns; `None` where the file has no page index, or one stretch is all.
    pub fn new(groups: &'a RowGroups<'a>, group: usize, names: &[String]) -> Option<Self> {
        let metadata = groups.metadata.metadata();
        let (columns, offsets) = (metadata.column_index()?, metadata.offset_index()?);
        let rows = usize::try_from(metadata.row_group(group).num_rows()).ok()?;
        let mut pages = Self { groups, group, columns, offsets, starts: vec![0], rows };
        let mut starts: Vec<usize> = names.iter().filter_map(|name| pages.borders(name)).flatten().collect();
        starts.retain(|start| *start < rows);
        starts.push(0);
        starts.sort_unstable();
        starts.dedup();
        pages.starts = starts;
        (pages.starts.len() > 1).then_some(pages)
    }

    /// The rows that may match; `None` if all may.
    pub fn select(&self, filter: &dyn ReadFilter) -> Result<Option<RowSelection>> {
        let wanted = filter.may_match(self)?;
        if wanted.len() != self.starts.len() || wanted.iter().all(|wanted| *wanted) {
            return Ok(None);
        }
        let ranges: Vec<Range<usize>> =
            self.stretches().zip(wanted).filter(|(_, wanted)| *wanted).map(|(range, _)| range).collect();
        Ok(Some(RowSelection::from_consecutive_ranges(ranges.into_iter(), self.rows)))
    }

    fn stretches(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let ends = self.starts.iter().skip(1).copied().chain([self.rows]);
        self.starts.iter().copied().zip(ends).map(|(start, end)| start..end)
    }

    fn leaf(&self, name: &str) -> Option<usize> {
        let stored = self.groups.stored(name);
        self.groups.converter(&stored)?.parquet_column_index()
    }

    /// The first rows of a column's pages.
    fn borders(&self, name: &str) -> Option<Vec<usize>> {
        let pages = self.offsets.get(self.group)?.get(self.leaf(name)?)?.page_locations();
        pages.iter().map(|page| usize::try_from(page.first_row_index).ok()).collect()
    }

    /// What is known of a column's pages, for each stretch.
    fn of_pages(&self, name: &str, known: impl Fn(&StatisticsConverter<'_>) -> Option<ArrayRef>) -> Option<ArrayRef> {
        let borders = self.borders(name)?;
        if borders.first() != Some(&0) || !borders.is_sorted() {
            return None;
        }
        let stored = self.groups.stored(name);
        let known = known(&self.groups.converter(&stored)?)?;
        if known.len() != borders.len() {
            return None;
        }
        let page_of = |start: &usize| borders.partition_point(|border| border <= start) as u32 - 1;
        let places: UInt32Array = self.starts.iter().map(page_of).collect::<Vec<_>>().into();
        take(&known, &places, None).ok()
    }
}

impl ContainerStatistics for Pages<'_> {
    fn num_containers(&self) -> usize {
        self.starts.len()
    }

    fn min_values(&self, column: &str) -> Option<ArrayRef> {
        let mins = |c: &StatisticsConverter<'_>| c.data_page_mins(self.columns, self.offsets, [&self.group]).ok();
        self.groups.as_in_table(column, self.of_pages(column, mins)?)
    }

    fn max_values(&self, column: &str) -> Option<ArrayRef> {
        let maxes = |c: &StatisticsConverter<'_>| c.data_page_maxes(self.columns, self.offsets, [&self.group]).ok();
        self.groups.as_in_table(column, self.of_pages(column, maxes)?)
    }

    fn null_counts(&self, column: &str) -> Option<ArrayRef> {
        // Counts are of whole pages, stretches are parts of them: only all and nothing can be told.
        let nulls = |c: &StatisticsConverter<'_>| {
            let counts = c.data_page_null_counts(self.columns, self.offsets, [&self.group]).ok()?;
            Some(Arc::new(counts) as ArrayRef)
        };
        let borders = self.borders(column)?;
        let counts = self.of_pages(column, nulls)?;
        let counts = counts.as_primitive_opt::<UInt64Type>()?;
        let told = self.stretches().enumerate().map(|(index, stretch)| {
            let page = borders.partition_point(|border| *border <= stretch.start);
            let end = borders.get(page).copied().unwrap_or(self.rows);
            let in_page = (end - borders[page - 1]) as u64;
            match counts.is_valid(index).then(|| counts.value(index)) {
                Some(0) => Some(0),
                Some(count) if count == in_page => Some(stretch.len() as u64),
                _ => None,
            }
        });
        Some(Arc::new(told.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.stretches().map(|stretch| stretch.len() as u64))))
    }
}
