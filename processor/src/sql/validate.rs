//! What a table's definition must keep before it is stored: names that are there, types that fit, expressions that bind.

use aquifer_catalog::{ColumnKind, TableDefinition};
use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use arrow::compute::can_cast_types;
use arrow::datatypes::{Field, Schema};
use datafusion::execution::SessionState;

use super::binder::bind_expression;
use crate::connector::nearest_known;

/// The columns that stand in rows before computed ones: physical and metadata.
fn stored_fields(definition: &TableDefinition) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    for column in &definition.columns {
        let (ColumnKind::Physical { type_text } | ColumnKind::Metadata { type_text, .. }) = &column.kind else {
            continue;
        };
        let parsed = SqlType::parse(type_text).map_err(|e| e.context(format!("the column `{}`", column.name)))?;
        fields.push(parsed.to_field(&column.name));
    }
    Ok(fields)
}

/// The types of all columns, in order; those of computed columns as their expressions give them.
pub(super) fn column_types(definition: &TableDefinition, state: &SessionState) -> Result<Vec<ColumnType>> {
    let stored = Schema::new(stored_fields(definition)?);
    let of = |column: &aquifer_catalog::ColumnDefinition| match &column.kind {
        ColumnKind::Physical { type_text } | ColumnKind::Metadata { type_text, .. } => SqlType::parse(type_text),
        ColumnKind::Computed { expression } => {
            let field = bind_expression(expression, &stored, state)
                .map_err(|error| error.context(format!("the computed column `{}`", column.name)))?;
            ColumnType::of_field(&field)
        }
    };
    definition.columns.iter().map(of).collect()
}

/// Checks a definition. Refused: names that stand twice or are not there, types that do not fit, expressions that do not bind.
pub(super) fn check(definition: &TableDefinition, state: &SessionState) -> Result<()> {
    let columns = &definition.columns;
    for (n, column) in columns.iter().enumerate() {
        if columns[..n].iter().any(|before| before.name == column.name) {
            return Err(Error::invalid(format!("the column `{}` is declared twice", column.name)));
        }
        if let ColumnKind::Metadata { type_text, key, .. } = &column.kind {
            let (wanted, own) = (SqlType::parse(type_text)?.sql_type, key.sql_type());
            if !can_cast_types(&own.to_arrow(), &wanted.to_arrow()) {
                return Err(Error::invalid(format!(
                    "the metadata column `{}` is {own} and cannot be read as {wanted}",
                    column.name
                )));
            }
        }
    }
    let types = column_types(definition, state)?;
    let named = |what: &str, name: &str| match columns.iter().position(|column| column.name == name) {
        Some(at) => Ok(at),
        None => {
            let near = nearest_known(name, columns.iter().map(|c| c.name.as_str()));
            Err(Error::invalid(format!("{what} column `{name}` is unknown: {near}")))
        }
    };
    if let Some(watermark) = &definition.watermark {
        let at = named("the watermark's", &watermark.column)?;
        let time = &types[at].sql_type;
        if !matches!(time, SqlType::Timestamp(0..=3) | SqlType::TimestampLtz(0..=3)) {
            let advice = match time {
                SqlType::Timestamp(_) | SqlType::TimestampLtz(_) => format!(
                    ": a time attribute has milliseconds; add a computed column `t` AS CAST(`{}` AS {}) and put the watermark on it",
                    watermark.column,
                    if matches!(time, SqlType::Timestamp(_)) { "TIMESTAMP(3)" } else { "TIMESTAMP_LTZ(3)" }
                ),
                _ => String::new(),
            };
            return Err(Error::invalid(format!(
                "a watermark is put on a TIMESTAMP(p) or TIMESTAMP_LTZ(p) column with p up to 3, and `{}` is {time}{advice}",
                watermark.column
            )));
        }
        if watermark.expression.replace(' ', "").eq_ignore_ascii_case("SOURCE_WATERMARK()") {
            return Err(Error::unsupported(format!(
                "SOURCE_WATERMARK() needs a source that has watermarks, and there is none: write WATERMARK FOR `{0}` AS `{0}` - INTERVAL '5' SECOND",
                watermark.column
            )));
        }
        let all: Vec<Field> = columns.iter().zip(&types).map(|(c, t)| t.to_field(&c.name)).collect();
        let bound = bind_expression(&watermark.expression, &Schema::new(all), state)
            .and_then(|field| ColumnType::of_field(&field))
            .map_err(|error| error.context(format!("the watermark of `{}`", watermark.column)))?;
        let fits = matches!(
            (&bound.sql_type, time),
            (SqlType::Timestamp(_), SqlType::Timestamp(_)) | (SqlType::TimestampLtz(_), SqlType::TimestampLtz(_))
        );
        if !fits {
            return Err(Error::invalid(format!(
                "the watermark of `{}` is {}, and the column is {time}: they must be of one kind",
                watermark.column, bound.sql_type
            )));
        }
    }
    for name in &definition.primary_key {
        let at = named("the primary key's", name)?;
        if !matches!(columns[at].kind, ColumnKind::Physical { .. }) {
            return Err(Error::invalid(format!("`{name}` is no physical column and cannot be in the primary key")));
        }
    }
    for name in &definition.partitioned_by {
        named("PARTITIONED BY names a column that is not there: the", name)?;
    }
    for name in definition.distribution.iter().flat_map(|distribution| &distribution.columns) {
        named("DISTRIBUTED names a column that is not there: the", name)?;
    }
    Ok(())
}

/// A new table's key columns are NOT NULL, said or not.
pub(super) fn key_is_not_null(definition: &mut TableDefinition) -> Result<()> {
    for column in &mut definition.columns {
        if let ColumnKind::Physical { type_text } = &mut column.kind
            && definition.primary_key.contains(&column.name)
            && SqlType::parse(type_text)?.nullable
        {
            *type_text = format!("{} NOT NULL", type_text.trim());
        }
    }
    Ok(())
}
