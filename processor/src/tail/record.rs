//! A record as it is shown: what its headers and its body tell, without what may not be seen by everybody.

use std::fmt;

use hookline_schemas::envelope;
use hookline_schemas::ids::EventType;
use hookline_schemas::topics::Topics;
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::batch::Batch;
use crate::batch::position::RecordPosition;

/// Empty texts are of records that do not tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// When it was received, or appended where it does not tell that; RFC 3339 in UTC with milliseconds.
    pub at: String,
    pub source: String,
    /// `video.completed`, or whatever the body has in its place.
    pub event_type: String,
    pub job_id: String,
    pub job_type: String,
    pub error_code: String,
    /// Why it is a dead letter, or why a record of a resource topic will become one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How often it was sent back into its resource topic.
    pub redrives: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl Shown {
    /// The records of a batch.
    pub fn of(batch: &Batch, topics: &Topics, with_bodies: bool) -> Vec<Self> {
        let deliveries = batch.rows.iter().map(|row| {
            let shown = Self::at(row.position, row.received_at.0, topics, batch.body(row), with_bodies);
            Self { source: batch.source(row).into(), redrives: row.redrives, ..shown }
        });
        let dead_letters = batch.dead_letters.iter().map(|row| {
            let shown = Self::at(row.position, row.received_at.0, topics, &row.body, with_bodies);
            Self {
                source: row.source.clone(),
                job_id: if row.job_id.is_empty() { shown.job_id } else { row.job_id.clone() },
                event_type: if row.event_type.is_empty() { shown.event_type } else { row.event_type.clone() },
                reason: row.reason.as_str().into(),
                detail: row.detail.clone(),
                redrives: row.redrives,
                ..shown
            }
        });
        let unattributed = batch.unattributed.iter().map(|record| {
            let at = record.position.appended_at.0;
            let shown = Self::at(record.position, at, topics, &record.body, with_bodies);
            Self { reason: "bad_record".into(), detail: record.bad.to_string(), ..shown }
        });
        deliveries.chain(dead_letters).chain(unattributed).collect()
    }

    /// What the position and the body tell.
    fn at(position: RecordPosition, at_ms: i64, topics: &Topics, body: &[u8], with_body: bool) -> Self {
        let shown = Self {
            topic: position.topic.name(topics).into(),
            partition: position.partition.0,
            offset: position.offset.0,
            at: time(at_ms),
            body: with_body.then(|| String::from_utf8_lossy(body).into_owned()),
            ..Self::default()
        };
        match envelope::decode(body) {
            Ok(event) => Self {
                event_type: event.event_type.to_string(),
                job_id: event.job_id.to_string(),
                job_type: event.job_type.into_owned(),
                error_code: event.error.map(|error| error.code.into_owned()).unwrap_or_default(),
                ..shown
            },
            Err(error) => Self {
                event_type: error.event_type.map_or(error.type_text, |event| event.to_string()),
                job_id: error.job_id.map(|id| id.to_string()).unwrap_or_default(),
                reason: error.reason.as_str().into(),
                detail: error.detail,
                ..shown
            },
        }
    }

    /// The event, where it is one of those that Hookline knows.
    pub fn event(&self) -> Option<EventType> {
        self.event_type.parse().ok()
    }
}

/// The position comes last, because lines are cut at the right.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic, partition, offset, at, source, event_type, job_id, job_type, error_code, reason, detail, ..
        } = self;
        let or_dash = |text: &String| if text.is_empty() { "–".to_owned() } else { text.clone() };
        write!(
            f,
            "{at}  {:<15}  {}  {}  {}",
            or_dash(event_type),
            or_dash(source),
            or_dash(job_id),
            or_dash(job_type)
        )?;
        for text in [error_code, reason].into_iter().filter(|text| !text.is_empty()) {
            write!(f, "  {text}")?;
        }
        write!(f, "  {topic}/{partition}/{offset}")?;
        if self.redrives > 0 {
            write!(f, "  redriven {}×", self.redrives)?;
        }
        if !detail.is_empty() {
            write!(f, "  {detail}")?;
        }
        self.body.as_ref().map_or(Ok(()), |body| write!(f, "\n    {body}"))
    }
}

fn time(milliseconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok();
    at.and_then(|at| at.format(format).ok()).unwrap_or_else(|| milliseconds.to_string())
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::Resource;
    use hookline_schemas::record::DeliveryMetadata;
    use hookline_schemas::signature::SigningKey;
    use hookline_schemas::time::{AppendedAt, ReceivedAt, SignedAt};
    use hookline_schemas::topics::{Offset, Partition, Topic};

    use super::*;

    fn shown(body: &str, with_bodies: bool) -> Shown {
        let position = RecordPosition {
            topic: Topic::Resource(Resource::Video),
            partition: Partition(1),
            offset: Offset(42),
            appended_at: AppendedAt(0),
        };
        let metadata = DeliveryMetadata {
            source: "prod",
            received_at: ReceivedAt(1_786_699_613_589),
            signed_at: SignedAt(1_786_699_613),
            signed_at_text: "1786699613",
            signature: SigningKey::new("mhw_test").sign("1786699613", body.as_bytes()).to_hex(),
            key_name: "default",
            first_signed_at: None,
        };
        let mut batch = Batch::default();
        batch.push_delivery(position, &metadata, 0, body.as_bytes());
        let [shown] = Shown::of(&batch, &Topics::new("hookline").unwrap(), with_bodies).try_into().unwrap();
        shown
    }

    const ERRORED: &str = include_str!("../../../schemas/examples/video.errored.json");

    #[test]
    fn a_record_is_a_line_without_its_body() {
        let errored = shown(ERRORED, false);
        let event = envelope::decode(ERRORED.as_bytes()).unwrap();
        let error = event.error.unwrap();
        let line = format!(
            "2026-08-14T09:26:53.589Z  video.errored    prod  {}  {}  {}  hookline.video/1/42",
            event.job_id, event.job_type, error.code
        );
        assert_eq!(errored.to_string(), line);
        let json = serde_json::to_string(&errored).unwrap();
        assert!(!json.contains("\"body\"") && !json.contains(&*error.message), "{json}");
        let whole = shown(ERRORED, true);
        assert_eq!(whole.body.as_deref(), Some(ERRORED));
        assert!(whole.to_string().ends_with(ERRORED));
    }

    #[test]
    fn what_cannot_be_read_is_shown_with_the_reason() {
        let broken = shown("{", false);
        assert!(
            broken.to_string().contains("  –                prod  –  –  not_json  hookline.video/1/42  "),
            "{broken}"
        );
        assert_eq!(broken.event(), None);
        let foreign = shown(r#"{"type":"video.paused","payload":{}}"#, false);
        assert_eq!((&*foreign.event_type, &*foreign.reason), ("video.paused", "unknown_type"));
    }
}
