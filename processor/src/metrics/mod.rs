//! Operational metrics: what the machinery does. Numbers about jobs are in [`crate::metrics::jobs`] and never mixed with these.

pub mod jobs;
mod label_cap;

use hookline_schemas::dead_letter::DeadLetterReason;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::clickhouse::columns::Table;
use crate::clickhouse::error::Cause;
use hookline_schemas::topics::Topic;

/// Whether records come from the group or from a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The consumer group.
    Live,
    /// A range read again.
    Replay,
}

impl Mode {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Replay => "replay",
        }
    }
}

/// All of them.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "their help texts say it")]
pub struct Metrics {
    pub consumed: IntCounterVec,
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
    pub lag_records: IntGaugeVec,
    pub lag_seconds: IntGaugeVec,
    pub partition_stopped: IntGaugeVec,
    pub rebalances: IntCounterVec,
    pub consumer_restarts: IntCounterVec,
    mode: Mode,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry, mode: Mode) -> prometheus::Result<Self> {
        let name = |name: &str| format!("hookline_processor_{name}");
        let counter = |text: &str, help: &str, labels: &[&str]| {
            register(
                registry,
                IntCounterVec::new(Opts::new(name(text), help).const_label("mode", mode.as_str()), labels)?,
            )
        };
        let one = |text: &str, help: &str| {
            register(registry, IntCounter::with_opts(Opts::new(name(text), help).const_label("mode", mode.as_str()))?)
        };
        let gauge = |text: &str, help: &str| {
            register(registry, IntGaugeVec::new(Opts::new(name(text), help), &["topic", "partition"])?)
        };
        let histogram = |text: &str, help: &str, buckets: &[f64]| {
            let options =
                HistogramOpts::new(name(text), help).const_label("mode", mode.as_str()).buckets(buckets.to_vec());
            register(registry, Histogram::with_opts(options)?)
        };
        let seconds = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
        let waits = [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0];
        let metrics = Self {
            consumed: counter("records_consumed_total", "Records read from the topics", &["topic"])?,
            decoded: one("records_decoded_total", "Records of resource topics that gave facts")?,
            invalid_fields: one("invalid_fields_total", "Optional fields of a wrong type, counted as absent")?,
            inserted: counter("rows_inserted_total", "Rows that ClickHouse took", &["table"])?,
            insert_retries: counter(
                "insert_retries_total",
                "Inserts to be sent again, whole or in halves",
                &["table", "cause"],
            )?,
            dead_lettered: counter(
                "records_dead_lettered_total",
                "Records sent to the dead-letter topic",
                &["reason"],
            )?,
            batch_records: histogram(
                "batch_records",
                "Records in a batch",
                &[1.0, 10.0, 100.0, 1e3, 3e3, 1e4, 3e4, 1e5],
            )?,
            batch_seconds: histogram("batch_seconds", "Time to fold and insert a batch", &seconds)?,
            end_to_end_latency_seconds: histogram(
                "end_to_end_latency_seconds",
                "From the signed second to the row in ClickHouse, the oldest of a batch",
                &waits,
            )?,
            refreshes: counter("refreshes_total", "Refreshes of the roll-up", &["result"])?,
            refreshed_hours: one("refreshed_hours_total", "Created hours that were refreshed")?,
            refresh_seconds: histogram("refresh_seconds", "Time to refresh the roll-up", &seconds)?,
            lag_records: gauge("lag_records", "End of the partition less the committed offset")?,
            lag_seconds: gauge("lag_seconds", "Age of the last record inserted, 0 where nothing is left to read")?,
            partition_stopped: gauge(
                "partition_stopped",
                "1 = stopped: not even a without_payload dead letter could be inserted",
            )?,
            rebalances: counter("rebalances_total", "Assignments and revocations", &["kind"])?,
            consumer_restarts: counter("consumer_restarts_total", "Consumers made anew", &["cause"])?,
            mode,
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
        for (family, labels) in [
            (&self.refreshes, ["ok", "failed"]),
            (&self.rebalances, ["assign", "revoke"]),
            (&self.consumer_restarts, ["fatal", "watchdog"]),
        ] {
            for label in labels {
                family.with_label_values(&[label]);
            }
        }
    }

    /// Live or replay.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The counter of records of a topic; to be kept.
    pub fn consumed_of(&self, topic: Topic) -> IntCounter {
        self.consumed.with_label_values(&[topic.as_str()])
    }
}

/// Registers a collector and hands it back.
pub fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::jobs::JobMetrics;

    #[test]
    fn names_labels_and_types_are_pinned() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, Mode::Live).unwrap();
        JobMetrics::new(&registry, 10).unwrap().touch();
        for of_partition in [&metrics.lag_records, &metrics.lag_seconds, &metrics.partition_stopped] {
            of_partition.with_label_values(&["t", "0"]);
        }
        let families: Vec<_> = registry
            .gather()
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
                "hookline_job_queue_seconds HISTOGRAM outcome,resource,source",
                "hookline_job_run_seconds HISTOGRAM outcome,resource,source",
                "hookline_job_total_seconds HISTOGRAM outcome,resource,source",
                "hookline_jobs_finished_total COUNTER error_code,job_type,outcome,resource,source",
                "hookline_processor_batch_records HISTOGRAM mode",
                "hookline_processor_batch_seconds HISTOGRAM mode",
                "hookline_processor_consumer_restarts_total COUNTER cause,mode",
                "hookline_processor_forgotten_jobs_total COUNTER ",
                "hookline_processor_insert_retries_total COUNTER cause,mode,table",
                "hookline_processor_lag_records GAUGE partition,topic",
                "hookline_processor_lag_seconds GAUGE partition,topic",
                "hookline_processor_partition_stopped GAUGE partition,topic",
                "hookline_processor_rebalances_total COUNTER kind,mode",
                "hookline_processor_records_consumed_total COUNTER mode,topic",
                "hookline_processor_records_dead_lettered_total COUNTER mode,reason",
                "hookline_processor_records_decoded_total COUNTER mode",
                "hookline_processor_refresh_seconds HISTOGRAM mode",
                "hookline_processor_refreshed_hours_total COUNTER mode",
                "hookline_processor_refreshes_total COUNTER mode,result",
                "hookline_processor_remembered_jobs GAUGE ",
                "hookline_processor_rows_inserted_total COUNTER mode,table",
                "hookline_processor_visible_seconds HISTOGRAM mode",
                "hookline_processor_wrong_types_total COUNTER mode",
            ]
        );
    }
}
