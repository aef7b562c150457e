use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time as the command line gives it: a date, an age, or `now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimePoint {
    /// A moment, in Unix milliseconds.
    At(i64),
    /// Whole seconds before the program looks at its clock.
    Ago(i64),
}

impl TimePoint {
    /// The point in Unix milliseconds.
    pub const fn as_millis(self, now: OffsetDateTime) -> i64 {
        match self {
            Self::At(millis) => millis,
            Self::Ago(seconds) => now.unix_timestamp().saturating_sub(seconds).saturating_mul(1000),
        }
    }

    /// The point as it can be typed, and the moment that an age means.
    pub fn shown(self, now: OffsetDateTime) -> String {
        let moment = OffsetDateTime::from_unix_timestamp(self.as_millis(now).div_euclid(1000)).ok();
        let moment = moment.and_then(|moment| moment.format(&Rfc3339).ok());
        let moment = moment.unwrap_or_else(|| "before all dates".into());
        match self {
            Self::At(_) => moment,
            Self::Ago(0) => format!("now ({moment})"),
            Self::Ago(seconds) => {
                let age = humantime::format_duration(Duration::from_secs(seconds.unsigned_abs())).to_string();
                format!("{} ({moment})", age.replace(' ', ""))
            }
        }
    }
}

impl FromStr for TimePoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self::Ago(0));
        }
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self::At(at.unix_timestamp() * 1000 + i64::from(at.millisecond())));
        }
        let age = humantime::parse_duration(text.strip_prefix('-').unwrap_or(text)).ok();
        age.and_then(|age| i64::try_from(age.as_secs()).ok()).map(Self::Ago).ok_or_else(|| {
            format!(
                "{text:?} is not a time: expected 2026-11-25T10:00:00Z (RFC 3339), an age such as 2h or -24h, or now"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_ages_or_now() {
        let now = OffsetDateTime::from_unix_timestamp(1_786_699_613).unwrap();
        let seconds = |text: &str| {
            text.parse::<TimePoint>().map(|point| point.as_millis(now).saturating_sub(now.unix_timestamp() * 1000))
        };
        for (text, since_now) in [
            ("2026-08-14T09:26:53.589Z", 589),
            ("2026-08-14T11:26:53+02:00", 0),
            ("now", 0),
            ("2h", -7_200_000),
            ("-2h", -7_200_000),
            ("-1h 30m", -5_400_000),
            ("99999999999y", i64::MIN),
        ] {
            assert_eq!(seconds(text), Ok(since_now), "{text}");
        }
        for bad in ["yesterday", "", "-", "--to", "2026-08-14", "24", "--2h"] {
            let error = seconds(bad).unwrap_err();
            assert!(error.contains(&format!("{bad:?}")) && error.contains("-24h"), "{error}");
        }
    }
}
