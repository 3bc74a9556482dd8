//! A job as data: inputs, stages, and what a snapshot of it holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aquifer_catalog::options::WatermarkSettings;
use aquifer_model::{Cut, Epoch, Result, Watermark};
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, max};
use arrow::datatypes::{DataType, Fields, Int64Type, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};

use super::operator::{Operator, Snapshot};
use super::source::JobInput;
use crate::operators::stateless::{Stateless, evaluate};
use crate::operators::window_assign::milliseconds;

/// A job: inputs side by side, then stages one after the other.
#[derive(Debug)]
pub struct JobSpec {
    /// What it reads; all give the same columns after their runs.
    pub inputs: Vec<InputSpec>,
    /// What follows, with an exchange before each.
    pub stages: Vec<StageSpec>,
    /// The result's columns.
    pub schema: SchemaRef,
}

/// One input and what happens to its rows before the first stage.
#[derive(Debug)]
pub struct InputSpec {
    /// The partitions.
    pub input: Arc<dyn JobInput>,
    /// What must run before the watermark can be computed.
    pub before_watermark: Stateless,
    /// Its watermark; without one it stays below all rows until the input ends.
    pub watermark: Option<WatermarkSpec>,
    /// What its table says of time; the job's settings hold where it says nothing.
    pub times: WatermarkSettings,
    /// Whether the run before the watermark ends with the hidden column [`super::ROW_WATERMARK`].
    pub row_watermark: bool,
    /// What runs on the workers.
    pub run: Stateless,
}

/// How a row's watermark is computed.
#[derive(Debug, Clone)]
pub struct WatermarkSpec {
    /// The time column's name, for messages, and its place; a NULL in it is an error.
    pub time_column: (String, usize),
    /// The watermark, of a timestamp type; NULL says nothing.
    pub expression: Arc<dyn PhysicalExpr>,
    /// The place of a Boolean column: where it is true, the time may be NULL.
    pub timeless: Option<usize>,
}

impl WatermarkSpec {
    /// The highest watermark that rows say. Where the expression rises with the time it is computed for the latest row alone.
    pub(crate) fn highest(&self, rows: &RecordBatch) -> Result<Option<i64>> {
        let column = self.time_column.1;
        let latest = if rises(&self.expression, column) { latest(rows.column(column)) } else { None };
        let rows = latest.map_or_else(|| rows.clone(), |row| rows.slice(row, 1));
        Ok(max(&milliseconds(&evaluate(&self.expression, &rows)?)?))
    }
}

/// Whether an expression over a time column never falls where the time rises: the column, a fixed stretch of time around it, another unit of it.
fn rises(expression: &Arc<dyn PhysicalExpr>, column: usize) -> bool {
    let any: &dyn std::any::Any = expression.as_ref();
    if let Some(found) = any.downcast_ref::<Column>() {
        return found.index() == column;
    }
    if let Some(cast) = any.downcast_ref::<CastExpr>() {
        return matches!(cast.cast_type(), DataType::Timestamp(..)) && rises(cast.expr(), column);
    }
    let Some(binary) = any.downcast_ref::<BinaryExpr>() else { return false };
    let right: &dyn std::any::Any = binary.right().as_ref();
    let fixed = match right.downcast_ref::<Literal>().map(Literal::value) {
        // Months are of many lengths: the 31st less a month may be earlier than the 30th less a month.
        Some(ScalarValue::IntervalMonthDayNano(Some(interval))) => interval.months == 0,
        Some(ScalarValue::IntervalDayTime(Some(_)) | ScalarValue::DurationMillisecond(Some(_))) => true,
        _ => false,
    };
    fixed && matches!(binary.op(), Op::Plus | Op::Minus) && rises(binary.left(), column)
}

/// The row with the latest time; `None` without one, or where the column is no timestamp.
fn latest(times: &ArrayRef) -> Option<usize> {
    let numbers =
        matches!(times.data_type(), DataType::Timestamp(..)).then(|| cast(times, &DataType::Int64).ok())??;
    let numbers = numbers.as_primitive::<Int64Type>();
    let highest = max(numbers)?;
    numbers.iter().position(|number| number == Some(highest))
}

/// A stateful operator and what runs behind it.
#[derive(Clone)]
pub struct StageSpec {
    /// What it is, for messages.
    pub name: String,
    /// The columns of its input whose hash says which worker takes a row.
    pub keys: Vec<usize>,
    /// These columns.
    pub key_fields: Fields,
    /// Makes one worker's instance.
    pub make: Arc<dyn Fn() -> Result<Box<dyn Operator>> + Send + Sync>,
    /// What runs on its output.
    pub run: Stateless,
}

impl fmt::Debug for StageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageSpec").field("name", &self.name).field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// A job at the end of an epoch: from it the job goes on, on any number of workers, as if it had not stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSnapshot {
    /// The epoch that ended.
    pub epoch: Epoch,
    /// Where its inputs stood.
    pub sources: SourceMarks,
    /// Each stage's part, of all workers.
    pub operators: Vec<Snapshot>,
}

/// Where a job's inputs stood at the end of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceMarks {
    /// The combined watermark.
    pub watermark: Watermark,
    /// By input and partition.
    pub partitions: BTreeMap<(usize, String), PartitionMark>,
}

/// Where one partition stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionMark {
    /// Where to resume; `None`: nothing was read of it, it starts where the statement says.
    pub cut: Option<Cut>,
    /// Its own watermark.
    pub watermark: Watermark,
    /// It did not hold the combined watermark back.
    pub idle: bool,
    /// Nothing more comes.
    pub ended: bool,
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMillisecondArray;
    use arrow::datatypes::{Field, IntervalMonthDayNano, Schema, TimeUnit};
    use datafusion::physical_expr::expressions::{binary, col, lit};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn the_latest_row_says_the_highest_watermark_where_the_expression_rises() {
        let mut random = StdRng::seed_from_u64(5);
        let fields = vec![
            Field::new("n", DataType::Int64, true),
            Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ];
        let schema = Arc::new(Schema::new(fields));
        let interval = |months, days, nanoseconds| {
            lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months, days, nanoseconds })))
        };
        let moved = |by, op| binary(col("ts", &schema).expect("ts"), op, by, &schema).expect("types fit");
        let cases = [
            (col("ts", &schema).expect("ts"), true),
            (moved(interval(0, 0, 4_000_000_000), Op::Minus), true),
            (moved(interval(0, 2, -1_000_000), Op::Plus), true),
            (moved(interval(1, 0, 0), Op::Minus), false),
        ];
        for (expression, expected) in cases {
            assert_eq!(rises(&expression, 1), expected, "{expression}");
            assert!(!rises(&expression, 0), "{expression} is about another column");
            let spec = WatermarkSpec { time_column: ("ts".into(), 1), expression, timeless: None };
            for _ in 0..100 {
                let rows = random.random_range(0..20);
                // Around the end of March, where months are uneven.
                let times: TimestampMillisecondArray = (0..rows)
                    .map(|_| random.random_bool(0.9).then(|| 1_711_800_000_000 + random.random_range(0..200_000_000)))
                    .collect();
                let numbers: arrow::array::Int64Array = (0..rows).map(Some).collect();
                let rows =
                    RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(numbers), Arc::new(times)]).expect("fits");
                let all = max(&milliseconds(&evaluate(&spec.expression, &rows).expect("computes")).expect("a time"));
                assert_eq!(spec.highest(&rows).expect("computes"), all);
            }
        }
    }
}
