//! A table over topics as the input of a job: one source a partition, the archive first, then the log.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aquifer_model::{ChangeBatch, Cut, Error, ErrorKind, Interval, Partition, Position, Result, Watermark};
use aquifer_storage::log::Pin;
use aquifer_storage::reader::{
    PartitionReader, ReadBatch, ReadFilter, ReadRequest, ReadStatistics, TieredTopic, Tiers,
};
use arrow::array::Int64Array;
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{TableSource, TableType};
use tokio::sync::{Mutex as AsyncMutex, OnceCell, watch};

use crate::batch::Until;
use crate::batch::{ConnectorTable, Discovery, StartMode, TieredTable, as_table};
use crate::dataflow::{JobInput, JobSource, ReadAhead, SourceBatch};

/// How many rows a batch has under backlog.
const BATCH_ROWS: usize = 8192;
/// A partition whose stop is due asks its log at most this often whether more has come.
const LOOK: Duration = Duration::from_millis(500);

/// The partitions of a table, and which of its columns are read.
#[derive(Debug)]
pub(super) struct TieredInput {
    topics: Vec<TieredTopic>,
    discovery: Option<Discovery>,
    /// The columns read, in the table's types.
    schema: SchemaRef,
    reader_columns: Vec<String>,
    start: StartMode,
    end: Option<BTreeMap<Partition, Cut>>,
    until: Option<Until>,
    filter: Option<Arc<dyn ReadFilter>>,
    /// The reader's time column and its type.
    time: Option<(String, DataType)>,
    tiers: Tiers,
    pin: Option<String>,
    statistics: Arc<Mutex<BTreeMap<Partition, ReadStatistics>>>,
    /// `None` before the partitions were listed first.
    found: Mutex<Option<BTreeMap<String, Found>>>,
    /// By partition's name.
    pins: Mutex<BTreeMap<String, HeldPin>>,
    /// When its stop is due.
    due: watch::Sender<Option<Due>>,
    ends: Arc<Ends>,
}

/// From a time on, in milliseconds since 1970, partitions that stay quiet for so long end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    from_ms: i64,
    quiet: Duration,
}

/// The ends of all that is there when a stop is due: one cut over all partitions, asked once.
#[derive(Debug)]
struct Ends {
    topics: Vec<TieredTopic>,
    asked: OnceCell<BTreeMap<Partition, Cut>>,
}

impl Ends {
    async fn of(&self, partition: &Partition) -> Result<Cut> {
        let ask = || async {
            let mut all = BTreeMap::new();
            for topic in &self.topics {
                all.extend(topic.end_cuts().await?);
            }
            Ok::<_, Error>(all)
        };
        let ends = self.asked.get_or_try_init(ask).await?;
        Ok(ends.get(partition).copied().unwrap_or_default())
    }
}

type HeldPin = Arc<AsyncMutex<Box<dyn Pin>>>;

#[derive(Debug, Clone)]
struct Found {
    topic: TieredTopic,
    partition: Partition,
    start: Cut,
}

impl TieredInput {
    /// Reads these columns of a table. A `filter` is applied by the readers; `time_column`: they tell the largest time of all rows, left out or not.
    pub(super) fn new(
        table: &TieredTable,
        columns: &[usize],
        filter: Option<Arc<dyn ReadFilter>>,
        time_column: Option<&str>,
    ) -> Result<Self> {
        let time = match time_column {
            Some(name) => {
                let index = table.schema.index_of(name)?;
                Some((table.reader_columns[index].clone(), table.schema.field(index).data_type().clone()))
            }
            None => None,
        };
        let names = columns.iter().map(|column| table.reader_columns.get(*column).cloned());
        let reader_columns: Option<Vec<String>> = names.collect();
        let reader_columns = reader_columns
            .ok_or_else(|| Error::internal(format!("table `{}` has fewer readers than columns", table.name)))?;
        Ok(Self {
            topics: table.topics.clone(),
            discovery: table.discovery.clone(),
            schema: Arc::new(table.schema.project(columns)?),
            reader_columns,
            start: table.start.clone(),
            end: table.end.clone(),
            until: table.until,
            filter,
            time,
            tiers: table.tiers,
            pin: table.pin.clone(),
            statistics: Arc::clone(&table.statistics),
            found: Mutex::default(),
            pins: Mutex::default(),
            due: watch::Sender::new(None),
            ends: Arc::new(Ends { topics: table.topics.clone(), asked: OnceCell::new() }),
        })
    }
}

impl TieredInput {
    /// The same under another pin.
    pub(super) fn pinned(mut self, pin: Option<String>) -> Self {
        self.pin = pin;
        self
    }

    /// A topic's partitions and where to start in them.
    async fn listed(&self, topic: &TieredTopic, first: bool) -> Result<Vec<(Partition, Cut)>> {
        // What stands at the end now is where a read from `latest` starts; a bounded read has its ends already. What is found later is read from its
        // first message on.
        let known: Vec<(Partition, Cut)> = match &self.end {
            Some(end) => end.keys().filter(|p| p.topic == topic.topic).map(|p| (p.clone(), Cut::Start)).collect(),
            None if self.start == StartMode::Latest && first => topic.end_cuts().await?.into_iter().collect(),
            None => topic.log.partitions(&topic.topic).await?.into_iter().map(|p| (p, Cut::Start)).collect(),
        };
        let latest = match (&self.start, &self.end) {
            (StartMode::Latest, Some(end)) => Some(end),
            _ => None,
        };
        let started = known.into_iter().map(|(partition, end)| {
            let start = match &self.start {
                StartMode::Earliest => Cut::Start,
                StartMode::Latest => latest.and_then(|cuts| cuts.get(&partition)).copied().unwrap_or(end),
                StartMode::Cuts(cuts) => cuts.get(&partition).copied().unwrap_or_default(),
            };
            (partition, start)
        });
        Ok(started.collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl JobInput for TieredInput {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn partitions(&self) -> Result<Vec<String>> {
        let known = lock(&self.found).clone();
        let topics = match (&known, &self.discovery) {
            (Some(_), Some(Discovery { pattern: Some(pattern), .. })) => pattern.find().await?,
            _ => self.topics.clone(),
        };
        let first = known.is_none();
        let mut found = known.unwrap_or_default();
        for topic in topics {
            for (partition, start) in self.listed(&topic, first).await? {
                let name = partition.to_string();
                found.entry(name).or_insert_with(|| Found { topic: topic.clone(), partition, start });
            }
        }
        let names = found.keys().cloned().collect();
        *lock(&self.found) = Some(found);
        Ok(names)
    }

    async fn open(&self, partition: &str, from: Option<Cut>) -> Result<Box<dyn JobSource>> {
        let (found, partitions) = match &*lock(&self.found) {
            Some(all) => (all.get(partition).cloned(), all.len()),
            None => (None, 0),
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let found = found.ok_or_else(|| Error::internal(format!("partition `{partition}` was not listed")))?;
        let mut to = match &self.end {
            Some(end) => Some(end.get(&found.partition).copied().unwrap_or_default()),
            None => None,
        };
        let mut from = from.unwrap_or(found.start);
        let mut tiers = self.tiers;
        // Before anything is asked of the archive: what it covers then need not be held, what it does not cannot go.
        if let Some(name) = &self.pin {
            let mut pin = found.topic.log.open_pin(&found.partition, name).await?;
            if let Cut::After(position) = from {
                pin.advance(position).await?;
            }
            lock(&self.pins).insert(partition.to_string(), Arc::new(AsyncMutex::new(pin)));
        }
        // Where nobody asks for the time of rows, what holds none that is wanted need not be read.
        if let (Some(filter), None) = (&self.filter, &self.time) {
            let wanted = Interval::new(from, to.unwrap_or(Cut::After(Position::new(u64::MAX, u64::MAX))));
            match found.topic.narrowed(&found.partition, wanted, tiers, filter.as_ref()).await? {
                Some((left, left_tiers)) => {
                    from = left.from;
                    if to.is_some() {
                        (to, tiers) = (Some(left.to), left_tiers);
                    }
                }
                None if to.is_some() => to = Some(from),
                // A read without an end goes on without an end.
                None => {}
            }
        }
        let request = ReadRequest {
            columns: self.reader_columns.clone(),
            filter: self.filter.clone(),
            time_column: self.time.as_ref().map(|(name, _)| name.clone()),
            tiers,
            batch_rows: BATCH_ROWS,
            decoders: cores / partitions.max(1),
        };
        let reader = found.topic.open(&found.partition, from, to, request).await?;
        let (schema, statistics) = (Arc::clone(&self.schema), Arc::clone(&self.statistics));
        let until_ms = self.until.and_then(|until| until.publish_time_ms);
        // What has an end already, or is no longer written, ends by itself.
        let waits = self.stop_watermark().is_some() && self.end.is_none() && self.tiers != Tiers::Archive;
        let due = waits.then(|| self.due.subscribe());
        let ends = Arc::clone(&self.ends);
        let topic = found.topic;
        let time = self.time.as_ref().map(|(_, data_type)| data_type.clone());
        let (partition, said) = (found.partition, ReadStatistics::default());
        let closing = None;
        let source =
            TieredSource { topic, partition, reader, schema, statistics, until_ms, due, ends, closing, time, said };
        Ok(Box::new(ReadAhead::start(Box::new(source))))
    }

    fn tells_time(&self) -> bool {
        self.time.is_some()
    }

    fn discovery(&self) -> Option<Duration> {
        self.discovery.as_ref().map(|discovery| discovery.interval)
    }

    fn notes_passed(&self) -> bool {
        self.pin.is_some()
    }

    async fn passed(&self, partition: &str, cut: Cut) -> Result<()> {
        let pin = lock(&self.pins).get(partition).cloned();
        let (Some(pin), Cut::After(position)) = (pin, cut) else { return Ok(()) };
        match pin.lock().await.advance(position).await {
            // Somebody removed it, which the pin has said itself; it is not made again.
            Err(error) if error.kind() == ErrorKind::Gone => {
                lock(&self.pins).remove(partition);
                Ok(())
            }
            moved => moved,
        }
    }

    /// Topics of a pattern come and go while a stream without an end runs. A read that has a stop was promised what it fails to get.
    async fn is_gone(&self, partition: &str) -> bool {
        let come_and_go = self.discovery.as_ref().is_some_and(|discovery| discovery.pattern.is_some());
        if !come_and_go || self.end.is_some() || self.until.is_some() {
            return false;
        }
        let found = lock(&self.found).as_ref().and_then(|found| found.get(partition)).cloned();
        // What is not in the list any more went before.
        let Some(Found { topic, partition: asked, .. }) = found else { return true };
        let gone = match topic.log.partitions(&topic.topic).await {
            Ok(partitions) => !partitions.contains(&asked),
            Err(error) => error.kind() == ErrorKind::Invalid,
        };
        if gone && let Some(found) = lock(&self.found).as_mut() {
            // Made again it is another, which is read from its start.
            found.remove(partition);
        }
        if gone {
            lock(&self.pins).remove(partition);
        }
        gone
    }

    fn stop_watermark(&self) -> Option<Watermark> {
        self.until.and_then(|until| until.watermark)
    }

    fn end_quiet_partitions(&self, from_ms: i64, quiet: Duration) {
        self.due.send_replace(Some(Due { from_ms, quiet }));
    }
}

struct TieredSource {
    topic: TieredTopic,
    partition: Partition,
    reader: PartitionReader,
    schema: SchemaRef,
    statistics: Arc<Mutex<BTreeMap<Partition, ReadStatistics>>>,
    /// When this time has come, the read gets its stop.
    until_ms: Option<i64>,
    /// When the stop is due that another partition may have reached; `None`: nobody need say so.
    due: Option<watch::Receiver<Option<Due>>>,
    ends: Arc<Ends>,
    /// Since the stop is due.
    closing: Option<Closing>,
    time: Option<DataType>,
    /// What the sums have of this reader.
    said: ReadStatistics,
}

/// A partition on its way to an end that its own watermark does not tell.
#[derive(Debug, Clone, Copy)]
struct Closing {
    /// How long it must be quiet.
    quiet: Duration,
    /// The end of what was there when it was asked last.
    end: Cut,
    /// When the end was first seen there.
    since: Instant,
}

impl TieredSource {
    /// The next batch; a stop by publish time is found once that time has come, an end once the stop by event time is due.
    async fn advance(&mut self) -> Result<Option<ReadBatch>> {
        loop {
            let (until_ms, closing) = (self.until_ms, self.closing);
            tokio::select! {
                next = self.reader.next() => match (next?, closing) {
                    (None, Some(closing)) => {
                        if !self.goes_on(closing).await? {
                            return Ok(None);
                        }
                    }
                    (next, _) => return Ok(next),
                },
                () = reached(until_ms.unwrap_or(i64::MAX)), if until_ms.is_some() => {
                    let cut = self.topic.cut_at_publish_time(&self.partition, until_ms.unwrap_or(i64::MAX)).await?;
                    self.reader.stop_at(cut);
                    // Nothing else need end it.
                    (self.until_ms, self.due, self.closing) = (None, None, None);
                }
                quiet = is_due(&mut self.due), if closing.is_none() => {
                    let since = Instant::now();
                    let end = self.ends.of(&self.partition).await?;
                    self.reader.stop_at(end);
                    self.closing = Some(Closing { quiet, end, since });
                }
            }
        }
    }

    /// Everything up to the end that was asked for last is given: whether more has come, or may come still.
    async fn goes_on(&mut self, Closing { quiet, end, since }: Closing) -> Result<bool> {
        tokio::time::sleep(LOOK.min(quiet)).await;
        let asked = Instant::now();
        let last = Cut::from(self.topic.log.last_position(&self.partition).await?);
        if last > end {
            self.reader.stop_at(last);
            self.closing = Some(Closing { quiet, end: last, since: asked });
            return Ok(true);
        }
        Ok(since.elapsed() < quiet)
    }
}

/// Waits until a stop is due, and gives how long a partition must be quiet then; for ever where nobody says so.
async fn is_due(due: &mut Option<watch::Receiver<Option<Due>>>) -> Duration {
    let Some(due) = due else { return std::future::pending().await };
    loop {
        let found = *due.borrow_and_update();
        let coming = async {
            match found {
                Some(Due { from_ms, .. }) => reached(from_ms).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = coming => {
                if let Some(Due { quiet, .. }) = found {
                    return quiet;
                }
            }
            changed = due.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// Waits until a time, in milliseconds since 1970, has come.
async fn reached(time_ms: i64) {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let Some(left) = u64::try_from(time_ms.saturating_sub(now)).ok().filter(|left| *left > 0) else { return };
        // The clock may be set meanwhile, so it is asked now and then.
        tokio::time::sleep(Duration::from_millis(left.min(60_000))).await;
    }
}

#[async_trait]
impl JobSource for TieredSource {
    async fn next(&mut self) -> Result<Option<SourceBatch>> {
        let next = self.advance().await;
        let now = self.reader.statistics();
        let mut sums = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        sums.entry(self.partition.clone()).or_default().add_since(&self.said, &now);
        drop(sums);
        self.said = now;
        let Some(batch) = next? else { return Ok(None) };
        let rows = as_table(&batch.rows, &self.schema)?;
        let time = match (&self.time, batch.time_max) {
            (Some(data_type), Some(time)) => Some(cast(&Int64Array::from(vec![time]), data_type)?),
            _ => None,
        };
        Ok(Some(SourceBatch { changes: ChangeBatch::inserts(rows), cut: batch.cut, time }))
    }
}

/// Any [`JobInput`] as a table of a plan: generators, and the input of tests. Only streaming can read it.
pub struct StreamTable(pub Arc<dyn JobInput>);

impl fmt::Debug for StreamTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamTable").field(&self.0).finish()
    }
}

impl TableSource for StreamTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }
}

/// What a scan reads.
pub(crate) enum ScannedTable<'a> {
    Tiered(&'a TieredTable),
    Connector(&'a ConnectorTable),
    Stream(&'a Arc<dyn JobInput>),
}

/// Finds the table behind a scan's source: the source itself, or the provider in it.
pub(crate) fn find_table(source: &dyn TableSource) -> Option<ScannedTable<'_>> {
    let source: &dyn std::any::Any = source;
    if let Some(table) = source.downcast_ref::<TieredTable>() {
        return Some(ScannedTable::Tiered(table));
    }
    if let Some(StreamTable(input)) = source.downcast_ref::<StreamTable>() {
        return Some(ScannedTable::Stream(input));
    }
    let provider = &source.downcast_ref::<datafusion::datasource::DefaultTableSource>()?.table_provider;
    let provider: &dyn TableProvider = provider.as_ref();
    let provider: &dyn std::any::Any = provider;
    let connector = || provider.downcast_ref::<ConnectorTable>().map(ScannedTable::Connector);
    provider.downcast_ref::<TieredTable>().map(ScannedTable::Tiered).or_else(connector)
}
