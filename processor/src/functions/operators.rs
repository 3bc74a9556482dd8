//! Binary operators by Flink's rules: what types they take, and what their result is.

use aquifer_model::{Error, Result, SqlType};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use sqlparser::ast::BinaryOperator;

use super::arithmetic::{Operation, checked};
use super::casts::cast;
use super::intervals;
use super::types::{common_type, exact, is_boolean, is_number, is_text, type_of};

/// `left op right`, typed and checked. Comparisons stay DataFusion's own, over sides of one type, so that statistics can prune by them.
pub fn binary(op: &BinaryOperator, left: Expr, right: Expr, schema: &DFSchema) -> Result<Expr> {
    let (l, r) = (type_of(&left, schema)?, type_of(&right, schema)?);
    let wrong = |what: &str| Err(Error::invalid(format!("`{op}` does not fit {l} and {r}: {what}")));
    let plain = |operator, left, right| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)));
    let comparison = |operator| -> Result<Expr> {
        match comparable(&l, &r, &left, &right) {
            Some(both) => Ok(plain(
                operator,
                cast(left.clone(), &both, false, schema)?,
                cast(right.clone(), &both, false, schema)?,
            )),
            None => wrong("CAST one of them to the other's type"),
        }
    };
    let operation = match op {
        BinaryOperator::Eq => return comparison(Operator::Eq),
        BinaryOperator::NotEq => return comparison(Operator::NotEq),
        BinaryOperator::Lt => return comparison(Operator::Lt),
        BinaryOperator::LtEq => return comparison(Operator::LtEq),
        BinaryOperator::Gt => return comparison(Operator::Gt),
        BinaryOperator::GtEq => return comparison(Operator::GtEq),
        BinaryOperator::And | BinaryOperator::Or => {
            if !is_boolean(&l) || !is_boolean(&r) {
                return wrong("both sides must be BOOLEAN");
            }
            let operator = if *op == BinaryOperator::And { Operator::And } else { Operator::Or };
            return Ok(plain(
                operator,
                cast(left, &SqlType::Boolean, false, schema)?,
                cast(right, &SqlType::Boolean, false, schema)?,
            ));
        }
        BinaryOperator::StringConcat => {
            let fits = |one: &SqlType| is_text(one) || *one == SqlType::Null;
            if !fits(&l) || !fits(&r) {
                return wrong("both sides must be texts, CAST them to STRING");
            }
            let text = |side| cast(side, &SqlType::STRING, false, schema);
            return Ok(plain(Operator::StringConcat, text(left)?, text(right)?));
        }
        BinaryOperator::Plus => Operation::Add,
        BinaryOperator::Minus => Operation::Subtract,
        BinaryOperator::Multiply => Operation::Multiply,
        BinaryOperator::Divide => Operation::Divide,
        BinaryOperator::Modulo => Operation::Modulo,
        other => return Err(Error::unsupported(format!("the operator `{other}` is not Flink's"))),
    };
    arithmetic(operation, (left, l), (right, r), schema)
}

/// The type in which two values are compared; `None` if they cannot be.
fn comparable(l: &SqlType, r: &SqlType, left: &Expr, right: &Expr) -> Option<SqlType> {
    let is_time = |one: &SqlType| {
        matches!(one, SqlType::Date | SqlType::Time(_) | SqlType::Timestamp(_) | SqlType::TimestampLtz(_))
    };
    let is_written = |one: &Expr| matches!(one, Expr::Literal(..));
    match (l, r) {
        // A day is no instant: Flink refuses the comparison, though the two have a common type elsewhere.
        (SqlType::Date, SqlType::Timestamp(_) | SqlType::TimestampLtz(_)) => None,
        (SqlType::Timestamp(_) | SqlType::TimestampLtz(_), SqlType::Date) => None,
        (SqlType::Map(..), _) | (_, SqlType::Map(..)) => None,
        (a, b) if is_time(a) && is_text(b) && is_written(right) => Some(written_time(a, right)),
        (a, b) if is_text(a) && is_time(b) && is_written(left) => Some(written_time(b, left)),
        _ => common_type(&[l.clone(), r.clone()]),
    }
}

/// A time's type wide enough for the digits of a text beside it.
fn written_time(time: &SqlType, text: &Expr) -> SqlType {
    let digits = match text {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
            text.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end().len().min(9) as u8)
        }
        _ => 0,
    };
    match time {
        SqlType::Timestamp(p) => SqlType::Timestamp(digits.max(*p)),
        SqlType::TimestampLtz(p) => SqlType::TimestampLtz(digits.max(*p)),
        other => other.clone(),
    }
}

/// Arithmetic deeper than this is refused: types are looked up in time that grows with the depth's third power.
const DEEPEST: usize = 100;

/// How deep arithmetic stands on arithmetic.
fn depth(expression: &Expr) -> usize {
    match expression {
        Expr::ScalarFunction(call) => 1 + call.args.iter().map(depth).max().unwrap_or(0),
        Expr::BinaryExpr(binary) => 1 + depth(&binary.left).max(depth(&binary.right)),
        _ => 0,
    }
}

fn arithmetic(
    operation: Operation,
    (left, l): (Expr, SqlType),
    (right, r): (Expr, SqlType),
    schema: &DFSchema,
) -> Result<Expr> {
    let operator = match operation {
        Operation::Add => Operator::Plus,
        Operation::Subtract => Operator::Minus,
        Operation::Multiply => Operator::Multiply,
        Operation::Divide => Operator::Divide,
        Operation::Modulo => Operator::Modulo,
    };
    let plain = |left, right| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)));
    let wrong = || Err(Error::invalid(format!("`{operator}` does not fit {l} and {r}")));
    if depth(&left).max(depth(&right)) > DEEPEST {
        return Err(Error::unsupported(format!(
            "`{operator}` stands on more than {DEEPEST} operators or functions, one in the other: cut the expression up with WITH or a view"
        )));
    }
    let number = |one: &SqlType| is_number(one) || *one == SqlType::Null;
    if number(&l) && number(&r) {
        // A NULL without a type takes the other side's.
        let of = |own: &SqlType, other: &SqlType| match (own, other) {
            (SqlType::Null, SqlType::Null) => SqlType::Int,
            (SqlType::Null, other) => other.clone(),
            (own, _) => own.clone(),
        };
        let (l, r) = (of(&l, &r), of(&r, &l));
        if exact(&l).is_some() && exact(&r).is_some() {
            // Two integers meet in the wider one; with a decimal each keeps its own digits.
            let integers = !matches!(l, SqlType::Decimal(..)) && !matches!(r, SqlType::Decimal(..));
            let (to_left, to_right) = if integers {
                let both = common_type(&[l.clone(), r.clone()]).unwrap_or(SqlType::BigInt);
                (both.clone(), both)
            } else {
                (as_decimal(&l), as_decimal(&r))
            };
            let (left, right) = (cast(left, &to_left, false, schema)?, cast(right, &to_right, false, schema)?);
            return Ok(checked(operation, left, right));
        }
        let both = common_type(&[l, r]).unwrap_or(SqlType::Double);
        return Ok(plain(cast(left, &both, false, schema)?, cast(right, &both, false, schema)?));
    }
    let interval = |one: &SqlType| matches!(one, SqlType::IntervalMonths | SqlType::IntervalMillis);
    let moment = |one: &SqlType| matches!(one, SqlType::Date | SqlType::Timestamp(_) | SqlType::TimestampLtz(_));
    let is_whole = |one: &SqlType| matches!(one, SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt);
    let additive = matches!(operation, Operation::Add | Operation::Subtract);
    match (&l, &r) {
        (a, b) if moment(a) && interval(b) && additive => {
            let left = if *a == SqlType::Date && has_part_of_a_day(&right) {
                cast(left, &SqlType::Timestamp(6), false, schema)?
            } else {
                left
            };
            Ok(plain(left, right))
        }
        (a, b) if interval(a) && moment(b) && operation == Operation::Add => {
            arithmetic(operation, (right, r.clone()), (left, l.clone()), schema)
        }
        (SqlType::Time(_), SqlType::IntervalMillis) if additive => {
            Ok(intervals::moved(left, right, operation == Operation::Subtract, &l))
        }
        (a, b) if interval(a) && is_whole(b) && operation == Operation::Multiply => {
            Ok(intervals::times(left, cast(right, &SqlType::BigInt, false, schema)?, &l))
        }
        (a, b) if is_whole(a) && interval(b) && operation == Operation::Multiply => {
            Ok(intervals::times(right, cast(left, &SqlType::BigInt, false, schema)?, &r))
        }
        (a, b) if a == b && interval(a) && additive => Ok(plain(left, right)),
        _ => wrong(),
    }
}

/// Whether an interval is more than whole days and months. One that is not written out may be.
fn has_part_of_a_day(interval: &Expr) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => interval.nanoseconds != 0,
        _ => true,
    }
}

fn as_decimal(found: &SqlType) -> SqlType {
    match exact(found) {
        Some((precision, scale)) => SqlType::Decimal(precision as u8, scale as u8),
        None => found.clone(),
    }
}
