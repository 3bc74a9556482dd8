//! What selective queries over the archive read, of all its bytes: one key in one hour of a day, and a count behind a publish time.

use std::path::Path;
use std::time::Instant;

use aquifer_processor::sql::Outcome;
use aquifer_server::engine;
use arrow::array::AsArray;

use crate::Failure;
use crate::cli::Settings;
use crate::data::{self, DAY_TABLE, History};
use crate::figures::{Figure, Target, median, report};

/// Measures and reports.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    data::prepare(History::Day, settings)?;
    let folder = History::Day.data_dir(settings);
    let all = parquet_bytes(&folder.join("archive"))? as f64;
    println!("selective: {} bids of one day with 1,000 keys, archived in {:.0} MB", settings.rows, all / 1e6);
    let from = "TIMESTAMP '2023-11-15 12:00:00'";
    let until = "TIMESTAMP '2023-11-15 13:00:00'";
    let hour = format!(
        "SELECT auction, bidder, price, channel, url, dateTime, extra FROM {DAY_TABLE} WHERE sender = 'bidder-42' AND dateTime >= {from} AND dateTime < {until}"
    );
    let rare = format!("SELECT auction, bidder, price, url FROM {DAY_TABLE} WHERE sender = 'nobody'");
    let behind = format!(
        "SELECT count(*) FROM {DAY_TABLE} WHERE publish_time > TO_TIMESTAMP_LTZ({}, 3)",
        data::FIRST_BID_MS + 23 * 3_600_000
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(32 << 20).build()?;
    let mut figures = Vec::new();
    for (what, sql, target) in [
        ("one key in one hour of a day", hour, Some(Target::AtMost(0.05))),
        ("a key that nobody has", rare, None),
        ("count(*) behind a publish time, the last hour", behind, None),
    ] {
        let (mut bytes, mut seconds) = (Vec::new(), Vec::new());
        for _ in 0..settings.runs {
            let (read, took) = runtime.block_on(analyze(&folder, &sql))?;
            bytes.push(read);
            seconds.push(took);
        }
        figures.push(Figure { what: what.into(), ours: median(bytes), yardstick: Some(all), unit: "bytes", target });
        figures.push(Figure {
            what: format!("{what}, time"),
            ours: median(seconds),
            yardstick: None,
            unit: "s",
            target: None,
        });
    }
    report("selective", settings, &figures)
}

/// Bytes that a query reads from the archive, and how long it takes.
async fn analyze(folder: &Path, sql: &str) -> Result<(f64, f64), Failure> {
    let mut session = engine::session(folder).await?;
    session.execute("SET 'execution.runtime-mode' = 'batch'", 1).await?;
    let start = Instant::now();
    let outcome = session.execute(&format!("EXPLAIN ANALYZE {sql}"), 1).await?.outcome;
    let seconds = start.elapsed().as_secs_f64();
    let Outcome::Listing(listing) = outcome else { return Err("EXPLAIN ANALYZE gave no listing".into()) };
    let text: String = listing
        .columns()
        .iter()
        .filter_map(|column| column.as_string_view_opt())
        .flat_map(|column| column.iter().flatten())
        .collect::<Vec<_>>()
        .join("\n");
    // Behind the plans: "TABLE: archive N rows (B bytes), log …"
    let bytes = text
        .split_once("== Run ==")
        .and_then(|(_, run)| run.split_once(": archive "))
        .and_then(|(_, rest)| rest.split_once('('))
        .and_then(|(_, rest)| rest.split_once(" bytes"))
        .and_then(|(bytes, _)| bytes.parse().ok());
    let bytes = bytes.ok_or_else(|| format!("EXPLAIN ANALYZE does not say what was read: {text}"))?;
    Ok((bytes, seconds))
}

/// Bytes of all Parquet files below a folder.
fn parquet_bytes(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += parquet_bytes(&entry.path())?;
        } else if entry.path().extension().is_some_and(|extension| extension == "parquet") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}
