//! What differs between the two tables, added up by day and by column, as it is written to a file.

use std::collections::{BTreeMap, BTreeSet};

use clickhouse::Client;
use hookline_schemas::time::SignedAt;
use serde::Serialize;
use time::OffsetDateTime;

use super::comparison::{COLUMNS, DifferingJob, JobName, Kind, elsewhere};
use super::verify::Moving;
use crate::clickhouse::columns::Table;

/// It is in the key, so that a job in which it differs is in each table under another.
const CREATED_HOUR: &str = "created_hour";
/// A few of each column show what became of it.
const EXAMPLES: usize = 5;

/// The differences, as they are written to a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Jobs of the new table.
    pub jobs: u64,
    /// Jobs of which one of the tables did not have the last webhooks yet: that they differ says nothing.
    pub moving: u64,
    #[serde(flatten)]
    pub total: Differences,
    /// Jobs with another `outcome`.
    pub outcome: u64,
    /// Jobs with another `finished_at`, also where that is because of another outcome.
    pub finished_at: u64,
    /// Jobs with another `total_seconds`, `run_seconds` or `queue_seconds`.
    pub durations: u64,
    /// Jobs with another number of images or credits.
    pub numbers: u64,
    /// Jobs of which a fact is known in the old table and not in the new one.
    pub emptied: u64,
    pub columns: BTreeMap<&'static str, ColumnDiff>,
    /// By the day of the created hour.
    pub days: BTreeMap<String, DayDiff>,
    pub lost_examples: Vec<JobName>,
    #[serde(skip)]
    pub hours: BTreeSet<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Jobs that are in both and differ.
    pub changed: u64,
    /// Jobs that only the new table has.
    pub added: u64,
    /// Jobs that only the old table has.
    pub lost: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ColumnDiff {
    pub jobs: u64,
    /// Those of them that have a value in the old table and none in the new one.
    pub emptied: u64,
    pub examples: Vec<Example>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DayDiff {
    #[serde(flatten)]
    pub total: Differences,
    /// Jobs that differ in each column.
    pub columns: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    #[serde(flatten)]
    pub job: JobName,
    pub old: Option<String>,
    pub new: Option<String>,
}

impl Diff {
    /// Adds the jobs that differ, but for those that live traffic explains.
    pub async fn add(
        &mut self,
        client: &Client,
        (old, new): (Table, Table),
        differing: Vec<DifferingJob>,
        explanation: &Moving<'_>,
    ) -> anyhow::Result<()> {
        let (moving, differing): (Vec<_>, Vec<_>) = differing.iter().partition(|job| explanation.explains(job));
        self.moving += moving.len() as u64;
        let only = |in_old: bool| {
            let one_sided = differing.iter().filter(move |job| (job.in_old, job.in_new) == (in_old, !in_old));
            one_sided.copied().collect::<Vec<_>>()
        };
        let (only_old, only_new) = (only(true), only(false));
        let known_in_new = elsewhere(client, new, &only_old).await?;
        let known_in_old = elsewhere(client, old, &only_new).await?;
        for job in differing.iter().filter(|job| job.in_old && job.in_new) {
            self.add_changed(job);
        }
        for job in only_old {
            match known_in_new.get(&job.name()) {
                Some(hour) => self.add_moved(job, *hour),
                None => self.add_lost(job),
            }
        }
        for job in only_new {
            // A job that is elsewhere in the old table is counted there.
            self.hours.insert(job.created_hour.into());
            if !known_in_old.contains_key(&job.name()) {
                self.total.added += 1;
                self.day(job).total.added += 1;
            }
        }
        Ok(())
    }

    fn add_changed(&mut self, job: &DifferingJob) {
        let mut kinds = Vec::new();
        for (number, old, new, _) in &job.changes {
            let Some(column) = COLUMNS.get(usize::from(*number)) else { continue };
            kinds.push(column.kind);
            self.add_to_column(column.name, job, (old.clone(), new.clone()));
        }
        self.emptied += u64::from(job.is_emptied());
        for (kind, jobs) in [
            (Kind::Outcome, &mut self.outcome),
            (Kind::End, &mut self.finished_at),
            (Kind::Duration, &mut self.durations),
            (Kind::Number, &mut self.numbers),
        ] {
            *jobs += u64::from(kinds.contains(&kind));
        }
        self.count_changed(job);
    }

    fn add_moved(&mut self, job: &DifferingJob, to: u32) {
        let hour = |seconds: u32| Some(SignedAt(seconds).to_string());
        self.add_to_column(CREATED_HOUR, job, (hour(job.created_hour), hour(to)));
        self.hours.insert(to.into());
        self.count_changed(job);
    }

    fn add_lost(&mut self, job: &DifferingJob) {
        self.hours.insert(job.created_hour.into());
        self.total.lost += 1;
        self.day(job).total.lost += 1;
        if self.lost_examples.len() < EXAMPLES {
            self.lost_examples.push(job.name());
        }
    }

    fn count_changed(&mut self, job: &DifferingJob) {
        self.hours.insert(job.created_hour.into());
        self.total.changed += 1;
        self.day(job).total.changed += 1;
    }

    fn add_to_column(&mut self, name: &'static str, job: &DifferingJob, (old, new): (Option<String>, Option<String>)) {
        *self.day(job).columns.entry(name).or_default() += 1;
        let column = self.columns.entry(name).or_default();
        column.jobs += 1;
        column.emptied += u64::from(old.is_some() && new.is_none());
        if column.examples.len() < EXAMPLES {
            column.examples.push(Example { job: job.name(), old, new });
        }
    }

    fn day(&mut self, job: &DifferingJob) -> &mut DayDiff {
        let date = OffsetDateTime::from_unix_timestamp(job.created_hour.into()).map(|time| time.date().to_string());
        self.days.entry(date.unwrap_or_default()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, (in_old, in_new): (bool, bool), changes: &[(&str, Option<&str>, Option<&str>)]) -> DifferingJob {
        let number = |name: &str| COLUMNS.iter().position(|column| column.name == name).unwrap() as u8;
        DifferingJob {
            source: "prod".into(),
            resource: "video".into(),
            job_id: id.into(),
            created_hour: 1_786_698_000,
            in_old,
            in_new,
            changes: changes
                .iter()
                .map(|(name, old, new)| (number(name), old.map(str::to_owned), new.map(str::to_owned), true))
                .collect(),
        }
    }

    #[test]
    fn jobs_are_added_up_by_what_changes() {
        let mut diff = Diff::default();
        let (outcome, end) = (("outcome", Some("open"), Some("errored")), ("finished_at", None, Some("3")));
        diff.add_changed(&job("a", (true, true), &[outcome, end]));
        diff.add_changed(&job("f", (true, true), &[("finished_at", Some("3"), Some("2"))]));
        diff.add_changed(&job(
            "b",
            (true, true),
            &[("width", Some("1"), None), ("total_seconds", Some("3"), None), ("run_seconds", None, Some("2"))],
        ));
        diff.add_changed(&job("c", (true, true), &[("image_count", Some("1"), Some("2")), ("fps", None, Some("9"))]));
        diff.add_moved(&job("d", (true, false), &[]), 1_786_694_400);
        diff.add_lost(&job("e", (true, false), &[]));
        assert_eq!(diff.total, Differences { changed: 5, added: 0, lost: 1 });
        assert_eq!((diff.outcome, diff.finished_at, diff.durations, diff.numbers, diff.emptied), (1, 2, 1, 1, 1));
        assert_eq!(diff.hours, [1_786_694_400, 1_786_698_000].into());
        let day = &diff.days["2026-08-14"];
        assert_eq!((day.total, day.columns["width"], day.columns[CREATED_HOUR]), (diff.total, 1, 1));
        assert_eq!(diff.columns["total_seconds"].emptied, 1);
        let example = &diff.columns[CREATED_HOUR].examples[0];
        assert_eq!(
            (example.old.as_deref(), example.new.as_deref()),
            (Some("2026-08-14T09:00:00Z"), Some("2026-08-14T08:00:00Z"))
        );
    }
}
