//! Ranges of time, widened to whole minutes, because the roll-up has cells by minute, and the steps they are divided into.

use std::fmt;

use hookline_schemas::rollup_range::RollupRange;
use hookline_schemas::sql::LAST_MINUTE;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        f.write_str(&at.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A half-open range of time; both ends are whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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
    /// Rounds `from` down and `to` up to whole minutes; the last minute that the tables can hold stays the last.
    pub const fn new(from: i64, to: i64) -> Result<Self, RangeError> {
        if from < 0 || from >= to || to > u32::MAX as i64 {
            return Err(RangeError);
        }
        let (from, mut to) = (from - from % 60, (to + 59) / 60 * 60);
        if to > LAST_MINUTE as i64 {
            to = LAST_MINUTE as i64;
        }
        if from >= to { Err(RangeError) } else { Ok(Self { from: Moment(from), to: Moment(to) }) }
    }

    pub const fn seconds(self) -> i64 {
        self.to.0 - self.from.0
    }

    /// Whether it is no longer than `seconds`, as it was asked for: the last 24 hours are a minute more once they are whole minutes.
    pub const fn is_within(self, seconds: i64) -> bool {
        self.seconds() <= seconds + 60
    }

    /// The range of the same length that lies `seconds` earlier, in whole minutes; none where that is before 1970.
    pub const fn earlier(self, seconds: i64) -> Result<Self, RangeError> {
        let seconds = seconds - seconds % 60;
        Self::new(self.from.0.saturating_sub(seconds), self.to.0.saturating_sub(seconds))
    }

    /// The range in the type that reads the roll-up.
    pub(super) fn in_rollup(self) -> RollupRange {
        let second = |moment: Moment| u32::try_from(moment.0).unwrap_or(LAST_MINUTE).min(LAST_MINUTE);
        RollupRange { from: second(self.from), to: second(self.to) }
    }

    /// A condition on a column of type `DateTime` or `DateTime64`.
    pub(super) fn contains(self, column: &str) -> String {
        format!("{column} >= {} AND {column} < {}", self.from.sql(), self.to.sql())
    }
}

impl Moment {
    /// The moment as an expression of type `DateTime`: a number, so nothing that was asked for gets into the SQL.
    pub(super) fn sql(self) -> String {
        format!("toDateTime({}, 'UTC')", self.0)
    }
}

/// The width of the groups of time, in seconds: whole minutes. Groups start at whole multiples of it since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step(u32);

/// A step that is not a number of whole minutes, or so short that a chart of the range would have too many points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    #[error("a step is whole minutes, from 1m to 366d")]
    NotMinutes,
    #[error("the range has more than {MAX_STEPS} steps; the shortest step it takes is {0} s")]
    TooShort(i64),
}

/// The steps that one answer may have.
pub const MAX_STEPS: i64 = 2_000;

/// The steps that are chosen from where none is asked for, in seconds.
const USUAL: [u32; 10] = [60, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800];
/// The most steps of an answer whose step was not asked for.
const USUAL_STEPS: i64 = 200;

impl Step {
    pub fn new(seconds: i64, range: Range) -> Result<Self, StepError> {
        let step = u32::try_from(seconds).map_err(|_| StepError::NotMinutes)?;
        if step == 0 || !step.is_multiple_of(60) || step > 366 * 86_400 {
            return Err(StepError::NotMinutes);
        }
        if range.seconds() / seconds >= MAX_STEPS {
            let shortest = range.seconds() / MAX_STEPS + 1;
            return Err(StepError::TooShort((shortest + 59) / 60 * 60));
        }
        Ok(Self(step))
    }

    /// A step that gives a chart of the range.
    pub fn usual(range: Range) -> Self {
        Self::within(range, USUAL_STEPS)
    }

    /// The shortest usual step that divides the range into about so many.
    pub fn within(range: Range, steps: i64) -> Self {
        let fits = |step: &&u32| range.seconds() / i64::from(**step) <= steps;
        Self(USUAL.iter().find(fits).copied().unwrap_or(30 * 86_400))
    }

    pub const fn seconds(self) -> u32 {
        self.0
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
        let last = i64::from(LAST_MINUTE);
        assert_eq!(Range::new(0, i64::from(u32::MAX)).unwrap().to.0, last, "the end does not wrap");
        for (from, to) in [(5, 5), (6, 5), (-1, 5), (0, i64::MAX), (last, last + 5)] {
            assert_eq!(Range::new(from, to), Err(RangeError));
        }
    }

    #[test]
    fn the_last_day_is_a_day_at_every_second() {
        for now in 1_729_314_600..1_729_314_661 {
            assert!(Range::new(now - 86_400, now).unwrap().is_within(86_400), "{now}");
            assert!(!Range::new(now - 86_400 - 120, now).unwrap().is_within(86_400), "{now}");
        }
    }

    #[test]
    fn a_comparison_has_the_same_length() {
        let range = Range::new(864_000, 867_600).unwrap();
        assert_eq!(range.earlier(86_400), Range::new(777_600, 781_200));
        assert_eq!(range.earlier(90), Range::new(863_940, 867_540), "whole minutes");
        assert_eq!(range.earlier(i64::MAX), Err(RangeError));
    }

    #[test]
    fn steps_are_whole_minutes_and_not_too_many() {
        let day = Range::new(0, 86_400).unwrap();
        assert_eq!(Step::new(60, day).map(Step::seconds), Ok(60));
        for bad in [0, -60, 59, 61, i64::MAX] {
            assert_eq!(Step::new(bad, day), Err(StepError::NotMinutes), "{bad}");
        }
        let year = Range::new(0, 365 * 86_400).unwrap();
        let shortest = 15_780;
        assert_eq!(Step::new(60, year), Err(StepError::TooShort(shortest)));
        assert!(Step::new(shortest, year).is_ok());
        for (seconds, step) in [(3_600, 60), (86_400, 900), (7 * 86_400, 3_600), (30 * 86_400, 21_600)] {
            assert_eq!(Step::usual(Range::new(0, seconds).unwrap()).seconds(), step, "{seconds}");
        }
        assert!(Step::new(i64::from(Step::usual(Range::new(0, i64::from(u32::MAX)).unwrap()).0), year).is_ok());
    }
}
