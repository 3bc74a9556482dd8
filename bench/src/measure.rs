//! Runs a process and tells how long it took, what CPU it used and how much memory it had at most.
//!
//! Linux only: CPU of ended children and peak memory are read from `/proc`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Failure;
use crate::cli::{Benchmark, Settings};

/// The kernel's clock ticks in a second, as `/proc` counts CPU. It is 100 on every Linux since 2.6.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a measured piece of work did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Rows it gave.
    pub rows: u64,
    /// How long the work itself took, without the start of its process.
    pub seconds: f64,
    /// The most memory its process had, in bytes.
    pub peak_bytes: u64,
}

impl Outcome {
    /// An outcome whose peak is not known yet.
    pub fn new(rows: u64, took: Duration) -> Self {
        Self { rows, seconds: took.as_secs_f64(), peak_bytes: 0 }
    }

    pub fn to_line(self) -> String {
        json!({"rows": self.rows, "seconds": self.seconds, "peak_bytes": self.peak_bytes}).to_string()
    }

    fn of_line(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            rows: value.get("rows")?.as_u64()?,
            seconds: value.get("seconds")?.as_f64()?,
            peak_bytes: value.get("peak_bytes")?.as_u64()?,
        })
    }
}

/// What a whole process cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Lines it printed.
    pub lines: u64,
    /// From its start to the first line.
    pub first_line_seconds: f64,
    /// From its start to its end.
    pub seconds: f64,
    /// CPU, user and system, of all its threads.
    pub cpu_seconds: f64,
}

/// Runs a hidden part of this program in a process of its own.
pub fn run_self(work: Benchmark, settings: &Settings) -> Result<(Outcome, Cost), Failure> {
    let name = match work {
        Benchmark::Make => "make",
        Benchmark::RunReplay => "run-replay",
        Benchmark::RunScan => "run-scan",
        Benchmark::RunUnordered => "run-unordered",
        Benchmark::RunScanTwo => "run-scan-two",
        Benchmark::RunTumble => "run-tumble",
        other => return Err(format!("{other:?} is no work of a measured process").into()),
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).arg("--rows").arg(settings.rows.to_string()).arg("--data").arg(&settings.data);
    let mut last = String::new();
    let cost = run(command, |line| last = line.to_string())?;
    let outcome = Outcome::of_line(&last).ok_or_else(|| format!("`{name}` ended without saying what it did"))?;
    Ok((outcome, cost))
}

/// The `aquifer` program.
pub fn aquifer(settings: &Settings) -> Result<Command, Failure> {
    let program: PathBuf = match &settings.aquifer {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("aquifer"),
    };
    if !program.exists() {
        return Err(format!(
            "there is no `{}`: build it with `cargo build --release`, or name it with --aquifer",
            program.display()
        )
        .into());
    }
    Ok(Command::new(program))
}

/// Runs a process to its end and hands over each line that it prints.
pub fn run(mut command: Command, mut line: impl FnMut(&str)) -> Result<Cost, Failure> {
    let cpu_before = cpu_of_ended_children()?;
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut errors = child.stderr.take().ok_or("a process without stderr")?;
    // Read beside, so that a process that complains at length is not held up.
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    let mut cost = Cost::default();
    let mut reader = BufReader::with_capacity(1 << 20, child.stdout.take().ok_or("a process without stdout")?);
    let mut text = String::new();
    while reader.read_line(&mut text)? > 0 {
        if cost.lines == 0 {
            cost.first_line_seconds = start.elapsed().as_secs_f64();
        }
        cost.lines += 1;
        line(text.trim_end());
        text.clear();
    }
    let status = child.wait()?;
    cost.seconds = start.elapsed().as_secs_f64();
    let complaints = complaints.join().unwrap_or_default();
    if !status.success() {
        return Err(format!("{command:?} ended with {status}: {}", complaints.trim()).into());
    }
    cost.cpu_seconds = cpu_of_ended_children()? - cpu_before;
    Ok(cost)
}

/// CPU of all children that have ended and were waited for, in seconds.
fn cpu_of_ended_children() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in brackets and may hold blanks; cutime and cstime are fields 16 and 17.
    let rest = stat.rsplit_once(')').ok_or("/proc/self/stat is of an unknown form")?.1;
    let ticks: Vec<f64> = rest.split_whitespace().skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    match ticks.as_slice() {
        [user, system] => Ok((user + system) / TICKS_PER_SECOND),
        _ => Err("/proc/self/stat is of an unknown form".into()),
    }
}

/// The most memory this process has had, in bytes; 0 where `/proc` does not say.
pub fn own_peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured() {
        let mut command = Command::new("sh");
        command.arg("-c").arg("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo one; echo two");
        let mut lines = Vec::new();
        let cost = run(command, |line| lines.push(line.to_string())).expect("sh runs");
        assert_eq!((lines, cost.lines), (vec!["one".to_string(), "two".to_string()], 2));
        assert!(cost.cpu_seconds > 0.0 && cost.cpu_seconds < 60.0, "{cost:?}");
        assert!(cost.first_line_seconds <= cost.seconds);
    }

    #[test]
    fn a_process_that_fails_is_an_error_with_what_it_said() {
        let mut command = Command::new("sh");
        command.arg("-c").arg("echo it is broken >&2; exit 3");
        let error = run(command, |_| {}).expect_err("it failed").to_string();
        assert!(error.contains("it is broken"), "{error}");
    }

    #[test]
    fn an_outcome_survives_its_line_and_memory_is_known() {
        let outcome = Outcome { rows: 3, seconds: 1.5, peak_bytes: own_peak_bytes() };
        let read = Outcome::of_line(&outcome.to_line()).expect("written by us");
        assert_eq!((read.rows, read.seconds, read.peak_bytes), (3, 1.5, outcome.peak_bytes));
        assert!(outcome.peak_bytes > 1 << 20);
    }
}
