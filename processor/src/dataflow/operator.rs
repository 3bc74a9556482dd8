//! What an operator is: synchronous, deterministic, without thread, clock or file; tested without timely.

use std::collections::BTreeMap;

use aquifer_model::{ChangeBatch, Epoch, Result, Watermark};
use bytes::Bytes;

/// One of an operator's inputs, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(pub usize);

/// A part of the dataflow on one worker.
///
/// # Contract
/// *Caller*: `restore` once, before any batch, on every instance (also with an empty snapshot); then for each epoch, in order, any number of
/// `on_batch`, one `on_epoch_end`, at most one `snapshot`. *Implementation*: the same calls give the same output, whatever the batches'
/// borders; per-epoch work is proportional to what changed, never to state.
pub trait Operator: Send {
    /// Takes one batch of the current epoch.
    fn on_batch(&mut self, port: Port, batch: ChangeBatch, out: &mut Output) -> Result<()>;
    /// Called once an epoch on every worker, also when nothing came. Emits what is due.
    fn on_epoch_end(&mut self, end: &EpochEnd, out: &mut Output) -> Result<()>;
    /// Hands over what changed since the last snapshot; asked for only between epochs.
    fn snapshot(&mut self, into: &mut Snapshot) -> Result<()>;
    /// Takes the shards this worker owns, from a snapshot made by any number of workers.
    fn restore(&mut self, from: &SnapshotReader) -> Result<()>;
    /// How many keys (or pairs of key and window) it keeps.
    fn state_keys(&self) -> u64 {
        0
    }
}

/// What holds at the end of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: Epoch,
    /// The lowest watermark of the ports that are not idle.
    pub watermark: Watermark,
    /// Each port's watermark and state.
    pub ports: Vec<PortEnd>,
    /// The epoch's processing time in milliseconds since 1970: one value, decided at the source, stored in the checkpoint.
    pub processing_time_ms: i64,
}

/// One port at the end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortEnd {
    /// Its watermark.
    pub watermark: Watermark,
    /// It does not hold the combined watermark back.
    pub idle: bool,
    /// Nothing will come any more.
    pub ended: bool,
}

/// Where an operator puts its results.
#[derive(Debug, Default)]
pub struct Output {
    /// Changes, in order.
    pub batches: Vec<ChangeBatch>,
    /// How many (row, window) pairs came too late and were dropped.
    pub late_rows: u64,
}

impl Output {
    /// Adds a batch; one without rows is left out.
    pub fn push(&mut self, batch: ChangeBatch) {
        if batch.num_rows() > 0 {
            self.batches.push(batch);
        }
    }
}

/// State is split by key hash into this many shards, whatever the number of workers; worker `w` of `n` owns the shards with `shard % n == w`.
pub const SHARDS: u32 = 128;

/// The worker that owns the shard of a key's hash.
pub fn owner(hash: u64, workers: usize) -> usize {
    shard(hash) as usize % workers
}

/// The shard of a key's hash.
pub fn shard(hash: u64) -> u32 {
    (hash >> 32) as u32 % SHARDS
}

/// What one operator hands over: tables by name, each with a codec version and bytes by shard. Bytes written under a (table, shard) replace what an
/// earlier snapshot held there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    tables: BTreeMap<String, (u32, BTreeMap<u32, Bytes>)>,
}

impl Snapshot {
    /// Puts a shard's part of a table.
    pub fn put(&mut self, table: &str, version: u32, shard: u32, bytes: Bytes) {
        let entry = self.tables.entry(table.to_string()).or_insert_with(|| (version, BTreeMap::new()));
        entry.0 = version;
        entry.1.insert(shard, bytes);
    }

    /// Lays a later snapshot of the same operator (perhaps another worker's) over this one.
    pub fn merge(&mut self, later: Snapshot) {
        for (table, (version, shards)) in later.tables {
            for (shard, bytes) in shards {
                self.put(&table, version, shard, bytes);
            }
        }
    }
}

/// What one operator on one worker may take back.
#[derive(Debug, Clone)]
pub struct SnapshotReader<'a> {
    snapshot: &'a Snapshot,
    worker: usize,
    workers: usize,
}

impl<'a> SnapshotReader<'a> {
    /// A view for worker `worker` of `workers`.
    pub fn new(snapshot: &'a Snapshot, worker: usize, workers: usize) -> Self {
        Self { snapshot, worker, workers }
    }

    /// The codec version and the shards of `table` that this worker owns.
    pub fn table(&self, table: &str) -> Option<(u32, impl Iterator<Item = (u32, &'a Bytes)> + use<'a>)> {
        let (version, shards) = self.snapshot.tables.get(table)?;
        let (worker, workers) = (self.worker, self.workers);
        let owned = move |shard: &u32| *shard as usize % workers == worker;
        Some((*version, shards.iter().filter(move |(shard, _)| owned(shard)).map(|(shard, bytes)| (*shard, bytes))))
    }
}
