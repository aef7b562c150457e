//! What Kafka holds, and how far the processor says it is.

use std::time::Duration;

use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(10);

/// How many records there are, and whether the group has committed every one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Records of the three resource topics.
    pub resources: u64,
    /// Records of the dead-letter topic.
    pub dead_letters: u64,
    /// The committed offset of each partition is its end.
    pub committed: bool,
}

/// Asks the brokers; nothing while they are away.
pub async fn census(kafka: &KafkaConfig) -> Option<Census> {
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || ask(&kafka).ok()).await.unwrap()
}

fn ask(kafka: &KafkaConfig) -> rdkafka::error::KafkaResult<Census> {
    let topics = Topics::new(&kafka.topic_prefix).unwrap();
    let group = format!("{}.processor", kafka.topic_prefix);
    let consumer: BaseConsumer = kafka.client().unwrap().set("group.id", group).create()?;
    let mut census = Census { resources: 0, dead_letters: 0, committed: true };
    for topic in topics.all() {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
        for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
            let (_, end) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
            let mut position = TopicPartitionList::new();
            position.add_partition(topic, partition.id());
            let committed = consumer.committed_offsets(position, PATIENCE)?;
            let committed = committed.find_partition(topic, partition.id()).map(|partition| partition.offset());
            census.committed &= end == 0 || committed == Some(Offset::Offset(end));
            let records = u64::try_from(end).unwrap();
            if topic == topics.dead_letter() {
                census.dead_letters += records;
            } else {
                census.resources += records;
            }
        }
    }
    Ok(census)
}
