//! Where definitions lie: versioned JSON, committed by create-if-absent.
//!
//! ```text
//!  read newest (n) ─► decide ─► create n+1 if absent ─┬─► done
//!        ▲                                            └─ taken: read it back; ours? done; else decide again ─┐
//!        └───────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Each definition has a chain of its own; an object is never rewritten and never deleted (a dropped definition is a version without
//! a body), so two processes never overwrite each other. The bytes are described in `docs/formats/definitions.md`.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use aquifer_model::{Error, Result};
use aquifer_storage::archive::ArchiveLocation;
use aquifer_storage::s3;
use bytes::Bytes;
use object_store::path::{Path, PathPart};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::names::{decode, encode};

const MAGIC: &str = "aquifer-definition";
const FORMAT: u32 = 1;
/// A longer definition is refused, written or read.
const MAX_BYTES: u64 = 4 << 20;
/// How often a change is decided again because someone else was faster.
const MAX_TRIES: usize = 1000;
/// The object by which a store proves that it creates only what is absent.
const PROOF: &str = "create-if-absent";

/// The definitions under one prefix of a store.
#[derive(Debug, Clone)]
pub struct Definitions {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    place: String,
    /// Made on the first write, for the owner alone: options may hold secrets.
    folder: Option<PathBuf>,
    /// Whether the store has proven that it creates only what is absent; `None`: it is known to.
    proven: Option<Arc<OnceCell<()>>>,
}

/// A definition as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// Its version: 1 is the first. Versions of dropped definitions are not used again.
    pub version: u64,
    /// What it is.
    pub body: T,
}

/// What a change makes of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// Nothing.
    Keep,
    /// This.
    Put(T),
    /// It is no longer there.
    Drop,
}

/// The first line of an object; the body follows.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    magic: String,
    format: u32,
    /// Who wrote it: tells a writer that lost the answer whether it is its own.
    token: Uuid,
    /// Bytes of the body.
    bytes: u64,
    /// CRC32C of the body.
    crc32c: u32,
}

/// A version as it was read.
struct Version<T> {
    number: u64,
    /// `None`: dropped.
    body: Option<T>,
}

impl Definitions {
    /// Definitions in a folder of this machine. Makes nothing before the first write.
    pub fn open(folder: &FilePath) -> Result<Self> {
        let location = ArchiveLocation::local(folder)?;
        Ok(Self {
            store: location.store,
            prefix: location.prefix,
            place: location.url,
            folder: Some(folder.to_path_buf()),
            proven: None,
        })
    }

    /// Definitions at an address: `s3://BUCKET/PREFIX`, reached as the options say, or a folder (`file:///PATH`, or its path alone). Connects to nothing.
    pub fn at(address: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        if !s3::is_address(address) {
            return Self::open(FilePath::new(address.strip_prefix("file://").unwrap_or(address)));
        }
        let bucket = s3::open(address, options)?;
        let prefix = Path::parse(&bucket.prefix)
            .map_err(|error| Error::invalid(format!("`{address}` is no place in a bucket")).with_source(error))?;
        Ok(Self { place: bucket.root, ..Self::in_store(bucket.store, prefix) })
    }

    /// Definitions in another store.
    pub fn in_store(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, place: prefix.to_string(), prefix, folder: None, proven: Some(Arc::default()) }
    }

    /// A definition by its key, as it is now; `None` if there is none or it was dropped.
    pub async fn load<T: DeserializeOwned>(&self, key: &[&str]) -> Result<Option<Stored<T>>> {
        let newest = self.newest(&self.path(key)?).await?;
        Ok(newest.and_then(|version| Some(Stored { version: version.number, body: version.body? })))
    }

    /// The names below a key, sorted, those of dropped definitions too.
    pub async fn names(&self, key: &[&str]) -> Result<Vec<String>> {
        let path = self.path(key)?;
        let listed = self.store.list_with_delimiter(Some(&path)).await.map_err(|e| self.failed("listing", &path, e))?;
        let mut names: Vec<String> =
            listed.common_prefixes.iter().filter_map(|path| decode(path.filename()?)).collect();
        names.sort();
        Ok(names)
    }

    /// Changes a definition. `decide` is asked with what is there, and again each time someone else was faster. Gives what is stored then.
    /// An `Unavailable` error may mean that it is stored.
    pub async fn change<T: Serialize + DeserializeOwned>(
        &self,
        key: &[&str],
        mut decide: impl FnMut(Option<&Stored<T>>) -> Result<Change<T>>,
    ) -> Result<Option<Stored<T>>> {
        let path = self.path(key)?;
        let token = Uuid::new_v4();
        for _ in 0..MAX_TRIES {
            let newest = self.newest(&path).await?;
            let number = newest.as_ref().map_or(0, |version| version.number) + 1;
            let current = newest.and_then(|version| Some(Stored { version: version.number, body: version.body? }));
            let body = match decide(current.as_ref())? {
                Change::Keep => return Ok(current),
                Change::Drop if current.is_none() => return Ok(None),
                Change::Put(body) => Some(body),
                Change::Drop => None,
            };
            if self.create(&path, number, token, write(token, body.as_ref())?).await? {
                return Ok(body.map(|body| Stored { version: number, body }));
            }
        }
        Err(Error::unavailable(format!(
            "changing `{path}` in {}: others change it all the time; try again",
            self.place
        )))
    }

    /// Creates version `number`; false if another one took it.
    async fn create(&self, path: &Path, number: u64, token: Uuid, bytes: Vec<u8>) -> Result<bool> {
        self.make_folder()?;
        self.prove().await?;
        let object = version_path(path, number);
        match self.put(&object, bytes).await {
            Ok(_) => Ok(true),
            // A store may have tried twice and met itself.
            Err(object_store::Error::AlreadyExists { .. }) => Ok(self.read_token(&object).await? == token),
            Err(error) => Err(self.failed("writing", &object, error)),
        }
    }

    async fn put(&self, object: &Path, bytes: impl Into<PutPayload>) -> object_store::Result<()> {
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        self.store.put_opts(object, bytes.into(), options).await.map(|_| ())
    }

    /// That the store does not overwrite what is there, once a process before it writes: there are stores that take the condition and do not look at it.
    async fn prove(&self) -> Result<()> {
        let Some(proven) = &self.proven else { return Ok(()) };
        let asked = proven.get_or_try_init(|| async {
            let object = self.prefix.clone().join(PROOF);
            for _ in 0..2 {
                match self.put(&object, PROOF.as_bytes()).await {
                    Ok(()) => {}
                    Err(object_store::Error::AlreadyExists { .. }) => return Ok(()),
                    Err(error) => return Err(self.failed("writing", &object, error)),
                }
            }
            Err(Error::unsupported(format!(
                "the store of {} wrote `{object}` twice: it overwrites what is to be created only where it is absent (`If-None-Match: *`), and definitions \
                 would be lost there; use a store that knows conditional writes, or a folder",
                self.place
            )))
        });
        asked.await.map(|_| ())
    }

    async fn newest<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<Version<T>>> {
        let listed = self.store.list_with_delimiter(Some(path)).await.map_err(|e| self.failed("listing", path, e))?;
        let numbers = listed.objects.iter().filter_map(|object| version_number(object.location.filename()?));
        let Some(number) = numbers.max() else { return Ok(None) };
        let object = version_path(path, number);
        let bytes = self.get(&object).await?;
        let (_, body) = self.read(&object, &bytes)?;
        let body = serde_json::from_slice(body).map_err(|error| {
            Error::corrupt(format!("`{object}` in {} is no definition of this version", self.place)).with_source(error)
        })?;
        Ok(Some(Version { number, body }))
    }

    async fn read_token(&self, object: &Path) -> Result<Uuid> {
        let bytes = self.get(object).await?;
        Ok(self.read(object, &bytes)?.0.token)
    }

    async fn get(&self, object: &Path) -> Result<Bytes> {
        let result = self.store.get(object).await.map_err(|e| self.failed("reading", object, e))?;
        if result.meta.size > MAX_BYTES {
            return Err(Error::corrupt(format!(
                "`{object}` in {} has {} bytes: a definition has at most {MAX_BYTES}",
                self.place, result.meta.size
            )));
        }
        result.bytes().await.map_err(|e| self.failed("reading", object, e))
    }

    /// Header and body of an object, checked.
    fn read<'a>(&self, object: &Path, bytes: &'a [u8]) -> Result<(Header, &'a [u8])> {
        let wrong = |what: &str| {
            Error::corrupt(format!(
                "`{object}` in {}: {what}; if the machine stopped while it was written, delete this file",
                self.place
            ))
        };
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| wrong("it is cut off"))?;
        let header: Header = serde_json::from_slice(&bytes[..end]).map_err(|_| wrong("it is no definition"))?;
        if header.magic != MAGIC {
            return Err(wrong("it is no definition"));
        }
        if header.format != FORMAT {
            return Err(Error::unsupported(format!(
                "`{object}` in {} has format {}: this version reads {FORMAT}",
                self.place, header.format
            )));
        }
        let body = &bytes[end + 1..];
        if body.len() as u64 != header.bytes || crc32c::crc32c(body) != header.crc32c {
            return Err(wrong("its length or checksum is wrong"));
        }
        Ok((header, body))
    }

    fn path(&self, key: &[&str]) -> Result<Path> {
        key.iter().try_fold(self.prefix.clone(), |path, part| Ok(path.join(PathPart::from(encode(part)?))))
    }

    fn make_folder(&self) -> Result<()> {
        let Some(folder) = self.folder.as_ref().filter(|folder| !folder.is_dir()) else { return Ok(()) };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let sync = |path: &FilePath| std::fs::File::open(path)?.sync_all();
        builder
            .create(folder)
            .and_then(|()| folder.parent().map_or(Ok(()), sync))
            .map_err(|error| Error::unavailable(format!("making {}", folder.display())).with_source(error))
    }

    fn failed(&self, doing: &str, path: &Path, error: object_store::Error) -> Error {
        use object_store::Error as E;
        let doing = format!("{doing} `{path}` in {}", self.place);
        let failed = match &error {
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Error::denied(doing),
            E::NotSupported { .. } | E::NotImplemented { .. } => Error::unsupported(format!(
                "{doing}: the store does not know how to create an object only where it is absent, which definitions need"
            )),
            _ => Error::unavailable(doing),
        };
        failed.with_source(error)
    }
}

fn version_path(path: &Path, number: u64) -> Path {
    path.clone().join(format!("{number:020}.json"))
}

fn version_number(file_name: &str) -> Option<u64> {
    file_name.strip_suffix(".json").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// The bytes of a version.
fn write<T: Serialize>(token: Uuid, body: Option<&T>) -> Result<Vec<u8>> {
    let failed = |error: serde_json::Error| Error::internal("writing a definition").with_source(error);
    let body = serde_json::to_vec_pretty(&body).map_err(failed)?;
    if body.len() as u64 >= MAX_BYTES {
        return Err(Error::invalid(format!("a definition has at most {MAX_BYTES} bytes; this one has {}", body.len())));
    }
    let crc32c = crc32c::crc32c(&body);
    let header = Header { magic: MAGIC.to_string(), format: FORMAT, token, bytes: body.len() as u64, crc32c };
    let mut bytes = serde_json::to_vec(&header).map_err(failed)?;
    bytes.push(b'\n');
    bytes.extend(body);
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod failing;

#[cfg(test)]
mod tests {
    use aquifer_model::ErrorKind;

    use super::failing::Failing;
    use super::*;

    fn put(body: u32) -> impl FnMut(Option<&Stored<u32>>) -> Result<Change<u32>> {
        move |_| Ok(Change::Put(body))
    }

    #[tokio::test]
    async fn what_was_stored_last_is_found_also_by_another_process_and_after_a_drop() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("catalog");
        let one = Definitions::open(&path).expect("opens");
        assert_eq!(one.load::<u32>(&["a", "B/c"]).await.expect("asked"), None);
        assert!(!path.exists(), "reading makes nothing");
        assert_eq!(one.change(&["a", "B/c"], put(1)).await.expect("stored"), Some(Stored { version: 1, body: 1 }));
        one.change(&["a", "d"], put(5)).await.expect("stored");
        let other = Definitions::open(&path).expect("opens");
        assert_eq!(other.load(&["a", "B/c"]).await.expect("asked"), Some(Stored { version: 1, body: 1 }));
        assert_eq!(other.names(&["a"]).await.expect("asked"), ["B/c", "d"]);
        other.change::<u32>(&["a", "B/c"], |_| Ok(Change::Drop)).await.expect("dropped");
        assert_eq!(one.load::<u32>(&["a", "B/c"]).await.expect("asked"), None);
        assert_eq!(one.change(&["a", "B/c"], put(7)).await.expect("stored"), Some(Stored { version: 3, body: 7 }));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_writers_that_race_none_overwrites_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let definitions = Definitions::open(folder.path()).expect("opens");
                tokio::spawn(async move {
                    for _ in 0..15 {
                        let add = |found: Option<&Stored<u32>>| Ok(Change::Put(found.map_or(0, |f| f.body) + 1));
                        definitions.change(&["counter"], add).await.expect("stored");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("no panic");
        }
        let found = Definitions::open(folder.path()).expect("opens").load(&["counter"]).await.expect("asked");
        assert_eq!(found, Some(Stored { version: 60, body: 60u32 }));
    }

    #[tokio::test]
    async fn a_crash_while_writing_leaves_the_old_version_or_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let definitions = Definitions::open(folder.path()).expect("opens");
        definitions.change(&["a"], put(1)).await.expect("stored");
        let first = folder.path().join("a/00000000000000000001.json");
        let second = folder.path().join("a/00000000000000000002.json");
        // Before the link: only the staging file is there.
        std::fs::write(folder.path().join("a/00000000000000000002.json#1"), "half").expect("written");
        assert_eq!(definitions.load(&["a"]).await.expect("asked"), Some(Stored { version: 1, body: 1u32 }));
        // After the link, before the sync, and then no power: any part of it may be there.
        let whole = std::fs::read(&first).expect("there");
        for length in 0..whole.len() {
            std::fs::write(&second, &whole[..length]).expect("written");
            let error = definitions.load::<u32>(&["a"]).await.expect_err("cut off");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}: {error}");
            assert!(error.to_string().contains("00000000000000000002.json"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_version_of_ours_that_we_were_not_told_of_is_recognised() {
        let definitions = Definitions::in_store(Arc::new(object_store::memory::InMemory::new()), "d".into());
        let path = definitions.path(&["a"]).expect("a key");
        let (mine, other) = (Uuid::new_v4(), Uuid::new_v4());
        let bytes = |token| write(token, Some(&1u32)).expect("small");
        assert!(definitions.create(&path, 1, mine, bytes(mine)).await.expect("created"));
        assert!(definitions.create(&path, 1, mine, bytes(mine)).await.expect("created before"));
        assert!(!definitions.create(&path, 1, other, bytes(other)).await.expect("taken"));
    }

    #[tokio::test]
    async fn a_store_that_overwrites_takes_no_definition() {
        let overwrites = Arc::new(Failing { overwrites: true, ..Failing::default() });
        let definitions = Definitions::in_store(overwrites, "d".into());
        for _ in 0..2 {
            let error = definitions.change(&["a"], put(1)).await.expect_err("not safe");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("overwrites"), "{error}");
        }
        assert_eq!(definitions.load::<u32>(&["a"]).await.expect("asked"), None);

        let creates = Arc::new(Failing::default());
        for body in [1, 2] {
            // Two processes: the second one finds the proof.
            let definitions = Definitions::in_store(creates.clone(), "d".into());
            definitions.change(&["a"], put(body)).await.expect("stored");
            assert_eq!(definitions.names(&[]).await.expect("listed"), ["a"], "the proof is no definition");
        }
    }
}
