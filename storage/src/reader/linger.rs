//! When entries that trickle in over a network are taken: many together cost less, each, than a few at once.
//!
//! ```text
//!  come   │││ │ ││ │││                    │ ││        ███████████████  a backlog
//!  taken  ▲      ▲    ▲                   ▲   ▲       ▲  ▲  ▲  ▲  ▲
//!         └ PAUSE ┴────┘  longer than that └ at once   └ full batches do not wait
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// Entries that fill no batch are taken at most this often.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 10 });

/// Until when the next entries are left to come together.
#[derive(Debug, Default)]
pub(super) struct Linger {
    until: Option<Instant>,
}

impl Linger {
    /// Entries were taken at this time. Of what does not trickle in all that there are came at once.
    pub fn taken(&mut self, trickles: bool, at: Instant) {
        self.until = trickles.then(|| at + PAUSE);
    }

    /// A batch is full: more lie behind it.
    pub fn backlog(&mut self) {
        self.until = None;
    }

    /// How long is left to wait from this time on.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_trickles_in_comes_together_and_nothing_else_waits() {
        let start = Instant::now();
        let mut linger = Linger::default();
        assert_eq!(linger.left(start), None, "the first entries");
        linger.taken(true, start);
        assert_eq!(linger.left(start), Some(PAUSE));
        assert_eq!(linger.left(start + PAUSE / 4), Some(PAUSE - PAUSE / 4));
        assert_eq!(linger.left(start + PAUSE), None, "after a longer pause at once");
        linger.taken(true, start + PAUSE);
        assert_eq!(linger.left(start + PAUSE), Some(PAUSE), "counted anew from each time");
        linger.backlog();
        assert_eq!(linger.left(start + PAUSE), None, "full batches do not wait");
        linger.taken(true, start);
        linger.taken(false, start);
        assert_eq!(linger.left(start), None, "what does not trickle in");
    }
}
