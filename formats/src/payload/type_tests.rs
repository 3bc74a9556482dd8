//! Every schema type against payloads that Pulsar's Java client wrote, and what hostile bytes do to them.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::tests::{datum_of, value_of};
use super::*;
use aquifer_model::SqlType;
use arrow::datatypes::DataType;

const VECTORS: &str = include_str!("../../testdata/pulsar-payloads.json");

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn schema(kind: PayloadKind, definition: &[u8], properties: &[(&str, &str)]) -> TopicSchema {
    let properties = properties.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    TopicSchema { name: "t".into(), kind, definition: definition.to_vec(), properties }
}

fn definition_of(name: &str) -> Vec<u8> {
    let vectors: Json = serde_json::from_str(VECTORS).expect("JSON");
    let schemas = vectors["schemas"].as_array().expect("a list");
    let found = schemas.iter().find(|schema| schema["name"] == name).expect("a schema of that name");
    found["schema_text"].as_str().expect("text").as_bytes().to_vec()
}

fn pair(place: &str, key: (&str, &[u8]), value: (&str, &[u8])) -> TopicSchema {
    let mut definition = Vec::new();
    for (_, part) in [key, value] {
        definition.extend((part.len() as i32).to_be_bytes());
        definition.extend(part);
    }
    let properties = [("kv.encoding.type", place), ("key.schema.type", key.0), ("value.schema.type", value.0)];
    schema(PayloadKind::KeyValue, &definition, &properties)
}

/// The schema that a vector was written by; the vectors' names are the Java client's.
fn schema_of(name: &str) -> TopicSchema {
    let kinds = BTreeMap::from([
        ("INT8", PayloadKind::Int8),
        ("INT16", PayloadKind::Int16),
        ("INT32", PayloadKind::Int32),
        ("INT64", PayloadKind::Int64),
        ("BOOL", PayloadKind::Boolean),
        ("FLOAT", PayloadKind::Float),
        ("DOUBLE", PayloadKind::Double),
        ("STRING", PayloadKind::String),
        ("BYTES", PayloadKind::Bytes),
        ("DATE", PayloadKind::Date),
        ("TIME", PayloadKind::Time),
        ("TIMESTAMP", PayloadKind::Timestamp),
        ("INSTANT", PayloadKind::Instant),
        ("LOCAL_DATE", PayloadKind::LocalDate),
        ("LOCAL_TIME", PayloadKind::LocalTime),
        ("LOCAL_DATE_TIME", PayloadKind::LocalDateTime),
    ]);
    match name {
        "AVRO Rec" => schema(PayloadKind::Avro, &definition_of(name), &[]),
        "JSON Rec" => schema(PayloadKind::Json, &definition_of(name), &[]),
        "KEY_VALUE INLINE (AVRO Inner, JSON Inner)" => {
            let inner = definition_of("AVRO Inner");
            pair("INLINE", ("AVRO", &inner), ("JSON", &inner))
        }
        _ if name.starts_with("KEY_VALUE INLINE") => pair("INLINE", ("STRING", &[]), ("INT32", &[])),
        _ if name.starts_with("KEY_VALUE SEPARATED") => pair("SEPARATED", ("STRING", &[]), ("INT32", &[])),
        _ => schema(kinds[name.split(' ').next().expect("a word")], &[], &[]),
    }
}

struct Read {
    rows: RecordBatch,
    errors: Vec<PayloadError>,
}

fn read(schema: &TopicSchema, payloads: &[Option<&[u8]>], keys: &[Option<&[u8]>]) -> Read {
    let (format, columns) = columns_of(schema).expect("columns");
    let mut decoder = decoder(format, columns, Some(schema)).expect("a decoder");
    let payloads: BinaryViewArray = payloads.iter().copied().collect();
    let keys: BinaryViewArray = keys.iter().copied().collect();
    let versions: BinaryViewArray = std::iter::repeat_n(None::<&[u8]>, payloads.len()).collect();
    let decoded = decoder.decode_keyed(&payloads, &keys, &versions).expect("decodes");
    Read { rows: decoded.rows, errors: decoded.errors }
}

fn written(schema: &TopicSchema, rows: &RecordBatch) -> (BinaryArray, Option<BinaryArray>) {
    let (format, columns) = columns_of(schema).expect("columns");
    let mut encoder = encoder(format, columns, Some(schema)).expect("an encoder");
    (encoder.encode(rows).expect("encodes"), encoder.encode_keys(rows).expect("encodes"))
}

#[test]
fn what_the_java_client_wrote_is_read_and_written_again_byte_for_byte() {
    let vectors: Json = serde_json::from_str(VECTORS).expect("JSON");
    let mut seen = 0;
    for vector in vectors["payload"].as_array().expect("a list") {
        let name = vector["schema"].as_str().expect("text");
        let payload = unhex(vector["payload_hex"].as_str().expect("text"));
        let schema = schema_of(name);
        let key = name.starts_with("KEY_VALUE SEPARATED").then_some(&b"k"[..]);
        let Read { rows, errors } = read(&schema, &[Some(&payload)], &[key]);
        assert_eq!(errors, vec![], "{name} {}", vector["value"]);
        assert_eq!(rows.num_rows(), 1);
        // JSON is written with all fields, and a date of Java's keeps no time of day.
        if name.contains("JSON") || name.starts_with("DATE") {
            continue;
        }
        let (again, keys) = written(&schema, &rows);
        assert_eq!(again.value(0), payload, "{name} {}", vector["value"]);
        assert_eq!(keys.map(|keys| keys.value(0).to_vec()), key.map(<[u8]>::to_vec), "{name}");
        seen += 1;
    }
    assert!(seen > 45, "{seen} vectors");
}

proptest! {
    #[test]
    fn mutated_payloads_are_rows_or_bad_rows_and_leave_their_neighbours_alone(
        pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let vectors: Json = serde_json::from_str(VECTORS).expect("JSON");
        let vectors = vectors["payload"].as_array().expect("a list").clone();
        let vector = &vectors[pick.index(vectors.len())];
        let name = vector["schema"].as_str().expect("text");
        let good = unhex(vector["payload_hex"].as_str().expect("text"));
        let mut bad = good.clone();
        if !bad.is_empty() {
            let at = at.index(bad.len());
            if cut { bad.truncate(at) } else { bad[at] ^= byte }
        }
        let schema = schema_of(name);
        let key = Some(&b"k"[..]);
        let clean = read(&schema, &[Some(&good), Some(&good)], &[key, key]);
        let mixed = read(&schema, &[Some(&good), Some(&bad), None, Some(&good)], &[key; 4]);
        prop_assert!(mixed.errors.iter().all(|error| error.row == 1));
        prop_assert_eq!(mixed.rows.slice(0, 1), clean.rows.slice(0, 1));
        prop_assert_eq!(mixed.rows.slice(3, 1), clean.rows.slice(1, 1));
    }
}

#[test]
fn unions_enums_fixed_sizes_and_decimals_go_both_ways_with_a_second_opinion() {
    use apache_avro::types::Value;
    let text = r#"{"type":"record","name":"t","fields":[
        {"name":"u","type":["null","int","string",{"type":"record","name":"R","fields":[{"name":"x","type":"long"}]}]},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
        {"name":"e2","type":["E","null"]},
        {"name":"f","type":{"type":"fixed","name":"F","size":3}},
        {"name":"id","type":{"type":"string","logicalType":"uuid"}},
        {"name":"d","type":{"type":"fixed","name":"D","size":5,"logicalType":"decimal","precision":10,"scale":2}}]}"#;
    let second = apache_avro::Schema::parse_str(text).expect("a schema");
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let union = |n: u32, value: Value| Value::Union(n, Box::new(value));
    let row = |u: Value, e2: Value, d: i64| {
        let decimal: Vec<u8> = d.to_be_bytes()[3..].to_vec();
        Value::Record(vec![
            ("u".into(), u),
            ("e".into(), Value::Enum(1, "B".into())),
            ("e2".into(), e2),
            ("f".into(), Value::Fixed(3, vec![1, 2, 3])),
            ("id".into(), Value::Uuid(id.parse().expect("a UUID"))),
            ("d".into(), Value::Decimal(decimal.into())),
        ])
    };
    let rows = [
        row(union(1, Value::Int(7)), union(0, Value::Enum(0, "A".into())), 12345),
        row(union(2, Value::String("x".into())), union(1, Value::Null), -1),
        row(union(0, Value::Null), union(1, Value::Null), 0),
        row(union(3, Value::Record(vec![("x".into(), Value::Long(9))])), union(1, Value::Null), -54321),
    ];
    let datums: Vec<Vec<u8>> = rows.iter().map(|row| datum_of(&second, row.clone())).collect();
    let schema = schema(PayloadKind::Avro, text.as_bytes(), &[]);
    let payloads: Vec<Option<&[u8]>> = datums.iter().map(|datum| Some(datum.as_slice())).collect();
    let decoded = read(&schema, &payloads, &[None; 4]);
    assert_eq!(decoded.errors, vec![]);
    let union = decoded.rows.column(0).as_struct();
    assert_eq!(union.column_names(), ["int", "string", "R"]);
    assert!(union.is_null(2) && !union.is_null(0));
    assert_eq!(union.column(1).as_string_view().value(1), "x");
    assert_eq!(decoded.rows.column(1).as_string_view().value(0), "B");
    assert_eq!(decoded.rows.column(3).as_binary_view().value(0), [1, 2, 3]);
    assert_eq!(decoded.rows.column(4).as_string_view().value(0), id);
    let (again, _) = written(&schema, &decoded.rows);
    for (n, datum) in datums.iter().enumerate() {
        assert_eq!(value_of(&second, again.value(n)), value_of(&second, datum), "row {n}");
    }
}

#[test]
fn a_key_is_a_column_or_a_row_and_the_values_fields_stand_beside_it() {
    let inner = definition_of("AVRO Inner");
    let names = |schema: &TopicSchema| {
        let (format, columns) = columns_of(schema).expect("columns");
        assert_eq!(format, Format::KeyValue);
        columns.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&pair("INLINE", ("STRING", &[]), ("INT32", &[]))), ["key", "value"]);
    let both = pair("SEPARATED", ("AVRO", &inner), ("JSON", &inner));
    assert_eq!(names(&both), ["key", "a", "b"]);
    let clash = br#"{"type":"record","name":"C","fields":[{"name":"key","type":"int"}]}"#;
    assert_eq!(names(&pair("INLINE", ("STRING", &[]), ("AVRO", clash))), ["__key__", "key"]);
    let rows = read(&both, &[Some(br#"{"a":5,"b":true}"#), Some(br#"{"a":6,"b":false}"#)], &[Some(&[10, 1]), None]);
    assert_eq!(rows.errors, vec![]);
    assert!(rows.rows.column(0).is_null(1), "a message without a key");
    let (_, keys) = written(&both, &rows.rows);
    let keys = keys.expect("separated");
    assert_eq!((keys.value(0), keys.is_null(1)), (&[10u8, 1][..], true));
}

#[test]
fn avro_on_a_topic_without_a_schema_is_read_by_the_tables_columns() {
    let table: SchemaRef =
        Arc::new(Schema::new(vec![SqlType::STRING.nullable().to_field("a"), SqlType::BigInt.not_null().to_field("b")]));
    let wanted: SchemaRef = Arc::new(table.project(&[1]).expect("a column"));
    let mut decoder = projected_decoder(Format::Avro, &table, wanted, None).expect("a decoder");
    let payloads: BinaryViewArray = [Some(&[2u8, 2, b'x', 14][..])].into_iter().collect();
    let versions: BinaryViewArray = [None::<&[u8]>].into_iter().collect();
    let decoded = decoder.decode(&payloads, &versions).expect("decodes");
    assert_eq!(decoded.errors, vec![]);
    assert_eq!(decoded.rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0), 7);
}

#[test]
fn keys_and_values_of_earlier_versions_are_read_by_avros_rules() {
    use arrow::datatypes::{Int32Type, Int64Type};
    let record = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#).into_bytes();
    let old_key = record(r#"{"name":"id","type":"int"}"#);
    let new_key = record(r#"{"name":"id","type":"long"},{"name":"region","type":"string","default":"eu"}"#);
    let old_value = record(r#"{"name":"a","type":"int"},{"name":"old","type":"string"},{"name":"gone","type":"int"}"#);
    let new_value = record(concat!(
        r#"{"name":"new","type":"string","aliases":["old"]},{"name":"key","type":"long","default":7},"#,
        r#"{"name":"a","type":"long"},{"name":"none","type":["null","int"],"default":null}"#
    ));
    // Key 5; then a 3, old `x`, gone 1.
    let (key, value): (&[u8], &[u8]) = (&[10], &[6, 2, b'x', 2]);
    let inline = [&[0, 0, 0, 1][..], key, &[0, 0, 0, 4], value].concat();
    let nothing = [&[0, 0, 0, 1][..], key, &[0xff; 4]].concat();
    let json = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int","default":4}"#);
    let reader = pair("SEPARATED", ("STRING", &[]), ("JSON", &json));
    let rows = read(&reader, &[Some(br#"{"a":1}"#)], &[Some(b"k")]);
    assert_eq!(rows.rows.column(2).as_primitive::<Int32Type>().values(), &[4]);
    for place in ["INLINE", "SEPARATED"] {
        let reader = pair(place, ("AVRO", &new_key), ("AVRO", &new_value));
        let writer = pair(place, ("AVRO", &old_key), ("AVRO", &old_value));
        let (format, columns) = columns_of(&reader).expect("columns");
        // The value has a `key` since the later version: the key's column gave way to it.
        assert_eq!(columns.field(0).name(), "__key__");
        let mut decoder = decoder(format, Arc::clone(&columns), Some(&reader)).expect("a decoder");
        let version = SchemaVersion::from_number(0);
        decoder.add_schema(version.clone(), Some(&writer)).expect("an earlier version");
        let payloads: BinaryViewArray = match place {
            "INLINE" => [Some(&inline[..]), Some(&nothing)].into_iter().collect(),
            _ => [Some(value), None].into_iter().collect(),
        };
        let keys: BinaryViewArray = [Some(key), Some(key)].into_iter().collect();
        let versions: BinaryViewArray = [Some(&version.0[..]); 2].into_iter().collect();
        let decoded = decoder.decode_keyed(&payloads, &keys, &versions).expect("decodes");
        assert_eq!(decoded.errors, vec![]);
        let column = |name: &str| Arc::clone(decoded.rows.column_by_name(name).expect("a column"));
        let key = column("__key__");
        assert_eq!(key.as_struct().column(0).as_primitive::<Int64Type>().values(), &[5, 5]);
        assert_eq!(key.as_struct().column(1).as_string_view().value(1), "eu");
        assert_eq!(column("new").as_string_view().iter().collect::<Vec<_>>(), [Some("x"), None]);
        let numbers = |name: &str| column(name).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
        // Where there is no value there is no default of its fields.
        assert_eq!((numbers("key"), numbers("a")), (vec![Some(7), None], vec![Some(3), None]));
        assert_eq!(column("none").null_count(), 2);
        // What was decoded by the earlier version is read as the later one has it.
        let field = |name: &str| columns.field_with_name(name).expect("a column").clone();
        assert_eq!(decoder.earlier_names("new"), ["old"]);
        assert_eq!(decoder.lacking(&field("key"), 2).expect("a default").as_primitive::<Int64Type>().values(), &[7, 7]);
        let earlier: ArrayRef = Arc::new(arrow::array::StructArray::from(vec![(
            Arc::new(Field::new("id", DataType::Int32, false)),
            Arc::new(arrow::array::PrimitiveArray::<Int32Type>::from(vec![5])) as ArrayRef,
        )]));
        let fitted = decoder.fitted(&earlier, &field("__key__")).expect("fits");
        assert_eq!(fitted.as_struct().column(0).as_primitive::<Int64Type>().values(), &[5]);
        assert_eq!(fitted.as_struct().column(1).as_string_view().value(0), "eu");
    }
}
