//! `+ - * / %` of integers and decimals: an overflow is an error, 7/2 is 3, decimal results have Flink's precision and scale.
//!
//! Floating point stays DataFusion's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Datum, Decimal128Array, Scalar};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, i256};
use datafusion::common::{DFSchema, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// An operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Add => "add",
            Operation::Subtract => "subtract",
            Operation::Multiply => "multiply",
            Operation::Divide => "divide",
            Operation::Modulo => "modulo",
        }
    }

    pub(super) fn symbol(self) -> &'static str {
        match self {
            Operation::Add => "+",
            Operation::Subtract => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
            Operation::Modulo => "%",
        }
    }

    /// Precision and scale of the result of two decimals.
    fn decimal(self, (p1, s1): (i32, i32), (p2, s2): (i32, i32)) -> (u8, i8) {
        let (precision, scale) = match self {
            Operation::Add | Operation::Subtract => (s1.max(s2) + (p1 - s1).max(p2 - s2) + 1, s1.max(s2)),
            Operation::Multiply => (p1 + p2 + 1, s1 + s2),
            Operation::Divide => {
                let scale = (s1 + p2 + 1).max(6);
                (p1 - s1 + s2 + scale, scale)
            }
            Operation::Modulo => ((p1 - s1).min(p2 - s2) + s1.max(s2), s1.max(s2)),
        };
        if precision <= 38 {
            return (precision as u8, scale as i8);
        }
        let whole = precision - scale;
        (38, (38 - whole).max(scale.min(6)) as i8)
    }
}

/// A whole number's type as a decimal.
fn digits(data_type: &DataType) -> Option<(i32, i32)> {
    Some(match data_type {
        DataType::Int8 => (3, 0),
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::Decimal128(precision, scale) => (i32::from(*precision), i32::from(*scale)),
        _ => return None,
    })
}

/// `left operation right` of exact numbers.
pub(super) fn checked(operation: Operation, left: Expr, right: Expr) -> Expr {
    ScalarUDF::from(Checked { operation, signature: user_defined() }).call(vec![left, right])
}

/// Unary minus of a number or an interval, an overflow is an error.
pub fn negate() -> ScalarUDF {
    ScalarUDF::from(Negate { signature: user_defined() })
}

fn user_defined() -> Signature {
    Signature::user_defined(Volatility::Immutable)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

/// The type of checked arithmetic, from its sides' types alone; `None` for all else. The planner's own way to a type writes the names of all that is
/// inside, at every level.
pub(super) fn type_of_checked(expression: &Expr, schema: &DFSchema) -> Option<DataType> {
    let Expr::ScalarFunction(call) = expression else { return None };
    let found: &dyn std::any::Any = call.func.inner().as_ref();
    let checked = found.downcast_ref::<Checked>()?;
    let of = |side: &Expr| match side {
        Expr::Literal(value, _) => Some(value.data_type()),
        other => type_of_checked(other, schema).or_else(|| other.get_type(schema).ok()),
    };
    let sides = call.args.iter().map(of).collect::<Option<Vec<_>>>()?;
    checked.return_type(&sides).ok()
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.operation.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = types else { return plan_err!("`{}` takes two numbers", self.operation.symbol()) };
        let left = if left.is_null() { right } else { left };
        let right = if right.is_null() { left } else { right };
        let (Some(l), Some(r)) = (digits(left), digits(right)) else {
            return plan_err!("`{}` takes numbers", self.operation.symbol());
        };
        if left.is_integer() && right.is_integer() {
            let wider = if l.0 >= r.0 { left } else { right };
            return Ok(vec![wider.clone(), wider.clone()]);
        }
        Ok([l, r].map(|(precision, scale)| DataType::Decimal128(precision as u8, scale as i8)).to_vec())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.coerce_types(types)?.as_slice() {
            [DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)] => {
                let wide = |p: &u8, s: &i8| (i32::from(*p), i32::from(*s));
                let (precision, scale) = self.operation.decimal(wide(p1, s1), wide(p2, s2));
                Ok(DataType::Decimal128(precision, scale))
            }
            [other, ..] => Ok(other.clone()),
            [] => plan_err!("`{}` takes two numbers", self.operation.symbol()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let [left, right] = args.args.as_slice() else { return exec_err!("two arguments") };
        let result: ArrayRef = match args.return_field.data_type() {
            DataType::Decimal128(precision, scale) => {
                let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
                let sides = (left.as_primitive_opt::<Decimal128Type>(), right.as_primitive_opt::<Decimal128Type>());
                let (Some(left), Some(right)) = sides else { return exec_err!("decimals expected") };
                Arc::new(decimals(self.operation, left, right, *precision, *scale)?)
            }
            _ => {
                let (left, right) = (datum(left)?, datum(right)?);
                let (left, right) = (left.as_ref(), right.as_ref());
                match self.operation {
                    Operation::Add => numeric::add(left, right)?,
                    Operation::Subtract => numeric::sub(left, right)?,
                    Operation::Multiply => numeric::mul(left, right)?,
                    Operation::Divide => numeric::div(left, right)?,
                    Operation::Modulo => numeric::rem(left, right)?,
                }
            }
        };
        if scalar {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn datum(value: &ColumnarValue) -> Result<Box<dyn Datum>> {
    Ok(match value {
        ColumnarValue::Array(array) => Box::new(Arc::clone(array)),
        ColumnarValue::Scalar(value) => Box::new(Scalar::new(value.to_array()?)),
    })
}

fn power(exponent: u32) -> Option<i256> {
    (0..exponent).try_fold(i256::ONE, |power, _| power.checked_mul(i256::from_i128(10)))
}

/// `value / by`, rounded half away from zero.
fn divide_rounded(value: i256, by: i256) -> Option<i256> {
    let quotient = value.checked_div(by)?;
    let rest = value.checked_sub(quotient.checked_mul(by)?)?;
    let twice = rest.checked_mul(i256::from_i128(2))?;
    if twice.wrapping_abs() < by.wrapping_abs() {
        return Some(quotient);
    }
    let up = value.is_negative() == by.is_negative();
    quotient.checked_add(i256::from_i128(if up { 1 } else { -1 }))
}

fn rescale(value: i256, from: i32, to: i32) -> Option<i256> {
    match to - from {
        0 => Some(value),
        more @ 1.. => value.checked_mul(power(more as u32)?),
        less => divide_rounded(value, power(less.unsigned_abs())?),
    }
}

/// The remainder of decimals, of this precision and scale.
pub(super) fn remainder(left: &ArrayRef, right: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef> {
    let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    Ok(Arc::new(decimals(Operation::Modulo, left, right, precision, scale)?))
}

fn decimals(
    operation: Operation,
    left: &Decimal128Array,
    right: &Decimal128Array,
    precision: u8,
    scale: i8,
) -> Result<Decimal128Array> {
    let (s1, s2, scale) = (i32::from(left.scale()), i32::from(right.scale()), i32::from(scale));
    let limit = 10i128.pow(u32::from(precision));
    let fast = |l: i128, r: i128| -> Option<i128> {
        match operation {
            Operation::Add | Operation::Subtract if scale == s1.max(s2) => {
                let l = l.checked_mul(10i128.checked_pow((scale - s1) as u32)?)?;
                let r = r.checked_mul(10i128.checked_pow((scale - s2) as u32)?)?;
                if operation == Operation::Add { l.checked_add(r) } else { l.checked_sub(r) }
            }
            Operation::Multiply if scale == s1 + s2 => l.checked_mul(r),
            _ => None,
        }
    };
    let exact = |l: i128, r: i128| -> Option<i128> {
        let (l, r) = (i256::from_i128(l), i256::from_i128(r));
        let common = s1.max(s2);
        let aligned = || Some((rescale(l, s1, common)?, rescale(r, s2, common)?));
        let result = match operation {
            Operation::Add => aligned().and_then(|(l, r)| rescale(l.checked_add(r)?, common, scale)),
            Operation::Subtract => aligned().and_then(|(l, r)| rescale(l.checked_sub(r)?, common, scale)),
            Operation::Multiply => l.checked_mul(r).and_then(|product| rescale(product, s1 + s2, scale)),
            Operation::Divide => {
                let shift = scale + s2 - s1;
                let (up, down) = if shift >= 0 { (shift as u32, 0) } else { (0, shift.unsigned_abs()) };
                divide_rounded(l.checked_mul(power(up)?)?, r.checked_mul(power(down)?)?)
            }
            Operation::Modulo => aligned().and_then(|(l, r)| rescale(l.checked_rem(r)?, common, scale)),
        };
        result?.to_i128()
    };
    let zero_matters = matches!(operation, Operation::Divide | Operation::Modulo);
    let rows = left.iter().zip(right.iter()).map(|pair| match pair {
        (Some(l), Some(r)) => {
            if r == 0 && zero_matters {
                return exec_err!("division by zero");
            }
            match fast(l, r).or_else(|| exact(l, r)).filter(|value| value.unsigned_abs() < limit.unsigned_abs()) {
                Some(value) => Ok(Some(value)),
                None => exec_err!("the result of `{}` does not fit DECIMAL({precision}, {scale})", operation.symbol()),
            }
        }
        _ => Ok(None),
    });
    let values = rows.collect::<Result<Decimal128Array>>()?;
    Ok(values.with_precision_and_scale(precision, scale as i8)?)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Negate {
    signature: Signature,
}

fn one_number(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [one] if one.is_null() => Ok(vec![DataType::Int32]),
        [one] if digits(one).is_some() || one.is_floating() => Ok(vec![one.clone()]),
        [DataType::Interval(unit)] => Ok(vec![DataType::Interval(*unit)]),
        [other] => plan_err!(
            "unary minus takes a number or an interval, not {}",
            super::shown(&Field::new("", other.clone(), true))
        ),
        _ => plan_err!("unary minus takes one number"),
    }
}

impl ScalarUDFImpl for Negate {
    fn name(&self) -> &str {
        "$negate"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        one_number(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.coerce_types(types)?.remove(0))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Array(numeric::neg(&args.args[0].to_array(args.number_rows)?)?))
    }
}
