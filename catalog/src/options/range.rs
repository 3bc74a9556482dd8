//! Where reading a table starts and stops, as options say it.
//!
//! ```text
//!  scan.startup.mode  = earliest │ latest │ L:E[:P[:B]];… │ publish-time:MS │ event-time:MS
//!                       timestamp, event-time (+ scan.startup.timestamp-millis) │ specific-offsets (+ scan.startup.specific-offsets)
//!  scan.bounded.mode  = unbounded │ latest-offset │ [after:]L:E[:P[:B]];… │ [after-]publish-time:MS │ [after-]event-time:MS │ the same two-key forms
//! ```
//!
//! `source.stop.at-event-time` stands beside any `scan.bounded.mode`: what is reached first stops the read.
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

/// A place as it is written: partition, position and, of a message's id, the place in its entry.
type Named = (Option<u32>, Position, Option<u32>);

/// `LEDGER:ENTRY[:PARTITION[:BATCH_INDEX]]`, several with `;` between them. Partition -1 is that of a topic that is not partitioned, batch index -1 that of a
/// message that is an entry of its own.
fn named(text: &str) -> Result<Vec<Named>, String> {
    let wrong = || {
        format!(
            "`{text}` names no positions: write LEDGER:ENTRY, LEDGER:ENTRY:PARTITION or a message's id, LEDGER:ENTRY:PARTITION:BATCH_INDEX, several with ; between \
             them"
        )
    };
    let one = |text: &str| -> Option<Named> {
        let mut parts = text.trim().split(':');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let position = Position::new(number()?, number()?);
        let partition = match parts.next() {
            None => None,
            Some("-1") => Some(0),
            Some(text) => Some(text.parse::<u32>().ok()?),
        };
        let index = match parts.next() {
            None | Some("-1") => None,
            Some(text) => Some(text.parse::<u32>().ok()?),
        };
        parts.next().is_none().then_some((partition, position, index))
    };
    let found: Vec<_> = text.split(';').map(|text| one(text).ok_or_else(wrong)).collect::<Result<_, _>>()?;
    let mut partitions: Vec<_> = found.iter().map(|(partition, ..)| *partition).collect();
    partitions.sort_unstable();
    if partitions.windows(2).any(|two| two[0] == two[1]) {
        return Err(format!("`{text}` names a partition twice"));
    }
    Ok(found)
}

/// The same without the places in entries: whether they can be kept depends on which side of them is read.
pub(super) fn positions(text: &str) -> Result<Vec<(Option<u32>, Position)>, String> {
    Ok(named(text)?.into_iter().map(|(partition, position, _)| (partition, position)).collect())
}

/// Positions at which whole entries come in, those named among them (`inclusive`) or not. Entries are read whole: with the entry of a message come those beside it,
/// and what would leave some of an entry's messages out is refused.
fn whole(text: &str, inclusive: bool, is_start: bool) -> Result<Vec<(Option<u32>, Position)>> {
    let named = named(text).map_err(Error::invalid)?;
    let splits = |index: u32| !inclusive && (is_start || index > 0);
    if let Some((_, position, Some(index))) = named.iter().find(|(.., index)| index.is_some_and(splits)) {
        let at = format!("{}:{}", position.ledger, position.entry);
        let instead = match is_start {
            true => {
                "leave 'source.start.inclusive' out to start with all of the entry, or leave the batch index out to start behind it"
            }
            false => {
                "write 'source.stop.after-message-id' to stop behind the entry, or leave the batch index out to stop before it"
            }
        };
        return Err(Error::invalid(format!(
            "`{text}` names message {index} of the entry {at}, and entries are read whole, so that no read begins or ends in one: {instead}"
        )));
    }
    Ok(named.into_iter().map(|(partition, position, _)| (partition, position)).collect())
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

/// The options of a start, a stop or a watermark that are without effect for want of another one, with what they need.
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
        (
            "scan.watermark.emit.on-event.gap",
            "scan.watermark.emit.strategy",
            &["on-event"],
            "'scan.watermark.emit.strategy' = 'on-event'",
        ),
    ];
    let mode = |key: &str| options.get(key).map(String::as_str);
    let start = mode("scan.startup.mode");
    let inclusive =
        options.contains_key("source.start.inclusive") && matches!(start, None | Some("earliest" | "latest"));
    let inclusive = inclusive.then_some(("source.start.inclusive", "a start at a position or a time"));
    let unused = COMPANIONS.iter().filter(move |(key, of, modes, _)| {
        options.contains_key(*key) && !mode(of).is_some_and(|mode| modes.contains(&mode))
    });
    const GROUP: &str = "scan.watermark.alignment.group";
    const DRIFT: &str = "scan.watermark.alignment.max-drift";
    let alone = match (options.contains_key(GROUP), options.contains_key(DRIFT)) {
        (true, false) => Some((GROUP, "'scan.watermark.alignment.max-drift'")),
        (false, true) => Some((DRIFT, "'scan.watermark.alignment.group'")),
        _ => None,
    };
    unused.map(|(key, _, _, needs)| (*key, *needs)).chain(inclusive).chain(alone)
}

/// The start that canonical options name.
pub(super) fn startup_of(options: &BTreeMap<String, String>) -> Result<Startup> {
    let inclusive = options.get("source.start.inclusive").is_none_or(|text| text == "true");
    let at = |key: &str, mode: &str| time(companion(options, mode, key)?).map_err(Error::invalid);
    let listed = |text: &str| whole(text, inclusive, true);
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

/// An event time up to which is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventStop {
    /// In milliseconds since 1970.
    pub time_ms: i64,
    /// Whether rows of this time are read too.
    pub inclusive: bool,
}

impl EventStop {
    /// The watermark behind which nothing is wanted.
    pub fn watermark_ms(self) -> i64 {
        self.time_ms.saturating_add(i64::from(self.inclusive))
    }
}

/// The event time that canonical text names: a time, or `after:` and a time.
pub(super) fn event_stop(text: &str) -> Result<EventStop, String> {
    let (inclusive, text) = text.strip_prefix("after:").map_or((false, text), |rest| (true, rest));
    time(text).map(|time_ms| EventStop { time_ms, inclusive })
}

/// The event time at which reading stops, where canonical options name one.
pub(super) fn event_stop_of(options: &BTreeMap<String, String>) -> Result<Option<EventStop>> {
    let at = |text: &str, inclusive: bool| {
        time(text).map(|time_ms| EventStop { time_ms, inclusive }).map_err(Error::invalid)
    };
    let of_mode = match options.get("scan.bounded.mode").map(String::as_str) {
        None => None,
        Some(mode @ "event-time") => Some(at(companion(options, mode, "scan.bounded.timestamp-millis")?, false)?),
        Some(mode) => match mode.split_once(':') {
            Some(("event-time", text)) => Some(at(text, false)?),
            Some(("after-event-time", text)) => Some(at(text, true)?),
            _ => None,
        },
    };
    let own =
        options.get("source.stop.at-event-time").map(|text| event_stop(text).map_err(Error::invalid)).transpose()?;
    match (of_mode, own) {
        (Some(of_mode), Some(own)) if of_mode != own => Err(Error::invalid(
            "`scan.bounded.mode` and `source.stop.at-event-time` name two event times: keep one, for example with 'scan.bounded.mode' = 'unbounded'",
        )),
        (of_mode, own) => Ok(own.or(of_mode)),
    }
}

/// The stop that canonical options name; [`event_stop_of`] says the event time beside it.
pub(super) fn stop_of(options: &BTreeMap<String, String>) -> Result<Stop> {
    let at = |key: &str, mode: &str| time(companion(options, mode, key)?).map_err(Error::invalid);
    let listed = |text: &str, inclusive: bool| whole(text, inclusive, false);
    const TIME: &str = "scan.bounded.timestamp-millis";
    let Some(mode) = options.get("scan.bounded.mode").map(String::as_str) else { return Ok(Stop::Never) };
    Ok(match mode {
        "unbounded" => Stop::Never,
        "latest-offset" => Stop::Latest,
        "timestamp" => Stop::PublishTime(at(TIME, mode)?),
        "event-time" => Stop::Never,
        "specific-offsets" => {
            let named = listed(companion(options, mode, "scan.bounded.specific-offsets")?, false)?;
            Stop::Positions { positions: named, inclusive: false }
        }
        _ => match mode.split_once(':') {
            Some(("after", rest)) => Stop::Positions { positions: listed(rest, true)?, inclusive: true },
            Some((kind @ ("publish-time" | "after-publish-time"), text)) => {
                let time_ms = time(text).map_err(Error::invalid)?;
                Stop::PublishTime(if kind == "publish-time" { time_ms } else { time_ms.saturating_add(1) })
            }
            Some(("event-time" | "after-event-time", _)) => Stop::Never,
            _ => Stop::Positions { positions: listed(mode, false)?, inclusive: false },
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
            ("event-time:7", Stop::Never),
            ("after-event-time:7", Stop::Never),
        ];
        for (mode, expected) in stops {
            assert_eq!(stop(mode).expect("valid"), mode);
            assert_eq!(stop_of(&options(&[("scan.bounded.mode", mode)])).expect("valid"), expected);
        }
    }

    #[test]
    fn a_stop_at_an_event_time_stands_alone_or_beside_another() {
        const OWN: &str = "source.stop.at-event-time";
        const MODE: &str = "scan.bounded.mode";
        let at = |time_ms: i64| Some(EventStop { time_ms, inclusive: false });
        let after = |time_ms: i64| Some(EventStop { time_ms, inclusive: true });
        let cases = [
            (vec![], None),
            (vec![(MODE, "latest-offset")], None),
            (vec![(MODE, "publish-time:7")], None),
            (vec![(MODE, "event-time:7")], at(7)),
            (vec![(MODE, "after-event-time:7")], after(7)),
            (vec![(MODE, "event-time"), ("scan.bounded.timestamp-millis", "9")], at(9)),
            (vec![(OWN, "5")], at(5)),
            (vec![(OWN, "5"), (MODE, "latest-offset")], at(5)),
            (vec![(OWN, "5"), (MODE, "4:1")], at(5)),
            (vec![(OWN, "after:7"), (MODE, "after-event-time:7")], after(7)),
        ];
        for (given, expected) in cases {
            assert_eq!(event_stop_of(&options(&given)).expect("valid"), expected, "{given:?}");
        }
        let two = options(&[(OWN, "5"), (MODE, "event-time:7")]);
        assert!(event_stop_of(&two).expect_err("two").to_string().contains("keep one"));
        assert!(event_stop_of(&options(&[(MODE, "event-time")])).is_err(), "the time is missing");
        let beside = options(&[(OWN, "5"), (MODE, "latest-offset")]);
        assert_eq!(stop_of(&beside).expect("valid"), Stop::Latest);
    }

    #[test]
    fn what_cannot_be_a_place_is_refused() {
        for text in ["12", "12:", "a:b", "1:2:3:4:5", "1:2:3:x", "1:2:3:-2", "1:2:-2:0", "1:2;;", "-1:2", "1:2:1;3:4:1"]
        {
            assert!(startup(text).is_err() && stop(text).is_err(), "{text}");
        }
        let error = startup_of(&options(&[("scan.startup.mode", "timestamp")])).expect_err("no time").to_string();
        assert!(error.contains("scan.startup.timestamp-millis"), "{error}");
        assert!(startup("external-subscription").expect_err("refused").contains("a subscription's place"));
    }

    #[test]
    fn a_messages_id_is_its_entry_and_no_message_is_lost() {
        let at = Position::new(5, 3);
        let start = |text: &str, inclusive: &str| {
            startup(text).expect("positions");
            startup_of(&options(&[("scan.startup.mode", text), ("source.start.inclusive", inclusive)]))
        };
        let stop_at = |text: &str| {
            stop(text).expect("positions");
            stop_of(&options(&[("scan.bounded.mode", text)]))
        };
        // As `message_id_text` prints it: the topic's partition, or -1 where it has none, and -1 for an entry of one message.
        for (text, partition) in [("5:3:-1:0", 0), ("5:3:2:0", 2), ("5:3:2:7", 2), ("5:3:2:-1", 2), ("5:3:2", 2)] {
            let positions = vec![(Some(partition), at)];
            let with = Startup::Positions { positions: positions.clone(), inclusive: true };
            assert_eq!(start(text, "true").expect(text), with, "{text}");
            let with = Stop::Positions { positions, inclusive: true };
            assert_eq!(stop_at(&format!("after:{text}")).expect(text), with, "{text}");
        }
        for text in ["5:3:2:-1", "5:3:2"] {
            let without = Startup::Positions { positions: vec![(Some(2), at)], inclusive: false };
            assert_eq!(start(text, "false").expect(text), without, "{text}");
        }
        for text in ["5:3:2:-1", "5:3:2:0"] {
            let without = Stop::Positions { positions: vec![(Some(2), at)], inclusive: false };
            assert_eq!(
                stop_at(text).expect(text),
                without,
                "{text}: nothing of the entry comes before its first message"
            );
        }
        for (refused, part) in [
            (start("5:3:2:0", "false").err(), "'source.start.inclusive'"),
            (start("1:2:0;5:3:2:1", "false").err(), "message 1 of the entry 5:3"),
            (stop_at("5:3:2:1").err(), "'source.stop.after-message-id'"),
        ] {
            let error = refused.expect(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
