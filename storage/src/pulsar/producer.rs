//! A producer on one partition: many entries on their way at once, receipts in order, and all of it sent again after a cut.
//!
//! ```text
//!  send ──► unanswered: e4 e5 e6 ──► broker ──► receipt of e4, e5, e6
//!                  ▲ cut │
//!                  └─────┴─ registered again, then e4 e5 e6: the same bytes, the same order
//! ```
//!
//! An entry is never sent twice on one connection while its first copy may be on its way: where an answer is odd or late the
//! connection is cut first. An entry that was stored before the cut is answered as a duplicate, if the topic deduplicates; if it does not, it is
//! stored twice. The topic's epoch is what the broker gave and goes with every registration, so that who was evicted learns it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pulsar::message::proto::{ProducerAccessMode, ServerError};
use tokio::sync::oneshot;

use aquifer_model::{Error, ErrorKind, Partition, Result};

use super::brokers::{Brokers, PRODUCE, Retry, odd_answer};
use super::commands::{self, ProducerTerms};
use super::connection::{Connection, Published};
use super::failure::{Failure, Tried};
use super::session::{Answer, Resource};
use crate::log::{FinishedEntry, Receipt};

/// Who else may write to the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessMode {
    /// Anyone.
    #[default]
    Shared,
    /// Nobody; refused if there is a producer.
    Exclusive,
    /// Nobody; waits until all others are gone.
    WaitForExclusive,
    /// Nobody; whoever is there is evicted and finds out at its next registration.
    ExclusiveWithFencing,
}

/// How a [`PulsarProducer`] writes.
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// Its name, which together with the sequence ids tells duplicates.
    pub name: String,
    /// Who else may write.
    pub access: AccessMode,
    /// So many bytes may be on their way without a receipt; one entry always may.
    pub max_unanswered_bytes: usize,
    /// So many entries may be on their way without a receipt.
    pub max_unanswered_entries: usize,
    /// After a cut: how long it is tried to get back and send everything again. Zero: not at all, the loss is an `Unknown` error.
    pub resend_within: Duration,
    /// How long to wait for exclusive access.
    pub wait_for_access: Duration,
}

impl ProducerSettings {
    /// A shared producer of this name that sends again for a minute.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            access: AccessMode::Shared,
            max_unanswered_bytes: 16 * 1024 * 1024,
            max_unanswered_entries: 1000,
            resend_within: Duration::from_secs(60),
            wait_for_access: Duration::from_secs(60),
        }
    }
}

/// A producer. Closed at the broker when dropped.
pub struct PulsarProducer {
    brokers: Arc<Brokers>,
    partition: Partition,
    settings: ProducerSettings,
    /// `None` while it is lost.
    registration: Option<Registration>,
    unanswered: VecDeque<Sent>,
    unanswered_bytes: usize,
    last_sequence_id: i64,
    topic_epoch: Option<u64>,
    reopened: u64,
    /// Why nothing more can be sent.
    over: Option<(ErrorKind, String)>,
}

/// A producer at a broker; closed there when dropped.
struct Registration {
    connection: Arc<Connection>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connection.detach_producer(self.id);
    }
}

struct Sent {
    entry: FinishedEntry,
    /// `None` until it is sent over the present registration.
    outcome: Option<oneshot::Receiver<Published>>,
}

impl PulsarProducer {
    /// Opens a producer. Waits, within the operation's time, for the broker to let go of an earlier one of this name.
    pub(super) async fn open(brokers: Arc<Brokers>, partition: &Partition, settings: ProducerSettings) -> Result<Self> {
        // Registering a producer could make the topic.
        brokers.check_partition(partition).await?;
        let mut producer = Self {
            partition: partition.clone(),
            settings,
            registration: None,
            unanswered: VecDeque::new(),
            unanswered_bytes: 0,
            last_sequence_id: -1,
            topic_epoch: None,
            reopened: 0,
            over: None,
            brokers,
        };
        let retry = Retry::new(producer.brokers.operation_timeout());
        producer.register(retry).await?;
        Ok(producer)
    }

    /// The highest sequence id that the broker knew of this name when the producer was last registered, or that had a receipt since; -1
    /// if none.
    pub fn last_sequence_id(&self) -> i64 {
        self.last_sequence_id
    }

    /// What the broker gave with exclusive access; rises with every owner.
    pub fn topic_epoch(&self) -> Option<u64> {
        self.topic_epoch
    }

    /// How many entries have no receipt yet.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// The longest entry that can be sent, in bytes, as the broker last said.
    pub fn max_entry_bytes(&self) -> Option<usize> {
        self.registration.as_ref().map(|at| at.connection.max_message_bytes())
    }

    /// Whether one more entry of `bytes` may be on its way. Else take a [`PulsarProducer::receipt`] first.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.unanswered.is_empty()
            || (self.unanswered.len() < self.settings.max_unanswered_entries
                && self.unanswered_bytes + bytes <= self.settings.max_unanswered_bytes)
    }

    /// Puts an entry on its way; does not wait. Fails with `Invalid` for an entry that no broker takes or when there is no room.
    pub fn send(&mut self, entry: FinishedEntry) -> Result<()> {
        self.check_open()?;
        self.check(&entry)?;
        if !self.has_room(entry.bytes.len()) {
            return Err(Error::invalid("too much is on its way: take a receipt before sending more"));
        }
        self.unanswered_bytes += entry.bytes.len();
        let mut sent = Sent { entry, outcome: None };
        // Behind one that waits to be sent again nothing goes first. A broken connection is seen when the receipt is asked for.
        if self.unanswered.iter().all(|earlier| earlier.outcome.is_some())
            && let Some(at) = &self.registration
        {
            sent.outcome = put_on_its_way(at, &sent.entry).ok();
        }
        self.unanswered.push_back(sent);
        Ok(())
    }

    /// The receipt of the oldest entry on its way, which is then no longer; `None` if there is none. Gets back to the broker and sends again
    /// where that is needed and allowed. Cancel-safe.
    pub async fn receipt(&mut self) -> Result<Option<Receipt>> {
        self.check_open()?;
        loop {
            let limit = self.brokers.operation_timeout();
            let Some(first) = self.unanswered.front_mut() else { return Ok(None) };
            let lost = match &mut first.outcome {
                None => "the connection to the broker broke".to_string(),
                Some(outcome) => match tokio::time::timeout(limit, outcome).await {
                    Ok(Ok(Published::Stored(position))) => return Ok(self.answered(Receipt::Stored(position))),
                    Ok(Ok(Published::Duplicate)) => return Ok(self.answered(Receipt::Duplicate)),
                    Ok(Ok(Published::Refused(refusal)))
                        if matches!(
                            refusal.code,
                            ServerError::ChecksumError
                                | ServerError::TopicTerminatedError
                                | ServerError::NotAllowedError
                                | ServerError::IncompatibleSchema
                        ) =>
                    {
                        let doing = format!("appending to `{}`", self.partition);
                        return Err(self.end(Failure::Refused(refusal).into_error(&doing, PRODUCE)));
                    }
                    Ok(Ok(Published::Refused(refusal))) => {
                        self.cut("a publication was refused");
                        format!("the broker answered {}: {}", refusal.code.as_str_name(), first_line(&refusal.message))
                    }
                    Ok(Ok(Published::Closed(why))) => why,
                    Ok(Err(_)) => "the connection to the broker broke".to_string(),
                    Err(_) => {
                        self.cut("a publication was not answered in time");
                        format!("no receipt came within {} ms", limit.as_millis())
                    }
                },
            };
            self.lose();
            if self.settings.resend_within.is_zero() {
                return Err(self.unknown(lost));
            }
            tracing::debug!(partition = %self.partition, entries = self.unanswered.len(), lost, "sending entries again");
            let retry = Retry::patient(self.settings.resend_within);
            if let Err(error) = self.register(retry).await {
                return Err(match error.kind() {
                    ErrorKind::Fenced | ErrorKind::Denied => self.end(error),
                    _ => self.unknown(error.to_string()),
                });
            }
            let Some(at) = &self.registration else { continue };
            for sent in &mut self.unanswered {
                sent.outcome = put_on_its_way(at, &sent.entry).ok();
            }
        }
    }

    /// Waits until nothing is on its way; the receipts, in order.
    pub async fn flush(&mut self) -> Result<Vec<Receipt>> {
        let mut receipts = Vec::with_capacity(self.unanswered.len());
        while let Some(receipt) = self.receipt().await? {
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    fn check_open(&self) -> Result<()> {
        match &self.over {
            Some((kind, why)) => Err(Error::new(*kind, why.clone())),
            None => Ok(()),
        }
    }

    fn check(&self, entry: &FinishedEntry) -> Result<()> {
        let FinishedEntry { bytes, lowest, highest, messages, .. } = entry;
        if *lowest < 0 || *highest < 0 {
            return Err(Error::invalid(format!("sequence ids {lowest}..={highest} are below zero")));
        }
        if highest < lowest || *messages == 0 {
            return Err(Error::invalid(format!(
                "an entry of {messages} messages cannot have the ids {lowest}..={highest}"
            )));
        }
        if let Some(limit) = self.max_entry_bytes().filter(|limit| bytes.len() > *limit) {
            return Err(Error::invalid(format!(
                "an entry of {} bytes is over the broker's limit of {limit}: write smaller messages or batches",
                bytes.len()
            )));
        }
        if !bytes.starts_with(&[0x0e, 0x01]) {
            return Err(Error::invalid("an entry to append must begin with its checksum (0x0e01)"));
        }
        Ok(())
    }

    fn answered(&mut self, receipt: Receipt) -> Option<Receipt> {
        if let Some(sent) = self.unanswered.pop_front() {
            self.unanswered_bytes -= sent.entry.bytes.len();
            if matches!(receipt, Receipt::Stored(_)) {
                self.last_sequence_id = self.last_sequence_id.max(sent.entry.highest);
            }
        }
        Some(receipt)
    }

    /// Nothing that was sent may still be on its way behind this.
    fn cut(&mut self, why: &str) {
        if let Some(at) = &self.registration {
            at.connection.cut(why);
        }
    }

    fn lose(&mut self) {
        self.registration = None;
        self.unanswered.iter_mut().for_each(|sent| sent.outcome = None);
    }

    fn end(&mut self, error: Error) -> Error {
        self.registration = None;
        self.over = Some((error.kind(), error.to_string()));
        error
    }

    fn unknown(&mut self, why: String) -> Error {
        let why = format!(
            "appending to `{}` as `{}`: {why}: it may be stored; open the producer again and append the same bytes",
            self.partition, self.settings.name
        );
        self.end(Error::unknown(why))
    }

    async fn register(&mut self, mut retry: Retry) -> Result<()> {
        let partition = self.partition.clone();
        let name = self.settings.name.clone();
        let doing = || format!("opening producer `{name}` on `{partition}`");
        let mut schema = None;
        loop {
            let terms = ProducerTerms {
                access: self.wire_access() as i32,
                topic_epoch: self.topic_epoch,
                reopened: self.reopened,
                schema: schema.clone(),
            };
            match self.try_register(terms).await {
                Ok(()) => return Ok(()),
                // The namespace takes no producer without a schema where the topic has one: name the one it has.
                Err(Failure::Refused(refusal))
                    if refusal.code == ServerError::IncompatibleSchema && schema.is_none() =>
                {
                    schema =
                        super::schemas::newest_of(&self.brokers, &partition.topic).await?.map(|(_, schema)| schema);
                    if schema.is_none() {
                        return Err(Failure::Refused(refusal).into_error(&doing(), PRODUCE));
                    }
                }
                // Somebody else has it: waiting is what another mode is for.
                Err(Failure::Refused(refusal))
                    if refusal.code == ServerError::ProducerBusy
                        && self.settings.access == AccessMode::Exclusive
                        && self.reopened == 0 =>
                {
                    let error = Failure::Refused(refusal).into_error(&doing(), PRODUCE);
                    return Err(Error::fenced(error.to_string()));
                }
                Err(failure) => retry.after(failure, doing, PRODUCE).await?,
            }
        }
    }

    fn wire_access(&self) -> ProducerAccessMode {
        match self.settings.access {
            AccessMode::Shared => ProducerAccessMode::Shared,
            // Back with its epoch it takes the place of what the broker still believes in, and is fenced if someone newer owns the topic.
            _ if self.topic_epoch.is_some() => ProducerAccessMode::ExclusiveWithFencing,
            AccessMode::Exclusive => ProducerAccessMode::Exclusive,
            AccessMode::WaitForExclusive => ProducerAccessMode::WaitForExclusive,
            AccessMode::ExclusiveWithFencing => ProducerAccessMode::ExclusiveWithFencing,
        }
    }

    async fn try_register(&mut self, terms: ProducerTerms) -> Tried<()> {
        let topic = self.partition.to_string();
        // Who is evicted loses the whole connection: nobody else shall share it.
        let connection = match self.settings.access {
            AccessMode::Shared => self.brokers.owner(&topic).await?,
            _ => self.brokers.owner_alone(&topic).await?,
        };
        let id = connection.next_id();
        connection.attach_producer(id)?;
        let registration = Registration { connection: connection.clone(), id };
        let limit = match self.settings.access {
            AccessMode::WaitForExclusive => self.settings.wait_for_access,
            _ => self.brokers.operation_timeout(),
        };
        let name = &self.settings.name;
        let ask = |request| commands::producer(request, id, &topic, name, terms);
        match connection.request_open(limit, Resource::Producer(id), ask).await? {
            Answer::Producer { last_sequence_id, topic_epoch } => {
                self.last_sequence_id = self.last_sequence_id.max(last_sequence_id);
                self.topic_epoch = topic_epoch.or(self.topic_epoch);
                self.reopened += 1;
                self.registration = Some(registration);
                Ok(())
            }
            _ => Err(odd_answer("opening a producer", &connection).into()),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn put_on_its_way(at: &Registration, entry: &FinishedEntry) -> Tried<oneshot::Receiver<Published>> {
    // Both are known to be zero or more.
    let (low, high) = (entry.lowest as u64, entry.highest as u64);
    let head = commands::send(at.id, low, high, entry.messages, entry.chunk, entry.bytes.len());
    at.connection.publish(at.id, low, head, entry.bytes.clone())
}
