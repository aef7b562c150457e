//! Ranges of time, widened to whole minutes, because the roll-up has a row for each minute.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        f.write_str(&at.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

/// A half-open range of time; both ends are whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first moment that belongs to the range.
    pub from: Moment,
    /// The first moment after the range.
    pub to: Moment,
}

/// A range that is empty, or outside the times that the tables can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the range must begin before it ends, and lie between 1970 and 2106")]
pub struct RangeError;

impl Range {
    /// Rounds `from` down and `to` up to whole minutes.
    pub const fn new(from: i64, to: i64) -> Result<Self, RangeError> {
        if from < 0 || from >= to || to > u32::MAX as i64 {
            return Err(RangeError);
        }
        Ok(Self { from: Moment(from - from % 60), to: Moment((to + 59) / 60 * 60) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_widened_to_whole_minutes() {
        let range = Range::new(1_729_314_619, 1_729_314_661).unwrap();
        assert_eq!((range.from.0, range.to.0), (1_729_314_600, 1_729_314_720));
        assert_eq!(range.from.to_string(), "2024-10-19T05:10:00Z");
        assert_eq!(Range::new(60, 120).unwrap(), Range { from: Moment(60), to: Moment(120) });
        for (from, to) in [(5, 5), (6, 5), (-1, 5), (0, i64::MAX)] {
            assert_eq!(Range::new(from, to), Err(RangeError));
        }
    }
}
