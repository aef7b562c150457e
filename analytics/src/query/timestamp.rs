//! Times in answers: Unix milliseconds from ClickHouse, RFC 3339 to people.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;
use time::macros::format_description;

/// A moment in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const fn of_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).map_err(|_| fmt::Error)?;
        let format = if self.0.rem_euclid(1_000) == 0 {
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z")
        } else {
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z")
        };
        f.write_str(&at.format(format).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_shown_where_there_are_some() {
        assert_eq!(Timestamp(1_729_314_619_042).to_string(), "2024-10-19T05:10:19.042Z");
        assert_eq!(Timestamp(1_729_314_619_000).to_string(), "2024-10-19T05:10:19Z");
        assert_eq!(Timestamp::of_seconds(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }
}
