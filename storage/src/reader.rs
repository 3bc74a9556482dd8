//! The unified reader: one ordered stream a partition, the archive up to the border and the log from there on.
//!
//! ```text
//!  archive  ├────────────────┤
//!  log              ├──────────────▶
//!                            ▲ the border: the last position the archive holds
//! ```
//!
//! A position is given out once: the log's reader drops everything up to the border. What is read is a table of columns: message
//! columns (`aquifer_formats::messages::column`, and [`TOPIC`], [`PARTITION`], [`TIER`]) and value columns decoded from payloads.
//! A message without a value is no row here (it is counted). How the hand-over works is told in `docs/reader.md`.

mod archive_tier;
mod blooms;
mod dead_letters;
mod decode_ahead;
mod decoding;
pub(crate) mod error_policy;
mod extent;
mod fetch;
mod gather;
mod handover;
mod layout;
mod linger;
mod log_tier;
mod message_id;
mod narrow;
mod pages;
mod places;
mod ranges;
mod row_groups;
mod stored;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryViewArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;

use aquifer_formats::entry::EntryLimits;
use aquifer_formats::payload::Format;
use aquifer_model::{Cut, ErrorKind, Interval, Partition, Position, Result, TopicIdentity, TopicName};

use self::archive_tier::ArchiveTier;
use self::decoding::Decoding;
use self::fetch::{Fetch, Wanted};
use self::gather::Gather;
use self::layout::Layout;
use self::log_tier::{FromLog, LogScope, LogTier};
use self::stored::EarlierNames;
use crate::archive::ArchiveLocation;
use crate::archive::chain::Chain;
use crate::archive::hostile::PageLimit;
use crate::archive::manifest::DataFile;
use crate::log::{LedgerInfo, Log};

/// Utf8View: the topic's full name.
pub const TOPIC: &str = "__topic";
/// Int32: the partition's number.
pub const PARTITION: &str = "__partition";
/// Utf8View: `log` or `archive`.
pub const TIER: &str = "__tier";

pub use self::extent::Extent;
pub use self::message_id::{MESSAGE_ID, MESSAGE_ID_TEXT};

/// A topic in both tiers, and how its payloads are read.
#[derive(Debug, Clone)]
pub struct TieredTopic {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The archive, where the topic may have one.
    pub archive: Option<ArchiveLocation>,
    /// The topic.
    pub topic: TopicName,
    /// How payloads are written.
    pub format: Format,
    /// All value columns of the table.
    pub value_columns: SchemaRef,
    /// What becomes of a message that does not decode.
    pub on_error: OnDecodeError,
    /// What an entry may cost.
    pub limits: EntryLimits,
}

/// What becomes of a message that does not decode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnDecodeError {
    /// The read fails, naming topic, position and reason.
    #[default]
    Fail,
    /// It is left out and counted.
    Skip,
    /// It is left out, counted, and sent to this topic of the same log, at least once.
    DeadLetter(TopicName),
}

/// Which tiers to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tiers {
    /// The archive to the border, the log from there on.
    #[default]
    Both,
    /// The log alone.
    Log,
    /// The archive alone.
    Archive,
}

/// A tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Parquet.
    Archive,
    /// Entries.
    Log,
}

impl Tier {
    /// As the column [`TIER`] shows it.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Archive => "archive",
            Tier::Log => "log",
        }
    }
}

/// What to read of a topic.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// Names of the columns wanted, in order: message columns (`__…`) and value columns. Where `__null_value` is among them, messages without a value are
    /// rows too, their value columns NULL.
    pub columns: Vec<String>,
    /// Rows to keep, and row groups to leave out.
    pub filter: Option<Arc<dyn ReadFilter>>,
    /// A timestamp column (also one that is not in `columns`) whose maximum over *all* rows passed, also those filtered or pruned, each
    /// batch tells.
    pub time_column: Option<String>,
    /// Which tiers.
    pub tiers: Tiers,
    /// About how many rows a batch has under backlog.
    pub batch_rows: usize,
    /// How many row groups of the archive are decoded side by side, each on a task of its own. With 1 they are decoded where [`PartitionReader::next`] is
    /// called: for whoever reads several stretches side by side already.
    pub decoders: usize,
}

/// A predicate that both tiers can use.
pub trait ReadFilter: Send + Sync + Debug {
    /// The columns that [`ReadFilter::keep`] needs, by name (also ones that are not in the request).
    fn columns(&self) -> Vec<String>;
    /// Which rows to keep; NULL is no. `rows` has exactly [`ReadFilter::columns`], in that order.
    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray>;
    /// Which containers (row groups, files) may hold a row to keep. Must be true where not known.
    fn may_match(&self, statistics: &dyn ContainerStatistics) -> Result<Vec<bool>>;
    /// The only message keys that rows to keep can have; `None`: any. Row groups without them are left out.
    fn message_keys(&self) -> Option<&[Vec<u8>]> {
        None
    }
    /// Rows to keep lie in entries from the first of these to the second, with both.
    fn positions(&self) -> (Position, Position) {
        (Position::new(0, 0), Position::new(u64::MAX, u64::MAX))
    }
    /// Rows to keep have a broker's publish time, and it is this one (milliseconds since 1970) or later; `None`: not known.
    fn broker_published_from(&self) -> Option<i64> {
        None
    }
}

/// Minima and maxima of several containers (row groups), one array element each, NULL where unknown.
pub trait ContainerStatistics {
    /// How many containers.
    fn num_containers(&self) -> usize;
    /// The smallest value of a column in each, with the column's type.
    fn min_values(&self, column: &str) -> Option<ArrayRef>;
    /// The largest.
    fn max_values(&self, column: &str) -> Option<ArrayRef>;
    /// UInt64: how many NULLs.
    fn null_counts(&self, column: &str) -> Option<ArrayRef>;
    /// UInt64: how many rows.
    fn row_counts(&self) -> Option<ArrayRef>;
}

/// Rows of one partition, in log order, that end at an entry's end.
#[derive(Debug, Clone)]
pub struct ReadBatch {
    /// The columns asked for. May have no rows (all filtered).
    pub rows: RecordBatch,
    /// Everything up to here is given: where to resume.
    pub cut: Cut,
    /// Where the rows came from.
    pub tier: Tier,
    /// The maximum of the request's time column over all rows up to this cut since the last batch, in that column's own unit.
    pub time_max: Option<i64>,
}

/// What a reader did, for `EXPLAIN ANALYZE` and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadStatistics {
    /// Rows read from Parquet before filtering, without pruned row groups.
    pub archive_rows: u64,
    /// Rows read from the log before filtering.
    pub log_rows: u64,
    /// Rows in row groups and pages that were left out.
    pub pruned_rows: u64,
    /// Messages that did not decode and were left out.
    pub skipped_messages: u64,
    /// Messages without a value, which are no rows.
    pub null_messages: u64,
    /// Bytes read from files.
    pub archive_bytes: u64,
    /// Bytes of entries read.
    pub log_bytes: u64,
    /// Up to when what was read last had been published, in milliseconds since 1970, while it comes from the archive.
    pub archive_time_ms: Option<i64>,
    /// The same, once it comes from the log.
    pub log_time_ms: Option<i64>,
    /// Whether no more of the log had come by then.
    pub log_at_end: bool,
}

impl ReadStatistics {
    /// Adds what a reader did since it was last asked; `last` is what it said then.
    pub fn add_since(&mut self, last: &ReadStatistics, now: &ReadStatistics) {
        let add = |sum: &mut u64, of: fn(&ReadStatistics) -> u64| *sum += of(now).saturating_sub(of(last));
        add(&mut self.archive_rows, |s| s.archive_rows);
        add(&mut self.log_rows, |s| s.log_rows);
        add(&mut self.pruned_rows, |s| s.pruned_rows);
        add(&mut self.skipped_messages, |s| s.skipped_messages);
        add(&mut self.null_messages, |s| s.null_messages);
        add(&mut self.archive_bytes, |s| s.archive_bytes);
        add(&mut self.log_bytes, |s| s.log_bytes);
        (self.archive_time_ms, self.log_time_ms) = (now.archive_time_ms, now.log_time_ms);
        self.log_at_end = now.log_at_end;
    }
}

impl TieredTopic {
    /// Cuts `(from, to]` where archived files end into at most `most` stretches of about as many rows, none of much less than `least_rows`. Whoever needs
    /// no order reads them side by side; together they give each record once.
    pub async fn stretches(
        &self,
        partition: &Partition,
        (from, to): (Cut, Cut),
        most: usize,
        least_rows: u64,
    ) -> Result<Vec<Interval>> {
        let mut stretches = Vec::new();
        let mut at = from;
        if most > 1
            && let Some((location, identity)) = self.chains().await?
            && let Some(state) = Chain::new(&location, &identity, partition).load().await?
        {
            let inside = |file: &&DataFile| file.covers.to > from && file.covers.to < to;
            let files: Vec<&DataFile> = state.files.iter().filter(inside).collect();
            let share = (files.iter().map(|file| file.rows).sum::<u64>() / most as u64).max(least_rows);
            let mut rows = 0;
            for file in files {
                rows += file.rows;
                if rows >= share && stretches.len() + 1 < most {
                    stretches.push(Interval::new(at, file.covers.to));
                    (at, rows) = (file.covers.to, 0);
                }
            }
        }
        stretches.push(Interval::new(at, to));
        Ok(stretches)
    }

    /// The end of everything that is there now, one cut a partition, taken at once.
    pub async fn end_cuts(&self) -> Result<BTreeMap<Partition, Cut>> {
        let partitions = self.log.partitions(&self.topic).await?;
        let chains = self.chains().await?;
        let ends = partitions.into_iter().map(|partition| {
            let chain = chains.as_ref().map(|(location, identity)| Chain::new(location, identity, &partition));
            async move {
                let last = Cut::from(self.log.last_position(&partition).await?);
                let archived = match chain {
                    Some(chain) => chain.newest().await?.map_or(Cut::Start, |(manifest, _)| manifest.to),
                    None => Cut::Start,
                };
                Ok((partition, last.max(archived)))
            }
        });
        futures::future::try_join_all(ends).await.map(|ends| ends.into_iter().collect())
    }

    /// Reads the entries of `partition` after `from`, up to and with `to` (without: waits at the end of the log). Fails with `Invalid` on
    /// a column that is not there; what is missing or damaged shows when it is read.
    pub async fn open(
        &self,
        partition: &Partition,
        from: Cut,
        to: Option<Cut>,
        request: ReadRequest,
    ) -> Result<PartitionReader> {
        let layout = Layout::new(self, partition, &request)?;
        let chain = match request.tiers {
            Tiers::Log => None,
            Tiers::Both | Tiers::Archive => {
                self.chains().await?.map(|(location, identity)| Chain::new(&location, &identity, partition))
            }
        };
        Ok(PartitionReader {
            decoding: Decoding::new(self, partition, &layout.values),
            topic: self.clone(),
            partition: partition.clone(),
            chain,
            layout,
            batch_rows: request.batch_rows.clamp(1, MAX_BATCH_ROWS),
            request,
            cut: from,
            whole: from == Cut::Start && to.is_some(),
            to,
            resumed: true,
            known: Vec::new(),
            phase: Phase::Plan,
            waiting: None,
            statistics: ReadStatistics::default(),
        })
    }

    /// The archive and the topic's identity in it, where it may have one.
    async fn chains(&self) -> Result<Option<(ArchiveLocation, TopicIdentity)>> {
        let Some(location) = &self.archive else { return Ok(None) };
        match self.log.identity(&self.topic).await {
            Ok(identity) => Ok(Some((location.clone(), identity))),
            // Whoever cannot be told which topic it is reads it all the same where nothing is archived of any.
            Err(error) if error.kind() == ErrorKind::Unavailable => match location.is_empty().await? {
                true => Ok(None),
                false => Err(error.context(format_args!(
                    "whether the archive holds a part of `{}` is not known (the log alone is read with the option 'scan.tiers' = 'log')",
                    self.topic
                ))),
            },
            Err(error) => Err(error),
        }
    }
}

/// The most rows that Parquet decodes at once.
const MAX_BATCH_ROWS: usize = 65_536;

/// One partition being read.
pub struct PartitionReader {
    topic: TieredTopic,
    partition: Partition,
    chain: Option<Chain>,
    layout: Layout,
    decoding: Decoding,
    request: ReadRequest,
    batch_rows: usize,
    /// Everything up to here is given.
    cut: Cut,
    to: Option<Cut>,
    /// Whether it reads all that is there now: what is gone by then is no gap.
    whole: bool,
    /// Whether `cut` is still the caller's.
    resumed: bool,
    /// Ledgers of which the archive's newest manifest tells.
    known: Vec<LedgerInfo>,
    phase: Phase,
    /// What is given once the bad messages that it leaves out are sent.
    waiting: Option<Option<ReadBatch>>,
    statistics: ReadStatistics,
}

/// What a reader is doing.
enum Phase {
    /// Look where the border is now.
    Plan,
    Archive(Box<ArchiveTier>),
    Log(Box<LogTier>),
    End,
}

impl Debug for PartitionReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match self.phase {
            Phase::Plan => "plan",
            Phase::Archive(_) => "archive",
            Phase::Log(_) => "log",
            Phase::End => "end",
        };
        f.debug_struct("PartitionReader")
            .field("partition", &self.partition)
            .field("cut", &self.cut)
            .field("to", &self.to)
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}

impl PartitionReader {
    /// The columns that every batch has.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.layout.schema)
    }

    /// The next batch; waits at the end of the log if there is no stop; `None` once the stop is reached, even if no later message
    /// ever comes. Cancel-safe. After an error it may be called again: it goes on after the last batch given.
    pub async fn next(&mut self) -> Result<Option<ReadBatch>> {
        if self.waiting.is_none() {
            match self.advance().await {
                Ok(batch) if self.decoding.has_letters() => self.waiting = Some(batch),
                Ok(batch) => return Ok(batch),
                Err(error) => {
                    self.phase = Phase::Plan;
                    return Err(error);
                }
            }
        }
        self.decoding.send_letters().await?;
        Ok(self.waiting.take().flatten())
    }

    async fn advance(&mut self) -> Result<Option<ReadBatch>> {
        loop {
            match &mut self.phase {
                Phase::End => return Ok(None),
                Phase::Plan => self.phase = self.plan().await?,
                Phase::Archive(tier) => {
                    match tier.next(&mut self.layout, &mut self.decoding, &mut self.statistics).await? {
                        Some(batch) => return Ok(Some(self.given(batch))),
                        None => {
                            self.cut = self.cut.max(tier.end);
                            self.phase = Phase::Plan;
                        }
                    }
                }
                Phase::Log(tier) => {
                    let scope = LogScope {
                        topic: &self.topic,
                        partition: &self.partition,
                        chain: self.chain.as_ref(),
                        unchecked: self.whole && self.chain.is_none(),
                    };
                    match tier.next(&scope, &mut self.layout, &mut self.decoding, &mut self.statistics).await? {
                        FromLog::Batch(batch) => return Ok(Some(self.given(batch))),
                        FromLog::Archive => self.phase = Phase::Plan,
                        FromLog::End => {
                            self.phase = Phase::End;
                            let Some(to) = self.to.filter(|to| *to > self.cut) else { continue };
                            // Nothing lies between the last entry given and the stop.
                            let rows = RecordBatch::new_empty(self.schema());
                            return Ok(Some(self.given(ReadBatch { rows, cut: to, tier: Tier::Log, time_max: None })));
                        }
                    }
                }
            }
        }
    }

    fn given(&mut self, batch: ReadBatch) -> ReadBatch {
        self.resumed &= batch.cut == self.cut;
        self.cut = batch.cut;
        batch
    }

    /// Where to go on from the cut: in the archive as far as it goes, else in the log.
    async fn plan(&mut self) -> Result<Phase> {
        if self.to.is_some_and(|to| self.cut >= to) {
            return Ok(Phase::End);
        }
        let state = match &self.chain {
            Some(chain) => chain.load().await?,
            None => None,
        };
        if let Some(state) = &state
            && state.end() > self.cut
            && let Some(chain) = self.chain.clone()
        {
            let end = self.to.map_or(state.end(), |to| to.min(state.end()));
            self.known.clone_from(&state.newest.ledgers);
            let earlier = self.earlier_names().await?;
            let wanted = Wanted {
                partition: self.partition.clone(),
                interval: Interval::new(self.cut, end),
                messages: self.layout.messages.clone(),
                letters: matches!(self.topic.on_error, OnDecodeError::DeadLetter(_)),
                values: Arc::clone(&self.layout.values),
                table: Arc::clone(&self.topic.value_columns),
                earlier,
                format: self.topic.format,
                filter: self.layout.filter.as_ref().map(|filter| Arc::clone(&filter.filter)),
                time_column: self.request.time_column.clone(),
                batch_rows: self.batch_rows,
                pages: PageLimit::of_archives(&self.topic.limits),
            };
            let fetch = Fetch::start(&chain, state.files.clone(), wanted);
            let gather = Gather::new(self.schema(), self.batch_rows, self.cut);
            return Ok(Phase::Archive(Box::new(ArchiveTier::new(fetch, self.request.decoders, gather, end))));
        }
        if self.request.tiers == Tiers::Archive {
            return Ok(Phase::End);
        }
        let scope = LogScope {
            topic: &self.topic,
            partition: &self.partition,
            chain: self.chain.as_ref(),
            unchecked: self.whole && self.chain.is_none(),
        };
        let known = self.known.clone();
        let (cut, to, resumed) = (self.cut, self.to, self.resumed);
        let tier = LogTier::open(&scope, cut, to, resumed, known, self.batch_rows, &self.layout).await?;
        Ok(Phase::Log(Box::new(tier)))
    }

    /// What the table's columns were called before. Only schemas in Avro say so.
    async fn earlier_names(&mut self) -> Result<EarlierNames> {
        if !matches!(self.topic.format, Format::Avro | Format::KeyValue) {
            return Ok(EarlierNames::new());
        }
        self.decoding.prepare(&BinaryViewArray::from_iter_values::<[u8; 0], _>([])).await?;
        let columns = self.topic.value_columns.fields().iter().map(|field| field.name());
        let earlier = columns.map(|name| (name.clone(), self.decoding.earlier_names(name).to_vec()));
        Ok(earlier.filter(|(_, names)| !names.is_empty()).collect())
    }

    /// Gives the read a stop, or another one: what was given already stays given.
    pub fn stop_at(&mut self, to: Cut) {
        self.to = Some(to);
        self.phase = Phase::Plan;
    }

    /// What it did so far.
    pub fn statistics(&self) -> ReadStatistics {
        self.statistics
    }
}

#[cfg(test)]
mod tests;
