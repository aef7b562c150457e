//! Decides where an authentic webhook goes: into the topic of its resource, or into the dead-letter topic with the
//! reason; and what its record carries beside the signed bytes.

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::envelope::decode;
use hookline_schemas::ids::{EventType, JobId};
use hookline_schemas::record::{DeadLetter, DeliveryMetadata, INGEST_ORIGIN, encode_headers};
use hookline_schemas::signature::Verified;
use hookline_schemas::time::{ReceivedAt, SignedAt};
use hookline_schemas::topics::Topics;
use rdkafka::message::{Header, OwnedHeaders};

use crate::config::Tolerance;
use crate::webhook::first_signed::EventIdentity;

/// The most headers that `encode_headers` adds, so that librdkafka allocates their list once.
const MOST_HEADERS: usize = 15;

/// An authentic webhook whose topic, key and headers are known.
#[derive(Debug)]
pub struct RoutedWebhook<'a> {
    verified: Verified<'a, 'a>,
    source: &'a str,
    received_at: ReceivedAt,
    event_type: Option<EventType>,
    /// `type` of a body that cannot be processed; it need not be a known one.
    undecodable_type: String,
    job_id: Option<JobId<'a>>,
    /// Present if the webhook goes to the dead-letter topic.
    pub dead_letter: Option<DeadLetterCause>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterCause {
    pub reason: DeadLetterReason,
    pub detail: String,
}

impl<'a> RoutedWebhook<'a> {
    /// Decodes the body, which nothing does before its signature was verified.
    pub fn new(verified: Verified<'a, 'a>, source: &'a str, received_at: ReceivedAt, tolerance: Tolerance) -> Self {
        let (event_type, undecodable_type, job_id, undecodable) = match decode(verified.body()) {
            Ok(event) => (Some(event.event_type), String::new(), Some(event.job_id), None),
            Err(error) => {
                let cause = DeadLetterCause { reason: error.reason, detail: error.detail };
                (error.event_type, error.type_text, error.job_id, Some(cause))
            }
        };
        // Staleness wins over an undecodable body: a replayed request must not learn whether its body would be
        // accepted.
        let dead_letter = staleness(verified.signed_at(), received_at, tolerance)
            .map(|detail| DeadLetterCause { reason: DeadLetterReason::Stale, detail })
            .or(undecodable);
        Self { verified, source, received_at, event_type, undecodable_type, job_id, dead_letter }
    }

    /// Whether it was signed further in the past or in the future than is tolerated.
    pub fn is_stale(&self) -> bool {
        self.dead_letter.as_ref().is_some_and(|cause| cause.reason == DeadLetterReason::Stale)
    }

    pub fn topic<'t>(&self, topics: &'t Topics) -> &'t str {
        match (&self.dead_letter, self.event_type) {
            (None, Some(event_type)) => topics.resource(event_type.resource),
            (Some(_), _) | (None, None) => topics.dead_letter(),
        }
    }

    /// The key of the record: the job id, so that the events of a job keep their order; none if the body does not tell
    /// it.
    pub fn key(&self) -> Option<&str> {
        self.job_id.as_ref().map(JobId::as_str)
    }

    /// What every attempt of this event has in common.
    pub fn event(&self) -> EventIdentity<'_> {
        let event_type = match self.event_type {
            Some(event_type) => event_type.as_str(),
            None => &self.undecodable_type,
        };
        match &self.job_id {
            Some(job_id) => EventIdentity::Job { event_type, job_id: job_id.as_str() },
            None => EventIdentity::Body(self.verified.body()),
        }
    }

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
        let dead_letter = self.dead_letter.as_ref().map(|DeadLetterCause { reason, detail }| DeadLetter {
            reason: *reason,
            detail,
            origin: INGEST_ORIGIN,
            redrives: 0,
        });
        // `insert` takes the list and returns it. `None` stands in for it meanwhile, since an empty list would be
        // allocated.
        let mut headers = Some(OwnedHeaders::new_with_capacity(MOST_HEADERS));
        let job_id = self.key().unwrap_or_default();
        encode_headers(&metadata, self.event_type, job_id, dead_letter.as_ref(), |key, value| {
            headers = headers.take().map(|headers| headers.insert(Header { key, value: Some(value) }));
        });
        headers.unwrap_or_default()
    }
}

/// How far the signed time is outside the tolerance, if it is.
fn staleness(signed_at: SignedAt, received_at: ReceivedAt, tolerance: Tolerance) -> Option<String> {
    let age = signed_at.age_seconds(received_at);
    tolerance.excludes(age).then(|| match age {
        0.. => format!("signed {age} s ago"),
        _ => format!("signed {} s ahead", -age),
    })
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

    fn with_routed<T>(body: &str, age: i64, read: impl FnOnce(RoutedWebhook<'_>) -> T) -> T {
        let keys = [NamedKey { name: KeyName::new("k").unwrap(), key: SigningKey::new("s") }];
        let timestamp = (NOW - age).to_string();
        let hex = keys[0].key.sign(&timestamp, body.as_bytes()).to_hex();
        let verified = Unverified::new(timestamp.as_bytes(), hex.as_str().as_bytes(), body.as_bytes())
            .and_then(|unverified| unverified.verify(&keys))
            .unwrap();
        read(RoutedWebhook::new(verified, "prod", ReceivedAt(NOW * 1000 + 250), Tolerance::default()))
    }

    fn route(body: &str, age: i64) -> (String, Option<DeadLetterReason>) {
        let topics = Topics::new("h").unwrap();
        with_routed(body, age, |routed| {
            (routed.topic(&topics).to_owned(), routed.dead_letter.map(|cause| cause.reason))
        })
    }

    #[test]
    fn the_body_and_the_age_decide() {
        let dead_letter = |reason| ("h.dead-letter".to_owned(), Some(reason));
        for age in [-300, 0, 300] {
            assert_eq!(route(GOOD, age), ("h.video".into(), None), "{age}");
        }
        for age in [-301, 301, 86_400] {
            assert_eq!(route(GOOD, age), dead_letter(DeadLetterReason::Stale), "{age}");
            assert_eq!(route("no", age), dead_letter(DeadLetterReason::Stale), "{age}");
        }
        assert_eq!(route("no", 0), dead_letter(DeadLetterReason::NotJson));
        assert_eq!(
            route(r#"{"type":"test.event","payload":{"test":true}}"#, 0),
            dead_letter(DeadLetterReason::UnknownType)
        );
    }

    #[test]
    fn headers_can_be_read_back() {
        for (body, age, key) in [(GOOD, 0, Some("j1")), (GOOD, 301, Some("j1")), ("no", 0, None)] {
            with_routed(body, age, |routed| {
                let headers = routed.headers(Some(SignedAt(7)));
                let read = decode_headers(headers.iter().map(|header| (header.key, header.value))).unwrap();
                assert_eq!(routed.key(), key);
                assert_eq!((read.metadata.source, read.metadata.key_name), ("prod", "k"));
                assert_eq!(read.metadata.first_signed_at, Some(SignedAt(7)));
                assert_eq!(read.dead.map(|dead| dead.reason), routed.dead_letter.map(|cause| cause.reason));
            });
        }
    }
}
