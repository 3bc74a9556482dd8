//! Functions of numbers. Types are kept: ROUND of an INT is an INT, of a DECIMAL a DECIMAL.

use std::sync::Arc;

use aquifer_model::{Error, Result, SqlType};
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int32Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Volatility;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::super::arithmetic;
use super::super::types::exact;
use super::{Call, Kernel, pure, want};

type Types<'a> = &'a [SqlType];
type Literals<'a> = &'a [Option<&'a ScalarValue>];
type Typed = Option<(Vec<SqlType>, SqlType)>;

fn same(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [one] if want::is_number(one) => Some((vec![known(one)], known(one))),
        _ => None,
    }
}

/// A NULL without a type is an INT.
fn known(one: &SqlType) -> SqlType {
    if *one == SqlType::Null { SqlType::Int } else { one.clone() }
}

fn whole(types: Types<'_>, _: Literals<'_>) -> Typed {
    match types {
        [SqlType::Decimal(p, s)] => {
            Some((types.to_vec(), SqlType::Decimal((p - s + u8::from(*s > 0)).clamp(1, 38), 0)))
        }
        [one] if want::is_number(one) => Some((vec![known(one)], known(one))),
        // A time to a unit.
        [time, unit] if want::is_time(time) && want::is_text(unit) => {
            Some((vec![time.clone(), SqlType::STRING], time.clone()))
        }
        _ => None,
    }
}

fn rounded(types: Types<'_>, literals: Literals<'_>) -> Typed {
    let digits = match types {
        [_] => 0,
        [_, places] if want::is_integer(places) => match literals.get(1).copied().flatten() {
            Some(ScalarValue::Int64(Some(n))) => *n,
            Some(ScalarValue::Int32(Some(n))) => i64::from(*n),
            _ => 38,
        },
        _ => return None,
    };
    let wanted = |first: SqlType| {
        let mut all = vec![first];
        all.extend(types.get(1).map(|_| SqlType::BigInt));
        all
    };
    match types.first()? {
        SqlType::Decimal(p, s) => {
            let scale = digits.clamp(0, i64::from(*s)) as u8;
            let precision = (p - s + scale + u8::from(scale < *s)).clamp(1, 38);
            Some((wanted(SqlType::Decimal(*p, *s)), SqlType::Decimal(precision, scale)))
        }
        one if want::is_number(one) => Some((wanted(known(one)), known(one))),
        _ => None,
    }
}

fn modulo(types: Types<'_>, _: Literals<'_>) -> Typed {
    let [left, right] = types else { return None };
    let (Some((p1, s1)), Some((p2, s2))) = (exact(&known(left)), exact(&known(right))) else {
        return (want::is_number(left) && want::is_number(right)).then(|| (vec![SqlType::Double; 2], SqlType::Double));
    };
    if s1 == 0 && s2 == 0 && !matches!((left, right), (SqlType::Decimal(..), _) | (_, SqlType::Decimal(..))) {
        // As Flink types it: the second argument's type.
        return Some((vec![SqlType::BigInt; 2], known(right)));
    }
    let (precision, scale) = ((p1 - s1).min(p2 - s2) + s1.max(s2), s1.max(s2));
    let result = SqlType::Decimal(precision.clamp(1, 38) as u8, scale as u8);
    Some((vec![SqlType::Decimal(p1 as u8, s1 as u8), SqlType::Decimal(p2 as u8, s2 as u8)], result))
}

fn power(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["nn"], SqlType::Double)
}

/// Also of a FLOAT the result is a DOUBLE.
fn one_double(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["n"], SqlType::Double)
}

fn log(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["n", "nn"], SqlType::Double)
}

fn nothing(types: Types<'_>, _: Literals<'_>) -> Typed {
    types.is_empty().then(|| (Vec::new(), SqlType::Double))
}

fn random(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["", "i"], SqlType::Double)
}

fn random_integer(types: Types<'_>, _: Literals<'_>) -> Typed {
    want::any_of(types, &["i", "ii"], SqlType::Int)
}

pub(super) const KERNELS: &[Kernel] = &[
    pure("ABS", "ABS(number)", same, |a, _| absolute(&a[0])),
    pure("SIGN", "SIGN(number)", same, |a, _| sign(&a[0])),
    pure("FLOOR", "FLOOR(number) or FLOOR(time TO unit)", whole, |a, call| floor(a, call, false)),
    pure("CEIL", "CEIL(number) or CEIL(time TO unit)", whole, |a, call| floor(a, call, true)),
    pure("CEILING", "CEILING(number)", whole, |a, call| floor(a, call, true)),
    pure("ROUND", "ROUND(number[, places])", rounded, |a, call| round(a, call, true)),
    pure("TRUNCATE", "TRUNCATE(number[, places])", rounded, |a, call| round(a, call, false)),
    pure("MOD", "MOD(integer, integer)", modulo, remainder),
    pure("POWER", "POWER(base, exponent)", power, |a, _| doubles(a, |x, y| x.powf(y))),
    pure("LOG", "LOG([base, ]number)", log, |a, _| match a {
        [x] => doubles(&[Arc::clone(x), Arc::clone(x)], |x, _| x.ln()),
        _ => doubles(a, |base, x| x.ln() / base.ln()),
    }),
    pure("SIN", "SIN(number)", one_double, |a, _| double(a, f64::sin)),
    pure("COS", "COS(number)", one_double, |a, _| double(a, f64::cos)),
    pure("TAN", "TAN(number)", one_double, |a, _| double(a, f64::tan)),
    pure("ASIN", "ASIN(number)", one_double, |a, _| double(a, f64::asin)),
    pure("ACOS", "ACOS(number)", one_double, |a, _| double(a, f64::acos)),
    pure("ATAN", "ATAN(number)", one_double, |a, _| double(a, f64::atan)),
    pure("SINH", "SINH(number)", one_double, |a, _| double(a, f64::sinh)),
    pure("COSH", "COSH(number)", one_double, |a, _| double(a, f64::cosh)),
    pure("TANH", "TANH(number)", one_double, |a, _| double(a, f64::tanh)),
    pure("DEGREES", "DEGREES(number)", one_double, |a, _| double(a, f64::to_degrees)),
    pure("RADIANS", "RADIANS(number)", one_double, |a, _| double(a, f64::to_radians)),
    pure("EXP", "EXP(number)", one_double, |a, _| double(a, f64::exp)),
    pure("SQRT", "SQRT(number)", one_double, |a, _| double(a, f64::sqrt)),
    pure("E", "E()", nothing, |_, call| Ok(Arc::new(Float64Array::from(vec![std::f64::consts::E; call.rows])))),
    Kernel {
        name: "RAND",
        usage: "RAND([seed])",
        typing: random,
        volatility: Volatility::Volatile,
        run: |a, call| Ok(rand(a, call.rows)),
    },
    Kernel {
        name: "RAND_INTEGER",
        usage: "RAND_INTEGER([seed, ]bound)",
        typing: random_integer,
        volatility: Volatility::Volatile,
        run: rand_integer,
    },
];

fn doubles(columns: &[ArrayRef], f: impl Fn(f64, f64) -> f64) -> Result<ArrayRef> {
    let [a, b] = [0, 1].map(|n| columns[n].as_primitive::<Float64Type>());
    let result: Float64Array = a.iter().zip(b.iter()).map(|(a, b)| a.zip(b).map(|(a, b)| f(a, b))).collect();
    Ok(Arc::new(result))
}

fn double(columns: &[ArrayRef], f: impl Fn(f64) -> f64) -> Result<ArrayRef> {
    let result: Float64Array = columns[0].as_primitive::<Float64Type>().unary(f);
    Ok(Arc::new(result))
}

fn absolute(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let doubles = cast(column, &DataType::Float64)?;
            cast(&doubles.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::abs), column.data_type())?
        }
        DataType::Decimal128(precision, scale) => {
            let values: Decimal128Array = column.as_primitive::<Decimal128Type>().unary(i128::abs);
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        narrow => {
            let wide = cast(column, &DataType::Int64)?;
            let values: Int64Array = wide.as_primitive::<Int64Type>().try_unary(|x| {
                x.checked_abs().ok_or_else(|| Error::invalid("ABS of the smallest BIGINT does not fit BIGINT"))
            })?;
            narrowed(&values, narrow)?
        }
    })
}

/// 64 bits as a narrower integer; fails where a value does not fit.
fn narrowed(values: &Int64Array, to: &DataType) -> Result<ArrayRef> {
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    Ok(arrow::compute::cast_with_options(values, to, &options)?)
}

fn sign(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let doubles = cast(column, &DataType::Float64)?;
            let of = |x: f64| if x == 0.0 || x.is_nan() { x } else { x.signum() };
            cast(&doubles.as_primitive::<Float64Type>().unary::<_, Float64Type>(of), column.data_type())?
        }
        DataType::Decimal128(precision, scale) => {
            let unit = 10i128.pow(u32::from(scale.unsigned_abs()));
            let values: Decimal128Array = column.as_primitive::<Decimal128Type>().unary(|x| x.signum() * unit);
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        narrow => {
            let wide = cast(column, &DataType::Int64)?;
            narrowed(&wide.as_primitive::<Int64Type>().unary(i64::signum), narrow)?
        }
    })
}

fn floor(columns: &[ArrayRef], call: &Call<'_>, up: bool) -> Result<ArrayRef> {
    if columns.len() == 2 {
        return super::times::floor(columns, call, up);
    }
    let column = &columns[0];
    Ok(match column.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let doubles = cast(column, &DataType::Float64)?;
            let of = |x: f64| if up { x.ceil() } else { x.floor() };
            cast(&doubles.as_primitive::<Float64Type>().unary::<_, Float64Type>(of), column.data_type())?
        }
        DataType::Decimal128(_, scale) => {
            let unit = 10i128.pow(u32::from(scale.unsigned_abs()));
            let of = |x: i128| {
                let down = x.div_euclid(unit);
                if up && down * unit != x { down + 1 } else { down }
            };
            let values: Decimal128Array = column.as_primitive::<Decimal128Type>().unary(of);
            let DataType::Decimal128(precision, scale) = call.result.data_type() else {
                return Err(Error::internal("a decimal gives a decimal"));
            };
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        _ => Arc::clone(column),
    })
}

/// Half away from zero, or toward zero.
fn round(columns: &[ArrayRef], call: &Call<'_>, nearest: bool) -> Result<ArrayRef> {
    let column = &columns[0];
    let places = match columns.get(1) {
        Some(places) => cast(places, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
        None => Int64Array::from(vec![0; column.len()]),
    };
    let shift = |value: i128, scale: i32, places: i64| -> Option<i128> {
        let drop = i64::from(scale) - places.clamp(-40, 40);
        if drop <= 0 {
            return Some(value);
        }
        let unit = 10i128.checked_pow(u32::try_from(drop).ok()?)?;
        let half = if nearest { unit / 2 * value.signum() } else { 0 };
        Some((value.checked_add(half)?) / unit * unit)
    };
    Ok(match column.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let doubles = cast(column, &DataType::Float64)?;
            let doubles = doubles.as_primitive::<Float64Type>();
            let of = |x: f64, places: i64| -> f64 {
                if !x.is_finite() {
                    return x;
                }
                // By its decimal digits, as Java's BigDecimal of the number's text.
                let text = format!("{x}");
                let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
                let digits: String = whole.chars().chain(fraction.chars()).collect();
                match digits.parse::<i128>().ok().and_then(|value| shift(value, fraction.len() as i32, places)) {
                    Some(value) => format!("{value}e-{}", fraction.len()).parse().unwrap_or(x),
                    None => x,
                }
            };
            let pairs = doubles.iter().zip(places.iter());
            let values: Float64Array = pairs.map(|(x, p)| x.zip(p).map(|(x, p)| of(x, p))).collect();
            cast(&values, column.data_type())?
        }
        DataType::Decimal128(_, scale) => {
            let DataType::Decimal128(precision, to) = call.result.data_type() else {
                return Err(Error::internal("a decimal gives a decimal"));
            };
            let unit = 10i128.pow((scale - to).max(0) as u32);
            let values = column.as_primitive::<Decimal128Type>();
            let of = |x: i128, places: i64| shift(x, i32::from(*scale), places.min(i64::from(*to))).map(|x| x / unit);
            let values: Decimal128Array =
                values.iter().zip(places.iter()).map(|(x, p)| x.zip(p).and_then(|(x, p)| of(x, p))).collect();
            Arc::new(values.with_precision_and_scale(*precision, *to)?)
        }
        narrow => {
            let wide = cast(column, &DataType::Int64)?;
            let pairs = wide.as_primitive::<Int64Type>().iter().zip(places.iter());
            let values: Int64Array = pairs
                .map(|(x, p)| {
                    x.zip(p).and_then(|(x, p)| shift(i128::from(x), 0, p).and_then(|x| i64::try_from(x).ok()))
                })
                .collect();
            narrowed(&values, narrow)?
        }
    })
}

fn remainder(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    if columns[0].data_type() == &DataType::Float64 {
        return doubles(columns, |x, y| x % y);
    }
    if let DataType::Decimal128(precision, scale) = call.result.data_type() {
        let values = arithmetic::remainder(&columns[0], &columns[1], *precision, *scale);
        return values.map_err(crate::batch::from_datafusion);
    }
    let [a, b] = [0, 1].map(|n| columns[n].as_primitive::<Int64Type>());
    let values = a.iter().zip(b.iter()).map(|(a, b)| match a.zip(b) {
        None => Ok(None),
        Some((_, 0)) => Err(Error::invalid("division by zero")),
        Some((a, b)) => Ok(Some(a.wrapping_rem(b))),
    });
    let values = values.collect::<Result<Int64Array>>()?;
    Ok(cast(&values, call.result.data_type())?)
}

/// A generator: of a seed's own sequence, or of one that nobody knows.
fn generator(seed: Option<&ArrayRef>) -> StdRng {
    match seed {
        Some(seed) => {
            let seeds = seed.as_primitive::<Int64Type>();
            StdRng::seed_from_u64(if seeds.is_empty() { 0 } else { seeds.value(0) as u64 })
        }
        None => StdRng::from_os_rng(),
    }
}

fn rand(columns: &[ArrayRef], rows: usize) -> ArrayRef {
    let mut random = generator(columns.first());
    Arc::new((0..rows).map(|_| Some(random.random::<f64>())).collect::<Float64Array>())
}

fn rand_integer(columns: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let Some(bounds) = columns.last() else { return Err(Error::internal("a bound is expected")) };
    let bounds = bounds.as_primitive::<Int64Type>();
    let mut random = generator(if columns.len() == 2 { columns.first() } else { None });
    let values = (0..call.rows).map(|row| {
        let row = row.min(bounds.len().saturating_sub(1));
        match bounds.is_valid(row).then(|| bounds.value(row)) {
            None => Ok(None),
            Some(bound) if (1..=i64::from(i32::MAX)).contains(&bound) => Ok(Some(random.random_range(0..bound) as i32)),
            Some(bound) => Err(Error::invalid(format!("RAND_INTEGER takes a bound above zero, not {bound}"))),
        }
    });
    Ok(Arc::new(values.collect::<Result<Int32Array>>()?))
}
