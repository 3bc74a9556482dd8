use aquifer_catalog::catalogs::Target;
use aquifer_catalog::{ColumnDefinition, ColumnKind, Origin, TableDefinition};
use aquifer_formats::json_lines::write_json_lines;
use aquifer_processor::connector::{Connector, Table};

use super::*;
use crate::nexmark::Nexmark;

const COLUMNS: [(&str, &str); 5] = [
    ("event_type", "INT"),
    ("person", "ROW<id BIGINT, name STRING, state STRING>"),
    ("auction", "ROW<seller BIGINT, id BIGINT, expires TIMESTAMP(3)>"),
    (
        "bid",
        "ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, `dateTime` TIMESTAMP(3), extra STRING>",
    ),
    ("dateTime", "TIMESTAMP(3)"),
];

fn table(columns: &[(&str, &str)], options: &[(&str, &str)]) -> Table {
    let column = |(name, text): &(&str, &str)| ColumnDefinition {
        name: name.to_string(),
        kind: ColumnKind::Physical { type_text: text.to_string() },
        comment: None,
    };
    let definition = TableDefinition {
        columns: columns.iter().map(column).collect(),
        options: options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        ..TableDefinition::default()
    };
    Table {
        name: ["c", "d", "t"].map(String::from),
        definition,
        origin: Origin::Explicit,
        target: Target::Connector,
        system_columns: vec![],
        version: None,
    }
}

/// The configuration that these options give.
pub(in crate::nexmark) fn config(options: &[(&str, &str)]) -> NexmarkConfig {
    NexmarkConfig::of(&table(&COLUMNS, options)).expect("options")
}

async fn lines(source: &Arc<dyn Source>, from: Start) -> Vec<(Vec<String>, ResumeToken)> {
    let mut reader = source.open(&PartitionId("0".into()), from).await.expect("opened");
    let mut batches = Vec::new();
    while let Polled::Changes(changes) = reader.next().await.expect("events") {
        let mut out = Vec::new();
        write_json_lines(&changes, &mut out).expect("all types");
        let lines = String::from_utf8(out).expect("text").lines().map(String::from).collect();
        batches.push((lines, reader.resume_at()));
    }
    batches
}

#[tokio::test]
async fn rows_have_what_the_table_declares_and_can_be_resumed() {
    let source = Nexmark.source(&table(&COLUMNS, &[("events", "20000"), ("rate", "1000")])).expect("a source");
    assert!(source.is_bounded());
    let batches = lines(&source, Start::Beginning).await;
    let all: Vec<&String> = batches.iter().flat_map(|(lines, _)| lines).collect();
    assert_eq!(all.len(), 20_000);
    assert!(all[0].starts_with(r#"{"op":"+I","event_type":0,"person":{"id":1000,"name":""#), "{}", all[0]);
    assert!(all[0].ends_with(r#""auction":null,"bid":null,"dateTime":"2026-03-31 23:59:10.000"}"#), "{}", all[0]);
    assert!(all[1].starts_with(r#"{"op":"+I","event_type":1,"person":null,"auction":{"seller":"#), "{}", all[1]);
    assert!(all[49].starts_with(r#"{"op":"+I","event_type":2,"person":null,"auction":null,"bid":{"auction":"#));
    let rest = lines(&source, Start::At(batches[0].1.clone())).await;
    assert_eq!(rest[0].0, batches[1].0);
    let some = source.project(&[4]).expect("projects");
    assert!(lines(&some, Start::Beginning).await[0].0[0].starts_with(r#"{"op":"+I","dateTime":"2026"#));
}

#[tokio::test]
async fn a_group_is_out_of_order_and_has_the_same_times() {
    let times = |group: &'static str| async move {
        let columns = [("dateTime", "TIMESTAMP(3)")];
        let options = [("events", "400"), ("rate", "1"), ("ooo-group", group)];
        let source = Nexmark.source(&table(&columns, &options)).expect("a source");
        lines(&source, Start::Beginning).await.remove(0).0
    };
    let (in_order, mut shuffled) = (times("1").await, times("5").await);
    assert_ne!(in_order, shuffled);
    shuffled.sort();
    assert_eq!(in_order, shuffled);
}

#[test]
fn columns_and_options_are_checked() {
    let refused = |columns: &[(&str, &str)], options: &[(&str, &str)]| {
        Nexmark.source(&table(columns, options)).expect_err("refused").to_string()
    };
    assert!(refused(&[("price", "BIGINT")], &[]).contains("no column `price`"));
    assert!(refused(&[("bid", "ROW<prize BIGINT>")], &[]).contains("did you mean `price`?"));
    assert!(refused(&[("bid", "ROW<price INT>")], &[]).contains("is BIGINT"));
    assert!(refused(&[("dateTime", "TIMESTAMP_LTZ(3)")], &[]).contains("TIMESTAMP(3)"));
    assert!(refused(&[], &[("event", "1")]).contains("did you mean `events`?"));
    assert!(refused(&[], &[("rate", "0")]).contains("above 0"));
}
