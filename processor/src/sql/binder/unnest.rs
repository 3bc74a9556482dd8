//! UNNEST: planned as a node of its own where it is met, resolved to DataFusion's unnest at the join whose left side its argument names.
//!
//! ```text
//!  Join(left, UNNEST(left.a) AS t (v)) ─► Projection(left, v) ─► Unnest(list) ─► Projection(left, list of left.a)
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, SqlType};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, make_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, filter};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, Result as DfResult, ScalarValue, UnnestOptions};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, UserDefinedLogicalNodeCore, Volatility,
};

use crate::batch::external;

const VALUE: &str = "__aquifer_unnested";
const ORDINAL: &str = "__aquifer_ordinal";

/// Rows from the elements of an array or the entries of a map.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct UnnestNode {
    argument: Expr,
    ordinality: bool,
    schema: DFSchemaRef,
}

impl PartialOrd for UnnestNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.argument.partial_cmp(&other.argument)
    }
}

impl UnnestNode {
    pub fn new(argument: Expr, ordinality: bool) -> DfResult<Self> {
        let (_, field) = argument.to_field(&DFSchema::empty())?;
        let mut fields: Vec<Field> = match element(field.data_type()) {
            None => {
                let found =
                    ColumnType::of_field(&field).map_or_else(|_| field.data_type().to_string(), |t| t.to_string());
                return Err(external(Error::invalid(format!("UNNEST takes an ARRAY, MAP or MULTISET, not {found}"))));
            }
            Some(item) => match item.data_type() {
                DataType::Struct(fields) => fields.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect(),
                _ => vec![item.as_ref().clone().with_name("EXPR$0").with_nullable(true)],
            },
        };
        if ordinality {
            fields.push(SqlType::Int.not_null().to_field("ORDINALITY").with_nullable(true));
        }
        let schema = DFSchema::from_unqualified_fields(fields.into(), Default::default())?;
        Ok(Self { argument, ordinality, schema: Arc::new(schema) })
    }
}

/// What an array or map is made of; a map's entries are structures.
fn element(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => Some(item),
        _ => None,
    }
}

impl UserDefinedLogicalNodeCore for UnnestNode {
    fn name(&self) -> &str {
        "Unnest"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![self.argument.clone()]
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unnest: {}", self.argument)
    }
    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let argument = exprs.pop().unwrap_or_else(|| self.argument.clone());
        Ok(Self { argument, ordinality: self.ordinality, schema: Arc::clone(&self.schema) })
    }
}

/// Puts UNNEST into the joins that it stands in.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(join) => match node_in(&join.right) {
            Some(node) => Ok(Transformed::yes(joined(&join, node)?)),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    // What is left stands alone in FROM.
    let plan = plan.data.transform_up_with_subqueries(|plan| match &plan {
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<UnnestNode>() {
            Some(node) if !node.argument.contains_outer() => {
                let row = LogicalPlanBuilder::empty(true).build()?;
                let fields = node.schema.iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect::<Vec<_>>();
                Ok(Transformed::yes(unnested(row, node, node.argument.clone(), false, &fields)?))
            }
            Some(_) => Err(external(Error::unsupported(
                "UNNEST of an outer query's column inside a subquery is not built yet: join it, FROM t CROSS JOIN UNNEST(t.a)",
            ))),
            None => Ok(Transformed::no(plan)),
        },
        _ => Ok(Transformed::no(plan)),
    })?;
    Ok(plan.data)
}

/// The node on a join's right side, if nothing but names stands above it.
fn node_in(plan: &LogicalPlan) -> Option<&UnnestNode> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => node_in(&alias.input),
        LogicalPlan::Subquery(subquery) => node_in(&subquery.subquery),
        LogicalPlan::Projection(projection) => {
            let renames = projection.expr.iter().all(|e| matches!(e.clone().unalias(), Expr::Column(_)));
            let all = projection.expr.len() == projection.input.schema().fields().len();
            if renames && all { node_in(&projection.input) } else { None }
        }
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
        _ => None,
    }
}

fn joined(join: &Join, node: &UnnestNode) -> DfResult<LogicalPlan> {
    let outer = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left => true,
        other => {
            return Err(external(Error::unsupported(format!("{other} JOIN with UNNEST: use CROSS JOIN or LEFT JOIN"))));
        }
    };
    let always = |e: &Expr| matches!(e, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    let condition = join.filter.clone().filter(|e| !always(e));
    if !join.on.is_empty() || (outer && condition.is_some()) {
        return Err(external(Error::unsupported("LEFT JOIN UNNEST(…) takes the condition ON TRUE only")));
    }
    let argument = node.argument.clone().transform(|e| match e {
        Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
        other => Ok(Transformed::no(other)),
    })?;
    let fields: Vec<_> = join.right.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
    let plan = unnested(join.left.as_ref().clone(), node, argument.data, outer, &fields)?;
    match condition {
        Some(condition) => LogicalPlanBuilder::from(plan).filter(condition)?.build(),
        None => Ok(plan),
    }
}

/// The input's columns and the elements under these names.
fn unnested(
    input: LogicalPlan,
    node: &UnnestNode,
    argument: Expr,
    outer: bool,
    names: &[(Option<datafusion::common::TableReference>, FieldRef)],
) -> DfResult<LogicalPlan> {
    let own: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let list = |ordinals| ScalarUDF::from(Elements { ordinals, outer, signature: any() }).call(vec![argument.clone()]);
    let mut expressions = own.clone();
    expressions.push(list(false).alias(VALUE));
    let mut lists = vec![Column::from_name(VALUE)];
    if node.ordinality {
        expressions.push(list(true).alias(ORDINAL));
        lists.push(Column::from_name(ORDINAL));
    }
    let plan = LogicalPlanBuilder::from(input)
        .project(expressions)?
        .unnest_columns_with_options(lists, UnnestOptions::new().with_preserve_nulls(outer))?;
    let value = || Expr::Column(Column::from_name(VALUE));
    let is_row = matches!(plan.schema().field_with_unqualified_name(VALUE)?.data_type(), DataType::Struct(_));
    let mut results = own;
    for (n, (qualifier, field)) in names.iter().enumerate() {
        let given = node.schema.field(n).name();
        let expression = if node.ordinality && n + 1 == names.len() {
            Expr::Column(Column::from_name(ORDINAL))
        } else if is_row {
            get_field(value(), given.clone())
        } else {
            value()
        };
        results.push(expression.alias_qualified(qualifier.clone(), field.name()));
    }
    plan.project(results)?.build()
}

fn any() -> Signature {
    Signature::any(1, Volatility::Immutable)
}

/// An array or map as the list that is unnested: entries as structures, NULL rows left out, an empty list NULL where the row must stay; or
/// the places of its elements, from 1.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Elements {
    ordinals: bool,
    outer: bool,
    signature: Signature,
}

impl Elements {
    fn item(&self, data_type: &DataType) -> FieldRef {
        if self.ordinals {
            return Arc::new(SqlType::Int.not_null().to_field("item").with_nullable(true));
        }
        match element(data_type) {
            Some(item) => Arc::new(item.as_ref().clone().with_name("item").with_nullable(true)),
            None => Arc::new(Field::new("item", DataType::Null, true)),
        }
    }
}

impl ScalarUDFImpl for Elements {
    fn name(&self) -> &str {
        "__aquifer_elements"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::List(self.item(&types[0])))
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let list = DataType::List(self.item(args.arg_fields[0].data_type()));
        Ok(Arc::new(Field::new(self.name(), list, true)))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let column = args.args[0].to_array(args.number_rows)?;
        let item = self.item(column.data_type());
        let list = as_list(&column)?;
        let is_row = matches!(list.value_type(), DataType::Struct(_));
        // A NULL among rows is no row.
        let values = list.values();
        let kept: Option<BooleanArray> =
            (is_row && values.null_count() > 0).then(|| (0..values.len()).map(|n| Some(values.is_valid(n))).collect());
        let (mut lengths, mut valid, mut ordinals) = (Vec::new(), Vec::new(), Vec::new());
        let offsets = list.value_offsets();
        for row in 0..list.len() {
            let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
            let length = match &kept {
                _ if list.is_null(row) => 0,
                Some(kept) => (from..to).filter(|n| kept.value(*n)).count(),
                None => to - from,
            };
            valid.push(list.is_valid(row) && !(self.outer && length == 0));
            lengths.push(length);
            ordinals.extend(1..=length as i32);
        }
        let nulls = Some(NullBuffer::from(valid));
        let lengths = OffsetBuffer::from_lengths(lengths);
        let values: ArrayRef = if self.ordinals {
            Arc::new(Int32Array::from(ordinals))
        } else {
            let mut keep: Vec<bool> = vec![false; values.len()];
            for row in (0..list.len()).filter(|row| list.is_valid(*row)) {
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                for (n, keep) in range.clone().zip(&mut keep[range]) {
                    *keep = kept.as_ref().is_none_or(|kept| kept.value(n));
                }
            }
            filter(values, &BooleanArray::from(keep))?
        };
        let values = cast(&values, item.data_type())?;
        Ok(ColumnarValue::Array(Arc::new(ListArray::try_new(item, lengths, values, nulls)?)))
    }
}

fn as_list(column: &ArrayRef) -> DfResult<ListArray> {
    Ok(match column.data_type() {
        DataType::Map(entries, _) => {
            let map = column.as_map();
            let values = make_array(arrow::array::Array::to_data(map.entries()));
            ListArray::try_new(Arc::clone(entries), map.offsets().clone(), values, map.nulls().cloned())?
        }
        DataType::LargeList(item) => cast(column, &DataType::List(Arc::clone(item)))?.as_list::<i32>().clone(),
        _ => column.as_list::<i32>().clone(),
    })
}
