//! Proof of an archive: its chain is linked and without holes, its files are there, whole, and hold the rows that the manifests say.

use aquifer_formats::messages::column;
use aquifer_model::{Cut, Error, Partition, Position, Result};
use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::archiver::PIN;
use super::chain::Chain;
use super::hostile::{check_end, guarded, next_rows};
use super::manifest::{DataFile, Manifest, sha256};
use crate::reader::TieredTopic;

/// What was proven of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Manifests read.
    pub manifests: u64,
    /// Files read.
    pub files: u64,
    /// Rows counted.
    pub rows: u64,
    /// Bytes checked.
    pub bytes: u64,
    /// The archive's end.
    pub end: Cut,
}

/// Proves the archive of one partition; the error names the object that is wrong.
pub async fn verify(topic: &TieredTopic, partition: &Partition) -> Result<Verified> {
    let location =
        topic.archive.as_ref().ok_or_else(|| Error::invalid(format!("topic `{}` has no archive", topic.topic)))?;
    let identity = topic.log.identity(&topic.topic).await?;
    let chain = Chain::new(location, &identity, partition);
    let mut done = Verified::default();
    let mut previous: Option<(Manifest, Bytes)> = None;
    let newest = chain.newest().await?.map_or(0, |(manifest, _)| manifest.version);
    for version in 1..=newest {
        let (manifest, bytes) = chain
            .read(version)
            .await?
            .ok_or_else(|| Error::corrupt(format!("manifest {version} of `{partition}` is missing")))?;
        manifest.follows(previous.as_ref().map(|(manifest, bytes)| (manifest, bytes.as_ref())))?;
        if manifest.identity != identity {
            return Err(Error::corrupt(format!("manifest {version} of `{partition}` is of another topic")));
        }
        done.manifests += 1;
        done.end = manifest.to;
        previous = Some((manifest, bytes));
    }
    // What the pin has passed is gone: the archive must hold it. So a chain whose newest manifests were lost shows.
    if let Some(Cut::After(passed)) = topic.log.find_pin(partition, PIN).await?
        && !done.end.covers(passed)
    {
        return Err(Error::corrupt(format!(
            "the archive of `{partition}` ends {}, but its pin `{PIN}` stands at {passed}: manifests after {newest} are lost, or someone moved the pin",
            done.end
        )));
    }
    let mut last: Option<(Position, i32)> = None;
    if let Some(state) = chain.load().await? {
        for file in &state.files {
            let bytes = chain
                .read_file(&file.path)
                .await
                .map_err(|error| error.context(format_args!("verifying `{partition}`")))?;
            let file_name = chain.location().shown(&chain.file_path(file));
            let checked = file.clone();
            let task = tokio::task::spawn_blocking(move || check_file(&checked, &file_name, bytes, last));
            last = task.await.map_err(|e| Error::internal("verifying a file").with_source(e))??;
            done.files += 1;
            done.rows += file.rows;
            done.bytes += file.bytes;
        }
    }
    Ok(done)
}

/// Checks one file's bytes, rows and order; gives its last row's place.
fn check_file(
    file: &DataFile,
    name: &str,
    bytes: Bytes,
    mut last: Option<(Position, i32)>,
) -> Result<Option<(Position, i32)>> {
    let wrong = |what: String| Error::corrupt(format!("file `{name}` {what}"));
    if bytes.len() as u64 != file.bytes {
        return Err(wrong(format!("has {} bytes, its manifest says {}", bytes.len(), file.bytes)));
    }
    let found = sha256(&bytes);
    if found != file.sha256 {
        return Err(wrong(format!("has the checksum {found}, its manifest says {}", file.sha256)));
    }
    check_end(&bytes, bytes.len() as u64, name)?;
    let unreadable = |error: parquet::errors::ParquetError| wrong("cannot be read".to_string()).with_source(error);
    let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(bytes)).map_err(unreadable)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [column::LEDGER, column::ENTRY, column::BATCH_INDEX]);
    let mut rows = 0u64;
    let mut reader = builder.with_projection(mask).build().map_err(unreadable)?;
    while let Some(batch) = next_rows(&mut reader).map_err(unreadable)? {
        let ledgers = batch.column(0).as_primitive::<UInt64Type>();
        let entries = batch.column(1).as_primitive::<UInt64Type>();
        let indices = batch.column(2).as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let position = Position::new(ledgers.value(row), entries.value(row));
            let here = (position, indices.value(row));
            if last.is_some_and(|last| last >= here) {
                return Err(wrong(format!("has row {position}/{} out of order", here.1)));
            }
            if !file.covers.contains(position) {
                return Err(wrong(format!("has row {position} outside {}", file.covers)));
            }
            last = Some(here);
        }
        rows += batch.num_rows() as u64;
    }
    if rows != file.rows {
        return Err(wrong(format!("has {rows} rows, its manifest says {}", file.rows)));
    }
    Ok(last)
}
