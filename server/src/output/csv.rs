//! A result as comma-separated values (RFC 4180): a header, lines that end in CR LF, quotes where they are needed.
//!
//! NULL is nothing between the commas, an empty text is `""`. A streaming result has `op` as its first column.

use std::io::Write;

use aquifer_formats::text::TextStyle;
use aquifer_model::ChangeBatch;
use arrow::datatypes::SchemaRef;

use super::{Ending, Renderer, text_rows};
use crate::shell::Failure;

pub(super) struct Csv {
    schema: SchemaRef,
    with_op: bool,
    style: TextStyle,
}

impl Csv {
    pub fn new(schema: SchemaRef, with_op: bool, style: TextStyle) -> Self {
        Self { schema, with_op, style }
    }
}

fn push_field(field: Option<&str>, line: &mut String) {
    let Some(text) = field else { return };
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        line.push_str(text);
        return;
    }
    line.push('"');
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

fn push_line<'a>(fields: impl Iterator<Item = Option<&'a str>>, line: &mut String) {
    for (n, field) in fields.enumerate() {
        if n > 0 {
            line.push(',');
        }
        push_field(field, line);
    }
    line.push_str("\r\n");
}

impl Renderer for Csv {
    fn start(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        let names = self.schema.fields().iter().map(|field| Some(field.name().as_str()));
        let mut line = String::new();
        push_line(self.with_op.then_some(Some("op")).into_iter().chain(names), &mut line);
        out.write_all(line.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    fn changes(&mut self, changes: &ChangeBatch, out: &mut dyn Write) -> Result<(), Failure> {
        let mut lines = String::new();
        for (at, cells) in text_rows(changes.rows(), &self.style)?.iter().enumerate() {
            let op = self.with_op.then(|| Some(changes.kind(at).text()));
            push_line(op.into_iter().chain(cells.iter().map(Option::as_deref)), &mut lines);
        }
        out.write_all(lines.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    fn finish(&mut self, _ending: Ending, out: &mut dyn Write) -> Result<(), Failure> {
        out.flush()?;
        Ok(())
    }
}
