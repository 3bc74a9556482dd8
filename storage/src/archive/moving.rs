//! One commit's worth of entries on their way into a file: read, split, decoded, written.
//!
//! ```text
//!  reader ─► queue of entries ─► messages (bounded) ─► typed columns, or bytes ─► file in memory (bounded)
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use aquifer_formats::messages::{MessageBatch, MessageBatchBuilder, column};
use aquifer_formats::payload::{Format, PayloadDecoder, columns_of, decoder};
use aquifer_model::{Cut, Error, ErrorKind, Partition, PayloadKind, Position, Result, SchemaVersion, TopicSchema};
use arrow::array::{Array, AsArray, BinaryViewArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};

use super::archiver::ArchiveSettings;
use super::file::FileWriter;
use super::manifest::hex;
use crate::log::{Entry, EntryReader};
use crate::reader::TieredTopic;
use crate::reader::error_policy::ErrorPolicy;

/// So many payload bytes are split at most before they are written to the file. One entry may have more.
const SPLIT_BYTES: usize = 8 << 20;
/// So many rows, likewise.
const SPLIT_ROWS: usize = 32_768;

/// A reader of the log and where it stands.
pub(super) struct Reading {
    reader: Box<dyn EntryReader>,
    /// Everything up to here is committed; `queue` and the reader go on after it.
    pub at: Cut,
    /// Read and not yet in a file.
    queue: VecDeque<Entry>,
    policy: ErrorPolicy,
}

impl Reading {
    pub async fn open(topic: &TieredTopic, partition: &Partition, after: Cut) -> Result<Self> {
        let reader = topic.log.open_reader(partition, after).await?;
        Ok(Self { reader, at: after, queue: VecDeque::new(), policy: ErrorPolicy::new(topic, partition) })
    }
}

/// A file being filled.
pub(super) struct Filled {
    pub writer: FileWriter,
    /// Everything up to here is in it; where nothing came, the cut it began with.
    pub to: Cut,
    /// Schemas that its messages name, by version in hexadecimal.
    pub schemas: BTreeMap<String, TopicSchema>,
}

/// Moves entries after `reading.at` into a file, up to `stop` or until the file is large enough. Ends early, perhaps with nothing, if the log gives
/// nothing for the settings' patience. A message that cannot be decoded is kept as bytes. An entry whose bytes are wrong goes the way of the table's policy: it
/// ends the round, or is left out.
pub(super) async fn fill(
    topic: &TieredTopic,
    settings: &ArchiveSettings,
    partition: &Partition,
    reading: &mut Reading,
    stop: Position,
) -> Result<Filled> {
    let mut part = Part::new(topic).await?;
    let mut builder = MessageBatchBuilder::new(topic.limits);
    let (mut to, mut rows) = (reading.at, 0u64);
    while !to.covers(stop) && rows < settings.rows_per_commit && part.writer.estimated_bytes() < settings.bytes_per_file
    {
        if reading.queue.is_empty() {
            match tokio::time::timeout(settings.patience, reading.reader.next(settings.read_bytes)).await {
                Ok(entries) => reading.queue.extend(entries?),
                Err(_) => break,
            }
        }
        while let Some(entry) = reading.queue.pop_front() {
            if to.covers(entry.position) {
                continue;
            }
            if entry.position > stop {
                // Everything up to the stop was seen; what comes after it is for a later run.
                reading.queue.push_front(entry);
                to = Cut::After(stop);
                break;
            }
            match builder.append_entry(entry.position, &entry.bytes) {
                Ok(added) => rows += u64::from(added),
                // Above a limit, or encrypted: another option may read it, as long as it is kept.
                Err(error) if error.kind() != ErrorKind::Corrupt => {
                    return Err(error.context(format_args!("entry {} of `{partition}`", entry.position)));
                }
                Err(error) => drop(reading.policy.bad_entry(entry.position, &entry.bytes, error)?),
            }
            to = Cut::After(entry.position);
            if rows >= settings.rows_per_commit
                || builder.payload_bytes() >= SPLIT_BYTES
                || builder.num_rows() >= SPLIT_ROWS
            {
                break;
            }
        }
        // An entry that is left out of the archive is in the dead-letter topic before the log may forget it.
        reading.policy.send_letters().await?;
        if builder.num_rows() > 0 {
            let messages = builder.finish();
            part.meet_schemas(topic, &messages).await?;
            // Decoding and compressing are work for a thread that may be busy.
            let written = tokio::task::spawn_blocking(move || part.write(&messages).map(|()| part)).await;
            part = written.map_err(|error| Error::internal("writing a file").with_source(error))??;
        }
    }
    Ok(Filled { writer: part.writer, to, schemas: part.schemas })
}

/// Whether the columns hold all fields that a payload written with `schema` has. Where they do not, the payload's bytes are kept too, so that no
/// field is lost because a table does not name it. What a payload holds beside its schema, and what was changed for a column, the decoder tells row by row
/// (`DecodedPayloads::lossy`).
pub(super) fn holds_everything(format: Format, columns: &Schema, schema: Option<&TopicSchema>) -> bool {
    match format {
        // A column of Java's old DATE and TIME leaves out what else their milliseconds say.
        Format::Raw => {
            let is_cut = schema.is_some_and(|schema| matches!(schema.kind, PayloadKind::Date | PayloadKind::Time));
            columns.fields().len() == 1 && !is_cut
        }
        // Which of a record's fields were wrong and left out is not known afterwards.
        Format::Csv => false,
        Format::Avro | Format::Json | Format::Protobuf | Format::KeyValue => {
            let Some(Ok((written, fields))) = schema.map(columns_of) else { return false };
            let is_held = |name: &str, field: &arrow::datatypes::Field| {
                columns.field_with_name(name).is_ok_and(|column| column.data_type() == field.data_type())
            };
            written == format && fields.fields().iter().all(|field| is_held(field.name(), field))
        }
    }
}

/// One file's writer and decoder.
struct Part {
    format: Format,
    columns: SchemaRef,
    writer: FileWriter,
    /// `None` where the table has no value columns: all payloads stay bytes.
    decoder: Option<Box<dyn PayloadDecoder>>,
    /// The schema of messages that name none.
    newest: Option<(SchemaVersion, TopicSchema)>,
    schemas: BTreeMap<String, TopicSchema>,
    /// Versions met, and whether the columns hold everything of them.
    known: BTreeMap<Vec<u8>, bool>,
}

impl Part {
    async fn new(topic: &TieredTopic) -> Result<Self> {
        let columns = Arc::clone(&topic.value_columns);
        let newest = topic.log.schema(&topic.topic, None).await?;
        let decoder = match columns.fields().is_empty() {
            true => None,
            false => Some(decoder(topic.format, Arc::clone(&columns), newest.as_ref().map(|(_, schema)| schema))?),
        };
        let writer = FileWriter::new(&columns).of_format(topic.format);
        let (schemas, known) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { format: topic.format, columns, writer, decoder, newest, schemas, known })
    }

    /// Fetches the schemas that messages name and nothing before them did.
    async fn meet_schemas(&mut self, topic: &TieredTopic, messages: &MessageBatch) -> Result<()> {
        let versions = versions(messages)?;
        if versions.null_count() > 0
            && let Some((version, schema)) = &self.newest
        {
            self.schemas.entry(hex(&version.0)).or_insert_with(|| schema.clone());
        }
        let mut previous = None;
        let mut named: BTreeSet<&[u8]> = BTreeSet::new();
        for version in versions.iter().flatten() {
            if previous.replace(version) != Some(version) && !self.known.contains_key(version) {
                named.insert(version);
            }
        }
        for bytes in named {
            let version = SchemaVersion(bytes.to_vec());
            let found = topic.log.schema(&topic.topic, Some(&version)).await?;
            let schema = found.as_ref().map(|(_, schema)| schema);
            let mut held = holds_everything(self.format, &self.columns, schema);
            if let Some(schema) = schema {
                self.schemas.insert(hex(bytes), schema.clone());
            }
            if let Some(decoder) = &mut self.decoder
                && decoder.add_schema(version.clone(), schema).is_err()
            {
                // A schema that cannot be used: the bytes are kept, and whoever reads them says why.
                held = false;
                decoder.add_schema(version, None)?;
            }
            self.known.insert(bytes.to_vec(), held);
        }
        Ok(())
    }

    fn write(&mut self, messages: &MessageBatch) -> Result<()> {
        let rows = messages.rows().num_rows();
        let Some(decoder) = &mut self.decoder else {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let none = RecordBatch::try_new_with_options(Arc::clone(&self.columns), Vec::new(), &options)?;
            return self.writer.write(messages, &none, &(0..rows).collect::<Vec<_>>());
        };
        let versions = versions(messages)?;
        let decoded = decoder.decode_keyed(messages.payloads(), keys(messages)?, versions)?;
        let unnamed = holds_everything(self.format, &self.columns, self.newest.as_ref().map(|(_, schema)| schema));
        let all_held = (unnamed || versions.null_count() == 0) && self.known.values().all(|held| *held);
        let kept: Vec<usize> = if all_held && decoded.lossy.is_empty() {
            decoded.errors.iter().map(|error| error.row).collect()
        } else {
            let mut bad = decoded.errors.iter().map(|error| error.row).peekable();
            let mut lossy = decoded.lossy.iter().copied().peekable();
            let is_kept = |row: &usize| {
                let (is_bad, is_lossy) = (bad.next_if_eq(row).is_some(), lossy.next_if_eq(row).is_some());
                let held = match versions.is_valid(*row) {
                    true => self.known.get(versions.value(*row)).copied().unwrap_or(false),
                    false => unnamed,
                };
                is_bad || is_lossy || !held
            };
            (0..rows).filter(is_kept).collect()
        };
        self.writer.write(messages, &decoded.rows, &kept)
    }
}

fn keys(messages: &MessageBatch) -> Result<&BinaryViewArray> {
    let rows = messages.rows();
    Ok(rows.column(rows.schema_ref().index_of(column::KEY)?).as_binary_view())
}

fn versions(messages: &MessageBatch) -> Result<&BinaryViewArray> {
    let rows = messages.rows();
    Ok(rows.column(rows.schema_ref().index_of(column::SCHEMA_VERSION)?).as_binary_view())
}

#[cfg(test)]
mod tests {
    use aquifer_formats::payload::topic_schema_of;
    use aquifer_model::SqlType;

    use super::*;

    #[test]
    fn payloads_are_kept_unless_the_columns_hold_all_of_them() {
        let columns = |names: &[(&str, SqlType)]| -> SchemaRef {
            let fields: Vec<_> = names.iter().map(|(name, t)| t.clone().nullable().to_field(name)).collect();
            Arc::new(Schema::new(fields))
        };
        let two = columns(&[("a", SqlType::BigInt), ("b", SqlType::STRING)]);
        let avro = topic_schema_of(Format::Avro, "t", &two).expect("two columns");
        let json = topic_schema_of(Format::Json, "t", &two).expect("two columns");
        let more = columns(&[("z", SqlType::Int), ("b", SqlType::STRING), ("a", SqlType::BigInt)]);
        let fewer = columns(&[("a", SqlType::BigInt)]);
        let others = columns(&[("a", SqlType::STRING), ("b", SqlType::STRING)]);
        for (format, columns, schema, held) in [
            (Format::Avro, &two, Some(&avro), true),
            (Format::Json, &two, Some(&json), true),
            (Format::Avro, &more, Some(&avro), true),
            (Format::Avro, &fewer, Some(&avro), false),
            (Format::Avro, &others, Some(&avro), false),
            (Format::Json, &two, None, false),
            (Format::Json, &two, Some(&avro), false),
            (Format::Avro, &two, None, false),
            (Format::Csv, &two, None, false),
            (Format::Raw, &fewer, None, true),
            (Format::Raw, &columns(&[]), None, false),
        ] {
            assert_eq!(holds_everything(format, columns, schema), held, "{format} {columns:?}");
        }
    }
}
