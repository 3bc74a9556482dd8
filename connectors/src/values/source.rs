//! The rows as a bounded source of one partition.

use std::path::Path;
use std::sync::Arc;

use aquifer_model::Result;
use aquifer_processor::connector::{PartitionId, Reader, Replay, Source, Start};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::config::ValuesConfig;
use crate::filesystem::input::Input;
use crate::filesystem::source::FilesystemReader;

/// How the rows are called in errors.
const DATA: &str = "'data'";

#[derive(Debug, Clone)]
pub(super) struct ValuesSource {
    config: ValuesConfig,
    /// The columns that are read.
    columns: SchemaRef,
}

impl ValuesSource {
    pub fn new(config: ValuesConfig) -> Self {
        Self { columns: Arc::clone(&config.schema), config }
    }
}

#[async_trait]
impl Source for ValuesSource {
    fn replay(&self) -> Replay {
        Replay::Same
    }

    fn is_bounded(&self) -> bool {
        true
    }

    fn is_insert_only(&self) -> bool {
        self.config.format.is_insert_only()
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn project(&self, columns: &[usize]) -> Option<Arc<dyn Source>> {
        let columns = Arc::new(self.columns.project(columns).ok()?);
        Some(Arc::new(Self { columns, config: self.config.clone() }))
    }

    async fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok(vec![PartitionId(DATA.to_string())])
    }

    async fn open(&self, _partition: &PartitionId, from: Start) -> Result<Box<dyn Reader>> {
        let source = self.clone();
        let open = move |from| {
            let ValuesConfig { schema, format, data } = &source.config;
            format.open(Input::of_bytes(Arc::clone(data)), Path::new(DATA), from, schema, Arc::clone(&source.columns))
        };
        FilesystemReader::open("values", from, open).await
    }
}
