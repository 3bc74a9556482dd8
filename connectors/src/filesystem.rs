//! `'connector' = 'filesystem'`: files of a directory as a table.
//!
//! ```text
//!  path ─► files, sorted (a partition each) ─► records ─► formats ─► changes        where a reader stands: a byte of its file
//! ```
//!
//! Rows come in the order of their file. The set of files is taken when reading starts.

mod background;
mod config;
mod format;
mod parquet;
mod partitions;
mod paths;
mod records;
mod source;

use std::sync::Arc;

use aquifer_model::Result;
use aquifer_processor::connector::{Connector, Source, Table};

/// The connector.
#[derive(Debug)]
pub struct Filesystem;

impl Connector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn source(&self, table: &Table) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(source::FilesystemSource::new(config::FilesystemConfig::of(table)?)))
    }
}
