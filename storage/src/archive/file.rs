//! A data file: message columns and typed value columns in log order, as Parquet.
//!
//! A value column keeps its name; one that begins with `__`, as the message columns do, is stored as `__value.NAME`. `__payload` is NULL where the
//! payload was decoded without loss. It holds the bytes where decoding failed, or where the message's own schema has more than the table's columns;
//! who reads decodes such a payload again.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use aquifer_formats::messages::{MessageBatch, column, message_schema};
use aquifer_formats::payload::Format;
use aquifer_model::{Error, Interval, Position, Result};
use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMillisecondType, UInt64Type};
use arrow::row::{RowConverter, SortField};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;
use uuid::Uuid;

use super::manifest::{DataFile, hex, sha256};

/// Rows in a row group. Tests have small ones, so that few rows make files of several.
pub const ROW_GROUP_ROWS: usize = if cfg!(test) { 16 } else { 131_072 };

/// The most rows in a page. Tests have small ones here too.
const PAGE_ROWS: usize = if cfg!(test) { 4 } else { 20_000 };

/// The key of a file's metadata under which stands the format by which its value columns were made.
pub const FORMAT_KEY: &str = "aquifer.format";

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

/// Rows of the first batch that are looked at to choose encodings.
const SAMPLE_ROWS: usize = 4096;
/// Fewer rows say nothing about how often values come again.
const SAMPLE_LEAST: usize = 256;

/// Writes one file into memory.
///
/// Encodings are chosen by the first batch: a column whose values mostly differ gets no dictionary.
pub struct FileWriter {
    schema: SchemaRef,
    format: Option<Format>,
    writer: Option<ArrowWriter<Vec<u8>>>,
    rows: u64,
    entries: u64,
    first: Option<Position>,
    last: Option<Position>,
    publish_time: Option<(i64, i64)>,
    event_time: Option<(i64, i64)>,
    versions: BTreeSet<Vec<u8>>,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter").field("rows", &self.rows).finish_non_exhaustive()
    }
}

fn parquet_error(error: parquet::errors::ParquetError) -> Error {
    Error::internal("writing Parquet").with_source(error)
}

/// Whether most values of a column differ, as far as a batch shows it.
fn mostly_distinct(column: &ArrayRef) -> Result<bool> {
    let sample = column.slice(0, column.len().min(SAMPLE_ROWS));
    let present = sample.len() - sample.null_count();
    if present < SAMPLE_LEAST || sample.data_type().is_nested() {
        return Ok(false);
    }
    let rows = RowConverter::new(vec![SortField::new(sample.data_type().clone())])?.convert_columns(&[sample])?;
    let distinct: HashSet<_> = rows.iter().collect();
    Ok(distinct.len() * 2 > present)
}

/// How files are encoded whose first rows are these.
fn properties(first: &RecordBatch) -> Result<WriterPropertiesBuilder> {
    let path = |name: &str| ColumnPath::from(vec![name.to_string()]);
    let level = ZstdLevel::try_new(1).map_err(parquet_error)?;
    // A bloom filter begins large enough for a row group of distinct keys and is folded to the keys that came.
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS.min(1024))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_bloom_filter_enabled(false)
        .set_column_bloom_filter_enabled(path(column::KEY), true)
        .set_column_bloom_filter_fpp(path(column::KEY), 0.01);
    // These rise or nearly rise: their differences are small.
    let rising = [
        column::LEDGER,
        column::ENTRY,
        column::BATCH_INDEX,
        column::PUBLISH_TIME,
        column::EVENT_TIME,
        column::SEQUENCE_ID,
        column::BROKER_PUBLISH_TIME,
        column::MESSAGE_INDEX,
    ];
    for (field, values) in first.schema_ref().fields().iter().zip(first.columns()) {
        let name = field.name().as_str();
        match field.data_type() {
            _ if rising.contains(&name) => {
                properties = properties
                    .set_column_dictionary_enabled(path(name), false)
                    .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
            }
            data_type if data_type.is_nested() => {}
            data_type => {
                if name == column::PAYLOAD || mostly_distinct(values)? {
                    properties = properties.set_column_dictionary_enabled(path(name), false);
                }
                if matches!(data_type, DataType::Utf8View | DataType::BinaryView | DataType::Utf8 | DataType::Binary) {
                    // What a dictionary does not hold is read fastest as it is.
                    properties = properties.set_column_encoding(path(name), Encoding::PLAIN);
                }
            }
        }
    }
    Ok(properties)
}

impl FileWriter {
    /// An empty file with these value columns.
    pub fn new(value_columns: &Schema) -> Self {
        Self {
            schema: file_schema(value_columns),
            format: None,
            writer: None,
            rows: 0,
            entries: 0,
            first: None,
            last: None,
            publish_time: None,
            event_time: None,
            versions: BTreeSet::new(),
        }
    }

    /// The same file, which says by which format its value columns were made.
    pub fn of_format(self, format: Format) -> Self {
        Self { format: Some(format), ..self }
    }

    /// Adds messages, in log order after those before. `values` are their payloads' columns; `kept` are the rows, rising, whose payloads are stored
    /// as bytes.
    pub fn write(&mut self, messages: &MessageBatch, values: &RecordBatch, kept: &[usize]) -> Result<()> {
        let rows = messages.rows();
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        if kept.len() < rows.num_rows() {
            let payloads = messages.payloads();
            let mut stored: Vec<Option<&[u8]>> = vec![None; rows.num_rows()];
            for row in kept {
                stored[*row] = payloads.is_valid(*row).then(|| payloads.value(*row));
            }
            let at = rows.schema().index_of(column::PAYLOAD)?;
            columns[at] = Arc::new(stored.into_iter().collect::<BinaryViewArray>());
        }
        columns.extend(values.columns().iter().cloned());
        self.write_rows(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Adds rows that have the columns of [`file_schema`], in log order after those before.
    pub fn write_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if self.writer.is_none() {
            self.writer = Some(self.begin(rows)?);
        }
        if let Some(writer) = &mut self.writer {
            writer.write(rows).map_err(parquet_error)?;
        }
        self.note(rows)
    }

    fn begin(&self, first: &RecordBatch) -> Result<ArrowWriter<Vec<u8>>> {
        let format = self.format.map(|format| vec![KeyValue::new(FORMAT_KEY.to_string(), format.to_string())]);
        let properties = properties(first)?.set_key_value_metadata(format).build();
        ArrowWriter::try_new(Vec::new(), Arc::clone(&self.schema), Some(properties)).map_err(parquet_error)
    }

    fn note(&mut self, rows: &RecordBatch) -> Result<()> {
        let at = |name: &str| Ok::<_, Error>(rows.column(rows.schema_ref().index_of(name)?));
        let ledgers = at(column::LEDGER)?.as_primitive::<UInt64Type>();
        let entries = at(column::ENTRY)?.as_primitive::<UInt64Type>();
        for (ledger, entry) in ledgers.values().iter().zip(entries.values()) {
            let position = Position::new(*ledger, *entry);
            if self.last != Some(position) {
                if self.last.is_some_and(|last| last > position) {
                    return Err(Error::internal(format!("row {position} is written after a later one")));
                }
                self.entries += 1;
                self.first.get_or_insert(position);
                self.last = Some(position);
            }
        }
        self.rows += rows.num_rows() as u64;
        let mut previous = None;
        for version in at(column::SCHEMA_VERSION)?.as_binary_view().iter().flatten() {
            if previous.replace(version) != Some(version) && !self.versions.contains(version) {
                self.versions.insert(version.to_vec());
            }
        }
        let widen = |range: &mut Option<(i64, i64)>, name: &str| {
            let times = at(name)?.as_primitive::<TimestampMillisecondType>();
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

    /// The last row's entry.
    pub fn last(&self) -> Option<Position> {
        self.last
    }

    /// About how long the file is so far, in bytes.
    pub fn estimated_bytes(&self) -> usize {
        self.writer.as_ref().map_or(0, |writer| writer.bytes_written() + writer.in_progress_size())
    }

    /// Ends the file. Gives its bytes, and how a manifest names it.
    pub fn finish(mut self, path: String, covers: Interval) -> Result<(bytes::Bytes, DataFile)> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.begin(&RecordBatch::new_empty(Arc::clone(&self.schema)))?,
        };
        let bytes = writer.into_inner().map_err(parquet_error)?;
        let file = DataFile {
            path,
            covers,
            rows: self.rows,
            entries: self.entries,
            bytes: bytes.len() as u64,
            sha256: sha256(&bytes),
            positions: self.first.zip(self.last),
            publish_time_ms: self.publish_time,
            event_time_ms: self.event_time,
            schema_versions: self.versions.iter().map(|version| hex(version)).collect(),
        };
        Ok((bytes.into(), file))
    }
}

/// The name of a data file for manifest `version`. `id` is new for each file.
pub fn file_name(version: u64, id: Uuid) -> String {
    format!("d/{version:020}-{}.parquet", id.simple())
}
