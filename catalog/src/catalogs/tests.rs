use aquifer_model::{ErrorKind, Partition};

use crate::definition::{ColumnDefinition, ColumnKind, Origin, TableDefinition, WatermarkDefinition};

use super::*;

mod half_done;

fn column(name: &str, type_text: &str) -> ColumnDefinition {
    let kind = ColumnKind::Physical { type_text: type_text.to_string() };
    ColumnDefinition { name: name.to_string(), kind, comment: None }
}

fn computed(name: &str, expression: &str) -> ColumnDefinition {
    let kind = ColumnKind::Computed { expression: expression.to_string() };
    ColumnDefinition { name: name.to_string(), kind, comment: None }
}

fn options(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn sensors(given: &[(&str, &str)]) -> TableDefinition {
    TableDefinition {
        columns: vec![column("room", "STRING"), column("temperature", "DOUBLE"), column("rowtime", "TIMESTAMP(3)")],
        options: options(given),
        ..Default::default()
    }
}

fn names(table: &Table) -> Vec<&str> {
    table.definition.columns.iter().map(|column| column.name.as_str()).collect()
}

fn topics(table: &Table) -> Vec<String> {
    match &table.target {
        Target::Topics(topics) => {
            topics.iter().map(|topic| format!("{} {}", topic.log.address(), topic.topic)).collect()
        }
        Target::Pattern(_) | Target::Connector | Target::Rows(_) => panic!("topics"),
    }
}

fn cluster(name: &str) -> CatalogDefinition {
    let options = options(&[("type", "pulsar"), ("adminUrl", "nowhere.invalid:9092")]);
    CatalogDefinition { name: name.to_string(), options, comment: None }
}

struct World {
    folder: tempfile::TempDir,
    catalogs: Arc<Catalogs>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let catalogs = Catalogs::open(folder.path().join("data")).await.expect("opens");
        Self { folder, catalogs }
    }

    fn default(&self) -> Arc<Catalog> {
        self.catalogs.get(DEFAULT_CATALOG).expect("always there")
    }

    /// With the catalog `p` of the cluster that tests are given, if there is one.
    async fn with_cluster() -> Option<Self> {
        let Ok(addresses) = std::env::var("AQUIFER_TEST_PULSAR") else {
            assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_PULSAR is not set");
            eprintln!("SKIPPED, NOTHING TESTED: set AQUIFER_TEST_PULSAR=pulsar://HOST:PORT,http://HOST:PORT");
            return None;
        };
        let (service, admin) = addresses.split_once(',').expect("pulsar://HOST:PORT,http://HOST:PORT");
        let world = Self::new().await;
        let given = options(&[("type", "pulsar"), ("service-url", service), ("adminUrl", admin)]);
        let definition = CatalogDefinition { name: "p".to_string(), options: given, comment: None };
        world.catalogs.create(definition, false).await.expect("stored");
        Some(world)
    }

    /// Another process, later.
    async fn reopen(self) -> Self {
        let Self { folder, catalogs } = self;
        drop(catalogs);
        let catalogs = Catalogs::open(folder.path().join("data")).await.expect("opens");
        Self { folder, catalogs }
    }
}

#[tokio::test]
async fn a_table_without_options_is_a_topic_with_a_schema() {
    let world = World::new().await;
    assert!(!world.folder.path().join("data").exists(), "opening makes nothing");
    let catalog = world.default();
    assert_eq!(catalog.default_database(), DEFAULT_DATABASE);
    catalog.create_table(DEFAULT_DATABASE, "Sensors", sensors(&[("partitions", "3")]), false).await.expect("made");
    let error = catalog.create_table(DEFAULT_DATABASE, "Sensors", sensors(&[]), false).await.expect_err("made");
    assert!(error.to_string().contains("there is a table `Sensors`"), "{error}");
    catalog.create_table(DEFAULT_DATABASE, "Sensors", sensors(&[]), true).await.expect("there");

    drop(catalog);
    let world = world.reopen().await;
    let catalog = world.default();
    assert_eq!(catalog.tables(DEFAULT_DATABASE).await.expect("listed"), ["Sensors"]);
    let table = catalog.table("public/default", "sensors").await.expect("found without case");
    assert_eq!(table.name, [DEFAULT_CATALOG, DEFAULT_DATABASE, "Sensors"]);
    assert_eq!((table.origin, names(&table)), (Origin::Native, vec!["room", "temperature", "rowtime"]));
    assert!(table.definition.columns.contains(&column("rowtime", "TIMESTAMP(3)")), "{:?}", table.definition);
    assert!(table.system_columns.iter().any(|column| column.name == "publish_time"));
    let Target::Topics(topics) = &table.target else { panic!("a topic") };
    assert_eq!(topics[0].log.partitions(&topics[0].topic).await.expect("made").len(), 3);
    let archive = topics[0].archive.as_ref().expect("one");
    assert!(archive.url.ends_with("data/archive/default_catalog"), "{}", archive.url);

    let error = catalog.table(DEFAULT_DATABASE, "sensor").await.expect_err("unknown").to_string();
    assert!(error.contains("did you mean `Sensors`?"), "{error}");
}

#[tokio::test]
async fn a_catalog_is_kept_connects_to_nothing_and_is_dropped_whole() {
    let world = World::new().await;
    world.catalogs.create(cluster("my_pulsar"), false).await.expect("stored only");
    let error = world.catalogs.create(cluster("my_pulsar"), false).await.expect_err("there");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    world.catalogs.create(cluster("my_pulsar"), true).await.expect("there");
    let explicit = sensors(&[("connector", "pulsar"), ("topic", "a/b/c"), ("format", "json")]);
    let catalog = world.catalogs.get("MY_PULSAR").expect("found without case");
    catalog.create_table("public/default", "over", explicit, false).await.expect("stored only");

    let world = world.reopen().await;
    assert_eq!(world.catalogs.names(), [DEFAULT_CATALOG, "my_pulsar"]);
    let catalog = world.catalogs.get("my_pulsar").expect("kept");
    assert_eq!(catalog.default_database(), "public/default");
    assert_eq!(catalog.definition().options["admin-url"], "http://nowhere.invalid:9092");
    let table = catalog.table("public/default", "over").await.expect("an explicit table connects to nothing");
    assert_eq!(topics(&table), ["http://nowhere.invalid:9092 persistent://a/b/c"]);
    assert!(table.system_columns.is_empty());

    world.catalogs.drop_catalog("my_pulsar", false).await.expect("dropped");
    let error = world.catalogs.drop_catalog("my_pulsar", false).await.expect_err("gone").to_string();
    assert!(error.contains("there is no catalog `my_pulsar`"), "{error}");
    world.catalogs.drop_catalog("my_pulsar", true).await.expect("no error");
    assert!(world.catalogs.drop_catalog(DEFAULT_CATALOG, true).await.is_err());
    world.catalogs.create(cluster("my_pulsar"), false).await.expect("made again");
    let again = world.catalogs.get("my_pulsar").expect("there");
    let found = again.stored_names("public/default", |_| true).await.expect("no connection");
    assert!(found.is_empty(), "a catalog made again does not inherit tables: {found:?}");
}

#[tokio::test]
async fn two_data_directories_share_definitions_that_have_a_place_of_their_own() {
    let (one, other) = (World::new().await, World::new().await);
    let place = one.folder.path().join("shared");
    let placed = |name: &str| {
        let mut definition = cluster(name);
        definition.options.insert("definitions".to_string(), place.display().to_string());
        definition
    };
    one.catalogs.create(placed("a"), false).await.expect("stored");
    other.catalogs.create(placed("b"), false).await.expect("stored");
    let explicit = sensors(&[("connector", "pulsar"), ("topic", "a/b/c"), ("format", "json")]);
    let (a, b) = (one.catalogs.get("a").expect("there"), other.catalogs.get("b").expect("there"));
    a.create_table("public/default", "over", explicit.clone(), false).await.expect("stored");
    let found = b.table("public/default", "over").await.expect("seen at once");
    assert_eq!(found.definition.options["topics"], "a/b/c");
    let error = b.create_table("public/default", "over", explicit.clone(), false).await.expect_err("there");
    assert!(error.to_string().contains("there is a table `over`"), "{error}");
    let mut changed = found.definition.clone();
    changed.comment = Some("by b".to_string());
    b.alter_table(&found, changed).await.expect("kept");
    let seen = a.table("public/default", "over").await.expect("found");
    assert_eq!(seen.definition.comment.as_deref(), Some("by b"));

    // Catalogs themselves stay in the data directory, and a place is not changed.
    assert_eq!(other.catalogs.names(), ["b", DEFAULT_CATALOG]);
    let moved = |current: &CatalogDefinition| {
        let mut definition = current.clone();
        definition.options.remove("definitions");
        Ok(definition)
    };
    let error = other.catalogs.alter("b", moved).await.expect_err("its tables would stay").to_string();
    assert!(error.contains("`definitions`") && error.contains("another catalog"), "{error}");
    let reopened = other.reopen().await;
    let b = reopened.catalogs.get("b").expect("kept");
    b.drop_table("public/default", "over", false, false).await.expect("dropped");
    assert!(a.stored_names("public/default", |_| true).await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_place_of_definitions_that_cannot_be_is_refused() {
    let world = World::new().await;
    for (given, part) in [
        (vec![("definitions", "s3://bucket")], "s3://BUCKET/PREFIX"),
        (vec![("definitions", "gs://bucket/x")], "not built yet"),
        (vec![("definitions", "s3://b/x"), ("s3.access-key", "k")], "'s3.secret-key'"),
        (vec![("s3.region", "eu-west-1")], "no effect without 'definitions'"),
        (vec![("definitions", "/x"), ("s3.anonymous", "true")], "no effect without 'definitions'"),
        (vec![("definitions", "/x"), ("service-url", "embedded:/y")], "is for clusters"),
    ] {
        let mut definition = cluster("c");
        definition.options.remove("adminUrl");
        definition.options.insert("service-url".to_string(), "pulsar://nowhere.invalid:6650".to_string());
        definition.options.extend(options(&given));
        let error = world.catalogs.create(definition, false).await.expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn wrong_catalogs_are_not_kept() {
    let world = World::new().await;
    let mut wrong = cluster("c");
    wrong.options.insert("archiv".to_string(), "x".to_string());
    let error = world.catalogs.create(wrong, false).await.expect_err("unknown key").to_string();
    assert!(error.contains("unknown option `archiv` of a catalog: did you mean `archive`?"), "{error}");
    assert_eq!(world.catalogs.names(), [DEFAULT_CATALOG]);
    let error = world.catalogs.get("default_catlog").expect_err("unknown").to_string();
    assert!(error.contains("did you mean `default_catalog`?"), "{error}");
    assert!(world.catalogs.create(cluster(DEFAULT_CATALOG), false).await.is_err());
}

#[tokio::test]
async fn what_alter_table_adds_to_a_topic_is_kept_for_this_topic_only() {
    let world = World::new().await;
    let catalog = world.default();
    catalog.create_table(DEFAULT_DATABASE, "sensors", sensors(&[]), false).await.expect("made");
    let before = catalog.table(DEFAULT_DATABASE, "sensors").await.expect("found");
    let mut changed = before.definition.clone();
    changed.columns.push(computed("hot", "temperature > 30"));
    changed.watermark = Some(WatermarkDefinition {
        column: "rowtime".to_string(),
        expression: "rowtime - INTERVAL '5' SECOND".to_string(),
    });
    changed.primary_key = vec!["room".to_string()];
    catalog.alter_table(&before, changed.clone()).await.expect("kept");
    let error = catalog.alter_table(&before, changed.clone()).await.expect_err("from an old version");
    assert_eq!(error.kind(), ErrorKind::Fenced);

    let Table { definition: before, target, .. } = before;
    drop((target, catalog));
    let world = world.reopen().await;
    let catalog = world.default();
    let found = catalog.table(DEFAULT_DATABASE, "sensors").await.expect("found");
    assert_eq!((&found.definition, found.origin), (&changed, Origin::Native));
    let Target::Topics(topics) = &found.target else { panic!("a topic") };
    assert_eq!(topics[0].value_columns.fields().len(), 3, "only what the payload has");

    let mut wider = changed.clone();
    wider.columns.push(column("humidity", "DOUBLE"));
    wider.columns.push(column("floor", "INT NOT NULL"));
    let error = catalog.alter_table(&found, wider.clone()).await.expect_err("old messages have none").to_string();
    assert!(error.contains("`floor` is NOT NULL"), "{error}");
    wider.columns.pop();
    let log = catalog.log().await.expect("open");
    let name = catalog.topic_name(DEFAULT_DATABASE, "sensors").expect("a name");
    let version = log.schema(&name, None).await.expect("asked").expect("registered").0;
    catalog.alter_table(&found, wider.clone()).await.expect("another schema version");
    assert_ne!(log.schema(&name, None).await.expect("asked").expect("registered").0, version);
    let wide = catalog.table(DEFAULT_DATABASE, "sensors").await.expect("found");
    assert_eq!(names(&wide), ["room", "temperature", "rowtime", "humidity", "hot"]);
    catalog.alter_table(&wide, found.definition.clone()).await.expect("dropped");
    assert_eq!(catalog.table(DEFAULT_DATABASE, "sensors").await.expect("found").definition, changed);

    let log = catalog.log().await.expect("open");
    let topic = catalog.topic_name(DEFAULT_DATABASE, "sensors").expect("a name");
    log.delete_topic(&topic).await.expect("deleted");
    catalog.create_table(DEFAULT_DATABASE, "sensors", sensors(&[]), false).await.expect("made again");
    let again = catalog.table(DEFAULT_DATABASE, "sensors").await.expect("found");
    assert_eq!(again.definition, before, "a topic made again inherits nothing");
    catalog.alter_table(&again, changed.clone()).await.expect("kept");
    assert_eq!(catalog.table(DEFAULT_DATABASE, "sensors").await.expect("found").definition, changed);
}

#[tokio::test]
async fn create_table_keeps_its_watermark_beside_the_topic() {
    let world = World::new().await;
    let catalog = world.default();
    let mut definition = sensors(&[("format", "json"), ("scan.startup.mode", "latest-offset")]);
    definition.watermark =
        Some(WatermarkDefinition { column: "rowtime".to_string(), expression: "rowtime".to_string() });
    catalog.create_table(DEFAULT_DATABASE, "t", definition.clone(), false).await.expect("made");
    let found = catalog.table(DEFAULT_DATABASE, "t").await.expect("found");
    assert_eq!(found.definition.watermark, definition.watermark);
    assert_eq!(found.definition.options, options(&[("scan.startup.mode", "latest")]));
    let Target::Topics(topics) = &found.target else { panic!("a topic") };
    assert_eq!(topics[0].format.to_string(), "json");
    let only_computed = TableDefinition { columns: vec![computed("x", "1")], ..Default::default() };
    assert!(catalog.create_table(DEFAULT_DATABASE, "u", only_computed, false).await.is_err());
    assert_eq!(catalog.tables(DEFAULT_DATABASE).await.expect("listed"), ["t"], "a refused table leaves no topic");
}

#[tokio::test]
async fn an_explicit_table_reads_the_log_that_its_options_name() {
    let world = World::new().await;
    let catalog = world.default();
    let other = format!("embedded:{}", world.folder.path().join("other").display());
    let given = [("connector", "pulsar"), ("topics", "a;b"), ("service-url", other.as_str()), ("format", "json")];
    catalog.create_table(DEFAULT_DATABASE, "both", sensors(&given), false).await.expect("stored");
    assert!(!world.folder.path().join("other").exists(), "CREATE TABLE contacts nothing");
    let table = catalog.table(DEFAULT_DATABASE, "BOTH").await.expect("found");
    assert_eq!(table.origin, Origin::Explicit);
    let expected = ["a", "b"].map(|name| format!("{other} persistent://public/default/{name}"));
    assert_eq!(topics(&table), expected);

    // Hints lie over the options, and are checked like them.
    let hint = |key: &str, value: &str| vec![(key.to_string(), value.to_string())];
    let skipping = catalog.with_options(&table, &hint("json.ignore-parse-errors", "true")).await.expect("a hint");
    assert_eq!(skipping.definition.options["json.ignore-parse-errors"], "true");
    let Target::Topics(read) = &skipping.target else { panic!("topics") };
    assert_eq!(read[0].on_error, aquifer_storage::reader::OnDecodeError::Skip);
    let error = catalog.with_options(&table, &hint("scan.bounded.mod", "x")).await.expect_err("unknown").to_string();
    assert!(error.contains("did you mean `scan.bounded.mode`?"), "{error}");
    assert!(catalog.with_options(&table, &hint("topic", "c")).await.is_err());

    // One log has one opener, whoever names it.
    let named = CatalogDefinition {
        name: "named".to_string(),
        options: options(&[("type", "embedded"), ("service-url", &other)]),
        comment: None,
    };
    world.catalogs.create(named, false).await.expect("stored");
    let named = world.catalogs.get("named").expect("there");
    assert_eq!(named.default_database(), DEFAULT_DATABASE);
    named.create_table(DEFAULT_DATABASE, "a", sensors(&[]), false).await.expect("made in the same log");
    let log = named.log().await.expect("open");
    let a = named.topic_name(DEFAULT_DATABASE, "a").expect("a name");
    assert_eq!(log.partitions(&a).await.expect("made"), [Partition::new(a.clone(), None)]);

    catalog.drop_table(DEFAULT_DATABASE, "both", false, false).await.expect("only the definition");
    assert!(log.partitions(&a).await.is_ok());
    assert!(catalog.table(DEFAULT_DATABASE, "both").await.is_err());
}

#[tokio::test]
async fn a_topic_is_dropped_only_where_that_is_said() {
    let world = World::new().await;
    let catalog = world.default();
    catalog.create_table(DEFAULT_DATABASE, "t", sensors(&[]), false).await.expect("made");
    let error = catalog.drop_table(DEFAULT_DATABASE, "t", false, false).await.expect_err("refused").to_string();
    assert!(error.contains("would delete its messages"), "{error}");
    catalog.drop_table(DEFAULT_DATABASE, "t", false, true).await.expect("purged");
    assert!(catalog.drop_table(DEFAULT_DATABASE, "t", false, true).await.is_err());
    catalog.drop_table(DEFAULT_DATABASE, "t", true, false).await.expect("there is none");
}

#[tokio::test]
async fn databases_are_namespaces() {
    let world = World::new().await;
    let catalog = world.default();
    assert_eq!(catalog.databases().await.expect("listed"), [DEFAULT_DATABASE]);
    assert!(catalog.create_database("a/b", Some("c".to_string()), false).await.expect("made"));
    assert!(!catalog.create_database("a/b", None, true).await.expect("there"), "not made again");
    assert!(catalog.create_database("a/b", Some("c".to_string()), false).await.is_err());
    assert_eq!(catalog.database_comment("a/b").await.expect("kept").as_deref(), Some("c"));
    catalog.create_database("plain", None, false).await.expect("made");
    catalog.create_database("a/gone", Some("c".to_string()), false).await.expect("made");
    catalog.drop_database("a/gone", false, false).await.expect("dropped");
    assert_eq!(catalog.database_comment("a/gone").await.expect("asked"), None);
    assert_eq!(catalog.databases().await.expect("listed"), ["a/b", DEFAULT_DATABASE, "public/plain"]);
    assert_eq!(catalog.database("plain").await.expect("found"), "public/plain");
    assert_eq!(catalog.database("public/default").await.expect("found"), DEFAULT_DATABASE);
    assert!(catalog.database("a/c").await.is_err() && catalog.tables("a/c").await.is_err());
    assert!(catalog.tables("a/b").await.expect("empty").is_empty());
    catalog.create_table("a/b", "t", sensors(&[]), false).await.expect("made");
    assert_eq!(catalog.topic_name("a/b", "t").expect("a name").to_string(), "persistent://a/b/t");
    assert!(catalog.topic_name("a/b/c", "t").is_err() && catalog.topic_name("a/b", "x/t").is_err());
    assert!(catalog.table("a/b", "..").await.is_err());
}

#[tokio::test]
async fn a_cluster_is_a_catalog_of_the_same_kind() {
    let Some(world) = World::with_cluster().await else { return };
    let catalog = world.catalogs.get("p").expect("there");
    let database = catalog.default_database().to_string();
    let name = format!("catalog-{}", Uuid::new_v4().simple());
    assert!(catalog.databases().await.expect("listed").contains(&database));
    let mut definition = sensors(&[("partitions", "2")]);
    definition.watermark =
        Some(WatermarkDefinition { column: "rowtime".to_string(), expression: "rowtime".to_string() });
    catalog.create_table(&database, &name, definition.clone(), false).await.expect("made");
    assert!(catalog.tables(&database).await.expect("listed").contains(&name));
    let found = catalog.table(&database, &name).await.expect("found");
    assert_eq!((found.origin, names(&found)), (Origin::Native, vec!["room", "temperature", "rowtime"]));
    assert_eq!(found.definition.watermark, definition.watermark);
    let near = format!("{name}x");
    let error = catalog.table(&database, &near).await.expect_err("unknown").to_string();
    assert!(error.contains(&format!("did you mean `{name}`?")), "{error}");
    catalog.drop_table(&database, &name, false, true).await.expect("purged");
    assert!(!catalog.tables(&database).await.expect("listed").contains(&name));
}
