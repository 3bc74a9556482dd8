//! Special forms as plain function calls, so that one place (`crate::functions`) gives them their Flink meaning.
//!
//! ```text
//!  EXTRACT(DAY FROM t)      ─► EXTRACT('DAY', t)           a BETWEEN b AND c  ─► a >= b AND a <= c
//!  FLOOR(t TO HOUR)         ─► FLOOR(t, 'HOUR')            TIMESTAMP '…'      ─► $cast('…', 'TIMESTAMP(3)'), checked
//!  TIMESTAMPDIFF(DAY, a, b) ─► TIMESTAMPDIFF('DAY', a, b)  -x                 ─► $negate(x)
//!  TRIM(LEADING 'x' FROM s) ─► LTRIM(s, 'x')               a[1]               ─► $item(a, 1)
//! ```

use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, DateTimeField, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query,
    Subscript, TrimWhereField, TypedString, UnaryOperator, Value, VisitMut, VisitorMut,
};

/// The function that a CAST is read as; its second argument is the type's text.
pub(super) const CAST: &str = "$cast";
/// The same for TRY_CAST.
pub(super) const TRY_CAST: &str = "$try_cast";
/// Unary minus.
pub(super) const NEGATE: &str = "$negate";
/// An element of an array or map.
pub(super) const ITEM: &str = "$item";

/// Rewrites a query's special forms.
pub(super) fn unsweeten(query: &mut Query) -> Result<()> {
    match query.visit(&mut Unsweetener) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The same for one expression.
pub(super) fn unsweeten_expression(expression: &mut Expr) -> Result<()> {
    match expression.visit(&mut Unsweetener) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The visitor of [`unsweeten`].
pub(super) struct Unsweetener;

impl VisitorMut for Unsweetener {
    type Break = Error;

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
        match rewritten(expression) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(new)) => {
                *expression = new;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn text(value: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.into()).into())
}

/// A call of a function by name.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let argument = |expression| FunctionArg::Unnamed(FunctionArgExpr::Expr(expression));
    let list = FunctionArgumentList {
        duplicate_treatment: None,
        args: arguments.into_iter().map(argument).collect(),
        clauses: Vec::new(),
    };
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn rewritten(expression: &mut Expr) -> Result<Option<Expr>> {
    let take = |expression: &mut Expr| std::mem::replace(expression, text(""));
    Ok(Some(match expression {
        Expr::Value(value) => match &mut value.value {
            Value::NationalStringLiteral(national) => text(std::mem::take(national)),
            _ => return Ok(None),
        },
        Expr::Extract { field, expr, syntax: _ } => call("EXTRACT", vec![text(unit(field)?), take(expr)]),
        Expr::Floor { expr, field } => rounding("FLOOR", take(expr), field)?,
        Expr::Ceil { expr, field } => rounding("CEIL", take(expr), field)?,
        Expr::Position { expr, r#in } => call("POSITION", vec![take(expr), take(r#in)]),
        Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
            let Some(from) = substring_from else {
                return Err(Error::invalid("write SUBSTRING(text FROM start [FOR length])"));
            };
            let mut arguments = vec![take(expr), take(from)];
            arguments.extend(substring_for.as_mut().map(|length| take(length)));
            call("SUBSTRING", arguments)
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let mut arguments = vec![take(expr), take(overlay_what), take(overlay_from)];
            arguments.extend(overlay_for.as_mut().map(|length| take(length)));
            call("OVERLAY", arguments)
        }
        Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
            if trim_characters.is_some() {
                return Err(Error::invalid("write TRIM(BOTH 'characters' FROM text)"));
            }
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "LTRIM",
                Some(TrimWhereField::Trailing) => "RTRIM",
                Some(TrimWhereField::Both) | None => "BTRIM",
            };
            let mut arguments = vec![take(expr)];
            arguments.extend(trim_what.as_mut().map(|what| take(what)));
            call(name, arguments)
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            if matches!(expr.as_ref(), Expr::Value(value) if matches!(value.value, Value::Number(..))) {
                return Ok(None);
            }
            call(NEGATE, vec![take(expr)])
        }
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => take(expr),
        Expr::Between { expr, negated, low, high } => {
            let binary =
                |left: Expr, op, right: Expr| Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) };
            let value = take(expr);
            let within = if *negated {
                binary(
                    binary(value.clone(), BinaryOperator::Lt, take(low)),
                    BinaryOperator::Or,
                    binary(value, BinaryOperator::Gt, take(high)),
                )
            } else {
                binary(
                    binary(value.clone(), BinaryOperator::GtEq, take(low)),
                    BinaryOperator::And,
                    binary(value, BinaryOperator::LtEq, take(high)),
                )
            };
            Expr::Nested(Box::new(within))
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            let mut arguments = vec![take(expr), take(pattern)];
            arguments.extend(escape_char.take().map(Expr::Value));
            let found = call("$SIMILAR", arguments);
            if *negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(found) } } else { found }
        }
        Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => overlaps(left, right)?,
        Expr::Array(array) => call("ARRAY", std::mem::take(&mut array.elem)),
        Expr::Map(map) => {
            let entries = std::mem::take(&mut map.entries);
            call("MAP", entries.into_iter().flat_map(|entry| [*entry.key, *entry.value]).collect())
        }
        Expr::Tuple(values) => call("ROW", std::mem::take(values)),
        Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: _ }) => {
            let Some(literal) = value.clone().into_string() else { return Ok(None) };
            typed_literal(data_type, literal)?
        }
        Expr::Cast { kind: CastKind::DoubleColon, expr, data_type, array: false, format: None } => {
            call(CAST, vec![take(expr), text(data_type.to_string())])
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut value = take(root);
            for access in access_chain.iter_mut() {
                value = match access {
                    AccessExpr::Subscript(Subscript::Index { index }) => call(ITEM, vec![value, take(index)]),
                    AccessExpr::Dot(Expr::Identifier(name)) => call("$field", vec![value, text(name.value.clone())]),
                    other => return Err(Error::unsupported(format!("`{other}` behind a value is not built yet"))),
                };
            }
            value
        }
        Expr::Function(function) => {
            let name = function.name.to_string().to_ascii_uppercase();
            if name == "CURRENT_WATERMARK" {
                return Err(Error::unsupported(
                    "CURRENT_WATERMARK is not built yet: an expression sees its row, and no watermark; --verbose tells a stream's watermark and its late rows",
                ));
            }
            if let Some(conditional) = conditional(&name, function)? {
                return Ok(Some(conditional));
            }
            if !matches!(name.as_str(), "TIMESTAMPADD" | "TIMESTAMPDIFF") {
                return Ok(None);
            }
            if let FunctionArguments::List(list) = &mut function.args
                && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
                && let Expr::Identifier(unit) = first
            {
                *first = text(unit.value.to_ascii_uppercase());
            }
            return Ok(None);
        }
        Expr::Interval(interval) => Expr::Interval(super::intervals::plain(interval)?),
        Expr::Collate { .. } => return Err(Error::unsupported("COLLATE is not built: texts compare by their bytes")),
        Expr::AtTimeZone { .. } => {
            return Err(Error::unsupported("AT TIME ZONE is not Flink's: CAST to TIMESTAMP_LTZ or use CONVERT_TZ"));
        }
        Expr::JsonAccess { .. } => return Err(Error::unsupported("`:` behind a value is not built: use JSON_VALUE")),
        Expr::InUnnest { .. } | Expr::MemberOf(_) => {
            return Err(Error::unsupported("this form of IN is not built: use ARRAY_CONTAINS"));
        }
        Expr::Dictionary(_) | Expr::Struct { .. } => {
            return Err(Error::invalid("a row is written ROW(a, b), a map MAP['key', value]"));
        }
        Expr::Convert { .. } => return Err(Error::invalid("CONVERT is not Flink's: use CAST(value AS type)")),
        _ => return Ok(None),
    }))
}

/// IF, IFNULL, NULLIF, COALESCE, GREATEST and LEAST as CASE, which gives their values one type.
fn conditional(name: &str, function: &Function) -> Result<Option<Expr>> {
    if !matches!(name, "IF" | "IFNULL" | "NULLIF" | "COALESCE" | "GREATEST" | "LEAST") {
        return Ok(None);
    }
    let FunctionArguments::List(list) = &function.args else { return Ok(None) };
    let arguments: Option<Vec<Expr>> = list
        .args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
            _ => None,
        })
        .collect();
    let wrong = |usage: &str| Err(Error::invalid(format!("write {usage}")));
    let case = |conditions: Vec<(Expr, Expr)>, otherwise: Expr| {
        let when = |(condition, result)| CaseWhen { condition, result: typed(result) };
        Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: conditions.into_iter().map(when).collect(),
            else_result: Some(Box::new(typed(otherwise))),
        }
    };
    let null = || Expr::Value(Value::Null.into());
    let is_null = |value: &Expr| Expr::IsNull(Box::new(value.clone()));
    let Some(mut arguments) = arguments.filter(|arguments| !arguments.is_empty()) else {
        return wrong(&format!("{name}(value, …)"));
    };
    Ok(Some(match (name, arguments.as_mut_slice()) {
        ("IF", [condition, yes, no]) => case(vec![(condition.clone(), yes.clone())], no.clone()),
        ("IF", _) => return wrong("IF(condition, value, value)"),
        ("IFNULL", [value, other]) => case(vec![(is_null(value), other.clone())], value.clone()),
        ("IFNULL", _) => return wrong("IFNULL(value, other)"),
        ("NULLIF", [value, other]) => {
            let equal = Expr::BinaryOp {
                left: Box::new(value.clone()),
                op: BinaryOperator::Eq,
                right: Box::new(other.clone()),
            };
            case(vec![(equal, null())], value.clone())
        }
        ("NULLIF", _) => return wrong("NULLIF(value, other)"),
        ("COALESCE", all) => {
            let Some((last, first)) = all.split_last() else { return wrong("COALESCE(value, …)") };
            let known = |value: &Expr| (Expr::IsNotNull(Box::new(value.clone())), value.clone());
            if first.is_empty() { last.clone() } else { case(first.iter().map(known).collect(), last.clone()) }
        }
        (_, all) => {
            // NULL if any of them is.
            let own = if name == "GREATEST" { "$GREATEST" } else { "$LEAST" };
            let call = call(own, all.iter().cloned().map(typed).collect());
            case(all.iter().map(|value| (is_null(value), null())).collect(), call)
        }
    }))
}

/// `(start, end) OVERLAPS (start, end)`; an end may be an interval after its start.
fn overlaps(left: &Expr, right: &Expr) -> Result<Expr> {
    let mut bounds = Vec::with_capacity(4);
    for side in [left, right] {
        let pair = match side {
            Expr::Function(row) if row.name.to_string() == "ROW" => match &row.args {
                FunctionArguments::List(list) => list.args.as_slice(),
                _ => &[],
            },
            _ => &[],
        };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(start)), FunctionArg::Unnamed(FunctionArgExpr::Expr(end))] =
            pair
        else {
            return Err(Error::invalid("write (start, end) OVERLAPS (start, end)"));
        };
        bounds.push(start.clone());
        bounds.push(match end {
            Expr::Interval(_) => {
                Expr::BinaryOp { left: Box::new(start.clone()), op: BinaryOperator::Plus, right: Box::new(end.clone()) }
            }
            end => end.clone(),
        });
    }
    Ok(call("$OVERLAPS", bounds))
}

/// An integer literal that is a branch is INT, as in CASE.
fn typed(mut value: Expr) -> Expr {
    super::names::int(&mut value);
    value
}

fn unit(field: &DateTimeField) -> Result<String> {
    Ok(field.to_string().to_ascii_uppercase())
}

fn rounding(name: &str, value: Expr, field: &CeilFloorKind) -> Result<Expr> {
    match field {
        CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => Ok(call(name, vec![value])),
        CeilFloorKind::DateTimeField(field) => Ok(call(name, vec![value, text(unit(field)?)])),
        CeilFloorKind::Scale(_) => Err(Error::invalid(format!("{name} takes one number, or a time TO a unit"))),
    }
}

/// `DATE '…'`, `TIME '…'`, `TIMESTAMP '…'`: checked now, with as many digits as were written.
fn typed_literal(data_type: &DataType, literal: String) -> Result<Expr> {
    let digits = literal.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let wrong =
        |form: &str| Error::invalid(format!("{data_type} '{literal}' is no {data_type}: write {data_type} '{form}'"));
    if digits > 9 {
        return Err(Error::invalid(format!("{data_type} '{literal}' has more than 9 digits after the point")));
    }
    let time = |text: &str| chrono::NaiveTime::parse_from_str(text, "%H:%M:%S%.f").is_ok();
    let date = |text: &str| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok();
    let type_text = match data_type {
        DataType::Date => {
            if !date(literal.trim()) {
                return Err(wrong("2024-02-29"));
            }
            "DATE".to_string()
        }
        DataType::Time(..) => {
            if !time(literal.trim()) {
                return Err(wrong("10:30:00"));
            }
            format!("TIME({digits})")
        }
        DataType::Timestamp(_, zone) => {
            let is_right = literal.trim().split_once(' ').is_some_and(|(day, clock)| date(day) && time(clock.trim()));
            if !is_right {
                return Err(wrong("2024-02-29 10:30:00"));
            }
            let name =
                if matches!(zone, sqlparser::ast::TimezoneInfo::None | sqlparser::ast::TimezoneInfo::WithoutTimeZone) {
                    "TIMESTAMP"
                } else {
                    "TIMESTAMP_LTZ"
                };
            format!("{name}({digits})")
        }
        other => return Err(Error::invalid(format!("`{other} '{literal}'`: write CAST('{literal}' AS {other})"))),
    };
    Ok(call(CAST, vec![text(literal.trim()), text(type_text + " NOT NULL")]))
}

#[cfg(test)]
mod tests {
    use super::super::statement::parse_expression;
    use super::*;

    fn plain(text: &str) -> Result<String> {
        let mut expression = parse_expression(text)?;
        unsweeten_expression(&mut expression)?;
        Ok(expression.to_string())
    }

    #[test]
    fn special_forms_become_calls() {
        for (written, called) in [
            ("EXTRACT(DAY FROM t)", "EXTRACT('DAY', t)"),
            ("FLOOR(t TO HOUR)", "FLOOR(t, 'HOUR')"),
            ("CEIL(x)", "CEIL(x)"),
            ("TRIM(s)", "BTRIM(s)"),
            ("TRIM(LEADING 'x' FROM s)", "LTRIM(s, 'x')"),
            ("POSITION('a' IN s)", "POSITION('a', s)"),
            ("SUBSTRING(s FROM 2 FOR 3)", "SUBSTRING(s, 2, 3)"),
            ("OVERLAY(s PLACING 'x' FROM 2)", "OVERLAY(s, 'x', 2)"),
            ("-x", "$negate(x)"),
            ("-1", "-1"),
            ("ARRAY[1, 2]", "ARRAY(1, 2)"),
            ("a[1]", "$item(a, 1)"),
            ("x BETWEEN 1 AND 2", "(x >= 1 AND x <= 2)"),
            ("x NOT BETWEEN 1 AND 2", "(x < 1 OR x > 2)"),
            ("DATE '2024-02-29'", "$cast('2024-02-29', 'DATE NOT NULL')"),
            ("TIMESTAMP '2024-02-29 10:30:00.125'", "$cast('2024-02-29 10:30:00.125', 'TIMESTAMP(3) NOT NULL')"),
            ("TIMESTAMPDIFF(DAY, a, b)", "TIMESTAMPDIFF('DAY', a, b)"),
        ] {
            assert_eq!(plain(written).expect(written), called, "{written}");
        }
        for wrong in ["DATE '2023-02-29'", "TIMESTAMP '2024-02-29'", "t AT TIME ZONE 'UTC'", "TIME '25:00:00'"] {
            assert!(plain(wrong).is_err(), "{wrong}");
        }
        let refusal = plain("t > current_watermark(t)").expect_err("not built").to_string();
        assert!(refusal.contains("CURRENT_WATERMARK is not built yet"), "{refusal}");
    }
}
