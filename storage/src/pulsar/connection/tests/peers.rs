//! What one standalone broker cannot show, against a scripted one: a proxy, a challenge in the middle of a connection with tokens of a scripted
//! issuer, and what is sent again after a cut.

use super::*;
use crate::pulsar::{Authentication, OAuth2Client, OAuth2Settings};

#[tokio::test]
async fn behind_a_proxy_the_broker_is_named_in_the_greeting() {
    let (listener, url) = listener().await;
    let server = tokio::spawn(async move {
        let mut front = Peer::accept(&listener).await;
        let lookup = front.hears_lookup().await;
        use proto::command_lookup_topic_response::LookupType;
        let response = proto::CommandLookupTopicResponse {
            broker_service_url: Some("pulsar://hidden.invalid:6650".into()),
            response: Some(LookupType::Connect as i32),
            request_id: lookup.request_id,
            proxy_through_service_url: Some(true),
            ..Default::default()
        };
        front.says(BaseCommand { lookup_topic_response: Some(response), ..command(Type::LookupResponse) }, b"").await;
        let (stream, _) = listener.accept().await.expect("a second connection, to the same place");
        let mut peer = Peer { stream, buffer: BytesMut::new() };
        let connect = peer.hears().await.connect.expect("a greeting");
        assert_eq!(connect.proxy_to_broker_url.as_deref(), Some("hidden.invalid:6650"));
        peer.greets().await;
        let subscribe = peer.hears().await.subscribe.expect("a subscription");
        peer.succeeds(subscribe.request_id).await;
        peer.hears_flow().await;
        peer.gives(subscribe.consumer_id, 7, b"bytes").await;
        (front, peer)
    });
    let mut reader = log(&url, LONG).open_reader(&partition(), Cut::Start).await.expect("a reader");
    assert_eq!(reader.next(100).await.expect("entries")[0].position, Position::new(1, 7));
    server.await.expect("served");
}

/// One HTTP request, head and body; the answer is JSON.
async fn serves_http(listener: &TcpListener, answer: &str) -> String {
    let status = if answer.contains("error") { "401 Unauthorized" } else { "200 OK" };
    serves_http_status(listener, status, answer).await
}

/// [`serves_http`] with this status and its words.
pub(super) async fn serves_http_status(listener: &TcpListener, status: &str, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.expect("a request");
    let mut heard = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&heard).to_string();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                let reply = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                    answer.len()
                );
                stream.write_all(reply.as_bytes()).await.expect("written");
                return text;
            }
        }
        assert!(stream.read_buf(&mut heard).await.expect("read") > 0, "a whole request");
    }
}

#[tokio::test]
async fn a_challenge_is_answered_with_a_fresh_token_of_the_issuer() {
    let issuer = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let issuer_url = format!("http://{}", issuer.local_addr().expect("an address"));
    let page = format!(r#"{{"token_endpoint":"{issuer_url}/token"}}"#);
    let issuing = tokio::spawn(async move {
        let mut asked = Vec::new();
        for number in 1..=2 {
            let get = serves_http(&issuer, &page).await;
            assert!(get.starts_with("GET /.well-known/openid-configuration "), "{get}");
            let token = format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#);
            asked.push(serves_http(&issuer, &token).await);
        }
        serves_http(&issuer, &page).await;
        serves_http(&issuer, r#"{"error":"invalid_client"}"#).await;
        asked
    });
    let (listener, url) = listener().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut peer = Peer { stream, buffer: BytesMut::new() };
        let connect = peer.hears().await.connect.expect("a greeting");
        assert_eq!((connect.auth_method_name(), connect.auth_data()), ("token", &b"token-1"[..]));
        assert!(connect.feature_flags.expect("flags").supports_auth_refresh());
        peer.greets().await;
        let challenge = proto::CommandAuthChallenge {
            server_version: Some("s".into()),
            challenge: Some(proto::AuthData { auth_method_name: Some("token".into()), auth_data: None }),
            protocol_version: Some(19),
        };
        let mut answered = false;
        peer.says(BaseCommand { auth_challenge: Some(challenge), ..command(Type::AuthChallenge) }, b"").await;
        for _ in 0..2 {
            let heard = peer.hears().await;
            if let Some(response) = heard.auth_response {
                let shown = response.response.expect("an answer");
                assert_eq!((shown.auth_method_name(), shown.auth_data()), ("token", &b"token-2"[..]));
                answered = true;
            } else {
                assert!(peer.answers_partitions(&heard).await, "{heard:?}");
            }
        }
        assert!(answered);
        peer
    });
    let settings = OAuth2Settings {
        issuer_url,
        client: OAuth2Client::Credentials { id: "me".into(), secret: "canary".into() },
        audience: Some("urn:a b".into()),
        scope: None,
    };
    let config = PulsarConfig {
        service_url: Some(url),
        authentication: Some(Authentication::OAuth2(settings)),
        ..Default::default()
    };
    let log = PulsarLog::new(config.clone()).expect("a log");
    log.partitions(&partition().topic).await.expect("asked");
    drop(server.await.expect("served"));
    let error = PulsarLog::new(config).expect("a log").partitions(&partition().topic).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Denied);
    let text = error.to_string();
    assert!(text.contains("does not accept the client's credentials") && !text.contains("canary"), "{text}");
    for asked in issuing.await.expect("issued") {
        assert!(asked.starts_with("POST /token "), "{asked}");
        for word in ["grant_type=client_credentials", "client_id=me", "client_secret=canary", "audience=urn%3Aa+b"] {
            assert!(asked.contains(word), "{word}: {asked}");
        }
    }
}

pub(super) fn finished(id: i64) -> FinishedEntry {
    let bytes = Bytes::from(format!("\x0e\x01entry {id}"));
    FinishedEntry { bytes, lowest: id, highest: id, messages: 1, chunk: false }
}

/// Serves lookups and one registration; gives the producer's id.
pub(super) async fn serves_a_producer(peer: &mut Peer, url: &str, reopened: u64) -> u64 {
    loop {
        let heard = peer.hears().await;
        if let Some(lookup) = heard.lookup_topic {
            peer.points_to(lookup, url, false).await;
        } else if let Some(producer) = heard.producer {
            assert_eq!((producer.producer_name(), producer.epoch()), ("me", reopened));
            peer.makes_a_producer(&producer, -1).await;
            return producer.producer_id;
        } else {
            assert!(peer.answers_partitions(&heard).await, "{heard:?}");
        }
    }
}

pub(super) async fn hears_send(peer: &mut Peer) -> (u64, Bytes) {
    loop {
        let (heard, payload) = peer.hears_all().await;
        if let Some(send) = heard.send {
            return (send.sequence_id, payload);
        }
    }
}

#[tokio::test]
async fn what_had_no_receipt_is_sent_again_byte_for_byte_and_in_order() {
    let (listener, url) = listener().await;
    let broker = url.clone();
    let server = tokio::spawn(async move {
        let stored = |entry| Some(Position::new(1, entry));
        let mut peer = Peer::accept(&listener).await;
        let id = serves_a_producer(&mut peer, &broker, 0).await;
        let mut first = Vec::new();
        for _ in 0..4 {
            first.push(hears_send(&mut peer).await);
        }
        peer.gives_a_receipt(id, 0, stored(10)).await;
        drop(peer);
        let mut peer = Peer::accept(&listener).await;
        let id = serves_a_producer(&mut peer, &broker, 1).await;
        let mut second = Vec::new();
        for _ in 0..3 {
            second.push(hears_send(&mut peer).await);
        }
        assert_eq!(second, first[1..]);
        // The first of them was stored before the cut. An answer out of order then ends the connection: nothing is known of the rest.
        peer.gives_a_receipt(id, 1, None).await;
        peer.gives_a_receipt(id, 3, stored(13)).await;
        let mut peer = Peer::accept(&listener).await;
        let id = serves_a_producer(&mut peer, &broker, 2).await;
        for (entry, expected) in (12..).zip(&first[2..]) {
            assert_eq!(hears_send(&mut peer).await, *expected);
            peer.gives_a_receipt(id, expected.0, stored(entry)).await;
        }
        peer
    });
    let log = log(&url, LONG);
    let mut producer = log.open_producer(&partition(), ProducerSettings::new("me")).await.expect("a producer");
    for id in 0..4 {
        producer.send(finished(id)).expect("room");
    }
    let receipts = producer.flush().await.expect("all of them");
    let stored = |entry| Receipt::Stored(Position::new(1, entry));
    assert_eq!(receipts, [stored(10), Receipt::Duplicate, stored(12), stored(13)]);
    server.await.expect("served");
}

#[tokio::test]
async fn a_plain_address_before_a_tls_port_and_the_other_way_round_say_so() {
    let (listener, url) = listener().await;
    let server = tokio::spawn(async move {
        // A broker that wants TLS hangs up on plain words; one that does not answers in plain words.
        let (stream, _) = listener.accept().await.expect("a connection");
        drop(stream);
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"\x00\x00\x00\x08 plain words of a plain broker").await.expect("written");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let error = log(&url, LONG).partitions(&partition().topic).await.expect_err("hung up");
    assert!(error.to_string().contains("pulsar+ssl://"), "{error}");
    let secure = url.replace("pulsar://", "pulsar+ssl://");
    let error = log(&secure, LONG).partitions(&partition().topic).await.expect_err("no TLS there");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    server.await.expect("served");
}
