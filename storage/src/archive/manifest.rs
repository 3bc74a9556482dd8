//! A manifest: one link of a partition's chain, as data. Written once, as JSON.

use std::collections::BTreeMap;

use aquifer_model::{Cut, Error, Interval, Position, Result, TopicIdentity, TopicName, TopicSchema};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chain::ChainState;
use crate::log::LedgerInfo;

/// The format's version, in every manifest.
pub const FORMAT: u32 = 1;
/// So many manifests may lie between one that lists all files and the next.
pub const LISTED_EVERY: u64 = 32;
/// The longest manifest that is read, in bytes.
pub const MAX_BYTES: u64 = 64 << 20;

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Its number, from 1.
    pub version: u64,
    /// What it does.
    pub kind: Kind,
    /// SHA-256 of the predecessor's bytes, in hexadecimal; empty for the first.
    pub previous: String,
    /// The attempt that wrote it: by this a writer knows its own after an unclear answer.
    pub token: String,
    /// Who archives from here on.
    pub owner: String,
    /// Rises with each claim.
    pub owner_epoch: u64,
    /// The topic's name when it was written.
    pub topic: TopicName,
    /// The topic.
    pub identity: TopicIdentity,
    /// The partition's number.
    pub partition: u32,
    /// Everything up to here was covered before.
    pub from: Cut,
    /// Everything up to here is covered now.
    pub to: Cut,
    /// The files that cover `(from, to]`, in log order.
    pub added: Vec<DataFile>,
    /// Paths of files that no longer count (compaction, erasure).
    #[serde(default)]
    pub removed: Vec<String>,
    /// All files that count, in log order, in the first manifest and every [`LISTED_EVERY`]th.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<DataFile>>,
    /// The newest manifest, up to this one, with `all`.
    pub listed_in: u64,
    /// The ledgers that the log had.
    pub ledgers: Vec<LedgerInfo>,
    /// Schemas that the added files' messages name, by version in hexadecimal.
    #[serde(default)]
    pub schemas: BTreeMap<String, TopicSchema>,
    /// Stretches that the log lost before they could be archived.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// The pin was found missing, and since then no list of ledgers has shown that nothing is lost: one made anew proves nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpinned: bool,
}

/// What a new manifest says, beside its place in the chain.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it does.
    pub kind: Kind,
    /// Who writes it; another owner than the predecessor's raises the owner epoch.
    pub owner: String,
    /// The topic's name.
    pub topic: TopicName,
    /// The topic.
    pub identity: TopicIdentity,
    /// The partition's number.
    pub partition: u32,
    /// The files that it adds, in log order, the first from the chain's end on.
    pub added: Vec<DataFile>,
    /// The log's ledgers; a claim keeps its predecessor's.
    pub ledgers: Vec<LedgerInfo>,
    /// Schemas that the added files' messages name.
    pub schemas: BTreeMap<String, TopicSchema>,
    /// See [`Manifest::unpinned`]; a claim keeps its predecessor's too.
    pub unpinned: bool,
}

/// What a manifest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Takes over from another owner; covers nothing.
    Claim,
    /// Covers entries.
    Data,
}

/// A Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its name below the chain's folder: `d/<version>-<uuid>.parquet`.
    pub path: String,
    /// The entries it covers.
    pub covers: Interval,
    /// Rows (messages, those without a value too).
    pub rows: u64,
    /// Entries that these rows come from.
    #[serde(default)]
    pub entries: u64,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its first and last row's entry; `None` if it has no rows.
    pub positions: Option<(Position, Position)>,
    /// The lowest and highest publish time, in milliseconds since 1970.
    pub publish_time_ms: Option<(i64, i64)>,
    /// The lowest and highest event time, in milliseconds since 1970.
    pub event_time_ms: Option<(i64, i64)>,
    /// The schema versions that its messages name, in hexadecimal.
    #[serde(default)]
    pub schema_versions: Vec<String>,
}

/// A stretch that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The entries.
    pub interval: Interval,
    /// What was seen.
    pub reason: String,
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Manifest {
    /// The manifest that makes `draft` the successor of a chain's newest (`None`: its first), as written by the attempt `token`.
    pub fn after(before: Option<&ChainState>, draft: Draft, token: String) -> Self {
        let newest = before.map(|state| &state.newest);
        let version = newest.map_or(1, |newest| newest.version + 1);
        let from = newest.map_or(Cut::Start, |newest| newest.to);
        let lists_all = version == 1 || version.is_multiple_of(LISTED_EVERY);
        let all = lists_all.then(|| {
            let known = before.map(|state| state.files.as_slice()).unwrap_or_default();
            known.iter().chain(&draft.added).cloned().collect()
        });
        let (ledgers, unpinned) = match (draft.kind, newest) {
            (Kind::Claim, Some(newest)) => (newest.ledgers.clone(), draft.unpinned || newest.unpinned),
            _ => (draft.ledgers, draft.unpinned),
        };
        Self {
            format: FORMAT,
            version,
            kind: draft.kind,
            previous: before.map_or(String::new(), |state| sha256(&state.bytes)),
            token,
            owner_epoch: newest.map_or(1, |newest| newest.owner_epoch + u64::from(newest.owner != draft.owner)),
            owner: draft.owner,
            topic: draft.topic,
            identity: draft.identity,
            partition: draft.partition,
            from,
            to: draft.added.last().map_or(from, |file| file.covers.to),
            added: draft.added,
            removed: Vec::new(),
            all,
            listed_in: if lists_all { version } else { newest.map_or(1, |newest| newest.listed_in) },
            ledgers,
            schemas: draft.schemas,
            gaps: Vec::new(),
            unpinned,
        }
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|e| Error::internal("writing a manifest").with_source(e))
    }

    /// Reads one; `path` is for messages.
    pub fn from_bytes(bytes: &[u8], path: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let wrong = |e: serde_json::Error| Error::corrupt(format!("manifest `{path}` cannot be read")).with_source(e);
        let version: Version = serde_json::from_slice(bytes).map_err(wrong)?;
        if version.format != FORMAT {
            return Err(Error::unsupported(format!(
                "manifest `{path}` has format {}, this version of Aquifer reads {FORMAT}",
                version.format
            )));
        }
        serde_json::from_slice(bytes).map_err(wrong)
    }

    /// Whether this manifest can follow `previous` (with these bytes): dense, linked, tiling, of the same topic.
    pub fn follows(&self, previous: Option<(&Manifest, &[u8])>) -> Result<()> {
        let wrong = |what: &str| Err(Error::corrupt(format!("manifest {} of `{}`: {what}", self.version, self.topic)));
        let (version, hash, end) = match previous {
            Some((previous, bytes)) => {
                if (&previous.identity, previous.partition) != (&self.identity, self.partition) {
                    return wrong("its predecessor is of another topic");
                }
                (previous.version + 1, sha256(bytes), previous.to)
            }
            None => (1, String::new(), Cut::Start),
        };
        if self.version != version {
            return wrong("its number is not its predecessor's plus one");
        }
        if self.previous != hash {
            return wrong("it does not name its predecessor's checksum");
        }
        if self.from != end {
            return wrong("it does not begin where its predecessor ends");
        }
        self.tiles()
    }

    /// Whether its own files cover exactly what it covers.
    pub fn tiles(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::corrupt(format!("manifest {} of `{}`: {what}", self.version, self.topic)));
        if self.to < self.from {
            return wrong("it ends before it begins");
        }
        let mut at = self.from;
        for file in &self.added {
            if file.covers.from != at || file.covers.to < at {
                return wrong(&format!("file `{}` does not begin where the one before ends", file.path));
            }
            at = file.covers.to;
        }
        if at != self.to && !(self.added.is_empty() && self.kind == Kind::Claim && self.to == self.from) {
            return wrong("its files do not cover what it covers");
        }
        Ok(())
    }
}
