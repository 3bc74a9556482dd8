//! Avro schemas and SQL types: what a topic's Avro definition means as columns, and the definition to register for columns.
//!
//! | Avro | SQL |
//! |---|---|
//! | record, array, map | ROW, ARRAY, MAP<STRING, …> |
//! | union of null and one type | that type, nullable |
//! | enum, uuid | STRING |
//! | fixed, bytes | BYTES |
//! | decimal | DECIMAL |
//! | date, time-millis/-micros | DATE, TIME(3/6) |
//! | timestamp-* and local-timestamp-* | TIMESTAMP(3/6/9), as Flink's Avro format maps both |

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema as Avro;
use apache_avro::schema::Name;
use aquifer_model::sql_type::{ColumnType, RowField};
use aquifer_model::{Error, Result, SqlType};
use arrow::datatypes::{Schema, SchemaRef};
use serde_json::{Value, json};

const MAX_DEPTH: usize = 64;

/// Parses a definition. Its errors name the schema, not the library's trace.
pub(crate) fn parse(definition: &[u8]) -> Result<Avro> {
    let text =
        std::str::from_utf8(definition).map_err(|e| Error::invalid("an Avro schema is not UTF-8").with_source(e))?;
    Avro::parse_str(text).map_err(|e| Error::invalid("an Avro schema cannot be read").with_source(e))
}

/// The columns of an Avro record.
pub(crate) fn columns(definition: &[u8]) -> Result<SchemaRef> {
    let schema = parse(definition)?;
    let Avro::Record(record) = &schema else {
        let column = Types::default().column_type(&schema, 0)?;
        return Ok(Arc::new(Schema::new(vec![column.to_field(super::VALUE_COLUMN)])));
    };
    let mut types = Types::default();
    types.named.insert(record.name.clone(), None);
    let fields = record.fields.iter().map(|f| Ok(types.column_type(&f.schema, 1)?.to_field(&f.name)));
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
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
                _ => Err(Error::unsupported("an Avro union of several types has no column type yet")),
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
            Avro::Bytes | Avro::Fixed(_) => SqlType::BYTES,
            Avro::String | Avro::Enum(_) | Avro::Uuid(_) => SqlType::STRING,
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
                // Enums and fixed types are not kept by name: both are simple, and only these are left.
                None => SqlType::STRING,
            },
            Avro::Decimal(decimal) if decimal.precision <= 38 => {
                SqlType::Decimal(decimal.precision as u8, decimal.scale as u8)
            }
            Avro::Date => SqlType::Date,
            Avro::TimeMillis => SqlType::Time(3),
            Avro::TimeMicros => SqlType::Time(6),
            Avro::TimestampMillis | Avro::LocalTimestampMillis => SqlType::Timestamp(3),
            Avro::TimestampMicros | Avro::LocalTimestampMicros => SqlType::Timestamp(6),
            Avro::TimestampNanos | Avro::LocalTimestampNanos => SqlType::Timestamp(9),
            other => return Err(Error::unsupported(format!("the Avro type {other:?} has no column type"))),
        })
    }
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
        fields.push(named_field(field.name(), &ColumnType::of_field(field)?, &record_name)?);
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
    Err(Error::invalid(format!("Avro has no field named `{name}`: use letters, digits and _, or 'format' = 'json'")))
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
        other => {
            return Err(Error::unsupported(format!(
                "Avro has no type for {other}; use another type, or 'format' = 'json'"
            )));
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
    fn a_type_that_contains_itself_and_a_bad_name_are_refused() {
        let list = br#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        assert!(columns(list).expect_err("recursive").to_string().contains("contains itself"));
        let schema = Schema::new(vec![SqlType::Int.nullable().to_field("a b")]);
        assert!(definition("t", &schema).is_err());
        assert!(columns(b"{").is_err());
    }
}
