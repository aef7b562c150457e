//! Dead letters as consumed, and records that have to become dead letters because ingest did not write them.

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::record::{BadHeader, Headers, header};
use hookline_schemas::time::{ReceivedAt, SignedAt};

use crate::batch::position::RecordPosition;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    pub position: RecordPosition,
    pub source: String,
    pub reason: DeadLetterReason,
    pub detail: String,
    pub origin: String,
    /// Tells the record of this origin from one that another topic or cluster of the same names had there.
    pub origin_log_id: String,
    pub event_type: String,
    pub job_id: String,
    pub key_name: String,
    pub signature: String,
    pub signed_at_text: String,
    /// The signed time of the first attempt, if that was another one.
    pub first_signed_at: Option<SignedAt>,
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
        headers: &(impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone),
    ) -> Self {
        let text = |name: &str| {
            let value = headers.clone().find(|header| header.0 == name.as_bytes()).and_then(|header| header.1);
            value.and_then(|value| std::str::from_utf8(value).ok())
        };
        let blank = Self {
            position,
            source: String::new(),
            reason: DeadLetterReason::BadRecord,
            detail: String::new(),
            origin: String::new(),
            origin_log_id: text(header::DEAD_ORIGIN_LOG_ID).unwrap_or_default().into(),
            event_type: String::new(),
            job_id: String::from_utf8_lossy(key).into_owned(),
            key_name: String::new(),
            signature: String::new(),
            signed_at_text: String::new(),
            first_signed_at: None,
            redrives: 0,
            received_at: ReceivedAt::or_appended(position.appended_at),
            body: body.to_vec(),
        };
        let missing = match decoded {
            Ok(Headers { metadata, event_type, dead: Some(dead), .. }) => {
                return Self {
                    source: metadata.source.into(),
                    reason: dead.reason,
                    detail: dead.detail.into(),
                    origin: dead.origin.into(),
                    event_type: event_type.into(),
                    key_name: metadata.key_name.into(),
                    signature: metadata.signature.to_string(),
                    signed_at_text: metadata.signed_at_text.into(),
                    first_signed_at: metadata.first_signed_at,
                    redrives: dead.redrives,
                    received_at: metadata.received_at,
                    ..blank
                };
            }
            Ok(Headers { dead: None, .. }) => BadHeader(header::DEAD_REASON),
            Err(bad) => bad,
        };
        Self {
            detail: text(header::DEAD_DETAIL).map_or_else(|| missing.to_string(), str::to_owned),
            origin: text(header::DEAD_ORIGIN).unwrap_or_default().into(),
            ..blank
        }
    }

    /// Estimates the memory that the row takes.
    pub fn bytes(&self) -> usize {
        let texts = [
            &self.source,
            &self.detail,
            &self.origin,
            &self.origin_log_id,
            &self.event_type,
            &self.job_id,
            &self.key_name,
            &self.signature,
            &self.signed_at_text,
        ];
        size_of::<Self>() + self.body.len() + texts.iter().map(|text| text.len()).sum::<usize>()
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
    /// Names are any bytes, too.
    pub headers: Vec<HeaderCopy>,
}

/// The name and the value of a header.
pub type HeaderCopy = (Box<[u8]>, Option<Box<[u8]>>);

impl UnattributedRecord {
    /// Copies the whole record, except for headers that it will have as a dead letter.
    pub fn new<'h>(
        position: RecordPosition,
        bad: BadHeader,
        key: &[u8],
        body: &[u8],
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> Self {
        let own = [
            header::DEAD_REASON,
            header::DEAD_DETAIL,
            header::DEAD_ORIGIN,
            header::DEAD_ORIGIN_LOG_ID,
            header::DEAD_REDRIVES,
        ];
        let headers = headers
            .filter(|(name, _)| !own.iter().any(|own| own.as_bytes() == *name))
            .map(|(name, value)| (name.into(), value.map(Box::from)))
            .collect();
        Self { position, bad, key: key.to_vec(), body: body.to_vec(), headers }
    }

    /// Estimates the memory that the record takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.body.len() + self.header_bytes()
    }

    /// Estimates the memory that the headers take.
    pub fn header_bytes(&self) -> usize {
        let bytes = |(name, value): &HeaderCopy| name.len() + value.as_ref().map_or(0, |value| value.len());
        self.headers.iter().map(|header| size_of::<HeaderCopy>() + bytes(header)).sum()
    }
}
