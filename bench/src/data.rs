//! The histories that are read: bids as in the Nexmark benchmark, written as Avro to an embedded topic and archived by our own archiver.
//!
//! ```text
//!  bids   as fast as Nexmark sends them, without keys
//!  day    the same bids spread over one day, each under its bidder's key
//! ```
//!
//! Seeded: the same number of rows gives the same history. It is made once and kept; a folder that was not finished is made again.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use aquifer_catalog::Catalogs;
use aquifer_catalog::catalogs::Target;
use aquifer_catalog::definition::{ColumnDefinition, ColumnKind, MetadataKey, TableDefinition, WatermarkDefinition};
use aquifer_formats::entry::{Compression, EntrySpec, NewMessage, build_entry};
use aquifer_formats::payload::{Format, encoder};
use aquifer_model::SqlType;
use aquifer_storage::archive::archiver::{ArchiveSettings, Archiver};
use aquifer_storage::log::FinishedEntry;
use aquifer_storage::reader::TieredTopic;
use arrow::array::{
    ArrayRef, AsArray, Int64Array, Int64Builder, RecordBatch, StringViewBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::cli::{Benchmark, Settings};
use crate::measure::{Outcome, run_self};

/// The columns of a bid.
pub const COLUMNS: [(&str, &str); 7] = [
    ("auction", "BIGINT NOT NULL"),
    ("bidder", "BIGINT NOT NULL"),
    ("price", "BIGINT NOT NULL"),
    ("channel", "STRING NOT NULL"),
    ("url", "STRING NOT NULL"),
    ("dateTime", "TIMESTAMP(3) NOT NULL"),
    ("extra", "STRING NOT NULL"),
];
/// A bid as apache-avro reads and writes it by serde.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bid<T> {
    pub auction: i64,
    pub bidder: i64,
    pub price: i64,
    pub channel: T,
    pub url: T,
    #[serde(rename = "dateTime")]
    pub date_time: i64,
    pub extra: T,
}

/// Builders of the columns of bids, filled row by row.
#[derive(Debug, Default)]
pub struct BidColumns {
    numbers: [Int64Builder; 4],
    texts: [StringViewBuilder; 3],
}

impl BidColumns {
    /// Adds a bid.
    pub fn push(&mut self, bid: &Bid<String>) {
        let numbers = [bid.auction, bid.bidder, bid.price, bid.date_time];
        self.numbers.iter_mut().zip(numbers).for_each(|(column, number)| column.append_value(number));
        let texts = [&bid.channel, &bid.url, &bid.extra];
        self.texts.iter_mut().zip(texts).for_each(|(column, text)| column.append_value(text));
    }

    /// The bids as a batch; the builders are empty again.
    pub fn finish(&mut self) -> Result<RecordBatch, Failure> {
        let [auction, bidder, price, time] = self.numbers.each_mut().map(Int64Builder::finish);
        let [channel, url, extra] = self.texts.each_mut().map(StringViewBuilder::finish);
        let time: TimestampMillisecondArray = time.reinterpret_cast();
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(auction),
            Arc::new(bidder),
            Arc::new(price),
            Arc::new(channel),
            Arc::new(url),
            Arc::new(time),
            Arc::new(extra),
        ];
        Ok(RecordBatch::try_new(schema_of_bids()?, arrays)?)
    }
}

/// The topic's schema as apache-avro needs it for [`Bid`]: a struct fits a record of its own name only. The bytes of a record do not tell its name.
pub fn schema_of_struct(definition: &[u8]) -> Result<apache_avro::Schema, Failure> {
    let mut schema: serde_json::Value = serde_json::from_slice(definition)?;
    schema["name"] = "Bid".into();
    Ok(apache_avro::Schema::parse(&schema)?)
}

/// The table in `default_catalog`.`default_database`.
pub const TABLE: &str = "bid";
/// The table of the day.
pub const DAY_TABLE: &str = "day";
/// When the first bid came, in milliseconds since 1970: midnight.
pub const FIRST_BID_MS: i64 = 1_700_006_400_000;
const DAY_MS: u64 = 86_400_000;
/// Keys of the day.
const KEYS: i64 = 1000;
/// Bids in a second of event time, as Nexmark sends them at its usual 10,000 events a second.
const BIDS_PER_SECOND: u64 = 9_200;
const ROWS_PER_ENTRY: usize = 2_000;
/// Entries that are on their way at once.
const ENTRIES_AT_ONCE: usize = 64;

/// Which history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// As fast as Nexmark sends them.
    Bids,
    /// Spread over a day, with keys.
    Day,
}

impl History {
    /// Its table in `default_catalog`.`default_database`.
    pub fn table(self) -> &'static str {
        match self {
            History::Bids => TABLE,
            History::Day => DAY_TABLE,
        }
    }

    /// The folder that holds it: a data directory of `aquifer`.
    pub fn data_dir(self, settings: &Settings) -> PathBuf {
        match self {
            History::Bids => settings.data_dir(),
            History::Day => settings.data.join(format!("day-{}", settings.rows)),
        }
    }

    fn work(self) -> Benchmark {
        match self {
            History::Bids => Benchmark::Make,
            History::Day => Benchmark::MakeDay,
        }
    }

    fn bids(self, settings: &Settings) -> Bids {
        match self {
            History::Bids => Bids::new(1000, BIDS_PER_SECOND),
            History::Day => Bids::new(DAY_MS, settings.rows),
        }
    }
}

/// The bids' topic in both tiers.
pub async fn topic(settings: &Settings) -> Result<TieredTopic, Failure> {
    let catalogs = Catalogs::open(settings.data_dir()).await?;
    topic_of(&catalogs, "default_catalog", TABLE).await
}

/// The one topic of a table in a catalog's default database.
pub async fn topic_of(catalogs: &Catalogs, catalog: &str, table: &str) -> Result<TieredTopic, Failure> {
    let catalog = catalogs.get(catalog)?;
    match catalog.table(catalog.default_database(), table).await?.target {
        Target::Topics(topics) => topics.into_iter().next().ok_or_else(|| "the table has no topic".into()),
        Target::Pattern(_) | Target::Connector | Target::Rows(_) => Err("the table of bids is no topic".into()),
    }
}

/// Makes the history unless it is there.
pub fn prepare(history: History, settings: &Settings) -> Result<(), Failure> {
    let folder = history.data_dir(settings);
    let done = folder.join("bench-complete");
    if done.exists() {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    eprintln!("making {} bids in {} (once)", settings.rows, folder.display());
    let (outcome, _) = run_self(history.work(), settings)?;
    eprintln!("made and archived {} bids in {:.1} s", outcome.rows, outcome.seconds);
    fs::write(done, "")?;
    Ok(())
}

/// Writes and archives all bids.
pub async fn make(history: History, settings: &Settings) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let catalogs = Catalogs::open(history.data_dir(settings)).await?;
    let catalog = catalogs.get("default_catalog")?;
    catalog.create_table(catalog.default_database(), history.table(), definition(history), false).await?;
    let topic = topic_of(&catalogs, "default_catalog", history.table()).await?;
    let mut bids = history.bids(settings);
    write(&topic, &mut bids, settings.rows, ROWS_PER_ENTRY, history == History::Day).await?;
    let partition =
        topic.log.partitions(&topic.topic).await?.into_iter().next().ok_or("a topic without a partition")?;
    let archived = Archiver::new(topic, ArchiveSettings::default()).run_once(&partition).await?;
    if archived.rows != settings.rows {
        return Err(format!("{} of {} bids were archived", archived.rows, settings.rows).into());
    }
    Ok(Outcome::new(settings.rows, start.elapsed()))
}

/// Writes so many bids to the topic's first partition, so many an entry, in LZ4; with `keyed` each under its bidder's key.
pub async fn write(
    topic: &TieredTopic,
    bids: &mut Bids,
    rows: u64,
    rows_per_entry: usize,
    keyed: bool,
) -> Result<(), Failure> {
    let partition =
        topic.log.partitions(&topic.topic).await?.into_iter().next().ok_or("a topic without a partition")?;
    let (version, schema) = topic.log.schema(&topic.topic, None).await?.ok_or("a table without a schema")?;
    let columns = schema_of_bids()?;
    let mut encoder = encoder(Format::Avro, Arc::clone(&columns), Some(&schema))?;
    let mut appender = topic.log.open_appender(&partition, "aquifer-bench").await?;
    let (mut entries, mut receipts) = (VecDeque::new(), Vec::new());
    let mut written = 0u64;
    while written < rows {
        let count = (rows - written).min(rows_per_entry as u64) as usize;
        let batch = bids.next(&columns, count)?;
        let bidders = batch.column(1).as_primitive::<Int64Type>();
        let keys: Vec<String> = match keyed {
            true => bidders.values().iter().map(|bidder| format!("bidder-{}", bidder % KEYS)).collect(),
            false => Vec::new(),
        };
        let payloads = encoder.encode(&batch)?;
        let lowest = written as i64;
        let messages: Vec<NewMessage<'_>> = (0..count)
            .map(|n| NewMessage {
                sequence_id: lowest + n as i64,
                key: keys.get(n).map(String::as_bytes),
                payload: Some(payloads.value(n)),
                ..NewMessage::default()
            })
            .collect();
        let spec = EntrySpec {
            producer_name: "aquifer-bench".into(),
            publish_time_ms: bids.time(written + count as u64),
            schema_version: Some(version.0.clone()),
            compression: Compression::Lz4,
            batched: true,
            ..EntrySpec::default()
        };
        let bytes = build_entry(&spec, &messages)?;
        let highest = lowest + count as i64 - 1;
        entries.push_back(FinishedEntry { bytes, lowest, highest, messages: count as u32, chunk: false });
        written += count as u64;
        if entries.len() >= ENTRIES_AT_ONCE || written >= rows {
            appender.append_all(&mut entries, &mut receipts).await?;
            receipts.clear();
        }
    }
    Ok(())
}

/// The table of a history.
pub fn definition(history: History) -> TableDefinition {
    let columns = COLUMNS.iter().map(|(name, type_text)| ColumnDefinition {
        name: (*name).to_string(),
        kind: ColumnKind::Physical { type_text: (*type_text).to_string() },
        comment: None,
    });
    let around =
        [("sender", "STRING", MetadataKey::Key), ("publish_time", "TIMESTAMP_LTZ(3)", MetadataKey::PublishTime)];
    let around = around.into_iter().map(|(name, type_text, key)| ColumnDefinition {
        name: name.to_string(),
        kind: ColumnKind::Metadata { type_text: type_text.to_string(), key, is_virtual: true },
        comment: None,
    });
    let columns = columns.chain(around.filter(|_| history == History::Day));
    TableDefinition {
        columns: columns.collect(),
        watermark: Some(WatermarkDefinition {
            column: "dateTime".into(),
            expression: "`dateTime` - INTERVAL '4' SECOND".into(),
        }),
        ..TableDefinition::default()
    }
}

/// The columns of a bid.
pub fn schema_of_bids() -> Result<SchemaRef, Failure> {
    let fields = COLUMNS.iter().map(|(name, type_text)| Ok(SqlType::parse(type_text)?.to_field(name)));
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, Failure>>()?)))
}

/// Bids, one after the other.
pub struct Bids {
    random: StdRng,
    given: u64,
    /// So many milliseconds …
    span_ms: u64,
    /// … have so many bids.
    bids: u64,
}

impl Bids {
    /// So many bids in so many milliseconds.
    pub fn new(span_ms: u64, bids: u64) -> Self {
        Self { random: StdRng::seed_from_u64(0xa9_01fe), given: 0, span_ms, bids: bids.max(1) }
    }

    /// The event time of bid number `number`, in milliseconds.
    fn time(&self, number: u64) -> i64 {
        FIRST_BID_MS + (number * self.span_ms / self.bids) as i64
    }

    /// The next ones.
    pub fn next(&mut self, columns: &SchemaRef, count: usize) -> Result<RecordBatch, Failure> {
        const HOT: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
        let mut numbers: [Vec<i64>; 4] = std::array::from_fn(|_| Vec::with_capacity(count));
        let (mut channels, mut urls, mut extras) =
            (StringViewBuilder::new(), StringViewBuilder::new(), StringViewBuilder::new());
        let mut text = String::new();
        for _ in 0..count {
            let time = self.time(self.given);
            let random = &mut self.random;
            // Half of all bids go to a few hot auctions and channels, as in Nexmark.
            let epoch = (self.given / 10_000) as i64;
            numbers[0].push(
                1000 + if random.random_bool(0.5) { epoch * 100 } else { epoch * 100 + random.random_range(0..100) },
            );
            numbers[1].push(1000 + epoch * 50 + random.random_range(0..1000));
            numbers[2].push(10f64.powf(random.random::<f64>() * 6.0) as i64 * 100);
            if random.random_bool(0.5) {
                channels.append_value(HOT[random.random_range(0..HOT.len())]);
            } else {
                text.clear();
                text.push_str("channel-");
                text.push_str(&random.random_range(0..100).to_string());
                channels.append_value(&text);
            }
            text.clear();
            text.push_str("https://www.nexmark.com/");
            (0..12).for_each(|_| text.push(random.random_range('a'..='z')));
            text.push_str("/item.htm?query=1&channel_id=");
            text.push_str(&random.random_range(0..1u32 << 20).to_string());
            urls.append_value(&text);
            numbers[3].push(time);
            text.clear();
            let length = random.random_range(30..60);
            (0..length).for_each(|_| text.push(random.random_range('a'..='z')));
            extras.append_value(&text);
            self.given += 1;
        }
        let [auctions, bidders, prices, times] = numbers;
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(auctions)),
            Arc::new(Int64Array::from(bidders)),
            Arc::new(Int64Array::from(prices)),
            Arc::new(channels.finish()),
            Arc::new(urls.finish()),
            Arc::new(TimestampMillisecondArray::from(times)),
            Arc::new(extras.finish()),
        ];
        Ok(RecordBatch::try_new(Arc::clone(columns), arrays)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bids_are_the_same_every_time_and_their_time_never_falls() {
        let columns = schema_of_bids().expect("known types");
        let (mut a, mut b) = (Bids::new(1000, BIDS_PER_SECOND), Bids::new(1000, BIDS_PER_SECOND));
        let first = a.next(&columns, 500).expect("bids");
        assert_eq!(first, b.next(&columns, 500).expect("bids"));
        assert_ne!(a.next(&columns, 500).expect("bids"), first);
        let times = first.column(5).as_any().downcast_ref::<TimestampMillisecondArray>().expect("a timestamp");
        assert!(times.values().is_sorted());
        assert_eq!(a.time(0), times.value(0));
    }
}
