//! Views: queries with a name, stored beside the tables; one name is either.

use aquifer_model::{Error, Result};

use crate::catalog::{Catalog, StoredTable};
use crate::definition::ViewDefinition;
use crate::names::suggestion;
use crate::store::{Change, Stored};

impl Catalog {
    /// The view that a name means, with its name as it is really written: exactly first, then without case if exactly one fits. `None`: no view.
    pub async fn view(&self, database: &str, name: &str) -> Result<Option<(String, ViewDefinition)>> {
        if let Some(view) = self.find_view(database, name).await? {
            return Ok(Some((name.to_string(), view)));
        }
        // Only names are listed: to read all that is defined takes long in a bucket.
        let lower = name.to_lowercase();
        let mut near = self.defined_names(database).await?;
        near.retain(|other| other != name && other.to_lowercase() == lower);
        let mut found = None;
        for other in near {
            match self.find_view(database, &other).await? {
                Some(_) if found.is_some() => return Ok(None),
                Some(view) => found = Some((other, view)),
                None => {}
            }
        }
        Ok(found)
    }

    /// The view of exactly this name.
    async fn find_view(&self, database: &str, name: &str) -> Result<Option<ViewDefinition>> {
        let topic = self.topic_name(database, name)?;
        match self.stored(&topic.database(), name).await? {
            Some(Stored { body: StoredTable::View { definition }, .. }) => Ok(Some(definition)),
            _ => Ok(None),
        }
    }

    /// The views of a database, sorted.
    pub async fn views(&self, database: &str) -> Result<Vec<String>> {
        self.stored_names(database, |stored| matches!(stored, StoredTable::View { .. })).await
    }

    /// `CREATE VIEW`. A table of the name is in its way, also with `or_replace`.
    pub async fn create_view(
        &self,
        database: &str,
        name: &str,
        view: ViewDefinition,
        if_not_exists: bool,
        or_replace: bool,
    ) -> Result<()> {
        let topic = self.topic_name(database, name)?;
        let there = |what: &str| {
            Error::invalid(format!("there is a {what} `{name}` in `{}`.`{database}` already", self.definition().name))
        };
        let is_view = self.find_view(database, name).await?.is_some();
        if !is_view && self.has_table(database, name).await? {
            return if if_not_exists { Ok(()) } else { Err(there("table")) };
        }
        let decide = |found: Option<&Stored<StoredTable>>| match found.map(|found| &found.body) {
            Some(StoredTable::View { .. }) if if_not_exists => Ok(Change::Keep),
            Some(StoredTable::View { .. }) if !or_replace => Err(there("view")),
            Some(StoredTable::Explicit { .. }) => Err(there("table")),
            _ => Ok(Change::Put(StoredTable::View { definition: view.clone() })),
        };
        self.definitions.change(&self.key(&topic.database(), name), decide).await?;
        Ok(())
    }

    /// `ALTER VIEW … AS`: the view as `change` makes it.
    pub async fn alter_view(
        &self,
        database: &str,
        name: &str,
        change: impl Fn(&ViewDefinition) -> ViewDefinition,
    ) -> Result<()> {
        let topic = self.topic_name(database, name)?;
        let decide = |found: Option<&Stored<StoredTable>>| match found.map(|found| &found.body) {
            Some(StoredTable::View { definition }) => {
                Ok(Change::Put(StoredTable::View { definition: change(definition) }))
            }
            _ => Ok(Change::Keep),
        };
        match self.definitions.change(&self.key(&topic.database(), name), decide).await? {
            Some(Stored { body: StoredTable::View { .. }, .. }) => Ok(()),
            _ => Err(self.no_view(database, name, &self.views(database).await?)),
        }
    }

    /// `ALTER VIEW … RENAME TO`.
    pub async fn rename_view(&self, database: &str, name: &str, to: &str) -> Result<()> {
        match self.view(database, name).await? {
            Some((name, _)) => self.move_definition(database, &name, to).await,
            None => Err(self.no_view(database, name, &self.views(database).await?)),
        }
    }

    /// `DROP VIEW`.
    pub async fn drop_view(&self, database: &str, name: &str, if_exists: bool) -> Result<()> {
        match self.view(database, name).await? {
            Some((name, _)) => {
                let topic = self.topic_name(database, &name)?;
                let drop = |found: Option<&Stored<StoredTable>>| match found.map(|found| &found.body) {
                    Some(StoredTable::View { .. }) => Ok(Change::Drop),
                    _ => Ok(Change::Keep),
                };
                self.definitions.change(&self.key(&topic.database(), &name), drop).await?;
                Ok(())
            }
            None if if_exists => Ok(()),
            None => Err(self.no_view(database, name, &self.views(database).await?)),
        }
    }

    fn no_view(&self, database: &str, name: &str, known: &[String]) -> Error {
        let advice = suggestion(name, known, "views");
        Error::invalid(format!("there is no view `{name}` in `{}`.`{database}`{advice}", self.definition().name))
    }
}
