//! What the tables lack of a batch, asked before it is written.

use std::collections::HashSet;

use clickhouse::{Client, Row};
use hookline_schemas::facts::Facts;
use hookline_schemas::time::{CreatedAt, OccurredAt, ReceivedAt};
use hookline_service::shutdown::CancellationToken;
use serde::Deserialize;

use super::plan::PartitionRange;
use crate::batch::fold::{Folded, JobRow};
use crate::clickhouse::columns::Table;
use crate::clickhouse::error::{Cause, Operation, Remedy};
use crate::retry::until_cancelled;

/// A batch names up to 128 bytes for each of its jobs; the default, 256 KiB, is soon too little.
const MAX_QUERY_BYTES: &str = "1073741824";

#[derive(Clone, Debug)]
pub struct Inspector {
    client: Client,
    log_id: String,
    cancel: CancellationToken,
}

/// What the table knows of a job, in the order of its key.
#[derive(Row, Deserialize)]
struct JobsRow {
    source: String,
    resource: String,
    created_hour: u32,
    job_id: String,
    created_at: i64,
    job_type: String,
    width: Option<i64>,
    height: Option<i64>,
    media_seconds: Option<f64>,
    image_count: Option<i64>,
    started_at: Option<i64>,
    completed_at: Option<i64>,
    errored_at: Option<i64>,
    error: String,
    credits_estimated: Option<i64>,
    credits_completed: Option<i64>,
    credits_errored: Option<i64>,
    fps: Option<f64>,
    first_received_at: i64,
    last_received_at: i64,
    fold_version: u16,
}

/// Joins by hand instead of by FINAL, which would read every column of every job of these hours.
const KNOWN: &str = "SELECT toString(source) AS source, toString(resource) AS resource, created_hour, job_id, \
     toUnixTimestamp64Milli(min(created_at)) AS created_at, toString(max(job_type)) AS job_type, max(width) AS width, \
     max(height) AS height, max(media_seconds) AS media_seconds, max(image_count) AS image_count, \
     toUnixTimestamp64Milli(min(started_at)) AS started_at, toUnixTimestamp64Milli(min(completed_at)) AS completed_at, \
     toUnixTimestamp64Milli(min(errored_at)) AS errored_at, max(error) AS error, \
     max(credits_estimated) AS credits_estimated, max(credits_completed) AS credits_completed, \
     min(credits_errored) AS credits_errored, max(fps) AS fps, \
     toUnixTimestamp64Milli(min(first_received_at)) AS first_received_at, \
     toUnixTimestamp64Milli(max(last_received_at)) AS last_received_at, min(fold_version) AS fold_version FROM jobs";

impl JobsRow {
    fn key(&self) -> (&str, &str, i64, &str) {
        (&self.source, &self.resource, self.created_hour.into(), &self.job_id)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            created_at: CreatedAt(self.created_at),
            job_type: (&*self.job_type).into(),
            width: self.width,
            height: self.height,
            media_seconds: self.media_seconds,
            image_count: self.image_count,
            started_at: self.started_at.map(OccurredAt),
            completed_at: self.completed_at.map(OccurredAt),
            errored_at: self.errored_at.map(OccurredAt),
            error: (&*self.error).into(),
            credits_estimated: self.credits_estimated,
            credits_completed: self.credits_completed,
            credits_errored: self.credits_errored,
            fps: self.fps,
            first_received_at: ReceivedAt(self.first_received_at),
            last_received_at: ReceivedAt(self.last_received_at),
            fold_version: self.fold_version,
        }
    }
}

#[derive(Row, Deserialize)]
struct Count {
    count: u64,
}

#[derive(Row, Deserialize)]
struct Origin {
    origin: String,
}

impl Inspector {
    pub fn new(client: Client, log_id: String, cancel: CancellationToken) -> Self {
        Self { client, log_id, cancel }
    }

    /// Returns the origins in this partition that have a dead letter already.
    pub async fn published_origins(&self, part: &PartitionRange) -> anyhow::Result<HashSet<String>> {
        let prefix = format!("{}/{}/", part.topic, part.partition.0);
        let query = "SELECT DISTINCT origin FROM dead_letters WHERE startsWith(origin, ?)";
        let rows: Vec<Origin> = self.ask(|| self.client.query(query).bind(&prefix).fetch_all()).await?;
        Ok(rows.into_iter().map(|row| row.origin).collect())
    }

    /// Counts the offsets of `part` from `next` up to `end` that have a row.
    pub async fn present(&self, table: Table, part: &PartitionRange) -> anyhow::Result<u64> {
        let query = format!(
            "SELECT uniqExact(offset) AS count FROM {} WHERE log_id = ? AND topic = ? AND partition = ? AND offset >= ? AND \
             offset < ?",
            table.as_str()
        );
        let ask = || {
            let query = self.client.query(&query).bind(&self.log_id).bind(&part.topic).bind(part.partition.0);
            query.bind(part.next.0).bind(part.end.0).fetch_one::<Count>()
        };
        Ok(self.ask(ask).await?.count)
    }

    /// Counts the jobs of a batch of which the table lacks a fact.
    pub async fn missing_facts(&self, folded: &Folded<'_>) -> anyhow::Result<u64> {
        if folded.jobs.is_empty() {
            return Ok(0);
        }
        let distinct = |column: fn(&JobRow<'_>) -> String| -> Vec<String> {
            folded.jobs.iter().map(column).collect::<HashSet<_>>().into_iter().collect()
        };
        let hours = distinct(|job| job.key.created_hour.0.to_string()).join(", ");
        let (sources, resources) =
            (distinct(|job| job.key.source.to_owned()), distinct(|job| job.key.resource.to_string()));
        let jobs: Vec<&str> = folded.jobs.iter().map(|job| job.key.job_id.as_str()).collect();
        let query = format!(
            "{KNOWN} WHERE source IN ? AND resource IN ? AND created_hour IN ({hours}) AND job_id IN ? \
             GROUP BY source, resource, created_hour, job_id ORDER BY source, resource, created_hour, job_id"
        );
        let ask = || {
            let query = self.client.query(&query).with_setting("max_query_size", MAX_QUERY_BYTES);
            // The columns are meant where they are aggregated and filtered, not what is made of them.
            let query = query.with_setting("prefer_column_name_to_alias", "1");
            query.bind(&sources).bind(&resources).bind(&jobs).fetch_all::<JobsRow>()
        };
        Ok(missing_facts(&folded.jobs, &self.ask(ask).await?))
    }

    /// Runs a query, again and again while ClickHouse does not answer or is busy.
    async fn ask<T, F>(&self, query: impl Fn() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, clickhouse::error::Error>>,
    {
        let retry = |error: &clickhouse::error::Error| {
            let retry = Cause::from(error).remedy(Operation::Read) == Remedy::Retry;
            if retry {
                tracing::warn!(%error, "ClickHouse does not answer a query, asking again");
            }
            retry
        };
        Ok(until_cancelled(&self.cancel, async || query().await, retry).await??)
    }
}

/// Both are sorted by the key of `jobs`.
fn missing_facts(jobs: &[JobRow<'_>], known: &[JobsRow]) -> u64 {
    let mut known = known.iter().peekable();
    let missing = jobs.iter().filter(|job| {
        let key = (job.key.source, job.key.resource.as_str(), job.key.created_hour.0, job.key.job_id.as_str());
        while known.next_if(|known| known.key() < key).is_some() {}
        known.next_if(|known| known.key() == key).is_none_or(|known| {
            let mut both = known.facts();
            both.join(job.facts.clone());
            both != known.facts()
        })
    });
    missing.count() as u64
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::{JobId, Resource};
    use hookline_schemas::time::CreatedHour;

    use super::*;
    use crate::batch::fold::JobKey;

    fn known(job: &str, started_at: Option<i64>) -> JobsRow {
        JobsRow {
            source: "prod".into(),
            resource: "video".into(),
            created_hour: 0,
            job_id: job.into(),
            created_at: 1,
            job_type: "T".into(),
            width: None,
            height: None,
            media_seconds: None,
            image_count: None,
            started_at,
            completed_at: None,
            errored_at: None,
            error: String::new(),
            credits_estimated: None,
            credits_completed: None,
            credits_errored: None,
            fps: None,
            first_received_at: 5,
            last_received_at: 7,
            fold_version: 1,
        }
    }

    fn row(known: &JobsRow) -> JobRow<'_> {
        let key = JobKey {
            source: &known.source,
            resource: Resource::Video,
            created_hour: CreatedHour(known.created_hour.into()),
            job_id: JobId::new(&*known.job_id).unwrap(),
        };
        JobRow { key, facts: known.facts() }
    }

    #[test]
    fn what_the_table_lacks_is_counted() {
        let batch = [known("a", Some(3)), known("b", Some(3)), known("d", None)];
        let batch: Vec<_> = batch.iter().map(row).collect();
        let all = [known("a", Some(3)), known("b", Some(2)), known("c", None), known("d", Some(9))];
        assert_eq!(missing_facts(&batch, &all), 0, "it knows as much or more");
        assert_eq!(missing_facts(&batch, &all[1..]), 1, "a job is missing");
        let late = [known("a", Some(4)), known("b", None), known("d", None)];
        assert_eq!(missing_facts(&batch, &late), 2, "a later start, and none at all");
        assert_eq!(missing_facts(&batch, &[]), 3);
    }
}
