//! The four topics, their names, and the position of a record in them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidName, Resource};

/// `{prefix}.video`, `{prefix}.image`, `{prefix}.audio` and `{prefix}.dead-letter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    names: [String; 3],
    dead_letter: String,
}

impl Topics {
    /// The prefix that is used where none is configured.
    pub const DEFAULT_PREFIX: &str = "hookline";
    /// The partitions of a topic where none are configured.
    pub const DEFAULT_PARTITIONS: u16 = 2;

    /// Checks that the prefix makes legal topic names.
    pub fn new(prefix: &str) -> Result<Self, InvalidName> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if prefix.is_empty() || prefix.len() > 200 || !prefix.bytes().all(legal) {
            return Err(InvalidName("a topic prefix: 1 to 200 of A-Z, a-z, 0-9, '.', '_', '-'"));
        }
        Ok(Self {
            names: Resource::ALL.map(|resource| format!("{prefix}.{resource}")),
            dead_letter: format!("{prefix}.dead-letter"),
        })
    }

    /// The name of the topic with the deliveries of a resource.
    pub fn resource(&self, resource: Resource) -> &str {
        let [video, image, audio] = &self.names;
        match resource {
            Resource::Video => video,
            Resource::Image => image,
            Resource::Audio => audio,
        }
    }

    /// The name of the topic with the dead letters of all resources.
    pub fn dead_letter(&self) -> &str {
        &self.dead_letter
    }

    /// All four names, that of the dead letters last.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.names.iter().chain([&self.dead_letter]).map(String::as_str)
    }
}

/// One of the four topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Topic {
    /// The deliveries about jobs of one resource.
    Resource(Resource),
    /// The dead letters of all resources.
    DeadLetter,
}

impl Topic {
    /// All four topics, the dead letters last.
    pub const ALL: [Self; 4] = [
        Self::Resource(Resource::Video),
        Self::Resource(Resource::Image),
        Self::Resource(Resource::Audio),
        Self::DeadLetter,
    ];

    /// The topic's name after the prefix: what it carries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resource(resource) => resource.as_str(),
            Self::DeadLetter => "dead-letter",
        }
    }

    /// The whole name of the topic.
    pub fn name(self, topics: &Topics) -> &str {
        match self {
            Self::Resource(resource) => topics.resource(resource),
            Self::DeadLetter => topics.dead_letter(),
        }
    }

    /// The topic with that whole name, if there is one.
    pub fn named(name: &str, topics: &Topics) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name(topics) == name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.as_str().to_owned()
    }
}

impl TryFrom<String> for Topic {
    type Error = UnknownTopic;

    fn try_from(text: String) -> Result<Self, UnknownTopic> {
        text.parse()
    }
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == text).ok_or(UnknownTopic)
    }
}

/// The text names none of the four topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected video, image, audio or dead-letter")]
pub struct UnknownTopic;

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub i32);

/// A record's position in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub i64);

/// The position of a record; it prints as `topic/partition/offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the parts of a position, as Kafka calls them")]
pub struct Position<'a> {
    pub topic: &'a str,
    pub partition: Partition,
    pub offset: Offset,
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition.0, self.offset.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_prefix() {
        let topics = Topics::new(Topics::DEFAULT_PREFIX).unwrap();
        let names: Vec<_> = topics.all().collect();
        assert_eq!(names, ["hookline.video", "hookline.image", "hookline.audio", "hookline.dead-letter"]);
        for resource in Resource::ALL {
            assert_eq!(topics.resource(resource), format!("hookline.{resource}"));
        }
        for bad in ["", "a b", "ü", &"x".repeat(201)] {
            assert!(Topics::new(bad).is_err(), "{bad:?}");
        }
    }
}
