//! `aquifer archive`: move a topic into Parquet, say what lies where, prove it.
//!
//! ```text
//!  run     round after round (or --once); each round archives what every partition holds now
//!  status  a table, a line a partition: archive, log, lag, pin
//!  verify  reads everything back; the first object that is wrong is named, exit code 1
//! ```

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_catalog::Catalogs;
use aquifer_model::{Cut, Error, ErrorKind, Partition, Result};
use aquifer_storage::archive::archiver::{ArchiveSettings, Archived, Archiver, Observer};
use aquifer_storage::archive::{status as tiers, verify as proof};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::cli::RunArguments;
use crate::engine::find_topics;
use crate::interrupt::Interrupt;
use crate::shell::{Ended, Failure};

/// What a round did, over all partitions.
#[derive(Debug, Default)]
struct Round {
    partitions: usize,
    archived: Archived,
}

/// Runs the archiver until Ctrl-C, or once.
pub async fn run(
    catalogs: &Catalogs,
    arguments: &RunArguments,
    out: &mut (dyn Write + Send),
    mut interrupt: Interrupt,
) -> Result<Ended, Failure> {
    let topics = find_topics(catalogs, &arguments.table).await?;
    let mut settings = ArchiveSettings::default();
    if let Some(rows) = arguments.rows_per_commit {
        settings.rows_per_commit = rows;
    }
    // To standard error, and only where that is a terminal; steps have the terminal to themselves.
    let target = if arguments.step { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let progress = ProgressBar::with_draw_target(None, target);
    let observer = observer(arguments.step, progress.clone());
    let archivers: Vec<_> = topics
        .into_iter()
        .map(|topic| (topic.clone(), Archiver::new(topic, settings.clone()).observed(Arc::clone(&observer))))
        .collect();
    let mut warned: Vec<String> = Vec::new();
    loop {
        let started = Instant::now();
        let round = tokio::select! {
            round = one_round(&archivers) => round,
            () = interrupt.wait() => return Ok(Ended::Interrupted),
        };
        progress.set_message("");
        match round {
            Ok(round) => {
                for warning in &round.archived.warnings {
                    if !warned.contains(warning) {
                        eprintln!("[WARN] {warning}");
                        warned.push(warning.clone());
                    }
                }
                if arguments.once || round.archived.commits > 0 {
                    progress.suspend(|| writeln!(out, "{}", summary(&round, started.elapsed())))?;
                    out.flush()?;
                }
                if arguments.once {
                    return Ok(Ended::Normally);
                }
            }
            Err(error) if !arguments.once && may_pass(&error) => {
                progress.suspend(|| eprintln!("[WARN] {error}; trying again in {} s", arguments.interval_seconds));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(arguments.interval_seconds)) => {}
            () = interrupt.wait() => return Ok(Ended::Interrupted),
        }
    }
}

/// Whether the next round may go well although this one did not.
fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown)
}

async fn one_round(archivers: &[(aquifer_storage::reader::TieredTopic, Archiver)]) -> Result<Round> {
    let mut round = Round::default();
    for (topic, archiver) in archivers {
        for partition in topic.log.partitions(&topic.topic).await? {
            let archived = archiver.run_once(&partition).await?;
            round.partitions += 1;
            round.archived.commits += archived.commits;
            round.archived.rows += archived.rows;
            round.archived.bytes += archived.bytes;
            round.archived.warnings.extend(archived.warnings);
        }
    }
    Ok(round)
}

/// Shows each step, or waits before it for Enter. Where nobody can press it any more, the process ends as it stands: an archiver may stop anywhere.
fn observer(wait: bool, progress: ProgressBar) -> Observer {
    Arc::new(move |partition: &Partition, step| {
        if !wait {
            progress.set_message(format!("{step} {}", partition.local_name()));
            progress.tick();
            return;
        }
        let mut line = String::new();
        let told = writeln!(std::io::stdout(), "step {step} {partition}").and_then(|()| std::io::stdout().flush());
        let word = told.and_then(|()| std::io::stdin().lock().read_line(&mut line));
        if !matches!(word, Ok(bytes) if bytes > 0) {
            eprintln!("[ERROR] stopped before step `{step}`: standard input has ended");
            std::process::exit(1);
        }
    })
}

fn summary(round: &Round, elapsed: Duration) -> String {
    let Archived { rows, commits, bytes: size, .. } = round.archived;
    let partitions = counted(round.partitions as u64, "partition");
    if commits == 0 {
        return format!("nothing new to archive in {partitions}");
    }
    format!(
        "archived {} in {} ({}) from {partitions} in {:.2} s",
        counted(rows, "row"),
        counted(commits, "file"),
        bytes(size),
        elapsed.as_secs_f64()
    )
}

/// Prints what lies where.
pub async fn status(catalogs: &Catalogs, table: &str, out: &mut (dyn Write + Send)) -> Result<Ended, Failure> {
    let mut shown = Table::new();
    shown.load_preset(presets::UTF8_FULL_CONDENSED);
    shown.set_header([
        "partition",
        "archive",
        "files",
        "rows",
        "bytes",
        "log ledgers",
        "entries",
        "bytes",
        "log end",
        "lag",
        "pin",
    ]);
    for topic in find_topics(catalogs, table).await? {
        for partition in topic.log.partitions(&topic.topic).await? {
            let status = tiers::status(&topic, &partition).await?;
            let range = match status.archive_end {
                Cut::Start => "nothing".to_string(),
                end => format!("up to {}", position(end)),
            };
            let ledgers = match (status.ledgers.first(), status.ledgers.last()) {
                (Some(first), Some(last)) if first.id != last.id => {
                    format!("{} ({} … {})", status.ledgers.len(), first.id, last.id)
                }
                (Some(only), _) => format!("1 ({})", only.id),
                _ => "0".to_string(),
            };
            shown.add_row([
                partition.local_name(),
                range,
                grouped(status.archive_files),
                grouped(status.archive_rows),
                bytes(status.archive_bytes),
                ledgers,
                grouped(status.ledgers.iter().map(|ledger| ledger.entries).sum()),
                bytes(status.ledgers.iter().map(|ledger| ledger.bytes).sum()),
                status.log_end.map_or_else(|| "empty".to_string(), |end| end.to_string()),
                counted(status.lag_entries, "entry"),
                status.pin.map_or_else(|| "none".to_string(), position),
            ]);
        }
    }
    for column in [2, 3, 4, 6, 7, 9] {
        if let Some(column) = shown.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{shown}")?;
    out.flush()?;
    Ok(Ended::Normally)
}

/// Proves every partition; goes on after one that is wrong, and fails then.
pub async fn verify(catalogs: &Catalogs, table: &str, out: &mut (dyn Write + Send)) -> Result<Ended, Failure> {
    let mut wrong = 0u64;
    for topic in find_topics(catalogs, table).await? {
        for partition in topic.log.partitions(&topic.topic).await? {
            let name = partition.local_name();
            match proof::verify(&topic, &partition).await {
                Ok(found) => writeln!(
                    out,
                    "{name}: sound up to {}: {}, {}, {}, {} read and compared",
                    position(found.end),
                    counted(found.manifests, "manifest"),
                    counted(found.files, "file"),
                    counted(found.rows, "row"),
                    bytes(found.bytes)
                )?,
                // The archive itself is in question only where its bytes are; else the answer is not known.
                Err(error) => {
                    wrong += 1;
                    writeln!(out, "{name}: NOT sound: {error}")?;
                }
            }
            out.flush()?;
        }
    }
    match wrong {
        0 => Ok(Ended::Normally),
        n => {
            eprintln!("[ERROR] the archive of `{table}` is not sound: {} failed the proof", counted(n, "partition"));
            Err(Failure::Told)
        }
    }
}

fn position(cut: Cut) -> String {
    cut.position().map_or_else(|| "start".to_string(), |position| position.to_string())
}

/// `1 row`, `2 rows`, `3 entries`, with commas in large numbers.
pub(crate) fn counted(n: u64, what: &str) -> String {
    let plural = match what.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{what}s"),
    };
    format!("{} {}", grouped(n), if n == 1 { what } else { &plural })
}

/// `1,234,567`
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `640 B`, `1.5 MiB`
pub(crate) fn bytes(n: u64) -> String {
    let mut size = n as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{n} B") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(counted(1, "entry"), "1 entry");
        assert_eq!(counted(2_000, "entry"), "2,000 entries");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 20), "5.0 MiB");
    }

    #[test]
    fn a_round_is_told_in_one_line() {
        let mut round = Round { partitions: 3, ..Default::default() };
        assert_eq!(summary(&round, Duration::ZERO), "nothing new to archive in 3 partitions");
        round.archived = Archived { commits: 1, rows: 12_345, bytes: 2048, ..Default::default() };
        assert_eq!(
            summary(&round, Duration::from_millis(1200)),
            "archived 12,345 rows in 1 file (2.0 KiB) from 3 partitions in 1.20 s"
        );
    }
}
