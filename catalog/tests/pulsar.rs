//! Definitions on a real cluster: topics, partitions and schemas by DDL, schema versions under the compatibility strategy, what is never dropped.
//!
//! Runs where `AQUIFER_TEST_PULSAR` is set (`make test` sets it); says so elsewhere.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aquifer_catalog::{
    Catalog, CatalogDefinition, Catalogs, ColumnDefinition, ColumnKind, Origin, TableDefinition, ViewDefinition,
    WatermarkDefinition,
};

fn column(name: &str, type_text: &str) -> ColumnDefinition {
    let kind = ColumnKind::Physical { type_text: type_text.to_string() };
    ColumnDefinition { name: name.to_string(), kind, comment: None }
}

fn names(definition: &TableDefinition) -> Vec<&str> {
    definition.columns.iter().map(|column| column.name.as_str()).collect()
}

/// A catalog over the cluster and a database of the test's own in it.
async fn catalog() -> Option<(tempfile::TempDir, std::sync::Arc<Catalog>, String)> {
    let Some(given) = std::env::var("AQUIFER_TEST_PULSAR").ok().filter(|given| !given.is_empty()) else {
        assert!(std::env::var("AQUIFER_TEST_REQUIRE").is_err(), "AQUIFER_TEST_PULSAR is not set");
        eprintln!("NOT RUN: AQUIFER_TEST_PULSAR is not set (run `make test`)");
        return None;
    };
    let (service, admin) = given.split_once(',').expect("pulsar://HOST:PORT,http://HOST:PORT");
    let folder = tempfile::tempdir().expect("a folder");
    let catalogs = Catalogs::open(folder.path().to_path_buf()).await.expect("opens");
    let options: BTreeMap<String, String> = [("type", "pulsar"), ("serviceUrl", service), ("catalog-admin-url", admin)]
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .into();
    let definition = CatalogDefinition { name: "p".to_string(), options, comment: None };
    catalogs.create(definition, false).await.expect("made");
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    let catalog = catalogs.get("p").expect("made");
    let database = format!("public/catalog-{nanos}");
    catalog.create_database(&database, None, false).await.expect("a namespace");
    Some((folder, catalog, database))
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_makes_changes_and_drops_topics_of_a_cluster() {
    let Some((_folder, catalog, database)) = catalog().await else { return };
    let definition = TableDefinition {
        columns: vec![
            column("room", "STRING"),
            column("n", "INT"),
            ColumnDefinition {
                name: "twice".to_string(),
                kind: ColumnKind::Computed { expression: "n * 2".to_string() },
                comment: Some("of n".to_string()),
            },
            column("ts", "TIMESTAMP(3)"),
        ],
        watermark: Some(WatermarkDefinition { column: "ts".to_string(), expression: "ts".to_string() }),
        options: [("partitions".to_string(), "3".to_string())].into(),
        ..Default::default()
    };
    catalog.create_table(&database, "t", definition, false).await.expect("made");
    let log = catalog.log().await.expect("open");
    let topic = catalog.topic_name(&database, "t").expect("a name");
    assert_eq!(log.partitions(&topic).await.expect("there").len(), 3);
    let (first, _) = log.schema(&topic, None).await.expect("asked").expect("registered");

    let table = catalog.table(&database, "t").await.expect("found");
    let before = table.definition.clone();
    assert_eq!((names(&table.definition), table.origin), (vec!["room", "n", "ts", "twice"], Origin::Native));
    let mut wider = table.definition.clone();
    wider.columns.insert(1, column("floor", "BIGINT"));
    catalog.alter_table(&table, wider).await.expect("compatible");
    let (second, _) = log.schema(&topic, None).await.expect("asked").expect("registered");
    assert_ne!(first, second, "another schema version");
    let table = catalog.table(&database, "t").await.expect("found");
    assert_eq!(names(&table.definition), ["room", "floor", "n", "ts", "twice"]);
    assert_eq!(table.definition.columns[4].comment.as_deref(), Some("of n"));

    // What messages could not be read by never reaches the broker.
    let mut other = table.definition.clone();
    other.columns[2] = column("n", "STRING");
    let error = catalog.alter_table(&table, other).await.expect_err("not readable").to_string();
    assert!(error.contains("`n`"), "{error}");
    // What the strategy of the namespace forbids (FULL by default: old readers must read new messages) is the broker's to refuse.
    let mut widened = table.definition.clone();
    widened.columns[2] = column("n", "BIGINT");
    let error = catalog.alter_table(&table, widened).await.expect_err("against the strategy").to_string();
    assert!(error.contains("compatibility strategy"), "{error}");
    assert_eq!(log.schema(&topic, None).await.expect("asked").expect("there").0, second);

    // The refused change is taken back, which is a version of the definition too.
    let table = catalog.table(&database, "t").await.expect("found");
    assert_eq!(names(&table.definition), ["room", "floor", "n", "ts", "twice"]);

    // Back to columns that there were before: the registry knows that schema, and the newest must be it all the same.
    catalog.alter_table(&table, before.clone()).await.expect("compatible");
    assert_eq!(catalog.table(&database, "t").await.expect("found").definition, before);

    let view = ViewDefinition {
        query: "SELECT room FROM t".to_string(),
        catalog: "p".to_string(),
        database: database.clone(),
        columns: Vec::new(),
        comment: None,
    };
    catalog.create_view(&database, "v", view, false, false).await.expect("made");
    assert_eq!(catalog.tables(&database).await.expect("listed"), ["t", "v"]);
    assert!(
        catalog.drop_table(&database, "t", false, false).await.expect_err("messages").to_string().contains("delete")
    );
    let error = catalog.drop_database(&database, false, true).await.expect_err("topics").to_string();
    assert!(error.contains("1 topics"), "{error}");
    catalog.drop_table(&database, "t", false, true).await.expect("purged");
    catalog.drop_database(&database, false, true).await.expect("empty but for the view");
    assert!(!catalog.databases().await.expect("listed").contains(&database));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_shows_the_policies_that_are_set_of_its_namespace() {
    let Some((_folder, catalog, database)) = catalog().await else { return };
    assert_eq!(catalog.database_options(&database).await.expect("read"), [], "nothing is set of a new one");
    let given = [
        ("retention.time", "5 min"),
        ("message-ttl", "never"),
        ("offload.threshold", "1000 b"),
        ("schema-compatibility-strategy", "BACKWARD"),
        ("deduplication", "true"),
    ]
    .map(|(key, value)| (key.to_string(), value.to_string()));
    let policies = aquifer_catalog::options::database_policies(&given).expect("options");
    catalog.set_policies(&database, &policies).await.expect("set");
    let shown = catalog.database_options(&database).await.expect("read");
    for (key, value) in given {
        let found = shown.iter().find(|(shown, _)| *shown == key).map(|(_, value)| value.clone());
        assert_eq!(found, Some(value), "{key} of {shown:?}");
    }
    assert!(shown.contains(&("retention.size", "unlimited".to_string())), "one alone leaves the other: {shown:?}");
    catalog.drop_database(&database, false, false).await.expect("dropped");
}
