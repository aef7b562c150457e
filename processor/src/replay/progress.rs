//! Keeps the progress of a replay in a file, so that one that was killed continues where it was.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use hookline_schemas::time::CreatedHour;
use hookline_schemas::topics::Offset;
use serde::{Deserialize, Serialize};

use super::plan::PartitionRange;
use super::select::Selection;
use super::source::SourceKind;
use crate::state_file::StateFile;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The arguments as they were typed: the same ones continue the same replay, also where an age has moved on.
    pub asked: Selection,
    pub parts: Vec<PartitionRange>,
    /// Created hours, Unix seconds, that were written to since their last refresh began: their roll-up is stale.
    pub dirty_hours: BTreeSet<i64>,
    /// Those whose refresh began and has not ended: their roll-up is stale, too.
    pub refreshing_hours: BTreeSet<i64>,
    pub refreshed_hours: BTreeSet<i64>,
    pub repaired: Repaired,
    pub left_out: LeftOut,
}

/// Counts what a replay inserted that was missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    pub deliveries: u64,
    /// Rows of `deliveries` that were written anew, because the decoder reads their bodies otherwise today.
    pub deliveries_changed: u64,
    pub dead_letters: u64,
    /// Jobs that were absent from `jobs`.
    pub jobs: u64,
    /// Jobs that were there and lacked a fact.
    pub jobs_changed: u64,
    /// Records of the plan that retention removed before they were read. Nothing was inserted for these.
    pub expired: u64,
}

impl Repaired {
    pub fn add(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.deliveries_changed += other.deliveries_changed;
        self.dead_letters += other.dead_letters;
        self.jobs += other.jobs;
        self.jobs_changed += other.jobs_changed;
        self.expired += other.expired;
    }

    pub fn is_nothing(self) -> bool {
        self.deliveries + self.deliveries_changed + self.dead_letters + self.jobs + self.jobs_changed == 0
    }
}

/// Counts records that were read, and of which nothing was made. What stands of them in the tables stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Records whose signature is wrong, with `--verify`.
    pub signature_invalid: u64,
    /// Records that no configured secret confirms, by source and key, where the key that signed them is not configured.
    pub key_not_configured: BTreeMap<String, u64>,
    /// Archived records that today's decoder does not read, or that are damaged.
    pub unreadable: u64,
    /// Rows that ClickHouse refuses for their content, made from archived records.
    pub refused: u64,
}

impl LeftOut {
    pub fn add(&mut self, other: Self) {
        self.signature_invalid += other.signature_invalid;
        for (key, records) in other.key_not_configured {
            *self.key_not_configured.entry(key).or_default() += records;
        }
        self.unreadable += other.unreadable;
        self.refused += other.refused;
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Progress {
    /// Gives the hours whose roll-up is stale, for a refresh that begins now. They stay stale until [`Self::end_refresh`], and so does
    /// an hour that is written to meanwhile.
    pub fn begin_refresh(&mut self) -> BTreeSet<CreatedHour> {
        self.refreshing_hours.append(&mut self.dirty_hours);
        self.refreshing_hours.iter().copied().map(CreatedHour).collect()
    }

    pub fn end_refresh(&mut self) {
        self.refreshed_hours.append(&mut self.refreshing_hours);
    }

    /// Counts the hours whose roll-up is stale.
    pub fn stale_hours(&self) -> usize {
        self.dirty_hours.union(&self.refreshing_hours).count()
    }

    pub fn records(&self) -> u64 {
        self.parts.iter().map(PartitionRange::records).sum()
    }

    pub fn done(&self) -> u64 {
        self.parts.iter().map(PartitionRange::done).sum()
    }

    /// Records that a part was read up to `next`, what that repaired, and what it left out.
    pub fn advance(&mut self, part: &PartitionRange, next: Offset, repaired: Repaired, left_out: LeftOut) {
        if let Some(known) = self.parts.iter_mut().find(|known| part.is_part_of(known)) {
            known.next = known.next.max(next.min(known.end));
        }
        self.repaired.add(repaired);
        self.left_out.add(left_out);
    }

    /// Returns the progress of an earlier run with the same arguments. That of another replay is an error. `log_ids` gives the id
    /// that a topic has now, by its name.
    pub fn resume(
        file: &StateFile,
        log_ids: impl Fn(&str) -> Option<String>,
        asked: &Selection,
    ) -> anyhow::Result<Option<Self>> {
        let Some(saved) = file.read::<Self>("the progress of a replay")? else { return Ok(None) };
        let of_kafka = saved.parts.iter().filter(|part| part.source == SourceKind::Kafka);
        let made_anew = of_kafka
            .map(|part| (part, log_ids(&part.topic)))
            .find(|(part, now)| now.as_ref().is_none_or(|now| *now != part.log_id));
        if saved.asked == *asked
            && let Some((part, now)) = made_anew
        {
            bail!(
                "{file} holds the progress of a replay of {:?} of the topic {}, which is {:?} now: the topic was made \
                 anew, or this is another cluster or prefix, so the offsets mean other records: name another file, or remove this one",
                part.log_id,
                part.topic,
                now.unwrap_or_default()
            );
        }
        if saved.asked != *asked {
            bail!(
                "{file} holds the progress of another replay, {} of {} records done: finish that one with its own \
                 arguments, name another file, or remove this one",
                saved.done(),
                saved.records()
            );
        }
        let in_order =
            |part: &PartitionRange| Offset(0) <= part.start && part.start <= part.next && part.next <= part.end;
        if let Some(part) = saved.parts.iter().find(|part| !in_order(part)) {
            bail!(
                "{file} says of {}/{} that {} of the offsets {}..{} comes next, which cannot be: remove the file to begin again",
                part.topic,
                part.partition.0,
                part.next.0,
                part.start.0,
                part.end.0
            );
        }
        Ok(Some(saved))
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::topics::Partition;

    use super::*;

    fn log_id(cluster: &'static str) -> impl Fn(&str) -> Option<String> {
        move |_| Some(format!("{cluster}/t"))
    }

    fn progress() -> Progress {
        let part = |partition| PartitionRange {
            source: SourceKind::Kafka,
            log_id: "c/t".into(),
            topic: "t".into(),
            partition: Partition(partition),
            start: Offset(10),
            end: Offset(20),
            next: Offset(10),
        };
        Progress {
            asked: Selection::default(),
            parts: vec![part(0), part(1)],
            dirty_hours: BTreeSet::new(),
            refreshing_hours: BTreeSet::new(),
            refreshed_hours: BTreeSet::new(),
            repaired: Repaired::default(),
            left_out: LeftOut::default(),
        }
    }

    #[test]
    fn parts_advance_up_to_their_end() {
        let mut progress = progress();
        let part = progress.parts[1].clone();
        let found = Repaired { deliveries: 3, ..Repaired::default() };
        progress.advance(&part, Offset(15), found, LeftOut::default());
        progress.advance(&part, Offset(12), Repaired::default(), LeftOut::default());
        assert_eq!((progress.done(), progress.records()), (5, 20));
        progress.advance(&part, Offset(99), Repaired::default(), LeftOut::default());
        assert_eq!(progress.done(), 10);
        assert_eq!(progress.repaired.deliveries, 3);
    }

    #[test]
    fn an_hour_is_stale_until_a_refresh_that_began_after_its_last_write_has_ended() {
        let mut progress = progress();
        progress.dirty_hours.extend([3_600, 7_200]);
        assert_eq!(progress.begin_refresh().len(), 2);
        assert_eq!(progress.stale_hours(), 2, "until it has ended");
        progress.dirty_hours.insert(7_200);
        assert_eq!(progress.stale_hours(), 2, "an hour is counted once");
        progress.end_refresh();
        assert_eq!((progress.stale_hours(), progress.begin_refresh()), (1, BTreeSet::from([CreatedHour(7_200)])));
        assert_eq!(progress.begin_refresh().len(), 1, "the one before was cancelled");
        progress.end_refresh();
        assert_eq!((progress.stale_hours(), progress.refreshed_hours.len()), (0, 2));
    }

    #[test]
    fn a_state_that_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(&folder.path().join("state.json"));
        for (next, possible) in [(9, false), (10, true), (20, true), (21, false)] {
            let mut progress = progress();
            progress.parts[1].next = Offset(next);
            file.save(&progress).unwrap();
            let resumed = Progress::resume(&file, log_id("c"), &Selection::default());
            assert_eq!(resumed.is_ok(), possible, "{next}: {resumed:?}");
        }
    }

    #[test]
    fn only_the_same_replay_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(&folder.path().join("state.json"));
        let asked = Selection::default();
        assert_eq!(Progress::resume(&file, log_id("c"), &asked).unwrap(), None);
        file.save(&progress()).unwrap();
        assert_eq!(Progress::resume(&file, log_id("c"), &asked).unwrap(), Some(progress()));
        let other = Selection { partitions: vec![Partition(1)], ..Selection::default() };
        assert!(Progress::resume(&file, log_id("c"), &other).unwrap_err().to_string().contains("another replay"));
        let refused = Progress::resume(&file, log_id("d"), &asked).unwrap_err().to_string();
        assert!(refused.contains("made anew"), "{refused}");
        file.remove().unwrap();
        assert_eq!(Progress::resume(&file, log_id("c"), &asked).unwrap(), None);
    }
}
