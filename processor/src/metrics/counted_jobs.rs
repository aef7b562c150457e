//! Which jobs were counted already, so that a repeated webhook, a restart or a rebalance counts none of them again.

use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};

use clickhouse::{Client, Row};
use foldhash::quality::RandomState;
use hookline_schemas::sql::{LAST_WEBHOOK, created_hours_of};
use hookline_schemas::time::OccurredAt;
use hookline_service::bounded_map::BoundedMap;
use hookline_service::shutdown::CancellationToken;
use prometheus::{IntCounter, IntGauge, Registry};
use serde::Deserialize;

use crate::clickhouse::error::retries_read;
use crate::metrics::register;
use crate::retry::{Cancelled, until_cancelled};

/// The jobs that finished or started lately. Its memory is bounded; the oldest jobs are evicted first.
#[derive(Clone, Debug)]
pub struct CountedJobs {
    /// Starts of jobs that have not ended: the event of the end does not repeat them.
    started: BoundedMap<JobHash, OccurredAt, IdentityState>,
    finished: BoundedMap<JobHash, TerminalEvents, IdentityState>,
    hashes: RandomState,
    entries: IntGauge,
    evictions: IntCounter,
}

/// The terminal events of a job that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalEvents {
    pub completed: bool,
    pub errored: bool,
}

/// A job, by 64 bits of its name: among two million jobs the chance that two are alike is one in ten million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobHash(u64);

/// Hashes keys that are hashes themselves.
pub type IdentityState = BuildHasherDefault<IdentityHasher>;

#[derive(Clone, Copy, Debug, Default)]
pub struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A row of `jobs`, as far as counting needs it.
#[derive(Debug, Row, Deserialize)]
struct JobsRow {
    source: String,
    resource: String,
    job_id: String,
    started_at: Option<OccurredAt>,
    completed: u8,
    errored: u8,
}

impl CountedJobs {
    /// Registers the metrics; keeps at most `max` finished jobs, and as many that have started.
    pub fn new(registry: &Registry, max: usize) -> prometheus::Result<Self> {
        Ok(Self {
            started: BoundedMap::new(max),
            finished: BoundedMap::new(max),
            hashes: RandomState::default(),
            entries: register(
                registry,
                IntGauge::new(
                    "hookline_processor_counted_jobs_entries",
                    "Finished jobs that are known as counted and will not be counted again",
                )?,
            )?,
            evictions: register(
                registry,
                IntCounter::new(
                    "hookline_processor_counted_jobs_evictions_total",
                    "Finished jobs that were evicted because of counting.remembered_jobs: a late duplicate would count them \
                     again",
                )?,
            )?,
        })
    }

    /// Reads the jobs of the last hours from the tables, whoever inserted them. This has to happen before anything of newly
    /// assigned partitions is inserted: a job that this process inserts and has not counted would be taken for counted.
    pub async fn reload(&mut self, client: &Client, cancel: &CancellationToken) -> Result<(), Cancelled> {
        // A job may have ended as long before its last webhook as that was tried.
        let hours = created_hours_of(&format!("(now('UTC') - INTERVAL {LAST_WEBHOOK} - INTERVAL {LAST_WEBHOOK})"));
        let query = format!(
            "SELECT source, resource, job_id, started_at, completed_at IS NOT NULL AS completed, \
             errored_at IS NOT NULL AS errored FROM jobs \
             WHERE last_received_at >= now64(3) - INTERVAL {LAST_WEBHOOK} \
             AND {hours}"
        );
        let read = until_cancelled(cancel, async || self.read(client, &query).await, retries_read).await?;
        if let Err(error) = read {
            tracing::error!(%error, "cannot read the jobs that were counted already: some may be counted twice");
        }
        Ok(())
    }

    async fn read(&mut self, client: &Client, query: &str) -> clickhouse::error::Result<()> {
        let mut rows = client.query(query).fetch::<JobsRow>()?;
        while let Some(row) = rows.next().await? {
            let job = self.id(&row.source, &row.resource, &row.job_id);
            let ends = TerminalEvents { completed: row.completed != 0, errored: row.errored != 0 };
            if ends.any() {
                self.insert_finished(job, ends);
            } else if let Some(started) = row.started_at {
                self.insert_started(job, started);
            }
        }
        self.update_metrics();
        Ok(())
    }

    pub fn id(&self, source: &str, resource: &str, job_id: &str) -> JobHash {
        JobHash(self.hashes.hash_one((source, resource, job_id)))
    }

    /// Keeps the earliest start of a job that has not ended yet.
    pub fn insert_started(&mut self, job: JobHash, at: OccurredAt) {
        if self.finished.get(&job).is_none() {
            let earliest = self.started.get(&job).map_or(at, |known| at.min(*known));
            self.started.insert(job, earliest);
        }
    }

    /// Removes the start of a job that ends now, and returns it.
    pub fn take_started(&mut self, job: JobHash) -> Option<OccurredAt> {
        self.started.remove(&job)
    }

    /// Keeps the ends of a job and returns those that were known before.
    pub fn insert_finished(&mut self, job: JobHash, ends: TerminalEvents) -> Option<TerminalEvents> {
        let before = self.finished.get(&job).copied();
        let all = before.map_or(ends, |before| before.union(ends));
        if before != Some(all) {
            self.evictions.inc_by(self.finished.insert(job, all) as u64);
        }
        before
    }

    pub fn update_metrics(&self) {
        self.entries.set(i64::try_from(self.finished.len()).unwrap_or(i64::MAX));
    }
}

impl TerminalEvents {
    pub const fn any(self) -> bool {
        self.completed || self.errored
    }

    pub const fn both(self) -> bool {
        self.completed && self.errored
    }

    pub const fn union(self, other: Self) -> Self {
        Self { completed: self.completed || other.completed, errored: self.errored || other.errored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETED: TerminalEvents = TerminalEvents { completed: true, errored: false };

    #[test]
    fn what_does_not_fit_is_forgotten_and_said_so() {
        let mut counted = CountedJobs::new(&Registry::new(), 2).unwrap();
        for id in ["a", "b", "c", "d"] {
            counted.insert_finished(counted.id("prod", "video", id), COMPLETED);
        }
        counted.update_metrics();
        assert!(counted.entries.get() <= 2 && counted.evictions.get() > 0);
    }

    #[test]
    fn nothing_is_kept_of_the_start_of_a_job_that_ended() {
        let mut counted = CountedJobs::new(&Registry::new(), 10).unwrap();
        let job = counted.id("prod", "video", "a");
        for at in [OccurredAt(7), OccurredAt(5)] {
            counted.insert_started(job, at);
        }
        assert_eq!(counted.take_started(job), Some(OccurredAt(5)));
        counted.insert_finished(job, COMPLETED);
        counted.insert_started(job, OccurredAt(3));
        assert_eq!(counted.started.len(), 0);
    }
}
