//! The tokens of a statement, read one after the other, with errors that show the place.

use aquifer_model::{Error, ErrorKind, Result, SqlType};
use sqlparser::ast::Expr;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::super::text::{FlinkDialect, Source};
use super::Statement;

/// Words that end a column's type.
const TYPE_ENDS: &[&str] = &["METADATA", "COMMENT", "PRIMARY", "CONSTRAINT", "UNIQUE", "FIRST", "AFTER"];

/// Where a statement is being read.
pub(super) struct Cursor<'a> {
    pub source: &'a Source,
    pub tokens: Vec<TokenWithSpan>,
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(source: &'a Source) -> Result<Self> {
        Ok(Self { tokens: source.tokens()?, source, at: 0 })
    }
}

impl Cursor<'_> {
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    pub(super) fn accept(&mut self, word: &str) -> bool {
        let found = self.is(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn accept_all(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        if words.iter().all(|word| self.accept(word)) {
            return true;
        }
        self.at = start;
        false
    }

    pub(super) fn accept_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    pub(super) fn here(&self) -> sqlparser::tokenizer::Location {
        self.tokens.get(self.at).map_or_else(|| self.source.end(), |t| t.span.start)
    }

    pub(super) fn wrong(&self, what: &str) -> Error {
        self.source.error(ErrorKind::Invalid, self.here(), what)
    }

    pub(super) fn unsupported(&self, what: &str) -> Error {
        self.source.error(ErrorKind::Unsupported, self.here(), what)
    }

    pub(super) fn expected(&self, what: &str) -> Error {
        match self.peek() {
            Some(found) => self.wrong(&format!("expected {what}, found `{found}`")),
            None => self.wrong(&format!("expected {what}, but the statement ends")),
        }
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<()> {
        if self.accept(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.accept_token(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    pub(super) fn end(&self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(token) => Err(self.wrong(&format!("`{token}` is not expected here"))),
        }
    }

    pub(super) fn identifier(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let name = word.value.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.expected("a name")),
        }
    }

    pub(super) fn name(&mut self) -> Result<Vec<String>> {
        let mut parts = vec![self.identifier()?];
        while self.accept_token(&Token::Period) {
            parts.push(self.identifier()?);
        }
        Ok(parts)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::SingleQuotedString(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.expected("a text in quotes")),
        }
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.accept_all(&["IF", "NOT", "EXISTS"])
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.accept_all(&["IF", "EXISTS"])
    }

    pub(super) fn options(&mut self) -> Result<Vec<(String, String)>> {
        self.expect_token(&Token::LParen)?;
        let mut options = Vec::new();
        while !self.accept_token(&Token::RParen) {
            if !options.is_empty() {
                self.expect_token(&Token::Comma)?;
            }
            let key = self.text()?;
            self.expect_token(&Token::Eq)?;
            options.push((key, self.text()?));
        }
        Ok(options)
    }

    pub(super) fn comment(&mut self) -> Result<Option<String>> {
        if self.accept("COMMENT") { self.text().map(Some) } else { Ok(None) }
    }

    /// `('key', …)`
    pub(super) fn keys(&mut self) -> Result<Vec<String>> {
        self.expect_token(&Token::LParen)?;
        let mut keys = Vec::new();
        while !self.accept_token(&Token::RParen) {
            if !keys.is_empty() {
                self.expect_token(&Token::Comma)?;
            }
            keys.push(self.text()?);
        }
        Ok(keys)
    }

    /// `(name, …)`, at least one.
    pub(super) fn identifiers(&mut self) -> Result<Vec<String>> {
        self.expect_token(&Token::LParen)?;
        let mut names = vec![self.identifier()?];
        while self.accept_token(&Token::Comma) {
            names.push(self.identifier()?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    /// The words from a token to the one before where the cursor stands.
    pub(super) fn words_since(&self, start: usize) -> String {
        self.source.words(&self.tokens[start..self.at]).to_string()
    }

    pub(super) fn statement(&mut self) -> Result<Statement> {
        let word = match self.peek() {
            Some(Token::Word(word)) => word.value.to_ascii_uppercase(),
            Some(Token::LParen) => "SELECT".to_string(),
            _ => return Err(self.expected("a statement")),
        };
        match word.as_str() {
            "SELECT" | "WITH" | "VALUES" => Ok(Statement::Select(self.query()?)),
            "EXPLAIN" => self.explain(),
            "INSERT" | "EXECUTE" | "BEGIN" | "END" => self.rows(),
            "CREATE" | "REPLACE" => self.create(),
            "DROP" => self.drop(),
            "ALTER" => self.alter(),
            "USE" => self.use_statement(),
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => self.describe(),
            "SET" => self.set(),
            "RESET" => self.reset(),
            "ANALYZE" => self.analyze(),
            "UPDATE" | "DELETE" => {
                Err(self.unsupported(&format!("{word} is refused: a topic is a log, its records are never changed")))
            }
            "TRUNCATE" => Err(self.unsupported(
                "TRUNCATE is refused: a topic is a log, its records are never removed by a statement; retention is a policy of its \
                 database, and DROP TABLE … PURGE removes the topic itself",
            )),
            "MERGE" => Err(self.unsupported("MERGE is refused: a topic is a log, its records are never changed")),
            "LOAD" | "UNLOAD" => Err(self.unsupported(&format!(
                "{word} MODULE is not supported: the functions are those of the module `core`, which is always loaded"
            ))),
            "ADD" | "REMOVE" => {
                Err(self.unsupported(&format!("{word} JAR is not supported: there is no Java here to load it into")))
            }
            "CALL" => Err(self.unsupported("CALL is not supported: there are no procedures; `aquifer archive` is the tool for the tiers")),
            "STOP" => Err(self.unsupported("STOP JOB is not built yet: a statement runs as long as its session; end that with Ctrl-C")),
            "COMPILE" => Err(self.unsupported("COMPILE PLAN is not supported: a plan is made anew whenever a statement starts")),
            "HELP" | "QUIT" | "EXIT" | "CLEAR" => {
                Err(self.unsupported(&format!("{word} is a command of the shell and no statement")))
            }
            _ => Err(self.unsupported(&format!("`{word}` begins no statement that is known here"))),
        }
    }

    /// A type's own words, up to what cannot be a part of it.
    pub(super) fn type_text(&mut self) -> Result<String> {
        let start = self.at;
        let mut depth = 0i32;
        while let Some(token) = self.peek() {
            match token {
                Token::LParen | Token::Lt => depth += 1,
                Token::RParen | Token::Gt if depth > 0 => depth -= 1,
                Token::ShiftRight if depth > 1 => depth -= 2,
                Token::Comma | Token::RParen if depth == 0 => break,
                Token::Word(_) if depth == 0 && TYPE_ENDS.iter().any(|w| self.is(w)) => break,
                _ => {}
            }
            self.at += 1;
        }
        let words = self.source.words(&self.tokens[start..self.at]).to_string();
        SqlType::parse(&words).map_err(|error| {
            let at = self.tokens.get(start).map_or_else(|| self.source.end(), |t| t.span.start);
            self.source.error(error.kind(), at, error.message())
        })?;
        Ok(words)
    }

    /// An expression's own words; it is parsed so that it is known to be one.
    pub(super) fn expression(&mut self) -> Result<String> {
        let dialect = FlinkDialect::default();
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(self.tokens[self.at..].to_vec());
        parser.parse_expr().map_err(|error| self.parser_error(error))?;
        let left = remaining(&mut parser);
        let end = self.tokens.len() - left;
        let words = self.source.words(&self.tokens[self.at..end]).to_string();
        self.at = end;
        Ok(words)
    }

    /// sqlparser's errors say the place in words: it is taken from there.
    pub(super) fn parser_error(&self, error: ParserError) -> Error {
        let message = match error {
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
            ParserError::RecursionLimitExceeded => "the statement is nested too deeply".to_string(),
        };
        let (text, place) = match message.rsplit_once(" at Line: ") {
            Some((text, place)) => (text.to_string(), place.split_once(", Column: ")),
            None => (message.clone(), None),
        };
        let numbers = place.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
        let at = match numbers {
            Some((line, column)) if line > 0 => sqlparser::tokenizer::Location { line, column },
            _ => self.source.end(),
        };
        self.source.error(ErrorKind::Invalid, at, &text.replacen("Expected:", "expected", 1).replace("EOF", "the end"))
    }
}

/// How many tokens a parser has left.
pub(super) fn remaining(parser: &mut Parser<'_>) -> usize {
    let mut left = 0;
    while parser.next_token().token != Token::EOF {
        left += 1;
    }
    left
}

/// Parses an expression that a definition keeps.
pub(in crate::sql) fn parse_expression(text: &str) -> Result<Expr> {
    let source = Source::new(text, 1);
    let cursor = Cursor::new(&source)?;
    let dialect = FlinkDialect::default();
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(cursor.tokens.clone());
    let expression = parser.parse_expr().map_err(|error| cursor.parser_error(error))?;
    if remaining(&mut parser) > 0 {
        return Err(Error::invalid(format!("`{text}` is no single expression")));
    }
    Ok(expression)
}
