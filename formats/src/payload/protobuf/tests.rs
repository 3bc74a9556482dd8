use arrow::util::display::{ArrayFormatter, FormatOptions};
use prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MessageOptions, OneofDescriptorProto,
};
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, ReflectMessage, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::{columns_of, decoder, encoder};
use super::*;
use crate::payload::Format;
use aquifer_model::PayloadKind;
use base64::Engine;

fn field(name: &str, number: i32, kind: Type, label: Label, type_name: Option<&str>) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        type_name: type_name.map(String::from),
        ..Default::default()
    }
}

const SCALARS: [(&str, Type); 15] = [
    ("double", Type::Double),
    ("float", Type::Float),
    ("int32", Type::Int32),
    ("int64", Type::Int64),
    ("uint32", Type::Uint32),
    ("uint64", Type::Uint64),
    ("sint32", Type::Sint32),
    ("sint64", Type::Sint64),
    ("fixed32", Type::Fixed32),
    ("fixed64", Type::Fixed64),
    ("sfixed32", Type::Sfixed32),
    ("sfixed64", Type::Sfixed64),
    ("bool", Type::Bool),
    ("text", Type::String),
    ("bytes", Type::Bytes),
];

/// A file with a message that has every kind of field, once with implicit presence, once optional, once repeated, and nested ones.
fn file() -> FileDescriptorProto {
    let mut fields = vec![];
    let mut oneofs = vec![OneofDescriptorProto { name: Some("choice".into()), ..Default::default() }];
    for (n, (name, kind)) in SCALARS.iter().enumerate() {
        let n = n as i32 + 1;
        fields.push(field(name, n, *kind, Label::Optional, None));
        fields.push(field(&format!("many_{name}"), 100 + n, *kind, Label::Repeated, None));
        let mut optional = field(&format!("perhaps_{name}"), 200 + n, *kind, Label::Optional, None);
        optional.proto3_optional = Some(true);
        optional.oneof_index = Some(oneofs.len() as i32);
        oneofs.push(OneofDescriptorProto { name: Some(format!("_perhaps_{name}")), ..Default::default() });
        fields.push(optional);
    }
    let mut choice = [
        field("left", 301, Type::Int32, Label::Optional, None),
        field("right", 302, Type::Message, Label::Optional, Some(".t.Inner")),
    ];
    choice.iter_mut().for_each(|field| field.oneof_index = Some(0));
    fields.extend(choice);
    fields.push(field("colour", 310, Type::Enum, Label::Optional, Some(".t.Colour")));
    fields.push(field("colours", 311, Type::Enum, Label::Repeated, Some(".t.Colour")));
    fields.push(field("inner", 312, Type::Message, Label::Optional, Some(".t.Inner")));
    fields.push(field("inners", 313, Type::Message, Label::Repeated, Some(".t.Inner")));
    fields.push(field("counts", 314, Type::Message, Label::Repeated, Some(".t.Every.CountsEntry")));
    fields.push(field("rows", 315, Type::Message, Label::Repeated, Some(".t.Every.RowsEntry")));
    fields.push(field("itself", 316, Type::Message, Label::Optional, Some(".t.Every")));
    let entry = |name: &str, key: Type, value: Type, type_name: Option<&str>| DescriptorProto {
        name: Some(name.into()),
        field: vec![field("key", 1, key, Label::Optional, None), field("value", 2, value, Label::Optional, type_name)],
        options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
        ..Default::default()
    };
    let inner = DescriptorProto {
        name: Some("Inner".into()),
        field: vec![
            field("name", 1, Type::String, Label::Optional, None),
            field("numbers", 2, Type::Sint64, Label::Repeated, None),
            field("deep", 3, Type::Message, Label::Optional, Some(".t.Deep")),
        ],
        ..Default::default()
    };
    let deep = DescriptorProto {
        name: Some("Deep".into()),
        field: vec![field("weight", 7, Type::Double, Label::Optional, None)],
        ..Default::default()
    };
    let every = DescriptorProto {
        name: Some("Every".into()),
        field: fields,
        nested_type: vec![
            entry("CountsEntry", Type::String, Type::Int64, None),
            entry("RowsEntry", Type::Int32, Type::Message, Some(".t.Deep")),
        ],
        oneof_decl: oneofs,
        ..Default::default()
    };
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        ..Default::default()
    };
    let colour = EnumDescriptorProto {
        name: Some("Colour".into()),
        value: vec![value("RED", 0), value("GREEN", 5), value("BLUE", -1)],
        ..Default::default()
    };
    FileDescriptorProto {
        name: Some("t.proto".into()),
        package: Some("t".into()),
        message_type: vec![every, inner, deep],
        enum_type: vec![colour],
        syntax: Some("proto3".into()),
        ..Default::default()
    }
}

fn schema_of(files: FileDescriptorSet, root: &str) -> TopicSchema {
    let files = base64::engine::general_purpose::STANDARD.encode(files.encode_to_vec());
    let definition = serde_json::json!({
        "fileDescriptorSet": files, "rootMessageTypeName": root, "rootFileDescriptorName": "t.proto"
    });
    TopicSchema {
        name: "t".into(),
        kind: PayloadKind::ProtobufNative,
        definition: definition.to_string().into_bytes(),
        properties: Default::default(),
    }
}

fn every() -> (TopicSchema, MessageDescriptor) {
    let files = FileDescriptorSet { file: vec![file()] };
    let pool = DescriptorPool::from_file_descriptor_set(files.clone()).expect("a good file");
    (schema_of(files, "t.Every"), pool.get_message_by_name("t.Every").expect("there"))
}

fn random_value(kind: &prost_reflect::Kind, random: &mut StdRng, depth: usize) -> Value {
    use prost_reflect::Kind as K;
    let small = random.random_bool(0.5);
    let number: u64 = if small { random.random_range(0..3) } else { random.random() };
    match kind {
        K::Double => Value::F64(f64::from(number as i32) / 4.0),
        K::Float => Value::F32(f32::from(number as i16) / 4.0),
        K::Int32 | K::Sint32 | K::Sfixed32 => Value::I32(number as i32),
        K::Int64 | K::Sint64 | K::Sfixed64 => Value::I64(number as i64),
        K::Uint32 | K::Fixed32 => Value::U32(number as u32),
        K::Uint64 | K::Fixed64 => Value::U64(number),
        K::Bool => Value::Bool(number % 2 == 1),
        K::String => Value::String(format!("tëxt {number}")[..random.random_range(0..2) * 7].to_string()),
        K::Bytes => Value::Bytes(number.to_le_bytes()[..random.random_range(0..8)].to_vec().into()),
        K::Enum(_) => Value::EnumNumber(*[0, 5, -1, 77].get(number as usize % 4).unwrap_or(&0)),
        K::Message(message) => Value::Message(random_message(message, random, depth + 1)),
    }
}

fn random_message(descriptor: &MessageDescriptor, random: &mut StdRng, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let is_itself = field.name() == "itself";
        if random.random_bool(0.4) || (is_itself && depth > 0) {
            continue;
        }
        if field.is_map() {
            let entry = field.kind().as_message().expect("an entry").clone();
            let entries = (0..random.random_range(0..4)).map(|n| {
                let key = match entry.map_entry_key_field().kind() {
                    prost_reflect::Kind::String => MapKey::String(format!("k{n}")),
                    _ => MapKey::I32(n),
                };
                (key, random_value(&entry.map_entry_value_field().kind(), random, depth))
            });
            message.set_field(&field, Value::Map(entries.collect()));
        } else if field.is_list() {
            let values = (0..random.random_range(0..4)).map(|_| random_value(&field.kind(), random, depth));
            message.set_field(&field, Value::List(values.collect()));
        } else {
            message.set_field(&field, random_value(&field.kind(), random, depth));
        }
    }
    message
}

/// What a column is to show.
fn shown(value: &Value, field: &prost_reflect::FieldDescriptor, opaque: bool) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        Value::Message(message) if opaque => hex(&message.encode_to_vec()),
        Value::F64(n) => display(&Float64Array::from(vec![*n])),
        Value::F32(n) => display(&Float32Array::from(vec![*n])),
        Value::I32(n) => n.to_string(),
        Value::I64(n) => n.to_string(),
        Value::U32(n) => n.to_string(),
        Value::U64(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::String(text) => text.clone(),
        Value::Bytes(bytes) => hex(bytes),
        Value::EnumNumber(number) => match *number {
            0 => "RED".into(),
            5 => "GREEN".into(),
            -1 => "BLUE".into(),
            other => other.to_string(),
        },
        Value::List(values) => {
            let parts: Vec<String> = values.iter().map(|value| shown(value, field, opaque)).collect();
            format!("[{}]", parts.join(", "))
        }
        Value::Map(values) => {
            let entry = field.kind().as_message().expect("an entry").clone();
            let mut parts: Vec<String> = values
                .iter()
                .map(|(key, value)| {
                    let key = match key {
                        MapKey::String(text) => text.clone(),
                        MapKey::I32(n) => n.to_string(),
                        other => panic!("{other:?}"),
                    };
                    format!("{key}: {}", shown(value, &entry.map_entry_value_field(), false))
                })
                .collect();
            parts.sort();
            format!("{{{}}}", parts.join(", "))
        }
        Value::Message(message) => {
            let parts: Vec<String> = message
                .descriptor()
                .fields()
                .map(|field| format!("{}: {}", field.name(), field_shown(message, &field)))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
    }
}

fn field_shown(message: &DynamicMessage, field: &prost_reflect::FieldDescriptor) -> String {
    if field.supports_presence() && !message.has_field(field) {
        return "-".into();
    }
    shown(&message.get_field(field), field, field.name() == "itself")
}

fn display(array: &dyn Array) -> String {
    cell(array, 0)
}

fn cell(array: &dyn Array, row: usize) -> String {
    let options = FormatOptions::default().with_null("-");
    let text = ArrayFormatter::try_new(array, &options).expect("prints").value(row).to_string();
    match array.data_type() {
        // Entries have no order.
        DataType::Map(..) => {
            let mut parts: Vec<&str> = text[1..text.len() - 1].split(", ").filter(|part| !part.is_empty()).collect();
            parts.sort_unstable();
            format!("{{{}}}", parts.join(", "))
        }
        _ => text,
    }
}

fn decode(schema: &TopicSchema, messages: &[Vec<u8>]) -> DecodedPayloads {
    let (format, columns) = columns_of(schema).expect("columns");
    assert_eq!(format, Format::Protobuf);
    let mut decoder = decoder(format, columns, Some(schema)).expect("a decoder");
    let payloads = BinaryViewArray::from_iter_values(messages);
    let versions = BinaryViewArray::new_null(messages.len());
    decoder.decode(&payloads, &versions).expect("decodes")
}

#[test]
fn random_messages_are_what_a_dynamic_message_says_and_survive_writing() {
    let (schema, descriptor) = every();
    let mut random = StdRng::seed_from_u64(3);
    let messages: Vec<DynamicMessage> = (0..300).map(|_| random_message(&descriptor, &mut random, 0)).collect();
    let mut wire: Vec<Vec<u8>> = messages.iter().map(DynamicMessage::encode_to_vec).collect();
    for (row, bytes) in wire.iter_mut().enumerate().filter(|(row, _)| row % 3 == 0) {
        // Fields that nobody knows, a group among them, change nothing.
        if row % 2 == 0 {
            bytes.extend_from_slice(&[0xf8, 0x7f, 0x05, 0xfb, 0x7f, 0xf8, 0x7f, 0x01, 0xfc, 0x7f]);
        }
    }
    let decoded = decode(&schema, &wire);
    assert!(decoded.errors.is_empty(), "{:?}", decoded.errors);
    let compare = |rows: &RecordBatch| {
        for (row, message) in messages.iter().enumerate() {
            for field in descriptor.fields() {
                let column = rows.column_by_name(field.name()).expect("a column");
                assert_eq!(cell(column, row), field_shown(message, &field), "row {row}, `{}`", field.name());
            }
        }
    };
    compare(&decoded.rows);
    let (format, columns) = columns_of(&schema).expect("columns");
    let mut encoder = encoder(format, columns, Some(&schema)).expect("an encoder");
    let again = encoder.encode(&decoded.rows).expect("encodes");
    let again: Vec<Vec<u8>> = again.iter().flatten().map(<[u8]>::to_vec).collect();
    for bytes in &again {
        DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).expect("another reader reads it");
    }
    compare(&decode(&schema, &again).rows);
}

#[test]
fn messages_with_what_the_schema_does_not_have_are_told() {
    let (schema, descriptor) = every();
    let number = descriptor.get_field_by_name("int32").expect("there").number();
    let mut message = DynamicMessage::new(descriptor);
    message.set_field_by_name("int32", Value::I32(-1));
    let plain = message.encode_to_vec();
    let with = |more: &[u8]| [plain.as_slice(), more].concat();
    // The known field with more bits than it has.
    let mut wide = Vec::new();
    prost::encoding::encode_varint(u64::from(number) << 3, &mut wide);
    prost::encoding::encode_varint(1 << 40, &mut wide);
    let wire = [
        plain.clone(),
        with(&[0xf8, 0x7f, 0x05]),
        plain.clone(),
        with(&[0xfb, 0x7f, 0xf8, 0x7f, 0x01, 0xfc, 0x7f]),
        with(&wide),
    ];
    let decoded = decode(&schema, &wire);
    assert_eq!((decoded.errors, decoded.lossy), (vec![], vec![1, 3, 4]));
}

#[test]
fn of_a_field_that_comes_again_the_last_counts_and_messages_and_packed_lists_are_joined() {
    let (schema, descriptor) = every();
    let mut parts = [DynamicMessage::new(descriptor.clone()), DynamicMessage::new(descriptor.clone())];
    for (n, part) in parts.iter_mut().enumerate() {
        let n = n as i32;
        part.set_field_by_name("int32", Value::I32(n + 1));
        part.set_field_by_name("many_uint32", Value::List(vec![Value::U32(n as u32), Value::U32(9)]));
        let mut inner = DynamicMessage::new(
            descriptor.get_field_by_name("inner").expect("there").kind().as_message().expect("a message").clone(),
        );
        let (name, value) =
            if n == 0 { ("name", Value::String("x".into())) } else { ("numbers", Value::List(vec![Value::I64(-4)])) };
        inner.set_field_by_name(name, value);
        part.set_field_by_name("inner", Value::Message(inner));
        part.set_field_by_name("counts", Value::Map([(MapKey::String("k".into()), Value::I64(i64::from(n)))].into()));
    }
    let mut bytes: Vec<u8> = parts.iter().flat_map(DynamicMessage::encode_to_vec).collect();
    // One more element of the packed list, not packed.
    let number = descriptor.get_field_by_name("many_uint32").expect("there").number();
    prost::encoding::encode_varint(u64::from(number) << 3, &mut bytes);
    bytes.push(47);
    let rows = decode(&schema, &[bytes]).rows;
    let of = |name: &str| cell(rows.column_by_name(name).expect("a column"), 0);
    assert_eq!(of("int32"), "2");
    assert_eq!(of("many_uint32"), "[0, 9, 1, 9, 47]");
    assert_eq!(of("inner"), "{name: x, numbers: [-4], deep: -}");
    assert_eq!(of("counts"), "{k: 1}");
}

fn schema_field_number(schema: &TopicSchema, name: &str) -> u32 {
    let message = Message::of(schema).expect("a message");
    message.fields.iter().find(|field| field.name == name).expect("there").number
}

#[test]
fn a_bad_message_harms_no_neighbour_and_says_why() {
    let (schema, descriptor) = every();
    let mut good = DynamicMessage::new(descriptor);
    good.set_field_by_name("int32", Value::I32(5));
    good.set_field_by_name("many_text", Value::List(vec![Value::String("a".into())]));
    let good = good.encode_to_vec();
    let mut text_tag = vec![];
    let number = schema_field_number(&schema, "many_text");
    prost::encoding::encode_varint(u64::from(number) << 3 | 2, &mut text_tag);
    let nested: Vec<u8> = (0..200).fold(vec![], |inside, _| {
        let mut around = vec![];
        prost::encoding::encode_varint(316 << 3 | 2, &mut around);
        prost::encoding::encode_varint(inside.len() as u64, &mut around);
        around.extend(inside);
        around
    });
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (vec![0x18], "cut off"),
        (vec![0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "more than 64 bits"),
        ([&text_tag[..], &[0x02, 0xff, 0xfe]].concat(), "not UTF-8"),
        ([&text_tag[..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat(), "cut off"),
        (vec![0x00, 0x00], "number 0"),
        (vec![0x1e], "wire type 6"),
        (vec![0x1c], "did not begin"),
        (vec![0x1b; 500], "deep"),
    ];
    let mut messages = vec![good.clone()];
    for (bytes, _) in &bad {
        messages.extend([bytes.clone(), good.clone()]);
    }
    // Inside itself a message stays bytes: however deep it goes, nobody follows.
    messages.push(nested);
    let decoded = decode(&schema, &messages);
    assert_eq!(decoded.errors.len(), bad.len());
    for (error, (n, (_, why))) in decoded.errors.iter().zip(bad.iter().enumerate()) {
        assert_eq!(error.row, 2 * n + 1);
        assert!(error.reason.contains(why), "{}: {why}", error.reason);
    }
    for row in (0..=2 * bad.len()).step_by(2) {
        assert_eq!(cell(decoded.rows.column_by_name("int32").expect("there"), row), "5");
        assert_eq!(cell(decoded.rows.column_by_name("many_text").expect("there"), row), "[a]");
    }
}

#[test]
fn random_bytes_never_panic() {
    let (schema, descriptor) = every();
    let mut random = StdRng::seed_from_u64(9);
    let mut messages = vec![];
    for round in 0..2000 {
        let mut bytes = random_message(&descriptor, &mut random, 0).encode_to_vec();
        for _ in 0..round % 4 {
            if !bytes.is_empty() {
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..3) {
                    0 => bytes[at] = random.random(),
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at, random.random()),
                }
            }
        }
        messages.push(bytes);
    }
    let decoded = decode(&schema, &messages);
    assert_eq!(decoded.rows.num_rows(), 2000);
    assert!(!decoded.errors.is_empty());
}

#[test]
fn versions_are_projected_to_the_table_and_types_that_do_not_fit_are_bad_messages() {
    let (schema, descriptor) = every();
    let columns = Arc::new(Schema::new(vec![
        Column::new("uint64", DataType::Int32, true),
        Column::new("newer", DataType::Utf8View, true),
    ]));
    let mut decoder = decoder(Format::Protobuf, columns, Some(&schema)).expect("a decoder");
    let message = |n: u64| {
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field_by_name("uint64", Value::U64(n));
        message.encode_to_vec()
    };
    let payloads = BinaryViewArray::from_iter_values([message(1), message(u64::MAX), message(3)]);
    let decoded = decoder.decode(&payloads, &BinaryViewArray::new_null(3)).expect("decodes");
    let shown: Vec<String> = (0..3).map(|row| cell(decoded.rows.column(0), row)).collect();
    assert_eq!(shown, ["1", "-", "3"]);
    assert_eq!(decoded.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [1]);
    let unknown = BinaryViewArray::from_iter([Some(b"v9".as_slice()), None, Some(b"v9".as_slice())]);
    assert_eq!(decoder.missing_versions(&unknown).len(), 1);
    decoder.add_schema(SchemaVersion(b"v9".to_vec()), None).expect("taken");
    let decoded = decoder.decode(&payloads, &unknown).expect("decodes");
    assert_eq!(decoded.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_schema_of_the_java_client_numbers_its_fields_in_a_property() {
    let list = r#"[{"number":1,"name":"name","type":"STRING","label":"LABEL_OPTIONAL","definition":null},
        {"number":4,"name":"ns","type":"SINT32","label":"LABEL_REPEATED","definition":null},
        {"number":3,"name":"part","type":"MESSAGE","label":"LABEL_OPTIONAL","definition":{}}]"#;
    let schema = TopicSchema {
        name: "t".into(),
        kind: PayloadKind::Protobuf,
        definition: b"{}".to_vec(),
        properties: [("__PARSING_INFO__".to_string(), list.to_string())].into(),
    };
    let rows = decode(&schema, &[vec![0x0a, 0x01, b'x', 0x22, 0x02, 0x01, 0x02, 0x1a, 0x01, 0x00], vec![]]).rows;
    let shown = |row: usize| ["name", "part", "ns"].map(|name| cell(rows.column_by_name(name).expect("there"), row));
    assert_eq!(shown(0), ["x", "00", "[-1, 1]"]);
    assert_eq!(shown(1), ["-", "-", "[]"]);
    let without = TopicSchema { properties: Default::default(), ..schema };
    assert!(columns_of(&without).expect_err("refused").to_string().contains("__PARSING_INFO__"));
}
