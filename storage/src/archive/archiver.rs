//! The archiver: moves a partition's entries into Parquet, exactly once (algorithm B).
//!
//! ```text
//!  pin ─ policies ─ newest manifest ─ claim? ─┐
//!      ┌──────────────────────────────────────┘
//!      └► read ─ continuity ─ cut ─ write file ─ verify file ─ commit ─ newest manifest again ─ ack ─┐
//!      └──────────────────────────────────── until the log's end of now ───────────────────────────┘
//! ```
//!
//! The pin is never moved beyond the end of a committed manifest, and each manifest begins where its predecessor ends. So whatever step it is killed at,
//! the next run starts from the chain: at worst one file is left that no manifest names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use aquifer_formats::messages::{MessageBatch, MessageBatchBuilder, column};
use aquifer_formats::payload::{DecodedPayloads, PayloadDecoder, decoder};
use aquifer_model::{Cut, Error, Interval, Partition, Position, Result, SchemaVersion, TopicIdentity, TopicSchema};
use arrow::array::AsArray;
use uuid::Uuid;

use super::chain::{Chain, ChainState, Commit};
use super::continuity::{Continuity, check};
use super::file::FileWriter;
use super::manifest::{DataFile, FORMAT, Kind, LISTED_EVERY, Manifest};
use crate::log::{Entry, EntryReader, LedgerInfo, Log, Pin, Policies};
use crate::reader::TieredTopic;

/// A named step of a round. It is announced before it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Make the pin.
    Pin,
    /// Look at the rules under which the log forgets.
    Policies,
    /// Find the newest manifest.
    NewestManifest,
    /// Take the chain over from another owner.
    Claim,
    /// Read entries after the archive's end.
    Read,
    /// Compare the ledger lists.
    Continuity,
    /// Decide up to which entry this commit goes.
    Cut,
    /// Write the data file.
    WriteFile,
    /// Read it back.
    VerifyFile,
    /// Create the next manifest.
    Commit,
    /// Find the newest manifest again.
    ReadBack,
    /// Move the pin to its end.
    Ack,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Step; 12] = [
        Step::Pin,
        Step::Policies,
        Step::NewestManifest,
        Step::Claim,
        Step::Read,
        Step::Continuity,
        Step::Cut,
        Step::WriteFile,
        Step::VerifyFile,
        Step::Commit,
        Step::ReadBack,
        Step::Ack,
    ];

    /// Its name in traces and drills.
    pub fn name(self) -> &'static str {
        match self {
            Step::Pin => "pin",
            Step::Policies => "policies",
            Step::NewestManifest => "newest-manifest",
            Step::Claim => "claim",
            Step::Read => "read",
            Step::Continuity => "continuity",
            Step::Cut => "cut",
            Step::WriteFile => "write-file",
            Step::VerifyFile => "verify-file",
            Step::Commit => "commit",
            Step::ReadBack => "read-back",
            Step::Ack => "ack",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an archiver works.
#[derive(Debug, Clone)]
pub struct ArchiveSettings {
    /// A commit ends after about so many rows …
    pub rows_per_commit: u64,
    /// … or when its file has about so many bytes. A file is built in memory.
    pub bytes_per_file: usize,
    /// Bytes of entries read at once.
    pub read_bytes: usize,
    /// How often a commit is tried while the store answers unclearly.
    pub attempts: u32,
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        Self { rows_per_commit: 4_000_000, bytes_per_file: 128 << 20, read_bytes: 4 << 20, attempts: 5 }
    }
}

/// What a run did on one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archived {
    /// Manifests with data that it added.
    pub commits: u64,
    /// Rows in their files.
    pub rows: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Up to here the archive covers now.
    pub end: Cut,
    /// What the user should know: retention of zero, for one.
    pub warnings: Vec<String>,
}

/// Called before each step; what it does delays the step.
pub type Observer = Arc<dyn Fn(&Partition, Step) + Send + Sync>;

/// Archives the partitions of one topic.
#[derive(Clone)]
pub struct Archiver {
    topic: TieredTopic,
    settings: ArchiveSettings,
    observer: Option<Observer>,
    owner: String,
}

impl fmt::Debug for Archiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archiver").field("topic", &self.topic.topic).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// The name of an archive's pins.
pub const PIN: &str = "aquifer-archive";

impl Archiver {
    /// An archiver of `topic`, which must have an archive.
    pub fn new(topic: TieredTopic, settings: ArchiveSettings) -> Self {
        Self { topic, settings, observer: None, owner: Uuid::new_v4().to_string() }
    }

    /// Announces each step to `observer` before it is taken.
    pub fn observed(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    fn step(&self, partition: &Partition, step: Step) {
        tracing::info!(target: "aquifer::archive", step = step.name(), %partition, "step");
        if let Some(observer) = &self.observer {
            observer(partition, step);
        }
    }

    /// Archives what the partition holds now. May be called again and again, by several processes at once, and may be killed anywhere.
    /// **Not cancel-safe** in the sense that a dropped run may have committed; nothing is lost by it.
    pub async fn run_once(&self, partition: &Partition) -> Result<Archived> {
        let run = self.run(partition);
        run.await.map_err(|error| error.context(format_args!("archiving `{partition}`")))
    }

    async fn run(&self, partition: &Partition) -> Result<Archived> {
        let log = &self.topic.log;
        let location = self.topic.archive.as_ref().ok_or_else(|| {
            Error::invalid(format!(
                "topic `{}` has no archive: give its catalog the option 'archive'",
                self.topic.topic
            ))
        })?;
        self.step(partition, Step::Pin);
        let mut pin = log.open_pin(partition, PIN).await?;
        self.step(partition, Step::Policies);
        let warnings = check_policies(&log.policies(&self.topic.topic).await?)?;
        let identity = log.identity(&self.topic.topic).await?;
        let chain = Chain::new(location, &identity, partition);
        let Some(stop) = log.last_position(partition).await? else {
            return Ok(Archived {
                warnings,
                end: self.load(&chain, partition).await?.map_or(Cut::Start, |s| s.end()),
                ..Archived::default()
            });
        };
        let mut done = Archived { warnings, ..Archived::default() };
        let mut reading: Option<Reading> = None;
        // Whether the pin has stood since the archive's end was committed.
        let mut held = pin.was_there();
        loop {
            let mut state = self.load(&chain, partition).await?;
            if state.as_ref().is_none_or(|state| state.newest.owner != self.owner) {
                self.step(partition, Step::Claim);
                let claim =
                    self.next_manifest(state.as_ref(), &identity, partition, Kind::Claim, Vec::new(), Facts::default());
                self.commit(&chain, claim).await?;
                state = self.load(&chain, partition).await?;
            }
            let Some(state) = state else { continue };
            if state.newest.owner != self.owner {
                continue;
            }
            let end = state.end();
            done.end = end;
            if end.covers(stop) {
                // A run that was killed between commit and ack left the pin behind.
                self.step(partition, Step::Ack);
                advance(pin.as_mut(), end).await?;
                return Ok(done);
            }
            self.step(partition, Step::Read);
            // A reader is used again only after a commit of its own: one whose entries did not get into the chain has passed them.
            let mut open = match reading.take().filter(|reading| reading.at == end) {
                Some(open) => open,
                None => Reading::open(log.as_ref(), partition, end).await?,
            };
            self.step(partition, Step::Continuity);
            let ledgers = log.ledgers(partition).await?;
            let cut = if held { Some(pin.cut().await?) } else { None };
            if let Continuity::Gap { ledgers: gone, interval } = check(end, Some(&state.newest.ledgers), &ledgers, cut)
                && !is_first_data(&state)
            {
                if self.load(&chain, partition).await?.map(|s| s.newest.version) != Some(state.newest.version) {
                    continue;
                }
                return Err(Error::gone(format!(
                    "entries {interval} are gone from the log and not in the archive{}; nothing was written. Someone trimmed, skipped or expired them",
                    if gone.is_empty() { String::new() } else { format!(" (ledgers {gone:?})") }
                )));
            }
            held = true;
            let version = state.newest.version + 1;
            let Some((file, bytes, facts)) = self.build(&mut open, partition, end, stop, version, ledgers).await?
            else {
                continue;
            };
            self.step(partition, Step::WriteFile);
            chain.put_file(&file.path, bytes).await?;
            self.step(partition, Step::VerifyFile);
            let found = chain.read_file(&file.path).await?;
            if super::manifest::sha256(&found) != file.sha256 {
                return Err(Error::corrupt(format!(
                    "file `{}` reads back with other bytes than were written",
                    file.path
                )));
            }
            let (rows, length, to) = (file.rows, file.bytes, file.covers.to);
            self.step(partition, Step::Commit);
            let manifest = self.next_manifest(Some(&state), &identity, partition, Kind::Data, vec![file], facts);
            if self.commit(&chain, manifest).await? {
                done.commits += 1;
                done.rows += rows;
                done.bytes += length;
                open.at = to;
                reading = Some(open);
            }
            self.step(partition, Step::ReadBack);
            let newest = chain.newest().await?.map_or(Cut::Start, |(manifest, _)| manifest.to);
            self.step(partition, Step::Ack);
            advance(pin.as_mut(), newest).await?;
        }
    }

    async fn load(&self, chain: &Chain, partition: &Partition) -> Result<Option<ChainState>> {
        self.step(partition, Step::NewestManifest);
        let state = chain.load().await?;
        if let Some(state) = &state {
            let known = &state.newest.identity;
            let identity = self.topic.log.identity(&self.topic.topic).await?;
            if *known != identity {
                return Err(Error::invalid(format!(
                    "the archive is of another topic of this name (created {}, now {})",
                    known.creation, identity.creation
                )));
            }
        }
        Ok(state)
    }

    /// Commits; an unclear answer that turns out to be nothing is tried again under a new token. Whether this manifest is in the chain.
    async fn commit(&self, chain: &Chain, mut manifest: Manifest) -> Result<bool> {
        for _ in 0..self.settings.attempts.max(1) {
            match chain.commit(&manifest).await? {
                Commit::Mine => return Ok(true),
                Commit::Lost => return Ok(false),
                Commit::Absent => manifest.token = Uuid::new_v4().to_string(),
            }
        }
        Err(Error::unavailable(format!(
            "the object store neither took manifest {} nor refused it, {} times",
            manifest.version, self.settings.attempts
        )))
    }

    fn next_manifest(
        &self,
        state: Option<&ChainState>,
        identity: &TopicIdentity,
        partition: &Partition,
        kind: Kind,
        added: Vec<DataFile>,
        facts: Facts,
    ) -> Manifest {
        let version = state.map_or(1, |state| state.newest.version + 1);
        let from = state.map_or(Cut::Start, ChainState::end);
        let lists_all = version == 1 || version % LISTED_EVERY == 0;
        let all = lists_all.then(|| {
            let before = state.map(|state| state.files.clone()).unwrap_or_default();
            before.into_iter().chain(added.iter().cloned()).collect()
        });
        Manifest {
            format: FORMAT,
            version,
            kind,
            previous: state.map_or(String::new(), |state| super::manifest::sha256(&state.bytes)),
            token: Uuid::new_v4().to_string(),
            owner: self.owner.clone(),
            owner_epoch: state.map_or(1, |s| s.newest.owner_epoch + u64::from(kind == Kind::Claim)),
            topic: self.topic.topic.clone(),
            identity: identity.clone(),
            partition: partition.number(),
            from,
            to: added.last().map_or(from, |file| file.covers.to),
            added,
            removed: Vec::new(),
            all,
            listed_in: if lists_all { version } else { state.map_or(1, |state| state.newest.listed_in) },
            ledgers: if kind == Kind::Claim {
                state.map(|state| state.newest.ledgers.clone()).unwrap_or_default()
            } else {
                facts.ledgers
            },
            schemas: facts.schemas,
            gaps: Vec::new(),
        }
    }

    /// Reads entries up to the commit's size or `stop` and builds their file. `None` if the reader gave nothing after `end`.
    async fn build(
        &self,
        reading: &mut Reading,
        partition: &Partition,
        end: Cut,
        stop: Position,
        version: u64,
        ledgers: Vec<LedgerInfo>,
    ) -> Result<Option<(DataFile, bytes::Bytes, Facts)>> {
        let topic = &self.topic;
        let mut writer = FileWriter::new(&topic.value_columns)?;
        let newest = topic.log.schema(&topic.topic, None).await?;
        let mut decoding = Decoding {
            decoder: decoder(
                topic.format,
                Arc::clone(&topic.value_columns),
                newest.as_ref().map(|(_, schema)| schema),
            )?,
            schemas: BTreeMap::new(),
            known: BTreeSet::new(),
        };
        let mut builder = MessageBatchBuilder::new(topic.limits);
        let mut to = end;
        let mut rows = 0u64;
        while !to.covers(stop)
            && rows < self.settings.rows_per_commit
            && writer.estimated_bytes() < self.settings.bytes_per_file
        {
            if reading.queue.is_empty() {
                reading.queue.extend(reading.reader.next(self.settings.read_bytes).await?);
            }
            while let Some(entry) = reading.queue.pop_front() {
                if Cut::After(entry.position) <= to {
                    continue;
                }
                if entry.position > stop {
                    // Everything up to the stop was seen; what comes after it is for a later run.
                    reading.queue.push_front(entry);
                    to = Cut::After(stop);
                    break;
                }
                let added = builder.append_entry(entry.position, &entry.bytes);
                rows += u64::from(
                    added.map_err(|error| error.context(format_args!("entry {} of `{partition}`", entry.position)))?,
                );
                to = Cut::After(entry.position);
                if rows >= self.settings.rows_per_commit {
                    break;
                }
            }
            if builder.num_rows() > 0 {
                let messages = builder.finish();
                let decoded = decoding.decode(topic, &messages).await?;
                writer.write(&messages, Some(&decoded))?;
            }
        }
        if to == end {
            return Ok(None);
        }
        self.step(partition, Step::Cut);
        let name = format!("d/{version:020}-{}.parquet", Uuid::new_v4().simple());
        let (bytes, file) = writer.finish(name, Interval::new(end, to))?;
        Ok(Some((file, bytes, Facts { ledgers, schemas: decoding.schemas })))
    }
}

/// Whether no data was ever committed: then what the log has now is all there ever is.
fn is_first_data(state: &ChainState) -> bool {
    state.newest.to == Cut::Start && state.newest.ledgers.is_empty()
}

async fn advance(pin: &mut dyn Pin, to: Cut) -> Result<()> {
    match to.position() {
        Some(position) => pin.advance(position).await,
        None => Ok(()),
    }
}

/// What goes into a data manifest beside its files.
#[derive(Debug, Default)]
struct Facts {
    ledgers: Vec<LedgerInfo>,
    schemas: BTreeMap<String, TopicSchema>,
}

/// A reader of the log and where it stands.
struct Reading {
    reader: Box<dyn EntryReader>,
    /// Everything up to here is committed; `queue` and the reader go on after it.
    at: Cut,
    /// Read and not yet in a file.
    queue: VecDeque<Entry>,
}

impl Reading {
    async fn open(log: &dyn Log, partition: &Partition, after: Cut) -> Result<Self> {
        Ok(Self { reader: log.open_reader(partition, after).await?, at: after, queue: VecDeque::new() })
    }
}

/// The decoder of one file, and the schemas that its messages name.
struct Decoding {
    decoder: Box<dyn PayloadDecoder>,
    schemas: BTreeMap<String, TopicSchema>,
    known: BTreeSet<Vec<u8>>,
}

impl Decoding {
    async fn decode(&mut self, topic: &TieredTopic, messages: &MessageBatch) -> Result<DecodedPayloads> {
        let rows = messages.rows();
        let versions = rows.column(rows.schema().index_of(column::SCHEMA_VERSION)?).as_binary_view();
        let named: BTreeSet<&[u8]> = versions.iter().flatten().collect();
        for version in named {
            if !self.known.insert(version.to_vec()) {
                continue;
            }
            let version = SchemaVersion(version.to_vec());
            let found = topic.log.schema(&topic.topic, Some(&version)).await?;
            let schema = found.as_ref().map(|(_, schema)| schema);
            self.decoder.add_schema(version.clone(), schema)?;
            if let Some(schema) = schema {
                let hex: String = version.0.iter().map(|byte| format!("{byte:02x}")).collect();
                self.schemas.insert(hex, schema.clone());
            }
        }
        self.decoder.decode(messages.payloads(), versions)
    }
}

/// Refuses rules under which the log may forget what is not archived; gives warnings.
pub fn check_policies(policies: &Policies) -> Result<Vec<String>> {
    let refuse = |what: &str, undo: &str| {
        Err(Error::invalid(format!("{what} moves or deletes the archive's pin, so entries could be lost: {undo}")))
    };
    if let Some(ttl) = policies.message_ttl.filter(|ttl| !ttl.is_zero()) {
        return refuse(
            &format!("the namespace's message TTL of {} s", ttl.as_secs()),
            "remove it, or list the pin's name in the broker's additionalSystemCursorNames",
        );
    }
    if policies.evicts_backlog {
        return refuse(
            "the backlog quota policy consumer_backlog_eviction",
            "use producer_request_hold or remove the quota",
        );
    }
    if let Some(expiry) = policies.subscription_expiry.filter(|expiry| !expiry.is_zero()) {
        return refuse(&format!("the subscription expiration of {} s", expiry.as_secs()), "set it to 0");
    }
    let mut warnings = Vec::new();
    if policies.retention.is_some_and(|retention| retention.is_zero()) {
        warnings.push(
            "retention is 0: what the archive has is trimmed from the log at once; set an hour or so as a period of grace".to_string(),
        );
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests;
