//! A query's predicates as the reader uses them: evaluated on batches of both tiers, and against the statistics of row groups.

use std::sync::Arc;

use aquifer_model::{Error, Result};
use aquifer_storage::reader::{ContainerStatistics, ReadFilter};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};

use super::TieredTable;

/// Predicates over a table's columns.
#[derive(Debug)]
struct Pushed {
    /// The reader's names of the columns.
    columns: Vec<String>,
    /// The same columns with the table's names.
    schema: SchemaRef,
    predicate: Arc<dyn PhysicalExpr>,
    pruning: Option<PruningPredicate>,
}

/// The filter that `filters` make; `None` if there are none.
pub(crate) fn pushed(
    table: &TieredTable,
    state: &dyn Session,
    filters: &[Expr],
) -> datafusion::common::Result<Option<Arc<dyn ReadFilter>>> {
    let Some(all) = conjunction(filters.iter().cloned()) else { return Ok(None) };
    let mut indices: Vec<usize> = Vec::new();
    for column in all.column_refs() {
        let index = table.schema.index_of(&column.name)?;
        if !indices.contains(&index) {
            indices.push(index);
        }
    }
    indices.sort_unstable();
    let schema: SchemaRef = Arc::new(table.schema.project(&indices)?);
    // The scan's filters name the table; here there is only one.
    let unqualified = all
        .transform(|e| {
            Ok(match e {
                Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
                other => Transformed::no(other),
            })
        })?
        .data;
    let predicate = state.create_physical_expr(unqualified, &DFSchema::try_from(Schema::clone(&schema))?)?;
    let pruning =
        PruningPredicateBuilder::new().with_file_schema(Arc::clone(&schema)).try_build(Arc::clone(&predicate)).ok();
    let columns = indices.iter().map(|n| table.reader_columns[*n].clone()).collect();
    Ok(Some(Arc::new(Pushed { columns, schema, predicate, pruning })))
}

impl ReadFilter for Pushed {
    fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }

    fn keep(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let rows = super::as_table(rows, &self.schema)?;
        let kept = self.predicate.evaluate(&rows).and_then(|value| value.into_array(rows.num_rows()));
        let kept = kept.map_err(super::from_datafusion)?;
        kept.as_boolean_opt().cloned().ok_or_else(|| Error::internal("a filter is no boolean"))
    }

    fn may_match(&self, statistics: &dyn ContainerStatistics) -> Result<Vec<bool>> {
        let all = vec![true; statistics.num_containers()];
        let Some(pruning) = &self.pruning else { return Ok(all) };
        let adapted = Adapted { filter: self, statistics };
        // What cannot be decided by statistics is read.
        Ok(pruning.prune(&adapted).unwrap_or(all))
    }
}

struct Adapted<'a> {
    filter: &'a Pushed,
    statistics: &'a dyn ContainerStatistics,
}

impl Adapted<'_> {
    fn name(&self, column: &Column) -> Option<&str> {
        let index = self.filter.schema.index_of(&column.name).ok()?;
        Some(&self.filter.columns[index])
    }
}

impl PruningStatistics for Adapted<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.statistics.min_values(self.name(column)?)
    }
    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.statistics.max_values(self.name(column)?)
    }
    fn num_containers(&self) -> usize {
        self.statistics.num_containers()
    }
    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.statistics.null_counts(self.name(column)?)
    }
    fn row_counts(&self) -> Option<ArrayRef> {
        self.statistics.row_counts()
    }
    fn contained(&self, _column: &Column, _values: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
