//! Every suite in `sql/` holds in batch, as a stream of 1, 2 and 3 workers, and with the border between the tiers at three places.
//!
//! `AQUIFER_SLT=windows` runs the files whose path contains it; with `AQUIFER_SLT_UPDATE=1` batch's answers are written into them, to be read.

use std::collections::VecDeque;
use std::sync::Mutex;

use aquifer_integration_tests::slt::{self, Way};

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
