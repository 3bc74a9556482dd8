//! `'connector' = 'filesystem'`: files of a directory as a table.
//!
//! ```text
//!  path ─► files, sorted (a partition each) ─► records ─► formats ─► changes        where a reader stands: a byte of its file
//! ```
//!
//! Rows come in the order of their file. The set of files is taken when reading starts. What is written is a new file each time, visible once its
//! epoch is committed; `INSERT OVERWRITE` then removes the files that were there.

mod background;
mod bucket;
mod config;
mod encode;
pub(crate) mod format;
mod infer;
pub(crate) mod input;
mod output;
mod parquet;
mod partitions;
mod paths;
mod records;
mod sink;
pub(crate) mod source;

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

    fn overwriting_sink(
        &self,
        table: &Table,
        rows: &SchemaRef,
        fixed: &[(String, Option<String>)],
    ) -> Result<Arc<dyn Sink>> {
        let sink = sink::FilesystemSink::new(config::FilesystemConfig::of(table)?, rows)?;
        Ok(Arc::new(sink.overwriting(fixed)?))
    }

    fn source(&self, table: &Table) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(source::FilesystemSource::new(config::FilesystemConfig::of(table)?)))
    }

    async fn infer(&self, path: &str) -> Result<Option<TableDefinition>> {
        infer::infer(path).await.map(Some)
    }
}
