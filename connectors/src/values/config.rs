//! The options of `values`.
//!
//! | option | is | default |
//! |---|---|---|
//! | `data` | the rows, in the format; with `json` also one array of objects, or of arrays in the columns' order | needed |
//! | `format` | `json`, `csv` or a changelog format, with its own options | `json` |
//! | `bounded` | `true`: there is nothing after the rows | `true` |

use std::sync::Arc;

use aquifer_model::{Error, Result};
use aquifer_processor::connector::{Table, check_options, physical_columns};
use arrow::datatypes::SchemaRef;
use serde_json::{Map, Value};

use crate::filesystem::format::FileFormat;

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct ValuesConfig {
    pub schema: SchemaRef,
    pub format: FileFormat,
    /// The rows, in the format.
    pub data: Arc<[u8]>,
}

impl ValuesConfig {
    pub fn of(table: &Table) -> Result<Self> {
        let options = &table.definition.options;
        let get = |key: &str| options.get(key).map(String::as_str);
        let name = get("format").unwrap_or("json");
        if matches!(name, "avro" | "parquet") {
            return Err(Error::unsupported(format!(
                "'format' = '{name}' is no text: rows in a statement are json or csv"
            )));
        }
        let mut known = FileFormat::known_options(name)?;
        known.extend(["data", "format", "bounded"].map(String::from));
        check_options(table, "values", &known.iter().map(String::as_str).collect::<Vec<_>>())?;
        if get("bounded").is_some_and(|value| !value.eq_ignore_ascii_case("true")) {
            return Err(Error::unsupported("'bounded' may only be 'true': after the rows of `values` come no others"));
        }
        let data = get("data").ok_or_else(|| {
            Error::invalid(format!("the table `{}` needs the option 'data' of the connector `values`", table.name[2]))
        })?;
        let schema = physical_columns(table)?;
        let data = match name {
            "json" if data.trim_start().starts_with('[') => lines(data, &schema)?,
            _ => data.trim().to_string(),
        };
        Ok(Self { schema, format: FileFormat::parse(name, get)?, data: data.into_bytes().into() })
    }
}

/// An array of rows as an object a line.
fn lines(data: &str, schema: &SchemaRef) -> Result<String> {
    let rows: Vec<Value> = serde_json::from_str(data).map_err(|error| {
        Error::invalid("'data' of the connector `values` is no JSON array of rows").with_source(error)
    })?;
    let mut lines = String::new();
    for (n, row) in rows.into_iter().enumerate() {
        let object = match row {
            Value::Array(cells) if cells.len() == schema.fields().len() => {
                let names = schema.fields().iter().map(|field| field.name().clone());
                Value::Object(names.zip(cells).collect::<Map<_, _>>())
            }
            Value::Array(cells) => {
                return Err(Error::invalid(format!(
                    "row {} of 'data' has {} values, and the table has {} columns",
                    n + 1,
                    cells.len(),
                    schema.fields().len()
                )));
            }
            object @ Value::Object(_) => object,
            other => {
                return Err(Error::invalid(format!("row {} of 'data' is neither object nor array: {other}", n + 1)));
            }
        };
        lines.push_str(&object.to_string());
        lines.push('\n');
    }
    Ok(lines)
}
