//! Rows into a table: what `INSERT INTO` writes through.
//!
//! ```text
//!  ChangeBatch … ─► TableWriter ─► Writer (a topic's, or a connector's) ─► prepare, commit at each epoch's end
//! ```
//!
//! Into a topic each row is a message: the physical columns are its payload, the metadata columns `event_time`, `key`, `ordering_key` and `properties`
//! stand around it. A topic takes new rows only; a query that updates its results is refused when it is planned.

mod message;
pub mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aquifer_catalog::{ColumnKind, MetadataKey, Table, catalogs::Target};
use aquifer_model::{ChangeBatch, Epoch, Error, Result, SqlType};
use arrow::datatypes::{Schema, SchemaRef};
use tokio::sync::mpsc;

use crate::connector::{Accepts, ConnectorRegistry, Delivery, Sink, Writer, WriterId};
use topic::TopicSink;

/// The columns that `INSERT INTO` can fill, in the table's order: the physical ones, and the metadata columns that are not VIRTUAL. Fails with `Invalid` on
/// a metadata column that the log alone sets and that is not declared VIRTUAL.
pub fn writable_columns(table: &Table) -> Result<SchemaRef> {
    let mut fields = Vec::new();
    for column in &table.definition.columns {
        match &column.kind {
            ColumnKind::Physical { type_text } => fields.push(SqlType::parse(type_text)?.to_field(&column.name)),
            ColumnKind::Metadata { is_virtual: true, .. } | ColumnKind::Computed { .. } => {}
            ColumnKind::Metadata { type_text, key, is_virtual: false } => match key {
                MetadataKey::EventTime | MetadataKey::Key | MetadataKey::OrderingKey | MetadataKey::Properties => {
                    fields.push(SqlType::parse(type_text)?.to_field(&column.name));
                }
                _ => {
                    return Err(Error::invalid(format!(
                        "the metadata column `{}` of `{}` cannot be written, the log sets `{key}`: declare it as METADATA … VIRTUAL",
                        column.name, table.name[2]
                    )));
                }
            },
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The sink of a table, for rows with this schema: columns of [`writable_columns`], found by name; what is left out is NULL. `updating` says whether the
/// query takes rows back; a sink that cannot do that is refused here.
pub async fn open_sink(
    table: &Table,
    rows: &SchemaRef,
    updating: bool,
    connectors: &ConnectorRegistry,
) -> Result<Arc<dyn Sink>> {
    let sink: Arc<dyn Sink> = match &table.target {
        Target::Topics(topics) => match topics.as_slice() {
            [topic] => Arc::new(TopicSink::open(topic.clone(), &table.definition, rows).await?),
            several => {
                return Err(Error::unsupported(format!(
                    "`{}` reads {} topics: INSERT needs a table over one topic",
                    table.name[2],
                    several.len()
                )));
            }
        },
        Target::Pattern(_) => {
            return Err(Error::unsupported(format!(
                "`{}` reads all topics of a pattern: INSERT needs a table over one topic",
                table.name[2]
            )));
        }
        Target::Connector => connectors.of_table(table)?.sink(table, rows)?,
        Target::Rows(_) => {
            return Err(Error::invalid(format!("`{}` is a table about tables: it can only be read", table.name[2])));
        }
    };
    if updating && sink.accepts() == Accepts::Inserts {
        return Err(Error::unsupported(format!(
            "`{}` takes new rows only, and this query changes rows that it gave before: group by a window (TUMBLE), or run it with \
             SET 'execution.runtime-mode' = 'batch'",
            table.name[2]
        )));
    }
    Ok(sink)
}

/// The sink of `INSERT OVERWRITE`: its rows take the place of those that are there. `fixed` are partition columns with the values that the statement gives
/// them. Fails with `Unsupported` on a topic, and on connectors that cannot do that.
pub fn overwriting_sink(
    table: &Table,
    rows: &SchemaRef,
    fixed: &[(String, Option<String>)],
    connectors: &ConnectorRegistry,
) -> Result<Arc<dyn Sink>> {
    match &table.target {
        Target::Topics(_) | Target::Pattern(_) => Err(Error::unsupported(format!(
            "`{}` cannot be overwritten: a topic is a log, its records are never replaced; INSERT INTO adds to it",
            table.name[2]
        ))),
        Target::Connector => connectors.of_table(table)?.overwriting_sink(table, rows, fixed),
        Target::Rows(_) => {
            Err(Error::invalid(format!("`{}` is a table about tables: it can only be read", table.name[2])))
        }
    }
}

/// Writes one query's rows into one table. Dropping it loses what no epoch's end has made durable.
pub struct TableWriter {
    sink: Arc<dyn Sink>,
    writer: Box<dyn Writer>,
    epoch: Epoch,
    pending: bool,
    /// When the first row of the epoch came.
    began: Option<Instant>,
    rows: u64,
    /// Whether nothing is committed before all rows are there.
    whole: bool,
}

impl TableWriter {
    /// See [`open_sink`]. Opens what is needed to write at once, so that a broker that is not there is noticed before the query runs.
    pub async fn open(table: &Table, rows: &SchemaRef, updating: bool, connectors: &ConnectorRegistry) -> Result<Self> {
        Self::over(open_sink(table, rows, updating, connectors).await?).await
    }

    /// A writer into a sink.
    pub async fn over(sink: Arc<dyn Sink>) -> Result<Self> {
        let writer = sink.open(WriterId { job: job_name(), index: 0 }).await?;
        let whole = sink.is_whole();
        Ok(Self { sink, writer, epoch: Epoch::default(), pending: whole, began: None, rows: 0, whole })
    }

    /// The same, where the rows have an end: into a sink that has them once, they are seen when all of them are there, or none.
    #[must_use]
    pub fn of_bounded_rows(mut self) -> Self {
        self.whole |= self.sink.delivery() == Delivery::ExactlyOnce;
        self
    }

    /// What the table promises of each row.
    pub fn delivery(&self) -> Delivery {
        self.sink.delivery()
    }

    /// Takes rows. **Not cancel-safe.**
    pub async fn write(&mut self, changes: &ChangeBatch) -> Result<()> {
        if changes.num_rows() > 0 {
            self.pending = true;
            self.began.get_or_insert_with(Instant::now);
            self.writer.write(changes).await?;
            self.rows += changes.num_rows() as u64;
        }
        Ok(())
    }

    /// Makes everything taken so far durable and visible. **Not cancel-safe.**
    pub async fn end_epoch(&mut self) -> Result<()> {
        if std::mem::take(&mut self.pending) {
            self.began = None;
            let prepared = self.writer.prepare(self.epoch).await?;
            self.sink.commit(self.epoch, vec![prepared]).await?;
            self.epoch = self.epoch.next();
        }
        Ok(())
    }

    /// Writes everything that comes, ending an epoch whenever nothing waits (or once it is as old as the sink wants it), and gives the number of rows.
    /// What came before an error is durable, unless nothing is to be seen before the end.
    pub async fn write_all(mut self, mut changes: mpsc::Receiver<Result<ChangeBatch>>) -> Result<u64> {
        if self.whole {
            while let Some(batch) = changes.recv().await {
                self.write(&batch?).await?;
            }
            self.end_epoch().await?;
            return Ok(self.rows);
        }
        loop {
            let next = match changes.try_recv() {
                Ok(next) => Some(next),
                Err(_) => match until_due(self.began, self.sink.epoch_age(), &mut changes).await {
                    Some(next) => next,
                    None => {
                        self.end_epoch().await?;
                        changes.recv().await
                    }
                },
            };
            match next {
                Some(Ok(batch)) => {
                    self.write(&batch).await?;
                    let age = self.sink.epoch_age();
                    if !age.is_zero() && self.began.is_some_and(|began| began.elapsed() >= age) {
                        self.end_epoch().await?;
                    }
                }
                Some(Err(error)) => {
                    self.end_epoch().await?;
                    return Err(error);
                }
                None => {
                    self.end_epoch().await?;
                    return Ok(self.rows);
                }
            }
        }
    }
}

/// Waits for what comes next, until the epoch is due; `None` then, and if nothing was written since the last one.
async fn until_due(
    began: Option<Instant>,
    age: Duration,
    changes: &mut mpsc::Receiver<Result<ChangeBatch>>,
) -> Option<Option<Result<ChangeBatch>>> {
    let began = began.filter(|_| !age.is_zero())?;
    tokio::time::timeout_at((began + age).into(), changes.recv()).await.ok()
}

/// A name that no other run has: a run that starts over writes its rows again, and the log must not take them for repeats.
fn job_name() -> String {
    static RUN: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("aquifer-{:x}-{:x}-{}", nanos, std::process::id(), RUN.fetch_add(1, Ordering::Relaxed))
}
