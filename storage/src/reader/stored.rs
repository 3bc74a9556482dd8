//! How a file of the archive holds what the table has: in which of its columns a value column is, and where the payloads of its messages are.
//!
//! A file was written by the table of its time. Since then columns may have other names (by aliases of the topic's schema they are found all the same), and the table may
//! read payloads in another format: what was archived as one column of bytes is read again from those bytes.

use std::collections::HashMap;

use aquifer_formats::messages::{column, message_schema};
use aquifer_formats::payload::{Format, VALUE_COLUMN};
use aquifer_model::{Error, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_not_null};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::archive::file::{FORMAT_KEY, stored_name};

/// Names that value columns had before, by those that they have.
pub(super) type EarlierNames = HashMap<String, Vec<String>>;

/// The column of a file, or of rows of it, that holds a value column: its name counts before those that it had.
pub(super) fn stored_in<'a>(schema: &'a Schema, name: &str, earlier: &[String]) -> Option<&'a str> {
    let mut names = std::iter::once(name).chain(earlier.iter().map(String::as_str));
    names.find_map(|name| schema.fields().find(&stored_name(name)).map(|(_, field)| field.name().as_str()))
}

/// Where the payloads of a file's messages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Payloads {
    /// Where one is NULL, the file's columns are what the table makes of it.
    Decoded,
    /// Where one is NULL, it is the bytes of this column.
    In(String),
    /// Where one is NULL, it is gone: the columns are what this format made of it, which is not the table's.
    Gone(String),
}

fn holds_bytes(field: &Field) -> bool {
    matches!(field.data_type(), DataType::BinaryView | DataType::Binary | DataType::Utf8View | DataType::Utf8)
}

impl Payloads {
    /// Of a file, for a table whose payloads are in `format` and make `table`.
    pub fn of(file: &ArrowReaderMetadata, format: Format, table: &Schema) -> Self {
        let pairs = file.metadata().file_metadata().key_value_metadata();
        let told = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == FORMAT_KEY)?.value.as_deref());
        Self::decide(told, file.schema(), format, table)
    }

    /// `told`: the format that the file says that it was written for. Older files do not: then the one column `value` is what a topic without a schema has.
    fn decide(told: Option<&str>, file: &Schema, format: Format, table: &Schema) -> Self {
        let messages = message_schema();
        let values: Vec<&Field> = file
            .fields()
            .iter()
            .map(AsRef::as_ref)
            .filter(|field| messages.fields().find(field.name()).is_none())
            .collect();
        let in_table = |field: &Field| table.fields().iter().find(|column| stored_name(column.name()) == *field.name());
        let was_raw = match (told, values.as_slice()) {
            (Some(told), [_]) => told == Format::Raw.to_string(),
            (None, [one]) => one.name() == VALUE_COLUMN && holds_bytes(one) && in_table(one).is_none(),
            _ => false,
        };
        match (values.as_slice(), was_raw, format) {
            ([], ..) => Self::Decoded,
            ([one], true, Format::Raw) => match in_table(one) {
                Some(column) if column.data_type() == one.data_type() || !holds_bytes(one) => Self::Decoded,
                _ if holds_bytes(one) => Self::In(one.name().clone()),
                _ => Self::Gone(Format::Raw.to_string()),
            },
            ([one], true, _) if holds_bytes(one) => Self::In(one.name().clone()),
            (_, true, _) => Self::Gone(Format::Raw.to_string()),
            (_, false, Format::Raw) => match told {
                Some(told) => Self::Gone(told.to_string()),
                None if values.iter().any(|field| in_table(field).is_some()) => Self::Decoded,
                None => Self::Gone("its topic's schema".into()),
            },
            (_, false, _) => Self::Decoded,
        }
    }

    /// Columns to read for them, beside what is read anyway.
    pub fn columns(&self) -> Vec<String> {
        match self {
            Self::Decoded => Vec::new(),
            Self::In(name) => vec![name.clone()],
            Self::Gone(_) => vec![column::PAYLOAD.into(), column::NULL_VALUE.into()],
        }
    }

    /// Rows of the file with their payloads as far as they are there. Fails where one is wanted and is gone.
    pub fn put_into(&self, rows: RecordBatch, is_wanted: bool, file: &str) -> Result<RecordBatch> {
        let lost = || Error::corrupt(format!("file `{file}` of the archive has no payloads"));
        match self {
            Self::Decoded => Ok(rows),
            Self::In(name) => {
                let (at, from) = (rows.schema().index_of(column::PAYLOAD)?, rows.schema().index_of(name)?);
                let bytes =
                    |index: usize| cast(&cast(rows.column(index), &DataType::BinaryView)?, &DataType::BinaryView);
                let (kept, value) = (bytes(at)?, bytes(from)?);
                let payloads =
                    if kept.null_count() == kept.len() { value } else { zip(&is_not_null(&kept)?, &kept, &value)? };
                let mut columns = rows.columns().to_vec();
                columns[at] = payloads;
                let rows = RecordBatch::try_new(rows.schema(), columns)?;
                let others: Vec<usize> = (0..rows.num_columns()).filter(|index| *index != from).collect();
                // The column is none of the table's, though one may have its name.
                Ok(rows.project(&others)?)
            }
            Self::Gone(format) if is_wanted => {
                let payloads = rows.column_by_name(column::PAYLOAD).ok_or_else(lost)?;
                let nothing =
                    rows.column_by_name(column::NULL_VALUE).and_then(|c| c.as_boolean_opt()).ok_or_else(lost)?;
                let is_gone = |row: usize| payloads.is_null(row) && !(nothing.is_valid(row) && nothing.value(row));
                if (0..rows.num_rows()).any(is_gone) {
                    return Err(Error::unsupported(format!(
                        "file `{file}` of the archive has columns that were made by {format}, and not the payloads: read the table with that 'format', or the log alone with \
                         'scan.tiers' = 'log'"
                    )));
                }
                Ok(rows)
            }
            Self::Gone(_) => Ok(rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_payloads_are_is_told_by_the_file_or_by_its_columns() {
        let schema = |columns: &[(&str, DataType)]| {
            let mut fields = vec![message_schema().field(0).clone()];
            fields.extend(columns.iter().map(|(name, of)| Field::new(*name, of.clone(), true)));
            Schema::new(fields)
        };
        let table = |columns: &[(&str, DataType)]| Schema::new(schema(columns).fields()[1..].to_vec());
        use DataType::{BinaryView, Int64, Utf8View};
        use Format::{Avro, Csv, Json, Raw};
        let (raw, two) = ([("value", BinaryView)], [("id", Int64), ("name", Utf8View)]);
        let inside = |name: &str| Payloads::In(name.into());
        let gone = |format: &str| Payloads::Gone(format.into());
        for (told, file, format, columns, expected) in [
            (Some("raw"), &raw[..], Raw, &raw[..], Payloads::Decoded),
            (Some("raw"), &raw, Json, &two, inside("value")),
            (None, &raw, Json, &two, inside("value")),
            (None, &raw, Csv, &two, inside("value")),
            (Some("raw"), &raw, Json, &[("value", Int64)], inside("value")),
            (Some("raw"), &raw, Raw, &[("payload", BinaryView)], inside("value")),
            (Some("raw"), &raw, Raw, &[("value", Utf8View)], inside("value")),
            (Some("raw"), &[("value", Int64)], Raw, &[("value", Int64)], Payloads::Decoded),
            (Some("raw"), &[("value", Int64)], Json, &two, gone("raw")),
            // A record with one field of that name.
            (Some("avro"), &raw, Avro, &two, Payloads::Decoded),
            (None, &raw, Avro, &raw, Payloads::Decoded),
            (Some("avro"), &two, Raw, &raw, gone("avro")),
            (None, &two, Raw, &raw, gone("its topic's schema")),
            (Some("avro"), &two, Avro, &two, Payloads::Decoded),
            (Some("json"), &[], Raw, &raw, Payloads::Decoded),
        ] {
            let found = Payloads::decide(told, &schema(file), format, &table(columns));
            assert_eq!(found, expected, "{told:?} {file:?} as {format} {columns:?}");
        }
    }

    #[test]
    fn a_column_is_found_by_its_name_and_then_by_those_that_it_had() {
        let file = Schema::new(vec![
            Field::new("old", DataType::Int64, true),
            Field::new("__value.__x", DataType::Int64, true),
        ]);
        let earlier = ["never".to_string(), "old".to_string()];
        assert_eq!(stored_in(&file, "new", &earlier), Some("old"));
        assert_eq!(stored_in(&file, "__x", &earlier), Some("__value.__x"));
        assert_eq!(stored_in(&file, "new", &[]), None);
    }
}
