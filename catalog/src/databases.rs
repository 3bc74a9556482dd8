//! Databases: namespaces of the log, their policies, and the comments that are kept beside them.

use aquifer_model::{Error, ErrorKind, Result};
use aquifer_storage::log::NamespacePolicies;
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, StoredTable};
use crate::catalogs::DEFAULT_DATABASE;
use crate::names::{find, suggestion};
use crate::options::database_options;
use crate::store::{Change, Stored};

const DATABASES: &str = "databases";

/// What is kept of a database: its namespace has no place for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredDatabase {
    comment: Option<String>,
}

impl Catalog {
    /// Databases, sorted.
    pub async fn databases(&self) -> Result<Vec<String>> {
        let pairs = self.log().await?.namespaces().await?;
        let mut names: Vec<String> = pairs.into_iter().map(|(tenant, name)| self.shown(&tenant, &name)).collect();
        names.sort();
        Ok(names)
    }

    /// The database that a name means, as it is really written. Fails if the log says that there is none; where the log may not be asked, the name is
    /// believed.
    pub async fn database(&self, name: &str) -> Result<String> {
        let (tenant, namespace) = split(name)?;
        let wanted = self.shown(&tenant, &namespace);
        let known = match self.databases().await {
            Ok(known) => known,
            Err(error) if error.kind() == ErrorKind::Denied => return Ok(wanted),
            // The brokers may be there where the admin API is not.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                return match self.log().await?.topics(&tenant, &namespace).await {
                    Ok(_) => Ok(wanted),
                    Err(_) => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        find(&wanted, &known).cloned().ok_or_else(|| {
            let catalog = &self.definition().name;
            let advice = suggestion(&wanted, &known, "databases");
            Error::invalid(format!("there is no database `{name}` in the catalog `{catalog}`{advice}"))
        })
    }

    /// A database's name as it is shown, whether it is there or not.
    pub fn database_name(&self, name: &str) -> Result<String> {
        let (tenant, namespace) = split(name)?;
        Ok(self.shown(&tenant, &namespace))
    }

    /// Removes a database (a namespace). One that has tables only with `cascade`, and never one with topics: those are dropped one by one.
    pub async fn drop_database(&self, database: &str, if_exists: bool, cascade: bool) -> Result<()> {
        let database = match self.database(database).await {
            Ok(database) => database,
            Err(error) if if_exists && error.kind() == ErrorKind::Invalid => return Ok(()),
            Err(error) => return Err(error),
        };
        let (tenant, namespace) = split(&database)?;
        let log = self.log().await?;
        let topics = log.topics(&tenant, &namespace).await?;
        if let Some(topic) = topics.first() {
            return Err(Error::invalid(format!(
                "the database `{database}` has {} topics, `{}` the first: their messages would be lost; DROP TABLE … PURGE each of them first",
                topics.len(),
                topic.name
            )));
        }
        let stored = self.stored_names(&database, |_| true).await?;
        if !stored.is_empty() && !cascade {
            return Err(Error::invalid(format!(
                "the database `{database}` has {} tables and views, `{}` the first: DROP DATABASE … CASCADE drops them too",
                stored.len(),
                stored[0]
            )));
        }
        let key = format!("{tenant}/{namespace}");
        for name in stored {
            self.definitions.change::<StoredTable>(&self.key(&key, &name), |_| Ok(Change::Drop)).await?;
        }
        log.delete_namespace(&tenant, &namespace).await?;
        self.definitions.change::<StoredDatabase>(&self.database_key(&key), |_| Ok(Change::Drop)).await?;
        Ok(())
    }

    /// Makes a database (a namespace) and keeps its comment; false if it was there, which keeps what it has.
    pub async fn create_database(&self, database: &str, comment: Option<String>, if_not_exists: bool) -> Result<bool> {
        let (tenant, namespace) = split(database)?;
        let log = self.log().await?;
        if if_not_exists && log.namespaces().await?.contains(&(tenant.clone(), namespace.clone())) {
            return Ok(false);
        }
        log.create_namespace(&tenant, &namespace).await?;
        // A comment of an earlier database of the name goes.
        let body = comment.map(|comment| StoredDatabase { comment: Some(comment) });
        let put = |_: Option<&Stored<StoredDatabase>>| Ok(body.clone().map_or(Change::Drop, Change::Put));
        self.definitions.change(&self.database_key(&format!("{tenant}/{namespace}")), put).await.map_err(|error| {
            error.context(format!("the database `{database}` is made, but its comment is not kept"))
        })?;
        Ok(true)
    }

    /// A database's comment.
    pub async fn database_comment(&self, database: &str) -> Result<Option<String>> {
        let (tenant, namespace) = split(database)?;
        let key = format!("{tenant}/{namespace}");
        let stored = self.definitions.load::<StoredDatabase>(&self.database_key(&key)).await?;
        Ok(stored.and_then(|stored| stored.body.comment))
    }

    /// The options of a database, as they stand in the policies of its namespace; none where these may not be read.
    pub async fn database_options(&self, database: &str) -> Result<Vec<(&'static str, String)>> {
        let (tenant, namespace) = split(database)?;
        match self.log().await?.namespace_policies(&tenant, &namespace).await {
            Ok(policies) => Ok(database_options(&policies)),
            Err(error) if error.kind() == ErrorKind::Denied => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn database_key<'a>(&'a self, database: &'a str) -> [&'a str; 3] {
        [DATABASES, &self.id, database]
    }

    /// Sets policies of a database's namespace.
    pub async fn set_policies(&self, database: &str, policies: &NamespacePolicies) -> Result<()> {
        let (tenant, namespace) = split(database)?;
        if *policies == NamespacePolicies::default() {
            return Ok(());
        }
        self.log().await?.set_namespace_policies(&tenant, &namespace, policies).await
    }

    /// How a namespace is shown as a database.
    pub(crate) fn shown(&self, tenant: &str, namespace: &str) -> String {
        match (tenant, namespace) {
            ("public", "default") if self.default_database == DEFAULT_DATABASE => DEFAULT_DATABASE.to_string(),
            _ => format!("{tenant}/{namespace}"),
        }
    }
}

/// Tenant and namespace of a database.
pub(crate) fn split(database: &str) -> Result<(String, String)> {
    let parts: Vec<&str> = match database {
        DEFAULT_DATABASE => vec!["public", "default"],
        _ => database.split('/').collect(),
    };
    match parts.as_slice() {
        [namespace] if !namespace.is_empty() => Ok(("public".to_string(), namespace.to_string())),
        [tenant, namespace] if !tenant.is_empty() && !namespace.is_empty() => {
            Ok((tenant.to_string(), namespace.to_string()))
        }
        _ => Err(Error::invalid(format!(
            "`{database}` is no database: write TENANT/NAMESPACE in backticks, for example `public/default`"
        ))),
    }
}
