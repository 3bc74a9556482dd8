//! `EXPLAIN`: the plan, and what each table reads; `EXPLAIN ANALYZE` runs it and counts.
//!
//! ```text
//!  == Abstract Syntax Tree ==         as the query is bound
//!  == Optimized Physical Plan ==      a node a line; with CHANGELOG_MODE and ESTIMATED_COST what is known of its rows
//!  == Optimized Execution Plan ==     batch: DataFusion's operators; a stream: the nodes that become operators
//!  == catalog.database.table ==       for each table over topics: the border of each partition, pushed-down filters, estimated rows
//! ```

mod nodes;

use std::fmt::Write;
use std::sync::Arc;

use aquifer_model::{Cut, Error, Result};
use aquifer_storage::reader::{Extent, Tiers};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::displayable;

use self::nodes::Nodes;
use super::binder::Bound;
use super::insert::is_of_windows;
use super::statement::{Details, Explained};
use super::{Outcome, Session, listing, run};
use crate::batch::{StartMode, TieredTable, from_datafusion};
use crate::streaming::{ScannedTable, find_table};

impl Session {
    pub(super) async fn explain(&self, details: Details, what: Explained) -> Result<Outcome> {
        let state = self.state()?;
        let mut text = String::new();
        match what {
            Explained::Query(query) => {
                let bound = self.bind(*query, &state).await?;
                self.explain_bound(&mut text, details, bound, &state).await?;
            }
            Explained::Inserts(inserts) => {
                for insert in inserts {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    let target = self.target(&insert).await?;
                    let bound = self.bind_insert(insert.query, &target, &state).await?;
                    let _ = writeln!(text, "== Insert into {} ==", target.table.name.join("."));
                    self.explain_bound(&mut text, details, bound, &state).await?;
                }
            }
        }
        listing("result", vec![text.trim_end().to_string()])
    }

    async fn explain_bound(
        &self,
        text: &mut String,
        details: Details,
        bound: Bound,
        state: &SessionState,
    ) -> Result<()> {
        let streaming = self.settings.is_streaming();
        let plan = state.optimize(&bound.plan).map_err(from_datafusion)?;
        let mut readings = Vec::with_capacity(bound.tables.len());
        for table in &bound.tables {
            readings.push((Arc::clone(table), Reading::of(table).await?));
        }
        let rows_of = |table: &TieredTable| {
            let reading = readings.iter().find(|(one, _)| std::ptr::eq(one.as_ref(), table));
            reading.and_then(|(_, reading)| reading.rows)
        };
        let shown = Nodes {
            streaming,
            rows_of: &rows_of,
            show_rows: details.estimated_cost,
            show_changes: details.changelog_mode,
        };
        let with_advice = if details.advice { " With Advice" } else { "" };
        let _ = writeln!(text, "== Abstract Syntax Tree ==\n{}", bound.plan.display_indent());
        let _ = writeln!(text, "\n== Optimized Physical Plan{with_advice} ==\n{}", shown.tree(&plan));
        if details.advice {
            let _ = writeln!(text, "\n{}", advice(&plan, streaming && !bound.is_bounded()));
        }
        let execution = if streaming {
            Nodes { show_rows: false, show_changes: false, ..shown }.tree(&plan)
        } else {
            let physical = state.query_planner().create_physical_plan(&plan, state).await.map_err(from_datafusion)?;
            displayable(physical.as_ref()).indent(false).to_string()
        };
        let _ = writeln!(text, "\n== Optimized Execution Plan ==\n{}", execution.trim_end());
        if details.json {
            let _ = writeln!(text, "\n== Physical Execution Plan ==\n{}", plan.display_pg_json());
        }
        for (table, reading) in &readings {
            let _ = write!(text, "\n== {} ==\n{}", table.name, reading.text);
            let filters = pushed_filters(&plan, table)?;
            if !filters.is_empty() {
                let _ = writeln!(text, "filters pushed down: {}", filters.join(" AND "));
            }
            let _ = match reading.rows {
                Some(rows) => writeln!(text, "estimated rows: {rows}"),
                None => writeln!(text, "estimated rows: unknown, the log's entries cannot be counted"),
            };
        }
        if details.analyze { self.analyze_run(text, bound, state).await } else { Ok(()) }
    }

    /// Runs what was explained, and tells what it read.
    async fn analyze_run(&self, text: &mut String, bound: Bound, state: &SessionState) -> Result<()> {
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
        Ok(())
    }
}

/// What a table reads: a line a partition, and about how many rows.
struct Reading {
    text: String,
    rows: Option<u64>,
}

impl Reading {
    async fn of(table: &TieredTable) -> Result<Self> {
        let mut reading = Self { text: String::new(), rows: Some(0) };
        for topic in &table.topics {
            let partitions = match &table.end {
                Some(end) => end
                    .iter()
                    .filter(|(one, _)| one.topic == topic.topic)
                    .map(|(p, to)| (p.clone(), Some(*to)))
                    .collect(),
                None => {
                    topic.log.partitions(&topic.topic).await?.into_iter().map(|one| (one, None)).collect::<Vec<_>>()
                }
            };
            for (partition, to) in partitions {
                let from = match &table.start {
                    StartMode::Earliest => Some(Cut::Start),
                    StartMode::Latest => to,
                    StartMode::Cuts(cuts) => Some(cuts.get(&partition).copied().unwrap_or_default()),
                };
                let Some(from) = from else {
                    let _ = writeln!(reading.text, "{partition}: the log, from what comes next");
                    continue;
                };
                let extent = topic.extent(&partition, from, to, table.tiers).await?;
                let _ = writeln!(reading.text, "{partition}: {}", tiers(&extent, from, to, table.tiers));
                reading.rows = reading.rows.zip(extent.log_entries).map(|(sum, log)| sum + extent.archive_rows + log);
            }
        }
        if table.end.is_none() {
            reading.text.push_str(if table.until.is_some() {
                "reads to its stop option\n"
            } else {
                "reads without an end\n"
            });
        }
        if let Some(pin) = &table.pin {
            let _ = writeln!(reading.text, "the subscription `{pin}` keeps what is not read yet from being trimmed");
        }
        Ok(reading)
    }
}

/// How the tiers split `(from, to]`.
fn tiers(extent: &Extent, from: Cut, to: Option<Cut>, tiers: Tiers) -> String {
    let mut parts = Vec::new();
    if from != Cut::Start {
        parts.push(format!("from {from}"));
    }
    let counted = |n: u64, one: &str, more: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {more}") };
    match extent.border.position() {
        Some(border) => parts.push(format!(
            "archive up to {border} ({} in {})",
            counted(extent.archive_rows, "row", "rows"),
            counted(extent.files, "file", "files")
        )),
        None if tiers == Tiers::Log => {}
        None => parts.push("nothing archived".to_string()),
    }
    if tiers != Tiers::Archive {
        let end = match to {
            Some(to) => to.position().map_or_else(|| " up to its start".to_string(), |to| format!(" up to {to}")),
            None => String::new(),
        };
        let entries = extent.log_entries.map(|n| format!(" ({})", counted(n, "entry", "entries"))).unwrap_or_default();
        let there = if extent.border == Cut::Start { "" } else { " from there" };
        parts.push(format!("log{there}{end}{entries}"));
    }
    parts.join(", ")
}

/// What the readers of both tiers are asked, over all scans of a table.
fn pushed_filters(plan: &LogicalPlan, table: &TieredTable) -> Result<Vec<String>> {
    let mut filters = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(ScannedTable::Tiered(one)) = find_table(scan.source.as_ref())
            && std::ptr::eq(one, table)
        {
            filters.extend(scan.filters.iter().map(Expr::to_string));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(from_datafusion)?;
    Ok(filters)
}

/// What could be better about a plan; as Flink says it where nothing is.
fn advice(plan: &LogicalPlan, is_endless: bool) -> String {
    let mut found = Vec::new();
    let _ = plan.apply(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node
            && is_endless
            && !aggregate.group_expr.is_empty()
            && !is_of_windows(aggregate)
        {
            found.push(format!(
                "advice[{}]: [WARNING] `{}` keeps a state for each key for as long as the query runs: group by window_start and window_end too, or \
                 bound the query.",
                found.len() + 1,
                node.display()
            ));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if found.is_empty() { "No available advice...".to_string() } else { found.join("\n") }
}
