//! What files are written to: a local file, or an upload to a bucket. Neither is seen before it is published.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aquifer_model::Result;

use super::bucket::{Bucket, Upload};
use super::paths::failed;

/// Bytes of a part of an upload.
const PART: usize = 8 << 20;

/// A file being written.
pub(super) enum Output {
    Local(File),
    Object(Box<ObjectWriter>),
}

/// An upload that is going on; dropped before its end, it is forgotten.
pub(super) struct ObjectWriter {
    bucket: Bucket,
    path: PathBuf,
    /// `None` once it is finished.
    id: Option<String>,
    parts: Vec<String>,
    buffer: Vec<u8>,
}

impl Output {
    /// Makes the file, or makes it empty; in a bucket it begins an upload.
    pub fn create(path: &Path, bucket: Option<&Bucket>) -> Result<Self> {
        match bucket {
            None => File::create(path).map(Self::Local).map_err(|error| failed("making", path, &error)),
            Some(bucket) => {
                let id = Some(bucket.begin(path)?);
                let path = path.to_path_buf();
                Ok(Self::Object(Box::new(ObjectWriter {
                    bucket: bucket.clone(),
                    path,
                    id,
                    parts: Vec::new(),
                    buffer: Vec::new(),
                })))
            }
        }
    }

    /// Makes what was written durable; gives the upload that is to be completed.
    pub fn finish(self, path: &Path) -> Result<Option<Upload>> {
        match self {
            Self::Local(file) => {
                file.sync_all().map_err(|error| failed("syncing", path, &error))?;
                Ok(None)
            }
            Self::Object(mut writer) => {
                if !writer.buffer.is_empty() || writer.parts.is_empty() {
                    writer.put()?;
                }
                let parts = std::mem::take(&mut writer.parts);
                Ok(writer.id.take().map(|id| Upload { id, parts }))
            }
        }
    }
}

impl ObjectWriter {
    fn put(&mut self) -> Result<()> {
        let Some(id) = &self.id else { return Ok(()) };
        let part = self.bucket.put(&self.path, id, self.parts.len(), std::mem::take(&mut self.buffer))?;
        self.parts.push(part);
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.write(bytes),
            Self::Object(writer) => {
                writer.buffer.extend_from_slice(bytes);
                if writer.buffer.len() >= PART {
                    writer.put().map_err(io::Error::other)?;
                }
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Local(file) => file.flush(),
            Self::Object(_) => Ok(()),
        }
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.bucket.abort(&self.path, id);
        }
    }
}
