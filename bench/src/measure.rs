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
    /// CPU, user and system, of the work itself where it was counted.
    pub cpu_seconds: f64,
}

impl Outcome {
    /// An outcome whose peak is not known yet.
    pub fn new(rows: u64, took: Duration) -> Self {
        Self { rows, seconds: took.as_secs_f64(), ..Self::default() }
    }

    /// CPU of one row, in microseconds.
    pub fn cpu_micros_a_row(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.rows.max(1) as f64
    }

    /// One line of JSON.
    pub fn to_line(self) -> String {
        json!({"rows": self.rows, "seconds": self.seconds, "peak_bytes": self.peak_bytes, "cpu_seconds": self.cpu_seconds})
            .to_string()
    }

    /// Reads what [`Outcome::to_line`] wrote.
    pub fn of_line(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            rows: value.get("rows")?.as_u64()?,
            seconds: value.get("seconds")?.as_f64()?,
            peak_bytes: value.get("peak_bytes")?.as_u64()?,
            cpu_seconds: value.get("cpu_seconds")?.as_f64()?,
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
        Benchmark::MakeDay => "make-day",
        Benchmark::MakeTopic => "make-topic",
        Benchmark::RunLive => "run-live",
        Benchmark::RunLiveCrate => "run-live-crate",
        Benchmark::RunWrite => "run-write",
        Benchmark::RunWriteCrate => "run-write-crate",
        Benchmark::RunWriteCrateReady => "run-write-crate-ready",
        other => return Err(format!("{other:?} is no work of a measured process").into()),
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).arg("--rows").arg(settings.rows.to_string()).arg("--data").arg(&settings.data);
    command.arg("--messages").arg(settings.messages.to_string()).arg("--batch").arg(settings.batch.to_string());
    command.arg("--topic").arg(&settings.topic);
    if let Some(pulsar) = &settings.pulsar {
        command.arg("--pulsar").arg(pulsar);
    }
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
    cpu_of(&fs::read_to_string("/proc/self/stat")?, 13)
}

/// CPU of this process so far, in seconds.
pub fn own_cpu() -> Result<f64, Failure> {
    cpu_of(&fs::read_to_string("/proc/self/stat")?, 11)
}

/// CPU of a running process so far, in seconds.
pub fn cpu_of_process(id: u32) -> Result<f64, Failure> {
    cpu_of(&fs::read_to_string(format!("/proc/{id}/stat"))?, 11)
}

/// Two neighbouring fields of a `stat` file, user and system ticks, as seconds. `at` counts from the field behind the program's name.
fn cpu_of(stat: &str, at: usize) -> Result<f64, Failure> {
    // The second field is the program's name in brackets and may hold blanks; utime is field 14, cutime 16.
    let rest = stat.rsplit_once(')').ok_or("/proc/…/stat is of an unknown form")?.1;
    let ticks: Vec<f64> = rest.split_whitespace().skip(at).take(2).filter_map(|field| field.parse().ok()).collect();
    match ticks.as_slice() {
        [user, system] => Ok((user + system) / TICKS_PER_SECOND),
        _ => Err("/proc/…/stat is of an unknown form".into()),
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
        let outcome = Outcome { rows: 3, seconds: 1.5, peak_bytes: own_peak_bytes(), cpu_seconds: 0.25 };
        let read = Outcome::of_line(&outcome.to_line()).expect("written by us");
        assert_eq!((read.rows, read.seconds, read.peak_bytes, read.cpu_seconds), (3, 1.5, outcome.peak_bytes, 0.25));
        assert!(outcome.peak_bytes > 1 << 20);
    }
}
