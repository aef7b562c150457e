//! The lag of each assigned partition, from librdkafka's own statistics, from what was read and from what the probe found, and
//! whether a partition has records but makes no progress.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use hookline_schemas::time::AppendedAt;
use hookline_schemas::topics::{Offset, Partition, Topics};
use rdkafka::Statistics;
use rdkafka::statistics::Partition as PartitionStatistics;

use crate::batch::{PartitionOffsets, PartitionProgress};
use crate::consumer::offset_tracker::{OffsetTracker, PartitionKey};
use crate::metrics::partitions::{Answer, Lag as PartitionLag, Partitions};

pub struct Lag {
    topics: Topics,
    partitions: Partitions,
    stall_limit: Duration,
    /// The offset that each partition was last read to, and when that changed.
    progress: BTreeMap<PartitionKey, (i64, Instant)>,
    is_stuck: bool,
    /// The batches that were submitted and are not committed, in order.
    submitted: BTreeMap<PartitionKey, VecDeque<PartitionProgress>>,
    /// When nothing was left of a partition: what is left of it later was appended after that.
    caught_up_at: BTreeMap<PartitionKey, AppendedAt>,
}

/// The assigned partitions, and what became of what was read of them.
pub struct Assignment<'a> {
    pub assigned: &'a BTreeSet<PartitionKey>,
    pub stopped: &'a BTreeSet<PartitionKey>,
    pub offsets: &'a OffsetTracker,
    /// The batch that was not submitted yet.
    pub filling: &'a PartitionOffsets,
    pub is_writing: bool,
    pub is_paused: bool,
}

impl Lag {
    pub fn new(topics: Topics, partitions: Partitions, stall_limit: Duration) -> Self {
        Self {
            topics,
            partitions,
            stall_limit,
            progress: BTreeMap::new(),
            is_stuck: false,
            submitted: BTreeMap::new(),
            caught_up_at: BTreeMap::new(),
        }
    }

    /// Sets the metrics. A partition is stuck when it has records, and for longer than the limit none was read though the writer
    /// was free and the partition is not stopped.
    pub fn observe(&mut self, statistics: &Statistics, assignment: &Assignment<'_>) {
        let Assignment { assigned, stopped, offsets, filling, is_writing, is_paused } = assignment;
        let now = Instant::now();
        for key in *assigned {
            let (topic, Partition(number)) = (key.0.name(&self.topics), key.1);
            let partition = statistics.topics.get(topic).and_then(|topic| topic.partitions.get(&number));
            let Some(partition) = partition else { continue };
            let answer = self.partitions.answer(*key);
            let is_fetching = partition.fetch_state == "active" && !is_paused && !stopped.contains(key);
            let Some((begin, end)) = uncommitted(partition, answer, is_fetching) else { continue };
            // The control records that end a transaction are never given to the application. Neither are offsets that compaction
            // emptied: they are fetched, and nothing of them waits in the queue.
            let is_fetched = is_fetching && partition.next_offset >= end && partition.fetchq_cnt == 0;
            let is_read = partition.app_offset.max(begin) >= end || is_fetched;
            let is_done =
                is_read && !filling.contains_key(key) && offsets.is_committed(*key, Offset(partition.committed_offset));
            let submitted = self.submitted.entry(*key).or_default();
            while submitted.front().is_some_and(|batch| batch.next.0 <= begin) {
                submitted.pop_front();
            }
            if is_done || begin >= end {
                self.caught_up_at.insert(*key, unix_now());
                self.partitions.set_lag(*key, PartitionLag::NONE);
            } else {
                self.observe_behind(*key, Offset(begin), end - begin, filling.get(key), answer);
            }
            // Until this consumer has read a record of a partition, it is where its group left it.
            let read = partition.app_offset.max(begin);
            let seen = self.progress.entry(*key).or_insert((read, now));
            if seen.0 != read || *is_writing || is_read || stopped.contains(key) {
                *seen = (read, now);
            }
            self.is_stuck |= now.duration_since(seen.1) > self.stall_limit;
        }
    }

    /// Sets the metrics of a partition with `records` that are not committed, the first of them at `begin` or after it. Where it is
    /// not known yet how old that one is, they stay as they were.
    fn observe_behind(
        &mut self,
        key: PartitionKey,
        begin: Offset,
        records: i64,
        filling: Option<&PartitionProgress>,
        answer: Answer,
    ) {
        let oldest = self.submitted.get(&key).and_then(VecDeque::front).or(filling);
        let answered = answer.first.filter(|(offset, _)| *offset == begin);
        let since = match (oldest, answered) {
            (Some(batch), _) if begin <= batch.begin => Some(batch.appended_at),
            // The probe found no record after what is committed: what is there are control records.
            (_, Some((_, None))) => return self.partitions.set_lag(key, PartitionLag::NONE),
            (_, Some((_, Some(at)))) => Some(at),
            (oldest, None) => {
                self.partitions.want(key, begin);
                // A part of the batch is committed, and the rest is no older than its first record.
                oldest.map(|batch| batch.appended_at).or(self.caught_up_at.get(&key).copied())
            }
        };
        if let Some(since) = since {
            self.partitions.set_lag(key, PartitionLag { records, since: Some(since) });
        }
    }

    /// Keeps what a batch has of each partition until it is committed.
    pub fn submit(&mut self, positions: &PartitionOffsets) {
        for (key, progress) in positions {
            self.submitted.entry(*key).or_default().push_back(*progress);
        }
    }

    pub fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Partitions were revoked: what comes next is read from the committed offsets.
    pub fn forget_progress(&mut self) {
        self.progress.clear();
        self.submitted.clear();
        self.caught_up_at.clear();
        self.is_stuck = false;
    }
}

/// The committed offset, or the log's start where that is later, and the end of the log; nothing where they are not known.
fn uncommitted(partition: &PartitionStatistics, answer: Answer, is_fetching: bool) -> Option<(i64, i64)> {
    // Records of an open transaction are not given to consumers, so they lie behind the end.
    let fetched = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
    let fetched = (partition.hi_offset >= 0).then_some(fetched);
    // Statistics know the end that the last fetch found, which is outdated where nothing is fetched.
    let asked = answer.end.map(|end| end.0).filter(|_| !is_fetching || fetched.is_none());
    let end = fetched.max(asked)?;
    let begin = partition.committed_offset.max(partition.lo_offset);
    (begin >= 0 || fetched.is_some()).then_some((begin.max(0), end))
}

fn unix_now() -> AppendedAt {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    AppendedAt(i64::try_from(now).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use hookline_schemas::ids::Resource;
    use hookline_schemas::topics::Topic;
    use prometheus::core::Collector as _;
    use rdkafka::statistics::Topic as TopicStatistics;

    use super::*;

    const KEY: PartitionKey = (Topic::Resource(Resource::Video), Partition(0));
    const HOUR: i64 = 3_600_000;

    struct Observed {
        lag: Lag,
        assigned: BTreeSet<PartitionKey>,
        offsets: OffsetTracker,
        is_paused: bool,
    }

    impl Observed {
        fn new() -> Self {
            let topics = Topics::new("h").unwrap();
            let partitions = Partitions::new(&topics).unwrap();
            let assigned = BTreeSet::from([KEY]);
            partitions.assign(&assigned);
            let lag = Lag::new(topics, partitions, Duration::from_secs(60));
            Self { lag, assigned, offsets: OffsetTracker::default(), is_paused: false }
        }

        /// Reads and submits a batch of these offsets, appended so many milliseconds ago.
        fn submit(&mut self, begin: i64, next: i64, age: i64) {
            let appended_at = AppendedAt(unix_now().0 - age);
            let progress = PartitionProgress { begin: Offset(begin), next: Offset(next), appended_at };
            let mut positions = PartitionOffsets::from([(KEY, progress)]);
            self.offsets.submit(&mut positions);
            self.lag.submit(&positions);
        }

        /// What is shown after these statistics: records, and seconds, rounded.
        fn shown(&mut self, committed: i64, read: i64, end: i64) -> Option<(f64, f64)> {
            let partition = PartitionStatistics {
                committed_offset: committed,
                app_offset: read,
                hi_offset: end,
                ls_offset: end,
                lo_offset: 0,
                next_offset: read.max(committed),
                fetch_state: "active".into(),
                ..PartitionStatistics::default()
            };
            let partitions = HashMap::from([(0, partition)]);
            let topic = TopicStatistics { partitions, ..TopicStatistics::default() };
            let statistics = Statistics { topics: HashMap::from([("h.video".into(), topic)]), ..Statistics::default() };
            let assignment = Assignment {
                assigned: &self.assigned,
                stopped: &BTreeSet::new(),
                offsets: &self.offsets,
                filling: &PartitionOffsets::new(),
                is_writing: true,
                is_paused: self.is_paused,
            };
            self.lag.observe(&statistics, &assignment);
            let families = self.lag.partitions.collect();
            let value = |name: &str| {
                let family = families.iter().find(|family| family.name().ends_with(name))?;
                Some(family.get_metric().first()?.get_gauge().get_value())
            };
            Some((value("lag_records")?, value("lag_seconds")?.round()))
        }
    }

    #[test]
    fn the_age_is_that_of_the_oldest_record_that_is_not_committed() {
        let mut observed = Observed::new();
        observed.submit(10, 20, HOUR);
        observed.submit(20, 30, 60_000);
        assert_eq!(observed.shown(10, 30, 30), Some((20.0, 3600.0)));
        assert_eq!(observed.shown(20, 30, 40), Some((20.0, 60.0)));
        assert_eq!(observed.shown(30, 30, 30), Some((0.0, 0.0)));
        // A topic that was quiet: what is there now was appended since it was empty.
        assert_eq!(observed.shown(30, 30, 31), Some((1.0, 0.0)));
    }

    #[test]
    fn nothing_is_said_of_records_that_nobody_has_read_until_the_probe_knows_their_age() {
        let mut observed = Observed::new();
        assert_eq!(observed.shown(10, -1001, 30), None, "neither 0 nor a guess");
        let partitions = observed.lag.partitions.clone();
        assert_eq!(partitions.questions(), [(KEY, Some(Offset(10)))]);
        let first = Some((Offset(10), Some(AppendedAt(unix_now().0 - HOUR))));
        partitions.set_answer(KEY, Answer { end: Some(Offset(30)), first });
        assert_eq!(observed.shown(10, -1001, 30), Some((20.0, 3600.0)));
        // Control records alone.
        partitions.set_answer(KEY, Answer { end: Some(Offset(30)), first: Some((Offset(10), None)) });
        assert_eq!(observed.shown(10, -1001, 30), Some((0.0, 0.0)));
    }

    #[test]
    fn the_end_of_a_log_that_is_not_fetched_is_the_one_that_the_probe_found() {
        let mut observed = Observed::new();
        observed.submit(0, 5, 120_000);
        observed.is_paused = true;
        assert_eq!(observed.shown(0, 5, 5), Some((5.0, 120.0)));
        observed.lag.partitions.set_answer(KEY, Answer { end: Some(Offset(900)), first: None });
        assert_eq!(observed.shown(0, 5, 5), Some((900.0, 120.0)));
        observed.is_paused = false;
        assert_eq!(observed.shown(0, 5, 5), Some((5.0, 120.0)), "a fetch knows more than an answer of seconds ago");
    }
}
