//! The broker killed and started again while topics are written and read. No chunked messages: one that it is killed in the middle of is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aquifer_storage::pulsar::ProducerSettings;
use aquifer_storage::{Log, Receipt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use super::own::{Own, free_port, services};
use super::peers::{PATIENCE, Python, check_account, check_receipts, next_chunks, read, write};
use super::plain::new_partition;
use super::{ALONE, number, seed};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_from_a_broker_that_is_killed_is_what_was_acknowledged_in_order_once() {
    let Some(services) = services() else { return };
    let _alone = ALONE.lock().await;
    let (kills, seed) = (number("AQUIFER_KILLS", 10), seed());
    let own = Own::start(services, free_port(), Vec::new()).await;
    let (direct, writing, reading) = (own.log(&own.service), own.log(&own.service), own.log(&own.service));
    let (ours, pythons) = (new_partition(&direct, "killed").await, new_partition(&direct, "killed-python").await);
    let python = Python::start(&own.service, &pythons);

    let (our_last, python_last) = (watch::channel(None), watch::channel(None));
    let (acknowledged, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let killer = async {
        let mut random = StdRng::seed_from_u64(seed);
        for kill in 0..kills {
            let wanted = acknowledged.load(Ordering::Relaxed) + random.random_range(20..600);
            let deadline = Instant::now() + PATIENCE;
            while acknowledged.load(Ordering::Relaxed) < wanted {
                assert!(Instant::now() < deadline, "no receipts after kill {kill}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            own.kill();
            own.start_again().await;
        }
        let wanted = acknowledged.load(Ordering::Relaxed) + 100;
        let deadline = Instant::now() + PATIENCE;
        while acknowledged.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "no receipts after the last kill");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        enough.store(true, Ordering::Relaxed);
    };
    let writer = async {
        let done = || enough.load(Ordering::Relaxed);
        let account = write(&writing, &ours, StdRng::seed_from_u64(seed), false, &acknowledged, done).await;
        our_last.0.send_replace(direct.last_position(&ours).await.unwrap());
        let receipts = match python {
            Some(python) => python.finish().await,
            None => Vec::new(),
        };
        python_last.0.send_replace(direct.last_position(&pythons).await.unwrap());
        (account, receipts)
    };
    let python_reader = async {
        if std::env::var_os("AQUIFER_TEST_PYTHON").is_none() {
            return Vec::new();
        }
        read(&reading, &pythons, python_last.1).await
    };
    let ((), (account, receipts), given, from_python) =
        tokio::join!(killer, writer, read(&reading, &ours, our_last.1), python_reader);
    check_account(&given, &account);
    check_receipts(&from_python, &receipts);
    let repeated = account.iter().filter(|(_, receipt)| *receipt == Receipt::Duplicate).count();
    eprintln!(
        "{kills} kills, {} entries ({repeated} sent again after they were stored), {} messages of Python's",
        account.len(),
        receipts.len()
    );
}

/// What Pulsar 4.0.7 does, and no client can help: read again after a restart, the first chunks count for the whole message, and its last one is then
/// taken for a duplicate although it was never stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_between_the_chunks_of_a_message_loses_the_message() {
    let Some(services) = services() else { return };
    let _alone = ALONE.lock().await;
    let own = Own::start(services, free_port(), Vec::new()).await;
    let log = own.log(&own.service);
    let partition = new_partition(&log, "killed-chunks").await;
    let settings = || ProducerSettings { resend_within: PATIENCE, ..ProducerSettings::new("writer") };
    let (chunks, _) = next_chunks(&mut StdRng::seed_from_u64(1), "writer", 0);
    let mut producer = log.open_producer(&partition, settings()).await.unwrap();
    producer.send(chunks[0].clone()).unwrap();
    assert!(matches!(producer.flush().await.unwrap()[..], [Receipt::Stored(_)]));
    own.kill();
    own.start_again().await;
    let mut producer = log.open_producer(&partition, settings()).await.unwrap();
    chunks.into_iter().for_each(|chunk| producer.send(chunk).unwrap());
    let receipts = producer.flush().await.unwrap();
    assert_eq!(
        receipts.last(),
        Some(&Receipt::Duplicate),
        "if this is stored, kills can be drilled with chunked messages"
    );
}
