//! Values of options that several connectors share.

use std::str::FromStr;
use std::time::Duration;

use aquifer_model::{Error, Result};
use aquifer_processor::connector::Table;

fn get<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.definition.options.get(key).map(|text| text.trim())
}

/// A number that fits its type.
pub(crate) fn number<N: FromStr>(table: &Table, key: &str) -> Result<Option<N>> {
    let parse =
        |text: &str| text.parse().map_err(|_| Error::invalid(format!("'{key}' = '{text}' is no number that fits")));
    get(table, key).map(parse).transpose()
}

/// `500 ms`, `10 s`, `5 min`, `1 h`, `2 d`; a bare number is milliseconds.
pub(crate) fn duration(table: &Table, key: &str) -> Result<Option<Duration>> {
    let units = [
        (&["", "ms", "milli", "millis", "millisecond", "milliseconds"][..], 1),
        (&["s", "sec", "secs", "second", "seconds"], 1_000),
        (&["m", "min", "mins", "minute", "minutes"], 60_000),
        (&["h", "hour", "hours"], 3_600_000),
        (&["d", "day", "days"], 86_400_000),
    ];
    Ok(scaled(table, key, &units, "a time such as 10 s or 5 min")?.map(Duration::from_millis))
}

/// `128MB`, `64 kb`; a bare number is bytes. Units are powers of 1,024, as with Flink.
pub(crate) fn bytes(table: &Table, key: &str) -> Result<Option<u64>> {
    let units = [
        (&["", "b", "bytes"][..], 1),
        (&["k", "kb", "kibibytes"], 1 << 10),
        (&["m", "mb", "mebibytes"], 1 << 20),
        (&["g", "gb", "gibibytes"], 1 << 30),
    ];
    scaled(table, key, &units, "a size such as 128 MB")
}

fn scaled(table: &Table, key: &str, units: &[(&[&str], u64)], write: &str) -> Result<Option<u64>> {
    let Some(text) = get(table, key) else { return Ok(None) };
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let scale = units.iter().find(|(names, _)| names.contains(&unit.as_str())).map(|(_, scale)| *scale);
    let value = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    value.map(Some).ok_or_else(|| Error::invalid(format!("'{key}' = '{text}': write {write}")))
}
