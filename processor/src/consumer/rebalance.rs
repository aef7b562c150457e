//! What librdkafka calls inside `poll`: on a rebalance, and with statistics.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hookline_schemas::topics::{Partition, Topic, Topics};
use hookline_service::kafka::KafkaContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientContext, Statistics, TopicPartitionList};

use crate::config::{BatchConfig, GroupConfig};
use crate::consumer::lag::Assignment;
use crate::consumer::{Batcher, log_offsets};
use crate::log_ids::LogIds;
use crate::metrics::Metrics;
use crate::writer::channel::{WriterCommand, WriterHandle};

/// The client's name in logs and metrics.
pub const CONSUMER: &str = "consumer";

/// Holds the batcher, which the callbacks share with whoever polls.
pub struct RebalanceContext {
    batcher: Mutex<Batcher>,
    metrics: Metrics,
    kafka: KafkaContext,
}

impl RebalanceContext {
    pub fn new(
        topics: Topics,
        batch: &BatchConfig,
        group: &GroupConfig,
        metrics: Metrics,
        writer: WriterHandle,
        log_ids: LogIds,
    ) -> Self {
        let batcher = Mutex::new(Batcher::new(topics, batch, group, metrics.clone(), writer, log_ids));
        Self { batcher, metrics, kafka: KafkaContext::new(CONSUMER) }
    }

    /// The guard must not be held while polling: the rebalance callback locks the batcher, too.
    pub fn batcher(&self) -> MutexGuard<'_, Batcher> {
        self.batcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for RebalanceContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.kafka.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.kafka.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut batcher = self.batcher();
        let Batcher { lag, assigned, stopped, offsets, filling, is_writing, is_paused, .. } = &mut *batcher;
        let (filling, is_writing, is_paused) = (&filling.positions, *is_writing, *is_paused);
        lag.observe(&statistics, &Assignment { assigned, stopped, offsets, filling, is_writing, is_paused });
    }
}

impl ConsumerContext for RebalanceContext {
    /// Called with the answer to a commit that was not waited for.
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.metrics.committed(result.is_ok());
        if let Err(error) = result {
            tracing::warn!(%error, "offsets were not committed: the next commit or, after a rebalance, another reading makes up for it");
        }
    }

    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let mut batcher = self.batcher();
            let topics = batcher.topics.clone();
            if let Err(error) = log_offsets::begin_where_log_is_new(consumer, partitions, &topics, &batcher.log_ids) {
                batcher.broken = Some(("committed_offsets", format!("the committed offsets are not known: {error}")));
            }
        }
        if let Rebalance::Revoke(partitions) = rebalance {
            let mut batcher = self.batcher();
            tracing::info!(partitions = partitions.count(), "partitions revoked");
            batcher.metrics.rebalances.with_label_values(&["revoke"]).inc();
            if !batcher.is_finished {
                let deadline = Instant::now() + batcher.settle_timeout;
                batcher.flush_and_commit(consumer, deadline);
            }
            batcher.clear_assignment();
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let mut batcher = self.batcher();
            tracing::info!(partitions = partitions.count(), "partitions assigned");
            batcher.metrics.rebalances.with_label_values(&["assign"]).inc();
            let topics = batcher.topics.clone();
            batcher.assigned = partitions
                .elements()
                .iter()
                .filter_map(|element| Some((Topic::named(element.topic(), &topics)?, Partition(element.partition()))))
                .collect();
            batcher.metrics.partitions.assign(&batcher.assigned);
            let assigned = batcher.assigned.iter().copied().collect();
            // A partition that was paused when it was revoked comes back paused.
            batcher.resume(consumer);
            batcher.send(WriterCommand::Assigned(assigned));
        }
    }
}
