//! Batch: DataFusion's own execution over the tiered table provider.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aquifer_model::{Cut, Partition};
use aquifer_storage::reader::{ReadStatistics, TieredTopic, Tiers};
use arrow::datatypes::SchemaRef;

/// A table over topics in both tiers, as one statement reads it: a DataFusion `TableProvider` in batch, a source in streaming.
///
/// Its columns are the table's physical and metadata columns; computed columns are a projection above it.
#[derive(Debug)]
pub struct TieredTable {
    /// The table's full name, for messages.
    pub name: String,
    /// The topics it reads, usually one.
    pub topics: Vec<TieredTopic>,
    /// The columns, with the SQL names and types (`aquifer.type` metadata).
    pub schema: SchemaRef,
    /// For each column the reader's name of it (`aquifer_storage::reader`); types that differ are cast.
    pub reader_columns: Vec<String>,
    /// Where reading starts.
    pub start: StartMode,
    /// Where it stops: one cut a partition, taken over all partitions before the first row is read; `None` reads without an end. A partition that is
    /// not in the map has no rows.
    pub end: Option<BTreeMap<Partition, Cut>>,
    /// Which tiers.
    pub tiers: Tiers,
    /// What its readers did, per partition; readers replace their own figure as they go.
    pub statistics: Arc<Mutex<BTreeMap<Partition, ReadStatistics>>>,
}

/// Where reading a table starts: `scan.startup.mode`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StartMode {
    /// The first row of the archive.
    #[default]
    Earliest,
    /// What comes after the statement started.
    Latest,
    /// These cuts.
    Cuts(BTreeMap<Partition, Cut>),
}
