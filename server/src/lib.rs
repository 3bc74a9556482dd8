//! The `aquifer` program, but for its `main`: commands, shell and what they print.
//!
//! ```text
//!  cli ─► start (TLS provider, traces, runtime, Ctrl-C) ─┬─► shell    statements ─► output (table, changelog, csv, json); interactive: a prompt before it
//!                                                      ├─► archive  run, status, verify
//!                                                      └─► demo     the main job, without a broker
//! ```
//!
//! Exit codes: 0, 1 an error, 2 wrong usage, 130 Ctrl-C. Results go to standard output, all else to standard error.

pub mod archive;
pub mod cli;
pub mod demo;
pub mod engine;
pub mod interactive;
pub mod interrupt;
pub mod output;
pub mod shell;

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use aquifer_model::{Error, Result};
use tracing_subscriber::EnvFilter;

use cli::{ArchiveCommand, Cli, Command, SqlArguments};
use interrupt::Interrupt;
use shell::{Ended, Failure, Shell, ShellOptions};

/// Debug builds of DataFusion plan deep trees; the memory is reserved, not used.
const STACK_BYTES: usize = 32 << 20;
/// The exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Does what the command line says.
pub fn start(cli: Cli) -> ExitCode {
    // One provider for all of the process; it fails only where there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    trace_to_stderr(cli.trace);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Error::internal("the runtime cannot be started").with_source(error)),
    };
    // On a thread of the runtime, whose stack is large enough.
    let ended = runtime.block_on(async { tokio::spawn(dispatch(cli)).await });
    runtime.shutdown_background();
    match ended {
        Ok(Ok(Ended::Interrupted)) => ExitCode::from(INTERRUPTED),
        Ok(Ok(Ended::Normally | Ended::Quit) | Err(Failure::PipeClosed)) => ExitCode::SUCCESS,
        Ok(Err(Failure::Usage(message))) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
        Ok(Err(Failure::Told)) => ExitCode::FAILURE,
        Ok(Err(Failure::Error(error))) => fail(&error),
        Err(error) => fail(&Error::internal(format!("a fault of aquifer's own: {error}"))),
    }
}

fn fail(error: &Error) -> ExitCode {
    eprintln!("[ERROR] {error}");
    ExitCode::FAILURE
}

fn trace_to_stderr(level: u8) {
    let filter = match (level, std::env::var("RUST_LOG")) {
        (0, Ok(filter)) => EnvFilter::new(filter),
        (0, Err(_)) => EnvFilter::new("error"),
        (1, _) => EnvFilter::new("warn,aquifer=info"),
        (2, _) => EnvFilter::new("info,aquifer=debug"),
        _ => EnvFilter::new("debug,aquifer=trace"),
    };
    let ansi = std::io::stderr().is_terminal();
    // It fails only where a test has set one already.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).try_init();
}

async fn dispatch(cli: Cli) -> std::result::Result<Ended, Failure> {
    match cli.command {
        Command::Sql(arguments) => Box::pin(sql(arguments, cli.verbose)).await,
        Command::Archive { command, data_dir } => {
            let catalogs = engine::catalogs(&data_dir.data_dir).await?;
            let mut out = std::io::stdout();
            match command {
                ArchiveCommand::Run(arguments) => {
                    archive::run(&catalogs, &arguments, &mut out, Interrupt::listen(true)).await
                }
                ArchiveCommand::Status { table } => archive::status(&catalogs, &table, &mut out).await,
                ArchiveCommand::Verify { table } => archive::verify(&catalogs, &table, &mut out).await,
            }
        }
        Command::Demo(arguments) => {
            let mut interrupt = Interrupt::listen(true);
            let mut out = std::io::stdout();
            tokio::select! {
                ended = Box::pin(demo::run(&arguments, &mut out)) => ended,
                () = interrupt.wait() => Ok(Ended::Interrupted),
            }
        }
    }
}

async fn sql(arguments: SqlArguments, verbose: bool) -> std::result::Result<Ended, Failure> {
    let scripts = scripts(&arguments)?;
    let session = engine::session(&arguments.data_dir.data_dir).await?;
    let mut shell = Shell::new(
        session,
        ShellOptions {
            output: arguments.output,
            verbose,
            timing: arguments.timing,
            continue_on_error: arguments.continue_on_error,
            has_terminal: std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        },
    );
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout());
    let mut err = std::io::stderr();
    let is_interactive = scripts.is_none();
    let interrupt = Interrupt::listen(!is_interactive);
    let settings = interactive::settings_file().filter(|_| is_interactive && !arguments.no_init);
    for file in settings.iter().chain(&arguments.init) {
        let ended = shell.run_file(file, &mut out, &mut err, &interrupt).await;
        out.flush().map_err(Failure::from)?;
        match ended? {
            Ended::Normally => {}
            ended => return Ok(ended),
        }
    }
    let Some(scripts) = scripts else {
        return interactive::run(&mut shell, &mut out, &interrupt).await;
    };
    let mut failed = false;
    for script in scripts {
        let ended = shell.run(&script, &mut out, &mut err, &interrupt).await;
        out.flush().map_err(Failure::from)?;
        match ended {
            Ok(Ended::Normally) => {}
            Ok(ended) => return Ok(ended),
            Err(Failure::Told) if arguments.continue_on_error => failed = true,
            Err(failure) => return Err(failure),
        }
    }
    if failed { Err(Failure::Told) } else { Ok(Ended::Normally) }
}

/// The texts to run, in order: each `-e`, the file; without any, standard input. `None`: what the user types at a prompt.
fn scripts(arguments: &SqlArguments) -> std::result::Result<Option<Vec<String>>, Failure> {
    let mut scripts = arguments.execute.clone();
    match &arguments.file {
        Some(path) if path.as_os_str() == "-" => scripts.push(read_stdin()?),
        Some(path) => scripts.push(read_file(path)?),
        None if !arguments.execute.is_empty() => {}
        None if std::io::stdin().is_terminal() => return Ok(None),
        None => scripts.push(read_stdin()?),
    }
    Ok(Some(scripts))
}

fn read_file(path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::invalid(format!("the script `{}` cannot be read", path.display())).with_source(error))
}

fn read_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Error::invalid("standard input cannot be read").with_source(error))?;
    Ok(text)
}
