//! STDDEV and VARIANCE by Flink's rules: of integers they have the argument's type, what stands after the point cut off; all else is DataFusion's.
//!
//! With `d` the count (…_POP) or one less (…_SAMP, NULL for a single value): `(n * Σx² - Σx * Σx) / (n * d)`, or its square root.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

use super::moving::{Moving, What};

#[derive(Debug)]
struct Spread {
    is_root: bool,
    is_sample: bool,
    signature: Signature,
    float: Arc<AggregateUDF>,
}

impl PartialEq for Spread {
    fn eq(&self, other: &Self) -> bool {
        (self.is_root, self.is_sample) == (other.is_root, other.is_sample)
    }
}

impl Eq for Spread {}

impl Hash for Spread {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.is_root, self.is_sample).hash(state);
    }
}

/// The function over a function of floating-point numbers: a standard deviation or a variance, of a sample or of all.
pub(super) fn of(is_root: bool, is_sample: bool, float: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::from(Spread { is_root, is_sample, signature, float }))
}

impl AggregateUDFImpl for Spread {
    fn name(&self) -> &str {
        self.float.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [integer] if integer.is_signed_integer() => Ok(vec![integer.clone()]),
            [number] if number.is_numeric() || number.is_null() => Ok(vec![DataType::Float64]),
            [other] => {
                let shown = crate::functions::shown(&Field::new("", other.clone(), true));
                plan_err!("{} is of numbers, not of {shown}", self.name().to_uppercase())
            }
            _ => plan_err!("{} takes one argument", self.name().to_uppercase()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(if types[0].is_integer() { types[0].clone() } else { DataType::Float64 })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type();
        if !input.is_integer() {
            return self.float.accumulator(args);
        }
        if args.is_distinct {
            return exec_err!("{}(DISTINCT …) of integers is not built: cast to DOUBLE", self.name().to_uppercase());
        }
        let (is_root, is_sample) = (self.is_root, self.is_sample);
        Ok(Box::new(Exact { is_root, is_sample, output: input.clone(), sum: 0, squares: 0, count: 0 }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct || args.expr_fields[0].data_type().is_integer() {
            return self.accumulator(args);
        }
        let what = What::Spread { is_root: self.is_root, is_sample: self.is_sample };
        Ok(Box::new(Moving::new(what)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !args.input_fields[0].data_type().is_integer() {
            return self.float.state_fields(args);
        }
        let field = |name: &str, data_type| Arc::new(Field::new(format!("{}[{name}]", args.name), data_type, true));
        let total = DataType::Decimal128(38, 0);
        Ok(vec![field("sum", total.clone()), field("squares", total), field("count", DataType::Int64)])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.expr_fields[0].data_type().is_integer() && self.float.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.float.create_groups_accumulator(args)
    }
}

/// Sums over integers.
#[derive(Debug)]
struct Exact {
    is_root: bool,
    is_sample: bool,
    output: DataType,
    sum: i128,
    squares: i128,
    count: i64,
}

impl Exact {
    fn overflows<T>(&self) -> Result<T> {
        exec_err!("a standard deviation or variance overflows {}: cast its argument to DOUBLE", self.output)
    }

    fn add(&mut self, sum: i128, squares: i128, count: i64) -> Result<()> {
        let (Some(sum), Some(squares)) = (self.sum.checked_add(sum), self.squares.checked_add(squares)) else {
            return self.overflows();
        };
        (self.sum, self.squares) = (sum, squares);
        self.count += count;
        Ok(())
    }

    fn add_values(&mut self, values: &ArrayRef, sign: i64) -> Result<()> {
        let numbers = cast(values, &DataType::Int64)?;
        for value in numbers.as_primitive::<Int64Type>().iter().flatten() {
            let (value, sign_of_sum) = (i128::from(value), i128::from(sign));
            self.add(sign_of_sum * value, sign_of_sum * value * value, sign)?;
        }
        Ok(())
    }
}

impl Accumulator for Exact {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_values(&values[0], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_values(&values[0], -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let count = i128::from(self.count);
        let divisor = if self.is_sample { count - 1 } else { count };
        if divisor <= 0 {
            return ScalarValue::try_from(&self.output);
        }
        let spread = count.checked_mul(self.squares).zip(self.sum.checked_mul(self.sum));
        let Some((spread, divisor)) = spread.map(|(squares, square)| (squares - square, count * divisor)) else {
            return self.overflows();
        };
        let value = if self.is_root { (spread as f64 / divisor as f64).sqrt() as i128 } else { spread / divisor };
        match i64::try_from(value).ok().map(|value| ScalarValue::from(value).cast_to(&self.output)) {
            Some(Ok(value)) if !value.is_null() => Ok(value),
            _ => self.overflows(),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let total = |value| ScalarValue::Decimal128(Some(value), 38, 0);
        Ok(vec![total(self.sum), total(self.squares), ScalarValue::from(self.count)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (sums, squares) = (states[0].as_primitive::<Decimal128Type>(), states[1].as_primitive::<Decimal128Type>());
        let counts = states[2].as_primitive::<Int64Type>();
        for ((sum, squares), count) in sums.values().iter().zip(squares.values()).zip(counts.values()) {
            self.add(*sum, *squares, *count)?;
        }
        Ok(())
    }
}
