//! Partitions that a dead letter stopped, because the table refuses its row in every form. The row is inserted again from time
//! to time, and the partition goes on once the table takes it. Until then nothing at or behind the record is committed.

use std::collections::BTreeMap;

use hookline_schemas::topics::{Offset, Topics};
use hookline_service::shutdown::CancellationToken;

use super::{NotWritten, Writer};
use crate::batch::Batch;
use crate::batch::dead_letter::DeadLetterRow;
use crate::consumer::offset_tracker::{OffsetRange, PartitionKey, WrittenRanges};

/// The offsets of records that were refused, in order.
pub type StoppedRecords = BTreeMap<PartitionKey, Vec<Offset>>;

/// The refused rows of each stopped partition. A stopped partition is paused, so these are of the few batches that were read
/// before.
#[derive(Debug, Default)]
pub struct StoppedPartitions(BTreeMap<PartitionKey, Vec<DeadLetterRow>>);

/// Rows that went in after all.
#[derive(Debug, Default)]
pub struct Healed {
    pub ranges: WrittenRanges,
    /// Partitions of which no row is refused any more.
    pub resumed: Vec<PartitionKey>,
}

impl StoppedPartitions {
    pub fn add(&mut self, row: &DeadLetterRow) {
        self.0.entry((row.position.topic, row.position.partition)).or_default().push(row.clone());
    }

    fn rows(&self) -> Vec<DeadLetterRow> {
        self.0.values().flatten().cloned().collect()
    }

    /// Keeps the rows that `is_refused` names.
    fn retain(&mut self, is_refused: impl Fn(&DeadLetterRow) -> bool) -> Healed {
        let mut healed = Healed::default();
        self.0.retain(|key, rows| {
            rows.retain(|row| {
                let (is_refused, begin) = (is_refused(row), row.position.offset);
                if !is_refused {
                    healed.ranges.add(*key, OffsetRange { begin, next: Offset(begin.0 + 1) });
                }
                is_refused
            });
            if rows.is_empty() {
                healed.resumed.push(*key);
            }
            !rows.is_empty()
        });
        healed
    }
}

impl Writer {
    pub fn has_stopped_partitions(&self) -> bool {
        !self.stopped.0.is_empty()
    }

    /// Forgets the stopped partitions: their records are read again from the committed offset, or are not wanted any more.
    pub fn forget_stopped_partitions(&mut self) {
        self.stopped = StoppedPartitions::default();
    }

    /// Inserts the refused rows again.
    pub async fn retry_stopped_partitions(&mut self, cancel: &CancellationToken) -> Result<Healed, NotWritten> {
        let rows = self.stopped.rows();
        let refused = self.insert_with_or_without_payload(&rows, cancel).await?;
        let healed = self.stopped.retain(|row| refused.iter().any(|(refused, _)| refused.position == row.position));
        for key in &healed.resumed {
            let partition = named(*key, &self.topics);
            tracing::info!(partition, "the table takes the dead letters that had stopped a partition: it goes on");
        }
        Ok(healed)
    }
}

/// Gives a partition its name for people: `hookline.dead-letter/3`.
pub fn named((topic, partition): PartitionKey, topics: &Topics) -> String {
    format!("{}/{}", topic.name(topics), partition.0)
}

/// Gives the ranges of a batch without the records that the tables do not have.
pub fn ranges_around(batch: &Batch, stopped: &StoppedRecords) -> WrittenRanges {
    let mut ranges = WrittenRanges::default();
    for (key, progress) in &batch.positions {
        let range = OffsetRange { begin: progress.begin, next: progress.next };
        ranges.add_around(*key, range, stopped.get(key).map_or(&[], Vec::as_slice));
    }
    ranges
}
