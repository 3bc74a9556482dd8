//! Legacy group windows, rewritten on the tree to the window node: `GROUP BY TUMBLE(ts, INTERVAL …)` with `TUMBLE_START`, `TUMBLE_END` and
//! `TUMBLE_ROWTIME`. Both ways of writing a window end as one node.

use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments, GroupByExpr, Ident,
    ObjectName, ObjectNamePart, Query, Select, SelectFlavor, SelectItem, SetExpr, TableFactor, TableWithJoins,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use super::intervals::{Length, length};
use crate::plan::WindowKind;

/// A window over a table factor, found in the tree.
#[derive(Debug, Clone)]
pub(super) struct WindowCall {
    pub input: TableFactor,
    pub time_column: Ident,
    pub kind: WindowKind,
    /// What a session is kept for; nothing for the other kinds.
    pub partition_by: Vec<Expr>,
}

/// The name that stands for the `n`th window in the tree.
pub(super) fn window_name(n: usize) -> String {
    format!("__aquifer_window_{n}")
}

/// The number behind [`window_name`].
pub(super) fn window_number(name: &str) -> Option<usize> {
    name.strip_prefix("__aquifer_window_")?.parse().ok()
}

/// Takes window table functions out of the tree.
pub(super) fn take_table_functions(query: &mut Query, windows: &mut Vec<WindowCall>) -> Result<()> {
    struct Taker<'a>(&'a mut Vec<WindowCall>);
    impl VisitorMut for Taker<'_> {
        type Break = Error;
        // After what is inside, so that a window over a window's rows finds it taken.
        fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            let found = match &*factor {
                TableFactor::TableFunction { expr: Expr::Function(function), alias } => match &function.args {
                    FunctionArguments::List(list) => Some((function.name.clone(), list.args.clone(), alias.clone())),
                    _ => None,
                },
                TableFactor::Table { name, args: Some(args), alias, .. } => {
                    Some((name.clone(), args.args.clone(), alias.clone()))
                }
                _ => None,
            };
            let Some((name, arguments, alias)) = found else { return ControlFlow::Continue(()) };
            if name.to_string().eq_ignore_ascii_case("UNNEST") {
                let with_ordinality = matches!(factor, TableFactor::Table { with_ordinality: true, .. });
                let expression = |argument: &FunctionArg| match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
                    _ => None,
                };
                let Some(array_exprs) = arguments.iter().map(expression).collect() else {
                    return ControlFlow::Break(Error::invalid("UNNEST takes one array or map"));
                };
                *factor = TableFactor::UNNEST {
                    alias,
                    array_exprs,
                    with_offset: false,
                    with_offset_alias: None,
                    with_ordinality,
                };
                return ControlFlow::Continue(());
            }
            let call = table_function(&name.to_string(), &arguments).and_then(|call| {
                call.ok_or_else(|| Error::unsupported(format!("the table function `{name}` is not built yet")))
            });
            match call {
                Ok(call) => {
                    let mut replacement = named(window_name(self.0.len()));
                    if let TableFactor::Table { alias: slot, .. } = &mut replacement {
                        *slot = alias;
                    }
                    *factor = replacement;
                    self.0.push(call);
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    match query.visit(&mut Taker(windows)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Rewrites all legacy windows in a query; the windows are taken out and named by [`window_name`].
pub(super) fn rewrite(query: &mut Query, windows: &mut Vec<WindowCall>) -> Result<()> {
    struct Rewriter<'a> {
        windows: &'a mut Vec<WindowCall>,
    }
    impl VisitorMut for Rewriter<'_> {
        type Break = Error;
        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            let result = in_set_expr(&mut query.body, self.windows);
            match result {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    match query.visit(&mut Rewriter { windows }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn in_set_expr(expression: &mut SetExpr, windows: &mut Vec<WindowCall>) -> Result<()> {
    match expression {
        SetExpr::Select(select) => in_select(select, windows),
        SetExpr::SetOperation { left, right, .. } => {
            in_set_expr(left, windows)?;
            in_set_expr(right, windows)
        }
        _ => Ok(()),
    }
}

fn function_name(expression: &Expr) -> Option<(String, &Function)> {
    let Expr::Function(function) = expression else { return None };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    Some((name.value.to_ascii_uppercase(), function))
}

fn in_select(select: &mut Select, windows: &mut Vec<WindowCall>) -> Result<()> {
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else { return Ok(()) };
    let calls: Vec<usize> = (0..keys.len())
        .filter(|n| {
            function_name(&keys[*n]).is_some_and(|(name, _)| matches!(name.as_str(), "TUMBLE" | "HOP" | "SESSION"))
        })
        .collect();
    let [at] = calls.as_slice() else {
        if calls.is_empty() {
            return Ok(());
        }
        return Err(Error::invalid("a query groups by one window"));
    };
    let at = *at;
    let Some((name, call)) = function_name(&keys[at]) else { return Ok(()) };
    let call = call.clone();
    let arguments = positional(&call)?;
    let (time, sizes) = arguments.split_first().ok_or_else(|| Error::invalid(usage(&name)))?;
    let kind = window_kind(&name, &sizes.iter().map(Some).collect::<Vec<_>>())?;
    let time_column = column_name(time)?;
    let mut partition_by = Vec::new();
    if matches!(kind, WindowKind::Session { .. }) {
        partition_by = keys.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, key)| key.clone()).collect();
    }
    // The window's columns stand where the window stood.
    let column = |name: &str| Expr::Identifier(Ident::new(name));
    keys.splice(at..=at, ["window_start", "window_end", "window_time"].map(column));

    struct Columns<'a> {
        name: &'a str,
        call: &'a Function,
    }
    impl VisitorMut for Columns<'_> {
        type Break = Error;
        fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
            let Some((name, function)) = function_name(expression) else { return ControlFlow::Continue(()) };
            let Some(rest) = name.strip_prefix(self.name).and_then(|rest| rest.strip_prefix('_')) else {
                return ControlFlow::Continue(());
            };
            let column = match rest {
                "START" => "window_start",
                "END" => "window_end",
                "ROWTIME" => "window_time",
                "PROCTIME" => {
                    return ControlFlow::Break(Error::unsupported(format!(
                        "{name}: windows on processing time are not built yet"
                    )));
                }
                _ => return ControlFlow::Continue(()),
            };
            if function.args != self.call.args {
                return ControlFlow::Break(Error::invalid(format!(
                    "{name} must have the arguments of the {} in GROUP BY: {}",
                    self.name, self.call
                )));
            }
            *expression = Expr::Identifier(Ident::new(column));
            ControlFlow::Continue(())
        }
    }
    let mut columns = Columns { name: &name, call: &call };
    let mut broken = None;
    for item in &mut select.projection {
        if let ControlFlow::Break(error) = item.visit(&mut columns) {
            broken = Some(error);
        }
    }
    if let Some(having) = &mut select.having
        && let ControlFlow::Break(error) = having.visit(&mut columns)
    {
        broken = Some(error);
    }
    if let Some(error) = broken {
        return Err(error);
    }
    let mut from = std::mem::take(&mut select.from);
    let input = match from.as_mut_slice() {
        [one] if one.joins.is_empty() => one.relation.clone(),
        [one] => TableFactor::NestedJoin { table_with_joins: Box::new(one.clone()), alias: None },
        _ => return Err(Error::unsupported("a window over several tables in FROM: join them in a subquery")),
    };
    select.from = vec![TableWithJoins { relation: named(window_name(windows.len())), joins: Vec::new() }];
    windows.push(WindowCall { input, time_column, kind, partition_by });
    Ok(())
}

/// `SELECT *`, from nothing yet.
pub(super) fn select_all() -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())],
        exclude: None,
        into: None,
        from: Vec::new(),
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

/// A table factor of this name.
pub(super) fn named(name: String) -> TableFactor {
    TableFactor::Table {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('`', name))]),
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

fn positional(function: &Function) -> Result<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return Err(Error::invalid(format!("`{function}`: arguments are expected")));
    };
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Ok(expression.clone()),
            other => Err(Error::invalid(format!("`{other}` is not expected here"))),
        })
        .collect()
}

fn column_name(expression: &Expr) -> Result<Ident> {
    match expression {
        Expr::Identifier(name) => Ok(name.clone()),
        Expr::CompoundIdentifier(parts) if !parts.is_empty() => Ok(parts[parts.len() - 1].clone()),
        other => Err(Error::unsupported(format!(
            "a window is taken on a time column, not on `{other}`: make a computed column of it"
        ))),
    }
}

/// How a window is written.
fn usage(name: &str) -> String {
    let sizes = match name {
        "HOP" => "INTERVAL '5' MINUTE, INTERVAL '1' HOUR",
        "CUMULATE" => "INTERVAL '10' MINUTE, INTERVAL '1' DAY",
        "SESSION" => "INTERVAL '10' MINUTE",
        _ => "INTERVAL '1' HOUR",
    };
    format!("write {name}(TABLE t, DESCRIPTOR(time_column), {sizes}), or GROUP BY {name}(time_column, {sizes})")
}

/// A window from its name and its intervals.
fn window_kind(name: &str, intervals: &[Option<&Expr>]) -> Result<WindowKind> {
    let given: Vec<Option<i64>> =
        intervals.iter().map(|one| one.map(milliseconds).transpose()).collect::<Result<_>>()?;
    if given.iter().take(if matches!(name, "HOP" | "CUMULATE") { 2 } else { 1 }).flatten().any(|size| *size <= 0) {
        return Err(Error::invalid(format!("an interval of {name} must be above zero")));
    }
    let offset = |offset: Option<i64>, size: i64| match offset.unwrap_or_default() {
        offset if offset.unsigned_abs() >= size.unsigned_abs() => {
            Err(Error::invalid("a window's offset must be smaller than its size"))
        }
        offset => Ok(offset),
    };
    match (name, given.as_slice()) {
        ("TUMBLE", [Some(size)]) => Ok(WindowKind::Tumble { size: *size, offset: 0 }),
        ("TUMBLE", [Some(size), shift]) => Ok(WindowKind::Tumble { size: *size, offset: offset(*shift, *size)? }),
        ("HOP", [Some(slide), Some(size)]) => Ok(WindowKind::Hop { size: *size, slide: *slide, offset: 0 }),
        ("HOP", [Some(slide), Some(size), shift]) => {
            Ok(WindowKind::Hop { size: *size, slide: *slide, offset: offset(*shift, *size)? })
        }
        ("CUMULATE", [Some(step), Some(size)] | [Some(step), Some(size), _]) => {
            if size % step != 0 {
                return Err(Error::invalid("the size of CUMULATE must be a whole number of steps"));
            }
            let shift = given.get(2).copied().flatten();
            Ok(WindowKind::Cumulate { size: *size, step: *step, offset: offset(shift, *size)? })
        }
        ("SESSION", [Some(gap)]) => Ok(WindowKind::Session { gap: *gap }),
        _ => Err(Error::invalid(usage(name))),
    }
}

/// An interval literal in milliseconds.
fn milliseconds(expression: &Expr) -> Result<i64> {
    match expression {
        Expr::UnaryOp { op: sqlparser::ast::UnaryOperator::Minus, expr } => milliseconds(expr).map(|ms| -ms),
        Expr::Interval(interval) => match length(interval)? {
            Length::Millis(millis) => Ok(millis),
            Length::Months(_) => Err(Error::invalid(
                "months and years have no fixed length: a window's size is in days or smaller units",
            )),
        },
        other => Err(Error::invalid(format!("`{other}` is no interval: write INTERVAL '10' MINUTE"))),
    }
}

/// Reads a window table function: `TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL …[, offset])`, its arguments by place or by name. `None` if it
/// is another function.
pub(super) fn table_function(name: &str, arguments: &[FunctionArg]) -> Result<Option<WindowCall>> {
    let name = name.to_ascii_uppercase();
    let names: &[&str] = match name.as_str() {
        "TUMBLE" => &["DATA", "TIMECOL", "SIZE", "OFFSET"],
        "HOP" => &["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"],
        "CUMULATE" => &["DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"],
        "SESSION" => &["DATA", "TIMECOL", "GAP"],
        _ => return Ok(None),
    };
    let mut found: Vec<Option<Expr>> = vec![None; names.len()];
    for (n, argument) in arguments.iter().enumerate() {
        let (place, expression) = match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => (n, expression),
            FunctionArg::Named {
                name: argument,
                arg: FunctionArgExpr::Expr(expression),
                operator: FunctionArgOperator::RightArrow,
            } => {
                let place =
                    names.iter().position(|known| argument.value.eq_ignore_ascii_case(known)).ok_or_else(|| {
                        Error::invalid(format!("{name} has no argument `{}`: use {}", argument.value, names.join(", ")))
                    })?;
                (place, expression)
            }
            other => return Err(Error::invalid(format!("`{other}` is not expected in {name}"))),
        };
        let most = names.len();
        let slot =
            found.get_mut(place).ok_or_else(|| Error::invalid(format!("{name} has at most {most} arguments")))?;
        if slot.replace(expression.clone()).is_some() {
            return Err(Error::invalid(format!("an argument of {name} is given twice")));
        }
    }
    let intervals: Vec<Option<Expr>> = found.split_off(2);
    let (Some(Some(descriptor)), Some(Some(table))) = (found.pop(), found.pop()) else {
        return Err(Error::invalid(usage(&name)));
    };
    let (table, partition_by) = match function_name(&table) {
        Some((partitioned, function)) if partitioned == super::text::PARTITIONED => {
            let mut arguments = positional(function)?;
            (arguments.remove(0), arguments)
        }
        _ => (table, Vec::new()),
    };
    if !partition_by.is_empty() && name != "SESSION" {
        return Err(Error::invalid(format!("PARTITION BY belongs to SESSION: {name} is the same for all rows")));
    }
    let Expr::Subquery(subquery) = table else {
        return Err(Error::invalid(format!("`{table}` is no table: write TABLE t")));
    };
    let input = TableFactor::Derived { lateral: false, subquery, alias: None, sample: None };
    let time_column = match function_name(&descriptor) {
        Some((name, function)) if name == "DESCRIPTOR" => match positional(function)?.as_slice() {
            [one] => column_name(one)?,
            _ => return Err(Error::invalid("DESCRIPTOR takes one column")),
        },
        _ => return Err(Error::invalid(format!("`{descriptor}` is no DESCRIPTOR(time_column)"))),
    };
    let intervals: Vec<Option<&Expr>> = intervals.iter().map(Option::as_ref).collect();
    let kind = window_kind(&name, &intervals)?;
    Ok(Some(WindowCall { input, time_column, kind, partition_by }))
}
