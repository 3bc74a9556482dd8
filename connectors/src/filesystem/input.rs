//! What files are read from: a local file, an object of a bucket, bytes in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{ChunkReader, Length};
use aquifer_model::Result;
use bytes::Bytes;

use super::bucket::Bucket;
use super::paths::failed;

/// Bytes of an object that are asked for at a time.
const BLOCK: u64 = 4 << 20;
/// How many of them are kept.
const BLOCKS: usize = 8;

/// A file being read.
pub(crate) enum Input {
    Local(File),
    Object(ObjectReader),
    Memory(Cursor<Arc<[u8]>>),
}

impl Input {
    /// Opens a file, of the bucket if there is one.
    pub(super) fn open(path: &Path, bucket: Option<&Bucket>) -> Result<Self> {
        match bucket {
            None => File::open(path).map(Self::Local).map_err(|error| failed("opening", path, &error)),
            Some(bucket) => {
                let (length, e_tag) = bucket.head(path)?;
                let blocks = Mutex::default();
                let object = Object { bucket: bucket.clone(), path: path.to_path_buf(), length, e_tag, blocks };
                Ok(Self::Object(ObjectReader { object: Arc::new(object), at: 0 }))
            }
        }
    }

    /// Bytes that are there.
    pub fn of_bytes(bytes: Arc<[u8]>) -> Self {
        Self::Memory(Cursor::new(bytes))
    }

    /// How long it is.
    pub fn length(&self) -> io::Result<u64> {
        match self {
            Self::Local(file) => Ok(file.metadata()?.len()),
            Self::Object(reader) => Ok(reader.object.length),
            Self::Memory(bytes) => Ok(bytes.get_ref().len() as u64),
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read(buffer),
            Self::Object(reader) => reader.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Local(file) => file.seek(to),
            Self::Object(reader) => reader.seek(to),
            Self::Memory(bytes) => bytes.seek(to),
        }
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.length().unwrap_or_default()
    }
}

impl ChunkReader for Input {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Box<dyn Read>, ParquetError> {
        Ok(match self {
            Self::Local(file) => Box::new(file.get_read(start)?),
            Self::Object(reader) => Box::new(ObjectReader { object: Arc::clone(&reader.object), at: start }),
            Self::Memory(bytes) => {
                let mut reader = bytes.clone();
                reader.set_position(start);
                Box::new(reader)
            }
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self {
            Self::Local(file) => file.get_bytes(start, length),
            Self::Object(reader) if length as u64 > BLOCK => {
                let object = &reader.object;
                let end = start.saturating_add(length as u64).min(object.length);
                let bytes = object.bucket.read(&object.path, object.e_tag.as_ref(), start..end);
                bytes.map_err(|error| ParquetError::External(Box::new(error)))
            }
            Self::Object(_) | Self::Memory(_) => {
                let mut bytes = vec![0; length];
                self.get_read(start)?.read_exact(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

/// An object and the blocks of it that were read last.
struct Object {
    bucket: Bucket,
    path: PathBuf,
    length: u64,
    e_tag: Option<String>,
    blocks: Mutex<VecDeque<(u64, Bytes)>>,
}

impl Object {
    /// The block that a byte is in, and its beginning.
    fn block(&self, at: u64) -> io::Result<(u64, Bytes)> {
        let from = at - at % BLOCK;
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = blocks.iter().find(|(start, _)| *start == from) {
            return Ok(found.clone());
        }
        let bytes = self.bucket.read(&self.path, self.e_tag.as_ref(), from..(from + BLOCK).min(self.length));
        let bytes = bytes.map_err(io::Error::other)?;
        if blocks.len() == BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back((from, bytes.clone()));
        Ok((from, bytes))
    }
}

/// A place in an object.
pub(crate) struct ObjectReader {
    object: Arc<Object>,
    at: u64,
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.object.length || buffer.is_empty() {
            return Ok(0);
        }
        let (from, block) = self.object.block(self.at)?;
        let rest = usize::try_from(self.at - from).ok().and_then(|skip| block.get(skip..)).unwrap_or_default();
        if rest.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the object gave fewer bytes than it has"));
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.object.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "before the beginning"))?;
        Ok(self.at)
    }
}
