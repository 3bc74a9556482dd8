//! All catalogs of a data directory, and the logs they have open.
//!
//! `default_catalog` with its database `default_database` is the embedded log of the data directory; `CREATE CATALOG` adds others, which
//! connect to nothing before their first use. A log is opened once a process, however many catalogs and tables name it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use aquifer_model::{Error, Result};
use aquifer_storage::Log;
use aquifer_storage::archive::ArchiveLocation;
use aquifer_storage::embedded::{EmbeddedLog, EmbeddedSettings};
use aquifer_storage::pulsar::{PulsarConfig, PulsarLog};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::definition::CatalogDefinition;
use crate::names::{encode, find, suggestion};
use crate::options::{self, CatalogSettings, LogSettings};
use crate::store::{Change, Definitions, Stored};

pub use crate::table::{Table, Target};

/// The catalog that is always there.
pub const DEFAULT_CATALOG: &str = "default_catalog";
/// The name of `public/default` in it.
pub const DEFAULT_DATABASE: &str = "default_database";

const CATALOGS: &str = "catalogs";
/// What the tables of a catalog lie under whose definitions have a place of their own: the same for all that name this place.
const SHARED: &str = "shared";

/// All catalogs of a data directory.
#[derive(Debug)]
pub struct Catalogs {
    shared: Arc<Shared>,
    catalogs: RwLock<BTreeMap<String, Arc<Catalog>>>,
}

/// What the catalogs of a data directory share.
#[derive(Debug)]
pub(crate) struct Shared {
    data_dir: PathBuf,
    pub definitions: Definitions,
    /// Logs that are open, with what opened them.
    logs: Mutex<Vec<(LogKey, Arc<dyn Log>)>>,
}

/// What tells logs apart.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // a handful of them live at a time
enum LogKey {
    Folder(PathBuf),
    Cluster(PulsarConfig),
}

/// A catalog as it is stored. Its tables lie under its id, so that one made again under the name does not inherit them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredCatalog {
    id: Uuid,
    definition: CatalogDefinition,
}

impl Catalogs {
    /// Opens the definitions under `data_dir`. Opens no log: the embedded one is opened (and locked) on first use.
    pub async fn open(data_dir: PathBuf) -> Result<Arc<Self>> {
        Self::open_with(data_dir, EmbeddedSettings::default()).await
    }

    /// As [`Catalogs::open`], with other settings for the data directory's own log.
    pub async fn open_with(data_dir: PathBuf, settings: EmbeddedSettings) -> Result<Arc<Self>> {
        let data_dir = std::path::absolute(&data_dir)
            .map_err(|e| Error::invalid(format!("`{}` is no folder", data_dir.display())).with_source(e))?;
        let definitions = Definitions::open(&data_dir.join("catalog"))?;
        let shared = Arc::new(Shared { definitions, logs: Mutex::default(), data_dir });
        let mut catalogs = BTreeMap::new();
        let default = default_catalog(&shared, settings)?;
        catalogs.insert(DEFAULT_CATALOG.to_string(), Arc::new(default));
        for name in shared.definitions.names(&[CATALOGS]).await? {
            if let Some(stored) = shared.definitions.load::<StoredCatalog>(&[CATALOGS, &name]).await? {
                catalogs.insert(name, Arc::new(shared.catalog(stored.body)?));
            }
        }
        Ok(Arc::new(Self { shared, catalogs: RwLock::new(catalogs) }))
    }

    /// Names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.catalogs.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// A catalog by name: exactly, or without case if exactly one fits.
    pub fn get(&self, name: &str) -> Result<Arc<Catalog>> {
        let names = self.names();
        let found = find(name, &names)
            .and_then(|name| self.catalogs.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned());
        found.ok_or_else(|| {
            Error::invalid(format!("there is no catalog `{name}`{}", suggestion(name, &names, "catalogs")))
        })
    }

    /// Adds a catalog durably. Connects to nothing; unknown option keys are refused with the nearest known one.
    pub async fn create(&self, mut definition: CatalogDefinition, if_not_exists: bool) -> Result<()> {
        definition.options = options::check_catalog(definition.options)?.options;
        let name = definition.name.clone();
        let exists = || Error::invalid(format!("there is a catalog `{name}` already"));
        if name == DEFAULT_CATALOG {
            return if if_not_exists { Ok(()) } else { Err(exists()) };
        }
        let fresh = StoredCatalog { id: Uuid::new_v4(), definition };
        // Built before it is stored: what cannot be used is not kept.
        let built = self.shared.catalog(fresh.clone())?;
        let decide = |found: Option<&Stored<StoredCatalog>>| match found {
            Some(found) if found.body == fresh => Ok(Change::Keep),
            Some(_) if if_not_exists => Ok(Change::Keep),
            Some(_) => Err(exists()),
            None => Ok(Change::Put(fresh.clone())),
        };
        let stored = self.shared.definitions.change(&[CATALOGS, &name], decide).await?;
        let catalog = match stored {
            Some(stored) if stored.body != fresh => self.shared.catalog(stored.body)?,
            _ => built,
        };
        self.catalogs.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(catalog));
        Ok(())
    }

    /// Makes another definition of a catalog's, durably; its tables stay. `change` is given what is stored then, which another process may have changed
    /// since this one read it, and is asked again if another one is faster.
    pub async fn alter(
        &self,
        name: &str,
        mut change: impl FnMut(&CatalogDefinition) -> Result<CatalogDefinition>,
    ) -> Result<()> {
        let name = self.get(name)?.definition().name.clone();
        if name == DEFAULT_CATALOG {
            return Err(Error::invalid(
                "the catalog `default_catalog` is the data directory's own and cannot be changed",
            ));
        }
        let decide = |found: Option<&Stored<StoredCatalog>>| match found {
            Some(found) => {
                let mut definition = change(&found.body.definition)?;
                definition.options = options::check_catalog(definition.options)?.options;
                options::catalog_settings(&definition.options)?;
                let place = |definition: &CatalogDefinition| definition.options.get("definitions").cloned();
                if place(&definition) != place(&found.body.definition) {
                    return Err(Error::invalid(format!(
                        "the option `definitions` of the catalog `{name}` cannot be changed: its tables would stay where they are; make another catalog"
                    )));
                }
                Ok(Change::Put(StoredCatalog { id: found.body.id, definition }))
            }
            None => Err(Error::invalid(format!("there is no catalog `{name}`: someone else dropped it"))),
        };
        if let Some(stored) = self.shared.definitions.change(&[CATALOGS, &name], decide).await? {
            let catalog = Arc::new(self.shared.catalog(stored.body)?);
            self.catalogs.write().unwrap_or_else(PoisonError::into_inner).insert(name, catalog);
        }
        Ok(())
    }

    /// Removes a catalog's definition (never its topics).
    pub async fn drop_catalog(&self, name: &str, if_exists: bool) -> Result<()> {
        if name == DEFAULT_CATALOG {
            return Err(Error::invalid("the catalog `default_catalog` is always there and cannot be dropped"));
        }
        let name = match self.get(name) {
            Ok(catalog) => catalog.definition().name.clone(),
            Err(_) if if_exists => return Ok(()),
            Err(error) => return Err(error),
        };
        self.shared.definitions.change::<StoredCatalog>(&[CATALOGS, &name], |_| Ok(Change::Drop)).await?;
        self.catalogs.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
        Ok(())
    }
}

/// The embedded log of the data directory, as a catalog.
fn default_catalog(shared: &Arc<Shared>, settings: EmbeddedSettings) -> Result<Catalog> {
    let folder = shared.data_dir.join("log");
    let options = [
        ("type", "embedded".to_string()),
        ("service-url", format!("embedded:{}", folder.display())),
        ("default-database", DEFAULT_DATABASE.to_string()),
    ];
    let options: BTreeMap<_, _> = options.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
    let defaults = options::catalog_settings(&options)?;
    let settings = CatalogSettings { log: LogSettings::Embedded(folder, settings), ..defaults };
    let definition = CatalogDefinition { name: DEFAULT_CATALOG.to_string(), options, comment: None };
    let definitions = shared.definitions.clone();
    Ok(Catalog::new(DEFAULT_CATALOG.to_string(), definition, settings, definitions, Arc::clone(shared)))
}

impl Shared {
    fn catalog(self: &Arc<Self>, stored: StoredCatalog) -> Result<Catalog> {
        let name = &stored.definition.name;
        encode(name)?;
        let settings = options::catalog_settings(&stored.definition.options)
            .map_err(|error| error.context(format!("the catalog `{name}`")))?;
        let (id, definitions) = match &settings.definitions {
            None => (stored.id.to_string(), self.definitions.clone()),
            Some(place) => (SHARED.to_string(), Definitions::at(place, &stored.definition.options)?),
        };
        Ok(Catalog::new(id, stored.definition, settings, definitions, Arc::clone(self)))
    }

    /// The log that these settings name, opened on first use. Of an embedded log that is open already the settings stay as they are.
    pub async fn log(&self, settings: &LogSettings) -> Result<Arc<dyn Log>> {
        let key = match settings {
            LogSettings::Embedded(folder, _) => LogKey::Folder(folder.clone()),
            LogSettings::Pulsar(config) => LogKey::Cluster(config.clone()),
        };
        let mut logs = self.logs.lock().await;
        if let Some((_, log)) = logs.iter().find(|(open, _)| *open == key) {
            return Ok(Arc::clone(log));
        }
        let log: Arc<dyn Log> = match settings {
            LogSettings::Embedded(folder, settings) => {
                let (folder, settings) = (folder.clone(), settings.clone());
                let opened = tokio::task::spawn_blocking(move || EmbeddedLog::open(&folder, settings)).await;
                opened.map_err(|error| Error::internal("opening the embedded log").with_source(error))??
            }
            LogSettings::Pulsar(config) => Arc::new(PulsarLog::new(config.clone())?),
        };
        logs.push((key, Arc::clone(&log)));
        Ok(log)
    }

    /// Where archives lie: at the URL that is said, else in the data directory, in a folder for each catalog.
    pub fn archive(&self, url: Option<&str>, catalog: &str) -> Result<ArchiveLocation> {
        match url {
            Some(url) => ArchiveLocation::open(url),
            None => ArchiveLocation::local(&self.data_dir.join("archive").join(encode(catalog)?)),
        }
    }
}

#[cfg(test)]
mod tests;
