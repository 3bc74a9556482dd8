//! The calls of SQL/JSON, whose clauses no other function has, and MAP[…] as plain calls with the clauses as arguments (see `crate::functions`).
//!
//! ```text
//!  JSON_VALUE(j, '$.a' RETURNING INT NULL ON ERROR)  ─► JSON_VALUE(j, '$.a', 'INT', '', NULL, 'NULL', NULL)
//!  JSON_OBJECT(KEY 'k' VALUE v ABSENT ON NULL)       ─► JSON_OBJECT('ABSENT', 'v', 'k', v)
//!  x IS NOT JSON ARRAY                               ─► NOT $IS_JSON(x, 'ARRAY')
//! ```

use sqlparser::ast::{Expr, UnaryOperator, Value};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::sugar::call;

type Parsed<T> = Result<T, ParserError>;

/// The function whose argument is JSON already, inside JSON_OBJECT and JSON_ARRAY.
const RAW: &str = "JSON";

/// Reads a call of JSON_VALUE, JSON_QUERY, JSON_EXISTS, JSON_OBJECT, JSON_ARRAY or their aggregates if one stands here.
pub(super) fn parse_call(parser: &mut Parser<'_>) -> Option<Parsed<Expr>> {
    if parser.peek_nth_token(1).token != Token::LParen {
        return None;
    }
    let read: fn(&mut Parser<'_>) -> Parsed<Expr> = match upper(&parser.peek_token().token)?.as_str() {
        "JSON_VALUE" => value,
        "JSON_QUERY" => query,
        "JSON_EXISTS" => exists,
        "JSON_OBJECT" => object,
        "JSON_ARRAY" => array,
        "JSON_ARRAYAGG" => array_aggregate,
        "JSON_OBJECTAGG" => object_aggregate,
        _ => return None,
    };
    parser.next_token();
    parser.next_token();
    Some(read(parser))
}

/// Reads `MAP[key, value, …]` if it stands here.
pub(super) fn parse_map(parser: &mut Parser<'_>) -> Option<Parsed<Expr>> {
    let is_map = upper(&parser.peek_token().token).is_some_and(|word| word == "MAP");
    if !is_map || parser.peek_nth_token(1).token != Token::LBracket {
        return None;
    }
    parser.next_token();
    parser.next_token();
    let entries = parser.parse_comma_separated(Parser::parse_expr);
    Some(entries.and_then(|entries| {
        parser.expect_token(&Token::RBracket)?;
        parser.parse_compound_expr(call("MAP", entries), Vec::new())
    }))
}

/// Reads `IS [NOT] JSON …` behind a value if it stands here.
pub(super) fn parse_is_json(parser: &mut Parser<'_>, input: &Expr) -> Option<Parsed<Expr>> {
    let is = |token: &Token, keyword: Keyword| matches!(token, Token::Word(word) if word.keyword == keyword);
    if !is(&parser.peek_token().token, Keyword::IS) {
        return None;
    }
    let negated = is(&parser.peek_nth_token(1).token, Keyword::NOT);
    if !is(&parser.peek_nth_token(1 + usize::from(negated)).token, Keyword::JSON) {
        return None;
    }
    for _ in 0..2 + usize::from(negated) {
        parser.next_token();
    }
    let kind = match upper(&parser.peek_token().token).as_deref() {
        Some(kind @ ("VALUE" | "OBJECT" | "ARRAY" | "SCALAR")) => {
            let kind = kind.to_string();
            parser.next_token();
            kind
        }
        _ => "VALUE".to_string(),
    };
    let found = call("$IS_JSON", vec![input.clone(), text(kind)]);
    Some(Ok(if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(found) } } else { found }))
}

/// A bare word in capitals.
fn upper(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

fn text(value: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.into()).into())
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

/// Takes the words if all of them stand here.
fn accept(parser: &mut Parser<'_>, words: &[&str]) -> bool {
    let all = words
        .iter()
        .enumerate()
        .all(|(n, word)| upper(&parser.peek_nth_token(n).token).is_some_and(|found| found == *word));
    if all {
        words.iter().for_each(|_| drop(parser.next_token()));
    }
    all
}

fn input_and_path(parser: &mut Parser<'_>) -> Parsed<(Expr, Expr)> {
    let input = parser.parse_expr()?;
    parser.expect_token(&Token::Comma)?;
    Ok((input, parser.parse_expr()?))
}

/// `… ON EMPTY` and `… ON ERROR`, each at most once: what is done, and the value of DEFAULT.
fn behaviours(parser: &mut Parser<'_>, known: &[&str]) -> Parsed<[(String, Expr); 2]> {
    let mut found = [(String::new(), null()), (String::new(), null())];
    while parser.peek_token().token != Token::RParen {
        let (what, value) = if known.contains(&"DEFAULT") && accept(parser, &["DEFAULT"]) {
            ("DEFAULT", parser.parse_expr()?)
        } else {
            let what = known.iter().find(|what| {
                let words: Vec<&str> = what.split(' ').collect();
                accept(parser, &words)
            });
            match what {
                Some(what) => (*what, null()),
                None => {
                    return parser.expected(&format!("{} ON EMPTY or ON ERROR", known.join(", ")), parser.peek_token());
                }
            }
        };
        let place = if accept(parser, &["ON", "EMPTY"]) {
            0
        } else if accept(parser, &["ON", "ERROR"]) {
            1
        } else {
            return parser.expected("ON EMPTY or ON ERROR", parser.peek_token());
        };
        found[place] = (what.to_string(), value);
    }
    Ok(found)
}

fn value(parser: &mut Parser<'_>) -> Parsed<Expr> {
    let (input, path) = input_and_path(parser)?;
    let returning = if accept(parser, &["RETURNING"]) { parser.parse_data_type()?.to_string() } else { String::new() };
    let [(on_empty, empty), (on_error, error)] = behaviours(parser, &["NULL", "ERROR", "DEFAULT"])?;
    parser.expect_token(&Token::RParen)?;
    if returning.is_empty() && on_empty.is_empty() && on_error.is_empty() {
        return Ok(call("JSON_VALUE", vec![input, path]));
    }
    let clauses = [text(returning), text(on_empty), empty, text(on_error), error];
    Ok(call("JSON_VALUE", [input, path].into_iter().chain(clauses).collect()))
}

fn query(parser: &mut Parser<'_>) -> Parsed<Expr> {
    let (input, path) = input_and_path(parser)?;
    if accept(parser, &["RETURNING"]) {
        let found = parser.parse_data_type()?.to_string().to_ascii_uppercase();
        if !matches!(found.as_str(), "STRING" | "VARCHAR(2147483647)") {
            return Err(ParserError::ParserError(format!("JSON_QUERY gives a STRING, RETURNING {found} is not built")));
        }
    }
    let wrapper = if accept(parser, &["WITHOUT"]) {
        accept(parser, &["ARRAY"]);
        ""
    } else if accept(parser, &["WITH"]) {
        let conditional = accept(parser, &["CONDITIONAL"]);
        accept(parser, &["UNCONDITIONAL"]);
        accept(parser, &["ARRAY"]);
        if conditional { "CONDITIONAL" } else { "ALWAYS" }
    } else {
        "-"
    };
    if wrapper != "-" && !accept(parser, &["WRAPPER"]) {
        return parser.expected("WRAPPER", parser.peek_token());
    }
    let [(on_empty, _), (on_error, _)] = behaviours(parser, &["NULL", "ERROR", "EMPTY ARRAY", "EMPTY OBJECT"])?;
    parser.expect_token(&Token::RParen)?;
    Ok(call("JSON_QUERY", vec![input, path, text(wrapper), text(on_empty), text(on_error)]))
}

fn exists(parser: &mut Parser<'_>) -> Parsed<Expr> {
    let (input, path) = input_and_path(parser)?;
    let [_, (on_error, _)] = behaviours(parser, &["TRUE", "FALSE", "UNKNOWN", "ERROR"])?;
    parser.expect_token(&Token::RParen)?;
    Ok(call("JSON_EXISTS", vec![input, path, text(on_error)]))
}

/// A value, and whether it is JSON already: what another of these functions built, or JSON(text).
fn item(parser: &mut Parser<'_>) -> Parsed<(Expr, char)> {
    let value = parser.parse_expr()?;
    if let Expr::Function(function) = &value {
        let name = function.name.to_string().to_ascii_uppercase();
        if matches!(name.as_str(), "JSON_OBJECT" | "JSON_ARRAY" | "JSON_OBJECTAGG" | "JSON_ARRAYAGG") {
            return Ok((value, 'j'));
        }
        if name == RAW {
            // Checked and written without blanks.
            let mut inner = value.clone();
            if let Expr::Function(function) = &mut inner
                && let sqlparser::ast::FunctionArguments::List(list) = &function.args
                && let [sqlparser::ast::FunctionArg::Unnamed(sqlparser::ast::FunctionArgExpr::Expr(json))] =
                    list.args.as_slice()
            {
                let query = vec![json.clone(), text("lax $"), text("-"), text("ERROR"), text("ERROR")];
                return Ok((call("JSON_QUERY", query), 'j'));
            }
        }
    }
    Ok((value, 'v'))
}

fn null_clause(parser: &mut Parser<'_>) -> &'static str {
    if accept(parser, &["NULL", "ON", "NULL"]) {
        "NULL"
    } else if accept(parser, &["ABSENT", "ON", "NULL"]) {
        "ABSENT"
    } else {
        ""
    }
}

fn object(parser: &mut Parser<'_>) -> Parsed<Expr> {
    let (mut arguments, mut flags) = (Vec::new(), String::new());
    let mut clause = null_clause(parser);
    while clause.is_empty() && parser.peek_token().token != Token::RParen {
        if !flags.is_empty() {
            parser.expect_token(&Token::Comma)?;
        }
        accept(parser, &["KEY"]);
        arguments.push(parser.parse_expr()?);
        if !accept(parser, &["VALUE"]) && !parser.consume_token(&Token::Colon) {
            return parser.expected("VALUE", parser.peek_token());
        }
        let (value, flag) = item(parser)?;
        arguments.push(value);
        flags.push(flag);
        clause = null_clause(parser);
    }
    parser.expect_token(&Token::RParen)?;
    Ok(call("JSON_OBJECT", [text(clause), text(flags)].into_iter().chain(arguments).collect()))
}

fn array(parser: &mut Parser<'_>) -> Parsed<Expr> {
    let (mut arguments, mut flags) = (Vec::new(), String::new());
    let mut clause = null_clause(parser);
    while clause.is_empty() && parser.peek_token().token != Token::RParen {
        if !flags.is_empty() {
            parser.expect_token(&Token::Comma)?;
        }
        let (value, flag) = item(parser)?;
        arguments.push(value);
        flags.push(flag);
        clause = null_clause(parser);
    }
    parser.expect_token(&Token::RParen)?;
    Ok(call("JSON_ARRAY", [text(clause), text(flags)].into_iter().chain(arguments).collect()))
}

/// A value of an aggregate as JSON.
fn json_item(parser: &mut Parser<'_>) -> Parsed<Expr> {
    let (value, flag) = item(parser)?;
    Ok(if flag == 'j' { value } else { call("JSON_STRING", vec![value]) })
}

fn array_aggregate(parser: &mut Parser<'_>) -> Parsed<Expr> {
    let value = json_item(parser)?;
    let clause = if null_clause(parser) == "NULL" { "NULL" } else { "ABSENT" };
    parser.expect_token(&Token::RParen)?;
    filtered(parser, call("JSON_ARRAYAGG", vec![value, text(clause)]))
}

fn object_aggregate(parser: &mut Parser<'_>) -> Parsed<Expr> {
    accept(parser, &["KEY"]);
    let key = parser.parse_expr()?;
    if !accept(parser, &["VALUE"]) && !parser.consume_token(&Token::Colon) {
        return parser.expected("VALUE", parser.peek_token());
    }
    let value = json_item(parser)?;
    let clause = if null_clause(parser) == "ABSENT" { "ABSENT" } else { "NULL" };
    parser.expect_token(&Token::RParen)?;
    filtered(parser, call("JSON_OBJECTAGG", vec![key, value, text(clause)]))
}

/// `FILTER (WHERE …)` behind an aggregate.
fn filtered(parser: &mut Parser<'_>, mut aggregate: Expr) -> Parsed<Expr> {
    if let Expr::Function(function) = &mut aggregate
        && accept(parser, &["FILTER"])
    {
        parser.expect_token(&Token::LParen)?;
        parser.expect_keyword(Keyword::WHERE)?;
        function.filter = Some(Box::new(parser.parse_expr()?));
        parser.expect_token(&Token::RParen)?;
    }
    Ok(aggregate)
}

#[cfg(test)]
mod tests {
    use super::super::statement::parse_expression;

    #[test]
    fn clauses_become_arguments() {
        for (written, called) in [
            ("JSON_VALUE(j, '$.a')", "JSON_VALUE(j, '$.a')"),
            (
                "JSON_VALUE(j, '$.a' RETURNING INT DEFAULT 0 ON EMPTY NULL ON ERROR)",
                "JSON_VALUE(j, '$.a', 'INT', 'DEFAULT', 0, 'NULL', NULL)",
            ),
            (
                "json_query(j, '$' WITH CONDITIONAL ARRAY WRAPPER EMPTY ARRAY ON EMPTY)",
                "JSON_QUERY(j, '$', 'CONDITIONAL', 'EMPTY ARRAY', '')",
            ),
            ("JSON_EXISTS(j, '$.a' TRUE ON ERROR)", "JSON_EXISTS(j, '$.a', 'TRUE')"),
            ("JSON_OBJECT(KEY 'k' VALUE 1, 'l' VALUE x ABSENT ON NULL)", "JSON_OBJECT('ABSENT', 'vv', 'k', 1, 'l', x)"),
            ("JSON_OBJECT()", "JSON_OBJECT('', '')"),
            ("JSON_ARRAY(1, JSON_OBJECT() NULL ON NULL)", "JSON_ARRAY('NULL', 'vj', 1, JSON_OBJECT('', ''))"),
            ("JSON_ARRAYAGG(x)", "JSON_ARRAYAGG(JSON_STRING(x), 'ABSENT')"),
            (
                "JSON_OBJECTAGG(KEY k VALUE JSON_ARRAY(1) ABSENT ON NULL) FILTER (WHERE b)",
                "JSON_OBJECTAGG(k, JSON_ARRAY('', 'v', 1), 'ABSENT') FILTER (WHERE b)",
            ),
            ("MAP['a', 1]['a']", "MAP('a', 1)['a']"),
            ("j IS JSON", "$IS_JSON(j, 'VALUE')"),
            ("j IS NOT JSON OBJECT AND b", "NOT $IS_JSON(j, 'OBJECT') AND b"),
            ("j IS NOT NULL", "j IS NOT NULL"),
        ] {
            assert_eq!(parse_expression(written).expect(written).to_string(), called, "{written}");
        }
        for wrong in
            ["JSON_VALUE(j)", "JSON_VALUE(j, '$' EMPTY ON NULL)", "JSON_OBJECT('a')", "JSON_QUERY(j, '$' WITH x)"]
        {
            assert!(parse_expression(wrong).is_err(), "{wrong}");
        }
    }
}
