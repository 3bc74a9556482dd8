//! A test that starts itself as another process, hears what it was told, line by line, and kills it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// After so long a child that says nothing is stuck.
const LONGEST: Duration = Duration::from_secs(60);

/// The child.
#[derive(Debug)]
pub struct Killed {
    child: Child,
    lines: Receiver<String>,
}

impl Killed {
    /// Starts the ignored test of this name in a process of its own.
    pub fn start(test: &str, settings: &[(&str, String)]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a test has a path"))
            .args(["--exact", test, "--ignored", "--nocapture"])
            .envs(settings.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary can be started");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                // The last line may be cut off by the kill: then it was not told.
                let Ok(line) = line else { return };
                if let Some(told) = line.strip_suffix('.')
                    && sender.send(told.to_string()).is_err()
                {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line; fails if the child has ended or is stuck.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(LONGEST).expect("the child goes on")
    }

    /// SIGKILL; gives what it had said and nobody heard.
    pub fn kill(&mut self) -> Vec<String> {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(LONGEST) {
            rest.push(line);
        }
        rest
    }
}

/// What a child says. The point ends a line that is whole.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}.").and_then(|()| out.flush()).expect("the test listens");
}
