//! Values of options: each function takes the text as written and gives the canonical text, or says what is wrong and what to write.

use std::time::Duration;

use aquifer_storage::archive::archiver::PIN;
use aquifer_storage::log::MAX_PARTITIONS;
use aquifer_storage::s3;

use super::range;

type Value = Result<String, String>;

/// One of `known`, in any case.
fn one_of(text: &str, known: &[&str]) -> Value {
    let found = known.iter().find(|one| one.eq_ignore_ascii_case(text));
    found.map(|one| one.to_string()).ok_or_else(|| format!("write one of {}", known.join(", ")))
}

pub(super) fn catalog_type(text: &str) -> Value {
    match text {
        "pulsar" | "pulsar-catalog" | "local-pulsar" => Ok("pulsar".to_string()),
        "embedded" => Ok("embedded".to_string()),
        _ => Err("write 'pulsar' or 'embedded'".to_string()),
    }
}

pub(super) fn admin_url(text: &str) -> Value {
    match text.split_once("://") {
        Some(("http" | "https", rest)) if host_is_fine(rest) => Ok(text.trim_end_matches('/').to_string()),
        None if host_is_fine(text) => Ok(format!("http://{}", text.trim_end_matches('/'))),
        _ => Err("write http://HOST:PORT, for example http://localhost:8080".to_string()),
    }
}

pub(super) fn service_url(text: &str) -> Value {
    if let Some(path) = text.strip_prefix("embedded:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let absolute = std::path::absolute(path).map_err(|error| format!("it names no folder ({error})"))?;
        return Ok(format!("embedded:{}", absolute.display()));
    }
    let (scheme, hosts) = text.split_once("://").unwrap_or(("pulsar", text));
    if !matches!(scheme, "pulsar" | "pulsar+ssl") || !hosts.split(',').all(|host| host_is_fine(host.trim())) {
        return Err(
            "write pulsar://HOST:PORT, for example pulsar://localhost:6650, pulsar+ssl://HOST:PORT or embedded:PATH"
                .to_string(),
        );
    }
    Ok(format!("{scheme}://{}", hosts.trim_end_matches('/')))
}

/// Whether a text begins with a host; secrets before an `@` are refused.
fn host_is_fine(text: &str) -> bool {
    let host = text.split('/').next().unwrap_or_default();
    !host.is_empty() && !host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '@')
}

pub(super) fn auth_plugin(text: &str) -> Value {
    aquifer_storage::pulsar::plugin_kind(text).map(str::to_string).ok_or_else(|| {
        "write token, basic, oauth2 or tls, or the class org.apache.pulsar.client.impl.auth.AuthenticationToken, …Basic, \
         …OAuth2 or …Tls"
            .to_string()
    })
}

pub(super) fn auth_params(text: &str) -> Value {
    let text = text.strip_prefix("token:").filter(|rest| rest.starts_with("file:")).unwrap_or(text);
    match text.strip_prefix("token:").unwrap_or(text) {
        "" | "file:" | "file://" => Err("write token:TOKEN or file:///PATH".to_string()),
        _ => Ok(text.to_string()),
    }
}

/// A file's path.
pub(super) fn file(text: &str) -> Value {
    let path = text.strip_prefix("file://").unwrap_or(text);
    if path.is_empty() { Err("write the path of a file".to_string()) } else { Ok(path.to_string()) }
}

/// A check that can only be on.
pub(super) fn only_true(text: &str) -> Value {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok("true".to_string()),
        _ => Err("a host's certificate is always checked: leave it out".to_string()),
    }
}

/// A check that can only be on, asked the other way round.
pub(super) fn never_insecure(text: &str) -> Value {
    match text.to_ascii_lowercase().as_str() {
        "false" => Ok("false".to_string()),
        _ => Err("certificates are always checked: name your CA's file with `tls-ca-file` instead".to_string()),
    }
}

/// What to do with encrypted messages, as Pulsar's `ConsumerCryptoFailureAction` spells it too.
pub(super) fn on_encrypted(text: &str) -> Value {
    if text.eq_ignore_ascii_case("consume") { Ok("raw".to_string()) } else { one_of(text, &["fail", "discard", "raw"]) }
}

pub(super) fn database(text: &str) -> Value {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [_] | [_, _] if parts.iter().all(|part| !part.is_empty()) => Ok(text.to_string()),
        _ => Err("write TENANT/NAMESPACE, for example public/default".to_string()),
    }
}

/// The name of a subscription that is a stream's own.
pub(super) fn subscription(text: &str) -> Value {
    if text.trim().is_empty() || text.contains(|c: char| c.is_control() || c == '/') {
        return Err("write a name without slashes, one that nobody else subscribes under".to_string());
    }
    if text == PIN {
        return Err(format!(
            "`{PIN}` is the archive's own, which moved by anyone else would lose what is not archived: write another name"
        ));
    }
    Ok(text.to_string())
}

/// Whether a subscription stays when its stream ends.
pub(super) fn subscription_mode(text: &str) -> Value {
    one_of(text, &["Durable", "NonDurable"])
}

pub(super) fn partitions(text: &str) -> Value {
    let number: u32 = text.parse().map_err(|_| "write a number of partitions; 0 is not partitioned".to_string())?;
    match number {
        0..=MAX_PARTITIONS => Ok(number.to_string()),
        _ => Err(format!("a topic has at most {MAX_PARTITIONS} partitions here")),
    }
}

pub(super) fn positive(text: &str) -> Value {
    let number = text.parse::<u64>().ok().filter(|number| *number > 0);
    number.map(|number| number.to_string()).ok_or_else(|| "write a whole number above 0".to_string())
}

/// Of a table over a topic.
pub(super) fn format(text: &str) -> Value {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "debezium-json" | "canal-json" | "maxwell-json" | "ogg-json" | "debezium-avro" | "debezium-avro-confluent" => Err(
            "a topic's messages are new rows, so a format of changes is not read from it: read it as json and take the fields \
             of its envelope (files have these formats, and 'connector' = 'upsert-pulsar' has changes by a key)"
                .to_string(),
        ),
        _ => one_of(text, &["avro", "json", "csv", "protobuf", "raw", "key-value"])
            .map_err(|_| "write avro, json, csv, protobuf, raw or key-value; other formats are not built yet".to_string()),
    }
}

/// Of the topics that a catalog makes, and of keys.
pub(super) fn plain_format(text: &str) -> Value {
    one_of(text, &["avro", "json", "protobuf", "raw", "key-value"])
        .map_err(|_| "write avro, json, protobuf, raw or key-value; other formats are not built here yet".to_string())
}

/// The one encoding of texts.
pub(super) fn charset(text: &str) -> Value {
    match text.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => Ok("UTF-8".to_string()),
        _ => Err("texts are UTF-8: declare the column as BYTES and DECODE(column, 'charset')".to_string()),
    }
}

/// The one order of a number's bytes.
pub(super) fn endianness(text: &str) -> Value {
    match text.to_ascii_lowercase().as_str() {
        "big-endian" => Ok("big-endian".to_string()),
        "little-endian" => {
            Err("numbers are big-endian, as Pulsar's own clients write them: declare the column as BYTES".to_string())
        }
        _ => Err("write big-endian".to_string()),
    }
}

/// What an entry may inflate to.
pub(super) fn inflated(text: &str) -> Value {
    let found = bytes(text).filter(|bytes| (LEAST_INFLATED..=MOST_INFLATED).contains(bytes));
    found.map(|bytes| bytes.to_string()).ok_or_else(|| {
        "write a number of bytes from '64 kb' to '1 gb': as much memory an entry may take before it is refused"
            .to_string()
    })
}

const LEAST_INFLATED: u64 = 64 << 10;
const MOST_INFLATED: u64 = 1 << 30;

pub(super) fn schema_type(text: &str) -> Value {
    one_of(text, &["avro", "json"])
}

pub(super) fn startup(text: &str) -> Value {
    range::startup(text)
}

pub(super) fn stop(text: &str) -> Value {
    range::stop(text)
}

pub(super) fn start_publish_time(text: &str) -> Value {
    range::time(text).map(|time| format!("publish-time:{time}"))
}

pub(super) fn start_event_time(text: &str) -> Value {
    range::time(text).map(|time| format!("event-time:{time}"))
}

pub(super) fn stop_after_position(text: &str) -> Value {
    range::positions(text).map(|_| format!("after:{text}"))
}

pub(super) fn stop_after_publish_time(text: &str) -> Value {
    range::time(text).map(|time| format!("after-publish-time:{time}"))
}

pub(super) fn stop_event_time(text: &str) -> Value {
    range::event_stop(text).map(|stop| format!("{}{}", if stop.inclusive { "after:" } else { "" }, stop.time_ms))
}

pub(super) fn stop_after_event_time(text: &str) -> Value {
    range::time(text).map(|time| format!("after:{time}"))
}

/// When a source says a watermark.
pub(super) fn emit_strategy(text: &str) -> Value {
    one_of(text, &["on-periodic", "on-event"])
}

/// The name of a group of sources that none runs ahead of.
pub(super) fn alignment_group(text: &str) -> Value {
    if text.is_empty() {
        Err("write a name, the same for every source of the group".to_string())
    } else {
        Ok(text.to_string())
    }
}

pub(super) fn time(text: &str) -> Value {
    range::time(text).map(|time| time.to_string())
}

pub(super) fn positions(text: &str) -> Value {
    range::positions(text).map(|_| text.to_string())
}

pub(super) fn boolean(text: &str) -> Value {
    one_of(text, &["true", "false"])
}

/// Names of columns with `;` between them.
pub(super) fn fields(text: &str) -> Value {
    let names: Vec<&str> = text.split(';').map(str::trim).collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err("write names of columns with ; between them".to_string());
    }
    Ok(names.join(";"))
}

pub(super) fn fields_include(text: &str) -> Value {
    one_of(text, &["ALL", "EXCEPT_KEY"])
}

pub(super) fn routing(text: &str) -> Value {
    one_of(text, &["message-key-hash", "round-robin"])
        .map_err(|why| format!("{why}; routers in Java (custom) cannot run here"))
}

pub(super) fn key_hash(text: &str) -> Value {
    match text.to_lowercase().replace('_', "-").as_str() {
        "java" | "java-hash" => Ok("java".to_string()),
        "murmur3" | "murmur3-32" | "murmur-3-32-hash" | "murmur3-32-hash" => Ok("murmur3".to_string()),
        _ => Err("write java or murmur3".to_string()),
    }
}

pub(super) fn compression(text: &str) -> Value {
    one_of(text, &["none", "lz4", "zlib", "zstd", "snappy"])
}

pub(super) fn guarantee(text: &str) -> Value {
    match text {
        "none" | "at-least-once" => Ok("at-least-once".to_string()),
        // The sink says what is missing for it.
        "exactly-once" => Ok("exactly-once".to_string()),
        _ => Err("write at-least-once".to_string()),
    }
}

pub(super) fn on_decode_error(text: &str) -> Value {
    one_of(text, &["fail", "skip", "dead-letter"])
}

/// Flink's `<format>.ignore-parse-errors` as ours.
pub(super) fn ignore_parse_errors(text: &str) -> Value {
    Ok(match one_of(text, &["true", "false"])?.as_str() {
        "true" => "skip".to_string(),
        _ => "fail".to_string(),
    })
}

pub(super) fn tiers(text: &str) -> Value {
    one_of(text, &["both", "log", "archive"])
}

/// How JSON writes timestamps.
pub(super) fn json_timestamps(text: &str) -> Value {
    one_of(text, &["SQL", "ISO-8601"])
}

pub(super) fn json_null_keys(text: &str) -> Value {
    one_of(text, &["FAIL", "DROP", "LITERAL"])
}

pub(super) fn only_false(text: &str) -> Value {
    one_of(text, &["false"]).map_err(|_| "only false is built yet".to_string())
}

pub(super) fn archive(text: &str) -> Value {
    match text.split_once("://") {
        None if text.is_empty() => Err("write file:///PATH".to_string()),
        None => std::path::absolute(text)
            .map(|path| format!("file://{}", path.display()))
            .map_err(|error| format!("it names no folder ({error})")),
        Some(("file", path)) if path.starts_with('/') => Ok(text.to_string()),
        Some(("file", _)) => Err("write file:///PATH, with three slashes".to_string()),
        Some((scheme, _)) => Err(format!("archives in `{scheme}://` are not built yet: write file:///PATH")),
    }
}

/// Where definitions lie: in a bucket, or in a folder.
pub(super) fn definitions(text: &str) -> Value {
    const WRITE: &str = "write s3://BUCKET/PREFIX, or file:///PATH for a folder";
    match text.split_once("://") {
        None if text.is_empty() => Err(WRITE.to_string()),
        Some((_, rest)) if s3::is_address(text) => match rest.trim_matches('/').split_once('/') {
            Some(_) if !rest.contains('@') => Ok(text.trim_end_matches('/').to_string()),
            _ => Err("it names no prefix in a bucket: write s3://BUCKET/PREFIX".to_string()),
        },
        None | Some(("file", _)) => archive(text).map_err(|_| WRITE.to_string()),
        Some((scheme, _)) => Err(format!("definitions in `{scheme}://` are not built yet: {WRITE}")),
    }
}

pub(super) fn endpoint(text: &str) -> Value {
    match text.split_once("://") {
        Some(("http" | "https", host)) if host_is_fine(host) => Ok(text.trim_end_matches('/').to_string()),
        _ => Err("write https://HOST or http://HOST:PORT".to_string()),
    }
}

pub(super) fn connector(text: &str) -> Value {
    Ok(text.to_string())
}

pub(super) fn topics(text: &str) -> Value {
    crate::definition::parse_topics(text).map(|_| text.to_string()).map_err(|error| error.message().to_string())
}

pub(super) fn topic(text: &str) -> Value {
    let topic: Result<aquifer_model::TopicName, _> = text.parse();
    topic.map(|_| text.to_string()).map_err(|error| error.message().to_string())
}

pub(super) fn topics_pattern(text: &str) -> Value {
    let pattern: Result<crate::topic_pattern::TopicsPattern, _> = text.parse();
    pattern.map(|_| text.to_string()).map_err(|error| error.message().to_string())
}

pub(super) fn persistent_only(text: &str) -> Value {
    match text {
        "PersistentOnly" => Ok(text.to_string()),
        _ => Err("only PersistentOnly is read: topics that are not persistent have no history".to_string()),
    }
}

/// Milliseconds, where 0 and less is never.
pub(super) fn interval_millis(text: &str) -> Value {
    text.parse::<i64>().map(|millis| millis.to_string()).map_err(|_| "write milliseconds, or -1 for never".to_string())
}

pub(super) fn duration(text: &str) -> Value {
    parse_duration(text).map(|_| text.to_string())
}

/// Milliseconds, as Pulsar's client options are given.
pub(super) fn milliseconds(text: &str) -> Value {
    positive(text).map(|number| format!("{number} ms"))
}

pub(super) fn producer_name(text: &str) -> Value {
    if text.is_empty() { Err("write a name, or leave it out".to_string()) } else { Ok(text.to_string()) }
}

/// How many messages an entry may hold.
pub(super) fn batch_messages(text: &str) -> Value {
    let number = text.parse::<u32>().ok().filter(|number| (1..=100_000).contains(number));
    number.map(|number| number.to_string()).ok_or_else(|| "write a number from 1 to 100000".to_string())
}

/// How long a broker is asked again; what is never given up would hold a statement for ever.
pub(super) fn send_timeout(text: &str) -> Value {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    match parse_duration(text)? {
        time if time.is_zero() || time > LONGEST => Err("write more than 0 ms and at most 1 d".to_string()),
        _ => Ok(text.to_string()),
    }
}

/// The same as Pulsar's client options are given.
pub(super) fn send_timeout_millis(text: &str) -> Value {
    send_timeout(&milliseconds(text)?)
}

pub(super) fn retention(text: &str) -> Value {
    if text == "forever" { Ok(text.to_string()) } else { duration(text) }
}

/// Units by their names, in any case, and what one of each is.
pub type Units = [(&'static [&'static str], u64)];

/// A whole number and a unit, as one number; `None` where it is none, has another unit, or does not fit.
pub fn scaled(text: &str, units: &Units) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let (_, scale) = units.iter().find(|(names, _)| names.contains(&unit.as_str()))?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// Flink's sizes of memory: a whole number and a unit; without a unit bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    const UNITS: &Units = &[
        (&["", "b", "bytes"], 1),
        (&["k", "kb"], 1 << 10),
        (&["m", "mb"], 1 << 20),
        (&["g", "gb"], 1 << 30),
        (&["t", "tb"], 1 << 40),
    ];
    scaled(text, UNITS)
}

/// Flink's durations: a whole number and a unit; without a unit milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: &Units = &[
        (&["", "ms", "milli", "millis", "millisecond", "milliseconds"], 1),
        (&["s", "sec", "secs", "second", "seconds"], 1_000),
        (&["m", "min", "mins", "minute", "minutes"], 60_000),
        (&["h", "hour", "hours"], 3_600_000),
        (&["d", "day", "days"], 86_400_000),
    ];
    scaled(text.trim(), UNITS)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is no duration: write a number and ms, s, min, h or d, for example '5 s'"))
}

/// A value as it may be shown: secrets are stars, references to secrets stay.
pub(super) fn mask(key: &str, value: &str) -> String {
    const STARS: &str = "******";
    let lower = key.to_lowercase();
    let secret = ["auth-param", "authparam", "password", "secret", "token", "credential", "private-key", "access-key"];
    if secret.iter().any(|part| lower.contains(part)) {
        return match value.strip_prefix("token:") {
            _ if value.starts_with("file:") => value.to_string(),
            Some(_) => format!("token:{STARS}"),
            None => STARS.to_string(),
        };
    }
    // A user and password in an address.
    match value.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?))) {
        Some((scheme, (user, rest))) if !user.contains('/') => format!("{scheme}://{STARS}@{rest}"),
        _ => value.to_string(),
    }
}
