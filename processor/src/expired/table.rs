//! The table `expired_offsets`: what the warnings of every processor are read from, also after a restart.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clickhouse::inserter::{ClickHouse, ClickHouseError};

type Result<T> = std::result::Result<T, ClickHouseError>;

/// A range of offsets that expired and that nobody has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct ExpiredRange {
    pub log_id: String,
    pub topic: String,
    pub partition: i32,
    #[serde(rename = "from_offset")]
    pub from: i64,
    /// The offset after the last one.
    #[serde(rename = "to_offset")]
    pub to: i64,
    /// Unix milliseconds.
    #[serde(rename = "detected_at")]
    pub detected_ms: i64,
}

const UNACKNOWLEDGED: &str = "SELECT log_id, topic, partition, from_offset, to_offset, \
     toUnixTimestamp64Milli(expired_offsets.detected_at) AS detected_at FROM expired_offsets FINAL \
     WHERE toUnixTimestamp64Milli(acknowledged_at) = 0 ORDER BY topic, partition, from_offset";

impl ExpiredRange {
    pub fn records(&self) -> i64 {
        (self.to - self.from).max(0)
    }

    pub fn detected_at(&self) -> String {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.detected_ms) * 1_000_000);
        at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| self.detected_ms.to_string())
    }

    /// The warning that stays until the range is acknowledged.
    pub fn warning(&self) -> String {
        format!(
            "{}/{}: offsets {} to {} had been removed from the topic before they were read (found {}); \
             `hookline-processor acknowledge` ends this warning",
            self.topic,
            self.partition,
            self.from,
            self.to - 1,
            self.detected_at()
        )
    }
}

/// Reads what expired and is not acknowledged.
pub async fn unacknowledged(clickhouse: &ClickHouse) -> Result<Vec<ExpiredRange>> {
    clickhouse.query(clickhouse.client().query(UNACKNOWLEDGED).fetch_all()).await
}

/// Returns the end of what is known to have expired of a partition, 0 where nothing is.
pub async fn known_end(clickhouse: &ClickHouse, log_id: &str, topic: &str, partition: i32) -> Result<i64> {
    let query = "SELECT max(to_offset) FROM expired_offsets WHERE log_id = ? AND topic = ? AND partition = ?";
    let query = clickhouse.client().query(query).bind(log_id).bind(topic).bind(partition);
    clickhouse.query(query.fetch_one()).await
}

/// Adds a range that was found just now.
pub async fn insert(
    clickhouse: &ClickHouse,
    log_id: &str,
    topic: &str,
    partition: i32,
    range: &std::ops::Range<i64>,
) -> Result<()> {
    let statement = "INSERT INTO expired_offsets SELECT ?, ?, ?, ?, ?, now64(3), toDateTime64(0, 3, 'UTC')";
    let statement = clickhouse.client().query(statement).bind(log_id).bind(topic).bind(partition);
    clickhouse.query(statement.bind(range.start).bind(range.end).execute()).await
}

/// Acknowledges a range: its row with a later `acknowledged_at` replaces the one without.
pub async fn acknowledge(clickhouse: &ClickHouse, range: &ExpiredRange) -> Result<()> {
    let statement = "INSERT INTO expired_offsets SELECT ?, ?, ?, ?, ?, fromUnixTimestamp64Milli(?, 'UTC'), now64(3)";
    let statement = clickhouse.client().query(statement).bind(&range.log_id).bind(&range.topic).bind(range.partition);
    clickhouse.query(statement.bind(range.from).bind(range.to).bind(range.detected_ms).execute()).await
}
