//! One file being written, in any format.

use std::io::Write;
use std::path::{Path, PathBuf};

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use aquifer_formats::avro_file::AvroFileEncoder;
use aquifer_formats::changelog::ChangeEncoder;
use aquifer_formats::csv::CsvEncoder;
use aquifer_model::{ChangeBatch, Error, Result};
use arrow::datatypes::SchemaRef;

use super::bucket::{Bucket, Upload};
use super::format::FileFormat;
use super::output::Output;
use super::paths::failed;

/// Bytes that are collected before they are written.
const CHUNK: usize = 1 << 20;

/// A file being written. What is not finished is no file of the table.
pub(super) struct FileEncoder {
    path: PathBuf,
    rows: Rows,
    bytes: u64,
}

#[allow(clippy::large_enum_variant)] // one a file that is written
enum Rows {
    Parquet(Box<ArrowWriter<Output>>),
    Buffered { encoder: Encoder, file: Output, buffer: Vec<u8> },
}

enum Encoder {
    Lines(ChangeEncoder),
    Csv(CsvEncoder),
    Avro(Box<AvroFileEncoder>),
}

fn parquet_failed(path: &Path, error: ::parquet::errors::ParquetError) -> Error {
    Error::unavailable(format!("writing `{}`", path.display())).with_source(error)
}

impl FileEncoder {
    /// Makes the file, or makes it empty; in a bucket it begins an upload.
    pub fn create(path: &Path, bucket: Option<&Bucket>, format: &FileFormat, columns: SchemaRef) -> Result<Self> {
        let file = Output::create(path, bucket)?;
        let buffered = |file: Output, encoder: Encoder, buffer: Vec<u8>| Rows::Buffered { encoder, file, buffer };
        let rows = match format {
            FileFormat::Lines(format) => {
                buffered(file, Encoder::Lines(ChangeEncoder::new(format.clone(), columns)?), Vec::new())
            }
            FileFormat::Csv(format) => {
                buffered(file, Encoder::Csv(CsvEncoder::new(format.clone(), columns)?), Vec::new())
            }
            FileFormat::Avro(codec) => {
                let encoder = AvroFileEncoder::new(*codec, columns, rand::random())?;
                let head = encoder.head().to_vec();
                buffered(file, Encoder::Avro(Box::new(encoder)), head)
            }
            FileFormat::Parquet(format) => {
                let properties = WriterProperties::builder().set_compression(format.compression).build();
                let writer = ArrowWriter::try_new(file, columns, Some(properties));
                Rows::Parquet(Box::new(writer.map_err(|error| parquet_failed(path, error))?))
            }
        };
        Ok(Self { path: path.to_path_buf(), rows, bytes: 0 })
    }

    /// Takes changes whose columns are those of the file.
    pub fn write(&mut self, changes: &ChangeBatch) -> Result<()> {
        match &mut self.rows {
            Rows::Parquet(writer) => {
                writer.write(changes.rows()).map_err(|error| parquet_failed(&self.path, error))?;
                self.bytes = (writer.bytes_written() + writer.in_progress_size()) as u64;
            }
            Rows::Buffered { encoder, file, buffer } => {
                let before = buffer.len();
                match encoder {
                    Encoder::Lines(encoder) => encoder.write(changes, buffer)?,
                    Encoder::Csv(encoder) => encoder.write(changes.rows(), buffer)?,
                    Encoder::Avro(encoder) => encoder.write(changes.rows(), buffer)?,
                }
                self.bytes += (buffer.len() - before) as u64;
                if buffer.len() >= CHUNK {
                    file.write_all(buffer).map_err(|error| failed("writing", &self.path, &error))?;
                    buffer.clear();
                }
            }
        }
        Ok(())
    }

    /// About how long it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the file and syncs it; in a bucket, what is left is to complete the upload.
    pub fn finish(self) -> Result<Option<Upload>> {
        let file = match self.rows {
            Rows::Parquet(writer) => writer.into_inner().map_err(|error| parquet_failed(&self.path, error))?,
            Rows::Buffered { mut file, buffer, .. } => {
                file.write_all(&buffer).map_err(|error| failed("writing", &self.path, &error))?;
                file
            }
        };
        file.finish(&self.path)
    }
}
