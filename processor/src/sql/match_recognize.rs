//! `MATCH_RECOGNIZE`: read and checked as a whole; nothing runs it yet, so it is refused by its name once nothing else is wrong with it.
//!
//! ```text
//!  t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.x AS m … DEFINE A AS c)
//!    ─► (SELECT k, m FROM (SELECT k, x AS m, CAST(ts AS …), CASE WHEN c THEN TRUE END … FROM t))      to be bound and typed
//! ```
//!
//! sqlparser knows neither `WITHIN` nor `SUBSET`: their tokens become definitions with marked names before it reads them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use aquifer_model::{Error, Result};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    AfterMatchSkip, CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, MatchRecognizePattern, MatchRecognizeSymbol, OrderByExpr, Query, RepetitionQuantifier, RowsPerMatch,
    SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut, WindowSpec, WindowType,
};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::windows::select_all;
use super::{names, sugar};
use crate::connector::nearest_known;
use crate::functions::aggregates;

/// Stands before the names of definitions that are none: the interval of WITHIN, the variables of SUBSET.
const MARK: char = '\u{1}';
const WITHIN: &str = "\u{1}\u{1}within";

/// Whether such a clause stands somewhere.
pub(super) fn is_in(tokens: &[TokenWithSpan]) -> bool {
    tokens.iter().any(|token| is_word(&token.token, "MATCH_RECOGNIZE"))
}

fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// Moves what stands between PATTERN and DEFINE behind DEFINE.
pub(super) fn move_clauses(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at + 1 < tokens.len() {
        if !is_word(&tokens[at].token, "PATTERN") || tokens[at + 1].token != Token::LParen {
            at += 1;
            continue;
        }
        let mut depth = 0;
        let closed = tokens[at + 1..].iter().position(|one| {
            depth += i32::from(one.token == Token::LParen) - i32::from(one.token == Token::RParen);
            depth == 0
        });
        let Some(from) = closed.map(|closed| at + closed + 2) else { return };
        let Some(define) = tokens[from..].iter().position(|one| is_word(&one.token, "DEFINE")) else { return };
        let between: Vec<TokenWithSpan> = tokens.drain(from..from + define).collect();
        let span = tokens[from].span;
        let token = |token| TokenWithSpan { token, span };
        let word = |value: String, keyword| token(Token::Word(Word { value, quote_style: None, keyword }));
        let name =
            |value: String| token(Token::Word(Word { value, quote_style: Some('`'), keyword: Keyword::NoKeyword }));
        let mut moved = Vec::new();
        let mut in_subset = false;
        let mut depth = 0;
        for one in between {
            if is_word(&one.token, "WITHIN") {
                moved.extend([name(WITHIN.to_string()), word("AS".to_string(), Keyword::AS)]);
            } else if is_word(&one.token, "SUBSET") {
                in_subset = true;
                if !moved.is_empty() {
                    moved.push(token(Token::Comma));
                }
            } else {
                depth += i32::from(one.token == Token::LParen) - i32::from(one.token == Token::RParen);
                match &one.token {
                    Token::Word(variable) if in_subset && depth == 0 => {
                        moved.push(name(format!("{MARK}{}", variable.value)))
                    }
                    Token::Eq if in_subset && depth == 0 => moved.push(word("AS".to_string(), Keyword::AS)),
                    _ => moved.push(one),
                }
            }
        }
        if !moved.is_empty() {
            moved.push(token(Token::Comma));
        }
        let count = moved.len();
        tokens.splice(from + 1..from + 1, moved);
        at = from + count;
    }
}

/// Puts in the place of each such clause a query that binds all of it; whether there was one.
pub(super) fn take(query: &mut Query) -> Result<bool> {
    struct Taker(bool);
    impl VisitorMut for Taker {
        type Break = Error;
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            if !matches!(factor, TableFactor::MatchRecognize { .. }) {
                return ControlFlow::Continue(());
            }
            self.0 = true;
            match bound(factor) {
                Ok(bound) => {
                    *factor = bound;
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    let mut taker = Taker(false);
    match query.visit(&mut taker) {
        ControlFlow::Continue(()) => Ok(taker.0),
        ControlFlow::Break(error) => Err(error),
    }
}

fn bound(factor: &TableFactor) -> Result<TableFactor> {
    let TableFactor::MatchRecognize {
        table,
        partition_by,
        order_by,
        measures,
        rows_per_match,
        after_match_skip,
        pattern,
        symbols,
        alias,
    } = factor
    else {
        return Err(Error::internal("a pattern is one"));
    };
    let mut variables = BTreeSet::new();
    check_pattern(pattern, &mut variables)?;
    if matches!(rows_per_match, Some(RowsPerMatch::AllRows(_))) {
        return Err(unsupported("ALL ROWS PER MATCH: write ONE ROW PER MATCH"));
    }
    let known = |name: &str, variables: &BTreeSet<String>| match variables.contains(name) {
        true => Ok(()),
        false => Err(unknown(name, variables)),
    };
    let (marked, defined): (Vec<_>, Vec<_>) = symbols.iter().partition(|one| one.symbol.value.starts_with(MARK));
    for one in &marked {
        if one.symbol.value == WITHIN {
            match &one.definition {
                Expr::Interval(interval) => drop(super::intervals::plain(interval)?),
                other => return Err(Error::invalid(format!("WITHIN takes an interval, and `{other}` is none"))),
            }
            continue;
        }
        let parts = match &one.definition {
            Expr::Tuple(parts) => parts.clone(),
            Expr::Nested(part) => vec![part.as_ref().clone()],
            other => vec![other.clone()],
        };
        for part in parts {
            match &part {
                Expr::Identifier(name) => known(&name.value, &variables)?,
                other => {
                    return Err(Error::invalid(format!("SUBSET names variables of PATTERN, and `{other}` is none")));
                }
            }
        }
    }
    let subsets = marked.iter().map(|one| one.symbol.value.trim_start_matches(MARK).to_string());
    let subsets: Vec<String> = subsets.filter(|name| name != "within").collect();
    for (n, one) in defined.iter().enumerate() {
        known(&one.symbol.value, &variables)?;
        if defined[..n].iter().any(|before| before.symbol.value == one.symbol.value) {
            return Err(Error::invalid(format!("DEFINE names `{}` twice", one.symbol.value)));
        }
    }
    variables.extend(subsets);
    if let Some(AfterMatchSkip::ToFirst(name) | AfterMatchSkip::ToLast(name)) = after_match_skip {
        known(&name.value, &variables)?;
    }
    let Some(OrderByExpr { expr: time, options, .. }) = order_by.first() else {
        return Err(Error::invalid("MATCH_RECOGNIZE needs ORDER BY a time: it says which row comes next"));
    };
    if options.asc == Some(false) {
        return Err(Error::invalid("MATCH_RECOGNIZE goes forward in time: its ORDER BY is ascending"));
    }
    let alias_of = |name: &str| Ident::with_quote('`', name);
    let mut inner = Vec::new();
    let mut outer = Vec::new();
    for key in partition_by {
        let name = match key {
            Expr::Identifier(name) => name.clone(),
            Expr::CompoundIdentifier(parts) if !parts.is_empty() => parts[parts.len() - 1].clone(),
            other => return Err(Error::invalid(format!("PARTITION BY takes columns, and `{other}` is none"))),
        };
        inner.push(SelectItem::ExprWithAlias { expr: key.clone(), alias: alias_of(&name.value) });
        outer.push(SelectItem::UnnamedExpr(Expr::Identifier(alias_of(&name.value))));
    }
    let mut rewriter = Rewriter { variables: &variables, time };
    for measure in measures {
        let expr = rewriter.rewritten(&measure.expr)?;
        inner.push(SelectItem::ExprWithAlias { expr, alias: alias_of(&measure.alias.value) });
        outer.push(SelectItem::UnnamedExpr(Expr::Identifier(alias_of(&measure.alias.value))));
    }
    let instant = Expr::Value(Value::SingleQuotedString("TIMESTAMP_LTZ(3)".to_string()).into());
    let checks = std::iter::once(sugar::call(sugar::CAST, vec![time.clone(), instant]));
    let mut checks: Vec<Expr> = checks.chain(order_by.iter().skip(1).map(|one| one.expr.clone())).collect();
    for one in defined {
        let condition = rewriter.rewritten(&one.definition)?;
        checks.push(Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition, result: Expr::Value(Value::Boolean(true).into()) }],
            else_result: None,
        });
    }
    for (n, expr) in checks.into_iter().enumerate() {
        inner.push(SelectItem::ExprWithAlias { expr, alias: alias_of(&format!("{MARK}{n}")) });
    }
    let rows = derived(inner, table.as_ref().clone(), None);
    Ok(derived(outer, rows, alias.clone()))
}

fn derived(items: Vec<SelectItem>, from: TableFactor, alias: Option<TableAlias>) -> TableFactor {
    let mut select = select_all();
    select.projection = items;
    select.from = vec![TableWithJoins { relation: from, joins: Vec::new() }];
    let subquery = Box::new(names::plain_query(SetExpr::Select(Box::new(select))));
    TableFactor::Derived { lateral: false, subquery, alias, sample: None }
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(format!("MATCH_RECOGNIZE does not know {what}"))
}

fn unknown(name: &str, variables: &BTreeSet<String>) -> Error {
    let near = nearest_known(name, variables.iter().map(String::as_str));
    Error::invalid(format!("unknown pattern variable `{name}`: {near}"))
}

fn check_pattern(pattern: &MatchRecognizePattern, variables: &mut BTreeSet<String>) -> Result<()> {
    let all = match pattern {
        MatchRecognizePattern::Concat(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut may_be_empty = true;
    for (n, one) in all.iter().enumerate() {
        let (variable, quantifier, reluctant) = match one {
            MatchRecognizePattern::Repetition(inner, quantifier) => match inner.as_ref() {
                MatchRecognizePattern::Repetition(innermost, real)
                    if *quantifier == RepetitionQuantifier::AtMostOne =>
                {
                    if *real == RepetitionQuantifier::AtMostOne {
                        return Err(unsupported("`??`: write the variable with `?`"));
                    }
                    (innermost.as_ref(), Some(real), true)
                }
                inner => (inner, Some(quantifier), false),
            },
            other => (other, None, false),
        };
        match variable {
            MatchRecognizePattern::Symbol(MatchRecognizeSymbol::Named(name)) => {
                variables.insert(name.value.clone());
            }
            MatchRecognizePattern::Symbol(_) => return Err(unsupported("`^` and `$` in PATTERN")),
            MatchRecognizePattern::Exclude(_) => return Err(unsupported("an exclusion `{- … -}` in PATTERN")),
            MatchRecognizePattern::Permute(_) => return Err(unsupported("PERMUTE in PATTERN")),
            MatchRecognizePattern::Group(_) => {
                return Err(unsupported("groups in PATTERN: only single variables are repeated"));
            }
            MatchRecognizePattern::Alternation(_) => return Err(unsupported("`|` in PATTERN")),
            _ => return Err(unsupported(&format!("`{one}` in PATTERN"))),
        }
        use RepetitionQuantifier as Q;
        may_be_empty &= matches!(
            quantifier,
            Some(Q::ZeroOrMore | Q::AtMostOne | Q::AtMost(_) | Q::AtLeast(0) | Q::Range(0, _) | Q::Exactly(0))
        );
        let is_greedy = matches!(quantifier, Some(Q::ZeroOrMore | Q::OneOrMore | Q::AtLeast(_) | Q::Range(..)));
        if matches!(quantifier, Some(Q::AtMost(_))) {
            return Err(unsupported("`{,n}`: write `{0,n}`"));
        }
        if is_greedy && !reluctant && n + 1 == all.len() {
            return Err(unsupported(
                "a greedy quantifier at the end of PATTERN: make it reluctant (`+?`), or put a variable behind it",
            ));
        }
    }
    if may_be_empty {
        return Err(Error::invalid("PATTERN can match no rows at all: let one variable be there at least once"));
    }
    Ok(())
}

/// Measures and conditions as expressions over the table's own columns.
struct Rewriter<'a> {
    variables: &'a BTreeSet<String>,
    time: &'a Expr,
}

impl Rewriter<'_> {
    fn rewritten(&mut self, expression: &Expr) -> Result<Expr> {
        let mut expression = expression.clone();
        match expression.visit(self) {
            ControlFlow::Continue(()) => Ok(expression),
            ControlFlow::Break(error) => Err(error),
        }
    }

    fn call(&self, function: &mut Function) -> Result<Option<Expr>> {
        let name = function.name.to_string().to_ascii_uppercase();
        let arguments = match &function.args {
            FunctionArguments::List(list) => list.args.as_slice(),
            _ => &[],
        };
        match name.as_str() {
            "FIRST" | "LAST" => {
                let [FunctionArg::Unnamed(FunctionArgExpr::Expr(value)), offset @ ..] = arguments else {
                    return Err(Error::invalid(format!("write {name}(variable.column[, offset])")));
                };
                let is_number = |one: &FunctionArg| matches!(one, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) if matches!(value.value, Value::Number(..)));
                if offset.len() > 1 || !offset.iter().all(is_number) {
                    return Err(Error::invalid(format!("the offset of {name} is a number, 0 or more")));
                }
                Ok(Some(value.clone()))
            }
            "MATCH_ROWTIME" => Ok(Some(self.time.clone())),
            "MATCH_PROCTIME" => Ok(Some(sugar::call("PROCTIME", Vec::new()))),
            "PREV" | "NEXT" => Err(unsupported(&format!("{name}: LAST(variable.column, 1) is the row before"))),
            "CLASSIFIER" | "MATCH_NUMBER" => Err(unsupported(&name)),
            _ if aggregates::NAMES.contains(&name.as_str()) && function.over.is_none() => {
                if let FunctionArguments::List(list) = &function.args
                    && list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
                {
                    return Err(unsupported("DISTINCT in aggregates"));
                }
                let over = WindowSpec {
                    window_name: None,
                    partition_by: Vec::new(),
                    order_by: Vec::new(),
                    window_frame: None,
                };
                function.over = Some(WindowType::WindowSpec(over));
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = Error;

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
        match expression {
            Expr::CompoundIdentifier(parts) if parts.len() > 1 => {
                if !self.variables.contains(&parts[0].value) {
                    return ControlFlow::Break(unknown(&parts[0].value, self.variables));
                }
                let rest = parts[1..].to_vec();
                *expression = match <[Ident; 1]>::try_from(rest) {
                    Ok([column]) => Expr::Identifier(column),
                    Err(rest) => Expr::CompoundIdentifier(rest),
                };
            }
            Expr::Function(function) => match self.call(function) {
                Ok(Some(value)) => *expression = value,
                Ok(None) => {}
                Err(error) => return ControlFlow::Break(error),
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
