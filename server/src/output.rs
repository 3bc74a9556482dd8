//! How results are printed.
//!
//! ```text
//!  ChangeBatch … ─► Printer ─┬─ table      batch: fits the rows; a stream that ends: its folded result
//!                          ├─ changelog  Flink's layout, row by row as they come
//!                          ├─ csv        RFC 4180
//!                          └─ json       an object a line
//! ```
//!
//! What was printed is valid whenever the process ends: whole rows are written, and the output is flushed after each batch.

mod changelog;
mod csv;
mod fold;
mod grid;
mod table;

use std::io::{self, Write};
use std::time::Duration;

use aquifer_formats::json_lines::write_json_lines;
use aquifer_formats::text::{TextStyle, parse_zone, text_columns};
use aquifer_model::{ChangeBatch, Result};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::shell::Failure;

pub use grid::width;
pub use table::listing;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// As Flink's shell: a table in batch, the changelog in streaming
    Tableau,
    /// A table; of a streaming query that ends, its final rows
    Table,
    /// Each change as it comes, `op` first
    Changelog,
    /// Comma-separated values with a header; `op` first in streaming
    Csv,
    /// One JSON object a line, `op` first
    Json,
}

impl OutputFormat {
    /// Whether it is made for eyes: statements without rows then say that they succeeded.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Tableau | Self::Table | Self::Changelog)
    }
}

/// How results look: set by the session.
#[derive(Debug, Clone)]
pub struct Look {
    /// How cells are written.
    pub style: TextStyle,
    /// The width of a changelog's columns whose type sets none; longer text is cut.
    pub widest: usize,
    /// Whether the foot tells the time.
    pub is_timed: bool,
}

impl Look {
    /// As Flink's shell begins: UTC, 30 places, with times.
    pub fn new() -> Result<Self> {
        Ok(Self { style: TextStyle::printing(parse_zone("UTC")?), widest: 30, is_timed: true })
    }

    /// ` (1.27 seconds)`, as Flink writes it behind the number of rows.
    fn time(&self, elapsed: Duration) -> String {
        if self.is_timed { format!(" ({:.2} seconds)", elapsed.as_secs_f64()) } else { String::new() }
    }
}

/// How a result ended.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// How long it took.
    pub elapsed: Duration,
    /// Whether the user ended it.
    pub interrupted: bool,
}

/// One result being printed. Calls are `start changes* finish`.
pub trait Renderer: Send {
    /// The head.
    fn start(&mut self, out: &mut dyn Write) -> Result<(), Failure>;
    /// More rows.
    fn changes(&mut self, changes: &ChangeBatch, out: &mut dyn Write) -> Result<(), Failure>;
    /// The foot.
    fn finish(&mut self, ending: Ending, out: &mut dyn Write) -> Result<(), Failure>;
}

/// What prints a result of this schema.
pub fn renderer(
    format: OutputFormat,
    schema: SchemaRef,
    streaming: bool,
    bounded: bool,
    look: &Look,
) -> Box<dyn Renderer> {
    match format {
        OutputFormat::Json => Box::new(Json::default()),
        OutputFormat::Csv => Box::new(csv::Csv::new(schema, streaming, look.style)),
        OutputFormat::Table if streaming && bounded => Box::new(fold::FoldedTable::new(schema, look)),
        OutputFormat::Table | OutputFormat::Tableau if !streaming => Box::new(table::Table::new(schema, look)),
        OutputFormat::Table | OutputFormat::Tableau | OutputFormat::Changelog => {
            Box::new(changelog::Changelog::new(schema, look))
        }
    }
}

/// The rows' texts, row by row; `None` is NULL.
fn text_rows(rows: &RecordBatch, style: &TextStyle) -> Result<Vec<Vec<Option<String>>>> {
    let columns = text_columns(rows, style)?;
    let cell = |column: &arrow::array::StringViewArray, row: usize| {
        column.is_valid(row).then(|| column.value(row).to_string())
    };
    Ok((0..rows.num_rows()).map(|row| columns.iter().map(|column| cell(column, row)).collect()).collect())
}

#[derive(Default)]
struct Json {
    buffer: Vec<u8>,
}

impl Renderer for Json {
    fn start(&mut self, _out: &mut dyn Write) -> Result<(), Failure> {
        Ok(())
    }

    fn changes(&mut self, changes: &ChangeBatch, out: &mut dyn Write) -> Result<(), Failure> {
        self.buffer.clear();
        write_json_lines(changes, &mut self.buffer)?;
        out.write_all(&self.buffer)?;
        out.flush()?;
        Ok(())
    }

    fn finish(&mut self, _ending: Ending, out: &mut dyn Write) -> Result<(), Failure> {
        out.flush()?;
        Ok(())
    }
}

/// Whether an error of writing says that nobody reads any more.
pub fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests;
