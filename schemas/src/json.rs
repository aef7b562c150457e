//! Reading JSON from outside without copying it: known keys of objects as raw values, and what a raw value reads as.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The values of an object's known keys, as raw JSON; made by [`known_keys`].
pub(crate) trait KnownKeys<'a> {
    /// Where the value of a key belongs, and the key's name; `None` where the key is not known.
    fn slot(&mut self, key: &str) -> Option<(&'static str, &mut Option<&'a RawValue>)>;

    /// Takes note that a key came twice.
    fn set_repeated(&mut self, key: &'static str);
}

/// Makes a struct with a field for each known key. Keys are found by a `match`, which the compiler turns into comparisons
/// of numbers.
macro_rules! known_keys {
    ($type:ident { $($field:ident: $key:literal),* $(,)? }) => {
        #[derive(Default)]
        struct $type<'a> {
            $($field: Option<&'a RawValue>,)*
            /// A key that came twice, if any did.
            repeated: Option<&'static str>,
        }

        impl<'a> $crate::json::KnownKeys<'a> for $type<'a> {
            fn slot(&mut self, key: &str) -> Option<(&'static str, &mut Option<&'a RawValue>)> {
                match key {
                    $($key => Some(($key, &mut self.$field)),)*
                    _ => None,
                }
            }

            fn set_repeated(&mut self, key: &'static str) {
                self.repeated = Some(key);
            }
        }
    };
}
pub(crate) use known_keys;

/// How keys are read. Half of a surrogate pair in a key, known or not, must not fail the object, and only raw JSON can have it;
/// but text makes a whole body a quarter cheaper.
#[derive(Clone, Copy)]
pub(crate) enum KeyReading {
    Text,
    Raw,
}

/// Reads a text that is one JSON value; what is no object leaves the default. Where keys are not all text, or nothing is JSON, it is
/// read once more with raw keys, whose error is given.
pub(crate) fn read<'a, T: ReadObject<'a> + Default>(text: &'a str) -> serde_json::Result<T> {
    let read = |keys| {
        let mut object = T::default();
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_any(IfObject { object: &mut object, keys })?;
        json.end()?;
        Ok(object)
    };
    read(KeyReading::Text).or_else(|_: serde_json::Error| read(KeyReading::Raw))
}

// The known keys of an object are read, and the others passed over.
impl<'a, T: KnownKeys<'a>> ReadObject<'a> for T {
    fn read_object<M: MapAccess<'a>>(&mut self, mut map: M, keys: KeyReading) -> Result<(), M::Error> {
        while let Some(slot) = map.next_key_seed(KeyTo::new(|key: &str| self.slot(key), keys))? {
            match slot {
                Some((key, value)) => {
                    if value.replace(map.next_value()?).is_some() {
                        self.set_repeated(key);
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a key, without allocating where it has no escapes, and gives what the function makes of it.
pub(crate) struct KeyTo<F> {
    make: F,
    keys: KeyReading,
}

impl<T, F: FnOnce(&str) -> Option<T>> KeyTo<F> {
    pub(crate) fn new(make: F, keys: KeyReading) -> Self {
        Self { make, keys }
    }
}

impl<'de, T, F: FnOnce(&str) -> Option<T>> DeserializeSeed<'de> for KeyTo<F> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        match self.keys {
            KeyReading::Text => deserializer.deserialize_str(self),
            KeyReading::Raw => {
                let raw = <&RawValue>::deserialize(deserializer)?;
                Ok(string(raw).and_then(|key| (self.make)(&key.text)))
            }
        }
    }
}

impl<T, F: FnOnce(&str) -> Option<T>> Visitor<'_> for KeyTo<F> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<T>, E> {
        Ok((self.make)(key))
    }
}

/// Something that reads an object.
pub(crate) trait ReadObject<'a> {
    /// Reads the object to its end.
    fn read_object<M: MapAccess<'a>>(&mut self, map: M, keys: KeyReading) -> Result<(), M::Error>;
}

/// Takes any JSON value; reads an object and passes over everything else.
pub(crate) struct IfObject<'o, T> {
    pub(crate) object: &'o mut T,
    pub(crate) keys: KeyReading,
}

impl<'a, T: ReadObject<'a>> DeserializeSeed<'a> for IfObject<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, T: ReadObject<'a>> Visitor<'a> for IfObject<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<M: MapAccess<'a>>(self, map: M) -> Result<(), M::Error> {
        self.object.read_object(map, self.keys)
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// What a JSON string says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Whether it has halves of surrogate pairs (`"\ud83d"`), which are no characters; each became U+FFFD.
    pub(crate) broken: bool,
}

/// A string, copied only where it has escapes.
pub(crate) fn string(raw: &RawValue) -> Option<Text<'_>> {
    let quoted = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if !quoted.contains('\\') {
        return Some(Text { text: quoted.into(), broken: false });
    }
    match serde_json::from_str(raw.get()) {
        Ok(text) => Some(Text { text: Cow::Owned(text), broken: false }),
        Err(_) => broken_string(raw),
    }
}

/// Software that cuts UTF-16 text to a length leaves half of a pair behind. JSON allows it, UTF-8 does not.
#[cold]
fn broken_string(raw: &RawValue) -> Option<Text<'_>> {
    let ByteText(mut bytes) = serde_json::from_str(raw.get()).ok()?;
    // serde_json writes half of a pair in three bytes like any character of its range. No character of UTF-8 has 0xED before
    // 0xA0 or more.
    const REPLACEMENT: [u8; 3] = [0xef, 0xbf, 0xbd];
    let mut at = 0;
    while let Some(window) = bytes.get_mut(at..at + 3) {
        if let [0xed, second, _] = window
            && *second >= 0xa0
        {
            window.copy_from_slice(&REPLACEMENT);
        }
        at += 1;
    }
    Some(Text { text: Cow::Owned(String::from_utf8(bytes).ok()?), broken: true })
}

/// The bytes of a string, halves of surrogate pairs included.
struct ByteText(Vec<u8>);

impl<'de> Deserialize<'de> for ByteText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(ByteTextVisitor)
    }
}

struct ByteTextVisitor;

impl Visitor<'_> for ByteTextVisitor {
    type Value = ByteText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<ByteText, E> {
        Ok(ByteText(bytes.to_vec()))
    }
}

/// A finite number. Adding 0.0 turns −0.0 into 0.0: the two compare as equal, and a maximum must not depend on which came first.
pub(crate) fn number(raw: &RawValue) -> Option<f64> {
    raw.get().parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number + 0.0)
}

/// JSON knows no integers: `300.0` is 300.
pub(crate) fn integer(raw: &RawValue) -> Option<i64> {
    /// Beyond 2⁵³ a float no longer says which integer it is.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be an exact integer")]
    let from_float = |float: f64| (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64);
    raw.get().parse().ok().or_else(|| number(raw).and_then(from_float))
}

#[cfg(test)]
mod tests {
    use super::*;

    known_keys!(Pair { id: "id", kind: "type" });

    #[test]
    fn known_keys_are_read_and_one_that_comes_twice_is_named() {
        let read = |text: &'static str| {
            let pair = read::<Pair<'_>>(text).unwrap();
            [pair.id.map_or("", RawValue::get), pair.kind.map_or("", RawValue::get), pair.repeated.unwrap_or_default()]
        };
        assert_eq!(read(r#"{"type":1,"ide":2,"id":3}"#), ["3", "1", ""]);
        assert_eq!(read(r#"{"id":1,"id":2}"#), ["2", "", "id"]);
        assert_eq!(read(r#"{"ide":1,"ide":2}"#), ["", "", ""]);
    }

    #[test]
    fn half_of_a_surrogate_pair_becomes_a_replacement_character() {
        let read =
            |text: &'static str| string(serde_json::from_str(text).unwrap()).map(|read| (read.text, read.broken));
        for (text, expected, broken) in [
            (r#""plain""#, "plain", false),
            (r#""\ud83d\ude00\n""#, "\u{1f600}\n", false),
            (r#""refused \ud83d""#, "refused \u{fffd}", true),
            (r#""\ude00\ud83d!""#, "\u{fffd}\u{fffd}!", true),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}", true),
            (r#""\ud83dA\u00ed힣\ufffd""#, "\u{fffd}A\u{ed}\u{d7a3}\u{fffd}", true),
        ] {
            assert_eq!(read(text), Some((expected.into(), broken)), "{text}");
        }
        assert_eq!(read("7"), None);
    }

    #[test]
    fn integers_may_be_written_as_floats() {
        let read = |text: &str| integer(serde_json::from_str(text).unwrap());
        assert_eq!(read("300"), Some(300));
        assert_eq!(read("300.0"), Some(300));
        assert_eq!(read("3e2"), Some(300));
        assert_eq!(read("9223372036854775807"), Some(i64::MAX));
        assert_eq!(read("9223372036854775808"), None);
        assert_eq!(read("0.5"), None);
    }
}
