//! How late webhooks are: from the event to its signature, and from that to ingest.

use clickhouse::Row;
use hookline_schemas::sql::QUANTILE_LEVELS;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReadFrom;
use super::filter::Filter;
use super::finished::Durations;
use super::range::Range;
use super::statement::Statement;

/// What is asked, of the webhooks that were received in the range. It reads a row for each webhook of the months it lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delays {
    pub range: Range,
    pub filter: Filter,
}

/// The longest range, in seconds.
pub const LONGEST: i64 = 7 * 86_400;

/// The webhooks of one source, resource and action.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct WebhookDelay {
    pub source: String,
    pub resource: String,
    /// `started`, `completed` or `errored`.
    pub action: String,
    pub webhooks: u64,
    /// Seconds from the job's creation to the signature; for a terminal event that includes the job itself.
    pub created_to_signed: Option<Durations>,
    /// Seconds from the signature, which has whole seconds, to ingest; a clock that is behind gives none.
    pub signed_to_received: Option<Durations>,
}

#[derive(Clone, Debug, Row, Deserialize)]
pub struct DelayRow {
    source: String,
    resource: String,
    action: String,
    webhooks: u64,
    signed_jobs: u64,
    signed_max: Option<f64>,
    signed: Vec<f64>,
    received_jobs: u64,
    received_max: Option<f64>,
    received: Vec<f64>,
}

impl Delays {
    pub fn statement(&self) -> Statement {
        let Range { from, to } = self.range;
        let filter = self.filter.of_source_and_resource();
        let measures = |name: &str| {
            let quantiles = format!("quantilesDDIf({QUANTILE_LEVELS})(assumeNotNull({name}_s), {name}_s IS NOT NULL)");
            let max = format!("max({name}_s)");
            let quantiles = hookline_schemas::sql::at_most_max(&quantiles, &max);
            format!("count({name}_s) AS {name}_jobs, {max} AS {name}_max, {quantiles} AS {name}")
        };
        // The provider retries for a day, and its clock may be ahead: `signed_at` says which months have the rows.
        let sql = format!(
            "SELECT toString(source) AS source, toString(resource) AS resource, toString(action) AS action, count() AS webhooks, \
             {signed}, {received} FROM (SELECT source, resource, action, \
             dateDiff('millisecond', created_at, toDateTime64(ifNull(first_signed_at, signed_at), 3, 'UTC')) / 1000 AS signed_d, \
             dateDiff('millisecond', toDateTime64(signed_at, 3, 'UTC'), received_at) / 1000 AS received_d, \
             if(signed_d >= 0, signed_d, NULL) AS signed_s, if(received_d >= 0, received_d, NULL) AS received_s \
             FROM deliveries FINAL WHERE received_at >= {from} AND received_at < {to} \
             AND signed_at >= {from} - INTERVAL least(26 * 3600, {seconds}) SECOND AND {condition}) \
             GROUP BY source, resource, action ORDER BY source, resource, action",
            signed = measures("signed"),
            received = measures("received"),
            from = from.sql(),
            to = to.sql(),
            seconds = from.0,
            condition = filter.condition(ReadFrom::Facts),
        );
        Statement::new(sql, filter.parameters())
    }

    pub fn answer(rows: Vec<DelayRow>) -> Vec<WebhookDelay> {
        let delay = |row: DelayRow| WebhookDelay {
            source: row.source,
            resource: row.resource,
            action: row.action,
            webhooks: row.webhooks,
            created_to_signed: Durations::new(row.signed_jobs, row.signed_max, &row.signed),
            signed_to_received: Durations::new(row.received_jobs, row.received_max, &row.received),
        };
        rows.into_iter().map(delay).collect()
    }
}
