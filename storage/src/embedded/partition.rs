//! One partition of the embedded log: segments, marks of producers, pins, and who waits for what.
//!
//! ```text
//!  append ─► write (under the lock) ─► shared sync ─► durable end moves ─► receipt, readers wake
//! ```
//!
//! Only what is durable is seen by readers and acknowledged. A closed segment is deleted once retention allows it and all pins are behind it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use aquifer_formats::entry::{EntryLimits, summarize};
use aquifer_model::{Cut, Error, Position, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::EmbeddedSettings;
use super::files::{read_json, replace_json, sync_folder};
use super::segment::{self, HEADER, io};
use crate::log::{LedgerInfo, Receipt};

/// What `state.json` holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    /// By name.
    pins: BTreeMap<String, Cut>,
    /// Highest sequence id by producer, as of the end of the last segment in `closed`.
    producers: BTreeMap<String, i64>,
    /// Closed segments: entries and bytes.
    closed: BTreeMap<u64, Closed>,
    /// Ids below this are taken.
    next_ledger: u64,
}

/// A closed segment.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Closed {
    entries: u64,
    /// Where the file ends.
    end: u64,
    /// Seconds since 1970.
    closed_at: u64,
}

/// The open segment.
#[derive(Debug)]
struct Open {
    id: u64,
    file: Arc<File>,
    entries: u64,
    end: u64,
}

#[derive(Debug)]
struct Inner {
    stored: Stored,
    open: Open,
    /// Marks as of now.
    producers: BTreeMap<String, i64>,
    /// What readers may see of the open segment.
    durable: Durable,
    /// Set after a failed write or sync: the partition takes no more appends until it is opened again.
    failed: bool,
    /// Set when the topic is deleted: its folder may belong to another topic of the name by now.
    deleted: bool,
}

/// How much of the open segment is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Durable {
    pub ledger: u64,
    pub entries: u64,
    pub end: u64,
}

/// One partition's log.
#[derive(Debug)]
pub(super) struct PartitionLog {
    pub folder: PathBuf,
    settings: EmbeddedSettings,
    inner: Mutex<Inner>,
    /// One sync at a time: who waits here finds its bytes synced by the one before.
    syncing: tokio::sync::Mutex<()>,
    changed: watch::Sender<Durable>,
}

/// A stretch of a segment that a reader may read.
#[derive(Debug, Clone)]
pub(super) struct Readable {
    pub ledger: u64,
    pub path: PathBuf,
    pub entries: u64,
    pub end: u64,
}

impl PartitionLog {
    /// Opens the partition in `folder`, made if it is not there; cuts a torn tail.
    pub fn open(folder: PathBuf, settings: EmbeddedSettings) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(io(&folder, "making"))?;
        folder.parent().map_or(Ok(()), sync_folder)?;
        let mut stored: Stored = read_json(&folder.join("state.json"))?.unwrap_or_default();
        let mut ids = Vec::new();
        for entry in fs::read_dir(&folder).map_err(io(&folder, "listing"))? {
            let entry = entry.map_err(io(&folder, "listing"))?;
            ids.extend(entry.file_name().to_str().and_then(segment::ledger_of));
        }
        ids.sort_unstable();
        let limits = EntryLimits { max_entry_bytes: settings.max_entry_bytes, ..EntryLimits::default() };
        let known = stored.closed.keys().next_back().copied();
        stored.closed.retain(|id, _| ids.binary_search(id).is_ok());
        let mut producers = stored.producers.clone();
        let mut open = None;
        for (n, id) in ids.iter().copied().enumerate().filter(|(_, id)| known.is_none_or(|known| *id > known)) {
            let is_last = n + 1 == ids.len();
            let path = segment::path(&folder, id);
            let scanned = segment::scan(&path, id, settings.max_entry_bytes, is_last, |entry| {
                let summary = summarize(entry, &limits)?;
                let mark = producers.entry(summary.producer_name).or_insert(-1);
                *mark = (*mark).max(summary.highest_sequence_id);
                Ok(())
            })?;
            if is_last {
                let file = OpenOptions::new().read(true).append(true).open(&path).map_err(io(&path, "opening"))?;
                if scanned.torn > 0 {
                    tracing::warn!(file = %path.display(), bytes = scanned.torn, "cut a torn tail");
                    file.set_len(scanned.end.max(HEADER)).map_err(io(&path, "cutting"))?;
                    if scanned.end < HEADER {
                        // Not even the header was whole.
                        file.set_len(0).map_err(io(&path, "cutting"))?;
                        (&file).write_all(&segment::header(id)).map_err(io(&path, "writing"))?;
                    }
                    file.sync_all().map_err(io(&path, "syncing"))?;
                }
                open = Some(Open { id, file: Arc::new(file), entries: scanned.entries, end: scanned.end.max(HEADER) });
            } else {
                stored.closed.insert(id, Closed { entries: scanned.entries, end: scanned.end, closed_at: now() });
            }
        }
        stored.next_ledger = stored.next_ledger.max(ids.last().map_or(0, |id| id + 1));
        let open = match open {
            Some(open) => open,
            None => begin_segment(&folder, &mut stored)?,
        };
        let durable = Durable { ledger: open.id, entries: open.entries, end: open.end };
        let inner = Inner { stored, open, producers, durable, failed: false, deleted: false };
        let (changed, _) = watch::channel(durable);
        Ok(Self { folder, settings, inner: Mutex::new(inner), syncing: tokio::sync::Mutex::new(()), changed })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock is held leaves counters behind at worst; the files decide.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The highest sequence id of a producer; -1 if there is none.
    pub fn last_sequence_id(&self, producer: &str) -> i64 {
        self.lock().producers.get(producer).copied().unwrap_or(-1)
    }

    /// Stores an entry, waits until it is synced. **Not cancel-safe** for the caller: dropped half-way, the entry may be stored.
    pub async fn append(self: &Arc<Self>, producer: &str, bytes: Bytes, lowest: i64, highest: i64) -> Result<Receipt> {
        let this = Arc::clone(self);
        let producer = producer.to_string();
        let written = tokio::task::spawn_blocking(move || this.write(&producer, &bytes, lowest, highest)).await;
        let (receipt, ledger, end) = written.map_err(|e| Error::internal("an append was lost").with_source(e))??;
        self.sync(ledger, end).await?;
        Ok(receipt)
    }

    /// Writes an entry, not yet synced; gives up to where (ledger, offset) it must be before the receipt is given out. That holds for a duplicate
    /// too: its first copy may not be synced yet.
    fn write(&self, producer: &str, bytes: &Bytes, lowest: i64, highest: i64) -> Result<(Receipt, u64, u64)> {
        let mut inner = self.lock();
        inner.check_there(&self.folder)?;
        if inner.failed {
            return Err(Error::unknown(format!(
                "{} failed to write before: open the log again",
                self.folder.display()
            )));
        }
        if lowest <= inner.producers.get(producer).copied().unwrap_or(-1) {
            return Ok((Receipt::Duplicate, inner.open.id, inner.open.end));
        }
        if inner.open.entries >= self.settings.segment_entries || inner.open.end >= self.settings.segment_bytes {
            self.roll(&mut inner)?;
        }
        let synced = if inner.durable.ledger == inner.open.id { inner.durable.end } else { HEADER };
        let record = segment::record(bytes, synced);
        let path = segment::path(&self.folder, inner.open.id);
        if let Err(error) = (&*inner.open.file).write_all(&record) {
            inner.failed = true;
            return Err(Error::unknown(format!("writing {}", path.display())).with_source(error));
        }
        let position = Position::new(inner.open.id, inner.open.entries);
        inner.open.entries += 1;
        inner.open.end += record.len() as u64;
        inner.producers.insert(producer.to_string(), highest);
        Ok((Receipt::Stored(position), position.ledger, inner.open.end))
    }

    /// Waits until the open segment is synced up to `end`; one sync serves all who wait.
    async fn sync(self: &Arc<Self>, ledger: u64, end: u64) -> Result<()> {
        let reached = |durable: Durable| durable.ledger > ledger || (durable.ledger == ledger && durable.end >= end);
        let _turn = self.syncing.lock().await;
        if reached(self.lock().durable) {
            return Ok(());
        }
        let this = Arc::clone(self);
        let synced = tokio::task::spawn_blocking(move || this.sync_now()).await;
        synced.map_err(|e| Error::internal("a sync was lost").with_source(e))?
    }

    fn sync_now(&self) -> Result<()> {
        let (file, target) = {
            let inner = self.lock();
            let open = &inner.open;
            (Arc::clone(&open.file), Durable { ledger: open.id, entries: open.entries, end: open.end })
        };
        let result = if self.settings.sync { file.sync_data() } else { Ok(()) };
        let mut inner = self.lock();
        if let Err(error) = result {
            inner.failed = true;
            return Err(Error::unknown(format!("syncing {}", self.folder.display())).with_source(error));
        }
        if inner.durable.ledger <= target.ledger
            && (inner.durable.ledger < target.ledger || inner.durable.end < target.end)
        {
            inner.durable = target;
        }
        self.changed.send_replace(inner.durable);
        Ok(())
    }

    /// Closes the open segment and begins the next.
    fn roll(&self, inner: &mut Inner) -> Result<()> {
        let path = segment::path(&self.folder, inner.open.id);
        let synced = if self.settings.sync { inner.open.file.sync_data() } else { Ok(()) };
        if let Err(error) = synced {
            // What a failed sync left undone, a second one does not do.
            inner.failed = true;
            return Err(io(&path, "syncing")(error));
        }
        let closed = Closed { entries: inner.open.entries, end: inner.open.end, closed_at: now() };
        inner.stored.closed.insert(inner.open.id, closed);
        inner.stored.producers = inner.producers.clone();
        inner.open = begin_segment(&self.folder, &mut inner.stored)?;
        inner.durable = Durable { ledger: inner.open.id, entries: 0, end: inner.open.end };
        self.save(inner)?;
        self.trim(inner)?;
        self.changed.send_replace(inner.durable);
        Ok(())
    }

    fn save(&self, inner: &Inner) -> Result<()> {
        replace_json(&self.folder.join("state.json"), &inner.stored)
    }

    /// Deletes closed segments that neither retention nor a pin holds.
    fn trim(&self, inner: &mut Inner) -> Result<()> {
        let Some(retention) = self.settings.retention else { return Ok(()) };
        let now = now();
        let mut gone = Vec::new();
        for (id, closed) in &inner.stored.closed {
            let passed = |cut: &Cut| match cut {
                Cut::Start => closed.entries == 0,
                Cut::After(p) => p.ledger > *id || (p.ledger == *id && p.entry + 1 >= closed.entries),
            };
            let old = now.saturating_sub(closed.closed_at) >= retention.as_secs();
            if !old || !inner.stored.pins.values().all(passed) {
                break;
            }
            gone.push(*id);
        }
        if gone.is_empty() {
            return Ok(());
        }
        for id in &gone {
            let path = segment::path(&self.folder, *id);
            fs::remove_file(&path).map_err(io(&path, "deleting"))?;
            inner.stored.closed.remove(id);
        }
        sync_folder(&self.folder)?;
        self.save(inner)
    }

    /// The ledgers that are kept.
    pub fn ledgers(&self) -> Vec<LedgerInfo> {
        let inner = self.lock();
        let mut ledgers: Vec<LedgerInfo> = inner
            .stored
            .closed
            .iter()
            .map(|(id, closed)| LedgerInfo {
                id: *id,
                entries: closed.entries,
                bytes: closed.end - HEADER,
                closed: true,
            })
            .collect();
        let Durable { ledger, entries, end } = inner.durable;
        ledgers.push(LedgerInfo { id: ledger, entries, bytes: end - HEADER, closed: false });
        ledgers
    }

    /// The last durable entry.
    pub fn last_position(&self) -> Option<Position> {
        self.ledgers().iter().rev().find(|l| l.entries > 0).map(|l| Position::new(l.id, l.entries - 1))
    }

    /// The first segment that holds something after `cut`, as far as it may be read now.
    pub fn readable_after(&self, cut: Cut) -> Option<Readable> {
        let holds = |ledger: &LedgerInfo| match cut {
            Cut::Start => ledger.entries > 0,
            Cut::After(p) => {
                ledger.entries > 0 && (ledger.id > p.ledger || (ledger.id == p.ledger && ledger.entries > p.entry + 1))
            }
        };
        let ledger = self.ledgers().into_iter().find(holds)?;
        Some(Readable {
            ledger: ledger.id,
            path: segment::path(&self.folder, ledger.id),
            entries: ledger.entries,
            end: ledger.bytes + HEADER,
        })
    }

    /// The topic is being deleted: nothing is written or read any more, and who waits is woken.
    pub fn delete(&self) {
        let mut inner = self.lock();
        inner.deleted = true;
        self.changed.send_replace(inner.durable);
    }

    /// Fails with `Gone` once the topic is deleted.
    pub fn check_there(&self) -> Result<()> {
        self.lock().check_there(&self.folder)
    }

    /// Moves whenever there may be more to read.
    pub fn changes(&self) -> watch::Receiver<Durable> {
        self.changed.subscribe()
    }

    /// Where a pin stands; `None` if there is no such pin.
    pub fn pin(&self, name: &str) -> Option<Cut> {
        self.lock().stored.pins.get(name).copied()
    }

    /// Makes a pin before the first entry that is kept, if there is none of this name; whether there was one.
    pub fn make_pin(&self, name: &str) -> Result<bool> {
        let mut inner = self.lock();
        inner.check_there(&self.folder)?;
        if inner.stored.pins.contains_key(name) {
            return Ok(true);
        }
        inner.stored.pins.insert(name.to_string(), Cut::Start);
        self.save(&inner)?;
        Ok(false)
    }

    /// Removes a pin.
    pub fn remove_pin(&self, name: &str) -> Result<()> {
        let mut inner = self.lock();
        inner.check_there(&self.folder)?;
        if inner.stored.pins.remove(name).is_some() {
            self.save(&inner)?;
            self.trim(&mut inner)?;
        }
        Ok(())
    }

    /// Moves a pin forward.
    pub fn advance_pin(&self, name: &str, position: Position) -> Result<()> {
        let mut inner = self.lock();
        inner.check_there(&self.folder)?;
        let pin =
            inner.stored.pins.get_mut(name).ok_or_else(|| Error::gone(format!("the pin `{name}` has been removed")))?;
        if *pin < Cut::After(position) {
            *pin = Cut::After(position);
            self.save(&inner)?;
            self.trim(&mut inner)?;
        }
        Ok(())
    }
}

impl Inner {
    fn check_there(&self, folder: &Path) -> Result<()> {
        match self.deleted {
            true => Err(Error::gone(format!("the topic that was in {} has been deleted", folder.display()))),
            false => Ok(()),
        }
    }
}

fn begin_segment(folder: &Path, stored: &mut Stored) -> Result<Open> {
    let id = stored.next_ledger;
    let path = segment::path(folder, id);
    let mut file =
        OpenOptions::new().read(true).append(true).create_new(true).open(&path).map_err(io(&path, "making"))?;
    file.write_all(&segment::header(id)).and_then(|()| file.sync_all()).map_err(io(&path, "writing"))?;
    sync_folder(folder)?;
    stored.next_ledger = id + 1;
    Ok(Open { id, file: Arc::new(file), entries: 0, end: HEADER })
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
