//! Times as the provider's clock has them, which the simulator plays.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

/// A point in time, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderTime(pub i64);

impl ProviderTime {
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(milliseconds(since_epoch))
    }

    /// Rounds down to Unix seconds.
    pub const fn second(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(milliseconds(duration)))
    }

    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(milliseconds(duration)))
    }

    /// The time since `earlier`, or zero where that is the later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Formats as RFC 3339 in UTC, with or without milliseconds: the samples in the provider's documentation have both.
    pub fn rfc3339(self, with_milliseconds: bool) -> String {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let text = if with_milliseconds {
            at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
        } else {
            at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))
        };
        // Formatting into a String cannot fail.
        text.unwrap_or_default()
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_the_provider_does() {
        let at = ProviderTime(1_729_314_979_027);
        assert_eq!(at.rfc3339(true), "2024-10-19T05:16:19.027Z");
        assert_eq!(at.rfc3339(false), "2024-10-19T05:16:19Z");
        assert_eq!(at.second(), 1_729_314_979);
    }

    #[test]
    fn a_negative_difference_is_zero() {
        let (early, late) = (ProviderTime(1_000), ProviderTime(4_000));
        assert_eq!(late.since(early), Duration::from_secs(3));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.before(Duration::from_secs(3)), early);
        assert_eq!(early.after(Duration::from_secs(3)), late);
    }
}
