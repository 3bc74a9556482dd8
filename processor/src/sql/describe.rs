//! Tables, views and catalogs in words: the rows of `DESCRIBE`, the text of `SHOW CREATE`.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use aquifer_catalog::options::masked;
use aquifer_catalog::{CatalogDefinition, ColumnKind, Table, ViewDefinition};
use aquifer_model::sql_type::{ColumnType, MAX_LENGTH};
use aquifer_model::{Result, SqlType};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use arrow::datatypes::Schema;
use datafusion::execution::SessionState;
use sqlparser::ast::{
    CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Value, visit_expressions_mut,
};

use super::statement::parse_expression;
use super::{alter, sugar, validate};

/// A column as `DESCRIBE` shows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Described {
    pub name: String,
    pub type_text: String,
    pub nullable: bool,
    pub key: Option<String>,
    pub extras: Option<String>,
    pub watermark: Option<String>,
    pub comment: Option<String>,
}

/// The columns of a table. A time attribute is one in streaming only.
pub(super) fn table(table: &Table, state: &SessionState, streaming: bool) -> Result<Vec<Described>> {
    let definition = &table.definition;
    let types = validate::column_types(definition, state)?;
    let described = definition.columns.iter().zip(types).map(|(column, column_type)| {
        let watermark = definition.watermark.as_ref().filter(|w| w.column == column.name);
        let mark = if watermark.is_some() && streaming { " *ROWTIME*" } else { "" };
        let extras = match &column.kind {
            ColumnKind::Physical { .. } => None,
            ColumnKind::Metadata { key, is_virtual, .. } => {
                let from = if key.name() == column.name { String::new() } else { format!(" FROM '{key}'") };
                let end = if *is_virtual { " VIRTUAL" } else { "" };
                Some(format!("METADATA{from}{end}"))
            }
            ColumnKind::Computed { expression } => Some(format!("AS {}", spelled(expression))),
        };
        Described {
            name: column.name.clone(),
            type_text: format!("{}{mark}", column_type.sql_type),
            nullable: column_type.nullable,
            key: definition
                .primary_key
                .contains(&column.name)
                .then(|| format!("PRI({})", definition.primary_key.join(", "))),
            extras,
            watermark: watermark.map(|w| spelled(&w.expression)),
            comment: column.comment.clone(),
        }
    });
    Ok(described.collect())
}

/// Columns as rows: name, type, null, key, extras, watermark, and comment if there is one.
pub(super) fn batch(columns: &[Described]) -> Result<RecordBatch> {
    let strings = |of: &dyn Fn(&Described) -> Option<String>| {
        Arc::new(columns.iter().map(of).collect::<StringViewArray>()) as ArrayRef
    };
    let text = |name: &str| SqlType::STRING.nullable().to_field(name);
    let mut fields = vec![
        text("name"),
        text("type"),
        SqlType::Boolean.nullable().to_field("null"),
        text("key"),
        text("extras"),
        text("watermark"),
    ];
    let mut arrays = vec![
        strings(&|c| Some(c.name.clone())),
        strings(&|c| Some(c.type_text.clone())),
        Arc::new(columns.iter().map(|c| Some(c.nullable)).collect::<BooleanArray>()),
        strings(&|c| c.key.clone()),
        strings(&|c| c.extras.clone()),
        strings(&|c| c.watermark.clone()),
    ];
    if columns.iter().any(|c| c.comment.is_some()) {
        fields.push(text("comment"));
        arrays.push(strings(&|c| c.comment.clone()));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// An expression with every name in backticks, as Flink shows it.
fn spelled(expression: &str) -> String {
    let Ok(mut parsed) = parse_expression(expression) else { return expression.to_string() };
    let quote = |ident: &mut Ident| *ident = Ident::with_quote('`', ident.value.clone());
    let _ = visit_expressions_mut(&mut parsed, |e| {
        if let Some((kind, value, data_type)) = as_cast(e) {
            *e = Expr::Cast { kind, expr: Box::new(value), data_type, array: false, format: None };
        }
        match e {
            Expr::Identifier(ident) => quote(ident),
            Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(quote),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    parsed.to_string()
}

/// The parts of a CAST that is read as a function.
fn as_cast(expression: &Expr) -> Option<(CastKind, Expr, DataType)> {
    let Expr::Function(call) = expression else { return None };
    let kind = match call.name.to_string().as_str() {
        sugar::CAST => CastKind::Cast,
        sugar::TRY_CAST => CastKind::TryCast,
        _ => return None,
    };
    let FunctionArguments::List(list) = &call.args else { return None };
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(text))),
        ] => {
            let Value::SingleQuotedString(text) = &text.value else { return None };
            // The type as it was written, for it may be one that sqlparser does not know.
            let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(text.clone()))]);
            Some((kind, value.clone(), DataType::Custom(name, Vec::new())))
        }
        _ => None,
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn quoted_names(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A type in full: STRING is VARCHAR(2147483647).
fn full_type(column_type: &ColumnType) -> String {
    let text = match &column_type.sql_type {
        SqlType::Varchar(length) => format!("VARCHAR({length})"),
        SqlType::Varbinary(MAX_LENGTH) => format!("VARBINARY({MAX_LENGTH})"),
        SqlType::Array(element) => format!("ARRAY<{}>", full_type(element)),
        SqlType::Multiset(element) => format!("MULTISET<{}>", full_type(element)),
        SqlType::Map(key, value) => format!("MAP<{}, {}>", full_type(key), full_type(value)),
        SqlType::Row(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|f| format!("{} {}", quoted(&f.name), full_type(&f.column_type))).collect();
            format!("ROW<{}>", fields.join(", "))
        }
        other => other.to_string(),
    };
    if column_type.nullable { text } else { format!("{text} NOT NULL") }
}

fn options_text(options: &std::collections::BTreeMap<String, String>) -> String {
    let options: Vec<String> =
        masked(options).iter().map(|(key, value)| format!("  {} = {}", literal(key), literal(value))).collect();
    format!("WITH (\n{}\n)", options.join(",\n"))
}

/// The statement that would make this table; secrets are masked.
pub(super) fn create_table(table: &Table, temporary: bool) -> String {
    let definition = &table.definition;
    let mut lines = Vec::new();
    let full = |text: &String| SqlType::parse(text).map_or_else(|_| text.clone(), |parsed| full_type(&parsed));
    for column in &definition.columns {
        let mut line = quoted(&column.name);
        let _ = match &column.kind {
            ColumnKind::Physical { type_text } => write!(line, " {}", full(type_text)),
            ColumnKind::Metadata { type_text, key, is_virtual } => {
                let from = if key.name() == column.name { String::new() } else { format!(" FROM '{key}'") };
                let end = if *is_virtual { " VIRTUAL" } else { "" };
                write!(line, " {} METADATA{from}{end}", full(type_text))
            }
            ColumnKind::Computed { expression } => write!(line, " AS {}", spelled(expression)),
        };
        if let Some(comment) = &column.comment {
            let _ = write!(line, " COMMENT {}", literal(comment));
        }
        lines.push(line);
    }
    if let Some(watermark) = &definition.watermark {
        let column = watermark.column.split('.').map(quoted).collect::<Vec<_>>().join(".");
        lines.push(format!("WATERMARK FOR {column} AS {}", spelled(&watermark.expression)));
    }
    if !definition.primary_key.is_empty() {
        let name = quoted(&alter::key_name(definition));
        lines.push(format!("CONSTRAINT {name} PRIMARY KEY ({}) NOT ENFORCED", quoted_names(&definition.primary_key)));
    }
    let name: Vec<String> = table.name.iter().map(|part| quoted(part)).collect();
    let kind = if temporary { "TEMPORARY TABLE" } else { "TABLE" };
    let mut text = format!("CREATE {kind} {} (\n  {}\n)", name.join("."), lines.join(",\n  "));
    if let Some(comment) = &definition.comment {
        let _ = write!(text, "\nCOMMENT {}", literal(comment));
    }
    if let Some(distribution) = &definition.distribution {
        text.push_str("\nDISTRIBUTED");
        if !distribution.columns.is_empty() {
            let by = distribution.by.as_deref().unwrap_or_default();
            let _ = write!(text, " BY {by}({})", quoted_names(&distribution.columns));
        }
        if let Some(buckets) = distribution.buckets {
            let _ = write!(text, " INTO {buckets} BUCKETS");
        }
    }
    if !definition.partitioned_by.is_empty() {
        let _ = write!(text, "\nPARTITIONED BY ({})", quoted_names(&definition.partitioned_by));
    }
    if !definition.options.is_empty() {
        let _ = write!(text, "\n{}", options_text(&definition.options));
    }
    text
}

/// The statement that would make this view.
pub(super) fn create_view(name: &[String; 3], view: &ViewDefinition, columns: &[String], temporary: bool) -> String {
    let kind = if temporary { "TEMPORARY VIEW" } else { "VIEW" };
    let name: Vec<String> = name.iter().map(|part| quoted(part)).collect();
    let columns: Vec<String> = columns
        .iter()
        .map(|column| {
            let given = view.columns.iter().find(|given| given.name == *column);
            match given.and_then(|given| given.comment.as_ref()) {
                Some(comment) => format!("  {} COMMENT {}", quoted(column), literal(comment)),
                None => format!("  {}", quoted(column)),
            }
        })
        .collect();
    let mut text = format!("CREATE {kind} {} (\n{}\n)", name.join("."), columns.join(",\n"));
    if let Some(comment) = &view.comment {
        let _ = write!(text, "\nCOMMENT {}", literal(comment));
    }
    let _ = write!(text, "\nAS {}", view.query);
    text
}

/// The statement that would make this catalog; secrets are masked.
pub(super) fn create_catalog(definition: &CatalogDefinition) -> String {
    let mut text = format!("CREATE CATALOG {}", quoted(&definition.name));
    if let Some(comment) = &definition.comment {
        let _ = write!(text, "\nCOMMENT {}", literal(comment));
    }
    let _ = write!(text, "\n{}", options_text(&definition.options));
    text
}
