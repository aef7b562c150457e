//! `hookline-ingest verify`: explains offline what becomes of a captured request, and why.

use std::fmt::Write as _;

use hookline_schemas::envelope::decode;
use hookline_schemas::signature::{Unverified, VerifyError};
use hookline_schemas::time::{ReceivedAt, SignedAt};

use crate::config::Tolerance;
use crate::sources::{SourceKeys, Sources};

/// A captured request.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// The timestamp header.
    pub timestamp: &'a str,
    /// The signature header.
    pub signature: &'a str,
    /// The raw body.
    pub body: &'a [u8],
}

/// What was found: whether some key vouches for the request, and the explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Some key of some source vouches for it.
    pub authentic: bool,
    /// For people; holds nothing of the body.
    pub text: String,
}

/// Tries every key of `only`, or of every source.
pub fn explain(
    captured: Captured<'_>,
    sources: &Sources,
    only: Option<&str>,
    tolerance: Tolerance,
    now: ReceivedAt,
) -> Finding {
    let Captured { timestamp, signature, body } = captured;
    let mut text = format!("body: {} bytes\n", body.len());
    let mut tell = |line: std::fmt::Arguments<'_>| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let unverified = match Unverified::new(timestamp.as_bytes(), signature.as_bytes(), body) {
        Ok(unverified) => unverified,
        Err(refusal) => {
            tell(format_args!("refused ({}): {refusal}", refusal.as_str()));
            return Finding { authentic: false, text };
        }
    };
    let mut tried = 0;
    let candidates: Vec<&SourceKeys> =
        sources.iter().filter(|source| only.is_none_or(|name| source.name.as_str() == name)).collect();
    for source in &candidates {
        tried += source.keys.len();
        if let Ok(verified) = unverified.verify(&source.keys) {
            tell(format_args!("authentic: source {}, key {}", source.name, verified.key()));
            tell(format_args!("{}", age(verified.signed_at(), now, tolerance)));
            match decode(body) {
                Ok(event) => tell(format_args!("processable: {} of job {}", event.event_type, event.job_id)),
                Err(refused) => tell(format_args!("not processable ({}): {}", refused.reason, refused.detail)),
            }
            return Finding { authentic: true, text };
        }
    }
    let refusal = VerifyError::SignatureWrong;
    tell(format_args!(
        "refused ({}): none of {tried} keys of {} sources gives this signature",
        refusal.as_str(),
        candidates.len()
    ));
    for (hint, altered) in alterations(body) {
        let again = Unverified::new(timestamp.as_bytes(), signature.as_bytes(), &altered);
        if again.is_ok_and(|again| candidates.iter().any(|source| again.verify(&source.keys).is_ok())) {
            tell(format_args!(
                "hint: it is right for the body {hint}; the captured bytes are not those that were signed"
            ));
        }
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        tell(format_args!("hint: the body begins with a byte order mark"));
    }
    Finding { authentic: false, text }
}

fn age(signed_at: SignedAt, now: ReceivedAt, tolerance: Tolerance) -> String {
    let age = signed_at.age_seconds(now);
    let verdict = if age > i64::from(tolerance.past_seconds) || -age > i64::from(tolerance.future_seconds) {
        "outside the tolerance now: it would be answered 401 and stored as a stale dead letter"
    } else {
        "within the tolerance"
    };
    format!("signed at {signed_at}, {age} s ago: {verdict}")
}

/// What capturing does to bodies.
fn alterations(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut altered = vec![("with a line feed added", [body, b"\n"].concat())];
    if let Some(shorter) = body.strip_suffix(b"\n") {
        altered.push(("without its last line feed", shorter.to_vec()));
        if let Some(shorter) = shorter.strip_suffix(b"\r") {
            altered.push(("without its last line end", shorter.to_vec()));
        }
    }
    if let Some(shorter) = body.strip_prefix(b"\xef\xbb\xbf") {
        altered.push(("without its byte order mark", shorter.to_vec()));
    }
    altered
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hookline_schemas::signature::SigningKey;

    use super::*;

    #[test]
    fn it_says_what_is_wrong() {
        let sources = Sources::read(&BTreeMap::new(), |_| Some("prod".into())).unwrap();
        let body = br#"{"type":"test.event","payload":{"test":true}}"#;
        let hex = SigningKey::new("prod").sign("1000", body).to_hex();
        let find = |timestamp: &str, signature: &str, body: &[u8], now: i64| {
            let captured = Captured { timestamp, signature, body };
            explain(captured, &sources, None, Tolerance::default(), ReceivedAt(now * 1000))
        };
        for (finding, authentic, parts) in [
            (find("1000", hex.as_str(), body, 1100), true, ["key default", "100 s ago: within", "unknown_type"]),
            (find("1000", hex.as_str(), body, 2000), true, ["source prod", "401", "stale"]),
            (find("1001", hex.as_str(), body, 1100), false, ["signature_wrong", "1 keys", "1 sources"]),
            (find("1000", "abc", body, 1100), false, ["signature_malformed", "64 hex", "45 bytes"]),
            (find("now", hex.as_str(), body, 1100), false, ["timestamp_malformed", "", ""]),
            (
                find("1000", hex.as_str(), &[body, &b"\n"[..]].concat(), 1100),
                false,
                ["hint", "without its last line feed", ""],
            ),
        ] {
            assert_eq!(finding.authentic, authentic, "{}", finding.text);
            for part in parts {
                assert!(finding.text.contains(part), "{part:?} is not in {}", finding.text);
            }
        }
    }
}
