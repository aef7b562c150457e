//! Topics: made, removed, and how far a consumer group has committed them.

use std::collections::BTreeMap;
use std::time::Duration;

use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

/// How long the brokers may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Creates topics with so many partitions and replicas each, and with `settings` such as `min.insync.replicas`.
pub async fn create_topics(
    kafka: &KafkaConfig,
    names: impl IntoIterator<Item = &str>,
    (partitions, replicas): (i32, i32),
    settings: &[(&str, &str)],
) {
    let topic = |name| {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    };
    let topics: Vec<_> = names.into_iter().map(topic).collect();
    for created in admin(kafka).create_topics(&topics, &AdminOptions::new()).await.expect("an answer of the brokers") {
        created.unwrap_or_else(|(topic, code)| panic!("cannot create the topic {topic}: {code}"));
    }
}

/// Gives topics more partitions.
pub async fn grow_topics(kafka: &KafkaConfig, names: impl IntoIterator<Item = &str>, partitions: usize) {
    let wanted: Vec<_> = names.into_iter().map(|name| NewPartitions::new(name, partitions)).collect();
    for grown in admin(kafka).create_partitions(&wanted, &AdminOptions::new()).await.expect("an answer of the brokers")
    {
        grown.unwrap_or_else(|(topic, code)| panic!("cannot add partitions to the topic {topic}: {code}"));
    }
}

/// Deletes topics with all their records.
pub async fn delete_topics(kafka: &KafkaConfig, names: impl IntoIterator<Item = &str>) {
    let names: Vec<_> = names.into_iter().collect();
    for deleted in admin(kafka).delete_topics(&names, &AdminOptions::new()).await.expect("an answer of the brokers") {
        deleted.unwrap_or_else(|(topic, code)| panic!("cannot delete the topic {topic}: {code}"));
    }
}

/// Deletes the records of a partition before an offset, as retention does.
pub async fn delete_records(kafka: &KafkaConfig, topic: &str, partition: i32, before: i64) {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset of Kafka");
    let deleted = admin(kafka).delete_records(&offsets, &AdminOptions::new()).await.expect("an answer of the brokers");
    for element in deleted.elements() {
        element.error().unwrap_or_else(|error| panic!("cannot delete records of {topic}/{partition}: {error}"));
    }
}

fn admin(kafka: &KafkaConfig) -> AdminClient<DefaultClientContext> {
    kafka.client().expect("a sound configuration").create().expect("an admin client")
}

/// The end of each partition of the four topics, and how far the processors' group has committed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOffsets {
    /// Records of the three resource topics.
    pub resource_records: u64,
    /// Records of the dead-letter topic.
    pub dead_letter_records: u64,
    /// The key is topic and partition.
    pub partitions: BTreeMap<(String, i32), PartitionOffsets>,
}

/// The offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The offset that the next record will get.
    pub end: i64,
    /// The offset that the group reads next, if it has committed one.
    pub committed: Option<i64>,
}

impl TopicOffsets {
    /// Whether the group has committed every record that was there at `earlier`.
    pub fn has_committed(&self, earlier: &Self) -> bool {
        earlier.partitions.iter().all(|(partition, then)| self.partitions[partition].committed.unwrap_or(0) >= then.end)
    }
}

/// Asks the brokers for the offsets; `None` while they do not answer.
pub async fn topic_offsets(kafka: &KafkaConfig) -> Option<TopicOffsets> {
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || fetch_offsets(&kafka).ok()).await.unwrap()
}

fn fetch_offsets(kafka: &KafkaConfig) -> KafkaResult<TopicOffsets> {
    let topics = Topics::new(&kafka.topic_prefix).unwrap();
    let group = format!("{}.processor", kafka.topic_prefix);
    let consumer: BaseConsumer = kafka.client().unwrap().set("group.id", group).create()?;
    let mut offsets = TopicOffsets { resource_records: 0, dead_letter_records: 0, partitions: BTreeMap::new() };
    let mut asked = TopicPartitionList::new();
    for topic in topics.all() {
        for (partition, (_, end)) in watermarks(&consumer, topic)? {
            offsets.partitions.insert((topic.to_owned(), partition), PartitionOffsets { end, committed: None });
            asked.add_partition(topic, partition);
            let records = u64::try_from(end).unwrap();
            if topic == topics.dead_letter() {
                offsets.dead_letter_records += records;
            } else {
                offsets.resource_records += records;
            }
        }
    }
    for element in consumer.committed_offsets(asked, TIMEOUT)?.elements() {
        element.error()?;
        let partition = offsets.partitions.get_mut(&(element.topic().to_owned(), element.partition())).unwrap();
        if let Offset::Offset(committed) = element.offset() {
            partition.committed = Some(committed);
        }
    }
    Ok(offsets)
}

/// The offset of the first record and the one after the last, of each partition of a topic.
pub(crate) fn watermarks(consumer: &BaseConsumer, topic: &str) -> KafkaResult<BTreeMap<i32, (i64, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    partitions
        .map(|partition| Ok((partition.id(), consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?)))
        .collect()
}
