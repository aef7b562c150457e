//! Which offsets may be committed: a partition's commit is only ever extended by a range that begins where the commit ends, or
//! before. A range that was dropped, whoever dropped it and why, is never released, so no commit passes it.
//!
//! A range covers what was consumed: it begins where the partition's previous batch ended, so offsets without a record, as
//! compaction and transactions leave them, are no holes.

use std::collections::BTreeMap;

use hookline_schemas::topics::{Offset, Partition, Topic};

use crate::batch::PartitionOffsets;

pub type PartitionKey = (Topic, Partition);

/// The offsets from `begin` up to `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    pub begin: Offset,
    pub next: Offset,
}

/// Ranges whose records are in the tables. Those that do not touch stay apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenRanges(BTreeMap<PartitionKey, Vec<OffsetRange>>);

impl WrittenRanges {
    /// The ranges must come in the order in which they were consumed.
    pub fn add(&mut self, key: PartitionKey, range: OffsetRange) {
        if range.begin >= range.next {
            return;
        }
        let ranges = self.0.entry(key).or_default();
        match ranges.last_mut() {
            Some(last) if last.next == range.begin => last.next = range.next,
            _ => ranges.push(range),
        }
    }

    /// Adds `range` without the offsets in `holes`, which must be in order.
    pub fn add_around(&mut self, key: PartitionKey, range: OffsetRange, holes: &[Offset]) {
        let mut begin = range.begin;
        for hole in holes {
            self.add(key, OffsetRange { begin, next: *hole });
            begin = Offset(hole.0 + 1);
        }
        self.add(key, OffsetRange { begin, next: range.next });
    }

    pub fn append(&mut self, next: Self) {
        for (key, ranges) in next.0 {
            for range in ranges {
                self.add(key, range);
            }
        }
    }
}

/// The partitions that are assigned and of which a batch was submitted.
#[derive(Debug, Default)]
pub struct OffsetTracker(BTreeMap<PartitionKey, Tracked>);

#[derive(Debug)]
struct Tracked {
    /// The end of the last batch that was submitted to the writer.
    submitted: Offset,
    /// The records before it are in the tables and in the roll-up.
    released: Offset,
    /// Released ranges behind a hole, by where they begin.
    apart: BTreeMap<Offset, Offset>,
}

impl OffsetTracker {
    /// Extends each range of a batch back to where the partition's previous batch ended.
    pub fn submit(&mut self, positions: &mut PartitionOffsets) {
        for (key, progress) in positions {
            let begin = progress.begin;
            let tracked =
                self.0.entry(*key).or_insert(Tracked { submitted: begin, released: begin, apart: BTreeMap::new() });
            progress.begin = tracked.submitted;
            tracked.submitted = progress.next;
        }
    }

    /// Takes ranges whose records are in the tables and in the roll-up; returns how far they extend the commits.
    pub fn release(&mut self, written: &WrittenRanges) -> Vec<(PartitionKey, Offset)> {
        let mut extended = Vec::new();
        for (key, ranges) in &written.0 {
            // A partition that was revoked is no longer tracked.
            let Some(tracked) = self.0.get_mut(key) else { continue };
            let before = tracked.released;
            for range in ranges {
                let next = tracked.apart.entry(range.begin).or_insert(range.next);
                *next = range.next.max(*next);
            }
            while let Some(entry) = tracked.apart.first_entry().filter(|entry| *entry.key() <= tracked.released) {
                tracked.released = entry.remove().max(tracked.released);
            }
            if tracked.released > before {
                extended.push((*key, tracked.released));
            }
        }
        extended
    }

    /// How far each partition may be committed.
    pub fn released(&self) -> impl Iterator<Item = (PartitionKey, Offset)> {
        self.0.iter().map(|(key, tracked)| (*key, tracked.released))
    }

    /// Whether the group has committed all that was submitted of a partition, where `committed` is its offset.
    pub fn is_committed(&self, key: PartitionKey, committed: Offset) -> bool {
        self.0.get(&key).is_none_or(|tracked| committed >= tracked.submitted)
    }

    /// Counts the offsets that were submitted and may not be committed.
    pub fn unreleased(&self) -> u64 {
        self.0.values().map(|tracked| tracked.submitted.0.abs_diff(tracked.released.0)).sum()
    }

    /// Forgets every partition: the next assignment begins at what is committed.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::Resource;
    use hookline_schemas::time::AppendedAt;

    use super::*;
    use crate::batch::PartitionProgress;

    const KEY: PartitionKey = (Topic::Resource(Resource::Video), Partition(3));
    const OTHER: PartitionKey = (Topic::DeadLetter, Partition(0));

    /// Submits a batch whose first record of `key` is at `first`, and returns the range that it covers.
    fn submit(tracker: &mut OffsetTracker, key: PartitionKey, first: i64, next: i64) -> OffsetRange {
        let progress = PartitionProgress { begin: Offset(first), next: Offset(next), appended_at: AppendedAt(0) };
        let mut positions = PartitionOffsets::from([(key, progress)]);
        tracker.submit(&mut positions);
        OffsetRange { begin: positions[&key].begin, next: positions[&key].next }
    }

    fn release(tracker: &mut OffsetTracker, key: PartitionKey, ranges: &[OffsetRange]) -> Option<i64> {
        let mut written = WrittenRanges::default();
        ranges.iter().for_each(|range| written.add(key, *range));
        let extended = tracker.release(&written);
        assert!(extended.len() <= 1);
        extended.first().map(|(_, next)| next.0)
    }

    #[test]
    fn a_range_begins_where_the_previous_batch_ended() {
        let mut tracker = OffsetTracker::default();
        let first = submit(&mut tracker, KEY, 10, 20);
        let after_a_gap = submit(&mut tracker, KEY, 25, 30);
        assert_eq!((first.begin, after_a_gap.begin), (Offset(10), Offset(20)));
        assert_eq!(release(&mut tracker, KEY, &[first]), Some(20));
        assert!(!tracker.is_committed(KEY, Offset(20)));
        assert_eq!(release(&mut tracker, KEY, &[after_a_gap]), Some(30), "no record is between 20 and 25");
        assert_eq!((tracker.is_committed(KEY, Offset(30)), tracker.unreleased()), (true, 0));
    }

    #[test]
    fn nothing_passes_a_range_that_was_dropped() {
        let mut tracker = OffsetTracker::default();
        let written = submit(&mut tracker, KEY, 0, 10);
        let _dropped = submit(&mut tracker, KEY, 10, 20);
        let later = submit(&mut tracker, KEY, 20, 30);
        assert_eq!(
            release(&mut tracker, KEY, &[written, later]),
            Some(10),
            "also where the writer released both at once"
        );
        assert_eq!(release(&mut tracker, KEY, &[later]), None);
        assert_eq!(tracker.unreleased(), 20);
        assert_eq!(tracker.released().collect::<Vec<_>>(), [(KEY, Offset(10))]);
    }

    #[test]
    fn a_hole_that_is_filled_releases_what_is_behind_it() {
        let mut tracker = OffsetTracker::default();
        let range = submit(&mut tracker, KEY, 0, 10);
        let mut written = WrittenRanges::default();
        written.add_around(KEY, range, &[Offset(0), Offset(3), Offset(4), Offset(9)]);
        assert_eq!(tracker.release(&written), []);
        let hole = |offset| OffsetRange { begin: Offset(offset), next: Offset(offset + 1) };
        assert_eq!(release(&mut tracker, KEY, &[hole(4)]), None);
        assert_eq!(release(&mut tracker, KEY, &[hole(0)]), Some(3));
        assert_eq!(release(&mut tracker, KEY, &[hole(3)]), Some(9));
        assert_eq!(release(&mut tracker, KEY, &[hole(9)]), Some(10));
    }

    #[test]
    fn a_commit_never_goes_back() {
        let mut tracker = OffsetTracker::default();
        let range = submit(&mut tracker, KEY, 10, 20);
        assert_eq!(release(&mut tracker, KEY, &[range]), Some(20));
        assert_eq!(release(&mut tracker, KEY, &[range]), None, "the same range again");
        assert_eq!(release(&mut tracker, KEY, &[OffsetRange { begin: Offset(5), next: Offset(12) }]), None);
    }

    #[test]
    fn partitions_are_apart_and_a_revoked_one_is_forgotten() {
        let mut tracker = OffsetTracker::default();
        let _dropped = submit(&mut tracker, OTHER, 0, 5);
        let range = submit(&mut tracker, KEY, 0, 5);
        assert_eq!(release(&mut tracker, KEY, &[range]), Some(5));
        tracker.clear();
        assert_eq!(release(&mut tracker, OTHER, &[range]), None);
        assert!(tracker.is_committed(OTHER, Offset(0)), "nothing of it was submitted");
        assert_eq!(submit(&mut tracker, OTHER, 0, 7).begin, Offset(0));
    }

    #[test]
    fn only_ranges_that_touch_are_merged() {
        let mut written = WrittenRanges::default();
        let range = |begin, next| OffsetRange { begin: Offset(begin), next: Offset(next) };
        for next in [range(0, 2), range(2, 4), range(5, 5), range(6, 8)] {
            let mut more = WrittenRanges::default();
            more.add(KEY, next);
            written.append(more);
        }
        assert_eq!(written.0[&KEY], [range(0, 4), range(6, 8)]);
    }
}
