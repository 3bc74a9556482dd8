//! The policies of a namespace that can be set by name, as requests of the admin API.

use reqwest::Method;
use serde_json::{Value, json};

use crate::log::NamespacePolicies;

/// One request: the policy's path under the namespace, and its body.
pub(super) type PolicyRequest = (Method, &'static str, Value);

/// The requests that make these policies so. `retention` is what stands now, of which only a part may change.
pub(super) fn requests(policies: &NamespacePolicies, retention: &Value) -> Vec<PolicyRequest> {
    let mut requests = Vec::new();
    if policies.retention_minutes.is_some() || policies.retention_mebibytes.is_some() {
        // What is not said stays; where nothing was said before, it is no limit.
        let standing = |name: &str| retention.get(name).and_then(Value::as_i64);
        let part = |given: Option<Option<i64>>, name: &str| match given {
            Some(given) => given.unwrap_or(-1),
            None => standing(name).filter(|standing| *standing != 0).unwrap_or(-1),
        };
        let body = json!({
            "retentionTimeInMinutes": part(policies.retention_minutes, "retentionTimeInMinutes"),
            "retentionSizeInMB": part(policies.retention_mebibytes, "retentionSizeInMB"),
        });
        requests.push((Method::POST, "retention", body));
    }
    if let Some(seconds) = policies.message_ttl_seconds {
        requests.push((Method::POST, "messageTTL", json!(seconds.unwrap_or(0))));
    }
    if let Some(bytes) = policies.offload_threshold_bytes {
        requests.push((Method::PUT, "offloadThreshold", json!(bytes.unwrap_or(-1))));
    }
    if let Some(strategy) = &policies.schema_compatibility {
        requests.push((Method::PUT, "schemaCompatibilityStrategy", json!(strategy)));
    }
    if let Some(deduplicates) = policies.deduplicates {
        requests.push((Method::POST, "deduplication", json!(deduplicates)));
    }
    requests
}

/// The policies that are set, from all that a namespace has.
pub(super) fn read(all: &Value) -> NamespacePolicies {
    let number = |value: &Value| value.as_i64();
    // Below zero is no limit, and so is a time to live of zero.
    let limit = |found: Option<i64>, none: i64| found.map(|limit| (limit > none).then_some(limit));
    let retention = &all["retention_policies"];
    let offload = number(&all["offload_policies"]["managedLedgerOffloadThresholdInBytes"]);
    NamespacePolicies {
        retention_minutes: limit(number(&retention["retentionTimeInMinutes"]), -1),
        retention_mebibytes: limit(number(&retention["retentionSizeInMB"]), -1),
        message_ttl_seconds: limit(number(&all["message_ttl_in_seconds"]), 0),
        offload_threshold_bytes: limit(offload.or(number(&all["offload_threshold"]).filter(|bytes| *bytes >= 0)), -1),
        schema_compatibility: all["schema_compatibility_strategy"]
            .as_str()
            .filter(|strategy| *strategy != "UNDEFINED")
            .map(String::from),
        deduplicates: all["deduplicationEnabled"].as_bool(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_and_what_is_not_is_left_out() {
        // As a broker of 4.0.7 answers, shortened.
        let fresh = json!({ "offload_threshold": -1, "schema_compatibility_strategy": "UNDEFINED", "deleted": false });
        assert_eq!(read(&fresh), NamespacePolicies::default());
        let set = json!({
            "message_ttl_in_seconds": 77, "retention_policies": {"retentionTimeInMinutes": 5, "retentionSizeInMB": -1},
            "offload_threshold": -1, "offload_policies": {"managedLedgerOffloadThresholdInBytes": 1000},
            "schema_compatibility_strategy": "FULL", "deduplicationEnabled": true
        });
        let expected = NamespacePolicies {
            retention_minutes: Some(Some(5)),
            retention_mebibytes: Some(None),
            message_ttl_seconds: Some(Some(77)),
            offload_threshold_bytes: Some(Some(1000)),
            schema_compatibility: Some("FULL".to_string()),
            deduplicates: Some(true),
        };
        assert_eq!(read(&set), expected);
    }

    #[test]
    fn half_of_a_retention_keeps_the_other_half() {
        let hour = NamespacePolicies { retention_minutes: Some(Some(60)), ..NamespacePolicies::default() };
        let size = NamespacePolicies { retention_mebibytes: Some(None), ..NamespacePolicies::default() };
        let both = |policies, standing| requests(policies, &standing)[0].2.clone();
        let standing = json!({ "retentionTimeInMinutes": 5, "retentionSizeInMB": 7 });
        let expected = |time: i64, size: i64| json!({ "retentionTimeInMinutes": time, "retentionSizeInMB": size });
        assert_eq!(both(&hour, standing.clone()), expected(60, 7));
        assert_eq!(both(&size, standing), expected(5, -1));
        assert_eq!(both(&hour, Value::Null), expected(60, -1));
        assert!(requests(&NamespacePolicies::default(), &Value::Null).is_empty());
    }
}
