//! SQL on a Pulsar that wants tokens: an admin makes topics, a role reads and writes the one topic that it has rights on, and nothing else.

#![allow(clippy::panic)] // this is test code

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aquifer_integration_tests::endless::Endless;
use aquifer_integration_tests::{OwnPulsar, Pulsar, run, sql, token};

/// A refusal is an answer: it comes long before the 30 s that are tried where trying again may help, and a run's start is in it.
const ANSWERED: Duration = Duration::from_secs(20);

struct Cluster {
    own: OwnPulsar,
    data_dir: std::path::PathBuf,
    folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Option<Self> {
        let own = OwnPulsar::start(&["--tokens"])?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        Some(Self { own, data_dir: folder.path().join("data"), folder })
    }

    /// Keeps a catalog `name` with these `auth-params` in the data folder.
    fn catalog(&self, name: &str, auth_params: &str) {
        let Pulsar { service_url, admin_url } = &self.own.pulsar;
        self.run(&format!(
            "CREATE CATALOG {name} WITH ('type'='pulsar', 'service-url'='{service_url}', 'admin-url'='{admin_url}', 'auth-params'='{auth_params}')"
        ));
    }

    fn grant(&self, role: &str, topic: &str, rights: &str) {
        self.admin("POST", &format!("persistent/public/default/{topic}/permissions/{role}"), rights);
    }

    /// What an operator does who knows nothing of Aquifer.
    fn admin(&self, method: &str, path: &str, body: &str) -> String {
        let url = format!("{}/admin/v2/{path}", self.own.pulsar.admin_url);
        let mut command = Command::new("curl");
        command.args(["-fsS", "-m", "60", "-X", method, "-H", "Content-Type: application/json", "-d", body]);
        let bearer = format!("Authorization: Bearer {}", token("admin").expect("the services are there"));
        run(command.args(["-H", &bearer, &url]), Duration::from_secs(90)).success(path).stdout
    }

    /// Runs statements in a process of their own, so that each time what was kept is read again.
    fn run(&self, statements: &str) -> String {
        sql(&self.data_dir, &in_batch(statements)).success(statements).stdout
    }

    fn refuse(&self, statements: &str) -> String {
        let started = std::time::Instant::now();
        let printed = sql(&self.data_dir, &in_batch(statements));
        assert!(!printed.status.success(), "{statements} is not refused: {}", printed.stdout);
        assert!(started.elapsed() < ANSWERED, "{statements} was tried again and again: {}", printed.stderr);
        printed.stderr
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn in_batch(statements: &str) -> String {
    format!("SET 'execution.runtime-mode' = 'batch';\n{statements};\n")
}

/// The values of the column `n`, sorted.
fn numbers(stdout: &str) -> Vec<i64> {
    let rows = stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut numbers: Vec<i64> = rows.filter_map(|row| row.get("n")?.as_i64()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_role_reads_and_writes_by_sql_what_it_was_granted_and_nothing_else() {
    let Some(cluster) = Cluster::start() else { return };
    let token = |role: &str| token(role).expect("the services are there");
    let file = cluster.path().join("clerk.token");
    std::fs::write(&file, format!("{}\n", token("clerk"))).expect("written");
    cluster.catalog("boss", &format!("token:{}", token("admin")));
    cluster.catalog("clerk", &format!("file://{}", file.display()));
    cluster.catalog("reader", &format!("token:{}", token("reader")));
    cluster.catalog("writer", &format!("token:{}", token("writer")));
    cluster.run(
        "USE CATALOG boss;
         CREATE TABLE mine (n BIGINT, v STRING) WITH ('partitions' = '2', 'key.fields' = 'n');
         CREATE TABLE other (n BIGINT);
         INSERT INTO mine VALUES (1, 'a'), (2, 'b');
         INSERT INTO other VALUES (100)",
    );
    cluster.grant("clerk", "mine", r#"["produce","consume"]"#);
    cluster.grant("reader", "mine", r#"["consume"]"#);
    cluster.grant("writer", "mine", r#"["produce"]"#);

    cluster.run("USE CATALOG clerk; INSERT INTO mine VALUES (3, 'c')");
    cluster.run("USE CATALOG writer; INSERT INTO mine VALUES (4, 'd')");
    for catalog in ["clerk", "reader", "boss"] {
        let printed = cluster.run(&format!("USE CATALOG {catalog}; SELECT n FROM mine"));
        assert_eq!(numbers(&printed), [1, 2, 3, 4], "{catalog}");
    }
    let since = "SELECT n FROM mine WHERE publish_time > TIMESTAMP '2020-01-01 00:00:00' AND n > 1";
    assert_eq!(numbers(&cluster.run(&format!("USE CATALOG reader; {since}"))), [2, 3, 4], "by time, too");
    assert!(cluster.run("USE CATALOG reader; DESCRIBE mine").contains("BIGINT"), "the schema needs no more either");

    for (statements, right) in [
        ("USE CATALOG clerk; SELECT * FROM other", "look up this topic (grant it `consume` or `produce`)"),
        ("USE CATALOG clerk; INSERT INTO other VALUES (5)", "look up this topic (grant it `consume` or `produce`)"),
        ("USE CATALOG writer; SELECT * FROM mine", "read this topic (grant it `consume`)"),
        ("USE CATALOG reader; INSERT INTO mine VALUES (5, 'e')", "write to this topic (grant it `produce`)"),
        ("USE CATALOG clerk; CREATE TABLE third (n BIGINT)", "needs the tenant admin's right (be a role that"),
        ("USE CATALOG clerk; DROP TABLE mine PURGE", "needs the tenant admin's right (be a role that"),
        ("USE CATALOG clerk; SHOW TABLES", "list the namespace's topics (grant it `consume` on the namespace)"),
        ("USE CATALOG clerk; CREATE DATABASE `t/n`", "needs the super user's right (be a role among"),
    ] {
        let said = cluster.refuse(statements);
        assert!(said.contains(right), "{statements}: {said}");
    }
    assert_eq!(numbers(&cluster.run("USE CATALOG boss; SELECT n FROM mine")), [1, 2, 3, 4], "nothing was written");
    assert_eq!(numbers(&cluster.run("USE CATALOG boss; SELECT n FROM other")), [100]);

    a_topic_that_was_made_by_others_needs_no_more(&cluster);
    topics_are_listed_with_the_right_to_consume_from_their_namespace(&cluster, &token("lister"));
    a_wrong_token_is_one_sentence(&cluster, &token("admin"));
    a_stream_holds_a_subscription_with_the_right_to_consume(&cluster);
}

fn a_stream_holds_a_subscription_with_the_right_to_consume(cluster: &Cluster) {
    let script = "USE CATALOG reader;
                  SET 'execution.runtime-mode' = 'streaming';
                  SELECT n FROM mine /*+ OPTIONS('source.subscription-name' = 'mine') */;";
    let mut running = Endless::start(&cluster.data_dir, script);
    running.take(1..5);
    for partition in 0..2 {
        let path = format!("persistent/public/default/mine-partition-{partition}/subscriptions");
        assert!(cluster.admin("GET", &path, "").contains("\"mine\""), "partition {partition}");
    }
}

/// Nobody with more rights has given the topic the property by which archives know it.
fn a_topic_that_was_made_by_others_needs_no_more(cluster: &Cluster) {
    cluster.admin("PUT", "persistent/public/default/foreign/partitions", "2");
    let fields = r#"[{\"name\":\"n\",\"type\":\"long\"}]"#;
    let schema = format!(r#"{{\"type\":\"record\",\"name\":\"r\",\"fields\":{fields}}}"#);
    let body = format!(r#"{{"type":"JSON","schema":"{schema}","properties":{{}}}}"#);
    cluster.admin("POST", "schemas/public/default/foreign/schema", &body);
    cluster.grant("clerk", "foreign", r#"["produce","consume"]"#);
    cluster.grant("writer", "foreign", r#"["produce"]"#);
    cluster.grant("reader", "foreign", r#"["consume"]"#);
    cluster.run("USE CATALOG writer; INSERT INTO `foreign` VALUES (1)");
    assert_eq!(numbers(&cluster.run("USE CATALOG reader; SELECT n FROM `foreign`")), [1]);
    cluster.run("USE CATALOG clerk; INSERT INTO `foreign` VALUES (2)");
    assert_eq!(numbers(&cluster.run("USE CATALOG clerk; SELECT n FROM `foreign`")), [1, 2]);
    assert_eq!(numbers(&cluster.run("USE CATALOG boss; SELECT n FROM `foreign`")), [1, 2], "it is the same to all");
}

/// Also where nobody answers under the admin API's address: the brokers tell.
fn topics_are_listed_with_the_right_to_consume_from_their_namespace(cluster: &Cluster, token: &str) {
    cluster.admin("POST", "namespaces/public/default/permissions/lister", r#"["consume"]"#);
    let nobody = "http://127.0.0.1:1";
    let service = &cluster.own.pulsar.service_url;
    cluster.run(&format!(
        "CREATE CATALOG lister WITH ('type'='pulsar', 'service-url'='{service}', 'admin-url'='{nobody}', 'auth-params'='token:{token}')"
    ));
    cluster.catalog("listed", &format!("token:{token}"));
    for catalog in ["lister", "listed"] {
        let shown = cluster.run(&format!("USE CATALOG {catalog}; SHOW TABLES"));
        for table in ["mine", "other", "foreign"] {
            assert!(shown.contains(&format!("\"{table}\"")), "{catalog}: {table} is not in {shown}");
        }
        assert!(!shown.contains("-partition-"), "{catalog}: {shown}");
    }
}

fn a_wrong_token_is_one_sentence(cluster: &Cluster, right: &str) {
    let wrong = format!("{right}x");
    cluster.catalog("forged", &format!("token:{wrong}"));
    let wire = "the broker does not accept the token, correct 'auth-params'";
    let admin = "the admin API does not accept the token: correct 'auth-params'";
    for (statements, sentence) in [
        ("USE CATALOG forged; SELECT * FROM mine", wire),
        ("USE CATALOG forged; INSERT INTO mine VALUES (5, 'e')", wire),
        ("USE CATALOG forged; SHOW TABLES", wire),
        ("USE CATALOG forged; CREATE TABLE third (n BIGINT)", admin),
    ] {
        let said = cluster.refuse(statements);
        assert!(said.contains(sentence), "{statements}: {said}");
        assert!(!said.contains(&wrong), "{statements} tells the token");
    }
    let shown = cluster.run("SHOW CREATE CATALOG forged; SHOW CREATE CATALOG boss; DESCRIBE CATALOG EXTENDED boss");
    assert!(shown.contains("'auth-params' = 'token:******'") && !shown.contains(right), "{shown}");
}
