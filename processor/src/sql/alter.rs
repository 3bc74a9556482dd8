//! `ALTER TABLE`: what a change makes of a definition.

use std::collections::BTreeMap;

use aquifer_catalog::options::canonical_key;
use aquifer_catalog::{ColumnDefinition, ColumnKind, TableDefinition};
use aquifer_model::{Error, Result};
use sqlparser::ast::{Expr, visit_expressions};
use std::ops::ControlFlow;

use super::statement::{Elements, Place, Placed, PrimaryKey, TableChange, parse_expression};
use crate::connector::nearest_known;

/// The definition after a change (but for `RENAME TO`, which changes none).
pub(super) fn apply(mut definition: TableDefinition, change: TableChange) -> Result<TableDefinition> {
    match change {
        TableChange::Add(elements) => add(&mut definition, elements)?,
        TableChange::Modify(elements) => modify(&mut definition, elements)?,
        TableChange::DropColumns(names) => {
            for name in names {
                drop_column(&mut definition, &name)?;
            }
        }
        TableChange::DropPrimaryKey => {
            if definition.primary_key.is_empty() {
                return Err(Error::invalid("the table has no primary key"));
            }
            (definition.primary_key, definition.key_name) = (Vec::new(), None);
        }
        TableChange::DropConstraint(name) => {
            if definition.primary_key.is_empty() || key_name(&definition) != name {
                return Err(Error::invalid(format!("the table has no constraint `{name}`")));
            }
            (definition.primary_key, definition.key_name) = (Vec::new(), None);
        }
        TableChange::DropWatermark => {
            if definition.watermark.take().is_none() {
                return Err(Error::invalid("the table has no watermark"));
            }
        }
        TableChange::DropDistribution => {
            if definition.distribution.take().is_none() {
                return Err(Error::invalid("the table has no distribution"));
            }
        }
        TableChange::RenameColumn { from, to } => rename_column(&mut definition, &from, &to)?,
        TableChange::Set(options) => {
            for (key, value) in options {
                definition.options.insert(canonical_key(&definition.options, &key).to_string(), value);
            }
        }
        TableChange::Reset(keys) => reset(&mut definition.options, &keys)?,
        TableChange::RenameTo(_) => {}
    }
    Ok(definition)
}

/// The primary key's name: its own, else `PK_` and its columns.
pub(super) fn key_name(definition: &TableDefinition) -> String {
    definition.key_name.clone().unwrap_or_else(|| format!("PK_{}", definition.primary_key.join("_")))
}

fn reset(options: &mut BTreeMap<String, String>, keys: &[String]) -> Result<()> {
    if keys.is_empty() {
        return Err(Error::invalid("RESET names no option"));
    }
    for key in keys {
        let canonical = canonical_key(options, key).to_string();
        if canonical == "connector" {
            return Err(Error::invalid("the option `connector` cannot be reset: drop the table and create it again"));
        }
        options.remove(&canonical);
    }
    Ok(())
}

fn unknown(definition: &TableDefinition, name: &str) -> Error {
    let near = nearest_known(name, definition.columns.iter().map(|c| c.name.as_str()));
    Error::invalid(format!("the table has no column `{name}`: {near}"))
}

fn put(columns: &mut Vec<ColumnDefinition>, column: ColumnDefinition, place: Option<&Place>, at: usize) -> Result<()> {
    let at = match place {
        None => at,
        Some(Place::First) => 0,
        Some(Place::After(other)) => match columns.iter().position(|c| c.name == *other) {
            Some(other) => other + 1,
            None => {
                let near = nearest_known(other, columns.iter().map(|c| c.name.as_str()));
                return Err(Error::invalid(format!("the table has no column `{other}` to stand behind: {near}")));
            }
        },
    };
    columns.insert(at.min(columns.len()), column);
    Ok(())
}

fn add(definition: &mut TableDefinition, elements: Elements) -> Result<()> {
    for Placed { column, place } in elements.columns {
        if definition.columns.iter().any(|known| known.name == column.name) {
            return Err(Error::invalid(format!("the table has a column `{}` already", column.name)));
        }
        let end = definition.columns.len();
        put(&mut definition.columns, column, place.as_ref(), end)?;
    }
    if let Some(watermark) = elements.watermark {
        if definition.watermark.is_some() {
            return Err(Error::invalid("the table has a watermark already: MODIFY changes it"));
        }
        definition.watermark = Some(watermark);
    }
    if let Some(key) = elements.primary_key {
        if !definition.primary_key.is_empty() {
            return Err(Error::invalid("the table has a primary key already: MODIFY changes it"));
        }
        put_key(definition, key);
    }
    if let Some(distribution) = elements.distribution {
        if definition.distribution.is_some() {
            return Err(Error::invalid("the table has a distribution already: MODIFY changes it"));
        }
        definition.distribution = Some(distribution);
    }
    Ok(())
}

fn modify(definition: &mut TableDefinition, elements: Elements) -> Result<()> {
    for Placed { column, place } in elements.columns {
        let Some(at) = definition.columns.iter().position(|known| known.name == column.name) else {
            return Err(unknown(definition, &column.name));
        };
        let before = definition.columns.remove(at);
        let column = ColumnDefinition { comment: column.comment.or(before.comment), ..column };
        put(&mut definition.columns, column, place.as_ref(), at)?;
    }
    if let Some(watermark) = elements.watermark {
        if definition.watermark.is_none() {
            return Err(Error::invalid("the table has no watermark to change: ADD one"));
        }
        definition.watermark = Some(watermark);
    }
    if let Some(key) = elements.primary_key {
        if definition.primary_key.is_empty() {
            return Err(Error::invalid("the table has no primary key to change: ADD one"));
        }
        put_key(definition, key);
    }
    if let Some(distribution) = elements.distribution {
        if definition.distribution.is_none() {
            return Err(Error::invalid("the table has no distribution to change: ADD one"));
        }
        definition.distribution = Some(distribution);
    }
    Ok(())
}

fn put_key(definition: &mut TableDefinition, key: PrimaryKey) {
    (definition.primary_key, definition.key_name) = (key.columns, key.name);
}

/// What of the table needs a column, in words.
fn user_of(definition: &TableDefinition, name: &str) -> Option<String> {
    for column in &definition.columns {
        if let ColumnKind::Computed { expression } = &column.kind
            && column.name != name
            && mentions(expression, name)
        {
            return Some(format!("the computed column `{}`", column.name));
        }
    }
    if definition.watermark.as_ref().is_some_and(|w| w.column == name || mentions(&w.expression, name)) {
        return Some("the watermark".to_string());
    }
    if definition.primary_key.iter().any(|column| column == name) {
        return Some("the primary key".to_string());
    }
    if definition.partitioned_by.iter().any(|column| column == name) {
        return Some("PARTITIONED BY".to_string());
    }
    let distribution = definition.distribution.as_ref();
    distribution.is_some_and(|d| d.columns.iter().any(|column| column == name)).then(|| "the distribution".to_string())
}

fn mentions(expression: &str, name: &str) -> bool {
    let Ok(parsed) = parse_expression(expression) else { return false };
    let found = visit_expressions(&parsed, |e| match e {
        Expr::Identifier(one) if one.value == name => ControlFlow::Break(()),
        Expr::CompoundIdentifier(parts) if parts.iter().any(|part| part.value == name) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn drop_column(definition: &mut TableDefinition, name: &str) -> Result<()> {
    let Some(at) = definition.columns.iter().position(|known| known.name == name) else {
        return Err(unknown(definition, name));
    };
    if let Some(user) = user_of(definition, name) {
        return Err(Error::invalid(format!("{user} needs the column `{name}`: drop or change that first")));
    }
    if definition.columns.len() == 1 {
        return Err(Error::invalid(format!("`{name}` is the last column: a table has at least one")));
    }
    definition.columns.remove(at);
    Ok(())
}

fn rename_column(definition: &mut TableDefinition, from: &str, to: &str) -> Result<()> {
    let Some(at) = definition.columns.iter().position(|known| known.name == from) else {
        return Err(unknown(definition, from));
    };
    if definition.columns.iter().any(|known| known.name == to) {
        return Err(Error::invalid(format!("the table has a column `{to}` already")));
    }
    let in_expressions = definition.columns.iter().any(
        |c| matches!(&c.kind, ColumnKind::Computed { expression } if c.name != from && mentions(expression, from)),
    );
    let in_watermark = definition.watermark.as_ref().is_some_and(|w| w.column == from || mentions(&w.expression, from));
    if in_expressions || in_watermark {
        let user = user_of(definition, from).unwrap_or_default();
        return Err(Error::invalid(format!("{user} names the column `{from}`: drop or change that first")));
    }
    // A metadata column keeps its key: only its name is another one.
    definition.columns[at].name = to.to_string();
    let rename = |name: &mut String| {
        if name == from {
            *name = to.to_string();
        }
    };
    definition.primary_key.iter_mut().for_each(rename);
    definition.partitioned_by.iter_mut().for_each(rename);
    if let Some(distribution) = &mut definition.distribution {
        distribution.columns.iter_mut().for_each(rename);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::statement::{Statement, parse};
    use crate::sql::text::Source;

    fn table(text: &str) -> TableDefinition {
        match parse(&Source::new(text, 1)).expect(text) {
            Statement::CreateTable(create) => TableDefinition {
                columns: create.elements.columns.into_iter().map(|placed| placed.column).collect(),
                watermark: create.elements.watermark,
                primary_key: create.elements.primary_key.map(|key| key.columns).unwrap_or_default(),
                options: create.options.into_iter().collect(),
                ..Default::default()
            },
            other => panic!("{other:?}"),
        }
    }

    fn altered(change: &str) -> Result<TableDefinition> {
        let before = table(
            "CREATE TABLE t (a INT, b STRING COMMENT 'x', ts TIMESTAMP(3), c AS a * 2, WATERMARK FOR ts AS ts, PRIMARY KEY (b) NOT ENFORCED) \
             WITH ('connector' = 'pulsar', 'topics' = 'u')",
        );
        match parse(&Source::new(&format!("ALTER TABLE t {change}"), 1)).expect(change) {
            Statement::AlterTable { changes, .. } => changes.into_iter().try_fold(before, apply),
            other => panic!("{other:?}"),
        }
    }

    fn names(change: &str) -> Vec<String> {
        altered(change).expect(change).columns.into_iter().map(|c| c.name).collect()
    }

    fn refused(change: &str) -> String {
        altered(change).expect_err(change).to_string()
    }

    #[test]
    fn columns_are_added_moved_renamed_and_dropped() {
        assert_eq!(names("ADD d INT"), ["a", "b", "ts", "c", "d"]);
        assert_eq!(names("ADD (d INT FIRST, e AS a + 1 AFTER a)"), ["d", "a", "e", "b", "ts", "c"]);
        assert_eq!(names("MODIFY b VARCHAR(5) FIRST"), ["b", "a", "ts", "c"]);
        assert_eq!(altered("MODIFY b VARCHAR(5)").expect("fits").columns[1].comment.as_deref(), Some("x"));
        assert_eq!(names("RENAME b TO d"), ["a", "d", "ts", "c"]);
        assert_eq!(altered("RENAME b TO d").expect("fits").primary_key, ["d"]);
        assert_eq!(names("DROP c"), ["a", "b", "ts"]);
        assert_eq!(names("DROP (c)"), ["a", "b", "ts"]);
    }

    #[test]
    fn what_others_need_stays() {
        assert!(refused("DROP a").contains("`c`"));
        assert!(refused("DROP ts").contains("watermark"));
        assert!(refused("DROP b").contains("primary key"));
        assert!(refused("RENAME a TO z").contains("`c`"));
        assert!(refused("ADD a INT").contains("already"));
        assert!(refused("MODIFY tss INT").contains("did you mean `ts`"));
        assert!(refused("ADD d INT AFTER nope").contains("nope"));
        assert!(refused("ADD WATERMARK FOR ts AS ts").contains("MODIFY"));
        assert!(refused("ADD PRIMARY KEY (a) NOT ENFORCED").contains("MODIFY"));
        assert!(refused("DROP CONSTRAINT k").contains("`k`"));
    }

    #[test]
    fn watermark_key_and_options_change() {
        assert!(altered("DROP WATERMARK").expect("there").watermark.is_none());
        let watermark = altered("MODIFY WATERMARK FOR ts AS ts - INTERVAL '1' SECOND").expect("there").watermark;
        assert_eq!(watermark.expect("there").expression, "ts - INTERVAL '1' SECOND");
        assert!(altered("DROP PRIMARY KEY").expect("there").primary_key.is_empty());
        assert!(altered("DROP CONSTRAINT PK_b").expect("there").primary_key.is_empty());
        assert_eq!(altered("SET ('topic' = 'v')").expect("known").options["topics"], "v");
        assert!(!altered("RESET ('topic')").expect("known").options.contains_key("topics"));
        assert!(refused("RESET ('connector')").contains("connector"));
    }
}
