//! Expressions against their answers: what Flink gave for them, and our own table for functions that no recorded case has.

use aquifer_catalog::Catalogs;
use aquifer_formats::json_lines::write_json_lines;
use aquifer_model::Result;
use serde_json::Value;

use super::{scalar, scalar_names};
use crate::sql::{Outcome, Session};

/// Expressions that were recorded, but whose answer we give on purpose otherwise or cannot give; with the reason.
const KNOWN: &[(&str, &str)] = &[];

struct Case<'a> {
    zone: &'a str,
    expression: &'a str,
    expected: Value,
}

fn cases(table: &str) -> Vec<Case<'_>> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let [_, zone, expression, expected] = cells[..] else { panic!("four cells: {line}") };
            Case { zone, expression, expected: serde_json::from_str(expected).expect(line) }
        })
        .collect()
}

/// The one row of `SELECT expression, …`.
async fn answers(session: &mut Session, expressions: &[&str]) -> Result<Vec<Value>> {
    let columns: Vec<String> = expressions.iter().enumerate().map(|(n, e)| format!("{e} AS c{n}")).collect();
    let executed = session.execute(&format!("SELECT {}", columns.join(", ")), 1).await?;
    let Outcome::Query(mut running) = executed.outcome else { panic!("a query") };
    let mut lines = Vec::new();
    while let Some(changes) = running.changes.recv().await {
        write_json_lines(&changes?, &mut lines)?;
    }
    let line: Value = serde_json::from_slice(&lines).expect("one row");
    Ok((0..expressions.len()).map(|n| line[format!("c{n}")].clone()).collect())
}

/// Whether a recorded cell and one of ours are the same value: the recording has DOUBLE as text, rows as arrays, maps as sorted pairs.
fn same(expected: &Value, found: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    match (expected, found) {
        (a, b) if a == b => true,
        (Value::String(_), Value::Number(_)) => match (number(expected), number(found)) {
            (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-12,
            _ => false,
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Array(a), Value::Object(b)) => {
            let is_row = a.len() == b.len() && a.iter().zip(b.values()).all(|(a, b)| same(a, b));
            let in_map = |pair: &Value| {
                let key = pair.get(0).map(|key| key.as_str().map_or_else(|| key.to_string(), String::from));
                key.and_then(|key| b.get(&key)).zip(pair.get(1)).is_some_and(|(b, a)| same(a, b))
            };
            is_row || (a.len() == b.len() && a.iter().all(in_map))
        }
        _ => false,
    }
}

async fn wrong_answers(table: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let catalogs = Catalogs::open(folder.path().to_path_buf()).await.expect("opens");
    let mut session = Session::new(catalogs, folder.path().to_path_buf());
    session.execute("SET 'execution.runtime-mode' = 'batch'", 1).await.expect("set");
    let mut cases = cases(table);
    cases.retain(|case| KNOWN.iter().all(|(expression, _)| *expression != case.expression));
    assert!(cases.len() > 20, "the table is there");
    cases.sort_by_key(|case| case.zone);
    let (mut wrong, mut zone) = (Vec::new(), "");
    for group in cases.chunk_by(|a, b| a.zone == b.zone).flat_map(|zone| zone.chunks(24)) {
        if zone != group[0].zone {
            zone = group[0].zone;
            session.execute(&format!("SET 'table.local-time-zone' = '{zone}'"), 1).await.expect("a zone");
        }
        let expressions: Vec<&str> = group.iter().map(|case| case.expression).collect();
        let together = answers(&mut session, &expressions).await;
        for (n, case) in group.iter().enumerate() {
            // One that fails must not hide the others.
            let found = match &together {
                Ok(found) => Ok(found[n].clone()),
                Err(_) => answers(&mut session, &[case.expression]).await.map(|mut found| found.remove(0)),
            };
            match found {
                Ok(found) if same(&case.expected, &found) => {}
                Ok(found) => wrong.push(format!("{zone}: {} is {found}, not {}", case.expression, case.expected)),
                Err(error) => wrong.push(format!("{zone}: {} fails: {error}, not {}", case.expression, case.expected)),
            }
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_expressions_have_flinks_answers() {
    let wrong = wrong_answers(include_str!("tests/recorded.tsv")).await;
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_functions_have_the_answers_that_flinks_pages_give() {
    let wrong = wrong_answers(include_str!("tests/own.tsv")).await;
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_fit_are_refused_by_the_functions_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalogs = Catalogs::open(folder.path().to_path_buf()).await.expect("opens");
    let mut session = Session::new(catalogs, folder.path().to_path_buf());
    session.execute("SET 'execution.runtime-mode' = 'batch'", 1).await.expect("set");
    for (expression, says) in [
        ("UPPER(1)", "UPPER(text)"),
        ("SUBSTRING('a')", "SUBSTRING(text FROM start [FOR length])"),
        ("JSON_VALUE('{}', 'a')", "JSON path"),
        ("JSON_VALUE('{}', '$.a' ERROR ON ERROR)", "JSON_VALUE"),
        ("JSON_OBJECT(1 VALUE 2)", "JSON_OBJECT("),
        ("SHA2('a', 100)", "224, 256, 384 or 512"),
        ("MAP_FROM_ARRAYS(ARRAY['a'], ARRAY[1, 2])", "as many keys as values"),
        ("FROBNICATE(1)", "frobnicate"),
        ("ABS('a')", "ABS(number)"),
        ("EXTRACT(YEAR FROM TIME '10:00:00')", "EXTRACT"),
        ("ARRAY[1, 2][0]", "array[place]"),
    ] {
        let error = match answers(&mut session, &[expression]).await {
            Ok(found) => panic!("{expression} gives {found:?}"),
            Err(error) => format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string)),
        };
        assert!(error.contains(says), "{expression}: {error}");
    }
}

#[test]
fn every_name_is_found_in_any_case_and_stands_in_the_documentation() {
    let theirs = |name: &str| {
        datafusion::functions_nested::all_default_nested_functions()
            .into_iter()
            .chain(datafusion::functions::all_default_functions())
            .find(|function| function.name() == name || function.aliases().iter().any(|alias| alias == name))
    };
    let documentation = include_str!("../../../docs/functions.md");
    for name in scalar_names() {
        assert!(scalar(&name.to_ascii_lowercase(), theirs).is_some(), "{name} is not found");
        assert!(documentation.contains(&format!("`{name}")), "docs/functions.md has no line for {name}");
    }
    assert!(scalar("frobnicate", theirs).is_none());
}
