use apache_avro::types::Value;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type};
use proptest::prelude::*;

use aquifer_model::SqlType;

use super::*;

fn columns() -> SchemaRef {
    let types =
        ["BOOLEAN", "INT NOT NULL", "BIGINT", "DOUBLE", "STRING", "TIMESTAMP(3) NOT NULL", "DECIMAL(10, 2)", "DATE"];
    Arc::new(Schema::new(
        types
            .iter()
            .enumerate()
            .map(|(n, t)| SqlType::parse(t).expect("a type").to_field(&format!("c{n}")))
            .collect::<Vec<_>>(),
    ))
}

type Row = (Option<bool>, i32, Option<i64>, Option<f64>, Option<String>, i64, Option<i128>, Option<i32>);

fn any_row() -> impl Strategy<Value = Row> {
    (
        any::<Option<bool>>(),
        any::<i32>(),
        any::<Option<i64>>(),
        prop::option::of(-1e9f64..1e9),
        prop::option::of("[a-z \"\\\\ü\n]{0,30}"),
        0i64..4_000_000_000_000,
        prop::option::of(-9_999_999_999i128..=9_999_999_999),
        prop::option::of(0i32..40_000),
    )
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns_: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| Some(r.1)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.3).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.4.clone()).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|r| Some(r.5)).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|r| r.6).collect::<Decimal128Array>().with_precision_and_scale(10, 2).expect("fits")),
        Arc::new(rows.iter().map(|r| r.7).collect::<arrow::array::Date32Array>()),
    ];
    RecordBatch::try_new(columns(), columns_).expect("matches the schema")
}

fn views(payloads: &BinaryArray) -> BinaryViewArray {
    payloads.iter().collect()
}

fn unversioned(rows: usize) -> BinaryViewArray {
    std::iter::repeat_n(None::<&[u8]>, rows).collect()
}

fn roundtrip(format: Format, rows: &RecordBatch) -> DecodedPayloads {
    let schema = topic_schema_of(format, "t", &columns()).expect("all have types");
    let (read_format, read_columns) = columns_of(&schema).expect("made by us");
    assert_eq!((read_format, read_columns.as_ref()), (format, columns().as_ref()));
    let payloads = encoder(format, columns(), Some(&schema)).expect("an encoder").encode(rows).expect("encodes");
    let mut decoder = decoder(format, columns(), Some(&schema)).expect("a decoder");
    decoder.decode(&views(&payloads), &unversioned(payloads.len())).expect("decodes")
}

proptest! {
    #[test]
    fn rows_come_back_through_avro_and_json(rows in prop::collection::vec(any_row(), 1..20)) {
        let rows = batch(&rows);
        for format in [Format::Avro, Format::Json] {
            let decoded = roundtrip(format, &rows);
            prop_assert_eq!(&decoded.errors, &vec![]);
            prop_assert_eq!(&decoded.lossy, &Vec::<usize>::new());
            prop_assert_eq!(decoded.rows.columns(), rows.columns());
        }
    }

    #[test]
    fn a_bad_payload_is_named_and_its_neighbours_are_unharmed(
        rows in prop::collection::vec(any_row(), 1..8), at in any::<prop::sample::Index>(), garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let rows = batch(&rows);
        for format in [Format::Avro, Format::Json] {
            let schema = topic_schema_of(format, "t", &columns()).expect("all have types");
            let good = encoder(format, columns(), Some(&schema)).expect("an encoder").encode(&rows).expect("encodes");
            let at = at.index(rows.num_rows() + 1);
            let mut payloads: Vec<&[u8]> = good.iter().flatten().collect();
            payloads.insert(at, &garbage);
            let payloads: BinaryViewArray = payloads.into_iter().map(Some).collect();
            let decoded = decoder(format, columns(), Some(&schema)).expect("a decoder").decode(&payloads, &unversioned(payloads.len())).expect("decodes");
            prop_assert!(decoded.errors.iter().all(|error| error.row == at));
            let others: Vec<Option<u32>> = (0..payloads.len() as u32).filter(|row| *row as usize != at).map(Some).collect();
            let others = scatter(&decoded.rows, &others).expect("rows");
            prop_assert_eq!(others.columns(), rows.columns());
        }
    }

    #[test]
    fn cut_avro_datums_are_bad_rows(row in any_row(), cut in any::<prop::sample::Index>()) {
        let schema = topic_schema_of(Format::Avro, "t", &columns()).expect("all have types");
        let good = encoder(Format::Avro, columns(), Some(&schema)).expect("an encoder").encode(&batch(&[row])).expect("encodes");
        let short = &good.value(0)[..cut.index(good.value(0).len())];
        let payloads: BinaryViewArray = [Some(short)].into_iter().collect();
        let decoded = decoder(Format::Avro, columns(), Some(&schema)).expect("a decoder").decode(&payloads, &unversioned(1)).expect("decodes");
        prop_assert_eq!(decoded.errors.len(), 1);
    }
}

/// The second opinion writes a datum.
pub(super) fn datum_of(schema: &apache_avro::Schema, value: Value) -> Vec<u8> {
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(schema).build().expect("a schema");
    writer.write_value_to_vec(value).expect("fits the schema")
}

/// The second opinion reads a datum.
pub(super) fn value_of(schema: &apache_avro::Schema, mut datum: &[u8]) -> Value {
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema).build().expect("a schema");
    let value = reader.read_value(&mut datum).expect("whole");
    assert!(datum.is_empty(), "bytes are left");
    value
}

#[test]
fn apache_avro_reads_what_we_write_and_we_read_what_it_writes() {
    let text = r#"{"type":"record","name":"t","fields":[{"name":"a","type":["null","string"],"default":null},{"name":"b","type":"long"},
        {"name":"c","type":{"type":"array","items":"double"}},{"name":"d","type":{"type":"enum","name":"E","symbols":["X","Y"]}},
        {"name":"e","type":{"type":"record","name":"R","fields":[{"name":"f","type":"boolean"}]}}]}"#;
    let schema = TopicSchema {
        name: "t".into(),
        kind: PayloadKind::Avro,
        definition: text.into(),
        properties: Default::default(),
    };
    let second = apache_avro::Schema::parse_str(text).expect("a schema");
    let value = Value::Record(vec![
        ("a".into(), Value::Union(1, Box::new(Value::String("hi".into())))),
        ("b".into(), Value::Long(-7)),
        ("c".into(), Value::Array(vec![Value::Double(1.5), Value::Double(2.5)])),
        ("d".into(), Value::Enum(1, "Y".into())),
        ("e".into(), Value::Record(vec![("f".into(), Value::Boolean(true))])),
    ]);
    let datum = datum_of(&second, value.clone());
    let (_, columns) = columns_of(&schema).expect("a record");
    let payloads: BinaryViewArray = [Some(datum.as_slice()), None, Some(datum.as_slice())].into_iter().collect();
    let decoded = decoder(Format::Avro, columns.clone(), Some(&schema))
        .expect("a decoder")
        .decode(&payloads, &unversioned(3))
        .expect("decodes");
    assert_eq!(decoded.errors, vec![]);
    let rows = decoded.rows;
    assert_eq!(rows.column(0).as_string_view().value(2), "hi");
    assert!(rows.columns().iter().all(|c| c.is_null(1)), "no payload, no values");
    assert_eq!(rows.column(1).as_primitive::<Int64Type>().value(0), -7);
    assert_eq!(rows.column(2).as_list::<i32>().value(0).as_primitive::<Float64Type>().values(), &[1.5, 2.5]);
    assert_eq!(rows.column(3).as_string_view().value(0), "Y");
    assert!(rows.column(4).as_struct().column(0).as_boolean().value(0));

    let simple =
        Arc::new(Schema::new(vec![SqlType::STRING.nullable().to_field("a"), SqlType::BigInt.not_null().to_field("b")]));
    let schema = topic_schema_of(Format::Avro, "s", &simple).expect("types");
    let columns_: Vec<ArrayRef> =
        vec![Arc::new(StringViewArray::from(vec![Some("x"), None])), Arc::new(Int64Array::from(vec![1, 2]))];
    let rows = RecordBatch::try_new(simple.clone(), columns_).expect("fits");
    let written = encoder(Format::Avro, simple, Some(&schema)).expect("an encoder").encode(&rows).expect("encodes");
    let second =
        apache_avro::Schema::parse_str(std::str::from_utf8(&schema.definition).expect("text")).expect("a schema");
    let read = value_of(&second, written.value(1));
    assert_eq!(
        read,
        Value::Record(vec![("a".into(), Value::Union(0, Box::new(Value::Null))), ("b".into(), Value::Long(2))])
    );
}

#[test]
fn each_message_is_read_by_its_own_schema_version() {
    let schema = |fields: &str| TopicSchema {
        name: "t".into(),
        kind: PayloadKind::Avro,
        definition: format!(r#"{{"type":"record","name":"t","fields":[{fields}]}}"#).into_bytes(),
        properties: Default::default(),
    };
    let (old, new) = (
        schema(r#"{"name":"n","type":"int"}"#),
        schema(r#"{"name":"added","type":["null","string"],"default":null},{"name":"n","type":"long"}"#),
    );
    let (_, columns) = columns_of(&new).expect("a record");
    let mut decoder = decoder(Format::Avro, columns, Some(&new)).expect("a decoder");
    let version = |n| SchemaVersion::from_number(n).0;
    let payloads: BinaryViewArray = [&[2u8][..], &[2, 2, b'x', 8], &[4], &[6]].into_iter().map(Some).collect();
    let versions: BinaryViewArray =
        [version(0), version(1), version(0), version(9)].iter().map(|v| Some(v.as_slice())).collect();
    assert_eq!(decoder.missing_versions(&versions), [0, 1, 9].map(SchemaVersion::from_number));
    decoder.add_schema(SchemaVersion::from_number(0), Some(&old)).expect("usable");
    decoder.add_schema(SchemaVersion::from_number(1), Some(&new)).expect("usable");
    decoder.add_schema(SchemaVersion::from_number(9), None).expect("known to be missing");
    let decoded = decoder.decode(&payloads, &versions).expect("decodes");
    let numbers: Vec<Option<i64>> = decoded.rows.column(1).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(numbers, [Some(1), Some(4), Some(2), None]);
    assert_eq!(decoded.rows.column(0).as_string_view().iter().collect::<Vec<_>>(), [None, Some("x"), None, None]);
    assert_eq!(decoded.errors.iter().map(|e| e.row).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_character_that_two_texts_share_makes_both_bad() {
    let schema = TopicSchema {
        name: "t".into(),
        kind: PayloadKind::Avro,
        definition:
            br#"{"type":"record","name":"t","fields":[{"name":"a","type":"string"},{"name":"n","type":"long"}]}"#
                .to_vec(),
        properties: Default::default(),
    };
    let (_, columns) = columns_of(&schema).expect("a record");
    let mut decoder = decoder(Format::Avro, columns, Some(&schema)).expect("a decoder");
    // U+00E9 is 0xc3 0xa9: side by side the halves are whole.
    let datums: [&[u8]; 4] = [&[4, 0xc3, 0xa9, 2], &[2, 0xc3, 4], &[2, 0xa9, 6], &[0, 8]];
    let mut decode = |rows: &[usize]| {
        let payloads: BinaryViewArray = rows.iter().map(|row| Some(datums[*row])).collect();
        let decoded = decoder.decode(&payloads, &unversioned(rows.len())).expect("decodes");
        let texts =
            decoded.rows.column(0).as_string_view().iter().map(|text| text.map(String::from)).collect::<Vec<_>>();
        (texts, decoded.errors.iter().map(|error| error.row).collect::<Vec<_>>())
    };
    let good = || Some(String::from("\u{e9}"));
    assert_eq!(decode(&[0, 3, 0]), (vec![good(), Some(String::new()), good()], vec![]));
    assert_eq!(decode(&[0, 1, 2, 3]), (vec![good(), None, None, Some(String::new())], vec![1, 2]));
}

#[test]
fn hostile_counts_end_soon() {
    let text = br#"{"type":"record","name":"t","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}"#;
    let schema = TopicSchema {
        name: "t".into(),
        kind: PayloadKind::Avro,
        definition: text.to_vec(),
        properties: Default::default(),
    };
    let (_, columns) = columns_of(&schema).expect("a record");
    let mut decoder = decoder(Format::Avro, columns, Some(&schema)).expect("a decoder");
    let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00];
    let payloads: BinaryViewArray = [Some(&huge[..])].into_iter().collect();
    assert_eq!(decoder.decode(&payloads, &unversioned(1)).expect("decodes").errors.len(), 1);
}

#[test]
fn raw_payloads_are_pulsars_primitives() {
    let columns: SchemaRef = Arc::new(Schema::new(vec![SqlType::Int.nullable().to_field("value")]));
    let schema = topic_schema_of(Format::Raw, "t", &columns).expect("one column");
    assert_eq!(schema.kind, PayloadKind::Int32);
    let payloads: BinaryViewArray = [&[0u8, 0, 1, 0][..], &[1]].into_iter().map(Some).collect();
    let decoded = decoder(Format::Raw, columns.clone(), None)
        .expect("a decoder")
        .decode(&payloads, &unversioned(2))
        .expect("decodes");
    assert_eq!(decoded.rows.column(0).as_primitive::<arrow::datatypes::Int32Type>().value(0), 256);
    assert_eq!(decoded.errors.len(), 1);
    let written = encoder(Format::Raw, columns.clone(), None).expect("an encoder");
    let rows = RecordBatch::try_new(columns, vec![Arc::new(Int32Array::from(vec![256]))]).expect("fits");
    let mut written = written;
    assert_eq!(written.encode(&rows).expect("encodes").value(0), [0, 0, 1, 0]);
}

#[test]
fn the_column_of_a_raw_topic_keeps_its_name() {
    for (name, properties) in [("value", 0), ("txt", 1), ("ü b", 1)] {
        let columns: SchemaRef = Arc::new(Schema::new(vec![SqlType::STRING.nullable().to_field(name)]));
        let schema = topic_schema_of(Format::Raw, "t", &columns).expect("one column");
        assert_eq!((schema.kind, schema.properties.len()), (PayloadKind::String, properties), "{name}");
        assert_eq!(columns_of(&schema).expect("made by us"), (Format::Raw, columns), "{name}");
    }
}

#[test]
fn what_a_topics_schema_cannot_say_is_refused_the_same_for_avro_and_json() {
    for (name, sql_type, part) in
        [("m", "MAP<BIGINT, INT>", "keys of a MAP are STRING"), ("a b", "INT", "'connector' = 'pulsar'")]
    {
        let field = SqlType::parse(sql_type).expect("a type").to_field(name);
        let columns: SchemaRef = Arc::new(Schema::new(vec![field]));
        for format in [Format::Avro, Format::Json] {
            let error = topic_schema_of(format, "t", &columns).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
