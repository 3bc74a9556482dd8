//! The demo proves what it says, and says it in one line.

use std::process::Command;

#[test]
fn the_demo_proves_that_stream_and_late_readings_are_the_batch_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_aquifer"))
        .args(["demo", "--data-dir"])
        .arg(folder.path().join("demo"))
        .output()
        .expect("it starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let line =
        "3 readings came too late for the stream; batch counts them; without them both answers are equal: 96 windows";
    assert!(stdout.contains(line), "{stdout}");
    assert!(stdout.contains("rows from the archive"), "{stdout}");
}
