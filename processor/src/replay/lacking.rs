//! What the tables lack of the parts of a plan, for a dry run. It is asked of the tables alone, so of jobs it knows what their
//! deliveries tell.

use clickhouse::Row;
use hookline_schemas::topics::Topic;
use serde::{Deserialize, Serialize};

use super::plan::{PartitionRange, offsets};
use crate::clickhouse::inserter::{ClickHouse, ClickHouseError};

type Result<T> = std::result::Result<T, ClickHouseError>;

/// The facts of a job are compared by what is cheap to compare: which of the three events it had.
const JOBS: &str = "SELECT countIf(NOT is_stored) AS absent, countIf(is_stored AND lacks_event) AS incomplete FROM \
    (SELECT max(stored) AS is_stored, max(delivered) AS is_delivered, \
        max(started) > max(has_started) OR max(completed) > max(has_completed) OR max(errored) > max(has_errored) AS lacks_event \
    FROM \
        (SELECT sipHash128(source, intDiv(toUnixTimestamp64Milli(created_at), 3600000) * 3600, job_id) AS job, 0 AS stored, 1 AS delivered, \
            action = 'started' AS started, action = 'completed' AS completed, action = 'errored' AS errored, \
            0 AS has_started, 0 AS has_completed, 0 AS has_errored FROM deliveries \
         WHERE log_id = ? AND topic = ? AND partition = ? AND offset >= ? AND offset < ? \
            AND created_at >= (SELECT created_hour FROM jobs_kept_since) \
        UNION ALL \
         SELECT sipHash128(source, toInt64(toUnixTimestamp(created_hour)), job_id), 1, 0, 0, 0, 0, \
            isNotNull(started_at), isNotNull(completed_at), isNotNull(errored_at) FROM jobs WHERE resource = ?) \
    GROUP BY job HAVING is_delivered = 1)";
/// Beyond this the server aggregates on its disk.
const MEMORY_BYTES: &str = "500000000";
/// The size of the records is estimated from this many.
const SAMPLE: &str = "SELECT count() AS records, sum(length(body)) AS bytes FROM \
    (SELECT body FROM deliveries WHERE log_id = ? AND topic = ? AND partition = ? AND offset >= ? AND offset < ? LIMIT 500)";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lacking {
    /// Offsets that have neither a row of their own nor a dead letter that was made of them. Kafka gives some offsets to markers of
    /// its own, which are none of this.
    pub records: u64,
    /// Jobs of which there are deliveries, and no facts, though `jobs` keeps their time.
    pub jobs: u64,
    /// Jobs that lack a start or an end that was delivered.
    pub jobs_incomplete: u64,
}

#[derive(Row, Deserialize)]
struct Jobs {
    absent: u64,
    incomplete: u64,
}

#[derive(Row, Deserialize)]
struct Sample {
    records: u64,
    bytes: u64,
}

/// Asks what the tables lack of what is left of a part.
pub async fn lacking(clickhouse: &ClickHouse, part: &PartitionRange) -> Result<Lacking> {
    let topic = part.topic.rsplit_once('.').and_then(|(_, name)| name.parse::<Topic>().ok());
    let (table, resource) = match topic {
        Some(Topic::DeadLetter) => ("dead_letters", None),
        Some(Topic::Resource(resource)) => ("deliveries", Some(resource)),
        None => ("deliveries", None),
    };
    let present = format!(
        "SELECT uniqExact(offset) FROM (SELECT offset FROM {table} WHERE log_id = ? AND topic = ? AND partition = ? \
         UNION ALL SELECT toInt64OrZero(splitByChar('/', origin)[3]) AS offset FROM dead_letters \
         WHERE origin_log_id = ? AND startsWith(origin, ?)) WHERE offset >= ? AND offset < ?"
    );
    let query = clickhouse
        .client()
        .query(&present)
        .bind(&part.log_id)
        .bind(&part.topic)
        .bind(part.partition.0)
        .bind(&part.log_id);
    let query = query.bind(format!("{}/{}/", part.topic, part.partition.0)).bind(part.next.0).bind(part.end.0);
    let records = offsets(part.next, part.end).saturating_sub(clickhouse.query(query.fetch_one()).await?);
    let Some(resource) = resource else { return Ok(Lacking { records, ..Lacking::default() }) };
    let query = clickhouse.client().query(JOBS).with_setting("max_bytes_before_external_group_by", MEMORY_BYTES);
    let query = query.bind(&part.log_id).bind(&part.topic).bind(part.partition.0).bind(part.next.0).bind(part.end.0);
    let Jobs { absent, incomplete } = clickhouse.query(query.bind(resource.as_str()).fetch_one()).await?;
    Ok(Lacking { records, jobs: absent, jobs_incomplete: incomplete })
}

/// The mean of the bytes of a part's bodies in the archive.
pub async fn mean_body(clickhouse: &ClickHouse, part: &PartitionRange) -> Result<u64> {
    let query = clickhouse.client().query(SAMPLE).bind(&part.log_id).bind(&part.topic).bind(part.partition.0);
    let Sample { records, bytes } = clickhouse.query(query.bind(part.next.0).bind(part.end.0).fetch_one()).await?;
    Ok(bytes / records.max(1))
}
