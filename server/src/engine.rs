//! Puts the parts together: catalogs of a data directory, connectors, a session. Opens nothing that is not needed yet.

use std::path::Path;
use std::sync::Arc;

use aquifer_catalog::{Catalogs, Table};
use aquifer_model::{Error, Result};
use aquifer_processor::connector::ConnectorRegistry;
use aquifer_processor::sql::Session;
use aquifer_storage::reader::TieredTopic;

/// The connectors of this program.
pub fn connectors() -> Arc<ConnectorRegistry> {
    Arc::new(aquifer_connectors::register(ConnectorRegistry::default()))
}

/// The catalogs of a data directory. No log is opened or locked before its first use.
pub async fn catalogs(data_dir: &Path) -> Result<Arc<Catalogs>> {
    Catalogs::open(data_dir.to_path_buf()).await
}

/// A session over a data directory.
pub async fn session(data_dir: &Path) -> Result<Session> {
    Ok(session_over(catalogs(data_dir).await?))
}

/// A session over open catalogs.
pub fn session_over(catalogs: Arc<Catalogs>) -> Session {
    let working_dir = std::env::current_dir().unwrap_or_default();
    Session::new(catalogs, working_dir).with_connectors(connectors())
}

/// The table that a name from the command line means: `CATALOG.DATABASE.TABLE`, parts quoted with `` ` `` or `"`. Left out in front: the defaults.
pub async fn find_table(catalogs: &Catalogs, name: &str) -> Result<Table> {
    let parts = parse_name(name)?;
    let (catalog, database, table) = match parts.as_slice() {
        [table] => ("default_catalog", None, table),
        [database, table] => ("default_catalog", Some(database), table),
        [catalog, database, table] => (catalog.as_str(), Some(database), table),
        _ => return Err(wrong_name(name)),
    };
    let catalog = catalogs.get(catalog)?;
    let database = database.map_or_else(|| catalog.default_database().to_string(), String::clone);
    catalog.table(&database, table).await
}

/// The topics of such a table.
pub async fn find_topics(catalogs: &Catalogs, name: &str) -> Result<Vec<TieredTopic>> {
    let topics = find_table(catalogs, name).await?.target.topics().await?;
    topics.ok_or_else(|| Error::invalid(format!("`{name}` is no table over topics: only those have an archive")))
}

fn wrong_name(name: &str) -> Error {
    Error::invalid(format!(
        "`{name}` is no table's name: write CATALOG.DATABASE.TABLE, for example default_catalog.default_database.sensors or my_pulsar.`public/default`.sensors"
    ))
}

/// Cuts a name at its dots. A quote in a quoted part is written twice.
fn parse_name(name: &str) -> Result<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = name.trim();
    loop {
        let part;
        match rest.chars().next() {
            Some(quote @ ('`' | '"')) => {
                let mut text = String::new();
                let mut chars = rest.char_indices().skip(1).peekable();
                let end = loop {
                    match chars.next() {
                        None => return Err(wrong_name(name)),
                        Some((at, found)) if found == quote => match chars.peek() {
                            Some((_, next)) if *next == quote => {
                                text.push(quote);
                                chars.next();
                            }
                            _ => break at + 1,
                        },
                        Some((_, found)) => text.push(found),
                    }
                };
                part = text;
                rest = &rest[end..];
            }
            _ => {
                let end = rest.find('.').unwrap_or(rest.len());
                part = rest[..end].trim().to_string();
                rest = &rest[end..];
            }
        }
        if part.is_empty() {
            return Err(wrong_name(name));
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(parts),
            None => return Err(wrong_name(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_dots_outside_quotes() {
        for (name, parts) in [
            ("a.b.c", vec!["a", "b", "c"]),
            ("p.`public/default`.t", vec!["p", "public/default", "t"]),
            ("p.\"a.b\".`c``d`", vec!["p", "a.b", "c`d"]),
            (" t ", vec!["t"]),
            ("c.d.日本", vec!["c", "d", "日本"]),
        ] {
            assert_eq!(parse_name(name).expect("a name"), parts, "{name}");
        }
        for name in ["", ".", "a..b", "a.", "`a", "`a`b", "`a`.`b"] {
            assert!(parse_name(name).is_err(), "{name}");
        }
    }
}
