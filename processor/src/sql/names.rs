//! Names and types that the planner behind would give otherwise: unnamed columns are `EXPR$n`, a name given twice is numbered, integer literals that
//! fit are INT.
//!
//! Beside a `*` it is not known yet which names are taken: the other columns are marked, and [`super::binder`] numbers them when the star's are known.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::{
    CaseWhen, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    LimitClause, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins, UnaryOperator,
    Value, VisitMut, VisitorMut, With, visit_expressions_mut,
};

use super::windows::select_all;

/// Unnamed columns are `EXPR$n`; of columns of one name the later ones are numbered: `id`, `id0`.
pub(super) fn name_columns(query: &mut Query) {
    struct Namer;
    impl VisitorMut for Namer {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            mark_beside_stars(&mut query.body);
            if let (Some(select), Some(OrderBy { kind: OrderByKind::Expressions(order), .. })) =
                (first_select(&query.body), &mut query.order_by)
            {
                let marked = marked_names(select);
                order.iter_mut().for_each(|one| rename(&mut one.expr, &marked));
            }
            for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
                if first_select(&cte.query.body).is_some_and(may_repeat) {
                    // As a table of its own, where our relation planner meets it.
                    let inner =
                        std::mem::replace(&mut *cte.query, plain_query(SetExpr::Select(Box::new(select_all()))));
                    if let SetExpr::Select(select) = cte.query.body.as_mut() {
                        select.from = vec![TableWithJoins { relation: derived(inner), joins: Vec::new() }];
                    }
                }
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            name_fields(select);
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

/// Stands around the number of a column whose name may be taken by a `*` beside it, before the name.
const MARK: char = '\u{2}';

/// A name with a mark: the number of its column.
pub(super) fn marked(number: usize, name: &str) -> String {
    format!("{MARK}{number}{MARK}{name}")
}

/// A name without its mark.
pub(super) fn unmarked(name: &str) -> &str {
    let number_and_name = name.strip_prefix(MARK).and_then(|rest| rest.split_once(MARK));
    number_and_name.map_or(name, |(_, name)| name)
}

/// Names in the order given, the later ones of a name numbered.
pub(super) fn numbered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let unique = |name: &str| {
        let mut unique = name.to_string();
        let mut number = 0;
        while !taken.insert(unique.clone()) {
            unique = format!("{name}{number}");
            number += 1;
        }
        unique
    };
    names.map(unique).collect()
}

fn is_star(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// Whether its columns may have one name twice.
fn may_repeat(select: &Select) -> bool {
    let tables = select.from.iter().map(|from| 1 + from.joins.len()).sum::<usize>();
    select.projection.iter().any(is_star) && (select.projection.len() > 1 || tables > 1)
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

fn mark_beside_stars(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) if select.projection.iter().any(is_star) => {
            for (n, item) in select.projection.iter_mut().enumerate() {
                let Some((expr, name)) = named(item, n) else { continue };
                let alias = Ident::with_quote('`', marked(n, &name));
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            let marked = marked_names(select);
            if let Some(qualify) = &mut select.qualify {
                rename(qualify, &marked);
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            mark_beside_stars(left);
            mark_beside_stars(right);
        }
        _ => {}
    }
}

/// The names that are marked, and what they are now, but for those that are columns' own.
fn marked_names(select: &Select) -> HashMap<String, Ident> {
    let marked = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } if alias.value.starts_with(MARK) => {
            let name = unmarked(&alias.value).to_string();
            let own = match expr {
                Expr::Identifier(own) => own.value == name,
                Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|own| own.value == name),
                _ => false,
            };
            (!own).then(|| (name, alias.clone()))
        }
        _ => None,
    });
    marked.collect()
}

fn rename(expression: &mut Expr, names: &HashMap<String, Ident>) {
    let _ = visit_expressions_mut(expression, |one| {
        if let Expr::Identifier(name) = one
            && let Some(marked) = names.get(&name.value)
        {
            *name = marked.clone();
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Fields of rows, `r.a` and `t.r.a`, have the field's name; the planner behind would make one of the whole path.
fn name_fields(select: &mut Select) {
    let mut tables: HashSet<String> = HashSet::new();
    for factor in select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)))
    {
        match factor {
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::TableFunction { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. } => drop(tables.insert(alias.name.value.clone())),
            TableFactor::Table { name, alias: None, .. } => {
                tables.extend(name.0.last().and_then(|part| part.as_ident()).map(|part| part.value.clone()));
            }
            TableFactor::Derived { alias: None, .. } => {}
            // What else stands there may have any name.
            _ => return,
        }
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(_)) = item
            && let Expr::CompoundIdentifier(parts) = &*expr
            && let [first, .., last] = parts.as_slice()
            && (parts.len() > 2 || !tables.contains(&first.value))
        {
            let alias = Ident::with_quote('`', last.value.clone());
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// An item's expression and the name it has.
fn named(item: &SelectItem, n: usize) -> Option<(&Expr, String)> {
    Some(match item {
        SelectItem::UnnamedExpr(expr) => match expr {
            Expr::Identifier(name) => (expr, name.value.clone()),
            Expr::CompoundIdentifier(parts) => (expr, parts.last()?.value.clone()),
            _ => (expr, format!("EXPR${n}")),
        },
        SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
        _ => return None,
    })
}

fn name_items(items: &mut [SelectItem]) {
    let names: Vec<Option<String>> =
        items.iter().enumerate().map(|(n, item)| named(item, n).map(|(_, name)| name)).collect();
    let mut unique = numbered(names.iter().flatten().map(String::as_str)).into_iter();
    for (item, name) in items.iter_mut().zip(names) {
        let Some(name) = name else { continue };
        let (Some(unique), SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) =
            (unique.next(), &*item)
        else {
            continue;
        };
        let is_plain = matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
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
                        // As a text: by way of a decimal, large and small ones would be another number, or none.
                        let text = Expr::Value(Value::SingleQuotedString(text.clone()).into());
                        *expression = cast(text, DataType::Double(sqlparser::ast::ExactNumberInfo::None));
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
            let rows = std::mem::replace(body, SetExpr::Select(Box::new(select_all())));
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
    derived(plain_query(rows))
}

fn derived(query: Query) -> TableFactor {
    TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: None, sample: None }
}

/// All columns of a table.
pub(super) fn all_of(table: TableFactor, with: Option<With>) -> Query {
    let mut select = select_all();
    select.from = vec![TableWithJoins { relation: table, joins: Vec::new() }];
    Query { with, ..plain_query(SetExpr::Select(Box::new(select))) }
}

/// A query of this body and nothing else.
pub(super) fn plain_query(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
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
    fn beside_a_star_names_wait_until_the_stars_are_known() {
        assert_eq!(
            rewritten("SELECT *, id, f(x) AS y FROM t ORDER BY y, id"),
            "SELECT *, id AS `\u{2}1\u{2}id`, f(x) AS `\u{2}2\u{2}y` FROM t ORDER BY `\u{2}2\u{2}y`, id"
        );
        assert_eq!(unmarked("\u{2}1\u{2}id"), "id");
        assert_eq!(numbered(["id", "a", "id", "id"].into_iter()), ["id", "a", "id0", "id1"]);
    }

    #[test]
    fn integer_literals_are_int_where_they_stand_for_themselves() {
        assert_eq!(
            rewritten(
                "SELECT 1 AS a, -2 AS b, 3000000000 AS c, CASE WHEN x = 1 THEN 1 ELSE 0 END AS d, SUM(1) AS e, 1e3 AS f FROM t LIMIT 3"
            ),
            "SELECT CAST(1 AS INT) AS `a`, CAST(-2 AS INT) AS `b`, 3000000000 AS `c`, CASE WHEN x = 1 THEN CAST(1 AS INT) ELSE CAST(0 AS INT) END AS `d`, \
             SUM(CAST(1 AS INT)) AS `e`, CAST('1e3' AS DOUBLE) AS `f` FROM t LIMIT 3"
        );
        assert_eq!(rewritten("VALUES (1, 'a')"), "SELECT * FROM (VALUES (CAST(1 AS INT), 'a'))");
    }
}
