//! Statements that define: catalogs, databases, tables, views.

use aquifer_catalog::options::{canonical_key, check_catalog, check_effects, check_table, database_policies};
use aquifer_catalog::{CatalogDefinition, ColumnDefinition, ColumnKind, Origin, TableDefinition, ViewDefinition};
use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use datafusion::execution::SessionState;

use super::statement::{
    CreateTable, CreateView, Existing, Insert, Name, OptionChange, SelectQuery, Statement, TableChange,
};
use super::temporary::Temporary;
use super::{Outcome, Session, alter, like, validate};
use crate::connector::nearest_known;

impl Session {
    pub(super) async fn define(&mut self, statement: Statement, notices: &mut Vec<String>) -> Result<Outcome> {
        match statement {
            Statement::CreateCatalog { name, options, comment, if_not_exists } => {
                let checked = check_catalog(options)?;
                notices.extend(checked.notices);
                let definition = CatalogDefinition { name, options: checked.options, comment };
                self.catalogs.create(definition, if_not_exists).await?;
            }
            Statement::AlterCatalog { name, change } => self.alter_catalog(&name, change, notices).await?,
            Statement::DropCatalog { name, if_exists } => {
                if name == self.catalog {
                    return Err(Error::invalid(format!(
                        "the catalog `{name}` is in use: USE CATALOG another one first"
                    )));
                }
                self.catalogs.drop_catalog(&name, if_exists).await?;
            }
            Statement::CreateDatabase { name, comment, options, if_not_exists } => {
                let (catalog, database) = self.database_of(&name)?;
                let policies = database_policies(&options)?;
                if !catalog.create_database(&database, comment, if_not_exists).await? {
                    // What is there keeps its policies.
                    return Ok(Outcome::Done);
                }
                let half = |error: Error| error.context(format!("the database `{database}` is made"));
                catalog.set_policies(&database, &policies).await.map_err(half)?;
            }
            Statement::AlterDatabase { name, options } => {
                let (catalog, database) = self.database_of(&name)?;
                catalog.database(&database).await?;
                catalog.set_policies(&database, &database_policies(&options)?).await?;
            }
            Statement::DropDatabase { name, if_exists, cascade } => {
                let (catalog, database) = self.database_of(&name)?;
                let current = self.catalogs.get(&self.catalog)?.definition().name == catalog.definition().name
                    && catalog.database_name(&self.database()?)? == catalog.database_name(&database)?;
                if current {
                    return Err(Error::invalid(format!("the database `{database}` is in use: USE another one first")));
                }
                catalog.drop_database(&database, if_exists, cascade).await?;
            }
            Statement::CreateTable(create) => return Box::pin(self.create_table(*create, notices)).await,
            Statement::AlterTable { name, if_exists, changes } => {
                self.alter_table(&name, if_exists, changes, notices).await?;
            }
            Statement::DropTable { name, if_exists, temporary, purge } => {
                let full = self.full_name(&name)?;
                if temporary {
                    if purge {
                        return Err(Error::invalid(
                            "PURGE deletes a topic of the catalog, and a temporary table is none: leave it out",
                        ));
                    }
                    self.temporary.remove(&full, "table", if_exists)?;
                } else {
                    self.temporary.must_not_hide(&full)?;
                    let (catalog, database, table) = self.place(&name)?;
                    catalog.drop_table(&database, &table, if_exists, purge).await?;
                }
            }
            Statement::CreateView(create) => Box::pin(self.create_view(create)).await?,
            Statement::RenameView { name, to } => self.rename_view(&name, &to).await?,
            Statement::AlterView { name, text, query } => {
                let (catalog, database, view) = self.place(&name)?;
                let Some(before) = self.view(&name).await? else {
                    return Err(Error::invalid(format!("there is no view `{view}`")));
                };
                let after = self.new_view(text, query, before.columns.clone(), before.comment.clone()).await?;
                let full = self.full_name(&name)?;
                if !self.temporary.change_view(&full, |_| after.clone()) {
                    catalog.alter_view(&database, &view, |_| after.clone()).await?;
                }
            }
            Statement::DropView { name, if_exists, temporary } => {
                let full = self.full_name(&name)?;
                if temporary {
                    self.temporary.remove(&full, "view", if_exists)?;
                } else {
                    self.temporary.must_not_hide(&full)?;
                    let (catalog, database, view) = self.place(&name)?;
                    catalog.drop_view(&database, &view, if_exists).await?;
                }
            }
            Statement::Analyze { name, columns } => {
                let table = self.lookup(&name).await?;
                let known = || table.definition.columns.iter().map(|c| c.name.as_str());
                if let Some(unknown) = columns.iter().find(|column| known().all(|known| known != *column)) {
                    let near = nearest_known(unknown, known());
                    return Err(Error::invalid(format!("`{}` has no column `{unknown}`: {near}", table.name[2])));
                }
                notices.push(
                    "statistics stand in the archive's files from when they are written: there is nothing to compute"
                        .to_string(),
                );
            }
            other => return Err(Error::internal(format!("no definition: {other:?}"))),
        }
        Ok(Outcome::Done)
    }

    async fn alter_catalog(&self, name: &str, change: OptionChange, notices: &mut Vec<String>) -> Result<()> {
        let mut told = Vec::new();
        let altered = |current: &CatalogDefinition| {
            let mut definition = current.clone();
            match &change {
                OptionChange::Comment(comment) => definition.comment = Some(comment.clone()),
                OptionChange::Set(options) => {
                    let checked = check_catalog(with_type(&definition, options.clone()))?;
                    told = checked.notices;
                    definition.options = checked.options;
                }
                OptionChange::Reset(keys) => {
                    for key in keys {
                        let canonical = aquifer_catalog::options::canonical_catalog_key(key).to_string();
                        if canonical == "type" {
                            return Err(Error::invalid("the option `type` cannot be reset"));
                        }
                        definition.options.remove(&canonical);
                    }
                }
            }
            Ok(definition)
        };
        self.catalogs.alter(name, altered).await?;
        notices.extend(told);
        Ok(())
    }

    async fn create_table(&mut self, mut create: CreateTable, notices: &mut Vec<String>) -> Result<Outcome> {
        let state = self.state()?;
        let query = create.query.take();
        let mut definition = self.definition_of(&mut create).await?;
        if let Some(query) = &query {
            let queried = self.columns_of(query.clone(), &state).await?;
            definition.columns = queried_columns(definition.columns, &create.elements.untyped, queried)?;
        }
        if let Some(buckets) = definition.distribution.as_ref().and_then(|d| d.buckets)
            && !definition.options.contains_key("connector")
        {
            definition.options.entry("partitions".to_string()).or_insert_with(|| buckets.to_string());
        }
        let is_topic = matches!(definition.options.get("connector").map(String::as_str), None | Some("pulsar"));
        if let Some(distribution) = definition.distribution.as_ref().filter(|d| is_topic && !d.columns.is_empty()) {
            definition.options.entry("key.fields".to_string()).or_insert_with(|| distribution.columns.join(";"));
        }
        let checked = check_table(std::mem::take(&mut definition.options))?;
        notices.extend(checked.notices);
        definition.options = checked.options;
        check_effects(&definition.options, |_| true)?;
        self.check_parts(&definition)?;
        validate::key_is_not_null(&mut definition)?;
        validate::check(&definition, &state)?;
        let full = self.full_name(&create.name)?;
        if create.temporary {
            if !definition.options.contains_key("connector") {
                return Err(Error::invalid(
                    "a temporary table needs a connector: WITH ('connector' = …); a table without one is a topic, which stays",
                ));
            }
            self.temporary.create(full, Temporary::Table(definition), create.if_not_exists, false)?;
            return Ok(Outcome::Done);
        }
        let (catalog, database, table) = self.place(&create.name)?;
        match create.existing {
            Existing::None => {
                if query.is_some() && create.if_not_exists && self.exists(&create.name).await? {
                    return Ok(Outcome::Done);
                }
                catalog.create_table(&database, &table, definition, create.if_not_exists).await?;
            }
            Existing::MayBe => catalog.replace_table(&database, &table, definition, false).await?,
            Existing::Must => catalog.replace_table(&database, &table, definition, true).await?,
        }
        let Some(query) = query else { return Ok(Outcome::Done) };
        let insert = Insert {
            table: create.name,
            overwrite: false,
            partition: Vec::new(),
            columns: self.query_columns(&query, &state).await?,
            query,
            hints: Vec::new(),
        };
        let made = |error: Error| error.context(format!("the table `{table}` is made, and its rows are not written"));
        self.insert(vec![insert], notices).await.map_err(made)
    }

    /// Whether a name is a table's or a view's.
    async fn exists(&self, name: &[String]) -> Result<bool> {
        if self.view(name).await?.is_some() {
            return Ok(true);
        }
        let full = self.full_name(name)?;
        if self.temporary.find(&full).is_some() {
            return Ok(true);
        }
        let (catalog, database, table) = self.place(name)?;
        if Box::pin(self.system_table(name)).await?.is_some() {
            return Ok(true);
        }
        catalog.is_table(&database, &table).await
    }

    /// A new table's definition as far as the statement itself and the table that it is LIKE say it.
    async fn definition_of(&self, create: &mut CreateTable) -> Result<TableDefinition> {
        let elements = std::mem::take(&mut create.elements);
        if let Some(placed) = elements.columns.iter().find(|placed| placed.place.is_some()) {
            return Err(Error::invalid(format!(
                "`{}`: FIRST and AFTER are for ALTER TABLE; a new table's columns stand in the order they are written in",
                placed.column.name
            )));
        }
        create.elements.untyped = elements.untyped;
        let (primary_key, key_name) = elements.primary_key.map_or((Vec::new(), None), |key| (key.columns, key.name));
        let mut given = std::mem::take(&mut create.options).into_iter().collect();
        let source = match &create.like {
            Some(like) => Some(self.lookup(&like.name).await?.definition),
            None => None,
        };
        if let Some(source) = &source {
            // The other table's keys are canonical: these must be too, to be seen as the same.
            let all = source.options.clone();
            given = std::collections::BTreeMap::into_iter(given)
                .map(|(key, value): (String, String)| (canonical_key(&all, &key).to_string(), value))
                .collect();
        }
        let own = TableDefinition {
            columns: elements.columns.into_iter().map(|placed| placed.column).collect(),
            watermark: elements.watermark,
            primary_key,
            key_name,
            partitioned_by: std::mem::take(&mut create.partitioned_by),
            distribution: create.distribution.take(),
            comment: create.comment.take(),
            options: given,
            ..TableDefinition::default()
        };
        match (&create.like, source) {
            (Some(like), Some(source)) => like::merge(&source, own, &like.rules),
            _ => Ok(own),
        }
    }

    /// That the connector is there, and takes the parts that the table is divided into.
    fn check_parts(&self, definition: &TableDefinition) -> Result<()> {
        let connector = definition.options.get("connector").map(String::as_str);
        if let Some(name) = connector.filter(|name| !matches!(*name, "pulsar" | "upsert-pulsar")) {
            self.connectors.find(name)?;
        }
        if connector == Some("upsert-pulsar") && definition.primary_key.is_empty() {
            return Err(Error::invalid(
                "a table of `upsert-pulsar` needs a PRIMARY KEY (…) NOT ENFORCED: it makes the messages' key",
            ));
        }
        if matches!(connector, None | Some("pulsar" | "upsert-pulsar"))
            && let Some(fields) = definition.options.get("key.fields")
        {
            let is_physical = |name: &str| {
                definition.columns.iter().any(|c| c.name == name && matches!(c.kind, ColumnKind::Physical { .. }))
            };
            if let Some(unknown) = fields.split(';').find(|name| !is_physical(name)) {
                let near = nearest_known(unknown, definition.columns.iter().map(|c| c.name.as_str()));
                return Err(Error::invalid(format!("'key.fields' names no physical column `{unknown}`: {near}")));
            }
        }
        if !definition.partitioned_by.is_empty() && matches!(connector, None | Some("pulsar" | "upsert-pulsar")) {
            return Err(Error::unsupported(
                "PARTITIONED BY is for tables of files: a topic's partitions are a number, DISTRIBUTED INTO n BUCKETS or 'partitions' = 'n'",
            ));
        }
        if let (Some(connector), Some(distribution)) = (connector, &definition.distribution) {
            let over_topics = matches!(connector, "pulsar" | "upsert-pulsar");
            if distribution.buckets.is_some() || !over_topics {
                return Err(Error::unsupported(format!(
                    "DISTRIBUTED {} is not for tables of `{connector}`: {}",
                    if distribution.buckets.is_some() { "INTO n BUCKETS" } else { "BY" },
                    if over_topics {
                        "the topic has its partitions already, whose number the catalog's own tables give"
                    } else {
                        "it has no buckets; leave it out"
                    }
                )));
            }
        }
        if let Some(connector) = connector
            && !matches!(connector, "filesystem" | "pulsar" | "upsert-pulsar")
            && !definition.partitioned_by.is_empty()
        {
            return Err(Error::unsupported(format!(
                "PARTITIONED BY is for tables of files, and `{connector}` has no partitions: leave it out (LIKE … (EXCLUDING PARTITIONS))"
            )));
        }
        if definition.distribution.as_ref().is_some_and(|d| d.by.as_deref() == Some("RANGE")) {
            return Err(Error::unsupported(
                "DISTRIBUTED BY RANGE is not supported: messages go by the hash of their key",
            ));
        }
        Ok(())
    }

    async fn alter_table(
        &mut self,
        name: &Name,
        if_exists: bool,
        changes: Vec<TableChange>,
        notices: &mut Vec<String>,
    ) -> Result<()> {
        if if_exists && !self.exists(name).await? {
            return Ok(());
        }
        let full = self.full_name(name)?;
        let (catalog, ..) = self.place(name)?;
        let state = self.state()?;
        for change in changes {
            let table = self.lookup(name).await?;
            if let TableChange::RenameTo(to) = &change {
                let to = self.renamed(name, to)?;
                if !self.temporary.rename(&full, to.clone())? {
                    catalog.rename_table(&table, &to[2]).await?;
                }
                continue;
            }
            if let TableChange::RenameColumn { from, .. } = &change
                && table.origin == Origin::Native
                && table
                    .definition
                    .columns
                    .iter()
                    .any(|c| c.name == *from && matches!(c.kind, ColumnKind::Physical { .. }))
            {
                return Err(Error::unsupported(format!(
                    "`{from}` is a column of the topic's own schema, and messages that are written already hold it under its old name: ADD a \
                     computed column with the new name AS `{from}`"
                )));
            }
            let mut definition = alter::apply(table.definition.clone(), change)?;
            let checked = check_table(std::mem::take(&mut definition.options))?;
            notices.extend(checked.notices);
            definition.options = checked.options;
            check_effects(&definition.options, |_| true)?;
            self.check_parts(&definition)?;
            validate::check(&definition, &state)?;
            match self.temporary.find(&full).map(|(name, _)| name.clone()) {
                Some(found) => self.temporary.create(found, Temporary::Table(definition), false, true)?,
                None => catalog.alter_table(&table, definition).await?,
            }
        }
        Ok(())
    }

    /// The full name that a rename gives: in the same catalog and database.
    fn renamed(&self, from: &Name, to: &Name) -> Result<[String; 3]> {
        let from = self.full_name(from)?;
        let to = match to.as_slice() {
            [one] => [from[0].clone(), from[1].clone(), one.clone()],
            _ => self.full_name(to)?,
        };
        if to[..2] != from[..2] {
            return Err(Error::invalid("a rename stays in its catalog and database"));
        }
        Ok(to)
    }

    async fn create_view(&mut self, create: CreateView) -> Result<()> {
        let view = self.new_view(create.text, create.query, create.columns, create.comment).await?;
        if create.temporary {
            let full = self.full_name(&create.name)?;
            return self.temporary.create(full, Temporary::View(view), create.if_not_exists, create.or_replace);
        }
        let (catalog, database, name) = self.place(&create.name)?;
        catalog.create_view(&database, &name, view, create.if_not_exists, create.or_replace).await
    }

    /// A view of a query that binds and has as many columns as are named.
    async fn new_view(
        &self,
        text: String,
        query: SelectQuery,
        columns: Vec<aquifer_catalog::ViewColumn>,
        comment: Option<String>,
    ) -> Result<ViewDefinition> {
        let given = self.columns_of(query, &self.state()?).await?;
        if !columns.is_empty() && columns.len() != given.len() {
            return Err(Error::invalid(format!(
                "the view names {} columns, and its query gives {}: name each of them, or none",
                columns.len(),
                given.len()
            )));
        }
        if columns.is_empty()
            && let Some((_, (name, _))) =
                given.iter().enumerate().find(|(n, (name, _))| given[..*n].iter().any(|(before, _)| before == name))
        {
            return Err(Error::invalid(format!(
                "the query gives two columns `{name}`: name the view's columns, as in CREATE VIEW v (a, b) AS …"
            )));
        }
        Ok(ViewDefinition { query: text, catalog: self.catalog.clone(), database: self.database()?, columns, comment })
    }

    async fn rename_view(&mut self, name: &Name, to: &Name) -> Result<()> {
        let to = self.renamed(name, to)?;
        let full = self.full_name(name)?;
        if self.view(name).await?.is_none() {
            return Err(Error::invalid(format!("there is no view `{}`", full[2])));
        }
        if self.temporary.rename(&full, to.clone())? {
            return Ok(());
        }
        let (catalog, database, view) = self.place(name)?;
        catalog.rename_view(&database, &view, &to[2]).await
    }

    /// A query's columns: names and types.
    pub(super) async fn columns_of(
        &self,
        query: SelectQuery,
        state: &SessionState,
    ) -> Result<Vec<(String, ColumnType)>> {
        let bound = self.bind(query, state).await?;
        let schema = bound.plan.schema();
        schema.fields().iter().map(|field| Ok((field.name().clone(), ColumnType::of_field(field)?))).collect()
    }

    async fn query_columns(&self, query: &SelectQuery, state: &SessionState) -> Result<Vec<String>> {
        Ok(self.columns_of(query.clone(), state).await?.into_iter().map(|(name, _)| name).collect())
    }
}

fn with_type(definition: &CatalogDefinition, options: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut all = definition.options.clone();
    for (key, value) in options {
        all.insert(aquifer_catalog::options::canonical_catalog_key(&key).to_string(), value);
    }
    all.into_iter().collect()
}

/// The columns of a table made from a query: those that are declared, then the query's own; in the order that is named, if one is.
fn queried_columns(
    declared: Vec<ColumnDefinition>,
    untyped: &[String],
    queried: Vec<(String, ColumnType)>,
) -> Result<Vec<ColumnDefinition>> {
    let column = |name: &String, column_type: &ColumnType| -> Result<ColumnDefinition> {
        if column_type.sql_type == SqlType::Null {
            return Err(Error::invalid(format!(
                "the query's column `{name}` is a bare NULL: give it a type with CAST"
            )));
        }
        let not_null = if column_type.nullable { "" } else { " NOT NULL" };
        let type_text = format!("{}{not_null}", column_type.sql_type);
        Ok(ColumnDefinition { name: name.clone(), kind: ColumnKind::Physical { type_text }, comment: None })
    };
    if !untyped.is_empty() {
        if !declared.is_empty() || untyped.len() != queried.len() {
            return Err(Error::invalid(format!(
                "columns without types name the query's columns in another order: there are {}, all of them and no others",
                queried.len()
            )));
        }
        let one = |name: &String| {
            let found = queried.iter().find(|(known, _)| known == name).ok_or_else(|| {
                let near = nearest_known(name, queried.iter().map(|(known, _)| known.as_str()));
                Error::invalid(format!("the query gives no column `{name}`: {near}"))
            })?;
            column(name, &found.1)
        };
        return untyped.iter().map(one).collect();
    }
    let mut columns = declared;
    for (name, column_type) in &queried {
        match columns.iter().find(|known| known.name == *name) {
            None => columns.push(column(name, column_type)?),
            Some(ColumnDefinition { kind: ColumnKind::Computed { .. }, .. }) => {
                return Err(Error::invalid(format!("`{name}` is computed and also a column of the query: rename one")));
            }
            Some(_) => {}
        }
    }
    Ok(columns)
}
