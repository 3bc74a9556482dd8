//! `DESCRIBE` and `SHOW CREATE TABLE`: a table in words.

use std::fmt::Write;
use std::sync::Arc;

use aquifer_catalog::options::masked;
use aquifer_catalog::{ColumnKind, Table};
use aquifer_model::{Result, SqlType};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use arrow::datatypes::Schema;

/// The columns of a table, one a row: name, type, null, key, extras, watermark.
pub(super) fn table(table: &Table) -> Result<RecordBatch> {
    let definition = &table.definition;
    let (mut types, mut nulls, mut keys, mut extras, mut watermarks) = (vec![], vec![], vec![], vec![], vec![]);
    for column in &definition.columns {
        let is_time = definition.watermark.as_ref().is_some_and(|w| w.column == column.name);
        let (type_text, extra) = match &column.kind {
            ColumnKind::Physical { type_text } => (Some(type_text), None),
            ColumnKind::Metadata { type_text, key, is_virtual } => {
                let from = if key.name() == column.name { String::new() } else { format!(" FROM '{key}'") };
                let end = if *is_virtual { " VIRTUAL" } else { "" };
                (Some(type_text), Some(format!("METADATA{from}{end}")))
            }
            ColumnKind::Computed { expression } => (None, Some(format!("AS {expression}"))),
        };
        let column_type = type_text.map(|text| SqlType::parse(text)).transpose()?;
        let mark = if is_time { " *ROWTIME*" } else { "" };
        types.push(column_type.as_ref().map(|t| format!("{}{mark}", t.sql_type)));
        nulls.push(column_type.as_ref().is_none_or(|t| t.nullable));
        let key = definition.primary_key.contains(&column.name);
        keys.push(key.then(|| format!("PRI({})", definition.primary_key.join(", "))));
        extras.push(extra);
        watermarks.push(definition.watermark.as_ref().filter(|_| is_time).map(|w| w.expression.clone()));
    }
    let names: Vec<Option<&str>> = definition.columns.iter().map(|c| Some(c.name.as_str())).collect();
    let text = |name: &str| SqlType::STRING.nullable().to_field(name);
    let schema = Schema::new(vec![
        text("name"),
        text("type"),
        SqlType::Boolean.nullable().to_field("null"),
        text("key"),
        text("extras"),
        text("watermark"),
    ]);
    let strings = |values: Vec<Option<String>>| Arc::new(values.into_iter().collect::<StringViewArray>()) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(names.into_iter().collect::<StringViewArray>()),
        strings(types),
        Arc::new(BooleanArray::from(nulls)),
        strings(keys),
        strings(extras),
        strings(watermarks),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The statement that would make this table; secrets are masked.
pub(super) fn create_table(table: &Table) -> String {
    let definition = &table.definition;
    let mut lines = Vec::new();
    for column in &definition.columns {
        let mut line = quoted(&column.name);
        let _ = match &column.kind {
            ColumnKind::Physical { type_text } => write!(line, " {type_text}"),
            ColumnKind::Metadata { type_text, key, is_virtual } => {
                write!(line, " {type_text} METADATA FROM '{key}'{}", if *is_virtual { " VIRTUAL" } else { "" })
            }
            ColumnKind::Computed { expression } => write!(line, " AS {expression}"),
        };
        if let Some(comment) = &column.comment {
            let _ = write!(line, " COMMENT '{}'", comment.replace('\'', "''"));
        }
        lines.push(line);
    }
    if let Some(watermark) = &definition.watermark {
        lines.push(format!("WATERMARK FOR {} AS {}", quoted(&watermark.column), watermark.expression));
    }
    if !definition.primary_key.is_empty() {
        let key: Vec<String> = definition.primary_key.iter().map(|name| quoted(name)).collect();
        lines.push(format!("PRIMARY KEY ({}) NOT ENFORCED", key.join(", ")));
    }
    let name: Vec<String> = table.name.iter().map(|part| quoted(part)).collect();
    let mut text = format!("CREATE TABLE {} (\n  {}\n)", name.join("."), lines.join(",\n  "));
    if let Some(comment) = &definition.comment {
        let _ = write!(text, "\nCOMMENT '{}'", comment.replace('\'', "''"));
    }
    let options = masked(&definition.options);
    if !options.is_empty() {
        let options: Vec<String> =
            options.iter().map(|(key, value)| format!("'{key}' = '{}'", value.replace('\'', "''"))).collect();
        let _ = write!(text, "\nWITH (\n  {}\n)", options.join(",\n  "));
    }
    text
}
