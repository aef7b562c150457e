//! The plan of a redrive, and how far it is: a file. It holds the selection with its ages fixed and the offsets in which the
//! selected letters lie, so what comes later is in none. A letter that is sent is judged again just then.

use std::collections::BTreeMap;

use anyhow::bail;
use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::ids::EventType;
use serde::{Deserialize, Serialize};

use super::identity::LogPosition;
use super::letter::Letter;
use super::select::LetterSelection;
use super::tables::LetterRange;
use crate::state_file::StateFile;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub selection: LetterSelection,
    pub max_redrives: u16,
    /// Whether a letter is sent again that only the notes of a redrive tell of.
    pub again: bool,
    pub ranges: Vec<LetterRange>,
    /// What was to become of the letters when the plan was made.
    pub planned: Tally,
    /// What became of those before `next` of each range.
    pub done: Tally,
    /// Whether anything may have been sent.
    pub has_begun: bool,
}

impl Plan {
    /// Whether nothing is left to be looked at.
    pub fn is_done(&self) -> bool {
        self.ranges.iter().all(|range| range.next >= range.end)
    }

    pub fn move_to(&mut self, index: usize, range: LetterRange) {
        if let Some(known) = self.ranges.get_mut(index) {
            *known = range;
        }
    }
}

/// The reason by which a record that its topic does not take for its size is counted.
const TOO_LARGE: &str = "too_large";

/// Counts letters by what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// By event: they are sent.
    pub redriven: BTreeMap<String, u64>,
    /// Of these, letters that a table had refused. Whether it takes them now shows when the live group reads them.
    pub refused_before: u64,
    /// They were sent before, or are in the tables by another way.
    pub already_there: u64,
    /// By reason of today: they stay dead letters.
    pub not_processable: BTreeMap<String, u64>,
    /// They were sent back too often.
    pub too_often: u64,
    /// Neither a table nor a topic has the body any more.
    pub body_lost: u64,
    /// Of the jobs of letters that are sent: those that `jobs` did not have just before, page by page.
    pub jobs_absent: u64,
    /// Those that it had and of which it lacked a fact.
    pub jobs_changed: u64,
    /// One letter of each kind, and what there is to say of it.
    pub samples: BTreeMap<String, String>,
}

impl Tally {
    pub fn sent(&self) -> u64 {
        self.redriven.values().sum()
    }

    pub fn letters(&self) -> u64 {
        let left = self.already_there + self.too_often + self.body_lost;
        self.sent() + left + self.not_processable.values().sum::<u64>()
    }

    pub fn add(&mut self, other: Self) {
        for (sum, counts) in [(&mut self.redriven, other.redriven), (&mut self.not_processable, other.not_processable)]
        {
            for (kind, count) in counts {
                *sum.entry(kind).or_default() += count;
            }
        }
        self.refused_before += other.refused_before;
        self.already_there += other.already_there;
        self.too_often += other.too_often;
        self.body_lost += other.body_lost;
        self.jobs_absent += other.jobs_absent;
        self.jobs_changed += other.jobs_changed;
        for (kind, sample) in other.samples {
            self.samples.entry(kind).or_insert(sample);
        }
    }

    pub fn redriven(&mut self, letter: &Letter, event: EventType, job_id: &str) {
        *self.redriven.entry(event.to_string()).or_default() += 1;
        self.refused_before += u64::from(letter.reason == DeadLetterReason::InsertRefused.as_str());
        self.sample(event.as_str(), letter, format_args!("job {job_id}"));
    }

    pub fn already_there(&mut self, letter: &Letter, position: &LogPosition) {
        self.already_there += 1;
        self.sample("already_there", letter, format_args!("see {position}"));
    }

    pub fn not_processable(&mut self, letter: &Letter, reason: &str, detail: &str) {
        *self.not_processable.entry(reason.to_owned()).or_default() += 1;
        self.sample(reason, letter, format_args!("{detail}"));
    }

    pub fn too_often(&mut self, letter: &Letter) {
        self.too_often += 1;
        self.sample("too_often", letter, format_args!("sent back {} times", letter.redrives));
    }

    pub fn body_lost(&mut self, letter: &Letter) {
        self.body_lost += 1;
        self.sample("body_lost", letter, format_args!("made of {}", letter.origin));
    }

    /// Takes back that a letter is sent.
    pub fn was_too_large(&mut self, letter: &Letter, event: EventType) {
        if let Some(count) = self.redriven.get_mut(event.as_str()) {
            *count -= 1;
        }
        self.not_processable(letter, TOO_LARGE, "its resource topic does not take a record of this size");
    }

    fn sample(&mut self, kind: &str, letter: &Letter, about: std::fmt::Arguments<'_>) {
        if !self.samples.contains_key(kind) {
            self.samples.insert(kind.to_owned(), format!("{}: {about}", letter.position));
        }
    }
}

impl Plan {
    pub fn read(file: &StateFile) -> anyhow::Result<Option<Self>> {
        file.read("the plan of a redrive")
    }

    /// Fails where the file holds a plan that was begun and is not finished.
    pub fn check_replaceable(file: &StateFile) -> anyhow::Result<()> {
        if let Some(plan) = Self::read(file)?
            && plan.has_begun
        {
            bail!(
                "{file} holds a redrive that was begun, {} of {} letters done: finish it with `hookline-processor redrive \
                 --execute`, name another file, or remove this one",
                plan.done.letters(),
                plan.planned.letters()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_replaced_until_it_has_begun() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(&folder.path().join("plan.json"));
        assert!(Plan::read(&file).unwrap().is_none() && Plan::check_replaceable(&file).is_ok());
        let planned = Tally {
            redriven: [("video.completed".into(), 5)].into(),
            not_processable: [("not_json".into(), 2)].into(),
            already_there: 1,
            ..Tally::default()
        };
        let mut plan = Plan {
            selection: LetterSelection::default(),
            max_redrives: 3,
            again: false,
            ranges: Vec::new(),
            planned,
            done: Tally::default(),
            has_begun: false,
        };
        assert_eq!((plan.planned.sent(), plan.planned.letters()), (5, 8));
        file.save(&plan).unwrap();
        assert_eq!(Plan::read(&file).unwrap().as_ref(), Some(&plan));
        assert!(Plan::check_replaceable(&file).is_ok());
        plan.has_begun = true;
        file.save(&plan).unwrap();
        let refused = Plan::check_replaceable(&file).unwrap_err().to_string();
        assert!(refused.contains("0 of 8 letters done") && refused.contains("--execute"), "{refused}");
        std::fs::write(folder.path().join("plan.json"), "{}").unwrap();
        assert!(Plan::read(&file).unwrap_err().to_string().contains("does not hold the plan of a redrive"));
    }
}
