//! What answers look like, in JSON and in the OpenAPI document.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::query::ReadFrom;
use crate::query::contradictions::ContradictionCounts;
use crate::query::dead_letters::{DeadLetter, DeadLetterCount};
use crate::query::finished::FinishedJobs;
use crate::query::job::{Delivery, JobDeadLetter};
use crate::query::jobs::Job;
use crate::query::open::OpenCount;
use crate::query::range::{Range, Step};
use crate::query::timestamp::Timestamp;

/// A range as it was snapped to whole minutes.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Snapped {
    #[schema(value_type = String, format = DateTime)]
    pub(super) from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub(super) to: Timestamp,
}

impl From<Range> for Snapped {
    fn from(range: Range) -> Self {
        Self { from: Timestamp::of_seconds(range.from.0), to: Timestamp::of_seconds(range.to.0) }
    }
}

/// The answer to a question about a range.
#[derive(Debug, Serialize, ToSchema)]
pub struct Answer<T> {
    /// When ClickHouse was asked; an answer is kept for 5 s where its range reaches now, and for 60 s otherwise.
    #[schema(value_type = String, format = DateTime)]
    pub(super) as_of: Timestamp,
    pub(super) range: Snapped,
    /// Seconds of a step, where the answer has some.
    pub(super) step: Option<u32>,
    pub(super) read_from: ReadFrom,
    pub(super) rows: Vec<T>,
    /// The comparison range, where one was asked for, and its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) compared: Option<Compared<T>>,
    /// All groups that there are, where `limit` may have left some out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) groups: Option<u64>,
    /// The cursor of the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Compared<T> {
    pub(super) range: Snapped,
    pub(super) rows: Vec<T>,
}

/// What is known of a range at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Summary {
    /// When ClickHouse was asked; an answer is kept for 5 s where its range reaches now, and for 60 s otherwise.
    #[schema(value_type = String, format = DateTime)]
    pub(super) as_of: Timestamp,
    pub(super) range: Snapped,
    pub(super) read_from: ReadFrom,
    /// All jobs that finished in the range.
    pub(super) jobs: FinishedJobs,
    /// Those of the comparison range, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) compared: Option<ComparedJobs>,
    /// Jobs without an end, now.
    pub(super) open: Vec<OpenCount>,
    /// Events that contradict each other; null for a range of more than 24 hours: the roll-up does not hold them, and to look at
    /// every job of 30 days costs ten times all the rest of the summary. Ask for a day at a time.
    pub(super) contradictions: Option<ContradictionCounts>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ComparedJobs {
    pub(super) range: Snapped,
    pub(super) jobs: FinishedJobs,
}

/// The jobs that have an id, and what was received about them.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobAnswer {
    /// When ClickHouse was asked; an answer is kept for 5 s where its range reaches now, and for 60 s otherwise.
    #[schema(value_type = String, format = DateTime)]
    pub(super) as_of: Timestamp,
    /// One for each source and resource that has the id.
    pub(super) jobs: Vec<Job>,
    /// The oldest first, at most 500.
    pub(super) deliveries: Vec<Delivery>,
    /// The oldest first, at most 500.
    pub(super) dead_letters: Vec<JobDeadLetter>,
}

/// Dead letters by reason, and a page of them, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLettersAnswer {
    /// When ClickHouse was asked; an answer is kept for 5 s where its range reaches now, and for 60 s otherwise.
    #[schema(value_type = String, format = DateTime)]
    pub(super) as_of: Timestamp,
    pub(super) range: Snapped,
    pub(super) by_reason: Vec<DeadLetterCount>,
    pub(super) rows: Vec<DeadLetter>,
    /// The cursor of the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

impl<T> Answer<T> {
    pub(super) fn new(as_of: Timestamp, range: Range, step: Option<Step>, read_from: ReadFrom, rows: Vec<T>) -> Self {
        let step = step.map(Step::seconds);
        Self { as_of, range: range.into(), step, read_from, rows, compared: None, groups: None, next: None }
    }
}

pub(super) fn timestamp(now: OffsetDateTime) -> Timestamp {
    Timestamp(i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}
