use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array};
use arrow::datatypes::{DataType, Schema};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::operators::aggregates::AggregateKind;
use crate::operators::testing::{ScriptEpoch, changelog, check_restores, end};

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("value", DataType::Int64, true),
        Field::new("real", DataType::Float64, true),
    ]))
}

fn operator(keys: Vec<usize>, kinds: &[AggregateKind]) -> GroupAggregate {
    let aggregates: Vec<AggregateSpec> = kinds
        .iter()
        .map(|kind| AggregateSpec {
            kind: *kind,
            argument: Some(1),
            argument_type: Some(DataType::Int64),
            output: Arc::new(Field::new(format!("{kind:?}"), DataType::Int64, true)),
        })
        .collect();
    let mut fields: Vec<Field> = keys.iter().map(|key| Field::clone(input().field(*key))).collect();
    fields.extend(aggregates.iter().map(|aggregate| Field::clone(&aggregate.output)));
    let spec = GroupAggregateSpec { keys, aggregates, schema: Arc::new(Schema::new(fields)) };
    GroupAggregate::new(spec, &input()).expect("plain types")
}

fn batch(rows: &[(Option<i64>, Option<i64>, RowKind)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1.map(|v| v as f64)).collect::<Float64Array>()),
    ];
    let kinds = UInt8Array::from_iter_values(rows.iter().map(|row| row.2 as u8));
    ChangeBatch::new(RecordBatch::try_new(input(), columns).expect("fits"), kinds).expect("valid")
}

fn epoch(operator: &mut GroupAggregate, rows: &[(Option<i64>, Option<i64>, RowKind)]) -> Vec<String> {
    let mut out = Output::default();
    operator.on_batch(Port(0), batch(rows), &mut out).expect("takes");
    operator.on_epoch_end(&end(0, 0), &mut out).expect("ends");
    changelog(&out.batches)
}

use RowKind::{Delete, Insert, UpdateAfter, UpdateBefore};

#[test]
fn a_group_emits_once_an_epoch_and_nothing_when_equal() {
    let mut operator = operator(vec![0], &[AggregateKind::Count, AggregateKind::Sum]);
    let (a, b) = (Some(1), Some(2));
    assert_eq!(
        epoch(&mut operator, &[(b, Some(5), Insert), (a, None, Insert), (b, Some(1), Insert)]),
        ["+I 2 2 6", "+I 1 0 -"]
    );
    assert_eq!(
        epoch(&mut operator, &[(b, Some(5), UpdateBefore), (b, Some(7), UpdateAfter)]),
        ["-U 2 2 6", "+U 2 2 8"]
    );
    assert!(epoch(&mut operator, &[(b, Some(7), Delete), (b, Some(7), Insert), (a, None, Insert)]).is_empty());
    assert_eq!(
        epoch(&mut operator, &[(b, Some(1), Delete), (b, Some(7), Delete), (Some(9), Some(9), Delete)]),
        ["-D 2 2 8"]
    );
    assert_eq!(operator.state_keys(), 1);
    assert!(
        epoch(&mut operator, &[(b, Some(1), Insert), (b, Some(1), Delete)]).is_empty(),
        "came and went in one epoch"
    );
    assert_eq!(operator.state_keys(), 1);
}

#[test]
fn a_global_aggregate_emits_nothing_before_its_first_row_and_stays_after_its_last() {
    let mut operator = operator(vec![], &[AggregateKind::Count, AggregateKind::Sum]);
    assert!(epoch(&mut operator, &[]).is_empty());
    assert_eq!(epoch(&mut operator, &[(None, Some(4), Insert)]), ["+I 1 4"]);
    assert_eq!(epoch(&mut operator, &[(None, Some(4), Delete)]), ["-U 1 4", "+U 0 -"]);
    assert_eq!(epoch(&mut operator, &[(None, Some(3), Insert)]), ["-U 0 -", "+U 1 3"]);
}

#[test]
fn distinct_is_a_group_aggregate_without_aggregates() {
    let mut operator = operator(vec![0], &[]);
    assert_eq!(
        epoch(&mut operator, &[(Some(1), None, Insert), (None, None, Insert), (Some(1), None, Insert)]),
        ["+I 1", "+I -"]
    );
    assert!(epoch(&mut operator, &[(Some(1), Some(1), Delete), (None, None, Insert)]).is_empty());
    assert_eq!(epoch(&mut operator, &[(Some(1), Some(1), Delete)]), ["-D 1"]);
}

#[test]
fn the_folded_changelog_is_the_oracles_answer_stopped_after_every_epoch_on_any_workers() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut alive: Vec<(Option<i64>, Option<i64>)> = vec![];
        let mut script = vec![];
        let mut states = vec![];
        for _ in 0..12 {
            let mut rows = vec![];
            for _ in 0..random.random_range(0..40) {
                if !alive.is_empty() && random.random_bool(0.4) {
                    let (key, value) = alive.swap_remove(random.random_range(0..alive.len()));
                    rows.push((key, value, if random.random_bool(0.5) { Delete } else { UpdateBefore }));
                } else {
                    let key = random.random_bool(0.9).then(|| random.random_range(0..12));
                    let value = random.random_bool(0.9).then(|| random.random_range(-3..3));
                    alive.push((key, value));
                    rows.push((key, value, Insert));
                }
            }
            let cut = random.random_range(0..=rows.len());
            script.push(ScriptEpoch { batches: vec![batch(&rows[..cut]), batch(&rows[cut..])], watermark: 0 });
            let mut groups = BTreeMap::<Option<i64>, (i64, i64, i64)>::new();
            for (key, value) in &alive {
                let group = groups.entry(*key).or_default();
                *group = (group.0 + 1, group.1 + i64::from(value.is_some()), group.2 + value.unwrap_or(0));
            }
            let some = |value: Option<i64>| value.map_or("-".to_string(), |value| value.to_string());
            let text = |(key, (_, count, sum)): (&Option<i64>, &(i64, i64, i64))| {
                format!("{} {count} {}", some(*key), some((*count > 0).then_some(*sum)))
            };
            states.push(groups.iter().map(text).collect::<std::collections::BTreeSet<String>>());
        }
        let make = || -> Box<dyn Operator> { Box::new(operator(vec![0], &[AggregateKind::Count, AggregateKind::Sum])) };
        let codec = || KeyCodec::new([Field::new("key", DataType::Int64, true)].into_iter().collect()).expect("number");
        let (epochs, _) = check_restores(&make, &codec, &[0], &script);
        let mut folded = std::collections::BTreeSet::new();
        for (number, lines) in epochs.iter().enumerate() {
            for line in lines.iter().filter(|line| line.starts_with("-")) {
                assert!(
                    folded.remove(&line[3..]),
                    "seed {seed}, epoch {number}: `{line}` takes back what is not there"
                );
            }
            for line in lines.iter().filter(|line| line.starts_with("+")) {
                assert!(folded.insert(line[3..].to_string()), "seed {seed}, epoch {number}: `{line}` is there already");
            }
            assert_eq!(folded, states[number], "seed {seed}, epoch {number}");
        }
    }
}
