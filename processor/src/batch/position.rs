//! A record's position in the log.

use hookline_schemas::ids::Resource;
use hookline_schemas::time::AppendedAt;
use hookline_schemas::topics::{Offset, Partition, Position, Topic, Topics};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPosition {
    pub topic: Topic,
    pub partition: Partition,
    pub offset: Offset,
    pub appended_at: AppendedAt,
}

impl RecordPosition {
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

    /// Adds the prefix, for everything that leaves the process.
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
