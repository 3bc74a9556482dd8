//! What is archived is really gone from the log, and is read from the archive: on a Pulsar with small ledgers and no retention.

use std::time::{Duration, Instant};

use aquifer_integration_tests::endless::{Endless, insert};
use aquifer_integration_tests::weather::{Produce, compare};
use aquifer_integration_tests::{OwnPulsar, Pulsar, aquifer_path, rows_by_tier, run, sql};

const COUNTS: &str = "SELECT origin, COUNT(*), COUNT(temp), MIN(time_hour), MAX(time_hour), AVG(humid) FROM";

fn ledgers(pulsar: &Pulsar, partition: &str) -> Vec<i64> {
    let stats = pulsar.admin(&format!("persistent/public/default/{partition}/internalStats"));
    let ledgers = stats["ledgers"].as_array().expect("a list of ledgers");
    ledgers.iter().map(|ledger| ledger["ledgerId"].as_i64().expect("a number")).collect()
}

#[test]
fn the_archived_part_is_gone_from_the_log_and_still_answers() {
    let Some(own) = OwnPulsar::start(&["--small-ledgers"]) else { return };
    let pulsar = &own.pulsar;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data_dir, truth) = (folder.path().join("data"), folder.path().join("truth.csv"));
    let produce = Produce { batch_messages: 20, ..Produce::new(pulsar, "weather", &truth) };
    sql(&data_dir, &pulsar.create_catalog("p")).success("CREATE CATALOG");

    // Retention is 0: the pins must be there before the first message, or it may be trimmed unarchived.
    Produce { truth: &folder.path().join("none.csv"), ..produce.clone() }.rows(0, 0).expect("the topic is made");
    archive(&data_dir);
    produce.rows(0, 6_000).expect("the services are there");
    let before: Vec<Vec<i64>> = (0..3).map(|n| ledgers(pulsar, &format!("weather-partition-{n}"))).collect();
    assert!(before.iter().all(|ledgers| ledgers.len() > 2), "ledgers roll: {before:?}");
    archive(&data_dir);

    for (n, before) in before.iter().enumerate() {
        let partition = format!("weather-partition-{n}");
        wait_for(&format!("{partition} loses its first ledger"), || !ledgers(pulsar, &partition).contains(&before[0]));
    }
    produce.rows(6_000, 8_000).expect("as before");

    for mode in ["batch", "streaming"] {
        let script = format!(
            "USE CATALOG p;\nSET 'execution.runtime-mode' = '{mode}';\n{COUNTS} weather /*+ OPTIONS('scan.bounded.mode'='latest-offset') */ GROUP BY origin;\n"
        );
        let answer = sql(&data_dir, &script).success(mode);
        compare(&truth, &answer.stdout, mode, &format!("{COUNTS} weather GROUP BY origin"), "5");
        assert_eq!(rows_by_tier(&answer.stderr), [6_000, 2_000]);
    }

    let file = parquet_file(&data_dir.join("archive")).expect("an archive has files");
    std::fs::remove_file(&file).expect("it was found");
    let answer = sql(
        &data_dir,
        &format!("USE CATALOG p;\nSET 'execution.runtime-mode' = 'batch';\n{COUNTS} weather GROUP BY origin;\n"),
    );
    assert!(!answer.status.success(), "a file is missing, and the query answers: {}", answer.stdout);
    let name = file.file_name().expect("a file has a name").to_string_lossy();
    assert!(answer.stderr.contains(&*name), "the error names {name}: {}", answer.stderr);
}

/// Waits until something that the admin API tells is so.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(300));
    }
}

#[test]
fn what_a_killed_stream_did_not_read_is_kept_by_its_subscription_and_nothing_else_is() {
    let Some(own) = OwnPulsar::start(&["--small-ledgers"]) else { return };
    let pulsar = &own.pulsar;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data_dir, reading) = (folder.path().join("data"), folder.path().join("reading"));
    let catalog = pulsar.create_catalog("p");
    let create = |table: &str| format!("CREATE TABLE {table} (n BIGINT) WITH ('sink.batching' = 'false');\n");
    let made = format!("{catalog}USE CATALOG p;\n{}{}", create("held"), create("free"));
    sql(&data_dir, &made).success("CREATE TABLE");
    sql(&reading, &catalog).success("CREATE CATALOG");
    let script = "USE CATALOG p;\nSET 'execution.runtime-mode' = 'streaming';\nSELECT n FROM held /*+ OPTIONS('source.subscription-name' = 'mine') */;\n";
    let topic = "persistent/public/default/held";
    let backlog = || pulsar.admin(&format!("{topic}/stats"))["subscriptions"]["mine"]["msgBacklog"].as_i64();

    let mut first = Endless::start(&reading, script);
    wait_for("the stream subscribes", || backlog() == Some(0));
    let oldest = ledgers(pulsar, "held")[0];
    insert(&data_dir, "held", 0..50);
    first.take(0..50);
    wait_for("what was read is acknowledged", || backlog() == Some(0));
    wait_for("what was read is trimmed", || !ledgers(pulsar, "held").contains(&oldest));
    drop(first);
    insert(&data_dir, "held", 50..120);
    assert_eq!(backlog(), Some(70), "nobody read it");
    // Where nobody holds anything all but the last ledger are trimmed.
    let oldest = ledgers(pulsar, "free")[0];
    insert(&data_dir, "free", 0..70);
    wait_for("what nobody holds is trimmed", || !ledgers(pulsar, "free").contains(&oldest));

    let mut second = Endless::start(&reading, script);
    second.take(50..120);
    assert!(!second.seen.contains(&0), "what was read went with its ledger: {:?}", second.seen.first());
    wait_for("the second acknowledges under the same name", || backlog() == Some(0));
}

fn archive(data_dir: &std::path::Path) {
    let mut command = std::process::Command::new(aquifer_path());
    command.args(["archive", "run", "--once", "--data-dir"]).arg(data_dir).arg("p.`public/default`.weather");
    run(&mut command, Duration::from_secs(120)).success("archive run");
}

fn parquet_file(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    entries
        .iter()
        .find(|path| path.extension().is_some_and(|e| e == "parquet"))
        .cloned()
        .or_else(|| entries.iter().filter(|path| path.is_dir()).find_map(|path| parquet_file(path)))
}
