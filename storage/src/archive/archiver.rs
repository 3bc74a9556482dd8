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

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aquifer_model::{Cut, Error, ErrorKind, Interval, Partition, Result, TopicIdentity};
use tokio::sync::watch;
use uuid::Uuid;

use super::chain::{Chain, ChainState, Commit};
use super::continuity::{Continuity, check};
use super::file::file_name;
use super::manifest::{Draft, Kind, Manifest};
use super::moving::{Filled, Reading, fill};
pub use super::policies::check_policies;
pub use super::step::Step;
use crate::log::{LedgerInfo, Pin};
use crate::reader::TieredTopic;

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
    /// How long the log may give nothing although it says that there is more.
    pub patience: Duration,
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        Self {
            rows_per_commit: 4_000_000,
            bytes_per_file: 64 << 20,
            read_bytes: 4 << 20,
            attempts: 5,
            patience: Duration::from_secs(30),
        }
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
/// The longest wait before a commit is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What to do with a chain that does not end where the log does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is ours: go on.
    Work,
    /// It is nobody's, or another's who may have stopped: take it over.
    Claim,
    /// Another took it over while we worked: leave it alone.
    Yield,
}

/// Decides by who wrote the newest manifest. Ownership saves work; it is the numbers of manifests that keep two from doing harm.
pub fn decide_turn(newest_owner: Option<&str>, me: &str, was_mine: bool) -> Turn {
    match newest_owner {
        Some(owner) if owner == me => Turn::Work,
        Some(_) if was_mine => Turn::Yield,
        _ => Turn::Claim,
    }
}

/// One partition being archived.
struct Work<'a> {
    partition: &'a Partition,
    identity: TopicIdentity,
    chain: Chain,
}

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

    /// Archives what the partition holds now. May be called again and again, by several processes at once, and may be killed anywhere. Fails with `Fenced`
    /// if another archiver takes over meanwhile (nothing is lost by it), and with `Gone` if the log lost entries before they were archived.
    /// **Not cancel-safe** in the sense that a dropped run may have committed; nothing is lost by that either.
    pub async fn run_once(&self, partition: &Partition) -> Result<Archived> {
        self.archive(partition, &|| true).await.map_err(|error| error.context(format_args!("archiving `{partition}`")))
    }

    /// Archives all partitions, also ones that are added, again and again at this interval, until `stop` is true or its sender is gone: then it ends after the
    /// commit it is at. Each partition's outcome goes to `report`. What may pass by itself is tried again; other errors end it. After another archiver
    /// took a partition over, it is left alone for as long as the other goes on.
    pub async fn run(
        &self,
        interval: Duration,
        mut stop: watch::Receiver<bool>,
        report: &(dyn Fn(&Partition, &Result<Archived>) + Send + Sync),
    ) -> Result<()> {
        // The newest manifest when a partition was left to another.
        let mut left: BTreeMap<Partition, u64> = BTreeMap::new();
        loop {
            let partitions = match self.topic.log.partitions(&self.topic.topic).await {
                Err(error) if may_pass(&error) => {
                    tracing::warn!(target: "aquifer::archive", %error, "cannot ask for partitions; trying again");
                    Vec::new()
                }
                partitions => partitions?,
            };
            for partition in &partitions {
                if *stop.borrow() {
                    return Ok(());
                }
                if let Some(seen) = left.get_mut(partition)
                    && let Ok(newest) = self.newest_version(partition).await
                    && newest > *seen
                {
                    *seen = newest;
                    continue;
                }
                left.remove(partition);
                let going = stop.clone();
                let outcome = self.archive(partition, &|| !*going.borrow()).await;
                let outcome = outcome.map_err(|error| error.context(format_args!("archiving `{partition}`")));
                report(partition, &outcome);
                match outcome {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Fenced => {
                        left.insert(partition.clone(), self.newest_version(partition).await.unwrap_or(0));
                    }
                    Err(error) if may_pass(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    async fn newest_version(&self, partition: &Partition) -> Result<u64> {
        let work = self.open(partition).await?;
        Ok(work.chain.newest().await?.map_or(0, |(newest, _)| newest.version))
    }

    async fn open<'a>(&self, partition: &'a Partition) -> Result<Work<'a>> {
        let location = self.topic.archive.as_ref().ok_or_else(|| {
            Error::invalid(format!(
                "topic `{}` has no archive: give its catalog the option 'archive'",
                self.topic.topic
            ))
        })?;
        let identity = self.topic.log.identity(&self.topic.topic).await?;
        let chain = Chain::new(location, &identity, partition);
        Ok(Work { partition, identity, chain })
    }

    /// Archives up to the log's end of now, or until `going` is false.
    async fn archive(&self, partition: &Partition, going: &(dyn Fn() -> bool + Send + Sync)) -> Result<Archived> {
        let log = &self.topic.log;
        let work = self.open(partition).await?;
        if log.find_pin(partition, PIN).await?.is_none() {
            self.note_missing_pin(&work).await?;
        }
        self.step(partition, Step::Pin);
        let mut pin = log.open_pin(partition, PIN).await?;
        self.step(partition, Step::Policies);
        let warnings = check_policies(&log.policies(&self.topic.topic).await?)?;
        let mut done = Archived { warnings, ..Archived::default() };
        let stop = log.last_position(partition).await?;
        let mut reading: Option<Reading> = None;
        let mut was_mine = false;
        loop {
            let state = self.load(&work).await?;
            let end = state.as_ref().map_or(Cut::Start, ChainState::end);
            done.end = end;
            let Some(stop) = stop.filter(|stop| !end.covers(*stop) && going()) else {
                if let Some(state) = &state {
                    if state.newest.unpinned {
                        self.check_continuity(&work, state).await?;
                    }
                    // A run that was killed between commit and ack left the pin behind.
                    self.acknowledge(&work, &state.newest, pin.as_mut()).await?;
                }
                return Ok(done);
            };
            let owner = state.as_ref().map(|state| state.newest.owner.as_str());
            let state = match (decide_turn(owner, &self.owner, was_mine), state) {
                (Turn::Work, Some(state)) => state,
                (Turn::Yield, _) => {
                    return Err(Error::fenced("another archiver has taken over and goes on from here"));
                }
                (_, state) => {
                    self.step(partition, Step::Claim);
                    was_mine |= self.commit(&work, state.as_ref(), self.claim(&work, false)).await?.is_some();
                    continue;
                }
            };
            was_mine = true;
            self.step(partition, Step::Read);
            // A reader is used again only after a commit of its own: one whose entries did not get into the chain has passed them.
            let mut open = match reading.take().filter(|reading| reading.at == end) {
                Some(open) => open,
                None => Reading::open(&self.topic, partition, end).await?,
            };
            let filled = fill(&self.topic, &self.settings, partition, &mut open, stop).await?;
            self.step(partition, Step::Continuity);
            let Some(ledgers) = self.check_continuity(&work, &state).await? else { continue };
            if filled.to == end {
                return Err(Error::unavailable(format!(
                    "the log says that it has entries up to {stop}, and gave none after {end} in {} s",
                    self.settings.patience.as_secs()
                )));
            }
            if let Some(manifest) = self.add(&work, &state, filled, ledgers).await? {
                done.commits += 1;
                done.rows += manifest.added.iter().map(|file| file.rows).sum::<u64>();
                done.bytes += manifest.added.iter().map(|file| file.bytes).sum::<u64>();
                open.at = manifest.to;
                reading = Some(open);
            }
            self.step(partition, Step::ReadBack);
            if let Some((newest, _)) = work.chain.newest().await? {
                self.acknowledge(&work, &newest, pin.as_mut()).await?;
            }
        }
    }

    /// Writes a filled file and commits it. The manifest that is in the chain now; `None` if another's has its number.
    async fn add(
        &self,
        work: &Work<'_>,
        state: &ChainState,
        filled: Filled,
        ledgers: Vec<LedgerInfo>,
    ) -> Result<Option<Manifest>> {
        let partition = work.partition;
        self.step(partition, Step::Cut);
        let Filled { writer, to, schemas } = filled;
        let covers = Interval::new(state.end(), to);
        let name = file_name(state.newest.version + 1, Uuid::new_v4());
        let finished = tokio::task::spawn_blocking(move || writer.finish(name, covers)).await;
        let (bytes, file) = finished.map_err(|error| Error::internal("writing a file").with_source(error))??;
        self.step(partition, Step::WriteFile);
        work.chain.put_file(&file.path, bytes).await?;
        self.step(partition, Step::VerifyFile);
        if work.chain.checksum(&file.path).await? != (file.bytes, file.sha256.clone()) {
            return Err(Error::corrupt(format!(
                "file `{}` reads back with other bytes than were written",
                work.chain.file_path(&file)
            )));
        }
        self.step(partition, Step::Commit);
        let draft = Draft { kind: Kind::Data, added: vec![file], ledgers, schemas, ..self.claim(work, false) };
        self.commit(work, Some(state), draft).await
    }

    /// Moves the pin to the end of a manifest that is in the chain, after making sure that it stays there.
    async fn acknowledge(&self, work: &Work<'_>, newest: &Manifest, pin: &mut dyn Pin) -> Result<()> {
        let Some(end) = newest.to.position() else { return Ok(()) };
        self.step(work.partition, Step::Ack);
        work.chain.settle(newest).await?;
        pin.advance(end).await
    }

    /// Writes into the chain that its pin is missing, before one is made: whoever is killed in between, it is not taken for the old one.
    async fn note_missing_pin(&self, work: &Work<'_>) -> Result<()> {
        loop {
            let state = self.load(work).await?;
            if state.as_ref().is_none_or(|state| state.end() == Cut::Start || state.newest.unpinned) {
                return Ok(());
            }
            self.step(work.partition, Step::Claim);
            self.commit(work, state.as_ref(), self.claim(work, true)).await?;
        }
    }

    /// The log's ledgers, if nothing was lost between the archive's end and what is kept. `None` if the chain has grown: the view was stale.
    async fn check_continuity(&self, work: &Work<'_>, state: &ChainState) -> Result<Option<Vec<LedgerInfo>>> {
        let log = &self.topic.log;
        let ledgers = log.ledgers(work.partition).await?;
        if is_first_data(&state.newest) {
            return Ok(Some(ledgers));
        }
        let pin = if state.newest.unpinned { None } else { log.find_pin(work.partition, PIN).await? };
        let Continuity::Gap { ledgers: gone, interval } =
            check(state.end(), Some(&state.newest.ledgers), &ledgers, pin)
        else {
            return Ok(Some(ledgers));
        };
        if self.load(work).await?.map(|newest| newest.newest.version) != Some(state.newest.version) {
            return Ok(None);
        }
        let ledgers = if gone.is_empty() { String::new() } else { format!(" (ledgers {gone:?})") };
        Err(Error::gone(format!(
            "entries {interval} are gone from the log and not in the archive{ledgers}; nothing was written. Someone trimmed, skipped or expired them, or \
             removed the pin `{PIN}`"
        )))
    }

    async fn load(&self, work: &Work<'_>) -> Result<Option<ChainState>> {
        self.step(work.partition, Step::NewestManifest);
        let state = work.chain.load().await?;
        if let Some(known) = state.as_ref().map(|state| &state.newest.identity)
            && *known != work.identity
        {
            return Err(Error::invalid(format!(
                "the archive is of another topic of this name (created {}, now {})",
                known.creation, work.identity.creation
            )));
        }
        Ok(state)
    }

    fn claim(&self, work: &Work<'_>, unpinned: bool) -> Draft {
        Draft {
            kind: Kind::Claim,
            owner: self.owner.clone(),
            topic: self.topic.topic.clone(),
            identity: work.identity.clone(),
            partition: work.partition.number(),
            added: Vec::new(),
            ledgers: Vec::new(),
            schemas: BTreeMap::new(),
            unpinned,
        }
    }

    /// Commits; an unclear answer that turns out to be nothing is tried again under a new token. `None` if another's manifest has the number.
    ///
    /// The file keeps its name over the attempts: if a put that was taken for lost lands later, it names the same file, and it is still only one of the
    /// attempts that has the number.
    async fn commit(&self, work: &Work<'_>, state: Option<&ChainState>, draft: Draft) -> Result<Option<Manifest>> {
        let mut wait = Duration::from_millis(10);
        let mut manifest = Manifest::after(state, draft, Uuid::new_v4().to_string());
        for _ in 0..self.settings.attempts.max(1) {
            match work.chain.commit(&manifest).await? {
                Commit::Mine => return Ok(Some(manifest)),
                Commit::Lost => return Ok(None),
                Commit::Absent => manifest.token = Uuid::new_v4().to_string(),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        Err(Error::unavailable(format!(
            "the object store neither took manifest {} nor refused it, {} times",
            manifest.version, self.settings.attempts
        )))
    }
}

/// Whether no data was ever committed: then what the log has now is all there ever is.
fn is_first_data(newest: &Manifest) -> bool {
    newest.to == Cut::Start && newest.ledgers.is_empty()
}

/// Whether trying again may help.
fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown)
}

#[cfg(test)]
mod tests;
