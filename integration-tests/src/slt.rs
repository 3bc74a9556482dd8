//! Runs the SQL suites of `sql/**/*.slt` through the product's own sessions, each file in many ways: one answer.
//!
//! ```text
//!  file.slt ─► batch                  ┐       ┌ nothing archived
//!          ├─► a stream, 1 worker     ├─ with ┼ the first INSERT of each table archived      ─► the same records hold
//!          ├─► a stream, 2 workers    │       └ every INSERT archived
//!          └─► a stream, 3 workers    ┘
//! ```
//!
//! * A file is a script for the embedded log in an empty data directory. Tables that queries read are declared with `'scan.bounded.mode' = 'latest-offset'`,
//!   so that streams end, and are filled by two INSERTs at least, so that the border can lie between them.
//! * A stream's changelog is folded before it is compared; queries without an order say `rowsort`.
//! * `onlyif batch`, `onlyif streaming`, `onlyif border-none` … before a record restrict it; `skipif cluster` leaves it out where the suite runs on a
//!   real Pulsar, of what only an embedded log says so.
//! * `onlyif wanted` before a record: Flink's answer, which is not given yet. It runs with `AQUIFER_SLT_WANTED=1` only, which tells what is still wrong;
//!   whoever makes one right takes the line away.
//! * Cells are Flink's `CAST(… AS STRING)`; NULL is `NULL`, an empty text `(empty)`, a line's end in a cell `\n`.
//!   Types: `B` boolean, `I` integer, `N` decimal, `R` float or double, `T` text, `D` date, `H` time, `P` timestamp, `O` all else.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aquifer_catalog::Catalogs;
use aquifer_catalog::catalogs::Target;
use aquifer_formats::text::{TextStyle, parse_zone, text_columns};
use aquifer_model::{Error, Result};
use aquifer_processor::sql::{Outcome, Running, Session};
use aquifer_storage::archive::archiver::{ArchiveSettings, Archiver};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use sqllogictest::{AsyncDB, ColumnType, Condition, DBOutput, MakeConnection, Record, Runner};

/// No statement of a suite takes longer.
const LONGEST_STATEMENT: Duration = Duration::from_secs(60);

/// Where the border between the tiers lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// Everything is in the log.
    Nothing,
    /// Each table's first INSERT is archived.
    Half,
    /// Everything is archived.
    All,
}

/// One way to run a file.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Workers of a stream; `None`: batch.
    pub workers: Option<usize>,
    /// Which part is archived.
    pub border: Border,
}

impl Way {
    /// Batch and streams of one to three workers, each with the border at three places.
    pub fn all() -> Vec<Self> {
        let with = |workers| [Border::Nothing, Border::Half, Border::All].map(|border| Self { workers, border });
        [None, Some(1), Some(2), Some(3)].into_iter().flat_map(with).collect()
    }

    fn labels(self) -> [&'static str; 3] {
        let mode = if self.workers.is_some() { "streaming" } else { "batch" };
        let border = match self.border {
            Border::Nothing => "border-none",
            Border::Half => "border-half",
            Border::All => "border-all",
        };
        let wanted = if std::env::var_os("AQUIFER_SLT_WANTED").is_some() { "wanted" } else { "not-wanted" };
        [mode, border, wanted]
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mode, border, ..] = self.labels();
        match self.workers {
            Some(workers) => write!(f, "{mode} with {workers} workers, {border}"),
            None => write!(f, "{mode}, {border}"),
        }
    }
}

/// The type of a column in a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter(char);

impl ColumnType for Letter {
    fn from_char(value: char) -> Option<Self> {
        "BINRTDHPO".contains(value).then_some(Self(value))
    }

    fn to_char(&self) -> char {
        self.0
    }
}

fn letter(data_type: &DataType) -> Letter {
    Letter(match data_type {
        DataType::Boolean => 'B',
        integer if integer.is_integer() => 'I',
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => 'N',
        DataType::Float16 | DataType::Float32 | DataType::Float64 => 'R',
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => 'T',
        DataType::Date32 | DataType::Date64 => 'D',
        DataType::Time32(_) | DataType::Time64(_) => 'H',
        DataType::Timestamp(..) => 'P',
        _ => 'O',
    })
}

/// The catalog and database of a cluster in which a suite runs that was written for the embedded log's.
#[derive(Debug, Clone)]
pub struct Home {
    /// The catalog.
    pub catalog: String,
    /// `TENANT/NAMESPACE`
    pub database: String,
    /// The script that makes them and goes there.
    pub before: String,
}

/// How options name topics.
const TOPICS: [&str; 4] = ["'topics' = '", "'topics'='", "'topic' = '", "'topic'='"];

impl Home {
    /// A statement whose options name topics of this database.
    fn statement(&self, written: &str) -> String {
        TOPICS.iter().fold(written.to_string(), |sql, key| sql.replace(key, &format!("{key}{}/", self.database)))
    }

    /// An answer with the embedded log's names.
    fn answer(&self, output: DBOutput<Letter>) -> DBOutput<Letter> {
        let quoted = format!("`{}`.`{}`", self.catalog, self.database);
        let topic = format!("'{}/", self.database);
        let cell = |cell: String| {
            let cell = cell.replace(&quoted, "`default_catalog`.`default_database`");
            cell.replace(&topic, "'").replace(&self.database, "default_database")
        };
        match output {
            DBOutput::Rows { types, rows } => {
                let rows = rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect();
                DBOutput::Rows { types, rows }
            }
            other => other,
        }
    }
}

/// A session of the product as `sqllogictest` sees it.
pub struct Database {
    session: Session,
    home: Option<Home>,
    border: Border,
    /// INSERTs by table.
    inserts: HashMap<String, u32>,
}

impl Database {
    async fn new(catalogs: Arc<Catalogs>, way: Way, home: Option<Home>) -> Result<Self> {
        let mut session = aquifer_server::engine::session_over(catalogs);
        for (line, statement) in Session::split(home.as_ref().map_or("", |home| &home.before))? {
            session.execute(&statement, line).await?;
        }
        match way.workers {
            None => drop(session.execute("SET 'execution.runtime-mode' = 'batch'", 1).await?),
            Some(n) => drop(session.execute(&format!("SET 'parallelism.default' = '{n}'"), 1).await?),
        }
        Ok(Self { session, home, border: way.border, inserts: HashMap::new() })
    }

    async fn execute(&mut self, script: &str) -> Result<DBOutput<Letter>> {
        let mut output = DBOutput::StatementComplete(0);
        for (line, statement) in Session::split(script)? {
            output = match self.session.execute(&statement, line).await?.outcome {
                Outcome::Done => DBOutput::StatementComplete(0),
                Outcome::Listing(rows) => DBOutput::Rows { types: types(&rows.schema()), rows: cells(&rows)? },
                Outcome::Query(running) => {
                    if !running.bounded {
                        return Err(Error::invalid("this query of a suite has no end"));
                    }
                    let types = types(&running.schema);
                    DBOutput::Rows { types, rows: folded(running).await? }
                }
                Outcome::Insert(mut running) => {
                    while let Some(changes) = running.changes.recv().await {
                        changes?;
                    }
                    self.inserted(&statement).await?;
                    DBOutput::StatementComplete(0)
                }
            };
        }
        Ok(output)
    }

    /// Moves the border, if it is to move.
    async fn inserted(&mut self, statement: &str) -> Result<()> {
        let Some(name) = target(statement) else { return Ok(()) };
        let before = self.inserts.entry(name.join(".")).or_default();
        *before += 1;
        if self.border == Border::Nothing || (self.border == Border::Half && *before > 1) {
            return Ok(());
        }
        let Target::Topics(topics) = self.session.lookup(&name).await?.target else { return Ok(()) };
        for topic in topics {
            let archiver = Archiver::new(topic.clone(), ArchiveSettings::default());
            for partition in topic.log.partitions(&topic.topic).await? {
                archiver.run_once(&partition).await?;
            }
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl AsyncDB for Database {
    type Error = Error;
    type ColumnType = Letter;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Letter>> {
        let home = self.home.clone();
        let sql = home.as_ref().map_or_else(|| sql.to_string(), |home| home.statement(sql));
        match tokio::time::timeout(LONGEST_STATEMENT, self.execute(&sql)).await {
            Ok(output) => output.map(|output| match &home {
                Some(home) => home.answer(output),
                None => output,
            }),
            Err(_) => Err(Error::internal(format!("did not end within {LONGEST_STATEMENT:?}"))),
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "aquifer"
    }
}

/// The table that an INSERT writes to.
fn target(statement: &str) -> Option<Vec<String>> {
    let mut words = statement.split_whitespace();
    let is_insert = words.next()?.eq_ignore_ascii_case("insert") && words.next()?.eq_ignore_ascii_case("into");
    let name = words.next()?.split('(').next()?;
    is_insert.then(|| name.split('.').map(|part| part.trim_matches('`').to_string()).collect())
}

fn types(schema: &Schema) -> Vec<Letter> {
    schema.fields().iter().map(|field| letter(field.data_type())).collect()
}

fn cells(rows: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let columns = text_columns(rows, &TextStyle::cast(parse_zone("UTC")?))?;
    let cell = |text: Option<&str>| match text {
        None => "NULL".to_string(),
        Some("") => "(empty)".to_string(),
        Some(text) => text.replace('\n', "\\n"),
    };
    let row = |at: usize| {
        use arrow::array::Array;
        columns.iter().map(|column| cell(column.is_valid(at).then(|| column.value(at)))).collect()
    };
    Ok((0..rows.num_rows()).map(row).collect())
}

/// The rows that are left once every change is applied, in the order in which they came.
async fn folded(mut running: Running) -> Result<Vec<Vec<String>>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    while let Some(changes) = running.changes.recv().await {
        let changes = changes?;
        for (at, row) in cells(changes.rows())?.into_iter().enumerate() {
            if changes.kind(at).weight() > 0 {
                rows.push(row);
                continue;
            }
            let place = rows.iter().rposition(|known| *known == row);
            let place = place.ok_or_else(|| Error::internal(format!("{row:?} is taken back and was not there")))?;
            rows.remove(place);
        }
    }
    Ok(rows)
}

/// What running a file gave.
#[derive(Debug, Default)]
pub struct Ran {
    /// Statements and queries that were run, restricted ones aside.
    pub records: usize,
    /// What was wrong, with file and line.
    pub failures: Vec<String>,
}

/// Runs a file in one way, to its end whatever fails.
pub async fn run(file: &Path, way: Way) -> Result<Ran> {
    run_in(file, way, None).await
}

/// The same in a cluster's database.
pub async fn run_in(file: &Path, way: Way, home: Option<Home>) -> Result<Ran> {
    let folder = tempfile::tempdir().map_err(|error| Error::internal(error.to_string()))?;
    let catalogs = Catalogs::open(folder.path().to_path_buf()).await?;
    let place = if home.is_some() { "cluster" } else { "embedded" };
    let labels: Vec<&str> = way.labels().into_iter().chain([place]).collect();
    let mut runner = runner(&labels, || Database::new(Arc::clone(&catalogs), way, home.clone()));
    let records = sqllogictest::parse_file::<Letter>(file).map_err(|error| Error::invalid(error.to_string()))?;
    let mut ran = Ran::default();
    for record in records {
        let is_run = |conditions: &[Condition]| {
            conditions.iter().all(|condition| match condition {
                Condition::OnlyIf { label } => labels.contains(&label.as_str()),
                Condition::SkipIf { label } => !labels.contains(&label.as_str()),
            })
        };
        match &record {
            Record::Statement { conditions, .. } | Record::Query { conditions, .. } => {
                ran.records += usize::from(is_run(conditions));
            }
            _ => {}
        }
        if let Err(error) = runner.run_async(record).await {
            ran.failures.push(format!("{way}: {}", error.display(false)));
        }
    }
    Ok(ran)
}

/// Writes the answers of batch into a file. They are to be read before they are kept.
pub async fn update(file: &Path) -> Result<()> {
    let folder = tempfile::tempdir().map_err(|error| Error::internal(error.to_string()))?;
    let catalogs = Catalogs::open(folder.path().to_path_buf()).await?;
    let way = Way { workers: None, border: Border::Half };
    let mut runner = runner(&way.labels(), || Database::new(Arc::clone(&catalogs), way, None));
    let (validator, normalizer) = (sqllogictest::default_validator, sqllogictest::default_normalizer);
    let updated =
        runner.update_test_file(file, " ", validator, normalizer, sqllogictest::strict_column_validator).await;
    updated.map_err(|error| Error::internal(error.to_string()))
}

fn runner<M: MakeConnection<Conn = Database>>(labels: &[&str], make: M) -> Runner<Database, M> {
    let mut runner = Runner::new(make);
    for label in labels {
        runner.add_label(label);
    }
    runner.with_column_validator(sqllogictest::strict_column_validator);
    runner
}

/// The suites to run, in the order of their names: all, or with `AQUIFER_SLT` those whose path contains it.
pub fn files() -> Vec<PathBuf> {
    let wanted = std::env::var("AQUIFER_SLT").unwrap_or_default();
    all_files().into_iter().filter(|file| file.to_string_lossy().contains(&wanted)).collect()
}

/// All suites, in the order of their names.
pub fn all_files() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("sql")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of suites").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "slt") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
