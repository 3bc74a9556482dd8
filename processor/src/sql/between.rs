//! `x BETWEEN SYMMETRIC a AND b`: the bounds in either order. `ASYMMETRIC` is what BETWEEN is without a word.

use sqlparser::ast::{BinaryOperator, Expr};
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::text::FlinkDialect;

/// Reads `[NOT] BETWEEN SYMMETRIC | ASYMMETRIC a AND b` behind a value if it stands here.
pub(super) fn parse(parser: &mut Parser<'_>, input: &Expr) -> Option<Result<Expr, ParserError>> {
    let word = |token: &Token, text: &str| matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text));
    let negated = word(&parser.peek_nth_token(0).token, "NOT");
    let first = usize::from(negated);
    if !word(&parser.peek_nth_token(first).token, "BETWEEN") {
        return None;
    }
    let symmetric = word(&parser.peek_nth_token(first + 1).token, "SYMMETRIC");
    if !symmetric && !word(&parser.peek_nth_token(first + 1).token, "ASYMMETRIC") {
        return None;
    }
    (0..first + 2).for_each(|_| drop(parser.next_token()));
    Some(bounds(parser, input, negated, symmetric))
}

fn bounds(parser: &mut Parser<'_>, input: &Expr, negated: bool, symmetric: bool) -> Result<Expr, ParserError> {
    let level = FlinkDialect::default().prec_value(Precedence::Between);
    let low = parser.parse_subexpr(level)?;
    parser.expect_keyword(Keyword::AND)?;
    let high = parser.parse_subexpr(level)?;
    let between = |low: &Expr, high: &Expr| Expr::Between {
        expr: Box::new(input.clone()),
        negated,
        low: Box::new(low.clone()),
        high: Box::new(high.clone()),
    };
    if !symmetric {
        return Ok(between(&low, &high));
    }
    let op = if negated { BinaryOperator::And } else { BinaryOperator::Or };
    let (left, right) = (Box::new(between(&low, &high)), Box::new(between(&high, &low)));
    Ok(Expr::Nested(Box::new(Expr::BinaryOp { left, op, right })))
}

#[cfg(test)]
mod tests {
    use super::super::statement::parse_expression;

    #[test]
    fn the_bounds_stand_in_either_order() {
        for (written, read) in [
            ("x BETWEEN SYMMETRIC 3 AND 1 + 1", "(x BETWEEN 3 AND 1 + 1 OR x BETWEEN 1 + 1 AND 3)"),
            ("x NOT BETWEEN SYMMETRIC a AND b", "(x NOT BETWEEN a AND b AND x NOT BETWEEN b AND a)"),
            ("x BETWEEN ASYMMETRIC 1 AND 2 AND y", "x BETWEEN 1 AND 2 AND y"),
            ("x BETWEEN symmetric AND 2", "x BETWEEN symmetric AND 2"),
        ] {
            match parse_expression(written) {
                Ok(found) => assert_eq!(found.to_string(), read, "{written}"),
                // A reserved word is no column.
                Err(_) => assert!(written.contains("symmetric"), "{written}"),
            }
        }
    }
}
