//! Texts by patterns: regular expressions, SIMILAR TO, PRINTF, and what splits a text into an array or a map.
//!
//! An invalid pattern gives NULL, as in Flink.

mod printf;
mod similar;

use std::collections::HashMap;
use std::sync::Arc;

use aquifer_model::{Error, Result, SqlType};
use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, MapArray, StringViewArray,
    StringViewBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use regex::Regex;

use super::{Call, Kernel, pure, want};

type Types<'a> = &'a [SqlType];
type Literals<'a> = &'a [Option<&'a ScalarValue>];
type Typed = Option<(Vec<SqlType>, SqlType)>;

fn strings() -> SqlType {
    SqlType::Array(Box::new(SqlType::STRING.nullable()))
}

fn count_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["ss"], SqlType::Int)
}

fn part_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["ss"], SqlType::STRING)
}

fn all_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["ss", "ssi"], strings())
}

fn split_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["ss"], strings())
}

fn similar_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["ss", "sss"], SqlType::Boolean)
}

fn like_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["s", "ss"], SqlType::STRING)
}

fn is_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["s"], SqlType::Boolean)
}

fn map_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    let map = SqlType::Map(Box::new(SqlType::STRING.not_null()), Box::new(SqlType::STRING.nullable()));
    want::any_of(types, &["s", "sss"], map)
}

fn elt_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    let [place, texts @ ..] = types else { return None };
    if texts.is_empty() || !want::is_integer(place) || !texts.iter().all(want::is_text) {
        return None;
    }
    let mut wanted = vec![SqlType::BigInt];
    wanted.resize(types.len(), SqlType::STRING);
    Some((wanted, SqlType::STRING))
}

fn printf_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    let [format, values @ ..] = types else { return None };
    want::is_text(format).then(|| {
        let wanted = values.iter().map(|one| match one {
            one if want::is_integer(one) => SqlType::BigInt,
            one if want::is_text(one) => SqlType::STRING,
            SqlType::Float => SqlType::Double,
            other => other.clone(),
        });
        (std::iter::once(SqlType::STRING).chain(wanted).collect(), SqlType::STRING)
    })
}

pub(super) const KERNELS: &[Kernel] = &[
    pure("REGEXP_COUNT", "REGEXP_COUNT(text, pattern)", count_t, |a, _| {
        numbers(a, |regex, text| regex.find_iter(text).count() as i32)
    }),
    pure("REGEXP_INSTR", "REGEXP_INSTR(text, pattern)", count_t, |a, _| {
        numbers(a, |regex, text| regex.find(text).map_or(0, |found| text[..found.start()].chars().count() as i32 + 1))
    }),
    pure("REGEXP_SUBSTR", "REGEXP_SUBSTR(text, pattern)", part_t, |a, _| {
        let mut patterns = Patterns::default();
        let found: StringViewArray =
            pairs(a).map(|(text, pattern)| Some(patterns.of(pattern?)?.find(text?)?.as_str())).collect();
        Ok(Arc::new(found))
    }),
    pure("REGEXP_EXTRACT_ALL", "REGEXP_EXTRACT_ALL(text, pattern[, group])", all_t, extract_all),
    pure("SPLIT", "SPLIT(text, delimiter)", split_t, split),
    pure("STR_TO_MAP", "STR_TO_MAP(text[, pairs' delimiter, key's delimiter])", map_t, str_to_map),
    pure("ELT", "ELT(place, text, …)", elt_t, |a, call| elt(a, call.rows)),
    pure("PRINTF", "PRINTF(format, value, …)", printf_t, printf::printf),
    pure("$SIMILAR", "text SIMILAR TO pattern [ESCAPE character]", similar_t, |a, _| similar_to(a)),
    pure("$LIKE_PATTERN", "text LIKE pattern [ESCAPE character]", like_t, |a, _| like_patterns(a)),
    pure("IS_ALPHA", "IS_ALPHA(text)", is_t, |a, _| is(a, |s| !s.is_empty() && s.chars().all(char::is_alphabetic))),
    pure("IS_DIGIT", "IS_DIGIT(text)", is_t, |a, _| is(a, |s| !s.is_empty() && s.chars().all(char::is_numeric))),
    pure("IS_DECIMAL", "IS_DECIMAL(text)", is_t, |a, _| {
        is(a, |s| {
            let digits = s.strip_prefix(['-', '+']).unwrap_or(s);
            digits.bytes().any(|byte| byte.is_ascii_digit())
                && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                && digits.matches('.').count() <= 1
        })
    }),
];

/// Patterns, compiled once for equal neighbours.
#[derive(Default)]
pub(super) struct Patterns {
    last: Option<(String, Option<Regex>)>,
}

impl Patterns {
    /// The pattern compiled; `None` if it is none.
    pub fn of(&mut self, pattern: &str) -> Option<&Regex> {
        if self.last.as_ref().is_none_or(|(known, _)| known != pattern) {
            let compiled = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().ok();
            self.last = Some((pattern.to_string(), compiled));
        }
        self.last.as_ref().and_then(|(_, compiled)| compiled.as_ref())
    }
}

fn pairs(columns: &[ArrayRef]) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
    columns[0].as_string_view().iter().zip(columns[1].as_string_view().iter())
}

/// LIKE's patterns with the backslash as escape character, from patterns with another one or none.
fn like_patterns(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let escapes = columns.get(1).map(|escapes| escapes.as_string_view());
    let mut patterns = StringViewBuilder::with_capacity(columns[0].len());
    for (row, pattern) in columns[0].as_string_view().iter().enumerate() {
        let escape = match escapes {
            None => Some(None),
            Some(escapes) if escapes.is_null(row) => None,
            Some(escapes) => Some(Some(escapes.value(row))),
        };
        match pattern.zip(escape) {
            Some((pattern, escape)) => patterns.append_value(like_pattern(pattern, escape)?),
            None => patterns.append_null(),
        }
    }
    Ok(Arc::new(patterns.finish()))
}

/// One pattern of LIKE with the backslash as escape character.
fn like_pattern(pattern: &str, escape: Option<&str>) -> Result<String> {
    let escape = match escape.map(|escape| (escape.chars().next(), escape.chars().count())) {
        None => None,
        Some((one, 1)) => one,
        Some(_) => return Err(Error::invalid("the escape character of LIKE is one character")),
    };
    let mut plain = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(one) = rest.next() {
        if Some(one) == escape {
            match rest.next() {
                Some(next) if matches!(next, '%' | '_') || Some(next) == escape => {
                    if matches!(next, '%' | '_' | '\\') {
                        plain.push('\\');
                    }
                    plain.push(next);
                }
                _ => {
                    return Err(Error::invalid(format!(
                        "in the pattern '{pattern}' of LIKE `{one}` must stand before %, _ or itself"
                    )));
                }
            }
        } else {
            if one == '\\' {
                plain.push('\\');
            }
            plain.push(one);
        }
    }
    Ok(plain)
}

fn numbers(columns: &[ArrayRef], of: impl Fn(&Regex, &str) -> i32) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let found: Int32Array = pairs(columns).map(|(text, pattern)| Some(of(patterns.of(pattern?)?, text?))).collect();
    Ok(Arc::new(found))
}

/// Whether a text is so; NULL is not.
fn is(columns: &[ArrayRef], of: impl Fn(&str) -> bool) -> Result<ArrayRef> {
    let found: Vec<bool> = columns[0].as_string_view().iter().map(|text| text.is_some_and(&of)).collect();
    Ok(Arc::new(BooleanArray::from(found)))
}

/// Arrays of texts from rows of them; `None` is a NULL array.
struct Lists {
    texts: StringViewBuilder,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl Lists {
    fn with_capacity(rows: usize) -> Self {
        Self {
            texts: StringViewBuilder::with_capacity(rows),
            lengths: Vec::with_capacity(rows),
            valid: Vec::with_capacity(rows),
        }
    }

    fn push<'a>(&mut self, row: Option<impl Iterator<Item = &'a str>>) {
        self.valid.push(row.is_some());
        let before = self.texts.len();
        row.into_iter().flatten().for_each(|text| self.texts.append_value(text));
        self.lengths.push(self.texts.len() - before);
    }

    fn finish(mut self, to: &DataType) -> Result<ArrayRef> {
        let DataType::List(item) = to else { return Err(Error::internal("an array is a list")) };
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let values = Arc::new(self.texts.finish());
        Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, Some(NullBuffer::from(self.valid)))?))
    }
}

fn extract_all(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let groups = columns.get(2).map(|column| cast(column, &DataType::Int64)).transpose()?;
    let groups = groups.as_ref().map(|groups| groups.as_primitive::<Int64Type>());
    let mut patterns = Patterns::default();
    let mut lists = Lists::with_capacity(call.rows);
    for (row, (text, pattern)) in pairs(columns).enumerate() {
        let group = match groups {
            // The first group, or the whole where there is none.
            None => Some(1),
            Some(groups) => groups.is_valid(row).then(|| groups.value(row)),
        };
        let regex = pattern.and_then(|pattern| patterns.of(pattern));
        let group = group.zip(regex).and_then(|(group, regex)| {
            let group = usize::try_from(group).ok()?;
            (group < regex.captures_len()).then_some(group)
        });
        let found = match (text, regex, group) {
            (Some(text), Some(regex), Some(group)) => {
                let one =
                    move |captures: regex::Captures<'_>| captures.get(group).map_or((0, 0), |m| (m.start(), m.end()));
                Some(regex.captures_iter(text).map(one).map(move |(from, to)| &text[from..to]))
            }
            _ => None,
        };
        lists.push(found);
    }
    lists.finish(call.result.data_type())
}

fn split(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let mut lists = Lists::with_capacity(call.rows);
    for (text, delimiter) in pairs(columns) {
        let parts: Option<Vec<&str>> = text.zip(delimiter).map(|(text, delimiter)| {
            if delimiter.is_empty() {
                // Into its characters.
                text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect()
            } else {
                text.split(delimiter).collect()
            }
        });
        lists.push(parts.map(Vec::into_iter));
    }
    lists.finish(call.result.data_type())
}

/// `k1=v1,k2=v2`: delimiters are regular expressions; a key without a value has NULL; of equal keys the last counts.
fn str_to_map(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = call.result.data_type() else {
        return Err(Error::internal("a map is a map"));
    };
    let DataType::Struct(fields) = entries.data_type() else { return Err(Error::internal("entries are structures")) };
    let (mut outer, mut inner) = (Patterns::default(), Patterns::default());
    let delimiter = |n: usize, row: usize, default: &'static str| match columns.get(n) {
        None => Some(default),
        Some(column) => column.is_valid(row).then(|| column.as_string_view().value(row)),
    };
    let (mut keys, mut values) = (StringViewBuilder::new(), StringViewBuilder::new());
    let (mut lengths, mut valid) = (Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for (row, text) in columns[0].as_string_view().iter().enumerate() {
        let outer = delimiter(1, row, ",").and_then(|pattern| outer.of(pattern));
        let inner = delimiter(2, row, "=").and_then(|pattern| inner.of(pattern));
        let (Some(text), Some(outer), Some(inner)) = (text, outer, inner) else {
            lengths.push(0);
            valid.push(false);
            continue;
        };
        let mut found: Vec<(&str, Option<&str>)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for pair in outer.split(text) {
            let mut parts = inner.splitn(pair, 2);
            let (key, value) = (parts.next().unwrap_or_default(), parts.next());
            match places.get(key) {
                Some(place) => found[*place].1 = value,
                None => {
                    places.insert(key, found.len());
                    found.push((key, value));
                }
            }
        }
        lengths.push(found.len());
        valid.push(true);
        for (key, value) in found {
            keys.append_value(key);
            values.append_option(value);
        }
    }
    let pairs = StructArray::try_new(fields.clone(), vec![Arc::new(keys.finish()), Arc::new(values.finish())], None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, Some(NullBuffer::from(valid)), *sorted)?))
}

/// The text at a place from 1; NULL beyond them.
fn elt(columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let places = columns[0].as_primitive::<Int64Type>();
    let texts: StringViewArray = (0..rows)
        .map(|row| {
            let place = places.is_valid(row).then(|| places.value(row)).filter(|place| *place >= 1)?;
            let column = columns.get(usize::try_from(place).ok()?)?.as_string_view();
            column.is_valid(row).then(|| column.value(row))
        })
        .collect();
    Ok(Arc::new(texts))
}

fn similar_to(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let escapes = columns.get(2).map(|column| column.as_string_view());
    let mut last: Option<((String, Option<char>), Regex)> = None;
    let mut found = Vec::with_capacity(columns[0].len());
    for (row, (text, pattern)) in pairs(columns).enumerate() {
        let (Some(text), Some(pattern)) = (text, pattern) else {
            found.push(None);
            continue;
        };
        let escape = match escapes.filter(|escapes| escapes.is_valid(row)).map(|escapes| escapes.value(row)) {
            None => None,
            Some(text) => match text.chars().collect::<Vec<_>>()[..] {
                [one] => Some(one),
                _ => return Err(Error::invalid("SIMILAR TO: ESCAPE takes one character")),
            },
        };
        if last.as_ref().is_none_or(|(known, _)| known.0 != pattern || known.1 != escape) {
            let written = similar::regex(pattern, escape)?;
            let compiled = regex::RegexBuilder::new(&written).size_limit(1 << 20).build().map_err(|error| {
                Error::invalid(format!("SIMILAR TO: the pattern '{pattern}' cannot be read")).with_source(error)
            })?;
            last = Some(((pattern.to_string(), escape), compiled));
        }
        found.push(last.as_ref().map(|(_, regex)| regex.is_match(text)));
    }
    Ok(Arc::new(BooleanArray::from(found)))
}
