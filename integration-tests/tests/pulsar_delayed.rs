//! Rows that a broker gives to shared subscriptions later than they were written, and to readers at once.

#![allow(clippy::panic)] // this is test code

use aquifer_integration_tests::{Pulsar, python, sql};

/// A broker looks for what is due once in so many milliseconds, and gives what will be until it looks again.
const TICK_MS: f64 = 1000.0;

#[test]
fn a_shared_subscription_gets_rows_after_the_sinks_delay_and_a_query_at_once() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = format!("delayed_{}", std::process::id());
    let ask = |what: &str, count: &str| {
        let topic = format!("persistent://public/default/{name}");
        let words = [what, "--service-url", &pulsar.service_url, "--topic", &topic, "--count", count];
        let printed = python("delayed.py", &words).map(|run| run.success(what))?;
        Some(serde_json::from_str::<Vec<f64>>(printed.stdout.trim()).expect("it prints JSON"))
    };
    let table = format!("p.`public/default`.{name}");
    sql(folder.path(), &format!("{}CREATE TABLE {table} (id INT);", pulsar.create_catalog("p")))
        .success("CREATE TABLE");
    if ask("subscribe", "0").is_none() {
        return;
    }
    let insert = format!(
        "INSERT INTO {table} /*+ OPTIONS('sink.message-delay-interval' = '6 s') */ VALUES (1), (2), (3);\n\
         SET 'execution.runtime-mode' = 'batch';\nSELECT SUM(id) AS total FROM {table};"
    );
    let read = sql(folder.path(), &insert).success("INSERT INTO and SELECT").stdout;
    assert!(read.contains("\"total\":6"), "{read}");
    let late = ask("receive", "3").expect("it ran before");
    assert!(late.len() == 3 && late.iter().all(|late| *late >= 6000.0 - TICK_MS), "{late:?}");
}
