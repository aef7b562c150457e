//! Says what the new table is worth before anybody reads it: held against `deliveries`, against the roll-up, and against the old table.
//!
//! Live traffic goes on meanwhile, and what it changes is no difference. A job that differs counts only if no webhook about it is among the
//! records between those that the shadow had read before the comparison and the end of the log after it: whatever the live processor had
//! written by then lies before that end.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::diff::{Diff, JobName, differing_jobs};
use super::positions::{earlier, from_committed};
use super::state::{State, write_anew};
use super::{Rebuild, positions, roll_up};
use crate::batch::fold::{Folded, JobRow};
use crate::clickhouse::columns::Table;

/// What decides whether the tables may be exchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub counts: Counts,
    pub jobs: u64,
    pub moving: u64,
    pub changed: u64,
    pub added: u64,
    /// Jobs of the old table that the new one does not have.
    pub lost: u64,
    /// Jobs of which the new table lacks a fact that the old one has.
    pub emptied: u64,
    pub outcome: u64,
    pub finished_at: u64,
    pub durations: u64,
    pub numbers: u64,
    /// Created hours whose roll-up the new facts change, or that is not what the old ones give.
    pub roll_up_hours: u64,
}

impl Verdict {
    /// Something that was known is known no more: its events are in neither of the sources, or the fold does not read them any more.
    pub fn loses(&self) -> bool {
        self.lost + self.emptied + self.counts.absent > 0
    }

    pub fn changes_nothing(&self) -> bool {
        self.changed + self.added + self.lost + self.roll_up_hours == 0
    }
}

/// The jobs that records told of, and their created hours.
#[derive(Debug, Default)]
pub struct Touched {
    jobs: HashSet<JobName>,
    hours: BTreeSet<i64>,
}

impl Touched {
    pub fn has(&self, job: &JobName) -> bool {
        self.jobs.contains(job)
    }

    fn insert(&mut self, folded: &Folded<'_>) {
        for JobRow { key, .. } in &folded.jobs {
            self.jobs.insert(JobName {
                source: key.source.to_owned(),
                resource: key.resource.to_string(),
                job_id: key.job_id.as_str().to_owned(),
            });
            self.hours.insert(key.created_hour.0);
        }
    }
}

impl Rebuild {
    /// Compares the tables, writes the diff beside the state, and keeps the verdict there.
    pub fn verify(&self, state: &mut State) -> anyhow::Result<Verdict> {
        let (old, new) = (Table::Jobs, Table::JobsRebuild);
        self.read_to_the_end(state, new, &|_, _| {})?;
        let counts = self.wait(Counts::read(self.client(), new, &state.ranges, self.kept_since))?;
        let uncommitted = earlier(&state.ranges, &from_committed(&self.consumer, &state.ranges)?);
        let mut diff = Diff::default();
        let mut roll_up_hours = BTreeSet::new();
        let ranges = self.wait(self.tables.ranges())?;
        let bar = self.display.bar(ranges.len() as u64, 0, "{bar:30} {pos} of {len} comparisons of the two tables");
        for hours in ranges {
            let differing = self.wait(differing_jobs(self.client(), old, new, &hours))?;
            diff.jobs += self.wait(self.tables.jobs(new, &hours))?;
            roll_up_hours.extend(self.wait(roll_up::differing_hours(self.client(), new, &hours))?);
            let meanwhile = Mutex::new(Touched::default());
            self.read_to_the_end(state, new, &|_, folded| lock(&meanwhile).insert(folded))?;
            self.wait(diff.add(self.client(), (old, new), differing, &lock(&meanwhile)))?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        // Of what was not committed before the comparison, the roll-up may be older or newer than the facts.
        let moving = Mutex::new(BTreeSet::new());
        self.filler().fold(&positions::extended(&uncommitted, &state.ranges), &|_, folded| {
            lock(&moving).extend(hours_of(folded));
        })?;
        let moving = moving.into_inner().unwrap_or_else(PoisonError::into_inner);
        roll_up_hours.retain(|hour| !moving.contains(hour));
        let verdict = Verdict {
            counts,
            jobs: diff.jobs,
            moving: diff.moving,
            changed: diff.total.changed,
            added: diff.total.added,
            lost: diff.total.lost,
            emptied: diff.emptied,
            outcome: diff.outcome,
            finished_at: diff.finished_at,
            durations: diff.durations,
            numbers: diff.numbers,
            roll_up_hours: roll_up_hours.len() as u64,
        };
        write_anew(&self.file.diff_path(), &diff)?;
        state.differing_hours = &(&diff.hours | &roll_up_hours) | &moving;
        state.verdict = Some(verdict.clone());
        Ok(verdict)
    }
}

/// The created hours of a batch, Unix seconds.
pub fn hours_of(folded: &Folded<'_>) -> impl Iterator<Item = i64> {
    folded.jobs.iter().map(|job| job.key.created_hour.0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
