//! Where a record lies in one partition's log, and what stretch of it is meant.
//!
//! A *position* names an entry. What is stored to resume is a *cut*: everything up to it is behind. An *interval*
//! is `(from, to]` over cuts, so two that meet share a cut and no entry.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One entry of one partition, the same in both tiers. Ordered by ledger, then entry. It means nothing without the topic's
/// identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The ledger's id; later ledgers of a partition have higher ids.
    pub ledger: u64,
    /// The entry's number in its ledger, dense from 0.
    pub entry: u64,
}

impl Position {
    /// The position of entry `entry` in ledger `ledger`.
    pub const fn new(ledger: u64, entry: u64) -> Self {
        Self { ledger, entry }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ledger, self.entry)
    }
}

impl FromStr for Position {
    type Err = Error;

    /// Reads `LEDGER:ENTRY`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("`{text}` is no position: write LEDGER:ENTRY, for example 12:0"));
        let (ledger, entry) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self { ledger: ledger.parse().map_err(|_| wrong())?, entry: entry.parse().map_err(|_| wrong())? })
    }
}

/// Where reading resumes: everything up to it is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub enum Cut {
    /// Nothing is behind.
    #[default]
    Start,
    /// This entry, and all before it, are behind.
    After(Position),
}

impl Cut {
    /// Whether the entry at `position` is behind this cut.
    pub fn covers(self, position: Position) -> bool {
        match self {
            Cut::Start => false,
            Cut::After(last) => position <= last,
        }
    }

    /// The last entry behind the cut.
    pub fn position(self) -> Option<Position> {
        match self {
            Cut::Start => None,
            Cut::After(position) => Some(position),
        }
    }
}

impl From<Option<Position>> for Cut {
    fn from(last: Option<Position>) -> Self {
        last.map_or(Cut::Start, Cut::After)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Start => f.write_str("start"),
            Cut::After(position) => write!(f, "after {position}"),
        }
    }
}

/// The entries after `from` up to and with `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// Everything up to this cut is outside.
    pub from: Cut,
    /// Everything after this cut is outside.
    pub to: Cut,
}

impl Interval {
    /// The interval `(from, to]`.
    pub const fn new(from: Cut, to: Cut) -> Self {
        Self { from, to }
    }

    /// Whether no entry can lie in it.
    pub fn is_empty(self) -> bool {
        self.to <= self.from
    }

    /// Whether the entry at `position` lies in it.
    pub fn contains(self, position: Position) -> bool {
        !self.from.covers(position) && self.to.covers(position)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |cut: Cut| cut.position().map_or("start".to_string(), |p| p.to_string());
        write!(f, "({}, {}]", end(self.from), end(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_leaves_out_its_from_and_takes_its_to() {
        let interval = Interval::new(Cut::After(Position::new(1, 4)), Cut::After(Position::new(2, 0)));
        assert!(!interval.contains(Position::new(1, 4)));
        assert!(interval.contains(Position::new(1, 5)));
        assert!(interval.contains(Position::new(2, 0)));
        assert!(!interval.contains(Position::new(2, 1)));
        assert_eq!(interval.to_string(), "(1:4, 2:0]");
    }

    #[test]
    fn two_intervals_that_meet_share_no_entry() {
        let border = Cut::After(Position::new(3, 3));
        let (left, right) = (Interval::new(Cut::Start, border), Interval::new(border, Cut::After(Position::new(9, 9))));
        for entry in 0..6 {
            let position = Position::new(3, entry);
            assert!(left.contains(position) ^ right.contains(position));
        }
        assert!(Interval::new(border, border).is_empty());
        assert!(Interval::new(Cut::Start, Cut::Start).is_empty());
    }

    #[test]
    fn a_position_reads_what_it_prints() {
        let position = Position::new(17, 4);
        assert_eq!(position.to_string().parse::<Position>().expect("printed by us"), position);
        assert!("17".parse::<Position>().is_err());
        assert!("17:-1".parse::<Position>().is_err());
    }
}
