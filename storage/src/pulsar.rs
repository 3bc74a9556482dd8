//! A Pulsar cluster as a log: a small session of our own over the broker's protocol, and its admin API.
//!
//! ```text
//!  PulsarLog ─┬─ brokers ── lookup ── connection (one a broker, shared) ── session ── frame
//!             │      └─ consumer ── reader, pin        └─ producer ── appender
//!             └─ admin ── facts        identity, ledgers, policies, names
//! ```
//!
//! Entries pass through as the broker stores them: nothing in here reads a message. Making a [`PulsarLog`] connects to nothing; the
//! first use does. Reading, writing and schemas need topic rights only; identity, ledgers, pins' positions, policies and all
//! that makes or lists things go over the admin API. No type of the protocol leaves this module.

mod admin;
mod appender;
mod auth;
mod bounded;
mod brokers;
mod commands;
mod config;
mod connection;
mod consumer;
mod facts;
mod failure;
mod flow;
mod frame;
mod intake;
mod namespace_policies;
mod newer;
mod pin;
mod producer;
mod queue;
mod reader;
mod schemas;
mod session;
mod shared;
mod slabs;
mod tls;
mod transport;
mod window;

use std::sync::Arc;

use async_trait::async_trait;

use aquifer_model::{
    Cut, Error, ErrorKind, Partition, Position, Result, SchemaVersion, TopicIdentity, TopicName, TopicSchema,
};

use self::admin::Admin;
use self::auth::Authenticator;
use self::brokers::{Brokers, CONSUME, Retry};
use self::commands::Subscription;
use self::config::{ServiceUrl, parse_admin_url};
use self::consumer::Consumer;
use crate::log::{Appender, EntryReader, LedgerInfo, Log, MAX_PARTITIONS, NamespacePolicies, Pin, Policies};

/// How many whole frames of a connection, none longer than `limit` bytes, stand at the front of `bytes`; they are taken off. Fails at what is no frame.
/// For whoever tests with bytes of their own.
pub fn count_frames(bytes: &mut bytes::BytesMut, limit: usize) -> aquifer_model::Result<usize> {
    let mut decoder = frame::FrameDecoder::new(limit);
    let mut count = 0;
    while let Some(_frame) = decoder.decode(bytes).map_err(|error| aquifer_model::Error::corrupt(error.to_string()))? {
        count += 1;
    }
    Ok(count)
}

/// What a connection makes of a broker's bytes that come so many at a time: what it tells, one text each, and why it ended, if it did. No frame is longer than
/// `limit` bytes. For whoever tests with bytes of their own.
pub fn session_events(bytes: &[u8], piece: usize, limit: usize) -> (Vec<String>, Option<String>) {
    let now = std::time::Instant::now();
    let mut session = session::Session::new(None, None, Some(limit), session::KEEP_ALIVE, now);
    let (mut buffer, mut events, mut end) = (bytes::BytesMut::new(), Vec::new(), None);
    for piece in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        if let Err(error) = session.on_bytes(now, &mut buffer, &mut events) {
            end = Some(error.to_string());
            break;
        }
        session.output().clear();
    }
    (events.iter().map(|event| format!("{event:?}")).collect(), end)
}

pub use self::auth::{Authentication, OAuth2Client, OAuth2Settings, plugin_kind};
pub use self::config::{EncryptedMessages, PulsarConfig, TokenSource};
pub use self::producer::{AccessMode, ProducerSettings, PulsarProducer};
pub use self::tls::TlsSettings;

/// A Pulsar cluster. Cheap to make, to be shared; its connections end with it and what it opened.
#[derive(Debug)]
pub struct PulsarLog {
    address: String,
    brokers: Arc<Brokers>,
    admin: Arc<Admin>,
}

impl PulsarLog {
    /// The log at these addresses; connects to nothing. Fails with `Invalid` if none is given or one cannot be read.
    pub fn new(config: PulsarConfig) -> Result<Self> {
        let service = config.service_url.as_deref().map(str::parse::<ServiceUrl>).transpose()?;
        let base = match (&config.admin_url, &service) {
            (Some(url), _) => parse_admin_url(url)?,
            (None, Some(service)) => parse_admin_url(&service.assumed_admin_url())?,
            (None, None) => {
                return Err(Error::invalid("a Pulsar log needs 'service-url' or 'admin-url': neither is given"));
            }
        };
        let authenticator = Arc::new(Authenticator::new(&config));
        let admin = Arc::new(Admin::new(base, &config, authenticator.clone()));
        let address = service.as_ref().map_or_else(|| admin.address(), ServiceUrl::to_string);
        let brokers = Arc::new(Brokers::new(&config, service, admin.clone(), authenticator));
        Ok(Self { address, brokers, admin })
    }

    /// A producer of its own: pipelined, sending again after a cut, with exclusive access if asked for. Fails with `Fenced` where exclusive
    /// access is refused because somebody has it.
    pub async fn open_producer(&self, partition: &Partition, settings: ProducerSettings) -> Result<PulsarProducer> {
        PulsarProducer::open(self.brokers.clone(), partition, settings).await
    }

    /// A consumer for a reader or a question, tried again while that may help.
    async fn consumer(&self, partition: &Partition, subscription: &Subscription, doing: &str) -> Result<Consumer> {
        let mut retry = Retry::new(self.brokers.operation_timeout());
        loop {
            match Consumer::open(&self.brokers, partition, subscription).await {
                Ok(consumer) => return Ok(consumer),
                Err(failure) => retry.after(failure, || format!("{doing} `{partition}`"), CONSUME).await?,
            }
        }
    }
}

/// The partitions of a topic of which the broker says that it has so many.
fn partitions_of(topic: &TopicName, count: u32) -> Result<Vec<Partition>> {
    match count {
        0 => Ok(vec![Partition::new(topic.clone(), None)]),
        1..=MAX_PARTITIONS => Ok((0..count).map(|index| Partition::new(topic.clone(), Some(index))).collect()),
        _ => Err(Error::unsupported(format!(
            "listing the partitions of `{topic}`: it has {count}, and at most {MAX_PARTITIONS} are read or written here: use a topic with fewer"
        ))),
    }
}

#[async_trait]
impl Log for PulsarLog {
    async fn partitions(&self, topic: &TopicName) -> Result<Vec<Partition>> {
        partitions_of(topic, self.brokers.count_partitions(topic).await?)
    }

    async fn create_topic(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        self.admin.create_topic(topic, partitions).await
    }

    async fn delete_topic(&self, topic: &TopicName) -> Result<()> {
        let partitioned = self.brokers.count_partitions(topic).await? > 0;
        self.admin.delete_topic(topic, partitioned).await
    }

    async fn topics(&self, tenant: &str, namespace: &str) -> Result<Vec<TopicName>> {
        let refused = match self.admin.topics(tenant, namespace).await {
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unavailable) => error,
            outcome => return outcome,
        };
        // The brokers themselves may be allowed to tell, and be there where the admin API is not.
        match self.brokers.topics_of_namespace(tenant, namespace).await {
            Ok(names) => Ok(facts::topics_of_names(&names)),
            Err(error) if error.kind() == ErrorKind::Denied => Err(error),
            Err(_) => Err(refused),
        }
    }

    async fn namespaces(&self) -> Result<Vec<(String, String)>> {
        self.admin.namespaces().await
    }

    async fn create_namespace(&self, tenant: &str, namespace: &str) -> Result<()> {
        self.admin.create_namespace(tenant, namespace).await
    }

    async fn delete_namespace(&self, tenant: &str, namespace: &str) -> Result<()> {
        self.admin.delete_namespace(tenant, namespace).await
    }

    async fn set_namespace_policies(&self, tenant: &str, namespace: &str, policies: &NamespacePolicies) -> Result<()> {
        self.admin.set_namespace_policies(tenant, namespace, policies).await
    }

    async fn namespace_policies(&self, tenant: &str, namespace: &str) -> Result<NamespacePolicies> {
        self.admin.namespace_policies(tenant, namespace).await
    }

    async fn open_reader(&self, partition: &Partition, after: Cut) -> Result<Box<dyn EntryReader>> {
        let consumer = self.consumer(partition, &reader::passing(after), "opening a reader of").await?;
        Ok(Box::new(reader::PulsarReader::new(self.brokers.clone(), partition.clone(), after, consumer)))
    }

    async fn last_position(&self, partition: &Partition) -> Result<Option<Position>> {
        let doing = "asking for the last entry of";
        let mut retry = Retry::new(self.brokers.operation_timeout());
        loop {
            let asking = Subscription::Asking { name: reader::passing_name() };
            let consumer = self.consumer(partition, &asking, doing).await?;
            match consumer.last_position().await {
                Ok(position) => return Ok(position),
                Err(failure) => retry.after(failure, || format!("{doing} `{partition}`"), CONSUME).await?,
            }
        }
    }

    async fn open_appender(&self, partition: &Partition, producer_name: &str) -> Result<Box<dyn Appender>> {
        Ok(Box::new(appender::PulsarAppender::open(self.brokers.clone(), partition, producer_name).await?))
    }

    async fn open_pin(&self, partition: &Partition, name: &str) -> Result<Box<dyn Pin>> {
        Ok(Box::new(pin::PulsarPin::open(self.brokers.clone(), self.admin.clone(), partition, name).await?))
    }

    async fn find_pin(&self, partition: &Partition, name: &str) -> Result<Option<Cut>> {
        self.brokers.check_partition(partition).await?;
        // Neither a partition that nobody has used yet nor one without this subscription has the pin.
        self.admin.find_mark(partition, name).await
    }

    async fn remove_pin(&self, partition: &Partition, name: &str) -> Result<()> {
        self.brokers.check_partition(partition).await?;
        self.admin.remove_subscription(partition, name).await
    }

    async fn ledgers(&self, partition: &Partition) -> Result<Vec<LedgerInfo>> {
        self.brokers.check_partition(partition).await?;
        self.admin.ledgers(partition).await
    }

    async fn identity(&self, topic: &TopicName) -> Result<TopicIdentity> {
        let partitioned = self.brokers.count_partitions(topic).await? > 0;
        self.admin.identity(topic, partitioned).await
    }

    async fn policies(&self, topic: &TopicName) -> Result<Policies> {
        self.brokers.count_partitions(topic).await?;
        let announced = self.brokers.any().await?.max_message_bytes();
        self.admin.policies(topic, announced).await
    }

    async fn schema(
        &self,
        topic: &TopicName,
        version: Option<&SchemaVersion>,
    ) -> Result<Option<(SchemaVersion, TopicSchema)>> {
        schemas::find(&self.brokers, topic, version).await
    }

    async fn put_schema(&self, topic: &TopicName, schema: &TopicSchema) -> Result<SchemaVersion> {
        schemas::register(&self.brokers, topic, schema).await
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_partitions_beyond_all_reason_is_refused_before_they_are_listed() {
        let topic: TopicName = "t".parse().expect("a name");
        let indexes = |count| {
            let listed = partitions_of(&topic, count).expect("so many are listed");
            listed.iter().map(|partition| partition.index).collect::<Vec<_>>()
        };
        assert_eq!(indexes(0), [None::<u32>]);
        assert_eq!(indexes(2), [Some(0), Some(1)]);
        assert_eq!(indexes(MAX_PARTITIONS).len(), 10_000);
        for count in [MAX_PARTITIONS + 1, u32::MAX] {
            let error = partitions_of(&topic, count).expect_err("too many");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(&format!("it has {count}, and at most 10000")), "{error}");
        }
    }

    #[test]
    fn making_a_log_connects_to_nothing() {
        let config = |service: Option<&str>, admin: Option<&str>| PulsarConfig {
            service_url: service.map(Into::into),
            admin_url: admin.map(Into::into),
            ..Default::default()
        };
        let log = PulsarLog::new(config(Some("pulsar://nowhere.invalid:6650"), None)).expect("made");
        assert_eq!(log.address(), "pulsar://nowhere.invalid:6650");
        assert_eq!(log.admin.address(), "http://nowhere.invalid:8080");
        let log = PulsarLog::new(config(None, Some("localhost:9092"))).expect("made");
        assert_eq!(log.address(), "http://localhost:9092");
        assert_eq!(PulsarLog::new(config(None, None)).expect_err("refused").kind(), ErrorKind::Invalid);
        let log = PulsarLog::new(config(Some("pulsar+ssl://h:1"), None)).expect("made");
        assert_eq!((log.address(), log.admin.address()), ("pulsar+ssl://h:1".into(), "https://h:8443".into()));
    }
}
