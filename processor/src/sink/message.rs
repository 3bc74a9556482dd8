//! Which column of a row becomes which part of a message.
//!
//! ```text
//!  rows ─┬─ physical columns ─────────► values (encoded to the payload)
//!        └─ event_time, key, ordering_key, properties ► around it
//! ```

use std::sync::Arc;

use aquifer_catalog::{ColumnKind, MetadataKey, TableDefinition, key_field};
use aquifer_model::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, MapArray, RecordBatch, StringViewArray, TimestampMillisecondArray,
    new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};

/// Where each part of a message stands among the rows' columns.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// For each value column its place; `None`: it is NULL.
    values: Vec<Option<usize>>,
    value_columns: SchemaRef,
    key: Option<usize>,
    ordering_key: Option<usize>,
    event_time: Option<usize>,
    properties: Option<usize>,
    /// The places of the columns that make the key, in the key's order, with the schema that it is encoded by.
    key_columns: Option<(Vec<usize>, SchemaRef)>,
}

/// The parts of some rows, by column.
pub(super) struct Parts {
    /// The value columns, to be encoded.
    pub values: RecordBatch,
    key: Option<BinaryViewArray>,
    ordering_key: Option<BinaryViewArray>,
    event_time: Option<TimestampMillisecondArray>,
    properties: Option<Properties>,
}

struct Properties {
    map: MapArray,
    keys: StringViewArray,
    values: StringViewArray,
}

impl Layout {
    /// Finds the columns by name; `key_fields` make the key. A column that the table cannot write is `Invalid`.
    pub fn new(
        definition: &TableDefinition,
        value_columns: &SchemaRef,
        rows: &SchemaRef,
        key_fields: &[String],
    ) -> Result<Self> {
        let mut layout = Self {
            values: vec![None; value_columns.fields().len()],
            value_columns: Arc::clone(value_columns),
            key: None,
            ordering_key: None,
            event_time: None,
            properties: None,
            key_columns: None,
        };
        for (at, field) in rows.fields().iter().enumerate() {
            let name = field.name();
            let kind = definition.columns.iter().find(|column| column.name == *name).map(|column| &column.kind);
            let place = match kind {
                Some(ColumnKind::Metadata { key: MetadataKey::Key, .. }) => &mut layout.key,
                Some(ColumnKind::Metadata { key: MetadataKey::OrderingKey, .. }) => &mut layout.ordering_key,
                Some(ColumnKind::Metadata { key: MetadataKey::EventTime, .. }) => &mut layout.event_time,
                Some(ColumnKind::Metadata { key: MetadataKey::Properties, .. }) => &mut layout.properties,
                Some(ColumnKind::Physical { .. }) | None => match value_columns.index_of(name) {
                    Ok(value) => &mut layout.values[value],
                    // A part of the key that is left out of the value.
                    Err(_) if key_fields.contains(name) => continue,
                    Err(_) => {
                        return Err(Error::invalid(format!("the column `{name}` is not one that can be written")));
                    }
                },
                Some(_) => return Err(Error::invalid(format!("the column `{name}` cannot be written"))),
            };
            if place.replace(at).is_some() {
                return Err(Error::invalid(format!("the column `{name}` is written twice")));
            }
        }
        if !key_fields.is_empty() {
            if layout.key.is_some() {
                return Err(Error::invalid("the key is made of columns and is a metadata column too: leave one out"));
            }
            layout.key_columns = Some(key_columns(definition, rows, key_fields)?);
        }
        Ok(layout)
    }

    /// The schema of the columns that make the key, if columns do.
    pub fn key_schema(&self) -> Option<&SchemaRef> {
        self.key_columns.as_ref().map(|(_, schema)| schema)
    }

    /// The columns that make the key.
    pub fn key_rows(&self, rows: &RecordBatch) -> Result<Option<RecordBatch>> {
        let Some((places, schema)) = &self.key_columns else { return Ok(None) };
        let columns =
            places.iter().zip(schema.fields()).map(|(at, field)| cast_to(rows.column(*at), field.data_type()));
        Ok(Some(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_>>()?)?))
    }

    /// Takes rows apart. NULL where a value column is NOT NULL is `Invalid`.
    pub fn split(&self, rows: &RecordBatch) -> Result<Parts> {
        let fields = self.value_columns.fields();
        let values = self.values.iter().zip(fields).map(|(at, field)| -> Result<ArrayRef> {
            let column = match at {
                Some(at) => cast_to(rows.column(*at), field.data_type())?,
                None => new_null_array(field.data_type(), rows.num_rows()),
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::invalid(format!(
                    "the column `{}` is NOT NULL, and a row has NULL there: filter such rows out",
                    field.name()
                )));
            }
            Ok(column)
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let values = RecordBatch::try_new_with_options(Arc::clone(&self.value_columns), values, &options)?;
        let part = |at: Option<usize>, wanted: DataType| at.map(|at| cast_to(rows.column(at), &wanted)).transpose();
        let bytes =
            |at| part(at, DataType::BinaryView).map(|column| column.map(|column| column.as_binary_view().clone()));
        let event_time = part(self.event_time, DataType::Timestamp(TimeUnit::Millisecond, None))?;
        let properties = self.properties.map(|at| Properties::of(rows.column(at))).transpose()?;
        Ok(Parts {
            values,
            key: bytes(self.key)?,
            ordering_key: bytes(self.ordering_key)?,
            event_time: event_time.map(|column| column.as_primitive::<TimestampMillisecondType>().clone()),
            properties,
        })
    }
}

/// Where the columns of the key are among the rows', and the schema that they are encoded by.
fn key_columns(
    definition: &TableDefinition,
    rows: &SchemaRef,
    key_fields: &[String],
) -> Result<(Vec<usize>, SchemaRef)> {
    let (mut places, mut fields) = (Vec::new(), Vec::new());
    for name in key_fields {
        fields.push(key_field(definition, name)?);
        let place = rows.index_of(name).map_err(|_| {
            Error::invalid(format!("the column `{name}` makes the message's key: the insert must give it a value"))
        })?;
        places.push(place);
    }
    Ok((places, Arc::new(Schema::new(fields))))
}

impl Parts {
    /// A row's key.
    pub fn key(&self, row: usize) -> Option<&[u8]> {
        self.key.as_ref().filter(|key| key.is_valid(row)).map(|key| key.value(row))
    }

    /// A row's ordering key.
    pub fn ordering_key(&self, row: usize) -> Option<&[u8]> {
        self.ordering_key.as_ref().filter(|key| key.is_valid(row)).map(|key| key.value(row))
    }

    /// A row's event time, in milliseconds since 1970.
    pub fn event_time_ms(&self, row: usize) -> Option<i64> {
        self.event_time.as_ref().filter(|time| time.is_valid(row)).map(|time| time.value(row))
    }

    /// A row's properties; those without a value are left out.
    pub fn properties(&self, row: usize) -> Vec<(String, String)> {
        let Some(properties) = self.properties.as_ref().filter(|all| all.map.is_valid(row)) else {
            return Vec::new();
        };
        let offsets = properties.map.value_offsets();
        (offsets[row] as usize..offsets[row + 1] as usize)
            .filter(|at| properties.values.is_valid(*at))
            .map(|at| (properties.keys.value(at).to_string(), properties.values.value(at).to_string()))
            .collect()
    }
}

impl Properties {
    fn of(column: &ArrayRef) -> Result<Self> {
        let map =
            column.as_map_opt().ok_or_else(|| Error::invalid("properties must be a MAP<STRING, STRING>"))?.clone();
        let text = |column: &ArrayRef| cast_to(column, &DataType::Utf8View).map(|text| text.as_string_view().clone());
        Ok(Self { keys: text(map.keys())?, values: text(map.values())?, map })
    }
}

fn cast_to(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    match column.data_type() == wanted {
        true => Ok(Arc::clone(column)),
        false => Ok(cast(column, wanted)?),
    }
}
