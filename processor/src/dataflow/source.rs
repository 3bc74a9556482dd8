//! What a job reads: partitions that give batches of changes and say where to resume.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use aquifer_model::{ChangeBatch, Cut, Position, Result, Watermark};
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use tokio::sync::Notify;

/// One input of a job: a table's partitions.
#[async_trait]
pub trait JobInput: Send + Sync + Debug {
    /// The columns of its batches.
    fn schema(&self) -> SchemaRef;
    /// The names of its partitions, each once. Called once a job.
    async fn partitions(&self) -> Result<Vec<String>>;
    /// Opens a partition; `from` is a cut that a [`SourceBatch`] of it told, else it starts where the statement says.
    async fn open(&self, partition: &str, from: Option<Cut>) -> Result<Box<dyn JobSource>>;
    /// Whether its batches say the largest time of what was passed, rows among them that it left out: then the rows themselves are not asked.
    fn tells_time(&self) -> bool {
        false
    }
    /// A partition ends when its own watermark reaches this.
    fn stop_watermark(&self) -> Option<Watermark> {
        None
    }
}

/// One partition being read.
///
/// # Contract
/// Batches come in the partition's order. Opened again from a batch's cut, the next batch begins with the row after it.
#[async_trait]
pub trait JobSource: Send {
    /// The next batch; `None` for ever once the end is reached. Waits where more may come.
    async fn next(&mut self) -> Result<Option<SourceBatch>>;
}

/// Changes of one partition.
#[derive(Debug, Clone)]
pub struct SourceBatch {
    /// The changes; may have no rows.
    pub changes: ChangeBatch,
    /// Where to resume after them.
    pub cut: Cut,
    /// From an input that [tells time](JobInput::tells_time): the largest time of all rows up to the cut, as an array of one; `None` if there is none.
    pub time: Option<ArrayRef>,
}

/// Batches in memory: `VALUES`, and the input of tests. Partition `n` is called `n`.
#[derive(Debug)]
pub struct ScriptedInput {
    schema: SchemaRef,
    partitions: Vec<Arc<Script>>,
}

/// One partition's batches. While it is open a reader waits for more.
#[derive(Debug, Default)]
pub struct Script {
    state: Mutex<ScriptState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct ScriptState {
    batches: VecDeque<ChangeBatch>,
    open: bool,
}

impl ScriptedInput {
    /// A bounded input of these partitions.
    pub fn bounded(schema: SchemaRef, partitions: Vec<Vec<ChangeBatch>>) -> Self {
        let script = |batches: Vec<ChangeBatch>| {
            let state = ScriptState { batches: batches.into(), open: false };
            Arc::new(Script { state: Mutex::new(state), changed: Notify::new() })
        };
        Self { schema, partitions: partitions.into_iter().map(script).collect() }
    }

    /// An input that is held open, and the scripts to add to.
    pub fn held_open(schema: SchemaRef, partitions: usize) -> (Self, Vec<Arc<Script>>) {
        let input = Self::bounded(schema, vec![vec![]; partitions]);
        input.partitions.iter().for_each(|script| script.with(|state| state.open = true));
        let scripts = input.partitions.clone();
        (input, scripts)
    }
}

impl Script {
    fn with<T>(&self, change: impl FnOnce(&mut ScriptState) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        self.changed.notify_waiters();
        result
    }

    /// Adds a batch.
    pub fn push(&self, batch: ChangeBatch) {
        self.with(|state| state.batches.push_back(batch));
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.with(|state| state.open = false);
    }
}

#[async_trait]
impl JobInput for ScriptedInput {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn partitions(&self) -> Result<Vec<String>> {
        Ok((0..self.partitions.len()).map(|partition| partition.to_string()).collect())
    }

    async fn open(&self, partition: &str, from: Option<Cut>) -> Result<Box<dyn JobSource>> {
        let script = partition.parse::<usize>().ok().and_then(|partition| self.partitions.get(partition));
        let script = script.ok_or_else(|| aquifer_model::Error::internal(format!("no partition `{partition}`")))?;
        let next = from.and_then(Cut::position).map_or(0, |last| last.entry as usize + 1);
        Ok(Box::new(ScriptReader { script: Arc::clone(script), next }))
    }
}

struct ScriptReader {
    script: Arc<Script>,
    next: usize,
}

#[async_trait]
impl JobSource for ScriptReader {
    async fn next(&mut self) -> Result<Option<SourceBatch>> {
        let script = Arc::clone(&self.script);
        loop {
            let mut changed = std::pin::pin!(script.changed.notified());
            changed.as_mut().enable();
            let (batch, open) = {
                let state = script.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                (state.batches.get(self.next).cloned(), state.open)
            };
            if let Some(changes) = batch {
                let cut = Cut::After(Position::new(0, self.next as u64));
                self.next += 1;
                return Ok(Some(SourceBatch { changes, cut, time: None }));
            }
            if !open {
                return Ok(None);
            }
            changed.await;
        }
    }
}
