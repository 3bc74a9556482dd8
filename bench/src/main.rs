//! Loads and numbers: each benchmark runs ours and a yardstick in turn, three times, and quotes the medians and their ratio.
//!
//! ```text
//!  data (made once, through log and archiver) ─► a fresh process a run: ours, yardstick, ours, … ─► medians ─► table + a JSON line a figure
//! ```
//!
//! Every run is a process of its own, so that no run inherits another's memory, threads or caches but the page cache, which the first pair warms.

mod broker;
mod cli;
mod data;
mod figures;
mod idle;
mod live;
mod measure;
mod plan;
mod replay;
mod selective;
mod start;
mod tumble;
mod write;
mod yardstick;

use std::process::ExitCode;

use clap::Parser;

use crate::broker::Broker;
use crate::cli::{Arguments, Benchmark};
use crate::data::History;
use crate::measure::Outcome;

/// The allocator of the `aquifer` program, for ours and the yardsticks alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
            tumble::run(settings)?;
            selective::run(settings)?;
            replay::memory(settings)?;
            let broker = Broker::find(settings)?;
            live::run(settings, &broker)?;
            write::run(settings, &broker)?;
            idle::run(settings, &broker)?;
            plan::run(settings, &broker)
        }
        Benchmark::Start => start::run(settings),
        Benchmark::Replay => replay::run(settings),
        Benchmark::Tumble => tumble::run(settings),
        Benchmark::Selective => selective::run(settings),
        Benchmark::Memory => replay::memory(settings),
        Benchmark::Live => live::run(settings, &Broker::find(settings)?),
        Benchmark::Write => write::run(settings, &Broker::find(settings)?),
        Benchmark::Idle => idle::run(settings, &Broker::find(settings)?),
        Benchmark::Plan => plan::run(settings, &Broker::find(settings)?),
        // What measured processes do.
        Benchmark::Make => inside(data::make(History::Bids, settings)),
        Benchmark::MakeDay => inside(data::make(History::Day, settings)),
        Benchmark::MakeTopic => inside(live::make(settings)),
        Benchmark::RunLive => inside(live::ours(settings)),
        Benchmark::RunLiveCrate => inside(live::by_crate(settings)),
        Benchmark::RunWrite => inside(write::ours(settings)),
        Benchmark::RunWriteCrate => inside(write::by_crate(settings, false)),
        Benchmark::RunWriteCrateReady => inside(write::by_crate(settings, true)),
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
