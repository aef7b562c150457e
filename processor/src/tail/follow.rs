//! Reads partitions to their end and on, those that are added meanwhile, too.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hookline_schemas::topics::{Topic, Topics};
use hookline_service::kafka::{KafkaContext, ask};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::batch::Batch;
use crate::batch::position::RecordPosition;

const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon a signal is noticed.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// How often it is asked whether there are more partitions.
const LOOK_EVERY: Duration = Duration::from_secs(30);

pub struct Follower<'t> {
    /// A consumer outside of any group, which commits nothing.
    consumer: BaseConsumer<KafkaContext>,
    topics: &'t Topics,
    wanted: Vec<Topic>,
    batch: Batch,
    looked: Instant,
}

impl<'t> Follower<'t> {
    /// Follows topics from a time on, in Unix milliseconds, or from now.
    pub fn new(
        consumer: BaseConsumer<KafkaContext>,
        topics: &'t Topics,
        wanted: Vec<Topic>,
        from: Option<i64>,
    ) -> anyhow::Result<Self> {
        let follower = Self { consumer, topics, wanted, batch: Batch::default(), looked: Instant::now() };
        let partitions = follower.partitions()?;
        let mut start = TopicPartitionList::new();
        for &(topic, partition) in &partitions {
            start.add_partition_offset(topic, partition, from.map_or(Offset::End, Offset::Offset))?;
        }
        if from.is_some() {
            start = ask(&follower.consumer, |consumer| consumer.offsets_for_times(start.clone(), TIMEOUT))?;
        }
        // What lies before now is not for this one, also where a leader does not know its end yet.
        for (topic, partition) in partitions {
            if let Some(mut found) = start.find_partition(topic, partition)
                && !matches!(found.offset(), Offset::Offset(_))
            {
                let (_, end) =
                    ask(&follower.consumer, |consumer| consumer.fetch_watermarks(topic, partition, TIMEOUT))?;
                found.set_offset(Offset::Offset(end))?;
            }
        }
        follower.consumer.assign(&start)?;
        Ok(follower)
    }

    /// The partitions that the topics have now.
    fn partitions(&self) -> anyhow::Result<Vec<(&'t str, i32)>> {
        let metadata = ask(&self.consumer, |consumer| consumer.fetch_metadata(None, TIMEOUT))?;
        let mut partitions = Vec::new();
        for name in self.wanted.iter().map(|topic| topic.name(self.topics)) {
            let found: Option<&MetadataTopic> = metadata.topics().iter().find(|found| found.name() == name);
            let found =
                found.with_context(|| format!("the topic {name} is missing: run hookline-analytics migrate"))?;
            partitions.extend(found.partitions().iter().map(|partition| (name, partition.id())));
        }
        Ok(partitions)
    }

    /// The records that came next; none where there is nothing new yet.
    pub fn next(&mut self) -> anyhow::Result<Option<&Batch>> {
        if self.looked.elapsed() > LOOK_EVERY {
            self.looked = Instant::now();
            self.add_new_partitions()?;
        }
        match self.consumer.poll(POLL_TIMEOUT) {
            Some(Ok(message)) => {
                let topic =
                    Topic::named(message.topic(), self.topics).context("a record of a topic that was not asked for")?;
                self.batch.clear();
                self.batch.push_message(RecordPosition::of(&message, topic), &message);
                Ok(Some(&self.batch))
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => bail!("the consumer cannot go on: {code}"),
            // librdkafka tries again, and the consumer's context has logged why.
            Some(Err(_)) | None => Ok(None),
        }
    }

    fn add_new_partitions(&self) -> anyhow::Result<()> {
        // Brokers that are away are told of by the consumer's context.
        let Ok(partitions) = self.partitions() else { return Ok(()) };
        let assigned = self.consumer.assignment()?;
        let mut added = TopicPartitionList::new();
        for (topic, partition) in partitions {
            if assigned.find_partition(topic, partition).is_none() {
                added.add_partition_offset(topic, partition, Offset::Beginning)?;
            }
        }
        if added.count() > 0 {
            self.consumer.incremental_assign(&added)?;
        }
        Ok(())
    }
}
