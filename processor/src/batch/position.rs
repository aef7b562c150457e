//! Where a record lies in the log.

use hookline_schemas::ids::Resource;
use hookline_schemas::time::AppendedAt;
use hookline_schemas::topics::{Offset, Partition, Position, Topic, Topics};

/// Where a record lies, and when the broker took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPosition {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// By the broker's clock.
    pub appended_at: AppendedAt,
}

impl RecordPosition {
    /// Where a message of that topic lies.
    pub fn of(message: &impl rdkafka::Message, topic: Topic) -> Self {
        Self {
            topic,
            partition: Partition(message.partition()),
            offset: Offset(message.offset()),
            appended_at: AppendedAt(message.timestamp().to_millis().unwrap_or_default()),
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
    pub fn named(self, topics: &Topics) -> Position<'_> {
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
            let (partition, offset, appended_at) = (Partition(0), Offset(0), AppendedAt(0));
            RecordPosition { topic: *topic, partition, offset, appended_at }.key_order()
        });
        assert!(topics.map(Topic::as_str).is_sorted());
    }
}
