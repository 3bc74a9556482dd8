//! A tumbling window over history: batch against DataFusion alone on the same files (CPU of the whole process), and streaming as a figure.

use crate::cli::{Benchmark, Settings};
use crate::figures::{Figure, Target, median, report};
use crate::measure::{self, Cost, aquifer, run_self};
use crate::{Failure, data, yardstick};

/// The query, the same in both modes but for what is said of its end.
fn script(mode: &str, hint: &str) -> String {
    format!(
        "SET 'execution.runtime-mode' = '{mode}';
SELECT channel, TUMBLE_END(dateTime, INTERVAL '10' SECOND) AS ends, COUNT(*) AS bids, MAX(price) AS highest, SUM(price) AS total
FROM {table}{hint} GROUP BY TUMBLE(dateTime, INTERVAL '10' SECOND), channel;",
        table = data::TABLE
    )
}

/// Measures and reports.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    data::prepare(data::History::Bids, settings)?;
    println!(
        "tumble: windows of 10 s by channel over {} bids; DataFusion with {}",
        settings.rows,
        yardstick::SETTINGS_TEXT
    );
    let (mut batch, mut streaming, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.runs {
        batch.push(ours(settings, &script("batch", ""))?);
        let (outcome, cost) = run_self(Benchmark::RunTumble, settings)?;
        alone.push((outcome.rows, cost));
        streaming.push(ours(settings, &script("streaming", " /*+ OPTIONS('scan.bounded.mode'='latest-offset') */"))?);
    }
    for ((theirs, _), cost) in alone.iter().zip(&batch) {
        if *theirs != cost.lines || cost.lines == 0 {
            return Err(format!("batch gave {} rows and DataFusion {theirs}: no figure", cost.lines).into());
        }
    }
    if let Some(cost) = streaming.iter().find(|cost| cost.lines != batch[0].lines) {
        return Err(format!("streaming gave {} rows and batch {}: no figure", cost.lines, batch[0].lines).into());
    }
    let of = |runs: &[Cost], figure: fn(&Cost) -> f64| median(runs.iter().map(figure).collect());
    let alone: Vec<Cost> = alone.into_iter().map(|(_, cost)| cost).collect();
    let (cpu, wall): (fn(&Cost) -> f64, fn(&Cost) -> f64) = (|cost| cost.cpu_seconds, |cost| cost.seconds);
    let figures = [
        Figure {
            what: "batch, CPU".into(),
            ours: of(&batch, cpu),
            yardstick: Some(of(&alone, cpu)),
            unit: "s",
            target: Some(Target::AtMost(1.5)),
        },
        Figure {
            what: "batch, time".into(),
            ours: of(&batch, wall),
            yardstick: Some(of(&alone, wall)),
            unit: "s",
            target: None,
        },
        Figure {
            what: "streaming over history, CPU".into(),
            ours: of(&streaming, cpu),
            yardstick: Some(of(&alone, cpu)),
            unit: "s",
            target: None,
        },
        Figure {
            what: "streaming over history".into(),
            ours: settings.rows as f64 / of(&streaming, wall),
            yardstick: None,
            unit: "rows/s",
            target: None,
        },
    ];
    report("tumble", settings, &figures)
}

fn ours(settings: &Settings, script: &str) -> Result<Cost, Failure> {
    let mut command = aquifer(settings)?;
    command.args(["sql", "--output", "json", "--data-dir"]).arg(settings.data_dir()).args(["-e", script]);
    measure::run(command, |_| {})
}
