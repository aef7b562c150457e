//! Which offsets of which partitions a replay reads. It ends where the plan ends, whatever is appended meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::cli::TimePoint;
use hookline_service::kafka::{KafkaContext, ask};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset as Position, TopicPartitionList};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::select::Selection;
use crate::expired::expired;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The offsets of one partition that a replay reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRange {
    /// The topic's name with its prefix, so that a state file belongs to one prefix.
    pub topic: String,
    pub partition: Partition,
    pub start: Offset,
    /// The offset after the last one that is read.
    pub end: Offset,
    /// The next offset to be read; the records before it are in the tables.
    pub next: Offset,
}

impl PartitionRange {
    pub fn records(&self) -> u64 {
        offsets(self.start, self.end)
    }

    pub fn done(&self) -> u64 {
        offsets(self.start, self.next)
    }
}

/// Counts the offsets from `start` up to `end`.
pub fn offsets(start: Offset, end: Offset) -> u64 {
    u64::try_from(end.0 - start.0).unwrap_or(0)
}

/// The offsets that a partition has, and those that were selected.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: Offset,
    high: Offset,
    from: Option<Offset>,
    to: Option<Offset>,
}

/// Intersects what a partition has with what was selected.
fn part(topic: &str, partition: Partition, bounds: Bounds) -> Option<PartitionRange> {
    let start = bounds.from.map_or(bounds.low, |from| from.max(bounds.low));
    let end = bounds.to.map_or(bounds.high, |to| to.min(bounds.high));
    (start < end).then(|| PartitionRange { topic: topic.into(), partition, start, end, next: start })
}

/// Asks the brokers for the offsets that the selection means now; counts those it names that expired.
pub fn plan(
    consumer: &BaseConsumer<KafkaContext>,
    topics: &Topics,
    selection: &Selection,
    now: OffsetDateTime,
) -> anyhow::Result<(Vec<PartitionRange>, u64)> {
    let metadata = ask(consumer, |consumer| consumer.fetch_metadata(None, TIMEOUT))?;
    let mut parts = Vec::new();
    let mut gone = 0;
    let wanted_topics =
        || Topic::ALL.into_iter().filter(|topic| selection.wants_topic(*topic)).map(|topic| topic.name(topics));
    let partitions =
        |name: &str| metadata.topics().iter().find(|found| found.name() == name).map(MetadataTopic::partitions);
    let known: BTreeSet<i32> = wanted_topics().filter_map(partitions).flatten().map(MetadataPartition::id).collect();
    // Where a topic is missing altogether, that is said below.
    if let (Some(unknown), Some(last)) =
        (selection.partitions.iter().find(|partition| !known.contains(&partition.0)), known.last())
    {
        bail!("no partition {}: the topics have 0..{last}", unknown.0);
    }
    for topic in Topic::ALL.into_iter().filter(|topic| selection.wants_topic(*topic)) {
        let name = topic.name(topics);
        let found = metadata.topics().iter().find(|found| found.name() == name);
        let found = found.with_context(|| format!("the topic {name} is missing: run hookline-analytics migrate"))?;
        let mut wanted: Vec<_> = found.partitions().iter().map(|partition| Partition(partition.id())).collect();
        wanted.retain(|partition| selection.wants_partition(*partition));
        let from = appended_since(consumer, name, &wanted, selection.from, now)?;
        let to = appended_since(consumer, name, &wanted, selection.to, now)?;
        for (index, partition) in wanted.into_iter().enumerate() {
            let (low, high) = ask(consumer, |consumer| consumer.fetch_watermarks(name, partition.0, TIMEOUT))?;
            let (low, high) = (Offset(low), Offset(high));
            let at = |offsets: &Option<Vec<Option<Offset>>>| {
                offsets.as_ref().map(|offsets| offsets.get(index).copied().flatten().unwrap_or(high))
            };
            let range = selection.offsets;
            let bounds = Bounds {
                low,
                high,
                from: at(&from).or(range.map(|range| range.start)),
                to: at(&to).or(range.map(|range| range.end)),
            };
            parts.extend(part(name, partition, bounds));
            // Who begins at 0 asks for what there is.
            let named = range.filter(|range| range.start > Offset(0));
            let gap = named.and_then(|range| expired(range.start, range.end.min(high), low));
            gone += gap.map_or(0, |gap| offsets(Offset(gap.start), Offset(gap.end)));
        }
    }
    Ok((parts, gone))
}

/// Finds for each partition the first offset appended at or after a moment; `None` where all records are older.
fn appended_since(
    consumer: &BaseConsumer<KafkaContext>,
    topic: &str,
    partitions: &[Partition],
    moment: Option<TimePoint>,
    now: OffsetDateTime,
) -> anyhow::Result<Option<Vec<Option<Offset>>>> {
    let Some(moment) = moment else { return Ok(None) };
    let mut times = TopicPartitionList::new();
    for partition in partitions {
        times.add_partition_offset(topic, partition.0, Position::Offset(moment.as_millis(now).max(0)))?;
    }
    let found = ask(consumer, |consumer| consumer.offsets_for_times(times, TIMEOUT))?;
    let offset = |partition: &Partition| {
        found.find_partition(topic, partition.0).and_then(|element| match element.offset() {
            Position::Offset(offset) => Some(Offset(offset)),
            Position::Beginning | Position::End | Position::Stored | Position::Invalid | Position::OffsetTail(_) => {
                None
            }
        })
    };
    Ok(Some(partitions.iter().map(offset).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: Option<i64>, to: Option<i64>) -> Option<(i64, i64)> {
        let bounds = Bounds { low: Offset(10), high: Offset(20), from: from.map(Offset), to: to.map(Offset) };
        part("t", Partition(0), bounds).map(|part| (part.start.0, part.end.0))
    }

    #[test]
    fn a_part_is_what_is_there_and_wanted() {
        assert_eq!(range(None, None), Some((10, 20)));
        assert_eq!(range(Some(12), Some(15)), Some((12, 15)));
        assert_eq!(range(Some(1), Some(99)), Some((10, 20)));
        assert_eq!(range(Some(20), None), None);
        assert_eq!(range(None, Some(10)), None);
    }
}
