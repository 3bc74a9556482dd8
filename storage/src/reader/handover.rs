//! Decides whether the log goes on where reading stands, or whether the missing stretch must come from the archive.
//!
//! ```text
//!  given so far ──┤ cut            first ├── what the log gives next
//!                       ▲ trimmed in between?
//! ```
//!
//! The log forgets whole ledgers, the oldest first, and while an archive's pin stands only what the archive covers. So as long as the cut's own
//! ledger is kept nothing after it is gone; once it is gone, the archive's end and what is known of ledgers decide.

use aquifer_model::{Cut, Position};

use crate::log::LedgerInfo;

/// What follows from a seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seam {
    /// Nothing is missing.
    Joined,
    /// The archive covers more by now: go on there.
    Archive,
    /// Something is in neither tier.
    Gone,
}

/// What is known when the log gives an entry in another ledger than the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeamFacts<'a> {
    /// Up to here everything was given.
    pub cut: Cut,
    /// The log's next entry.
    pub first: Position,
    /// The ledgers kept, asked for after that entry was seen; `None` where they cannot be asked for.
    pub now: Option<&'a [LedgerInfo]>,
    /// Ledgers that were kept earlier.
    pub known: &'a [LedgerInfo],
    /// Where the archive ends, read after that entry was seen; `Start` if there is none.
    pub archive_end: Cut,
    /// Whether the cut is the caller's, not one that this read reached in the log.
    pub resumed: bool,
}

/// Whether the log's next entry follows for certain, from the ledgers alone.
pub(super) fn follows(cut: Cut, first: Position, now: Option<&[LedgerInfo]>) -> bool {
    let Cut::After(last) = cut else { return false };
    last.ledger == first.ledger || now.is_some_and(|now| now.iter().any(|ledger| ledger.id == last.ledger))
}

/// Settles a seam that the ledgers alone did not.
pub(super) fn decide_seam(facts: SeamFacts<'_>) -> Seam {
    let SeamFacts { cut, first, now, known, archive_end, resumed } = facts;
    if archive_end > cut {
        return Seam::Archive;
    }
    // Without an archive the log's start is the start.
    let Cut::After(last) = cut else { return Seam::Joined };
    let Some(now) = now else { return Seam::Joined };
    if follows(cut, first, Some(now)) {
        return Seam::Joined;
    }
    let gone = |id: u64| !now.iter().any(|ledger| ledger.id == id);
    let between = |ledger: &LedgerInfo| ledger.id > last.ledger && ledger.id < first.ledger && ledger.entries > 0;
    if known.iter().any(|ledger| between(ledger) && gone(ledger.id)) {
        return Seam::Gone;
    }
    if archive_end == cut {
        // The pin stands here, so the cut's ledger went because it ends here.
        return Seam::Joined;
    }
    let unread = |ledger: &LedgerInfo| ledger.id == last.ledger && ledger.entries > last.entry + 1;
    // Seen while it was kept, and nothing after the cut was in it.
    let seen = known.iter().any(|ledger| ledger.id == last.ledger);
    if known.iter().any(unread) || (resumed && !seen) { Seam::Gone } else { Seam::Joined }
}

/// What to do when a bounded read finds nothing more in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stall {
    /// What is missing may still come.
    Wait,
    /// The archive covers more by now.
    Archive,
    /// Between the cut and the stop there is nothing to read.
    End,
    /// Something up to the stop is in neither tier.
    Gone,
}

/// Settles a bounded read at `cut` that waits for the log although it has not reached its stop.
pub(super) fn decide_stall(
    cut: Cut,
    stop: Cut,
    last: Option<Position>,
    ledgers: &[LedgerInfo],
    archive_end: Cut,
) -> Stall {
    let Cut::After(stop) = stop else { return Stall::End };
    if archive_end > cut {
        return Stall::Archive;
    }
    if last.is_some_and(|last| !cut.covers(last)) {
        return Stall::Wait;
    }
    let past = last.is_some_and(|last| last >= stop)
        || ledgers.iter().any(|l| l.id > stop.ledger || (l.id == stop.ledger && l.entries > stop.entry));
    if !past {
        return Stall::Wait;
    }
    let kept = match cut {
        Cut::Start => ledgers.iter().any(|ledger| ledger.id <= stop.ledger),
        Cut::After(at) => ledgers.iter().any(|ledger| ledger.id == at.ledger),
    };
    if kept { Stall::End } else { Stall::Gone }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledgers(list: &[(u64, u64)]) -> Vec<LedgerInfo> {
        list.iter().map(|(id, entries)| LedgerInfo { id: *id, entries: *entries, bytes: 0, closed: true }).collect()
    }

    fn after(ledger: u64, entry: u64) -> Cut {
        Cut::After(Position::new(ledger, entry))
    }

    type Ledgers<'a> = &'a [(u64, u64)];

    #[test]
    fn ledgers_and_the_archives_end_decide_whether_the_log_goes_on() {
        // (cut, first, now, known, archive end, resumed) → seam
        let cases: &[(Cut, (u64, u64), Option<Ledgers<'_>>, Ledgers<'_>, Cut, bool, Seam)] = &[
            // The same ledger, or a cut whose ledger is still kept.
            (after(5, 2), (5, 4), Some(&[]), &[], Cut::Start, true, Seam::Joined),
            (after(5, 2), (7, 0), Some(&[(5, 3), (7, 1)]), &[], Cut::Start, true, Seam::Joined),
            // From the start: without an archive the log's start, else the archive's.
            (Cut::Start, (7, 0), Some(&[(7, 1)]), &[], Cut::Start, true, Seam::Joined),
            (Cut::Start, (7, 0), Some(&[(7, 1)]), &[], after(6, 3), true, Seam::Archive),
            // The border moved.
            (after(5, 2), (7, 0), Some(&[(7, 1)]), &[(5, 9)], after(6, 3), false, Seam::Archive),
            // The archive ends at the cut: its pin kept all that follows …
            (after(5, 2), (7, 0), Some(&[(7, 1)]), &[(5, 3)], after(5, 2), true, Seam::Joined),
            // … unless a ledger in between had entries and is gone.
            (after(5, 2), (7, 0), Some(&[(7, 1)]), &[(5, 3), (6, 1)], after(5, 2), true, Seam::Gone),
            (after(5, 2), (7, 0), Some(&[(7, 1)]), &[(5, 3), (6, 0)], after(5, 2), true, Seam::Joined),
            // Nothing archived: a caller's cut whose ledger is gone proves nothing.
            (after(5, 2), (7, 0), Some(&[(7, 1)]), &[], Cut::Start, true, Seam::Gone),
            (after(5, 2), (7, 0), Some(&[(7, 1)]), &[(5, 3)], Cut::Start, true, Seam::Joined),
            // A read that was at the log's end when the ledger went.
            (after(5, 2), (7, 0), Some(&[(7, 1)]), &[(5, 3)], Cut::Start, false, Seam::Joined),
            (after(5, 2), (7, 0), Some(&[(7, 1)]), &[(5, 4)], Cut::Start, false, Seam::Gone),
            (after(5, 2), (9, 0), Some(&[(9, 1)]), &[(5, 3), (7, 4)], after(5, 1), false, Seam::Gone),
            // Without the right to list ledgers there is nothing to compare.
            (after(5, 2), (7, 0), None, &[], Cut::Start, true, Seam::Joined),
        ];
        for (n, (cut, first, now, known, archive_end, resumed, seam)) in cases.iter().enumerate() {
            let now = now.map(ledgers);
            let facts = SeamFacts {
                cut: *cut,
                first: Position::new(first.0, first.1),
                now: now.as_deref(),
                known: &ledgers(known),
                archive_end: *archive_end,
                resumed: *resumed,
            };
            assert_eq!(decide_seam(facts), *seam, "case {n}");
        }
    }

    #[test]
    fn a_bounded_read_ends_although_nothing_more_comes() {
        let cases: &[(Cut, Cut, Option<(u64, u64)>, Ledgers<'_>, Cut, Stall)] = &[
            // More is there: it will be given.
            (after(5, 1), after(5, 3), Some((5, 3)), &[(5, 4)], Cut::Start, Stall::Wait),
            // The stop lies ahead of the log.
            (after(5, 1), after(5, 3), Some((5, 1)), &[(5, 2)], Cut::Start, Stall::Wait),
            (Cut::Start, after(5, 3), None, &[(5, 0)], Cut::Start, Stall::Wait),
            // All was archived and trimmed in the meantime.
            (after(5, 1), after(5, 3), None, &[(6, 0)], after(5, 3), Stall::Archive),
            // What is left up to the stop are entries that no reader is given.
            (after(5, 1), after(5, 3), Some((5, 1)), &[(5, 4)], Cut::Start, Stall::End),
            // Trimmed without an archive.
            (after(5, 1), after(5, 3), None, &[(6, 0)], Cut::Start, Stall::Gone),
            (Cut::Start, after(5, 3), None, &[(6, 0)], Cut::Start, Stall::Gone),
            (after(5, 1), Cut::Start, None, &[], Cut::Start, Stall::End),
        ];
        for (n, (cut, stop, last, kept, archive_end, stall)) in cases.iter().enumerate() {
            let last = last.map(|(ledger, entry)| Position::new(ledger, entry));
            assert_eq!(decide_stall(*cut, *stop, last, &ledgers(kept), *archive_end), *stall, "case {n}");
        }
    }
}
