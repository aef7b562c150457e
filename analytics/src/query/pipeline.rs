//! The state of the pipeline, from the pages of metrics that ingest and the processors show, and from the roll-up.

use std::collections::BTreeMap;

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::statement::Statement;

/// The sums of the metrics that the pipeline is judged by, over all pages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct PipelineTotals {
    /// Webhooks answered since ingest started, by status.
    pub answers: BTreeMap<String, f64>,
    /// Webhooks answered 503 since ingest started, by reason.
    pub refusals: BTreeMap<String, f64>,
    /// Dead letters since ingest and processors started, by reason.
    pub dead_letters: BTreeMap<String, f64>,
    /// Records consumed since the processors started.
    pub records_consumed: f64,
    /// Records that are not committed yet; null where no page has the figure.
    pub lag_records: Option<f64>,
    /// The greatest age of the last record of a partition, in seconds.
    pub lag_seconds: Option<f64>,
    /// Partitions that stopped and wait for an operator.
    pub stopped_partitions: f64,
    /// The mean of the delay from signing to the row being in ClickHouse, in seconds, over all batches since the start.
    pub signed_to_visible_seconds: Option<f64>,
}

/// One line of a page in the text format of Prometheus.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl Sample<'_> {
    fn label(&self, name: &str) -> String {
        let value = self.labels.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        value.map_or_else(String::new, |(value, _)| value.to_owned())
    }
}

fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some(Sample { name, labels, value: value.parse().ok()? })
    })
}

/// Adds up the pages of all listeners.
pub fn totals<'a>(pages: impl Iterator<Item = &'a str>) -> PipelineTotals {
    let mut totals = PipelineTotals::default();
    let (mut seconds, mut batches) = (0.0, 0.0);
    for sample in pages.flat_map(samples) {
        let mut add = |by: &str, label: &str| {
            let of = match by {
                "answers" => &mut totals.answers,
                "refusals" => &mut totals.refusals,
                _ => &mut totals.dead_letters,
            };
            *of.entry(sample.label(label)).or_default() += sample.value;
        };
        match sample.name {
            "hookline_ingest_answers_total" => add("answers", "status"),
            "hookline_ingest_unavailable_total" => add("refusals", "reason"),
            "hookline_ingest_dead_letters_total" | "hookline_processor_records_dead_lettered_total" => {
                add("dead_letters", "reason");
            }
            "hookline_processor_records_consumed_total" => totals.records_consumed += sample.value,
            "hookline_processor_lag_records" => *totals.lag_records.get_or_insert(0.0) += sample.value,
            "hookline_processor_lag_seconds" => {
                totals.lag_seconds = Some(totals.lag_seconds.unwrap_or(0.0).max(sample.value));
            }
            "hookline_processor_partition_stopped" => totals.stopped_partitions += sample.value,
            "hookline_processor_end_to_end_latency_seconds_sum" => seconds += sample.value,
            "hookline_processor_end_to_end_latency_seconds_count" => batches += sample.value,
            _ => {}
        }
    }
    totals.signed_to_visible_seconds = (batches > 0.0).then(|| seconds / batches);
    totals
}

/// How old the newest row of the roll-up is.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
pub struct RollupAge {
    pub seconds: Option<f64>,
}

/// Asks for [`RollupAge`]; the lower half of a version is the server's time.
pub fn rollup_age() -> Statement {
    let sql = "SELECT CAST(if(count() = 0, NULL, greatest(toUnixTimestamp64Nano(now64(9)) - \
               toInt64(max(bitAnd(version, toUInt128(18446744073709551615)))), 0) / 1e9), 'Nullable(Float64)') AS seconds \
               FROM job_stats WHERE created_hour >= now() - INTERVAL 2 DAY";
    Statement::new(sql, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_added_up() {
        let ingest = "# HELP x\nhookline_ingest_answers_total{source=\"a\",status=\"200\"} 5\n\
                      hookline_ingest_answers_total{source=\"b\",status=\"200\"} 2\n\
                      hookline_ingest_dead_letters_total{reason=\"stale\",source=\"a\"} 1\n";
        let processor = "hookline_processor_lag_records{partition=\"0\",topic=\"t\"} 3\n\
                         hookline_processor_lag_seconds{partition=\"0\",topic=\"t\"} 1.5\n\
                         hookline_processor_lag_seconds{partition=\"1\",topic=\"t\"} 0.5\n\
                         hookline_processor_end_to_end_latency_seconds_sum{mode=\"live\"} 4\n\
                         hookline_processor_end_to_end_latency_seconds_count{mode=\"live\"} 2\n";
        let totals = totals([ingest, processor].into_iter());
        assert_eq!(totals.answers, BTreeMap::from([("200".to_owned(), 7.0)]));
        assert_eq!(totals.dead_letters, BTreeMap::from([("stale".to_owned(), 1.0)]));
        assert_eq!((totals.lag_records, totals.lag_seconds), (Some(3.0), Some(1.5)));
        assert_eq!(totals.signed_to_visible_seconds, Some(2.0));
        assert_eq!(super::totals(std::iter::empty()).lag_records, None, "no page says so: that is not 0");
    }
}
