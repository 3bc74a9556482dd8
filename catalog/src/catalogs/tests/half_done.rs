//! `ALTER TABLE` of a topic's own columns that ends half-way: whatever is done by then, the definition fits the columns that the topic has.

use std::sync::atomic::Ordering;

use aquifer_storage::log::NamespacePolicies;
use object_store::ObjectStore;

use crate::catalog::StoredTable;
use crate::store::failing::Failing;

use super::*;

fn watermark(column: &str) -> Option<WatermarkDefinition> {
    Some(WatermarkDefinition { column: column.to_string(), expression: column.to_string() })
}

/// A catalog whose definitions lie in this store, with the table `t`, and the definition that its ALTER TABLE is to make: both the column and the
/// watermark on it are others.
async fn world(store: &Arc<Failing>) -> (World, Catalog, TableDefinition) {
    let world = World::new().await;
    let mut catalog = default_catalog(&world.catalogs.shared, EmbeddedSettings::default()).expect("one");
    catalog.definitions = Definitions::in_store(Arc::clone(store) as Arc<dyn ObjectStore>, "d".into());
    let before = TableDefinition { watermark: watermark("rowtime"), ..sensors(&[]) };
    catalog.create_table(DEFAULT_DATABASE, "t", before, false).await.expect("made");
    let mut after = catalog.table(DEFAULT_DATABASE, "t").await.expect("found").definition;
    after.columns.pop();
    after.columns.push(column("at", "TIMESTAMP(3)"));
    after.watermark = watermark("at");
    (world, catalog, after)
}

#[tokio::test]
async fn a_definition_fits_the_topics_columns_wherever_alter_table_ends() {
    for (writes, loses_answer) in [(0, false), (1, false), (2, false), (1, true), (2, true)] {
        let store = Arc::new(Failing { loses_answer, ..Failing::default() });
        let (_world, catalog, after) = world(&store).await;
        let before = catalog.table(DEFAULT_DATABASE, "t").await.expect("found");
        store.left.store(writes, Ordering::Relaxed);
        let answer = catalog.alter_table(&before, after.clone()).await;
        store.left.store(usize::MAX, Ordering::Relaxed);
        let found = catalog.table(DEFAULT_DATABASE, "t").await.expect("found").definition;
        match &answer {
            Ok(()) => assert_eq!(found, after, "{writes} {loses_answer}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(found == before.definition || found == after, "{writes} {loses_answer}: {found:?}");
            }
        }
        assert_eq!(answer.is_ok(), writes > usize::from(loses_answer), "the first of two writes decides: {answer:?}");
        // It is a table that can be changed on.
        let now = catalog.table(DEFAULT_DATABASE, "t").await.expect("found");
        catalog.alter_table(&now, after.clone()).await.expect("changed");
        assert_eq!(catalog.table(DEFAULT_DATABASE, "t").await.expect("found").definition, after);
    }
}

#[tokio::test]
async fn what_was_begun_counts_from_its_own_schema_version_on() {
    for registers in [false, true] {
        let store = Arc::new(Failing::default());
        let (_world, catalog, after) = world(&store).await;
        let log = catalog.log().await.expect("open");
        let topic = catalog.topic_name(DEFAULT_DATABASE, "t").expect("a name");
        let before = catalog.table(DEFAULT_DATABASE, "t").await.expect("found");
        let (_, first) = log.schema(&topic, None).await.expect("asked").expect("one");
        // The first write announces, and the second one, which would end it, fails.
        store.left.store(1, Ordering::Relaxed);
        catalog.alter_table(&before, after.clone()).await.expect("registered");
        store.left.store(usize::MAX, Ordering::Relaxed);
        let (_, second) = log.schema(&topic, None).await.expect("asked").expect("one");
        if !registers {
            // The same topic as if the process had died before it registered.
            log.delete_topic(&topic).await.expect("deleted");
            log.create_topic(&topic, 0).await.expect("made");
            log.put_schema(&topic, &first).await.expect("registered");
            let identity = log.identity(&topic).await.expect("one");
            let key = catalog.key("public/default", "t");
            let take_over = |found: Option<&Stored<StoredTable>>| match found.map(|f| f.body.clone()) {
                Some(StoredTable::Native { definition, begun, .. }) => {
                    Ok(Change::Put(StoredTable::Native { identity: identity.clone(), definition, begun }))
                }
                _ => panic!("a native table"),
            };
            catalog.definitions.change(&key, take_over).await.expect("stored");
        }
        // Another client registers a version of its own.
        let mut other: serde_json::Value = serde_json::from_slice(&second.definition).expect("JSON");
        let fields = other["fields"].as_array_mut().expect("fields");
        fields.push(serde_json::json!({"name": "more", "type": ["null", "int"], "default": null}));
        let definition = other.to_string().into_bytes();
        log.put_schema(&topic, &aquifer_model::TopicSchema { definition, ..second }).await.expect("registered");
        let found = catalog.table(DEFAULT_DATABASE, "t").await.expect("found");
        assert_eq!(names(&found), ["room", "temperature", "at", "more"]);
        let expected = if registers { watermark("at") } else { watermark("rowtime") };
        assert_eq!(found.definition.watermark, expected, "registered: {registers}");
    }
}

#[tokio::test]
async fn a_schema_that_the_broker_refuses_leaves_the_definition_as_it_was() {
    let Some(world) = World::with_cluster().await else { return };
    let catalog = world.catalogs.get("p").expect("there");
    let database = format!("public/strict-{}", Uuid::new_v4().simple());
    catalog.create_database(&database, None, false).await.expect("made");
    let before = TableDefinition { watermark: watermark("rowtime"), ..sensors(&[]) };
    catalog.create_table(&database, "t", before, false).await.expect("made");
    let strategy = Some("ALWAYS_INCOMPATIBLE".to_string());
    let policies = NamespacePolicies { schema_compatibility: strategy, ..Default::default() };
    catalog.set_policies(&database, &policies).await.expect("set");
    let before = catalog.table(&database, "t").await.expect("found");
    let mut after = before.definition.clone();
    after.columns.pop();
    after.watermark = None;
    let error = catalog.alter_table(&before, after).await.expect_err("incompatible");
    assert!(!matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown), "{error}");
    let found = catalog.table(&database, "t").await.expect("found");
    assert_eq!(found.definition, before.definition);
    // What stands beside the topic can still be changed.
    let mut beside = found.definition.clone();
    beside.primary_key = vec!["room".to_string()];
    catalog.alter_table(&found, beside.clone()).await.expect("no other schema");
    assert_eq!(catalog.table(&database, "t").await.expect("found").definition, beside);
    catalog.drop_table(&database, "t", false, true).await.expect("purged");
    catalog.drop_database(&database, false, false).await.expect("dropped");
}
