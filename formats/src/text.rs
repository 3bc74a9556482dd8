//! Columns as text: Flink's `CAST(x AS STRING)` and, with few differences, what its shell prints.
//!
//! NULL at the top stays NULL; inside an array, a map or a row it is the word `NULL`.

use std::fmt::Write;
use std::sync::Arc;

use aquifer_model::{Error, Result};
pub use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Field};
use chrono::{DateTime, Offset, TimeZone};

use crate::json_write;
use crate::scalar_text;
use crate::values::{Kind, Values, range, total_millis, total_months};

/// How values become text.
#[derive(Debug, Clone, Copy)]
pub struct TextStyle {
    /// The zone in which a TIMESTAMP_LTZ is shown.
    pub zone: Tz,
    /// Whether binaries are shown as `x'0aff'`, as the shell prints them; else their bytes are read as UTF-8, as a cast does.
    pub printing: bool,
}

impl TextStyle {
    /// The style of a cast in this zone.
    pub fn cast(zone: Tz) -> Self {
        Self { zone, printing: false }
    }

    /// The style of the shell in this zone.
    pub fn printing(zone: Tz) -> Self {
        Self { zone, printing: true }
    }
}

/// Reads a session time zone: a region such as `Europe/Berlin`, `UTC`, or `GMT+01:00`. A bare `+01:00` is refused, as in Flink.
pub fn parse_zone(text: &str) -> Result<Tz> {
    let wrong = || {
        Error::invalid(format!(
            "unknown time zone `{text}`: use a region such as Europe/Berlin, or an offset such as GMT+01:00"
        ))
    };
    if text.starts_with(['+', '-']) {
        return Err(wrong());
    }
    match text.strip_prefix("GMT").filter(|offset| offset.starts_with(['+', '-'])) {
        Some(offset) => offset.parse().map_err(|_| wrong()),
        None => text.parse().map_err(|_| wrong()),
    }
}

/// The text of each value of a column. Fails with `Unsupported` for Arrow types that no SQL type has.
pub fn text_column(array: &ArrayRef, field: &Field, style: &TextStyle) -> Result<StringViewArray> {
    if array.data_type() == &DataType::Utf8View {
        return Ok(array.as_string_view().clone());
    }
    let values = Values::of(array, field)?;
    let mut texts = StringViewBuilder::with_capacity(array.len());
    let mut text = String::new();
    for row in 0..array.len() {
        if values.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        write_value(&values, row, style, &mut text);
        texts.append_value(&text);
    }
    Ok(texts.finish())
}

/// The JSON of each value of a column, as Flink's JSON functions write it; NULL stays NULL. Fails with `Unsupported` for a map whose keys are no texts.
pub fn json_column(array: &ArrayRef, field: &Field) -> Result<StringViewArray> {
    let values = Values::of(array, field)?;
    let mut texts = StringViewBuilder::with_capacity(array.len());
    let (mut scratch, mut json) = (String::new(), Vec::new());
    for row in 0..array.len() {
        if values.is_null(row) {
            texts.append_null();
            continue;
        }
        json.clear();
        json_write::write_value(
            &values,
            row,
            json_write::Style::Message { iso: true, skip_nulls: false },
            &mut scratch,
            &mut json,
        )?;
        let text = std::str::from_utf8(&json).map_err(|error| Error::internal("JSON is text").with_source(error))?;
        texts.append_value(text);
    }
    Ok(texts.finish())
}

/// The text of every column, in the columns' order.
pub fn text_columns(rows: &arrow::array::RecordBatch, style: &TextStyle) -> Result<Vec<Arc<StringViewArray>>> {
    let schema = rows.schema_ref();
    rows.columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| Ok(Arc::new(text_column(column, field, style)?)))
        .collect()
}

fn write_value(values: &Values, row: usize, style: &TextStyle, out: &mut String) {
    if values.is_null(row) {
        out.push_str("NULL");
        return;
    }
    match &values.kind {
        Kind::Null => out.push_str("NULL"),
        Kind::Boolean(array) => out.push_str(if array.value(row) { "TRUE" } else { "FALSE" }),
        Kind::Integer(array) => {
            let _ = write!(out, "{}", array.value(row));
        }
        Kind::Float(array) => scalar_text::float(array.value(row), out),
        Kind::Double(array) => scalar_text::double(array.value(row), out),
        Kind::Decimal { values, scale } => scalar_text::decimal(values.value(row), *scale, out),
        Kind::Text(array) | Kind::Variant(array) => out.push_str(array.value(row)),
        Kind::Binary(array) if style.printing => {
            out.push_str("x'");
            scalar_text::hex(array.value(row), out);
            out.push('\'');
        }
        Kind::Binary(array) => out.push_str(&String::from_utf8_lossy(array.value(row))),
        Kind::Date(array) => scalar_text::date(array.value(row), out),
        Kind::Time { ticks, per_second, digits } => scalar_text::time(ticks.value(row), *per_second, *digits, out),
        Kind::Timestamp { ticks, per_second, digits, local } => {
            let ticks = ticks.value(row);
            let offset = if *local { offset_seconds(ticks.div_euclid(*per_second), &style.zone) } else { 0 };
            scalar_text::timestamp(ticks, *per_second, offset, *digits, out);
        }
        Kind::Months(array) => scalar_text::months(total_months(array, row), out),
        Kind::Millis(array) => scalar_text::millis(total_millis(array, row), out),
        Kind::Array { offsets, items } => {
            out.push('[');
            for (n, item) in range(offsets, row).enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                write_value(items, item, style, out);
            }
            out.push(']');
        }
        Kind::Map { offsets, keys, values } => {
            out.push('{');
            for (n, item) in range(offsets, row).enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                write_value(keys, item, style, out);
                out.push('=');
                write_value(values, item, style, out);
            }
            out.push('}');
        }
        Kind::Row { values, .. } => {
            out.push('(');
            for (n, field) in values.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                write_value(field, row, style, out);
            }
            out.push(')');
        }
    }
}

fn offset_seconds(seconds: i64, zone: &Tz) -> i64 {
    match DateTime::from_timestamp(seconds, 0) {
        Some(instant) => i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()),
        None => 0,
    }
}

#[cfg(test)]
pub(crate) mod tests;
