//! Reads the body of a webhook: strict about what the pipeline depends on (`type`, `payload.id`, `payload.created_at`),
//! tolerant about everything else, so that a change of the provider's cannot stop the durations.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess};
use serde_json::value::RawValue;

use crate::dead_letter::DeadLetterReason;
use crate::ids::{EventType, JobId};
use crate::json::{IfObject, KeyReading, KeyTo, ReadObject, Text, integer, known_keys, number, read, string};
use crate::time::CreatedAt;

/// What a body says that can be processed.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// The `type` of the body, one of the nine events.
    pub event_type: EventType,
    /// `payload.id`, checked to be an id.
    pub job_id: JobId<'a>,
    /// `payload.created_at`, checked to be a time.
    pub created_at: CreatedAt,
    /// `payload.type`, what the job does; empty where absent.
    pub job_type: Cow<'a, str>,
    /// `payload.width` in pixels; the provider's −1 is "absent".
    pub width: Option<i64>,
    /// `payload.height` in pixels; the provider's −1 is "absent".
    pub height: Option<i64>,
    /// `payload.fps`, frames per second; an estimate until the job is complete.
    pub fps: Option<f64>,
    /// `end_seconds − start_seconds`: the length of the media clip, not of the job.
    pub media_seconds: Option<f64>,
    /// `payload.image_count`: how many images the job makes.
    pub image_count: Option<i64>,
    /// `payload.credits_charged`; of `started` it is an estimate.
    pub credits_charged: Option<i64>,
    /// `payload.error`; the provider sends it with `errored`.
    pub error: Option<JobError<'a>>,
    /// How many known optional fields had a value of the wrong type and count as absent, or a text with half of a surrogate
    /// pair, which became U+FFFD.
    pub invalid_fields: u32,
}

/// `payload.error`; a missing part is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobError<'a> {
    /// A free string such as `no_source_face`.
    pub code: Cow<'a, str>,
    /// What went wrong, for people.
    pub message: Cow<'a, str>,
}

/// An authentic body that cannot be processed, with what little is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Why the delivery becomes a dead letter.
    pub reason: DeadLetterReason,
    /// What exactly is wrong, in a sentence; bounded, printable ASCII.
    pub detail: String,
    /// `type` if it is a known event.
    pub event_type: Option<EventType>,
    /// `type` if it is a string, known or not; empty if not.
    pub type_text: String,
    /// `payload.id` if it is a valid id.
    pub job_id: Option<JobId<'static>>,
}

/// Reads a body. Never panics, whatever the bytes.
pub fn decode(body: &[u8]) -> Result<Event<'_>, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string());
    match text.and_then(|text| read::<Envelope<'_>>(text).map_err(|error| error.to_string())) {
        Ok(envelope) => envelope.into_event(),
        Err(detail) => Err(DecodeError {
            reason: DeadLetterReason::NotJson,
            detail,
            event_type: None,
            type_text: String::new(),
            job_id: None,
        }),
    }
}

known_keys!(Payload {
    id: "id",
    created_at: "created_at",
    job_type: "type",
    width: "width",
    height: "height",
    fps: "fps",
    start_seconds: "start_seconds",
    end_seconds: "end_seconds",
    image_count: "image_count",
    credits_charged: "credits_charged",
    error: "error",
});

known_keys!(ErrorObject { code: "code", message: "message" });

#[derive(Default)]
struct Envelope<'a> {
    event_type: Option<&'a RawValue>,
    payload: Payload<'a>,
    /// How often `payload` or `object` came.
    payload_keys: u32,
    repeated: Option<&'static str>,
}

enum EnvelopeKey {
    Type,
    Payload,
}

impl<'a> Envelope<'a> {
    fn into_event(self) -> Result<Event<'a>, DecodeError> {
        let type_text = self.event_type.and_then(string).map(|read| read.text);
        let event_type = type_text.as_ref().and_then(|text| text.parse::<EventType>().ok());
        let Payload { id, created_at, .. } = self.payload;
        let job_id = id.and_then(string).and_then(|read| JobId::new(read.text).ok());
        let refuse = |reason, detail: String, job_id: Option<JobId<'_>>| {
            let type_text = type_text.as_deref().unwrap_or_default().to_owned();
            Err(DecodeError { reason, detail, event_type, type_text, job_id: job_id.map(JobId::into_owned) })
        };

        if let Some(name) = self.repeated.or(self.payload.repeated) {
            return refuse(DeadLetterReason::Ambiguous, format!("the key \"{name}\" came twice"), job_id);
        }
        if self.payload_keys > 1 {
            return refuse(
                DeadLetterReason::Ambiguous,
                "both \"payload\" and \"object\", or one of them twice".into(),
                job_id,
            );
        }
        let Some(event_type) = event_type else {
            let detail = match (&type_text, self.event_type) {
                (Some(text), _) => format!("unknown type \"{}\"", excerpt(text)),
                (None, Some(_)) => "\"type\" is not a string".into(),
                (None, None) => "no \"type\"".into(),
            };
            return refuse(DeadLetterReason::UnknownType, detail, job_id);
        };
        let Some(job_id) = job_id else {
            let detail = if id.is_some() {
                "\"payload.id\" is not a string of 1 to 128 bytes 0x21 to 0x7E"
            } else {
                "no \"payload.id\""
            };
            return refuse(DeadLetterReason::BadId, detail.into(), None);
        };
        let Some(created) = created_at.and_then(string).and_then(|read| CreatedAt::parse(&read.text)) else {
            let detail = match created_at {
                Some(raw) => format!("\"payload.created_at\" is not RFC 3339 in 2000 to 2099: {}", excerpt(raw.get())),
                None => "no \"payload.created_at\"".into(),
            };
            return refuse(DeadLetterReason::BadCreatedAt, detail, Some(job_id));
        };
        Ok(details(event_type, job_id, created, &self.payload))
    }
}

fn details<'a>(event_type: EventType, job_id: JobId<'a>, created_at: CreatedAt, payload: &Payload<'a>) -> Event<'a> {
    let mut tolerant = Tolerant { invalid_fields: 0 };
    let job_type = tolerant.text(payload.job_type);
    let width = tolerant.read(payload.width, integer).filter(|pixels| *pixels != -1);
    let height = tolerant.read(payload.height, integer).filter(|pixels| *pixels != -1);
    let fps = tolerant.read(payload.fps, number);
    let (start, end) = (tolerant.read(payload.start_seconds, number), tolerant.read(payload.end_seconds, number));
    let media_seconds = start.zip(end).map(|(start, end)| end - start).filter(|seconds| seconds.is_finite());
    let image_count = tolerant.read(payload.image_count, integer);
    let credits_charged = tolerant.read(payload.credits_charged, integer);
    let error = tolerant.read(payload.error, error_object).map(|error| JobError {
        code: tolerant.broken(error.code.and_then(string)),
        message: tolerant.broken(error.message.and_then(string)),
    });
    Event {
        event_type,
        job_id,
        created_at,
        job_type,
        width,
        height,
        fps,
        media_seconds,
        image_count,
        credits_charged,
        error,
        invalid_fields: tolerant.invalid_fields,
    }
}

/// Reads optional fields and counts the values that are not of their type, and the texts that are broken.
struct Tolerant {
    invalid_fields: u32,
}

impl Tolerant {
    /// Absent and `null` are the same; a value of the wrong type counts as absent.
    fn read<'a, T>(&mut self, raw: Option<&'a RawValue>, read: fn(&'a RawValue) -> Option<T>) -> Option<T> {
        let value = raw.filter(|raw| raw.get() != "null").map(read)?;
        self.invalid_fields += u32::from(value.is_none());
        value
    }

    fn text<'a>(&mut self, raw: Option<&'a RawValue>) -> Cow<'a, str> {
        let read = self.read(raw, string);
        self.broken(read)
    }

    fn broken<'a>(&mut self, read: Option<Text<'a>>) -> Cow<'a, str> {
        let Some(Text { text, broken }) = read else { return Cow::default() };
        self.invalid_fields += u32::from(broken);
        text
    }
}

fn error_object(raw: &RawValue) -> Option<ErrorObject<'_>> {
    if !raw.get().starts_with('{') {
        return None;
    }
    read(raw.get()).ok()
}

/// At most 64 characters of text from outside, made printable.
fn excerpt(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_default).collect()
}

impl<'a> ReadObject<'a> for Envelope<'a> {
    fn read_object<M: MapAccess<'a>>(&mut self, mut map: M, keys: KeyReading) -> Result<(), M::Error> {
        let make = |key: &str| match key {
            "type" => Some(EnvelopeKey::Type),
            "payload" | "object" => Some(EnvelopeKey::Payload),
            _ => None,
        };
        while let Some(key) = map.next_key_seed(KeyTo::new(make, keys))? {
            match key {
                Some(EnvelopeKey::Type) => {
                    if self.event_type.replace(map.next_value()?).is_some() {
                        self.repeated = Some("type");
                    }
                }
                Some(EnvelopeKey::Payload) => {
                    self.payload_keys += 1;
                    map.next_value_seed(IfObject { object: &mut self.payload, keys })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &str = r#""created_at":"2024-10-19T05:10:19.027Z""#;

    fn with_payload(payload: &str) -> String {
        format!(r#"{{"type":"video.started","payload":{{"id":"j1",{CREATED}{payload}}}}}"#)
    }

    fn refused(body: &str) -> (DeadLetterReason, String) {
        let refusal = decode(body.as_bytes()).unwrap_err();
        (refusal.reason, refusal.detail)
    }

    #[test]
    fn object_is_an_alias_of_payload() {
        let body = with_payload("").replace("payload", "object");
        assert_eq!(decode(body.as_bytes()).unwrap(), decode(with_payload("").as_bytes()).unwrap());
    }

    #[test]
    fn every_reason_is_found() {
        for (body, reason) in [
            ("", DeadLetterReason::NotJson),
            ("{", DeadLetterReason::NotJson),
            ("{} {}", DeadLetterReason::NotJson),
            ("[]", DeadLetterReason::UnknownType),
            ("7", DeadLetterReason::UnknownType),
            ("null", DeadLetterReason::UnknownType),
            ("\"text\"", DeadLetterReason::UnknownType),
            ("{}", DeadLetterReason::UnknownType),
            (r#"{"type":7,"payload":{}}"#, DeadLetterReason::UnknownType),
            (r#"{"type":"test.event","payload":{"test":true}}"#, DeadLetterReason::UnknownType),
            (r#"{"type":"video.completed"}"#, DeadLetterReason::BadId),
            (r#"{"type":"video.completed","payload":[{"id":"x"}]}"#, DeadLetterReason::BadId),
            (r#"{"type":"video.completed","payload":{"id":7}}"#, DeadLetterReason::BadId),
            (r#"{"type":"video.completed","payload":{"id":"a b"}}"#, DeadLetterReason::BadId),
            (r#"{"type":"video.completed","payload":{"id":"test"}}"#, DeadLetterReason::BadCreatedAt),
            (
                r#"{"type":"video.completed","payload":{"id":"test","created_at":"soon"}}"#,
                DeadLetterReason::BadCreatedAt,
            ),
            (r#"{"type":"video.completed","payload":{"id":"test","created_at":null}}"#, DeadLetterReason::BadCreatedAt),
            (r#"{"type":"a","type":"b","payload":{}}"#, DeadLetterReason::Ambiguous),
            (r#"{"type":"a","payload":{},"object":{}}"#, DeadLetterReason::Ambiguous),
            (r#"{"type":"a","payload":{},"payload":{}}"#, DeadLetterReason::Ambiguous),
            (&with_payload(r#","id":"j2""#), DeadLetterReason::Ambiguous),
            (&with_payload(r#","\u0069d":"j2""#), DeadLetterReason::Ambiguous),
        ] {
            assert_eq!(refused(body).0, reason, "{body}");
        }
        assert_eq!(decode(b"{\"type\":\"\xff\"}").unwrap_err().reason, DeadLetterReason::NotJson);
    }

    #[test]
    fn unknown_fields_may_repeat_and_nest() {
        let deep = format!(r#","new":1,"new":{}{}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(decode(with_payload(&deep).as_bytes()).unwrap().invalid_fields, 0);
    }

    #[test]
    fn what_is_known_of_a_refused_body_is_kept() {
        let refusal = decode(br#"{"type":"audio.errored","payload":{"id":"j1"}}"#).unwrap_err();
        assert_eq!(refusal.event_type.unwrap().as_str(), "audio.errored");
        assert_eq!(refusal.job_id.unwrap().as_str(), "j1");
    }

    #[test]
    fn wrong_types_count_as_absent() {
        let fields = [
            r#""type":7"#,
            r#""width":"7""#,
            r#""height":1.5"#,
            r#""fps":[30]"#,
            r#""image_count":1e999"#,
            r#""credits_charged":{}"#,
            r#""error":"no""#,
            r#""start_seconds":true"#,
        ];
        for field in fields {
            let body = with_payload(&format!(",{field}"));
            let event = decode(body.as_bytes()).unwrap();
            assert_eq!(event.invalid_fields, 1, "{field}");
            let plain = with_payload("");
            assert_eq!(Event { invalid_fields: 0, ..event }, decode(plain.as_bytes()).unwrap(), "{field}");
        }
    }

    #[test]
    fn null_and_minus_one_are_absent() {
        let body =
            with_payload(r#","width":-1,"height":null,"type":null,"error":null,"start_seconds":1.5,"end_seconds":4"#);
        let event = decode(body.as_bytes()).unwrap();
        assert_eq!((event.width, event.height, event.invalid_fields), (None, None, 0));
        assert_eq!((event.job_type.as_ref(), event.error, event.media_seconds), ("", None, Some(2.5)));
    }

    #[test]
    fn an_error_reads_in_part() {
        let error = |text: &str| {
            decode(with_payload(&format!(r#","error":{text}"#)).as_bytes())
                .unwrap()
                .error
                .map(|error| (error.code.into_owned(), error.message.into_owned()))
        };
        assert_eq!(error(r#"{"code":"a","message":"b\n"}"#), Some(("a".into(), "b\n".into())));
        assert_eq!(error(r#"{"code":7,"more":[]}"#), Some((String::new(), String::new())));
        assert_eq!(error("null"), None);
        assert_eq!(error(r#"{"\ud83d":1,"code":"a"}"#), Some(("a".into(), String::new())));
    }

    #[test]
    fn nothing_that_the_fold_does_not_need_costs_the_event() {
        let plain = with_payload("");
        for unneeded in [
            r#""name":"\ud83d""#,
            r#""\ud83d":1"#,
            r#""\ude00x":"\ud83d","\ude00x":2"#,
            r#""new":{"\ud83d":[1e999,"\ud83d"]}"#,
            r#""new":1e999"#,
            r#""new":-123456789012345678901234567890.5E+4000"#,
        ] {
            let body = with_payload(&format!(",{unneeded}"));
            assert_eq!(decode(body.as_bytes()), decode(plain.as_bytes()), "{unneeded}");
            let beside = plain.replacen('{', &format!("{{{unneeded},"), 1);
            assert_eq!(decode(beside.as_bytes()), decode(plain.as_bytes()), "{beside}");
        }
    }

    #[test]
    fn half_of_a_surrogate_pair_is_replaced_and_counted() {
        let body = with_payload(r#","type":"\ud83d","error":{"code":"\ude00","message":"refused \ud83d"}"#);
        let event = decode(body.as_bytes()).unwrap();
        let error = event.error.unwrap();
        assert_eq!((&*event.job_type, &*error.code, &*error.message), ("\u{fffd}", "\u{fffd}", "refused \u{fffd}"));
        assert_eq!(event.invalid_fields, 3);
        // Without an id or a type there is no event.
        assert_eq!(refused(&plain_with_id(r"j\ud83d")).0, DeadLetterReason::BadId);
    }

    fn plain_with_id(id: &str) -> String {
        with_payload("").replace("j1", id)
    }
}
