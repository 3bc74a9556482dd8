//! The watermarks of a job's partitions and the one that follows from them.
//!
//! The combined watermark is the lowest of the partitions that are neither idle nor ended. Where none is left it is the end if all ended, else the highest
//! that any reached. It never falls.

use std::time::Duration;

use aquifer_model::Watermark;

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionTime {
    pub(crate) watermark: Watermark,
    pub(crate) idle: bool,
    pub(crate) ended: bool,
    /// When its last row came, since the job's start.
    pub(crate) last_row: Duration,
}

/// All partitions.
#[derive(Debug, Clone)]
pub(crate) struct Watermarks {
    pub(crate) partitions: Vec<PartitionTime>,
    combined: Watermark,
    idle_timeout: Duration,
}

impl Watermarks {
    pub(crate) fn new(partitions: usize, idle_timeout: Duration) -> Self {
        let fresh = PartitionTime { watermark: Watermark::MIN, idle: false, ended: false, last_row: Duration::ZERO };
        Self { partitions: vec![fresh; partitions], combined: Watermark::MIN, idle_timeout }
    }

    /// A partition that was found late: it holds nothing back before its first row.
    pub(crate) fn add(&mut self, now: Duration) {
        self.partitions.push(PartitionTime { watermark: Watermark::MIN, idle: true, ended: false, last_row: now });
    }

    /// What was combined before a restart.
    pub(crate) fn restore(&mut self, combined: Watermark) {
        self.combined = combined;
    }

    /// A row came.
    pub(crate) fn row(&mut self, partition: usize, now: Duration) {
        let partition = &mut self.partitions[partition];
        (partition.idle, partition.last_row) = (false, now);
    }

    /// A partition's own watermark rose.
    pub(crate) fn advance(&mut self, partition: usize, to: Watermark) {
        self.partitions[partition].watermark.advance_to(to);
    }

    /// Nothing more comes from a partition.
    pub(crate) fn end(&mut self, partition: usize) {
        self.partitions[partition].ended = true;
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.partitions.iter().all(|partition| partition.ended)
    }

    /// Marks the partitions idle that have been quiet for too long; those in `busy` have something waiting. Whether any was marked.
    pub(crate) fn find_idle(&mut self, now: Duration, busy: impl Fn(usize) -> bool) -> bool {
        if self.idle_timeout.is_zero() {
            return false;
        }
        let mut found = false;
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            let quiet = now.saturating_sub(partition.last_row) >= self.idle_timeout;
            if quiet && !partition.idle && !partition.ended && !busy(index) {
                partition.idle = true;
                found = true;
            }
        }
        found
    }

    /// When [`Watermarks::find_idle`] may next find one.
    pub(crate) fn idle_deadline(&self) -> Option<Duration> {
        let active = self.partitions.iter().filter(|partition| !partition.idle && !partition.ended);
        let earliest = active.map(|partition| partition.last_row + self.idle_timeout).min();
        earliest.filter(|_| !self.idle_timeout.is_zero())
    }

    /// The combined watermark.
    pub(crate) fn combine(&mut self) -> Watermark {
        let active = self.partitions.iter().filter(|partition| !partition.idle && !partition.ended);
        let now = match active.map(|partition| partition.watermark).min() {
            Some(lowest) => lowest,
            None if self.all_ended() => Watermark::MAX,
            None => self.partitions.iter().map(|partition| partition.watermark).max().unwrap_or(Watermark::MAX),
        };
        self.combined.advance_to(now);
        self.combined
    }

    /// The combined watermark before each row of a partition's batch, given what each row says (`None` says nothing), as if a watermark followed every row.
    pub(crate) fn per_row(&mut self, partition: usize, says: impl Iterator<Item = Option<i64>>) -> Vec<i64> {
        let others = self.partitions.iter().enumerate();
        let others = others.filter(|(index, other)| *index != partition && !other.idle && !other.ended);
        let others = others.map(|(_, other)| other.watermark).min().unwrap_or(Watermark::MAX);
        let mut own = self.partitions[partition].watermark;
        let mut combined = self.combined;
        let before = says.map(|value| {
            let before = combined;
            if let Some(value) = value {
                own.advance_to(Watermark(value));
            }
            combined.advance_to(own.min(others));
            before.0
        });
        let before = before.collect();
        self.partitions[partition].watermark = own;
        self.combined = combined;
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_lowest_partition_holds_the_watermark_until_it_is_idle_or_ends() {
        let mut marks = Watermarks::new(3, SECOND * 10);
        assert_eq!(marks.combine(), Watermark::MIN);
        for (partition, watermark) in [(0, 50), (1, 30), (2, 40)] {
            marks.row(partition, SECOND);
            marks.advance(partition, Watermark(watermark));
        }
        assert_eq!(marks.combine(), Watermark(30));
        marks.row(0, SECOND * 5);
        marks.row(2, SECOND * 5);
        assert_eq!(marks.idle_deadline(), Some(SECOND * 11));
        assert!(!marks.find_idle(SECOND * 10, |_| false));
        assert!(!marks.find_idle(SECOND * 11, |partition| partition == 1), "it has something waiting");
        assert!(marks.find_idle(SECOND * 11, |_| false));
        assert_eq!(marks.combine(), Watermark(40));
        marks.row(1, SECOND * 12);
        assert_eq!(marks.combine(), Watermark(40), "it never falls");
        marks.end(1);
        marks.end(2);
        assert_eq!(marks.combine(), Watermark(50));
        assert!(marks.find_idle(SECOND * 100, |_| false));
        assert_eq!(marks.combine(), Watermark(50), "idle is not the end");
        marks.end(0);
        assert_eq!((marks.combine(), marks.idle_deadline()), (Watermark::MAX, None));
    }

    #[test]
    fn a_watermark_after_every_row_takes_effect_after_its_row() {
        let mut marks = Watermarks::new(2, Duration::ZERO);
        marks.advance(1, Watermark(20));
        marks.combine();
        let before = marks.per_row(0, [Some(5), Some(3), None, Some(30), Some(1)].into_iter());
        assert_eq!(before, [i64::MIN, 5, 5, 5, 20]);
        assert_eq!(marks.combine(), Watermark(20));
    }
}
