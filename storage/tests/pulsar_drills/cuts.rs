//! Connections cut at random bytes while a topic is written and two are read.

use std::sync::atomic::AtomicUsize;

use aquifer_storage::{Log, Receipt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::cutter::Cutter;
use super::own::{Own, free_port, second_door, services};
use super::peers::{Python, check_account, check_receipts, read, write};
use super::plain::new_partition;
use super::{ALONE, number, seed};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_over_connections_that_are_cut_is_what_was_acknowledged_in_order_once() {
    let Some(services) = services() else { return };
    let _alone = ALONE.lock().await;
    let (cuts, seed) = (number("AQUIFER_CUTS", 20), seed());
    let (main, door) = (free_port(), ([127, 0, 0, 1], free_port()).into());
    let cutter = Cutter::start(door, seed).await;
    let own = Own::start(services, main, second_door(main, door, cutter.address())).await;
    let direct = own.log(&own.service);
    let through = format!("pulsar://{}", cutter.address());
    let (writing, reading) = (own.log(&through), own.log(&through));
    let (ours, pythons) = (new_partition(&direct, "cut").await, new_partition(&direct, "cut-python").await);
    let python = Python::start(&own.service, &pythons);

    let (our_last, python_last) = (watch::channel(None), watch::channel(None));
    let acknowledged = AtomicUsize::new(0);
    let armed = AtomicUsize::new(0);
    let writer = async {
        let done = || {
            // What is opened is open by then: only what was open is come back to.
            let written = acknowledged.load(std::sync::atomic::Ordering::Relaxed);
            if written >= 20 && armed.fetch_or(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                cutter.arm(cuts);
            }
            written >= 500 && cutter.left() == 0
        };
        let account = write(&writing, &ours, StdRng::seed_from_u64(seed), true, &acknowledged, done).await;
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
    let ((account, receipts), given, from_python) =
        tokio::join!(writer, read(&reading, &ours, our_last.1), python_reader);
    assert_eq!(cutter.left(), 0);
    check_account(&given, &account);
    check_receipts(&from_python, &receipts);
    let repeated = account.iter().filter(|(_, receipt)| *receipt == Receipt::Duplicate).count();
    eprintln!(
        "{cuts} cuts, {} entries ({repeated} sent again after they were stored), {} messages of Python's",
        account.len(),
        receipts.len()
    );
}
