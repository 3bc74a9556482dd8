//! `aquifer demo`: the main job, without a broker and without configuration.
//!
//! ```text
//!  a day of readings ─► topic `sensors` ─► the older part into Parquet, the log lets it go
//!                                       ├─► the talk's query, batch, over both tiers ────────────────┐
//!                                       └─► the same as a stream, history → live, ─► `aggregations` ─┴─► proof: stream + late = batch
//! ```
//!
//! Everything goes the way a user's statements go: through the session's SQL, the topic sink, the archiver and the reader.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_catalog::Catalogs;
use aquifer_model::{ChangeBatch, Error, Result};
use aquifer_processor::sink::{TableWriter, writable_columns};
use aquifer_processor::sql::{Outcome, Report, Running, Session};
use aquifer_storage::archive::archiver::{ArchiveSettings, Archiver};
use aquifer_storage::archive::status::{PartitionStatus, status};
use aquifer_storage::embedded::EmbeddedSettings;
use aquifer_storage::reader::TieredTopic;
use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{Float64Type, TimestampMillisecondType};
use rand::{Rng, SeedableRng};

use crate::cli::DemoArguments;
use crate::engine;
use crate::shell::{Ended, Failure};

const ROOMS: [&str; 4] = ["attic", "cellar", "kitchen", "study"];
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2024-05-01, in milliseconds since 1970.
const START: i64 = 1_714_521_600_000;
/// How much later than the newest reading one may come: what the watermark allows.
const ALLOWED: i64 = 5 * MINUTE;
const SEED: u64 = 2024;
const TOO_LATE: usize = 3;

const QUERY: &str = "SELECT room, TUMBLE_END(rowtime, INTERVAL '1' HOUR), AVG(temperature)\n\
                     FROM sensors GROUP BY TUMBLE(rowtime, INTERVAL '1' HOUR), room";

/// One reading, in the order of arrival.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    room: usize,
    time: i64,
    temperature: f64,
}

/// The mean temperature of a window, by room and end.
type Answer = BTreeMap<(String, i64), f64>;

/// Runs the demo.
pub async fn run(arguments: &DemoArguments, out: &mut (dyn Write + Send)) -> Result<Ended, Failure> {
    let started = Instant::now();
    let folder = match &arguments.data_dir {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("aquifer-demo-{}", std::process::id())),
    };
    let proof = tell(&folder, out).await?;
    writeln!(out, "\n{proof}   ({:.1} s)", started.elapsed().as_secs_f64())?;
    next_steps(&folder, out)?;
    Ok(Ended::Normally)
}

fn next_steps(folder: &Path, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let folder = folder.display();
    writeln!(out, "\nEverything lies in {folder}. Try next:")?;
    writeln!(out, "  aquifer archive status --data-dir {folder} sensors")?;
    writeln!(
        out,
        "  aquifer sql --data-dir {folder} --verbose -e \"SET 'execution.runtime-mode' = 'batch'; SELECT tier, COUNT(*) FROM sensors GROUP BY tier\""
    )?;
    writeln!(
        out,
        "  aquifer sql --data-dir {folder} -e \"SELECT * FROM aggregations\"     (a stream: Ctrl-C ends it)"
    )?;
    Ok(())
}

/// Does it all, and gives the last line.
async fn tell(folder: &Path, out: &mut (dyn Write + Send)) -> Result<String, Failure> {
    // Small ledgers and no retention, so that one sees the log let go of what is archived.
    let settings = EmbeddedSettings {
        segment_entries: 2,
        retention: Some(Duration::ZERO),
        sync: false,
        ..EmbeddedSettings::default()
    };
    let catalogs = Catalogs::open_with(PathBuf::from(folder), settings).await?;
    let mut session = engine::session_over(catalogs);
    let readings = make_readings();
    let live_from = readings.len() * 2 / 3;

    statement(
        &mut session,
        "CREATE TABLE sensors (room STRING, temperature DOUBLE, rowtime TIMESTAMP(3), WATERMARK FOR rowtime AS rowtime - INTERVAL '5' MINUTE)",
    )
    .await?;
    statement(&mut session, "CREATE TABLE aggregations (room STRING, hour_end TIMESTAMP(3), temperature DOUBLE)")
        .await?;
    statement(&mut session, "SET 'execution.runtime-mode' = 'batch'").await?;
    let topic = topic_of(&session, "sensors").await?;
    // The archives' pins stand before the first row, so nothing is trimmed that is not archived.
    archive(&topic).await?;
    archive(&topic_of(&session, "aggregations").await?).await?;

    write_readings(&session, &readings[..live_from / 2]).await?;
    let before = tiers(&topic).await?;
    archive(&topic).await?;
    write_readings(&session, &readings[live_from / 2..live_from]).await?;
    let after = tiers(&topic).await?;
    writeln!(
        out,
        "1. {live_from} of {} readings of a day are in the topic `sensors`, out of order as they came.",
        readings.len()
    )?;
    writeln!(
        out,
        "2. The older {} are in Parquet now; the log had {} ledgers and let {} of them go.",
        after.archive_rows,
        before.ledgers.len(),
        before.ledgers.iter().filter(|old| after.ledgers.iter().all(|new| new.id != old.id)).count()
    )?;
    draw(&after, out)?;

    // The stream begins with the history and goes on with what comes while it runs.
    for set in [
        "SET 'execution.runtime-mode' = 'streaming'",
        // A watermark after every row: what is late is late by the row, not by the batch.
        "SET 'pipeline.auto-watermark-interval' = '0 ms'",
    ] {
        statement(&mut session, set).await?;
    }
    let Outcome::Insert(stream) = execute(&mut session, &format!("INSERT INTO aggregations\n{QUERY}")).await? else {
        return Err(Error::internal("an INSERT is running").into());
    };
    statement(&mut session, "SET 'execution.runtime-mode' = 'batch'").await?;
    writeln!(out, "3. The talk's query runs as a stream, from history to live, into the topic `aggregations`:\n")?;
    writeln!(out, "   INSERT INTO aggregations\n   {}\n", QUERY.replace('\n', "\n   "))?;
    write_readings(&session, &readings[live_from..]).await?;
    // What the sensors say after midnight closes the day's last windows.
    let tomorrow: Vec<Reading> =
        (0..ROOMS.len()).map(|room| Reading { room, time: START + DAY + 2 * ALLOWED, temperature: 0.0 }).collect();
    write_readings(&session, &tomorrow).await?;
    writeln!(out, "4. {} more readings came while it ran.", readings.len() - live_from + tomorrow.len())?;

    let windows = ROOMS.len() * 24;
    let streamed = wait_for_windows(&mut session, windows, &stream).await?;
    let late = stream.report.late_rows();
    drop(stream);
    let (batch, report) = answer(&mut session, QUERY).await?;
    let batch: Answer = batch.into_iter().filter(|((_, end), _)| *end <= START + DAY).collect();
    writeln!(out, "5. The same query in batch, over both tiers: {}.", report.line())?;
    Ok(prove(&readings, &streamed, &batch, late)?)
}

/// Compares the stream's answer, the batch's answer and the readings. The line that says so.
fn prove(readings: &[Reading], streamed: &Answer, batch: &Answer, counted_late: u64) -> Result<String> {
    let late = late_readings(readings);
    if late.len() as u64 != counted_late {
        return Err(Error::internal(format!(
            "{} readings came too late, the stream counted {counted_late}",
            late.len()
        )));
    }
    if streamed.len() != batch.len() {
        return Err(Error::internal(format!("the stream gave {} windows, batch {}", streamed.len(), batch.len())));
    }
    for ((room, end), mean) in batch {
        let key = (room.clone(), *end);
        let streamed = streamed
            .get(&key)
            .ok_or_else(|| Error::internal(format!("the stream has no window of `{room}` that ends at {end}")))?;
        // Stream + late = batch, computed: the late readings are laid onto the stream's mean.
        let of_window = |r: &&Reading| ROOMS[r.room] == room && window_end(r.time) == *end;
        let all = readings.iter().filter(of_window).count();
        let missed: Vec<f64> = late.iter().filter(of_window).map(|r| r.temperature).collect();
        let together = (streamed * (all - missed.len()) as f64 + missed.iter().sum::<f64>()) / all as f64;
        if (together - mean).abs() > 1e-9 * mean.abs().max(1.0) {
            return Err(Error::internal(format!(
                "the window of `{room}` that ends at {end}: the stream with its late readings gives {together}, batch {mean}"
            )));
        }
    }
    Ok(format!(
        "{} readings came too late for the stream; batch counts them; without them both answers are equal: {} windows",
        late.len(),
        batch.len()
    ))
}

fn window_end(time: i64) -> i64 {
    time - time.rem_euclid(HOUR) + HOUR
}

/// The readings that come after the watermark has closed their window.
fn late_readings(readings: &[Reading]) -> Vec<Reading> {
    let mut newest = i64::MIN;
    let mut late = Vec::new();
    for reading in readings {
        if newest > i64::MIN && newest - ALLOWED >= window_end(reading.time) - 1 {
            late.push(reading.clone());
        }
        newest = newest.max(reading.time);
    }
    late
}

/// A reading a minute and room, in an order of arrival that is up to three minutes wrong; some come hours late.
fn make_readings() -> Vec<Reading> {
    let mut random = rand::rngs::StdRng::seed_from_u64(SEED);
    let mut arrivals = Vec::new();
    for minute in 0..DAY / MINUTE {
        for (room, _) in ROOMS.iter().enumerate() {
            let time = START + minute * MINUTE + random.random_range(0..MINUTE);
            let of_day = (minute as f64 / 1440.0 * std::f64::consts::TAU).sin();
            let temperature = 18.0 + room as f64 + 4.0 * of_day + random.random_range(-0.5..0.5);
            let temperature = (temperature * 10.0).round() / 10.0;
            arrivals.push((time + random.random_range(0..3 * MINUTE), Reading { room, time, temperature }));
        }
    }
    for n in 0..TOO_LATE {
        // Spread over the day, so that some are history and one is live.
        let at = (n + 1) * arrivals.len() / (TOO_LATE + 2) + random.random_range(0..100);
        arrivals[at].0 += 2 * HOUR + random.random_range(0..HOUR);
    }
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    arrivals.into_iter().map(|(_, reading)| reading).collect()
}

/// Writes through the sink of the table, as an `INSERT` does.
async fn write_readings(session: &Session, readings: &[Reading]) -> Result<()> {
    let table = session.lookup(&["sensors".to_string()]).await?;
    let columns = writable_columns(&table)?;
    let mut writer = TableWriter::open(&table, &columns, false, &engine::connectors()).await?;
    for chunk in readings.chunks(240) {
        let values: Vec<ArrayRef> = vec![
            Arc::new(chunk.iter().map(|r| Some(ROOMS[r.room])).collect::<StringViewArray>()),
            Arc::new(chunk.iter().map(|r| Some(r.temperature)).collect::<Float64Array>()),
            Arc::new(chunk.iter().map(|r| Some(r.time)).collect::<TimestampMillisecondArray>()),
        ];
        let rows = RecordBatch::try_new(Arc::clone(&columns), values)?;
        writer.write(&ChangeBatch::inserts(rows)).await?;
        writer.end_epoch().await?;
    }
    Ok(())
}

async fn execute(session: &mut Session, text: &str) -> Result<Outcome> {
    Ok(session.execute(text, 1).await?.outcome)
}

/// Runs a statement to its end.
async fn statement(session: &mut Session, text: &str) -> Result<()> {
    if let Outcome::Insert(mut running) | Outcome::Query(mut running) = execute(session, text).await? {
        while let Some(changes) = running.changes.recv().await {
            changes?;
        }
    }
    Ok(())
}

/// The rows of a query over windows: room, end, mean.
async fn answer(session: &mut Session, query: &str) -> Result<(Answer, Arc<dyn Report>)> {
    let Outcome::Query(Running { mut changes, report, .. }) = execute(session, query).await? else {
        return Err(Error::internal("a query gives rows"));
    };
    let mut answer = Answer::new();
    while let Some(batch) = changes.recv().await {
        take_rows(&batch?, &mut answer);
    }
    Ok((answer, report))
}

fn take_rows(batch: &ChangeBatch, answer: &mut Answer) {
    let rows = batch.rows();
    let rooms = rows.column(0).as_string_view();
    let ends = rows.column(1).as_primitive::<TimestampMillisecondType>();
    let means = rows.column(2).as_primitive::<Float64Type>();
    for row in 0..rows.num_rows() {
        answer.insert((rooms.value(row).to_string(), ends.value(row)), means.value(row));
    }
}

/// Reads the results' topic until it holds all windows of the day.
async fn wait_for_windows(session: &mut Session, windows: usize, stream: &Running) -> Result<Answer> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (found, _) = answer(session, "SELECT room, hour_end, temperature FROM aggregations").await?;
        if found.len() >= windows {
            return Ok(found);
        }
        if Instant::now() > deadline || stream.changes.is_closed() {
            return Err(Error::internal(format!("the stream gave {} of {windows} windows", found.len())));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn topic_of(session: &Session, table: &str) -> Result<TieredTopic> {
    match session.lookup(&[table.to_string()]).await?.target {
        aquifer_catalog::catalogs::Target::Topics(topics) => {
            topics.into_iter().next().ok_or_else(|| Error::internal("a topic table has a topic"))
        }
        _ => Err(Error::internal("the demo's tables are topics")),
    }
}

async fn archive(topic: &TieredTopic) -> Result<()> {
    let archiver = Archiver::new(topic.clone(), ArchiveSettings::default());
    for partition in topic.log.partitions(&topic.topic).await? {
        archiver.run_once(&partition).await?;
    }
    Ok(())
}

async fn tiers(topic: &TieredTopic) -> Result<PartitionStatus> {
    let partitions = topic.log.partitions(&topic.topic).await?;
    let partition = partitions.first().ok_or_else(|| Error::internal("a topic has a partition"))?;
    status(topic, partition).await
}

/// The tiers as a picture.
fn draw(status: &PartitionStatus, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let first = status.ledgers.first().map_or(0, |ledger| ledger.id);
    writeln!(out)?;
    writeln!(
        out,
        "   Parquet  ├───────────────────────────┤ {} rows, {} file(s)",
        status.archive_rows, status.archive_files
    )?;
    writeln!(
        out,
        "   log                              ├───────────▶ ledgers from {first}, {} entries after the border",
        status.lag_entries
    )?;
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_the_same_each_time_and_some_readings_are_too_late() {
        let readings = make_readings();
        assert_eq!(readings, make_readings());
        assert_eq!(readings.len(), 5760);
        assert_eq!(late_readings(&readings).len(), TOO_LATE);
        assert!(readings.windows(2).any(|pair| pair[0].time > pair[1].time), "they come out of order");
    }

    #[test]
    fn a_wrong_answer_is_no_proof() {
        let readings = make_readings();
        let late = late_readings(&readings);
        let mean_of = |without_late: bool| -> Answer {
            let mut sums: BTreeMap<(String, i64), (f64, f64)> = BTreeMap::new();
            for reading in readings.iter().filter(|r| !without_late || !late.contains(r)) {
                let sum = sums.entry((ROOMS[reading.room].to_string(), window_end(reading.time))).or_default();
                *sum = (sum.0 + reading.temperature, sum.1 + 1.0);
            }
            sums.into_iter().map(|(key, (sum, count))| (key, sum / count)).collect()
        };
        let (streamed, batch) = (mean_of(true), mean_of(false));
        let line = prove(&readings, &streamed, &batch, 3).expect("equal");
        assert!(line.contains("without them both answers are equal: 96 windows"), "{line}");
        prove(&readings, &streamed, &batch, 2).expect_err("a wrong count");
        let mut wrong = streamed.clone();
        *wrong.values_mut().next().expect("a window") += 0.001;
        prove(&readings, &wrong, &batch, 3).expect_err("a wrong mean");
        wrong.pop_first();
        prove(&readings, &wrong, &batch, 3).expect_err("a window is missing");
    }
}
