//! Metrics of the processor itself. Those about jobs are in [`jobs`] and never mixed with these.

mod counted_jobs;
pub mod jobs;
mod label_cap;
pub mod partitions;
pub mod stages;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::topics::{Topic, Topics};
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::clickhouse::columns::Table;
use crate::clickhouse::error::Cause;
use crate::metrics::partitions::Partitions;
use crate::metrics::stages::Stages;

/// The label `mode`: whether records come from the consumer group or from a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Mode {
    Live,
    Replay,
}

#[derive(Clone, Debug)]
pub struct Metrics {
    topics: Topics,
    consumed: IntCounterVec,
    pub decoded: IntCounter,
    pub invalid_fields: IntCounter,
    pub inserted: IntCounterVec,
    pub insert_retries: IntCounterVec,
    pub dead_lettered: IntCounterVec,
    pub batch_records: Histogram,
    pub batch_seconds: Histogram,
    pub end_to_end_latency_seconds: Histogram,
    pub refreshes: IntCounterVec,
    pub refreshed_hours: IntCounter,
    pub refresh_seconds: Histogram,
    pub partitions: Partitions,
    commits: IntCounterVec,
    pub records_expired: IntCounterVec,
    pub expired_unacknowledged: IntGauge,
    pub rebalances: IntCounterVec,
    pub consumer_restarts: IntCounterVec,
    pub stages: Stages,
}

impl Metrics {
    pub fn new(registry: &Registry, mode: Mode, topics: &Topics) -> prometheus::Result<Self> {
        let options = |name: &str, help: &str| {
            Opts::new(format!("hookline_processor_{name}"), help).const_label("mode", <&str>::from(mode))
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(options(name, help), labels)?)
        };
        let one = |name: &str, help: &str| register(registry, IntCounter::with_opts(options(name, help))?);
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts { common_opts: options(name, help), buckets: buckets.to_vec() };
            register(registry, Histogram::with_opts(options)?)
        };
        let stages =
            Stages::new(options("stage_seconds_total", "Time that each stage took, with the one that is under way"))?;
        let seconds = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
        let latencies = [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0];
        let metrics = Self {
            topics: topics.clone(),
            consumed: counter("records_consumed_total", "Records read from the topics", &["topic"])?,
            decoded: one("records_decoded_total", "Records of resource topics that were decoded and folded")?,
            invalid_fields: one(
                "invalid_fields_total",
                "Optional fields whose value had a wrong type and was read as absent, or whose text had half of a surrogate pair, read as U+FFFD",
            )?,
            inserted: counter("rows_inserted_total", "Rows that ClickHouse accepted", &["table"])?,
            insert_retries: counter(
                "insert_retries_total",
                "Inserts that failed and were sent again, whole or in halves",
                &["table", "cause"],
            )?,
            dead_lettered: counter(
                "records_dead_lettered_total",
                "Records that were sent to the dead-letter topic",
                &["reason"],
            )?,
            batch_records: histogram(
                "batch_records",
                "Number of records in a batch",
                &[1.0, 10.0, 100.0, 1e3, 3e3, 1e4, 3e4, 1e5],
            )?,
            batch_seconds: histogram("batch_seconds", "Time it took to fold and insert a batch", &seconds)?,
            end_to_end_latency_seconds: histogram(
                "end_to_end_latency_seconds",
                "Delay from signing to the row being in ClickHouse, for the oldest record of each batch",
                &latencies,
            )?,
            refreshes: counter("refreshes_total", "Refreshes of the roll-up, by their result", &["result"])?,
            refreshed_hours: one(
                "created_hour_refreshes_total",
                "Created hours whose roll-up was refreshed, each counted as often as that happened",
            )?,
            refresh_seconds: histogram("refresh_seconds", "Time it took to refresh the roll-up", &seconds)?,
            partitions: register(registry, Partitions::new(topics)?)?,
            commits: counter("commits_total", "Commits of offsets, by what the brokers answered", &["result"])?,
            records_expired: counter(
                "records_expired_total",
                "Records of an assigned partition that were removed from the topic before they were read",
                &["topic", "partition"],
            )?,
            expired_unacknowledged: register(
                registry,
                IntGauge::new(
                    "hookline_processor_records_expired_unacknowledged",
                    "Records that expired before any processor read them, until `hookline-processor acknowledge`",
                )?,
            )?,
            rebalances: counter("rebalances_total", "Assignments and revocations of partitions", &["kind"])?,
            consumer_restarts: counter(
                "consumer_restarts_total",
                "Consumers that were closed and created again, by the cause",
                &["cause"],
            )?,
            stages: register(registry, stages)?,
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Makes every series whose labels are known, so that what never happened is a zero on the page and not a name that is
    /// missing there. Those of partitions come with their assignment.
    fn begin_at_zero(&self) {
        for topic in Topic::ALL {
            self.consumed_of(topic);
        }
        for table in Table::ALL {
            self.inserted.with_label_values(&[table.as_str()]);
            for cause in Cause::NAMES {
                self.insert_retries.with_label_values(&[table.as_str(), cause]);
            }
        }
        for reason in [DeadLetterReason::InsertRefused, DeadLetterReason::BadRecord] {
            self.dead_lettered.with_label_values(&[reason.as_str()]);
        }
        let restarts: &[&str] = &["fatal", "watchdog", "log_changed", "committed_offsets"];
        for (family, labels) in [
            (&self.refreshes, &["ok", "failed"][..]),
            (&self.commits, &["ok", "failed"]),
            (&self.rebalances, &["assign", "revoke"]),
            (&self.consumer_restarts, restarts),
        ] {
            for label in labels {
                family.with_label_values(&[label]);
            }
        }
    }

    /// Counts a commit by what the brokers answered.
    pub fn committed(&self, succeeded: bool) {
        self.commits.with_label_values(&[if succeeded { "ok" } else { "failed" }]).inc();
    }

    /// The counter of records of a topic; callers keep it, so that labels are looked up once.
    pub fn consumed_of(&self, topic: Topic) -> IntCounter {
        self.consumed.with_label_values(&[topic.name(&self.topics)])
    }
}

/// Registers a collector and returns it.
pub fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use hookline_schemas::topics::Partition;
    use hookline_service::admin::{Admin, Readiness};
    use hookline_service::kafka::errors;
    use hookline_testkit::docs::assert_section;
    use hookline_testkit::metrics_table;
    use prometheus::proto::MetricFamily;

    use super::*;
    use crate::config::CountingConfig;
    use crate::metrics::jobs::JobMetrics;
    use crate::metrics::partitions::Lag;

    /// Every family of the processor, with at least one series.
    fn families() -> Vec<MetricFamily> {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, Mode::Live, &Topics::new("h").unwrap()).unwrap();
        JobMetrics::new(&registry, &CountingConfig::default()).unwrap().touch();
        metrics.partitions.set_lag((Topic::DeadLetter, Partition(0)), Lag::NONE);
        metrics.records_expired.with_label_values(&["t", "0"]);
        registry.gather()
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        assert_section("metrics.md", "processor", &metrics_table(&families()));
        let every_program = Admin::new(Readiness::waiting_for(&["kafka"]), &[("fold_version", "0".into())]).unwrap();
        errors::register(&every_program.registry, &["consumer"]).unwrap();
        assert_section("metrics.md", "every program", &metrics_table(&every_program.registry.gather()));
    }

    #[test]
    fn names_labels_and_types_are_pinned() {
        let families: Vec<_> = families()
            .iter()
            .map(|family| {
                let labels: Vec<_> =
                    family.get_metric()[0].get_label().iter().map(|label| label.name().to_owned()).collect();
                format!("{} {:?} {}", family.name(), family.get_field_type(), labels.join(","))
            })
            .collect();
        assert_eq!(
            families,
            [
                "hookline_job_contradictions_total COUNTER kind",
                "hookline_job_queue_seconds HISTOGRAM job_type,outcome,resource,source",
                "hookline_job_run_seconds HISTOGRAM job_type,outcome,resource,source",
                "hookline_job_total_seconds HISTOGRAM job_type,outcome,resource,source",
                "hookline_jobs_finished_total COUNTER error_code,job_type,outcome,resource,source",
                "hookline_processor_batch_records HISTOGRAM mode",
                "hookline_processor_batch_seconds HISTOGRAM mode",
                "hookline_processor_commits_total COUNTER mode,result",
                "hookline_processor_consumer_restarts_total COUNTER cause,mode",
                "hookline_processor_counted_jobs_entries GAUGE ",
                "hookline_processor_counted_jobs_evictions_total COUNTER ",
                "hookline_processor_counted_jobs_reloads_total COUNTER result",
                "hookline_processor_created_hour_refreshes_total COUNTER mode",
                "hookline_processor_end_to_end_latency_seconds HISTOGRAM mode",
                "hookline_processor_insert_retries_total COUNTER cause,mode,table",
                "hookline_processor_invalid_fields_total COUNTER mode",
                "hookline_processor_lag_records GAUGE partition,topic",
                "hookline_processor_lag_seconds GAUGE partition,topic",
                "hookline_processor_partition_stopped GAUGE partition,topic",
                "hookline_processor_rebalances_total COUNTER kind,mode",
                "hookline_processor_records_consumed_total COUNTER mode,topic",
                "hookline_processor_records_dead_lettered_total COUNTER mode,reason",
                "hookline_processor_records_decoded_total COUNTER mode",
                "hookline_processor_records_expired_total COUNTER mode,partition,topic",
                "hookline_processor_records_expired_unacknowledged GAUGE ",
                "hookline_processor_refresh_seconds HISTOGRAM mode",
                "hookline_processor_refreshes_total COUNTER mode,result",
                "hookline_processor_rows_inserted_total COUNTER mode,table",
                "hookline_processor_stage_seconds_total COUNTER mode,stage",
            ]
        );
    }
}
