use super::*;
use crate::pulsar::frame::encode;
use crate::pulsar::newer::{Connected, FeatureFlags, TopicMigrated};
use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, build_entry, summarize};
use bytes::Buf;
use prost::Message;

fn command(kind: Type) -> BaseCommand {
    BaseCommand { r#type: kind as i32, ..Default::default() }
}

fn connected(max_message_size: Option<i32>) -> BaseCommand {
    let connected =
        proto::CommandConnected { server_version: "4".into(), protocol_version: Some(21), max_message_size };
    BaseCommand { connected: Some(connected), ..command(Type::Connected) }
}

fn shown(token: &str) -> Credentials {
    Credentials { method: "token", data: token.into() }
}

struct Script {
    session: Session,
    now: Instant,
    buffer: BytesMut,
}

impl Script {
    fn new() -> Self {
        let now = Instant::now();
        Self { session: Session::new(Some(&shown("t")), None, None, KEEP_ALIVE, now), now, buffer: BytesMut::new() }
    }

    fn greeted() -> Self {
        let mut script = Self::new();
        script.gives(&connected(Some(5_242_880)), b"").expect("greeted");
        script.sent();
        script
    }

    fn gives(&mut self, command: &impl Message, payload: &[u8]) -> Result<Vec<Event>, SessionError> {
        self.buffer.extend_from_slice(&encode(command, payload.len()));
        self.buffer.extend_from_slice(payload);
        let mut events = Vec::new();
        self.session.on_bytes(self.now, &mut self.buffer, &mut events)?;
        Ok(events)
    }

    fn sent(&mut self) -> Vec<BaseCommand> {
        let mut wire = BytesMut::new();
        self.session.output().drain(..).for_each(|bytes| wire.extend_from_slice(&bytes));
        let mut commands = Vec::new();
        while wire.has_remaining() {
            let total = wire.get_u32() as usize;
            let mut frame = wire.split_to(total);
            frame.advance(4);
            commands.push(BaseCommand::decode(frame).expect("a command"));
        }
        commands
    }
}

fn message(consumer: u64, ledger: u64, entry: u64) -> BaseCommand {
    let message_id = proto::MessageIdData { ledger_id: ledger, entry_id: entry, ..Default::default() };
    let message = proto::CommandMessage { consumer_id: consumer, message_id, ..Default::default() };
    BaseCommand { message: Some(message), ..command(Type::Message) }
}

#[test]
fn it_greets_with_the_token_and_hears_the_message_size() {
    let mut script = Script::new();
    let greeting = script.sent().remove(0).connect.expect("a greeting");
    assert_eq!(greeting.auth_data.as_deref(), Some(&b"t"[..]));
    assert_eq!(greeting.protocol_version, Some(21));
    assert_eq!(greeting.feature_flags.and_then(|flags| flags.supports_broker_entry_metadata), Some(true));
    let events = script.gives(&connected(Some(1000)), b"").expect("greeted");
    assert_eq!(events, vec![Event::Connected { max_message_bytes: 1000, asks_without_making: false }]);
}

#[test]
fn a_broker_says_whether_asking_for_partitions_can_forbid_to_make_the_topic() {
    for (flag, expected) in [(None, false), (Some(false), false), (Some(true), true)] {
        let feature_flags = Some(FeatureFlags { asks_without_making: flag, ..Default::default() });
        let connected = Connected { server_version: "4".into(), max_message_size: Some(1000), feature_flags };
        let greeting = NewerCommand { kind: Type::Connected as i32, connected: Some(connected), ..Default::default() };
        let events = Script::new().gives(&greeting, b"").expect("greeted");
        assert_eq!(events, vec![Event::Connected { max_message_bytes: 1000, asks_without_making: expected }]);
        let other = NewerCommand { kind: TOPIC_MIGRATED, ..greeting };
        let error = Script::new().gives(&other, b"").expect_err("no greeting").to_string();
        assert!(error.ends_with("(command 68 came before the greeting)"), "{error}");
    }
}

#[test]
fn a_topic_that_moved_to_another_cluster_is_told_with_the_addresses_that_are_some() {
    let url = |text: &str| Some(text.to_string());
    for (resource_type, plain, tls, to) in [
        (0, url("pulsar://n:1"), None, url("`pulsar://n:1`")),
        (1, url("pulsar://n:1"), url("pulsar+ssl://n:2"), url("`pulsar://n:1` or `pulsar+ssl://n:2`")),
        (1, url("no address\n"), url(""), None),
        (0, Some(format!("pulsar://{}:1", "n".repeat(5000))), None, None),
    ] {
        let migrated =
            TopicMigrated { resource_id: 7, resource_type, broker_service_url: plain, broker_service_url_tls: tls };
        let moved = NewerCommand { kind: TOPIC_MIGRATED, connected: None, topic_migrated: Some(migrated) };
        let resource = if resource_type == 0 { Resource::Producer(7) } else { Resource::Consumer(7) };
        let events = Script::greeted().gives(&moved, b"").expect("told");
        assert_eq!(events, vec![Event::Moved { resource, to }]);
    }
}

#[test]
fn an_entry_keeps_its_bytes() {
    let mut script = Script::greeted();
    let bytes = b"\x0e\x02\0\0\0\x02\x08\x01\x0e\x01abcdwhatever follows";
    let events = script.gives(&message(4, 7, 9), bytes).expect("an entry");
    let entry = Entry { position: Position::new(7, 9), bytes: Bytes::from_static(bytes) };
    assert_eq!(events, vec![Event::Entry { consumer: 4, entry }]);
}

#[test]
fn frames_are_limited_by_what_the_broker_announces_and_by_our_cap() {
    let mut script = Script::new();
    script.buffer.extend_from_slice(&100_000u32.to_be_bytes());
    let mut events = Vec::new();
    let error = script.session.on_bytes(script.now, &mut script.buffer, &mut events).expect_err("before the greeting");
    assert!(error.to_string().contains("over the limit of 65536"), "{error}");

    let mut script = Script::new();
    script.gives(&connected(Some(i32::MAX)), b"").expect("greeted");
    script.buffer.extend_from_slice(&(33u32 << 20).to_be_bytes());
    script.buffer.extend_from_slice(&[0, 0, 0, 2, 8, Type::Success as u8]);
    let error = script.session.on_bytes(script.now, &mut script.buffer, &mut events).expect_err("over our cap");
    assert!(error.to_string().contains("over the limit of 33554432"), "{error}");
}

#[test]
fn a_message_over_the_limit_is_one_bad_entry_and_the_session_goes_on() {
    let now = Instant::now();
    let session = Session::new(None, None, Some(100_000), KEEP_ALIVE, now);
    let mut script = Script { session, now, buffer: BytesMut::new() };
    script.gives(&connected(Some(5_242_880)), b"").expect("greeted");
    let spec = EntrySpec { producer_name: "p".into(), batched: true, ..Default::default() };
    let payload = vec![b'x'; 90_000];
    let message_of = |sequence_id| NewMessage { sequence_id, payload: Some(&payload), ..Default::default() };
    let long = build_entry(&spec, &[message_of(1), message_of(2), message_of(3)]).expect("an entry");
    let mut events = script.gives(&message(4, 7, 9), &long).expect("passed over");
    events.extend(script.gives(&message(4, 7, 10), b"whatever").expect("an entry"));
    let [Event::Entry { consumer: 4, entry: bad }, Event::Entry { consumer: 4, entry: next }] = &events[..] else {
        unreachable!("{events:?}")
    };
    assert_eq!((bad.position, next.position), (Position::new(7, 9), Position::new(7, 10)));
    assert_eq!(&next.bytes[..], b"whatever");
    assert!(bad.bytes.len() < 70_000, "{} bytes are kept", bad.bytes.len());
    assert_eq!(crate::pulsar::flow::messages_in(&bad.bytes), 3, "as many permits are used up");
    let error = summarize(&bad.bytes, &EntryLimits::default()).expect_err("bad").to_string();
    assert!(error.contains("over the limit of 100000 bytes") && error.contains("max-frame-bytes"), "{error}");
}

#[test]
fn topics_of_a_namespace_are_heard() {
    let mut script = Script::greeted();
    let response = proto::CommandGetTopicsOfNamespaceResponse {
        request_id: 5,
        topics: vec!["persistent://a/b/c".into()],
        ..Default::default()
    };
    let kind = Type::GetTopicsOfNamespaceResponse;
    let said = BaseCommand { get_topics_of_namespace_response: Some(response), ..command(kind) };
    let answer = Ok(Answer::Topics(vec!["persistent://a/b/c".into()]));
    assert_eq!(script.gives(&said, b"").expect("an answer"), vec![Event::Answered { request: 5, answer }]);
}

#[test]
fn a_ping_is_answered_and_silence_is_asked_about_then_given_up() {
    let mut script = Script::greeted();
    let ping = BaseCommand { ping: Some(proto::CommandPing {}), ..command(Type::Ping) };
    assert_eq!(script.gives(&ping, b"").expect("a ping"), vec![]);
    let sent = script.sent();
    assert!(sent.len() == 1 && sent[0].pong.is_some(), "{sent:?}");

    let start = script.now;
    script.session.on_deadline(start + KEEP_ALIVE / 2).expect("too early");
    assert!(script.sent().is_empty());
    script.session.on_deadline(start + KEEP_ALIVE).expect("asks");
    assert!(script.sent().pop().expect("a ping").ping.is_some());
    script.now = start + KEEP_ALIVE + KEEP_ALIVE / 2;
    let pong = BaseCommand { pong: Some(proto::CommandPong {}), ..command(Type::Pong) };
    script.gives(&pong, b"").expect("alive");
    script.session.on_deadline(start + 2 * KEEP_ALIVE).expect("heard since");
    let heard = script.now;
    script.session.on_deadline(heard + KEEP_ALIVE).expect("asks again");
    let error = script.session.on_deadline(heard + 2 * KEEP_ALIVE).expect_err("gone");
    assert!(matches!(error, SessionError::Silent { after } if after == 2 * KEEP_ALIVE), "{error}");
}

#[test]
fn a_lookup_tells_a_redirect_from_an_answer_and_from_a_refusal() {
    use proto::command_lookup_topic_response::LookupType;
    let mut script = Script::greeted();
    let mut ask = |kind: LookupType, url: Option<&str>, error: Option<proto::ServerError>| {
        let response = proto::CommandLookupTopicResponse {
            broker_service_url: url.map(Into::into),
            response: Some(kind as i32),
            request_id: 3,
            authoritative: Some(true),
            error: error.map(|error| error as i32),
            message: Some("why".into()),
            ..Default::default()
        };
        let lookup = BaseCommand { lookup_topic_response: Some(response), ..command(Type::LookupResponse) };
        match script.gives(&lookup, b"").expect("an answer").pop() {
            Some(Event::Answered { request: 3, answer }) => answer,
            other => unreachable!("{other:?}"),
        }
    };
    let lookup = |redirect| Answer::Lookup {
        url: Some("pulsar://b:1".into()),
        tls_url: None,
        redirect,
        authoritative: true,
        proxied: false,
    };
    assert_eq!(ask(LookupType::Redirect, Some("pulsar://b:1"), None), Ok(lookup(true)));
    assert_eq!(ask(LookupType::Connect, Some("pulsar://b:1"), None), Ok(lookup(false)));
    let refusal = ask(LookupType::Failed, None, Some(proto::ServerError::ServiceNotReady)).expect_err("refused");
    assert_eq!(refusal, Refusal::new(proto::ServerError::ServiceNotReady as i32, "why"));
    assert!(refusal.passes());
}

#[test]
fn a_receipt_without_a_position_is_a_duplicate() {
    let mut script = Script::greeted();
    let mut receipt = |ledger, entry| {
        let message_id = Some(proto::MessageIdData { ledger_id: ledger, entry_id: entry, ..Default::default() });
        let receipt =
            proto::CommandSendReceipt { producer_id: 1, sequence_id: 5, message_id, highest_sequence_id: Some(0) };
        script
            .gives(&BaseCommand { send_receipt: Some(receipt), ..command(Type::SendReceipt) }, b"")
            .expect("a receipt")
    };
    let stored = Event::Receipt { producer: 1, sequence_id: 5, position: Some(Position::new(2, 3)) };
    assert_eq!(receipt(2, 3), vec![stored]);
    let duplicate = Event::Receipt { producer: 1, sequence_id: 5, position: None };
    assert_eq!(receipt(u64::MAX, u64::MAX), vec![duplicate]);
}

#[test]
fn an_empty_log_has_no_last_position() {
    let mut script = Script::greeted();
    let mut last = |ledger, entry| {
        let last_message_id = proto::MessageIdData { ledger_id: ledger, entry_id: entry, ..Default::default() };
        let response = proto::CommandGetLastMessageIdResponse {
            last_message_id,
            request_id: 1,
            consumer_mark_delete_position: None,
        };
        let given =
            BaseCommand { get_last_message_id_response: Some(response), ..command(Type::GetLastMessageIdResponse) };
        script.gives(&given, b"").expect("an answer")
    };
    let answer = |position| vec![Event::Answered { request: 1, answer: Ok(Answer::LastId(position)) }];
    assert_eq!(last(u64::MAX, u64::MAX), answer(None));
    assert_eq!(last(3, u64::MAX), answer(None));
    assert_eq!(last(3, 0), answer(Some(Position::new(3, 0))));
}

#[test]
fn closings_errors_and_challenges_are_told_and_unknown_commands_passed_over() {
    let mut script = Script::greeted();
    let close = proto::CommandCloseConsumer { consumer_id: 8, request_id: u64::MAX };
    let events = script.gives(&BaseCommand { close_consumer: Some(close), ..command(Type::CloseConsumer) }, b"");
    assert_eq!(events.expect("a closing"), vec![Event::ConsumerClosed { consumer: 8 }]);
    let error = proto::CommandError { request_id: 2, error: 11, message: "no topic".into() };
    let events = script.gives(&BaseCommand { error: Some(error), ..command(Type::Error) }, b"");
    let refusal = Refusal::new(proto::ServerError::TopicNotFound as i32, "no topic");
    assert_eq!(events.expect("an error"), vec![Event::Answered { request: 2, answer: Err(refusal) }]);
    let events = script.gives(&command(Type::AuthChallenge), b"").expect("a challenge");
    assert_eq!(events, vec![Event::Challenged]);
    script.session.authenticate(&shown("new"));
    assert!(script.sent().remove(0).auth_response.is_some());
    let unknown = BaseCommand { r#type: 999, ..Default::default() };
    assert_eq!(script.gives(&unknown, b"").expect("passed over"), vec![]);
}

#[test]
fn a_refused_greeting_says_why_and_something_else_is_no_broker() {
    let error = proto::CommandError { request_id: u64::MAX, error: 3, message: "bad token".into() };
    let error =
        Script::new().gives(&BaseCommand { error: Some(error), ..command(Type::Error) }, b"").expect_err("refused");
    assert!(matches!(error, SessionError::Refused(_)) && error.to_string().ends_with("bad token"), "{error}");
    let error = Script::new().gives(&message(1, 1, 1), b"").expect_err("no greeting").to_string();
    assert_eq!(error, "what answers there does not speak Pulsar's protocol (command 9 came before the greeting)");
}
