//! Schemas over the wire: topic rights are enough to read and to register them.

use pulsar::message::proto::schema::Type;
use pulsar::message::proto::{KeyValue, Schema, ServerError};

use aquifer_model::{Error, Partition, PayloadKind, Result, SchemaVersion, TopicName, TopicSchema};

use super::brokers::{Brokers, LOOKUP, PRODUCE, Retry, odd_answer};
use super::commands;
use super::failure::{Failure, Tried};
use super::session::Answer;

/// How long the registry's versions are, in bytes: they are numbers. A broker that is asked for a shorter one closes the connection, and answers a longer one by its
/// beginning.
const VERSION_BYTES: usize = 8;

/// The schema of `version`, or the newest; `None` if the topic has none. An unknown topic is refused.
pub(super) async fn find(
    brokers: &Brokers,
    topic: &TopicName,
    version: Option<&SchemaVersion>,
) -> Result<Option<(SchemaVersion, TopicSchema)>> {
    if version.is_some_and(|version| version.0.len() != VERSION_BYTES) {
        return Ok(None);
    }
    let found = ask(brokers, topic, version).await?;
    if found.is_none() {
        brokers.count_partitions(topic).await?;
    }
    Ok(found.map(|(version, schema)| (version, from_wire(schema))))
}

/// The newest schema as the broker names it.
pub(super) async fn newest_of(brokers: &Brokers, topic: &TopicName) -> Result<Option<(SchemaVersion, Schema)>> {
    ask(brokers, topic, None).await
}

async fn ask(
    brokers: &Brokers,
    topic: &TopicName,
    version: Option<&SchemaVersion>,
) -> Result<Option<(SchemaVersion, Schema)>> {
    let mut retry = Retry::new(brokers.operation_timeout());
    loop {
        match ask_once(brokers, topic, version).await {
            Ok(found) => return Ok(found),
            Err(failure) => retry.after(failure, || format!("reading the schema of `{topic}`"), LOOKUP).await?,
        }
    }
}

async fn ask_once(
    brokers: &Brokers,
    topic: &TopicName,
    version: Option<&SchemaVersion>,
) -> Tried<Option<(SchemaVersion, Schema)>> {
    let connection = brokers.any().await?;
    match connection.request(|request| commands::get_schema(request, &topic.to_string(), version)).await {
        Ok(Answer::Schema { version, schema }) => Ok(Some((version, schema))),
        Ok(_) => Err(odd_answer("the schema", &connection).into()),
        Err(Failure::Refused(refusal)) if refusal.code == ServerError::TopicNotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Registers a schema and gives its version, which is empty for bytes: those have none.
pub(super) async fn register(brokers: &Brokers, topic: &TopicName, schema: &TopicSchema) -> Result<SchemaVersion> {
    let wire = to_wire(schema)?;
    let partitions = brokers.count_partitions(topic).await?;
    // A partitioned topic has no log of its own to ask; its partitions share its schemas.
    let partition = Partition::new(topic.clone(), (partitions > 0).then_some(0)).to_string();
    let mut retry = Retry::new(brokers.operation_timeout());
    loop {
        match register_once(brokers, &partition, &wire).await {
            Ok(version) => return Ok(version),
            Err(failure) => retry.after(failure, || format!("registering a schema of `{topic}`"), PRODUCE).await?,
        }
    }
}

async fn register_once(brokers: &Brokers, partition: &str, schema: &Schema) -> Tried<SchemaVersion> {
    let connection = brokers.owner(partition).await?;
    match connection.request(|request| commands::put_schema(request, partition, schema.clone())).await? {
        Answer::SchemaVersion(version) => Ok(version),
        _ => Err(odd_answer("registering a schema", &connection).into()),
    }
}

const KINDS: [(PayloadKind, Type); 21] = [
    // A broker takes bytes for no schema: it registers nothing, and answers the empty version.
    (PayloadKind::Bytes, Type::None),
    (PayloadKind::String, Type::String),
    (PayloadKind::Avro, Type::Avro),
    (PayloadKind::Json, Type::Json),
    (PayloadKind::Boolean, Type::Bool),
    (PayloadKind::Int8, Type::Int8),
    (PayloadKind::Int16, Type::Int16),
    (PayloadKind::Int32, Type::Int32),
    (PayloadKind::Int64, Type::Int64),
    (PayloadKind::Float, Type::Float),
    (PayloadKind::Double, Type::Double),
    (PayloadKind::Date, Type::Date),
    (PayloadKind::Time, Type::Time),
    (PayloadKind::Timestamp, Type::Timestamp),
    (PayloadKind::Instant, Type::Instant),
    (PayloadKind::LocalDate, Type::LocalDate),
    (PayloadKind::LocalTime, Type::LocalTime),
    (PayloadKind::LocalDateTime, Type::LocalDateTime),
    (PayloadKind::KeyValue, Type::KeyValue),
    (PayloadKind::Protobuf, Type::Protobuf),
    (PayloadKind::ProtobufNative, Type::ProtobufNative),
];

fn from_wire(schema: Schema) -> TopicSchema {
    let kind = match Type::try_from(schema.r#type) {
        Ok(known) => KINDS.iter().find(|(_, wire)| *wire == known).map_or(PayloadKind::Other, |(kind, _)| *kind),
        Err(_) => PayloadKind::Other,
    };
    TopicSchema {
        name: schema.name,
        kind,
        definition: schema.schema_data,
        properties: schema.properties.into_iter().map(|pair| (pair.key, pair.value)).collect(),
    }
}

fn to_wire(schema: &TopicSchema) -> Result<Schema> {
    let Some((_, kind)) = KINDS.iter().find(|(kind, _)| *kind == schema.kind) else {
        return Err(Error::unsupported(format!("a schema of kind {:?} cannot be registered", schema.kind)));
    };
    let properties =
        schema.properties.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect();
    Ok(Schema { name: schema.name.clone(), schema_data: schema.definition.clone(), r#type: *kind as i32, properties })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_can_be_registered_is_read_as_itself() {
        for (kind, _) in KINDS {
            let schema = TopicSchema {
                name: "n".into(),
                kind,
                definition: b"{}".to_vec(),
                properties: [("a".to_string(), "b".to_string())].into(),
            };
            assert_eq!(from_wire(to_wire(&schema).expect("registered")), schema);
        }
        let other = Schema { name: "k".into(), schema_data: vec![1], r#type: 99, properties: vec![] };
        assert_eq!(from_wire(other).kind, PayloadKind::Other);
    }
}
