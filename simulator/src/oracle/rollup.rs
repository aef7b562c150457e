//! Compares the roll-up with the facts. Counts and maxima are grouped here, anew. Quantiles are compared with those that
//! ClickHouse finds in the facts themselves: that its sketch is right is taken for granted, that merging it changes nothing is not.

use std::collections::{BTreeMap, BTreeSet};

use super::difference::Difference;
use super::fold::columns;
use super::rows::{FactQuantiles, JobFacts, JobStats, StatsKey};
use crate::provider_time::ProviderTime;

/// A view of the roll-up, by the width of its cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolution {
    view: &'static str,
    seconds: i64,
}

pub(super) const BY_MINUTE: Resolution = Resolution { view: "job_stats_by_minute", seconds: 60 };
pub(super) const BY_HOUR: Resolution = Resolution { view: "job_stats_by_hour", seconds: 3_600 };

/// `others` are jobs that count only where they share a group with one of `job_facts`.
pub(super) fn differences(
    resolution: Resolution,
    (job_facts, others): (&[JobFacts], &[JobFacts]),
    quantiles: &[FactQuantiles],
    job_stats: &[JobStats],
) -> Vec<Difference> {
    let table = resolution.view;
    let groups = resolution.groups_of(job_facts);
    let others = others.iter().filter(|job| resolution.key_of(job).is_some_and(|key| groups.contains(&key)));
    let mut expected = group(resolution, job_facts.iter().chain(others));
    for row in quantiles {
        if let Some(stats) = expected.get_mut(&row.key()) {
            (stats.total, stats.run, stats.queue) = (row.total.clone(), row.run.clone(), row.queue.clone());
        }
    }
    let mut found = Vec::new();
    for actual in job_stats {
        match expected.remove(&actual.key()) {
            Some(expected) => found.extend(columns(table, &name(&actual.key()), &expected, actual)),
            None => found.push(Difference::ExtraRow { table, row: name(&actual.key()) }),
        }
    }
    found.extend(expected.into_keys().map(|key| Difference::MissingRow { table, row: name(&key) }));
    found
}

impl Resolution {
    /// The key of the row that counts a job, once it has finished.
    pub(super) fn key_of(self, job: &JobFacts) -> Option<StatsKey> {
        self.row_of(job).map(|row| row.key())
    }

    /// The keys of the rows that count any of these jobs.
    pub(super) fn groups_of(self, job_facts: &[JobFacts]) -> BTreeSet<StatsKey> {
        job_facts.iter().filter_map(|job| self.key_of(job)).collect()
    }

    fn row_of(self, job: &JobFacts) -> Option<JobStats> {
        let ended = job.finished_at?.second().div_euclid(self.seconds) * self.seconds;
        // A job that completed counts as completed alone, even if it had sent `errored` before.
        let error_code = if job.outcome == "errored" { job.error_code.clone() } else { String::new() };
        Some(JobStats {
            created_hour: job.created_hour,
            ended: u32::try_from(ended).unwrap_or(u32::MAX),
            source: job.source.clone(),
            resource: job.resource.clone(),
            job_type: job.job_type.clone(),
            error_code,
            ..JobStats::default()
        })
    }
}

/// Groups finished jobs by the key of the view; quantiles stay empty.
fn group<'a>(resolution: Resolution, job_facts: impl Iterator<Item = &'a JobFacts>) -> BTreeMap<StatsKey, JobStats> {
    let mut groups = BTreeMap::new();
    for job in job_facts {
        let Some(stats) = resolution.row_of(job) else { continue };
        let stats = groups.entry(stats.key()).or_insert(stats);
        stats.completed += u64::from(job.outcome == "completed");
        stats.errored += u64::from(job.outcome == "errored");
        for (jobs, max, seconds) in [
            (&mut stats.total_jobs, &mut stats.total_max, job.total_seconds),
            (&mut stats.run_jobs, &mut stats.run_max, job.run_seconds),
            (&mut stats.queue_jobs, &mut stats.queue_max, job.queue_seconds),
        ] {
            *jobs += u64::from(seconds.is_some());
            *max = max.iter().copied().chain(seconds).reduce(f64::max);
        }
    }
    groups
}

fn name((created_hour, ended, source, resource, job_type, error_code): &StatsKey) -> String {
    let time = |second: &u32| ProviderTime(i64::from(*second) * 1000).rfc3339(false);
    let (hour, ended) = (time(created_hour), time(ended));
    format!("{source}/{resource}/{job_type}/{error_code} created in {hour}, ended in {ended}")
}
