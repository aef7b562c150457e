//! Bodies as no program should write them: the decoder and the oracle, which share no code, read the same from each.

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::envelope;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const VALUES: &[&str] = &[
    "null",
    "true",
    "-1",
    "-0",
    "-0.0",
    "300.0",
    "3e2",
    "0.5",
    "1e999",
    "-1e999",
    "9007199254740992.0",
    "9223372036854775807",
    "9223372036854775808",
    r#""""#,
    r#""FACE_SWAP""#,
    r#""\ud83d""#,
    r#""\ude00\ud83d""#,
    r#""\ud83d\ude00""#,
    r#""a\ud83d\\ud83d""#,
    r#""\uD83Dé\u0000\ufffd\/""#,
    "\"\u{1f600}\u{7f}\"",
    "[]",
    r#"[1e999,"\ud83d",{"\ud83d":{}}]"#,
    r#"{"code":"a","message":"b"}"#,
    r#"{"code":"\ud83d","message":"refused \ude00\ud83d"}"#,
    r#"{"\ud83d":1e999,"\u0063ode":"\u0000","message":7}"#,
    r#"{"code":1e999,"message":null,"id":"j2"}"#,
];
const IDS: &[&str] = &[r#""j1""#, r#""\u006a1""#, r#""j\ud83d""#, "7", "null", r#""a b""#];
const TIMES: &[&str] =
    &[r#""2024-10-19T05:10:19.027Z""#, r#""2024-10-19T07:10:19\u002b02:00""#, r#""2024-10-19\ud83d""#, "1729314619"];
const TYPES: &[&str] = &[
    r#""video.started""#,
    r#""image.errored""#,
    r#""audio.complete\u0064""#,
    r#""video.started\ud83d""#,
    r#""video""#,
    "1e999",
];
const FIELDS: &[&str] =
    &["type", "width", "height", "fps", "start_seconds", "end_seconds", "image_count", "credits_charged", "error"];
const UNKNOWN: &[&str] = &["name", r"\ud83d", r"\ud83d", r"x\ude00\ud83d\ude00", r"\u0000", "", "Id", r"id\ud83d"];

struct Generator(Xoshiro256PlusPlus);

impl Generator {
    /// Mostly the first, which is right, so that most bodies are events.
    fn mostly_first(&mut self, texts: &[&'static str]) -> &'static str {
        if self.0.random_bool(0.8) { texts[0] } else { self.any(texts) }
    }

    fn any(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.0.random_range(0..texts.len())]
    }

    /// Puts fields that nobody knows in any place between the others.
    fn object(&mut self, mut fields: Vec<String>) -> String {
        for _ in 0..self.0.random_range(0..4) {
            let field = format!("\"{}\":{}", self.any(UNKNOWN), self.any(VALUES));
            let at = self.0.random_range(0..=fields.len());
            fields.insert(at, field);
        }
        format!("{{{}}}", fields.join(","))
    }

    fn body(&mut self) -> String {
        let mut fields =
            vec![format!("\"id\":{}", self.mostly_first(IDS)), format!("\"created_at\":{}", self.mostly_first(TIMES))];
        for field in FIELDS {
            if self.0.random_bool(0.5) {
                fields.push(format!("\"{field}\":{}", self.any(VALUES)));
            }
        }
        let payload = if self.0.random_bool(0.95) { self.object(fields) } else { self.any(VALUES).to_owned() };
        let key = self.mostly_first(&["payload", "object", r"pa\u0079load", r"payload\ud83d"]);
        let event_type = format!("\"type\":{}", self.mostly_first(TYPES));
        self.object(vec![event_type, format!("\"{key}\":{payload}")])
    }
}

fn delivery(body: String) -> Delivery {
    Delivery {
        log_id: String::new(),
        topic: String::new(),
        partition: 0,
        offset: 0,
        source: "test".into(),
        resource: String::new(),
        action: String::new(),
        job_id: String::new(),
        created_at: ProviderTime(0),
        signed_at: 1_729_314_985,
        signed_at_text: "1729314985".into(),
        first_signed_at: None,
        received_at: ProviderTime(1_729_314_985_000),
        occurred_at: ProviderTime(0),
        signature: String::new(),
        body,
    }
}

#[test]
fn the_decoder_and_the_oracle_read_the_same() {
    let mut generator = Generator(Xoshiro256PlusPlus::seed_from_u64(11));
    let (mut events, mut repaired) = (0, 0);
    for _ in 0..20_000 {
        let body = generator.body();
        let row = delivery(body.clone());
        let claims = EventClaims::read(&row);
        let event = match envelope::decode(body.as_bytes()) {
            Ok(event) => event,
            // The oracle sees only rows of `deliveries`: it takes the last of a key that came twice, and any text as an id.
            Err(refused) if matches!(refused.reason, DeadLetterReason::Ambiguous | DeadLetterReason::BadId) => continue,
            Err(refused) => {
                assert!(claims.is_err(), "{}: {body}", refused.detail);
                continue;
            }
        };
        let claims = claims.unwrap_or_else(|reason| panic!("{reason}: {body}"));
        events += 1;
        repaired += u32::from(event.invalid_fields > 0);
        assert_eq!(
            (event.event_type.resource.as_str(), event.event_type.action.as_str(), event.job_id.as_str()),
            (&*claims.resource, &*claims.action, &*claims.job_id),
            "{body}"
        );
        assert_eq!((event.created_at.0, &*event.job_type), (claims.created_at, &*claims.text("type")), "{body}");
        assert_eq!((event.width, event.height), (claims.pixels("width"), claims.pixels("height")), "{body}");
        assert_eq!(
            (event.image_count, event.credits_charged, event.fps),
            (claims.integer("image_count"), claims.integer("credits_charged"), claims.number("fps")),
            "{body}"
        );
        let media = claims.number("end_seconds").zip(claims.number("start_seconds")).map(|(end, start)| end - start);
        assert_eq!(event.media_seconds, media, "{body}");
        let error = event.error.unwrap_or_default();
        assert_eq!((error.code.replace('\0', "\u{fffd}"), error.message.into_owned()), claims.error(), "{body}");
    }
    assert!(events > 5_000 && repaired > 1_000, "{events} events, {repaired} of them with odd fields");
}
