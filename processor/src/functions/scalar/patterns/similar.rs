//! The patterns of SIMILAR TO as regular expressions: `%` and `_` as in LIKE, `| * + ? {n,m} ( ) [ ]` as in a regular expression.

use aquifer_model::{Error, Result};

/// The regular expression of a pattern, for the whole text.
pub(super) fn regex(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut regex = String::from("(?s)^(?:");
    let mut letters = pattern.chars();
    let mut in_class = false;
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            let next = letters.next();
            let next =
                next.ok_or_else(|| Error::invalid(format!("SIMILAR TO: '{pattern}' ends with its escape character")))?;
            regex.push_str(&regex::escape(&next.to_string()));
            continue;
        }
        match letter {
            ']' if in_class => {
                in_class = false;
                regex.push(']');
            }
            '\\' | '&' | '~' if in_class => {
                regex.push('\\');
                regex.push(letter);
            }
            letter if in_class => regex.push(letter),
            '[' => {
                in_class = true;
                regex.push('[');
            }
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '|' | '*' | '+' | '?' | '{' | '}' | '(' | ')' => regex.push(letter),
            other => regex.push_str(&regex::escape(&other.to_string())),
        }
    }
    regex.push_str(")$");
    Ok(regex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_whole_text() {
        for (text, pattern, fits) in [
            ("abc", "a%", true),
            ("abc", "b", false),
            ("abc", "(a|x)b_", true),
            ("a.c", "a.c", true),
            ("axc", "a.c", false),
            ("abbb", "ab{3}", true),
            ("a\nb", "a_b", true),
            ("7", "[0-9]+", true),
            ("^", "^", true),
            ("a%", "a!%", true),
            ("ab", "a!%", false),
        ] {
            let regex = regex(pattern, Some('!')).expect(pattern);
            assert_eq!(::regex::Regex::new(&regex).expect(pattern).is_match(text), fits, "{text} {pattern}");
        }
        assert!(regex("a!", Some('!')).is_err());
    }
}
