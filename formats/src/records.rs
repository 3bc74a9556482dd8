//! Records of a file, taken from its bytes one after the other.
//!
//! ```text
//!  head (a CSV header, an Avro schema; mostly none) ─ record ─ record ─ …        each record is taken whole, or more bytes are asked for
//! ```

use aquifer_model::{ChangeBatch, Result};

use crate::changelog::ChangeDecoder;

/// Decodes a file's records.
///
/// # Contract
/// *Caller*: gives the head first, then records from any place where one begins. *Implementation*: bounded memory for hostile bytes; never panics.
pub trait RecordDecoder: Send {
    /// Takes what stands before the first record: how many bytes of the file's beginning that is; `None` if more are needed.
    fn take_head(&mut self, bytes: &[u8], ended: bool) -> Result<Option<usize>> {
        let _ = (bytes, ended);
        Ok(Some(0))
    }
    /// Takes the record (or block of records) that `bytes` begin with: how many bytes that is; `None` if more are needed. `ended`: there are no more.
    fn take(&mut self, bytes: &[u8], ended: bool) -> Result<Option<usize>>;
    /// How many rows [`RecordDecoder::finish`] gives at most.
    fn rows(&self) -> usize;
    /// The changes so far; it is empty again.
    fn finish(&mut self) -> Result<ChangeBatch>;
}

/// The first line's length with its end; `None` if more bytes are needed, or there is nothing.
pub(crate) fn line(bytes: &[u8], ended: bool) -> Option<usize> {
    match memchr::memchr(b'\n', bytes) {
        Some(at) => Some(at + 1),
        None => (ended && !bytes.is_empty()).then_some(bytes.len()),
    }
}

/// A message a line; blank lines are none.
impl RecordDecoder for ChangeDecoder {
    fn take(&mut self, bytes: &[u8], ended: bool) -> Result<Option<usize>> {
        let Some(length) = line(bytes, ended) else { return Ok(None) };
        let message = bytes[..length].trim_ascii_end();
        if !message.trim_ascii_start().is_empty() {
            self.push(message)?;
        }
        Ok(Some(length))
    }

    fn rows(&self) -> usize {
        ChangeDecoder::rows(self)
    }

    fn finish(&mut self) -> Result<ChangeBatch> {
        ChangeDecoder::finish(self)
    }
}
