//! A line on the terminal that says how far a long statement is: time, rows, bytes, rate. Nothing where standard error is no terminal.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Statements that end before this have no progress.
const SHORT: Duration = Duration::from_secs(1);
/// How often the line changes.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// The line; gone when dropped.
pub(super) struct Progress {
    started: Instant,
    line: Option<ProgressBar>,
    is_over: bool,
}

impl Progress {
    pub fn new(started: Instant) -> Self {
        Self { started, line: None, is_over: false }
    }

    /// Shows what has been read so far.
    pub fn show(&mut self, (rows, bytes): (u64, u64)) {
        let elapsed = self.started.elapsed();
        if self.is_over || elapsed < SHORT {
            return;
        }
        let line = self.line.get_or_insert_with(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                line.set_style(style);
            }
            line
        });
        line.set_message(text(rows, bytes, elapsed));
        line.tick();
    }

    /// Takes the line away for good: what is printed from now on has the terminal for itself.
    pub fn end(&mut self) {
        self.is_over = true;
        if let Some(line) = self.line.take() {
            line.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn text(rows: u64, bytes: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = (rows as f64 / seconds.max(1e-3)) as u64;
    format!(
        "{seconds:.0} s: {} rows read, {}, {} rows/s (Ctrl-C ends it)",
        HumanCount(rows),
        HumanBytes(bytes),
        HumanCount(rate)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_rows_bytes_and_rate() {
        assert_eq!(
            text(3_000_000, 5 << 20, Duration::from_secs(2)),
            "2 s: 3,000,000 rows read, 5.00 MiB, 1,500,000 rows/s (Ctrl-C ends it)"
        );
    }
}
