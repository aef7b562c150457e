//! Which jobs were counted already, so that a repeated webhook, a restart or a rebalance counts none of them again.

use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use clickhouse::{Client, Row};
use foldhash::quality::RandomState;
use hookline_schemas::facts::Facts;
use hookline_schemas::sql::{LAST_WEBHOOK, created_hours_of};
use hookline_schemas::time::OccurredAt;
use hookline_service::bounded_map::BoundedMap;
use hookline_service::shutdown::CancellationToken;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use serde::Deserialize;
use strum::VariantArray as _;

use crate::clickhouse::inserter::ClickHouse;
use crate::config::CountingConfig;
use crate::metrics::register;
use crate::retry::Cancelled;

/// The jobs that finished or started lately. Its memory is bounded; the oldest jobs are evicted first.
#[derive(Clone, Debug)]
pub struct CountedJobs {
    /// Starts of jobs that have not ended: the event of the end does not repeat them.
    started: BoundedMap<JobHash, OccurredAt, IdentityState>,
    finished: BoundedMap<JobHash, TerminalEvents, IdentityState>,
    /// The most rows that a reload asks for: the batch of a job's end may be another than that of its start.
    max_rows: usize,
    reload_timeout: Duration,
    hashes: RandomState,
    entries: IntGauge,
    evictions: IntCounter,
    reloads: IntCounterVec,
}

/// The memory in which the server sorts the rows of a reload; beyond it the server uses its disk.
const MAX_SORT_BYTES: &str = "268435456";

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
    counted_ends: u8,
}

/// How a reload ended, as its metric calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
enum Reload {
    Complete,
    /// There are more jobs than `counting.remembered_jobs`; the latest were read.
    Truncated,
    Failed,
    TimedOut,
    /// The partitions went again, or the daemon ends.
    Cancelled,
}

impl CountedJobs {
    /// Registers the metrics; keeps at most `remembered_jobs` finished jobs, and as many that have started.
    pub fn new(registry: &Registry, config: &CountingConfig) -> prometheus::Result<Self> {
        let reloads = IntCounterVec::new(
            Opts::new(
                "hookline_processor_counted_jobs_reloads_total",
                "Reads of the jobs that were counted already, one for each assignment of partitions, by their result",
            ),
            &["result"],
        )?;
        for result in Reload::VARIANTS {
            reloads.with_label_values(&[<&str>::from(*result)]);
        }
        Ok(Self {
            started: BoundedMap::new(config.remembered_jobs),
            finished: BoundedMap::new(config.remembered_jobs),
            max_rows: config.remembered_jobs.saturating_mul(2),
            reload_timeout: Duration::from_millis(config.reload_timeout_ms),
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
            reloads: register(registry, reloads)?,
        })
    }

    /// Reads from `jobs` which jobs of the last hours a process of the group counted, this one or another. What only a replay
    /// inserted is not among them: the group counts it when it consumes it.
    ///
    /// This has to happen before anything of newly assigned partitions is inserted. It takes no longer than
    /// `counting.reload_timeout_ms`, and what it cannot read may be counted twice: that is said, and the processor goes on.
    pub async fn reload(&mut self, clickhouse: &ClickHouse, cancel: &CancellationToken, shutdown: &CancellationToken) {
        let began = Instant::now();
        let (timeout, max_rows) = (self.reload_timeout, self.max_rows);
        let read = clickhouse.query_until_cancelled(cancel, async |client| self.read(client).await);
        let result = tokio::select! {
            read = tokio::time::timeout(timeout, read) => match read {
                Ok(Ok(Ok(rows))) if rows >= max_rows => {
                    tracing::warn!(rows, "more jobs were counted lately than counting.remembered_jobs: a late duplicate of an older one is counted again");
                    Reload::Truncated
                }
                Ok(Ok(Ok(_))) => Reload::Complete,
                Ok(Ok(Err(error))) => {
                    tracing::error!(%error, "cannot read the jobs that were counted already: some may be counted twice");
                    Reload::Failed
                }
                Ok(Err(Cancelled)) => Reload::Cancelled,
                Err(_) => {
                    tracing::error!(timeout_ms = timeout.as_millis(), "the jobs that were counted already were not read within counting.reload_timeout_ms: some may be counted twice");
                    Reload::TimedOut
                }
            },
            () = shutdown.cancelled() => Reload::Cancelled,
        };
        self.update_metrics();
        self.reloads.with_label_values(&[<&str>::from(result)]).inc();
        let (result, entries) = (<&str>::from(result), self.finished.len());
        tracing::debug!(
            result,
            entries,
            seconds = began.elapsed().as_secs_f64(),
            "read the jobs that were counted already"
        );
    }

    /// Inserts the latest rows, the oldest of them first, so that these are evicted first; returns how many there were. A row
    /// that is not joined yet is as good as one that is.
    async fn read(&mut self, client: &Client) -> clickhouse::error::Result<usize> {
        // A job may have ended as long before its last webhook as that was tried.
        let hours = created_hours_of(&format!("(now('UTC') - INTERVAL {LAST_WEBHOOK} - INTERVAL {LAST_WEBHOOK})"));
        // A receive time that is not ingest's own may lie in the future. It must not take the place of others for ever.
        let query = format!(
            "SELECT source, resource, job_id, started_at, counted_ends FROM \
             (SELECT source, resource, job_id, started_at, counted_ends, last_received_at FROM jobs \
             WHERE last_received_at >= now64(3) - INTERVAL {LAST_WEBHOOK} \
             AND last_received_at <= now64(3) + INTERVAL {LAST_WEBHOOK} \
             AND {hours} \
             AND (counted_ends != 0 OR started_at IS NOT NULL) \
             ORDER BY last_received_at DESC LIMIT {}) ORDER BY last_received_at",
            self.max_rows
        );
        let query = client.query(&query).with_setting("max_bytes_before_external_sort", MAX_SORT_BYTES);
        let (mut cursor, mut rows) = (query.fetch::<JobsRow>()?, 0);
        while let Some(row) = cursor.next().await? {
            rows += 1;
            let job = self.id(&row.source, &row.resource, &row.job_id);
            let ends = TerminalEvents::from_bits(row.counted_ends);
            if ends.any() {
                self.take_started(job);
                self.insert_finished(job, ends);
            } else if let Some(started) = row.started_at {
                self.insert_started(job, started);
            }
        }
        Ok(rows)
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
    pub const fn of(facts: &Facts<'_>) -> Self {
        Self { completed: facts.completed_at.is_some(), errored: facts.errored_at.is_some() }
    }

    /// The value of `jobs.counted_ends`.
    pub const fn bits(self) -> u8 {
        self.completed as u8 | (self.errored as u8) << 1
    }

    const fn from_bits(bits: u8) -> Self {
        Self { completed: bits & 1 != 0, errored: bits & 2 != 0 }
    }

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

    fn remembering(remembered_jobs: usize) -> CountingConfig {
        CountingConfig { remembered_jobs, ..CountingConfig::default() }
    }

    #[test]
    fn terminal_events_come_back_from_their_bits() {
        for (bits, completed, errored) in [(0, false, false), (1, true, false), (2, false, true), (3, true, true)] {
            let ends = TerminalEvents { completed, errored };
            assert_eq!((ends.bits(), TerminalEvents::from_bits(bits)), (bits, ends));
        }
    }

    #[test]
    fn what_does_not_fit_is_forgotten_and_said_so() {
        let mut counted = CountedJobs::new(&Registry::new(), &remembering(2)).unwrap();
        for id in ["a", "b", "c", "d"] {
            counted.insert_finished(counted.id("prod", "video", id), COMPLETED);
        }
        counted.update_metrics();
        assert!(counted.entries.get() <= 2 && counted.evictions.get() > 0);
    }

    #[test]
    fn nothing_is_kept_of_the_start_of_a_job_that_ended() {
        let mut counted = CountedJobs::new(&Registry::new(), &remembering(10)).unwrap();
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
