//! Every parsed field that nobody consumes is refused: the planner behind would ignore some of them in silence.
//!
//! The structures are taken apart without `..`, so that a field that a new version of the parser adds does not compile until it is looked at.

use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::{
    Distinct, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    GroupByWithModifier, Join, JoinConstraint, JoinOperator, LimitClause, ObjectName, OrderBy, OrderByKind, Query,
    Select, SelectFlavor, SelectItem, SetExpr, TableAlias, TableFactor, TableVersion, TableWithJoins, Value, Visit,
    Visitor, WindowType,
};

fn refuse(what: impl std::fmt::Display) -> Result<()> {
    Err(Error::unsupported(format!("{what} is not built yet")))
}

fn refuse_if(found: bool, what: &str) -> Result<()> {
    if found { refuse(what) } else { Ok(()) }
}

/// Refuses what no part of the planner reads.
pub(super) fn check(query: &Query) -> Result<()> {
    struct Checker;
    impl Visitor for Checker {
        type Break = Error;
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
            broken(check_query(query))
        }
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Error> {
            broken(check_select(select))
        }
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
            broken(check_factor(factor))
        }
        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Error> {
            match expression {
                Expr::Function(function) => broken(check_function(function)),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match query.visit(&mut Checker) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn broken(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

fn check_query(query: &Query) -> Result<()> {
    let Query { with, body, order_by, limit_clause, fetch, locks, for_clause, settings, format_clause, pipe_operators } =
        query;
    if let Some(with) = with {
        refuse_if(with.recursive, "WITH RECURSIVE")?;
        for cte in &with.cte_tables {
            refuse_if(cte.from.is_some() || cte.materialized.is_some(), "this form of WITH")?;
        }
    }
    match body.as_ref() {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::SetOperation { .. } => {}
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) | SetExpr::Table(_) => {
            refuse("this statement inside a query")?;
        }
    }
    if let Some(OrderBy { kind, interpolate }) = order_by {
        refuse_if(interpolate.is_some(), "INTERPOLATE")?;
        match kind {
            OrderByKind::All(_) => refuse("ORDER BY ALL")?,
            OrderByKind::Expressions(list) => {
                refuse_if(list.iter().any(|item| item.with_fill.is_some()), "WITH FILL")?;
            }
        }
    }
    match limit_clause {
        Some(LimitClause::LimitOffset { limit: _, offset: _, limit_by }) => {
            refuse_if(!limit_by.is_empty(), "LIMIT BY")?
        }
        Some(LimitClause::OffsetCommaLimit { .. }) => {
            refuse("LIMIT offset, count: write LIMIT count OFFSET offset; this form")?
        }
        None => {}
    }
    if let Some(fetch) = fetch {
        refuse_if(fetch.with_ties || fetch.percent, "FETCH … WITH TIES or PERCENT")?;
    }
    refuse_if(!locks.is_empty(), "FOR UPDATE or FOR SHARE")?;
    refuse_if(for_clause.is_some(), "the FOR clause")?;
    refuse_if(settings.is_some(), "SETTINGS in a query (use SET 'key' = 'value')")?;
    refuse_if(format_clause.is_some(), "FORMAT in a query (use --output)")?;
    refuse_if(!pipe_operators.is_empty(), "a pipe operator")
}

fn check_select(select: &Select) -> Result<()> {
    let Select {
        select_token: _,
        optimizer_hints,
        distinct,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection,
        exclude,
        into,
        from,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        named_window: _,
        qualify: _,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    super::ambiguous::check(select)?;
    refuse_if(!optimizer_hints.is_empty(), "this optimizer hint")?;
    refuse_if(matches!(distinct, Some(Distinct::On(_))), "DISTINCT ON")?;
    refuse_if(select_modifiers.is_some(), "this modifier of SELECT")?;
    refuse_if(top.is_some(), "TOP (use LIMIT)")?;
    for item in projection {
        match item {
            SelectItem::UnnamedExpr(_) => {}
            SelectItem::ExprWithAlias { expr: _, alias } => {
                let word = &alias.value;
                if alias.quote_style.is_none() && super::reserved::is_reserved(word) {
                    return Err(Error::invalid(format!(
                        "`{word}` is a reserved word: as a column's name it stands in backticks, AS `{word}`"
                    )));
                }
            }
            SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                let plain = options.opt_ilike.is_none()
                    && options.opt_exclude.is_none()
                    && options.opt_except.is_none()
                    && options.opt_replace.is_none()
                    && options.opt_rename.is_none();
                refuse_if(!plain, "an option of *")?;
            }
            other => refuse(format!("`{other}` in SELECT"))?,
        }
    }
    refuse_if(exclude.is_some(), "EXCLUDE")?;
    refuse_if(into.is_some(), "SELECT … INTO (use INSERT INTO … SELECT)")?;
    refuse_if(!lateral_views.is_empty(), "LATERAL VIEW")?;
    refuse_if(prewhere.is_some(), "PREWHERE")?;
    refuse_if(!connect_by.is_empty(), "CONNECT BY")?;
    match group_by {
        GroupByExpr::All(_) => refuse("GROUP BY ALL")?,
        GroupByExpr::Expressions(keys, modifiers) => {
            let is_number = |key: &&Expr| matches!(key, Expr::Value(value) if matches!(value.value, Value::Number(..)));
            if let Some(number) = keys.iter().find(is_number) {
                return Err(Error::invalid(format!(
                    "GROUP BY {number} is the number and no column of the result: write the column, or its expression"
                )));
            }
            let known = |m: &GroupByWithModifier| matches!(m, GroupByWithModifier::Rollup | GroupByWithModifier::Cube);
            refuse_if(!modifiers.is_empty() || modifiers.iter().any(known), "GROUP BY … WITH")?;
        }
    }
    refuse_if(!cluster_by.is_empty(), "CLUSTER BY")?;
    refuse_if(!distribute_by.is_empty(), "DISTRIBUTE BY")?;
    refuse_if(!sort_by.is_empty(), "SORT BY")?;
    refuse_if(value_table_mode.is_some(), "SELECT AS VALUE")?;
    refuse_if(!matches!(flavor, SelectFlavor::Standard), "FROM before SELECT")?;
    from.iter().try_for_each(check_joins)
}

fn check_joins(TableWithJoins { relation: _, joins }: &TableWithJoins) -> Result<()> {
    for Join { relation: _, global, join_operator } in joins {
        refuse_if(*global, "GLOBAL JOIN")?;
        match join_operator {
            JoinOperator::Join(condition)
            | JoinOperator::Inner(condition)
            | JoinOperator::Left(condition)
            | JoinOperator::LeftOuter(condition)
            | JoinOperator::Right(condition)
            | JoinOperator::RightOuter(condition)
            | JoinOperator::FullOuter(condition) => {
                if matches!(condition, JoinConstraint::None) {
                    return Err(Error::invalid(
                        "a JOIN needs a condition: ON …, USING (…) or NATURAL; CROSS JOIN is the one without",
                    ));
                }
            }
            JoinOperator::CrossJoin(_) => {}
            _ => refuse("this kind of JOIN")?,
        }
    }
    Ok(())
}

/// A table's name in a query, and those of its columns.
fn check_alias(alias: Option<&TableAlias>) -> Result<()> {
    let Some(TableAlias { explicit: _, name, columns, at }) = alias else { return Ok(()) };
    refuse_if(at.is_some(), "AT behind a table's name")?;
    for word in std::iter::once(name).chain(columns.iter().map(|column| &column.name)) {
        if word.quote_style.is_none() && super::reserved::is_reserved(&word.value) {
            let word = &word.value;
            return Err(Error::invalid(format!(
                "`{word}` is a reserved word: as a name in FROM it stands in backticks, AS `{word}`"
            )));
        }
    }
    Ok(())
}

/// `LATERAL TABLE(f(…))`: every function there is gives a value.
fn check_table_function(name: &ObjectName, args: &[FunctionArg]) -> Result<()> {
    let called = match args {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(inner)))] => &inner.name,
        _ => name,
    };
    let is_scalar = crate::functions::scalar_names().iter().any(|known| called.to_string().eq_ignore_ascii_case(known));
    Err(if is_scalar {
        Error::invalid(format!("`{called}` gives a value and no table: call it in SELECT"))
    } else {
        Error::unsupported(format!(
            "unknown function `{called}`: LATERAL TABLE takes functions of users, which are not built yet; CROSS JOIN UNNEST takes arrays and maps apart"
        ))
    })
}

fn check_factor(factor: &TableFactor) -> Result<()> {
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: _,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } => {
            check_alias(alias.as_ref())?;
            refuse_if(!with_hints.is_empty() || !index_hints.is_empty(), "this hint at a table")?;
            check_version(version.as_ref())?;
            let is_unnest = name.to_string().eq_ignore_ascii_case("UNNEST");
            refuse_if(*with_ordinality && !is_unnest, "WITH ORDINALITY")?;
            refuse_if(!partitions.is_empty(), "PARTITION at a table")?;
            refuse_if(json_path.is_some(), "a JSON path at a table")?;
            refuse_if(sample.is_some(), "TABLESAMPLE")
        }
        TableFactor::Derived { lateral: _, subquery: _, alias, sample } => {
            check_alias(alias.as_ref())?;
            refuse_if(sample.is_some(), "TABLESAMPLE")
        }
        TableFactor::NestedJoin { table_with_joins, alias } => {
            check_alias(alias.as_ref())?;
            check_joins(table_with_joins)
        }
        TableFactor::TableFunction { expr: _, alias } => check_alias(alias.as_ref()),
        TableFactor::Function { lateral: _, name, args, with_ordinality: _, alias: _ } => {
            check_table_function(name, args)
        }
        TableFactor::UNNEST { alias: _, array_exprs: _, with_offset, with_offset_alias: _, with_ordinality: _ } => {
            refuse_if(*with_offset, "UNNEST … WITH OFFSET (use WITH ORDINALITY)")
        }
        // Bound first, refused then.
        TableFactor::MatchRecognize { .. } => Ok(()),
        TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => refuse("PIVOT"),
        other => refuse(format!("`{other}` in FROM")),
    }
}

/// A version of a table is a time.
fn check_version(version: Option<&TableVersion>) -> Result<()> {
    let Some(version) = version else { return Ok(()) };
    let TableVersion::ForSystemTimeAsOf(_) = version else {
        return refuse("this version of a table: write FOR SYSTEM_TIME AS OF TIMESTAMP '…'; the form that is written");
    };
    Ok(())
}

/// Functions that mean nothing without an order.
const RANKS: [&str; 8] = ["ROW_NUMBER", "RANK", "DENSE_RANK", "NTILE", "PERCENT_RANK", "CUME_DIST", "LAG", "LEAD"];

fn check_function(function: &Function) -> Result<()> {
    let Function { name, uses_odbc_syntax, parameters, args, filter: _, null_treatment, over, within_group } = function;
    if let Some(WindowType::WindowSpec(spec)) = over
        && spec.order_by.is_empty()
        && spec.window_name.is_none()
        && RANKS.iter().any(|rank| name.to_string().eq_ignore_ascii_case(rank))
    {
        return Err(Error::invalid(format!("{name} goes by the order of rows: write OVER (… ORDER BY …)")));
    }
    if let FunctionArguments::List(list) = args
        && matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct))
        && list.args.iter().any(|arg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Wildcard)))
    {
        return Err(Error::invalid(format!("{name}(DISTINCT *) means nothing: name the column")));
    }
    refuse_if(*uses_odbc_syntax, "{fn …}")?;
    if let FunctionArguments::List(list) = args
        && let Some(clause) = list.clauses.first()
    {
        return refuse(format!("`{clause}` inside the arguments of {name}"));
    }
    refuse_if(!matches!(parameters, FunctionArguments::None), "a second list of arguments")?;
    refuse_if(null_treatment.is_some(), "IGNORE NULLS and RESPECT NULLS")?;
    refuse_if(!within_group.is_empty(), &format!("WITHIN GROUP at {name}"))
}

#[cfg(test)]
mod tests {
    use super::super::statement::{Statement, parse};
    use super::super::text::Source;
    use super::*;

    #[test]
    fn no_clause_is_ignored_in_silence() {
        for (text, named) in [
            ("SELECT TOP 3 a FROM t", "TOP"),
            ("SELECT DISTINCT ON (a) a FROM t", "DISTINCT ON"),
            ("SELECT a INTO x FROM t", "INTO"),
            ("SELECT a FROM t CLUSTER BY a", "CLUSTER BY"),
            ("SELECT a FROM t DISTRIBUTE BY a", "DISTRIBUTE BY"),
            ("SELECT a FROM t SORT BY a", "SORT BY"),
            ("SELECT a FROM t CONNECT BY PRIOR a = b", "CONNECT BY"),
            ("SELECT a FROM t GROUP BY ALL", "GROUP BY ALL"),
            ("SELECT a FROM t GROUP BY 1", "GROUP BY 1"),
            ("SELECT a FROM t GLOBAL JOIN u ON a = b", "GLOBAL JOIN"),
            ("SELECT a FROM t LEFT SEMI JOIN u ON a = b", "this kind of JOIN"),
            ("SELECT a FROM (t GLOBAL JOIN u ON a = b)", "GLOBAL JOIN"),
            ("SELECT a FROM (t LEFT SEMI JOIN u ON a = b)", "this kind of JOIN"),
            ("SELECT a FROM s JOIN ((t ANTI JOIN u ON a = b) JOIN v ON TRUE) ON TRUE", "this kind of JOIN"),
            ("SELECT a FROM t ASOF JOIN u MATCH_CONDITION (t.a > u.a) ON t.b = u.b", "this kind of JOIN"),
            ("SELECT a FROM t PIVOT (SUM(a) FOR b IN ('x'))", "PIVOT"),
            ("SELECT a FROM t WITH (NOLOCK)", "hint"),
            ("SELECT a FROM t FETCH FIRST 3 ROWS WITH TIES", "WITH TIES"),
            ("SELECT a FROM t FETCH FIRST 3 PERCENT ROWS ONLY", "PERCENT"),
            ("SELECT a FROM t FOR UPDATE", "FOR UPDATE"),
            ("SELECT a FROM t FOR XML AUTO", "FOR clause"),
            ("SELECT a FROM t TABLESAMPLE BERNOULLI (10)", "TABLESAMPLE"),
            ("SELECT a FROM (SELECT a FROM t) TABLESAMPLE BERNOULLI (10)", "TABLESAMPLE"),
            ("SELECT a FROM t WITH ORDINALITY", "WITH ORDINALITY"),
            ("SELECT a FROM OPENJSON('{}')", "OPENJSON"),
            ("SELECT a FROM t, LATERAL TABLE(words(b))", "unknown function `words`"),
            ("SELECT a FROM t, LATERAL TABLE(UPPER(b))", "no table"),
            ("WITH RECURSIVE x AS (SELECT 1) SELECT * FROM x", "RECURSIVE"),
            ("SELECT {fn ABS(a)} FROM t", "{fn"),
            ("SELECT first_value(a) IGNORE NULLS FROM t", "IGNORE NULLS"),
            ("SELECT LISTAGG(b) WITHIN GROUP (ORDER BY a) FROM t", "WITHIN GROUP"),
            ("SELECT LISTAGG(b ORDER BY a) FROM t", "inside the arguments"),
            ("SELECT a FROM t AS one", "reserved word"),
            ("SELECT x FROM (SELECT a FROM t) AS u (value)", "reserved word"),
        ] {
            let Ok(Statement::Select(query)) = parse(&Source::new(text, 1)) else { panic!("{text} is a query") };
            let refusal = check(&query.query).expect_err(text).to_string();
            assert!(refusal.contains(named), "{text}: {refusal}");
        }
        // The parser takes none of these: a newer one that takes them fails here, and then they are to be refused above.
        for text in [
            "SELECT a FROM t ORDER BY a INTERPOLATE (a)",
            "SELECT a FROM t ORDER BY a WITH FILL",
            "SELECT a FROM t LIMIT 1 BY a",
            "SELECT a FROM t LIMIT 1, 2",
            "SELECT a FROM t SETTINGS max_threads = 1",
            "SELECT a FROM t FORMAT JSON",
            "SELECT a FROM t |> WHERE a > 1",
            "SELECT * EXCLUDE (a) FROM t",
            "SELECT * REPLACE (1 AS a) FROM t",
            "SELECT * RENAME (a AS b) FROM t",
            "SELECT a FROM t PREWHERE a > 1",
            "SELECT a FROM t GROUP BY a WITH TOTALS",
            "SELECT AS VALUE a FROM t",
            "FROM t SELECT a",
            "SELECT a FROM t PARTITION (p0)",
            "SELECT a FROM t USE INDEX (i)",
            "SELECT quantile(0.5)(a) FROM t",
            "SELECT a FROM t LATERAL VIEW explode(x) y AS z",
            "WITH x AS MATERIALIZED (SELECT 1) SELECT * FROM x",
            "SELECT a FROM UNNEST(ARRAY[1]) WITH OFFSET AS o",
        ] {
            assert!(parse(&Source::new(text, 1)).is_err(), "{text}");
        }
        let Ok(Statement::Select(query)) =
            parse(&Source::new("SELECT a, COUNT(*) FROM t WHERE b GROUP BY a ORDER BY a LIMIT 3", 1))
        else {
            panic!("a query")
        };
        check(&query.query).expect("all of it is consumed");
    }
}
