//! Dead letters as consumed, and records that have to become dead letters because ingest did not write them.

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::record::{BadHeader, Headers, header};
use hookline_schemas::time::ReceivedAt;

use crate::batch::position::RecordPosition;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    pub position: RecordPosition,
    pub source: String,
    pub reason: DeadLetterReason,
    pub detail: String,
    pub origin: String,
    pub event_type: String,
    pub job_id: String,
    pub key_name: String,
    pub signature: String,
    pub signed_at_text: String,
    pub redrives: u16,
    pub received_at: ReceivedAt,
    pub body: Vec<u8>,
}

impl DeadLetterRow {
    /// Reads a record of the dead-letter topic. Where the headers are not a dead letter's, the row keeps what can be read.
    pub fn read<'h>(
        position: RecordPosition,
        decoded: Result<Headers<'_>, BadHeader>,
        key: &[u8],
        body: &[u8],
        headers: &(impl Iterator<Item = (&'h str, Option<&'h [u8]>)> + Clone),
    ) -> Self {
        let blank = Self {
            position,
            source: String::new(),
            reason: DeadLetterReason::BadRecord,
            detail: String::new(),
            origin: String::new(),
            event_type: String::new(),
            job_id: String::from_utf8_lossy(key).into_owned(),
            key_name: String::new(),
            signature: String::new(),
            signed_at_text: String::new(),
            redrives: 0,
            received_at: ReceivedAt(position.appended_at.0),
            body: body.to_vec(),
        };
        let missing = match decoded {
            Ok(Headers { metadata, event_type, dead: Some(dead) }) => {
                return Self {
                    source: metadata.source.into(),
                    reason: dead.reason,
                    detail: dead.detail.into(),
                    origin: dead.origin.into(),
                    event_type: event_type.into(),
                    key_name: metadata.key_name.into(),
                    signature: metadata.signature.to_string(),
                    signed_at_text: metadata.signed_at_text.into(),
                    redrives: dead.redrives,
                    received_at: metadata.received_at,
                    ..blank
                };
            }
            Ok(Headers { dead: None, .. }) => BadHeader(header::DEAD_REASON),
            Err(bad) => bad,
        };
        let text = |name| {
            let value = headers.clone().find(|header| header.0 == name).and_then(|header| header.1);
            value.and_then(|value| std::str::from_utf8(value).ok())
        };
        Self {
            detail: text(header::DEAD_DETAIL).map_or_else(|| missing.to_string(), str::to_owned),
            origin: text(header::DEAD_ORIGIN).unwrap_or_default().into(),
            ..blank
        }
    }

    /// Leaves out the two columns whose content ClickHouse could refuse.
    pub fn without_payload(&self) -> Self {
        Self { detail: String::new(), body: Vec::new(), ..self.clone() }
    }
}

/// A record of a resource topic without the headers that ingest writes.
#[derive(Clone, Debug)]
pub struct UnattributedRecord {
    pub position: RecordPosition,
    pub bad: BadHeader,
    pub key: Vec<u8>,
    pub body: Vec<u8>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl UnattributedRecord {
    /// Copies the whole record, except for headers that it will have as a dead letter.
    pub fn new<'h>(
        position: RecordPosition,
        bad: BadHeader,
        key: &[u8],
        body: &[u8],
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> Self {
        let own = [header::DEAD_REASON, header::DEAD_DETAIL, header::DEAD_ORIGIN, header::DEAD_REDRIVES];
        let headers = headers
            .filter(|(name, _)| !own.contains(name))
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
            .collect();
        Self { position, bad, key: key.to_vec(), body: body.to_vec(), headers }
    }
}
