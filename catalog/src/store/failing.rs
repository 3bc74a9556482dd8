//! A store for tests that fails: at a certain write, with or without its effect, or by not looking at the condition of a write.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

/// A store in memory that fails as it is told to.
#[derive(Debug)]
pub(crate) struct Failing {
    /// What it has.
    pub store: InMemory,
    /// So many objects it takes, and fails from then on.
    pub left: AtomicUsize,
    /// Whether the last one of these is there and its answer is lost.
    pub loses_answer: bool,
    /// Whether it overwrites what it should create only where it is absent.
    pub overwrites: bool,
}

impl Default for Failing {
    fn default() -> Self {
        Self { store: InMemory::new(), left: AtomicUsize::new(usize::MAX), loses_answer: false, overwrites: false }
    }
}

impl Failing {
    fn error() -> object_store::Error {
        object_store::Error::Generic { store: "test", source: "the power is out".into() }
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        let mode = if self.overwrites { PutMode::Overwrite } else { options.mode };
        let options = PutOptions { mode, ..options };
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(1) if self.loses_answer => {
                self.store.put_opts(at, payload, options).await?;
                Err(Self::error())
            }
            Ok(_) => self.store.put_opts(at, payload, options).await,
            Err(_) => Err(Self::error()),
        }
    }

    async fn put_multipart_opts(&self, at: &Path, o: PutMultipartOptions) -> StoreResult<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(at, o).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.store.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.store.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, at: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.store.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.store.copy_opts(from, to, options).await
    }
}
