//! What Tab offers: keywords, functions, and the names that the catalogs know where the statement needs them.
//!
//! ```text
//!  words before the cursor ─► what fits here ─┬─ FROM, JOIN, INTO, DESCRIBE …: tables, views
//!                                             ├─ USE: databases, catalogs
//!                                             └─ else: columns of the tables that the statement names, functions, keywords
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquifer_processor::sql::{Outcome, Session};
use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use reedline::{Completer, CompletionResult, Span, Suggestion};
use tokio::runtime::Handle;

use super::highlight::{Part, is_word, parts};
use crate::shell::SHORTCUTS;

/// A name that takes longer to find is not offered.
const PATIENCE: Duration = Duration::from_millis(1500);
/// So many names are offered at most.
const MOST: usize = 200;

const KEYWORDS: &[&str] = &[
    "ADD",
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "ANY",
    "ARRAY",
    "AS",
    "ASC",
    "BATCH",
    "BEGIN",
    "BETWEEN",
    "BIGINT",
    "BOOLEAN",
    "BY",
    "BYTES",
    "CASE",
    "CAST",
    "CATALOG",
    "CATALOGS",
    "CLEAR",
    "COLUMNS",
    "COMMENT",
    "CREATE",
    "CROSS",
    "CUBE",
    "CURRENT",
    "DATABASE",
    "DATABASES",
    "DATE",
    "DAY",
    "DECIMAL",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DESCRIPTOR",
    "DISTINCT",
    "DOUBLE",
    "DROP",
    "ELSE",
    "END",
    "ENFORCED",
    "EXCEPT",
    "EXECUTE",
    "EXISTS",
    "EXIT",
    "EXPLAIN",
    "FALSE",
    "FETCH",
    "FLOAT",
    "FOR",
    "FROM",
    "FULL",
    "FUNCTIONS",
    "GROUP",
    "GROUPING",
    "HAVING",
    "HELP",
    "HOUR",
    "IF",
    "IN",
    "INNER",
    "INSERT",
    "INT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "KEY",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MAP",
    "METADATA",
    "MINUTE",
    "MODIFY",
    "MONTH",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OPTIONS",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "OVERWRITE",
    "PARTITION",
    "PARTITIONED",
    "PRIMARY",
    "PURGE",
    "QUALIFY",
    "QUIT",
    "RENAME",
    "RESET",
    "RIGHT",
    "ROLLUP",
    "ROW",
    "ROWS",
    "SECOND",
    "SELECT",
    "SESSION",
    "SET",
    "SETS",
    "SHOW",
    "STATEMENT",
    "STRING",
    "SYSTEM_TIME",
    "TABLE",
    "TABLES",
    "TEMPORARY",
    "THEN",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "TO",
    "TRUE",
    "UNION",
    "UNNEST",
    "USE",
    "USING",
    "VALUES",
    "VIEW",
    "VIEWS",
    "VIRTUAL",
    "WATERMARK",
    "WHEN",
    "WHERE",
    "WITH",
    "YEAR",
];

/// Whether it is a keyword, in any case.
pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.binary_search_by(|keyword| keyword.bytes().cmp(word.bytes().map(|byte| byte.to_ascii_uppercase()))).is_ok()
}

/// Where names come from.
pub(super) trait Names {
    /// First column of a `SHOW` or `DESCRIBE` statement; nothing where it fails.
    fn list(&mut self, statement: &str) -> Vec<String>;
}

/// The names that a session sees, each listing asked for once.
pub(super) struct SessionNames {
    session: Session,
    asked: BTreeMap<String, Vec<String>>,
}

impl SessionNames {
    pub fn new(session: Session) -> Self {
        Self { session, asked: BTreeMap::new() }
    }

    async fn ask(&self, statement: &str) -> Option<Vec<String>> {
        let mut session = self.session.clone();
        let executed = tokio::time::timeout(PATIENCE, Box::pin(session.execute(statement, 1))).await.ok()?.ok()?;
        let Outcome::Listing(rows) = executed.outcome else { return None };
        let names = cast(rows.columns().first()?, &DataType::Utf8).ok()?;
        let names = names.as_string::<i32>();
        Some((0..names.len()).filter(|row| names.is_valid(*row)).map(|row| names.value(row).to_string()).collect())
    }
}

impl Names for SessionNames {
    fn list(&mut self, statement: &str) -> Vec<String> {
        if let Some(known) = self.asked.get(statement) {
            return known.clone();
        }
        // The prompt reads on a thread of its own, which may wait for the runtime.
        let names = Handle::current().block_on(self.ask(statement)).unwrap_or_default();
        self.asked.insert(statement.to_string(), names.clone());
        names
    }
}

/// Completes SQL.
pub(super) struct SqlCompleter<N> {
    names: Arc<Mutex<N>>,
}

impl<N: Names> SqlCompleter<N> {
    pub fn new(names: Arc<Mutex<N>>) -> Self {
        Self { names }
    }
}

impl<N: Names> Completer for SqlCompleter<N> {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let Some(typed) = line.get(..pos) else { return CompletionResult::fresh(Vec::new()) };
        let Ok(mut names) = self.names.lock() else { return CompletionResult::fresh(Vec::new()) };
        let (start, offers) = offers(typed, line, &mut *names);
        let suggestions: Vec<Suggestion> = offers
            .into_iter()
            .take(MOST)
            .map(|value| Suggestion { value, span: Span::new(start, pos), ..Suggestion::default() })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

/// Where the word at the end of `typed` begins, and what it can become. `line` is the whole text, of which `typed` is what stands before the cursor.
fn offers(typed: &str, line: &str, names: &mut dyn Names) -> (usize, Vec<String>) {
    if typed.starts_with('\\') && !typed.contains(char::is_whitespace) {
        let fits = SHORTCUTS.iter().filter(|shortcut| shortcut.starts_with(typed));
        return (0, fits.map(ToString::to_string).collect());
    }
    let before = parts(typed);
    if matches!(before.last(), Some((Part::Literal | Part::Comment, _))) {
        return (typed.len(), Vec::new());
    }
    let prefix = match before.last() {
        Some((Part::Word, word)) => *word,
        _ => "",
    };
    let start = typed.len() - prefix.len();
    let words: Vec<&str> = before[..before.len() - usize::from(!prefix.is_empty())]
        .iter()
        .map(|(_, text)| *text)
        .filter(|text| !text.trim().is_empty())
        .collect();
    let place = place(&words, typed.starts_with('\\'));
    let mut found = match &place {
        Place::Table => {
            let mut found = names.list("SHOW TABLES");
            found.extend(names.list("SHOW VIEWS"));
            found.extend(names.list("SHOW CATALOGS"));
            found.iter().map(|name| quoted(name)).collect()
        }
        Place::Database => {
            let mut found = names.list("SHOW DATABASES");
            found.extend(names.list("SHOW CATALOGS"));
            found.iter().map(|name| quoted(name)).collect()
        }
        Place::Catalog => names.list("SHOW CATALOGS").iter().map(|name| quoted(name)).collect(),
        Place::Behind(qualifier) => behind(qualifier, line, names),
        Place::Anything => {
            let mut found = columns(&tables(line), names);
            if !prefix.is_empty() {
                found.extend(names.list("SHOW FUNCTIONS").iter().map(|name| in_case_of(prefix, name)));
                found.extend(KEYWORDS.iter().map(|word| in_case_of(prefix, word)));
            }
            found
        }
    };
    let wanted = prefix.to_lowercase();
    found.retain(|name: &String| name.trim_start_matches('`').to_lowercase().starts_with(&wanted) && name != prefix);
    found.sort_by_key(|name| name.trim_start_matches('`').to_lowercase());
    found.dedup();
    (start, found)
}

/// What stands before the word that is to be completed.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Table,
    Database,
    Catalog,
    /// Behind `name.`
    Behind(String),
    Anything,
}

fn place(words: &[&str], is_shortcut: bool) -> Place {
    let last = words.last().copied().unwrap_or_default();
    if last == "." {
        let name = words.iter().rev().nth(1).copied().unwrap_or_default();
        return Place::Behind(name.trim_matches(['`', '"']).to_string());
    }
    if is_shortcut {
        return if words.contains(&"c") { Place::Database } else { Place::Table };
    }
    let second = words.iter().rev().nth(1).copied().unwrap_or_default();
    match (second.to_ascii_uppercase().as_str(), last.to_ascii_uppercase().as_str()) {
        (_, "FROM" | "JOIN" | "INTO" | "DESCRIBE") | ("" | ";", "DESC") => Place::Table,
        ("DROP" | "ALTER" | "CREATE" | "ANALYZE" | "INSERT", "TABLE" | "VIEW" | "OVERWRITE") => Place::Table,
        ("USE" | "DESCRIBE" | "DESC" | "DROP" | "ALTER", "CATALOG") => Place::Catalog,
        ("DROP" | "DESCRIBE" | "ALTER", "DATABASE") | (_, "USE") => Place::Database,
        _ => Place::Anything,
    }
}

/// Columns of the table or alias that the qualifier is, else what is in the database or catalog of that name.
fn behind(qualifier: &str, line: &str, names: &mut dyn Names) -> Vec<String> {
    let named: Vec<(String, String)> = tables(line)
        .into_iter()
        .filter(|(table, alias)| {
            alias == qualifier || table.rsplit('.').next().is_some_and(|t| t.trim_matches('`') == qualifier)
        })
        .collect();
    let found = columns(&named, names);
    if !found.is_empty() {
        return found;
    }
    let quoted_name = quoted(qualifier);
    let mut found = names.list(&format!("SHOW TABLES FROM {quoted_name}"));
    if found.is_empty() {
        found = names.list(&format!("SHOW DATABASES FROM {quoted_name}"));
    }
    found.iter().map(|name| quoted(name)).collect()
}

fn columns(tables: &[(String, String)], names: &mut dyn Names) -> Vec<String> {
    let found = tables.iter().flat_map(|(table, _)| names.list(&format!("DESCRIBE {table}")));
    found.collect::<Vec<_>>().iter().map(|name| quoted(name)).collect()
}

/// The tables that a text names behind FROM, JOIN, INTO and TABLE, each with its alias (or nothing).
fn tables(line: &str) -> Vec<(String, String)> {
    let words: Vec<(Part, &str)> =
        parts(line).into_iter().filter(|(part, text)| *part != Part::Comment && !text.trim().is_empty()).collect();
    let is_name = |at: usize| {
        words.get(at).is_some_and(|(part, text)| match part {
            Part::Word => !is_keyword(text),
            Part::Other => text.starts_with(['`', '"']),
            Part::Literal | Part::Comment => false,
        })
    };
    let mut tables = Vec::new();
    for at in 0..words.len() {
        if !["FROM", "JOIN", "INTO", "TABLE"].iter().any(|word| words[at].1.eq_ignore_ascii_case(word)) {
            continue;
        }
        let (mut name, mut next) = (String::new(), at + 1);
        while is_name(next) {
            name.push_str(words[next].1);
            next += 1;
            if words.get(next).is_none_or(|(_, text)| *text != ".") || !is_name(next + 1) {
                break;
            }
            name.push('.');
            next += 1;
        }
        if name.is_empty() {
            continue;
        }
        if words.get(next).is_some_and(|(_, text)| text.eq_ignore_ascii_case("AS")) {
            next += 1;
        }
        let alias = if is_name(next) { words[next].1.trim_matches(['`', '"']) } else { "" };
        tables.push((name, alias.to_string()));
    }
    tables
}

/// A name as SQL takes it.
fn quoted(name: &str) -> String {
    let is_plain = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_') && name.chars().all(is_word);
    if is_plain && !is_keyword(name) { name.to_string() } else { format!("`{}`", name.replace('`', "``")) }
}

/// Small letters where the user types small letters.
fn in_case_of(prefix: &str, word: &str) -> String {
    if prefix.chars().any(char::is_uppercase) { word.to_uppercase() } else { word.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Names for Fixed {
        fn list(&mut self, statement: &str) -> Vec<String> {
            let names: &[&str] = match statement {
                "SHOW TABLES" => &["sensors", "select", "shop orders"],
                "SHOW VIEWS" => &["sunny"],
                "SHOW CATALOGS" => &["default_catalog", "my_pulsar"],
                "SHOW DATABASES" => &["default_database", "public/default"],
                "SHOW FUNCTIONS" => &["tumble_start", "SUM"],
                "SHOW TABLES FROM `public/default`" => &["weather"],
                "SHOW DATABASES FROM my_pulsar" => &["public/default"],
                "DESCRIBE sensors" | "DESCRIBE c.`d e`.sensors" => &["room", "temperature", "rowtime"],
                _ => &[],
            };
            names.iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn the_keywords_are_in_order_so_that_they_are_found() {
        assert!(KEYWORDS.is_sorted());
        assert!(is_keyword("select") && is_keyword("With") && !is_keyword("room") && !is_keyword(""));
    }

    #[test]
    fn tab_offers_what_fits_the_place() {
        // `|` is the cursor.
        for (line, offered) in [
            ("SELECT * FROM s|", &["`select`", "sensors", "`shop orders`", "sunny"][..]),
            (
                "SELECT T| FROM sensors",
                &[
                    "TABLE",
                    "TABLES",
                    "temperature",
                    "TEMPORARY",
                    "THEN",
                    "TIME",
                    "TIMESTAMP",
                    "TIMESTAMP_LTZ",
                    "TO",
                    "TRUE",
                    "TUMBLE_START",
                ],
            ),
            ("SELECT x.r| FROM c.`d e`.sensors AS x", &["room", "rowtime"]),
            ("SELECT sensors.te| FROM sensors", &["temperature"]),
            ("SELECT | FROM sensors", &["room", "rowtime", "temperature"]),
            ("sel|", &["select"]),
            ("SEL|", &["SELECT"]),
            ("USE |", &["default_catalog", "default_database", "my_pulsar", "`public/default`"]),
            ("USE CATALOG my|", &["my_pulsar"]),
            ("SELECT * FROM my_pulsar.|", &["`public/default`"]),
            ("SELECT * FROM my_pulsar.`public/default`.w|", &["weather"]),
            ("DESCRIBE sen|", &["sensors"]),
            ("\\d su|", &["sunny"]),
            ("\\ti|", &["\\timing"]),
            ("\\c pub|", &["`public/default`"]),
            ("SELECT 'sel|", &[]),
            ("-- sel|", &[]),
        ] {
            let pos = line.find('|').expect("a cursor");
            let text = line.replace('|', "");
            let (_, found) = offers(&text[..pos], &text, &mut Fixed);
            assert_eq!(found, offered, "{line}");
        }
    }

    #[test]
    fn the_word_at_the_cursor_is_what_is_replaced() {
        let (start, offered) = offers("SELECT tempe", "SELECT tempe FROM sensors", &mut Fixed);
        assert_eq!((start, offered), (7, vec!["temperature".to_string()]));
    }
}
