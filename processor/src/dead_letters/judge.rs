//! What would become of dead letters now. The judgement is that of the live group, because it is the same code: a letter is put
//! into a batch as the record that it would be, and the batch is folded.

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::ids::{EventType, Resource};
use hookline_schemas::time::AppendedAt;
use hookline_schemas::topics::{Offset, Partition, Topic};

use super::letter::Letter;
use crate::batch::Batch;
use crate::batch::fold::{Delivery, Folded};
use crate::batch::position::RecordPosition;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is processed as this event.
    Processable(EventType),
    /// It stays a dead letter, for this reason of today.
    NotProcessable(DeadLetterReason, String),
    /// Neither the table nor a topic has its body any more.
    BodyLost,
}

/// Puts letters into a batch, each at the offset that is its place.
pub fn batch<'l>(letters: impl IntoIterator<Item = &'l Letter>) -> Batch {
    let mut batch = Batch::default();
    for (place, letter) in (0..).zip(letters) {
        let position = RecordPosition {
            topic: Topic::Resource(Resource::Video),
            partition: Partition(0),
            offset: Offset(place),
            appended_at: AppendedAt(0),
        };
        let headers = letter.headers.iter().map(|(name, value)| (&**name, value.as_deref()));
        batch.push(position, &[], letter.body(), headers);
    }
    batch
}

/// Judges each letter, in their order. `folded` is of their batch.
pub fn judge(letters: &[Letter], batch: &Batch, folded: &Folded<'_>) -> Vec<Verdict> {
    let lost = letters.iter().map(|_| Verdict::BodyLost);
    let mut verdicts: Vec<_> = lost.collect();
    let mut put = |offset: Offset, verdict: Verdict| {
        let place = usize::try_from(offset.0).ok();
        let has_body = place.and_then(|place| letters.get(place)).is_some_and(|letter| letter.body.is_some());
        if let Some(slot) = place.and_then(|place| verdicts.get_mut(place))
            && has_body
        {
            *slot = verdict;
        }
    };
    for record in &batch.unattributed {
        put(record.position.offset, Verdict::NotProcessable(DeadLetterReason::BadRecord, record.bad.to_string()));
    }
    for (row, error) in &folded.unreadable {
        put(row.position.offset, Verdict::NotProcessable(error.reason, error.detail.clone()));
    }
    for delivery in &folded.deliveries {
        put(delivery.row.position.offset, Verdict::Processable(delivery.event_type));
    }
    verdicts
}

/// The place of the letter that a delivery of the batch is made of.
pub fn place(delivery: &Delivery<'_>) -> usize {
    usize::try_from(delivery.row.position.offset.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::Action;

    use super::*;
    use crate::batch::fold::fold;
    use crate::dead_letters::letter::LetterRow;

    fn letter(source: &str, body: &str) -> Letter {
        Letter::from(LetterRow {
            log_id: "c/t".into(),
            topic: "h.dead-letter".into(),
            partition: 0,
            offset: 7,
            source: source.into(),
            reason: "stale".into(),
            origin: "ingest".into(),
            origin_log_id: String::new(),
            key_name: "default".into(),
            signature: "a".repeat(64),
            signed_at_text: "1729314984".into(),
            first_signed_at: Some(1_729_314_000),
            redrives: 0,
            received_ms: 1_729_319_999_250,
            body: body.into(),
        })
    }

    const GOOD: &str =
        r#"{"type":"video.completed","payload":{"id":"j1","type":"T","created_at":"2024-10-19T05:10:19Z"}}"#;

    #[test]
    fn each_letter_has_the_verdict_of_the_live_group() {
        let mut without_body = letter("prod", "");
        without_body.body = None;
        let letters = [
            letter("prod", "no json"),
            letter("prod", GOOD),
            letter("", GOOD),
            without_body,
            letter("prod", r#"{"type":"video.paused"}"#),
        ];
        let batch = batch(&letters);
        let folded = fold(&batch);
        let verdicts = judge(&letters, &batch, &folded);
        let completed = EventType { resource: Resource::Video, action: Action::Completed };
        assert!(matches!(verdicts[0], Verdict::NotProcessable(DeadLetterReason::NotJson, _)));
        assert_eq!(verdicts[1], Verdict::Processable(completed));
        assert!(
            matches!(&verdicts[2], Verdict::NotProcessable(DeadLetterReason::BadRecord, why) if why.contains("ce_source"))
        );
        assert_eq!(verdicts[3], Verdict::BodyLost);
        assert!(matches!(verdicts[4], Verdict::NotProcessable(DeadLetterReason::UnknownType, _)));
        let metadata = batch.metadata(folded.deliveries[0].row);
        assert_eq!(metadata.first_known_signed_at().0, 1_729_314_000, "the first signed time is kept");
        assert_eq!(metadata.received_at.0, 1_729_319_999_250, "and the first receive time");
    }
}
