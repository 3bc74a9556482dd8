//! The brokers of a cluster: one shared connection each, found by lookup.
//!
//! ```text
//!  topic ──lookup──► service URL's brokers ──redirect──► … ──connect──► the broker that serves it
//! ```
//!
//! A connection that broke is replaced when it is next asked for. A broker that cannot be reached fails at once, with its address
//! and the cause; only what passes by itself ("not ready") is waited for, within the operation's time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aquifer_formats::chunked::ChunkBounds;
use aquifer_model::{Cut, Error, ErrorKind, Partition, Position, Result, TopicName};
use pulsar::message::proto::ServerError;

use super::admin::Admin;
use super::auth::Authenticator;
use super::commands;
use super::config::{EncryptedMessages, PulsarConfig, ServiceUrl};
use super::connection::{ConnectOptions, Connection, Target};
use super::failure::{Failure, Refusal, Tried};
use super::session::Answer;
use super::shared::Shared;
use super::window::{Window, Windows};

const MAX_REDIRECTS: usize = 20;

/// How partitions are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub compacted: bool,
    pub encrypted: EncryptedMessages,
    pub chunks: ChunkBounds,
}

#[derive(Debug)]
pub(super) struct Brokers {
    options: Arc<ConnectOptions>,
    reading: Reading,
    windows: Arc<Windows>,
    /// As configured; if absent the admin API is asked, once.
    configured: Option<Arc<ServiceUrl>>,
    discovered: Shared<Arc<ServiceUrl>>,
    /// The place among the service URL's hosts of the one that last let us in: who is asked first.
    first_host: AtomicUsize,
    admin: Arc<Admin>,
    connections: Mutex<HashMap<Target, Arc<Shared<Arc<Connection>>>>>,
}

impl Brokers {
    pub fn new(
        config: &PulsarConfig,
        configured: Option<ServiceUrl>,
        admin: Arc<Admin>,
        authenticator: Arc<Authenticator>,
    ) -> Self {
        let options = ConnectOptions {
            authenticator,
            tls: config.tls.clone(),
            connect_timeout: config.connect_timeout,
            operation_timeout: config.operation_timeout,
            keep_alive: config.keep_alive,
            max_frame_bytes: config.max_frame_bytes,
        };
        let reading = Reading { compacted: config.read_compacted, encrypted: config.encrypted, chunks: config.chunks };
        Self {
            options: Arc::new(options),
            reading,
            windows: Arc::new(Windows::new(config.read_ahead_bytes)),
            configured: configured.map(Arc::new),
            discovered: Shared::default(),
            first_host: AtomicUsize::new(0),
            admin,
            connections: Mutex::default(),
        }
    }

    pub fn operation_timeout(&self) -> Duration {
        self.options.operation_timeout
    }

    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// What another reader asks for in advance.
    pub fn window(&self) -> Window {
        self.windows.open()
    }

    /// A cut about `entries` entries before `position`: as the list of ledgers has it, or where that may not be read in its own ledger.
    pub async fn look_back(&self, partition: &Partition, position: Position, entries: u64) -> Cut {
        let ledgers = self.admin.ledgers(partition).await.unwrap_or_default();
        let mut missing = entries;
        if position.entry > missing {
            return Cut::After(Position::new(position.ledger, position.entry - missing - 1));
        }
        missing -= position.entry;
        for ledger in ledgers.iter().rev().filter(|ledger| ledger.id < position.ledger) {
            if ledger.entries > missing {
                return Cut::After(Position::new(ledger.id, ledger.entries - missing - 1));
            }
            missing -= ledger.entries;
        }
        match ledgers.first() {
            Some(_) => Cut::Start,
            // Before its own ledger's first entry the broker starts at that.
            None => Cut::After(Position::new(position.ledger.saturating_sub(1), 0)),
        }
    }

    async fn service(&self) -> Result<Arc<ServiceUrl>> {
        match &self.configured {
            Some(service) => Ok(service.clone()),
            None => {
                let admin = Arc::clone(&self.admin);
                self.discovered.get(|_| true, async move { admin.service_url().await.map(Arc::new) }).await
            }
        }
    }

    /// The shared connection to `target`, made if there is none.
    async fn connection(&self, target: &Target) -> Result<Arc<Connection>> {
        let shared = {
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            connections.entry(target.clone()).or_default().clone()
        };
        let (target, options) = (target.clone(), Arc::clone(&self.options));
        shared.get(|connection| !connection.is_closed(), async move { Connection::open(&target, &options).await }).await
    }

    /// A connection to any broker of the service URL, for what any broker can answer: the one that last let us in, if it still does. A host that
    /// does not answer is so paid for once and not at each question.
    pub async fn any(&self) -> Result<Arc<Connection>> {
        let mut last = None;
        let service = self.service().await?;
        let first = self.first_host.load(Ordering::Relaxed);
        for place in (0..service.hosts.len()).map(|step| (first + step) % service.hosts.len()) {
            let dial = service.hosts[place].clone();
            match self.connection(&Target { dial, tls: service.tls, behind: None }).await {
                Ok(connection) => {
                    self.first_host.store(place, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::invalid("the service URL names no broker")))
    }

    /// A connection to the broker that serves `topic` now.
    pub async fn owner(&self, topic: &str) -> Tried<Arc<Connection>> {
        let target = self.find_owner(topic).await?;
        Ok(self.connection(&target).await?)
    }

    /// A connection to the broker that serves `topic` now that nobody else uses.
    pub async fn owner_alone(&self, topic: &str) -> Tried<Arc<Connection>> {
        let target = self.find_owner(topic).await?;
        Ok(Connection::open(&target, &self.options).await?)
    }

    async fn find_owner(&self, topic: &str) -> Tried<Target> {
        let tls = self.service().await?.tls;
        let mut connection = self.any().await?;
        let mut authoritative = false;
        for _ in 0..MAX_REDIRECTS {
            let asked = authoritative;
            let answer = connection.request(|request| commands::lookup(request, topic, asked)).await?;
            let Answer::Lookup { url, tls_url, redirect, authoritative: sure, proxied } = answer else {
                return Err(odd_answer("a lookup", &connection).into());
            };
            let Some(url) = (if tls { tls_url } else { url }) else {
                let text = if tls {
                    "the broker names no TLS address for it: give it one (brokerServicePortTls) or use pulsar://"
                } else {
                    "the broker names only a TLS address for it: use pulsar+ssl://"
                };
                return Err(Error::invalid(text).into());
            };
            let named = url.parse::<ServiceUrl>()?.hosts;
            let Some(broker) = named.into_iter().next() else {
                return Err(odd_answer("a lookup", &connection).into());
            };
            let target = if proxied {
                Target { dial: connection.dialled().to_string(), tls, behind: Some(broker) }
            } else {
                Target { dial: broker, tls, behind: None }
            };
            if !redirect {
                return Ok(target);
            }
            connection = self.connection(&target).await?;
            authoritative = sure;
        }
        Err(Error::unavailable(format!("looking up `{topic}`: more than {MAX_REDIRECTS} redirects")).into())
    }

    /// How many partitions `topic` has; 0 if it is there and not partitioned. Fails with `TopicNotFound` if it is not there. Never makes it: an older
    /// broker, which would, is not asked but the admin API.
    async fn partition_count(&self, topic: &TopicName) -> Tried<u32> {
        let connection = self.any().await?;
        if !connection.asks_without_making() {
            let missing = || Refusal::new(ServerError::TopicNotFound as i32, "the admin API knows no such topic");
            return self.admin.partition_count(topic).await?.ok_or_else(|| Failure::Refused(missing()));
        }
        let name = topic.to_string();
        match connection.request(|request| commands::partitions(request, &name)).await? {
            Answer::Partitions(count) => Ok(count),
            _ => Err(odd_answer("partition metadata", &connection).into()),
        }
    }

    /// The topics of `tenant/namespace` that somebody uses, each partition by itself.
    pub async fn topics_of_namespace(&self, tenant: &str, namespace: &str) -> Result<Vec<String>> {
        let place = format!("{tenant}/{namespace}");
        let mut retry = Retry::new(self.operation_timeout());
        loop {
            let connection = self.any().await?;
            match connection.request(|request| commands::topics_of_namespace(request, &place)).await {
                Ok(Answer::Topics(names)) => return Ok(names),
                Ok(_) => return Err(odd_answer("a list of topics", &connection)),
                Err(failure) => retry.after(failure, || format!("listing the topics of `{place}`"), LIST).await?,
            }
        }
    }

    /// Refuses a partition that is not there.
    pub async fn check_partition(&self, partition: &Partition) -> Result<()> {
        let count = self.count_partitions(&partition.topic).await?;
        match (partition.index, count) {
            (None, 0) => Ok(()),
            (Some(index), count) if index < count => Ok(()),
            (None, count) => Err(Error::invalid(format!(
                "topic `{}` has {count} partitions and no log of its own: name one of its partitions",
                partition.topic
            ))),
            (Some(_), 0) => Err(Error::invalid(format!("topic `{}` is not partitioned", partition.topic))),
            (Some(_), count) => {
                Err(Error::invalid(format!("`{partition}` is not there: the topic has {count} partitions")))
            }
        }
    }

    /// [`Brokers::partition_count`] as an operation of its own: tried again while that may help.
    pub async fn count_partitions(&self, topic: &TopicName) -> Result<u32> {
        let mut retry = Retry::new(self.operation_timeout());
        loop {
            match self.partition_count(topic).await {
                Ok(count) => return Ok(count),
                Err(failure) => {
                    retry.after(failure, || format!("asking for the partitions of `{topic}`"), LOOKUP).await?
                }
            }
        }
    }
}

/// The right that a lookup needs.
pub(super) const LOOKUP: &str = "the right to look up this topic (grant it `consume` or `produce`)";
/// The right that listing topics needs.
const LIST: &str = "the right to list the namespace's topics (grant it `consume` on the namespace)";
/// The right that reading needs.
pub(super) const CONSUME: &str = "the right to read this topic (grant it `consume`)";
/// The right that writing needs.
pub(super) const PRODUCE: &str = "the right to write to this topic (grant it `produce`)";

pub(super) fn odd_answer(asked: &str, connection: &Connection) -> Error {
    Error::unavailable(format!("the broker at `{}` gave another answer than one to {asked}", connection.address()))
}

/// Trying again what may pass, with growing pauses, until a deadline.
#[derive(Debug)]
pub(super) struct Retry {
    deadline: Instant,
    pause: Duration,
    patient: bool,
}

impl Retry {
    pub fn new(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, pause: Duration::from_millis(20), patient: false }
    }

    /// One that also waits for a broker that cannot be reached, or that failed in a way it has no code for: for what was open already.
    pub fn patient(limit: Duration) -> Self {
        Self { patient: true, ..Self::new(limit) }
    }

    /// Waits before the next try, or gives the failure as an error. A broker that has already used up the time is not tried
    /// again, and unless patient one that cannot be reached neither.
    pub async fn after(&mut self, failure: Failure, doing: impl FnOnce() -> String, right: &str) -> Result<()> {
        let again = match &failure {
            Failure::Refused(refusal) => refusal.passes() || (self.patient && failure.has_no_code()),
            Failure::Broken { .. } => true,
            Failure::Final(error) => self.patient && error.kind() == ErrorKind::Unavailable,
            Failure::TimedOut { .. } => false,
        };
        if !again || Instant::now() + self.pause >= self.deadline {
            return Err(failure.into_error(&doing(), right));
        }
        tokio::time::sleep(jittered(self.pause)).await;
        self.pause = (self.pause * 2).min(Duration::from_secs(1));
        Ok(())
    }
}

/// A pause between half of `pause` and all of it, so that those who were cut together do not come back together.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}
