//! Hostile SQL: generated and mutated statements neither panic, nor hang, nor take memory without bound.
//!
//! ```text
//!  test ─► child (this binary): statement n → session, its rows drained; n and its text stand in a file ◄─ watched: progress, memory, exit
//! ```
//!
//! `make test` runs 10,000 statements, `make soak` 100,000, or `AQUIFER_HOSTILE=n` of them; `AQUIFER_HOSTILE_SEED` names another seed, `AQUIFER_HOSTILE_ONLY=n` runs
//! one statement alone. A stack that overflows ends the child, and the file says at which statement.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aquifer_catalog::Catalogs;
use aquifer_integration_tests::hostile;
use aquifer_processor::sql::{Outcome, Session};
use aquifer_server::engine::session_over;

const STATEMENTS: u64 = 100_000;
const SEED: u64 = 20_260_107;
/// After so many statements a new data directory is begun.
const A_WORLD: u64 = 500;
/// The longest that one statement may take, on a busy machine.
const LONGEST: Duration = Duration::from_secs(30);
/// What the child may hold, in KiB.
const MOST_MEMORY: u64 = 3 << 20;
/// More rows than this are not waited for.
const MOST_ROWS: usize = 100_000;
/// Panics anywhere in the child, also on threads that nobody waits for.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// The product's own stack size.
const STACK_BYTES: usize = 32 << 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
#[ignore = "takes minutes: make soak"]
fn hostile_statements_neither_panic_nor_hang_nor_take_all_memory() {
    watched(number("AQUIFER_HOSTILE").unwrap_or(STATEMENTS));
}

#[test]
fn ten_thousand_hostile_statements_neither_panic_nor_hang_nor_take_all_memory() {
    watched(number("AQUIFER_HOSTILE").unwrap_or(STATEMENTS / 10));
}

/// Runs so many statements, half of them in each of two children.
fn watched(statements: u64) {
    let failed: Vec<String> = std::thread::scope(|scope| {
        let parts = [0..statements / 2, statements / 2..statements].map(|part| scope.spawn(move || watch(part)));
        parts.into_iter().filter_map(|part| part.join().expect("a child is watched").err()).collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Runs a part in a child of its own; an error says which statement ended it, and how.
fn watch(part: std::ops::Range<u64>) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("at");
    let mut child = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", "the_child_runs_hostile_statements", "--ignored", "--nocapture"])
        .env("AQUIFER_HOSTILE_FOLDER", folder.path())
        .env("AQUIFER_HOSTILE_FROM", part.start.to_string())
        .env("AQUIFER_HOSTILE", part.end.to_string())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("this binary can be started");
    let (mut last, mut since, mut most) = (String::new(), Instant::now(), 0);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break status;
        }
        let now = std::fs::read_to_string(&at).unwrap_or_default();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        most = most.max(memory(child.id()));
        let what = match () {
            () if since.elapsed() > 2 * LONGEST => "hangs",
            () if most > MOST_MEMORY => "takes too much memory",
            () => {
                std::thread::park_timeout(Duration::from_millis(50));
                continue;
            }
        };
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
        return Err(format!("statement {what} ({most} KiB): {last}"));
    };
    let last = std::fs::read_to_string(&at).unwrap_or_default();
    if !status.success() {
        return Err(format!("{status} at statement {last}"));
    }
    println!("at most {} MiB; ended after statement {}", most >> 10, last.lines().next().unwrap_or_default());
    Ok(())
}

/// KiB that a process holds; 0 where that cannot be asked.
fn memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[test]
#[ignore = "is started by the test above"]
fn the_child_runs_hostile_statements() {
    let Some(folder) = std::env::var_os("AQUIFER_HOSTILE_FOLDER") else { return };
    let folder = Path::new(&folder);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_stack_size(STACK_BYTES).enable_all().build().expect("a runtime");
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut panics) = PANICS.lock() {
            panics.push(panic.to_string());
        }
    }));
    let corpus = hostile::corpus();
    let seed = number("AQUIFER_HOSTILE_SEED").unwrap_or(SEED);
    let all = match number("AQUIFER_HOSTILE_ONLY") {
        Some(one) => one..one + 1,
        None => number("AQUIFER_HOSTILE_FROM").unwrap_or(0)..number("AQUIFER_HOSTILE").unwrap_or(STATEMENTS),
    };
    let mut world = None;
    let (mut fine, mut failed, mut slowest) = (0, Vec::new(), Vec::new());
    for n in all {
        let began = Instant::now();
        if n % A_WORLD == 0 || world.is_none() {
            let data_dir = folder.join(format!("world-{n}"));
            let _ = std::fs::remove_dir_all(folder.join(format!("world-{}", n.saturating_sub(A_WORLD))));
            world = Some(runtime.block_on(async { tokio::spawn(make_world(data_dir)).await }).expect("a world"));
        }
        let Some(catalogs) = &world else { continue };
        let statement = hostile::statement(&corpus, seed, n);
        std::fs::write(folder.join("at"), format!("{n} of seed {seed}\n{statement}\n")).expect("written");
        let (text, catalogs) = (statement.clone(), Arc::clone(catalogs));
        let ran = runtime.block_on(async move {
            let task = tokio::spawn(async move { run(catalogs, &text, n % 2 == 0).await });
            tokio::time::timeout(LONGEST, task).await
        });
        match ran {
            Ok(Ok(Ok(answered))) => fine += u64::from(answered),
            Ok(Ok(Err(error))) => failed.push(format!("{n}: {error}\n{statement}")),
            Ok(Err(panicked)) => failed.push(format!("{n} panicked: {panicked}\n{statement}")),
            Err(_) => failed.push(format!("{n} did not end within {LONGEST:?}\n{statement}")),
        }
        slowest.push((began.elapsed(), n));
        slowest.sort_unstable_by(|a, b| b.cmp(a));
        slowest.truncate(10);
        for panic in PANICS.lock().expect("not poisoned").drain(..) {
            failed.push(format!("{n} panicked: {panic}\n{statement}"));
        }
    }
    let _ = std::panic::take_hook();
    eprintln!("{fine} statements answered, {} failed; the slowest: {slowest:?}", failed.len());
    assert!(failed.is_empty(), "{} statements failed:\n\n{}", failed.len(), failed.join("\n\n"));
}

async fn make_world(data_dir: std::path::PathBuf) -> Arc<Catalogs> {
    let catalogs = Catalogs::open(data_dir).await.expect("opens");
    let mut session = session_over(Arc::clone(&catalogs));
    let bounded = "WITH ('scan.bounded.mode' = 'latest-offset')";
    for statement in [
        format!("CREATE TABLE t (id INT, g STRING, v DOUBLE, b BIGINT, d DECIMAL(8, 2)) {bounded}"),
        "INSERT INTO t VALUES (1, 'x', 1.5, 10, 1.10), (2, CAST(NULL AS STRING), CAST(NULL AS DOUBLE), CAST(NULL AS BIGINT), CAST(NULL AS DECIMAL(8, 2)))".to_string(),
        format!(
            "CREATE TABLE s (room STRING, temperature DOUBLE, n INT, rowtime TIMESTAMP(3), WATERMARK FOR rowtime AS rowtime - INTERVAL '1' HOUR) {bounded}"
        ),
        "INSERT INTO s VALUES ('a', 20.0, 1, TIMESTAMP '2024-01-01 00:10:00'), ('b', 10.0, 4, TIMESTAMP '2024-01-01 01:20:00')".to_string(),
    ] {
        drain(session.execute(&statement, 1).await.expect("a true statement").outcome).await.expect("a true statement");
    }
    catalogs
}

/// Runs a text; whether it answered. An error is an answer too, unless it says that a fault is ours.
async fn run(catalogs: Arc<Catalogs>, text: &str, batch: bool) -> Result<bool, String> {
    let mut session = session_over(catalogs);
    if batch {
        session.execute("SET 'execution.runtime-mode' = 'batch'", 1).await.map_err(|error| error.to_string())?;
    }
    let Ok(statements) = Session::split(text) else { return Ok(false) };
    for (line, statement) in statements {
        let outcome = match session.execute(&statement, line).await {
            Ok(executed) => drain(executed.outcome).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {}
            Err(error) if error.kind() == aquifer_model::ErrorKind::Internal => return Err(format!("{error:?}")),
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

async fn drain(outcome: Outcome) -> aquifer_model::Result<()> {
    let (Outcome::Query(mut running) | Outcome::Insert(mut running)) = outcome else { return Ok(()) };
    let mut rows = 0;
    while running.bounded && rows < MOST_ROWS {
        let Some(changes) = running.changes.recv().await else { break };
        rows += changes?.num_rows();
    }
    Ok(())
}
