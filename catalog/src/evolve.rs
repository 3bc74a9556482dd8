//! Another schema version of a topic: what `ALTER TABLE` makes of its columns.
//!
//! A field that stays as it is keeps its own words in the schema (names of records, defaults, documentation). What messages that are already
//! written could not be read by is refused here; the broker then decides under the topic's compatibility strategy.

use aquifer_formats::payload::{columns_of, topic_schema_of};
use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, PayloadKind, Result, SqlType, TopicName, TopicSchema};
use arrow::datatypes::{Field, SchemaRef};
use serde_json::Value;

/// The schema to register for these columns; `None` if they are those of `current`.
pub(crate) fn evolved(topic: &TopicName, current: &TopicSchema, wanted: &SchemaRef) -> Result<Option<TopicSchema>> {
    let (format, own) = columns_of(current)?;
    let same = own.fields().len() == wanted.fields().len()
        && own.fields().iter().zip(wanted.fields()).all(|(a, b)| a.name() == b.name() && is_same(a, b));
    if same {
        return Ok(None);
    }
    if !matches!(current.kind, PayloadKind::Avro | PayloadKind::Json) {
        return Err(Error::unsupported(format!(
            "the messages of the topic `{topic}` are one value each: its columns cannot be changed"
        )));
    }
    let unreadable = || Error::corrupt(format!("the schema of the topic `{topic}` is no record"));
    let mut record: Value = serde_json::from_slice(&current.definition).map_err(|e| unreadable().with_source(e))?;
    let name = record.get("name").and_then(Value::as_str).unwrap_or(&topic.name).to_string();
    let fresh = topic_schema_of(format, &name, wanted)?;
    let fresh: Value = serde_json::from_slice(&fresh.definition).map_err(|e| unreadable().with_source(e))?;
    let mut fields = Vec::new();
    for field in wanted.fields() {
        let before = own.fields().iter().find(|known| known.name() == field.name());
        let from = match before {
            Some(before) if is_same(before, field) => &record,
            Some(before) => {
                check_change(topic, before, field)?;
                &fresh
            }
            None if field.is_nullable() => &fresh,
            None => {
                return Err(Error::invalid(format!(
                    "the new column `{}` is NOT NULL, and messages that are written already have no value for it: leave NOT NULL out",
                    field.name()
                )));
            }
        };
        fields.push(node(from, field.name()).ok_or_else(unreadable)?.clone());
    }
    *record.get_mut("fields").ok_or_else(unreadable)? = Value::Array(fields);
    let schema = TopicSchema { definition: record.to_string().into_bytes(), ..current.clone() };
    columns_of(&schema)?;
    Ok(Some(schema))
}

/// The same schema with a mark that no earlier version has: a registry answers a schema that it had before with that old version, and its newest
/// stays another one.
pub(crate) fn marked(schema: &TopicSchema, mark: &str) -> Result<TopicSchema> {
    let unreadable = |e| Error::corrupt("a schema is no JSON").with_source(e);
    let mut record: Value = serde_json::from_slice(&schema.definition).map_err(unreadable)?;
    if let Some(record) = record.as_object_mut() {
        record.insert("aquiferRevision".to_string(), Value::String(mark.to_string()));
    }
    Ok(TopicSchema { definition: record.to_string().into_bytes(), ..schema.clone() })
}

/// Whether two schemas give the same columns.
pub(crate) fn same_columns(a: &TopicSchema, b: &TopicSchema) -> Result<bool> {
    let ((_, a), (_, b)) = (columns_of(a)?, columns_of(b)?);
    Ok(a.fields().len() == b.fields().len()
        && a.fields().iter().zip(b.fields()).all(|(a, b)| a.name() == b.name() && is_same(a, b)))
}

/// A record's field.
fn node<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    record.get("fields")?.as_array()?.iter().find(|field| field.get("name").and_then(Value::as_str) == Some(name))
}

fn is_same(a: &Field, b: &Field) -> bool {
    matches!((ColumnType::of_field(a), ColumnType::of_field(b)), (Ok(a), Ok(b)) if a == b)
}

/// That messages of the old type can be read as the new one.
fn check_change(topic: &TopicName, before: &Field, after: &Field) -> Result<()> {
    let (from, to) = (ColumnType::of_field(before)?, ColumnType::of_field(after)?);
    if from.nullable && !to.nullable {
        return Err(Error::invalid(format!(
            "the column `{}` may be NULL in messages that are written already: it cannot become NOT NULL",
            before.name()
        )));
    }
    use SqlType as T;
    let widens = from.sql_type == to.sql_type
        || matches!(
            (&from.sql_type, &to.sql_type),
            (T::TinyInt, T::SmallInt | T::Int | T::BigInt | T::Float | T::Double)
                | (T::SmallInt, T::Int | T::BigInt | T::Float | T::Double)
                | (T::Int, T::BigInt | T::Float | T::Double)
                | (T::BigInt, T::Float | T::Double)
                | (T::Float, T::Double)
                | (T::Varchar(_), T::Varbinary(_))
                | (T::Varbinary(_), T::Varchar(_))
        )
        || matches!(
            (&from.sql_type, &to.sql_type),
            (T::Char(from) | T::Varchar(from), T::Varchar(to)) | (T::Binary(from) | T::Varbinary(from), T::Varbinary(to))
                if from <= to
        );
    if widens {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the column `{}` of the topic `{topic}` is {}, and messages that are written already cannot be read as {}: widen numbers only, or \
         add another column",
        before.name(),
        from.sql_type,
        to.sql_type
    )))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;

    const OWN: &str = r#"{"type":"record","name":"Reading","namespace":"org.a","doc":"d","fields":[
        {"name":"room","type":"string","doc":"which"},{"name":"n","type":["null","int"],"default":null},
        {"name":"e","type":{"type":"enum","name":"Kind","symbols":["A","B"]}}]}"#;

    fn current(kind: PayloadKind) -> TopicSchema {
        TopicSchema { name: "s".into(), kind, definition: OWN.into(), properties: [("p".into(), "q".into())].into() }
    }

    fn columns(given: &[(&str, &str)]) -> SchemaRef {
        let field = |(name, text): &(&str, &str)| SqlType::parse(text).expect("a type").to_field(name);
        Arc::new(Schema::new(given.iter().map(field).collect::<Vec<_>>()))
    }

    fn altered(given: &[(&str, &str)]) -> Result<Option<TopicSchema>> {
        evolved(&"t".parse().expect("a name"), &current(PayloadKind::Avro), &columns(given))
    }

    const SAME: [(&str, &str); 3] = [("room", "STRING NOT NULL"), ("n", "INT"), ("e", "STRING NOT NULL")];

    #[test]
    fn what_stays_keeps_its_own_words() {
        assert_eq!(altered(&SAME).expect("read"), None);
        let mut more = SAME.to_vec();
        more.insert(1, ("added", "ARRAY<INT>"));
        let schema = altered(&more).expect("fits").expect("another");
        let record: Value = serde_json::from_slice(&schema.definition).expect("JSON");
        assert_eq!(
            (&record["name"], &record["namespace"], &record["doc"]),
            (&"Reading".into(), &"org.a".into(), &"d".into())
        );
        assert_eq!(record["fields"][0]["doc"], "which");
        assert_eq!((&record["fields"][1]["name"], &record["fields"][1]["default"]), (&"added".into(), &Value::Null));
        assert_eq!(record["fields"][3]["type"]["type"], "enum");
        assert_eq!(schema.properties["p"], "q");
    }

    #[test]
    fn columns_are_dropped_and_widened_and_no_message_becomes_unreadable() {
        assert!(altered(&SAME[..2]).expect("fits").is_some());
        assert!(altered(&[SAME[0], ("n", "BIGINT"), SAME[2]]).expect("fits").is_some());
        for (wanted, part) in [
            (vec![SAME[0], ("n", "STRING"), SAME[2]], "cannot be read as STRING"),
            (vec![SAME[0], ("n", "INT NOT NULL"), SAME[2]], "cannot become NOT NULL"),
            (vec![SAME[0], SAME[1], SAME[2], ("x", "INT NOT NULL")], "leave NOT NULL out"),
        ] {
            let error = altered(&wanted).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        let topic = "t".parse().expect("a name");
        let error = evolved(&topic, &current(PayloadKind::String), &columns(&SAME)).expect_err("one value");
        assert!(error.to_string().contains("one value"), "{error}");
    }
}
