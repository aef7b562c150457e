//! Figures that the views, the roll-up and the queries of several binaries share, as ClickHouse writes them. The migrations
//! in `schemas/tables/` are never edited once they were applied, so they repeat the figures; a test compares.

/// No job ends later than this after its creation. A bound on `created_hour` by it keeps a question about the time of the
/// end cheap, because `created_hour` is in the key of `jobs`.
pub const MAX_JOB_AGE: &str = "8 DAY";

/// How long after its last webhook another one about a job may come: the provider retries for 24 hours.
pub const LAST_WEBHOOK: &str = "26 HOUR";

/// The levels of the quantiles of durations, in the states of the roll-up and in what is read from it.
pub const QUANTILE_LEVELS: &str = "0.01, 0.5, 0.9, 0.95, 0.99";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::MIGRATIONS;

    /// Whatever stands between each `start` and the next `end` in a migration.
    fn between(name: &str, start: &str, end: &str) -> Vec<&'static str> {
        let sql = MIGRATIONS.iter().find(|migration| migration.name == name).unwrap().sql;
        sql.split(start).skip(1).map(|rest| rest.split_once(end).unwrap().0).collect()
    }

    #[test]
    fn the_migrations_repeat_the_same_figures() {
        let bound = "created_hour >= toStartOfMinute({from:DateTime('UTC')}) - INTERVAL ";
        assert_eq!(between("reports", bound, "\n"), [MAX_JOB_AGE; 2]);
        assert_eq!(between("reports", "created_hour >= now() - INTERVAL ", " AND"), [LAST_WEBHOOK]);
        assert_eq!(between("reports", "quantilesDDIf(", ")"), [QUANTILE_LEVELS; 3]);
        assert_eq!(between("job_stats", "quantilesDD(", ")"), [QUANTILE_LEVELS; 3]);
    }
}
