//! Records that retention or DeleteRecords removed before they were read. librdkafka goes on at the log's start, so they are
//! looked for: the log's start is compared with the offset that was next. A gap between two offsets alone says nothing, because
//! control records and compaction leave gaps, too.

pub mod acknowledge;
pub mod detector;
pub mod table;

use hookline_schemas::topics::{Offset, Partition, Topic};

/// Offsets of a partition that were not read between two that were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub topic: Topic,
    pub partition: Partition,
    /// The offset that was next; `None` before the first record of an assignment, which begins at the committed offset.
    pub from: Option<Offset>,
    /// The offset that was read.
    pub to: Offset,
}

/// The part of the offsets `from` to `to` that lies before the log's start: what expired.
pub fn expired(from: Offset, to: Offset, log_start: Offset) -> Option<std::ops::Range<i64>> {
    let end = to.min(log_start);
    (from < end).then_some(from.0..end.0)
}

/// The offset that is next in each partition of an assignment.
#[derive(Debug, Default)]
pub struct ReadOffsets {
    next: Vec<((Topic, Partition), Offset)>,
    /// The index of the last record's partition: most records follow one of the same.
    last: usize,
}

impl ReadOffsets {
    /// Notes that a record was read. Returns the gap before it, also before the first record of a partition.
    pub fn advance(&mut self, topic: Topic, partition: Partition, offset: Offset) -> Option<Gap> {
        let key = (topic, partition);
        if self.next.get(self.last).is_none_or(|(last, _)| *last != key) {
            self.last = self.next.iter().position(|(known, _)| *known == key).unwrap_or(self.next.len());
        }
        let after = Offset(offset.0 + 1);
        let from = match self.next.get_mut(self.last) {
            Some((_, next)) => {
                let from = *next;
                *next = from.max(after);
                Some(from)
            }
            None => {
                self.next.push((key, after));
                None
            }
        };
        from.is_none_or(|from| from < offset).then_some(Gap { topic, partition, from, to: offset })
    }

    pub fn clear(&mut self) {
        self.next.clear();
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::Resource;

    use super::*;

    const VIDEO: Topic = Topic::Resource(Resource::Video);

    #[test]
    fn only_what_lies_before_the_start_of_the_log_has_expired() {
        let expired = |from, to, start| expired(Offset(from), Offset(to), Offset(start));
        assert_eq!(expired(100, 600, 600), Some(100..600));
        assert_eq!(expired(100, i64::MAX, 600), Some(100..600));
        assert_eq!(expired(100, 600, 700), Some(100..600), "what was read has not expired, though it is gone by now");
        assert_eq!(expired(100, 102, 0), None, "a gap of control records");
        assert_eq!(expired(100, 102, 100), None);
        assert_eq!(expired(100, 200, 150), Some(100..150), "the rest is a gap of compaction");
        assert_eq!(expired(100, 100, 600), None);
    }

    #[test]
    fn each_partition_has_its_own_next_offset() {
        let mut read = ReadOffsets::default();
        let mut gap = |partition, offset| {
            let gap = read.advance(VIDEO, Partition(partition), Offset(offset));
            gap.map(|gap| (gap.from.map(|from| from.0), gap.to.0))
        };
        assert_eq!(gap(0, 5), Some((None, 5)), "the first");
        assert_eq!(gap(0, 6), None);
        assert_eq!(gap(1, 9), Some((None, 9)));
        assert_eq!(gap(0, 7), None);
        assert_eq!(gap(0, 10), Some((Some(8), 10)));
        assert_eq!(gap(0, 6), None, "a record that is read again");
        assert_eq!(gap(0, 11), None);
        assert_eq!(gap(1, 10), None);
        read.clear();
        assert_eq!(read.advance(VIDEO, Partition(0), Offset(12)).unwrap().from, None);
    }
}
