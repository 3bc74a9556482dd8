//! The options of `csv`, with Flink's names; `ignore-first-line` is that of its older format.

use aquifer_model::{Error, Result};
use arrow::datatypes::Schema;

/// Checked options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFormat {
    /// Stands between fields.
    pub field_delimiter: u8,
    /// Stands around fields; `None`: there are no quotes.
    pub quote_character: Option<u8>,
    /// Lines that begin with `#` are left out.
    pub allow_comments: bool,
    /// A wrong field is NULL, a record that cannot be split is left out.
    pub ignore_parse_errors: bool,
    /// Stands between the items of an array and the fields of a ROW.
    pub array_element_delimiter: String,
    /// Takes the meaning of the character after it.
    pub escape_character: Option<u8>,
    /// The text that is NULL.
    pub null_literal: Option<String>,
    /// The first record is a header, and no row.
    pub ignore_first_line: bool,
}

impl Default for CsvFormat {
    fn default() -> Self {
        Self {
            field_delimiter: b',',
            quote_character: Some(b'"'),
            allow_comments: false,
            ignore_parse_errors: false,
            array_element_delimiter: ";".to_string(),
            escape_character: None,
            null_literal: None,
            ignore_first_line: false,
        }
    }
}

impl CsvFormat {
    /// The options there are, without `csv.` before them.
    pub const OPTIONS: [&'static str; 10] = [
        "field-delimiter",
        "quote-character",
        "disable-quote-character",
        "allow-comments",
        "ignore-parse-errors",
        "array-element-delimiter",
        "escape-character",
        "null-literal",
        "write-bigdecimal-in-scientific-notation",
        "ignore-first-line",
    ];

    /// The options of a table over a topic: they stand in the metadata of its columns' schema, `csv.` before their names.
    pub fn of_schema(schema: &Schema) -> Result<Self> {
        Self::parse(|key| schema.metadata().get(&format!("csv.{key}")).map(String::as_str))
    }

    /// Checks options; `option` gives one by its name in [`CsvFormat::OPTIONS`].
    pub fn parse<'a>(option: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let wrong =
            |key: &str, value: &str, write: &str| Error::invalid(format!("'csv.{key}' = '{value}': write {write}"));
        let flag = |key: &str| match option(key) {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(wrong(key, other, "true or false")),
        };
        let character = |key: &str| match option(key).map(|text| (text, text.as_bytes())) {
            None => Ok(None),
            Some(("\\t", _)) => Ok(Some(b'\t')),
            Some((_, [byte])) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(Some(*byte)),
            Some((other, _)) => Err(wrong(key, other, "one ASCII character, or \\t")),
        };
        let default = Self::default();
        let quote_character = match (flag("disable-quote-character")?, character("quote-character")?) {
            (true, Some(_)) => {
                return Err(Error::invalid(
                    "'csv.quote-character' means nothing with 'csv.disable-quote-character' = 'true': choose one",
                ));
            }
            (true, None) => None,
            (false, quote) => quote.or(default.quote_character),
        };
        // Decimals are always written in digits.
        if flag("write-bigdecimal-in-scientific-notation")? {
            return Err(Error::unsupported(
                "'csv.write-bigdecimal-in-scientific-notation' = 'true': decimals are written in digits",
            ));
        }
        let array_element_delimiter = option("array-element-delimiter").unwrap_or(&default.array_element_delimiter);
        if array_element_delimiter.is_empty() {
            return Err(wrong("array-element-delimiter", "", "one character or more"));
        }
        let format = Self {
            field_delimiter: character("field-delimiter")?.unwrap_or(default.field_delimiter),
            quote_character,
            allow_comments: flag("allow-comments")?,
            ignore_parse_errors: flag("ignore-parse-errors")?,
            array_element_delimiter: array_element_delimiter.to_string(),
            escape_character: character("escape-character")?,
            null_literal: option("null-literal").map(String::from),
            ignore_first_line: flag("ignore-first-line")?,
        };
        if format.quote_character == Some(format.field_delimiter)
            || format.escape_character == Some(format.field_delimiter)
        {
            return Err(Error::invalid("'csv.field-delimiter' must differ from the quote and the escape character"));
        }
        Ok(format)
    }
}
