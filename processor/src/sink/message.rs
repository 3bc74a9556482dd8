//! Which column of a row becomes which part of a message.
//!
//! ```text
//!  rows ─┬─ physical columns ─────────► values (encoded to the payload)
//!        └─ event_time, key, properties ► around it
//! ```

use std::sync::Arc;

use aquifer_catalog::{ColumnKind, MetadataKey, TableDefinition};
use aquifer_model::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, MapArray, RecordBatch, StringViewArray, TimestampMillisecondArray,
    new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMillisecondType};

/// Where each part of a message stands among the rows' columns.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// For each value column its place; `None`: it is NULL.
    values: Vec<Option<usize>>,
    value_columns: SchemaRef,
    key: Option<usize>,
    event_time: Option<usize>,
    properties: Option<usize>,
}

/// The parts of some rows, by column.
pub(super) struct Parts {
    /// The value columns, to be encoded.
    pub values: RecordBatch,
    key: Option<BinaryViewArray>,
    event_time: Option<TimestampMillisecondArray>,
    properties: Option<Properties>,
}

struct Properties {
    map: MapArray,
    keys: StringViewArray,
    values: StringViewArray,
}

impl Layout {
    /// Finds the columns by name. A column that the table cannot write is `Invalid`.
    pub fn new(definition: &TableDefinition, value_columns: &SchemaRef, rows: &SchemaRef) -> Result<Self> {
        let mut layout = Self {
            values: vec![None; value_columns.fields().len()],
            value_columns: Arc::clone(value_columns),
            key: None,
            event_time: None,
            properties: None,
        };
        for (at, field) in rows.fields().iter().enumerate() {
            let name = field.name();
            let kind = definition.columns.iter().find(|column| column.name == *name).map(|column| &column.kind);
            let place = match kind {
                Some(ColumnKind::Metadata { key: MetadataKey::Key, .. }) => &mut layout.key,
                Some(ColumnKind::Metadata { key: MetadataKey::EventTime, .. }) => &mut layout.event_time,
                Some(ColumnKind::Metadata { key: MetadataKey::Properties, .. }) => &mut layout.properties,
                Some(ColumnKind::Physical { .. }) | None => match value_columns.index_of(name) {
                    Ok(value) => &mut layout.values[value],
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
        Ok(layout)
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
        let event_time = part(self.event_time, DataType::Timestamp(TimeUnit::Millisecond, None))?;
        let properties = self.properties.map(|at| Properties::of(rows.column(at))).transpose()?;
        Ok(Parts {
            values,
            key: part(self.key, DataType::BinaryView)?.map(|column| column.as_binary_view().clone()),
            event_time: event_time.map(|column| column.as_primitive::<TimestampMillisecondType>().clone()),
            properties,
        })
    }
}

impl Parts {
    /// A row's key.
    pub fn key(&self, row: usize) -> Option<&[u8]> {
        self.key.as_ref().filter(|key| key.is_valid(row)).map(|key| key.value(row))
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
