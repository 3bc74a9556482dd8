use super::*;

async fn inferred(name: &str, bytes: &[u8]) -> Result<(Vec<String>, BTreeMap<String, String>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    std::fs::write(&path, bytes).expect("written");
    let top = folder.path().join(name.split('/').next().expect("a name"));
    let mut definition = infer(&top.to_string_lossy()).await?;
    definition.options.remove("path");
    let shown = |column: &ColumnDefinition| match &column.kind {
        ColumnKind::Physical { type_text } => format!("{} {type_text}", column.name),
        other => format!("{other:?}"),
    };
    let mut columns: Vec<String> = definition.columns.iter().map(shown).collect();
    columns.extend(definition.partitioned_by.iter().map(|key| format!("PARTITIONED BY {key}")));
    Ok((columns, definition.options))
}

fn options(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all = [&[("connector", "filesystem")], more].concat();
    all.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[tokio::test]
async fn json_gets_the_narrowest_types() {
    let text = br#"{"id":1,"x":1,"b":true,"d":"2024-03-01","t":"2024-03-01T10:00:00.1234","s":"a","n":null,"a":[1,null],"r":{"x":1}}
{"id":2,"x":1.5,"b":null,"d":"2024-03-02","t":"2024-03-01T10:00:00","s":1,"a":[],"r":{"y":"z"},"z":"2024-03-01T10:00:00Z"}
"#;
    let (columns, found) = inferred("x.jsonl", text).await.expect("inferred");
    let expected = [
        "id BIGINT",
        "x DOUBLE",
        "b BOOLEAN",
        "d DATE",
        "t TIMESTAMP(6)",
        "s STRING",
        "n STRING",
        "a ARRAY<BIGINT>",
        "r ROW<`x` BIGINT, `y` STRING>",
        "z TIMESTAMP_LTZ(3)",
    ];
    assert_eq!(columns, expected);
    assert_eq!(found, options(&[("format", "json"), ("json.timestamp-format.standard", "ISO-8601")]));
    let (columns, _) =
        inferred("y.json", br#"{"a":"2024-03-01 10:00:00","b":"2024-03-01T10:00:00"}"#).await.expect("both");
    assert_eq!(columns, ["a TIMESTAMP(3)", "b STRING"], "one format has one standard");
}

#[tokio::test]
async fn csv_has_a_header_or_not() {
    let (columns, found) =
        inferred("x.csv", b"id;name;at;ok\n1;a;2024-03-01 10:00:00;true\n;b,c;;FALSE\n").await.expect("inferred");
    assert_eq!(columns, ["id BIGINT", "name STRING", "at TIMESTAMP(3)", "ok BOOLEAN"]);
    let expected =
        [("format", "csv"), ("csv.null-literal", ""), ("csv.field-delimiter", ";"), ("csv.ignore-first-line", "true")];
    assert_eq!(found, options(&expected));
    let (columns, found) = inferred("data/day=7/x.tsv", b"1\ta\n2.5\tb").await.expect("inferred");
    assert_eq!(columns, ["column0 DOUBLE", "column1 STRING", "day STRING", "PARTITIONED BY day"]);
    assert!(!found.contains_key("csv.ignore-first-line"));
}

#[tokio::test]
async fn parquet_and_avro_tell_their_columns_and_others_are_refused() {
    let schema = std::sync::Arc::new(Schema::new(vec![
        SqlType::BigInt.not_null().to_field("id"),
        SqlType::parse("ARRAY<DECIMAL(5, 2)>").expect("a type").to_field("a"),
    ]));
    let writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), std::sync::Arc::clone(&schema), None);
    let bytes = writer.and_then(::parquet::arrow::ArrowWriter::into_inner).expect("a file");
    let expected = ["id BIGINT NOT NULL", "a ARRAY<DECIMAL(5, 2)>"];
    assert_eq!(inferred("x.parquet", &bytes).await.expect("inferred").0, expected);
    let encoder = avro_file::AvroFileEncoder::new(avro_file::AvroCodec::None, schema, [1; 16]).expect("types");
    assert_eq!(inferred("x.avro", encoder.head()).await.expect("inferred").0, expected);
    for (name, bytes) in
        [("x.txt", &b"a"[..]), ("x.parquet", b"PAR1"), ("x.json", b"[1]"), ("x.json", b""), ("x.csv", b"")]
    {
        assert!(inferred(name, bytes).await.is_err(), "{name}");
    }
}
