//! What Arrow does not do with intervals as Flink does: a whole number times an interval, and a time of day moved by one, around midnight.

use std::sync::Arc;

use aquifer_model::SqlType;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const DAY: i128 = 86_400_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Times,
    Later,
    Earlier,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Intervals {
    what: What,
    result: SqlType,
    signature: Signature,
}

fn function(what: What, result: &SqlType, args: Vec<Expr>) -> Expr {
    let signature = Signature::any(2, Volatility::Immutable);
    ScalarUDF::from(Intervals { what, result: result.clone(), signature }).call(args)
}

/// An interval of this type times a BIGINT.
pub(super) fn times(interval: Expr, count: Expr, own: &SqlType) -> Expr {
    function(What::Times, own, vec![interval, count])
}

/// A TIME of this type, an interval later or earlier.
pub(super) fn moved(time: Expr, interval: Expr, earlier: bool, own: &SqlType) -> Expr {
    function(if earlier { What::Earlier } else { What::Later }, own, vec![time, interval])
}

impl ScalarUDFImpl for Intervals {
    fn name(&self) -> &str {
        match self.what {
            What::Times => "interval_times",
            What::Later => "time_plus",
            What::Earlier => "time_minus",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.result.to_arrow())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let column = if nullable { self.result.clone().nullable() } else { self.result.clone().not_null() };
        Ok(Arc::new(column.to_field(self.name())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let one = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if one { 1 } else { args.number_rows };
        let [left, right] = args.args.as_slice() else { return exec_err!("two arguments") };
        let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
        let result = match self.what {
            What::Times => scaled(&left, &right)?,
            What::Later | What::Earlier => around_midnight(&left, &right, self.what == What::Earlier)?,
        };
        Ok(if one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

fn scaled(intervals: &ArrayRef, counts: &ArrayRef) -> Result<ArrayRef> {
    let counts = cast(counts, &DataType::Int64)?;
    let pairs =
        intervals.as_primitive::<IntervalMonthDayNanoType>().iter().zip(counts.as_primitive::<Int64Type>().iter());
    let scaled = pairs.map(|pair| {
        let (Some(interval), Some(count)) = pair else { return Ok(None) };
        let narrow = |part: i32| i32::try_from(i64::from(part).checked_mul(count)?).ok();
        let parts = (narrow(interval.months), narrow(interval.days), interval.nanoseconds.checked_mul(count));
        match parts {
            (Some(months), Some(days), Some(nanos)) => Ok(Some(IntervalMonthDayNano::new(months, days, nanos))),
            _ => Err(exec_datafusion_err!("an interval times {count} is out of range")),
        }
    });
    Ok(Arc::new(scaled.collect::<Result<IntervalMonthDayNanoArray>>()?))
}

fn around_midnight(times: &ArrayRef, intervals: &ArrayRef, earlier: bool) -> Result<ArrayRef> {
    let unit: i128 = match times.data_type() {
        DataType::Time32(TimeUnit::Second) => 1_000_000_000,
        DataType::Time32(_) => 1_000_000,
        DataType::Time64(TimeUnit::Microsecond) => 1_000,
        DataType::Time64(_) => 1,
        other => return exec_err!("{other} is no time of day"),
    };
    let narrow = matches!(times.data_type(), DataType::Time32(_));
    let ticks =
        if narrow { cast(&cast(times, &DataType::Int32)?, &DataType::Int64)? } else { cast(times, &DataType::Int64)? };
    let pairs =
        ticks.as_primitive::<Int64Type>().iter().zip(intervals.as_primitive::<IntervalMonthDayNanoType>().iter());
    let moved: Int64Array = pairs
        .map(|(tick, interval)| {
            // Whole days lead to the same time of day.
            let nanos = i128::from(interval?.nanoseconds);
            let moved = i128::from(tick?) * unit + if earlier { -nanos } else { nanos };
            i64::try_from(moved.rem_euclid(DAY) / unit).ok()
        })
        .collect();
    let moved: ArrayRef = Arc::new(moved);
    let moved = if narrow { cast(&moved, &DataType::Int32)? } else { moved };
    Ok(cast(&moved, times.data_type())?)
}
