//! The pages of metrics of ingest and the processors, read at intervals and kept for an hour.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Client;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

use crate::query::pipeline::{PipelineTotals, totals};
use crate::query::timestamp::Timestamp;

const INTERVAL: Duration = Duration::from_secs(15);
/// Pages are kept for an hour.
const KEPT: usize = 240;
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// A page that is larger is none of ours.
const MAX_PAGE_BYTES: u64 = 4 << 20;

/// What the listeners said, and how it changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Pipeline {
    #[schema(value_type = String, format = DateTime)]
    as_of: Timestamp,
    /// Seconds since the roll-up was refreshed last; null where it was not for two days.
    rollup_age_seconds: Option<f64>,
    /// When the listeners were read last; null before the first time, and where none is configured.
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
    /// Listeners of `serve.admin_urls` that did not answer then.
    unreachable: usize,
    totals: Option<PipelineTotals>,
    /// The last hour, oldest first.
    history: Vec<PipelinePoint>,
}

/// What happened from one reading to the next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct PipelinePoint {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Webhooks answered, by the second.
    answers_per_second: f64,
    /// Records consumed, by the second.
    records_per_second: f64,
    lag_records: Option<f64>,
}

#[derive(Clone, Debug)]
struct Reading {
    at: Timestamp,
    unreachable: usize,
    totals: PipelineTotals,
}

#[derive(Debug)]
pub struct Pages {
    urls: Vec<String>,
    client: Client,
    readings: Mutex<VecDeque<Reading>>,
}

impl Pages {
    pub fn new<'a>(urls: impl Iterator<Item = &'a str>) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(PAGE_TIMEOUT).no_proxy().build()?;
        let urls = urls.map(|url| format!("{}/metrics", url.trim_end_matches('/'))).collect();
        Ok(Self { urls, client, readings: Mutex::default() })
    }

    /// Reads the pages at intervals, for as long as it is polled.
    pub async fn read_at_intervals(&self) {
        if self.urls.is_empty() {
            return std::future::pending().await;
        }
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut pages = Vec::new();
            for url in &self.urls {
                match self.page(url).await {
                    Ok(page) => pages.push(page),
                    Err(error) => tracing::debug!(url, %error, "no page of metrics"),
                }
            }
            let at = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
            let at = Timestamp(i64::try_from(at).unwrap_or(i64::MAX));
            let unreachable = self.urls.len() - pages.len();
            let reading = Reading { at, unreachable, totals: totals(pages.iter().map(String::as_str)) };
            let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
            readings.push_back(reading);
            while readings.len() > KEPT {
                readings.pop_front();
            }
        }
    }

    async fn page(&self, url: &str) -> anyhow::Result<String> {
        let response = self.client.get(url).send().await?.error_for_status()?;
        anyhow::ensure!(
            response.content_length().is_some_and(|bytes| bytes <= MAX_PAGE_BYTES),
            "no page of that size is read"
        );
        Ok(response.text().await?)
    }

    pub fn pipeline(&self, as_of: Timestamp, rollup_age_seconds: Option<f64>) -> Pipeline {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let last = readings.back();
        let pairs = readings.iter().zip(readings.iter().skip(1));
        Pipeline {
            as_of,
            rollup_age_seconds,
            read_at: last.map(|last| last.at),
            unreachable: last.map_or(0, |last| last.unreachable),
            totals: last.map(|last| last.totals.clone()),
            history: pairs.filter_map(|(before, after)| point(before, after)).collect(),
        }
    }
}

/// Nothing where a counter went back, because its process began anew or did not answer.
fn point(before: &Reading, after: &Reading) -> Option<PipelinePoint> {
    let milliseconds = u32::try_from(after.at.0 - before.at.0).ok().filter(|elapsed| *elapsed > 0)?;
    let sum = |reading: &Reading| reading.totals.answers.values().sum::<f64>();
    let answers = sum(after) - sum(before);
    let records = after.totals.records_consumed - before.totals.records_consumed;
    let seconds = f64::from(milliseconds) / 1_000.0;
    (answers >= 0.0 && records >= 0.0 && before.unreachable == after.unreachable).then_some(PipelinePoint {
        at: after.at,
        answers_per_second: answers / seconds,
        records_per_second: records / seconds,
        lag_records: after.totals.lag_records,
    })
}
