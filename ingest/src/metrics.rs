//! The metrics, by name. Children with labels are made once, outside the hot path.

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::signature::VerifyError;
use hookline_schemas::topics::Topics;
use http::StatusCode;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result,
    exponential_buckets,
};

use crate::http::response::{Answer, Unavailable};
use crate::http::timeouts::Phase;
use crate::sources::SourceKeys;

/// Seconds: −1 h to 1 day, densest around 0 and the tolerance.
const SKEW_BUCKETS: [f64; 15] =
    [-3600.0, -300.0, -60.0, -10.0, -2.0, 0.0, 1.0, 2.0, 5.0, 10.0, 60.0, 300.0, 3600.0, 21600.0, 86400.0];

/// Why an authentic request is refused as stale.
const STALE: [&str; 2] = ["stale_past", "stale_future"];

/// Every metric of ingest.
#[derive(Clone, Debug)]
pub struct Metrics {
    verified: IntCounterVec,
    rejected: IntCounterVec,
    dead_letters: IntCounterVec,
    skew: HistogramVec,
    answers: Vec<(StatusCode, IntCounter)>,
    unavailable: Vec<(Unavailable, IntCounter)>,
    produced: IntCounterVec,
    /// From the head of a request to its answer.
    pub seconds: Histogram,
    /// Open connections.
    pub connections: IntGauge,
    /// Connections turned away because there were too many.
    pub connections_refused: IntCounter,
    closed: IntCounterVec,
    /// Requests between their body and their answer.
    pub in_flight: IntGauge,
    /// Bytes of bodies.
    pub queued_bytes: IntGauge,
    /// Producers made anew after a fatal error.
    pub producers_recreated: IntCounter,
    reloads: IntCounterVec,
    /// Entries of the bounded maps.
    remembered: prometheus::IntGaugeVec,
    forgotten: IntCounterVec,
}

/// The metrics of a source.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    verified: Vec<IntCounter>,
    refused: Vec<(VerifyError, IntCounter)>,
    stale_past: IntCounter,
    stale_future: IntCounter,
    dead: Vec<(DeadLetterReason, IntCounter)>,
    /// Receive time less signed time, seconds.
    pub skew: Histogram,
}

/// The metrics of a bounded map.
#[derive(Clone, Debug)]
pub struct MapMetrics {
    /// How many keys it remembers.
    pub remembered: IntGauge,
    /// How many it had to forget.
    pub forgotten: IntCounter,
}

impl Metrics {
    /// Registers everything.
    pub fn new(registry: &Registry) -> Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(format!("hookline_ingest_{name}"), help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(format!("hookline_ingest_{name}"), help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let plain = |name: &str, help: &str| {
            let metric = IntCounter::new(format!("hookline_ingest_{name}"), help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let skew = HistogramVec::new(
            HistogramOpts::new(
                "hookline_ingest_clock_skew_seconds",
                "Receive time less signed time of authentic requests.",
            )
            .buckets(SKEW_BUCKETS.into()),
            &["source"],
        )?;
        registry.register(Box::new(skew.clone()))?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new("hookline_ingest_request_seconds", "From the head of a request to its answer.")
                .buckets(exponential_buckets(0.000_5, 2.0, 14)?),
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let remembered = prometheus::IntGaugeVec::new(
            Opts::new("hookline_ingest_remembered_entries", "Entries of the bounded maps."),
            &["map"],
        )?;
        registry.register(Box::new(remembered.clone()))?;
        let answers = counter("answers_total", "Requests by the status of their answer.", &["status"])?;
        let unavailable = counter("unavailable_total", "Answers with 503 by their reason.", &["reason"])?;
        let statuses = [
            Answer::Accepted,
            Answer::DeadLettered,
            Answer::BodyBroken,
            Answer::Unauthorized,
            Answer::NotFound,
            Answer::MethodNotAllowed,
            Answer::BodyTooSlow,
            Answer::BodyTooLarge,
            Answer::Unavailable(Unavailable::Refused),
        ];
        let metrics = Self {
            verified: counter(
                "verified_total",
                "Authentic requests by the secret that verified them.",
                &["source", "key"],
            )?,
            rejected: counter("rejected_total", "Requests answered with 401 by their reason.", &["source", "reason"])?,
            dead_letters: counter("dead_letters_total", "Dead letters stored by their reason.", &["source", "reason"])?,
            skew,
            answers: statuses
                .map(|answer| (answer.status(), answers.with_label_values(&[answer.status().as_str()])))
                .into(),
            unavailable: Unavailable::ALL.map(|why| (why, unavailable.with_label_values(&[why.as_str()]))).into(),
            produced: counter("produced_total", "Records that every in-sync replica has, by topic.", &["topic"])?,
            seconds,
            connections: gauge("connections", "Open connections.")?,
            connections_refused: plain(
                "connections_refused_total",
                "Connections turned away because there were too many.",
            )?,
            closed: counter(
                "connections_timed_out_total",
                "Connections closed because nothing came in time.",
                &["phase"],
            )?,
            in_flight: gauge("requests_in_flight", "Requests between their body and their answer.")?,
            queued_bytes: gauge("queued_bytes", "Bytes of bodies that are being read or wait for the broker.")?,
            producers_recreated: plain("producers_recreated_total", "Producers made anew after a fatal error.")?,
            reloads: counter("secret_reloads_total", "Secrets read again on SIGHUP.", &["result"])?,
            remembered,
            forgotten: counter("forgotten_entries_total", "Entries that the bounded maps had to forget.", &["map"])?,
        };
        // So that what never happened is a zero on the page and not a name that is missing there.
        for phase in [Phase::Idle, Phase::Head, Phase::Busy] {
            metrics.closed_in(phase);
        }
        for succeeded in [true, false] {
            metrics.reloads_that(succeeded);
        }
        Ok(metrics)
    }

    /// The metrics of a source; the same ones after its secrets were read again.
    pub fn of_source(&self, source: &SourceKeys) -> SourceMetrics {
        let name = source.name.as_str();
        let rejected = |reason| self.rejected.with_label_values(&[name, reason]);
        let [stale_past, stale_future] = STALE.map(rejected);
        SourceMetrics {
            verified: source
                .keys
                .iter()
                .map(|key| self.verified.with_label_values(&[name, key.name.as_str()]))
                .collect(),
            refused: VerifyError::ALL.iter().map(|refusal| (*refusal, rejected(refusal.as_str()))).collect(),
            stale_past,
            stale_future,
            dead: DeadLetterReason::ALL
                .iter()
                .copied()
                .filter(|reason| !matches!(reason, DeadLetterReason::InsertRefused | DeadLetterReason::BadRecord))
                .map(|reason| (reason, self.dead_letters.with_label_values(&[name, reason.as_str()])))
                .collect(),
            skew: self.skew.with_label_values(&[name]),
        }
    }

    /// The counters of records by topic, in the order of [`Topics::all`].
    pub fn of_topics(&self, topics: &Topics) -> Vec<(String, IntCounter)> {
        topics.all().map(|topic| (topic.to_owned(), self.produced.with_label_values(&[topic]))).collect()
    }

    /// The metrics of a bounded map.
    pub fn of_map(&self, map: &str) -> MapMetrics {
        MapMetrics {
            remembered: self.remembered.with_label_values(&[map]),
            forgotten: self.forgotten.with_label_values(&[map]),
        }
    }

    /// Counts an answer.
    pub fn answered(&self, answer: Answer) {
        count(&self.answers, &answer.status());
        if let Answer::Unavailable(why) = answer {
            count(&self.unavailable, &why);
        }
    }

    /// Counts a connection that ran out of time.
    pub fn timed_out(&self, phase: Phase) {
        self.closed_in(phase).inc();
    }

    fn closed_in(&self, phase: Phase) -> IntCounter {
        let phase = match phase {
            Phase::Idle => "idle",
            Phase::Head => "head",
            Phase::Busy => "busy",
        };
        self.closed.with_label_values(&[phase])
    }

    /// Counts an attempt to read the secrets again.
    pub fn reloaded(&self, succeeded: bool) {
        self.reloads_that(succeeded).inc();
    }

    fn reloads_that(&self, succeeded: bool) -> IntCounter {
        self.reloads.with_label_values(&[if succeeded { "ok" } else { "failed" }])
    }
}

impl SourceMetrics {
    /// Counts an authentic request by the position of the key that verified it.
    pub fn verified(&self, key: usize) {
        if let Some(counter) = self.verified.get(key) {
            counter.inc();
        }
    }

    /// Counts a request that is not authentic.
    pub fn refused(&self, refusal: VerifyError) {
        count(&self.refused, &refusal);
    }

    /// Counts an authentic request outside the tolerance.
    pub fn stale(&self, age_seconds: i64) {
        if age_seconds > 0 { self.stale_past.inc() } else { self.stale_future.inc() }
    }

    /// Counts a stored dead letter.
    pub fn dead_letter(&self, reason: DeadLetterReason) {
        count(&self.dead, &reason);
    }
}

/// Counts under one of a handful of labels.
pub fn count<K: PartialEq<Q>, Q: ?Sized>(counters: &[(K, IntCounter)], label: &Q) {
    if let Some((_, counter)) = counters.iter().find(|(key, _)| key == label) {
        counter.inc();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sources::Sources;

    #[test]
    fn names_and_labels_are_pinned() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let sources = Sources::read(&BTreeMap::new(), |_| Some("prod".into())).unwrap();
        metrics.of_source(sources.get("prod").unwrap());
        metrics.of_topics(&Topics::new("h").unwrap());
        metrics.of_map("m");
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
                "hookline_ingest_answers_total COUNTER status",
                "hookline_ingest_clock_skew_seconds HISTOGRAM source",
                "hookline_ingest_connections GAUGE ",
                "hookline_ingest_connections_refused_total COUNTER ",
                "hookline_ingest_connections_timed_out_total COUNTER phase",
                "hookline_ingest_dead_letters_total COUNTER reason,source",
                "hookline_ingest_forgotten_entries_total COUNTER map",
                "hookline_ingest_produced_total COUNTER topic",
                "hookline_ingest_producers_recreated_total COUNTER ",
                "hookline_ingest_queued_bytes GAUGE ",
                "hookline_ingest_rejected_total COUNTER reason,source",
                "hookline_ingest_remembered_entries GAUGE map",
                "hookline_ingest_request_seconds HISTOGRAM ",
                "hookline_ingest_requests_in_flight GAUGE ",
                "hookline_ingest_secret_reloads_total COUNTER result",
                "hookline_ingest_unavailable_total COUNTER reason",
                "hookline_ingest_verified_total COUNTER key,source",
            ]
        );
    }
}
