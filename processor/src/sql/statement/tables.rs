//! `CREATE TABLE`, `ALTER TABLE`, `DROP TABLE`.

use aquifer_catalog::{ColumnDefinition, ColumnKind, Distribution, MetadataKey, WatermarkDefinition};
use aquifer_model::{Error, ErrorKind, Result};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::{
    CreateTable, Elements, Existing, Feature, Like, Merge, Name, Place, Placed, PrimaryKey, Statement, TableChange,
};

impl Cursor<'_> {
    pub(super) fn create_table(&mut self, existing: Existing, temporary: bool) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        if if_not_exists && existing != Existing::None {
            return Err(self.wrong("IF NOT EXISTS and REPLACE contradict each other: leave one out"));
        }
        let name = self.name()?;
        let has_elements = self.peek() == Some(&Token::LParen);
        let mut elements = if has_elements { self.table_elements()? } else { Elements::default() };
        let comment = self.comment()?;
        let distribution =
            if self.is("DISTRIBUTED") { Some(self.distribution()?) } else { elements.distribution.take() };
        let partitioned_by = if self.accept("PARTITIONED") {
            self.expect("BY")?;
            self.identifiers()?
        } else {
            Vec::new()
        };
        let options = if self.accept("WITH") { self.options()? } else { Vec::new() };
        let like = if self.accept("LIKE") { Some(self.like()?) } else { None };
        let query = if self.accept("AS") { Some(self.query()?) } else { None };
        if like.is_some() && query.is_some() {
            return Err(self.wrong("a table is made LIKE another one or AS a query, not both"));
        }
        if !has_elements && like.is_none() && query.is_none() {
            return Err(self.expected("`(` and the columns, LIKE a table, or AS a query"));
        }
        if query.is_none() && !elements.untyped.is_empty() {
            return Err(self.wrong(&format!("the column `{}` has no type", elements.untyped[0])));
        }
        if query.is_some() && temporary {
            return Err(self.unsupported("CREATE TEMPORARY TABLE … AS is not supported: leave out TEMPORARY"));
        }
        if existing != Existing::None && query.is_none() {
            return Err(self.unsupported("REPLACE TABLE without AS is not supported: DROP TABLE, then CREATE TABLE"));
        }
        Ok(Statement::CreateTable(Box::new(CreateTable {
            name,
            temporary,
            if_not_exists,
            existing,
            elements,
            comment,
            distribution,
            partitioned_by,
            options,
            like,
            query,
        })))
    }

    /// `DISTRIBUTED [BY [HASH | RANGE] (columns)] [INTO n BUCKETS]`
    fn distribution(&mut self) -> Result<Distribution> {
        self.accept("DISTRIBUTED");
        self.accept("DISTRIBUTION");
        let (mut by, mut columns) = (None, Vec::new());
        let is_by = self.accept("BY");
        if is_by || self.peek() == Some(&Token::LParen) {
            by = ["HASH", "RANGE"].into_iter().find(|kind| self.accept(kind)).map(String::from);
            columns = self.identifiers()?;
        }
        let mut buckets = None;
        if self.accept("INTO") {
            let number = match self.peek() {
                Some(Token::Number(digits, _)) => digits.parse::<u32>().ok().filter(|n| *n > 0),
                _ => None,
            };
            buckets = Some(number.ok_or_else(|| self.expected("a number of buckets"))?);
            self.at += 1;
            self.expect("BUCKETS")?;
        }
        if columns.is_empty() && buckets.is_none() {
            return Err(self.expected("BY (columns) or INTO n BUCKETS"));
        }
        Ok(Distribution { by, columns, buckets })
    }

    fn like(&mut self) -> Result<Like> {
        let name = self.name()?;
        let mut rules: Vec<(Merge, Feature)> = Vec::new();
        if self.accept_token(&Token::LParen) {
            while !self.accept_token(&Token::RParen) {
                let merge = [
                    ("INCLUDING", Merge::Including),
                    ("EXCLUDING", Merge::Excluding),
                    ("OVERWRITING", Merge::Overwriting),
                ]
                .into_iter()
                .find(|(word, _)| self.accept(word));
                let Some((_, merge)) = merge else {
                    return Err(self.expected("INCLUDING, EXCLUDING or OVERWRITING"));
                };
                let feature = [
                    ("ALL", Feature::All),
                    ("CONSTRAINTS", Feature::Constraints),
                    ("DISTRIBUTION", Feature::Distribution),
                    ("GENERATED", Feature::Generated),
                    ("METADATA", Feature::Metadata),
                    ("OPTIONS", Feature::Options),
                    ("PARTITIONS", Feature::Partitions),
                    ("WATERMARKS", Feature::Watermarks),
                ]
                .into_iter()
                .find(|(word, _)| self.accept(word));
                let Some((word, feature)) = feature else {
                    return Err(self.expected(
                        "ALL, CONSTRAINTS, DISTRIBUTION, GENERATED, METADATA, OPTIONS, PARTITIONS or WATERMARKS",
                    ));
                };
                let overwrites =
                    matches!(feature, Feature::Generated | Feature::Metadata | Feature::Options | Feature::Watermarks);
                if merge == Merge::Overwriting && !overwrites {
                    return Err(self.wrong(&format!("OVERWRITING {word} has no meaning: INCLUDING or EXCLUDING")));
                }
                if rules.iter().any(|(_, known)| *known == feature) {
                    return Err(self.wrong(&format!("{word} is said twice")));
                }
                rules.push((merge, feature));
            }
        }
        Ok(Like { name, rules })
    }

    /// `( column | WATERMARK | PRIMARY KEY, … )`
    pub(super) fn table_elements(&mut self) -> Result<Elements> {
        let mut elements = Elements::default();
        self.expect_token(&Token::LParen)?;
        let mut is_first = true;
        while is_first || !self.accept_token(&Token::RParen) {
            if !is_first {
                self.expect_token(&Token::Comma)?;
            }
            is_first = false;
            self.table_element(&mut elements)?;
        }
        Ok(elements)
    }

    fn table_element(&mut self, elements: &mut Elements) -> Result<()> {
        if self.is("WATERMARK") && self.follows("FOR") {
            if elements.watermark.is_some() {
                return Err(self.wrong("a table has one watermark"));
            }
            elements.watermark = Some(self.watermark()?);
            return Ok(());
        }
        if (self.is("PRIMARY") && self.follows("KEY")) || self.is("CONSTRAINT") {
            let here = self.here();
            let key = self.primary_key()?;
            return self.keep_key(elements, key, here);
        }
        if self.is("UNIQUE") {
            return Err(self.unsupported("UNIQUE is not supported: a table has one PRIMARY KEY (…) NOT ENFORCED"));
        }
        if self.is("DISTRIBUTION") || self.is("DISTRIBUTED") {
            elements.distribution = Some(self.distribution()?);
            return Ok(());
        }
        let here = self.here();
        let is_untyped =
            matches!(self.tokens.get(self.at + 1).map(|t| &t.token), Some(Token::Comma | Token::RParen) | None)
                && matches!(self.peek(), Some(Token::Word(_)));
        let name = if is_untyped {
            let name = self.identifier()?;
            elements.untyped.push(name.clone());
            name
        } else {
            let placed = self.column(elements)?;
            let name = placed.column.name.clone();
            elements.columns.push(placed);
            name
        };
        let known = elements.columns.iter().map(|placed| &placed.column.name).chain(&elements.untyped);
        if known.filter(|known| **known == name).count() > 1 {
            let text = format!("the column `{name}` is declared twice");
            return Err(self.source.error(ErrorKind::Invalid, here, &text));
        }
        Ok(())
    }

    fn keep_key(&self, elements: &mut Elements, key: PrimaryKey, here: sqlparser::tokenizer::Location) -> Result<()> {
        if elements.primary_key.replace(key).is_some() {
            return Err(self.source.error(ErrorKind::Invalid, here, "a table has one primary key"));
        }
        Ok(())
    }

    /// Whether the next word but one is this.
    fn follows(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at + 1).map(|t| &t.token), Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    fn watermark(&mut self) -> Result<WatermarkDefinition> {
        self.expect("WATERMARK")?;
        self.expect("FOR")?;
        let column = self.name()?.join(".");
        self.expect("AS")?;
        Ok(WatermarkDefinition { column, expression: self.expression()? })
    }

    fn primary_key(&mut self) -> Result<PrimaryKey> {
        let name = if self.accept("CONSTRAINT") { Some(self.identifier()?) } else { None };
        if self.is("UNIQUE") {
            return Err(self.unsupported("UNIQUE is not supported: a table has one PRIMARY KEY (…) NOT ENFORCED"));
        }
        self.expect("PRIMARY")?;
        self.expect("KEY")?;
        let columns = self.identifiers()?;
        if let Some(twice) = columns.iter().enumerate().find(|(n, name)| columns[..*n].contains(name)) {
            return Err(self.wrong(&format!("the column `{}` stands twice in the primary key", twice.1)));
        }
        self.not_enforced()?;
        Ok(PrimaryKey { name, columns })
    }

    fn not_enforced(&mut self) -> Result<()> {
        if self.accept_all(&["NOT", "ENFORCED"]) {
            return Ok(());
        }
        Err(self.wrong("a primary key on a log cannot be enforced: write PRIMARY KEY (…) NOT ENFORCED"))
    }

    /// `name type | name type METADATA … | name AS expression`, a comment, a place.
    fn column(&mut self, elements: &mut Elements) -> Result<Placed> {
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
                let here = self.here();
                let key_name = if self.accept("CONSTRAINT") { Some(self.identifier()?) } else { None };
                if self.accept_all(&["PRIMARY", "KEY"]) {
                    self.not_enforced()?;
                    let key = PrimaryKey { name: key_name, columns: vec![name.clone()] };
                    self.keep_key(elements, key, here)?;
                } else if key_name.is_some() {
                    return Err(self.expected("PRIMARY KEY NOT ENFORCED"));
                } else if self.is("UNIQUE") {
                    return Err(
                        self.unsupported("UNIQUE is not supported: a table has one PRIMARY KEY (…) NOT ENFORCED")
                    );
                }
                ColumnKind::Physical { type_text }
            }
        };
        let comment = self.comment()?;
        let place = if self.accept("FIRST") {
            Some(Place::First)
        } else if self.accept("AFTER") {
            Some(Place::After(self.identifier()?))
        } else {
            None
        };
        Ok(Placed { column: ColumnDefinition { name, kind, comment }, place })
    }

    /// What stands behind `ADD` and `MODIFY`: one element, or several in parentheses.
    fn altered_elements(&mut self) -> Result<Elements> {
        if self.peek() == Some(&Token::LParen) {
            return self.table_elements();
        }
        self.accept("COLUMN");
        let mut elements = Elements::default();
        self.table_element(&mut elements)?;
        Ok(elements)
    }

    pub(super) fn alter_table(&mut self) -> Result<Statement> {
        let if_exists = self.if_exists();
        let name: Name = self.name()?;
        let mut changes = Vec::new();
        if self.accept("RENAME") {
            if self.accept("TO") {
                changes.push(TableChange::RenameTo(self.name()?));
            } else {
                self.accept("COLUMN");
                let from = self.identifier()?;
                self.expect("TO")?;
                changes.push(TableChange::RenameColumn { from, to: self.identifier()? });
            }
        } else if self.accept("SET") {
            changes.push(TableChange::Set(self.options()?));
        } else if self.accept("RESET") {
            changes.push(TableChange::Reset(self.keys()?));
        } else if self.accept("DROP") {
            changes.push(self.dropped()?);
        } else {
            let is_add = self.accept("ADD");
            if !is_add && !self.accept("MODIFY") {
                return Err(self.expected("ADD, MODIFY, DROP, RENAME, SET or RESET"));
            }
            if self.is("PARTITION") || self.is("IF") {
                return Err(self.unsupported(
                    "ADD PARTITION is not supported: partitions of files are made by writing them, those of a topic by `pulsar-admin`",
                ));
            }
            let elements = self.altered_elements()?;
            if let Some(untyped) = elements.untyped.first() {
                return Err(self.wrong(&format!("the column `{untyped}` has no type")));
            }
            changes.push(if is_add { TableChange::Add(elements) } else { TableChange::Modify(elements) });
        }
        Ok(Statement::AlterTable { name, if_exists, changes })
    }

    fn dropped(&mut self) -> Result<TableChange> {
        if self.accept_all(&["PRIMARY", "KEY"]) {
            return Ok(TableChange::DropPrimaryKey);
        }
        if self.is("PARTITION") || self.is("IF") {
            return Err(
                self.unsupported("DROP PARTITION is not supported: INSERT OVERWRITE replaces a partition of files")
            );
        }
        if self.is("CONSTRAINT") && self.tokens.len() > self.at + 1 {
            self.at += 1;
            return Ok(TableChange::DropConstraint(self.identifier()?));
        }
        // As names of columns these would stand in backticks.
        if self.accept("WATERMARK") {
            return Ok(TableChange::DropWatermark);
        }
        if self.accept("DISTRIBUTION") {
            return Ok(TableChange::DropDistribution);
        }
        if self.peek() == Some(&Token::LParen) {
            return Ok(TableChange::DropColumns(self.identifiers()?));
        }
        self.accept("COLUMN");
        Ok(TableChange::DropColumns(vec![self.identifier()?]))
    }

    pub(super) fn drop_table(&mut self, temporary: bool) -> Result<Statement> {
        let if_exists = self.if_exists();
        let name = self.name()?;
        Ok(Statement::DropTable { name, if_exists, temporary, purge: self.accept("PURGE") })
    }
}
