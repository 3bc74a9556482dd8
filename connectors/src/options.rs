//! Values of options that several connectors share.

use std::str::FromStr;
use std::time::Duration;

use aquifer_catalog::options::{Units, parse_duration, scaled};
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
    let read = |text: &str| parse_duration(text).map_err(|_| wrong(key, text, "a time such as 10 s or 5 min"));
    get(table, key).map(read).transpose()
}

/// `128MB`, `64 kb`; a bare number is bytes. Units are powers of 1,024, as with Flink.
pub(crate) fn bytes(table: &Table, key: &str) -> Result<Option<u64>> {
    get(table, key).map(|text| size(key, text)).transpose()
}

/// One such size, of the option `key`.
pub(crate) fn size(key: &str, text: &str) -> Result<u64> {
    const UNITS: &Units = &[
        (&["", "b", "bytes"], 1),
        (&["k", "kb", "kibibytes"], 1 << 10),
        (&["m", "mb", "mebibytes"], 1 << 20),
        (&["g", "gb", "gibibytes"], 1 << 30),
    ];
    scaled(text.trim(), UNITS).ok_or_else(|| wrong(key, text, "a size such as 128 MB"))
}

fn wrong(key: &str, text: &str, write: &str) -> Error {
    Error::invalid(format!("'{key}' = '{text}': write {write}"))
}
