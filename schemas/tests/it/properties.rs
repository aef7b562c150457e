//! What must hold for any bytes from outside. The fuzz targets search for a counterexample; the test here asks the
//! committed corpora, which need no nightly compiler.

use hookline_schemas::envelope;
use hookline_schemas::ids::KeyName;
use hookline_schemas::record::{decode_headers, encode_headers, header};
use hookline_schemas::signature::{NamedKey, SigningKey, Unverified};
use serde::de::IgnoredAny;

/// A body that decodes is JSON in UTF-8, and decodes the same way twice.
pub fn envelope(data: &[u8]) {
    let decoded = envelope::decode(data);
    assert_eq!(decoded, envelope::decode(data));
    if decoded.is_ok() {
        let text = std::str::from_utf8(data).expect("UTF-8");
        serde_json::from_str::<IgnoredAny>(text).expect("JSON");
    }
}

/// `timestamp \n signature \n body`: it verifies exactly if the signature is the one that the secret gives.
pub fn verify(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let [timestamp, signature, body] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let keys = [NamedKey { name: KeyName::new("fuzz").expect("a name"), key: SigningKey::new("mhw_live_fuzz") }];
    let Ok(unverified) = Unverified::new(timestamp, signature, body) else { return };
    let text = std::str::from_utf8(timestamp).expect("only digits are accepted");
    let right = keys[0].key.sign(text, body).to_hex();
    let given = String::from_utf8(signature.to_ascii_lowercase()).expect("only hex digits are accepted");
    assert_eq!(unverified.verify(&keys).is_ok(), given == right.as_str());
    let signed = Unverified::new(timestamp, right.as_str().as_bytes(), body).expect("both are well formed");
    assert!(signed.verify(&keys).is_ok());
}

/// Headers `name=value`, one in a line: those that decode are those that encode.
pub fn record(data: &[u8]) {
    let headers = data.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        Some((std::str::from_utf8(&line[..at]).ok()?, Some(&line[at + 1..])))
    });
    let Ok(decoded) = decode_headers(headers) else { return };
    let mut encoded = Vec::new();
    let event_type = decoded.event_type.parse().ok();
    encode_headers(&decoded.metadata, event_type, "j1", decoded.dead.as_ref(), |name, value| {
        encoded.push((name, value.to_owned()));
    });
    let again = decode_headers(encoded.iter().map(|(name, value)| (*name, Some(value.as_bytes()))));
    let again = again.expect("what we write, we read");
    assert_eq!((again.metadata, again.dead), (decoded.metadata, decoded.dead));
    assert!(encoded.iter().any(|(name, _)| *name == header::SIGNATURE));
}

#[test]
fn hold_for_the_committed_corpora() {
    for (target, property) in [("envelope", envelope as fn(&[u8])), ("verify", verify), ("record", record)] {
        let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 3, "{target} has a corpus");
        for file in files {
            property(&std::fs::read(file).unwrap());
        }
    }
}
