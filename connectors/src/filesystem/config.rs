//! The options of `filesystem`, with Flink's names.
//!
//! | option | is | default |
//! |---|---|---|
//! | `path` | a file, a directory (with what is below it) or a pattern of files, `/data/2024-*/*.json`; `file:` before it or not | needed |
//! | `format` | one of [`MessageFormat::NAMES`] | needed |
//! | `FORMAT.OPTION` | the format's own options | |
//! | `source.path.regex-pattern` | which files count, by their whole path | all |

use std::path::PathBuf;

use aquifer_formats::changelog::{Include, MessageFormat};
use aquifer_model::{Error, Result};
use aquifer_processor::connector::{Table, nearest_known, physical_columns};
use arrow::datatypes::SchemaRef;

use super::paths;

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct FilesystemConfig {
    pub path: PathBuf,
    pub format: MessageFormat,
    pub only: Option<Include>,
    pub schema: SchemaRef,
}

/// Options of the connector. `source.report-statistics` and `sink.parallelism` mean nothing here: nothing is gained by them.
const OWN: [&str; 6] = [
    "path",
    "format",
    "source.path.regex-pattern",
    "source.monitor-interval",
    "source.report-statistics",
    "sink.parallelism",
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
        if !MessageFormat::NAMES.contains(&format_name) {
            return Err(Error::invalid(format!(
                "unknown format `{format_name}` of the connector `filesystem`: {}",
                nearest_known(format_name, MessageFormat::NAMES)
            )));
        }
        check_options(table, format_name)?;
        let path = paths::local(needed("path")?)?;
        if get("source.monitor-interval").is_some() {
            return Err(Error::unsupported(
                "'source.monitor-interval': a table of files has an end, new files are not waited for; run the query again",
            ));
        }
        Ok(Self {
            path,
            format: MessageFormat::parse(format_name, |key| get(&format!("{format_name}.{key}")))?,
            only: get("source.path.regex-pattern").map(Include::new).transpose()?,
            schema: physical_columns(table)?,
        })
    }
}

/// Fails with `Invalid` on an option that neither the connector nor the format knows.
fn check_options(table: &Table, format: &str) -> Result<()> {
    let own = OWN.iter().map(ToString::to_string);
    let of_format = MessageFormat::known_options(format).into_iter().map(|option| format!("{format}.{option}"));
    let known: Vec<String> = own.chain(of_format).collect();
    match table.definition.options.keys().find(|key| *key != "connector" && !known.contains(key)) {
        None => Ok(()),
        Some(key) => Err(Error::invalid(format!(
            "unknown option `{key}` of the connector `filesystem` with the format `{format}`: {}",
            nearest_known(key, known.iter().map(String::as_str))
        ))),
    }
}
