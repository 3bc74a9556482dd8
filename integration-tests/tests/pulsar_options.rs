//! Options of a table whose answer only a real broker has: what becomes of encrypted messages, the newest row of each key, and exactly-once into a
//! topic that deduplicates or does not.

#![allow(clippy::panic)] // this is test code

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aquifer_integration_tests::{Printed, Pulsar, python, run, sql};
use serde_json::{Value, json};

fn in_batch(data_dir: &Path, statements: &str) -> Printed {
    sql(data_dir, &format!("SET 'execution.runtime-mode' = 'batch';\n{statements};\n"))
}

/// The rows that a query printed, in their order.
fn rows(data_dir: &Path, query: &str) -> Vec<Value> {
    let printed = in_batch(data_dir, query).success(query);
    let rows = printed.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    rows.map(|mut row| {
        row.as_object_mut().expect("a row").remove("op");
        row
    })
    .collect()
}

/// What a statement that fails says.
fn refused(data_dir: &Path, statements: &str) -> String {
    let printed = in_batch(data_dir, statements);
    assert!(!printed.status.success(), "{statements} was taken: {}", printed.stdout);
    printed.stderr
}

/// Waits until something that the admin API tells is so.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A name that no other run has.
fn fresh(name: &str) -> String {
    format!("{name}_{:08x}", rand::random::<u32>())
}

#[test]
fn exactly_once_is_refused_and_what_the_topic_lacks_is_said_first() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path();
    let database = format!("public/{}", fresh("once"));
    let made = format!(
        "{}CREATE DATABASE p.`{database}` WITH ('deduplication' = 'false');\n\
         CREATE TABLE p.`{database}`.t (n BIGINT) WITH ('sink.delivery-guarantee' = 'exactly-once');\n",
        pulsar.create_catalog("p")
    );
    sql(data, &made).success("CREATE TABLE");
    let topic = format!("persistent://{database}/t");
    let insert = format!("INSERT INTO p.`{database}`.t VALUES (1)");
    let later =
        "needs jobs with checkpoints, which are not there yet: write 'sink.delivery-guarantee' = 'at-least-once'";

    let said = refused(data, &insert);
    let remedy = format!("set-deduplication --enable {database}");
    assert!(
        said.contains(&format!("`{topic}` does not: switch that on first (pulsar-admin namespaces {remedy})")),
        "{said}"
    );
    assert!(said.contains("'sink.delivery-guarantee' = 'at-least-once'"), "what helps now is said too: {said}");

    // As it was told, and as the broker then has it.
    sql(data, &format!("ALTER DATABASE p.`{database}` SET ('deduplication' = 'true');\n")).success("ALTER DATABASE");
    wait_for("the topic deduplicates", || {
        pulsar.admin(&format!("persistent/{database}/t/deduplicationEnabled?applied=true")) == Value::Bool(true)
    });
    let said = refused(data, &insert);
    assert!(said.contains(&format!("exactly-once into `{topic}` {later}")), "{said}");
    assert!(!said.contains("switch that on first"), "{said}");

    let hint = "/*+ OPTIONS('sink.delivery-guarantee' = 'at-least-once') */";
    sql(data, &format!("INSERT INTO p.`{database}`.t {hint} VALUES (2);\n")).success("INSERT as it was told");
    let found = rows(data, &format!("SELECT n FROM p.`{database}`.t"));
    assert_eq!(found, [json!({ "n": 2 })], "nothing of what was refused was written");
}

#[test]
fn encrypted_messages_fail_a_query_are_passed_over_or_come_as_they_are() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    for words in [
        &["genrsa", "-out", "private.pem", "2048"][..],
        &["rsa", "-in", "private.pem", "-pubout", "-out", "public.pem"],
    ] {
        let mut openssl = Command::new("openssl");
        run(openssl.args(words).current_dir(folder.path()), Duration::from_secs(60)).success("openssl");
    }
    let name = fresh("secrets");
    let topic = format!("persistent://public/default/{name}");
    let keys = folder.path().display().to_string();
    let words = ["--service-url", &pulsar.service_url, "--topic", &topic, "--keys", &keys];
    let Some(written) = python("encrypted.py", &words) else { return };
    written.success("encrypted.py");
    let columns = "payload BYTES, props MAP<STRING, STRING> METADATA FROM 'properties' VIRTUAL";
    let table = |catalog: &str| {
        format!(
            "CREATE TABLE {catalog}.`public/default`.letters ({columns}) \
             WITH ('connector' = 'pulsar', 'topics' = '{topic}', 'format' = 'raw');\n"
        )
    };
    sql(&data, &format!("{}{}", pulsar.create_catalog("p"), table("p"))).success("CREATE TABLE");
    let query = |options: &str| {
        format!("SELECT payload, CAST(payload AS STRING) AS txt, props FROM p.`public/default`.letters {options}")
    };
    let texts = |rows: &[Value]| rows.iter().map(|row| row["txt"].clone()).collect::<Vec<_>>();

    // The default is as `fail`: a bad message, about which the table's policy for bad messages decides.
    for options in ["", "/*+ OPTIONS('on-encrypted' = 'fail') */"] {
        let said = refused(&data, &query(options));
        assert!(said.contains("the entry is encrypted") && said.contains(&topic), "{said}");
    }
    let skipping = query("/*+ OPTIONS('aquifer.on-decode-error' = 'skip') */");
    let skipped = in_batch(&data, &skipping).success(&skipping);
    assert!(skipped.stderr.contains("2 messages did not decode"), "what is left out is told: {}", skipped.stderr);
    assert!(skipped.stdout.contains("plain one") && skipped.stdout.contains("plain two"), "{}", skipped.stdout);

    let query_discarding = query("/*+ OPTIONS('on-encrypted' = 'discard') */");
    let discarding = in_batch(&data, &query_discarding).success(&query_discarding);
    assert!(!discarding.stderr.contains("did not decode"), "it is no bad message: {}", discarding.stderr);
    assert_eq!(texts(&rows(&data, &query_discarding)), ["plain one", "plain two"]);

    for options in ["'on-encrypted' = 'raw'", "'pulsar.consumer.cryptoFailureAction' = 'CONSUME'"] {
        let found = rows(&data, &query(&format!("/*+ OPTIONS({options}) */")));
        assert_eq!(found.len(), 4, "{options}: {found:?}");
        assert_eq!((&found[0]["txt"], &found[2]["txt"]), (&json!("plain one"), &json!("plain two")), "{options}");
        assert_eq!(found[0]["props"], json!({}), "{options}");
        let (cipher, properties) = (found[1]["payload"].as_str().expect("bytes"), &found[1]["props"]);
        // `a secret`, as BYTES are printed.
        assert!(!cipher.is_empty() && !cipher.contains("6120736563726574"), "{options}: {cipher}");
        assert_eq!(properties["p"], "q", "{options}");
        for needed in ["encryption.key.a key", "encryption.parameter"] {
            assert!(properties[needed].as_str().is_some_and(|text| !text.is_empty()), "{needed}: {properties}");
        }
        assert_eq!(properties["encryption.compression"], "ZSTD", "{options}");
        assert_eq!(properties["encryption.uncompressed-size"], "8", "{options}");
    }

    // A catalog may say it for all of its topics; a table says it better.
    let Pulsar { service_url, admin_url } = &pulsar;
    let catalog = format!(
        "CREATE CATALOG d WITH ('type' = 'pulsar', 'service-url' = '{service_url}', 'admin-url' = '{admin_url}', 'on-encrypted' = 'discard');\n"
    );
    sql(&data, &format!("{catalog}{}", table("d"))).success("CREATE CATALOG");
    let count = |from: &str| rows(&data, &format!("SELECT COUNT(*) AS n FROM d.`public/default`.{from}"));
    assert_eq!(count(&name), [json!({ "n": 2 })]);
    assert_eq!(count("letters"), [json!({ "n": 2 })]);
    assert_eq!(count("letters /*+ OPTIONS('on-encrypted' = 'raw') */"), [json!({ "n": 4 })]);
}

/// Has the broker compact a topic, and waits until it has.
fn compact(pulsar: &Pulsar, topic: &str) {
    let path = format!("persistent/public/default/{topic}/compaction");
    let ask = || {
        let mut command = Command::new("curl");
        command.args(["-fsS", "-m", "30", "-X", "PUT", &format!("{}/admin/v2/{path}", pulsar.admin_url)]);
        run(&mut command, Duration::from_secs(60)).success("asking for compaction");
    };
    ask();
    wait_for("the topic is compacted", || {
        let status = pulsar.admin(&path);
        match status["status"].as_str() {
            Some("SUCCESS") => return true,
            // The broker has loaded the topic anew since it was asked, and forgot.
            Some("NOT_RUN") => ask(),
            other => assert!(other != Some("ERROR"), "{status}"),
        }
        false
    });
}

#[test]
fn a_table_that_reads_compacted_gives_the_newest_row_of_each_key_and_what_came_later() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path();
    let name = fresh("newest");
    let topic = format!("p.`public/default`.{name}");
    let made = format!(
        "{}CREATE TABLE {topic} (k STRING, n BIGINT) WITH ('key.fields' = 'k');\n\
         INSERT INTO {topic} VALUES ('a', 1), ('b', 2), ('a', 3);\n\
         INSERT INTO {topic} VALUES ('b', 4), ('c', 5);\n\
         CREATE TABLE p.`public/default`.compacted (k STRING, n BIGINT) WITH ('connector' = 'pulsar', \
             'topics' = 'persistent://public/default/{name}', 'format' = 'avro', 'read-compacted' = 'true');\n",
        pulsar.create_catalog("p")
    );
    sql(data, &made).success("CREATE TABLE and INSERT");
    let numbers = |table: &str| {
        let found = rows(data, &format!("SELECT n FROM {table}"));
        let mut numbers: Vec<i64> = found.iter().map(|row| row["n"].as_i64().expect("a number")).collect();
        numbers.sort_unstable();
        numbers
    };
    // A broker says that it has compacted a little before readers are given that.
    let becomes = |wanted: &[i64]| {
        wait_for(&format!("the table has {wanted:?}"), || numbers("p.`public/default`.compacted") == wanted);
    };
    compact(&pulsar, &name);
    becomes(&[3, 4, 5]);
    sql(data, &format!("INSERT INTO {topic} VALUES ('c', 6), ('d', 7);\n")).success("INSERT");
    assert_eq!(numbers("p.`public/default`.compacted"), [3, 4, 5, 6, 7], "what is not compacted yet is there as it is");
    let hint = "/*+ OPTIONS('read-compacted' = 'false') */";
    for table in [topic.clone(), format!("p.`public/default`.compacted {hint}")] {
        assert_eq!(numbers(&table), [1, 2, 3, 4, 5, 6, 7], "who does not ask for it gets everything: {table}");
    }
    compact(&pulsar, &name);
    becomes(&[3, 4, 6, 7]);
}
