//! A cluster of which a part does not answer: what needs only the other part goes on, and the rest says what is missing.

use std::path::Path;
use std::time::{Duration, Instant};

use aquifer_integration_tests::endless::{Endless, insert};
use aquifer_integration_tests::{OwnPulsar, Printed, Pulsar, sql};

/// Nothing listens there.
const CLOSED: &str = "127.0.0.1:1";

fn in_batch(data_dir: &Path, statements: &str) -> Printed {
    sql(data_dir, &format!("SET 'execution.runtime-mode' = 'batch'; {statements}"))
}

fn ok(data_dir: &Path, statements: &str) -> String {
    in_batch(data_dir, statements).success(statements).stdout
}

/// What a statement that fails says, without what stands around it.
fn refused(data_dir: &Path, statements: &str) -> String {
    let printed = in_batch(data_dir, statements);
    assert!(!printed.status.success(), "{statements} was taken: {}", printed.stdout);
    printed.stderr
}

#[test]
fn a_topic_is_read_and_written_while_the_admin_api_is_down() {
    let Some(pulsar) = Pulsar::given() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let topic = format!("down_{}", rand::random::<u32>());
    ok(
        data,
        &format!(
            "{} USE CATALOG p; CREATE TABLE {topic} (room STRING, at TIMESTAMP(3), WATERMARK FOR at AS at);
             INSERT INTO {topic} VALUES ('red', TIMESTAMP '2024-01-01 00:00:00'), ('blue', TIMESTAMP '2024-01-01 00:00:01');
             ALTER CATALOG p SET ('admin-url' = 'http://{CLOSED}');",
            pulsar.create_catalog("p")
        ),
    );
    let started = Instant::now();
    let within = |what: &str| assert!(started.elapsed() < Duration::from_secs(60), "{what} waited for the admin API");
    let tables = ok(data, "USE CATALOG p; USE p.`public/default`; SHOW TABLES;");
    assert!(tables.contains(&format!("\"{topic}\"")), "{tables}");
    within("SHOW TABLES");
    assert!(ok(data, &format!("SHOW CREATE TABLE p.`public/default`.{topic};")).contains("WATERMARK FOR `at`"));
    let count = format!("SELECT COUNT(*) AS n FROM p.`public/default`.{topic};");
    assert!(ok(data, &count).contains("\"n\":2"));
    ok(data, &format!("INSERT INTO p.`public/default`.{topic} VALUES ('green', TIMESTAMP '2024-01-01 00:00:02');"));
    assert!(ok(data, &count).contains("\"n\":3"));
    within("reading and writing");
    // A stream that ends.
    let bounded =
        format!("SELECT room FROM p.`public/default`.{topic} /*+ OPTIONS('scan.bounded.mode' = 'latest-offset') */;");
    let streamed = sql(data, &bounded).success(&bounded).stdout;
    assert!(streamed.contains("green") && streamed.contains("red"), "{streamed}");
    // What needs the admin API says so in a sentence that names it.
    for statement in [
        "SHOW DATABASES FROM p;".to_string(),
        "CREATE TABLE p.`public/default`.another (a INT);".to_string(),
        format!("DROP TABLE p.`public/default`.{topic} PURGE;"),
    ] {
        let said = refused(data, &statement);
        assert!(said.contains(&format!("the Pulsar admin API at `http://{CLOSED}` cannot be reached")), "{said}");
    }
    within("refusals");

    // With something archived it must be known which topic it is.
    let archived = data.join("archive/p/0123");
    std::fs::create_dir_all(&archived).expect("a folder");
    std::fs::write(archived.join("object"), "x").expect("written");
    let said = refused(data, &count);
    assert!(said.contains("scan.tiers") && said.contains(CLOSED), "{said}");
    let alone = format!("SELECT COUNT(*) AS n FROM p.`public/default`.{topic} /*+ OPTIONS('scan.tiers' = 'log') */;");
    assert!(ok(data, &alone).contains("\"n\":3"));
    let back = format!("ALTER CATALOG p SET ('admin-url' = '{}');", pulsar.admin_url);
    ok(data, &format!("{back} DROP TABLE p.`public/default`.{topic} PURGE;"));
}

#[test]
fn a_cluster_that_is_down_is_named_once() {
    let folder = tempfile::tempdir().expect("a folder");
    ok(
        folder.path(),
        &format!(
            "CREATE CATALOG p WITH ('type' = 'pulsar', 'service-url' = 'pulsar://{CLOSED}', 'admin-url' = 'http://{CLOSED}', 'operation-timeout' = '2 s');
             CREATE TABLE p.`public/default`.over (a INT) WITH ('connector' = 'pulsar', 'topics' = 't');"
        ),
    );
    for statement in ["SHOW TABLES FROM p.`public/default`;", "USE CATALOG p; SHOW TABLES;", "USE p.`public/default`;"]
    {
        let said = refused(folder.path(), statement);
        assert_eq!(said.matches("cannot be reached").count(), 1, "{said}");
        assert!(said.contains(&format!("the Pulsar admin API at `http://{CLOSED}`")), "{said}");
    }
    let said = refused(folder.path(), "SELECT * FROM p.`public/default`.over;");
    assert!(said.contains(CLOSED), "{said}");
}

#[test]
fn a_stream_outlasts_a_broker_that_is_away_for_longer_than_a_try_takes() {
    let Some(own) = OwnPulsar::start(&[]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let catalog = own.pulsar.create_catalog("p");
    let made = format!(
        "{catalog} ALTER CATALOG p SET ('operation-timeout' = '2 s'); USE CATALOG p; CREATE TABLE t (n BIGINT);"
    );
    sql(data, &made).success("CREATE TABLE");
    insert(data, "t", 0..20);
    let script = "USE CATALOG p; SET 'execution.runtime-mode' = 'streaming'; SELECT n FROM t;";
    let mut stream = Endless::start(data, script);
    stream.take(0..20);
    own.kill();
    stream.says("reading goes on when it is back");
    own.start_again();
    insert(data, "t", 20..40);
    stream.take(0..40);
}
