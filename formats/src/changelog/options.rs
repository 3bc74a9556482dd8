//! The options of the message formats, with Flink's names.

use std::fmt;

use aquifer_model::{Error, Result};
use arrow::datatypes::Schema;
use regex::Regex;

use super::{JsonRules, TimestampText};

/// How a message tells changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeFormat {
    /// `json`: it is a new row.
    Rows,
    /// `debezium-json`.
    Debezium {
        /// Whether the change stands in `payload`, beside its schema.
        schema_include: bool,
    },
    /// `canal-json`.
    Canal {
        /// The databases that count; without it all.
        database: Option<Include>,
        /// The tables that count; without it all.
        table: Option<Include>,
    },
    /// `maxwell-json`.
    Maxwell,
    /// `ogg-json`: Oracle GoldenGate.
    Ogg,
}

/// What is written for the key NULL of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NullKeys {
    /// Nothing: it is an error.
    Fail,
    /// Nothing: the entry is left out.
    Drop,
    /// This text.
    Literal(String),
}

/// A checked format with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageFormat {
    /// How a message tells changes.
    pub changes: ChangeFormat,
    /// How fields are read.
    pub rules: JsonRules,
    /// How maps are written.
    pub null_keys: NullKeys,
    /// Whether fields that are NULL are left out when a row is written.
    pub ignore_null_fields: bool,
    /// Whether decimals are written without an exponent.
    pub plain_decimals: bool,
}

/// A regular expression over a whole name.
#[derive(Clone)]
pub struct Include(Regex);

impl Include {
    /// Fails with `Invalid` on what is no regular expression.
    pub fn new(pattern: &str) -> Result<Self> {
        let whole = Regex::new(&format!("^(?:{pattern})$"));
        whole
            .map(Self)
            .map_err(|error| Error::invalid(format!("`{pattern}` is no regular expression")).with_source(error))
    }

    /// Whether it fits the name.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl PartialEq for Include {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Include {}

impl fmt::Debug for Include {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

const WRITING: [&str; 4] =
    ["map-null-key.mode", "map-null-key.literal", "encode.decimal-as-plain-number", "encode.ignore-null-fields"];

impl MessageFormat {
    /// The formats' names.
    pub const NAMES: [&'static str; 5] = ["json", "debezium-json", "canal-json", "maxwell-json", "ogg-json"];

    /// The options that a format knows, without its name before them; none for an unknown format.
    pub fn known_options(name: &str) -> Vec<&'static str> {
        let reading = ["ignore-parse-errors", "timestamp-format.standard"];
        let more: &[&str] = match name {
            "json" => &["fail-on-missing-field", "decode.json-parser.enabled"],
            "debezium-json" => &["schema-include"],
            "canal-json" => &["database.include", "table.include"],
            "maxwell-json" | "ogg-json" => &[],
            _ => return Vec::new(),
        };
        [&reading[..], &WRITING, more].concat()
    }

    /// `json` of a table over a topic: its options stand in the metadata of its columns' schema, `json.` before their names.
    pub fn json_of_schema(schema: &Schema) -> Result<Self> {
        Self::parse("json", |key| schema.metadata().get(&format!("json.{key}")).map(String::as_str))
    }

    /// The format with this name; `option` gives an option by its name in [`MessageFormat::known_options`].
    pub fn parse<'a>(name: &str, option: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let wrong =
            |key: &str, value: &str, write: &str| Error::invalid(format!("'{name}.{key}' = '{value}': write {write}"));
        let flag = |key: &str, default: bool| match option(key) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(wrong(key, other, "true or false")),
        };
        let include = |key: &str| {
            let include = option(key).map(Include::new).transpose();
            include.map_err(|error| error.context(format!("the option '{name}.{key}'")))
        };
        let changes = match name {
            "json" => ChangeFormat::Rows,
            "debezium-json" => ChangeFormat::Debezium { schema_include: flag("schema-include", false)? },
            "canal-json" => {
                ChangeFormat::Canal { database: include("database.include")?, table: include("table.include")? }
            }
            "maxwell-json" => ChangeFormat::Maxwell,
            "ogg-json" => ChangeFormat::Ogg,
            other => return Err(Error::invalid(format!("unknown format `{other}`"))),
        };
        let is_rows = changes == ChangeFormat::Rows;
        if is_rows {
            // Both of Flink's readers give the same rows; there is one here.
            flag("decode.json-parser.enabled", true)?;
        }
        let timestamps = match option("timestamp-format.standard") {
            None | Some("SQL") => TimestampText::Sql,
            Some("ISO-8601") => TimestampText::Iso8601,
            Some(other) => return Err(wrong("timestamp-format.standard", other, "SQL or ISO-8601")),
        };
        let rules = JsonRules {
            timestamps,
            ignore_errors: flag("ignore-parse-errors", false)?,
            fail_on_missing: is_rows && flag("fail-on-missing-field", false)?,
            numbers_are_times: false,
        };
        if rules.ignore_errors && rules.fail_on_missing {
            return Err(Error::invalid(
                "'json.fail-on-missing-field' and 'json.ignore-parse-errors' cannot both be true: choose one",
            ));
        }
        let null_keys = match option("map-null-key.mode") {
            None => NullKeys::Fail,
            Some(mode) => match mode.to_ascii_uppercase().as_str() {
                "FAIL" => NullKeys::Fail,
                "DROP" => NullKeys::Drop,
                "LITERAL" => NullKeys::Literal(option("map-null-key.literal").unwrap_or("null").to_string()),
                _ => return Err(wrong("map-null-key.mode", mode, "FAIL, DROP or LITERAL")),
            },
        };
        Ok(Self {
            changes,
            rules,
            null_keys,
            ignore_null_fields: flag("encode.ignore-null-fields", false)?,
            plain_decimals: flag("encode.decimal-as-plain-number", false)?,
        })
    }

    /// Whether every row is new.
    pub fn is_insert_only(&self) -> bool {
        self.changes == ChangeFormat::Rows
    }
}
