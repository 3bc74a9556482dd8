//! Statements: what a text asks for. DDL is parsed here, token by token; queries and expressions by sqlparser under our dialect.

use aquifer_catalog::{ColumnDefinition, ColumnKind, MetadataKey, TableDefinition, WatermarkDefinition};
use aquifer_model::{Error, ErrorKind, Result, SqlType};
use sqlparser::ast::{Expr, Query};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::text::{FlinkDialect, Source};

/// What a statement asks for. Names are parts as written, quotes undone.
#[derive(Debug)]
pub(super) enum Statement {
    CreateCatalog {
        name: String,
        options: Vec<(String, String)>,
        comment: Option<String>,
        if_not_exists: bool,
    },
    DropCatalog {
        name: String,
        if_exists: bool,
    },
    UseCatalog(String),
    Use(Vec<String>),
    ShowCatalogs,
    ShowDatabases,
    ShowTables {
        database: Option<Vec<String>>,
        like: Option<(String, bool)>,
    },
    ShowCurrentCatalog,
    ShowCurrentDatabase,
    ShowCreateTable(Vec<String>),
    Describe(Vec<String>),
    CreateDatabase {
        name: Vec<String>,
        if_not_exists: bool,
    },
    CreateTable {
        name: Vec<String>,
        definition: TableDefinition,
        if_not_exists: bool,
    },
    AlterTableAdd {
        name: Vec<String>,
        columns: Vec<ColumnDefinition>,
        watermark: Option<WatermarkDefinition>,
        primary_key: Vec<String>,
    },
    DropTable {
        name: Vec<String>,
        if_exists: bool,
    },
    Insert {
        table: Vec<String>,
        columns: Vec<String>,
        query: SelectQuery,
    },
    Select(SelectQuery),
    Explain {
        analyze: bool,
        query: SelectQuery,
    },
    Set(Option<(String, String)>),
    Reset(Option<String>),
}

/// A query, with the hints found at its tables.
#[derive(Debug, Clone)]
pub(super) struct SelectQuery {
    pub query: Query,
    /// The options of each hint; the tree holds their numbers ([`super::resolve::HINT`]).
    pub hints: Vec<Vec<(String, String)>>,
}

/// Parses a view's query.
pub(super) fn parse_query(text: &str) -> Result<SelectQuery> {
    let source = Source::new(text, 1);
    let mut cursor = Cursor { tokens: source.tokens()?, source: &source, at: 0 };
    let query = cursor.query()?;
    cursor.end()?;
    Ok(query)
}

/// Parses one statement.
pub(super) fn parse(source: &Source) -> Result<Statement> {
    let tokens = source.tokens()?;
    let mut cursor = Cursor { source, tokens, at: 0 };
    let statement = cursor.statement()?;
    cursor.end()?;
    Ok(statement)
}

struct Cursor<'a> {
    source: &'a Source,
    tokens: Vec<TokenWithSpan>,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    fn is(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.is(word);
        self.at += usize::from(found);
        found
    }

    fn accept_all(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        if words.iter().all(|word| self.accept(word)) {
            return true;
        }
        self.at = start;
        false
    }

    fn accept_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn here(&self) -> sqlparser::tokenizer::Location {
        self.tokens.get(self.at).map_or_else(|| self.source.end(), |t| t.span.start)
    }

    fn wrong(&self, what: &str) -> Error {
        self.source.error(ErrorKind::Invalid, self.here(), what)
    }

    fn unsupported(&self, what: &str) -> Error {
        self.source.error(ErrorKind::Unsupported, self.here(), what)
    }

    fn expected(&self, what: &str) -> Error {
        match self.peek() {
            Some(found) => self.wrong(&format!("expected {what}, found `{found}`")),
            None => self.wrong(&format!("expected {what}, but the statement ends")),
        }
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.accept(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.accept_token(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    fn end(&self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(token) => Err(self.wrong(&format!("`{token}` is not expected here"))),
        }
    }

    fn identifier(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let name = word.value.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.expected("a name")),
        }
    }

    fn name(&mut self) -> Result<Vec<String>> {
        let mut parts = vec![self.identifier()?];
        while self.accept_token(&Token::Period) {
            parts.push(self.identifier()?);
        }
        Ok(parts)
    }

    fn text(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::SingleQuotedString(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.expected("a text in quotes")),
        }
    }

    fn if_not_exists(&mut self) -> bool {
        self.accept_all(&["IF", "NOT", "EXISTS"])
    }

    fn if_exists(&mut self) -> bool {
        self.accept_all(&["IF", "EXISTS"])
    }

    fn options(&mut self) -> Result<Vec<(String, String)>> {
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

    fn comment(&mut self) -> Result<Option<String>> {
        if self.accept("COMMENT") { self.text().map(Some) } else { Ok(None) }
    }

    fn statement(&mut self) -> Result<Statement> {
        let word = match self.peek() {
            Some(Token::Word(word)) => word.value.to_ascii_uppercase(),
            Some(Token::LParen) => "SELECT".to_string(),
            _ => return Err(self.expected("a statement")),
        };
        match word.as_str() {
            "SELECT" | "WITH" | "VALUES" => Ok(Statement::Select(self.query()?)),
            "EXPLAIN" => self.explain(),
            "INSERT" => self.insert(),
            "CREATE" => self.create(),
            "DROP" => self.drop(),
            "ALTER" => self.alter(),
            "USE" => self.use_statement(),
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => {
                self.at += 1;
                if self.is("EXTENDED") {
                    return Err(
                        self.unsupported("DESCRIBE EXTENDED is not built yet: use DESCRIBE or SHOW CREATE TABLE")
                    );
                }
                Ok(Statement::Describe(self.name()?))
            }
            "SET" => {
                self.at += 1;
                if self.peek().is_none() {
                    return Ok(Statement::Set(None));
                }
                let key = self.text()?;
                self.expect_token(&Token::Eq)?;
                Ok(Statement::Set(Some((key, self.text()?))))
            }
            "RESET" => {
                self.at += 1;
                Ok(Statement::Reset(if self.peek().is_none() { None } else { Some(self.text()?) }))
            }
            "UPDATE" | "DELETE" => {
                Err(self.unsupported(&format!("{word} is refused: a topic is a log, its records are never changed")))
            }
            _ => Err(self.unsupported(&format!("the statement `{word}` is not built yet"))),
        }
    }

    fn explain(&mut self) -> Result<Statement> {
        self.at += 1;
        let analyze = self.accept("ANALYZE");
        if !analyze {
            self.accept_all(&["PLAN", "FOR"]);
        }
        if self.is("INSERT") || self.is("CHANGELOG_MODE") || self.is("ESTIMATED_COST") || self.is("JSON_EXECUTION_PLAN")
        {
            return Err(self.unsupported("EXPLAIN of this is not built yet: EXPLAIN [ANALYZE] takes a query"));
        }
        Ok(Statement::Explain { analyze, query: self.query()? })
    }

    fn insert(&mut self) -> Result<Statement> {
        self.at += 1;
        if self.is("OVERWRITE") {
            return Err(
                self.unsupported("INSERT OVERWRITE is refused: a topic is a log, its records are never replaced")
            );
        }
        self.expect("INTO")?;
        let table = self.name()?;
        let mut columns = Vec::new();
        if self.peek() == Some(&Token::LParen) && !self.is_query_after_paren() {
            self.expect_token(&Token::LParen)?;
            columns.push(self.identifier()?);
            while self.accept_token(&Token::Comma) {
                columns.push(self.identifier()?);
            }
            self.expect_token(&Token::RParen)?;
        }
        Ok(Statement::Insert { table, columns, query: self.query()? })
    }

    fn is_query_after_paren(&self) -> bool {
        matches!(self.tokens.get(self.at + 1).map(|t| &t.token), Some(Token::Word(w))
            if ["SELECT", "WITH", "VALUES"].iter().any(|k| w.value.eq_ignore_ascii_case(k)))
    }

    fn create(&mut self) -> Result<Statement> {
        self.at += 1;
        if self.accept("CATALOG") {
            let if_not_exists = self.if_not_exists();
            let name = self.identifier()?;
            let comment = self.comment()?;
            self.accept("WITH");
            let options = self.options()?;
            return Ok(Statement::CreateCatalog { name, options, comment, if_not_exists });
        }
        if self.accept("DATABASE") {
            let if_not_exists = self.if_not_exists();
            return Ok(Statement::CreateDatabase { name: self.name()?, if_not_exists });
        }
        if self.accept("TABLE") {
            return self.create_table();
        }
        Err(self.unsupported("only CREATE CATALOG, CREATE DATABASE and CREATE TABLE are built so far"))
    }

    fn create_table(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let (columns, watermark, primary_key) = self.table_elements()?;
        let comment = self.comment()?;
        for clause in ["PARTITIONED", "DISTRIBUTED", "LIKE", "AS"] {
            if self.is(clause) {
                return Err(self.unsupported(&format!("CREATE TABLE … {clause} is not built yet")));
            }
        }
        let options = if self.accept("WITH") { self.options()? } else { Vec::new() };
        let options = options.into_iter().collect();
        let definition = TableDefinition { columns, watermark, primary_key, comment, options, ..Default::default() };
        Ok(Statement::CreateTable { name, definition, if_not_exists })
    }

    /// `( column | WATERMARK | PRIMARY KEY, … )`
    fn table_elements(&mut self) -> Result<(Vec<ColumnDefinition>, Option<WatermarkDefinition>, Vec<String>)> {
        let (mut columns, mut watermark, mut primary_key) = (Vec::<ColumnDefinition>::new(), None, Vec::new());
        self.expect_token(&Token::LParen)?;
        let mut is_first = true;
        while is_first || !self.accept_token(&Token::RParen) {
            if !is_first {
                self.expect_token(&Token::Comma)?;
            }
            is_first = false;
            if self.is("WATERMARK") {
                if watermark.is_some() {
                    return Err(self.wrong("a table has one watermark"));
                }
                watermark = Some(self.watermark()?);
            } else if self.is("PRIMARY") || self.is("CONSTRAINT") {
                if self.accept("CONSTRAINT") {
                    self.identifier()?;
                }
                primary_key = self.primary_key()?;
            } else {
                let here = self.here();
                let column = self.column(&mut primary_key)?;
                if columns.iter().any(|c| c.name == column.name) {
                    let text = format!("the column `{}` is declared twice", column.name);
                    return Err(self.source.error(ErrorKind::Invalid, here, &text));
                }
                columns.push(column);
            }
        }
        Ok((columns, watermark, primary_key))
    }

    fn watermark(&mut self) -> Result<WatermarkDefinition> {
        self.expect("WATERMARK")?;
        self.expect("FOR")?;
        let column = self.name()?.join(".");
        self.expect("AS")?;
        Ok(WatermarkDefinition { column, expression: self.expression()? })
    }

    fn primary_key(&mut self) -> Result<Vec<String>> {
        self.expect("PRIMARY")?;
        self.expect("KEY")?;
        self.expect_token(&Token::LParen)?;
        let mut key = vec![self.identifier()?];
        while self.accept_token(&Token::Comma) {
            key.push(self.identifier()?);
        }
        self.expect_token(&Token::RParen)?;
        self.not_enforced()?;
        Ok(key)
    }

    fn not_enforced(&mut self) -> Result<()> {
        if self.accept_all(&["NOT", "ENFORCED"]) {
            return Ok(());
        }
        Err(self.wrong("a primary key on a log cannot be enforced: write PRIMARY KEY (…) NOT ENFORCED"))
    }

    fn column(&mut self, primary_key: &mut Vec<String>) -> Result<ColumnDefinition> {
        let name = self.identifier()?;
        let kind = if self.accept("AS") {
            ColumnKind::Computed { expression: self.expression()? }
        } else {
            let type_text = self.type_text()?;
            if self.accept("METADATA") {
                let from = self.here();
                let key = if self.accept("FROM") { self.text()? } else { name.clone() };
                let key: MetadataKey =
                    key.parse().map_err(|error: Error| self.source.error(error.kind(), from, error.message()))?;
                ColumnKind::Metadata { type_text, key, is_virtual: self.accept("VIRTUAL") }
            } else {
                if self.accept_all(&["PRIMARY", "KEY"]) {
                    self.not_enforced()?;
                    primary_key.push(name.clone());
                }
                ColumnKind::Physical { type_text }
            }
        };
        Ok(ColumnDefinition { name, kind, comment: self.comment()? })
    }

    /// A type's own words, up to what cannot be a part of it.
    fn type_text(&mut self) -> Result<String> {
        let start = self.at;
        let mut depth = 0i32;
        while let Some(token) = self.peek() {
            match token {
                Token::LParen | Token::Lt => depth += 1,
                Token::RParen | Token::Gt if depth > 0 => depth -= 1,
                Token::ShiftRight if depth > 1 => depth -= 2,
                Token::Comma | Token::RParen if depth == 0 => break,
                Token::Word(_) if depth == 0 && ["METADATA", "COMMENT", "PRIMARY"].iter().any(|w| self.is(w)) => break,
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
    fn expression(&mut self) -> Result<String> {
        let mut parser = Parser::new(&FlinkDialect).with_tokens_with_locations(self.tokens[self.at..].to_vec());
        parser.parse_expr().map_err(|error| self.parser_error(error))?;
        let left = remaining(&mut parser);
        let end = self.tokens.len() - left;
        let words = self.source.words(&self.tokens[self.at..end]).to_string();
        self.at = end;
        Ok(words)
    }

    fn drop(&mut self) -> Result<Statement> {
        self.at += 1;
        if self.accept("CATALOG") {
            let if_exists = self.if_exists();
            return Ok(Statement::DropCatalog { name: self.identifier()?, if_exists });
        }
        if self.accept("TABLE") {
            let if_exists = self.if_exists();
            return Ok(Statement::DropTable { name: self.name()?, if_exists });
        }
        Err(self.unsupported("only DROP CATALOG and DROP TABLE are built so far"))
    }

    fn alter(&mut self) -> Result<Statement> {
        self.at += 1;
        self.expect("TABLE")?;
        let name = self.name()?;
        if !self.accept("ADD") {
            return Err(self.unsupported("only ALTER TABLE … ADD is built so far"));
        }
        let (columns, watermark, primary_key) = if self.peek() == Some(&Token::LParen) {
            self.table_elements()?
        } else if self.is("WATERMARK") {
            (Vec::new(), Some(self.watermark()?), Vec::new())
        } else {
            let mut key = Vec::new();
            (vec![self.column(&mut key)?], None, key)
        };
        Ok(Statement::AlterTableAdd { name, columns, watermark, primary_key })
    }

    fn use_statement(&mut self) -> Result<Statement> {
        self.at += 1;
        if self.accept("CATALOG") {
            return Ok(Statement::UseCatalog(self.identifier()?));
        }
        if self.is("MODULES") {
            return Err(self.unsupported("modules are not built"));
        }
        Ok(Statement::Use(self.name()?))
    }

    fn show(&mut self) -> Result<Statement> {
        self.at += 1;
        if self.accept("CATALOGS") {
            return Ok(Statement::ShowCatalogs);
        }
        if self.accept("DATABASES") {
            return Ok(Statement::ShowDatabases);
        }
        if self.accept("TABLES") {
            let database = if self.accept("FROM") || self.accept("IN") { Some(self.name()?) } else { None };
            let negated = self.accept("NOT");
            let like = if self.accept("LIKE") {
                Some((self.text()?, negated))
            } else if negated {
                return Err(self.expected("LIKE"));
            } else {
                None
            };
            return Ok(Statement::ShowTables { database, like });
        }
        if self.accept("CURRENT") {
            if self.accept("CATALOG") {
                return Ok(Statement::ShowCurrentCatalog);
            }
            self.expect("DATABASE")?;
            return Ok(Statement::ShowCurrentDatabase);
        }
        if self.accept_all(&["CREATE", "TABLE"]) {
            return Ok(Statement::ShowCreateTable(self.name()?));
        }
        if self.accept("COLUMNS") {
            if !self.accept("FROM") {
                self.expect("IN")?;
            }
            return Ok(Statement::Describe(self.name()?));
        }
        Err(self.unsupported("this SHOW is not built yet"))
    }

    fn query(&mut self) -> Result<SelectQuery> {
        let hints = self.take_hints()?;
        let mut parser = Parser::new(&FlinkDialect).with_tokens_with_locations(self.tokens[self.at..].to_vec());
        let query = parser.parse_query().map_err(|error| self.parser_error(error))?;
        self.at = self.tokens.len() - remaining(&mut parser);
        Ok(SelectQuery { query: *query, hints })
    }

    /// Reads the hints behind names, `t /*+ OPTIONS('k'='v') */`, and puts their numbers into the tokens, where the parser takes them for arguments.
    fn take_hints(&mut self) -> Result<Vec<Vec<(String, String)>>> {
        let mut hints = Vec::new();
        let mut n = self.at;
        while n < self.tokens.len() {
            let to = self.tokens.get(n + 1).map_or_else(|| self.source.end(), |t| t.span.start);
            let span = self.tokens[n].span;
            n += 1;
            let Some(hint) = self.source.hint_between(span.end, to) else { continue };
            let wrong = |what: &str| self.source.error(ErrorKind::Unsupported, span.end, what);
            let source = Source::new(hint, 1);
            let mut cursor = Cursor { tokens: source.tokens()?, source: &source, at: 0 };
            let behind_select = matches!(&self.tokens[n - 1].token, Token::Word(w) if w.keyword == Keyword::SELECT);
            if behind_select {
                // Hints that choose how Flink runs a join or keeps its state: the answer is the same without them.
                let known =
                    ["BROADCAST", "SHUFFLE_HASH", "SHUFFLE_MERGE", "NEST_LOOP", "LOOKUP", "STATE_TTL", "MULTI_JOIN"];
                let name = cursor.identifier()?;
                if !known.iter().any(|one| one.eq_ignore_ascii_case(&name)) {
                    return Err(wrong(&format!("unknown hint `{name}`: there are {}", known.join(", "))));
                }
                continue;
            }
            if !cursor.accept("OPTIONS") || !matches!(self.tokens[n - 1].token, Token::Word(_)) {
                return Err(wrong("behind a table the hint is OPTIONS('key'='value', …)"));
            }
            let options = cursor.options()?;
            cursor.end()?;
            let number = Token::Number(hints.len().to_string(), false);
            let mark = Token::SingleQuotedString(super::resolve::HINT.to_string());
            let tokens = [Token::LParen, mark, Token::Comma, number, Token::RParen];
            let tokens = tokens.map(|token| TokenWithSpan { token, span });
            n += tokens.len();
            self.tokens.splice(n - 5..n - 5, tokens);
            hints.push(options);
        }
        Ok(hints)
    }

    /// sqlparser's errors say the place in words: it is taken from there.
    fn parser_error(&self, error: ParserError) -> Error {
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
fn remaining(parser: &mut Parser<'_>) -> usize {
    let mut left = 0;
    while parser.next_token().token != Token::EOF {
        left += 1;
    }
    left
}

/// Parses an expression that a definition keeps.
pub(super) fn parse_expression(text: &str) -> Result<Expr> {
    let source = Source::new(text, 1);
    let cursor = Cursor { tokens: source.tokens()?, source: &source, at: 0 };
    let mut parser = Parser::new(&FlinkDialect).with_tokens_with_locations(cursor.tokens.clone());
    let expression = parser.parse_expr().map_err(|error| cursor.parser_error(error))?;
    if remaining(&mut parser) > 0 {
        return Err(Error::invalid(format!("`{text}` is no single expression")));
    }
    Ok(expression)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Statement {
        parse(&Source::new(text, 1)).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        parse(&Source::new(text, 1)).expect_err(text).to_string()
    }

    #[test]
    fn the_statements_of_the_talk_parse_as_printed() {
        let Statement::CreateCatalog { name, options, .. } =
            parsed("CREATE CATALOG my_pulsar (‘type’ = ‘pulsar’, ‘adminUrl’ = ‘localhost:9092’)")
        else {
            panic!("a catalog")
        };
        assert_eq!(name, "my_pulsar");
        assert_eq!(options[1], ("adminUrl".to_string(), "localhost:9092".to_string()));
        assert!(matches!(parsed("USE my_pulsar"), Statement::Use(name) if name == ["my_pulsar"]));
        let text = "INSERT INTO aggregations\nSELECT room, TUMBLE_END(rowtime, INTERVAL '1' HOUR), AVG(temperature)\nFROM sensors GROUP BY TUMBLE(rowtime, INTERVAL '1' HOUR), room";
        assert!(matches!(parsed(text), Statement::Insert { table, .. } if table == ["aggregations"]));
    }

    #[test]
    fn a_table_keeps_the_users_own_words() {
        let text = "CREATE TABLE IF NOT EXISTS d.t (a INT NOT NULL COMMENT 'x', m MAP<STRING, ROW<x ARRAY<INT>>>, e TIMESTAMP_LTZ(3) METADATA FROM 'event_time' VIRTUAL, \
                    c AS a * 2 + 1, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, PRIMARY KEY (a) NOT ENFORCED) COMMENT 'y' WITH ('connector' = 'pulsar')";
        let Statement::CreateTable { name, definition, if_not_exists } = parsed(text) else { panic!("a table") };
        assert!(if_not_exists && name == ["d", "t"]);
        assert_eq!(definition.columns.len(), 5);
        assert_eq!(definition.columns[0].kind, ColumnKind::Physical { type_text: "INT NOT NULL".into() });
        assert_eq!(definition.columns[3].kind, ColumnKind::Computed { expression: "a * 2 + 1".into() });
        assert_eq!(definition.watermark.expect("one").expression, "ts - INTERVAL '5' SECOND");
        assert_eq!(definition.primary_key, ["a"]);
        assert_eq!(definition.options["connector"], "pulsar");
    }

    #[test]
    fn errors_show_line_and_place() {
        assert!(refused("SELECT a FROM t\n  WHERE AND x").contains("line 2:   WHERE AND x\n"));
        assert!(refused("CREATE TABLE t (a INTT)").contains("unknown type `INTT`"));
        assert!(refused("CREATE TABLE t (a INT PRIMARY KEY)").contains("NOT ENFORCED"));
        assert!(refused("SELEC 1").contains("`SELEC`"));
        assert!(refused("DELETE FROM t").contains("never changed"));
        assert!(
            refused("SELECT 1 SELECT 2").contains("not expected here")
                || refused("SELECT 1 SELECT 2").contains("line 1")
        );
    }
}
