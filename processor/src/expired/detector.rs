//! Finds what expired in the partitions of an assignment, and records it. Works on the writer's thread and before the records
//! after the gap are written: so no commit passes offsets that expired unless the table has them.

use std::collections::BTreeMap;
use std::time::Duration;

use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::admin::Readiness;
use hookline_service::kafka::{KafkaContext, NoAnswer, ask};
use hookline_service::shutdown::CancellationToken;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::{Gap, expired, table};
use crate::clickhouse::inserter::{ClickHouse, ClickHouseError};
use crate::config::ProcessorConfig;
use crate::log_ids::LogIds;
use crate::metrics::Metrics;
use crate::retry::{Cancelled, until_cancelled};
use crate::writer::CLICKHOUSE;

/// The client's name in logs and metrics.
pub const DETECTOR: &str = "detector";
/// How long the brokers may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

type Offsets = BTreeMap<(Topic, Partition), Offset>;

pub struct Detector {
    /// Knows the group's offsets, and does not join it.
    consumer: BaseConsumer<KafkaContext>,
    clickhouse: ClickHouse,
    topics: Topics,
    log_ids: LogIds,
    metrics: Metrics,
    readiness: Readiness,
    /// The offset of each assigned partition that is read first: the committed one, or the log's start if that lies after it.
    next: Offsets,
}

impl Detector {
    pub fn new(
        config: &ProcessorConfig,
        topics: Topics,
        log_ids: LogIds,
        metrics: Metrics,
        readiness: Readiness,
    ) -> anyhow::Result<Self> {
        let mut client = config.kafka.client()?;
        client.set("group.id", config.group_id());
        let consumer = client.create_with_context(KafkaContext::new(DETECTOR))?;
        let clickhouse = ClickHouse::new(&config.clickhouse)?;
        Ok(Self { consumer, clickhouse, topics, log_ids, metrics, readiness, next: Offsets::new() })
    }

    /// Compares the committed offsets with the starts of the logs. Nothing read from these partitions has been committed yet.
    pub async fn check_assignment(
        &mut self,
        assigned: &[(Topic, Partition)],
        cancel: &CancellationToken,
    ) -> Result<(), Cancelled> {
        for (topic, partition) in assigned {
            self.series(*topic, *partition);
        }
        self.next = self.ask(cancel, |detector| detector.committed(assigned)).await?;
        // A partition without a leader has no start now. Then its first record is compared, see `check_gaps`.
        let starts = self.log_starts().unwrap_or_default();
        for ((topic, partition), start) in starts {
            let Some(next) = self.next.get(&(topic, partition)).copied() else { continue };
            if let Some(range) = expired(next, Offset(i64::MAX), start) {
                self.record(topic, partition, range, cancel).await?;
                self.next.insert((topic, partition), start);
            }
        }
        Ok(())
    }

    /// Compares the gaps before records that were read with the starts of the logs.
    pub async fn check_gaps(&mut self, gaps: &[Gap], cancel: &CancellationToken) -> Result<(), Cancelled> {
        let mut starts = Offsets::new();
        for Gap { topic, partition, from, to } in gaps.iter().copied() {
            // Without a committed offset the group begins at the log's start, and skips nothing.
            let Some(from) = from.or(self.next.get(&(topic, partition)).copied()) else { continue };
            if from >= to {
                continue;
            }
            let start = match starts.get(&(topic, partition)) {
                Some(start) => *start,
                None => self.ask(cancel, |detector| detector.log_start(topic, partition)).await?,
            };
            starts.insert((topic, partition), start);
            if let Some(range) = expired(from, to, start) {
                self.record(topic, partition, range, cancel).await?;
            }
        }
        Ok(())
    }

    /// Adds a range to the table, and then counts and logs it, unless an earlier process did.
    async fn record(
        &self,
        topic: Topic,
        partition: Partition,
        range: std::ops::Range<i64>,
        cancel: &CancellationToken,
    ) -> Result<(), Cancelled> {
        let (name, log_id) = (topic.name(&self.topics), self.log_ids.of(topic));
        let insert = async || {
            let end = table::known_end(&self.clickhouse, log_id, name, partition.0).await?;
            let rest = range.start.max(end)..range.end;
            if !rest.is_empty() {
                table::insert(&self.clickhouse, log_id, name, partition.0, &rest).await?;
            }
            Ok::<_, ClickHouseError>(rest)
        };
        let retry = |error: &ClickHouseError| {
            tracing::warn!(%error, "offsets that expired could not be recorded, trying again");
            self.readiness.not_ready(CLICKHOUSE, error.to_string());
            true
        };
        // Every error is retried, so none comes back.
        let Ok(rest) = until_cancelled(cancel, insert, retry).await? else { return Ok(()) };
        self.readiness.ready(CLICKHOUSE);
        let records = u64::try_from(rest.end - rest.start).unwrap_or(0);
        if records > 0 {
            self.series(topic, partition).inc_by(records);
            tracing::error!(
                topic = name,
                partition = partition.0,
                from = rest.start,
                to = rest.end,
                records,
                "records were removed from the topic before they were read: their webhooks are in no table; raise the retention, \
                 and run hookline-processor acknowledge once it is dealt with"
            );
        }
        Ok(())
    }

    fn series(&self, topic: Topic, partition: Partition) -> prometheus::IntCounter {
        self.metrics.records_expired.with_label_values(&[topic.name(&self.topics), &partition.0.to_string()])
    }

    async fn ask<T>(
        &self,
        cancel: &CancellationToken,
        question: impl Fn(&Self) -> Result<T, NoAnswer>,
    ) -> Result<T, Cancelled> {
        let retry = |error: &NoAnswer| {
            tracing::warn!(%error, "cannot compare offsets with the log's start, trying again");
            true
        };
        loop {
            // Every error is retried, so none comes back.
            if let Ok(answer) = until_cancelled(cancel, async || question(self), retry).await? {
                return Ok(answer);
            }
        }
    }

    fn committed(&self, assigned: &[(Topic, Partition)]) -> Result<Offsets, NoAnswer> {
        let mut partitions = TopicPartitionList::new();
        for (topic, partition) in assigned {
            partitions.add_partition(topic.name(&self.topics), partition.0);
        }
        if assigned.is_empty() {
            return Ok(Offsets::new());
        }
        Ok(self.offsets(&ask(&self.consumer, |consumer| consumer.committed_offsets(partitions, TIMEOUT))?))
    }

    /// Asks for the starts of all logs at once: Kafka takes the first offset for a time before all times.
    fn log_starts(&self) -> Result<Offsets, NoAnswer> {
        let mut partitions = TopicPartitionList::new();
        for (topic, partition) in self.next.keys() {
            let name = topic.name(&self.topics);
            // Only an offset out of Kafka's own range is refused.
            let _ = partitions.add_partition_offset(name, partition.0, KafkaOffset::Beginning);
        }
        if self.next.is_empty() {
            return Ok(Offsets::new());
        }
        Ok(self.offsets(&ask(&self.consumer, |consumer| consumer.offsets_for_times(partitions, TIMEOUT))?))
    }

    fn log_start(&self, topic: Topic, Partition(partition): Partition) -> Result<Offset, NoAnswer> {
        let name = topic.name(&self.topics);
        let watermarks = ask(&self.consumer, |consumer| consumer.fetch_watermarks(name, partition, TIMEOUT))?;
        Ok(Offset(watermarks.0))
    }

    fn offsets(&self, list: &TopicPartitionList) -> Offsets {
        let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let KafkaOffset::Offset(offset) = element.offset() else { return None };
            let topic = Topic::named(element.topic(), &self.topics)?;
            Some(((topic, Partition(element.partition())), Offset(offset)))
        };
        list.elements().iter().filter_map(offset).collect()
    }
}
