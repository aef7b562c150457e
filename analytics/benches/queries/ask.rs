//! How a question is put. It is the one place to change where the questions of the product are asked otherwise.

use std::time::{Duration, Instant};

use clickhouse::Client;
use hookline_schemas::rollup_range::RollupRange;
use hookline_schemas::sql::{QUANTILE_LEVELS, at_most_max, created_hours_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Jobs by outcome, and the quantiles of one kind of duration, from the roll-up.
    Durations,
    /// Jobs by outcome, from the roll-up.
    Counts,
    /// What [`Topic::Durations`] asks, from the facts.
    Facts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Nothing,
    Resource,
    JobType,
    ErrorCode,
    /// Groups of so many seconds of the time of the end.
    Step(u32),
}

#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub topic: Topic,
    pub by: By,
    pub range: RollupRange,
}

impl Question {
    fn sql(self) -> String {
        let Self { topic, by, range } = self;
        let (step, key) = match by {
            By::Nothing => (None, "''".to_owned()),
            By::Resource => (None, "resource".to_owned()),
            By::JobType => (None, "job_type".to_owned()),
            By::ErrorCode => (None, "error_code".to_owned()),
            By::Step(seconds) => (Some(seconds), format!("toStartOfInterval(ended, INTERVAL {seconds} SECOND, 'UTC')")),
        };
        let dimension = match by {
            By::Nothing | By::Step(_) => None,
            By::Resource | By::JobType | By::ErrorCode => Some(key.as_str()),
        };
        let columns =
            |measures: &[&'static str]| dimension.into_iter().chain(measures.iter().copied()).collect::<Vec<_>>();
        let (rows, measures) = match topic {
            Topic::Counts => (range.rows(&columns(&["completed", "errored"]), "", step), String::new()),
            Topic::Durations => (
                range.rows(&columns(&["completed", "errored", "total_jobs", "total_max", "total_state"]), "", step),
                durations(&format!("quantilesDDMerge({QUANTILE_LEVELS})(total_state)")),
            ),
            Topic::Facts => (
                facts(range),
                durations(&format!("quantilesDDIf({QUANTILE_LEVELS})(assumeNotNull(total_max), total_jobs = 1)")),
            ),
        };
        format!("SELECT {key} AS key, sum(completed), sum(errored){measures} FROM ({rows}) GROUP BY key ORDER BY key")
    }
}

fn durations(quantiles: &str) -> String {
    format!(", sum(total_jobs), max(total_max) AS longest, {}", at_most_max(quantiles, "longest"))
}

fn facts(RollupRange { from, to }: RollupRange) -> String {
    let (from, to) = (format!("toDateTime({from}, 'UTC')"), format!("toDateTime({to}, 'UTC')"));
    format!(
        "SELECT assumeNotNull(finished_at) AS ended, resource, job_type, if(outcome = 'errored', job_facts.error_code, '') AS \
         error_code, outcome = 'completed' AS completed, outcome = 'errored' AS errored, total_seconds IS NOT NULL AS \
         total_jobs, total_seconds AS total_max FROM job_facts WHERE outcome != 'open' AND finished_at >= {from} AND \
         finished_at < {to} AND {hours}",
        hours = created_hours_of(&from),
    )
}

/// The time from the question to the last byte of the answer.
pub async fn ask(client: &Client, question: Question) -> clickhouse::error::Result<Duration> {
    answer(client, &question.sql()).await
}

/// A job of any source and its deliveries, without their bodies.
pub async fn job_by_id(client: &Client, id: &str) -> clickhouse::error::Result<Duration> {
    let job = answer(client, &format!("SELECT * FROM job_facts WHERE job_id = '{id}'")).await?;
    let deliveries =
        format!("SELECT * EXCEPT (body, signature) FROM deliveries FINAL WHERE job_id = '{id}' ORDER BY signed_at");
    Ok(job + answer(client, &deliveries).await?)
}

async fn answer(client: &Client, sql: &str) -> clickhouse::error::Result<Duration> {
    let began = Instant::now();
    client.query_raw(sql).fetch_bytes("TabSeparated")?.collect().await?;
    Ok(began.elapsed())
}
