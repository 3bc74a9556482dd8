//! `SHOW`, `DESCRIBE`, `EXPLAIN`, `USE`, `SET`, `RESET`, `ANALYZE`.

use aquifer_model::Result;
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::{Details, Explained, Name, Pattern, Show, Statement};

impl Cursor<'_> {
    pub(super) fn use_statement(&mut self) -> Result<Statement> {
        self.expect("USE")?;
        if self.accept("CATALOG") {
            return Ok(Statement::UseCatalog(self.identifier()?));
        }
        if self.accept("MODULES") {
            let mut modules = vec![self.identifier()?];
            while self.accept_token(&Token::Comma) {
                modules.push(self.identifier()?);
            }
            return Ok(Statement::UseModules(modules));
        }
        Ok(Statement::Use(self.name()?))
    }

    /// `[NOT] LIKE | ILIKE '…'`
    fn pattern(&mut self) -> Result<Option<Pattern>> {
        let negated = self.accept("NOT");
        let any_case = self.is("ILIKE");
        if self.accept("LIKE") || self.accept("ILIKE") {
            return Ok(Some(Pattern { text: self.text()?, negated, any_case }));
        }
        if negated { Err(self.expected("LIKE or ILIKE")) } else { Ok(None) }
    }

    fn accept_from(&mut self) -> bool {
        self.accept("FROM") || self.accept("IN")
    }

    fn database_name(&mut self) -> Result<Option<Name>> {
        if self.accept_from() { Ok(Some(self.name()?)) } else { Ok(None) }
    }

    pub(super) fn show(&mut self) -> Result<Statement> {
        self.expect("SHOW")?;
        let show = if self.accept("CATALOGS") {
            Show::Catalogs(self.pattern()?)
        } else if self.accept("DATABASES") {
            let catalog = if self.accept_from() { Some(self.identifier()?) } else { None };
            Show::Databases { catalog, like: self.pattern()? }
        } else if self.accept("TABLES") {
            Show::Tables { database: self.database_name()?, like: self.pattern()? }
        } else if self.accept("VIEWS") {
            Show::Views { database: self.database_name()?, like: self.pattern()? }
        } else if self.accept("COLUMNS") {
            if !self.accept_from() {
                return Err(self.expected("FROM or IN"));
            }
            Show::Columns { table: self.name()?, like: self.pattern()? }
        } else if self.is("FUNCTIONS") || self.is("USER") {
            let user = self.accept("USER");
            self.expect("FUNCTIONS")?;
            Show::Functions { user, database: self.database_name()?, like: self.pattern()? }
        } else if self.accept("PARTITIONS") {
            let name = self.name()?;
            if self.is("PARTITION") {
                return Err(self
                    .unsupported("SHOW PARTITIONS … PARTITION is not supported: it shows all partitions of a table"));
            }
            Show::Partitions(name)
        } else if self.is("MODULES") || self.is("FULL") {
            let full = self.accept("FULL");
            self.expect("MODULES")?;
            Show::Modules { full }
        } else if self.accept("JARS") {
            Show::Jars
        } else if self.accept("CURRENT") {
            if self.accept("CATALOG") {
                Show::CurrentCatalog
            } else {
                self.expect("DATABASE")?;
                Show::CurrentDatabase
            }
        } else if self.accept("CREATE") {
            if self.accept("TABLE") {
                Show::CreateTable(self.name()?)
            } else if self.accept("VIEW") {
                Show::CreateView(self.name()?)
            } else if self.accept("CATALOG") {
                Show::CreateCatalog(self.identifier()?)
            } else {
                return Err(self.expected("TABLE, VIEW or CATALOG"));
            }
        } else if self.is("JOBS") {
            return Err(self.unsupported("SHOW JOBS is not built yet: a statement runs as long as its session"));
        } else if self.is("PROCEDURES") {
            return Err(self.unsupported("SHOW PROCEDURES: there are no procedures"));
        } else if self.is("MATERIALIZED") || self.is("MODELS") || self.is("CONNECTIONS") {
            return Err(self.unsupported("materialized tables, models and connections are not supported"));
        } else {
            return Err(self.expected(
                "CATALOGS, DATABASES, TABLES, VIEWS, COLUMNS, FUNCTIONS, PARTITIONS, MODULES, JARS, CURRENT … or CREATE …",
            ));
        };
        Ok(Statement::Show(show))
    }

    pub(super) fn describe(&mut self) -> Result<Statement> {
        self.at += 1;
        // A table may have one of these names.
        let names_one = |cursor: &Self, word: &str| {
            cursor.is(word) && matches!(cursor.tokens.get(cursor.at + 1).map(|t| &t.token), Some(Token::Word(_)))
        };
        let names_job = matches!(self.tokens.get(self.at + 1).map(|t| &t.token), Some(Token::SingleQuotedString(_)));
        if self.is("JOB") && names_job || names_one(self, "JOB") {
            return Err(self.unsupported("DESCRIBE JOB is not built yet: a statement runs as long as its session"));
        }
        let kind = ["CATALOG", "DATABASE", "FUNCTION"].into_iter().find(|kind| names_one(self, kind));
        self.at += usize::from(kind.is_some());
        let extended = names_one(self, "EXTENDED") && self.accept("EXTENDED");
        Ok(match kind {
            Some("CATALOG") => Statement::DescribeCatalog { name: self.identifier()?, extended },
            Some("DATABASE") => Statement::DescribeDatabase { name: self.name()?, extended },
            Some(_) => Statement::DescribeFunction { name: self.name()?, extended },
            None => Statement::Describe(self.name()?),
        })
    }

    pub(super) fn explain(&mut self) -> Result<Statement> {
        self.expect("EXPLAIN")?;
        let mut details = Details { analyze: self.accept("ANALYZE"), ..Details::default() };
        if !details.analyze && !self.accept_all(&["PLAN", "FOR"]) {
            loop {
                if self.accept("ESTIMATED_COST") {
                    details.estimated_cost = true;
                } else if self.accept("CHANGELOG_MODE") {
                    details.changelog_mode = true;
                } else if self.accept("JSON_EXECUTION_PLAN") {
                    details.json = true;
                } else if self.accept("PLAN_ADVICE") {
                    details.advice = true;
                } else {
                    break;
                }
                if !self.accept_token(&Token::Comma) {
                    break;
                }
            }
        }
        if details.analyze && ["INSERT", "STATEMENT", "CREATE", "REPLACE"].iter().any(|word| self.is(word)) {
            return Err(
                self.unsupported("EXPLAIN ANALYZE runs what it explains: it takes a query, and nothing that writes")
            );
        }
        let what = if self.is("INSERT") {
            Explained::Inserts(vec![self.insert()?])
        } else if self.accept_all(&["STATEMENT", "SET"]) {
            self.expect("BEGIN")?;
            let inserts = self.inserts()?;
            self.expect("END")?;
            Explained::Inserts(inserts)
        } else if self.is("CREATE") || self.is("REPLACE") {
            let at = self.at;
            let Statement::CreateTable(create) = self.create()? else {
                self.at = at;
                return Err(self.unsupported("EXPLAIN takes a query, an INSERT, or CREATE TABLE … AS a query"));
            };
            let Some(query) = create.query else {
                self.at = at;
                return Err(self.unsupported(
                    "EXPLAIN CREATE TABLE shows the plan of its query, and this one has none: write … AS SELECT …",
                ));
            };
            Explained::Query(Box::new(query))
        } else {
            Explained::Query(Box::new(self.query()?))
        };
        Ok(Statement::Explain { details, what })
    }

    pub(super) fn set(&mut self) -> Result<Statement> {
        self.expect("SET")?;
        if self.peek().is_none() {
            return Ok(Statement::Set(None));
        }
        let key = self.setting()?;
        self.expect_token(&Token::Eq)?;
        let value = match self.peek() {
            Some(Token::SingleQuotedString(_)) => self.text()?,
            Some(_) => {
                let start = self.at;
                self.at = self.tokens.len();
                self.words_since(start)
            }
            None => return Err(self.expected("a value")),
        };
        Ok(Statement::Set(Some((key, value))))
    }

    pub(super) fn reset(&mut self) -> Result<Statement> {
        self.expect("RESET")?;
        Ok(Statement::Reset(if self.peek().is_none() { None } else { Some(self.setting()?) }))
    }

    /// A key in quotes, or without them up to `=`.
    fn setting(&mut self) -> Result<String> {
        if matches!(self.peek(), Some(Token::SingleQuotedString(_))) {
            return self.text();
        }
        let start = self.at;
        while self.peek().is_some_and(|token| *token != Token::Eq) {
            self.at += 1;
        }
        if start == self.at { Err(self.expected("a key")) } else { Ok(self.words_since(start)) }
    }

    /// `ANALYZE TABLE t COMPUTE STATISTICS [FOR COLUMNS a, b | FOR ALL COLUMNS]`
    pub(super) fn analyze(&mut self) -> Result<Statement> {
        self.expect("ANALYZE")?;
        self.expect("TABLE")?;
        let name = self.name()?;
        if self.is("PARTITION") {
            return Err(self.unsupported("ANALYZE of a partition is not supported: leave PARTITION out"));
        }
        self.expect("COMPUTE")?;
        self.expect("STATISTICS")?;
        let mut columns = Vec::new();
        if self.accept("FOR") && !self.accept_all(&["ALL", "COLUMNS"]) {
            self.expect("COLUMNS")?;
            columns.push(self.identifier()?);
            while self.accept_token(&Token::Comma) {
                columns.push(self.identifier()?);
            }
        }
        Ok(Statement::Analyze { name, columns })
    }
}
