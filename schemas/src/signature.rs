//! Signatures: `hex(HMAC-SHA256(secret, timestamp + "." + raw body))`, as the provider computes them.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use strum::VariantArray;

use crate::ids::KeyName;
use crate::time::SignedAt;

/// A secret, prepared once: the state of the HMAC after the key. Never shown.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// The key is the whole string as UTF-8, prefix included; nothing is base64-decoded.
    pub fn new(secret: &str) -> Self {
        #[expect(clippy::expect_used, reason = "an HMAC key may have any length")]
        Self(Hmac::new_from_slice(secret.as_bytes()).expect("any length"))
    }

    /// The signature of `body` at `timestamp`, the text of the header.
    pub fn sign(&self, timestamp: &str, body: &[u8]) -> Signature {
        Signature(self.mac(timestamp, body).finalize().into_bytes().into())
    }

    /// Whether `signature` is that of `body` at `timestamp`; compares in constant time.
    pub fn verifies(&self, timestamp: &str, body: &[u8], signature: &Signature) -> bool {
        self.mac(timestamp, body).verify_slice(&signature.0).is_ok()
    }

    fn mac(&self, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(timestamp).chain_update(b".").chain_update(body)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// The 32 bytes of a signature, whether right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signature([u8; 32]);

impl Signature {
    /// Reads 64 hex digits in either case.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        let read = base16ct::mixed::decode(hex, &mut bytes).ok()?.len();
        (read == bytes.len()).then_some(Self(bytes))
    }

    /// The signature as 64 lower-case hex digits.
    pub fn to_hex(self) -> HexSignature {
        let mut hex = [0; 64];
        // The buffer is exactly twice the bytes, so encoding cannot fail.
        let _ = base16ct::lower::encode(&self.0, &mut hex);
        HexSignature(hex)
    }
}

/// A signature as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HexSignature([u8; 64]);

impl HexSignature {
    /// Accepts exactly 64 lower-case hex digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits: [u8; 64] = text.try_into().ok()?;
        digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(Self(digits))
    }

    /// The 64 digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for HexSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for HexSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A secret and the name by which records and metrics tell it from others.
#[derive(Clone, Debug)]
pub struct NamedKey {
    /// The name from the configuration.
    pub name: KeyName,
    /// The secret, as [`SigningKey`] prepares it.
    pub key: SigningKey,
}

/// The two headers of a request, which are well formed; the body that they belong to may not have arrived yet.
#[derive(Clone, Copy, Debug)]
pub struct SignatureHeaders<'a> {
    timestamp: &'a str,
    signed_at: SignedAt,
    signature: Signature,
}

impl<'a> SignatureHeaders<'a> {
    /// Checks the form of both headers.
    pub fn parse(timestamp: &'a [u8], signature: &[u8]) -> Result<Self, VerifyError> {
        let signed_at = SignedAt::parse(timestamp).ok_or(VerifyError::TimestampMalformed)?;
        let timestamp = std::str::from_utf8(timestamp).map_err(|_| VerifyError::TimestampMalformed)?;
        let signature = Signature::parse(signature).ok_or(VerifyError::SignatureMalformed)?;
        Ok(Self { timestamp, signed_at, signature })
    }

    /// The timestamp header as a number, for which nobody has vouched yet.
    pub fn signed_at(&self) -> SignedAt {
        self.signed_at
    }

    /// The request of these headers and `body`.
    pub fn with_body(self, body: &'a [u8]) -> Unverified<'a> {
        Unverified { headers: self, body }
    }
}

/// A request whose headers are well formed; nobody has vouched for its body yet.
#[derive(Clone, Copy, Debug)]
pub struct Unverified<'a> {
    headers: SignatureHeaders<'a>,
    body: &'a [u8],
}

impl<'a> Unverified<'a> {
    /// Checks the form of both headers; the body is not looked at.
    pub fn new(timestamp: &'a [u8], signature: &[u8], body: &'a [u8]) -> Result<Self, VerifyError> {
        Ok(SignatureHeaders::parse(timestamp, signature)?.with_body(body))
    }

    /// Tries each key in turn; the first one that gives the signature vouches for the body.
    pub fn verify<'k>(self, keys: &'k [NamedKey]) -> Result<Verified<'a, 'k>, VerifyError> {
        let Self { headers: SignatureHeaders { timestamp, signed_at, signature }, body } = self;
        keys.iter()
            .find(|named| named.key.verifies(timestamp, body, &signature))
            .map(|named| Verified { timestamp, signed_at, signature, body, key: &named.name })
            .ok_or(VerifyError::SignatureWrong)
    }
}

/// A request that the provider signed with one of our secrets. Only [`Unverified::verify`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a, 'k> {
    timestamp: &'a str,
    signed_at: SignedAt,
    signature: Signature,
    body: &'a [u8],
    key: &'k KeyName,
}

impl<'a, 'k> Verified<'a, 'k> {
    /// The timestamp header exactly as it came.
    pub fn timestamp(&self) -> &'a str {
        self.timestamp
    }

    /// The timestamp header as a number.
    pub fn signed_at(&self) -> SignedAt {
        self.signed_at
    }

    /// The signature header, decoded from hex.
    pub fn signature(&self) -> Signature {
        self.signature
    }

    /// The bytes that were signed, and the only ones that may be read.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The name of the secret that verified them.
    pub fn key(&self) -> &'k KeyName {
        self.key
    }
}

/// Why a request was not let in. The response does not tell; metrics and the debug log do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, strum::IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum VerifyError {
    /// The request has no timestamp header.
    #[error("the timestamp header is missing")]
    TimestampMissing,
    /// The timestamp header came more than once.
    #[error("the timestamp header came more than once")]
    TimestampRepeated,
    /// The timestamp is not 1–10 ASCII digits, or over 4294967295.
    #[error("the timestamp header is not 1 to 10 ASCII digits up to 4294967295")]
    TimestampMalformed,
    /// The request has no signature header.
    #[error("the signature header is missing")]
    SignatureMissing,
    /// The signature header came more than once.
    #[error("the signature header came more than once")]
    SignatureRepeated,
    /// The signature is not 64 hex digits.
    #[error("the signature header is not 64 hex digits")]
    SignatureMalformed,
    /// No secret of the source gives this signature.
    #[error("no secret of the source gives this signature")]
    SignatureWrong,
}

impl VerifyError {
    /// All of them, in the order in which they are checked.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The value of the label `reason` in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        secret: String,
        timestamp: String,
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        body: String,
        signature: String,
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../examples/signatures.json")).unwrap()
    }

    fn keys(secret: &str) -> [NamedKey; 2] {
        ["mhw_live_other", secret].map(|secret| NamedKey {
            name: KeyName::new(if secret == "mhw_live_other" { "old" } else { "new" }).unwrap(),
            key: SigningKey::new(secret),
        })
    }

    #[test]
    fn published_vectors_verify() {
        let Vectors { secret, timestamp, vectors } = vectors();
        let keys = keys(&secret);
        assert_eq!(vectors.len(), 5);
        for Vector { name, body, signature } in vectors {
            assert_eq!(keys[1].key.sign(&timestamp, body.as_bytes()).to_hex().as_str(), signature, "{name}");
            for hex in [signature.clone(), signature.to_uppercase()] {
                let unverified = Unverified::new(timestamp.as_bytes(), hex.as_bytes(), body.as_bytes()).unwrap();
                assert_eq!(unverified.verify(&keys).unwrap().key().as_str(), "new", "{name}");
            }
        }
    }

    #[test]
    fn one_changed_bit_is_refused() {
        let Vectors { secret, timestamp, vectors } = vectors();
        let keys = keys(&secret);
        for Vector { body, signature, .. } in vectors {
            let verify = |timestamp: &str, signature: &str, body: &[u8]| {
                Unverified::new(timestamp.as_bytes(), signature.as_bytes(), body)?.verify(&keys).map(|_| ())
            };
            assert_eq!(verify(&timestamp, &signature, body.as_bytes()), Ok(()));
            for bit in 0..body.len() * 8 {
                let mut body = body.clone().into_bytes();
                body[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(verify(&timestamp, &signature, &body), Err(VerifyError::SignatureWrong), "bit {bit}");
            }
            assert_eq!(verify("1729314985", &signature, body.as_bytes()), Err(VerifyError::SignatureWrong));
            assert_eq!(
                verify(&format!("0{timestamp}")[..10], &signature, body.as_bytes()),
                Err(VerifyError::SignatureWrong),
                "the text is signed, not the number"
            );
        }
    }

    #[test]
    fn malformed_headers_are_told_apart() {
        let refused = |timestamp: &str, signature: &str| {
            Unverified::new(timestamp.as_bytes(), signature.as_bytes(), b"{}").map(|_| ()).unwrap_err()
        };
        assert_eq!(refused("now", &"0".repeat(64)), VerifyError::TimestampMalformed);
        for bad in ["", "0", &"0".repeat(62), &"0".repeat(66), &"g".repeat(64), &format!("sha256={}", "0".repeat(57))] {
            assert_eq!(refused("1", bad), VerifyError::SignatureMalformed, "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", SigningKey::new("mhw_live_secret")), "SigningKey(…)");
    }
}
