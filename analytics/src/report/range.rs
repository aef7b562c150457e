//! Ranges of time: given by people, snapped outwards to whole minutes.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        f.write_str(&at.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

/// From a moment on, and before another; both whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first moment in it.
    pub from: Moment,
    /// The first moment after it.
    pub to: Moment,
}

/// A range without a minute in it, or outside the times that tables can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the range must begin before it ends, and lie between 1970 and 2106")]
pub struct RangeError;

impl Range {
    /// Snaps outwards.
    pub const fn new(from: i64, to: i64) -> Result<Self, RangeError> {
        if from < 0 || from >= to || to > u32::MAX as i64 {
            return Err(RangeError);
        }
        Ok(Self { from: Moment(from - from % 60), to: Moment((to + 59) / 60 * 60) })
    }
}

/// Reads RFC 3339.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(|at| Moment(at.unix_timestamp()))
        .map_err(|error| format!("{error}; expected RFC 3339, such as 2026-11-24T10:00:00Z"))
}

/// Reads a whole number and a unit.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let expected = || "expected a whole number and s, m, h or d, such as 90m".to_owned();
    let unit = text.chars().next_back().ok_or_else(expected)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(expected()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| expected())?;
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_snap_outwards() {
        let range = Range::new(1_729_314_619, 1_729_314_661).unwrap();
        assert_eq!((range.from.0, range.to.0), (1_729_314_600, 1_729_314_720));
        assert_eq!(range.from.to_string(), "2024-10-19T05:10:00Z");
        assert_eq!(Range::new(60, 120).unwrap(), Range { from: Moment(60), to: Moment(120) });
        for (from, to) in [(5, 5), (6, 5), (-1, 5), (0, i64::MAX)] {
            assert_eq!(Range::new(from, to), Err(RangeError));
        }
    }

    #[test]
    fn spans_need_a_unit() {
        assert_eq!(span("90m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(span("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "5", "h", "0h", "1w", "-1h", "1.5h", "99999999999999999999d"] {
            assert!(span(bad).is_err(), "{bad:?}");
        }
    }
}
