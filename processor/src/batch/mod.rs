//! Records that were consumed and are not yet inserted: their bytes in one arena, and what their headers say.
//!
//! A record is copied once, when it is consumed, so that librdkafka gets its buffers back at once and a batch takes no
//! more memory than its limits allow.

pub mod dead_letter;
pub mod fold;
pub mod position;

use std::collections::BTreeMap;

use hookline_schemas::record::{DeliveryMetadata, Headers, decode_headers};
use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::{AppendedAt, ReceivedAt, SignedAt};
use hookline_schemas::topics::{Offset, Partition, Topic};
use hookline_service::kafka_raw::header_bytes;
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;

use crate::batch::dead_letter::{DeadLetterRow, UnattributedRecord};
use crate::batch::position::RecordPosition;
use crate::config::BatchConfig;

/// A delivery whose headers are in order. Its body is not read yet.
#[derive(Clone, Copy, Debug)]
pub struct BatchRecord {
    pub position: RecordPosition,
    source: Interned,
    key_name: Interned,
    pub received_at: ReceivedAt,
    pub signed_at: SignedAt,
    /// The signed time of the first attempt, if that was another one.
    pub first_signed_at: Option<SignedAt>,
    pub signature: HexSignature,
    /// How often the record was sent back into its resource topic.
    pub redrives: u16,
    /// Where the arena has the signed time as text, and after it the body.
    start: usize,
    text_length: usize,
    body_length: usize,
}

/// A batch with this many sources and key names is full: others than ingest may invent one for each record, and each is looked
/// for among all.
const MAX_NAMES: usize = 1_024;

/// An index into the names that many rows of a batch share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interned(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionProgress {
    /// The offset of the first record; once the batch is submitted, where the partition's previous batch ended.
    pub begin: Offset,
    /// The offset after the last record, as Kafka commits it.
    pub next: Offset,
    /// When the first record was appended.
    pub appended_at: AppendedAt,
}

pub type PartitionOffsets = BTreeMap<(Topic, Partition), PartitionProgress>;

#[derive(Debug, Default)]
pub struct Batch {
    pub rows: Vec<BatchRecord>,
    pub dead_letters: Vec<DeadLetterRow>,
    /// Records of resource topics without the headers that ingest writes.
    pub unattributed: Vec<UnattributedRecord>,
    pub positions: PartitionOffsets,
    arena: Vec<u8>,
    names: Vec<Box<str>>,
    /// What the records that are not in the arena take.
    kept_bytes: usize,
}

impl Batch {
    pub fn push_message(&mut self, position: RecordPosition, message: &BorrowedMessage<'_>) {
        let (key, body) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        self.push(position, key, body, header_bytes(message));
    }

    pub fn push<'h>(
        &mut self,
        position: RecordPosition,
        key: &[u8],
        body: &[u8],
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    ) {
        let decoded = decode_headers(headers.clone());
        match position.topic {
            Topic::Resource(_) => match decoded.and_then(|headers| headers.check_delivery().map(|()| headers)) {
                Ok(Headers { metadata, redrives, .. }) => {
                    return self.push_delivery(position, &metadata, redrives, body);
                }
                Err(bad) => {
                    let record = UnattributedRecord::new(position, bad, key, body, headers);
                    self.kept_bytes += record.bytes();
                    self.unattributed.push(record);
                }
            },
            Topic::DeadLetter => {
                let row = DeadLetterRow::read(position, decoded, key, body, &headers);
                self.kept_bytes += row.bytes();
                self.dead_letters.push(row);
            }
        }
        self.advance(position);
    }

    fn advance(&mut self, position: RecordPosition) {
        let next = Offset(position.offset.0 + 1);
        let (begin, appended_at) = (position.offset, position.appended_at);
        self.positions
            .entry((position.topic, position.partition))
            .and_modify(|progress| progress.next = next)
            .or_insert(PartitionProgress { begin, next, appended_at });
    }

    /// Adds a record of a resource topic whose headers are in order.
    pub fn push_delivery(
        &mut self,
        position: RecordPosition,
        metadata: &DeliveryMetadata<'_>,
        redrives: u16,
        body: &[u8],
    ) {
        self.advance(position);
        let row = BatchRecord {
            position,
            source: self.intern(metadata.source),
            key_name: self.intern(metadata.key_name),
            received_at: metadata.received_at,
            signed_at: metadata.signed_at,
            first_signed_at: metadata.first_signed_at,
            signature: metadata.signature,
            redrives,
            start: self.arena.len(),
            text_length: metadata.signed_at_text.len(),
            body_length: body.len(),
        };
        self.arena.extend_from_slice(metadata.signed_at_text.as_bytes());
        self.arena.extend_from_slice(body);
        self.rows.push(row);
    }

    /// A linear search: sources and key names are few.
    fn intern(&mut self, name: &str) -> Interned {
        let known = self.names.iter().position(|known| **known == *name);
        Interned(known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        }))
    }

    fn name(&self, interned: Interned) -> &str {
        self.names.get(interned.0).map_or("", |name| name)
    }

    pub fn source(&self, row: &BatchRecord) -> &str {
        self.name(row.source)
    }

    pub fn key_name(&self, row: &BatchRecord) -> &str {
        self.name(row.key_name)
    }

    pub fn signed_at_text(&self, row: &BatchRecord) -> &[u8] {
        self.arena.get(row.start..row.start + row.text_length).unwrap_or_default()
    }

    pub fn body(&self, row: &BatchRecord) -> &[u8] {
        let start = row.start + row.text_length;
        self.arena.get(start..start + row.body_length).unwrap_or_default()
    }

    pub fn metadata<'b>(&'b self, row: &'b BatchRecord) -> DeliveryMetadata<'b> {
        DeliveryMetadata {
            source: self.source(row),
            received_at: row.received_at,
            signed_at: row.signed_at,
            signed_at_text: std::str::from_utf8(self.signed_at_text(row)).unwrap_or_default(),
            signature: row.signature,
            key_name: self.key_name(row),
            first_signed_at: row.first_signed_at,
        }
    }

    pub fn len(&self) -> usize {
        self.rows.len() + self.dead_letters.len() + self.unattributed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Estimates the memory that the records take.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.kept_bytes + self.len() * size_of::<BatchRecord>()
    }

    pub fn is_full(&self, limits: &BatchConfig) -> bool {
        self.len() >= limits.max_rows || self.bytes() >= limits.max_bytes || self.names.len() >= MAX_NAMES
    }

    /// Gives back memory that the records do not take.
    pub fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.arena.shrink_to_fit();
    }

    /// Keeps the memory for the next batch.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.dead_letters.clear();
        self.unattributed.clear();
        self.positions.clear();
        self.arena.clear();
        self.names.clear();
        self.kept_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::Resource;

    use super::*;

    fn position(topic: Topic, offset: i64) -> RecordPosition {
        RecordPosition { topic, partition: Partition(0), offset: Offset(offset), appended_at: AppendedAt(0) }
    }

    #[test]
    fn headers_and_texts_of_foreign_records_count_as_memory() {
        let limits = BatchConfig::default();
        let large = vec![b'x'; limits.max_bytes / 8];
        for (topic, name) in [(Topic::Resource(Resource::Video), "x"), (Topic::DeadLetter, "hookline-dead-detail")] {
            let mut batch = Batch::default();
            let mut pushed = 0;
            while !batch.is_full(&limits) && pushed < 20 {
                let headers = [(name.as_bytes(), Some(&*large))];
                batch.push(position(topic, pushed), b"", b"", headers.into_iter());
                pushed += 1;
            }
            assert_eq!(pushed, 8, "{topic}");
            batch.clear();
            assert!(!batch.is_full(&limits));
        }
    }
}
