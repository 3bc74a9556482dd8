use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Int64Array, StringViewArray, TimestampMillisecondArray, UInt8Array};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::operators::aggregates::AggregateKind;
use crate::operators::testing::{ScriptEpoch, changelog, check_restores, end};

const SIZE: i64 = 10;

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// Columns `window_start`, `window_end`, key, value.
fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("window_start", time(), false),
        Field::new("window_end", time(), false),
        Field::new("key", DataType::Utf8View, true),
        Field::new("value", DataType::Int64, true),
    ]))
}

fn operator(extremes: bool) -> WindowAggregate {
    let aggregate = |kind, argument: Option<usize>, name: &str| AggregateSpec {
        kind,
        argument,
        argument_type: argument.map(|_| DataType::Int64),
        output: Arc::new(Field::new(name, DataType::Int64, true)),
    };
    let mut aggregates = vec![
        aggregate(AggregateKind::Count, None, "rows"),
        aggregate(AggregateKind::Sum, Some(3), "sum"),
        aggregate(AggregateKind::Average, Some(3), "avg"),
    ];
    if extremes {
        aggregates.push(aggregate(AggregateKind::Min, Some(3), "min"));
        aggregates.push(aggregate(AggregateKind::Max, Some(3), "max"));
    }
    let mut fields = vec![
        Field::new("key", DataType::Utf8View, true),
        Field::new("window_start", time(), false),
        Field::new("window_end", time(), false),
        Field::new("window_time", time(), false),
    ];
    fields.extend(aggregates.iter().map(|aggregate| Field::clone(&aggregate.output)));
    let group = vec![GroupColumn::Key(2), GroupColumn::Start, GroupColumn::End, GroupColumn::Time];
    let schema = Arc::new(Schema::new(fields));
    let spec = WindowAggregateSpec { start: 0, end: 1, group, aggregates, schema, row_watermark: None };
    WindowAggregate::new(spec, &input()).expect("plain types")
}

type Row = (i64, Option<&'static str>, Option<i64>, i64);

fn batch(rows: &[Row]) -> ChangeBatch {
    let starts: Vec<i64> = rows.iter().map(|row| row.0.div_euclid(SIZE) * SIZE).collect();
    let ends: Vec<i64> = starts.iter().map(|start| start + SIZE).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(starts)),
        Arc::new(TimestampMillisecondArray::from(ends)),
        Arc::new(rows.iter().map(|row| row.1).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
    ];
    let kinds = UInt8Array::from_iter_values(rows.iter().map(|row| if row.3 > 0 { 0 } else { 3 }));
    ChangeBatch::new(RecordBatch::try_new(input(), columns).expect("fits"), kinds).expect("valid")
}

fn plain(rows: &[(i64, &'static str, i64)]) -> ChangeBatch {
    batch(&rows.iter().map(|(time, key, value)| (*time, Some(*key), Some(*value), 1)).collect::<Vec<_>>())
}

fn fired(operator: &mut WindowAggregate, epoch: u64, watermark: i64) -> Vec<String> {
    let mut out = Output::default();
    operator.on_epoch_end(&end(epoch, watermark), &mut out).expect("ends");
    changelog(&out.batches)
}

#[test]
fn a_window_fires_one_millisecond_before_its_end_and_is_freed() {
    let mut operator = operator(true);
    let mut out = Output::default();
    operator
        .on_batch(Port(0), plain(&[(1, "a", 5), (12, "a", 1), (9, "b", -3), (3, "a", 4)]), &mut out)
        .expect("takes");
    assert!(out.batches.is_empty());
    assert_eq!(operator.state_keys(), 3);
    assert!(fired(&mut operator, 0, 8).is_empty());
    assert_eq!(fired(&mut operator, 1, 9), ["+I a 0 10 9 2 9 4 4 5", "+I b 0 10 9 1 -3 -3 -3 -3"]);
    assert_eq!(operator.state_keys(), 1);
    operator.on_batch(Port(0), plain(&[(9, "a", 7), (10, "a", 2), (-5, "a", 2)]), &mut out).expect("takes");
    assert_eq!(out.late_rows, 2, "pairs whose window has fired are late");
    assert_eq!(fired(&mut operator, 2, i64::MAX), ["+I a 10 20 19 2 3 1 1 2"]);
    assert_eq!(operator.state_keys(), 0);
}

#[test]
fn a_group_whose_rows_are_all_taken_back_emits_nothing() {
    let mut operator = operator(false);
    let rows: [Row; 5] = [
        (1, Some("a"), Some(5), 1),
        (1, Some("b"), None, 1),
        (2, Some("a"), Some(5), -1),
        (3, None, Some(2), -1),
        (3, None, None, 1),
    ];
    operator.on_batch(Port(0), batch(&rows), &mut Output::default()).expect("takes");
    assert_eq!(fired(&mut operator, 0, 100), ["+I b 0 10 9 1 - -", "+I - 0 10 9 1 - -"]);
}

#[test]
fn the_watermark_before_each_row_judges_it_where_it_is_given() {
    let mut exact = operator(false);
    exact.spec.row_watermark = Some(4);
    let rows = plain(&[(1, "a", 1), (25, "a", 1), (2, "a", 1), (11, "a", 1)]);
    let mut columns = rows.rows().columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![i64::MIN, 1, 15, 15])));
    let mut fields: Vec<Field> = input().fields().iter().map(|f| Field::clone(f)).collect();
    fields.push(Field::new(crate::dataflow::ROW_WATERMARK, DataType::Int64, false));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("fits");
    let mut out = Output::default();
    exact.on_batch(Port(0), ChangeBatch::inserts(rows), &mut out).expect("takes");
    assert_eq!((out.late_rows, exact.state_keys()), (1, 3));
}

/// The slow friend: rows that are not late, window by window.
fn oracle(script: &[(Vec<Row>, i64)], extremes: bool) -> (Vec<String>, u64) {
    let mut windows = BTreeMap::<(i64, Option<&str>), Vec<i64>>::new();
    let (mut late, mut watermark) = (0, i64::MIN);
    let mut counts = BTreeMap::<(i64, Option<&str>), i64>::new();
    for (rows, next) in script {
        for (time, key, value, _) in rows {
            let start = time.div_euclid(SIZE) * SIZE;
            if start + SIZE - 1 <= watermark {
                late += 1;
                continue;
            }
            *counts.entry((start, *key)).or_default() += 1;
            windows.entry((start, *key)).or_default().extend(value);
        }
        watermark = watermark.max(*next);
    }
    let line = |((start, key), count): (&(i64, Option<&str>), &i64)| {
        let values = &windows[&(*start, *key)];
        let sum: i64 = values.iter().sum();
        let some = |value: Option<i64>| value.map_or("-".to_string(), |value| value.to_string());
        let any = !values.is_empty();
        let mut line = format!("+I {} {start} {} {}", key.unwrap_or("-"), start + SIZE, start + SIZE - 1);
        line += &format!(" {count} {} {}", some(any.then_some(sum)), some(sum.checked_div(values.len() as i64)));
        if extremes {
            line += &format!(" {} {}", some(values.iter().min().copied()), some(values.iter().max().copied()));
        }
        line
    };
    let mut lines: Vec<String> = counts.iter().map(line).collect();
    lines.sort();
    (lines, late)
}

#[test]
fn random_input_stopped_after_every_epoch_on_any_workers_gives_the_oracles_answer() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let keys = [Some("a"), Some("b"), Some("a key of more than twelve bytes"), None, Some("")];
        let (mut now, mut script) = (-40i64, vec![]);
        for _ in 0..12 {
            let rows: Vec<Row> = (0..random.random_range(0..30))
                .map(|_| {
                    let value = random.random_bool(0.9).then(|| random.random_range(-50..50));
                    (now + random.random_range(-25..15), keys[random.random_range(0..keys.len())], value, 1)
                })
                .collect();
            now += random.random_range(0..15);
            script.push((rows, now - 10));
        }
        script.push((vec![], i64::MAX));
        let epochs: Vec<ScriptEpoch> = script
            .iter()
            .map(|(rows, watermark)| {
                let cut = random.random_range(0..=rows.len());
                ScriptEpoch { batches: vec![batch(&rows[..cut]), batch(&rows[cut..])], watermark: *watermark }
            })
            .collect();
        let make = || -> Box<dyn Operator> { Box::new(operator(true)) };
        let codec =
            || KeyCodec::new([Field::new("key", DataType::Utf8View, true)].into_iter().collect()).expect("text");
        let (lines, late) = check_restores(&make, &codec, &[2], &epochs);
        let mut lines: Vec<String> = lines.into_iter().flatten().collect();
        let once: BTreeSet<&String> = lines.iter().collect();
        assert_eq!(once.len(), lines.len(), "every window is emitted once");
        lines.sort();
        let (expected, expected_late) = oracle(&script, true);
        assert_eq!((lines, late), (expected, expected_late), "seed {seed}");
        assert!(expected_late > 0, "seed {seed} has late rows");
    }
}
