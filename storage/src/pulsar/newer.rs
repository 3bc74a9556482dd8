//! What Pulsar 4.0's protocol has and the `pulsar` crate's definitions, which end at version 19, lack. The numbers are those of `PulsarApi.proto`.
//!
//! Each command here is a `BaseCommand` with the fields that are needed and no others: a reader of the whole one reads it, and it is read from the whole one.

use prost::Message;

/// Version 16 brings broker entry metadata, 17 acks with receipts, 20 the news that a topic was moved to another cluster.
pub(super) const PROTOCOL_VERSION: i32 = 21;
/// The type of a [`NewerCommand`] that bears `topic_migrated`.
pub(super) const TOPIC_MIGRATED: i32 = 68;

/// What one side can do. Ours name what we do, and no more.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureFlags {
    #[prost(bool, optional, tag = "1")]
    pub auth_refresh: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub broker_entry_metadata: Option<bool>,
    /// Whether a question for a topic's partitions can forbid that it makes the topic.
    #[prost(bool, optional, tag = "5")]
    pub asks_without_making: Option<bool>,
}

/// A command of type `CONNECT`: the greeting.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ConnectCommand {
    #[prost(int32, required, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub connect: Option<Connect>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Connect {
    #[prost(string, required, tag = "1")]
    pub client_version: String,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub auth_data: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "4")]
    pub protocol_version: Option<i32>,
    #[prost(string, optional, tag = "5")]
    pub auth_method_name: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub proxy_to_broker_url: Option<String>,
    #[prost(message, optional, tag = "10")]
    pub feature_flags: Option<FeatureFlags>,
}

/// A command of type `PARTITIONED_METADATA`. Without its field 6 asking makes topics.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartitionsCommand {
    #[prost(int32, required, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "21")]
    pub partition_metadata: Option<Partitions>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Partitions {
    #[prost(string, required, tag = "1")]
    pub topic: String,
    #[prost(uint64, required, tag = "2")]
    pub request_id: u64,
    #[prost(bool, optional, tag = "6")]
    pub metadata_auto_creation_enabled: Option<bool>,
}

/// A command of a broker, of type `CONNECTED` or [`TOPIC_MIGRATED`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct NewerCommand {
    #[prost(int32, required, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "3")]
    pub connected: Option<Connected>,
    #[prost(message, optional, tag = "68")]
    pub topic_migrated: Option<TopicMigrated>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Connected {
    #[prost(string, required, tag = "1")]
    pub server_version: String,
    #[prost(int32, optional, tag = "3")]
    pub max_message_size: Option<i32>,
    #[prost(message, optional, tag = "4")]
    pub feature_flags: Option<FeatureFlags>,
}

/// The topic of a consumer or producer was moved to another cluster.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TopicMigrated {
    #[prost(uint64, required, tag = "1")]
    pub resource_id: u64,
    /// 0: a producer. 1: a consumer.
    #[prost(int32, required, tag = "2")]
    pub resource_type: i32,
    #[prost(string, optional, tag = "3")]
    pub broker_service_url: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub broker_service_url_tls: Option<String>,
}
