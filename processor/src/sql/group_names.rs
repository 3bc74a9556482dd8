//! GROUP BY names columns of what is grouped, not of the result: the planner behind would take both.
//!
//! Where a name in GROUP BY is also that of a result column, the query is planned once more with the result's columns called otherwise; what is then
//! unknown was none of the rows' columns.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, VisitMut, VisitorMut};

/// The query with those result columns called otherwise, and their names; `None` if there are none.
pub(super) fn renamed(query: &Query) -> Option<(Query, BTreeSet<String>)> {
    let mut copy = query.clone();
    let mut renamer = Renamer { names: BTreeSet::new() };
    let _ = copy.visit(&mut renamer);
    (!renamer.names.is_empty()).then_some((copy, renamer.names))
}

/// The name of a column that stands for itself.
fn own_name(expression: &Expr) -> Option<&String> {
    match expression {
        Expr::Identifier(name) => Some(&name.value),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| &name.value),
        _ => None,
    }
}

struct Renamer {
    names: BTreeSet<String>,
}

impl VisitorMut for Renamer {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        // Only the outermost query's columns can be called otherwise without a change elsewhere.
        if let SetExpr::Select(select) = query.body.as_mut()
            && self.rename(select)
        {
            query.order_by = None;
        }
        ControlFlow::Break(())
    }
}

impl Renamer {
    fn rename(&mut self, select: &mut Select) -> bool {
        let GroupByExpr::Expressions(keys, _) = &select.group_by else { return false };
        let grouped: BTreeSet<&str> = keys
            .iter()
            .filter_map(|key| match key {
                Expr::Identifier(name) => Some(name.value.as_str()),
                _ => None,
            })
            .collect();
        let mut found = false;
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { expr, alias } = item
                && grouped.contains(alias.value.as_str())
                && own_name(expr) != Some(&alias.value)
            {
                self.names.insert(alias.value.clone());
                *alias = Ident::with_quote('`', format!("{}\u{1}", alias.value));
                found = true;
            }
        }
        found
    }
}
