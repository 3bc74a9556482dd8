//! The aggregate functions: state as arrays by dense group id, read without a change, freed one by one.
//!
//! Types are Flink's: SUM and AVG keep the integer type (AVG truncates toward zero), decimals round half up, an overflow is an error. Sums of integers and
//! decimals are kept in 128 bits, so only the result can overflow, never a sum on its way. NULLs do not count; SUM, AVG, MIN and MAX of nothing are
//! NULL. COUNT, SUM and AVG take rows back; MIN and MAX cannot.

use std::sync::Arc;

use aquifer_model::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type};
use arrow::row::{RowConverter, SortField};

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateKind {
    /// `COUNT(*)` without an argument, else the values that are not NULL.
    Count,
    /// `SUM`
    Sum,
    /// `AVG`
    Average,
    /// `MIN`
    Min,
    /// `MAX`
    Max,
}

/// One aggregate of an operator.
#[derive(Debug, Clone)]
pub struct AggregateSpec {
    /// The function.
    pub kind: AggregateKind,
    /// The column of the operator's input that it takes; `COUNT(*)` takes none.
    pub argument: Option<usize>,
    /// The argument's type.
    pub argument_type: Option<DataType>,
    /// The result's column.
    pub output: FieldRef,
}

impl AggregateSpec {
    /// Whether rows can be taken back from it.
    pub fn retracts(&self) -> bool {
        !matches!(self.kind, AggregateKind::Min | AggregateKind::Max)
    }
}

/// The states of all aggregates of one set of groups.
#[derive(Debug)]
pub struct Accumulators {
    parts: Vec<(AggregateSpec, State)>,
}

#[derive(Debug)]
enum State {
    Count(Vec<i64>),
    /// Sums of integers and decimals, in the argument's scale, and how many values.
    Whole(Vec<i128>, Vec<i64>),
    /// Sums of floating point numbers and how many values.
    Real(Vec<f64>, Vec<i64>),
    /// The extreme value's row encoding without its null marker, where it fits; the flag says whether there is one.
    Fixed(Vec<u128>, Vec<bool>, Arc<RowConverter>),
    /// The extreme value's row encoding.
    Bytes(Vec<Option<Box<[u8]>>>, Arc<RowConverter>),
}

const FIXED_BYTES: usize = 16;

impl Accumulators {
    /// Empty states. Fails for an argument type that a function does not take.
    pub fn new(specs: &[AggregateSpec]) -> Result<Self> {
        let parts = specs.iter().map(|spec| Ok((spec.clone(), State::new(spec)?)));
        Ok(Self { parts: parts.collect::<Result<_>>()? })
    }

    /// Empty states of the same aggregates.
    pub fn fresh(&self) -> Self {
        Self { parts: self.parts.iter().map(|(spec, state)| (spec.clone(), state.fresh())).collect() }
    }

    /// Makes room for groups below `groups`.
    pub fn resize(&mut self, groups: usize) {
        for (_, state) in &mut self.parts {
            match state {
                State::Count(counts) => counts.resize(groups, 0),
                State::Whole(sums, counts) => {
                    sums.resize(groups, 0);
                    counts.resize(groups, 0);
                }
                State::Real(sums, counts) => {
                    sums.resize(groups, 0.0);
                    counts.resize(groups, 0);
                }
                State::Fixed(values, set, _) => {
                    values.resize(groups, 0);
                    set.resize(groups, false);
                }
                State::Bytes(values, _) => values.resize(groups, None),
            }
        }
    }

    /// Adds rows to their groups: `groups[row]` with weight `weights[row]` (absent: 1; 0: the row is left out).
    pub fn update(&mut self, groups: &[u32], weights: Option<&[i64]>, rows: &RecordBatch) -> Result<()> {
        for (spec, state) in &mut self.parts {
            state.update(spec, groups, weights, spec.argument.map(|column| rows.column(column)))?;
        }
        Ok(())
    }

    /// The results of these groups. Fails where one overflows its type.
    pub fn read(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.parts.iter().map(|(spec, state)| state.read(spec, groups)).collect()
    }

    /// Makes a group empty again.
    pub fn free(&mut self, group: u32) {
        let group = group as usize;
        for (_, state) in &mut self.parts {
            match state {
                State::Count(counts) => counts[group] = 0,
                State::Whole(sums, counts) => (sums[group], counts[group]) = (0, 0),
                State::Real(sums, counts) => (sums[group], counts[group]) = (0.0, 0),
                State::Fixed(values, set, _) => (values[group], set[group]) = (0, false),
                State::Bytes(values, _) => values[group] = None,
            }
        }
    }

    /// The columns of [`Accumulators::state`].
    pub fn state_fields(&self) -> Vec<Field> {
        let mut fields = vec![];
        for (part, (spec, state)) in self.parts.iter().enumerate() {
            let mut add = |what: &str, data_type| fields.push(Field::new(format!("{what}{part}"), data_type, true));
            match state {
                State::Count(_) => add("count", DataType::Int64),
                State::Whole(..) => {
                    add("sum", DataType::FixedSizeBinary(FIXED_BYTES as i32));
                    add("count", DataType::Int64);
                }
                State::Real(..) => {
                    add("sum", DataType::Float64);
                    add("count", DataType::Int64);
                }
                State::Fixed(..) | State::Bytes(..) => {
                    add("value", spec.argument_type.clone().unwrap_or(DataType::Null));
                }
            }
        }
        fields
    }

    /// What these groups keep, for a snapshot.
    pub fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = vec![];
        let counted = |counts: &[i64]| -> ArrayRef { Arc::new(Int64Array::from_iter_values(at(counts, groups))) };
        for (spec, state) in &self.parts {
            match state {
                State::Count(counts) => columns.push(counted(counts)),
                State::Whole(sums, counts) => {
                    let bytes: Vec<[u8; FIXED_BYTES]> = at(sums, groups).map(i128::to_le_bytes).collect();
                    columns.push(Arc::new(fixed(&bytes)?));
                    columns.push(counted(counts));
                }
                State::Real(sums, counts) => {
                    columns.push(Arc::new(Float64Array::from_iter_values(at(sums, groups))));
                    columns.push(counted(counts));
                }
                State::Fixed(..) | State::Bytes(..) => columns.push(state.extremes(spec, groups)?),
            }
        }
        Ok(columns)
    }

    /// Takes back what [`Accumulators::state`] gave, into these groups.
    pub fn load(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let mut columns = columns.iter();
        let mut next = || columns.next().ok_or_else(|| Error::corrupt("a snapshot lacks a column of an aggregate"));
        let whole = |column: &ArrayRef| -> Result<Int64Array> {
            column.as_primitive_opt::<Int64Type>().cloned().ok_or_else(|| wrong_state("Int64"))
        };
        for (spec, state) in &mut self.parts {
            match state {
                State::Count(counts) => put(counts, groups, whole(next()?)?.values()),
                State::Whole(sums, counts) => {
                    let bytes = next()?;
                    let bytes = bytes.as_fixed_size_binary_opt().ok_or_else(|| wrong_state("FixedSizeBinary"))?;
                    if bytes.value_length() as usize != FIXED_BYTES {
                        return Err(wrong_state("FixedSizeBinary(16)"));
                    }
                    for (row, group) in groups.iter().enumerate() {
                        let mut value = [0; FIXED_BYTES];
                        value.copy_from_slice(bytes.value(row));
                        sums[*group as usize] = i128::from_le_bytes(value);
                    }
                    put(counts, groups, whole(next()?)?.values());
                }
                State::Real(sums, counts) => {
                    let column = next()?;
                    let column = column.as_primitive_opt::<Float64Type>().ok_or_else(|| wrong_state("Float64"))?;
                    put(sums, groups, column.values());
                    put(counts, groups, whole(next()?)?.values());
                }
                State::Fixed(..) | State::Bytes(..) => state.update(spec, groups, None, Some(next()?))?,
            }
        }
        Ok(())
    }
}

fn wrong_state(expected: &str) -> Error {
    Error::corrupt(format!("a snapshot's aggregate column is not {expected}"))
}

fn fixed(values: &[[u8; FIXED_BYTES]]) -> Result<FixedSizeBinaryArray> {
    let bytes: Vec<u8> = values.iter().flatten().copied().collect();
    Ok(FixedSizeBinaryArray::try_new(FIXED_BYTES as i32, bytes.into(), None)?)
}

fn at<'a, T: Copy>(values: &'a [T], groups: &'a [u32]) -> impl Iterator<Item = T> + 'a {
    groups.iter().map(|group| values[*group as usize])
}

fn put<T: Copy>(values: &mut [T], groups: &[u32], from: &[T]) {
    groups.iter().zip(from).for_each(|(group, value)| values[*group as usize] = *value);
}

impl State {
    fn new(spec: &AggregateSpec) -> Result<Self> {
        let name = match spec.kind {
            AggregateKind::Count => return Ok(Self::Count(vec![])),
            AggregateKind::Sum => "SUM",
            AggregateKind::Average => "AVG",
            AggregateKind::Min => "MIN",
            AggregateKind::Max => "MAX",
        };
        let Some(argument) = &spec.argument_type else {
            return Err(Error::invalid(format!("`{name}` needs an argument")));
        };
        if matches!(spec.kind, AggregateKind::Sum | AggregateKind::Average) {
            return match argument {
                DataType::Decimal128(..) => Ok(Self::Whole(vec![], vec![])),
                argument if argument.is_signed_integer() => Ok(Self::Whole(vec![], vec![])),
                DataType::Float32 | DataType::Float64 => Ok(Self::Real(vec![], vec![])),
                other => Err(Error::invalid(format!("`{name}` takes numbers, not {other}"))),
            };
        }
        let fields = vec![SortField::new(argument.clone())];
        if !RowConverter::supports_fields(&fields) || argument.is_nested() {
            return Err(Error::unsupported(format!("`{name}` of {argument}: its values have no order")));
        }
        let converter = Arc::new(RowConverter::new(fields)?);
        Ok(match argument.primitive_width() {
            Some(width) if width <= FIXED_BYTES => Self::Fixed(vec![], vec![], converter),
            _ => Self::Bytes(vec![], converter),
        })
    }

    fn fresh(&self) -> Self {
        match self {
            Self::Count(_) => Self::Count(vec![]),
            Self::Whole(..) => Self::Whole(vec![], vec![]),
            Self::Real(..) => Self::Real(vec![], vec![]),
            Self::Fixed(_, _, converter) => Self::Fixed(vec![], vec![], Arc::clone(converter)),
            Self::Bytes(_, converter) => Self::Bytes(vec![], Arc::clone(converter)),
        }
    }

    fn update(
        &mut self,
        spec: &AggregateSpec,
        groups: &[u32],
        weights: Option<&[i64]>,
        argument: Option<&ArrayRef>,
    ) -> Result<()> {
        let nulls = argument.and_then(|column| column.logical_nulls());
        let weight = |row: usize| match &nulls {
            Some(nulls) if nulls.is_null(row) => 0,
            _ => weights.map_or(1, |weights| weights[row]),
        };
        let missing = || Error::internal("an aggregate's argument is missing");
        match self {
            Self::Count(counts) => {
                groups.iter().enumerate().for_each(|(row, group)| counts[*group as usize] += weight(row));
            }
            Self::Whole(sums, counts) => {
                let mut add = |row: usize, value: i128| -> Result<()> {
                    let (group, weight) = (groups[row] as usize, weight(row));
                    let sum = value.checked_mul(i128::from(weight)).and_then(|value| sums[group].checked_add(value));
                    sums[group] = sum.ok_or_else(|| Error::invalid("the sum does not fit into 128 bits"))?;
                    counts[group] += weight;
                    Ok(())
                };
                let column = argument.ok_or_else(missing)?;
                if let Some(decimals) = column.as_primitive_opt::<Decimal128Type>() {
                    decimals.values().iter().enumerate().try_for_each(|(row, value)| add(row, *value))?;
                } else {
                    let wide = cast(column, &DataType::Int64)?;
                    let wide = wide.as_primitive::<Int64Type>();
                    wide.values().iter().enumerate().try_for_each(|(row, value)| add(row, i128::from(*value)))?;
                }
            }
            Self::Real(sums, counts) => {
                let wide = cast(argument.ok_or_else(missing)?, &DataType::Float64)?;
                for (row, value) in wide.as_primitive::<Float64Type>().values().iter().enumerate() {
                    let (group, weight) = (groups[row] as usize, weight(row));
                    if weight != 0 {
                        sums[group] += value * weight as f64;
                        counts[group] += weight;
                    }
                }
            }
            Self::Fixed(values, set, converter) => {
                let column = argument.ok_or_else(missing)?;
                let maximum = spec.kind == AggregateKind::Max;
                if let Some(numbers) = ordered(column)? {
                    for (row, group) in groups.iter().enumerate() {
                        let group = *group as usize;
                        if takes(weight(row))? {
                            let value = numbers(row);
                            if !set[group] || (value > values[group]) == maximum {
                                (values[group], set[group]) = (value, true);
                            }
                        }
                    }
                    return Ok(());
                }
                let encoded = converter.convert_columns(std::slice::from_ref(column))?;
                for (row, group) in groups.iter().enumerate() {
                    let group = *group as usize;
                    if takes(weight(row))? {
                        let value = pack(&encoded.row(row).data()[1..]);
                        if !set[group] || (value > values[group]) == maximum {
                            (values[group], set[group]) = (value, true);
                        }
                    }
                }
            }
            Self::Bytes(values, converter) => {
                let encoded = converter.convert_columns(std::slice::from_ref(argument.ok_or_else(missing)?))?;
                let maximum = spec.kind == AggregateKind::Max;
                for (row, group) in groups.iter().enumerate() {
                    if takes(weight(row))? {
                        let value = encoded.row(row);
                        let kept = &mut values[*group as usize];
                        if kept.as_deref().is_none_or(|kept| (value.data() > kept) == maximum) {
                            *kept = Some(value.data().into());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn read(&self, spec: &AggregateSpec, groups: &[u32]) -> Result<ArrayRef> {
        let output = spec.output.data_type();
        match self {
            Self::Count(counts) => Ok(cast(&Int64Array::from_iter_values(at(counts, groups)), output)?),
            Self::Whole(sums, counts) => {
                let average = spec.kind == AggregateKind::Average;
                let pairs = at(sums, groups).zip(at(counts, groups));
                let argument_scale = match spec.argument_type {
                    Some(DataType::Decimal128(_, scale)) => scale,
                    _ => 0,
                };
                match output {
                    DataType::Decimal128(precision, scale) => {
                        let values = pairs.map(|(sum, count)| {
                            decimal(sum, count, average, *scale - argument_scale, *precision, spec)
                        });
                        let values: Decimal128Array = values.collect::<Result<_>>()?;
                        Ok(Arc::new(values.with_precision_and_scale(*precision, *scale)?))
                    }
                    DataType::Float64 | DataType::Float32 => {
                        let scale = 10f64.powi(argument_scale.into());
                        let values: Float64Array = pairs
                            .map(|(sum, count)| {
                                let value = sum as f64 / scale;
                                (count != 0).then(|| if average { value / count as f64 } else { value })
                            })
                            .collect();
                        Ok(cast(&values, output)?)
                    }
                    _ => {
                        let values = pairs.map(|(sum, count)| match count {
                            0 => Ok(None),
                            count => {
                                let value = if average { sum / i128::from(count) } else { sum };
                                i64::try_from(value).map(Some).map_err(|_| overflow(spec, value))
                            }
                        });
                        let values: Int64Array = values.collect::<Result<_>>()?;
                        let options = CastOptions { safe: false, ..CastOptions::default() };
                        cast_with_options(&values, output, &options).map_err(|error| overflow(spec, error.to_string()))
                    }
                }
            }
            Self::Real(sums, counts) => {
                let average = spec.kind == AggregateKind::Average;
                let values: Float64Array = at(sums, groups)
                    .zip(at(counts, groups))
                    .map(|(sum, count)| (count != 0).then(|| if average { sum / count as f64 } else { sum }))
                    .collect();
                Ok(cast(&values, output)?)
            }
            Self::Fixed(..) | Self::Bytes(..) => {
                let values = self.extremes(spec, groups)?;
                if values.data_type() == output { Ok(values) } else { Ok(cast(&values, output)?) }
            }
        }
    }

    /// The extreme values, of the argument's type.
    fn extremes(&self, spec: &AggregateSpec, groups: &[u32]) -> Result<ArrayRef> {
        let width = spec.argument_type.as_ref().and_then(DataType::primitive_width).unwrap_or(0);
        let (converter, bytes, length): (_, Vec<u8>, _) = match self {
            Self::Fixed(values, set, converter) => {
                let mut bytes = Vec::with_capacity(groups.len() * (width + 1));
                for group in groups {
                    let group = *group as usize;
                    bytes.push(u8::from(set[group]));
                    bytes.extend_from_slice(&values[group].to_be_bytes()[..width]);
                }
                (converter, bytes, width + 1)
            }
            Self::Bytes(values, converter) => {
                let nothing = converter.convert_columns(&[arrow::array::new_null_array(
                    spec.argument_type.as_ref().unwrap_or(&DataType::Null),
                    1,
                )])?;
                let parser = converter.parser();
                let rows = groups.iter().map(|group| match &values[*group as usize] {
                    Some(bytes) => parser.parse(bytes),
                    None => nothing.row(0),
                });
                return single(converter.convert_rows(rows)?);
            }
            _ => return Err(Error::internal("only MIN and MAX have extreme values")),
        };
        let parser = converter.parser();
        single(converter.convert_rows(bytes.chunks_exact(length).map(|chunk| parser.parse(chunk)))?)
    }
}

fn single(mut columns: Vec<ArrayRef>) -> Result<ArrayRef> {
    columns.pop().ok_or_else(|| Error::internal("one column was encoded, none came back"))
}

fn pack(bytes: &[u8]) -> u128 {
    let mut packed = [0; FIXED_BYTES];
    packed[..bytes.len()].copy_from_slice(bytes);
    u128::from_be_bytes(packed)
}

/// What [`pack`] makes of the row encoding of a column of whole numbers or times, without encoding it; `None` for another column.
fn ordered(column: &ArrayRef) -> Result<Option<impl Fn(usize) -> u128 + use<>>> {
    let is_wide = match column.data_type() {
        DataType::Int64 | DataType::Timestamp(..) | DataType::Date64 | DataType::Time64(_) => true,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Date32 | DataType::Time32(_) => false,
        _ => return Ok(None),
    };
    let width = column.data_type().primitive_width().unwrap_or(FIXED_BYTES);
    let wide = match is_wide {
        true => cast(column, &DataType::Int64)?,
        // A time of 32 bits has no way to 64 but through its number.
        false => {
            cast(&cast(column, if width == 4 { &DataType::Int32 } else { column.data_type() })?, &DataType::Int64)?
        }
    };
    let values = wide.as_primitive::<Int64Type>().values().clone();
    // Big-endian with the sign turned, at the front of 16 bytes.
    let shift = 8 * (FIXED_BYTES - width) as u32;
    let sign = 1u128 << (8 * width - 1);
    let mask = if width == FIXED_BYTES { u128::MAX } else { (1u128 << (8 * width)) - 1 };
    Ok(Some(move |row: usize| ((values[row] as u128 & mask) ^ sign) << shift))
}

/// Whether a row of this weight counts for MIN and MAX.
fn takes(weight: i64) -> Result<bool> {
    match weight {
        0 => Ok(false),
        weight if weight > 0 => Ok(true),
        _ => Err(Error::unsupported("MIN and MAX over rows that are taken back")),
    }
}

fn overflow(spec: &AggregateSpec, value: impl std::fmt::Display) -> Error {
    let (name, data_type) = (spec.output.name(), spec.output.data_type());
    Error::invalid(format!(
        "`{name}`: the result {value} does not fit into {data_type}; cast the argument to a wider type"
    ))
}

/// A sum or mean with `shift` more digits than the sums have, rounded half up, or an error where it has more than `precision` digits.
fn decimal(
    sum: i128,
    count: i64,
    average: bool,
    shift: i8,
    precision: u8,
    spec: &AggregateSpec,
) -> Result<Option<i128>> {
    if count == 0 {
        return Ok(None);
    }
    let power = 10i128.checked_pow(shift.unsigned_abs().into());
    let scaled =
        power.and_then(|power| if shift >= 0 { sum.checked_mul(power) } else { Some(divide_half_up(sum, power)) });
    let scaled = scaled.ok_or_else(|| overflow(spec, sum))?;
    let value = if average { divide_half_up(scaled, i128::from(count)) } else { scaled };
    let limit = 10i128.checked_pow(precision.into());
    if limit.is_some_and(|limit| value.unsigned_abs() >= limit.unsigned_abs()) {
        return Err(overflow(spec, value));
    }
    Ok(Some(value))
}

/// A quotient rounded half away from zero.
fn divide_half_up(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value / by, value % by);
    if rest.unsigned_abs() * 2 >= by.unsigned_abs() { quotient + value.signum() * by.signum() } else { quotient }
}

#[cfg(test)]
mod tests;
