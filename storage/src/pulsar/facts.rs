//! What the admin API's answers mean. Pure: JSON in, our nouns out.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use aquifer_model::{Cut, Error, Position, Result, TopicName};

use crate::log::LedgerInfo;

/// The texts of an array.
pub(super) fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}

/// Where the brokers are, by the clusters' entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServiceChoice {
    Use(String),
    NoneNamed,
    Several,
}

/// Of several clusters that one is meant whose admin address is the one asked.
pub(super) fn choose_service_url(entries: &[Value], asked: &str, tls: bool) -> ServiceChoice {
    let (broker, web) = if tls { ("brokerServiceUrlTls", "serviceUrlTls") } else { ("brokerServiceUrl", "serviceUrl") };
    let text = |entry: &Value, name: &str| {
        entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_string)
    };
    let named: BTreeSet<String> = entries.iter().filter_map(|entry| text(entry, broker)).collect();
    let ours =
        |entry: &&Value| text(entry, web).is_some_and(|url| url.trim_end_matches('/') == asked.trim_end_matches('/'));
    let meant = entries.iter().find(ours).and_then(|entry| text(entry, broker));
    match (meant, named.len()) {
        (Some(url), _) => ServiceChoice::Use(url),
        (None, 0) => ServiceChoice::NoneNamed,
        (None, 1) => named.into_iter().next().map_or(ServiceChoice::NoneNamed, ServiceChoice::Use),
        (None, _) => ServiceChoice::Several,
    }
}

/// Each topic once, sorted, without system topics.
pub(super) fn topics(single: &[String], partitioned: &[String]) -> Vec<TopicName> {
    let parse =
        |names: &[String]| -> BTreeSet<TopicName> { names.iter().filter_map(|name| name.parse().ok()).collect() };
    let mut found = parse(partitioned);
    for topic in parse(single) {
        let is_partition = topic.name.rsplit_once("-partition-").is_some_and(|(name, number)| {
            number.parse::<u32>().is_ok()
                && found.contains(&TopicName::new(topic.tenant.as_str(), topic.namespace.as_str(), name))
        });
        if !is_partition {
            found.insert(topic);
        }
    }
    let ours = |topic: &TopicName| !topic.name.starts_with("__") && !topic.name.contains("__transaction_");
    found.into_iter().filter(ours).collect()
}

/// [`topics`] where nobody tells which are partitioned: what is called like a first partition is one.
pub(super) fn topics_of_names(names: &[String]) -> Vec<TopicName> {
    let partitioned = names.iter().filter_map(|name| name.strip_suffix("-partition-0").map(str::to_string));
    topics(names, &partitioned.collect::<Vec<_>>())
}

/// `tenant/namespace` taken apart; none for the system's and for old names of three parts.
pub(super) fn namespace(name: &str) -> Option<(String, String)> {
    let (tenant, namespace) = name.split_once('/')?;
    (tenant != "pulsar" && !namespace.contains('/')).then(|| (tenant.to_string(), namespace.to_string()))
}

fn number(value: &Value, name: &str) -> Result<u64> {
    value.get(name).and_then(Value::as_u64).ok_or_else(|| odd(&format!("`{name}` is missing or no number")))
}

fn odd(what: &str) -> Error {
    Error::unsupported(format!("the admin API's internal statistics are not as expected: {what}"))
}

/// The ledgers of `internalStats`. The open one is listed with 0 entries: its figures stand beside the list.
pub(super) fn ledgers(stats: &Value) -> Result<Vec<LedgerInfo>> {
    let listed = stats.get("ledgers").and_then(Value::as_array).ok_or_else(|| odd("`ledgers` is missing"))?;
    let last = listed.len().saturating_sub(1);
    let mut ledgers = Vec::with_capacity(listed.len());
    for (index, ledger) in listed.iter().enumerate() {
        let (entries, bytes) = (number(ledger, "entries")?, number(ledger, "size")?);
        let closed = index < last;
        let (entries, bytes) = if closed {
            (entries, bytes)
        } else {
            (entries.max(number(stats, "currentLedgerEntries")?), bytes.max(number(stats, "currentLedgerSize")?))
        };
        ledgers.push(LedgerInfo { id: number(ledger, "ledgerId")?, entries, bytes, closed });
    }
    ledgers.sort_by_key(|ledger| ledger.id);
    Ok(ledgers)
}

/// Where a cursor stands in `internalStats`. A mark before a ledger's first entry is the end of what is kept before that ledger;
/// the start, if nothing is.
pub(super) fn mark(stats: &Value, subscription: &str) -> Result<Cut> {
    let cursors =
        stats.get("cursors").filter(|cursors| cursors.is_object()).ok_or_else(|| odd("`cursors` is missing"))?;
    let cursor = cursors
        .get(subscription)
        .or_else(|| cursors.get(encoded(subscription)))
        .ok_or_else(|| Error::gone(format!("there is no pin `{subscription}`; someone removed it")))?;
    let text = cursor.get("markDeletePosition").and_then(Value::as_str).unwrap_or_default();
    let (ledger, entry) = text
        .split_once(':')
        .and_then(|(ledger, entry)| Some((ledger.parse::<i64>().ok()?, entry.parse::<i64>().ok()?)))
        .ok_or_else(|| odd(&format!("a mark of `{text}`")))?;
    let Ok(ledger) = u64::try_from(ledger) else { return Ok(Cut::Start) };
    if let Ok(entry) = u64::try_from(entry) {
        return Ok(Cut::After(Position::new(ledger, entry)));
    }
    let before = ledgers(stats)?.into_iter().rfind(|kept| kept.id < ledger && kept.entries > 0);
    Ok(before.map_or(Cut::Start, |kept| Cut::After(Position::new(kept.id, kept.entries - 1))))
}

/// How the broker names a subscription's cursor: as in a form's body.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => text.push(byte as char),
            b' ' => text.push('+'),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// How long entries are kept when every pin has passed them. A limit by size alone promises no time: zero.
pub(super) fn retention(policy: &Value) -> Option<Duration> {
    let limit = |name: &str| policy.get(name).and_then(Value::as_i64).unwrap_or(0);
    match (limit("retentionTimeInMinutes"), limit("retentionSizeInMB")) {
        (time, size) if time < 0 && size < 0 => None,
        (time, size) if time <= 0 || size == 0 => Some(Duration::ZERO),
        (time, _) => Some(Duration::from_secs(time.unsigned_abs().saturating_mul(60))),
    }
}

/// A time of `unit` seconds; absent, zero and below are off.
pub(super) fn seconds_if_any(value: &Value, unit: u64) -> Option<Duration> {
    let units = value.as_i64().and_then(|units| u64::try_from(units).ok()).filter(|units| *units > 0)?;
    Some(Duration::from_secs(units.saturating_mul(unit)))
}

/// Whether any quota that is set skips the slowest subscription.
pub(super) fn evicts_backlog(quotas: &Value) -> bool {
    quotas.as_object().into_iter().flatten().any(|(_, quota)| {
        let limit = |name: &str| quota.get(name).and_then(Value::as_i64).unwrap_or(-1);
        let on = limit("limitSize") >= 0 || limit("limit") >= 0 || limit("limitTime") > 0;
        on && quota.get("policy").and_then(Value::as_str) == Some("consumer_backlog_eviction")
    })
}

/// The UUID to give to a topic: a hash of its name and creation identity, as a version 8 UUID.
pub(super) fn uuid_for(topic: &TopicName, creation: &str) -> Uuid {
    let digest = Sha256::digest(format!("aquifer.uuid\n{topic}\n{creation}"));
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn topics_are_listed_once_and_without_the_systems() {
        let list = |names: &[&str]| names.iter().map(|name| format!("persistent://t/n/{name}")).collect::<Vec<_>>();
        let single = list(&[
            "w-partition-0",
            "w-partition-1",
            "lone-partition-7",
            "b",
            "__change_events",
            "b-s__transaction_pending_ack",
        ]);
        let found = topics(&single, &list(&["w", "a"]));
        let names: Vec<&str> = found.iter().map(|topic| topic.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "lone-partition-7", "w"]);
        let found = topics_of_names(&single);
        let names: Vec<&str> = found.iter().map(|topic| topic.name.as_str()).collect();
        assert_eq!(names, ["b", "lone-partition-7", "w"], "as far as names tell");
        assert_eq!(namespace("public/default"), Some(("public".into(), "default".into())));
        assert_eq!((namespace("pulsar/system"), namespace("sample/standalone/ns")), (None, None));
    }

    fn stats(mark: &str) -> Value {
        json!({
            "currentLedgerEntries": 3, "currentLedgerSize": 30,
            "ledgers": [
                {"ledgerId": 7, "entries": 10, "size": 100},
                {"ledgerId": 9, "entries": 0, "size": 0},
                {"ledgerId": 12, "entries": 0, "size": 0},
            ],
            "cursors": {"pin%2F1": {"markDeletePosition": mark}},
        })
    }

    #[test]
    fn the_open_ledger_has_its_entries_beside_the_list() {
        let ledgers = ledgers(&stats("7:-1")).expect("ledgers");
        let shown: Vec<_> = ledgers.iter().map(|l| (l.id, l.entries, l.bytes, l.closed)).collect();
        assert_eq!(shown, [(7, 10, 100, true), (9, 0, 0, true), (12, 3, 30, false)]);
        assert!(super::ledgers(&json!({"ledgers": [{}]})).is_err());
        assert!(super::ledgers(&json!({})).is_err());
    }

    #[test]
    fn a_mark_is_a_cut_after_an_entry_that_exists() {
        for (mark, cut) in [
            ("7:4", Cut::After(Position::new(7, 4))),
            ("7:-1", Cut::Start),
            ("9:-1", Cut::After(Position::new(7, 9))),
            ("12:-1", Cut::After(Position::new(7, 9))),
            ("-1:-1", Cut::Start),
        ] {
            assert_eq!(super::mark(&stats(mark), "pin/1").expect(mark), cut, "{mark}");
        }
        assert_eq!(super::mark(&stats("7:4"), "other").expect_err("none").kind(), aquifer_model::ErrorKind::Gone);
        assert!(super::mark(&stats("odd"), "pin/1").is_err());
        let odd = super::mark(&json!({}), "pin/1").expect_err("no cursors");
        assert_eq!(odd.kind(), aquifer_model::ErrorKind::Unsupported, "not that there is no pin");
    }

    #[test]
    fn policies_are_read_for_the_worst() {
        let keep =
            |time: i64, size: i64| retention(&json!({"retentionTimeInMinutes": time, "retentionSizeInMB": size}));
        assert_eq!(keep(-1, -1), None);
        assert_eq!(keep(0, 0), Some(Duration::ZERO));
        assert_eq!(keep(-1, 100), Some(Duration::ZERO));
        assert_eq!(keep(60, -1), Some(Duration::from_secs(3600)));
        assert_eq!(retention(&Value::Null), Some(Duration::ZERO));
        assert_eq!(seconds_if_any(&json!(0), 60), None);
        assert_eq!(seconds_if_any(&Value::Null, 60), None);
        assert_eq!(seconds_if_any(&json!(2), 60), Some(Duration::from_secs(120)));
        let quota = |policy: &str, size: i64, time: i64| {
            evicts_backlog(&json!({"destination_storage": {"limitSize": size, "limitTime": time, "policy": policy}}))
        };
        assert!(quota("consumer_backlog_eviction", 100, -1));
        assert!(quota("consumer_backlog_eviction", -1, 5));
        assert!(!quota("consumer_backlog_eviction", -1, -1));
        assert!(!quota("producer_exception", 100, 100));
    }

    #[test]
    fn of_several_clusters_the_one_asked_is_meant() {
        let entry = |web: &str, broker: &str| json!({"serviceUrl": web, "brokerServiceUrl": broker});
        let two = [entry("http://a:8080", "pulsar://a:6650"), entry("http://b:8080", "pulsar://b:6650")];
        assert_eq!(choose_service_url(&two, "http://b:8080/", false), ServiceChoice::Use("pulsar://b:6650".into()));
        assert_eq!(choose_service_url(&two, "http://c:8080", false), ServiceChoice::Several);
        assert_eq!(choose_service_url(&two[..1], "http://c", false), ServiceChoice::Use("pulsar://a:6650".into()));
        assert_eq!(choose_service_url(&[json!({})], "http://c", false), ServiceChoice::NoneNamed);
    }

    #[test]
    fn a_topic_made_again_gets_another_uuid() {
        let topic = TopicName::new("t", "n", "x");
        assert_eq!(uuid_for(&topic, "2026"), uuid_for(&topic, "2026"));
        assert_ne!(uuid_for(&topic, "2026"), uuid_for(&topic, "2027"));
        assert_ne!(uuid_for(&topic, "2026"), uuid_for(&TopicName::new("t", "n", "y"), "2026"));
    }
}
