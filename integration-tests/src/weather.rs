//! The weather of New York's airports as test input: produced by the official Python client, compared with DuckDB.

use std::path::Path;
use std::sync::Arc;

use aquifer_catalog::Catalogs;
use aquifer_formats::entry::{Compression, EntrySpec, NewMessage, build_entry};
use aquifer_formats::payload::{encoder, topic_schema_of};
use aquifer_model::Partition;
use aquifer_server::engine::find_topics;
use aquifer_storage::reader::TieredTopic;
use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Field, SchemaRef};

use crate::{Pulsar, python, setting};

/// Rows of one year of weather.
pub const ROWS_A_YEAR: u32 = 26_115;

/// How the weather is produced.
#[derive(Debug, Clone)]
pub struct Produce<'a> {
    /// The cluster.
    pub pulsar: &'a Pulsar,
    /// The topic's name in `public/default`.
    pub topic: &'a str,
    /// Gets a line for each receipt.
    pub truth: &'a Path,
    /// How often the year is repeated.
    pub years: u32,
    /// Messages in an entry at most.
    pub batch_messages: u32,
}

impl<'a> Produce<'a> {
    /// One year in entries of up to 500 messages.
    pub fn new(pulsar: &'a Pulsar, topic: &'a str, truth: &'a Path) -> Self {
        Self { pulsar, topic, truth, years: 1, batch_messages: 500 }
    }

    /// Sends rows `first..last`; gives what the producer reports (`rows`, `nulls`).
    pub fn rows(&self, first: u32, last: u32) -> Option<serde_json::Value> {
        let weather = setting("AQUIFER_TEST_WEATHER")?;
        let topic = format!("persistent://public/default/{}", self.topic);
        let numbers = [self.years, first, last, self.batch_messages].map(|n| n.to_string());
        let truth = self.truth.to_string_lossy();
        let arguments = [
            ["--service-url", &self.pulsar.service_url],
            ["--admin-url", &self.pulsar.admin_url],
            ["--topic", &topic],
            ["--weather", &weather],
            ["--years", &numbers[0]],
            ["--first", &numbers[1]],
            ["--last", &numbers[2]],
            ["--batch-messages", &numbers[3]],
            ["--truth", &truth],
        ];
        let printed = python("produce_weather.py", arguments.as_flattened())?.success("produce_weather.py");
        Some(serde_json::from_str(&printed.stdout).expect("it prints JSON"))
    }
}

/// The same messages for the embedded log, which has no Python client: Python writes them to a file, we encode and append them.
#[derive(Debug, Clone)]
pub struct ProduceEmbedded<'a> {
    /// The data directory, which nobody has open.
    pub data_dir: &'a Path,
    /// The table, of three partitions and the columns of [`COLUMNS`].
    pub table: &'a str,
    /// Gets a line for each message with a value.
    pub truth: &'a Path,
    /// How often the year is repeated.
    pub years: u32,
}

/// The columns of the weather, as a table without a schema of the topic's own declares them.
pub const COLUMNS: &str =
    "origin STRING, temp DOUBLE, humid DOUBLE, wind_dir INT, precip DOUBLE, pressure DOUBLE, time_hour TIMESTAMP(3)";
const BATCH_MESSAGES: usize = 500;

impl ProduceEmbedded<'_> {
    /// Appends rows `first..last`: batches of 500, LZ4, ZSTD and nothing by partition, keys, event times, properties, some messages without a
    /// value. Gives what the producer reports (`rows`, `nulls`).
    pub async fn rows(&self, first: u32, last: u32) -> Option<serde_json::Value> {
        let weather = setting("AQUIFER_TEST_WEATHER")?;
        let lines = self.truth.with_file_name("lines.jsonl");
        let numbers = [self.years, first, last].map(|n| n.to_string());
        let (truth, file) = (self.truth.to_string_lossy(), lines.to_string_lossy());
        let arguments = [
            ["--weather", &weather],
            ["--years", &numbers[0]],
            ["--first", &numbers[1]],
            ["--last", &numbers[2]],
            ["--truth", &truth],
            ["--lines", &file],
        ];
        let printed = python("produce_weather.py", arguments.as_flattened())?.success("produce_weather.py");
        let catalogs = Catalogs::open(self.data_dir.to_path_buf()).await.expect("a data directory");
        let topic = find_topics(&catalogs, self.table).await.expect("the table is there").remove(0);
        let partitions = topic.log.partitions(&topic.topic).await.expect("listed");
        assert_eq!(partitions.len(), 3);
        let text = std::fs::read_to_string(&lines).expect("Python wrote it");
        let messages: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for (number, (partition, compression)) in
            partitions.iter().zip([Compression::Lz4, Compression::Zstd, Compression::None]).enumerate()
        {
            let own: Vec<_> = messages.iter().filter(|message| message["partition"] == number).collect();
            append(&topic, partition, compression, &own).await;
        }
        Some(serde_json::from_str(&printed.stdout).expect("it prints JSON"))
    }
}

async fn append(topic: &TieredTopic, partition: &Partition, compression: Compression, messages: &[&serde_json::Value]) {
    let (version, schema) = match topic.log.schema(&topic.topic, None).await.expect("asked") {
        Some(found) => found,
        None => {
            let schema = topic_schema_of(topic.format, "weather", &topic.value_columns).expect("columns");
            (topic.log.put_schema(&topic.topic, &schema).await.expect("registered"), schema)
        }
    };
    let mut appender = topic.log.open_appender(partition, "weather").await.expect("opens");
    let mut sequence_id = appender.last_sequence_id() + 1;
    for some in messages.chunks(BATCH_MESSAGES) {
        let values: Vec<_> = some.iter().map(|message| &message["value"]).filter(|value| !value.is_null()).collect();
        let rows = columns_of(&values, &topic.value_columns);
        let mut encoder = encoder(topic.format, Arc::clone(&topic.value_columns), Some(&schema)).expect("made");
        let payloads = encoder.encode(&rows).expect("encodes");
        let properties: Vec<_> = some.iter().map(|m| vec![("row".to_string(), m["row"].to_string())]).collect();
        let mut next_value = 0..values.len();
        let new: Vec<NewMessage<'_>> = some
            .iter()
            .zip(&properties)
            .zip(sequence_id..)
            .map(|((message, properties), sequence_id)| {
                let value = (!message["value"].is_null()).then(|| next_value.next().expect("counted"));
                NewMessage {
                    sequence_id,
                    key: message["key"].as_str().map(str::as_bytes),
                    payload: value.map(|at| payloads.value(at)),
                    event_time_ms: message["event_time"].as_i64(),
                    properties: if value.is_some() { properties } else { &[] },
                    ordering_key: None,
                }
            })
            .collect();
        let spec = EntrySpec {
            producer_name: "weather".to_string(),
            publish_time_ms: 1_700_000_000_000,
            schema_version: Some(version.0.clone()),
            compression,
            batched: true,
            ..EntrySpec::default()
        };
        let bytes = build_entry(&spec, &new).expect("messages");
        let last = sequence_id + new.len() as i64 - 1;
        appender.append(bytes, sequence_id, last, new.len() as u32).await.expect("stored");
        sequence_id = last + 1;
    }
}

fn columns_of(values: &[&serde_json::Value], schema: &SchemaRef) -> RecordBatch {
    let column = |field: &Arc<Field>| -> ArrayRef {
        let cells = values.iter().map(|value| &value[field.name()]);
        let plain: ArrayRef = match field.name().as_str() {
            "origin" => Arc::new(cells.map(|cell| cell.as_str()).collect::<StringArray>()),
            "time_hour" => Arc::new(cells.map(|cell| cell.as_i64()).collect::<TimestampMillisecondArray>()),
            "wind_dir" => Arc::new(cells.map(|cell| cell.as_i64().map(|n| n as i32)).collect::<Int32Array>()),
            _ => Arc::new(cells.map(|cell| cell.as_f64()).collect::<Float64Array>()),
        };
        arrow::compute::cast(&plain, field.data_type()).expect("the same values")
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect()).expect("the table's columns")
}

/// Compares an answer (JSON lines) with DuckDB's to `query` over the truth; fails on a difference. `doubles` are the columns that hold doubles.
pub fn compare(truth: &Path, answer: &str, what: &str, query: &str, doubles: &str) -> String {
    let file = truth.with_file_name(format!("{what}.jsonl"));
    std::fs::write(&file, answer).expect("the truth's folder can be written");
    let (truth, file) = (truth.to_string_lossy(), file.to_string_lossy());
    let arguments = ["--truth", &truth, "--sql", query, "--answer", &file, "--doubles", doubles];
    python("compare.py", &arguments).expect("it was there before").success(what).stdout
}
