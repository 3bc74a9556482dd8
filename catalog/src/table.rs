//! A table found by name: its columns, and what it reads and writes.

use std::collections::HashMap;
use std::sync::Arc;

use aquifer_formats::entry::EntryLimits;
use aquifer_formats::payload::Format;
use aquifer_model::{Error, Result, SqlType, TopicName, sql_type::ColumnType};
use aquifer_storage::Log;
use aquifer_storage::archive::ArchiveLocation;
use aquifer_storage::reader::{OnDecodeError, TieredTopic};
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::definition::{ColumnDefinition, ColumnKind, MetadataKey, NamedTopic, Origin, TableDefinition};
use crate::key_columns::KeyColumns;
use crate::some_partitions::SomePartitions;
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

    /// The same of a topic of which some partitions may be meant.
    pub fn of_named(&self, named: NamedTopic) -> TieredTopic {
        let NamedTopic { topic, partitions } = named;
        let mut tiered = self.of(topic);
        if !partitions.is_empty() {
            tiered.log = Arc::new(SomePartitions::new(tiered.log, tiered.topic.clone(), partitions));
        }
        tiered
    }
}

impl Table {
    /// The physical columns that stand in the message's key and not in its value.
    pub fn key_columns(&self) -> Result<KeyColumns> {
        KeyColumns::of(&self.definition)
    }
}

/// The physical columns of a definition that stand in the value, as the payload's decoders and encoders want them. Fails on types that cannot be
/// read and on names that stand twice.
pub(crate) fn value_columns(definition: &TableDefinition) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = Vec::new();
    let outside = KeyColumns::of(definition)?;
    for (n, column) in definition.columns.iter().enumerate() {
        if definition.columns[..n].iter().any(|before| before.name == column.name) {
            return Err(Error::invalid(format!("the column `{}` is declared twice", column.name)));
        }
        if let ColumnKind::Physical { type_text } = &column.kind {
            let column_type =
                SqlType::parse(type_text).map_err(|error| error.context(format!("the column `{}`", column.name)))?;
            if outside.contains(&column.name) {
                continue;
            }
            fields.push(column_type.to_field(&column.name));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The same for one format: CSV and JSON have the table's options beside its columns, where their decoders and encoders look for them.
pub(crate) fn columns_for(format: Format, definition: &TableDefinition) -> Result<SchemaRef> {
    let columns = value_columns(definition)?;
    let mut own = HashMap::new();
    for (key, value) in &definition.options {
        let Some((of @ ("csv" | "json"), _)) = key.split_once('.') else { continue };
        let is_own = match format {
            Format::Csv => of == "csv",
            // The value's may be JSON.
            Format::Json | Format::KeyValue => of == "json",
            _ => false,
        };
        if !is_own {
            return Err(Error::invalid(format!(
                "the option `{key}` is of the format {of}, and the table's format is {format}: leave it out, or write 'format' = '{of}'"
            )));
        }
        own.insert(key.clone(), value.clone());
    }
    match own.is_empty() {
        true => Ok(columns),
        false => Ok(Arc::new(columns.as_ref().clone().with_metadata(own))),
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

/// A native table's metadata under each of its names that no declared column has.
pub(crate) fn system_columns(definition: &TableDefinition) -> Vec<ColumnDefinition> {
    let is_free = |name: &String| definition.columns.iter().all(|column| column.name != *name);
    let declare = |(key, name): (MetadataKey, String)| ColumnDefinition {
        name,
        kind: ColumnKind::Metadata { type_text: key.sql_type().to_string(), key, is_virtual: true },
        comment: None,
    };
    let named = MetadataKey::ALL.iter().flat_map(|key| key.column_names().into_iter().map(move |name| (*key, name)));
    // Of plain words each has one: a second would take names from users' aliases and views.
    let is_offered = |key: &MetadataKey, name: &str| name == key.name() || name.starts_with("__");
    named.filter(|(key, name)| is_offered(key, name) && is_free(name)).map(declare).collect()
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
    fn options_of_a_format_stand_beside_its_columns_and_those_of_others_are_refused() {
        let of = |option: &str, format: Format| {
            let options = [(option.to_string(), "true".to_string())].into();
            columns_for(format, &TableDefinition { columns: vec![physical("a", "INT")], options, ..Default::default() })
        };
        for (option, format) in [
            ("json.encode.ignore-null-fields", Format::Json),
            ("json.ignore-parse-errors", Format::KeyValue),
            ("csv.allow-comments", Format::Csv),
        ] {
            assert_eq!(of(option, format).expect("its own").metadata()[option], "true", "{option}");
        }
        for (option, format) in [
            ("json.ignore-parse-errors", Format::Avro),
            ("json.ignore-parse-errors", Format::Csv),
            ("csv.allow-comments", Format::Json),
        ] {
            let error = of(option, format).expect_err("another's").to_string();
            assert!(error.contains(option) && error.contains(&format!("the table's format is {format}")), "{error}");
        }
        assert!(of("scan.tiers", Format::Json).expect("no format's").metadata().is_empty());
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
        for name in ["__event_time__", "__eventTime", "sequenceId", "__sequence_id__", "__tier", "__key__"] {
            assert!(system.iter().any(|c| c.name == name), "{name} is another name, and free");
        }
        // Words that payloads use are none.
        assert!(
            system
                .iter()
                .all(|c| !["timestamp", "offset", "header", "index", "sequence_id"].contains(&c.name.as_str()))
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
