//! A set of groups: keys, how many rows each has, and the aggregates' states, with their way into a snapshot and back.
//!
//! A shard's part of a table is an Arrow IPC stream of one batch: the operator's own columns, the key columns, the number of rows, the aggregates' states.
//! No rows are no bytes. A snapshot holds the shards that changed since the last one.

use std::io::Cursor;
use std::sync::Arc;

use aquifer_model::{ChangeBatch, Error, Result, RowKind};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use bytes::Bytes;

use super::aggregates::{Accumulators, AggregateSpec};
use super::keys::{EncodedKeys, HASH_COLUMN, KeyCodec, KeyTable};
use crate::dataflow::operator::{SHARDS, Snapshot, shard};

/// The version of every table of the aggregates; the key's hash and the aggregates' state columns belong to it.
pub(super) const CODEC_VERSION: u32 = 1;

/// Groups with dense ids.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) keys: KeyTable,
    /// Rows in each group: added less taken back.
    pub(super) counts: Vec<i64>,
    pub(super) states: Accumulators,
}

impl Groups {
    pub(super) fn new(codec: &KeyCodec, aggregates: &[AggregateSpec]) -> Result<Self> {
        Ok(Self { keys: codec.table(), counts: vec![], states: Accumulators::new(aggregates)? })
    }

    /// An empty set of the same kind.
    pub(super) fn fresh(&self, codec: &KeyCodec) -> Self {
        Self { keys: codec.table(), counts: vec![], states: self.states.fresh() }
    }

    /// The group of each of these rows, all of them weighing `weights` (absent: 1 each). A row taken back from a group without rows is left out: its
    /// weight becomes 0 and it makes no group that stays. `seen` is called with each row's group before its row counts.
    pub(super) fn assign(
        &mut self,
        keys: &EncodedKeys,
        rows: impl Iterator<Item = usize>,
        weights: &mut Option<Vec<i64>>,
        mut seen: impl FnMut(u32),
    ) -> Vec<u32> {
        let count = rows.size_hint().0;
        let mut groups = Vec::with_capacity(count);
        // A key that comes again is looked up once.
        let repeated = keys.repeated().filter(|(_, distinct)| *distinct <= count);
        let mut known: Vec<Option<u32>> = vec![None; repeated.map_or(0, |(_, distinct)| distinct)];
        for row in rows {
            let id = match repeated {
                Some((of, _)) => {
                    let known = &mut known[of[row] as usize];
                    *known.get_or_insert_with(|| self.keys.intern(keys, row).0)
                }
                None => self.keys.intern(keys, row).0,
            };
            if id as usize >= self.counts.len() {
                self.counts.resize(id as usize + 1, 0);
            }
            seen(id);
            let count = &mut self.counts[id as usize];
            match weights {
                None => *count += 1,
                Some(weights) => {
                    let weight = &mut weights[groups.len()];
                    if *count + *weight < 0 {
                        *weight = 0;
                    }
                    *count += *weight;
                }
            }
            groups.push(id);
        }
        self.states.resize(self.counts.len());
        groups
    }

    /// Forgets a group.
    pub(super) fn free(&mut self, id: u32) {
        self.counts[id as usize] = 0;
        self.states.free(id);
        self.keys.remove(id);
    }

    /// The key columns, the counts and the states of these groups.
    fn columns(&self, codec: &KeyCodec, ids: &[u32]) -> Result<(Vec<Arc<Field>>, Vec<ArrayRef>)> {
        let mut fields: Vec<Arc<Field>> = codec.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("rows", DataType::Int64, false)));
        fields.extend(self.states.state_fields().into_iter().map(Arc::new));
        let mut columns = codec.decode(&self.keys, ids)?;
        columns.push(Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| self.counts[*id as usize]))));
        columns.extend(self.states.state(ids)?);
        Ok((fields, columns))
    }

    /// Takes back the columns that a snapshot kept, all keys new here.
    pub(super) fn load(&mut self, codec: &KeyCodec, columns: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let width = codec.fields().len();
        let counts = columns.get(width).and_then(|c| c.as_primitive_opt::<Int64Type>());
        let counts = counts.ok_or_else(|| Error::corrupt("a snapshot lacks the number of rows of its groups"))?;
        let keys = codec.encode(&columns[..width], rows, None)?;
        let mut weights = Some(counts.values().to_vec());
        let groups = self.assign(&keys, 0..rows, &mut weights, |_| {});
        self.states.load(&groups, &columns[width + 1..])?;
        Ok(groups)
    }

    /// These groups' rows of a snapshot, by shard; `own` are the operator's own columns, one value for all.
    pub(super) fn by_shard(
        &self,
        codec: &KeyCodec,
        own: &[(&str, i64)],
        dirty: &Dirty,
        into: &mut [Vec<RecordBatch>],
    ) -> Result<()> {
        let mut ids: Vec<Vec<u32>> = vec![vec![]; SHARDS as usize];
        for id in self.keys.ids() {
            let shard = shard(self.keys.hash(id)) as usize;
            if dirty.0[shard] {
                ids[shard].push(id);
            }
        }
        for (shard, ids) in ids.iter().enumerate().filter(|(_, ids)| !ids.is_empty()) {
            let (key_fields, key_columns) = self.columns(codec, ids)?;
            let mut fields: Vec<Arc<Field>> =
                own.iter().map(|(name, _)| Arc::new(Field::new(*name, DataType::Int64, false))).collect();
            fields.extend(key_fields);
            let mut columns: Vec<ArrayRef> =
                own.iter().map(|(_, value)| Arc::new(Int64Array::from(vec![*value; ids.len()])) as ArrayRef).collect();
            columns.extend(key_columns);
            into[shard].push(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?);
        }
        Ok(())
    }
}

/// Which shards changed since the last snapshot.
#[derive(Debug)]
pub(super) struct Dirty([bool; SHARDS as usize]);

impl Dirty {
    pub(super) fn none() -> Self {
        Self([false; SHARDS as usize])
    }

    /// Notes that the shard of this hash changed.
    pub(super) fn mark(&mut self, hash: u64) {
        self.0[shard(hash) as usize] = true;
    }

    /// Whether a shard changed.
    pub(super) fn has(&self, shard: usize) -> bool {
        self.0[shard]
    }

    /// Writes the shards that changed and forgets that they did.
    pub(super) fn write(&mut self, into: &mut Snapshot, table: &str, shards: &[Vec<RecordBatch>]) -> Result<()> {
        for (shard, batches) in shards.iter().enumerate().filter(|(shard, _)| self.0[*shard]) {
            into.put(table, CODEC_VERSION, shard as u32, encode(batches)?);
        }
        *self = Self::none();
        Ok(())
    }
}

fn encode(batches: &[RecordBatch]) -> Result<Bytes> {
    let Some(first) = batches.first() else { return Ok(Bytes::new()) };
    let mut writer = StreamWriter::try_new(vec![], &first.schema())?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    Ok(writer.into_inner()?.into())
}

/// The batches of a shard's bytes, written with `version`.
pub(super) fn decode(version: u32, bytes: &Bytes) -> Result<Vec<RecordBatch>> {
    if version != CODEC_VERSION {
        let message = format!("a snapshot has codec version {version}, this program reads {CODEC_VERSION}");
        return Err(Error::unsupported(message));
    }
    if bytes.is_empty() {
        return Ok(vec![]);
    }
    let corrupt = |error| Error::corrupt("a snapshot's shard does not decode").with_source(error);
    let reader = StreamReader::try_new(Cursor::new(bytes.as_ref()), None).map_err(corrupt)?;
    reader.collect::<Result<_, _>>().map_err(corrupt)
}

/// Each row's weight; `None` where all are 1.
pub(super) fn weights(batch: &ChangeBatch) -> Option<Vec<i64>> {
    (!batch.is_insert_only()).then(|| (0..batch.num_rows()).map(|row| RowKind::weight(batch.kind(row))).collect())
}

/// The hidden column of hashes, where the batch came over an exchange.
pub(super) fn hashes(rows: &RecordBatch) -> Option<&UInt64Array> {
    rows.column_by_name(HASH_COLUMN).and_then(|column| column.as_primitive_opt::<UInt64Type>())
}
