//! Filters, projections and window assignment, fused into one run: `WHERE`, `SELECT` expressions, `TABLE(TUMBLE(…))`.
//!
//! It keeps nothing and emits each batch at once. Row kinds follow their rows: an update that only one half of passes a filter becomes that half.
//! A hidden column ([`crate::dataflow::ROW_WATERMARK`]), where there is one, is the last column before and after each step.

use std::sync::Arc;

use aquifer_model::{ChangeBatch, Error, Result};
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use super::window_assign;
use crate::dataflow::operator::{EpochEnd, Operator, Output, Port, Snapshot, SnapshotReader};
use crate::plan::WindowKind;

/// One step of a run.
#[derive(Debug, Clone)]
pub enum Step {
    /// Keeps the rows for which it is true; NULL is no.
    Filter(Arc<dyn PhysicalExpr>),
    /// Replaces the columns.
    Project {
        /// One a column.
        expressions: Vec<Arc<dyn PhysicalExpr>>,
        /// The new columns.
        schema: SchemaRef,
    },
    /// Adds `window_start`, `window_end` and `window_time` after the input's columns.
    Window {
        /// The event time.
        time_column: usize,
        /// Which windows.
        kind: WindowKind,
        /// The input's columns and the three, then the hidden one.
        schema: SchemaRef,
    },
}

/// A fused run of steps.
#[derive(Debug, Clone, Default)]
pub struct Stateless {
    steps: Vec<Step>,
}

impl Stateless {
    /// A run of these steps, in order.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// Adds a step.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Its steps up to the last filter before rows are put into windows.
    pub fn leading_filters(&self) -> Self {
        let plain = self.steps.iter().take_while(|step| !matches!(step, Step::Window { .. })).count();
        let last = self.steps[..plain].iter().rposition(|step| matches!(step, Step::Filter(_)));
        Self { steps: self.steps[..last.map_or(0, |last| last + 1)].to_vec() }
    }

    /// Runs a batch through all steps.
    pub fn run(&self, mut batch: ChangeBatch) -> Result<ChangeBatch> {
        for step in &self.steps {
            if batch.num_rows() == 0 {
                // An expression need not be asked about nothing, but the columns must be those of the run's end.
                if let Step::Project { schema, .. } | Step::Window { schema, .. } = step {
                    batch = ChangeBatch::inserts(RecordBatch::new_empty(Arc::clone(schema)));
                }
                continue;
            }
            batch = step.run(batch)?;
        }
        Ok(batch)
    }
}

/// An error of an expression: the user's data, not a fault of ours.
pub(crate) fn expression_error(error: datafusion::error::DataFusionError) -> Error {
    Error::invalid(format!("evaluating an expression: {}", error.strip_backtrace()))
}

/// Evaluates an expression to one value a row.
pub(crate) fn evaluate(expression: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    expression.evaluate(rows).and_then(|value| value.into_array(rows.num_rows())).map_err(expression_error)
}

impl Step {
    fn run(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        match self {
            Step::Filter(predicate) => {
                let keep = evaluate(predicate, batch.rows())?;
                let keep = keep.as_boolean_opt().ok_or_else(|| Error::internal("a filter gives no BOOLEAN"))?;
                if keep.true_count() == batch.num_rows() { Ok(batch) } else { batch.filter(keep) }
            }
            Step::Project { expressions, schema } => {
                let columns = expressions.iter().zip(schema.fields()).map(|(expression, field)| {
                    let column = evaluate(expression, batch.rows())?;
                    // A NULL literal, or a type that differs in what the schema promises only.
                    Ok(if column.data_type() == field.data_type() { column } else { cast(&column, field.data_type())? })
                });
                let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
                batch.with_rows(table(schema, columns, batch.num_rows())?)
            }
            Step::Window { time_column, kind, schema } => {
                let rows = batch.rows();
                let width = schema.fields().len();
                let hidden = rows.num_columns() + 3 == width && crate::dataflow::has_row_watermark(schema);
                let first = width - 3 - usize::from(hidden);
                let [start, end, time] = [0, 1, 2].map(|column| schema.field(first + column).data_type());
                let windows = window_assign::assign(*kind, rows.column(*time_column), [start, end, time])?;
                let mut columns = rows.columns()[..first].to_vec();
                columns.extend(windows);
                columns.extend(rows.columns()[first..].iter().cloned());
                batch.with_rows(table(schema, columns, rows.num_rows())?)
            }
        }
    }
}

fn table(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

impl Operator for Stateless {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        out.push(self.run(batch)?);
        Ok(())
    }

    fn on_epoch_end(&mut self, _end: &EpochEnd, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    fn snapshot(&mut self, _into: &mut Snapshot) -> Result<()> {
        Ok(())
    }

    fn restore(&mut self, _from: &SnapshotReader) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Int64Array, TimestampMillisecondArray, UInt8Array};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_expr::expressions::{binary, col, lit};

    use super::*;
    use crate::operators::testing::changelog;

    #[test]
    fn a_run_filters_projects_and_assigns_and_keeps_the_kinds() {
        let time = DataType::Timestamp(TimeUnit::Millisecond, None);
        let input =
            Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("ts", time.clone(), false)]));
        let keep = binary(col("n", &input).expect("n"), Op::Gt, lit(1i64), &input).expect("types fit");
        let twice = binary(col("n", &input).expect("n"), Op::Multiply, lit(2i64), &input).expect("types fit");
        let mut fields = vec![Field::new("ts", time.clone(), false), Field::new("twice", DataType::Int64, true)];
        let projected = Arc::new(Schema::new(fields.clone()));
        fields.extend(["window_start", "window_end", "window_time"].map(|name| Field::new(name, time.clone(), false)));
        let run = Stateless::new(vec![
            Step::Filter(keep),
            Step::Project { expressions: vec![col("ts", &input).expect("ts"), twice], schema: projected },
            Step::Window {
                time_column: 0,
                kind: WindowKind::Tumble { size: 10, offset: 0 },
                schema: Arc::new(Schema::new(fields)),
            },
        ]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4)]));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1, 12, 3, -4]));
        let rows = RecordBatch::try_new(input, vec![numbers, times]).expect("fits");
        let batch = ChangeBatch::new(rows.clone(), UInt8Array::from(vec![0, 1, 2, 3])).expect("valid");
        let result = run.run(batch).expect("runs");
        let expected = ["-U 12 4 10 20 19", "-D -4 8 -10 0 -1"];
        assert_eq!(changelog(&[result]), expected);
        let nothing = run.run(ChangeBatch::inserts(rows.slice(0, 1))).expect("runs");
        assert_eq!((nothing.num_rows(), nothing.rows().num_columns()), (0, 5));
        assert_eq!(nothing.rows().column(1).len(), 0);
    }
}
