//! Names in FROM: every use of a table or view is numbered on the tree, so that one table used twice can have two hints and a common table
//! expression hides the table of its name.
//!
//! ```text
//!  FROM a /*+ OPTIONS(…) */, a AS x, v ─► FROM __aquifer_use_0 AS a, __aquifer_use_1 AS x, __aquifer_use_2 AS v
//! ```

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::{
    ExcludeSelectItem, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, TableAlias, TableFactor, TableVersion, TableWithJoins, Value, VisitMut, VisitorMut,
};

/// What the tokens of a hint become: `t /*+ … */` is read as `t('\u{1}', n)`.
pub(super) const HINT: &str = "\u{1}";

/// What a name becomes that has a hint and then `FOR SYSTEM_TIME AS OF`: the hint's number stands before it.
pub(super) fn numbered_name(hint: usize, name: &str) -> String {
    format!("{HINT}{hint}{HINT}{name}")
}

fn split_number(name: &str) -> Option<(usize, &str)> {
    let (number, name) = name.strip_prefix(HINT)?.split_once(HINT)?;
    Some((number.parse().ok()?, name))
}

/// A use of a name in FROM.
#[derive(Debug, Clone)]
pub(super) struct Use {
    /// The name's parts as written.
    pub name: Vec<String>,
    /// The number of the hint behind it.
    pub hint: Option<usize>,
    /// The time of `FOR SYSTEM_TIME AS OF`.
    pub as_of: Option<Expr>,
}

/// The name that stands for the `n`th use in the tree.
pub(super) fn use_name(n: usize) -> String {
    format!("__aquifer_use_{n}")
}

/// The number behind [`use_name`].
pub(super) fn use_number(name: &str) -> Option<usize> {
    name.strip_prefix("__aquifer_use_")?.parse().ok()
}

/// The parts of a name.
pub(super) fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(ObjectNamePart::as_ident).map(|part| part.value.clone()).collect()
}

/// Numbers the uses in a query, from `uses.len()` on.
pub(super) fn number_uses(query: &mut Query, uses: &mut Vec<Use>) -> Result<()> {
    match query.visit(&mut Numberer { uses, scope: Vec::new(), taken: Vec::new() }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Numberer<'a> {
    uses: &'a mut Vec<Use>,
    /// Common table expressions that can be seen here.
    scope: Vec<String>,
    /// The WITH clauses of the queries around, with the scope's length before them.
    taken: Vec<(Option<sqlparser::ast::With>, usize)>,
}

impl VisitorMut for Numberer<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        // A common table expression sees those before it, not itself.
        let mut with = query.with.take();
        let before = self.scope.len();
        for cte in with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            cte.query.visit(self)?;
            self.scope.push(cte.alias.name.value.clone());
        }
        self.taken.push((with, before));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let Some((with, before)) = self.taken.pop() {
            query.with = with;
            self.scope.truncate(before);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table { name, alias, args, version, .. } = factor else { return ControlFlow::Continue(()) };
        let hint = match args.as_ref().map(|args| args.args.as_slice()) {
            None => None,
            Some([mark, number]) => match (literal(mark), literal(number)) {
                (Some(Value::SingleQuotedString(mark)), Some(Value::Number(number, _))) if mark == HINT => {
                    number.parse().ok()
                }
                _ => return ControlFlow::Continue(()),
            },
            Some(_) => return ControlFlow::Continue(()),
        };
        let mut written = parts(name);
        let mut hint = hint;
        if let Some(last) = written.last_mut()
            && let Some((number, name)) = split_number(last)
        {
            hint = Some(number);
            *last = name.to_string();
        }
        let as_of = match version.take() {
            Some(TableVersion::ForSystemTimeAsOf(time)) => Some(time),
            _ => None,
        };
        if let [one] = written.as_slice()
            && (self.scope.contains(one) || super::windows::window_number(one).is_some())
        {
            if as_of.is_some() {
                return ControlFlow::Break(Error::invalid(format!(
                    "FOR SYSTEM_TIME AS OF at `{one}` belongs behind a table, and this is a WITH query"
                )));
            }
            if hint.is_some() {
                return ControlFlow::Break(Error::invalid(format!(
                    "the hint OPTIONS at `{one}` belongs behind a table, and this is a WITH query"
                )));
            }
            return ControlFlow::Continue(());
        }
        let Some(last) = written.last().cloned() else { return ControlFlow::Continue(()) };
        if alias.is_none() {
            let name = Ident::with_quote('`', last);
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
        *args = None;
        *name = ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('`', use_name(self.uses.len())))]);
        self.uses.push(Use { name: written, hint, as_of });
        ControlFlow::Continue(())
    }
}

fn literal(argument: &FunctionArg) -> Option<&Value> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => Some(&value.value),
        _ => None,
    }
}

/// Leaves system columns out of `*`: they are read only because the query names them.
pub(super) fn leave_out_of_stars(query: &mut Query, system: &dyn Fn(usize) -> BTreeSet<String>) {
    struct Stars<'a>(&'a dyn Fn(usize) -> BTreeSet<String>);
    impl VisitorMut for Stars<'_> {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            let mut hidden = BTreeSet::new();
            select.from.iter().for_each(|one| direct(one, self.0, &mut hidden));
            if hidden.is_empty() {
                return ControlFlow::Continue(());
            }
            for item in &mut select.projection {
                if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item {
                    let name =
                        |name: &String| ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('`', name))]);
                    options.opt_exclude = Some(ExcludeSelectItem::Multiple(hidden.iter().map(name).collect()));
                }
            }
            ControlFlow::Continue(())
        }
    }
    fn direct(one: &TableWithJoins, system: &dyn Fn(usize) -> BTreeSet<String>, hidden: &mut BTreeSet<String>) {
        for factor in std::iter::once(&one.relation).chain(one.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::Table { name, .. } => {
                    if let [part] = parts(name).as_slice()
                        && let Some(n) = use_number(part)
                    {
                        hidden.extend(system(n));
                    }
                }
                TableFactor::NestedJoin { table_with_joins, .. } => direct(table_with_joins, system, hidden),
                _ => {}
            }
        }
    }
    let _ = query.visit(&mut Stars(system));
}

#[cfg(test)]
mod tests {
    use super::super::statement::{Statement, parse};
    use super::super::text::Source;
    use super::*;

    fn uses(text: &str) -> (Vec<String>, String) {
        let Ok(Statement::Select(mut select)) = parse(&Source::new(text, 1)) else { panic!("{text} is a query") };
        let mut uses = Vec::new();
        number_uses(&mut select.query, &mut uses).expect("numbered");
        let names = uses.iter().map(|one| one.name.join(".") + &one.hint.map_or(String::new(), |n| format!("#{n}")));
        (names.collect(), select.query.to_string())
    }

    #[test]
    fn a_common_table_expression_hides_the_table_of_its_name_but_not_in_its_own_text() {
        let (names, text) = uses("WITH b AS (SELECT id FROM b), c AS (SELECT * FROM b) SELECT * FROM b, c, d.b");
        assert_eq!(names, ["b", "d.b"]);
        assert!(text.ends_with("FROM b, c, `__aquifer_use_1` AS `b`"), "{text}");
        assert!(text.contains("AS (SELECT id FROM `__aquifer_use_0` AS `b`)"), "{text}");
    }

    #[test]
    fn the_scope_of_a_common_table_expression_ends_with_its_query() {
        let (names, _) =
            uses("SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) AS y, x WHERE EXISTS (SELECT 1 FROM z)");
        assert_eq!(names, ["x", "z"]);
    }

    #[test]
    fn each_use_has_its_own_hint() {
        let (names, text) = uses("SELECT * FROM t /*+ OPTIONS('a'='1') */ x JOIN t /*+ OPTIONS('a'='2') */ ON TRUE, t");
        assert_eq!(names, ["t#0", "t#1", "t"]);
        assert!(text.contains("`__aquifer_use_0` x JOIN `__aquifer_use_1` AS `t`"), "{text}");
    }
}
