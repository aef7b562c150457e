//! Which records have a dead letter in the topic that the table does not tell of: the live group has not inserted it yet, its
//! partition is stopped, or its row was lost. A replay publishes no second one for these.

use std::collections::HashSet;

use anyhow::Context as _;
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::kafka::{KafkaContext, ask};
use hookline_service::shutdown::CancellationToken;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Message as _, Offset as Position, TopicPartitionList};
use tokio::runtime::Handle;

use super::TIMEOUT;
use super::inspect::Inspector;
use super::plan::{PartitionRange, offsets};
use super::source::SourceKind;
use super::source::kafka::POLL_TIMEOUT;
use crate::batch::Batch;
use crate::batch::dead_letter::DeadLetterRow;
use crate::batch::position::RecordPosition;
use crate::clickhouse::columns::Table;
use crate::config::ProcessorConfig;
use crate::consumer::settings;
use crate::log_ids::LogIds;

/// Reads the origins of the dead letters that the table may lack. `inspector` knows what it has.
pub fn origins_not_in_the_table(
    config: &ProcessorConfig,
    topics: &Topics,
    log_ids: &LogIds,
    inspector: &Inspector,
    shutdown: &CancellationToken,
    runtime: &Handle,
) -> anyhow::Result<HashSet<String>> {
    // The live group's id, for its committed offsets. The consumer does not join it.
    let consumer: BaseConsumer<_> = settings::replay(config)?
        .set("group.id", config.group_id())
        .create_with_context(KafkaContext::new("dead letters"))?;
    let mut origins = HashSet::new();
    for part in partitions(&consumer, topics.dead_letter(), log_ids.of(Topic::DeadLetter))? {
        let committed = PartitionRange { end: part.next, next: part.start, ..part.clone() };
        let present = runtime.block_on(inspector.present(Table::DeadLetters, &committed))?;
        let has_all = present >= offsets(committed.next, committed.end);
        let unknown = PartitionRange { next: if has_all { part.next } else { part.start }, ..part };
        read(&consumer, &unknown, log_ids, shutdown, &mut origins)?;
    }
    Ok(origins)
}

/// The range that each partition has; its `next` is what the live group has committed.
fn partitions(consumer: &BaseConsumer<KafkaContext>, topic: &str, log_id: &str) -> anyhow::Result<Vec<PartitionRange>> {
    let metadata = ask(consumer, |consumer| consumer.fetch_metadata(Some(topic), TIMEOUT))
        .context("Kafka does not answer a request for metadata")?;
    let mut asked = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        asked.add_partition(topic, partition.id());
    }
    let committed = ask(consumer, |consumer| consumer.committed_offsets(asked, TIMEOUT))
        .context("Kafka does not answer a request for the committed offsets of the live group")?;
    let part = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        let (low, high) = ask(consumer, |consumer| consumer.fetch_watermarks(topic, element.partition(), TIMEOUT))?;
        let next = if let Position::Offset(committed) = element.offset() { committed.clamp(low, high) } else { low };
        anyhow::Ok(PartitionRange {
            source: SourceKind::Kafka,
            log_id: log_id.to_owned(),
            topic: topic.to_owned(),
            partition: Partition(element.partition()),
            start: Offset(low),
            end: Offset(high),
            next: Offset(next),
        })
    };
    committed.elements().iter().map(part).collect()
}

fn read(
    consumer: &BaseConsumer<KafkaContext>,
    part: &PartitionRange,
    log_ids: &LogIds,
    shutdown: &CancellationToken,
    origins: &mut HashSet<String>,
) -> anyhow::Result<()> {
    if part.next >= part.end {
        return Ok(());
    }
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(&part.topic, part.partition.0, Position::Offset(part.next.0))?;
    consumer.assign(&start)?;
    let mut batch = Batch::default();
    while !shutdown.is_cancelled() {
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(message)) if message.partition() != part.partition.0 => {}
            Some(Ok(message)) if message.offset() < part.end.0 => {
                batch.push_message(RecordPosition::of(&message, Topic::DeadLetter), &message);
                // An origin of a former log names another record.
                let current =
                    |row: &DeadLetterRow| Topic::ALL.iter().any(|topic| row.origin_log_id == log_ids.of(*topic));
                origins.extend(batch.dead_letters.drain(..).filter(current).map(|row| row.origin));
                batch.clear();
                if message.offset() + 1 >= part.end.0 {
                    break;
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) if partition != part.partition.0 => {}
            Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                anyhow::bail!("the dead letters of {}/{} cannot be read: {code}", part.topic, part.partition.0)
            }
            // librdkafka tries again, and the context has logged why.
            Some(Err(_)) | None => {}
        }
    }
    Ok(())
}
