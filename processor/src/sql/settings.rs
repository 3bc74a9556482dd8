//! A session's settings: Flink's keys that mean something here, those that are accepted without meaning, the rest refused.

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_catalog::options::parse_duration;
use aquifer_model::{Error, Result};

use crate::connector::nearest_known;
use crate::streaming::JobSettings;

/// Keys that mean something, with their defaults.
const KNOWN: &[(&str, &str)] = &[
    ("execution.runtime-mode", "streaming"),
    ("parallelism.default", "1"),
    ("table.exec.source.idle-timeout", "0 ms"),
    ("pipeline.auto-watermark-interval", "200 ms"),
    ("table.dynamic-table-options.enabled", "true"),
    ("table.local-time-zone", "UTC"),
    ("table.display.max-column-width", "30"),
    ("sql-client.execution.result-mode", "tableau"),
    ("sql-client.display.print-time-cost", "true"),
    ("sql-client.display.pager", "true"),
];

/// Keys that Flink took before, and what they are called now.
const FORMER: &[(&str, &str)] = &[("sql-client.display.max-column-width", "table.display.max-column-width")];

/// Flink's keys that change nothing here: the answer is the same without them.
const WITHOUT_MEANING: &[&str] = &[
    "execution.checkpointing.dir",
    "execution.checkpointing.externalized-checkpoint-retention",
    "execution.checkpointing.interval",
    "execution.checkpointing.max-concurrent-checkpoints",
    "execution.checkpointing.min-pause",
    "execution.checkpointing.mode",
    "execution.checkpointing.savepoint-dir",
    "execution.checkpointing.storage",
    "execution.checkpointing.timeout",
    "execution.checkpointing.tolerable-failed-checkpoints",
    "execution.checkpointing.unaligned.enabled",
    "execution.target",
    "jobmanager.memory.process.size",
    "pipeline.max-parallelism",
    "pipeline.name",
    "pipeline.object-reuse",
    "pipeline.operator-chaining.enabled",
    "restart-strategy.type",
    "sql-client.display.color-schema",
    "sql-client.execution.max-table-result.rows",
    "sql-client.verbose",
    "state.backend.incremental",
    "state.backend.type",
    CATALOG_STORE,
    "table.exec.async-lookup.buffer-capacity",
    "table.exec.async-lookup.timeout",
    "table.exec.disabled-operators",
    "table.exec.mini-batch.allow-latency",
    "table.exec.mini-batch.enabled",
    "table.exec.mini-batch.size",
    "table.exec.resource.default-parallelism",
    "table.exec.sink.keyed-shuffle",
    "table.exec.sort.default-limit",
    "table.exec.spill-compression.enabled",
    "table.optimizer.agg-phase-strategy",
    "table.optimizer.bushy-join-reorder-threshold",
    "table.optimizer.distinct-agg.split.bucket-num",
    "table.optimizer.distinct-agg.split.enabled",
    "table.optimizer.dynamic-filtering.enabled",
    "table.optimizer.incremental-agg-enabled",
    "table.optimizer.join-reorder-enabled",
    "table.optimizer.multi-join.enabled",
    "table.optimizer.reuse-source-enabled",
    "table.optimizer.reuse-sub-plan-enabled",
    "table.optimizer.runtime-filter.enabled",
    "table.optimizer.source.aggregate-pushdown-enabled",
    "table.optimizer.source.predicate-pushdown-enabled",
    "taskmanager.memory.process.size",
    "taskmanager.numberOfTaskSlots",
];

/// Where Flink keeps catalogs.
const CATALOG_STORE: &str = "table.catalog-store.kind";

/// A key under its present name; the error for an unknown one names the nearest.
fn known_key(key: &str) -> Result<&str> {
    let key = FORMER.iter().find(|(former, _)| *former == key).map_or(key, |(_, now)| now);
    let known = KNOWN.iter().map(|(key, _)| *key).chain(WITHOUT_MEANING.iter().copied());
    if known.clone().any(|one| one == key) {
        return Ok(key);
    }
    Err(Error::invalid(format!("unknown setting `{key}`: {}", nearest_known(key, known))))
}

/// The settings of one session.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    set: BTreeMap<String, String>,
}

impl Settings {
    /// Sets a key. Gives a notice if it has no meaning here.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Option<String>> {
        let key = known_key(key)?;
        if key == CATALOG_STORE && !value.eq_ignore_ascii_case("file") {
            return Err(Error::unsupported(format!(
                "'{key}' = '{value}' is not supported: catalogs are always kept in the data directory (`--data-dir`); objects of the session only are TEMPORARY"
            )));
        }
        if WITHOUT_MEANING.contains(&key) {
            self.set.insert(key.to_string(), value.to_string());
            return Ok(Some(format!("`{key}` is accepted and changes nothing here")));
        }
        let mut changed = self.clone();
        changed.set.insert(key.to_string(), value.to_string());
        changed.check()?;
        *self = changed;
        Ok(None)
    }

    fn check(&self) -> Result<()> {
        let mode = self.get("execution.runtime-mode");
        if !matches!(mode, "batch" | "streaming") {
            return Err(Error::invalid(format!("`execution.runtime-mode` is 'batch' or 'streaming', not '{mode}'")));
        }
        self.zone()?;
        for key in
            ["table.dynamic-table-options.enabled", "sql-client.display.print-time-cost", "sql-client.display.pager"]
        {
            if !matches!(self.get(key), "true" | "false") {
                return Err(Error::invalid(format!("`{key}` is 'true' or 'false'")));
            }
        }
        let shown = self.get("sql-client.execution.result-mode");
        if !["table", "changelog", "tableau"].iter().any(|mode| shown.eq_ignore_ascii_case(mode)) {
            return Err(Error::invalid(format!(
                "`sql-client.execution.result-mode` is 'table', 'changelog' or 'tableau', not '{shown}'"
            )));
        }
        if !self.get("table.display.max-column-width").parse::<usize>().is_ok_and(|width| (1..=10_000).contains(&width))
        {
            return Err(Error::invalid("`table.display.max-column-width` is a number from 1 to 10000"));
        }
        self.job().map(drop)
    }

    /// Forgets a key, or all.
    pub fn reset(&mut self, key: Option<&str>) -> Result<()> {
        match key {
            Some(key) => {
                let key = known_key(key)?;
                self.set.remove(key);
            }
            None => self.set.clear(),
        }
        Ok(())
    }

    /// A key's value.
    pub fn get(&self, key: &str) -> &str {
        let default = || KNOWN.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value);
        self.set.get(key).map_or_else(default, String::as_str)
    }

    /// Whether the session set it.
    pub fn is_set(&self, key: &str) -> bool {
        self.set.contains_key(key)
    }

    /// All keys with their values.
    pub fn all(&self) -> BTreeMap<String, String> {
        let known = KNOWN.iter().map(|(key, _)| (key.to_string(), self.get(key).to_string()));
        known.chain(self.set.clone()).collect()
    }

    /// Whether statements run as streams.
    pub fn is_streaming(&self) -> bool {
        self.get("execution.runtime-mode") == "streaming"
    }

    /// The session's zone as Arrow names it: a region, or an offset as `+hh:mm`.
    pub fn zone(&self) -> Result<String> {
        let text = self.get("table.local-time-zone");
        zone(text).ok_or_else(|| {
            Error::invalid(format!(
                "`table.local-time-zone` is a region as 'Europe/Paris' or an offset as 'GMT+02:00', not '{text}'"
            ))
        })
    }

    /// How many workers, or partitions of a batch query.
    pub fn parallelism(&self) -> Result<usize> {
        let text = self.get("parallelism.default");
        text.parse()
            .ok()
            .filter(|n| (1..=256).contains(n))
            .ok_or_else(|| Error::invalid(format!("`parallelism.default` is a number from 1 to 256, not '{text}'")))
    }

    /// How a streaming job runs.
    pub fn job(&self) -> Result<JobSettings> {
        let duration = |key: &str| -> Result<Duration> {
            parse_duration(self.get(key)).map_err(|error| Error::invalid(format!("`{key}`: {error}")))
        };
        Ok(JobSettings {
            workers: self.parallelism()?,
            idle_timeout: duration("table.exec.source.idle-timeout")?,
            watermark_per_row: duration("pipeline.auto-watermark-interval")?.is_zero(),
            ..JobSettings::default()
        })
    }
}

/// A zone as Arrow names it; `None`: there is no such zone.
fn zone(text: &str) -> Option<String> {
    let text = match text {
        "default" | "Z" | "UT" => "UTC",
        _ => text,
    };
    if text.parse::<chrono_tz::Tz>().is_ok() {
        return Some(text.to_string());
    }
    let offset = ["GMT", "UTC", "UT"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    let (sign, digits) = match offset.split_at_checked(1)? {
        (sign @ ("+" | "-"), digits) => (sign, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) if minutes.len() == 2 => (hours, minutes),
        Some(_) => return None,
        None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
        None => (digits, "00"),
    };
    let is_digits = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(hours) || !is_digits(minutes) {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours * 60 + minutes <= 18 * 60 && minutes < 60).then(|| format!("{sign}{hours:02}:{minutes:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_when_they_are_set() {
        let mut settings = Settings::default();
        assert!(settings.is_streaming());
        assert_eq!(settings.set("execution.runtime-mode", "batch").expect("known"), None);
        assert!(!settings.is_streaming());
        assert!(
            settings
                .set("execution.runtime-mod", "batch")
                .expect_err("unknown")
                .to_string()
                .contains("execution.runtime-mode")
        );
        assert!(settings.set("execution.runtime-mode", "fast").is_err());
        assert!(settings.set("parallelism.default", "0").is_err());
        assert!(settings.set("table.exec.mini-batch.enabled", "true").expect("accepted").is_some());
        settings.set("pipeline.auto-watermark-interval", "0 ms").expect("a duration");
        assert!(settings.job().expect("valid").watermark_per_row);
        settings.reset(Some("execution.runtime-mode")).expect("known");
        assert!(settings.is_streaming());
        let error = settings.reset(Some("execution.runtime-mod")).expect_err("unknown").to_string();
        assert!(error.contains("`execution.runtime-mode`"), "{error}");
        settings.set("sql-client.display.max-column-width", "7").expect("its former name");
        settings.reset(Some("sql-client.display.max-column-width")).expect("its former name");
        assert_eq!(settings.get("table.display.max-column-width"), "30");
        assert!(settings.set(CATALOG_STORE, "file").expect("accepted").is_some());
        assert!(settings.set(CATALOG_STORE, "generic_in_memory").expect_err("refused").to_string().contains("--data"));
    }

    #[test]
    fn zones_are_regions_or_offsets() {
        for (text, expected) in [
            ("UTC", Some("UTC")),
            ("America/New_York", Some("America/New_York")),
            ("GMT+08:00", Some("+08:00")),
            ("GMT-3", Some("-03:00")),
            ("UTC+0530", Some("+05:30")),
            ("-08:00", Some("-08:00")),
            ("GMT+19:00", None),
            ("GMT+08:60", None),
            ("Mars/Olympus", None),
            ("+é", None),
            ("", None),
        ] {
            assert_eq!(zone(text).as_deref(), expected, "{text}");
            assert_eq!(Settings::default().set("table.local-time-zone", text).is_ok(), expected.is_some(), "{text}");
        }
    }
}
