//! What Kafka holds, and how much of it the processors have committed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use hookline_testkit::eventually;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(120);
/// In quiet times a record is committed within about a second.
const AT_ONCE: Duration = Duration::from_secs(3);

/// How many records there are, and how far the group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Records of the three resource topics.
    pub resources: u64,
    /// Records of the dead-letter topic.
    pub dead_letters: u64,
    partitions: BTreeMap<(String, i32), Partition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Partition {
    end: i64,
    committed: i64,
}

impl Census {
    /// The group has committed everything that was there at `earlier`.
    pub fn has_committed(&self, earlier: &Self) -> bool {
        earlier.partitions.iter().all(|(name, then)| self.partitions[name].committed >= then.end)
    }
}

/// Asks the brokers; nothing while they are away.
pub async fn census(kafka: &KafkaConfig) -> Option<Census> {
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || ask(&kafka).ok()).await.unwrap()
}

/// Waits until the lag is zero under traffic that goes on: what is in the topics is committed at once, as in quiet times.
/// Returns how long that took.
pub async fn caught_up(kafka: &KafkaConfig) -> Duration {
    let began = Instant::now();
    eventually("the lag to be zero", DEADLINE, async || {
        let there = census(kafka).await?;
        let asked = Instant::now();
        while asked.elapsed() < AT_ONCE {
            if census(kafka).await?.has_committed(&there) {
                return Some(began.elapsed());
            }
        }
        None
    })
    .await
}

fn ask(kafka: &KafkaConfig) -> rdkafka::error::KafkaResult<Census> {
    let topics = Topics::new(&kafka.topic_prefix).unwrap();
    let group = format!("{}.processor", kafka.topic_prefix);
    let consumer: BaseConsumer = kafka.client().unwrap().set("group.id", group).create()?;
    let mut census = Census { resources: 0, dead_letters: 0, partitions: BTreeMap::new() };
    let mut asked = TopicPartitionList::new();
    for topic in topics.all() {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
        for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
            let (_, end) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
            census.partitions.insert((topic.to_owned(), partition.id()), Partition { end, committed: 0 });
            asked.add_partition(topic, partition.id());
            let records = u64::try_from(end).unwrap();
            if topic == topics.dead_letter() {
                census.dead_letters += records;
            } else {
                census.resources += records;
            }
        }
    }
    for element in consumer.committed_offsets(asked, PATIENCE)?.elements() {
        element.error()?;
        let partition = census.partitions.get_mut(&(element.topic().to_owned(), element.partition())).unwrap();
        if let Offset::Offset(committed) = element.offset() {
            partition.committed = committed;
        }
    }
    Ok(census)
}
