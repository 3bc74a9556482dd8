//! `ALTER TABLE`: another definition of a table, and with it another schema version of a topic where its own columns change.
//!
//! ```text
//!  definition: the old one, with what is begun ─► schema version at the broker ─► definition: the new one
//!                                                 ▲ from here on the new one counts
//! ```
//!
//! Broker and definitions cannot be changed in one step. What is begun says which columns it goes with: whoever reads it takes the old definition until
//! the topic has a schema version with these columns, and the new one from then on. So a change that is refused, or ends half-way, leaves a definition
//! that fits the topic's columns.

use std::sync::Arc;

use aquifer_formats::payload::columns_of;
use aquifer_model::{Error, ErrorKind, Result, SchemaVersion, TopicName, TopicSchema};
use aquifer_storage::Log;
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, StoredTable, changed, own_columns};
use crate::definition::{ColumnDefinition, ColumnKind, Origin, TableDefinition};
use crate::evolve::{evolved, marked, same_columns};
use crate::options;
use crate::store::{Change, Stored};
use crate::table::{Table, Target, additions, physical_columns, value_columns};

/// How many schema versions are looked at for one with the columns of a change that was begun.
const MAX_VERSIONS: i64 = 100;

/// A change of what stands beside a topic that goes with another schema version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BegunChange {
    /// The topic's newest schema version before it.
    after: SchemaVersion,
    /// The columns of the schema version that makes it.
    columns: Vec<ColumnDefinition>,
    /// What stands beside them.
    pub definition: TableDefinition,
}

impl BegunChange {
    /// Whether the topic has got the schema version that makes this change. `newest` is its newest one.
    pub async fn is_made(
        &self,
        log: &dyn Log,
        topic: &TopicName,
        newest: Option<&(SchemaVersion, TopicSchema)>,
    ) -> Result<bool> {
        let fits = |schema: &TopicSchema| -> Result<bool> {
            Ok(physical_columns(columns_of(schema)?.1.as_ref())? == self.columns)
        };
        let Some((version, schema)) = newest.filter(|(version, _)| *version != self.after) else { return Ok(false) };
        if fits(schema)? {
            return Ok(true);
        }
        // Others may have registered versions behind it.
        let (Some(after), Some(last)) = (self.after.number(), version.number()) else { return Ok(false) };
        for number in (after + 1..last).rev().take(usize::try_from(MAX_VERSIONS).unwrap_or_default()) {
            if let Some((_, schema)) = log.schema(topic, Some(&SchemaVersion::from_number(number))).await?
                && fits(&schema).unwrap_or(false)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Catalog {
    /// `ALTER TABLE`: keeps a new definition for an explicit table, or beside a native topic (watermark, key, computed and metadata columns). `table` is
    /// the table that the change was made from: if someone else has changed it since, this fails with `Fenced`.
    pub async fn alter_table(&self, table: &Table, mut definition: TableDefinition) -> Result<()> {
        let [_, database, name] = &table.name;
        let topic = self.topic_name(database, name)?;
        definition.options = options::check_table(definition.options)?.options;
        value_columns(&definition)?;
        if matches!(table.target, Target::Rows(_)) {
            return Err(Error::invalid(format!("`{name}` is a table about tables: it can only be read")));
        }
        let connector = |definition: &TableDefinition| definition.options.get("connector").cloned();
        match table.origin {
            Origin::Explicit if connector(&definition) != connector(&table.definition) => Err(Error::invalid(format!(
                "the connector of `{name}` cannot be changed: drop the table and create it again"
            ))),
            Origin::Explicit => {
                let body = StoredTable::Explicit { definition };
                self.put_if(&topic, table.version, Change::Put(body)).await.map(|_| ())
            }
            Origin::Native if connector(&definition).is_some() => Err(Error::invalid(format!(
                "`{name}` is a topic of the catalog and takes no `connector`: CREATE TABLE … WITH makes another table over it"
            ))),
            Origin::Native => self.alter_native(&topic, table, &definition).await,
        }
    }

    async fn alter_native(&self, topic: &TopicName, table: &Table, definition: &TableDefinition) -> Result<()> {
        let log = self.log().await?;
        let schema = next_schema(log.as_ref(), topic, definition).await?;
        let identity = log.identity(topic).await?;
        let body = |definition: TableDefinition, begun: Option<BegunChange>| {
            Change::Put(StoredTable::Native { identity: identity.clone(), definition, begun })
        };
        let beside = additions(definition);
        let Some((after, schema)) = schema else {
            return self.put_if(topic, table.version, body(beside, None)).await.map(|_| ());
        };
        let before = additions(&table.definition);
        let columns = physical_columns(columns_of(&schema)?.1.as_ref())?;
        let begun = BegunChange { after, columns, definition: beside.clone() };
        let announced = self.put_if(topic, table.version, body(before.clone(), Some(begun))).await?;
        match register(log.as_ref(), topic, &schema).await {
            // It may have happened: whoever reads the definition looks.
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) => Err(error),
            Err(error) => {
                let undone = match table.version {
                    Some(_) => body(before, None),
                    None => Change::Drop,
                };
                // If this fails, what is begun stays and never counts.
                let _ = self.put_if(topic, announced, undone).await;
                Err(error)
            }
            Ok(()) => match self.put_if(topic, announced, body(beside, None)).await {
                // The schema version is there, and so the change counts.
                Err(error) if error.kind() == ErrorKind::Unavailable => Ok(()),
                settled => settled.map(|_| ()),
            },
        }
    }

    /// Changes what is stored under a topic's name if it is still this version; gives the one that it is then.
    async fn put_if(
        &self,
        topic: &TopicName,
        version: Option<u64>,
        change: Change<StoredTable>,
    ) -> Result<Option<u64>> {
        let decide = |found: Option<&Stored<StoredTable>>| match found.map(|found| found.version) {
            found if found == version => Ok(change.clone()),
            _ => Err(changed(&topic.name)),
        };
        let stored = self.definitions.change(&self.key(&topic.database(), &topic.name), decide).await?;
        Ok(stored.map(|stored| stored.version))
    }
}

/// The schema that a topic needs for the physical columns of a definition, and its newest version now; `None` if it has these columns.
async fn next_schema(
    log: &dyn Log,
    topic: &TopicName,
    definition: &TableDefinition,
) -> Result<Option<(SchemaVersion, TopicSchema)>> {
    let newest = log.schema(topic, None).await?;
    let (_, own) = own_columns(topic, newest.clone())?;
    let declared = value_columns(definition)?;
    let is_hidden = |name: &String| {
        definition.columns.iter().any(|c| c.name == *name && !matches!(c.kind, ColumnKind::Physical { .. }))
    };
    // A column that a declared one hides is still a part of the messages.
    let hidden = own.fields().iter().filter(|field| is_hidden(field.name()));
    let wanted: Vec<_> = declared.fields().iter().chain(hidden).cloned().collect();
    let names = |fields: &[arrow::datatypes::FieldRef]| fields.iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    if names(&wanted) == names(own.fields()) && wanted.iter().zip(own.fields()).all(|(a, b)| a == b) {
        return Ok(None);
    }
    let Some((version, current)) = newest else {
        return Err(Error::unsupported(format!("the topic `{topic}` has no schema: its one column cannot be changed")));
    };
    let next = evolved(topic, &current, &Arc::new(arrow::datatypes::Schema::new(wanted)))?;
    Ok(next.map(|schema| (version, schema)))
}

/// Makes a schema the newest of a topic.
async fn register(log: &dyn Log, topic: &TopicName, schema: &TopicSchema) -> Result<()> {
    let doing = || format!("registering another schema version of `{topic}` under its compatibility strategy");
    log.put_schema(topic, schema).await.map_err(|error| error.context(doing()))?;
    // A schema that was there before is answered with its old version: the newest must be this one.
    let newest = log.schema(topic, None).await?;
    if !newest.is_some_and(|(_, newest)| same_columns(&newest, schema).unwrap_or(false)) {
        let again = marked(schema, &uuid::Uuid::new_v4().to_string())?;
        log.put_schema(topic, &again).await.map_err(|error| error.context(doing()))?;
    }
    Ok(())
}
