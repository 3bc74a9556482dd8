//! The recorded Flink programs of `flink-cases/` on the `aquifer` binary: same answers in batch, same refusals in every mode.
//!
//! What differs stands in `flink-cases/differs.txt`, with the reason; the list must be true in both directions.

use std::path::Path;
use std::process::Command;

use aquifer_integration_tests::{aquifer_path, setting};

#[test]
fn recorded_programs_answer_as_flink_does_but_for_the_listed_ones() {
    let Some(python) = setting("AQUIFER_TEST_PYTHON") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/flink_cases.py");
    let output =
        Command::new(python).arg(script).arg("--binary").arg(aquifer_path()).output().expect("python can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
