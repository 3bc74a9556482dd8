//! A statement's text and its tokens: places, slices of the user's own words, and errors that show the line.
//!
//! Token rewrites stand here, in one list: (1) `‘…’` and `“…”` outside literals are quotes; (2) the comma missing before `LATERAL` is put
//! in; (3) `CAST(x AS type)` is read as `$cast(x, 'type')`, for a type may be one that sqlparser does not know;
//! (4) `U&'\00e4'`, with `UESCAPE 'c'` behind it or not, is the text that it means; hints, which the tokenizer drops as comments, are read from the text between two tokens.

use aquifer_model::{Error, ErrorKind, Result};
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use aquifer_model::error::ErrorKind as Kind;
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, SetExpr, TableFactor, TableFunctionArgs,
};
use sqlparser::parser::ParserError;

use super::{between, json_calls};

/// Brackets of all kinds, one inside the other.
const DEEPEST: usize = 40;

/// Flink's dialect, as far as sqlparser asks.
#[derive(Debug, Default)]
pub(super) struct FlinkDialect {
    /// Whether `FOR SYSTEM_TIME AS OF` stands somewhere. Where it does not, words that other dialects put behind a table are names.
    pub time_travel: bool,
    /// Whether `MATCH_RECOGNIZE` stands somewhere.
    pub patterns: bool,
}

impl FlinkDialect {
    /// The dialect for these tokens.
    pub fn of(tokens: &[TokenWithSpan]) -> Self {
        let is = |token: &Token, keyword| matches!(token, Token::Word(word) if word.keyword == keyword);
        let time_travel =
            tokens.windows(2).any(|two| is(&two[0].token, Keyword::FOR) && is(&two[1].token, Keyword::SYSTEM_TIME));
        Self { time_travel, patterns: super::match_recognize::is_in(tokens) }
    }
}

impl Dialect for FlinkDialect {
    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_' || c == '$'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_' || c == '$'
    }

    fn supports_table_versioning(&self) -> bool {
        self.time_travel
    }

    fn supports_match_recognize(&self) -> bool {
        self.patterns
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn is_select_item_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        !RESERVED.contains(keyword) && (explicit || self.is_column_alias(keyword, parser))
    }

    /// `TABLE t [PARTITION BY a, b]`, as the window functions take it, is `(SELECT * FROM t)`, in a function of the name [`PARTITIONED`] if it is
    /// partitioned.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<std::result::Result<Expr, ParserError>> {
        if let Some(call) = json_calls::parse_map(parser).or_else(|| json_calls::parse_call(parser)) {
            return Some(call);
        }
        let is_table = |token: &Token| matches!(token, Token::Word(word) if word.keyword == Keyword::TABLE);
        if !is_table(&parser.peek_token().token) || parser.peek_nth_token(1).token == Token::LParen {
            return None;
        }
        parser.next_token();
        Some(parse_table_argument(parser))
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        input: &Expr,
        _precedence: u8,
    ) -> Option<std::result::Result<Expr, ParserError>> {
        json_calls::parse_is_json(parser, input).or_else(|| between::parse(parser, input))
    }
}

/// Words that name no column unless they stand in backticks, as in Flink.
const RESERVED: [Keyword; 22] = [
    Keyword::TIMESTAMP,
    Keyword::DATE,
    Keyword::TIME,
    Keyword::VALUE,
    Keyword::VALUES,
    Keyword::INTERVAL,
    Keyword::FLOOR,
    Keyword::CEIL,
    Keyword::EMPTY,
    Keyword::NONE,
    Keyword::BY,
    Keyword::USER,
    Keyword::ROW,
    Keyword::ROWS,
    Keyword::TABLE,
    Keyword::ORDER,
    Keyword::GROUP,
    Keyword::WHERE,
    Keyword::FROM,
    Keyword::SELECT,
    Keyword::ARRAY,
    Keyword::CASE,
];

/// The function that stands for a table argument with PARTITION BY: its arguments are the table and the keys.
pub(super) const PARTITIONED: &str = "$PARTITIONED";

fn parse_table_argument(parser: &mut Parser<'_>) -> std::result::Result<Expr, ParserError> {
    let mut text = "SELECT * FROM ".to_string();
    text.push_str(&parser.parse_object_name(false)?.to_string());
    let dialect = FlinkDialect::default();
    let mut query = Parser::new(&dialect).try_with_sql(&text)?.parse_query()?;
    if parser.peek_token().token == Token::LParen {
        // The number of a hint.
        parser.next_token();
        let arguments = parser.parse_comma_separated(Parser::parse_function_args)?;
        parser.expect_token(&Token::RParen)?;
        if let SetExpr::Select(select) = query.body.as_mut()
            && let Some(TableFactor::Table { args, .. }) = select.from.first_mut().map(|one| &mut one.relation)
        {
            *args = Some(TableFunctionArgs { args: arguments, settings: None });
        }
    }
    let table = Expr::Subquery(query);
    if !parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
        return Ok(table);
    }
    let in_parentheses = parser.consume_token(&Token::LParen);
    let mut arguments = vec![table];
    loop {
        arguments.push(parser.parse_expr()?);
        // A comma is followed by the next argument of the window function, unless the keys stand in parentheses or a plain column follows.
        let next = (parser.peek_nth_token(1).token, parser.peek_nth_token(2).token);
        let more = in_parentheses || matches!(&next, (Token::Word(_), Token::Comma | Token::RParen));
        if !(more && parser.consume_token(&Token::Comma)) {
            break;
        }
    }
    if in_parentheses {
        parser.expect_token(&Token::RParen)?;
    }
    let argument = |expression| FunctionArg::Unnamed(FunctionArgExpr::Expr(expression));
    let list = FunctionArgumentList {
        duplicate_treatment: None,
        args: arguments.into_iter().map(argument).collect(),
        clauses: Vec::new(),
    };
    Ok(Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(PARTITIONED))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }))
}

/// A text whose characters may be written by their numbers: `\00e4`, `\+01f600`, `\\`.
fn unescaped(text: &str, escape: char) -> Option<String> {
    let mut plain: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(one) = rest.chars().next() {
        rest = &rest[one.len_utf8()..];
        if one != escape {
            plain.extend(one.encode_utf16(&mut [0; 2]).iter());
        } else if let Some(after) = rest.strip_prefix(escape) {
            plain.extend(escape.encode_utf16(&mut [0; 2]).iter());
            rest = after;
        } else if let Some(long) = rest.strip_prefix('+') {
            let number = u32::from_str_radix(long.get(..6)?, 16).ok()?;
            plain.extend(char::from_u32(number)?.encode_utf16(&mut [0; 2]).iter());
            rest = &long[6..];
        } else {
            plain.push(u16::from_str_radix(rest.get(..4)?, 16).ok()?);
            rest = &rest[4..];
        }
    }
    String::from_utf16(&plain).ok()
}

/// A statement's text.
#[derive(Debug, Clone)]
pub(super) struct Source {
    text: String,
    /// The line of a script that the text begins on, from 1.
    first_line: usize,
}

impl Source {
    pub fn new(text: &str, first_line: usize) -> Self {
        Self { text: text.to_string(), first_line }
    }

    /// Its tokens without blanks and comments, rewritten.
    pub fn tokens(&self) -> Result<Vec<TokenWithSpan>> {
        let tokens = Tokenizer::new(&FlinkDialect::default(), &self.text)
            .tokenize_with_location()
            .map_err(|error| self.error(Kind::Invalid, error.location, &error.message))?;
        let tokens: Vec<_> = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
        self.check_depth(&tokens)?;
        self.commas_before_lateral(self.unicode(self.curly_quotes(tokens)?)?).map(|tokens| self.casts(tokens))
    }

    /// Beyond its own limit the parser of expressions tries each bracket in several ways: time that doubles with every level.
    fn check_depth(&self, tokens: &[TokenWithSpan]) -> Result<()> {
        let mut depth: usize = 0;
        for token in tokens {
            match token.token {
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
                Token::SemiColon => depth = 0,
                _ => {}
            }
            if depth > DEEPEST {
                let what =
                    format!("brackets are nested deeper than {DEEPEST}: cut the statement up with WITH or a view");
                return Err(self.error(Kind::Unsupported, token.span.start, &what));
            }
        }
        Ok(())
    }

    /// Rewrite 1.
    fn curly_quotes(&self, tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
        let mut rewritten = Vec::with_capacity(tokens.len());
        let mut tokens = tokens.into_iter();
        while let Some(open) = tokens.next() {
            let closing = match open.token {
                Token::Char('‘' | '’') => ['’', '‘'],
                Token::Char('“' | '”') => ['”', '“'],
                _ => {
                    rewritten.push(open);
                    continue;
                }
            };
            let close = tokens.find(|t| matches!(t.token, Token::Char(c) if closing.contains(&c)));
            let Some(close) = close else {
                return Err(self.error(Kind::Invalid, open.span.start, "this quote is not closed"));
            };
            let inside = self.slice(open.span.end, close.span.start).to_string();
            let span = Span::new(open.span.start, close.span.end);
            rewritten.push(TokenWithSpan { token: Token::SingleQuotedString(inside), span });
        }
        Ok(rewritten)
    }

    /// Rewrite 4.
    fn unicode(&self, tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
        let mut rewritten = Vec::with_capacity(tokens.len());
        let mut tokens = tokens.into_iter().peekable();
        while let Some(mut token) = tokens.next() {
            if matches!(token.token, Token::UnicodeStringLiteral(_)) {
                let mut escape = '\\';
                let is_escape = |next: &TokenWithSpan| matches!(&next.token, Token::Word(word) if word.value.eq_ignore_ascii_case("UESCAPE"));
                let written = self.words(std::slice::from_ref(&token)).to_string();
                if let Some(word) = tokens.next_if(is_escape) {
                    escape = match tokens.next().map(|next| next.token) {
                        Some(Token::SingleQuotedString(one)) if one.chars().count() == 1 => {
                            one.chars().next().unwrap_or(escape)
                        }
                        _ => return Err(self.error(Kind::Invalid, word.span.start, "write UESCAPE '!'")),
                    };
                }
                let inside = written.get(3..written.len().saturating_sub(1)).unwrap_or_default().replace("''", "'");
                let Some(text) = unescaped(&inside, escape) else {
                    let what = format!("after `{escape}` stand four digits, `+` and six digits, or `{escape}`");
                    return Err(self.error(Kind::Invalid, token.span.start, &what));
                };
                token.token = Token::SingleQuotedString(text);
            }
            rewritten.push(token);
        }
        Ok(rewritten)
    }

    /// Rewrite 2.
    fn commas_before_lateral(&self, tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
        let mut rewritten: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
        for token in tokens {
            let is_lateral = matches!(&token.token, Token::Word(w) if w.keyword == Keyword::LATERAL);
            let after_name = rewritten.last().is_some_and(|t| match &t.token {
                Token::Word(w) => matches!(w.keyword, Keyword::NoKeyword),
                Token::RParen => true,
                _ => false,
            });
            if is_lateral && after_name {
                rewritten.push(TokenWithSpan { token: Token::Comma, span: token.span });
            }
            rewritten.push(token);
        }
        Ok(rewritten)
    }

    /// Rewrite 3.
    fn casts(&self, mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
        let mut at = 0;
        while at + 1 < tokens.len() {
            let called = match &tokens[at].token {
                Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case("CAST") => super::sugar::CAST,
                Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case("TRY_CAST") => {
                    super::sugar::TRY_CAST
                }
                _ => {
                    at += 1;
                    continue;
                }
            };
            at += 1;
            if tokens[at].token != Token::LParen {
                continue;
            }
            let (mut depth, mut divide, mut close) = (0usize, None, None);
            for (n, token) in tokens.iter().enumerate().skip(at) {
                match &token.token {
                    Token::LParen => depth += 1,
                    Token::RParen => depth -= 1,
                    Token::Word(word) if depth == 1 && word.keyword == Keyword::AS => divide = Some(n),
                    _ => {}
                }
                if depth == 0 {
                    close = Some(n);
                    break;
                }
            }
            if let (Some(divide), Some(close)) = (divide, close)
                && divide + 1 < close
            {
                let span = Span::new(tokens[divide + 1].span.start, tokens[close - 1].span.end);
                let words = self.words(&tokens[divide + 1..close]).to_string();
                tokens[at - 1].token = Token::make_word(called, None);
                tokens[divide].token = Token::Comma;
                let text = TokenWithSpan { token: Token::SingleQuotedString(words), span };
                tokens.splice(divide + 1..close, [text]);
            }
        }
        tokens
    }

    /// The user's own words between two places.
    pub fn slice(&self, from: Location, to: Location) -> &str {
        self.text.get(self.offset(from)..self.offset(to)).unwrap_or_default()
    }

    /// The words of a stretch of tokens.
    pub fn words(&self, tokens: &[TokenWithSpan]) -> &str {
        match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => self.slice(first.span.start, last.span.end),
            _ => "",
        }
    }

    /// Where a place is, in bytes. Lines and columns count from 1, columns in characters.
    fn offset(&self, at: Location) -> usize {
        let mut start = 0;
        for _ in 1..at.line {
            start += self.text[start..].find('\n').map_or(self.text.len() - start, |n| n + 1);
        }
        let column = at.column.saturating_sub(1) as usize;
        self.text[start..].char_indices().nth(column).map_or(self.text.len(), |(n, _)| start + n)
    }

    /// The text between two tokens that holds a hint, if there is one: `/*+ … */`.
    pub fn hint_between(&self, from: Location, to: Location) -> Option<&str> {
        let between = self.slice(from, to);
        let start = between.find("/*+")? + 3;
        let end = start + between[start..].find("*/")?;
        Some(&between[start..end])
    }

    /// Where the text ends.
    pub fn end(&self) -> Location {
        let line = self.text.lines().count().max(1);
        let column = self.text.lines().last().map_or(1, |last| last.chars().count() + 1);
        Location { line: line as u64, column: column as u64 }
    }

    /// An error that shows the line and marks the place.
    pub fn error(&self, kind: ErrorKind, at: Location, message: &str) -> Error {
        let line = self.text.lines().nth(at.line.saturating_sub(1) as usize).unwrap_or_default();
        let number = self.first_line + at.line.saturating_sub(1) as usize;
        let margin = format!("line {number}: ");
        let caret = " ".repeat(margin.chars().count() + at.column.saturating_sub(1) as usize);
        Error::new(kind, format!("{message}\n{margin}{line}\n{caret}^"))
    }

    /// Where a name first stands in the text, to mark it in errors that have no place.
    pub fn find_name(&self, name: &str) -> Option<Location> {
        let tokens = Tokenizer::new(&FlinkDialect::default(), &self.text).tokenize_with_location().ok()?;
        tokens.into_iter().find(|t| matches!(&t.token, Token::Word(w) if w.value == name)).map(|t| t.span.start)
    }
}

/// Cuts a script into statements: text and the line each begins on.
pub(super) fn split(script: &str) -> Result<Vec<(usize, String)>> {
    let source = Source::new(script, 1);
    let tokens = Tokenizer::new(&FlinkDialect::default(), script)
        .tokenize_with_location()
        .map_err(|error| source.error(Kind::Invalid, error.location, &error.message))?;
    let mut statements = Vec::new();
    let mut first: Option<TokenWithSpan> = None;
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => {}
            Token::SemiColon => {
                if let Some(first) = first.take() {
                    let text = source.slice(first.span.start, token.span.start).trim_end().to_string();
                    statements.push((first.span.start.line as usize, text));
                }
            }
            _ => {
                first.get_or_insert(token);
            }
        }
    }
    if let Some(first) = first {
        let text = source.slice(first.span.start, source.end()).trim_end().to_string();
        statements.push((first.span.start.line as usize, text));
    }
    Ok(statements)
}

/// Whether the last statement of a text has its `;`, or there is none.
pub(super) fn is_complete(text: &str) -> bool {
    match Tokenizer::new(&FlinkDialect::default(), text).tokenize() {
        Ok(tokens) => tokens
            .iter()
            .rev()
            .find(|token| !matches!(token, Token::Whitespace(_)))
            .is_none_or(|last| *last == Token::SemiColon),
        // What is open at the end goes on; what can be no token fails when it runs.
        Err(error) => !["nterminated", "EOF", "close delimiter"].iter().any(|open| error.message.contains(open)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Vec<String> {
        let tokens = Source::new(text, 1).tokens().expect("tokens");
        tokens.iter().map(|t| t.token.to_string()).collect()
    }

    #[test]
    fn curly_quotes_are_quotes_outside_literals_only() {
        assert_eq!(rewritten("‘adminUrl’ = ‘localhost:9092’"), ["'adminUrl'", "=", "'localhost:9092'"]);
        assert_eq!(rewritten("'a ‘b’ c'"), ["'a ‘b’ c'"]);
        assert!(Source::new("a = ‘b", 1).tokens().is_err());
    }

    #[test]
    fn the_comma_missing_before_lateral_is_put_in_once() {
        let with = rewritten("FROM taxiFare AS tf, LATERAL TABLE (f(x)) AS r");
        assert_eq!(rewritten("FROM taxiFare AS tf LATERAL TABLE (f(x)) AS r"), with);
        assert!(!rewritten("a CROSS JOIN LATERAL TABLE (f(x))").contains(&",".to_string()));
    }

    #[test]
    fn a_text_is_complete_with_the_semicolon_of_its_last_statement() {
        for text in ["SELECT 1;", "SELECT 1; -- ;", "", " -- nothing\n", "SELECT 1;\n/* x */ "] {
            assert!(is_complete(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1 /* ;", "SELECT `a;", "SELECT 1; SELECT 2", "SELECT U&'a;"] {
            assert!(!is_complete(text), "{text}");
        }
    }

    #[test]
    fn a_script_is_cut_at_semicolons_outside_literals() {
        let script = "-- first\nSET 'a' = ';';\n\nSELECT 1 /* ; */\n+ 2;;\nSELECT 3";
        let cut = split(script).expect("tokens");
        assert_eq!(cut.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4, 6]);
        assert_eq!(cut[1].1, "SELECT 1 /* ; */\n+ 2");
        assert!(split("SELECT 'a").is_err());
    }

    #[test]
    fn an_error_shows_the_line_and_marks_the_place() {
        let source = Source::new("SELECT a\nFROM tüb x", 5);
        let error = source.error(Kind::Invalid, Location { line: 2, column: 6 }, "no such table").to_string();
        assert_eq!(error, "no such table\nline 6: FROM tüb x\n             ^");
    }
}
