//! What a broker says of its entries: the same from the log and from the archive, and NULL where it says nothing.

#![allow(clippy::panic)] // this is test code

use std::path::Path;
use std::time::Duration;

use aquifer_integration_tests::{OwnPulsar, Pulsar, aquifer_path, run, sql};
use serde_json::Value;

/// The rows of a table with what the broker said of each, in the order of ids.
fn rows(data_dir: &Path, table: &str) -> Vec<Value> {
    let query = format!(
        "SET 'execution.runtime-mode' = 'batch';\nSELECT id, message_index, broker_publish_time, tier, \
         ABS(TIMESTAMPDIFF(SECOND, publish_time, broker_publish_time)) < 60 AS near FROM {table} ORDER BY id;\n"
    );
    let printed = sql(data_dir, &query).success("SELECT").stdout;
    printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn tiers(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["tier"].as_str().expect("a tier")).collect()
}

/// Writes rows to a new topic, reads them from the log, archives them, writes one more, reads all. Gives both answers.
fn log_and_archive(pulsar: &Pulsar, name: &str) -> (Vec<Value>, Vec<Value>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = format!("p.`public/default`.{name}");
    let script = format!(
        "{}CREATE TABLE {table} (id INT);\nINSERT INTO {table} VALUES (1), (2), (3);\nINSERT INTO {table} VALUES (4);\n",
        pulsar.create_catalog("p")
    );
    sql(folder.path(), &script).success("CREATE TABLE and INSERT");
    let live = rows(folder.path(), &table);
    assert_eq!(tiers(&live), ["log"; 4]);
    let mut command = std::process::Command::new(aquifer_path());
    command.args(["archive", "run", "--once", "--data-dir"]).arg(folder.path()).arg(&table);
    run(&mut command, Duration::from_secs(120)).success("archive run");
    sql(folder.path(), &format!("INSERT INTO {table} VALUES (5);\n")).success("INSERT");
    let both = rows(folder.path(), &table);
    assert_eq!(tiers(&both), ["archive", "archive", "archive", "archive", "log"]);
    (live, both)
}

#[test]
fn both_tiers_say_when_a_broker_took_a_message_and_its_index() {
    let Some(pulsar) = Pulsar::given() else { return };
    let (live, both) = log_and_archive(&pulsar, &format!("said_{}", std::process::id()));
    for (index, row) in both.iter().enumerate() {
        assert_eq!(row["message_index"].as_i64(), Some(index as i64), "{row}");
        assert_eq!(row["near"].as_bool(), Some(true), "{row}");
    }
    for (live, archived) in live.iter().zip(&both) {
        for column in ["id", "message_index", "broker_publish_time"] {
            assert_eq!(live[column], archived[column], "{column}");
        }
    }
}

#[test]
fn a_broker_without_interceptors_says_nothing() {
    let Some(own) = OwnPulsar::start(&["brokerEntryMetadataInterceptors="]) else { return };
    let (live, both) = log_and_archive(&own.pulsar, "unsaid");
    for row in live.iter().chain(&both) {
        assert!(
            row["id"].is_number() && row["message_index"].is_null() && row["broker_publish_time"].is_null(),
            "{row}"
        );
    }
}
