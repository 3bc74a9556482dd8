//! A script whose last statement has no end, run by the binary, and the numbers that it reads.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{aquifer_path, sql};

/// Writes numbers into the column `n` of a table of the catalog `p`.
pub fn insert(data_dir: &Path, table: &str, numbers: std::ops::Range<i64>) {
    let rows: Vec<String> = numbers.map(|n| format!("({n})")).collect();
    sql(data_dir, &format!("USE CATALOG p;\nINSERT INTO {table} VALUES {};\n", rows.join(", "))).success("INSERT");
}

/// One that runs; killed, as by SIGKILL, when dropped.
#[derive(Debug)]
pub struct Endless {
    child: Child,
    numbers: Receiver<i64>,
    said: Arc<Mutex<String>>,
    /// The numbers that it gave.
    pub seen: BTreeSet<i64>,
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Endless {
    /// Starts a script whose last statement gives numbers `n`.
    pub fn start(data_dir: &Path, script: &str) -> Self {
        let mut child = Command::new(aquifer_path())
            .args(["sql", "--output", "json", "--data-dir"])
            .arg(data_dir)
            .args(["-e", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("aquifer can be started");
        let said = Arc::new(Mutex::new(String::new()));
        let (stderr, heard) = (child.stderr.take().expect("piped"), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                *heard.lock().expect("not poisoned") += &format!("{line}\n");
            }
        });
        let stdout = child.stdout.take().expect("piped");
        let (sender, numbers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                let Some(n) = value.get("n").and_then(serde_json::Value::as_i64) else { continue };
                if sender.send(n).is_err() {
                    break;
                }
            }
        });
        Self { child, numbers, said, seen: BTreeSet::new() }
    }

    /// Waits until its standard error has a text.
    pub fn says(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !self.said.lock().expect("not poisoned").contains(text) {
            assert!(Instant::now() < deadline, "in vain: `{text}` is said");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Takes numbers until it has all of these; none comes twice.
    pub fn take(&mut self, wanted: std::ops::Range<i64>) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while let Some(missing) = wanted.clone().find(|n| !self.seen.contains(n)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let n = self.numbers.recv_timeout(left).unwrap_or_else(|_| {
                panic!("{missing} of {wanted:?} did not come in time, {} others did", self.seen.len())
            });
            assert!(self.seen.insert(n), "{n} came twice");
        }
    }
}
