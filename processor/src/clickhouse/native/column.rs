//! The values of a column, and how each of them is written.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use hookline_schemas::time::{CreatedAt, CreatedHour, OccurredAt, ReceivedAt, SignedAt};

/// A value of fixed width. The default is what stands in a `Nullable` column where the value is missing.
pub trait Number: Copy + Default {
    /// ClickHouse's name of the type.
    const TYPE: &'static str;

    /// Appends the value as the server has it in memory: little-endian.
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($type:ident $(.$field:tt)?: $name:literal;)*) => {$(
        impl Number for $type {
            const TYPE: &'static str = $name;

            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self$(.$field)?.to_le_bytes());
            }
        }
    )*};
}

numbers! {
    u8: "UInt8";
    i32: "Int32";
    i64: "Int64";
    u16: "UInt16";
    u64: "UInt64";
    f64: "Float64";
    CreatedAt.0: "DateTime64(3, 'UTC')";
    ReceivedAt.0: "DateTime64(3, 'UTC')";
    OccurredAt.0: "DateTime64(3, 'UTC')";
    SignedAt.0: "DateTime('UTC')";
}

impl Number for CreatedHour {
    const TYPE: &'static str = "DateTime('UTC')";

    /// Creation times end with the year 2099, so the hour fits into 32 bits.
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&u32::try_from(self.0).unwrap_or(u32::MAX).to_le_bytes());
    }
}

/// The dictionary of a `LowCardinality(String)` column: each value once, in the order of its first use.
#[derive(Debug, Default)]
pub struct Dictionary<'t> {
    keys: HashMap<&'t str, u32, RandomState>,
    values: Vec<&'t str>,
    last: Option<(&'t str, u32)>,
}

impl<'t> Dictionary<'t> {
    /// The value's key in the dictionary, a new one where the value was not there yet.
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

    /// The values in the order of their keys, which count from 0.
    pub fn values(&self) -> &[&'t str] {
        &self.values
    }
}
