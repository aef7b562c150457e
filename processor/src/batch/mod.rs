//! What was consumed and is not yet inserted: the records' bytes in one arena, and what their headers say.
//!
//! A record is copied once, when it is consumed, so that librdkafka has its buffers back at once and a batch takes the
//! memory that its limits allow.

pub mod dead_letter;
pub mod fold;
pub mod position;

use std::collections::BTreeMap;

use hookline_schemas::record::{DeliveryMetadata, Headers, decode_headers};
use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::{AppendedAt, ReceivedAt, SignedAt};
use hookline_schemas::topics::{Offset, Partition, Topic};

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as KafkaHeaders};

use crate::batch::dead_letter::{DeadLetterRow, UnattributedRecord};
use crate::batch::position::RecordPosition;

/// A delivery whose headers are in order. Its body is not read yet.
#[derive(Clone, Copy, Debug)]
pub struct BatchRecord {
    /// Where it lies.
    pub position: RecordPosition,
    source: Interned,
    key_name: Interned,
    /// When it reached ingest.
    pub received_at: ReceivedAt,
    /// When it was signed.
    pub signed_at: SignedAt,
    /// When its first attempt was signed, if another than this one.
    pub first_signed_at: Option<SignedAt>,
    /// The signature.
    pub signature: HexSignature,
    /// In the arena: the signed time as text, then the body.
    start: usize,
    text_length: usize,
    body_length: usize,
}

/// A text that many rows share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interned(usize);

/// How far a partition was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionProgress {
    /// The offset to be read next.
    pub next: Offset,
    /// When the last record was appended.
    pub appended_at: AppendedAt,
}

/// How far each partition was read.
pub type PartitionOffsets = BTreeMap<(Topic, Partition), PartitionProgress>;

/// Records on their way to the tables.
#[derive(Debug, Default)]
pub struct Batch {
    /// Deliveries.
    pub rows: Vec<BatchRecord>,
    /// Dead dead_letters.
    pub dead_letters: Vec<DeadLetterRow>,
    /// Records of resource topics that ingest did not write.
    pub unattributed: Vec<UnattributedRecord>,
    /// How far the batch reaches.
    pub positions: PartitionOffsets,
    arena: Vec<u8>,
    names: Vec<Box<str>>,
    kept_bytes: usize,
}

impl Batch {
    /// Takes a message in.
    pub fn push_message(&mut self, position: RecordPosition, message: &BorrowedMessage<'_>) {
        let headers = message.headers();
        let headers = (0..headers.map_or(0, KafkaHeaders::count))
            .filter_map(|index| headers?.try_get(index))
            .map(|header| (header.key, header.value));
        self.push(position, message.key().unwrap_or_default(), message.payload().unwrap_or_default(), headers);
    }

    /// Takes a record in.
    pub fn push<'h>(
        &mut self,
        position: RecordPosition,
        key: &[u8],
        body: &[u8],
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)> + Clone,
    ) {
        let next = Offset(position.offset.0 + 1);
        self.positions.insert(
            (position.topic, position.partition),
            PartitionProgress { next, appended_at: position.appended_at },
        );
        match (position.topic, decode_headers(headers.clone())) {
            (Topic::Resource(_), Ok(headers)) => self.push_row(position, &headers, body),
            (Topic::Resource(_), Err(bad)) => {
                self.kept_bytes += key.len() + body.len();
                self.unattributed.push(UnattributedRecord::new(position, bad, key, body, headers));
            }
            (Topic::DeadLetter, decoded) => {
                self.kept_bytes += key.len() + body.len();
                self.dead_letters.push(DeadLetterRow::read(position, decoded, key, body, &headers));
            }
        }
    }

    fn push_row(&mut self, position: RecordPosition, headers: &Headers<'_>, body: &[u8]) {
        let metadata = &headers.metadata;
        let row = BatchRecord {
            position,
            source: self.symbol(metadata.source),
            key_name: self.symbol(metadata.key_name),
            received_at: metadata.received_at,
            signed_at: metadata.signed_at,
            first_signed_at: metadata.first_signed_at,
            signature: metadata.signature,
            start: self.arena.len(),
            text_length: metadata.signed_at_text.len(),
            body_length: body.len(),
        };
        self.arena.extend_from_slice(metadata.signed_at_text.as_bytes());
        self.arena.extend_from_slice(body);
        self.rows.push(row);
    }

    /// Sources and key names are few.
    fn symbol(&mut self, name: &str) -> Interned {
        let known = self.names.iter().position(|known| **known == *name);
        Interned(known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        }))
    }

    fn name(&self, symbol: Interned) -> &str {
        self.names.get(symbol.0).map_or("", |name| name)
    }

    /// Who sent a row of this batch.
    pub fn source(&self, row: &BatchRecord) -> &str {
        self.name(row.source)
    }

    /// The name of the secret that verified a row of this batch.
    pub fn key_name(&self, row: &BatchRecord) -> &str {
        self.name(row.key_name)
    }

    /// The signed time of a row of this batch, as it came.
    pub fn signed_at_text(&self, row: &BatchRecord) -> &[u8] {
        self.arena.get(row.start..row.start + row.text_length).unwrap_or_default()
    }

    /// The signed bytes of a row of this batch.
    pub fn body(&self, row: &BatchRecord) -> &[u8] {
        let start = row.start + row.text_length;
        self.arena.get(start..start + row.body_length).unwrap_or_default()
    }

    /// What the headers of a row of this batch say.
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

    /// How many records.
    pub fn len(&self) -> usize {
        self.rows.len() + self.dead_letters.len() + self.unattributed.len()
    }

    /// Whether there is nothing to insert.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much memory it takes, near enough.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.kept_bytes + self.len() * size_of::<BatchRecord>()
    }

    /// Empties it and keeps its memory.
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
