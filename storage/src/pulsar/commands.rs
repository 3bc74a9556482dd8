//! The commands we send, as frames' heads: one function each, pure.
//!
//! Topics are never made by reading, subscribing or asking for their partitions: the flags that forbid it are always sent, and a
//! broker that does not know one is not asked.

use bytes::Bytes;
use pulsar::message::proto::{
    self, BaseCommand, MessageIdData, base_command::Type, command_ack::AckType, command_subscribe::InitialPosition,
    command_subscribe::SubType,
};

use aquifer_model::{Cut, Position, SchemaVersion};

use super::auth::Credentials;
use super::frame::encode;
use super::newer::{Connect, ConnectCommand, FeatureFlags, PROTOCOL_VERSION, Partitions, PartitionsCommand};

const CLIENT_VERSION: &str = concat!("aquifer-", env!("CARGO_PKG_VERSION"));

fn command(kind: Type) -> BaseCommand {
    BaseCommand { r#type: kind as i32, ..Default::default() }
}

pub(super) fn connect(shown: Option<&Credentials>, proxy_to: Option<&str>) -> Bytes {
    let connect = Connect {
        client_version: CLIENT_VERSION.into(),
        auth_method_name: shown.map(|shown| shown.method.into()),
        auth_data: shown.map(|shown| shown.data.clone()),
        protocol_version: Some(PROTOCOL_VERSION),
        proxy_to_broker_url: proxy_to.map(Into::into),
        feature_flags: Some(FeatureFlags {
            auth_refresh: Some(true),
            broker_entry_metadata: Some(true),
            asks_without_making: Some(true),
        }),
    };
    encode(&ConnectCommand { kind: Type::Connect as i32, connect: Some(connect) }, 0)
}

/// The answer to an authentication challenge.
pub(super) fn auth_response(shown: &Credentials) -> Bytes {
    let response = proto::CommandAuthResponse {
        client_version: Some(CLIENT_VERSION.into()),
        response: Some(proto::AuthData {
            auth_method_name: Some(shown.method.into()),
            auth_data: Some(shown.data.clone()),
        }),
        protocol_version: Some(PROTOCOL_VERSION),
    };
    encode(&BaseCommand { auth_response: Some(response), ..command(Type::AuthResponse) }, 0)
}

pub(super) fn ping() -> Bytes {
    encode(&BaseCommand { ping: Some(proto::CommandPing {}), ..command(Type::Ping) }, 0)
}

/// A pong must carry its empty message: without it the broker cuts the connection.
pub(super) fn pong() -> Bytes {
    encode(&BaseCommand { pong: Some(proto::CommandPong {}), ..command(Type::Pong) }, 0)
}

pub(super) fn lookup(request: u64, topic: &str, authoritative: bool) -> Bytes {
    let lookup = proto::CommandLookupTopic {
        topic: topic.into(),
        request_id: request,
        authoritative: Some(authoritative),
        ..Default::default()
    };
    encode(&BaseCommand { lookup_topic: Some(lookup), ..command(Type::Lookup) }, 0)
}

/// Asks for the persistent topics of `tenant/namespace`.
pub(super) fn topics_of_namespace(request: u64, namespace: &str) -> Bytes {
    let asked = proto::CommandGetTopicsOfNamespace {
        request_id: request,
        namespace: namespace.into(),
        mode: Some(proto::command_get_topics_of_namespace::Mode::Persistent as i32),
        ..Default::default()
    };
    encode(&BaseCommand { get_topics_of_namespace: Some(asked), ..command(Type::GetTopicsOfNamespace) }, 0)
}

/// Asks for the partitions of a topic. A broker that does not know the flag makes the topic all the same: one that does not announce it is not asked.
pub(super) fn partitions(request: u64, topic: &str) -> Bytes {
    let body = Partitions { topic: topic.into(), request_id: request, metadata_auto_creation_enabled: Some(false) };
    encode(&PartitionsCommand { kind: Type::PartitionedMetadata as i32, partition_metadata: Some(body) }, 0)
}

/// What kind of consumer to make.
#[derive(Debug, Clone)]
pub(super) enum Subscription {
    /// Forgotten with its connection; its first entry is the one after the cut, or earlier.
    Passing { name: String, after: Cut },
    /// Forgotten with its connection, at the end: for asking only.
    Asking { name: String },
    /// Kept by the broker, made at the earliest entry. Failover, so that a new holder gets in while the broker still believes in a dead one.
    /// If it is made now, it keeps `maker` as its property [`MAKER`]. One that has no property would take it too, until its topic is unloaded.
    Durable { name: String, maker: Option<String> },
}

/// The property of a durable subscription that says which request made it.
pub(super) const MAKER: &str = "aquifer.maker";

impl Subscription {
    pub fn name(&self) -> &str {
        match self {
            Self::Passing { name, .. } | Self::Asking { name } | Self::Durable { name, .. } => name,
        }
    }
}

pub(super) fn subscribe(
    request: u64,
    consumer: u64,
    topic: &str,
    subscription: &Subscription,
    make_topic: bool,
    read_compacted: bool,
) -> Bytes {
    let (kind, durable, start, initial) = match subscription {
        Subscription::Passing { after: Cut::Start, .. } => {
            (SubType::Exclusive, false, Some(message_id(EARLIEST)), InitialPosition::Earliest)
        }
        // Behind the log's end the broker falls back to the initial position: Earliest there would replay the whole topic.
        Subscription::Passing { after: Cut::After(position), .. } => {
            (SubType::Exclusive, false, Some(message_id(*position)), InitialPosition::Latest)
        }
        Subscription::Asking { .. } => (SubType::Exclusive, false, Some(message_id(LATEST)), InitialPosition::Latest),
        Subscription::Durable { .. } => (SubType::Failover, true, None, InitialPosition::Earliest),
    };
    let properties = match subscription {
        Subscription::Durable { maker: Some(maker), .. } => {
            vec![proto::KeyValue { key: MAKER.into(), value: maker.clone() }]
        }
        _ => Vec::new(),
    };
    let subscribe = proto::CommandSubscribe {
        topic: topic.into(),
        subscription: subscription.name().into(),
        sub_type: kind as i32,
        consumer_id: consumer,
        request_id: request,
        consumer_name: Some(format!("aquifer-{consumer}")),
        durable: Some(durable),
        start_message_id: start,
        read_compacted: Some(read_compacted && matches!(subscription, Subscription::Passing { .. })),
        initial_position: Some(initial as i32),
        force_topic_creation: Some(make_topic),
        subscription_properties: properties,
        ..Default::default()
    };
    encode(&BaseCommand { subscribe: Some(subscribe), ..command(Type::Subscribe) }, 0)
}

/// Before everything: ledger and entry -1.
const EARLIEST: Position = Position::new(u64::MAX, u64::MAX);
/// After everything: the largest i64 twice.
const LATEST: Position = Position::new(i64::MAX as u64, i64::MAX as u64);

fn message_id(position: Position) -> MessageIdData {
    MessageIdData { ledger_id: position.ledger, entry_id: position.entry, ..Default::default() }
}

pub(super) fn flow(consumer: u64, permits: u32) -> Bytes {
    let flow = proto::CommandFlow { consumer_id: consumer, message_permits: permits };
    encode(&BaseCommand { flow: Some(flow), ..command(Type::Flow) }, 0)
}

/// Everything up to `position` is done with; asks for a receipt.
pub(super) fn acknowledge(request: u64, consumer: u64, position: Position) -> Bytes {
    let ack = proto::CommandAck {
        consumer_id: consumer,
        ack_type: AckType::Cumulative as i32,
        message_id: vec![message_id(position)],
        request_id: Some(request),
        ..Default::default()
    };
    encode(&BaseCommand { ack: Some(ack), ..command(Type::Ack) }, 0)
}

pub(super) fn last_message_id(request: u64, consumer: u64) -> Bytes {
    let ask = proto::CommandGetLastMessageId { consumer_id: consumer, request_id: request };
    encode(&BaseCommand { get_last_message_id: Some(ask), ..command(Type::GetLastMessageId) }, 0)
}

pub(super) fn close_consumer(request: u64, consumer: u64) -> Bytes {
    let close = proto::CommandCloseConsumer { consumer_id: consumer, request_id: request };
    encode(&BaseCommand { close_consumer: Some(close), ..command(Type::CloseConsumer) }, 0)
}

/// What a producer is opened with beside its name.
#[derive(Debug, Clone, Default)]
pub(super) struct ProducerTerms {
    pub access: i32,
    /// As given by the broker before; never one that was not given.
    pub topic_epoch: Option<u64>,
    /// How often it was opened before.
    pub reopened: u64,
    pub schema: Option<proto::Schema>,
}

pub(super) fn producer(request: u64, producer: u64, topic: &str, name: &str, terms: ProducerTerms) -> Bytes {
    let open = proto::CommandProducer {
        topic: topic.into(),
        producer_id: producer,
        request_id: request,
        producer_name: Some(name.into()),
        user_provided_producer_name: Some(true),
        schema: terms.schema,
        epoch: Some(terms.reopened),
        producer_access_mode: Some(terms.access),
        topic_epoch: terms.topic_epoch,
        ..Default::default()
    };
    encode(&BaseCommand { producer: Some(open), ..command(Type::Producer) }, 0)
}

pub(super) fn close_producer(request: u64, producer: u64) -> Bytes {
    let close = proto::CommandCloseProducer { producer_id: producer, request_id: request };
    encode(&BaseCommand { close_producer: Some(close), ..command(Type::CloseProducer) }, 0)
}

/// The head of a frame whose entry of `entry_length` bytes follows. The highest id is always set: the broker moves its mark by it.
pub(super) fn send(
    producer: u64,
    lowest: u64,
    highest: u64,
    messages: u32,
    is_chunk: bool,
    entry_length: usize,
) -> Bytes {
    let send = proto::CommandSend {
        producer_id: producer,
        sequence_id: lowest,
        num_messages: Some(i32::try_from(messages).unwrap_or(i32::MAX)),
        highest_sequence_id: Some(highest),
        is_chunk: is_chunk.then_some(true),
        ..Default::default()
    };
    encode(&BaseCommand { send: Some(send), ..command(Type::Send) }, entry_length)
}

pub(super) fn get_schema(request: u64, topic: &str, version: Option<&SchemaVersion>) -> Bytes {
    let ask = proto::CommandGetSchema {
        request_id: request,
        topic: topic.into(),
        schema_version: version.map(|version| version.0.clone()),
    };
    encode(&BaseCommand { get_schema: Some(ask), ..command(Type::GetSchema) }, 0)
}

pub(super) fn put_schema(request: u64, topic: &str, schema: proto::Schema) -> Bytes {
    let put = proto::CommandGetOrCreateSchema { request_id: request, topic: topic.into(), schema };
    encode(&BaseCommand { get_or_create_schema: Some(put), ..command(Type::GetOrCreateSchema) }, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn decoded(mut frame: Bytes) -> BaseCommand {
        use bytes::Buf;
        assert_eq!(frame.get_u32() as usize, frame.len());
        assert_eq!(frame.get_u32() as usize, frame.len());
        BaseCommand::decode(frame).expect("a command")
    }

    #[test]
    fn a_pong_carries_its_empty_message() {
        assert_eq!(pong()[8..], [0x08, 0x13, 0x9a, 0x01, 0x00]);
    }

    #[test]
    fn the_greeting_names_its_version_and_what_we_can_do() {
        let shown = Credentials { method: "token", data: b"t".to_vec() };
        let frame = connect(Some(&shown), Some("b:1"));
        // Flags 1, 2 and 5, each true, stand last.
        assert!(frame.ends_with(&[0x52, 6, 0x08, 1, 0x10, 1, 0x28, 1]), "{frame:?}");
        let said = decoded(frame).connect.expect("a body");
        assert_eq!((said.protocol_version, said.proxy_to_broker_url.as_deref()), (Some(21), Some("b:1")));
        assert_eq!((said.auth_method_name(), said.auth_data()), ("token", &b"t"[..]));
        let flags = said.feature_flags.expect("flags");
        assert_eq!((flags.supports_auth_refresh, flags.supports_broker_entry_metadata), (Some(true), Some(true)));
    }

    #[test]
    fn asking_for_partitions_never_makes_a_topic() {
        let frame = partitions(7, "t");
        let asked = decoded(frame.clone());
        assert_eq!(asked.r#type, Type::PartitionedMetadata as i32);
        let body = asked.partition_metadata.expect("a body");
        assert_eq!((body.topic.as_str(), body.request_id), ("t", 7));
        assert!(frame.ends_with(&[0x30, 0x00]), "field 6, false");
    }

    #[test]
    fn a_reader_that_starts_after_a_position_never_falls_back_to_the_earliest() {
        let name = "r".to_string();
        let after = Subscription::Passing { name: name.clone(), after: Cut::After(Position::new(3, 4)) };
        let body = decoded(subscribe(1, 2, "t", &after, false, false)).subscribe.expect("a body");
        assert_eq!(body.initial_position, Some(InitialPosition::Latest as i32));
        assert_eq!(body.start_message_id.map(|id| (id.ledger_id, id.entry_id)), Some((3, 4)));
        assert_eq!((body.durable, body.force_topic_creation), (Some(false), Some(false)));
        let start = Subscription::Passing { name, after: Cut::Start };
        let body = decoded(subscribe(1, 2, "t", &start, false, true)).subscribe.expect("a body");
        assert_eq!(body.initial_position, Some(InitialPosition::Earliest as i32));
        assert_eq!(body.read_compacted, Some(true));
    }

    #[test]
    fn a_send_names_both_ends_of_its_sequence_ids() {
        let mut frame = send(1, 10, 19, 10, false, 100);
        use bytes::Buf;
        assert_eq!(frame.get_u32() as usize, frame.len() + 100);
        frame.advance(4);
        let body = BaseCommand::decode(frame).expect("a command").send.expect("a body");
        assert_eq!((body.sequence_id, body.highest_sequence_id, body.num_messages), (10, Some(19), Some(10)));
    }
}
