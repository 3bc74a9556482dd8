//! Changes as messages, one a line.

use aquifer_model::{ChangeBatch, Error, Result, RowKind};
use arrow::array::ArrayRef;
use arrow::datatypes::{FieldRef, SchemaRef};

use super::{ChangeFormat, MessageFormat, TimestampText};
use crate::json_write::{Style, write_text, write_value};
use crate::values::Values;

/// Writes messages of one format.
pub struct ChangeEncoder {
    changes: ChangeFormat,
    style: Style,
    skip_nulls: bool,
    columns: SchemaRef,
    /// Each column's name, a colon after it.
    names: Vec<Vec<u8>>,
}

impl ChangeEncoder {
    /// An encoder of these columns.
    pub fn new(format: MessageFormat, columns: SchemaRef) -> Result<Self> {
        let names = columns.fields().iter().map(|field| {
            let mut name = Vec::new();
            write_text(field.name(), &mut name)?;
            name.push(b':');
            Ok(name)
        });
        let style = Style::Message {
            iso: format.rules.timestamps == TimestampText::Iso8601,
            skip_nulls: format.ignore_null_fields,
        };
        Ok(Self {
            names: names.collect::<Result<_>>()?,
            changes: format.changes,
            style,
            skip_nulls: format.ignore_null_fields,
            columns,
        })
    }

    /// Adds a line for each change. Fails with `Unsupported` on a change that the format has no word for; then `out` is as it was.
    pub fn write(&self, changes: &ChangeBatch, out: &mut Vec<u8>) -> Result<()> {
        let of = |(array, field): (&ArrayRef, &FieldRef)| Values::of(array, field);
        let columns = changes.rows().columns().iter().zip(self.columns.fields()).map(of);
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let (start, mut scratch) = (out.len(), String::new());
        for row in 0..changes.num_rows() {
            if let Err(error) = self.line(&columns, row, changes.kind(row), &mut scratch, out) {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }

    fn line(
        &self,
        columns: &[Values],
        row: usize,
        kind: RowKind,
        scratch: &mut String,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let adds = kind.weight() > 0;
        let (before, after): (&str, &str) = match (&self.changes, adds) {
            (ChangeFormat::Rows, true) => ("", ""),
            (ChangeFormat::Rows, false) => {
                return Err(Error::unsupported(
                    "`json` has no word for a row that is taken back: use a changelog format",
                ));
            }
            (ChangeFormat::Debezium { .. }, true) => ("{\"before\":null,\"after\":", ",\"op\":\"c\"}"),
            (ChangeFormat::Debezium { .. }, false) => ("{\"before\":", ",\"after\":null,\"op\":\"d\"}"),
            (ChangeFormat::Ogg, true) => ("{\"before\":null,\"after\":", ",\"op_type\":\"I\"}"),
            (ChangeFormat::Ogg, false) => ("{\"before\":", ",\"after\":null,\"op_type\":\"D\"}"),
            (ChangeFormat::Canal { .. }, true) => ("{\"data\":[", "],\"type\":\"INSERT\"}"),
            (ChangeFormat::Canal { .. }, false) => ("{\"data\":[", "],\"type\":\"DELETE\"}"),
            (ChangeFormat::Maxwell, true) => ("{\"data\":", ",\"type\":\"insert\"}"),
            (ChangeFormat::Maxwell, false) => ("{\"data\":", ",\"type\":\"delete\"}"),
        };
        out.extend_from_slice(before.as_bytes());
        out.push(b'{');
        let mut first = true;
        for (name, column) in self.names.iter().zip(columns) {
            if self.skip_nulls && column.is_null(row) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(name);
            write_value(column, row, self.style, scratch, out)?;
        }
        out.push(b'}');
        out.extend_from_slice(after.as_bytes());
        out.push(b'\n');
        Ok(())
    }
}
