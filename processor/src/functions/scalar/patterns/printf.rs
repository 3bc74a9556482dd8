//! PRINTF: Java's formats `%[place$][flags][width][.precision]letter` with the letters `d x X o s S f e c b n %`.
//!
//! A format that does not fit its values gives NULL, as in Flink.

use std::sync::Arc;

use aquifer_formats::text::{TextStyle, text_column};
use aquifer_model::Result;
use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::super::Call;

/// The widest field.
const WIDEST: usize = 10_000;

#[derive(Default)]
struct Field {
    place: Option<usize>,
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    comma: bool,
    width: usize,
    precision: Option<usize>,
}

pub(super) fn printf(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let zone = match call.zone {
        Some(zone) => zone,
        None => aquifer_formats::text::parse_zone("UTC")?,
    };
    let texts = columns[1..]
        .iter()
        .zip(&call.fields[1..])
        .map(|(column, field)| text_column(column, field, &TextStyle::cast(zone)))
        .collect::<Result<Vec<_>>>()?;
    let mut results = StringViewBuilder::with_capacity(call.rows);
    let mut text = String::new();
    for (row, format) in columns[0].as_string_view().iter().enumerate() {
        text.clear();
        match format.and_then(|format| write(format, &columns[1..], &texts, row, &mut text)) {
            Some(()) => results.append_value(&text),
            None => results.append_null(),
        }
    }
    Ok(Arc::new(results.finish()))
}

fn write(format: &str, values: &[ArrayRef], texts: &[StringViewArray], row: usize, out: &mut String) -> Option<()> {
    let mut letters = format.chars().peekable();
    let mut next = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut field = Field::default();
        let number = |letters: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Option<usize> {
            let mut found = None;
            while let Some(digit) = letters.peek().and_then(|c| c.to_digit(10)) {
                found = Some((found.unwrap_or(0) * 10 + digit as usize).min(WIDEST + 1));
                letters.next();
            }
            found
        };
        // A number that does not begin with 0 is a place if `$` follows, else the width.
        if letters.peek().is_some_and(|c| ('1'..='9').contains(c)) {
            let found = number(&mut letters)?;
            if letters.next_if_eq(&'$').is_some() {
                field.place = Some(found);
            } else {
                field.width = found;
            }
        }
        if field.width == 0 {
            while let Some(flag) = letters.next_if(|c| "-0+ ,#".contains(*c)) {
                match flag {
                    '-' => field.left = true,
                    '0' => field.zero = true,
                    '+' => field.plus = true,
                    ' ' => field.space = true,
                    ',' => field.comma = true,
                    _ => return None,
                }
            }
            field.width = number(&mut letters).unwrap_or(0);
        }
        if letters.next_if_eq(&'.').is_some() {
            field.precision = Some(number(&mut letters)?);
        }
        if field.width > WIDEST || field.precision.is_some_and(|precision| precision > WIDEST) {
            return None;
        }
        let letter = letters.next()?;
        let body = match letter {
            '%' => "%".to_string(),
            'n' => "\n".to_string(),
            _ => {
                let place = match field.place {
                    Some(place) => place.checked_sub(1)?,
                    None => {
                        next += 1;
                        next - 1
                    }
                };
                one(letter, &field, values.get(place)?, texts.get(place)?, row)?
            }
        };
        let missing = field.width.saturating_sub(body.chars().count());
        if field.left {
            out.push_str(&body);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if field.zero && "dxXofe".contains(letter) {
            let (sign, digits) = body.split_at(usize::from(body.starts_with(['-', '+', ' '])));
            out.push_str(sign);
            out.extend(std::iter::repeat_n('0', missing));
            out.push_str(digits);
        } else {
            out.extend(std::iter::repeat_n(' ', missing));
            out.push_str(&body);
        }
    }
    Some(())
}

fn signed(field: &Field, negative: bool, digits: String) -> String {
    let sign = match (negative, field.plus, field.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    format!("{sign}{digits}")
}

fn grouped(digits: &str) -> String {
    let (whole, fraction) = digits.find('.').map_or((digits, ""), |at| digits.split_at(at));
    let mut text = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text + fraction
}

fn one(letter: char, field: &Field, values: &ArrayRef, texts: &StringViewArray, row: usize) -> Option<String> {
    let cut = |text: &str| match field.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_string(),
    };
    if values.is_null(row) {
        return (!values.is_empty()).then(|| cut(if "bB".contains(letter) { "false" } else { "null" }));
    }
    let integer = || (values.data_type() == &DataType::Int64).then(|| values.as_primitive::<Int64Type>().value(row));
    let digits = |digits: String| if field.comma { grouped(&digits) } else { digits };
    Some(match letter {
        's' => cut(texts.value(row)),
        'S' => cut(texts.value(row)).to_uppercase(),
        'b' => cut(if values.data_type() == &DataType::Boolean { texts.value(row) } else { "true" }).to_lowercase(),
        'd' => {
            let value = integer()?;
            signed(field, value < 0, digits(value.unsigned_abs().to_string()))
        }
        'x' => format!("{:x}", integer()?),
        'X' => format!("{:X}", integer()?),
        'o' => format!("{:o}", integer()?),
        'c' => char::from_u32(u32::try_from(integer()?).ok()?)?.to_string(),
        'f' | 'e' => {
            let precision = field.precision.unwrap_or(6);
            let value = match values.data_type() {
                DataType::Float64 => values.as_primitive::<Float64Type>().value(row),
                DataType::Decimal128(..) => texts.value(row).parse().ok()?,
                _ => return None,
            };
            if !value.is_finite() {
                return Some(texts.value(row).to_string());
            }
            let body = if letter == 'f' {
                digits(format!("{:.precision$}", value.abs()))
            } else {
                let text = format!("{:.precision$e}", value.abs());
                let (mantissa, exponent) = text.split_once('e')?;
                let exponent: i32 = exponent.parse().ok()?;
                format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
            };
            signed(field, value.is_sign_negative() && value != 0.0, body)
        }
        _ => return None,
    })
}
