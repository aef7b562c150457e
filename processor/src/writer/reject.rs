//! What becomes of a record that leaves the main way: a dead letter. Pure, so that every reason can be tested without a server.

use std::borrow::Cow;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::envelope::DecodeError;
use hookline_schemas::ids::JobId;
use hookline_schemas::record::{DeadLetter, encode_dead_letter, encode_headers, header};
use hookline_schemas::topics::Topics;
use hookline_service::kafka_raw::add_header;
use rdkafka::message::OwnedHeaders;

use crate::batch::dead_letter::UnattributedRecord;
use crate::batch::fold::{Delivery, Folded, JobRow};
use crate::batch::position::RecordPosition;
use crate::batch::{Batch, BatchRecord};
use crate::clickhouse::columns::Table;
use crate::dead_letter_producer::DeadLetterMessage;
use crate::log_ids::LogIds;

/// Bytes of a detail and of a foreign record's key that a cut dead letter keeps.
const KEPT_DETAIL: usize = 500;
const KEPT_KEY: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    Cut,
}

#[derive(Clone, Copy, Debug)]
pub enum Rejection<'b> {
    /// The record lacks the headers that ingest writes: somebody else produced it.
    NotFromIngest(&'b UnattributedRecord),
    /// Ingest stored the body, and it cannot be decoded.
    Unreadable(&'b BatchRecord, &'b DecodeError),
    /// ClickHouse refuses the record's own row, or the row of its job, with this code.
    RefusedByTable { delivery: &'b Delivery<'b>, table: Table, code: u32 },
}

/// A row that ClickHouse refuses whatever else is in its block, with a code that its content can cause.
#[derive(Debug)]
pub struct RefusedRow<'r, T> {
    pub row: &'r T,
    pub code: u32,
    pub text: String,
}

/// Rejects the records of a batch that never become rows.
pub fn unprocessable<'b>(batch: &'b Batch, folded: &'b Folded<'b>) -> Vec<Rejection<'b>> {
    let not_from_ingest = batch.unattributed.iter().map(Rejection::NotFromIngest);
    not_from_ingest.chain(folded.unreadable.iter().map(|(row, error)| Rejection::Unreadable(row, error))).collect()
}

/// Rejects all deliveries about a job whose row of `jobs` is refused: a row of `deliveries` implies its facts.
pub fn refused_jobs<'b>(
    batch: &'b Batch,
    folded: &'b Folded<'b>,
    refused: &'b [RefusedRow<'b, JobRow<'b>>],
) -> impl Iterator<Item = Rejection<'b>> {
    refused.iter().flat_map(move |job| {
        let about = folded.deliveries.iter().filter(|delivery| delivery.is_about(&job.row.key, batch));
        about.map(|delivery| Rejection::RefusedByTable { delivery, table: Table::Jobs, code: job.code })
    })
}

impl<'b> Rejection<'b> {
    pub fn of_delivery(refused: &RefusedRow<'b, Delivery<'b>>) -> Self {
        Self::RefusedByTable { delivery: refused.row, table: Table::Deliveries, code: refused.code }
    }

    pub fn position(&self) -> RecordPosition {
        match self {
            Self::NotFromIngest(record) => record.position,
            Self::Unreadable(row, _) => row.position,
            Self::RefusedByTable { delivery, .. } => delivery.row.position,
        }
    }

    /// Makes the record for the dead-letter topic: the body as signed, and headers that say where it comes from and why.
    pub fn message(&self, batch: &'b Batch, topics: &Topics, log_ids: &LogIds) -> DeadLetterMessage<'b> {
        self.message_of(batch, topics, log_ids, Form::Whole)
    }

    /// Makes it for a topic that does not take the whole: the body, a foreign record's headers and what is long of key and detail
    /// are left out. The origin says where they lie.
    pub fn message_cut(&self, batch: &'b Batch, topics: &Topics, log_ids: &LogIds) -> DeadLetterMessage<'b> {
        self.message_of(batch, topics, log_ids, Form::Cut)
    }

    fn message_of(&self, batch: &'b Batch, topics: &Topics, log_ids: &LogIds, form: Form) -> DeadLetterMessage<'b> {
        let (reason, detail): (_, Cow<'b, str>) = match self {
            Self::NotFromIngest(record) => (DeadLetterReason::BadRecord, record.bad.to_string().into()),
            Self::Unreadable(_, error) => (error.reason, (&*error.detail).into()),
            Self::RefusedByTable { table, code, .. } => {
                (DeadLetterReason::InsertRefused, format!("table {} code {code}", table.as_str()).into())
            }
        };
        let (body, header_bytes) = match self {
            Self::NotFromIngest(record) => (&*record.body, record.header_bytes()),
            Self::Unreadable(row, _) => (batch.body(row), 0),
            Self::RefusedByTable { delivery, .. } => (batch.body(delivery.row), 0),
        };
        let (detail, body) = match form {
            Form::Whole => (detail, body),
            Form::Cut => {
                let detail = detail.get(..detail.floor_char_boundary(KEPT_DETAIL)).unwrap_or_default();
                let left_out =
                    format!("{} bytes of body and {header_bytes} of headers are only at the origin", body.len());
                (format!("{detail}; cut, because the topic does not take it whole: {left_out}").into(), &[][..])
            }
        };
        let origin = self.position().named(topics).to_string();
        let redrives = match self {
            Self::NotFromIngest(_) => 0,
            Self::Unreadable(row, _) => row.redrives,
            Self::RefusedByTable { delivery, .. } => delivery.row.redrives,
        };
        let dead = DeadLetter { reason, detail: &detail, origin: &origin, redrives };
        let mut headers = OwnedHeaders::new_with_capacity(16);
        let mut add = |key: &[u8], value: Option<&[u8]>| {
            headers = add_header(std::mem::take(&mut headers), key, value);
        };
        add(header::DEAD_ORIGIN_LOG_ID.as_bytes(), Some(log_ids.of(self.position().topic).as_bytes()));
        let (row, event_type, job_id) = match self {
            Self::NotFromIngest(record) => {
                let key = match form {
                    Form::Whole => &*record.key,
                    Form::Cut => record.key.get(..KEPT_KEY).unwrap_or(&record.key),
                };
                for (key, value) in record.headers.iter().filter(|_| form == Form::Whole) {
                    add(key, value.as_deref());
                }
                encode_dead_letter(&dead, |key, value| add(key.as_bytes(), Some(value.as_bytes())));
                return DeadLetterMessage { reason, origin, key, body, headers };
            }
            Self::Unreadable(row, error) => (*row, error.event_type, error.job_id.as_ref().map_or("", JobId::as_str)),
            Self::RefusedByTable { delivery, .. } => {
                (delivery.row, Some(delivery.event_type), delivery.job_id.as_str())
            }
        };
        let metadata = batch.metadata(row);
        encode_headers(&metadata, event_type, job_id, Some(&dead), |key, value| {
            add(key.as_bytes(), Some(value.as_bytes()));
        });
        DeadLetterMessage { reason, origin, key: job_id.as_bytes(), body, headers }
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::{Action, EventType, Resource};
    use hookline_schemas::record::DeliveryMetadata;
    use hookline_schemas::signature::HexSignature;
    use hookline_schemas::time::{AppendedAt, ReceivedAt, SignedAt};
    use hookline_schemas::topics::{Offset, Partition, Topic};
    use rdkafka::message::Headers as _;

    use super::*;
    use crate::batch::fold::fold;

    const EVENT: EventType = EventType { resource: Resource::Video, action: Action::Completed };
    const GOOD: &str =
        r#"{"type":"video.completed","payload":{"id":"j1","type":"T","created_at":"2026-08-14T09:26:53Z"}}"#;

    fn position(offset: i64) -> RecordPosition {
        RecordPosition {
            topic: Topic::Resource(Resource::Video),
            partition: Partition(3),
            offset: Offset(offset),
            appended_at: AppendedAt(0),
        }
    }

    /// Pushes a record as ingest writes it.
    fn push(batch: &mut Batch, offset: i64, job_id: &str, body: &str) {
        let metadata = DeliveryMetadata {
            source: "prod",
            received_at: ReceivedAt(1_729_314_985_250),
            signed_at: SignedAt(1_729_314_984),
            signed_at_text: "1729314984",
            signature: HexSignature::parse(&[b'a'; 64]).unwrap(),
            key_name: "default",
            first_signed_at: None,
        };
        let mut headers = Vec::new();
        encode_headers(&metadata, Some(EVENT), job_id, None, |key, value| headers.push((key, value.to_owned())));
        let headers = headers.iter().map(|(key, value)| (key.as_bytes(), Some(value.as_bytes())));
        batch.push(position(offset), job_id.as_bytes(), body.as_bytes(), headers);
    }

    fn header<'m>(message: &'m DeadLetterMessage<'_>, key: &str) -> Option<&'m str> {
        let found = message.headers.iter().find(|header| header.key == key)?;
        found.value.and_then(|value| std::str::from_utf8(value).ok())
    }

    fn dead<'m>(message: &'m DeadLetterMessage<'_>) -> [Option<&'m str>; 4] {
        [header::DEAD_REASON, header::DEAD_DETAIL, header::DEAD_ORIGIN, header::DEAD_REDRIVES]
            .map(|key| header(message, key))
    }

    #[test]
    fn records_that_never_become_rows_are_rejected_and_the_others_are_not() {
        let mut batch = Batch::default();
        push(&mut batch, 0, "j1", GOOD);
        push(&mut batch, 1, "j2", "no json");
        let headers = [(&b"x"[..], Some(&b"y"[..])), (b"hookline-dead-reason", None)];
        batch.push(position(2), b"k", b"b", headers.into_iter());
        let folded = fold(&batch);
        let topics = Topics::new("t").unwrap();
        let rejections = unprocessable(&batch, &folded);
        assert!(matches!(*rejections, [Rejection::NotFromIngest(_), Rejection::Unreadable(..)]), "{rejections:?}");
        let [not_from_ingest, unreadable] =
            [0, 1].map(|index| rejections[index].message(&batch, &topics, &LogIds::default()));
        assert_eq!(
            (not_from_ingest.key, not_from_ingest.body, &*not_from_ingest.origin),
            (&b"k"[..], &b"b"[..], "t.video/3/2")
        );
        assert_eq!(header(&not_from_ingest, "x"), Some("y"), "it keeps its own headers");
        let detail = "the header ce_source is missing or malformed";
        assert_eq!(dead(&not_from_ingest), [Some("bad_record"), Some(detail), Some("t.video/3/2"), Some("0")]);
        assert_eq!((unreadable.key, unreadable.body), (&b""[..], &b"no json"[..]), "no job is known");
        assert_eq!(header(&unreadable, header::CE_SOURCE), Some("/webhooks/prod"));
        let [reason, detail, origin, redrives] = dead(&unreadable);
        assert_eq!((reason, origin, redrives), (Some("not_json"), Some("t.video/3/1"), Some("0")));
        assert!(!detail.unwrap().is_empty());
    }

    #[test]
    fn a_cut_dead_letter_is_small_and_says_what_it_lacks() {
        let mut batch = Batch::default();
        push(&mut batch, 1, "j2", &"x".repeat(5_000));
        let (key, value) = ([b'k'; 5_000], [b'v'; 5_000]);
        batch.push(position(2), &key, &[b'b'; 7_000], [(&b"x"[..], Some(&value[..]))].into_iter());
        let folded = fold(&batch);
        let topics = Topics::new("t").unwrap();
        for (rejection, (origin, lacks)) in unprocessable(&batch, &folded)
            .iter()
            .zip([("t.video/3/2", "7000 bytes of body and 5"), ("t.video/3/1", "5000 bytes of body and 0 ")])
        {
            let (whole, cut) = (
                rejection.message(&batch, &topics, &LogIds::default()),
                rejection.message_cut(&batch, &topics, &LogIds::default()),
            );
            assert_eq!((whole.reason, &whole.origin), (cut.reason, &cut.origin));
            assert!(whole.body.len() >= 5_000 && cut.body.is_empty());
            let headers: usize = cut.headers.iter().map(|h| h.key.len() + h.value.map_or(0, <[u8]>::len)).sum();
            assert!(cut.key.len() + headers < 2_000, "{headers}");
            assert_eq!(header(&cut, header::DEAD_ORIGIN), Some(origin));
            assert!(
                header(&cut, header::DEAD_DETAIL).unwrap().contains(lacks),
                "{:?}",
                header(&cut, header::DEAD_DETAIL)
            );
        }
    }

    #[test]
    fn a_refused_job_rejects_all_of_its_deliveries_and_no_others() {
        let mut batch = Batch::default();
        push(&mut batch, 0, "j1", GOOD);
        push(&mut batch, 1, "j2", &GOOD.replace("j1", "j2"));
        push(&mut batch, 2, "j1", &GOOD.replace("completed", "started"));
        let folded = fold(&batch);
        let refused = |code| RefusedRow { row: &folded.jobs[0], code, text: String::new() };
        let refused = [refused(469)];
        let rejections: Vec<_> = refused_jobs(&batch, &folded, &refused).collect();
        let offsets: Vec<_> = rejections.iter().map(|rejection| rejection.position().offset.0).collect();
        assert_eq!(offsets, [0, 2]);
        let message = rejections[0].message(&batch, &Topics::new("t").unwrap(), &LogIds::default());
        assert_eq!((message.key, message.body), (&b"j1"[..], GOOD.as_bytes()));
        assert_eq!(header(&message, header::CE_TYPE), Some("video.completed"));
        let detail = Some("table jobs code 469");
        assert_eq!(dead(&message), [Some("insert_refused"), detail, Some("t.video/3/0"), Some("0")]);
        assert_eq!(refused_jobs(&batch, &folded, &[]).count(), 0);
    }

    #[test]
    fn a_refused_delivery_is_rejected_alone() {
        let mut batch = Batch::default();
        push(&mut batch, 7, "j1", GOOD);
        let folded = fold(&batch);
        let refused = RefusedRow { row: &folded.deliveries[0], code: 1, text: String::new() };
        let message = Rejection::of_delivery(&refused).message(&batch, &Topics::new("t").unwrap(), &LogIds::default());
        let detail = Some("table deliveries code 1");
        assert_eq!(dead(&message), [Some("insert_refused"), detail, Some("t.video/3/7"), Some("0")]);
    }
}
