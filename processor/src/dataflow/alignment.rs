//! Which partitions wait for others: in a group none runs ahead of the slowest by more than its drift.
//!
//! ```text
//!  slowest of the group ├──── drift ────┤ taken up to here, one batch at most beyond it
//! ```
//!
//! A group is a name, over all inputs of a job. The slowest is the active partition with the lowest watermark, so one that is idle or has ended holds nobody, and
//! neither does one that has said no watermark yet: it may be empty. The slowest itself never waits, so a group never stands still while it has something to
//! read. What waits is read and lies there, so it is not idle.

use std::collections::BTreeMap;

use aquifer_catalog::options::Alignment;
use aquifer_model::Watermark;

use super::watermarks::PartitionTime;

/// The groups of a job's inputs.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// By input: its group, and how many milliseconds it may be ahead.
    inputs: Vec<Option<(usize, i64)>>,
    groups: usize,
}

impl Groups {
    /// Of inputs in this order.
    pub(crate) fn new<'a>(inputs: impl IntoIterator<Item = Option<&'a Alignment>>) -> Self {
        let mut names = BTreeMap::<&str, usize>::new();
        let mut found = vec![];
        for alignment in inputs {
            found.push(alignment.map(|Alignment { group, max_drift }| {
                let next = names.len();
                let group = *names.entry(group.as_str()).or_insert(next);
                (group, i64::try_from(max_drift.as_millis()).unwrap_or(i64::MAX))
            }));
        }
        Self { inputs: found, groups: names.len() }
    }

    /// How far each group has come, given its partitions with their inputs; `None` where nobody in it holds others.
    pub(crate) fn slowest<'a>(
        &self,
        partitions: impl Iterator<Item = (usize, &'a PartitionTime)>,
    ) -> Vec<Option<Watermark>> {
        let mut slowest: Vec<Option<Watermark>> = vec![None; self.groups];
        if self.groups == 0 {
            return slowest;
        }
        for (input, time) in partitions {
            if let Some(Some((group, _))) = self.inputs.get(input)
                && time.is_active()
                && time.watermark > Watermark::MIN
            {
                let so_far = slowest[*group].unwrap_or(Watermark::MAX);
                slowest[*group] = Some(so_far.min(time.watermark));
            }
        }
        slowest
    }

    /// Whether a partition of an input waits, by how far its group has come.
    pub(crate) fn waits(&self, input: usize, watermark: Watermark, slowest: &[Option<Watermark>]) -> bool {
        let Some(Some((group, drift))) = self.inputs.get(input) else { return false };
        slowest[*group].is_some_and(|slowest| watermark.0 > slowest.0.saturating_add(*drift))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::watermarks::Watermarks;
    use super::*;

    fn aligned(group: &str, drift: u64) -> Alignment {
        Alignment { group: group.to_string(), max_drift: Duration::from_millis(drift) }
    }

    /// Four partitions: two of input 0 and one each of 1 and 2.
    const INPUTS: [usize; 4] = [0, 0, 1, 2];

    fn waiting(groups: &Groups, marks: &Watermarks) -> Vec<bool> {
        let slowest = groups.slowest(INPUTS.into_iter().zip(&marks.partitions));
        let each = INPUTS.into_iter().zip(&marks.partitions);
        each.map(|(input, time)| groups.waits(input, time.watermark, &slowest)).collect()
    }

    #[test]
    fn whoever_is_ahead_of_the_slowest_of_its_group_waits() {
        let (a, b, other) = (aligned("g", 10), aligned("g", 50), aligned("h", 0));
        let one_group = Groups::new([Some(&a), Some(&b), None]);
        let mut marks = Watermarks::new([Duration::from_secs(1); 4]);
        marks.advance(0, Watermark(1000));
        assert_eq!(waiting(&one_group, &marks), [false; 4], "who has said nothing holds nobody");
        for (partition, at) in [(1, 100), (2, 140), (3, 9999)] {
            marks.advance(partition, Watermark(at));
        }
        assert_eq!(waiting(&one_group, &marks), [true, false, false, false], "each by its own drift");
        marks.advance(2, Watermark(151));
        assert_eq!(waiting(&one_group, &marks), [true, false, true, false]);
        marks.partitions[1].idle = true;
        assert_eq!(waiting(&one_group, &marks), [true, false, false, false], "idle ones hold nobody");
        marks.end(2);
        assert_eq!(waiting(&one_group, &marks), [false; 4], "nor those that have ended");
        marks.partitions[1].idle = false;
        let two_groups = Groups::new([Some(&a), Some(&other), None]);
        assert_eq!(waiting(&two_groups, &marks), [true, false, false, false]);
        assert_eq!(waiting(&Groups::new([None, None, None]), &marks), [false; 4]);
    }

    #[test]
    fn the_slowest_never_waits_and_nobody_is_far_ahead() {
        use rand::{Rng, SeedableRng, rngs::StdRng};
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let drift = random.random_range(0..50u64);
            let of = aligned("g", drift);
            let groups = Groups::new([Some(&of), Some(&of), Some(&of)]);
            let mut marks = Watermarks::new([Duration::ZERO; 4]);
            (0..4).for_each(|partition| marks.advance(partition, Watermark(0)));
            for _ in 0..200 {
                let waits = waiting(&groups, &marks);
                assert!(!waits.iter().all(|waits| *waits), "seed {seed}: somebody goes on");
                let partition = random.random_range(0..4);
                if !waits[partition] {
                    let to = marks.partitions[partition].watermark.0 + random.random_range(0..20);
                    marks.advance(partition, Watermark(to));
                }
                let times: Vec<i64> = marks.partitions.iter().map(|time| time.watermark.0).collect();
                let (lowest, highest) = (times.iter().min().copied(), times.iter().max().copied());
                let apart = highest.zip(lowest).map_or(0, |(highest, lowest)| highest - lowest);
                assert!(apart <= drift as i64 + 20, "seed {seed}: {times:?}");
            }
        }
    }
}
