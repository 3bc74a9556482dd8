//! A durable pin: a subscription that gets no entries, whose mark holds back trimming.
//!
//! ```text
//!  keeper ──waits for the consumer's end──► is the pin still there? ──yes──► subscribes again, at once
//!                                                   └── no: it was removed, and is not made again
//! ```
//!
//! Its consumer stays connected, which also keeps the topic from being deleted behind our back; a task of the pin's own sees to that and ends
//! with it. It is a failover subscription: a new holder gets in at once while the broker still believes in one that was killed. The mark never
//! moves back by an acknowledgment, so two holders do no harm.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use aquifer_model::{Cut, ErrorKind, Partition, Position, Result};

use super::admin::Admin;
use super::brokers::{Brokers, CONSUME, Retry, jittered};
use super::commands::Subscription;
use super::consumer::Consumer;
use super::failure::Tried;
use crate::log::Pin;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct PulsarPin {
    held: Arc<Held>,
    keeper: AbortHandle,
    was_there: bool,
}

impl Drop for PulsarPin {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// What pin and keeper share.
struct Held {
    brokers: Arc<Brokers>,
    admin: Arc<Admin>,
    partition: Partition,
    name: String,
    consumer: Mutex<Option<Consumer>>,
}

impl PulsarPin {
    pub async fn open(brokers: Arc<Brokers>, admin: Arc<Admin>, partition: &Partition, name: &str) -> Result<Self> {
        brokers.check_partition(partition).await?;
        // The broker does not say whether a subscription is new: it is asked before.
        let was_there = match admin.mark(partition, name).await {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied) => return Err(error),
            Err(_) => false,
        };
        let mut retry = Retry::new(brokers.operation_timeout());
        let held =
            Held { brokers, admin, partition: partition.clone(), name: name.to_string(), consumer: Mutex::new(None) };
        loop {
            match held.connected(&mut *held.consumer.lock().await).await {
                Ok(_) => break,
                Err(failure) => {
                    retry.after(failure, || format!("opening pin `{name}` on `{partition}`"), CONSUME).await?;
                }
            }
        }
        let held = Arc::new(held);
        let keeper = tokio::spawn(keep(held.clone())).abort_handle();
        Ok(Self { held, keeper, was_there })
    }
}

impl Held {
    /// The consumer, made anew where it has ended.
    async fn connected<'a>(&self, consumer: &'a mut Option<Consumer>) -> Tried<&'a Consumer> {
        let open = match consumer.take() {
            Some(open) if open.ended().is_none() => open,
            _ => {
                let subscription = Subscription::Durable { name: self.name.clone() };
                Consumer::open(&self.brokers, &self.partition, &subscription).await?
            }
        };
        Ok(consumer.insert(open))
    }

    async fn try_advance(&self, position: Position) -> Tried<()> {
        let mut consumer = self.consumer.lock().await;
        let outcome = match self.connected(&mut consumer).await {
            Ok(open) => open.acknowledge(position).await,
            Err(failure) => Err(failure),
        };
        if outcome.is_err() {
            *consumer = None;
        }
        outcome
    }
}

/// Keeps a pin's consumer connected, until the pin is gone.
async fn keep(held: Arc<Held>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let queue = held.consumer.lock().await.as_ref().map(Consumer::queue);
        if let Some(queue) = queue {
            queue.until_ended().await;
        }
        // Subscribing would make a removed pin again, at the wrong place.
        match held.admin.mark(&held.partition, &held.name).await {
            Err(error) if error.kind() == ErrorKind::Gone => {
                tracing::warn!(partition = %held.partition, pin = held.name, "the pin was removed: nothing holds back trimming");
                return;
            }
            _ => {}
        }
        let mut consumer = held.consumer.lock().await;
        match held.connected(&mut consumer).await {
            Ok(_) => pause = FIRST_PAUSE,
            Err(failure) => {
                drop(consumer);
                tracing::debug!(partition = %held.partition, pin = held.name, ?failure, "the pin is not connected");
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

#[async_trait]
impl Pin for PulsarPin {
    fn was_there(&self) -> bool {
        self.was_there
    }

    async fn cut(&self) -> Result<Cut> {
        self.held.admin.mark(&self.held.partition, &self.held.name).await
    }

    async fn advance(&mut self, position: Position) -> Result<()> {
        let held = &self.held;
        let mut retry = Retry::patient(held.brokers.operation_timeout());
        loop {
            match held.try_advance(position).await {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    let doing = || format!("moving pin `{}` on `{}` to {position}", held.name, held.partition);
                    retry.after(failure, doing, CONSUME).await?;
                }
            }
        }
    }
}
