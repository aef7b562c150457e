//! Which offsets the topics have of a selection.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::cli::TimePoint;
use hookline_service::kafka::{KafkaContext, ask};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset as Position, TopicPartitionList};
use time::OffsetDateTime;

use super::SourceKind;
use crate::expired::expired;
use crate::log_ids::LogIds;
use crate::replay::TIMEOUT;
use crate::replay::plan::{KafkaRange, PartitionRange};
use crate::replay::select::Selection;

/// Asks the brokers for the offsets that a selection means now.
#[derive(Clone, Copy)]
pub struct KafkaPlanner<'c> {
    pub consumer: &'c BaseConsumer<KafkaContext>,
    pub topics: &'c Topics,
    pub log_ids: &'c LogIds,
}

/// The offsets that a partition has, and those that were selected.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: Offset,
    high: Offset,
    from: Option<Offset>,
    to: Option<Offset>,
}

impl Bounds {
    /// Intersects what a partition has with what was selected.
    fn selected(self) -> Option<(Offset, Offset)> {
        let start = self.from.map_or(self.low, |from| from.max(self.low));
        let end = self.to.map_or(self.high, |to| to.min(self.high));
        (start < end).then_some((start, end))
    }
}

impl KafkaPlanner<'_> {
    pub fn plan(&self, selection: &Selection, now: OffsetDateTime) -> anyhow::Result<Vec<KafkaRange>> {
        let Self { consumer, topics, .. } = *self;
        let metadata = ask(consumer, |consumer| consumer.fetch_metadata(None, TIMEOUT))?;
        let mut ranges = Vec::new();
        let wanted_topics =
            || Topic::ALL.into_iter().filter(|topic| selection.wants_topic(*topic)).map(|topic| topic.name(topics));
        let partitions =
            |name: &str| metadata.topics().iter().find(|found| found.name() == name).map(MetadataTopic::partitions);
        let known: BTreeSet<i32> =
            wanted_topics().filter_map(partitions).flatten().map(MetadataPartition::id).collect();
        // Where a topic is missing altogether, that is said below. The archive may have a partition that Kafka has no more.
        if let (Some(unknown), Some(last)) =
            (selection.partitions.iter().find(|partition| !known.contains(&partition.0)), known.last())
            && !selection.reads(SourceKind::Deliveries)
        {
            bail!("no partition {}: the topics have 0..{last}", unknown.0);
        }
        for topic in Topic::ALL.into_iter().filter(|topic| selection.wants_topic(*topic)) {
            let name = topic.name(topics);
            let found = metadata.topics().iter().find(|found| found.name() == name);
            let found =
                found.with_context(|| format!("the topic {name} is missing: run hookline-analytics migrate"))?;
            let mut wanted: Vec<_> = found.partitions().iter().map(|partition| Partition(partition.id())).collect();
            wanted.retain(|partition| selection.wants_partition(*partition));
            let from = self.appended_since(name, &wanted, selection.from, now)?;
            let to = self.appended_since(name, &wanted, selection.to, now)?;
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
                // Who begins at 0 asks for what there is.
                let named = range.filter(|range| range.start > Offset(0));
                let gap = named.and_then(|range| expired(range.start, range.end.min(high), low));
                let log_id = self.log_ids.of(topic);
                ranges.push(KafkaRange {
                    log_id: log_id.to_owned(),
                    topic: name.to_owned(),
                    partition,
                    begin: low,
                    expired: gap.map(|gap| (Offset(gap.start), Offset(gap.end))),
                    part: bounds.selected().map(|(start, end)| PartitionRange {
                        source: SourceKind::Kafka,
                        log_id: log_id.to_owned(),
                        topic: name.to_owned(),
                        partition,
                        start,
                        end,
                        next: start,
                    }),
                });
            }
        }
        Ok(ranges)
    }

    /// Finds for each partition the first offset appended at or after a moment; `None` where all records are older.
    fn appended_since(
        &self,
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
        let found = ask(self.consumer, |consumer| consumer.offsets_for_times(times, TIMEOUT))?;
        let offset = |partition: &Partition| {
            found.find_partition(topic, partition.0).and_then(|element| match element.offset() {
                Position::Offset(offset) => Some(Offset(offset)),
                Position::Beginning
                | Position::End
                | Position::Stored
                | Position::Invalid
                | Position::OffsetTail(_) => None,
            })
        };
        Ok(Some(partitions.iter().map(offset).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: Option<i64>, to: Option<i64>) -> Option<(i64, i64)> {
        let bounds = Bounds { low: Offset(10), high: Offset(20), from: from.map(Offset), to: to.map(Offset) };
        bounds.selected().map(|(start, end)| (start.0, end.0))
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
