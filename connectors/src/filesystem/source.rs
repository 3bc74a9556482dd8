//! Files as a bounded source, one partition each; the reading itself is done on threads that may block.

use std::path::Path;
use std::sync::Arc;

use aquifer_model::{ChangeBatch, Error, Result};
use aquifer_processor::connector::{PartitionId, Polled, Reader, Replay, ResumeToken, Source, Start};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;

use super::background::{Background, blocking};
use super::config::FilesystemConfig;
use super::input::Input;
use super::partitions::WithPartition;

/// A file being read, by a thread that may block.
pub(crate) trait FileReader: Send {
    /// The next changes, at least one; `None` at the end, again and again.
    fn next(&mut self) -> Result<Option<ChangeBatch>>;
    /// Where to open so that what comes next is the next change: the format's own count.
    fn stands_at(&self) -> u64;
}

#[derive(Debug, Clone)]
pub(super) struct FilesystemSource {
    config: FilesystemConfig,
    /// The columns that are read.
    columns: SchemaRef,
}

impl FilesystemSource {
    pub fn new(config: FilesystemConfig) -> Self {
        Self { columns: Arc::clone(&config.schema), config }
    }
}

fn open_file(source: &FilesystemSource, path: &Path, from: u64) -> Result<Box<dyn FileReader>> {
    let (config, columns) = (&source.config, &source.columns);
    let input = Input::open(path, config.bucket.as_ref())?;
    if config.partition_keys.is_empty() {
        return config.format.open(input, path, from, &config.in_file, Arc::clone(columns));
    }
    let stored = columns.fields().iter().filter(|field| !config.partition_keys.contains(field.name()));
    let stored = Arc::new(Schema::new(stored.cloned().collect::<Vec<FieldRef>>()));
    let file = config.format.open(input, path, from, &config.in_file, stored)?;
    let columns = Arc::clone(columns);
    Ok(Box::new(WithPartition::new(file, columns, &config.partition_keys, &config.default_name, path)?))
}

#[async_trait]
impl Source for FilesystemSource {
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
        let config = self.config.clone();
        let files = blocking(move || config.files()).await?;
        let mut partitions = Vec::with_capacity(files.len());
        for file in files {
            let name = file.into_os_string().into_string();
            let name = name.map_err(|_| Error::invalid("a file's path is not UTF-8"))?;
            let counts = match &self.config.only {
                None => true,
                Some(only) if self.config.bucket.is_some() => only.matches(&name),
                Some(only) => only.matches(&std::path::absolute(&name).unwrap_or_default().to_string_lossy()),
            };
            if counts {
                partitions.push(PartitionId(name));
            }
        }
        Ok(partitions)
    }

    async fn open(&self, partition: &PartitionId, from: Start) -> Result<Box<dyn Reader>> {
        let (source, path) = (self.clone(), partition.0.clone());
        FilesystemReader::open("filesystem", from, move |from| open_file(&source, Path::new(&path), from)).await
    }
}

/// A file as a partition; a resume token is the format's own count.
pub(crate) struct FilesystemReader {
    file: Background<Box<dyn FileReader>, Result<Option<(ChangeBatch, u64)>>>,
    /// Where the last batch given ended.
    given: u64,
}

impl FilesystemReader {
    /// Opens a file where it is to begin, on a thread that may block. `connector` is for messages.
    pub(crate) async fn open(
        connector: &str,
        from: Start,
        open: impl FnOnce(u64) -> Result<Box<dyn FileReader>> + Send + 'static,
    ) -> Result<Box<dyn Reader>> {
        let from = match from {
            Start::Beginning => 0,
            Start::At(token) => {
                let wrong = |_| Error::corrupt(format!("a resume token of {connector} has 8 bytes"));
                token.0.as_slice().try_into().map(u64::from_be_bytes).map_err(wrong)?
            }
        };
        let file = blocking(move || open(from)).await?;
        Ok(Box::new(Self { file: Background::new(file), given: from }))
    }
}

#[async_trait]
impl Reader for FilesystemReader {
    async fn next(&mut self) -> Result<Polled> {
        let next = |file: &mut Box<dyn FileReader>| Ok(file.next()?.map(|changes| (changes, file.stands_at())));
        match self.file.run(next).await?? {
            None => Ok(Polled::End),
            Some((changes, stands_at)) => {
                self.given = stands_at;
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

#[cfg(test)]
mod tests;
