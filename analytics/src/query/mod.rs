//! The questions that the API, the gauges and the terminal ask, one file each. A question is a value; it writes its statement, whose
//! parameters are never a part of the SQL, and makes its answer of the rows. Nothing here knows a command line or HTTP.
//!
//! [`groups`] is the question of `report`, which asked before the others did.

pub(crate) mod contradictions;
pub(crate) mod credits;
pub(crate) mod dead_letters;
pub(crate) mod delays;
pub(crate) mod distribution;
pub(crate) mod errors;
pub(crate) mod filter;
pub(crate) mod finished;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod open;
pub(crate) mod pipeline;
pub(crate) mod range;
pub(crate) mod statement;
pub(crate) mod timestamp;

use std::fmt;

use clickhouse::{Client, Row};
use hookline_schemas::sql::{MAX_JOB_AGE, QUANTILE_LEVELS};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::range::{Moment, Range};

/// The view that the numbers are read from. They are the same in both, to the last digit, but the roll-up is up to 10 s behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// Reads `job_facts`, which has a row for each job.
    Facts,
    /// Reads `job_stats_by_minute`, which has a row for each minute and kind of job.
    Rollup,
}

impl ReadFrom {
    pub const ALL: [Self; 2] = [Self::Facts, Self::Rollup];

    /// A range of more seconds has fewer rows in the roll-up than jobs.
    const LONG: i64 = 2 * 3_600;

    /// Chooses the view that is faster for a range.
    pub const fn faster_for(range: Range) -> Self {
        if range.to.0 - range.from.0 > Self::LONG { Self::Rollup } else { Self::Facts }
    }

    /// The name in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Rollup => "rollup",
        }
    }
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Facts => "the facts",
            Self::Rollup => "the roll-up",
        })
    }
}

/// A column that jobs can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Dimension {
    /// The account or the environment that the webhooks came from.
    Source,
    Resource,
    /// The type that the provider gives the job.
    JobType,
    /// Empty for jobs that completed.
    ErrorCode,
}

impl Dimension {
    pub const ALL: [Self; 4] = [Self::Source, Self::Resource, Self::JobType, Self::ErrorCode];

    /// The name in JSON, and of the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Resource => "resource",
            Self::JobType => "job_type",
            Self::ErrorCode => "error_code",
        }
    }

    /// The column of rows whose error code is empty for jobs that completed.
    const fn column(self) -> &'static str {
        match self {
            Self::Source => "part.source",
            Self::Resource => "part.resource",
            Self::JobType => "part.job_type",
            Self::ErrorCode => "part.code",
        }
    }

    const fn expression(self, read_from: ReadFrom) -> &'static str {
        match (self, read_from) {
            // A job that completed counts under no error, even if it had sent `errored` before.
            (Self::ErrorCode, ReadFrom::Facts) => "if(outcome = 'errored', error_code, '')",
            (Self::Source | Self::Resource | Self::JobType | Self::ErrorCode, _) => self.name(),
        }
    }
}

/// The finished jobs of a group. The value of a dimension is empty where the jobs are not grouped by it. Durations are in seconds;
/// quantiles are p50, p90, p95 and p99, and mean nothing where there is no maximum.
#[derive(Clone, Debug, PartialEq, Row, Deserialize)]
pub struct Group {
    pub source: String,
    pub resource: String,
    pub job_type: String,
    pub error_code: String,
    pub completed: u64,
    pub errored: u64,
    pub total_max: Option<f64>,
    pub run_max: Option<f64>,
    pub queue_max: Option<f64>,
    /// The times from creation to end.
    pub total: Vec<f64>,
    /// The times from start to end.
    pub run: Vec<f64>,
    /// The times from creation to start.
    pub queue: Vec<f64>,
}

impl Group {
    pub fn value(&self, dimension: Dimension) -> &str {
        match dimension {
            Dimension::Source => &self.source,
            Dimension::Resource => &self.resource,
            Dimension::JobType => &self.job_type,
            Dimension::ErrorCode => &self.error_code,
        }
    }
}

/// Writes the statement. It has a placeholder for each filter that is given, in this order.
fn sql(read_from: ReadFrom, by: &[Dimension], range: Range, source: bool, resource: bool) -> String {
    let keys: Vec<_> = Dimension::ALL
        .iter()
        .map(|dimension| {
            let value = if by.contains(dimension) { dimension.expression(read_from) } else { "''" };
            format!("{value} AS by_{name}", name = dimension.name())
        })
        .collect();
    let moment = |Moment(seconds)| format!("toDateTime({seconds}, 'UTC')");
    let (from, to) = (moment(range.from), moment(range.to));
    let earliest = format!("({from} - INTERVAL {MAX_JOB_AGE})");
    let (measures, finished) = match read_from {
        ReadFrom::Facts => (
            "outcome = 'completed' AS completed, outcome = 'errored' AS errored, total_seconds AS total_max, \
             run_seconds AS run_max, queue_seconds AS queue_max FROM job_facts",
            "finished_at",
        ),
        ReadFrom::Rollup => (
            "completed, errored, total_max, run_max, queue_max, total_state, run_state, queue_state \
             FROM job_stats_by_minute",
            "minute",
        ),
    };
    // Most of the created hours in question have no such job. Their minutes are small to read, their states are large.
    let hours = match read_from {
        ReadFrom::Facts => String::new(),
        ReadFrom::Rollup => format!(
            " AND created_hour IN (SELECT created_hour FROM job_stats WHERE created_hour >= {earliest} \
             AND arrayExists(minute -> minute >= {from} AND minute < {to}, minute_cells.minute))"
        ),
    };
    let quantiles = |kind: &str| match read_from {
        ReadFrom::Facts => format!(
            "quantilesDDIf({QUANTILE_LEVELS})(assumeNotNull(part.{kind}_max), part.{kind}_max IS NOT NULL) AS {kind}"
        ),
        ReadFrom::Rollup => format!("quantilesDDMerge({QUANTILE_LEVELS})(part.{kind}_state) AS {kind}"),
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

/// Asks for the groups, of one source and one resource alone where these are given.
pub async fn groups(
    client: &Client,
    read_from: ReadFrom,
    by: &[Dimension],
    range: Range,
    (source, resource): (Option<&str>, Option<&str>),
) -> clickhouse::error::Result<Vec<Group>> {
    let mut query = client.query(&sql(read_from, by, range, source.is_some(), resource.is_some()));
    for value in [source, resource].into_iter().flatten() {
        query = query.bind(value);
    }
    query.fetch_all().await
}
