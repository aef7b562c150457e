//! The database of a run: its tables, waiting until they are filled and merged, and a digest of what they hold.

use std::time::{Duration, Instant};

use anyhow::ensure;
use clickhouse::{Client, Row};
use hookline_schemas::migrations::{MIGRATIONS, Migration};
use serde::Deserialize;

const POLL: Duration = Duration::from_millis(250);
/// A run that takes longer than this fails.
const MAX_WAIT: Duration = Duration::from_secs(900);
/// Merges come in waves; they have ended when there was none for this long.
const QUIET: Duration = Duration::from_secs(10);

/// Creates the tables and views.
pub async fn create(clickhouse: &Client) -> anyhow::Result<()> {
    for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
        clickhouse.query(statement).execute().await?;
    }
    Ok(())
}

/// Waits until `deliveries` has `records` rows; gives the time since `began`.
pub async fn until_filled(clickhouse: &Client, records: u64, began: Instant) -> anyhow::Result<Duration> {
    loop {
        let rows: u64 = clickhouse.query("SELECT count() FROM deliveries").fetch_one().await?;
        if rows >= records {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < MAX_WAIT, "{rows} of {records} rows in deliveries after {MAX_WAIT:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until nothing has been merged for a while.
pub async fn until_merged(clickhouse: &Client) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut quiet_since = began;
    while quiet_since.elapsed() < QUIET {
        ensure!(began.elapsed() < MAX_WAIT, "merges did not end within {MAX_WAIT:?}");
        let merges = "SELECT count() FROM system.merges WHERE database = currentDatabase()";
        if clickhouse.query(merges).fetch_one::<u64>().await? > 0 {
            quiet_since = Instant::now();
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Row counts and digests of a database; equal digests mean equal content.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct Content {
    pub jobs: u64,
    jobs_digest: u64,
    pub deliveries: u64,
    deliveries_digest: u64,
}

/// Reads every column of every row, but for the log ids, which contain the topic's.
pub async fn content(clickhouse: &Client) -> anyhow::Result<Content> {
    // As text, because a hash of columns is NULL where one of them is; and without the one that the engine cannot know.
    let of =
        |table| format!("SELECT count(), groupBitXor(cityHash64(toString(tuple(* EXCEPT log_id)))) FROM {table} FINAL");
    let sql = format!(
        "SELECT j.1 AS jobs, j.2 AS jobs_digest, d.1 AS deliveries, d.2 AS deliveries_digest
        FROM (SELECT ({}) AS j, ({}) AS d)",
        of("jobs"),
        of("deliveries"),
    );
    Ok(clickhouse.query(&sql).fetch_one().await?)
}

/// Bytes on disk of the active parts of `jobs` and `deliveries`.
pub async fn disk_bytes(clickhouse: &Client) -> anyhow::Result<u64> {
    let sql = "SELECT sum(bytes_on_disk) FROM system.parts
        WHERE database = currentDatabase() AND active AND table IN ('jobs', 'deliveries')";
    Ok(clickhouse.query(sql).fetch_one().await?)
}
