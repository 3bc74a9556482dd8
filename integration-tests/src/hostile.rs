//! Statements that no one should send: generated from a small grammar, and true statements cut, doubled, swapped and garbled.
//!
//! ```text
//!  suites (sql/**/*.slt) ─► corpus ─┬─► mutated: characters, tokens, splices of two statements ─┐
//!                                   └─► grammar: deep, wide, odd ───────────────────────────────┴─► statement n of a seed
//! ```
//!
//! Statement `n` of a seed is always the same one, so that what failed once can be run again alone.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Words that a mutation puts where others stood.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "HAVING",
    "ORDER",
    "LIMIT",
    "UNION",
    "ALL",
    "INTERSECT",
    "EXCEPT",
    "JOIN",
    "LEFT",
    "ON",
    "USING",
    "AS",
    "AND",
    "OR",
    "NOT",
    "NULL",
    "TRUE",
    "IN",
    "EXISTS",
    "BETWEEN",
    "LIKE",
    "ESCAPE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "TRY_CAST",
    "OVER",
    "PARTITION",
    "ROWS",
    "RANGE",
    "PRECEDING",
    "UNBOUNDED",
    "CURRENT",
    "ROW",
    "ARRAY",
    "MAP",
    "INTERVAL",
    "'1'",
    "HOUR",
    "DATE",
    "TIMESTAMP",
    "TUMBLE",
    "HOP",
    "SESSION",
    "CUMULATE",
    "TABLE",
    "DESCRIPTOR",
    "LATERAL",
    "UNNEST",
    "WITH",
    "ORDINALITY",
    "RECURSIVE",
    "VALUES",
    "INSERT",
    "INTO",
    "OVERWRITE",
    "CREATE",
    "ALTER",
    "DROP",
    "VIEW",
    "CATALOG",
    "DATABASE",
    "TEMPORARY",
    "IF",
    "REPLACE",
    "SET",
    "RESET",
    "SHOW",
    "TABLES",
    "DESCRIBE",
    "EXPLAIN",
    "ANALYZE",
    "USE",
    "WATERMARK",
    "FOR",
    "PRIMARY",
    "KEY",
    "ENFORCED",
    "METADATA",
    "VIRTUAL",
    "SYSTEM_TIME",
    "OF",
    "MATCH_RECOGNIZE",
    "GROUPING",
    "SETS",
    "CUBE",
    "ROLLUP",
    "DISTINCT",
    "FILTER",
    "COUNT",
    "SUM",
    "t",
    "id",
    "g",
    "v",
    "s",
    "rowtime",
    "*",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    ";",
    ";;",
    "=",
    "<>",
    "=>",
    "||",
    "::",
    "->",
    "@",
    "#",
    "$1",
    "?",
    ":x",
    "0",
    "-1",
    "1",
    "2147483648",
    "9223372036854775808",
    "99999999999999999999999999999999999999999",
    "1e400",
    "1e-400",
    "0x1F",
    "''",
    "'",
    "\"",
    "`",
    "``",
    "/*",
    "*/",
    "--",
    "/*+",
    "OPTIONS('a'='b')",
    "U&'\\D800'",
    "X'0'",
    "\u{0}",
    "\u{feff}",
    "é",
    "日本",
    "\u{202e}",
    "‘",
    "’",
    "\\",
];

/// Deeper or wider than this no generated statement is.
const DEEPEST: usize = 300;

/// Statement `n` of a seed over true statements.
pub fn statement(corpus: &[String], seed: u64, n: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    match random.random_range(0..10) {
        0 | 1 => characters(corpus.choose(&mut random).map_or("", String::as_str), &mut random),
        2..=6 => tokens(corpus, &mut random),
        7 => deep(&mut random),
        _ => query(&mut random, 0),
    }
}

/// A few characters deleted, doubled, replaced; or the text cut off.
fn characters(text: &str, random: &mut StdRng) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..random.random_range(1..5) {
        if characters.is_empty() {
            break;
        }
        let at = random.random_range(0..characters.len());
        match random.random_range(0..5) {
            0 => drop(characters.remove(at)),
            1 => characters.insert(at, characters[at]),
            2 => characters[at] = char::from(random.random_range(1..127u8)),
            3 => characters[at] = char::from_u32(random.random_range(0..0x11_0000)).unwrap_or('\u{fffd}'),
            _ => characters.truncate(at),
        }
    }
    characters.into_iter().collect()
}

/// Words deleted, doubled, swapped, replaced; or the head of one statement before the tail of another.
fn tokens(corpus: &[String], random: &mut StdRng) -> String {
    let cut = |text: &str| -> Vec<String> {
        let mut words = Vec::new();
        let mut word = String::new();
        for c in text.chars() {
            if c.is_alphanumeric() || c == '_' || c == '\'' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            words.push(c.to_string());
        }
        words.push(word);
        words
    };
    let Some(text) = corpus.choose(random) else { return String::new() };
    let mut words = cut(text);
    for _ in 0..random.random_range(1..4) {
        if words.is_empty() {
            break;
        }
        let (at, other) = (random.random_range(0..words.len()), random.random_range(0..words.len()));
        match random.random_range(0..6) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[other].clone()),
            2 => words.swap(at, other),
            3 | 4 => words[at] = format!(" {} ", WORDS.choose(random).unwrap_or(&"")),
            _ => {
                let tail = cut(corpus.choose(random).map_or("", String::as_str));
                let from = random.random_range(0..tail.len());
                words.truncate(at);
                words.extend_from_slice(&tail[from..]);
            }
        }
    }
    words.concat()
}

/// One thing nested or repeated far more often than anybody writes it.
fn deep(random: &mut StdRng) -> String {
    let n = random.random_range(1..DEEPEST);
    let wrap = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    match random.random_range(0..13) {
        0 => format!("SELECT {}", wrap("(", "1", ")")),
        1 => format!("SELECT {}", wrap("(", "1", "")),
        2 => format!("SELECT {}1", "- ".repeat(n)),
        3 => format!("SELECT id FROM t WHERE {} TRUE", "NOT ".repeat(n)),
        4 => format!("SELECT 1{}", " + 1".repeat(n)),
        5 => wrap("SELECT * FROM (", "SELECT 1 AS a", ")"),
        6 => format!("SELECT {}", wrap("CASE WHEN TRUE THEN ", "1", " END")),
        7 => format!("SELECT {}", wrap("ARRAY[", "1", "]")),
        8 => format!("CREATE TABLE n (a {})", wrap("ARRAY<", "INT", ">")),
        9 => format!("SELECT id FROM t WHERE id IN ({})", vec!["1"; n * 10].join(", ")),
        10 => format!("SELECT 1 AS a{}", " UNION ALL SELECT 1".repeat(n)),
        11 => format!("SELECT {}", wrap("UPPER(", "'x'", ")")),
        _ => format!("SELECT {} FROM t", (0..n * 5).map(|i| format!("id AS c{i}")).collect::<Vec<_>>().join(", ")),
    }
}

fn query(random: &mut StdRng, depth: usize) -> String {
    let mut columns = vec![expression(random, depth)];
    for _ in 0..random.random_range(0..3) {
        columns.push(format!("{} AS c{}", expression(random, depth), random.random_range(0..4)));
    }
    let mut text = format!("SELECT {}{}", if random.random_bool(0.1) { "DISTINCT " } else { "" }, columns.join(", "));
    let from = match random.random_range(0..8) {
        0 => String::new(),
        1 if depth < 3 => format!(" FROM ({}) AS q", query(random, depth + 1)),
        2 => " FROM t AS a JOIN t AS b ON a.id = b.id".to_string(),
        3 => " FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(rowtime), INTERVAL '1' HOUR))".to_string(),
        4 => " FROM s".to_string(),
        _ => " FROM t".to_string(),
    };
    text.push_str(&from);
    if random.random_bool(0.4) {
        text.push_str(&format!(" WHERE {}", expression(random, depth)));
    }
    match random.random_range(0..8) {
        0 => text.push_str(&format!(" GROUP BY {}", expression(random, depth + 1))),
        1 => text.push_str(" GROUP BY TUMBLE(rowtime, INTERVAL '1' HOUR), room"),
        2 => text.push_str(&format!(" GROUP BY g HAVING {}", expression(random, depth + 1))),
        3 => {
            text.push_str(&format!(" ORDER BY {} LIMIT {}", expression(random, depth + 1), random.random_range(-1..5)))
        }
        4 if depth < 2 => text.push_str(&format!(" UNION ALL {}", query(random, depth + 1))),
        _ => {}
    }
    text
}

fn expression(random: &mut StdRng, depth: usize) -> String {
    if depth > 4 {
        return ["id", "g", "v", "b", "1", "NULL"].choose(random).unwrap_or(&"1").to_string();
    }
    let mut sub = || expression(random, depth + 1);
    let (a, b) = (sub(), sub());
    match random.random_range(0..26) {
        0 => format!("({a} + {b})"),
        1 => format!("({a} / {b})"),
        2 => format!("({a} = {b})"),
        3 => format!("({a} AND {b})"),
        4 => format!("NOT {a}"),
        5 => format!("{a} IS NULL"),
        6 => format!("CASE WHEN {a} THEN {b} END"),
        7 => {
            let types = [
                "INT",
                "TINYINT",
                "STRING",
                "DECIMAL(38, 18)",
                "TIMESTAMP(9)",
                "DATE",
                "ROW<a INT>",
                "BYTES",
                "BOOLEAN",
            ];
            format!("CAST({a} AS {})", types.choose(random).unwrap_or(&"INT"))
        }
        8 => format!("COUNT({a})"),
        9 => format!("SUM({a})"),
        10 => format!("{a} IN ({b}, 1)"),
        11 => format!("COALESCE({a}, {b})"),
        12 => format!("ARRAY[{a}, {b}]"),
        13 => format!("MAP[{a}, {b}]"),
        14 => format!("{a}[{b}]"),
        15 => format!("SUBSTRING({a}, {b})"),
        16 => format!("{a} || {b}"),
        17 => format!("{a} LIKE {b}"),
        18 => format!("ROW_NUMBER() OVER (PARTITION BY {a} ORDER BY {b})"),
        19 => format!("{a} + INTERVAL '{}' MONTH", random.random_range(-99_999_999..99_999_999)),
        20 => format!("TIMESTAMP '{}-01-01 00:00:00'", random.random_range(0..12_000)),
        21 => format!("{}", random.random::<i64>()),
        22 => format!("{}e{}", random.random::<f64>(), random.random_range(-400..400)),
        23 => "'x'".to_string(),
        _ => ["id", "g", "v", "b", "d", "t.id", "rowtime", "room", "*", "window_start"]
            .choose(random)
            .unwrap_or(&"id")
            .to_string(),
    }
}

/// The statements of all suites.
pub fn corpus() -> Vec<String> {
    let mut corpus = Vec::new();
    for file in crate::slt::all_files() {
        let records = sqllogictest::parse_file::<sqllogictest::DefaultColumnType>(&file);
        for record in records.unwrap_or_default() {
            if let sqllogictest::Record::Statement { sql, .. } | sqllogictest::Record::Query { sql, .. } = record {
                corpus.push(sql);
            }
        }
    }
    assert!(corpus.len() > 100, "the suites give {} statements", corpus.len());
    corpus
}
