//! A data file: message columns and typed value columns in log order, as Parquet.
//!
//! A value column keeps its name; one that begins with `__`, as the message columns do, is stored as `__value.NAME`. `__payload` is NULL where the
//! payload was decoded, and holds its bytes where it could not be (the value columns are NULL then).

use std::sync::Arc;

use aquifer_formats::messages::{MessageBatch, column, message_schema};
use aquifer_formats::payload::DecodedPayloads;
use aquifer_model::{Error, Interval, Position, Result};
use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMillisecondType, UInt64Type};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::manifest::{DataFile, sha256};

/// Rows in a row group. Tests have small ones, so that few rows make files of several.
pub const ROW_GROUP_ROWS: usize = if cfg!(test) { 16 } else { 131_072 };

/// The name of a value column in a file.
pub fn stored_name(name: &str) -> String {
    if name.starts_with("__") { format!("__value.{name}") } else { name.to_string() }
}

/// The schema of files with these value columns.
pub fn file_schema(value_columns: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> = message_schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.extend(
        value_columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true).with_name(stored_name(f.name()))),
    );
    Arc::new(Schema::new(fields))
}

/// Writes one file into memory.
pub struct FileWriter {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
    first: Option<Position>,
    last: Option<Position>,
    publish_time: Option<(i64, i64)>,
    event_time: Option<(i64, i64)>,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter").field("rows", &self.rows).finish_non_exhaustive()
    }
}

fn parquet_error(error: parquet::errors::ParquetError) -> Error {
    Error::internal("writing Parquet").with_source(error)
}

impl FileWriter {
    /// An empty file with these value columns.
    pub fn new(value_columns: &Schema) -> Result<Self> {
        let schema = file_schema(value_columns);
        let path = |name: &str| ColumnPath::from(vec![name.to_string()]);
        let level = ZstdLevel::try_new(1).map_err(parquet_error)?;
        let mut properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_bloom_filter_enabled(false)
            .set_column_bloom_filter_enabled(path(column::KEY), true)
            .set_column_bloom_filter_fpp(path(column::KEY), 0.01);
        for name in [
            column::LEDGER,
            column::ENTRY,
            column::BATCH_INDEX,
            column::PUBLISH_TIME,
            column::EVENT_TIME,
            column::SEQUENCE_ID,
        ] {
            properties = properties
                .set_column_dictionary_enabled(path(name), false)
                .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
        }
        properties = properties.set_column_dictionary_enabled(path(column::PAYLOAD), false);
        let writer =
            ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties.build())).map_err(parquet_error)?;
        Ok(Self { schema, writer, rows: 0, first: None, last: None, publish_time: None, event_time: None })
    }

    /// Adds messages, in log order after those before. `decoded` are their payloads' columns, or `None` where there is no schema.
    pub fn write(&mut self, messages: &MessageBatch, decoded: Option<&DecodedPayloads>) -> Result<()> {
        let rows = messages.rows();
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        if let Some(decoded) = decoded {
            let payloads = messages.payloads();
            let mut kept: Vec<Option<&[u8]>> = vec![None; rows.num_rows()];
            for error in &decoded.errors {
                kept[error.row] = payloads.is_valid(error.row).then(|| payloads.value(error.row));
            }
            let at = rows.schema().index_of(column::PAYLOAD).map_err(Error::from)?;
            columns[at] = Arc::new(kept.into_iter().collect::<BinaryViewArray>());
            columns.extend(decoded.rows.columns().iter().cloned());
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.writer.write(&batch).map_err(parquet_error)?;
        self.note(rows)
    }

    fn note(&mut self, rows: &RecordBatch) -> Result<()> {
        let numbers = |name: &str| {
            Ok::<_, Error>(rows.column(rows.schema().index_of(name)?).as_primitive::<UInt64Type>().clone())
        };
        let (ledgers, entries) = (numbers(column::LEDGER)?, numbers(column::ENTRY)?);
        let position = |row: usize| Position::new(ledgers.value(row), entries.value(row));
        self.first.get_or_insert(position(0));
        self.last = Some(position(rows.num_rows() - 1));
        self.rows += rows.num_rows() as u64;
        let widen = |range: &mut Option<(i64, i64)>, name: &str| {
            let times = rows.column(rows.schema().index_of(name)?).as_primitive::<TimestampMillisecondType>();
            if let (Some(low), Some(high)) = (min(times), max(times)) {
                *range = Some(range.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
            }
            Ok::<_, Error>(())
        };
        widen(&mut self.publish_time, column::PUBLISH_TIME)?;
        widen(&mut self.event_time, column::EVENT_TIME)
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// About how long the file is so far, in bytes.
    pub fn estimated_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Ends the file. Gives its bytes, and how a manifest names it.
    pub fn finish(self, path: String, covers: Interval) -> Result<(bytes::Bytes, DataFile)> {
        let bytes = self.writer.into_inner().map_err(parquet_error)?;
        let file = DataFile {
            path,
            covers,
            rows: self.rows,
            bytes: bytes.len() as u64,
            sha256: sha256(&bytes),
            positions: self.first.zip(self.last),
            publish_time_ms: self.publish_time,
            event_time_ms: self.event_time,
        };
        Ok((bytes.into(), file))
    }
}

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
