//! A statement that runs finds the partitions that its topic gets meanwhile, and the topics that come and go: on a real Pulsar, over streams without
//! an end.

use std::process::Command;
use std::time::Duration;

use aquifer_integration_tests::endless::{Endless, insert};
use aquifer_integration_tests::{Pulsar, run, sql};

fn add_partitions(pulsar: &Pulsar, topic: &str, count: u32) {
    let url = format!("{}/admin/v2/persistent/public/default/{topic}/partitions", pulsar.admin_url);
    let mut command = Command::new("curl");
    command.args(["-fsS", "-m", "60", "-X", "POST", "-H", "Content-Type: application/json", "-d"]);
    run(command.arg(count.to_string()).arg(url), Duration::from_secs(90)).success("adding partitions");
}

#[test]
fn a_stream_that_runs_finds_new_partitions_and_reads_each_row_once() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path().join("data");
    let topic = format!("growth_{}", std::process::id());
    let made = format!(
        "{}USE CATALOG p;\nCREATE TABLE {topic} (n BIGINT) WITH ('partitions' = '2', 'key.fields' = 'n');\n",
        pulsar.create_catalog("p")
    );
    sql(&data_dir, &made).success("CREATE TABLE");
    insert(&data_dir, &topic, 0..100);
    let script = format!(
        "USE CATALOG p;\nSET 'execution.runtime-mode' = 'streaming';\nSELECT n FROM {topic} /*+ OPTIONS('partition.discovery.interval-millis' = '200') */;\n"
    );
    // A data folder of its own: the statements beside it open the other.
    let reading = folder.path().join("reading");
    sql(&reading, &pulsar.create_catalog("p")).success("CREATE CATALOG");
    let mut running = Endless::start(&reading, &script);
    running.take(0..100);
    add_partitions(&pulsar, &topic, 5);
    insert(&data_dir, &topic, 100..300);
    for partition in 0..5 {
        let stats = pulsar.admin(&format!("persistent/public/default/{topic}-partition-{partition}/stats"));
        assert!(
            stats["msgInCounter"].as_i64().is_some_and(|count| count > 0),
            "partition {partition} got rows: {stats}"
        );
    }
    running.take(0..300);
}

#[test]
fn a_stream_over_a_pattern_goes_on_without_a_topic_that_is_deleted_and_reads_it_when_it_is_made_again() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path().join("data");
    let (first, second) = (format!("come_{}_1", std::process::id()), format!("come_{}_2", std::process::id()));
    let make = |topic: &str| format!("USE CATALOG p;\nCREATE TABLE {topic} (n BIGINT);\n");
    let catalog = pulsar.create_catalog("p");
    sql(&data_dir, &format!("{catalog}{}{}", make(&first), make(&second))).success("CREATE TABLE");
    insert(&data_dir, &first, 0..5);
    insert(&data_dir, &second, 5..10);
    let script = format!(
        "USE CATALOG p;
         SET 'execution.runtime-mode' = 'streaming';
         CREATE TEMPORARY TABLE every (n BIGINT) WITH ('connector' = 'pulsar', 'topics-pattern' = 'come_{}_[0-9]', 'service-url' = '{}',
             'admin-url' = '{}', 'format' = 'avro', 'partition.discovery.interval-millis' = '200');
         SELECT n FROM every;\n",
        std::process::id(),
        pulsar.service_url,
        pulsar.admin_url
    );
    let reading = folder.path().join("reading");
    sql(&reading, &catalog).success("CREATE CATALOG");
    let mut running = Endless::start(&reading, &script);
    running.take(0..10);
    sql(&data_dir, &format!("USE CATALOG p;\nDROP TABLE {first} PURGE;\n")).success("DROP TABLE");
    insert(&data_dir, &second, 10..20);
    running.take(0..20);
    sql(&data_dir, &make(&first)).success("CREATE TABLE");
    insert(&data_dir, &first, 20..30);
    running.take(0..30);
}
