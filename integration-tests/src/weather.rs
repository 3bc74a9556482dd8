//! The weather of New York's airports as test input: produced by the official Python client, compared with DuckDB.

use std::path::Path;

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

/// Compares an answer (JSON lines) with DuckDB's to `query` over the truth; fails on a difference. `doubles` are the columns that hold doubles.
pub fn compare(truth: &Path, answer: &str, what: &str, query: &str, doubles: &str) -> String {
    let file = truth.with_file_name(format!("{what}.jsonl"));
    std::fs::write(&file, answer).expect("the truth's folder can be written");
    let (truth, file) = (truth.to_string_lossy(), file.to_string_lossy());
    let arguments = ["--truth", &truth, "--sql", query, "--answer", &file, "--doubles", doubles];
    python("compare.py", &arguments).expect("it was there before").success(what).stdout
}
