//! Reading JSON from outside without copying it: known keys of objects as raw values, and what a raw value reads as.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The known keys of an object, each at most once, as raw JSON.
pub(crate) struct Fields<'a, const N: usize> {
    keys: Keys<N>,
    /// In the order of the keys.
    pub(crate) values: [Option<&'a RawValue>; N],
    /// A key that came twice, if any did.
    pub(crate) repeated: Option<&'static str>,
}

/// Keys by their order, and the way back; made by [`keys`].
#[derive(Clone, Copy)]
pub(crate) struct Keys<const N: usize> {
    pub(crate) names: [&'static str; N],
    pub(crate) position: fn(&str) -> Option<usize>,
}

/// Makes [`Keys`] that are found by a `match`: the compiler turns that into comparisons of numbers.
macro_rules! keys {
    ($($index:literal $name:literal),* $(,)?) => {
        $crate::json::Keys {
            names: [$($name),*],
            position: |key| match key {
                $($name => Some($index),)*
                _ => None,
            },
        }
    };
}
pub(crate) use keys;

impl<'a, const N: usize> Fields<'a, N> {
    /// Nothing read yet.
    pub(crate) const fn new(keys: Keys<N>) -> Self {
        Self { keys, values: [None; N], repeated: None }
    }
}

impl<'a, const N: usize> ReadObject<'a> for &mut Fields<'a, N> {
    fn read_object<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let Keys { names, position } = self.keys;
        while let Some(key) = map.next_key_seed(KeyOf(position))? {
            match key.and_then(|key| Some((self.values.get_mut(key)?, names.get(key)?))) {
                Some((value, name)) => {
                    if value.replace(map.next_value()?).is_some() {
                        self.repeated = Some(*name);
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

/// Finds a key among the known ones without allocating.
pub(crate) struct KeyOf(pub(crate) fn(&str) -> Option<usize>);

impl<'de> DeserializeSeed<'de> for KeyOf {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyOf {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
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

    #[test]
    fn keys_are_found_where_they_stand() {
        let keys = keys!(0 "id", 1 "error");
        for (index, name) in keys.names.iter().enumerate() {
            assert_eq!((keys.position)(name), Some(index));
        }
        assert_eq!((keys.position)("ide"), None);
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
