//! How far a replay is, in a file, so that one that was killed goes on where it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hookline_schemas::time::CreatedHour;
use serde::{Deserialize, Serialize};

use super::plan::PartitionRange;
use super::select::Selection;

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The Kafka cluster: offsets mean nothing in another one.
    pub cluster: String,
    /// What was asked for, as it was typed: the same words continue the same replay.
    pub asked: Selection,
    /// What it came to.
    pub parts: Vec<PartitionRange>,
    /// Created hours, Unix seconds, whose roll-up is to be refreshed.
    pub dirty_hours: BTreeSet<i64>,
    /// What was found so far.
    pub repaired: Repaired,
}

/// What a replay changed. All zero where the tables were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Rows of `deliveries` that were absent.
    pub deliveries: u64,
    /// Rows of `dead_letters` that were absent.
    pub dead_letters: u64,
    /// Jobs whose facts changed.
    pub jobs: u64,
    /// Records of the plan that the topic no longer had.
    pub expired: u64,
}

impl Repaired {
    /// Adds what another part found.
    pub fn add(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.dead_letters += other.dead_letters;
        self.jobs += other.jobs;
        self.expired += other.expired;
    }

    /// The tables were right.
    pub fn is_nothing(self) -> bool {
        self.deliveries + self.dead_letters + self.jobs == 0
    }
}

impl Progress {
    /// The hours whose roll-up is to be refreshed.
    pub fn hours(&self) -> BTreeSet<CreatedHour> {
        self.dirty_hours.iter().copied().map(CreatedHour).collect()
    }

    /// Records of the plan.
    pub fn records(&self) -> u64 {
        self.parts.iter().map(PartitionRange::records).sum()
    }

    /// Records that are done.
    pub fn done(&self) -> u64 {
        self.parts.iter().map(PartitionRange::done).sum()
    }

    /// Notes that a part was read up to `next`, and what was found there.
    pub fn advance(
        &mut self,
        part: &PartitionRange,
        next: i64,
        repaired: Repaired,
        dirty: impl Iterator<Item = CreatedHour>,
    ) {
        let known = |known: &&mut PartitionRange| known.topic == part.topic && known.partition == part.partition;
        if let Some(known) = self.parts.iter_mut().find(known) {
            known.next = known.next.max(next.min(known.end));
        }
        self.repaired.add(repaired);
        self.dirty_hours.extend(dirty.map(|hour| hour.0));
    }
}

/// Where progress is kept.
#[derive(Clone, Debug)]
pub struct File(PathBuf);

impl File {
    /// At this path.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// What an earlier run left, if it did the same; one that did something else is an error.
    pub fn resume(&self, cluster: &str, asked: &Selection) -> anyhow::Result<Option<Progress>> {
        let path = self.0.display();
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("--state {path}")),
        };
        let kept: Progress = serde_json::from_slice(&text)
            .with_context(|| format!("--state {path} does not hold the progress of a replay"))?;
        if kept.asked != *asked || kept.cluster != cluster {
            bail!(
                "--state {path} holds the progress of another replay, {} of {} records done: finish that one with its own \
                 arguments, name another file, or remove this one",
                kept.done(),
                kept.records()
            );
        }
        Ok(Some(kept))
    }

    /// Replaces the file at once or not at all.
    pub fn keep(&self, progress: &Progress) -> anyhow::Result<()> {
        let draft = self.0.with_extension("new");
        std::fs::write(&draft, serde_json::to_vec_pretty(progress)?)
            .and_then(|()| std::fs::rename(&draft, &self.0))
            .with_context(|| format!("--state {}", self.0.display()))
    }

    /// Nothing is left to do.
    pub fn remove(&self) -> anyhow::Result<()> {
        std::fs::remove_file(&self.0).with_context(|| format!("--state {}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        let part = |partition| PartitionRange { topic: "t".into(), partition, start: 10, end: 20, next: 10 };
        Progress {
            cluster: "c".into(),
            asked: Selection::default(),
            parts: vec![part(0), part(1)],
            dirty_hours: BTreeSet::new(),
            repaired: Repaired::default(),
        }
    }

    #[test]
    fn parts_advance_up_to_their_end() {
        let mut progress = progress();
        let part = progress.parts[1].clone();
        let found = Repaired { deliveries: 3, ..Repaired::default() };
        progress.advance(&part, 15, found, [CreatedHour(3_600)].into_iter());
        progress.advance(&part, 12, Repaired::default(), std::iter::empty());
        assert_eq!((progress.done(), progress.records()), (5, 20));
        progress.advance(&part, 99, Repaired::default(), std::iter::empty());
        assert_eq!(progress.done(), 10);
        assert_eq!((progress.repaired.deliveries, progress.dirty_hours.len()), (3, 1));
    }

    #[test]
    fn only_the_same_replay_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::at(&folder.path().join("state.json"));
        let asked = Selection::default();
        assert_eq!(file.resume("c", &asked).unwrap(), None);
        file.keep(&progress()).unwrap();
        assert_eq!(file.resume("c", &asked).unwrap(), Some(progress()));
        let other = Selection { partitions: vec![1], ..Selection::default() };
        assert!(file.resume("c", &other).unwrap_err().to_string().contains("another replay"));
        assert!(file.resume("d", &asked).is_err(), "another cluster");
        file.remove().unwrap();
        assert_eq!(file.resume("c", &asked).unwrap(), None);
    }
}
