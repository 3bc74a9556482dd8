use aquifer_model::SqlType;
use arrow::array::{
    BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, MapArray, StringArray, StructArray,
    Time32MillisecondArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Int8Type, IntervalMonthDayNanoType};

use super::*;

/// A column, its text under a cast, what the shell prints where that differs, and its JSON. NULL's text is `None`.
pub(crate) struct Sample {
    pub sql_type: &'static str,
    pub array: ArrayRef,
    pub text: Vec<Option<&'static str>>,
    pub printed: Option<Vec<Option<&'static str>>>,
    pub json: Vec<&'static str>,
}

fn sample(
    sql_type: &'static str,
    array: impl Array + 'static,
    text: &[Option<&'static str>],
    json: &[&'static str],
) -> Sample {
    Sample { sql_type, array: Arc::new(array), text: text.to_vec(), printed: None, json: json.to_vec() }
}

fn array_of(sql_type: &str, items: ArrayRef, ends: Vec<i32>, valid: Vec<bool>) -> ListArray {
    let DataType::List(item) = SqlType::parse(sql_type).expect("a type").sql_type.to_arrow() else { unreachable!() };
    ListArray::new(item, OffsetBuffer::new(ends.into()), items, Some(NullBuffer::from(valid)))
}

fn map_of(sql_type: &str, keys: ArrayRef, values: ArrayRef, ends: Vec<i32>) -> MapArray {
    let DataType::Map(entries, _) = SqlType::parse(sql_type).expect("a type").sql_type.to_arrow() else {
        unreachable!()
    };
    let DataType::Struct(fields) = entries.data_type().clone() else { unreachable!() };
    MapArray::new(
        entries,
        OffsetBuffer::new(ends.into()),
        StructArray::new(fields, vec![keys, values], None),
        None,
        false,
    )
}

fn row_of(sql_type: &str, columns: Vec<ArrayRef>, valid: Vec<bool>) -> StructArray {
    let DataType::Struct(fields) = SqlType::parse(sql_type).expect("a type").sql_type.to_arrow() else {
        unreachable!()
    };
    StructArray::new(fields, columns, Some(NullBuffer::from(valid)))
}

pub(crate) fn samples() -> Vec<Sample> {
    let interval = |months, days, millis: i64| {
        IntervalMonthDayNanoArray::from(vec![
            Some(IntervalMonthDayNanoType::make_value(months, days, millis * 1_000_000)),
            None,
        ])
    };
    let texts = |values: Vec<Option<&'static str>>| Arc::new(StringViewArray::from(values)) as ArrayRef;
    let ints = |values: Vec<Option<i32>>| Arc::new(Int32Array::from(values)) as ArrayRef;
    let mut binary = sample(
        "BYTES",
        BinaryViewArray::from(vec![Some(&b"a\x0a"[..]), Some(b""), None]),
        &[Some("a\n"), Some(""), None],
        &["\"610a\"", "\"\"", "null"],
    );
    binary.printed = Some(vec![Some("x'610a'"), Some("x''"), None]);
    vec![
        sample(
            "BOOLEAN",
            BooleanArray::from(vec![Some(true), Some(false), None]),
            &[Some("TRUE"), Some("FALSE"), None],
            &["true", "false", "null"],
        ),
        sample("TINYINT", Int8Array::from(vec![Some(-128), None]), &[Some("-128"), None], &["-128", "null"]),
        sample("BIGINT", Int64Array::from(vec![i64::MIN]), &[Some("-9223372036854775808")], &["-9223372036854775808"]),
        sample("FLOAT", Float32Array::from(vec![0.1]), &[Some("0.1")], &["0.1"]),
        sample(
            "DOUBLE",
            Float64Array::from(vec![1e7, 100.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e-7]),
            &["1.0E7", "100.0", "NaN", "Infinity", "-Infinity", "-1.0E-7"].map(Some),
            &["10000000.0", "100.0", "\"NaN\"", "\"Infinity\"", "\"-Infinity\"", "-1e-7"],
        ),
        sample(
            "DECIMAL(5, 2)",
            Decimal128Array::from(vec![Some(150), Some(-5), None]).with_precision_and_scale(5, 2).expect("fits"),
            &[Some("1.50"), Some("-0.05"), None],
            &["\"1.50\"", "\"-0.05\"", "null"],
        ),
        sample(
            "STRING",
            StringViewArray::from(vec![Some("ü \"x\""), None]),
            &[Some("ü \"x\""), None],
            &["\"ü \\\"x\\\"\"", "null"],
        ),
        sample("VARIANT", StringViewArray::from(vec!["{\"a\":1}"]), &[Some("{\"a\":1}")], &["\"{\\\"a\\\":1}\""]),
        binary,
        sample(
            "DATE",
            Date32Array::from(vec![Some(19782), Some(-719_162), None]),
            &[Some("2024-02-29"), Some("0001-01-01"), None],
            &["\"2024-02-29\"", "\"0001-01-01\"", "null"],
        ),
        sample("TIME(0)", Time32MillisecondArray::from(vec![45_296_789]), &[Some("12:34:56")], &["\"12:34:56\""]),
        sample(
            "TIME(9)",
            Time64NanosecondArray::from(vec![1]),
            &[Some("00:00:00.000000001")],
            &["\"00:00:00.000000001\""],
        ),
        sample(
            "TIMESTAMP(0)",
            TimestampMillisecondArray::from(vec![1_709_214_356_789]),
            &[Some("2024-02-29 13:45:56")],
            &["\"2024-02-29 13:45:56\""],
        ),
        sample(
            "TIMESTAMP(3)",
            TimestampMillisecondArray::from(vec![Some(-1_500), None]),
            &[Some("1969-12-31 23:59:58.500"), None],
            &["\"1969-12-31 23:59:58.500\"", "null"],
        ),
        sample(
            "TIMESTAMP(9)",
            TimestampNanosecondArray::from(vec![1_709_214_356_123_456_789]),
            &[Some("2024-02-29 13:45:56.123456789")],
            &["\"2024-02-29 13:45:56.123456789\""],
        ),
        sample(
            "TIMESTAMP_LTZ(6)",
            TimestampMicrosecondArray::from(vec![Some(1_710_054_000_123_000), None]).with_timezone("UTC"),
            &[Some("2024-03-10 03:00:00.123000"), None],
            &["\"2024-03-10 07:00:00.123000Z\"", "null"],
        ),
        sample("INTERVAL YEAR TO MONTH", interval(14, 0, 0), &[Some("+1-02"), None], &["14", "null"]),
        sample(
            "INTERVAL DAY TO SECOND",
            interval(0, 1, 3_600_000),
            &[Some("+1 01:00:00.000"), None],
            &["90000000", "null"],
        ),
        sample(
            "ARRAY<INT>",
            array_of("ARRAY<INT>", ints(vec![Some(1), None, Some(9)]), vec![0, 2, 2, 3], vec![true, true, false]),
            &[Some("[1, NULL]"), Some("[]"), None],
            &["[1,null]", "[]", "null"],
        ),
        sample(
            "MAP<STRING NOT NULL, INT>",
            map_of(
                "MAP<STRING NOT NULL, INT>",
                texts(vec![Some("k"), Some("l")]),
                ints(vec![Some(1), None]),
                vec![0, 2, 2],
            ),
            &[Some("{k=1, l=NULL}"), Some("{}")],
            &["{\"k\":1,\"l\":null}", "{}"],
        ),
        sample(
            "MULTISET<INT NOT NULL>",
            map_of("MULTISET<INT NOT NULL>", ints(vec![Some(7)]), ints(vec![Some(2)]), vec![0, 1]),
            &[Some("{7=2}")],
            &["[[7,2]]"],
        ),
        sample(
            "ROW<`x` INT, `y` STRING>",
            row_of(
                "ROW<`x` INT, `y` STRING>",
                vec![ints(vec![Some(1), None, None]), texts(vec![None, Some("q"), None])],
                vec![true, true, false],
            ),
            &[Some("(1, NULL)"), Some("(NULL, q)"), None],
            &["{\"x\":1,\"y\":null}", "{\"x\":null,\"y\":\"q\"}", "null"],
        ),
    ]
}

#[test]
fn every_type_has_the_text_that_flink_gives() {
    let zone = parse_zone("America/New_York").expect("a region");
    for sample in samples() {
        let field = SqlType::parse(sample.sql_type).expect("a type").to_field("c");
        let cast = text_column(&sample.array, &field, &TextStyle::cast(zone)).expect("a known type");
        assert_eq!(cast.iter().collect::<Vec<_>>(), sample.text, "{}", sample.sql_type);
        let printed = text_column(&sample.array, &field, &TextStyle::printing(zone)).expect("a known type");
        assert_eq!(printed.iter().collect::<Vec<_>>(), sample.printed.unwrap_or(sample.text), "{}", sample.sql_type);
    }
}

#[test]
fn arrow_types_that_stand_for_the_same_sql_type_have_the_same_text() {
    let style = TextStyle::cast(parse_zone("UTC").expect("a zone"));
    let text = |array: ArrayRef| {
        let field = Field::new("c", array.data_type().clone(), true);
        text_column(&array, &field, &style).expect("known").iter().map(|t| t.map(String::from)).collect::<Vec<_>>()
    };
    assert_eq!(text(Arc::new(StringArray::from(vec!["a"]))), [Some("a".into())]);
    let words: DictionaryArray<Int8Type> = [Some("x"), None, Some("x")].into_iter().collect();
    assert_eq!(text(Arc::new(words)), [Some("x".into()), None, Some("x".into())]);
    assert_eq!(text(Arc::new(arrow::array::UInt64Array::from(vec![u64::MAX]))), [Some(u64::MAX.to_string())]);
    assert_eq!(text(Arc::new(arrow::array::NullArray::new(1))), [None]);
}

#[test]
fn zones_are_regions_or_offsets_from_gmt() {
    assert_eq!(parse_zone("GMT+05:30").expect("an offset").to_string(), "+05:30");
    assert_eq!(parse_zone("UTC").expect("a zone").to_string(), "UTC");
    for wrong in ["+05:30", "Mars/Olympus", "GMT+99:99", ""] {
        assert!(parse_zone(wrong).is_err(), "{wrong}");
    }
}
