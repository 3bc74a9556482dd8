//! Decoded Avro columns as the table has them: fields by name, unions as rows, leaves cast.
//!
//! A field that the writer's schema lacks has the reader's default, or is NULL, at every depth. What a type cannot hold is an error.

use std::sync::Arc;

use aquifer_model::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt32Array, UnionArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, Fields};

use super::avro_reader::{Reader, ReaderField, lacking, source};
use super::avro_walk::Shape;

/// A column of a field that is not there.
pub(super) fn absent(field: &Field, rows: usize) -> Result<ArrayRef> {
    if !field.is_nullable() && rows > 0 {
        return Err(Error::invalid(format!("field `{}` is NOT NULL, and the payload has none", field.name())));
    }
    Ok(new_null_array(field.data_type(), rows))
}

/// Fits an array that a value of `shape` was decoded into to a column, whose own schema is `reader`.
pub(super) fn fit(array: &ArrayRef, shape: Option<&Shape>, reader: Option<&Reader>, to: &Field) -> Result<ArrayRef> {
    let shape = shape.map(Shape::present);
    match (array.data_type(), to.data_type()) {
        (DataType::Union(..), DataType::Struct(fields)) => {
            let Some(Shape::Union(branches)) = shape else { return Err(mismatch(array, to)) };
            union_rows(array.as_union(), branches, reader, fields, to)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let from = array.as_struct();
            let columns = fields.iter().map(|field| {
                let known = reader.and_then(|reader| reader.field(field.name()));
                let has = |name: &str| from.column_by_name(name).is_some();
                match source(reader, field.name(), has).and_then(|source| Some((source, from.column_by_name(source)?)))
                {
                    Some((source, column)) => {
                        let shape = shape.and_then(|shape| shape.field(source));
                        fit(column, shape, known.map(ReaderField::inner), field)
                    }
                    None => lacking(reader, field, from.len()),
                }
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, from.nulls().cloned(), from.len())?))
        }
        (DataType::List(_), DataType::List(item)) => {
            let from = array.as_list::<i32>();
            let inner = match shape {
                Some(Shape::Array(inner)) => Some(inner.as_ref()),
                _ => None,
            };
            let reader = match reader {
                Some(Reader::Array(reader)) => Some(reader.as_ref()),
                _ => None,
            };
            let items = fit(from.values(), inner, reader, item)?;
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), from.offsets().clone(), items, from.nulls().cloned())?))
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let from = array.as_map();
            let DataType::Struct(pair) = entries.data_type() else { return Err(mismatch(array, to)) };
            let inner = match shape {
                Some(Shape::Map(inner)) => Some(inner.as_ref()),
                _ => None,
            };
            let reader = match reader {
                Some(Reader::Map(reader)) => Some(reader.as_ref()),
                _ => None,
            };
            let columns = vec![fit(from.keys(), None, None, &pair[0])?, fit(from.values(), inner, reader, &pair[1])?];
            let pairs = StructArray::try_new(pair.clone(), columns, None)?;
            let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, *sorted)?))
        }
        (found, wanted) if found == wanted => Ok(Arc::clone(array)),
        _ => cast_column(array, to.data_type(), to.name()),
    }
}

fn mismatch(array: &ArrayRef, to: &Field) -> Error {
    Error::invalid(format!(
        "column `{}` is stored as {} and cannot be read as {}",
        to.name(),
        array.data_type(),
        to.data_type()
    ))
}

/// A union as a row with a field for each branch, found by the branch's name.
fn union_rows(
    from: &UnionArray,
    branches: &[(String, Arc<Shape>)],
    reader: Option<&Reader>,
    fields: &Fields,
    to: &Field,
) -> Result<ArrayRef> {
    let DataType::Union(children, _) = from.data_type() else {
        return Err(Error::internal("a union of another type"));
    };
    let mut valid = vec![true; from.len()];
    let mut columns: Vec<ArrayRef> = fields.iter().map(|field| new_null_array(field.data_type(), from.len())).collect();
    for ((type_id, _), (name, shape)) in children.iter().zip(branches) {
        let is_null = matches!(shape.resolved(), Shape::Nothing);
        let mut indices: Vec<Option<u32>> = vec![None; from.len()];
        let mut is_used = false;
        for row in (0..from.len()).filter(|row| from.type_id(*row) == type_id) {
            indices[row] = Some(from.value_offset(row) as u32);
            valid[row] = !is_null;
            is_used = true;
        }
        if is_null || !is_used {
            continue;
        }
        let Some((at, field)) = fields.find(name) else {
            return Err(Error::invalid(format!(
                "column `{}` has no field `{name}` for a branch of the union",
                to.name()
            )));
        };
        let branch = fit(from.child(type_id), Some(shape), reader.and_then(|reader| reader.branch(name)), field)?;
        columns[at] = take(&branch, &UInt32Array::from(indices), None)?;
    }
    let nulls = valid.contains(&false).then(|| valid.into());
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, from.len())?))
}

/// A column as the table has it, fields of rows found by name: one that is not there is NULL.
pub fn fit_column(array: &ArrayRef, to: &Field) -> Result<ArrayRef> {
    fit(array, None, None, to)
}

/// Casts a decoded column to the table's type.
pub fn cast_column(array: &ArrayRef, to: &DataType, name: &str) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..Default::default() };
    cast_with_options(array, to, &options).map_err(|error| {
        Error::invalid(format!("column `{name}` is stored as {} and cannot be read as {to}", array.data_type()))
            .with_source(error)
    })
}
