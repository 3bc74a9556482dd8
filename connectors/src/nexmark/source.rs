//! Events as columns: the table's own, made of those fields that it declares.

use std::sync::Arc;

use aquifer_model::{ChangeBatch, Error, Result, SqlType, sql_type::ColumnType};
use aquifer_processor::connector::{PartitionId, Polled, Reader, Replay, ResumeToken, Source, Start};
use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringViewBuilder, StructArray,
    TimestampMillisecondBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use async_trait::async_trait;

use super::config::NexmarkConfig;
use super::generator::{Event, FIELDS, Generator, Kind};
use crate::numbered::Numbered;

const ROWS: [&str; 3] = ["person", "auction", "bid"];

/// The table's columns being filled.
pub(super) struct Columns {
    columns: Vec<Column>,
}

enum Column {
    EventType(Int32Builder),
    Time(TimestampMillisecondBuilder),
    Row { kind: usize, fields: Fields, leaves: Vec<(usize, Leaf)>, valid: Vec<bool> },
}

enum Leaf {
    Long(Int64Builder),
    Time(TimestampMillisecondBuilder),
    Text(StringViewBuilder),
}

fn expect(field: &Field, expected: &SqlType) -> Result<()> {
    let declared = ColumnType::of_field(field)?.sql_type;
    if declared.to_arrow() == expected.to_arrow() {
        return Ok(());
    }
    Err(Error::invalid(format!("nexmark's `{}` is {expected}, and the table declares {declared}", field.name())))
}

impl Columns {
    /// Fails with `Invalid` on a column that no event has.
    pub fn new(schema: &SchemaRef) -> Result<Self> {
        Ok(Self { columns: schema.fields().iter().map(|field| Column::new(field)).collect::<Result<_>>()? })
    }

    fn push(&mut self, event: &Event) {
        for column in &mut self.columns {
            match column {
                Column::EventType(types) => types.append_value(event.kind as i32),
                Column::Time(times) => times.append_value(event.time),
                Column::Row { kind, leaves, valid, .. } => {
                    let is_this = *kind == event.kind;
                    valid.push(is_this);
                    for (place, leaf) in leaves {
                        match leaf {
                            Leaf::Long(values) => values.append_value(event.numbers[*place] * i64::from(is_this)),
                            Leaf::Time(values) => values.append_value(event.numbers[*place] * i64::from(is_this)),
                            Leaf::Text(values) if is_this => values.append_value(&event.texts[*place]),
                            Leaf::Text(values) => values.append_value(""),
                        }
                    }
                }
            }
        }
    }

    fn finish(&mut self, schema: &SchemaRef, rows: usize) -> Result<RecordBatch> {
        let arrays = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
    }
}

impl Column {
    fn new(field: &Field) -> Result<Self> {
        let kind = match field.name().as_str() {
            "event_type" => {
                expect(field, &SqlType::Int)?;
                return Ok(Self::EventType(Int32Builder::new()));
            }
            "dateTime" => {
                expect(field, &SqlType::Timestamp(3))?;
                return Ok(Self::Time(TimestampMillisecondBuilder::new()));
            }
            name => ROWS.iter().position(|row| *row == name),
        };
        let (Some(kind), DataType::Struct(fields)) = (kind, field.data_type()) else {
            return Err(Error::invalid(format!(
                "nexmark has no column `{}`: it has event_type INT, the rows person, auction and bid, and `dateTime` TIMESTAMP(3)",
                field.name()
            )));
        };
        if !field.is_nullable() {
            return Err(Error::invalid(format!(
                "nexmark's `{}` is NULL in events of other kinds, and the table declares it NOT NULL",
                field.name()
            )));
        }
        let mut leaves = Vec::new();
        for part in fields {
            let place = FIELDS[kind].iter().position(|(name, _)| name == part.name()).ok_or_else(|| {
                let known = FIELDS[kind].iter().map(|(name, _)| *name);
                let nearest = aquifer_processor::connector::nearest_known(part.name(), known);
                Error::invalid(format!("nexmark's `{}` has no field `{}`: {nearest}", field.name(), part.name()))
            })?;
            let (leaf, sql_type) = match FIELDS[kind][place].1 {
                Kind::Long => (Leaf::Long(Int64Builder::new()), SqlType::BigInt),
                Kind::Time => (Leaf::Time(TimestampMillisecondBuilder::new()), SqlType::Timestamp(3)),
                Kind::Text => (Leaf::Text(StringViewBuilder::new()), SqlType::STRING),
            };
            expect(part, &sql_type)?;
            leaves.push((place, leaf));
        }
        Ok(Self::Row { kind, fields: fields.clone(), leaves, valid: Vec::new() })
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::EventType(types) => Arc::new(types.finish()),
            Self::Time(times) => Arc::new(times.finish()),
            Self::Row { fields, leaves, valid, .. } => {
                let arrays = leaves.iter_mut().map(|(_, leaf)| -> ArrayRef {
                    match leaf {
                        Leaf::Long(values) => Arc::new(values.finish()),
                        Leaf::Time(values) => Arc::new(values.finish()),
                        Leaf::Text(values) => Arc::new(values.finish()),
                    }
                });
                let (arrays, rows) = (arrays.collect(), valid.len());
                let nulls = NullBuffer::from(std::mem::take(valid));
                Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, Some(nulls), rows)?)
            }
        })
    }
}

#[derive(Debug)]
pub(super) struct NexmarkSource {
    config: NexmarkConfig,
}

impl NexmarkSource {
    pub fn new(config: NexmarkConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Source for NexmarkSource {
    fn replay(&self) -> Replay {
        Replay::Same
    }

    fn is_bounded(&self) -> bool {
        self.config.events.is_some()
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.config.schema)
    }

    fn project(&self, columns: &[usize]) -> Option<Arc<dyn Source>> {
        let schema = Arc::new(self.config.schema.project(columns).ok()?);
        Some(Arc::new(Self { config: NexmarkConfig { schema, ..self.config.clone() } }))
    }

    async fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok(vec![PartitionId("0".to_string())])
    }

    async fn open(&self, _partition: &PartitionId, from: Start) -> Result<Box<dyn Reader>> {
        Ok(Box::new(NexmarkReader {
            generator: Generator::new(&self.config),
            columns: Columns::new(&self.config.schema)?,
            event: Event::default(),
            config: self.config.clone(),
            rows: Numbered::open(from, "nexmark")?,
        }))
    }
}

struct NexmarkReader {
    generator: Generator,
    columns: Columns,
    event: Event,
    config: NexmarkConfig,
    rows: Numbered,
}

#[async_trait]
impl Reader for NexmarkReader {
    async fn next(&mut self) -> Result<Polled> {
        let count = self.rows.due(self.config.events, self.config.rows_per_second).await;
        if count == 0 {
            return Ok(Polled::End);
        }
        for n in self.rows.next..self.rows.next + count {
            self.generator.fill(n, &mut self.event);
            self.columns.push(&self.event);
        }
        let batch = self.columns.finish(&self.config.schema, count as usize)?;
        self.rows.next += count;
        Ok(Polled::Changes(ChangeBatch::inserts(batch)))
    }

    fn resume_at(&self) -> ResumeToken {
        self.rows.token()
    }

    async fn confirm(&mut self, _token: &ResumeToken) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
