//! The options of `filesystem`, with Flink's names.
//!
//! | option | is | default |
//! |---|---|---|
//! | `path` | a file, a directory (with what is below it) or a pattern of files, `/data/2024-*/*.json`; `file:` before it or not; or `s3://BUCKET/…` | needed |
//! | `s3.*` | how a bucket is reached: [`s3::OPTIONS`] | the environment |
//! | `format` | one of [`FileFormat::names`] | needed |
//! | `FORMAT.OPTION` | the format's own options | |
//! | `source.path.regex-pattern` | which files count, by their whole path | all |
//! | `sink.rolling-policy.file-size` | a file that is written ends at about this size | 128 MB |
//! | `sink.rolling-policy.rollover-interval` | and, where it is written without checkpoints, after this time | 30 s |
//! | `partition.default-name` | the directory of a partition column's NULL | `__DEFAULT_PARTITION__` |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aquifer_formats::changelog::Include;
use aquifer_model::{Error, Result};
use aquifer_processor::connector::{Table, nearest_known, physical_columns};
use aquifer_storage::s3;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use super::bucket::{self, Bucket};
use super::format::FileFormat;
use super::{partitions, sink};
use crate::options;

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct FilesystemConfig {
    pub path: PathBuf,
    /// Where the path lies, if it is not local.
    pub bucket: Option<Bucket>,
    pub format: FileFormat,
    pub only: Option<Include>,
    /// The table's columns.
    pub schema: SchemaRef,
    /// Those that a file holds, in its order: all but the partition columns.
    pub in_file: SchemaRef,
    /// The partition columns.
    pub partition_keys: Vec<String>,
    pub default_name: String,
    /// In bytes.
    pub file_size: u64,
    pub rollover: Duration,
}

/// Options of the connector. `source.report-statistics`, `sink.parallelism` and the check interval mean nothing here: nothing is gained by them.
const OWN: [&str; 10] = [
    "path",
    "format",
    "source.path.regex-pattern",
    "source.monitor-interval",
    "source.report-statistics",
    "sink.parallelism",
    "partition.default-name",
    "sink.rolling-policy.file-size",
    "sink.rolling-policy.rollover-interval",
    "sink.rolling-policy.check-interval",
];

impl FilesystemConfig {
    /// The files that the path means, sorted. Fails with `Invalid` where there is nothing. Waits.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        bucket::files(&self.path, self.bucket.as_ref())
    }

    pub fn of(table: &Table) -> Result<Self> {
        let options = &table.definition.options;
        let get = |key: &str| options.get(key).map(String::as_str);
        let needed = |key: &str| {
            get(key).filter(|value| !value.is_empty()).ok_or_else(|| {
                Error::invalid(format!(
                    "the table `{}` needs the option '{key}' of the connector `filesystem`",
                    table.name[2]
                ))
            })
        };
        let format_name = needed("format")?;
        let path = needed("path")?;
        check_options(table, format_name, s3::is_address(path))?;
        let (path, bucket) = bucket::located(path, options)?;
        if get("source.monitor-interval").is_some() {
            return Err(Error::unsupported(
                "'source.monitor-interval': a table of files has an end, new files are not waited for; run the query again",
            ));
        }
        let schema = physical_columns(table)?;
        let partition_keys = table.definition.partitioned_by.clone();
        if let Some(unknown) = partition_keys.iter().find(|key| schema.index_of(key).is_err()) {
            return Err(Error::invalid(format!("PARTITIONED BY names `{unknown}`, which is no column of the table")));
        }
        sink::check_keys(&partition_keys, &schema)?;
        let fields = schema.fields().iter().filter(|field| !partition_keys.contains(field.name()));
        let in_file = Arc::new(Schema::new(fields.cloned().collect::<Vec<FieldRef>>()));
        Ok(Self {
            path,
            bucket,
            format: FileFormat::parse(format_name, get)?,
            only: get("source.path.regex-pattern").map(Include::new).transpose()?,
            schema,
            in_file,
            partition_keys,
            file_size: options::bytes(table, "sink.rolling-policy.file-size")?.unwrap_or(128 << 20),
            rollover: options::duration(table, "sink.rolling-policy.rollover-interval")?
                .unwrap_or(Duration::from_secs(30)),
            default_name: get("partition.default-name").unwrap_or(partitions::DEFAULT_NAME).to_string(),
        })
    }
}

/// Fails with `Invalid` on an option that neither the connector nor the format knows.
fn check_options(table: &Table, format: &str, in_bucket: bool) -> Result<()> {
    let mut known = FileFormat::known_options(format)?;
    if in_bucket {
        known.extend(s3::OPTIONS.iter().map(ToString::to_string));
    }
    known.extend(OWN.iter().map(ToString::to_string));
    match table.definition.options.keys().find(|key| *key != "connector" && !known.contains(key)) {
        None => Ok(()),
        Some(key) => Err(Error::invalid(format!(
            "unknown option `{key}` of the connector `filesystem` with the format `{format}`: {}",
            nearest_known(key, known.iter().map(String::as_str))
        ))),
    }
}
