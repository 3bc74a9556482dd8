//! Parquet files. Columns are found by name; where a reader stands is a number of rows.
//!
//! A file may be hostile: its end is checked before the library parses it, and the head of each page before it is inflated.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aquifer_formats::payload::cast_column;
use aquifer_model::{ChangeBatch, Error, Result};
use aquifer_storage::archive::hostile::{
    CheckedPage, PageLimit, check_end, check_footer, footer_bytes, guarded, next_rows,
};
use arrow::array::{Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::input::Input;
use super::paths::failed;
use super::source::FileReader;

const BATCH_ROWS: usize = 8_192;

pub(super) struct ParquetReader {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    columns: SchemaRef,
    at: u64,
}

/// A file's column chunks. The library reads the head of a page from where it begins, and asks for the page itself then; it never has page indexes here, by which it
/// would ask for both at once.
struct Pages {
    file: Input,
    limit: PageLimit,
    path: Arc<str>,
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Pages {
    type T = CheckedPage<Box<dyn Read>>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        // It also makes a reader of the place behind a head that it has read, and asks it for nothing: the check waits for that.
        Ok(CheckedPage::new(self.file.get_read(start)?, self.limit, Arc::clone(&self.path)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.file.get_bytes(start, length)
    }
}

/// A file and what its end says, which has been checked.
pub(super) fn checked(mut file: Input, path: &Path) -> Result<(Input, ArrowReaderMetadata)> {
    let reading = |error: std::io::Error| failed("reading", path, &error);
    let length = file.length().map_err(reading)?;
    let name = path.display().to_string();
    let mut end = |bytes: u64| {
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        file.by_ref().take(bytes).read_to_end(&mut end)?;
        Ok::<_, std::io::Error>(end)
    };
    let tail = end(8).map_err(reading)?;
    check_footer(&tail, length, &name)?;
    check_end(&end(footer_bytes(&tail)).map_err(reading)?, length, &name)?;
    let metadata = guarded(|| ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()));
    Ok((file, metadata.map_err(|error| broken(path, error))?))
}

fn broken(path: &Path, error: ParquetError) -> Error {
    Error::corrupt(format!("reading `{}` as Parquet", path.display())).with_source(error)
}

impl ParquetReader {
    /// Reads from a row on. No page may inflate to more than `max_page_bytes`.
    pub fn open(input: Input, path: &Path, from: u64, columns: SchemaRef, max_page_bytes: u64) -> Result<Self> {
        let (file, metadata) = checked(input, path)?;
        let limit = PageLimit { bytes: max_page_bytes, option: "parquet.max-page-bytes" };
        let pages = Pages { file, limit, path: path.display().to_string().into() };
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, metadata);
        let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
        if from > rows {
            return Err(Error::gone(format!(
                "`{}` was read to row {from} and has only {rows} now: it was replaced",
                path.display()
            )));
        }
        let wanted = (0..builder.schema().fields().len())
            .filter(|n| columns.index_of(builder.schema().field(*n).name()).is_ok())
            .collect::<Vec<_>>();
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let offset = usize::try_from(from).map_err(|_| Error::gone("a file does not have that many rows"))?;
        let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).with_offset(offset).build();
        let reader = reader.map_err(|error| broken(path, error))?;
        Ok(Self { path: path.to_path_buf(), reader, columns, at: from })
    }

    /// The columns asked for: those that the file does not have are NULL.
    fn columns_of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut arrays = Vec::with_capacity(self.columns.fields().len());
        for field in self.columns.fields() {
            let array = match batch.column_by_name(field.name()) {
                Some(array) => cast_column(array, field.data_type(), field.name())?,
                None => new_null_array(field.data_type(), batch.num_rows()),
            };
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(Error::invalid(format!("column `{}` is NOT NULL, and the file has NULL", field.name())));
            }
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.columns), arrays, &options)?)
    }
}

impl FileReader for ParquetReader {
    fn next(&mut self) -> Result<Option<ChangeBatch>> {
        while let Some(batch) = next_rows(&mut self.reader).map_err(|error| broken(&self.path, error))? {
            if batch.num_rows() > 0 {
                let rows = self.columns_of(&batch);
                let rows = rows.map_err(|error| error.context(format!("reading `{}`", self.path.display())))?;
                self.at += rows.num_rows() as u64;
                return Ok(Some(ChangeBatch::inserts(rows)));
            }
        }
        Ok(None)
    }

    fn stands_at(&self) -> u64 {
        self.at
    }
}
