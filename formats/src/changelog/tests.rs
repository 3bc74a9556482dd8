use std::sync::Arc;

use aquifer_model::SqlType;
use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::*;
use crate::json_lines::write_json_lines;

fn decoder(format: &str, options: &[(&str, &str)], types: &[(&str, &str)]) -> ChangeDecoder {
    let find = |key: &str| options.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let fields: Vec<_> = types.iter().map(|(name, t)| SqlType::parse(t).expect("a type").to_field(name)).collect();
    let format = MessageFormat::parse(format, find).expect("options");
    ChangeDecoder::new(format, Arc::new(Schema::new(fields))).expect("types")
}

fn lines(decoder: &mut ChangeDecoder) -> Vec<String> {
    let mut out = Vec::new();
    write_json_lines(&decoder.finish().expect("columns"), &mut out).expect("all types");
    String::from_utf8(out).expect("text").lines().map(String::from).collect()
}

/// The changes that messages give, `+I[1,"a"]`.
fn changes(format: &str, options: &[(&str, &str)], messages: &[&str]) -> Result<Vec<String>> {
    let mut decoder = decoder(format, options, &[("id", "INT"), ("name", "STRING")]);
    messages.iter().try_for_each(|message| decoder.push(message.as_bytes()))?;
    let lines = lines(&mut decoder);
    let short = |line: &String| {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        format!("{}[{},{}]", row["op"].as_str().expect("a kind"), row["id"], row["name"])
    };
    Ok(lines.iter().map(short).collect())
}

#[test]
fn each_envelope_tells_its_changes() {
    let a = r#"{"id":1,"name":"a"}"#;
    let b = r#"{"id":1,"name":"b"}"#;
    let update = ["+I[1,\"a\"]", "-U[1,\"a\"]", "+U[1,\"b\"]", "-D[1,\"b\"]"];
    let debezium = [
        format!(r#"{{"before":null,"after":{a},"op":"r","ts_ms":1}}"#),
        format!(r#"{{"op":"u","before":{a},"after":{b},"source":{{"op":"x"}}}}"#),
        format!(r#"{{"before":{b},"after":null,"op":"d"}}"#),
    ];
    let texts = debezium.each_ref().map(String::as_str);
    assert_eq!(changes("debezium-json", &[], &texts).expect("fine"), update);
    let wrapped = debezium.map(|message| format!(r#"{{"schema":{{}},"payload":{message}}}"#));
    let texts = wrapped.each_ref().map(String::as_str);
    assert_eq!(changes("debezium-json", &[("schema-include", "true")], &texts).expect("fine"), update);

    let ogg = [
        format!(r#"{{"op_type":"I","after":{a}}}"#),
        r#"{"op_type":"T"}"#.to_string(),
        format!(r#"{{"op_type":"U","before":{a},"after":{b}}}"#),
        format!(r#"{{"op_type":"D","before":{b}}}"#),
    ];
    assert_eq!(changes("ogg-json", &[], &ogg.each_ref().map(String::as_str)).expect("fine"), update);

    let maxwell = [
        format!(r#"{{"type":"insert","data":{a}}}"#),
        format!(r#"{{"type":"update","data":{b},"old":{{"name":"a"}}}}"#),
        format!(r#"{{"type":"delete","data":{b}}}"#),
    ];
    assert_eq!(changes("maxwell-json", &[], &maxwell.each_ref().map(String::as_str)).expect("fine"), update);

    let canal = [
        r#"{"type":"CREATE","data":null,"sql":"…"}"#.to_string(),
        format!(r#"{{"type":"INSERT","data":[{a}],"database":"d","table":"t"}}"#),
        format!(r#"{{"type":"UPDATE","data":[{b}],"old":[{{"name":"a"}}],"database":"d","table":"t"}}"#),
        format!(r#"{{"type":"DELETE","data":[{b}],"database":"d","table":"t"}}"#),
        format!(r#"{{"type":"DELETE","data":[{b}],"database":"d","table":"tt"}}"#),
    ];
    let texts = canal.each_ref().map(String::as_str);
    assert_eq!(changes("canal-json", &[("table.include", "[ts]")], &texts).expect("fine"), update);
}

#[test]
fn what_canal_and_maxwell_leave_out_of_old_is_as_after_and_null_is_a_value() {
    let message = r#"{"type":"UPDATE","data":[{"id":"1","name":"a"},{"id":"2","name":null},{"id":"3","name":"c"}],
        "old":[{"name":null},{"name":"b"},{"id":"9"}]}"#;
    let expected = ["-U[1,null]", "+U[1,\"a\"]", "-U[2,\"b\"]", "+U[2,null]", "-U[9,\"c\"]", "+U[3,\"c\"]"];
    assert_eq!(changes("canal-json", &[], &[message]).expect("fine"), expected);
    let message = r#"{"type":"update","data":{"id":1,"name":"a"},"old":{"name":null}}"#;
    assert_eq!(changes("maxwell-json", &[], &[message]).expect("fine"), expected[..2]);
}

#[test]
fn a_wrong_message_fails_or_is_left_out_whole() {
    let good = |format: &str| match format {
        "json" => r#"{"id":7,"name":"g"}"#,
        "canal-json" => r#"{"type":"INSERT","data":[{"id":7,"name":"g"}]}"#,
        "maxwell-json" => r#"{"type":"insert","data":{"id":7,"name":"g"}}"#,
        "ogg-json" => r#"{"op_type":"I","after":{"id":7,"name":"g"}}"#,
        _ => r#"{"op":"c","after":{"id":7,"name":"g"}}"#,
    };
    let cases = [
        ("json", "garbage"),
        ("json", "[]"),
        ("json", "\"str\""),
        ("json", r#"{"id":2,"#),
        ("json", r#"{"id":2} x"#),
        ("debezium-json", "garbage"),
        ("debezium-json", "{}"),
        ("debezium-json", r#"{"op":"zz","after":{"id":1}}"#),
        ("debezium-json", r#"{"op":"u","before":null,"after":{"id":1}}"#),
        ("debezium-json", r#"{"op":"d","before":null}"#),
        ("debezium-json", r#"{"op":"c","after":null}"#),
        ("debezium-json", r#"{"op":"u","before":{"id":1},"after":7}"#),
        ("canal-json", r#"{"type":"UPDATE","data":[{"id":1}]}"#),
        ("canal-json", r#"{"type":"UPDATE","data":[{"id":1},{"id":2}],"old":[{}]}"#),
        ("canal-json", r#"{"type":"INSERT","data":{"id":1}}"#),
        ("canal-json", r#"{"type":"insert","data":[]}"#),
        ("maxwell-json", r#"{"type":"update","data":{"id":1}}"#),
        ("ogg-json", r#"{"op_type":"X"}"#),
    ];
    for (format, bad) in cases {
        assert!(changes(format, &[], &[good(format), bad]).is_err(), "{format} {bad}");
        let kept = changes(format, &[("ignore-parse-errors", "true")], &[good(format), bad, good(format)]);
        assert_eq!(kept.expect("ignored"), ["+I[7,\"g\"]", "+I[7,\"g\"]"], "{format} {bad}");
    }
}

#[test]
fn a_wrong_field_fails_or_is_null() {
    let types = [("id", "INT"), ("d", "DATE"), ("a", "ARRAY<INT>"), ("r", "ROW<`x` INT, `y` ROW<`z` TINYINT>>")];
    let bad = r#"{"id":"x","d":"2024-13-01","a":[1,"b",2],"r":{"x":{},"y":{"z":300}}}"#;
    assert!(decoder("json", &[], &types).push(bad.as_bytes()).is_err());
    let mut ignoring = decoder("json", &[("ignore-parse-errors", "true")], &types);
    for message in [bad, "{}", r#"{"id":4,"d":"2024-01-01","a":{},"r":[{}]}"#, r#"{"id":5,"a":[1"#] {
        ignoring.push(message.as_bytes()).expect("ignored");
    }
    let expected = [
        r#"{"op":"+I","id":null,"d":null,"a":[1,null,2],"r":{"x":null,"y":{"z":null}}}"#,
        r#"{"op":"+I","id":null,"d":null,"a":null,"r":null}"#,
        r#"{"op":"+I","id":4,"d":"2024-01-01","a":null,"r":null}"#,
    ];
    assert_eq!(lines(&mut ignoring), expected);
}

#[test]
fn a_missing_field_is_null_or_fails_and_times_are_read_by_their_standard() {
    let types = [("id", "INT"), ("ts", "TIMESTAMP(3)"), ("lt", "TIMESTAMP_LTZ(3)")];
    let iso = r#"{"id":1,"ts":"2024-03-01T10:00:00.1239","lt":"2024-03-01T10:00:00.5Z"}"#;
    let sql = r#"{"id":1,"ts":"2024-03-01 10:00:00.1239","lt":"2024-03-01 10:00:00.5Z"}"#;
    let expected = [r#"{"op":"+I","id":1,"ts":"2024-03-01 10:00:00.123","lt":"2024-03-01 10:00:00.500Z"}"#];
    for (standard, right, wrong) in [("SQL", sql, iso), ("ISO-8601", iso, sql)] {
        let mut decoder = decoder("json", &[("timestamp-format.standard", standard)], &types);
        decoder.push(right.as_bytes()).expect("right");
        assert_eq!(lines(&mut decoder), expected);
        assert!(decoder.push(wrong.as_bytes()).is_err());
    }
    let mut numbers = decoder("json", &[], &types);
    assert!(numbers.push(br#"{"ts":1709287200123}"#).is_err(), "Flink takes no number for a time");
    let mut strict = decoder("json", &[("fail-on-missing-field", "true")], &types[..1]);
    strict.push(br#"{"id":null}"#).expect("there, and null");
    assert!(strict.push(br#"{"idd":1}"#).expect_err("missing").to_string().contains("field `id` is missing"));
}

#[test]
fn what_is_written_is_read_back_with_updates_as_deletes_and_inserts() {
    let types = [("id", "INT"), ("name", "STRING"), ("ts", "TIMESTAMP(3)"), ("r", "ROW<`x` INT, `y` INT>")];
    let row = |op: &str, id: u8| {
        format!(r#"{{"op":"{op}","id":{id},"name":null,"ts":"2024-03-01 10:00:00.500","r":{{"x":null,"y":2}}}}"#)
    };
    let mut source = decoder("debezium-json", &[], &types);
    let image = r#"{"id":1,"ts":"2024-03-01 10:00:00.5","r":{"y":2}}"#;
    let after = image.replace("1,", "2,");
    for message in [
        format!(r#"{{"op":"c","after":{image}}}"#),
        format!(r#"{{"op":"u","before":{image},"after":{after}}}"#),
        format!(r#"{{"op":"d","before":{after}}}"#),
    ] {
        source.push(message.as_bytes()).expect("a change");
    }
    let changes = source.finish().expect("rows");
    for name in MessageFormat::NAMES {
        let options = [("timestamp-format.standard", "ISO-8601"), ("encode.ignore-null-fields", "true")];
        let format = MessageFormat::parse(name, |key| {
            options.iter().find(|(option, _)| *option == key).map(|(_, value)| *value)
        })
        .expect("options");
        let mut text = Vec::new();
        let written = ChangeEncoder::new(format, changes.schema()).expect("types").write(&changes, &mut text);
        if name == "json" {
            assert!(written.is_err() && text.is_empty(), "json has no word for a delete");
            continue;
        }
        written.expect("written");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("\"2024-03-01T10:00:00.5\"") && !text.contains("name"), "{text}");
        let mut again = decoder(name, &options[..1], &types);
        text.lines().for_each(|line| again.push(line.as_bytes()).expect("a change"));
        assert_eq!(lines(&mut again), [row("+I", 1), row("-D", 1), row("+I", 2), row("-D", 2)], "{name}");
    }
}

#[test]
fn options_are_checked() {
    let parse = |format: &str, key: &'static str, value: &'static str| {
        MessageFormat::parse(format, |name| (name == key).then_some(value)).map_err(|error| error.to_string())
    };
    assert!(
        parse("json", "ignore-parse-errors", "yes")
            .expect_err("no flag")
            .contains("'json.ignore-parse-errors' = 'yes'")
    );
    assert!(parse("json", "timestamp-format.standard", "ISO").expect_err("no standard").contains("SQL or ISO-8601"));
    assert!(parse("canal-json", "database.include", "(").expect_err("no pattern").contains("regular expression"));
    assert!(parse("json", "map-null-key.mode", "x").is_err());
    assert!(
        MessageFormat::parse("json", |name| {
            ["ignore-parse-errors", "fail-on-missing-field"].contains(&name).then_some("true")
        })
        .is_err()
    );
    for name in MessageFormat::NAMES {
        assert!(MessageFormat::known_options(name).len() >= 6, "{name}");
        assert_eq!(parse(name, "", "").expect("no options").is_insert_only(), name == "json");
    }
}

proptest! {
    #[test]
    fn hostile_messages_harm_no_neighbour(
        format in prop::sample::select(MessageFormat::NAMES.to_vec()),
        bad in prop_oneof![
            "[-{}\\[\\]\",:a-z0-9 ]{0,60}",
            "\\{\"(op|type|op_type)\":\"(c|u|d|insert|update|INSERT|UPDATE|U)\",\"(after|data)\":[\\[]?\\{\"id\":[1x]\\}[\\]]?,\"(before|old)\":[\\[]?\\{[\"id:1]{0,6}\\}[\\]]?\\}",
        ],
    ) {
        let types = [("id", "INT"), ("a", "ARRAY<ROW<`x` INT, `m` MAP<STRING, INT>>>")];
        let mut decoder = decoder(format, &[("ignore-parse-errors", "true")], &types);
        let good = r#"{"id":7,"a":[{"x":1,"m":{"k":2}}]}"#;
        let good = match format {
            "json" => good.to_string(),
            "canal-json" => format!(r#"{{"type":"INSERT","data":[{good}]}}"#),
            "maxwell-json" => format!(r#"{{"type":"insert","data":{good}}}"#),
            "ogg-json" => format!(r#"{{"op_type":"I","after":{good}}}"#),
            _ => format!(r#"{{"op":"c","after":{good}}}"#),
        };
        decoder.push(good.as_bytes()).expect("good");
        decoder.push(bad.as_bytes()).expect("ignored");
        decoder.push(good.as_bytes()).expect("good");
        let lines = lines(&mut decoder);
        let expected = r#"{"op":"+I","id":7,"a":[{"x":1,"m":{"k":2}}]}"#;
        prop_assert_eq!(&lines[0], expected);
        prop_assert_eq!(lines.last().expect("two"), expected);
    }
}
