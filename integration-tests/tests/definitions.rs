//! Two processes change definitions at once and are killed at random: nothing acknowledged is lost, nothing is half there.
//!
//! ```text
//!  child a ─► ALTER CATALOG shared SET ('segment-bytes' = n)   ┐ one definition    ─► prints what was acknowledged ◄─ test: SIGKILL, start again
//!  child b ─► ALTER CATALOG shared SET ('segment-entries' = n) ┘
//!  both    ─► CREATE CATALOG a_n / b_n (its own), CREATE CATALOG both_n (one wins)
//! ```
//!
//! A writer that decided on an old version and overwrote the other's would set the other's option back: the test holds each option against what
//! its writer was told.

#![allow(clippy::panic)] // this is test code

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aquifer_formats::text::{TextStyle, parse_zone, text_columns};
use aquifer_processor::sql::{Outcome, Session};
use aquifer_server::engine::session;
use rand::{Rng, SeedableRng};

const KILLS: u32 = 30;
const LONGEST: Duration = Duration::from_secs(60);
const WRITERS: [(&str, &str); 2] = [("a", "segment-bytes"), ("b", "segment-entries")];

/// What a writer was told, from the lines of all its lives.
#[derive(Debug, Default)]
struct Told {
    /// The last value that was begun, and the last that was acknowledged.
    begun: u64,
    acknowledged: u64,
    created: Vec<String>,
    won: Vec<String>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("begin", n)) => self.begun = n.parse().expect("a number"),
            Some(("set", n)) => self.acknowledged = n.parse().expect("a number"),
            Some(("created", name)) => self.created.push(name.to_string()),
            Some(("won", name)) => self.won.push(name.to_string()),
            _ => {}
        }
    }
}

struct Writer {
    child: Child,
    lines: Receiver<String>,
}

fn start(folder: &Path, writer: usize, from: u64) -> Writer {
    let mut child = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", "the_child_changes_definitions", "--ignored", "--nocapture"])
        .env("AQUIFER_DEFINITIONS_FOLDER", folder)
        .env("AQUIFER_DEFINITIONS_WRITER", writer.to_string())
        .env("AQUIFER_DEFINITIONS_FROM", from.to_string())
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
    Writer { child, lines }
}

#[test]
fn two_writers_killed_at_random_lose_and_halve_no_definition() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let log = folder.path().join("log");
    runtime.block_on(async {
        let mut session = session(folder.path()).await.expect("opens");
        let create =
            format!("CREATE CATALOG shared WITH ('type'='embedded', 'service-url'='embedded:{}')", log.display());
        session.execute(&create, 1).await.expect("created");
    });
    let mut random = rand::rngs::StdRng::seed_from_u64(11);
    let mut told = [Told::default(), Told::default()];
    let mut writers = [0, 1].map(|n| start(folder.path(), n, 1));
    for kill in 0..KILLS {
        let victim = random.random_range(0..2);
        // Both make progress between two kills; the victim dies somewhere in its next few statements.
        for n in [1 - victim, victim] {
            for _ in 0..random.random_range(3..12) {
                let line = writers[n].lines.recv_timeout(LONGEST).expect("a writer goes on");
                told[n].hear(&line);
            }
        }
        std::thread::park_timeout(Duration::from_micros(random.random_range(0..3000)));
        writers[victim].child.kill().expect("a child of ours");
        writers[victim].child.wait().expect("a child of ours");
        while let Ok(line) = writers[victim].lines.recv_timeout(LONGEST) {
            told[victim].hear(&line);
        }
        let stored = runtime.block_on(stored(folder.path()));
        let value: u64 = stored["shared"].get(WRITERS[victim].1).map_or(0, |text| text.parse().expect("a number"));
        let Told { begun, acknowledged, .. } = told[victim];
        assert!(
            value == acknowledged || value == begun,
            "after kill {kill} `{}` is {value}; its writer was told {acknowledged} and had begun {begun}",
            WRITERS[victim].1
        );
        writers[victim] = start(folder.path(), victim, begun + 1);
    }
    for (writer, told) in writers.iter_mut().zip(&mut told) {
        writer.child.kill().expect("a child of ours");
        writer.child.wait().expect("a child of ours");
        while let Ok(line) = writer.lines.recv_timeout(LONGEST) {
            told.hear(&line);
        }
    }
    let stored = runtime.block_on(stored(folder.path()));
    for told in &told {
        for name in told.created.iter().chain(&told.won) {
            assert!(stored.contains_key(name), "`{name}` was created and is not there");
        }
    }
    let twice: Vec<_> = told[0].won.iter().filter(|name| told[1].won.contains(name)).collect();
    assert!(twice.is_empty(), "both writers were told that they created {twice:?}");
    let wins = told.each_ref().map(|told| told.won.len());
    let set = told.each_ref().map(|told| told.acknowledged);
    println!("{KILLS} kills; {set:?} changes of one definition; {} definitions; races won {wins:?}", stored.len());
    assert!(set.iter().all(|n| *n > u64::from(KILLS)), "too few changes: {set:?}");
}

/// Every catalog with its options, as a new session reads them. Fails on one that is half there.
async fn stored(folder: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut session = session(folder).await.expect("definitions can be read");
    let mut stored = BTreeMap::new();
    for row in listing(&mut session, "SHOW CATALOGS").await {
        let described = listing(&mut session, &format!("DESC CATALOG EXTENDED `{}`", row[0])).await;
        let options =
            described.into_iter().filter_map(|row| Some((row[0].strip_prefix("option:")?.to_string(), row[1].clone())));
        stored.insert(row[0].clone(), options.collect());
    }
    stored
}

async fn listing(session: &mut Session, statement: &str) -> Vec<Vec<String>> {
    let Outcome::Listing(rows) = session.execute(statement, 1).await.expect(statement).outcome else {
        panic!("{statement} lists nothing")
    };
    let style = TextStyle::cast(parse_zone("UTC").expect("a zone"));
    let columns = text_columns(&rows, &style).expect("texts");
    (0..rows.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect()
}

#[test]
#[ignore = "is started by the test above"]
fn the_child_changes_definitions() {
    let Some(folder) = std::env::var_os("AQUIFER_DEFINITIONS_FOLDER") else { return };
    let number = |name: &str| std::env::var(name).expect("set").parse::<u64>().expect("a number");
    let (writer, from) = (number("AQUIFER_DEFINITIONS_WRITER"), number("AQUIFER_DEFINITIONS_FROM"));
    let (name, option) = WRITERS[usize::try_from(writer).expect("0 or 1")];
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        // The point ends a line that is whole.
        writeln!(out, "{line}.").and_then(|()| out.flush()).expect("the test listens");
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut session = session(Path::new(&folder)).await.expect("opens");
        let other = Path::new(&folder).join("other");
        let create = |name: &str| {
            format!("CREATE CATALOG {name} WITH ('type'='embedded', 'service-url'='embedded:{}')", other.display())
        };
        for n in from.. {
            say(format!("begin {n}"));
            session.execute(&format!("ALTER CATALOG shared SET ('{option}' = '{n}')"), 1).await.expect("altered");
            say(format!("set {n}"));
            if n % 5 == 0 {
                let own = format!("{name}_{n}");
                session.execute(&create(&own), 1).await.expect("nobody else makes it");
                say(format!("created {own}"));
            }
            if n % 3 == 0 {
                let both = format!("both_{n}");
                match session.execute(&create(&both), 1).await {
                    Ok(_) => say(format!("won {both}")),
                    Err(error) => assert!(error.message().contains("already"), "{error}"),
                }
            }
        }
    });
}
