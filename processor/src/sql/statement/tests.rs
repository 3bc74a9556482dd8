use aquifer_catalog::ColumnKind;

use super::*;

fn parsed(text: &str) -> Statement {
    parse(&Source::new(text, 1)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    parse(&Source::new(text, 1)).expect_err(text).to_string()
}

#[test]
fn the_statements_of_the_talk_parse_as_printed() {
    let Statement::CreateCatalog { name, options, .. } =
        parsed("CREATE CATALOG my_pulsar (‘type’ = ‘pulsar’, ‘adminUrl’ = ‘localhost:9092’)")
    else {
        panic!("a catalog")
    };
    assert_eq!(name, "my_pulsar");
    assert_eq!(options[1], ("adminUrl".to_string(), "localhost:9092".to_string()));
    assert!(matches!(parsed("USE my_pulsar"), Statement::Use(name) if name == ["my_pulsar"]));
    let text = "INSERT INTO aggregations\nSELECT room, TUMBLE_END(rowtime, INTERVAL '1' HOUR), AVG(temperature)\nFROM sensors GROUP BY TUMBLE(rowtime, INTERVAL '1' HOUR), room";
    assert!(matches!(parsed(text), Statement::Insert(insert) if insert.table == ["aggregations"]));
}

#[test]
fn a_table_keeps_the_users_own_words() {
    let text = "CREATE TABLE IF NOT EXISTS d.t (a INT NOT NULL COMMENT 'x', m MAP<STRING, ROW<x ARRAY<INT>>>, e TIMESTAMP_LTZ(3) METADATA FROM 'event_time' VIRTUAL, \
                c AS a * 2 + 1, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, PRIMARY KEY (a) NOT ENFORCED) COMMENT 'y' WITH ('connector' = 'pulsar')";
    let Statement::CreateTable(create) = parsed(text) else { panic!("a table") };
    assert!(create.if_not_exists && create.name == ["d", "t"]);
    let columns: Vec<_> = create.elements.columns.into_iter().map(|placed| placed.column).collect();
    assert_eq!(columns.len(), 5);
    assert_eq!(columns[0].kind, ColumnKind::Physical { type_text: "INT NOT NULL".into() });
    assert_eq!(columns[3].kind, ColumnKind::Computed { expression: "a * 2 + 1".into() });
    assert_eq!(create.elements.watermark.expect("one").expression, "ts - INTERVAL '5' SECOND");
    assert_eq!(create.elements.primary_key.expect("one").columns, ["a"]);
    assert_eq!(create.options, [("connector".to_string(), "pulsar".to_string())]);
}

#[test]
fn errors_show_line_and_place() {
    assert!(refused("SELECT a FROM t\n  WHERE AND x").contains("line 2:   WHERE AND x\n"));
    assert!(refused("CREATE TABLE t (a INTT)").contains("unknown type `INTT`"));
    assert!(refused("CREATE TABLE t (a INT PRIMARY KEY)").contains("NOT ENFORCED"));
    assert!(refused("SELEC 1").contains("`SELEC`"));
    assert!(refused("DELETE FROM t").contains("never changed"));
    assert!(
        refused("SELECT 1 SELECT 2").contains("not expected here") || refused("SELECT 1 SELECT 2").contains("line 1")
    );
}

#[test]
fn a_view_keeps_its_querys_words_and_hints() {
    let Statement::CreateView(view) = parsed("CREATE VIEW v AS SELECT a FROM t /*+ OPTIONS('a'='b') */") else {
        panic!("a view")
    };
    assert_eq!(view.text, "SELECT a FROM t /*+ OPTIONS('a'='b') */");
    assert_eq!(view.query.hints, [vec![("a".to_string(), "b".to_string())]]);
    let set = "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b /*+ OPTIONS('c'='d') */ SELECT 2; END";
    let Statement::BeginSet { inserts, is_complete: true } = parsed(set) else { panic!("a set") };
    assert_eq!(inserts[1].hints, [("c".to_string(), "d".to_string())]);
    assert!(inserts[0].query.hints.is_empty() && inserts[1].query.hints.is_empty());
}
