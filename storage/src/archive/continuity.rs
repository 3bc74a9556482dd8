//! Whether the log lost entries before they were archived: decided by two lists of ledgers and the pin, never by entry numbers, which need
//! not be dense for a reader.

use aquifer_model::{Cut, Interval};

use crate::log::LedgerInfo;

/// What the lists say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuity {
    /// Everything after the archive's end is there.
    Whole,
    /// Something after the archive's end is gone, or may be.
    Gap {
        /// The ledgers that are known to be gone, by id; empty where no list named them.
        ledgers: Vec<u64>,
        /// Up to where it may be gone: the first entry that is left comes after it.
        interval: Interval,
    },
}

/// Compares the ledgers `before` (in the newest manifest; `None`: nothing was ever archived) with those `now`. `end` is the archive's end, `pin`
/// where the pin stands, `None` if it had to be made anew. An entry after `end` is safe if its ledger is there, and a ledger is never trimmed while the pin stands before its end.
pub fn check(end: Cut, before: Option<&[LedgerInfo]>, now: &[LedgerInfo], pin: Option<Cut>) -> Continuity {
    let Some(before) = before else { return Continuity::Whole };
    let is_kept = |id: u64| now.iter().any(|ledger| ledger.id == id);
    let unread = |ledger: &&LedgerInfo| ledger.entries > 0 && end.position().is_none_or(|p| ledger.id > p.ledger);
    let gone: Vec<u64> = before.iter().filter(unread).map(|ledger| ledger.id).filter(|id| !is_kept(*id)).collect();
    let whole = gone.is_empty()
        && match end {
            // Nothing was read: what the pin has not passed is there.
            Cut::Start => pin == Some(Cut::Start),
            Cut::After(last) => {
                let all_of_it_read = || before.iter().any(|l| l.id == last.ledger && l.entries == last.entry + 1);
                is_kept(last.ledger) || (all_of_it_read() && pin.is_some_and(|pin| pin <= end))
            }
        };
    if whole {
        return Continuity::Whole;
    }
    let first_left = now.iter().filter(|ledger| ledger.entries > 0).map(|ledger| ledger.id).min();
    let to = match first_left {
        Some(id) => gone
            .iter()
            .max()
            .map_or(end, |last| Cut::After(aquifer_model::Position::new((*last).min(id.saturating_sub(1)), u64::MAX))),
        None => pin.unwrap_or(end).max(end),
    };
    Continuity::Gap { ledgers: gone, interval: Interval::new(end, to) }
}

#[cfg(test)]
mod tests {
    use aquifer_model::Position;

    use super::*;

    fn ledgers(list: &[(u64, u64)]) -> Vec<LedgerInfo> {
        list.iter().map(|(id, entries)| LedgerInfo { id: *id, entries: *entries, bytes: 0, closed: true }).collect()
    }

    fn after(ledger: u64, entry: u64) -> Cut {
        Cut::After(Position::new(ledger, entry))
    }

    #[test]
    fn the_lists_and_the_pin_decide() {
        // (end, before, now, pin, whole?)
        let cases: &[(Cut, Option<&[(u64, u64)]>, &[(u64, u64)], Option<Cut>, bool)] = &[
            (Cut::Start, None, &[(9, 3)], Some(Cut::Start), true),
            (after(5, 2), Some(&[(5, 3)]), &[(5, 3), (6, 1)], Some(after(5, 2)), true),
            // The ledger read to its end is trimmed, its successor is there.
            (after(5, 2), Some(&[(5, 3)]), &[(6, 1)], Some(after(5, 2)), true),
            (after(5, 2), Some(&[(5, 3), (6, 1)]), &[(6, 4)], Some(after(5, 2)), true),
            // Ledger 6 was seen with entries and is gone unread.
            (after(5, 2), Some(&[(5, 3), (6, 1)]), &[(7, 4)], Some(after(5, 2)), false),
            (after(5, 2), Some(&[(5, 3), (6, 1)]), &[(5, 3), (7, 4)], Some(after(5, 2)), false),
            // A ledger without entries may go.
            (after(5, 2), Some(&[(5, 3), (6, 0)]), &[(7, 4)], Some(after(5, 2)), true),
            // Ledger 5 had more entries than were read.
            (after(5, 1), Some(&[(5, 3)]), &[(6, 1)], Some(after(5, 1)), false),
            // Someone moved the pin beyond what was archived.
            (after(5, 2), Some(&[(5, 3)]), &[(8, 1)], Some(after(7, 9)), false),
            (Cut::Start, Some(&[]), &[(8, 1)], Some(after(7, 9)), false),
            (Cut::Start, Some(&[(3, 0)]), &[(4, 2)], Some(Cut::Start), true),
            // The pin was removed and made anew: what lay between is unknown.
            (after(5, 2), Some(&[(5, 3)]), &[(6, 1)], None, false),
            (after(5, 2), Some(&[(5, 3)]), &[(5, 3), (6, 1)], None, true),
        ];
        for (n, (end, before, now, pin, whole)) in cases.iter().enumerate() {
            let before = before.map(ledgers);
            let found = check(*end, before.as_deref(), &ledgers(now), *pin);
            assert_eq!(found == Continuity::Whole, *whole, "case {n}: {found:?}");
        }
    }

    #[test]
    fn a_gap_names_the_ledgers_that_are_gone() {
        let found =
            check(after(5, 2), Some(&ledgers(&[(5, 3), (6, 1), (7, 2)])), &ledgers(&[(8, 4)]), Some(after(5, 2)));
        let Continuity::Gap { ledgers, interval } = found else { panic!("two ledgers are gone") };
        assert_eq!(ledgers, [6, 7]);
        assert_eq!(interval.from, after(5, 2));
        assert!(interval.contains(Position::new(7, 1)) && !interval.contains(Position::new(8, 0)));
    }
}
