//! A query's predicates as the reader uses them: evaluated on batches of both tiers, and against the statistics of row groups.

use std::sync::Arc;

use aquifer_formats::messages::column;
use aquifer_model::{Error, Position, Result};
use aquifer_storage::reader::{ContainerStatistics, PARTITION, ReadFilter, TIER, TOPIC};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{Guarantee, LiteralGuarantee};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};

use super::TieredTable;
use super::bounds::{Bounds, positions};

/// Predicates over a table's columns.
#[derive(Debug)]
struct Pushed {
    /// The reader's names of the columns.
    columns: Vec<String>,
    /// The same columns with the table's names.
    schema: SchemaRef,
    predicate: Arc<dyn PhysicalExpr>,
    pruning: Option<PruningPredicate>,
    /// The only message keys that can match, if the predicate names them.
    keys: Option<Vec<Vec<u8>>>,
    /// Between which entries rows lie that can match.
    positions: (Position, Position),
    /// They were taken by the broker at this time or later, in milliseconds since 1970.
    broker_published_from: Option<i64>,
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
    let shows = |reader_column: &str, name: &str| {
        table.schema.index_of(name).is_ok_and(|index| table.reader_columns[index] == reader_column)
    };
    let bounds = |reader_column: &str| Bounds::of(&all, &|name| shows(reader_column, name));
    let positions = positions(bounds(column::LEDGER), bounds(column::ENTRY));
    let broker_published_from = Some(bounds(column::BROKER_PUBLISH_TIME).low).filter(|from| *from > i64::MIN);
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
    let columns: Vec<String> = indices.iter().map(|n| table.reader_columns[*n].clone()).collect();
    let keys = message_keys(&columns, &schema, &predicate);
    Ok(Some(Arc::new(Pushed { columns, schema, predicate, pruning, keys, positions, broker_published_from })))
}

/// Whether a column shows messages' keys, which are bytes, as text: their order stays, and what is no text is NULL, before a filter as behind it.
pub(super) fn is_key_as_text(reader_column: &str, shown: &Field) -> bool {
    reader_column == column::KEY && shown.data_type().is_string()
}

/// Whether a column shows a place as the table has it: names and the partition's number are the same in many rows, and a position's numbers, which
/// have no sign, keep their order (those above the largest BIGINT are NULL, before a filter as behind it).
pub(super) fn is_place(reader_column: &str, shown: &Field) -> bool {
    match reader_column {
        TOPIC | TIER => shown.data_type().is_string(),
        PARTITION => matches!(shown.data_type(), DataType::Int32 | DataType::Int64),
        _ => is_position_as_number(reader_column, shown),
    }
}

fn is_position_as_number(reader_column: &str, shown: &Field) -> bool {
    matches!(reader_column, column::LEDGER | column::ENTRY) && *shown.data_type() == DataType::Int64
}

/// The message keys that a row must have one of, where the predicate says so with `=` or `IN`.
fn message_keys(columns: &[String], schema: &Schema, predicate: &Arc<dyn PhysicalExpr>) -> Option<Vec<Vec<u8>>> {
    let index = columns.iter().position(|name| name == column::KEY)?;
    let shown = schema.field(index).name();
    LiteralGuarantee::analyze(predicate)
        .into_iter()
        .find(|known| known.guarantee == Guarantee::In && known.column.name() == shown)?
        .literals
        .iter()
        .map(bytes_of)
        .collect()
}

/// The bytes of a text or of bytes.
fn bytes_of(value: &ScalarValue) -> Option<Vec<u8>> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
            text.clone().map(String::into_bytes)
        }
        ScalarValue::Binary(bytes) | ScalarValue::BinaryView(bytes) | ScalarValue::LargeBinary(bytes) => bytes.clone(),
        _ => None,
    }
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

    fn message_keys(&self) -> Option<&[Vec<u8>]> {
        self.keys.as_deref()
    }

    fn positions(&self) -> (Position, Position) {
        self.positions
    }

    fn broker_published_from(&self) -> Option<i64> {
        self.broker_published_from
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
    /// A bound as the table shows it: bytes shown as text keep their order, and where they are no text nothing is known.
    fn bound(&self, column: &Column, found: Option<ArrayRef>) -> Option<ArrayRef> {
        let wanted = self.filter.schema.field_with_name(&column.name).ok()?.data_type();
        found.and_then(|found| if found.data_type() == wanted { Some(found) } else { cast(&found, wanted).ok() })
    }

    fn name(&self, column: &Column) -> Option<&str> {
        let index = self.filter.schema.index_of(&column.name).ok()?;
        Some(&self.filter.columns[index])
    }
}

impl PruningStatistics for Adapted<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, self.statistics.min_values(self.name(column)?))
    }
    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, self.statistics.max_values(self.name(column)?))
    }
    fn num_containers(&self) -> usize {
        self.statistics.num_containers()
    }
    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let name = self.name(column)?;
        // What is no text, or too large a number, is NULL only as it is shown.
        let shown = self.filter.schema.field_with_name(&column.name).ok()?;
        if is_key_as_text(name, shown) || is_position_as_number(name, shown) {
            return None;
        }
        self.statistics.null_counts(name)
    }
    fn row_counts(&self) -> Option<ArrayRef> {
        self.statistics.row_counts()
    }
    fn contained(&self, _column: &Column, _values: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
