//! One catalog: its databases and tables, native and explicit.
//!
//! ```text
//!  name ─► stored as explicit? ── yes ─► its definition
//!              │ no
//!              └─► a topic of the log? ─► its schema's columns + what ALTER TABLE put beside them (if it is still that topic)
//! ```
//!
//! A database is `tenant/namespace`; `default_database` is another name of `public/default`, and a name without a tenant is one of `public`.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquifer_formats::chunked::ChunkBounds;
use aquifer_formats::entry::EntryLimits;
use aquifer_formats::payload::{Format, columns_of, topic_schema_of};
use aquifer_model::{
    Error, ErrorKind, Partition, PayloadKind, Result, SchemaVersion, TopicIdentity, TopicName, TopicSchema,
};
use aquifer_storage::Log;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::alter::BegunChange;
use crate::catalogs::Shared;
use crate::credentials::with_credentials_of;
use crate::databases::split;
use crate::definition::{CatalogDefinition, Origin, TableDefinition, ViewDefinition};
use crate::names::{find, suggestion};
use crate::options::{self, CatalogSettings, LogSettings, TableSettings};
use crate::store::{Change, Definitions, Stored};
use crate::table::{
    Reading, Table, Target, additions, columns_for, merged, physical_columns, system_columns, value_columns,
};
use crate::topic_pattern::PatternTopics;

pub(crate) const TABLES: &str = "tables";
/// How many definitions are read side by side.
const READ_AT_ONCE: usize = 16;

/// One catalog.
#[derive(Debug)]
pub struct Catalog {
    /// What its tables are stored under.
    pub(crate) id: String,
    definition: CatalogDefinition,
    settings: CatalogSettings,
    pub(crate) default_database: String,
    pub(crate) definitions: Definitions,
    shared: Arc<Shared>,
}

/// A table as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "origin")]
#[allow(clippy::large_enum_variant)] // one is made when a statement is planned
pub(crate) enum StoredTable {
    /// All of it.
    Explicit { definition: TableDefinition },
    /// What stands beside the columns of a topic, of this topic and no later one of its name.
    Native {
        identity: TopicIdentity,
        definition: TableDefinition,
        /// What is to stand there once the topic has another schema version, if that was begun and not seen to its end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begun: Option<BegunChange>,
    },
    /// No table, but a query under the name of one.
    View { definition: ViewDefinition },
}

impl Catalog {
    pub(crate) fn new(
        id: String,
        definition: CatalogDefinition,
        settings: CatalogSettings,
        definitions: Definitions,
        shared: Arc<Shared>,
    ) -> Self {
        let default_database = settings.default_database.clone();
        Self { id, definition, settings, default_database, definitions, shared }
    }

    /// Its definition; secrets masked by whoever prints it (`options::masked`).
    pub fn definition(&self) -> &CatalogDefinition {
        &self.definition
    }

    /// The database that `USE CATALOG` selects.
    pub fn default_database(&self) -> &str {
        &self.default_database
    }

    /// Its log, opened on first use.
    pub async fn log(&self) -> Result<Arc<dyn Log>> {
        self.shared.log(&self.settings.log).await
    }

    /// Tables of a database, sorted: topics, explicit tables and views.
    pub async fn tables(&self, database: &str) -> Result<Vec<String>> {
        let (tenant, namespace) = split(database)?;
        let log = self.log().await?;
        let topics = log.topics(&tenant, &namespace).await?;
        if topics.is_empty() {
            self.database(database).await?;
        }
        let mut names: Vec<String> = topics.into_iter().map(|topic| topic.name).collect();
        names.extend(
            self.stored_names(&format!("{tenant}/{namespace}"), |stored| {
                matches!(stored, StoredTable::Explicit { .. } | StoredTable::View { .. })
            })
            .await?,
        );
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The names in a database whose definition is wanted.
    pub(crate) async fn stored_names(
        &self,
        database: &str,
        is_wanted: impl Fn(&StoredTable) -> bool,
    ) -> Result<Vec<String>> {
        let names = self.defined_names(database).await?;
        let (tenant, namespace) = split(database)?;
        let (database, is_wanted) = (&format!("{tenant}/{namespace}"), &is_wanted);
        let read = stream::iter(names).map(|name| async move {
            let wanted = self.stored(database, &name).await?.is_some_and(|stored| is_wanted(&stored.body));
            Ok::<_, Error>(wanted.then_some(name))
        });
        // A store that is far answers each of them after a while.
        let found: Vec<Option<String>> = read.buffered(READ_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The names in a database under which something is defined, or was.
    pub(crate) async fn defined_names(&self, database: &str) -> Result<Vec<String>> {
        let (tenant, namespace) = split(database)?;
        self.definitions.names(&[TABLES, &self.id, &format!("{tenant}/{namespace}")]).await
    }

    /// Whether the name is a table's: an explicit one or a topic.
    pub(crate) async fn has_table(&self, database: &str, table: &str) -> Result<bool> {
        let topic = self.topic_name(database, table)?;
        match self.stored(&topic.database(), table).await? {
            Some(Stored { body: StoredTable::Explicit { .. }, .. }) => Ok(true),
            _ => is_there(self.log().await?.as_ref(), &topic).await,
        }
    }

    /// Whether `table` finds one under the name, whatever becomes of reading its definition.
    pub async fn is_table(&self, database: &str, table: &str) -> Result<bool> {
        if self.has_table(database, table).await? {
            return Ok(true);
        }
        let known = match self.tables(database).await {
            Ok(known) => known,
            // There is no such database.
            Err(error) if error.kind() == ErrorKind::Invalid => return Ok(false),
            Err(error) => return Err(error),
        };
        match find(table, &known).filter(|other| *other != table) {
            Some(other) => self.has_table(database, other).await,
            None => Ok(false),
        }
    }

    /// A table by name: exactly first, then without case if exactly one fits. The error names the nearest.
    pub async fn table(&self, database: &str, table: &str) -> Result<Table> {
        if let Some(found) = self.find_table(database, table).await? {
            return Ok(found);
        }
        let known = self.tables(database).await?;
        if let Some((view, _)) = self.view(database, table).await? {
            return Err(Error::invalid(format!("`{view}` is a view and no table: it can be read, nothing else")));
        }
        if let Some(other) = find(table, &known).filter(|other| *other != table)
            && let Some(found) = self.find_table(database, other).await?
        {
            return Ok(found);
        }
        let (catalog, advice) = (&self.definition.name, suggestion(table, &known, "tables"));
        Err(Error::invalid(format!("there is no table `{table}` in `{catalog}`.`{database}`{advice}")))
    }

    /// A table of exactly this name.
    async fn find_table(&self, database: &str, table: &str) -> Result<Option<Table>> {
        let topic = self.topic_name(database, table)?;
        let name = [self.definition.name.clone(), self.shown(&topic.tenant, &topic.namespace), table.to_string()];
        let stored = self.stored(&topic.database(), table).await?;
        let (beside, version) = match stored {
            Some(Stored { version, body: StoredTable::Explicit { definition } }) => {
                let target = self.explicit_target(&definition).await?;
                let (origin, system_columns) = (Origin::Explicit, Vec::new());
                return Ok(Some(Table { name, definition, origin, target, system_columns, version: Some(version) }));
            }
            Some(Stored { version, body: StoredTable::Native { identity, definition, begun } }) => {
                (Some((identity, definition, begun)), Some(version))
            }
            Some(Stored { body: StoredTable::View { .. }, .. }) => return Ok(None),
            None => (None, None),
        };
        let log = self.log().await?;
        if let Some(partition) = topic.as_partition() {
            check_no_partition(log.as_ref(), table, &partition).await?;
        }
        if !is_there(log.as_ref(), &topic).await? {
            return Ok(None);
        }
        let newest = log.schema(&topic, None).await?;
        let beside = match beside {
            Some((identity, ..)) if !is_still(log.as_ref(), &topic, &identity).await? => None,
            Some((_, definition, None)) => Some(definition),
            Some((_, definition, Some(begun))) => match begun.is_made(log.as_ref(), &topic, newest.as_ref()).await? {
                true => Some(begun.definition),
                false => Some(definition),
            },
            None => None,
        };
        let (format, own) = own_columns(&topic, newest)?;
        let definition = merged(physical_columns(&own)?, beside);
        let target = self.native_target(topic, &definition, format).await?;
        let system_columns = system_columns(&definition);
        Ok(Some(Table { name, definition, origin: Origin::Native, target, system_columns, version }))
    }

    /// A table of this definition that is stored nowhere.
    pub async fn table_of(&self, database: &str, table: &str, definition: TableDefinition) -> Result<Table> {
        let topic = self.topic_name(database, table)?;
        let name = [self.definition.name.clone(), self.shown(&topic.tenant, &topic.namespace), table.to_string()];
        let target = self.explicit_target(&definition).await?;
        Ok(Table { name, definition, origin: Origin::Explicit, target, system_columns: Vec::new(), version: None })
    }

    async fn native_target(&self, topic: TopicName, definition: &TableDefinition, own: Format) -> Result<Target> {
        let settings = options::table_settings(&definition.options)?;
        let reading = self.reading(&settings, definition, settings.format.unwrap_or(own)).await?;
        Ok(Target::Topics(vec![reading.of(topic)]))
    }

    /// What an explicit table reads. An embedded log is opened by this; a cluster is not contacted.
    async fn explicit_target(&self, definition: &TableDefinition) -> Result<Target> {
        let connector = definition.options.get("connector").map(String::as_str);
        if !matches!(connector, Some("pulsar" | "upsert-pulsar")) {
            return Ok(Target::Connector);
        }
        let settings = options::table_settings(&definition.options)?;
        let format = settings.format.unwrap_or(self.settings.default_format);
        let reading = self.reading(&settings, definition, format).await?;
        Ok(match settings.pattern {
            Some(pattern) => Target::Pattern(Arc::new(PatternTopics { pattern, reading })),
            None => Target::Topics(settings.topics.into_iter().map(|named| reading.of_named(named)).collect()),
        })
    }

    async fn reading(&self, settings: &TableSettings, definition: &TableDefinition, format: Format) -> Result<Reading> {
        let log = settings.log.clone().unwrap_or_else(|| self.settings.log.clone());
        let mut log = settings.log_reading.over(with_credentials_of(log, &self.settings.log))?;
        let inflated = settings.max_inflated_bytes.or(self.settings.max_inflated_bytes);
        if let (LogSettings::Pulsar(config), Some(bytes)) = (&mut log, inflated) {
            config.chunks = ChunkBounds::of_inflated(bytes);
        }
        let archive = settings.archive.as_deref().or(self.settings.archive.as_deref());
        let archive = match &log {
            // An archive keeps every message: beside the newest of each key it would give the others too.
            LogSettings::Pulsar(config) if config.read_compacted => None,
            _ => Some(self.shared.archive(archive, &self.definition.name)?),
        };
        Ok(Reading {
            log: self.shared.log(&log).await?,
            archive,
            format,
            value_columns: columns_for(format, definition)?,
            on_error: settings.on_decode_error.clone(),
            limits: inflated.map_or_else(EntryLimits::default, EntryLimits::of_inflated),
        })
    }

    /// `CREATE TABLE`: without a `connector` option makes the topic, its partitions and schema; with one keeps the definition, and contacts nothing.
    pub async fn create_table(
        &self,
        database: &str,
        table: &str,
        mut definition: TableDefinition,
        if_not_exists: bool,
    ) -> Result<()> {
        let topic = self.topic_name(database, table)?;
        definition.options = options::check_table(definition.options)?.options;
        let columns = value_columns(&definition)?;
        let view = || {
            let catalog = &self.definition.name;
            Error::invalid(format!("there is a view `{table}` in `{catalog}`.`{database}` already"))
        };
        let exists =
            || Error::invalid(format!("there is a table `{table}` in `{}`.`{database}` already", self.definition.name));
        if definition.options.contains_key("connector") {
            let decide = |found: Option<&Stored<StoredTable>>| match found {
                Some(Stored { body: StoredTable::Explicit { .. }, .. }) if if_not_exists => Ok(Change::Keep),
                Some(Stored { body: StoredTable::Explicit { .. }, .. }) => Err(exists()),
                Some(Stored { body: StoredTable::View { .. }, .. }) => Err(view()),
                Some(Stored { body: StoredTable::Native { .. }, .. }) if if_not_exists => Ok(Change::Keep),
                Some(Stored { body: StoredTable::Native { .. }, .. }) => Err(exists()),
                None => Ok(Change::Put(StoredTable::Explicit { definition: definition.clone() })),
            };
            self.definitions.change(&self.key(&topic.database(), table), decide).await?;
            return Ok(());
        }
        let stored = self.stored(&topic.database(), table).await?;
        if matches!(stored, Some(Stored { body: StoredTable::Explicit { .. }, .. })) {
            return if if_not_exists { Ok(()) } else { Err(exists()) };
        }
        if matches!(stored, Some(Stored { body: StoredTable::View { .. }, .. })) {
            return Err(view());
        }
        if columns.fields().is_empty() {
            return Err(Error::invalid(format!(
                "the table `{table}` has no column of its own: a topic's messages need at least one"
            )));
        }
        if let Some(partition) = topic.as_partition() {
            return Err(Error::invalid(format!(
                "`{table}` is Pulsar's name for a partition of a topic `{}`: give the table another name (a table WITH ('connector' = 'pulsar', …) may be called so)",
                partition.topic.name
            )));
        }
        let settings = options::table_settings(&definition.options)?;
        let format = settings.format.unwrap_or(self.settings.default_format);
        // All that can be wrong is found before the topic is made.
        let schema = topic_schema_of(format, table, &columns)?;
        let is_named = schema.kind == PayloadKind::Bytes && !schema.properties.is_empty();
        if is_named && matches!(self.settings.log, LogSettings::Pulsar(_)) {
            return Err(Error::unsupported(
                "a topic of bytes has no schema in Pulsar, which would keep its column's name: call the column `value` (a table WITH ('connector' = 'pulsar', 'format' = 'raw', …) over the topic may call it as it likes)",
            ));
        }
        columns_for(format, &definition)?;
        let log = self.log().await?;
        match is_there(log.as_ref(), &topic).await {
            Ok(true) => return if if_not_exists { Ok(()) } else { Err(exists()) },
            Ok(false) => {}
            // Who may not look may not make it either, and that refusal names the right that is missing.
            Err(error) if error.kind() == ErrorKind::Denied => {}
            Err(error) => return Err(error),
        }
        log.create_topic(&topic, settings.partitions.unwrap_or(self.settings.default_partitions)).await?;
        let half = |error: Error| {
            error.context(format!("the topic `{topic}` is made, but not its table; drop it and try again"))
        };
        log.put_schema(&topic, &schema).await.map_err(half)?;
        definition.options.retain(|key, _| key != "partitions" && key != "format");
        let beside = additions(&definition);
        if beside != TableDefinition::default() {
            let identity = log.identity(&topic).await.map_err(half)?;
            let body = StoredTable::Native { identity, definition: beside, begun: None };
            // What is left of an earlier topic of the name goes; a table or view that someone made meanwhile does not.
            let put = |found: Option<&Stored<StoredTable>>| match found.map(|found| &found.body) {
                None | Some(StoredTable::Native { .. }) => Ok(Change::Put(body.clone())),
                Some(_) => Err(changed(table)),
            };
            self.definitions.change(&self.key(&topic.database(), table), put).await.map_err(half)?;
        }
        Ok(())
    }

    /// `[CREATE OR] REPLACE TABLE`: an explicit table in the place of another one. A topic is never replaced.
    pub async fn replace_table(
        &self,
        database: &str,
        table: &str,
        definition: TableDefinition,
        must_exist: bool,
    ) -> Result<()> {
        let topic = self.topic_name(database, table)?;
        match self.stored(&topic.database(), table).await? {
            Some(Stored { body: StoredTable::Explicit { .. }, .. }) if definition.options.contains_key("connector") => {
                let mut definition = definition;
                definition.options = options::check_table(definition.options)?.options;
                value_columns(&definition)?;
                let body = StoredTable::Explicit { definition };
                let put = |found: Option<&Stored<StoredTable>>| match found.map(|found| &found.body) {
                    Some(StoredTable::Explicit { .. }) => Ok(Change::Put(body.clone())),
                    _ => Err(changed(table)),
                };
                self.definitions.change(&self.key(&topic.database(), table), put).await?;
                Ok(())
            }
            Some(Stored { body: StoredTable::Explicit { .. }, .. }) => Err(Error::invalid(format!(
                "`{table}` has a connector, and what would replace it is a topic: DROP TABLE first"
            ))),
            _ if is_there(self.log().await?.as_ref(), &topic).await? => Err(Error::invalid(format!(
                "`{table}` is the topic `{topic}`, whose messages replacing would delete: DROP TABLE … PURGE first if that is meant"
            ))),
            _ if must_exist => {
                Err(Error::invalid(format!("there is no table `{table}` to replace: CREATE OR REPLACE")))
            }
            _ => self.create_table(database, table, definition, false).await,
        }
    }

    /// `ALTER TABLE … RENAME TO`, of an explicit table.
    pub async fn rename_table(&self, table: &Table, to: &str) -> Result<()> {
        let [_, database, name] = &table.name;
        if table.origin == Origin::Native {
            return Err(Error::unsupported(format!(
                "`{name}` is a topic, and topics cannot be renamed: CREATE TABLE … AS, or make a table WITH ('connector' = 'pulsar') over it"
            )));
        }
        self.move_definition(database, name, to).await
    }

    /// Puts a definition under another name: first there, then away here, so that it is never nowhere. Fails with `Fenced` if someone changes it
    /// meanwhile: it stays under its name then.
    pub(crate) async fn move_definition(&self, database: &str, name: &str, to: &str) -> Result<()> {
        let (from, target) = (self.topic_name(database, name)?, self.topic_name(database, to)?);
        let Some(stored) = self.stored(&from.database(), name).await? else {
            return Err(Error::invalid(format!("there is no table or view `{name}`")));
        };
        if self.has_table(database, to).await? || self.view(database, to).await?.is_some() {
            return Err(Error::invalid(format!("there is a table or view `{to}` already")));
        }
        let put = |found: Option<&Stored<StoredTable>>| match found.map(|found| &found.body) {
            None | Some(StoredTable::Native { .. }) => Ok(Change::Put(stored.body.clone())),
            Some(_) => Err(Error::invalid(format!("there is a table or view `{to}` already"))),
        };
        let put = self.definitions.change(&self.key(&target.database(), to), put).await?;
        // Only what was copied goes: a change that came between would be lost with it.
        let drop_version = |version: u64| {
            move |found: Option<&Stored<StoredTable>>| match found {
                Some(found) if found.version == version => Ok(Change::Drop),
                _ => Err(changed(name)),
            }
        };
        let moved = self.definitions.change(&self.key(&from.database(), name), drop_version(stored.version)).await;
        if let (Err(error), Some(put)) = (&moved, put)
            && error.kind() == ErrorKind::Fenced
        {
            // Someone may have changed the copy too: then it is theirs.
            let _ = self.definitions.change(&self.key(&target.database(), to), drop_version(put.version)).await;
        }
        moved.map(|_| ())
    }

    /// `DROP TABLE`: an explicit table's definition; a topic only where `purge` is set.
    pub async fn drop_table(&self, database: &str, table: &str, if_exists: bool, purge: bool) -> Result<()> {
        let exact = self.topic_name(database, table)?;
        let stored = self.stored(&exact.database(), table).await?;
        if matches!(stored, Some(Stored { body: StoredTable::Explicit { .. }, .. })) {
            if purge {
                return Err(Error::invalid(format!(
                    "`{table}` is a table over something else, which stays: PURGE is for topics of the catalog, so leave it out"
                )));
            }
            // Whatever it says: also one that cannot be read any more can be dropped.
            let drop = |found: Option<&Stored<StoredTable>>| match found.map(|found| &found.body) {
                Some(StoredTable::Explicit { .. }) => Ok(Change::Drop),
                None if if_exists => Ok(Change::Keep),
                _ => Err(changed(table)),
            };
            self.definitions.change(&self.key(&exact.database(), table), drop).await?;
            return Ok(());
        }
        if if_exists && !self.is_table(database, table).await? {
            return Ok(());
        }
        let found = self.table(database, table).await?;
        let ([_, _, name], found_origin) = (&found.name, found.origin);
        let topic = self.topic_name(database, name)?;
        if found_origin == Origin::Native {
            if !purge {
                return Err(Error::invalid(format!(
                    "`{name}` is the topic `{topic}`: dropping it would delete its messages; say so if that is meant"
                )));
            }
            self.log().await?.delete_topic(&topic).await?;
        }
        let drop = |found: Option<&Stored<StoredTable>>| match (found.map(|found| &found.body), &found_origin) {
            (Some(StoredTable::Native { .. }), _) | (Some(StoredTable::Explicit { .. }), Origin::Explicit) => {
                Ok(Change::Drop)
            }
            // A table or view that someone has made under the topic's name.
            _ => Ok(Change::Keep),
        };
        self.definitions.change(&self.key(&topic.database(), name), drop).await?;
        Ok(())
    }

    /// The table with the options of an `OPTIONS` hint laid over its own (`options::check_table` tells the notices).
    pub async fn with_options(&self, table: &Table, options: &[(String, String)]) -> Result<Table> {
        let mut table = table.clone();
        let given = options.iter().cloned();
        let connector = table.definition.options.get("connector").map(|c| ("connector".to_string(), c.clone()));
        let laid = match connector {
            // A hint alone need not name the topic.
            Some(connector) => {
                let kept = |key: &str| table.definition.options.get(key).map(|value| (key.to_string(), value.clone()));
                let topics = kept("topics").or_else(|| kept("topics-pattern"));
                let own =
                    |key: &str| matches!(key, "topics" | "topic" | "topics-pattern" | "topic-pattern" | "connector");
                if let Some((key, _)) = options.iter().find(|(key, _)| own(key)) {
                    return Err(Error::invalid(format!("a hint cannot change the option `{key}`")));
                }
                options::check_table(given.chain([connector]).chain(topics))?
            }
            None => options::check_table(given)?,
        };
        let hinted: Vec<String> = laid.options.keys().cloned().collect();
        table.definition.options.extend(laid.options);
        options::check_effects(&table.definition.options, |key| hinted.iter().any(|hinted| hinted == key))?;
        table.target = match (&table.origin, &table.target) {
            (Origin::Native, Target::Topics(topics)) => {
                let [_, database, name] = &table.name;
                let own = topics.first().map_or(Format::Raw, |topic| topic.format);
                self.native_target(self.topic_name(database, name)?, &table.definition, own).await?
            }
            _ => self.explicit_target(&table.definition).await?,
        };
        Ok(table)
    }

    /// The topic that a database and table name stand for.
    pub fn topic_name(&self, database: &str, table: &str) -> Result<TopicName> {
        let (tenant, namespace) = split(database)?;
        if table.contains('/') {
            return Err(Error::invalid(format!(
                "`{table}` is no table name: the database names tenant and namespace, as in `public/default`.`sensors`"
            )));
        }
        format!("{tenant}/{namespace}/{table}").parse()
    }

    pub(crate) fn key<'a>(&'a self, database: &'a str, table: &'a str) -> [&'a str; 4] {
        [TABLES, &self.id, database, table]
    }

    pub(crate) async fn stored(&self, database: &str, table: &str) -> Result<Option<Stored<StoredTable>>> {
        self.definitions.load(&self.key(database, table)).await
    }
}

/// The error of a change that was decided on what is not there any more.
pub(crate) fn changed(name: &str) -> Error {
    Error::fenced(format!("`{name}` was changed by someone else meanwhile: look at it and try again"))
}

/// Whether the topic is the one of this identity. Where nobody can be asked it is believed: to read it needs no admin API.
async fn is_still(log: &dyn Log, topic: &TopicName, identity: &TopicIdentity) -> Result<bool> {
    match log.identity(topic).await {
        Ok(found) => Ok(found == *identity),
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            tracing::warn!(%topic, %error, "what stands beside the topic is taken to be this topic's");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Whether the log has the topic.
async fn is_there(log: &dyn Log, topic: &TopicName) -> Result<bool> {
    match log.partitions(topic).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(false),
        Err(error) => Err(error),
    }
}

/// That a name is none of a partition of a topic that is there: read as a topic of its own, its archive would not be found.
async fn check_no_partition(log: &dyn Log, table: &str, partition: &Partition) -> Result<()> {
    let of = &partition.topic;
    match log.partitions(of).await {
        Ok(all) if all.contains(partition) => Err(Error::invalid(format!(
            "`{table}` is partition {0} of the topic `{1}`, and no table: SELECT … FROM `{1}` WHERE `partition` = {0}, or make a table WITH ('connector' = 'pulsar', \
             'topics' = '{table}')",
            partition.number(),
            of.name
        ))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(()),
        Err(error) => Err(error),
    }
}

/// The format and the columns of a topic, by its newest schema.
pub(crate) fn own_columns(
    topic: &TopicName,
    newest: Option<(SchemaVersion, TopicSchema)>,
) -> Result<(Format, arrow::datatypes::SchemaRef)> {
    let schema = match newest {
        Some((_, schema)) => schema,
        None => TopicSchema {
            name: topic.name.clone(),
            kind: PayloadKind::Bytes,
            definition: Vec::new(),
            properties: BTreeMap::new(),
        },
    };
    columns_of(&schema).map_err(|error| error.context(format!("the schema of the topic `{topic}`")))
}
