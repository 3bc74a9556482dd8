//! Maps from arrays and from other maps, and what is in them.

use std::sync::Arc;

use aquifer_model::sql_type::{ColumnType, RowField};
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt64Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;

use super::super::types::common_type;
use super::{Call, Kernel, pure};

type Typed = Option<(Vec<SqlType>, SqlType)>;

fn arrays_t(types: &[SqlType], _: &[Option<&ScalarValue>]) -> Typed {
    match types {
        [SqlType::Array(key), SqlType::Array(value)] => {
            let key = Box::new(key.sql_type.clone().not_null());
            Some((types.to_vec(), SqlType::Map(key, Box::new(value.sql_type.clone().nullable()))))
        }
        _ => None,
    }
}

fn union_t(types: &[SqlType], _: &[Option<&ScalarValue>]) -> Typed {
    match types {
        [SqlType::Map(..), ..] => {
            let all = common_type(types)?;
            Some((vec![all.clone(); types.len()], all))
        }
        _ => None,
    }
}

fn entries_t(types: &[SqlType], _: &[Option<&ScalarValue>]) -> Typed {
    let [SqlType::Map(key, value)] = types else { return None };
    let field = |name: &str, column_type: &ColumnType| RowField { name: name.into(), column_type: column_type.clone() };
    let pair = SqlType::Row(vec![field("key", key), field("value", value)]);
    Some((types.to_vec(), SqlType::Array(Box::new(pair.not_null()))))
}

pub(super) const KERNELS: &[Kernel] = &[
    pure("MAP_FROM_ARRAYS", "MAP_FROM_ARRAYS(array of keys, array of values)", arrays_t, from_arrays),
    pure("MAP_ENTRIES", "MAP_ENTRIES(map)", entries_t, entries),
    pure("MAP_UNION", "MAP_UNION(map, …)", union_t, union),
];

/// Maps whose entries are picked out of long columns of keys and values; `None`: a NULL map. Of equal keys the last counts.
fn picked(
    keys: &ArrayRef,
    values: &ArrayRef,
    rows: Vec<Option<Vec<(usize, usize)>>>,
    to: &DataType,
) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = to else { return Err(Error::internal("a map is a map")) };
    let DataType::Struct(fields) = entries.data_type() else { return Err(Error::internal("entries are structures")) };
    let compare = arrow::array::make_comparator(keys.as_ref(), keys.as_ref(), Default::default())?;
    let (mut left, mut right, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(rows.len()));
    let valid = NullBuffer::from(rows.iter().map(Option::is_some).collect::<Vec<_>>());
    for row in rows {
        let mut row = row.unwrap_or_default();
        let before = left.len();
        // Stable: of equal keys the later stands later, and is the one that stays.
        row.sort_by(|a, b| compare(a.0, b.0));
        for (n, (key, value)) in row.iter().enumerate() {
            if keys.is_null(*key) {
                return Err(Error::invalid("the key of a map is NULL"));
            }
            if row.get(n + 1).is_none_or(|next| compare(*key, next.0).is_ne()) {
                left.push(*key as u64);
                right.push(*value as u64);
            }
        }
        lengths.push(left.len() - before);
    }
    let keys = cast(&take(keys, &UInt64Array::from(left), None)?, fields[0].data_type())?;
    let values = cast(&take(values, &UInt64Array::from(right), None)?, fields[1].data_type())?;
    let pairs = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    Ok(Arc::new(MapArray::try_new(
        Arc::clone(entries),
        OffsetBuffer::from_lengths(lengths),
        pairs,
        Some(valid),
        *sorted,
    )?))
}

fn from_arrays(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let [keys, values] = [0, 1].map(|n| columns[n].as_list::<i32>());
    let mut rows = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if keys.is_null(row) || values.is_null(row) {
            rows.push(None);
            continue;
        }
        if keys.value_length(row) != values.value_length(row) {
            return Err(Error::invalid(format!(
                "MAP_FROM_ARRAYS takes as many keys as values, not {} and {}",
                keys.value_length(row),
                values.value_length(row)
            )));
        }
        let start = |offsets: &[i32]| offsets[row] as usize;
        let (k, v) = (start(keys.value_offsets()), start(values.value_offsets()));
        rows.push(Some((0..keys.value_length(row) as usize).map(|n| (k + n, v + n)).collect()));
    }
    picked(keys.values(), values.values(), rows, call.result.data_type())
}

fn entries(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let map = columns[0].as_map();
    let DataType::List(item) = call.result.data_type() else { return Err(Error::internal("entries are an array")) };
    let DataType::Struct(fields) = item.data_type() else { return Err(Error::internal("an entry is a row")) };
    let pair = |column: &ArrayRef, field: &Field| Ok::<_, Error>(cast(column, field.data_type())?);
    let pairs = vec![pair(map.keys(), &fields[0])?, pair(map.values(), &fields[1])?];
    let pairs = StructArray::try_new(fields.clone(), pairs, None)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), map.offsets().clone(), Arc::new(pairs), map.nulls().cloned())?))
}

fn union(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let columns = columns.iter().map(|column| cast(column, call.result.data_type())).collect::<Result<Vec<_>, _>>()?;
    let maps: Vec<&MapArray> = columns.iter().map(|column| column.as_map()).collect();
    let keys = concat(&maps.iter().map(|map| map.keys().as_ref()).collect::<Vec<&dyn Array>>())?;
    let values = concat(&maps.iter().map(|map| map.values().as_ref()).collect::<Vec<&dyn Array>>())?;
    let mut starts = vec![0];
    for map in &maps {
        starts.push(starts[starts.len() - 1] + map.keys().len());
    }
    let rows = (0..call.rows).map(|row| {
        if maps.iter().any(|map| map.is_null(row)) {
            return None;
        }
        let places = maps.iter().zip(&starts).flat_map(|(map, start)| {
            let (from, to) = (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize);
            (from..to).map(move |n| (start + n, start + n))
        });
        Some(places.collect())
    });
    picked(&keys, &values, rows.collect(), call.result.data_type())
}
