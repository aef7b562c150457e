//! The lag of each assigned partition, from librdkafka's own statistics, and whether one has records but makes no progress.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use hookline_schemas::topics::{Offset, Partition, Topics};
use rdkafka::Statistics;

use crate::batch::PartitionOffsets;
use crate::consumer::offset_tracker::{OffsetTracker, PartitionKey};
use crate::metrics::Metrics;

pub struct Lag {
    topics: Topics,
    metrics: Metrics,
    stall_limit: Duration,
    /// The offset that each partition was last read to, and when that changed.
    progress: BTreeMap<PartitionKey, (i64, Instant)>,
    is_stuck: bool,
    /// The partitions that have series.
    exported: BTreeSet<PartitionKey>,
}

/// The assigned partitions, and what became of what was read of them.
pub struct Assignment<'a> {
    pub assigned: &'a BTreeSet<PartitionKey>,
    pub stopped: &'a BTreeSet<PartitionKey>,
    pub offsets: &'a OffsetTracker,
    /// Batches that were written.
    pub written: &'a PartitionOffsets,
    /// The batch that was not submitted yet.
    pub filling: &'a PartitionOffsets,
    pub is_writing: bool,
    pub is_paused: bool,
}

impl Lag {
    pub fn new(topics: Topics, metrics: Metrics, stall_limit: Duration) -> Self {
        Self { topics, metrics, stall_limit, progress: BTreeMap::new(), is_stuck: false, exported: BTreeSet::new() }
    }

    /// Sets the metrics. A partition is stuck when it has records, and for longer than the limit none was read though the writer
    /// was free and the partition is not stopped.
    pub fn observe(&mut self, statistics: &Statistics, assignment: &Assignment<'_>) {
        let Assignment { assigned, stopped, offsets, written, filling, is_writing, is_paused } = assignment;
        let now = Instant::now();
        for key in *assigned {
            let (topic, Partition(number)) = (key.0.name(&self.topics), key.1);
            let partition = statistics.topics.get(topic).and_then(|topic| topic.partitions.get(&number));
            let Some(partition) = partition.filter(|partition| partition.hi_offset >= 0) else { continue };
            let begin = partition.committed_offset.max(partition.lo_offset).max(0);
            // Records of an open transaction are not given to consumers, so they lie behind the end.
            let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
            // The control records that end a transaction are never given to the application. Neither are offsets that compaction
            // emptied: they are fetched, and nothing of them waits in the queue.
            let is_fetching = partition.fetch_state == "active" && !is_paused;
            let is_fetched = is_fetching && partition.next_offset >= end && partition.fetchq_cnt == 0;
            let is_read = partition.app_offset.max(begin) >= end || is_fetched;
            let is_done =
                is_read && !filling.contains_key(key) && offsets.is_committed(*key, Offset(partition.committed_offset));
            let lag = if is_done { 0 } else { (end - begin).max(0) };
            let labels = [topic, &number.to_string()];
            self.exported.insert(*key);
            self.metrics.lag_records.with_label_values(&labels).set(lag);
            let age =
                if lag == 0 { 0 } else { written.get(key).map_or(0, |progress| age_seconds(progress.appended_at.0)) };
            self.metrics.lag_seconds.with_label_values(&labels).set(age);
            // Zero until it is stopped: whoever watches a partition must find it.
            self.metrics.partition_stopped.with_label_values(&labels);
            // Until this consumer has read a record of a partition, it is where its group left it.
            let read = partition.app_offset.max(begin);
            let seen = self.progress.entry(*key).or_insert((read, now));
            if seen.0 != read || *is_writing || is_read || stopped.contains(key) {
                *seen = (read, now);
            }
            self.is_stuck |= now.duration_since(seen.1) > self.stall_limit;
        }
    }

    pub fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Removes the series of partitions that are not among the `assigned`: another member exports them now. Until partitions
    /// are assigned again they stay, for while no broker answers nobody else exports them.
    pub fn keep_only(&mut self, assigned: &BTreeSet<PartitionKey>) {
        let gone: Vec<_> = self.exported.difference(assigned).copied().collect();
        for (topic, Partition(number)) in &gone {
            let labels = [topic.name(&self.topics), &number.to_string()];
            for series in [&self.metrics.lag_records, &self.metrics.lag_seconds, &self.metrics.partition_stopped] {
                // A series that was never set cannot be removed.
                let _ = series.remove_label_values(&labels);
            }
        }
        self.exported.retain(|partition| assigned.contains(partition));
    }

    /// Partitions were revoked: what comes next is read from the committed offsets.
    pub fn forget_progress(&mut self) {
        self.progress.clear();
        self.is_stuck = false;
    }
}

fn age_seconds(appended_ms: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(appended_ms).max(0) / 1000
}
