//! `SHOW` and `DESCRIBE`: what there is, as rows.

use std::sync::Arc;

use aquifer_catalog::options::masked;
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use arrow::datatypes::Schema;

use super::statement::{Name, Pattern, Show, parse_query};
use super::{Outcome, Session, describe, listing};

impl Session {
    pub(super) async fn show(&self, show: Show) -> Result<Outcome> {
        match show {
            Show::Catalogs(like) => filtered("catalog name", self.catalogs.names(), like),
            Show::Databases { catalog, like } => {
                let catalog = self.catalogs.get(catalog.as_deref().unwrap_or(&self.catalog))?;
                filtered("database name", catalog.databases().await?, like)
            }
            Show::Tables { database, like } => filtered("table name", self.tables_of(database, false).await?, like),
            Show::Views { database, like } => filtered("view name", self.tables_of(database, true).await?, like),
            Show::Columns { table, like } => self.show_columns(&table, like).await,
            Show::Functions { user, database, like } => {
                if let Some(name) = database {
                    let (catalog, database) = self.database_of(&name)?;
                    catalog.database(&database).await?;
                }
                let names = if user { Vec::new() } else { self.functions()? };
                filtered("function name", names, like)
            }
            Show::Partitions(name) => self.show_partitions(&name).await,
            Show::Modules { full } => {
                let names = strings(vec![Some("core".to_string())]);
                let text = SqlType::STRING.nullable().to_field("module name");
                if !full {
                    return batch(vec![text], vec![names]);
                }
                let used = Arc::new(BooleanArray::from(vec![true])) as ArrayRef;
                batch(vec![text, SqlType::Boolean.nullable().to_field("used")], vec![names, used])
            }
            Show::Jars => listing("jars", Vec::new()),
            Show::CurrentCatalog => listing("current catalog name", vec![self.catalog.clone()]),
            Show::CurrentDatabase => listing("current database name", vec![self.database()?]),
            Show::CreateTable(name) => {
                if self.view(&name).await?.is_some() {
                    return Err(Error::invalid(format!("`{}` is a view: SHOW CREATE VIEW", name.join("."))));
                }
                let temporary = self.temporary.find(&self.full_name(&name)?).is_some();
                let table = self.lookup(&name).await?;
                listing("result", vec![describe::create_table(&table, temporary)])
            }
            Show::CreateView(name) => {
                let Some(view) = self.view(&name).await? else {
                    self.lookup(&name).await?;
                    return Err(Error::invalid(format!("`{}` is a table: SHOW CREATE TABLE", name.join("."))));
                };
                let full = self.full_name(&name)?;
                let found = self.temporary.find(&full).map(|(name, _)| name.clone());
                let columns = self.view_columns(&view).await?;
                let names: Vec<String> = columns.into_iter().map(|column| column.name).collect();
                listing(
                    "result",
                    vec![describe::create_view(found.as_ref().unwrap_or(&full), &view, &names, found.is_some())],
                )
            }
            Show::CreateCatalog(name) => {
                listing("result", vec![describe::create_catalog(self.catalogs.get(&name)?.definition())])
            }
        }
    }

    /// The tables and views of a database, or its views only, those of the session among them, sorted.
    async fn tables_of(&self, database: Option<Name>, views_only: bool) -> Result<Vec<String>> {
        let (catalog, database) = match database {
            Some(name) => self.database_of(&name)?,
            None => (self.catalogs.get(&self.catalog)?, self.database()?),
        };
        let mut names = match views_only {
            true => catalog.views(&database).await?,
            false => catalog.tables(&database).await?,
        };
        names.extend(self.temporary.names(&catalog.definition().name, &catalog.database_name(&database)?, views_only));
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn functions(&self) -> Result<Vec<String>> {
        let state = self.state()?;
        let mut names: Vec<String> = state
            .scalar_functions()
            .keys()
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn show_partitions(&self, name: &Name) -> Result<Outcome> {
        let table = self.lookup(name).await?;
        let Some(topics) = table.target.topics().await? else {
            return Err(Error::unsupported(format!(
                "SHOW PARTITIONS of `{}` is not supported: its connector does not say which there are",
                table.name[2]
            )));
        };
        let mut names = Vec::new();
        for topic in topics {
            for partition in topic.log.partitions(&topic.topic).await? {
                match partition.index {
                    Some(index) => names.push(format!("partition={index}")),
                    None => {
                        return Err(Error::invalid(format!("the topic `{}` is not partitioned", topic.topic)));
                    }
                }
            }
        }
        listing("partition name", names)
    }

    /// `DESCRIBE` of a table or a view.
    pub(super) async fn describe(&self, name: &Name) -> Result<Outcome> {
        Ok(Outcome::Listing(describe::batch(&self.described(name).await?)?))
    }

    async fn show_columns(&self, name: &Name, like: Option<Pattern>) -> Result<Outcome> {
        let mut columns = self.described(name).await?;
        if let Some(like) = like {
            columns.retain(|column| matches(&column.name, &like));
        }
        Ok(Outcome::Listing(describe::batch(&columns)?))
    }

    pub(super) async fn described(&self, name: &[String]) -> Result<Vec<describe::Described>> {
        match self.view(name).await? {
            Some(view) => self.view_columns(&view).await,
            None => describe::table(&self.lookup(name).await?, &self.state()?, self.settings.is_streaming()),
        }
    }

    /// A view's columns, as its query gives them now.
    pub(super) async fn view_columns(
        &self,
        view: &aquifer_catalog::ViewDefinition,
    ) -> Result<Vec<describe::Described>> {
        let inside = Session { catalog: view.catalog.clone(), database: Some(view.database.clone()), ..self.clone() };
        let query = parse_query(&view.query)?;
        let columns = inside.columns_of(query, &inside.state()?).await?;
        let named = view.columns.iter().map(Some).chain(std::iter::repeat(None));
        Ok(columns
            .into_iter()
            .zip(named)
            .map(|((name, column_type), given)| describe::Described {
                name: given.map_or(name, |given| given.name.clone()),
                type_text: column_type.sql_type.to_string(),
                nullable: column_type.nullable,
                comment: given.and_then(|given| given.comment.clone()),
                ..Default::default()
            })
            .collect())
    }

    pub(super) fn describe_catalog(&self, name: &str, extended: bool) -> Result<Outcome> {
        let catalog = self.catalogs.get(name)?;
        let definition = catalog.definition();
        let kind = definition.options.get("type").cloned().unwrap_or_default();
        let mut rows = vec![
            ("name".to_string(), Some(definition.name.clone())),
            ("type".to_string(), Some(kind)),
            ("comment".to_string(), definition.comment.clone()),
        ];
        if extended {
            let options = masked(&definition.options);
            rows.extend(options.into_iter().map(|(key, value)| (format!("option:{key}"), Some(value))));
        }
        information(rows)
    }

    pub(super) async fn describe_database(&self, name: &Name, extended: bool) -> Result<Outcome> {
        let (catalog, database) = self.database_of(name)?;
        let database = catalog.database(&database).await?;
        let mut rows = vec![
            ("name".to_string(), Some(database.clone())),
            ("catalog".to_string(), Some(catalog.definition().name.clone())),
        ];
        rows.extend(catalog.database_comment(&database).await?.map(|comment| ("comment".to_string(), Some(comment))));
        if extended {
            rows.push(("tables".to_string(), Some(catalog.tables(&database).await?.len().to_string())));
            let options = catalog.database_options(&database).await?;
            rows.extend(options.into_iter().map(|(key, value)| (format!("option:{key}"), Some(value))));
        }
        information(rows)
    }

    pub(super) fn describe_function(&self, name: &Name, extended: bool) -> Result<Outcome> {
        let state = self.state()?;
        let wanted = name.join(".").to_ascii_lowercase();
        let kind = if state.aggregate_functions().contains_key(&wanted) {
            "AGGREGATE"
        } else if state.window_functions().contains_key(&wanted) {
            "WINDOW"
        } else if state.scalar_functions().contains_key(&wanted) {
            "SCALAR"
        } else {
            let all = self.functions()?;
            let near = crate::connector::nearest_known(&wanted, all.iter().map(String::as_str));
            return Err(Error::invalid(format!("there is no function `{}`: {near}", name.join("."))));
        };
        let mut rows = vec![
            ("is system function".to_string(), Some("true".to_string())),
            ("is temporary".to_string(), Some("false".to_string())),
        ];
        if extended {
            rows.push(("kind".to_string(), Some(kind.to_string())));
        }
        information(rows)
    }
}

fn strings(values: Vec<Option<String>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringViewArray>())
}

fn batch(fields: Vec<arrow::datatypes::Field>, columns: Vec<ArrayRef>) -> Result<Outcome> {
    Ok(Outcome::Listing(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
}

/// Two columns: what, and its value.
fn information(rows: Vec<(String, Option<String>)>) -> Result<Outcome> {
    let text = |name: &str| SqlType::STRING.nullable().to_field(name);
    let (names, values): (Vec<_>, Vec<_>) = rows.into_iter().map(|(name, value)| (Some(name), value)).unzip();
    batch(vec![text("info name"), text("info value")], vec![strings(names), strings(values)])
}

fn filtered(column: &str, mut names: Vec<String>, like: Option<Pattern>) -> Result<Outcome> {
    if let Some(like) = like {
        names.retain(|name| matches(name, &like));
    }
    listing(column, names)
}

/// Whether a name is wanted.
fn matches(name: &str, like: &Pattern) -> bool {
    let characters = |text: &str| -> Vec<char> {
        if like.any_case { text.to_lowercase().chars().collect() } else { text.chars().collect() }
    };
    is_like(&characters(name), &characters(&like.text)) != like.negated
}

/// SQL's LIKE over names: `%` and `_`, `\` before a character that means itself. Runs in the product of both lengths.
fn is_like(name: &[char], pattern: &[char]) -> bool {
    // Which beginnings of the name the pattern so far fits.
    let mut fits = vec![false; name.len() + 1];
    fits[0] = true;
    let mut at = 0;
    while let Some(c) = pattern.get(at) {
        let (wanted, is_plain) = match (c, pattern.get(at + 1)) {
            ('\\', Some(next)) => {
                at += 1;
                (*next, true)
            }
            (c, _) => (*c, false),
        };
        if wanted == '%' && !is_plain {
            let mut any = false;
            for fit in &mut fits {
                any |= *fit;
                *fit = any;
            }
        } else {
            for n in (0..name.len()).rev() {
                fits[n + 1] = fits[n] && ((wanted == '_' && !is_plain) || name[n] == wanted);
            }
            fits[0] = false;
        }
        at += 1;
    }
    fits[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_knows_its_signs_case_and_not() {
        let like = |text: &str, negated, any_case| Pattern { text: text.to_string(), negated, any_case };
        let cases = [
            ("sensors", "sens%", true),
            ("sensors", "%s", true),
            ("sensors", "_ensors", true),
            ("sensors", "Sensors", false),
            ("sensors", "sensor", false),
            ("a%b", r"a\%b", true),
            ("axb", r"a\%b", false),
            ("", "%", true),
            ("ab", "%%b", true),
            ("ab", "", false),
        ];
        for (name, pattern, expected) in cases {
            assert_eq!(matches(name, &like(pattern, false, false)), expected, "{name} {pattern}");
            assert_eq!(matches(name, &like(pattern, true, false)), !expected, "{name} {pattern}");
        }
        assert!(matches("sensors", &like("SENS%", false, true)));
        assert!(!matches(&"a".repeat(2000), &like(&"%a".repeat(500).replace("%a", "%a%b"), false, false)));
    }
}
