//! The command line: what each command takes, with examples.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::output::OutputFormat;

/// Pulsar-native log storage with an integrated stream processor.
#[derive(Debug, Parser)]
#[command(
    name = "aquifer",
    version,
    about,
    max_term_width = 110,
    after_help = "Examples:
  aquifer demo                                    the main job in ten seconds, no broker needed
  aquifer sql -e \"SELECT 1\"
  aquifer sql --help                              each command has examples of its own"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Trace to standard error: -v what happens, -vv more, -vvv all (RUST_LOG sets it finely)
    #[arg(short = 'v', action = ArgAction::Count, global = true)]
    pub trace: u8,

    /// Say on standard error what a statement did: rows per tier, late rows, skipped messages
    #[arg(long, global = true)]
    pub verbose: bool,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sensors → log → archive → the same query in batch and as a stream; no broker, no configuration
    #[command(after_help = "Examples:
  aquifer demo                                    in a new folder under the system's temporary folder
  aquifer demo --data-dir ./my-demo               in this folder, which must be empty or not there")]
    Demo(DemoArguments),

    /// Run SQL: Flink's dialect, batch or streaming; without -e, -f or a pipe a prompt to type at
    #[command(after_help = "Examples:
  aquifer sql                                     a prompt: Tab completes, HELP; says what there is
  aquifer sql -e \"SELECT 1\"
  aquifer sql -f queries.sql --output json
  echo \"SHOW TABLES\" | aquifer sql --data-dir ./aquifer-data
  aquifer sql -i catalogs.sql -e \"SET 'execution.runtime-mode' = 'batch'; SELECT room, COUNT(*) FROM sensors GROUP BY room\"

A streaming query runs until Ctrl-C; an answer that ends comes with
  SET 'execution.runtime-mode' = 'batch', or  FROM t /*+ OPTIONS('scan.bounded.mode' = 'latest-offset') */")]
    Sql(SqlArguments),

    /// The tiers of a topic: move it to Parquet, say what lies where, prove it
    #[command(after_help = "Examples:
  aquifer archive run --once my_pulsar.`public/default`.sensors
  aquifer archive status default_catalog.default_database.sensors
  aquifer archive verify 'my_pulsar.\"public/default\".sensors'")]
    Archive {
        /// What to do with it.
        #[command(subcommand)]
        command: ArchiveCommand,
        /// Where state lies.
        #[command(flatten)]
        data_dir: DataDir,
    },
}

/// Where state lies.
#[derive(Debug, Clone, Args)]
pub struct DataDir {
    /// Folder of the embedded log, of definitions and of archives
    #[arg(long, value_name = "DIR", default_value = "aquifer-data", env = "AQUIFER_DATA_DIR", global = true)]
    pub data_dir: PathBuf,
}

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// Use this folder, empty or not there yet, instead of a new temporary one
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Arguments of `sql`.
#[derive(Debug, Clone, Args)]
pub struct SqlArguments {
    /// Statements to run, with ; between them; may be given several times
    #[arg(short, long, value_name = "STMT")]
    pub execute: Vec<String>,
    /// A file of statements to run after those of -e; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A file of statements to run first; then a prompt, if nothing else is to run
    #[arg(short, long, value_name = "INIT")]
    pub init: Option<PathBuf>,
    /// How results are printed; otherwise as 'sql-client.execution.result-mode' says: tableau
    #[arg(short, long, value_enum)]
    pub output: Option<OutputFormat>,
    /// Go on with the next statement where one fails; the exit code is 1 all the same
    #[arg(long)]
    pub continue_on_error: bool,
    /// Tell on standard error how long each statement takes
    #[arg(long)]
    pub timing: bool,
    /// At the prompt: do not run $XDG_CONFIG_HOME/aquifer/init.sql first
    #[arg(short = 'X', long)]
    pub no_init: bool,
    /// Where state lies.
    #[command(flatten)]
    pub data_dir: DataDir,
}

/// What to do with a topic's archive.
#[derive(Debug, Clone, Subcommand)]
pub enum ArchiveCommand {
    /// Move the topic into Parquet, round after round until Ctrl-C
    #[command(after_help = "Examples:
  aquifer archive run --once my_pulsar.`public/default`.sensors
  aquifer archive run --interval-seconds 60 default_catalog.default_database.sensors

A run may be killed at any moment: nothing is lost or repeated, the next one goes on.")]
    Run(RunArguments),
    /// Show what lies where, per partition
    #[command(after_help = "Example:
  aquifer archive status default_catalog.default_database.sensors")]
    Status {
        /// CATALOG.DATABASE.TABLE, parts quoted with ` or " where they hold dots
        #[arg(value_name = "CATALOG.DATABASE.TABLE")]
        table: String,
    },
    /// Prove chain, checksums and row counts; exit code 1 and the object's name where something is wrong
    #[command(after_help = "Example:
  aquifer archive verify default_catalog.default_database.sensors")]
    Verify {
        /// CATALOG.DATABASE.TABLE, parts quoted with ` or " where they hold dots
        #[arg(value_name = "CATALOG.DATABASE.TABLE")]
        table: String,
    },
}

/// Arguments of `archive run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// CATALOG.DATABASE.TABLE, parts quoted with ` or " where they hold dots
    #[arg(value_name = "CATALOG.DATABASE.TABLE")]
    pub table: String,
    /// Archive what is there now, then end
    #[arg(long)]
    pub once: bool,
    /// Before each step print `step NAME PARTITION` and wait for Enter (drills and tests)
    #[arg(long)]
    pub step: bool,
    /// A file ends after about so many rows
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub rows_per_commit: Option<u64>,
    /// The pause between two rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub interval_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_has_examples() {
        use clap::CommandFactory;
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        for sub in command.get_subcommands() {
            let help = sub.clone().render_long_help().to_string();
            assert!(sub.get_name() == "help" || help.contains("Example"), "{help}");
        }
    }

    #[test]
    fn the_data_dir_may_stand_before_and_after_the_archive_command() {
        for words in [
            ["aquifer", "archive", "--data-dir", "d", "status", "c.d.t"],
            ["aquifer", "archive", "status", "--data-dir", "d", "c.d.t"],
        ] {
            let cli = Cli::try_parse_from(words).expect("fine");
            let Command::Archive { data_dir, .. } = cli.command else { unreachable!("archive was asked for") };
            assert_eq!(data_dir.data_dir, PathBuf::from("d"));
        }
    }
}
