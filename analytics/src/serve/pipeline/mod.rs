//! The metrics of ingest and the processors, read at intervals and kept for an hour.

mod source;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clickhouse::Client;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval, timeout};
use utoipa::ToSchema;

use super::schema::timestamp;
use crate::query::pipeline::{PipelinePoint, PipelineTotals, Reading, RollupAge, rollup_age};
use crate::query::timestamp::Timestamp;
pub use source::MetricsSource;

const INTERVAL: Duration = Duration::from_secs(15);
/// A rate is that of a minute, because Prometheus, too, reads a listener only so often.
const READINGS_OF_A_RATE: usize = 5;
/// The points of an hour.
const POINTS: usize = 240;
const AGE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the listeners said, and how it changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Pipeline {
    #[schema(value_type = String, format = DateTime)]
    pub(super) as_of: Timestamp,
    /// Seconds since the roll-up was refreshed last; null where it was not for two days.
    pub(super) rollup_age_seconds: Option<f64>,
    /// When the metrics were read last; null before the first time, and where neither `serve.admin_urls` nor
    /// `serve.prometheus_url` is configured.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) read_at: Option<Timestamp>,
    /// Listeners of `serve.admin_urls`, or the Prometheus, that did not answer then.
    pub(super) unreachable: usize,
    /// Null where nobody answered then.
    pub(super) totals: Option<PipelineTotals>,
    /// The last hour, oldest first, a point for each 15 seconds in which they were read.
    pub(super) history: Vec<PipelinePoint>,
}

#[derive(Debug, Default)]
struct Kept {
    readings: VecDeque<Reading>,
    points: VecDeque<PipelinePoint>,
}

/// What was read in the last hour.
#[derive(Debug)]
pub struct History {
    source: Option<MetricsSource>,
    kept: Mutex<Kept>,
}

impl History {
    pub fn new(source: Option<MetricsSource>) -> Self {
        Self { source, kept: Mutex::default() }
    }

    /// Reads the metrics at intervals, for as long as it is polled, and asks for the age of the roll-up beside them.
    pub async fn read_at_intervals(&self, client: &Client) {
        let Some(source) = &self.source else { return std::future::pending().await };
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let reading = source.read(timestamp(OffsetDateTime::now_utc())).await;
            let statement = rollup_age();
            let age = timeout(AGE_TIMEOUT, statement.rows::<RollupAge>(client)).await;
            let age = age.ok().and_then(Result::ok).and_then(|rows| rows.first()?.seconds);
            self.keep(reading, age);
        }
    }

    fn keep(&self, reading: Reading, rollup_age_seconds: Option<f64>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { readings, points } = &mut *kept;
        readings.push_back(reading);
        while readings.len() > READINGS_OF_A_RATE {
            readings.pop_front();
        }
        points.extend(PipelinePoint::new(&readings.iter().collect::<Vec<_>>(), rollup_age_seconds));
        let hour_ago = readings.back().map_or(0, |last| last.at.0 - 3_600_000);
        while points.len() > POINTS || points.front().is_some_and(|first| first.at.0 < hour_ago) {
            points.pop_front();
        }
    }

    pub fn pipeline(&self, as_of: Timestamp, rollup_age_seconds: Option<f64>) -> Pipeline {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.readings.back();
        Pipeline {
            as_of,
            rollup_age_seconds,
            read_at: last.map(|last| last.at),
            unreachable: last.map_or(0, |last| last.unreachable.len()),
            totals: last.filter(|last| !last.is_empty()).map(|last| PipelineTotals::of(last.samples())),
            history: kept.points.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(seconds: i64) -> Reading {
        let mut reading = Reading::new(Timestamp::of_seconds(seconds));
        reading.add_page("i", &format!("hookline_ingest_answers_total{{status=\"200\"}} {seconds}\n"));
        reading
    }

    #[test]
    fn an_hour_is_kept() {
        let history = History::new(None);
        assert_eq!(history.pipeline(Timestamp(0), None).read_at, None);
        for number in 0..500 {
            history.keep(read(number * 15), None);
        }
        let pipeline = history.pipeline(Timestamp(0), Some(1.0));
        assert_eq!(pipeline.read_at, Some(Timestamp::of_seconds(499 * 15)));
        assert_eq!(pipeline.history.len(), POINTS);
        assert!(pipeline.history.iter().all(|point| point.answers_per_second == 1.0), "{:?}", pipeline.history);
        // After a pause what is older than an hour goes, however few points there are.
        history.keep(read(500 * 15 + 3_600), None);
        assert_eq!(history.pipeline(Timestamp(0), None).history.len(), 1);
    }
}
