//! The topics of a namespace whose names match an expression: a table over topics that come and go.

use std::sync::Arc;

use aquifer_model::{Error, Result, TopicName};
use aquifer_storage::reader::TieredTopic;
use regex::Regex;

use crate::table::Reading;

/// A longer expression, or one that needs more memory, is refused.
const MAX_PATTERN_BYTES: usize = 4096;

/// Which topics, by a regular expression over the last part of their names: it must match all of it.
#[derive(Debug, Clone)]
pub struct TopicsPattern {
    text: String,
    tenant: String,
    namespace: String,
    expression: Regex,
}

impl std::str::FromStr for TopicsPattern {
    type Err = Error;

    /// `EXPRESSION` in `public/default`, or `TENANT/NAMESPACE/EXPRESSION`, `persistent://` before it or not.
    fn from_str(text: &str) -> Result<Self> {
        let written = text.trim();
        let invalid = |why: String| Error::invalid(format!("`{written}` is no pattern of topics: {why}"));
        if written.len() > MAX_PATTERN_BYTES {
            return Err(invalid(format!("it is longer than {MAX_PATTERN_BYTES} bytes")));
        }
        let path = match written.split_once("://") {
            Some(("persistent", path)) => path,
            Some((domain, _)) => return Err(invalid(format!("topics of `{domain}://` are not read"))),
            None => written,
        };
        let (tenant, namespace, name) = match path.splitn(3, '/').collect::<Vec<_>>().as_slice() {
            [name] => ("public", "default", *name),
            [tenant, namespace, name] => (*tenant, *namespace, *name),
            _ => return Err(invalid("write TENANT/NAMESPACE/EXPRESSION".to_string())),
        };
        if name.is_empty() {
            return Err(invalid("the expression is missing".to_string()));
        }
        let plain = |part: &str| part.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '=' | ':'));
        if tenant.is_empty() || namespace.is_empty() || !plain(tenant) || !plain(namespace) {
            return Err(invalid("tenant and namespace are names, only what follows them is an expression".to_string()));
        }
        let expression =
            Regex::new(&format!("^(?:{name})$")).map_err(|error| invalid(error.to_string().replace('\n', " ")))?;
        Ok(Self { text: written.to_string(), tenant: tenant.into(), namespace: namespace.into(), expression })
    }
}

impl PartialEq for TopicsPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A table's pattern and what its topics share.
#[derive(Debug, Clone)]
pub struct PatternTopics {
    pub(crate) pattern: TopicsPattern,
    pub(crate) reading: Reading,
}

impl PatternTopics {
    /// The topics that match now, in the order of their names. Fails where the log cannot be asked.
    pub async fn find(&self) -> Result<Vec<TieredTopic>> {
        let TopicsPattern { tenant, namespace, expression, .. } = &self.pattern;
        let mut topics: Vec<TopicName> = self.reading.log.topics(tenant, namespace).await?;
        topics.retain(|topic| expression.is_match(&topic.name));
        topics.sort();
        Ok(topics.into_iter().map(|topic| self.reading.of(topic)).collect())
    }

    /// The topics that match now; none is an error.
    pub async fn find_some(self: &Arc<Self>) -> Result<Vec<TieredTopic>> {
        let found = self.find().await?;
        if found.is_empty() {
            let TopicsPattern { text, tenant, namespace, .. } = &self.pattern;
            return Err(Error::invalid(format!("no topic of `{tenant}/{namespace}` matches `{text}`")));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_about_the_last_part_of_a_name_and_matches_all_of_it() {
        let cases = [
            ("sensor-.*", ("public", "default"), "sensor-1", "my-sensor-1"),
            ("a/b/x|y", ("a", "b"), "y", "xy"),
            ("persistent://a/b/(x|y)/z", ("a", "b"), "x/z", "z"),
            (" a/b/[0-9]+ ", ("a", "b"), "12", "12a"),
        ];
        for (text, place, matches, does_not) in cases {
            let pattern: TopicsPattern = text.parse().expect(text);
            assert_eq!((pattern.tenant.as_str(), pattern.namespace.as_str()), place, "{text}");
            assert!(pattern.expression.is_match(matches), "{text}");
            assert!(!pattern.expression.is_match(does_not), "{text}");
        }
        for (text, why) in [
            ("a/b", "TENANT/NAMESPACE"),
            ("a/b/", "missing"),
            ("a/.*/c", "tenant and namespace are names"),
            ("non-persistent://a/b/c", "not read"),
            ("a/b/(", "unclosed group"),
        ] {
            let error = text.parse::<TopicsPattern>().expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
