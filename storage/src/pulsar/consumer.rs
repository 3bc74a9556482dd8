//! A consumer at a broker, for as long as this value lives: what readers, pins and questions for the last id have in common.

use std::sync::Arc;

use pulsar::message::proto::ServerError;

use aquifer_model::{Partition, Position};

use super::brokers::{Brokers, odd_answer};
use super::commands::{self, Subscription};
use super::connection::Connection;
use super::failure::{Failure, Tried};
use super::queue::{EntryQueue, Taken};
use super::session::{Answer, Resource};

/// Closed at the broker when dropped.
#[derive(Debug)]
pub(super) struct Consumer {
    connection: Arc<Connection>,
    id: u64,
    queue: Arc<EntryQueue>,
}

impl Consumer {
    /// Subscribes. Gets no entry before [`Consumer::take`] is first called.
    pub async fn open(brokers: &Brokers, partition: &Partition, subscription: &Subscription) -> Tried<Self> {
        match Self::subscribe(brokers, partition, subscription, false).await {
            // A partition that nobody has used yet: it is there by its topic's metadata and may be made.
            Err(Failure::Refused(refusal))
                if refusal.code == ServerError::TopicNotFound
                    && partition.index.is_some()
                    && brokers.check_partition(partition).await.is_ok() =>
            {
                Self::subscribe(brokers, partition, subscription, true).await
            }
            outcome => outcome,
        }
    }

    async fn subscribe(
        brokers: &Brokers,
        partition: &Partition,
        subscription: &Subscription,
        make_topic: bool,
    ) -> Tried<Self> {
        let topic = partition.to_string();
        let connection = brokers.owner(&topic).await?;
        let id = connection.next_id();
        let queue = Arc::new(EntryQueue::new(brokers.window()));
        connection.attach(id, queue.clone())?;
        // Made before the answer is waited for: dropped half-way it is closed all the same.
        let consumer = Self { connection: connection.clone(), id, queue };
        let compacted = brokers.reading().compacted;
        connection
            .request_open(brokers.operation_timeout(), Resource::Consumer(id), |request| {
                commands::subscribe(request, id, &topic, subscription, make_topic, compacted)
            })
            .await?;
        Ok(consumer)
    }

    /// Takes what has arrived, about `max_bytes` of it, and asks the broker for more.
    pub fn take(&self, max_bytes: usize) -> Taken {
        let (taken, permits) = self.queue.take(max_bytes);
        if let Some(permits) = permits {
            // A broken connection ends the queue, which is seen at the next take.
            let _ = self.connection.tell(commands::flow(self.id, permits));
        }
        taken
    }

    /// Waits until there may be something to take.
    pub async fn changed(&self) {
        self.queue.changed().await;
    }

    /// The last entry that can be given now.
    pub async fn last_position(&self) -> Tried<Option<Position>> {
        match self.connection.request(|request| commands::last_message_id(request, self.id)).await? {
            Answer::LastId(position) => Ok(position),
            _ => Err(odd_answer("the last message id", &self.connection).into()),
        }
    }

    /// Everything up to `position` is done with; returns with the broker's receipt.
    pub async fn acknowledge(&self, position: Position) -> Tried<()> {
        self.connection.request(|request| commands::acknowledge(request, self.id, position)).await.map(drop)
    }

    /// What comes in, to wait for its end.
    pub fn queue(&self) -> Arc<EntryQueue> {
        self.queue.clone()
    }

    /// Why it can no longer be used, if so.
    pub fn ended(&self) -> Option<String> {
        self.queue.ended()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.connection.detach(self.id);
        self.queue.end("it was given up here");
    }
}
