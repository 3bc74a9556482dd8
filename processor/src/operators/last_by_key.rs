//! The changes of a table whose rows are replaced by their key: an upsert topic read as a stream.
//!
//! ```text
//!  key, row            ─► +I row               the key's first
//!  key, another row    ─► -U old, +U row       nothing where both are equal
//!  key, deleted        ─► -D old               nothing where there was none
//! ```
//!
//! Keeps each key's newest row. A key that an epoch touched emits once at the epoch's end, in the order in which keys were touched first.

use std::cmp::Ordering;

use aquifer_model::{ChangeBatch, Error, Result, RowKind};
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt8Array, make_comparator};
use arrow::compute::{SortOptions, interleave_record_batch};
use arrow::datatypes::{Field, Fields, SchemaRef};

use super::keys::{KeyCodec, KeyTable};
use super::row_store::{Place, RowStore};
use super::state::{Dirty, decode, hashes};
use crate::dataflow::operator::{EpochEnd, Operator, Output, Port, SHARDS, Snapshot, SnapshotReader, shard};

const ROWS: &str = "rows";

/// Which columns are the key, and which says that a key's row is deleted.
#[derive(Debug, Clone)]
pub struct LastByKeySpec {
    /// The input's columns that are the key.
    pub keys: Vec<usize>,
    /// A Boolean column without NULLs.
    pub deleted: usize,
    /// The input's columns, and the output's.
    pub schema: SchemaRef,
}

/// The operator.
#[derive(Debug)]
pub struct LastByKey {
    spec: LastByKeySpec,
    codec: KeyCodec,
    keys: KeyTable,
    rows: RowStore,
    /// The keys that this epoch touched, in order, with the rows they had before.
    touched: Vec<(u32, Option<Place>)>,
    is_touched: Vec<bool>,
    dirty: Dirty,
}

impl LastByKey {
    /// An operator without state. Fails for key types that cannot be grouped.
    pub fn new(spec: LastByKeySpec) -> Result<Self> {
        let fields: Fields = spec.keys.iter().map(|key| Field::clone(spec.schema.field(*key))).collect();
        let codec = KeyCodec::new(fields)?;
        let (keys, rows) = (codec.table(), RowStore::new(spec.schema.clone()));
        Ok(Self { spec, codec, keys, rows, touched: vec![], is_touched: vec![], dirty: Dirty::none() })
    }

    /// The ids of the rows' keys.
    fn intern(&mut self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let columns: Vec<ArrayRef> = self.spec.keys.iter().map(|key| rows.column(*key).clone()).collect();
        let keys = self.codec.encode(&columns, rows.num_rows(), hashes(rows))?;
        keys.hashes().iter().for_each(|hash| self.dirty.mark(*hash));
        let ids = (0..rows.num_rows()).map(|row| self.keys.intern(&keys, row).0).collect();
        self.is_touched.resize(self.keys.capacity(), false);
        Ok(ids)
    }

    fn touch(&mut self, id: u32) {
        if !std::mem::replace(&mut self.is_touched[id as usize], true) {
            self.touched.push((id, self.rows.place(id)));
        }
    }
}

impl Operator for LastByKey {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if !batch.is_insert_only() {
            return Err(Error::internal("rows that replace others by their key came as changes already"));
        }
        let ids = self.intern(batch.rows())?;
        ids.iter().for_each(|id| self.touch(*id));
        let columns = (0..self.spec.schema.fields().len()).collect::<Vec<_>>();
        let rows = batch.rows().project(&columns)?;
        let deleted = rows.column(self.spec.deleted).as_boolean_opt().cloned();
        let deleted = deleted.ok_or_else(|| Error::internal("what says that a row is deleted is no Boolean"))?;
        self.rows.put(rows, ids.clone());
        // A key stays deleted where that is the last that came of it.
        for (row, id) in ids.iter().enumerate().filter(|(row, _)| deleted.value(*row)) {
            if self.rows.place(*id).is_some_and(|(_, last)| last as usize == row) {
                self.rows.remove(*id);
            }
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, _end: &EpochEnd, out: &mut Output) -> Result<()> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let touched = std::mem::take(&mut self.touched);
        let places = |side: &dyn Fn(&(u32, Option<Place>)) -> Option<Place>| -> Vec<Place> {
            touched.iter().filter_map(side).collect()
        };
        let before = self.rows.read(&places(&|(_, before)| *before))?;
        let after = self.rows.read(&places(&|(id, _)| self.rows.place(*id)))?;
        let equal = equality(&before, &after);
        let (mut kinds, mut picked) = (vec![], vec![]);
        let (mut old, mut new) = (0, 0);
        for (id, was) in &touched {
            let mut emit = |kind: RowKind, side: usize, row: usize| {
                kinds.push(kind as u8);
                picked.push((side, row));
            };
            let is = self.rows.place(*id).is_some();
            match (was.is_some(), is) {
                (false, true) => emit(RowKind::Insert, 1, new),
                (true, false) => emit(RowKind::Delete, 0, old),
                (true, true) if !equal(old, new) => {
                    emit(RowKind::UpdateBefore, 0, old);
                    emit(RowKind::UpdateAfter, 1, new);
                }
                _ => {}
            }
            (old, new) = (old + usize::from(was.is_some()), new + usize::from(is));
            self.is_touched[*id as usize] = false;
            if !is {
                self.keys.remove(*id);
            }
        }
        if !picked.is_empty() {
            let rows = interleave_record_batch(&[&before, &after], &picked)?;
            out.push(ChangeBatch::new(rows, UInt8Array::from(kinds))?);
        }
        self.rows.tidy()
    }

    fn snapshot(&mut self, into: &mut Snapshot) -> Result<()> {
        let mut places: Vec<Vec<Place>> = vec![vec![]; SHARDS as usize];
        for id in self.keys.ids() {
            let shard = shard(self.keys.hash(id)) as usize;
            if self.dirty.has(shard) {
                places[shard].extend(self.rows.place(id));
            }
        }
        let mut shards = vec![vec![]; SHARDS as usize];
        for (places, batches) in places.iter().zip(&mut shards).filter(|(places, _)| !places.is_empty()) {
            batches.push(self.rows.read(places)?);
        }
        self.dirty.write(into, ROWS, &shards)
    }

    fn restore(&mut self, from: &SnapshotReader) -> Result<()> {
        let Some((version, shards)) = from.table(ROWS) else { return Ok(()) };
        for (_, bytes) in shards {
            for batch in decode(version, bytes)? {
                let ids = self.intern(&batch)?;
                self.rows.put(batch, ids);
            }
        }
        self.dirty = Dirty::none();
        self.rows.tidy()
    }

    fn state_keys(&self) -> u64 {
        self.keys.len() as u64
    }
}

/// Whether a row before and a row after are equal in all columns; of types that have no order never.
fn equality(before: &RecordBatch, after: &RecordBatch) -> impl Fn(usize, usize) -> bool + use<> {
    let columns = before.columns().iter().zip(after.columns());
    let compare: Option<Vec<_>> =
        columns.map(|(before, after)| make_comparator(before, after, SortOptions::default()).ok()).collect();
    move |before, after| {
        let Some(compare) = &compare else { return false };
        compare.iter().all(|compare| compare(before, after) == Ordering::Equal)
    }
}

#[cfg(test)]
mod tests;
