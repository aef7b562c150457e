//! JobMetrics metrics: what became of jobs. Counted after the insert, at a job's first terminal event, and never again: a
//! bounded memory of the jobs that finished lately says which ones were counted, by this process or by another.
//!
//! They are for alerting within minutes. A SIGKILL loses the counts of the batch under way, and a job whose `started` comes
//! after its end has no run and queue duration here; the tables are exact.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};

use clickhouse::{Client, Row};
use foldhash::quality::RandomState;
use hookline_schemas::facts::Facts;
use hookline_schemas::ids::Resource;
use hookline_schemas::outcome::{Derived, Outcome};
use hookline_schemas::time::OccurredAt;
use hookline_service::bounded_map::BoundedMap;
use hookline_service::shutdown::CancellationToken;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use serde::Deserialize;

use crate::batch::fold::JobRow;
use crate::clickhouse::error::{Cause, Operation, Remedy};
use crate::metrics::label_cap::CappedLabel;
use crate::metrics::register;
use crate::retry::{Cancelled, until_cancelled};

/// Seconds: the provider's medians lie between 3 s and 13 min.
const BUCKETS: [f64; 17] =
    [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0, 144.0, 233.0, 377.0, 610.0, 1_000.0, 1_800.0, 3_600.0];
/// The provider retries for 24 h; what was last heard of earlier comes no more.
const RELOADED: &str = "26 HOUR";
/// No job ends later than this after its creation.
const MAX_JOB_AGE: &str = "8 DAY";

/// The ways in which what is said of a job does not fit together.
const CONTRADICTIONS: [&str; 3] = ["outcome", "order", "charged"];

/// Counts finished jobs.
#[derive(Clone, Debug)]
pub struct JobMetrics {
    finished_total: IntCounterVec,
    total_seconds: HistogramVec,
    run_seconds: HistogramVec,
    queue_seconds: HistogramVec,
    contradictions: IntCounterVec,
    remembered: IntGauge,
    forgotten: IntCounter,
    started: BoundedMap<JobHash, OccurredAt, BuildHasherDefault<IdentityHasher>>,
    finished: BoundedMap<JobHash, TerminalEvents, BuildHasherDefault<IdentityHasher>>,
    sources: CappedLabel,
    job_types: CappedLabel,
    error_codes: CappedLabel,
    hashes: RandomState,
    /// By the hash of what an event says, so that labels are looked up once.
    series: HashMap<u64, Series, BuildHasherDefault<IdentityHasher>>,
}

/// Where a finished job is counted.
#[derive(Clone, Debug)]
struct Series {
    finished: IntCounter,
    total: Histogram,
    run: Histogram,
    queue: Histogram,
}

/// Which ends of a job were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TerminalEvents {
    completed: bool,
    errored: bool,
}

/// A job, by 64 bits of its name: among two million jobs the chance that two are alike is one in ten million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct JobHash(u64);

/// The hash of what is a hash.
#[derive(Clone, Copy, Debug, Default)]
struct IdentityHasher(u64);

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

/// What another process may have counted.
#[derive(Debug, Row, Deserialize)]
struct JobsRow {
    source: String,
    resource: String,
    job_id: String,
    started_ms: Option<i64>,
    completed: u8,
    errored: u8,
}

impl JobMetrics {
    /// Registers the metrics; remembers up to so many finished jobs.
    pub fn new(registry: &Registry, remembered_jobs: usize) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let histogram = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.into());
            register(registry, HistogramVec::new(options, &["source", "resource", "outcome"])?)
        };
        let business = Self {
            finished_total: counter(
                "hookline_jobs_finished_total",
                "Jobs at their first terminal event",
                &["source", "resource", "job_type", "outcome", "error_code"],
            )?,
            total_seconds: histogram("hookline_job_total_seconds", "From creation to the end of a job")?,
            run_seconds: histogram("hookline_job_run_seconds", "From start to the end of a job")?,
            queue_seconds: histogram("hookline_job_queue_seconds", "From creation to start of a job, at its end")?,
            contradictions: counter(
                "hookline_job_contradictions_total",
                "Jobs with both ends (outcome), times against their order (order), or charged though errored (charged)",
                &["kind"],
            )?,
            remembered: register(
                registry,
                IntGauge::new("hookline_processor_remembered_jobs", "Jobs that will not be counted again")?,
            )?,
            forgotten: register(
                registry,
                IntCounter::new(
                    "hookline_processor_forgotten_jobs_total",
                    "Jobs forgotten because of counting.remembered_jobs: a late duplicate would count them again",
                )?,
            )?,
            started: BoundedMap::new(remembered_jobs),
            finished: BoundedMap::new(remembered_jobs),
            sources: CappedLabel::new(100),
            job_types: CappedLabel::new(200),
            error_codes: CappedLabel::new(200),
            hashes: RandomState::default(),
            series: HashMap::default(),
        };
        for kind in CONTRADICTIONS {
            business.contradictions.with_label_values(&[kind]);
        }
        Ok(business)
    }

    /// Learns what is in the tables already, whoever put it there. To be called before anything of newly assigned
    /// partitions is inserted, or it would be taken for counted.
    pub async fn reload(&mut self, client: &Client, cancel: &CancellationToken) -> Result<(), Cancelled> {
        let query = format!(
            "SELECT toString(source) AS source, toString(resource) AS resource, job_id, \
             toUnixTimestamp64Milli(started_at) AS started_ms, completed_at IS NOT NULL AS completed, \
             errored_at IS NOT NULL AS errored FROM jobs \
             WHERE last_received_at >= now64(3) - INTERVAL {RELOADED} \
             AND created_hour >= now() - INTERVAL {RELOADED} - INTERVAL {MAX_JOB_AGE}"
        );
        let learned = until_cancelled(
            cancel,
            async || self.learn(client, &query).await,
            |error| {
                let retry = Cause::from(error).remedy(Operation::Read) == Remedy::Retry;
                if retry {
                    tracing::warn!(%error, "finished jobs could not be read, trying again");
                }
                retry
            },
        );
        if let Err(error) = learned.await? {
            tracing::error!(%error, "finished jobs could not be read: some may be counted twice");
        }
        Ok(())
    }

    async fn learn(&mut self, client: &Client, query: &str) -> clickhouse::error::Result<()> {
        let mut rows = client.query(query).fetch::<JobsRow>()?;
        while let Some(row) = rows.next().await? {
            let job = self.job(&row.source, &row.resource, &row.job_id);
            let ends = TerminalEvents { completed: row.completed != 0, errored: row.errored != 0 };
            if ends.completed || ends.errored {
                self.remember(job, ends);
            } else if let Some(started) = row.started_ms {
                self.start(job, OccurredAt(started));
            }
        }
        self.remembered.set(i64::try_from(self.finished.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Counts what a batch finished; its rows are in the tables.
    pub fn count<'r, 'b: 'r>(&mut self, jobs: impl Iterator<Item = &'r JobRow<'b>>) {
        for job in jobs {
            let id = self.job(job.key.source, job.key.resource.as_str(), job.key.job_id.as_str());
            let facts = &job.facts;
            let ends = TerminalEvents { completed: facts.completed_at.is_some(), errored: facts.errored_at.is_some() };
            if ends.completed || ends.errored {
                let started = self.started.remove(&id);
                match self.remember(id, ends) {
                    None => self.finish(job.key.source, job.key.resource, facts, started),
                    Some(before) if before.both() => {}
                    Some(before) if before.and(ends).both() => self.contradicts("outcome"),
                    Some(_) => {}
                }
            } else if let Some(started) = facts.started_at {
                self.start(id, started);
            }
        }
        self.remembered.set(i64::try_from(self.finished.len()).unwrap_or(i64::MAX));
    }

    fn start(&mut self, job: JobHash, at: OccurredAt) {
        if self.finished.get(&job).is_none() {
            let earliest = self.started.get(&job).map_or(at, |known| at.min(*known));
            self.started.insert(job, earliest);
        }
    }

    /// Remembers the ends and returns those that were known before.
    fn remember(&mut self, job: JobHash, ends: TerminalEvents) -> Option<TerminalEvents> {
        let before = self.finished.get(&job).copied();
        let all = before.map_or(ends, |before| before.and(ends));
        if before != Some(all) {
            self.forgotten.inc_by(self.finished.insert(job, all) as u64);
        }
        before
    }

    fn finish(&mut self, source: &str, resource: Resource, facts: &Facts<'_>, started: Option<OccurredAt>) {
        let derived = Derived::from(&Facts {
            started_at: started.into_iter().chain(facts.started_at).min(),
            job_type: facts.job_type.as_ref().into(),
            error: facts.error.as_ref().into(),
            ..*facts
        });
        let error_code = match derived.outcome {
            Outcome::Errored => facts.error.split('\0').next().unwrap_or_default(),
            Outcome::Completed | Outcome::Open => "",
        };
        let key = self.hashes.hash_one((source, resource, &*facts.job_type, derived.outcome, error_code));
        match self.series.get(&key) {
            Some(series) => series.count(&derived),
            None => {
                let labels = [
                    self.sources.label(source),
                    self.job_types.label(&facts.job_type),
                    self.error_codes.label(error_code),
                ];
                let series = self.series_of(labels, resource, derived.outcome);
                series.count(&derived);
                // What is beyond a cap has no end, so it is not kept.
                if labels == [source, &*facts.job_type, error_code] {
                    self.series.insert(key, series);
                }
            }
        }
        let contradicts = [derived.contradicts_outcome, derived.contradicts_order, derived.contradicts_charged];
        for (kind, contradicts) in CONTRADICTIONS.into_iter().zip(contradicts) {
            if contradicts {
                self.contradicts(kind);
            }
        }
    }

    fn series_of(&self, [source, job_type, error_code]: [&str; 3], resource: Resource, outcome: Outcome) -> Series {
        let (resource, outcome) = (resource.as_str(), outcome.as_str());
        let durations = |histogram: &HistogramVec| histogram.with_label_values(&[source, resource, outcome]);
        Series {
            finished: self.finished_total.with_label_values(&[source, resource, job_type, outcome, error_code]),
            total: durations(&self.total_seconds),
            run: durations(&self.run_seconds),
            queue: durations(&self.queue_seconds),
        }
    }

    fn job(&self, source: &str, resource: &str, job_id: &str) -> JobHash {
        JobHash(self.hashes.hash_one((source, resource, job_id)))
    }

    /// Makes a series of each metric, for the test that pins their names.
    #[cfg(test)]
    pub(crate) fn touch(&self) {
        self.series_of(["prod", "LIP_SYNC", ""], Resource::Video, Outcome::Completed);
    }

    fn contradicts(&self, kind: &str) {
        self.contradictions.with_label_values(&[kind]).inc();
    }
}

impl Series {
    fn count(&self, job: &Derived) {
        self.finished.inc();
        for (histogram, milliseconds) in
            [(&self.total, job.total_ms), (&self.run, job.run_ms), (&self.queue, job.queue_ms)]
        {
            if let Some(milliseconds) = milliseconds {
                histogram.observe(milliseconds as f64 / 1000.0);
            }
        }
    }
}

impl TerminalEvents {
    const fn and(self, other: Self) -> Self {
        Self { completed: self.completed || other.completed, errored: self.errored || other.errored }
    }

    const fn both(self) -> bool {
        self.completed && self.errored
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::JobId;
    use hookline_schemas::time::CreatedAt;

    use super::*;
    use crate::batch::fold::JobKey;

    const CREATED: i64 = 1_793_491_200_000;

    fn job_metrics(registry: &Registry) -> JobMetrics {
        JobMetrics::new(registry, 1_000).unwrap()
    }

    /// What a batch says of job `id`: seconds after its creation.
    fn said(id: &'static str, started: Option<i64>, completed: Option<i64>, errored: Option<i64>) -> JobRow<'static> {
        let at = |seconds: Option<i64>| seconds.map(|seconds| OccurredAt(CREATED + seconds * 1000));
        JobRow {
            key: JobKey {
                source: "prod",
                resource: Resource::Video,
                created_hour: CreatedAt(CREATED).hour(),
                job_id: JobId::new(id).unwrap(),
            },
            facts: Facts {
                created_at: CreatedAt(CREATED),
                job_type: "LIP_SYNC".into(),
                started_at: at(started),
                completed_at: at(completed),
                errored_at: at(errored),
                error: if errored.is_some() { "no_source_face\0why".into() } else { "".into() },
                ..Facts::default()
            },
        }
    }

    fn finished(job_metrics: &JobMetrics, outcome: &str, code: &str) -> u64 {
        job_metrics.finished_total.with_label_values(&["prod", "video", "LIP_SYNC", outcome, code]).get()
    }

    #[test]
    fn a_job_is_counted_once_with_what_earlier_batches_said() {
        let mut job_metrics = job_metrics(&Registry::new());
        job_metrics.count([said("j1", Some(2), None, None)].iter());
        for _ in 0..3 {
            job_metrics.count([said("j1", None, Some(10), None)].iter());
        }
        job_metrics.count([said("j2", None, None, Some(5))].iter());
        job_metrics.count([said("j2", Some(1), None, None)].iter());
        assert_eq!(finished(&job_metrics, "completed", ""), 1);
        assert_eq!(finished(&job_metrics, "errored", "no_source_face"), 1);
        let labels = ["prod", "video", "completed"];
        for (histogram, seconds) in
            [(&job_metrics.total_seconds, 10.0), (&job_metrics.run_seconds, 8.0), (&job_metrics.queue_seconds, 2.0)]
        {
            let histogram = histogram.with_label_values(&labels);
            assert_eq!((histogram.get_sample_count(), histogram.get_sample_sum()), (1, seconds));
        }
        let errored = job_metrics.run_seconds.with_label_values(&["prod", "video", "errored"]);
        assert_eq!(errored.get_sample_count(), 0, "its start came after its end");
        assert_eq!(job_metrics.started.len(), 0, "nothing is kept of the start of a job that ended");
    }

    #[test]
    fn contradictions_are_counted_once_and_give_no_duration() {
        let mut job_metrics = job_metrics(&Registry::new());
        job_metrics.count([said("j1", None, None, Some(5))].iter());
        for _ in 0..2 {
            job_metrics.count([said("j1", None, Some(9), None)].iter());
        }
        job_metrics.count([said("j2", Some(7), Some(3), None)].iter());
        let count = |kind: &str| job_metrics.contradictions.with_label_values(&[kind]).get();
        assert_eq!((count("outcome"), count("order"), count("charged")), (1, 1, 0));
        assert_eq!(job_metrics.run_seconds.with_label_values(&["prod", "video", "completed"]).get_sample_count(), 0);
    }

    #[test]
    fn what_does_not_fit_is_forgotten_and_said_so() {
        let mut job_metrics = JobMetrics::new(&Registry::new(), 2).unwrap();
        for id in ["a", "b", "c", "d"] {
            job_metrics.count([said(id, None, Some(9), None)].iter());
        }
        assert!(job_metrics.remembered.get() <= 2 && job_metrics.forgotten.get() > 0);
    }
}
