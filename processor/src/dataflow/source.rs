//! What a job reads: partitions that give batches of changes and say where to resume.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquifer_model::{ChangeBatch, Cut, Error, Position, Result, Watermark};
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::worker::panicked;

/// One input of a job: a table's partitions.
#[async_trait]
pub trait JobInput: Send + Sync + Debug {
    /// The columns of its batches.
    fn schema(&self) -> SchemaRef;
    /// The names of its partitions, each once. Where it has a [discovery](JobInput::discovery) it is called again and again, and may give more then.
    async fn partitions(&self) -> Result<Vec<String>>;
    /// Opens a partition; `from` is a cut that a [`SourceBatch`] of it told, else it starts where the statement says.
    async fn open(&self, partition: &str, from: Option<Cut>) -> Result<Box<dyn JobSource>>;
    /// Whether its batches say the largest time of what was passed, rows among them that it left out: then the rows themselves are not asked.
    fn tells_time(&self) -> bool {
        false
    }
    /// How often new partitions are looked for; `None`: never.
    fn discovery(&self) -> Option<Duration> {
        None
    }
    /// Whether a partition that cannot be read is no longer there, and was one of those that come and go.
    async fn is_gone(&self, _partition: &str) -> bool {
        false
    }
    /// Whether it is to be told how far it was read: [`JobInput::passed`].
    fn notes_passed(&self) -> bool {
        false
    }
    /// A partition was read up to this cut, and the changes that came of it are handed over. May come late, and leaves cuts out.
    async fn passed(&self, _partition: &str, _cut: Cut) -> Result<()> {
        Ok(())
    }
    /// A partition ends when its own watermark reaches this.
    fn stop_watermark(&self) -> Option<Watermark> {
        None
    }
    /// From this time on, in milliseconds since 1970, a partition also ends that has given all that was there then and stays quiet for so long. Another call
    /// takes the place of this one.
    fn end_quiet_partitions(&self, _from_ms: i64, _quiet: Duration) {}
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

/// How many batches of a source may lie read and not yet taken, beside the one that is being decoded.
const BATCHES_AHEAD: usize = 2;

/// A source that is read and decoded ahead, by a task of its own.
pub(crate) struct ReadAhead {
    batches: mpsc::Receiver<Result<SourceBatch>>,
    /// `None` once its end is known.
    task: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// Starts to read. The task ends when this is dropped.
    pub(crate) fn start(mut source: Box<dyn JobSource>) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let task = tokio::spawn(async move {
            while let Some(next) = source.next().await.transpose() {
                // After an error the source may be asked again.
                if sender.send(next).await.is_err() {
                    return;
                }
            }
        });
        Self { batches, task: Some(task) }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[async_trait]
impl JobSource for ReadAhead {
    async fn next(&mut self) -> Result<Option<SourceBatch>> {
        if let Some(next) = self.batches.recv().await {
            return next.map(Some);
        }
        // A panic must not look like the end.
        match self.task.take() {
            Some(task) => match task.await {
                Ok(()) => Ok(None),
                Err(error) if error.is_panic() => Err(panicked("source", error.into_panic().as_ref())),
                Err(_) => Err(Error::internal("reading ahead was given up")),
            },
            None => Ok(None),
        }
    }
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
        let script = script.ok_or_else(|| Error::internal(format!("no partition `{partition}`")))?;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// Numbered batches, then what `end` makes; counts what it was asked for.
    struct Numbers {
        given: i64,
        last: i64,
        asked: Arc<AtomicUsize>,
        end: fn() -> Result<Option<SourceBatch>>,
    }

    #[async_trait]
    impl JobSource for Numbers {
        async fn next(&mut self) -> Result<Option<SourceBatch>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.given >= self.last {
                return (self.end)();
            }
            self.given += 1;
            let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
            let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![self.given]))])?;
            let cut = Cut::After(Position::new(0, self.given as u64));
            Ok(Some(SourceBatch { changes: ChangeBatch::inserts(rows), cut, time: None }))
        }
    }

    fn numbers(last: i64, end: fn() -> Result<Option<SourceBatch>>) -> (ReadAhead, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        (ReadAhead::start(Box::new(Numbers { given: 0, last, asked: Arc::clone(&asked), end })), asked)
    }

    #[tokio::test]
    async fn what_is_read_ahead_comes_in_order_once_and_ends() {
        let (mut ahead, asked) = numbers(100, || Ok(None));
        for n in 1..=100 {
            let batch = ahead.next().await.expect("reads").expect("more");
            assert_eq!(batch.cut, Cut::After(Position::new(0, n)));
            let most = n as usize + BATCHES_AHEAD + 1;
            assert!(asked.load(Ordering::SeqCst) <= most, "it does not run away");
        }
        assert!(ahead.next().await.expect("reads").is_none());
        assert!(ahead.next().await.expect("reads").is_none());
    }

    #[tokio::test]
    #[allow(clippy::panic)]
    async fn an_error_is_told_and_a_panic_is_no_end() {
        let (mut ahead, _) = numbers(1, || Err(Error::corrupt("torn")));
        assert!(ahead.next().await.expect("reads").is_some());
        assert!(ahead.next().await.expect_err("told").to_string().contains("torn"));
        let (mut ahead, _) = numbers(1, || panic!("out of hands"));
        assert!(ahead.next().await.expect("reads").is_some());
        assert!(ahead.next().await.expect_err("told").to_string().contains("out of hands"));
    }

    #[tokio::test]
    async fn reading_ends_with_the_reader() {
        struct Waits {
            _alive: Arc<()>,
        }
        #[async_trait]
        impl JobSource for Waits {
            async fn next(&mut self) -> Result<Option<SourceBatch>> {
                std::future::pending().await
            }
        }
        let alive = Arc::new(());
        drop(ReadAhead::start(Box::new(Waits { _alive: Arc::clone(&alive) })));
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
