//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

/// Measures Aquifer against yardsticks, as ratios in one run.
#[derive(Debug, Parser)]
#[command(
    name = "aquifer-bench",
    after_help = "Examples:
  aquifer-bench all                       every benchmark, 10 million rows (about 3 GB of disk in --data)
  aquifer-bench replay --rows 100000      a quick look
  aquifer-bench tumble --runs 5           more runs, steadier medians
  aquifer-bench start                     process start to the first row of SELECT 1
  aquifer-bench live --batch 1000         reads a live topic; starts a Pulsar unless --pulsar names one

Build with --release: a debug build measures nothing worth quoting."
)]
pub struct Arguments {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    pub benchmark: Benchmark,
    #[command(flatten)]
    pub settings: Settings,
}

/// What to measure, and what measured processes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Benchmark {
    /// All of them, one after the other
    All,
    /// Process start to the first row of `SELECT 1`
    Start,
    /// Parquet replay in log order, against DataFusion's bare scan of the same files; peak memory
    Replay,
    /// A tumbling window over history, batch and streaming, against DataFusion alone
    Tumble,
    /// Reading a live topic, against the `pulsar` crate with apache-avro and the official Python client
    Live,
    /// Writing Arrow columns to a topic, against the `pulsar` crate's producer
    Write,
    /// A query over 100 partitions to which nobody writes: CPU
    Idle,
    /// One key in one hour of a day, and a count behind a publish time: bytes read
    Selective,
    /// Memory while twice as many rows are read as `--rows` says
    Memory,
    /// Planning a join of ten tables; `SHOW TABLES` over 1,000 topics
    Plan,
    #[value(hide = true)]
    Make,
    #[value(hide = true)]
    MakeDay,
    #[value(hide = true)]
    RunReplay,
    #[value(hide = true)]
    RunScan,
    #[value(hide = true)]
    RunUnordered,
    #[value(hide = true)]
    RunScanTwo,
    #[value(hide = true)]
    RunTumble,
    #[value(hide = true)]
    MakeTopic,
    #[value(hide = true)]
    RunLive,
    #[value(hide = true)]
    RunLiveCrate,
    #[value(hide = true)]
    RunWrite,
    #[value(hide = true)]
    RunWriteCrate,
    #[value(hide = true)]
    RunWriteCrateReady,
}

/// How to measure.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Rows of history
    #[arg(long, default_value_t = 10_000_000)]
    pub rows: u64,
    /// How often ours and the yardstick run, in turn; medians are quoted
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Where the data is made, once for each number of rows; kept for the next run
    #[arg(long, value_name = "FOLDER", default_value = "target/bench-data")]
    pub data: PathBuf,
    /// Where a JSON line a figure is added
    #[arg(long, value_name = "FILE", default_value = "bench/results/latest.jsonl")]
    pub results: PathBuf,
    /// Messages of a live topic; with fewer, what a process costs once counts
    #[arg(long, default_value_t = 5_000_000)]
    pub messages: u64,
    /// Messages in an entry of a live topic
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// A Pulsar to use, as pulsar://HOST:PORT,http://HOST:PORT; without it one is started and stopped again
    #[arg(long, value_name = "ADDRESSES", env = "AQUIFER_BENCH_PULSAR")]
    pub pulsar: Option<String>,
    /// Where pulsar.sh and python.sh lie, which start a Pulsar and make a Python environment
    #[arg(long, value_name = "FOLDER", default_value = "integration-tests/services")]
    pub services: PathBuf,
    /// The topic that a measured process works on
    #[arg(long, hide = true, default_value = "bench")]
    pub topic: String,
    /// The `aquifer` program; by default the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    pub aquifer: Option<PathBuf>,
}

impl Settings {
    /// The folder that holds the history of this many rows: a data directory of `aquifer`.
    pub fn data_dir(&self) -> PathBuf {
        self.data.join(format!("bids-{}", self.rows))
    }
}
