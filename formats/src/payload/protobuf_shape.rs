//! What a Protobuf message consists of, from either of Pulsar's two schema types, and the columns that it becomes.
//!
//! ```text
//!  PROTOBUF_NATIVE: {"fileDescriptorSet": base64, "rootMessageTypeName": …} ─► descriptors ─┐
//!  PROTOBUF: property __PARSING_INFO__, [{"number", "name", "type", "label"}, …] ───────────┴─► Message
//! ```
//!
//! A message inside itself, and what lies deeper than [`MAX_TYPE_DEPTH`], stays the bytes of its encoding: SQL types are finite.

use std::collections::HashMap;
use std::sync::Arc;

use aquifer_model::sql_type::{ColumnType, RowField};
use aquifer_model::{Error, PayloadKind, Result, SqlType, TopicSchema};
use arrow::datatypes::{Schema, SchemaRef};
use base64::Engine;
use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind as Described, MessageDescriptor, Syntax};
use serde::Deserialize;

use super::guarded;

/// How deep rows may lie in rows.
const MAX_TYPE_DEPTH: usize = 16;
/// How many fields all nested messages of a type may have together.
const MAX_FIELDS: usize = 10_000;
/// A field's name of more bytes than this counts as several fields.
const NAME_BYTES: usize = 64;
/// How long a schema may be, in bytes.
const MAX_DEFINITION: usize = 4 * 1024 * 1024;
const PARSING_INFO: &str = "__PARSING_INFO__";

/// How a field's values are written.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    Text,
    Bytes,
    Enum(Arc<EnumNames>),
    Message(Arc<Message>),
    /// A message that is kept as it is written.
    Opaque,
}

/// How often a field comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occurs {
    /// Once; absent it has its type's default.
    Implicit,
    /// Once or not at all: absent it is NULL.
    Explicit,
    /// Any number of times. `true`: several values may stand packed in one.
    Repeated { writes_packed: bool },
    /// As entries of key and value.
    Map,
}

/// The names of an enumeration's numbers.
#[derive(Debug, Default)]
pub(super) struct EnumNames {
    names: HashMap<i32, String>,
    numbers: HashMap<String, i32>,
}

/// A field.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub number: u32,
    pub name: String,
    pub kind: Kind,
    pub occurs: Occurs,
}

/// A message's fields, by number.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub fields: Vec<Field>,
}

impl EnumNames {
    pub fn name(&self, number: i32) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<i32> {
        self.numbers.get(name).copied()
    }
}

impl Message {
    /// The field with this number.
    pub fn find(&self, number: u32) -> Option<usize> {
        // Most messages number their fields from 1 on.
        let guess = (number as usize).wrapping_sub(1);
        if self.fields.get(guess).is_some_and(|field| field.number == number) {
            return Some(guess);
        }
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }

    /// Of a topic's schema.
    pub fn of(schema: &TopicSchema) -> Result<Self> {
        match schema.kind {
            PayloadKind::ProtobufNative => native(&schema.definition),
            PayloadKind::Protobuf => match schema.properties.get(PARSING_INFO) {
                Some(numbers) => numbered(numbers),
                None => Err(Error::unsupported(format!(
                    "the schema of Protobuf messages lacks the property `{PARSING_INFO}`, which numbers their fields"
                ))),
            },
            kind => Err(Error::invalid(format!("a schema of kind {kind:?} does not describe Protobuf messages"))),
        }
    }

    /// The columns of a table over such messages.
    pub fn columns(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.fields.iter().map(|field| field.sql_type().nullable().to_field(&field.name)).collect::<Vec<_>>(),
        ))
    }

    fn row_type(&self) -> SqlType {
        let fields = self
            .fields
            .iter()
            .map(|field| RowField { name: field.name.clone(), column_type: field.sql_type().nullable() });
        SqlType::Row(fields.collect())
    }
}

impl Field {
    /// The type of its column.
    pub fn sql_type(&self) -> SqlType {
        self.occurs.sql_type(&self.kind)
    }
}

impl Occurs {
    /// The type of the column of a field of this kind.
    pub fn sql_type(self, kind: &Kind) -> SqlType {
        match self {
            Self::Implicit | Self::Explicit => kind.sql_type(),
            Self::Repeated { .. } => SqlType::Array(Box::new(kind.sql_type().nullable())),
            Self::Map => match kind {
                Kind::Message(entry) if entry.fields.len() == 2 => {
                    let key = ColumnType { sql_type: entry.fields[0].sql_type(), nullable: false };
                    SqlType::Map(Box::new(key), Box::new(entry.fields[1].sql_type().nullable()))
                }
                _ => SqlType::BYTES,
            },
        }
    }
}

impl Kind {
    fn sql_type(&self) -> SqlType {
        match self {
            Self::Double => SqlType::Double,
            Self::Float => SqlType::Float,
            Self::Int32 | Self::Sint32 | Self::Sfixed32 => SqlType::Int,
            // What has no sign takes the next wider type: no number becomes another.
            Self::Int64 | Self::Sint64 | Self::Sfixed64 | Self::Uint32 | Self::Fixed32 => SqlType::BigInt,
            Self::Uint64 | Self::Fixed64 => SqlType::Decimal(20, 0),
            Self::Bool => SqlType::Boolean,
            Self::Text | Self::Enum(_) => SqlType::STRING,
            Self::Bytes | Self::Opaque => SqlType::BYTES,
            Self::Message(message) => message.row_type(),
        }
    }

    /// Whether repeated values may stand packed.
    pub fn is_packable(&self) -> bool {
        !matches!(self, Self::Text | Self::Bytes | Self::Message(_) | Self::Opaque)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NativeDefinition {
    file_descriptor_set: String,
    root_message_type_name: String,
}

fn native(definition: &[u8]) -> Result<Message> {
    let broken = |what: &str| Error::corrupt(format!("the schema of native Protobuf messages {what}"));
    check_length(definition.len())?;
    let definition: NativeDefinition = serde_json::from_slice(definition)
        .map_err(|error| broken("is not the JSON that it should be").with_source(error))?;
    let files = base64::engine::general_purpose::STANDARD.decode(definition.file_descriptor_set.as_bytes());
    let files = files.map_err(|error| broken("has descriptors that are not base64").with_source(error))?;
    let unusable = |error| broken("has descriptors that cannot be used").with_source(error);
    let pool =
        guarded("descriptors of Protobuf messages", || DescriptorPool::decode(files.as_slice()).map_err(unusable))?;
    let name = definition.root_message_type_name;
    let root = pool.get_message_by_name(&name);
    let root = root.ok_or_else(|| broken(&format!("names the message `{name}`, which its descriptors lack")))?;
    Describer::default().message(&root)
}

fn check_length(bytes: usize) -> Result<()> {
    if bytes > MAX_DEFINITION {
        return Err(Error::unsupported(format!(
            "a schema of Protobuf messages of {bytes} bytes, above the limit of {MAX_DEFINITION}: register it with fewer files"
        )));
    }
    Ok(())
}

/// What is described so far.
#[derive(Default)]
struct Describer {
    /// The messages around.
    around: Vec<String>,
    fields: usize,
    /// By full name: an enumeration may be that of many fields.
    enums: HashMap<String, Arc<EnumNames>>,
}

impl Describer {
    fn message(&mut self, message: &MessageDescriptor) -> Result<Message> {
        self.around.push(message.full_name().to_string());
        let mut fields = Vec::new();
        for field in message.fields() {
            self.fields += 1 + field.name().len() / NAME_BYTES;
            if self.fields > MAX_FIELDS {
                return Err(Error::unsupported(format!("a Protobuf message with more than {MAX_FIELDS} fields")));
            }
            fields.push(self.field(&field)?);
        }
        self.around.pop();
        fields.sort_by_key(|field| field.number);
        Ok(Message { fields })
    }

    fn field(&mut self, field: &FieldDescriptor) -> Result<Field> {
        if field.is_group() {
            return Err(Error::unsupported(format!("the field `{}` is a group, which is not read", field.full_name())));
        }
        let kind = match field.kind() {
            Described::Double => Kind::Double,
            Described::Float => Kind::Float,
            Described::Int32 => Kind::Int32,
            Described::Int64 => Kind::Int64,
            Described::Uint32 => Kind::Uint32,
            Described::Uint64 => Kind::Uint64,
            Described::Sint32 => Kind::Sint32,
            Described::Sint64 => Kind::Sint64,
            Described::Fixed32 => Kind::Fixed32,
            Described::Fixed64 => Kind::Fixed64,
            Described::Sfixed32 => Kind::Sfixed32,
            Described::Sfixed64 => Kind::Sfixed64,
            Described::Bool => Kind::Bool,
            Described::String => Kind::Text,
            Described::Bytes => Kind::Bytes,
            Described::Enum(values) => {
                let known = self.enums.entry(values.full_name().to_string()).or_insert_with(|| {
                    let mut names = EnumNames::default();
                    for value in values.values() {
                        // Of several names for one number the first is it.
                        names.names.entry(value.number()).or_insert_with(|| value.name().to_string());
                        names.numbers.insert(value.name().to_string(), value.number());
                    }
                    Arc::new(names)
                });
                Kind::Enum(Arc::clone(known))
            }
            Described::Message(message) => {
                let is_inside_itself = self.around.iter().any(|around| around == message.full_name());
                if is_inside_itself || self.around.len() > MAX_TYPE_DEPTH {
                    Kind::Opaque
                } else {
                    Kind::Message(Arc::new(self.message(&message)?))
                }
            }
        };
        let occurs = if field.is_map() && matches!(kind, Kind::Message(_)) {
            Occurs::Map
        } else if field.cardinality() == Cardinality::Repeated {
            Occurs::Repeated { writes_packed: field.is_packed() }
        } else if field.parent_message().is_map_entry() {
            Occurs::Implicit
        } else if field.supports_presence() || field.parent_file().syntax() == Syntax::Proto2 {
            Occurs::Explicit
        } else {
            Occurs::Implicit
        };
        Ok(Field { number: field.number(), name: field.name().to_string(), kind, occurs })
    }
}

#[derive(Deserialize)]
struct Numbered {
    number: u32,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    label: String,
}

/// Of the list that the Java client's Protobuf schema numbers its fields by. It tells no fields of nested messages and no names of enumerations.
fn numbered(list: &str) -> Result<Message> {
    check_length(list.len())?;
    let list: Vec<Numbered> = serde_json::from_str(list).map_err(|error| {
        Error::corrupt(format!("the property `{PARSING_INFO}` is not the JSON that it should be")).with_source(error)
    })?;
    if list.len() > MAX_FIELDS {
        return Err(Error::unsupported(format!("a Protobuf message with more than {MAX_FIELDS} fields")));
    }
    let fields = list.into_iter().map(|field| {
        let kind = match field.kind.as_str() {
            "DOUBLE" => Kind::Double,
            "FLOAT" => Kind::Float,
            // An enumeration whose names are not told: its numbers.
            "INT32" | "ENUM" => Kind::Int32,
            "INT64" => Kind::Int64,
            "UINT32" => Kind::Uint32,
            "UINT64" => Kind::Uint64,
            "SINT32" => Kind::Sint32,
            "SINT64" => Kind::Sint64,
            "FIXED32" => Kind::Fixed32,
            "FIXED64" => Kind::Fixed64,
            "SFIXED32" => Kind::Sfixed32,
            "SFIXED64" => Kind::Sfixed64,
            "BOOL" => Kind::Bool,
            "STRING" => Kind::Text,
            "BYTES" => Kind::Bytes,
            "MESSAGE" => Kind::Opaque,
            other => {
                return Err(Error::unsupported(format!("the field `{}` is of the type `{other}`", field.name)));
            }
        };
        let occurs = match field.label.as_str() {
            "LABEL_REPEATED" => Occurs::Repeated { writes_packed: kind.is_packable() },
            // Whether absent means the default is not told either.
            _ => Occurs::Explicit,
        };
        Ok(Field { number: field.number, name: field.name, kind, occurs })
    });
    let mut fields = fields.collect::<Result<Vec<_>>>()?;
    fields.sort_by_key(|field| field.number);
    Ok(Message { fields })
}
