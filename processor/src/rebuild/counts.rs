//! Holds a table against `deliveries`: each job of which there is a delivery must be in it.

use clickhouse::{Client, Row};
use hookline_schemas::time::CreatedHour;
use serde::{Deserialize, Serialize};

use super::comparison::JobName;
use crate::clickhouse::columns::Table;
use crate::replay::plan::PartitionRange;
use crate::replay::source::SourceKind;

/// Deliveries that one question holds against the table; more would take memory.
const ROWS_PER_QUESTION: u64 = 2_000_000;
const EXAMPLES: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that have a row, as far as the table was to read them.
    pub deliveries: u64,
    /// Rows beyond the first with the same source, signed time and signature: the same delivery at another position.
    pub repeated_deliveries: u64,
    /// Jobs that these tell of.
    pub jobs: u64,
    /// Those of them that the table does not have.
    pub absent: u64,
    pub absent_examples: Vec<JobName>,
}

#[derive(Row, Deserialize)]
struct Part {
    deliveries: u64,
    repeated: u64,
    jobs: u64,
    absent: u64,
    examples: Vec<(String, String, String)>,
}

impl Counts {
    pub async fn read(
        client: &Client,
        table: Table,
        ranges: &[PartitionRange],
        kept_since: CreatedHour,
    ) -> anyhow::Result<Self> {
        let rows: u64 = client.query("SELECT count() FROM deliveries").fetch_one().await?;
        let parts = rows.div_ceil(ROWS_PER_QUESTION).max(1);
        let client = client.clone().with_validation(false);
        let mut counts = Self::default();
        for part in 0..parts {
            let condition = format!("cityHash64(job_id) % {parts} = {part}");
            let query = question(table, &condition, &read_already(ranges), kept_since);
            let part: Part = client.query(&query).fetch_one().await?;
            counts.deliveries += part.deliveries;
            counts.repeated_deliveries += part.repeated;
            counts.jobs += part.jobs;
            counts.absent += part.absent;
            let examples = part.examples.into_iter().take(EXAMPLES - counts.absent_examples.len());
            let name = |(source, resource, job_id)| JobName { source, resource, job_id };
            counts.absent_examples.extend(examples.map(name));
        }
        Ok(counts)
    }
}

/// The deliveries that are not behind what was read: of the others the table may not know yet.
fn read_already(ranges: &[PartitionRange]) -> String {
    let behind = ranges.iter().filter(|range| range.source == SourceKind::Kafka).map(|range| {
        // Names of topics and ids of logs have no quotes.
        format!(
            "(log_id = '{}' AND topic = '{}' AND partition = {} AND offset >= {})",
            range.log_id, range.topic, range.partition.0, range.next.0
        )
    });
    let behind: Vec<_> = behind.collect();
    if behind.is_empty() { "true".to_owned() } else { format!("NOT ({})", behind.join(" OR ")) }
}

fn question(table: Table, part: &str, read_already: &str, kept_since: CreatedHour) -> String {
    format!(
        "SELECT
    toUInt64(sum(records)) AS deliveries,
    toUInt64(sum(records - signed)) AS repeated,
    count() AS jobs,
    countIf(is_absent) AS absent,
    groupArrayIf({EXAMPLES})(job, is_absent) AS examples
FROM
(
    SELECT
        (CAST(source, 'String'), CAST(resource, 'String'), job_id) AS job,
        uniqExact(log_id, topic, partition, offset) AS records,
        uniqExact(signed_at_text, signature) AS signed,
        job NOT IN (SELECT (CAST(source, 'String'), CAST(resource, 'String'), job_id) FROM {table} WHERE {part}) AS is_absent
    FROM deliveries
    WHERE {part} AND {read_already} AND toStartOfHour(created_at) >= {kept_since}
    GROUP BY source, resource, job_id
)",
        table = table.as_str(),
        kept_since = kept_since.0,
    )
}
