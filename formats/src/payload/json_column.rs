//! JSON values into Arrow columns, by the rules of Flink's `json` format.
//!
//! * A text column takes any value: numbers as they stand, objects and arrays as compact JSON.
//! * A boolean is true for `true` and the text `"true"`, else false. Numbers may stand in texts, with blanks around.
//! * DECIMAL is rounded half up, and NULL where it is too wide; other numbers must fit. BYTES are base64.
//! * DATE, TIME and TIMESTAMP are SQL's text. In a message a whole number is one too, in the unit that the message's schema tells ([`Written`]), as Pulsar's
//!   Java client writes Avro's logical types.
//! * A field that is missing or `null` is NULL; of a field that is repeated the first counts.
//! * A union of several types is a ROW with a field for each: the value's own token tells which one it fills. An object whose first field has the name of one of
//!   the types is that ROW as it is written here.
//!
//! Whoever reads notes with the scanner ([`Scanner::lose`]) what a column does not keep: unknown and repeated fields, what is cut, rounded, or taken from another
//! type of JSON than the column's own.
//!
//! What a table may choose of this is in [`JsonRules`].
//!
//! Each column takes exactly one value a row. Where a row fails half way, [`Column::mend`] brings all columns back to one length.

use std::sync::Arc;

use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryViewBuilder, BooleanArray, BooleanBuilder, Decimal128Builder, Float32Builder,
    Float64Builder, Int64Builder, ListArray, MapArray, NullArray, StringViewBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use base64::Engine;

use super::json_text::{Reason, Scanner, Step, Token, compact};
use super::json_written::{Order, Unit, Written};
use crate::scalar_parse;

/// How timestamps are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampText {
    /// `2024-03-01 10:00:00.123`, an instant with `Z`.
    #[default]
    Sql,
    /// `2024-03-01T10:00:00.123`, an instant with `Z`; the seconds may be left out.
    Iso8601,
}

/// What a table chooses of how its JSON is read. The default is what Flink's `json` does without options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonRules {
    /// How timestamps are written.
    pub timestamps: TimestampText,
    /// A field that is wrong is NULL (where it may be), instead of making the row wrong.
    pub ignore_errors: bool,
    /// A field that is missing makes the row wrong, instead of being NULL.
    pub fail_on_missing: bool,
    /// A whole number is a date or time too, in the unit of the message's schema.
    pub numbers_are_times: bool,
}

/// A column being filled.
pub(crate) struct Column {
    field: FieldRef,
    sql_type: SqlType,
    rules: JsonRules,
    /// How the messages that come next write it.
    written: Written,
    store: Store,
}

/// How a scalar stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Number,
    Text,
    /// `true` or `false`.
    Word,
}

/// What became of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Whole,
    /// The column tells less than the text did.
    Lossy,
    /// Not taken: it is none of the type.
    Wrong,
}

impl Taken {
    fn of(is_whole: bool) -> Self {
        if is_whole { Self::Whole } else { Self::Lossy }
    }
}

/// The column that a scalar is for.
struct Target<'a> {
    field: &'a Field,
    sql_type: &'a SqlType,
    rules: JsonRules,
    unit: Unit,
}

enum Store {
    Null(usize),
    Booleans(BooleanBuilder),
    /// Integers, dates, times and timestamps, in the column's own ticks.
    Longs(Int64Builder),
    Floats(Float32Builder),
    Doubles(Float64Builder),
    Decimals(Decimal128Builder),
    Texts(StringViewBuilder),
    Binaries(BinaryViewBuilder),
    Array {
        ends: Vec<i32>,
        valid: Vec<bool>,
        items: Box<Column>,
    },
    Map {
        ends: Vec<i32>,
        valid: Vec<bool>,
        keys: Box<Column>,
        values: Box<Column>,
    },
    Row(Row),
}

/// The fields of an object.
pub(crate) struct Row {
    pub columns: Vec<Column>,
    valid: Vec<bool>,
    /// Rows that were given up, in order.
    wrong: Vec<usize>,
}

fn parse<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim_matches(|c: char| c <= ' ').parse().ok()
}

impl Column {
    pub fn new(field: &FieldRef, rules: JsonRules) -> Result<Self> {
        let sql_type = ColumnType::of_field(field)?.sql_type;
        let data_type = sql_type.to_arrow();
        if !data_type.equals_datatype(field.data_type()) {
            return Err(Error::unsupported(format!(
                "JSON cannot be read into `{}` of {}",
                field.name(),
                field.data_type()
            )));
        }
        let store = match field.data_type() {
            DataType::Null => Store::Null(0),
            DataType::Boolean => Store::Booleans(BooleanBuilder::new()),
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..) => Store::Longs(Int64Builder::new()),
            DataType::Float32 => Store::Floats(Float32Builder::new()),
            DataType::Float64 => Store::Doubles(Float64Builder::new()),
            DataType::Decimal128(..) => {
                Store::Decimals(Decimal128Builder::new().with_data_type(field.data_type().clone()))
            }
            DataType::Utf8View => Store::Texts(StringViewBuilder::new()),
            DataType::BinaryView => Store::Binaries(BinaryViewBuilder::new()),
            DataType::List(item) => {
                Store::Array { ends: Vec::new(), valid: Vec::new(), items: Box::new(Self::new(item, rules)?) }
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) if matches!(pair[0].data_type(), DataType::Utf8View) => Store::Map {
                    ends: Vec::new(),
                    valid: Vec::new(),
                    keys: Box::new(Self::new(&pair[0], rules)?),
                    values: Box::new(Self::new(&pair[1], rules)?),
                },
                _ => {
                    return Err(Error::unsupported(format!(
                        "JSON has only texts as keys, and `{}` has others",
                        field.name()
                    )));
                }
            },
            DataType::Struct(fields) => Store::Row(Row::new(fields, rules)?),
            other => return Err(Error::unsupported(format!("JSON cannot be read into `{}` of {other}", field.name()))),
        };
        let written = Written::plainly(field.data_type());
        Ok(Self { field: Arc::clone(field), sql_type, rules, written, store })
    }

    /// Takes how it and the columns in it are written.
    fn learn(&mut self, order: &mut Order<'_>) {
        if let Some(written) = order.next() {
            self.written = *written;
        }
        match &mut self.store {
            Store::Array { items, .. } => items.learn(order),
            Store::Map { values, .. } => values.learn(order),
            Store::Row(row) => row.learn(order),
            _ => {}
        }
    }

    /// Takes the next value. Where errors are ignored, a wrong value is NULL; text that is no JSON is still an error.
    pub fn read(&mut self, json: &mut Scanner<'_>, scratch: &mut String) -> Step<()> {
        if !self.rules.ignore_errors || !self.field.is_nullable() {
            return self.read_value(json, scratch);
        }
        let (length, start) = (self.len(), json.mark());
        if self.read_value(json, scratch).is_err() {
            json.lose();
            json.back_to(start);
            json.skip_value()?;
            self.mend(length + 1);
            match &mut self.store {
                Store::Array { valid, .. } | Store::Map { valid, .. } => valid[length] = false,
                Store::Row(row) => row.valid[length] = false,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the next value from a text without types, such as CSV's. `between` stands between the items of an array and the fields of a row.
    pub fn read_text(&mut self, text: &str, between: &str) -> Step<()> {
        let length = self.len();
        let result = self.read_plain(text, between);
        if result.is_err() && self.rules.ignore_errors && self.field.is_nullable() {
            self.mend(length + 1);
            match &mut self.store {
                Store::Array { valid, .. } => valid[length] = false,
                Store::Row(row) => row.valid[length] = false,
                _ => {}
            }
            return Ok(());
        }
        result
    }

    /// Takes NULL. Fails where NULL cannot be.
    pub fn read_null(&mut self) -> Step<()> {
        if !self.field.is_nullable() {
            return Err(format!("field `{}` is NOT NULL, and the record has none", self.field.name()).into());
        }
        self.fill();
        Ok(())
    }

    fn read_plain(&mut self, text: &str, between: &str) -> Step<()> {
        let (field, sql_type) = (&self.field, &self.sql_type);
        let wrong = || -> Reason {
            let shown: String = text.chars().take(60).collect();
            format!("field `{}`: `{shown}` is no {sql_type}", field.name()).into()
        };
        match &mut self.store {
            Store::Texts(texts) => texts.append_value(text),
            Store::Array { ends, valid, items } => {
                if !text.is_empty() {
                    text.split(between).try_for_each(|item| items.read_text(item, between))?;
                }
                ends.push(end_of(items)?);
                valid.push(true);
            }
            Store::Row(row) => {
                if text.split(between).count() != row.columns.len() {
                    return Err(wrong());
                }
                for (column, part) in row.columns.iter_mut().zip(text.split(between)) {
                    column.read_text(part, between)?;
                }
                row.valid.push(true);
            }
            Store::Null(_) | Store::Map { .. } => return Err(wrong()),
            scalars => {
                let to = Target { field, sql_type, rules: self.rules, unit: self.written.unit };
                if scalars.take(text.trim_matches(|c: char| c <= ' '), Given::Text, &to) == Taken::Wrong {
                    return Err(wrong());
                }
            }
        }
        Ok(())
    }

    fn read_value(&mut self, json: &mut Scanner<'_>, scratch: &mut String) -> Step<()> {
        let from = json.start();
        let token = json.value()?;
        if token == Token::Null {
            return if self.field.is_nullable() {
                self.fill();
                Ok(())
            } else {
                Err(format!("field `{}` is NOT NULL, and the payload has null", self.field.name()).into())
            };
        }
        self.read_token(token, from, json, scratch)
    }

    fn read_token<'a>(
        &mut self,
        token: Token<'a>,
        from: usize,
        json: &mut Scanner<'a>,
        scratch: &mut String,
    ) -> Step<()> {
        let (field, sql_type) = (&self.field, &self.sql_type);
        let wrong = |shown: &str| -> Reason {
            let shown: String = shown.chars().take(60).collect();
            format!("field `{}`: `{shown}` is no {sql_type}", field.name()).into()
        };
        match &mut self.store {
            Store::Null(length) => {
                json.skip(token, from)?;
                json.lose();
                *length += 1;
            }
            Store::Texts(texts) => match (token, sql_type) {
                (Token::Text(quoted), SqlType::Char(_) | SqlType::Varchar(_)) => {
                    let text = quoted.text(scratch);
                    if quoted.is_changed(text) {
                        json.lose();
                    }
                    texts.append_value(text);
                }
                (token, _) => {
                    let raw = json.skip(token, from)?;
                    if *sql_type != SqlType::Variant {
                        json.lose();
                    }
                    scratch.clear();
                    compact(raw, scratch);
                    texts.append_value(&*scratch);
                }
            },
            Store::Array { ends, valid, items } => {
                if token != Token::Array {
                    return Err(wrong(json.skip(token, from)?));
                }
                let mut first = true;
                while json.next_item(&mut first)? {
                    items.read(json, scratch)?;
                }
                ends.push(end_of(items)?);
                valid.push(true);
            }
            Store::Map { ends, valid, keys, values } => {
                if token != Token::Object {
                    return Err(wrong(json.skip(token, from)?));
                }
                let mut first = true;
                while let Some(key) = json.next_key(&mut first)? {
                    if let Store::Texts(keys) = &mut keys.store {
                        keys.append_value(key.text(scratch));
                    }
                    values.read(json, scratch)?;
                }
                ends.push(end_of(values)?);
                valid.push(true);
            }
            Store::Row(row) => {
                let branch = if self.written.is_union { row.branch_of(token, json, scratch)? } else { None };
                match branch {
                    Some(branch) => row.read_branch(branch, token, from, json, scratch)?,
                    None if token == Token::Object => row.read_object(json, scratch)?,
                    None => return Err(wrong(json.skip(token, from)?)),
                }
            }
            scalars => {
                // What is left is read from a number's, a text's or a word's own text.
                let (text, given) = match token {
                    Token::Number(number) => (number, Given::Number),
                    Token::Text(text) => (text.text(scratch), Given::Text),
                    Token::Boolean(true) => ("true", Given::Word),
                    Token::Boolean(false) => ("false", Given::Word),
                    _ => return Err(wrong(json.skip(token, from)?)),
                };
                let to = Target { field, sql_type, rules: self.rules, unit: self.written.unit };
                match scalars.take(text, given, &to) {
                    Taken::Whole => {}
                    Taken::Lossy => json.lose(),
                    Taken::Wrong => return Err(wrong(text)),
                }
            }
        }
        Ok(())
    }

    /// How many values it has; of a nested column that was left half way, the whole ones.
    fn len(&self) -> usize {
        match &self.store {
            Store::Null(length) => *length,
            Store::Booleans(values) => values.len(),
            Store::Longs(values) => values.len(),
            Store::Floats(values) => values.len(),
            Store::Doubles(values) => values.len(),
            Store::Decimals(values) => values.len(),
            Store::Texts(values) => values.len(),
            Store::Binaries(values) => values.len(),
            Store::Array { valid, .. } | Store::Map { valid, .. } => valid.len(),
            Store::Row(row) => row.valid.len(),
        }
    }

    /// Adds NULL, or what stands for it where NULL cannot stand.
    pub fn fill(&mut self) {
        let nullable = self.field.is_nullable();
        match &mut self.store {
            Store::Null(length) => *length += 1,
            Store::Booleans(values) if nullable => values.append_null(),
            Store::Booleans(values) => values.append_value(false),
            Store::Longs(values) if nullable => values.append_null(),
            Store::Longs(values) => values.append_value(0),
            Store::Floats(values) if nullable => values.append_null(),
            Store::Floats(values) => values.append_value(0.0),
            Store::Doubles(values) if nullable => values.append_null(),
            Store::Doubles(values) => values.append_value(0.0),
            Store::Decimals(values) if nullable => values.append_null(),
            Store::Decimals(values) => values.append_value(0),
            Store::Texts(values) if nullable => values.append_null(),
            Store::Texts(values) => values.append_value(""),
            Store::Binaries(values) if nullable => values.append_null(),
            Store::Binaries(values) => values.append_value([]),
            Store::Array { ends, valid, .. } | Store::Map { ends, valid, .. } => {
                ends.push(ends.last().copied().unwrap_or(0));
                valid.push(!nullable);
            }
            Store::Row(row) => {
                row.columns.iter_mut().for_each(Column::fill);
                row.valid.push(!nullable);
            }
        }
    }

    /// Brings it to `length` values after a row failed half way.
    pub fn mend(&mut self, length: usize) {
        match &mut self.store {
            // Items without an end belong to the list that was not closed.
            Store::Array { ends, valid, items } => {
                let whole = items.len();
                items.mend(whole);
                if ends.last().copied().unwrap_or(0) as usize != items.len() {
                    ends.push(items.len() as i32);
                    valid.push(true);
                }
            }
            Store::Map { ends, valid, keys, values } => {
                let whole = keys.len().max(values.len());
                keys.mend(whole);
                values.mend(whole);
                if ends.last().copied().unwrap_or(0) as usize != whole {
                    ends.push(whole as i32);
                    valid.push(true);
                }
            }
            Store::Row(row) => row.mend(),
            _ => {}
        }
        while self.len() < length {
            self.fill();
        }
    }

    /// The column; it is empty again.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let data_type = self.field.data_type();
        let nulls =
            |valid: &mut Vec<bool>| Some(NullBuffer::from(std::mem::take(valid))).filter(|n| n.null_count() > 0);
        let offsets = |ends: &mut Vec<i32>| {
            let mut offsets = Vec::with_capacity(ends.len() + 1);
            offsets.push(0);
            offsets.append(ends);
            OffsetBuffer::new(offsets.into())
        };
        Ok(match &mut self.store {
            Store::Null(length) => Arc::new(NullArray::new(std::mem::take(length))),
            Store::Booleans(values) => Arc::new(values.finish()),
            Store::Longs(values) => from_longs(values, data_type)?,
            Store::Floats(values) => Arc::new(values.finish()),
            Store::Doubles(values) => Arc::new(values.finish()),
            Store::Decimals(values) => Arc::new(values.finish()),
            Store::Texts(values) => Arc::new(values.finish()),
            Store::Binaries(values) => Arc::new(values.finish()),
            Store::Array { ends, valid, items } => {
                let DataType::List(item) = data_type else { return Err(Error::internal("a list of another type")) };
                Arc::new(ListArray::try_new(Arc::clone(item), offsets(ends), items.finish()?, nulls(valid))?)
            }
            Store::Map { ends, valid, keys, values } => {
                let DataType::Map(entries, _) = data_type else { return Err(Error::internal("a map of another type")) };
                let DataType::Struct(pair) = entries.data_type() else {
                    return Err(Error::internal("a map without pairs"));
                };
                let pairs = StructArray::try_new(pair.clone(), vec![keys.finish()?, values.finish()?], None)?;
                Arc::new(MapArray::try_new(Arc::clone(entries), offsets(ends), pairs, nulls(valid), false)?)
            }
            Store::Row(row) => {
                let DataType::Struct(fields) = data_type else { return Err(Error::internal("a row of another type")) };
                let columns = row.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
                let length = row.valid.len();
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls(&mut row.valid), length)?)
            }
        })
    }
}

impl Store {
    /// Takes a scalar from its text.
    fn take(&mut self, text: &str, given: Given, to: &Target<'_>) -> Taken {
        let is_number = given == Given::Number;
        match self {
            Store::Booleans(values) => {
                values.append_value(text.trim_matches(|c: char| c <= ' ').eq_ignore_ascii_case("true"));
                Taken::of(given == Given::Word)
            }
            Store::Longs(values) => match long(text, is_number, to) {
                Some((long, is_whole)) => {
                    values.append_value(long);
                    Taken::of(is_whole)
                }
                None => Taken::Wrong,
            },
            Store::Floats(values) => match parse::<f32>(text) {
                Some(float) => {
                    values.append_value(float);
                    Taken::of(is_number && float.is_finite() && has_at_most(9, text))
                }
                None => Taken::Wrong,
            },
            Store::Doubles(values) => match parse::<f64>(text) {
                Some(double) => {
                    values.append_value(double);
                    Taken::of(is_number && double.is_finite() && has_at_most(17, text))
                }
                None => Taken::Wrong,
            },
            Store::Decimals(values) => {
                let SqlType::Decimal(precision, scale) = to.sql_type else { return Taken::Wrong };
                match scalar_parse::decimal(text.trim_matches(|c: char| c <= ' '), *precision, *scale) {
                    Some(scalar_parse::Decimal::Fits(number)) => {
                        values.append_value(number);
                        let rest = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
                        Taken::of(is_number && rest <= usize::from(*scale) && !text.contains(['e', 'E']))
                    }
                    Some(scalar_parse::Decimal::TooWide) if to.field.is_nullable() => {
                        values.append_null();
                        Taken::Lossy
                    }
                    _ => Taken::Wrong,
                }
            }
            Store::Binaries(values) => match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => {
                    values.append_value(bytes);
                    Taken::of(given == Given::Text)
                }
                Err(_) => Taken::Wrong,
            },
            _ => Taken::Wrong,
        }
    }
}

/// Whether a number has at most so many digits that count. Of nine (of a FLOAT) and seventeen (of a DOUBLE) none says more than the nearest binary fraction,
/// which is what whoever wrote them had.
fn has_at_most(digits: usize, number: &str) -> bool {
    number.len() <= digits || {
        let mantissa = number.split(['e', 'E']).next().unwrap_or(number);
        mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count() <= digits
    }
}

fn per_second(digits: u8) -> i64 {
    match digits {
        0..=3 => 1_000,
        4..=6 => 1_000_000,
        _ => 1_000_000_000,
    }
}

/// A value of a column that is kept as 64 bits, and whether it is all that the text said.
fn long(text: &str, is_number: bool, to: &Target<'_>) -> Option<(i64, bool)> {
    if is_number && to.rules.numbers_are_times && !to.field.data_type().is_integer() {
        return in_ticks(parse(text)?, to.sql_type, to.unit);
    }
    // Digits of a second's fraction behind those that the type has.
    let is_cut = |digits: u8| {
        let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
        fraction.bytes().skip(usize::from(digits)).any(|digit| matches!(digit, b'1'..=b'9'))
    };
    let timestamp = |text: &str, digits: u8| {
        let ticks = match to.rules.timestamps {
            TimestampText::Sql => scalar_parse::timestamp(text, per_second(digits), digits),
            TimestampText::Iso8601 => scalar_parse::iso_timestamp(text, per_second(digits), digits),
        };
        Some((ticks?, !is_cut(digits)))
    };
    let whole = |number: Option<i64>| number.map(|number| (number, is_number));
    let rest_left_out = || is_number.then(|| without_fraction(text)).flatten();
    match to.sql_type {
        SqlType::TinyInt => whole(parse::<i8>(text).map(i64::from)),
        SqlType::SmallInt => whole(parse::<i16>(text).map(i64::from)),
        SqlType::Int => whole(parse::<i32>(text).map(i64::from))
            .or_else(|| i32::try_from(rest_left_out()?).ok().map(|number| (i64::from(number), false))),
        SqlType::BigInt => whole(parse(text)).or_else(|| Some((rest_left_out()?, false))),
        SqlType::Date => scalar_parse::date(text).map(|days| (days, true)),
        SqlType::Time(digits) => Some((scalar_parse::time(text, per_second(*digits), *digits)?, !is_cut(*digits))),
        SqlType::Timestamp(digits) => timestamp(text, *digits),
        SqlType::TimestampLtz(digits) => timestamp(text.strip_suffix('Z')?, *digits),
        _ => None,
    }
}

/// A number of units as a date's days or a time's ticks, and whether nothing is cut off. `None` where the type does not reach it.
fn in_ticks(number: i64, sql_type: &SqlType, unit: Unit) -> Option<(i64, bool)> {
    const DAY: i64 = 86_400;
    let cut = |by: i64| (number.div_euclid(by), number.rem_euclid(by) == 0);
    let scaled = |from: i64, to: i64| match from <= to {
        true => Some((number.checked_mul(to / from)?, true)),
        false => Some(cut(from / to)),
    };
    match (sql_type, unit) {
        (SqlType::Date, unit) => {
            let days = match unit {
                Unit::Days => (number, true),
                Unit::PerSecond(unit) => cut(DAY * unit),
            };
            Some(days).filter(|(days, _)| i32::try_from(*days).is_ok())
        }
        (SqlType::Time(digits), Unit::PerSecond(unit)) => {
            let ticks = per_second(*digits);
            scaled(unit, ticks).filter(|(time, _)| (0..DAY * ticks).contains(time))
        }
        (SqlType::Timestamp(digits) | SqlType::TimestampLtz(digits), unit) => match unit {
            Unit::Days => Some((number.checked_mul(DAY * per_second(*digits))?, true)),
            Unit::PerSecond(unit) => scaled(unit, per_second(*digits)),
        },
        _ => None,
    }
}

/// A number's whole part, which Flink takes for INT and BIGINT, though not for the smaller types and not from a text.
fn without_fraction(number: &str) -> Option<i64> {
    if !number.contains(['.', 'e', 'E']) {
        return None;
    }
    let whole = number.parse::<f64>().ok()?.trunc();
    // Both bounds are doubles; the upper one is the first that does not fit.
    (whole >= i64::MIN as f64 && whole < i64::MAX as f64).then_some(whole as i64)
}

/// How well a value that begins with this token is one of the type: the least is the best, `None` is not at all.
fn rank(sql_type: &SqlType, token: Token<'_>) -> Option<u8> {
    use SqlType as Type;
    let number = match (token, sql_type) {
        (Token::Boolean(_), Type::Boolean) | (Token::Array, Type::Array(_)) => return Some(0),
        (Token::Text(_), Type::Char(_) | Type::Varchar(_)) => return Some(0),
        (Token::Text(_), Type::Binary(_) | Type::Varbinary(_)) => return Some(1),
        (Token::Text(_), Type::Date | Type::Time(_) | Type::Timestamp(_) | Type::TimestampLtz(_)) => return Some(2),
        // Not a number, and the infinities.
        (Token::Text(_), Type::Float | Type::Double) => return Some(3),
        (Token::Object, Type::Map(..)) => return Some(1),
        (Token::Object, Type::Row(_)) => return Some(2),
        (Token::Number(number), _) => number,
        _ => return None,
    };
    let is_whole = !number.contains(['.', 'e', 'E']);
    match sql_type {
        Type::Double => Some(if is_whole { 6 } else { 0 }),
        Type::Float => Some(if is_whole { 7 } else { 1 }),
        Type::Decimal(..) => Some(if is_whole { 5 } else { 2 }),
        _ if !is_whole => None,
        Type::TinyInt => parse::<i8>(number).map(|_| 0),
        Type::SmallInt => parse::<i16>(number).map(|_| 0),
        Type::Int => parse::<i32>(number).map(|_| 0),
        Type::BigInt => parse::<i64>(number).map(|_| 1),
        Type::Date => Some(2),
        Type::Time(_) => Some(3),
        Type::Timestamp(_) | Type::TimestampLtz(_) => Some(4),
        _ => None,
    }
}

fn from_longs(values: &mut Int64Builder, data_type: &DataType) -> Result<ArrayRef> {
    let longs: ArrayRef = Arc::new(values.finish());
    Ok(match data_type {
        DataType::Int64 => longs,
        DataType::Date32 | DataType::Time32(_) => cast(&cast(&longs, &DataType::Int32)?, data_type)?,
        other => cast(&longs, other)?,
    })
}

fn end_of(items: &Column) -> Step<i32> {
    i32::try_from(items.len()).map_err(|_| "a batch of payloads holds too many items".into())
}

impl Row {
    pub fn new(fields: &Fields, rules: JsonRules) -> Result<Self> {
        let columns = fields.iter().map(|field| Column::new(field, rules)).collect::<Result<_>>()?;
        Ok(Self { columns, valid: Vec::new(), wrong: Vec::new() })
    }

    /// Takes how its columns are written from now on, in their order.
    pub fn learn(&mut self, order: &mut Order<'_>) {
        self.columns.iter_mut().for_each(|column| column.learn(order));
    }

    /// Where its columns are the types of a union: the one that a value is of, by its token. `None`: none, or it is an object with the columns' names.
    fn branch_of<'a>(&self, token: Token<'a>, json: &mut Scanner<'a>, scratch: &mut String) -> Step<Option<usize>> {
        let mut first_name = None;
        if token == Token::Object {
            let (start, mut first) = (json.mark(), true);
            if let Some(key) = json.next_key(&mut first)? {
                first_name = Some(key.text(scratch));
            }
            json.back_to(start);
        }
        if first_name.is_some_and(|name| self.columns.iter().any(|column| column.field.name() == name)) {
            return Ok(None);
        }
        // Of several records the one that has the field counts.
        let ranked = self.columns.iter().enumerate().filter_map(|(at, column)| {
            let has_it = match (first_name, &column.store) {
                (Some(name), Store::Row(row)) => row.columns.iter().any(|column| column.field.name() == name),
                _ => false,
            };
            Some((if has_it { 0 } else { rank(&column.sql_type, token)? }, at))
        });
        Ok(ranked.min().map(|(_, at)| at))
    }

    /// Takes a value of one of a union's types; the others are NULL.
    fn read_branch<'a>(
        &mut self,
        branch: usize,
        token: Token<'a>,
        from: usize,
        json: &mut Scanner<'a>,
        scratch: &mut String,
    ) -> Step<()> {
        for (at, column) in self.columns.iter_mut().enumerate() {
            match at == branch {
                true => column.read_token(token, from, json, scratch)?,
                false => column.fill(),
            }
        }
        self.valid.push(true);
        Ok(())
    }

    /// How many rows it has; not one that was left half way.
    pub fn len(&self) -> usize {
        self.valid.len()
    }

    /// Takes the fields of an object whose bracket was taken. Each column gets exactly one value.
    pub fn read_object(&mut self, json: &mut Scanner<'_>, scratch: &mut String) -> Step<()> {
        self.read_fields(json, scratch)?;
        self.end_row()
    }

    /// Takes the fields of an object whose bracket was taken, as far as their columns have none in this row yet.
    pub fn read_fields(&mut self, json: &mut Scanner<'_>, scratch: &mut String) -> Step<()> {
        let row = self.valid.len();
        let mut first = true;
        let mut expected = 0;
        while let Some(key) = json.next_key(&mut first)? {
            let name = key.text(scratch);
            // Fields mostly come in the columns' order.
            let found = match self.columns.get(expected) {
                Some(column) if column.field.name() == name => Some(expected),
                _ => self.columns.iter().position(|column| column.field.name() == name),
            };
            match found {
                Some(n) if self.columns[n].len() == row => {
                    self.columns[n].read(json, scratch)?;
                    expected = n + 1;
                }
                _ => {
                    // That a field which nobody knows is null says nothing.
                    if json.skip_value()? != "null" {
                        json.lose();
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the row: what is missing is NULL.
    pub fn end_row(&mut self) -> Step<()> {
        let row = self.valid.len();
        for column in self.columns.iter_mut().filter(|column| column.len() == row) {
            if column.rules.fail_on_missing {
                return Err(format!("field `{}` is missing", column.field.name()).into());
            }
            if !column.field.is_nullable() {
                return Err(format!("field `{}` is NOT NULL, and the payload has none", column.field.name()).into());
            }
            column.fill();
        }
        self.valid.push(true);
        Ok(())
    }

    /// Brings all columns to one length, the row that failed included.
    pub fn mend(&mut self) {
        let length = self.columns.iter().map(Column::len).fold(self.valid.len(), usize::max);
        for column in &mut self.columns {
            column.mend(length);
        }
        // A column left half way may have been ended one further.
        let longest = self.columns.iter().map(Column::len).fold(length, usize::max);
        for column in &mut self.columns {
            column.mend(longest);
        }
        while self.valid.len() < longest {
            self.valid.push(true);
        }
    }

    /// Ends a row that failed half way, and marks the rows from `from` on as wrong.
    pub fn give_up(&mut self, from: usize) {
        self.mend();
        self.wrong.extend(from..self.valid.len());
    }

    /// Which rows are right; `None` if all are. The marks are gone then.
    pub fn right(&mut self) -> Option<BooleanArray> {
        if self.wrong.is_empty() {
            return None;
        }
        let mut right = vec![true; self.valid.len()];
        self.wrong.drain(..).for_each(|row| right[row] = false);
        Some(right.into())
    }

    /// Ends a row at the top that failed: `rows` rows stand afterwards.
    pub fn mend_to(&mut self, rows: usize) {
        for column in &mut self.columns {
            column.mend(rows);
        }
        self.valid.resize(rows, true);
    }

    /// Adds a row of NULLs.
    pub fn fill(&mut self) {
        self.columns.iter_mut().for_each(Column::fill);
        self.valid.push(true);
    }

    /// The columns; it is empty again.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.valid.clear();
        self.columns.iter_mut().map(Column::finish).collect()
    }
}
