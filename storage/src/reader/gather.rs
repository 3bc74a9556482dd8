//! Cuts the rows of an archive into batches that end at an entry's end.
//!
//! ```text
//!  decoded:  …eeee│eeffffgg│ggghhh…      emitted:  …│eeeeee│ffff│ggggg│…
//!            the last entry of a decoded batch may go on in the next: it waits
//! ```
//!
//! Large stretches are handed on without a copy; small ones are put together.

use std::collections::VecDeque;

use aquifer_model::{Cut, Position, Result};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::{ReadBatch, Tier};

/// Rows scanned, in batches, after which a batch is given even if nothing was kept, so that cut and time move on.
const SCANNED_BATCHES: usize = 16;

/// The entry that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    /// None.
    No,
    /// This one.
    At(Position),
    /// The last one of a row group that was left out.
    Unknown,
}

/// A stretch of decoded rows, all of complete entries or all of one entry.
#[derive(Debug)]
pub(super) struct Piece {
    /// Those to keep.
    pub rows: RecordBatch,
    /// Before filtering.
    pub scanned: usize,
    pub time_max: Option<i64>,
}

/// Collects pieces and gives batches.
#[derive(Debug)]
pub(super) struct Gather {
    schema: SchemaRef,
    batch_rows: usize,
    ready: VecDeque<ReadBatch>,
    done: Vec<RecordBatch>,
    done_rows: usize,
    done_scanned: usize,
    done_time: Option<i64>,
    done_cut: Cut,
    given: Cut,
    pending: Vec<Piece>,
    pub open: Open,
}

impl Gather {
    pub fn new(schema: SchemaRef, batch_rows: usize, from: Cut) -> Self {
        Self {
            schema,
            batch_rows,
            ready: VecDeque::new(),
            done: Vec::new(),
            done_rows: 0,
            done_scanned: 0,
            done_time: None,
            done_cut: from,
            given: from,
            pending: Vec::new(),
            open: Open::No,
        }
    }

    /// The next finished batch.
    pub fn pop(&mut self) -> Option<ReadBatch> {
        self.ready.pop_front()
    }

    /// Adds rows of the entry that is open.
    pub fn add_open(&mut self, piece: Piece) {
        self.pending.push(piece);
    }

    /// The open entry ends: everything up to `cut` is whole.
    pub fn close(&mut self, cut: Cut) -> Result<()> {
        self.open = Open::No;
        let pieces = std::mem::take(&mut self.pending);
        self.add(pieces, cut)
    }

    /// Adds rows of whole entries up to `cut`; no entry is open.
    pub fn add_whole(&mut self, piece: Piece, cut: Cut) -> Result<()> {
        self.add(vec![piece], cut)
    }

    /// Adds pieces that belong together: no batch ends between them.
    fn add(&mut self, pieces: Vec<Piece>, cut: Cut) -> Result<()> {
        let rows: usize = pieces.iter().map(|piece| piece.rows.num_rows()).sum();
        // Many rows go out alone, not copied behind few.
        if rows * 2 >= self.batch_rows && self.done_rows > 0 {
            self.flush()?;
        }
        for piece in pieces {
            self.done_time = self.done_time.max(piece.time_max);
            self.done_scanned += piece.scanned;
            if piece.rows.num_rows() > 0 {
                self.done.push(piece.rows);
            }
        }
        self.done_rows += rows;
        self.done_cut = self.done_cut.max(cut);
        if self.done_rows * 2 >= self.batch_rows || self.done_scanned >= self.batch_rows * SCANNED_BATCHES {
            self.flush()?;
        }
        Ok(())
    }

    /// Gives all that is whole as a batch, without rows too if the cut moved.
    pub fn flush(&mut self) -> Result<()> {
        if self.done_cut == self.given && self.done.is_empty() {
            return Ok(());
        }
        let rows = match self.done.as_slice() {
            [] => RecordBatch::new_empty(self.schema.clone()),
            [one] => one.clone(),
            several if self.schema.fields().is_empty() => {
                let rows: usize = several.iter().map(RecordBatch::num_rows).sum();
                let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
                RecordBatch::try_new_with_options(self.schema.clone(), Vec::new(), &options)?
            }
            several => concat_batches(&self.schema, several)?,
        };
        self.done.clear();
        self.done_rows = 0;
        self.done_scanned = 0;
        self.given = self.done_cut;
        self.ready.push_back(ReadBatch {
            rows,
            cut: self.done_cut,
            tier: Tier::Archive,
            time_max: self.done_time.take(),
        });
        Ok(())
    }
}
