//! Reads the provider's JSON one field at a time, so that a field which nobody asks for can have any value. It shares nothing with
//! the decoder that it checks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// An object whose values are not read yet. Of a key that comes twice, the last value counts.
pub(super) struct Object(BTreeMap<String, Box<RawValue>>);

impl Object {
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// The value of a field; none if it is a number that no float can hold.
    pub(super) fn value(&self, field: &str) -> Option<Value> {
        serde_json::from_str(self.0.get(field)?.get()).ok()
    }

    pub(super) fn text(&self, field: &str) -> Option<String> {
        self.value(field)?.as_str().map(str::to_owned)
    }

    pub(super) fn object(&self, field: &str) -> Option<Self> {
        Self::read(self.0.get(field)?.get())
    }
}

/// Writes `\ufffd` in place of each escape that is half of a surrogate pair, which is no character.
pub(super) fn with_whole_characters(json: &str) -> Cow<'_, str> {
    if !json.contains("\\u") {
        return Cow::Borrowed(json);
    }
    let mut whole = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                whole.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            // Two bytes, or fewer at the end or before a character that no escape has.
            _ => {
                if escape.is_char_boundary(2) {
                    2
                } else {
                    1
                }
            }
        };
        whole.push_str(escape.get(..length).unwrap_or(escape));
        rest = escape.get(length..).unwrap_or_default();
    }
    whole.push_str(rest);
    Cow::Owned(whole)
}

/// The unit of UTF-16 that the escape at the beginning stands for.
fn unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}
