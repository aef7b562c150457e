//! Compares the roll-up with the facts. Counts and maxima are grouped here, anew. Quantiles are compared with those that
//! ClickHouse finds in the facts themselves: that its sketch is right is taken for granted, that merging it changes nothing is not.

use std::collections::BTreeMap;

use super::difference::Difference;
use super::fold::columns;
use super::rows::{FactQuantiles, JobFacts, JobStats, StatsKey};
use crate::provider_time::ProviderTime;

pub(super) fn differences<'a>(
    job_facts: impl IntoIterator<Item = &'a JobFacts>,
    quantiles: &[FactQuantiles],
    job_stats: &[JobStats],
) -> Vec<Difference> {
    let mut expected = group(job_facts);
    for row in quantiles {
        if let Some(stats) = expected.get_mut(&row.key()) {
            (stats.total, stats.run, stats.queue) = (row.total.clone(), row.run.clone(), row.queue.clone());
        }
    }
    let mut found = Vec::new();
    for actual in job_stats {
        match expected.remove(&actual.key()) {
            Some(expected) => found.extend(columns(BY_MINUTE, &name(&actual.key()), &expected, actual)),
            None => found.push(Difference::ExtraRow { table: BY_MINUTE, row: name(&actual.key()) }),
        }
    }
    found.extend(expected.into_keys().map(|key| Difference::MissingRow { table: BY_MINUTE, row: name(&key) }));
    found
}

const BY_MINUTE: &str = "job_stats_by_minute";

/// The row of the roll-up that counts a job, once it has finished.
pub(super) fn key_of(job: &JobFacts) -> Option<StatsKey> {
    row_of(job).map(|row| row.key())
}

fn row_of(job: &JobFacts) -> Option<JobStats> {
    let minute = u32::try_from(job.finished_at?.second().div_euclid(60) * 60).unwrap_or(u32::MAX);
    // A job that completed counts as completed alone, even if it had sent `errored` before.
    let error_code = if job.outcome == "errored" { job.error_code.clone() } else { String::new() };
    Some(JobStats {
        created_hour: job.created_hour,
        minute,
        source: job.source.clone(),
        resource: job.resource.clone(),
        job_type: job.job_type.clone(),
        error_code,
        ..JobStats::default()
    })
}

/// Groups finished jobs by the key of `job_stats_by_minute`; quantiles stay empty.
fn group<'a>(job_facts: impl IntoIterator<Item = &'a JobFacts>) -> BTreeMap<StatsKey, JobStats> {
    let mut groups = BTreeMap::new();
    for job in job_facts {
        let Some(stats) = row_of(job) else { continue };
        let stats = groups.entry(stats.key()).or_insert(stats);
        stats.completed += u64::from(job.outcome == "completed");
        stats.errored += u64::from(job.outcome == "errored");
        for (max, seconds) in [
            (&mut stats.total_max, job.total_seconds),
            (&mut stats.run_max, job.run_seconds),
            (&mut stats.queue_max, job.queue_seconds),
        ] {
            *max = max.iter().copied().chain(seconds).reduce(f64::max);
        }
    }
    groups
}

fn name((created_hour, minute, source, resource, job_type, error_code): &StatsKey) -> String {
    let time = |second: &u32| ProviderTime(i64::from(*second) * 1000).rfc3339(false);
    let (hour, minute) = (time(created_hour), time(minute));
    format!("{source}/{resource}/{job_type}/{error_code} created in {hour}, ended in {minute}")
}
