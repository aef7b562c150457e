//! What a Kafka record carries beside the signed bytes: the headers, written by ingest and read by the processor.
//!
//! The key of a record is the job id, the value the raw body as signed.

use std::fmt::Write as _;

use crate::dead_letter::DeadLetterReason;
use crate::ids::{EventType, KeyName, Source};
use crate::signature::HexSignature;
use crate::time::{ReceivedAt, SignedAt};

/// How a delivery came in: what its signature covers beside the body, and who vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryMetadata<'a> {
    /// The source whose path the webhook was sent to.
    pub source: &'a str,
    /// When the webhook reached ingest, by ingest's clock.
    pub received_at: ReceivedAt,
    /// When the provider signed this attempt, by its clock.
    pub signed_at: SignedAt,
    /// The timestamp header exactly as it came: the signature covers its text.
    pub signed_at_text: &'a str,
    /// The signature of this attempt, which a secret of the source verified.
    pub signature: HexSignature,
    /// The name of the secret that verified it.
    pub key_name: &'a str,
    /// The signed time of the first attempt, if that one was authentic and refused with 503.
    pub first_signed_at: Option<SignedAt>,
}

impl DeliveryMetadata<'_> {
    /// The first signed time known of the event.
    pub fn first_known_signed_at(&self) -> SignedAt {
        self.first_signed_at.unwrap_or(self.signed_at)
    }
}

/// What a dead letter's headers say beside its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// Why the record could not be processed.
    pub reason: DeadLetterReason,
    /// What exactly is wrong, for people.
    pub detail: &'a str,
    /// `topic/partition/offset` of the record it was made from, or [`INGEST_ORIGIN`].
    pub origin: &'a str,
    /// How often it was sent back into its resource topic.
    pub redrives: u16,
}

/// The origin of a dead letter that never was in a resource topic.
pub const INGEST_ORIGIN: &str = "ingest";

/// Names of the records' headers.
pub mod header {
    #![expect(missing_docs, reason = "the names say it; ARCHITECTURE.md has the table")]
    pub const CE_SPECVERSION: &str = "ce_specversion";
    pub const CE_ID: &str = "ce_id";
    pub const CE_SOURCE: &str = "ce_source";
    pub const CE_TYPE: &str = "ce_type";
    pub const CE_TIME: &str = "ce_time";
    pub const CONTENT_TYPE: &str = "content-type";
    pub const RECEIVED_AT: &str = "hookline-received-at";
    pub const SIGNED_AT: &str = "hookline-signed-at";
    pub const SIGNATURE: &str = "hookline-signature";
    pub const KEY: &str = "hookline-key";
    pub const FIRST_SIGNED_AT: &str = "hookline-first-signed-at";
    pub const DEAD_REASON: &str = "hookline-dead-reason";
    pub const DEAD_DETAIL: &str = "hookline-dead-detail";
    pub const DEAD_ORIGIN: &str = "hookline-dead-origin";
    pub const DEAD_ORIGIN_LOG_ID: &str = "hookline-dead-origin-log-id";
    pub const DEAD_REDRIVES: &str = "hookline-dead-redrives";
    pub const REDRIVEN_FROM: &str = "hookline-redriven-from";
}

/// The path under which sources post, and the beginning of `ce_source`.
pub const WEBHOOK_PATH: &str = "/webhooks/";

/// Gives each header of a record to `add`, all UTF-8 text. `event_type` and `job_id` are empty where a dead letter's body
/// does not tell them.
pub fn encode_headers(
    metadata: &DeliveryMetadata<'_>,
    event_type: Option<EventType>,
    job_id: &str,
    dead: Option<&DeadLetter<'_>>,
    mut add: impl FnMut(&'static str, &str),
) {
    let event_type = event_type.map_or("", EventType::as_str);
    let mut text = String::with_capacity(128);
    let mut format = |name, arguments: std::fmt::Arguments<'_>, add: &mut dyn FnMut(&'static str, &str)| {
        text.clear();
        // Writing into a String cannot fail.
        let _ = text.write_fmt(arguments);
        add(name, &text);
    };
    add(header::CE_SPECVERSION, "1.0");
    format(header::CE_ID, format_args!("{}/{event_type}/{job_id}", metadata.source), &mut add);
    format(header::CE_SOURCE, format_args!("{WEBHOOK_PATH}{}", metadata.source), &mut add);
    add(header::CE_TYPE, event_type);
    format(header::CE_TIME, format_args!("{}", metadata.signed_at), &mut add);
    add(header::CONTENT_TYPE, "application/json");
    format(header::RECEIVED_AT, format_args!("{}", metadata.received_at.0), &mut add);
    add(header::SIGNED_AT, metadata.signed_at_text);
    add(header::SIGNATURE, metadata.signature.as_str());
    add(header::KEY, metadata.key_name);
    if let Some(first) = metadata.first_signed_at {
        format(header::FIRST_SIGNED_AT, format_args!("{}", first.0), &mut add);
    }
    if let Some(dead) = dead {
        encode_dead_letter(dead, add);
    }
}

/// Gives each header that a dead letter has beside those of a delivery to `add`.
pub fn encode_dead_letter(dead: &DeadLetter<'_>, mut add: impl FnMut(&'static str, &str)) {
    add(header::DEAD_REASON, dead.reason.as_str());
    add(header::DEAD_DETAIL, dead.detail);
    add(header::DEAD_ORIGIN, dead.origin);
    add(header::DEAD_REDRIVES, &dead.redrives.to_string());
}

/// Gives each header that a redriven record has beside those of a delivery to `add`. `from` is the position of its dead letter,
/// for people.
pub fn encode_redrive(redrives: u16, from: &str, mut add: impl FnMut(&'static str, &str)) {
    add(header::DEAD_REDRIVES, &redrives.to_string());
    add(header::REDRIVEN_FROM, from);
}

/// The headers of a record as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    /// How the delivery came in.
    pub metadata: DeliveryMetadata<'a>,
    /// `ce_type`; empty where the body did not tell it.
    pub event_type: &'a str,
    /// What only the headers of a dead letter say.
    pub dead: Option<DeadLetter<'a>>,
    /// How often the record was sent back into its resource topic.
    pub redrives: u16,
}

impl Headers<'_> {
    /// Checks what only a dead letter may say: that it was signed at a time which is within nobody's tolerance.
    pub fn check_delivery(&self) -> Result<(), BadHeader> {
        let DeliveryMetadata { signed_at, first_signed_at, .. } = self.metadata;
        match (signed_at.is_plausible(), first_signed_at.is_none_or(SignedAt::is_plausible)) {
            (false, _) => Err(BadHeader(header::SIGNED_AT)),
            (true, false) => Err(BadHeader(header::FIRST_SIGNED_AT)),
            (true, true) => Ok(()),
        }
    }
}

/// A header that is missing or not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {0} is missing or malformed")]
pub struct BadHeader(pub &'static str);

/// Reads the headers of a record. Unknown ones are passed over; of a repeated one the first counts. Names are bytes, because
/// Kafka does not look into them.
pub fn decode_headers<'a>(
    headers: impl Iterator<Item = (impl AsRef<[u8]>, Option<&'a [u8]>)>,
) -> Result<Headers<'a>, BadHeader> {
    let mut raw = RawHeaders::default();
    for (name, value) in headers {
        if let (Some(slot), Some(value)) =
            (std::str::from_utf8(name.as_ref()).ok().and_then(|name| raw.slot(name)), value)
            && slot.is_none()
        {
            *slot = Some(value);
        }
    }
    let source = text(header::CE_SOURCE, raw.source)?
        .strip_prefix(WEBHOOK_PATH)
        .and_then(|name| Source::check(name).ok())
        .ok_or(BadHeader(header::CE_SOURCE))?;
    let signed_at_text = text(header::SIGNED_AT, raw.signed_at)?;
    let key_name = KeyName::check(text(header::KEY, raw.key)?).map_err(|_| BadHeader(header::KEY))?;
    let metadata = DeliveryMetadata {
        source,
        received_at: raw.received_at.and_then(ReceivedAt::parse).ok_or(BadHeader(header::RECEIVED_AT))?,
        signed_at: signed_at(header::SIGNED_AT, raw.signed_at)?,
        signed_at_text,
        signature: raw.signature.and_then(HexSignature::parse).ok_or(BadHeader(header::SIGNATURE))?,
        key_name,
        first_signed_at: match raw.first_signed_at {
            Some(_) => Some(signed_at(header::FIRST_SIGNED_AT, raw.first_signed_at)?),
            None => None,
        },
    };
    let redrives = match raw.dead_redrives {
        None => 0,
        Some(_) => number(header::DEAD_REDRIVES, raw.dead_redrives)?,
    };
    let dead = match raw.dead_reason {
        None => None,
        Some(_) => Some(DeadLetter {
            reason: text(header::DEAD_REASON, raw.dead_reason)?.parse().map_err(|_| BadHeader(header::DEAD_REASON))?,
            detail: text(header::DEAD_DETAIL, raw.dead_detail)?,
            origin: text(header::DEAD_ORIGIN, raw.dead_origin)?,
            redrives: number(header::DEAD_REDRIVES, raw.dead_redrives)?,
        }),
    };
    Ok(Headers { metadata, event_type: text(header::CE_TYPE, raw.event_type)?, dead, redrives })
}

#[derive(Default)]
struct RawHeaders<'a> {
    source: Option<&'a [u8]>,
    event_type: Option<&'a [u8]>,
    received_at: Option<&'a [u8]>,
    signed_at: Option<&'a [u8]>,
    signature: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    first_signed_at: Option<&'a [u8]>,
    dead_reason: Option<&'a [u8]>,
    dead_detail: Option<&'a [u8]>,
    dead_origin: Option<&'a [u8]>,
    dead_redrives: Option<&'a [u8]>,
}

impl<'a> RawHeaders<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<&'a [u8]>> {
        Some(match name {
            header::CE_SOURCE => &mut self.source,
            header::CE_TYPE => &mut self.event_type,
            header::RECEIVED_AT => &mut self.received_at,
            header::SIGNED_AT => &mut self.signed_at,
            header::SIGNATURE => &mut self.signature,
            header::KEY => &mut self.key,
            header::FIRST_SIGNED_AT => &mut self.first_signed_at,
            header::DEAD_REASON => &mut self.dead_reason,
            header::DEAD_DETAIL => &mut self.dead_detail,
            header::DEAD_ORIGIN => &mut self.dead_origin,
            header::DEAD_REDRIVES => &mut self.dead_redrives,
            _ => return None,
        })
    }
}

fn text<'a>(name: &'static str, value: Option<&'a [u8]>) -> Result<&'a str, BadHeader> {
    value.and_then(|value| std::str::from_utf8(value).ok()).ok_or(BadHeader(name))
}

fn number<T: std::str::FromStr>(name: &'static str, value: Option<&[u8]>) -> Result<T, BadHeader> {
    text(name, value)?.parse().map_err(|_| BadHeader(name))
}

fn signed_at(name: &'static str, value: Option<&[u8]>) -> Result<SignedAt, BadHeader> {
    value.and_then(SignedAt::parse).ok_or(BadHeader(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Action, Resource};

    fn metadata() -> DeliveryMetadata<'static> {
        DeliveryMetadata {
            source: "magichour",
            received_at: ReceivedAt(1_729_314_985_250),
            signed_at: SignedAt(1_729_314_984),
            signed_at_text: "1729314984",
            signature: HexSignature::parse(&[b'a'; 64]).unwrap(),
            key_name: "default",
            first_signed_at: Some(SignedAt(1_729_314_000)),
        }
    }

    const EVENT: EventType = EventType { resource: Resource::Video, action: Action::Completed };

    fn encoded(metadata: &DeliveryMetadata<'_>, dead: Option<&DeadLetter<'_>>) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        encode_headers(metadata, Some(EVENT), "j1", dead, |name, value| headers.push((name, value.to_owned())));
        headers
    }

    fn decoded<'a>(headers: &'a [(&'static str, String)]) -> Result<Headers<'a>, BadHeader> {
        decode_headers(headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))))
    }

    #[test]
    fn headers_are_as_documented() {
        let dead = DeadLetter {
            reason: DeadLetterReason::Stale,
            detail: "signed 301 s ago",
            origin: INGEST_ORIGIN,
            redrives: 0,
        };
        insta::assert_debug_snapshot!(encoded(&metadata(), Some(&dead)));
    }

    #[test]
    fn headers_round_trip() {
        let dead = DeadLetter { reason: DeadLetterReason::InsertRefused, detail: "", origin: "t/0/7", redrives: 2 };
        for dead in [None, Some(dead)] {
            for first_signed_at in [None, metadata().first_signed_at] {
                let metadata = DeliveryMetadata { first_signed_at, ..metadata() };
                let headers = encoded(&metadata, dead.as_ref());
                assert_eq!(
                    decoded(&headers),
                    Ok(Headers {
                        metadata,
                        event_type: "video.completed",
                        dead,
                        redrives: dead.map_or(0, |dead| dead.redrives)
                    })
                );
            }
        }
    }

    #[test]
    fn a_redriven_record_says_how_often_and_is_no_dead_letter() {
        let mut headers = encoded(&metadata(), None);
        encode_redrive(2, "h.dead-letter/0/7", |name, value| headers.push((name, value.to_owned())));
        let read = decoded(&headers).unwrap();
        assert_eq!((read.dead, read.redrives), (None, 2));
        assert_eq!(headers.pop().unwrap(), (header::REDRIVEN_FROM, "h.dead-letter/0/7".to_owned()));
        headers.pop();
        headers.push((header::DEAD_REDRIVES, "many".into()));
        assert_eq!(decoded(&headers), Err(BadHeader(header::DEAD_REDRIVES)));
    }

    #[test]
    fn a_foreign_record_names_the_header() {
        assert_eq!(decoded(&[]), Err(BadHeader(header::CE_SOURCE)));
        let complete = encoded(&metadata(), None);
        for name in [header::CE_SOURCE, header::RECEIVED_AT, header::SIGNED_AT, header::SIGNATURE, header::KEY] {
            let mut headers = complete.clone();
            headers.iter_mut().find(|header| header.0 == name).unwrap().1 = "?".into();
            assert_eq!(decoded(&headers), Err(BadHeader(name)));
            headers.retain(|header| header.0 != name);
            assert_eq!(decoded(&headers), Err(BadHeader(name)));
        }
    }

    #[test]
    fn a_receive_time_lies_between_2000_and_2100() {
        let with = |received_at: i64| {
            let mut headers = encoded(&metadata(), None);
            headers.iter_mut().find(|header| header.0 == header::RECEIVED_AT).unwrap().1 = received_at.to_string();
            decoded(&headers).map(|headers| headers.metadata.received_at.0)
        };
        for good in [946_684_800_000, 4_102_444_799_999] {
            assert_eq!(with(good), Ok(good));
        }
        for bad in [i64::MIN, 0, 946_684_799_999, 4_102_444_800_000, i64::MAX] {
            assert_eq!(with(bad), Err(BadHeader(header::RECEIVED_AT)), "{bad}");
        }
    }

    #[test]
    fn only_a_dead_letter_may_be_signed_at_any_time() {
        let check = |change: fn(&mut DeliveryMetadata<'_>)| {
            let mut metadata = metadata();
            change(&mut metadata);
            let text = metadata.signed_at.0.to_string();
            let headers = encoded(&DeliveryMetadata { signed_at_text: &text, ..metadata }, None);
            decoded(&headers).unwrap().check_delivery()
        };
        assert_eq!(check(|_| {}), Ok(()));
        assert_eq!(check(|metadata| metadata.signed_at = SignedAt(0)), Err(BadHeader(header::SIGNED_AT)));
        assert_eq!(check(|metadata| metadata.signed_at = SignedAt(u32::MAX)), Err(BadHeader(header::SIGNED_AT)));
        let first = |metadata: &mut DeliveryMetadata<'_>| metadata.first_signed_at = Some(SignedAt(7));
        assert_eq!(check(first), Err(BadHeader(header::FIRST_SIGNED_AT)));
    }

    #[test]
    fn a_header_whose_name_is_no_text_is_passed_over() {
        let headers = encoded(&metadata(), None);
        let complete = headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let strange = [(&b"\xff"[..], Some(&b"x"[..])), (b"", None)];
        let found = decode_headers(strange.into_iter().chain(complete)).map(|headers| headers.metadata);
        assert_eq!(found, Ok(metadata()));
    }
}
