//! Colours for what is typed: keywords, literals, comments.

use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText};

use super::completion::is_keyword;

/// Colours SQL.
pub(super) struct SqlHighlighter;

impl Highlighter for SqlHighlighter {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        for (part, text) in parts(line) {
            let style = match part {
                Part::Word if is_keyword(text) => Color::LightBlue.bold(),
                Part::Literal => Color::Green.normal(),
                Part::Comment => Style::new().dimmed(),
                Part::Word | Part::Other => Style::new(),
            };
            styled.push((style, text.to_string()));
        }
        styled
    }
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Letters, digits, `_` and `$`.
    Word,
    /// `'…'`, perhaps still open.
    Literal,
    /// `-- …` or `/* … */`.
    Comment,
    /// All else, quoted names too.
    Other,
}

/// Cuts a line into its pieces, all of it, in order.
pub(super) fn parts(line: &str) -> Vec<(Part, &str)> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let to_quote = |quote: char| rest[1..].find(quote).map_or(rest.len(), |at| at + 2);
        let (part, end) = match first {
            '\'' => (Part::Literal, to_quote('\'')),
            '`' => (Part::Other, to_quote('`')),
            '"' => (Part::Other, to_quote('"')),
            '-' if rest.starts_with("--") => (Part::Comment, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (Part::Comment, rest.find("*/").map_or(rest.len(), |at| at + 2)),
            c if is_word(c) => (Part::Word, rest.find(|c| !is_word(c)).unwrap_or(rest.len())),
            c => (Part::Other, c.len_utf8()),
        };
        let (text, after) = rest.split_at(end);
        parts.push((part, text));
        rest = after;
    }
    parts
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_without_a_loss() {
        for line in ["SELECT 'it''s', `a b`, \"c\" -- x\nFROM t /* y */;", "'open", "/* open", "`", "日本 é", ""] {
            let text: String = parts(line).into_iter().map(|(_, text)| text).collect();
            assert_eq!(text, line);
        }
        assert_eq!(parts("a'b'"), [(Part::Word, "a"), (Part::Literal, "'b'")]);
        assert_eq!(parts("-- a\nb").first(), Some(&(Part::Comment, "-- a")));
    }
}
