//! Scalar subqueries, and aggregates behind LATERAL, that compare with columns of the query around them otherwise than by equality, as joins that
//! DataFusion runs.
//!
//! ```text
//!  SELECT a.id, (SELECT COUNT(*) FROM b WHERE b.id < a.id) FROM a
//!
//!  a ─► its different values of a.id ─┐
//!                                     ├─► left join, b.id < a.id ─► COUNT of what matched, by a.id ─┐
//!  b, marked ─────────────────────────┘                                                             ├─► left join by a.id, NULL as NULL
//!  a ────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Those by equality alone DataFusion makes joins of itself.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery, lit,
};

const MATCHED: &str = "__aquifer_matched";

/// The node with such subqueries of its expressions as columns of its input. Nothing changes in all others.
pub(super) fn joined(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(node) if node.expr.iter().any(has_one) => {
            let mut input = node.input.as_ref().clone();
            let names = NamePreserver::new_for_projection();
            let expressions = node.expr.into_iter().map(|expression| {
                let name = names.save(&expression);
                Ok(name.restore(replaced(expression, &mut input)?))
            });
            let expressions = expressions.collect::<Result<Vec<_>>>()?;
            Ok(LogicalPlan::Projection(Projection::try_new(expressions, input.into())?))
        }
        LogicalPlan::Filter(node) if has_one(&node.predicate) => {
            let own: Vec<Expr> = node.input.schema().columns().into_iter().map(Expr::Column).collect();
            let mut input = node.input.as_ref().clone();
            let predicate = replaced(node.predicate, &mut input)?;
            let filter = LogicalPlan::Filter(Filter::try_new(predicate, input.into())?);
            LogicalPlanBuilder::from(filter).project(own)?.build()
        }
        other => Ok(other),
    }
}

/// A join with such a subquery behind LATERAL, which has one row, with its columns as columns of the left side. Nothing changes in all others.
pub(super) fn laterally_joined(join: Join) -> Result<LogicalPlan> {
    let mut right = join.right.as_ref();
    if let LogicalPlan::SubqueryAlias(alias) = right {
        right = alias.input.as_ref();
    }
    let always = join.on.is_empty() && join.filter.as_ref().is_none_or(|filter| *filter == lit(true));
    let (LogicalPlan::Subquery(subquery), true, JoinType::Inner | JoinType::Left) = (right, always, join.join_type)
    else {
        return LogicalPlan::Join(join).recompute_schema();
    };
    let values: Vec<Expr> = match subquery.subquery.as_ref() {
        LogicalPlan::Projection(node) => node.expr.clone(),
        _ => Vec::new(),
    };
    let Some(parts) = parts(subquery)
        .filter(|parts| !values.is_empty() && parts.value.is_some() && !values.iter().any(Expr::contains_outer))
    else {
        return LogicalPlan::Join(join).recompute_schema();
    };
    let mut given: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let (input, columns) = with_values(join.left.as_ref().clone(), subquery, &parts, &values)?;
    for (column, (qualifier, field)) in columns.into_iter().zip(join.right.schema().iter()) {
        given.push(column.alias_qualified(qualifier.cloned(), field.name()));
    }
    LogicalPlanBuilder::from(input).project(given)?.build()
}

/// A subquery's parts: what is computed of the aggregate, the aggregate, the condition, and the rows that it is asked of.
struct Parts<'a> {
    value: Option<&'a Expr>,
    aggregate: &'a Aggregate,
    condition: &'a Expr,
    rows: &'a LogicalPlan,
}

fn parts(subquery: &Subquery) -> Option<Parts<'_>> {
    let (value, plan) = match subquery.subquery.as_ref() {
        LogicalPlan::Projection(node) => (Some(node.expr.first()?), node.input.as_ref()),
        other => (None, other),
    };
    let LogicalPlan::Aggregate(aggregate) = plan else { return None };
    let LogicalPlan::Filter(filter) = aggregate.input.as_ref() else { return None };
    let plain = |expression: &Expr| !expression.contains_outer();
    let is_ours = aggregate.group_expr.is_empty()
        && filter.input.all_out_ref_exprs().is_empty()
        && aggregate.aggr_expr.iter().all(plain)
        && value.is_none_or(plain)
        && split_conjunction(&filter.predicate).into_iter().any(|part| !plain(part) && !is_equality(part));
    is_ours.then_some(Parts { value, aggregate, condition: &filter.predicate, rows: filter.input.as_ref() })
}

/// Whether one side is of the query around alone, and the other of the subquery alone.
fn is_equality(part: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part else { return false };
    let outer = |side: &Expr| side.contains_outer() && side.column_refs().is_empty();
    (outer(left) && !right.contains_outer()) || (outer(right) && !left.contains_outer())
}

fn has_one(expression: &Expr) -> bool {
    let found = expression.exists(|one| Ok(matches!(one, Expr::ScalarSubquery(subquery) if parts(subquery).is_some())));
    found.unwrap_or(false)
}

fn replaced(expression: Expr, input: &mut LogicalPlan) -> Result<Expr> {
    let done = expression.transform_up(|one| match one {
        Expr::ScalarSubquery(subquery) => match parts(&subquery) {
            Some(parts) => {
                let value = match parts.value {
                    Some(value) => value.clone(),
                    None => Expr::Column(Column::from_name(parts.aggregate.schema.field(0).name())),
                };
                let (plan, mut columns) = with_values(input.clone(), &subquery, &parts, &[value])?;
                *input = plan;
                Ok(Transformed::yes(columns.remove(0)))
            }
            None => Ok(Transformed::no(Expr::ScalarSubquery(subquery))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(done.data)
}

/// The input with what is computed of the subquery's aggregate as columns more, and these columns.
fn with_values(
    input: LogicalPlan,
    subquery: &Subquery,
    parts: &Parts<'_>,
    values: &[Expr],
) -> Result<(LogicalPlan, Vec<Expr>)> {
    let mut outer: Vec<Column> = Vec::new();
    for one in &subquery.outer_ref_columns {
        if let Expr::OuterReferenceColumn(_, column) = one
            && !outer.contains(column)
        {
            outer.push(column.clone());
        }
    }
    // Columns that stood there before this one number it.
    let number = input.schema().fields().len();
    let key = |n: usize| format!("__aquifer_outer_{number}_{n}");
    let column = |name: &str| Expr::Column(Column::from_name(name));
    let keys: Vec<Expr> = (0..outer.len()).map(|n| column(&key(n))).collect();
    let of_input = outer.iter().enumerate().map(|(n, one)| Expr::Column(one.clone()).alias(key(n)));
    let different = LogicalPlanBuilder::from(input.clone()).project(of_input)?.distinct()?;
    let mut marked: Vec<Expr> = parts.rows.schema().columns().into_iter().map(Expr::Column).collect();
    marked.push(lit(true).alias(MATCHED));
    let rows = LogicalPlanBuilder::from(parts.rows.clone()).project(marked)?.build()?;
    let condition = parts.condition.clone().transform(|one| match &one {
        Expr::OuterReferenceColumn(_, named) => {
            let place = outer.iter().position(|known| known == named);
            Ok(place.map_or_else(|| Transformed::no(one.clone()), |n| Transformed::yes(column(&key(n)))))
        }
        _ => Ok(Transformed::no(one)),
    })?;
    let matched = || column(MATCHED).is_not_null();
    let aggregates = parts.aggregate.aggr_expr.iter().zip(parts.aggregate.schema.fields()).map(|(one, field)| {
        let counted = one.clone().transform(|one| match one {
            Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
                let filter = match params.filter.take() {
                    Some(filter) => filter.and(matched()),
                    None => matched(),
                };
                params.filter = Some(Box::new(filter));
                Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params })))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(counted.data.unalias().alias(field.name()))
    });
    let aggregates = aggregates.collect::<Result<Vec<_>>>()?;
    let name = |n: usize| format!("__aquifer_value_{number}_{n}");
    let mut given = keys.clone();
    given.extend(values.iter().enumerate().map(|(n, value)| value.clone().unalias().alias(name(n))));
    let computed = different
        .join_on(rows, JoinType::Left, [condition.data])?
        .aggregate(keys, aggregates)?
        .project(given)?
        .build()?;
    let on = (outer.clone(), (0..outer.len()).map(|n| Column::from_name(key(n))).collect::<Vec<_>>());
    let plan = LogicalPlanBuilder::from(input)
        .join_detailed(computed, JoinType::Left, on, None, NullEquality::NullEqualsNull)?
        .build()?;
    Ok((plan, (0..values.len()).map(|n| column(&name(n))).collect()))
}
