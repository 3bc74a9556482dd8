//! Rows as CSV: a field is quoted where it has to be, and, as Flink does, wherever a character sorts before the comma or the text is long.

use aquifer_model::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use base64::Engine;

use super::{CsvFormat, check_type};
use crate::scalar_text;
use crate::values::{Kind, Values, range, total_millis, total_months};

/// Texts longer than this are quoted without a look.
const LOOKED_AT: usize = 24;

/// Writes records.
pub struct CsvEncoder {
    format: CsvFormat,
    pub(super) columns: SchemaRef,
}

impl CsvEncoder {
    /// An encoder of these columns. Fails with `Unsupported` on types that CSV has no text for.
    pub fn new(format: CsvFormat, columns: SchemaRef) -> Result<Self> {
        for field in columns.fields() {
            check_type(field.name(), field.data_type())?;
        }
        Ok(Self { format, columns })
    }

    /// Adds a line for each row.
    pub fn write(&self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = rows.columns().iter().zip(self.columns.fields()).map(|(array, field)| Values::of(array, field));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut text = String::new();
        for row in 0..rows.num_rows() {
            self.record(&columns, row, &mut text, out)?;
            out.push(b'\n');
        }
        Ok(())
    }

    /// Adds a row's record without a line's end. `text` is room for one value.
    pub(super) fn record(&self, columns: &[Values], row: usize, text: &mut String, out: &mut Vec<u8>) -> Result<()> {
        for (n, column) in columns.iter().enumerate() {
            if n > 0 {
                out.push(self.format.field_delimiter);
            }
            if column.is_null(row) {
                self.field(self.format.null_literal.as_deref().unwrap_or(""), out);
                continue;
            }
            text.clear();
            self.value(column, row, text)?;
            self.field(text, out);
        }
        Ok(())
    }

    fn value(&self, values: &Values, row: usize, out: &mut String) -> Result<()> {
        let start = out.len();
        let shorten = |out: &mut String, digits: u8| {
            if digits > 0 {
                let length = out[start..].trim_end_matches('0').trim_end_matches('.').len();
                out.truncate(start + length);
            }
        };
        let joined = |out: &mut String, n: usize, values: &Values, row: usize| -> Result<()> {
            if n > 0 {
                out.push_str(&self.format.array_element_delimiter);
            }
            match values.is_null(row) {
                true => out.push_str(self.format.null_literal.as_deref().unwrap_or("")),
                false => self.value(values, row, out)?,
            }
            Ok(())
        };
        match &values.kind {
            Kind::Null => {}
            Kind::Boolean(array) => out.push_str(if array.value(row) { "true" } else { "false" }),
            Kind::Integer(array) => out.push_str(&array.value(row).to_string()),
            Kind::Float(array) => scalar_text::float(array.value(row), out),
            Kind::Double(array) => scalar_text::double(array.value(row), out),
            Kind::Decimal { values, scale } => scalar_text::decimal(values.value(row), *scale, out),
            Kind::Text(array) | Kind::Variant(array) => out.push_str(array.value(row)),
            Kind::Binary(array) => {
                base64::engine::general_purpose::STANDARD.encode_string(array.value(row), out);
            }
            Kind::Date(array) => scalar_text::date(array.value(row), out),
            Kind::Time { ticks, per_second, digits } => {
                scalar_text::time(ticks.value(row), *per_second, *digits, out);
                shorten(out, *digits);
            }
            Kind::Timestamp { ticks, per_second, digits, local } => {
                scalar_text::timestamp(ticks.value(row), *per_second, 0, *digits, out);
                shorten(out, *digits);
                if *local {
                    out.push('Z');
                }
            }
            Kind::Months(array) => out.push_str(&total_months(array, row).to_string()),
            Kind::Millis(array) => out.push_str(&total_millis(array, row).to_string()),
            Kind::Array { offsets, items } => {
                for (n, item) in range(offsets, row).enumerate() {
                    joined(out, n, items, item)?;
                }
            }
            Kind::Row { values, .. } => {
                for (n, column) in values.iter().enumerate() {
                    joined(out, n, column, row)?;
                }
            }
            Kind::Map { .. } => return Err(Error::unsupported("CSV has no text for a map")),
        }
        Ok(())
    }

    fn field(&self, text: &str, out: &mut Vec<u8>) {
        let Some(quote) = self.format.quote_character else {
            out.extend_from_slice(text.as_bytes());
            return;
        };
        let escape = self.format.escape_character;
        // The first characters, up to the greatest that means something.
        let last = [self.format.field_delimiter, quote, b'\n', b'\r'].into_iter().chain(escape).max().unwrap_or(b',');
        if text.len() <= LOOKED_AT && text.bytes().all(|byte| byte > last) {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        out.push(quote);
        for byte in text.bytes() {
            if byte == quote || Some(byte) == escape {
                out.push(escape.unwrap_or(quote));
            }
            out.push(byte);
        }
        out.push(quote);
    }
}
