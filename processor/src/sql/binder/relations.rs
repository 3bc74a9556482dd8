//! Tables, views, windows and UNNEST where the planner meets them in FROM.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aquifer_model::sql_type::{is_rowtime, with_rowtime};
use aquifer_model::{Error, Result, SqlType};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, DFSchemaRef, TableReference};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Extension, LogicalPlan};
use sqlparser::ast::{Ident, Query, SetExpr, TableAlias, TableAliasColumnDef, TableFactor};

use super::super::resolve::{parts, use_number};
use super::super::typing;
use super::super::windows::{WindowCall, window_number};
use super::numbered;
use super::tables::BoundTable;
use super::unnest::UnnestNode;
use super::{using_stars, window_plans};
use crate::batch::external;
use crate::plan::{WindowKind, WindowNode};

/// The alias of a query that is to be planned as it is.
const PLAIN: &str = "\u{3}";

/// What a use in FROM is.
#[derive(Debug)]
pub(super) enum BoundUse {
    Table(Box<BoundTable>),
    /// A view's query and the names of its columns.
    View(Box<Query>, Vec<String>),
}

impl BoundUse {
    /// The types of a table's columns that are rows.
    pub fn row_types(&self) -> BTreeMap<String, SqlType> {
        match self {
            Self::Table(table) => table.row_types(),
            Self::View(..) => BTreeMap::new(),
        }
    }
}

/// Plans tables and windows where the planner meets their names.
pub(super) struct Relations {
    pub uses: Vec<BoundUse>,
    pub windows: Vec<WindowCall>,
    pub streaming: bool,
}

impl fmt::Debug for Relations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relations").field("uses", &self.uses).finish_non_exhaustive()
    }
}

impl RelationPlanner for Relations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> datafusion::common::Result<RelationPlanning> {
        let planned = |plan, alias| Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))));
        let original = |relation| Ok(RelationPlanning::Original(Box::new(relation)));
        if let TableFactor::UNNEST { alias, array_exprs, with_offset: _, with_offset_alias: _, with_ordinality } =
            &relation
        {
            let [argument] = array_exprs.as_slice() else {
                return Err(external(Error::invalid("UNNEST takes one argument")));
            };
            let argument = context.sql_expr_to_logical_expr(argument.clone(), &DFSchema::empty())?;
            let node = Arc::new(UnnestNode::new(argument, *with_ordinality)?);
            return planned(LogicalPlan::Extension(Extension { node }), alias.clone());
        }
        if let TableFactor::Derived { lateral: false, subquery, alias, sample: None } = &relation
            && let SetExpr::Values(values) = subquery.body.as_ref()
        {
            return planned(typing::values(&values.rows, context)?, alias.clone());
        }
        if let TableFactor::Derived { lateral, mut subquery, alias, sample } = relation {
            let is_plain = alias.as_ref().is_some_and(|alias| alias.name.value == PLAIN);
            if !is_plain && using_stars::has_one(&subquery.body) {
                if subquery.with.is_some() {
                    return Err(external(Error::unsupported(
                        "`*` over a join with USING or NATURAL in a nested query with WITH of its own: name the columns",
                    )));
                }
                let mut columns = |factor: &TableFactor| {
                    let planned = context.plan(factor.clone())?;
                    Ok(planned.schema().fields().iter().map(|field| field.name().clone()).collect())
                };
                using_stars::expand(&mut subquery.body, &mut columns)?;
            }
            let as_it_is = |alias| TableFactor::Derived { lateral, subquery: subquery.clone(), alias, sample };
            if is_plain {
                return original(as_it_is(None));
            }
            let plain =
                TableAlias { explicit: true, name: Ident::with_quote('`', PLAIN), columns: Vec::new(), at: None };
            return planned(numbered::columns(context.plan(as_it_is(Some(plain)))?)?, alias);
        }
        let TableFactor::Table { name, alias, .. } = &relation else { return original(relation) };
        let name = parts(name);
        let [one] = name.as_slice() else { return original(relation) };
        if let Some(call) = window_number(one).and_then(|n| self.windows.get(n)) {
            let input = context.plan(call.input.clone())?;
            return planned(self.window(input, call, context)?, alias.clone());
        }
        match use_number(one).and_then(|n| self.uses.get(n)) {
            Some(BoundUse::Table(table)) => planned(table.plan(context, self.streaming)?, alias.clone()),
            Some(BoundUse::View(query, columns)) => {
                let mut alias = alias.clone();
                if !columns.is_empty() {
                    let column =
                        |name: &String| TableAliasColumnDef { name: Ident::with_quote('`', name), data_type: None };
                    let inner = Ident::with_quote('`', "view");
                    let columns = columns.iter().map(column).collect();
                    let inner = TableAlias { explicit: true, name: inner, columns, at: None };
                    let subquery = query.clone();
                    let factor = TableFactor::Derived { lateral: false, subquery, alias: Some(inner), sample: None };
                    return planned(context.plan(factor)?, alias.take());
                }
                let subquery = query.clone();
                let factor = TableFactor::Derived { lateral: false, subquery, alias: None, sample: None };
                planned(context.plan(factor)?, alias)
            }
            None => original(relation),
        }
    }
}

impl Relations {
    fn window(
        &self,
        input: LogicalPlan,
        call: &WindowCall,
        context: &mut dyn RelationPlannerContext,
    ) -> datafusion::common::Result<LogicalPlan> {
        let (time, kind) = (&call.time_column, call.kind);
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
        // Over the rows of a window, the new bounds are numbered as Flink numbers repeated names: `window_start0`.
        let taken = |name: &str| schema.fields().iter().any(|f| f.name() == name);
        let new = new.map(|field| {
            let mut name = field.name().clone();
            let mut n = 0;
            while taken(&name) {
                name = format!("{}{n}", field.name());
                n += 1;
            }
            field.with_name(name)
        });
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
        let time = datafusion::common::Column::new(qualifier.cloned(), field.name());
        if let WindowKind::Session { gap } = kind {
            let keys = call.partition_by.iter().map(|key| context.sql_to_expr(key.clone(), &schema));
            let keys = keys.collect::<datafusion::common::Result<Vec<_>>>()?;
            return window_plans::session(input, time, gap, keys, new);
        }
        window_plans::sliced(input, time, kind, new)
    }

    fn missing_watermark(&self, column: &str) -> Error {
        let tables = || {
            self.uses.iter().filter_map(|one| match one {
                BoundUse::Table(table) => Some(table),
                BoundUse::View(..) => None,
            })
        };
        let table = tables().find(|table| table.has_column(column)).or_else(|| tables().next());
        let name = table.map_or_else(
            || "t".to_string(),
            |t| t.full_name().iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join("."),
        );
        Error::invalid(format!(
            "a window over a stream needs a watermark on `{column}`, and there is none. Declare it once, it is kept:\n  ALTER TABLE {name} ADD (WATERMARK FOR \
             `{column}` AS `{column}` - INTERVAL '5' SECOND);\nor run the query over what is there now: SET 'execution.runtime-mode' = 'batch';"
        ))
    }
}

/// The same schema with other fields.
pub(super) fn remarked(
    schema: &DFSchema,
    change: impl Fn(&Field) -> Result<Field>,
) -> datafusion::common::Result<DFSchemaRef> {
    let fields =
        schema.iter().map(|(qualifier, field)| Ok((qualifier.cloned(), Arc::new(change(field).map_err(external)?))));
    let fields = fields.collect::<datafusion::common::Result<Vec<(Option<TableReference>, FieldRef)>>>()?;
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}
