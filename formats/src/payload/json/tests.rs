use aquifer_model::SqlType;
use arrow::array::{AsArray, StringViewArray};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json_lines::write_json_lines;

fn columns(types: &[(&str, &str)]) -> SchemaRef {
    Arc::new(Schema::new(
        types.iter().map(|(name, t)| SqlType::parse(t).expect("a type").to_field(name)).collect::<Vec<_>>(),
    ))
}

/// A table's columns with its options, without `json.` before them.
fn table(options: &[(&str, &str)], types: &[(&str, &str)]) -> SchemaRef {
    let options = options.iter().map(|(key, value)| (format!("json.{key}"), value.to_string())).collect();
    Arc::new(columns(types).as_ref().clone().with_metadata(options))
}

fn decode(types: &[(&str, &str)], payloads: &[&str]) -> DecodedPayloads {
    decode_with(&[], types, payloads)
}

fn decode_with(options: &[(&str, &str)], types: &[(&str, &str)], payloads: &[&str]) -> DecodedPayloads {
    let payloads: BinaryViewArray = payloads.iter().map(|p| Some(p.as_bytes())).collect();
    let versions: BinaryViewArray = std::iter::repeat_n(None::<&[u8]>, payloads.len()).collect();
    let mut decoder = JsonDecoder::new(&table(options, types), columns(types), None).expect("all types");
    decoder.decode(&payloads, &versions).expect("decodes")
}

fn json_schema(fields: Value) -> TopicSchema {
    let definition = json!({"type": "record", "name": "t", "fields": fields}).to_string().into_bytes();
    TopicSchema { name: "t".into(), kind: PayloadKind::Json, definition, properties: Default::default() }
}

/// The rows as our own output shows them, without the kinds.
fn shown(rows: &RecordBatch) -> Vec<Value> {
    let mut out = Vec::new();
    write_json_lines(&aquifer_model::ChangeBatch::inserts(rows.clone()), &mut out).expect("all types");
    let lines = String::from_utf8(out).expect("text");
    lines
        .lines()
        .map(|line| {
            let mut row: Value = serde_json::from_str(line).expect("JSON");
            row.as_object_mut().expect("an object").remove("op");
            row
        })
        .collect()
}

#[test]
fn each_type_is_read_by_flinks_rules() {
    let cases: &[(&str, &str, Value)] = &[
        ("STRING", r#""a\u00e9\n""#, json!("aé\n")),
        ("STRING", "1.50", json!("1.50")),
        ("STRING", r#"{ "a" : [1, "x y"] }"#, json!(r#"{"a":[1,"x y"]}"#)),
        ("STRING", "true", json!("true")),
        ("BOOLEAN", "true", json!(true)),
        ("BOOLEAN", r#""TRUE""#, json!(true)),
        ("BOOLEAN", r#""yes""#, json!(false)),
        ("BOOLEAN", "1", json!(false)),
        ("INT", "7", json!(7)),
        ("INT", r#"" 7 ""#, json!(7)),
        ("BIGINT", "-9223372036854775808", json!(i64::MIN)),
        ("DOUBLE", r#""1e300""#, json!(1e300)),
        ("DOUBLE", "3", json!(3.0)),
        ("FLOAT", "0.1", json!(0.1)),
        ("DECIMAL(4, 2)", "99.994", json!("99.99")),
        ("DECIMAL(4, 2)", "99.996", Value::Null),
        ("DECIMAL(4, 2)", r#"" 1e1 ""#, json!("10.00")),
        ("BYTES", r#""AQID""#, json!("010203")),
        ("BYTES", r#""""#, json!("")),
        ("DATE", r#""2024-03-01""#, json!("2024-03-01")),
        ("DATE", "19783", json!("2024-03-01")),
        ("TIME(3)", r#""10:00:00.25""#, json!("10:00:00.250")),
        ("TIMESTAMP(3)", r#""2024-03-01 10:00:00.1239""#, json!("2024-03-01 10:00:00.123")),
        ("TIMESTAMP(9)", r#""2024-03-01 10:00:00.1""#, json!("2024-03-01 10:00:00.100000000")),
        ("TIMESTAMP(3)", "1709287200123", json!("2024-03-01 10:00:00.123")),
        ("TIMESTAMP(6)", "1709287200123", json!("2024-03-01 10:00:00.123000")),
        ("TIMESTAMP_LTZ(9)", "-1", json!("1969-12-31 23:59:59.999000000Z")),
        ("TIME(3)", "36000250", json!("10:00:00.250")),
        ("TIME(6)", "36000250", json!("10:00:00.250000")),
        ("TIMESTAMP_LTZ(3)", r#""2024-03-01 10:00:00.5Z""#, json!("2024-03-01 10:00:00.500Z")),
        ("ARRAY<INT>", r#"[1,"2",null]"#, json!([1, 2, null])),
        ("ARRAY<INT>", "[]", json!([])),
        ("MAP<STRING NOT NULL, DOUBLE>", r#"{"k":1,"j":null}"#, json!({"k": 1.0, "j": null})),
        (
            "ROW<`x` INT, `y` ROW<`z` STRING>>",
            r#"{"y":{"z":"q"},"other":[{}],"x":1}"#,
            json!({"x": 1, "y": {"z": "q"}}),
        ),
        ("ROW<`x` INT, `y` ROW<`z` STRING>>", "{}", json!({"x": null, "y": null})),
        ("VARIANT", r#"{ "a": "b" }"#, json!(r#"{"a":"b"}"#)),
        ("VARIANT", r#""b""#, json!(r#""b""#)),
        ("INT", "null", Value::Null),
        ("INT", "-5.9", json!(-5)),
        ("BIGINT", "1.5e3", json!(1500)),
    ];
    for (sql_type, value, expected) in cases {
        let decoded = decode(&[("c", sql_type)], &[&format!("{{\"c\":{value}}}")]);
        assert_eq!(decoded.errors, vec![], "{sql_type} {value}");
        assert_eq!(shown(&decoded.rows), [json!({"c": expected})], "{sql_type} {value}");
    }
}

#[test]
fn what_does_not_fit_is_a_bad_row_that_names_its_field() {
    let cases = [
        ("INT", r#""5.9""#),
        ("INT", "2147483648.5"),
        ("SMALLINT", "5.9"),
        ("INT", "true"),
        ("INT", r#""""#),
        ("INT", "[1]"),
        ("TINYINT", "300"),
        ("BIGINT", "9223372036854775808"),
        ("BIGINT", "-9223372036854775809"),
        ("BIGINT", "9.3e18"),
        ("DOUBLE", r#""x""#),
        ("DECIMAL(4, 2)", r#""abc""#),
        ("DATE", r#""2024-13-01""#),
        ("DATE", "99999999999"),
        ("TIME(3)", "86400000"),
        ("TIMESTAMP(9)", "99999999999999"),
        ("TIMESTAMP(3)", "1.5"),
        ("TIMESTAMP(3)", r#""2024-03-01T10:00:00""#),
        ("TIMESTAMP_LTZ(3)", r#""2024-03-01 10:00:00""#),
        ("BYTES", r#""***""#),
        ("ARRAY<INT>", "{}"),
        ("ARRAY<INT>", r#"[1,"x"]"#),
        ("MAP<STRING NOT NULL, INT>", "[]"),
        ("ROW<`x` INT>", "3"),
        ("ROW<`x` INT NOT NULL>", "{}"),
        ("ROW<`x` INT NOT NULL>", r#"{"x":null}"#),
    ];
    for (sql_type, value) in cases {
        let bad = format!("{{\"a\":1,\"c\":{value},\"b\":2}}");
        let good = r#"{"a":3,"b":4}"#;
        let decoded = decode(&[("a", "INT"), ("c", sql_type), ("b", "INT")], &[good, &bad, good]);
        assert_eq!(decoded.errors.iter().map(|e| e.row).collect::<Vec<_>>(), [1], "{sql_type} {value}");
        let reason = &decoded.errors[0].reason;
        assert!(reason.contains("`c`") || reason.contains("`x`") || reason.contains("`item`"), "{reason}");
        let (neighbour, empty) = (json!({"a": 3, "c": null, "b": 4}), json!({"a": null, "c": null, "b": null}));
        assert_eq!(shown(&decoded.rows), [neighbour.clone(), empty, neighbour], "{sql_type} {value}");
    }
}

#[test]
fn payloads_that_are_no_objects_are_bad_rows() {
    for payload in ["", " ", "[]", "3", "null", "{", "{\"a\":1", "{\"a\":1}}", "{\"a\":1,}", "{'a':1}", "{\"a\":01}"] {
        assert_eq!(decode(&[("a", "INT")], &[payload]).errors.len(), 1, "{payload}");
    }
}

#[test]
fn of_a_repeated_field_the_first_counts_and_order_does_not_matter() {
    let decoded = decode(&[("a", "INT"), ("b", "INT")], &[r#"{"b":1,"a":2,"b":3,"a":4}"#]);
    assert_eq!(shown(&decoded.rows), [json!({"a": 2, "b": 1})]);
}

#[test]
fn no_columns_at_all_still_count_rows() {
    let decoded = decode(&[], &["{\"a\":1}", "{}", "x"]);
    assert_eq!((decoded.rows.num_rows(), decoded.errors.len()), (3, 1));
}

#[test]
fn objects_are_written_as_flink_writes_them() {
    let types = [
        ("d", "DECIMAL(5, 2)"),
        ("t", "TIMESTAMP(3)"),
        ("z", "TIMESTAMP_LTZ(6)"),
        ("h", "TIME(3)"),
        ("b", "BYTES"),
        ("v", "VARIANT"),
        ("n", "INT"),
    ];
    let payload = r#"{"d":1.5,"t":"2024-03-01 10:00:00.120","z":"2024-03-01 10:00:00Z","h":"10:00:00","b":"AQI=","v":{"a":1},"n":null}"#;
    let decoded = decode(&types, &[payload]);
    assert_eq!(decoded.errors, vec![]);
    let written = JsonEncoder::new(columns(&types)).expect("all types").encode(&decoded.rows).expect("encodes");
    let expected = r#"{"d":1.50,"t":"2024-03-01 10:00:00.12","z":"2024-03-01 10:00:00Z","h":"10:00:00","b":"AQI=","v":{"a":1},"n":null}"#;
    assert_eq!(std::str::from_utf8(written.value(0)).expect("text"), expected);
}

const NESTED: [(&str, &str); 5] = [
    ("id", "BIGINT"),
    ("list", "ARRAY<ROW<`x` INT NOT NULL, `m` MAP<STRING NOT NULL, ARRAY<DOUBLE>>>>"),
    ("s", "STRING"),
    ("deep", "ROW<`a` ARRAY<ARRAY<STRING>>, `b` ROW<`c` DECIMAL(10, 2) NOT NULL, `d` BOOLEAN>>"),
    ("last", "TIMESTAMP(3)"),
];

fn any_nested() -> impl Strategy<Value = Value> {
    // Halves: serde_json, which reads them back here, is not exact to the last bit.
    let doubles = prop::option::of(prop::collection::vec((-999i32..999).prop_map(|n| f64::from(n) / 2.0), 0..3));
    let map = prop::option::of(prop::collection::btree_map("[a-c]", doubles, 0..3));
    let item = (any::<i32>(), map).prop_map(|(x, m)| json!({"x": x, "m": m}));
    let list = prop::option::of(prop::collection::vec(prop::option::of(item), 0..3));
    let texts = prop::option::of(prop::collection::vec(prop::collection::vec("[a-z\"{}]{0,3}", 0..3), 0..3));
    let deep = (texts, prop::option::of(any::<Option<bool>>()))
        .prop_map(|(a, d)| json!({"a": a, "b": d.map(|d| json!({"c": "1.25", "d": d}))}));
    (any::<i64>(), list, prop::option::of("[a-z]{0,20}"), prop::option::of(deep)).prop_map(
        |(id, list, s, deep)| json!({"id": id, "list": list, "s": s, "deep": deep, "last": "2024-03-01 10:00:00.000"}),
    )
}

proptest! {
    #[test]
    fn a_payload_with_any_damage_harms_no_neighbour(
        first in any_nested(), middle in any_nested(), last in any_nested(), at in any::<prop::sample::Index>(), with in "[0-9a-z{}\\[\\]\",: ]{0,3}",
    ) {
        let mut damaged = middle.to_string();
        let at = at.index(damaged.len());
        if damaged.is_char_boundary(at) && damaged.is_char_boundary(at + 1) {
            damaged.replace_range(at..at + 1, &with);
        }
        let (one, three) = (first.to_string(), last.to_string());
        let decoded = decode(&NESTED, &[&one, &damaged, &three]);
        prop_assert!(decoded.errors.iter().all(|error| error.row == 1), "{:?}", decoded.errors);
        let rows = shown(&decoded.rows);
        prop_assert_eq!(&rows[0], &first);
        prop_assert_eq!(&rows[2], &last);
        if decoded.errors.len() == 1 {
            prop_assert!(decoded.rows.columns().iter().all(|column| column.is_null(1)));
        }
    }

    #[test]
    fn nested_rows_come_back(rows in prop::collection::vec(any_nested(), 1..5)) {
        let texts: Vec<String> = rows.iter().map(Value::to_string).collect();
        let decoded = decode(&NESTED, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(&decoded.errors, &vec![]);
        prop_assert_eq!(&shown(&decoded.rows), &rows);
        let written = JsonEncoder::new(columns(&NESTED)).expect("all types").encode(&decoded.rows).expect("encodes");
        let again: Vec<&str> = written.iter().flatten().map(|object| std::str::from_utf8(object).expect("text")).collect();
        let again = decode(&NESTED, &again);
        prop_assert_eq!(again.rows, decoded.rows);
    }

    #[test]
    fn hostile_bytes_are_bad_rows(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let payloads: BinaryViewArray = [Some(payload.as_slice())].into_iter().collect();
        let versions: BinaryViewArray = [None::<&[u8]>].into_iter().collect();
        let mut decoder = JsonDecoder::new(&columns(&NESTED), columns(&NESTED), None).expect("all types");
        let decoded = decoder.decode(&payloads, &versions).expect("decodes");
        prop_assert_eq!(decoded.rows.num_rows(), 1);
    }
}

#[test]
fn text_views_are_of_the_declared_type() {
    let decoded = decode(&[("s", "STRING")], &[r#"{"s":"a longer text than fits into a view"}"#]);
    let texts: &StringViewArray = decoded.rows.column(0).as_string_view();
    assert_eq!(texts.value(0), "a longer text than fits into a view");
}

#[test]
fn a_field_that_is_never_null_and_that_a_payload_lacks_has_its_default() {
    let definition = br#"{"type":"record","name":"t","fields":[{"name":"a","type":"long","default":7},
        {"name":"b","type":["string","null"],"default":"x"},{"name":"c","type":"int"}]}"#;
    let properties = Default::default();
    let schema = TopicSchema { name: "t".into(), kind: PayloadKind::Json, definition: definition.to_vec(), properties };
    let (_, columns) = crate::payload::columns_of(&schema).expect("columns");
    let mut decoder = JsonDecoder::new(&Arc::clone(&columns), columns, Some(&schema)).expect("all types");
    let texts = [Some(r#"{"a":1,"b":"t","c":2}"#), Some("{}"), None, Some("no JSON")];
    let payloads: BinaryViewArray = texts.iter().map(|text| text.map(str::as_bytes)).collect();
    let versions: BinaryViewArray = texts.iter().map(|_| None::<&[u8]>).collect();
    let decoded = decoder.decode(&payloads, &versions).expect("decodes");
    assert_eq!(decoded.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [3]);
    let column = |n: usize| decoded.rows.column(n);
    let longs: Vec<Option<i64>> = column(0).as_primitive::<arrow::datatypes::Int64Type>().iter().collect();
    assert_eq!(longs, [Some(1), Some(7), None, None], "not where there is no value, nor where it is bad");
    assert_eq!((column(1).null_count(), column(2).null_count()), (3, 3), "null cannot be told from a field that lacks");
}

#[test]
fn rows_whose_columns_tell_less_than_the_payload_are_told() {
    for (sql_type, value, is_lossy) in [
        ("STRING", r#""a\u00e9\n""#, false),
        ("STRING", r#""a\ud800""#, true),
        ("STRING", "1.50", true),
        ("VARIANT", r#"{ "a" : 1 }"#, false),
        ("BOOLEAN", "false", false),
        ("BOOLEAN", r#""false""#, true),
        ("INT", "null", false),
        ("INT", "7", false),
        ("INT", r#""7""#, true),
        ("INT", "7.5", true),
        ("BIGINT", "1e3", true),
        ("DOUBLE", "-0.12345678901234567e-7", false),
        ("DOUBLE", "0.123456789012345678", true),
        ("DOUBLE", "1e999", true),
        ("FLOAT", "0.123456789", false),
        ("FLOAT", "0.1234567891", true),
        ("DECIMAL(4, 2)", "-1.25", false),
        ("DECIMAL(4, 2)", "1.255", true),
        ("DECIMAL(4, 2)", "123", true),
        ("BYTES", r#""AQID""#, false),
        ("BYTES", "1234", true),
        ("DATE", r#""2024-03-01""#, false),
        ("TIME(3)", r#""10:00:00.2500""#, false),
        ("TIME(3)", r#""10:00:00.2501""#, true),
        ("TIMESTAMP_LTZ(3)", r#""2024-03-01 10:00:00.123Z""#, false),
        ("TIMESTAMP_LTZ(3)", r#""2024-03-01 10:00:00.1234Z""#, true),
        ("TIMESTAMP(3)", "1709287200123", false),
        ("ARRAY<INT>", "[1, null]", false),
        ("ARRAY<INT>", "[1, 2.5]", true),
        ("MAP<STRING NOT NULL, INT>", r#"{"k":1}"#, false),
        ("ROW<`x` INT>", r#"{"x":1,"y":null}"#, false),
        ("ROW<`x` INT>", r#"{"x":1,"y":{}}"#, true),
        ("ROW<`x` INT>", r#"{"x":1,"x":2}"#, true),
    ] {
        let payload = format!("{{\"c\":{value}}}");
        let decoded = decode(&[("c", sql_type)], &["{}", &payload, "{}"]);
        assert_eq!(decoded.errors, vec![], "{sql_type} {value}");
        assert_eq!(decoded.lossy, if is_lossy { vec![1] } else { vec![] }, "{sql_type} {value}");
    }
    assert_eq!(decode(&[("a", "INT")], &[r#"{"a":1,"b":2}"#, r#"{"b":2}"#, r#"{"a":1}"#]).lossy, [0, 1]);
}

#[test]
fn numbers_are_times_in_the_unit_of_their_schema_version() {
    let of = |unit: &str| {
        json_schema(json!([
            {"name": "t", "type": ["null", {"type": "long", "logicalType": unit}]},
            {"name": "l", "type": {"type": "array", "items": {"type": "long", "logicalType": unit}}},
        ]))
    };
    let (millis, micros) = (of("timestamp-millis"), of("local-timestamp-micros"));
    let table = columns(&[("t", "TIMESTAMP(6)"), ("l", "ARRAY<TIMESTAMP_LTZ(3)>")]);
    let mut decoder = JsonDecoder::new(&table, Arc::clone(&table), Some(&micros)).expect("all types");
    let small = r#"{"t":1704103200123,"l":[1704103200123]}"#;
    let large = r#"{"t":1704103200123000,"l":[1704103200123000]}"#;
    let cut = r#"{"t":1704103200123001,"l":[1704103200123001]}"#;
    let payloads: BinaryViewArray =
        [large, small, large, cut, large].iter().map(|payload| Some(payload.as_bytes())).collect();
    let names = [None, Some("1"), Some("2"), Some("2"), Some("9")];
    let versions: BinaryViewArray = names.iter().map(|name| name.map(str::as_bytes)).collect();
    assert_eq!(decoder.missing_versions(&versions).len(), 3);
    for (version, schema) in [("1", Some(&millis)), ("2", Some(&micros)), ("9", None)] {
        decoder.add_schema(SchemaVersion(version.as_bytes().to_vec()), schema).expect("taken");
    }
    assert!(decoder.missing_versions(&versions).is_empty());
    let decoded = decoder.decode(&payloads, &versions).expect("decodes");
    assert_eq!((decoded.errors, decoded.lossy), (vec![], vec![3]));
    let mut expected = vec![json!({"t": "2024-01-01 10:00:00.123000", "l": ["2024-01-01 10:00:00.123Z"]}); 5];
    expected[3]["t"] = json!("2024-01-01 10:00:00.123001");
    assert_eq!(shown(&decoded.rows), expected);
    let plain = columns(&[("a", "INT"), ("b", "ARRAY<STRING>")]);
    let decoder = JsonDecoder::new(&plain, Arc::clone(&plain), Some(&micros)).expect("all types");
    assert!(decoder.missing_versions(&versions).is_empty(), "no schema says anything of them");
}

#[test]
fn a_union_of_several_types_takes_the_branch_that_the_value_is_of() {
    let schema = json_schema(json!([{"name": "f", "type": [
        "null", "int", "string", "boolean", {"type": "array", "items": "int"},
        {"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]}, {"type": "map", "values": "double"},
    ]}]));
    let (_, table) = crate::payload::columns_of(&schema).expect("columns");
    let mut decoder = JsonDecoder::new(&Arc::clone(&table), table, Some(&schema)).expect("all types");
    let only = |branch: &str, value: Value| {
        let mut row = json!({"int": null, "string": null, "boolean": null, "array": null, "R": null, "map": null});
        row[branch] = value;
        json!({"f": row})
    };
    let cases = [
        ("5", only("int", json!(5))),
        (r#""x""#, only("string", json!("x"))),
        ("true", only("boolean", json!(true))),
        ("[1, 2]", only("array", json!([1, 2]))),
        (r#"{"x": 1}"#, only("R", json!({"x": 1}))),
        (r#"{"k": 1.5}"#, only("map", json!({"k": 1.5}))),
        // As Avro's own JSON and we write it.
        (r#"{"string": "y"}"#, only("string", json!("y"))),
        ("null", json!({"f": null})),
        // Of no branch: a whole number over 32 bits, a fraction, and a record's field that is none of its type.
        ("5000000000", json!({"f": null})),
        ("5.5", json!({"f": null})),
        (r#"{"x": "y"}"#, json!({"f": null})),
        ("6", only("int", json!(6))),
    ];
    let payloads: Vec<String> = cases.iter().map(|(value, _)| format!("{{\"f\": {value}}}")).collect();
    let payloads: BinaryViewArray = payloads.iter().map(|payload| Some(payload.as_bytes())).collect();
    let decoded = decoder.decode(&payloads, &BinaryViewArray::new_null(payloads.len())).expect("decodes");
    assert_eq!(decoded.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [8, 9, 10], "{:?}", decoded.errors);
    let expected: Vec<Value> = cases.into_iter().map(|(_, row)| row).collect();
    assert_eq!(shown(&decoded.rows), expected);
    assert_eq!(decoded.lossy, Vec::<usize>::new());
}

#[test]
fn options_of_a_table_say_how_its_json_is_read_and_written() {
    let types = [("t", "TIMESTAMP(3)"), ("z", "TIMESTAMP_LTZ(3)")];
    let options = [("timestamp-format.standard", "ISO-8601"), ("encode.ignore-null-fields", "true")];
    let iso = r#"{"t":"2024-03-01T10:00:00.5","z":"2024-03-01T10:00Z"}"#;
    let decoded = decode_with(&options, &types, &[iso, r#"{"t":"2024-03-01 10:00:00"}"#, "{}"]);
    assert_eq!(decoded.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [1]);
    let expected = json!({"t": "2024-03-01 10:00:00.500", "z": "2024-03-01 10:00:00.000Z"});
    assert_eq!(shown(&decoded.rows)[0], expected);
    let mut encoder = JsonEncoder::new(table(&options, &types)).expect("all types");
    let written = encoder.encode(&decoded.rows).expect("encodes");
    let written: Vec<&str> =
        written.iter().flatten().map(|object| std::str::from_utf8(object).expect("text")).collect();
    assert_eq!(written, [r#"{"t":"2024-03-01T10:00:00.5","z":"2024-03-01T10:00:00Z"}"#, "{}", "{}"]);

    let types = [("a", "INT"), ("b", "STRING")];
    let bad = [r#"{"a":"x","b":"y"}"#, "no JSON", r#"{"a":1}"#];
    let lenient = decode_with(&[("ignore-parse-errors", "true")], &types, &bad);
    assert_eq!(lenient.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [1]);
    let none = Value::Null;
    assert_eq!(
        shown(&lenient.rows),
        [json!({"a": none, "b": "y"}), json!({"a": none, "b": none}), json!({"a": 1, "b": none})]
    );
    assert_eq!(lenient.lossy, [0], "what was ignored is told");
    let strict = decode_with(&[("fail-on-missing-field", "true")], &types, &bad);
    assert_eq!(strict.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(strict.errors[2].reason.contains("field `b` is missing"), "{:?}", strict.errors);
    let both = table(&[("fail-on-missing-field", "true"), ("ignore-parse-errors", "true")], &types);
    assert!(JsonDecoder::new(&both, Arc::clone(&both), None).is_err());
}
