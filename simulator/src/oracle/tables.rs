//! Reads the rows from ClickHouse.

use clickhouse::{Client, RowOwned, RowRead};

use super::Snapshot;
use crate::ledger::Attempt;

/// Reads every row that the oracle compares with `attempts`.
pub async fn read(client: &Client, attempts: Vec<Attempt>) -> clickhouse::error::Result<Snapshot> {
    const DEAD_LETTERS: &str = "SELECT source, reason, origin, event_type, job_id, signature, signed_at_text, \
                                lower(hex(SHA256(body))) AS body_sha256 FROM dead_letters FINAL";
    const REDRIVES: &str = "SELECT letters.source AS source, signature, signed_at_text, \
                            concat(letters.topic, '/', toString(letters.partition), '/', toString(letters.offset)) AS letter, \
                            concat(to_topic, '/', toString(to_partition), '/', toString(to_offset)) AS record \
                            FROM redrives AS sent FINAL INNER JOIN dead_letters AS letters FINAL ON sent.log_id = letters.log_id \
                            AND sent.topic = letters.topic AND sent.partition = letters.partition AND sent.offset = letters.offset";
    Ok(Snapshot {
        attempts,
        deliveries: rows(client, "SELECT ?fields FROM deliveries FINAL").await?,
        dead_letters: rows(client, DEAD_LETTERS).await?,
        redrives: rows(client, REDRIVES).await?,
        job_facts: rows(client, "SELECT ?fields FROM job_facts").await?,
        other_job_facts: Vec::new(),
        quantiles: rows(client, &quantiles("toStartOfMinute")).await?,
        job_stats: rows(client, &job_stats("minute", "job_stats_by_minute")).await?,
        hourly_quantiles: rows(client, &quantiles("toStartOfHour")).await?,
        hourly_job_stats: rows(client, &job_stats("hour", "job_stats_by_hour")).await?,
    })
}

fn job_stats(ended: &str, view: &str) -> String {
    format!(
        "SELECT created_hour, {ended} AS ended, source, resource, job_type, error_code, completed, errored, total_jobs, \
         run_jobs, queue_jobs, total_max, run_max, queue_max, finalizeAggregation(total_state) AS total, \
         finalizeAggregation(run_state) AS run, finalizeAggregation(queue_state) AS queue FROM {view}"
    )
}

fn quantiles(start_of: &str) -> String {
    let of = |kind: &str| {
        format!(
            "quantilesDDIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull({kind}_seconds), {kind}_seconds IS NOT NULL) AS {kind}"
        )
    };
    format!(
        "SELECT created_hour, ended, source, resource, job_type, code AS error_code, {}, {}, {} FROM (SELECT *, \
         {start_of}(assumeNotNull(finished_at)) AS ended, if(outcome = 'errored', error_code, '') AS code \
         FROM job_facts WHERE outcome != 'open') GROUP BY created_hour, ended, source, resource, job_type, code",
        of("total"),
        of("run"),
        of("queue"),
    )
}

async fn rows<T: RowOwned + RowRead>(client: &Client, query: &str) -> clickhouse::error::Result<Vec<T>> {
    client.query(query).fetch_all().await
}
