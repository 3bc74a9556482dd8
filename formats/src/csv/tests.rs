use aquifer_model::SqlType;
use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::*;
use crate::json_lines::write_json_lines;

fn columns(types: &[(&str, &str)]) -> SchemaRef {
    let field = |(name, text): &(&str, &str)| SqlType::parse(text).expect("a type").to_field(name);
    Arc::new(Schema::new(types.iter().map(field).collect::<Vec<_>>()))
}

fn format(options: &[(&str, &str)]) -> Result<CsvFormat> {
    CsvFormat::parse(|key| options.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
}

fn take_all(decoder: &mut CsvDecoder, text: &[u8]) -> Result<ChangeBatch> {
    let mut at = decoder.take_head(text, true)?.expect("a head");
    while at < text.len() {
        at += decoder.take(&text[at..], true)?.expect("nothing more comes");
    }
    decoder.finish()
}

fn rows(options: &[(&str, &str)], types: &[(&str, &str)], text: &str) -> Result<Vec<String>> {
    let columns = columns(types);
    let mut decoder = CsvDecoder::new(format(options)?, &columns, Arc::clone(&columns))?;
    let changes = take_all(&mut decoder, text.as_bytes())?;
    let mut out = Vec::new();
    write_json_lines(&changes, &mut out).expect("all types");
    let text = String::from_utf8(out).expect("text");
    Ok(text.lines().map(|line| line.replace("\"op\":\"+I\",", "")).collect())
}

const ABC: [(&str, &str); 3] = [("a", "STRING"), ("b", "INT"), ("c", "STRING")];

#[test]
fn records_are_split_as_the_options_say() {
    let cases: &[(&[(&str, &str)], &str, &str)] = &[
        (&[], "x,1,y\n", r#"{"a":"x","b":1,"c":"y"}"#),
        (&[], "\n\r\nx, 1 ,y", r#"{"a":"x","b":1,"c":"y"}"#),
        (&[], "\"x,\"\"q\"\"\n2\",1,\r\n", r#"{"a":"x,\"q\"\n2","b":1,"c":""}"#),
        (&[], "5\" pipe,1,\"y\" \n", r#"{"a":"5\" pipe","b":1,"c":"y"}"#),
        (&[], "\u{feff}x,1,y\n", r#"{"a":"x","b":1,"c":"y"}"#),
        (&[("field-delimiter", "\\t")], "x,\t1\t\n", r#"{"a":"x,","b":1,"c":""}"#),
        (&[("quote-character", "'")], "'x,y',1,\"\n", r#"{"a":"x,y","b":1,"c":"\""}"#),
        (&[("disable-quote-character", "true")], "\"x\",1,y\n", r#"{"a":"\"x\"","b":1,"c":"y"}"#),
        (&[("allow-comments", "true")], "# x,1\nx,1,y\n", r##"{"a":"x","b":1,"c":"y"}"##),
        (&[("escape-character", "\\")], "x\\,\\\"y,1,\"\\\"\"\n", r#"{"a":"x,\"y","b":1,"c":"\""}"#),
        (&[("null-literal", "NA")], "NA,NA,\"NA\"\n", r#"{"a":null,"b":null,"c":null}"#),
        (&[("null-literal", "")], ",,y\n", r#"{"a":null,"b":null,"c":"y"}"#),
        (&[("ignore-first-line", "true")], "a,\"b\nb\",c\nx,1,y\n", r#"{"a":"x","b":1,"c":"y"}"#),
    ];
    for (options, text, expected) in cases {
        assert_eq!(rows(options, &ABC, text).expect(text), [expected.to_string()], "{options:?} {text}");
    }
}

#[test]
fn each_type_is_read_from_its_text() {
    let types = [
        ("b", "BOOLEAN"),
        ("d", "DECIMAL(4, 2)"),
        ("f", "DOUBLE"),
        ("day", "DATE"),
        ("t", "TIME(3)"),
        ("ts", "TIMESTAMP(3)"),
        ("lt", "TIMESTAMP_LTZ(3)"),
        ("y", "BYTES"),
        ("l", "ARRAY<INT>"),
        ("r", "ROW<`x` INT, `z` STRING>"),
    ];
    let text = "true,1.005,1e3,2024-02-29,10:00:00.5,2024-03-01 10:00:00.123,2024-03-01 10:00:00Z,AQI=,1; 2,7;x\n";
    let expected = concat!(
        r#"{"b":true,"d":"1.01","f":1000.0,"day":"2024-02-29","t":"10:00:00.500","ts":"2024-03-01 10:00:00.123","#,
        r#""lt":"2024-03-01 10:00:00.000Z","y":"0102","l":[1,2],"r":{"x":7,"z":"x"}}"#
    );
    assert_eq!(rows(&[], &types, text).expect("fine"), [expected]);
    assert!(rows(&[], &[("m", "MAP<STRING, INT>")], "").expect_err("no maps").to_string().contains("`m`"));
}

#[test]
fn what_is_wrong_fails_or_is_left_out() {
    let good = "g,7,h\n";
    let cases = [
        ("x,y,z\n", Some(r#"{"a":"x","b":null,"c":"z"}"#)),
        ("x\n", Some(r#"{"a":"x","b":null,"c":null}"#)),
        ("x,1,y,z\n", None),
        ("\"x\"y,1,z\n", None),
        ("x,,y\n", Some(r#"{"a":"x","b":null,"c":"y"}"#)),
    ];
    let seven = r#"{"a":"g","b":7,"c":"h"}"#;
    for (bad, kept) in cases {
        let text = [good, bad, good].concat();
        assert!(rows(&[], &ABC, &text).is_err(), "{bad}");
        let expected: Vec<&str> = [Some(seven), kept, Some(seven)].into_iter().flatten().collect();
        assert_eq!(rows(&[("ignore-parse-errors", "true")], &ABC, &text).expect("ignored"), expected, "{bad}");
    }
    for wrong in
        [("field-delimiter", "ab"), ("quote-character", ","), ("allow-comments", "1"), ("array-element-delimiter", "")]
    {
        assert!(format(&[wrong]).is_err(), "{wrong:?}");
    }
}

#[test]
fn only_the_columns_asked_for_are_read() {
    let (all, some) = (columns(&ABC), columns(&[("c", "STRING"), ("a", "STRING")]));
    let mut decoder = CsvDecoder::new(CsvFormat::default(), &all, some).expect("types");
    let changes = take_all(&mut decoder, b"x,no number,y\n").expect("b is not read");
    let names: Vec<_> = changes.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!((names, changes.num_rows()), (vec!["c".to_string(), "a".to_string()], 1));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(texts in prop::collection::vec(("[a-z,;\"' \\\\\n\r\té#]{0,30}", any::<Option<i32>>(), "[a-z\"\\\\,]{0,4}"), 1..6), escape in any::<bool>()) {
        let all = columns(&ABC);
        let format = CsvFormat {
            null_literal: Some("NULL".into()),
            escape_character: escape.then_some(b'\\'),
            ..CsvFormat::default()
        };
        let lines: Vec<String> = texts.iter().map(|(a, b, c)| serde_json::json!({"a": a, "b": b, "c": c}).to_string()).collect();
        let message = crate::changelog::MessageFormat::parse("json", |_| None).expect("options");
        let mut json = crate::changelog::ChangeDecoder::new(message, Arc::clone(&all)).expect("types");
        lines.iter().for_each(|line| json.push(line.as_bytes()).expect("a row"));
        let expected = json.finish().expect("rows");
        let mut csv = Vec::new();
        CsvEncoder::new(format.clone(), Arc::clone(&all)).expect("types").write(expected.rows(), &mut csv).expect("written");
        let mut decoder = CsvDecoder::new(format, &all, Arc::clone(&all)).expect("types");
        let read = take_all(&mut decoder, &csv).expect("read");
        prop_assert_eq!(read.rows(), expected.rows(), "{}", String::from_utf8_lossy(&csv));
    }

    #[test]
    fn any_bytes_end_and_pieces_are_as_good_as_the_whole(bytes in prop::collection::vec(prop::sample::select(b"ab1,\"\\\n\r#".to_vec()), 0..60), cut in any::<prop::sample::Index>()) {
        let all = columns(&ABC);
        let format = CsvFormat { ignore_parse_errors: true, escape_character: Some(b'\\'), allow_comments: true, ..CsvFormat::default() };
        let mut whole = CsvDecoder::new(format.clone(), &all, Arc::clone(&all)).expect("types");
        let expected = take_all(&mut whole, &bytes).expect("ignored");
        // What could be taken from the first piece is what is taken from all of it, unless a quote spans the cut.
        let mut pieces = CsvDecoder::new(format, &all, Arc::clone(&all)).expect("types");
        let (cut, mut at) = (if bytes.is_empty() { 0 } else { cut.index(bytes.len()) }, 0);
        while let Some(length) = pieces.take(&bytes[at..cut], false).expect("ignored") {
            at += length;
        }
        while at < bytes.len() {
            at += pieces.take(&bytes[at..], true).expect("ignored").expect("nothing more comes");
        }
        let got = pieces.finish().expect("rows");
        prop_assert_eq!(got.rows(), expected.rows());
    }
}
