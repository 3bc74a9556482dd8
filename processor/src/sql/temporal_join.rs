//! `JOIN t FOR SYSTEM_TIME AS OF o.ts`: bound and typed as a join, its time in the condition; nothing runs it yet, so it is then refused by its name.
//!
//! ```text
//!  o JOIN t FOR SYSTEM_TIME AS OF o.ts AS r ON c  ─►  o JOIN t AS r ON c AND CAST(o.ts AS TIMESTAMP_LTZ(3)) IS NOT NULL
//! ```

use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::{
    BinaryOperator, Expr, JoinConstraint, JoinOperator, Query, Select, TableFactor, TableVersion, Value, VisitMut,
    VisitorMut, visit_expressions,
};

use super::sugar;

/// What is left of the version of a table that is joined by a column's time.
const MARK: &str = "\u{1}temporal";

/// Takes such times out; whether there was one.
pub(super) fn take(query: &mut Query) -> Result<bool> {
    struct Taker(bool);
    impl VisitorMut for Taker {
        type Break = Error;
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            let mut conditions = Vec::new();
            for (n, from) in select.from.iter_mut().enumerate() {
                if n > 0 {
                    conditions.extend(time_of(&mut from.relation));
                }
                for join in &mut from.joins {
                    let Some(time) = time_of(&mut join.relation) else { continue };
                    let on = match &mut join.join_operator {
                        JoinOperator::Join(JoinConstraint::On(on))
                        | JoinOperator::Inner(JoinConstraint::On(on))
                        | JoinOperator::Left(JoinConstraint::On(on))
                        | JoinOperator::LeftOuter(JoinConstraint::On(on)) => on,
                        _ => {
                            return ControlFlow::Break(Error::invalid(
                                "a temporal join is written JOIN or LEFT JOIN t FOR SYSTEM_TIME AS OF o.ts ON the key of t",
                            ));
                        }
                    };
                    let before = std::mem::replace(on, Expr::Value(Value::Null.into()));
                    *on = and(Expr::Nested(Box::new(before)), time);
                    self.0 = true;
                }
            }
            for time in conditions {
                self.0 = true;
                select.selection = Some(match select.selection.take() {
                    Some(before) => and(Expr::Nested(Box::new(before)), time),
                    None => time,
                });
            }
            ControlFlow::Continue(())
        }
    }
    let mut taker = Taker(false);
    match query.visit(&mut taker) {
        ControlFlow::Continue(()) => Ok(taker.0),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Whether a time is what is left of such a version.
pub(super) fn is_mark(time: &Expr) -> bool {
    matches!(time, Expr::Value(value) if matches!(&value.value, Value::Placeholder(text) if text == MARK))
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) }
}

/// The condition that binds the time of a table, if that names columns.
fn time_of(factor: &mut TableFactor) -> Option<Expr> {
    let TableFactor::Table { version: Some(TableVersion::ForSystemTimeAsOf(time)), .. } = factor else { return None };
    let names = visit_expressions(time, |one| match one {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    names.is_break().then(|| {
        let time = std::mem::replace(time, Expr::Value(Value::Placeholder(MARK.to_string()).into()));
        let instant = Expr::Value(Value::SingleQuotedString("TIMESTAMP_LTZ(3)".to_string()).into());
        Expr::IsNotNull(Box::new(sugar::call(sugar::CAST, vec![time, instant])))
    })
}
