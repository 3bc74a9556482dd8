//! `GROUP BY window_start, window_end[, window_time][, keys…]`: aggregates of windows, emitted once.
//!
//! Keeps one slice a window: a dense set of groups with the aggregates' states, in a map ordered by the window's end. A window fires when the watermark
//! reaches its end − 1 ms: its groups come out as inserts, windows by time, groups in the order in which they first came (a group whose rows were all
//! taken back does not come), and the slice is freed whole. A row whose window has fired by its time is late: dropped and counted. The state is bounded
//! by the keys of the windows that are still open.

use std::collections::BTreeMap;

use aquifer_model::{ChangeBatch, Error, Result, Watermark};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Int64Type, SchemaRef};
use bytes::Bytes;

use super::aggregates::AggregateSpec;
use super::keys::{EncodedKeys, KeyCodec};
use super::state::{CODEC_VERSION, Dirty, Groups, decode, hashes, weights};
use super::window_assign::{bound, milliseconds};
use crate::dataflow::operator::{EpochEnd, Operator, Output, Port, SHARDS, Snapshot, SnapshotReader};

const WINDOWS: &str = "windows";
const WATERMARK: &str = "watermark";
const OUTPUT_ROWS: usize = 8192;

/// One of the columns before the aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupColumn {
    /// The window's start.
    Start,
    /// The window's end, exclusive.
    End,
    /// The window's last millisecond.
    Time,
    /// This column of the input.
    Key(usize),
}

/// What a window aggregate computes.
#[derive(Debug, Clone)]
pub struct WindowAggregateSpec {
    /// The input's column of the window's start.
    pub start: usize,
    /// The input's column of the window's end.
    pub end: usize,
    /// The output's columns before the aggregates.
    pub group: Vec<GroupColumn>,
    /// The output's columns after them.
    pub aggregates: Vec<AggregateSpec>,
    /// The output's columns.
    pub schema: SchemaRef,
    /// The input's hidden column with the watermark before each row, where lateness is exact row by row.
    pub row_watermark: Option<usize>,
}

/// The operator.
#[derive(Debug)]
pub struct WindowAggregate {
    spec: WindowAggregateSpec,
    keys: Vec<usize>,
    codec: KeyCodec,
    empty: Groups,
    /// By (end, start), in milliseconds.
    slices: BTreeMap<(i64, i64), Groups>,
    watermark: Watermark,
    dirty: Dirty,
}

impl WindowAggregate {
    /// An operator without state. `input` has the columns that `spec` speaks of. Fails for types that cannot be grouped or aggregated.
    pub fn new(spec: WindowAggregateSpec, input: &SchemaRef) -> Result<Self> {
        let keys: Vec<usize> = spec
            .group
            .iter()
            .filter_map(|column| if let GroupColumn::Key(key) = column { Some(*key) } else { None })
            .collect();
        let codec = KeyCodec::new(keys.iter().map(|key| Field::clone(input.field(*key))).collect())?;
        let empty = Groups::new(&codec, &spec.aggregates)?;
        let slices = BTreeMap::new();
        Ok(Self { spec, keys, codec, empty, slices, watermark: Watermark::MIN, dirty: Dirty::none() })
    }

    /// Emits a window's groups and forgets them.
    fn fire(&mut self, (end, start): (i64, i64), slice: &Groups) -> Result<Option<RecordBatch>> {
        let ids = slice.keys.ids();
        ids.iter().for_each(|id| self.dirty.mark(slice.keys.hash(*id)));
        let ids: Vec<u32> = ids.into_iter().filter(|id| slice.counts[*id as usize] > 0).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let mut keys = self.codec.decode(&slice.keys, &ids)?.into_iter();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.spec.schema.fields().len());
        for (column, field) in self.spec.group.iter().zip(self.spec.schema.fields()) {
            let value = match column {
                GroupColumn::Start => start,
                GroupColumn::End => end,
                GroupColumn::Time => end - 1,
                GroupColumn::Key(_) => {
                    columns.push(keys.next().ok_or_else(|| Error::internal("a key column is missing"))?);
                    continue;
                }
            };
            columns.push(bound(vec![value; ids.len()], field.data_type())?);
        }
        columns.extend(slice.states.read(&ids)?);
        Ok(Some(RecordBatch::try_new(self.spec.schema.clone(), columns)?))
    }
}

/// The rows of one batch that are not late, window by window.
#[derive(Debug, Default)]
struct ByWindow {
    windows: BTreeMap<(i64, i64), Vec<u32>>,
    late: u64,
}

fn by_window(starts: &Int64Array, ends: &Int64Array, is_late: impl Fn(usize, i64) -> bool) -> ByWindow {
    let mut sorted = ByWindow::default();
    let mut run: Option<((i64, i64), Vec<u32>)> = None;
    for row in 0..ends.len() {
        let window = (ends.value(row), starts.value(row));
        if is_late(row, window.0) {
            sorted.late += 1;
            continue;
        }
        match &mut run {
            Some((current, rows)) if *current == window => rows.push(row as u32),
            _ => {
                if let Some((window, rows)) = run.take() {
                    sorted.windows.insert(window, rows);
                }
                let mut rows = sorted.windows.remove(&window).unwrap_or_default();
                rows.push(row as u32);
                run = Some((window, rows));
            }
        }
    }
    sorted.windows.extend(run);
    sorted
}

impl Operator for WindowAggregate {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let rows = batch.rows();
        let starts = milliseconds(rows.column(self.spec.start))?;
        let ends = milliseconds(rows.column(self.spec.end))?;
        if starts.null_count() + ends.null_count() > 0 {
            return Err(Error::internal("a window's bound is NULL"));
        }
        let exact = self.spec.row_watermark.map(|column| rows.column(column).as_primitive::<Int64Type>());
        let watermark = self.watermark;
        let is_late = |row: usize, end: i64| {
            let before = exact.map_or(watermark, |exact| watermark.max(Watermark(exact.value(row))));
            before.0 >= end - 1
        };
        let sorted = by_window(&starts, &ends, is_late);
        out.late_rows += sorted.late;
        let order: Vec<u32> = sorted.windows.values().flatten().copied().collect();
        if order.is_empty() {
            return Ok(());
        }
        let key_columns: Vec<ArrayRef> = self.keys.iter().map(|key| rows.column(*key).clone()).collect();
        let keys: EncodedKeys = self.codec.encode(&key_columns, rows.num_rows(), hashes(rows))?;
        let weights = weights(&batch);
        let in_order = order.iter().enumerate().all(|(place, row)| place == *row as usize);
        let arranged = if in_order { rows.clone() } else { take_record_batch(rows, &UInt32Array::from(order))? };
        let mut place = 0;
        for (window, rows) in sorted.windows {
            let slice = self.slices.entry(window).or_insert_with(|| self.empty.fresh(&self.codec));
            let mut weights = weights.as_ref().map(|all| rows.iter().map(|row| all[*row as usize]).collect());
            rows.iter().for_each(|row| self.dirty.mark(keys.hashes()[*row as usize]));
            let groups = slice.assign(&keys, rows.iter().map(|row| *row as usize), &mut weights, |_| {});
            let part = arranged.slice(place, rows.len());
            slice.states.update(&groups, weights.as_deref(), &part)?;
            place += rows.len();
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, end: &EpochEnd, out: &mut Output) -> Result<()> {
        self.watermark.advance_to(end.watermark);
        let (mut fired, mut rows) = (vec![], 0);
        while let Some(entry) = self.slices.first_entry() {
            if self.watermark.0 < entry.key().0 - 1 {
                break;
            }
            let (window, slice) = entry.remove_entry();
            if let Some(batch) = self.fire(window, &slice)? {
                rows += batch.num_rows();
                fired.push(ChangeBatch::inserts(batch));
                if rows >= OUTPUT_ROWS {
                    out.push(ChangeBatch::concat(&self.spec.schema, &std::mem::take(&mut fired))?);
                    rows = 0;
                }
            }
        }
        if !fired.is_empty() {
            out.push(ChangeBatch::concat(&self.spec.schema, &fired)?);
        }
        Ok(())
    }

    fn snapshot(&mut self, into: &mut Snapshot) -> Result<()> {
        let mut shards = vec![vec![]; SHARDS as usize];
        for ((end, start), slice) in &self.slices {
            slice.by_shard(&self.codec, &[("start", *start), ("end", *end)], &self.dirty, &mut shards)?;
        }
        self.dirty.write(into, WINDOWS, &shards)?;
        // Every worker has the same watermark; each shard keeps it, so that whoever owns the shard finds it.
        let watermark = Bytes::copy_from_slice(&self.watermark.0.to_le_bytes());
        (0..SHARDS).for_each(|shard| into.put(WATERMARK, CODEC_VERSION, shard, watermark.clone()));
        Ok(())
    }

    fn restore(&mut self, from: &SnapshotReader) -> Result<()> {
        if let Some((_, shards)) = from.table(WATERMARK) {
            for (shard, bytes) in shards {
                let bytes = bytes.as_ref().try_into();
                let bytes =
                    bytes.map_err(|_| Error::corrupt(format!("the watermark of shard {shard} is not 8 bytes")))?;
                self.watermark.advance_to(Watermark(i64::from_le_bytes(bytes)));
            }
        }
        let Some((version, shards)) = from.table(WINDOWS) else { return Ok(()) };
        for (_, bytes) in shards {
            for batch in decode(version, bytes)? {
                let bounds =
                    |column: usize| batch.columns().get(column).and_then(|c| c.as_primitive_opt::<Int64Type>());
                let (Some(starts), Some(ends)) = (bounds(0), bounds(1)) else {
                    return Err(Error::corrupt("a snapshot lacks the bounds of its windows"));
                };
                if batch.num_rows() > 0 {
                    let window = (ends.value(0), starts.value(0));
                    let slice = self.slices.entry(window).or_insert_with(|| self.empty.fresh(&self.codec));
                    slice.load(&self.codec, &batch.columns()[2..], batch.num_rows())?;
                }
            }
        }
        Ok(())
    }

    fn state_keys(&self) -> u64 {
        self.slices.values().map(|slice| slice.keys.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests;
