//! The log's appender: a producer that never sends again by itself.
//!
//! Where it is not known whether an entry is stored the error is `Unknown` and this appender is of no more use: the caller opens another,
//! which asks the broker for the name's mark, and appends the same bytes again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use aquifer_model::{Error, Partition, Result};

use super::brokers::Brokers;
use super::producer::{ProducerSettings, PulsarProducer};
use crate::log::{Appender, FinishedEntry, Receipt};

pub(super) struct PulsarAppender {
    producer: PulsarProducer,
}

impl PulsarAppender {
    /// Opens a producer. Waits, within the operation's time, for the broker to let go of an earlier one of this name.
    pub async fn open(brokers: Arc<Brokers>, partition: &Partition, name: &str) -> Result<Self> {
        let settings = ProducerSettings { resend_within: Duration::ZERO, ..ProducerSettings::new(name) };
        Ok(Self { producer: PulsarProducer::open(brokers, partition, settings).await? })
    }

    /// Entries that were given up half-way have unknown ends.
    fn check_idle(&self) -> Result<()> {
        if self.producer.unanswered() > 0 {
            return Err(Error::unknown("an earlier append was given up before its receipt: open the producer again"));
        }
        Ok(())
    }
}

#[async_trait]
impl Appender for PulsarAppender {
    fn last_sequence_id(&self) -> i64 {
        self.producer.last_sequence_id()
    }

    async fn append(&mut self, bytes: Bytes, lowest: i64, highest: i64, messages: u32) -> Result<Receipt> {
        self.check_idle()?;
        self.producer.send(FinishedEntry { bytes, lowest, highest, messages, chunk: false })?;
        let receipt = self.producer.receipt().await?;
        receipt.ok_or_else(|| Error::internal("an entry was sent and nothing waits for its receipt"))
    }

    async fn append_all(&mut self, entries: &mut VecDeque<FinishedEntry>, receipts: &mut Vec<Receipt>) -> Result<()> {
        self.check_idle()?;
        // The first so many of `entries` are on their way.
        let mut sent = 0;
        let mut wrong = None;
        while sent > 0 || (wrong.is_none() && !entries.is_empty()) {
            while wrong.is_none()
                && let Some(entry) = entries.get(sent)
                && self.producer.has_room(entry.bytes.len())
            {
                match self.producer.send(entry.clone()) {
                    Ok(()) => sent += 1,
                    Err(error) => wrong = Some(error),
                }
            }
            if let Some(receipt) = self.producer.receipt().await? {
                receipts.push(receipt);
                entries.pop_front();
                sent -= 1;
            }
        }
        wrong.map_or(Ok(()), Err)
    }
}
