//! `CREATE TABLE … LIKE`: what is taken over from the other table, and what wins where both say something.
//!
//! ```text
//!            without a rule     INCLUDING            OVERWRITING        EXCLUDING
//!  options   own wins           both may not differ  own wins           own only
//!  others    as INCLUDING       own only adds        own wins           own only
//! ```

use std::collections::BTreeMap;

use aquifer_catalog::{ColumnDefinition, ColumnKind, TableDefinition};
use aquifer_model::{Error, Result};

use super::statement::{Feature, Merge};

/// The rule for a part.
fn rule(rules: &[(Merge, Feature)], feature: Feature) -> Merge {
    let of = |wanted: Feature| rules.iter().find(|(_, known)| *known == wanted).map(|(merge, _)| *merge);
    of(feature).or_else(|| of(Feature::All)).unwrap_or(match feature {
        Feature::Options => Merge::Overwriting,
        _ => Merge::Including,
    })
}

/// A table's definition over another one's.
pub(super) fn merge(
    source: &TableDefinition,
    own: TableDefinition,
    rules: &[(Merge, Feature)],
) -> Result<TableDefinition> {
    let mut merged = TableDefinition { comment: own.comment, ..TableDefinition::default() };
    for column in &source.columns {
        let merge = match &column.kind {
            ColumnKind::Physical { .. } => Merge::Including,
            ColumnKind::Metadata { .. } => rule(rules, Feature::Metadata),
            ColumnKind::Computed { .. } => rule(rules, Feature::Generated),
        };
        if merge == Merge::Excluding {
            continue;
        }
        let overwrites = |other: &&ColumnDefinition| other.name == column.name;
        match own.columns.iter().find(overwrites) {
            Some(other) if merge == Merge::Overwriting && same_kind(&other.kind, &column.kind) => {}
            Some(_) => {
                return Err(Error::invalid(format!(
                    "the column `{}` is in the other table too: leave it out, or take that one over with EXCLUDING or OVERWRITING",
                    column.name
                )));
            }
            None => merged.columns.push(column.clone()),
        }
    }
    merged.columns.extend(own.columns);
    merged.watermark = one(own.watermark, source.watermark.clone(), rule(rules, Feature::Watermarks), "watermark")?;
    let keys = rule(rules, Feature::Constraints);
    let own_key = (!own.primary_key.is_empty()).then_some((own.primary_key, own.key_name));
    let key = (!source.primary_key.is_empty()).then(|| (source.primary_key.clone(), source.key_name.clone()));
    if let Some((columns, name)) = one(own_key, key, keys, "primary key")? {
        (merged.primary_key, merged.key_name) = (columns, name);
    }
    let own_parts = (!own.partitioned_by.is_empty()).then_some(own.partitioned_by);
    let parts = (!source.partitioned_by.is_empty()).then(|| source.partitioned_by.clone());
    merged.partitioned_by =
        one(own_parts, parts, rule(rules, Feature::Partitions), "PARTITIONED BY")?.unwrap_or_default();
    let distribution = rule(rules, Feature::Distribution);
    merged.distribution = one(own.distribution, source.distribution.clone(), distribution, "distribution")?;
    merged.options = options(&source.options, own.options, rule(rules, Feature::Options))?;
    Ok(merged)
}

fn same_kind(a: &ColumnKind, b: &ColumnKind) -> bool {
    matches!(
        (a, b),
        (ColumnKind::Computed { .. }, ColumnKind::Computed { .. })
            | (ColumnKind::Metadata { .. }, ColumnKind::Metadata { .. })
    )
}

fn one<T>(own: Option<T>, source: Option<T>, merge: Merge, what: &str) -> Result<Option<T>> {
    match (own, source, merge) {
        (own, _, Merge::Excluding) => Ok(own),
        (Some(_), Some(_), Merge::Including) => Err(Error::invalid(format!(
            "the other table has a {what} too: leave this one out, or that one with EXCLUDING"
        ))),
        (own, source, _) => Ok(own.or(source)),
    }
}

fn options(
    source: &BTreeMap<String, String>,
    own: BTreeMap<String, String>,
    merge: Merge,
) -> Result<BTreeMap<String, String>> {
    if merge == Merge::Excluding {
        return Ok(own);
    }
    if merge == Merge::Including
        && let Some(key) = own.keys().find(|key| source.contains_key(*key))
    {
        return Err(Error::invalid(format!(
            "the other table has the option `{key}` too: take its options over with OVERWRITING OPTIONS"
        )));
    }
    let mut merged = source.clone();
    merged.extend(own);
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aquifer_catalog::WatermarkDefinition;

    fn column(name: &str, kind: ColumnKind) -> ColumnDefinition {
        ColumnDefinition { name: name.to_string(), kind, comment: None }
    }

    fn physical(name: &str) -> ColumnDefinition {
        column(name, ColumnKind::Physical { type_text: "INT".to_string() })
    }

    fn computed(name: &str, expression: &str) -> ColumnDefinition {
        column(name, ColumnKind::Computed { expression: expression.to_string() })
    }

    fn source() -> TableDefinition {
        TableDefinition {
            columns: vec![physical("a"), computed("c", "a + 1")],
            watermark: Some(WatermarkDefinition { column: "t".into(), expression: "t".into() }),
            primary_key: vec!["a".into()],
            options: [("x".to_string(), "1".to_string()), ("y".to_string(), "2".to_string())].into(),
            ..Default::default()
        }
    }

    fn names(definition: &TableDefinition) -> Vec<&str> {
        definition.columns.iter().map(|c| c.name.as_str()).collect()
    }

    #[test]
    fn without_rules_all_is_taken_over_and_own_options_win() {
        let own = TableDefinition {
            columns: vec![physical("b")],
            options: [("x".to_string(), "9".to_string())].into(),
            ..Default::default()
        };
        let merged = merge(&source(), own, &[]).expect("merges");
        assert_eq!(names(&merged), ["a", "c", "b"]);
        assert_eq!((merged.options["x"].as_str(), merged.options["y"].as_str()), ("9", "2"));
        assert_eq!((merged.primary_key.len(), merged.watermark.is_some()), (1, true));
    }

    #[test]
    fn excluding_leaves_out_and_overwriting_replaces() {
        let rules = [(Merge::Excluding, Feature::All), (Merge::Overwriting, Feature::Generated)];
        let own = TableDefinition { columns: vec![computed("c", "a + 2")], ..Default::default() };
        let merged = merge(&source(), own, &rules).expect("merges");
        assert_eq!(names(&merged), ["a", "c"]);
        assert_eq!(merged.columns[1], computed("c", "a + 2"));
        assert!(merged.options.is_empty() && merged.watermark.is_none() && merged.primary_key.is_empty());
    }

    #[test]
    fn what_both_say_is_refused_where_it_is_included() {
        let again = TableDefinition { columns: vec![physical("a")], ..Default::default() };
        assert!(merge(&source(), again, &[]).expect_err("twice").to_string().contains("`a`"));
        let key = TableDefinition { primary_key: vec!["a".into()], ..Default::default() };
        assert!(merge(&source(), key, &[]).expect_err("twice").to_string().contains("primary key"));
        let option = TableDefinition { options: [("x".to_string(), "9".to_string())].into(), ..Default::default() };
        assert!(merge(&source(), option, &[(Merge::Including, Feature::Options)]).is_err());
    }
}
