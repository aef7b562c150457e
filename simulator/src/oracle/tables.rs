//! Reads the rows from ClickHouse.

use clickhouse::{Client, RowOwned, RowRead};

use super::Evidence;
use crate::ledger::Attempt;

/// Reads everything that is held against `attempts`.
pub async fn read(client: &Client, attempts: Vec<Attempt>) -> clickhouse::error::Result<Evidence> {
    const DEAD_LETTERS: &str = "SELECT source, reason, origin, event_type, job_id, signature, signed_at_text, \
                                lower(hex(SHA256(body))) AS body_sha256 FROM dead_letters FINAL";
    Ok(Evidence {
        attempts,
        deliveries: rows(client, "SELECT ?fields FROM deliveries FINAL").await?,
        dead_letters: rows(client, DEAD_LETTERS).await?,
        job_facts: rows(client, "SELECT ?fields FROM job_facts").await?,
    })
}

async fn rows<T: RowOwned + RowRead>(client: &Client, query: &str) -> clickhouse::error::Result<Vec<T>> {
    client.query(query).fetch_all().await
}
