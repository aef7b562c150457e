//! Brings the roll-up up to date: the created hours that batches touched are computed anew, whole.

use std::collections::BTreeSet;
use std::time::Instant;

use hookline_schemas::time::CreatedHour;
use hookline_service::admin::Readiness;
use hookline_service::shutdown::CancellationToken;

use crate::clickhouse::error::{Operation, Remedy};
use crate::clickhouse::inserter::{ClickHouse, InsertError};
use crate::metrics::Metrics;
use crate::retry::{Cancelled, until_cancelled};
use crate::writer::CLICKHOUSE;

/// So many hours in one statement: more would take memory and save nothing.
const HOURS_AT_ONCE: usize = 48;

/// Who refreshes.
#[derive(Clone, Debug)]
pub struct Refresher {
    /// The tables.
    pub clickhouse: ClickHouse,
    /// What is counted.
    pub metrics: Metrics,
    /// Where a long wait shows.
    pub readiness: Readiness,
}

impl Refresher {
    /// When this returns `Ok`, the roll-up has seen every fact of these hours that was in `jobs` when it was called.
    ///
    /// No record is to blame for a refusal, so whatever it is, it is waited out; hours that are too much for one statement
    /// are halved. `done` learns how many hours each statement refreshed.
    pub async fn refresh(
        &self,
        hours: &BTreeSet<CreatedHour>,
        cancel: &CancellationToken,
        mut done: impl FnMut(usize),
    ) -> Result<(), Cancelled> {
        let hours: Vec<CreatedHour> = hours.iter().copied().collect();
        let mut todo: Vec<&[CreatedHour]> = hours.chunks(HOURS_AT_ONCE).rev().collect();
        while let Some(hours) = todo.pop() {
            let mut began = Instant::now();
            let refresh = async || {
                began = Instant::now();
                self.clickhouse.refresh(hours).await
            };
            let retry = |error: &InsertError| {
                tracing::warn!(cause = error.cause.as_str(), %error, hours = hours.len(), "the roll-up was not refreshed, trying again");
                self.metrics.refreshes.with_label_values(&["failed"]).inc();
                let retry = error.cause.remedy(Operation::Refresh { hours: hours.len() }) == Remedy::Retry;
                if retry {
                    self.readiness.not_ready(CLICKHOUSE, error.text.clone());
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
