//! What a user types that is no SQL: the commands of Flink's shell, and shortcuts as in psql.

/// What `HELP;` prints.
pub const HELP: &str = "\
Statements end with `;` and may have several lines. All of them: docs/sql.md.

  HELP;  \\?           this text
  QUIT;  EXIT;  \\q    leave (also Ctrl-D)
  CLEAR;              clear the screen
  SET;                the settings; SET 'key' = 'value'; RESET 'key';

  \\d  \\dt             tables and views
  \\d NAME             columns of a table
  \\dv                 views
  \\df                 functions
  \\l                  databases
  \\lc                 catalogs
  \\c NAME             use a database or a catalog
  \\i FILE             run a file
  \\batch  \\stream     answers that end, or that go on as rows come
  \\timing             tell how long each statement takes, or no more

Results: SET 'sql-client.execution.result-mode' = 'tableau' | 'table' | 'changelog';
Keys: Tab completes, Ctrl-R searches the history, Ctrl-C ends a statement, Alt-Enter begins a new line.
";

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Say what there is.
    Help,
    /// Leave.
    Quit,
    /// Clear the screen.
    Clear,
    /// Tell times, or no more.
    Timing,
    /// Run a file.
    Include(String),
    /// Run SQL that the shortcut stands for.
    Sql(String),
    /// Something that is not there, with what to say.
    Unknown(String),
}

/// The shortcuts, for completion.
pub const SHORTCUTS: &[&str] =
    &["\\?", "\\batch", "\\c", "\\d", "\\df", "\\dt", "\\dv", "\\i", "\\l", "\\lc", "\\q", "\\stream", "\\timing"];

/// The command that a statement is, its `;` taken away; `None`: it is SQL.
pub fn command(statement: &str) -> Option<Command> {
    let text = statement.trim().trim_end_matches(';').trim_end();
    if let Some(shortcut) = text.strip_prefix('\\') {
        return Some(of_shortcut(shortcut));
    }
    Some(match text.to_ascii_lowercase().as_str() {
        "help" => Command::Help,
        "quit" | "exit" => Command::Quit,
        "clear" => Command::Clear,
        _ => return None,
    })
}

fn of_shortcut(text: &str) -> Command {
    let (word, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let argument = argument.trim();
    let sql = |text: &str| Command::Sql(text.to_string());
    match (word, argument) {
        ("?" | "h" | "help", "") => Command::Help,
        ("q" | "quit", "") => Command::Quit,
        ("timing", "") => Command::Timing,
        ("d" | "dt", "") => sql("SHOW TABLES"),
        ("dv", "") => sql("SHOW VIEWS"),
        ("df", "") => sql("SHOW FUNCTIONS"),
        ("l", "") => sql("SHOW DATABASES"),
        ("lc", "") => sql("SHOW CATALOGS"),
        ("batch", "") => sql("SET 'execution.runtime-mode' = 'batch'"),
        ("stream", "") => sql("SET 'execution.runtime-mode' = 'streaming'"),
        ("i", file) if !file.is_empty() => Command::Include(file.to_string()),
        ("c", name) if !name.is_empty() => Command::Sql(format!("USE {}", name_in_sql(name))),
        ("d" | "dt", name) => Command::Sql(format!("DESCRIBE {}", name_in_sql(name))),
        _ => Command::Unknown(format!("`\\{text}` is no shortcut: \\? lists them")),
    }
}

/// A name as SQL takes it: `tenant/namespace` needs its quotes, as do other names that are no words.
fn name_in_sql(name: &str) -> String {
    let is_plain = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
    };
    if name.contains(['`', '"']) || name.split('.').all(is_plain) {
        return name.to_string();
    }
    let parts = name.split('.').map(|part| if is_plain(part) { part.to_string() } else { format!("`{part}`") });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_sql() {
        let sql = |text: &str| Some(Command::Sql(text.to_string()));
        for (text, expected) in [
            ("HELP", Some(Command::Help)),
            (" quit ;", Some(Command::Quit)),
            ("Exit", Some(Command::Quit)),
            ("CLEAR", Some(Command::Clear)),
            ("\\q", Some(Command::Quit)),
            ("\\i a b.sql", Some(Command::Include("a b.sql".to_string()))),
            ("\\d", sql("SHOW TABLES")),
            ("\\d  c.d.sensors", sql("DESCRIBE c.d.sensors")),
            ("\\d my_pulsar.public/default.t-1;", sql("DESCRIBE my_pulsar.`public/default`.`t-1`")),
            ("\\c `public/default`", sql("USE `public/default`")),
            ("\\c public/default", sql("USE `public/default`")),
            ("SELECT help", None),
            ("quit now", None),
        ] {
            assert_eq!(command(text), expected, "{text}");
        }
        for text in ["\\x", "\\i", "\\c", "\\q now", "\\"] {
            assert!(matches!(command(text), Some(Command::Unknown(_))), "{text}");
        }
    }

    #[test]
    fn every_shortcut_of_the_list_is_one_and_in_the_help() {
        for shortcut in SHORTCUTS {
            let with_argument = format!("{shortcut} x");
            let known =
                [*shortcut, &with_argument].iter().any(|text| !matches!(command(text), Some(Command::Unknown(_))));
            assert!(known && HELP.contains(shortcut), "{shortcut}");
        }
    }
}
