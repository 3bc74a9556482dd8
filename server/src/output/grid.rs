//! Cells, rows and rules of a table made of text.
//!
//! Cells are right-aligned; what is longer than its column is cut and ends in `...`; wide characters count two. Control characters in data are shown as
//! escapes, so that a row cannot steer the terminal.

use std::fmt::Write;

/// How NULL is shown.
pub const NULL: &str = "<NULL>";
const CUT: &str = "...";

/// How many places a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// East Asian wide and full-width characters, and pictures, take two places; marks that join the character before them none.
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0x303E
        | 0x3041..=0x33FF
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF
        | 0xA000..=0xA4CF
        | 0xA960..=0xA97F
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1F64F
        | 0x1F680..=0x1F6FF
        | 0x1F900..=0x1F9FF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

/// The text with control characters written out; lines stay lines where `lines` is set.
pub fn clean(text: &str, lines: bool) -> String {
    let fine = |c: char| !c.is_control() || (lines && c == '\n');
    if text.chars().all(fine) {
        return text.to_string();
    }
    let mut cleaned = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if fine(c) {
            cleaned.push(c);
        } else {
            cleaned.extend(c.escape_default());
        }
    }
    cleaned
}

/// `+----+-----+`
pub fn rule(widths: &[usize]) -> String {
    let mut line = String::from("+");
    for width in widths {
        line.extend(std::iter::repeat_n('-', width + 2));
        line.push('+');
    }
    line.push('\n');
    line
}

/// One line of cells, as wide as the columns.
pub fn row<'a>(cells: impl IntoIterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut line = String::from("|");
    for (cell, width) in cells.into_iter().zip(widths) {
        line.push(' ');
        push_cell(cell, *width, &mut line);
        line.push_str(" |");
    }
    line.push('\n');
    line
}

/// A row of which a cell has several lines: left-aligned, line under line.
pub fn tall_row(cells: &[String], widths: &[usize]) -> String {
    let height = cells.iter().map(|cell| cell.lines().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in 0..height {
        text.push('|');
        for (cell, width) in cells.iter().zip(widths) {
            let part = cell.lines().nth(line).unwrap_or_default();
            let pad = width.saturating_sub(self::width(part));
            let _ = write!(text, " {part}{:pad$} |", "");
        }
        text.push('\n');
    }
    text
}

fn push_cell(cell: &str, wanted: usize, line: &mut String) {
    let is = width(cell);
    if is <= wanted {
        line.extend(std::iter::repeat_n(' ', wanted - is));
        line.push_str(cell);
        return;
    }
    let room = wanted.saturating_sub(CUT.len());
    let mut taken = 0;
    let end = cell.char_indices().find(|(_, c)| {
        taken += char_width(*c);
        taken > room
    });
    let kept = &cell[..end.map_or(cell.len(), |(at, _)| at)];
    line.extend(std::iter::repeat_n(' ', room - width(kept)));
    line.push_str(kept);
    line.push_str(&CUT[..CUT.len().min(wanted)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_right_aligned_and_cut_by_places_not_bytes() {
        for (cell, wanted, expected) in [
            ("a", 3, "  a"),
            ("abc", 3, "abc"),
            ("abcdef", 5, "ab..."),
            ("日本", 4, "日本"),
            ("日本語", 5, "日..."),
            ("日本語", 4, " ..."),
            ("é", 2, " é"),
            ("abcd", 2, ".."),
        ] {
            let mut line = String::new();
            push_cell(cell, wanted, &mut line);
            assert_eq!(line, expected, "{cell} in {wanted}");
        }
    }

    #[test]
    fn data_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mred\nb", false), "a\\u{1b}[31mred\\nb");
        assert_eq!(clean("a\nb", true), "a\nb");
    }
}
