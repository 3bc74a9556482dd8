//! `(a, b) IN (SELECT x, y …)` where it is a condition, as EXISTS: a comparison with NULL keeps no row, and `NOT IN` keeps none that it could be equal to.
//!
//! ```text
//!  (a, b) IN (q)      ─► EXISTS (SELECT 1 FROM (q) AS r (x, y) WHERE a = x AND b = y)
//!  (a, b) NOT IN (q)  ─► NOT EXISTS (SELECT 1 FROM (q) AS r (x, y) WHERE (a = x AND b = y) IS NOT FALSE)
//! ```

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};

use super::windows::select_all;

/// Rewrites conditions.
pub(super) fn rewrite(query: &mut Query) {
    struct Rewriter;
    impl VisitorMut for Rewriter {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            select.selection.iter_mut().chain(&mut select.having).for_each(condition);
            for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
                if let JoinOperator::Join(JoinConstraint::On(on)) | JoinOperator::Inner(JoinConstraint::On(on)) =
                    &mut join.join_operator
                {
                    condition(on);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Rewriter);
}

fn condition(expression: &mut Expr) {
    match expression {
        Expr::Nested(inner) => condition(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            condition(left);
            condition(right);
        }
        Expr::InSubquery { expr, subquery, negated } => {
            if let Expr::Tuple(values) = expr.as_ref() {
                *expression = exists(values, subquery, *negated);
            }
        }
        _ => {}
    }
}

fn exists(values: &[Expr], rows: &Query, negated: bool) -> Expr {
    let name = |n: usize| Ident::with_quote('`', format!("\u{3}in{n}"));
    let equal = values.iter().enumerate().map(|(n, value)| Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(value.clone()))),
        op: BinaryOperator::Eq,
        right: Box::new(Expr::Identifier(name(n))),
    });
    let all = equal.reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    });
    let columns = (0..values.len()).map(|n| TableAliasColumnDef { name: name(n), data_type: None }).collect();
    let alias = TableAlias { explicit: true, name: Ident::with_quote('`', "\u{3}in"), columns, at: None };
    let relation =
        TableFactor::Derived { lateral: false, subquery: Box::new(rows.clone()), alias: Some(alias), sample: None };
    let mut select = select_all();
    select.projection = vec![SelectItem::UnnamedExpr(Expr::Value(Value::Number("1".to_string(), false).into()))];
    select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    select.selection = match negated {
        true => all.map(|all| Expr::IsNotFalse(Box::new(Expr::Nested(Box::new(all))))),
        false => all,
    };
    let subquery = super::names::plain_query(SetExpr::Select(Box::new(select)));
    Expr::Exists { subquery: Box::new(subquery), negated }
}
