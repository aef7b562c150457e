//! The questions that the API, the gauges and the terminal ask, one file each. A question is a value; it writes its statement, whose
//! parameters are never a part of the SQL, and makes its answer of the rows. Nothing here knows a command line or HTTP.

pub mod contradictions;
pub mod credits;
pub mod dead_letters;
pub mod delays;
pub mod distribution;
pub mod errors;
pub mod filter;
pub mod finished;
pub mod job;
pub mod jobs;
pub mod open;
pub mod pipeline;
pub mod range;
pub mod statement;
pub mod timestamp;

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use self::filter::Filter;
use self::range::Range;

/// The view that the numbers are read from. They are the same in both, to the last digit, but the roll-up is up to 10 s behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// Reads `job_facts`, which has a row for each job.
    Facts,
    /// Reads `job_stats_by_hour`, which has a row for each hour and kind of job, and `job_stats_by_minute` at the edges of a range.
    Rollup,
}

impl ReadFrom {
    pub const ALL: [Self; 2] = [Self::Facts, Self::Rollup];

    /// A range of more seconds has fewer rows in the roll-up than jobs.
    const LONG: i64 = 2 * 3_600;

    /// The view that answers. The roll-up does not know the outcome of a job whose error has no code.
    fn answering(filter: &Filter, range: Range) -> Self {
        if filter.outcome.is_empty() { Self::faster_for(range) } else { Self::Facts }
    }

    /// The view that is asked for, where it can answer, and the one that answers without that.
    fn asked(asked: Option<Self>, filter: &Filter, range: Range) -> Self {
        asked.filter(|_| filter.outcome.is_empty()).unwrap_or_else(|| Self::answering(filter, range))
    }

    /// Chooses the view that is faster for a range.
    pub const fn faster_for(range: Range) -> Self {
        if range.is_within(Self::LONG) { Self::Facts } else { Self::Rollup }
    }

    /// The name in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Rollup => "rollup",
        }
    }
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Facts => "the facts",
            Self::Rollup => "the roll-up",
        })
    }
}

/// A column that jobs can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Dimension {
    /// The account or the environment that the webhooks came from.
    Source,
    Resource,
    /// The type that the provider gives the job.
    JobType,
    /// Empty for jobs that completed.
    ErrorCode,
}

impl Dimension {
    pub const ALL: [Self; 4] = [Self::Source, Self::Resource, Self::JobType, Self::ErrorCode];

    /// The name in JSON, and of the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Resource => "resource",
            Self::JobType => "job_type",
            Self::ErrorCode => "error_code",
        }
    }

    /// The column of rows whose error code is empty for jobs that completed.
    const fn column(self) -> &'static str {
        match self {
            Self::Source => "part.source",
            Self::Resource => "part.resource",
            Self::JobType => "part.job_type",
            Self::ErrorCode => "part.code",
        }
    }

    const fn expression(self, read_from: ReadFrom) -> &'static str {
        match (self, read_from) {
            // A job that completed counts under no error, even if it had sent `errored` before.
            (Self::ErrorCode, ReadFrom::Facts) => "if(outcome = 'errored', error_code, '')",
            (Self::Source | Self::Resource | Self::JobType | Self::ErrorCode, _) => self.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_hours_are_read_from_the_facts_at_every_second() {
        let range = |seconds: i64, to: i64| Range::new(to - seconds, to).unwrap();
        for to in 1_729_314_600..1_729_314_661 {
            assert_eq!(ReadFrom::faster_for(range(7_200, to)), ReadFrom::Facts, "{to}");
            assert_eq!(ReadFrom::faster_for(range(7_200 + 120, to)), ReadFrom::Rollup, "{to}");
        }
    }
}
