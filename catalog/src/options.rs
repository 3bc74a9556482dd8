//! Option keys of catalogs and tables: canonical names, aliases, what is refused and what is accepted without meaning.
//!
//! ```text
//!  keys as written ─► known (rows: spelling → canonical key, value check) ─► canonical options + notices ─► typed settings
//! ```
//!
//! A key has one canonical spelling; everything behind this module sees only those. Keys that Flink or its Pulsar connectors document and
//! that change nothing here are kept and told as notices; a key whose meaning would be lost is refused, as is every unknown one.

mod database;
mod known;
mod range;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aquifer_formats::changelog::MessageFormat;
use aquifer_formats::csv::CsvFormat;
use aquifer_formats::entry::Compression;
use aquifer_formats::payload::Format;
use aquifer_model::{Error, Result};
use aquifer_storage::embedded::EmbeddedSettings;
use aquifer_storage::pulsar::{Authentication, EncryptedMessages, PulsarConfig, TlsSettings};
use aquifer_storage::reader::{OnDecodeError, Tiers};
use aquifer_storage::s3;

pub use self::database::{database_options, database_policies};
use self::known::{Row, Take};
use crate::definition::{NamedTopic, parse_topics};
use crate::names::nearest;
use crate::topic_pattern::TopicsPattern;

pub use self::range::{EventStop, Startup, Stop};
pub use self::values::{Units, parse_duration, scaled};

/// Options with canonical keys and checked values, and what to tell the user about some of them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Canonical keys.
    pub options: BTreeMap<String, String>,
    /// One line each.
    pub notices: Vec<String>,
}

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").field("options", &masked(&self.options)).field("notices", &self.notices).finish()
    }
}

/// What a catalog's options say.
#[derive(Debug, Clone)]
pub struct CatalogSettings {
    /// Which log.
    pub log: LogSettings,
    /// Where archives lie, if not under the data directory.
    pub archive: Option<String>,
    /// Where the definitions of its tables and views lie, if not in the data directory.
    pub definitions: Option<String>,
    /// The database that `USE CATALOG` selects.
    pub default_database: String,
    /// Partitions of topics made by `CREATE TABLE`; 0: not partitioned.
    pub default_partitions: u32,
    /// The format of topics made by `CREATE TABLE`.
    pub default_format: Format,
    /// What an entry may inflate to, if that is said.
    pub max_inflated_bytes: Option<usize>,
}

/// How often a stream looks for new topics and partitions where nothing is said, as in Flink's connector.
const DISCOVERY: Duration = Duration::from_secs(5 * 60);

/// Which log a catalog or an explicit table reads.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one is made when a statement is planned
pub enum LogSettings {
    /// Files in a folder.
    Embedded(PathBuf, EmbeddedSettings),
    /// A cluster.
    Pulsar(PulsarConfig),
}

/// What a table's options say, as far as they are about topics.
#[derive(Debug, Clone, Default)]
pub struct TableSettings {
    /// The topics of an explicit table; empty for a topic of the catalog.
    pub topics: Vec<NamedTopic>,
    /// Which topics an explicit table reads, by their names.
    pub pattern: Option<TopicsPattern>,
    /// How often a stream looks for new topics and partitions; `None`: never.
    pub discovery: Option<Duration>,
    /// Another log than the catalog's.
    pub log: Option<LogSettings>,
    /// How that log, or the catalog's, is read.
    pub log_reading: LogReading,
    /// How payloads are written, if that is said.
    pub format: Option<Format>,
    /// Where reading starts.
    pub startup: Startup,
    /// Where it stops.
    pub stop: Stop,
    /// The event time up to which is read, beside that stop: what is reached first counts.
    pub stop_event_time: Option<EventStop>,
    /// How a stream over it tells time.
    pub watermarks: WatermarkSettings,
    /// What becomes of a message that does not decode.
    pub on_decode_error: OnDecodeError,
    /// Which tiers are read.
    pub tiers: Tiers,
    /// The durable subscription that a stream holds, so that nothing is trimmed before it was read.
    pub pin: Option<String>,
    /// What an entry may inflate to, if that is said.
    pub max_inflated_bytes: Option<usize>,
    /// Where archives lie, if not where the catalog's do.
    pub archive: Option<String>,
    /// Partitions of a topic to be made.
    pub partitions: Option<u32>,
    /// How rows become messages.
    pub sink: SinkSettings,
}

/// How a stream over a table tells time, as far as that is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatermarkSettings {
    /// When a watermark is said.
    pub emit: Option<Emit>,
    /// After this long without a row a partition no longer holds the watermark back; zero: never.
    pub idle_timeout: Option<Duration>,
    /// Which sources it does not run ahead of.
    pub alignment: Option<Alignment>,
}

/// When a watermark is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Now and then.
    Periodic,
    /// After every so many rows of a partition.
    Rows(u64),
}

/// A group of sources none of which runs ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alignment {
    /// The group's name.
    pub group: String,
    /// A partition whose watermark is ahead of the lowest of the group by more than this waits.
    pub max_drift: Duration,
}

impl WatermarkSettings {
    fn of(options: &BTreeMap<String, String>) -> Result<Self> {
        let get = |key: &str| options.get(key).map(String::as_str);
        let emit = match get("scan.watermark.emit.strategy") {
            Some("on-event") => Some(Emit::Rows(number(options, "scan.watermark.emit.on-event.gap")?.unwrap_or(1))),
            Some(_) => Some(Emit::Periodic),
            None => None,
        };
        let max_drift = get("scan.watermark.alignment.max-drift").map(duration).transpose()?;
        let group = get("scan.watermark.alignment.group").map(String::from);
        Ok(Self {
            emit,
            idle_timeout: get("scan.watermark.idle-timeout").map(duration).transpose()?,
            alignment: group.zip(max_drift).map(|(group, max_drift)| Alignment { group, max_drift }),
        })
    }
}

/// How a cluster is read, as far as that is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogReading {
    encrypted: Option<EncryptedMessages>,
    read_compacted: Option<bool>,
    connect_timeout: Option<Duration>,
    operation_timeout: Option<Duration>,
    max_frame_bytes: Option<usize>,
}

impl LogReading {
    fn of(options: &BTreeMap<String, String>) -> Result<Self> {
        let get = |key: &str| options.get(key).map(String::as_str);
        Ok(Self {
            encrypted: get("on-encrypted").map(|policy| match policy {
                "discard" => EncryptedMessages::Discard,
                "raw" => EncryptedMessages::Raw,
                _ => EncryptedMessages::Fail,
            }),
            read_compacted: get("read-compacted").map(|value| value == "true"),
            connect_timeout: get("connect-timeout").map(duration).transpose()?,
            operation_timeout: get("operation-timeout").map(duration).transpose()?,
            max_frame_bytes: number(options, "max-frame-bytes")?,
        })
    }

    /// The settings of a log with these in their places.
    pub fn over(&self, log: LogSettings) -> Result<LogSettings> {
        match log {
            LogSettings::Pulsar(config) => Ok(LogSettings::Pulsar(PulsarConfig {
                encrypted: self.encrypted.unwrap_or(config.encrypted),
                read_compacted: self.read_compacted.unwrap_or(config.read_compacted),
                connect_timeout: self.connect_timeout.unwrap_or(config.connect_timeout),
                operation_timeout: self.operation_timeout.unwrap_or(config.operation_timeout),
                max_frame_bytes: self.max_frame_bytes.or(config.max_frame_bytes),
                ..config
            })),
            LogSettings::Embedded(..) if self.read_compacted == Some(true) => Err(Error::invalid(
                "'read-compacted' = 'true' is for topics of a cluster: an embedded log is not compacted",
            )),
            log @ LogSettings::Embedded(..) => Ok(log),
        }
    }
}

/// How rows become messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSettings {
    /// Whether rows are changes by the primary key: the newest message of a key is what stands, one without a value deletes.
    pub upsert: bool,
    /// The columns that make the message's key; empty: none do (with `upsert` the primary key does).
    pub key_fields: Vec<String>,
    /// How the key is written, if that is said.
    pub key_format: Option<Format>,
    /// Whether rows go to partitions in turn, whatever their key.
    pub round_robin: bool,
    /// Whether a key's partition is chosen by Murmur3 instead of Java's hash of texts.
    pub murmur3: bool,
    /// How entries are compressed; `None`: LZ4.
    pub compression: Option<Compression>,
    /// The name that the first writer writes under, and the others with their numbers behind it, if that is said.
    pub producer_name: Option<String>,
    /// Whether an entry holds several messages.
    pub batching: bool,
    /// Beyond this many messages an entry is closed, if that is said.
    pub batch_messages: Option<usize>,
    /// Beyond this many bytes an entry is closed, if that is said.
    pub batch_bytes: Option<usize>,
    /// Whether a message that is longer than an entry may be is cut into chunks.
    pub chunking: bool,
    /// So long what is not answered is sent again, if that is said.
    pub send_timeout: Option<Duration>,
    /// So long after it was written a broker gives a message to shared subscriptions; zero: at once.
    pub delay: Duration,
    /// Whether each row is to be there once whatever fails.
    pub exactly_once: bool,
}

impl Default for SinkSettings {
    fn default() -> Self {
        Self {
            upsert: false,
            key_fields: Vec::new(),
            key_format: None,
            round_robin: false,
            murmur3: false,
            compression: None,
            producer_name: None,
            batching: true,
            batch_messages: None,
            batch_bytes: None,
            chunking: false,
            send_timeout: None,
            delay: Duration::ZERO,
            exactly_once: false,
        }
    }
}

/// Checks a catalog's options as the user wrote them.
pub fn check_catalog(given: impl IntoIterator<Item = (String, String)>) -> Result<Checked> {
    let given: Vec<(String, String)> = given.into_iter().collect();
    let kind = given.iter().find(|(key, _)| key == "type").map(|(_, value)| value.as_str());
    let Some(kind) = kind else {
        return Err(Error::invalid("the option `type` is missing: write 'type' = 'pulsar' or 'type' = 'embedded'"));
    };
    // StreamNative's names stand for a cluster on this machine where no address is given.
    let local = matches!(kind, "pulsar-catalog" | "local-pulsar");
    let mut checked = check(given.clone(), &[known::CATALOG, known::CLIENT], "a catalog")?;
    let has = |checked: &Checked, key: &str| checked.options.contains_key(key);
    if local && !has(&checked, "service-url") && !has(&checked, "admin-url") {
        for (key, value) in [("service-url", "pulsar://localhost:6650"), ("admin-url", "http://localhost:8080")] {
            checked.options.insert(key.to_string(), value.to_string());
        }
    }
    catalog_settings(&checked.options)?;
    Ok(checked)
}

/// Checks a table's options as the user wrote them. Those of other connectors than `pulsar` are theirs to check, and pass as they are.
pub fn check_table(given: impl IntoIterator<Item = (String, String)>) -> Result<Checked> {
    let given: Vec<(String, String)> = given.into_iter().collect();
    match given.iter().find(|(key, _)| key == "connector").map(|(_, value)| value.as_str()) {
        Some("pulsar" | "upsert-pulsar") => {
            let checked = check(given, &[known::CONNECTOR, known::TOPIC, known::CLIENT], "a pulsar table")?;
            match (checked.options.contains_key("topics"), checked.options.contains_key("topics-pattern")) {
                (false, false) => {
                    return Err(Error::invalid("the option `topics` is missing: name the topic that the table reads"));
                }
                (true, true) => {
                    return Err(Error::invalid("`topics` and `topics-pattern` exclude each other: keep one"));
                }
                _ => {}
            }
            check_key(&checked.options)?;
            table_settings(&checked.options)?;
            Ok(checked)
        }
        Some(_) => Ok(Checked { options: given.into_iter().collect(), notices: Vec::new() }),
        None => {
            if let Some((key, _)) = given.iter().find(|(key, _)| known::CONNECTOR.iter().any(|row| row.given == key)) {
                return Err(Error::invalid(format!(
                    "the option `{key}` needs 'connector' = 'pulsar': a table without a connector is a topic of its catalog"
                )));
            }
            let checked = check(given, &[known::TOPIC], "a topic's table")?;
            check_key(&checked.options)?;
            table_settings(&checked.options)?;
            Ok(checked)
        }
    }
}

/// That none of the options among canonical ones is without effect for want of another one; those that `is_given` leaves out are not asked about.
pub fn check_effects(options: &BTreeMap<String, String>, is_given: impl Fn(&str) -> bool) -> Result<()> {
    match range::without_effect(options).find(|(key, _)| is_given(key)) {
        Some((key, needs)) => Err(Error::invalid(format!("the option `{key}` has no effect without {needs}"))),
        None => Ok(()),
    }
}

/// That the options about keys go together.
fn check_key(options: &BTreeMap<String, String>) -> Result<()> {
    let get = |key: &str| options.get(key).map(String::as_str);
    let upsert = get("connector") == Some("upsert-pulsar");
    match (upsert, get("key.fields"), get("key.format")) {
        (true, Some(_), _) => Err(Error::invalid(
            "`upsert-pulsar` takes its key from the table's PRIMARY KEY: leave the option `key.fields` out",
        )),
        (false, None, Some(_)) => Err(Error::invalid("'key.format' needs 'key.fields': the columns that make the key")),
        (false, None, None) if get("value.fields-include") == Some("EXCEPT_KEY") => Err(Error::invalid(
            "'value.fields-include' = 'EXCEPT_KEY' needs 'key.fields': the columns that make the key",
        )),
        _ if get("value.fields-include") == Some("EXCEPT_KEY") && get("connector").is_none() => Err(Error::invalid(
            "'value.fields-include' = 'EXCEPT_KEY' needs 'connector' = 'pulsar': the columns of a topic of the catalog are those of its values",
        )),
        _ if get("key.fields-prefix").is_some_and(|prefix| !prefix.is_empty())
            && get("value.fields-include") != Some("EXCEPT_KEY") =>
        {
            Err(Error::invalid(
                "'key.fields-prefix' needs 'value.fields-include' = 'EXCEPT_KEY': a column that stands in the value too has one name",
            ))
        }
        _ if upsert && get("sink.topic-routing-mode") == Some("round-robin") => Err(Error::invalid(
            "'sink.topic-routing-mode' = 'round-robin' would lose the order of a key's changes: `upsert-pulsar` goes by the key",
        )),
        _ => Ok(()),
    }
}

/// The canonical spelling of a key of a table with these options; a key that is not known here stays as it is.
pub fn canonical_key<'a>(options: &BTreeMap<String, String>, key: &'a str) -> &'a str {
    match options.get("connector").map(String::as_str) {
        Some("pulsar" | "upsert-pulsar") => canonical(&[known::CONNECTOR, known::TOPIC, known::CLIENT], key),
        Some(_) => key,
        None => canonical(&[known::TOPIC], key),
    }
}

/// The canonical spelling of a catalog's key; one that is not known stays as it is.
pub fn canonical_catalog_key(key: &str) -> &str {
    canonical(&[known::CATALOG, known::CLIENT], key)
}

fn canonical<'a>(tables: &[&[Row]], key: &'a str) -> &'a str {
    let found = tables.iter().flat_map(|rows| rows.iter()).find(|row| row.given == key);
    match found.map(|row| row.take) {
        Some(Take::Value(canonical, _) | Take::Text(canonical)) => canonical,
        _ => key,
    }
}

/// The options with secrets made unreadable, for everything that is shown.
pub fn masked(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    options.iter().map(|(key, value)| (key.clone(), values::mask(key, value))).collect()
}

fn check(given: Vec<(String, String)>, tables: &[&[Row]], what: &str) -> Result<Checked> {
    let rows = || tables.iter().flat_map(|rows| rows.iter());
    let mut checked = Checked::default();
    for (key, value) in given {
        let Some(row) = rows().find(|row| row.given == key) else {
            return Err(unknown_of(&key, rows(), what));
        };
        let (canonical, value) = match row.take {
            Take::Value(canonical, convert) => {
                let shown = values::mask(canonical, &value);
                let wrong = |why: String| Error::invalid(format!("'{key}' = '{shown}': {why}"));
                (canonical, convert(value.trim()).map_err(wrong)?)
            }
            Take::Text(canonical) => (canonical, value),
            Take::Notice => {
                checked.notices.push(format!("the option `{key}` is accepted and has no effect here"));
                (row.given, value)
            }
            Take::Harmless(values, why) => {
                if !values.iter().any(|one| one.eq_ignore_ascii_case(value.trim())) {
                    return Err(Error::unsupported(format!("'{key}' = '{value}' is not supported: {why}")));
                }
                checked.notices.push(format!("the option `{key}` is accepted and has no effect here"));
                (row.given, value)
            }
            Take::Refuse(why) => return Err(Error::unsupported(format!("the option `{key}` is not supported: {why}"))),
        };
        match checked.options.get(canonical) {
            Some(before) if *before != value => {
                return Err(Error::invalid(format!(
                    "the option `{canonical}` is given twice with different values (once as `{key}`): keep one"
                )));
            }
            _ => checked.options.insert(canonical.to_string(), value),
        };
    }
    Ok(checked)
}

fn unknown_of<'a>(key: &str, rows: impl Iterator<Item = &'a Row>, what: &str) -> Error {
    let canonical_of = |row: &Row| match row.take {
        Take::Value(canonical, _) | Take::Text(canonical) => canonical,
        Take::Notice | Take::Harmless(..) | Take::Refuse(_) => row.given,
    };
    let rows: Vec<&Row> = rows.collect();
    let near = nearest(key, rows.iter().map(|row| row.given));
    let near = near.and_then(|near| rows.iter().find(|row| row.given == near)).map(|row| canonical_of(row));
    unknown(key, what, near, || {
        let is_own = |row: &Row| matches!(row.take, Take::Value(..) | Take::Text(_)) && canonical_of(row) == row.given;
        let own = rows.iter().filter(|row| is_own(row));
        own.map(|row| row.given).collect()
    })
}

/// The error for an option that nobody knows: the one that was meant, else all that `what` has.
fn unknown<'a>(key: &str, what: &str, near: Option<&str>, all: impl FnOnce() -> Vec<&'a str>) -> Error {
    let advice = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let mut all = all();
            all.sort_unstable();
            format!("known options are {}", all.join(", "))
        }
    };
    Error::invalid(format!("unknown option `{key}` of {what}: {advice}"))
}

/// What checked catalog options say.
pub fn catalog_settings(options: &BTreeMap<String, String>) -> Result<CatalogSettings> {
    let kind = options.get("type").map_or("", String::as_str);
    let service = options.get("service-url").map(String::as_str);
    let embedded = service.and_then(|url| url.strip_prefix("embedded:"));
    let log = match (kind, embedded) {
        (_, Some(_)) => log_settings(options)?,
        ("embedded", None) => match service {
            None => None,
            Some(url) => {
                return Err(Error::invalid(format!(
                    "'service-url' = '{url}' is no embedded log: write 'service-url' = 'embedded:PATH'"
                )));
            }
        },
        _ => log_settings(options)?,
    };
    let log = log.ok_or_else(|| match kind {
        "embedded" => Error::invalid("the folder of the log is missing: write 'service-url' = 'embedded:PATH'"),
        _ => Error::invalid(
            "the address is missing: write 'service-url' = 'pulsar://HOST:6650' or 'admin-url' = 'http://HOST:8080'",
        ),
    })?;
    if let LogSettings::Pulsar(_) = log
        && let Some(key) =
            options.keys().find(|key| matches!(key.as_str(), "segment-bytes" | "segment-entries" | "retention"))
    {
        return Err(Error::invalid(format!(
            "the option `{key}` is for embedded logs: a cluster's is a policy of its namespaces (pulsar-admin)"
        )));
    }
    if let (LogSettings::Embedded(..), Some(_)) = (&log, options.get("definitions")) {
        return Err(Error::invalid(
            "the option `definitions` is for clusters, which several machines read: an embedded log is one machine's; leave it out",
        ));
    }
    if let Some(key) = options.keys().find(|key| key.starts_with("s3."))
        && !options.get("definitions").is_some_and(|place| s3::is_address(place))
    {
        return Err(Error::invalid(format!(
            "the option `{key}` has no effect without 'definitions' = 's3://BUCKET/PREFIX': leave it out"
        )));
    }
    let fallback = || match log {
        LogSettings::Embedded(..) => "default_database".to_string(),
        LogSettings::Pulsar(_) => "public/default".to_string(),
    };
    Ok(CatalogSettings {
        default_database: options.get("default-database").cloned().unwrap_or_else(fallback),
        archive: options.get("archive").cloned(),
        definitions: options.get("definitions").cloned(),
        default_partitions: number(options, "table-default-partitions")?.unwrap_or(0),
        default_format: options.get("default-format").map_or(Ok(Format::Avro), |text| text.parse())?,
        max_inflated_bytes: number(options, "aquifer.max-inflated-bytes")?,
        log,
    })
}

/// What checked table options say.
pub fn table_settings(options: &BTreeMap<String, String>) -> Result<TableSettings> {
    let get = |key: &str| options.get(key).map(String::as_str);
    let csv = CsvFormat::parse(|key| get(&format!("csv.{key}")))?;
    let json = MessageFormat::parse("json", |key| get(&format!("json.{key}")))?;
    // A wrong field is NULL then; what is left are messages that are no record and no object.
    let lenient = (csv.ignore_parse_errors || json.rules.ignore_errors).then_some("skip");
    Ok(TableSettings {
        topics: get("topics").map_or(Ok(Vec::new()), parse_topics)?,
        pattern: get("topics-pattern").map(str::parse).transpose()?,
        discovery: match get("partition.discovery.interval-millis").and_then(|text| text.parse::<i64>().ok()) {
            None => Some(DISCOVERY),
            Some(millis) => u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis),
        },
        log: log_settings(options)?,
        log_reading: LogReading::of(options)?,
        format: get("format").map(str::parse).transpose()?,
        startup: range::startup_of(options)?,
        stop: range::stop_of(options)?,
        stop_event_time: range::event_stop_of(options)?,
        watermarks: WatermarkSettings::of(options)?,
        on_decode_error: match (get("aquifer.on-decode-error").or(lenient), get("aquifer.dead-letter-topic")) {
            (Some("dead-letter") | None, Some(topic)) => OnDecodeError::DeadLetter(topic.parse()?),
            (Some("dead-letter"), None) => {
                return Err(Error::invalid(
                    "'aquifer.on-decode-error' = 'dead-letter' needs the topic: 'aquifer.dead-letter-topic' = '…'",
                ));
            }
            (Some(policy), Some(_)) => {
                return Err(Error::invalid(format!(
                    "'aquifer.dead-letter-topic' is given, and 'aquifer.on-decode-error' (or ignore-parse-errors) is {policy}: write 'dead-letter', or leave one out"
                )));
            }
            (Some("skip"), None) => OnDecodeError::Skip,
            _ => OnDecodeError::Fail,
        },
        tiers: match get("scan.tiers") {
            Some("log") => Tiers::Log,
            Some("archive") => Tiers::Archive,
            _ => Tiers::Both,
        },
        pin: get("source.subscription-name")
            .filter(|_| get("source.subscription-mode") != Some("NonDurable"))
            .map(String::from),
        max_inflated_bytes: number(options, "aquifer.max-inflated-bytes")?,
        archive: get("archive").map(String::from),
        partitions: number(options, "partitions")?,
        sink: SinkSettings {
            upsert: get("connector") == Some("upsert-pulsar"),
            key_fields: get("key.fields").map_or_else(Vec::new, |text| text.split(';').map(String::from).collect()),
            key_format: get("key.format").map(str::parse).transpose()?,
            round_robin: get("sink.topic-routing-mode") == Some("round-robin"),
            murmur3: get("sink.key-hash") == Some("murmur3"),
            compression: get("sink.compression").map(|text| match text {
                "none" => Compression::None,
                "zlib" => Compression::Zlib,
                "zstd" => Compression::Zstd,
                "snappy" => Compression::Snappy,
                _ => Compression::Lz4,
            }),
            exactly_once: get("sink.delivery-guarantee") == Some("exactly-once"),
            producer_name: get("sink.producer-name").map(String::from),
            batching: get("sink.batching") != Some("false"),
            batch_messages: number(options, "sink.batching.max-messages")?,
            batch_bytes: number(options, "sink.batching.max-bytes")?,
            chunking: get("sink.chunking") == Some("true"),
            send_timeout: get("sink.send-timeout").map(duration).transpose()?,
            delay: get("sink.message-delay-interval").map_or(Ok(Duration::ZERO), duration)?,
        },
    })
}

/// The log that addresses among the options name; `None` if there are none.
fn log_settings(options: &BTreeMap<String, String>) -> Result<Option<LogSettings>> {
    let get = |key: &str| options.get(key).map(String::as_str);
    if let Some(path) = get("service-url").and_then(|url| url.strip_prefix("embedded:")) {
        let defaults = EmbeddedSettings::default();
        let retention = match get("retention") {
            None => defaults.retention,
            Some("forever") => None,
            Some(text) => Some(duration(text)?),
        };
        let settings = EmbeddedSettings {
            segment_bytes: number(options, "segment-bytes")?.unwrap_or(defaults.segment_bytes),
            segment_entries: number(options, "segment-entries")?.unwrap_or(defaults.segment_entries),
            retention,
            ..defaults
        };
        return Ok(Some(LogSettings::Embedded(PathBuf::from(path), settings)));
    }
    let reading = LogReading::of(options)?;
    if reading.read_compacted == Some(true) && get("archive").is_some() {
        return Err(Error::invalid(
            "`read-compacted` and `archive` do not go together: an archive keeps every message; leave one of them out",
        ));
    }
    if get("service-url").is_none() && get("admin-url").is_none() {
        return Ok(None);
    }
    let (plugin, params) = (get("auth-plugin"), get("auth-params"));
    let (authentication, mut tls) = match plugin.or(params) {
        None => (None, TlsSettings::default()),
        Some(_) => Authentication::parse(plugin, params).map(|(authentication, tls)| (Some(authentication), tls))?,
    };
    let file = |key: &str, instead: Option<PathBuf>| get(key).map(PathBuf::from).or(instead);
    tls.ca_file = file("tls-ca-file", tls.ca_file.take());
    tls.certificate_file = file("tls-certificate-file", tls.certificate_file.take());
    tls.key_file = file("tls-key-file", tls.key_file.take());
    let config = PulsarConfig {
        service_url: get("service-url").map(String::from),
        admin_url: get("admin-url").map(String::from),
        authentication,
        tls,
        ..PulsarConfig::default()
    };
    reading.over(LogSettings::Pulsar(config)).map(Some)
}

fn duration(text: &str) -> Result<Duration> {
    parse_duration(text).map_err(Error::invalid)
}

fn number<N: std::str::FromStr>(options: &BTreeMap<String, String>, key: &str) -> Result<Option<N>> {
    let parse = |text: &String| text.parse().map_err(|_| Error::invalid(format!("'{key}' = '{text}' is no number")));
    options.get(key).map(parse).transpose()
}

#[cfg(test)]
mod tests;
