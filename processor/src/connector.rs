//! The contracts of sources and sinks, and the registry by which SQL finds them.
//!
//! ```text
//!  'connector' = 'print' ─► ConnectorRegistry ─► Connector ─┬─► Source ─► Reader   rows in, resumable
//!                                                         └─► Sink   ─► Writer   rows out: write* prepare, then commit
//! ```
//!
//! A job's promise is the weakest of its sources' [`Replay`] and its sinks' [`Delivery`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use aquifer_catalog::{ColumnKind, TableDefinition};
use aquifer_model::{ChangeBatch, Epoch, Error, Result, SqlType};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;

pub use aquifer_catalog::Table;

/// What reading again from a stored token gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replay {
    /// Nothing: what was given once is gone.
    Nothing,
    /// At least everything that was not confirmed.
    Unconfirmed,
    /// The same records.
    Same,
}

/// What a sink promises of each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// It may come twice, never not at all.
    AtLeastOnce,
    /// It comes once.
    ExactlyOnce,
}

/// Which changes a sink takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// New rows only.
    Inserts,
    /// Every kind of change.
    Changes,
}

/// One of a source's partitions, by its own name for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub String);

/// Where a reader resumes, in its source's own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeToken(pub Vec<u8>);

/// Where reading a partition starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At its beginning.
    Beginning,
    /// Where a reader stood.
    At(ResumeToken),
}

/// What a reader gives.
#[derive(Debug, Clone)]
pub enum Polled {
    /// Changes, at least one row.
    Changes(ChangeBatch),
    /// There will be no more.
    End,
}

/// A partitioned input.
///
/// # Contract
/// *Caller*: opens a partition from one place at a time. *Implementation*: all methods may be called at the same time; what
/// [`Source::replay`] says holds for every token a reader ever gave.
#[async_trait]
pub trait Source: Send + Sync + Debug {
    /// What reading again from a stored token gives.
    fn replay(&self) -> Replay;
    /// Whether every partition has an end.
    fn is_bounded(&self) -> bool;
    /// Whether every row is new. A changelog (CDC formats) is not.
    fn is_insert_only(&self) -> bool {
        true
    }
    /// The columns of every batch.
    fn schema(&self) -> SchemaRef;
    /// The same source giving only these columns of its schema, in this order, and reading no others where it can: a field that nobody asked for
    /// then cannot be wrong. `None` if it gives all columns or nothing.
    fn project(&self, columns: &[usize]) -> Option<Arc<dyn Source>> {
        let _ = columns;
        None
    }
    /// Its partitions.
    async fn partitions(&self) -> Result<Vec<PartitionId>>;
    /// A reader of one of them.
    async fn open(&self, partition: &PartitionId, from: Start) -> Result<Box<dyn Reader>>;
}

/// One partition being read.
#[async_trait]
pub trait Reader: Send {
    /// Waits for the next batch. Cancel-safe: dropping the future loses nothing.
    async fn next(&mut self) -> Result<Polled>;
    /// Where to open so that the record after the last one given comes next.
    fn resume_at(&self) -> ResumeToken;
    /// Everything before `token` is in a committed checkpoint; the outside may forget it.
    async fn confirm(&mut self, token: &ResumeToken) -> Result<()>;
}

/// One of several writers of a job into one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterId {
    /// The job's own name, the same after a restart of the job.
    pub job: String,
    /// Which of its writers, from 0.
    pub index: u32,
}

/// What a writer has made durable for an epoch and [`Sink::commit`] makes visible, in the sink's own bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prepared(pub Vec<u8>);

/// A place for results: made durable first, visible second.
///
/// # Contract
/// *Caller*: each writer sees `write* prepare`, epoch after epoch; `commit` gets what all writers prepared for one epoch, epochs in
/// order; after a crash it is called again with what the checkpoint kept. *Implementation*: the second commit of an epoch changes
/// nothing. A sink that is [`Delivery::AtLeastOnce`] may make rows visible before the commit.
#[async_trait]
pub trait Sink: Send + Sync + Debug {
    /// What it promises of each row.
    fn delivery(&self) -> Delivery;
    /// Which changes it takes. Whoever plans an insert asks this first.
    fn accepts(&self) -> Accepts;
    /// How long rows may wait for the end of their epoch where nobody else asks for it. A sink whose every epoch costs (a file) says more than nothing.
    fn epoch_age(&self) -> Duration {
        Duration::ZERO
    }
    /// Whether it is one epoch, committed once all rows are there, even if there are none.
    fn is_whole(&self) -> bool {
        false
    }
    /// A writer.
    async fn open(&self, writer: WriterId) -> Result<Box<dyn Writer>>;
    /// Makes an epoch visible.
    async fn commit(&self, epoch: Epoch, prepared: Vec<Prepared>) -> Result<()>;
}

/// One stream of rows into a sink.
#[async_trait]
pub trait Writer: Send {
    /// Takes rows; may hold them back until [`Writer::prepare`]. **Not cancel-safe.**
    async fn write(&mut self, changes: &ChangeBatch) -> Result<()>;
    /// Makes everything taken since the last call durable. **Not cancel-safe.**
    async fn prepare(&mut self, epoch: Epoch) -> Result<Prepared>;
}

/// An outside system that tables can name.
#[async_trait]
pub trait Connector: Send + Sync + Debug {
    /// The value of the option `connector`.
    fn name(&self) -> &'static str;

    /// A sink for rows with this schema ([`crate::sink::writable_columns`], matched by name). Unknown options are `Invalid`.
    fn sink(&self, table: &Table, rows: &SchemaRef) -> Result<Arc<dyn Sink>> {
        let _ = rows;
        Err(Error::unsupported(format!(
            "`{}` cannot be written: the connector `{}` has no sink",
            table.name[2],
            self.name()
        )))
    }

    /// A sink whose rows take the place of those that are there: of all, or in a table with partitions of those of the partitions that get rows. `fixed`
    /// are partition columns with the values that the statement gives them, as texts.
    fn overwriting_sink(
        &self,
        table: &Table,
        rows: &SchemaRef,
        fixed: &[(String, Option<String>)],
    ) -> Result<Arc<dyn Sink>> {
        let _ = (rows, fixed);
        Err(Error::unsupported(format!(
            "`{}` cannot be overwritten: the connector `{}` only adds rows; INSERT INTO does that",
            table.name[2],
            self.name()
        )))
    }

    /// A source that gives the table's physical columns. Unknown options are `Invalid`.
    fn source(&self, table: &Table) -> Result<Arc<dyn Source>> {
        Err(Error::unsupported(format!(
            "`{}` cannot be read: the connector `{}` has no source",
            table.name[2],
            self.name()
        )))
    }

    /// A table over what a path names, where its content tells the columns: `FROM 'day.parquet'`. `None`: this connector reads no paths.
    async fn infer(&self, path: &str) -> Result<Option<TableDefinition>> {
        let _ = path;
        Ok(None)
    }
}

/// The connectors that a process has, by name.
#[derive(Debug, Clone, Default)]
pub struct ConnectorRegistry {
    connectors: BTreeMap<&'static str, Arc<dyn Connector>>,
}

impl ConnectorRegistry {
    /// The registry with one more connector; a later one replaces an earlier one of its name.
    #[must_use]
    pub fn with(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connectors.insert(connector.name(), connector);
        self
    }

    /// The names there are, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        self.connectors.keys().copied().collect()
    }

    /// A connector by name; the error names the nearest.
    pub fn find(&self, name: &str) -> Result<&Arc<dyn Connector>> {
        self.connectors.get(name).ok_or_else(|| {
            let known = self.names().into_iter().chain(["pulsar"]);
            Error::invalid(format!("unknown connector `{name}`: {}", nearest_known(name, known)))
        })
    }

    /// The table that a path in the place of a name means. `None`: no connector here reads paths.
    pub async fn infer(&self, path: &str) -> Result<Option<TableDefinition>> {
        for connector in self.connectors.values() {
            if let Some(definition) = connector.infer(path).await? {
                return Ok(Some(definition));
            }
        }
        Ok(None)
    }

    /// The connector that a table names.
    pub fn of_table(&self, table: &Table) -> Result<&Arc<dyn Connector>> {
        match table.definition.options.get("connector") {
            Some(name) => self.find(name),
            None => Err(Error::invalid(format!("the table `{}` names no connector", table.name[2]))),
        }
    }
}

/// The part of an error that says which of `known` was meant, or what there is.
pub fn nearest_known<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    let near = known
        .iter()
        .map(|one| (strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &one.to_lowercase()), *one))
        .filter(|(score, _)| *score >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are none".to_string(),
        None => format!("there are {}", known.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// The physical columns of a table, in its order: what a source gives.
pub fn physical_columns(table: &Table) -> Result<SchemaRef> {
    let mut fields = Vec::new();
    for column in &table.definition.columns {
        if let ColumnKind::Physical { type_text } = &column.kind {
            let column_type =
                SqlType::parse(type_text).map_err(|error| error.context(format!("the column `{}`", column.name)))?;
            fields.push(column_type.to_field(&column.name));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Fails with `Invalid` on an option that the connector does not know.
pub fn check_options(table: &Table, connector: &str, known: &[&str]) -> Result<()> {
    let unknown = table.definition.options.keys().find(|key| *key != "connector" && !known.contains(&key.as_str()));
    match unknown {
        None => Ok(()),
        Some(key) => Err(Error::invalid(format!(
            "unknown option `{key}` of the connector `{connector}`: {}",
            nearest_known(key, known.iter().copied())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nothing;
    impl Connector for Nothing {
        fn name(&self) -> &'static str {
            "blackhole"
        }
    }

    #[test]
    fn an_unknown_connector_is_refused_with_the_nearest_name() {
        let registry = ConnectorRegistry::default().with(Arc::new(Nothing));
        assert_eq!(registry.find("blackhole").expect("registered").name(), "blackhole");
        let error = registry.find("blackhol").expect_err("not there").to_string();
        assert_eq!(error, "unknown connector `blackhol`: did you mean `blackhole`?");
        let error = registry.find("kafka").expect_err("not there").to_string();
        assert_eq!(error, "unknown connector `kafka`: there are `blackhole`, `pulsar`");
    }
}
