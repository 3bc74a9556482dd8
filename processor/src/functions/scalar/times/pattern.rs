//! Java's date patterns (`yyyy-MM-dd HH:mm:ss.SSS`), prepared once, for writing and for reading.

use aquifer_model::{Error, Result};
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A letter and how often it stands.
    Field(char, usize),
}

/// A prepared pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    /// Fails with `Invalid` on a letter that means nothing here.
    pub fn new(text: &str) -> Result<Self> {
        let mut parts: Vec<Part> = Vec::new();
        let mut letters = text.chars().peekable();
        let push_text = |parts: &mut Vec<Part>, c: char| match parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => parts.push(Part::Text(c.to_string())),
        };
        while let Some(letter) = letters.next() {
            if letter == '\'' {
                if letters.next_if_eq(&'\'').is_some() {
                    push_text(&mut parts, '\'');
                    continue;
                }
                loop {
                    match letters.next() {
                        None => {
                            return Err(Error::invalid(format!("the format '{text}' has a quote that is not closed")));
                        }
                        Some('\'') if letters.next_if_eq(&'\'').is_some() => push_text(&mut parts, '\''),
                        Some('\'') => break,
                        Some(c) => push_text(&mut parts, c),
                    }
                }
                continue;
            }
            if !letter.is_ascii_alphabetic() {
                push_text(&mut parts, letter);
                continue;
            }
            let mut count = 1;
            while letters.next_if_eq(&letter).is_some() {
                count += 1;
            }
            if !"yuMLdDHhkKmsSaEenNAwQq".contains(letter) {
                return Err(Error::invalid(format!(
                    "the letter `{letter}` of the format '{text}' is not known: put text in single quotes"
                )));
            }
            parts.push(Part::Field(letter, count));
        }
        Ok(Self { parts })
    }

    /// A time's text.
    pub fn format(&self, time: &NaiveDateTime) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(words) => text.push_str(words),
                Part::Field(letter, count) => write_field(*letter, *count, time, &mut text),
            }
        }
        text
    }

    /// A text's time; `None` if it does not fit. A day that the month does not have becomes its last.
    pub fn parse(&self, text: &str) -> Option<NaiveDateTime> {
        let mut read = Read::default();
        let mut rest = text.trim();
        for (n, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(words) => rest = rest.strip_prefix(words.as_str())?,
                Part::Field(letter, count) => {
                    // Fields side by side have their own width.
                    let joined = matches!(self.parts.get(n + 1), Some(Part::Field(..)));
                    rest = read.field(*letter, *count, joined, rest)?;
                }
            }
        }
        if rest.is_empty() { read.time() } else { None }
    }
}

fn write_field(letter: char, count: usize, time: &NaiveDateTime, text: &mut String) {
    let mut number = |value: i64, width: usize| text.push_str(&format!("{value:0width$}"));
    match letter {
        'y' | 'u' if count == 2 => number(i64::from(time.year()).rem_euclid(100), 2),
        'y' | 'u' => number(time.year().into(), count),
        'M' | 'L' if count <= 2 => number(time.month().into(), count),
        'M' | 'L' => {
            let name = MONTHS[time.month0() as usize];
            text.push_str(if count == 3 { &name[..3] } else { name });
        }
        'd' => number(time.day().into(), count),
        'D' => number(time.ordinal().into(), count),
        'H' => number(time.hour().into(), count),
        'k' => number(if time.hour() == 0 { 24 } else { time.hour().into() }, count),
        'K' => number((time.hour() % 12).into(), count),
        'h' => number(time.hour12().1.into(), count),
        'm' => number(time.minute().into(), count),
        's' => number(time.second().into(), count),
        'S' => {
            let digits = format!("{:09}", time.nanosecond() % 1_000_000_000);
            text.extend(digits.chars().chain(std::iter::repeat('0')).take(count));
        }
        'n' | 'N' => number(time.nanosecond().into(), count),
        'A' => number((time.num_seconds_from_midnight() * 1000 + time.nanosecond() / 1_000_000).into(), count),
        'a' => text.push_str(if time.hour() < 12 { "AM" } else { "PM" }),
        'E' => {
            let name = DAYS[time.weekday().num_days_from_monday() as usize];
            text.push_str(if count <= 3 { &name[..3] } else { name });
        }
        'e' => number(time.weekday().number_from_sunday().into(), count),
        'w' => number(time.iso_week().week().into(), count),
        'Q' | 'q' => number((time.month0() / 3 + 1).into(), count),
        _ => {}
    }
}

/// What has been read.
#[derive(Debug, Default)]
struct Read {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    ordinal: Option<u32>,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    half: Option<bool>,
}

impl Read {
    fn field<'a>(&mut self, letter: char, count: usize, joined: bool, text: &'a str) -> Option<&'a str> {
        let names = |names: &[&str], short: bool| -> Option<(u32, &'a str)> {
            names.iter().enumerate().find_map(|(n, name)| {
                let name = if short { &name[..3] } else { name };
                let head = text.get(..name.len())?;
                head.eq_ignore_ascii_case(name).then(|| (n as u32 + 1, &text[name.len()..]))
            })
        };
        if matches!(letter, 'M' | 'L') && count >= 3 {
            let (month, rest) = names(&MONTHS, count == 3)?;
            self.month = Some(month);
            return Some(rest);
        }
        if letter == 'E' {
            return names(&DAYS, count <= 3).map(|(_, rest)| rest);
        }
        if letter == 'a' {
            let head = text.get(..2)?;
            self.half = Some(head.eq_ignore_ascii_case("PM"));
            return (self.half == Some(true) || head.eq_ignore_ascii_case("AM")).then(|| &text[2..]);
        }
        let most = match letter {
            _ if joined => count,
            'S' => count,
            'y' | 'u' if count != 2 => 10,
            'D' => 3,
            _ => count.max(2),
        };
        let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        // As many digits as letters; a single letter takes what there is.
        if length == 0 || (length < count && count > 1 && letter != 'y') {
            return None;
        }
        let (digits, rest) = text.split_at(length);
        let value: u32 = digits.parse().ok()?;
        match letter {
            'y' | 'u' if count == 2 => self.year = Some(2000 + i32::try_from(value).ok()?),
            'y' | 'u' => self.year = Some(i32::try_from(value).ok()?),
            'M' | 'L' => self.month = Some(value),
            'd' => self.day = Some(value),
            'D' => self.ordinal = Some(value),
            'H' | 'h' | 'K' => self.hour = value,
            'k' => self.hour = value % 24,
            'm' => self.minute = value,
            's' => self.second = value,
            'S' => self.nanos = value.checked_mul(10u32.checked_pow(9 - u32::try_from(length).ok()?)?)?,
            _ => {}
        }
        Some(rest)
    }

    fn time(&self) -> Option<NaiveDateTime> {
        let year = self.year.unwrap_or(1970);
        let day = match self.ordinal {
            Some(ordinal) => NaiveDate::from_yo_opt(year, ordinal)?,
            None => last_of_month(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let hour = match self.half {
            Some(true) => self.hour % 12 + 12,
            Some(false) => self.hour % 12,
            None => self.hour,
        };
        Some(day.and_time(NaiveTime::from_hms_nano_opt(hour, self.minute, self.second, self.nanos)?))
    }
}

/// A day, or the month's last where it has fewer than 31.
fn last_of_month(year: i32, month: u32, day: u32) -> Option<NaiveDate> {
    if !(1..=31).contains(&day) {
        return None;
    }
    (0..4).find_map(|back| {
        NaiveDate::from_ymd_opt(year, month, day.checked_sub(back).filter(|_| day - back >= 28 || back == 0)?)
    })
}

/// `2024-1-5 1:2:3.5`, or the day alone: what TO_TIMESTAMP takes without a format.
pub(super) fn lenient(text: &str) -> Option<NaiveDateTime> {
    let (day, clock) = match text.trim().split_once(' ') {
        Some((day, clock)) => (day, Some(clock.trim())),
        None => (text.trim(), None),
    };
    let number = |text: &str| -> Option<u32> {
        let fits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        if fits { text.parse().ok() } else { None }
    };
    let mut parts = day.split('-');
    let [year, month, day] = [number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?];
    if parts.next().is_some() {
        return None;
    }
    let day = last_of_month(i32::try_from(year).ok()?, month, day)?;
    let time = match clock {
        None => NaiveTime::MIN,
        Some(clock) => {
            let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
            let mut parts = clock.split(':');
            let [hour, minute, second] = [number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?];
            if parts.next().is_some() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
            NaiveTime::from_hms_nano_opt(hour, minute, second, digits.parse().ok()?)?
        }
    };
    Some(day.and_time(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").expect(text)
    }

    #[test]
    fn times_are_written_as_java_writes_them() {
        let at = time("2024-02-29 13:45:56.789");
        for (pattern, expected) in [
            ("yyyy-MM-dd HH:mm:ss.SSS", "2024-02-29 13:45:56.789"),
            ("EEE d MMM yy", "Thu 29 Feb 24"),
            ("DDD", "060"),
            ("hh a", "01 PM"),
            ("dd 'of' MM", "29 of 02"),
        ] {
            assert_eq!(Pattern::new(pattern).expect(pattern).format(&at), expected, "{pattern}");
        }
        assert!(Pattern::new("yyyy-MM-dd'T").is_err());
        assert!(Pattern::new("bbb").is_err());
    }

    #[test]
    fn texts_are_read_by_patterns_and_by_the_default_forms() {
        let read = |pattern: &str, text: &str| Pattern::new(pattern).expect(pattern).parse(text);
        assert_eq!(read("dd.MM.yyyy HH:mm", "29.02.2024 01:02"), Some(time("2024-02-29 01:02:00")));
        assert_eq!(read("yyyyMMdd", "20240229"), Some(time("2024-02-29 00:00:00")));
        assert_eq!(read("yyyy-MM-dd'T'HH:mm:ss", "2024-02-29T01:02:03"), Some(time("2024-02-29 01:02:03")));
        assert_eq!(read("yyyy-MM-dd", "2024-13-01"), None);
        assert_eq!(lenient("2023-02-29 01:02:03"), Some(time("2023-02-28 01:02:03")));
        assert_eq!(lenient("2024-1-5 1:2:3"), Some(time("2024-01-05 01:02:03")));
        assert_eq!(lenient("nonsense"), None);
    }
}
