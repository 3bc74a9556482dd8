//! Tables about tables: `information_schema` of each catalog, and `t$offsets`, `t$files`, `t$manifests` of each table over topics.
//!
//! Their rows are gathered when their name is looked up, and stay as they are while the statement runs.

use std::sync::Arc;

use aquifer_catalog::catalogs::Target;
use aquifer_catalog::{Catalog, ColumnDefinition, ColumnKind, Origin, Table, TableDefinition};
use aquifer_model::{ChangeBatch, Error, Partition, Result, SqlType};
use aquifer_storage::archive::chain::Chain;
use aquifer_storage::archive::status::status;
use aquifer_storage::reader::TieredTopic;
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;

use super::{Session, describe};
use crate::connector::{PartitionId, Polled, Reader, Replay, ResumeToken, Source, Start};

/// The database that every catalog has beside its own.
pub(super) const INFORMATION_SCHEMA: &str = "information_schema";
/// So many tables are asked for their columns at once.
const AT_ONCE: usize = 16;

/// A cell.
enum Cell {
    Text(Option<String>),
    Int(Option<i32>),
    Long(Option<i64>),
    /// Milliseconds since 1970.
    Time(Option<i64>),
}

fn text(value: impl Into<String>) -> Cell {
    Cell::Text(Some(value.into()))
}

fn long(value: u64) -> Cell {
    Cell::Long(Some(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// What a name of one of these tables means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Schemata,
    Tables,
    Columns,
    Views,
    Offsets,
    Files,
    Manifests,
}

impl Kind {
    /// Columns and their types.
    fn columns(self) -> &'static [(&'static str, SqlType)] {
        const S: SqlType = SqlType::STRING;
        const L: SqlType = SqlType::BigInt;
        const I: SqlType = SqlType::Int;
        const T: SqlType = SqlType::TimestampLtz(3);
        match self {
            Self::Schemata => &[("catalog_name", S), ("schema_name", S)],
            Self::Tables => &[("table_catalog", S), ("table_schema", S), ("table_name", S), ("table_type", S)],
            Self::Views => &[("table_catalog", S), ("table_schema", S), ("table_name", S), ("view_definition", S)],
            Self::Columns => &[
                ("table_catalog", S),
                ("table_schema", S),
                ("table_name", S),
                ("column_name", S),
                ("ordinal_position", I),
                ("is_nullable", S),
                ("data_type", S),
                ("column_comment", S),
            ],
            Self::Offsets => &[
                ("topic", S),
                ("partition", I),
                ("archive_end", S),
                ("archive_rows", L),
                ("archive_files", L),
                ("archive_bytes", L),
                ("manifests", L),
                ("log_end", S),
                ("lag_entries", L),
                ("pin", S),
            ],
            Self::Files => &[
                ("topic", S),
                ("partition", I),
                ("path", S),
                ("covers", S),
                ("rows", L),
                ("entries", L),
                ("bytes", L),
                ("first_publish_time", T),
                ("last_publish_time", T),
                ("sha256", S),
            ],
            Self::Manifests => &[
                ("topic", S),
                ("partition", I),
                ("version", L),
                ("kind", S),
                ("owner", S),
                ("owner_epoch", L),
                ("covers_after", S),
                ("covers_up_to", S),
                ("files_added", L),
                ("files_removed", L),
            ],
        }
    }

    fn batch(self, rows: Vec<Vec<Cell>>) -> Result<RecordBatch> {
        let columns = self.columns();
        let fields: Vec<_> = columns.iter().map(|(name, t)| t.clone().nullable().to_field(name)).collect();
        let schema = Arc::new(Schema::new(fields));
        let array = |(at, (_, sql_type)): (usize, &(&str, SqlType))| -> ArrayRef {
            let cells = rows.iter().map(|row| row.get(at));
            match sql_type {
                SqlType::Int => {
                    Arc::new(cells.map(|c| if let Some(Cell::Int(n)) = c { *n } else { None }).collect::<Int32Array>())
                }
                SqlType::BigInt => {
                    Arc::new(cells.map(|c| if let Some(Cell::Long(n)) = c { *n } else { None }).collect::<Int64Array>())
                }
                SqlType::TimestampLtz(_) => Arc::new(
                    cells
                        .map(|c| if let Some(Cell::Time(n)) = c { *n } else { None })
                        .collect::<TimestampMillisecondArray>()
                        .with_timezone(aquifer_model::sql_type::LTZ_ZONE),
                ),
                _ => Arc::new(
                    cells
                        .map(|c| if let Some(Cell::Text(t)) = c { t.as_deref() } else { None })
                        .collect::<StringViewArray>(),
                ),
            }
        };
        Ok(RecordBatch::try_new(schema, columns.iter().enumerate().map(array).collect())?)
    }

    fn table(self, name: [String; 3], rows: Vec<Vec<Cell>>) -> Result<Table> {
        let columns = self.columns().iter().map(|(name, sql_type)| ColumnDefinition {
            name: (*name).to_string(),
            kind: ColumnKind::Physical { type_text: sql_type.to_string() },
            comment: None,
        });
        let definition = TableDefinition { columns: columns.collect(), ..TableDefinition::default() };
        let target = Target::Rows(self.batch(rows)?);
        Ok(Table { name, definition, origin: Origin::Explicit, target, system_columns: Vec::new(), version: None })
    }
}

impl Session {
    /// The table about tables that a name means; `None` if it means none.
    pub(super) async fn system_table(&self, name: &[String]) -> Result<Option<Table>> {
        let (catalog, database, table) = self.place(name)?;
        if database == INFORMATION_SCHEMA {
            let kind = match table.to_ascii_lowercase().as_str() {
                "schemata" => Kind::Schemata,
                "tables" => Kind::Tables,
                "columns" => Kind::Columns,
                "views" => Kind::Views,
                _ => {
                    let known = ["schemata", "tables", "columns", "views"];
                    let near = crate::connector::nearest_known(&table, known);
                    return Err(Error::invalid(format!("there is no table `{table}` in `{database}`: {near}")));
                }
            };
            let rows = self.information(&catalog, kind).await?;
            return kind.table([catalog.definition().name.clone(), database, table], rows).map(Some);
        }
        let Some((base, suffix)) = table.rsplit_once('$') else { return Ok(None) };
        let kind = match suffix {
            "offsets" => Kind::Offsets,
            "files" => Kind::Files,
            "manifests" => Kind::Manifests,
            _ => return Ok(None),
        };
        // A table that really has the name is that table.
        if base.is_empty() || catalog.tables(&database).await?.contains(&table) {
            return Ok(None);
        }
        let mut of = name.to_vec();
        if let Some(last) = of.last_mut() {
            *last = base.to_string();
        }
        let found = Box::pin(self.lookup(&of)).await?;
        let Some(topics) = found.target.topics().await? else {
            return Err(Error::invalid(format!("`{base}` is no table over topics: it has no `{suffix}`")));
        };
        let mut rows = Vec::new();
        for topic in &topics {
            for partition in topic.log.partitions(&topic.topic).await? {
                match kind {
                    Kind::Offsets => rows.push(offsets(topic, &partition).await?),
                    _ => rows.extend(archived(kind, topic, &partition).await?),
                }
            }
        }
        kind.table([found.name[0].clone(), found.name[1].clone(), table], rows).map(Some)
    }

    /// Why there is no table of a name: as `missing` says, but for names that other systems have for a part of a table, which say what to write.
    pub(super) async fn missing_part(&self, name: &[String], missing: Error) -> Error {
        let Some((base, suffix)) = name.last().and_then(|table| table.rsplit_once('$')) else { return missing };
        let advice = match suffix {
            "log" => format!("the log alone is read by `{base}` /*+ OPTIONS('scan.tiers' = 'log') */"),
            "archive" | "lake" => {
                format!("the archive alone is read by `{base}` /*+ OPTIONS('scan.tiers' = 'archive') */")
            }
            "snapshots" => format!("the archive's chain is the table `{base}$manifests`"),
            _ => return missing,
        };
        let mut of = name.to_vec();
        if let Some(last) = of.last_mut() {
            *last = base.to_string();
        }
        match Box::pin(self.lookup(&of)).await {
            Ok(_) => Error::invalid(format!("there is no table `{base}${suffix}`: {advice}")),
            // Without the table itself there is no part of it.
            Err(_) => missing,
        }
    }

    async fn information(&self, catalog: &Arc<Catalog>, kind: Kind) -> Result<Vec<Vec<Cell>>> {
        let own = catalog.definition().name.clone();
        let mut rows = Vec::new();
        for database in catalog.databases().await? {
            if kind == Kind::Schemata {
                rows.push(vec![text(&own), text(database)]);
                continue;
            }
            let mut views = catalog.views(&database).await?;
            views.extend(self.temporary.names(&own, &database, true));
            let mut names = catalog.tables(&database).await?;
            names.extend(self.temporary.names(&own, &database, false));
            names.sort();
            names.dedup();
            let full = |name: &String| vec![own.clone(), database.clone(), name.clone()];
            match kind {
                Kind::Tables => rows.extend(names.iter().map(|name| {
                    let table_type = if views.contains(name) { "VIEW" } else { "BASE TABLE" };
                    vec![text(&own), text(&database), text(name), text(table_type)]
                })),
                Kind::Views => {
                    for name in &views {
                        let view = self.view(&full(name)).await?;
                        rows.push(vec![text(&own), text(&database), text(name), Cell::Text(view.map(|v| v.query))]);
                    }
                }
                _ => {
                    let described = futures::stream::iter(names.into_iter().map(|name| {
                        let full = full(&name);
                        async move { (name, self.described(&full).await) }
                    }));
                    let described: Vec<_> = described.buffered(AT_ONCE).collect().await;
                    for (name, columns) in described {
                        match columns {
                            Ok(columns) => rows.extend(
                                columns
                                    .iter()
                                    .enumerate()
                                    .map(|(n, column)| column_row(&own, &database, &name, n, column)),
                            ),
                            // One table that cannot be read must not hide the others.
                            Err(error) => tracing::warn!(%error, table = name, "its columns are not listed"),
                        }
                    }
                }
            }
        }
        Ok(rows)
    }
}

fn column_row(catalog: &str, database: &str, table: &str, n: usize, column: &describe::Described) -> Vec<Cell> {
    vec![
        text(catalog),
        text(database),
        text(table),
        text(&column.name),
        Cell::Int(i32::try_from(n + 1).ok()),
        text(if column.nullable { "YES" } else { "NO" }),
        text(column.type_text.trim_end_matches(" *ROWTIME*")),
        Cell::Text(column.comment.clone()),
    ]
}

fn number(partition: &Partition) -> Cell {
    Cell::Int(partition.index.and_then(|index| i32::try_from(index).ok()))
}

/// Where the tiers of a partition meet.
async fn offsets(topic: &TieredTopic, partition: &Partition) -> Result<Vec<Cell>> {
    let status = status(topic, partition).await?;
    Ok(vec![
        text(topic.topic.to_string()),
        number(partition),
        text(status.archive_end.to_string()),
        long(status.archive_rows),
        long(status.archive_files),
        long(status.archive_bytes),
        long(status.manifests),
        Cell::Text(status.log_end.map(|position| position.to_string())),
        long(status.lag_entries),
        Cell::Text(status.pin.map(|cut| cut.to_string())),
    ])
}

/// The files or the manifests of a partition.
async fn archived(kind: Kind, topic: &TieredTopic, partition: &Partition) -> Result<Vec<Vec<Cell>>> {
    let Some(location) = &topic.archive else { return Ok(Vec::new()) };
    let identity = topic.log.identity(&topic.topic).await?;
    let chain = Chain::new(location, &identity, partition);
    let mut rows = Vec::new();
    if kind == Kind::Files {
        for file in chain.load().await?.map(|state| state.files).unwrap_or_default() {
            rows.push(vec![
                text(topic.topic.to_string()),
                number(partition),
                text(&file.path),
                text(file.covers.to_string()),
                long(file.rows),
                long(file.entries),
                long(file.bytes),
                Cell::Time(file.publish_time_ms.map(|(first, _)| first)),
                Cell::Time(file.publish_time_ms.map(|(_, last)| last)),
                text(&file.sha256),
            ]);
        }
        return Ok(rows);
    }
    let newest = chain.newest().await?.map_or(0, |(manifest, _)| manifest.version);
    for version in 1..=newest {
        let Some((manifest, _)) = chain.read(version).await? else { continue };
        rows.push(vec![
            text(topic.topic.to_string()),
            number(partition),
            long(manifest.version),
            text(format!("{:?}", manifest.kind).to_lowercase()),
            text(&manifest.owner),
            long(manifest.owner_epoch),
            text(manifest.from.to_string()),
            text(manifest.to.to_string()),
            long(manifest.added.len() as u64),
            long(manifest.removed.len() as u64),
        ]);
    }
    Ok(rows)
}

/// Rows that are there already, as a source.
#[derive(Debug)]
pub(super) struct RowsSource(pub RecordBatch);

#[async_trait]
impl Source for RowsSource {
    fn replay(&self) -> Replay {
        Replay::Same
    }

    fn is_bounded(&self) -> bool {
        true
    }

    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    async fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok(vec![PartitionId("rows".to_string())])
    }

    async fn open(&self, _partition: &PartitionId, from: Start) -> Result<Box<dyn Reader>> {
        let is_read = matches!(from, Start::At(token) if token.0 == [1]);
        Ok(Box::new(RowsReader { rows: (!is_read && self.0.num_rows() > 0).then(|| self.0.clone()) }))
    }
}

struct RowsReader {
    rows: Option<RecordBatch>,
}

#[async_trait]
impl Reader for RowsReader {
    async fn next(&mut self) -> Result<Polled> {
        Ok(self.rows.take().map_or(Polled::End, |rows| Polled::Changes(ChangeBatch::inserts(rows))))
    }

    fn resume_at(&self) -> ResumeToken {
        ResumeToken(vec![u8::from(self.rows.is_none())])
    }

    async fn confirm(&mut self, _token: &ResumeToken) -> Result<()> {
        Ok(())
    }
}
