//! `CREATE`, `ALTER` and `DROP` of catalogs, databases and views, and of what is refused by name.

use aquifer_catalog::ViewColumn;
use aquifer_model::Result;
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::{CreateView, Existing, OptionChange, Statement};

/// Objects that Flink has and we have not, and what to do instead.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["FUNCTION"],
        "functions of users are not built yet: Flink's built-in functions are there (SHOW FUNCTIONS), and a view can name an expression",
    ),
    (
        &["MATERIALIZED"],
        "materialized tables and views are not built yet: CREATE TABLE … AS, or INSERT INTO a table from a query that runs",
    ),
    (&["MODEL"], "models are not supported"),
    (&["CONNECTION"], "connections are not supported: a catalog or the options of a table name the address"),
];

impl Cursor<'_> {
    fn refuse_object(&mut self, verb: &str) -> Result<()> {
        let skip = ["TEMPORARY", "SYSTEM"].iter().filter(|word| self.accept(word)).count();
        for (words, why) in REFUSED {
            if words.iter().any(|word| self.is(word)) {
                return Err(self.unsupported(&format!("{verb} {}: {why}", words[0])));
            }
        }
        self.at -= skip;
        Ok(())
    }

    pub(super) fn create(&mut self) -> Result<Statement> {
        let existing = if self.accept("REPLACE") {
            Existing::Must
        } else {
            self.expect("CREATE")?;
            if self.accept_all(&["OR", "REPLACE"]) { Existing::MayBe } else { Existing::None }
        };
        if self.accept_all(&["OR", "ALTER"]) {
            return Err(self.unsupported("CREATE OR ALTER is for materialized tables, which are not built yet"));
        }
        self.refuse_object("CREATE")?;
        if existing == Existing::None && self.accept("CATALOG") {
            let if_not_exists = self.if_not_exists();
            let name = self.identifier()?;
            let comment = self.comment()?;
            self.accept("WITH");
            let options = self.options()?;
            return Ok(Statement::CreateCatalog { name, options, comment, if_not_exists });
        }
        if existing == Existing::None && self.accept("DATABASE") {
            let if_not_exists = self.if_not_exists();
            let name = self.name()?;
            let comment = self.comment()?;
            let options = if self.accept("WITH") { self.options()? } else { Vec::new() };
            return Ok(Statement::CreateDatabase { name, comment, options, if_not_exists });
        }
        let temporary = self.accept("TEMPORARY");
        if self.accept("TABLE") {
            return self.create_table(existing, temporary);
        }
        if existing != Existing::Must && self.accept("VIEW") {
            return self.create_view(existing == Existing::MayBe, temporary);
        }
        Err(self.expected("CATALOG, DATABASE, [TEMPORARY] TABLE or [TEMPORARY] VIEW"))
    }

    fn create_view(&mut self, or_replace: bool, temporary: bool) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        if if_not_exists && or_replace {
            return Err(self.wrong("IF NOT EXISTS and OR REPLACE contradict each other: leave one out"));
        }
        let name = self.name()?;
        let mut columns: Vec<ViewColumn> = Vec::new();
        if self.accept_token(&Token::LParen) {
            while columns.is_empty() || self.accept_token(&Token::Comma) {
                let column = ViewColumn { name: self.identifier()?, comment: self.comment()? };
                if columns.iter().any(|known| known.name == column.name) {
                    return Err(self.wrong(&format!("the column `{}` is named twice", column.name)));
                }
                columns.push(column);
            }
            self.expect_token(&Token::RParen)?;
        }
        let comment = self.comment()?;
        self.expect("AS")?;
        let (text, query) = self.query_with_text()?;
        Ok(Statement::CreateView(CreateView {
            name,
            temporary,
            or_replace,
            if_not_exists,
            columns,
            comment,
            text,
            query,
        }))
    }

    /// A query and its own words.
    fn query_with_text(&mut self) -> Result<(String, super::SelectQuery)> {
        let from = self.here();
        let query = self.query()?;
        // To where the next token begins: a hint at the end is no token.
        let text = self.source.slice(from, self.here()).trim_end().to_string();
        Ok((text, query))
    }

    pub(super) fn alter(&mut self) -> Result<Statement> {
        self.expect("ALTER")?;
        self.refuse_object("ALTER")?;
        if self.accept("TABLE") {
            return self.alter_table();
        }
        if self.accept("VIEW") {
            let name = self.name()?;
            if self.accept("RENAME") {
                self.expect("TO")?;
                return Ok(Statement::RenameView { name, to: self.name()? });
            }
            self.expect("AS")?;
            let (text, query) = self.query_with_text()?;
            return Ok(Statement::AlterView { name, text, query });
        }
        if self.accept("DATABASE") {
            let name = self.name()?;
            self.expect("SET")?;
            return Ok(Statement::AlterDatabase { name, options: self.options()? });
        }
        self.expect("CATALOG")?;
        let name = self.identifier()?;
        let change = if self.accept("SET") {
            OptionChange::Set(self.options()?)
        } else if self.accept("RESET") {
            OptionChange::Reset(self.keys()?)
        } else {
            self.expect("COMMENT")?;
            OptionChange::Comment(self.text()?)
        };
        Ok(Statement::AlterCatalog { name, change })
    }

    pub(super) fn drop(&mut self) -> Result<Statement> {
        self.expect("DROP")?;
        self.refuse_object("DROP")?;
        if self.accept("CATALOG") {
            let if_exists = self.if_exists();
            return Ok(Statement::DropCatalog { name: self.identifier()?, if_exists });
        }
        if self.accept("DATABASE") {
            let if_exists = self.if_exists();
            let name = self.name()?;
            let cascade = self.accept("CASCADE");
            if !cascade {
                self.accept("RESTRICT");
            }
            return Ok(Statement::DropDatabase { name, if_exists, cascade });
        }
        let temporary = self.accept("TEMPORARY");
        if self.accept("TABLE") {
            return self.drop_table(temporary);
        }
        if self.accept("VIEW") {
            let if_exists = self.if_exists();
            return Ok(Statement::DropView { name: self.name()?, if_exists, temporary });
        }
        Err(self.expected("CATALOG, DATABASE, [TEMPORARY] TABLE or [TEMPORARY] VIEW"))
    }
}
