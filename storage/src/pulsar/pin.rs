//! A durable pin: a subscription that gets no entries, whose mark holds back trimming.
//!
//! ```text
//!  keeper ──waits for the consumer's end──► is the pin still there? ──yes──► subscribes again, at once
//!                                                   └── no: it was removed, and is not made again
//! ```
//!
//! A broker that removes a subscription first closes its consumers, so the answer may be yes although it is about to go, and subscribing makes
//! it again. That is seen by its property: a subscription names the request that made it, and one made by subscribing *again* is taken back.
//!
//! Its consumer stays connected, which also keeps the topic from being deleted behind our back; a task of the pin's own sees to that and ends
//! with it. It is a failover subscription: a new holder gets in at once while the broker still believes in one that was killed. The mark never
//! moves back by an acknowledgment, so two holders do no harm.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use uuid::Uuid;

use aquifer_model::{Cut, Error, ErrorKind, Partition, Position, Result};

use super::admin::Admin;
use super::brokers::{Brokers, CONSUME, Retry, jittered};
use super::commands::Subscription;
use super::consumer::Consumer;
use super::failure::{Failure, Tried};
use crate::log::Pin;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
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
#[derive(Debug)]
struct Held {
    brokers: Arc<Brokers>,
    admin: Arc<Admin>,
    partition: Partition,
    name: String,
    consumer: Mutex<Option<Consumer>>,
    /// What a subscription names as its maker that came to be by subscribing again; `None` where the pin is of a version that named none.
    again: Option<String>,
}

impl PulsarPin {
    pub async fn open(brokers: Arc<Brokers>, admin: Arc<Admin>, partition: &Partition, name: &str) -> Result<Self> {
        brokers.check_partition(partition).await?;
        // The broker does not say whether a subscription is new: it is asked before.
        let was_there = admin.find_mark(partition, name).await?.is_some();
        let names_maker = !was_there || admin.maker(partition, name).await?.is_some();
        let mut retry = Retry::new(brokers.operation_timeout());
        let maker = || names_maker.then(|| Uuid::new_v4().to_string());
        let subscription = Subscription::Durable { name: name.to_string(), maker: maker() };
        let consumer = loop {
            match Consumer::open(&brokers, partition, &subscription).await {
                Ok(consumer) => break consumer,
                Err(failure) => {
                    retry.after(failure, || format!("opening pin `{name}` on `{partition}`"), CONSUME).await?;
                }
            }
        };
        let held = Arc::new(Held {
            brokers,
            admin,
            partition: partition.clone(),
            name: name.to_string(),
            consumer: Mutex::new(Some(consumer)),
            again: maker(),
        });
        let keeper = tokio::spawn(keep(held.clone())).abort_handle();
        Ok(Self { held, keeper, was_there })
    }
}

impl Held {
    /// The consumer, made anew where it has ended.
    async fn connected<'a>(&self, consumer: &'a mut Option<Consumer>) -> Tried<&'a Consumer> {
        let open = match consumer.take() {
            Some(open) if open.ended().is_none() => open,
            _ => self.open_again().await?,
        };
        Ok(consumer.insert(open))
    }

    async fn open_again(&self) -> Tried<Consumer> {
        let subscription = Subscription::Durable { name: self.name.clone(), maker: self.again.clone() };
        let open = Consumer::open(&self.brokers, &self.partition, &subscription).await?;
        if self.again.is_some() {
            let maker = self.admin.maker(&self.partition, &self.name).await.map_err(Failure::Final)?;
            if maker == self.again {
                drop(open);
                self.admin.remove_subscription(&self.partition, &self.name).await.map_err(Failure::Final)?;
                return Err(Failure::Final(Error::gone(format!(
                    "there is no pin `{}`; someone removed it",
                    self.name
                ))));
            }
        }
        Ok(open)
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
        let mut consumer = held.consumer.lock().await;
        // Subscribing would make a removed pin again, at the wrong place.
        let there = match held.admin.mark(&held.partition, &held.name).await {
            Err(error) if error.kind() == ErrorKind::Gone => Err(Failure::Final(error)),
            _ => held.connected(&mut consumer).await.map(drop),
        };
        match there {
            Ok(()) => pause = FIRST_PAUSE,
            Err(Failure::Final(error)) if error.kind() == ErrorKind::Gone => {
                tracing::warn!(partition = %held.partition, pin = held.name, "the pin was removed: nothing holds back trimming");
                return;
            }
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
