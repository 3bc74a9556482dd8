//! Against a scripted broker on a socket: what is torn, redirected, closed or silent.

use std::sync::atomic::AtomicUsize;

use prost::Message;
use pulsar::message::proto::{self, BaseCommand, base_command::Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

mod hosts;
mod moves;
mod peers;

use super::*;
use crate::log::{FinishedEntry, Log, Receipt};
use crate::pulsar::frame::{Command, Frame, FrameDecoder, encode};
use crate::pulsar::newer::{Connected, FeatureFlags, NewerCommand};
use crate::pulsar::{ProducerSettings, PulsarConfig, PulsarLog};
use aquifer_model::{Cut, ErrorKind, Partition, Position};

fn command(kind: Type) -> BaseCommand {
    BaseCommand { r#type: kind as i32, ..Default::default() }
}

/// The broker's end of one connection.
struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let mut peer = Self::accept_silently(listener).await;
        peer.greets().await;
        peer
    }

    /// Hears a greeting, and does not answer it.
    async fn accept_silently(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut peer = Self { stream, buffer: BytesMut::new() };
        assert!(peer.hears().await.connect.is_some());
        peer
    }

    async fn greets(&mut self) {
        self.greets_with(Some(FeatureFlags { asks_without_making: Some(true), ..Default::default() })).await;
    }

    async fn greets_with(&mut self, feature_flags: Option<FeatureFlags>) {
        let connected = Connected { server_version: "s".into(), max_message_size: None, feature_flags };
        let kind = Type::Connected as i32;
        self.says(NewerCommand { kind, connected: Some(connected), topic_migrated: None }, b"").await;
    }

    async fn hears(&mut self) -> Box<BaseCommand> {
        self.hears_all().await.0
    }

    async fn hears_all(&mut self) -> (Box<BaseCommand>, Bytes) {
        let Frame { command, payload } = self.try_hear().await.expect("the client is there");
        match command {
            Command::Other(command) => (command, payload),
            message => unreachable!("{message:?}"),
        }
    }

    async fn try_hear(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = FrameDecoder::new(10 << 20).decode(&mut self.buffer).expect("a frame") {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Byte by byte at first, so that frames come torn.
    async fn says(&mut self, command: impl Message, payload: &[u8]) {
        let mut bytes = encode(&command, payload.len()).to_vec();
        bytes.extend_from_slice(payload);
        let (torn, rest) = bytes.split_at(bytes.len().min(9));
        for byte in torn {
            self.stream.write_all(&[*byte]).await.expect("written");
        }
        self.stream.write_all(rest).await.expect("written");
    }

    async fn succeeds(&mut self, request_id: u64) {
        let success = proto::CommandSuccess { request_id, schema: None };
        self.says(BaseCommand { success: Some(success), ..command(Type::Success) }, b"").await;
    }

    async fn gives(&mut self, consumer: u64, entry: u64, payload: &[u8]) {
        let message_id = proto::MessageIdData { ledger_id: 1, entry_id: entry, ..Default::default() };
        let message = proto::CommandMessage { consumer_id: consumer, message_id, ..Default::default() };
        self.says(BaseCommand { message: Some(message), ..command(Type::Message) }, payload).await;
    }

    /// Answers a lookup with `url`.
    async fn points_to(&mut self, lookup: proto::CommandLookupTopic, url: &str, redirect: bool) {
        use proto::command_lookup_topic_response::LookupType;
        let response = proto::CommandLookupTopicResponse {
            broker_service_url: Some(url.into()),
            response: Some(if redirect { LookupType::Redirect } else { LookupType::Connect } as i32),
            request_id: lookup.request_id,
            authoritative: Some(redirect),
            ..Default::default()
        };
        self.says(BaseCommand { lookup_topic_response: Some(response), ..command(Type::LookupResponse) }, b"").await;
    }

    /// Serves lookups (pointing to itself) and one subscription; gives its start and consumer id.
    async fn serves_a_reader(&mut self, url: &str) -> (Option<proto::MessageIdData>, u64) {
        let subscribe = self.hears_subscribe(url).await;
        self.succeeds(subscribe.request_id).await;
        (subscribe.start_message_id, subscribe.consumer_id)
    }

    /// Serves lookups (pointing to `url`) until a subscription is asked for.
    async fn hears_subscribe(&mut self, url: &str) -> proto::CommandSubscribe {
        loop {
            let heard = self.hears().await;
            if let Some(lookup) = heard.lookup_topic {
                self.points_to(lookup, url, false).await;
            } else if let Some(subscribe) = heard.subscribe {
                return subscribe;
            }
        }
    }

    async fn closes_consumer(&mut self, consumer_id: u64) {
        let close = proto::CommandCloseConsumer { consumer_id, request_id: 0 };
        self.says(BaseCommand { close_consumer: Some(close), ..command(Type::CloseConsumer) }, b"").await;
    }

    async fn closes_producer(&mut self, producer_id: u64) {
        let close = proto::CommandCloseProducer { producer_id, request_id: 0 };
        self.says(BaseCommand { close_producer: Some(close), ..command(Type::CloseProducer) }, b"").await;
    }

    /// Answers a partition question, else does nothing; whether it was one.
    async fn answers_partitions(&mut self, heard: &BaseCommand) -> bool {
        let Some(asked) = &heard.partition_metadata else { return false };
        let response = proto::CommandPartitionedTopicMetadataResponse {
            partitions: Some(0),
            request_id: asked.request_id,
            response: Some(0),
            ..Default::default()
        };
        let kind = Type::PartitionedMetadataResponse;
        self.says(BaseCommand { partition_metadata_response: Some(response), ..command(kind) }, b"").await;
        true
    }

    /// Makes a producer named `me`, whose last sequence id is this.
    async fn makes_a_producer(&mut self, producer: &proto::CommandProducer, last_sequence_id: i64) {
        assert!(producer.user_provided_producer_name() && producer.producer_name() == "me");
        let success = proto::CommandProducerSuccess {
            request_id: producer.request_id,
            producer_name: "me".into(),
            last_sequence_id: Some(last_sequence_id),
            producer_ready: Some(true),
            ..Default::default()
        };
        self.says(BaseCommand { producer_success: Some(success), ..command(Type::ProducerSuccess) }, b"").await;
    }

    /// Answers all that leads to a producer, whose last sequence id is 41, after failing `failures` times; its first publication.
    async fn serves_a_first_send(&mut self, url: &str, mut failures: usize) -> (proto::CommandSend, Bytes) {
        loop {
            let (heard, payload) = self.hears_all().await;
            if let Some(lookup) = heard.lookup_topic {
                self.points_to(lookup, url, false).await;
            } else if let Some(producer) = heard.producer.as_ref().filter(|_| failures > 0) {
                failures -= 1;
                let error = proto::CommandError {
                    request_id: producer.request_id,
                    error: proto::ServerError::UnknownError as i32,
                    message: "java.lang.StackOverflowError".into(),
                };
                self.says(BaseCommand { error: Some(error), ..command(Type::Error) }, b"").await;
            } else if let Some(producer) = &heard.producer {
                self.makes_a_producer(producer, 41).await;
            } else if let Some(send) = heard.send {
                return (send, payload);
            } else {
                self.answers_partitions(&heard).await;
            }
        }
    }

    /// Says where an entry is stored; `None`: that it is a duplicate.
    async fn gives_a_receipt(&mut self, producer_id: u64, sequence_id: u64, position: Option<Position>) {
        let Position { ledger, entry } = position.unwrap_or(Position::new(u64::MAX, u64::MAX));
        let message_id = proto::MessageIdData { ledger_id: ledger, entry_id: entry, ..Default::default() };
        let receipt =
            proto::CommandSendReceipt { producer_id, sequence_id, message_id: Some(message_id), ..Default::default() };
        self.says(BaseCommand { send_receipt: Some(receipt), ..command(Type::SendReceipt) }, b"").await;
    }

    /// Passes over the permits that another reader may have sent meanwhile.
    async fn hears_lookup(&mut self) -> proto::CommandLookupTopic {
        loop {
            if let Some(lookup) = self.hears().await.lookup_topic {
                return lookup;
            }
        }
    }

    async fn hears_flow(&mut self) -> u32 {
        loop {
            if let Some(flow) = self.hears().await.flow {
                return flow.message_permits;
            }
        }
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, format!("pulsar://{address}"))
}

fn log(url: &str, operation_timeout: Duration) -> PulsarLog {
    let config = PulsarConfig {
        service_url: Some(url.to_string()),
        connect_timeout: Duration::from_millis(500),
        operation_timeout,
        read_ahead_bytes: 1000,
        ..Default::default()
    };
    PulsarLog::new(config).expect("a log")
}

fn partition() -> Partition {
    Partition::new("t".parse().expect("a name"), None)
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_closed_port_and_a_silent_one_are_unavailable_with_address_and_cause() {
    let (listener, url) = listener().await;
    let address = url.trim_start_matches("pulsar://").to_string();
    let silent = log(&url, LONG);
    let start = Instant::now();
    let topic = partition().topic;
    let ask = || silent.partitions(&topic);
    let asked = futures::future::join_all((0..20).map(|_| ask())).await;
    let error = asked.into_iter().map(|asked| asked.expect_err("silent")).next_back().expect("twenty");
    assert!(start.elapsed() < Duration::from_secs(4), "all twenty at once: {:?}", start.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&address) && error.to_string().contains("no answer within 500 ms"), "{error}");
    assert!(error.to_string().contains("'service-url'"), "what to do next: {error}");
    drop(listener);
    let error = silent.open_reader(&partition(), Cut::Start).await.err().expect("closed");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&address) && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn something_else_on_the_port_is_said_to_be_no_broker() {
    let (listener, url) = listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
        stream
    });
    let error = log(&url, LONG).partitions(&partition().topic).await.expect_err("no broker");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("does not speak Pulsar's protocol"), "{error}");
    server.await.expect("served");
}

#[tokio::test]
async fn a_redirect_is_followed_with_authority_and_connections_are_shared() {
    let (first, first_url) = listener().await;
    let (second, second_url) = listener().await;
    let (to_second, here) = (second_url.clone(), second_url);
    let one = tokio::spawn(async move {
        let mut peer = Peer::accept(&first).await;
        for _ in 0..2 {
            let lookup = peer.hears().await.lookup_topic.expect("a lookup");
            assert_eq!(lookup.authoritative, Some(false));
            peer.points_to(lookup, &to_second, true).await;
        }
        peer
    });
    let two = tokio::spawn(async move {
        let mut peer = Peer::accept(&second).await;
        for entry in 0..2 {
            let lookup = peer.hears_lookup().await;
            assert_eq!(lookup.authoritative, Some(true));
            peer.points_to(lookup, &here, false).await;
            let subscribe = peer.hears().await.subscribe.expect("a subscription");
            assert!(!subscribe.durable());
            peer.succeeds(subscribe.request_id).await;
            peer.hears_flow().await;
            peer.gives(subscribe.consumer_id, entry, b"bytes").await;
        }
        peer
    });
    let log = log(&first_url, LONG);
    let mut left = log.open_reader(&partition(), Cut::Start).await.expect("a reader");
    assert_eq!(left.next(100).await.expect("entries")[0].position, Position::new(1, 0));
    let mut right = log.open_reader(&partition(), Cut::Start).await.expect("a reader");
    assert_eq!(right.next(100).await.expect("entries")[0].position, Position::new(1, 1));
    one.await.expect("served");
    two.await.expect("served");
}

#[tokio::test]
async fn a_reader_comes_back_after_its_last_entry_and_never_gives_one_twice() {
    let (listener, url) = listener().await;
    let broker_url = url.clone();
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        let (start, consumer) = peer.serves_a_reader(&broker_url).await;
        assert_eq!(start.expect("a start").entry_id, u64::MAX);
        peer.hears_flow().await;
        for entry in 0..3 {
            peer.gives(consumer, entry, b"first").await;
        }
        // Heard: all three have been taken, or are queued before the end.
        drop(peer);
        let mut peer = Peer::accept(&listener).await;
        let (start, consumer) = peer.serves_a_reader(&broker_url).await;
        assert_eq!(start.map(|id| (id.ledger_id, id.entry_id)), Some((1, 2)));
        peer.hears_flow().await;
        // Inclusive: the last one again.
        peer.gives(consumer, 2, b"again").await;
        peer.gives(consumer, 3, b"second").await;
        // Closed by the broker: made again on the same connection.
        peer.closes_consumer(consumer).await;
        let (start, consumer) = peer.serves_a_reader(&broker_url).await;
        assert_eq!(start.map(|id| (id.ledger_id, id.entry_id)), Some((1, 3)));
        peer.hears_flow().await;
        peer.gives(consumer, 4, b"third").await;
        peer
    });
    let mut reader = log(&url, LONG).open_reader(&partition(), Cut::Start).await.expect("a reader");
    let mut given = Vec::new();
    while given.len() < 5 {
        // Polled with tiny patience: a recovery must get there all the same.
        if let Ok(entries) = tokio::time::timeout(Duration::from_millis(1), reader.next(10)).await {
            given.extend(entries.expect("entries").into_iter().map(|entry| (entry.position.entry, entry.bytes)));
        }
    }
    let expected: Vec<(u64, Bytes)> = [(0, "first"), (1, "first"), (2, "first"), (3, "second"), (4, "third")]
        .map(|(entry, bytes)| (entry, Bytes::from_static(bytes.as_bytes())))
        .to_vec();
    assert_eq!(given, expected);
    server.await.expect("served");
}

#[tokio::test]
async fn a_reader_gives_up_a_lost_broker_when_its_time_is_over_and_can_be_asked_again() {
    let (listener, url) = listener().await;
    let broker_url = url.clone();
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        peer.serves_a_reader(&broker_url).await;
    });
    let log = log(&url, Duration::from_millis(300));
    let mut reader = log.open_reader(&partition(), Cut::After(Position::new(5, 6))).await.expect("a reader");
    server.await.expect("served");
    let error = reader.next(10).await.expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("after 5:6") && text.contains(url.trim_start_matches("pulsar://")), "{text}");
    assert!(text.contains("refused") && text.contains("tried for 300 ms"), "{text}");
    assert_eq!(reader.next(10).await.expect_err("still lost").kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_reader_that_does_not_take_holds_up_nobody_and_loses_nothing() {
    let (listener, url) = listener().await;
    let broker_url = url.clone();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        let (_, consumer) = peer.serves_a_reader(&broker_url).await;
        peer.hears_flow().await;
        // A broker that overshoots without end: 100 entries of 100 bytes where 4000 bytes are the hard limit.
        for entry in 0..100 {
            peer.gives(consumer, entry, &[0; 100]).await;
        }
        let closed = peer.hears().await.close_consumer.expect("the overflowing consumer is closed");
        assert_eq!(closed.consumer_id, consumer);
        counter.store(1, Ordering::SeqCst);
        let (start, consumer) = peer.serves_a_reader(&broker_url).await;
        let start = start.expect("a start").entry_id;
        assert!((39..=60).contains(&start), "{start}");
        peer.hears_flow().await;
        for entry in start..start + 10 {
            peer.gives(consumer, entry, &[0; 100]).await;
        }
        peer
    });
    let log = log(&url, LONG);
    let mut reader = log.open_reader(&partition(), Cut::Start).await.expect("a reader");
    assert!(tokio::time::timeout(Duration::ZERO, reader.next(1)).await.is_err(), "asks, and does not wait");
    let waiting = Instant::now();
    while sent.load(Ordering::SeqCst) == 0 {
        assert!(waiting.elapsed() < LONG);
        tokio::task::yield_now().await;
    }
    let mut next = 0;
    while next < 50 {
        for entry in reader.next(250).await.expect("entries") {
            assert_eq!(entry.position.entry, next);
            next += 1;
        }
    }
    server.await.expect("served");
}

#[tokio::test]
async fn an_append_that_is_cut_off_is_unknown_and_one_over_the_limit_is_not_sent() {
    let (listener, url) = listener().await;
    let broker_url = url.clone();
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        let (send, payload) = peer.serves_a_first_send(&broker_url, 0).await;
        assert_eq!((send.sequence_id, send.highest_sequence_id()), (42, 43));
        assert_eq!(&payload[..], b"\x0e\x01the bytes");
    });
    let log = log(&url, LONG);
    let mut appender = log.open_appender(&partition(), "me").await.expect("an appender");
    assert_eq!(appender.last_sequence_id(), 41);
    let mut large = vec![0x0e, 0x01];
    large.resize(6 << 20, 0);
    let error = appender.append(large.into(), 42, 42, 1).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = appender.append(Bytes::from_static(b"\x0e\x01the bytes"), 42, 43, 2).await.expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::Unknown);
    let error = appender.append(Bytes::from_static(b"\x0e\x01the bytes"), 42, 43, 2).await.expect_err("over");
    assert_eq!(error.kind(), ErrorKind::Unknown, "it must be opened again");
    server.await.expect("served");
}

#[tokio::test]
async fn a_chunked_message_known_as_a_duplicate_before_its_chunks_are_stored_again_has_its_own_receipt() {
    let (listener, url) = listener().await;
    let broker_url = url.clone();
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        let (first, _) = peer.serves_a_first_send(&broker_url, 0).await;
        let mut sends = vec![first];
        while sends.len() < 4 {
            sends.extend(peer.hears_all().await.0.send);
        }
        // As a broker does: that the last chunk is known it says at once, the others it writes.
        for (send, entry) in [(2, None), (0, Some(1)), (1, Some(2)), (3, Some(3))] {
            let (send, position) = (&sends[send], entry.map(|entry| Position::new(5, entry)));
            peer.gives_a_receipt(send.producer_id, send.sequence_id, position).await;
        }
        peer
    });
    let mut producer =
        log(&url, LONG).open_producer(&partition(), ProducerSettings::new("me")).await.expect("a producer");
    for (id, chunk) in [(42, true), (42, true), (42, true), (43, false)] {
        let bytes = Bytes::from_static(b"\x0e\x01the bytes");
        producer.send(FinishedEntry { bytes, lowest: id, highest: id, messages: 1, chunk }).expect("sent");
    }
    let stored = |entry| Receipt::Stored(Position::new(5, entry));
    assert_eq!(producer.flush().await.expect("receipts"), [stored(1), stored(2), Receipt::Duplicate, stored(3)]);
    server.await.expect("served");
}

#[tokio::test]
async fn a_broker_that_fails_without_a_code_is_asked_again_for_what_was_open() {
    let (listener, url) = listener().await;
    let broker_url = url.clone();
    let server = tokio::spawn(async move {
        // The first connection ends with the first publication.
        let first = Peer::accept(&listener).await.serves_a_first_send(&broker_url, 0).await;
        let mut peer = Peer::accept(&listener).await;
        let again = peer.serves_a_first_send(&broker_url, 2).await;
        assert_eq!((first.0.sequence_id, first.1), (again.0.sequence_id, again.1));
        peer.gives_a_receipt(again.0.producer_id, again.0.sequence_id, Some(Position::new(5, 1))).await;
        peer
    });
    let log = log(&url, LONG);
    let mut producer = log.open_producer(&partition(), ProducerSettings::new("me")).await.expect("a producer");
    let bytes = Bytes::from_static(b"\x0e\x01the bytes");
    producer.send(FinishedEntry { bytes, lowest: 42, highest: 42, messages: 1, chunk: false }).expect("sent");
    assert_eq!(producer.flush().await.expect("a receipt"), [Receipt::Stored(Position::new(5, 1))]);
    server.await.expect("served");
}
