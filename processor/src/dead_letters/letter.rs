//! A dead letter as a redrive reads it: the headers that its record would have in a resource topic, and its body.

use clickhouse::Row;
use hookline_schemas::record::{WEBHOOK_PATH, header};
use hookline_schemas::topics::{Offset, Partition};
use serde::Deserialize;

use super::identity::LogPosition;

/// A row of `dead_letters`. The body may be any bytes.
#[derive(Clone, Debug, Row, Deserialize)]
pub struct LetterRow {
    pub log_id: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub source: String,
    pub reason: String,
    pub origin: String,
    pub origin_log_id: String,
    pub key_name: String,
    pub signature: String,
    pub signed_at_text: String,
    /// Unix seconds.
    pub first_signed_at: Option<u32>,
    pub redrives: u16,
    pub received_ms: i64,
    pub body: Vec<u8>,
}

/// Names and values, any bytes.
pub type HeaderList = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Clone, Debug)]
pub struct Letter {
    pub position: LogPosition,
    pub reason: String,
    pub origin: String,
    pub origin_log_id: String,
    pub redrives: u16,
    pub headers: HeaderList,
    /// `None` where neither the table nor a topic has it any more.
    pub body: Option<Vec<u8>>,
}

impl From<LetterRow> for Letter {
    fn from(row: LetterRow) -> Self {
        let mut headers: HeaderList = Vec::with_capacity(7);
        let mut add = |name: &str, value: String| headers.push((name.into(), Some(value.into_bytes())));
        add(header::CE_SOURCE, format!("{WEBHOOK_PATH}{}", row.source));
        add(header::CE_TYPE, String::new());
        add(header::RECEIVED_AT, row.received_ms.to_string());
        add(header::SIGNED_AT, row.signed_at_text);
        add(header::SIGNATURE, row.signature);
        add(header::KEY, row.key_name);
        if let Some(first) = row.first_signed_at {
            add(header::FIRST_SIGNED_AT, first.to_string());
        }
        Self {
            position: LogPosition {
                log_id: row.log_id,
                topic: row.topic,
                partition: Partition(row.partition),
                offset: Offset(row.offset),
            },
            reason: row.reason,
            origin: row.origin,
            origin_log_id: row.origin_log_id,
            redrives: row.redrives,
            headers,
            body: Some(row.body),
        }
    }
}

impl Letter {
    pub fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// Takes the headers of its record, but for those that make it a dead letter.
    pub fn take_headers(&mut self, headers: HeaderList) {
        self.headers = headers;
        self.headers.retain(|(name, _)| !name.starts_with(b"hookline-dead-"));
    }
}
