//! Replay: all columns of the archived bids in log order through the unified reader, against DataFusion's bare scan of the same files.

use std::time::Instant;

use aquifer_model::{Cut, Interval, Partition};
use aquifer_storage::reader::{ReadRequest, TieredTopic, Tiers};

use crate::cli::{Benchmark, Settings};
use crate::figures::{Figure, Target, median, report};
use crate::measure::{Outcome, run_self};
use crate::{Failure, data, yardstick};

/// The most memory that a replay may take.
const MEMORY_BOUND: f64 = 300e6;

/// Measures and reports.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    data::prepare(data::History::Bids, settings)?;
    println!(
        "replay: {} bids of {} columns; DataFusion with {}",
        settings.rows,
        data::COLUMNS.len(),
        yardstick::SETTINGS_TEXT
    );
    let (mut ours, mut scans) = (Vec::new(), Vec::new());
    let (mut unordered, mut scans_two) = (Vec::new(), Vec::new());
    for _ in 0..settings.runs {
        ours.push(checked(Benchmark::RunReplay, settings)?);
        scans.push(checked(Benchmark::RunScan, settings)?);
        unordered.push(checked(Benchmark::RunUnordered, settings)?);
        scans_two.push(checked(Benchmark::RunScanTwo, settings)?);
    }
    let of = |runs: &[(Outcome, f64)], figure: fn(&(Outcome, f64)) -> f64| median(runs.iter().map(figure).collect());
    let rate = |(outcome, _): &(Outcome, f64)| outcome.rows as f64 / outcome.seconds;
    let peak = |(outcome, _): &(Outcome, f64)| outcome.peak_bytes as f64;
    let cpu = |(_, cpu): &(Outcome, f64)| *cpu;
    let figures = [
        Figure {
            what: "rate".into(),
            ours: of(&ours, rate),
            yardstick: Some(of(&scans, rate)),
            unit: "rows/s",
            target: Some(Target::AtLeast(0.8)),
        },
        Figure { what: "CPU".into(), ours: of(&ours, cpu), yardstick: Some(of(&scans, cpu)), unit: "s", target: None },
        Figure {
            what: "unordered rate, two threads each".into(),
            ours: of(&unordered, rate),
            yardstick: Some(of(&scans_two, rate)),
            unit: "rows/s",
            target: Some(Target::AtLeast(0.95)),
        },
        Figure {
            what: "unordered CPU, two threads each".into(),
            ours: of(&unordered, cpu),
            yardstick: Some(of(&scans_two, cpu)),
            unit: "s",
            target: None,
        },
        Figure {
            what: "peak memory, of 300 MB".into(),
            ours: of(&ours, peak),
            yardstick: Some(MEMORY_BOUND),
            unit: "bytes",
            target: Some(Target::AtMost(1.0)),
        },
        Figure {
            what: "peak memory, of the scan's".into(),
            ours: of(&ours, peak),
            yardstick: Some(of(&scans, peak)),
            unit: "bytes",
            target: None,
        },
    ];
    report("replay", settings, &figures)
}

/// Memory while twice as many rows are read as the settings say, beside that of a tenth of them.
pub fn memory(settings: &Settings) -> Result<(), Failure> {
    let peak = |rows: u64| -> Result<f64, Failure> {
        let settings = Settings { rows, ..settings.clone() };
        data::prepare(data::History::Bids, &settings)?;
        let peaks: Result<Vec<f64>, Failure> =
            (0..settings.runs).map(|_| Ok(checked(Benchmark::RunReplay, &settings)?.0.peak_bytes as f64)).collect();
        Ok(median(peaks?))
    };
    let rows = settings.rows * 2;
    println!("memory: replay of {rows} bids");
    let (all, tenth) = (peak(rows)?, peak(rows / 10)?);
    let figure =
        |what: String, yardstick, target| Figure { what, ours: all, yardstick: Some(yardstick), unit: "bytes", target };
    let figures = [
        figure(format!("peak while reading {rows} rows, of 300 MB"), MEMORY_BOUND, Some(Target::AtMost(1.0))),
        figure("peak, beside that of a tenth of the rows".into(), tenth, None),
    ];
    report("memory", &Settings { rows, ..settings.clone() }, &figures)
}

/// Runs one side; an answer with other rows than were written is no figure.
fn checked(work: Benchmark, settings: &Settings) -> Result<(Outcome, f64), Failure> {
    let (outcome, cost) = run_self(work, settings)?;
    if outcome.rows != settings.rows {
        return Err(format!("{work:?} read {} of {} rows", outcome.rows, settings.rows).into());
    }
    Ok((outcome, cost.cpu_seconds))
}

/// One replay, in this process.
pub async fn once(settings: &Settings) -> Result<Outcome, Failure> {
    read(settings, 1).await
}

/// One read of all rows in any order, by two readers side by side.
pub async fn unordered(settings: &Settings) -> Result<Outcome, Failure> {
    read(settings, 2).await
}

async fn read(settings: &Settings, readers: usize) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let topic = data::topic(settings).await?;
    let ends = topic.end_cuts().await?;
    let mut tasks = Vec::new();
    for (partition, end) in ends {
        for stretch in topic.stretches(&partition, (Cut::Start, end), readers, 1).await? {
            tasks.push(tokio::spawn(read_stretch(topic.clone(), partition.clone(), stretch)));
        }
    }
    let mut rows = 0;
    for task in tasks {
        rows += task.await??;
    }
    Ok(Outcome::new(rows, start.elapsed()))
}

async fn read_stretch(topic: TieredTopic, partition: Partition, stretch: Interval) -> Result<u64, Failure> {
    let mut rows = 0u64;
    let request = ReadRequest {
        columns: data::COLUMNS.iter().map(|(name, _)| (*name).to_string()).collect(),
        filter: None,
        time_column: None,
        tiers: Tiers::Both,
        batch_rows: 8192,
        decoders: 1,
    };
    let mut reader = topic.open(&partition, stretch.from, Some(stretch.to), request).await?;
    while let Some(batch) = reader.next().await? {
        rows += batch.rows.num_rows() as u64;
    }
    let statistics = reader.statistics();
    if statistics.log_rows > 0 {
        return Err(format!("{} rows came from the log: this measures Parquet", statistics.log_rows).into());
    }
    Ok(rows)
}
