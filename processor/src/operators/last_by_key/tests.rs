use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Schema};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::operators::testing::{ScriptEpoch, changelog, check_restores, end};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8View, false),
        Field::new("value", DataType::Int64, true),
        Field::new("deleted", DataType::Boolean, false),
    ]))
}

fn operator() -> LastByKey {
    LastByKey::new(LastByKeySpec { keys: vec![0], deleted: 2, schema: schema() }).expect("plain types")
}

/// `None`: deleted.
fn batch(rows: &[(String, Option<i64>)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| &row.0))),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.1.is_none())))),
    ];
    ChangeBatch::inserts(RecordBatch::try_new(schema(), columns).expect("fits"))
}

fn epoch(operator: &mut LastByKey, batches: &[&[(&str, Option<i64>)]]) -> Vec<String> {
    let mut out = Output::default();
    for rows in batches {
        let rows: Vec<_> = rows.iter().map(|(key, value)| (key.to_string(), *value)).collect();
        operator.on_batch(Port(0), batch(&rows), &mut out).expect("takes");
    }
    operator.on_epoch_end(&end(0, 0), &mut out).expect("ends");
    changelog(&out.batches)
}

#[test]
fn a_key_emits_once_an_epoch_and_nothing_when_its_row_is_equal() {
    let mut operator = operator();
    assert_eq!(
        epoch(&mut operator, &[&[("b", Some(1)), ("a", Some(2)), ("b", Some(3))], &[("c", None)]]),
        ["+I b 3 false", "+I a 2 false"]
    );
    assert_eq!(
        epoch(&mut operator, &[&[("a", Some(2)), ("b", Some(9))], &[("b", Some(4))]]),
        ["-U b 3 false", "+U b 4 false"]
    );
    assert_eq!(epoch(&mut operator, &[&[("b", None), ("a", None), ("a", Some(2))]]), ["-D b 4 false"]);
    assert_eq!(operator.state_keys(), 1);
    assert!(epoch(&mut operator, &[&[("d", Some(1)), ("d", None)]]).is_empty(), "came and went in one epoch");
    assert_eq!(epoch(&mut operator, &[&[("b", Some(5))]]), ["+I b 5 false"]);
}

#[test]
fn random_changes_folded_are_the_newest_rows_whatever_the_batches_and_across_restores() {
    let mut random = StdRng::seed_from_u64(11);
    let mut oracle: BTreeMap<String, i64> = BTreeMap::new();
    let mut script = vec![];
    let mut states = vec![];
    for _ in 0..12 {
        let batches = (0..random.random_range(0..4)).map(|_| {
            let rows: Vec<(String, Option<i64>)> = (0..random.random_range(1..30))
                .map(|_| {
                    let key = format!("key {}", random.random_range(0..25));
                    let value = random.random_bool(0.7).then(|| random.random_range(0..4));
                    match value {
                        Some(value) => drop(oracle.insert(key.clone(), value)),
                        None => drop(oracle.remove(&key)),
                    }
                    (key, value)
                })
                .collect();
            batch(&rows)
        });
        script.push(ScriptEpoch { batches: batches.collect(), watermark: 0 });
        states.push(oracle.clone());
    }
    let codec = || KeyCodec::new(vec![Field::clone(schema().field(0))].into()).expect("a text");
    let (epochs, _) = check_restores(&|| Box::new(operator()), &codec, &[0], &script);
    let mut folded: BTreeMap<String, String> = BTreeMap::new();
    for (lines, state) in epochs.iter().zip(&states) {
        for line in lines {
            let (kind, row) = line.split_at(2);
            let key = row.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            match kind {
                "-D" => assert_eq!(folded.remove(&key).as_deref(), Some(row)),
                "+I" => assert_eq!(folded.insert(key, row.to_string()), None, "{line}"),
                "+U" => drop(folded.insert(key, row.to_string())),
                _ => {}
            }
        }
        let expected = state.iter().map(|(key, value)| (key.clone(), format!(" {key} {value} false")));
        assert_eq!(folded, expected.collect());
    }
}
