//! A table of a query, ready to be put into the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aquifer_catalog::definition::MetadataKey;
use aquifer_catalog::{ColumnDefinition, ColumnKind, Table, catalogs::Target};
use aquifer_formats::messages::column::{BATCH_INDEX, ENTRY, KEY, LEDGER, NULL_VALUE};
use aquifer_model::sql_type::with_rowtime;
use aquifer_model::{Error, Result, SqlType};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::{TableProvider, provider_as_source};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, ExprFunctionExt, Extension, LogicalPlan, LogicalPlanBuilder, lit};
use sqlparser::ast::Expr as SqlExpr;

use super::super::system::RowsSource;
use super::definition_expression;
use super::keys::Keys;
use super::range::{EventTimes, ReadRange};
use super::relations::remarked;
use crate::batch::{ConnectorTable, TieredTable, UPSERT_KEY};
use crate::connector::ConnectorRegistry;
use crate::plan::{UpsertNode, WatermarkNode};

/// The name of the column of event times that is read where the table has no time column of its own.
const EVENT_TIME: &str = "__event_time";
/// The column that says that a key's row is deleted.
const DELETED: &str = "__upsert_deleted";
/// What orders the messages of a key.
const PLACE: [&str; 3] = ["__upsert_ledger", "__upsert_entry", "__upsert_batch_index"];
/// The number of a key's message, the newest first.
const AGE: &str = "__upsert_age";

/// Where a table's rows come from.
#[derive(Debug)]
enum Rows {
    Tiered(Arc<TieredTable>),
    Connector(Arc<ConnectorTable>),
}

/// A table of the query.
#[derive(Debug)]
pub(super) struct BoundTable {
    table: Table,
    rows: Rows,
    /// Computed columns, parsed.
    computed: BTreeMap<String, SqlExpr>,
    /// The time column and its watermark, parsed.
    watermark: Option<(String, SqlExpr)>,
    /// All columns, in order.
    columns: Vec<String>,
    /// Those among them that are there because the query names them.
    system: BTreeSet<String>,
    /// Only rows of these event times are wanted.
    times: EventTimes,
    /// Whether a row replaces the one before it with its key.
    upsert: bool,
    /// The columns that stand in messages' keys.
    keys: Keys,
}

impl BoundTable {
    /// Prepares a table for reading; `mentioned` are the columns that the query names, `declared` those of them that its tables declare.
    pub async fn new(
        table: Table,
        connectors: &ConnectorRegistry,
        streaming: bool,
        mentioned: &BTreeSet<String>,
        declared: &BTreeSet<String>,
    ) -> Result<Self> {
        let watermark = match &table.definition.watermark {
            Some(watermark) => Some((watermark.column.clone(), definition_expression(&watermark.expression)?)),
            None => None,
        };
        let keys = Keys::of(&table)?;
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        let mut computed = BTreeMap::new();
        let mut reader_columns = Vec::new();
        let is_named = |column: &&ColumnDefinition| {
            // Another spelling means no metadata where a table beside this one declares it.
            let is_own = matches!(&column.kind, ColumnKind::Metadata { key, .. } if key.name() == column.name);
            mentioned.contains(&column.name) && (is_own || !declared.contains(&column.name))
        };
        let named: Vec<_> = table.system_columns.iter().filter(is_named).collect();
        for column in table.definition.columns.iter().chain(named.iter().copied()) {
            columns.push(column.name.clone());
            match &column.kind {
                // Decoded from the key that is read.
                ColumnKind::Physical { .. } if keys.is_decoded(&column.name) => {}
                ColumnKind::Physical { type_text } => {
                    fields.push(SqlType::parse(type_text)?.to_field(&column.name));
                    let of_key = keys.is_whole(&column.name).then(|| KEY.to_string());
                    reader_columns.push(of_key.unwrap_or_else(|| column.name.clone()));
                }
                ColumnKind::Metadata { type_text, key, .. } => {
                    if matches!(table.target, Target::Connector) {
                        return Err(Error::unsupported(format!(
                            "`{}` has the metadata column `{}`, and its connector gives no metadata",
                            table.name[2], column.name
                        )));
                    }
                    fields.push(SqlType::parse(type_text)?.to_field(&column.name));
                    reader_columns.push(key.reader_column().to_string());
                }
                ColumnKind::Computed { expression } => {
                    computed.insert(column.name.clone(), definition_expression(expression)?);
                }
            }
        }
        if let Some(field) = keys.field() {
            fields.push(field);
            reader_columns.push(KEY.to_string());
        }
        let system = named.iter().map(|column| column.name.clone()).collect();
        let upsert = table.definition.options.get("connector").is_some_and(|name| name == "upsert-pulsar");
        if upsert {
            // A message without a value is a row whose columns are all NULL, until its key's row is found.
            fields = fields.into_iter().map(|field: Field| field.with_nullable(true)).collect();
            fields.push(Field::new(UPSERT_KEY, DataType::BinaryView, false));
            fields.push(Field::new(DELETED, DataType::Boolean, false));
            reader_columns.extend([KEY, NULL_VALUE].map(String::from));
            if !streaming {
                let types = [DataType::UInt64, DataType::UInt64, DataType::Int32];
                fields.extend(PLACE.iter().zip(types).map(|(name, data_type)| Field::new(*name, data_type, false)));
                reader_columns.extend([LEDGER, ENTRY, BATCH_INDEX].map(String::from));
            }
        }
        let mut times = EventTimes::default();
        let rows = match &table.target {
            Target::Connector => Rows::Connector(Arc::new(ConnectorTable {
                name: table.name.join("."),
                source: connectors.of_table(&table)?.source(&table)?,
                schema: Arc::new(Schema::new(fields)),
            })),
            Target::Topics(_) | Target::Pattern(_) => {
                let range;
                (range, times) = ReadRange::of(&table, streaming).await?;
                if times.are_limited() && watermark.is_none() {
                    // Without a time column of the table's own, the producers' event time is meant.
                    fields.push(SqlType::TimestampLtz(3).nullable().to_field(EVENT_TIME));
                    reader_columns.push(MetadataKey::EventTime.reader_column().to_string());
                }
                Rows::Tiered(Arc::new(range.table(&table, fields, reader_columns)?))
            }
            Target::Rows(rows) => Rows::Connector(Arc::new(ConnectorTable {
                name: table.name.join("."),
                source: Arc::new(RowsSource(rows.clone())),
                schema: Arc::new(Schema::new(fields)),
            })),
        };
        Ok(Self { table, rows, computed, watermark, columns, system, times, upsert, keys })
    }

    /// Catalog, database and table.
    pub fn full_name(&self) -> &[String; 3] {
        &self.table.name
    }

    /// The types of its columns that are rows.
    pub fn row_types(&self) -> BTreeMap<String, SqlType> {
        let columns = self.table.definition.columns.iter().filter_map(|column| match &column.kind {
            ColumnKind::Physical { type_text } | ColumnKind::Metadata { type_text, .. } => {
                let found = SqlType::parse(type_text).ok()?.sql_type;
                matches!(found, SqlType::Row(_)).then(|| (column.name.clone(), found))
            }
            ColumnKind::Computed { .. } => None,
        });
        columns.collect()
    }

    /// Whether it has a column of this name.
    pub fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column == name)
    }

    /// Columns that the table does not declare and that are read because the query names them.
    pub fn named_system_columns(&self) -> BTreeSet<String> {
        self.system.clone()
    }

    /// Adds what it reads to the lists.
    pub fn scans(&self, tables: &mut Vec<Arc<TieredTable>>, connectors: &mut Vec<Arc<ConnectorTable>>) {
        match &self.rows {
            Rows::Tiered(table) => tables.push(Arc::clone(table)),
            Rows::Connector(table) => connectors.push(Arc::clone(table)),
        }
    }

    /// Scan, columns of the key, computed columns and, in streaming, the watermark.
    pub fn plan(
        &self,
        context: &mut dyn RelationPlannerContext,
        streaming: bool,
    ) -> datafusion::common::Result<LogicalPlan> {
        let reference = TableReference::bare(self.table.name[2].clone());
        let provider = match &self.rows {
            Rows::Tiered(table) => Arc::clone(table) as Arc<dyn TableProvider>,
            Rows::Connector(table) => Arc::clone(table) as Arc<dyn TableProvider>,
        };
        let mut plan = LogicalPlanBuilder::scan(reference.clone(), provider_as_source(provider), None)?.build()?;
        let hidden = self.times.are_limited() && self.watermark.is_none();
        if self.upsert && !streaming {
            plan = newest(plan, &reference)?;
        }
        plan = self.keys.decoded(plan, &reference)?;
        if hidden {
            let column = Column::new(Some(reference.clone()), EVENT_TIME);
            let filter = self.times.filter(column, plan.schema())?;
            plan = LogicalPlanBuilder::from(plan).filter(filter)?.build()?;
        }
        // What tells a row's key and its deletion goes on to where it is used.
        let carried: &[&str] = if self.upsert && streaming { &[UPSERT_KEY, DELETED] } else { &[] };
        if !self.computed.is_empty() || hidden || self.upsert || self.keys.field().is_some() {
            let schema = Arc::clone(plan.schema());
            let mut expressions = Vec::new();
            for name in self.columns.iter().map(String::as_str).chain(carried.iter().copied()) {
                expressions.push(match self.computed.get(name) {
                    Some(expression) => {
                        context.sql_to_expr(expression.clone(), &schema)?.alias_qualified(Some(reference.clone()), name)
                    }
                    None => Expr::Column(Column::new(Some(reference.clone()), name)),
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
        if !carried.is_empty() {
            let node = UpsertNode { input: Arc::new(plan), key: UPSERT_KEY.to_string(), deleted: DELETED.to_string() };
            let columns = self.columns.iter().map(|name| Expr::Column(Column::new(Some(reference.clone()), name)));
            let node = LogicalPlan::Extension(Extension { node: Arc::new(node) });
            plan = LogicalPlanBuilder::from(node).project(columns)?.build()?;
        }
        if let (Some((column, _)), true) = (&self.watermark, self.times.are_limited()) {
            // Above the watermark: rows left out move it all the same.
            let filter = self.times.filter(Column::new(Some(reference), column), plan.schema())?;
            plan = LogicalPlanBuilder::from(plan).filter(filter)?.build()?;
        }
        Ok(plan)
    }
}

/// Each key's newest row, where that is none of a deletion.
fn newest(plan: LogicalPlan, table: &TableReference) -> datafusion::common::Result<LogicalPlan> {
    let column = |name: &str| Expr::Column(Column::new(Some(table.clone()), name));
    let newest_first = PLACE.iter().map(|name| column(name).sort(false, false)).collect();
    let age = row_number().partition_by(vec![column(UPSERT_KEY)]).order_by(newest_first).build()?.alias(AGE);
    LogicalPlanBuilder::from(plan)
        .window([age])?
        .filter(Expr::Column(Column::from_name(AGE)).eq(lit(1u64)).and(column(DELETED).is_false()))?
        .build()
}
