//! What tells a delivery from every other one, whichever record it is in: a dead letter, and the record that it becomes.

use hookline_schemas::record::DeliveryMetadata;
use hookline_schemas::topics::{Offset, Partition, Position};

/// The same bytes may come in twice within a second, signed alike: the receive time tells these apart. Where that is the same,
/// too, the two deliveries say the same in every column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    pub source: String,
    pub signature: String,
    /// Unix milliseconds.
    pub received_ms: i64,
}

impl Identity {
    pub fn of(metadata: &DeliveryMetadata<'_>) -> Self {
        Self {
            source: metadata.source.to_owned(),
            signature: metadata.signature.to_string(),
            received_ms: metadata.received_at.0,
        }
    }
}

/// The position of a record, together with the log that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPosition {
    pub log_id: String,
    pub topic: String,
    pub partition: Partition,
    pub offset: Offset,
}

impl std::fmt::Display for LogPosition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Position { topic: &self.topic, partition: self.partition, offset: self.offset }.fmt(formatter)
    }
}

/// Reads `topic/partition/offset`.
pub fn parse_position(text: &str) -> Option<(&str, Partition, Offset)> {
    let (rest, offset) = text.rsplit_once('/')?;
    let (topic, partition) = rest.rsplit_once('/')?;
    let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
    (!topic.is_empty() && partition >= 0 && offset >= 0).then_some((topic, Partition(partition), Offset(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_topic_partition_and_offset() {
        assert_eq!(parse_position("h.dead-letter/3/12"), Some(("h.dead-letter", Partition(3), Offset(12))));
        for bad in ["", "ingest", "t/1", "/1/2", "t/-1/2", "t/1/-2", "t/x/2"] {
            assert_eq!(parse_position(bad), None, "{bad}");
        }
    }
}
