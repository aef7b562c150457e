//! Which of the four topics a record comes from.

use hookline_schemas::ids::Resource;
use hookline_schemas::time::ReceivedAt;
use hookline_schemas::topics::{Offset, Partition, Position, Topics};

/// One of the topics that the processor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Deliveries of a resource.
    Resource(Resource),
    /// Dead letters.
    DeadLetter,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 4] = [
        Self::Resource(Resource::Video),
        Self::Resource(Resource::Image),
        Self::Resource(Resource::Audio),
        Self::DeadLetter,
    ];

    /// What it carries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resource(resource) => resource.as_str(),
            Self::DeadLetter => "dead-letter",
        }
    }

    /// Its name.
    pub fn name(self, topics: &Topics) -> &str {
        match self {
            Self::Resource(resource) => topics.resource(resource),
            Self::DeadLetter => topics.dead_letter(),
        }
    }

    /// The topic of that name.
    pub fn named(name: &str, topics: &Topics) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name(topics) == name)
    }
}

/// Where a record lies, and when the broker took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// By the broker's clock.
    pub appended_at: ReceivedAt,
}

impl Place {
    /// Where a message of that topic lies.
    pub fn of(message: &impl rdkafka::Message, topic: Topic) -> Self {
        Self {
            topic,
            partition: Partition(message.partition()),
            offset: Offset(message.offset()),
            appended_at: ReceivedAt(message.timestamp().to_millis().unwrap_or_default()),
        }
    }

    /// Sorts as the key of `deliveries` does: topics of one prefix by the name of what they carry.
    pub const fn key_order(&self) -> (u8, Partition, Offset) {
        let topic = match self.topic {
            Topic::Resource(Resource::Audio) => 0,
            Topic::DeadLetter => 1,
            Topic::Resource(Resource::Image) => 2,
            Topic::Resource(Resource::Video) => 3,
        };
        (topic, self.partition, self.offset)
    }

    /// The same with the topic's name.
    pub fn position(self, topics: &Topics) -> Position<'_> {
        Position { topic: self.topic.name(topics), partition: self.partition, offset: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_sort_by_name() {
        let mut topics = Topic::ALL;
        topics.sort_by_key(|topic| {
            let (partition, offset, appended_at) = (Partition(0), Offset(0), ReceivedAt(0));
            Place { topic: *topic, partition, offset, appended_at }.key_order()
        });
        assert!(topics.map(Topic::as_str).is_sorted());
    }
}
