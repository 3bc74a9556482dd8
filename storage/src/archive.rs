//! The archive: Parquet files under a chain of numbered manifests for each topic partition (algorithm B).
//!
//! ```text
//!  <root>/<topic uuid>/<partition>/m/00000000000000000007          a manifest: created if absent, never rewritten
//!                                 /d/00000000000000000007-<uuid>.parquet   a data file for that version
//! ```
//!
//! A manifest covers the entries `(from, to]`, and `from` is its predecessor's `to`, so the files of a chain hold each entry once. The bytes are
//! described in `docs/formats/archive.md`.

pub mod archiver;
pub mod bulk;
pub mod chain;
pub mod continuity;
pub mod file;
pub mod hostile;
pub mod manifest;
mod moving;
pub mod policies;
pub mod status;
pub mod step;
mod synced;
pub mod thrift;
pub mod verify;

use std::path::Path;
use std::sync::Arc;

use aquifer_model::{Error, Partition, Result, TopicIdentity};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

/// Where archives lie: an object store and a prefix in it.
#[derive(Debug, Clone)]
pub struct ArchiveLocation {
    /// The store; a local directory is wrapped so that what is committed is synced first.
    pub store: Arc<dyn ObjectStore>,
    /// The prefix of all objects.
    pub prefix: object_store::path::Path,
    /// What to call it in messages.
    pub url: String,
    /// The wrapper in `store`, where it is one.
    local: Option<Arc<synced::SyncedLocal>>,
}

impl ArchiveLocation {
    /// Opens `file:///path` or a plain path as a local directory. Makes nothing: the first commit does.
    pub fn open(url: &str) -> Result<Self> {
        let path = match url.split_once("://") {
            None => url,
            Some(("file", path)) if path.starts_with('/') => path,
            Some((scheme, _)) => {
                return Err(Error::unsupported(format!(
                    "`{url}`: archives in `{scheme}://` are not built yet; use a local directory (file:///PATH)"
                )));
            }
        };
        Self::local(Path::new(path))
    }

    /// A local directory.
    pub fn local(path: &Path) -> Result<Self> {
        let absolute = std::path::absolute(path)
            .map_err(|error| Error::invalid(format!("`{}` is no folder", path.display())).with_source(error))?;
        let prefix = object_store::path::Path::from_absolute_path(&absolute)
            .map_err(|error| Error::invalid(format!("`{}` is no folder", path.display())).with_source(error))?;
        let store = Arc::new(synced::SyncedLocal::new(LocalFileSystem::new()));
        Ok(Self { store: store.clone(), prefix, url: absolute.display().to_string(), local: Some(store) })
    }

    /// A prefix of a store (tests, other object stores).
    pub fn in_store(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { store, prefix: prefix.into(), url: prefix.to_string(), local: None }
    }

    /// Whether no object is there at all.
    pub async fn is_empty(&self) -> Result<bool> {
        let first = self.store.list(Some(&self.prefix)).try_next().await;
        first.map(|object| object.is_none()).map_err(store_error("listing", &self.shown(&self.prefix)))
    }

    /// Makes durable that an object is there. Object stores answer only when it is; a local directory may show a name before.
    async fn settle(&self, path: &object_store::path::Path) -> Result<()> {
        match &self.local {
            Some(local) => local.settle(path).await.map_err(store_error("syncing", &self.shown(path))),
            None => Ok(()),
        }
    }

    /// An object's path as messages show it: that of a file is whole.
    pub fn shown(&self, path: &object_store::path::Path) -> String {
        match &self.local {
            Some(_) => format!("/{path}"),
            None => path.to_string(),
        }
    }

    /// Where the objects of one partition of a topic lie.
    pub fn chain(&self, identity: &TopicIdentity, partition: &Partition) -> object_store::path::Path {
        self.prefix.clone().join(identity.path_part()).join(partition.number().to_string())
    }
}

/// An error of the store while doing something with an object, whose path is shown so.
fn store_error(doing: &str, path: &str) -> impl FnOnce(object_store::Error) -> Error + use<> {
    let text = format!("{doing} `{path}`");
    move |error| match error {
        object_store::Error::NotFound { .. } => Error::gone(format!("{text}: it is not there")),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Error::denied(text).with_source(error)
        }
        _ => Error::unavailable(text).with_source(error),
    }
}
