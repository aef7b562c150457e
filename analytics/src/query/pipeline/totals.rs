//! The sums that the pipeline is judged by.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::series::Series;

/// The sums of the metrics that the pipeline is judged by, over all listeners.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct PipelineTotals {
    /// Webhooks answered since ingest started, by status.
    pub answers: BTreeMap<String, f64>,
    /// Authentic webhooks since ingest started.
    pub verified: f64,
    /// Webhooks answered 503 since ingest started, by reason.
    pub refusals: BTreeMap<String, f64>,
    /// Webhooks answered 401 since ingest started, by reason.
    pub rejections: BTreeMap<String, f64>,
    /// Dead letters since ingest and processors started, by reason.
    pub dead_letters: BTreeMap<String, f64>,
    /// Records consumed since the processors started.
    pub records_consumed: f64,
    /// Records that are not committed yet; null where nobody has the figure.
    pub lag_records: Option<f64>,
    /// The greatest age of the last record of a partition, in seconds.
    pub lag_seconds: Option<f64>,
    /// Partitions that stopped and wait for an operator.
    pub stopped_partitions: f64,
    /// The mean of the delay from signing to the row being in ClickHouse, in seconds, over all batches since the start.
    pub signed_to_visible_seconds: Option<f64>,
    /// Seconds of work of each stage of ingest since it started; empty where it does not tell.
    pub ingest_stages: BTreeMap<String, f64>,
    /// The same of the processors.
    pub processor_stages: BTreeMap<String, f64>,
}

const ANSWERS: &str = "hookline_ingest_answers_total";
const VERIFIED: &str = "hookline_ingest_verified_total";
const REFUSALS: &str = "hookline_ingest_unavailable_total";
const REJECTIONS: &str = "hookline_ingest_rejected_total";
const INGEST_DEAD_LETTERS: &str = "hookline_ingest_dead_letters_total";
const INGEST_STAGES: &str = "hookline_ingest_stage_seconds_total";
const DEAD_LETTERS: &str = "hookline_processor_records_dead_lettered_total";
const CONSUMED: &str = "hookline_processor_records_consumed_total";
const LAG_RECORDS: &str = "hookline_processor_lag_records";
const LAG_SECONDS: &str = "hookline_processor_lag_seconds";
const STOPPED: &str = "hookline_processor_partition_stopped";
const LATENCY_SUM: &str = "hookline_processor_end_to_end_latency_seconds_sum";
const LATENCY_COUNT: &str = "hookline_processor_end_to_end_latency_seconds_count";
const PROCESSOR_STAGES: &str = "hookline_processor_stage_seconds_total";

/// Every metric that is read.
pub(super) const METRICS: [&str; 14] = [
    ANSWERS,
    VERIFIED,
    REFUSALS,
    REJECTIONS,
    INGEST_DEAD_LETTERS,
    INGEST_STAGES,
    DEAD_LETTERS,
    CONSUMED,
    LAG_RECORDS,
    LAG_SECONDS,
    STOPPED,
    LATENCY_SUM,
    LATENCY_COUNT,
    PROCESSOR_STAGES,
];

/// Whether a metric only grows while its process runs.
pub(super) fn is_counter(metric: &str) -> bool {
    !matches!(metric, LAG_RECORDS | LAG_SECONDS | STOPPED)
}

impl PipelineTotals {
    /// Adds up the values of all series.
    pub fn of<'a>(samples: impl Iterator<Item = (&'a Series, f64)>) -> Self {
        let mut totals = Self::default();
        let (mut seconds, mut batches) = (0.0, 0.0);
        for (series, value) in samples {
            let add = |to: &mut BTreeMap<String, f64>, label: &str| {
                *to.entry(series.label(label).to_owned()).or_default() += value;
            };
            match series.metric {
                ANSWERS => add(&mut totals.answers, "status"),
                VERIFIED => totals.verified += value,
                REFUSALS => add(&mut totals.refusals, "reason"),
                REJECTIONS => add(&mut totals.rejections, "reason"),
                INGEST_DEAD_LETTERS | DEAD_LETTERS => add(&mut totals.dead_letters, "reason"),
                INGEST_STAGES => add(&mut totals.ingest_stages, "stage"),
                PROCESSOR_STAGES => add(&mut totals.processor_stages, "stage"),
                CONSUMED => totals.records_consumed += value,
                LAG_RECORDS => *totals.lag_records.get_or_insert(0.0) += value,
                LAG_SECONDS => totals.lag_seconds = Some(totals.lag_seconds.unwrap_or(0.0).max(value)),
                STOPPED => totals.stopped_partitions += value,
                LATENCY_SUM => seconds += value,
                LATENCY_COUNT => batches += value,
                _ => {}
            }
        }
        totals.signed_to_visible_seconds = (batches > 0.0).then(|| seconds / batches);
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reading;
    use super::*;
    use crate::query::timestamp::Timestamp;

    #[test]
    fn listeners_are_added_up() {
        let ingest = "# HELP x\nhookline_ingest_answers_total{source=\"a\",status=\"200\"} 5\n\
                      hookline_ingest_answers_total{source=\"b\",status=\"200\"} 2\n\
                      hookline_ingest_verified_total{key=\"k\",source=\"b\"} 2\n\
                      hookline_ingest_rejected_total{reason=\"stale_past\",source=\"b\"} 3\n\
                      hookline_ingest_unavailable_total{reason=\"draining\"} 4\n\
                      hookline_ingest_stage_seconds_total{stage=\"verify\"} 0.5\n\
                      hookline_ingest_dead_letters_total{reason=\"stale\",source=\"a\"} 1\n";
        let processor = "hookline_processor_lag_records{partition=\"0\",topic=\"t\"} 3\n\
                         hookline_processor_lag_seconds{partition=\"0\",topic=\"t\"} 1.5\n\
                         hookline_processor_lag_seconds{partition=\"1\",topic=\"t\"} 0.5\n\
                         hookline_processor_stage_seconds_total{stage=\"insert\"} 2.5\n\
                         hookline_processor_end_to_end_latency_seconds_sum{mode=\"live\"} 4\n\
                         hookline_processor_end_to_end_latency_seconds_count{mode=\"live\"} 2\n";
        let mut reading = Reading::new(Timestamp(0));
        reading.add_page("http://ingest", ingest);
        reading.add_page("http://processor", processor);
        let totals = PipelineTotals::of(reading.samples());
        let one = |name: &str, value| BTreeMap::from([(name.to_owned(), value)]);
        assert_eq!((totals.answers, totals.verified), (one("200", 7.0), 2.0));
        assert_eq!((totals.rejections, totals.refusals), (one("stale_past", 3.0), one("draining", 4.0)));
        assert_eq!(totals.dead_letters, one("stale", 1.0));
        assert_eq!((totals.ingest_stages, totals.processor_stages), (one("verify", 0.5), one("insert", 2.5)));
        assert_eq!((totals.lag_records, totals.lag_seconds), (Some(3.0), Some(1.5)));
        assert_eq!(totals.signed_to_visible_seconds, Some(2.0));
        assert_eq!(PipelineTotals::of(std::iter::empty()).lag_records, None, "nobody says so: that is not 0");
    }
}
