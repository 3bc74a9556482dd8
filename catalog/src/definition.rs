//! What a catalog and a table are, as plain data that is stored as JSON.
//!
//! Expressions are kept as the user wrote them; the processor parses and binds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use aquifer_model::{Error, Partition, Result, SqlType, TopicName};
use serde::{Deserialize, Serialize};

use crate::options::masked;

/// A catalog. Secrets among its options do not show in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogDefinition {
    /// Its name.
    pub name: String,
    /// Its options as given, keys in their canonical spelling.
    pub options: BTreeMap<String, String>,
    /// The user's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A table. Secrets among its options do not show in `Debug`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableDefinition {
    /// Its columns, in order.
    pub columns: Vec<ColumnDefinition>,
    /// Its event time, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<WatermarkDefinition>,
    /// The primary key's columns; empty if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
    /// The primary key's own name, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// The columns of `PARTITIONED BY`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitioned_by: Vec<String>,
    /// The `DISTRIBUTED` clause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// Comments of columns that stand in the topic's own schema: used where a definition is stored beside a topic, empty else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own_comments: BTreeMap<String, String>,
    /// The user's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The `WITH` options as given, canonical keys; empty for a topic of the catalog.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for CatalogDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogDefinition")
            .field("name", &self.name)
            .field("options", &masked(&self.options))
            .field("comment", &self.comment)
            .finish()
    }
}

impl fmt::Debug for TableDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableDefinition")
            .field("columns", &self.columns)
            .field("watermark", &self.watermark)
            .field("primary_key", &self.primary_key)
            .field("partitioned_by", &self.partitioned_by)
            .field("distribution", &self.distribution)
            .field("comment", &self.comment)
            .field("options", &masked(&self.options))
            .finish()
    }
}

/// A view: a query that is put in where its name stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDefinition {
    /// The query, in the user's words.
    pub query: String,
    /// The catalog in which the query's names are looked up: the one it was made in.
    pub catalog: String,
    /// The database in which the query's names are looked up.
    pub database: String,
    /// Other names for the query's columns, one for each; empty: they keep their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ViewColumn>,
    /// The user's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A column's name in a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewColumn {
    /// The name.
    pub name: String,
    /// The user's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// `DISTRIBUTED [BY [HASH | RANGE] (columns)] [INTO n BUCKETS]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// `HASH` or `RANGE`, if that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The columns that decide; empty: none do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Into how many, if that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<u32>,
}

/// Where a table's definition comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the topic's own schema (with what `ALTER TABLE` added).
    Native,
    /// From `CREATE TABLE`.
    Explicit,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub kind: ColumnKind,
    /// The user's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ColumnKind {
    /// The payload. `type_text` is Flink's text of the type, `NOT NULL` included, as `SqlType::parse` reads it.
    Physical {
        /// The type.
        type_text: String,
    },
    /// The message around the payload.
    Metadata {
        /// The type, as `Physical`.
        type_text: String,
        /// Which part.
        key: MetadataKey,
        /// Whether it is only read.
        is_virtual: bool,
    },
    /// An expression over the other columns, in the user's words.
    Computed {
        /// The expression.
        expression: String,
    },
}

/// `WATERMARK FOR column AS expression`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkDefinition {
    /// The time column.
    pub column: String,
    /// The expression, in the user's words.
    pub expression: String,
}

macro_rules! metadata_keys {
    ($($variant:ident, [$($name:literal),+], [$($hidden:literal),*], [$($word:literal),*], $column:literal, $type:expr, $doc:literal;)*) => {
        /// A part of a message that a metadata column can show.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum MetadataKey { $( #[doc = $doc] $variant, )* }

        impl MetadataKey {
            /// All of them.
            pub const ALL: &[MetadataKey] = &[$(MetadataKey::$variant),*];

            /// Its names, the one that is shown first.
            fn names(self) -> &'static [&'static str] {
                match self { $(MetadataKey::$variant => &[$($name),+],)* }
            }

            /// Names that it has between underscores only.
            fn hidden_names(self) -> &'static [&'static str] {
                match self { $(MetadataKey::$variant => &[$($hidden),*],)* }
            }

            /// Words of other systems that only `METADATA FROM '…'` takes: a column of a payload may well be called so.
            fn words(self) -> &'static [&'static str] {
                match self { $(MetadataKey::$variant => &[$($word),*],)* }
            }

            /// The reader's column that holds it.
            pub fn reader_column(self) -> &'static str {
                match self { $(MetadataKey::$variant => $column,)* }
            }

            /// Its type.
            pub fn sql_type(self) -> SqlType {
                match self { $(MetadataKey::$variant => $type,)* }
            }
        }
    };
}

/// Pulsar SQL's id of a message, which is a text; `__message_id` and StreamNative's `__messageId` are its bytes.
const TEXT_ID: &str = "__message_id__";

impl MetadataKey {
    /// The name in `METADATA FROM '…'`.
    pub fn name(self) -> &'static str {
        self.names().first().copied().unwrap_or_default()
    }

    /// Every name that a query over a topic may call it by, its own first: plain, StreamNative's `__name` and Pulsar SQL's `__name__`.
    pub fn column_names(self) -> Vec<String> {
        let mut names: Vec<String> = self.names().iter().map(ToString::to_string).collect();
        for name in self.names().iter().chain(self.hidden_names()) {
            names.extend([format!("__{name}"), format!("__{name}__")]);
        }
        match self {
            Self::MessageId => names.retain(|name| name != TEXT_ID),
            Self::MessageIdText => names.push(TEXT_ID.to_string()),
            _ => {}
        }
        names
    }
}

impl FromStr for MetadataKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let is_called = |key: &MetadataKey| key.words().contains(&text) || key.column_names().iter().any(|n| n == text);
        MetadataKey::ALL.iter().copied().find(is_called).ok_or_else(|| unknown_key(text))
    }
}

/// Why a name of `METADATA FROM '…'` is none that is known; those of other systems are told apart.
fn unknown_key(text: &str) -> Error {
    let bare = text.trim_matches('_');
    let reason = match bare {
        "redelivery_count" | "redeliveryCount" => {
            "a broker counts how often it gave a message again to a subscription; tables are read without one, so there is no such count"
        }
        // RisingWave's `header 'name'` is one of them.
        _ if bare.starts_with("header ") || bare.starts_with("headers") => {
            "declare all of them as MAP<STRING, STRING> METADATA FROM 'properties', and name one as `properties`['name']"
        }
        // Pulsar SQL's `__key.field` are a key-value topic's columns.
        _ if text.starts_with("__key.") => {
            "the fields of a key-value topic's key are columns of the table: name them without METADATA"
        }
        _ => {
            let known: Vec<&str> = MetadataKey::ALL.iter().map(|key| key.name()).collect();
            return Error::invalid(format!("unknown metadata key `{text}`: known are {}", known.join(", ")));
        }
    };
    Error::unsupported(format!("the metadata key `{text}` is not supported: {reason}"))
}

fn string_map() -> SqlType {
    SqlType::Map(Box::new(SqlType::STRING.not_null()), Box::new(SqlType::STRING.not_null()))
}

metadata_keys! {
    Topic, ["topic"], [], [], "__topic", SqlType::STRING, "The topic's full name.";
    Partition, ["partition"], [], [], "__partition", SqlType::Int, "The partition's number.";
    PublishTime, ["publish_time"], ["publishTime"], ["timestamp"], "__publish_time", SqlType::TimestampLtz(3), "When it was sent.";
    EventTime, ["event_time"], ["eventTime"], [], "__event_time", SqlType::TimestampLtz(3), "The producer's event time.";
    Key, ["key"], [], [], "__key", SqlType::BYTES, "The partition key; declared as STRING it is read as UTF-8.";
    Properties, ["properties"], [], ["header"], "__properties", string_map(), "The properties.";
    ProducerName, ["producer_name"], ["producerName"], [], "__producer_name", SqlType::STRING, "Who sent it.";
    SequenceId, ["sequenceId", "sequence_id"], [], [], "__sequence_id", SqlType::BigInt, "The producer's sequence id.";
    MessageId, ["message_id"], ["messageId"], [], "__message_id", SqlType::BYTES, "The message's id, as clients serialize it.";
    MessageIdText, ["message_id_text"], [], ["offset"], "__message_id_text", SqlType::STRING, "The message's id as `ledger:entry:partition:batch index`.";
    Ledger, ["ledger"], [], [], "__ledger", SqlType::BigInt, "The position's ledger.";
    Entry, ["entry"], [], [], "__entry", SqlType::BigInt, "The position's entry.";
    BatchIndex, ["batch_index"], [], [], "__batch_index", SqlType::Int, "The place in its entry.";
    SchemaVersion, ["schema_version"], [], [], "__schema_version", SqlType::BYTES, "The registry's version bytes.";
    OrderingKey, ["ordering_key"], ["orderingKey"], [], "__ordering_key", SqlType::BYTES, "The ordering key; declared as STRING it is read as UTF-8.";
    ReplicatedFrom, ["replicated_from"], ["replicatedFrom"], [], "__replicated_from", SqlType::STRING, "The cluster it was first written in.";
    MessageSize, ["message_size"], ["messageSize"], [], "__message_size", SqlType::Int, "How many bytes its payload has, not compressed.";
    BrokerPublishTime, ["broker_publish_time"], ["brokerPublishTime"], [], "__broker_publish_time", SqlType::TimestampLtz(3), "When the broker took it, by the broker's clock; NULL where brokers do not say.";
    MessageIndex, ["message_index"], ["messageIndex", "index"], ["index"], "__message_index", SqlType::BigInt, "The broker's number of it in its partition; NULL where brokers give none.";
    Tier, ["tier"], [], [], "__tier", SqlType::STRING, "`log` or `archive`.";
}

impl fmt::Display for MetadataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A topic that an explicit table names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTopic {
    /// The topic.
    pub topic: TopicName,
    /// The numbers of the partitions that are meant; none: all there are.
    pub partitions: BTreeSet<u32>,
}

/// Which topics an explicit table reads, from its `topics` option: names of topics and of their partitions (`t-partition-0`), `;` between them.
pub fn parse_topics(option: &str) -> Result<Vec<NamedTopic>> {
    let mut named: Vec<NamedTopic> = Vec::new();
    for text in option.split(';') {
        let Partition { topic, index } = text.trim().parse()?;
        match named.iter_mut().find(|one| one.topic == topic) {
            Some(one) if one.partitions.is_empty() != index.is_none() => {
                return Err(Error::invalid(format!("it names the topic `{topic}` and a partition of it: keep one")));
            }
            Some(one) => one.partitions.extend(index),
            None => named.push(NamedTopic { topic, partitions: index.into_iter().collect() }),
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_whole_or_by_partitions() {
        let shown = |option: &str| {
            let named = parse_topics(option).expect(option);
            named.iter().map(|one| format!("{} {:?}", one.topic.name, one.partitions)).collect::<Vec<_>>()
        };
        assert_eq!(shown("a; b"), ["a {}", "b {}"]);
        assert_eq!(shown("a-partition-2;b;a-partition-0"), ["a {0, 2}", "b {}"]);
        assert_eq!(shown("a;a"), ["a {}"]);
        for (option, part) in
            [("a;a-partition-0", "keep one"), ("a-partition-0;a", "keep one"), ("a;", "no topic name")]
        {
            assert!(parse_topics(option).expect_err(option).to_string().contains(part), "{option}");
        }
    }

    #[test]
    fn metadata_is_found_under_every_spelling_and_no_name_means_two_things() {
        let mut all: Vec<String> = Vec::new();
        for key in MetadataKey::ALL {
            let names = key.column_names();
            assert_eq!(names[0], key.name());
            let text_id = *key == MetadataKey::MessageId;
            for form in [key.name().to_string(), format!("__{key}"), format!("__{key}__")] {
                assert!(names.contains(&form) || text_id && form == TEXT_ID, "{form}");
            }
            for name in names.iter().map(String::as_str).chain(key.words().iter().copied()) {
                assert_eq!(name.parse::<MetadataKey>().expect("known"), *key, "{name}");
            }
            all.extend(names);
            all.extend(key.words().iter().map(ToString::to_string));
        }
        // `index` is a name between underscores and a word.
        all.sort();
        assert!(all.windows(2).all(|two| two[0] != two[1]), "{all:?}");
    }

    #[test]
    fn metadata_has_the_names_of_other_systems() {
        use MetadataKey as Key;
        for (name, key) in [
            // StreamNative's of 2019 to 2021.
            ("__topic", Key::Topic),
            ("__messageId", Key::MessageId),
            ("__publishTime", Key::PublishTime),
            ("__eventTime", Key::EventTime),
            ("__key", Key::Key),
            // Flink's connector.
            ("message_id", Key::MessageId),
            ("sequenceId", Key::SequenceId),
            ("message_size", Key::MessageSize),
            // Pulsar SQL.
            ("__partition__", Key::Partition),
            ("__message_id__", Key::MessageIdText),
            ("__publish_time__", Key::PublishTime),
            ("__event_time__", Key::EventTime),
            ("__key__", Key::Key),
            ("__properties__", Key::Properties),
            ("__producer_name__", Key::ProducerName),
            ("__sequence_id__", Key::SequenceId),
            // RisingWave.
            ("partition", Key::Partition),
            ("offset", Key::MessageIdText),
            ("timestamp", Key::PublishTime),
            ("key", Key::Key),
            ("header", Key::Properties),
            // Ours.
            ("__tier__", Key::Tier),
            ("__ledger", Key::Ledger),
            ("__schema_version__", Key::SchemaVersion),
            ("__sequenceId", Key::SequenceId),
            ("__index__", Key::MessageIndex),
            ("index", Key::MessageIndex),
        ] {
            assert_eq!(name.parse::<Key>().expect("known"), key, "{name}");
        }
        for (name, part) in [
            ("redelivery_count", "subscription"),
            ("__key.id", "columns of the table"),
            ("header 'trace'", "'properties'"),
            ("size", "known are topic, partition"),
            ("publishTime", "unknown metadata key"),
            ("", "unknown metadata key"),
        ] {
            let error = name.parse::<Key>().expect_err(name).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
