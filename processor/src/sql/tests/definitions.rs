//! Statements that define and show: what they keep, what they say, what they refuse.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn views_are_kept_shown_changed_and_dropped() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT, s STRING)").await;
    world.run("CREATE VIEW v (k COMMENT 'the key', n) COMMENT 'c' AS SELECT s, id + 1 FROM t").await;
    assert_eq!(world.run("SHOW VIEWS").await, ["v"]);
    assert_eq!(world.run("SHOW TABLES").await, ["t", "v"]);
    assert_eq!(world.run("DESCRIBE v").await[0], "k,STRING,true,,,,the key");
    let text = world.text("SHOW CREATE VIEW v").await;
    let expected = "CREATE VIEW `default_catalog`.`default_database`.`v` (\n  `k` COMMENT 'the key',\n  `n`\n)\nCOMMENT 'c'\nAS SELECT s, id + 1 FROM t";
    assert_eq!(text, expected);
    assert!(world.refused("CREATE VIEW v AS SELECT 1 AS x").await.contains("a view `v`"));
    world.run("CREATE VIEW IF NOT EXISTS v AS SELECT 1 AS x").await;
    world.run("CREATE OR REPLACE VIEW v AS SELECT 1 AS x").await;
    assert_eq!(world.run("SHOW COLUMNS FROM v").await.len(), 1);
    world.run("ALTER VIEW v AS SELECT 1 AS x, 2 AS y").await;
    world.run("ALTER VIEW v RENAME TO w").await;
    assert_eq!(world.run("SHOW VIEWS").await, ["w"]);
    assert_eq!(world.run("SHOW COLUMNS FROM w LIKE 'y%'").await.len(), 1);
    assert!(world.refused("DROP TABLE w").await.contains("is a view"));
    assert!(world.refused("CREATE TABLE w (a INT)").await.contains("a view `w`"));
    assert!(world.refused("CREATE VIEW t AS SELECT 1 AS x").await.contains("a table `t`"));
    world.run("DROP VIEW w").await;
    world.run("DROP VIEW IF EXISTS w").await;
    assert!(world.refused("DROP VIEW w").await.contains("there is no view `w`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_whose_query_does_not_bind_or_fit_its_names_is_refused() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT, s STRING)").await;
    for (statement, part) in [
        ("CREATE VIEW v (a, b) AS SELECT 1 AS x", "names 2 columns"),
        ("CREATE VIEW v AS SELECT nope FROM t", "nope"),
        ("CREATE VIEW v AS SELECT id FROM nope", "nope"),
        ("CREATE VIEW v (a, a) AS SELECT 1, 2", "named twice"),
        ("ALTER VIEW nope AS SELECT 1 AS x", "no view `nope`"),
        ("SHOW CREATE VIEW t", "SHOW CREATE TABLE"),
    ] {
        let error = world.refused(statement).await;
        assert!(error.contains(part), "{statement}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_objects_hide_others_and_end_with_the_session() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT)").await;
    world.run("CREATE TEMPORARY VIEW t AS SELECT 'x' AS s").await;
    assert_eq!(world.run("DESCRIBE t").await[0].split(',').next(), Some("s"));
    assert!(world.refused("DROP TABLE t").await.contains("DROP TEMPORARY VIEW `t`"));
    assert!(world.refused("CREATE TEMPORARY VIEW t AS SELECT 1 AS x").await.contains("already"));
    let mut other = world.another();
    assert_eq!(lines_of(&mut other, "DESCRIBE t").await[0], "id,INT,true,,,");
    world.run("DROP TEMPORARY VIEW t").await;
    assert_eq!(world.run("DESCRIBE t").await[0], "id,INT,true,,,");
    world.run("CREATE TEMPORARY TABLE tt (a INT) WITH ('connector' = 'pulsar', 'topics' = 't')").await;
    assert_eq!(world.run("SHOW TABLES").await, ["t", "tt"]);
    assert!(world.text("SHOW CREATE TABLE tt").await.starts_with("CREATE TEMPORARY TABLE"));
    assert!(world.refused("CREATE TEMPORARY TABLE u (a INT)").await.contains("needs a connector"));
    assert_eq!(lines_of(&mut other, "SHOW TABLES").await, ["t"]);
    world.run("DROP TEMPORARY TABLE tt; DROP TEMPORARY TABLE IF EXISTS tt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_table_must_not_be_is_refused_when_it_is_made() {
    let mut world = World::new().await;
    let with = "WITH ('connector' = 'pulsar', 'topics' = 'x')";
    for (columns, part) in [
        ("x INT, x STRING", "declared twice"),
        ("x TEXT", "TEXT"),
        ("x DECIMAL(39, 2)", "DECIMAL"),
        ("x TIMESTAMP(10)", "TIMESTAMP"),
        ("x STRING, WATERMARK FOR x AS x", "`x` is STRING"),
        ("x TIMESTAMP(6), WATERMARK FOR x AS x", "CAST(`x` AS TIMESTAMP(3))"),
        ("x TIMESTAMP(3), WATERMARK FOR y AS x", "`y` is unknown"),
        ("x TIMESTAMP(3), WATERMARK FOR x AS 'soon'", "must be of one kind"),
        ("x TIMESTAMP(3), WATERMARK FOR x AS x, WATERMARK FOR x AS x", "one watermark"),
        ("x INT, c AS y + 1", "computed column `c`"),
        ("x INT, c AS x + 1, d AS c + 1", "computed column `d`"),
        ("x INT PRIMARY KEY", "NOT ENFORCED"),
        ("x INT, PRIMARY KEY (y) NOT ENFORCED", "`y` is unknown"),
        ("x INT PRIMARY KEY NOT ENFORCED, PRIMARY KEY (x) NOT ENFORCED", "one primary key"),
        ("x INT, c AS x + 1, PRIMARY KEY (c) NOT ENFORCED", "no physical column"),
        ("x INT, UNIQUE (x)", "UNIQUE"),
        ("x INT, m INT METADATA FROM 'nope'", "nope"),
        ("x INT, m BOOLEAN METADATA FROM 'properties'", "cannot be read as BOOLEAN"),
        ("x INT AFTER y", "FIRST and AFTER"),
    ] {
        let error = world.refused(&format!("CREATE TABLE z ({columns}) {with}")).await;
        assert!(error.contains(part), "{columns}: {error}");
    }
    for (statement, part) in [
        ("CREATE TABLE z (a INT) PARTITIONED BY (a)", "PARTITIONED BY is for tables of files"),
        ("CREATE TABLE z (a INT) WITH ('connector' = 'kafka')", "unknown connector `kafka`"),
        ("CREATE TABLE z (a INT) DISTRIBUTED BY RANGE (a) INTO 3 BUCKETS", "RANGE"),
        ("CREATE TABLE z (a INT) DISTRIBUTED BY (b) INTO 3 BUCKETS", "`b`"),
        (
            "CREATE TABLE z (a INT) DISTRIBUTED INTO 3 BUCKETS WITH ('connector' = 'pulsar', 'topic' = 'x')",
            "DISTRIBUTED INTO n BUCKETS is not for tables of `pulsar`",
        ),
        ("CREATE TABLE z (a INT) WITH ('scan.startup.timestamp-millis' = '1')", "has no effect without"),
        ("DROP TEMPORARY TABLE z PURGE", "PURGE"),
        ("CREATE TABLE z", "`(` and the columns"),
        ("CREATE TABLE z (a)", "no type"),
        ("CREATE TEMPORARY FUNCTION f AS 'x'", "FUNCTION"),
        ("CREATE MATERIALIZED TABLE m AS SELECT 1", "MATERIALIZED"),
    ] {
        let error = world.refused(statement).await;
        assert!(error.contains(part), "{statement}: {error}");
    }
    assert!(world.run("SHOW TABLES").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn show_create_table_and_describe_speak_as_flink_does() {
    let mut world = World::new().await;
    world
        .run(
            "CREATE TABLE t (item STRING COMMENT 'it''s', v DECIMAL(5, 2), ts TIMESTAMP(3), e TIMESTAMP_LTZ(3) METADATA FROM 'event_time' VIRTUAL, \
             c AS v * 2, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND, PRIMARY KEY (item) NOT ENFORCED) COMMENT 'x' \
             WITH ('connector' = 'pulsar', 'topics' = 'u', 'auth-params' = 'token:secret')",
        )
        .await;
    let text = world.text("SHOW CREATE TABLE t").await;
    assert!(
        text.starts_with(
            "CREATE TABLE `default_catalog`.`default_database`.`t` (\n  `item` VARCHAR(2147483647) NOT NULL COMMENT 'it''s',\n  `v` DECIMAL(5, 2),\n  `ts` TIMESTAMP(3),\n  \
             `e` TIMESTAMP_LTZ(3) METADATA FROM 'event_time' VIRTUAL,\n  `c` AS `v` * 2,\n  WATERMARK FOR `ts` AS `ts` - INTERVAL '1' SECOND,\n  \
             CONSTRAINT `PK_item` PRIMARY KEY (`item`) NOT ENFORCED\n)\nCOMMENT 'x'\nWITH (\n  'auth-params' = "
        ),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    let described = world.run("DESC EXTENDED t").await;
    assert_eq!(described[0], "item,STRING,false,PRI(item),,,it's");
    assert_eq!(described[2], "ts,TIMESTAMP(3) *ROWTIME*,true,,,`ts` - INTERVAL '1' SECOND,");
    assert!(described[4].ends_with("true,,AS `v` * 2,,"), "{}", described[4]);
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert!(world.run("SHOW COLUMNS IN t NOT LIKE '%s%'").await.iter().all(|row| !row.starts_with("ts")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_like_another_and_one_as_a_query() {
    let mut world = World::new().await;
    world
        .run("CREATE TABLE a (id INT, s STRING) WITH ('connector' = 'pulsar', 'topic' = 'x', 'format' = 'json')")
        .await;
    world.run("CREATE TABLE b (n BIGINT) WITH ('topic' = 'y') LIKE a").await;
    let text = world.text("SHOW CREATE TABLE b").await;
    assert!(text.contains("`id` INT") && text.contains("`n` BIGINT") && text.contains("'topics' = 'y'"), "{text}");
    assert!(text.contains("'format' = 'json'"), "{text}");
    world.run("CREATE TABLE c LIKE a (EXCLUDING OPTIONS)").await;
    assert!(!world.text("SHOW CREATE TABLE c").await.contains("WITH"));
    world.run("INSERT INTO c VALUES (1, 'x'), (2, 'y')").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    world.run("CREATE TABLE d AS SELECT s, id * 2 AS twice FROM c").await;
    assert_eq!(world.run("SELECT * FROM d").await, ["x,2", "y,4"]);
    world.run("CREATE TABLE e (twice, s) AS SELECT s, id * 2 AS twice FROM c").await;
    assert_eq!(world.run("SELECT * FROM e").await, ["2,x", "4,y"]);
    world.run("CREATE TABLE f (note STRING, s VARCHAR(5)) AS SELECT s FROM c").await;
    assert_eq!(world.run("SELECT * FROM f").await, [",x", ",y"]);
    world.run("CREATE TABLE IF NOT EXISTS d AS SELECT 1 AS x").await;
    assert!(world.refused("CREATE OR REPLACE TABLE d AS SELECT 1 AS x").await.contains("PURGE"));
    assert!(world.refused("REPLACE TABLE nope AS SELECT 1 AS x").await.contains("CREATE OR REPLACE"));
    assert!(world.refused("CREATE TABLE g AS SELECT NULL AS x").await.contains("CAST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_altered_renamed_and_dropped() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT, ts TIMESTAMP(3)) WITH ('connector' = 'pulsar', 'topic' = 'x')").await;
    world.run("ALTER TABLE t ADD (b STRING COMMENT 'x' FIRST, c AS id + 1)").await;
    world.run("ALTER TABLE t MODIFY id BIGINT; ALTER TABLE t RENAME b TO d").await;
    world.run("ALTER TABLE t ADD WATERMARK FOR ts AS ts - INTERVAL '5' SECOND").await;
    let names: Vec<String> =
        world.run("DESCRIBE t").await.iter().map(|row| row.split(',').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(names[..3], ["d STRING", "id BIGINT", "ts TIMESTAMP(3) *ROWTIME*"]);
    assert!(world.refused("ALTER TABLE t ADD WATERMARK FOR ts AS ts").await.contains("MODIFY"));
    assert!(world.refused("ALTER TABLE t ADD e AS nope + 1").await.contains("computed column `e`"));
    assert!(world.refused("ALTER TABLE t DROP id").await.contains("`c` needs"));
    world.run("ALTER TABLE t DROP c; ALTER TABLE t DROP WATERMARK").await;
    world.run("ALTER TABLE t SET ('topic' = 'y', 'scan.startup.mode' = 'latest')").await;
    assert!(world.text("SHOW CREATE TABLE t").await.contains("'topics' = 'y'"));
    world.run("ALTER TABLE t RESET ('scan.startup.mode')").await;
    assert!(!world.text("SHOW CREATE TABLE t").await.contains("startup"));
    world.run("ALTER TABLE t RENAME TO u; ALTER TABLE IF EXISTS t RENAME TO v").await;
    assert_eq!(world.run("SHOW TABLES").await, ["u"]);
    assert!(world.refused("DROP TABLE u PURGE").await.contains("PURGE is for topics of the catalog"));
    world.run("DROP TABLE u; DROP TABLE IF EXISTS u; DROP TABLE IF EXISTS `no/where`.u").await;
    world.run("CREATE TABLE n (a INT)").await;
    assert!(world.refused("ALTER TABLE n RENAME TO m").await.contains("topics cannot be renamed"));
    assert!(world.refused("DROP TABLE n").await.contains("would delete its messages"));
    world.run("DROP TABLE n PURGE").await;
    assert!(world.run("SHOW TABLES").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_and_databases_are_shown_changed_and_dropped() {
    let mut world = World::new().await;
    world
        .run(
            "CREATE CATALOG c COMMENT 'x' WITH ('type' = 'pulsar', 'adminUrl' = 'h:1', 'auth-params' = 'token:secret')",
        )
        .await;
    let text = world.text("SHOW CREATE CATALOG c").await;
    assert!(text.starts_with("CREATE CATALOG `c`\nCOMMENT 'x'\nWITH (\n  'admin-url' = 'http://h:1'"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    world.run("ALTER CATALOG c SET ('adminUrl' = 'h:2'); ALTER CATALOG c COMMENT 'y'; ALTER CATALOG c RESET ('auth-params')").await;
    assert_eq!(world.run("DESCRIBE CATALOG c").await, ["name,c", "type,pulsar", "comment,y"]);
    let extended = world.run("DESC CATALOG EXTENDED c").await;
    assert!(extended.contains(&"option:admin-url,http://h:2".to_string()), "{extended:?}");
    assert_eq!(world.run("SHOW CATALOGS LIKE 'c%'").await, ["c"]);
    world.run("CREATE DATABASE `a/b`; CREATE DATABASE IF NOT EXISTS `a/b`").await;
    assert_eq!(world.run("SHOW DATABASES ILIKE 'A%'").await, ["a/b"]);
    assert_eq!(world.run("SHOW DATABASES FROM default_catalog NOT LIKE 'd%'").await, ["a/b"]);
    world.run("CREATE DATABASE d COMMENT 'x'").await;
    assert!(world.run("DESCRIBE DATABASE d").await.contains(&"comment,x".to_string()));
    assert!(world.refused("CREATE DATABASE d COMMENT 'y'").await.contains("`public/d`"));
    world.run("DROP DATABASE d").await;
    world.run("CREATE TABLE `a/b`.t (a INT)").await;
    assert!(world.refused("DROP DATABASE `a/b` CASCADE").await.contains("1 topics"));
    world.run("DROP TABLE `a/b`.t PURGE").await;
    world.run("CREATE VIEW `a/b`.v AS SELECT 1 AS x").await;
    assert!(world.refused("DROP DATABASE `a/b` RESTRICT").await.contains("CASCADE"));
    world.run("DROP DATABASE `a/b` CASCADE; DROP DATABASE IF EXISTS `a/b`").await;
    assert_eq!(world.run("SHOW DATABASES").await, ["default_database"]);
    assert!(world.refused("DROP DATABASE default_database").await.contains("in use"));
    world.run("DROP CATALOG c; DROP CATALOG IF EXISTS c").await;
    assert!(world.refused("USE nowhere").await.contains("nowhere"));
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_modules_and_what_there_is_not() {
    let mut world = World::new().await;
    assert!(world.run("SHOW FUNCTIONS LIKE 'uppe_'").await.contains(&"upper".to_string()));
    assert!(world.run("SHOW USER FUNCTIONS").await.is_empty());
    assert_eq!(world.run("DESCRIBE FUNCTION EXTENDED UPPER").await[2], "kind,SCALAR");
    assert_eq!(world.run("USE MODULES core; SHOW FULL MODULES").await, ["core,true"]);
    world.run("CREATE TABLE p (a INT) DISTRIBUTED INTO 3 BUCKETS").await;
    assert_eq!(world.run("SHOW PARTITIONS p").await, ["partition=0", "partition=1", "partition=2"]);
    world.run("ANALYZE TABLE p COMPUTE STATISTICS FOR COLUMNS a").await;
    for (statement, part) in [
        ("ANALYZE TABLE p COMPUTE STATISTICS FOR COLUMNS b", "no column `b`"),
        ("SHOW JOBS", "SHOW JOBS"),
        ("LOAD MODULE hive", "core"),
        ("USE MODULES hive", "core"),
        ("ADD JAR 'x.jar'", "JAR"),
        ("CREATE FUNCTION f AS 'x'", "FUNCTION"),
        ("DROP TEMPORARY SYSTEM FUNCTION f", "FUNCTION"),
        ("UPDATE p SET a = 1", "never changed"),
        ("DELETE FROM p", "never changed"),
        ("TRUNCATE TABLE p", "never removed"),
        ("INSERT OVERWRITE p SELECT 1", "never replaced"),
        ("CALL x.y()", "procedures"),
        ("STOP JOB 'x'", "STOP JOB"),
        ("DESCRIBE JOB 'x'", "DESCRIBE JOB is not built yet"),
        ("COMPILE PLAN 'x' FOR SELECT 1", "COMPILE"),
    ] {
        let error = world.refused(statement).await;
        assert!(error.contains(part), "{statement}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_name_columns_fit_types_and_run_in_sets() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (a INT NOT NULL, b STRING, c BIGINT); CREATE TABLE u (a INT)").await;
    world.run("INSERT INTO t (c, a) VALUES (3, 1)").await;
    for (statement, part) in [
        ("INSERT INTO t (b) VALUES ('x')", "`a` is NOT NULL"),
        ("INSERT INTO t (a, a) VALUES (1, 2)", "given twice"),
        ("INSERT INTO t (a, z) VALUES (1, 2)", "no column `z`"),
        ("INSERT INTO u VALUES ('x')", "CAST(… AS INT)"),
        ("INSERT INTO t PARTITION (b = 'x') SELECT 1, 2", "not partitioned by `b`"),
        ("END", "no statement set"),
        ("BEGIN STATEMENT SET; SELECT 1", "only INSERT"),
    ] {
        let error = world.refused(statement).await;
        assert!(error.contains(part), "{statement}: {error}");
    }
    world.run("INSERT INTO t VALUES (5, 'x', 6); INSERT INTO u SELECT 7; END").await;
    world.run("EXECUTE STATEMENT SET BEGIN INSERT INTO u SELECT 8; INSERT INTO u SELECT 9; END;").await;
    let whole = "EXECUTE STATEMENT SET BEGIN INSERT INTO u SELECT 10; INSERT INTO t VALUES (11, 'y', 12); END";
    match world.session.execute(whole, 1).await.expect("runs").outcome {
        Outcome::Insert(running) => assert!(folded(running).await.expect("ends").is_empty()),
        other => panic!("{other:?}"),
    }
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run("SELECT * FROM t").await, ["1,,3", "11,y,12", "5,x,6"]);
    assert_eq!(world.run("SELECT * FROM u").await, ["10", "7", "8", "9"]);
    let text = world.text("EXPLAIN STATEMENT SET BEGIN INSERT INTO u SELECT a FROM t; END").await;
    assert!(text.contains("== Insert into default_catalog.default_database.u =="), "{text}");
    let text = world.text("EXPLAIN CHANGELOG_MODE, ESTIMATED_COST SELECT a FROM t").await;
    assert!(text.contains("changelogMode=[I]: rowcount = 3"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_set_with_and_without_quotes() {
    let mut world = World::new().await;
    world.run("SET parallelism.default = 2; SET 'table.local-time-zone' = 'America/New_York'").await;
    let all = world.text("SET").await;
    assert!(all.contains("'parallelism.default' = '2'") && all.contains("America/New_York"), "{all}");
    world.run("RESET parallelism.default; RESET").await;
    assert!(!world.text("SET").await.contains("New_York"));
    assert!(world.refused("SET 'execution.runtime-mode' = 'nonsense'").await.contains("nonsense"));
    assert!(world.refused("SET 'table.local-time-zone' = 'Mars'").await.contains("Mars"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topics_own_columns_change_by_another_schema_version() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT COMMENT 'x', s STRING); INSERT INTO t VALUES (1, 'a')").await;
    assert_eq!(world.run("DESCRIBE t").await[0], "id,INT,true,,,,x");
    world.run("ALTER TABLE t ADD (n BIGINT COMMENT 'y' AFTER id)").await;
    world.run("ALTER TABLE t MODIFY id BIGINT; INSERT INTO t VALUES (2, 3, 'b')").await;
    world.archive("t").await;
    world.run("ALTER TABLE t DROP s; INSERT INTO t VALUES (4, 5)").await;
    assert_eq!(world.run("SHOW COLUMNS FROM t").await, ["id,BIGINT,true,,,,x", "n,BIGINT,true,,,,y"]);
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run("SELECT * FROM t").await, ["1,", "2,3", "4,5"]);
    assert!(world.refused("ALTER TABLE t MODIFY id STRING").await.contains("cannot be read as STRING"));
    assert!(world.refused("ALTER TABLE t ADD x INT NOT NULL").await.contains("leave NOT NULL out"));
    assert!(world.refused("ALTER TABLE t RENAME n TO m").await.contains("old name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_make_the_messages_key() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT, s STRING) DISTRIBUTED BY HASH (id) INTO 2 BUCKETS").await;
    world.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    world.run("CREATE TABLE o (id INT, s STRING, k STRING METADATA FROM 'key' VIRTUAL) WITH ('connector' = 'pulsar', 'topic' = 't')").await;
    world
        .run(
            "CREATE TABLE raw (s STRING, n INT) WITH ('connector' = 'pulsar', 'topic' = 'r', 'key.format' = 'raw', 'key.fields' = 's', \
             'value.fields-include' = 'EXCEPT_KEY', 'sink.key-hash' = 'murmur3', 'pulsar.producer.compressionType' = 'ZSTD')",
        )
        .await;
    world.run("CREATE TABLE r (n INT) WITH ('partitions' = '3'); INSERT INTO raw VALUES ('x', 1), ('y', 2)").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run("SELECT * FROM o").await, [r#"1,a,{"id":1}"#, r#"2,b,{"id":2}"#]);
    assert_eq!(world.run("SELECT s, n FROM raw").await, ["x,1", "y,2"]);
    assert_eq!(world.run("SELECT n FROM r").await, ["1", "2"]);
    let error =
        world.refused("CREATE TABLE z (a INT) WITH ('connector' = 'pulsar', 'topic' = 't', 'key.fields' = 'b')").await;
    assert!(error.contains("no physical column `b`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_stand_in_the_key_alone_are_read_from_it_in_both_tiers() {
    let mut world = World::new().await;
    let with = |topic: &str, more: &str| {
        format!(
            "WITH ('connector' = 'pulsar', 'topic' = '{topic}', 'format' = 'json', 'value.fields-include' = 'EXCEPT_KEY', \
             'scan.bounded.mode' = 'latest-offset', {more})"
        )
    };
    for (topic, format, prefix) in [("j", "json", ""), ("p", "json", "k_"), ("a", "avro", "k_")] {
        world.run(&format!("CREATE TABLE {topic} (n INT) WITH ('format' = 'json', 'partitions' = '2')")).await;
        let options = format!(
            "'key.format' = '{format}', 'key.fields' = '{prefix}id;{prefix}room', 'key.fields-prefix' = '{prefix}'"
        );
        world
            .run(&format!(
                "CREATE TABLE k_{topic} ({prefix}id BIGINT, n INT, {prefix}room STRING, twice AS {prefix}id * 2) {}",
                with(topic, &options)
            ))
            .await;
        world.run(&format!("INSERT INTO k_{topic} VALUES (1, 10, 'a'), (2, 20, CAST(NULL AS STRING))")).await;
        world.archive(topic).await;
        world.run(&format!("INSERT INTO k_{topic} VALUES (3, 30, 'c')")).await;
        for mode in ["batch", "streaming"] {
            world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
            let rows = world.run(&format!("SELECT * FROM k_{topic}")).await;
            assert_eq!(rows, ["1,10,a,2", "2,20,,4", "3,30,c,6"], "{topic}, {mode}");
            let filtered = format!("SELECT n, {prefix}room FROM k_{topic} WHERE {prefix}id > 1 AND n < 30");
            assert_eq!(world.run(&filtered).await, ["20,"], "{topic}, {mode}");
        }
    }
    // Without the prefix in the key, and without the key in the value.
    let around =
        "WITH ('connector' = 'pulsar', 'topic' = 'p', 'format' = 'json', 'scan.bounded.mode' = 'latest-offset')";
    world.run(&format!("CREATE TABLE v (n INT, id BIGINT, k_id BIGINT, k STRING METADATA FROM 'key') {around}")).await;
    let written = world.run("SELECT n, id, k_id, k FROM v WHERE n = 30").await;
    assert_eq!(written, [r#"30,,,{"id":3,"room":"c"}"#]);

    world.run("CREATE TABLE i (n INT) WITH ('format' = 'json')").await;
    world
        .run(&format!("CREATE TABLE k_i (id INT, n INT) {}", with("i", "'key.fields' = 'id', 'key.format' = 'raw'")))
        .await;
    world.run("INSERT INTO k_i VALUES (7, 1)").await;
    assert_eq!(world.run("SELECT id, n FROM k_i").await, ["7,1"]);
    append(&world, "i", "x", Some(b"{\"n\": 2}")).await;
    assert!(world.refused("SELECT id, n FROM k_i").await.contains("'key.format' = 'raw'"));
    let lenient = "SELECT id, n FROM k_i /*+ OPTIONS('aquifer.on-decode-error' = 'skip') */";
    assert_eq!(world.run(lenient).await, [",2", "7,1"]);
    let declared = "CREATE TABLE z (k_id INT, n INT) ";
    for (more, part) in [
        ("'key.fields' = 'k_id;n', 'key.fields-prefix' = 'k_'", "`n` does not begin with it"),
        ("'key.fields' = 'k_id', 'key.format' = 'protobuf'", "write raw, json or avro"),
        ("'key.fields' = 'k_id;n', 'key.format' = 'raw'", "takes one"),
    ] {
        let error = world.refused(&format!("{declared}{}", with("i", more))).await;
        assert!(error.contains(part), "{error}");
    }
    let alone = "WITH ('connector' = 'pulsar', 'topic' = 'i', 'key.fields' = 'k_id', 'key.fields-prefix' = 'k_')";
    assert!(world.refused(&format!("{declared}{alone}")).await.contains("EXCEPT_KEY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_a_topic_can_be_named_as_other_systems_do() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT); INSERT INTO t VALUES (1)").await;
    world.run("CREATE TABLE own (id INT, sequence_id STRING); INSERT INTO own VALUES (1, 'mine')").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    for (name, own) in [
        ("__publish_time__", "publish_time"),
        ("__publishTime", "publish_time"),
        ("__message_id__", "message_id_text"),
        ("__messageId", "message_id"),
        ("__sequence_id__", "`sequenceId`"),
        ("__partition__", "`partition`"),
        ("__topic", "topic"),
        ("__tier__", "tier"),
    ] {
        let same = format!("SELECT id, {name} = {own} FROM t");
        assert_eq!(world.run(&same).await, ["1,true"], "{name}");
        assert_eq!(
            world.run(&format!("SELECT * FROM t WHERE {name} IS NOT NULL")).await,
            ["1"],
            "`*` leaves {name} out"
        );
    }
    assert_eq!(world.run("SELECT `t`.__key__ IS NULL FROM t").await, ["true"]);
    let joined = "SELECT t.id, sequence_id FROM t JOIN own ON t.id = own.id";
    assert_eq!(world.run(joined).await, ["1,mine"], "another spelling hides no column of another table");
    assert_eq!(world.run("SELECT * FROM own WHERE sequence_id = 'mine'").await, ["1,mine"]);
    for word in ["`timestamp`", "`offset`", "header", "publishTime"] {
        world.refused(&format!("SELECT {word} FROM t")).await;
    }
    world
        .run(
            "CREATE TABLE r (id INT, p INT METADATA FROM 'partition', o STRING METADATA FROM 'offset', ts TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', \
             h MAP<STRING, STRING> METADATA FROM 'header', s BYTES METADATA FROM '__schema_version__') WITH ('connector' = 'pulsar', 'topic' = 't')",
        )
        .await;
    assert_eq!(world.run("SELECT id, p, o, ts IS NOT NULL FROM r").await, ["1,0,0:0:-1:0,true"]);
    // What `message_id_text` shows is a place to start and to stop at.
    world.run("INSERT INTO t VALUES (2)").await;
    let id = world.run("SELECT message_id_text FROM t WHERE id = 2").await.remove(0);
    for (options, expected) in [
        (format!("'source.start.message-id' = '{id}'"), vec!["2"]),
        (format!("'source.stop.at-message-id' = '{id}'"), vec!["1"]),
        (format!("'source.stop.after-message-id' = '{id}'"), vec!["1", "2"]),
    ] {
        assert_eq!(world.run(&format!("SELECT id FROM t /*+ OPTIONS({options}) */")).await, expected, "{options}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_a_topic_are_read_by_their_names_and_the_archive_is_found() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT) WITH ('partitions' = '3')").await;
    world.run("INSERT INTO t VALUES (1), (2), (3), (4), (5), (6)").await;
    world.archive("t").await;
    world.run("INSERT INTO t VALUES (7), (8), (9)").await;
    let declared = |name: &str, topics: &str| {
        format!(
            "CREATE TABLE {name} (id INT, p INT METADATA FROM 'partition' VIRTUAL) WITH ('connector' = 'pulsar', 'topics' = '{topics}', 'scan.bounded.mode' = 'latest-offset')"
        )
    };
    world.run(&declared("one", "t-partition-1")).await;
    world.run(&declared("two", "t-partition-0;persistent://public/default/t-partition-2")).await;
    world.run(&declared("none", "t-partition-3")).await;
    for mode in ["batch", "streaming"] {
        world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
        let wanted = |numbers: &str| {
            format!(
                "SELECT id, `partition` FROM t /*+ OPTIONS('scan.bounded.mode' = 'latest-offset') */ WHERE `partition` IN ({numbers})"
            )
        };
        let (one, two) = (world.run(&wanted("1")).await, world.run(&wanted("0, 2")).await);
        assert_eq!(one.len() + two.len(), 9, "each row lies in one");
        assert_eq!(world.run("SELECT id, p FROM one").await, one, "{mode}");
        assert_eq!(world.run("SELECT id, p FROM two").await, two, "{mode}");
        assert!(
            world
                .refused("SELECT * FROM none")
                .await
                .contains("`persistent://public/default/t-partition-3` is not there")
        );
    }
    world.run("INSERT INTO one VALUES (10)").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run("SELECT id, `partition` FROM t WHERE id = 10").await, ["10,1"]);
    assert_eq!(world.run("SELECT `partition` FROM `one$offsets`").await, ["1"]);
    assert!(world.refused("SELECT * FROM `t-partition-1`").await.contains("is partition 1 of the topic `t`"));
    assert!(world.refused("CREATE TABLE `u-partition-1` (id INT)").await.contains("another name"));
    assert!(world.refused(&declared("both", "t;t-partition-1")).await.contains("keep one"));
    // A name that is like a partition's, of a topic without it.
    assert!(world.refused("SELECT * FROM `t-partition-7`").await.contains("there is no table `t-partition-7`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_column_of_a_raw_topic_has_the_name_that_was_declared() {
    let mut world = World::new().await;
    world.run("CREATE TABLE r (txt STRING) WITH ('format' = 'raw'); INSERT INTO r VALUES ('a')").await;
    world.archive("r").await;
    world.run("INSERT INTO r (txt) VALUES ('b')").await;
    world.run("CREATE TABLE o (line STRING) WITH ('connector' = 'pulsar', 'topic' = 'r', 'format' = 'raw')").await;
    world.run("CREATE TABLE numbers (`n` BIGINT) WITH ('format' = 'raw'); INSERT INTO numbers VALUES (7)").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run("SHOW COLUMNS FROM r").await, ["txt,STRING,true,,,"]);
    assert_eq!(world.run("SELECT txt FROM r").await, ["a", "b"]);
    assert_eq!(world.run("SELECT line FROM o").await, ["a", "b"]);
    assert_eq!(world.run("SELECT n FROM numbers").await, ["7"]);
    assert!(
        world
            .refused("CREATE TABLE s (a STRING, b STRING) WITH ('format' = 'raw')")
            .await
            .contains("exactly one column")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_table_takes_changes_by_its_primary_key() {
    let mut world = World::new().await;
    world.run(SENSORS).await;
    world.run("CREATE TABLE counts (room STRING, n BIGINT)").await;
    let with = "WITH ('connector' = 'upsert-pulsar', 'topic' = 'counts')";
    assert!(world.refused(&format!("CREATE TABLE u (room STRING, n BIGINT) {with}")).await.contains("PRIMARY KEY"));
    world.run(&format!("CREATE TABLE u (room STRING, n BIGINT, PRIMARY KEY (room) NOT ENFORCED) {with}")).await;
    world.run("CREATE TABLE c (room STRING, n BIGINT, k STRING METADATA FROM 'key' VIRTUAL) WITH ('connector' = 'pulsar', 'topic' = 'counts')").await;
    let hint = "/*+ OPTIONS('scan.bounded.mode'='latest-offset') */";
    assert!(
        world
            .refused(&format!("INSERT INTO counts SELECT room, COUNT(*) FROM sensors {hint} GROUP BY room"))
            .await
            .contains("new rows only")
    );
    world.run(&format!("INSERT INTO u SELECT room, COUNT(*) FROM sensors {hint} GROUP BY room")).await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run("SELECT k, MAX(n) FROM c GROUP BY k").await, ["a,3", "b,2"]);
    assert_eq!(world.run("SELECT * FROM u ORDER BY room").await, ["a,3", "b,2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_table_is_read_as_the_newest_row_of_each_key_over_any_border() {
    let columns = "(id BIGINT, room STRING, ts TIMESTAMP(3), twice AS id * 2, p INT METADATA FROM 'partition' VIRTUAL, \
                   PRIMARY KEY (room) NOT ENFORCED, WATERMARK FOR ts AS ts)";
    let insert = |rows: &str| format!("INSERT INTO u (id, room, ts) VALUES {rows}");
    let at = |hour: u32| format!("TIMESTAMP '2024-01-01 {hour:02}:00:00'");
    for border in 0..3 {
        let mut world = World::new().await;
        world.run("CREATE TABLE t (id BIGINT, room STRING, ts TIMESTAMP(3)) WITH ('partitions' = '2')").await;
        let with = "WITH ('connector' = 'upsert-pulsar', 'topic' = 't', 'scan.bounded.mode' = 'latest-offset')";
        world.run(&format!("CREATE TABLE u {columns} {with}")).await;
        let first = [format!("(1, 'a', {})", at(1)), format!("(2, 'b', {})", at(1)), format!("(3, 'c', {})", at(2))];
        world.run(&insert(&first.join(", "))).await;
        if border == 1 {
            world.archive("t").await;
        }
        world.run(&insert(&format!("(4, 'a', {}), (5, 'd', {})", at(3), at(3)))).await;
        append(&world, "t", "b", None).await;
        append(&world, "t", "nobody", None).await;
        if border == 2 {
            world.archive("t").await;
        }
        world.run(&insert(&format!("(6, 'c', {})", at(4)))).await;
        for mode in ["batch", "streaming"] {
            world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
            let rows = ["a,4,8", "c,6,12", "d,5,10"];
            assert_eq!(world.run("SELECT room, id, twice FROM u").await, rows, "{mode}, {border}");
            assert_eq!(world.run("SELECT COUNT(*), SUM(id) FROM u").await, ["3,15"], "{mode}, {border}");
            assert_eq!(world.run("SELECT room FROM u WHERE id < 5").await, ["a"], "{mode}, {border}");
            assert_eq!(world.run("SELECT COUNT(*) > 0 FROM (SELECT DISTINCT p FROM u)").await, ["true"]);
            assert_eq!(
                world.run("SELECT COUNT(*) FROM t /*+ OPTIONS('scan.bounded.mode'='latest-offset') */").await,
                ["6"],
                "a plain table has the rows, {mode}"
            );
        }
        assert!(world.text("EXPLAIN CHANGELOG_MODE SELECT * FROM u").await.contains("changelogMode=[I,UB,UA,D]"));
        assert!(world.refused("INSERT INTO t SELECT id, room, ts FROM u").await.contains("new rows only"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_table_over_messages_without_keys_says_so() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id BIGINT); INSERT INTO t VALUES (1)").await;
    let with = "WITH ('connector' = 'upsert-pulsar', 'topic' = 't', 'scan.bounded.mode' = 'latest-offset')";
    world.run(&format!("CREATE TABLE u (id BIGINT, PRIMARY KEY (id) NOT ENFORCED) {with}")).await;
    for mode in ["batch", "streaming"] {
        world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
        assert!(world.refused("SELECT * FROM u").await.contains("has no key"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_a_native_protobuf_schema_is_a_table_of_typed_columns_in_both_tiers() {
    use aquifer_model::{PayloadKind, TopicName, TopicSchema};
    // shop.Order: int64 id, string customer, enum state, repeated Line lines, map<string, string> labels, optional double discount.
    const FILES: &str = "CosDCgtvcmRlci5wcm90bxIEc2hvcCLtAgoFT3JkZXISDgoCaWQYASABKANSAmlkEhoKCGN1c3RvbWVyGAIgASgJUghjdXN0b21lchInCgVzdGF0ZRgDIAEoDjIRLnNob3AuT3JkZXIuU3RhdGVSBXN0YXRlEiYKBWxpbmVzGAQgAygLMhAuc2hvcC5PcmRlci5MaW5lUgVsaW5lcxIvCgZsYWJlbHMYBSADKAsyFy5zaG9wLk9yZGVyLkxhYmVsc0VudHJ5UgZsYWJlbHMSHwoIZGlzY291bnQYBiABKAFIAFIIZGlzY291bnSIAQEaOQoLTGFiZWxzRW50cnkSEAoDa2V5GAEgASgJUgNrZXkSFAoFdmFsdWUYAiABKAlSBXZhbHVlOgI4ARowCgRMaW5lEhIKBGl0ZW0YASABKAlSBGl0ZW0SFAoFY291bnQYAiABKA1SBWNvdW50IhsKBVN0YXRlEggKBE9QRU4QABIICgRTRU5UEAFCCwoJX2Rpc2NvdW50YgZwcm90bzM=";
    let mut world = World::new().await;
    let definition = format!(
        r#"{{"fileDescriptorSet":"{FILES}","rootMessageTypeName":"shop.Order","rootFileDescriptorName":"order.proto"}}"#
    );
    let catalog = world.session.catalogs.get("default_catalog").expect("there");
    let log = catalog.log().await.expect("opens");
    let topic = TopicName::new("public", "default", "orders");
    log.create_topic(&topic, 0).await.expect("is made");
    let schema = TopicSchema {
        name: "orders".into(),
        kind: PayloadKind::ProtobufNative,
        definition: definition.into_bytes(),
        properties: Default::default(),
    };
    log.put_schema(&topic, &schema).await.expect("is registered");
    let described = world.run("DESCRIBE orders").await;
    let types: Vec<&str> = described.iter().map(|line| line.split(",true").next().unwrap_or_default()).collect();
    assert_eq!(
        types,
        [
            "id,BIGINT",
            "customer,STRING",
            "state,STRING",
            "lines,ARRAY<ROW<`item` STRING, `count` BIGINT>>",
            "labels,MAP<STRING NOT NULL, STRING>",
            "discount,DOUBLE",
        ]
    );
    let row = "(1, 'ann', 'SENT', ARRAY[ROW('tea', 2), ROW('cup', 4000000000)], MAP['a', 'b'], CAST(NULL AS DOUBLE))";
    world.run(&format!("INSERT INTO orders VALUES {row}")).await;
    world.archive("orders").await;
    world.run("INSERT INTO orders (id, discount) VALUES (2, 0.5)").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(
        world.run("SELECT id, customer, state, CARDINALITY(lines), lines[2].`count`, labels['a'], discount, tier FROM orders").await,
        ["1,ann,SENT,2,4000000000,b,,archive", "2,,OPEN,0,,,0.5,log"]
    );
    let error = world.refused("INSERT INTO orders (id, state) VALUES (3, 'LOST')").await;
    assert!(error.contains("`LOST` is no value of the enumeration of `state`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_over_a_pattern_reads_the_topics_that_match_and_a_stream_finds_those_that_come_later() {
    let mut world = World::new().await;
    world.run("CREATE TABLE m_1 (id BIGINT); CREATE TABLE other (id BIGINT); INSERT INTO m_1 VALUES (1)").await;
    world.run("INSERT INTO other VALUES (100)").await;
    let with = "'connector' = 'pulsar', 'topics-pattern' = 'm_[0-9]+', 'partition.discovery.interval-millis' = '20'";
    let columns = "(id BIGINT, topic STRING METADATA VIRTUAL)";
    world.run(&format!("CREATE TABLE p {columns} WITH ({with})")).await;
    let both = format!("CREATE TABLE q {columns} WITH ({with}, 'topics' = 'm_1')");
    assert!(world.refused(&both).await.contains("exclude each other"));
    let mut stream = world.another();
    let executed = stream.execute("SELECT id, topic FROM p", 1).await.expect("starts");
    let Outcome::Query(mut running) = executed.outcome else { panic!("a query") };
    let mut next = async |count: usize| {
        let mut found = Vec::new();
        let collected = tokio::time::timeout(Duration::from_secs(60), async {
            while found.len() < count {
                found.extend(lines(running.changes.recv().await.expect("goes on").expect("rows").rows()));
            }
        });
        collected.await.expect("rows come");
        found.sort();
        found
    };
    assert_eq!(next(1).await, ["1,persistent://public/default/m_1"]);
    world.run("CREATE TABLE m_2 (id BIGINT) WITH ('partitions' = '2'); INSERT INTO m_2 VALUES (2), (3), (4)").await;
    let found = ["2", "3", "4"].map(|id| format!("{id},persistent://public/default/m_2"));
    assert_eq!(next(3).await, found);
    world.run("INSERT INTO m_1 VALUES (5)").await;
    assert_eq!(next(1).await, ["5,persistent://public/default/m_1"]);
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run("SELECT SUM(id) FROM p").await, ["15"]);
    assert!(world.refused("INSERT INTO p VALUES (1)").await.contains("one topic"));
    world.run("CREATE TABLE none (id BIGINT) WITH ('connector' = 'pulsar', 'topic-pattern' = 'nobody.*')").await;
    assert!(world.refused("SELECT * FROM none").await.contains("no topic of `public/default` matches `nobody.*`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_do_not_decode_go_to_the_dead_letter_topic_from_either_tier() {
    let mut world = World::new().await;
    let with = "WITH ('connector' = 'pulsar', 'topic' = 't', 'format' = 'json', 'scan.bounded.mode' = 'latest-offset'";
    world.run("CREATE TABLE t (id BIGINT, name STRING) WITH ('format' = 'json'); INSERT INTO t VALUES (1, 'a')").await;
    append(&world, "t", "k1", Some(b"{\"id\": torn")).await;
    world.run("INSERT INTO t VALUES (2, 'b')").await;
    world.archive("t").await;
    append(&world, "t", "k2", Some(b"[3]")).await;
    world.run("INSERT INTO t VALUES (4, 'd')").await;
    world.run(&format!("CREATE TABLE strict (id BIGINT) {with})")).await;
    world
        .run(&format!(
            "CREATE TABLE lenient (id BIGINT) {with}, 'pulsar.consumer.deadLetterPolicy.deadLetterTopic' = 't-DLQ')"
        ))
        .await;
    assert!(world.refused("SELECT id FROM strict").await.contains("aquifer.on-decode-error"));
    let both = format!(
        "CREATE TABLE no (id BIGINT) {with}, 'aquifer.dead-letter-topic' = 'd', 'json.ignore-parse-errors' = 'true')"
    );
    assert!(world.refused(&both).await.contains("leave one out"));
    let alone = format!("CREATE TABLE no (id BIGINT) {with}, 'aquifer.on-decode-error' = 'dead-letter')");
    assert!(world.refused(&alone).await.contains("aquifer.dead-letter-topic"));
    for mode in ["batch", "streaming"] {
        world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
        assert_eq!(world.run("SELECT id FROM lenient").await, ["1", "2", "4"]);
    }
    let letters = "CREATE TABLE letters (payload STRING, k STRING METADATA FROM 'key' VIRTUAL, p MAP<STRING, STRING> METADATA FROM 'properties' VIRTUAL) \
                   WITH ('connector' = 'pulsar', 'topic' = 't-DLQ', 'format' = 'raw')";
    world.run(letters).await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    let sent = world
        .run(
            "SELECT payload, k, p['REAL_TOPIC'], p['aquifer.stage'], p['ORIGIN_MESSAGE_ID'] LIKE '%:-1:0', \
                          p['aquifer.reason'] <> '' FROM letters",
        )
        .await;
    // Once for each of the two reads.
    let expected = [
        r#"[3],k2,persistent://public/default/t,payload,true,true"#,
        r#"{"id": torn,k1,persistent://public/default/t,payload,true,true"#,
    ];
    assert_eq!(sent, expected.iter().flat_map(|line| [*line, *line]).collect::<Vec<_>>());
}

/// Appends a message with a key where the sink would put that key; `None` is no value.
async fn append(world: &World, table: &str, key: &str, payload: Option<&[u8]>) {
    use aquifer_formats::entry::{EntrySpec, NewMessage, build_entry};
    use aquifer_formats::routing::KeyHash;
    let table = world.session.lookup(&[table.to_string()]).await.expect("there");
    let aquifer_catalog::catalogs::Target::Topics(topics) = table.target else { panic!("a topic") };
    let partitions = topics[0].log.partitions(&topics[0].topic).await.expect("there");
    let partition = &partitions[KeyHash::Java.partition_of(key.as_bytes(), partitions.len())];
    let message = NewMessage { sequence_id: 0, key: Some(key.as_bytes()), payload, ..NewMessage::default() };
    let entry = build_entry(&EntrySpec { producer_name: key.into(), ..EntrySpec::default() }, &[message]);
    let entry = entry.expect("builds");
    let mut appender = topics[0].log.open_appender(partition, key).await.expect("opens");
    appender.append(entry, 0, 0, 1).await.expect("is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_about_tables_can_be_asked_and_not_changed() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT NOT NULL COMMENT 'x', c AS 'y'); CREATE VIEW v AS SELECT id FROM t").await;
    world.run("INSERT INTO t VALUES (1), (2)").await;
    world.archive("t").await;
    world.run("INSERT INTO t VALUES (3)").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(
        world.run("SELECT table_name, table_type FROM information_schema.`tables`").await,
        ["t,BASE TABLE", "v,VIEW"]
    );
    let columns = world.run("SELECT table_name, column_name, ordinal_position, is_nullable, column_comment FROM default_catalog.information_schema.`columns`").await;
    assert!(columns.contains(&"t,id,1,NO,x".to_string()) && columns.contains(&"v,id,1,NO,".to_string()), "{columns:?}");
    assert_eq!(world.run("SELECT view_definition FROM information_schema.views").await, ["SELECT id FROM t"]);
    assert_eq!(world.run("SELECT schema_name FROM information_schema.schemata").await, ["default_database"]);
    assert_eq!(world.run("SELECT archive_rows, archive_files, lag_entries FROM `t$offsets`").await, ["2,1,1"]);
    assert_eq!(world.run("SELECT SUM(`rows`) FROM t$files").await, ["2"]);
    assert!(world.run("SELECT * FROM t$manifests WHERE kind = 'data'").await.len() == 1);
    for (statement, part) in [
        ("SELECT * FROM information_schema.tablez", "did you mean `tables`"),
        ("SELECT * FROM `v$offsets`", "is a view"),
        ("SELECT * FROM `t$log`", "`t` /*+ OPTIONS('scan.tiers' = 'log') */"),
        ("SELECT * FROM t$archive", "OPTIONS('scan.tiers' = 'archive')"),
        ("SELECT * FROM t$lake", "OPTIONS('scan.tiers' = 'archive')"),
        ("SELECT * FROM t$snapshots", "`t$manifests`"),
        ("SELECT * FROM nobody$log", "there is no table `nobody$log`"),
        ("INSERT INTO t$files SELECT * FROM t$files", "only be read"),
        ("ALTER TABLE t$files ADD x INT", "only be read"),
    ] {
        let error = world.refused(statement).await;
        assert!(error.contains(part), "{statement}: {error}");
    }
    world.run("CREATE TABLE `t$log` (id INT)").await;
    assert!(world.run("SELECT id FROM `t$log`").await.is_empty(), "a table that really has the name is that table");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_border_the_filters_and_the_rows_of_each_scan() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT, g STRING); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'x')").await;
    world.archive("t").await;
    world.run("INSERT INTO t VALUES (4, 'z'); CREATE TABLE u (id INT, g STRING)").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    let text = world.text("EXPLAIN SELECT id FROM t WHERE id > 1").await;
    for part in [
        "== Abstract Syntax Tree ==",
        "== Optimized Physical Plan ==",
        "== Optimized Execution Plan ==\n",
        "StreamingTableExec",
        "== default_catalog.default_database.t ==",
        "archive up to ",
        " (3 rows in 1 file), log from there up to ",
        " (1 entry)\nfilters pushed down: t.id > ",
        "estimated rows: 4",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let text = world.text("EXPLAIN ESTIMATED_COST SELECT g, COUNT(*) FROM t GROUP BY g ORDER BY g LIMIT 2").await;
    let sort = text.lines().find(|line| line.contains("Sort: ") && line.contains("rowcount")).expect("a sort");
    let aggregate = text.lines().find(|line| line.contains("+- Aggregate: ")).expect("an aggregation");
    assert!(sort.ends_with(": rowcount = 2") && aggregate.ends_with(": rowcount = 4"), "{text}");
    let text = world.text("EXPLAIN ESTIMATED_COST SELECT t.id FROM t, u").await;
    assert!(text.contains("nothing archived, log up to its start (0 entries)\nestimated rows: 0"), "{text}");
    let text = world.text("EXPLAIN JSON_EXECUTION_PLAN SELECT id FROM t").await;
    let json = text.split("== Physical Execution Plan ==\n").nth(1).and_then(|rest| rest.split("\n\n==").next());
    let json: serde_json::Value = serde_json::from_str(json.expect("a section")).expect("JSON");
    assert!(json[0]["Plan"]["Node Type"].is_string(), "{json}");
    let text = world.text("EXPLAIN CREATE TABLE v AS SELECT id FROM t").await;
    assert!(text.contains("TableScan: t"), "{text}");
    assert!(world.refused("EXPLAIN CREATE TABLE v (a INT)").await.contains("AS SELECT"));
    assert!(world.refused("EXPLAIN CREATE VIEW v AS SELECT 1").await.contains("CREATE TABLE"));
    for (wrong, part) in [
        ("EXPLAIN INSERT INTO u SELECT id FROM t", "takes 2 columns"),
        ("EXPLAIN INSERT INTO u SELECT g, g FROM t", "CAST(… AS INT)"),
    ] {
        let error = world.refused(wrong).await;
        assert!(error.contains(part), "{wrong}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_changes_of_each_node_and_advises() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (id INT, g STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)").await;
    let text = world.text("EXPLAIN CHANGELOG_MODE, PLAN_ADVICE SELECT COUNT(*) FROM (SELECT g, COUNT(*) AS n FROM t GROUP BY g) GROUP BY n").await;
    let modes: Vec<&str> =
        text.lines().filter_map(|line| Some(line.split_once("changelogMode=[")?.1.trim_end_matches(']'))).collect();
    assert_eq!(modes.first(), Some(&"I,UB,UA,D"), "{text}");
    assert!(modes.contains(&"I,UB,UA"), "{text}");
    assert_eq!(modes.last(), Some(&"I"), "{text}");
    assert!(
        text.contains("== Optimized Physical Plan With Advice ==") && text.contains("advice[2]: [WARNING]"),
        "{text}"
    );
    assert!(text.contains("reads without an end"), "{text}");
    let windowed = "SELECT g, COUNT(*) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY g, window_start, window_end";
    let text = world.text(&format!("EXPLAIN CHANGELOG_MODE, PLAN_ADVICE {windowed}")).await;
    assert!(text.contains("changelogMode=[I]") && !text.contains("UB"), "{text}");
    assert!(text.contains("No available advice..."), "{text}");
}
