//! `aquifer-containers COMMAND ARGUMENTS…` runs a command with `AQUIFER_TEST_PULSAR` naming a Pulsar in a container, which ends with it.

use std::process::ExitCode;

use aquifer_integration_tests::containers::Pulsar;

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(command) = words.next() else {
        eprintln!("usage: aquifer-containers COMMAND ARGUMENTS…");
        return ExitCode::from(2);
    };
    let pulsar = match Pulsar::start().await {
        Ok(pulsar) => pulsar,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!("AQUIFER_TEST_PULSAR={}", pulsar.address());
    let status = tokio::process::Command::new(&command)
        .args(words)
        .env("AQUIFER_TEST_PULSAR", pulsar.address())
        .env("AQUIFER_TEST_REQUIRE", "1")
        .status()
        .await;
    match status {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("`{}` cannot be started: {error}", command.to_string_lossy());
            ExitCode::FAILURE
        }
    }
}
