//! Aggregates of a plan: which operator, and its columns.
//!
//! `GROUP BY` with both bounds of one window is a window aggregate: it emits once and only inserts. Anything else is a group aggregate, whose results are
//! updated. Before either stands a projection to its keys, its arguments and, where lateness is exact, the hidden column.

use std::sync::Arc;

use aquifer_model::{Error, Result};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Case};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, lit};
use datafusion::physical_expr::PhysicalExpr;

use super::planner::{Mark, Planned, Planner, mark_of, only_batch};
use crate::dataflow::{Operator, StageSpec};
use crate::operators::aggregates::{Accumulators, AggregateKind, AggregateSpec};
use crate::operators::group_aggregate::{GroupAggregate, GroupAggregateSpec};
use crate::operators::keys::KeyCodec;
use crate::operators::stateless::Stateless;
use crate::operators::window_aggregate::{GroupColumn, WindowAggregate, WindowAggregateSpec};

/// The columns before an aggregate.
#[derive(Default)]
struct Columns {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    marks: Vec<Option<Mark>>,
}

impl Planner<'_> {
    /// `SELECT DISTINCT`: a group aggregate without aggregates.
    pub(super) fn distinct(&mut self, input: &LogicalPlan) -> Result<Planned> {
        let mut planned = self.plan(input, false)?;
        let schema = Arc::clone(input.schema().inner());
        let keys: Vec<usize> = (0..schema.fields().len()).collect();
        let stage = group_stage(keys, vec![], &schema, &schema)?;
        planned.marks = vec![None; schema.fields().len()];
        (planned.append_only, planned.carries) = (false, false);
        planned.stages.push(stage);
        Ok(planned)
    }

    /// `GROUP BY`, or a global aggregate.
    pub(super) fn aggregate(&mut self, node: &Aggregate) -> Result<Planned> {
        let mut planned = self.plan(&node.input, self.watermark_per_row())?;
        let input = node.input.schema();
        let output = Arc::clone(node.schema.inner());
        let mut columns = Columns::default();
        for (expression, field) in node.group_expr.iter().zip(output.fields()) {
            if matches!(expression, Expr::GroupingSet(_)) {
                return Err(only_batch("`GROUPING SETS`, `ROLLUP` or `CUBE`"));
            }
            let physical = self.physical(expression, input)?;
            columns.marks.push(mark_of(&planned, &physical));
            columns.expressions.push(physical);
            columns.fields.push(Arc::clone(field));
        }
        let keys = columns.fields.len();
        let mut aggregates = vec![];
        for (expression, field) in node.aggr_expr.iter().zip(&output.fields()[keys..]) {
            let (mut spec, argument) = describe(expression, field, input)?;
            if let Some(argument) = argument {
                let argument_type = spec.argument_type.clone().unwrap_or(DataType::Null);
                spec.argument = Some(columns.fields.len());
                columns.expressions.push(self.physical(&argument, input)?);
                columns.fields.push(Arc::new(Field::new(
                    format!("argument{}", columns.fields.len()),
                    argument_type,
                    true,
                )));
            }
            if !planned.append_only && !spec.retracts() {
                return Err(only_batch(
                    "`MIN` and `MAX` over rows that may be taken back (another aggregate's results)",
                ));
            }
            aggregates.push(spec);
        }
        if columns.fields.is_empty() {
            // A batch without columns does not travel; `COUNT(*)` needs only its number of rows.
            columns.expressions.push(self.physical(&lit(true), input)?);
            columns.fields.push(Arc::new(Field::new("row", DataType::Boolean, false)));
        }
        // The marks are the input's until here: the hidden column stands behind the input's columns.
        let before: SchemaRef = Arc::new(Schema::new(columns.fields.clone()));
        let before = self.push_projection(&mut planned, columns.expressions, &before);
        let stage = match window_of(&columns.marks) {
            Some((start, end)) => {
                let group = columns.marks.iter().enumerate().map(|(index, mark)| match mark {
                    Some(Mark::Start(_)) if index == start => GroupColumn::Start,
                    Some(Mark::End(_)) if index == end => GroupColumn::End,
                    Some(Mark::Time(window)) if columns.marks[start] == Some(Mark::Start(*window)) => GroupColumn::Time,
                    _ => GroupColumn::Key(index),
                });
                let row_watermark = planned.carries.then(|| before.fields().len() - 1);
                let group = group.collect();
                let spec = WindowAggregateSpec { start, end, group, aggregates, schema: output, row_watermark };
                planned.marks = columns.marks;
                planned.marks.resize(spec.schema.fields().len(), None);
                planned.append_only = true;
                window_stage(spec, &before)?
            }
            None => {
                planned.marks = vec![None; output.fields().len()];
                planned.append_only = false;
                group_stage((0..keys).collect(), aggregates, &output, &before)?
            }
        };
        planned.carries = false;
        planned.stages.push(stage);
        Ok(planned)
    }
}

/// The places of the start and the end of one window.
fn window_of(marks: &[Option<Mark>]) -> Option<(usize, usize)> {
    marks.iter().enumerate().find_map(|(start, mark)| {
        let Some(Mark::Start(window)) = mark else { return None };
        let end = marks.iter().position(|mark| *mark == Some(Mark::End(*window)))?;
        Some((start, end))
    })
}

fn window_stage(spec: WindowAggregateSpec, input: &SchemaRef) -> Result<StageSpec> {
    let keys: Vec<usize> =
        spec.group.iter().filter_map(|c| if let GroupColumn::Key(key) = c { Some(*key) } else { None }).collect();
    let make = {
        let input = Arc::clone(input);
        move || -> Result<Box<dyn Operator>> { Ok(Box::new(WindowAggregate::new(spec.clone(), &input)?)) }
    };
    stage("window aggregate", keys, input, make)
}

fn group_stage(
    keys: Vec<usize>,
    aggregates: Vec<AggregateSpec>,
    output: &SchemaRef,
    input: &SchemaRef,
) -> Result<StageSpec> {
    let spec = GroupAggregateSpec { keys: keys.clone(), aggregates, schema: Arc::clone(output) };
    let make = {
        let input = Arc::clone(input);
        move || -> Result<Box<dyn Operator>> { Ok(Box::new(GroupAggregate::new(spec.clone(), &input)?)) }
    };
    stage("group aggregate", keys, input, make)
}

/// A stage of the operators that `make` makes, its input split by these columns.
pub(super) fn stage(
    name: &str,
    keys: Vec<usize>,
    input: &SchemaRef,
    make: impl Fn() -> Result<Box<dyn Operator>> + Send + Sync + 'static,
) -> Result<StageSpec> {
    // What cannot be grouped or aggregated is refused when the statement starts, not on a worker.
    make()?;
    let key_fields: Fields = keys.iter().map(|key| Arc::clone(&input.fields()[*key])).collect();
    KeyCodec::new(key_fields.clone())?;
    Ok(StageSpec { name: name.to_string(), keys, key_fields, make: Arc::new(make), run: Stateless::default() })
}

/// An aggregate of the plan and the argument to compute for it, if it takes one. A `FILTER` becomes a NULL argument where it does not hold.
fn describe(expression: &Expr, field: &FieldRef, input: &DFSchema) -> Result<(AggregateSpec, Option<Expr>)> {
    let function = match expression {
        Expr::Alias(alias) => return describe(&alias.expr, field, input),
        Expr::AggregateFunction(function) => function,
        other => return Err(Error::internal(format!("`{other}` is no aggregate"))),
    };
    let AggregateFunction { func, params } = function;
    let name = func.name();
    let kind = match name.to_ascii_lowercase().as_str() {
        "count" => AggregateKind::Count,
        "sum" => AggregateKind::Sum,
        "avg" => AggregateKind::Average,
        "min" => AggregateKind::Min,
        "max" => AggregateKind::Max,
        _ => return Err(only_batch(&format!("the aggregate `{}`", name.to_uppercase()))),
    };
    if params.distinct && !matches!(kind, AggregateKind::Min | AggregateKind::Max) {
        return Err(only_batch(&format!("`{}(DISTINCT …)`", name.to_uppercase())));
    }
    if !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Err(only_batch(&format!("`{}` with an order or a treatment of NULLs", name.to_uppercase())));
    }
    let argument = match params.args.as_slice() {
        [] => None,
        [argument] => Some(argument.clone()),
        _ => return Err(Error::invalid(format!("`{}` takes one argument", name.to_uppercase()))),
    };
    let rows_only = |argument: &Expr| kind == AggregateKind::Count && is_constant(argument);
    let argument = match (argument.filter(|argument| !rows_only(argument)), &params.filter) {
        (argument, None) => argument,
        (argument, Some(filter)) => {
            let then = Box::new(argument.unwrap_or_else(|| lit(true)));
            Some(Expr::Case(Case { expr: None, when_then_expr: vec![(filter.clone(), then)], else_expr: None }))
        }
    };
    use datafusion::logical_expr::ExprSchemable;
    let argument_type = argument.as_ref().map(|argument| argument.get_type(input)).transpose();
    let argument_type = argument_type.map_err(crate::operators::stateless::expression_error)?;
    let spec = AggregateSpec { kind, argument: None, argument_type, output: Arc::clone(field) };
    Accumulators::new(std::slice::from_ref(&spec))?;
    Ok((spec, argument))
}

fn is_constant(expression: &Expr) -> bool {
    matches!(expression, Expr::Literal(value, _) if *value != ScalarValue::Null && !value.is_null())
}
