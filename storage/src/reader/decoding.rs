//! Decodes payloads by the schema versions that their messages name, and settles what becomes of those that cannot be read.

use std::sync::Arc;

use aquifer_formats::entry::EntryLimits;
use aquifer_formats::payload::{DecodedPayloads, PayloadDecoder, fit_column, projected_decoder};
use aquifer_model::{Error, Partition, Position, Result};
use arrow::array::{ArrayRef, BinaryViewArray};
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::dead_letters::{BadMessage, DeadLetters};
use super::{OnDecodeError, ReadStatistics, TieredTopic};

/// The decoder of one read, with the schemas it has met.
pub(super) struct Decoding {
    topic: TieredTopic,
    partition: Partition,
    columns: SchemaRef,
    /// How many of the decoder's columns are wanted.
    wanted: usize,
    decoder: Option<Box<dyn PayloadDecoder>>,
    letters: Option<DeadLetters>,
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
        let letters = match &topic.on_error {
            OnDecodeError::DeadLetter(to) => Some(DeadLetters::new(Arc::clone(&topic.log), to.clone())),
            OnDecodeError::Fail | OnDecodeError::Skip => None,
        };
        Self { topic: topic.clone(), partition: partition.clone(), columns, wanted, decoder: None, letters }
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
            decoder
                .add_schema(version.clone(), found.as_ref().map(|(_, schema)| schema))
                .map_err(|error| error.context(format_args!("schema version {version} of topic `{topic}`")))?;
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

    /// What an entry may cost.
    pub fn limits(&self) -> EntryLimits {
        self.topic.limits
    }

    /// A message that cannot be read: fails, or counts it and, where the policy says so, keeps it for the dead-letter topic.
    pub fn bad_message(&mut self, bad: BadMessage<'_>, statistics: &mut ReadStatistics) -> Result<()> {
        match &mut self.letters {
            Some(letters) => letters.add(&self.partition, bad)?,
            None if self.topic.on_error == OnDecodeError::Skip => {}
            None => {
                return Err(Error::corrupt(format!(
                    "message {}/{} of `{}` cannot be decoded as {}: {}. To leave such messages out, set the table's decode error policy to skip or dead-letter",
                    bad.position,
                    bad.batch_index.unwrap_or_default(),
                    self.partition,
                    self.topic.format,
                    bad.reason
                )));
            }
        }
        statistics.skipped_messages += 1;
        Ok(())
    }

    /// An entry that cannot be taken apart: fails, or counts its messages and keeps it for the dead-letter topic.
    pub fn bad_entry(
        &mut self,
        position: Position,
        bytes: &[u8],
        messages: u32,
        error: Error,
        statistics: &mut ReadStatistics,
    ) -> Result<()> {
        match &mut self.letters {
            Some(letters) => {
                let (batch_index, key, event_time_ms, reason) = (None, None, None, error.to_string());
                let bad = BadMessage { position, batch_index, key, event_time_ms, bytes, reason: &reason };
                letters.add(&self.partition, bad)?;
            }
            None if self.topic.on_error == OnDecodeError::Skip => {}
            None => return Err(error.context(format_args!("entry {position} of `{}`", self.partition))),
        }
        statistics.skipped_messages += u64::from(messages.max(1));
        Ok(())
    }

    /// Whether bad messages wait to be sent.
    pub fn has_letters(&self) -> bool {
        self.letters.as_ref().is_some_and(|letters| !letters.is_empty())
    }

    /// Sends the bad messages that wait.
    pub async fn send_letters(&mut self) -> Result<()> {
        match &mut self.letters {
            Some(letters) => letters.flush().await,
            None => Ok(()),
        }
    }
}
