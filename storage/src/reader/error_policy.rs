//! What becomes of messages and entries that cannot be read, by their table's policy: for readers and the archiver alike.
//!
//! ```text
//!  bad ─► fail: an error that says what to do
//!      ─► skip: left out, counted, told in the log
//!      ─► dead-letter: the same, and on its way to another topic (see `dead_letters`)
//! ```

use std::sync::Arc;

use aquifer_formats::entry::{EntryLimits, summarize};
use aquifer_formats::payload::Format;
use aquifer_model::{Error, Partition, Position, Result};
use bytes::Bytes;

use super::dead_letters::{BadMessage, DeadLetters};
use super::{OnDecodeError, TieredTopic};

/// How a user leaves out what cannot be read.
const REMEDY: &str = "to leave out what cannot be read, set 'aquifer.on-decode-error' of the table to 'skip', or to 'dead-letter' to keep it in 'aquifer.dead-letter-topic'";

/// The policy of one reader of one partition.
pub(crate) struct ErrorPolicy {
    partition: Partition,
    format: Format,
    limits: EntryLimits,
    skips: bool,
    letters: Option<DeadLetters>,
    /// So many were left out.
    left_out: u64,
}

impl ErrorPolicy {
    /// The policy of a topic's table.
    pub(crate) fn new(topic: &TieredTopic, partition: &Partition) -> Self {
        let letters = match &topic.on_error {
            OnDecodeError::DeadLetter(to) => Some(DeadLetters::new(Arc::clone(&topic.log), to.clone())),
            OnDecodeError::Fail | OnDecodeError::Skip => None,
        };
        let skips = topic.on_error != OnDecodeError::Fail;
        Self { partition: partition.clone(), format: topic.format, limits: topic.limits, skips, letters, left_out: 0 }
    }

    /// A message that cannot be read: fails, or leaves it out.
    pub(super) fn bad_message(&mut self, bad: BadMessage<'_>) -> Result<()> {
        if !self.skips {
            let (partition, format) = (&self.partition, self.format);
            return Err(Error::corrupt(format!(
                "message {}/{} of `{partition}` cannot be decoded as {format}: {}. Look at the message; {REMEDY}",
                bad.position,
                bad.batch_index.unwrap_or_default(),
                bad.reason
            )));
        }
        self.leave_out(bad, 1);
        Ok(())
    }

    /// An entry that cannot be taken apart: fails, or leaves its messages out and gives how many they are, as far as it tells.
    pub(crate) fn bad_entry(&mut self, position: Position, bytes: &Bytes, error: Error) -> Result<u64> {
        if !self.skips {
            let of = format!("entry {position} of `{}` cannot be read ({REMEDY})", self.partition);
            return Err(error.context(of));
        }
        let messages = summarize(bytes, &self.limits).map_or(1, |summary| u64::from(summary.messages.max(1)));
        self.leave_out(BadMessage::of_entry(position, bytes, &error.to_string()), messages);
        Ok(messages)
    }

    fn leave_out(&mut self, bad: BadMessage<'_>, messages: u64) {
        let before = self.left_out;
        self.left_out += messages;
        // Each of the first, then ever fewer: a topic may be bad from end to end.
        if before.checked_ilog2() != self.left_out.checked_ilog2() {
            let stage = bad.stage();
            let (position, index, reason) = (bad.position, bad.batch_index, bad.reason);
            tracing::warn!(partition = %self.partition, %position, index, stage, left_out = self.left_out, "left out: {reason}");
        }
        if let Some(letters) = &mut self.letters {
            letters.add(&self.partition, bad);
        }
    }

    /// Whether what was left out waits to be sent.
    pub(crate) fn has_letters(&self) -> bool {
        self.letters.as_ref().is_some_and(|letters| !letters.is_empty())
    }

    /// Sends what waits.
    pub(crate) async fn send_letters(&mut self) -> Result<()> {
        match &mut self.letters {
            Some(letters) => letters.flush().await,
            None => Ok(()),
        }
    }
}
