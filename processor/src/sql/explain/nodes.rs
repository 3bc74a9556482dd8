//! A plan's nodes, each with what is known of its rows before it runs: how many about, and which kinds of changes.
//!
//! Rows are estimated upwards from the scans: a filter and a grouping are taken to keep every row, a join on keys to give as many rows as its larger side
//! has. Kinds of changes follow Flink's rules for the nodes that our streams have.

use std::fmt::Write;

use datafusion::logical_expr::{FetchType, JoinType, LogicalPlan};

use super::super::insert::is_of_windows;
use crate::batch::TieredTable;
use crate::plan::{UpsertNode, WindowKind, WindowNode};
use crate::streaming::{ScannedTable, find_table};

/// The kinds of changes that a node gives beside new rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Changes {
    /// Rows are replaced: -U and +U.
    pub updates: bool,
    /// Rows are taken back: -D.
    pub deletes: bool,
}

impl Changes {
    /// As Flink writes them.
    pub fn text(self) -> &'static str {
        match (self.updates, self.deletes) {
            (false, false) => "I",
            (true, false) => "I,UB,UA",
            (false, true) => "I,D",
            (true, true) => "I,UB,UA,D",
        }
    }
}

/// What is known of a node's rows.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    rows: Option<u64>,
    changes: Changes,
}

/// What is shown of each node.
pub(super) struct Nodes<'a> {
    pub streaming: bool,
    /// About how many rows a table over topics gives.
    pub rows_of: &'a (dyn Fn(&TieredTable) -> Option<u64> + Sync),
    pub show_rows: bool,
    pub show_changes: bool,
}

impl Nodes<'_> {
    /// The tree, a node a line.
    pub fn tree(&self, plan: &LogicalPlan) -> String {
        let mut lines = Vec::new();
        self.describe(plan, 0, &mut lines);
        lines.join("\n")
    }

    fn describe(&self, plan: &LogicalPlan, depth: usize, lines: &mut Vec<String>) -> Facts {
        let at = lines.len();
        lines.push(String::new());
        let inputs: Vec<Facts> = plan.inputs().into_iter().map(|one| self.describe(one, depth + 1, lines)).collect();
        let facts = Facts { rows: self.rows(plan, &inputs), changes: self.changes(plan, &inputs) };
        let mut line = match depth {
            0 => plan.display().to_string(),
            _ => format!("{:1$}+- {2}", "", (depth - 1) * 3, plan.display()),
        };
        if self.show_changes {
            let _ = write!(line, ", changelogMode=[{}]", facts.changes.text());
        }
        if self.show_rows {
            let rows = facts.rows.map_or_else(|| "unknown".to_string(), |rows| rows.to_string());
            let _ = write!(line, ": rowcount = {rows}");
        }
        lines[at] = line;
        facts
    }

    fn rows(&self, plan: &LogicalPlan, inputs: &[Facts]) -> Option<u64> {
        let first = || inputs.first().and_then(|input| input.rows);
        let at_most = |rows: Option<u64>, fetch: Option<usize>| match fetch {
            Some(fetch) => Some(rows.unwrap_or(u64::MAX).min(fetch as u64)),
            None => rows,
        };
        match plan {
            LogicalPlan::TableScan(scan) => match find_table(scan.source.as_ref()) {
                Some(ScannedTable::Tiered(table)) => at_most((self.rows_of)(table), scan.fetch),
                _ => None,
            },
            LogicalPlan::Values(values) => Some(values.values.len() as u64),
            LogicalPlan::EmptyRelation(empty) => Some(u64::from(empty.produce_one_row)),
            LogicalPlan::Limit(limit) => match limit.get_fetch_type() {
                Ok(FetchType::Literal(fetch)) => at_most(first(), fetch),
                _ => first(),
            },
            LogicalPlan::Sort(sort) => at_most(first(), sort.fetch),
            LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => Some(1),
            LogicalPlan::Union(_) => inputs.iter().map(|input| input.rows).sum(),
            LogicalPlan::Join(join) => {
                let (left, right) = (first()?, inputs.get(1)?.rows?);
                match join.join_type {
                    JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => Some(left),
                    JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => Some(right),
                    _ if join.on.is_empty() => Some(left.saturating_mul(right)),
                    _ => Some(left.max(right)),
                }
            }
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<WindowNode>() {
                // A row stands in several windows of these.
                Some(window) if matches!(window.kind, WindowKind::Hop { .. } | WindowKind::Cumulate { .. }) => None,
                _ => first(),
            },
            // An array's length is not known.
            LogicalPlan::Unnest(_) => None,
            _ => first(),
        }
    }

    fn changes(&self, plan: &LogicalPlan, inputs: &[Facts]) -> Changes {
        let all = Changes { updates: true, deletes: true };
        if !self.streaming {
            return Changes::default();
        }
        let of_inputs = inputs.iter().fold(Changes::default(), |sum, input| Changes {
            updates: sum.updates || input.changes.updates,
            deletes: sum.deletes || input.changes.deletes,
        });
        match plan {
            LogicalPlan::TableScan(scan) => match find_table(scan.source.as_ref()) {
                Some(ScannedTable::Connector(table)) if !table.source.is_insert_only() => all,
                _ => Changes::default(),
            },
            LogicalPlan::Aggregate(aggregate) if is_of_windows(aggregate) => Changes::default(),
            // A key goes when its last row is taken back; without functions there is nothing of it to replace.
            LogicalPlan::Aggregate(aggregate) => Changes {
                updates: !aggregate.aggr_expr.is_empty(),
                deletes: !aggregate.group_expr.is_empty() && of_inputs != Changes::default(),
            },
            LogicalPlan::Distinct(_) => Changes { updates: false, deletes: of_inputs != Changes::default() },
            LogicalPlan::Extension(extension) if extension.node.as_any().is::<UpsertNode>() => all,
            _ => of_inputs,
        }
    }
}
