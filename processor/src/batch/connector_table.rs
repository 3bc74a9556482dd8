//! A connector's source as a table: read to its end in batch, as an input of a job in streaming.
//!
//! Batch sees the rows that stand after the whole changelog: a source that takes rows back is folded first.

use std::collections::HashMap;
use std::sync::Arc;

use aquifer_model::{ChangeBatch, Cut, Error, Result};
use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, RowConverter, SortField};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;

use super::{as_table, external};
use crate::connector::{PartitionId, Polled, Source, Start};
use crate::dataflow::{JobInput, JobSource, SourceBatch};

/// A table that a connector reads.
#[derive(Debug)]
pub struct ConnectorTable {
    /// The table's full name, for messages.
    pub name: String,
    /// Where rows come from.
    pub source: Arc<dyn Source>,
    /// The table's physical columns: the source's, under the SQL names and types.
    pub schema: SchemaRef,
}

impl ConnectorTable {
    /// The same table with these of its columns only, where its source can leave the others unread. A changelog is folded by whole rows.
    pub(crate) fn projected(&self, columns: &[usize]) -> Option<Self> {
        if columns.is_empty() || columns.len() == self.schema.fields().len() || !self.source.is_insert_only() {
            return None;
        }
        let schema = Arc::new(self.schema.project(columns).ok()?);
        Some(Self { name: self.name.clone(), source: self.source.project(columns)?, schema })
    }
}

#[async_trait]
impl TableProvider for ConnectorTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        if !self.source.is_bounded() {
            return Err(external(Error::invalid(format!(
                "the table `{}` has no end, so a batch query over it would have none: bound it by an option of its connector, or SET \
                 'execution.runtime-mode' = 'streaming'",
                self.name
            ))));
        }
        let partitions = self.source.partitions().await.map_err(external)?;
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        // A changelog is one sequence of changes: its partitions are folded together.
        let groups: Vec<Vec<PartitionId>> = match self.source.is_insert_only() {
            true => partitions.into_iter().map(|one| vec![one]).collect(),
            false => vec![partitions],
        };
        // A source that can read fewer columns does.
        let narrow = projection.and_then(|projection| self.projected(projection));
        let (table, projection) = match &narrow {
            Some(narrow) => (narrow, None),
            None => (self, projection),
        };
        let part = |partitions| {
            Arc::new(Part {
                source: Arc::clone(&table.source),
                partitions,
                full: Arc::clone(&table.schema),
                projection: projection.cloned(),
                schema: Arc::clone(&schema),
            }) as Arc<dyn PartitionStream>
        };
        let parts: Vec<_> = groups.into_iter().map(part).collect();
        if parts.is_empty() {
            return Ok(Arc::new(datafusion::physical_plan::empty::EmptyExec::new(schema)));
        }
        Ok(Arc::new(StreamingTableExec::try_new(schema, parts, None, None, false, limit)?))
    }
}

/// Partitions read one after the other.
#[derive(Debug)]
struct Part {
    source: Arc<dyn Source>,
    partitions: Vec<PartitionId>,
    full: SchemaRef,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
}

impl Part {
    fn projected(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let rows = as_table(rows, &self.full)?;
        Ok(match &self.projection {
            Some(columns) => rows.project(columns)?,
            None => rows,
        })
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let part = Self {
            source: Arc::clone(&self.source),
            partitions: self.partitions.clone(),
            full: Arc::clone(&self.full),
            projection: self.projection.clone(),
            schema: Arc::clone(&self.schema),
        };
        if self.source.is_insert_only() {
            let mut waiting = part.partitions.clone();
            waiting.reverse();
            let batches = stream::try_unfold((part, waiting, None), |(part, mut waiting, mut open)| async move {
                loop {
                    let mut reader = match open.take() {
                        Some(reader) => reader,
                        None => match waiting.pop() {
                            Some(next) => part.source.open(&next, Start::Beginning).await.map_err(external)?,
                            None => return Ok(None),
                        },
                    };
                    if let Polled::Changes(changes) = reader.next().await.map_err(external)? {
                        let rows = part.projected(changes.rows()).map_err(external)?;
                        return Ok(Some((rows, (part, waiting, Some(reader)))));
                    }
                }
            });
            return Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches));
        }
        let folded = stream::once(async move {
            let mut fold = Fold::new(&part.full).map_err(external)?;
            for partition in &part.partitions {
                let mut reader = part.source.open(partition, Start::Beginning).await.map_err(external)?;
                while let Polled::Changes(changes) = reader.next().await.map_err(external)? {
                    fold.add(&changes).map_err(external)?;
                }
            }
            part.projected(&fold.finish().map_err(external)?).map_err(external)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), folded))
    }
}

/// The rows that stand after a changelog, in the order in which they came. A row taken back that never came is ignored.
struct Fold {
    schema: SchemaRef,
    rows: RowConverter,
    batches: Vec<RecordBatch>,
    /// Where rows with these values stand, over all batches.
    places: HashMap<OwnedRow, Vec<u32>>,
    count: u32,
    gone: Vec<bool>,
}

impl Fold {
    fn new(schema: &SchemaRef) -> Result<Self> {
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self {
            schema: Arc::clone(schema),
            rows: RowConverter::new(fields)?,
            batches: Vec::new(),
            places: HashMap::new(),
            count: 0,
            gone: Vec::new(),
        })
    }

    fn add(&mut self, changes: &ChangeBatch) -> Result<()> {
        let batch = as_table(changes.rows(), &self.schema)?;
        let keys = self.rows.convert_columns(batch.columns())?;
        for (n, key) in keys.iter().enumerate() {
            let place = self.count;
            self.count = self.count.checked_add(1).ok_or_else(|| {
                Error::unsupported("a changelog of more than four billion rows in one batch query: run it as a stream")
            })?;
            let adds = changes.kind(n).weight() > 0;
            self.gone.push(!adds);
            let places = self.places.entry(key.owned()).or_default();
            if adds {
                places.push(place);
            } else if let Some(taken) = places.pop() {
                self.gone[taken as usize] = true;
            }
        }
        self.batches.push(batch);
        Ok(())
    }

    fn finish(self) -> Result<RecordBatch> {
        let all = concat_batches(&self.schema, &self.batches)?;
        let standing = (0..self.count).filter(|n| !self.gone[*n as usize]).collect::<UInt32Array>();
        if all.num_columns() == 0 {
            let options = RecordBatchOptions::new().with_row_count(Some(standing.len()));
            return Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), vec![], &options)?);
        }
        Ok(take_record_batch(&all, &standing)?)
    }
}

/// A connector's source as the input of a job.
#[derive(Debug)]
pub(crate) struct ConnectorInput {
    source: Arc<dyn Source>,
    schema: SchemaRef,
}

impl ConnectorInput {
    pub(crate) fn new(table: &ConnectorTable) -> Self {
        Self { source: Arc::clone(&table.source), schema: Arc::clone(&table.schema) }
    }
}

#[async_trait]
impl JobInput for ConnectorInput {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn partitions(&self) -> Result<Vec<String>> {
        Ok(self.source.partitions().await?.into_iter().map(|one| one.0).collect())
    }

    async fn open(&self, partition: &str, from: Option<Cut>) -> Result<Box<dyn JobSource>> {
        if from.is_some() {
            return Err(Error::unsupported("a job that reads from a connector cannot be resumed yet: start it again"));
        }
        let reader = self.source.open(&PartitionId(partition.to_string()), Start::Beginning).await?;
        Ok(Box::new(ConnectorSource { reader, schema: Arc::clone(&self.schema) }))
    }
}

struct ConnectorSource {
    reader: Box<dyn crate::connector::Reader>,
    schema: SchemaRef,
}

#[async_trait]
impl JobSource for ConnectorSource {
    async fn next(&mut self) -> Result<Option<SourceBatch>> {
        match self.reader.next().await? {
            Polled::End => Ok(None),
            Polled::Changes(changes) => {
                let rows = as_table(changes.rows(), &self.schema)?;
                Ok(Some(SourceBatch { changes: changes.with_rows(rows)?, cut: Cut::Start, time: None }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aquifer_model::RowKind;
    use arrow::array::{ArrayRef, AsArray, Int32Array, UInt8Array};
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};

    use super::*;

    #[test]
    fn what_stands_after_a_changelog_keeps_the_order_of_arrival() {
        use RowKind::{Delete, Insert, UpdateAfter, UpdateBefore};
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
        let script = [
            (Insert, Some(1)),
            (Insert, None),
            (Delete, Some(9)),
            (Insert, Some(1)),
            (UpdateBefore, Some(1)),
            (UpdateAfter, Some(3)),
            (Insert, Some(9)),
            (Delete, None),
        ];
        for cut in 0..script.len() {
            let mut fold = Fold::new(&schema).expect("a fold");
            for part in [&script[..cut], &script[cut..]] {
                let values: ArrayRef = Arc::new(part.iter().map(|(_, v)| *v).collect::<Int32Array>());
                let rows = RecordBatch::try_new(Arc::clone(&schema), vec![values]).expect("rows");
                let kinds = part.iter().map(|(kind, _)| *kind as u8).collect::<UInt8Array>();
                fold.add(&ChangeBatch::new(rows, kinds).expect("changes")).expect("added");
            }
            let rows = fold.finish().expect("folded");
            let values: Vec<_> = rows.column(0).as_primitive::<Int32Type>().iter().collect();
            assert_eq!(values, [Some(1), Some(3), Some(9)], "cut at {cut}");
        }
    }
}
