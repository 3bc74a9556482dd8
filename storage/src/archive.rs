//! The archive: Parquet files under a chain of numbered manifests for each topic partition (algorithm B).
//!
//! ```text
//!  <root>/<topic uuid>/<partition>/m/00000000000000000007          a manifest: created if absent, never rewritten
//!                                 /d/00000000000000000007-<uuid>.parquet   a data file for that version
//! ```

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;

use aquifer_model::Result;

/// Where archives lie: an object store and a prefix in it.
#[derive(Debug, Clone)]
pub struct ArchiveLocation {
    /// The store; a local directory is wrapped so that what is committed is synced first.
    pub store: Arc<dyn ObjectStore>,
    /// The prefix of all objects.
    pub prefix: object_store::path::Path,
    /// What to call it in messages.
    pub url: String,
}

impl ArchiveLocation {
    /// Opens `file:///path` or a plain path as a local directory, made if it is not there.
    pub fn open(_url: &str) -> Result<Self> {
        todo!()
    }

    /// A local directory.
    pub fn local(path: &Path) -> Result<Self> {
        Self::open(&path.to_string_lossy())
    }
}
