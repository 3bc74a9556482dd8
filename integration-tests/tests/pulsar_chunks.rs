//! Messages in chunks: one that the Python client cuts, longer than messages are unless a table says that they may be, and one that `INSERT` cuts.

#![allow(clippy::panic)] // this is test code

use std::path::Path;

use aquifer_integration_tests::{Printed, Pulsar, python, sql};

fn batch(folder: &Path, query: &str) -> Printed {
    sql(folder, &format!("SET 'execution.runtime-mode' = 'batch';\n{query};\n"))
}

#[test]
fn a_long_chunked_message_is_read_where_the_table_allows_it_and_says_so_where_not() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = format!("long_{}", std::process::id());
    let topic = format!("persistent://public/default/{name}");
    let words = ["--service-url", &pulsar.service_url, "--topic", &topic, "--mebibytes", "66"];
    let Some(written) = python("chunked.py", &words) else { return };
    written.success("chunked.py");
    let ask = |option: &str| {
        let query = format!("SELECT message_size FROM p.`public/default`.{name} {option}");
        batch(folder.path(), &format!("{}{query}", pulsar.create_catalog("p")))
    };
    let read = ask("/*+ OPTIONS('aquifer.max-inflated-bytes' = '70 mb') */").success("SELECT");
    assert!(read.stdout.contains("\"message_size\":69206016"), "{}", read.stdout);
    let refused = ask("");
    assert!(!refused.status.success(), "{}", refused.stdout);
    let text = &refused.stderr;
    assert!(
        text.contains("69206016 bytes, above the limit of 67108864") && text.contains("max-inflated-bytes"),
        "{text}"
    );
}

#[test]
fn a_row_over_the_brokers_limit_is_written_in_chunks_where_the_table_says_so() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = format!("in_chunks_{}", std::process::id());
    let table = format!("p.`public/default`.{name}");
    let made = format!(
        "{}CREATE TABLE {table} (`value` STRING) WITH ('format' = 'raw', 'sink.compression' = 'none');\n",
        pulsar.create_catalog("p")
    );
    sql(folder.path(), &made).success("CREATE TABLE");
    let insert = |options: &str| {
        let rows = "('short'), (REPEAT('0123456789', 1200000)), ('short too')";
        sql(folder.path(), &format!("INSERT INTO {table} {options} VALUES {rows};\n"))
    };
    let too_long = "/*+ OPTIONS('sink.chunking' = 'true', 'aquifer.max-inflated-bytes' = '8 mb') */";
    for (options, remedy) in [("", "'sink.chunking' = 'true'"), (too_long, "'aquifer.max-inflated-bytes'")] {
        let refused = insert(options);
        assert!(!refused.status.success(), "{}", refused.stdout);
        assert!(refused.stderr.contains(remedy), "{}", refused.stderr);
    }
    let ask = |query: &str| batch(folder.path(), query).success("SELECT").stdout;
    let before = ask(&format!("SELECT COUNT(*) AS n FROM {table}"));
    assert!(before.contains("\"n\":0"), "nothing of a refused row's entry was sent: {before}");
    insert("/*+ OPTIONS('sink.chunking' = 'true') */").success("INSERT");
    let read = ask(&format!("SELECT CHAR_LENGTH(`value`) AS n FROM {table}"));
    let lengths: Vec<&str> = read.lines().filter_map(|line| line.split_once("\"n\":")).map(|(_, n)| n).collect();
    assert_eq!(lengths, ["5}", "12000000}", "9}"]);
    let topic = format!("persistent://public/default/{name}");
    let words = ["--service-url", &pulsar.service_url, "--topic", &topic, "--read", "3"];
    let Some(python) = python("chunked.py", &words) else { return };
    assert_eq!(python.success("chunked.py").stdout.lines().collect::<Vec<_>>(), ["5", "12000000", "9"]);
}
