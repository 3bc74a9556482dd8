//! Reads a partition's log: entries to rows, a seam checked wherever one ledger gives way to the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aquifer_formats::messages::{MessageBatch, MessageBatchBuilder, column, message_schema};
use aquifer_model::{Cut, Error, ErrorKind, Interval, Partition, Position, Result};
use arrow::array::AsArray;
use arrow::buffer::BooleanBuffer;
use arrow::compute::max;
use arrow::datatypes::{TimestampMillisecondType, UInt64Type};
use tokio::time::Instant;

use super::dead_letters::{BadMessage, OF_LETTERS};
use super::decoding::Decoding;
use super::handover::{Seam, SeamFacts, Stall, decide_seam, decide_stall, follows};
use super::layout::{Chunk, Layout};
use super::linger::Linger;
use super::{OnDecodeError, ReadBatch, ReadStatistics, Tier, TieredTopic};
use crate::archive::chain::Chain;
use crate::log::{Entry, EntryReader, LedgerInfo};

/// Bytes of entries asked for at once.
const READ_BYTES: usize = 2 << 20;
/// Inflated payload bytes after which a batch ends.
const BATCH_BYTES: usize = 8 << 20;
/// How long a bounded read waits before it asks whether its stop can still come; doubled up to the second.
const STALL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How long an unbounded read waits before it asks whether it fell behind trimming; doubled up to the second.
const IDLE: (Duration, Duration) = if cfg!(test) {
    (Duration::from_millis(50), Duration::from_millis(200))
} else {
    (Duration::from_secs(1), Duration::from_secs(60))
};

/// How long an unbounded read waits, after all tries of its log's own, before it asks a log again that is away.
const AWAY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// What the log gave.
pub(super) enum FromLog {
    /// Rows.
    Batch(ReadBatch),
    /// The next stretch must come from the archive.
    Archive,
    /// Nothing more lies before the stop.
    End,
}

/// Entries taken apart, not yet decoded.
struct Split {
    messages: MessageBatch,
    /// Everything up to here is in it.
    cut: Cut,
}

/// The log of a partition being read.
pub(super) struct LogTier {
    reader: Box<dyn EntryReader>,
    queue: VecDeque<Entry>,
    builder: MessageBatchBuilder,
    split: Option<Split>,
    /// Up to here entries are split.
    at: Cut,
    stop: Option<Cut>,
    /// Ledgers that were kept at some time since the read began.
    known: Vec<LedgerInfo>,
    /// Whether `at` is still the cut that the caller gave.
    resumed: bool,
    /// The ledger up to which seams are checked.
    joined: Option<u64>,
    patience: Duration,
    /// How often an unbounded read found the log away since it last gave something.
    tries: u32,
    linger: Linger,
    batch_rows: usize,
}

/// What the tier needs of its reader.
pub(super) struct LogScope<'a> {
    pub topic: &'a TieredTopic,
    pub partition: &'a Partition,
    /// The archive to return to.
    pub chain: Option<&'a Chain>,
    /// Whether it may go on where nobody can be asked for the ledgers.
    pub unchecked: bool,
}

impl LogScope<'_> {
    async fn archive_end(&self) -> Result<(Cut, Vec<LedgerInfo>)> {
        match self.chain {
            Some(chain) => Ok(chain.newest().await?.map_or((Cut::Start, Vec::new()), |(m, _)| (m.to, m.ledgers))),
            None => Ok((Cut::Start, Vec::new())),
        }
    }

    /// The ledgers kept now; `None` where the right to ask is missing, or nobody to ask is there and that may be borne.
    async fn ledgers(&self) -> Result<Option<Vec<LedgerInfo>>> {
        match self.topic.log.ledgers(self.partition).await {
            Ok(ledgers) => Ok(Some(ledgers)),
            Err(error)
                if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported)
                    || error.kind() == ErrorKind::Unavailable && self.unchecked =>
            {
                tracing::warn!(partition = %self.partition, %error, "the log's continuity is not checked");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn gone(&self, interval: Interval) -> Error {
        Error::gone(format!(
            "entries {interval} of `{}` are gone from the log and {}: start the read later (from `latest`, or at a position that is still kept), or restore them",
            self.partition,
            if self.chain.is_some() { "not in the archive" } else { "there is no archive to read them from" },
        ))
    }
}

impl LogTier {
    /// Reads after `after`. `known`: ledgers that were kept earlier; `resumed`: the cut is the caller's own.
    pub async fn open(
        scope: &LogScope<'_>,
        after: Cut,
        stop: Option<Cut>,
        resumed: bool,
        mut known: Vec<LedgerInfo>,
        batch_rows: usize,
        layout: &Layout,
    ) -> Result<Self> {
        let sends_letters = matches!(scope.topic.on_error, OnDecodeError::DeadLetter(_));
        let is_wanted = |name: &str| layout.reads(name) || (sends_letters && OF_LETTERS.contains(&name));
        merge(&mut known, &scope.ledgers().await?.unwrap_or_default());
        let reader = scope.topic.log.open_reader(scope.partition, after).await?;
        Ok(Self {
            reader,
            queue: VecDeque::new(),
            builder: MessageBatchBuilder::new(scope.topic.limits).only(is_wanted),
            split: None,
            at: after,
            stop,
            known,
            resumed,
            joined: None,
            patience: STALL.0,
            tries: 0,
            linger: Linger::default(),
            batch_rows,
        })
    }

    /// The next batch. Cancel-safe. A read without a stop outlasts a log that is away: it goes on when that is back.
    pub async fn next(
        &mut self,
        scope: &LogScope<'_>,
        layout: &mut Layout,
        decoding: &mut Decoding,
        statistics: &mut ReadStatistics,
    ) -> Result<FromLog> {
        loop {
            match self.try_next(scope, layout, decoding, statistics).await {
                Err(error) if self.stop.is_none() && error.kind() == ErrorKind::Unavailable => {
                    self.tries += 1;
                    // At once, then ever less often.
                    if self.tries.is_power_of_two() {
                        tracing::error!(partition = %scope.partition, "{error}; reading goes on when it is back");
                    }
                    tokio::time::sleep(AWAY).await;
                }
                given => {
                    self.tries = 0;
                    return given;
                }
            }
        }
    }

    async fn try_next(
        &mut self,
        scope: &LogScope<'_>,
        layout: &mut Layout,
        decoding: &mut Decoding,
        statistics: &mut ReadStatistics,
    ) -> Result<FromLog> {
        loop {
            if let Some(split) = &self.split {
                decoding.prepare(versions_of(&split.messages)?).await?;
                let Some(Split { messages, cut }) = self.split.take() else { continue };
                return Ok(FromLog::Batch(self.batch(&messages, cut, layout, decoding, statistics)?));
            }
            if self.stop.is_some_and(|stop| self.at >= stop) {
                return Ok(FromLog::End);
            }
            let Some(first) = self.queue.front().map(|entry| entry.position) else {
                if let Some(ended) = self.fill(scope, decoding).await? {
                    return Ok(ended);
                }
                continue;
            };
            if self.at.covers(first) {
                self.queue.pop_front();
                continue;
            }
            if self.joined != Some(first.ledger)
                && let Seam::Archive = self.join(scope, first).await?
            {
                return Ok(FromLog::Archive);
            }
            self.split_entries(decoding, statistics)?;
        }
    }

    /// Waits for entries. With a stop, it also notices that none will come.
    async fn fill(&mut self, scope: &LogScope<'_>, decoding: &mut Decoding) -> Result<Option<FromLog>> {
        if let Some(left) = self.linger.left(Instant::now()) {
            tokio::time::sleep(left).await;
        }
        let Some(stop) = self.stop else {
            if let Ok(entries) = tokio::time::timeout(self.patience.max(IDLE.0), self.reader.next(READ_BYTES)).await {
                self.take_in(entries?);
                self.patience = IDLE.0;
                return Ok(None);
            }
            self.release(decoding);
            self.patience = (self.patience.max(IDLE.0) * 2).min(IDLE.1);
            return self.look_behind(scope).await;
        };
        if let Ok(entries) = tokio::time::timeout(self.patience, self.reader.next(READ_BYTES)).await {
            self.take_in(entries?);
            self.patience = STALL.0;
            return Ok(None);
        }
        self.release(decoding);
        self.patience = (self.patience * 2).min(STALL.1);
        let last = scope.topic.log.last_position(scope.partition).await?;
        let ledgers = scope.ledgers().await?.unwrap_or_default();
        let (archive_end, _) = scope.archive_end().await?;
        match decide_stall(self.at, stop, last, &ledgers, archive_end) {
            Stall::Wait => Ok(None),
            Stall::Archive => Ok(Some(FromLog::Archive)),
            Stall::End => {
                self.at = stop;
                Ok(Some(FromLog::End))
            }
            Stall::Gone => Err(scope.gone(Interval::new(self.at, stop))),
        }
    }

    /// Lets go of what is kept for the next batch.
    fn release(&mut self, decoding: &mut Decoding) {
        self.builder.release();
        decoding.release();
    }

    fn take_in(&mut self, entries: Vec<Entry>) {
        self.linger.taken(self.reader.trickles(), Instant::now());
        self.queue.extend(entries);
    }

    /// Nothing came for a while: was what comes next trimmed before it was read?
    async fn look_behind(&mut self, scope: &LogScope<'_>) -> Result<Option<FromLog>> {
        let now = scope.ledgers().await?;
        let (archive_end, archived) = scope.archive_end().await?;
        merge(&mut self.known, &archived);
        merge(&mut self.known, now.as_deref().unwrap_or_default());
        let first = Position::new(u64::MAX, 0);
        match self.seam(first, now.as_deref(), archive_end) {
            Seam::Joined => Ok(None),
            Seam::Archive => Ok(Some(FromLog::Archive)),
            Seam::Gone => {
                let kept = now.iter().flatten().map(|ledger| ledger.id).min();
                let last = Position::new(kept.unwrap_or(u64::MAX).saturating_sub(1), u64::MAX);
                Err(scope.gone(Interval::new(self.at, Cut::After(last))))
            }
        }
    }

    /// What stands between the cut and `first`, by the ledgers kept `now` and where the archive ends.
    fn seam(&self, first: Position, now: Option<&[LedgerInfo]>, archive_end: Cut) -> Seam {
        let (cut, known, resumed) = (self.at, self.known.as_slice(), self.resumed);
        decide_seam(SeamFacts { cut, first, now, known, archive_end, resumed })
    }

    /// Checks that nothing is missing before `first`, the first entry of its ledger that is given.
    async fn join(&mut self, scope: &LogScope<'_>, first: Position) -> Result<Seam> {
        let now = scope.ledgers().await?;
        if !follows(self.at, first, now.as_deref()) {
            let (archive_end, archived) = scope.archive_end().await?;
            merge(&mut self.known, &archived);
            match self.seam(first, now.as_deref(), archive_end) {
                Seam::Joined => {}
                Seam::Archive => return Ok(Seam::Archive),
                Seam::Gone => {
                    let before = match first.entry.checked_sub(1) {
                        Some(entry) => Position::new(first.ledger, entry),
                        None => Position::new(first.ledger.saturating_sub(1), u64::MAX),
                    };
                    return Err(scope.gone(Interval::new(self.at, Cut::After(before))));
                }
            }
        }
        merge(&mut self.known, &now.unwrap_or_default());
        self.known.retain(|ledger| self.at.position().is_none_or(|at| ledger.id >= at.ledger));
        self.joined = Some(first.ledger);
        Ok(Seam::Joined)
    }

    /// Takes queued entries of one ledger apart until a batch is full, the stop is seen or the queue is empty.
    fn split_entries(&mut self, decoding: &mut Decoding, statistics: &mut ReadStatistics) -> Result<()> {
        let mut at = self.at;
        let mut counts = *statistics;
        while self.builder.num_rows() < self.batch_rows && self.builder.payload_bytes() < BATCH_BYTES {
            let Some(entry) = self.queue.front() else { break };
            let position = entry.position;
            if let Some(stop) = self.stop
                && !stop.covers(position)
            {
                at = stop;
                break;
            }
            if Some(position.ledger) != self.joined {
                break;
            }
            counts.log_bytes += entry.bytes.len() as u64;
            if let Err(error) = self.builder.append_entry(position, &entry.bytes) {
                decoding.bad_entry(position, &entry.bytes, error, &mut counts)?;
            }
            at = Cut::After(position);
            self.queue.pop_front();
        }
        if self.builder.num_rows() >= self.batch_rows || self.builder.payload_bytes() >= BATCH_BYTES {
            self.linger.backlog();
        }
        *statistics = counts;
        self.at = at;
        self.resumed = false;
        self.split = Some(Split { messages: self.builder.finish(), cut: at });
        Ok(())
    }

    fn batch(
        &mut self,
        messages: &MessageBatch,
        cut: Cut,
        layout: &mut Layout,
        decoding: &mut Decoding,
        statistics: &mut ReadStatistics,
    ) -> Result<ReadBatch> {
        let rows = messages.rows();
        let count = rows.num_rows();
        if count == 0 {
            let rows = arrow::array::RecordBatch::new_empty(Arc::clone(&layout.schema));
            return Ok(ReadBatch { rows, cut, tier: Tier::Log, time_max: None });
        }
        let column_of = |name: &str| {
            rows.column_by_name(name).ok_or_else(|| Error::internal(format!("messages have no column `{name}`")))
        };
        let keys = column_of(column::KEY)?.as_binary_view();
        let decoded = decoding.decode(messages.payloads(), keys, versions_of(messages)?)?;
        let nothing = column_of(column::NULL_VALUE)?.as_boolean();
        let nulls = if layout.keeps_nulls { 0 } else { nothing.true_count() };
        statistics.null_messages += nulls as u64;
        let mut alive = (nulls > 0).then(|| !nothing.values());
        if !decoded.errors.is_empty() {
            let ledgers = column_of(column::LEDGER)?.as_primitive::<UInt64Type>();
            let entries = column_of(column::ENTRY)?.as_primitive::<UInt64Type>();
            let mut live: Vec<bool> = alive.map_or_else(|| vec![true; count], |alive| alive.iter().collect());
            for error in &decoded.errors {
                let row = error.row;
                let position = Position::new(ledgers.value(row), entries.value(row));
                let payload = messages.payloads().value(row);
                let bad = BadMessage::of_row(rows, row, position, payload, &error.reason);
                decoding.bad_message(bad, statistics)?;
                live[row] = false;
            }
            alive = Some(BooleanBuffer::from(live));
        }
        statistics.log_rows += (count - nulls) as u64;
        statistics.log_at_end = self.queue.is_empty();
        (statistics.archive_time_ms, statistics.log_time_ms) =
            (None, max(column_of(column::PUBLISH_TIME)?.as_primitive::<TimestampMillisecondType>()));
        let chunk = Chunk {
            tier: Tier::Log,
            rows: count,
            messages: rows.columns().iter().cloned().map(Some).collect(),
            values: decoded.rows.columns().to_vec(),
            alive,
        };
        let keep = layout.keep(&chunk)?;
        let (rows, time_max) = layout.piece(&chunk, keep.as_ref(), 0, count)?;
        Ok(ReadBatch { rows, cut, tier: Tier::Log, time_max })
    }
}

fn versions_of(messages: &MessageBatch) -> Result<&arrow::array::BinaryViewArray> {
    let found = messages.rows().column_by_name(column::SCHEMA_VERSION).and_then(|c| c.as_binary_view_opt());
    found.ok_or_else(|| Error::internal(format!("messages have {} columns", message_schema().fields().len())))
}

/// Takes newer facts of ledgers over.
fn merge(known: &mut Vec<LedgerInfo>, newer: &[LedgerInfo]) {
    for ledger in newer {
        match known.iter_mut().find(|old| old.id == ledger.id) {
            Some(old) => {
                old.entries = old.entries.max(ledger.entries);
                old.closed |= ledger.closed;
            }
            None => known.push(ledger.clone()),
        }
    }
}
