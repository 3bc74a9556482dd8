//! CSV, as Flink's `csv` format reads and writes it: columns by their place, texts by the rules of JSON's texts.
//!
//! ```text
//!  a,"b ""c""",,7\n ─► fields ─► columns            columns ─► fields, quoted where needed ─► lines
//! ```
//!
//! * A record ends at a line's end outside quotes. Lines without anything are none, unless the table's one column is a text.
//! * A row has as many fields as the table has columns. Where errors are ignored, a wrong field is NULL, missing ones are NULL, and a record that
//!   cannot be split is left out.
//! * Items of an array and fields of a ROW stand in one field, with `array-element-delimiter` between them. There are no maps.

pub(crate) mod message;
mod options;
mod write;

use std::sync::Arc;

use aquifer_model::{ChangeBatch, Error, Result};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};

use crate::payload::json_column::{Column, JsonRules, Row};
use crate::payload::json_text::Step;
use crate::records::{RecordDecoder, line};

pub use options::CsvFormat;
pub use write::CsvEncoder;

/// Reads records.
pub struct CsvDecoder {
    format: CsvFormat,
    columns: SchemaRef,
    row: Row,
    /// For each field of a record the column that it fills, if it is read.
    targets: Vec<Option<usize>>,
    /// Whether a line without anything is a record.
    blank_is_record: bool,
    fields: Fields,
    rows: usize,
}

/// The fields of a record, unquoted, in one buffer.
#[derive(Default)]
struct Fields {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl CsvDecoder {
    /// A decoder of a file whose fields are `all`, in this order, that makes `columns` (some of them, found by name).
    pub fn new(format: CsvFormat, all: &SchemaRef, columns: SchemaRef) -> Result<Self> {
        for field in columns.fields() {
            check_type(field.name(), field.data_type())?;
        }
        let rules = JsonRules { ignore_errors: format.ignore_parse_errors, ..JsonRules::default() };
        let row = Row::new(columns.fields(), rules)?;
        let targets = all.fields().iter().map(|field| columns.index_of(field.name()).ok()).collect();
        let blank_is_record = matches!(all.fields().as_ref(), [one] if one.data_type() == &DataType::Utf8View);
        Ok(Self { format, columns, row, targets, blank_is_record, fields: Fields::default(), rows: 0 })
    }

    /// Fills a row from the fields.
    fn fill(&mut self) -> Step<()> {
        let (found, expected) = (self.fields.ends.len(), self.targets.len());
        let ignoring = self.format.ignore_parse_errors;
        if found > expected || (found < expected && !ignoring) {
            return Err(format!("it has {found} fields, and the table has {expected} columns").into());
        }
        let text = std::str::from_utf8(&self.fields.text).map_err(|_| "the record is not UTF-8")?;
        let mut from = 0;
        for (end, target) in self.fields.ends.iter().zip(&self.targets) {
            let field = text.get(from..*end).ok_or("the record is not UTF-8")?;
            from = *end;
            let Some(target) = target else { continue };
            let column = &mut self.row.columns[*target];
            if self.format.null_literal.as_deref() == Some(field) {
                column.read_null()?;
            } else {
                column.read_text(field, &self.format.array_element_delimiter)?;
            }
        }
        self.row.end_row()
    }
}

/// Fails with `Unsupported` on types that CSV has no text for.
fn check_type(name: &str, data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Map(..) | DataType::Null => {
            Err(Error::unsupported(format!("CSV has no text for the {data_type} `{name}`: use 'format' = 'json'")))
        }
        DataType::List(item) => check_type(name, item.data_type()),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_type(name, field.data_type())),
        _ => Ok(()),
    }
}

/// What the escaped character at `at` stands for, or `None` if more bytes are needed.
fn escaped(bytes: &[u8], at: usize, ended: bool) -> Step<Option<u8>> {
    match bytes.get(at) {
        Some(next) => Ok(Some(unescaped(*next))),
        None if ended => Err("an escape has no character".into()),
        None => Ok(None),
    }
}

/// Splits the record that `bytes` begin with into fields: its length, or `None` if more bytes are needed.
fn split(format: &CsvFormat, bytes: &[u8], ended: bool, fields: &mut Fields) -> Step<Option<usize>> {
    fields.text.clear();
    fields.ends.clear();
    let (delimiter, quote, escape) = (format.field_delimiter, format.quote_character, format.escape_character);
    let mut at = 0;
    loop {
        // A field begins here.
        if quote.is_some() && bytes.get(at).copied() == quote {
            at += 1;
            loop {
                match bytes.get(at) {
                    None if ended => return Err("a quote is not closed".into()),
                    None => return Ok(None),
                    Some(byte) if Some(*byte) == quote => {
                        at += 1;
                        match bytes.get(at) {
                            Some(next) if Some(*next) == quote => fields.text.push(*next),
                            None if !ended => return Ok(None),
                            _ => break,
                        }
                    }
                    Some(byte) if Some(*byte) == escape => {
                        at += 1;
                        let Some(next) = escaped(bytes, at, ended)? else { return Ok(None) };
                        fields.text.push(next);
                    }
                    Some(byte) => fields.text.push(*byte),
                }
                at += 1;
            }
            while bytes.get(at).is_some_and(|byte| *byte == b' ' && *byte != delimiter) {
                at += 1;
            }
            match bytes.get(at) {
                None | Some(b'\n' | b'\r') => {}
                Some(byte) if *byte == delimiter => {}
                Some(_) => return Err("something stands after a closing quote".into()),
            }
        } else {
            loop {
                match bytes.get(at) {
                    None | Some(b'\n') => break,
                    Some(b'\r') if matches!(bytes.get(at + 1), None | Some(b'\n')) => break,
                    Some(byte) if *byte == delimiter => break,
                    Some(byte) if Some(*byte) == escape => {
                        at += 1;
                        let Some(next) = escaped(bytes, at, ended)? else { return Ok(None) };
                        fields.text.push(next);
                    }
                    Some(byte) => fields.text.push(*byte),
                }
                at += 1;
            }
        }
        fields.ends.push(fields.text.len());
        match bytes.get(at) {
            Some(byte) if *byte == delimiter => at += 1,
            Some(b'\n') => return Ok(Some(at + 1)),
            Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => return Ok(Some(at + 2)),
            Some(_) if at + 1 < bytes.len() => return Err("a carriage return stands alone".into()),
            _ if ended => return Ok(Some(bytes.len())),
            _ => return Ok(None),
        }
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'0' => 0,
        other => other,
    }
}

impl RecordDecoder for CsvDecoder {
    fn take_head(&mut self, bytes: &[u8], ended: bool) -> Result<Option<usize>> {
        let bom = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        if bytes.len() < 3 && !ended {
            return Ok(None);
        }
        if !self.format.ignore_first_line || bytes.len() == bom {
            return Ok(Some(bom));
        }
        match split(&self.format, &bytes[bom..], ended, &mut self.fields) {
            Ok(length) => Ok(length.map(|length| bom + length)),
            Err(reason) => Err(Error::invalid(format!("the header cannot be split: {reason}"))),
        }
    }

    fn take(&mut self, bytes: &[u8], ended: bool) -> Result<Option<usize>> {
        let Some(first) = line(bytes, ended) else { return Ok(None) };
        let is_blank = matches!(&bytes[..first], b"\n" | b"\r\n") && !self.blank_is_record;
        if is_blank || (self.format.allow_comments && bytes.starts_with(b"#")) {
            return Ok(Some(first));
        }
        let mut length = first;
        let taken = match split(&self.format, bytes, ended, &mut self.fields) {
            Ok(None) => return Ok(None),
            Ok(Some(whole)) => {
                length = whole;
                self.fill()
            }
            // What cannot be split ends at its first line's end.
            Err(reason) => Err(reason),
        };
        if let Err(reason) = taken {
            if !self.format.ignore_parse_errors {
                let shown = String::from_utf8_lossy(&bytes[..length.min(200)]);
                return Err(Error::invalid(format!("{reason}, in `{}`", shown.trim_end())));
            }
            self.row.give_up(self.rows);
        }
        self.rows = self.row.len();
        Ok(Some(length))
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn finish(&mut self) -> Result<ChangeBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        let right = self.row.right();
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.columns), self.row.finish()?, &options)?;
        let changes = ChangeBatch::inserts(rows);
        match right {
            Some(right) => changes.filter(&right),
            None => Ok(changes),
        }
    }
}

/// One value from its text, as an array of one; `None` is NULL.
pub fn value(field: &FieldRef, text: Option<&str>) -> Result<ArrayRef> {
    check_type(field.name(), field.data_type())?;
    let mut column = Column::new(field, JsonRules::default())?;
    let taken = match text {
        Some(text) => column.read_text(text, ";"),
        None => column.read_null(),
    };
    taken.map_err(|reason| Error::invalid(reason.into_owned()))?;
    column.finish()
}

/// Splits the first records of a text, for a look at them; records that cannot be split end it.
pub fn sample(format: &CsvFormat, mut bytes: &[u8], ended: bool, records: usize) -> Vec<Vec<String>> {
    bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut found, mut fields) = (Vec::new(), Fields::default());
    while found.len() < records && !bytes.is_empty() {
        let Ok(Some(length)) = split(format, bytes, ended, &mut fields) else { break };
        let starts = std::iter::once(0).chain(fields.ends.iter().copied());
        let texts =
            starts.zip(&fields.ends).map(|(from, to)| String::from_utf8_lossy(&fields.text[from..*to]).into_owned());
        if !matches!(&bytes[..length], b"\n" | b"\r\n") {
            found.push(texts.collect());
        }
        bytes = &bytes[length..];
    }
    found
}

#[cfg(test)]
mod tests;
