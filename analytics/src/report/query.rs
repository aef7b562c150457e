//! The question to ClickHouse: finished jobs of a range, by some of their dimensions.

use std::fmt;

use clickhouse::{Client, Row};
use hookline_schemas::sql::{MAX_JOB_AGE, QUANTILE_LEVELS};
use serde::Deserialize;

use super::Range;
use super::range::Moment;

/// Where the numbers are read. They are the same in both, to the last digit; the roll-up is up to 10 s behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Basis {
    /// `job_facts`, a row for each job.
    Facts,
    /// `job_stats_by_minute`, a row for each minute and kind of job.
    Rollup,
}

impl Basis {
    /// Beyond this many seconds there are more jobs than minutes to read.
    const LONG: i64 = 2 * 3_600;

    /// The one that is made for such a range.
    pub const fn of(range: Range) -> Self {
        if range.to.0 - range.from.0 > Self::LONG { Self::Rollup } else { Self::Facts }
    }

    /// The name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Rollup => "rollup",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Facts => "the facts",
            Self::Rollup => "the roll-up",
        })
    }
}

/// What jobs can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dimension {
    /// The account or environment that sent the webhooks.
    Source,
    /// Video, image or audio.
    Resource,
    /// The provider's type of the job.
    JobType,
    /// Why the job failed; nothing for a completed one.
    ErrorCode,
}

impl Dimension {
    const ALL: [Self; 4] = [Self::Source, Self::Resource, Self::JobType, Self::ErrorCode];

    /// The name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Resource => "resource",
            Self::JobType => "job_type",
            Self::ErrorCode => "error_code",
        }
    }

    const fn expression(self, basis: Basis) -> &'static str {
        match (self, basis) {
            // A job that completed counts under no error, though it may have told of one.
            (Self::ErrorCode, Basis::Facts) => "if(outcome = 'errored', error_code, '')",
            (Self::Source | Self::Resource | Self::JobType | Self::ErrorCode, _) => self.name(),
        }
    }
}

/// The finished jobs of a group. Quantiles are p50, p90, p95, p99 in seconds, and mean nothing where the maximum is absent.
#[derive(Clone, Debug, PartialEq, Row, Deserialize)]
pub struct Group {
    /// The source; empty where not grouped by.
    pub source: String,
    /// The resource; empty where not grouped by.
    pub resource: String,
    /// The job type; empty where not grouped by.
    pub job_type: String,
    /// The error code; empty where not grouped by.
    pub error_code: String,
    /// Jobs that completed.
    pub completed: u64,
    /// Jobs that failed.
    pub errored: u64,
    /// The longest time from creation to end.
    pub total_max: Option<f64>,
    /// The longest time from start to end.
    pub run_max: Option<f64>,
    /// The longest time from creation to start.
    pub queue_max: Option<f64>,
    /// From creation to end.
    pub total: Vec<f64>,
    /// From start to end.
    pub run: Vec<f64>,
    /// From creation to start.
    pub queue: Vec<f64>,
}

impl Group {
    /// The value of a dimension.
    pub fn value(&self, dimension: Dimension) -> &str {
        match dimension {
            Dimension::Source => &self.source,
            Dimension::Resource => &self.resource,
            Dimension::JobType => &self.job_type,
            Dimension::ErrorCode => &self.error_code,
        }
    }
}

/// The statement; binds the value of each filter that is given, in this order.
pub fn sql(basis: Basis, by: &[Dimension], range: Range, source: bool, resource: bool) -> String {
    let keys: Vec<_> = Dimension::ALL
        .iter()
        .map(|dimension| {
            let value = if by.contains(dimension) { dimension.expression(basis) } else { "''" };
            format!("{value} AS by_{name}", name = dimension.name())
        })
        .collect();
    let moment = |Moment(seconds)| format!("toDateTime({seconds}, 'UTC')");
    let (from, to) = (moment(range.from), moment(range.to));
    let earliest = format!("({from} - INTERVAL {MAX_JOB_AGE})");
    let (measures, finished) = match basis {
        Basis::Facts => (
            "outcome = 'completed' AS completed, outcome = 'errored' AS errored, total_seconds AS total_max, \
             run_seconds AS run_max, queue_seconds AS queue_max FROM job_facts",
            "finished_at",
        ),
        Basis::Rollup => (
            "completed, errored, total_max, run_max, queue_max, total_state, run_state, queue_state \
             FROM job_stats_by_minute",
            "minute",
        ),
    };
    // Most hours that may hold such jobs hold none, and their states are far larger than their minutes.
    let hours = match basis {
        Basis::Facts => String::new(),
        Basis::Rollup => format!(
            " AND created_hour IN (SELECT created_hour FROM job_stats WHERE created_hour >= {earliest} \
             AND arrayExists(minute -> minute >= {from} AND minute < {to}, cells.minute))"
        ),
    };
    let quantiles = |kind: &str| match basis {
        Basis::Facts => format!(
            "quantilesDDIf({QUANTILE_LEVELS})(assumeNotNull(part.{kind}_max), part.{kind}_max IS NOT NULL) AS {kind}"
        ),
        Basis::Rollup => format!("quantilesDDMerge({QUANTILE_LEVELS})(part.{kind}_state) AS {kind}"),
    };
    format!(
        "SELECT by_source AS source, by_resource AS resource, by_job_type AS job_type, by_error_code AS error_code, \
         sum(part.completed) AS completed, sum(part.errored) AS errored, \
         max(part.total_max) AS total_max, max(part.run_max) AS run_max, max(part.queue_max) AS queue_max, \
         {total}, {run}, {queue} \
         FROM (SELECT {keys}, {measures} \
         WHERE {finished} >= {from} AND {finished} < {to} AND created_hour >= {earliest}{hours}{source}{resource}) AS part \
         GROUP BY by_source, by_resource, by_job_type, by_error_code \
         ORDER BY by_source, by_resource, by_job_type, by_error_code",
        keys = keys.join(", "),
        total = quantiles("total"),
        run = quantiles("run"),
        queue = quantiles("queue"),
        source = if source { " AND source = ?" } else { "" },
        resource = if resource { " AND resource = ?" } else { "" },
    )
}

pub(super) async fn groups(
    client: &Client,
    basis: Basis,
    by: &[Dimension],
    range: Range,
    (source, resource): (Option<&str>, Option<&str>),
) -> clickhouse::error::Result<Vec<Group>> {
    let mut query = client.query(&sql(basis, by, range, source.is_some(), resource.is_some()));
    for value in [source, resource].into_iter().flatten() {
        query = query.bind(value);
    }
    query.fetch_all().await
}
