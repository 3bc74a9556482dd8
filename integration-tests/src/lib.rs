//! What the integration tests share: a Pulsar, the `aquifer` binary, and the Python side with its oracles.
//!
//! `make test` sets what these need (see `scripts/test.sh`). A test that needs a service which is not there says so and ends; it does not
//! pass for having run: `AQUIFER_TEST_REQUIRE=1`, which `make test` sets, turns that into a failure.

#![allow(clippy::panic)] // this is test code

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[cfg(feature = "containers")]
pub mod containers;
pub mod endless;
pub mod hostile;
pub mod killed;
pub mod s3;
pub mod slt;
pub mod weather;

/// A running Pulsar.
#[derive(Debug, Clone)]
pub struct Pulsar {
    /// `pulsar://HOST:PORT`
    pub service_url: String,
    /// `http://HOST:PORT`
    pub admin_url: String,
}

impl Pulsar {
    fn parse(text: &str) -> Self {
        let (service_url, admin_url) =
            text.trim().split_once(',').expect("AQUIFER_TEST_PULSAR is pulsar://HOST:PORT,http://HOST:PORT");
        Self { service_url: service_url.to_string(), admin_url: admin_url.to_string() }
    }

    /// The Pulsar that the tests were given.
    pub fn given() -> Option<Self> {
        setting("AQUIFER_TEST_PULSAR").map(|text| Self::parse(&text))
    }

    /// The `CREATE CATALOG` statement for it.
    pub fn create_catalog(&self, name: &str) -> String {
        format!(
            "CREATE CATALOG IF NOT EXISTS {name} WITH ('type'='pulsar', 'service-url'='{}', 'admin-url'='{}');\n",
            self.service_url, self.admin_url
        )
    }

    /// A GET on the admin API.
    pub fn admin(&self, path: &str) -> serde_json::Value {
        let output = Command::new("curl")
            .args(["-fsS", "-m", "30", &format!("{}/admin/v2/{path}", self.admin_url)])
            .output()
            .expect("curl can be started");
        assert!(output.status.success(), "GET {path}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("the admin API answers JSON")
    }
}

/// A Pulsar of the test's own, stopped when dropped.
#[derive(Debug)]
pub struct OwnPulsar {
    /// Where it listens.
    pub pulsar: Pulsar,
    folder: tempfile::TempDir,
    settings: Vec<String>,
}

impl OwnPulsar {
    /// Starts one; `settings` are words for `services/pulsar.sh start`, for example `--small-ledgers`.
    pub fn start(settings: &[&str]) -> Option<Self> {
        let services = setting("AQUIFER_TEST_SERVICES")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings: Vec<String> = settings.iter().map(|setting| setting.to_string()).collect();
        let pulsar = start_pulsar(&services, folder.path(), &settings);
        Some(Self { pulsar, folder, settings })
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(services) = setting("AQUIFER_TEST_SERVICES") {
            let _ = Command::new(Path::new(&services).join("pulsar.sh")).arg("kill").arg(self.folder.path()).status();
        }
    }

    /// Starts it again after it was killed, with its data and under its addresses.
    pub fn start_again(&self) {
        let services = setting("AQUIFER_TEST_SERVICES").expect("it was there");
        start_pulsar(&services, self.folder.path(), &self.settings);
    }
}

fn start_pulsar(services: &str, folder: &Path, settings: &[String]) -> Pulsar {
    let mut command = Command::new(Path::new(services).join("pulsar.sh"));
    command.arg("start").arg(folder).args(settings).stderr(Stdio::inherit());
    let output = command.output().expect("pulsar.sh can be started");
    assert!(output.status.success(), "pulsar.sh start failed");
    Pulsar::parse(&String::from_utf8_lossy(&output.stdout))
}

/// A token for `role` that a broker accepts which was started with `--tokens`; `admin` is its super user.
pub fn token(role: &str) -> Option<String> {
    let services = setting("AQUIFER_TEST_SERVICES")?;
    let script = Path::new(&services).join("pulsar.sh");
    let printed = run(Command::new(script).args(["token", role]), Duration::from_secs(30)).success("pulsar.sh token");
    Some(printed.stdout.trim().to_string())
}

impl Drop for OwnPulsar {
    fn drop(&mut self) {
        // It holds nothing that is worth an orderly end.
        self.kill();
    }
}

/// An environment variable that `make test` sets; where it is missing the test says so, or fails where tests must run.
pub fn setting(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        assert!(std::env::var("AQUIFER_TEST_REQUIRE").is_err(), "{name} is not set, and AQUIFER_TEST_REQUIRE is");
        eprintln!("NOT RUN: {name} is not set (run `make test`)");
    }
    value
}

/// The `aquifer` binary that was built together with this test.
pub fn aquifer_path() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("aquifer");
    assert!(path.exists(), "{} is not built: cargo build --workspace", path.display());
    path
}

/// What a program printed.
#[derive(Debug)]
pub struct Printed {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Printed {
    /// Fails unless it ended well.
    pub fn success(self, what: &str) -> Self {
        assert!(
            self.status.success(),
            "{what} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            tail(&self.stdout),
            tail(&self.stderr)
        );
        self
    }
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(4000);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[from..]
}

/// Runs a command to its end, killing it after `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Printed {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = read_all(child.stdout.take().expect("piped"));
    let stderr = read_all(child.stderr.take().expect("piped"));
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait().expect("a child of ours") {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                panic!(
                    "{command:?} did not end within {limit:?}\n--- stdout\n{}\n--- stderr\n{}",
                    tail(&stdout.recv().unwrap_or_default()),
                    tail(&stderr.recv().unwrap_or_default())
                );
            }
            None => std::thread::park_timeout(Duration::from_millis(10)),
        }
    };
    Printed { status, stdout: stdout.recv().unwrap_or_default(), stderr: stderr.recv().unwrap_or_default() }
}

fn read_all(mut from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// Runs a script through `aquifer sql --output json` and gives what it printed.
pub fn sql(data_dir: &Path, script: &str) -> Printed {
    run(
        Command::new(aquifer_path())
            .args(["sql", "--output", "json", "--verbose", "--data-dir"])
            .arg(data_dir)
            .args(["-e", script]),
        Duration::from_secs(180),
    )
}

/// Runs one of `integration-tests/python/`.
pub fn python(script: &str, arguments: &[&str]) -> Option<Printed> {
    let python = setting("AQUIFER_TEST_PYTHON")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
    Some(run(Command::new(python).arg(script).args(arguments), Duration::from_secs(300)))
}

/// An `aquifer archive run --step` that waits at each of its steps for a word from us.
#[derive(Debug)]
pub struct SteppedArchiver {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl SteppedArchiver {
    /// Starts it on a table, with further arguments for `archive run`.
    pub fn start(data_dir: &Path, table: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(aquifer_path())
            .args(["archive", "run", "--once", "--step", "--data-dir"])
            .arg(data_dir)
            .args(arguments)
            .arg(table)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("aquifer can be started");
        let stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, stdin, lines }
    }

    /// The name of the step it now waits at; `None` when it has ended.
    pub fn next_step(&mut self) -> Option<String> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(step) = line.strip_prefix("step ") {
                        return Some(step.split_whitespace().next().unwrap_or_default().to_string());
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the archiver neither took a step nor ended in 120 s"),
            }
        }
    }

    /// Lets it take the step.
    pub fn go(&mut self) {
        // A broken pipe means that it has ended; the next step says so.
        let _ = self.stdin.write_all(b"\n").and_then(|()| self.stdin.flush());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        drop(self.stdin);
        self.child.wait().expect("a child of ours")
    }
}

/// Rows read from archive and log, from the line that `--verbose` prints.
pub fn rows_by_tier(stderr: &str) -> [u64; 2] {
    let number = |word: &str| {
        let line =
            stderr.lines().rfind(|line| line.contains(word)).unwrap_or_else(|| panic!("no `{word}` in {stderr}"));
        let before = line.split(word).next().expect("found above").trim_end();
        let digits: String = before.chars().rev().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
        digits.chars().rev().filter(char::is_ascii_digit).collect::<String>().parse().expect("a number")
    };
    [number("rows from the archive"), number("rows from the log")]
}
