//! Messages of JSON text into changes: plain rows, and what Debezium, Canal, Maxwell and Oracle GoldenGate say of a database's changes.
//!
//! ```text
//!  message ─► envelope (which change, which row images) ─► images read straight into the columns ─► rows and their kinds
//! ```
//!
//! | format | a change | before an update |
//! |---|---|---|
//! | `json` | a row, always new | |
//! | `debezium-json` | `op` is `c`, `r`, `u` or `d` | `before`, whole |
//! | `canal-json` | `type` is `INSERT`, `UPDATE` or `DELETE`, for each row of `data` | `old`, the changed columns only |
//! | `maxwell-json` | `type` is `insert`, `update` or `delete` | `old`, the changed columns only |
//! | `ogg-json` | `op_type` is `I`, `U` or `D` | `before`, whole |
//!
//! When it is written, an update is a delete and an insert, as with Flink.
//!
//! A message gives all its changes or none. Fields are read by the rules of [`crate::payload`]'s JSON columns.

mod envelope;
mod options;
mod write;

use std::sync::Arc;

use aquifer_model::{ChangeBatch, Error, Result, RowKind};
use arrow::array::{RecordBatch, RecordBatchOptions, UInt8Array};
use arrow::datatypes::SchemaRef;

use crate::payload::json_column::Row;
use crate::payload::json_text::{Scanner, Step, Token};
use envelope::Change;

pub use crate::payload::json_column::{JsonRules, TimestampText};
pub use options::{ChangeFormat, Include, MessageFormat, NullKeys};
pub use write::ChangeEncoder;

/// Reads messages of one format, one after the other.
pub struct ChangeDecoder {
    format: MessageFormat,
    columns: SchemaRef,
    row: Row,
    kinds: Vec<u8>,
    scratch: String,
}

impl ChangeDecoder {
    /// A decoder that makes these columns. Fails with `Unsupported` on types that JSON cannot give.
    pub fn new(format: MessageFormat, columns: SchemaRef) -> Result<Self> {
        let row = Row::new(columns.fields(), format.rules)?;
        Ok(Self { format, columns, row, kinds: Vec::new(), scratch: String::new() })
    }

    /// Takes a message; an empty one is no change. Fails with `Invalid` if it is wrong and errors are not ignored; the decoder is then of no use.
    pub fn push(&mut self, message: &[u8]) -> Result<()> {
        if message.is_empty() {
            return Ok(());
        }
        let before = self.kinds.len();
        let Err(reason) = self.take(message) else { return Ok(()) };
        if !self.format.rules.ignore_errors {
            return Err(Error::invalid(format!("{reason}, in `{}`", shown(message))));
        }
        self.row.give_up(before);
        self.kinds.resize(self.row.len(), RowKind::Insert as u8);
        Ok(())
    }

    /// How many rows [`ChangeDecoder::finish`] would give at most.
    pub fn rows(&self) -> usize {
        self.kinds.len()
    }

    /// The changes so far; it is empty again.
    pub fn finish(&mut self) -> Result<ChangeBatch> {
        let kinds = std::mem::take(&mut self.kinds);
        let options = RecordBatchOptions::new().with_row_count(Some(kinds.len()));
        let right = self.row.right();
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.columns), self.row.finish()?, &options)?;
        let changes = ChangeBatch::new(rows, UInt8Array::from(kinds))?;
        match right {
            Some(right) => changes.filter(&right),
            None => Ok(changes),
        }
    }

    fn take(&mut self, message: &[u8]) -> Step<()> {
        let text = std::str::from_utf8(message).map_err(|_| "the message is not UTF-8")?;
        if let ChangeFormat::Rows = self.format.changes {
            let mut json = Scanner::new(text);
            if json.value()? != Token::Object {
                return Err("the message is no JSON object".into());
            }
            self.row.read_object(&mut json, &mut self.scratch)?;
            json.end()?;
            self.kinds.push(RowKind::Insert as u8);
            return Ok(());
        }
        for Change { kind, images } in envelope::changes(&self.format.changes, text)? {
            for image in images.into_iter().flatten() {
                let mut json = Scanner::new(image);
                if json.value()? != Token::Object {
                    return Err("the image of a row is no JSON object".into());
                }
                self.row.read_fields(&mut json, &mut self.scratch)?;
            }
            self.row.end_row()?;
            self.kinds.push(kind as u8);
        }
        Ok(())
    }
}

/// A message's beginning, for an error.
fn shown(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(&message[..message.len().min(400)]);
    let mut shown: String = text.chars().take(200).collect();
    if shown.len() < message.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
