//! A log of which one topic has only some of its partitions: what `'topics' = 't-partition-0'` reads and writes.
//!
//! ```text
//!  reader, sink, discovery ─► partitions(t) = those that are named ─► the log itself, for everything else
//! ```
//!
//! The topic stays the topic, with its identity: its archive is found, and positions mean the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use aquifer_model::{Error, Partition, Result, TopicName};
use aquifer_storage::{Log, LogOver};
use async_trait::async_trait;

/// The log with these partitions of one topic.
#[derive(Debug)]
pub(crate) struct SomePartitions {
    log: Arc<dyn Log>,
    topic: TopicName,
    numbers: BTreeSet<u32>,
}

impl SomePartitions {
    /// `log`, with the partitions `numbers` of `topic`.
    pub fn new(log: Arc<dyn Log>, topic: TopicName, numbers: BTreeSet<u32>) -> Self {
        Self { log, topic, numbers }
    }
}

/// Those of a topic's partitions that are named. One that the topic has not is `Invalid`.
fn named(topic: &TopicName, all: Vec<Partition>, numbers: &BTreeSet<u32>) -> Result<Vec<Partition>> {
    let has = |number: &u32| all.iter().any(|partition| partition.index == Some(*number));
    if let Some(missing) = numbers.iter().copied().find(|number| !has(number)) {
        let has = match all.as_slice() {
            [Partition { index: None, .. }] => "is not partitioned".to_string(),
            several => format!("has {} partitions", several.len()),
        };
        return Err(Error::invalid(format!(
            "`{topic}-partition-{missing}` is not there, the topic `{topic}` {has}: name the topic, or a partition that it has, in the option `topics`"
        )));
    }
    Ok(all.into_iter().filter(|partition| partition.index.is_some_and(|index| numbers.contains(&index))).collect())
}

#[async_trait]
impl LogOver for SomePartitions {
    fn under(&self) -> &dyn Log {
        self.log.as_ref()
    }

    async fn partitions(&self, topic: &TopicName) -> Result<Vec<Partition>> {
        let all = self.log.partitions(topic).await?;
        if *topic == self.topic { named(topic, all, &self.numbers) } else { Ok(all) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_the_partitions_that_are_named_and_those_that_it_has_not_are_told() {
        let topic = TopicName::new("public", "default", "t");
        let partition = |index| Partition::new(topic.clone(), index);
        let three = || (0..3).map(|index| partition(Some(index))).collect::<Vec<_>>();
        for (all, numbers, expected) in [
            (three(), &[0][..], Ok(vec![partition(Some(0))])),
            (three(), &[2, 0], Ok(vec![partition(Some(0)), partition(Some(2))])),
            (three(), &[0, 3], Err("`persistent://public/default/t-partition-3` is not there")),
            (three(), &[7], Err("has 3 partitions")),
            (vec![partition(None)], &[0], Err("is not partitioned: name the topic")),
        ] {
            let found = named(&topic, all, &numbers.iter().copied().collect());
            match expected {
                Ok(partitions) => assert_eq!(found.expect("there"), partitions),
                Err(part) => {
                    let error = found.expect_err(part).to_string();
                    assert!(error.contains(part), "{error}");
                }
            }
        }
    }
}
