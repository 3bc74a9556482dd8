//! Flink's typing over DataFusion's planner: operators are bound when they are met, the rest when a (sub)plan is complete.
//!
//! ```text
//!  a + b, a = b …      ExprPlanner: typed at once by crate::functions
//!  CAST(x AS T)        a marker with the right type; the real cast when the plan is complete
//!  CASE, IN, LIKE, WHERE, ON, UNION, VALUES …      checked and brought to one type when the plan is complete
//! ```

use std::sync::Arc;

use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{FieldMetadata, InList, InSubquery, NullTreatment};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RelationPlannerContext};
use datafusion::logical_expr::{
    BinaryExpr, Case, Cast, ColumnarValue, Expr, ExprSchemable, Like, LogicalPlan, Operator, Projection,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Union, Values, Volatility,
};

use sqlparser::ast::{Expr as SqlExpr, Parens};

use super::sugar::{CAST, NEGATE, TRY_CAST};
use super::{correlated, set_operations, subqueries};
use crate::batch::{external, from_datafusion};
use crate::functions::{self, binary, cast, common_type, is_boolean, negate, type_of};

type DfResult<T> = datafusion::common::Result<T>;

/// Binds operators as they are met.
#[derive(Debug)]
pub(super) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> DfResult<PlannerResult<RawBinaryExpr>> {
        // A side may hold markers of casts: they are typed already, and resolved with the plan.
        let RawBinaryExpr { op, left, right } = expr;
        Ok(PlannerResult::Planned(binary(&op, left, right, schema).map_err(external)?))
    }
}

/// The functions that the front end itself needs.
pub(super) fn own_function(name: &str) -> Option<Arc<ScalarUDF>> {
    match name {
        CAST => Some(Arc::new(ScalarUDF::from(CastMarker { try_cast: false, signature: any() }))),
        TRY_CAST => Some(Arc::new(ScalarUDF::from(CastMarker { try_cast: true, signature: any() }))),
        NEGATE => Some(Arc::new(negate())),
        _ => None,
    }
}

fn any() -> Signature {
    Signature::any(2, Volatility::Immutable)
}

/// Stands for a cast until the plan is complete, with the cast's type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CastMarker {
    try_cast: bool,
    signature: Signature,
}

fn target(literal: Option<&ScalarValue>) -> Result<ColumnType> {
    match literal {
        Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => SqlType::parse(text),
        _ => Err(Error::invalid("write CAST(value AS type)")),
    }
}

impl ScalarUDFImpl for CastMarker {
    fn name(&self) -> &str {
        if self.try_cast { TRY_CAST } else { CAST }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        datafusion::common::internal_err!("a cast's type depends on its second argument")
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let to = target(args.scalar_arguments.get(1).copied().flatten()).map_err(external)?;
        let nullable = self.try_cast || args.arg_fields.first().is_none_or(|field| field.is_nullable());
        Ok(Arc::new(ColumnType { sql_type: to.sql_type, nullable }.to_field(self.name())))
    }
    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        datafusion::common::internal_err!("a cast that was not resolved")
    }
}

/// Completes a plan: casts resolved, conditions checked, branches and rows of one type. Nothing changes in a plan that is complete.
pub(super) fn complete(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done =
        plan.transform_up_with_subqueries(|plan| one_node(plan).map(Transformed::yes)).map_err(from_datafusion)?;
    Ok(done.data)
}

/// The same for one expression over columns.
pub(super) fn complete_expression(expression: Expr, columns: &DFSchema) -> Result<Expr> {
    typed(expression, columns)
}

fn one_node(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut schema = DFSchema::empty();
    for input in plan.inputs() {
        schema.merge(input.schema());
    }
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&scan.projected_schema);
    }
    let preserver = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expression| {
        let name = preserver.save(&expression);
        let typed = typed(expression, &schema).map_err(external)?;
        Ok(Transformed::yes(name.restore(typed)))
    })?;
    match plan.data {
        LogicalPlan::Filter(mut filter) => {
            filter.predicate = condition(filter.predicate, &schema, "WHERE").map_err(external)?;
            filter.predicate = subqueries::as_condition(filter.predicate, &schema)?;
            correlated::joined(LogicalPlan::Filter(filter))
        }
        LogicalPlan::Join(join) if set_operations::is_one(&join) => set_operations::counted(join).map_err(external),
        LogicalPlan::Join(mut join) => {
            if let Some(filter) = join.filter.take() {
                join.filter = Some(condition(filter, &schema, "ON").map_err(external)?);
            }
            for (left, right) in &mut join.on {
                let equal = binary(&sqlparser::ast::BinaryOperator::Eq, left.clone(), right.clone(), &schema);
                if let Expr::BinaryExpr(BinaryExpr { left: l, right: r, .. }) = equal.map_err(external)? {
                    (*left, *right) = (*l, *r);
                }
            }
            correlated::laterally_joined(join)
        }
        LogicalPlan::Union(union) => union_of(union).map_err(external),
        LogicalPlan::Projection(mut projection) => {
            let expressions =
                std::mem::take(&mut projection.expr).into_iter().map(|e| subqueries::as_value(e, &schema));
            projection.expr = expressions.collect::<DfResult<_>>()?;
            correlated::joined(LogicalPlan::Projection(projection).recompute_schema()?)
        }
        LogicalPlan::Extension(extension) => Ok(LogicalPlan::Extension(extension)),
        other => other.recompute_schema(),
    }
}

fn no_common(what: &str, types: &[SqlType]) -> Error {
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    Error::invalid(format!("{what} have no common type ({}): CAST them to one", types.join(", ")))
}

/// `VALUES`: rows of the types that their values have in common.
pub(super) fn values(rows: &[Parens<Vec<SqlExpr>>], context: &mut dyn RelationPlannerContext) -> DfResult<LogicalPlan> {
    let nothing = DFSchema::empty();
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let row = row.iter().map(|expression| {
            let bound = context.sql_to_expr(expression.clone(), &nothing)?;
            typed(bound, &nothing).map_err(external)
        });
        values.push(row.collect::<DfResult<Vec<Expr>>>()?);
    }
    let columns = values.first().map_or(0, Vec::len);
    if let Some(row) = values.iter().find(|row| row.len() != columns) {
        return Err(external(Error::invalid(format!("the rows of VALUES have {columns} and {} columns", row.len()))));
    }
    let mut fields = Vec::with_capacity(columns);
    for column in 0..columns {
        let all: Result<Vec<_>> = values.iter().map(|row| type_of(&row[column], &nothing)).collect();
        let all = all.map_err(external)?;
        let one = common_type(&all).ok_or_else(|| external(no_common("the rows of VALUES", &all)))?;
        let field = Arc::new(one.clone().nullable().to_field(&format!("EXPR${column}")));
        for row in &mut values {
            let value = cast(row[column].clone(), &one, false, &nothing).map_err(external)?;
            let is_right = value.get_type(&nothing)? == *field.data_type();
            row[column] = match is_right {
                true => value,
                false => Expr::Cast(Cast::new_from_field(Box::new(value), Arc::clone(&field))),
            };
        }
        fields.push((None, field));
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
    Ok(LogicalPlan::Values(Values { schema, values }))
}

/// A condition must be BOOLEAN; NULL is one.
fn condition(predicate: Expr, schema: &DFSchema, clause: &str) -> Result<Expr> {
    let found = type_of(&predicate, schema)?;
    if !is_boolean(&found) {
        return Err(Error::invalid(format!("{clause} takes a condition, and `{predicate}` is {found}")));
    }
    cast(predicate, &SqlType::Boolean, false, schema)
}

fn union_of(union: Union) -> Result<LogicalPlan> {
    let columns = union.schema.fields().len();
    let mut types = Vec::with_capacity(columns);
    for n in 0..columns {
        let of = |input: &Arc<LogicalPlan>| ColumnType::of_field(input.schema().field(n)).map(|found| found.sql_type);
        let all = union.inputs.iter().map(of).collect::<Result<Vec<_>>>()?;
        let name = union.schema.field(n).name();
        let one = common_type(&all)
            .ok_or_else(|| no_common(&format!("the columns of a set operation named `{name}`"), &all))?;
        types.push(one);
    }
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        inputs.push(Arc::new(brought_to(input.as_ref().clone(), &types)?));
    }
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs).map_err(from_datafusion)?))
}

/// A plan whose columns have these types; itself if they have.
pub(super) fn brought_to(plan: LogicalPlan, types: &[SqlType]) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let mut changed = false;
    let mut expressions = Vec::with_capacity(types.len());
    for ((qualifier, field), to) in schema.iter().zip(types) {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let found = ColumnType::of_field(field)?.sql_type;
        if found == *to {
            expressions.push(column);
            continue;
        }
        changed = true;
        expressions.push(cast(column, to, false, &schema)?.alias_qualified(qualifier.cloned(), field.name()));
    }
    if !changed {
        return Ok(plan);
    }
    let projection = Projection::try_new(expressions, Arc::new(plan)).map_err(from_datafusion)?;
    Ok(LogicalPlan::Projection(projection))
}

/// One expression and all in it.
fn typed(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let done = expression.transform_up(|one| one_expression(one, schema).map(Transformed::yes).map_err(external));
    done.map(|done| done.data).map_err(from_datafusion)
}

fn one_expression(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    match expression {
        Expr::ScalarFunction(call) if matches!(call.func.name(), CAST | TRY_CAST) => {
            let to = match call.args.get(1) {
                Some(Expr::Literal(text, _)) => target(Some(text))?,
                _ => target(None)?,
            };
            let try_cast = call.func.name() == TRY_CAST;
            let Some(input) = call.args.into_iter().next() else { return Err(Error::internal("a cast of nothing")) };
            let done = cast(input, &to.sql_type, try_cast, schema)?;
            // The type is the target's even where the value needs no change.
            let (_, field) = done.to_field(schema).map_err(from_datafusion)?;
            if ColumnType::of_field(&field)?.sql_type != to.sql_type {
                let wanted = ColumnType { sql_type: to.sql_type, nullable: field.is_nullable() }.to_field("");
                let cast = Cast::new_from_field(Box::new(done), Arc::new(wanted));
                return Ok(Expr::Cast(cast));
            }
            Ok(done)
        }
        Expr::ScalarFunction(call) if call.func.name() == "TYPEOF" && call.args.len() == 1 => {
            let found = written_type(&call.args[0], schema)?;
            let not_null = if found.nullable { "" } else { " NOT NULL" };
            let text = match &found.sql_type {
                SqlType::IntervalMillis => format!("INTERVAL SECOND(3){not_null}"),
                SqlType::IntervalMonths => format!("INTERVAL MONTH{not_null}"),
                other => format!("{other}{not_null}"),
            };
            Ok(Expr::Literal(ScalarValue::Utf8View(Some(text)), None))
        }
        Expr::ScalarFunction(mut call) => {
            if let Some(original) = functions::original(&call.func) {
                call.func = original;
            }
            Ok(Expr::ScalarFunction(call))
        }
        // Arrow's one type of intervals does not tell months from days.
        Expr::Literal(value @ ScalarValue::IntervalMonthDayNano(Some(_)), None)
            if type_of(&Expr::Literal(value.clone(), None), schema)? == SqlType::IntervalMonths =>
        {
            let field = SqlType::IntervalMonths.not_null().to_field("");
            Ok(Expr::Literal(value, Some(FieldMetadata::from(field.metadata()))))
        }
        Expr::Case(case) => case_of(case, schema),
        Expr::InList(list) => in_list(list, schema),
        Expr::InSubquery(inner) => in_subquery(inner, schema),
        Expr::Like(like) => like_of(like, schema),
        Expr::Not(inner) => Ok(Expr::Not(Box::new(condition(*inner, schema, "NOT")?))),
        Expr::IsTrue(inner) => Ok(Expr::IsTrue(Box::new(condition(*inner, schema, "IS TRUE")?))),
        Expr::IsFalse(inner) => Ok(Expr::IsFalse(Box::new(condition(*inner, schema, "IS FALSE")?))),
        Expr::IsUnknown(inner) => Ok(Expr::IsUnknown(Box::new(condition(*inner, schema, "IS UNKNOWN")?))),
        Expr::IsNotTrue(inner) => Ok(Expr::IsNotTrue(Box::new(condition(*inner, schema, "IS NOT TRUE")?))),
        Expr::IsNotFalse(inner) => Ok(Expr::IsNotFalse(Box::new(condition(*inner, schema, "IS NOT FALSE")?))),
        Expr::IsNotUnknown(inner) => Ok(Expr::IsNotUnknown(Box::new(condition(*inner, schema, "IS NOT UNKNOWN")?))),
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) =>
        {
            let equal = binary(&sqlparser::ast::BinaryOperator::Eq, *left, *right, schema)?;
            match equal {
                Expr::BinaryExpr(equal) => {
                    Ok(Expr::BinaryExpr(BinaryExpr { left: equal.left, op, right: equal.right }))
                }
                other => Ok(other),
            }
        }
        Expr::WindowFunction(mut call) if skips_nulls(call.fun.name(), call.params.null_treatment) => {
            call.params.null_treatment = Some(NullTreatment::IgnoreNulls);
            Ok(Expr::WindowFunction(call))
        }
        Expr::AggregateFunction(mut call) => {
            if call.func.name().eq_ignore_ascii_case("count") && call.params.args.len() > 1 {
                return Err(Error::invalid("COUNT takes one argument: count ROW(a, b), or rows where both are there"));
            }
            if skips_nulls(call.func.name(), call.params.null_treatment) {
                call.params.null_treatment = Some(NullTreatment::IgnoreNulls);
            }
            if let Some(filter) = call.params.filter.take() {
                call.params.filter = Some(Box::new(condition(*filter, schema, "FILTER")?));
            }
            Ok(Expr::AggregateFunction(call))
        }
        other => Ok(other),
    }
}

/// An expression's type as Flink says it: of literals as exactly as they are written.
fn written_type(expression: &Expr, schema: &DFSchema) -> Result<ColumnType> {
    Ok(match expression {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
            SqlType::Char(u32::try_from(text.chars().count()).unwrap_or(u32::MAX)).not_null()
        }
        Expr::Literal(value, _) if !value.is_null() => type_of(expression, schema)?.not_null(),
        Expr::ScalarFunction(call) if call.func.name() == "ARRAY" && !call.args.is_empty() => {
            let elements = call.args.iter().map(|one| written_type(one, schema)).collect::<Result<Vec<_>>>()?;
            let types: Vec<SqlType> = elements.iter().map(|one| one.sql_type.clone()).collect();
            let sql_type = common_type(&types).ok_or_else(|| no_common("the elements of ARRAY", &types))?;
            let nullable = elements.iter().any(|one| one.nullable);
            SqlType::Array(Box::new(ColumnType { sql_type, nullable })).not_null()
        }
        other => {
            let (_, field) = other.to_field(schema).map_err(from_datafusion)?;
            ColumnType { sql_type: type_of(other, schema)?, nullable: field.is_nullable() }
        }
    })
}

/// FIRST_VALUE and LAST_VALUE are of values, not of NULLs.
fn skips_nulls(name: &str, treatment: Option<NullTreatment>) -> bool {
    treatment.is_none() && ["first_value", "last_value"].iter().any(|one| name.eq_ignore_ascii_case(one))
}

fn case_of(case: Case, schema: &DFSchema) -> Result<Expr> {
    let Case { expr, when_then_expr, else_expr } = case;
    let results = when_then_expr.iter().map(|(_, then)| then).chain(else_expr.iter());
    let types = results.map(|result| type_of(result, schema)).collect::<Result<Vec<_>>>()?;
    let one = common_type(&types).ok_or_else(|| no_common("the branches of CASE", &types))?;
    let mut branches = Vec::with_capacity(when_then_expr.len());
    for (when, then) in when_then_expr {
        let when = match &expr {
            // `CASE x WHEN 1` compares as `x = 1` does.
            Some(value) => binary(&sqlparser::ast::BinaryOperator::Eq, value.as_ref().clone(), *when, schema)?,
            None => condition(*when, schema, "WHEN")?,
        };
        branches.push((Box::new(when), Box::new(cast(*then, &one, false, schema)?)));
    }
    let otherwise = match else_expr {
        Some(result) => Some(Box::new(cast(*result, &one, false, schema)?)),
        None => None,
    };
    Ok(Expr::Case(Case { expr: None, when_then_expr: branches, else_expr: otherwise }))
}

/// A value is compared with each of a list as `=` compares.
fn in_list(list: InList, schema: &DFSchema) -> Result<Expr> {
    let InList { expr, list, negated } = list;
    let mut sides = vec![type_of(&expr, schema)?];
    for item in &list {
        // The comparison with each says whether the types fit.
        let equal = binary(&sqlparser::ast::BinaryOperator::Eq, expr.as_ref().clone(), item.clone(), schema)?;
        match equal {
            Expr::BinaryExpr(equal) => sides.push(type_of(&equal.left, schema)?),
            _ => sides.push(type_of(item, schema)?),
        }
    }
    let one = common_type(&sides).ok_or_else(|| no_common("the values of IN", &sides))?;
    let list = list.into_iter().map(|item| cast(item, &one, false, schema)).collect::<Result<Vec<_>>>()?;
    Ok(Expr::InList(InList { expr: Box::new(cast(*expr, &one, false, schema)?), list, negated }))
}

fn in_subquery(inner: InSubquery, schema: &DFSchema) -> Result<Expr> {
    let InSubquery { expr, mut subquery, negated } = inner;
    let [field] = subquery.subquery.schema().fields().iter().collect::<Vec<_>>()[..] else {
        return Err(Error::invalid("the query of IN gives one column"));
    };
    let theirs = ColumnType::of_field(field)?.sql_type;
    let ours = type_of(&expr, schema)?;
    let is_text = |one: &SqlType| matches!(one, SqlType::Char(_) | SqlType::Varchar(_));
    let both = common_type(&[ours.clone(), theirs.clone()]).filter(|_| is_text(&ours) == is_text(&theirs));
    let Some(both) = both else {
        return Err(Error::invalid(format!("IN compares {ours} with {theirs}: CAST one of them")));
    };
    let expr = cast(*expr, &both, false, schema)?;
    let plan = brought_to(subquery.subquery.as_ref().clone(), &[both])?;
    subquery.subquery = Arc::new(plan);
    Ok(Expr::InSubquery(InSubquery { expr: Box::new(expr), subquery, negated }))
}

fn like_of(like: Like, schema: &DFSchema) -> Result<Expr> {
    let Like { negated, expr, pattern, escape_char, case_insensitive } = like;
    for side in [&expr, &pattern] {
        let found = type_of(side, schema)?;
        if !matches!(found, SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Null) {
            return Err(Error::invalid(format!("LIKE takes texts, and `{side}` is {found}: CAST it to STRING")));
        }
    }
    let (expr, mut pattern) =
        (cast(*expr, &SqlType::STRING, false, schema)?, cast(*pattern, &SqlType::STRING, false, schema)?);
    // Flink has no escape character unless one is given; DataFusion's is the backslash, always.
    if escape_char != Some('\\') {
        let mut arguments = vec![pattern];
        arguments.extend(escape_char.map(|escape| Expr::Literal(ScalarValue::from(escape.to_string()), None)));
        let plain = functions::scalar("$LIKE_PATTERN", |_| None);
        pattern = plain.ok_or_else(|| Error::internal("LIKE's patterns are rewritten"))?.call(arguments);
    }
    // Done once: the escape character says so.
    let escape_char = Some('\\');
    Ok(Expr::Like(Like { negated, expr: Box::new(expr), pattern: Box::new(pattern), escape_char, case_insensitive }))
}
