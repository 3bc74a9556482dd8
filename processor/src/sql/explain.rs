//! `EXPLAIN`: the plan, and what each table reads; `EXPLAIN ANALYZE` runs it and counts.

use std::fmt::Write;

use aquifer_model::{Error, Result};
use datafusion::execution::SessionState;

use super::insert::updates;
use super::statement::{Details, Explained, SelectQuery};
use super::{Outcome, Session, listing, run};

impl Session {
    pub(super) async fn explain(&self, details: Details, what: Explained) -> Result<Outcome> {
        let state = self.state()?;
        let mut text = String::new();
        match what {
            Explained::Query(query) => self.explain_query(&mut text, details, *query, &state).await?,
            Explained::Inserts(inserts) => {
                for insert in inserts {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    let target = self.target(&insert).await?;
                    let _ = writeln!(text, "== Insert into {} ==", target.table.name.join("."));
                    self.explain_query(&mut text, details, insert.query, &state).await?;
                }
            }
        }
        listing("result", vec![text.trim_end().to_string()])
    }

    async fn explain_query(
        &self,
        text: &mut String,
        details: Details,
        query: SelectQuery,
        state: &SessionState,
    ) -> Result<()> {
        let bound = self.bind(query, state).await?;
        let plan = state.optimize(&bound.plan).map_err(crate::batch::from_datafusion)?;
        let mode = self.settings.get("execution.runtime-mode");
        let _ = writeln!(text, "== Plan ({mode}) ==\n{}", plan.display_indent());
        if details.changelog_mode {
            let kinds = if self.settings.is_streaming() && updates(&bound.plan) { "I,UB,UA,D" } else { "I" };
            let _ = writeln!(text, "changelogMode=[{kinds}]");
        }
        for table in &bound.tables {
            let _ = write!(text, "\n== {} ==\n", table.name);
            match &table.end {
                None => text.push_str("reads without an end\n"),
                Some(end) => {
                    for (partition, cut) in end {
                        let _ = writeln!(text, "{partition}: up to {cut}");
                    }
                }
            }
        }
        if details.estimated_cost {
            text.push_str("\n== Cost ==\n");
            text.push_str("rows are not estimated before a run: EXPLAIN ANALYZE runs the query and counts them\n");
        }
        if details.analyze {
            if !bound.is_bounded() {
                return Err(Error::invalid(
                    "EXPLAIN ANALYZE runs the query to its end, and this one has none: SET 'execution.runtime-mode' = 'batch', or give its tables \
                     /*+ OPTIONS('scan.bounded.mode'='latest-offset') */",
                ));
            }
            let tables = bound.tables.clone();
            let mut running = run::start(bound, state, self.job()?).await?;
            let mut rows = 0;
            while let Some(batch) = running.changes.recv().await {
                rows += batch?.num_rows();
            }
            let _ = write!(text, "\n== Run ==\n{rows} rows out; {}\n", running.report.line());
            for table in tables {
                let read = table.read_so_far();
                let _ = writeln!(
                    text,
                    "{}: archive {} rows ({} bytes), log {} rows ({} bytes), {} rows left out by statistics",
                    table.name, read.archive_rows, read.archive_bytes, read.log_rows, read.log_bytes, read.pruned_rows
                );
            }
        }
        Ok(())
    }
}
