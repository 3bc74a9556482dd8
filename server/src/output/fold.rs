//! The final table of a stream that ends: its changelog folded up.
//!
//! An update takes the place of the row that it changes; new rows come last.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use aquifer_model::{ChangeBatch, Error, RowKind};
use arrow::datatypes::SchemaRef;

use super::table::Table;
use super::{Ending, Look, Renderer, text_rows};
use crate::shell::Failure;

/// The most rows that a table may have; a larger result is for `changelog`, `csv` or `json`.
const MOST_ROWS: usize = 1_000_000;

type Cells = Vec<Option<String>>;

/// Rows that stand now, in order.
#[derive(Default)]
struct Folded {
    rows: BTreeMap<u64, Cells>,
    places: HashMap<Cells, Vec<u64>>,
    next: u64,
    /// Where the row stood that an update is about to replace.
    vacated: Option<u64>,
}

impl Folded {
    fn apply(&mut self, kind: RowKind, cells: Cells) -> Result<(), Error> {
        match kind {
            RowKind::Insert | RowKind::UpdateAfter => {
                let vacated = self.vacated.take().filter(|_| kind == RowKind::UpdateAfter);
                let place = vacated.unwrap_or_else(|| {
                    self.next += 1;
                    self.next
                });
                self.places.entry(cells.clone()).or_default().push(place);
                self.rows.insert(place, cells);
                if self.rows.len() > MOST_ROWS {
                    return Err(Error::unsupported(format!(
                        "the result has more than {MOST_ROWS} rows: use --output changelog, csv or json"
                    )));
                }
            }
            RowKind::UpdateBefore | RowKind::Delete => {
                let places = self.places.get_mut(&cells);
                let place = places.and_then(Vec::pop).ok_or_else(|| {
                    Error::internal(format!("the changelog takes a row back that is not there: {cells:?}"))
                })?;
                if self.places.get(&cells).is_some_and(Vec::is_empty) {
                    self.places.remove(&cells);
                }
                self.rows.remove(&place);
                self.vacated = (kind == RowKind::UpdateBefore).then_some(place);
            }
        }
        Ok(())
    }
}

pub(super) struct FoldedTable {
    table: Table,
    look: Look,
    folded: Folded,
}

impl FoldedTable {
    pub fn new(schema: SchemaRef, look: &Look) -> Self {
        Self { table: Table::new(schema, look), look: look.clone(), folded: Folded::default() }
    }
}

impl Renderer for FoldedTable {
    fn start(&mut self, _out: &mut dyn Write) -> Result<(), Failure> {
        Ok(())
    }

    fn changes(&mut self, changes: &ChangeBatch, _out: &mut dyn Write) -> Result<(), Failure> {
        for (at, cells) in text_rows(changes.rows(), &self.look.style)?.into_iter().enumerate() {
            self.folded.apply(changes.kind(at), cells)?;
        }
        Ok(())
    }

    fn finish(&mut self, ending: Ending, out: &mut dyn Write) -> Result<(), Failure> {
        for (_, cells) in std::mem::take(&mut self.folded.rows) {
            self.table.add(cells, out)?;
        }
        self.table.finish(ending, out)
    }
}
