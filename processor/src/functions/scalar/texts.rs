//! Functions of text. Lengths and places count characters (code points), from 1.

use std::sync::Arc;

use aquifer_model::{Error, Result, SqlType};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, StringViewArray, StringViewBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;

use super::patterns::Patterns;
use super::{Kernel, pure, want};

type Types<'a> = &'a [SqlType];
type Literals<'a> = &'a [Option<&'a ScalarValue>];
type Typed = Option<(Vec<SqlType>, SqlType)>;

macro_rules! typing {
    ($name:ident, $result:expr, $($form:literal),+) => {
        fn $name(types: Types<'_>, _: Literals<'_>) -> Typed {
            want::any_of(types, &[$($form),+], $result)
        }
    };
}

typing!(s_s, SqlType::STRING, "s");
typing!(s_i, SqlType::Int, "s");
typing!(ss_i, SqlType::Int, "ss", "ssi");
typing!(trim, SqlType::STRING, "s", "ss");
typing!(part, SqlType::STRING, "si", "sii");
typing!(si_s, SqlType::STRING, "si");
typing!(sss_s, SqlType::STRING, "sss");
typing!(pad, SqlType::STRING, "sis");
typing!(overlay_t, SqlType::STRING, "ssi", "ssii");
typing!(extract_t, SqlType::STRING, "ss", "ssi");
typing!(ss_b, SqlType::Boolean, "ss");
typing!(split_t, SqlType::STRING, "ssi");
typing!(i_s, SqlType::STRING, "i");
typing!(bin_t, SqlType::STRING, "i");
typing!(url_t, SqlType::STRING, "ss", "sss");

fn texts_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    (!types.is_empty() && types.iter().all(want::is_text))
        .then(|| (vec![SqlType::STRING; types.len()], SqlType::STRING))
}

fn hex_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["i", "s"], SqlType::STRING)
}

fn hash_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["s"], SqlType::STRING)
}

fn unhex_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["s"], SqlType::BYTES)
}

fn encode_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["ss"], SqlType::BYTES)
}

fn decode_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [SqlType::Binary(_) | SqlType::Varbinary(_), set] if want::is_text(set) => {
            Some((vec![SqlType::BYTES, SqlType::STRING], SqlType::STRING))
        }
        _ => None,
    }
}

pub(super) const KERNELS: &[Kernel] = &[
    pure("CHAR_LENGTH", "CHAR_LENGTH(text)", s_i, |a, _| lengths(a)),
    pure("CHARACTER_LENGTH", "CHARACTER_LENGTH(text)", s_i, |a, _| lengths(a)),
    pure("UPPER", "UPPER(text)", s_s, |a, _| each(&a[0], |s, out| out.push_str(&s.to_uppercase()))),
    pure("INITCAP", "INITCAP(text)", s_s, |a, _| each(&a[0], initial_capitals)),
    pure("LOWER", "LOWER(text)", s_s, |a, _| each(&a[0], |s, out| out.push_str(&s.to_lowercase()))),
    pure("BTRIM", "TRIM([characters FROM] text)", trim, |a, _| trimmed(a, true, true)),
    pure("LTRIM", "LTRIM(text[, characters])", trim, |a, _| trimmed(a, true, false)),
    pure("RTRIM", "RTRIM(text[, characters])", trim, |a, _| trimmed(a, false, true)),
    pure("SUBSTRING", "SUBSTRING(text, start[, length])", part, |a, _| substring(a)),
    pure("SUBSTR", "SUBSTR(text, start[, length])", part, |a, _| substring(a)),
    pure("LEFT", "LEFT(text, length)", si_s, |a, _| {
        with_number(a, |s, n, out| {
            out.extend(s.chars().take(usize::try_from(n).unwrap_or(0)));
            true
        })
    }),
    pure("RIGHT", "RIGHT(text, length)", si_s, |a, _| {
        with_number(a, |s, n, out| {
            let skip = s.chars().count().saturating_sub(usize::try_from(n).unwrap_or(0));
            out.extend(s.chars().skip(skip));
            true
        })
    }),
    pure("CONCAT", "CONCAT(text, …)", texts_t, |a, call| concat(a, call.rows)),
    pure("CONCAT_WS", "CONCAT_WS(separator, text, …)", texts_t, |a, call| concat_ws(a, call.rows)),
    pure("REPLACE", "REPLACE(text, search, replacement)", sss_s, |a, _| {
        three(a, |s, from, to, out| {
            out.push_str(&s.replace(from, to));
            true
        })
    }),
    pure("LPAD", "LPAD(text, length, padding)", pad, |a, _| padded(a, true)),
    pure("RPAD", "RPAD(text, length, padding)", pad, |a, _| padded(a, false)),
    pure("POSITION", "POSITION(search IN text)", ss_i, |a, _| places(&a[0], &a[1], a.get(2))),
    pure("LOCATE", "LOCATE(search, text[, start])", ss_i, |a, _| places(&a[0], &a[1], a.get(2))),
    pure("INSTR", "INSTR(text, search)", ss_i, |a, _| places(&a[1], &a[0], a.get(2))),
    pure("OVERLAY", "OVERLAY(text PLACING new FROM start [FOR length])", overlay_t, |a, _| overlay(a)),
    pure("SPLIT_INDEX", "SPLIT_INDEX(text, separator, index)", split_t, |a, _| split_index(a)),
    pure("ASCII", "ASCII(text)", s_i, |a, _| {
        let first = |s: &str| s.bytes().next().map_or(0, |byte| i32::from(byte as i8));
        let codes: Int32Array = a[0].as_string_view().iter().map(|s| s.map(first)).collect();
        Ok(Arc::new(codes))
    }),
    pure("CHR", "CHR(code)", i_s, |a, _| {
        let one = |n: i64| if n < 0 { Some(String::new()) } else { char::from_u32((n & 255) as u32).map(String::from) };
        let texts: StringViewArray = integers(&a[0])?.iter().map(|n| n.and_then(one)).collect();
        Ok(Arc::new(texts))
    }),
    pure("REGEXP", "REGEXP(text, pattern)", ss_b, |a, _| matches(a)),
    pure("REGEXP_EXTRACT", "REGEXP_EXTRACT(text, pattern[, group])", extract_t, |a, _| regexp_extract(a)),
    pure("REGEXP_REPLACE", "REGEXP_REPLACE(text, pattern, replacement)", sss_s, |a, _| regexp_replace(a)),
    pure("TO_BASE64", "TO_BASE64(text)", s_s, |a, _| {
        each(&a[0], |s, out| {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode_string(s, out);
        })
    }),
    pure("FROM_BASE64", "FROM_BASE64(text)", s_s, |a, _| {
        maybe(&a[0], |s| {
            use base64::Engine;
            let bytes = base64::engine::general_purpose::STANDARD.decode(s).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        })
    }),
    pure("HEX", "HEX(number or text)", hex_t, |a, _| hex(&a[0])),
    pure("UNHEX", "UNHEX(text)", unhex_t, |a, _| {
        let bytes: arrow::array::BinaryViewArray = a[0].as_string_view().iter().map(|s| s.and_then(unhex)).collect();
        Ok(Arc::new(bytes))
    }),
    pure("BIN", "BIN(integer)", bin_t, |a, _| {
        let texts: StringViewArray = integers(&a[0])?.iter().map(|n| n.map(|n| format!("{n:b}"))).collect();
        Ok(Arc::new(texts))
    }),
    pure("ENCODE", "ENCODE(text, character set)", encode_t, |a, _| encode(a)),
    pure("DECODE", "DECODE(bytes, character set)", decode_t, |a, _| decode(a)),
    pure("SHA224", "SHA224(text)", hash_t, |a, _| digest::<sha2::Sha224>(&a[0])),
    pure("SHA256", "SHA256(text)", hash_t, |a, _| digest::<sha2::Sha256>(&a[0])),
    pure("SHA384", "SHA384(text)", hash_t, |a, _| digest::<sha2::Sha384>(&a[0])),
    pure("SHA512", "SHA512(text)", hash_t, |a, _| digest::<sha2::Sha512>(&a[0])),
    pure("URL_ENCODE", "URL_ENCODE(text)", s_s, |a, _| each(&a[0], url_encode)),
    pure("URL_DECODE", "URL_DECODE(text)", s_s, |a, _| maybe(&a[0], url_decode)),
    pure("PARSE_URL", "PARSE_URL(url, part[, key])", url_t, |a, _| parse_url(a)),
];

/// Words of ASCII letters and digits begin with a capital; any other character ends a word and stays as it is.
fn initial_capitals(text: &str, out: &mut String) {
    let mut inside = false;
    for c in text.chars() {
        out.push(if inside { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() });
        inside = c.is_ascii_alphanumeric();
    }
}

fn integers(column: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// A text for each text.
fn each(column: &ArrayRef, write: impl Fn(&str, &mut String)) -> Result<ArrayRef> {
    let mut texts = StringViewBuilder::with_capacity(column.len());
    let mut text = String::new();
    for value in column.as_string_view() {
        match value {
            None => texts.append_null(),
            Some(value) => {
                text.clear();
                write(value, &mut text);
                texts.append_value(&text);
            }
        }
    }
    Ok(Arc::new(texts.finish()))
}

fn maybe(column: &ArrayRef, read: impl Fn(&str) -> Option<String>) -> Result<ArrayRef> {
    let texts: StringViewArray = column.as_string_view().iter().map(|value| value.and_then(&read)).collect();
    Ok(Arc::new(texts))
}

/// A text for each text and number; `false` from `write`: NULL.
fn with_number(columns: &[ArrayRef], write: impl Fn(&str, i64, &mut String) -> bool) -> Result<ArrayRef> {
    let numbers = integers(&columns[1])?;
    let mut texts = StringViewBuilder::with_capacity(numbers.len());
    let mut text = String::new();
    for (value, number) in columns[0].as_string_view().iter().zip(numbers.iter()) {
        text.clear();
        match value.zip(number) {
            Some((value, number)) if write(value, number, &mut text) => texts.append_value(&text),
            _ => texts.append_null(),
        }
    }
    Ok(Arc::new(texts.finish()))
}

fn three(columns: &[ArrayRef], write: impl Fn(&str, &str, &str, &mut String) -> bool) -> Result<ArrayRef> {
    let [a, b, c] = [0, 1, 2].map(|n| columns[n].as_string_view());
    let mut texts = StringViewBuilder::with_capacity(a.len());
    let mut text = String::new();
    for row in 0..a.len() {
        text.clear();
        let whole = a.is_valid(row) && b.is_valid(row) && c.is_valid(row);
        if whole && write(a.value(row), b.value(row), c.value(row), &mut text) {
            texts.append_value(&text);
        } else {
            texts.append_null();
        }
    }
    Ok(Arc::new(texts.finish()))
}

fn lengths(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let count = |s: &str| s.chars().count() as i32;
    let lengths: Int32Array = columns[0].as_string_view().iter().map(|s| s.map(count)).collect();
    Ok(Arc::new(lengths))
}

fn trimmed(columns: &[ArrayRef], left: bool, right: bool) -> Result<ArrayRef> {
    let sets = columns.get(1).map(|column| column.as_string_view());
    let mut texts = StringViewBuilder::with_capacity(columns[0].len());
    for (row, value) in columns[0].as_string_view().iter().enumerate() {
        let set = match sets {
            None => Some(" "),
            Some(sets) => sets.is_valid(row).then(|| sets.value(row)),
        };
        match value.zip(set) {
            None => texts.append_null(),
            Some((mut value, set)) => {
                if left {
                    value = value.trim_start_matches(|c| set.contains(c));
                }
                if right {
                    value = value.trim_end_matches(|c| set.contains(c));
                }
                texts.append_value(value);
            }
        }
    }
    Ok(Arc::new(texts.finish()))
}

/// From 0 as from 1; a negative start counts from the end; a negative length gives NULL.
fn substring(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let starts = integers(&columns[1])?;
    let lengths = columns.get(2).map(integers).transpose()?;
    let mut texts = StringViewBuilder::with_capacity(starts.len());
    let mut text = String::new();
    for (row, value) in columns[0].as_string_view().iter().enumerate() {
        let length = match &lengths {
            None => Some(i64::MAX),
            Some(lengths) => lengths.is_valid(row).then(|| lengths.value(row)).filter(|length| *length >= 0),
        };
        let (Some(value), true, Some(length)) = (value, starts.is_valid(row), length) else {
            texts.append_null();
            continue;
        };
        let start = starts.value(row);
        let skip = match start {
            0 => 0,
            1.. => usize::try_from(start - 1).unwrap_or(usize::MAX),
            _ => {
                let count = value.chars().count() as i64;
                if -start > count {
                    texts.append_value("");
                    continue;
                }
                (count + start) as usize
            }
        };
        text.clear();
        text.extend(value.chars().skip(skip).take(usize::try_from(length).unwrap_or(usize::MAX)));
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

fn concat(columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns: Vec<_> = columns.iter().map(|column| column.as_string_view()).collect();
    let mut texts = StringViewBuilder::with_capacity(rows);
    let mut text = String::new();
    for row in 0..rows {
        if columns.iter().any(|column| column.is_null(row)) {
            texts.append_null();
            continue;
        }
        text.clear();
        columns.iter().for_each(|column| text.push_str(column.value(row)));
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

fn concat_ws(columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns: Vec<_> = columns.iter().map(|column| column.as_string_view()).collect();
    let mut texts = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        if columns[0].is_null(row) {
            texts.append_null();
            continue;
        }
        let parts: Vec<&str> =
            columns[1..].iter().filter(|column| column.is_valid(row)).map(|column| column.value(row)).collect();
        texts.append_value(parts.join(columns[0].value(row)));
    }
    Ok(Arc::new(texts.finish()))
}

/// The most characters that padding makes.
const PADDED: i64 = 16 << 20;

fn padded(columns: &[ArrayRef], left: bool) -> Result<ArrayRef> {
    let lengths = integers(&columns[1])?;
    let paddings = columns[2].as_string_view();
    let mut texts = StringViewBuilder::with_capacity(lengths.len());
    for (row, value) in columns[0].as_string_view().iter().enumerate() {
        let (Some(value), true, true) = (value, lengths.is_valid(row), paddings.is_valid(row)) else {
            texts.append_null();
            continue;
        };
        let (length, padding) = (lengths.value(row), paddings.value(row));
        let count = value.chars().count() as i64;
        if length < 0 || (padding.is_empty() && length > count) {
            texts.append_null();
            continue;
        }
        if length > PADDED {
            return Err(Error::invalid(format!("a text padded to {length} characters is longer than {PADDED}")));
        }
        let filling: String = padding.chars().cycle().take((length - count).max(0) as usize).collect();
        let kept: String = value.chars().take(length as usize).collect();
        texts.append_value(if left { filling + &kept } else { kept + &filling });
    }
    Ok(Arc::new(texts.finish()))
}

/// Where a text first stands in another, in characters from 1; 0: nowhere.
fn places(needles: &ArrayRef, texts: &ArrayRef, starts: Option<&ArrayRef>) -> Result<ArrayRef> {
    let starts = starts.map(integers).transpose()?;
    let pairs = needles.as_string_view().iter().zip(texts.as_string_view().iter());
    let places: Int32Array = pairs
        .enumerate()
        .map(|(row, (needle, text))| {
            let (needle, text) = needle.zip(text)?;
            let skip = match &starts {
                None => 0,
                Some(starts) if starts.is_null(row) => return None,
                Some(starts) => usize::try_from(starts.value(row).max(1) - 1).ok()?,
            };
            let from = text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at);
            Some(text[from..].find(needle).map_or(0, |at| (text[..from + at].chars().count() + 1) as i32))
        })
        .collect();
    Ok(Arc::new(places))
}

fn overlay(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let starts = integers(&columns[2])?;
    let lengths = columns.get(3).map(integers).transpose()?;
    let news = columns[1].as_string_view();
    let mut texts = StringViewBuilder::with_capacity(starts.len());
    for (row, value) in columns[0].as_string_view().iter().enumerate() {
        let known = news.is_valid(row) && starts.is_valid(row) && lengths.as_ref().is_none_or(|all| all.is_valid(row));
        let (Some(value), true) = (value, known) else {
            texts.append_null();
            continue;
        };
        let (new, start) = (news.value(row), starts.value(row));
        let length = lengths.as_ref().map_or_else(|| new.chars().count() as i64, |all| all.value(row));
        if start < 1 || start > value.chars().count() as i64 {
            texts.append_value(value);
            continue;
        }
        let head = value.chars().take(start as usize - 1);
        let tail = value.chars().skip((start - 1).saturating_add(length.max(0)) as usize);
        texts.append_value(head.chain(new.chars()).chain(tail).collect::<String>());
    }
    Ok(Arc::new(texts.finish()))
}

fn split_index(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let separators = columns[1].as_string_view();
    let places = integers(&columns[2])?;
    let parts: StringViewArray = columns[0]
        .as_string_view()
        .iter()
        .enumerate()
        .map(|(row, value)| {
            if separators.is_null(row) || places.is_null(row) {
                return None;
            }
            let place = usize::try_from(places.value(row)).ok()?;
            let separator = separators.value(row);
            if separator.is_empty() { None } else { value?.split(separator).nth(place) }
        })
        .collect();
    Ok(Arc::new(parts))
}

fn matches(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let pairs = columns[0].as_string_view().iter().zip(columns[1].as_string_view().iter());
    let found: BooleanArray = pairs
        .map(|(text, pattern)| {
            let (text, pattern) = text.zip(pattern)?;
            Some(patterns.of(pattern).is_some_and(|regex| regex.is_match(text)))
        })
        .collect();
    Ok(Arc::new(found))
}

fn regexp_extract(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let groups = columns.get(2).map(integers).transpose()?;
    let mut patterns = Patterns::default();
    let pairs = columns[0].as_string_view().iter().zip(columns[1].as_string_view().iter());
    let found: StringViewArray = pairs
        .enumerate()
        .map(|(row, (text, pattern))| {
            let (text, pattern) = text.zip(pattern)?;
            let group = match &groups {
                None => 0,
                Some(groups) if groups.is_null(row) => return None,
                Some(groups) => usize::try_from(groups.value(row)).ok()?,
            };
            Some(patterns.of(pattern)?.captures(text)?.get(group)?.as_str().to_string())
        })
        .collect();
    Ok(Arc::new(found))
}

fn regexp_replace(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let mut last = Patterns::default();
    let [a, b, c] = [0, 1, 2].map(|n| columns[n].as_string_view());
    let found: StringViewArray = (0..a.len())
        .map(|row| {
            if a.is_null(row) || b.is_null(row) || c.is_null(row) {
                return None;
            }
            let regex = last.of(b.value(row))?;
            Some(regex.replace_all(a.value(row), regex::NoExpand(c.value(row))).into_owned())
        })
        .collect();
    Ok(Arc::new(found))
}

fn push_hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
}

fn digest<D: sha2::Digest>(column: &ArrayRef) -> Result<ArrayRef> {
    each(column, |s, out| push_hex(&D::digest(s.as_bytes()), out))
}

fn hex(column: &ArrayRef) -> Result<ArrayRef> {
    if column.data_type() == &DataType::Utf8View {
        return each(column, |s, out| {
            push_hex(s.as_bytes(), out);
            out.make_ascii_uppercase();
        });
    }
    let texts: StringViewArray = integers(column)?.iter().map(|n| n.map(|n| format!("{n:X}"))).collect();
    Ok(Arc::new(texts))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let (odd, pairs) = digits.split_at(digits.len() % 2);
    let first = odd.first().map(|digit| *digit as u8);
    Some(first.into_iter().chain(pairs.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8)).collect())
}

/// The character sets that Java always has.
fn encoded(text: &str, set: &str) -> Option<Vec<u8>> {
    let units = || text.encode_utf16();
    Some(match set.to_ascii_uppercase().as_str() {
        "UTF-8" => text.as_bytes().to_vec(),
        "US-ASCII" => text.chars().map(|c| if c.is_ascii() { c as u8 } else { b'?' }).collect(),
        "ISO-8859-1" => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
        "UTF-16" => [0xfe, 0xff].into_iter().chain(units().flat_map(u16::to_be_bytes)).collect(),
        "UTF-16BE" => units().flat_map(u16::to_be_bytes).collect(),
        "UTF-16LE" => units().flat_map(u16::to_le_bytes).collect(),
        _ => return None,
    })
}

fn decoded(bytes: &[u8], set: &str) -> Option<String> {
    let units = |bytes: &[u8], read: fn([u8; 2]) -> u16| -> String {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    Some(match set.to_ascii_uppercase().as_str() {
        "UTF-8" => String::from_utf8_lossy(bytes).into_owned(),
        "US-ASCII" => bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{fffd}' }).collect(),
        "ISO-8859-1" => bytes.iter().map(|b| char::from(*b)).collect(),
        "UTF-16" => match bytes {
            [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
            _ => units(bytes, u16::from_be_bytes),
        },
        "UTF-16BE" => units(bytes, u16::from_be_bytes),
        "UTF-16LE" => units(bytes, u16::from_le_bytes),
        _ => return None,
    })
}

fn unknown_set(set: &str) -> Error {
    Error::invalid(format!(
        "unknown character set `{set}`: there are US-ASCII, ISO-8859-1, UTF-8, UTF-16, UTF-16BE and UTF-16LE"
    ))
}

fn encode(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let pairs = columns[0].as_string_view().iter().zip(columns[1].as_string_view().iter());
    let bytes = pairs.map(|(text, set)| match text.zip(set) {
        None => Ok(None),
        Some((text, set)) => encoded(text, set).map(Some).ok_or_else(|| unknown_set(set)),
    });
    let bytes = bytes.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(bytes.into_iter().collect::<arrow::array::BinaryViewArray>()))
}

fn decode(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let bytes = cast(&columns[0], &DataType::BinaryView)?;
    let pairs = bytes.as_binary_view().iter().zip(columns[1].as_string_view().iter());
    let texts = pairs.map(|(bytes, set)| match bytes.zip(set) {
        None => Ok(None),
        Some((bytes, set)) => decoded(bytes, set).map(Some).ok_or_else(|| unknown_set(set)),
    });
    let texts = texts.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(texts.into_iter().collect::<StringViewArray>()))
}

fn url_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                let mut digits = String::new();
                push_hex(&[byte], &mut digits);
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
    }
}

fn url_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A part of `scheme://user@host:port/path?query#ref`.
fn url_part<'a>(url: &'a str, part: &str) -> Option<&'a str> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) {
        return None;
    }
    let (rest, reference) = rest.split_once('#').map_or((rest, None), |(rest, found)| (rest, Some(found)));
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, found)| (rest, Some(found)));
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    match part {
        "PROTOCOL" => Some(scheme),
        "HOST" => Some(host.rsplit_once(':').map_or(host, |(host, _)| host)),
        "PATH" => Some(path),
        "QUERY" => query,
        "REF" => reference,
        "AUTHORITY" => Some(authority),
        "USERINFO" => user,
        "FILE" => {
            let end = url.find('#').unwrap_or(url.len());
            let start = scheme.len() + 3 + at;
            url.get(start..end)
        }
        _ => None,
    }
}

fn parse_url(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let [urls, parts] = [0, 1].map(|n| columns[n].as_string_view());
    let keys = columns.get(2).map(|column| column.as_string_view());
    let found: StringViewArray = (0..urls.len())
        .map(|row| {
            if urls.is_null(row) || parts.is_null(row) {
                return None;
            }
            let found = url_part(urls.value(row), parts.value(row))?;
            match keys {
                None => Some(found),
                Some(keys) if keys.is_null(row) || parts.value(row) != "QUERY" => None,
                Some(keys) => {
                    let of_key = |pair: &'_ &str| pair.split_once('=').is_some_and(|(key, _)| key == keys.value(row));
                    found.split('&').find(of_key).and_then(|pair| pair.split_once('=')).map(|(_, value)| value)
                }
            }
        })
        .collect();
    Ok(Arc::new(found))
}
