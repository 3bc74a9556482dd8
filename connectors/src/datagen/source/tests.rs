use std::collections::BTreeMap;

use aquifer_catalog::catalogs::Target;
use aquifer_catalog::{ColumnDefinition, ColumnKind, Origin, TableDefinition};
use aquifer_processor::connector::Table;
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};

use super::*;

fn table(columns: &[(&str, &str)], options: &[(&str, &str)]) -> Table {
    let columns = columns
        .iter()
        .map(|(name, text)| ColumnDefinition {
            name: name.to_string(),
            kind: ColumnKind::Physical { type_text: text.to_string() },
            comment: None,
        })
        .collect();
    let options: BTreeMap<_, _> = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Table {
        name: ["c", "d", "t"].map(String::from),
        definition: TableDefinition { columns, options, ..Default::default() },
        origin: Origin::Explicit,
        target: Target::Connector,
        system_columns: vec![],
        version: None,
    }
}

async fn all(source: &DatagenSource, from: Start) -> Vec<RecordBatch> {
    let mut reader = source.open(&PartitionId("0".into()), from).await.expect("opened");
    let mut batches = Vec::new();
    while let Polled::Changes(batch) = reader.next().await.expect("rows") {
        batches.push(batch.rows().clone());
    }
    batches
}

fn source(table: &Table) -> Result<DatagenSource> {
    DatagenConfig::of(table).map(DatagenSource::new)
}

#[tokio::test]
async fn the_same_seed_gives_the_same_rows_from_any_place_on() {
    let columns = [("id", "BIGINT"), ("n", "INT"), ("x", "DOUBLE"), ("t", "STRING")];
    let options = [
        ("connector", "datagen"),
        ("rows-per-second", "1000000"),
        ("fields.id.kind", "sequence"),
        ("fields.id.start", "10"),
        ("fields.id.end", "20009"),
        ("fields.n.min", "-3"),
        ("fields.n.max", "3"),
        ("fields.t.length", "5"),
        ("seed", "42"),
    ];
    let source = source(&table(&columns, &options)).expect("fine");
    assert!(source.is_bounded());
    let schema = source.schema();
    let whole = arrow::compute::concat_batches(&schema, &all(&source, Start::Beginning).await).expect("one schema");
    assert_eq!(whole.num_rows(), 20_000);
    let ids = whole.column(0).as_primitive::<Int64Type>();
    assert!(ids.values().iter().zip(10..).all(|(found, expected)| *found == expected));
    let n = whole.column(1).as_primitive::<Int32Type>();
    assert!((-3..=3).all(|wanted| n.values().contains(&wanted)));
    assert!(n.values().iter().all(|n| (-3..=3).contains(n)));
    assert!(whole.column(2).as_primitive::<Float64Type>().values().iter().all(|x| (0.0..1.0).contains(x)));
    assert!(whole.column(3).as_string_view().iter().flatten().all(|text| text.len() == 5));

    let token = ResumeToken(12_345u64.to_be_bytes().to_vec());
    let rest = arrow::compute::concat_batches(&schema, &all(&source, Start::At(token)).await).expect("one schema");
    assert_eq!(rest, whole.slice(12_345, 20_000 - 12_345));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let columns = [("id", "BIGINT"), ("d", "MAP<STRING, INT>")];
    for (options, part) in [
        (vec![("rows-per-secnd", "1")], "did you mean `rows-per-second`?"),
        (vec![("fields.id.minn", "1")], "did you mean `fields.id.min`?"),
        (vec![("fields.other.min", "1")], "names no column"),
        (vec![("fields.id.kind", "sequence")], "needs 'fields.id.start'"),
        (vec![("rows-per-second", "0")], "above 0"),
        (vec![("fields.id.null-rate", "2")], "from 0 to 1"),
        (vec![("fields.id.var-len", "true")], "unknown option `fields.id.var-len`"),
        (vec![], "`fields.d`"),
    ] {
        let columns = if part == "`fields.d`" { &columns[..] } else { &columns[..1] };
        let error = source(&table(columns, &options)).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn every_type_is_made_within_its_bounds() {
    let columns = [
        ("d", "DECIMAL(5, 2)"),
        ("s", "STRING"),
        ("b", "VARBINARY(4)"),
        ("t", "TIMESTAMP(6)"),
        ("day", "DATE"),
        ("h", "TIME(0)"),
        ("l", "ARRAY<INT>"),
        ("r", "ROW<`x` TINYINT, `y` STRING>"),
    ];
    let options = [
        ("number-of-rows", "1000"),
        ("rows-per-second", "1000000"),
        ("fields.d.min", "-1.5"),
        ("fields.d.max", "2"),
        ("fields.s.var-len", "true"),
        ("fields.s.length", "7"),
        ("fields.s.null-rate", "0.5"),
        ("fields.t.max-past", "10 d"),
        ("fields.l.length", "2"),
        ("fields.l.element.min", "5"),
        ("fields.l.element.max", "6"),
        ("fields.r.y.length", "1"),
        ("fields.r.null-rate", "0.1"),
    ];
    let source = source(&table(&columns, &options)).expect("fine");
    let rows =
        arrow::compute::concat_batches(&source.schema(), &all(&source, Start::Beginning).await).expect("one schema");
    assert_eq!(rows.num_rows(), 1000);
    let decimals = rows.column(0).as_primitive::<arrow::datatypes::Decimal128Type>();
    assert!(decimals.values().iter().all(|d| (-150..=200).contains(d)) && decimals.values().iter().any(|d| *d < 0));
    let texts = rows.column(1).as_string_view();
    assert!((300..700).contains(&texts.null_count()));
    let lengths: std::collections::BTreeSet<usize> = texts.iter().flatten().map(str::len).collect();
    assert_eq!(lengths, (1..=7).collect());
    assert!(rows.column(2).as_binary_view().iter().flatten().all(|bytes| bytes.len() == 4));
    let items = rows.column(6).as_list::<i32>();
    assert!(items.values().as_primitive::<Int32Type>().values().iter().all(|n| (5..=6).contains(n)));
    assert!((30..300).contains(&rows.column(7).null_count()));
}
