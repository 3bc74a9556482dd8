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
    last_row: Duration,
    /// After this long without a row it is idle; zero: never.
    idle_timeout: Duration,
    /// Where a watermark follows every so many rows: the highest that rows said, and how many came since it was taken over.
    said: Watermark,
    since: u64,
}

impl PartitionTime {
    fn new(idle_timeout: Duration, idle: bool, last_row: Duration) -> Self {
        let watermark = Watermark::MIN;
        Self { watermark, idle, ended: false, last_row, idle_timeout, said: watermark, since: 0 }
    }

    /// Whether it holds others back.
    pub(crate) fn is_active(&self) -> bool {
        !self.idle && !self.ended
    }

    /// When it becomes idle unless a row comes.
    fn idle_at(&self) -> Option<Duration> {
        (self.is_active() && !self.idle_timeout.is_zero()).then(|| self.last_row + self.idle_timeout)
    }
}

/// All partitions.
#[derive(Debug, Clone)]
pub(crate) struct Watermarks {
    pub(crate) partitions: Vec<PartitionTime>,
    combined: Watermark,
}

impl Watermarks {
    /// Of partitions that are idle after so long, each.
    pub(crate) fn new(idle_timeouts: impl IntoIterator<Item = Duration>) -> Self {
        let partitions = idle_timeouts.into_iter().map(|timeout| PartitionTime::new(timeout, false, Duration::ZERO));
        Self { partitions: partitions.collect(), combined: Watermark::MIN }
    }

    /// A partition that was found late: it holds nothing back before its first row.
    pub(crate) fn add(&mut self, now: Duration, idle_timeout: Duration) {
        self.partitions.push(PartitionTime::new(idle_timeout, true, now));
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
        let mut found = false;
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            if partition.idle_at().is_some_and(|at| now >= at) && !busy(index) {
                partition.idle = true;
                found = true;
            }
        }
        found
    }

    /// When [`Watermarks::find_idle`] may next find one; those in `busy` wait for nothing.
    pub(crate) fn idle_deadline(&self, busy: impl Fn(usize) -> bool) -> Option<Duration> {
        let waiting = self.partitions.iter().enumerate().filter(|(index, _)| !busy(*index));
        waiting.filter_map(|(_, partition)| partition.idle_at()).min()
    }

    /// The combined watermark as it was last told.
    pub(crate) fn combined(&self) -> Watermark {
        self.combined
    }

    /// The combined watermark.
    pub(crate) fn combine(&mut self) -> Watermark {
        let active = self.partitions.iter().filter(|partition| partition.is_active());
        let now = match active.map(|partition| partition.watermark).min() {
            Some(lowest) => lowest,
            None if self.all_ended() => Watermark::MAX,
            None => self.partitions.iter().map(|partition| partition.watermark).max().unwrap_or(Watermark::MAX),
        };
        self.combined.advance_to(now);
        self.combined
    }

    /// The combined watermark before each row of a partition's batch, given what each row says (`None` says nothing), as if a watermark followed every `gap`
    /// rows of the partition. How many came since the last one is not in a snapshot: a job that goes on from it begins to count anew.
    pub(crate) fn per_row(&mut self, partition: usize, gap: u64, says: impl Iterator<Item = Option<i64>>) -> Vec<i64> {
        let others = self.partitions.iter().enumerate();
        let others = others.filter(|(index, other)| *index != partition && other.is_active());
        let others = others.map(|(_, other)| other.watermark).min().unwrap_or(Watermark::MAX);
        let mut own = self.partitions[partition];
        let mut combined = self.combined;
        let before = says.map(|value| {
            let before = combined;
            if let Some(value) = value {
                own.said.advance_to(Watermark(value));
            }
            own.since += 1;
            if own.since >= gap {
                own.watermark.advance_to(own.said);
                own.since = 0;
            }
            combined.advance_to(own.watermark.min(others));
            before.0
        });
        let before = before.collect();
        self.partitions[partition] = own;
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
        let mut marks = Watermarks::new([SECOND * 10; 3]);
        assert_eq!(marks.combine(), Watermark::MIN);
        for (partition, watermark) in [(0, 50), (1, 30), (2, 40)] {
            marks.row(partition, SECOND);
            marks.advance(partition, Watermark(watermark));
        }
        assert_eq!(marks.combine(), Watermark(30));
        marks.row(0, SECOND * 5);
        marks.row(2, SECOND * 5);
        assert_eq!(marks.idle_deadline(|_| false), Some(SECOND * 11));
        assert_eq!(marks.idle_deadline(|partition| partition == 1), Some(SECOND * 15));
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
        assert_eq!((marks.combine(), marks.idle_deadline(|_| false)), (Watermark::MAX, None));
    }

    #[test]
    fn a_watermark_after_every_row_takes_effect_after_its_row() {
        let mut marks = Watermarks::new([Duration::ZERO; 2]);
        marks.advance(1, Watermark(20));
        marks.combine();
        let before = marks.per_row(0, 1, [Some(5), Some(3), None, Some(30), Some(1)].into_iter());
        assert_eq!(before, [i64::MIN, 5, 5, 5, 20]);
        assert_eq!(marks.combine(), Watermark(20));
    }

    #[test]
    fn each_partition_has_its_own_time_until_it_is_idle() {
        let mut marks = Watermarks::new([SECOND, Duration::ZERO]);
        marks.add(Duration::ZERO, SECOND * 3);
        marks.row(2, SECOND);
        assert_eq!(marks.idle_deadline(|_| false), Some(SECOND));
        assert!(marks.find_idle(SECOND * 100, |partition| partition == 2));
        let idle = |marks: &Watermarks| marks.partitions.iter().map(|time| time.idle).collect::<Vec<_>>();
        assert_eq!(idle(&marks), [true, false, false]);
        assert_eq!(marks.idle_deadline(|_| false), Some(SECOND * 4));
        assert!(marks.find_idle(SECOND * 4, |_| false));
        assert_eq!((idle(&marks), marks.idle_deadline(|_| false)), (vec![true, false, true], None), "zero is never");
    }

    /// What a watermark after every `gap` rows is, read off the rows.
    #[test]
    fn a_watermark_after_every_few_rows_counts_over_batches() {
        use rand::{Rng, SeedableRng, rngs::StdRng};
        for seed in 0..50 {
            let mut random = StdRng::seed_from_u64(seed);
            let gap = random.random_range(1..6u64);
            let rows: Vec<Option<i64>> =
                (0..40).map(|_| random.random_bool(0.8).then(|| random.random_range(0..100))).collect();
            let expected: Vec<i64> = (0..rows.len())
                .map(|row| {
                    let taken = row / gap as usize * gap as usize;
                    rows[..taken].iter().flatten().copied().max().unwrap_or(i64::MIN)
                })
                .collect();
            let mut marks = Watermarks::new([Duration::ZERO]);
            let (mut found, mut at) = (vec![], 0);
            while at < rows.len() {
                let to = (at + random.random_range(1..10)).min(rows.len());
                found.extend(marks.per_row(0, gap, rows[at..to].iter().copied()));
                // The end of an epoch says nothing more.
                marks.combine();
                at = to;
            }
            assert_eq!(found, expected, "seed {seed}");
        }
    }
}
