//! JSON paths: `$.a['b'][0].*`, with `lax` or `strict` before them.
//!
//! | step | means |
//! |---|---|
//! | `.name`, `['name', …]` | a field, or several |
//! | `[2]`, `[-1]`, `[0, 1]`, `[1:3]` | elements from 0, or from the end |
//! | `.*`, `[*]` | all fields or elements |
//! | `..name` | at any depth |
//!
//! A path of single fields and elements gives one value or misses; any other gives the array of what it finds. Without a mode a path is strict.

use std::borrow::Cow;

use super::value::Json;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Names(Vec<String>),
    Places(Vec<i64>),
    Slice(Option<i64>, Option<i64>),
    All,
    /// The value itself and everything in it.
    Deep,
}

impl Step {
    fn is_one(&self) -> bool {
        match self {
            Step::Names(names) => names.len() == 1,
            Step::Places(places) => places.len() == 1,
            Step::Slice(..) | Step::All | Step::Deep => false,
        }
    }

    /// Whether it can be taken from this value.
    fn fits(&self, value: &Json) -> bool {
        match self {
            Step::Names(_) => matches!(value, Json::Object(_)),
            Step::Places(_) | Step::Slice(..) => matches!(value, Json::Array(_)),
            Step::All => !value.is_scalar(),
            Step::Deep => true,
        }
    }
}

/// A path, prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Whether what is missing is empty instead of an error.
    pub lax: bool,
    steps: Vec<Step>,
}

impl Path {
    /// Reads a path; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Path, String> {
        let trimmed = text.trim();
        let (lax, rest) = match trimmed.split_once(char::is_whitespace) {
            Some((mode, rest)) if mode.eq_ignore_ascii_case("lax") => (true, rest.trim_start()),
            Some((mode, rest)) if mode.eq_ignore_ascii_case("strict") => (false, rest.trim_start()),
            _ => (false, trimmed),
        };
        let mut reader = Reader { rest: rest.strip_prefix('$').ok_or("it begins with `$`")? };
        let mut steps = Vec::new();
        while !reader.rest.is_empty() {
            reader.step(&mut steps)?;
        }
        Ok(Path { lax, steps })
    }

    fn is_definite(&self) -> bool {
        self.steps.iter().all(Step::is_one)
    }

    /// What it finds; `None` if there is nothing.
    pub fn find<'a>(&self, document: &'a Json) -> Option<Cow<'a, Json>> {
        let mut found = vec![document];
        for step in &self.steps {
            // Strictly, many are looked for only where there can be some.
            if !self.lax && !step.is_one() && found.iter().all(|value| !step.fits(value)) {
                return None;
            }
            let mut next = Vec::new();
            for value in found {
                follow(step, value, &mut next);
            }
            found = next;
        }
        if self.is_definite() {
            return found.first().map(|value| Cow::Borrowed(*value));
        }
        Some(Cow::Owned(Json::Array(found.into_iter().cloned().collect())))
    }
}

fn follow<'a>(step: &Step, value: &'a Json, found: &mut Vec<&'a Json>) {
    match (step, value) {
        (Step::Names(names), Json::Object(fields)) => {
            for name in names {
                found.extend(fields.iter().find(|(key, _)| key == name).map(|(_, value)| value));
            }
        }
        (Step::Places(places), Json::Array(items)) => {
            for place in places {
                let place = if *place < 0 { place + items.len() as i64 } else { *place };
                found.extend(usize::try_from(place).ok().and_then(|place| items.get(place)));
            }
        }
        (Step::Slice(from, to), Json::Array(items)) => {
            let length = items.len() as i64;
            let place = |n: i64| if n < 0 { (n + length).max(0) } else { n.min(length) } as usize;
            let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
            found.extend(items.get(from..to).unwrap_or_default());
        }
        (Step::All, Json::Array(items)) => found.extend(items),
        (Step::All, Json::Object(fields)) => found.extend(fields.iter().map(|(_, value)| value)),
        (Step::Deep, value) => {
            found.push(value);
            match value {
                Json::Array(items) => items.iter().for_each(|item| follow(step, item, found)),
                Json::Object(fields) => fields.iter().for_each(|(_, field)| follow(step, field, found)),
                _ => {}
            }
        }
        _ => {}
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn accept(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn step(&mut self, steps: &mut Vec<Step>) -> Result<(), String> {
        if self.accept("..") {
            steps.push(Step::Deep);
        } else if self.accept("[") {
            steps.push(self.bracket()?);
            return Ok(());
        } else if !self.accept(".") {
            return Err(format!("`{}` should begin with `.` or `[`", self.rest));
        }
        if self.accept("*") {
            steps.push(Step::All);
            return Ok(());
        }
        if self.accept("[") {
            // `$.['a']`, as Flink's own examples have it.
            steps.push(self.bracket()?);
            return Ok(());
        }
        let end = self.rest.find(['.', '[', ' ', '(']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || rest.starts_with([' ', '(']) {
            return Err(format!("`{}` is no name of a field; methods are not built", self.rest));
        }
        self.rest = rest;
        steps.push(Step::Names(vec![name.to_string()]));
        Ok(())
    }

    fn bracket(&mut self) -> Result<Step, String> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(['\'', '"']) {
            let mut names = Vec::new();
            loop {
                names.push(self.quoted()?);
                self.rest = self.rest.trim_start();
                if self.accept("]") {
                    return Ok(Step::Names(names));
                }
                if !self.accept(",") {
                    return Err("names in brackets are parted by commas".to_string());
                }
                self.rest = self.rest.trim_start();
            }
        }
        if self.rest.starts_with(['?', '(']) {
            return Err("filters and scripts are not built".to_string());
        }
        let (inner, rest) = self.rest.split_once(']').ok_or("`[` is not closed")?;
        self.rest = rest;
        let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("`[{inner}]` is no place"));
        if inner.trim() == "*" {
            return Ok(Step::All);
        }
        if let Some((from, to)) = inner.split_once(':') {
            let bound = |text: &str| if text.trim().is_empty() { Ok(None) } else { number(text).map(Some) };
            return Ok(Step::Slice(bound(from)?, bound(to)?));
        }
        Ok(Step::Places(inner.split(',').map(number).collect::<Result<_, _>>()?))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut letters = self.rest.char_indices();
        let Some((_, quote @ ('\'' | '"'))) = letters.next() else {
            return Err("a name in quotes is expected".to_string());
        };
        let mut name = String::new();
        while let Some((at, letter)) = letters.next() {
            if letter == '\\' {
                name.extend(letters.next().map(|(_, letter)| letter));
            } else if letter == quote {
                self.rest = &self.rest[at + 1..];
                return Ok(name);
            } else {
                name.push(letter);
            }
        }
        Err("a quote is not closed".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Option<String> {
        let document = r#"{"a":1,"b":{"c":[10,20,{"d":"x"}]},"a b":{"c.d":2},"n":null}"#;
        let document = Json::parse(document).expect("JSON");
        let mut text = String::new();
        Path::parse(path).expect(path).find(&document)?.write(&mut text);
        Some(text)
    }

    #[test]
    fn a_path_finds_one_value_or_the_array_of_many() {
        for (path, expected) in [
            ("$.a", Some("1")),
            ("lax $.b.c[2].d", Some("\"x\"")),
            ("$['a b'][\"c.d\"]", Some("2")),
            ("$.b.c[-1].d", Some("\"x\"")),
            ("$.b.c[*]", Some("[10,20,{\"d\":\"x\"}]")),
            ("$.b.c[0,1]", Some("[10,20]")),
            ("$.b.c[1:]", Some("[20,{\"d\":\"x\"}]")),
            ("$.b.c[:-2]", Some("[10]")),
            ("$..d", Some("[\"x\"]")),
            ("$.n", Some("null")),
            ("$.zzz", None),
            ("$.b.c[3]", None),
            ("$.a.b", None),
            ("$.zzz[*]", None),
            ("lax $.zzz[*]", Some("[]")),
        ] {
            assert_eq!(found(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_that_is_none_says_why() {
        for wrong in ["", "a", "$a", "$.", "$[", "$[x]", "$['a'", "$.a[?(@.b)]", "$.a.size()", "$[1:2:3]"] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
    }
}
