//! Under which rules of the log an archive is safe.

use aquifer_model::{Error, Result};

use crate::log::Policies;

/// Refuses rules under which the log may forget what is not archived; gives warnings.
pub fn check_policies(policies: &Policies) -> Result<Vec<String>> {
    let refuse = |what: &str, undo: &str| {
        Err(Error::invalid(format!("{what} moves or deletes the archive's pin, so entries could be lost: {undo}")))
    };
    if let Some(ttl) = policies.message_ttl.filter(|ttl| !ttl.is_zero()) {
        return refuse(
            &format!("the namespace's message TTL of {} s", ttl.as_secs()),
            "remove it, or list the pin's name in the broker's additionalSystemCursorNames",
        );
    }
    if policies.evicts_backlog {
        return refuse(
            "the backlog quota policy consumer_backlog_eviction",
            "use producer_request_hold or remove the quota",
        );
    }
    if let Some(expiry) = policies.subscription_expiry.filter(|expiry| !expiry.is_zero()) {
        return refuse(&format!("the subscription expiration of {} s", expiry.as_secs()), "set it to 0");
    }
    let mut warnings = Vec::new();
    if policies.retention.is_some_and(|retention| retention.is_zero()) {
        warnings.push(
            "retention is 0: what the archive has is trimmed from the log at once; set an hour or so as a period of grace".to_string(),
        );
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rules_that_endanger_the_pin_are_refused_by_name() {
        let fine = Policies { retention: Some(Duration::from_secs(60)), ..Policies::default() };
        assert_eq!(check_policies(&fine).expect("fine"), Vec::<String>::new());
        let zero = Policies { retention: Some(Duration::ZERO), ..fine.clone() };
        assert_eq!(check_policies(&zero).expect("a warning").len(), 1);
        let second = Some(Duration::from_secs(1));
        for (policies, name) in [
            (Policies { message_ttl: second, ..fine.clone() }, "TTL"),
            (Policies { evicts_backlog: true, ..fine.clone() }, "consumer_backlog_eviction"),
            (Policies { subscription_expiry: second, ..fine.clone() }, "subscription expiration"),
        ] {
            assert!(check_policies(&policies).expect_err(name).to_string().contains(name));
        }
    }
}
