//! Asks the brokers what the statistics of the consumer do not tell: where a log ends whose partition is paused, and when a record
//! was appended that nobody has read since its partition was assigned.

use std::time::{Duration, Instant};

use hookline_schemas::time::AppendedAt;
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::kafka::{KafkaContext, ask};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset as KafkaOffset, TopicPartitionList};

use crate::config::ProcessorConfig;
use crate::consumer::settings;
use crate::metrics::partitions::{Answer, Partitions};

/// The client's name in logs and metrics.
pub const LAG_PROBE: &str = "lag probe";
/// How long the brokers may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

pub struct LagProbe {
    /// A consumer outside of any group, which has a partition only while it reads a record of it.
    consumer: BaseConsumer<KafkaContext>,
    topics: Topics,
    partitions: Partitions,
}

impl LagProbe {
    pub fn new(config: &ProcessorConfig, topics: Topics, partitions: Partitions) -> anyhow::Result<Self> {
        let mut client = settings::replay(config)?;
        // One record is enough, and a broker sends at least one.
        client.set("client.id", "hookline-processor-lag").set("fetch.message.max.bytes", "1");
        Ok(Self { consumer: client.create_with_context(KafkaContext::new(LAG_PROBE))?, topics, partitions })
    }

    /// Answers the questions that there are. What no broker answers stays a question.
    pub fn answer_questions(&self) {
        let questions = self.partitions.questions();
        let mut ends = TopicPartitionList::new();
        for ((topic, partition), _) in &questions {
            // Only an offset out of Kafka's own range is refused.
            let _ = ends.add_partition_offset(topic.name(&self.topics), partition.0, KafkaOffset::End);
        }
        if questions.is_empty() {
            return;
        }
        let Ok(ends) = ask(&self.consumer, |consumer| consumer.offsets_for_times(ends, TIMEOUT)) else { return };
        for (key, wanted) in questions {
            let end = ends.find_partition(key.0.name(&self.topics), key.1.0).map(|element| element.offset());
            let end = if let Some(KafkaOffset::Offset(end)) = end { Some(Offset(end)) } else { None };
            let first = wanted.and_then(|offset| Some((offset, self.first_appended(key, offset)?)));
            self.partitions.set_answer(key, Answer { end, first });
        }
    }

    /// When the first record at or after `offset` was appended: none where there is no such record, nothing where nobody says.
    fn first_appended(
        &self,
        (topic, Partition(partition)): (Topic, Partition),
        offset: Offset,
    ) -> Option<Option<AppendedAt>> {
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(topic.name(&self.topics), partition, KafkaOffset::Offset(offset.0)).ok()?;
        self.consumer.assign(&start).ok()?;
        let began = Instant::now();
        let answer = loop {
            let left = TIMEOUT.saturating_sub(began.elapsed());
            match self.consumer.poll(left) {
                Some(Ok(message)) => break message.timestamp().to_millis().map(|at| Some(AppendedAt(at))),
                Some(Err(KafkaError::PartitionEOF(_))) => break Some(None),
                Some(Err(_)) | None if left.is_zero() => break None,
                Some(Err(_)) | None => {}
            }
        };
        // Fails only where the client is broken, and then the next question has no answer.
        let _ = self.consumer.unassign();
        answer
    }
}
