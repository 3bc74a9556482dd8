//! Names and types that the planner behind would give otherwise: unnamed columns are `EXPR$n`, a name given twice is numbered, integer literals that
//! fit are INT.

use std::collections::HashSet;
use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::{
    CaseWhen, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    LimitClause, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins, UnaryOperator, Value, VisitMut,
    VisitorMut,
};

/// Unnamed columns are `EXPR$n`; of columns of one name the later ones are numbered: `id`, `id0`.
pub(super) fn name_columns(query: &mut Query) {
    struct Namer;
    impl VisitorMut for Namer {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            name_items(&mut select.projection);
            // `GROUP BY ()` is the one grouping set of nothing.
            if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
                for key in keys {
                    if matches!(key, Expr::Tuple(parts) if parts.is_empty()) {
                        *key = Expr::GroupingSets(vec![Vec::new()]);
                    }
                }
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Namer);
}

fn name_items(items: &mut [SelectItem]) {
    let mut taken: HashSet<String> = HashSet::new();
    for (n, item) in items.iter_mut().enumerate() {
        let (expr, name) = match &*item {
            SelectItem::UnnamedExpr(expr) => match expr {
                Expr::Identifier(name) => (expr, name.value.clone()),
                Expr::CompoundIdentifier(parts) => match parts.last() {
                    Some(last) => (expr, last.value.clone()),
                    None => continue,
                },
                _ => (expr, format!("EXPR${n}")),
            },
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
            _ => continue,
        };
        let is_plain = matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
        let mut unique = name.clone();
        let mut number = 0;
        while !taken.insert(unique.clone()) {
            unique = format!("{name}{number}");
            number += 1;
        }
        if !is_plain || unique != name {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('`', unique) };
        }
    }
}

/// Types integer literals where they stand for themselves: as a column, a row of VALUES, a branch of CASE, an element of an array, a map or a row, the
/// argument of an aggregate. Elsewhere the function around them does it. Numbers with an exponent are DOUBLE.
pub(super) fn type_literals(query: &mut Query) -> Result<()> {
    match query.visit(&mut LiteralTyper) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The visitor of [`type_literals`].
pub(super) struct LiteralTyper;

impl VisitorMut for LiteralTyper {
    type Break = Error;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        in_rows(&mut query.body);
        // FETCH FIRST n ROWS ONLY is LIMIT n.
        if let Some(fetch) = query.fetch.take() {
            let count = fetch.quantity.unwrap_or_else(|| Expr::Value(Value::Number("1".to_string(), false).into()));
            match &mut query.limit_clause {
                Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(count),
                Some(_) => return ControlFlow::Break(Error::invalid("a query has LIMIT or FETCH, not both")),
                none => {
                    *none = Some(LimitClause::LimitOffset { limit: Some(count), offset: None, limit_by: Vec::new() })
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                int(expr);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
        match expression {
            Expr::Value(value) => {
                if let Value::Number(text, _) = &value.value {
                    if text.contains(['e', 'E']) {
                        *expression = cast(expression.clone(), DataType::Double(sqlparser::ast::ExactNumberInfo::None));
                    } else if !text.contains('.') && text.parse::<i64>().is_err() && text.parse::<u64>() != Ok(1 << 63)
                    {
                        return ControlFlow::Break(Error::invalid(format!(
                            "the number {text} is too large for BIGINT: write it as a text and CAST it to DECIMAL"
                        )));
                    }
                }
            }
            Expr::Case { conditions, else_result, .. } => {
                for CaseWhen { result, .. } in conditions {
                    int(result);
                }
                if let Some(result) = else_result {
                    int(result);
                }
            }
            Expr::Array(array) => array.elem.iter_mut().for_each(int),
            Expr::Tuple(values) => values.iter_mut().for_each(int),
            Expr::Function(function) => {
                let name = function.name.to_string().to_ascii_uppercase();
                let of_values = [
                    "SUM",
                    "AVG",
                    "MIN",
                    "MAX",
                    "FIRST_VALUE",
                    "LAST_VALUE",
                    "COLLECT",
                    "ARRAY_AGG",
                    "COUNT",
                    "ROW",
                    "MAP",
                    "ARRAY",
                ];
                if of_values.contains(&name.as_str())
                    && let FunctionArguments::List(list) = &mut function.args
                {
                    for argument in &mut list.args {
                        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                            int(expr);
                        }
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn in_rows(body: &mut SetExpr) {
    match body {
        SetExpr::Values(values) => {
            values.rows.iter_mut().flat_map(|row| row.iter_mut()).for_each(int);
            // As a table of its own, where our relation planner meets it.
            let rows = std::mem::replace(body, SetExpr::Select(Box::new(super::windows::select_all())));
            if let SetExpr::Select(select) = body {
                select.from = vec![TableWithJoins { relation: values_table(rows), joins: Vec::new() }];
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            in_rows(left);
            in_rows(right);
        }
        _ => {}
    }
}

fn values_table(rows: SetExpr) -> TableFactor {
    let query = Query {
        with: None,
        body: Box::new(rows),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    };
    TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: None, sample: None }
}

fn cast(expression: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expression), data_type, array: false, format: None }
}

/// An integer literal that fits is INT, with a sign before it or not.
pub(super) fn int(expression: &mut Expr) {
    let number = match &*expression {
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => expr.as_ref(),
        other => other,
    };
    let Expr::Value(value) = number else { return };
    let Value::Number(text, _) = &value.value else { return };
    if text.parse::<i32>().is_ok() {
        *expression = cast(expression.clone(), DataType::Int(None));
    }
}

#[cfg(test)]
mod tests {
    use super::super::statement::{Statement, parse};
    use super::super::text::Source;
    use super::*;

    fn rewritten(text: &str) -> String {
        let Ok(Statement::Select(mut select)) = parse(&Source::new(text, 1)) else { panic!("{text} is a query") };
        name_columns(&mut select.query);
        type_literals(&mut select.query).expect("typed");
        select.query.to_string()
    }

    #[test]
    fn columns_without_a_name_and_with_the_same_name_are_numbered() {
        assert_eq!(
            rewritten("SELECT a, t.a, b + c, d AS a, f(x) FROM t"),
            "SELECT a, t.a AS `a0`, b + c AS `EXPR$2`, d AS `a1`, f(x) AS `EXPR$4` FROM t"
        );
    }

    #[test]
    fn integer_literals_are_int_where_they_stand_for_themselves() {
        assert_eq!(
            rewritten(
                "SELECT 1 AS a, -2 AS b, 3000000000 AS c, CASE WHEN x = 1 THEN 1 ELSE 0 END AS d, SUM(1) AS e, 1e3 AS f FROM t LIMIT 3"
            ),
            "SELECT CAST(1 AS INT) AS `a`, CAST(-2 AS INT) AS `b`, 3000000000 AS `c`, CASE WHEN x = 1 THEN CAST(1 AS INT) ELSE CAST(0 AS INT) END AS `d`, \
             SUM(CAST(1 AS INT)) AS `e`, CAST(1e3 AS DOUBLE) AS `f` FROM t LIMIT 3"
        );
        assert_eq!(rewritten("VALUES (1, 'a')"), "SELECT * FROM (VALUES (CAST(1 AS INT), 'a'))");
    }
}
