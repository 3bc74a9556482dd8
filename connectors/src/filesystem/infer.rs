//! A table's definition from its files: what `SELECT … FROM 'day.parquet'` needs.
//!
//! ```text
//!  path ─► its first file ─► format (by the name's end) ─┬─► Parquet, Avro: the columns that the file tells
//!                                                        └─► JSON, CSV: the first records, the narrowest type that holds each value
//! ```
//!
//! A value further on that does not fit the type is an error when it is read; then the table is better declared.

mod types;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use aquifer_catalog::{ColumnDefinition, ColumnKind, TableDefinition};
use aquifer_formats::{avro_file, csv};
use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use arrow::datatypes::Schema;

use super::background::blocking;
use super::bucket::{self, Bucket};
use super::input::Input;
use super::{parquet, partitions, paths};
use types::Seen;

/// Records that are looked at, and how many bytes of them.
const RECORDS: usize = 1_000;
const BYTES: u64 = 4 << 20;

/// The definition of a table over these files: columns and the options of the connector `filesystem`. `path` is a file, a directory or a pattern; its
/// first file is looked at. Fails with `Invalid` if there is none, or its name's end tells no format.
pub async fn infer(path: &str) -> Result<TableDefinition> {
    let option = path.to_string();
    blocking(move || of_path(&option)).await
}

fn of_path(option: &str) -> Result<TableDefinition> {
    let (local, bucket) = bucket::located(option, &BTreeMap::new())?;
    let bucket = bucket.as_ref();
    let files = bucket::files(&local, bucket)?;
    let Some(file) = files.first() else {
        return Err(Error::invalid(format!("the directory `{option}` has no files")));
    };
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let mut options: BTreeMap<String, String> =
        [("connector", "filesystem"), ("path", option)].map(|(key, value)| (key.to_string(), value.to_string())).into();
    let (format, columns) = match extension.as_deref() {
        Some("parquet") => ("parquet", of_schema(parquet::checked(Input::open(file, bucket)?, file)?.1.schema())?),
        Some("avro") => ("avro", of_avro(file, bucket)?),
        Some("json" | "jsonl" | "ndjson") => ("json", of_json(file, bucket, &mut options)?),
        Some("csv" | "tsv") => ("csv", of_csv(file, bucket, extension.as_deref() == Some("tsv"), &mut options)?),
        _ => {
            return Err(Error::invalid(format!(
                "the name of `{}` tells no format: end it with .parquet, .avro, .json, .jsonl, .ndjson, .csv or .tsv, or declare the table",
                file.display()
            )));
        }
    };
    options.insert("format".into(), format.into());
    let mut definition = TableDefinition { columns, options, ..TableDefinition::default() };
    // Below the path, directories may tell more columns.
    let below = file.strip_prefix(&local).unwrap_or(Path::new(""));
    for key in partitions::keys_in(below) {
        if definition.columns.iter().all(|column| column.name != key) {
            definition.columns.push(column(&key, &SqlType::STRING.nullable()));
            definition.partitioned_by.push(key);
        }
    }
    Ok(definition)
}

fn column(name: &str, column_type: &ColumnType) -> ColumnDefinition {
    let not_null = if column_type.nullable { "" } else { " NOT NULL" };
    let type_text = format!("{}{not_null}", column_type.sql_type);
    ColumnDefinition { name: name.to_string(), kind: ColumnKind::Physical { type_text }, comment: None }
}

fn of_schema(schema: &Schema) -> Result<Vec<ColumnDefinition>> {
    let declare = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        let column_type = ColumnType::of_field(field);
        let column_type = column_type.map_err(|error| error.context(format!("the column `{}`", field.name())))?;
        Ok(column(field.name(), &column_type))
    };
    schema.fields().iter().map(declare).collect()
}

/// The beginning of a file, and whether it is all of it.
fn beginning(path: &Path, bucket: Option<&Bucket>) -> Result<(Vec<u8>, bool)> {
    let file = Input::open(path, bucket)?;
    let mut bytes = Vec::new();
    file.take(BYTES + 1).read_to_end(&mut bytes).map_err(|error| paths::failed("reading", path, &error))?;
    let whole = bytes.len() as u64 <= BYTES;
    Ok((bytes, whole))
}

fn of_avro(path: &Path, bucket: Option<&Bucket>) -> Result<Vec<ColumnDefinition>> {
    let (bytes, _) = beginning(path, bucket)?;
    let columns = avro_file::columns(&bytes).map_err(|error| error.context(format!("reading `{}`", path.display())))?;
    let columns = columns.ok_or_else(|| Error::corrupt(format!("`{}` ends in its head", path.display())))?;
    of_schema(&columns)
}

fn of_json(
    path: &Path,
    bucket: Option<&Bucket>,
    options: &mut BTreeMap<String, String>,
) -> Result<Vec<ColumnDefinition>> {
    let (bytes, whole) = beginning(path, bucket)?;
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if !whole {
        lines.pop();
    }
    let mut seen = Seen::Nothing;
    for (n, line) in lines.into_iter().filter(|line| !line.trim_ascii().is_empty()).take(RECORDS).enumerate() {
        let value = serde_json::from_slice(line).ok().filter(serde_json::Value::is_object).ok_or_else(|| {
            Error::invalid(format!("record {} of `{}` is no JSON object: a line has one each", n + 1, path.display()))
        })?;
        seen = seen.and(Seen::of_json(&value));
    }
    let Seen::Row(fields) = &mut seen else {
        return Err(Error::invalid(format!("`{}` has no rows: declare the table", path.display())));
    };
    // One format has one standard.
    let standards = fields.iter().fold([false; 2], |found, (_, seen)| seen.standards(found));
    if standards == [true, true] {
        fields.iter_mut().for_each(|(_, seen)| seen.iso_to_text());
    } else if standards == [false, true] {
        options.insert("json.timestamp-format.standard".into(), "ISO-8601".into());
    }
    Ok(fields.iter().map(|(name, seen)| column(name, &seen.sql_type().nullable())).collect())
}

fn of_csv(
    path: &Path,
    bucket: Option<&Bucket>,
    is_tsv: bool,
    options: &mut BTreeMap<String, String>,
) -> Result<Vec<ColumnDefinition>> {
    let (bytes, whole) = beginning(path, bucket)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let often = |delimiter: &u8| line.iter().filter(|byte| *byte == delimiter).count();
    // Of those that stand there equally often the first.
    let delimiter = match is_tsv {
        true => b'\t',
        false => [b'|', b'\t', b';', b','].into_iter().max_by_key(often).unwrap_or(b','),
    };
    let format = csv::CsvFormat { field_delimiter: delimiter, ..Default::default() };
    let records = csv::sample(&format, &bytes, whole, RECORDS + 1);
    let Some((first, rest)) = records.split_first() else {
        return Err(Error::invalid(format!("`{}` has no rows: declare the table", path.display())));
    };
    let mut distinct: Vec<&String> = first.iter().collect();
    distinct.sort();
    distinct.dedup();
    let named = distinct.len() == first.len()
        && first.iter().all(|name| !name.is_empty() && Seen::of_text(name, true) == Seen::Text);
    let body = if named { rest } else { &records };
    let mut seen = vec![Seen::Nothing; first.len()];
    for record in body {
        for (seen, value) in seen.iter_mut().zip(record) {
            let value = if value.is_empty() { Seen::Nothing } else { Seen::of_text(value, true) };
            *seen = std::mem::replace(seen, Seen::Nothing).and(value);
        }
    }
    options.insert("csv.null-literal".into(), String::new());
    if delimiter != b',' {
        let shown = if delimiter == b'\t' { "\\t".to_string() } else { char::from(delimiter).to_string() };
        options.insert("csv.field-delimiter".into(), shown);
    }
    if named {
        options.insert("csv.ignore-first-line".into(), "true".into());
    }
    let name = |n: usize| if named { first[n].clone() } else { format!("column{n}") };
    Ok(seen
        .iter_mut()
        .enumerate()
        .map(|(n, seen)| {
            seen.iso_to_text();
            column(&name(n), &seen.sql_type().nullable())
        })
        .collect())
}

#[cfg(test)]
mod tests;
