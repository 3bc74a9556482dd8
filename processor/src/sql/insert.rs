//! `INSERT INTO` and statement sets: a query's columns under a table's names and types, into its sink.

use std::sync::Arc;

use aquifer_catalog::Table;
use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Aggregate, Cast, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{Expr as SqlExpr, Value};
use tokio::sync::mpsc;

use super::binder::Bound;
use super::statement::{Insert, SelectQuery, parse_expression};
use super::{Outcome, Report, Running, Session, run};
use crate::connector::nearest_known;
use crate::plan::UpsertNode;
use crate::sink::{TableWriter, overwriting_sink, writable_columns};

/// Where an insert goes.
pub(super) struct Target {
    pub table: Table,
    /// The columns that are written, in the table's order.
    columns: Vec<FieldRef>,
    /// For each of them where its value comes from.
    values: Vec<Given>,
}

/// Where a column's value comes from.
enum Given {
    /// The query's column with this number.
    Query(usize),
    /// `PARTITION (column = value)`; `None`: NULL.
    Fixed(Option<String>),
}

impl Session {
    /// Runs inserts, each into its own table, side by side.
    pub(super) async fn insert(&self, inserts: Vec<Insert>, notices: &mut Vec<String>) -> Result<Outcome> {
        if inserts.is_empty() {
            return Err(Error::invalid("the statement set has no INSERT"));
        }
        // Nothing is written before all of them are known to run.
        let mut started = Vec::new();
        for insert in inserts {
            started.push(self.start_insert(insert).await?);
        }
        if started.iter().any(|one| one.running.streaming) {
            notices.push(
                "delivery: at least once while it runs; after a crash it starts over from its start option".to_string(),
            );
        }
        Ok(Outcome::Insert(together(started.into_iter().map(Started::write).collect())?))
    }

    /// The table that an insert names, and which of its columns get which values.
    pub(super) async fn target(&self, insert: &Insert) -> Result<Target> {
        let mut table = self.lookup(&insert.table).await?;
        if !insert.hints.is_empty() {
            table = self.catalogs.get(&table.name[0])?.with_options(&table, &insert.hints).await?;
        }
        let writable = writable_columns(&table)?;
        let find = |name: &String| {
            writable.index_of(name).map_err(|_| {
                let near = nearest_known(name, writable.fields().iter().map(|f| f.name().as_str()));
                Error::invalid(format!("`{}` has no column `{name}` that can be written: {near}", table.name[2]))
            })
        };
        let mut fixed: Vec<(usize, Option<String>)> = Vec::new();
        for (column, value) in &insert.partition {
            let at = find(column)?;
            if !table.definition.partitioned_by.contains(column) {
                return Err(Error::invalid(format!(
                    "`{}` is not partitioned by `{column}`: PARTITION names columns of its PARTITIONED BY",
                    table.name[2]
                )));
            }
            if let Some(value) = value {
                fixed.push((at, constant(value)?));
            }
        }
        let is_fixed = |at: &usize| fixed.iter().any(|(known, _)| known == at);
        let given: Vec<usize> = if insert.columns.is_empty() {
            (0..writable.fields().len()).filter(|at| !is_fixed(at)).collect()
        } else {
            let places = insert.columns.iter().map(find).collect::<Result<Vec<_>>>()?;
            for (n, at) in places.iter().enumerate() {
                if places[..n].contains(at) || is_fixed(at) {
                    return Err(Error::invalid(format!("the column `{}` is given twice", writable.field(*at).name())));
                }
            }
            places
        };
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for at in 0..writable.fields().len() {
            let value = match (given.iter().position(|one| *one == at), fixed.iter().find(|(one, _)| *one == at)) {
                (Some(n), _) => Given::Query(n),
                (None, Some((_, value))) => Given::Fixed(value.clone()),
                (None, None) if !writable.field(at).is_nullable() => {
                    return Err(Error::invalid(format!(
                        "the column `{}` is NOT NULL and gets no value: name it among the columns",
                        writable.field(at).name()
                    )));
                }
                (None, None) => continue,
            };
            columns.push(Arc::clone(&writable.fields()[at]));
            values.push(value);
        }
        Ok(Target { table, columns, values })
    }

    /// Binds an insert's query, its columns as those of where they go.
    pub(super) async fn bind_insert(&self, query: SelectQuery, target: &Target, state: &SessionState) -> Result<Bound> {
        let Target { table, columns, values } = target;
        let mut bound = self.bind(query, state).await?;
        let given = bound.plan.schema().fields().len();
        let wanted = values.iter().filter(|value| matches!(value, Given::Query(_))).count();
        if given != wanted {
            let names: Vec<&str> = columns
                .iter()
                .zip(values)
                .filter(|(_, value)| matches!(value, Given::Query(_)))
                .map(|(field, _)| field.name().as_str())
                .collect();
            return Err(Error::invalid(format!(
                "`{}` takes {wanted} columns ({}), the query gives {given}",
                table.name[2],
                names.join(", ")
            )));
        }
        let mut expressions: Vec<Expr> = Vec::new();
        for (target, value) in columns.iter().zip(values) {
            let value = match value {
                Given::Query(n) => {
                    let (qualifier, field) = bound.plan.schema().qualified_field(*n);
                    fits(field, target)?;
                    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                    converted(column, field, target, bound.plan.schema())?
                }
                Given::Fixed(value) => cast(Expr::Literal(ScalarValue::Utf8View(value.clone()), None), target),
            };
            expressions.push(value.alias(target.name()));
        }
        bound.plan = LogicalPlanBuilder::from(bound.plan)
            .project(expressions)
            .and_then(LogicalPlanBuilder::build)
            .map_err(crate::batch::from_datafusion)?;
        Ok(bound)
    }

    /// Starts an insert's query, and opens where its rows go.
    async fn start_insert(&self, insert: Insert) -> Result<Started> {
        let target = self.target(&insert).await?;
        let state = self.state()?;
        let bound = self.bind_insert(insert.query, &target, &state).await?;
        let Target { table, columns, values } = target;
        let updating = self.settings.is_streaming() && updates(&bound.plan);
        let rows: SchemaRef =
            Arc::new(Schema::new(columns.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>()));
        let writer = if insert.overwrite {
            let given = columns.iter().zip(&values).filter_map(|(column, value)| match value {
                Given::Fixed(value) => Some((column.name().clone(), value.clone())),
                Given::Query(_) => None,
            });
            let sink = overwriting_sink(&table, &rows, &given.collect::<Vec<_>>(), &self.connectors)?;
            if self.settings.is_streaming() {
                return Err(Error::unsupported(
                    "INSERT OVERWRITE replaces files once all rows are there: SET 'execution.runtime-mode' = 'batch' before it",
                ));
            }
            TableWriter::over(sink).await?
        } else {
            TableWriter::open(&table, &rows, updating, &self.connectors).await?
        };
        let writer = if self.settings.is_streaming() { writer } else { writer.of_bounded_rows() };
        let running = run::start(bound, &state, self.job()?).await?;
        Ok(Started { running, writer })
    }
}

/// An insert whose query runs and whose rows wait.
struct Started {
    running: Running,
    writer: TableWriter,
}

impl Started {
    /// Lets the rows go to the table.
    fn write(self) -> Running {
        let Self { mut running, writer } = self;
        let (sender, changes) = mpsc::channel(1);
        let input = std::mem::replace(&mut running.changes, changes);
        tokio::spawn(async move {
            // A running insert ends when nobody waits for it any more.
            tokio::select! {
                written = writer.write_all(input) => {
                    if let Err(error) = written {
                        let _ = sender.send(Err(error)).await;
                    }
                }
                () = sender.closed() => {}
            }
        });
        running
    }
}

/// A query's column as its target's type: fields of rows go by their places, times of day and dates by the session's zone. Numbers that do not fit fail,
/// where CAST would make them others.
fn converted(column: Expr, given: &FieldRef, target: &FieldRef, schema: &DFSchema) -> Result<Expr> {
    if given.data_type() == target.data_type() {
        return Ok(column);
    }
    if !given.data_type().is_nested() && !given.data_type().is_temporal() {
        return Ok(cast(column, target));
    }
    let to = ColumnType::of_field(target)?.sql_type;
    let value = crate::functions::cast(column, &to, false, schema)?;
    let (_, field) = value.to_field(schema).map_err(crate::batch::from_datafusion)?;
    Ok(if field.data_type() == target.data_type() { value } else { cast(value, target) })
}

fn cast(value: Expr, target: &FieldRef) -> Expr {
    Expr::Cast(Cast::new(Box::new(value), target.data_type().clone()))
}

/// The text of a constant; `None`: NULL.
fn constant(text: &str) -> Result<Option<String>> {
    let value = match parse_expression(text)? {
        SqlExpr::Value(value) => value.value,
        SqlExpr::TypedString(typed) => typed.value.value,
        _ => return Err(Error::invalid(format!("PARTITION takes constants, and `{text}` is none"))),
    };
    match value {
        Value::SingleQuotedString(text) | Value::Number(text, _) => Ok(Some(text)),
        Value::Boolean(value) => Ok(Some(value.to_string())),
        Value::Null => Ok(None),
        _ => Err(Error::invalid(format!("PARTITION takes constants, and `{text}` is none"))),
    }
}

/// Whether values of one type go into a column of another without a cast in the query.
fn fits(given: &FieldRef, target: &FieldRef) -> Result<()> {
    let type_of = |field: &FieldRef| aquifer_model::sql_type::ColumnType::of_field(field);
    let (Ok(from), Ok(to)) = (type_of(given), type_of(target)) else { return Ok(()) };
    if is_assignable(&from.sql_type, &to.sql_type) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the column `{}` is {}, and the query gives {}: write CAST(… AS {})",
        target.name(),
        to.sql_type,
        from.sql_type,
        to.sql_type
    )))
}

fn is_assignable(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    // Inside of other values a number is never made smaller in silence.
    let inside = |from: &T, to: &T| {
        is_assignable(from, to)
            && (!is_number(from) || crate::functions::common_type(&[from.clone(), to.clone()]).as_ref() == Some(to))
    };
    fn is_number(one: &SqlType) -> bool {
        use SqlType as T;
        matches!(one, T::TinyInt | T::SmallInt | T::Int | T::BigInt | T::Float | T::Double | T::Decimal(..))
    }
    let is_text = |one: &T| matches!(one, T::Char(_) | T::Varchar(_) | T::Variant);
    let is_binary = |one: &T| matches!(one, T::Binary(_) | T::Varbinary(_));
    let is_moment = |one: &T| matches!(one, T::Date | T::Timestamp(_) | T::TimestampLtz(_));
    match (from, to) {
        (T::Null, _) | (T::Boolean, T::Boolean) | (T::Time(_), T::Time(_)) => true,
        (T::IntervalMonths, T::IntervalMonths) | (T::IntervalMillis, T::IntervalMillis) => true,
        (T::Array(a), T::Array(b)) | (T::Multiset(a), T::Multiset(b)) => inside(&a.sql_type, &b.sql_type),
        (T::Map(ka, va), T::Map(kb, vb)) => inside(&ka.sql_type, &kb.sql_type) && inside(&va.sql_type, &vb.sql_type),
        (T::Row(a), T::Row(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| inside(&a.column_type.sql_type, &b.column_type.sql_type))
        }
        _ => {
            (is_number(from) && is_number(to))
                || (is_text(from) && is_text(to))
                || (is_binary(from) && is_binary(to))
                || (is_moment(from) && is_moment(to))
        }
    }
}

/// Whether a streaming plan changes rows that it gave before: it groups by something else than a whole window.
pub(super) fn updates(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = plan.apply(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            found |= !is_of_windows(aggregate);
        }
        found |= matches!(node, LogicalPlan::Distinct(_));
        found |= matches!(node, LogicalPlan::Extension(node) if node.node.as_any().is::<UpsertNode>());
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Whether an aggregation groups by a whole window: its rows come once.
pub(super) fn is_of_windows(aggregate: &Aggregate) -> bool {
    let names: Vec<String> = aggregate.group_expr.iter().map(|e| e.schema_name().to_string()).collect();
    let grouped = |column: &str| names.iter().any(|name| name == column || name.ends_with(&format!(".{column}")));
    grouped("window_start") && grouped("window_end")
}

/// Several running inserts as one: it ends when all have ended, or with the first error.
fn together(mut running: Vec<Running>) -> Result<Running> {
    if running.len() == 1 {
        return running.pop().ok_or_else(|| Error::internal("an insert is missing"));
    }
    let Some(first) = running.first() else { return Err(Error::internal("a set without inserts")) };
    let schema = Arc::clone(&first.schema);
    let streaming = first.streaming;
    let bounded = running.iter().all(|one| one.bounded);
    let report = Arc::new(Reports(running.iter().map(|one| Arc::clone(&one.report)).collect()));
    let (sender, changes) = mpsc::channel(1);
    tokio::spawn(async move {
        let ends = running.into_iter().map(|mut one| async move {
            while let Some(next) = one.changes.recv().await {
                next?;
            }
            Ok::<(), Error>(())
        });
        tokio::select! {
            ended = futures::future::try_join_all(ends) => {
                if let Err(error) = ended {
                    let _ = sender.send(Err(error)).await;
                }
            }
            () = sender.closed() => {}
        }
    });
    Ok(Running { schema, streaming, bounded, changes, report })
}

/// The reports of a set's inserts.
#[derive(Debug)]
struct Reports(Vec<Arc<dyn Report>>);

impl Report for Reports {
    fn line(&self) -> String {
        self.0.iter().map(|report| report.line()).collect::<Vec<_>>().join("; ")
    }

    fn reached(&self) -> String {
        let each = self.0.iter().map(|report| report.reached()).filter(|one| !one.is_empty());
        each.collect::<Vec<_>>().join("; ")
    }

    fn late_rows(&self) -> u64 {
        self.0.iter().map(|report| report.late_rows()).sum()
    }

    fn skipped_messages(&self) -> u64 {
        self.0.iter().map(|report| report.skipped_messages()).sum()
    }

    fn read(&self) -> (u64, u64) {
        let read = self.0.iter().map(|report| report.read());
        read.fold((0, 0), |sum, (rows, bytes)| (sum.0 + rows, sum.1 + bytes))
    }
}
