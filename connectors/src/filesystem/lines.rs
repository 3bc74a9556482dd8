//! A file of lines, a message each. Where a reader stands is the first byte of a line.

use std::fs::File;
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use aquifer_formats::changelog::ChangeDecoder;
use aquifer_model::{ChangeBatch, Error, Result};

use super::paths::failed;
use super::source::FileReader;

const BATCH_ROWS: usize = 8_192;
const CHUNK: usize = 256 * 1024;
/// A line is at most this long.
const MAX_LINE: usize = 64 << 20;

pub(super) struct LineReader {
    path: PathBuf,
    file: File,
    decoder: ChangeDecoder,
    /// Bytes of the file from `offset` on.
    buffer: Vec<u8>,
    offset: u64,
    ended: bool,
}

impl LineReader {
    pub fn open(path: &Path, from: u64, decoder: ChangeDecoder) -> Result<Self> {
        let mut file = File::open(path).map_err(|error| failed("opening", path, &error))?;
        let length = file.metadata().map_err(|error| failed("opening", path, &error))?.len();
        if from > length {
            return Err(Error::gone(format!(
                "`{}` was read to byte {from} and has only {length} now: it was replaced",
                path.display()
            )));
        }
        file.seek(SeekFrom::Start(from)).map_err(|error| failed("reading", path, &error))?;
        Ok(Self { path: path.to_path_buf(), file, decoder, buffer: Vec::new(), offset: from, ended: false })
    }

    /// Takes lines that are whole, until the batch is full or there are no more.
    fn take_lines(&mut self) -> Result<()> {
        let mut at = 0;
        while self.decoder.rows() < BATCH_ROWS {
            let mut rest = &self.buffer[at..];
            let length = rest.skip_until(b'\n').map_err(|error| failed("reading", &self.path, &error))?;
            let bytes = &self.buffer[at..at + length];
            let line = match bytes.strip_suffix(b"\n") {
                Some(line) => line,
                None if self.ended && length > 0 => bytes,
                None => break,
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.iter().all(u8::is_ascii_whitespace) {
                self.decoder.push(line).map_err(|error| {
                    error.context(format!("the line at byte {} of `{}`", self.offset + at as u64, self.path.display()))
                })?;
            }
            at += length;
        }
        self.buffer.drain(..at);
        self.offset += at as u64;
        Ok(())
    }

    fn read_more(&mut self) -> Result<()> {
        if self.buffer.len() > MAX_LINE {
            return Err(Error::invalid(format!(
                "the line at byte {} of `{}` is longer than {MAX_LINE} bytes",
                self.offset,
                self.path.display()
            )));
        }
        let chunk = self.file.by_ref().take(CHUNK as u64).read_to_end(&mut self.buffer);
        self.ended = chunk.map_err(|error| failed("reading", &self.path, &error))? == 0;
        Ok(())
    }
}

impl FileReader for LineReader {
    fn next(&mut self) -> Result<Option<ChangeBatch>> {
        loop {
            self.take_lines()?;
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
