//! Events that contradict each other, by kind. What they would give is NULL in the tables, and counted here.

use clickhouse::Row;
use hookline_schemas::sql::created_hours_of;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReadFrom;
use super::filter::Filter;
use super::range::Range;
use super::statement::Statement;

/// What is asked, of the jobs that ended in the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradictions {
    pub range: Range,
    pub filter: Filter,
}

/// The longest range, in seconds: every job of it is read.
pub const LONGEST: i64 = 86_400;

/// The jobs of each kind; a job may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Row, Serialize, Deserialize, ToSchema)]
pub struct ContradictionCounts {
    /// Jobs that both completed and errored; they count as completed.
    pub completed_and_errored: u64,
    /// Jobs that ended before they were created, by the provider's clock.
    pub ended_before_created: u64,
    /// Jobs that ended before they started.
    pub ended_before_started: u64,
    /// Jobs that started before they were created.
    pub started_before_created: u64,
}

impl Contradictions {
    pub fn statement(&self) -> Statement {
        let sql = format!(
            "SELECT countIf(completed_at IS NOT NULL AND errored_at IS NOT NULL) AS completed_and_errored, \
             countIf(finished_at < created_at) AS ended_before_created, \
             countIf(finished_at < started_at) AS ended_before_started, \
             countIf(started_at < created_at) AS started_before_created \
             FROM job_facts WHERE outcome != 'open' AND {} AND {} AND {}",
            self.range.contains("finished_at"),
            created_hours_of(&self.range.from.sql()),
            self.filter.condition(ReadFrom::Facts)
        );
        Statement::new(sql, self.filter.parameters())
    }
}
