//! A partition's chain of manifests: finding its end, reading its files, adding a link.

use aquifer_model::{Cut, Error, ErrorKind, Partition, Result, TopicIdentity};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};
use sha2::{Digest, Sha256};

use super::manifest::{DataFile, MAX_BYTES, Manifest, hex, sha256};
use super::{ArchiveLocation, store_error};

/// The chain of one partition in an archive.
#[derive(Debug, Clone)]
pub struct Chain {
    location: ArchiveLocation,
    folder: Path,
}

/// What a chain says now.
#[derive(Debug, Clone)]
pub struct ChainState {
    /// The newest manifest and its bytes.
    pub newest: Manifest,
    /// Its bytes, whose checksum the next one names.
    pub bytes: Bytes,
    /// All files that count, in log order, without holes from the log's start to `newest.to`.
    pub files: Vec<DataFile>,
}

impl ChainState {
    /// Up to here the archive covers.
    pub fn end(&self) -> Cut {
        self.newest.to
    }
}

/// What became of an attempt to add a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It is the chain's newest.
    Mine,
    /// Another's has this number.
    Lost,
    /// No manifest has this number: nothing happened, try again with a new token.
    Absent,
}

/// The number in a manifest's name: 20 digits, no other spelling.
fn parse_version(name: &str) -> Option<u64> {
    let number = name.parse().ok().filter(|number| *number < u64::MAX)?;
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

/// Settles an attempt by what is read back under its number: the token of what is there, if anything is.
pub fn decide_commit(found_token: Option<&str>, my_token: &str) -> Commit {
    match found_token {
        Some(token) if token == my_token => Commit::Mine,
        Some(_) => Commit::Lost,
        None => Commit::Absent,
    }
}

impl Chain {
    /// The chain of `partition` of the topic with this identity.
    pub fn new(location: &ArchiveLocation, identity: &TopicIdentity, partition: &Partition) -> Self {
        Self { location: location.clone(), folder: location.chain(identity, partition) }
    }

    /// Where a data file lies.
    pub fn file_path(&self, file: &DataFile) -> Path {
        self.object(&file.path)
    }

    /// An object below the chain's folder.
    pub fn object(&self, name: &str) -> Path {
        name.split('/').fold(self.folder.clone(), |path, part| path.join(part))
    }

    /// The archive it lies in.
    pub fn location(&self) -> &ArchiveLocation {
        &self.location
    }

    fn manifest_path(&self, version: u64) -> Path {
        self.folder.clone().join("m").join(format!("{version:020}"))
    }

    /// The manifest with this number and its bytes; `None` if there is none.
    pub async fn read(&self, version: u64) -> Result<Option<(Manifest, Bytes)>> {
        let path = self.manifest_path(version);
        let shown = self.location.shown(&path);
        let found = match self.location.store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(store_error("reading manifest", &self.location.shown(&path))(error)),
        };
        if found.meta.size > MAX_BYTES {
            return Err(Error::corrupt(format!("manifest `{shown}` has {} bytes, above the limit", found.meta.size)));
        }
        let bytes = found.bytes().await.map_err(store_error("reading manifest", &self.location.shown(&path)))?;
        let manifest = Manifest::from_bytes(&bytes, &shown)?;
        if manifest.version != version {
            return Err(Error::corrupt(format!("manifest `{shown}` says that its number is {}", manifest.version)));
        }
        Ok(Some((manifest, bytes)))
    }

    /// The newest manifest: by listing, then by probing for what the listing may not show yet.
    pub async fn newest(&self) -> Result<Option<(Manifest, Bytes)>> {
        let folder = self.folder.clone().join("m");
        let mut newest = 0u64;
        let mut listing = self.location.store.list(Some(&folder));
        loop {
            let next = match listing.try_next().await {
                Ok(next) => next,
                Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => return Err(store_error("listing", &self.location.shown(&folder))(error)),
            };
            let Some(meta) = next else { break };
            newest = newest.max(meta.location.filename().and_then(parse_version).unwrap_or(0));
        }
        let mut found = None;
        if newest > 0 {
            let listed = self.read(newest).await?;
            found = Some(listed.ok_or_else(|| {
                Error::corrupt(format!(
                    "manifest `{}` is listed and cannot be read",
                    self.location.shown(&self.manifest_path(newest))
                ))
            })?);
        }
        while let Some(next) = self.read(newest + 1).await? {
            newest += 1;
            found = Some(next);
        }
        Ok(found)
    }

    /// Makes durable that this manifest is there, whoever created it: before anything outside depends on it.
    pub async fn settle(&self, manifest: &Manifest) -> Result<()> {
        self.location.settle(&self.manifest_path(manifest.version)).await
    }

    /// The chain as it is now; `None` if nothing was ever archived.
    pub async fn load(&self) -> Result<Option<ChainState>> {
        let Some((newest, bytes)) = self.newest().await? else { return Ok(None) };
        let mut files = Vec::new();
        let mut before: Option<(Manifest, Bytes)> = None;
        for version in newest.listed_in..=newest.version {
            let (manifest, bytes) = self.read(version).await?.ok_or_else(|| {
                Error::corrupt(format!("manifest `{}` is missing", self.location.shown(&self.manifest_path(version))))
            })?;
            match (&before, &manifest.all) {
                (Some((previous, previous_bytes)), _) => {
                    manifest.follows(Some((previous, previous_bytes)))?;
                    files.retain(|file: &DataFile| !manifest.removed.contains(&file.path));
                    files.extend(manifest.added.iter().cloned());
                }
                (None, Some(all)) => files.clone_from(all),
                (None, None) => {
                    return Err(Error::corrupt(format!(
                        "manifest `{}` does not list its files",
                        self.location.shown(&self.manifest_path(version))
                    )));
                }
            }
            before = Some((manifest, bytes));
        }
        Ok(Some(ChainState { newest, bytes, files }))
    }

    /// Tries to add a link. Whatever the store answers but a clear yes is settled by reading back.
    pub async fn commit(&self, manifest: &Manifest) -> Result<Commit> {
        let path = self.manifest_path(manifest.version);
        let payload = PutPayload::from(manifest.to_bytes()?);
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        match self.location.store.put_opts(&path, payload, options).await {
            Ok(_) => return Ok(Commit::Mine),
            Err(error) => tracing::debug!(%path, %error, "an unclear commit is read back"),
        }
        let found = self.read(manifest.version).await?;
        Ok(decide_commit(found.as_ref().map(|(found, _)| found.token.as_str()), &manifest.token))
    }

    /// Puts a data file under a name that nothing else has.
    pub async fn put_file(&self, name: &str, bytes: Bytes) -> Result<()> {
        let path = self.object(name);
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        match self.location.store.put_opts(&path, bytes.clone().into(), options).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // The name has a fresh UUID: what is there was put by this very attempt, or it is not there.
                let problem = store_error("writing", &self.location.shown(&path))(error);
                match self.checksum(name).await {
                    Ok((length, sha)) if length == bytes.len() as u64 && sha == sha256(&bytes) => Ok(()),
                    _ => Err(problem),
                }
            }
        }
    }

    /// Length and SHA-256 of a data file as it is stored, read piece by piece.
    pub async fn checksum(&self, name: &str) -> Result<(u64, String)> {
        let path = self.object(name);
        let found =
            self.location.store.get(&path).await.map_err(store_error("reading", &self.location.shown(&path)))?;
        let (mut pieces, mut length, mut hash) = (found.into_stream(), 0, Sha256::new());
        while let Some(piece) = pieces.try_next().await.map_err(store_error("reading", &self.location.shown(&path)))? {
            length += piece.len() as u64;
            hash.update(&piece);
        }
        Ok((length, hex(&hash.finalize())))
    }

    /// All bytes of a data file.
    pub async fn read_file(&self, name: &str) -> Result<Bytes> {
        let path = self.object(name);
        let found =
            self.location.store.get(&path).await.map_err(store_error("reading", &self.location.shown(&path)))?;
        found.bytes().await.map_err(store_error("reading", &self.location.shown(&path)))
    }
}

/// Whether an error says that an object is not there.
pub fn is_missing(error: &Error) -> bool {
    error.kind() == ErrorKind::Gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unclear_answer_is_settled_by_the_token_alone() {
        assert_eq!(decide_commit(Some("a"), "a"), Commit::Mine);
        assert_eq!(decide_commit(Some("b"), "a"), Commit::Lost);
        assert_eq!(decide_commit(None, "a"), Commit::Absent);
    }

    #[test]
    fn only_a_manifest_has_a_manifests_name() {
        assert_eq!(parse_version("00000000000000000007"), Some(7));
        for name in [
            "7",
            "00000000000000000007.json",
            "000000000000000000x7",
            "18446744073709551615",
            "+0000000000000000007",
            "",
        ] {
            assert_eq!(parse_version(name), None, "{name}");
        }
    }
}
