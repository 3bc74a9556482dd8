//! A log that is another one but for what it does otherwise: some partitions only, say, or other answers in a test.

use std::fmt::Debug;

use aquifer_model::{Cut, Partition, Position, Result, SchemaVersion, TopicIdentity, TopicName, TopicSchema};
use async_trait::async_trait;

use crate::log::{Appender, EntryReader, LedgerInfo, Log, NamespacePolicies, Pin, Policies};

/// A log over another one; whoever is one is a [`Log`], under the same contract. What is not written goes to the log under it.
#[async_trait]
pub trait LogOver: Send + Sync + Debug {
    /// The log under it.
    fn under(&self) -> &dyn Log;

    /// See [`Log::partitions`].
    async fn partitions(&self, topic: &TopicName) -> Result<Vec<Partition>> {
        self.under().partitions(topic).await
    }

    /// See [`Log::open_reader`].
    async fn open_reader(&self, partition: &Partition, after: Cut) -> Result<Box<dyn EntryReader>> {
        self.under().open_reader(partition, after).await
    }

    /// See [`Log::open_appender`].
    async fn open_appender(&self, partition: &Partition, producer_name: &str) -> Result<Box<dyn Appender>> {
        self.under().open_appender(partition, producer_name).await
    }

    /// See [`Log::policies`].
    async fn policies(&self, topic: &TopicName) -> Result<Policies> {
        self.under().policies(topic).await
    }
}

#[async_trait]
impl<T: LogOver> Log for T {
    async fn partitions(&self, topic: &TopicName) -> Result<Vec<Partition>> {
        LogOver::partitions(self, topic).await
    }

    async fn create_topic(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        self.under().create_topic(topic, partitions).await
    }

    async fn delete_topic(&self, topic: &TopicName) -> Result<()> {
        self.under().delete_topic(topic).await
    }

    async fn topics(&self, tenant: &str, namespace: &str) -> Result<Vec<TopicName>> {
        self.under().topics(tenant, namespace).await
    }

    async fn namespaces(&self) -> Result<Vec<(String, String)>> {
        self.under().namespaces().await
    }

    async fn create_namespace(&self, tenant: &str, namespace: &str) -> Result<()> {
        self.under().create_namespace(tenant, namespace).await
    }

    async fn delete_namespace(&self, tenant: &str, namespace: &str) -> Result<()> {
        self.under().delete_namespace(tenant, namespace).await
    }

    async fn set_namespace_policies(&self, tenant: &str, namespace: &str, policies: &NamespacePolicies) -> Result<()> {
        self.under().set_namespace_policies(tenant, namespace, policies).await
    }

    async fn namespace_policies(&self, tenant: &str, namespace: &str) -> Result<NamespacePolicies> {
        self.under().namespace_policies(tenant, namespace).await
    }

    async fn open_reader(&self, partition: &Partition, after: Cut) -> Result<Box<dyn EntryReader>> {
        LogOver::open_reader(self, partition, after).await
    }

    async fn last_position(&self, partition: &Partition) -> Result<Option<Position>> {
        self.under().last_position(partition).await
    }

    async fn open_appender(&self, partition: &Partition, producer_name: &str) -> Result<Box<dyn Appender>> {
        LogOver::open_appender(self, partition, producer_name).await
    }

    async fn open_pin(&self, partition: &Partition, name: &str) -> Result<Box<dyn Pin>> {
        self.under().open_pin(partition, name).await
    }

    async fn find_pin(&self, partition: &Partition, name: &str) -> Result<Option<Cut>> {
        self.under().find_pin(partition, name).await
    }

    async fn remove_pin(&self, partition: &Partition, name: &str) -> Result<()> {
        self.under().remove_pin(partition, name).await
    }

    async fn ledgers(&self, partition: &Partition) -> Result<Vec<LedgerInfo>> {
        self.under().ledgers(partition).await
    }

    async fn identity(&self, topic: &TopicName) -> Result<TopicIdentity> {
        self.under().identity(topic).await
    }

    async fn policies(&self, topic: &TopicName) -> Result<Policies> {
        LogOver::policies(self, topic).await
    }

    async fn schema(
        &self,
        topic: &TopicName,
        version: Option<&SchemaVersion>,
    ) -> Result<Option<(SchemaVersion, TopicSchema)>> {
        self.under().schema(topic, version).await
    }

    async fn put_schema(&self, topic: &TopicName, schema: &TopicSchema) -> Result<SchemaVersion> {
        self.under().put_schema(topic, schema).await
    }

    fn address(&self) -> String {
        self.under().address()
    }
}
