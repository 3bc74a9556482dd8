//! The SQL types of bound expressions, and the type that several values have in common.

use aquifer_model::sql_type::{ColumnType, RowField};
use aquifer_model::{Result, SqlType};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::arithmetic::type_of_checked;
use crate::batch::from_datafusion;

/// The SQL type of a bound expression. An integer literal that fits is INT.
pub fn type_of(expression: &Expr, schema: &DFSchema) -> Result<SqlType> {
    Ok(match expression {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) if i32::try_from(*number).is_ok() => SqlType::Int,
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => {
            if interval.months != 0 {
                SqlType::IntervalMonths
            } else {
                SqlType::IntervalMillis
            }
        }
        Expr::Alias(alias) => type_of(&alias.expr, schema)?,
        other => {
            if let Some(found) = type_of_checked(other, schema) {
                return SqlType::from_arrow(&found);
            }
            let (_, field) = other.to_field(schema).map_err(from_datafusion)?;
            ColumnType::of_field(&field)?.sql_type
        }
    })
}

/// Whether a value can be a condition.
pub fn is_boolean(found: &SqlType) -> bool {
    matches!(found, SqlType::Boolean | SqlType::Null)
}

/// Digits before the point and after it, of an exact number.
pub(super) fn exact(found: &SqlType) -> Option<(i32, i32)> {
    Some(match found {
        SqlType::TinyInt => (3, 0),
        SqlType::SmallInt => (5, 0),
        SqlType::Int => (10, 0),
        SqlType::BigInt => (19, 0),
        SqlType::Decimal(precision, scale) => (i32::from(*precision), i32::from(*scale)),
        _ => return None,
    })
}

/// Whether it is a number.
pub(super) fn is_number(found: &SqlType) -> bool {
    exact(found).is_some() || matches!(found, SqlType::Float | SqlType::Double)
}

/// Whether it is a text.
pub(super) fn is_text(found: &SqlType) -> bool {
    matches!(found, SqlType::Char(_) | SqlType::Varchar(_))
}

/// The type that values of these types have in common in CASE, COALESCE, IN, UNION and VALUES; `None` if there is none.
pub fn common_type(types: &[SqlType]) -> Option<SqlType> {
    let mut found = SqlType::Null;
    for one in types {
        found = common(&found, one)?;
    }
    Some(found)
}

fn common(left: &SqlType, right: &SqlType) -> Option<SqlType> {
    use SqlType::{
        Array, BigInt, Binary, Char, Date, Decimal, Double, Float, Int, Map, Multiset, Null, Row, SmallInt, Time,
        Timestamp, TimestampLtz, TinyInt, Varbinary, Varchar,
    };
    if left == right || *right == Null {
        return Some(left.clone());
    }
    if *left == Null {
        return Some(right.clone());
    }
    if let (Some((p1, s1)), Some((p2, s2))) = (exact(left), exact(right)) {
        let integers = [TinyInt, SmallInt, Int, BigInt];
        let place = |found| integers.iter().position(|one| one == found);
        if let (Some(a), Some(b)) = (place(left), place(right)) {
            return Some(integers[a.max(b)].clone());
        }
        let scale = s1.max(s2);
        let whole = (p1 - s1).max(p2 - s2);
        let precision = (whole + scale).min(38);
        return Some(Decimal(precision as u8, scale.min((38 - whole).max(0)) as u8));
    }
    if is_number(left) && is_number(right) {
        // Of an integer and a FLOAT the FLOAT, of all else the DOUBLE.
        let float_fits = |found: &SqlType| matches!(found, Float | TinyInt | SmallInt | Int | BigInt);
        return Some(if float_fits(left) && float_fits(right) { Float } else { Double });
    }
    let of = |left: &ColumnType, right: &ColumnType| {
        Some(ColumnType {
            sql_type: common(&left.sql_type, &right.sql_type)?,
            nullable: left.nullable || right.nullable,
        })
    };
    Some(match (left, right) {
        (Char(a) | Varchar(a), Char(b) | Varchar(b)) => Varchar(*a.max(b)),
        (Binary(a) | Varbinary(a), Binary(b) | Varbinary(b)) => Varbinary(*a.max(b)),
        (Time(a), Time(b)) => Time(*a.max(b)),
        (Timestamp(a), Timestamp(b)) => Timestamp(*a.max(b)),
        (TimestampLtz(a) | Timestamp(a), TimestampLtz(b) | Timestamp(b)) => TimestampLtz(*a.max(b)),
        (Date, Timestamp(a)) | (Timestamp(a), Date) => Timestamp(*a),
        (Array(a), Array(b)) => Array(Box::new(of(a, b)?)),
        (Multiset(a), Multiset(b)) => Multiset(Box::new(of(a, b)?)),
        (Map(a, x), Map(b, y)) => Map(Box::new(of(a, b)?), Box::new(of(x, y)?)),
        (Row(a), Row(b)) if a.len() == b.len() => Row(a
            .iter()
            .zip(b)
            .map(|(a, b)| Some(RowField { name: a.name.clone(), column_type: of(&a.column_type, &b.column_type)? }))
            .collect::<Option<_>>()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_meet_in_the_smallest_type_that_holds_them_all() {
        for (left, right, expected) in [
            ("INT", "BIGINT", Some("BIGINT")),
            ("INT", "DECIMAL(10, 2)", Some("DECIMAL(12, 2)")),
            ("DECIMAL(38, 0)", "DECIMAL(10, 9)", Some("DECIMAL(38, 0)")),
            ("INT", "DOUBLE", Some("DOUBLE")),
            ("BIGINT", "FLOAT", Some("FLOAT")),
            ("DECIMAL(5, 2)", "FLOAT", Some("DOUBLE")),
            ("CHAR(3)", "VARCHAR(2)", Some("VARCHAR(3)")),
            ("DATE", "TIMESTAMP(3)", Some("TIMESTAMP(3)")),
            ("ARRAY<INT>", "ARRAY<BIGINT>", Some("ARRAY<BIGINT>")),
            ("INT", "STRING", None),
            ("BOOLEAN", "INT", None),
            ("DATE", "TIME(0)", None),
        ] {
            let parsed = |text: &str| SqlType::parse(text).expect(text).sql_type;
            for pair in [[left, right], [right, left]] {
                let found = common_type(&[parsed(pair[0]), SqlType::Null, parsed(pair[1])]);
                assert_eq!(found, expected.map(parsed), "{pair:?}");
            }
        }
    }
}
