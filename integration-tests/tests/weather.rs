//! Real input on a real Pulsar and on the embedded log: the weather of New York's airports, written by the official Python client, half of it archived while the
//! archiver is killed again and again, then asked in batch and as a stream, against what DuckDB computes from the same rows.
//!
//! ```text
//!  Python client ─► topic (3 partitions, LZ4 / ZSTD / none) ─► first half: archive (SIGKILL at each step, and at random)
//!                                                         └─► both halves: aquifer sql, batch and streaming == DuckDB
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use aquifer_catalog::Catalogs;
use aquifer_integration_tests::weather::{COLUMNS, Produce, ProduceEmbedded, ROWS_A_YEAR, compare};
use aquifer_integration_tests::{Pulsar, SteppedArchiver, rows_by_tier, sql};
use aquifer_server::engine::find_topics;
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

/// Where the weather lies: the statements that make the catalog and the table known, the table's full name, and who appends rows `first..last`.
struct Site<'a> {
    catalog: &'a str,
    prelude: String,
    table: &'a str,
    name: &'a str,
    data_dir: &'a Path,
    truth: &'a Path,
}

/// The program: half of the weather, archived under fire; the other half; both asked in batch and as streams of one and of three workers.
fn the_weather_is_what_duckdb_computes(
    site: &Site<'_>,
    produce: impl Fn(u32, u32) -> Option<serde_json::Value>,
    archived: impl Fn(),
) {
    let Site { catalog, prelude, table, name, data_dir, truth } = site;
    let total = YEARS * ROWS_A_YEAR;
    // First use of the catalog, and the first half into the archive.
    sql(data_dir, prelude).success("CREATE CATALOG");
    let Some(first) = produce(0, total / 2) else { return };
    assert!(first["nulls"].as_u64().expect("a number") > 50, "some messages have no value: {first}");
    let kills = archive_under_fire(data_dir, table, 7);
    for step in ["read", "continuity", "write-file", "verify-file", "commit", "ack"] {
        assert!(kills.get(step).is_some_and(|n| *n > 0), "never killed at `{step}`: {kills:?}");
    }
    let commits = commits_of(data_dir);
    assert!(commits >= 50, "{commits} commits");
    archived();

    let second = produce(total / 2, total).expect("as before");
    assert!(first["rows"].as_u64().expect("a number") + second["rows"].as_u64().expect("a number") >= 200_000);

    let prelude = format!(
        "USE CATALOG {catalog};\nALTER TABLE {name} ADD (WATERMARK FOR time_hour AS time_hour - INTERVAL '14' DAY);\n"
    );
    sql(data_dir, &prelude).success("ALTER TABLE");
    let query = DAILY.replace("FROM weather", &format!("FROM {name}"));

    let batch = sql(data_dir, &format!("USE CATALOG {catalog};\nSET 'execution.runtime-mode' = 'batch';\n{query};\n"))
        .success("the batch query");
    println!("batch: {}", compare(truth, &batch.stdout, "batch", DAILY_DUCKDB, DOUBLES).trim());
    let [archive, log] = rows_by_tier(&batch.stderr);
    // Half was archived: what the null messages take from either side is below a percent.
    let half = u64::from(total / 2);
    assert!(archive.abs_diff(half) < half / 100 && log.abs_diff(half) < half / 100, "archive {archive}, log {log}");

    for workers in [1, 3] {
        let hinted = query.replace(
            &format!("FROM {name}"),
            &format!("FROM {name} /*+ OPTIONS('scan.bounded.mode'='latest-offset') */"),
        );
        let script = format!("USE CATALOG {catalog};\nSET 'parallelism.default' = '{workers}';\n{hinted};\n");
        let stream = sql(data_dir, &script).success("the streaming query");
        let what = format!("streaming-{workers}");
        println!("{what}: {}", compare(truth, &stream.stdout, &what, DAILY_DUCKDB, DOUBLES).trim());
        assert_eq!(rows_by_tier(&stream.stderr), [archive, log]);
    }
}

#[test]
fn the_daily_weather_of_both_tiers_is_what_duckdb_computes() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data_dir, truth) = (folder.path().join("data"), folder.path().join("truth.csv"));
    let name = format!("weather_{}", std::process::id());
    let produce = Produce { years: YEARS, ..Produce::new(&pulsar, &name, &truth) };
    let site = Site {
        catalog: "p",
        prelude: pulsar.create_catalog("p"),
        table: &format!("p.`public/default`.{name}"),
        name: &name,
        data_dir: &data_dir,
        truth: &truth,
    };
    the_weather_is_what_duckdb_computes(&site, |first, last| produce.rows(first, last), || {});
}

#[test]
fn the_same_weather_on_the_embedded_log_which_lets_the_archived_half_go() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data_dir, truth) = (folder.path().join("data"), folder.path().join("truth.csv"));
    let log = folder.path().join("log");
    let produce =
        ProduceEmbedded { data_dir: &data_dir, table: "e.default_database.weather", truth: &truth, years: YEARS };
    let site = Site {
        catalog: "e",
        prelude: format!(
            "CREATE CATALOG e WITH ('type'='pulsar', 'service-url'='embedded:{}', 'segment-entries'='10', 'retention'='0 s');\n\
             CREATE TABLE e.default_database.weather ({COLUMNS}) WITH ('partitions'='3');\n",
            log.display()
        ),
        table: produce.table,
        name: "weather",
        data_dir: &data_dir,
        truth: &truth,
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let rows = |first, last| {
        if first == 0 {
            // Nothing is retained: the pins must be there before the first message.
            let mut archiver = SteppedArchiver::start(&data_dir, produce.table, &[]);
            while archiver.next_step().is_some() {
                archiver.go();
            }
            assert!(archiver.wait().success(), "the archiver of an empty topic");
        }
        runtime.block_on(produce.rows(first, last))
    };
    let trimmed = || {
        let ledgers = runtime.block_on(first_ledgers(&data_dir, produce.table));
        assert!(ledgers.iter().all(|first| *first > 0), "the log still has its first ledgers: {ledgers:?}");
    };
    the_weather_is_what_duckdb_computes(&site, rows, trimmed);
}

/// The first ledger that each partition still has, counted from its own first.
async fn first_ledgers(data_dir: &Path, table: &str) -> Vec<u64> {
    let catalogs = Catalogs::open(data_dir.to_path_buf()).await.expect("a data directory");
    let topic = find_topics(&catalogs, table).await.expect("the table is there").remove(0);
    let mut first = Vec::new();
    for partition in topic.log.partitions(&topic.topic).await.expect("listed") {
        let ledgers = topic.log.ledgers(&partition).await.expect("listed");
        first.push(ledgers.first().map_or(u64::MAX, |ledger| ledger.id));
    }
    first
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
