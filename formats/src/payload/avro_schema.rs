//! Avro schemas and SQL types: what a topic's Avro definition means as columns, and the definition to register for columns.
//!
//! | Avro | SQL |
//! |---|---|
//! | record, array, map | ROW, ARRAY, MAP<STRING, …> |
//! | union of null and one type | that type, nullable |
//! | union of several types | ROW of them, each by its type's name, of which one is not NULL |
//! | enum, uuid | STRING |
//! | fixed, bytes, duration, big-decimal | BYTES |
//! | decimal | DECIMAL |
//! | date, time-millis/-micros | DATE, TIME(3/6) |
//! | timestamp-* and local-timestamp-* | TIMESTAMP(3/6/9), as Flink's Avro format maps both |
//!
//! A type that Avro does not tell (TINYINT, CHAR(3), TIMESTAMP_LTZ(3) …) is written beside the field as its property `aquifer.type`, which other
//! readers pass over. It counts only while it is what the field's Avro type stores.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema as Avro;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};
use aquifer_model::sql_type::{ColumnType, RowField};
use aquifer_model::{Error, Result, SqlType};
use arrow::datatypes::{Schema, SchemaRef};
use serde_json::{Value, json};

use super::avro_bounds::bounded;
use super::guarded;

pub(super) const MAX_DEPTH: usize = 64;

/// Parses a definition, under the bounds of [`super::avro_bounds`]. Its errors name the schema, not the library's trace.
pub(crate) fn parse(definition: &[u8]) -> Result<Avro> {
    let definition = bounded(definition)?;
    let unreadable = |e| Error::invalid("an Avro schema cannot be read").with_source(e);
    guarded("an Avro schema", || Avro::parse(&definition).map_err(unreadable))
}

/// The definition of a record whose one field is a value by itself: their bytes are the same.
pub(super) fn wrapped(definition: &[u8]) -> Result<Vec<u8>> {
    let value: Value = serde_json::from_slice(definition)
        .map_err(|error| Error::invalid("an Avro schema is no JSON").with_source(error))?;
    let field = json!({"name": super::VALUE_COLUMN, "type": value});
    Ok(json!({"type": "record", "name": "aquifer_value", "fields": [field]}).to_string().into_bytes())
}

/// The columns of an Avro record, or the one column of another type. Types are those that the columns were declared with.
pub(crate) fn columns(definition: &[u8]) -> Result<SchemaRef> {
    read_columns(definition, true)
}

/// The columns as the Avro types have them.
pub(super) fn stored_columns(definition: &[u8]) -> Result<SchemaRef> {
    read_columns(definition, false)
}

fn read_columns(definition: &[u8], is_declared: bool) -> Result<SchemaRef> {
    let schema = parse(definition)?;
    let Avro::Record(record) = &schema else {
        let column = Types::default().column_type(&schema, 0)?;
        return Ok(Arc::new(Schema::new(vec![column.to_field(super::VALUE_COLUMN)])));
    };
    let mut types = Types::default();
    types.named.insert(record.name.clone(), None);
    let fields = record.fields.iter().map(|f| {
        let stored = types.column_type(&f.schema, 1)?;
        let declared = f.custom_attributes.get(TYPE_PROPERTY).filter(|_| is_declared);
        let declared = declared.and_then(Value::as_str).and_then(|text| SqlType::parse(text).ok());
        Ok(declared.filter(|declared| stored_column(declared) == stored).unwrap_or(stored).to_field(&f.name))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// The property of a record's field that holds its column's type where the Avro type does not tell it.
const TYPE_PROPERTY: &str = "aquifer.type";

/// What a column comes back as if only the Avro type is known.
fn stored_column(column: &ColumnType) -> ColumnType {
    ColumnType { sql_type: stored_type(&column.sql_type), nullable: column.nullable }
}

fn stored_type(sql_type: &SqlType) -> SqlType {
    match sql_type {
        SqlType::TinyInt | SqlType::SmallInt => SqlType::Int,
        SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Variant => SqlType::STRING,
        SqlType::Binary(_) | SqlType::Varbinary(_) => SqlType::BYTES,
        SqlType::Time(0..=3) => SqlType::Time(3),
        SqlType::Time(4..=6) => SqlType::Time(6),
        SqlType::Time(_) => SqlType::BigInt,
        SqlType::Timestamp(0..=3) | SqlType::TimestampLtz(0..=3) => SqlType::Timestamp(3),
        SqlType::Timestamp(4..=6) | SqlType::TimestampLtz(4..=6) => SqlType::Timestamp(6),
        SqlType::Timestamp(_) | SqlType::TimestampLtz(_) => SqlType::Timestamp(9),
        SqlType::Array(element) => SqlType::Array(Box::new(stored_column(element))),
        SqlType::Map(key, value) => {
            let key = stored_type(&key.sql_type).not_null();
            SqlType::Map(Box::new(key), Box::new(stored_column(value)))
        }
        SqlType::Row(fields) => {
            let stored = |field: &RowField| RowField {
                name: field.name.clone(),
                column_type: stored_column(&field.column_type),
            };
            SqlType::Row(fields.iter().map(stored).collect())
        }
        other => other.clone(),
    }
}

/// Types by name, for references; `None` while a type is being read, so a type that contains itself is noticed.
#[derive(Default)]
struct Types {
    named: HashMap<Name, Option<SqlType>>,
}

impl Types {
    fn column_type(&mut self, schema: &Avro, depth: usize) -> Result<ColumnType> {
        if let Avro::Union(union) = schema {
            let others: Vec<&Avro> = union.variants().iter().filter(|v| !matches!(v, Avro::Null)).collect();
            let nullable = others.len() < union.variants().len();
            return match others.as_slice() {
                [] => Ok(SqlType::Null.nullable()),
                [one] => Ok(ColumnType { sql_type: self.sql_type(one, depth + 1)?, nullable }),
                several => {
                    let names = branch_names(union.variants()).into_iter().zip(union.variants());
                    let names = names.filter(|(_, branch)| !matches!(branch, Avro::Null)).map(|(name, _)| name);
                    let fields = names.zip(several).map(|(name, branch)| {
                        Ok(RowField { name, column_type: self.sql_type(branch, depth + 1)?.nullable() })
                    });
                    Ok(ColumnType { sql_type: SqlType::Row(fields.collect::<Result<_>>()?), nullable })
                }
            };
        }
        Ok(self.sql_type(schema, depth)?.not_null())
    }

    fn sql_type(&mut self, schema: &Avro, depth: usize) -> Result<SqlType> {
        if depth > MAX_DEPTH {
            return Err(Error::invalid(format!("an Avro schema is nested deeper than {MAX_DEPTH}")));
        }
        Ok(match schema {
            Avro::Null => SqlType::Null,
            Avro::Boolean => SqlType::Boolean,
            Avro::Int => SqlType::Int,
            Avro::Long => SqlType::BigInt,
            Avro::Float => SqlType::Float,
            Avro::Double => SqlType::Double,
            Avro::Fixed(fixed) => self.keep(&fixed.name, SqlType::BYTES),
            Avro::Enum(symbols) => self.keep(&symbols.name, SqlType::STRING),
            Avro::String | Avro::Uuid(UuidSchema::String) => SqlType::STRING,
            Avro::Bytes | Avro::BigDecimal | Avro::Uuid(UuidSchema::Bytes) => SqlType::BYTES,
            Avro::Duration(fixed) | Avro::Uuid(UuidSchema::Fixed(fixed)) => self.keep(&fixed.name, SqlType::BYTES),
            Avro::Array(array) => SqlType::Array(Box::new(self.column_type(&array.items, depth + 1)?)),
            Avro::Map(map) => {
                SqlType::Map(Box::new(SqlType::STRING.not_null()), Box::new(self.column_type(&map.types, depth + 1)?))
            }
            Avro::Record(record) => {
                self.named.insert(record.name.clone(), None);
                let fields = record.fields.iter().map(|f| {
                    Ok(RowField { name: f.name.clone(), column_type: self.column_type(&f.schema, depth + 1)? })
                });
                let row = SqlType::Row(fields.collect::<Result<_>>()?);
                self.named.insert(record.name.clone(), Some(row.clone()));
                row
            }
            Avro::Ref { name } => match self.named.get(name) {
                Some(Some(sql_type)) => sql_type.clone(),
                Some(None) => return Err(Error::unsupported(format!("the Avro type `{name}` contains itself"))),
                None => return Err(Error::invalid(format!("the Avro type `{name}` is not defined where it is used"))),
            },
            Avro::Decimal(decimal) if decimal.precision <= 38 => {
                let sql_type = SqlType::Decimal(decimal.precision as u8, decimal.scale as u8);
                match &decimal.inner {
                    InnerDecimalSchema::Fixed(fixed) => self.keep(&fixed.name, sql_type),
                    InnerDecimalSchema::Bytes => sql_type,
                }
            }
            Avro::Date => SqlType::Date,
            Avro::TimeMillis => SqlType::Time(3),
            Avro::TimeMicros => SqlType::Time(6),
            Avro::TimestampMillis | Avro::LocalTimestampMillis => SqlType::Timestamp(3),
            Avro::TimestampMicros | Avro::LocalTimestampMicros => SqlType::Timestamp(6),
            Avro::TimestampNanos | Avro::LocalTimestampNanos => SqlType::Timestamp(9),
            Avro::Decimal(decimal) => {
                return Err(Error::unsupported(format!(
                    "an Avro decimal has {} digits, and a column at most 38",
                    decimal.precision
                )));
            }
            Avro::Union(_) => self.column_type(schema, depth + 1)?.sql_type,
        })
    }

    /// Remembers what a name stands for.
    fn keep(&mut self, name: &Name, sql_type: SqlType) -> SqlType {
        self.named.insert(name.clone(), Some(sql_type.clone()));
        sql_type
    }
}

/// The branches' names in a ROW: that of their type. Named types that share one are told apart by their full names.
pub(super) fn branch_names(branches: &[Avro]) -> Vec<String> {
    let plain = |branch: &Avro| -> String {
        let name = match branch {
            Avro::Null => "null",
            Avro::Boolean => "boolean",
            Avro::Int | Avro::Date | Avro::TimeMillis => "int",
            Avro::Long
            | Avro::TimeMicros
            | Avro::TimestampMillis
            | Avro::TimestampMicros
            | Avro::TimestampNanos
            | Avro::LocalTimestampMillis
            | Avro::LocalTimestampMicros
            | Avro::LocalTimestampNanos => "long",
            Avro::Float => "float",
            Avro::Double => "double",
            Avro::String | Avro::Uuid(UuidSchema::String) => "string",
            Avro::Array(_) => "array",
            Avro::Map(_) => "map",
            Avro::Union(_) => "union",
            named => return named.name().map_or_else(|| "bytes".to_string(), |name| name.name().to_string()),
        };
        name.to_string()
    };
    let names: Vec<String> = branches.iter().map(plain).collect();
    let told_apart = |(n, name): (usize, &String)| match names.iter().filter(|other| *other == name).count() {
        1 => name.clone(),
        _ => branches[n].name().map_or_else(|| format!("{name}{n}"), |full| full.fullname(None).replace('.', "_")),
    };
    names.iter().enumerate().map(told_apart).collect()
}

/// The definition as the columnar decoder gets it: without logical types that it turns into what no column holds.
pub(super) fn plainer(definition: &[u8]) -> Result<String> {
    fn strip(value: &mut Value, depth: usize) {
        match value {
            _ if depth > 4 * MAX_DEPTH => {}
            Value::Object(object) => {
                let strange = |name: &Value| matches!(name.as_str(), Some("uuid" | "duration" | "big-decimal"));
                if object.get("logicalType").is_some_and(strange) {
                    object.remove("logicalType");
                }
                object.iter_mut().filter(|(key, _)| *key != "default").for_each(|(_, inner)| strip(inner, depth + 1));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| strip(item, depth + 1)),
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_slice(definition)
        .map_err(|error| Error::invalid("an Avro schema is no JSON").with_source(error))?;
    strip(&mut value, 0);
    Ok(value.to_string())
}

/// The definition to register for these columns.
pub(crate) fn definition(name: &str, columns: &Schema) -> Result<Vec<u8>> {
    let record_name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let record_name = if record_name.starts_with(|c: char| c.is_ascii_digit()) || record_name.is_empty() {
        format!("_{record_name}")
    } else {
        record_name
    };
    let mut fields = Vec::new();
    for field in columns.fields() {
        check_name(field.name())?;
        let column = ColumnType::of_field(field)?;
        let mut written = named_field(field.name(), &column, &record_name)?;
        if stored_column(&column) != column {
            written[TYPE_PROPERTY] = Value::String(column.to_string());
        }
        fields.push(written);
    }
    let schema = json!({"type": "record", "name": record_name, "fields": fields});
    Ok(schema.to_string().into_bytes())
}

fn check_name(name: &str) -> Result<()> {
    let mut chars = name.chars();
    let fine = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if fine {
        return Ok(());
    }
    // A topic's schema is in Avro's words for JSON, too.
    Err(Error::invalid(format!(
        "a topic's schema has no field named `{name}`: use letters, digits and _, or a table WITH ('connector' = 'pulsar', 'format' = 'json') over a topic without one"
    )))
}

fn named_field(name: &str, column: &ColumnType, path: &str) -> Result<Value> {
    let mut field = json!({"name": name, "type": column_schema(column, &format!("{path}_{name}"))?});
    if column.nullable {
        field["default"] = Value::Null;
    }
    Ok(field)
}

fn column_schema(column: &ColumnType, path: &str) -> Result<Value> {
    let inner = type_schema(&column.sql_type, path)?;
    Ok(if column.nullable { json!(["null", inner]) } else { inner })
}

fn type_schema(sql_type: &SqlType, path: &str) -> Result<Value> {
    let logical = |base: &str, name: &str| json!({"type": base, "logicalType": name});
    Ok(match sql_type {
        SqlType::Boolean => json!("boolean"),
        SqlType::TinyInt | SqlType::SmallInt | SqlType::Int => json!("int"),
        SqlType::BigInt => json!("long"),
        SqlType::Float => json!("float"),
        SqlType::Double => json!("double"),
        SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Variant => json!("string"),
        SqlType::Binary(_) | SqlType::Varbinary(_) => json!("bytes"),
        SqlType::Decimal(precision, scale) => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
        }
        SqlType::Date => logical("int", "date"),
        SqlType::Time(0..=3) => logical("int", "time-millis"),
        SqlType::Time(4..=6) => logical("long", "time-micros"),
        // Avro has no nanoseconds of a day: their number.
        SqlType::Time(_) => json!("long"),
        SqlType::Timestamp(0..=3) | SqlType::TimestampLtz(0..=3) => logical("long", "timestamp-millis"),
        SqlType::Timestamp(4..=6) | SqlType::TimestampLtz(4..=6) => logical("long", "timestamp-micros"),
        SqlType::Timestamp(_) | SqlType::TimestampLtz(_) => logical("long", "timestamp-nanos"),
        SqlType::Array(element) => json!({"type": "array", "items": column_schema(element, &format!("{path}_item"))?}),
        SqlType::Map(key, value) if matches!(key.sql_type, SqlType::Char(_) | SqlType::Varchar(_)) => {
            json!({"type": "map", "values": column_schema(value, &format!("{path}_value"))?})
        }
        SqlType::Row(fields) => {
            let mut members = Vec::new();
            for field in fields {
                check_name(&field.name)?;
                members.push(named_field(&field.name, &field.column_type, path)?);
            }
            json!({"type": "record", "name": path, "fields": members})
        }
        SqlType::Map(key, _) => {
            return Err(Error::unsupported(format!(
                "a topic's schema has no type for {sql_type}: the keys of a MAP are STRING there, and in JSON, and these are {}; use such keys, or an ARRAY of ROWs",
                key.sql_type
            )));
        }
        other => {
            return Err(Error::unsupported(format!("a topic's schema has no type for {other}: use another type")));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_survive_the_way_through_a_definition() {
        let types = [
            "BOOLEAN",
            "INT",
            "BIGINT NOT NULL",
            "FLOAT",
            "DOUBLE",
            "STRING NOT NULL",
            "BYTES",
            "DECIMAL(10, 2)",
            "DATE",
            "TIME(3)",
            "TIMESTAMP(3)",
            "TIMESTAMP(6) NOT NULL",
            "TIMESTAMP(9)",
            "ARRAY<INT>",
            "MAP<STRING NOT NULL, DOUBLE>",
            "ROW<`a` INT, `b` ROW<`c` STRING>>",
            "TINYINT",
            "SMALLINT NOT NULL",
            "CHAR(3)",
            "VARCHAR(7) NOT NULL",
            "BINARY(4)",
            "VARBINARY(9)",
            "TIME(0)",
            "TIME(5)",
            "TIME(9)",
            "TIMESTAMP(0)",
            "TIMESTAMP_LTZ(3)",
            "TIMESTAMP_LTZ(9) NOT NULL",
            "MAP<VARCHAR(5) NOT NULL, ARRAY<TINYINT NOT NULL>>",
            "ARRAY<ROW<`a` SMALLINT, `b` TIMESTAMP_LTZ(6)>>",
        ];
        let fields: Vec<_> = types
            .iter()
            .enumerate()
            .map(|(n, text)| SqlType::parse(text).expect("a type").to_field(&format!("c{n}")))
            .collect();
        let schema = Schema::new(fields);
        let definition = definition("my topic", &schema).expect("all have Avro types");
        assert_eq!(*columns(&definition).expect("made by us"), schema);
    }

    #[test]
    fn a_declared_type_that_the_field_does_not_store_counts_for_nothing() {
        let field = |avro: &str, declared: &str| {
            let text = format!(
                r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":{avro},"aquifer.type":{declared}}}]}}"#
            );
            let columns = columns(text.as_bytes()).expect("a schema");
            ColumnType::of_field(columns.field(0)).expect("a type").to_string()
        };
        assert_eq!(field(r#""int""#, r#""TINYINT NOT NULL""#), "TINYINT NOT NULL");
        let deep = format!(r#""INT{}""#, " ARRAY".repeat(50_000));
        for lie in [r#""TINYINT""#, r#""BIGINT NOT NULL""#, r#""STRING NOT NULL""#, r#""NO TYPE""#, "7", &deep] {
            assert_eq!(field(r#""int""#, lie), "INT NOT NULL", "{lie}");
        }
    }

    #[test]
    fn a_type_that_contains_itself_and_a_bad_name_are_refused() {
        let list = br#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        assert!(columns(list).expect_err("recursive").to_string().contains("contains itself"));
        let schema = Schema::new(vec![SqlType::Int.nullable().to_field("a b")]);
        assert!(definition("t", &schema).is_err());
        assert!(columns(b"{").is_err());
    }
}
