//! What reading an interval would find in each tier, without reading a row: what `EXPLAIN` shows.

use aquifer_model::{Cut, Partition, Result};

use super::{TieredTopic, Tiers};
use crate::archive::chain::Chain;
use crate::archive::status::entries_after;
use crate::log::LedgerInfo;

/// What lies in an interval of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Where the archive ends and the log goes on; `Start` where nothing is archived, or the archive is not read.
    pub border: Cut,
    /// Archived files that have a part of the interval.
    pub files: u64,
    /// Their rows. A file that only a part of is read counts with all of them.
    pub archive_rows: u64,
    /// The log's entries of the interval, each of one message or of a batch; `None` where they cannot be counted.
    pub log_entries: Option<u64>,
}

impl TieredTopic {
    /// What lies after `from`, up to and with `to` (without: as far as there is something now).
    pub async fn extent(&self, partition: &Partition, from: Cut, to: Option<Cut>, tiers: Tiers) -> Result<Extent> {
        let mut extent = Extent::default();
        if tiers != Tiers::Log
            && let Some((location, identity)) = self.chains().await?
            && let Some(state) = Chain::new(&location, &identity, partition).load().await?
        {
            extent.border = state.end();
            for file in &state.files {
                if file.covers.to > from && to.is_none_or(|to| file.covers.from < to) {
                    extent.files += 1;
                    extent.archive_rows += file.rows;
                }
            }
        }
        extent.log_entries = match tiers {
            Tiers::Archive => Some(0),
            // Who may read a topic may perhaps not ask for its ledgers: then the estimate lacks them, and the plan is shown all the same.
            _ => self.log.ledgers(partition).await.ok().map(|l| entries_between(&l, extent.border.max(from), to)),
        };
        Ok(extent)
    }
}

fn entries_between(ledgers: &[LedgerInfo], from: Cut, to: Option<Cut>) -> u64 {
    let beyond = |ledger| to.map_or(0, |to| entries_after(ledger, to));
    ledgers.iter().map(|ledger| entries_after(ledger, from).saturating_sub(beyond(ledger))).sum()
}

#[cfg(test)]
mod tests {
    use aquifer_model::Position;

    use super::*;

    #[test]
    fn entries_between_two_cuts_are_counted_over_ledgers() {
        let ledger = |id, entries| LedgerInfo { id, entries, bytes: 0, closed: true };
        let ledgers = [ledger(1, 10), ledger(4, 5), ledger(5, 0), ledger(7, 3)];
        let after = |ledger, entry| Cut::After(Position { ledger, entry });
        for (from, to, entries) in [
            (Cut::Start, None, 18),
            (Cut::Start, Some(Cut::Start), 0),
            (after(1, 3), None, 14),
            (after(1, 3), Some(after(4, 1)), 8),
            (after(4, 4), Some(after(7, 0)), 1),
            (after(7, 2), None, 0),
            (after(7, 1), Some(after(4, 0)), 0),
        ] {
            assert_eq!(entries_between(&ledgers, from, to), entries, "{from:?} {to:?}");
        }
    }
}
