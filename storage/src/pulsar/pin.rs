//! A durable pin: a subscription that gets no entries, whose mark holds back trimming.
//!
//! Its consumer stays connected, which also keeps the topic from being deleted behind our back. It is a failover subscription: a new
//! holder gets in at once while the broker still believes in one that was killed. The mark never moves back by an
//! acknowledgment, so two holders do no harm.

use std::sync::Arc;

use async_trait::async_trait;

use aquifer_model::{Cut, ErrorKind, Partition, Position, Result};

use super::admin::Admin;
use super::brokers::{Brokers, CONSUME, Retry};
use super::commands::Subscription;
use super::consumer::Consumer;
use super::failure::Tried;
use crate::log::Pin;

pub(super) struct PulsarPin {
    brokers: Arc<Brokers>,
    admin: Arc<Admin>,
    partition: Partition,
    name: String,
    consumer: Option<Consumer>,
    was_there: bool,
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
        let mut pin =
            Self { brokers, admin, partition: partition.clone(), name: name.to_string(), consumer: None, was_there };
        let mut retry = Retry::new(pin.brokers.operation_timeout());
        loop {
            match pin.connected().await {
                Ok(_) => return Ok(pin),
                Err(failure) => {
                    retry.after(failure, || format!("opening pin `{name}` on `{partition}`"), CONSUME).await?;
                }
            }
        }
    }

    async fn connected(&mut self) -> Tried<&Consumer> {
        let open = match self.consumer.take() {
            Some(open) if open.ended().is_none() => open,
            _ => {
                let subscription = Subscription::Durable { name: self.name.clone() };
                Consumer::open(&self.brokers, &self.partition, &subscription).await?
            }
        };
        Ok(self.consumer.insert(open))
    }

    async fn try_advance(&mut self, position: Position) -> Tried<()> {
        let outcome = self.connected().await?.acknowledge(position).await;
        if outcome.is_err() {
            self.consumer = None;
        }
        outcome
    }
}

#[async_trait]
impl Pin for PulsarPin {
    fn was_there(&self) -> bool {
        self.was_there
    }

    async fn cut(&self) -> Result<Cut> {
        self.admin.mark(&self.partition, &self.name).await
    }

    async fn advance(&mut self, position: Position) -> Result<()> {
        let mut retry = Retry::patient(self.brokers.operation_timeout());
        loop {
            match self.try_advance(position).await {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    let doing = || format!("moving pin `{}` on `{}` to {position}", self.name, self.partition);
                    retry.after(failure, doing, CONSUME).await?;
                }
            }
        }
    }
}
