//! Times as types, so that a receive time cannot be taken for a signed one.

use std::fmt;

use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};

macro_rules! milliseconds {
    ($($(#[$doc:meta])* $type:ident;)*) => {$(
        $(#[$doc])*
        /// In Unix milliseconds.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        pub struct $type(pub i64);
    )*};
}

milliseconds! {
    /// When the job was created, by the provider's clock.
    CreatedAt;
    /// When the webhook reached ingest, by ingest's clock.
    ReceivedAt;
    /// When the broker appended the record to its log, by the broker's clock.
    AppendedAt;
    /// When the event happened, as well as it can be known; see [`occurred_at`].
    OccurredAt;
}

const HOUR_MS: i64 = 3_600_000;
/// The first moment accepted, 2000-01-01T00:00:00Z.
const EARLIEST_MS: i64 = 946_684_800_000;
/// The first moment that is too late, 2100-01-01T00:00:00Z.
const TOO_LATE_MS: i64 = 4_102_444_800_000;

impl CreatedAt {
    /// Reads RFC 3339 with any offset, truncated to milliseconds; only the years 2000 to 2099 are accepted.
    pub fn parse(text: &str) -> Option<Self> {
        let nanoseconds = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
        let milliseconds = i64::try_from(nanoseconds.div_euclid(1_000_000)).ok()?;
        (EARLIEST_MS..TOO_LATE_MS).contains(&milliseconds).then_some(Self(milliseconds))
    }

    /// The created hour, in Unix seconds: the unit of the roll-up, and part of the key of `jobs`.
    pub const fn hour(self) -> CreatedHour {
        CreatedHour((self.0 - self.0.rem_euclid(HOUR_MS)) / 1000)
    }
}

impl ReceivedAt {
    /// Reads Unix milliseconds, as [`Self::new`] accepts them.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(text).ok()?.parse().ok()?)
    }

    /// Accepts only the years 2000 to 2099, because a minimum or maximum never forgets a wrong one.
    pub fn new(milliseconds: i64) -> Option<Self> {
        (EARLIEST_MS..TOO_LATE_MS).contains(&milliseconds).then_some(Self(milliseconds))
    }

    /// Takes the append time where nothing else tells when a record came in. A producer may have set it, so it is moved into the
    /// years 2000 to 2099.
    pub fn or_appended(at: AppendedAt) -> Self {
        Self(at.0.clamp(EARLIEST_MS, TOO_LATE_MS - 1))
    }
}

/// The start of the hour in which a job was created, Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CreatedHour(pub i64);

/// The time that the provider signed, Unix seconds: the timestamp header as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedAt(pub u32);

impl SignedAt {
    /// Reads 1 to 10 ASCII digits up to 4294967295, and nothing else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > 10 || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(text).ok()?.parse().ok().map(Self)
    }

    /// Whether it lies in the years 2000 to 2099, as all times do that facts are made of: a minimum or maximum never forgets a
    /// wrong one.
    pub const fn is_plausible(self) -> bool {
        EARLIEST_MS <= self.as_millis() && self.as_millis() < TOO_LATE_MS
    }

    /// The start of the signed second, Unix milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0 as i64 * 1000
    }

    /// Seconds by which `self` lies behind `now`; negative when it lies ahead.
    pub const fn age_seconds(self, now: ReceivedAt) -> i64 {
        now.0.div_euclid(1000) - self.0 as i64
    }
}

impl fmt::Display for SignedAt {
    /// RFC 3339 in UTC, whole seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = UtcDateTime::from_unix_timestamp(i64::from(self.0)).map_err(|_| fmt::Error)?;
        let (date, clock) = (at.date(), at.time());
        let (hour, minute, second) = clock.as_hms();
        write!(
            f,
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day()
        )
    }
}

/// When an event happened: our own clock says where in the signed second, if it agrees, and nothing happens before its
/// job exists. The error is below one second. `signed_at` is the first signed time known of the event.
pub fn occurred_at(received_at: ReceivedAt, signed_at: SignedAt, created_at: CreatedAt) -> OccurredAt {
    let signed = signed_at.as_millis();
    OccurredAt(received_at.0.max(signed).max(created_at.0).min(signed + 999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_at_takes_any_offset_and_truncates() {
        assert_eq!(CreatedAt::parse("2024-10-19T05:10:19.027Z"), Some(CreatedAt(1_729_314_619_027)));
        assert_eq!(CreatedAt::parse("2024-10-19T07:10:19.0279+02:00"), Some(CreatedAt(1_729_314_619_027)));
        assert_eq!(CreatedAt::parse("2023-11-07T05:31:56Z"), Some(CreatedAt(1_699_335_116_000)));
        assert_eq!(CreatedAt::parse("2000-01-01T00:00:00Z"), Some(CreatedAt(EARLIEST_MS)));
        for bad in
            ["", "2024-10-19", "2024-10-19T05:10:19", "1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "1729314619"]
        {
            assert_eq!(CreatedAt::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn created_hour_is_the_start_of_the_hour() {
        assert_eq!(CreatedAt(1_729_314_619_027).hour(), CreatedHour(1_729_314_000));
    }

    #[test]
    fn signed_at_is_digits_only() {
        assert_eq!(SignedAt::parse(b"1729314984"), Some(SignedAt(1_729_314_984)));
        assert_eq!(SignedAt::parse(b"007"), Some(SignedAt(7)));
        assert_eq!(SignedAt::parse(b"4294967295"), Some(SignedAt(u32::MAX)));
        for bad in ["", "4294967296", "+1", "-1", " 1", "1.0", "00000000001", "١"] {
            assert_eq!(SignedAt::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_plausible_signed_time_lies_between_2000_and_2100() {
        let plausible = |second| SignedAt(second).is_plausible();
        assert_eq!([946_684_800, 4_102_444_799].map(plausible), [true; 2]);
        assert_eq!([0, 946_684_799, 4_102_444_800, u32::MAX].map(plausible), [false; 4]);
    }

    #[test]
    fn signed_at_prints_rfc_3339() {
        assert_eq!(SignedAt(1_729_314_984).to_string(), "2024-10-19T05:16:24Z");
    }

    #[test]
    fn occurred_at_stays_in_the_signed_second() {
        let signed = SignedAt(1_000);
        let at = |received, created| occurred_at(ReceivedAt(received), signed, CreatedAt(created)).0;
        assert_eq!(at(1_000_400, 0), 1_000_400, "our clock agrees");
        assert_eq!(at(1_003_000, 0), 1_000_999, "delivered late");
        assert_eq!(at(999_000, 0), 1_000_000, "our clock is behind");
        assert_eq!(at(1_000_100, 1_000_700), 1_000_700, "not before the job exists");
        assert_eq!(at(1_000_100, 5_000_000), 1_000_999, "created ahead of its signature");
    }
}
