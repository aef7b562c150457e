//! Which offsets the archive has of a selection, in every log that it holds.

use clickhouse::{Client, Row};
use hookline_schemas::topics::{Offset, Partition, Topic};
use hookline_service::shutdown::CancellationToken;
use serde::Deserialize;
use time::OffsetDateTime;

use super::SourceKind;
use crate::clickhouse::inserter::ClickHouse;
use crate::replay::plan::PartitionRange;
use crate::replay::select::Selection;

/// Asks the table `deliveries` for the offsets that a selection means.
pub struct ArchivePlanner {
    pub clickhouse: ClickHouse,
    pub cancel: CancellationToken,
}

#[derive(Row, Deserialize)]
struct LogRow {
    log_id: String,
    topic: String,
    partition: i32,
    start: i64,
    end: i64,
}

impl ArchivePlanner {
    /// From the first to the last row of each partition that was selected. By time that is a little more than what was asked for,
    /// because offsets are not in the order of receive times; more changes nothing.
    pub async fn plan(&self, selection: &Selection, now: OffsetDateTime) -> anyhow::Result<Vec<PartitionRange>> {
        let (from, to) = (selection.from.map(|from| from.as_millis(now)), selection.to.map(|to| to.as_millis(now)));
        let offsets = selection.offsets;
        let (first, last) = (offsets.map_or(0, |range| range.start.0), offsets.map_or(i64::MAX, |range| range.end.0));
        let query = "SELECT log_id, topic, partition, min(offset) AS start, max(offset) + 1 AS end FROM deliveries \
                     WHERE received_at >= fromUnixTimestamp64Milli(?) AND received_at < fromUnixTimestamp64Milli(?) \
                     AND offset >= ? AND offset < ? GROUP BY log_id, topic, partition ORDER BY log_id, topic, partition";
        let ask = async |client: &Client| {
            let query = client.query(query).bind(from.unwrap_or(0)).bind(to.unwrap_or(i64::from(u32::MAX) * 1000));
            query.bind(first).bind(last).fetch_all::<LogRow>().await
        };
        let logs = self.clickhouse.query_until_cancelled(&self.cancel, ask).await??;
        let part = |log: LogRow| PartitionRange {
            source: SourceKind::Deliveries,
            log_id: log.log_id,
            topic: log.topic,
            partition: Partition(log.partition),
            start: Offset(log.start),
            end: Offset(log.end),
            next: Offset(log.start),
        };
        let is_wanted = |part: &PartitionRange| {
            let topic = part.topic.rsplit_once('.').and_then(|(_, name)| name.parse::<Topic>().ok());
            topic.is_some_and(|topic| selection.wants_topic(topic)) && selection.wants_partition(part.partition)
        };
        Ok(logs.into_iter().map(part).filter(is_wanted).collect())
    }
}
