//! Jobs by any filter, newest or slowest first, page by page.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReadFrom;
use super::filter::Filter;
use super::finished::Kind;
use super::range::Range;
use super::statement::hidden;
use super::statement::{Parameter, Statement};
use super::timestamp::Timestamp;
use hookline_schemas::sql::created_hours_of;

/// Whether jobs have ended and, where not, how likely an end still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Jobs with an end and without one.
    Any,
    /// Jobs without an end whose last event may still come.
    Open,
    /// Open jobs beyond the threshold of their resource.
    Stuck,
    /// Jobs without an end that nothing more comes of.
    Unresolved,
}

impl State {
    const fn view(self) -> &'static str {
        match self {
            Self::Any => "job_facts",
            Self::Open => "open_jobs",
            Self::Stuck => "stuck_jobs",
            Self::Unresolved => "unresolved_jobs",
        }
    }
}

/// Which time of the jobs lies in the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    Created,
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Newest,
    Slowest(Kind),
}

/// Asks for one page of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jobs {
    pub state: State,
    pub time: Time,
    pub range: Range,
    pub filter: Filter,
    pub order: Order,
    /// The last job of the page before.
    pub after: Option<Position>,
    pub limit: u16,
}

/// Where a job stands in the order: nothing that comes in later moves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// What the jobs are ordered by, in milliseconds.
    pub key: i64,
    pub source: String,
    pub resource: String,
    pub job_id: String,
}

/// A job. Credits are text, because they may be larger than what every reader of JSON keeps exact.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize, ToSchema)]
pub struct Job {
    pub source: String,
    pub resource: String,
    pub job_id: String,
    pub job_type: String,
    /// `completed`, `errored` or `open`.
    pub outcome: String,
    pub error_code: String,
    pub error_message: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    pub total_seconds: Option<f64>,
    pub run_seconds: Option<f64>,
    pub queue_seconds: Option<f64>,
    /// Seconds since creation of a job without an end.
    pub age_seconds: Option<f64>,
    pub width: Option<i64>,
    pub height: Option<i64>,
    pub image_count: Option<i64>,
    pub fps: Option<f64>,
    pub media_seconds: Option<f64>,
    pub credits_estimated: Option<String>,
    pub credits_charged: Option<String>,
    pub credits_refunded: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub first_received_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub last_received_at: Timestamp,
    /// What the jobs are ordered by.
    #[serde(skip_serializing_if = "hidden")]
    #[schema(ignore)]
    key: i64,
}

/// The columns of [`Job`] but the last one, from a view that has those of `job_facts`.
pub(super) const COLUMNS: &str = "source, resource, job_id, job_type, outcome, error_code, error_message, \
     toUnixTimestamp64Milli(created_at) AS created_ms, toUnixTimestamp64Milli(started_at) AS started_ms, \
     toUnixTimestamp64Milli(finished_at) AS finished_ms, total_seconds, run_seconds, queue_seconds, \
     CAST(if(outcome = 'open' AND created_at <= now64(3), dateDiff('millisecond', created_at, now64(3)) / 1000, NULL), \
     'Nullable(Float64)') AS age, width, height, image_count, fps, media_seconds, toString(credits_estimated) AS estimated, \
     toString(credits_charged) AS charged, toString(credits_refunded) AS refunded, \
     toUnixTimestamp64Milli(first_received_at) AS first_ms, toUnixTimestamp64Milli(last_received_at) AS last_ms";

/// Gives the columns their names: an alias that hides a column of the view would be meant in the conditions, too.
pub(super) const NAMES: &str = "source, resource, job_id, job_type, outcome, error_code, error_message, created_ms AS created_at, \
     started_ms AS started_at, finished_ms AS finished_at, total_seconds, run_seconds, queue_seconds, age AS age_seconds, width, \
     height, image_count, fps, media_seconds, estimated AS credits_estimated, charged AS credits_charged, \
     refunded AS credits_refunded, first_ms AS first_received_at, last_ms AS last_received_at, key";

impl Jobs {
    pub fn statement(&self) -> Statement {
        let Range { from, to } = self.range;
        let within = match self.time {
            Time::Created => format!(
                "created_hour >= toStartOfHour({from}) AND created_hour < {to} AND {created}",
                from = from.sql(),
                to = to.sql(),
                created = self.range.contains("created_at"),
            ),
            Time::Finished => {
                format!(
                    "outcome != 'open' AND {} AND {}",
                    self.range.contains("finished_at"),
                    created_hours_of(&from.sql())
                )
            }
        };
        let (key, known) = match (self.order, self.time) {
            (Order::Newest, Time::Created) => ("toUnixTimestamp64Milli(created_at)".to_owned(), "1".to_owned()),
            (Order::Newest, Time::Finished) => {
                ("toUnixTimestamp64Milli(assumeNotNull(finished_at))".to_owned(), "1".to_owned())
            }
            (Order::Slowest(kind), _) => {
                let seconds = format!("{}_seconds", kind.name());
                (format!("toInt64(round(assumeNotNull({seconds}) * 1000))"), format!("{seconds} IS NOT NULL"))
            }
        };
        let mut parameters = self.filter.parameters();
        let after = self.after.as_ref().map_or("1", |position| {
            parameters.extend([
                ("after_key", Parameter::Number(position.key)),
                ("after_source", Parameter::Text(position.source.clone())),
                ("after_resource", Parameter::Text(position.resource.clone())),
                ("after_job_id", Parameter::Text(position.job_id.clone())),
            ]);
            "(key, source, resource, job_id) < \
             ({after_key:Int64}, {after_source:String}, {after_resource:String}, {after_job_id:String})"
        });
        parameters.push(("limit", Parameter::Number(self.limit.into())));
        let sql = format!(
            "SELECT {NAMES} FROM (SELECT {COLUMNS}, {key} AS key FROM {view} WHERE {within} AND {known} AND {condition}) \
             WHERE {after} ORDER BY key DESC, source DESC, resource DESC, job_id DESC LIMIT {{limit:UInt16}}",
            view = self.state.view(),
            condition = self.filter.condition(ReadFrom::Facts),
        );
        Statement::new(sql, parameters)
    }

    /// Where the next page begins; nothing where this one is the last.
    pub fn next(&self, rows: &[Job]) -> Option<Position> {
        let full = rows.len() >= usize::from(self.limit);
        rows.last().filter(|_| full).map(|job| Position {
            key: job.key,
            source: job.source.clone(),
            resource: job.resource.clone(),
            job_id: job.job_id.clone(),
        })
    }
}
