//! Between which numbers a predicate leaves a column: what places in a log are found by.
//!
//! ```text
//!  AND ─► what both leave      OR ─► what either leaves      =, <, BETWEEN, IN with literals ─► their range      anything else ─► all
//! ```
//!
//! A row whose column is NULL or lies outside is not kept; one inside may be. Deep inside a predicate nothing is looked for.

use aquifer_model::Position;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// So many AND and OR may stand inside each other.
const MAX_DEPTH: usize = 200;

/// Numbers from one to another, with both; none if they have changed places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub low: i64,
    pub high: i64,
}

impl Bounds {
    const ALL: Self = Self { low: i64::MIN, high: i64::MAX };
    const NONE: Self = Self { low: i64::MAX, high: i64::MIN };

    /// Where a predicate can be true, as far as comparisons of one column, the one that `is_it`, with literals tell.
    pub fn of(predicate: &Expr, is_it: &dyn Fn(&str) -> bool) -> Self {
        Self::below(predicate, is_it, MAX_DEPTH)
    }

    fn below(predicate: &Expr, is_it: &dyn Fn(&str) -> bool, depth: usize) -> Self {
        let Some(depth) = depth.checked_sub(1) else { return Self::ALL };
        match predicate {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Self::below(left, is_it, depth).both(Self::below(right, is_it, depth))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                Self::below(left, is_it, depth).either(Self::below(right, is_it, depth))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _)) if is_it(&column.name) => Self::compared(*op, value),
                (Expr::Literal(value, _), Expr::Column(column)) if is_it(&column.name) => {
                    op.swap().map_or(Self::ALL, |op| Self::compared(op, value))
                }
                _ => Self::ALL,
            },
            Expr::Between(Between { expr, negated: false, low, high }) => {
                match (expr.as_ref(), low.as_ref(), high.as_ref()) {
                    (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) if is_it(&column.name) => {
                        Self::compared(Operator::GtEq, low).both(Self::compared(Operator::LtEq, high))
                    }
                    _ => Self::ALL,
                }
            }
            Expr::InList(InList { expr, list, negated: false }) => match expr.as_ref() {
                Expr::Column(column) if is_it(&column.name) => list.iter().fold(Self::NONE, |so_far, one| {
                    so_far.either(match one {
                        Expr::Literal(value, _) => Self::compared(Operator::Eq, value),
                        _ => Self::ALL,
                    })
                }),
                _ => Self::ALL,
            },
            _ => Self::ALL,
        }
    }

    /// The numbers that compare so with a literal.
    fn compared(op: Operator, value: &ScalarValue) -> Self {
        let Some(number) = number(value) else { return Self::ALL };
        match op {
            Operator::Eq => Self { low: number, high: number },
            Operator::GtEq => Self { low: number, ..Self::ALL },
            Operator::LtEq => Self { high: number, ..Self::ALL },
            Operator::Gt => number.checked_add(1).map_or(Self::NONE, |low| Self { low, ..Self::ALL }),
            Operator::Lt => number.checked_sub(1).map_or(Self::NONE, |high| Self { high, ..Self::ALL }),
            _ => Self::ALL,
        }
    }

    fn both(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.min(other.high) }
    }

    fn either(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self { low: self.low.min(other.low), high: self.high.max(other.high) },
        }
    }

    fn is_empty(self) -> bool {
        self.low > self.high
    }
}

/// A whole number, or the milliseconds of an instant.
fn number(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(number) => number.map(i64::from),
        ScalarValue::Int16(number) => number.map(i64::from),
        ScalarValue::Int32(number) => number.map(i64::from),
        ScalarValue::Int64(number) | ScalarValue::TimestampMillisecond(number, _) => *number,
        _ => None,
    }
}

/// The first and the last entry that lie in ledgers and have numbers between bounds; nothing lies between them if the first is the later one.
pub(super) fn positions(ledgers: Bounds, entries: Bounds) -> (Position, Position) {
    if ledgers.is_empty() || entries.is_empty() || ledgers.high < 0 || entries.high < 0 {
        return (Position::new(u64::MAX, u64::MAX), Position::new(0, 0));
    }
    let low = |number: i64| u64::try_from(number).unwrap_or(0);
    // Where nothing is said of the largest, there is none.
    let high = |number: i64| if number == i64::MAX { u64::MAX } else { low(number) };
    (Position::new(low(ledgers.low), low(entries.low)), Position::new(high(ledgers.high), high(entries.high)))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn bounds(low: i64, high: i64) -> Bounds {
        Bounds { low, high }
    }

    #[test]
    fn comparisons_with_literals_bound_a_column_and_what_is_not_understood_bounds_nothing() {
        let a = || col("a");
        let time = |ms| lit(ScalarValue::TimestampMillisecond(Some(ms), Some("UTC".into())));
        let (min, max) = (i64::MIN, i64::MAX);
        for (predicate, expected) in [
            (a().eq(lit(5i64)), bounds(5, 5)),
            (a().gt(lit(5i64)), bounds(6, max)),
            (a().gt_eq(lit(5i64)), bounds(5, max)),
            (a().lt(lit(5i64)), bounds(min, 4)),
            (a().lt_eq(lit(5i32)), bounds(min, 5)),
            (lit(5i64).lt(a()), bounds(6, max)),
            (lit(5i64).gt_eq(a()), bounds(min, 5)),
            (a().between(lit(3i64), lit(9i64)), bounds(3, 9)),
            (a().not_between(lit(3i64), lit(9i64)), Bounds::ALL),
            (a().in_list(vec![lit(4i64), lit(1i64), lit(8i64)], false), bounds(1, 8)),
            (a().in_list(vec![lit(4i64), a()], false), Bounds::ALL),
            (a().in_list(vec![lit(4i64)], true), Bounds::ALL),
            (a().gt(time(1000)), bounds(1001, max)),
            (a().gt(lit(5i64)).and(a().lt(lit(9i64))), bounds(6, 8)),
            (a().gt(lit(5i64)).and(col("b").lt(lit(9i64))), bounds(6, max)),
            (a().eq(lit(5i64)).or(a().eq(lit(9i64))), bounds(5, 9)),
            (a().eq(lit(5i64)).or(col("b").eq(lit(9i64))), Bounds::ALL),
            (a().gt(lit(max)).or(a().eq(lit(9i64))), bounds(9, 9)),
            (a().not_eq(lit(5i64)), Bounds::ALL),
            (a().is_null(), Bounds::ALL),
            ((a() + lit(1i64)).eq(lit(5i64)), Bounds::ALL),
            (a().eq(lit(1.5f64)), Bounds::ALL),
            (a().eq(lit(5i64)).is_not_true(), Bounds::ALL),
            (a().gt(lit(ScalarValue::Int64(None))), Bounds::ALL),
        ] {
            assert_eq!(Bounds::of(&predicate, &|name| name == "a"), expected, "{predicate}");
        }
    }

    #[test]
    fn bounds_of_ledgers_and_entries_make_positions() {
        let at = Position::new;
        for (ledgers, entries, expected) in [
            (Bounds::ALL, Bounds::ALL, (at(0, 0), at(u64::MAX, u64::MAX))),
            (bounds(7, 7), Bounds::ALL, (at(7, 0), at(7, u64::MAX))),
            (bounds(7, 9), bounds(3, 5), (at(7, 3), at(9, 5))),
            (bounds(-3, 9), bounds(i64::MIN, 5), (at(0, 0), at(9, 5))),
            (Bounds::ALL, bounds(3, i64::MAX), (at(0, 3), at(u64::MAX, u64::MAX))),
        ] {
            assert_eq!(positions(ledgers, entries), expected, "{ledgers:?} {entries:?}");
        }
        for (ledgers, entries) in [(bounds(9, 7), Bounds::ALL), (Bounds::ALL, bounds(i64::MIN, -1))] {
            let (first, last) = positions(ledgers, entries);
            assert!(first > last, "{ledgers:?} {entries:?}");
        }
    }
}
