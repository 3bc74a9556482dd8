//! Two machines, each with a data directory of its own, share the tables and views of a cluster's catalog: their definitions lie in a bucket.

use std::path::Path;

use aquifer_integration_tests::s3::OwnStore;
use aquifer_integration_tests::{Printed, Pulsar, sql};

/// A machine: its data directory, and the catalog as it has it.
struct Machine {
    folder: tempfile::TempDir,
    catalog: String,
}

impl Machine {
    fn new(catalog: &str) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), catalog: catalog.to_string() }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, script: &str) -> Printed {
        let before = "USE CATALOG p; SET 'execution.runtime-mode' = 'batch';";
        sql(self.folder(), &format!("{}; {before} {script}", self.catalog))
    }

    fn ok(&self, script: &str) -> String {
        self.run(script).success(script).stdout
    }

    fn refused(&self, script: &str) -> String {
        let printed = self.run(script);
        assert!(!printed.status.success(), "{script} was taken: {}", printed.stdout);
        printed.stderr
    }
}

#[test]
fn two_data_directories_see_each_others_tables_and_views() {
    let (Some(pulsar), Some(store)) = (Pulsar::given(), OwnStore::start()) else { return };
    let create = |options: &str| {
        format!(
            "CREATE CATALOG IF NOT EXISTS p WITH ('type' = 'pulsar', 'service-url' = '{}', 'admin-url' = '{}'{options})",
            pulsar.service_url, pulsar.admin_url
        )
    };
    let placed = create(&format!(", 'definitions' = 's3://aquifer/team/definitions'{}", store.options()));
    let (one, other) = (Machine::new(&placed), Machine::new(&placed));
    let topic = format!("shared_{}", rand::random::<u32>());
    one.ok(&format!(
        "CREATE TABLE {topic} (room STRING, t DOUBLE, at TIMESTAMP(3), WATERMARK FOR at AS at - INTERVAL '5' SECOND);
         INSERT INTO {topic} VALUES ('red', 21.5, TIMESTAMP '2024-01-01 00:00:00'), ('blue', 30.5, TIMESTAMP '2024-01-01 00:00:01');
         CREATE TABLE over_{topic} (room STRING, t DOUBLE) COMMENT 'by one' WITH ('connector' = 'pulsar', 'topics' = '{topic}', 'format' = 'avro');
         CREATE VIEW hot_{topic} AS SELECT room FROM over_{topic} WHERE t > 25;"
    ));
    let tables = other.ok("SHOW TABLES;");
    for name in [topic.clone(), format!("over_{topic}"), format!("hot_{topic}")] {
        assert!(tables.contains(&format!("\"{name}\"")), "{name}: {tables}");
    }
    assert!(other.ok(&format!("SHOW CREATE TABLE {topic};")).contains("WATERMARK FOR `at`"));
    assert!(other.ok(&format!("SELECT * FROM hot_{topic};")).contains("\"blue\""));

    other.ok(&format!(
        "ALTER VIEW hot_{topic} AS SELECT room FROM over_{topic} WHERE t < 25;
         ALTER TABLE {topic} ADD (twice AS t * 2);
         ALTER TABLE over_{topic} RENAME TO renamed_{topic};
         CREATE TABLE over_{topic} (room STRING, t DOUBLE) COMMENT 'by other' WITH ('connector' = 'pulsar', 'topics' = '{topic}', 'format' = 'avro');"
    ));
    assert!(one.ok(&format!("SELECT * FROM hot_{topic};")).contains("\"red\""));
    assert!(one.ok(&format!("SELECT MAX(twice) FROM {topic};")).contains("61"));
    assert!(one.ok(&format!("SHOW CREATE TABLE over_{topic};")).contains("by other"));
    assert!(one.ok(&format!("SHOW CREATE TABLE renamed_{topic};")).contains("by one"));
    let there = one.refused(&format!("CREATE VIEW renamed_{topic} AS SELECT 1 AS x;"));
    assert!(there.contains("there is a table"), "{there}");
    one.ok(&format!("DROP VIEW hot_{topic}; DROP TABLE renamed_{topic};"));
    let gone = other.refused(&format!("SELECT * FROM hot_{topic};"));
    assert!(gone.contains(&format!("hot_{topic}")), "{gone}");

    // A catalog that names no place has tables of its own, and no secret is shown.
    let alone = Machine::new(&create(""));
    assert!(!alone.ok("SHOW TABLES;").contains(&format!("over_{topic}")));
    let shown = one.ok("SHOW CREATE CATALOG p; DESC CATALOG EXTENDED p;");
    assert!(shown.contains("s3://aquifer/team/definitions") && !shown.contains(&store.secret), "{shown}");

    let nowhere = placed.replace("s3://aquifer/", "s3://not-there/");
    let missing = Machine::new(&nowhere).refused(&format!("SELECT * FROM over_{topic};"));
    assert!(missing.contains("s3://not-there"), "{missing}");
    if store.asks_for_signatures() {
        let wrong =
            create(&format!(", 'definitions' = 's3://aquifer/team/definitions'{}", store.options_with("wrong")));
        let denied = Machine::new(&wrong).refused(&format!("SELECT * FROM over_{topic};"));
        assert!(denied.contains("s3://aquifer") && !denied.contains("no table"), "{denied}");
    }
    one.ok(&format!("DROP TABLE over_{topic}; DROP TABLE {topic} PURGE;"));
}
