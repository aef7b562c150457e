//! Dead letters by reason, and one by one, newest first. Their bodies stay in the table.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReadFrom;
use super::filter::Filter;
use super::range::Range;
use super::statement::{Parameter, Statement};
use super::timestamp::Timestamp;

/// What is asked, of those received in the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    pub range: Range,
    /// A dead letter has no dimension but its source.
    pub source: Vec<String>,
    pub reason: Vec<String>,
    /// The last one of the page before.
    pub after: Option<Position>,
    pub limit: u16,
}

/// Where a dead letter stands in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// `received_at`, in milliseconds.
    pub key: i64,
    pub log_id: String,
    pub partition: i32,
    pub offset: i64,
}

/// The dead letters of one source and reason.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterCount {
    pub source: String,
    pub reason: String,
    pub dead_letters: u64,
    #[schema(value_type = String, format = DateTime)]
    pub first_received_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub last_received_at: Timestamp,
}

/// A dead letter, without its body and its signature. Its offset is text, to stay exact.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    pub source: String,
    pub reason: String,
    pub detail: String,
    /// Such as `video.completed`; empty where the body does not tell it.
    pub event_type: String,
    /// Empty where it is not known.
    pub job_id: String,
    /// `topic/partition/offset` of the record it was made from, or `ingest`.
    pub origin: String,
    pub redrives: u16,
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    pub log_id: String,
    pub topic: String,
    pub partition: i32,
    pub offset: String,
}

impl DeadLetters {
    fn condition(&self) -> String {
        let filter = Filter { source: self.source.clone(), ..Filter::default() };
        let reason = if self.reason.is_empty() { "1" } else { "reason IN {reason:Array(String)}" };
        let within = self.range.contains("dead_letters.received_at");
        format!("{within} AND {} AND {reason}", filter.condition(ReadFrom::Facts))
    }

    fn parameters(&self) -> Vec<(&'static str, Parameter)> {
        let mut parameters = Filter { source: self.source.clone(), ..Filter::default() }.parameters();
        if !self.reason.is_empty() {
            parameters.push(("reason", Parameter::Texts(self.reason.clone())));
        }
        parameters
    }

    /// Asks for rows of [`DeadLetterCount`].
    pub fn counts(&self) -> Statement {
        let sql = format!(
            "SELECT toString(source) AS source, toString(reason) AS reason, count() AS dead_letters, \
             toUnixTimestamp64Milli(min(dead_letters.received_at)) AS first_received_at, \
             toUnixTimestamp64Milli(max(dead_letters.received_at)) AS last_received_at \
             FROM dead_letters FINAL WHERE {} GROUP BY source, reason ORDER BY dead_letters DESC, source, reason",
            self.condition()
        );
        Statement::new(sql, self.parameters())
    }

    /// Asks for a page of rows of [`DeadLetter`].
    pub fn page(&self) -> Statement {
        let mut parameters = self.parameters();
        let after = self.after.as_ref().map_or("1", |position| {
            parameters.extend([
                ("after_key", Parameter::Number(position.key)),
                ("after_log_id", Parameter::Text(position.log_id.clone())),
                ("after_partition", Parameter::Number(position.partition.into())),
                ("after_offset", Parameter::Number(position.offset)),
            ]);
            "(received_ms, log_id, partition, offset) < \
             ({after_key:Int64}, {after_log_id:String}, {after_partition:Int32}, {after_offset:Int64})"
        });
        parameters.push(("limit", Parameter::Number(self.limit.into())));
        let sql = format!(
            "SELECT toString(source) AS source, toString(reason) AS reason, detail, toString(event_type) AS event_type, job_id, \
             origin, redrives, received_ms AS received_at, toString(letters.log_id) AS log_id, toString(topic) AS topic, partition, \
             toString(letters.offset) AS offset FROM (SELECT source, reason, detail, event_type, job_id, origin, redrives, log_id, \
             topic, partition, offset, toUnixTimestamp64Milli(dead_letters.received_at) AS received_ms FROM dead_letters FINAL \
             WHERE {condition}) AS letters WHERE {after} \
             ORDER BY received_ms DESC, letters.log_id DESC, partition DESC, letters.offset DESC LIMIT {{limit:UInt16}}",
            condition = self.condition(),
            after = after.replace("log_id, partition, offset)", "letters.log_id, partition, letters.offset)"),
        );
        Statement::new(sql, parameters)
    }

    /// Where the next page begins; nothing where this one is the last.
    pub fn next(&self, rows: &[DeadLetter]) -> Option<Position> {
        let full = rows.len() >= usize::from(self.limit);
        rows.last().filter(|_| full).and_then(|row| {
            Some(Position {
                key: row.received_at.0,
                log_id: row.log_id.clone(),
                partition: row.partition,
                offset: row.offset.parse().ok()?,
            })
        })
    }
}
