//! Which filters of a stream a table's readers apply themselves, without changing its watermark.
//!
//! ```text
//!  Filter ─► Watermark ─► Scan        becomes        Filter (what is left) ─► Watermark ─► Scan with a filter, telling the largest time of all rows
//! ```
//!
//! It may be done where the watermark follows from the time column alone and rises with it: then the largest time of what was passed says all that its rows
//! would have said.

use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, TableScan};

use super::tiered::{ScannedTable, find_table};
use crate::batch::TieredTable;
use crate::plan::WatermarkNode;

/// A filter that stands above a watermark, taken apart.
#[derive(Debug)]
pub(super) struct Split {
    /// What the readers apply.
    pub pushed: Vec<Expr>,
    /// What is left to do.
    pub rest: Option<Expr>,
}

/// Takes a filter above `input` apart; `None` if nothing of it can be pushed.
pub(super) fn split(predicate: &Expr, input: &LogicalPlan) -> Option<Split> {
    let (watermark, table) = find(input)?;
    let takes = |name: &str| table.takes_filters_on(name);
    if !takes(&watermark.column) || !follows(&watermark.expression, &watermark.column) {
        return None;
    }
    let can = |expr: &Expr| !expr.is_volatile() && expr.column_refs().iter().all(|column| takes(&column.name));
    let (pushed, rest): (Vec<Expr>, Vec<Expr>) = split_conjunction(predicate).into_iter().cloned().partition(can);
    (!pushed.is_empty()).then(|| Split { pushed, rest: conjunction(rest) })
}

/// A watermark right above a table over topics.
fn find(plan: &LogicalPlan) -> Option<(&WatermarkNode, &TieredTable)> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => find(&alias.input),
        // Columns that are only left out keep their names.
        LogicalPlan::Projection(node) if node.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) => {
            find(&node.input)
        }
        LogicalPlan::Extension(extension) => {
            let watermark = extension.node.as_any().downcast_ref::<WatermarkNode>()?;
            Some((watermark, scanned(&watermark.input)?))
        }
        _ => None,
    }
}

fn scanned(plan: &LogicalPlan) -> Option<&TieredTable> {
    let LogicalPlan::TableScan(TableScan { source, filters, projection, .. }) = plan else { return None };
    let reads_something = projection.as_ref().is_none_or(|columns| !columns.is_empty());
    match find_table(source.as_ref())? {
        ScannedTable::Tiered(table) if filters.is_empty() && reads_something => Some(table),
        _ => None,
    }
}

/// Whether an expression is the column, or the column shifted by a constant.
fn follows(expression: &Expr, column: &str) -> bool {
    match expression {
        Expr::Column(found) => found.name == column,
        Expr::Alias(alias) => follows(&alias.expr, column),
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::Minus | Operator::Plus) => {
            follows(&binary.left, column) && matches!(*binary.right, Expr::Literal(..))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn a_watermark_follows_its_column_only_if_that_is_all_it_is_made_of() {
        let shifted = col("ts") - lit(5i64);
        for (expression, expected) in [
            (col("ts"), true),
            (shifted.clone(), true),
            (shifted.clone().alias("w"), true),
            (col("other"), false),
            (col("ts") - col("delay"), false),
            (lit(5i64) - col("ts"), false),
            (col("ts") * lit(2i64), false),
        ] {
            assert_eq!(follows(&expression, "ts"), expected, "{expression}");
        }
    }
}
