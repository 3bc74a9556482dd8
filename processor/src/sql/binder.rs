//! From a parsed query to a logical plan: names are looked up in the catalogs first, then DataFusion's planner runs over the rewritten tree.
//!
//! ```text
//!  table ─► scan (physical and metadata columns; the key's decoded) ─► projection (computed columns) ─► watermark (streaming) ─► window ─► the query's own operators
//! ```

mod as_of;
mod keys;
mod numbered;
mod range;
mod relations;
mod tables;
mod unnest;
mod using_stars;
mod window_plans;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use aquifer_catalog::{Table, ViewDefinition};
use aquifer_model::{Error, Result};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, DataFusionError, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion::logical_expr::{
    AggregateUDF, ExprSchemable, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::sql::planner::{NullOrdering, ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast::{Expr as SqlExpr, Query, Statement as SqlStatement, TableFactor, VisitMut, visit_expressions};

use self::relations::{BoundUse, Relations};
use self::tables::BoundTable;
use super::resolve::{self, Use};
use super::statement::{SelectQuery, parse_expression, parse_query};
use super::windows::WindowCall;
use super::{group_names, match_recognize, names, row_in, row_stars, sugar, temporal_join, typing, using, windows};
use crate::batch::{ConnectorTable, TieredTable, from_datafusion};
use crate::connector::ConnectorRegistry;
use crate::functions;

/// A query that is bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub plan: LogicalPlan,
    /// The tables over topics that it reads.
    pub tables: Vec<Arc<TieredTable>>,
    /// Those of connectors.
    pub connectors: Vec<Arc<ConnectorTable>>,
}

impl Bound {
    /// Whether every table that it reads has an end.
    pub fn is_bounded(&self) -> bool {
        self.tables.iter().all(|table| table.end.is_some() || table.until.is_some())
            && self.connectors.iter().all(|t| t.source.is_bounded())
    }
}

/// Where names are looked up.
#[async_trait::async_trait]
pub(super) trait Lookup: Sync {
    /// The view that a name of one to three parts means; `None` if it is none.
    async fn view(&self, name: &[String]) -> Result<Option<ViewDefinition>>;
    /// The table that a name of one to three parts means.
    async fn table(&self, name: &[String]) -> Result<Table>;
    /// The same with options laid over its own.
    async fn with_options(&self, table: &Table, options: &[(String, String)]) -> Result<Table>;
    /// The connectors there are.
    fn connectors(&self) -> &ConnectorRegistry;
}

/// How deep views may stand on views.
const VIEW_DEPTH: usize = 64;

/// Binds a query.
pub(super) async fn bind(
    select: SelectQuery,
    lookup: &dyn Lookup,
    state: &SessionState,
    streaming: bool,
) -> Result<Bound> {
    let SelectQuery { query, hints } = select;
    let mut tree = Tree { hints, ..Tree::default() };
    let mut query = tree.rewritten(query, None, 0)?;
    // Views bring uses of their own, so the list grows while it is walked. Every name is looked up before planning, which cannot wait.
    let mut bound: Vec<Found> = Vec::new();
    while let Some(one) = tree.uses.get(bound.len()).cloned() {
        let found = match lookup.view(&one.name.name).await? {
            Some(view) => {
                if one.name.hint.is_some() {
                    let name = one.name.name.join(".");
                    return Err(Error::invalid(format!(
                        "the hint OPTIONS at `{name}` belongs behind a table, this is a view"
                    )));
                }
                if one.name.as_of.as_ref().is_some_and(|time| !temporal_join::is_mark(time)) {
                    let name = one.name.name.join(".");
                    return Err(Error::unsupported(format!(
                        "FOR SYSTEM_TIME AS OF belongs behind a table, and `{name}` is a view: make another view with it inside"
                    )));
                }
                if one.depth == VIEW_DEPTH {
                    return Err(Error::invalid(format!("views stand more than {VIEW_DEPTH} deep on views")));
                }
                let SelectQuery { query, hints } = parse_query(&view.query)?;
                let before = tree.hints.len();
                tree.hints.extend(hints);
                let place = (view.catalog, view.database);
                let query = tree.shifted(query, before, Some(&place), one.depth + 1)?;
                Found::View(Box::new(query), view.columns.into_iter().map(|column| column.name).collect())
            }
            None => {
                let mut table = lookup.table(&one.name.name).await?;
                if let Some(options) = one.name.hint.and_then(|hint| tree.hints.get(hint)) {
                    table = lookup.with_options(&table, options).await?;
                }
                let is_joined = one.name.as_of.as_ref().is_some_and(temporal_join::is_mark);
                if is_joined && table.definition.primary_key.is_empty() {
                    return Err(Error::invalid(format!(
                        "`{}` has no PRIMARY KEY: a temporal join finds the version of a row by its key",
                        table.name[2]
                    )));
                }
                if let Some(time) = one.name.as_of.filter(|_| !is_joined) {
                    table = as_of::table(&table, time, lookup, state).await?;
                }
                Found::Table(Box::new(table))
            }
        };
        bound.push(found);
    }
    let is_declared = |name: &&String| bound.iter().any(|found| found.declares(name));
    let declared: BTreeSet<String> = tree.mentioned.iter().filter(is_declared).cloned().collect();
    let mut uses = Vec::with_capacity(bound.len());
    let mut system: Vec<BTreeSet<String>> = Vec::with_capacity(bound.len());
    for found in bound {
        uses.push(match found {
            Found::View(query, columns) => {
                system.push(BTreeSet::new());
                BoundUse::View(query, columns)
            }
            Found::Table(table) => {
                let table = BoundTable::new(*table, lookup.connectors(), streaming, &tree.mentioned, &declared).await?;
                system.push(table.named_system_columns());
                BoundUse::Table(Box::new(table))
            }
        });
    }
    let system = |n: usize| system.get(n).cloned().unwrap_or_default();
    resolve::leave_out_of_stars(&mut query, &system);
    for one in &mut uses {
        if let BoundUse::View(query, _) = one {
            resolve::leave_out_of_stars(query, &system);
        }
    }
    let types: Vec<_> = uses.iter().map(BoundUse::row_types).collect();
    let types = |n: usize, column: &str| types.get(n)?.get(column).cloned();
    row_stars::expand(&mut query, &types)?;
    for one in &mut uses {
        if let BoundUse::View(query, _) = one {
            row_stars::expand(query, &types)?;
        }
    }
    let (mut tables, mut connectors) = (Vec::new(), Vec::new());
    for one in &uses {
        if let BoundUse::Table(table) = one {
            table.scans(&mut tables, &mut connectors);
        }
    }
    let planner: Arc<dyn RelationPlanner> = Arc::new(Relations { uses, windows: tree.windows, streaming });
    let context = Context::new(state, vec![planner]);
    if using_stars::has_one(&query.body) {
        let with = query.with.clone();
        let mut columns = |factor: &TableFactor| {
            let planned = SqlToRel::new_with_options(&context, parser_options())
                .sql_statement_to_plan(SqlStatement::Query(Box::new(names::all_of(factor.clone(), with.clone()))))?;
            Ok(planned.schema().fields().iter().map(|field| field.name().clone()).collect())
        };
        using_stars::expand(&mut query.body, &mut columns).map_err(from_datafusion)?;
    }
    let second = group_names::renamed(&query);
    let plan = SqlToRel::new_with_options(&context, parser_options())
        .sql_statement_to_plan(SqlStatement::Query(Box::new(query)))
        .map_err(from_datafusion)?;
    if let Some((query, names)) = second {
        let again = SqlToRel::new_with_options(&context, parser_options())
            .sql_statement_to_plan(SqlStatement::Query(Box::new(query)))
            .map_err(|error| from_datafusion(error).to_string());
        if let Err(error) = again
            && let Some(name) = names.iter().find(|name| error.contains("No field named") && error.contains(*name))
        {
            return Err(Error::invalid(format!(
                "`{name}` in GROUP BY names a column of the result: write its expression, or group in a query around this one"
            )));
        }
    }
    let plan = numbered::columns(plan).map_err(from_datafusion)?;
    let plan = unnest::resolve(typing::complete(plan)?).map_err(from_datafusion)?;
    if let Some(clause) = tree.refused {
        return Err(Error::unsupported(format!("{clause} is not built yet; the query is right otherwise")));
    }
    Ok(Bound { plan, tables, connectors })
}

/// Binds a definition's expression over a table's other columns; gives its type. Names no column that is not there.
pub(super) fn bind_expression(text: &str, columns: &Schema, state: &SessionState) -> Result<Field> {
    let context = Context::new(state, Vec::new());
    let schema = DFSchema::try_from(columns.clone()).map_err(from_datafusion)?;
    let bound = SqlToRel::new_with_options(&context, parser_options())
        .sql_to_expr(definition_expression(text)?, &schema, &mut PlannerContext::new())
        .map_err(from_datafusion)?;
    if bound.column_refs().iter().any(|column| !schema.has_column(column)) {
        return Err(Error::invalid(format!("`{text}` names a column that the table has not")));
    }
    let bound = typing::complete_expression(bound, &schema)?;
    let (_, field) = bound.to_field(&schema).map_err(from_datafusion)?;
    Ok(field.as_ref().clone())
}

/// An expression that a definition keeps, ready to be bound.
fn definition_expression(text: &str) -> Result<SqlExpr> {
    let mut expression = parse_expression(text)?;
    names::int(&mut expression);
    if let ControlFlow::Break(error) = expression.visit(&mut names::LiteralTyper) {
        return Err(error);
    }
    sugar::unsweeten_expression(&mut expression)?;
    Ok(expression)
}

fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_parse_float_as_decimal(true)
        .with_enable_ident_normalization(false)
        .with_map_string_types_to_utf8view(true)
        .with_default_null_ordering(NullOrdering::NullsMin)
}

/// What a use turned out to be.
enum Found {
    View(Box<Query>, Vec<String>),
    Table(Box<Table>),
}

impl Found {
    /// Whether it is a table that declares a column of this name.
    fn declares(&self, name: &str) -> bool {
        match self {
            Self::Table(table) => table.definition.columns.iter().any(|column| column.name == name),
            Self::View(..) => false,
        }
    }
}

/// A use and how many views it stands in.
#[derive(Debug, Clone)]
struct Placed {
    name: Use,
    depth: usize,
}

/// What the rewriting of a query and of the views in it collects.
#[derive(Debug, Default)]
struct Tree {
    hints: Vec<Vec<(String, String)>>,
    uses: Vec<Placed>,
    windows: Vec<WindowCall>,
    /// Names of columns that are written somewhere.
    mentioned: BTreeSet<String>,
    /// A clause that is bound and that nothing runs.
    refused: Option<&'static str>,
}

impl Tree {
    /// Checks and rewrites a query: uses numbered, windows taken out, columns named.
    fn rewritten(&mut self, query: Query, place: Option<&(String, String)>, depth: usize) -> Result<Query> {
        self.shifted(query, 0, place, depth)
    }

    fn shifted(
        &mut self,
        mut query: Query,
        hints_before: usize,
        place: Option<&(String, String)>,
        depth: usize,
    ) -> Result<Query> {
        super::check::check(&query)?;
        if match_recognize::take(&mut query)? {
            self.refused.get_or_insert("MATCH_RECOGNIZE");
        }
        if temporal_join::take(&mut query)? {
            self.refused.get_or_insert("a temporal join, FOR SYSTEM_TIME AS OF a column's time,");
        }
        let before = self.uses.len();
        let mut uses: Vec<Use> = self.uses.iter().map(|one| one.name.clone()).collect();
        resolve::number_uses(&mut query, &mut uses)?;
        for mut name in uses.into_iter().skip(before) {
            name.hint = name.hint.map(|hint| hint + hints_before);
            if let Some((catalog, database)) = place {
                // Names in a view are relative to where it was made.
                match name.name.len() {
                    1 => name.name.splice(0..0, [catalog.clone(), database.clone()]).for_each(drop),
                    2 => name.name.insert(0, catalog.clone()),
                    _ => {}
                }
            }
            self.uses.push(Placed { name, depth });
        }
        row_in::rewrite(&mut query);
        names::name_columns(&mut query);
        using::merge(&mut query)?;
        let first = self.windows.len();
        windows::take_table_functions(&mut query, &mut self.windows)?;
        windows::rewrite(&mut query, &mut self.windows)?;
        names::type_literals(&mut query)?;
        sugar::unsweeten(&mut query)?;
        for window in &mut self.windows[first..] {
            if let ControlFlow::Break(error) = window.input.visit(&mut names::LiteralTyper) {
                return Err(error);
            }
            if let ControlFlow::Break(error) = window.input.visit(&mut sugar::Unsweetener) {
                return Err(error);
            }
        }
        let mut mention = |expression: &SqlExpr| {
            match expression {
                SqlExpr::Identifier(name) => drop(self.mentioned.insert(name.value.clone())),
                SqlExpr::CompoundIdentifier(parts) => self.mentioned.extend(parts.last().map(|p| p.value.clone())),
                _ => {}
            }
            ControlFlow::<()>::Continue(())
        };
        let _ = visit_expressions(&query, &mut mention);
        for window in &self.windows[first..] {
            let _ = visit_expressions(&window.input, &mut mention);
        }
        Ok(query)
    }
}

/// What DataFusion's planner asks for.
struct Context<'a> {
    state: &'a SessionState,
    relations: Vec<Arc<dyn RelationPlanner>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl<'a> Context<'a> {
    fn new(state: &'a SessionState, relations: Vec<Arc<dyn RelationPlanner>>) -> Self {
        let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(typing::Operators)];
        planners.extend(state.expr_planners().iter().cloned());
        Self { state, relations, planners }
    }
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> datafusion::common::Result<Arc<dyn TableSource>> {
        Err(DataFusionError::Plan(format!("unknown table `{name}`")))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let theirs = |own: &str| self.state.scalar_functions().get(own).cloned();
        typing::own_function(name).or_else(|| functions::scalar(name, theirs))
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        functions::aggregates::aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(&name.to_ascii_lowercase()).cloned().map(functions::ranking)
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        functions::scalar_names().iter().map(ToString::to_string).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        functions::aggregates::NAMES.iter().map(ToString::to_string).collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
