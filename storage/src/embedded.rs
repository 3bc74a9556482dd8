//! The embedded log: append-only segment files with the semantics of a Pulsar topic, for one process.
//!
//! ```text
//!  topics/TENANT/NAMESPACE/TOPIC/PARTITION/00000000000000000007.segment   ledger 7: its entries, dense from 0
//! ```
//!
//! For demos, tests and small installations. A lock file keeps a second process out. After a restart the last ledger is written on. The bytes are
//! described in `docs/formats/embedded-log.md`.

mod files;
mod partition;
mod reader;
mod segment;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use aquifer_formats::entry::{EntryLimits, summarize};
use aquifer_model::{Cut, Error, Partition, Position, Result, SchemaVersion, TopicIdentity, TopicName, TopicSchema};
use async_trait::async_trait;
use bytes::Bytes;
use fs4::fs_std::FileExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::files::{encode, names_in, read_json, replace_json, sync_folder};
use self::partition::PartitionLog;
use self::segment::io;
use crate::log::{Appender, EntryReader, LedgerInfo, Log, Pin, Policies, Receipt};

/// How an embedded log behaves.
#[derive(Debug, Clone)]
pub struct EmbeddedSettings {
    /// A ledger is closed at the first append after it has this many bytes.
    pub segment_bytes: u64,
    /// A ledger is closed at the first append after it has this many entries.
    pub segment_entries: u64,
    /// How long closed ledgers are kept after every pin has passed them; `None`: for ever.
    pub retention: Option<Duration>,
    /// The longest entry, in bytes.
    pub max_entry_bytes: usize,
    /// Whether receipts wait for the disk. Off, a power cut may lose what was acknowledged; a crash of the process does not.
    pub sync: bool,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_entries: 50_000,
            retention: None,
            // As a broker has it: 5 MiB, and its slack.
            max_entry_bytes: 5 * 1024 * 1024 + 74 * 1024,
            sync: true,
        }
    }
}

/// What `topic.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TopicFile {
    /// 0: not partitioned.
    partitions: u32,
    creation: String,
    uuid: Uuid,
    schemas: Vec<TopicSchema>,
}

#[derive(Debug)]
struct Topic {
    path: PathBuf,
    file: Mutex<TopicFile>,
    partitions: Vec<Arc<PartitionLog>>,
}

/// A log in a folder of this machine.
#[derive(Debug)]
pub struct EmbeddedLog {
    folder: PathBuf,
    settings: EmbeddedSettings,
    topics: Mutex<HashMap<TopicName, Arc<Topic>>>,
    /// Held while a topic is opened, made or deleted: a topic has one writer.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Held as long as the log is open.
    _lock: File,
}

impl EmbeddedLog {
    /// Opens the log in `folder`, made if it is not there. Fails with `Unavailable` while another process has it open.
    pub fn open(folder: &Path, settings: EmbeddedSettings) -> Result<Arc<Self>> {
        let topics = folder.join("topics");
        fs::create_dir_all(&topics).map_err(io(&topics, "making"))?;
        let path = folder.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io(&path, "opening"))?;
        if !FileExt::try_lock_exclusive(&lock).map_err(io(&path, "locking"))? {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => String::new(),
                pid => format!(" (process {pid})"),
            };
            return Err(Error::unavailable(format!(
                "the log in {} is open in another process{holder}: end that one, or use another --data-dir",
                folder.display()
            )));
        }
        lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())).map_err(io(&path, "writing"))?;
        Ok(Arc::new(Self {
            folder: folder.to_path_buf(),
            settings,
            topics: Mutex::default(),
            changing: Default::default(),
            _lock: lock,
        }))
    }

    fn topic_folder(&self, topic: &TopicName) -> PathBuf {
        self.namespace_folder(&topic.tenant, &topic.namespace).join(encode(&topic.name))
    }

    fn namespace_folder(&self, tenant: &str, namespace: &str) -> PathBuf {
        self.folder.join("topics").join(encode(tenant)).join(encode(namespace))
    }

    fn open_topics(&self) -> MutexGuard<'_, HashMap<TopicName, Arc<Topic>>> {
        self.topics.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The topic, opened on first use.
    async fn topic(&self, name: &TopicName) -> Result<Arc<Topic>> {
        let open = |name| self.open_topics().get(name).cloned();
        if let Some(topic) = open(name) {
            return Ok(topic);
        }
        let turn = Arc::clone(&self.changing).lock_owned().await;
        if let Some(topic) = open(name) {
            return Ok(topic);
        }
        let (folder, settings) = (self.topic_folder(name), self.settings.clone());
        // The turn ends with the work, also where nobody waits for it any more.
        let (found, _turn) = blocking(move || Ok((Topic::open(&folder, &settings)?, turn))).await?;
        let topic = Arc::new(found.ok_or_else(|| self.no_topic(name))?);
        self.open_topics().insert(name.clone(), Arc::clone(&topic));
        Ok(topic)
    }

    fn no_topic(&self, name: &TopicName) -> Error {
        Error::invalid(format!("there is no topic `{name}` in the log in {}", self.folder.display()))
    }

    async fn partition(&self, partition: &Partition) -> Result<Arc<PartitionLog>> {
        let topic = self.topic(&partition.topic).await?;
        let partitioned = topic.file().partitions > 0;
        if partitioned != partition.index.is_some() {
            return Err(Error::invalid(format!("there is no partition `{partition}`")));
        }
        let found = topic.partitions.get(partition.number() as usize);
        found.cloned().ok_or_else(|| Error::invalid(format!("there is no partition `{partition}`")))
    }
}

/// Runs what waits for the disk where it blocks nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("work on the log was lost").with_source(error))?
}

impl Topic {
    /// The topic in `folder`; `None` if there is none.
    fn open(folder: &Path, settings: &EmbeddedSettings) -> Result<Option<Self>> {
        let path = folder.join("topic.json");
        let Some(file) = read_json::<TopicFile>(&path)? else { return Ok(None) };
        let partitions = (0..file.partitions.max(1))
            .map(|n| Ok(Arc::new(PartitionLog::open(folder.join(n.to_string()), settings.clone())?)))
            .collect::<Result<_>>()?;
        Ok(Some(Self { path, file: Mutex::new(file), partitions }))
    }

    fn file(&self) -> MutexGuard<'_, TopicFile> {
        self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn partitions(&self, topic: &TopicName) -> Result<Vec<Partition>> {
        let count = self.topic(topic).await?.file().partitions;
        Ok(match count {
            0 => vec![Partition::new(topic.clone(), None)],
            n => (0..n).map(|index| Partition::new(topic.clone(), Some(index))).collect(),
        })
    }

    async fn create_topic(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        // Of two creators one fails.
        let turn = Arc::clone(&self.changing).lock_owned().await;
        let folder = self.topic_folder(topic);
        let exists = Error::invalid(format!("there is a topic `{topic}` already"));
        blocking(move || {
            let _turn = turn;
            let path = folder.join("topic.json");
            if path.exists() {
                return Err(exists);
            }
            if folder.exists() {
                // What a deletion left that was cut off.
                fs::remove_dir_all(&folder).map_err(io(&folder, "deleting"))?;
            }
            fs::create_dir_all(&folder).map_err(io(&folder, "making"))?;
            // Namespace, tenant and `topics` may be new too.
            folder.ancestors().skip(1).take(4).try_for_each(sync_folder)?;
            let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
            let file =
                TopicFile { partitions, creation: created.to_string(), uuid: Uuid::new_v4(), schemas: Vec::new() };
            replace_json(&path, &file)
        })
        .await
    }

    async fn delete_topic(&self, topic: &TopicName) -> Result<()> {
        let turn = Arc::clone(&self.changing).lock_owned().await;
        let folder = self.topic_folder(topic);
        let path = folder.join("topic.json");
        if !path.exists() {
            return Err(self.no_topic(topic));
        }
        // First the name goes, then the bytes: a crash leaves no half topic.
        fs::remove_file(&path).map_err(io(&path, "deleting"))?;
        sync_folder(&folder)?;
        if let Some(topic) = self.open_topics().remove(topic) {
            topic.partitions.iter().for_each(|partition| partition.delete());
        }
        blocking(move || {
            let _turn = turn;
            fs::remove_dir_all(&folder).map_err(io(&folder, "deleting"))
        })
        .await
    }

    async fn topics(&self, tenant: &str, namespace: &str) -> Result<Vec<TopicName>> {
        let folder = self.namespace_folder(tenant, namespace);
        let names = names_in(&folder)?.into_iter().filter(|name| folder.join(encode(name)).join("topic.json").exists());
        Ok(names.map(|name| TopicName::new(tenant, namespace, name)).collect())
    }

    async fn namespaces(&self) -> Result<Vec<(String, String)>> {
        let folder = self.folder.join("topics");
        let mut found = vec![("public".to_string(), "default".to_string())];
        for tenant in names_in(&folder)? {
            found.extend(names_in(&folder.join(encode(&tenant)))?.into_iter().map(|name| (tenant.clone(), name)));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    async fn create_namespace(&self, tenant: &str, namespace: &str) -> Result<()> {
        if self.namespaces().await?.contains(&(tenant.to_string(), namespace.to_string())) {
            return Err(Error::invalid(format!("there is a namespace `{tenant}/{namespace}` already")));
        }
        let folder = self.namespace_folder(tenant, namespace);
        fs::create_dir_all(&folder).map_err(io(&folder, "making"))
    }

    async fn delete_namespace(&self, tenant: &str, namespace: &str) -> Result<()> {
        if (tenant, namespace) == ("public", "default") {
            return Err(Error::invalid("the namespace `public/default` is always there"));
        }
        if !self.namespaces().await?.contains(&(tenant.to_string(), namespace.to_string())) {
            return Err(Error::invalid(format!("there is no namespace `{tenant}/{namespace}`")));
        }
        if let Some(topic) = self.topics(tenant, namespace).await?.first() {
            return Err(Error::invalid(format!("the namespace `{tenant}/{namespace}` has the topic `{topic}`")));
        }
        // A folder that is not empty stays: a topic made meanwhile is in it.
        let folder = self.namespace_folder(tenant, namespace);
        fs::remove_dir(&folder).map_err(io(&folder, "removing"))
    }

    async fn open_reader(&self, partition: &Partition, after: Cut) -> Result<Box<dyn EntryReader>> {
        let log = self.partition(partition).await?;
        Ok(Box::new(reader::SegmentReader::new(log, after, self.settings.max_entry_bytes)))
    }

    async fn last_position(&self, partition: &Partition) -> Result<Option<Position>> {
        Ok(self.partition(partition).await?.last_position())
    }

    async fn open_appender(&self, partition: &Partition, producer_name: &str) -> Result<Box<dyn Appender>> {
        let log = self.partition(partition).await?;
        let last = log.last_sequence_id(producer_name);
        let max_entry = self.settings.max_entry_bytes;
        Ok(Box::new(EmbeddedAppender { log, producer: producer_name.to_string(), last, max_entry }))
    }

    async fn open_pin(&self, partition: &Partition, name: &str) -> Result<Box<dyn Pin>> {
        let log = self.partition(partition).await?;
        let (making, name) = (Arc::clone(&log), name.to_string());
        let pin = name.clone();
        let was_there = blocking(move || making.make_pin(&pin)).await?;
        Ok(Box::new(EmbeddedPin { log, name, was_there }))
    }

    async fn find_pin(&self, partition: &Partition, name: &str) -> Result<Option<Cut>> {
        Ok(self.partition(partition).await?.pin(name))
    }

    async fn remove_pin(&self, partition: &Partition, name: &str) -> Result<()> {
        let (log, name) = (self.partition(partition).await?, name.to_string());
        blocking(move || log.remove_pin(&name)).await
    }

    async fn ledgers(&self, partition: &Partition) -> Result<Vec<LedgerInfo>> {
        Ok(self.partition(partition).await?.ledgers())
    }

    async fn identity(&self, topic: &TopicName) -> Result<TopicIdentity> {
        let topic = self.topic(topic).await?;
        let file = topic.file();
        Ok(TopicIdentity { creation: file.creation.clone(), uuid: file.uuid })
    }

    async fn policies(&self, topic: &TopicName) -> Result<Policies> {
        self.topic(topic).await?;
        Ok(Policies {
            retention: self.settings.retention,
            deduplicates: true,
            max_message_bytes: self.settings.max_entry_bytes,
            ..Policies::default()
        })
    }

    async fn schema(
        &self,
        topic: &TopicName,
        version: Option<&SchemaVersion>,
    ) -> Result<Option<(SchemaVersion, TopicSchema)>> {
        let topic = self.topic(topic).await?;
        let file = topic.file();
        let number = match version {
            Some(version) => version.number(),
            None => Some(file.schemas.len() as i64 - 1),
        };
        let index = number.and_then(|number| usize::try_from(number).ok());
        Ok(index.and_then(|index| Some((SchemaVersion::from_number(index as i64), file.schemas.get(index)?.clone()))))
    }

    async fn put_schema(&self, topic: &TopicName, schema: &TopicSchema) -> Result<SchemaVersion> {
        let topic = self.topic(topic).await?;
        let mut file = topic.file();
        if let Some(index) = file.schemas.iter().position(|known| known == schema) {
            return Ok(SchemaVersion::from_number(index as i64));
        }
        let mut changed = file.clone();
        changed.schemas.push(schema.clone());
        replace_json(&topic.path, &changed)?;
        *file = changed;
        Ok(SchemaVersion::from_number(file.schemas.len() as i64 - 1))
    }

    fn address(&self) -> String {
        format!("embedded:{}", self.folder.display())
    }
}

#[derive(Debug)]
struct EmbeddedAppender {
    log: Arc<PartitionLog>,
    producer: String,
    last: i64,
    max_entry: usize,
}

#[async_trait]
impl Appender for EmbeddedAppender {
    fn last_sequence_id(&self) -> i64 {
        self.last
    }

    async fn append(&mut self, bytes: Bytes, lowest: i64, highest: i64, messages: u32) -> Result<Receipt> {
        let limits = EntryLimits { max_entry_bytes: self.max_entry, ..EntryLimits::default() };
        let summary = summarize(&bytes, &limits).map_err(|error| error.context("appending an entry"))?;
        let named =
            (summary.producer_name.as_str(), summary.lowest_sequence_id, summary.highest_sequence_id, summary.messages);
        if named != (self.producer.as_str(), lowest, highest, messages) {
            return Err(Error::internal(
                "an entry names another producer, other sequence ids or another count than its append",
            ));
        }
        let receipt = self.log.append(&self.producer, bytes, lowest, highest).await?;
        self.last = self.last.max(highest);
        Ok(receipt)
    }
}

#[derive(Debug)]
struct EmbeddedPin {
    log: Arc<PartitionLog>,
    name: String,
    was_there: bool,
}

#[async_trait]
impl Pin for EmbeddedPin {
    fn was_there(&self) -> bool {
        self.was_there
    }

    async fn cut(&self) -> Result<Cut> {
        self.log.pin(&self.name).ok_or_else(|| Error::gone(format!("the pin `{}` has been removed", self.name)))
    }

    async fn advance(&mut self, position: Position) -> Result<()> {
        let (log, name) = (Arc::clone(&self.log), self.name.clone());
        blocking(move || log.advance_pin(&name, position)).await
    }
}

#[cfg(test)]
mod tests;
