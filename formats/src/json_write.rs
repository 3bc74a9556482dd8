//! Values as JSON text, in two styles: what `--output json` prints, and what Flink's `json` format writes into a message.

use std::io::Write;

use aquifer_model::{Error, Result};
use base64::Engine;

use crate::scalar_text;
use crate::values::{Kind, Values, range, total_millis, total_months};

/// Where the JSON goes, which decides how some types are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// The shell's output: decimals as text, all digits of a time, binary in hexadecimal, VARIANT as text.
    Output,
    /// A message: decimals as numbers, times without zeros at their end, binary in base64, VARIANT as it is.
    Message {
        /// Whether timestamps are ISO-8601's, with `T`.
        iso: bool,
        /// Whether fields that are NULL are left out of objects.
        skip_nulls: bool,
    },
}

impl Style {
    fn is_message(self) -> bool {
        self != Self::Output
    }
}

/// Writes the value of a row.
pub(crate) fn write_value(
    values: &Values,
    row: usize,
    style: Style,
    scratch: &mut String,
    out: &mut Vec<u8>,
) -> Result<()> {
    if values.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match &values.kind {
        Kind::Null => out.extend_from_slice(b"null"),
        Kind::Boolean(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
        Kind::Integer(array) => integer(array.value(row), out)?,
        Kind::Float(array) => {
            let value = array.value(row);
            number(value.is_finite(), value, value.is_nan(), value < 0.0, out)?;
        }
        Kind::Double(array) => {
            let value = array.value(row);
            number(value.is_finite(), value, value.is_nan(), value < 0.0, out)?;
        }
        Kind::Decimal { values, scale } => {
            let write = |text: &mut String| scalar_text::decimal(values.value(row), *scale, text);
            match style {
                Style::Output => plain(scratch, out, write),
                Style::Message { .. } => {
                    scratch.clear();
                    write(scratch);
                    out.extend_from_slice(scratch.as_bytes());
                }
            }
        }
        Kind::Variant(array) if style.is_message() => {
            let json = array.value(row);
            match serde_json::from_str::<serde::de::IgnoredAny>(json) {
                Ok(_) => out.extend_from_slice(json.trim().as_bytes()),
                Err(_) => write_text(json, out)?,
            }
        }
        Kind::Text(array) | Kind::Variant(array) => write_text(array.value(row), out)?,
        Kind::Binary(array) => plain(scratch, out, |text| match style {
            Style::Output => scalar_text::hex(array.value(row), text),
            Style::Message { .. } => base64::engine::general_purpose::STANDARD.encode_string(array.value(row), text),
        }),
        Kind::Date(array) => plain(scratch, out, |text| scalar_text::date(array.value(row), text)),
        Kind::Time { ticks, per_second, digits } => plain(scratch, out, |text| {
            scalar_text::time(ticks.value(row), *per_second, *digits, text);
            shorten(style, *digits, text);
        }),
        Kind::Timestamp { ticks, per_second, digits, local } => plain(scratch, out, |text| {
            scalar_text::timestamp(ticks.value(row), *per_second, 0, *digits, text);
            shorten(style, *digits, text);
            if let (Style::Message { iso: true, .. }, Some(at)) = (style, text.find(' ')) {
                text.replace_range(at..=at, "T");
            }
            if *local {
                text.push('Z');
            }
        }),
        Kind::Months(array) => integer(total_months(array, row), out)?,
        Kind::Millis(array) => integer(total_millis(array, row), out)?,
        Kind::Array { offsets, items } => {
            out.push(b'[');
            for (n, item) in range(offsets, row).enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_value(items, item, style, scratch, out)?;
            }
            out.push(b']');
        }
        Kind::Map { offsets, keys, values } => {
            let as_object = matches!(keys.kind, Kind::Text(_));
            if style.is_message() && !as_object {
                return Err(Error::unsupported("JSON has only texts as keys of a map: cast the keys to STRING"));
            }
            out.push(if as_object { b'{' } else { b'[' });
            for (n, item) in range(offsets, row).enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                if as_object {
                    write_value(keys, item, style, scratch, out)?;
                    out.push(b':');
                    write_value(values, item, style, scratch, out)?;
                } else {
                    out.push(b'[');
                    write_value(keys, item, style, scratch, out)?;
                    out.push(b',');
                    write_value(values, item, style, scratch, out)?;
                    out.push(b']');
                }
            }
            out.push(if as_object { b'}' } else { b']' });
        }
        Kind::Row { fields, values } => {
            out.push(b'{');
            let mut first = true;
            for (field, column) in fields.iter().zip(values) {
                if matches!(style, Style::Message { skip_nulls: true, .. }) && column.is_null(row) {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                write_text(field.name(), out)?;
                out.push(b':');
                write_value(column, row, style, scratch, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Writes a text between quotes, escaped.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, text).map_err(|error| Error::internal("writing a text as JSON").with_source(error))
}

/// Writes what needs no escape between quotes.
fn plain(scratch: &mut String, out: &mut Vec<u8>, write: impl FnOnce(&mut String)) {
    scratch.clear();
    write(scratch);
    out.push(b'"');
    out.extend_from_slice(scratch.as_bytes());
    out.push(b'"');
}

/// Takes the zeros at the end of a fraction away, and the point before nothing.
fn shorten(style: Style, digits: u8, text: &mut String) {
    if style.is_message() && digits > 0 {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
}

fn number(finite: bool, shown: impl std::fmt::Debug, is_nan: bool, is_negative: bool, out: &mut Vec<u8>) -> Result<()> {
    let written = match (finite, is_nan, is_negative) {
        (true, ..) => write!(out, "{shown:?}"),
        (_, true, _) => out.write_all(b"\"NaN\""),
        (.., false) => out.write_all(b"\"Infinity\""),
        (.., true) => out.write_all(b"\"-Infinity\""),
    };
    written.map_err(|error| Error::internal("writing a number as JSON").with_source(error))
}

fn integer(value: i64, out: &mut Vec<u8>) -> Result<()> {
    write!(out, "{value}").map_err(|error| Error::internal("writing a number as JSON").with_source(error))
}
