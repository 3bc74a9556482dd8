//! Every schema type of a Pulsar topic, both ways: what the official Python client (or raw bytes, where it has no class) writes is read with the
//! right SQL types and values, and what `INSERT INTO` writes the client reads equal. Then topics whose schema changes again and again.
//!
//! ```text
//!  schema_types.py produce ─► topic ─► DESCRIBE, SELECT == its records
//!                                └─► INSERT INTO twin SELECT ─► schema_types.py check == its records
//!  schema_types.py evolve  ─► N versions of one topic ─► SELECT == its records as the newest version says
//! ```

#![allow(clippy::panic)] // this is test code

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aquifer_integration_tests::{Pulsar, python, run, sql};
use serde_json::Value;

/// The Python side's answer; `None` where it cannot run here.
fn ask(pulsar: &Pulsar, what: &str, prefix: &str, more: &[&str]) -> Option<Value> {
    let place = ["--service-url", &pulsar.service_url, "--admin-url", &pulsar.admin_url, "--prefix", prefix];
    let printed = python("schema_types.py", &[&[what], &place[..], more].concat())?.success(what);
    Some(serde_json::from_str(printed.stdout.trim()).expect("it prints JSON"))
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().expect("a text")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().expect("a list")
}

/// Runs a statement a case and gives each one's rows, by the case's name.
fn rows(data_dir: &Path, cases: &[Value], statement: impl Fn(&Value) -> String) -> BTreeMap<String, Vec<Value>> {
    let mut script = "USE CATALOG p;\nSET 'execution.runtime-mode' = 'batch';\n".to_string();
    for case in cases {
        // A row that tells whose rows follow.
        script.push_str(&format!("SELECT '{}' AS the_case;\n{};\n", text(case, "name"), statement(case)));
    }
    let printed = sql(data_dir, &script).success("the statements");
    let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut current = None;
    for line in printed.stdout.lines() {
        let Ok(Value::Object(mut row)) = serde_json::from_str::<Value>(line) else { continue };
        row.retain(|name, _| name != "op");
        match row.get("the_case").and_then(Value::as_str) {
            Some(name) => current = Some(rows.entry(name.to_string()).or_default()),
            None => current.as_mut().unwrap_or_else(|| panic!("a row of no case: {row:?}")).push(row.into()),
        }
    }
    assert_eq!(rows.len(), cases.len(), "{}", printed.stdout);
    rows
}

/// Rows in an order that does not depend on partitions.
fn sorted(rows: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = rows.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

#[test]
fn every_schema_type_is_read_and_written_as_the_python_client_has_it() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let prefix = format!("types_{}", std::process::id());
    let Some(Value::Array(cases)) = ask(&pulsar, "produce", &prefix, &[]) else { return };
    sql(folder.path(), &pulsar.create_catalog("p")).success("CREATE CATALOG");

    let described = rows(folder.path(), &cases, |case| format!("DESCRIBE {}", text(case, "topic")));
    let found = rows(folder.path(), &cases, |case| format!("SELECT * FROM {}", text(case, "topic")));
    let mut wrong = Vec::new();
    for case in &cases {
        let name = text(case, "name");
        let columns: Vec<Value> =
            described[name].iter().map(|row| serde_json::json!([row["name"], row["type"]])).collect();
        if columns != list(case, "columns") {
            wrong.push(format!("{name}: columns {columns:?} instead of {:?}", list(case, "columns")));
        }
        let (found, wanted) = (sorted(&found[name]), sorted(list(case, "rows")));
        if found != wanted {
            wrong.push(format!("{name}: rows {found:?} instead of {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    rows(folder.path(), &cases, |case| format!("INSERT INTO {0}_out SELECT * FROM {0}", text(case, "topic")));
    let checked = ask(&pulsar, "check", &prefix, &[]).expect("it ran before");
    assert_eq!(checked["cases"], cases.len());
}

#[test]
fn a_table_of_bytes_is_made_written_and_read_and_its_topic_has_no_schema() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    sql(folder.path(), &pulsar.create_catalog("p")).success("CREATE CATALOG");
    for partitions in [0, 2] {
        let name = format!("bytes_{}_{partitions}", std::process::id());
        let create = |column: &str| {
            let options = format!("'format' = 'raw', 'partitions' = '{partitions}'");
            sql(folder.path(), &format!("USE CATALOG p;\nCREATE TABLE {name} ({column} BYTES) WITH ({options});\n"))
        };
        // Nothing would keep the name. It is found before the topic is made, or the name would be taken below.
        let refused = create("b");
        assert!(!refused.status.success() && refused.stderr.contains("call the column `value`"), "{}", refused.stderr);
        create("`value`").success("CREATE TABLE");
        let script = format!("USE CATALOG p;\nINSERT INTO {name} VALUES (X'00ff'), (CAST('abc' AS BYTES)), (X'');\n");
        sql(folder.path(), &script).success("INSERT");
        let case = [serde_json::json!({ "name": name })];
        let ask = |statement: String| rows(folder.path(), &case, |_| statement.clone()).remove(&name).expect("it ran");
        let described = ask(format!("DESCRIBE {name}"));
        let columns: Vec<Value> = described.iter().map(|row| serde_json::json!([row["name"], row["type"]])).collect();
        assert_eq!(columns, [serde_json::json!(["value", "BYTES"])]);
        let wanted = ["00ff", "616263", ""].map(|bytes| serde_json::json!({ "value": bytes }));
        assert_eq!(sorted(&ask(format!("SELECT `value` FROM {name}"))), sorted(&wanted));
        let url = format!("{}/admin/v2/schemas/public/default/{name}/schema", pulsar.admin_url);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "30", "-o", "/dev/null", "-w", "%{http_code}", &url]);
        let answered = run(&mut curl, Duration::from_secs(60)).success("asking for the schema").stdout;
        assert_eq!(answered, "404", "who writes bytes with another client is not held to a schema");
    }
}

#[test]
fn topics_whose_schema_changes_again_and_again_are_read_as_the_newest_version_says() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let evolutions = number("AQUIFER_EVOLUTIONS").unwrap_or(20).to_string();
    let seed = number("AQUIFER_SEED").unwrap_or_else(rand::random).to_string();
    println!("AQUIFER_EVOLUTIONS={evolutions} AQUIFER_SEED={seed}");
    let prefix = format!("evolving_{}", std::process::id());
    let more = ["--evolutions", &evolutions, "--seed", &seed];
    let Some(Value::Array(cases)) = ask(&pulsar, "evolve", &prefix, &more) else { return };
    sql(folder.path(), &pulsar.create_catalog("p")).success("CREATE CATALOG");
    let found = rows(folder.path(), &cases, |case| format!("SELECT * FROM {}", text(case, "topic")));
    for case in &cases {
        let (found, wanted) = (&found[text(case, "name")], list(case, "rows"));
        assert!(wanted.len() > 20, "each version wrote something");
        assert_eq!(found.len(), wanted.len(), "{}, seed {seed}", text(case, "name"));
        for (found, wanted) in found.iter().zip(wanted) {
            assert_eq!(found, wanted, "{}, seed {seed}", text(case, "name"));
        }
    }
}
