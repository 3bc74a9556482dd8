//! Where reading a table starts and stops, as options say it.
//!
//! ```text
//!  scan.startup.mode  = earliest │ latest │ L:E[:P];… │ publish-time:MS │ event-time:MS
//!                       timestamp, event-time (+ scan.startup.timestamp-millis) │ specific-offsets (+ scan.startup.specific-offsets)
//!  scan.bounded.mode  = unbounded │ latest-offset │ [after:]L:E[:P];… │ [after-]publish-time:MS │ [after-]event-time:MS │ the same two-key forms
//! ```
//!
//! A start takes in the position or time it names (unless `source.start.inclusive` is false), a stop leaves it out unless it says `after`.

use std::collections::BTreeMap;

use aquifer_model::{Error, Position, Result};
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;

/// Where reading a table starts if nothing else says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Startup {
    /// The first row of the archive.
    #[default]
    Earliest,
    /// What comes after the statement started.
    Latest,
    /// Positions: a partition that none of them names starts with its first row.
    Positions {
        /// By partition number; `None`: every partition.
        positions: Vec<(Option<u32>, Position)>,
        /// Whether the entries named are read.
        inclusive: bool,
    },
    /// The first entry published at this time or later, in milliseconds since 1970.
    PublishTime(i64),
    /// Every record of this event time or later, in milliseconds since 1970.
    EventTime(i64),
}

/// Where reading a table stops.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stop {
    /// A stream never, batch at what is there when it starts.
    #[default]
    Never,
    /// At what is there when it starts.
    Latest,
    /// Positions: a partition that none of them names stops at what is there.
    Positions {
        /// By partition number; `None`: every partition.
        positions: Vec<(Option<u32>, Position)>,
        /// Whether the entries named are read.
        inclusive: bool,
    },
    /// Before the first entry published at this time or later, in milliseconds since 1970.
    PublishTime(i64),
    /// A partition ends when its watermark reaches this time, in milliseconds since 1970.
    EventTime {
        /// The time.
        time_ms: i64,
        /// Whether records of exactly this time are read; later ones are not.
        inclusive: bool,
    },
}

/// Milliseconds since 1970, or a date or timestamp in UTC.
pub(super) fn time(text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis);
    }
    let nanos = string_to_timestamp_nanos(text).map_err(|_| {
        format!("`{text}` is no time: write milliseconds since 1970, or a timestamp as 2024-01-31 12:00:00")
    })?;
    Ok(nanos.div_euclid(1_000_000))
}

/// `LEDGER:ENTRY[:PARTITION]`, several with `;` between them. Partition -1 is that of a topic that is not partitioned.
pub(super) fn positions(text: &str) -> Result<Vec<(Option<u32>, Position)>, String> {
    let wrong = || {
        format!(
            "`{text}` names no positions: write LEDGER:ENTRY or LEDGER:ENTRY:PARTITION, several with ; between them"
        )
    };
    let one = |text: &str| {
        let mut parts = text.trim().split(':');
        let mut number = || parts.next()?.parse::<i64>().ok();
        let (ledger, entry) = (number()?, number()?);
        let position = Position::new(u64::try_from(ledger).ok()?, u64::try_from(entry).ok()?);
        let partition = match parts.next() {
            None => None,
            Some("-1") => Some(0),
            Some(text) => Some(text.parse::<u32>().ok()?),
        };
        parts.next().is_none().then_some((partition, position))
    };
    let found: Vec<_> = text.split(';').map(|text| one(text).ok_or_else(wrong)).collect::<Result<_, _>>()?;
    let mut partitions: Vec<_> = found.iter().map(|(partition, _)| *partition).collect();
    partitions.sort_unstable();
    if partitions.windows(2).any(|two| two[0] == two[1]) {
        return Err(format!("`{text}` names a partition twice"));
    }
    Ok(found)
}

/// Canonical text of a start.
pub(super) fn startup(text: &str) -> Result<String, String> {
    match text {
        "earliest" | "earliest-offset" => Ok("earliest".to_string()),
        "latest" | "latest-offset" => Ok("latest".to_string()),
        "timestamp" | "specific-offsets" | "event-time" => Ok(text.to_string()),
        "external-subscription" | "group-offsets" => {
            Err("a subscription's place is not read: name a position, a time, earliest or latest".to_string())
        }
        _ => match text.split_once(':') {
            Some((kind @ ("publish-time" | "event-time"), at)) => Ok(format!("{kind}:{}", time(at)?)),
            Some(_) => positions(text).map(|_| text.to_string()),
            None => Err("write earliest, latest, LEDGER:ENTRY[:PARTITION], or timestamp, event-time or specific-offsets with their own option".to_string()),
        },
    }
}

/// Canonical text of a stop.
pub(super) fn stop(text: &str) -> Result<String, String> {
    match text {
        "latest" | "latest-offset" => Ok("latest-offset".to_string()),
        "never" | "unbounded" => Ok("unbounded".to_string()),
        "timestamp" | "specific-offsets" | "event-time" => Ok(text.to_string()),
        _ => match text.split_once(':') {
            Some((kind @ ("publish-time" | "after-publish-time" | "event-time" | "after-event-time"), at)) => {
                Ok(format!("{kind}:{}", time(at)?))
            }
            Some(("after", rest)) => positions(rest).map(|_| text.to_string()),
            Some(_) => positions(text).map(|_| text.to_string()),
            None => Err("write latest-offset, unbounded, LEDGER:ENTRY[:PARTITION], or timestamp, event-time or specific-offsets with their own option".to_string()),
        },
    }
}

fn companion<'a>(options: &'a BTreeMap<String, String>, mode: &str, key: &str) -> Result<&'a str> {
    let found = options.get(key).map(String::as_str);
    found.ok_or_else(|| Error::invalid(format!("the mode `{mode}` needs the option `{key}`")))
}

/// The options of a start or stop that its mode does not ask for, with what they need.
pub(super) fn without_effect(options: &BTreeMap<String, String>) -> impl Iterator<Item = (&'static str, &'static str)> {
    const TIMES: &[&str] = &["timestamp", "event-time"];
    const PLACES: &[&str] = &["specific-offsets"];
    const COMPANIONS: &[(&str, &str, &[&str], &str)] = &[
        (
            "scan.startup.timestamp-millis",
            "scan.startup.mode",
            TIMES,
            "'scan.startup.mode' = 'timestamp' or 'event-time'",
        ),
        ("scan.startup.specific-offsets", "scan.startup.mode", PLACES, "'scan.startup.mode' = 'specific-offsets'"),
        (
            "scan.bounded.timestamp-millis",
            "scan.bounded.mode",
            TIMES,
            "'scan.bounded.mode' = 'timestamp' or 'event-time'",
        ),
        ("scan.bounded.specific-offsets", "scan.bounded.mode", PLACES, "'scan.bounded.mode' = 'specific-offsets'"),
    ];
    let mode = |key: &str| options.get(key).map(String::as_str);
    let start = mode("scan.startup.mode");
    let inclusive =
        options.contains_key("source.start.inclusive") && matches!(start, None | Some("earliest" | "latest"));
    let inclusive = inclusive.then_some(("source.start.inclusive", "a start at a position or a time"));
    let unused = COMPANIONS.iter().filter(move |(key, of, modes, _)| {
        options.contains_key(*key) && !mode(of).is_some_and(|mode| modes.contains(&mode))
    });
    unused.map(|(key, _, _, needs)| (*key, *needs)).chain(inclusive)
}

/// The start that canonical options name.
pub(super) fn startup_of(options: &BTreeMap<String, String>) -> Result<Startup> {
    let inclusive = options.get("source.start.inclusive").is_none_or(|text| text == "true");
    let at = |key: &str, mode: &str| time(companion(options, mode, key)?).map_err(Error::invalid);
    let listed = |text: &str| positions(text).map_err(Error::invalid);
    const TIME: &str = "scan.startup.timestamp-millis";
    // A time that is not taken in begins a millisecond later.
    let after = |time: i64| if inclusive { time } else { time.saturating_add(1) };
    let Some(mode) = options.get("scan.startup.mode").map(String::as_str) else { return Ok(Startup::Earliest) };
    Ok(match mode {
        "earliest" => Startup::Earliest,
        "latest" => Startup::Latest,
        "timestamp" => Startup::PublishTime(after(at(TIME, mode)?)),
        "event-time" => Startup::EventTime(after(at(TIME, mode)?)),
        "specific-offsets" => {
            let named = listed(companion(options, mode, "scan.startup.specific-offsets")?)?;
            Startup::Positions { positions: named, inclusive }
        }
        _ => match mode.split_once(':') {
            Some(("publish-time", text)) => Startup::PublishTime(after(time(text).map_err(Error::invalid)?)),
            Some(("event-time", text)) => Startup::EventTime(after(time(text).map_err(Error::invalid)?)),
            _ => Startup::Positions { positions: listed(mode)?, inclusive },
        },
    })
}

/// The stop that canonical options name.
pub(super) fn stop_of(options: &BTreeMap<String, String>) -> Result<Stop> {
    let at = |key: &str, mode: &str| time(companion(options, mode, key)?).map_err(Error::invalid);
    let listed = |text: &str| positions(text).map_err(Error::invalid);
    const TIME: &str = "scan.bounded.timestamp-millis";
    let Some(mode) = options.get("scan.bounded.mode").map(String::as_str) else { return Ok(Stop::Never) };
    Ok(match mode {
        "unbounded" => Stop::Never,
        "latest-offset" => Stop::Latest,
        "timestamp" => Stop::PublishTime(at(TIME, mode)?),
        "event-time" => Stop::EventTime { time_ms: at(TIME, mode)?, inclusive: false },
        "specific-offsets" => {
            let named = listed(companion(options, mode, "scan.bounded.specific-offsets")?)?;
            Stop::Positions { positions: named, inclusive: false }
        }
        _ => match mode.split_once(':') {
            Some(("after", rest)) => Stop::Positions { positions: listed(rest)?, inclusive: true },
            Some((kind @ ("publish-time" | "after-publish-time"), text)) => {
                let time_ms = time(text).map_err(Error::invalid)?;
                Stop::PublishTime(if kind == "publish-time" { time_ms } else { time_ms.saturating_add(1) })
            }
            Some((kind @ ("event-time" | "after-event-time"), text)) => {
                Stop::EventTime { time_ms: time(text).map_err(Error::invalid)?, inclusive: kind != "event-time" }
            }
            _ => Stop::Positions { positions: listed(mode)?, inclusive: false },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(given: &[(&str, &str)]) -> BTreeMap<String, String> {
        given.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn starts_and_stops_are_read_from_one_key_or_two() {
        let at = |ledger, entry| Position::new(ledger, entry);
        let starts = [
            (vec![], Startup::Earliest),
            (vec![("scan.startup.mode", "latest")], Startup::Latest),
            (
                vec![("scan.startup.mode", "12:0:1;13:4:-1")],
                Startup::Positions { positions: vec![(Some(1), at(12, 0)), (Some(0), at(13, 4))], inclusive: true },
            ),
            (
                vec![
                    ("scan.startup.mode", "specific-offsets"),
                    ("scan.startup.specific-offsets", "7:3"),
                    ("source.start.inclusive", "false"),
                ],
                Startup::Positions { positions: vec![(None, at(7, 3))], inclusive: false },
            ),
            (vec![("scan.startup.mode", "timestamp"), ("scan.startup.timestamp-millis", "5")], Startup::PublishTime(5)),
            (vec![("scan.startup.mode", "event-time:1970-01-01 00:00:01")], Startup::EventTime(1000)),
            (
                vec![("scan.startup.mode", "publish-time:9"), ("source.start.inclusive", "false")],
                Startup::PublishTime(10),
            ),
        ];
        for (given, expected) in starts {
            assert_eq!(startup_of(&options(&given)).expect("valid"), expected, "{given:?}");
        }
        let stops = [
            ("unbounded", Stop::Never),
            ("latest-offset", Stop::Latest),
            ("4:1", Stop::Positions { positions: vec![(None, at(4, 1))], inclusive: false }),
            ("after:4:1:2", Stop::Positions { positions: vec![(Some(2), at(4, 1))], inclusive: true }),
            ("publish-time:7", Stop::PublishTime(7)),
            ("after-publish-time:7", Stop::PublishTime(8)),
            ("event-time:7", Stop::EventTime { time_ms: 7, inclusive: false }),
            ("after-event-time:7", Stop::EventTime { time_ms: 7, inclusive: true }),
        ];
        for (mode, expected) in stops {
            assert_eq!(stop(mode).expect("valid"), mode);
            assert_eq!(stop_of(&options(&[("scan.bounded.mode", mode)])).expect("valid"), expected);
        }
    }

    #[test]
    fn what_cannot_be_a_place_is_refused() {
        for text in ["12", "12:", "a:b", "1:2:3:4", "1:2;;", "-1:2", "1:2:1;3:4:1"] {
            assert!(startup(text).is_err() && stop(text).is_err(), "{text}");
        }
        let error = startup_of(&options(&[("scan.startup.mode", "timestamp")])).expect_err("no time").to_string();
        assert!(error.contains("scan.startup.timestamp-millis"), "{error}");
        assert!(startup("external-subscription").expect_err("refused").contains("a subscription's place"));
    }
}
