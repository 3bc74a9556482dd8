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
//! A message without a value is no row here (it is counted).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;

use aquifer_formats::entry::EntryLimits;
use aquifer_formats::payload::Format;
use aquifer_model::{Cut, Partition, Result, TopicName};

use crate::archive::ArchiveLocation;
use crate::log::Log;

/// Utf8View: the topic's full name.
pub const TOPIC: &str = "__topic";
/// Int32: the partition's number.
pub const PARTITION: &str = "__partition";
/// Utf8View: `log` or `archive`.
pub const TIER: &str = "__tier";

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDecodeError {
    /// The read fails, naming topic, position and reason.
    #[default]
    Fail,
    /// It is left out and counted.
    Skip,
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

/// What to read of a topic.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// Names of the columns wanted, in order: message columns (`__…`) and value columns.
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
}

/// A predicate that both tiers can use.
pub trait ReadFilter: Send + Sync + Debug {
    /// The columns that [`ReadFilter::keep`] needs, by name (also ones that are not in the request).
    fn columns(&self) -> Vec<String>;
    /// Which rows to keep; NULL is no. `rows` has exactly [`ReadFilter::columns`], in that order.
    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray>;
    /// Which containers (row groups, files) may hold a row to keep. Must be true where not known.
    fn may_match(&self, statistics: &dyn ContainerStatistics) -> Result<Vec<bool>>;
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
    /// Rows in row groups that were left out.
    pub pruned_rows: u64,
    /// Messages that did not decode and were left out.
    pub skipped_messages: u64,
    /// Messages without a value, which are no rows.
    pub null_messages: u64,
    /// Bytes read from files.
    pub archive_bytes: u64,
    /// Bytes of entries read.
    pub log_bytes: u64,
}

impl TieredTopic {
    /// The end of everything that is there now, one cut a partition, taken at once.
    pub async fn end_cuts(&self) -> Result<BTreeMap<Partition, Cut>> {
        todo!()
    }

    /// How many rows (messages) each partition has in each tier, where known without reading: (archive, log entries).
    pub async fn open(
        &self,
        _partition: &Partition,
        _from: Cut,
        _to: Option<Cut>,
        _request: ReadRequest,
    ) -> Result<PartitionReader> {
        todo!()
    }
}

/// One partition being read.
#[derive(Debug)]
pub struct PartitionReader {}

impl PartitionReader {
    /// The columns that every batch has.
    pub fn schema(&self) -> SchemaRef {
        todo!()
    }

    /// The next batch; waits at the end of the log if there is no stop; `None` once the stop is reached, even if no later message
    /// ever comes. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<ReadBatch>> {
        todo!()
    }

    /// What it did so far.
    pub fn statistics(&self) -> ReadStatistics {
        todo!()
    }
}
