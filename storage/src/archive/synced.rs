//! A local directory as an object store whose creations survive a power cut.
//!
//! ```text
//!  NAME#digits  ─ write ─ sync ─► hard link to NAME (fails if NAME is there) ─► sync the folders ─► answer
//! ```
//!
//! An object is visible only when all its bytes are on the disk. Its *name* may be visible a moment before the folder is synced, so who makes
//! something depend on another's object (the archiver, before it moves the pin) calls [`SyncedLocal::settle`] first. A name that ends in `#digits` is left
//! over from a writer that was killed; `object_store` does not list such names.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Folders above an object that may be new with it: the chain's, the partition's, the topic's, the archive's and the one that holds it.
const NEW_FOLDERS: usize = 5;

/// Local files, synced.
#[derive(Debug)]
pub(super) struct SyncedLocal(LocalFileSystem);

impl SyncedLocal {
    pub fn new(local: LocalFileSystem) -> Self {
        Self(local)
    }

    /// Makes durable that an object is there, whoever created it.
    pub async fn settle(&self, location: &Path) -> Result<()> {
        let path = self.0.path_to_filesystem(location)?;
        tokio::task::spawn_blocking(move || sync_folders(&path)).await?.map_err(generic)
    }
}

fn generic(source: io::Error) -> Error {
    Error::Generic { store: "local", source: Box::new(source) }
}

fn sync_folders(path: &FilePath) -> io::Result<()> {
    for folder in path.ancestors().skip(1).take(NEW_FOLDERS).filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Creates a file that is not there yet: whole and on the disk before it has its name.
fn create(path: &FilePath, payload: &PutPayload) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{}", uuid::Uuid::new_v4().as_u128()));
    let staged = PathBuf::from(name);
    let linked = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&staged)?;
        payload.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        fs::hard_link(&staged, path)
    })();
    // What cannot be removed is not listed either.
    let _ = fs::remove_file(&staged);
    linked?;
    sync_folders(path)
}

impl fmt::Display for SyncedLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "synced {}", self.0)
    }
}

fn not_built(operation: &str) -> Error {
    // Its end could not be synced here; nothing of ours does it.
    Error::NotImplemented { operation: operation.to_string(), implementer: "SyncedLocal".to_string() }
}

#[async_trait]
impl ObjectStore for SyncedLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != object_store::PutMode::Create {
            return Err(not_built("overwriting"));
        }
        let path = self.0.path_to_filesystem(location)?;
        match tokio::task::spawn_blocking(move || create(&path, &payload)).await? {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: location.to_string(), source: Box::new(error) })
            }
            Err(error) => Err(generic(error)),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_built("multipart upload"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_built("copying"))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::{ObjectStoreExt, PutMode};

    use super::*;

    #[tokio::test]
    async fn a_name_is_given_once_and_what_a_killed_writer_left_is_not_listed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SyncedLocal::new(LocalFileSystem::new());
        let root = Path::from_absolute_path(folder.path()).expect("a path");
        let (name, options) = (root.clone().join("a").join("m").join("7"), PutOptions::from(PutMode::Create));
        store.put_opts(&name, "one".into(), options.clone()).await.expect("created");
        let again = store.put_opts(&name, "two".into(), options).await.expect_err("there already");
        assert!(matches!(again, Error::AlreadyExists { .. }), "{again:?}");
        store.settle(&name).await.expect("synced");
        fs::write(folder.path().join("a/m/8#340282366920938463463374607431768211455"), "torn").expect("written");
        assert!(!folder.path().join("a/m").read_dir().expect("listed").flatten().any(|e| {
            let name = e.file_name();
            name.to_string_lossy().starts_with("7#")
        }));
        let listed: Vec<_> = store.list(Some(&root)).try_collect().await.expect("listed");
        assert_eq!(listed.iter().map(|meta| meta.location.clone()).collect::<Vec<_>>(), std::slice::from_ref(&name));
        let bytes = store.get(&name).await.expect("there").bytes().await.expect("readable");
        assert_eq!(bytes.as_ref(), b"one");
    }
}
