//! Brokers that are closed, silent, slow or old: whom a question goes to, how long it waits, and what it must not do.

use futures::FutureExt;

use super::peers::serves_http_status;
use super::*;
use crate::pulsar::TokenSource;

/// A service URL of two hosts.
fn several(first: &str, second: &str) -> String {
    format!("{first},{}", second.trim_start_matches("pulsar://"))
}

/// Serves one connection on which one question for partitions is asked.
async fn answers_once(listener: &TcpListener) {
    let mut peer = Peer::accept(listener).await;
    let heard = peer.hears().await;
    assert!(peer.answers_partitions(&heard).await, "{heard:?}");
}

#[tokio::test]
async fn a_closed_host_is_passed_over() {
    let (closed, closed_url) = listener().await;
    drop(closed);
    let (second, second_url) = listener().await;
    let server = tokio::spawn(async move { answers_once(&second).await });
    let log = log(&several(&closed_url, &second_url), LONG);
    assert_eq!(log.partitions(&partition().topic).await.expect("the second answers"), [partition()]);
    server.await.expect("served");
}

#[tokio::test]
async fn a_silent_host_is_waited_for_once_and_then_the_one_that_answered_is_asked_first() {
    let (silent, silent_url) = listener().await;
    let dialled = Arc::new(AtomicUsize::new(0));
    let counter = dialled.clone();
    let silence = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(stream) = silent.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
        }
    });
    let (second, second_url) = listener().await;
    let server = tokio::spawn(async move {
        // The connection breaks between the two questions: the host is remembered, not only its connection.
        answers_once(&second).await;
        answers_once(&second).await;
    });
    let log = log(&several(&silent_url, &second_url), LONG);
    for _ in 0..2 {
        assert_eq!(log.partitions(&partition().topic).await.expect("the second answers"), [partition()]);
    }
    server.await.expect("served");
    assert_eq!(dialled.load(Ordering::SeqCst), 1, "who was silent is not dialled again");
    silence.abort();
}

#[tokio::test]
async fn a_broker_that_greets_and_then_says_nothing_is_given_up_after_the_operations_time() {
    let (listener, url) = listener().await;
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        assert!(peer.hears().await.partition_metadata.is_some());
        peer.try_hear().await
    });
    let log = log(&url, Duration::from_millis(100));
    let error = log.partitions(&partition().topic).await.expect_err("silent");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("gave no answer within 100 ms") && text.contains("'operation-timeout'"), "{text}");
    assert!(text.contains(url.trim_start_matches("pulsar://")), "{text}");
    drop(log);
    assert!(server.await.expect("served").is_none(), "it is asked once");
}

/// A connection of its own, without a log around it.
async fn connect(url: &str, operation_timeout: Duration, keep_alive: Duration) -> Arc<Connection> {
    let target = Target { dial: url.trim_start_matches("pulsar://").to_string(), tls: false, behind: None };
    let options = ConnectOptions {
        authenticator: Arc::new(Authenticator::new(&PulsarConfig::default())),
        tls: TlsSettings::default(),
        connect_timeout: LONG,
        operation_timeout,
        keep_alive,
        max_frame_bytes: None,
    };
    Connection::open(&target, &options).await.expect("greeted")
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobodys_and_the_connection_lives() {
    let (listener, url) = listener().await;
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        let late = peer.hears().await;
        // Asked when the first question was given up, whenever that is.
        let next = peer.hears().await;
        assert!(peer.answers_partitions(&late).await && peer.answers_partitions(&next).await);
        peer
    });
    let connection = connect(&url, Duration::from_millis(50), LONG).await;
    let failure = connection.request(|request| commands::partitions(request, "t")).await.expect_err("late");
    assert!(matches!(failure, Failure::TimedOut { .. }), "{failure:?}");
    let asking = connection.request_open(LONG, Resource::Consumer(1), |request| commands::partitions(request, "t"));
    assert_eq!(asking.await.expect("an answer"), Answer::Partitions(0));
    server.await.expect("served");
}

#[tokio::test]
async fn who_gives_up_waiting_is_forgotten_at_once() {
    let (listener, url) = listener().await;
    let address = url.trim_start_matches("pulsar://");
    let transport = Transport::dial(address, None).await.expect("dialled");
    let session = Session::new(None, None, None, LONG, Instant::now());
    let (sender, operations) = mpsc::unbounded_channel();
    let authenticator = Arc::new(Authenticator::new(&PulsarConfig::default()));
    let mut driver = Driver::new(transport, session, authenticator, operations);
    let connection = Connection {
        address: address.to_string(),
        dialled: address.to_string(),
        operations: sender,
        last_id: AtomicU64::new(0),
        greeted: Greeted::default(),
        operation_timeout: Duration::from_millis(1),
        closed: Arc::new(OnceLock::new()),
    };
    // One that is waited for in vain, and one whose asker goes away.
    let failure = connection.request(|request| commands::partitions(request, "t")).await.expect_err("nobody answers");
    assert!(matches!(failure, Failure::TimedOut { .. }), "{failure:?}");
    let asking = connection.request_open(LONG, Resource::Consumer(1), |request| commands::partitions(request, "t"));
    assert!(asking.now_or_never().is_none(), "asked, and dropped");
    let mut waiting = Vec::new();
    while let Ok(operation) = driver.operations.try_recv() {
        assert!(driver.on_operation(operation).is_ok());
        waiting.push(driver.requests.len());
    }
    assert_eq!(waiting, [1, 0, 1, 0], "no silence of the connection is needed for that");
    drop(listener);
}

#[tokio::test]
async fn a_silent_connection_is_asked_about_and_given_up_when_nothing_comes() {
    let (listener, url) = listener().await;
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        let mut pings = 0;
        while let Some(Frame { command: Command::Other(heard), .. }) = peer.try_hear().await {
            if heard.ping.is_some() {
                pings += 1;
                if pings == 1 {
                    peer.says(BaseCommand { pong: Some(proto::CommandPong {}), ..command(Type::Pong) }, b"").await;
                }
            }
        }
        pings
    });
    let connection = connect(&url, LONG, Duration::from_secs(2)).await;
    let failure = connection.request(|request| commands::partitions(request, "t")).await.expect_err("silent");
    let Failure::Broken { cause, .. } = &failure else { unreachable!("{failure:?}") };
    assert_eq!(cause, "nothing was heard for 4000 ms");
    assert!(connection.is_closed());
    assert_eq!(server.await.expect("served"), 2, "an answered ping keeps it, for as long again");
}

async fn admin() -> (TcpListener, String) {
    let admin = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", admin.local_addr().expect("an address"));
    (admin, url)
}

fn log_with_admin(service_url: String, admin_url: String) -> PulsarLog {
    let config = PulsarConfig { service_url: Some(service_url), admin_url: Some(admin_url), ..PulsarConfig::default() };
    PulsarLog::new(config).expect("a log")
}

#[tokio::test]
async fn an_older_broker_is_not_asked_for_partitions_as_that_would_make_the_topic() {
    let (listener, url) = listener().await;
    let (admin, admin_url) = admin().await;
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept_silently(&listener).await;
        peer.greets_with(None).await;
        peer.try_hear().await
    });
    let answering = tokio::spawn(async move {
        let mut asked = Vec::new();
        for (status, answer) in [
            ("200 OK", r#"{"partitions":3}"#),
            ("200 OK", r#"{"partitions":0}"#),
            ("404 Not Found", r#"{"reason":"Topic not found"}"#),
            ("200 OK", "{}"),
        ] {
            asked.push(serves_http_status(&admin, status, answer).await);
        }
        asked
    });
    let log = log_with_admin(url, admin_url);
    let topic = partition().topic;
    assert_eq!(log.partitions(&topic).await.expect("three").len(), 3);
    assert_eq!(log.partitions(&topic).await.expect("one log"), [partition()]);
    let error = log.partitions(&topic).await.expect_err("not there");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("check the topic's name"), "{error}");
    let error = log.partitions(&topic).await.expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    for asked in answering.await.expect("answered") {
        let question = "GET /admin/v2/persistent/public/default/t/partitions?checkAllowAutoCreation=false ";
        assert!(asked.starts_with(question), "{asked}");
    }
    drop(log);
    assert!(server.await.expect("served").is_none(), "the broker was asked nothing");
}

#[tokio::test]
async fn only_what_is_not_there_is_no_pin() {
    let (listener, url) = listener().await;
    let (admin, admin_url) = admin().await;
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        while let Some(Frame { command: Command::Other(heard), .. }) = peer.try_hear().await {
            assert!(peer.answers_partitions(&heard).await, "{heard:?}");
        }
    });
    let cases = [
        ("404 Not Found", r#"{"reason":"Topic not found"}"#, Ok(None)),
        ("200 OK", r#"{"cursors":{}}"#, Ok(None)),
        ("200 OK", r#"{"cursors":{"pin":{"markDeletePosition":"3:4"}}}"#, Ok(Some(Cut::After(Position::new(3, 4))))),
        ("200 OK", "{}", Err(ErrorKind::Unsupported)),
        ("409 Conflict", r#"{"reason":"busy"}"#, Err(ErrorKind::Invalid)),
        ("412 Precondition Failed", r#"{"reason":"odd"}"#, Err(ErrorKind::Invalid)),
        ("403 Forbidden", r#"{"reason":"no"}"#, Err(ErrorKind::Denied)),
        ("500 Internal Server Error", r#"{"reason":"oh"}"#, Err(ErrorKind::Unavailable)),
    ];
    let answers = cases;
    let answering = tokio::spawn(async move {
        for (status, answer, _) in answers {
            serves_http_status(&admin, status, answer).await;
        }
        // Where it is not known whether the pin is there it is not opened either.
        serves_http_status(&admin, "412 Precondition Failed", r#"{"reason":"odd"}"#).await;
    });
    let log = log_with_admin(url, admin_url);
    for (status, answer, expected) in cases {
        let found = log.find_pin(&partition(), "pin").await.map_err(|error| error.kind());
        assert_eq!(found, expected, "{status} {answer}");
    }
    let error = log.open_pin(&partition(), "pin").await.expect_err("not known");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    answering.await.expect("answered");
    drop(log);
    server.await.expect("served");
}

#[tokio::test]
async fn the_admin_api_is_followed_to_another_host_with_the_token_but_not_to_another_scheme() {
    let (first, first_url) = admin().await;
    let (second, second_url) = admin().await;
    let answering = tokio::spawn(async move {
        let to = |url: &str| format!("307 Temporary Redirect\r\nlocation: {url}/admin/v2/tenants");
        serves_http_status(&first, &to(&second_url), "").await;
        let heard = serves_http_status(&second, "200 OK", "[]").await;
        serves_http_status(&first, &to("https://elsewhere.invalid"), "").await;
        heard
    });
    let config = PulsarConfig {
        admin_url: Some(first_url),
        authentication: Some(TokenSource::Literal("canary".into()).into()),
        ..PulsarConfig::default()
    };
    let log = PulsarLog::new(config).expect("a log");
    assert!(log.namespaces().await.expect("listed").is_empty());
    let error = log.namespaces().await.expect_err("another scheme").to_string();
    assert!(error.contains("redirects to no http:// address") && !error.contains("canary"), "{error}");
    let heard = answering.await.expect("answered");
    assert!(heard.to_ascii_lowercase().contains("authorization: bearer canary"), "{heard}");
}
