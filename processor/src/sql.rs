//! The SQL front end: Flink's dialect, from text to outcome.
//!
//! ```text
//!  text ─► tokens ─► statements (ours) ─► binder ─► logical plan ─► batch or streaming
//!                └► queries and expressions by sqlparser, under our dialect
//! ```
//!
//! `SessionContext::sql` is never used, nothing is rewritten as text, and every parsed field that nobody consumes is refused.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use aquifer_catalog::options::{check_catalog, check_table};
use aquifer_catalog::{Catalog, CatalogDefinition, Catalogs, Table, TableDefinition, ViewDefinition};
use aquifer_model::{ChangeBatch, Error, Result, SqlType};
use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::prelude::SessionConfig;
use tokio::sync::mpsc;

use self::binder::{Bound, Lookup};
use self::settings::Settings;
use self::statement::{SelectQuery, Statement};
use self::text::Source;
use crate::connector::{ConnectorRegistry, nearest_known};
use crate::sink::{TableWriter, writable_columns};
use crate::streaming::JobSettings;

/// The catalog that a session begins in.
const DEFAULT_CATALOG: &str = "default_catalog";

/// One user's session: current catalog and database, settings.
#[derive(Debug)]
pub struct Session {
    catalogs: Arc<Catalogs>,
    connectors: Arc<ConnectorRegistry>,
    catalog: String,
    database: Option<String>,
    settings: Settings,
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
    /// (row, window) pairs that came too late.
    fn late_rows(&self) -> u64;
    /// Messages that did not decode and were left out.
    fn skipped_messages(&self) -> u64;
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

    /// Runs one statement. `first_line` is where it stands in its script; errors show line, text and a caret.
    pub async fn execute(&mut self, statement: &str, first_line: usize) -> Result<Executed> {
        let source = Source::new(statement, first_line);
        let parsed = statement::parse(&source)?;
        let mut notices = Vec::new();
        let outcome = self.run(parsed, &mut notices).await.map_err(|error| located(&source, error))?;
        Ok(Executed { outcome, notices })
    }

    fn state(&self) -> Result<SessionState> {
        let mut config =
            SessionConfig::new().with_target_partitions(self.settings.parallelism()?).with_batch_size(8192);
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let builder = SessionStateBuilder::new().with_config(config).with_default_features();
        let mut state = match self.settings.is_streaming() {
            // No folding of now() when planning, nothing based on statistics, no other order of joins.
            true => builder.with_optimizer_rules(vec![Arc::new(OptimizeProjections::new())]).build(),
            false => builder.build(),
        };
        for function in functions::aggregates() {
            state.register_udaf(function).map_err(crate::batch::from_datafusion)?;
        }
        Ok(state)
    }

    async fn run(&mut self, statement: Statement, notices: &mut Vec<String>) -> Result<Outcome> {
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
            Statement::Explain { analyze, query } => self.explain(analyze, query).await,
            Statement::Insert { table, columns, query } => self.insert(table, columns, query, notices).await,
            Statement::CreateCatalog { name, options, comment, if_not_exists } => {
                let checked = check_catalog(options)?;
                notices.extend(checked.notices);
                let definition = CatalogDefinition { name, options: checked.options, comment };
                self.catalogs.create(definition, if_not_exists).await?;
                Ok(Outcome::Done)
            }
            Statement::DropCatalog { name, if_exists } => {
                if name == self.catalog {
                    return Err(Error::invalid(format!(
                        "the catalog `{name}` is in use: USE CATALOG another one first"
                    )));
                }
                self.catalogs.drop_catalog(&name, if_exists).await?;
                Ok(Outcome::Done)
            }
            Statement::UseCatalog(name) => {
                let catalog = self.catalogs.get(&name)?;
                self.catalog = catalog.definition().name.clone();
                self.database = None;
                Ok(Outcome::Done)
            }
            Statement::Use(name) => self.use_name(name).await,
            Statement::ShowCatalogs => listing("catalog name", self.catalogs.names()),
            Statement::ShowDatabases => listing("database name", self.catalogs.get(&self.catalog)?.databases().await?),
            Statement::ShowCurrentCatalog => listing("current catalog name", vec![self.catalog.clone()]),
            Statement::ShowCurrentDatabase => listing("current database name", vec![self.database()?]),
            Statement::ShowTables { database, like } => {
                let (catalog, database) = match database {
                    Some(name) => self.database_of(&name)?,
                    None => (self.catalogs.get(&self.catalog)?, self.database()?),
                };
                let mut tables = catalog.tables(&database).await?;
                if let Some((pattern, negated)) = like {
                    tables.retain(|table| matches_like(table, &pattern) != negated);
                }
                listing("table name", tables)
            }
            Statement::ShowCreateTable(name) => {
                let table = self.lookup(&name).await?;
                listing("result", vec![describe::create_table(&table)])
            }
            Statement::Describe(name) => Ok(Outcome::Listing(describe::table(&self.lookup(&name).await?)?)),
            Statement::CreateDatabase { name, if_not_exists } => {
                let (catalog, database) = self.database_of(&name)?;
                catalog.create_database(&database, if_not_exists).await?;
                Ok(Outcome::Done)
            }
            Statement::CreateTable { name, mut definition, if_not_exists } => {
                let checked = check_table(std::mem::take(&mut definition.options))?;
                notices.extend(checked.notices);
                definition.options = checked.options;
                check_definition(&definition)?;
                let (catalog, database, table) = self.place(&name)?;
                catalog.create_table(&database, &table, definition, if_not_exists).await?;
                Ok(Outcome::Done)
            }
            Statement::AlterTableAdd { name, columns, watermark, primary_key } => {
                let table = self.lookup(&name).await?;
                let (catalog, ..) = self.place(&name)?;
                let mut definition = table.definition.clone();
                for column in columns {
                    if definition.columns.iter().any(|known| known.name == column.name) {
                        return Err(Error::invalid(format!(
                            "`{}` has a column `{}` already",
                            table.name[2], column.name
                        )));
                    }
                    definition.columns.push(column);
                }
                if watermark.is_some() {
                    definition.watermark = watermark;
                }
                if !primary_key.is_empty() {
                    definition.primary_key = primary_key;
                }
                check_definition(&definition)?;
                catalog.alter_table(&table, definition).await?;
                Ok(Outcome::Done)
            }
            Statement::DropTable { name, if_exists } => {
                let (catalog, database, table) = self.place(&name)?;
                catalog.drop_table(&database, &table, if_exists, false).await?;
                Ok(Outcome::Done)
            }
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
                self.settings.reset(key.as_deref());
                Ok(Outcome::Done)
            }
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
        binder::bind(query, self, state, self.settings.is_streaming()).await
    }

    async fn select(&self, query: SelectQuery) -> Result<Running> {
        let state = self.state()?;
        let bound = self.bind(query, &state).await?;
        run::start(bound, &state, self.job()?).await
    }

    async fn insert(
        &self,
        name: Vec<String>,
        columns: Vec<String>,
        query: SelectQuery,
        notices: &mut Vec<String>,
    ) -> Result<Outcome> {
        let table = self.lookup(&name).await?;
        let writable = writable_columns(&table)?;
        let targets: Vec<FieldRef> = if columns.is_empty() {
            writable.fields().iter().cloned().collect()
        } else {
            let find = |name: &String| {
                writable.fields().iter().find(|f| f.name() == name).cloned().ok_or_else(|| {
                    let near = nearest_known(name, writable.fields().iter().map(|f| f.name().as_str()));
                    Error::invalid(format!("`{}` has no column `{name}` that can be written: {near}", table.name[2]))
                })
            };
            columns.iter().map(find).collect::<Result<_>>()?
        };
        let state = self.state()?;
        let mut bound = self.bind(query, &state).await?;
        let given = bound.plan.schema().fields().len();
        if given != targets.len() {
            let names: Vec<&str> = targets.iter().map(|f| f.name().as_str()).collect();
            return Err(Error::invalid(format!(
                "`{}` takes {} columns ({}), the query gives {given}",
                table.name[2],
                targets.len(),
                names.join(", ")
            )));
        }
        let updating = self.settings.is_streaming() && updates(&bound.plan);
        let expressions = bound.plan.schema().iter().zip(&targets).map(|((qualifier, field), target)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            let cast = if field.data_type() == target.data_type() {
                column
            } else {
                Expr::Cast(Cast::new(Box::new(column), target.data_type().clone()))
            };
            cast.alias(target.name())
        });
        let expressions: Vec<Expr> = expressions.collect();
        bound.plan = LogicalPlanBuilder::from(bound.plan)
            .project(expressions)
            .and_then(LogicalPlanBuilder::build)
            .map_err(crate::batch::from_datafusion)?;
        let rows: SchemaRef =
            Arc::new(Schema::new(targets.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>()));
        let writer = TableWriter::open(&table, &rows, updating, &self.connectors).await?;
        let mut running = run::start(bound, &state, self.job()?).await?;
        if running.streaming {
            notices.push(
                "delivery: at least once while it runs; after a crash it starts over from its start option".to_string(),
            );
        }
        let (sender, changes) = mpsc::channel(1);
        let input = std::mem::replace(&mut running.changes, changes);
        tokio::spawn(async move {
            // A running insert ends when nobody waits for it any more.
            tokio::select! {
                written = writer.write_all(input) => {
                    if let Err(error) = written {
                        let _ = sender.send(Err(error)).await;
                    }
                }
                () = sender.closed() => {}
            }
        });
        Ok(Outcome::Insert(running))
    }

    async fn explain(&self, analyze: bool, query: SelectQuery) -> Result<Outcome> {
        let state = self.state()?;
        let bound = self.bind(query, &state).await?;
        let plan = state.optimize(&bound.plan).map_err(crate::batch::from_datafusion)?;
        let mut text =
            format!("== Plan ({}) ==\n{}\n", self.settings.get("execution.runtime-mode"), plan.display_indent());
        for table in &bound.tables {
            let _ = write!(text, "\n== {} ==\n", table.name);
            match &table.end {
                None => text.push_str("reads without an end\n"),
                Some(end) => {
                    for (partition, cut) in end {
                        let _ = writeln!(text, "{partition}: up to {cut}");
                    }
                }
            }
        }
        if analyze {
            if !bound.is_bounded() {
                return Err(Error::invalid(
                    "EXPLAIN ANALYZE runs the query to its end, and this one has none: SET 'execution.runtime-mode' = 'batch', or give its tables \
                     /*+ OPTIONS('scan.bounded.mode'='latest-offset') */",
                ));
            }
            let tables = bound.tables.clone();
            let mut running = run::start(bound, &state, self.job()?).await?;
            let mut rows = 0;
            while let Some(batch) = running.changes.recv().await {
                rows += batch?.num_rows();
            }
            let _ = write!(text, "\n== Run ==\n{rows} rows out; {}\n", running.report.line());
            for table in tables {
                let read = table.read_so_far();
                let _ = writeln!(
                    text,
                    "{}: archive {} rows ({} bytes), log {} rows ({} bytes), {} rows left out by statistics",
                    table.name, read.archive_rows, read.archive_bytes, read.log_rows, read.log_bytes, read.pruned_rows
                );
            }
        }
        listing("result", vec![text.trim_end().to_string()])
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

    /// The table that a name of one to three parts means.
    pub async fn lookup(&self, name: &[String]) -> Result<Table> {
        let (catalog, database, table) = self.place(name)?;
        catalog.table(&database, &table).await
    }

    /// The view that a name of one to three parts means; `None` if it is no view.
    pub async fn view(&self, name: &[String]) -> Result<Option<ViewDefinition>> {
        let (catalog, database, view) = self.place(name)?;
        Ok(catalog.view(&database, &view).await?.map(|(_, view)| view))
    }
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

/// Expressions of a definition must parse, and its names must be there.
fn check_definition(definition: &TableDefinition) -> Result<()> {
    let has = |name: &str| definition.columns.iter().any(|column| column.name == name);
    let near = |name: &str| nearest_known(name, definition.columns.iter().map(|c| c.name.as_str()));
    if let Some(watermark) = &definition.watermark {
        statement::parse_expression(&watermark.expression)?;
        // A native table's own columns are not part of a CREATE TABLE's definition, but they are of an ALTER TABLE's.
        if !has(&watermark.column) {
            return Err(Error::invalid(format!(
                "the watermark's column `{0}` is unknown: {1}",
                watermark.column,
                near(&watermark.column)
            )));
        }
    }
    for name in &definition.primary_key {
        if !has(name) {
            return Err(Error::invalid(format!("the primary key's column `{name}` is unknown: {}", near(name))));
        }
    }
    Ok(())
}

/// Whether a streaming plan changes rows that it gave before: it groups by something else than a whole window.
fn updates(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = plan.apply(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            let names: Vec<String> = aggregate.group_expr.iter().map(|e| e.schema_name().to_string()).collect();
            let grouped =
                |column: &str| names.iter().any(|name| name == column || name.ends_with(&format!(".{column}")));
            found |= !(grouped("window_start") && grouped("window_end"));
        }
        found |= matches!(node, LogicalPlan::Distinct(_));
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// SQL's LIKE over names: `%` and `_`.
fn matches_like(name: &str, pattern: &str) -> bool {
    fn from(name: &[char], pattern: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('%', rest)) => (0..=name.len()).any(|n| from(&name[n..], rest)),
            Some(('_', rest)) => !name.is_empty() && from(&name[1..], rest),
            Some((c, rest)) => name.first() == Some(c) && from(&name[1..], rest),
        }
    }
    from(&name.chars().collect::<Vec<_>>(), &pattern.chars().collect::<Vec<_>>())
}

/// A listing of one column.
fn listing(column: &str, rows: Vec<String>) -> Result<Outcome> {
    let values: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.as_str())).collect::<StringViewArray>());
    let schema = Arc::new(Schema::new(vec![SqlType::STRING.not_null().to_field(column)]));
    Ok(Outcome::Listing(RecordBatch::try_new(schema, vec![values])?))
}

mod binder;
mod check;
mod describe;
mod functions;
mod names;
mod resolve;
mod run;
mod settings;
mod statement;
mod sugar;
mod text;
mod windows;

#[cfg(test)]
mod tests;
