//! What an Avro definition may be, looked at as JSON before any library reads it.
//!
//! ```text
//!  A {x: int}   B {a: A, b: A}   C {a: B, b: B} …     a line more is twice the type: what names stand for is written out in columns and decoders
//! ```
//!
//! * It has so many bytes, and with every name written out so many types, one in the other only so deep.
//! * A name is defined once, or always in the same words. Else a default may be taken for a value of a type that contains itself, without an end.
//! * A default is checked by the library with the defaults of all fields in it: what that costs has a bound.

use std::collections::HashMap;

use aquifer_model::{Error, Result};
use serde_json::{Map, Value};

use super::avro_schema::MAX_DEPTH;

/// How long a definition may be.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// How many types it may have: 10,000 columns that may be NULL.
const MAX_TYPES: usize = 30_000;
/// A field's name of more bytes than this counts as several types.
const NAME_BYTES: usize = 64;
/// How many types a union may have. No decoder has more than 128.
const MAX_BRANCHES: usize = 256;
/// The longest fixed type: a NULL takes as much room.
const MAX_FIXED: u64 = 16 * 1024;
/// How many values a default and the defaults of the fields in it may have.
const MAX_DEFAULTS: usize = 1_000_000;

/// Reads a definition's JSON. Fails with `Invalid` on what is no JSON, `Unsupported` on what is above the bounds.
pub(super) fn bounded(definition: &[u8]) -> Result<Value> {
    if definition.len() > MAX_BYTES {
        return Err(Error::unsupported(format!(
            "an Avro schema of {} bytes, above the limit of {MAX_BYTES}: make its documentation shorter",
            definition.len()
        )));
    }
    // The library ends at 128 brackets, one in the other.
    let value: Value = serde_json::from_slice(definition)
        .map_err(|error| Error::invalid("an Avro schema is no JSON").with_source(error))?;
    Bounds::default().size(&value, "")?;
    Ok(value)
}

/// A type with every name in it written out.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    types: usize,
    depth: usize,
}

impl Size {
    const ONE: Self = Self { types: 1, depth: 1 };

    /// A type that contains this one.
    fn around(self) -> Result<Self> {
        Self { types: self.types.saturating_add(1), depth: self.depth + 1 }.checked()
    }

    /// With a type beside it.
    fn and(self, other: Self) -> Result<Self> {
        Self { types: self.types.saturating_add(other.types), depth: self.depth.max(other.depth) }.checked()
    }

    fn checked(self) -> Result<Self> {
        if self.types > MAX_TYPES {
            return Err(Error::unsupported(format!(
                "an Avro schema of more than {MAX_TYPES} types, those that a name stands for counted each time: name fewer"
            )));
        }
        // The innermost type counts here.
        if self.depth > MAX_DEPTH + 1 {
            return Err(Error::invalid(format!("an Avro schema is nested deeper than {MAX_DEPTH}")));
        }
        Ok(self)
    }
}

#[derive(Default)]
struct Bounds<'a> {
    /// By full name, aliases too: how it is written, and its size; `None` while it is read.
    named: HashMap<String, (&'a Map<String, Value>, Option<Size>)>,
}

impl<'a> Bounds<'a> {
    fn size(&mut self, schema: &'a Value, namespace: &str) -> Result<Size> {
        match schema {
            Value::String(name) => Ok(self.of_name(name, namespace)),
            Value::Array(branches) => {
                if branches.len() > MAX_BRANCHES {
                    return Err(Error::unsupported(format!("an Avro union of more than {MAX_BRANCHES} types")));
                }
                let mut size = Size::default();
                for branch in branches {
                    size = size.and(self.size(branch, namespace)?)?;
                }
                size.around()
            }
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => match kind.as_str() {
                    "record" | "enum" | "fixed" => self.of_definition(kind, object, namespace),
                    "array" => self.within(object.get("items"), namespace),
                    "map" => self.within(object.get("values"), namespace),
                    name => Ok(self.of_name(name, namespace)),
                },
                Some(inner) => self.size(inner, namespace)?.around(),
                None => Ok(Size::ONE),
            },
            // Not a schema, as the library will say.
            _ => Ok(Size::ONE),
        }
    }

    fn within(&mut self, inner: Option<&'a Value>, namespace: &str) -> Result<Size> {
        match inner {
            Some(inner) => self.size(inner, namespace)?.around(),
            None => Ok(Size::ONE),
        }
    }

    /// Of a type that is named. One that is around, or is not known, counts as one: it is refused elsewhere.
    fn of_name(&self, name: &str, namespace: &str) -> Size {
        self.named.get(&full_name(name, namespace)).and_then(|(_, size)| *size).unwrap_or(Size::ONE)
    }

    fn of_definition(&mut self, kind: &str, object: &'a Map<String, Value>, namespace: &str) -> Result<Size> {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let Some(name) = text("name") else { return Ok(Size::ONE) };
        let name = full_name(name, text("namespace").unwrap_or(namespace));
        let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_string();
        let aliases = object.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let mut names: Vec<String> =
            aliases.filter_map(Value::as_str).map(|alias| full_name(alias, &namespace)).collect();
        names.push(name);
        for name in &names {
            if self.named.get(name).is_some_and(|(written, _)| *written != object) {
                return Err(Error::unsupported(format!("an Avro schema defines the name `{name}` in two ways")));
            }
            self.named.insert(name.clone(), (object, None));
        }
        if object.get("size").and_then(Value::as_u64).is_some_and(|size| kind == "fixed" && size > MAX_FIXED) {
            return Err(Error::unsupported(format!("an Avro fixed type of more than {MAX_FIXED} bytes: use bytes")));
        }
        let size = match kind {
            "record" => self.of_fields(object, &namespace)?,
            _ => Size::ONE,
        };
        for name in names {
            self.named.insert(name, (object, Some(size)));
        }
        Ok(size)
    }

    fn of_fields(&mut self, record: &'a Map<String, Value>, namespace: &str) -> Result<Size> {
        let mut size = Size::default();
        for field in record.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let of_field = match field.get("type") {
                Some(schema) => self.size(schema, namespace)?,
                None => continue,
            };
            if let Some(default) = field.get("default")
                && count(default).saturating_mul(of_field.types) > MAX_DEFAULTS
            {
                return Err(Error::unsupported(format!(
                    "a default in an Avro schema has more than {MAX_DEFAULTS} values, with the defaults of what is in it"
                )));
            }
            let name = field.get("name").and_then(Value::as_str).map_or(0, str::len);
            let of_name = Size { types: name / NAME_BYTES, depth: 0 };
            size = size.and(of_field)?.and(of_name)?;
        }
        size.around()
    }
}

/// As the library makes it: what has a dot is whole.
fn full_name(name: &str, namespace: &str) -> String {
    match name.rfind('.') {
        Some(0) => name[1..].to_string(),
        Some(_) => name.to_string(),
        None if namespace.is_empty() => name.to_string(),
        None => format!("{namespace}.{name}"),
    }
}

/// How many values stand in a value, itself counted. JSON is not deeper than 128.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::avro_schema::{columns, parse};
    use super::*;

    fn record(name: &str, fields: &[String]) -> String {
        format!(r#"{{"type":"record","name":"{name}","fields":[{}]}}"#, fields.join(","))
    }

    fn field(name: &str, schema: &str) -> String {
        format!(r#"{{"name":"{name}","type":{schema}}}"#)
    }

    /// A record whose field `n` is a record with two of the record before it.
    fn doubling(lines: usize) -> String {
        let line = |n: usize| match n {
            0 => field("f0", &record("R0", &[field("x", r#""int""#)])),
            n => {
                let before = format!(r#""R{}""#, n - 1);
                field(&format!("f{n}"), &record(&format!("R{n}"), &[field("a", &before), field("b", &before)]))
            }
        };
        record("Top", &(0..lines).map(line).collect::<Vec<_>>())
    }

    /// One record in the other, by name: the text is flat, the type is not.
    fn chain(lines: usize) -> String {
        let line = |n: usize| {
            let inner = if n == 0 { r#""int""#.to_string() } else { format!(r#""R{}""#, n - 1) };
            field(&format!("f{n}"), &record(&format!("R{n}"), &[field("a", &inner)]))
        };
        record("Top", &(0..lines).map(line).collect::<Vec<_>>())
    }

    #[test]
    fn types_that_names_stand_for_are_counted_each_time_and_as_deep_as_they_go() {
        assert!(columns(doubling(8).as_bytes()).is_ok());
        assert!(columns(chain(40).as_bytes()).is_ok());
        for definition in [doubling(40), chain(5000)] {
            let error = columns(definition.as_bytes()).expect_err("too much").to_string();
            assert!(error.contains("30000 types") || error.contains("deeper than 64"), "{error}");
        }
        let nested =
            |depth: usize| format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(depth), "}".repeat(depth));
        assert!(columns(nested(60).as_bytes()).is_ok());
        assert!(columns(nested(70).as_bytes()).is_err());
        assert!(columns(nested(100_000).as_bytes()).is_err());
        let wide: Vec<String> = (0..9000).map(|n| field(&format!("c{n}"), r#"["null","long"]"#)).collect();
        assert_eq!(columns(record("Wide", &wide).as_bytes()).expect("a wide table").fields().len(), 9000);
    }

    #[test]
    fn a_name_is_defined_in_one_way() {
        let item = record("Item", &[field("x", r#""int""#)]);
        let other = record("Item", &[field("y", r#""int""#)]);
        let with = |second: &str| record("Top", &[field("a", &item), field("b", second)]);
        assert!(parse(with(&item).as_bytes()).is_ok(), "some clients write a type as often as it is used");
        assert!(parse(with(&other).as_bytes()).is_err());
        let in_another = r#"{"type":"record","name":"Item","namespace":"n","fields":[]}"#;
        assert!(parse(with(in_another).as_bytes()).is_ok());
        // A default that would be one without an end.
        let defaulted = |name: &str, schema: &str| format!(r#"{{"name":"{name}","type":{schema},"default":{{}}}}"#);
        let first = record("A", &[r#"{"name":"x","type":"int","default":0}"#.to_string()]);
        let endless = record("A", &[defaulted("self", r#""A""#)]);
        let top = record("Top", &[field("a", &first), field("b", &endless), defaulted("c", r#""A""#)]);
        assert!(parse(top.as_bytes()).expect_err("two ways").to_string().contains("`A` in two ways"));
        let alias = endless.replace(r#""name":"A""#, r#""name":"B","aliases":["A"]"#);
        let top = record("Top", &[field("a", &first), field("b", &alias), defaulted("c", r#""A""#)]);
        assert!(parse(top.as_bytes()).is_err());
    }

    #[test]
    fn large_defaults_unions_and_fixed_types_are_refused() {
        let default = |schema: &str, default: &str| {
            record("Top", &[format!(r#"{{"name":"a","type":{schema},"default":{default}}}"#)])
        };
        assert!(parse(default(r#"{"type":"array","items":"int"}"#, "[1,2]").as_bytes()).is_ok());
        let inner: Vec<String> = (0..1000).map(|n| format!(r#"{{"name":"c{n}","type":"int","default":0}}"#)).collect();
        let many = format!("[{}]", vec!["{}"; 2000].join(","));
        let items = format!(r#"{{"type":"array","items":{}}}"#, record("Inner", &inner));
        assert!(parse(default(&items, &many).as_bytes()).is_err());
        assert!(parse(default(&items, "[{}]").as_bytes()).is_ok());
        let fixed = |size: u64| format!(r#"{{"type":"fixed","name":"F","size":{size}}}"#);
        assert!(parse(fixed(64).as_bytes()).is_ok());
        assert!(parse(fixed(1 << 31).as_bytes()).is_err());
        let branches: Vec<String> = (0..300).map(|n| record(&format!("R{n}"), &[])).collect();
        assert!(parse(format!("[{}]", branches.join(",")).as_bytes()).is_err());
        assert!(parse(format!("\"{}\"", "x".repeat(MAX_BYTES)).as_bytes()).is_err());
    }
}
