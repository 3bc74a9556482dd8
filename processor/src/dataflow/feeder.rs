//! The feeder: polls all partitions, computes their watermarks, closes epochs, and hands each worker its batches.
//!
//! An epoch ends for all partitions together: at so many rows, after so long, or as soon as nothing is waiting; an empty one only where something else
//! changed (a partition became idle or ended, a snapshot is asked for). Of the partitions that have a batch ready the one with the lowest watermark goes
//! first, so history is not later than it was live; where inputs are aligned, one that is too far ahead of its group waits although it is ready. A partition
//! always goes to the same worker, so its order is kept.
//!
//! A stop by event time ends a partition whose watermark is there. That one has come so far tells that the others, which may be empty or quiet, need not be
//! waited for beyond what is there by then: their input is told so.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aquifer_catalog::options::Emit;
use aquifer_model::{ChangeBatch, Cut, Epoch, Error, Result, Watermark};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, new_null_array};
use arrow::compute::{and_not, is_null, max};
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::ROW_WATERMARK;
use super::alignment::Groups;
use super::job::{InputSpec, JobSnapshot, PartitionMark, SourceMarks, WatermarkSpec};
use super::operator::{EpochEnd, PortEnd};
use super::runtime::Shared;
use super::source::{JobInput, JobSource, SourceBatch};
use super::watermarks::Watermarks;
use super::worker::ToWorker;
use crate::operators::stateless::{Stateless, evaluate};
use crate::operators::window_assign::milliseconds;
use crate::streaming::JobSettings;

/// When an epoch ends.
#[derive(Debug, Clone, Copy)]
struct EpochClock {
    rows: usize,
    interval: Duration,
}

impl EpochClock {
    /// Whether an epoch with so many rows, open for so long, is to end although more is waiting.
    fn is_full(&self, rows: usize, open_for: Duration) -> bool {
        rows >= self.rows || (rows > 0 && open_for >= self.interval)
    }
}

/// So long a partition must be quiet to be left out of a stop by event time that another has reached, where no idle timeout says it.
const QUIET: Duration = Duration::from_secs(1);

type Next = (usize, Box<dyn JobSource>, Result<Polled>);

/// What a partition answers.
enum Polled {
    Batch(SourceBatch),
    End,
    /// It is no longer there.
    Gone,
}
/// Who asks for a snapshot.
pub(crate) type SnapshotRequest = oneshot::Sender<JobSnapshot>;

/// One partition of one input.
struct PartitionFeed {
    input: usize,
    name: String,
    cut: Option<Cut>,
    ready: Option<(Box<dyn JobSource>, SourceBatch)>,
    /// It is no longer there: nothing comes from it, and it may be made again under its name.
    gone: bool,
}

/// What holds for all partitions of an input.
#[derive(Debug, Clone, Copy)]
struct InputTimes {
    /// After this long without a row a partition is idle; zero: never.
    idle_timeout: Duration,
    /// A watermark follows after so many rows; `None`: where an epoch ends.
    per_rows: Option<u64>,
}

impl InputTimes {
    fn of(spec: &InputSpec, settings: &JobSettings) -> Self {
        let per_rows = match spec.times.emit {
            Some(Emit::Rows(gap)) => Some(gap.max(1)),
            Some(Emit::Periodic) => None,
            None => settings.watermark_per_row.then_some(1),
        };
        Self { idle_timeout: spec.times.idle_timeout.unwrap_or(settings.idle_timeout), per_rows }
    }
}

pub(crate) struct Feeder {
    inputs: Arc<Vec<InputSpec>>,
    times: Vec<InputTimes>,
    groups: Groups,
    partitions: Vec<PartitionFeed>,
    pending: FuturesUnordered<Pin<Box<dyn Future<Output = Next> + Send>>>,
    watermarks: Watermarks,
    clock: EpochClock,
    started: Instant,
    epoch: Epoch,
    shared: Arc<Shared>,
    requests: mpsc::UnboundedReceiver<SnapshotRequest>,
    requests_open: bool,
    /// The partitions that an input has by now.
    listings: mpsc::Receiver<(usize, Vec<String>)>,
    /// A partition ended, or became idle, or somebody asked: the epoch is worth ending although it may have no rows.
    changed: bool,
    asked: Vec<SnapshotRequest>,
}

impl Feeder {
    /// Opens all partitions, at their start or where `from` left them.
    pub(crate) async fn open(
        inputs: Arc<Vec<InputSpec>>,
        settings: &JobSettings,
        from: Option<(Epoch, SourceMarks)>,
        shared: Arc<Shared>,
        requests: mpsc::UnboundedReceiver<SnapshotRequest>,
    ) -> Result<Self> {
        let (epoch, marks) = match from {
            Some((ended, marks)) => (ended.next(), marks),
            None => (Epoch(0), SourceMarks::default()),
        };
        let mut partitions = vec![];
        let mut found: Vec<Option<PartitionMark>> = vec![];
        let pending = FuturesUnordered::new();
        for (input, spec) in inputs.iter().enumerate() {
            for name in spec.input.partitions().await? {
                let mark = marks.partitions.get(&(input, name.clone())).copied();
                let index = partitions.len();
                if !mark.is_some_and(|mark| mark.ended) {
                    let source = spec.input.open(&name, mark.and_then(|mark| mark.cut)).await?;
                    pending.push(poll_source(index, source, Arc::clone(&spec.input), name.clone()));
                }
                found.push(mark);
                partitions.push(PartitionFeed {
                    input,
                    name,
                    cut: mark.and_then(|mark| mark.cut),
                    ready: None,
                    gone: false,
                });
            }
        }
        let times: Vec<InputTimes> = inputs.iter().map(|spec| InputTimes::of(spec, settings)).collect();
        let groups = Groups::new(inputs.iter().map(|spec| spec.times.alignment.as_ref()));
        let mut watermarks = Watermarks::new(partitions.iter().map(|feed| times[feed.input].idle_timeout));
        watermarks.restore(marks.watermark);
        for (time, mark) in watermarks.partitions.iter_mut().zip(&found) {
            if let Some(mark) = mark {
                (time.watermark, time.idle, time.ended) = (mark.watermark, mark.idle, mark.ended);
            }
        }
        let (listings_to, listings) = mpsc::channel(1);
        for (input, spec) in inputs.iter().enumerate() {
            if let Some(interval) = spec.input.discovery() {
                tokio::spawn(look_for_partitions(input, Arc::clone(&spec.input), interval, listings_to.clone()));
            }
        }
        let clock = EpochClock { rows: settings.epoch_rows.max(1), interval: settings.epoch_interval };
        let (started, requests_open, asked) = (Instant::now(), true, vec![]);
        let changed = watermarks.all_ended();
        let feeder = Self {
            inputs,
            times,
            groups,
            partitions,
            pending,
            watermarks,
            clock,
            started,
            epoch,
            shared,
            requests,
            requests_open,
            listings,
            changed,
            asked,
        };
        (0..feeder.inputs.len()).for_each(|input| feeder.tell_of_stop(input));
        Ok(feeder)
    }

    /// Tells an input from when on its quiet partitions need not be waited for: now, if its stop by event time is reached; else, if a timeout says what quiet
    /// is, once the clock is there.
    fn tell_of_stop(&self, input: usize) {
        let spec = &self.inputs[input];
        let Some(stop) = spec.input.stop_watermark() else { return };
        let timeout = self.times[input].idle_timeout;
        let times = self.partitions.iter().zip(&self.watermarks.partitions);
        let is_reached = times.filter(|(feed, _)| feed.input == input).any(|(_, time)| time.watermark >= stop);
        match (is_reached, timeout.is_zero()) {
            (true, true) => spec.input.end_quiet_partitions(i64::MIN, QUIET),
            (true, false) => spec.input.end_quiet_partitions(i64::MIN, timeout),
            (false, false) => spec.input.end_quiet_partitions(stop.0, timeout),
            (false, true) => {}
        }
    }

    /// Feeds the workers until all partitions have ended.
    pub(crate) async fn run(mut self) -> Result<()> {
        loop {
            let permit =
                self.shared.in_flight.acquire().await.map_err(|_| Error::internal("the epochs' gate is shut"))?;
            permit.forget();
            self.collect().await?;
            self.close();
            if self.watermarks.all_ended() {
                break;
            }
            // Whoever else lives on this thread (a connection, a file being read) goes on.
            tokio::task::yield_now().await;
        }
        self.shared.to_workers(|_| ToWorker::Finish);
        Ok(())
    }

    /// Takes what belongs into one epoch and hands it to the workers.
    async fn collect(&mut self) -> Result<()> {
        let (mut rows, mut opened) = (0, None);
        let mut yielded = false;
        loop {
            self.settle_ready().await?;
            if let Some(partition) = self.lowest_ready() {
                rows += self.take(partition)?;
                let opened = opened.get_or_insert_with(Instant::now);
                if self.clock.is_full(rows, opened.elapsed()) {
                    return Ok(());
                }
                yielded = false;
                continue;
            }
            if !yielded {
                yielded = true;
                tokio::task::yield_now().await;
                continue;
            }
            if self.watermarks.find_idle(self.started.elapsed(), |p| self.partitions[p].ready.is_some()) {
                self.changed = true;
            }
            if rows > 0 || self.changed {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    /// Waits until something happens.
    async fn wait(&mut self) -> Result<()> {
        let is_busy = |partition: usize| self.partitions[partition].ready.is_some();
        let deadline = self.watermarks.idle_deadline(is_busy).map(|since| self.started + since);
        let idle = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(next) = self.pending.next() => self.settle(next),
            () = idle => Ok(()),
            Some((input, names)) = self.listings.recv() => self.add_partitions(input, names).await,
            request = self.requests.recv(), if self.requests_open => {
                match request {
                    Some(request) => {
                        self.asked.push(request);
                        self.changed = true;
                    }
                    None => self.requests_open = false,
                }
                Ok(())
            }
        }
    }

    /// Opens the partitions that are not read yet.
    async fn add_partitions(&mut self, input: usize, names: Vec<String>) -> Result<()> {
        for name in names {
            if self.partitions.iter().any(|feed| feed.input == input && feed.name == name && !feed.gone) {
                continue;
            }
            let of = Arc::clone(&self.inputs[input].input);
            let source = match of.open(&name, None).await {
                Ok(source) => source,
                // Listed, and deleted since, or kept in the list though it went long ago.
                Err(_) if of.is_gone(&name).await => continue,
                Err(error) => return Err(error),
            };
            tracing::info!(partition = name, "a partition was found and is read from its start");
            self.pending.push(poll_source(self.partitions.len(), source, of, name.clone()));
            self.partitions.push(PartitionFeed { input, name, cut: None, ready: None, gone: false });
            self.watermarks.add(self.started.elapsed(), self.times[input].idle_timeout);
        }
        Ok(())
    }

    /// Takes every answer that is there already.
    async fn settle_ready(&mut self) -> Result<()> {
        while let Ok((input, names)) = self.listings.try_recv() {
            self.add_partitions(input, names).await?;
        }
        while let Ok(request) = self.requests.try_recv() {
            self.asked.push(request);
            self.changed = true;
        }
        loop {
            let next = poll_fn(|context| match self.pending.poll_next_unpin(context) {
                Poll::Ready(next) => Poll::Ready(next),
                Poll::Pending => Poll::Ready(None),
            });
            match next.await {
                Some(next) => self.settle(next)?,
                None => return Ok(()),
            }
        }
    }

    fn settle(&mut self, (partition, source, next): Next) -> Result<()> {
        let feed = &mut self.partitions[partition];
        match next.map_err(|error| error.context(format!("reading partition `{}`", feed.name)))? {
            Polled::Batch(batch) => feed.ready = Some((source, batch)),
            Polled::End => {
                self.watermarks.end(partition);
                self.changed = true;
            }
            Polled::Gone => {
                tracing::warn!(partition = feed.name, "a partition is no longer there; the others are read on");
                feed.gone = true;
                if let Some(passed) = &self.shared.passed {
                    passed.forget(&(feed.input, feed.name.clone()));
                }
                // Idle, not ended: where all are gone the job waits for those that come.
                self.watermarks.partitions[partition].idle = true;
                self.changed = true;
            }
        }
        Ok(())
    }

    fn lowest_ready(&self) -> Option<usize> {
        let times = || self.partitions.iter().zip(&self.watermarks.partitions);
        let slowest = self.groups.slowest(times().map(|(feed, time)| (feed.input, time)));
        let ready = times().enumerate().filter(|(_, (feed, time))| {
            feed.ready.is_some() && !self.groups.waits(feed.input, time.watermark, &slowest)
        });
        ready.min_by_key(|(_, (_, time))| time.watermark).map(|(index, _)| index)
    }

    /// Puts a partition's batch into the epoch; gives its number of rows.
    fn take(&mut self, partition: usize) -> Result<usize> {
        let feed = &mut self.partitions[partition];
        let Some((source, SourceBatch { changes, cut, time })) = feed.ready.take() else { return Ok(0) };
        feed.cut = Some(cut);
        let input = feed.input;
        let rows = changes.num_rows();
        let before = self.watermarks.partitions[partition].watermark;
        if rows > 0 {
            self.take_rows(partition, input, changes)?;
        }
        if let Some(time) = time {
            self.take_time(partition, input, time)?;
        }
        let reached = self.watermarks.partitions[partition].watermark;
        if self.inputs[input].input.stop_watermark().is_some_and(|stop| reached >= stop) {
            self.watermarks.end(partition);
            self.changed = true;
            self.tell_of_stop(input);
        } else {
            let feed = &self.partitions[partition];
            let of = Arc::clone(&self.inputs[input].input);
            self.pending.push(poll_source(partition, source, of, feed.name.clone()));
        }
        // Rows that were left out may have moved the watermark, and were passed: that is worth telling too.
        self.changed |= rows == 0 && (reached > before || self.inputs[input].input.notes_passed());
        Ok(rows)
    }

    /// Takes in the largest time of rows that a source has passed.
    fn take_time(&mut self, partition: usize, input: usize, time: ArrayRef) -> Result<()> {
        self.watermarks.row(partition, self.started.elapsed());
        let Some(WatermarkSpec { time_column: (_, column), expression, .. }) = &self.inputs[input].watermark else {
            return Ok(());
        };
        // The watermark speaks of no other column.
        let schema = self.inputs[input].input.schema();
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let row = fields.iter().enumerate().map(|(index, field)| {
            if index == *column { Arc::clone(&time) } else { new_null_array(field.data_type(), 1) }
        });
        let row = RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), row.collect())?;
        if let Some(highest) = max(&milliseconds(&evaluate(expression, &row)?)?) {
            self.watermarks.advance(partition, Watermark(highest));
        }
        Ok(())
    }

    /// Computes what a batch says of time, and hands it to its worker.
    fn take_rows(&mut self, partition: usize, input: usize, changes: ChangeBatch) -> Result<()> {
        let spec = &self.inputs[input];
        self.watermarks.row(partition, self.started.elapsed());
        let mut changes = spec.before_watermark.run(changes)?;
        let says = match &spec.watermark {
            Some(watermark) => {
                let (name, column) = &watermark.time_column;
                if has_timeless_row(&changes, *column, watermark.timeless, &spec.run.leading_filters())? {
                    let topic = &self.partitions[partition].name;
                    return Err(Error::invalid(format!(
                        "the event time `{name}` is NULL in a row of `{topic}`: leave such rows out, or compute the column so that it never is"
                    )));
                }
                Some(watermark).filter(|_| !spec.input.tells_time())
            }
            None => None,
        };
        let per_rows = self.times[input].per_rows.filter(|_| spec.row_watermark);
        let before = match (says, per_rows) {
            (Some(watermark), Some(gap)) => {
                let says = milliseconds(&evaluate(&watermark.expression, changes.rows())?)?;
                self.watermarks.per_row(partition, gap, says.iter())
            }
            (says, _) => {
                let before = self.watermarks.combined().0;
                if let Some(watermark) = says
                    && let Some(highest) = watermark.highest(changes.rows())?
                {
                    self.watermarks.advance(partition, Watermark(highest));
                }
                vec![before; if spec.row_watermark { changes.num_rows() } else { 0 }]
            }
        };
        if spec.row_watermark {
            changes = with_row_watermark(&changes, before)?;
        }
        self.shared.to_worker(partition, ToWorker::Batch(self.epoch, input, changes));
        Ok(())
    }

    /// Ends the epoch on all workers.
    fn close(&mut self) {
        let watermark = self.watermarks.combine();
        self.shared.counters.watermark.set(watermark);
        let ended = self.watermarks.all_ended();
        let idle = self.watermarks.partitions.iter().all(|partition| partition.idle || partition.ended);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = EpochEnd {
            epoch: self.epoch,
            watermark,
            ports: vec![PortEnd { watermark, idle, ended }],
            processing_time_ms: now.as_millis() as i64,
        };
        if let Some(passed) = &self.shared.passed {
            let cuts = self.partitions.iter().filter(|feed| !feed.gone && self.inputs[feed.input].input.notes_passed());
            let cuts = cuts.filter_map(|feed| Some(((feed.input, feed.name.clone()), feed.cut?)));
            passed.close(self.epoch, cuts.collect());
        }
        let snapshot = self.shared.snapshot_every_epoch || !self.asked.is_empty();
        if snapshot {
            self.shared.note_sources(self.epoch, self.marks(watermark), std::mem::take(&mut self.asked));
        }
        let end = Arc::new(end);
        self.shared.to_workers(|_| ToWorker::End(Arc::clone(&end), snapshot));
        self.epoch = self.epoch.next();
        self.changed = false;
    }

    fn marks(&self, watermark: Watermark) -> SourceMarks {
        let there = self.partitions.iter().zip(&self.watermarks.partitions).filter(|(feed, _)| !feed.gone);
        let partitions = there.map(|(feed, time)| {
            let mark = PartitionMark { cut: feed.cut, watermark: time.watermark, idle: time.idle, ended: time.ended };
            ((feed.input, feed.name.clone()), mark)
        });
        SourceMarks { watermark, partitions: partitions.collect::<BTreeMap<_, _>>() }
    }
}

fn poll_source(
    partition: usize,
    mut source: Box<dyn JobSource>,
    of: Arc<dyn JobInput>,
    name: String,
) -> Pin<Box<dyn Future<Output = Next> + Send>> {
    Box::pin(async move {
        let next = match source.next().await {
            Ok(Some(batch)) => Ok(Polled::Batch(batch)),
            Ok(None) => Ok(Polled::End),
            Err(_) if of.is_gone(&name).await => Ok(Polled::Gone),
            Err(error) => Err(error),
        };
        (partition, source, next)
    })
}

/// Lists an input's partitions now and then, until nobody takes the lists.
async fn look_for_partitions(
    input: usize,
    of: Arc<dyn JobInput>,
    interval: Duration,
    to: mpsc::Sender<(usize, Vec<String>)>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = to.closed() => return,
        }
        match of.partitions().await {
            Ok(names) => {
                if to.send((input, names)).await.is_err() {
                    return;
                }
            }
            // What is read already goes on; the next look may succeed.
            Err(error) => tracing::warn!("looking for new partitions: {error}"),
        }
    }
}

/// Whether a row without a time is there that needs one, and that the filters right behind the watermark would keep.
fn has_timeless_row(changes: &ChangeBatch, column: usize, allowed: Option<usize>, filters: &Stateless) -> Result<bool> {
    let times = changes.rows().column(column);
    if times.null_count() == 0 {
        return Ok(false);
    }
    let mut timeless = is_null(times)?;
    if let Some(allowed) = allowed.and_then(|allowed| changes.rows().column(allowed).as_boolean_opt()) {
        timeless = and_not(&timeless, allowed)?;
    }
    let timeless = changes.filter(&timeless)?;
    Ok(filters.run(timeless)?.num_rows() > 0)
}

fn with_row_watermark(changes: &ChangeBatch, before: Vec<i64>) -> Result<ChangeBatch> {
    let rows = changes.rows();
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(ROW_WATERMARK, DataType::Int64, false)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(before)));
    changes.with_rows(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_full_at_either_limit_but_never_without_rows() {
        let clock = EpochClock { rows: 10, interval: Duration::from_secs(1) };
        let cases = [(9, 0, false), (10, 0, true), (1, 1, true), (0, 5, false)];
        for (rows, seconds, full) in cases {
            assert_eq!(clock.is_full(rows, Duration::from_secs(seconds)), full, "{rows} rows, {seconds} s");
        }
    }
}
