//! The state of the pipeline, from the metrics that ingest and the processors show, and from the roll-up.

mod series;
mod totals;

use std::collections::BTreeMap;

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::statement::Statement;
use super::timestamp::Timestamp;
pub use series::{AnswerError, Program, Reading, Unreachable, prometheus_query};
pub use totals::PipelineTotals;

/// What happened in the minute before, or since the first reading where that is less.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PipelinePoint {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Listeners that did not answer, whose figures are missing.
    pub unreachable: usize,
    /// Webhooks answered, by the second.
    pub answers_per_second: f64,
    /// Authentic webhooks, by the second.
    pub verified_per_second: f64,
    /// Webhooks answered 503, by the second and by reason.
    pub refusals_per_second: BTreeMap<String, f64>,
    /// Webhooks answered 401, by the second and by reason.
    pub rejections_per_second: BTreeMap<String, f64>,
    /// Dead letters, by the second and by reason.
    pub dead_letters_per_second: BTreeMap<String, f64>,
    /// Records consumed, by the second.
    pub records_per_second: f64,
    /// Records that are not committed yet; null where nobody has the figure.
    pub lag_records: Option<f64>,
    /// The greatest age of the last record of a partition, in seconds.
    pub lag_seconds: Option<f64>,
    /// The mean delay from signing to the row being in ClickHouse, in seconds; null where no batch was inserted.
    pub signed_to_visible_seconds: Option<f64>,
    /// Seconds since the roll-up was refreshed last; null where ClickHouse did not say.
    pub rollup_age_seconds: Option<f64>,
    /// Seconds of work by the second of each stage of ingest; empty where it does not tell.
    pub ingest_stages: BTreeMap<String, f64>,
    /// The same of the processors.
    pub processor_stages: BTreeMap<String, f64>,
}

impl PipelinePoint {
    /// The point of the last of `readings`, which are in the order of time. None where no listener answered twice.
    pub fn new(readings: &[&Reading], rollup_age_seconds: Option<f64>) -> Option<Self> {
        let (first, last) = readings.first().zip(readings.last())?;
        let milliseconds = u32::try_from(last.at.0 - first.at.0).ok().filter(|elapsed| *elapsed > 0)?;
        let seconds = f64::from(milliseconds) / 1_000.0;
        let pairs = || readings.iter().zip(readings.iter().skip(1));
        if !pairs().any(|(before, after)| after.continues(before)) {
            return None;
        }
        let increase = PipelineTotals::of(pairs().flat_map(|(before, after)| after.increases(before)));
        let now = PipelineTotals::of(last.samples());
        let each = |sums: BTreeMap<String, f64>| sums.into_iter().map(|(name, sum)| (name, sum / seconds)).collect();
        Some(Self {
            at: last.at,
            unreachable: last.unreachable.len(),
            answers_per_second: increase.answers.values().sum::<f64>() / seconds,
            verified_per_second: increase.verified / seconds,
            refusals_per_second: each(increase.refusals),
            rejections_per_second: each(increase.rejections),
            dead_letters_per_second: each(increase.dead_letters),
            records_per_second: increase.records_consumed / seconds,
            lag_records: now.lag_records,
            lag_seconds: now.lag_seconds,
            signed_to_visible_seconds: increase.signed_to_visible_seconds,
            rollup_age_seconds,
            ingest_stages: each(increase.ingest_stages),
            processor_stages: each(increase.processor_stages),
        })
    }
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

    fn reading(seconds: i64, pages: &[(&str, &str)]) -> Reading {
        let mut reading = Reading::new(Timestamp::of_seconds(seconds));
        for (url, page) in pages {
            reading.add_page(url, page);
        }
        reading
    }

    fn point(readings: &[Reading]) -> Option<PipelinePoint> {
        PipelinePoint::new(&readings.iter().collect::<Vec<_>>(), Some(1.0))
    }

    const ANSWERS: &str = "hookline_ingest_answers_total{status=\"200\"} ";

    fn answers(count: u32) -> String {
        format!("{ANSWERS}{count}\n")
    }

    #[test]
    fn rates_are_those_between_the_readings() {
        let (before, after) = (answers(100), answers(160));
        let point =
            point(&[reading(0, &[("i", &before)]), reading(15, &[("i", &before)]), reading(30, &[("i", &after)])]);
        assert_eq!(point.map(|point| (point.at, point.answers_per_second)), Some((Timestamp(30_000), 2.0)));
    }

    #[test]
    fn a_process_that_began_anew_counts_from_zero_and_takes_nothing_from_others() {
        let (before, restarted) = (answers(100), answers(30));
        let other = (answers(10), answers(40));
        let readings =
            [reading(0, &[("i", &before), ("j", &other.0)]), reading(30, &[("i", &restarted), ("j", &other.1)])];
        assert_eq!(point(&readings).map(|point| point.answers_per_second), Some(2.0));
    }

    #[test]
    fn what_a_listener_counted_while_it_was_not_read_is_no_rate() {
        let (before, later) = (answers(100), answers(1_000_000));
        let gone = [
            reading(0, &[("i", &before), ("j", "")]),
            reading(30, &[("j", "")]),
            reading(60, &[("i", &later), ("j", "")]),
        ];
        assert_eq!(point(&gone).map(|point| point.answers_per_second), Some(0.0));
        assert_eq!(point(&[reading(0, &[]), reading(30, &[("i", &later)])]), None, "nobody answered twice");
        assert_eq!(point(&gone[..1]), None);
        assert_eq!(point(&[]), None);
    }

    #[test]
    fn a_series_that_is_new_on_a_known_page_began_at_zero() {
        let dead = "hookline_ingest_dead_letters_total{source=\"a\",reason=\"stale\"} 60\n";
        let point = point(&[reading(0, &[("i", "")]), reading(30, &[("i", dead)])]).unwrap();
        assert_eq!(point.dead_letters_per_second, BTreeMap::from([("stale".to_owned(), 2.0)]));
    }
}
