//! A result that is longer than the screen goes through the user's pager, as in psql.
//!
//! ```text
//!  renderer ─► held back until it is more than a screen ─┬─ it ends before: printed
//!                                                        └─ longer: $PAGER, else less, else more ─► the rest goes there as it comes
//! ```
//!
//! Leaving the pager ends the result: what writes to it next is told that nobody reads any more.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use aquifer_model::Error;

use super::Failure;
use crate::output::width;

/// The terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Screen {
    rows: usize,
    columns: usize,
}

impl Screen {
    /// Of the terminal on standard input, which `stty` asks; 24 × 80 where it says nothing.
    pub fn now() -> Self {
        let asked = Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output();
        let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        Self::parse(&said).unwrap_or(Self { rows: 24, columns: 80 })
    }

    fn parse(said: &str) -> Option<Self> {
        let (rows, columns) = said.trim().split_once(' ')?;
        let screen = Self { rows: rows.parse().ok()?, columns: columns.parse().ok()? };
        (screen.rows > 0 && screen.columns > 0).then_some(screen)
    }

    /// So many of its lines a line of text takes.
    fn lines(self, line: &str) -> usize {
        width(line).div_ceil(self.columns).max(1)
    }
}

enum Place {
    /// What comes is printed.
    Out,
    /// What came is held back; it takes so many lines.
    Held { text: Vec<u8>, lines: usize, screen: Screen },
    /// A pager has it.
    Pager { child: Child, to: ChildStdin, name: String },
}

/// Where one result is written.
pub(super) struct Pages<'a> {
    out: &'a mut (dyn Write + Send),
    place: Place,
}

impl<'a> Pages<'a> {
    /// Straight to the output; through a pager if a screen is given and the result is longer.
    pub fn new(out: &'a mut (dyn Write + Send), screen: Option<Screen>) -> Self {
        let place = match screen {
            Some(screen) => Place::Held { text: Vec::new(), lines: 0, screen },
            None => Place::Out,
        };
        Self { out, place }
    }

    /// Whether the screen is a pager's.
    pub fn is_paging(&self) -> bool {
        matches!(self.place, Place::Pager { .. })
    }

    /// Prints what was held back, or waits until the user has left the pager.
    pub fn end(&mut self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.place, Place::Out) {
            Place::Out => {}
            Place::Held { text, .. } => self.out.write_all(&text)?,
            Place::Pager { mut child, to, name } => {
                drop(to);
                let status = tokio::task::block_in_place(|| child.wait())?;
                // A shell's words for what is not there or is no program.
                if let Some(code @ (126 | 127)) = status.code() {
                    return Err(Error::invalid(format!(
                        "the pager `{name}` cannot be run (exit code {code}) and the result was not shown: set PAGER to one that can, or SET 'sql-client.display.pager' = 'false'"
                    ))
                    .into());
                }
            }
        }
        self.out.flush()?;
        Ok(())
    }

    fn open(&mut self, text: &[u8]) -> io::Result<()> {
        self.out.flush()?;
        let Some((mut child, name)) = start_pager() else {
            self.place = Place::Out;
            return self.out.write_all(text);
        };
        let Some(mut to) = child.stdin.take() else {
            return Err(io::Error::other("the pager has no standard input"));
        };
        let written = tokio::task::block_in_place(|| to.write_all(text));
        self.place = Place::Pager { child, to, name };
        written
    }
}

/// The user's pager, or one that is there. An empty `PAGER` means none.
fn start_pager() -> Option<(Child, String)> {
    let commands = match std::env::var("PAGER") {
        Ok(pager) if pager.trim().is_empty() => return None,
        Ok(pager) => vec![("sh", Some(pager))],
        Err(_) => vec![("less", None), ("more", None)],
    };
    commands.into_iter().find_map(|(program, line)| {
        let mut command = Command::new(program);
        if let Some(line) = &line {
            command.args(["-c", line]);
        }
        if std::env::var_os("LESS").is_none() {
            // Colours as they are; long lines scroll sideways; what was read stays on the screen; a page is no page.
            command.env("LESS", "FRSX");
        }
        let child = command.stdin(Stdio::piped()).spawn().ok()?;
        Some((child, line.unwrap_or_else(|| program.to_string())))
    })
}

impl Write for Pages<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.place {
            Place::Out => return self.out.write(bytes),
            Place::Pager { to, .. } => return tokio::task::block_in_place(|| to.write(bytes)),
            Place::Held { text, lines, screen } => {
                text.extend_from_slice(bytes);
                *lines += String::from_utf8_lossy(bytes).lines().map(|line| screen.lines(line)).sum::<usize>();
                // The prompt wants a line.
                if *lines < screen.rows {
                    return Ok(bytes.len());
                }
                let text = std::mem::take(text);
                self.open(&text)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Out => self.out.flush(),
            Place::Held { .. } => Ok(()),
            Place::Pager { to, .. } => to.flush(),
        }
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        // A result that failed half-way: what came is shown, and the terminal is ours again before the error is told.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_read_and_a_long_line_takes_several() {
        assert_eq!(Screen::parse("50 160\n"), Some(Screen { rows: 50, columns: 160 }));
        for odd in ["", "0 0", "50", "a b"] {
            assert_eq!(Screen::parse(odd), None, "{odd}");
        }
        let screen = Screen { rows: 3, columns: 4 };
        assert_eq!(["", "abcd", "abcde", "日本語"].map(|line| screen.lines(line)), [1, 1, 2, 2]);
    }

    #[test]
    fn what_fits_the_screen_is_printed_when_it_ends() {
        let mut out = Vec::new();
        let mut pages = Pages::new(&mut out, Some(Screen { rows: 4, columns: 80 }));
        pages.write_all(b"a\nb\n").expect("held");
        pages.flush().expect("held");
        assert!(!pages.is_paging());
        pages.end().expect("printed");
        drop(pages);
        assert_eq!(out, b"a\nb\n");
    }
}
