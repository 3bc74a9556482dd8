//! Finds places in a partition that are not named as cuts: the first entry published at or after a time, and what lies before a position.
//!
//! ```text
//!  files ─► the first whose publish times reach it ─► its rows ─► the entry          (exact)
//!  ledgers ─► halved, then entries halved, to a little before it ─► entries' heads ─► the entry
//! ```
//!
//! Publish times are set by producers, so they rise only nearly. In the archive the first entry at or after the time is found whatever their order. In
//! the log the search is by halves, up to [`SKEW_MS`] before the time; from there every entry is looked at. So it is exact as long as no entry was
//! appended more than that after an entry that was sent later. Brokers' times are searched for in the log alone, and only nearly, up to
//! [`BROKER_SKEW_MS`] before the time.

use std::sync::Arc;
use std::time::Duration;

use aquifer_formats::entry::{broker_metadata, summarize};
use aquifer_formats::messages::{column, message_schema};
use aquifer_model::{Cut, Error, ErrorKind, Partition, Position, Result};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Schema, TimestampMillisecondType, UInt64Type};

use super::TieredTopic;
use super::fetch::{Fetch, Fetched, Wanted};
use super::stored::EarlierNames;
use crate::archive::chain::{Chain, ChainState};
use crate::archive::hostile::{PageLimit, next_rows};
use crate::archive::manifest::DataFile;
use crate::log::{Entry, LedgerInfo};

/// How much later than its successors an entry may have been sent, in milliseconds: a producer gives up sending after this time. In tests
/// times differ by less.
const SKEW_MS: i64 = if cfg!(test) { 150 } else { 30_000 };
/// How far the clocks of a partition's brokers may be apart, in milliseconds.
pub(super) const BROKER_SKEW_MS: i64 = if cfg!(test) { 150 } else { 3_600_000 };
/// How long an entry that is there is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of entries asked for at once.
const READ_BYTES: usize = 1 << 20;
/// Rows of an archived file looked at together.
const BATCH_ROWS: usize = 65_536;

/// Whose times are looked for.
#[derive(Debug, Clone, Copy)]
enum Clock {
    /// Those of the producers.
    Producers,
    /// Those of the brokers, where they say when they took an entry.
    Brokers,
}

impl TieredTopic {
    /// The cut before the first entry published at or after `time_ms` (milliseconds since 1970), in either tier; the end of all that is there now if
    /// there is none.
    pub async fn cut_at_publish_time(&self, partition: &Partition, time_ms: i64) -> Result<Cut> {
        loop {
            let archived = self.archived(partition).await?;
            if let Some((chain, state)) = &archived {
                let reaches = |file: &&DataFile| file.publish_time_ms.is_some_and(|(_, latest)| latest >= time_ms);
                if let Some(file) = state.files.iter().find(reaches)
                    && let Some(cut) = self.cut_in_file(partition, chain, file, |_, time| time >= Some(time_ms)).await?
                {
                    return Ok(cut);
                }
            }
            let border = archived.map_or(Cut::Start, |(_, state)| state.end());
            let Some(last) = self.log.last_position(partition).await?.filter(|last| !border.covers(*last)) else {
                return Ok(border);
            };
            let found = self.cut_in_log(partition, border, last, time_ms).await;
            if self.stands(partition, border).await? {
                return found;
            }
        }
    }

    /// The cut before the entry at `position`, whether there is one or not: a read from it begins with that entry or the next that is there.
    pub async fn cut_before(&self, partition: &Partition, position: Position) -> Result<Cut> {
        if let Some(entry) = position.entry.checked_sub(1) {
            return Ok(Cut::After(Position::new(position.ledger, entry)));
        }
        loop {
            let archived = self.archived(partition).await?;
            if let Some((chain, state)) = &archived
                && state.end().covers(position)
            {
                let reaches = |file: &&DataFile| file.positions.is_some_and(|(_, last)| last >= position);
                if let Some(file) = state.files.iter().find(reaches) {
                    let found = self.cut_in_file(partition, chain, file, |at, _| at >= position).await?;
                    return Ok(found.unwrap_or(file.covers.to));
                }
                return Ok(state.end());
            }
            let border = archived.map_or(Cut::Start, |(_, state)| state.end());
            let ledgers = self.kept(partition).await?.unwrap_or_default();
            if !self.stands(partition, border).await? {
                continue;
            }
            let before = ledgers.iter().filter(|ledger| ledger.id < position.ledger && ledger.entries > 0);
            let last = before.map(|ledger| Position::new(ledger.id, ledger.entries - 1)).max();
            return Ok(border.max(last.into()));
        }
    }

    /// Whether the archive still ends at `border`. As long as it does, the log has all that comes after; if it moved on meanwhile, what was looked for
    /// in the log may have been trimmed from it.
    async fn stands(&self, partition: &Partition, border: Cut) -> Result<bool> {
        Ok(self.border(partition).await? == border)
    }

    /// Where the archive ends now; `Start` where there is none.
    pub(super) async fn border(&self, partition: &Partition) -> Result<Cut> {
        let Some((location, identity)) = self.chains().await? else { return Ok(Cut::Start) };
        let newest = Chain::new(&location, &identity, partition).newest().await?;
        Ok(newest.map_or(Cut::Start, |(manifest, _)| manifest.to))
    }

    /// A cut at or after `from` before which the log has no entry that a broker took at `time_ms` or later, as long as the clocks of the partition's
    /// brokers are not further apart than [`BROKER_SKEW_MS`].
    pub(super) async fn cut_at_broker_time(&self, partition: &Partition, from: Cut, time_ms: i64) -> Result<Cut> {
        match self.log.last_position(partition).await? {
            Some(last) if !from.covers(last) => {
                let early = time_ms.saturating_sub(BROKER_SKEW_MS);
                self.cut_by_halves(partition, from, last, Clock::Brokers, early).await
            }
            _ => Ok(from),
        }
    }

    async fn archived(&self, partition: &Partition) -> Result<Option<(Chain, ChainState)>> {
        let Some((location, identity)) = self.chains().await? else { return Ok(None) };
        let chain = Chain::new(&location, &identity, partition);
        Ok(chain.load().await?.map(|state| (chain, state)))
    }

    /// The ledgers kept now; `None` where the right to ask is missing.
    pub(super) async fn kept(&self, partition: &Partition) -> Result<Option<Vec<LedgerInfo>>> {
        match self.log.ledgers(partition).await {
            Ok(ledgers) => Ok(Some(ledgers)),
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The cut before the first row of a file for whose position and publish time `is_it` is true.
    async fn cut_in_file(
        &self,
        partition: &Partition,
        chain: &Chain,
        file: &DataFile,
        is_it: impl Fn(Position, Option<i64>) -> bool,
    ) -> Result<Option<Cut>> {
        let names = [column::LEDGER, column::ENTRY, column::PUBLISH_TIME];
        let messages = names.iter().map(|name| Ok(message_schema().index_of(name)?)).collect::<Result<_>>()?;
        let wanted = Wanted {
            partition: partition.clone(),
            interval: file.covers,
            messages,
            letters: false,
            values: Arc::new(Schema::empty()),
            table: Arc::clone(&self.value_columns),
            earlier: EarlierNames::new(),
            format: self.format,
            filter: None,
            time_column: None,
            batch_rows: BATCH_ROWS,
            pages: PageLimit::of_archives(&self.limits),
        };
        let mut fetch = Fetch::start(chain, vec![file.clone()], wanted);
        let mut before = file.covers.from;
        while let Some(item) = fetch.items.recv().await {
            let (reader, path) = match item? {
                Fetched::RowGroup { reader, file, .. } => (reader, file),
                Fetched::End => break,
                Fetched::Pruned { .. } | Fetched::FileEnd { .. } => continue,
            };
            let damaged = || Error::corrupt(format!("file `{path}` of the archive cannot be decoded"));
            let mut reader = reader;
            while let Some(batch) = next_rows(&mut reader).map_err(|error| damaged().with_source(error))? {
                let of = |name: &str| batch.column_by_name(name).ok_or_else(damaged);
                let (ledgers, entries) = (of(column::LEDGER)?, of(column::ENTRY)?);
                let times = of(column::PUBLISH_TIME)?;
                let (Some(ledgers), Some(entries), Some(times)) = (
                    ledgers.as_primitive_opt::<UInt64Type>(),
                    entries.as_primitive_opt::<UInt64Type>(),
                    times.as_primitive_opt::<TimestampMillisecondType>(),
                ) else {
                    return Err(damaged());
                };
                for row in 0..batch.num_rows() {
                    let at = Position::new(ledgers.value(row), entries.value(row));
                    if is_it(at, times.is_valid(row).then(|| times.value(row))) {
                        return Ok(Some(before));
                    }
                    before = Cut::After(at);
                }
            }
        }
        Ok(None)
    }

    /// Searches the log after `from` up to its last entry.
    async fn cut_in_log(&self, partition: &Partition, from: Cut, last: Position, time_ms: i64) -> Result<Cut> {
        let early = time_ms.saturating_sub(SKEW_MS);
        let mut before = self.cut_by_halves(partition, from, last, Clock::Producers, early).await?;
        let mut reader = self.log.open_reader(partition, before).await?;
        while !before.covers(last) {
            for Entry { position, bytes } in patiently(partition, reader.next(READ_BYTES)).await? {
                // An entry whose head cannot be read has no time; what becomes of it is settled when it is read.
                if summarize(&bytes, &self.limits).is_ok_and(|head| head.publish_time_ms >= time_ms) {
                    return Ok(before);
                }
                before = before.max(Cut::After(position));
            }
        }
        Ok(before)
    }

    /// A cut before the log's first entry after `from` whose time is `time_ms` or later, if times rise.
    async fn cut_by_halves(
        &self,
        partition: &Partition,
        from: Cut,
        last: Position,
        clock: Clock,
        time_ms: i64,
    ) -> Result<Cut> {
        let mut before = from;
        if let Some(ledgers) = self.kept(partition).await? {
            let first_in = from.position().map_or(0, |at| at.ledger);
            let mut ledgers: Vec<LedgerInfo> =
                ledgers.into_iter().filter(|l| l.id >= first_in && l.id <= last.ledger).collect();
            // What is said of a ledger that is open may be old.
            ledgers.iter_mut().filter(|l| l.id == last.ledger).for_each(|l| l.entries = l.entries.max(last.entry + 1));
            ledgers.retain(|ledger| ledger.entries > 0);
            let end_of = |ledger: &LedgerInfo| Cut::After(Position::new(ledger.id, ledger.entries - 1));
            let (mut low, mut high) = (0, ledgers.len());
            while low < high {
                let middle = low + (high - low) / 2;
                let after = middle.checked_sub(1).map_or(from, |previous| from.max(end_of(&ledgers[previous])));
                if self.is_before(partition, after, clock, time_ms).await? { low = middle + 1 } else { high = middle }
            }
            if let Some(ledger) = low.checked_sub(1).map(|index| &ledgers[index]) {
                // Its first entry is early enough; how many of it are?
                let (mut low, mut high) = (1, ledger.entries);
                while low < high {
                    let middle = low + (high - low) / 2;
                    let after = from.max(Cut::After(Position::new(ledger.id, middle - 1)));
                    if self.is_before(partition, after, clock, time_ms).await? {
                        low = middle + 1
                    } else {
                        high = middle
                    }
                }
                before = before.max(Cut::After(Position::new(ledger.id, low - 1)));
            }
        }
        Ok(before)
    }

    /// Whether the first entry after a cut, behind which there is one, has a time before this one.
    async fn is_before(&self, partition: &Partition, after: Cut, clock: Clock, time_ms: i64) -> Result<bool> {
        let mut reader = self.log.open_reader(partition, after).await?;
        let entries = patiently(partition, reader.next(1)).await?;
        let time = entries.first().and_then(|first| match clock {
            Clock::Producers => summarize(&first.bytes, &self.limits).ok().map(|head| head.publish_time_ms),
            Clock::Brokers => broker_metadata(&first.bytes).broker_time_ms,
        });
        Ok(time.is_some_and(|time| time < time_ms))
    }
}

async fn patiently(partition: &Partition, next: impl Future<Output = Result<Vec<Entry>>>) -> Result<Vec<Entry>> {
    tokio::time::timeout(PATIENCE, next).await.unwrap_or_else(|_| {
        Err(Error::unavailable(format!(
            "looking for a publish time in `{partition}`: an entry that the log has did not come within {} s",
            PATIENCE.as_secs()
        )))
    })
}
