//! `GROUP BY keys…` without a window, `SELECT DISTINCT` (no aggregates), and the global aggregate (no keys): results that are updated.
//!
//! Keeps every group that has rows. What was emitted is not kept: a group's old values are read when an epoch first touches it. At the epoch's end a
//! touched group emits once: `+I` when it appears, `-U` and `+U` when a value changed, nothing when all are equal, `-D` when its last row was taken
//! back (a global aggregate stays, with COUNT 0). Groups come in the order in which the epoch first touched them.

use aquifer_model::{ChangeBatch, Error, Result, RowKind};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt8Array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{concat, interleave_record_batch};
use arrow::datatypes::{Field, SchemaRef};

use super::aggregates::AggregateSpec;
use super::keys::KeyCodec;
use super::state::{Dirty, Groups, decode, hashes, weights};
use crate::dataflow::operator::{EpochEnd, Operator, Output, Port, SHARDS, Snapshot, SnapshotReader};

const GROUPS: &str = "groups";

/// What a group aggregate computes.
#[derive(Debug, Clone)]
pub struct GroupAggregateSpec {
    /// The input's columns that are the key; the output's first columns.
    pub keys: Vec<usize>,
    /// The output's columns after them.
    pub aggregates: Vec<AggregateSpec>,
    /// The output's columns.
    pub schema: SchemaRef,
}

/// The operator.
#[derive(Debug)]
pub struct GroupAggregate {
    spec: GroupAggregateSpec,
    codec: KeyCodec,
    groups: Groups,
    /// Whether a group's row stands in the output, by id.
    emitted: Vec<bool>,
    /// The groups that this epoch touched, in order, and their values before it, a batch of columns each time some were added.
    touched: Vec<u32>,
    is_touched: Vec<bool>,
    before: Vec<Vec<ArrayRef>>,
    dirty: Dirty,
}

impl GroupAggregate {
    /// An operator without state. `input` has the columns that `spec` speaks of. Fails for types that cannot be grouped or aggregated.
    pub fn new(spec: GroupAggregateSpec, input: &SchemaRef) -> Result<Self> {
        let codec = KeyCodec::new(spec.keys.iter().map(|key| Field::clone(input.field(*key))).collect())?;
        let groups = Groups::new(&codec, &spec.aggregates)?;
        let (emitted, touched, is_touched, before) = (vec![], vec![], vec![], vec![]);
        Ok(Self { spec, codec, groups, emitted, touched, is_touched, before, dirty: Dirty::none() })
    }

    fn output(&self, keys: &[ArrayRef], values: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let columns = keys.iter().cloned().chain(values).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.spec.schema.clone(), columns, &options)?)
    }

    /// The values of all touched groups before the epoch, one array an aggregate.
    fn take_before(&mut self) -> Result<Vec<ArrayRef>> {
        let parts = std::mem::take(&mut self.before);
        let columns = (0..self.spec.aggregates.len()).map(|column| {
            let parts: Vec<&dyn Array> = parts.iter().map(|part| part[column].as_ref()).collect();
            Ok(concat(&parts)?)
        });
        columns.collect()
    }
}

impl Operator for GroupAggregate {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        let rows = batch.rows();
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let key_columns: Vec<ArrayRef> = self.spec.keys.iter().map(|key| rows.column(*key).clone()).collect();
        let keys = self.codec.encode(&key_columns, rows.num_rows(), hashes(rows))?;
        keys.hashes().iter().for_each(|hash| self.dirty.mark(*hash));
        let mut weights = weights(&batch);
        let known = self.touched.len();
        let (touched, is_touched) = (&mut self.touched, &mut self.is_touched);
        let groups = self.groups.assign(&keys, 0..rows.num_rows(), &mut weights, |id| {
            if id as usize >= is_touched.len() {
                is_touched.resize(id as usize + 1, false);
            }
            if !std::mem::replace(&mut is_touched[id as usize], true) {
                touched.push(id);
            }
        });
        self.emitted.resize(self.groups.counts.len(), false);
        if self.touched.len() > known {
            self.before.push(self.groups.states.read(&self.touched[known..])?);
        }
        self.groups.states.update(&groups, weights.as_deref(), rows)
    }

    fn on_epoch_end(&mut self, _end: &EpochEnd, out: &mut Output) -> Result<()> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let before = self.take_before()?;
        let touched = std::mem::take(&mut self.touched);
        let after = self.groups.states.read(&touched)?;
        let mut changed = vec![false; touched.len()];
        for (before, after) in before.iter().zip(&after) {
            let differs = distinct(before, after)?;
            differs.values().set_indices().for_each(|row| changed[row] = true);
        }
        let keys = self.codec.decode(&self.groups.keys, &touched)?;
        let before = self.output(&keys, before, touched.len())?;
        let after = self.output(&keys, after, touched.len())?;
        let global = self.spec.keys.is_empty();
        let (mut kinds, mut places) = (vec![], vec![]);
        for (row, id) in touched.iter().enumerate() {
            let place = *id as usize;
            let was = self.emitted[place];
            let is = self.groups.counts[place] > 0 || (global && was);
            let mut emit = |kind: RowKind, side: usize| {
                kinds.push(kind as u8);
                places.push((side, row));
            };
            match (was, is) {
                (false, true) => emit(RowKind::Insert, 1),
                (true, true) if changed[row] => {
                    emit(RowKind::UpdateBefore, 0);
                    emit(RowKind::UpdateAfter, 1);
                }
                (true, false) => emit(RowKind::Delete, 0),
                _ => {}
            }
            self.emitted[place] = is;
            self.is_touched[place] = false;
            if !is {
                self.groups.free(*id);
            }
        }
        if !places.is_empty() {
            let rows = if self.spec.schema.fields().is_empty() {
                return Err(Error::internal("a group aggregate has no columns"));
            } else {
                interleave_record_batch(&[&before, &after], &places)?
            };
            out.push(ChangeBatch::new(rows, UInt8Array::from(kinds))?);
        }
        Ok(())
    }

    fn snapshot(&mut self, into: &mut Snapshot) -> Result<()> {
        let mut shards = vec![vec![]; SHARDS as usize];
        self.groups.by_shard(&self.codec, &[], &self.dirty, &mut shards)?;
        self.dirty.write(into, GROUPS, &shards)
    }

    fn restore(&mut self, from: &SnapshotReader) -> Result<()> {
        let Some((version, shards)) = from.table(GROUPS) else { return Ok(()) };
        for (_, bytes) in shards {
            for batch in decode(version, bytes)? {
                let ids = self.groups.load(&self.codec, batch.columns(), batch.num_rows())?;
                // Between epochs every group that is kept stands in the output.
                self.emitted.resize(self.groups.counts.len(), false);
                self.is_touched.resize(self.groups.counts.len(), false);
                ids.iter().for_each(|id| self.emitted[*id as usize] = true);
            }
        }
        Ok(())
    }

    fn state_keys(&self) -> u64 {
        self.groups.keys.len() as u64
    }
}

#[cfg(test)]
mod tests;
