//! The prompt: lines in, statements run, until the user leaves.
//!
//! ```text
//!  reedline (a blocking thread: keys, history, completion) ─► text that is complete ─► Shell::run ─► prompt again
//! ```
//!
//! A statement that fails or is ended by Ctrl-C leaves the shell as it was.

mod completion;
mod highlight;

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aquifer_model::{Error, Result};
use aquifer_processor::sql::Session;
use reedline::{
    ColumnarMenu, DefaultHinter, EditCommand, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder, Prompt,
    PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    ValidationResult, Validator, default_emacs_keybindings,
};

use self::completion::{SessionNames, SqlCompleter};
use self::highlight::SqlHighlighter;
use crate::interrupt::Interrupt;
use crate::shell::{Ended, Failure, Shell, command};

/// So many statements are remembered.
const HISTORY: usize = 10_000;
const MENU: &str = "names";

/// Runs the shell until the user leaves it.
pub async fn run(shell: &mut Shell, out: &mut (dyn Write + Send), interrupt: &Interrupt) -> Result<Ended, Failure> {
    let mut err = io::stderr();
    writeln!(out, "Aquifer {}. HELP; says what there is, QUIT; leaves.\n", env!("CARGO_PKG_VERSION"))?;
    out.flush()?;
    let names = Arc::new(Mutex::new(SessionNames::new(shell.session().clone())));
    let mut editor = editor(&names, &mut err)?;
    loop {
        let prompt = SqlPrompt::of(shell.session());
        if let Ok(mut names) = names.lock() {
            *names = SessionNames::new(shell.session().clone());
        }
        let read = tokio::task::spawn_blocking(move || {
            let signal = editor.read_line(&prompt);
            (editor, signal)
        });
        let (used, signal) = read.await.map_err(|error| Error::internal("the prompt failed").with_source(error))?;
        editor = used;
        let text = match signal {
            Ok(Signal::Success(text)) => text,
            Ok(Signal::CtrlD) => return Ok(Ended::Normally),
            // What was typed is thrown away.
            Ok(_) => continue,
            Err(error) => return Err(Error::unavailable("the terminal cannot be read").with_source(error).into()),
        };
        interrupt.rearm();
        match shell.run(&text, out, &mut err, interrupt).await {
            Ok(Ended::Quit) => return Ok(Ended::Normally),
            Ok(Ended::Interrupted) => writeln!(err, "[INFO] The statement was ended.")?,
            Ok(Ended::Normally) | Err(Failure::Told) => {}
            Err(Failure::Error(error)) => writeln!(err, "[ERROR] {error}")?,
            Err(failure) => return Err(failure),
        }
        out.flush()?;
    }
}

/// The file of statements that an interactive shell begins with, if it is there.
pub fn settings_file() -> Option<PathBuf> {
    let folder = folder("XDG_CONFIG_HOME", ".config")?;
    Some(folder.join("init.sql")).filter(|file| file.is_file())
}

fn history_file() -> Option<PathBuf> {
    Some(folder("XDG_STATE_HOME", ".local/state")?.join("history"))
}

/// `$variable/aquifer`, or `~/otherwise/aquifer`.
fn folder(variable: &str, otherwise: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(set(variable).or_else(|| Some(set("HOME")?.join(otherwise)))?.join("aquifer"))
}

fn editor(names: &Arc<Mutex<SessionNames>>, err: &mut (dyn Write + Send)) -> Result<Reedline, Failure> {
    let mut keys = default_emacs_keybindings();
    let tab = ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.to_string()), ReedlineEvent::MenuNext]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, tab);
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    keys.add_binding(KeyModifiers::ALT, KeyCode::Enter, ReedlineEvent::Edit(vec![EditCommand::InsertNewline]));
    let menu = Box::new(ColumnarMenu::default().with_name(MENU));
    let has_colours = std::env::var_os("NO_COLOR").is_none();
    let mut editor = Reedline::create()
        .with_validator(Box::new(WholeStatements))
        .with_completer(Box::new(SqlCompleter::new(Arc::clone(names))))
        .with_menu(ReedlineMenu::EngineCompleter(menu))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_history_exclusion_prefix(Some(" ".to_string()))
        .with_ansi_colors(has_colours)
        .use_bracketed_paste(true);
    if has_colours {
        let faint = nu_ansi_term::Style::new().dimmed();
        editor = editor
            .with_highlighter(Box::new(SqlHighlighter))
            .with_hinter(Box::new(DefaultHinter::default().with_style(faint)));
    }
    match history_file().map(|file| history(&file)) {
        Some(Ok(history)) => Ok(editor.with_history(Box::new(history))),
        Some(Err(error)) => {
            writeln!(err, "[WARN] {error}: this session's statements are not remembered")?;
            Ok(editor)
        }
        None => Ok(editor),
    }
}

/// Statements may hold secrets: the file is for its owner alone.
fn history(file: &Path) -> Result<FileBackedHistory> {
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::unavailable(format!("the history `{}` cannot be kept", file.display())).with_source(error)
    };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|error| wrong(error.into()))?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map_err(|error| wrong(error.into()))?;
    FileBackedHistory::with_file(HISTORY, file.to_path_buf()).map_err(|error| wrong(error.into()))
}

/// Enter runs what is complete, and begins a new line else.
struct WholeStatements;

impl Validator for WholeStatements {
    fn validate(&self, text: &str) -> ValidationResult {
        match command(text).is_some() || Session::is_complete(text) {
            true => ValidationResult::Complete,
            false => ValidationResult::Incomplete,
        }
    }
}

/// `aquifer> `, with the current database and mode at the right.
struct SqlPrompt {
    right: String,
}

impl SqlPrompt {
    fn of(session: &Session) -> Self {
        let place = session.current().map(|(catalog, database)| format!("{catalog}.{database}")).unwrap_or_default();
        Self { right: format!("{place}, {}", session.setting("execution.runtime-mode")) }
    }
}

impl Prompt for SqlPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("aquifer")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.right)
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("      -> ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = if matches!(search.status, PromptHistorySearchStatus::Failing) { "nothing like " } else { "" };
        Cow::Owned(format!(" ({failing}`{}`) ", search.term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_runs_what_is_complete() {
        let runs = |text: &str| matches!(WholeStatements.validate(text), ValidationResult::Complete);
        for text in ["SELECT 1;", "quit", "\\d", "HELP;", "", "  ", "SELECT 1;\nSELECT 2;"] {
            assert!(runs(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT 2", "/* ;"] {
            assert!(!runs(text), "{text}");
        }
    }

    #[test]
    fn the_history_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state/history");
        history(&file).expect("kept");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        }
        assert!(history(folder.path()).is_err());
    }
}
