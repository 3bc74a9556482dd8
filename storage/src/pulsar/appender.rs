//! Writes to one partition under a producer name: one entry at a time, each with its receipt.
//!
//! Nothing is ever sent again from here. Where it is not known whether an entry is stored the error is `Unknown` and this appender is
//! of no more use: the caller opens another, which asks the broker for the name's mark, and appends the same bytes again.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pulsar::message::proto::{Schema, ServerError};

use aquifer_model::{Error, Partition, Result};

use super::brokers::{Brokers, PRODUCE, Retry, odd_answer};
use super::commands;
use super::connection::{Connection, Published};
use super::failure::{Failure, Tried};
use super::session::Answer;
use crate::log::{Appender, Receipt};

pub(super) struct PulsarAppender {
    producer: Producer,
    partition: Partition,
    name: String,
    last_sequence_id: i64,
    /// Why nothing more can be appended.
    over: Option<String>,
}

/// A producer at a broker; closed there when dropped.
struct Producer {
    connection: Arc<Connection>,
    id: u64,
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.connection.detach_producer(self.id);
    }
}

impl PulsarAppender {
    /// Opens a producer. Waits, within the operation's time, for the broker to let go of an earlier one of this name.
    pub async fn open(brokers: &Brokers, partition: &Partition, name: &str) -> Result<Self> {
        // Registering a producer could make the topic.
        brokers.check_partition(partition).await?;
        let doing = || format!("opening producer `{name}` on `{partition}`");
        let mut retry = Retry::new(brokers.operation_timeout());
        let mut schema = None;
        loop {
            match Self::register(brokers, partition, name, schema.clone()).await {
                Ok(appender) => return Ok(appender),
                // The namespace takes no producer without a schema where the topic has one: name the one it has.
                Err(Failure::Refused(refusal))
                    if refusal.code == ServerError::IncompatibleSchema && schema.is_none() =>
                {
                    schema = super::schemas::newest_of(brokers, &partition.topic).await?.map(|(_, schema)| schema);
                    if schema.is_none() {
                        return Err(Failure::Refused(refusal).into_error(&doing(), PRODUCE));
                    }
                }
                Err(failure) => retry.after(failure, doing, PRODUCE).await?,
            }
        }
    }

    async fn register(brokers: &Brokers, partition: &Partition, name: &str, schema: Option<Schema>) -> Tried<Self> {
        let topic = partition.to_string();
        let connection = brokers.owner(&topic).await?;
        let id = connection.next_id();
        connection.attach_producer(id)?;
        let producer = Producer { connection: connection.clone(), id };
        match connection.request(|request| commands::producer(request, id, &topic, name, schema)).await? {
            Answer::Producer { last_sequence_id } => Ok(Self {
                producer,
                partition: partition.clone(),
                name: name.to_string(),
                last_sequence_id,
                over: None,
            }),
            _ => Err(odd_answer("opening a producer", &connection).into()),
        }
    }

    fn unknown(&mut self, why: String) -> Error {
        let why = format!(
            "appending to `{}` as `{}`: {why}: it may be stored; open the producer again and append the same bytes",
            self.partition, self.name
        );
        self.over = Some(why.clone());
        Error::unknown(why)
    }
}

#[async_trait]
impl Appender for PulsarAppender {
    fn last_sequence_id(&self) -> i64 {
        self.last_sequence_id
    }

    async fn append(&mut self, bytes: Bytes, lowest: i64, highest: i64, messages: u32) -> Result<Receipt> {
        if let Some(why) = &self.over {
            return Err(Error::unknown(why.clone()));
        }
        let (Ok(low), Ok(high)) = (u64::try_from(lowest), u64::try_from(highest)) else {
            return Err(Error::invalid(format!("sequence ids {lowest}..={highest} are below zero")));
        };
        if high < low || messages == 0 {
            return Err(Error::invalid(format!(
                "an entry of {messages} messages cannot have the ids {lowest}..={highest}"
            )));
        }
        let connection = self.producer.connection.clone();
        let limit = connection.max_message_bytes();
        if bytes.len() > limit {
            return Err(Error::invalid(format!(
                "an entry of {} bytes is over the broker's limit of {limit}: write smaller messages or batches",
                bytes.len()
            )));
        }
        if !bytes.starts_with(&[0x0e, 0x01]) {
            return Err(Error::invalid("an entry to append must begin with its checksum (0x0e01)"));
        }
        let head = commands::send(self.producer.id, low, high, messages, bytes.len());
        // Stands if this future is dropped while the entry is on its way.
        self.over = Some("an earlier append was given up before its receipt: open the producer again".to_string());
        let outcome = connection.publish(self.producer.id, low, head, bytes).await;
        self.over = None;
        match outcome {
            Ok(Published::Stored(position)) => {
                self.last_sequence_id = self.last_sequence_id.max(highest);
                Ok(Receipt::Stored(position))
            }
            Ok(Published::Duplicate) => Ok(Receipt::Duplicate),
            Ok(Published::Refused(refusal))
                if matches!(refusal.code, ServerError::ChecksumError | ServerError::TopicTerminatedError) =>
            {
                let doing = format!("appending to `{}`", self.partition);
                Err(Failure::Refused(refusal).into_error(&doing, PRODUCE))
            }
            Ok(Published::Refused(refusal)) => {
                let why = format!("the broker answered {}: {}", refusal.code.as_str_name(), refusal.message);
                Err(self.unknown(why))
            }
            Ok(Published::Closed(why)) => Err(self.unknown(why)),
            Err(failure) => {
                // The copy may still be on its way: nothing may follow it on this connection.
                connection.cut("a publication was not answered in time");
                let error = failure.into_error("waiting for the receipt", PRODUCE);
                Err(self.unknown(error.to_string()))
            }
        }
    }
}
