//! INTERSECT and EXCEPT: both sides of one type, and with ALL as often as rows stand on either side.
//!
//! ```text
//!  a INTERSECT ALL b ─► rows of each side numbered among their equals ─► semi join by row and number      (min of both counts)
//!  a EXCEPT ALL b    ─► the same ─► anti join                                                             (difference of the counts)
//! ```
//!
//! The planner makes them joins in which NULL equals NULL; without ALL their left side is DISTINCT. No other join of a bound query is one.

use std::sync::Arc;

use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder};

use super::typing::brought_to;
use crate::batch::from_datafusion;
use crate::functions::common_type;

/// The number of a row among its equals.
const COPY: &str = "__aquifer_copy";

/// Whether a join of a plan that is not complete yet is a set operation.
pub(super) fn is_one(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !join.left.schema().fields().iter().any(|field| field.name() == COPY)
}

/// The set operation with sides of one type, which counts copies if it is one with ALL.
pub(super) fn counted(join: Join) -> Result<LogicalPlan> {
    let fields = join.left.schema().fields().iter().zip(join.right.schema().fields());
    let types = fields.map(|(left, right)| {
        let both = [ColumnType::of_field(left)?.sql_type, ColumnType::of_field(right)?.sql_type];
        common_type(&both).ok_or_else(|| {
            Error::invalid(format!(
                "the columns of a set operation named `{}` have no common type ({}, {}): CAST them to one",
                left.name(),
                both[0],
                both[1]
            ))
        })
    });
    let types = types.collect::<Result<Vec<SqlType>>>()?;
    let right = brought_to(join.right.as_ref().clone(), &types)?;
    let (left, right) = match join.left.as_ref() {
        LogicalPlan::Distinct(Distinct::All(rows)) => {
            let rows = brought_to(rows.as_ref().clone(), &types)?;
            (LogicalPlan::Distinct(Distinct::All(Arc::new(rows))), right)
        }
        rows => (numbered(brought_to(rows.clone(), &types)?)?, numbered(right)?),
    };
    let own: Vec<Expr> = columns(&left).into_iter().take(types.len()).collect();
    let on = columns(&left).into_iter().zip(columns(&right)).collect();
    let join = Join { left: Arc::new(left), right: Arc::new(right), on, ..join };
    let joined = LogicalPlan::Join(join).recompute_schema().map_err(from_datafusion)?;
    if joined.schema().fields().len() == own.len() {
        return Ok(joined);
    }
    LogicalPlanBuilder::from(joined).project(own).and_then(LogicalPlanBuilder::build).map_err(from_datafusion)
}

fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    let column = |(qualifier, field): (Option<&_>, &Arc<arrow::datatypes::Field>)| {
        Expr::Column(Column::new(qualifier.cloned(), field.name()))
    };
    plan.schema().iter().map(column).collect()
}

/// The rows with their number among their equals as last column.
fn numbered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut all = columns(&plan);
    let number = row_number().partition_by(all.clone()).build().map_err(from_datafusion)?;
    all.push(number.clone().alias(COPY));
    let plan = LogicalPlanBuilder::from(plan).window([number]).and_then(|plan| plan.project(all));
    plan.and_then(LogicalPlanBuilder::build).map_err(from_datafusion)
}
