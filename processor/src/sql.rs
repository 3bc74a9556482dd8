//! The SQL front end: Flink's dialect, from text to outcome.
//!
//! ```text
//!  text ─► tokens ─► statements (ours) ─► binder ─► logical plan ─► batch or streaming
//!                └► queries and expressions by sqlparser, under our dialect
//! ```
//!
//! `SessionContext::sql` is never used, nothing is rewritten as text, and every parsed field that nobody consumes is refused.

use std::path::PathBuf;
use std::sync::Arc;

use aquifer_catalog::Catalogs;
use aquifer_model::{ChangeBatch, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::sync::mpsc;

use crate::connector::ConnectorRegistry;

/// One user's session: current catalog and database, settings, temporary objects.
#[derive(Debug)]
pub struct Session {
    _catalogs: Arc<Catalogs>,
    _connectors: Arc<ConnectorRegistry>,
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
        Self { _catalogs: catalogs, _connectors: Arc::default() }
    }

    /// With these connectors for tables that name one (`connector` option); none are known else.
    pub fn with_connectors(mut self, connectors: Arc<ConnectorRegistry>) -> Self {
        self._connectors = connectors;
        self
    }

    /// Cuts a script into statements, in the user's own text, each with the line its first token stands on (from 1). Fails on text that no token fits.
    pub fn split(_script: &str) -> Result<Vec<(usize, String)>> {
        todo!()
    }

    /// Runs one statement. `first_line` is where it stands in its script; errors show line, text and a caret.
    pub async fn execute(&mut self, _statement: &str, _first_line: usize) -> Result<Executed> {
        todo!()
    }
}
