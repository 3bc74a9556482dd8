//! Loads and numbers: each benchmark runs ours and a yardstick in turn, three times, and quotes the medians and their ratio.
//!
//! ```text
//!  data (made once, through log and archiver) ─► a fresh process a run: ours, yardstick, ours, … ─► medians ─► table + a JSON line a figure
//! ```
//!
//! Every run is a process of its own, so that no run inherits another's memory, threads or caches but the page cache, which the first pair warms.

mod cli;
mod data;
mod figures;
mod measure;
mod replay;
mod start;
mod tumble;
mod yardstick;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Arguments, Benchmark};
use crate::measure::Outcome;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aquifer-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let settings = &arguments.settings;
    match arguments.benchmark {
        Benchmark::All => {
            start::run(settings)?;
            replay::run(settings)?;
            tumble::run(settings)
        }
        Benchmark::Start => start::run(settings),
        Benchmark::Replay => replay::run(settings),
        Benchmark::Tumble => tumble::run(settings),
        // What measured processes do.
        Benchmark::Make => inside(data::make(settings)),
        Benchmark::RunReplay => inside(replay::once(settings)),
        Benchmark::RunUnordered => inside(replay::unordered(settings)),
        Benchmark::RunScan => inside(yardstick::scan(settings, 1)),
        Benchmark::RunScanTwo => inside(yardstick::scan(settings, 2)),
        Benchmark::RunTumble => inside(yardstick::tumble(settings)),
    }
}

/// Runs one measured piece of work to its end, and prints what it did for the process that measures.
fn inside(work: impl Future<Output = Result<Outcome, Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut outcome = runtime.block_on(work)?;
    outcome.peak_bytes = measure::own_peak_bytes();
    println!("{}", outcome.to_line());
    Ok(())
}
