//! A result as a table: as wide as its rows, with their number below.
//!
//! ```text
//!  +------+---+
//!  | item | n |
//!  +------+---+
//!  |    a | 2 |
//!  +------+---+
//!  1 row in set (1.27 seconds)
//! ```
//!
//! The first [`LOOKED_AT`] rows decide the widths; later cells that are wider are cut, so that memory is bounded.

use std::io::Write;

use aquifer_formats::text::TextStyle;
use aquifer_model::ChangeBatch;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::grid::{NULL, clean, row, rule, tall_row, width};
use super::{Ending, Look, Renderer, text_rows};
use crate::shell::Failure;

/// So many rows are looked at before the first is printed.
const LOOKED_AT: usize = 5_000;

/// A table being printed.
pub(super) struct Table {
    header: Vec<String>,
    look: Look,
    waiting: Vec<Vec<String>>,
    /// Known once printing has begun.
    widths: Option<Vec<usize>>,
    rows: u64,
}

impl Table {
    pub fn new(schema: SchemaRef, look: &Look) -> Self {
        let header = schema.fields().iter().map(|field| clean(field.name(), false)).collect();
        Self { header, look: look.clone(), waiting: Vec::new(), widths: None, rows: 0 }
    }

    /// Takes rows whose cells are texts already.
    pub fn add(&mut self, cells: Vec<Option<String>>, out: &mut dyn Write) -> Result<(), Failure> {
        let cells: Vec<String> =
            cells.into_iter().map(|cell| cell.map_or_else(|| NULL.to_string(), |text| clean(&text, false))).collect();
        self.rows += 1;
        match &self.widths {
            Some(widths) => out.write_all(row(cells.iter().map(String::as_str), widths).as_bytes())?,
            None => {
                self.waiting.push(cells);
                if self.waiting.len() >= LOOKED_AT {
                    self.begin(out)?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        let widths = widths_of(&self.header, &self.waiting);
        out.write_all(rule(&widths).as_bytes())?;
        out.write_all(row(self.header.iter().map(String::as_str), &widths).as_bytes())?;
        out.write_all(rule(&widths).as_bytes())?;
        for cells in self.waiting.drain(..) {
            out.write_all(row(cells.iter().map(String::as_str), &widths).as_bytes())?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn widths_of(header: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let widest = |cell: &String| cell.lines().map(width).max().unwrap_or(0);
    let mut widths: Vec<usize> = header.iter().map(|name| width(name)).collect();
    for cells in rows {
        for (known, cell) in widths.iter_mut().zip(cells) {
            *known = (*known).max(widest(cell));
        }
    }
    widths
}

impl Renderer for Table {
    fn start(&mut self, _out: &mut dyn Write) -> Result<(), Failure> {
        Ok(())
    }

    fn changes(&mut self, changes: &ChangeBatch, out: &mut dyn Write) -> Result<(), Failure> {
        for cells in text_rows(changes.rows(), &self.look.style)? {
            self.add(cells, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, ending: Ending, out: &mut dyn Write) -> Result<(), Failure> {
        let time = self.look.time(ending.elapsed);
        if self.rows == 0 {
            writeln!(out, "Empty set{time}")?;
        } else {
            if self.widths.is_none() {
                self.begin(out)?;
            }
            if let Some(widths) = &self.widths {
                out.write_all(rule(widths).as_bytes())?;
            }
            writeln!(out, "{} in set{time}", count(self.rows))?;
        }
        if ending.interrupted {
            writeln!(out, "Query terminated, these are not all rows.")?;
        }
        writeln!(out)?;
        out.flush()?;
        Ok(())
    }
}

fn count(rows: u64) -> String {
    match rows {
        1 => "1 row".to_string(),
        rows => format!("{rows} rows"),
    }
}

/// Prints what `SHOW`, `DESCRIBE` and `EXPLAIN` give: as a table without timing; a cell may have several lines.
pub fn listing(rows: &RecordBatch, style: &TextStyle, out: &mut dyn Write) -> Result<(), Failure> {
    let header: Vec<String> = rows.schema().fields().iter().map(|field| clean(field.name(), false)).collect();
    let texts: Vec<Vec<String>> = text_rows(rows, style)?
        .into_iter()
        .map(|cells| cells.into_iter().map(|cell| cell.map_or_else(String::new, |text| clean(&text, true))).collect())
        .collect();
    if texts.is_empty() {
        writeln!(out, "Empty set\n")?;
    } else {
        let widths = widths_of(&header, &texts);
        out.write_all(rule(&widths).as_bytes())?;
        out.write_all(row(header.iter().map(String::as_str), &widths).as_bytes())?;
        out.write_all(rule(&widths).as_bytes())?;
        for cells in &texts {
            let tall = cells.iter().any(|cell| cell.contains('\n'));
            let text = if tall { tall_row(cells, &widths) } else { row(cells.iter().map(String::as_str), &widths) };
            out.write_all(text.as_bytes())?;
        }
        out.write_all(rule(&widths).as_bytes())?;
        writeln!(out, "{} in set\n", count(texts.len() as u64))?;
    }
    out.flush()?;
    Ok(())
}
