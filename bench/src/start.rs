//! From the start of the process to the first row of `SELECT 1`.

use crate::Failure;
use crate::cli::Settings;
use crate::figures::{Figure, Target, median, report};
use crate::measure::{self, aquifer};

/// What a user does not notice, in seconds.
const BOUND_SECONDS: f64 = 0.3;

/// Measures and reports.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut firsts = Vec::new();
    // It is short: more runs cost nothing.
    for _ in 0..settings.runs.max(1) * 5 {
        let mut command = aquifer(settings)?;
        command.args(["sql", "--output", "json", "--data-dir"]).arg(folder.path()).args(["-e", "SELECT 1"]);
        let cost = measure::run(command, |_| {})?;
        if cost.lines != 1 {
            return Err(format!("`SELECT 1` printed {} lines", cost.lines).into());
        }
        firsts.push(cost.first_line_seconds);
    }
    let figure = Figure {
        what: "process start to the first row of SELECT 1, of 0.3 s".into(),
        ours: median(firsts),
        yardstick: Some(BOUND_SECONDS),
        unit: "s",
        target: Some(Target::AtMost(1.0)),
    };
    report("start", settings, &[figure])
}
