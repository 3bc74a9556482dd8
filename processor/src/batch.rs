//! Batch: DataFusion's own execution over the tiered table provider.
//!
//! ```text
//!  LogicalPlan ─► DataFusion ─► StreamingTableExec, a stream a partition ─► storage's unified reader, columns and filters pushed into both tiers
//! ```

mod bounds;
mod connector_table;
pub(crate) mod filter;

pub(crate) use connector_table::ConnectorInput;
pub use connector_table::ConnectorTable;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aquifer_catalog::options::WatermarkSettings;
use aquifer_catalog::topic_pattern::PatternTopics;
use aquifer_formats::messages::message_schema;
use aquifer_model::{Cut, Error, Interval, Partition, Result, Watermark};
use aquifer_storage::reader::{PartitionReader, ReadFilter, ReadRequest, ReadStatistics, TieredTopic, Tiers};
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::DataFusionError;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;

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
    /// What else ends a partition, whatever is reached first; only a stream can wait for it.
    pub until: Option<Until>,
    /// How a stream over it tells time.
    pub watermarks: WatermarkSettings,
    /// Which tiers.
    pub tiers: Tiers,
    /// The pin that a stream without an end holds on each partition, so that nothing is trimmed before it was read.
    pub pin: Option<String>,
    /// How a stream finds topics and partitions that come later; `None`: it does not.
    pub discovery: Option<Discovery>,
    /// What its readers did, per partition; readers add to it as they go.
    pub statistics: Arc<Mutex<BTreeMap<Partition, ReadStatistics>>>,
}

/// Looking for topics and partitions while a stream runs.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// From one look to the next.
    pub interval: Duration,
    /// Topics come too, those whose names match.
    pub pattern: Option<Arc<PatternTopics>>,
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

/// What ends a partition that is read as it grows; one of them at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Until {
    /// This time, in milliseconds since 1970, has come, and what was published before it is given.
    pub publish_time_ms: Option<i64>,
    /// The partition's own watermark has reached this; or another partition's has, and this one has given what was there then and stays quiet.
    pub watermark: Option<Watermark>,
}

/// Fewer archived rows than about this are not worth a reader of their own.
const STRETCH_ROWS: u64 = 500_000;
/// Rows in a batch from the reader.
const BATCH_ROWS: usize = 8192;

impl TieredTable {
    /// The sum over its partitions of what was read.
    pub fn read_so_far(&self) -> ReadStatistics {
        let mut sum = ReadStatistics::default();
        for one in self.statistics.lock().unwrap_or_else(PoisonError::into_inner).values() {
            sum.archive_rows += one.archive_rows;
            sum.log_rows += one.log_rows;
            sum.pruned_rows += one.pruned_rows;
            sum.skipped_messages += one.skipped_messages;
            sum.null_messages += one.null_messages;
            sum.archive_bytes += one.archive_bytes;
            sum.log_bytes += one.log_bytes;
        }
        sum
    }

    /// What was read of each partition.
    pub fn read_by_partition(&self) -> Vec<ReadStatistics> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    /// Whether a filter on the table's column can be asked of the reader's: it has the column's type, or is the key shown as text, or tells a row's place.
    pub(crate) fn takes_filters_on(&self, column: &str) -> bool {
        let Ok(index) = self.schema.index_of(column) else { return false };
        let name = &self.reader_columns[index];
        let of_payload = self.topics.iter().all(|topic| {
            topic
                .value_columns
                .field_with_name(name)
                .is_ok_and(|f| f.data_type() == self.schema.field(index).data_type())
        });
        let of_message =
            message_schema().field_with_name(name).is_ok_and(|f| f.data_type() == self.schema.field(index).data_type());
        let shown = self.schema.field(index);
        of_payload || of_message || filter::is_key_as_text(name, shown) || filter::is_place(name, shown)
    }
}

#[async_trait]
impl TableProvider for TieredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::common::Result<Vec<TableProviderFilterPushDown>> {
        let exact = |filter: &&Expr| {
            !filter.is_volatile() && filter.column_refs().iter().all(|column| self.takes_filters_on(&column.name))
        };
        Ok(filters
            .iter()
            .map(
                |f| {
                    if exact(f) { TableProviderFilterPushDown::Exact } else { TableProviderFilterPushDown::Unsupported }
                },
            )
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let schema = Arc::new(self.schema.project(projection)?);
        let filter = filter::pushed(self, state, filters)?;
        let columns: Vec<String> = projection.iter().map(|n| self.reader_columns[*n].clone()).collect();
        let Some(end) = &self.end else {
            return Err(external(Error::internal(format!("`{}` is read in batch without an end", self.name))));
        };
        // A batch is filled before it is given: with a limit and nothing to filter no more is decoded than that.
        let batch_rows = match limit {
            Some(limit) if filter.is_none() => limit.clamp(1, BATCH_ROWS),
            _ => BATCH_ROWS,
        };
        let mut parts = Vec::new();
        for (partition, to) in end {
            let Some(topic) = self.topics.iter().find(|topic| topic.topic == partition.topic) else { continue };
            let from = match &self.start {
                StartMode::Earliest => Cut::Start,
                StartMode::Latest => *to,
                StartMode::Cuts(cuts) => cuts.get(partition).copied().unwrap_or_default(),
            };
            let wanted = Interval::new(from, *to);
            let part = match &filter {
                Some(filter) => {
                    topic.narrowed(partition, wanted, self.tiers, filter.as_ref()).await.map_err(external)?
                }
                None => Some((wanted, self.tiers)),
            };
            parts.extend(part.map(|(interval, tiers)| (topic, partition, interval, tiers)));
        }
        // Batch needs no order: a large archive is read in several stretches side by side.
        let most = match limit {
            Some(_) => 1,
            None => state.config().target_partitions().div_ceil(parts.len().max(1)),
        };
        let mut stretches = Vec::new();
        for (topic, partition, Interval { from, to }, tiers) in parts {
            let most = if tiers == Tiers::Log { 1 } else { most };
            let found = topic.stretches(partition, (from, to), most, STRETCH_ROWS).await.map_err(external)?;
            stretches.extend(found.into_iter().map(|stretch| (topic, partition, stretch, tiers)));
        }
        // What is too small to be read side by side has row groups that can be decoded so.
        let decoders = if limit.is_some() { 1 } else { state.config().target_partitions() / stretches.len().max(1) };
        let streams: Vec<Arc<dyn PartitionStream>> = stretches
            .into_iter()
            .map(|(topic, partition, Interval { from, to }, tiers)| {
                Arc::new(PartitionScan {
                    topic: topic.clone(),
                    partition: partition.clone(),
                    from,
                    to,
                    columns: columns.clone(),
                    filter: filter.clone(),
                    tiers,
                    batch_rows,
                    decoders,
                    schema: Arc::clone(&schema),
                    statistics: Arc::clone(&self.statistics),
                }) as Arc<dyn PartitionStream>
            })
            .collect();
        if streams.is_empty() {
            return Ok(Arc::new(datafusion::physical_plan::empty::EmptyExec::new(schema)));
        }
        Ok(Arc::new(StreamingTableExec::try_new(schema, streams, None, None, false, limit)?))
    }
}

/// One partition as a stream of batches.
#[derive(Debug)]
struct PartitionScan {
    topic: TieredTopic,
    partition: Partition,
    from: Cut,
    to: Cut,
    columns: Vec<String>,
    filter: Option<Arc<dyn ReadFilter>>,
    tiers: Tiers,
    batch_rows: usize,
    decoders: usize,
    schema: SchemaRef,
    statistics: Arc<Mutex<BTreeMap<Partition, ReadStatistics>>>,
}

impl PartitionStream for PartitionScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let request = ReadRequest {
            columns: self.columns.clone(),
            filter: self.filter.clone(),
            time_column: None,
            tiers: self.tiers,
            batch_rows: self.batch_rows,
            decoders: self.decoders,
        };
        let (topic, partition, from, to) = (self.topic.clone(), self.partition.clone(), self.from, self.to);
        let (schema, statistics) = (Arc::clone(&self.schema), Arc::clone(&self.statistics));
        let start = Scan::Closed(Box::new((topic, request, from, to)));
        let batches = stream::try_unfold(
            (start, partition, schema, statistics, ReadStatistics::default()),
            |(scan, partition, schema, statistics, said)| async move {
                let mut reader = match scan {
                    Scan::Open(reader) => reader,
                    Scan::Closed(parts) => {
                        let (topic, request, from, to) = *parts;
                        Box::new(topic.open(&partition, from, Some(to), request).await.map_err(external)?)
                    }
                };
                let next = reader.next().await.map_err(external)?;
                let now = reader.statistics();
                let mut sums = statistics.lock().unwrap_or_else(PoisonError::into_inner);
                sums.entry(partition.clone()).or_default().add_since(&said, &now);
                drop(sums);
                let Some(batch) = next else { return Ok(None) };
                let rows = as_table(&batch.rows, &schema).map_err(external)?;
                Ok::<_, DataFusionError>(Some((rows, (Scan::Open(reader), partition, schema, statistics, now))))
            },
        );
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

enum Scan {
    Closed(Box<(TieredTopic, ReadRequest, Cut, Cut)>),
    Open(Box<PartitionReader>),
}

/// The column of messages' keys, where rows are replaced by their key.
pub(crate) const UPSERT_KEY: &str = "__upsert_key";

/// The reader's columns under the table's names and types.
pub(crate) fn as_table(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if field.name() == UPSERT_KEY && column.null_count() > 0 {
            return Err(Error::invalid(
                "a message has no key, and a table of `upsert-pulsar` takes changes by their key: read its topic as it is, WITH ('connector' = 'pulsar')",
            ));
        }
        if column.data_type() == field.data_type() {
            Ok(Arc::clone(column))
        } else {
            Ok(cast(column, field.data_type())?)
        }
    });
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<Vec<_>>>()?, &options)?)
}

/// An error of ours on its way through DataFusion.
pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// An error of DataFusion's as ours: ours again if it was, else its words without its prefixes.
pub(crate) fn from_datafusion(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::internal(other.to_string()),
        },
        DataFusionError::Context(_, inner) => from_datafusion(*inner),
        DataFusionError::Diagnostic(_, inner) => from_datafusion(*inner),
        DataFusionError::Shared(inner) => from_shared(&inner),
        // Of several things that are wrong the first.
        DataFusionError::Collection(all) if !all.is_empty() => {
            all.into_iter().next().map_or_else(|| Error::internal("an error without a cause"), from_datafusion)
        }
        DataFusionError::ArrowError(inner, _) => Error::invalid(inner.to_string()),
        DataFusionError::NotImplemented(text) => Error::unsupported(text),
        DataFusionError::Plan(text) | DataFusionError::Execution(text) => Error::invalid(own_words(text)),
        DataFusionError::SchemaError(inner, _) => Error::invalid(inner.to_string()),
        other => Error::internal(other.strip_backtrace()),
    }
}

/// What a function of ours says of its arguments, without DataFusion's words around it.
fn own_words(text: String) -> String {
    let Some((_, rest)) = text.split_once("user-defined coercion failed with: ") else { return text };
    let Some((ours, _)) = rest.split_once(". No function matches") else { return text };
    let before = ["External error: ", "Error during planning: ", "Execution error: "];
    before.iter().find_map(|before| ours.strip_prefix(before)).unwrap_or(ours).to_string()
}

fn from_shared(error: &DataFusionError) -> Error {
    if let DataFusionError::External(inner) = error
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return Error::new(ours.kind(), ours.to_string());
    }
    Error::invalid(error.strip_backtrace())
}
