//! What is archived is really gone from the log, and is read from the archive: on a Pulsar with small ledgers and no retention.

use std::time::{Duration, Instant};

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

    let deadline = Instant::now() + Duration::from_secs(120);
    for (n, before) in before.iter().enumerate() {
        let partition = format!("weather-partition-{n}");
        while ledgers(pulsar, &partition).contains(&before[0]) {
            assert!(Instant::now() < deadline, "{partition} still has its first ledger {}", before[0]);
            std::thread::park_timeout(Duration::from_millis(300));
        }
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
