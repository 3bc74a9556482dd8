//! What of a partition a filter leaves to read, decided before anything of it is opened.
//!
//! ```text
//!  topic, partition, tier ─► may any row match?  ─► tiers
//!  ledger, entry          ─► from, to            ─► interval
//!  broker publish time    ─► from, in the log
//! ```
//!
//! What is left is a superset of what matches: the filter is applied to it all the same. Producers' publish times narrow nothing here, as they are in no
//! order that could be relied on: one clock that is wrong, one cluster whose messages came late, and rows that match lie before others that are older. In
//! the archive the files' ranges of them serve (`ranges`).

use aquifer_model::{Cut, Interval, Partition, Position, Result};

use super::ranges::Ranges;
use super::{ReadFilter, Tier, TieredTopic, Tiers};
use crate::log::LedgerInfo;

impl TieredTopic {
    /// The part of an interval of a partition, and of the tiers, in which rows that `filter` keeps can lie; `None` if there can be none.
    pub async fn narrowed(
        &self,
        partition: &Partition,
        wanted: Interval,
        tiers: Tiers,
        filter: &dyn ReadFilter,
    ) -> Result<Option<(Interval, Tiers)>> {
        let may_match = filter.may_match(&Ranges::of_tiers(partition, &[Tier::Archive, Tier::Log]))?;
        let (archive, log) = (may_match.first() != Some(&false), may_match.get(1) != Some(&false));
        let Some(tiers) = tiers_left(tiers, archive, log) else { return Ok(None) };
        let (first, last) = filter.positions();
        if first > last {
            return Ok(None);
        }
        let broker_time = filter.broker_published_from().filter(|_| tiers != Tiers::Archive);
        let (mut from, to) = (wanted.from, wanted.to.min(Cut::After(last)));
        if from < to && (!archive || first > Position::new(0, 0) || broker_time.is_some()) {
            let border = if tiers == Tiers::Log { Cut::Start } else { self.border(partition).await? };
            if !archive {
                from = from.max(border);
            }
            if first > Position::new(0, 0) {
                // Whoever may not ask for ledgers reads more of the log.
                let kept = self.kept(partition).await.ok().flatten().unwrap_or_default();
                from = from.max(begin_at(first, border, &kept));
            }
            if let Some(time_ms) = broker_time.filter(|_| from < to) {
                // Where the search fails all is read, and reading tells why.
                let found = self.cut_at_broker_time(partition, from.max(border), time_ms).await.unwrap_or(border);
                // Where it is the border nothing is known of what lies before it.
                if found > border {
                    from = from.max(found);
                }
            }
        }
        Ok((from < to).then_some((Interval::new(from, to), tiers)))
    }
}

/// The tiers to read where rows of the archive or of the log may match.
fn tiers_left(tiers: Tiers, archive: bool, log: bool) -> Option<Tiers> {
    match tiers {
        // Behind the border only: alone the log would also give what it keeps of what is archived.
        Tiers::Both if log => Some(Tiers::Both),
        Tiers::Both if archive => Some(Tiers::Archive),
        Tiers::Both => None,
        Tiers::Log => log.then_some(Tiers::Log),
        Tiers::Archive => archive.then_some(Tiers::Archive),
    }
}

/// A cut before the entry at `first` from which a read may begin: in the archive any, in the log one behind an entry that is kept.
fn begin_at(first: Position, border: Cut, kept: &[LedgerInfo]) -> Cut {
    let before = match first.entry.checked_sub(1) {
        Some(entry) => Some(Position::new(first.ledger, entry)),
        None => first.ledger.checked_sub(1).map(|ledger| Position::new(ledger, u64::MAX)),
    };
    let Some(before) = before else { return Cut::Start };
    if Cut::After(before) < border {
        return Cut::After(before);
    }
    let ends = kept.iter().filter(|ledger| ledger.id <= before.ledger).filter_map(|ledger| {
        let end = Position::new(ledger.id, ledger.entries.checked_sub(1)?);
        Some(end.min(before))
    });
    border.max(ends.max().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_not_read_alone_because_the_archive_is_left_out() {
        for (tiers, archive, log, left) in [
            (Tiers::Both, true, true, Some(Tiers::Both)),
            (Tiers::Both, true, false, Some(Tiers::Archive)),
            (Tiers::Both, false, true, Some(Tiers::Both)),
            (Tiers::Both, false, false, None),
            (Tiers::Log, true, false, None),
            (Tiers::Log, false, true, Some(Tiers::Log)),
            (Tiers::Archive, true, false, Some(Tiers::Archive)),
            (Tiers::Archive, false, true, None),
        ] {
            assert_eq!(tiers_left(tiers, archive, log), left, "{tiers:?} {archive} {log}");
        }
    }

    #[test]
    fn a_read_begins_anywhere_in_the_archive_and_in_the_log_behind_what_is_kept() {
        let after = |ledger, entry| Cut::After(Position::new(ledger, entry));
        let kept = [(6, 4), (7, 0), (9, 3)].map(|(id, entries)| LedgerInfo { id, entries, bytes: 0, closed: true });
        for (first, border, cut) in [
            ((0, 0), after(5, 9), Cut::Start),
            // In the archive.
            ((3, 4), after(5, 9), after(3, 3)),
            ((3, 0), after(5, 9), after(2, u64::MAX)),
            // Right behind it, and where nothing is kept.
            ((5, 10), after(5, 9), after(5, 9)),
            ((6, 0), after(5, 9), after(5, 9)),
            ((5, 0), Cut::Start, Cut::Start),
            // In the log.
            ((6, 2), after(5, 9), after(6, 1)),
            ((6, 9), after(5, 9), after(6, 3)),
            ((7, 0), after(5, 9), after(6, 3)),
            ((9, 1), Cut::Start, after(9, 0)),
            ((99, 0), Cut::Start, after(9, 2)),
        ] {
            let first = Position::new(first.0, first.1);
            assert_eq!(begin_at(first, border, &kept), cut, "{first} {border}");
        }
    }
}
