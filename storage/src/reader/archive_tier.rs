//! Reads a stretch of the archive: decodes fetched row groups and gives them in order, leaves out what is no row, cuts at entries' ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use aquifer_formats::messages::{column, message_schema};
use aquifer_model::{Cut, Error, Interval, Position, Result};
use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, RecordBatch, UInt64Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{CastOptions, cast_with_options, concat, filter, interleave, is_not_null, nullif};
use arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};

use super::dead_letters::BadMessage;
use super::decode_ahead::Rows;
use super::decoding::Decoding;
use super::fetch::{Fetch, FetchPermit, Fetched};
use super::gather::{Gather, Open, Piece};
use super::layout::{Chunk, Layout};
use super::stored::{Payloads, stored_in};
use super::{ReadBatch, ReadStatistics, Tier};

/// A row group that is being decoded.
struct Group {
    rows: Rows,
    file: Arc<str>,
    payloads: Payloads,
    published_ms: Option<i64>,
    clip: Option<Interval>,
    ledger: Option<u64>,
    bytes: u64,
    skipped: u64,
    _permit: FetchPermit,
}

/// What comes next in the stretch.
enum Next {
    Group(Group),
    Pruned { rows: u64, time_max: Option<i64> },
    FileEnd { cut: Cut, bytes: u64 },
    End,
}

/// What may wait in order behind the row group that is given now, beside row groups.
const MAX_QUEUED: usize = 64;

/// A stretch of the archive being read.
pub(super) struct ArchiveTier {
    fetch: Fetch,
    /// How many row groups are decoded side by side; 1: where they are asked for.
    decoders: usize,
    /// Behind `current`, in order; its row groups are being decoded.
    queue: VecDeque<Result<Next>>,
    current: Option<Group>,
    /// Decoded, clipped, and not yet taken in: its payloads may need a schema first.
    held: Option<(RecordBatch, Positions)>,
    gather: Gather,
    /// Where this stretch ends.
    pub end: Cut,
    ended: bool,
}

impl ArchiveTier {
    pub fn new(fetch: Fetch, decoders: usize, gather: Gather, end: Cut) -> Self {
        Self { fetch, decoders, queue: VecDeque::new(), current: None, held: None, gather, end, ended: false }
    }

    /// Begins to decode what is fetched, as far as that may go side by side.
    fn decode_ahead(&mut self) {
        let groups = self.queue.iter().filter(|next| matches!(next, Ok(Next::Group(_)))).count();
        let mut free = self.decoders.saturating_sub(groups + usize::from(self.current.is_some()));
        while free > 0 && self.queue.len() < MAX_QUEUED {
            let Ok(item) = self.fetch.items.try_recv() else { return };
            free -= usize::from(matches!(item, Ok(Fetched::RowGroup { .. })));
            self.queue.push_back(self.begun(item));
        }
    }

    /// What was fetched, its rows ready to be asked for.
    fn begun(&self, item: Result<Fetched>) -> Result<Next> {
        Ok(match item? {
            Fetched::RowGroup { reader, file, payloads, published_ms, clip, ledger, bytes, skipped, permit } => {
                let rows = if self.decoders > 1 { Rows::ahead(reader, &file) } else { Rows::Here(reader) };
                Next::Group(Group { rows, file, payloads, published_ms, clip, ledger, bytes, skipped, _permit: permit })
            }
            Fetched::Pruned { rows, time_max } => Next::Pruned { rows, time_max },
            Fetched::FileEnd { cut, bytes } => Next::FileEnd { cut, bytes },
            Fetched::End => Next::End,
        })
    }

    /// The next batch; `None` when all of the stretch is given. Cancel-safe.
    pub async fn next(
        &mut self,
        layout: &mut Layout,
        decoding: &mut Decoding,
        statistics: &mut ReadStatistics,
    ) -> Result<Option<ReadBatch>> {
        loop {
            if let Some(batch) = self.gather.pop() {
                return Ok(Some(batch));
            }
            if self.ended {
                return Ok(None);
            }
            if let Some((held, _)) = &self.held {
                if let Some(versions) = undecoded_versions(held) {
                    decoding.prepare(versions.as_binary_view()).await?;
                } else if lacks_a_column(held, layout, decoding) {
                    decoding.prepare(&BinaryViewArray::from_iter_values::<[u8; 0], _>([])).await?;
                }
                if let Some((held, positions)) = self.held.take() {
                    self.take_in(&held, &positions, layout, decoding, statistics)?;
                }
                continue;
            }
            self.decode_ahead();
            if let Some(current) = &mut self.current {
                match current.rows.next(&current.file).await? {
                    None => self.current = None,
                    Some(batch) => {
                        let is_wanted = !layout.values.fields().is_empty();
                        let batch = current.payloads.put_into(batch, is_wanted, &current.file)?;
                        let mut positions = Positions::of(&batch, current.ledger)?;
                        let batch = match current.clip {
                            Some(interval) => positions.clip(&batch, interval),
                            None => batch,
                        };
                        statistics.archive_rows += batch.num_rows() as u64;
                        self.held = (batch.num_rows() > 0).then_some((batch, positions));
                    }
                }
                continue;
            }
            let next = match self.queue.pop_front() {
                Some(next) => next?,
                None => match self.fetch.items.recv().await {
                    Some(item) => self.begun(item)?,
                    None => return Err(Error::internal("fetching the archive ended early")),
                },
            };
            match next {
                Next::Group(group) => {
                    statistics.archive_time_ms = group.published_ms;
                    statistics.archive_bytes += group.bytes;
                    statistics.pruned_rows += group.skipped;
                    self.current = Some(group);
                }
                Next::Pruned { rows, time_max } => {
                    statistics.pruned_rows += rows;
                    let rows = RecordBatch::new_empty(Arc::clone(&layout.schema));
                    self.gather.add_open(Piece { rows, scanned: 0, time_max });
                    self.gather.open = Open::Unknown;
                }
                Next::FileEnd { cut, bytes } => {
                    statistics.archive_bytes += bytes;
                    self.gather.close(cut)?;
                }
                Next::End => {
                    self.gather.close(self.end)?;
                    self.gather.flush()?;
                    self.ended = true;
                }
            }
        }
    }

    fn take_in(
        &mut self,
        batch: &RecordBatch,
        positions: &Positions,
        layout: &mut Layout,
        decoding: &mut Decoding,
        statistics: &mut ReadStatistics,
    ) -> Result<()> {
        let rows = batch.num_rows();
        let chunk = chunk_of(batch, layout, positions, decoding, statistics)?;
        let keep = layout.keep(&chunk)?;
        let mut piece = |from: usize, to: usize| -> Result<Piece> {
            let (kept, time_max) = layout.piece(&chunk, keep.as_ref(), from, to - from)?;
            Ok(Piece { rows: kept, scanned: to - from, time_max })
        };
        let head = match self.gather.open {
            Open::No => 0,
            Open::At(open) => positions.end_of(0, open),
            Open::Unknown => positions.end_of(0, positions.at(0)),
        };
        if let Open::At(open) = self.gather.open
            && head == 0
        {
            self.gather.close(Cut::After(open))?;
        }
        if head > 0 {
            self.gather.add_open(piece(0, head)?);
            if head == rows {
                self.gather.open = Open::At(positions.at(0));
                return Ok(());
            }
            self.gather.close(Cut::After(positions.at(head - 1)))?;
        }
        let last = positions.at(rows - 1);
        let tail = positions.start_of(head, last);
        if tail > head {
            self.gather.add_whole(piece(head, tail)?, Cut::After(positions.at(tail - 1)))?;
        }
        self.gather.add_open(piece(tail, rows)?);
        self.gather.open = Open::At(last);
        Ok(())
    }
}

/// The positions of a decoded batch's rows, which rise.
struct Positions {
    ledgers: Ledgers,
    entries: UInt64Array,
}

enum Ledgers {
    /// A number a row.
    Each(UInt64Array),
    /// One for all.
    One(u64),
}

impl Positions {
    fn of(batch: &RecordBatch, ledger: Option<u64>) -> Result<Self> {
        let numbers = |name: &str| {
            let found = batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<UInt64Type>()).cloned();
            found.ok_or_else(|| Error::corrupt(format!("a file of the archive has no column `{name}`")))
        };
        let ledgers = match ledger {
            Some(ledger) => Ledgers::One(ledger),
            None => Ledgers::Each(numbers(column::LEDGER)?),
        };
        Ok(Self { ledgers, entries: numbers(column::ENTRY)? })
    }

    fn at(&self, row: usize) -> Position {
        let ledger = match &self.ledgers {
            Ledgers::Each(ledgers) => ledgers.value(row),
            Ledgers::One(ledger) => *ledger,
        };
        Position::new(ledger, self.entries.value(row))
    }

    /// Keeps the rows that lie in the interval.
    fn clip(&mut self, batch: &RecordBatch, interval: Interval) -> RecordBatch {
        let from = self.split(0, |at| interval.from.covers(at));
        let rows = self.split(from, |at| interval.to.covers(at)) - from;
        self.entries = self.entries.slice(from, rows);
        if let Ledgers::Each(ledgers) = &mut self.ledgers {
            *ledgers = ledgers.slice(from, rows);
        }
        batch.slice(from, rows)
    }

    /// The first row at or after `from` for which `behind` is no longer true.
    fn split(&self, from: usize, behind: impl Fn(Position) -> bool) -> usize {
        let (mut low, mut high) = (from, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if behind(self.at(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn end_of(&self, from: usize, position: Position) -> usize {
        self.split(from, |at| at <= position)
    }

    fn start_of(&self, from: usize, position: Position) -> usize {
        self.split(from, |at| at < position)
    }
}

/// The schema versions of messages whose payloads were archived undecoded.
fn undecoded_versions(batch: &RecordBatch) -> Option<ArrayRef> {
    let payloads = batch.column_by_name(column::PAYLOAD).filter(|p| p.null_count() < p.len())?;
    let versions = batch.column_by_name(column::SCHEMA_VERSION)?;
    filter(versions, &is_not_null(payloads).ok()?).ok()
}

/// Whether the table has a column that it had not when these rows were archived.
fn lacks_a_column(batch: &RecordBatch, layout: &Layout, decoding: &Decoding) -> bool {
    let lacks =
        |field: &FieldRef| stored_in(batch.schema_ref(), field.name(), decoding.earlier_names(field.name())).is_none();
    layout.values.fields().iter().any(lacks)
}

/// Decoded rows as a chunk: columns found by name, absent ones as the topic's schema says, types as the table has them, undecoded payloads decoded.
fn chunk_of(
    batch: &RecordBatch,
    layout: &Layout,
    positions: &Positions,
    decoding: &mut Decoding,
    statistics: &mut ReadStatistics,
) -> Result<Chunk> {
    let rows = batch.num_rows();
    let schema = message_schema();
    let mut messages: Vec<Option<ArrayRef>> = vec![None; schema.fields().len()];
    for index in &layout.messages {
        let field = schema.field(*index);
        let found = batch.column_by_name(field.name()).map(|found| fitted(found, field)).transpose()?;
        messages[*index] = Some(found.unwrap_or_else(|| match field.name().as_str() {
            // Not read because it is false everywhere.
            column::NULL_VALUE => Arc::new(BooleanArray::new(BooleanBuffer::new_unset(rows), None)),
            // Not read because it is NULL everywhere.
            _ => new_null_array(field.data_type(), rows),
        }));
    }
    // Rows that cannot be read, and why.
    let mut bad: BTreeMap<usize, String> = BTreeMap::new();
    let mut values = Vec::with_capacity(layout.values.fields().len());
    for field in layout.values.fields() {
        let stored = stored_in(batch.schema_ref(), field.name(), decoding.earlier_names(field.name()));
        values.push(match stored.and_then(|stored| batch.column_by_name(stored)) {
            Some(found) => fitting(found, field, decoding, &mut bad)?,
            None => {
                let lacking = decoding.lacking(field, rows)?;
                // A message without a value is a row of NULLs.
                match batch.column_by_name(column::NULL_VALUE).and_then(|c| c.as_boolean_opt()) {
                    Some(nothing) if lacking.null_count() < rows => nullif(&lacking, nothing)?,
                    _ => lacking,
                }
            }
        });
    }
    let mut alive: Option<BooleanBuffer> = None;
    if let Some(nothing) = batch.column_by_name(column::NULL_VALUE).and_then(|c| c.as_boolean_opt()) {
        let count = nothing.true_count();
        if count > 0 && !layout.keeps_nulls {
            statistics.null_messages += count as u64;
            statistics.archive_rows = statistics.archive_rows.saturating_sub(count as u64);
            alive = Some(!nothing.values());
        }
    }
    let undecoded = batch.column_by_name(column::PAYLOAD).filter(|p| p.null_count() < p.len());
    if let Some(payloads) = undecoded {
        bad.extend(decode_again(batch, payloads, layout, &mut values, decoding)?);
    }
    if !bad.is_empty() {
        let mut live: Vec<bool> = alive.map_or_else(|| vec![true; rows], |alive| alive.iter().collect());
        let payloads = undecoded.and_then(|payloads| payloads.as_binary_view_opt());
        for (row, reason) in bad {
            // Of a message that was decoded when it was archived the bytes are not kept.
            let payload = payloads.filter(|payloads| payloads.is_valid(row)).map_or(&[][..], |all| all.value(row));
            let bad = BadMessage::of_row(batch, row, positions.at(row), payload, &reason);
            decoding.bad_message(bad, statistics)?;
            live[row] = false;
        }
        alive = Some(live.into());
    }
    Ok(Chunk { tier: Tier::Archive, rows, messages, values, alive })
}

/// A value column as the table has it; values that do not fit make `bad` rows.
fn fitting(
    found: &ArrayRef,
    field: &Field,
    decoding: &Decoding,
    bad: &mut BTreeMap<usize, String>,
) -> Result<ArrayRef> {
    let error = match decoding.fitted(found, field) {
        Ok(fitted) => return Ok(fitted),
        Err(error) => error,
    };
    if decoding.fitted(&found.slice(0, 0), field).is_err() {
        // The types themselves do not fit.
        return Err(unfit(found, field, error));
    }
    let mut pieces = Vec::new();
    // Rows and how many of them, halved until what does not fit stands alone; the last one is next.
    let mut open = vec![(0, found.len())];
    while let Some((start, rows)) = open.pop() {
        match decoding.fitted(&found.slice(start, rows), field) {
            Ok(piece) => pieces.push(piece),
            Err(error) if rows == 1 => {
                pieces.push(new_null_array(field.data_type(), 1));
                bad.entry(start).or_insert_with(|| unfit(found, field, error).to_string());
            }
            Err(_) => open.extend([(start + rows / 2, rows - rows / 2), (start, rows / 2)]),
        }
    }
    let pieces: Vec<&dyn Array> = pieces.iter().map(|piece| piece.as_ref()).collect();
    Ok(concat(&pieces)?)
}

/// A message column as it is today.
fn fitted(found: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if found.data_type() == field.data_type() {
        return Ok(Arc::clone(found));
    }
    let options = CastOptions { safe: false, ..Default::default() };
    let cast = cast_with_options(found, field.data_type(), &options);
    cast.map_err(|error| unfit(found, field, Error::invalid("a value does not fit").with_source(error)))
}

fn unfit(found: &ArrayRef, field: &Field, error: Error) -> Error {
    Error::invalid(format!(
        "column `{}` is archived as {} and does not fit the table's {}",
        field.name(),
        found.data_type(),
        field.data_type()
    ))
    .with_source(error)
}

/// Decodes the payloads that the archiver could not, into `values`. Gives those that still cannot be read, with the reason.
fn decode_again(
    batch: &RecordBatch,
    payloads: &ArrayRef,
    layout: &Layout,
    values: &mut [ArrayRef],
    decoding: &mut Decoding,
) -> Result<Vec<(usize, String)>> {
    let there = is_not_null(payloads)?;
    let versions = match batch.column_by_name(column::SCHEMA_VERSION) {
        Some(versions) => filter(versions, &there)?,
        None => return Err(Error::corrupt("a file of the archive has payloads without schema versions")),
    };
    let taken = filter(payloads, &there)?;
    let keys = match batch.column_by_name(column::KEY) {
        Some(keys) => filter(keys, &there)?,
        // Not read because no message has one.
        None => new_null_array(&DataType::BinaryView, taken.len()),
    };
    let decoded = decoding.decode(taken.as_binary_view(), keys.as_binary_view(), versions.as_binary_view())?;
    let places: Vec<usize> = there.values().set_indices().collect();
    if !layout.values.fields().is_empty() {
        let mut from: Vec<(usize, usize)> = (0..batch.num_rows()).map(|row| (0, row)).collect();
        for (index, row) in places.iter().enumerate() {
            from[*row] = (1, index);
        }
        for (value, again) in values.iter_mut().zip(decoded.rows.columns()) {
            *value = interleave(&[value.as_ref(), again.as_ref()], &from)?;
        }
    }
    Ok(decoded.errors.into_iter().map(|error| (places[error.row], error.reason)).collect())
}
