//! A table found by name: its columns, and what it reads and writes.

use std::sync::Arc;

use aquifer_formats::entry::EntryLimits;
use aquifer_formats::payload::Format;
use aquifer_model::{Error, Result, SqlType, TopicName, sql_type::ColumnType};
use aquifer_storage::Log;
use aquifer_storage::archive::ArchiveLocation;
use aquifer_storage::reader::{OnDecodeError, TieredTopic};
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::definition::{ColumnDefinition, ColumnKind, MetadataKey, Origin, TableDefinition};
use crate::topic_pattern::PatternTopics;

/// A table found by name.
#[derive(Debug, Clone)]
pub struct Table {
    /// Catalog, database and table, as they are really written.
    pub name: [String; 3],
    /// What it is.
    pub definition: TableDefinition,
    /// Where the definition comes from.
    pub origin: Origin,
    /// What it reads and writes.
    pub target: Target,
    /// Columns that can be named although they are not declared, and that `*` leaves out: a native table's metadata, as far as no column of the
    /// table has the name.
    pub system_columns: Vec<ColumnDefinition>,
    /// Which stored version of the definition this is; `None` if nothing is stored. `ALTER TABLE` changes this one and no later one.
    pub version: Option<u64>,
}

/// What a table reads and writes.
#[derive(Debug, Clone)]
pub enum Target {
    /// Topics of a log, usually one.
    Topics(Vec<TieredTopic>),
    /// Topics whose names match an expression: they are looked for when the table is read.
    Pattern(Arc<PatternTopics>),
    /// A connector that the processor looks up by `definition.options["connector"]`.
    Connector,
    /// Rows that are there already: a table about tables. It is only read.
    Rows(RecordBatch),
}

impl Target {
    /// The topics that are read now; `None` where the table is none over topics. Fails where no topic matches its pattern.
    pub async fn topics(&self) -> Result<Option<Vec<TieredTopic>>> {
        match self {
            Self::Topics(topics) => Ok(Some(topics.clone())),
            Self::Pattern(pattern) => pattern.find_some().await.map(Some),
            Self::Connector | Self::Rows(_) => Ok(None),
        }
    }
}

/// What all topics of a table share.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub log: Arc<dyn Log>,
    /// `None`: the log alone is read.
    pub archive: Option<ArchiveLocation>,
    pub format: Format,
    pub value_columns: SchemaRef,
    pub on_error: OnDecodeError,
    pub limits: EntryLimits,
}

impl Reading {
    pub fn of(&self, topic: TopicName) -> TieredTopic {
        TieredTopic {
            log: Arc::clone(&self.log),
            archive: self.archive.clone(),
            topic,
            format: self.format,
            value_columns: Arc::clone(&self.value_columns),
            on_error: self.on_error.clone(),
            limits: self.limits,
        }
    }
}

impl Table {
    /// The reader's column that holds a physical column: the message's key where the option `value.fields-include` leaves it out of the value.
    pub fn reader_column(&self, column: &str) -> String {
        match key_outside(&self.definition) {
            Some(key) if key == column => MetadataKey::Key.reader_column().to_string(),
            _ => column.to_string(),
        }
    }
}

/// The physical column that is the message's key and no part of its value, if there is one.
fn key_outside(definition: &TableDefinition) -> Option<&str> {
    let option = |key: &str| definition.options.get(key).map(String::as_str);
    match option("value.fields-include") {
        Some("EXCEPT_KEY") => option("key.fields").or(match definition.primary_key.as_slice() {
            [one] => Some(one.as_str()),
            _ => None,
        }),
        _ => None,
    }
}

/// The physical columns of a definition that stand in the value, as the payload's decoders and encoders want them. Fails on types that cannot be
/// read and on names that stand twice.
pub(crate) fn value_columns(definition: &TableDefinition) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = Vec::new();
    let outside = key_outside(definition);
    for (n, column) in definition.columns.iter().enumerate() {
        if definition.columns[..n].iter().any(|before| before.name == column.name) {
            return Err(Error::invalid(format!("the column `{}` is declared twice", column.name)));
        }
        if let ColumnKind::Physical { type_text } = &column.kind {
            let column_type =
                SqlType::parse(type_text).map_err(|error| error.context(format!("the column `{}`", column.name)))?;
            if outside == Some(column.name.as_str()) {
                if !matches!(column_type.sql_type, SqlType::Varchar(_) | SqlType::Varbinary(_)) {
                    return Err(Error::unsupported(format!(
                        "'value.fields-include' = 'EXCEPT_KEY': the key `{}` is {}, and only STRING and BYTES are read from keys so far; leave the option out",
                        column.name, column_type.sql_type
                    )));
                }
                continue;
            }
            fields.push(column_type.to_field(&column.name));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The same for one format: CSV has the table's options beside its columns, where its decoder and encoder look for them.
pub(crate) fn columns_for(format: Format, definition: &TableDefinition) -> Result<SchemaRef> {
    let columns = value_columns(definition)?;
    let options = definition.options.iter().filter(|(key, _)| key.starts_with("csv."));
    match format {
        Format::Csv => {
            let options = options.map(|(key, value)| (key.clone(), value.clone())).collect();
            Ok(Arc::new(columns.as_ref().clone().with_metadata(options)))
        }
        _ => match options.map(|(key, _)| key).next() {
            Some(key) => Err(Error::invalid(format!(
                "the option `{key}` is of the format csv, and the table's format is {format}: leave it out, or write 'format' = 'csv'"
            ))),
            None => Ok(columns),
        },
    }
}

/// The columns that a topic's schema gives, as declarations.
pub(crate) fn physical_columns(columns: &Schema) -> Result<Vec<ColumnDefinition>> {
    let declare = |field: &Arc<Field>| {
        let type_text = type_text(&ColumnType::of_field(field)?);
        Ok(ColumnDefinition { name: field.name().clone(), kind: ColumnKind::Physical { type_text }, comment: None })
    };
    columns.fields().iter().map(declare).collect()
}

/// What stands beside a topic's own columns: all that is not physical.
pub(crate) fn additions(definition: &TableDefinition) -> TableDefinition {
    let (own, beside): (Vec<_>, Vec<_>) =
        definition.columns.iter().cloned().partition(|column| matches!(column.kind, ColumnKind::Physical { .. }));
    let own_comments = own.into_iter().filter_map(|column| Some((column.name, column.comment?))).collect();
    TableDefinition { columns: beside, own_comments, ..definition.clone() }
}

/// A native table: the topic's own columns, then the declared ones. A declared column hides one of the payload with its name.
pub(crate) fn merged(own: Vec<ColumnDefinition>, beside: Option<TableDefinition>) -> TableDefinition {
    let mut definition = beside.unwrap_or_default();
    let hidden = |column: &ColumnDefinition| definition.columns.iter().any(|declared| declared.name == column.name);
    let mut columns: Vec<ColumnDefinition> = own.into_iter().filter(|column| !hidden(column)).collect();
    for column in &mut columns {
        column.comment = definition.own_comments.remove(&column.name);
    }
    definition.own_comments.clear();
    columns.append(&mut definition.columns);
    TableDefinition { columns, ..definition }
}

/// A native table's metadata that is not declared and whose name is free.
pub(crate) fn system_columns(definition: &TableDefinition) -> Vec<ColumnDefinition> {
    let free = |key: &&MetadataKey| definition.columns.iter().all(|column| column.name != key.name());
    let declare = |key: &MetadataKey| ColumnDefinition {
        name: key.name().to_string(),
        kind: ColumnKind::Metadata { type_text: key.sql_type().to_string(), key: *key, is_virtual: true },
        comment: None,
    };
    MetadataKey::ALL.iter().filter(free).map(declare).collect()
}

/// A type as DDL writes it.
fn type_text(column_type: &ColumnType) -> String {
    match column_type.nullable {
        true => column_type.sql_type.to_string(),
        false => format!("{} NOT NULL", column_type.sql_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn physical(name: &str, type_text: &str) -> ColumnDefinition {
        let kind = ColumnKind::Physical { type_text: type_text.to_string() };
        ColumnDefinition { name: name.to_string(), kind, comment: None }
    }

    fn computed(name: &str) -> ColumnDefinition {
        let kind = ColumnKind::Computed { expression: "1".to_string() };
        ColumnDefinition { name: name.to_string(), kind, comment: None }
    }

    #[test]
    fn columns_become_fields_and_back() {
        let columns = vec![physical("a", "BIGINT NOT NULL"), physical("b", "ROW<`x` DECIMAL(5, 2), `y` STRING>")];
        let definition = TableDefinition { columns: columns.clone(), ..Default::default() };
        let fields = value_columns(&definition).expect("types");
        let again = physical_columns(&fields).expect("types");
        let fields_again = value_columns(&TableDefinition { columns: again, ..Default::default() }).expect("types");
        assert_eq!(fields, fields_again);
    }

    #[test]
    fn a_declared_column_hides_the_payloads_and_system_columns_take_free_names() {
        let beside = TableDefinition { columns: vec![computed("b"), computed("tier")], ..Default::default() };
        let definition =
            merged(vec![physical("a", "INT"), physical("b", "INT"), physical("key", "INT")], Some(beside.clone()));
        let names: Vec<&str> = definition.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "key", "b", "tier"]);
        assert_eq!(additions(&definition).columns, beside.columns);
        let system = system_columns(&definition);
        assert!(
            system.iter().any(|c| c.name == "event_time") && system.iter().all(|c| c.name != "tier" && c.name != "key")
        );
    }

    #[test]
    fn a_wrong_type_and_a_name_that_stands_twice_are_told() {
        let wrong = TableDefinition { columns: vec![physical("a", "INTT")], ..Default::default() };
        assert!(value_columns(&wrong).expect_err("no type").to_string().contains("the column `a`"));
        let twice = TableDefinition { columns: vec![physical("a", "INT"), computed("a")], ..Default::default() };
        assert!(value_columns(&twice).expect_err("twice").to_string().contains("`a` is declared twice"));
    }
}
