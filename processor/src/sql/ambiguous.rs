//! A name that a query in FROM gives two columns means neither: `SELECT id FROM (SELECT id, v AS id FROM t)` is refused.
//!
//! Behind this check the later columns of a name are numbered, so that `*` has them all; the name itself must not find the first of them.

use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::{Expr, Query, Select, SelectItem, SetExpr, TableFactor, Visit, Visitor};

/// Refuses expressions of `select` that name such a column. Subqueries inside of them are looked at on their own.
pub(super) fn check(select: &Select) -> Result<()> {
    let factors = select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
    let twice: Vec<(Option<&str>, Vec<&str>)> = factors.filter_map(given_twice).collect();
    if twice.is_empty() {
        return Ok(());
    }
    let mut names = Names { twice, depth: 0 };
    let found = match select.projection.visit(&mut names) {
        ControlFlow::Continue(()) => select.selection.visit(&mut names),
        found => found,
    };
    let found = match found {
        ControlFlow::Continue(()) => select.group_by.visit(&mut names),
        found => found,
    };
    match found {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The alias of a query in FROM, and the names that it gives more than one column.
fn given_twice(factor: &TableFactor) -> Option<(Option<&str>, Vec<&str>)> {
    let TableFactor::Derived { subquery, alias, .. } = factor else { return None };
    // A list of columns behind the alias gives others.
    if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
        return None;
    }
    let mut names: Vec<&str> = first_select(&subquery.body)?.projection.iter().filter_map(name_of).collect();
    names.sort_unstable();
    let twice: Vec<&str> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    (!twice.is_empty()).then(|| (alias.as_ref().map(|alias| alias.name.value.as_str()), twice))
}

/// The SELECT that names the columns.
fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

fn name_of(item: &SelectItem) -> Option<&str> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(&alias.value),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(&name.value),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(|name| name.value.as_str()),
        _ => None,
    }
}

struct Names<'a> {
    twice: Vec<(Option<&'a str>, Vec<&'a str>)>,
    /// Subqueries around the expression.
    depth: usize,
}

impl Visitor for Names<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let (table, name) = match expr {
            Expr::Identifier(name) => (None, &name.value),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, name] => (Some(table.value.as_str()), &name.value),
                _ => return ControlFlow::Continue(()),
            },
            _ => return ControlFlow::Continue(()),
        };
        let means = |(alias, twice): &(Option<&str>, Vec<&str>)| {
            (table.is_none() || table == *alias) && twice.contains(&name.as_str())
        };
        if self.twice.iter().any(means) {
            return ControlFlow::Break(Error::invalid(format!(
                "`{name}` is ambiguous: the query in FROM has more than one column of that name; give them names of their own by AS"
            )));
        }
        ControlFlow::Continue(())
    }
}
