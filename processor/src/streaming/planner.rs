//! From an optimized logical plan to a job: stateless nodes are fused into runs, each aggregate is a stage.
//!
//! ```text
//!  Scan ─► [Project ─► Watermark] ─► Filter ─► Window ─► Aggregate ─► Project
//!          └ before_watermark ┘      └──── run ────┘    stage        └ its run
//! ```
//!
//! Where lateness is judged row by row, a hidden last column carries the watermark from the watermark node to the first aggregate; expressions name columns
//! by place, so they do not notice it. What streaming cannot run is refused by name. Each column knows whether it is a time attribute or a window's bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquifer_catalog::options::{Emit, WatermarkSettings};
use aquifer_model::{ChangeBatch, Error, Result};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, Values};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::aggregates::stage;
use super::pushdown::{self, Split};
use super::tiered::{ScannedTable, TieredInput, find_table};
use crate::batch::ConnectorInput;
use crate::batch::from_datafusion;
use crate::dataflow::{InputSpec, JobInput, JobSpec, Operator, ROW_WATERMARK, ScriptedInput, StageSpec, WatermarkSpec};
use crate::operators::last_by_key::{LastByKey, LastByKeySpec};
use crate::operators::stateless::{Stateless, Step, evaluate, expression_error};
use crate::plan::{UpsertNode, WatermarkNode, WindowKind, WindowNode};

/// What a column of a stream is beyond its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Watermarks are about this column.
    Rowtime,
    /// The start of a window of this node.
    Start(usize),
    /// Its end.
    End(usize),
    /// Its last millisecond: a time attribute again.
    Time(usize),
}

/// A planned part of the plan.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) inputs: Vec<InputSpec>,
    pub(super) stages: Vec<StageSpec>,
    /// Each column, without the hidden one.
    pub(super) marks: Vec<Option<Mark>>,
    /// Whether all rows are inserts.
    pub(super) append_only: bool,
    /// Whether the hidden column is there.
    pub(super) carries: bool,
}

impl Planned {
    /// Adds a step behind all that is planned.
    pub(super) fn push(&mut self, step: Step) {
        match self.stages.last_mut() {
            Some(stage) => stage.run.push(step),
            None => self.inputs.iter_mut().for_each(|input| input.run.push(step.clone())),
        }
    }
}

pub(super) struct Planner<'a> {
    state: &'a SessionState,
    watermark_per_row: bool,
    /// Whether tables that do not say have one.
    otherwise_per_row: bool,
    windows: usize,
    /// Filters above the watermark that is planned next, for its scan.
    pushed: Vec<Expr>,
    /// How many scans hold a pin of each name.
    pins: BTreeMap<String, usize>,
}

/// Plans a job.
pub(super) fn plan_job(plan: &LogicalPlan, state: &SessionState, watermark_per_row: bool) -> Result<JobSpec> {
    let otherwise_per_row = watermark_per_row;
    let watermark_per_row = has_watermarks_per_row(plan, otherwise_per_row);
    let (windows, pushed, pins) = (0, vec![], BTreeMap::new());
    let mut planner = Planner { state, watermark_per_row, otherwise_per_row, windows, pushed, pins };
    let mut planned = planner.plan(plan, watermark_per_row)?;
    let schema = Arc::clone(plan.schema().inner());
    if planned.carries {
        let columns = planner.columns(&schema);
        planned.push(Step::Project { expressions: columns, schema: Arc::clone(&schema) });
    }
    Ok(JobSpec { inputs: planned.inputs, stages: planned.stages, schema })
}

/// Whether a table in the plan has a watermark after every few rows; `otherwise`: those that do not say.
fn has_watermarks_per_row(plan: &LogicalPlan, otherwise: bool) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => match find_table(scan.source.as_ref()) {
            Some(ScannedTable::Tiered(table)) => {
                table.watermarks.emit.map_or(otherwise, |emit| matches!(emit, Emit::Rows(_)))
            }
            _ => otherwise,
        },
        plan => plan.inputs().into_iter().any(|input| has_watermarks_per_row(input, otherwise)),
    }
}

/// The error for what only batch can do.
pub(super) fn only_batch(what: &str) -> Error {
    Error::unsupported(format!("{what} in a streaming query: run it with `SET 'execution.runtime-mode' = 'batch'`"))
}

impl Planner<'_> {
    pub(super) fn watermark_per_row(&self) -> bool {
        self.watermark_per_row
    }

    /// Plans a node; `carries`: its rows are to have the hidden column.
    pub(super) fn plan(&mut self, plan: &LogicalPlan, carries: bool) -> Result<Planned> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, carries, None),
            LogicalPlan::Projection(node) => {
                let mut planned = self.plan(&node.input, carries)?;
                self.project(&mut planned, &node.expr, node.input.schema(), node.schema.inner())?;
                Ok(planned)
            }
            LogicalPlan::Filter(node) => {
                let per_row = has_watermarks_per_row(&node.input, self.otherwise_per_row);
                let split = if per_row { None } else { pushdown::split(&node.predicate, &node.input) };
                let rest = match split {
                    Some(Split { pushed, rest }) => {
                        self.pushed = pushed;
                        rest
                    }
                    None => Some(node.predicate.clone()),
                };
                let mut planned = self.plan(&node.input, carries)?;
                if let Some(rest) = rest {
                    planned.push(Step::Filter(self.physical(&rest, node.input.schema())?));
                }
                Ok(planned)
            }
            LogicalPlan::SubqueryAlias(node) => self.plan(&node.input, carries),
            LogicalPlan::Values(values) => self.values(values, carries),
            LogicalPlan::EmptyRelation(node) => {
                let schema = Arc::clone(node.schema.inner());
                let one_row = RecordBatchOptions::new().with_row_count(Some(1));
                let columns = schema.fields().iter().map(|field| arrow::array::new_null_array(field.data_type(), 1));
                let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns.collect(), &one_row);
                let rows = if node.produce_one_row { vec![ChangeBatch::inserts(batch?)] } else { vec![] };
                Ok(self.input(Arc::new(ScriptedInput::bounded(Arc::clone(&schema), vec![rows])), &schema, carries))
            }
            LogicalPlan::Union(node) => {
                let mut all: Option<Planned> = None;
                for input in &node.inputs {
                    let mut planned = self.plan(input, carries)?;
                    if !planned.stages.is_empty() {
                        return Err(only_batch("`UNION ALL` over an aggregate"));
                    }
                    let schema = node.schema.inner();
                    let expressions = self.columns(schema);
                    self.push_projection(&mut planned, expressions, schema);
                    match &mut all {
                        None => all = Some(planned),
                        Some(all) => {
                            all.inputs.extend(planned.inputs);
                            let both = all.marks.iter_mut().zip(planned.marks);
                            both.for_each(|(mark, other)| *mark = mark.filter(|mark| Some(*mark) == other));
                        }
                    }
                }
                all.ok_or_else(|| Error::internal("a union of nothing"))
            }
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => self.distinct(input),
            LogicalPlan::Extension(node) => {
                let node = node.node.as_any();
                if let Some(node) = node.downcast_ref::<WatermarkNode>() {
                    self.watermark(node, carries)
                } else if let Some(node) = node.downcast_ref::<WindowNode>() {
                    self.window(node, carries)
                } else if let Some(node) = node.downcast_ref::<UpsertNode>() {
                    self.upsert(node)
                } else {
                    Err(only_batch("this operation"))
                }
            }
            LogicalPlan::Sort(_) => Err(only_batch("`ORDER BY`")),
            LogicalPlan::Limit(_) => Err(only_batch("`LIMIT`")),
            LogicalPlan::Join(_) => Err(only_batch("a join")),
            LogicalPlan::Window(_) => Err(only_batch("`OVER`")),
            LogicalPlan::Distinct(_) => Err(only_batch("`DISTINCT ON`")),
            LogicalPlan::Subquery(_) => Err(only_batch("a subquery")),
            LogicalPlan::Unnest(_) => Err(only_batch("`UNNEST`")),
            LogicalPlan::RecursiveQuery(_) => Err(only_batch("a recursive query")),
            other => Err(only_batch(&format!("`{}`", other.display()))),
        }
    }

    /// A node's expression, over its input's columns.
    pub(super) fn physical(&self, expression: &Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        let context = PhysicalPlanningContext::default();
        create_physical_expr(expression, input, self.state.execution_props(), &context).map_err(expression_error)
    }

    fn columns(&self, schema: &Schema) -> Vec<Arc<dyn PhysicalExpr>> {
        let columns = schema.fields().iter().enumerate();
        columns.map(|(index, field)| Arc::new(Column::new(field.name(), index)) as Arc<dyn PhysicalExpr>).collect()
    }

    /// Adds a projection; the hidden column comes along.
    pub(super) fn push_projection(
        &self,
        planned: &mut Planned,
        mut expressions: Vec<Arc<dyn PhysicalExpr>>,
        schema: &SchemaRef,
    ) -> SchemaRef {
        let mut schema = Arc::clone(schema);
        if planned.carries {
            expressions.push(Arc::new(Column::new(ROW_WATERMARK, planned.marks.len())));
            schema = with_hidden(&schema);
        }
        planned.push(Step::Project { expressions, schema: Arc::clone(&schema) });
        schema
    }

    fn project(&self, planned: &mut Planned, list: &[Expr], input: &DFSchema, schema: &SchemaRef) -> Result<()> {
        let expressions: Result<Vec<_>> = list.iter().map(|expression| self.physical(expression, input)).collect();
        let expressions = expressions?;
        self.push_projection(planned, expressions.clone(), schema);
        planned.marks = expressions.iter().map(|expression| mark_of(planned, expression)).collect();
        Ok(())
    }

    fn input(&self, input: Arc<dyn JobInput>, schema: &Schema, carries: bool) -> Planned {
        let (before_watermark, run) = (Stateless::default(), Stateless::default());
        let times = WatermarkSettings::default();
        let input = InputSpec { input, before_watermark, watermark: None, times, row_watermark: carries, run };
        let marks = vec![None; schema.fields().len()];
        Planned { inputs: vec![input], stages: vec![], marks, append_only: true, carries }
    }

    fn scan(&mut self, scan: &TableScan, carries: bool, time: Option<&str>) -> Result<Planned> {
        let refused = || Error::unsupported(format!("table `{}` cannot be read as a stream", scan.table_name));
        let table = find_table(scan.source.as_ref()).ok_or_else(refused)?;
        let schema = scan.source.schema();
        let wanted: Vec<usize> = match &scan.projection {
            Some(projection) => projection.clone(),
            None => (0..schema.fields().len()).collect(),
        };
        // A table over topics filters by itself. Columns that only a filter needs are read behind the wanted ones; a batch has at least one column, to
        // carry its number of rows.
        let (reader_filters, filters) = match &table {
            ScannedTable::Tiered(_) => {
                (std::mem::take(&mut self.pushed).into_iter().chain(scan.filters.iter().cloned()).collect(), vec![])
            }
            _ => (vec![], scan.filters.clone()),
        };
        let mut read = wanted.clone();
        for column in filters.iter().flat_map(Expr::column_refs) {
            let index = schema.index_of(column.name())?;
            if !read.contains(&index) {
                read.push(index);
            }
        }
        if read.is_empty() && !schema.fields().is_empty() {
            read.push(0);
        }
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let insert_only = !matches!(&table, ScannedTable::Connector(table) if !table.source.is_insert_only());
        let times = match &table {
            ScannedTable::Tiered(table) => table.watermarks.clone(),
            _ => WatermarkSettings::default(),
        };
        let (input, given): (Arc<dyn JobInput>, _) = match table {
            ScannedTable::Tiered(table) => {
                let filter =
                    crate::batch::filter::pushed(table, self.state, &reader_filters).map_err(from_datafusion)?;
                let time = time.filter(|_| filter.is_some());
                let pin = table.pin.as_deref().map(|name| self.own_pin(name));
                (Arc::new(TieredInput::new(table, &read, filter, time)?.pinned(pin)), read)
            }
            ScannedTable::Connector(table) => match table.projected(&read) {
                Some(narrow) => (Arc::new(ConnectorInput::new(&narrow)), read),
                None => (Arc::new(ConnectorInput::new(table)), all),
            },
            ScannedTable::Stream(input) => (Arc::clone(input), all),
        };
        let given_schema = Arc::new(schema.project(&given)?);
        let mut planned = self.input(input, &given_schema, carries);
        planned.append_only = insert_only;
        planned.inputs.iter_mut().for_each(|input| input.times = times.clone());
        let qualified =
            DFSchema::try_from_qualified_schema(scan.table_name.clone(), &given_schema).map_err(expression_error)?;
        for filter in &filters {
            planned.push(Step::Filter(self.physical(filter, &qualified)?));
        }
        if given != wanted && !wanted.is_empty() {
            let places = wanted.iter().filter_map(|column| given.iter().position(|given| given == column));
            let expressions = places
                .map(|place| Arc::new(Column::new(given_schema.field(place).name(), place)) as Arc<dyn PhysicalExpr>);
            let projected = Arc::new(schema.project(&wanted)?);
            self.push_projection(&mut planned, expressions.collect(), &projected);
        }
        if !wanted.is_empty() {
            planned.marks = vec![None; wanted.len()];
        }
        Ok(planned)
    }

    /// The pin of one more scan: under one name the faster scan would let go of what the slower still needs.
    fn own_pin(&mut self, name: &str) -> String {
        let scans = self.pins.entry(name.to_string()).or_default();
        *scans += 1;
        match *scans - 1 {
            0 => name.to_string(),
            others => format!("{name}-{others}"),
        }
    }

    fn values(&self, values: &Values, carries: bool) -> Result<Planned> {
        let schema = Arc::clone(values.schema.inner());
        let (nothing, empty) = (DFSchema::empty(), Arc::new(Schema::empty()));
        let one_row = RecordBatchOptions::new().with_row_count(Some(1));
        let one_row = RecordBatch::try_new_with_options(empty, vec![], &one_row)?;
        let columns = schema.fields().iter().enumerate().map(|(column, field)| {
            let cells = values.values.iter().map(|row| {
                let cell = evaluate(&self.physical(&row[column], &nothing)?, &one_row)?;
                Ok(cast(&cell, field.data_type())?)
            });
            let cells = cells.collect::<Result<Vec<_>>>()?;
            Ok(concat(&cells.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
        });
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_>>()?)?;
        let input = ScriptedInput::bounded(Arc::clone(&schema), vec![vec![ChangeBatch::inserts(rows)]]);
        Ok(self.input(Arc::new(input), &schema, carries))
    }

    fn watermark(&mut self, node: &WatermarkNode, carries: bool) -> Result<Planned> {
        let mut planned = match node.input.as_ref() {
            LogicalPlan::TableScan(scan) => {
                self.scan(scan, false, Some(&node.column).filter(|_| !self.pushed.is_empty()).map(String::as_str))?
            }
            input => self.plan(input, false)?,
        };
        if !planned.stages.is_empty() || planned.inputs.iter().any(|input| input.watermark.is_some()) {
            return Err(Error::unsupported(format!(
                "a watermark for `{}` above an aggregate or another watermark",
                node.column
            )));
        }
        let input_schema = node.input.schema();
        let column = index_of(input_schema, &node.column)?;
        let expression = self.physical(&node.expression, input_schema)?;
        let time_column = (node.column.clone(), column);
        for input in &mut planned.inputs {
            input.before_watermark = std::mem::take(&mut input.run);
            input.watermark = Some(WatermarkSpec {
                time_column: time_column.clone(),
                expression: Arc::clone(&expression),
                timeless: None,
            });
            input.row_watermark = carries && self.watermark_per_row;
        }
        planned.carries = carries && self.watermark_per_row;
        planned.marks[column] = Some(Mark::Rowtime);
        Ok(planned)
    }

    fn upsert(&mut self, node: &UpsertNode) -> Result<Planned> {
        let mut planned = self.plan(&node.input, false)?;
        let (key, deleted) = (index_of(node.input.schema(), &node.key)?, index_of(node.input.schema(), &node.deleted)?);
        // A deleted row has no time of its own.
        for watermark in planned.inputs.iter_mut().filter_map(|input| input.watermark.as_mut()) {
            watermark.timeless = Some(deleted);
        }
        let schema = Arc::clone(node.input.schema().inner());
        let spec = LastByKeySpec { keys: vec![key], deleted, schema: Arc::clone(&schema) };
        let make = move || -> Result<Box<dyn Operator>> { Ok(Box::new(LastByKey::new(spec.clone())?)) };
        planned.stages.push(stage("upsert", vec![key], &schema, make)?);
        (planned.append_only, planned.carries) = (false, false);
        Ok(planned)
    }

    fn window(&mut self, node: &WindowNode, carries: bool) -> Result<Planned> {
        if !matches!(node.kind, WindowKind::Tumble { .. }) {
            return Err(only_batch(&format!("the window {}", node.kind.name())));
        }
        let mut planned = self.plan(&node.input, carries)?;
        let time_column = index_of(node.input.schema(), &node.time_column)?;
        if !matches!(planned.marks.get(time_column), Some(Some(Mark::Rowtime | Mark::Time(_)))) {
            return Err(Error::invalid(format!(
                "`{}` is not an event-time attribute, so a streaming window over it would never end: declare `WATERMARK FOR {0} AS …` on its table",
                node.time_column
            )));
        }
        let schema = node.schema.inner();
        let schema = if planned.carries { with_hidden(schema) } else { Arc::clone(schema) };
        planned.push(Step::Window { time_column, kind: node.kind, schema });
        let window = self.windows;
        self.windows += 1;
        planned.marks.extend([Mark::Start(window), Mark::End(window), Mark::Time(window)].map(Some));
        Ok(planned)
    }
}

/// The place of a column by its name.
fn index_of(schema: &DFSchemaRef, name: &str) -> Result<usize> {
    let place = schema.fields().iter().position(|field| field.name() == name);
    place.ok_or_else(|| Error::internal(format!("the column `{name}` is not in its node's input")))
}

/// A column that only passes through keeps its mark.
pub(super) fn mark_of(planned: &Planned, expression: &Arc<dyn PhysicalExpr>) -> Option<Mark> {
    let expression: &dyn std::any::Any = expression.as_ref();
    expression.downcast_ref::<Column>().and_then(|column| planned.marks.get(column.index()).copied().flatten())
}

fn with_hidden(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(ROW_WATERMARK, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}
