//! From a parsed query to a logical plan: names are looked up in the catalogs first, then DataFusion's planner runs over the rewritten tree.
//!
//! ```text
//!  table ─► scan (physical and metadata columns) ─► projection (computed columns) ─► watermark (streaming) ─► window ─► the query's own operators
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use aquifer_catalog::options::{Startup, table_settings};
use aquifer_catalog::{ColumnKind, Table, ViewDefinition, catalogs::Target};
use aquifer_model::sql_type::{is_rowtime, with_rowtime};
use aquifer_model::{Cut, Error, Partition, Result, SqlType};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, Expr, ExprSchemable, Extension, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TableSource, Volatility, WindowUDF,
};
use datafusion::sql::planner::{NullOrdering, ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, SelectItem, SetExpr,
    Statement as SqlStatement, TableFactor, VisitMut, VisitorMut, visit_expressions, visit_relations,
};

use super::statement::{SelectQuery, parse_expression};
use super::windows::{WindowCall, named, table_function, window_name};
use crate::batch::{StartMode, TieredTable, external, from_datafusion};
use crate::operators::window_assign;
use crate::plan::{WatermarkNode, WindowKind, WindowNode};

/// A query that is bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub plan: LogicalPlan,
    pub tables: Vec<Arc<TieredTable>>,
}

/// Where names are looked up.
#[async_trait::async_trait]
pub(super) trait Lookup: Sync {
    /// The table that a name of one to three parts means.
    async fn table(&self, name: &[String]) -> Result<Table>;
    /// The view that a name means, if it is one; it is asked before [`Lookup::table`].
    async fn view(&self, name: &[String]) -> Result<Option<ViewDefinition>>;
    /// The same with options laid over its own.
    async fn with_options(&self, table: &Table, options: &[(String, String)]) -> Result<Table>;
}

/// Binds a query.
pub(super) async fn bind(
    select: SelectQuery,
    lookup: &dyn Lookup,
    state: &SessionState,
    streaming: bool,
) -> Result<Bound> {
    let SelectQuery { mut query, hints } = select;
    super::check::check(&query)?;
    name_columns(&mut query);
    let mut windows = take_window_functions(&mut query)?;
    super::windows::rewrite(&mut query, &mut windows)?;

    // Every name is looked up before planning, which cannot wait.
    let mut names: Vec<Vec<String>> = Vec::new();
    let ctes: Vec<String> = query.with.iter().flat_map(|w| &w.cte_tables).map(|c| c.alias.name.value.clone()).collect();
    let mut note = |name: &ObjectName| {
        let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(|i| i.value.clone()).collect();
        let is_other = matches!(parts.as_slice(), [one] if ctes.contains(one) || one.starts_with("__aquifer_window_"));
        if !is_other && !names.contains(&parts) {
            names.push(parts);
        }
    };
    let _ = visit_relations(&query, |name| {
        note(name);
        ControlFlow::<()>::Continue(())
    });
    for window in &windows {
        let _ = visit_relations(&window.input, |name| {
            note(name);
            ControlFlow::<()>::Continue(())
        });
    }
    let mut mentioned: Vec<String> = Vec::new();
    let _ = visit_expressions(&query, |e| {
        match e {
            SqlExpr::Identifier(name) => mentioned.push(name.value.clone()),
            SqlExpr::CompoundIdentifier(parts) => mentioned.extend(parts.last().map(|p| p.value.clone())),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    let mut tables = HashMap::new();
    for name in names {
        let mut table = lookup.table(&name).await?;
        if let Some((_, options)) = hints.iter().find(|(hinted, _)| hinted == &name) {
            table = lookup.with_options(&table, options).await?;
        }
        tables.insert(name, BoundTable::new(table, streaming, &mentioned).await?);
    }
    if let Some((name, _)) = hints.iter().find(|(name, _)| !tables.contains_key(name)) {
        return Err(Error::invalid(format!("the hint at `{}` belongs to no table", name.join("."))));
    }
    let scans = tables.values().map(|table| Arc::clone(&table.scan)).collect();
    let planner: Arc<dyn RelationPlanner> = Arc::new(Relations { tables, windows, streaming, used: Mutex::default() });
    let context = Context { state, relations: vec![planner] };
    let plan = SqlToRel::new_with_options(&context, parser_options())
        .sql_statement_to_plan(SqlStatement::Query(Box::new(query)))
        .map_err(from_datafusion)?;
    Ok(Bound { plan, tables: scans })
}

/// Binds a definition's expression over a table's other columns; gives its type. Names no column that is not there.
pub(super) fn bind_expression(text: &str, columns: &Schema, state: &SessionState) -> Result<Field> {
    let context = Context { state, relations: Vec::new() };
    let schema = DFSchema::try_from(columns.clone()).map_err(from_datafusion)?;
    let bound = SqlToRel::new_with_options(&context, parser_options())
        .sql_to_expr(parse_expression(text)?, &schema, &mut PlannerContext::new())
        .map_err(from_datafusion)?;
    if bound.column_refs().iter().any(|column| !schema.has_column(column)) {
        return Err(Error::invalid(format!("`{text}` names a column that the table has not")));
    }
    let (_, field) = bound.to_field(&schema).map_err(from_datafusion)?;
    Ok(field.as_ref().clone())
}

fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_parse_float_as_decimal(true)
        .with_enable_ident_normalization(false)
        .with_map_string_types_to_utf8view(true)
        .with_default_null_ordering(NullOrdering::NullsMin)
}

/// Unnamed columns are `EXPR$n`.
fn name_columns(query: &mut Query) {
    fn in_set(expression: &mut SetExpr) {
        match expression {
            SetExpr::Select(select) => {
                for (n, item) in select.projection.iter_mut().enumerate() {
                    if let SelectItem::UnnamedExpr(expr) = item
                        && !matches!(expr, SqlExpr::Identifier(_) | SqlExpr::CompoundIdentifier(_))
                    {
                        let alias = Ident::with_quote('`', format!("EXPR${n}"));
                        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                    }
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                in_set(left);
                in_set(right);
            }
            _ => {}
        }
    }
    struct Namer;
    impl VisitorMut for Namer {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            in_set(&mut query.body);
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Namer);
}

/// Takes window table functions out of the tree.
fn take_window_functions(query: &mut Query) -> Result<Vec<WindowCall>> {
    struct Taker(Vec<WindowCall>);
    impl VisitorMut for Taker {
        type Break = Error;
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            let found = match &*factor {
                TableFactor::TableFunction { expr: SqlExpr::Function(function), alias } => match &function.args {
                    FunctionArguments::List(list) => Some((function.name.clone(), list.args.clone(), alias.clone())),
                    _ => None,
                },
                TableFactor::Table { name, args: Some(args), alias, .. } => {
                    Some((name.clone(), args.args.clone(), alias.clone()))
                }
                _ => None,
            };
            let Some((name, arguments, alias)) = found else { return ControlFlow::Continue(()) };
            match read(&name, &arguments) {
                Ok(call) => {
                    let mut replacement = named(window_name(self.0.len()));
                    if let TableFactor::Table { alias: slot, .. } = &mut replacement {
                        *slot = alias;
                    }
                    *factor = replacement;
                    self.0.push(call);
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    fn read(name: &ObjectName, arguments: &[FunctionArg]) -> Result<WindowCall> {
        table_function(&name.to_string(), arguments)?
            .ok_or_else(|| Error::unsupported(format!("the table function `{name}` is not built yet")))
    }
    let mut taker = Taker(Vec::new());
    match query.visit(&mut taker) {
        ControlFlow::Continue(()) => Ok(taker.0),
        ControlFlow::Break(error) => Err(error),
    }
}

/// A table of the query, ready to be put into the plan.
#[derive(Debug)]
struct BoundTable {
    table: Table,
    scan: Arc<TieredTable>,
    /// Computed columns, parsed.
    computed: BTreeMap<String, SqlExpr>,
    /// The time column and its watermark, parsed.
    watermark: Option<(String, SqlExpr)>,
    /// All columns, in order.
    columns: Vec<String>,
}

impl BoundTable {
    async fn new(table: Table, streaming: bool, mentioned: &[String]) -> Result<Self> {
        let full_name = table.name.join(".");
        let Target::Topics(topics) = &table.target else {
            return Err(Error::unsupported(format!("`{full_name}` cannot be read: its connector only writes")));
        };
        let (mut fields, mut reader_columns, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        let mut computed = BTreeMap::new();
        let system = table.system_columns.iter().filter(|column| mentioned.contains(&column.name));
        for column in table.definition.columns.iter().chain(system) {
            columns.push(column.name.clone());
            match &column.kind {
                ColumnKind::Physical { type_text } => {
                    fields.push(SqlType::parse(type_text)?.to_field(&column.name));
                    reader_columns.push(column.name.clone());
                }
                ColumnKind::Metadata { type_text, key, .. } => {
                    fields.push(SqlType::parse(type_text)?.to_field(&column.name));
                    reader_columns.push(key.reader_column().to_string());
                }
                ColumnKind::Computed { expression } => {
                    computed.insert(column.name.clone(), parse_expression(expression)?);
                }
            }
        }
        let settings = table_settings(&table.definition.options)?;
        let needs_end = !streaming || settings.stops_at_latest;
        let needs_cuts = needs_end || settings.startup == Startup::Latest;
        let mut cuts: BTreeMap<Partition, Cut> = BTreeMap::new();
        if needs_cuts {
            for topic in topics {
                cuts.extend(topic.end_cuts().await?);
            }
        }
        let start = match settings.startup {
            Startup::Earliest => StartMode::Earliest,
            Startup::Latest => StartMode::Cuts(cuts.clone()),
        };
        let watermark = match &table.definition.watermark {
            Some(watermark) => Some((watermark.column.clone(), parse_expression(&watermark.expression)?)),
            None => None,
        };
        let scan = TieredTable {
            name: full_name,
            topics: topics.clone(),
            schema: Arc::new(Schema::new(fields)),
            reader_columns,
            start,
            end: needs_end.then_some(cuts),
            tiers: settings.tiers,
            statistics: Arc::default(),
        };
        Ok(Self { table, scan: Arc::new(scan), computed, watermark, columns })
    }

    fn plan(
        &self,
        context: &mut dyn RelationPlannerContext,
        streaming: bool,
    ) -> datafusion::common::Result<LogicalPlan> {
        let reference = TableReference::bare(self.table.name[2].clone());
        let source = provider_as_source(Arc::clone(&self.scan) as Arc<dyn datafusion::datasource::TableProvider>);
        let mut plan = LogicalPlanBuilder::scan(reference.clone(), source, None)?.build()?;
        if !self.computed.is_empty() {
            let schema = Arc::clone(plan.schema());
            let mut expressions = Vec::new();
            for name in &self.columns {
                expressions.push(match self.computed.get(name) {
                    Some(expression) => {
                        context.sql_to_expr(expression.clone(), &schema)?.alias_qualified(Some(reference.clone()), name)
                    }
                    None => Expr::Column(datafusion::common::Column::new(Some(reference.clone()), name)),
                });
            }
            plan = LogicalPlanBuilder::from(plan).project(expressions)?.build()?;
        }
        if let (true, Some((column, expression))) = (streaming, &self.watermark) {
            let schema = Arc::clone(plan.schema());
            let expression = context.sql_to_expr(expression.clone(), &schema)?;
            let marked = remarked(&schema, |field| {
                if field.name() == column { with_rowtime(field.clone(), true) } else { Ok(field.clone()) }
            })?;
            let node = WatermarkNode { input: Arc::new(plan), column: column.clone(), expression, schema: marked };
            plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        }
        Ok(plan)
    }
}

/// The same schema with other fields.
fn remarked(schema: &DFSchema, change: impl Fn(&Field) -> Result<Field>) -> datafusion::common::Result<DFSchemaRef> {
    let fields =
        schema.iter().map(|(qualifier, field)| Ok((qualifier.cloned(), Arc::new(change(field).map_err(external)?))));
    let fields = fields.collect::<datafusion::common::Result<Vec<(Option<TableReference>, FieldRef)>>>()?;
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}

/// Plans tables and windows where the planner meets their names.
struct Relations {
    tables: HashMap<Vec<String>, BoundTable>,
    windows: Vec<WindowCall>,
    streaming: bool,
    used: Mutex<usize>,
}

impl fmt::Debug for Relations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relations")
            .field("tables", &self.tables.keys())
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl RelationPlanner for Relations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> datafusion::common::Result<RelationPlanning> {
        let TableFactor::Table { name, alias, .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(|i| i.value.clone()).collect();
        let window = match parts.as_slice() {
            [one] => (0..self.windows.len()).find(|n| *one == window_name(*n)),
            _ => None,
        };
        let plan = if let Some(n) = window {
            let call = &self.windows[n];
            let input = context.plan(call.input.clone())?;
            self.window(input, &call.time_column, call.kind)?
        } else if let Some(table) = self.tables.get(&parts) {
            table.plan(context, self.streaming)?
        } else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias.clone()))))
    }
}

impl Relations {
    fn window(&self, input: LogicalPlan, time: &Ident, kind: WindowKind) -> datafusion::common::Result<LogicalPlan> {
        let schema = Arc::clone(input.schema());
        let found = schema.iter().find(|(_, field)| *field.name() == time.value);
        let Some((qualifier, field)) = found else {
            let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
            let near = crate::connector::nearest_known(&time.value, names.iter().map(String::as_str));
            return Err(external(Error::invalid(format!("unknown column `{}` in a window: {near}", time.value))));
        };
        if !matches!(field.data_type(), DataType::Timestamp(_, _)) {
            return Err(external(Error::invalid(format!(
                "a window is taken on a TIMESTAMP or TIMESTAMP_LTZ column, `{}` is {}",
                time.value,
                SqlType::from_arrow(field.data_type())
                    .map_or_else(|_| field.data_type().to_string(), |t| t.to_string())
            ))));
        }
        if self.streaming && !is_rowtime(field) {
            return Err(external(self.missing_watermark(&time.value)));
        }
        let wall = || SqlType::Timestamp(3).not_null();
        let window_time = match field.data_type() {
            DataType::Timestamp(_, Some(_)) => SqlType::TimestampLtz(3).not_null(),
            _ => wall(),
        };
        let new = [
            wall().to_field("window_start"),
            wall().to_field("window_end"),
            with_rowtime(window_time.to_field("window_time"), self.streaming).map_err(external)?,
        ];
        if self.streaming {
            // Inside the window the row's own time is a plain column.
            let mut fields: Vec<(Option<TableReference>, FieldRef)> =
                schema.iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
            fields.extend(new.into_iter().map(|f| (None, Arc::new(f))));
            let schema = Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?);
            let node = WindowNode { input: Arc::new(input), time_column: time.value.clone(), kind, schema };
            return Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }));
        }
        // Batch: a row without a time is in no window.
        let time = Expr::Column(datafusion::common::Column::new(qualifier.cloned(), field.name()));
        let mut expressions: Vec<Expr> =
            schema.iter().map(|(q, f)| Expr::Column(datafusion::common::Column::new(q.cloned(), f.name()))).collect();
        for (which, field) in new.iter().enumerate() {
            let function = ScalarUDF::from(WindowColumn::new(kind, which, field.clone()));
            expressions.push(function.call(vec![time.clone()]).alias(field.name()));
        }
        LogicalPlanBuilder::from(input).filter(time.is_not_null())?.project(expressions)?.build()
    }

    fn missing_watermark(&self, column: &str) -> Error {
        let holds = |table: &&BoundTable| table.columns.iter().any(|c| c == column);
        let table = self.tables.values().find(holds).or_else(|| self.tables.values().next());
        let name = table.map_or_else(
            || "t".to_string(),
            |t| t.table.name.iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join("."),
        );
        Error::invalid(format!(
            "a window over a stream needs a watermark on `{column}`, and there is none. Declare it once, it is kept:\n  ALTER TABLE {name} ADD (WATERMARK FOR \
             `{column}` AS `{column}` - INTERVAL '5' SECOND);\nor run the query over what is there now: SET 'execution.runtime-mode' = 'batch';"
        ))
    }
}

/// One of a window's three columns, in batch.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowColumn {
    kind: WindowKind,
    which: usize,
    field: Field,
    signature: Signature,
}

impl WindowColumn {
    fn new(kind: WindowKind, which: usize, field: Field) -> Self {
        Self { kind, which, field, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowColumn {
    fn name(&self) -> &str {
        self.field.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let time = args.args[0].to_array(args.number_rows)?;
        let wall = DataType::Timestamp(TimeUnit::Millisecond, None);
        let types = [&wall, &wall, if self.which == 2 { self.field.data_type() } else { &wall }];
        let columns = window_assign::assign(self.kind, &time, types).map_err(external)?;
        Ok(ColumnarValue::Array(Arc::clone(&columns[self.which])))
    }
}

/// What DataFusion's planner asks for.
struct Context<'a> {
    state: &'a SessionState,
    relations: Vec<Arc<dyn RelationPlanner>>,
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> datafusion::common::Result<Arc<dyn TableSource>> {
        Err(DataFusionError::Plan(format!("unknown table `{name}`")))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(&name.to_ascii_lowercase()).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(&name.to_ascii_lowercase()).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(&name.to_ascii_lowercase()).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
