//! Statements: what a text asks for. DDL is parsed here, token by token; queries and expressions by sqlparser under our dialect.
//!
//! ```text
//!  tokens ─► cursor ─┬─► objects   CREATE, ALTER, DROP of catalogs, databases, views
//!                    ├─► tables    CREATE, ALTER, DROP of tables
//!                    ├─► show      SHOW, DESCRIBE, EXPLAIN, USE, SET
//!                    └─► rows      queries, INSERT, statement sets
//! ```
//!
//! What Flink has and we have not is refused here by its name, with what to write instead where there is something.

use aquifer_catalog::{ColumnDefinition, Distribution, ViewColumn, WatermarkDefinition};
use aquifer_model::Result;
use sqlparser::ast::Query;

use self::cursor::Cursor;
use super::text::Source;

pub(super) use self::cursor::parse_expression;

/// A name of one to three parts as written, quotes undone.
pub(super) type Name = Vec<String>;

/// What a statement asks for.
#[derive(Debug)]
pub(super) enum Statement {
    CreateCatalog {
        name: String,
        options: Vec<(String, String)>,
        comment: Option<String>,
        if_not_exists: bool,
    },
    AlterCatalog {
        name: String,
        change: OptionChange,
    },
    DropCatalog {
        name: String,
        if_exists: bool,
    },
    CreateDatabase {
        name: Name,
        comment: Option<String>,
        options: Vec<(String, String)>,
        if_not_exists: bool,
    },
    AlterDatabase {
        name: Name,
        options: Vec<(String, String)>,
    },
    DropDatabase {
        name: Name,
        if_exists: bool,
        cascade: bool,
    },
    CreateTable(Box<CreateTable>),
    AlterTable {
        name: Name,
        if_exists: bool,
        changes: Vec<TableChange>,
    },
    DropTable {
        name: Name,
        if_exists: bool,
        temporary: bool,
        purge: bool,
    },
    CreateView(CreateView),
    RenameView {
        name: Name,
        to: Name,
    },
    AlterView {
        name: Name,
        text: String,
        query: SelectQuery,
    },
    DropView {
        name: Name,
        if_exists: bool,
        temporary: bool,
    },
    Use(Name),
    UseCatalog(String),
    UseModules(Vec<String>),
    Show(Show),
    Describe(Name),
    DescribeCatalog {
        name: String,
        extended: bool,
    },
    DescribeDatabase {
        name: Name,
        extended: bool,
    },
    DescribeFunction {
        name: Name,
        extended: bool,
    },
    Analyze {
        name: Name,
        columns: Vec<String>,
    },
    Insert(Insert),
    /// `BEGIN STATEMENT SET` or `EXECUTE STATEMENT SET BEGIN` with what of the set stands in the same text: to its `END` if `is_complete`.
    BeginSet {
        inserts: Vec<Insert>,
        is_complete: bool,
    },
    /// `END` of a set.
    End,
    Select(SelectQuery),
    Explain {
        details: Details,
        what: Explained,
    },
    Set(Option<(String, String)>),
    Reset(Option<String>),
}

/// A change of a catalog's options.
#[derive(Debug)]
pub(super) enum OptionChange {
    Set(Vec<(String, String)>),
    Reset(Vec<String>),
    Comment(String),
}

/// `CREATE TABLE`.
#[derive(Debug)]
pub(super) struct CreateTable {
    pub name: Name,
    pub temporary: bool,
    pub if_not_exists: bool,
    pub existing: Existing,
    pub elements: Elements,
    pub comment: Option<String>,
    pub distribution: Option<Distribution>,
    pub partitioned_by: Vec<String>,
    pub options: Vec<(String, String)>,
    pub like: Option<Like>,
    pub query: Option<SelectQuery>,
}

/// What becomes of a table of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// `CREATE`: there is none.
    None,
    /// `CREATE OR REPLACE`: it goes.
    MayBe,
    /// `REPLACE`: there is one, and it goes.
    Must,
}

/// What stands in parentheses behind a table's name.
#[derive(Debug, Default)]
pub(super) struct Elements {
    pub columns: Vec<Placed>,
    /// Columns without a type: those of a query, in another order.
    pub untyped: Vec<String>,
    pub watermark: Option<WatermarkDefinition>,
    pub primary_key: Option<PrimaryKey>,
    pub distribution: Option<Distribution>,
}

/// A column and where it goes.
#[derive(Debug)]
pub(super) struct Placed {
    pub column: ColumnDefinition,
    pub place: Option<Place>,
}

/// Where a column goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    First,
    After(String),
}

/// `[CONSTRAINT name] PRIMARY KEY (columns)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PrimaryKey {
    pub name: Option<String>,
    pub columns: Vec<String>,
}

/// `LIKE table (…)`.
#[derive(Debug)]
pub(super) struct Like {
    pub name: Name,
    pub rules: Vec<(Merge, Feature)>,
}

/// How a part of the other table is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    Including,
    Excluding,
    Overwriting,
}

/// A part of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feature {
    All,
    Constraints,
    Distribution,
    Generated,
    Metadata,
    Options,
    Partitions,
    Watermarks,
}

/// One change of `ALTER TABLE`.
#[derive(Debug)]
pub(super) enum TableChange {
    Add(Elements),
    Modify(Elements),
    DropColumns(Vec<String>),
    DropPrimaryKey,
    DropConstraint(String),
    DropWatermark,
    DropDistribution,
    RenameColumn { from: String, to: String },
    RenameTo(Name),
    Set(Vec<(String, String)>),
    Reset(Vec<String>),
}

/// `CREATE VIEW`.
#[derive(Debug)]
pub(super) struct CreateView {
    pub name: Name,
    pub temporary: bool,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub columns: Vec<ViewColumn>,
    pub comment: Option<String>,
    /// The query's own words.
    pub text: String,
    pub query: SelectQuery,
}

/// `SHOW …`.
#[derive(Debug)]
pub(super) enum Show {
    Catalogs(Option<Pattern>),
    Databases { catalog: Option<String>, like: Option<Pattern> },
    Tables { database: Option<Name>, like: Option<Pattern> },
    Views { database: Option<Name>, like: Option<Pattern> },
    Columns { table: Name, like: Option<Pattern> },
    Functions { user: bool, database: Option<Name>, like: Option<Pattern> },
    Partitions(Name),
    Modules { full: bool },
    Jars,
    CurrentCatalog,
    CurrentDatabase,
    CreateTable(Name),
    CreateView(Name),
    CreateCatalog(String),
}

/// `[NOT] LIKE | ILIKE '…'`.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub text: String,
    pub negated: bool,
    pub any_case: bool,
}

/// `INSERT`.
#[derive(Debug, Clone)]
pub(super) struct Insert {
    pub table: Name,
    pub overwrite: bool,
    /// `PARTITION (column = value, …)`: a value for every row, as an expression's text; `None`: the query gives it.
    pub partition: Vec<(String, Option<String>)>,
    pub columns: Vec<String>,
    pub query: SelectQuery,
    pub hints: Vec<(String, String)>,
}

/// What an `EXPLAIN` shows beside the plan.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Details {
    pub analyze: bool,
    pub estimated_cost: bool,
    pub changelog_mode: bool,
    pub json: bool,
    pub advice: bool,
}

/// What is explained.
#[derive(Debug)]
pub(super) enum Explained {
    Query(Box<SelectQuery>),
    Inserts(Vec<Insert>),
}

/// A query, with the hints found at its tables.
#[derive(Debug, Clone)]
pub(super) struct SelectQuery {
    pub query: Query,
    /// The options of each hint; the tree holds their numbers ([`super::resolve::HINT`]).
    pub hints: Vec<Vec<(String, String)>>,
}

/// Parses one statement.
pub(super) fn parse(source: &Source) -> Result<Statement> {
    let mut cursor = Cursor::new(source)?;
    let statement = cursor.statement()?;
    cursor.end()?;
    Ok(statement)
}

/// Parses a view's query.
pub(super) fn parse_query(text: &str) -> Result<SelectQuery> {
    let source = Source::new(text, 1);
    let mut cursor = Cursor::new(&source)?;
    let query = cursor.query()?;
    cursor.end()?;
    Ok(query)
}

mod cursor;
mod objects;
mod rows;
mod show;
mod tables;

#[cfg(test)]
mod tests;
