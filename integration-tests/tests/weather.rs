//! Real input on a real Pulsar: the weather of New York's airports, written by the official Python client, half of it archived while the
//! archiver is killed again and again, then asked in batch and as a stream, against what DuckDB computes from the same rows.
//!
//! ```text
//!  Python client ─► topic (3 partitions, LZ4 / ZSTD / none) ─► first half: archive (SIGKILL at each step, and at random)
//!                                                         └─► both halves: aquifer sql, batch and streaming == DuckDB
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use aquifer_integration_tests::weather::{Produce, ROWS_A_YEAR, compare};
use aquifer_integration_tests::{Pulsar, SteppedArchiver, rows_by_tier, sql};
use rand::{Rng, SeedableRng};

const YEARS: u32 = 8;

/// The daily weather by airport: what is compared.
const DAILY: &str = "SELECT origin, TUMBLE_START(time_hour, INTERVAL '1' DAY), TUMBLE_END(time_hour, INTERVAL '1' DAY), AVG(temp), COUNT(*), COUNT(temp), \
                     MIN(wind_dir), MAX(pressure), SUM(precip) FROM weather GROUP BY origin, TUMBLE(time_hour, INTERVAL '1' DAY)";
const DAILY_DUCKDB: &str = "SELECT origin, date_trunc('day', time_hour)::TIMESTAMP, date_trunc('day', time_hour)::TIMESTAMP + INTERVAL 1 DAY, avg(temp), \
                            count(*), count(temp), min(wind_dir), max(pressure), sum(precip) FROM weather GROUP BY ALL";
const DOUBLES: &str = "3,7,8";

/// Archives what the topic holds now while it is killed at each step in turn and at random. Gives how often it was killed where.
fn archive_under_fire(data_dir: &Path, table: &str, seed: u64) -> BTreeMap<String, u32> {
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut kills: BTreeMap<String, u32> = BTreeMap::new();
    let mut steps_seen: BTreeMap<String, u32> = BTreeMap::new();
    // Every step is the target of a kill once; then random ones; then it may finish.
    loop {
        let mut archiver = SteppedArchiver::start(data_dir, table, &["--rows-per-commit", "2000"]);
        let total: u32 = kills.values().sum();
        let mut budget = if total < 30 { random.random_range(1..120) } else { u32::MAX };
        let ended = loop {
            let Some(step) = archiver.next_step() else { break true };
            *steps_seen.entry(step.clone()).or_default() += 1;
            let never_killed_here = !kills.contains_key(&step);
            budget = budget.saturating_sub(1);
            if budget == 0 || (never_killed_here && random.random_bool(0.5)) {
                *kills.entry(step).or_default() += 1;
                break false;
            }
            archiver.go();
        };
        if !ended {
            archiver.kill();
            continue;
        }
        assert!(archiver.wait().success(), "the archiver failed");
        if steps_seen.keys().all(|step| kills.contains_key(step)) && kills.values().sum::<u32>() >= 20 {
            break;
        }
        assert!(kills.values().sum::<u32>() < 500, "some steps were never killed: {steps_seen:?} {kills:?}");
    }
    println!("kills by step (times the step was reached):");
    for (step, reached) in &steps_seen {
        let killed = kills.get(step).copied().unwrap_or_default();
        println!("  {step:<16} {killed:>4} {}  ({reached})", "#".repeat(killed as usize));
    }
    kills
}

#[test]
fn the_daily_weather_of_both_tiers_is_what_duckdb_computes() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data_dir, truth) = (folder.path().join("data"), folder.path().join("truth.csv"));
    let name = format!("weather_{}", std::process::id());
    let total = YEARS * ROWS_A_YEAR;
    let produce = Produce { years: YEARS, ..Produce::new(&pulsar, &name, &truth) };
    let Some(first) = produce.rows(0, total / 2) else { return };
    assert!(first["nulls"].as_u64().expect("a number") > 50, "some messages have no value: {first}");

    // First use of the catalog, and the first half into the archive.
    let catalog = pulsar.create_catalog("p");
    sql(&data_dir, &catalog).success("CREATE CATALOG");
    let table = format!("p.`public/default`.{name}");
    let kills = archive_under_fire(&data_dir, &table, 7);
    for step in ["read", "continuity", "write-file", "verify-file", "commit", "ack"] {
        assert!(kills.get(step).is_some_and(|n| *n > 0), "never killed at `{step}`: {kills:?}");
    }
    let commits = commits_of(&data_dir);
    assert!(commits >= 50, "{commits} commits");

    let second = produce.rows(total / 2, total).expect("as before");
    assert!(first["rows"].as_u64().expect("a number") + second["rows"].as_u64().expect("a number") >= 200_000);

    let prelude =
        format!("USE CATALOG p;\nALTER TABLE {name} ADD (WATERMARK FOR time_hour AS time_hour - INTERVAL '14' DAY);\n");
    sql(&data_dir, &prelude).success("ALTER TABLE");
    let query = DAILY.replace("FROM weather", &format!("FROM {name}"));

    let batch = sql(&data_dir, &format!("USE CATALOG p;\nSET 'execution.runtime-mode' = 'batch';\n{query};\n"))
        .success("the batch query");
    println!("batch: {}", compare(&truth, &batch.stdout, "batch", DAILY_DUCKDB, DOUBLES).trim());
    let [archive, log] = rows_by_tier(&batch.stderr);
    // Half was archived: what the null messages take from either side is below a percent.
    let half = u64::from(total / 2);
    assert!(archive.abs_diff(half) < half / 100 && log.abs_diff(half) < half / 100, "archive {archive}, log {log}");

    for workers in [1, 3] {
        let hinted = query.replace(
            &format!("FROM {name}"),
            &format!("FROM {name} /*+ OPTIONS('scan.bounded.mode'='latest-offset') */"),
        );
        let stream = sql(&data_dir, &format!("USE CATALOG p;\nSET 'parallelism.default' = '{workers}';\n{hinted};\n"))
            .success("the streaming query");
        let what = format!("streaming-{workers}");
        println!("{what}: {}", compare(&truth, &stream.stdout, &what, DAILY_DUCKDB, DOUBLES).trim());
        assert_eq!(rows_by_tier(&stream.stderr), [archive, log]);
    }
}

/// Manifests in the archives below a data directory, claims and data alike.
fn commits_of(data_dir: &Path) -> usize {
    let mut folders = vec![data_dir.join("archive")];
    let mut manifests = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the archive's folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.parent().is_some_and(|parent| parent.ends_with("m")) {
                manifests += 1;
            }
        }
    }
    manifests
}
