//! `FOR SYSTEM_TIME AS OF time`: a topic as it was, which is what had been published by then.
//!
//! ```text
//!  t FOR SYSTEM_TIME AS OF TIMESTAMP '…' ─► the time, in the session's zone ─► t read up to the first entry published later, in either tier
//! ```

use aquifer_catalog::{Table, catalogs::Target};
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, TimestampMillisecondType};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::create_physical_expr;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use sqlparser::ast::Expr;

use super::{Context, Lookup, parser_options};
use crate::batch::from_datafusion;
use crate::functions::{cast, type_of};
use crate::sql::{sugar, typing};

/// The table as it was at a time.
pub(super) async fn table(table: &Table, time: Expr, lookup: &dyn Lookup, state: &SessionState) -> Result<Table> {
    if !matches!(table.target, Target::Topics(_) | Target::Pattern(_)) {
        return Err(Error::unsupported(format!(
            "`{}` is no table over topics, and only they have a history for FOR SYSTEM_TIME AS OF",
            table.name[2]
        )));
    }
    let first_left_out = moment(time, state)?.saturating_add(1);
    let options = [
        ("scan.bounded.mode".to_string(), "timestamp".to_string()),
        ("scan.bounded.timestamp-millis".to_string(), first_left_out.to_string()),
    ];
    lookup.with_options(table, &options).await
}

/// What a time without columns is, in milliseconds since 1970.
fn moment(mut time: Expr, state: &SessionState) -> Result<i64> {
    let written = time.to_string();
    let invalid =
        |what: &str| Error::invalid(format!("FOR SYSTEM_TIME AS OF takes a TIMESTAMP, and `{written}` {what}"));
    sugar::unsweeten_expression(&mut time)?;
    let nothing = DFSchema::empty();
    let context = Context::new(state, Vec::new());
    let bound = SqlToRel::new_with_options(&context, parser_options())
        .sql_to_expr(time, &nothing, &mut PlannerContext::new())
        .map_err(|error| from_datafusion(error).context("FOR SYSTEM_TIME AS OF takes a time without columns here"))?;
    let plan = LogicalPlanBuilder::empty(true).project([bound]).and_then(LogicalPlanBuilder::build);
    let LogicalPlan::Projection(projection) = typing::complete(plan.map_err(from_datafusion)?)? else {
        return Err(Error::internal("a projection stays one"));
    };
    let Some(bound) = projection.expr.into_iter().next() else { return Err(Error::internal("one value is one")) };
    let found = type_of(&bound, &nothing)?;
    if !matches!(found, SqlType::Timestamp(_) | SqlType::TimestampLtz(_)) {
        return Err(invalid(&format!("is {found}")));
    }
    let bound = cast(bound, &SqlType::TimestampLtz(3), false, &nothing)?;
    let physical = create_physical_expr(&bound, &nothing, state.execution_props(), &PhysicalPlanningContext::default())
        .map_err(from_datafusion)?;
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let one_row = RecordBatch::try_new_with_options(Schema::empty().into(), Vec::new(), &one_row)?;
    let value = physical.evaluate(&one_row).and_then(|value| value.into_array(1)).map_err(from_datafusion)?;
    let millis = value.as_primitive_opt::<TimestampMillisecondType>().filter(|millis| millis.is_valid(0));
    millis.map(|millis| millis.value(0)).ok_or_else(|| invalid("is NULL"))
}
