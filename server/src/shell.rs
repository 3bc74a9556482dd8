//! Runs statements, each result printed as it comes.
//!
//! ```text
//!  script ─► Session::split ─► command, or execute ─┬─► rows: a renderer, flushed per batch ─► standard output
//!                                                   └─► notices, warnings, reports ─────────► standard error
//! ```
//!
//! The first statement that fails ends a script, unless it is to go on. Ctrl-C ends a running statement and its script; what was printed stays valid.

mod command;
mod pager;
mod progress;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_formats::text::{TextStyle, Tz};
use aquifer_model::{ChangeBatch, Error, Result};
use aquifer_processor::sql::{Executed, Outcome, Report, Running, Session};
use arrow::array::RecordBatch;

use self::pager::{Pages, Screen};
use self::progress::Progress;
use crate::interrupt::Interrupt;
use crate::output::{Ending, Look, OutputFormat, Renderer, is_closed, listing, renderer};

pub use self::command::{Command, HELP, SHORTCUTS, command};

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything was done.
    Normally,
    /// Ctrl-C.
    Interrupted,
    /// `QUIT;`
    Quit,
}

/// Why a command did not do everything.
#[derive(Debug)]
pub enum Failure {
    /// Something failed and was not told yet.
    Error(Error),
    /// Something failed, and the user has been told.
    Told,
    /// The command line asks for something that is not there.
    Usage(String),
    /// Nobody reads the output any more.
    PipeClosed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match is_closed(&error) {
            true => Self::PipeClosed,
            false => Self::Error(Error::unavailable("the output cannot be written").with_source(error)),
        }
    }
}

/// How often `--verbose` reports on a statement that runs.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// How a shell behaves, as the command line says.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShellOptions {
    /// How results are printed; `None`: as the session's `sql-client.execution.result-mode` says.
    pub output: Option<OutputFormat>,
    /// Whether each statement's report goes to standard error.
    pub verbose: bool,
    /// Whether the time of each statement goes to standard error.
    pub timing: bool,
    /// Whether a script goes on behind a statement that failed.
    pub continue_on_error: bool,
    /// Whether a person sits before it: standard input and output are a terminal, and long results may go through a pager.
    pub has_terminal: bool,
}

/// A session and how its results are printed.
#[derive(Debug)]
pub struct Shell {
    session: Session,
    options: ShellOptions,
}

impl Shell {
    /// Over a session.
    pub fn new(session: Session, options: ShellOptions) -> Self {
        Self { session, options }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Runs all statements of a script. An error is told on `err` here, in Flink's words.
    pub async fn run(
        &mut self,
        script: &str,
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
        interrupt: &Interrupt,
    ) -> Result<Ended, Failure> {
        // A shortcut is a line of its own; it may hold what is no token of SQL.
        if let Some(shortcut) = command(script).filter(|_| script.trim_start().starts_with('\\')) {
            return self.command(shortcut, out, err, interrupt).await;
        }
        let statements = match Session::split(script) {
            Ok(statements) => statements,
            Err(error) => return Err(tell(&error, out, err)),
        };
        let mut failed = false;
        for (line, statement) in statements {
            let ended = match command(&statement) {
                Some(command) => self.command(command, out, err, interrupt).await,
                None => self.timed(&statement, line, out, err, interrupt).await,
            };
            let failure = match ended {
                Ok(Ended::Normally) => continue,
                Ok(ended) => return Ok(ended),
                Err(failure) => told(failure, out, err),
            };
            if !(self.options.continue_on_error && matches!(failure, Failure::Told)) {
                return Err(failure);
            }
            failed = true;
        }
        if failed { Err(Failure::Told) } else { Ok(Ended::Normally) }
    }

    /// Runs the statements of a file.
    pub async fn run_file(
        &mut self,
        file: &Path,
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
        interrupt: &Interrupt,
    ) -> Result<Ended, Failure> {
        let script = crate::read_file(file)?;
        Box::pin(self.run(&script, out, err, interrupt)).await
    }

    async fn command(
        &mut self,
        command: Command,
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
        interrupt: &Interrupt,
    ) -> Result<Ended, Failure> {
        match command {
            Command::Quit => return Ok(Ended::Quit),
            Command::Help => write!(out, "{HELP}")?,
            Command::Clear => {
                if io::stdout().is_terminal() {
                    write!(out, "\u{1b}[H\u{1b}[2J\u{1b}[3J")?;
                }
            }
            Command::Timing => {
                self.options.timing = !self.options.timing;
                writeln!(out, "Timing is {}.", if self.options.timing { "on" } else { "off" })?;
            }
            Command::Include(file) => {
                let ended = self.run_file(Path::new(&file), out, err, interrupt).await;
                return ended.map_err(|failure| told(failure, out, err));
            }
            Command::Sql(statement) => {
                let ended = self.timed(&statement, 1, out, err, interrupt).await;
                return ended.map_err(|failure| told(failure, out, err));
            }
            Command::Unknown(message) => return Err(tell(&Error::invalid(message), out, err)),
        }
        out.flush()?;
        Ok(Ended::Normally)
    }

    async fn timed(
        &mut self,
        statement: &str,
        line: usize,
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
        interrupt: &Interrupt,
    ) -> Result<Ended, Failure> {
        let started = Instant::now();
        let ended = Box::pin(self.statement(statement, line, out, err, interrupt)).await;
        if self.options.timing {
            out.flush()?;
            writeln!(err, "[TIME] {:.3} s", started.elapsed().as_secs_f64())?;
        }
        ended
    }

    /// How results are printed now.
    fn output(&self) -> OutputFormat {
        self.options.output.unwrap_or_else(|| {
            match self.session.setting("sql-client.execution.result-mode").to_ascii_lowercase().as_str() {
                "table" => OutputFormat::Table,
                "changelog" => OutputFormat::Changelog,
                _ => OutputFormat::Tableau,
            }
        })
    }

    fn look(&self) -> Result<Look> {
        let zone = self.session.zone()?;
        let zone: Tz = zone
            .parse()
            .map_err(|error| Error::internal(format!("the session's zone `{zone}` is none")).with_source(error))?;
        let widest = self.session.setting("table.display.max-column-width");
        let widest = widest.parse().map_err(|error| {
            Error::internal(format!("the session's column width `{widest}` is no number")).with_source(error)
        })?;
        let is_timed = self.session.setting("sql-client.display.print-time-cost") != "false";
        Ok(Look { style: TextStyle::printing(zone), widest, is_timed })
    }

    async fn statement(
        &mut self,
        statement: &str,
        line: usize,
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
        interrupt: &Interrupt,
    ) -> Result<Ended, Failure> {
        let started = Instant::now();
        let mut waiting = interrupt.clone();
        let executed = tokio::select! {
            executed = Box::pin(self.session.execute(statement, line)) => executed?,
            () = waiting.wait() => return Ok(Ended::Interrupted),
        };
        let Executed { outcome, notices } = executed;
        for notice in &notices {
            writeln!(err, "[NOTICE] {notice}")?;
        }
        let output = self.output();
        match outcome {
            Outcome::Done => {
                if output.is_for_people() {
                    writeln!(out, "[INFO] Execute statement succeeded.\n")?;
                    out.flush()?;
                }
                Ok(Ended::Normally)
            }
            Outcome::Listing(rows) => {
                let mut pages = Pages::new(out, self.screen(true));
                match self.listing(rows, &mut pages) {
                    Err(Failure::PipeClosed) if pages.is_paging() => {}
                    ended => ended?,
                }
                pages.end()?;
                Ok(Ended::Normally)
            }
            Outcome::Query(running) => {
                let schema = Arc::clone(&running.schema);
                let renderer = renderer(output, schema, running.streaming, running.bounded, &self.look()?);
                // Who waits for rows without an end wants to see each as it comes.
                let screen = self.screen(running.bounded || !running.streaming);
                let mut pages = Pages::new(out, screen);
                match self.watch(running, Some(renderer), started, &mut pages, err, interrupt).await {
                    // The user has left the pager.
                    Err(Failure::PipeClosed) if pages.is_paging() => pages.end().map(|()| Ended::Normally),
                    ended => ended,
                }
            }
            Outcome::Insert(running) => {
                let mut pages = Pages::new(out, None);
                let ended = self.watch(running, None, started, &mut pages, err, interrupt).await?;
                drop(pages);
                if ended == Ended::Normally && output.is_for_people() {
                    writeln!(out, "[INFO] Complete execution of the SQL update statement.\n")?;
                    out.flush()?;
                }
                Ok(ended)
            }
        }
    }

    /// The screen, if a result is to go through a pager where it is longer.
    fn screen(&self, ends: bool) -> Option<Screen> {
        let is_paged = ends
            && self.options.has_terminal
            && matches!(self.output(), OutputFormat::Table | OutputFormat::Changelog)
            && self.session.setting("sql-client.display.pager") != "false";
        is_paged.then(Screen::now)
    }

    fn listing(&self, rows: RecordBatch, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
        let (output, look) = (self.output(), self.look()?);
        if output.is_for_people() {
            return listing(&rows, &look.style, out);
        }
        let mut renderer = renderer(output, rows.schema(), false, true, &look);
        renderer.start(out)?;
        renderer.changes(&ChangeBatch::inserts(rows), out)?;
        renderer.finish(Ending { elapsed: Duration::ZERO, interrupted: false }, out)
    }

    /// Waits for a running statement to end, or ends it.
    async fn watch(
        &self,
        mut running: Running,
        mut renderer: Option<Box<dyn Renderer>>,
        started: Instant,
        out: &mut Pages<'_>,
        err: &mut (dyn Write + Send),
        interrupt: &Interrupt,
    ) -> Result<Ended, Failure> {
        if let Some(renderer) = &mut renderer {
            renderer.start(out)?;
        }
        let mut interrupt = interrupt.clone();
        let mut progress = Progress::new(started);
        let mut report = tokio::time::interval_at(tokio::time::Instant::now() + REPORT_EVERY, REPORT_EVERY);
        report.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut tick = tokio::time::interval(progress::TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let shares_terminal = io::stdout().is_terminal();
        let ended = loop {
            let next = tokio::select! {
                biased;
                () = interrupt.wait() => break Ok(Ended::Interrupted),
                next = running.changes.recv() => next,
                _ = tick.tick() => {
                    progress.show(running.report.read());
                    continue;
                }
                _ = report.tick(), if self.options.verbose && !out.is_paging() => {
                    progress.end();
                    self.tell_report(running.report.as_ref(), err)?;
                    continue;
                }
            };
            match next {
                Some(Ok(changes)) => match &mut renderer {
                    Some(renderer) => {
                        if shares_terminal {
                            progress.end();
                        }
                        renderer.changes(&changes, out)?;
                    }
                    None => return Err(Error::internal("an INSERT gave rows").into()),
                },
                Some(Err(error)) => break Err(error),
                None => break Ok(Ended::Normally),
            }
        };
        progress.end();
        // A result that failed half-way keeps its rows, and the error says that they are not all.
        if let (Some(renderer), Ok(ended)) = (&mut renderer, &ended) {
            let interrupted = *ended == Ended::Interrupted;
            renderer.finish(Ending { elapsed: started.elapsed(), interrupted }, out)?;
        }
        out.end()?;
        let report = Arc::clone(&running.report);
        drop(running);
        self.tell_report(report.as_ref(), err)?;
        Ok(ended?)
    }

    fn tell_report(&self, report: &dyn Report, err: &mut (dyn Write + Send)) -> Result<(), Failure> {
        if let Some(warning) = warning(report.late_rows(), report.skipped_messages()) {
            writeln!(err, "[WARN] {warning}")?;
        }
        if self.options.verbose {
            let parts = [report.line(), report.reached()];
            let line = parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(", ");
            if !line.is_empty() {
                writeln!(err, "[REPORT] {line}")?;
            }
        }
        Ok(())
    }
}

/// What must be said of a result that leaves something out.
fn warning(late_rows: u64, skipped_messages: u64) -> Option<String> {
    let rows = |n: u64| if n == 1 { "1 row".to_string() } else { format!("{n} rows") };
    let messages = |n: u64| if n == 1 { "1 message".to_string() } else { format!("{n} messages") };
    let late = (late_rows > 0).then(|| format!("{} came too late for a window and was left out", rows(late_rows)));
    let skipped =
        (skipped_messages > 0).then(|| format!("{} did not decode and was left out", messages(skipped_messages)));
    let plural = |text: String, n: u64| if n == 1 { text } else { text.replace("was left out", "were left out") };
    let parts: Vec<String> =
        [late.map(|text| plural(text, late_rows)), skipped.map(|text| plural(text, skipped_messages))]
            .into_iter()
            .flatten()
            .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The failure, once the user has been told of it.
fn told(failure: Failure, out: &mut (dyn Write + Send), err: &mut (dyn Write + Send)) -> Failure {
    match failure {
        Failure::Error(error) => tell(&error, out, err),
        failure => failure,
    }
}

fn tell(error: &Error, out: &mut (dyn Write + Send), err: &mut (dyn Write + Send)) -> Failure {
    // What came before stands before it, also where both go to one terminal.
    let told = out.flush().and_then(|()| writeln!(err, "[ERROR] Could not execute SQL statement. Reason:\n{error}"));
    match told {
        Err(error) if is_closed(&error) => Failure::PipeClosed,
        _ => Failure::Told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_one_line_and_counts() {
        assert_eq!(warning(0, 0), None);
        assert_eq!(warning(1, 0).as_deref(), Some("1 row came too late for a window and was left out"));
        assert_eq!(
            warning(3, 2).as_deref(),
            Some("3 rows came too late for a window and were left out; 2 messages did not decode and were left out")
        );
    }
}
