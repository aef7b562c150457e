//! Refreshes the roll-up: the created hours that batches touched are computed again from all of their jobs.

use std::collections::BTreeSet;
use std::time::Instant;

use hookline_schemas::time::CreatedHour;
use hookline_service::admin::Readiness;
use hookline_service::shutdown::CancellationToken;

use crate::clickhouse::error::{Operation, Remedy};
use crate::clickhouse::inserter::{ClickHouse, ClickHouseError};
use crate::metrics::Metrics;
use crate::retry::{Cancelled, until_cancelled};
use crate::writer::CLICKHOUSE;

/// More hours in one statement would take memory and save nothing.
const HOURS_PER_STATEMENT: usize = 48;

#[derive(Clone, Debug)]
pub struct Refresher {
    pub clickhouse: ClickHouse,
    pub metrics: Metrics,
    pub readiness: Readiness,
}

impl Refresher {
    /// When this returns `Ok`, the roll-up has every fact of these hours that was in `jobs` at the time of the call. Calls `done`
    /// with the number of hours that each statement refreshed.
    pub async fn refresh(
        &self,
        hours: &BTreeSet<CreatedHour>,
        cancel: &CancellationToken,
        mut done: impl FnMut(usize),
    ) -> Result<(), Cancelled> {
        let hours: Vec<CreatedHour> = hours.iter().copied().collect();
        let mut todo: Vec<&[CreatedHour]> = hours.chunks(HOURS_PER_STATEMENT).rev().collect();
        while let Some(hours) = todo.pop() {
            let mut began = Instant::now();
            let refresh = async || {
                began = Instant::now();
                self.clickhouse.refresh(hours).await
            };
            let retry = |error: &ClickHouseError| {
                tracing::warn!(cause = error.cause.as_str(), %error, hours = hours.len(), "the roll-up was not refreshed, trying again");
                self.metrics.refreshes.with_label_values(&["failed"]).inc();
                let retry = error.cause.remedy(Operation::Refresh { hours: hours.len() }) == Remedy::Retry;
                if retry {
                    self.readiness.not_ready(CLICKHOUSE, error.to_string());
                }
                retry
            };
            match until_cancelled(cancel, refresh, retry).await? {
                Ok(()) => {
                    self.metrics.refreshes.with_label_values(&["ok"]).inc();
                    self.metrics.refreshed_hours.inc_by(hours.len() as u64);
                    self.metrics.refresh_seconds.observe(began.elapsed().as_secs_f64());
                    self.readiness.ready(CLICKHOUSE);
                    done(hours.len());
                }
                Err(_) => {
                    let (early, late) = hours.split_at(hours.len() / 2);
                    todo.extend([late, early]);
                }
            }
        }
        Ok(())
    }
}
