//! Messages of other schema versions than the table's: Avro's rules of resolution, against apache-avro's.

use apache_avro::Schema as Avro;
use apache_avro::types::Value;
use aquifer_model::PayloadKind;
use arrow::array::AsArray;
use arrow::datatypes::{Date32Type, Decimal128Type, Int32Type, TimestampMillisecondType};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value as Json, json};

use super::*;
use crate::payload::columns_of;
use crate::payload::tests::datum_of;

fn schema_of(fields: &[Json]) -> TopicSchema {
    let definition = json!({"type": "record", "name": "t", "fields": fields}).to_string().into_bytes();
    TopicSchema { name: "t".into(), kind: PayloadKind::Avro, definition, properties: Default::default() }
}

fn avro(schema: &TopicSchema) -> Avro {
    avro_schema::parse(&schema.definition).expect("a schema")
}

/// Reads datums of version 0, written by `writer`, as a table of `reader` has them; with the way for plain fields or without it.
fn read(writer: &TopicSchema, reader: &TopicSchema, datums: &[Option<Vec<u8>>], is_general: bool) -> DecodedPayloads {
    let (_, columns) = columns_of(reader).expect("columns");
    let mut decoder = AvroDecoder::new(columns, Some(reader)).expect("a decoder");
    decoder.add_schema(SchemaVersion::from_number(0), Some(writer)).expect("a schema");
    if is_general {
        decoder.writers.known.values_mut().flatten().for_each(|writer| writer.flat = None);
    }
    let payloads: BinaryViewArray = datums.iter().map(Option::as_deref).collect();
    let version = SchemaVersion::from_number(0);
    let versions: BinaryViewArray = datums.iter().map(|_| Some(version.0.as_slice())).collect();
    decoder.decode(&payloads, &versions).expect("decodes")
}

/// Types that a field may go through, each read by those behind it in its line.
const LINES: [&[&str]; 3] = [&["int", "long", "float", "double"], &["bytes", "string"], &["boolean"]];

fn value(random: &mut StdRng, name: &str) -> Value {
    match name {
        "int" => Value::Int(random.random()),
        "long" => Value::Long(random.random()),
        "float" => Value::Float(random.random_range(-9.0..9.0)),
        "double" => Value::Double(random.random_range(-9.0..9.0)),
        "bytes" => Value::Bytes(format!("ä{}", random.random::<u32>()).into_bytes()),
        "string" => Value::String(format!("a text of some length {}", random.random::<u8>())),
        _ => Value::Boolean(random.random()),
    }
}

fn default(random: &mut StdRng, name: &str) -> Json {
    match name {
        "int" | "long" => json!(random.random::<i32>()),
        "float" | "double" => json!(f64::from(random.random_range(-99i32..99)) / 4.0),
        "bytes" | "string" => json!(format!("plain {}", random.random::<u8>())),
        _ => json!(random.random::<bool>()),
    }
}

/// What one random evolution is: both schemas, the writer's with the reader's names (its bytes are the same), and rows.
struct Case {
    writer: TopicSchema,
    renamed: TopicSchema,
    reader: TopicSchema,
    rows: Vec<Value>,
}

fn case(random: &mut StdRng) -> Case {
    let (mut writer, mut renamed, mut reader, mut makers) = (vec![], vec![], vec![], vec![]);
    for n in 0..random.random_range(1..9) {
        let line = LINES[random.random_range(0..LINES.len())];
        let (from, name) = (random.random_range(0..line.len()), format!("f{n}"));
        let optional = random.random_bool(0.4);
        let of = |name: &str| if optional { json!(["null", name]) } else { json!(name) };
        let fate = random.random_range(0..5);
        if fate > 0 {
            let old = if fate == 1 { format!("old{n}") } else { name.clone() };
            writer.push(json!({"name": old, "type": of(line[from])}));
            renamed.push(json!({"name": name, "type": of(line[from])}));
            makers.push((name.clone(), line[from], optional));
        }
        let to = line[random.random_range(from..line.len())];
        match fate {
            0 if optional && random.random() => reader.push(json!({"name": name, "type": of(to), "default": null})),
            // Of a union the default is of the first branch.
            0 if optional => reader.push(json!({"name": name, "type": [to, "null"], "default": default(random, to)})),
            0 => reader.push(json!({"name": name, "type": to, "default": default(random, to)})),
            1 => reader.push(json!({"name": name, "type": of(to), "aliases": ["never", format!("old{n}")]})),
            2 => {}
            _ => reader.push(json!({"name": name, "type": of(to)})),
        }
    }
    if reader.is_empty() {
        reader.push(json!({"name": "last", "type": "long", "default": 3}));
    }
    // The reader's order is its own.
    let by = random.random_range(0..reader.len());
    reader.rotate_left(by);
    let rows = (0..random.random_range(1..20)).map(|_| {
        let fields = makers.iter().map(|(name, kind, optional)| {
            let value = match optional {
                false => value(random, kind),
                true if random.random_bool(0.3) => Value::Union(0, Box::new(Value::Null)),
                true => Value::Union(1, Box::new(value(random, kind))),
            };
            (name.clone(), value)
        });
        Value::Record(fields.collect())
    });
    let rows = rows.collect();
    Case { writer: schema_of(&writer), renamed: schema_of(&renamed), reader: schema_of(&reader), rows }
}

#[test]
fn fields_added_dropped_widened_and_renamed_are_read_as_apache_avro_resolves_them() {
    let mut random = StdRng::seed_from_u64(22);
    for turn in 0..400 {
        let case = case(&mut random);
        let (renamed, reader) = (avro(&case.renamed), avro(&case.reader));
        let mut datums = Vec::new();
        let mut expected = Vec::new();
        for row in case.rows {
            // A message without a value is a row of NULLs, whatever the defaults.
            if random.random_bool(0.1) {
                datums.push(None);
                expected.push(None);
                continue;
            }
            let datum = datum_of(&renamed, row);
            let resolving = apache_avro::reader::datum::GenericDatumReader::builder(&renamed).reader_schema(&reader);
            let resolved = resolving.build().expect("schemas").read_value(&mut datum.as_slice()).expect("resolves");
            expected.push(Some(datum_of(&reader, resolved)));
            datums.push(Some(datum));
        }
        let expected = read(&case.reader, &case.reader, &expected, true);
        assert_eq!(expected.errors, [], "turn {turn}");
        for is_general in [false, true] {
            let found = read(&case.writer, &case.reader, &datums, is_general);
            assert_eq!(found.errors, [], "turn {turn}");
            assert_eq!(found.rows, expected.rows, "turn {turn}, general {is_general}");
        }
    }
}

#[test]
fn widened_plain_fields_stay_in_the_one_pass() {
    let writer = schema_of(&[json!({"name": "a", "type": "int"}), json!({"name": "b", "type": "bytes"})]);
    let reader = schema_of(&[
        json!({"name": "c", "type": "long", "default": 5}),
        json!({"name": "a", "type": "double"}),
        json!({"name": "b", "type": "string"}),
    ]);
    let (_, columns) = columns_of(&reader).expect("columns");
    assert!(Writer::new(&writer.definition, None, &columns).expect("a schema").flat.is_some());
    // Bytes that are no text are bad by themselves.
    let datums: Vec<_> = [&b"ok"[..], b"\xff"].map(|b| Some([&[2, b.len() as u8 * 2], b].concat())).into();
    let found = read(&writer, &reader, &datums, false);
    assert_eq!(found.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [1]);
    assert_eq!(found.rows.column_by_name("b").expect("a column").as_string_view().value(0), "ok");
}

#[test]
fn a_default_is_of_its_fields_type_at_every_depth() {
    let inner = |fields: Json| json!({"type": "record", "name": "R", "fields": fields});
    let writer = schema_of(&[
        json!({"name": "r", "type": inner(json!([{"name": "old", "type": "int"}]))}),
        json!({"name": "l", "type": {"type": "array", "items": "R"}}),
    ]);
    let with_more = inner(json!([
        {"name": "new", "type": "long", "aliases": ["old"]},
        {"name": "t", "type": "string", "default": "é"},
    ]));
    let of = |name: &str, kind: Json, default: Json| json!({"name": name, "type": kind, "default": default});
    let reader = schema_of(&[
        json!({"name": "r", "type": with_more}),
        json!({"name": "l", "type": {"type": "array", "items": "R"}}),
        of("d", json!({"type": "int", "logicalType": "date"}), json!(3)),
        of("m", json!({"type": "long", "logicalType": "timestamp-millis"}), json!(1500)),
        of("n", json!({"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}), json!("\u{ff}\u{38}")),
        of("b", json!("bytes"), json!("\u{0}\u{ff}")),
        of("e", json!({"type": "enum", "name": "E", "symbols": ["X", "Y"]}), json!("Y")),
        of("a", json!({"type": "array", "items": "int"}), json!([1, 2])),
        of("s", json!({"type": "map", "values": "int"}), json!({"k": 7})),
        of("q", json!("R"), json!({"new": 4})),
        of("u", json!(["int", "string", "null"]), json!(9)),
        json!({"name": "z", "type": "int"}),
    ]);
    let value = |n: i32| Value::Record(vec![("old".into(), Value::Int(n))]);
    let row = Value::Record(vec![("r".into(), value(8)), ("l".into(), Value::Array(vec![value(1), value(2)]))]);
    let found = read(&writer, &reader, &[Some(datum_of(&avro(&writer), row)), None], false);
    assert_eq!(found.errors, []);
    let rows = found.rows;
    let column = |name: &str| Arc::clone(rows.column_by_name(name).expect("a column"));
    let text = |name: &str| {
        let options = arrow::util::display::FormatOptions::new().with_null("NULL");
        let array = column(name);
        let shown = arrow::util::display::ArrayFormatter::try_new(&array, &options).expect("can be shown");
        shown.value(0).to_string()
    };
    assert_eq!(text("r"), "{new: 8, t: é}");
    assert_eq!(text("l"), "[{new: 1, t: é}, {new: 2, t: é}]");
    assert_eq!(column("d").as_primitive::<Date32Type>().value(0), 3);
    assert_eq!(column("m").as_primitive::<TimestampMillisecondType>().value(0), 1500);
    assert_eq!(column("n").as_primitive::<Decimal128Type>().value(0), -200);
    assert_eq!(column("b").as_binary_view().value(0), [0, 0xff]);
    assert_eq!(text("e"), "Y");
    assert_eq!(column("a").as_list::<i32>().value(0).as_primitive::<Int32Type>().values(), &[1, 2]);
    assert_eq!(text("s"), "{k: 7}");
    assert_eq!(text("q"), "{new: 4, t: é}");
    assert_eq!(text("u"), "{int: 9, string: NULL}");
    assert_eq!(text("z"), "NULL", "a field without a default");
    assert!(rows.columns().iter().all(|column| column.is_null(1)), "a message without a value has no defaults");
}

#[test]
fn a_default_of_another_type_is_refused_by_its_fields_name() {
    let reader = schema_of(&[json!({"name": "gone", "type": {"type": "bytes"}, "default": "\u{100}"})]);
    let (_, columns) = columns_of(&reader).expect("columns");
    let Err(error) = AvroDecoder::new(columns, Some(&reader)) else { panic!("the default is no bytes") };
    assert!(error.to_string().contains("`gone`"), "{error}");
}
