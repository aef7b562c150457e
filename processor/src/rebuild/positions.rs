//! How far the live group has come. What it has committed is in the tables, and its roll-up is fresh; of what is behind that, anything may be.

use anyhow::Context as _;
use hookline_schemas::topics::Offset;
use hookline_service::kafka::KafkaContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset as Position, TopicPartitionList};

use super::TIMEOUT;
use crate::replay::plan::{PartitionRange, offsets};
use crate::replay::source::SourceKind;

/// The same ranges, from what the group has committed on. Nothing is left of the archive: what is in it, the group has written.
/// `consumer` has the group's id, and does not join it.
pub fn from_committed(
    consumer: &BaseConsumer<KafkaContext>,
    ranges: &[PartitionRange],
) -> anyhow::Result<Vec<PartitionRange>> {
    let mut asked = TopicPartitionList::new();
    for range in ranges.iter().filter(|range| range.source == SourceKind::Kafka) {
        asked.add_partition(&range.topic, range.partition.0);
    }
    let committed = consumer
        .committed_offsets(asked, TIMEOUT)
        .context("Kafka does not answer a request for the committed offsets of the live group")?;
    let from = |range: &PartitionRange| {
        let found = committed.find_partition(&range.topic, range.partition.0);
        // What was committed of another log says nothing of this one.
        let found = found.filter(|found| found.metadata().is_empty() || found.metadata() == range.log_id);
        let committed =
            found.and_then(|found| if let Position::Offset(next) = found.offset() { Some(Offset(next)) } else { None });
        let next = match range.source {
            SourceKind::Deliveries => range.end,
            SourceKind::Kafka => committed.map_or(range.start, |next| next.clamp(range.start, range.end)),
        };
        PartitionRange { next, ..range.clone() }
    };
    Ok(ranges.iter().map(from).collect())
}

/// The ranges of which each is read from whichever of the two comes first.
pub fn earlier(a: &[PartitionRange], b: &[PartitionRange]) -> Vec<PartitionRange> {
    let earlier = |range: &PartitionRange| {
        let other = b.iter().find(|other| other.is_part_of(range));
        PartitionRange { next: other.map_or(range.next, |other| range.next.min(other.next)), ..range.clone() }
    };
    a.iter().map(earlier).collect()
}

/// Lets ranges end where the log ends now, as `planned` has it, and adds the partitions that are new. What expired in Kafka before it was
/// read is read from the archive. Returns how many records are in neither.
pub fn extend(ranges: &mut Vec<PartitionRange>, planned: Vec<PartitionRange>) -> u64 {
    let is_first = ranges.is_empty();
    let mut expired = 0;
    let (archived, in_kafka): (Vec<_>, Vec<_>) =
        planned.into_iter().partition(|part| part.source == SourceKind::Deliveries);
    for part in archived {
        let of_kafka = PartitionRange { source: SourceKind::Kafka, ..part.clone() };
        let Some(known) = ranges.iter_mut().find(|known| known.is_part_of(&of_kafka)) else {
            // Logs that no processor writes any more do not grow.
            if is_first {
                ranges.push(part);
            }
            continue;
        };
        if known.next >= part.end {
            continue;
        }
        let next = std::mem::replace(&mut known.next, part.end);
        let start = next.max(part.start);
        expired += offsets(next, start);
        match ranges.iter_mut().find(|known| known.is_part_of(&part)) {
            None => ranges.push(PartitionRange { start, next: start, ..part }),
            Some(known) => {
                if known.next == known.end {
                    known.next = start;
                }
                known.end = part.end;
            }
        }
    }
    for part in in_kafka {
        match ranges.iter_mut().find(|known| known.is_part_of(&part)) {
            None => ranges.push(part),
            Some(known) => {
                known.end = known.end.max(part.end);
                expired += offsets(known.next, part.start);
            }
        }
    }
    expired
}

#[cfg(test)]
mod tests {
    use hookline_schemas::topics::Partition;

    use super::*;

    fn range(source: SourceKind, start: i64, next: i64, end: i64) -> PartitionRange {
        let ([start, next, end], partition) = ([start, next, end].map(Offset), Partition(0));
        PartitionRange { source, log_id: "l".into(), topic: "t".into(), partition, start, end, next }
    }

    fn kafka(start: i64, next: i64, end: i64) -> PartitionRange {
        range(SourceKind::Kafka, start, next, end)
    }

    fn archive(start: i64, next: i64, end: i64) -> PartitionRange {
        range(SourceKind::Deliveries, start, next, end)
    }

    #[test]
    fn ranges_grow_to_the_end_of_the_log() {
        let mut ranges = Vec::new();
        assert_eq!(extend(&mut ranges, vec![archive(0, 0, 3), kafka(3, 3, 9)]), 0);
        assert_eq!(ranges, [archive(0, 0, 3), kafka(3, 3, 9)]);
        ranges = vec![archive(0, 3, 3), kafka(3, 7, 9)];
        assert_eq!(extend(&mut ranges, vec![archive(0, 0, 5), kafka(5, 5, 12)]), 0);
        assert_eq!(ranges, [archive(0, 3, 3), kafka(3, 7, 12)], "what expired since was read before");
        let new = PartitionRange { partition: Partition(1), ..kafka(0, 0, 5) };
        assert_eq!(extend(&mut ranges, vec![kafka(5, 5, 11), new.clone()]), 0);
        assert_eq!(ranges, [archive(0, 3, 3), kafka(3, 7, 12), new], "it never shrinks");
    }

    #[test]
    fn what_expired_before_it_was_read_comes_from_the_archive() {
        let mut ranges = vec![kafka(3, 7, 9)];
        assert_eq!(extend(&mut ranges, vec![archive(0, 0, 10), kafka(10, 10, 12)]), 0);
        assert_eq!(ranges, [kafka(3, 10, 12), archive(7, 7, 10)]);
        ranges = vec![archive(0, 3, 3), kafka(3, 7, 9)];
        assert_eq!(extend(&mut ranges, vec![archive(0, 0, 9)]), 0, "Kafka has nothing any more");
        assert_eq!(ranges, [archive(0, 7, 9), kafka(3, 9, 9)]);
        ranges = vec![kafka(3, 7, 9)];
        assert_eq!(extend(&mut ranges, vec![kafka(10, 10, 12)]), 3, "7, 8 and 9 are in neither");
        ranges = vec![kafka(3, 7, 9)];
        assert_eq!(extend(&mut ranges, vec![archive(0, 0, 8), kafka(10, 10, 12)]), 2, "8 and 9 are");
    }

    #[test]
    fn the_earlier_of_two_positions_is_read_from() {
        let found = earlier(&[kafka(0, 7, 9), archive(0, 9, 9)], &[kafka(0, 4, 4), archive(0, 9, 9)]);
        assert_eq!(found, [kafka(0, 4, 9), archive(0, 9, 9)]);
    }
}
