use std::time::Duration;

use aquifer_catalog::Catalogs;
use aquifer_storage::archive::archiver::{ArchiveSettings, Archiver};
use arrow::util::pretty::pretty_format_batches;

use super::*;

struct World {
    _folder: tempfile::TempDir,
    session: Session,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let catalogs = Catalogs::open(folder.path().to_path_buf()).await.expect("opens");
        Self { session: Session::new(catalogs, folder.path().to_path_buf()), _folder: folder }
    }

    /// Runs statements to their ends; gives the rows of the last one, folded and sorted.
    async fn try_run(&mut self, script: &str) -> Result<Vec<String>> {
        let mut last = Vec::new();
        for (line, statement) in Session::split(script)? {
            let executed = self.session.execute(&statement, line).await?;
            last = match executed.outcome {
                Outcome::Done => Vec::new(),
                Outcome::Listing(rows) => lines(&rows),
                Outcome::Query(running) | Outcome::Insert(running) => folded(running).await?,
            };
        }
        Ok(last)
    }

    async fn run(&mut self, script: &str) -> Vec<String> {
        self.try_run(script).await.unwrap_or_else(|error| panic!("{script}\n{error}"))
    }

    async fn refused(&mut self, script: &str) -> String {
        match self.try_run(script).await {
            Ok(rows) => panic!("{script} answers {rows:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// The cells of a listing's first column, a line each.
    async fn text(&mut self, statement: &str) -> String {
        match self.session.execute(statement, 1).await.expect(statement).outcome {
            Outcome::Listing(rows) => {
                let column = rows.column(0).as_any().downcast_ref::<StringViewArray>().expect("text").clone();
                column.iter().map(|cell| cell.unwrap_or_default().to_string()).collect::<Vec<_>>().join("\n")
            }
            other => panic!("{statement}: {other:?}"),
        }
    }

    /// Another session over the same catalogs.
    fn another(&self) -> Session {
        Session::new(Arc::clone(&self.session.catalogs), self._folder.path().to_path_buf())
    }

    async fn archive(&self, table: &str) {
        let table = self.session.lookup(&[table.to_string()]).await.expect("there");
        let aquifer_catalog::catalogs::Target::Topics(topics) = table.target else { panic!("a topic") };
        let archiver = Archiver::new(topics[0].clone(), ArchiveSettings::default());
        for partition in topics[0].log.partitions(&topics[0].topic).await.expect("there") {
            archiver.run_once(&partition).await.expect("archives");
        }
    }
}

async fn lines_of(session: &mut Session, statement: &str) -> Vec<String> {
    match session.execute(statement, 1).await.expect(statement).outcome {
        Outcome::Listing(rows) => lines(&rows),
        other => panic!("{statement}: {other:?}"),
    }
}

fn lines(rows: &RecordBatch) -> Vec<String> {
    let text = pretty_format_batches(std::slice::from_ref(rows)).expect("printable").to_string();
    let body = text.lines().skip(3).filter(|line| line.starts_with('|'));
    body.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(",")).collect()
}

async fn folded(mut running: Running) -> Result<Vec<String>> {
    let mut rows: std::collections::BTreeMap<String, i64> = std::collections::BTreeMap::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), async {
        while let Some(changes) = running.changes.recv().await {
            let changes = changes?;
            for (n, line) in lines(changes.rows()).into_iter().enumerate() {
                *rows.entry(line).or_default() += changes.kind(n).weight();
            }
        }
        Ok::<_, Error>(())
    });
    ended.await.expect("the query ends")?;
    Ok(rows
        .into_iter()
        .flat_map(|(row, n)| {
            std::iter::repeat_n(row, usize::try_from(n).expect("no row is taken back that did not come"))
        })
        .collect())
}

const SENSORS: &str = "CREATE TABLE sensors (room STRING, temperature DOUBLE, n INT, rowtime TIMESTAMP(3));
INSERT INTO sensors VALUES ('a', 20.0, 1, TIMESTAMP '2024-01-01 00:10:00'), ('a', 22.0, 2, TIMESTAMP '2024-01-01 00:50:00'),
  ('b', 10.0, 4, TIMESTAMP '2024-01-01 00:20:00'), ('a', 30.0, 8, TIMESTAMP '2024-01-01 01:05:00'), ('b', CAST(NULL AS DOUBLE), 16, TIMESTAMP '2024-01-01 01:30:00');";

#[tokio::test(flavor = "multi_thread")]
async fn values_and_expressions_answer_in_both_modes() {
    let mut world = World::new().await;
    for mode in ["batch", "streaming"] {
        world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
        assert_eq!(world.run("SELECT 1").await, ["1"]);
        assert_eq!(world.run("SELECT a + 1, b FROM (VALUES (1, 'x'), (2, 'y')) AS t(a, b) WHERE a > 1").await, ["3,y"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_casts_and_windows_follow_a_session_zone_that_is_an_offset() {
    let mut world = World::new().await;
    world.run("SET 'execution.runtime-mode' = 'batch'; SET 'table.local-time-zone' = 'GMT+08:00'").await;
    let query = "SELECT UPPER('x'), CAST(at AS STRING), HOUR(at), window_start FROM \
                 TABLE(TUMBLE(TABLE instants, DESCRIPTOR(at), INTERVAL '1' DAY))";
    world.run("CREATE VIEW instants AS SELECT TO_TIMESTAMP_LTZ(57600000, 3) AS `at`").await;
    assert_eq!(world.run(query).await, ["X,1970-01-02 00:00:00.000,0,1970-01-02T00:00:00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_talks_query_gives_the_same_in_batch_and_as_a_stream_over_both_tiers() {
    let mut world = World::new().await;
    world.run(SENSORS).await;
    world.run("CREATE TABLE aggregations (room STRING, hour_end TIMESTAMP(3), temperature DOUBLE)").await;
    let query = "SELECT room, TUMBLE_END(rowtime, INTERVAL '1' HOUR), AVG(temperature)\nFROM sensors GROUP BY TUMBLE(rowtime, INTERVAL '1' HOUR), room";
    let refusal = world.refused(query).await;
    assert!(refusal.contains("ADD (WATERMARK FOR `rowtime` AS `rowtime` - INTERVAL '5' SECOND)"), "{refusal}");
    world.run("ALTER TABLE sensors ADD (WATERMARK FOR rowtime AS rowtime - INTERVAL '1' HOUR)").await;
    world.archive("sensors").await;
    world.run("INSERT INTO sensors VALUES ('b', 12.0, 32, TIMESTAMP '2024-01-01 00:40:00')").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    let expected = [
        "a,2024-01-01T01:00:00,21.0",
        "a,2024-01-01T02:00:00,30.0",
        "b,2024-01-01T01:00:00,11.0",
        "b,2024-01-01T02:00:00,",
    ];
    assert_eq!(world.run(query).await, expected);
    world.run(&format!("INSERT INTO aggregations\n{query}")).await;
    assert_eq!(world.run("SELECT * FROM aggregations").await, expected);
    let table_function = "SELECT room, window_end, AVG(temperature) FROM TABLE(TUMBLE(TABLE sensors, DESCRIPTOR(rowtime), INTERVAL '1' HOUR)) GROUP BY room, window_start, window_end";
    assert_eq!(world.run(table_function).await, expected);
    for workers in 1..=3 {
        world
            .run(&format!("SET 'execution.runtime-mode' = 'streaming'; SET 'parallelism.default' = '{workers}'"))
            .await;
        let hint = "sensors /*+ OPTIONS('scan.bounded.mode'='latest-offset') */";
        assert_eq!(world.run(&query.replace("sensors", hint)).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_and_averages_follow_flink() {
    let mut world = World::new().await;
    world.run(SENSORS).await;
    let hint = "sensors /*+ OPTIONS('scan.bounded.mode'='latest-offset') */";
    for mode in ["batch", "streaming"] {
        world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
        let query =
            format!("SELECT room, SUM(n), AVG(n), COUNT(*), COUNT(temperature), MAX(n) FROM {hint} GROUP BY room");
        assert_eq!(world.run(&query).await, ["a,11,3,3,3,8", "b,20,10,2,1,16"], "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_columns_and_tiers_can_be_asked() {
    let mut world = World::new().await;
    world.run(SENSORS).await;
    world.archive("sensors").await;
    world.run("INSERT INTO sensors VALUES ('c', 1.0, 1, TIMESTAMP '2024-01-01 03:00:00')").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run("SELECT tier, COUNT(*) FROM sensors GROUP BY tier").await, ["archive,5", "log,1"]);
    assert_eq!(world.run("SELECT room FROM sensors WHERE n >= 16 AND tier = 'archive'").await, ["b"]);
    let explained = world.run("EXPLAIN ANALYZE SELECT room FROM sensors WHERE n >= 16").await.join("\n");
    assert!(explained.contains("5 rows from the archive, 1 rows from the log"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_shown_as_text_leaves_out_what_of_the_archive_cannot_hold_it() {
    let mut world = World::new().await;
    let columns = "name STRING, n INT, k STRING METADATA FROM 'key' VIRTUAL";
    world.run(&format!("CREATE TABLE keyed ({columns}) WITH ('key.fields' = 'name', 'key.format' = 'raw')")).await;
    world.run("INSERT INTO keyed VALUES ('a', 1), ('m', 2), (CAST(NULL AS STRING), 3)").await;
    world.archive("keyed").await;
    world.run("INSERT INTO keyed VALUES ('a', 4), ('q', 8)").await;
    world.archive("keyed").await;
    world.run("INSERT INTO keyed VALUES ('m', 16)").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    // A file has three rows, one two. `b` lies between the keys of both: only the bloom filters know that nobody has it.
    let cases = [
        ("k = 'm'", vec!["16", "2"], 3),
        ("k = 'b'", vec![], 0),
        ("'q' = k AND n > 0", vec!["8"], 2),
        ("k IN ('b', 'q')", vec!["8"], 2),
        ("k IN ('m', 'q')", vec!["16", "2", "8"], 5),
        ("k = 'b' OR n = 1", vec!["1"], 5),
        ("k IS NULL", vec!["3"], 5),
        ("k <> 'm'", vec!["1", "4", "8"], 5),
        ("k > 'n'", vec!["8"], 2),
    ];
    for (wanted, rows, read) in cases {
        let query = format!("SELECT n FROM keyed WHERE {wanted}");
        assert_eq!(world.run(&query).await, rows, "{wanted}");
        let explained = world.text(&format!("EXPLAIN ANALYZE {query}")).await;
        assert!(explained.contains(&format!("archive {read} rows")), "{wanted}\n{explained}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_ends_the_reading_of_a_long_archive() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (n INT)").await;
    for file in 0..30 {
        world.run(&format!("INSERT INTO t VALUES ({file}), ({file}), ({file})")).await;
        world.archive("t").await;
    }
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    let all = world.text("EXPLAIN ANALYZE SELECT n FROM t").await;
    assert!(all.contains("archive 90 rows"), "{all}");
    let some = world.text("EXPLAIN ANALYZE SELECT n FROM t LIMIT 4").await;
    let rows = some.split(": archive ").last().and_then(|text| text.split(' ').next()).expect("a count");
    assert!((4..=6).contains(&rows.parse::<u64>().expect("a number")), "{some}");
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_tables_and_settings_are_shown() {
    let mut world = World::new().await;
    world.run("CREATE CATALOG my_pulsar (‘type’ = ‘pulsar’, ‘adminUrl’ = ‘localhost:9092’)").await;
    assert_eq!(world.run("SHOW CATALOGS").await, ["default_catalog", "my_pulsar"]);
    assert_eq!(world.run("SHOW CURRENT DATABASE").await, ["default_database"]);
    world.run("CREATE TABLE t (a INT NOT NULL, b STRING, c AS a * 2, PRIMARY KEY (a) NOT ENFORCED)").await;
    assert_eq!(world.run("SHOW TABLES LIKE 't%'").await, ["t"]);
    let described = world.run("DESCRIBE t").await;
    assert_eq!(described[0], "a,INT,false,PRI(a),,");
    assert!(described[2].ends_with("false,,AS `a` * 2,"), "{described:?}");
    world.run("INSERT INTO t (b, a) VALUES ('x', 4)").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run("SELECT * FROM t").await, ["4,x,8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_show_the_line_the_place_and_the_nearest_name() {
    let mut world = World::new().await;
    world.run(SENSORS).await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    let error = world.refused("SELECT room,\n  temperatur FROM sensors").await;
    assert!(error.contains("line 2:   temperatur FROM sensors\n          ^"), "{error}");
    assert!(error.contains("temperature"), "{error}");
    let error = world.refused("SELECT * FROM sensor").await;
    assert!(error.contains("sensors") && error.contains('^'), "{error}");
    let error = world.refused("SELECT * FROM sensors /*+ OPTIONS('scan.startup.mod'='latest') */").await;
    assert!(error.contains("scan.startup.mode"), "{error}");
    assert!(!error.contains("Error during planning"), "{error}");
    let error = world.refused("INSERT INTO sensors SELECT 1").await;
    assert!(error.contains("takes 4 columns"), "{error}");
    let error = world.refused("SELECT SUM(n) FROM (SELECT CAST(2147483647 AS INT) AS n FROM sensors) AS x").await;
    assert!(error.contains("overflows"), "{error}");
    let error = world.refused("SELECT room FROM sensors FOR SYSTEM_TIME AS OF rowtime").await;
    assert!(error.contains("SYSTEM_TIME"), "{error}");
    for wrong in ["'2024-01-01 00:00:00'", "1", "CAST(NULL AS TIMESTAMP(3))"] {
        let error = world.refused(&format!("SELECT room FROM sensors FOR SYSTEM_TIME AS OF {wrong}")).await;
        assert!(error.contains("takes a TIMESTAMP"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_as_of_a_time_is_what_was_published_by_then_in_either_tier_and_mode() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (n INT)").await;
    world.run("INSERT INTO t VALUES (1), (2)").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    let first = world.run("SELECT CAST(MAX(publish_time) AS STRING) FROM t").await.remove(0);
    // Entries of one millisecond cannot be told apart by their times.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while world.run(&format!("SELECT CURRENT_TIMESTAMP > CAST('{first}' AS TIMESTAMP_LTZ(3))")).await == ["false"] {
        assert!(std::time::Instant::now() < deadline, "the clock stands still");
        tokio::task::yield_now().await;
    }
    world.run("INSERT INTO t VALUES (4), (8)").await;
    for archived in [false, true] {
        if archived {
            world.archive("t").await;
        }
        for mode in ["batch", "streaming"] {
            world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
            let then = format!("t FOR SYSTEM_TIME AS OF TIMESTAMP '{first}'");
            assert_eq!(world.run(&format!("SELECT n FROM {then}")).await, ["1", "2"], "{mode} {archived}");
            assert_eq!(world.run(&format!("SELECT x.n + 1 FROM {then} AS x WHERE n > 1")).await, ["3"]);
            let before = format!("TIMESTAMP '{first}' - INTERVAL '1' HOUR");
            let nothing: [&str; 0] = [];
            assert_eq!(world.run(&format!("SELECT n FROM t FOR SYSTEM_TIME AS OF {before}")).await, nothing);
            assert_eq!(
                world.run("SELECT n FROM t FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP").await,
                ["1", "2", "4", "8"]
            );
        }
        world.run("SET 'execution.runtime-mode' = 'batch'").await;
        let both = format!(
            "SELECT a.n FROM t AS a LEFT JOIN t FOR SYSTEM_TIME AS OF TIMESTAMP '{first}' AS b ON a.n = b.n WHERE b.n IS NULL"
        );
        assert_eq!(world.run(&both).await, ["4", "8"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_starts_and_stops_at_positions_and_times_in_either_tier() {
    let mut world = World::new().await;
    world.run(SENSORS).await;
    world.archive("sensors").await;
    world.run("INSERT INTO sensors VALUES ('c', 1.0, 32, TIMESTAMP '2024-01-01 00:05:00')").await;
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    let positions = world.run("SELECT n, ledger, entry FROM sensors").await;
    let place = |n: &str| {
        let line = positions.iter().find(|line| line.starts_with(&format!("{n},"))).expect("a row");
        line.split_once(',').map(|(_, place)| place.replace(',', ":")).expect("three columns")
    };
    let (first, last) = (place("1"), place("32"));
    let rows = |numbers: &[i32]| {
        let mut rows: Vec<String> = numbers.iter().map(i32::to_string).collect();
        rows.sort();
        rows
    };
    let cases = [
        (format!("'source.start.message-id'='{last}'"), rows(&[32])),
        (format!("'source.start.message-id'='{last}','source.start.inclusive'='false'"), rows(&[])),
        (
            format!("'scan.startup.mode'='specific-offsets','scan.startup.specific-offsets'='{first}:0'"),
            rows(&[1, 2, 4, 8, 16, 32]),
        ),
        (format!("'source.stop.at-message-id'='{last}'"), rows(&[1, 2, 4, 8, 16])),
        (format!("'source.stop.after-message-id'='{last}'"), rows(&[1, 2, 4, 8, 16, 32])),
        ("'scan.startup.mode'='timestamp','scan.startup.timestamp-millis'='0'".into(), rows(&[1, 2, 4, 8, 16, 32])),
        ("'source.start.publish-time'='2200-01-01 00:00:00'".into(), rows(&[])),
        ("'source.stop.at-publish-time'='1971-01-01 00:00:00'".into(), rows(&[])),
    ];
    let by_time = [
        ("'source.start.event-time'='2024-01-01 00:50:00'", rows(&[2, 8, 16])),
        ("'source.stop.at-event-time'='2024-01-01 00:20:00'", rows(&[1, 32])),
        (
            "'source.stop.after-event-time'='2024-01-01 00:20:00','source.start.event-time'='2024-01-01 00:10:00'",
            rows(&[1, 4]),
        ),
    ];
    for mode in ["batch", "streaming"] {
        world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
        for (options, expected) in &cases {
            let stop = if options.contains("stop") { "" } else { ",'scan.bounded.mode'='latest-offset'" };
            let query = format!("SELECT n FROM sensors /*+ OPTIONS({options}{stop}) */");
            assert_eq!(&world.run(&query).await, expected, "{mode}: {query}");
        }
        let refused = world.refused("SELECT n FROM sensors /*+ OPTIONS('source.start.message-id'='1:0:7') */").await;
        assert!(refused.contains("names partition 7, the topic has 1"), "{refused}");
    }
    let soon =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() + 1500;
    let query = format!("SELECT n FROM sensors /*+ OPTIONS('source.stop.at-publish-time'='{soon}') */");
    assert_eq!(world.run(&query).await, rows(&[1, 2, 4, 8, 16, 32]), "it ends when that time has come");
    let stop = "SELECT n FROM sensors /*+ OPTIONS('source.stop.at-event-time'='2024-01-01 00:20:00') */";
    assert!(world.refused(stop).await.contains("only where it has a watermark"));
    world.run("ALTER TABLE sensors ADD (WATERMARK FOR rowtime AS rowtime - INTERVAL '5' SECOND)").await;
    for mode in ["batch", "streaming"] {
        world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
        for (options, expected) in &by_time {
            let stop = if options.contains("stop") { "" } else { ",'scan.bounded.mode'='latest-offset'" };
            let query = format!("SELECT n FROM sensors /*+ OPTIONS({options}{stop}) */");
            // A stream that stops at an event time ends when its watermark is there: what comes later is not read.
            let found = world.run(&query).await;
            let without = |rows: &[String]| rows.iter().filter(|n| *n != "32").cloned().collect::<Vec<_>>();
            if mode == "batch" {
                assert_eq!(&found, expected, "{query}")
            } else {
                assert_eq!(without(&found), without(expected), "{query}")
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_by_event_time_ends_a_stream_whatever_its_partitions_hold() {
    let mut world = World::new().await;
    world.run("CREATE TABLE two (k INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('partitions' = '2')").await;
    let stop = |options: &str| format!("SELECT k FROM two /*+ OPTIONS('source.stop.at-event-time'={options}) */");
    world.run("INSERT INTO two VALUES (2, TIMESTAMP '2024-01-01 00:30:00')").await;
    let none: [&str; 0] = [];
    assert_eq!(world.run(&stop("'2024-01-01 00:20:00'")).await, none, "one partition is empty");
    world.run("INSERT INTO two VALUES (1, TIMESTAMP '2024-01-01 00:10:00')").await;
    for (options, expected) in [
        ("'2200-01-01 00:00:00','scan.bounded.mode'='latest-offset'", vec!["1", "2"]),
        ("'2024-02-01 00:00:00','scan.watermark.idle-timeout'='200 ms'", vec!["1", "2"]),
        ("'2024-01-01 00:20:00','scan.bounded.mode'='latest-offset'", vec!["1"]),
    ] {
        for mode in ["batch", "streaming"] {
            world.run(&format!("SET 'execution.runtime-mode' = '{mode}'")).await;
            let found = world.run(&stop(options)).await;
            // Both rows may lie in one partition, which ends with the first of them.
            if mode == "batch" || !options.starts_with("'2024-01-01") {
                assert_eq!(found, expected, "{mode}: {options}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_says_itself_when_its_watermark_follows() {
    let mut world = World::new().await;
    world.run("CREATE TABLE readings (k INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)").await;
    world
        .run(
            "INSERT INTO readings VALUES (1, TIMESTAMP '2024-01-01 00:10:00'), (2, TIMESTAMP '2024-01-01 01:00:00'), \
             (3, TIMESTAMP '2024-01-01 00:11:00')",
        )
        .await;
    let count = |options: &str| {
        let hint = format!("/*+ OPTIONS('scan.bounded.mode'='latest-offset'{options}) */");
        format!("SELECT COUNT(*) FROM readings {hint} GROUP BY TUMBLE(ts, INTERVAL '10' MINUTE)")
    };
    let (on_event, on_periodic) =
        (",'scan.watermark.emit.strategy'='on-event'", ",'scan.watermark.emit.strategy'='on-periodic'");
    assert_eq!(world.run(&count(on_event)).await, ["1", "1"], "the third row is late");
    assert_eq!(world.run(&count("")).await, ["1", "2"], "one epoch has them all");
    world.run("SET 'pipeline.auto-watermark-interval' = '0 ms'").await;
    assert_eq!(world.run(&count("")).await, ["1", "1"]);
    assert_eq!(world.run(&count(on_periodic)).await, ["1", "2"]);
    let gap = world.refused(&count(",'scan.watermark.emit.on-event.gap'='2'")).await;
    assert!(gap.contains("has no effect without 'scan.watermark.emit.strategy' = 'on-event'"), "{gap}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_time_that_is_null_fails_a_stream_only_where_its_row_is_wanted() {
    let mut world = World::new().await;
    world.run(SENSORS).await;
    world.run("INSERT INTO sensors VALUES ('x', 1.0, 32, CAST(NULL AS TIMESTAMP(3)))").await;
    world.run("ALTER TABLE sensors ADD (WATERMARK FOR rowtime AS rowtime - INTERVAL '1' HOUR)").await;
    let query = |condition: &str| {
        format!(
            "SELECT room, COUNT(*) FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(rowtime), INTERVAL '1' DAY)) WHERE {condition} GROUP BY room, window_start, window_end"
        )
        .replace("TABLE s", "TABLE sensors")
    };
    let hint = "sensors /*+ OPTIONS('scan.bounded.mode'='latest-offset') */";
    for condition in ["room <> 'x'", "rowtime IS NOT NULL", "UPPER(room) <> 'X' AND n < 32"] {
        let plain = format!("SELECT room, n FROM {hint} WHERE {condition}");
        assert_eq!(world.run(&plain).await.len(), 5, "{condition}");
    }
    let all = world.refused(&format!("SELECT room, n FROM {hint}")).await;
    assert!(all.contains("`rowtime` is NULL"), "{all}");
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    assert_eq!(world.run(&query("n < 100")).await, ["a,3", "b,2"], "batch leaves it out of the window");
}

mod definitions;
mod places;
