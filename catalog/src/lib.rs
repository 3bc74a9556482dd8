//! Catalogs, databases and tables: what a name means. Read when a statement is planned, never once per record.
//!
//! ```text
//!  definition ── what a catalog or table is, as data, kept by ──► store (versioned JSON, created if absent)
//!  catalogs   ── all catalogs of a data directory; opens a catalog's log on first use
//!  pulsar     ── topics as tables: native (from the topic's schema) and explicit (from DDL)
//! ```

pub mod catalogs;
pub mod definition;
pub mod options;
pub mod store;

pub use catalogs::{Catalog, Catalogs, Table};
pub use definition::{
    CatalogDefinition, ColumnDefinition, ColumnKind, MetadataKey, Origin, TableDefinition, WatermarkDefinition,
};
