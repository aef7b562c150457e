//! Compares the roll-up with the facts. Counts and maxima are grouped here, anew. Quantiles are compared with those that
//! ClickHouse finds in the facts themselves: that its sketch is right is taken for granted, that merging it changes nothing is not.

use std::collections::BTreeMap;

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

pub(super) fn differences(
    resolution: Resolution,
    job_facts: &[JobFacts],
    quantiles: &[FactQuantiles],
    job_stats: &[JobStats],
) -> Vec<Difference> {
    let table = resolution.view;
    let mut expected = group(resolution, job_facts);
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

/// Groups finished jobs by the key of the view; quantiles stay empty.
fn group(resolution: Resolution, job_facts: &[JobFacts]) -> BTreeMap<StatsKey, JobStats> {
    let mut groups = BTreeMap::new();
    for job in job_facts {
        let Some(finished_at) = job.finished_at else { continue };
        let Resolution { seconds, .. } = resolution;
        let ended = u32::try_from(finished_at.second().div_euclid(seconds) * seconds).unwrap_or(u32::MAX);
        // A job that completed counts as completed alone, even if it had sent `errored` before.
        let error_code = if job.outcome == "errored" { job.error_code.clone() } else { String::new() };
        let stats = JobStats {
            created_hour: job.created_hour,
            ended,
            source: job.source.clone(),
            resource: job.resource.clone(),
            job_type: job.job_type.clone(),
            error_code,
            ..JobStats::default()
        };
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
