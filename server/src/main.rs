//! The `aquifer` program: arguments in, exit code out. What it does lies in the library.

use std::process::ExitCode;

use aquifer_server::cli::Cli;
use clap::Parser;

/// A stream processor allocates and frees large buffers on every batch: the C library's allocator gives them back to the
/// system each time and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Usage errors end here with code 2, `--help` and `--version` with 0.
    let cli = Cli::parse();
    aquifer_server::start(cli)
}
