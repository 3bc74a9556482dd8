//! Runs scripts: statement after statement, each result printed as it comes.
//!
//! ```text
//!  script ─► Session::split ─► execute ─┬─► rows: a renderer, flushed per batch ─► standard output
//!                                       └─► notices, warnings, reports ─────────► standard error
//! ```
//!
//! The first statement that fails ends the script. Ctrl-C ends a running statement and the script; what was printed stays valid.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use aquifer_formats::text::TextStyle;
use aquifer_model::{ChangeBatch, Error, Result};
use aquifer_processor::sql::{Executed, Outcome, Report, Running, Session};
use arrow::array::RecordBatch;

use crate::interrupt::Interrupt;
use crate::output::{Ending, OutputFormat, Renderer, default_style, is_closed, listing, renderer};

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything was done.
    Normally,
    /// The user asked for the end.
    Interrupted,
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

/// A session and how its results are printed.
#[derive(Debug)]
pub struct Shell {
    session: Session,
    output: OutputFormat,
    verbose: bool,
    style: TextStyle,
}

impl Shell {
    /// Prints as `output` says; with `verbose` each statement's report goes to standard error.
    pub fn new(session: Session, output: OutputFormat, verbose: bool) -> Result<Self> {
        Ok(Self { session, output, verbose, style: default_style()? })
    }

    /// Runs all statements of a script. An error is told on `err` here, in Flink's words.
    pub async fn run(
        &mut self,
        script: &str,
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
        interrupt: &Interrupt,
    ) -> Result<Ended, Failure> {
        let statements = match Session::split(script) {
            Ok(statements) => statements,
            Err(error) => return Err(tell(&error, out, err)),
        };
        for (line, statement) in statements {
            match self.statement(&statement, line, out, err, interrupt).await {
                Ok(Ended::Normally) => {}
                Ok(ended) => return Ok(ended),
                Err(Failure::Error(error)) => return Err(tell(&error, out, err)),
                Err(failure) => return Err(failure),
            }
        }
        Ok(Ended::Normally)
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
        match outcome {
            Outcome::Done => {
                if self.output.is_for_people() {
                    writeln!(out, "[INFO] Execute statement succeeded.\n")?;
                    out.flush()?;
                }
                Ok(Ended::Normally)
            }
            Outcome::Listing(rows) => {
                self.listing(rows, out)?;
                Ok(Ended::Normally)
            }
            Outcome::Query(running) => {
                let schema = Arc::clone(&running.schema);
                let renderer = renderer(self.output, schema, running.streaming, running.bounded, self.style);
                self.watch(running, Some(renderer), started, out, err, interrupt).await
            }
            Outcome::Insert(running) => {
                let ended = self.watch(running, None, started, out, err, interrupt).await?;
                if ended == Ended::Normally && self.output.is_for_people() {
                    writeln!(out, "[INFO] Complete execution of the SQL update statement.\n")?;
                    out.flush()?;
                }
                Ok(ended)
            }
        }
    }

    fn listing(&self, rows: RecordBatch, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
        if self.output.is_for_people() {
            return listing(&rows, &self.style, out);
        }
        let mut renderer = renderer(self.output, rows.schema(), false, true, self.style);
        renderer.start(out)?;
        renderer.changes(&ChangeBatch::inserts(rows), out)?;
        renderer.finish(Ending { elapsed: Default::default(), interrupted: false }, out)
    }

    /// Waits for a running statement to end, or ends it.
    async fn watch(
        &self,
        mut running: Running,
        mut renderer: Option<Box<dyn Renderer>>,
        started: Instant,
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
        interrupt: &Interrupt,
    ) -> Result<Ended, Failure> {
        if let Some(renderer) = &mut renderer {
            renderer.start(out)?;
        }
        let mut interrupt = interrupt.clone();
        let ended = loop {
            let next = tokio::select! {
                biased;
                () = interrupt.wait() => break Ok(Ended::Interrupted),
                next = running.changes.recv() => next,
            };
            match next {
                Some(Ok(changes)) => match &mut renderer {
                    Some(renderer) => renderer.changes(&changes, out)?,
                    None => return Err(Error::internal("an INSERT gave rows").into()),
                },
                Some(Err(error)) => break Err(error),
                None => break Ok(Ended::Normally),
            }
        };
        // A result that failed half-way keeps its rows, and the error says that they are not all.
        if let (Some(renderer), Ok(ended)) = (&mut renderer, &ended) {
            let interrupted = *ended == Ended::Interrupted;
            renderer.finish(Ending { elapsed: started.elapsed(), interrupted }, out)?;
        }
        out.flush()?;
        let report = Arc::clone(&running.report);
        drop(running);
        self.tell_report(report.as_ref(), err)?;
        Ok(ended?)
    }

    fn tell_report(&self, report: &dyn Report, err: &mut (dyn Write + Send)) -> Result<(), Failure> {
        if let Some(warning) = warning(report.late_rows(), report.skipped_messages()) {
            writeln!(err, "[WARN] {warning}")?;
        }
        let line = report.line();
        if self.verbose && !line.is_empty() {
            writeln!(err, "[REPORT] {line}")?;
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
