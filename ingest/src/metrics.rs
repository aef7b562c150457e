//! The metrics of ingest. Series are made at the start or when secrets are reloaded: so what never happened is a zero
//! on the page rather than a name that is missing there, and a request looks up no label.

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::ids::KeyName;
use hookline_schemas::signature::VerifyError;
use hookline_schemas::topics::Topics;
use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    Result, exponential_buckets,
};

use crate::http::response::{Unavailable, WebhookResponse};
use crate::http::timeouts::Phase;
use hookline_sources::SourceKeys;

/// Seconds up to 1 day, densest around 0 and the tolerance.
const SKEW_BUCKETS: [f64; 10] = [0.0, 1.0, 2.0, 5.0, 10.0, 60.0, 300.0, 3600.0, 21600.0, 86400.0];
/// The label `direction` of the skew: a sum that grows and shrinks would be no counter, so what was signed in the future by our
/// clock has a histogram of its own.
const DIRECTIONS: [&str; 2] = ["past", "future"];

const HELP_UNAVAILABLE: &str =
    "Requests answered 503, by the reason why nothing was stored, and by Kafka's code where it refused the record";

/// Reasons of `rejected_total` beside those of [`VerifyError`].
const STALE: [&str; 2] = ["stale_past", "stale_future"];

#[derive(Clone, Debug)]
pub struct Metrics {
    verified: IntCounterVec,
    rejected: IntCounterVec,
    dead_letters: IntCounterVec,
    skew: HistogramVec,
    responses: Vec<(StatusCode, IntCounter)>,
    unavailable: Vec<(Unavailable, IntCounter)>,
    produced: IntCounterVec,
    pub seconds: Histogram,
    pub stages: Stages,
    pub connections: IntGauge,
    pub connections_refused: IntCounter,
    pub connections_evicted: IntCounter,
    timed_out: [(Phase, IntCounter); 3],
    pub in_flight: IntGauge,
    pub queued_bytes: IntGauge,
    pub producers_recreated: IntCounter,
    reloads: [(bool, IntCounter); 2],
    pub first_signed_times: MapMetrics,
    pub stale_signatures: MapMetrics,
}

/// Seconds that requests spent, all of them together, so that more than a second may pass in a second.
#[derive(Clone, Debug)]
pub struct Stages {
    pub read: Counter,
    pub verify: Counter,
    pub produce: Counter,
}

#[derive(Clone, Debug)]
pub struct SourceMetrics {
    verified: Vec<(KeyName, IntCounter)>,
    rejected: Vec<(VerifyError, IntCounter)>,
    stale_past: IntCounter,
    stale_future: IntCounter,
    dead_letters: Vec<(DeadLetterReason, IntCounter)>,
    signed_in_past: Histogram,
    signed_in_future: Histogram,
}

/// The metrics of a bounded map.
#[derive(Clone, Debug)]
pub struct MapMetrics {
    pub entries: IntGauge,
    pub evictions: IntCounter,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Self> {
        let labelled = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(full(name), help), labels)?)
        };
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(full(name), help)?);
        let gauge = |name: &str, help: &str| register(registry, IntGauge::new(full(name), help)?);
        let map = |name: &str, entries: &str, evictions: &str| {
            let entries = gauge(&format!("{name}_entries"), entries)?;
            let evictions = counter(&format!("{name}_evictions_total"), evictions)?;
            Result::Ok(MapMetrics { entries, evictions })
        };
        let skew = HistogramOpts::new(
            full("clock_skew_seconds"),
            "Time between signing and receipt of authentic requests, by source; future where the signed time lies after that of receipt",
        );
        let seconds = HistogramOpts::new(
            full("request_seconds"),
            "Time from the end of a request's head until its response is ready",
        );
        let stages = CounterVec::new(
            Opts::new(full("stage_seconds_total"), "Time that webhooks spent in each stage, all of them together"),
            &["stage"],
        )?;
        let stages = register(registry, stages)?;
        let stage = |name| stages.with_label_values(&[name]);
        let responses = labelled("answers_total", "Requests answered, by status code", &["status"])?;
        let unavailable = labelled("unavailable_total", HELP_UNAVAILABLE, &["reason", "code"])?;
        let timed_out = labelled(
            "connections_timed_out_total",
            "Connections closed because no head or no next request arrived in time, by phase",
            &["phase"],
        )?;
        let reloads = labelled("secret_reloads_total", "Reloads of the secrets on SIGHUP, by result", &["result"])?;
        let statuses = [
            WebhookResponse::Accepted,
            WebhookResponse::DeadLettered,
            WebhookResponse::BodyBroken,
            WebhookResponse::Unauthorized,
            WebhookResponse::NotFound,
            WebhookResponse::MethodNotAllowed,
            WebhookResponse::BodyTooSlow,
            WebhookResponse::BodyTooLarge,
            WebhookResponse::Unavailable(Unavailable::QueueFull),
        ]
        .map(WebhookResponse::status);
        Ok(Self {
            verified: labelled(
                "verified_total",
                "Authentic requests, by source and by the key that verified them",
                &["source", "key"],
            )?,
            rejected: labelled(
                "rejected_total",
                "Requests that are not authentic or are stale, which are answered 401, by source and reason",
                &["source", "reason"],
            )?,
            dead_letters: labelled(
                "dead_letters_total",
                "Dead letters stored by ingest, by source and reason; insert_refused and bad_record are the processor's",
                &["source", "reason"],
            )?,
            skew: register(registry, HistogramVec::new(skew.buckets(SKEW_BUCKETS.into()), &["source", "direction"])?)?,
            responses: statuses.map(|status| (status, responses.with_label_values(&[status.as_str()]))).into(),
            unavailable: Unavailable::all()
                .map(|reason| (reason, unavailable.with_label_values(&[reason.as_str(), reason.code()])))
                .collect(),
            produced: labelled("produced_total", "Records that every in-sync replica has, by topic", &["topic"])?,
            seconds: register(
                registry,
                Histogram::with_opts(seconds.buckets(exponential_buckets(0.000_5, 2.0, 14)?))?,
            )?,
            stages: Stages { read: stage("read"), verify: stage("verify"), produce: stage("produce") },
            connections: gauge("connections", "Open connections, without those that are being refused")?,
            connections_refused: counter(
                "connections_refused_total",
                "Connections closed at once because limits.connections were open, and no peer had more than theirs",
            )?,
            connections_evicted: counter(
                "connections_evicted_total",
                "Connections closed while they waited for their client, because limits.connections were open and another \
                 peer, which had fewer, opened one",
            )?,
            timed_out: [(Phase::Idle, "idle"), (Phase::Head, "head"), (Phase::Busy, "busy")]
                .map(|(phase, label)| (phase, timed_out.with_label_values(&[label]))),
            in_flight: gauge("requests_in_flight", "Requests whose body is read and whose response is not ready")?,
            queued_bytes: gauge("queued_bytes", "Bytes of bodies that are being read or wait for the broker")?,
            producers_recreated: counter("producers_recreated_total", "Producers replaced after a fatal error")?,
            reloads: [(true, "ok"), (false, "failed")]
                .map(|(succeeded, label)| (succeeded, reloads.with_label_values(&[label]))),
            first_signed_times: map(
                "first_signed_times",
                "Events refused with 503 whose first signed time is remembered",
                "First signed times forgotten because there were more than limits.first_signed_times",
            )?,
            stale_signatures: map(
                "stale_signatures",
                "Stale deliveries whose signature is remembered, so that each is stored once",
                "Signatures forgotten because there were more than limits.stale_signatures",
            )?,
        })
    }

    /// The metrics of a source; the same counters after a reload of its secrets.
    pub fn of_source(&self, source: &SourceKeys) -> SourceMetrics {
        let name = source.name.as_str();
        let rejected = |reason| self.rejected.with_label_values(&[name, reason]);
        let [stale_past, stale_future] = STALE.map(rejected);
        let [signed_in_past, signed_in_future] =
            DIRECTIONS.map(|direction| self.skew.with_label_values(&[name, direction]));
        SourceMetrics {
            verified: source
                .keys
                .iter()
                .map(|key| (key.name.clone(), self.verified.with_label_values(&[name, key.name.as_str()])))
                .collect(),
            rejected: VerifyError::ALL.iter().map(|error| (*error, rejected(error.as_str()))).collect(),
            stale_past,
            stale_future,
            dead_letters: DeadLetterReason::ALL
                .iter()
                .copied()
                .filter(|reason| !matches!(reason, DeadLetterReason::InsertRefused | DeadLetterReason::BadRecord))
                .map(|reason| (reason, self.dead_letters.with_label_values(&[name, reason.as_str()])))
                .collect(),
            signed_in_past,
            signed_in_future,
        }
    }

    /// The counters of records by topic, in the order of [`Topics::all`].
    pub fn of_topics(&self, topics: &Topics) -> Vec<(String, IntCounter)> {
        topics.all().map(|topic| (topic.to_owned(), self.produced.with_label_values(&[topic]))).collect()
    }

    pub fn responded(&self, response: WebhookResponse) {
        count(&self.responses, &response.status());
        if let WebhookResponse::Unavailable(reason) = response {
            count(&self.unavailable, &reason);
        }
    }

    pub fn timed_out(&self, phase: Phase) {
        count(&self.timed_out, &phase);
    }

    pub fn reloaded(&self, succeeded: bool) {
        count(&self.reloads, &succeeded);
    }
}

impl MapMetrics {
    pub fn observe(&self, entries: usize, evicted: usize) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.evictions.inc_by(evicted as u64);
    }
}

impl SourceMetrics {
    /// Counts an authentic request under the key that verified it, and observes its age.
    pub fn verified(&self, key: &KeyName, age_seconds: i64) {
        count(&self.verified, key);
        let skew = if age_seconds < 0 { &self.signed_in_future } else { &self.signed_in_past };
        skew.observe(age_seconds.unsigned_abs() as f64);
    }

    pub fn rejected(&self, error: VerifyError) {
        count(&self.rejected, &error);
    }

    /// Counts an authentic request outside the tolerance.
    pub fn stale(&self, age_seconds: i64) {
        if age_seconds > 0 { self.stale_past.inc() } else { self.stale_future.inc() }
    }

    pub fn dead_letter(&self, reason: DeadLetterReason) {
        count(&self.dead_letters, &reason);
    }
}

fn full(name: &str) -> String {
    format!("hookline_ingest_{name}")
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Increments the counter of `label`. A scan is faster than a hash map for the handful of labels that each list has.
pub fn count<K: PartialEq<Q>, Q: ?Sized>(counters: &[(K, IntCounter)], label: &Q) {
    if let Some((_, counter)) = counters.iter().find(|(key, _)| key == label) {
        counter.inc();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use hookline_sources::{SOURCE_VARIABLE, Sources};

    impl MapMetrics {
        pub fn unregistered() -> Self {
            let (entries, evictions) = (IntGauge::new("entries", "e"), IntCounter::new("evictions", "e"));
            Self { entries: entries.unwrap(), evictions: evictions.unwrap() }
        }
    }

    #[test]
    fn names_and_labels_are_pinned() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let sources = Sources::read(&BTreeMap::new(), |name| {
            Some(if name == SOURCE_VARIABLE { "prod" } else { "0123456789abcdef" }.into())
        })
        .unwrap();
        metrics.of_source(sources.get("prod").unwrap());
        metrics.of_topics(&Topics::new("h").unwrap());
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
                "hookline_ingest_clock_skew_seconds HISTOGRAM direction,source",
                "hookline_ingest_connections GAUGE ",
                "hookline_ingest_connections_evicted_total COUNTER ",
                "hookline_ingest_connections_refused_total COUNTER ",
                "hookline_ingest_connections_timed_out_total COUNTER phase",
                "hookline_ingest_dead_letters_total COUNTER reason,source",
                "hookline_ingest_first_signed_times_entries GAUGE ",
                "hookline_ingest_first_signed_times_evictions_total COUNTER ",
                "hookline_ingest_produced_total COUNTER topic",
                "hookline_ingest_producers_recreated_total COUNTER ",
                "hookline_ingest_queued_bytes GAUGE ",
                "hookline_ingest_rejected_total COUNTER reason,source",
                "hookline_ingest_request_seconds HISTOGRAM ",
                "hookline_ingest_requests_in_flight GAUGE ",
                "hookline_ingest_secret_reloads_total COUNTER result",
                "hookline_ingest_stage_seconds_total COUNTER stage",
                "hookline_ingest_stale_signatures_entries GAUGE ",
                "hookline_ingest_stale_signatures_evictions_total COUNTER ",
                "hookline_ingest_unavailable_total COUNTER code,reason",
                "hookline_ingest_verified_total COUNTER key,source",
            ]
        );
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let sources = Sources::read(&BTreeMap::new(), |name| {
            Some(if name == SOURCE_VARIABLE { "prod" } else { "0123456789abcdef" }.into())
        })
        .unwrap();
        metrics.of_source(sources.get("prod").unwrap());
        metrics.of_topics(&Topics::new("h").unwrap());
        let table = hookline_testkit::metrics_table(&registry.gather());
        hookline_testkit::docs::assert_section("metrics.md", "ingest", &table);
    }
}
