//! Where an authentic delivery goes: into its resource's topic, or into the dead-letter topic with the reason.

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::envelope::decode;
use hookline_schemas::ids::{EventType, JobId};
use hookline_schemas::record::{DeadLetter, DeliveryMetadata, INGEST_ORIGIN, encode_headers};
use hookline_schemas::signature::Verified;
use hookline_schemas::time::{ReceivedAt, SignedAt};
use hookline_schemas::topics::Topics;
use rdkafka::message::{Header, OwnedHeaders};

use crate::config::Tolerance;

/// Most headers a record can have.
const MOST_HEADERS: usize = 15;

/// An authentic delivery, and what its body says of its way.
#[derive(Debug)]
pub struct Delivery<'a> {
    verified: Verified<'a, 'a>,
    source: &'a str,
    received_at: ReceivedAt,
    event_type: Option<EventType>,
    job_id: Option<JobId<'a>>,
    /// Why it is a dead letter, if it is one.
    pub dead: Option<Dead>,
}

/// Why an authentic delivery is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The reason.
    pub reason: DeadLetterReason,
    /// What exactly.
    pub detail: String,
}

impl<'a> Delivery<'a> {
    /// Reads the body: only now, after somebody vouched for it.
    pub fn new(verified: Verified<'a, 'a>, source: &'a str, received_at: ReceivedAt, tolerance: Tolerance) -> Self {
        let (event_type, job_id, refused) = match decode(verified.body()) {
            Ok(event) => (Some(event.event_type), Some(event.job_id), None),
            Err(refused) => {
                let dead = Dead { reason: refused.reason, detail: refused.detail };
                (refused.event_type, refused.job_id, Some(dead))
            }
        };
        // Whoever may be replaying an old request gets no other answer for a body that cannot be processed.
        let dead = stale(verified.signed_at(), received_at, tolerance)
            .map(|detail| Dead { reason: DeadLetterReason::Stale, detail })
            .or(refused);
        Self { verified, source, received_at, event_type, job_id, dead }
    }

    /// Signed too long ago or too far ahead.
    pub fn is_stale(&self) -> bool {
        self.dead.as_ref().is_some_and(|dead| dead.reason == DeadLetterReason::Stale)
    }

    /// The topic it belongs into.
    pub fn topic<'t>(&self, topics: &'t Topics) -> &'t str {
        match (&self.dead, self.event_type) {
            (None, Some(event_type)) => topics.resource(event_type.resource),
            (Some(_), _) | (None, None) => topics.dead_letter(),
        }
    }

    /// The key of the record: the job id, as far as it is known.
    pub fn key(&self) -> Option<&str> {
        self.job_id.as_ref().map(JobId::as_str)
    }

    /// The headers of the record.
    pub fn headers(&self, first_signed_at: Option<SignedAt>) -> OwnedHeaders {
        let metadata = DeliveryMetadata {
            source: self.source,
            received_at: self.received_at,
            signed_at: self.verified.signed_at(),
            signed_at_text: self.verified.timestamp(),
            signature: self.verified.signature().to_hex(),
            key_name: self.verified.key().as_str(),
            first_signed_at,
        };
        let dead = self.dead.as_ref().map(|dead| DeadLetter {
            reason: dead.reason,
            detail: &dead.detail,
            origin: INGEST_ORIGIN,
            redrives: 0,
        });
        let mut headers = Some(OwnedHeaders::new_with_capacity(MOST_HEADERS));
        encode_headers(&metadata, self.event_type, self.key().unwrap_or_default(), dead.as_ref(), |key, value| {
            headers = headers.take().map(|headers| headers.insert(Header { key, value: Some(value) }));
        });
        headers.unwrap_or_default()
    }
}

fn stale(signed_at: SignedAt, received_at: ReceivedAt, tolerance: Tolerance) -> Option<String> {
    let age = signed_at.age_seconds(received_at);
    if age > i64::from(tolerance.past_seconds) {
        Some(format!("signed {age} s ago"))
    } else if -age > i64::from(tolerance.future_seconds) {
        Some(format!("signed {} s ahead", -age))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::KeyName;
    use hookline_schemas::record::decode_headers;
    use hookline_schemas::signature::{NamedKey, SigningKey, Unverified};
    use rdkafka::message::Headers as _;

    use super::*;

    const NOW: i64 = 1_729_314_985;
    const GOOD: &str = r#"{"type":"video.started","payload":{"id":"j1","created_at":"2024-10-19T05:10:19.027Z"}}"#;

    fn with<T>(body: &str, age: i64, read: impl FnOnce(Delivery<'_>) -> T) -> T {
        let keys = [NamedKey { name: KeyName::new("k").unwrap(), key: SigningKey::new("s") }];
        let timestamp = (NOW - age).to_string();
        let hex = keys[0].key.sign(&timestamp, body.as_bytes()).to_hex();
        let verified = Unverified::new(timestamp.as_bytes(), hex.as_str().as_bytes(), body.as_bytes())
            .and_then(|unverified| unverified.verify(&keys))
            .unwrap();
        read(Delivery::new(verified, "prod", ReceivedAt(NOW * 1000 + 250), Tolerance::default()))
    }

    fn way(body: &str, age: i64) -> (String, Option<DeadLetterReason>) {
        let topics = Topics::new("h").unwrap();
        with(body, age, |delivery| (delivery.topic(&topics).to_owned(), delivery.dead.map(|dead| dead.reason)))
    }

    #[test]
    fn the_body_and_the_age_decide() {
        let dead = |reason| ("h.dead-letter".to_owned(), Some(reason));
        for age in [-300, 0, 300] {
            assert_eq!(way(GOOD, age), ("h.video".into(), None), "{age}");
        }
        for age in [-301, 301, 86_400] {
            assert_eq!(way(GOOD, age), dead(DeadLetterReason::Stale), "{age}");
            assert_eq!(way("no", age), dead(DeadLetterReason::Stale), "{age}");
        }
        assert_eq!(way("no", 0), dead(DeadLetterReason::NotJson));
        assert_eq!(way(r#"{"type":"test.event","payload":{"test":true}}"#, 0), dead(DeadLetterReason::UnknownType));
    }

    #[test]
    fn headers_can_be_read_back() {
        for (body, age, key) in [(GOOD, 0, Some("j1")), (GOOD, 301, Some("j1")), ("no", 0, None)] {
            with(body, age, |delivery| {
                let headers = delivery.headers(Some(SignedAt(7)));
                let read = decode_headers(headers.iter().map(|header| (header.key, header.value))).unwrap();
                assert_eq!(delivery.key(), key);
                assert_eq!((read.metadata.source, read.metadata.key_name), ("prod", "k"));
                assert_eq!(read.metadata.first_signed_at, Some(SignedAt(7)));
                assert_eq!(read.dead.map(|dead| dead.reason), delivery.dead.map(|dead| dead.reason));
            });
        }
    }
}
