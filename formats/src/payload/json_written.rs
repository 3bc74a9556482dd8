//! What a schema version says of its messages' JSON that a column's type does not tell: the unit of whole numbers that are dates or times, and which columns are
//! unions of several types.
//!
//! ```text
//!  columns (a tree) + the version's schema ─► one [`Written`] a column, parents before children ─► taken by the columns in that order
//! ```
//!
//! Without a schema, and where a field is a plain number in it, a DATE is days and every other time milliseconds.

use std::collections::HashMap;
use std::slice::Iter;

use apache_avro::Schema as Avro;
use apache_avro::schema::Name;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::avro_reader::{name_types, present};
use super::avro_schema::branch_names;

/// What a whole number counts that stands for a date or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Days since 1970.
    Days,
    /// So many a second, since 1970 or midnight.
    PerSecond(i64),
}

/// How one column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// The unit of whole numbers, where the column is a date or a time.
    pub unit: Unit,
    /// Whether the ROW has a field for each type of a union, and a value is written as that type's.
    pub is_union: bool,
}

/// In the columns' order, parents before children.
pub(crate) type Order<'a> = Iter<'a, Written>;

impl Written {
    /// Without a schema that says more.
    pub fn plainly(column: &DataType) -> Self {
        Self { unit: unit_of(column, None), is_union: false }
    }
}

/// Whether schemas can say anything of these columns.
pub(crate) fn is_of_use(columns: &Fields) -> bool {
    fn depends(of: &DataType) -> bool {
        match of {
            DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => true,
            DataType::Struct(_) => true,
            DataType::List(item) => depends(item.data_type()),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) => pair.iter().any(|field| depends(field.data_type())),
                _ => false,
            },
            _ => false,
        }
    }
    columns.iter().any(|column| depends(column.data_type()))
}

/// What the schema of a version says of each of these columns, which are found by name.
pub(crate) fn written(columns: &Fields, schema: Option<&Avro>) -> Vec<Written> {
    let (mut names, mut found) = (HashMap::new(), Vec::new());
    if let Some(schema) = schema {
        name_types(schema, &mut names);
    }
    fields(columns, schema, &names, &mut found);
    found
}

fn fields(columns: &Fields, schema: Option<&Avro>, names: &HashMap<Name, &Avro>, found: &mut Vec<Written>) {
    for column in columns {
        let of_column = match schema {
            Some(Avro::Record(record)) => {
                record.fields.iter().find(|field| field.name == *column.name()).map(|field| &field.schema)
            }
            Some(Avro::Union(union)) => {
                let branches = branch_names(union.variants());
                branches.iter().position(|name| name == column.name()).map(|at| &union.variants()[at])
            }
            _ => None,
        };
        walk(column, of_column, names, found);
    }
}

/// Ends where the column does, so a type that contains itself is no danger.
fn walk(column: &Field, schema: Option<&Avro>, names: &HashMap<Name, &Avro>, found: &mut Vec<Written>) {
    let schema = schema.map(|schema| present(schema, names));
    let is_union = matches!((schema, column.data_type()), (Some(Avro::Union(_)), DataType::Struct(_)));
    found.push(Written { unit: unit_of(column.data_type(), schema), is_union });
    match column.data_type() {
        DataType::List(item) => {
            let items = match schema {
                Some(Avro::Array(array)) => Some(array.items.as_ref()),
                _ => None,
            };
            walk(item, items, names, found);
        }
        DataType::Map(entries, _) => {
            let values = match schema {
                Some(Avro::Map(map)) => Some(map.types.as_ref()),
                _ => None,
            };
            // Keys are texts.
            if let DataType::Struct(pair) = entries.data_type()
                && let Some(value) = pair.get(1)
            {
                walk(value, values, names, found);
            }
        }
        DataType::Struct(inner) => fields(inner, schema, names, found),
        _ => {}
    }
}

fn unit_of(column: &DataType, schema: Option<&Avro>) -> Unit {
    const NANOS: i64 = 1_000_000_000;
    match (schema, column) {
        (Some(Avro::Date), _) => Unit::Days,
        (Some(Avro::TimeMillis | Avro::TimestampMillis | Avro::LocalTimestampMillis), _) => Unit::PerSecond(1_000),
        (Some(Avro::TimeMicros | Avro::TimestampMicros | Avro::LocalTimestampMicros), _) => Unit::PerSecond(1_000_000),
        (Some(Avro::TimestampNanos | Avro::LocalTimestampNanos), _) => Unit::PerSecond(NANOS),
        // So TIME(7) to TIME(9) are registered, for which Avro has no type.
        (Some(Avro::Long), DataType::Time64(TimeUnit::Nanosecond)) => Unit::PerSecond(NANOS),
        (_, DataType::Date32) => Unit::Days,
        _ => Unit::PerSecond(1_000),
    }
}

#[cfg(test)]
mod tests {
    use aquifer_model::SqlType;

    use super::*;

    #[test]
    fn each_column_has_the_unit_of_its_field_at_every_depth() {
        let types = [
            ("d", "DATE"),
            ("ms", "TIMESTAMP(6)"),
            ("us", "TIMESTAMP_LTZ(3)"),
            ("n", "TIME(9)"),
            ("long", "TIMESTAMP(9)"),
            ("lacks", "TIMESTAMP(9)"),
            ("r", "ROW<`x` TIMESTAMP(3), `l` ARRAY<TIME(3)>, `m` MAP<STRING NOT NULL, DATE>>"),
            ("u", "ROW<`string` STRING, `long` TIMESTAMP(3)>"),
        ];
        let columns: Fields =
            types.iter().map(|(name, of)| SqlType::parse(of).expect("a type").to_field(name)).collect();
        let schema = Avro::parse_str(
            r#"{"type":"record","name":"t","fields":[
              {"name":"r","type":["null",{"type":"record","name":"inner","fields":[
                {"name":"m","type":{"type":"map","values":{"type":"int","logicalType":"date"}}},
                {"name":"l","type":{"type":"array","items":["null",{"type":"long","logicalType":"time-micros"}]}},
                {"name":"x","type":{"type":"long","logicalType":"timestamp-nanos"}}]}]},
              {"name":"u","type":["null","string",{"type":"long","logicalType":"timestamp-micros"}]},
              {"name":"d","type":{"type":"long","logicalType":"timestamp-millis"}},
              {"name":"ms","type":{"type":"long","logicalType":"timestamp-millis"}},
              {"name":"us","type":["null",{"type":"long","logicalType":"local-timestamp-micros"}]},
              {"name":"n","type":"long"},{"name":"long","type":"long"}]}"#,
        )
        .expect("a schema");
        const SECOND: Unit = Unit::PerSecond(1_000);
        let found = written(&columns, Some(&schema));
        let units: Vec<Unit> = found.iter().map(|one| one.unit).collect();
        let (micros, nanos) = (Unit::PerSecond(1_000_000), Unit::PerSecond(1_000_000_000));
        let expected =
            [SECOND, SECOND, micros, nanos, SECOND, SECOND, SECOND, nanos, SECOND, micros, SECOND, Unit::Days];
        assert_eq!(units, [&expected[..], &[SECOND, SECOND, micros]].concat());
        let unions: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_union).collect();
        assert_eq!(unions, [12], "a ROW of a record is none");
        let without = written(&columns, None);
        assert_eq!((without.len(), without[0].unit, without[3].unit), (found.len(), Unit::Days, SECOND));
        assert!(without.iter().all(|one| !one.is_union));
        assert!(is_of_use(&columns));
        let plain = ["INT", "ARRAY<STRING>", "MAP<STRING NOT NULL, DOUBLE>"];
        let plain: Fields = plain.iter().map(|of| SqlType::parse(of).expect("a type").to_field("c")).collect();
        assert!(!is_of_use(&plain));
    }
}
