//! Legacy group windows, rewritten on the tree to the window node: `GROUP BY TUMBLE(ts, INTERVAL …)` with `TUMBLE_START`, `TUMBLE_END` and
//! `TUMBLE_ROWTIME`. Both ways of writing a window end as one node.

use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments, GroupByExpr, Ident,
    ObjectName, ObjectNamePart, Query, Select, SetExpr, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};

use crate::plan::WindowKind;

/// A window over a table factor, found in the tree.
#[derive(Debug, Clone)]
pub(super) struct WindowCall {
    pub input: TableFactor,
    pub time_column: Ident,
    pub kind: WindowKind,
}

/// The name that stands for the `n`th window in the tree.
pub(super) fn window_name(n: usize) -> String {
    format!("__aquifer_window_{n}")
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
    let Some((name, call)) = function_name(&keys[*at]) else { return Ok(()) };
    if name != "TUMBLE" {
        return Err(Error::unsupported(format!("the window {name} is not built yet: use TUMBLE")));
    }
    let call = call.clone();
    let arguments = positional(&call)?;
    let (time, kind) = match arguments.as_slice() {
        [time, size] => (time, tumble(size, None)?),
        [time, size, offset] => (time, tumble(size, Some(offset))?),
        _ => return Err(Error::invalid("write TUMBLE(time_column, INTERVAL '1' HOUR)")),
    };
    let time_column = column_name(time)?;
    // The window's columns stand where the window stood.
    let column = |name: &str| Expr::Identifier(Ident::new(name));
    keys.splice(*at..=*at, ["window_start", "window_end", "window_time"].map(column));

    struct Columns<'a> {
        call: &'a Function,
    }
    impl VisitorMut for Columns<'_> {
        type Break = Error;
        fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
            let Some((name, function)) = function_name(expression) else { return ControlFlow::Continue(()) };
            let column = match name.as_str() {
                "TUMBLE_START" => "window_start",
                "TUMBLE_END" => "window_end",
                "TUMBLE_ROWTIME" => "window_time",
                "TUMBLE_PROCTIME" => {
                    return ControlFlow::Break(Error::unsupported(
                        "TUMBLE_PROCTIME: windows on processing time are not built yet",
                    ));
                }
                _ => return ControlFlow::Continue(()),
            };
            if function.args != self.call.args {
                return ControlFlow::Break(Error::invalid(format!(
                    "{name} must have the arguments of the TUMBLE in GROUP BY: {}",
                    self.call
                )));
            }
            *expression = Expr::Identifier(Ident::new(column));
            ControlFlow::Continue(())
        }
    }
    let mut columns = Columns { call: &call };
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
    windows.push(WindowCall { input, time_column, kind });
    Ok(())
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

/// A window from its size and offset.
fn tumble(size: &Expr, offset: Option<&Expr>) -> Result<WindowKind> {
    let size = milliseconds(size)?;
    let offset = offset.map_or(Ok(0), milliseconds)?;
    if size <= 0 {
        return Err(Error::invalid("a window's size must be above zero"));
    }
    if offset.unsigned_abs() >= size as u64 {
        return Err(Error::invalid("a window's offset must be smaller than its size"));
    }
    Ok(WindowKind::Tumble { size, offset })
}

/// An interval literal in milliseconds.
fn milliseconds(expression: &Expr) -> Result<i64> {
    if let Expr::UnaryOp { op: sqlparser::ast::UnaryOperator::Minus, expr } = expression {
        return milliseconds(expr).map(|ms| -ms);
    }
    let wrong = || Error::invalid(format!("`{expression}` is no interval: write INTERVAL '10' MINUTE"));
    let Expr::Interval(interval) = expression else { return Err(wrong()) };
    let Expr::Value(value) = interval.value.as_ref() else { return Err(wrong()) };
    let text = match &value.value {
        Value::SingleQuotedString(text) => text.trim().to_string(),
        _ => return Err(wrong()),
    };
    if interval.last_field.is_some() {
        return Err(Error::unsupported(format!(
            "`{expression}`: intervals over several units are not built yet; use one unit"
        )));
    }
    let unit = interval.leading_field.as_ref().map(|f| f.to_string().to_ascii_uppercase());
    let factor: i64 = match unit.as_deref() {
        Some("SECOND" | "SECONDS") => {
            let seconds: f64 = text.parse().map_err(|_| wrong())?;
            return Ok((seconds * 1000.0).round() as i64);
        }
        Some("MINUTE" | "MINUTES") => 60_000,
        Some("HOUR" | "HOURS") => 3_600_000,
        Some("DAY" | "DAYS") => 86_400_000,
        Some("WEEK" | "WEEKS") => 7 * 86_400_000,
        Some("MONTH" | "MONTHS" | "YEAR" | "YEARS") => {
            return Err(Error::invalid(
                "months and years have no fixed length: a window's size is in days or smaller units",
            ));
        }
        _ => return Err(wrong()),
    };
    text.parse::<i64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)
}

/// Reads a window table function: `TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL …[, offset])`, its arguments by place or by name. `None` if it
/// is another function.
pub(super) fn table_function(name: &str, arguments: &[FunctionArg]) -> Result<Option<WindowCall>> {
    let name = name.to_ascii_uppercase();
    if matches!(name.as_str(), "HOP" | "CUMULATE" | "SESSION") {
        return Err(Error::unsupported(format!("the window {name} is not built yet: use TUMBLE")));
    }
    if name != "TUMBLE" {
        return Ok(None);
    }
    let mut found: [Option<Expr>; 4] = Default::default();
    for (n, argument) in arguments.iter().enumerate() {
        let (place, expression) = match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => (n, expression),
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(expression),
                operator: FunctionArgOperator::RightArrow,
            } => {
                let names = ["DATA", "TIMECOL", "SIZE", "OFFSET"];
                let place = names.iter().position(|known| name.value.eq_ignore_ascii_case(known)).ok_or_else(|| {
                    Error::invalid(format!("TUMBLE has no argument `{}`: use DATA, TIMECOL, SIZE, OFFSET", name.value))
                })?;
                (place, expression)
            }
            other => return Err(Error::invalid(format!("`{other}` is not expected in TUMBLE"))),
        };
        let slot = found.get_mut(place).ok_or_else(|| Error::invalid("TUMBLE has at most four arguments"))?;
        if slot.replace(expression.clone()).is_some() {
            return Err(Error::invalid("an argument of TUMBLE is given twice"));
        }
    }
    let [Some(table), Some(descriptor), Some(size), offset] = found else {
        return Err(Error::invalid("write TUMBLE(TABLE t, DESCRIPTOR(time_column), INTERVAL '1' HOUR)"));
    };
    let parts = match table {
        Expr::Identifier(name) => vec![name],
        Expr::CompoundIdentifier(parts) => parts,
        other => return Err(Error::invalid(format!("`{other}` is no table: write TABLE t"))),
    };
    let mut input = named(String::new());
    if let TableFactor::Table { name, .. } = &mut input {
        *name = ObjectName(parts.into_iter().map(ObjectNamePart::Identifier).collect());
    }
    let time_column = match function_name(&descriptor) {
        Some((name, function)) if name == "DESCRIPTOR" => match positional(function)?.as_slice() {
            [one] => column_name(one)?,
            _ => return Err(Error::invalid("DESCRIPTOR takes one column")),
        },
        _ => return Err(Error::invalid(format!("`{descriptor}` is no DESCRIPTOR(time_column)"))),
    };
    Ok(Some(WindowCall { input, time_column, kind: tumble(&size, offset.as_ref())? }))
}
