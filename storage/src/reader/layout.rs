//! Which columns a read needs, and how rows of either tier become the columns that were asked for.
//!
//! ```text
//!  Chunk (message columns, value columns, who is no row) ─► keep: filter ─► piece: the columns asked for, the time's maximum
//! ```

use std::sync::Arc;

use aquifer_formats::messages::{column::NULL_VALUE, message_schema};
use aquifer_model::{Error, Partition, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, RecordBatchOptions, StringViewArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::boolean::and;
use arrow::compute::{FilterBuilder, max, prep_null_mask_filter};
use arrow::datatypes::{
    DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};

use super::message_id::{self, MESSAGE_ID, MESSAGE_ID_TEXT};
use super::{PARTITION, ReadFilter, ReadRequest, TIER, TOPIC, Tier, TieredTopic};

/// Where a column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The topic's name.
    Topic,
    /// The partition's number.
    Partition,
    /// The tier's name.
    Tier,
    /// The message's id, as clients serialize it.
    MessageId,
    /// The message's id, to be read.
    MessageIdText,
    /// A column of [`message_schema`], by index.
    Message(usize),
    /// A column of [`Layout::values`], by index.
    Value(usize),
}

/// A predicate and the columns it reads.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub filter: Arc<dyn ReadFilter>,
    schema: SchemaRef,
    sources: Vec<Source>,
}

/// The columns of a read.
#[derive(Debug)]
pub(super) struct Layout {
    /// What batches have.
    pub schema: SchemaRef,
    outputs: Vec<Source>,
    pub filter: Option<Filter>,
    pub time: Option<Source>,
    /// The value columns that must be decoded, for whatever reason.
    pub values: SchemaRef,
    /// The message columns that must be read, as indices of [`message_schema`].
    pub messages: Vec<usize>,
    /// Whether messages without a value are rows: the request asks for the column that tells them apart.
    pub keeps_nulls: bool,
    topic: Constant,
    archive: Constant,
    log: Constant,
    partition: Partition,
}

/// Rows of one tier before selection.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub tier: Tier,
    pub rows: usize,
    /// By index of [`message_schema`]; those that are not needed may be missing.
    pub messages: Vec<Option<ArrayRef>>,
    /// The columns of [`Layout::values`].
    pub values: Vec<ArrayRef>,
    /// Which messages are rows; all if `None`.
    pub alive: Option<BooleanBuffer>,
}

/// A text that all rows share: one array, sliced.
#[derive(Debug)]
struct Constant {
    text: String,
    rows: ArrayRef,
}

impl Constant {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), rows: Arc::new(StringViewArray::from(Vec::<&str>::new())) }
    }

    fn rows(&mut self, count: usize) -> ArrayRef {
        if self.rows.len() < count {
            // Views to one block, made once; batches are slices of it.
            let one = StringViewArray::from(vec![self.text.as_str()]);
            let indices = arrow::array::UInt32Array::from(vec![0; count.next_power_of_two()]);
            if let Ok(many) = arrow::compute::take(&one, &indices, None) {
                self.rows = many;
            }
        }
        self.rows.slice(0, count)
    }
}

/// Finds names in the columns of a topic, and collects the value columns that are needed.
struct Resolver<'a> {
    topic: &'a TieredTopic,
    message: SchemaRef,
    values: Vec<FieldRef>,
    messages: Vec<usize>,
}

impl Resolver<'_> {
    fn find(&mut self, name: &str) -> Result<(Source, FieldRef)> {
        let constant = |data_type| Arc::new(Field::new(name, data_type, false));
        match name {
            TOPIC => return Ok((Source::Topic, constant(DataType::Utf8View))),
            PARTITION => return Ok((Source::Partition, constant(DataType::Int32))),
            TIER => return Ok((Source::Tier, constant(DataType::Utf8View))),
            MESSAGE_ID | MESSAGE_ID_TEXT => {
                for index in message_id::COLUMNS {
                    if !self.messages.contains(&index) {
                        self.messages.push(index);
                    }
                }
                return Ok(match name {
                    MESSAGE_ID => (Source::MessageId, constant(DataType::BinaryView)),
                    _ => (Source::MessageIdText, constant(DataType::Utf8View)),
                });
            }
            _ => {}
        }
        if let Some((index, field)) = self.message.fields().find(name) {
            if !self.messages.contains(&index) {
                self.messages.push(index);
            }
            return Ok((Source::Message(index), Arc::clone(field)));
        }
        let (_, field) = self.topic.value_columns.fields().find(name).ok_or_else(|| {
            let names: Vec<&str> = self.topic.value_columns.fields().iter().map(|f| f.name().as_str()).collect();
            Error::invalid(format!(
                "topic `{}` has no column `{name}`: its columns are {}",
                self.topic.topic,
                names.join(", ")
            ))
        })?;
        let index = match self.values.iter().position(|known| known.name() == name) {
            Some(index) => index,
            None => {
                self.values.push(Arc::new(field.as_ref().clone().with_nullable(true)));
                self.values.len() - 1
            }
        };
        Ok((Source::Value(index), Arc::clone(&self.values[index])))
    }
}

impl Layout {
    /// The layout of `request` on `topic`. Fails with `Invalid` on a column that is not there.
    pub fn new(topic: &TieredTopic, partition: &Partition, request: &ReadRequest) -> Result<Self> {
        let mut resolver = Resolver { topic, message: message_schema(), values: Vec::new(), messages: Vec::new() };
        let mut resolve = |names: &[String]| -> Result<(Vec<Source>, SchemaRef)> {
            let found = names.iter().map(|name| resolver.find(name)).collect::<Result<Vec<_>>>()?;
            let (sources, fields): (Vec<_>, Vec<_>) = found.into_iter().unzip();
            Ok((sources, Arc::new(Schema::new(fields))))
        };
        let (outputs, schema) = resolve(&request.columns)?;
        let filter = match &request.filter {
            Some(filter) => {
                let (sources, schema) = resolve(&filter.columns())?;
                Some(Filter { filter: Arc::clone(filter), schema, sources })
            }
            None => None,
        };
        let time = match &request.time_column {
            Some(name) => {
                let (source, field) = resolver.find(name)?;
                if !matches!(field.data_type(), DataType::Timestamp(..)) {
                    return Err(Error::invalid(format!("the time column `{name}` is no timestamp")));
                }
                Some(source)
            }
            None => None,
        };
        Ok(Self {
            schema,
            outputs,
            filter,
            time,
            values: Arc::new(Schema::new(resolver.values)),
            messages: resolver.messages,
            keeps_nulls: request.columns.iter().any(|column| column == NULL_VALUE),
            topic: Constant::new(topic.topic.to_string()),
            archive: Constant::new(Tier::Archive.name()),
            log: Constant::new(Tier::Log.name()),
            partition: partition.clone(),
        })
    }

    /// Whether a column of [`message_schema`] is needed.
    pub fn reads(&self, name: &str) -> bool {
        message_schema().index_of(name).is_ok_and(|index| self.messages.contains(&index))
    }

    fn column(&mut self, chunk: &Chunk, source: Source, from: usize, rows: usize) -> Result<ArrayRef> {
        Ok(match source {
            Source::Topic => self.topic.rows(rows),
            Source::Tier if chunk.tier == Tier::Archive => self.archive.rows(rows),
            Source::Tier => self.log.rows(rows),
            Source::Partition => Arc::new(Int32Array::from(vec![self.partition.number() as i32; rows])),
            Source::MessageId => message_id::bytes(&self.partition, &chunk.messages, from, rows)?,
            Source::MessageIdText => message_id::texts(&self.partition, &chunk.messages, from, rows)?,
            Source::Message(index) => chunk.messages[index]
                .as_ref()
                .ok_or_else(|| Error::internal("a message column was not read"))?
                .slice(from, rows),
            Source::Value(index) => chunk.values[index].slice(from, rows),
        })
    }

    fn columns(
        &mut self,
        chunk: &Chunk,
        sources: &[Source],
        schema: &SchemaRef,
        from: usize,
        rows: usize,
    ) -> Result<RecordBatch> {
        let columns =
            sources.iter().map(|source| self.column(chunk, *source, from, rows)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }

    /// Which rows of a chunk are wanted; all if `None`.
    pub fn keep(&mut self, chunk: &Chunk) -> Result<Option<BooleanArray>> {
        let alive = chunk.alive.as_ref().map(|alive| BooleanArray::new(alive.clone(), None));
        let Some(Filter { filter, schema, sources }) = self.filter.clone() else { return Ok(alive) };
        let rows = self.columns(chunk, &sources, &schema, 0, chunk.rows)?;
        let mut kept = filter.keep(&rows)?;
        if kept.null_count() > 0 {
            kept = prep_null_mask_filter(&kept);
        }
        Ok(Some(match alive {
            Some(alive) => and(&alive, &kept)?,
            None => kept,
        }))
    }

    /// The wanted rows of a stretch of a chunk, and the time's maximum over all of the stretch.
    pub fn piece(
        &mut self,
        chunk: &Chunk,
        keep: Option<&BooleanArray>,
        from: usize,
        rows: usize,
    ) -> Result<(RecordBatch, Option<i64>)> {
        let time = match self.time {
            Some(source) => max_time(&self.column(chunk, source, from, rows)?)?,
            None => None,
        };
        let (outputs, schema) = (std::mem::take(&mut self.outputs), Arc::clone(&self.schema));
        let all = self.columns(chunk, &outputs, &schema, from, rows);
        self.outputs = outputs;
        let all = all?;
        let Some(keep) = keep.map(|keep| keep.slice(from, rows)) else { return Ok((all, time)) };
        let count = keep.true_count();
        if count == rows {
            return Ok((all, time));
        }
        if count == 0 {
            return Ok((RecordBatch::new_empty(schema), time));
        }
        let mut builder = FilterBuilder::new(&keep);
        if all.num_columns() > 1 {
            builder = builder.optimize();
        }
        let predicate = builder.build();
        let columns = all.columns().iter().map(|c| predicate.filter(c)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok((RecordBatch::try_new_with_options(schema, columns, &options)?, time))
    }
}

/// The largest of an array of timestamps, in its own unit.
pub(super) fn max_time(times: &dyn Array) -> Result<Option<i64>> {
    Ok(match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => max(times.as_primitive::<TimestampSecondType>()),
        DataType::Timestamp(TimeUnit::Millisecond, _) => max(times.as_primitive::<TimestampMillisecondType>()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => max(times.as_primitive::<TimestampMicrosecondType>()),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => max(times.as_primitive::<TimestampNanosecondType>()),
        other => return Err(Error::internal(format!("the time column is of type {other}"))),
    })
}
