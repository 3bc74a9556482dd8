//! Functions of arrays, maps and rows, and of types.

use std::sync::Arc;

use aquifer_model::sql_type::{ColumnType, RowField};
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StringViewArray, UInt64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;

use super::super::types::common_type;
use super::{Call, Kernel, pure, want};

type Types<'a> = &'a [SqlType];
type Literals<'a> = &'a [Option<&'a ScalarValue>];
type Typed = Option<(Vec<SqlType>, SqlType)>;

fn item_t(types: Types<'_>, literals: Literals<'_>) -> Typed {
    match types {
        // Places count from 1: a written 0 is a mistake.
        [SqlType::Array(_), place]
            if want::is_integer(place)
                && matches!(
                    literals.get(1).copied().flatten(),
                    Some(ScalarValue::Int64(Some(0)) | ScalarValue::Int32(Some(0)))
                ) =>
        {
            None
        }
        [SqlType::Array(element), place] if want::is_integer(place) => {
            Some((vec![types[0].clone(), SqlType::BigInt], element.sql_type.clone()))
        }
        [SqlType::Map(key, value), given] => {
            common_type(&[key.sql_type.clone(), given.clone()])?;
            Some((vec![types[0].clone(), key.sql_type.clone()], value.sql_type.clone()))
        }
        _ => None,
    }
}

fn field_t(types: Types<'_>, literals: Literals<'_>) -> Typed {
    let name = match literals.get(1).copied().flatten() {
        Some(ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name))) => name.clone(),
        // What is wanted of the arguments depends on their types alone.
        _ if matches!(types, [SqlType::Row(_), name] if want::is_text(name)) => {
            return Some((vec![types[0].clone(), SqlType::STRING], SqlType::Null));
        }
        _ => return None,
    };
    match types {
        [SqlType::Row(fields), _] => {
            let field = fields.iter().find(|field| field.name == name)?;
            Some((vec![types[0].clone(), SqlType::STRING], field.column_type.sql_type.clone()))
        }
        _ => None,
    }
}

fn cardinality_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [SqlType::Array(_) | SqlType::Map(..) | SqlType::Multiset(_)] => Some((types.to_vec(), SqlType::Int)),
        _ => None,
    }
}

fn element_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [SqlType::Array(element)] => Some((types.to_vec(), element.sql_type.clone())),
        _ => None,
    }
}

fn array_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    let element = common_type(types)?;
    Some((vec![element.clone(); types.len()], SqlType::Array(Box::new(element.nullable()))))
}

fn row_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    let field =
        |(n, one): (usize, &SqlType)| RowField { name: format!("EXPR${n}"), column_type: one.clone().nullable() };
    (!types.is_empty()).then(|| (types.to_vec(), SqlType::Row(types.iter().enumerate().map(field).collect())))
}

fn map_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    if types.len() % 2 == 1 || types.is_empty() {
        return None;
    }
    let each = |from: usize| types.iter().skip(from).step_by(2).cloned().collect::<Vec<_>>();
    let (key, value) = (common_type(&each(0))?, common_type(&each(1))?);
    let wanted = (0..types.len()).map(|n| if n % 2 == 0 { key.clone() } else { value.clone() }).collect();
    Some((wanted, SqlType::Map(Box::new(key.not_null()), Box::new(value.nullable()))))
}

fn typeof_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [one] | [one, SqlType::Boolean] => {
            let mut wanted = vec![one.clone()];
            wanted.extend(types.get(1).cloned());
            Some((wanted, SqlType::STRING))
        }
        _ => None,
    }
}

fn position_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [SqlType::Array(element), value] => {
            common_type(&[element.sql_type.clone(), value.clone()])?;
            Some((vec![types[0].clone(), element.sql_type.clone()], SqlType::Int))
        }
        _ => None,
    }
}

fn contains_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    let (wanted, _) = position_t(types, &[])?;
    Some((wanted, SqlType::Boolean))
}

fn longer_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [SqlType::Array(element), value] => {
            let all = common_type(&[element.sql_type.clone(), value.clone()])?;
            let array = SqlType::Array(Box::new(all.clone().nullable()));
            Some((vec![array.clone(), all], array))
        }
        _ => None,
    }
}

fn slice_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [SqlType::Array(_), rest @ ..] if (1..=2).contains(&rest.len()) && rest.iter().all(want::is_integer) => {
            let mut wanted = vec![types[0].clone()];
            wanted.extend(rest.iter().map(|_| SqlType::BigInt));
            Some((wanted, types[0].clone()))
        }
        _ => None,
    }
}

fn concat_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [SqlType::Array(_), ..] => {
            let all = common_type(types)?;
            Some((vec![all.clone(); types.len()], all))
        }
        _ => None,
    }
}

fn sort_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [SqlType::Array(_), rest @ ..] if rest.len() <= 2 && rest.iter().all(|one| *one == SqlType::Boolean) => {
            Some((types.to_vec(), types[0].clone()))
        }
        _ => None,
    }
}

pub(super) const KERNELS: &[Kernel] = &[
    pure("$item", "array[place] from 1, or map[key]", item_t, |a, _| item(a)),
    pure("$field", "row.field", field_t, field),
    pure("CARDINALITY", "CARDINALITY(array or map)", cardinality_t, |a, _| cardinality(&a[0])),
    pure("ELEMENT", "ELEMENT(array of one)", element_t, |a, _| element(&a[0])),
    pure("ARRAY", "ARRAY[value, …] of values of one type", array_t, array),
    pure("ROW", "ROW(value, …)", row_t, row),
    pure("MAP", "MAP[key, value, …]", map_t, map),
    pure("TYPEOF", "TYPEOF(value)", typeof_t, |_, call| {
        let shown = ColumnType::of_field(&call.fields[0])?;
        let not_null = if shown.nullable { "" } else { " NOT NULL" };
        Ok(Arc::new(StringViewArray::from(vec![format!("{}{not_null}", shown.sql_type); call.rows])))
    }),
    pure("ARRAY_POSITION", "ARRAY_POSITION(array, value)", position_t, |a, _| position(a)),
    pure("ARRAY_CONTAINS", "ARRAY_CONTAINS(array, value)", contains_t, |a, _| contains(a)),
    pure("ARRAY_APPEND", "ARRAY_APPEND(array, value)", longer_t, |a, call| longer(a, call, false)),
    pure("ARRAY_PREPEND", "ARRAY_PREPEND(array, value)", longer_t, |a, call| longer(a, call, true)),
    pure("ARRAY_SLICE", "ARRAY_SLICE(array, from[, to])", slice_t, |a, _| slice(a)),
    pure("ARRAY_CONCAT", "ARRAY_CONCAT(array, …)", concat_t, concat),
    pure("ARRAY_SORT", "ARRAY_SORT(array[, ascending[, nulls first]])", sort_t, |a, _| sort(a)),
];

fn as_i64(column: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

fn item(columns: &[ArrayRef]) -> Result<ArrayRef> {
    if let DataType::Map(..) = columns[0].data_type() {
        let map = columns[0].as_map();
        let keys = cast(&columns[1], map.keys().data_type())?;
        let compare = arrow::array::make_comparator(map.keys().as_ref(), keys.as_ref(), Default::default())?;
        let found: UInt64Array = (0..map.len())
            .map(|row| {
                if map.is_null(row) || keys.is_null(row) {
                    return None;
                }
                let (from, to) = (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize);
                // Of equal keys the last, as a map is filled.
                (from..to).rev().find(|n| compare(*n, row).is_eq()).map(|n| n as u64)
            })
            .collect();
        return Ok(take(map.values(), &found, None)?);
    }
    let list = columns[0].as_list::<i32>();
    let places = as_i64(&columns[1])?;
    let found = (0..list.len()).map(|row| {
        if list.is_null(row) || places.is_null(row) {
            return Ok(None);
        }
        let (from, to) = (i64::from(list.value_offsets()[row]), i64::from(list.value_offsets()[row + 1]));
        match places.value(row) {
            place if place < 1 => Err(Error::invalid(format!("an array has no element {place}: places count from 1"))),
            place if place <= to - from => Ok(Some((from + place - 1) as u64)),
            _ => Ok(None),
        }
    });
    Ok(take(list.values(), &found.collect::<Result<UInt64Array>>()?, None)?)
}

fn field(columns: &[ArrayRef], _call: &Call<'_>) -> Result<ArrayRef> {
    let rows = columns[0].as_struct();
    let names = columns[1].as_string_view();
    let Some(name) = names.iter().flatten().next() else {
        return Ok(arrow::array::new_null_array(&DataType::Null, rows.len()));
    };
    let column = rows.column_by_name(name).ok_or_else(|| Error::invalid(format!("a row has no field `{name}`")))?;
    // A NULL row has NULL fields.
    let kept: UInt64Array = (0..rows.len()).map(|row| rows.is_valid(row).then_some(row as u64)).collect();
    Ok(take(column, &kept, None)?)
}

fn cardinality(column: &ArrayRef) -> Result<ArrayRef> {
    let offsets = match column.data_type() {
        DataType::Map(..) => column.as_map().value_offsets().to_vec(),
        _ => column.as_list::<i32>().value_offsets().to_vec(),
    };
    let counts: Int32Array =
        (0..column.len()).map(|row| column.is_valid(row).then(|| offsets[row + 1] - offsets[row])).collect();
    Ok(Arc::new(counts))
}

fn element(column: &ArrayRef) -> Result<ArrayRef> {
    let list = column.as_list::<i32>();
    let found = (0..list.len()).map(|row| match (list.is_valid(row), list.value_length(row)) {
        (false, _) | (_, 0) => Ok(None),
        (_, 1) => Ok(Some(list.value_offsets()[row] as u64)),
        (_, many) => Err(Error::invalid(format!("ELEMENT takes an array of one element, this has {many}"))),
    });
    Ok(take(list.values(), &found.collect::<Result<UInt64Array>>()?, None)?)
}

/// Arrays whose elements are the columns' values.
fn array(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::List(item) = call.result.data_type() else { return Err(Error::internal("an array is a list")) };
    let lengths = arrow::buffer::OffsetBuffer::from_repeated_length(columns.len(), call.rows);
    let columns = columns.iter().map(|column| cast(column, item.data_type())).collect::<Result<Vec<_>, _>>()?;
    let values = match columns.as_slice() {
        [] => arrow::array::new_empty_array(item.data_type()),
        [one] => Arc::clone(one),
        all => {
            let all: Vec<&dyn Array> = all.iter().map(AsRef::as_ref).collect();
            let order: Vec<(usize, usize)> =
                (0..call.rows).flat_map(|row| (0..all.len()).map(move |column| (column, row))).collect();
            arrow::compute::interleave(&all, &order)?
        }
    };
    Ok(Arc::new(arrow::array::ListArray::try_new(Arc::clone(item), lengths, values, None)?))
}

fn row(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.result.data_type() else { return Err(Error::internal("a row is a structure")) };
    let columns = columns.iter().zip(fields).map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(arrow::array::StructArray::try_new(fields.clone(), columns, None)?))
}

/// A map from keys and values by turns; of equal keys the last value counts.
fn map(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = call.result.data_type() else { return Err(Error::internal("a map is a map")) };
    let DataType::Struct(fields) = entries.data_type() else { return Err(Error::internal("entries are structures")) };
    let each = |from: usize| columns.iter().skip(from).step_by(2).map(AsRef::as_ref).collect::<Vec<&dyn Array>>();
    let (keys, values) = (arrow::compute::concat(&each(0))?, arrow::compute::concat(&each(1))?);
    if keys.null_count() > 0 {
        return Err(Error::invalid("the key of a map is NULL"));
    }
    let pairs = columns.len() / 2;
    let compare = arrow::array::make_comparator(keys.as_ref(), keys.as_ref(), Default::default())?;
    let (mut order, mut lengths) = (Vec::new(), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let at = |pair: usize| pair * call.rows + row;
        let mut kept: Vec<u64> = Vec::with_capacity(pairs);
        for pair in 0..pairs {
            let later = (pair + 1..pairs).any(|other| compare(at(pair), at(other)).is_eq());
            if !later {
                kept.push(at(pair) as u64);
            }
        }
        lengths.push(kept.len());
        order.extend(kept);
    }
    let order = UInt64Array::from(order);
    let (keys, values) = (take(&keys, &order, None)?, take(&values, &order, None)?);
    let keys = cast(&keys, fields[0].data_type())?;
    let values = cast(&values, fields[1].data_type())?;
    let pairs = arrow::array::StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(arrow::array::MapArray::try_new(Arc::clone(entries), offsets, pairs, None, *sorted)?))
}

/// The place of a value's first appearance, from 1; 0: nowhere.
fn position(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let list = columns[0].as_list::<i32>();
    let wanted = cast(&columns[1], list.values().data_type())?;
    let compare = arrow::array::make_comparator(list.values().as_ref(), wanted.as_ref(), Default::default())?;
    let places: Int32Array = (0..list.len())
        .map(|row| {
            if list.is_null(row) || wanted.is_null(row) {
                return None;
            }
            let (from, to) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
            let found = (from..to).find(|n| list.values().is_valid(*n) && compare(*n, row).is_eq());
            Some(found.map_or(0, |n| (n - from + 1) as i32))
        })
        .collect();
    Ok(Arc::new(places))
}

/// NULL is contained where an element is NULL.
fn contains(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let list = columns[0].as_list::<i32>();
    let wanted = cast(&columns[1], list.values().data_type())?;
    let compare = arrow::array::make_comparator(list.values().as_ref(), wanted.as_ref(), Default::default())?;
    let found: arrow::array::BooleanArray = (0..list.len())
        .map(|row| {
            let (from, to) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
            list.is_valid(row).then(|| (from..to).any(|n| compare(n, row).is_eq()))
        })
        .collect();
    Ok(Arc::new(found))
}

/// An array with one element more, at its end or its beginning.
fn longer(columns: &[ArrayRef], call: &Call<'_>, at_beginning: bool) -> Result<ArrayRef> {
    let DataType::List(item) = call.result.data_type() else { return Err(Error::internal("an array is a list")) };
    let list = cast(&columns[0], call.result.data_type())?;
    let list = list.as_list::<i32>();
    let added = cast(&columns[1], item.data_type())?;
    let all = arrow::compute::concat(&[list.values().as_ref(), added.as_ref()])?;
    let before = list.values().len() as u64;
    let rows = (0..call.rows).map(|row| {
        let (from, to) = (list.value_offsets()[row] as u64, list.value_offsets()[row + 1] as u64);
        let new = before + row as u64;
        list.is_valid(row).then(|| {
            if at_beginning {
                std::iter::once(new).chain(from..to).collect()
            } else {
                (from..to).chain([new]).collect()
            }
        })
    });
    let rows: Vec<Option<Vec<u64>>> = rows.collect();
    let whole = arrow::buffer::OffsetBuffer::from_lengths([all.len()]);
    let whole =
        arrow::array::ListArray::try_new(Arc::new(item.as_ref().clone().with_nullable(true)), whole, all, None)?;
    with_order(&whole, rows)
}

fn with_order(list: &arrow::array::ListArray, rows: Vec<Option<Vec<u64>>>) -> Result<ArrayRef> {
    let lengths = rows.iter().map(|row| row.as_ref().map_or(0, Vec::len));
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
    let nulls = arrow::buffer::NullBuffer::from(rows.iter().map(Option::is_some).collect::<Vec<_>>());
    let order: UInt64Array = rows.into_iter().flatten().flatten().map(Some).collect();
    let values = take(list.values(), &order, None)?;
    let DataType::List(item) = list.data_type() else { return Err(Error::internal("an array is a list")) };
    Ok(Arc::new(arrow::array::ListArray::try_new(Arc::clone(item), offsets, values, Some(nulls))?))
}

/// From and to are places from 1, or from the end if negative; both belong to it.
fn slice(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let list = columns[0].as_list::<i32>();
    let from = as_i64(&columns[1])?;
    let to = columns.get(2).map(as_i64).transpose()?;
    let rows = (0..list.len())
        .map(|row| {
            if list.is_null(row) || from.is_null(row) || to.as_ref().is_some_and(|to| to.is_null(row)) {
                return None;
            }
            let length = i64::from(list.value_length(row));
            let place = |n: i64| match n {
                0 => 1,
                n if n < 0 => (length + n + 1).max(if n < -length { 1 } else { 0 }),
                n => n,
            };
            let first = place(from.value(row));
            let last = to.as_ref().map_or(length, |to| place(to.value(row))).min(length);
            let start = i64::from(list.value_offsets()[row]);
            Some((first..=last).map(|n| (start + n - 1) as u64).collect())
        })
        .collect();
    with_order(list, rows)
}

fn concat(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let columns = columns.iter().map(|column| cast(column, call.result.data_type())).collect::<Result<Vec<_>, _>>()?;
    let lists: Vec<_> = columns.iter().map(|column| column.as_list::<i32>()).collect();
    let values: Vec<&dyn Array> = lists.iter().map(|list| list.values().as_ref()).collect();
    let mut starts = vec![0u64];
    for one in &values {
        starts.push(starts[starts.len() - 1] + one.len() as u64);
    }
    let all = arrow::compute::concat(&values)?;
    let mut rows: Vec<Option<Vec<u64>>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if lists.iter().any(|list| list.is_null(row)) {
            rows.push(None);
            continue;
        }
        let places = lists.iter().zip(&starts).flat_map(|(list, start)| {
            let (from, to) = (list.value_offsets()[row] as u64, list.value_offsets()[row + 1] as u64);
            (from..to).map(move |n| start + n)
        });
        rows.push(Some(places.collect()));
    }
    let DataType::List(item) = call.result.data_type() else { return Err(Error::internal("an array is a list")) };
    let whole = arrow::buffer::OffsetBuffer::from_lengths([all.len()]);
    let item = Arc::new(item.as_ref().clone().with_nullable(true));
    let whole = arrow::array::ListArray::try_new(item, whole, all, None)?;
    with_order(&whole, rows)
}

/// NULLs stand first in ascending order and last in descending order, unless the third argument says otherwise.
fn sort(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let list = columns[0].as_list::<i32>();
    let flag =
        |n: usize, row: usize| columns.get(n).map(|c| c.as_boolean()).filter(|c| c.is_valid(row)).map(|c| c.value(row));
    let compare = arrow::array::make_comparator(list.values().as_ref(), list.values().as_ref(), Default::default())?;
    let rows = (0..list.len())
        .map(|row| {
            if list.is_null(row) || columns.iter().skip(1).any(|column| column.is_null(row)) {
                return None;
            }
            let ascending = flag(1, row).unwrap_or(true);
            let nulls_first = flag(2, row).unwrap_or(ascending);
            let (from, to) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
            let (nulls, mut values): (Vec<usize>, Vec<usize>) = (from..to).partition(|n| list.values().is_null(*n));
            values.sort_by(|a, b| if ascending { compare(*a, *b) } else { compare(*b, *a) });
            let ordered = if nulls_first { [nulls, values].concat() } else { [values, nulls].concat() };
            Some(ordered.into_iter().map(|n| n as u64).collect())
        })
        .collect();
    with_order(list, rows)
}
