//! `FULL JOIN … USING (k)` and `RIGHT JOIN … USING (k)`: `k` is the one of the two columns that has a value.

use std::collections::HashMap;
use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::{
    Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectNamePart, Query, Select, SelectItem, TableFactor,
    VisitMut, VisitorMut,
};

use super::sugar::call;

/// Rewrites the names of columns that such a join merges.
pub(super) fn merge(query: &mut Query) -> Result<()> {
    struct Merger;
    impl VisitorMut for Merger {
        type Break = Error;
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            match in_select(select) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    match query.visit(&mut Merger) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn alias(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => alias.as_ref().map(|a| a.name.clone()),
        _ => None,
    }
}

fn in_select(select: &mut Select) -> Result<()> {
    let mut merged: HashMap<String, Vec<Ident>> = HashMap::new();
    for from in &select.from {
        let mut sides: Vec<Option<Ident>> = vec![alias(&from.relation)];
        for join in &from.joins {
            let right = alias(&join.relation);
            let constraint = match &join.join_operator {
                JoinOperator::FullOuter(c) | JoinOperator::Right(c) | JoinOperator::RightOuter(c) => Some(c),
                _ => None,
            };
            if let Some(JoinConstraint::Using(names)) = constraint {
                for name in names {
                    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { continue };
                    let (Some(left), Some(right)) = (sides.first().cloned().flatten(), right.clone()) else {
                        return Err(Error::unsupported("FULL or RIGHT JOIN … USING needs named tables on both sides"));
                    };
                    let columns = merged.entry(name.value.clone()).or_insert_with(|| vec![left]);
                    columns.push(right);
                }
            }
            if matches!(constraint, Some(JoinConstraint::Natural)) {
                return Err(Error::unsupported("NATURAL FULL or RIGHT JOIN: name the columns by USING (…)"));
            }
            sides.push(right);
        }
    }
    if merged.is_empty() {
        return Ok(());
    }
    struct Names<'a>(&'a HashMap<String, Vec<Ident>>);
    impl VisitorMut for Names<'_> {
        type Break = ();
        fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
            if let Expr::Identifier(name) = expression
                && let Some(tables) = self.0.get(&name.value)
            {
                let column = |table: &Ident| Expr::CompoundIdentifier(vec![table.clone(), name.clone()]);
                *expression = call("COALESCE", tables.iter().map(column).collect());
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(&merged);
    for item in &mut select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                if let Expr::Identifier(name) = expr.clone()
                    && merged.contains_key(&name.value)
                {
                    let _ = expr.visit(&mut names);
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: name };
                    continue;
                }
                let _ = expr.visit(&mut names);
            }
            SelectItem::ExprWithAlias { expr, .. } => drop(expr.visit(&mut names)),
            _ => {}
        }
    }
    let parts = [&mut select.selection, &mut select.having, &mut select.qualify];
    for part in parts.into_iter().flatten() {
        let _ = part.visit(&mut names);
    }
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        for key in keys {
            let _ = key.visit(&mut names);
        }
    }
    Ok(())
}
