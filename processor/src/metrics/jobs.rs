//! What became of jobs. A job is counted after its row is inserted, at its first terminal event, and never again:
//! [`CountedJobs`] knows which jobs were counted, by this process or by another of the group.
//!
//! These metrics are for alerting within minutes. A batch whose insert into `jobs` is cut short, by SIGKILL or because its
//! partitions are revoked, loses its counts, and a job whose `started` comes after its end has no run and queue duration
//! here; the tables are exact.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;
use hookline_schemas::facts::Facts;
use hookline_schemas::ids::Resource;
use hookline_schemas::outcome::{Derived, Outcome};
use hookline_schemas::time::OccurredAt;
use hookline_service::shutdown::CancellationToken;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use crate::batch::fold::JobRow;
use crate::clickhouse::inserter::ClickHouse;
use crate::config::CountingConfig;
pub use crate::metrics::counted_jobs::TerminalEvents;
use crate::metrics::counted_jobs::{CountedJobs, IdentityState};
use crate::metrics::label_cap::CappedLabel;
use crate::metrics::register;

/// Upper bounds in seconds: the provider's medians lie between 3 s and 13 min.
const BUCKETS: [f64; 17] =
    [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0, 144.0, 233.0, 377.0, 610.0, 1_000.0, 1_800.0, 3_600.0];

/// The ways in which what is said of a job does not fit together.
const CONTRADICTIONS: [&str; 3] = ["outcome", "order", "charged"];

/// Counts finished jobs and observes their durations.
#[derive(Clone, Debug)]
pub struct JobMetrics {
    finished_total: IntCounterVec,
    total_seconds: HistogramVec,
    run_seconds: HistogramVec,
    queue_seconds: HistogramVec,
    contradictions: IntCounterVec,
    counted: CountedJobs,
    sources: CappedLabel,
    job_types: CappedLabel,
    error_codes: CappedLabel,
    hashes: RandomState,
    /// By the hash of what an event says, so that labels are looked up once.
    series: HashMap<u64, Series, IdentityState>,
}

/// The series of one set of labels.
#[derive(Clone, Debug)]
struct Series {
    finished: IntCounter,
    total: Histogram,
    run: Histogram,
    queue: Histogram,
}

impl JobMetrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry, config: &CountingConfig) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let histogram = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.into());
            register(registry, HistogramVec::new(options, &["source", "resource", "job_type", "outcome"])?)
        };
        let metrics = Self {
            finished_total: counter(
                "hookline_jobs_finished_total",
                "Jobs that finished, each counted at its first terminal event",
                &["source", "resource", "job_type", "outcome", "error_code"],
            )?,
            total_seconds: histogram("hookline_job_total_seconds", "Time from the creation to the end of a job")?,
            run_seconds: histogram("hookline_job_run_seconds", "Time from the start to the end of a job")?,
            queue_seconds: histogram(
                "hookline_job_queue_seconds",
                "Time from the creation to the start of a job, observed at its end",
            )?,
            contradictions: counter(
                "hookline_job_contradictions_total",
                "Finished jobs whose events contradict each other: both ends were seen (outcome), times are against their \
                 order (order), or credits were charged though the job errored (charged)",
                &["kind"],
            )?,
            counted: CountedJobs::new(registry, config)?,
            sources: CappedLabel::new(100),
            job_types: CappedLabel::new(50),
            error_codes: CappedLabel::new(200),
            hashes: RandomState::default(),
            series: HashMap::default(),
        };
        for kind in CONTRADICTIONS {
            metrics.contradictions.with_label_values(&[kind]);
        }
        Ok(metrics)
    }

    /// Reads from the tables which jobs another process counted; see [`CountedJobs::reload`].
    pub async fn reload(&mut self, clickhouse: &ClickHouse, cancel: &CancellationToken, shutdown: &CancellationToken) {
        self.counted.reload(clickhouse, cancel, shutdown).await;
    }

    /// Counts the jobs that a batch finished; their rows are in `jobs`.
    pub fn count<'r, 'b: 'r>(&mut self, jobs: impl Iterator<Item = &'r JobRow<'b>>) {
        for job in jobs {
            let id = self.counted.id(job.key.source, job.key.resource.as_str(), job.key.job_id.as_str());
            let facts = &job.facts;
            let ends = TerminalEvents::of(facts);
            if ends.any() {
                let started = self.counted.take_started(id);
                match self.counted.insert_finished(id, ends) {
                    None => self.finish(job.key.source, job.key.resource, facts, started),
                    Some(before) if !before.both() && before.union(ends).both() => self.contradicts("outcome"),
                    Some(_) => {}
                }
            } else if let Some(started) = facts.started_at {
                self.counted.insert_started(id, started);
            }
        }
        self.counted.update_metrics();
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
                // Values beyond a cap are endless, so their series are not kept.
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
        let durations = |histogram: &HistogramVec| histogram.with_label_values(&[source, resource, job_type, outcome]);
        Series {
            finished: self.finished_total.with_label_values(&[source, resource, job_type, outcome, error_code]),
            total: durations(&self.total_seconds),
            run: durations(&self.run_seconds),
            queue: durations(&self.queue_seconds),
        }
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

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::JobId;
    use hookline_schemas::time::CreatedAt;

    use super::*;
    use crate::batch::fold::JobKey;

    const CREATED: i64 = 1_793_491_200_000;

    fn job_metrics(registry: &Registry) -> JobMetrics {
        JobMetrics::new(registry, &CountingConfig::default()).unwrap()
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
        let labels = ["prod", "video", "LIP_SYNC", "completed"];
        for (histogram, seconds) in
            [(&job_metrics.total_seconds, 10.0), (&job_metrics.run_seconds, 8.0), (&job_metrics.queue_seconds, 2.0)]
        {
            let histogram = histogram.with_label_values(&labels);
            assert_eq!((histogram.get_sample_count(), histogram.get_sample_sum()), (1, seconds));
        }
        let errored = job_metrics.run_seconds.with_label_values(&["prod", "video", "LIP_SYNC", "errored"]);
        assert_eq!(errored.get_sample_count(), 0, "its start came after its end");
        let j2 = job_metrics.counted.id("prod", "video", "j2");
        assert_eq!(job_metrics.counted.take_started(j2), None, "nothing is kept of the start of a job that ended");
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
        assert_eq!(
            job_metrics.run_seconds.with_label_values(&["prod", "video", "LIP_SYNC", "completed"]).get_sample_count(),
            0
        );
    }

    #[test]
    fn beyond_fifty_job_types_the_durations_of_others_are_added_up() {
        let registry = Registry::new();
        let mut job_metrics = job_metrics(&registry);
        for number in 0..60 {
            let id: &'static str = format!("j{number}").leak();
            let mut job = said(id, None, Some(10), None);
            job.facts.job_type = format!("TYPE_{number}").into();
            job_metrics.count([job].iter());
        }
        let families = registry.gather();
        let total = families.iter().find(|family| family.name() == "hookline_job_total_seconds").unwrap();
        assert_eq!(total.get_metric().len(), 51);
        let other = job_metrics.total_seconds.with_label_values(&["prod", "video", "other", "completed"]);
        assert_eq!(other.get_sample_count(), 10);
    }
}
