//! Files and manifests made straight from rows, without a log: for benchmarks and imports.

use std::collections::BTreeMap;

use aquifer_model::{Cut, Error, Interval, Result, TopicIdentity, TopicName};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use uuid::Uuid;

use super::chain::{Chain, ChainState, Commit};
use super::file::{FileWriter, file_name};
use super::manifest::{Draft, Kind, Manifest};

/// What the rows are of.
#[derive(Debug, Clone)]
pub struct BulkTopic {
    /// The topic's name.
    pub topic: TopicName,
    /// The topic; a reader finds the chain by it.
    pub identity: TopicIdentity,
    /// The partition's number.
    pub partition: u32,
}

/// Adds rows to the end of a chain, one file and one manifest for about `rows_per_file` of them. The batches have the columns of
/// [`super::file::file_schema`], in log order, after the chain's end; a batch ends where an entry ends. Fails with `Fenced` if someone else adds to the chain.
pub async fn append(
    chain: &Chain,
    of: &BulkTopic,
    value_columns: &Schema,
    rows_per_file: u64,
    batches: impl IntoIterator<Item = RecordBatch>,
) -> Result<Option<ChainState>> {
    let mut state = chain.load().await?;
    let mut writer = FileWriter::new(value_columns);
    let owner = Uuid::new_v4().to_string();
    let mut batches = batches.into_iter().peekable();
    while let Some(batch) = batches.next() {
        writer.write_rows(&batch)?;
        if writer.rows() < rows_per_file && batches.peek().is_some() {
            continue;
        }
        let full = std::mem::replace(&mut writer, FileWriter::new(value_columns));
        let Some(last) = full.last() else { continue };
        let from = state.as_ref().map_or(Cut::Start, ChainState::end);
        let version = state.as_ref().map_or(1, |state| state.newest.version + 1);
        let (bytes, file) = full.finish(file_name(version, Uuid::new_v4()), Interval::new(from, Cut::After(last)))?;
        if file.positions.is_some_and(|(first, _)| from.covers(first)) {
            return Err(Error::invalid(format!("the rows begin before the archive's end ({from})")));
        }
        chain.put_file(&file.path, bytes).await?;
        let draft = Draft {
            kind: Kind::Data,
            owner: owner.clone(),
            topic: of.topic.clone(),
            identity: of.identity.clone(),
            partition: of.partition,
            added: vec![file],
            ledgers: Vec::new(),
            schemas: BTreeMap::new(),
            unpinned: false,
        };
        let manifest = Manifest::after(state.as_ref(), draft, Uuid::new_v4().to_string());
        if chain.commit(&manifest).await? != Commit::Mine {
            return Err(Error::fenced(format!("someone else adds to the archive of `{}`", of.topic)));
        }
        state = chain.load().await?;
    }
    Ok(state)
}
