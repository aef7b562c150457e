//! A fold that makes other facts of the same events has another `FOLD_VERSION`: `fold_versions.txt` holds, for each version, a digest of
//! what it makes of the examples and of the bodies here, each of which one rule of the fold decides.

use std::fmt::Write as _;

use hookline_schemas::envelope;
use hookline_schemas::facts::{FOLD_VERSION, Facts};
use hookline_schemas::ids::EventType;
use hookline_schemas::record::DeliveryMetadata;
use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::{ReceivedAt, SignedAt};
use sha2::{Digest as _, Sha256};

const VERSIONS: &str = include_str!("fold_versions.txt");

/// Unix seconds of the creation that the bodies tell.
const CREATED: u32 = 1_786_699_613;

/// What stands in a payload beside id and time of creation.
const PAYLOADS: &[&str] = &[
    r#""type":"FACE_SWAP","width":1280,"height":720,"fps":30,"credits_charged":450"#,
    r#""type":"","width":null,"height":-1,"fps":-0.0,"credits_charged":0"#,
    r#""width":300.0,"height":"720","fps":"30","image_count":1.5,"credits_charged":true"#,
    r#""width":9223372036854775808,"height":-9223372036854775808,"fps":1e400,"image_count":1e3"#,
    r#""start_seconds":1.5,"end_seconds":4.25"#,
    r#""start_seconds":4.25,"end_seconds":1.5"#,
    r#""end_seconds":4.25"#,
    r#""error":{"code":"no_source_face","message":"No face was found."}"#,
    r#""error":{"code":"a\u0000b","message":"c\u0000d"}"#,
    r#""error":{"message":"without a code"}"#,
    r#""error":{}"#,
    r#""error":"a text""#,
    r#""type":"\ud83d","error":{"code":"\ud83d","message":"\ud83d\ude00"}"#,
];

/// When an event was received, signed, and signed first, in milliseconds and seconds after the creation of its job.
const TIMES: &[(i64, i64, Option<i64>)] =
    &[(2_250, 2, None), (90_000, 2, None), (1_000, 2, None), (7_250, 7, Some(3)), (-5_000, -5, None), (500, 0, None)];

/// Writes a line for each event that says what the fold makes of it.
fn folded() -> String {
    let mut text = String::new();
    for event_type in EventType::all() {
        let path = format!("{}/examples/{event_type}.json", env!("CARGO_MANIFEST_DIR"));
        let example = std::fs::read_to_string(path).unwrap();
        let bodies = PAYLOADS.iter().map(|payload| {
            let created = SignedAt(CREATED);
            format!(r#"{{"type":"{event_type}","payload":{{"id":"j1","created_at":"{created}",{payload}}}}}"#)
        });
        for body in bodies.chain([example]) {
            for times in TIMES {
                writeln!(text, "{}", facts_of(&body, *times)).unwrap();
            }
        }
    }
    text
}

fn facts_of(body: &str, (received, signed, first_signed): (i64, i64, Option<i64>)) -> String {
    let second = |after: i64| SignedAt(u32::try_from(i64::from(CREATED) + after).unwrap());
    let event = match envelope::decode(body.as_bytes()) {
        Ok(event) => event,
        Err(error) => return format!("{error:?}"),
    };
    let facts = Facts::of(
        &event,
        &DeliveryMetadata {
            source: "magichour",
            received_at: ReceivedAt(i64::from(CREATED) * 1_000 + received),
            signed_at: second(signed),
            signed_at_text: "",
            signature: HexSignature::parse(&[b'a'; 64]).unwrap(),
            key_name: "default",
            first_signed_at: first_signed.map(second),
        },
    );
    // The number itself is no change of what it numbers.
    let facts = Facts { fold_version: 0, ..facts };
    format!("{} {:?} {:?} {facts:?}", event.event_type, event.job_id, event.created_at.hour())
}

fn digest(folded: &str) -> String {
    Sha256::digest(folded).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_number_is_raised_with_every_change_of_the_fold() {
    let versions = VERSIONS.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once(' ').unwrap());
    let versions: Vec<(u16, &str)> = versions.map(|(version, digest)| (version.parse().unwrap(), digest)).collect();
    assert!(
        versions.iter().map(|(version, _)| *version).eq(1..=FOLD_VERSION),
        "a line for each version, the last one {FOLD_VERSION}"
    );
    let now = digest(&folded());
    let (_, known) = versions.last().unwrap();
    assert_eq!(
        now,
        *known,
        "the fold makes other facts of the same events: raise FOLD_VERSION in schemas/src/facts.rs to {next} and add the line \
         `{next} {now}` to schemas/tests/it/fold_versions.txt",
        next = FOLD_VERSION + 1
    );
}

#[test]
fn a_single_fact_changes_the_digest() {
    let folded = folded();
    for (right, wrong) in [("width: Some(1280)", "width: Some(1281)"), ("errored_at: None", "errored_at: Some(0)")] {
        assert_ne!(digest(&folded.replacen(right, wrong, 1)), digest(&folded), "{right}");
    }
}
