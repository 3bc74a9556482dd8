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
    /// Java's `Date`: eight bytes, milliseconds since 1970.
    Date,
    /// Java's SQL `Time`: eight bytes, milliseconds since 1970 of which the time of day counts.
    Time,
    /// Java's SQL `Timestamp`: eight bytes, milliseconds since 1970.
    Timestamp,
    /// Eight bytes of seconds since 1970, four of nanoseconds.
    Instant,
    /// Eight bytes: days since 1970.
    LocalDate,
    /// Eight bytes: nanoseconds since midnight.
    LocalTime,
    /// A `LocalDate`, then a `LocalTime`.
    LocalDateTime,
    /// Two payloads: the definition holds their schemas, and whether the first is the message's key.
    KeyValue,
    /// Protobuf messages; the definition is an Avro schema's JSON, and a property numbers its fields.
    Protobuf,
    /// Protobuf messages; the definition is JSON that holds the message's descriptors.
    ProtobufNative,
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
    /// The definition: Avro JSON for Avro, JSON and Protobuf schemas, descriptors for native Protobuf, the two definitions for a key with a
    /// value, else empty or the type's own bytes.
    pub definition: Vec<u8>,
    /// The registry's properties.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}
