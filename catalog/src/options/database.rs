//! The options of a database: policies of its namespace.

use aquifer_model::{Error, Result};
use aquifer_storage::log::NamespacePolicies;

use super::values::parse_duration;
use super::{unknown, values};
use crate::names::nearest;

const KEYS: [&str; 6] = [
    "retention.time",
    "retention.size",
    "message-ttl",
    "offload.threshold",
    "schema-compatibility-strategy",
    "deduplication",
];

const STRATEGIES: [&str; 9] = [
    "UNDEFINED",
    "ALWAYS_INCOMPATIBLE",
    "ALWAYS_COMPATIBLE",
    "BACKWARD",
    "FORWARD",
    "FULL",
    "BACKWARD_TRANSITIVE",
    "FORWARD_TRANSITIVE",
    "FULL_TRANSITIVE",
];

/// What a database's options say of its namespace.
pub fn database_policies(options: &[(String, String)]) -> Result<NamespacePolicies> {
    let mut policies = NamespacePolicies::default();
    for (key, value) in options {
        let wrong = |why: String| Error::invalid(format!("'{key}' = '{value}': {why}"));
        let duration = |never: &str| match value.as_str() {
            text if text == never => Ok(None),
            text => parse_duration(text).map(Some).map_err(wrong),
        };
        match key.as_str() {
            "retention.time" => {
                let time = duration("forever")?;
                policies.retention_minutes = Some(time.map(|time| time.as_secs().div_ceil(60) as i64));
            }
            "retention.size" => {
                let bytes = size(value, "unlimited").map_err(wrong)?;
                policies.retention_mebibytes = Some(bytes.map(|bytes| bytes.div_ceil(1 << 20) as i64));
            }
            "message-ttl" => {
                let time = duration("never")?;
                policies.message_ttl_seconds = Some(time.map(|time| time.as_millis().div_ceil(1000) as i64));
            }
            "offload.threshold" => {
                policies.offload_threshold_bytes = Some(size(value, "never").map_err(wrong)?.map(|bytes| bytes as i64));
            }
            "schema-compatibility-strategy" => {
                let strategy = value.to_ascii_uppercase();
                if !STRATEGIES.contains(&strategy.as_str()) {
                    return Err(wrong(format!("write one of {}", STRATEGIES.join(", "))));
                }
                policies.schema_compatibility = Some(strategy);
            }
            "deduplication" => {
                let read = value.parse::<bool>().map_err(|_| wrong("write true or false".to_string()))?;
                policies.deduplicates = Some(read);
            }
            _ => {
                let near = nearest(key, KEYS);
                return Err(unknown(key, "a database (a namespace's policy)", near, || KEYS.to_vec()));
            }
        }
    }
    Ok(policies)
}

/// The policies that are set, as options that would set them.
pub fn database_options(policies: &NamespacePolicies) -> Vec<(&'static str, String)> {
    let limited = |limit: Option<Option<i64>>, unit: &str, unlimited: &str| {
        limit.map(|limit| limit.map_or_else(|| unlimited.to_string(), |limit| format!("{limit} {unit}")))
    };
    let values = [
        limited(policies.retention_minutes, "min", "forever"),
        limited(policies.retention_mebibytes, "mb", "unlimited"),
        limited(policies.message_ttl_seconds, "s", "never"),
        limited(policies.offload_threshold_bytes, "b", "never"),
        policies.schema_compatibility.clone(),
        policies.deduplicates.map(|deduplicates| deduplicates.to_string()),
    ];
    KEYS.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Bytes, in Flink's units of memory; `None`: the word for no limit.
fn size(text: &str, unlimited: &str) -> std::result::Result<Option<u64>, String> {
    if text == unlimited {
        return Ok(None);
    }
    let bytes = values::bytes(text).filter(|bytes| i64::try_from(*bytes).is_ok());
    let wrong = || format!("write a number and b, kb, mb, gb or tb (for example '10 gb'), or {unlimited}");
    bytes.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<NamespacePolicies> {
        let options: Vec<_> = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        database_policies(&options)
    }

    #[test]
    fn options_are_policies_in_the_brokers_units() {
        let options = [
            ("retention.time", "90 s"),
            ("retention.size", "10 gb"),
            ("message-ttl", "never"),
            ("offload.threshold", "0"),
            ("schema-compatibility-strategy", "backward"),
            ("deduplication", "true"),
        ];
        let expected = NamespacePolicies {
            retention_minutes: Some(Some(2)),
            retention_mebibytes: Some(Some(10_240)),
            message_ttl_seconds: Some(None),
            offload_threshold_bytes: Some(Some(0)),
            schema_compatibility: Some("BACKWARD".to_string()),
            deduplicates: Some(true),
        };
        assert_eq!(read(&options).expect("good options"), expected);
        let shown = database_options(&expected);
        assert_eq!(
            shown[..3],
            [
                ("retention.time", "2 min".to_string()),
                ("retention.size", "10240 mb".to_string()),
                ("message-ttl", "never".to_string()),
            ]
        );
        let again: Vec<_> = shown.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(read(&again).expect("options that are shown can be set"), expected);
        for (option, why) in [
            (("retention.times", "1 d"), "did you mean `retention.time`?"),
            (("retention.time", "soon"), "no duration"),
            (("retention.size", "10 parsecs"), "10 gb"),
            (("schema-compatibility-strategy", "SOMETIMES"), "FULL_TRANSITIVE"),
            (("deduplication", "yes"), "true or false"),
        ] {
            let error = read(&[option]).expect_err("refused").to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
