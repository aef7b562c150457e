//! Committed offsets carry the log id as their metadata, because Kafka keeps them under the topic's name: an offset of the
//! former topic, committed a moment too late, would else let the records before it in the new one be skipped.

use std::time::Duration;

use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;

use crate::log_ids::LogIds;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Adds an offset that is to be committed.
pub fn add(offsets: &mut TopicPartitionList, topic: &str, partition: Partition, next: Offset, log_id: &str) {
    let mut element = offsets.add_partition(topic, partition.0);
    // Only an offset out of Kafka's own range is refused, and these came from it.
    let _ = element.set_offset(rdkafka::Offset::Offset(next.0));
    element.set_metadata(log_id);
}

/// Lets each partition of an assignment begin at its first record whose committed offset belongs to another log. One that was
/// committed without metadata, by an operator, is taken as it is.
pub fn begin_where_log_is_new<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    assigned: &TopicPartitionList,
    topics: &Topics,
    log_ids: &LogIds,
) -> KafkaResult<()> {
    if assigned.count() == 0 {
        return Ok(());
    }
    let mut asked = TopicPartitionList::new();
    for element in assigned.elements() {
        asked.add_partition(element.topic(), element.partition());
    }
    let committed = consumer.committed_offsets(asked, TIMEOUT)?;
    for mut element in assigned.elements() {
        let (name, partition) = (element.topic(), element.partition());
        let Some(found) = committed.find_partition(name, partition) else { continue };
        found.error()?;
        let log_id = Topic::named(name, topics).map(|topic| log_ids.of(topic));
        let known = found.metadata();
        if !known.is_empty() && log_id.is_some_and(|log_id| log_id != known) {
            tracing::warn!(topic = name, partition, offset = ?found.offset(), committed_for = known, ?log_id, "the committed offset belongs to a former topic of this name: the new one is read from its beginning");
            element.set_offset(rdkafka::Offset::Beginning)?;
        }
    }
    Ok(())
}
