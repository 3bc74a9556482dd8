//! A topic's schema as the registry keeps it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The registry's version of a schema: 8 bytes big-endian, as it stands on each message. Not an identity: a topic made again
/// starts at 0 again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SchemaVersion(pub Vec<u8>);

impl SchemaVersion {
    /// The bytes of version `number`.
    pub fn from_number(number: i64) -> Self {
        Self(number.to_be_bytes().to_vec())
    }

    /// The number in the bytes, if there are eight of them.
    pub fn number(&self) -> Option<i64> {
        Some(i64::from_be_bytes(self.0.as_slice().try_into().ok()?))
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "{number}"),
            None => self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// What a topic's payloads are, by the registry's schema type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PayloadKind {
    /// No schema: bytes.
    Bytes,
    /// UTF-8 text.
    String,
    /// Avro datums without a file header; the definition is the Avro schema's JSON.
    Avro,
    /// JSON objects; the definition is an Avro schema's JSON.
    Json,
    /// One byte, 0 or 1.
    Boolean,
    /// One byte.
    Int8,
    /// Two bytes, big-endian.
    Int16,
    /// Four bytes, big-endian.
    Int32,
    /// Eight bytes, big-endian.
    Int64,
    /// Four bytes, IEEE 754, big-endian.
    Float,
    /// Eight bytes, IEEE 754, big-endian.
    Double,
    /// A registry type that this version does not decode; payloads stay bytes.
    Other,
}

/// One version of a topic's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSchema {
    /// The registry's name for it, often the topic's.
    pub name: String,
    /// What the payloads are.
    pub kind: PayloadKind,
    /// The definition: Avro JSON for Avro and JSON schemas, else empty or the type's own bytes.
    pub definition: Vec<u8>,
    /// The registry's properties.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}
