//! What the generators share: rows that have a number, made at a pace, resumed at the number of the next.

use std::time::Duration;

use aquifer_model::{Error, Result};
use aquifer_processor::connector::{ResumeToken, Start};
use tokio::time::Instant;

const BATCH_ROWS: u64 = 8_192;
/// A batch is at most what comes in this time.
const BATCHES_PER_SECOND: u64 = 10;

/// Where a generator stands.
#[derive(Debug)]
pub(crate) struct Numbered {
    /// The number of the next row.
    pub next: u64,
    first: u64,
    started: Instant,
}

impl Numbered {
    /// Starts now; fails with `Corrupt` on a token that is not this connector's.
    pub fn open(from: Start, connector: &str) -> Result<Self> {
        let next = match from {
            Start::Beginning => 0,
            Start::At(token) => {
                let bytes = token.0.as_slice().try_into();
                bytes
                    .map(u64::from_be_bytes)
                    .map_err(|_| Error::corrupt(format!("a resume token of {connector} has 8 bytes")))?
            }
        };
        Ok(Self { next, first: next, started: Instant::now() })
    }

    /// How many rows to make next, once they are due; 0 if all `rows` are made. Cancel-safe.
    pub async fn due(&self, rows: Option<u64>, per_second: Option<u64>) -> u64 {
        let mut count = rows.map_or(u64::MAX, |rows| rows.saturating_sub(self.next)).min(BATCH_ROWS);
        if let (Some(pace), true) = (per_second, count > 0) {
            count = count.min((pace / BATCHES_PER_SECOND).max(1));
            let due = (self.next - self.first) as f64 / pace as f64;
            tokio::time::sleep_until(self.started + Duration::from_secs_f64(due)).await;
        }
        count
    }

    /// Where to go on.
    pub fn token(&self) -> ResumeToken {
        ResumeToken(self.next.to_be_bytes().to_vec())
    }
}
