//! Catalogs, databases and tables: what a name means. Read when a statement is planned, never once per record.
//!
//! ```text
//!  definition ── what a catalog or table is, as data, kept by ──► store (versioned JSON, created if absent)
//!  options    ── the keys of WITH: spellings, values, what is refused, what is accepted without meaning
//!  catalogs   ── all catalogs of a data directory; opens a log on first use
//!  catalog    ── one of them: databases and tables, native (from the topic's schema) and explicit (from DDL)
//!  credentials ── when a table's own addresses have its catalog's token
//!  databases  ── namespaces, their policies and comments
//!  table      ── a table found by name: columns, and the topics it reads
//!  key_columns ── which of its columns stand in the message's key only
//!  some_partitions ── a log of which a topic has some partitions only
//!  topic_pattern ── the topics of a table whose names match an expression
//!  alter      ── ALTER TABLE, and the schema version that goes with it
//!  evolve     ── another schema version of a topic, for columns that ALTER TABLE changed
//!  views      ── queries with a name, stored beside the tables
//! ```

mod alter;
pub mod catalog;
pub mod catalogs;
mod credentials;
mod databases;
pub mod definition;
mod evolve;
mod key_columns;
mod names;
pub mod options;
mod some_partitions;
pub mod store;
pub mod table;
pub mod topic_pattern;
mod views;

pub use catalog::Catalog;
pub use catalogs::Catalogs;
pub use definition::{
    CatalogDefinition, ColumnDefinition, ColumnKind, Distribution, MetadataKey, Origin, TableDefinition, ViewColumn,
    ViewDefinition, WatermarkDefinition,
};
pub use key_columns::{KeyColumns, key_field};
pub use table::{Table, Target};
