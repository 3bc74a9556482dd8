//! Starts a job, watches over it, and ends it.
//!
//! ```text
//!  feeder thread (own async runtime)   worker threads (timely)   supervisor thread: epochs in order ─► changes
//! ```
//!
//! Whoever fails first says why and stops all; the supervisor joins everyone and sends that one error as the last item. A job whose receiver is dropped
//! stops. Idle workers park; they are woken by a `SyncActivator` when something is put into their queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_model::{ChangeBatch, Epoch, Error, Result};
use timely::CommunicationConfig;
use timely::scheduling::SyncActivator;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::feeder::{Feeder, SnapshotRequest};
use super::job::{JobSnapshot, JobSpec, SourceMarks};
use super::operator::Snapshot;
use super::passed::Passed;
use super::worker::{Report, ToWorker, panicked, run_worker};
use crate::runtimes;
use crate::streaming::{JobCounters, JobSettings, RunningJob};

/// More workers than this in one process are refused.
pub const MAX_WORKERS: usize = 128;
/// Batches that wait for whoever reads the changes.
const CHANGES_AHEAD: usize = 16;
const THREAD_STACK_BYTES: usize = 8 << 20;

/// What all threads of a job share.
#[derive(Debug)]
pub(crate) struct Shared {
    stopping: watch::Sender<bool>,
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
    workers: Vec<Mutex<WorkerDoor>>,
    /// One permit an epoch that may still be opened.
    pub(crate) in_flight: Semaphore,
    pub(crate) counters: Arc<JobCounters>,
    pub(crate) snapshot_every_epoch: bool,
    noted: Mutex<BTreeMap<u64, (SourceMarks, Vec<SnapshotRequest>)>>,
    /// Where an input wants to be told how far it was read.
    pub(crate) passed: Option<Passed>,
}

/// The way to one worker: its queue, bounded by the epochs in flight, and what wakes it.
#[derive(Default)]
struct WorkerDoor {
    queue: VecDeque<ToWorker>,
    activator: Option<SyncActivator>,
}

impl std::fmt::Debug for WorkerDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerDoor").field("waiting", &self.queue.len()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends the job: wakes everyone.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.stopping.send_replace(true);
        for door in &self.workers {
            if let Some(activator) = &lock(door).activator {
                // A worker that is gone needs no waking.
                let _ = activator.activate();
            }
        }
    }

    /// Ends the job with an error; the first one counts.
    pub(crate) fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.stop();
    }

    /// Tells how a worker is woken.
    pub(crate) fn register(&self, worker: usize, activator: SyncActivator) {
        lock(&self.workers[worker]).activator = Some(activator);
    }

    /// Puts a message for the worker that a partition belongs to.
    pub(crate) fn to_worker(&self, partition: usize, message: ToWorker) {
        let mut door = lock(&self.workers[partition % self.workers.len()]);
        door.queue.push_back(message);
        if let Some(activator) = &door.activator {
            let _ = activator.activate();
        }
    }

    /// Puts a message for every worker.
    pub(crate) fn to_workers(&self, message: impl Fn(usize) -> ToWorker) {
        (0..self.workers.len()).for_each(|worker| self.to_worker(worker, message(worker)));
    }

    /// A worker's next message.
    pub(crate) fn next_for(&self, worker: usize) -> Option<ToWorker> {
        lock(&self.workers[worker]).queue.pop_front()
    }

    pub(crate) fn count_rows(&self, worker: usize, rows: usize) {
        lock(&self.counters.worker_rows)[worker] += rows as u64;
    }

    /// Keeps where the inputs stood at the end of an epoch, and who asked.
    pub(crate) fn note_sources(&self, epoch: Epoch, marks: SourceMarks, asked: Vec<SnapshotRequest>) {
        lock(&self.noted).insert(epoch.0, (marks, asked));
    }
}

/// A hold on a running job. Dropping it changes nothing: a job ends when its `changes` are dropped.
#[derive(Debug, Clone)]
pub struct JobHandle {
    shared: Arc<Shared>,
    requests: mpsc::UnboundedSender<SnapshotRequest>,
}

impl JobHandle {
    /// A snapshot at the end of an epoch that contains everything read so far. It is given once that epoch's changes have been handed over, so somebody
    /// must go on reading `changes`. Fails where the job has ended.
    pub async fn snapshot(&self) -> Result<JobSnapshot> {
        let ended = || Error::invalid("a snapshot of a job that has ended");
        let (answer, snapshot) = oneshot::channel();
        self.requests.send(answer).map_err(|_| ended())?;
        snapshot.await.map_err(|_| ended())
    }

    /// Ends the job; what it has computed may still come.
    pub fn stop(&self) {
        self.shared.stop();
    }
}

/// Starts a job, from the beginning or from a snapshot. With `every_epoch` each epoch's end is snapshotted and sent there.
pub(crate) fn start(
    mut spec: JobSpec,
    settings: JobSettings,
    from: Option<JobSnapshot>,
    every_epoch: Option<mpsc::UnboundedSender<JobSnapshot>>,
) -> Result<RunningJob> {
    let workers = settings.workers;
    if workers == 0 || workers > MAX_WORKERS {
        return Err(Error::invalid(format!("a job has 1 to {MAX_WORKERS} workers, not {workers}")));
    }
    if let Some(snapshot) = &from
        && snapshot.operators.len() != spec.stages.len()
    {
        return Err(Error::invalid(format!(
            "the snapshot is of a job with {} stages, this one has {}",
            snapshot.operators.len(),
            spec.stages.len()
        )));
    }
    let counters = Arc::new(JobCounters::default());
    *lock(&counters.worker_rows) = vec![0; workers];
    let shared = Arc::new(Shared {
        stopping: watch::Sender::new(false),
        stopped: AtomicBool::new(false),
        failure: Mutex::new(None),
        workers: (0..workers).map(|_| Mutex::default()).collect(),
        in_flight: Semaphore::new(settings.epochs_in_flight.max(1)),
        counters: Arc::clone(&counters),
        snapshot_every_epoch: every_epoch.is_some(),
        noted: Mutex::default(),
        passed: spec.inputs.iter().any(|spec| spec.input.notes_passed()).then(Passed::default),
    });
    let (changes_to, changes) = mpsc::channel(CHANGES_AHEAD);
    let (requests_to, requests) = mpsc::unbounded_channel();
    let (reports_to, reports) = std::sync::mpsc::channel();
    let schema = Arc::clone(&spec.schema);
    let inputs = Arc::new(std::mem::take(&mut spec.inputs));
    let spec = Arc::new(spec);
    let (sources, operators) = match from {
        Some(snapshot) => (Some((snapshot.epoch, snapshot.sources)), snapshot.operators),
        None => (None, vec![Snapshot::default(); spec.stages.len()]),
    };
    let first = sources.as_ref().map_or(0, |(ended, _)| ended.next().0);
    let gather = Gather { kept: operators.clone(), next: first, waiting: BTreeMap::new(), workers, every_epoch };

    let feed = {
        let (shared, inputs, changes) = (Arc::clone(&shared), Arc::clone(&inputs), changes_to.clone());
        move || run_feeder(&shared, &inputs, &settings, sources, requests, &changes)
    };
    let feeder = thread("aquifer-feeder", feed)?;
    let guards = {
        let shared = Arc::clone(&shared);
        let communication =
            if workers == 1 { CommunicationConfig::Thread } else { CommunicationConfig::Process(workers) };
        let (builders, others) = communication.try_build().map_err(Error::internal)?;
        let config = timely::WorkerConfig::default().idle_spin(Duration::ZERO);
        timely::execute::execute_from(builders, others, config, move |worker| {
            run_worker(worker, &spec, &inputs, first, &operators, &shared, &reports_to);
        })
    };
    let guards = match guards {
        Ok(guards) => guards,
        Err(error) => {
            shared.stop();
            return Err(Error::internal(format!("the workers did not start: {error}")));
        }
    };
    let handle = JobHandle { shared: Arc::clone(&shared), requests: requests_to };
    let supervise = move || {
        gather.run(&shared, &reports, &changes_to);
        for result in guards.join() {
            if let Err(panic) = result {
                shared.fail(Error::internal(format!("a worker panicked: {panic}")));
            }
        }
        shared.stop();
        if let Err(panic) = feeder.join() {
            shared.fail(panicked("feeder", panic.as_ref()));
        }
        if let Some(error) = lock(&shared.failure).take() {
            // Nobody may be listening any more.
            let _ = changes_to.blocking_send(Err(error));
        }
        lock(&shared.noted).clear();
    };
    thread("aquifer-supervisor", supervise)?;
    Ok(RunningJob { schema, changes, counters, handle })
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    let builder = std::thread::Builder::new().name(name.to_string()).stack_size(THREAD_STACK_BYTES);
    builder.spawn(body).map_err(|error| Error::unavailable(format!("starting the thread `{name}`")).with_source(error))
}

/// The feeder's thread: feeds until all input has ended, then waits for the job's end.
fn run_feeder(
    shared: &Arc<Shared>,
    inputs: &Arc<Vec<super::job::InputSpec>>,
    settings: &JobSettings,
    from: Option<(Epoch, SourceMarks)>,
    requests: mpsc::UnboundedReceiver<SnapshotRequest>,
    changes: &mpsc::Sender<Result<ChangeBatch>>,
) {
    // What sources start (connections, reading ahead, decoding) runs there, not on this thread.
    let runtime = match runtimes::sources() {
        Ok(runtime) => runtime,
        Err(error) => return shared.fail(error),
    };
    let mut stopping = shared.stopping.subscribe();
    let tell = async {
        match &shared.passed {
            Some(passed) => passed.tell(inputs).await,
            None => std::future::pending().await,
        }
    };
    let feed = async {
        let feeder = Feeder::open(Arc::clone(inputs), settings, from, Arc::clone(shared), requests).await;
        let fed = match feeder {
            Ok(feeder) => feeder.run().await,
            Err(error) => Err(error),
        };
        match fed {
            Ok(()) => std::future::pending::<()>().await,
            Err(error) => shared.fail(error),
        }
    };
    // A panic of a source must stop the job too, not only end this thread.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            tokio::select! {
                () = feed => {}
                () = tell => {}
                () = changes.closed() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        });
    }));
    if let Err(panic) = outcome {
        shared.fail(panicked("feeder", panic.as_ref()));
    }
    shared.stop();
}

/// Puts the workers' reports together, epoch by epoch.
struct Gather {
    kept: Vec<Snapshot>,
    next: u64,
    waiting: BTreeMap<u64, Vec<Report>>,
    workers: usize,
    every_epoch: Option<mpsc::UnboundedSender<JobSnapshot>>,
}

impl Gather {
    /// Until every worker is gone.
    fn run(
        mut self,
        shared: &Shared,
        reports: &std::sync::mpsc::Receiver<Report>,
        changes: &mpsc::Sender<Result<ChangeBatch>>,
    ) {
        while let Ok(report) = reports.recv() {
            self.waiting.entry(report.epoch).or_default().push(report);
            while self.waiting.get(&self.next).is_some_and(|reports| reports.len() == self.workers) {
                let mut epoch = self.waiting.remove(&self.next).unwrap_or_default();
                epoch.sort_by_key(|report| report.worker);
                self.deliver(epoch, shared, changes);
                self.next += 1;
            }
        }
    }

    fn deliver(&mut self, epoch: Vec<Report>, shared: &Shared, changes: &mpsc::Sender<Result<ChangeBatch>>) {
        let mut snapshot = false;
        for report in epoch {
            for batch in report.changes {
                if !shared.is_stopping() && changes.blocking_send(Ok(batch)).is_err() {
                    shared.stop();
                }
            }
            if let Some(parts) = report.snapshots {
                snapshot = true;
                self.kept.iter_mut().zip(parts).for_each(|(kept, part)| kept.merge(part));
            }
        }
        shared.counters.epochs.fetch_add(1, Ordering::Relaxed);
        // Changes that nobody takes any more are not handed over.
        if let Some(passed) = shared.passed.as_ref().filter(|_| !shared.is_stopping()) {
            passed.hand_over(Epoch(self.next));
        }
        if snapshot && let Some((sources, asked)) = lock(&shared.noted).remove(&self.next) {
            let taken = JobSnapshot { epoch: Epoch(self.next), sources, operators: self.kept.clone() };
            if let Some(every_epoch) = &self.every_epoch {
                let _ = every_epoch.send(taken.clone());
            }
            asked.into_iter().for_each(|asked| drop(asked.send(taken.clone())));
        }
        shared.in_flight.add_permits(1);
    }
}
