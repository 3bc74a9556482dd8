//! Topics that move: to another broker of their cluster, where readers and producers follow, and to another cluster, where they do not.

use super::peers::{finished, hears_send, serves_a_producer};
use super::*;
use crate::pulsar::newer::{TOPIC_MIGRATED, TopicMigrated};

#[tokio::test]
async fn a_reader_follows_its_topic_to_another_broker_and_gives_each_entry_once() {
    let (first, first_url) = listener().await;
    let (second, second_url) = listener().await;
    let here = first_url.clone();
    let one = tokio::spawn(async move {
        let mut peer = Peer::accept(&first).await;
        let (_, consumer) = peer.serves_a_reader(&here).await;
        peer.hears_flow().await;
        for entry in 0..3 {
            peer.gives(consumer, entry, b"first").await;
        }
        peer.closes_consumer(consumer).await;
        let lookup = peer.hears_lookup().await;
        // What comes late for the closed consumer is nobody's.
        peer.gives(consumer, 3, b"late").await;
        peer.points_to(lookup, &second_url, false).await;
        peer
    });
    let two = tokio::spawn(async move {
        let mut peer = Peer::accept(&second).await;
        let subscribe = peer.hears().await.subscribe.expect("a subscription, and no other question");
        assert_eq!(subscribe.start_message_id.map(|id| (id.ledger_id, id.entry_id)), Some((1, 2)));
        peer.succeeds(subscribe.request_id).await;
        peer.hears_flow().await;
        // Inclusive: the last one again.
        for entry in 2..5 {
            peer.gives(subscribe.consumer_id, entry, b"second").await;
        }
        peer
    });
    let log = log(&first_url, LONG);
    let mut reader = log.open_reader(&partition(), Cut::Start).await.expect("a reader");
    let mut given = Vec::new();
    while given.len() < 5 {
        let entries = reader.next(1000).await.expect("entries");
        given.extend(entries.into_iter().map(|entry| (entry.position.entry, entry.bytes)));
    }
    let expected: Vec<(u64, Bytes)> = [(0, "first"), (1, "first"), (2, "first"), (3, "second"), (4, "second")]
        .map(|(entry, bytes)| (entry, Bytes::from_static(bytes.as_bytes())))
        .to_vec();
    assert_eq!(given, expected);
    one.await.expect("served");
    two.await.expect("served");
}

#[tokio::test]
async fn a_producer_follows_its_topic_to_another_broker_and_sends_what_had_no_receipt_in_order() {
    let stored = |entry| Position::new(1, entry);
    let (first, first_url) = listener().await;
    let (second, second_url) = listener().await;
    let here = first_url.clone();
    let one = tokio::spawn(async move {
        let mut peer = Peer::accept(&first).await;
        let id = serves_a_producer(&mut peer, &here, 0).await;
        let mut sent = Vec::new();
        for _ in 0..4 {
            sent.push(hears_send(&mut peer).await);
        }
        peer.gives_a_receipt(id, 0, Some(stored(10))).await;
        peer.closes_producer(id).await;
        let lookup = peer.hears_lookup().await;
        peer.points_to(lookup, &second_url, false).await;
        (peer, sent)
    });
    let two = tokio::spawn(async move {
        let mut peer = Peer::accept(&second).await;
        let id = serves_a_producer(&mut peer, "pulsar://nobody.invalid:6650", 1).await;
        let mut again = Vec::new();
        for _ in 0..3 {
            again.push(hears_send(&mut peer).await);
        }
        // The first of them was stored before the move.
        for (sequence_id, position) in [(1, None), (2, Some(stored(12))), (3, Some(stored(13)))] {
            peer.gives_a_receipt(id, sequence_id, position).await;
        }
        (peer, again)
    });
    let log = log(&first_url, LONG);
    let mut producer = log.open_producer(&partition(), ProducerSettings::new("me")).await.expect("a producer");
    for id in 0..4 {
        producer.send(finished(id)).expect("room");
    }
    let receipts = producer.flush().await.expect("all of them");
    let of = |entry| Receipt::Stored(stored(entry));
    assert_eq!(receipts, [of(10), Receipt::Duplicate, of(12), of(13)]);
    let (_one, sent) = one.await.expect("served");
    let (_two, again) = two.await.expect("served");
    assert_eq!(again, sent[1..], "the same bytes in the same order");
}

/// That the topic of a consumer (1) or producer (0) is in another cluster now.
fn migrated(resource_id: u64, resource_type: i32) -> NewerCommand {
    let moved = TopicMigrated {
        resource_id,
        resource_type,
        broker_service_url: Some("pulsar://green:6650".into()),
        broker_service_url_tls: None,
    };
    NewerCommand { kind: TOPIC_MIGRATED, connected: None, topic_migrated: Some(moved) }
}

fn names_the_other_cluster(error: &aquifer_model::Error, kind: ErrorKind, doing: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for words in [doing, "moved to another cluster, at `pulsar://green:6650`", "'service-url'"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn a_reader_of_a_topic_that_went_to_another_cluster_gives_what_it_has_and_says_where_it_is() {
    let (listener, url) = listener().await;
    let broker_url = url.clone();
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        let (_, consumer) = peer.serves_a_reader(&broker_url).await;
        peer.hears_flow().await;
        peer.gives(consumer, 0, b"last").await;
        peer.says(migrated(consumer, 1), b"").await;
        peer.closes_consumer(consumer).await;
        // Asked again, for this reader and for another, the broker says no more than that.
        for _ in 0..2 {
            let subscribe = peer.hears_subscribe(&broker_url).await;
            peer.says(migrated(subscribe.consumer_id, 1), b"").await;
            peer.closes_consumer(subscribe.consumer_id).await;
        }
        peer
    });
    let log = log(&url, LONG);
    let mut reader = log.open_reader(&partition(), Cut::Start).await.expect("a reader");
    assert_eq!(reader.next(100).await.expect("entries")[0].position, Position::new(1, 0));
    let error = reader.next(100).await.expect_err("moved");
    names_the_other_cluster(&error, ErrorKind::Invalid, "reading `");
    let error = log.open_reader(&partition(), Cut::Start).await.err().expect("moved");
    names_the_other_cluster(&error, ErrorKind::Invalid, "opening a reader of `");
    server.await.expect("served");
}

#[tokio::test]
async fn a_producer_to_a_topic_that_went_to_another_cluster_does_not_follow_it_there() {
    let (listener, url) = listener().await;
    let broker_url = url.clone();
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        let id = serves_a_producer(&mut peer, &broker_url, 0).await;
        hears_send(&mut peer).await;
        peer.says(migrated(id, 0), b"").await;
        peer.closes_producer(id).await;
        loop {
            let heard = peer.hears().await;
            if let Some(lookup) = heard.lookup_topic {
                peer.points_to(lookup, &broker_url, false).await;
            } else if let Some(producer) = heard.producer {
                peer.says(migrated(producer.producer_id, 0), b"").await;
                peer.closes_producer(producer.producer_id).await;
                return peer;
            }
        }
    });
    let log = log(&url, LONG);
    let mut producer = log.open_producer(&partition(), ProducerSettings::new("me")).await.expect("a producer");
    producer.send(finished(0)).expect("room");
    // It may have been stored before the move.
    let error = producer.flush().await.expect_err("moved");
    names_the_other_cluster(&error, ErrorKind::Unknown, "appending to `");
    server.await.expect("served");
}
