//! Decodes row groups of one partition side by side, each on a task of its own; they are given in order.
//!
//! ```text
//!  fetched row groups ─► decoder ─► a few batches ─┐
//!                     ─► decoder ─► a few batches ─┼─► one after the other
//! ```
//!
//! A decoder stops when its batches wait, so what lies decoded is bounded: [`BATCHES`] and one a decoder. It ends when it is dropped.

use aquifer_model::{Error, Result};
use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::archive::hostile::next_rows;

/// Batches that wait decoded, of each row group.
const BATCHES: usize = 2;

/// The rows of a row group, decoded where they are asked for or ahead of that.
pub(super) enum Rows {
    /// Where they are asked for.
    Here(Box<ParquetRecordBatchReader>),
    /// On a task.
    Ahead(Decoder),
}

/// A task that decodes.
pub(super) struct Decoder {
    /// `None` says that all rows are given.
    batches: mpsc::Receiver<Result<Option<RecordBatch>>>,
    task: JoinHandle<()>,
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rows {
    /// Begins to decode on a task. `file` is for messages.
    pub fn ahead(mut reader: Box<ParquetRecordBatchReader>, file: &str) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES);
        let file = file.to_string();
        let task = tokio::spawn(async move {
            loop {
                let next = decode(&mut reader, &file);
                let goes_on = matches!(next, Ok(Some(_)));
                if sender.send(next).await.is_err() || !goes_on {
                    return;
                }
            }
        });
        Self::Ahead(Decoder { batches, task })
    }

    /// The next batch; `None` after the last. Cancel-safe.
    pub async fn next(&mut self, file: &str) -> Result<Option<RecordBatch>> {
        match self {
            Self::Here(reader) => decode(reader, file),
            // A decoder that panicked says nothing: that is not the end of its rows.
            Self::Ahead(decoder) => decoder.batches.recv().await.unwrap_or_else(|| {
                Err(Error::corrupt(format!("file `{file}` of the archive cannot be decoded: its decoder failed")))
            }),
        }
    }
}

fn decode(reader: &mut ParquetRecordBatchReader, file: &str) -> Result<Option<RecordBatch>> {
    next_rows(reader)
        .map_err(|error| Error::corrupt(format!("file `{file}` of the archive cannot be decoded")).with_source(error))
}
