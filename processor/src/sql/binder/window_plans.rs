//! Windows in batch, as plans of DataFusion's own operators.
//!
//! ```text
//!  TUMBLE, HOP, CUMULATE   rows ─► lists of bounds by a kernel ─► unnest
//!  SESSION                 rows ─► pause before each row (LAG) ─► number of the session (running SUM) ─► its MIN and MAX time
//! ```

use std::sync::Arc;

use aquifer_formats::text::Tz;
use aquifer_model::{Error, Result};
use arrow::array::{Array, ArrayRef, Int64Array, Int64Builder, ListArray, TimestampMillisecondArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Column, ScalarValue, UnnestOptions};
use datafusion::functions_aggregate::expr_fn::{max, min, sum};
use datafusion::functions_window::expr_fn::lag;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, WindowFrame, WindowFrameBound, WindowFrameUnits, lit, when,
};

use crate::batch::external;
use crate::functions::{offset_at_instant, offset_at_wall, session_zone};
use crate::operators::window_assign::{milliseconds, windows_of};
use crate::plan::WindowKind;

type DfResult<T> = datafusion::common::Result<T>;

fn columns_of(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().columns().into_iter().map(Expr::Column).collect()
}

/// Rows with the three columns of windows that a row's own time decides.
pub(super) fn sliced(input: LogicalPlan, time: Column, kind: WindowKind, new: [Field; 3]) -> DfResult<LogicalPlan> {
    let own = columns_of(&input);
    let mut expressions = own.clone();
    for (which, field) in new.iter().enumerate() {
        let bound = ScalarUDF::from(Bounds { kind, which, field: field.clone(), signature: any(1) });
        expressions.push(bound.call(vec![Expr::Column(time.clone())]).alias(field.name()));
    }
    let lists: Vec<Column> = new.iter().map(|field| Column::from_name(field.name())).collect();
    let single = matches!(kind, WindowKind::Tumble { .. });
    let plan = LogicalPlanBuilder::from(input).filter(Expr::Column(time).is_not_null())?.project(expressions)?;
    if single { plan.build() } else { plan.unnest_columns_with_options(lists, UnnestOptions::new())?.build() }
}

/// Rows with the three columns of their session.
pub(super) fn session(
    input: LogicalPlan,
    time: Column,
    gap: i64,
    keys: Vec<Expr>,
    new: [Field; 3],
) -> DfResult<LogicalPlan> {
    const AT: &str = "__aquifer_at";
    const PAUSE: &str = "__aquifer_pause";
    const NUMBER: &str = "__aquifer_session";
    let own = columns_of(&input);
    let at = || Expr::Column(Column::from_name(AT));
    let column = |name: &str| Expr::Column(Column::from_name(name));
    let local = ScalarUDF::from(LocalMillis { signature: any(1) });
    let mut expressions = own.clone();
    expressions.push(local.call(vec![Expr::Column(time.clone())]).alias(AT));
    let plan =
        LogicalPlanBuilder::from(input).filter(Expr::Column(time.clone()).is_not_null())?.project(expressions)?;
    let running = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
        WindowFrameBound::CurrentRow,
    );
    let order = || vec![at().sort(true, true)];
    // Two rows exactly one gap apart are in one session.
    let pause = at() - lag(at(), Some(1), None).partition_by(keys.clone()).order_by(order()).build()?;
    let mut with_pause = own.clone();
    with_pause.extend([at(), pause.alias(PAUSE)]);
    let plan = plan.window(find_windows(&with_pause))?.project(with_pause)?;
    let begins = when(column(PAUSE).gt(lit(gap)), lit(1i64)).otherwise(lit(0i64))?;
    let number = as_window(sum(begins)).partition_by(keys.clone()).order_by(order()).window_frame(running).build()?;
    let mut with_number = own.clone();
    with_number.extend([at(), number.alias(NUMBER)]);
    let plan = plan.window(find_windows(&with_number))?.project(with_number)?;
    let mut of_session = keys;
    of_session.push(column(NUMBER));
    let start = as_window(min(at())).partition_by(of_session.clone()).build()?;
    let last = as_window(max(at())).partition_by(of_session).build()?;
    let end = last + lit(gap);
    let mut bounds = own;
    let wall = |expression: Expr, field: &Field| {
        let udf = ScalarUDF::from(FromLocal { field: field.clone(), signature: any(1) });
        udf.call(vec![expression]).alias(field.name())
    };
    let [start_field, end_field, time_field] = &new;
    bounds.push(wall(start, start_field));
    bounds.push(wall(end.clone(), end_field));
    bounds.push(wall(end - lit(1i64), time_field));
    plan.window(find_windows(&bounds))?.project(bounds)?.build()
}

/// An aggregate over a window.
fn as_window(aggregate: Expr) -> Expr {
    match aggregate {
        Expr::AggregateFunction(aggregate) => {
            let function = datafusion::logical_expr::WindowFunctionDefinition::AggregateUDF(aggregate.func);
            let arguments = aggregate.params.args;
            Expr::from(datafusion::logical_expr::expr::WindowFunction::new(function, arguments))
        }
        other => other,
    }
}

fn find_windows(expressions: &[Expr]) -> Vec<Expr> {
    datafusion::logical_expr::utils::find_window_exprs(expressions)
}

fn any(arguments: usize) -> Signature {
    Signature::any(arguments, Volatility::Immutable)
}

/// A time column on the wall clock, in milliseconds; an instant's in the session's zone.
fn local_millis(time: &ArrayRef, zone: Option<Tz>) -> Result<Int64Array> {
    let times = milliseconds(time)?;
    match (time.data_type(), zone) {
        (DataType::Timestamp(_, Some(_)), Some(zone)) => {
            times.try_unary(|instant| Ok(instant + offset_millis(offset_at_instant(nanos(instant), zone), instant)?))
        }
        _ => Ok(times),
    }
}

/// Wall-clock milliseconds as a column of the field's type.
fn of_wall(values: Int64Array, data_type: &DataType, zone: Option<Tz>) -> Result<ArrayRef> {
    let values = match (data_type, zone) {
        (DataType::Timestamp(_, Some(_)), Some(zone)) => {
            values.try_unary(|wall| Ok::<_, Error>(wall - offset_millis(offset_at_wall(nanos(wall), zone), wall)?))?
        }
        _ => values,
    };
    let values: TimestampMillisecondArray = values.reinterpret_cast();
    match data_type {
        DataType::Timestamp(TimeUnit::Millisecond, Some(zone)) => Ok(Arc::new(values.with_timezone(Arc::clone(zone)))),
        _ => Ok(cast(&values, data_type)?),
    }
}

fn nanos(millis: i64) -> i128 {
    i128::from(millis) * 1_000_000
}

/// What a zone's clocks are ahead, in milliseconds, if the time is in the calendar.
fn offset_millis(nanos: Option<i128>, millis: i64) -> Result<i64> {
    let nanos = nanos.ok_or_else(|| Error::invalid(format!("the time {millis} ms is out of range")))?;
    Ok((nanos / 1_000_000) as i64)
}

/// One of a window's three columns: a value a row for TUMBLE, a list of them else.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounds {
    kind: WindowKind,
    which: usize,
    field: Field,
    signature: Signature,
}

impl Bounds {
    fn output(&self) -> FieldRef {
        match self.kind {
            WindowKind::Tumble { .. } => Arc::new(self.field.clone()),
            _ => Arc::new(Field::new_list(self.field.name(), self.field.clone(), false)),
        }
    }
}

impl ScalarUDFImpl for Bounds {
    fn name(&self) -> &str {
        self.field.name()
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(self.output().data_type().clone())
    }
    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(self.output())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let zone = session_zone(&args.config_options).map_err(external)?;
        let time = args.args[0].to_array(args.number_rows)?;
        let times = local_millis(&time, zone).map_err(external)?;
        let mut values = Int64Builder::with_capacity(times.len());
        let mut ends = Vec::with_capacity(times.len() + 1);
        ends.push(0i32);
        for time in times.iter() {
            // Rows without a time are filtered out below; what a projection pushed under the filter computes for them is not read.
            if let Some(time) = time {
                let which = self.which;
                let value = |start: i64, end: i64| [start, end, end - 1][which];
                windows_of(self.kind, time, |start, end| values.append_value(value(start, end))).map_err(external)?;
            } else if matches!(self.kind, WindowKind::Tumble { .. }) {
                values.append_value(0);
            }
            let length = i32::try_from(arrow::array::ArrayBuilder::len(&values));
            ends.push(
                length.map_err(|_| external(Error::invalid("a batch of rows is in more than two billion windows")))?,
            );
        }
        let values = of_wall(values.finish(), self.field.data_type(), zone).map_err(external)?;
        if matches!(self.kind, WindowKind::Tumble { .. }) {
            return Ok(ColumnarValue::Array(values));
        }
        let item = match self.output().data_type() {
            DataType::List(item) => Arc::clone(item),
            _ => Arc::new(self.field.clone()),
        };
        let lists = ListArray::try_new(item, OffsetBuffer::new(ScalarBuffer::from(ends)), values, None)?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

/// A time on the wall clock, in milliseconds.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalMillis {
    signature: Signature,
}

impl ScalarUDFImpl for LocalMillis {
    fn name(&self) -> &str {
        "__aquifer_local_millis"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Int64)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let zone = session_zone(&args.config_options).map_err(external)?;
        let time = args.args[0].to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(local_millis(&time, zone).map_err(external)?)))
    }
}

/// The way back from [`LocalMillis`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct FromLocal {
    field: Field,
    signature: Signature,
}

impl ScalarUDFImpl for FromLocal {
    fn name(&self) -> &str {
        self.field.name()
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(self.field.data_type().clone())
    }
    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::new(self.field.clone()))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let zone = session_zone(&args.config_options).map_err(external)?;
        let wall = cast(&args.args[0].to_array(args.number_rows)?, &DataType::Int64)?;
        let wall = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&wall).clone();
        Ok(ColumnarValue::Array(of_wall(wall, self.field.data_type(), zone).map_err(external)?))
    }
}
