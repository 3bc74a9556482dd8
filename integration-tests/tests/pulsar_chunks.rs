//! A message that the Python client cuts into chunks, longer than messages are unless a table says that they may be.

#![allow(clippy::panic)] // this is test code

use aquifer_integration_tests::{Pulsar, python, sql};

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
        let query = format!(
            "{}SET 'execution.runtime-mode' = 'batch';\nSELECT message_size FROM p.`public/default`.{name} {option};\n",
            pulsar.create_catalog("p")
        );
        sql(folder.path(), &query)
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
