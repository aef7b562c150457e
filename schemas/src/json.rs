//! Reading JSON from outside without copying it: known keys of objects as raw values, and what a raw value reads as.

use std::borrow::Cow;
use std::fmt;

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

/// Reads the known keys of an object and passes over the others.
pub(crate) struct Known<T>(pub(crate) T);

impl<'a, T: KnownKeys<'a>> ReadObject<'a> for Known<&mut T> {
    fn read_object<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let Self(known) = self;
        while let Some(slot) = map.next_key_seed(KeyTo::new(|key: &str| known.slot(key)))? {
            match slot {
                Some((key, value)) => {
                    if value.replace(map.next_value()?).is_some() {
                        known.set_repeated(key);
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

/// Reads a key, without allocating, and gives what the function makes of it.
pub(crate) struct KeyTo<F>(F);

impl<T, F: FnOnce(&str) -> T> KeyTo<F> {
    pub(crate) fn new(make: F) -> Self {
        Self(make)
    }
}

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for KeyTo<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for KeyTo<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<T, E> {
        Ok((self.0)(key))
    }
}

/// Something that reads an object.
pub(crate) trait ReadObject<'a> {
    /// Reads the object to its end.
    fn read_object<M: MapAccess<'a>>(self, map: M) -> Result<(), M::Error>;
}

/// Takes any JSON value; gives an object to its reader and passes over everything else.
pub(crate) struct IfObject<R>(pub(crate) R);

impl<'a, R: ReadObject<'a>> DeserializeSeed<'a> for IfObject<R> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, R: ReadObject<'a>> Visitor<'a> for IfObject<R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<M: MapAccess<'a>>(self, map: M) -> Result<(), M::Error> {
        self.0.read_object(map)
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

/// A string, copied only where it has escapes.
pub(crate) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if quoted.contains('\\') { serde_json::from_str(raw.get()).ok().map(Cow::Owned) } else { Some(quoted.into()) }
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
            let mut pair = Pair::default();
            serde_json::Deserializer::from_str(text).deserialize_any(IfObject(Known(&mut pair))).unwrap();
            [pair.id.map_or("", RawValue::get), pair.kind.map_or("", RawValue::get), pair.repeated.unwrap_or_default()]
        };
        assert_eq!(read(r#"{"type":1,"ide":2,"id":3}"#), ["3", "1", ""]);
        assert_eq!(read(r#"{"id":1,"id":2}"#), ["2", "", "id"]);
        assert_eq!(read(r#"{"ide":1,"ide":2}"#), ["", "", ""]);
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
