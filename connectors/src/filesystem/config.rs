//! The options of `filesystem`, with Flink's names.
//!
//! | option | is | default |
//! |---|---|---|
//! | `path` | a file, a directory (with what is below it) or a pattern of files, `/data/2024-*/*.json`; `file:` before it or not | needed |
//! | `format` | one of [`FileFormat::names`] | needed |
//! | `FORMAT.OPTION` | the format's own options | |
//! | `source.path.regex-pattern` | which files count, by their whole path | all |
//! | `partition.default-name` | the directory of a partition column's NULL | `__DEFAULT_PARTITION__` |

use std::path::PathBuf;
use std::sync::Arc;

use aquifer_formats::changelog::Include;
use aquifer_model::{Error, Result};
use aquifer_processor::connector::{Table, nearest_known, physical_columns};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use super::format::FileFormat;
use super::{partitions, paths};

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct FilesystemConfig {
    pub path: PathBuf,
    pub format: FileFormat,
    pub only: Option<Include>,
    /// The table's columns.
    pub schema: SchemaRef,
    /// Those that a file holds, in its order: all but the partition columns.
    pub in_file: SchemaRef,
    /// The partition columns.
    pub partition_keys: Vec<String>,
    pub default_name: String,
}

/// Options of the connector. `source.report-statistics` and `sink.parallelism` mean nothing here: nothing is gained by them.
const OWN: [&str; 7] = [
    "path",
    "format",
    "source.path.regex-pattern",
    "source.monitor-interval",
    "source.report-statistics",
    "sink.parallelism",
    "partition.default-name",
];

impl FilesystemConfig {
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
        check_options(table, format_name)?;
        let path = paths::local(needed("path")?)?;
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
        let fields = schema.fields().iter().filter(|field| !partition_keys.contains(field.name()));
        let in_file = Arc::new(Schema::new(fields.cloned().collect::<Vec<FieldRef>>()));
        Ok(Self {
            path,
            format: FileFormat::parse(format_name, get)?,
            only: get("source.path.regex-pattern").map(Include::new).transpose()?,
            schema,
            in_file,
            partition_keys,
            default_name: get("partition.default-name").unwrap_or(partitions::DEFAULT_NAME).to_string(),
        })
    }
}

/// Fails with `Invalid` on an option that neither the connector nor the format knows.
fn check_options(table: &Table, format: &str) -> Result<()> {
    let mut known = FileFormat::known_options(format)?;
    known.extend(OWN.iter().map(ToString::to_string));
    match table.definition.options.keys().find(|key| *key != "connector" && !known.contains(key)) {
        None => Ok(()),
        Some(key) => Err(Error::invalid(format!(
            "unknown option `{key}` of the connector `filesystem` with the format `{format}`: {}",
            nearest_known(key, known.iter().map(String::as_str))
        ))),
    }
}
