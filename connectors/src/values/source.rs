//! The rows as a bounded source of one partition.

use std::path::Path;
use std::sync::Arc;

use aquifer_model::{Error, Result};
use aquifer_processor::connector::{PartitionId, Polled, Reader, Replay, ResumeToken, Source, Start};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::config::ValuesConfig;
use crate::filesystem::input::Input;
use crate::filesystem::source::FileReader;

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
        let from = match from {
            Start::Beginning => 0,
            Start::At(token) => {
                let bytes = token.0.as_slice().try_into();
                bytes.map(u64::from_be_bytes).map_err(|_| Error::corrupt("a resume token of values has 8 bytes"))?
            }
        };
        let input = Input::of_bytes(Arc::clone(&self.config.data));
        let columns = Arc::clone(&self.columns);
        let rows = self.config.format.open(input, Path::new(DATA), from, &self.config.schema, columns)?;
        Ok(Box::new(ValuesReader { given: rows.stands_at(), rows }))
    }
}

struct ValuesReader {
    rows: Box<dyn FileReader>,
    given: u64,
}

#[async_trait]
impl Reader for ValuesReader {
    async fn next(&mut self) -> Result<Polled> {
        match self.rows.next()? {
            None => Ok(Polled::End),
            Some(changes) => {
                self.given = self.rows.stands_at();
                Ok(Polled::Changes(changes))
            }
        }
    }

    fn resume_at(&self) -> ResumeToken {
        ResumeToken(self.given.to_be_bytes().to_vec())
    }

    async fn confirm(&mut self, _token: &ResumeToken) -> Result<()> {
        Ok(())
    }
}
