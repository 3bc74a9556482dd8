//! Every suite in `sql/` holds in batch, as a stream of 1, 2 and 3 workers, and with the border between the tiers at three places.
//!
//! `AQUIFER_SLT=windows` runs the files whose path contains it; with `AQUIFER_SLT_UPDATE=1` batch's answers are written into them, to be read.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;

use aquifer_integration_tests::Pulsar;
use aquifer_integration_tests::slt::{self, Border, Home, Way};

/// Debug builds of DataFusion plan deep trees.
const STACK_BYTES: usize = 64 << 20;

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_stack_size(STACK_BYTES).enable_all().build().expect("a runtime")
}

#[test]
fn every_suite_gives_one_answer_in_every_way() {
    let files = slt::files();
    assert!(!files.is_empty(), "no suites");
    let update = std::env::var("AQUIFER_SLT_UPDATE").is_ok();
    let jobs: VecDeque<_> =
        files.iter().flat_map(|file| Way::all().into_iter().map(move |way| (file.clone(), way))).collect();
    let (jobs, totals) = (Mutex::new(jobs), Mutex::new((0, Vec::new())));
    let work = || {
        let runtime = runtime();
        loop {
            let Some((file, way)) = jobs.lock().expect("not poisoned").pop_front() else { return };
            let ran =
                runtime.block_on(slt::run(&file, way)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut totals = totals.lock().expect("not poisoned");
            totals.0 += ran.records;
            totals.1.extend(ran.failures);
        }
    };
    std::thread::scope(|scope| {
        if update {
            let updated = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || {
                for file in &files {
                    runtime().block_on(slt::update(file)).expect("the file can be written");
                }
            });
            updated.expect("a thread").join().expect("it ends");
            return;
        }
        for _ in 0..2 {
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, work).expect("a thread");
        }
    });
    let (records, failures) = totals.into_inner().expect("not poisoned");
    println!("{} suites, {records} records in {} ways", files.len(), Way::all().len());
    assert!(failures.is_empty(), "{} of {records} records failed:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// Suites that a real Pulsar cannot run, and why.
const NOT_ON_PULSAR: [(&str, &str); 2] = [
    ("definitions/catalogs.slt", "it lists all catalogs, and there the cluster's would be one of them"),
    ("definitions/databases.slt", "it lists all databases, and others make theirs in the cluster meanwhile"),
];

#[test]
fn the_suites_hold_on_a_real_pulsar() {
    let Some(pulsar) = Pulsar::given() else { return };
    let is_left_out = |file: &PathBuf| NOT_ON_PULSAR.iter().any(|(name, _)| file.ends_with(name));
    for (name, why) in NOT_ON_PULSAR {
        assert!(
            slt::all_files().iter().any(|file| file.ends_with(name)),
            "there is no suite {name}, left out because {why}"
        );
    }
    let mut files = slt::files();
    files.retain(|file| !is_left_out(file));
    let run = move || {
        let runtime = runtime();
        let mut failures = Vec::new();
        let mut records = 0;
        for (n, file) in files.iter().enumerate() {
            let started = std::time::Instant::now();
            for workers in [None, Some(2)] {
                let way = Way { workers, border: Border::Half };
                // A database of its own, so that a run after this one finds no topics.
                let kind = workers.map_or("batch", |_| "stream");
                let database = format!("public/slt-{}-{n}-{kind}", rand::random::<u32>());
                let mut before = pulsar.create_catalog("p");
                before.push_str(&format!("CREATE DATABASE IF NOT EXISTS p.`{database}`;\nUSE p.`{database}`;\n"));
                let home = Home { catalog: "p".to_string(), database, before };
                let ran = runtime.block_on(slt::run_in(file, way, Some(home)));
                let ran = ran.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                records += ran.records;
                failures.extend(ran.failures);
            }
            println!("{} took {:?}", file.display(), started.elapsed());
        }
        println!("{} suites, {records} records on {}", files.len(), pulsar.service_url);
        assert!(failures.is_empty(), "{} of {records} records failed:\n\n{}", failures.len(), failures.join("\n\n"));
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
