//! The formats of files, and their options.

use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowSchemaConverter;
use ::parquet::basic::{Compression, ZstdLevel};
use aquifer_formats::avro_file::{AvroCodec, AvroFileDecoder, AvroFileEncoder};
use aquifer_formats::changelog::{ChangeDecoder, ChangeEncoder, MessageFormat};
use aquifer_formats::csv::{CsvDecoder, CsvEncoder, CsvFormat};
use aquifer_model::{Error, Result};
use aquifer_processor::connector::nearest_known;
use arrow::datatypes::SchemaRef;

use super::input::Input;
use super::parquet::ParquetReader;
use super::records::RecordReader;
use super::source::FileReader;
use crate::options;

/// A format with its checked options.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FileFormat {
    /// A message a line.
    Lines(MessageFormat),
    Csv(CsvFormat),
    Avro(AvroCodec),
    Parquet(ParquetFormat),
}

/// The options of Parquet files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ParquetFormat {
    /// How what is written is compressed.
    pub compression: Compression,
    /// The longest page that is inflated, in bytes.
    pub max_page_bytes: u64,
}

/// A page of what other writers make has a mebibyte or so; of ours, some 1,024 values, however long they are.
const MAX_PAGE_BYTES: u64 = 512 << 20;

impl FileFormat {
    /// The formats' names.
    pub fn names() -> Vec<&'static str> {
        MessageFormat::NAMES.into_iter().chain(["csv", "avro", "parquet"]).collect()
    }

    /// The options of a format, with its name before them. Fails with `Invalid` on an unknown format.
    pub fn known_options(name: &str) -> Result<Vec<String>> {
        let options = match name {
            "csv" => CsvFormat::OPTIONS.to_vec(),
            "avro" => vec!["codec"],
            "parquet" => vec!["compression", "max-page-bytes", "utc-timezone"],
            name if MessageFormat::NAMES.contains(&name) => MessageFormat::known_options(name),
            other => {
                return Err(Error::invalid(format!(
                    "unknown format `{other}` of the connector `filesystem`: {}",
                    nearest_known(other, Self::names())
                )));
            }
        };
        Ok(options.into_iter().map(|option| format!("{name}.{option}")).collect())
    }

    /// The format with this name; `get` gives an option.
    pub fn parse<'a>(name: &str, get: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let option = |key: &str| get(&format!("{name}.{key}"));
        Ok(match name {
            "csv" => Self::Csv(CsvFormat::parse(option)?),
            "avro" => Self::Avro(option("codec").map_or(Ok(AvroCodec::default()), AvroCodec::parse)?),
            "parquet" => {
                if option("utc-timezone").is_some_and(|value| !value.eq_ignore_ascii_case("true")) {
                    return Err(Error::unsupported(
                        "'parquet.utc-timezone': a TIMESTAMP is stored as it reads, in no zone; leave the option out",
                    ));
                }
                let most = option("max-page-bytes").map(|text| options::size("parquet.max-page-bytes", text));
                Self::Parquet(ParquetFormat {
                    compression: compression(option("compression").unwrap_or("SNAPPY"))?,
                    max_page_bytes: most.transpose()?.unwrap_or(MAX_PAGE_BYTES),
                })
            }
            other => Self::Lines(MessageFormat::parse(other, option)?),
        })
    }

    /// Whether every row that is read is new.
    pub fn is_insert_only(&self) -> bool {
        match self {
            Self::Lines(format) => format.is_insert_only(),
            _ => true,
        }
    }

    /// What the names of its files end with.
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Lines(_) => "json",
            Self::Csv(_) => "csv",
            Self::Avro(_) => "avro",
            Self::Parquet(_) => "parquet",
        }
    }

    /// Fails where files with these columns cannot be written.
    pub fn check_writable(&self, columns: &SchemaRef) -> Result<()> {
        let columns = Arc::clone(columns);
        match self {
            Self::Lines(format) => ChangeEncoder::new(format.clone(), columns).map(drop),
            Self::Csv(format) => CsvEncoder::new(format.clone(), columns).map(drop),
            Self::Avro(codec) => AvroFileEncoder::new(*codec, columns, [0; 16]).map(drop),
            Self::Parquet(_) => ArrowSchemaConverter::new().convert(&columns).map(drop).map_err(|error| {
                Error::unsupported("Parquet has no type for a column: cast it, or use 'format' = 'json'")
                    .with_source(error)
            }),
        }
    }

    /// Reads a file that holds `all`: its `columns` (some of them). `path` is how it is called.
    pub fn open(
        &self,
        input: Input,
        path: &Path,
        from: u64,
        all: &SchemaRef,
        columns: SchemaRef,
    ) -> Result<Box<dyn FileReader>> {
        let decoder: Box<dyn aquifer_formats::records::RecordDecoder> = match self {
            Self::Lines(format) => Box::new(ChangeDecoder::new(format.clone(), columns)?),
            Self::Csv(format) => Box::new(CsvDecoder::new(format.clone(), all, columns)?),
            Self::Avro(_) => Box::new(AvroFileDecoder::new(Arc::clone(&columns))),
            Self::Parquet(format) => {
                return Ok(Box::new(ParquetReader::open(input, path, from, columns, format.max_page_bytes)?));
            }
        };
        Ok(Box::new(RecordReader::open(input, path, from, decoder)?))
    }
}

fn compression(name: &str) -> Result<Compression> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "UNCOMPRESSED" => Compression::UNCOMPRESSED,
        "SNAPPY" => Compression::SNAPPY,
        "LZ4" | "LZ4_RAW" => Compression::LZ4_RAW,
        "ZSTD" => Compression::ZSTD(ZstdLevel::default()),
        _ => {
            return Err(Error::invalid(format!(
                "'parquet.compression' = '{name}': write UNCOMPRESSED, SNAPPY, LZ4_RAW or ZSTD"
            )));
        }
    })
}
