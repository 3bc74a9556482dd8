//! Changes as they come, in the layout of Flink's shell: `op` first, column widths fixed by type.
//!
//! ```text
//!  +----+----------------------+-------------+
//!  | op |                    n |           p |
//!  +----+----------------------+-------------+
//!  | +I |                    1 |          10 |
//!  +----+----------------------+-------------+
//!  Received a total of 1 row (2.43 seconds)
//! ```

use std::io::Write;

use aquifer_model::sql_type::ColumnType;
use aquifer_model::{ChangeBatch, SqlType};
use arrow::datatypes::{Field, SchemaRef};

use super::grid::{NULL, clean, row, rule, width};
use super::{Ending, Look, Renderer, text_rows};
use crate::shell::Failure;

/// A changelog being printed.
pub(super) struct Changelog {
    header: Vec<String>,
    widths: Vec<usize>,
    look: Look,
    rows: u64,
}

impl Changelog {
    pub fn new(schema: SchemaRef, look: &Look) -> Self {
        let mut header = vec!["op".to_string()];
        header.extend(schema.fields().iter().map(|field| clean(field.name(), false)));
        let mut widths = vec![2];
        widths.extend(schema.fields().iter().map(|field| column_width(field, look.widest)));
        Self { header, widths, look: look.clone(), rows: 0 }
    }
}

/// The widest value of the type, NULL and the column's own name.
fn column_width(field: &Field, widest: usize) -> usize {
    let by_type = match ColumnType::of_field(field).map(|column| column.sql_type) {
        Ok(SqlType::TinyInt) => 4,
        Ok(SqlType::SmallInt) => 6,
        Ok(SqlType::Int) => 11,
        Ok(SqlType::BigInt) => 20,
        Ok(SqlType::Decimal(precision, _)) => usize::from(precision) + 2,
        Ok(SqlType::Boolean) => 7,
        Ok(SqlType::Date) => 10,
        Ok(SqlType::Time(0)) => 8,
        Ok(SqlType::Time(digits)) => usize::from(digits) + 9,
        Ok(SqlType::Timestamp(0) | SqlType::TimestampLtz(0)) => 19,
        Ok(SqlType::Timestamp(digits) | SqlType::TimestampLtz(digits)) => usize::from(digits) + 20,
        _ => widest,
    };
    by_type.max(NULL.len()).max(width(field.name()))
}

impl Renderer for Changelog {
    fn start(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        out.write_all(rule(&self.widths).as_bytes())?;
        out.write_all(row(self.header.iter().map(String::as_str), &self.widths).as_bytes())?;
        out.write_all(rule(&self.widths).as_bytes())?;
        out.flush()?;
        Ok(())
    }

    fn changes(&mut self, changes: &ChangeBatch, out: &mut dyn Write) -> Result<(), Failure> {
        for (at, cells) in text_rows(changes.rows(), &self.look.style)?.into_iter().enumerate() {
            let cells: Vec<String> = std::iter::once(changes.kind(at).text().to_string())
                .chain(cells.into_iter().map(|cell| cell.map_or_else(|| NULL.to_string(), |text| clean(&text, false))))
                .collect();
            out.write_all(row(cells.iter().map(String::as_str), &self.widths).as_bytes())?;
        }
        self.rows += changes.num_rows() as u64;
        out.flush()?;
        Ok(())
    }

    fn finish(&mut self, ending: Ending, out: &mut dyn Write) -> Result<(), Failure> {
        out.write_all(rule(&self.widths).as_bytes())?;
        let rows = match self.rows {
            0 | 1 => format!("{} row", self.rows),
            rows => format!("{rows} rows"),
        };
        let time = self.look.time(ending.elapsed);
        match ending.interrupted {
            true => writeln!(out, "Query terminated, received a total of {rows}{time}\n")?,
            false => writeln!(out, "Received a total of {rows}{time}\n")?,
        }
        out.flush()?;
        Ok(())
    }
}
