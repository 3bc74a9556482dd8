//! The SQL front end: Flink's dialect, from text to outcome.
//!
//! ```text
//!  text ─► tokens ─► statements (ours) ─┬─► define, alter, like   the catalogs' definitions
//!                │                     ├─► show, describe        what there is
//!                │                     └─► insert, explain ─┐
//!                └► queries and expressions by sqlparser ───┴► binder ─► logical plan ─► batch or streaming
//! ```
//!
//! `SessionContext::sql` is never used, nothing is rewritten as text, and every parsed field that nobody consumes is refused.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use aquifer_catalog::{Catalog, Catalogs, Table, ViewDefinition};
use aquifer_model::{ChangeBatch, Error, Result, SqlType};
use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::prelude::SessionConfig;
use futures::FutureExt;
use tokio::sync::mpsc;

use self::binder::{Bound, Lookup};
use self::settings::Settings;
use self::statement::{Insert, SelectQuery, Statement};
use self::temporary::{Temporary, TemporaryObjects};
use self::text::Source;
use crate::connector::ConnectorRegistry;
use crate::streaming::JobSettings;

/// The catalog that a session begins in.
const DEFAULT_CATALOG: &str = "default_catalog";

/// One user's session: current catalog and database, settings, temporary objects.
#[derive(Debug, Clone)]
pub struct Session {
    catalogs: Arc<Catalogs>,
    connectors: Arc<ConnectorRegistry>,
    catalog: String,
    database: Option<String>,
    settings: Settings,
    temporary: TemporaryObjects,
    /// The inserts of a statement set that has begun and not ended.
    set: Option<Vec<Insert>>,
}

/// What a statement gives.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing to show.
    Done,
    /// Rows at once: `SHOW`, `DESCRIBE`, `EXPLAIN`.
    Listing(RecordBatch),
    /// Rows as they come: `SELECT`.
    Query(Running),
    /// A running `INSERT`; its changes channel ends when it ends and carries no rows, only an error.
    Insert(Running),
}

/// A statement that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    /// The columns.
    pub schema: SchemaRef,
    /// Whether it runs as a stream.
    pub streaming: bool,
    /// Whether it ends by itself.
    pub bounded: bool,
    /// The rows.
    pub changes: mpsc::Receiver<Result<ChangeBatch>>,
    /// What it did; final once `changes` ended.
    pub report: Arc<dyn Report>,
}

/// What a running statement can say of itself.
pub trait Report: std::fmt::Debug + Send + Sync {
    /// One line: rows read per tier, late rows, skipped messages. Empty parts are left out.
    fn line(&self) -> String;
    /// How far it is: the watermark, and for each tier that is being read how long ago its newest row was published. Empty where nothing is to be said.
    fn reached(&self) -> String;
    /// (row, window) pairs that came too late.
    fn late_rows(&self) -> u64;
    /// Messages that did not decode and were left out.
    fn skipped_messages(&self) -> u64;
    /// Rows and bytes read so far from the topics of the statement, both tiers.
    fn read(&self) -> (u64, u64);
}

/// One statement of a script and what is to be told about it.
#[derive(Debug)]
pub struct Executed {
    /// What it gave.
    pub outcome: Outcome,
    /// Notices for the user, one a line, in order: options without meaning here, what an insert promises, how to get an answer that ends.
    pub notices: Vec<String>,
}

impl Session {
    /// A session over these catalogs, in `default_catalog`.`default_database`, streaming. Files that statements name are relative to `_working_dir`.
    pub fn new(catalogs: Arc<Catalogs>, _working_dir: PathBuf) -> Self {
        Self {
            catalogs,
            connectors: Arc::default(),
            catalog: DEFAULT_CATALOG.to_string(),
            database: None,
            settings: Settings::default(),
            temporary: TemporaryObjects::default(),
            set: None,
        }
    }

    /// With these connectors for tables that name one (`connector` option); none are known else.
    pub fn with_connectors(mut self, connectors: Arc<ConnectorRegistry>) -> Self {
        self.connectors = connectors;
        self
    }

    /// Cuts a script into statements, in the user's own text, each with the line its first token stands on (from 1). Fails on text that no token fits.
    pub fn split(script: &str) -> Result<Vec<(usize, String)>> {
        text::split(script)
    }

    /// Whether a text that is being typed can run: its last statement has its `;`. A literal, name or comment that is still open does not.
    pub fn is_complete(text: &str) -> bool {
        text::is_complete(text)
    }

    /// A setting's value; empty for keys that are not known.
    pub fn setting(&self, key: &str) -> &str {
        self.settings.get(key)
    }

    /// Whether the user has set a setting in this session.
    pub fn has_set(&self, key: &str) -> bool {
        self.settings.is_set(key)
    }

    /// The session's time zone: a region, or an offset as `+hh:mm`.
    pub fn zone(&self) -> Result<String> {
        self.settings.zone()
    }

    /// Catalog and database that names are looked up in.
    pub fn current(&self) -> Result<(String, String)> {
        Ok((self.catalog.clone(), self.database()?))
    }

    /// Runs one statement. `first_line` is where it stands in its script; errors show line, text and a caret.
    pub async fn execute(&mut self, statement: &str, first_line: usize) -> Result<Executed> {
        let source = Source::new(statement, first_line);
        let parsed = statement::parse(&source)?;
        let mut notices = Vec::new();
        // A session outlives a fault of ours, or of a library, in one statement.
        let ran = AssertUnwindSafe(Box::pin(self.run(parsed, &mut notices))).catch_unwind().await;
        let ran = ran.unwrap_or_else(|panic| Err(fault(panic.as_ref())));
        let outcome = ran.map_err(|error| located(&source, error))?;
        Ok(Executed { outcome, notices })
    }

    fn state(&self) -> Result<SessionState> {
        let mut config =
            SessionConfig::new().with_target_partitions(self.settings.parallelism()?).with_batch_size(8192);
        config.options_mut().sql_parser.enable_ident_normalization = false;
        config.options_mut().execution.time_zone = Some(self.settings.zone()?);
        let builder = SessionStateBuilder::new().with_config(config).with_default_features();
        let mut state = match self.settings.is_streaming() {
            // No folding of now() when planning, nothing based on statistics, no other order of joins.
            true => builder.with_optimizer_rules(vec![Arc::new(OptimizeProjections::new())]).build(),
            false => builder.build(),
        };
        // Functions see the session's settings, its zone among them.
        state.mark_start_execution();
        Ok(state)
    }

    async fn run(&mut self, statement: Statement, notices: &mut Vec<String>) -> Result<Outcome> {
        if self.set.is_some() && !matches!(statement, Statement::Insert(_) | Statement::End) {
            return Err(Error::invalid("in a statement set only INSERT can stand: write END; to run it"));
        }
        match statement {
            Statement::Select(query) => {
                let running = self.select(query).await?;
                if running.streaming && !running.bounded {
                    notices.push(
                        "this query has no end: it goes on as rows come. For an answer that ends, write /*+ OPTIONS('scan.bounded.mode'='latest-offset') */ \
                         behind the table, or SET 'execution.runtime-mode' = 'batch'"
                            .to_string(),
                    );
                }
                Ok(Outcome::Query(running))
            }
            Statement::Explain { details, what } => Box::pin(self.explain(details, what)).await,
            Statement::Insert(insert) => match &mut self.set {
                Some(set) => {
                    set.push(insert);
                    Ok(Outcome::Done)
                }
                None => self.insert(vec![insert], notices).await,
            },
            Statement::BeginSet { inserts, is_complete: true } => self.insert(inserts, notices).await,
            Statement::BeginSet { inserts, is_complete: false } => {
                self.set = Some(inserts);
                Ok(Outcome::Done)
            }
            Statement::End => match self.set.take() {
                Some(inserts) => self.insert(inserts, notices).await,
                None => Err(Error::invalid("there is no statement set to end: begin one with BEGIN STATEMENT SET")),
            },
            Statement::UseCatalog(name) => {
                let catalog = self.catalogs.get(&name)?;
                self.catalog = catalog.definition().name.clone();
                self.database = None;
                Ok(Outcome::Done)
            }
            Statement::Use(name) => self.use_name(name).await,
            Statement::UseModules(modules) => match modules.as_slice() {
                [one] if one == "core" => Ok(Outcome::Done),
                _ => Err(Error::unsupported("the only module is `core`, and it is always in use")),
            },
            Statement::Set(None) => {
                let all = self.settings.all();
                let pairs = all.iter().map(|(key, value)| format!("'{key}' = '{value}'")).collect();
                listing("result", pairs)
            }
            Statement::Set(Some((key, value))) => {
                notices.extend(self.settings.set(&key, &value)?);
                Ok(Outcome::Done)
            }
            Statement::Reset(key) => {
                self.settings.reset(key.as_deref())?;
                Ok(Outcome::Done)
            }
            Statement::Show(show) => self.show(show).await,
            Statement::Describe(name) => self.describe(&name).await,
            Statement::DescribeCatalog { name, extended } => self.describe_catalog(&name, extended),
            Statement::DescribeDatabase { name, extended } => self.describe_database(&name, extended).await,
            Statement::DescribeFunction { name, extended } => self.describe_function(&name, extended),
            definition => Box::pin(self.define(definition, notices)).await,
        }
    }

    fn job(&self) -> Result<Option<JobSettings>> {
        if self.settings.is_streaming() { self.settings.job().map(Some) } else { Ok(None) }
    }

    async fn bind(&self, query: SelectQuery, state: &SessionState) -> Result<Bound> {
        if !query.hints.is_empty() && self.settings.get("table.dynamic-table-options.enabled") == "false" {
            return Err(Error::invalid(
                "hints with OPTIONS are off: SET 'table.dynamic-table-options.enabled' = 'true'",
            ));
        }
        Box::pin(binder::bind(query, self, state, self.settings.is_streaming())).await
    }

    async fn select(&self, query: SelectQuery) -> Result<Running> {
        let state = self.state()?;
        let bound = self.bind(query, &state).await?;
        run::start(bound, &state, self.job()?).await
    }

    fn database(&self) -> Result<String> {
        match &self.database {
            Some(database) => Ok(database.clone()),
            None => Ok(self.catalogs.get(&self.catalog)?.default_database().to_string()),
        }
    }

    async fn use_name(&mut self, name: Vec<String>) -> Result<Outcome> {
        match name.as_slice() {
            [one] => {
                let current = self.catalogs.get(&self.catalog)?;
                // A database of the current catalog, else a catalog: that order, but an unreachable cluster hides no catalog.
                let database = current.database(one).await;
                match (database, self.catalogs.get(one)) {
                    (Ok(database), _) => self.database = Some(database),
                    (Err(_), Ok(catalog)) => {
                        self.catalog = catalog.definition().name.clone();
                        self.database = None;
                    }
                    (Err(error), Err(_)) => return Err(error),
                }
            }
            [catalog, database] => {
                let catalog = self.catalogs.get(catalog)?;
                let database = catalog.database(database).await?;
                self.catalog = catalog.definition().name.clone();
                self.database = Some(database);
            }
            _ => return Err(Error::invalid("write USE DATABASE_NAME or USE CATALOG_NAME.DATABASE_NAME")),
        }
        Ok(Outcome::Done)
    }

    fn database_of(&self, name: &[String]) -> Result<(Arc<Catalog>, String)> {
        match name {
            [database] => Ok((self.catalogs.get(&self.catalog)?, database.clone())),
            [catalog, database] => Ok((self.catalogs.get(catalog)?, database.clone())),
            _ => Err(Error::invalid(format!("`{}` is no name of a database", name.join(".")))),
        }
    }

    fn place(&self, name: &[String]) -> Result<(Arc<Catalog>, String, String)> {
        match name {
            [table] => Ok((self.catalogs.get(&self.catalog)?, self.database()?, table.clone())),
            [database, table] => Ok((self.catalogs.get(&self.catalog)?, database.clone(), table.clone())),
            [catalog, database, table] => Ok((self.catalogs.get(catalog)?, database.clone(), table.clone())),
            _ => Err(Error::invalid(format!("`{}` is no name of a table", name.join(".")))),
        }
    }

    /// A name in full: catalog, database and table as they are really written, the table as it was.
    fn full_name(&self, name: &[String]) -> Result<[String; 3]> {
        let (catalog, database, table) = self.place(name)?;
        let database = match database.as_str() {
            system::INFORMATION_SCHEMA => database,
            _ => catalog.database_name(&database)?,
        };
        Ok([catalog.definition().name.clone(), database, table])
    }

    /// The table that a name of one to three parts means.
    pub async fn lookup(&self, name: &[String]) -> Result<Table> {
        let (catalog, database, table) = self.place(name)?;
        match self.temporary.find(&self.full_name(name)?) {
            Some((name, Temporary::Table(definition))) => {
                catalog.table_of(&name[1], &name[2], definition.clone()).await
            }
            Some((name, Temporary::View(_))) => {
                Err(Error::invalid(format!("`{}` is a view and no table: it can be read, nothing else", name[2])))
            }
            None => match Box::pin(self.system_table(name)).await? {
                Some(table) => Ok(table),
                None => match (catalog.table(&database, &table).await, name) {
                    (Err(missing), [path]) if may_be_files(path) => match self.connectors.infer(path).await {
                        Ok(Some(definition)) => catalog.table_of(&database, file_name(path), definition).await,
                        // A file's own error says more than that there is no such table.
                        Err(error) if has_format(path) => Err(error),
                        Ok(None) | Err(_) => Err(missing),
                    },
                    (Err(missing), _) => Err(Box::pin(self.missing_part(name, missing)).await),
                    (found, _) => found,
                },
            },
        }
    }

    /// The view that a name of one to three parts means; `None` if it is no view.
    pub async fn view(&self, name: &[String]) -> Result<Option<ViewDefinition>> {
        let (catalog, database, view) = self.place(name)?;
        match self.temporary.find(&self.full_name(name)?) {
            Some((_, Temporary::View(view))) => Ok(Some(view.clone())),
            Some((_, Temporary::Table(_))) => Ok(None),
            None if database == system::INFORMATION_SCHEMA => Ok(None),
            // No view's name holds a `/`; a path's does.
            None if matches!(name, [path] if path.contains('/')) => Ok(None),
            None => Ok(catalog.view(&database, &view).await?.map(|(_, view)| view)),
        }
    }
}

/// What a table over files is called: the last part of their path.
fn file_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// Whether a name can mean files, where no table has it: `FROM 'logs/2024-*.json'`.
fn may_be_files(name: &str) -> bool {
    name.contains('/') || has_format(name)
}

fn has_format(name: &str) -> bool {
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    end.is_some_and(|end| ["avro", "csv", "json", "jsonl", "ndjson", "parquet", "tsv"].contains(&end.as_str()))
}

#[async_trait::async_trait]
impl Lookup for Session {
    async fn table(&self, name: &[String]) -> Result<Table> {
        self.lookup(name).await
    }

    async fn view(&self, name: &[String]) -> Result<Option<ViewDefinition>> {
        Session::view(self, name).await
    }

    async fn with_options(&self, table: &Table, options: &[(String, String)]) -> Result<Table> {
        self.catalogs.get(&table.name[0])?.with_options(table, options).await
    }

    fn connectors(&self) -> &ConnectorRegistry {
        &self.connectors
    }
}

/// Marks the place of an error that has none: the first name in backticks that stands in the statement.
fn located(source: &Source, error: Error) -> Error {
    let message = error.message();
    if message.contains("\nline ") {
        return error;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let in_quotes = quoted.find_map(|name| source.find_name(name.rsplit('.').next().unwrap_or(name)));
    // DataFusion's own errors quote nothing.
    let mut words = message.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
    let place = in_quotes.or_else(|| words.find_map(|word| source.find_name(word)));
    match place {
        Some(place) => source.error(error.kind(), place, &error.to_string()),
        None => error,
    }
}

/// The error that a panic becomes.
fn fault(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::internal(format!("a fault of aquifer's own stopped the statement: {}", text.unwrap_or("it says nothing")))
}

/// A listing of one column.
fn listing(column: &str, rows: Vec<String>) -> Result<Outcome> {
    let values: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.as_str())).collect::<StringViewArray>());
    let schema = Arc::new(Schema::new(vec![SqlType::STRING.not_null().to_field(column)]));
    Ok(Outcome::Listing(RecordBatch::try_new(schema, vec![values])?))
}

mod alter;
mod ambiguous;
mod between;
mod binder;
mod check;
mod correlated;
mod define;
mod describe;
mod explain;
mod group_names;
mod insert;
mod intervals;
mod json_calls;
mod like;
mod match_recognize;
mod names;
mod reserved;
mod resolve;
mod row_in;
mod row_stars;
mod run;
mod set_operations;
mod settings;
mod show;
mod statement;
mod subqueries;
mod sugar;
mod system;
mod temporal_join;
mod temporary;
mod text;
mod typing;
mod using;
mod validate;
mod windows;

#[cfg(test)]
mod tests;
