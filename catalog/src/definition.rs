//! What a catalog and a table are, as plain data that is stored as JSON.
//!
//! Expressions are kept as the user wrote them; the processor parses and binds them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aquifer_model::{Error, Result, SqlType, TopicName};
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
    ($($variant:ident, $name:literal, [$($alias:literal),*], $column:literal, $type:expr, $doc:literal;)*) => {
        /// A part of a message that a metadata column can show.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum MetadataKey { $( #[doc = $doc] $variant, )* }

        impl MetadataKey {
            /// All of them.
            pub const ALL: &[MetadataKey] = &[$(MetadataKey::$variant),*];

            /// The name in `METADATA FROM '…'`.
            pub fn name(self) -> &'static str {
                match self { $(MetadataKey::$variant => $name,)* }
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

        impl FromStr for MetadataKey {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $( $name $(| $alias)* => Ok(MetadataKey::$variant), )*
                    _ => Err(unknown_key(text)),
                }
            }
        }
    };
}

/// Why a name of `METADATA FROM '…'` is none that is known; those of other systems are told apart.
fn unknown_key(text: &str) -> Error {
    let bare = text.trim_matches('_');
    let reason = match bare {
        "redelivery_count" | "redeliveryCount" => {
            "a broker counts how often it gave a message again to a subscription; tables are read without one, so there is no such count"
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
    Topic, "topic", ["__topic"], "__topic", SqlType::STRING, "The topic's full name.";
    Partition, "partition", ["__partition", "__partition__"], "__partition", SqlType::Int, "The partition's number.";
    PublishTime, "publish_time", ["__publishTime", "__publish_time__"], "__publish_time", SqlType::TimestampLtz(3), "When it was sent.";
    EventTime, "event_time", ["__eventTime", "__event_time__"], "__event_time", SqlType::TimestampLtz(3), "The producer's event time.";
    Key, "key", ["__key", "__key__"], "__key", SqlType::BYTES, "The partition key; declared as STRING it is read as UTF-8.";
    Properties, "properties", ["__properties", "__properties__"], "__properties", string_map(), "The properties.";
    ProducerName, "producer_name", ["__producer_name", "__producer_name__"], "__producer_name", SqlType::STRING, "Who sent it.";
    SequenceId, "sequenceId", ["sequence_id", "__sequence_id", "__sequence_id__"], "__sequence_id", SqlType::BigInt, "The producer's sequence id.";
    MessageId, "message_id", ["__messageId", "__message_id"], "__message_id", SqlType::BYTES, "The message's id, as clients serialize it.";
    MessageIdText, "message_id_text", ["__message_id__", "__message_id_text"], "__message_id_text", SqlType::STRING, "The message's id as `ledger:entry:partition:batch index`.";
    Ledger, "ledger", ["__ledger"], "__ledger", SqlType::BigInt, "The position's ledger.";
    Entry, "entry", ["__entry"], "__entry", SqlType::BigInt, "The position's entry.";
    BatchIndex, "batch_index", ["__batch_index"], "__batch_index", SqlType::Int, "The place in its entry.";
    SchemaVersion, "schema_version", ["__schema_version"], "__schema_version", SqlType::BYTES, "The registry's version bytes.";
    OrderingKey, "ordering_key", ["__ordering_key", "__orderingKey", "__ordering_key__"], "__ordering_key", SqlType::BYTES, "The ordering key; declared as STRING it is read as UTF-8.";
    ReplicatedFrom, "replicated_from", ["__replicated_from", "__replicatedFrom", "__replicated_from__"], "__replicated_from", SqlType::STRING, "The cluster it was first written in.";
    MessageSize, "message_size", ["__message_size", "__messageSize", "__message_size__"], "__message_size", SqlType::Int, "How many bytes its payload has, not compressed.";
    BrokerPublishTime, "broker_publish_time", ["__broker_publish_time", "__brokerPublishTime", "__broker_publish_time__"], "__broker_publish_time", SqlType::TimestampLtz(3), "When the broker took it, by the broker's clock; NULL where brokers do not say.";
    MessageIndex, "message_index", ["index", "__index", "__message_index", "__messageIndex", "__message_index__"], "__message_index", SqlType::BigInt, "The broker's number of it in its partition; NULL where brokers give none.";
    Tier, "tier", ["__tier"], "__tier", SqlType::STRING, "`log` or `archive`.";
}

impl fmt::Display for MetadataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which topics an explicit table reads, from its `topics` option (`;` between them).
pub fn parse_topics(option: &str) -> Result<Vec<TopicName>> {
    option.split(';').map(|topic| topic.trim().parse()).collect()
}
