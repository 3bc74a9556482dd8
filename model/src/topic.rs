//! Names and identity of topics and of their partitions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result};

/// A persistent topic's name, without its partitions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicName {
    /// The tenant, `public` by default.
    pub tenant: String,
    /// The namespace in the tenant, `default` by default.
    pub namespace: String,
    /// The topic's own name.
    pub name: String,
}

impl TopicName {
    /// The topic `persistent://tenant/namespace/name`.
    pub fn new(tenant: impl Into<String>, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), namespace: namespace.into(), name: name.into() }
    }

    /// `tenant/namespace`.
    pub fn database(&self) -> String {
        format!("{}/{}", self.tenant, self.namespace)
    }

    /// The partition that a name of this form is Pulsar's name of: `t-partition-3`. Whether `t` has it, or is there, is not known from the name.
    pub fn as_partition(&self) -> Option<Partition> {
        let (name, number) = self.name.rsplit_once("-partition-")?;
        let index: u32 = number.parse().ok()?;
        // As in Pulsar, `t-partition-03` is a topic of its own.
        let fine = !name.is_empty() && index.to_string() == number;
        fine.then(|| Partition::new(Self::new(self.tenant.as_str(), self.namespace.as_str(), name), Some(index)))
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "persistent://{}/{}/{}", self.tenant, self.namespace, self.name)
    }
}

impl FromStr for TopicName {
    type Err = Error;

    /// Reads `persistent://tenant/namespace/name`, `tenant/namespace/name` or `name`.
    fn from_str(text: &str) -> Result<Self> {
        let path = match text.split_once("://") {
            Some(("persistent", path)) => path,
            Some(("non-persistent", _)) => {
                return Err(Error::unsupported(format!("topic `{text}` is not persistent: it keeps no log to read")));
            }
            Some(_) => {
                return Err(Error::invalid(format!(
                    "`{text}` is no topic name: only persistent:// topics can be used"
                )));
            }
            None => text,
        };
        let parts: Vec<&str> = path.split('/').collect();
        let fine = |part: &&str| {
            !part.is_empty() && **part != *"." && **part != *".." && !part.chars().any(|c| c.is_control() || c == '\\')
        };
        match parts.as_slice() {
            [name] if fine(name) => Ok(Self::new("public", "default", *name)),
            [tenant, namespace, name] if parts.iter().all(fine) => Ok(Self::new(*tenant, *namespace, *name)),
            _ => Err(Error::invalid(format!(
                "`{text}` is no topic name: write NAME, TENANT/NAMESPACE/NAME or persistent://TENANT/NAMESPACE/NAME"
            ))),
        }
    }
}

/// One partition of a topic: the unit that has a log of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// The topic it belongs to.
    pub topic: TopicName,
    /// Its number; `None` for the one log of a topic that is not partitioned.
    pub index: Option<u32>,
}

impl Partition {
    /// Partition `index` of `topic`.
    pub fn new(topic: TopicName, index: Option<u32>) -> Self {
        Self { topic, index }
    }

    /// Its number as the `partition` column shows it: 0 where the topic is not partitioned.
    pub fn number(&self) -> u32 {
        self.index.unwrap_or(0)
    }

    /// The last part of its name: `t-partition-3`, or `t`.
    pub fn local_name(&self) -> String {
        match self.index {
            Some(index) => format!("{}-partition-{index}", self.topic.name),
            None => self.topic.name.clone(),
        }
    }
}

impl FromStr for Partition {
    type Err = Error;

    /// Reads a topic's name, or that of one of its partitions, `t-partition-3`.
    fn from_str(text: &str) -> Result<Self> {
        let topic: TopicName = text.parse()?;
        Ok(topic.as_partition().unwrap_or_else(|| Self::new(topic, None)))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.topic)?;
        match self.index {
            Some(index) => write!(f, "-partition-{index}"),
            None => Ok(()),
        }
    }
}

/// What makes a topic this one and no later one of the same name. Positions mean nothing without it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TopicIdentity {
    /// The broker's own creation identity (Pulsar: `internal-info.creationDate`).
    pub creation: String,
    /// Ours, kept as the topic property `aquifer.uuid`.
    pub uuid: Uuid,
}

impl TopicIdentity {
    /// A name safe in file paths and object keys: the UUID alone decides; the creation identity is compared, not printed.
    pub fn path_part(&self) -> String {
        self.uuid.simple().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_name_are_one_topic() {
        let full: TopicName = "persistent://public/default/sensors".parse().expect("a name");
        assert_eq!("sensors".parse::<TopicName>().expect("a name"), full);
        assert_eq!("public/default/sensors".parse::<TopicName>().expect("a name"), full);
        assert_eq!(Partition::new(full, Some(2)).to_string(), "persistent://public/default/sensors-partition-2");
    }

    #[test]
    fn a_partitions_name_is_its_topics_and_a_number() {
        for (text, name, index) in [
            ("t", "t", None),
            ("t-partition-0", "t", Some(0)),
            ("persistent://public/default/t-partition-12", "t", Some(12)),
            ("t-partition-1-partition-2", "t-partition-1", Some(2)),
            ("t-partition-", "t-partition-", None),
            ("t-partition-03", "t-partition-03", None),
            ("t-partition-+3", "t-partition-+3", None),
            ("t-partition-x", "t-partition-x", None),
            ("t-partition-99999999999", "t-partition-99999999999", None),
            ("-partition-1", "-partition-1", None),
        ] {
            let found: Partition = text.parse().expect(text);
            assert_eq!((found.topic.name.as_str(), found.index), (name, index), "{text}");
            assert_eq!(
                found.to_string(),
                format!("persistent://public/default/{}", text.rsplit('/').next().expect("one"))
            );
        }
        assert!("a/b".parse::<Partition>().is_err());
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for text in ["", "a/b", "../x/y", "a/b/..", "a//b", "http://a/b/c", "a/b/c/d"] {
            assert!(text.parse::<TopicName>().is_err(), "{text}");
        }
        assert_eq!(
            "non-persistent://a/b/c".parse::<TopicName>().expect_err("refused").kind(),
            crate::ErrorKind::Unsupported
        );
    }
}
