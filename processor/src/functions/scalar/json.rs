//! SQL/JSON functions. Their clauses are plain arguments here; `crate::sql::json_calls` reads them:
//!
//! ```text
//!  JSON_VALUE(j, path RETURNING INT DEFAULT 0 ON ERROR)  ─► JSON_VALUE(j, path, 'INT', '', NULL, 'DEFAULT', 0)
//!  JSON_QUERY(j, path WITH WRAPPER EMPTY ARRAY ON EMPTY) ─► JSON_QUERY(j, path, 'ALWAYS', 'EMPTY ARRAY', '')
//!  JSON_EXISTS(j, path TRUE ON ERROR)                    ─► JSON_EXISTS(j, path, 'TRUE')
//!  JSON_OBJECT(KEY k VALUE v ABSENT ON NULL)             ─► JSON_OBJECT('ABSENT', 'v', k, v)
//!  x IS JSON OBJECT                                      ─► $IS_JSON(x, 'OBJECT')
//! ```
//!
//! A clause that was not written is the empty text, which means the standard's default.

mod path;
mod value;

use std::sync::Arc;

use aquifer_formats::text::json_column;
use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, StringViewArray, StringViewBuilder, new_null_array,
};
use arrow::compute::interleave;
use datafusion::common::ScalarValue;

use self::path::Path;
use self::value::Json;
pub(in crate::functions) use self::value::write_text;
use super::super::casts::cast_column;
use super::super::types::is_number;
use super::{Call, Kernel, pure, want};

type Types<'a> = &'a [SqlType];
type Literals<'a> = &'a [Option<&'a ScalarValue>];
type Typed = Option<(Vec<SqlType>, SqlType)>;

fn value_t(types: Types<'_>, literals: Literals<'_>) -> Typed {
    let result = match literals.get(2).copied().flatten() {
        Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) if !text.is_empty() => {
            SqlType::parse(text).ok()?.sql_type
        }
        _ => SqlType::STRING,
    };
    let is_result = is_number(&result) || matches!(result, SqlType::Boolean | SqlType::Char(_) | SqlType::Varchar(_));
    let texts = types.iter().take(4).all(want::is_text) && types.get(5).is_none_or(want::is_text);
    if !texts || !is_result || !matches!(types.len(), 2 | 7) {
        return None;
    }
    let wanted = types.iter().enumerate().map(|(n, one)| match n {
        // The defaults keep their types here and are cast to the result's.
        4 | 6 => one.clone(),
        _ => SqlType::STRING,
    });
    Some((wanted.collect(), result))
}

fn query_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["ss", "sssss"], SqlType::STRING)
}

fn exists_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["ss", "sss"], SqlType::Boolean)
}

fn is_json_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["ss"], SqlType::Boolean)
}

fn text_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["s"], SqlType::STRING)
}

fn length_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["s", "ss"], SqlType::Int)
}

fn any_t(types: Types<'_>, _: Literals<'_>) -> Typed {
    (types.len() == 1).then(|| (types.to_vec(), SqlType::STRING))
}

fn built_t(types: Types<'_>, literals: Literals<'_>, is_object: bool) -> Typed {
    let [null, flags, rest @ ..] = types else { return None };
    if !want::is_text(null) || !want::is_text(flags) || (is_object && rest.len() % 2 == 1) {
        return None;
    }
    let _ = literals;
    let mut wanted = vec![SqlType::STRING; 2];
    for (n, one) in rest.iter().enumerate() {
        let is_key = is_object && n % 2 == 0;
        if is_key && !want::is_text(one) {
            return None;
        }
        wanted.push(if is_key { SqlType::STRING } else { one.clone() });
    }
    Some((wanted, SqlType::STRING))
}

fn object_t(types: Types<'_>, literals: Literals<'_>) -> Typed {
    built_t(types, literals, true)
}

fn array_t(types: Types<'_>, literals: Literals<'_>) -> Typed {
    built_t(types, literals, false)
}

pub(super) const KERNELS: &[Kernel] = &[
    pure(
        "JSON_VALUE",
        "JSON_VALUE(text, path [RETURNING type] [NULL | ERROR | DEFAULT value ON EMPTY] [… ON ERROR]); the type is BOOLEAN, a number's or STRING",
        value_t,
        json_value,
    ),
    pure(
        "JSON_QUERY",
        "JSON_QUERY(text, path [WITH [CONDITIONAL] WRAPPER] [NULL | EMPTY ARRAY | EMPTY OBJECT | ERROR ON EMPTY] [… ON ERROR])",
        query_t,
        |a, _| json_query(a),
    ),
    pure("JSON_EXISTS", "JSON_EXISTS(text, path [TRUE | FALSE | UNKNOWN | ERROR ON ERROR])", exists_t, |a, _| {
        json_exists(a)
    }),
    pure("$IS_JSON", "text IS [NOT] JSON [VALUE | SCALAR | ARRAY | OBJECT]", is_json_t, |a, _| is_json(a)),
    pure("JSON_STRING", "JSON_STRING(value)", any_t, |a, call| Ok(Arc::new(json_column(&a[0], &call.fields[0])?))),
    pure("JSON_OBJECT", "JSON_OBJECT([[KEY] text VALUE value, …] [NULL | ABSENT ON NULL])", object_t, |a, call| {
        built(a, call, true)
    }),
    pure("JSON_ARRAY", "JSON_ARRAY([value, …] [NULL | ABSENT ON NULL])", array_t, |a, call| built(a, call, false)),
    pure("JSON_QUOTE", "JSON_QUOTE(text)", text_t, |a, _| {
        texts(&a[0], |text| {
            let mut quoted = String::with_capacity(text.len() + 2);
            write_text(text, &mut quoted);
            Some(if quoted.is_ascii() { quoted } else { ascii_only(&quoted) })
        })
    }),
    pure("JSON_UNQUOTE", "JSON_UNQUOTE(text)", text_t, |a, _| {
        texts(&a[0], |text| match Json::parse(text) {
            Some(Json::Text(inner)) => Some(inner),
            _ => Some(text.to_string()),
        })
    }),
    pure("JSON_LENGTH", "JSON_LENGTH(text[, path])", length_t, |a, _| json_length(a)),
];

/// What is no ASCII as the escapes of its UTF-16 units.
fn ascii_only(quoted: &str) -> String {
    let mut escaped = String::with_capacity(quoted.len() * 3);
    for c in quoted.chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

fn texts(column: &ArrayRef, of: impl Fn(&str) -> Option<String>) -> Result<ArrayRef> {
    let texts: StringViewArray = column.as_string_view().iter().map(|text| text.and_then(&of)).collect();
    Ok(Arc::new(texts))
}

/// Paths, prepared once for equal neighbours.
#[derive(Default)]
struct Paths {
    last: Option<(String, Path)>,
}

impl Paths {
    fn of(&mut self, text: &str) -> Result<&Path> {
        if self.last.as_ref().is_none_or(|(known, _)| known != text) {
            let path = Path::parse(text).map_err(|why| {
                Error::invalid(format!("the JSON path '{text}' cannot be read: {why}; write for example '$.a[0]'"))
            })?;
            self.last = Some((text.to_string(), path));
        }
        match &self.last {
            Some((_, path)) => Ok(path),
            None => Err(Error::internal("a path was just prepared")),
        }
    }
}

/// What a path finds in a text.
enum Found {
    Value(Json),
    Empty,
    Failed(&'static str),
}

fn find(text: &str, path: &Path) -> Found {
    let Some(document) = Json::parse(text) else { return Found::Failed("the text is no JSON") };
    match path.find(&document) {
        Some(found) => Found::Value(found.into_owned()),
        None if path.lax => Found::Empty,
        None => Found::Failed("there is nothing at the path"),
    }
}

/// A clause's text: the same in all rows.
fn clause(columns: &[ArrayRef], n: usize) -> String {
    columns.get(n).and_then(|column| column.as_string_view().iter().flatten().next()).unwrap_or("").to_string()
}

/// Runs `of` over the rows where text and path are no NULL.
fn each<T>(columns: &[ArrayRef], mut of: impl FnMut(&str, &Path) -> Result<Option<T>>) -> Result<Vec<Option<T>>> {
    let mut paths = Paths::default();
    let pairs = columns[0].as_string_view().iter().zip(columns[1].as_string_view().iter());
    pairs
        .map(|pair| match pair {
            (Some(text), Some(path)) => of(text, paths.of(path)?),
            _ => Ok(None),
        })
        .collect()
}

fn failed(function: &str, why: &str) -> Error {
    Error::invalid(format!("{function}: {why}, and the clause ERROR asks for this failure"))
}

/// Where a row's value comes from.
enum Source {
    Text(String),
    DefaultEmpty,
    DefaultError,
}

fn json_value(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let result = ColumnType::of_field(call.result)?.sql_type;
    let (on_empty, on_error) = (clause(columns, 3), clause(columns, 5));
    let fits = |value: &Json| match (&result, value) {
        (SqlType::Char(_) | SqlType::Varchar(_), _) => true,
        (SqlType::Boolean, Json::Bool(_)) => true,
        (SqlType::Float | SqlType::Double | SqlType::Decimal(..), Json::Number(_)) => true,
        (number, Json::Number(text)) if is_number(number) => !text.contains(['.', 'e', 'E']),
        _ => false,
    };
    let sources = each(columns, |text, path| {
        let found = match find(text, path) {
            Found::Value(value) if value == Json::Null || (path.lax && !value.is_scalar()) => Found::Empty,
            Found::Value(value) if !value.is_scalar() => Found::Failed("the value is an array or an object"),
            other => other,
        };
        let why = match found {
            Found::Empty => {
                return match on_empty.as_str() {
                    "ERROR" => Err(failed("JSON_VALUE", "there is no value")),
                    "DEFAULT" => Ok(Some(Source::DefaultEmpty)),
                    _ => Ok(None),
                };
            }
            Found::Value(value) if fits(&value) => return Ok(value.scalar_text().map(Source::Text)),
            // Without a clause a value of another type fails, as in Flink: NULL would hide it.
            Found::Value(value) if on_error.is_empty() => {
                let shown: String = value.scalar_text().unwrap_or_default().chars().take(40).collect();
                return Err(Error::invalid(format!(
                    "JSON_VALUE: `{shown}` is no {result}: write NULL ON ERROR behind the path, or RETURNING STRING"
                )));
            }
            Found::Value(_) => "the value has another type",
            Found::Failed(why) => why,
        };
        match on_error.as_str() {
            "ERROR" => Err(failed("JSON_VALUE", why)),
            "DEFAULT" => Ok(Some(Source::DefaultError)),
            _ => Ok(None),
        }
    })?;
    let texts: StringViewArray = sources
        .iter()
        .map(|source| match source {
            Some(Source::Text(text)) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let texts: ArrayRef = Arc::new(texts);
    let values = cast_column(&texts, &SqlType::STRING, &result, call.zone, false)?;
    let default = |n: usize| -> Result<ArrayRef> {
        match columns.get(n) {
            None => Ok(new_null_array(values.data_type(), values.len())),
            Some(column) => {
                let from = ColumnType::of_field(&call.fields[n])?.sql_type;
                cast_column(column, &from, &result, call.zone, false)
            }
        }
    };
    let (empty, error) = (default(4)?, default(6)?);
    let order: Vec<(usize, usize)> = sources
        .iter()
        .enumerate()
        .map(|(row, source)| match source {
            Some(Source::DefaultEmpty) => (1, row),
            Some(Source::DefaultError) => (2, row),
            _ => (0, row),
        })
        .collect();
    Ok(interleave(&[values.as_ref(), empty.as_ref(), error.as_ref()], &order)?)
}

fn json_query(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let [wrapper, on_empty, on_error] = [2, 3, 4].map(|n| clause(columns, n));
    let behave = |clause: &str, why: &str| match clause {
        "ERROR" => Err(failed("JSON_QUERY", why)),
        "EMPTY ARRAY" => Ok(Some("[]".to_string())),
        "EMPTY OBJECT" => Ok(Some("{}".to_string())),
        _ => Ok(None),
    };
    let found = each(columns, |text, path| {
        let found = match find(text, path) {
            Found::Value(Json::Null) => Found::Empty,
            Found::Value(value) if wrapper == "ALWAYS" => Found::Value(Json::Array(vec![value])),
            Found::Value(value) if wrapper == "CONDITIONAL" && !matches!(value, Json::Array(_)) => {
                Found::Value(Json::Array(vec![value]))
            }
            other => other,
        };
        match found {
            Found::Value(value) if value.is_scalar() && path.lax => behave(&on_empty, "there is no array or object"),
            Found::Value(value) if value.is_scalar() => behave(&on_error, "the value is no array or object"),
            Found::Value(value) => {
                let mut text = String::new();
                value.write(&mut text);
                Ok(Some(text))
            }
            Found::Empty => behave(&on_empty, "there is no value"),
            Found::Failed(why) => behave(&on_error, why),
        }
    })?;
    Ok(Arc::new(found.into_iter().collect::<StringViewArray>()))
}

fn json_exists(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let on_error = clause(columns, 2);
    let found = each(columns, |text, path| match find(text, path) {
        Found::Value(value) => Ok(Some(value != Json::Null)),
        Found::Empty => Ok(Some(false)),
        Found::Failed(why) => match on_error.as_str() {
            "TRUE" => Ok(Some(true)),
            "UNKNOWN" => Ok(None),
            "ERROR" => Err(failed("JSON_EXISTS", why)),
            _ => Ok(Some(false)),
        },
    })?;
    Ok(Arc::new(BooleanArray::from(found)))
}

/// NULL is no JSON.
fn is_json(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let kind = clause(columns, 1);
    let is = |text: &str| match (kind.as_str(), Json::parse(text)) {
        (_, None) => false,
        ("OBJECT", Some(value)) => matches!(value, Json::Object(_)),
        ("ARRAY", Some(value)) => matches!(value, Json::Array(_)),
        ("SCALAR", Some(value)) => value.is_scalar(),
        _ => true,
    };
    let found: Vec<bool> = columns[0].as_string_view().iter().map(|text| text.is_some_and(is)).collect();
    Ok(Arc::new(BooleanArray::from(found)))
}

/// Elements of an array, fields of an object, 1 for a scalar; NULL where there is none.
fn json_length(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let count = |value: &Json| match value {
        Json::Array(items) => items.len() as i32,
        Json::Object(fields) => fields.len() as i32,
        _ => 1,
    };
    let lengths: Vec<Option<i32>> = if columns.len() == 1 {
        let one = |text: &str| Json::parse(text).map(|value| count(&value));
        columns[0].as_string_view().iter().map(|text| text.and_then(one)).collect()
    } else {
        each(columns, |text, path| match find(text, path) {
            Found::Value(value) => Ok(Some(count(&value))),
            _ => Ok(None),
        })?
    };
    Ok(Arc::new(Int32Array::from(lengths)))
}

/// JSON_OBJECT and JSON_ARRAY. The second argument has a letter a value: `j` if it is JSON already, else `v`.
fn built(columns: &[ArrayRef], call: &Call<'_>, is_object: bool) -> Result<ArrayRef> {
    let (null, flags) = (clause(columns, 0), clause(columns, 1));
    let keep_null = if is_object { null != "ABSENT" } else { null == "NULL" };
    let step = if is_object { 2 } else { 1 };
    let mut values = Vec::new();
    for (n, flag) in flags.chars().enumerate() {
        let at = 2 + n * step + (step - 1);
        let column = columns.get(at).ok_or_else(|| Error::internal("a letter for each value"))?;
        values.push(if flag == 'j' { column.as_string_view().clone() } else { json_column(column, &call.fields[at])? });
    }
    let keys: Vec<&StringViewArray> = match is_object {
        true => (0..values.len()).map(|n| columns[2 + n * 2].as_string_view()).collect(),
        false => Vec::new(),
    };
    let mut texts = StringViewBuilder::with_capacity(call.rows);
    let mut text = String::new();
    let mut fields: Vec<usize> = Vec::new();
    for row in 0..call.rows {
        text.clear();
        fields.clear();
        fields.extend((0..values.len()).filter(|n| keep_null || values[*n].is_valid(row)));
        if is_object {
            if keys.iter().any(|key| key.is_null(row)) {
                return Err(Error::invalid("JSON_OBJECT: a key is NULL"));
            }
            // In order, and of equal keys the last.
            fields.sort_by(|a, b| keys[*a].value(row).cmp(keys[*b].value(row)).then(b.cmp(a)));
            fields.dedup_by(|later, first| keys[*later].value(row) == keys[*first].value(row));
        }
        text.push(if is_object { '{' } else { '[' });
        for (n, field) in fields.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            if is_object {
                write_text(keys[*field].value(row), &mut text);
                text.push(':');
            }
            text.push_str(if values[*field].is_valid(row) { values[*field].value(row) } else { "null" });
        }
        text.push(if is_object { '}' } else { ']' });
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}
