//! What is asked of a Parquet file before the library reads it: lengths that fit, lists that are there, pages that inflate to no more than they may.
//!
//! The library trusts what a file says of itself: it makes room for lists and pages before it reads them, and panics at some that cannot be. Archives and files of
//! others may be hostile, so both go through here.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use aquifer_formats::entry::EntryLimits;
use aquifer_model::{Error, Result};
use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::errors::ParquetError;

use super::thrift::{self, PageHead};

/// The shortest and longest footer that is handed to the Parquet library. Its metadata is about a hundred bytes a column chunk.
pub const MAX_FOOTER_BYTES: u64 = 16 << 20;

/// Checks the end of a file before the library parses it: its magic, and that the metadata's length fits the file and a limit. `tail` are the
/// last eight bytes.
pub fn check_footer(tail: &[u8], length: u64, path: &str) -> Result<()> {
    let wrong = |what: String| Err(Error::corrupt(format!("file `{path}` {what}")));
    let Ok::<[u8; 8], _>([a, b, c, d, magic @ ..]) = tail.try_into() else {
        return wrong("is too short for Parquet".into());
    };
    if &magic != b"PAR1" {
        return wrong("does not end as Parquet does".into());
    }
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer + 12 > length || footer > MAX_FOOTER_BYTES {
        return wrong(format!("has a footer of {footer} bytes, which cannot be right"));
    }
    Ok(())
}

/// Checks a file's metadata (the bytes before the last eight) before the library parses it: see [`thrift`].
pub fn check_metadata(metadata: &[u8], path: &str) -> Result<()> {
    thrift::check_struct(metadata)
        .map_err(|what| Error::corrupt(format!("file `{path}` has metadata that cannot be right: {what}")))
}

/// How long a page may be, inflated, and which option of a table says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// In bytes.
    pub bytes: u64,
    /// For messages.
    pub option: &'static str,
}

impl PageLimit {
    /// The longest page that an archiver under these limits makes: it writes some 8 MiB of payloads and one entry at once, and a value of a column may be eight times
    /// as long as it is in a payload (a number of one byte, in an array).
    pub fn of_archives(limits: &EntryLimits) -> Self {
        let bytes = (limits.max_inflated_bytes as u64).saturating_mul(8) + (64 << 20);
        Self { bytes, option: "aquifer.max-inflated-bytes" }
    }
}

/// Checks pages of a column, one behind the other, before the library makes room for what they say that they inflate to. A head that no page has is refused.
pub fn check_pages(mut pages: &[u8], limit: &PageLimit, path: &str) -> Result<()> {
    while !pages.is_empty() {
        let head = check_page_head(pages, limit, path)?;
        let end = usize::try_from(head.stored).ok().and_then(|stored| head.length.checked_add(stored));
        match end.and_then(|end| pages.get(end..)) {
            Some(rest) => pages = rest,
            // Longer than what is there: the library says so.
            None => break,
        }
    }
    Ok(())
}

/// Checks the head of the page that `bytes` begin with.
fn check_page_head(bytes: &[u8], limit: &PageLimit, path: &str) -> Result<PageHead> {
    let head = thrift::page_head(bytes)
        .map_err(|what| Error::corrupt(format!("file `{path}` has a page whose head cannot be right: {what}")))?;
    let PageLimit { bytes: most, option } = *limit;
    if u64::try_from(head.inflated).is_ok_and(|inflated| inflated > most) {
        return Err(Error::corrupt(format!(
            "file `{path}` has a page that claims to inflate to {} bytes, above the limit of {most}: if it is right, set '{option}' of the table higher",
            head.inflated
        )));
    }
    Ok(head)
}

/// The first guess of how long a page's head is. One with statistics may be longer.
const HEAD_BYTES: usize = 256;
/// The longest head: its statistics have two values of each kind at most, which writers cut.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// Reads from where a page begins: its head is checked before the first byte is given.
pub struct CheckedPage<R> {
    inner: R,
    limit: PageLimit,
    path: Arc<str>,
    /// Read ahead, and how much of it is given; `None` before the check.
    head: Option<(Vec<u8>, usize)>,
}

impl<R: Read> CheckedPage<R> {
    /// Over what begins with a page. `path` is for messages.
    pub fn new(inner: R, limit: PageLimit, path: Arc<str>) -> Self {
        Self { inner, limit, path, head: None }
    }

    fn check(&mut self) -> std::io::Result<Vec<u8>> {
        let mut head = Vec::new();
        let mut wanted = HEAD_BYTES;
        loop {
            self.inner.by_ref().take((wanted - head.len()) as u64).read_to_end(&mut head)?;
            match check_page_head(&head, &self.limit, &self.path) {
                // What is cut off in the middle looks wrong; with more of it, it may not.
                Err(_) if head.len() == wanted && wanted < MAX_HEAD_BYTES && thrift::page_head(&head).is_err() => {
                    wanted *= 4;
                }
                checked => return checked.map(|_| head).map_err(std::io::Error::other),
            }
        }
    }
}

impl<R: Read> Read for CheckedPage<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.head.is_none() {
            self.head = Some((self.check()?, 0));
        }
        if let Some((head, given)) = &mut self.head
            && *given < head.len()
        {
            let count = buffer.len().min(head.len() - *given);
            buffer[..count].copy_from_slice(&head[*given..*given + count]);
            *given += count;
            return Ok(count);
        }
        self.inner.read(buffer)
    }
}

/// Runs what reads a footer: where the Parquet library panics (59.3 does, at an Arrow schema in it that cannot be), that is an error too.
pub fn guarded<T>(read: impl FnOnce() -> std::result::Result<T, ParquetError>) -> std::result::Result<T, ParquetError> {
    let impossible = |_| Err(ParquetError::General("the Arrow schema in its metadata cannot be right".to_string()));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(impossible)
}

/// The next rows of a reader. Where the library panics (59.3 does, at a run length in a page that is too long to be one), that is an error, after which the reader
/// is not to be asked again.
pub fn next_rows(reader: &mut ParquetRecordBatchReader) -> std::result::Result<Option<RecordBatch>, ParquetError> {
    let impossible = |_| Err(ParquetError::General("the values of a page cannot be right".to_string()));
    let next = || reader.next().transpose().map_err(ParquetError::from);
    catch_unwind(AssertUnwindSafe(next)).unwrap_or_else(impossible)
}

/// How many bytes at a file's end are its footer: the metadata, its length and the magic. `tail` are the last eight bytes, checked.
pub fn footer_bytes(tail: &[u8]) -> u64 {
    8 + tail.first_chunk::<4>().map_or(0, |length| u64::from(u32::from_le_bytes(*length)))
}

/// Both checks on a file's end: `end` has its footer or more, and `length` is the whole file's length.
pub fn check_end(end: &[u8], length: u64, path: &str) -> Result<()> {
    let (before, tail) = end.split_at(end.len().saturating_sub(8));
    check_footer(tail, length, path)?;
    let metadata = usize::try_from(footer_bytes(tail) - 8).unwrap_or(usize::MAX);
    check_metadata(&before[before.len().saturating_sub(metadata)..], path)
}
