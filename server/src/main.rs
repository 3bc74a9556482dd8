//! The `aquifer` program: arguments in, exit code out. What it does lies in the library.

use std::process::ExitCode;

use aquifer_server::cli::Cli;
use clap::Parser;

fn main() -> ExitCode {
    // Usage errors end here with code 2, `--help` and `--version` with 0.
    let cli = Cli::parse();
    aquifer_server::start(cli)
}
