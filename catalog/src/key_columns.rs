//! Which columns of a table stand in the message's key and not in its value: those of its key where `'value.fields-include' = 'EXCEPT_KEY'`.
//!
//! ```text
//!  key.fields, or the primary key ─► one text or bytes, raw ─► the key as it is
//!                                 └► anything else, by key.format ─► decoded where the table is read, under names without key.fields-prefix
//! ```

use std::sync::Arc;

use aquifer_formats::payload::Format;
use aquifer_model::{Error, Result, SqlType};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::definition::{ColumnKind, TableDefinition};

/// The columns of a table that stand in the message's key only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyColumns {
    /// There are none.
    None,
    /// One column, which is the key's bytes.
    Whole(String),
    /// Columns that the key holds in a format.
    Decoded {
        /// How the key is written.
        format: Format,
        /// The table's columns.
        columns: Vec<String>,
        /// What they are in the key, in the same order; all may be NULL.
        schema: SchemaRef,
    },
}

impl KeyColumns {
    /// What a definition says. Fails on columns that are not there or do not fit the key's format.
    pub fn of(definition: &TableDefinition) -> Result<Self> {
        let option = |key: &str| definition.options.get(key).map(String::as_str);
        if option("value.fields-include") != Some("EXCEPT_KEY") {
            return Ok(Self::None);
        }
        let names: Vec<String> = match option("key.fields") {
            Some(fields) => fields.split(';').map(String::from).collect(),
            None => definition.primary_key.clone(),
        };
        let fields = names.iter().map(|name| key_field(definition, name)).collect::<Result<Vec<Field>>>()?;
        let is_plain =
            matches!(fields.as_slice(), [one] if matches!(one.data_type(), DataType::Utf8View | DataType::BinaryView));
        let format = match option("key.format") {
            Some(format) => format.parse()?,
            None if is_plain => Format::Raw,
            None => Format::Json,
        };
        match (format, names.as_slice()) {
            (_, []) => Ok(Self::None),
            (Format::Raw, [one]) if is_plain => Ok(Self::Whole(one.clone())),
            (Format::Raw, several) if several.len() > 1 => Err(Error::invalid(format!(
                "the key has {} columns, and the format `raw` takes one: write 'key.format' = 'json'",
                several.len()
            ))),
            (Format::Raw | Format::Json | Format::Avro, _) => {
                Ok(Self::Decoded { format, columns: names, schema: Arc::new(Schema::new(fields)) })
            }
            (Format::Csv | Format::Protobuf | Format::KeyValue, _) => Err(Error::unsupported(format!(
                "'key.format' = '{format}' is not read: write raw, json or avro, or leave 'value.fields-include' out, which keeps the key in the value too"
            ))),
        }
    }

    /// Whether a column of the table is one of them.
    pub fn contains(&self, column: &str) -> bool {
        match self {
            Self::None => false,
            Self::Whole(one) => one == column,
            Self::Decoded { columns, .. } => columns.iter().any(|one| one == column),
        }
    }
}

/// What a column of the table is in the key: there it has its name without the prefix, and may be NULL.
pub fn key_field(definition: &TableDefinition, name: &str) -> Result<Field> {
    let prefix = definition.options.get("key.fields-prefix").map_or("", String::as_str);
    let column = definition.columns.iter().find(|column| column.name == name);
    let Some(ColumnKind::Physical { type_text }) = column.map(|column| &column.kind) else {
        return Err(Error::invalid(format!("the key's column `{name}` is no physical column of the table")));
    };
    let Some(inside) = name.strip_prefix(prefix).filter(|inside| !inside.is_empty()) else {
        return Err(Error::invalid(format!(
            "'key.fields-prefix' = '{prefix}': the key's column `{name}` does not begin with it and go on: name it so, or leave the option out"
        )));
    };
    let column_type = SqlType::parse(type_text).map_err(|error| error.context(format!("the column `{name}`")))?;
    Ok(column_type.to_field(inside).with_nullable(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::ColumnDefinition;

    fn found(columns: &[(&str, &str)], primary_key: &[&str], options: &[(&str, &str)]) -> Result<String> {
        let column = |(name, type_text): &(&str, &str)| ColumnDefinition {
            name: name.to_string(),
            kind: ColumnKind::Physical { type_text: type_text.to_string() },
            comment: None,
        };
        let except = [("value.fields-include", "EXCEPT_KEY")];
        let options = options.iter().chain(&except).map(|(key, value)| (key.to_string(), value.to_string()));
        let definition = TableDefinition {
            columns: columns.iter().map(column).collect(),
            primary_key: primary_key.iter().map(ToString::to_string).collect(),
            options: options.collect(),
            ..TableDefinition::default()
        };
        Ok(match KeyColumns::of(&definition)? {
            KeyColumns::None => "none".to_string(),
            KeyColumns::Whole(one) => format!("whole {one}"),
            KeyColumns::Decoded { format, columns, schema } => {
                let inside: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                format!("{format} {} as {}", columns.join(","), inside.join(","))
            }
        })
    }

    #[test]
    fn columns_are_the_key_or_are_decoded_from_it() {
        let two = [("k_id", "INT NOT NULL"), ("k_s", "STRING"), ("v", "STRING")];
        for (columns, primary_key, options, expected) in [
            (&two[..], &[] as &[&str], &[("key.fields", "k_s")][..], "whole k_s"),
            (&two, &["k_s"], &[], "whole k_s"),
            (&two, &["k_id"], &[], "json k_id as k_id"),
            (&two, &[], &[("key.fields", "k_id;k_s")], "json k_id,k_s as k_id,k_s"),
            (&two, &[], &[("key.fields", "k_id"), ("key.format", "raw")], "raw k_id as k_id"),
            (&two, &[], &[("key.fields", "k_s"), ("key.format", "json")], "json k_s as k_s"),
            (
                &two,
                &[],
                &[("key.fields", "k_id;k_s"), ("key.format", "avro"), ("key.fields-prefix", "k_")],
                "avro k_id,k_s as id,s",
            ),
            (&two, &[], &[("key.fields", "k_s"), ("key.fields-prefix", "k_")], "whole k_s"),
            (&two, &[], &[], "none"),
        ] {
            assert_eq!(found(columns, primary_key, options).expect(expected), expected);
        }
        for (options, part) in [
            (&[("key.fields", "k_id;k_s"), ("key.format", "raw")][..], "takes one"),
            (&[("key.fields", "nope")], "`nope` is no physical column"),
            (&[("key.fields", "k_id;v"), ("key.fields-prefix", "k_")], "`v` does not begin with it"),
            (&[("key.fields", "v"), ("key.fields-prefix", "v")], "and go on"),
            (&[("key.fields", "k_s"), ("key.format", "protobuf")], "write raw, json or avro"),
        ] {
            let error = found(&two, &[], options).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
