//! One worker of a job: the timely dataflow from its queue to the sink.
//!
//! ```text
//!  queue ─► source: stateless run, hash ─┤exchange├─► stage: operator, stateless run ─┤exchange├─► … ─► sink ─► report
//! ```
//!
//! Each part holds a capability for the epoch it works on and gives it up when the epoch's input is complete, which timely's frontier says. What holds at
//! an epoch's end comes with the worker's own queue, before the source lets the epoch go. Batches that arrive early (another worker is ahead) wait.
//! Every call of an operator or an expression is caught; after an error the parts do nothing more and the worker drops its dataflow.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use aquifer_model::{ChangeBatch, Error, Result};
use arrow::array::{ArrayRef, UInt8Array, UInt32Array};
use arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::worker::Worker;

use super::job::{InputSpec, JobSpec, StageSpec};
use super::operator::{EpochEnd, Operator, Output, Port, Snapshot, SnapshotReader, owner};
use super::runtime::Shared;
use crate::operators::keys::{KeyCodec, with_hashes};
use crate::operators::stateless::Stateless;

/// What the feeder tells a worker.
pub(crate) enum ToWorker {
    /// Rows of an input in the open epoch.
    Batch(aquifer_model::Epoch, usize, ChangeBatch),
    /// The epoch is complete; whether a snapshot is to be taken.
    End(Arc<EpochEnd>, bool),
    /// No epoch follows.
    Finish,
}

/// What a worker did in one epoch.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) epoch: u64,
    pub(crate) worker: usize,
    pub(crate) changes: Vec<ChangeBatch>,
    /// Each stage's snapshot, where one was asked for.
    pub(crate) snapshots: Option<Vec<Snapshot>>,
}

/// A batch on its way to a worker.
#[derive(Debug, Clone)]
struct Routed {
    to: u64,
    changes: ChangeBatch,
}

impl Serialize for Routed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let write = || -> Result<Vec<u8>, arrow::error::ArrowError> {
            let mut writer = StreamWriter::try_new(vec![], &self.changes.schema())?;
            writer.write(self.changes.rows())?;
            writer.into_inner()
        };
        let kinds: Option<Vec<u8>> = (!self.changes.is_insert_only())
            .then(|| (0..self.changes.num_rows()).map(|row| self.changes.kind(row) as u8).collect());
        (self.to, write().map_err(S::Error::custom)?, kinds).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Routed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let (to, bytes, kinds) = <(u64, Vec<u8>, Option<Vec<u8>>)>::deserialize(deserializer)?;
        let mut reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(D::Error::custom)?;
        let rows = reader.next().ok_or_else(|| D::Error::custom("a routed batch is missing"))?;
        let rows = rows.map_err(D::Error::custom)?;
        let changes = match kinds {
            Some(kinds) => ChangeBatch::new(rows, UInt8Array::from(kinds)).map_err(D::Error::custom)?,
            None => ChangeBatch::inserts(rows),
        };
        Ok(Self { to, changes })
    }
}

/// Splits batches by the owner of their key's hash.
struct Router {
    keys: Vec<usize>,
    codec: Option<KeyCodec>,
    workers: usize,
    here: usize,
}

impl Router {
    fn new(next: Option<&StageSpec>, here: usize, workers: usize) -> Result<Self> {
        let Some(stage) = next.filter(|_| workers > 1) else {
            return Ok(Self { keys: vec![], codec: None, workers, here });
        };
        let codec = KeyCodec::new(stage.key_fields.clone())?;
        Ok(Self { keys: stage.keys.clone(), codec: Some(codec), workers, here })
    }

    fn route(&self, changes: ChangeBatch, into: &mut Vec<Routed>) -> Result<()> {
        if changes.num_rows() == 0 {
            return Ok(());
        }
        let Some(codec) = &self.codec else {
            into.push(Routed { to: self.here as u64, changes });
            return Ok(());
        };
        let columns: Vec<ArrayRef> = self.keys.iter().map(|key| Arc::clone(changes.rows().column(*key))).collect();
        let keys = codec.encode(&columns, changes.num_rows(), None)?;
        let mut rows: Vec<Vec<u32>> = vec![vec![]; self.workers];
        for (row, hash) in keys.hashes().iter().enumerate() {
            rows[owner(*hash, self.workers)].push(row as u32);
        }
        let hashed = changes.with_rows(with_hashes(changes.rows(), keys.hashes())?)?;
        for (to, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let all = rows.len() == hashed.num_rows();
            let changes = if all { hashed.clone() } else { hashed.take(&UInt32Array::from(rows))? };
            into.push(Routed { to: to as u64, changes });
        }
        Ok(())
    }
}

/// What holds at the ends of the epochs that are under way on this worker.
type Ends = Rc<RefCell<BTreeMap<u64, (Arc<EpochEnd>, bool)>>>;
type Snapshots = Rc<RefCell<BTreeMap<u64, Vec<Snapshot>>>>;
type Builder = CapacityContainerBuilder<Vec<Routed>>;

/// Everything one worker's parts share.
#[derive(Clone)]
struct Context {
    shared: Arc<Shared>,
    ends: Ends,
    snapshots: Snapshots,
    worker: usize,
    workers: usize,
    first: u64,
}

impl Context {
    /// Runs a part; an error or panic fails the job. `None` also where the job is stopping.
    fn run<T>(&self, name: &str, part: impl FnOnce() -> Result<T>) -> Option<T> {
        if self.shared.is_stopping() {
            return None;
        }
        match catch_unwind(AssertUnwindSafe(part)) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => self.shared.fail(error),
            Err(panic) => self.shared.fail(panicked(name, panic.as_ref())),
        }
        None
    }

    fn end(&self, epoch: u64) -> Option<(Arc<EpochEnd>, bool)> {
        self.ends.borrow().get(&epoch).cloned()
    }
}

/// The error that a panic becomes.
pub(crate) fn panicked(name: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::internal(format!("`{name}` panicked: {}", text.unwrap_or("without a message")))
}

/// A panic outside every caught part (in timely itself) must end the job too: other workers would wait for this one for ever.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::internal("a worker panicked"));
        }
    }
}

/// Builds the dataflow and steps it until it is done or the job stops. `operators` is what each stage had at the snapshot.
pub(crate) fn run_worker(
    worker: &mut Worker,
    spec: &Arc<JobSpec>,
    inputs: &Arc<Vec<InputSpec>>,
    first: u64,
    operators: &[Snapshot],
    shared: &Arc<Shared>,
    reports: &Sender<Report>,
) {
    let _guard = StopOnPanic(shared);
    let (index, workers) = (worker.index(), worker.peers());
    let (ends, snapshots) = (Ends::default(), Snapshots::default());
    let context = Context { shared: Arc::clone(shared), ends, snapshots, worker: index, workers, first };
    // Every worker must build the same dataflow, or the others wait for it: what can fail comes before.
    let built = context.run("start", || {
        let nothing = Snapshot::default();
        let made = spec.stages.iter().enumerate().map(|(number, stage)| {
            let mut operator = (stage.make)()?;
            let kept = operators.get(number).unwrap_or(&nothing);
            operator.restore(&SnapshotReader::new(kept, index, workers))?;
            Ok((operator, Router::new(spec.stages.get(number + 1), index, workers)?))
        });
        Ok((Router::new(spec.stages.first(), index, workers)?, made.collect::<Result<Vec<_>>>()?))
    });
    let Some((router, made)) = built else { return };
    worker.dataflow::<u64, _, _>(|scope| {
        let mut stream = source(scope, &context, inputs, router, spec.stages.is_empty());
        for (number, (stage, (operator, router))) in spec.stages.iter().zip(made).enumerate() {
            stream = build_stage(stream, scope, &context, stage, operator, router, number == 0);
        }
        sink(stream, scope, &context, spec.stages.len(), reports.clone());
    });
    while worker.has_dataflows() {
        if context.shared.is_stopping() {
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
            break;
        }
        worker.step_or_park(None);
    }
}

fn source<'scope>(
    scope: Scope<'scope, u64>,
    context: &Context,
    inputs: &Arc<Vec<InputSpec>>,
    router: Router,
    count_rows: bool,
) -> StreamVec<'scope, u64, Routed> {
    let mut builder = OperatorBuilder::new("source".to_string(), scope);
    let info = builder.operator_info();
    let (output, stream) = builder.new_output();
    let mut output = OutputBuilder::<u64, Builder>::from(output);
    let (context, inputs) = (context.clone(), Arc::clone(inputs));
    context.shared.register(context.worker, scope.worker().sync_activator_for(info.address.to_vec()));
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        if let Some(capability) = &mut capability {
            capability.downgrade(&context.first);
        }
        move |_| {
            while let Some(message) = context.shared.next_for(context.worker) {
                let Some(held) = &mut capability else { return };
                match message {
                    ToWorker::Batch(epoch, input, changes) => {
                        debug_assert_eq!(epoch.0, *held.time());
                        let routed = context.run("source", || {
                            if count_rows {
                                context.shared.count_rows(context.worker, changes.num_rows());
                            }
                            let mut routed = vec![];
                            router.route(inputs[input].run.run(changes)?, &mut routed)?;
                            Ok(routed)
                        });
                        let Some(routed) = routed else { return };
                        output.activate().session(held).give_iterator(routed.into_iter());
                    }
                    ToWorker::End(end, snapshot) => {
                        let next = end.epoch.0 + 1;
                        context.ends.borrow_mut().insert(end.epoch.0, (end, snapshot));
                        held.downgrade(&next);
                    }
                    ToWorker::Finish => capability = None,
                }
            }
        }
    });
    stream
}

/// A stage on one worker.
struct Stage {
    name: String,
    operator: Box<dyn Operator>,
    run: Stateless,
    router: Router,
    count_rows: bool,
    state_keys: u64,
}

impl Stage {
    fn emit(&self, context: &Context, out: Output, into: &mut Vec<Routed>) -> Result<()> {
        context.shared.counters.late_rows.fetch_add(out.late_rows, Ordering::Relaxed);
        out.batches.into_iter().try_for_each(|changes| self.router.route(self.run.run(changes)?, into))
    }

    fn batch(&mut self, context: &Context, changes: ChangeBatch) -> Result<Vec<Routed>> {
        if self.count_rows {
            context.shared.count_rows(context.worker, changes.num_rows());
        }
        let (mut out, mut into) = (Output::default(), vec![]);
        self.operator.on_batch(Port(0), changes, &mut out)?;
        self.emit(context, out, &mut into)?;
        Ok(into)
    }

    fn end(&mut self, context: &Context, end: &EpochEnd, snapshot: bool) -> Result<Vec<Routed>> {
        let (mut out, mut into) = (Output::default(), vec![]);
        self.operator.on_epoch_end(end, &mut out)?;
        self.emit(context, out, &mut into)?;
        if snapshot {
            let mut kept = Snapshot::default();
            self.operator.snapshot(&mut kept)?;
            context.snapshots.borrow_mut().entry(end.epoch.0).or_default().push(kept);
        }
        let keys = self.operator.state_keys();
        let difference = keys.wrapping_sub(std::mem::replace(&mut self.state_keys, keys));
        context.shared.counters.state_keys.fetch_add(difference, Ordering::Relaxed);
        Ok(into)
    }
}

fn build_stage<'scope>(
    stream: StreamVec<'scope, u64, Routed>,
    scope: Scope<'scope, u64>,
    context: &Context,
    spec: &StageSpec,
    operator: Box<dyn Operator>,
    router: Router,
    count_rows: bool,
) -> StreamVec<'scope, u64, Routed> {
    let mut builder = OperatorBuilder::new(spec.name.clone(), scope);
    let mut input = if context.workers > 1 {
        Input::Exchanged(builder.new_input(stream, Exchange::new(|routed: &Routed| routed.to)))
    } else {
        Input::Local(builder.new_input(stream, Pipeline))
    };
    let (output, result) = builder.new_output();
    let mut output = OutputBuilder::<u64, Builder>::from(output);
    let context = context.clone();
    let run = spec.run.clone();
    let mut stage = Stage { name: spec.name.clone(), operator, run, router, count_rows, state_keys: 0 };
    let restored = stage.operator.state_keys();
    stage.state_keys = restored;
    context.shared.counters.state_keys.fetch_add(restored, Ordering::Relaxed);
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        if let Some(capability) = &mut capability {
            capability.downgrade(&context.first);
        }
        let mut current = context.first;
        let mut early: BTreeMap<u64, Vec<ChangeBatch>> = BTreeMap::new();
        move |frontiers| {
            input.drain(|epoch, routed| early.entry(epoch).or_default().push(routed.changes));
            let Some(held) = &mut capability else { return };
            loop {
                for changes in early.remove(&current).unwrap_or_default() {
                    let name = stage.name.clone();
                    let Some(routed) = context.run(&name, || stage.batch(&context, changes)) else { return };
                    output.activate().session(held).give_iterator(routed.into_iter());
                }
                if frontiers[0].less_equal(&current) {
                    return;
                }
                let Some((end, snapshot)) = context.end(current) else { break };
                let name = stage.name.clone();
                let Some(routed) = context.run(&name, || stage.end(&context, &end, snapshot)) else { return };
                output.activate().session(held).give_iterator(routed.into_iter());
                current += 1;
                held.downgrade(&current);
            }
            if frontiers[0].is_empty() {
                capability = None;
            }
        }
    });
    result
}

type Handle<P> = timely::dataflow::operators::generic::InputHandleCore<u64, Vec<Routed>, P>;
type Message = timely::dataflow::channels::Message<u64, Vec<Routed>>;
type Puller<P> = <P as timely::dataflow::channels::pact::ParallelizationContract<u64, Vec<Routed>>>::Puller;
type ExchangePuller = timely::dataflow::channels::pact::LogPuller<Box<dyn timely::communication::Pull<Message>>>;

/// A stage's input, exchanged or not.
enum Input {
    Exchanged(Handle<ExchangePuller>),
    Local(Handle<Puller<Pipeline>>),
}

impl Input {
    fn drain(&mut self, mut take: impl FnMut(u64, Routed)) {
        let mut each = |epoch: Option<u64>, routed: &mut Vec<Routed>| {
            let epoch = epoch.unwrap_or(0);
            routed.drain(..).for_each(|routed| take(epoch, routed));
        };
        match self {
            Self::Exchanged(handle) => handle.for_each(|capability, routed| each(capability.least().copied(), routed)),
            Self::Local(handle) => handle.for_each(|capability, routed| each(capability.least().copied(), routed)),
        }
    }
}

/// Collects an epoch's results on this worker and reports them once the epoch is complete.
fn sink<'scope>(
    stream: StreamVec<'scope, u64, Routed>,
    scope: Scope<'scope, u64>,
    context: &Context,
    stages: usize,
    reports: Sender<Report>,
) {
    let mut builder = OperatorBuilder::new("sink".to_string(), scope);
    let mut input = Input::Local(builder.new_input(stream, Pipeline));
    let context = context.clone();
    builder.build(move |_| {
        let mut current = context.first;
        let mut waiting: BTreeMap<u64, Vec<ChangeBatch>> = BTreeMap::new();
        move |frontiers| {
            input.drain(|epoch, routed| waiting.entry(epoch).or_default().push(routed.changes));
            while !frontiers[0].less_equal(&current) {
                let Some((_, snapshot)) = context.ends.borrow_mut().remove(&current) else { return };
                let changes = waiting.remove(&current).unwrap_or_default();
                let kept = context.snapshots.borrow_mut().remove(&current).unwrap_or_default();
                debug_assert!(!snapshot || kept.len() == stages, "every stage took its snapshot");
                let snapshots = snapshot.then_some(kept);
                let report = Report { epoch: current, worker: context.worker, changes, snapshots };
                if reports.send(report).is_err() {
                    context.shared.stop();
                    return;
                }
                current += 1;
            }
        }
    });
}
