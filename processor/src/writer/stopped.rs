//! Partitions that a dead letter stopped, because the table refuses its row in every form, or because it cannot be published. Both
//! are tried again from time to time, and the partition goes on once they succeed. Until then nothing at or behind the record is
//! committed.

use std::collections::BTreeMap;

use hookline_schemas::topics::{Offset, Topics};
use hookline_service::shutdown::CancellationToken;

use super::{NotWritten, Writer};
use crate::batch::Batch;
use crate::batch::dead_letter::DeadLetterRow;
use crate::batch::position::RecordPosition;
use crate::consumer::offset_tracker::{OffsetRange, PartitionKey, WrittenRanges};
use crate::dead_letter_producer::KeptMessage;

/// The offsets of records that were refused, in order.
pub type StoppedRecords = BTreeMap<PartitionKey, Vec<Offset>>;

/// What each stopped partition waits for. It is paused, so that this comes from the few batches that were read before.
#[derive(Debug, Default)]
pub struct StoppedPartitions(BTreeMap<PartitionKey, Vec<Waiting>>);

#[derive(Clone, Debug)]
enum Waiting {
    Row(DeadLetterRow),
    Letter(StoppedLetter),
}

/// A dead letter that could not be published, whole and without its body.
#[derive(Clone, Debug)]
pub struct StoppedLetter {
    pub position: RecordPosition,
    pub whole: KeptMessage,
    pub cut: KeptMessage,
}

/// The records whose rows and letters went in at a later try.
#[derive(Debug, Default)]
pub struct Healed {
    pub ranges: WrittenRanges,
    /// Partitions that wait for nothing any more.
    pub resumed: Vec<PartitionKey>,
}

impl Waiting {
    const fn position(&self) -> &RecordPosition {
        match self {
            Self::Row(row) => &row.position,
            Self::Letter(letter) => &letter.position,
        }
    }

    const fn row(&self) -> Option<&DeadLetterRow> {
        if let Self::Row(row) = self { Some(row) } else { None }
    }

    const fn letter(&self) -> Option<&StoppedLetter> {
        if let Self::Letter(letter) = self { Some(letter) } else { None }
    }
}

impl StoppedPartitions {
    pub fn add_row(&mut self, row: &DeadLetterRow) {
        self.add(Waiting::Row(row.clone()));
    }

    pub fn add_letter(&mut self, letter: StoppedLetter) {
        self.add(Waiting::Letter(letter));
    }

    fn add(&mut self, waiting: Waiting) {
        let RecordPosition { topic, partition, .. } = *waiting.position();
        self.0.entry((topic, partition)).or_default().push(waiting);
    }

    fn rows(&self) -> Vec<DeadLetterRow> {
        self.0.values().flatten().filter_map(Waiting::row).cloned().collect()
    }

    fn letters(&self) -> Vec<StoppedLetter> {
        self.0.values().flatten().filter_map(Waiting::letter).cloned().collect()
    }

    /// Keeps what is not among the records that `succeeded`.
    fn release(&mut self, succeeded: &[RecordPosition], healed: &mut Healed) {
        self.0.retain(|key, waiting| {
            waiting.retain(|waiting| {
                let has_succeeded = succeeded.contains(waiting.position());
                if has_succeeded {
                    let begin = waiting.position().offset;
                    healed.ranges.add(*key, OffsetRange { begin, next: Offset(begin.0 + 1) });
                }
                !has_succeeded
            });
            if waiting.is_empty() {
                healed.resumed.push(*key);
            }
            !waiting.is_empty()
        });
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

    /// Publishes the letters again, and inserts the refused rows again. A letter is released as soon as it is out, so that rows
    /// that are still in doubt cannot make it go out twice.
    pub async fn retry_stopped_partitions(&mut self, cancel: &CancellationToken) -> Result<Healed, NotWritten> {
        let mut healed = Healed::default();
        for StoppedLetter { position, whole, cut } in self.stopped.letters() {
            if self.publish_whole_or_cut(&whole.message(), || cut.message(), cancel).await?.is_ok() {
                self.stopped.release(&[position], &mut healed);
            }
        }
        let rows = self.stopped.rows();
        if let Ok(refused) = self.insert_with_or_without_payload(&rows, cancel).await {
            let is_refused = |row: &DeadLetterRow| refused.iter().any(|(refused, _)| refused.position == row.position);
            let taken: Vec<_> = rows.iter().filter(|row| !is_refused(row)).map(|row| row.position).collect();
            self.stopped.release(&taken, &mut healed);
        }
        for key in &healed.resumed {
            let partition = named(*key, &self.topics);
            tracing::info!(partition, "the dead letters that had stopped a partition are in: it goes on");
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
