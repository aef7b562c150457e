//! Says what the new table is worth before anybody reads it: held against `deliveries`, against the roll-up, and against the old table.
//!
//! Live traffic goes on meanwhile, and what it changes is no difference. The live table may be ahead: a job that differs does not count if
//! a webhook about it is among the records between those that the shadow had read before the comparison and the end of the log after it,
//! for whatever the live processor had written by then lies before that end. Or the shadow may be: then a webhook about the job is among
//! the records that the live group had not committed, and the shadow lacks nothing of what the live table knows.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::comparison::{DifferingJob, differing_jobs};
use super::counts::Counts;
use super::diff::Diff;
use super::positions::{earlier, from_committed};
use super::state::{State, diff_path};
use super::{Rebuild, roll_up};
use crate::batch::fold::{Folded, JobRow};
use crate::clickhouse::columns::Table;
use crate::state_file::write_anew;

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
    /// Digests of their names, for there may be many.
    jobs: HashSet<u64>,
    hours: BTreeSet<i64>,
}

impl Touched {
    fn has(&self, (source, resource, job_id): JobKey<'_>) -> bool {
        self.jobs.contains(&digest((source, resource, job_id)))
    }

    fn insert(&mut self, folded: &Folded<'_>) {
        for JobRow { key, .. } in &folded.jobs {
            self.jobs.insert(digest((key.source, key.resource.into(), key.job_id.as_str())));
        }
        self.hours.extend(hours_of(folded));
    }

    fn extend(&mut self, other: Self) {
        self.jobs.extend(other.jobs);
        self.hours.extend(other.hours);
    }
}

/// Source, resource and id.
type JobKey<'n> = (&'n str, &'n str, &'n str);

fn digest(job: JobKey<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    job.hash(&mut hasher);
    hasher.finish()
}

/// The jobs of which one table may know more than the other, because live traffic goes on.
#[derive(Clone, Copy, Debug)]
pub struct Moving<'t> {
    /// Those of records that the shadow had before the comparison, and the live table perhaps not.
    pub ahead: &'t Touched,
    /// Those of records that the live table may have had at the comparison, and the shadow got after it.
    pub meanwhile: &'t Touched,
}

impl Moving<'_> {
    /// Tells whether that may be why a job differs. A shadow that is ahead lacks nothing.
    pub fn explains(&self, job: &DifferingJob) -> bool {
        let key = job.key();
        self.meanwhile.has(key) || (self.ahead.has(key) && !job.loses())
    }
}

impl Rebuild {
    /// Compares the tables, writes the diff beside the state, and keeps the verdict there.
    pub fn verify(&self, state: &mut State) -> anyhow::Result<Verdict> {
        let (old, new) = (Table::Jobs, Table::JobsRebuild);
        self.read_to_the_end(state, new, &|_, _| {})?;
        let counts = self.wait(Counts::read(self.client(), new, &state.ranges, self.kept_since))?;
        // The live table may not have them yet, though the shadow has.
        let uncommitted = earlier(&state.ranges, &from_committed(&self.consumer, &state.ranges)?);
        let mut ahead = touched(|take| self.filler().fold(&uncommitted, &|_, folded| take(folded)))?;
        let mut diff = Diff::default();
        let mut roll_up_hours = BTreeSet::new();
        let ranges = self.wait(self.tables.ranges())?;
        let bar = self.display.bar(ranges.len() as u64, 0, "{bar:30} {pos} of {len} comparisons of the two tables");
        for hours in ranges {
            let differing = self.wait(differing_jobs(self.client(), old, new, &hours))?;
            diff.jobs += self.wait(self.tables.jobs(new, &hours))?;
            roll_up_hours.extend(self.wait(roll_up::differing_hours(self.client(), new, &hours))?);
            let meanwhile = touched(|take| self.read_to_the_end(state, new, &|_, folded| take(folded)))?;
            self.wait(diff.add(
                self.client(),
                (old, new),
                differing,
                &Moving { ahead: &ahead, meanwhile: &meanwhile },
            ))?;
            ahead.extend(meanwhile);
            bar.inc(1);
        }
        bar.finish_and_clear();
        // Of what was not committed before the comparison, the roll-up may be older or newer than the facts.
        roll_up_hours.retain(|hour| !ahead.hours.contains(hour));
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
        write_anew(&diff_path(&self.file), &diff)?;
        state.differing_hours = &(&diff.hours | &roll_up_hours) | &ahead.hours;
        state.verdict = Some(verdict.clone());
        Ok(verdict)
    }
}

/// The jobs of all batches that `read` hands on.
fn touched(read: impl FnOnce(&(dyn Fn(&Folded<'_>) + Sync)) -> anyhow::Result<()>) -> anyhow::Result<Touched> {
    let touched = Mutex::new(Touched::default());
    read(&|folded| touched.lock().unwrap_or_else(PoisonError::into_inner).insert(folded))?;
    Ok(touched.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The created hours of a batch, Unix seconds.
pub fn hours_of(folded: &Folded<'_>) -> impl Iterator<Item = i64> {
    folded.jobs.iter().map(|job| job.key.created_hour.0)
}
