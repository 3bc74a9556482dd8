//! All catalogs of a data directory, and the tables in them.
//!
//! `default_catalog` with its database `default_database` is the embedded log of the data directory; `CREATE CATALOG` adds others, which
//! connect to nothing before their first use.

use std::path::PathBuf;
use std::sync::Arc;

use aquifer_model::{Result, TopicName};
use aquifer_storage::reader::TieredTopic;

use crate::definition::{CatalogDefinition, Origin, TableDefinition};

/// All catalogs of a data directory.
#[derive(Debug)]
pub struct Catalogs {
    _data_dir: PathBuf,
}

/// One catalog.
#[derive(Debug)]
pub struct Catalog {}

/// A table found by name.
#[derive(Debug, Clone)]
pub struct Table {
    /// Catalog, database and table, as they are really written.
    pub name: [String; 3],
    /// What it is.
    pub definition: TableDefinition,
    /// Where the definition comes from.
    pub origin: Origin,
    /// What it reads and writes.
    pub target: Target,
}

/// What a table reads and writes.
#[derive(Debug, Clone)]
pub enum Target {
    /// Topics of a log, usually one.
    Topics(Vec<TieredTopic>),
    /// A connector that the processor looks up by `definition.options["connector"]`.
    Connector,
}

impl Catalogs {
    /// Opens the definitions under `data_dir`. Opens no log: the embedded one is opened (and locked) on first use.
    pub async fn open(_data_dir: PathBuf) -> Result<Arc<Self>> {
        todo!()
    }

    /// Names, sorted.
    pub fn names(&self) -> Vec<String> {
        todo!()
    }

    /// A catalog by name: exactly, or without case if exactly one fits.
    pub fn get(&self, _name: &str) -> Result<Arc<Catalog>> {
        todo!()
    }

    /// Adds a catalog durably. Connects to nothing; unknown option keys are refused with the nearest known one.
    pub async fn create(&self, _definition: CatalogDefinition, _if_not_exists: bool) -> Result<()> {
        todo!()
    }

    /// Removes a catalog's definition (never its topics).
    pub async fn drop_catalog(&self, _name: &str, _if_exists: bool) -> Result<()> {
        todo!()
    }
}

impl Catalog {
    /// Its definition; secrets masked by whoever prints it.
    pub fn definition(&self) -> &CatalogDefinition {
        todo!()
    }

    /// The database that `USE CATALOG` selects.
    pub fn default_database(&self) -> &str {
        todo!()
    }

    /// Databases, sorted.
    pub async fn databases(&self) -> Result<Vec<String>> {
        todo!()
    }

    /// Makes a database (a namespace).
    pub async fn create_database(&self, _database: &str, _if_not_exists: bool) -> Result<()> {
        todo!()
    }

    /// Tables of a database, sorted: topics and explicit tables.
    pub async fn tables(&self, _database: &str) -> Result<Vec<String>> {
        todo!()
    }

    /// A table by name: exactly first, then without case if exactly one fits. The error names the nearest.
    pub async fn table(&self, _database: &str, _table: &str) -> Result<Table> {
        todo!()
    }

    /// `CREATE TABLE`: without a `connector` option makes the topic, its partitions and schema; with one keeps the definition.
    pub async fn create_table(
        &self,
        _database: &str,
        _table: &str,
        _definition: TableDefinition,
        _if_not_exists: bool,
    ) -> Result<()> {
        todo!()
    }

    /// `ALTER TABLE`: keeps a new definition for an explicit table, or beside a native topic (watermark, key, computed and metadata columns).
    pub async fn alter_table(&self, _database: &str, _table: &str, _definition: TableDefinition) -> Result<()> {
        todo!()
    }

    /// `DROP TABLE`: an explicit table's definition; a topic only where `purge` is set.
    pub async fn drop_table(&self, _database: &str, _table: &str, _if_exists: bool, _purge: bool) -> Result<()> {
        todo!()
    }

    /// The table's topic with the options of an `OPTIONS` hint laid over its own.
    pub async fn with_options(&self, _table: &Table, _options: &[(String, String)]) -> Result<Table> {
        todo!()
    }

    /// The topic that a database and table name stand for.
    pub fn topic_name(&self, _database: &str, _table: &str) -> Result<TopicName> {
        todo!()
    }
}
