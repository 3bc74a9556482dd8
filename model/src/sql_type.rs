//! Flink's SQL types: their text, and the Arrow type that carries each.
//!
//! What Arrow cannot say (precision of a time, length of a text, time attributes) travels in the field metadata
//! [`TYPE_KEY`], whose value is the type's own text, for example `TIMESTAMP(3) *ROWTIME*`. Files keep this mapping, so it
//! is fixed: TIMESTAMP(p) is milliseconds for p ≤ 3, microseconds for p ≤ 6, nanoseconds for p ≤ 9, LTZ the same with
//! zone `UTC`; TIME(p) is Time32(ms) for p ≤ 3, else Time64; texts and binaries are views.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};

use crate::error::{Error, Result};

/// The field metadata key that holds a type's text.
pub const TYPE_KEY: &str = "aquifer.type";
/// The length of STRING and BYTES: unlimited.
pub const MAX_LENGTH: u32 = 2_147_483_647;
/// The zone of every TIMESTAMP_LTZ column.
pub const LTZ_ZONE: &str = "UTC";
const MAX_DEPTH: usize = 64;

/// A type without its nullability.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// BOOLEAN
    Boolean,
    /// TINYINT: 8 bits.
    TinyInt,
    /// SMALLINT: 16 bits.
    SmallInt,
    /// INT: 32 bits.
    Int,
    /// BIGINT: 64 bits.
    BigInt,
    /// FLOAT: 32 bits.
    Float,
    /// DOUBLE: 64 bits.
    Double,
    /// DECIMAL(precision, scale), precision ≤ 38.
    Decimal(u8, u8),
    /// CHAR(length)
    Char(u32),
    /// VARCHAR(length); STRING has [`MAX_LENGTH`].
    Varchar(u32),
    /// BINARY(length)
    Binary(u32),
    /// VARBINARY(length); BYTES has [`MAX_LENGTH`].
    Varbinary(u32),
    /// DATE
    Date,
    /// TIME(digits of the second's fraction)
    Time(u8),
    /// TIMESTAMP(digits): a wall-clock time without a zone.
    Timestamp(u8),
    /// TIMESTAMP_LTZ(digits): an instant.
    TimestampLtz(u8),
    /// INTERVAL YEAR TO MONTH: whole months.
    IntervalMonths,
    /// INTERVAL DAY TO SECOND: milliseconds.
    IntervalMillis,
    /// ARRAY<element>
    Array(Box<ColumnType>),
    /// MAP<key, value>
    Map(Box<ColumnType>, Box<ColumnType>),
    /// MULTISET<element>: a map from element to count.
    Multiset(Box<ColumnType>),
    /// ROW<name type, …>
    Row(Vec<RowField>),
    /// VARIANT: JSON text here.
    Variant,
    /// The type of a bare NULL.
    Null,
}

/// A type with its nullability.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColumnType {
    /// The type.
    pub sql_type: SqlType,
    /// Whether NULL is a value.
    pub nullable: bool,
}

/// A field of a ROW.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowField {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
}

impl SqlType {
    /// STRING.
    pub const STRING: SqlType = SqlType::Varchar(MAX_LENGTH);
    /// BYTES.
    pub const BYTES: SqlType = SqlType::Varbinary(MAX_LENGTH);

    /// This type, NULL allowed.
    pub fn nullable(self) -> ColumnType {
        ColumnType { sql_type: self, nullable: true }
    }

    /// This type, NOT NULL.
    pub fn not_null(self) -> ColumnType {
        ColumnType { sql_type: self, nullable: false }
    }

    /// The Arrow type that carries it.
    pub fn to_arrow(&self) -> DataType {
        let unit = |digits: u8| match digits {
            0..=3 => TimeUnit::Millisecond,
            4..=6 => TimeUnit::Microsecond,
            _ => TimeUnit::Nanosecond,
        };
        match self {
            SqlType::Boolean => DataType::Boolean,
            SqlType::TinyInt => DataType::Int8,
            SqlType::SmallInt => DataType::Int16,
            SqlType::Int => DataType::Int32,
            SqlType::BigInt => DataType::Int64,
            SqlType::Float => DataType::Float32,
            SqlType::Double => DataType::Float64,
            SqlType::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale as i8),
            SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Variant => DataType::Utf8View,
            SqlType::Binary(_) | SqlType::Varbinary(_) => DataType::BinaryView,
            SqlType::Date => DataType::Date32,
            SqlType::Time(digits) if *digits <= 3 => DataType::Time32(TimeUnit::Millisecond),
            SqlType::Time(digits) => DataType::Time64(unit(*digits)),
            SqlType::Timestamp(digits) => DataType::Timestamp(unit(*digits), None),
            SqlType::TimestampLtz(digits) => DataType::Timestamp(unit(*digits), Some(LTZ_ZONE.into())),
            SqlType::IntervalMonths | SqlType::IntervalMillis => DataType::Interval(IntervalUnit::MonthDayNano),
            SqlType::Array(element) => DataType::List(Arc::new(element.to_field("item"))),
            SqlType::Map(key, value) => map_type(key.to_field("key").with_nullable(false), value.to_field("value")),
            SqlType::Multiset(element) => {
                map_type(element.to_field("key").with_nullable(false), SqlType::Int.not_null().to_field("value"))
            }
            SqlType::Row(fields) => DataType::Struct(
                fields.iter().map(|f| Arc::new(f.column_type.to_field(&f.name))).collect::<Vec<FieldRef>>().into(),
            ),
            SqlType::Null => DataType::Null,
        }
    }

    /// The type that an Arrow type without metadata stands for. Fails for types that Flink does not have (unsigned 64 bits
    /// become DECIMAL(20, 0)).
    pub fn from_arrow(data_type: &DataType) -> Result<Self> {
        let digits = |unit: &TimeUnit| match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond => 6,
            TimeUnit::Nanosecond => 9,
        };
        Ok(match data_type {
            DataType::Null => SqlType::Null,
            DataType::Boolean => SqlType::Boolean,
            DataType::Int8 => SqlType::TinyInt,
            DataType::Int16 | DataType::UInt8 => SqlType::SmallInt,
            DataType::Int32 | DataType::UInt16 => SqlType::Int,
            DataType::Int64 | DataType::UInt32 => SqlType::BigInt,
            DataType::UInt64 => SqlType::Decimal(20, 0),
            DataType::Float16 | DataType::Float32 => SqlType::Float,
            DataType::Float64 => SqlType::Double,
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) if *s >= 0 => {
                SqlType::Decimal(*p, *s as u8)
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::STRING,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => SqlType::BYTES,
            DataType::FixedSizeBinary(length) => SqlType::Binary((*length).max(1) as u32),
            DataType::Date32 | DataType::Date64 => SqlType::Date,
            DataType::Time32(unit) | DataType::Time64(unit) => SqlType::Time(digits(unit)),
            DataType::Timestamp(unit, None) => SqlType::Timestamp(digits(unit)),
            DataType::Timestamp(unit, Some(_)) => SqlType::TimestampLtz(digits(unit)),
            DataType::Interval(IntervalUnit::YearMonth) => SqlType::IntervalMonths,
            DataType::Interval(_) | DataType::Duration(_) => SqlType::IntervalMillis,
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                SqlType::Array(Box::new(ColumnType::of_field(field)?))
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => SqlType::Map(
                    Box::new(ColumnType::of_field(&fields[0])?),
                    Box::new(ColumnType::of_field(&fields[1])?),
                ),
                other => return Err(Error::invalid(format!("a map whose entries are {other} has no SQL type"))),
            },
            DataType::Struct(fields) => SqlType::Row(
                fields
                    .iter()
                    .map(|f| Ok(RowField { name: f.name().clone(), column_type: ColumnType::of_field(f)? }))
                    .collect::<Result<_>>()?,
            ),
            DataType::Dictionary(_, value) => SqlType::from_arrow(value)?,
            other => return Err(Error::unsupported(format!("the Arrow type {other} has no SQL type"))),
        })
    }

    /// Reads a type's text, as it stands in DDL. The error names the place in `text`.
    pub fn parse(text: &str) -> Result<ColumnType> {
        let mut parser = TypeParser { text, at: 0, depth: 0 };
        let column_type = parser.column_type()?;
        match parser.peek() {
            None => Ok(column_type),
            Some(rest) => Err(parser.wrong(&format!("`{rest}` after a type"))),
        }
    }
}

fn map_type(key: Field, value: Field) -> DataType {
    let entries = Field::new("entries", DataType::Struct(Fields::from(vec![key, value])), false);
    DataType::Map(Arc::new(entries), false)
}

impl ColumnType {
    /// An Arrow field of this type whose metadata holds the type's text.
    pub fn to_field(&self, name: &str) -> Field {
        Field::new(name, self.sql_type.to_arrow(), self.nullable)
            .with_metadata(HashMap::from([(TYPE_KEY.to_string(), self.sql_type.to_string())]))
    }

    /// The type of an Arrow field: of its metadata if that agrees with its Arrow type, else of the Arrow type alone.
    pub fn of_field(field: &Field) -> Result<Self> {
        if let Some(text) = field.metadata().get(TYPE_KEY) {
            let text = text.strip_suffix(ROWTIME_SUFFIX).unwrap_or(text);
            if let Ok(parsed) = SqlType::parse(text)
                && parsed.sql_type.to_arrow().equals_datatype(field.data_type())
            {
                return Ok(Self { sql_type: parsed.sql_type, nullable: field.is_nullable() });
            }
        }
        Ok(Self { sql_type: SqlType::from_arrow(field.data_type())?, nullable: field.is_nullable() })
    }
}

const ROWTIME_SUFFIX: &str = " *ROWTIME*";

/// Whether a field is an event-time attribute.
pub fn is_rowtime(field: &Field) -> bool {
    field.metadata().get(TYPE_KEY).is_some_and(|text| text.ends_with(ROWTIME_SUFFIX))
}

/// Marks a timestamp field as an event-time attribute, or takes the mark away.
pub fn with_rowtime(field: Field, rowtime: bool) -> Result<Field> {
    let text = ColumnType::of_field(&field)?.sql_type.to_string();
    let mut metadata = field.metadata().clone();
    metadata.insert(TYPE_KEY.to_string(), if rowtime { text + ROWTIME_SUFFIX } else { text });
    Ok(field.with_metadata(metadata))
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlType::Boolean => f.write_str("BOOLEAN"),
            SqlType::TinyInt => f.write_str("TINYINT"),
            SqlType::SmallInt => f.write_str("SMALLINT"),
            SqlType::Int => f.write_str("INT"),
            SqlType::BigInt => f.write_str("BIGINT"),
            SqlType::Float => f.write_str("FLOAT"),
            SqlType::Double => f.write_str("DOUBLE"),
            SqlType::Decimal(precision, scale) => write!(f, "DECIMAL({precision}, {scale})"),
            SqlType::Char(length) => write!(f, "CHAR({length})"),
            SqlType::Varchar(MAX_LENGTH) => f.write_str("STRING"),
            SqlType::Varchar(length) => write!(f, "VARCHAR({length})"),
            SqlType::Binary(length) => write!(f, "BINARY({length})"),
            SqlType::Varbinary(MAX_LENGTH) => f.write_str("BYTES"),
            SqlType::Varbinary(length) => write!(f, "VARBINARY({length})"),
            SqlType::Date => f.write_str("DATE"),
            SqlType::Time(digits) => write!(f, "TIME({digits})"),
            SqlType::Timestamp(digits) => write!(f, "TIMESTAMP({digits})"),
            SqlType::TimestampLtz(digits) => write!(f, "TIMESTAMP_LTZ({digits})"),
            SqlType::IntervalMonths => f.write_str("INTERVAL YEAR TO MONTH"),
            SqlType::IntervalMillis => f.write_str("INTERVAL DAY TO SECOND"),
            SqlType::Array(element) => write!(f, "ARRAY<{element}>"),
            SqlType::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            SqlType::Multiset(element) => write!(f, "MULTISET<{element}>"),
            SqlType::Row(fields) => {
                f.write_str("ROW<")?;
                for (i, field) in fields.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(f, "{comma}`{}` {}", field.name.replace('`', "``"), field.column_type)?;
                }
                f.write_str(">")
            }
            SqlType::Variant => f.write_str("VARIANT"),
            SqlType::Null => f.write_str("NULL"),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sql_type)?;
        if self.nullable { Ok(()) } else { f.write_str(" NOT NULL") }
    }
}

/// Reads a type from text, word by word.
struct TypeParser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> TypeParser<'a> {
    fn skip_blanks(&mut self) {
        self.at += self.text[self.at..].len() - self.text[self.at..].trim_start().len();
    }

    /// The next word, quoted name or single character, not taken.
    fn peek(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        let length = if first == '`' || first == '"' {
            let mut end = rest.len();
            let mut chars = rest.char_indices().skip(1).peekable();
            while let Some((i, c)) = chars.next() {
                if c == first {
                    if chars.peek().is_some_and(|(_, next)| *next == first) {
                        chars.next();
                    } else {
                        end = i + c.len_utf8();
                        break;
                    }
                }
            }
            end
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        Some(&rest[..length])
    }

    fn take(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.at += word.len();
        Some(word)
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|next| next.eq_ignore_ascii_case(word));
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.accept(word) { Ok(()) } else { Err(self.wrong(&format!("expected `{word}`"))) }
    }

    fn wrong(&self, what: &str) -> Error {
        Error::invalid(format!("`{}` is no type: {what} at character {}", self.text, self.at + 1))
    }

    fn column_type(&mut self) -> Result<ColumnType> {
        let outer = self.depth;
        self.deeper()?;
        let mut sql_type = self.base_type()?;
        let mut nullable = self.nullability()?;
        loop {
            if self.accept("ARRAY") {
                sql_type = SqlType::Array(Box::new(ColumnType { sql_type, nullable }));
            } else if self.accept("MULTISET") {
                sql_type = SqlType::Multiset(Box::new(ColumnType { sql_type, nullable }));
            } else {
                break;
            }
            self.deeper()?;
            nullable = self.nullability()?;
        }
        self.depth = outer;
        Ok(ColumnType { sql_type, nullable })
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("it is nested too deeply"));
        }
        Ok(())
    }

    fn nullability(&mut self) -> Result<bool> {
        if self.accept("NOT") {
            self.expect("NULL")?;
            return Ok(false);
        }
        self.accept("NULL");
        Ok(true)
    }

    fn number(&mut self, low: u32, high: u32) -> Result<u32> {
        let number = self.take().and_then(|word| word.parse::<u32>().ok());
        number
            .filter(|n| (low..=high).contains(n))
            .ok_or_else(|| self.wrong(&format!("expected a number from {low} to {high}")))
    }

    fn length(&mut self, default: u32) -> Result<u32> {
        if !self.accept("(") {
            return Ok(default);
        }
        let length = self.number(1, MAX_LENGTH)?;
        self.expect(")")?;
        Ok(length)
    }

    fn digits(&mut self, default: u8) -> Result<u8> {
        if !self.accept("(") {
            return Ok(default);
        }
        let digits = self.number(0, 9)?;
        self.expect(")")?;
        Ok(digits as u8)
    }

    fn base_type(&mut self) -> Result<SqlType> {
        let start = self.at;
        let Some(word) = self.take() else { return Err(self.wrong("it ends where a type should stand")) };
        Ok(match word.to_ascii_uppercase().as_str() {
            "BOOLEAN" => SqlType::Boolean,
            "TINYINT" => SqlType::TinyInt,
            "SMALLINT" => SqlType::SmallInt,
            "INT" | "INTEGER" => SqlType::Int,
            "BIGINT" => SqlType::BigInt,
            "FLOAT" => SqlType::Float,
            "DOUBLE" => {
                self.accept("PRECISION");
                SqlType::Double
            }
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "STRING" => SqlType::STRING,
            "CHAR" | "CHARACTER" => {
                if self.accept("VARYING") {
                    SqlType::Varchar(self.length(1)?)
                } else {
                    SqlType::Char(self.length(1)?)
                }
            }
            "VARCHAR" => SqlType::Varchar(self.length(1)?),
            "BYTES" => SqlType::BYTES,
            "BINARY" => {
                if self.accept("VARYING") {
                    SqlType::Varbinary(self.length(1)?)
                } else {
                    SqlType::Binary(self.length(1)?)
                }
            }
            "VARBINARY" => SqlType::Varbinary(self.length(1)?),
            "DATE" => SqlType::Date,
            "TIME" => {
                let digits = self.digits(0)?;
                if self.accept("WITHOUT") {
                    self.expect("TIME")?;
                    self.expect("ZONE")?;
                }
                SqlType::Time(digits)
            }
            "TIMESTAMP_LTZ" => SqlType::TimestampLtz(self.digits(6)?),
            "TIMESTAMP" => self.timestamp()?,
            "INTERVAL" => self.interval()?,
            "ARRAY" => SqlType::Array(Box::new(self.bracketed()?)),
            "MULTISET" => SqlType::Multiset(Box::new(self.bracketed()?)),
            "MAP" => {
                self.expect("<")?;
                let key = self.column_type()?;
                self.expect(",")?;
                let value = self.column_type()?;
                self.expect(">")?;
                SqlType::Map(Box::new(key), Box::new(value))
            }
            "ROW" => self.row()?,
            "VARIANT" => SqlType::Variant,
            "NULL" => SqlType::Null,
            _ => {
                self.at = start;
                self.skip_blanks();
                return Err(self.wrong(&format!("unknown type `{word}`")));
            }
        })
    }

    fn bracketed(&mut self) -> Result<ColumnType> {
        self.expect("<")?;
        let inner = self.column_type()?;
        self.expect(">")?;
        Ok(inner)
    }

    fn decimal(&mut self) -> Result<SqlType> {
        if !self.accept("(") {
            return Ok(SqlType::Decimal(10, 0));
        }
        let precision = self.number(1, 38)?;
        let scale = if self.accept(",") { self.number(0, precision)? } else { 0 };
        self.expect(")")?;
        Ok(SqlType::Decimal(precision as u8, scale as u8))
    }

    fn timestamp(&mut self) -> Result<SqlType> {
        let digits = self.digits(6)?;
        let local = if self.accept("WITH") {
            self.expect("LOCAL")?;
            self.expect("TIME")?;
            self.expect("ZONE")?;
            true
        } else {
            if self.accept("WITHOUT") {
                self.expect("TIME")?;
                self.expect("ZONE")?;
            }
            false
        };
        Ok(if local { SqlType::TimestampLtz(digits) } else { SqlType::Timestamp(digits) })
    }

    fn interval(&mut self) -> Result<SqlType> {
        let unit = |word: &str| match word.to_ascii_uppercase().as_str() {
            "YEAR" | "MONTH" => Some(SqlType::IntervalMonths),
            "DAY" | "HOUR" | "MINUTE" | "SECOND" => Some(SqlType::IntervalMillis),
            _ => None,
        };
        let first = self.take().and_then(unit).ok_or_else(|| self.wrong("expected a unit such as DAY"))?;
        self.digits(0)?;
        if self.accept("TO") {
            let second = self.take().and_then(unit).ok_or_else(|| self.wrong("expected a unit such as SECOND"))?;
            self.digits(0)?;
            if first != second {
                return Err(self.wrong("an interval has months or milliseconds, not both"));
            }
        }
        Ok(first)
    }

    fn row(&mut self) -> Result<SqlType> {
        let close = if self.accept("<") {
            ">"
        } else {
            self.expect("(")?;
            ")"
        };
        let mut fields = Vec::new();
        while !self.accept(close) {
            if !fields.is_empty() {
                self.expect(",")?;
            }
            let name = self.take().ok_or_else(|| self.wrong("expected a field's name"))?;
            let name = match name.chars().next() {
                Some(quote @ ('`' | '"')) if name.len() >= 2 && name.ends_with(quote) => {
                    name[1..name.len() - 1].replace(&format!("{quote}{quote}"), &quote.to_string())
                }
                Some(c) if c.is_alphanumeric() || c == '_' => name.to_string(),
                _ => return Err(self.wrong("expected a field's name")),
            };
            let column_type = self.column_type()?;
            if self.peek().is_some_and(|next| next == "'") {
                return Err(self.wrong("comments on fields are not kept"));
            }
            fields.push(RowField { name, column_type });
        }
        Ok(SqlType::Row(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_type() -> impl Strategy<Value = SqlType> {
        let leaf = prop_oneof![
            Just(SqlType::Boolean),
            Just(SqlType::TinyInt),
            Just(SqlType::BigInt),
            Just(SqlType::Double),
            (1u8..=38).prop_flat_map(|p| (Just(p), 0..=p)).prop_map(|(p, s)| SqlType::Decimal(p, s)),
            (1u32..100).prop_map(SqlType::Char),
            (1u32..=MAX_LENGTH).prop_map(SqlType::Varchar),
            Just(SqlType::BYTES),
            Just(SqlType::Date),
            (0u8..=9).prop_map(SqlType::Time),
            (0u8..=9).prop_map(SqlType::Timestamp),
            (0u8..=9).prop_map(SqlType::TimestampLtz),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let column = (inner, any::<bool>()).prop_map(|(sql_type, nullable)| ColumnType { sql_type, nullable });
            prop_oneof![
                column.clone().prop_map(|c| SqlType::Array(Box::new(c))),
                (column.clone(), column.clone())
                    .prop_map(|(k, v)| SqlType::Map(Box::new(ColumnType { nullable: false, ..k }), Box::new(v))),
                prop::collection::vec(("[a-z`\" ]{1,6}", column), 0..4).prop_map(|fields| SqlType::Row(
                    fields.into_iter().map(|(name, column_type)| RowField { name, column_type }).collect()
                )),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_type_reads_what_it_prints_and_survives_a_field(sql_type in any_type(), nullable: bool) {
            let column = ColumnType { sql_type, nullable };
            prop_assert_eq!(SqlType::parse(&column.to_string()).expect("printed by us"), column.clone());
            prop_assert_eq!(ColumnType::of_field(&column.to_field("c")).expect("made by us"), column);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[A-Z<>(),`\"0-9 ]{0,40}") {
            let _ = SqlType::parse(&text);
        }
    }

    #[test]
    fn flinks_spellings_are_read() {
        let read = |text: &str| SqlType::parse(text).expect(text).to_string();
        assert_eq!(read("timestamp(3) with local time zone not null"), "TIMESTAMP_LTZ(3) NOT NULL");
        assert_eq!(read("TIMESTAMP"), "TIMESTAMP(6)");
        assert_eq!(read("DEC(5,2)"), "DECIMAL(5, 2)");
        assert_eq!(read("VARCHAR(2147483647)"), "STRING");
        assert_eq!(read("INT ARRAY"), "ARRAY<INT>");
        assert_eq!(read("ROW(a INT, `b c` STRING NOT NULL)"), "ROW<`a` INT, `b c` STRING NOT NULL>");
        assert_eq!(read("DOUBLE PRECISION"), "DOUBLE");
    }

    #[test]
    fn an_unknown_type_is_named_with_its_place() {
        let message = SqlType::parse("ROW<a INTT>").expect_err("unknown").to_string();
        assert!(message.contains("unknown type `INTT` at character 7"), "{message}");
        assert!(SqlType::parse("DECIMAL(39, 0)").is_err());
        assert!(SqlType::parse("TIMESTAMP(10)").is_err());
        assert!(SqlType::parse(&"ARRAY<".repeat(500)).is_err());
        assert!(SqlType::parse(&format!("INT{}", " ARRAY".repeat(100_000))).is_err());
        assert!(SqlType::parse(&format!("ROW<a INT{0}, b INT{0}>", " ARRAY".repeat(40))).is_ok());
    }

    #[test]
    fn the_time_attribute_is_a_mark_beside_the_type() {
        let field = with_rowtime(SqlType::Timestamp(3).nullable().to_field("ts"), true).expect("a timestamp");
        assert!(is_rowtime(&field));
        assert_eq!(ColumnType::of_field(&field).expect("known").sql_type, SqlType::Timestamp(3));
        assert!(!is_rowtime(&with_rowtime(field, false).expect("a timestamp")));
    }
}
