//! A local directory as an object store whose writes survive a power cut: file and folders are synced before a put is answered.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// Local files, synced.
#[derive(Debug)]
pub(super) struct SyncedLocal(LocalFileSystem);

impl SyncedLocal {
    pub fn new(local: LocalFileSystem) -> Self {
        Self(local)
    }

    async fn sync(&self, location: &Path) -> Result<()> {
        let path = self.0.path_to_filesystem(location)?;
        let synced = tokio::task::spawn_blocking(move || sync_with_folders(path)).await?;
        synced.map_err(|source| object_store::Error::Generic { store: "local", source: Box::new(source) })
    }
}

/// Syncs a file and the folders above it that may be new: the chain's, the topic's and the archive's.
fn sync_with_folders(path: PathBuf) -> std::io::Result<()> {
    File::open(&path)?.sync_all()?;
    for folder in path.ancestors().skip(1).take(5) {
        if !folder.as_os_str().is_empty() {
            File::open(folder)?.sync_all()?;
        }
    }
    Ok(())
}

impl fmt::Display for SyncedLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "synced {}", self.0)
    }
}

#[async_trait]
impl ObjectStore for SyncedLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let result = self.0.put_opts(location, payload, options).await?;
        self.sync(location).await?;
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        // Its end could not be synced here; nothing of ours writes in parts.
        Err(object_store::Error::NotImplemented {
            operation: "multipart upload".to_string(),
            implementer: "SyncedLocal".to_string(),
        })
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

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await?;
        self.sync(to).await
    }
}
