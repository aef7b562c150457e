//! What the tables lack of a batch, asked before and after it is written.

use std::collections::{HashMap, HashSet};

use clickhouse::{Client, Row};
use hookline_service::shutdown::CancellationToken;
use serde::Deserialize;

use super::plan::Part;
use crate::failure::{Cause, Remedy};
use crate::fold::{Folded, JobRow};
use crate::patience::Patience;
use crate::tables::Table;

/// Everything that the facts of a job are; text, because a hash of a NULL is NULL.
const FACTS: &str = "toString((created_at, job_type, width, height, media_seconds, image_count, started_at, completed_at, \
     errored_at, error, credits_estimated, credits_completed, credits_errored, fps, first_received_at, last_received_at, \
     fold_version))";

/// A batch names up to 128 bytes for each of its jobs; the default, 256 KiB, is soon too little.
const MAX_QUERY_BYTES: &str = "1073741824";

/// A hash of each job's key, and one of its facts.
pub type Fingerprints = HashMap<u64, u64>;

/// Asks ClickHouse about the part that is being read.
#[derive(Clone, Debug)]
pub struct Inspector {
    client: Client,
    log_id: String,
    give_up: CancellationToken,
}

#[derive(Row, Deserialize)]
struct Fingerprint {
    job: u64,
    facts: u64,
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
    /// Asks through `client` until called off.
    pub fn new(client: Client, log_id: String, give_up: CancellationToken) -> Self {
        Self { client, log_id, give_up }
    }

    /// Origins in this partition that have a dead letter already.
    pub async fn dead_origins(&self, part: &Part) -> anyhow::Result<HashSet<String>> {
        let prefix = format!("{}/{}/", part.topic, part.partition);
        let query = "SELECT DISTINCT origin FROM dead_letters WHERE startsWith(origin, ?)";
        let rows: Vec<Origin> = self.ask(|| self.client.query(query).bind(&prefix).fetch_all()).await?;
        Ok(rows.into_iter().map(|row| row.origin).collect())
    }

    /// How many offsets of `first..end` have a row.
    pub async fn present(&self, table: Table, part: &Part, first: i64, end: i64) -> anyhow::Result<u64> {
        let query = format!(
            "SELECT uniqExact(offset) AS count FROM {} WHERE log_id = ? AND topic = ? AND partition = ? AND offset >= ? AND \
             offset < ?",
            table.as_str()
        );
        let ask = || {
            let query = self.client.query(&query).bind(&self.log_id).bind(&part.topic).bind(part.partition);
            query.bind(first).bind(end).fetch_one::<Count>()
        };
        Ok(self.ask(ask).await?.count)
    }

    /// What is known of the jobs that a batch is about.
    pub async fn fingerprints(&self, folded: &Folded<'_>) -> anyhow::Result<Fingerprints> {
        if folded.jobs.is_empty() {
            return Ok(Fingerprints::new());
        }
        let distinct = |column: fn(&JobRow<'_>) -> String| -> Vec<String> {
            folded.jobs.iter().map(column).collect::<HashSet<_>>().into_iter().collect()
        };
        let hours: HashSet<i64> = folded.jobs.iter().map(|job| job.key.created_hour.0).collect();
        let hours = hours.into_iter().map(|hour| hour.to_string()).collect::<Vec<_>>().join(", ");
        let jobs: Vec<&str> = folded.jobs.iter().map(|job| job.key.job_id.as_str()).collect();
        let query = format!(
            "SELECT cityHash64(source, resource, created_hour, job_id) AS job, cityHash64({FACTS}) AS facts FROM jobs FINAL \
             WHERE source IN ? AND resource IN ? AND created_hour IN ({hours}) AND job_id IN ?"
        );
        let (sources, resources) =
            (distinct(|job| job.key.source.to_owned()), distinct(|job| job.key.resource.to_string()));
        let ask = || {
            let query = self.client.query(&query).with_setting("max_query_size", MAX_QUERY_BYTES);
            query.bind(&sources).bind(&resources).bind(&jobs).fetch_all::<Fingerprint>()
        };
        Ok(self.ask(ask).await?.into_iter().map(|row| (row.job, row.facts)).collect())
    }

    /// Asks again where ClickHouse is away or busy.
    async fn ask<T, F>(&self, question: impl Fn() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, clickhouse::error::Error>>,
    {
        let mut patience = Patience::until(&self.give_up);
        loop {
            match patience.or_give_up(question()).await.map_err(|_| anyhow::anyhow!("called off"))? {
                Ok(answer) => return Ok(answer),
                Err(error) if Cause::from(&error).remedy() == Remedy::Retry => {
                    tracing::warn!(%error, "ClickHouse does not answer, asking again");
                    patience.wait().await.map_err(|_| anyhow::anyhow!("called off"))?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Jobs that are new or have other facts than before.
pub fn changed(before: &Fingerprints, after: &Fingerprints) -> u64 {
    after.iter().filter(|(job, facts)| before.get(job) != Some(facts)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_or_different_has_changed() {
        let before = Fingerprints::from([(1, 10), (2, 20)]);
        assert_eq!(changed(&before, &before), 0);
        assert_eq!(changed(&before, &Fingerprints::from([(1, 10), (2, 21), (3, 30)])), 2);
    }
}
