//! JSON text, taken token by token from the payload's own bytes: numbers keep their digits, and nothing is allocated.
//!
//! Nesting is limited. Objects and arrays are walked by whoever asked for them; what nobody wants is skipped, but still has to be JSON.

use std::borrow::Cow;

const MAX_DEPTH: usize = 64;

/// Why a payload could not be read.
pub(crate) type Reason = Cow<'static, str>;
pub(crate) type Step<T> = Result<T, Reason>;

/// The start of a value; scalars are whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    Null,
    Boolean(bool),
    /// The number's own text.
    Number(&'a str),
    Text(Quoted<'a>),
    /// Its fields come with [`Scanner::next_key`].
    Object,
    /// Its items come with [`Scanner::next_item`].
    Array,
}

/// A text as it stands between its quotes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quoted<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// Whether it has an escape for what is no character, so that its text is another.
    pub fn is_changed(&self, text: &str) -> bool {
        self.escaped && text.contains(char::REPLACEMENT_CHARACTER)
    }

    /// The text; `scratch` holds it where it has escapes.
    pub fn text<'b>(&self, scratch: &'b mut String) -> &'b str
    where
        'a: 'b,
    {
        if !self.escaped {
            return self.raw;
        }
        scratch.clear();
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            scratch.push_str(&rest[..at]);
            let code = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
            rest = rest.get(at + 2..).unwrap_or_default();
            match code {
                b'n' => scratch.push('\n'),
                b't' => scratch.push('\t'),
                b'r' => scratch.push('\r'),
                b'b' => scratch.push('\u{8}'),
                b'f' => scratch.push('\u{c}'),
                b'u' => {
                    let unit = hex(&mut rest);
                    let low = rest.strip_prefix("\\u").filter(|_| (0xd800..0xdc00).contains(&unit));
                    let pair = low.and_then(|mut after| {
                        let low = hex(&mut after);
                        let code = (0xdc00..0xe000)
                            .contains(&low)
                            .then(|| 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?;
                        rest = after;
                        char::from_u32(code)
                    });
                    // Half a pair is no character.
                    scratch.push(pair.or_else(|| char::from_u32(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                other => scratch.push(other as char),
            }
        }
        scratch.push_str(rest);
        scratch
    }
}

/// Takes four hexadecimal digits, which the scanner has checked.
fn hex(rest: &mut &str) -> u32 {
    let digits = rest.get(..4).unwrap_or_default();
    *rest = rest.get(4..).unwrap_or_default();
    u32::from_str_radix(digits, 16).unwrap_or(u32::from('?'))
}

/// A place in a JSON text.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Whether whoever took values left something out or took it as something else.
    is_lossy: bool,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, is_lossy: false }
    }

    /// Notes that what was made of the text tells less than it.
    pub fn lose(&mut self) {
        self.is_lossy = true;
    }

    /// Whether [`Scanner::lose`] was called.
    pub fn is_lossy(&self) -> bool {
        self.is_lossy
    }

    /// Where it stands, for [`Scanner::back_to`].
    pub fn mark(&self) -> (usize, usize) {
        (self.at, self.depth)
    }

    /// Goes back to a place it has passed.
    pub fn back_to(&mut self, mark: (usize, usize)) {
        (self.at, self.depth) = mark;
    }

    fn wrong<T>(&self, expected: &str) -> Step<T> {
        if self.at >= self.text.len() {
            return Err(format!("the payload is no JSON: it ends where {expected} should stand").into());
        }
        Err(format!("the payload is no JSON: {expected} should stand at byte {}", self.at).into())
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn word(&mut self, word: &str, token: Token<'a>) -> Step<Token<'a>> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.wrong("a value");
        }
        self.at += word.len();
        Ok(token)
    }

    fn open(&mut self, token: Token<'a>) -> Step<Token<'a>> {
        if self.depth == MAX_DEPTH {
            return Err("the payload is nested too deeply".into());
        }
        self.depth += 1;
        self.at += 1;
        Ok(token)
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// Takes a scalar, or the bracket that opens an object or an array.
    pub fn value(&mut self) -> Step<Token<'a>> {
        match self.peek() {
            Some(b'{') => self.open(Token::Object),
            Some(b'[') => self.open(Token::Array),
            Some(b'"') => Ok(Token::Text(self.quoted()?)),
            Some(b'n') => self.word("null", Token::Null),
            Some(b't') => self.word("true", Token::Boolean(true)),
            Some(b'f') => self.word("false", Token::Boolean(false)),
            Some(b'-' | b'0'..=b'9') => Ok(Token::Number(self.number()?)),
            _ => self.wrong("a value"),
        }
    }

    /// The next field's name; `None` once the object is closed. `first` is true before the first call.
    pub fn next_key(&mut self, first: &mut bool) -> Step<Option<Quoted<'a>>> {
        match self.peek() {
            Some(b'}') => {
                self.close();
                return Ok(None);
            }
            Some(b',') if !*first => self.at += 1,
            _ if !*first => return self.wrong("a comma or the object's end"),
            _ => {}
        }
        *first = false;
        if self.peek() != Some(b'"') {
            return self.wrong("a field's name");
        }
        let key = self.quoted()?;
        if self.peek() != Some(b':') {
            return self.wrong("a colon");
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Whether an item follows; false once the array is closed. `first` is true before the first call.
    pub fn next_item(&mut self, first: &mut bool) -> Step<bool> {
        match self.peek() {
            Some(b']') => {
                self.close();
                return Ok(false);
            }
            Some(b',') if !*first => self.at += 1,
            _ if !*first => return self.wrong("a comma or the array's end"),
            _ => *first = false,
        }
        Ok(true)
    }

    /// Passes over a value whose first token was taken, and gives its text.
    pub fn skip(&mut self, token: Token<'a>, from: usize) -> Step<&'a str> {
        match token {
            Token::Object => {
                let mut first = true;
                while self.next_key(&mut first)?.is_some() {
                    self.skip_value()?;
                }
            }
            Token::Array => {
                let mut first = true;
                while self.next_item(&mut first)? {
                    self.skip_value()?;
                }
            }
            _ => {}
        }
        Ok(&self.text[from..self.at])
    }

    /// Passes over a whole value, and gives its text.
    pub fn skip_value(&mut self) -> Step<&'a str> {
        let from = self.start();
        let token = self.value()?;
        self.skip(token, from)
    }

    /// Where the next value starts.
    pub fn start(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// Whether nothing but blanks is left.
    pub fn end(&mut self) -> Step<()> {
        if self.peek().is_none() { Ok(()) } else { self.wrong("its end") }
    }

    fn number(&mut self) -> Step<&'a str> {
        let from = self.at;
        let bytes = self.text.as_bytes();
        let digits = |at: &mut usize| {
            let start = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at - start
        };
        let mut at = from + usize::from(bytes.get(from) == Some(&b'-'));
        let leading_zero = bytes.get(at) == Some(&b'0');
        let whole = digits(&mut at);
        let mut fine = whole > 0 && !(leading_zero && whole > 1);
        if fine && bytes.get(at) == Some(&b'.') {
            at += 1;
            fine = digits(&mut at) > 0;
        }
        if fine && matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            fine = digits(&mut at) > 0;
        }
        self.at = at;
        if fine { Ok(&self.text[from..at]) } else { self.wrong("a digit") }
    }

    fn quoted(&mut self) -> Step<Quoted<'a>> {
        let bytes = self.text.as_bytes();
        let from = self.at + 1;
        let mut at = from;
        let mut escaped = false;
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    let fine = match bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
                        Some(b'u') => {
                            bytes.get(at + 2..at + 6).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                        }
                        _ => false,
                    };
                    if !fine {
                        self.at = at;
                        return self.wrong("an escape");
                    }
                    at += 2;
                }
                Some(0..0x20) | None => {
                    self.at = at;
                    return self.wrong("a text's next character");
                }
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Ok(Quoted { raw: &self.text[from..at], escaped })
    }
}

/// Adds a JSON text without the blanks between its tokens.
pub(crate) fn compact(json: &str, out: &mut String) {
    let mut in_text = false;
    let mut rest = json;
    while let Some(at) =
        rest.find(|c: char| if in_text { matches!(c, '"' | '\\') } else { c == '"' || c.is_ascii_whitespace() })
    {
        out.push_str(&rest[..at]);
        let taken = match rest.as_bytes()[at] {
            b'"' => {
                in_text = !in_text;
                1
            }
            b'\\' => 2,
            _ => {
                rest = &rest[at + 1..];
                continue;
            }
        };
        out.push_str(&rest[at..at + taken]);
        rest = &rest[at + taken..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip_value().and_then(|_| scanner.end()).is_ok()
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9f64..1e9).prop_map(Value::from),
            "[a-z\"\\\\\n\u{1}ü😀 ]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c\"]{0,2}", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_accepts_what_serde_json_accepts(text in "[-+0-9.eE\"\\\\{}\\[\\]:,ntrulasfe u]{0,14}") {
            prop_assert_eq!(accepts(&text), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn whole_values_are_passed_over_and_compacted(value in any_json()) {
            let pretty = format!(" {} ", serde_json::to_string_pretty(&value).expect("JSON"));
            prop_assert!(accepts(&pretty));
            let mut out = String::new();
            compact(&pretty, &mut out);
            prop_assert_eq!(out, value.to_string());
        }

        #[test]
        fn texts_are_unescaped_as_serde_json_does(text in "[a-z\"\\\\/\n\t\u{8}\u{c}ü😀]{0,12}") {
            let ascii: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            for json in [serde_json::to_string(&text).expect("JSON"), format!("\"{ascii}\"")] {
                let Ok(Token::Text(quoted)) = Scanner::new(&json).value() else { panic!("a text") };
                let mut scratch = String::new();
                prop_assert_eq!(quoted.text(&mut scratch), &text);
            }
        }
    }

    #[test]
    fn depth_is_limited_and_half_a_pair_is_no_character() {
        assert!(accepts(&("[".repeat(64) + &"]".repeat(64))));
        assert!(!accepts(&("[".repeat(65) + &"]".repeat(65))));
        assert!(!accepts(&"[".repeat(1_000_000)));
        let Ok(Token::Text(quoted)) = Scanner::new(r#""a\ud800b""#).value() else { panic!("a text") };
        assert_eq!(quoted.text(&mut String::new()), "a\u{fffd}b");
    }
}
