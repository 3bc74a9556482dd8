//! Columns of one name: `SELECT *, id` and `SELECT * FROM a JOIN b` give `id` and `id0`, wherever the query's rows are a table.

use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

use crate::sql::names;

/// The plan with unique names of columns, marks taken away; itself if it has them.
pub(super) fn columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    let fields = plan.schema().fields();
    let unique = names::numbered(fields.iter().map(|field| names::unmarked(field.name())));
    if unique.iter().zip(fields).all(|(unique, field)| unique == field.name()) {
        return Ok(plan);
    }
    let named = plan.schema().iter().zip(unique).map(|((qualifier, field), unique)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        if unique == *field.name() { column } else { column.alias(unique) }
    });
    let named = named.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(named, plan.into())?))
}
