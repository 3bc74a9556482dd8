//! Aggregates that need all values of a group, in order of arrival: LISTAGG, COLLECT, ARRAY_AGG and PERCENTILE.

use std::collections::HashSet;
use std::sync::Arc;

use aquifer_model::SqlType;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, MapArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    ListAgg,
    Collect,
    ArrayAgg,
    Percentile,
}

/// The function.
pub(super) fn function(what: What) -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::from(Collected { what, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Collected {
    what: What,
    signature: Signature,
}

impl Collected {
    /// The values that a row contributes, as a structure's fields.
    fn row_fields(inputs: &[FieldRef]) -> Fields {
        let field = |(n, input): (usize, &FieldRef)| Field::new(format!("c{n}"), input.data_type().clone(), true);
        inputs.iter().enumerate().map(field).collect()
    }
}

impl AggregateUDFImpl for Collected {
    fn name(&self) -> &str {
        match self.what {
            What::ListAgg => "LISTAGG",
            What::Collect => "COLLECT",
            What::ArrayAgg => "ARRAY_AGG",
            What::Percentile => "PERCENTILE",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_text =
            |one: &DataType| matches!(one, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null);
        match (self.what, types) {
            (What::ListAgg, [text] | [text, _]) if is_text(text) && types.iter().all(is_text) => {
                Ok(vec![DataType::Utf8View; types.len()])
            }
            (What::ListAgg, _) => plan_err!("LISTAGG takes a text and a separator: LISTAGG(name, ', ')"),
            (What::Collect | What::ArrayAgg, [_]) => Ok(types.to_vec()),
            (What::Percentile, [value, portion] | [value, portion, _]) if value.is_numeric() => {
                let portion = match portion {
                    DataType::List(_) => DataType::new_list(DataType::Float64, true),
                    one if one.is_numeric() => DataType::Float64,
                    _ => return plan_err!("PERCENTILE takes a portion from 0 to 1, or an array of them"),
                };
                let mut all = vec![DataType::Float64, portion];
                if let [_, _, weight] = types {
                    if !weight.is_integer() {
                        return plan_err!("PERCENTILE's third argument is how often the value counts, an integer");
                    }
                    all.push(DataType::Int64);
                }
                Ok(all)
            }
            (What::Percentile, _) => plan_err!("write PERCENTILE(number, 0.5) or PERCENTILE(number, 0.5, count)"),
            _ => plan_err!("{} takes one argument", self.name()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match (self.what, types) {
            (What::ListAgg, _) => DataType::Utf8View,
            (What::ArrayAgg, [value, ..]) => DataType::List(Arc::new(Field::new("item", value.clone(), true))),
            (What::Collect, [value, ..]) => multiset(value),
            (What::Percentile, [_, portion, ..]) => portion.clone(),
            _ => return plan_err!("{} takes an argument", self.name()),
        })
    }

    fn return_field(&self, inputs: &[FieldRef]) -> Result<FieldRef> {
        let types: Vec<DataType> = inputs.iter().map(|field| field.data_type().clone()).collect();
        let field = Field::new(self.name(), self.return_type(&types)?, true);
        Ok(Arc::new(
            match (self.what, inputs.first().map(|input| aquifer_model::sql_type::ColumnType::of_field(input))) {
                (What::Collect, Some(Ok(value))) => SqlType::Multiset(Box::new(value))
                    .nullable()
                    .to_field(self.name())
                    .with_data_type(field.data_type().clone()),
                _ => field,
            },
        ))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let row = DataType::Struct(Self::row_fields(args.input_fields));
        Ok(vec![Arc::new(Field::new(format!("{}[rows]", args.name), DataType::new_list(row, true), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Rows {
            what: self.what,
            fields: Self::row_fields(args.expr_fields),
            output: args.return_field.data_type().clone(),
            seen: args.is_distinct.then(HashSet::new),
            columns: vec![Vec::new(); args.expr_fields.len()],
        }))
    }
}

fn multiset(value: &DataType) -> DataType {
    let entries =
        Fields::from(vec![Field::new("key", value.clone(), false), Field::new("value", DataType::Int32, false)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// The rows of one group.
#[derive(Debug)]
struct Rows {
    what: What,
    fields: Fields,
    output: DataType,
    seen: Option<HashSet<Vec<ScalarValue>>>,
    columns: Vec<Vec<ArrayRef>>,
}

impl Rows {
    /// All values of an argument.
    fn column(&self, n: usize) -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = self.columns[n].iter().map(AsRef::as_ref).collect();
        if parts.is_empty() {
            return Ok(arrow::array::new_empty_array(self.fields[n].data_type()));
        }
        Ok(arrow::compute::concat(&parts)?)
    }
}

impl Accumulator for Rows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(seen) = &mut self.seen else {
            self.columns.iter_mut().zip(values).for_each(|(column, part)| column.push(Arc::clone(part)));
            return Ok(());
        };
        let rows = values.first().map_or(0, |column| column.len());
        let mut keep = Vec::with_capacity(rows);
        for row in 0..rows {
            let key =
                values.iter().map(|column| ScalarValue::try_from_array(column, row)).collect::<Result<Vec<_>>>()?;
            keep.push(seen.insert(key));
        }
        let keep = arrow::array::BooleanArray::from(keep);
        for (column, part) in self.columns.iter_mut().zip(values) {
            column.push(arrow::compute::filter(part, &keep)?);
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = (0..self.fields.len()).map(|n| self.column(n)).collect::<Result<Vec<_>>>()?;
        let rows = StructArray::try_new(self.fields.clone(), columns, None)?;
        let item = Arc::new(Field::new("item", DataType::Struct(self.fields.clone()), true));
        let list = ListArray::try_new(item, OffsetBuffer::from_lengths([rows.len()]), Arc::new(rows), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        for n in (0..lists.len()).filter(|n| lists.is_valid(*n)) {
            let rows = lists.value(n);
            let columns = rows.as_struct().columns().to_vec();
            self.update_batch(&columns)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = self.column(0)?;
        match self.what {
            What::ListAgg => {
                let texts = values.as_string_view();
                let separators = if self.columns.len() > 1 { Some(self.column(1)?) } else { None };
                let mut text: Option<String> = None;
                for row in (0..texts.len()).filter(|row| texts.is_valid(*row)) {
                    let separator = separators.as_ref().map_or(",", |all| all.as_string_view().value(row));
                    match &mut text {
                        None => text = Some(texts.value(row).to_string()),
                        Some(text) => {
                            text.push_str(separator);
                            text.push_str(texts.value(row));
                        }
                    }
                }
                Ok(ScalarValue::Utf8View(text))
            }
            What::ArrayAgg => {
                let DataType::List(item) = &self.output else { return exec_err!("ARRAY_AGG gives an array") };
                // Of no rows at all there is no array.
                if values.is_empty() {
                    return ScalarValue::try_from(&self.output);
                }
                let list =
                    ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths([values.len()]), values, None)?;
                Ok(ScalarValue::List(Arc::new(list)))
            }
            What::Collect => collect(&values, &self.output),
            What::Percentile => {
                let weights = if self.columns.len() > 2 { Some(self.column(2)?) } else { None };
                percentile(&values, &self.column(1)?, weights.as_ref())
            }
        }
    }

    fn size(&self) -> usize {
        let arrays = self.columns.iter().flatten().map(|array| array.get_array_memory_size()).sum::<usize>();
        size_of::<Self>() + arrays + self.seen.as_ref().map_or(0, |seen| seen.len() * 64)
    }
}

/// How often each value came, in order of first arrival.
fn collect(values: &ArrayRef, output: &DataType) -> Result<ScalarValue> {
    let DataType::Map(entries, _) = output else { return exec_err!("COLLECT gives a multiset") };
    let DataType::Struct(fields) = entries.data_type() else { return exec_err!("entries are structures") };
    let mut places = std::collections::HashMap::new();
    let (mut firsts, mut counts) = (Vec::new(), Vec::new());
    for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
        let place = *places.entry(ScalarValue::try_from_array(values, row)?).or_insert_with(|| {
            firsts.push(row as u64);
            counts.push(0i32);
            counts.len() - 1
        });
        counts[place] += 1;
    }
    let keys = arrow::compute::take(values, &arrow::array::UInt64Array::from(firsts), None)?;
    let pairs = StructArray::try_new(fields.clone(), vec![keys, Arc::new(Int32Array::from(counts))], None)?;
    let offsets = OffsetBuffer::from_lengths([pairs.len()]);
    let map = MapArray::try_new(Arc::clone(entries), offsets, pairs, None, false)?;
    Ok(ScalarValue::Map(Arc::new(map)))
}

/// The value at each portion of the sorted values, interpolated between its neighbours.
fn percentile(values: &ArrayRef, portions: &ArrayRef, weights: Option<&ArrayRef>) -> Result<ScalarValue> {
    let doubles = cast(values, &DataType::Float64)?;
    let doubles = doubles.as_primitive::<Float64Type>();
    let mut weighted = Vec::with_capacity(doubles.len());
    for row in (0..doubles.len()).filter(|row| doubles.is_valid(*row)) {
        let weight = match weights {
            None => 1,
            Some(weights) if weights.is_null(row) => 0,
            Some(weights) => weights.as_primitive::<Int64Type>().value(row),
        };
        if weight > 0 {
            weighted.push((doubles.value(row), weight));
        }
    }
    weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: i64 = weighted.iter().map(|(_, weight)| weight).sum();
    let at = |place: i64| {
        let mut before = 0;
        weighted.iter().find(|(_, weight)| {
            before += weight;
            place < before
        })
    };
    let one = |portion: f64| -> Result<Option<f64>> {
        if !(0.0..=1.0).contains(&portion) {
            return exec_err!("PERCENTILE takes a portion from 0 to 1, not {portion}");
        }
        if total == 0 {
            return Ok(None);
        }
        let place = portion * (total - 1) as f64;
        let (low, high) = (at(place.floor() as i64), at(place.ceil() as i64));
        Ok(low.zip(high).map(|((low, _), (high, _))| low + (high - low) * (place - place.floor())))
    };
    match portions.data_type() {
        DataType::List(item) => {
            if portions.is_empty() || portions.is_null(0) || total == 0 {
                return ScalarValue::try_from(portions.data_type());
            }
            let wanted = cast(&portions.as_list::<i32>().value(0), &DataType::Float64)?;
            let wanted = wanted.as_primitive::<Float64Type>();
            let found = wanted.iter().map(|portion| portion.map_or(Ok(None), one)).collect::<Result<Vec<_>>>()?;
            let found: ArrayRef = Arc::new(arrow::array::Float64Array::from(found));
            let list = ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths([found.len()]), found, None)?;
            Ok(ScalarValue::List(Arc::new(list)))
        }
        _ => {
            let portions = portions.as_primitive::<Float64Type>();
            let portion = (!portions.is_empty() && portions.is_valid(0)).then(|| portions.value(0));
            Ok(ScalarValue::Float64(portion.map_or(Ok(None), one)?))
        }
    }
}
