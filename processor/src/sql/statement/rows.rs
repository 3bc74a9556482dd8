//! Queries, `INSERT` and statement sets.

use aquifer_model::{ErrorKind, Result};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::super::match_recognize;
use super::super::resolve::{HINT, numbered_name};
use super::super::text::{FlinkDialect, Source};
use super::cursor::{Cursor, remaining};
use super::{Insert, SelectQuery, Statement};
use crate::connector::nearest_known;

/// The options of a hint.
type Options = Vec<(String, String)>;

impl Cursor<'_> {
    /// `INSERT …`, `EXECUTE …`, `BEGIN STATEMENT SET`, `END`.
    pub(super) fn rows(&mut self) -> Result<Statement> {
        if self.is("INSERT") {
            return Ok(Statement::Insert(self.insert()?));
        }
        if self.accept("END") {
            return Ok(Statement::End);
        }
        if self.accept("BEGIN") {
            if !self.accept_all(&["STATEMENT", "SET"]) {
                return Err(self.unsupported("transactions are not supported: only BEGIN STATEMENT SET … END"));
            }
            return self.statement_set();
        }
        self.expect("EXECUTE")?;
        if self.is("INSERT") {
            return Ok(Statement::Insert(self.insert()?));
        }
        if self.is("SELECT") || self.is("WITH") {
            return Ok(Statement::Select(self.query()?));
        }
        if self.is("PLAN") {
            return Err(
                self.unsupported("EXECUTE PLAN is not supported: a plan is made anew whenever a statement starts")
            );
        }
        self.expect("STATEMENT")?;
        self.expect("SET")?;
        self.expect("BEGIN")?;
        self.statement_set()
    }

    /// The inserts of a set, as far as they stand in this text.
    fn statement_set(&mut self) -> Result<Statement> {
        let inserts = self.inserts()?;
        let is_complete = self.accept("END");
        Ok(Statement::BeginSet { inserts, is_complete })
    }

    /// `INSERT …; INSERT …;`
    pub(super) fn inserts(&mut self) -> Result<Vec<Insert>> {
        let mut inserts = Vec::new();
        loop {
            while self.accept_token(&Token::SemiColon) {}
            if !self.is("INSERT") {
                return Ok(inserts);
            }
            inserts.push(self.insert()?);
        }
    }

    pub(super) fn insert(&mut self) -> Result<Insert> {
        self.expect("INSERT")?;
        let overwrite = self.accept("OVERWRITE");
        if !overwrite {
            self.expect("INTO")?;
        } else {
            self.accept("INTO");
        }
        self.accept("TABLE");
        let table = self.name()?;
        let hints = match self.at.checked_sub(1) {
            Some(last) => self.hint_after(last)?.unwrap_or_default(),
            None => Vec::new(),
        };
        let mut partition = Vec::new();
        if self.accept("PARTITION") {
            self.expect_token(&Token::LParen)?;
            while partition.is_empty() || self.accept_token(&Token::Comma) {
                let column = self.identifier()?;
                let value = if self.accept_token(&Token::Eq) { Some(self.expression()?) } else { None };
                partition.push((column, value));
            }
            self.expect_token(&Token::RParen)?;
        }
        let has_columns = self.peek() == Some(&Token::LParen) && !self.is_query_after_paren();
        let columns = if has_columns { self.identifiers()? } else { Vec::new() };
        Ok(Insert { table, overwrite, partition, columns, query: self.query()?, hints })
    }

    fn is_query_after_paren(&self) -> bool {
        let inner = self.tokens[self.at..].iter().map(|t| &t.token).find(|t| **t != Token::LParen);
        matches!(inner, Some(Token::Word(w)) if ["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|k| w.quote_style.is_none() && w.value.eq_ignore_ascii_case(k)))
    }

    pub(super) fn query(&mut self) -> Result<SelectQuery> {
        let hints = self.take_hints()?;
        if match_recognize::is_in(&self.tokens[self.at..]) {
            match_recognize::move_clauses(&mut self.tokens);
        }
        let dialect = FlinkDialect::of(&self.tokens[self.at..]);
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(self.tokens[self.at..].to_vec());
        let query = parser.parse_query().map_err(|error| self.parser_error(error))?;
        self.at = self.tokens.len() - remaining(&mut parser);
        Ok(SelectQuery { query: *query, hints })
    }

    /// Reads the hints behind names, `t /*+ OPTIONS('k'='v') */`, and puts their numbers into the tokens, where the parser takes them for arguments.
    fn take_hints(&mut self) -> Result<Vec<Options>> {
        let mut hints = Vec::new();
        let mut n = self.at;
        while n < self.tokens.len() && self.tokens[n].token != Token::SemiColon {
            let span = self.tokens[n].span;
            let hint = self.hint_after(n)?;
            n += 1;
            let Some(options) = hint else { continue };
            if let (Some(next), Token::Word(word)) = (self.tokens.get(n), self.tokens[n - 1].token.clone())
                && matches!(&next.token, Token::Word(next) if next.keyword == Keyword::FOR)
            {
                // Between a table and its FOR SYSTEM_TIME no arguments are parsed.
                let value = numbered_name(hints.len(), &word.value);
                self.tokens[n - 1].token =
                    Token::Word(Word { value, quote_style: Some('`'), keyword: Keyword::NoKeyword });
                hints.push(options);
                continue;
            }
            let number = Token::Number(hints.len().to_string(), false);
            let mark = Token::SingleQuotedString(HINT.to_string());
            let tokens = [Token::LParen, mark, Token::Comma, number, Token::RParen];
            let tokens = tokens.map(|token| TokenWithSpan { token, span });
            n += tokens.len();
            self.tokens.splice(n - 5..n - 5, tokens);
            hints.push(options);
        }
        Ok(hints)
    }

    /// What stands in a hint's parentheses: names of tables, or `'key' = 'value'` with a text or a number.
    fn hint_arguments(&mut self) -> Result<()> {
        if !self.accept_token(&Token::LParen) || self.accept_token(&Token::RParen) {
            return Ok(());
        }
        loop {
            match self.peek() {
                Some(Token::SingleQuotedString(_)) => drop(self.text()?),
                _ => drop(self.name()?),
            }
            if self.accept_token(&Token::Eq) {
                match self.peek() {
                    Some(Token::Number(..)) => self.at += 1,
                    _ => drop(self.text()?),
                }
            }
            if !self.accept_token(&Token::Comma) {
                return self.expect_token(&Token::RParen);
            }
        }
    }

    /// The options of the hint behind a token. Behind SELECT stand hints that choose how Flink runs a join or keeps its state: the answer is the
    /// same without them.
    fn hint_after(&self, n: usize) -> Result<Option<Options>> {
        let TokenWithSpan { token, span } = &self.tokens[n];
        let to = self.tokens.get(n + 1).map_or_else(|| self.source.end(), |t| t.span.start);
        let Some(hint) = self.source.hint_between(span.end, to) else { return Ok(None) };
        let wrong = |what: &str| self.source.error(ErrorKind::Unsupported, span.end, what);
        let source = Source::new(hint, 1);
        let mut cursor = Cursor::new(&source)?;
        if matches!(token, Token::Word(w) if w.keyword == Keyword::SELECT) {
            let known =
                ["BROADCAST", "SHUFFLE_HASH", "SHUFFLE_MERGE", "NEST_LOOP", "LOOKUP", "STATE_TTL", "MULTI_JOIN"];
            loop {
                let name = cursor.identifier()?;
                if !known.iter().any(|one| one.eq_ignore_ascii_case(&name)) {
                    let near = nearest_known(&name.to_uppercase(), known.iter().copied());
                    return Err(wrong(&format!("unknown hint `{name}`: {near}")));
                }
                cursor.hint_arguments()?;
                cursor.accept_token(&Token::Comma);
                if cursor.peek().is_none() {
                    return Ok(None);
                }
            }
        }
        if !cursor.accept("OPTIONS") || !matches!(token, Token::Word(_)) {
            return Err(wrong("behind a table the hint is OPTIONS('key'='value', …)"));
        }
        let options = cursor.options()?;
        cursor.end()?;
        Ok(Some(options))
    }
}
