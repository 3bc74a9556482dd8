//! `'connector' = 'filesystem'`: files of a directory as a table.
//!
//! ```text
//!  path ─► files, sorted (a partition each) ─► records ─► formats ─► changes        where a reader stands: a byte of its file
//! ```
//!
//! Rows come in the order of their file. The set of files is taken when reading starts. What is written is a new file each time, visible once its
//! epoch is committed.

mod background;
mod config;
mod encode;
mod format;
mod infer;
mod parquet;
mod partitions;
mod paths;
mod records;
mod sink;
mod source;

use std::sync::Arc;

use aquifer_catalog::TableDefinition;
use aquifer_model::Result;
use aquifer_processor::connector::{Connector, Sink, Source, Table};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

/// The connector.
#[derive(Debug)]
pub struct Filesystem;

#[async_trait]
impl Connector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn sink(&self, table: &Table, rows: &SchemaRef) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(sink::FilesystemSink::new(config::FilesystemConfig::of(table)?, rows)?))
    }

    fn source(&self, table: &Table) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(source::FilesystemSource::new(config::FilesystemConfig::of(table)?)))
    }

    async fn infer(&self, path: &str) -> Result<Option<TableDefinition>> {
        infer::infer(path).await.map(Some)
    }
}
