//! What stands in a column.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use hookline_schemas::time::{CreatedAt, CreatedHour, OccurredAt, ReceivedAt, SignedAt};

/// A value of fixed width.
pub trait Number: Copy + Default {
    /// ClickHouse's name of the type.
    const TYPE: &'static str;

    /// Appends it as the server has it in memory: little-endian.
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($type:ty: $name:literal;)*) => {$(
        impl Number for $type {
            const TYPE: &'static str = $name;

            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

numbers! {
    i32: "Int32";
    i64: "Int64";
    u16: "UInt16";
    u64: "UInt64";
    f64: "Float64";
}

/// `DateTime64(3, 'UTC')`: Unix milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Millis(pub i64);

/// `DateTime('UTC')`: Unix seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds(pub u32);

impl Number for Millis {
    const TYPE: &'static str = "DateTime64(3, 'UTC')";

    fn put(self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

impl Number for Seconds {
    const TYPE: &'static str = "DateTime('UTC')";

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }
}

macro_rules! millis {
    ($($type:ty),*) => {$(
        impl From<$type> for Millis {
            fn from(at: $type) -> Self {
                Self(at.0)
            }
        }
    )*};
}

millis!(CreatedAt, ReceivedAt, OccurredAt);

impl From<SignedAt> for Seconds {
    fn from(at: SignedAt) -> Self {
        Self(at.0)
    }
}

impl From<CreatedHour> for Seconds {
    /// Creation times end with the year 2099, so the hour fits.
    fn from(hour: CreatedHour) -> Self {
        Self(u32::try_from(hour.0).unwrap_or(u32::MAX))
    }
}

/// The dictionary of a `LowCardinality(String)` column, each value once, in the order of their first use.
#[derive(Debug, Default)]
pub struct Dictionary<'t> {
    keys: HashMap<&'t str, u32, RandomState>,
    values: Vec<&'t str>,
    last: Option<(&'t str, u32)>,
}

impl<'t> Dictionary<'t> {
    /// The key of a value.
    pub fn key(&mut self, value: &'t str) -> u32 {
        // Rows in the order of a table's key repeat themselves, and mostly it is the very same text.
        if let Some((last, key)) = self.last
            && (std::ptr::eq(last, value) || last == value)
        {
            return key;
        }
        let next = self.values.len() as u32;
        let key = *self.keys.entry(value).or_insert(next);
        if key == next {
            self.values.push(value);
        }
        self.last = Some((value, key));
        key
    }

    /// The values, by key.
    pub fn values(&self) -> &[&'t str] {
        &self.values
    }
}
