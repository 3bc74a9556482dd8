//! A JSON document in memory. Numbers keep their text, so that `1.50` stays `1.50` and no digit of a large one is lost.

/// How deep arrays and objects may stand in each other.
const DEPTH: usize = 256;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    /// Of equal keys the last one is kept.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a document; `None` if the text is none, or if it is nested deeper than 256 levels.
    pub fn parse(text: &str) -> Option<Json> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        let value = reader.value()?;
        reader.blanks();
        (reader.at == text.len()).then_some(value)
    }

    /// Whether it is neither array nor object.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Json::Array(_) | Json::Object(_))
    }

    /// A scalar's text; `None` for NULL, arrays and objects.
    pub fn scalar_text(&self) -> Option<String> {
        match self {
            Json::Bool(value) => Some(value.to_string()),
            Json::Number(text) => Some(number(text, false)),
            Json::Text(text) => Some(text.clone()),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }

    /// Writes it without blanks, keys in order.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(text) => out.push_str(&number(text, true)),
            Json::Text(text) => write_text(text, out),
            Json::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(fields) => {
                let mut fields: Vec<&(String, Json)> = fields.iter().collect();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                out.push('{');
                for (n, (key, value)) in fields.into_iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Writes a text between quotes, with the fewest escapes.
pub fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as Java's BigDecimal prints it: `1e5` is `1E+5`, or `100000` if `plain`. Whole numbers stay.
fn number(text: &str, plain: bool) -> String {
    if !text.contains(['.', 'e', 'E']) {
        return if text == "-0" { "0".to_string() } else { text.to_string() };
    }
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i32>() else { return text.to_string() };
    let digits = format!("{whole}{fraction}");
    let digits = match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let sign = if digits == "0" { "" } else { sign };
    let scale = fraction.len() as i64 - i64::from(exponent);
    let adjusted = digits.len() as i64 - 1 - scale;
    // A plain number of thousands of zeros would be an attack on memory.
    if (scale >= 0 && adjusted >= -6) || (plain && scale.abs() <= 400) {
        let zeros = |count: i64| "0".repeat(count.max(0) as usize);
        if scale <= 0 {
            return format!("{sign}{digits}{}", zeros(-scale));
        }
        let padded = format!("{}{digits}", zeros(scale + 1 - digits.len() as i64));
        let (whole, fraction) = padded.split_at(padded.len() - scale as usize);
        return format!("{sign}{whole}.{fraction}");
    }
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let plus = if adjusted >= 0 { "+" } else { "" };
    format!("{sign}{first}{point}{rest}E{plus}{adjusted}")
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self) -> Option<Json> {
        self.blanks();
        match self.peek()? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' | b'{' if self.depth == DEPTH => None,
            b'[' => {
                self.at += 1;
                self.depth += 1;
                let mut items = Vec::new();
                if !self.accept(b']') {
                    loop {
                        items.push(self.value()?);
                        if self.accept(b']') {
                            break;
                        }
                        self.accept(b',').then_some(())?;
                    }
                }
                self.depth -= 1;
                Some(Json::Array(items))
            }
            b'{' => {
                self.at += 1;
                self.depth += 1;
                let fields = self.fields()?;
                self.depth -= 1;
                Some(Json::Object(fields))
            }
            _ => self.number(),
        }
    }

    fn fields(&mut self) -> Option<Vec<(String, Json)>> {
        let mut fields: Vec<(String, Json)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        if self.accept(b'}') {
            return Some(fields);
        }
        loop {
            self.blanks();
            let key = self.string()?;
            self.accept(b':').then_some(())?;
            let value = self.value()?;
            match places.get(&key) {
                Some(place) => {
                    let place: usize = *place;
                    fields[place].1 = value;
                }
                None => {
                    places.insert(key.clone(), fields.len());
                    fields.push((key, value));
                }
            }
            if self.accept(b'}') {
                return Some(fields);
            }
            self.accept(b',').then_some(())?;
        }
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        let digits = |reader: &mut Self| {
            let from = reader.at;
            while matches!(reader.peek(), Some(b'0'..=b'9')) {
                reader.at += 1;
            }
            reader.at - from
        };
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading_zero = self.peek() == Some(b'0');
        let whole = digits(self);
        if whole == 0 || (leading_zero && whole > 1) {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            (digits(self) > 0).then_some(())?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            (digits(self) > 0).then_some(())?;
        }
        Some(Json::Number(self.text[start..self.at].to_string()))
    }

    fn string(&mut self) -> Option<String> {
        (self.peek() == Some(b'"')).then_some(())?;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < b' ')?;
            text.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Some(text),
                b'\\' => text.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let first = self.unit()?;
                if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
                    let before = self.at;
                    self.at += 2;
                    let second = self.unit()?;
                    if let Some(Ok(c)) = char::decode_utf16([first, second]).next() {
                        return Some(c);
                    }
                    self.at = before;
                }
                // Half of a pair is no character.
                char::from_u32(u32::from(first)).unwrap_or('\u{fffd}')
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
        u16::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_as_java_writes_them() {
        for (text, short, plain) in [
            ("1", "1", "1"),
            ("12345678901234567890", "12345678901234567890", "12345678901234567890"),
            ("1.50", "1.50", "1.50"),
            ("1e5", "1E+5", "100000"),
            ("-0.000001", "-0.000001", "-0.000001"),
            ("1.5e-9", "1.5E-9", "0.0000000015"),
            ("-12.5E3", "-1.25E+4", "-12500"),
            ("0.0", "0.0", "0.0"),
        ] {
            assert_eq!((number(text, false), number(text, true)), (short.to_string(), plain.to_string()), "{text}");
        }
        assert!(number("1e999999999", true).len() < 20);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "not", "01", "1.", "[1,]", "{\"a\" 1}", "\"a", "\"\\x\"", "{} {}", "nulll", "\"\n\"", "- 1"] {
            assert_eq!(Json::parse(text), None, "{text}");
        }
        assert!(Json::parse(&"[".repeat(100_000)).is_none());
    }

    proptest! {
        #[test]
        fn a_document_reads_as_another_parser_reads_it(text in "[\\[\\]{}\":,a01.\\\\u ]{0,24}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match Json::parse(&text) {
                Some(ours) => {
                    let mut written = String::new();
                    ours.write(&mut written);
                    // Half of a pair of surrogates is the difference; exponents and `-0` we write in another way.
                    if let Ok(theirs) = theirs {
                        let again: serde_json::Value = serde_json::from_str(&written).expect("we write JSON");
                        prop_assert_eq!(again, theirs);
                    }
                }
                None => prop_assert!(theirs.is_err(), "{}", text),
            }
        }

        #[test]
        fn every_text_survives(text in any::<String>()) {
            let mut written = String::new();
            write_text(&text, &mut written);
            prop_assert_eq!(Json::parse(&written), Some(Json::Text(text)));
        }
    }
}
