//! Forms of subqueries that DataFusion does not run, as forms that it runs.
//!
//! ```text
//!  SELECT x IN (q)                ─► CASE over counts of q: hits, rows, rows with a value (NULL where SQL says so)
//!  SELECT EXISTS (q)              ─► count of q > 0
//!  WHERE x NOT IN (q of outer)    ─► NOT EXISTS (q where (x = c) IS NOT FALSE)
//! ```

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Spans};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery, lit, when};

use crate::functions::aggregates;

/// The columns of an expression as a subquery names them.
fn outer(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let done = expression.transform(|one| match one {
        Expr::Column(column) => {
            let (_, field) = schema.qualified_field_from_column(&column)?;
            Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(done.data)
}

fn as_subquery(plan: LogicalPlan) -> Subquery {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() }
}

/// How many rows, as a value.
fn counted(rows: LogicalPlanBuilder, what: Expr) -> Result<Expr> {
    let plan = rows.aggregate(Vec::<Expr>::new(), vec![count(what).alias("count")])?.build()?;
    Ok(Expr::ScalarSubquery(as_subquery(plan)))
}

fn only_column(plan: &LogicalPlan) -> Expr {
    let (qualifier, field) = plan.schema().qualified_field(0);
    Expr::Column(Column::new(qualifier.cloned(), field.name()))
}

/// IN and EXISTS as values.
pub(super) fn as_value(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let done = as_single(expression)?.transform_up(|one| match one {
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let rows = || LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
            let column = only_column(&subquery.subquery);
            let hits = counted(rows().filter(column.clone().eq(outer(expr.as_ref().clone(), schema)?))?, lit(1i64))?;
            let (all, known) = (counted(rows(), lit(1i64))?, counted(rows(), column)?);
            let null = || lit(ScalarValue::Boolean(None));
            let found = when(hits.gt(lit(0i64)), lit(true))
                .when(all.clone().eq(lit(0i64)), lit(false))
                .when(expr.as_ref().clone().is_null(), null())
                .when(known.lt(all), null())
                .otherwise(lit(false))?;
            Ok(Transformed::yes(if negated { Expr::Not(Box::new(found)) } else { found }))
        }
        Expr::Exists(Exists { subquery, negated }) => {
            let rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
            let found = counted(rows, lit(1i64))?.gt(lit(0i64));
            Ok(Transformed::yes(if negated { Expr::Not(Box::new(found)) } else { found }))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(done.data)
}

/// Scalar subqueries that name columns of the query around them as aggregates, which give one row at most: what DataFusion makes joins of.
pub(super) fn as_single(expression: Expr) -> Result<Expr> {
    let done = expression.transform_up(|one| match one {
        Expr::ScalarSubquery(subquery)
            if !subquery.outer_ref_columns.is_empty() && !gives_one_row(&subquery.subquery) =>
        {
            let column = only_column(&subquery.subquery);
            let Some(single) = aggregates::aggregate(aggregates::SINGLE_VALUE) else {
                return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
            };
            let value = single.call(vec![column]).alias(subquery.subquery.schema().field(0).name());
            let rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
            let plan = rows.aggregate(Vec::<Expr>::new(), vec![value])?.build()?;
            Ok(Transformed::yes(Expr::ScalarSubquery(as_subquery(plan))))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(done.data)
}

/// Whether it is an aggregate over all rows, perhaps with something computed of it.
fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => gives_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => gives_one_row(&alias.input),
        LogicalPlan::Limit(_) => true,
        _ => false,
    }
}

/// A condition whose NOT INs over correlated subqueries are NOT EXISTS.
pub(super) fn as_condition(predicate: Expr, schema: &DFSchema) -> Result<Expr> {
    let parts = split_conjunction_owned(as_single(predicate)?).into_iter().map(|part| match part {
        Expr::InSubquery(InSubquery { expr, subquery, negated: true }) if !subquery.outer_ref_columns.is_empty() => {
            let equal = only_column(&subquery.subquery).eq(outer(*expr, schema)?);
            let rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
            let plan = rows.filter(Expr::IsNotFalse(Box::new(equal)))?.build()?;
            Ok(Expr::Exists(Exists { subquery: as_subquery(plan), negated: true }))
        }
        other => Ok(other),
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Ok(conjunction(parts).unwrap_or_else(|| lit(true)))
}
