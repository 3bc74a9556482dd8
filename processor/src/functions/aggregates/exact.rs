//! SUM and AVG by Flink's rules in batch: the type of an integer is kept, AVG truncates toward zero, an overflow is an error; decimals are exact.
//! Floating-point numbers are left to DataFusion's own functions, but over frames that move.
//!
//! | argument | SUM | AVG |
//! |---|---|---|
//! | TINYINT … BIGINT | the same | the same, truncated |
//! | DECIMAL(p, s) | DECIMAL(38, s) | DECIMAL(38, max(6, s)) |
//! | FLOAT, DOUBLE | DOUBLE | DOUBLE |

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, PrimitiveArray, new_empty_array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::functions_aggregate::{average::avg_udaf, sum::sum_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use super::moving::{self, Moving};

/// SUM or AVG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Sum,
    Avg,
}

#[derive(Debug)]
struct Exact {
    what: What,
    signature: Signature,
    float: Arc<AggregateUDF>,
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what
    }
}

impl Eq for Exact {}

impl Hash for Exact {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.what.hash(state);
    }
}

fn of(what: What, float: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Exact { what, signature: Signature::user_defined(Volatility::Immutable), float }))
}

/// SUM.
pub(super) fn sum() -> Arc<AggregateUDF> {
    of(What::Sum, sum_udaf())
}

/// AVG.
pub(super) fn avg() -> Arc<AggregateUDF> {
    of(What::Avg, avg_udaf())
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float16 | DataType::Float32 | DataType::Float64)
}

/// The scale of an exact number's result, in digits after the point.
fn scale(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        match self.what {
            What::Sum => "sum",
            What::Avg => "avg",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [argument] = types else { return plan_err!("{} takes one argument", self.name()) };
        Ok(vec![match argument {
            DataType::Float16 | DataType::Float32 => DataType::Float64,
            DataType::UInt8 => DataType::Int16,
            DataType::UInt16 => DataType::Int32,
            DataType::UInt32 => DataType::Int64,
            DataType::UInt64 => DataType::Decimal128(20, 0),
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
            DataType::Null => DataType::Int64,
            number if number.is_numeric() => number.clone(),
            other => {
                let shown = crate::functions::shown(&Field::new("", other.clone(), true));
                return plan_err!("{} is of numbers, not of {shown}", self.name().to_uppercase());
            }
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match (self.what, &types[0]) {
            (_, float) if is_float(float) => DataType::Float64,
            (What::Sum, DataType::Decimal128(_, s)) => DataType::Decimal128(38, *s),
            (What::Avg, DataType::Decimal128(_, s)) => DataType::Decimal128(38, (*s).max(6)),
            (_, integer) => integer.clone(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type().clone();
        if args.is_distinct {
            return Ok(Box::new(Distinct {
                what: self.what,
                input,
                output: args.return_field.data_type().clone(),
                seen: HashSet::new(),
            }));
        }
        if is_float(&input) {
            return self.float.accumulator(args);
        }
        Ok(Box::new(One(Groups::new(self.what, input, args.return_field.data_type().clone()))))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct || !is_float(args.expr_fields[0].data_type()) {
            return self.accumulator(args);
        }
        Ok(Box::new(Moving::new(match self.what {
            What::Sum => moving::What::Sum,
            What::Avg => moving::What::Avg,
        })))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            let values = DataType::new_list(args.input_fields[0].data_type().clone(), true);
            return Ok(vec![Arc::new(Field::new(format!("{}[values]", args.name), values, true))]);
        }
        if is_float(args.input_fields[0].data_type()) {
            return self.float.state_fields(args);
        }
        Ok(vec![
            Arc::new(Field::new(format!("{}[total]", args.name), DataType::Decimal128(38, 0), true)),
            Arc::new(Field::new(format!("{}[count]", args.name), DataType::Int64, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let input = args.expr_fields[0].data_type().clone();
        if is_float(&input) {
            return self.float.create_groups_accumulator(args);
        }
        Ok(Box::new(Groups::new(self.what, input, args.return_field.data_type().clone())))
    }
}

/// Totals and counts of groups.
#[derive(Debug)]
struct Groups {
    what: What,
    input: DataType,
    output: DataType,
    totals: Vec<i128>,
    counts: Vec<i64>,
}

impl Groups {
    fn new(what: What, input: DataType, output: DataType) -> Self {
        Self { what, input, output, totals: Vec::new(), counts: Vec::new() }
    }

    fn add(&mut self, group: usize, value: i128, count: i64) -> Result<()> {
        let Some(total) = self.totals[group].checked_add(value) else {
            return exec_err!("{:?} overflows: its total has more than 38 digits", self.what);
        };
        self.totals[group] = total;
        self.counts[group] += count;
        Ok(())
    }

    fn result(&self, group: usize) -> Result<Option<i128>> {
        let (total, count) = (self.totals[group], i128::from(self.counts[group]));
        if count == 0 {
            return Ok(None);
        }
        Ok(Some(match self.what {
            What::Sum => total,
            What::Avg => {
                let shift = 10i128.pow((scale(&self.output) - scale(&self.input)) as u32);
                let Some(scaled) = total.checked_mul(shift) else { return exec_err!("AVG overflows") };
                if matches!(self.output, DataType::Decimal128(_, _)) {
                    // Half away from zero, as decimals are rounded.
                    let half = count / 2 * scaled.signum();
                    (scaled + half) / count
                } else {
                    scaled / count
                }
            }
        }))
    }

    fn array(&self, values: &[Option<i128>]) -> Result<ArrayRef> {
        macro_rules! integers {
            ($type:ty) => {{
                let mut narrow = Vec::with_capacity(values.len());
                for value in values {
                    narrow.push(match value.map(TryFrom::try_from) {
                        None => None,
                        Some(Ok(value)) => Some(value),
                        Some(Err(_)) => {
                            return exec_err!(
                                "{:?} overflows {}: cast its argument to a wider type, for example CAST(x AS BIGINT) or DECIMAL",
                                self.what,
                                self.output
                            );
                        }
                    });
                }
                Arc::new(PrimitiveArray::<$type>::from(narrow)) as ArrayRef
            }};
        }
        Ok(match &self.output {
            DataType::Int8 => integers!(Int8Type),
            DataType::Int16 => integers!(Int16Type),
            DataType::Int32 => integers!(Int32Type),
            DataType::Int64 => integers!(Int64Type),
            DataType::Decimal128(precision, scale) => {
                let limit = 10u128.pow(u32::from(*precision));
                if values.iter().flatten().any(|value| value.unsigned_abs() >= limit) {
                    return exec_err!(
                        "{:?} overflows DECIMAL({precision}, {scale}): cast its argument to fewer digits after the point, or to DOUBLE",
                        self.what
                    );
                }
                Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(*precision, *scale)?)
            }
            other => return exec_err!("{:?} has no result of type {other}", self.what),
        })
    }

    fn forget(&mut self, emit_to: EmitTo) -> (Vec<i128>, Vec<i64>) {
        (emit_to.take_needed(&mut self.totals), emit_to.take_needed(&mut self.counts))
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        self.totals.resize(total_groups, 0);
        self.counts.resize(total_groups, 0);
        let kept = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        match values[0].data_type() {
            DataType::Decimal128(_, _) => {
                let values = values[0].as_primitive::<Decimal128Type>();
                for (row, group) in groups.iter().enumerate() {
                    if values.is_valid(row) && kept(row) {
                        self.add(*group, values.value(row), 1)?;
                    }
                }
            }
            _ => {
                let values = cast(&values[0], &DataType::Int64)?;
                let values = values.as_primitive::<Int64Type>();
                if values.null_count() == 0 && filter.is_none() {
                    for (value, group) in values.values().iter().zip(groups) {
                        // 2^63 numbers of 64 bits fit.
                        self.totals[*group] += i128::from(*value);
                        self.counts[*group] += 1;
                    }
                } else {
                    for (row, group) in groups.iter().enumerate() {
                        if values.is_valid(row) && kept(row) {
                            self.add(*group, i128::from(values.value(row)), 1)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = match emit_to {
            EmitTo::All => self.totals.len(),
            EmitTo::First(n) => n,
        };
        let values = (0..count).map(|group| self.result(group)).collect::<Result<Vec<_>>>()?;
        let array = self.array(&values)?;
        self.forget(emit_to);
        Ok(array)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (totals, counts) = self.forget(emit_to);
        Ok(vec![
            Arc::new(Decimal128Array::from(totals).with_precision_and_scale(38, 0)?),
            Arc::new(Int64Array::from(counts)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total_groups: usize) -> Result<()> {
        self.totals.resize(total_groups, 0);
        self.counts.resize(total_groups, 0);
        let totals = states[0].as_primitive::<Decimal128Type>();
        let counts = states[1].as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            self.add(*group, totals.value(row), counts.value(row))?;
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut one_each = Groups::new(self.what, self.input.clone(), self.output.clone());
        one_each.update_batch(values, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
        one_each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.totals.capacity() * size_of::<i128>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// A single group.
#[derive(Debug)]
struct One(Groups);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.totals.resize(1, 0);
        self.0.counts.resize(1, 0);
        let array = self.0.array(&[self.0.result(0)?])?;
        ScalarValue::try_from_array(&array, 0)
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.totals.resize(1, 0);
        self.0.counts.resize(1, 0);
        Ok(vec![ScalarValue::Decimal128(Some(self.0.totals[0]), 38, 0), ScalarValue::Int64(Some(self.0.counts[0]))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        GroupsAccumulator::merge_batch(&mut self.0, states, &vec![0; states[0].len()], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut gone = Groups::new(self.0.what, self.0.input.clone(), self.0.output.clone());
        gone.update_batch(values, &vec![0; values[0].len()], None, 1)?;
        self.0.totals[0] -= gone.totals[0];
        self.0.counts[0] -= gone.counts[0];
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// The different values of a single group.
#[derive(Debug)]
struct Distinct {
    what: What,
    input: DataType,
    output: DataType,
    seen: HashSet<ScalarValue>,
}

impl Distinct {
    fn values(&self) -> Result<ArrayRef> {
        if self.seen.is_empty() {
            return Ok(new_empty_array(&self.input));
        }
        ScalarValue::iter_to_array(self.seen.iter().cloned())
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in (0..values[0].len()).filter(|row| values[0].is_valid(*row)) {
            self.seen.insert(ScalarValue::try_from_array(&values[0], row)?);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = self.values()?;
        if is_float(&self.input) {
            let doubles = cast(&values, &DataType::Float64)?;
            let mut doubles: Vec<f64> = doubles.as_primitive::<Float64Type>().values().to_vec();
            // One order, so that one answer.
            doubles.sort_by(f64::total_cmp);
            let sum = doubles.iter().sum::<f64>();
            let result = match self.what {
                _ if doubles.is_empty() => None,
                What::Sum => Some(sum),
                What::Avg => Some(sum / doubles.len() as f64),
            };
            return Ok(ScalarValue::Float64(result));
        }
        let mut one = One(Groups::new(self.what, self.input.clone(), self.output.clone()));
        one.update_batch(&[values])?;
        one.evaluate()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.seen.len() * size_of::<ScalarValue>() * 2
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.seen.iter().cloned().collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list(&values, &self.input, true))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        for n in (0..lists.len()).filter(|n| lists.is_valid(*n)) {
            self.update_batch(&[lists.value(n)])?;
        }
        Ok(())
    }
}
