//! Files of an S3 bucket: `'path' = 's3://BUCKET/PREFIX'`.
//!
//! ```text
//!  reading  one GET of a block at a time, of the object that it was when it was opened (its ETag)
//!  writing  parts of an upload that nobody sees ─► complete: the object is there at once, whole
//! ```
//!
//! All methods wait: they are called from threads that may block.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aquifer_model::{Error, Result};
use aquifer_storage::s3;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::paths::{self, MAX_FILES};

/// A bucket and how it is reached.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    /// `s3://BUCKET`
    root: String,
}

/// An upload whose parts are all there, and which is no object yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Upload {
    pub id: String,
    pub parts: Vec<String>,
}

/// Where a path lies: itself and its bucket, or the local path that it means. The options say how a bucket is reached.
pub(super) fn located(path: &str, options: &BTreeMap<String, String>) -> Result<(PathBuf, Option<Bucket>)> {
    match s3::is_address(path) {
        true => Ok((PathBuf::from(path), Some(Bucket::of(path, options)?))),
        false => Ok((paths::local(path)?, None)),
    }
}

/// The files that a path means, sorted, in a bucket if it lies in one. Fails with `Invalid` where there is nothing.
pub(super) fn files(path: &Path, bucket: Option<&Bucket>) -> Result<Vec<PathBuf>> {
    match bucket {
        Some(bucket) => bucket.files(path),
        None => paths::files(path),
    }
}

impl Bucket {
    /// The bucket of a path. Fails with `Invalid` on options that contradict each other.
    pub fn of(path: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let s3::OpenBucket { store, root, .. } = s3::open(path, options)?;
        Ok(Self { store, root })
    }

    fn key(&self, path: &Path) -> Result<Key> {
        let text = path.to_string_lossy();
        let key = text.strip_prefix(&self.root).unwrap_or(&text).trim_matches('/');
        Key::parse(key).map_err(|error| Error::invalid(format!("`{text}` is no path in a bucket")).with_source(error))
    }

    fn wait<T>(&self, doing: &str, path: &Path, work: impl Future<Output = object_store::Result<T>>) -> Result<T> {
        Handle::current().block_on(work).map_err(|error| failed(doing, path, error))
    }

    /// The files that a path means, sorted: an object, all below a prefix, or those that fit a pattern. Fails with `Invalid` where there is nothing.
    pub fn files(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let found = self.files_or_none(path)?;
        if found.is_empty() {
            let what = if paths::has_pattern(path) { "no object matches" } else { "there is no object or prefix" };
            return Err(Error::invalid(format!("{what} `{}`", path.display())));
        }
        Ok(found)
    }

    /// The same, also of nothing.
    pub fn files_or_none(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let key = self.key(path)?;
        let object = |key: &Key| PathBuf::from(format!("{}/{key}", self.root));
        if !key.as_ref().is_empty() && self.length(path)?.is_some() {
            return Ok(vec![object(&key)]);
        }
        let literal: Vec<&str> = key.as_ref().split('/').filter(|part| !part.is_empty()).collect();
        let mut found = self.listed(&literal, path)?;
        found.retain(|key| paths::is_below(&key[literal.len().min(key.len())..]));
        if found.is_empty() && paths::has_pattern(path) {
            let is_plain = |part: &&&str| !paths::has_pattern(Path::new(part));
            let plain: Vec<&str> = literal.iter().take_while(is_plain).copied().collect();
            let pattern = paths::Pattern::new(&literal)?;
            found = self.listed(&plain, path)?;
            found.retain(|key| pattern.fits(key));
        }
        if found.len() > MAX_FILES {
            return Err(Error::invalid(format!("the path means more than {MAX_FILES} files: give a narrower one")));
        }
        let mut files: Vec<PathBuf> =
            found.into_iter().map(|key| PathBuf::from(format!("{}/{}", self.root, key.join("/")))).collect();
        files.sort();
        Ok(files)
    }

    /// The keys of all objects below a prefix, in their parts.
    fn listed(&self, prefix: &[&str], path: &Path) -> Result<Vec<Vec<String>>> {
        let prefix = Key::parse(prefix.join("/")).map_err(|error| Error::invalid(error.to_string()))?;
        let keys = self
            .store
            .list((!prefix.as_ref().is_empty()).then_some(&prefix))
            .map_ok(|object| object.location.as_ref().split('/').map(ToString::to_string).collect::<Vec<_>>());
        self.wait("listing", path, keys.try_collect())
    }

    /// How long an object is; `None` if there is none.
    fn length(&self, path: &Path) -> Result<Option<u64>> {
        let key = self.key(path)?;
        match Handle::current().block_on(self.store.head(&key)) {
            Ok(object) => Ok(Some(object.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("reading", path, error)),
        }
    }

    /// An object's length and its ETag.
    pub fn head(&self, path: &Path) -> Result<(u64, Option<String>)> {
        let object = self.wait("opening", path, self.store.head(&self.key(path)?))?;
        Ok((object.size, object.e_tag))
    }

    /// Bytes of an object, if it is still the one with this ETag.
    pub fn read(&self, path: &Path, e_tag: Option<&String>, range: Range<u64>) -> Result<Bytes> {
        let options = GetOptions { range: Some(range.into()), if_match: e_tag.cloned(), ..GetOptions::default() };
        let key = self.key(path)?;
        self.wait("reading", path, async { self.store.get_opts(&key, options).await?.bytes().await })
    }

    /// Begins an upload.
    pub fn begin(&self, path: &Path) -> Result<String> {
        self.wait("beginning the upload of", path, self.store.create_multipart(&self.key(path)?))
    }

    /// One part, from 0; all but the last have at least 5 MiB.
    pub fn put(&self, path: &Path, id: &str, part: usize, bytes: Vec<u8>) -> Result<String> {
        let key = self.key(path)?;
        let id = id.to_string();
        let put = self.store.put_part(&key, &id, part, bytes.into());
        Ok(self.wait("uploading", path, put)?.content_id)
    }

    /// Makes the object of an upload. One that is there already, with its upload gone, is left alone.
    pub fn complete(&self, path: &Path, upload: &Upload) -> Result<()> {
        let parts = upload.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
        let key = self.key(path)?;
        match Handle::current().block_on(self.store.complete_multipart(&key, &upload.id, parts)) {
            Ok(_) => Ok(()),
            Err(error) => match self.length(path) {
                Ok(Some(_)) => Ok(()),
                _ => Err(failed("publishing", path, error)),
            },
        }
    }

    /// Forgets an upload, later and as well as it goes: what stays of it costs room until the bucket's own rule for unfinished uploads removes it.
    pub fn abort(&self, path: &Path, id: String) {
        let (Ok(key), Ok(room)) = (self.key(path), Handle::try_current()) else { return };
        let store = Arc::clone(&self.store);
        room.spawn(async move { store.abort_multipart(&key, &id).await });
    }

    /// Removes an object; one that is not there is no error.
    pub fn remove(&self, path: &Path) -> Result<()> {
        match self.wait("removing", path, self.store.delete(&self.key(path)?)) {
            Err(error) if error.kind() == aquifer_model::ErrorKind::Gone => Ok(()),
            removed => removed,
        }
    }
}

/// What failed with an object, with a prescriptive kind.
fn failed(doing: &str, path: &Path, error: object_store::Error) -> Error {
    use object_store::Error as E;
    let message = format!("{doing} `{}`", path.display());
    let failed = match &error {
        E::NotFound { .. } => Error::gone(message),
        E::Precondition { .. } => Error::gone(format!("{message}: it was replaced since it was opened")),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => Error::denied(message),
        _ => Error::unavailable(message),
    };
    failed.with_source(error)
}
