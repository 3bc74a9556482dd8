//! Figures: medians, the table on the terminal, and a JSON line each in the results file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use crate::Failure;
use crate::cli::Settings;

/// One figure: ours beside a yardstick.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What is measured.
    pub what: String,
    /// Ours, the median.
    pub ours: f64,
    /// The yardstick's median, or a bound; `None` where there is none.
    pub yardstick: Option<f64>,
    /// What both are counted in.
    pub unit: &'static str,
    /// What is asked for, of the ratio ours / yardstick.
    pub target: Option<Target>,
}

/// What is asked of the ratio ours / yardstick.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Figure {
    fn ratio(&self) -> Option<f64> {
        self.yardstick.filter(|yardstick| *yardstick > 0.0).map(|yardstick| self.ours / yardstick)
    }

    fn verdict(&self) -> String {
        match (self.ratio(), self.target) {
            (Some(ratio), Some(Target::AtLeast(bound))) => {
                format!("≥ {} {}", few_digits(bound), if ratio >= bound { "yes" } else { "NO" })
            }
            (Some(ratio), Some(Target::AtMost(bound))) => {
                format!("≤ {} {}", few_digits(bound), if ratio <= bound { "yes" } else { "NO" })
            }
            _ => String::new(),
        }
    }
}

/// The median; the mean of the middle two where their number is even. 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// Prints the figures of a benchmark as a table, and adds them to the results file.
pub fn report(bench: &str, settings: &Settings, figures: &[Figure]) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([bench, "ours", "yardstick", "unit", "ours/yardstick", "asked"]);
    for number in [1, 2, 4] {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for figure in figures {
        table.add_row([
            figure.what.clone(),
            shown(figure.ours),
            figure.yardstick.map(shown).unwrap_or_default(),
            figure.unit.to_string(),
            figure.ratio().map(|ratio| format!("{ratio:.3}")).unwrap_or_default(),
            figure.verdict(),
        ]);
    }
    println!("{table}");
    if let Some(folder) = settings.results.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(&settings.results)?;
    let (commit, machine) = (commit(), machine());
    for figure in figures {
        let line = json!({
            "bench": bench, "what": figure.what, "ours": figure.ours, "yardstick": figure.yardstick, "unit": figure.unit,
            "ratio": figure.ratio(), "rows": settings.rows, "runs": settings.runs, "commit": commit, "machine": machine,
        });
        writeln!(file, "{line}")?;
    }
    Ok(())
}

/// A bound with three digits behind the point at most.
fn few_digits(bound: f64) -> f64 {
    (bound * 1000.0).round() / 1000.0
}

/// A number as people read it: few digits, thousands apart.
fn shown(value: f64) -> String {
    if value.abs() < 1000.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut text = String::from(sign);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The commit that was built, with `+` where files had been changed since; `unknown` outside a repository.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_string() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    if changed { commit + "+" } else { commit }
}

/// Processor, its number of cores, memory, and whether this is a debug build.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| line.split_once(':'))
            .map(|(_, v)| v.trim().to_string())
    };
    let model = after(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_string());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory =
        after(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let memory = memory.map(|kib| format!(", {} GiB", kib.div_ceil(1 << 20))).unwrap_or_default();
    let build = if cfg!(debug_assertions) { ", debug build" } else { "" };
    format!("{model}, {cores} cores{memory}{build}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![]), 0.0);
    }

    #[test]
    fn numbers_are_shown_with_few_digits() {
        assert_eq!(
            [shown(0.12345), shown(999.0), shown(1234567.8), shown(-1000.0)],
            ["0.123", "999.000", "1 234 568", "-1 000"]
        );
    }

    #[test]
    fn a_verdict_compares_the_ratio() {
        let figure =
            |ours, target| Figure { what: String::new(), ours, yardstick: Some(2.0), unit: "s", target: Some(target) };
        assert_eq!(figure(1.0, Target::AtLeast(0.5)).verdict(), "≥ 0.5 yes");
        assert_eq!(figure(0.9, Target::AtLeast(0.5)).verdict(), "≥ 0.5 NO");
        assert_eq!(figure(3.2, Target::AtMost(1.5)).verdict(), "≤ 1.5 NO");
        assert_eq!(figure(0.5, Target::AtMost(1.0 / 3.0)).verdict(), "≤ 0.333 yes");
    }
}
