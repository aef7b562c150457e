//! Errors by code: how many, when the first and the last was seen, and which jobs to look at.

use std::collections::HashMap;

use clickhouse::Row;
use hookline_schemas::sql::created_hours_of;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReadFrom;
use super::filter::Filter;
use super::range::Range;
use super::statement::hidden;
use super::statement::{Parameter, Statement};
use super::timestamp::Timestamp;

/// Asks for the errors of the jobs that ended in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    pub range: Range,
    pub filter: Filter,
    /// The groups to answer with, the largest first.
    pub limit: u16,
    /// The view to read; the faster one without it. The numbers are the same.
    pub read_from: Option<ReadFrom>,
}

/// The jobs of a source, resource and type that failed with one code.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize, ToSchema)]
pub struct ErrorGroup {
    pub source: String,
    pub resource: String,
    pub job_type: String,
    pub error_code: String,
    pub errored: u64,
    /// Start of the minute in which the first of them ended.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen: Timestamp,
    /// Start of the minute in which the last of them ended.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen: Timestamp,
    /// The created hour of a job that ended in the last minute, where its example is looked for.
    #[serde(skip_serializing_if = "hidden")]
    #[schema(ignore)]
    last_created_hour: u32,
    /// All groups that there are.
    #[serde(skip_serializing_if = "hidden")]
    #[schema(ignore)]
    groups: u64,
}

/// A job of the last minute in which an error was seen.
#[derive(Clone, Debug, Row, Deserialize)]
pub struct ErrorExample {
    source: String,
    resource: String,
    job_type: String,
    error_code: String,
    job_id: String,
    message: String,
}

/// The errors of one code, with jobs that show them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorWithExamples {
    #[serde(flatten)]
    pub group: ErrorGroup,
    /// Ids of up to three jobs that ended in the last minute.
    pub examples: Vec<String>,
    /// The message of the first example; empty where there is none.
    pub message: String,
}

impl Errors {
    pub fn read_from(&self) -> ReadFrom {
        ReadFrom::asked(self.read_from, &self.filter, self.range)
    }

    pub fn statement(&self) -> Statement {
        let read_from = self.read_from();
        let condition = self.filter.condition(read_from);
        let rows = match read_from {
            ReadFrom::Facts => format!(
                "SELECT toStartOfMinute(assumeNotNull(finished_at)) AS ended, created_hour, source, resource, job_type, \
                 error_code AS code, outcome = 'errored' AS errored FROM job_facts WHERE outcome = 'errored' AND {ended} \
                 AND {hours} AND {condition}",
                ended = self.range.contains("finished_at"),
                hours = created_hours_of(&self.range.from.sql()),
            ),
            // By minute, because the first and the last minute are asked for.
            ReadFrom::Rollup => self.range.in_rollup().rows(
                &["created_hour", "source", "resource", "job_type", "error_code AS code", "errored"],
                &format!("errored > 0 AND {condition}"),
                Some(60),
            ),
        };
        let sql = format!(
            "SELECT source, resource, job_type, code AS error_code, sum(errors.errored) AS errored, \
             toInt64(toUnixTimestamp(min(ended))) * 1000 AS first_seen, toInt64(toUnixTimestamp(max(ended))) * 1000 AS last_seen, \
             toUInt32(toUnixTimestamp(max((ended, created_hour)).2)) AS last_created_hour, count() OVER () AS groups \
             FROM ({rows}) AS errors GROUP BY source, resource, job_type, code \
             ORDER BY errored DESC, source, resource, job_type, code LIMIT {{limit:UInt16}}"
        );
        let mut parameters = self.filter.parameters();
        parameters.push(("limit", Parameter::Number(self.limit.into())));
        Statement::new(sql, parameters)
    }

    /// Asks for the newest jobs of the groups: those of the last minute, in the created hours that are known to have one.
    pub fn examples(&self, groups: &[ErrorGroup]) -> Statement {
        let list = |values: Vec<String>| format!("({})", values.join(", "));
        let hours =
            list(groups.iter().map(|group| format!("toDateTime({}, 'UTC')", group.last_created_hour)).collect());
        let minutes =
            list(groups.iter().map(|group| format!("toDateTime({}, 'UTC')", group.last_seen.0 / 1_000)).collect());
        let sql = format!(
            "SELECT source, resource, job_type, error_code, job_id, error_message AS message FROM job_facts \
             WHERE created_hour IN {hours} AND outcome = 'errored' AND toStartOfMinute(assumeNotNull(finished_at)) IN {minutes} \
             AND {condition} ORDER BY finished_at DESC, job_id LIMIT 3 BY source, resource, job_type, error_code",
            condition = self.filter.condition(ReadFrom::Facts),
        );
        Statement::new(sql, self.filter.parameters())
    }

    pub fn answer(groups: Vec<ErrorGroup>, examples: Vec<ErrorExample>) -> Vec<ErrorWithExamples> {
        let mut of_group: HashMap<_, Vec<_>> = HashMap::new();
        for ErrorExample { source, resource, job_type, error_code, job_id, message } in examples {
            of_group.entry((source, resource, job_type, error_code)).or_default().push((job_id, message));
        }
        let with_examples = |group: ErrorGroup| {
            let ErrorGroup { source, resource, job_type, error_code, .. } = group.clone();
            let examples = of_group.remove(&(source, resource, job_type, error_code)).unwrap_or_default();
            let message = examples.first().map(|(_, message)| message.clone()).unwrap_or_default();
            ErrorWithExamples { group, examples: examples.into_iter().map(|(id, _)| id).collect(), message }
        };
        groups.into_iter().map(with_examples).collect()
    }

    /// How many groups there are beside those that the limit left.
    pub fn groups(groups: &[ErrorGroup]) -> u64 {
        groups.first().map_or(0, |group| group.groups)
    }
}
