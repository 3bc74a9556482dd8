//! Predicates on where a row lies: they answer right, and leave unread what cannot match.

use super::*;

/// Predicates, the rooms that they leave, and what is read of the tiers in batch.
const CASES: [(&str, &[&str], &str); 12] = [
    ("partition = 0", &["a", "a", "a", "b", "b", "c"], "archive 5 rows"),
    ("partition = 7", &[], "archive 0 rows (0 bytes), log 0 rows (0 bytes)"),
    ("partition IN (3, 4, 5, 6, 7)", &[], "archive 0 rows (0 bytes), log 0 rows (0 bytes)"),
    ("topic = 'persistent://public/default/other'", &[], "archive 0 rows (0 bytes), log 0 rows (0 bytes)"),
    ("tier = 'archive'", &["a", "a", "a", "b", "b"], "log 0 rows (0 bytes)"),
    ("tier = 'log'", &["c"], "archive 0 rows (0 bytes), log 1 rows"),
    ("tier = 'neither'", &[], "archive 0 rows (0 bytes), log 0 rows (0 bytes)"),
    ("tier = 'log' OR n >= 16", &["b", "c"], "log 1 rows"),
    // Producers' clocks order nothing: the log is read.
    ("publish_time > '2099-01-01 00:00:00'", &[], "archive 0 rows (0 bytes), log 1 rows"),
    ("ledger > 99999", &[], "archive 0 rows (0 bytes), log 0 rows (0 bytes)"),
    ("ledger < 0", &[], "archive 0 rows (0 bytes), log 0 rows (0 bytes)"),
    ("ledger >= 0 AND entry >= 0 AND entry < 1000", &["a", "a", "a", "b", "b", "c"], "archive 5 rows"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rows_place_rules_out_is_not_read() {
    let mut world = World::new().await;
    world.run(SENSORS).await;
    world.archive("sensors").await;
    world.run("INSERT INTO sensors VALUES ('c', 1.0, 1, TIMESTAMP '2024-01-01 03:00:00')").await;
    for (predicate, rooms, read) in CASES {
        world.run("SET 'execution.runtime-mode' = 'batch'").await;
        let query = format!("SELECT room FROM sensors WHERE {predicate}");
        assert_eq!(world.run(&query).await, rooms, "{predicate}");
        let explained = world.run(&format!("EXPLAIN ANALYZE {query}")).await.join("\n");
        assert!(explained.contains(read), "{predicate}: {explained}");
        world.run("SET 'execution.runtime-mode' = 'streaming'").await;
        let hint = "sensors /*+ OPTIONS('scan.bounded.mode'='latest-offset') */";
        let query = format!("SELECT room FROM {hint} WHERE {predicate}");
        assert_eq!(world.run(&query).await, rooms, "{predicate}, as a stream");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_and_positions_are_found_by_their_numbers() {
    let mut world = World::new().await;
    world.run("CREATE TABLE many (n INT) WITH ('partitions' = '4')").await;
    for part in 0..6 {
        let rows: Vec<String> = (0..20).map(|n| format!("({})", part * 20 + n)).collect();
        world.run(&format!("INSERT INTO many VALUES {}", rows.join(", "))).await;
        if part % 2 == 0 {
            world.archive("many").await;
        }
    }
    world.run("SET 'execution.runtime-mode' = 'batch'").await;
    let all = world.run("SELECT n, `partition`, ledger, entry FROM many").await;
    assert_eq!(all.len(), 120);
    let rows: Vec<Vec<i64>> =
        all.iter().map(|row| row.split(',').map(|cell| cell.parse().expect("a number")).collect()).collect();
    let mut cases = Vec::new();
    for row in rows.iter().step_by(11) {
        let (partition, ledger, entry) = (row[1], row[2], row[3]);
        cases.push(format!("`partition` = {partition}"));
        cases.push(format!("`partition` = {partition} AND ledger = {ledger} AND entry = {entry}"));
        cases.push(format!("ledger = {ledger} AND entry > {entry}"));
        cases.push(format!("ledger < {ledger} OR ledger = {ledger} AND entry <= {entry}"));
    }
    for predicate in cases {
        // A sum tells no place.
        let hidden = predicate.replace("`partition`", "(`partition` + n - n)").replace("ledger", "(ledger + n - n)");
        let expected =
            world.run(&format!("SELECT n FROM many WHERE {}", hidden.replace("entry", "(entry + n - n)"))).await;
        assert_eq!(world.run(&format!("SELECT n FROM many WHERE {predicate}")).await, expected, "{predicate}");
    }
}
