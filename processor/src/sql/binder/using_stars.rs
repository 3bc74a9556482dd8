//! `SELECT *` over joins that merge columns, `USING (k)` and `NATURAL`: the merged columns first, then the rest of each side. And `SELECT *, *`, whose columns
//! are numbered as any of one name are.
//!
//! ```text
//!  a LEFT JOIN b USING (k)  ─► a.k, rest of a, rest of b      RIGHT: b.k      FULL: COALESCE(a.k, b.k)
//! ```
//!
//! The planner behind would keep the merged column of the side whose name sorts first, which of an outer join is the wrong one.

use aquifer_model::Error;
use datafusion::common::Result;
use sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins,
};

use crate::batch::external;
use crate::sql::names;
use crate::sql::resolve::parts;
use crate::sql::sugar::{call, unsweeten_expression};

/// The names of a table's columns.
pub(super) type ColumnsOf<'a> = &'a mut dyn FnMut(&TableFactor) -> Result<Vec<String>>;

/// Puts the columns of such joins where `*` stands.
pub(super) fn expand(body: &mut SetExpr, columns: ColumnsOf<'_>) -> Result<()> {
    match body {
        SetExpr::Select(select) => in_select(select, columns),
        SetExpr::SetOperation { left, right, .. } => {
            expand(left, columns)?;
            expand(right, columns)
        }
        _ => Ok(()),
    }
}

/// Whether there is one to be expanded.
pub(super) fn has_one(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => is_one(select),
        SetExpr::SetOperation { left, right, .. } => has_one(left) || has_one(right),
        _ => false,
    }
}

fn is_one(select: &Select) -> bool {
    let merges = |from: &TableWithJoins| {
        from.joins.iter().any(|join| {
            let constraint = constraint(&join.join_operator);
            matches!(constraint, Some(JoinConstraint::Using(_) | JoinConstraint::Natural))
        })
    };
    let stars = select.projection.iter().filter(|item| matches!(item, SelectItem::Wildcard(_))).count();
    stars > 1 || (stars == 1 && select.from.iter().any(merges))
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(one)
        | JoinOperator::Inner(one)
        | JoinOperator::Left(one)
        | JoinOperator::LeftOuter(one)
        | JoinOperator::Right(one)
        | JoinOperator::RightOuter(one)
        | JoinOperator::FullOuter(one) => Some(one),
        _ => None,
    }
}

fn in_select(select: &mut Select, columns: ColumnsOf<'_>) -> Result<()> {
    if !is_one(select) {
        return Ok(());
    }
    let mut all = Vec::new();
    for from in &select.from {
        all.extend(of_joins(from, columns)?);
    }
    let mut items = Vec::with_capacity(all.len());
    // Numbers that no column beside the stars has.
    let first = select.projection.len();
    for item in std::mem::take(&mut select.projection) {
        let SelectItem::Wildcard(options) = &item else {
            items.push(item);
            continue;
        };
        let hidden: Vec<String> = match &options.opt_exclude {
            Some(ExcludeSelectItem::Multiple(hidden)) => hidden.iter().flat_map(parts).collect(),
            _ => Vec::new(),
        };
        for (name, expr) in all.iter().filter(|(name, _)| !hidden.contains(name)) {
            let alias = Ident::with_quote('`', names::marked(first + items.len(), name));
            items.push(SelectItem::ExprWithAlias { expr: expr.clone(), alias });
        }
    }
    select.projection = items;
    Ok(())
}

/// The columns of a join: each with its name.
fn of_joins(from: &TableWithJoins, columns: ColumnsOf<'_>) -> Result<Vec<(String, Expr)>> {
    let mut all = of_factor(&from.relation, columns)?;
    for join in &from.joins {
        let right = of_factor(&join.relation, columns)?;
        let find = |side: &[(String, Expr)], name: &str| side.iter().find(|(own, _)| own == name).cloned();
        let merged: Vec<String> = match constraint(&join.join_operator) {
            Some(JoinConstraint::Using(names)) => names.iter().flat_map(parts).collect(),
            Some(JoinConstraint::Natural) => {
                let names = all.iter().map(|(name, _)| name.clone());
                names.filter(|name| find(&right, name).is_some()).collect()
            }
            _ => Vec::new(),
        };
        let mut joined = Vec::new();
        for name in &merged {
            let (Some((_, left)), Some((_, right))) = (find(&all, name), find(&right, name)) else {
                return Err(external(Error::invalid(format!(
                    "USING names `{name}`, which is not a column of both sides of the join"
                ))));
            };
            let one = match &join.join_operator {
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right,
                JoinOperator::FullOuter(_) => {
                    let mut both = call("COALESCE", vec![left, right]);
                    unsweeten_expression(&mut both).map_err(external)?;
                    both
                }
                _ => left,
            };
            joined.push((name.clone(), one));
        }
        joined.extend(all.into_iter().chain(right).filter(|(name, _)| !merged.contains(name)));
        all = joined;
    }
    Ok(all)
}

fn of_factor(factor: &TableFactor, columns: ColumnsOf<'_>) -> Result<Vec<(String, Expr)>> {
    let alias = match factor {
        // A common table expression.
        TableFactor::Table { alias: None, name, .. } => parts(name).into_iter().next_back(),
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } | TableFactor::UNNEST { alias, .. } => {
            alias.as_ref().map(|alias| alias.name.value.clone())
        }
        TableFactor::NestedJoin { alias: None, table_with_joins } => return of_joins(table_with_joins, columns),
        _ => None,
    };
    let Some(alias) = alias else {
        return Err(external(Error::unsupported(
            "`*` twice, or over a join with USING or NATURAL: give each of its tables a name",
        )));
    };
    let column = |name: String| {
        let path = vec![Ident::with_quote('`', alias.clone()), Ident::with_quote('`', name.clone())];
        (name, Expr::CompoundIdentifier(path))
    };
    Ok(columns(factor)?.into_iter().map(column).collect())
}
