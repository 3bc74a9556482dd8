//! JSON values into Arrow columns, by the rules of Flink's `json` format.
//!
//! * A text column takes any value: numbers as they stand, objects and arrays as compact JSON.
//! * A boolean is true for `true` and the text `"true"`, else false. Numbers may stand in texts, with blanks around.
//! * DECIMAL is rounded half up, and NULL where it is too wide; other numbers must fit. BYTES are base64.
//! * DATE, TIME and TIMESTAMP are SQL's text. In a message a whole number is taken as the column's own count since 1970 (or midnight), as Pulsar's
//!   Java client writes Avro's logical types.
//! * A field that is missing or `null` is NULL; of a field that is repeated the first counts.
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
    /// A whole number is a date or time too: the column's own count.
    pub numbers_are_times: bool,
}

/// A column being filled.
pub(crate) struct Column {
    field: FieldRef,
    sql_type: SqlType,
    rules: JsonRules,
    store: Store,
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
        Ok(Self { field: Arc::clone(field), sql_type, rules, store })
    }

    /// Takes the next value. Where errors are ignored, a wrong value is NULL; text that is no JSON is still an error.
    pub fn read(&mut self, json: &mut Scanner<'_>, scratch: &mut String) -> Step<()> {
        if !self.rules.ignore_errors || !self.field.is_nullable() {
            return self.read_value(json, scratch);
        }
        let (length, start) = (self.len(), json.mark());
        if self.read_value(json, scratch).is_err() {
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
                if !scalars.take(text.trim_matches(|c: char| c <= ' '), false, sql_type, field, self.rules) {
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
                *length += 1;
            }
            Store::Texts(texts) => match (token, sql_type) {
                (Token::Text(text), SqlType::Char(_) | SqlType::Varchar(_)) => texts.append_value(text.text(scratch)),
                (token, _) => {
                    let raw = json.skip(token, from)?;
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
                if token != Token::Object {
                    return Err(wrong(json.skip(token, from)?));
                }
                row.read_object(json, scratch)?;
            }
            scalars => {
                // What is left is read from a number's, a text's or a word's own text.
                let text = match token {
                    Token::Number(number) => number,
                    Token::Text(text) => text.text(scratch),
                    Token::Boolean(true) => "true",
                    Token::Boolean(false) => "false",
                    _ => return Err(wrong(json.skip(token, from)?)),
                };
                let is_number = matches!(token, Token::Number(_));
                if !scalars.take(text, is_number, sql_type, field, self.rules) {
                    return Err(wrong(text));
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
    /// Takes a scalar from its text; false if it is none of the type.
    fn take(&mut self, text: &str, is_number: bool, sql_type: &SqlType, field: &Field, rules: JsonRules) -> bool {
        let took = match self {
            Store::Booleans(values) => {
                values.append_value(text.trim_matches(|c: char| c <= ' ').eq_ignore_ascii_case("true"));
                Some(())
            }
            Store::Longs(values) => {
                long(text, is_number, sql_type, field.data_type(), rules).map(|long| values.append_value(long))
            }
            Store::Floats(values) => parse(text).map(|float| values.append_value(float)),
            Store::Doubles(values) => parse(text).map(|double| values.append_value(double)),
            Store::Decimals(values) => {
                let SqlType::Decimal(precision, scale) = sql_type else { return false };
                match scalar_parse::decimal(text.trim_matches(|c: char| c <= ' '), *precision, *scale) {
                    Some(scalar_parse::Decimal::Fits(number)) => {
                        values.append_value(number);
                        Some(())
                    }
                    Some(scalar_parse::Decimal::TooWide) if field.is_nullable() => {
                        values.append_null();
                        Some(())
                    }
                    _ => None,
                }
            }
            Store::Binaries(values) => {
                base64::engine::general_purpose::STANDARD.decode(text).ok().map(|bytes| values.append_value(bytes))
            }
            _ => None,
        };
        took.is_some()
    }
}

/// A value of a column that is kept as 64 bits.
fn long(text: &str, is_number: bool, sql_type: &SqlType, data_type: &DataType, rules: JsonRules) -> Option<i64> {
    let per_second = |digits: u8| match digits {
        0..=3 => 1_000,
        4..=6 => 1_000_000,
        _ => 1_000_000_000,
    };
    if is_number && rules.numbers_are_times && !data_type.is_integer() {
        return parse(text);
    }
    let timestamp = |text: &str, digits: u8| match rules.timestamps {
        TimestampText::Sql => scalar_parse::timestamp(text, per_second(digits), digits),
        TimestampText::Iso8601 => scalar_parse::iso_timestamp(text, per_second(digits), digits),
    };
    match sql_type {
        SqlType::TinyInt => parse::<i8>(text).map(i64::from),
        SqlType::SmallInt => parse::<i16>(text).map(i64::from),
        SqlType::Int => parse::<i32>(text).map(i64::from).or_else(|| {
            let whole = is_number.then(|| without_fraction(text)).flatten()?;
            i32::try_from(whole).ok().map(i64::from)
        }),
        SqlType::BigInt => parse(text).or_else(|| is_number.then(|| without_fraction(text)).flatten()),
        SqlType::Date => scalar_parse::date(text),
        SqlType::Time(digits) => scalar_parse::time(text, per_second(*digits), *digits),
        SqlType::Timestamp(digits) => timestamp(text, *digits),
        SqlType::TimestampLtz(digits) => timestamp(text.strip_suffix('Z')?, *digits),
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
                    json.skip_value()?;
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
