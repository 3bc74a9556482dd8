use std::sync::Arc;

use aquifer_model::SqlType;
use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, StringViewArray, TimestampMillisecondArray, UInt8Array,
};
use arrow::datatypes::Schema;

use super::*;

/// The rows of the examples in Flink's own shell.
fn changes() -> ChangeBatch {
    let types = [("item", "STRING"), ("n", "BIGINT"), ("p", "INT"), ("last", "TIMESTAMP(3)")];
    let fields: Vec<_> =
        types.iter().map(|(name, text)| SqlType::parse(text).expect("a type").to_field(name)).collect();
    let at = |second: i64, ms: i64| 1_709_287_200_000 + second * 1000 + ms;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from(vec![Some("a"), Some("a"), Some("a"), None])),
        Arc::new(Int64Array::from(vec![1, 1, 2, 1])),
        Arc::new(Int32Array::from(vec![Some(10), Some(10), Some(11), None])),
        Arc::new(TimestampMillisecondArray::from(vec![at(1, 0), at(1, 0), at(2, 0), at(9, 999)])),
    ];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("fits");
    ChangeBatch::new(rows, UInt8Array::from(vec![0, 1, 2, 0])).expect("kinds")
}

fn printed(format: OutputFormat, batches: &[ChangeBatch], streaming: bool, interrupted: bool) -> String {
    let look = Look::new().expect("UTC");
    let mut renderer = renderer(format, batches[0].schema(), streaming, true, &look);
    let mut out = Vec::new();
    renderer.start(&mut out).expect("written");
    for batch in batches {
        renderer.changes(batch, &mut out).expect("written");
    }
    renderer.finish(Ending { elapsed: Duration::from_millis(2430), interrupted }, &mut out).expect("written");
    String::from_utf8(out).expect("text")
}

const CHANGELOG: &str = "\
+----+--------------------------------+----------------------+-------------+-------------------------+
| op |                           item |                    n |           p |                    last |
+----+--------------------------------+----------------------+-------------+-------------------------+
| +I |                              a |                    1 |          10 | 2024-03-01 10:00:01.000 |
| -U |                              a |                    1 |          10 | 2024-03-01 10:00:01.000 |
| +U |                              a |                    2 |          11 | 2024-03-01 10:00:02.000 |
| +I |                         <NULL> |                    1 |      <NULL> | 2024-03-01 10:00:09.999 |
+----+--------------------------------+----------------------+-------------+-------------------------+
Received a total of 4 rows (2.43 seconds)

";

const TABLE: &str = "\
+--------+---+--------+-------------------------+
|   item | n |      p |                    last |
+--------+---+--------+-------------------------+
|      a | 2 |     11 | 2024-03-01 10:00:02.000 |
| <NULL> | 1 | <NULL> | 2024-03-01 10:00:09.999 |
+--------+---+--------+-------------------------+
2 rows in set (2.43 seconds)

";

#[test]
fn a_streaming_changelog_is_laid_out_as_in_flinks_shell() {
    assert_eq!(printed(OutputFormat::Tableau, &[changes()], true, false), CHANGELOG);
    assert_eq!(printed(OutputFormat::Changelog, &[changes()], true, false), CHANGELOG);
    // In pieces it is the same.
    let pieces: Vec<ChangeBatch> = (0..4).map(|at| changes().slice(at, 1)).collect();
    assert_eq!(printed(OutputFormat::Tableau, &pieces, true, false), CHANGELOG);
    let none = printed(OutputFormat::Tableau, &[changes().slice(0, 0)], true, false);
    assert!(none.ends_with("Received a total of 0 row (2.43 seconds)\n\n"), "{none}");
    assert_eq!(none.matches("+----+").count(), 3);
    let stopped = printed(OutputFormat::Tableau, &[changes().slice(0, 1)], true, true);
    assert!(stopped.ends_with("Query terminated, received a total of 1 row (2.43 seconds)\n\n"), "{stopped}");
}

#[test]
fn a_batch_table_and_a_folded_stream_are_the_same_table() {
    let batch = ChangeBatch::inserts(changes().rows().slice(2, 2));
    assert_eq!(printed(OutputFormat::Tableau, &[batch], false, false), TABLE);
    assert_eq!(printed(OutputFormat::Table, &[changes()], true, false), TABLE);
    let empty = ChangeBatch::inserts(changes().rows().slice(0, 0));
    assert_eq!(printed(OutputFormat::Table, &[empty], false, false), "Empty set (2.43 seconds)\n\n");
    let one = ChangeBatch::inserts(changes().rows().slice(0, 1));
    assert!(printed(OutputFormat::Table, &[one], false, false).ends_with("1 row in set (2.43 seconds)\n\n"));
}

#[test]
fn a_fold_that_takes_back_what_is_not_there_is_an_error() {
    let rows = changes().rows().slice(0, 1);
    let changes = ChangeBatch::new(rows, UInt8Array::from(vec![3])).expect("a kind");
    let look = Look::new().expect("UTC");
    let mut renderer = renderer(OutputFormat::Table, changes.schema(), true, true, &look);
    assert!(renderer.changes(&changes, &mut Vec::new()).is_err());
}

#[test]
fn csv_quotes_what_must_be_quoted_and_tells_null_from_empty() {
    let fields = vec![SqlType::STRING.nullable().to_field("a,b"), SqlType::Decimal(5, 2).nullable().to_field("d")];
    let texts: ArrayRef =
        Arc::new(StringViewArray::from(vec![Some("plain"), Some(""), None, Some("x \"y\", z"), Some("two\nlines")]));
    let decimals = Decimal128Array::from(vec![Some(150), None, Some(-5), Some(0), Some(1)]);
    let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(5, 2).expect("fits"));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![texts, decimals]).expect("fits");
    let changes = ChangeBatch::inserts(rows);
    assert_eq!(
        printed(OutputFormat::Csv, std::slice::from_ref(&changes), false, false),
        "\"a,b\",d\r\nplain,1.50\r\n\"\",\r\n,-0.05\r\n\"x \"\"y\"\", z\",0.00\r\n\"two\nlines\",0.01\r\n"
    );
    let streamed = printed(OutputFormat::Csv, &[changes.slice(0, 1)], true, false);
    assert_eq!(streamed, "op,\"a,b\",d\r\n+I,plain,1.50\r\n");
}

#[test]
fn json_is_an_object_a_line_and_nothing_else() {
    let text = printed(OutputFormat::Json, &[changes().slice(2, 2)], true, false);
    assert_eq!(
        text,
        "{\"op\":\"+U\",\"item\":\"a\",\"n\":2,\"p\":11,\"last\":\"2024-03-01 10:00:02.000\"}\n\
         {\"op\":\"+I\",\"item\":null,\"n\":1,\"p\":null,\"last\":\"2024-03-01 10:00:09.999\"}\n"
    );
}

#[test]
fn longer_text_is_cut_and_wide_characters_count_two() {
    let fields = vec![SqlType::STRING.nullable().to_field("t")];
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["wide 日本 text that is much too long to show"]));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![texts]).expect("fits");
    let text = printed(OutputFormat::Changelog, &[ChangeBatch::inserts(rows)], true, false);
    assert!(text.contains("| +I | wide 日本 text that is much... |\n"), "{text}");
}

#[test]
fn a_listing_has_no_timing_and_its_cells_may_have_lines() {
    let fields = vec![SqlType::STRING.nullable().to_field("result")];
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["CREATE TABLE t (\n  `a` INT\n)"]));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![texts]).expect("fits");
    let mut out = Vec::new();
    listing(&rows, &Look::new().expect("UTC").style, &mut out).expect("written");
    let expected = "\
+------------------+
|           result |
+------------------+
| CREATE TABLE t ( |
|   `a` INT        |
| )                |
+------------------+
1 row in set

";
    assert_eq!(String::from_utf8(out).expect("text"), expected);
    let mut out = Vec::new();
    listing(&rows.slice(0, 0), &Look::new().expect("UTC").style, &mut out).expect("written");
    assert_eq!(String::from_utf8(out).expect("text"), "Empty set\n\n");
}
