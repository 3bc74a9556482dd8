//! Decodes payloads by the schema versions that their messages name, and settles what becomes of those that cannot be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquifer_formats::payload::{DecodedPayloads, PayloadDecoder, fit_column, projected_decoder};
use aquifer_model::{Error, Partition, Position, Result};
use arrow::array::{Array, ArrayRef, BinaryViewArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;

use super::dead_letters::BadMessage;
use super::error_policy::ErrorPolicy;
use super::{ReadStatistics, TieredTopic};

/// The decoder of one read, with the schemas it has met.
pub(super) struct Decoding {
    topic: TieredTopic,
    partition: Partition,
    columns: SchemaRef,
    /// How many of the decoder's columns are wanted.
    wanted: usize,
    decoder: Option<Box<dyn PayloadDecoder>>,
    policy: ErrorPolicy,
    /// Why schema versions cannot be used that are there.
    unusable: BTreeMap<Vec<u8>, String>,
}

impl Decoding {
    /// A decoder of `values`, made when it is needed first.
    pub fn new(topic: &TieredTopic, partition: &Partition, values: &SchemaRef) -> Self {
        let wanted = values.fields().len();
        // Where no value is wanted one column is decoded all the same: whether a message can be read does not depend on who asks.
        let columns = match topic.value_columns.fields().first() {
            Some(first) if wanted == 0 => Arc::new(Schema::new(vec![Arc::clone(first)])),
            _ => Arc::clone(values),
        };
        let policy = ErrorPolicy::new(topic, partition);
        let unusable = BTreeMap::new();
        Self { topic: topic.clone(), partition: partition.clone(), columns, wanted, decoder: None, policy, unusable }
    }

    /// Fetches what decoding these versions needs. Cancel-safe.
    pub async fn prepare(&mut self, versions: &BinaryViewArray) -> Result<()> {
        let TieredTopic { log, topic, format, .. } = &self.topic;
        if self.decoder.is_none() {
            let newest = log.schema(topic, None).await?;
            let (table, columns) = (&self.topic.value_columns, Arc::clone(&self.columns));
            let made = projected_decoder(*format, table, columns, newest.as_ref().map(|(_, schema)| schema));
            self.decoder = Some(made.map_err(|error| error.context(format_args!("reading topic `{topic}`")))?);
        }
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        for version in decoder.missing_versions(versions) {
            let found = log.schema(topic, Some(&version)).await?;
            let added = decoder.add_schema(version.clone(), found.as_ref().map(|(_, schema)| schema));
            if let Err(error) = added {
                // Harms the messages that name it, no others.
                self.unusable
                    .insert(version.0.clone(), format!("schema version {version} of topic `{topic}`: {error}"));
                decoder.add_schema(version, None)?;
            }
        }
        Ok(())
    }

    /// Decodes; [`Decoding::prepare`] was called with these versions.
    pub fn decode(
        &mut self,
        payloads: &BinaryViewArray,
        keys: &BinaryViewArray,
        versions: &BinaryViewArray,
    ) -> Result<DecodedPayloads> {
        let decoder = self.decoder.as_mut().ok_or_else(|| Error::internal("the payload decoder was not prepared"))?;
        let mut decoded = decoder
            .decode_keyed(payloads, keys, versions)
            .map_err(|error| error.context(format_args!("decoding messages of `{}`", self.partition)))?;
        if !self.unusable.is_empty() {
            for error in decoded.errors.iter_mut().filter(|error| versions.is_valid(error.row)) {
                if let Some(reason) = self.unusable.get(versions.value(error.row)) {
                    error.reason.clone_from(reason);
                }
            }
        }
        if self.wanted < decoded.rows.num_columns() {
            decoded.rows = decoded.rows.project(&[])?;
        }
        Ok(decoded)
    }

    /// Lets go of memory that is kept for the next batch.
    pub fn release(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            decoder.release();
        }
    }

    /// A value column that archived messages lack; [`Decoding::prepare`] was called, if only without versions.
    pub fn lacking(&self, column: &Field, rows: usize) -> Result<ArrayRef> {
        let decoder = self.decoder.as_ref().ok_or_else(|| Error::internal("the payload decoder was not prepared"))?;
        decoder.lacking(column, rows)
    }

    /// The names that a value column had before, as far as the topic's schema tells; [`Decoding::prepare`] was called, or there are none.
    pub fn earlier_names(&self, column: &str) -> &[String] {
        self.decoder.as_ref().map_or(&[], |decoder| decoder.earlier_names(column))
    }

    /// A value column as it was archived, as the table has it.
    pub fn fitted(&self, archived: &ArrayRef, column: &Field) -> Result<ArrayRef> {
        match &self.decoder {
            _ if archived.data_type() == column.data_type() => Ok(Arc::clone(archived)),
            Some(decoder) => decoder.fitted(archived, column),
            None => fit_column(archived, column),
        }
    }

    /// A message that cannot be read: fails, or counts it and, where the policy says so, keeps it for the dead-letter topic.
    pub fn bad_message(&mut self, bad: BadMessage<'_>, statistics: &mut ReadStatistics) -> Result<()> {
        self.policy.bad_message(bad)?;
        statistics.skipped_messages += 1;
        Ok(())
    }

    /// An entry that cannot be taken apart: fails, or counts its messages and keeps it for the dead-letter topic.
    pub fn bad_entry(
        &mut self,
        position: Position,
        bytes: &Bytes,
        error: Error,
        statistics: &mut ReadStatistics,
    ) -> Result<()> {
        statistics.skipped_messages += self.policy.bad_entry(position, bytes, error)?;
        Ok(())
    }

    /// Whether bad messages wait to be sent.
    pub fn has_letters(&self) -> bool {
        self.policy.has_letters()
    }

    /// Sends the bad messages that wait.
    pub async fn send_letters(&mut self) -> Result<()> {
        self.policy.send_letters().await
    }
}
