//! `hookline-ingest verify`: explains offline what would become of a captured request, and why.

use std::fmt::Write as _;

use hookline_schemas::envelope::decode;
use hookline_schemas::signature::{Unverified, VerifyError};
use hookline_schemas::time::{ReceivedAt, SignedAt};

use crate::config::Tolerance;
use hookline_sources::{SourceKeys, Sources};

#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    pub timestamp: &'a str,
    pub signature: &'a str,
    /// The bytes as they were captured, which may differ from those that were signed.
    pub body: &'a [u8],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether a key of a source verified it.
    pub authentic: bool,
    /// For people. It has neither a secret nor a part of the body, so that it can be shared.
    pub text: String,
}

/// Tries the keys of the source `only`, or of every source.
pub fn explain(
    captured: Captured<'_>,
    sources: &Sources,
    only: Option<&str>,
    tolerance: Tolerance,
    now: ReceivedAt,
) -> Explanation {
    let Captured { timestamp, signature, body } = captured;
    let mut text = format!("body: {} bytes\n", body.len());
    let mut add = |line: std::fmt::Arguments<'_>| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let unverified = match Unverified::new(timestamp.as_bytes(), signature.as_bytes(), body) {
        Ok(unverified) => unverified,
        Err(error) => {
            add(format_args!("refused ({}): {error}", error.as_str()));
            return Explanation { authentic: false, text };
        }
    };
    let mut tried = 0;
    let candidates: Vec<&SourceKeys> =
        sources.iter().filter(|source| only.is_none_or(|name| source.name.as_str() == name)).collect();
    for source in &candidates {
        tried += source.keys.len();
        if let Ok(verified) = unverified.verify(&source.keys) {
            add(format_args!("authentic: source {}, key {}", source.name, verified.key()));
            add(format_args!("{}", age(verified.signed_at(), now, tolerance)));
            match decode(body) {
                Ok(event) => add(format_args!("processable: {} of job {}", event.event_type, event.job_id)),
                Err(error) => add(format_args!("not processable ({}): {}", error.reason, error.detail)),
            }
            return Explanation { authentic: true, text };
        }
    }
    add(format_args!(
        "refused ({}): none of {tried} keys of {} sources gives this signature",
        VerifyError::SignatureWrong.as_str(),
        candidates.len()
    ));
    for (hint, altered) in alterations(body) {
        let again = Unverified::new(timestamp.as_bytes(), signature.as_bytes(), &altered);
        if again.is_ok_and(|again| candidates.iter().any(|source| again.verify(&source.keys).is_ok())) {
            add(format_args!(
                "hint: the signature is right for the body {hint}; the captured bytes are not those that were signed"
            ));
        }
    }
    if body.starts_with(BYTE_ORDER_MARK) {
        add(format_args!("hint: the body begins with a byte order mark"));
    }
    Explanation { authentic: false, text }
}

fn age(signed_at: SignedAt, now: ReceivedAt, tolerance: Tolerance) -> String {
    let age = signed_at.age_seconds(now);
    let consequence = if tolerance.excludes(age) {
        "outside the tolerance now: it would be answered 401 and stored as a stale dead letter"
    } else {
        "within the tolerance"
    };
    format!("signed at {signed_at}, {age} s ago: {consequence}")
}

/// The body as it may have been before it was captured: editors and shells add and remove line ends and byte order
/// marks, and some do both.
fn alterations(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut starts = vec![("", body)];
    starts.extend(body.strip_prefix(BYTE_ORDER_MARK).map(|shorter| ("without its byte order mark", shorter)));
    let mut altered = Vec::new();
    for (start, body) in starts {
        let mut ends = vec![("", body.to_vec()), ("with a line feed added", [body, b"\n"].concat())];
        if let Some(shorter) = body.strip_suffix(b"\n") {
            ends.push(("without its last line feed", shorter.to_vec()));
            ends.extend(shorter.strip_suffix(b"\r").map(|shorter| ("without its last line end", shorter.to_vec())));
        }
        let together =
            |end: &str| [start, end].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" and ");
        altered.extend(ends.into_iter().map(|(end, altered)| (together(end), altered)));
    }
    altered.retain(|(hint, _)| !hint.is_empty());
    altered.push(("with a byte order mark added".to_owned(), [BYTE_ORDER_MARK, body].concat()));
    altered
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hookline_schemas::signature::SigningKey;

    use super::*;

    #[test]
    fn it_says_what_is_wrong() {
        let sources = Sources::read(&BTreeMap::new(), |_| Some("prod0123456789ab".into())).unwrap();
        let body = br#"{"type":"test.event","payload":{"test":true}}"#;
        let hex = SigningKey::new("prod0123456789ab").sign("1000", body).to_hex();
        let explained = |timestamp: &str, signature: &str, body: &[u8], now: i64| {
            let captured = Captured { timestamp, signature, body };
            explain(captured, &sources, None, Tolerance::default(), ReceivedAt(now * 1000))
        };
        for (explanation, authentic, parts) in [
            (explained("1000", hex.as_str(), body, 1100), true, ["key default", "100 s ago: within", "unknown_type"]),
            (explained("1000", hex.as_str(), body, 2000), true, ["source prod", "401", "stale"]),
            (explained("1001", hex.as_str(), body, 1100), false, ["signature_wrong", "1 keys", "1 sources"]),
            (explained("1000", "abc", body, 1100), false, ["signature_malformed", "64 hex", "45 bytes"]),
            (explained("now", hex.as_str(), body, 1100), false, ["timestamp_malformed", "", ""]),
            (
                explained("1000", hex.as_str(), &[body, &b"\n"[..]].concat(), 1100),
                false,
                ["hint", "without its last line feed", ""],
            ),
            (
                explained("1000", hex.as_str(), &[&b"\xef\xbb\xbf"[..], body, &b"\r\n"[..]].concat(), 1100),
                false,
                ["without its byte order mark and without its last line end;", "begins with a byte order mark", ""],
            ),
        ] {
            assert_eq!(explanation.authentic, authentic, "{}", explanation.text);
            for part in parts {
                assert!(explanation.text.contains(part), "{part:?} is not in {}", explanation.text);
            }
        }
    }
}
