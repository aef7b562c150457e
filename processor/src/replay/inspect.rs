//! Asks ClickHouse which rows and facts of a batch the tables lack, before a replay writes it.

use std::collections::HashSet;

use clickhouse::{Client, Row};
use hookline_schemas::facts::Facts;
use hookline_schemas::time::CreatedHour;
use hookline_service::shutdown::CancellationToken;
use serde::Deserialize;

use super::plan::PartitionRange;
use crate::batch::fold::JobRow;
use crate::clickhouse::columns::Table;
use crate::clickhouse::inserter::ClickHouse;

/// A batch names up to 128 bytes for each of its jobs; the default, 256 KiB, is soon too little.
const MAX_QUERY_BYTES: &str = "1073741824";

#[derive(Clone, Debug)]
pub struct Inspector {
    clickhouse: ClickHouse,
    cancel: CancellationToken,
}

/// What the table knows of a job: the columns of its key in the key's order, then those of the facts.
#[derive(Row, Deserialize)]
struct JobsRow {
    source: String,
    resource: String,
    created_hour: u32,
    job_id: String,
    facts: Facts<'static>,
}

impl JobsRow {
    fn key(&self) -> (&str, &str, i64, &str) {
        (&self.source, &self.resource, self.created_hour.into(), &self.job_id)
    }
}

/// Jobs of which `jobs` lacks something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissingFacts {
    pub absent: u64,
    /// They are there, and their facts change.
    pub changed: u64,
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
    pub fn new(clickhouse: ClickHouse, cancel: CancellationToken) -> Self {
        Self { clickhouse, cancel }
    }

    /// Returns the origins in this partition that have a dead letter already: one that is in the dead-letter topic as it is now,
    /// and was made from a record of the topic as it is now.
    pub async fn published_origins(
        &self,
        part: &PartitionRange,
        dead_letter_log_id: &str,
    ) -> anyhow::Result<HashSet<String>> {
        let prefix = format!("{}/{}/", part.topic, part.partition.0);
        let query = "SELECT DISTINCT origin FROM dead_letters \
                     WHERE log_id = ? AND origin_log_id = ? AND startsWith(origin, ?)";
        let ask = async |client: &Client| {
            let query = client.query(query).bind(dead_letter_log_id);
            query.bind(&part.log_id).bind(&prefix).fetch_all::<Origin>().await
        };
        Ok(self.ask(ask).await?.into_iter().map(|row| row.origin).collect())
    }

    /// Counts the offsets of `part` from `next` up to `end` that have a row.
    pub async fn present(&self, table: Table, part: &PartitionRange) -> anyhow::Result<u64> {
        let query = format!(
            "SELECT uniqExact(offset) AS count FROM {} WHERE log_id = ? AND topic = ? AND partition = ? AND offset >= ? AND \
             offset < ?",
            table.as_str()
        );
        let ask = async |client: &Client| {
            let query = client.query(&query).bind(&part.log_id).bind(&part.topic).bind(part.partition.0);
            query.bind(part.next.0).bind(part.end.0).fetch_one::<Count>().await
        };
        Ok(self.ask(ask).await?.count)
    }

    /// From which created hour on `jobs` has every job: those before it may have expired, and do not come back.
    pub async fn jobs_kept_since(&self) -> anyhow::Result<CreatedHour> {
        let query = "SELECT toUnixTimestamp(created_hour) FROM jobs_kept_since";
        let hour: u32 = self.ask(async |client: &Client| client.query(query).fetch_one().await).await?;
        Ok(CreatedHour(hour.into()))
    }

    /// Counts the jobs of a batch that the table does not have, and those of which it lacks a fact.
    pub async fn missing_facts(&self, jobs: &[&JobRow<'_>]) -> anyhow::Result<MissingFacts> {
        if jobs.is_empty() {
            return Ok(MissingFacts::default());
        }
        let distinct = |column: fn(&JobRow<'_>) -> String| -> Vec<String> {
            jobs.iter().copied().map(column).collect::<HashSet<_>>().into_iter().collect()
        };
        let hours = distinct(|job| job.key.created_hour.0.to_string()).join(", ");
        let (sources, resources) =
            (distinct(|job| job.key.source.to_owned()), distinct(|job| job.key.resource.to_string()));
        let ids: Vec<&str> = jobs.iter().map(|job| job.key.job_id.as_str()).collect();
        // Joins by the columns' own functions instead of by FINAL, which would read every column of every job of these hours.
        let facts: String = Facts::COLUMNS.iter().map(|(name, join)| format!(", {join}({name})")).collect();
        let query = format!(
            "SELECT source, resource, created_hour, job_id{facts} FROM jobs \
             WHERE source IN ? AND resource IN ? AND created_hour IN ({hours}) AND job_id IN ? \
             GROUP BY source, resource, created_hour, job_id ORDER BY source, resource, created_hour, job_id"
        );
        // The crate validates flat rows only. The types are the table's, which was compared before the replay began.
        let ask = async |client: &Client| {
            let client = client.clone().with_validation(false);
            let query = client.query(&query).with_setting("max_query_size", MAX_QUERY_BYTES);
            query.bind(&sources).bind(&resources).bind(&ids).fetch_all::<JobsRow>().await
        };
        Ok(missing_facts(jobs, &self.ask(ask).await?))
    }

    async fn ask<T>(&self, query: impl AsyncFnMut(&Client) -> clickhouse::error::Result<T>) -> anyhow::Result<T> {
        Ok(self.clickhouse.query_until_cancelled(&self.cancel, query).await??)
    }
}

/// Both are sorted by the key of `jobs`.
fn missing_facts(jobs: &[&JobRow<'_>], known: &[JobsRow]) -> MissingFacts {
    let mut known = known.iter().peekable();
    let mut missing = MissingFacts::default();
    for job in jobs {
        let key = (job.key.source, job.key.resource.as_str(), job.key.created_hour.0, job.key.job_id.as_str());
        while known.next_if(|known| known.key() < key).is_some() {}
        match known.next_if(|known| known.key() == key) {
            None => missing.absent += 1,
            Some(known) => missing.changed += u64::from(known.facts.would_learn_from(&job.facts)),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::{JobId, Resource};
    use hookline_schemas::time::OccurredAt;

    use super::*;
    use crate::batch::fold::JobKey;

    fn known(job: &str, started_at: Option<i64>) -> JobsRow {
        JobsRow {
            source: "prod".into(),
            resource: "video".into(),
            created_hour: 0,
            job_id: job.into(),
            facts: Facts { started_at: started_at.map(OccurredAt), ..Facts::default() },
        }
    }

    fn row(known: &JobsRow) -> JobRow<'_> {
        let key = JobKey {
            source: &known.source,
            resource: Resource::Video,
            created_hour: CreatedHour(known.created_hour.into()),
            job_id: JobId::new(&*known.job_id).unwrap(),
        };
        JobRow { key, facts: known.facts.clone() }
    }

    #[test]
    fn what_the_table_lacks_is_counted() {
        let batch = [known("a", Some(3)), known("b", Some(3)), known("d", None)];
        let batch: Vec<_> = batch.iter().map(row).collect();
        let batch: Vec<_> = batch.iter().collect();
        let all = [known("a", Some(3)), known("b", Some(2)), known("c", None), known("d", Some(9))];
        let missing = |known: &[JobsRow]| {
            let MissingFacts { absent, changed } = missing_facts(&batch, known);
            (absent, changed)
        };
        assert_eq!(missing(&all), (0, 0), "it knows as much or more");
        assert_eq!(missing(&all[1..]), (1, 0), "a job is missing");
        let late = [known("a", Some(4)), known("b", None), known("d", None)];
        assert_eq!(missing(&late), (0, 2), "a later start, and none at all");
        assert_eq!(missing(&[]), (3, 0));
    }
}
