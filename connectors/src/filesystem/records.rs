//! A file of records, taken one after the other. Where a reader stands is the first byte of a record.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use aquifer_formats::records::RecordDecoder;
use aquifer_model::{ChangeBatch, Error, Result};

use super::input::Input;
use super::paths::failed;
use super::source::FileReader;

const BATCH_ROWS: usize = 8_192;
const CHUNK: usize = 256 * 1024;
/// A record is at most this long.
const MAX_RECORD: usize = 80 << 20;

pub(super) struct RecordReader {
    path: PathBuf,
    file: Input,
    decoder: Box<dyn RecordDecoder>,
    /// Bytes of the file from `offset` on.
    buffer: Vec<u8>,
    offset: u64,
    ended: bool,
}

impl RecordReader {
    pub fn open(file: Input, path: &Path, from: u64, decoder: Box<dyn RecordDecoder>) -> Result<Self> {
        let length = file.length().map_err(|error| failed("opening", path, &error))?;
        if from > length {
            return Err(Error::gone(format!(
                "`{}` was read to byte {from} and has only {length} now: it was replaced",
                path.display()
            )));
        }
        let path = path.to_path_buf();
        let mut reader = Self { path, file, decoder, buffer: Vec::new(), offset: 0, ended: false };
        let head = loop {
            if let Some(head) =
                reader.decoder.take_head(&reader.buffer, reader.ended).map_err(|error| reader.at(error))?
            {
                break head;
            }
            reader.read_more()?;
        };
        if from > head as u64 {
            reader.buffer.clear();
            reader.file.seek(SeekFrom::Start(from)).map_err(|error| failed("reading", &reader.path, &error))?;
            reader.offset = from;
            reader.ended = false;
        } else {
            reader.buffer.drain(..head);
            reader.offset = head as u64;
        }
        Ok(reader)
    }

    fn at(&self, error: Error) -> Error {
        error.context(format!("the record at byte {} of `{}`", self.offset, self.path.display()))
    }

    /// Takes records that are whole, until the batch is full or there are no more.
    fn take_records(&mut self) -> Result<()> {
        let mut at = 0;
        while self.decoder.rows() < BATCH_ROWS && at < self.buffer.len() {
            match self.decoder.take(&self.buffer[at..], self.ended) {
                Ok(Some(length)) => at += length,
                Ok(None) if self.ended => return Err(self.at(Error::corrupt("it ends too early"))),
                Ok(None) => break,
                Err(error) => {
                    self.offset += at as u64;
                    return Err(self.at(error));
                }
            }
        }
        self.buffer.drain(..at);
        self.offset += at as u64;
        Ok(())
    }

    fn read_more(&mut self) -> Result<()> {
        if self.buffer.len() > MAX_RECORD {
            return Err(Error::invalid(format!(
                "the record at byte {} of `{}` is longer than {MAX_RECORD} bytes",
                self.offset,
                self.path.display()
            )));
        }
        // More each time, so that a long record is not looked at again and again.
        let more = self.buffer.len().max(CHUNK);
        let chunk = self.file.by_ref().take(more as u64).read_to_end(&mut self.buffer);
        self.ended = chunk.map_err(|error| failed("reading", &self.path, &error))? == 0;
        Ok(())
    }
}

impl FileReader for RecordReader {
    fn next(&mut self) -> Result<Option<ChangeBatch>> {
        loop {
            self.take_records()?;
            if self.decoder.rows() > 0 {
                let changes = self.decoder.finish()?;
                // All of them may have been wrong, and ignored.
                if changes.num_rows() > 0 {
                    return Ok(Some(changes));
                }
            } else if self.ended {
                return Ok(None);
            } else {
                self.read_more()?;
            }
        }
    }

    fn stands_at(&self) -> u64 {
        self.offset
    }
}
