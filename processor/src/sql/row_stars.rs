//! `t.r.*`: the fields of a column that is a ROW, of tables that stand in FROM.

use std::ops::ControlFlow;

use aquifer_model::{Error, Result, SqlType};
use sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins,
    Value, VisitMut, VisitorMut,
};

use super::resolve::{parts, use_number};
use super::sugar::call;

/// A column's type in the `n`th use of a table or view.
pub(super) type ColumnTypes<'a> = &'a dyn Fn(usize, &str) -> Option<SqlType>;

/// Puts the fields of rows where `row.*` stands.
pub(super) fn expand(query: &mut Query, types: ColumnTypes<'_>) -> Result<()> {
    match query.visit(&mut Expander(types)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Expander<'a>(ColumnTypes<'a>);

impl VisitorMut for Expander<'_> {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let is_row = |item: &SelectItem| qualifier(item).is_some_and(|parts| !is_table(&parts, &select.from));
        if !select.projection.iter().any(is_row) {
            return ControlFlow::Continue(());
        }
        let mut items = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match qualifier(&item).filter(|parts| !is_table(parts, &select.from)) {
                None => items.push(item),
                Some(parts) => match self.fields(&parts, &select.from) {
                    Some(fields) => items.extend(fields),
                    None => {
                        let name = parts.join(".");
                        return ControlFlow::Break(Error::invalid(format!(
                            "`{name}.*`: `{name}` is no table of this query and no ROW column of one"
                        )));
                    }
                },
            }
        }
        select.projection = items;
        ControlFlow::Continue(())
    }
}

impl Expander<'_> {
    fn fields(&self, path: &[String], from: &[TableWithJoins]) -> Option<Vec<SelectItem>> {
        for (name, number) in uses(from) {
            // With the table's name before it or without.
            let inner = match path {
                [table, rest @ ..] if *table == name && !rest.is_empty() => rest,
                all => all,
            };
            let Some(mut found) = (self.0)(number, &inner[0]) else { continue };
            for step in &inner[1..] {
                let SqlType::Row(fields) = found else { return None };
                found = fields.into_iter().find(|field| field.name == *step)?.column_type.sql_type;
            }
            let SqlType::Row(fields) = found else { return None };
            let quoted = |name: &String| Ident::with_quote('`', name);
            let column = Expr::CompoundIdentifier(vec![quoted(&name), quoted(&inner[0])]);
            let of = |value: Expr, field: &str| {
                call("$field", vec![value, Expr::Value(Value::SingleQuotedString(field.to_string()).into())])
            };
            let row = inner[1..].iter().fold(column, |value, step| of(value, step));
            let item = |name: &String| SelectItem::ExprWithAlias { expr: of(row.clone(), name), alias: quoted(name) };
            return Some(fields.iter().map(|field| item(&field.name)).collect());
        }
        None
    }
}

/// The name before `.*`.
fn qualifier(item: &SelectItem) -> Option<Vec<String>> {
    match item {
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            Some(parts(name)).filter(|parts| !parts.is_empty())
        }
        _ => None,
    }
}

/// Whether a table of FROM is meant.
fn is_table(name: &[String], from: &[TableWithJoins]) -> bool {
    let [name] = name else { return false };
    factors(from).any(|factor| match factor {
        TableFactor::Table { name: own, alias, .. } => match alias {
            Some(alias) => alias.name.value == *name,
            None => own.0.last().and_then(|part| part.as_ident()).is_some_and(|part| part.value == *name),
        },
        TableFactor::Derived { alias, .. } | TableFactor::UNNEST { alias, .. } => {
            alias.as_ref().is_some_and(|alias| alias.name.value == *name)
        }
        _ => true,
    })
}

fn factors(from: &[TableWithJoins]) -> impl Iterator<Item = &TableFactor> {
    from.iter().flat_map(|one| std::iter::once(&one.relation).chain(one.joins.iter().map(|join| &join.relation)))
}

/// Tables and views of FROM: the name here, and the number of the use.
fn uses(from: &[TableWithJoins]) -> impl Iterator<Item = (String, usize)> {
    factors(from).filter_map(|factor| match factor {
        TableFactor::Table { name, alias: Some(alias), .. } => {
            let number = use_number(&name_of(name)?)?;
            Some((alias.name.value.clone(), number))
        }
        _ => None,
    })
}

fn name_of(name: &ObjectName) -> Option<String> {
    parts(name).into_iter().next()
}
