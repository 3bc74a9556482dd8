//! The two clocks of a job: the epoch (a stretch of input) and the watermark (a frontier of event time).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a stretch of input, dense from 0 in a job; a checkpoint has its epoch's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A frontier of event time in milliseconds since 1970 (UTC or local, as the time column): a row at or below it that is still to
/// come is late. It only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Before any row: `CURRENT_WATERMARK` is NULL.
    pub const MIN: Watermark = Watermark(i64::MIN);
    /// After the last row of a bounded input: every window fires.
    pub const MAX: Watermark = Watermark(i64::MAX);

    /// Raises it to `other` if that is higher.
    pub fn advance_to(&mut self, other: Watermark) {
        *self = (*self).max(other);
    }
}

impl Default for Watermark {
    fn default() -> Self {
        Self::MIN
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MIN => f.write_str("none"),
            Self::MAX => f.write_str("end"),
            Self(ms) => write!(f, "{ms} ms"),
        }
    }
}
