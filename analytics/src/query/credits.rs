//! Credits that finished jobs cost: estimated, charged and refunded.

use clickhouse::Row;
use hookline_schemas::sql::created_hours_of;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::filter::Filter;
use super::range::{Range, Step};
use super::statement::Statement;
use super::timestamp::Timestamp;
use super::{Dimension, ReadFrom};

/// Asks for credits, which are not in the roll-up, so the facts answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credits {
    pub range: Range,
    pub filter: Filter,
    pub by: Vec<Dimension>,
    pub step: Option<Step>,
}

/// The credits of one group, as text, because sums may be larger than what every reader of JSON keeps exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreditsOfJobs {
    /// Start of the step, a whole multiple of it since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    pub jobs: u64,
    /// Jobs that have no amount charged, which are not in the sums.
    pub jobs_without_credits: u64,
    pub estimated: String,
    pub charged: String,
    /// Estimated and not charged, of jobs that errored.
    pub refunded: String,
}

#[derive(Clone, Debug, Row, Deserialize)]
pub struct CreditsRow {
    at: i64,
    source: String,
    resource: String,
    job_type: String,
    error_code: String,
    jobs: u64,
    jobs_without_credits: u64,
    estimated: String,
    charged: String,
    refunded: String,
}

impl Credits {
    pub fn statement(&self) -> Statement {
        let keys = Dimension::ALL.map(|dimension| {
            let value = if self.by.contains(&dimension) { dimension.expression(ReadFrom::Facts) } else { "''" };
            format!("{value} AS by_{}", dimension.name())
        });
        let at = self.step.map_or("toInt64(0)".to_owned(), |step| {
            let step = step.seconds();
            format!("toInt64(intDiv(toUnixTimestamp(assumeNotNull(finished_at)), {step}) * {step})")
        });
        let names = Dimension::ALL.map(|dimension| format!("by_{name} AS {name}", name = dimension.name())).join(", ");
        let sum = |column: &str| format!("toString(sum(toInt128(ifNull({column}, 0))))");
        let sql = format!(
            "SELECT by_at AS at, {names}, count() AS jobs, countIf(credits_charged IS NULL) AS jobs_without_credits, \
             {estimated} AS estimated, {charged} AS charged, {refunded} AS refunded \
             FROM (SELECT {at} AS by_at, {keys}, credits_estimated, credits_charged, credits_refunded FROM job_facts \
             WHERE outcome != 'open' AND {ended} AND {hours} AND {condition}) \
             GROUP BY by_at, by_source, by_resource, by_job_type, by_error_code \
             ORDER BY by_at, by_source, by_resource, by_job_type, by_error_code",
            keys = keys.join(", "),
            estimated = sum("credits_estimated"),
            charged = sum("credits_charged"),
            refunded = sum("credits_refunded"),
            ended = self.range.contains("finished_at"),
            hours = created_hours_of(&self.range.from.sql()),
            condition = self.filter.condition(ReadFrom::Facts),
        );
        Statement::new(sql, self.filter.parameters())
    }

    pub fn answer(&self, rows: Vec<CreditsRow>) -> Vec<CreditsOfJobs> {
        let value = |dimension, value| self.by.contains(&dimension).then_some(value);
        let group = |row: CreditsRow| CreditsOfJobs {
            at: self.step.map(|_| Timestamp::of_seconds(row.at)),
            source: value(Dimension::Source, row.source),
            resource: value(Dimension::Resource, row.resource),
            job_type: value(Dimension::JobType, row.job_type),
            error_code: value(Dimension::ErrorCode, row.error_code),
            jobs: row.jobs,
            jobs_without_credits: row.jobs_without_credits,
            estimated: row.estimated,
            charged: row.charged,
            refunded: row.refunded,
        };
        rows.into_iter().map(group).collect()
    }
}
