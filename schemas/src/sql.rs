//! Figures and conditions that the views, the roll-up and the queries of several binaries share, as ClickHouse writes them. The
//! migrations in `schemas/tables/` are never edited once they were applied, so they repeat them; a test compares.

use crate::ids::Resource;
use crate::migrations::{MIGRATIONS, Migration};
use crate::time::CreatedHour;

/// Hardly a job ends later than this after its creation. A bound on `created_hour` by it keeps a question about the time of the
/// end cheap, because `created_hour` is in the key of `jobs`.
pub const MAX_JOB_AGE: &str = "8 DAY";

/// How long after its last webhook another one about a job may come: the provider retries for 24 hours.
pub const LAST_WEBHOOK: &str = "26 HOUR";

/// The levels of the quantiles of durations, in the states of the roll-up and in what is read from it.
pub const QUANTILE_LEVELS: &str = "0.01, 0.5, 0.9, 0.95, 0.99";

/// The last whole minute that a `DateTime` can hold, in Unix seconds: the greatest end of a range of whole minutes. A later one
/// wraps to 1970.
pub const LAST_MINUTE: u32 = u32::MAX / 60 * 60;

/// A condition on `created_hour` that keeps every job that ended at or after `from`, an expression of type `DateTime` without `?`.
///
/// It keeps the hours of `MAX_JOB_AGE` before `from`, whose bound does not wrap below 1970, and those hours before them of which
/// the roll-up knows that a job ended since. It keeps others, too: the time of the end is still to be asked for.
pub fn created_hours_of(from: &str) -> String {
    let bound = format!(
        "toStartOfHour(greatest({from}, toDateTime(0, 'UTC') + INTERVAL {MAX_JOB_AGE}) - INTERVAL {MAX_JOB_AGE})"
    );
    format!(
        "(created_hour >= {bound} OR created_hour IN (SELECT created_hour FROM job_stats \
         WHERE created_hour < {bound} AND last_finished_at >= {from}))"
    )
}

/// The quantiles `quantiles`, an array of `Float64`, none of them above the exact maximum `max`, which is NULL where there are
/// none. The sketch is off by up to 1 % in either direction.
pub fn at_most_max(quantiles: &str, max: &str) -> String {
    format!("arrayMap(quantile -> least(quantile, ifNull({max}, quantile)), {quantiles})")
}

/// The statement that makes `stuck_jobs` anew with the seconds after which an open job of a resource is stuck. The migrations
/// make it with 900 for audio and image, and 3600 for video.
pub fn stuck_jobs_view(seconds: impl Fn(Resource) -> u32) -> String {
    let [audio, image, video] = [Resource::Audio, Resource::Image, Resource::Video].map(seconds);
    statement("CREATE OR REPLACE VIEW stuck_jobs")
        .replacen(STUCK_AFTER, &format!("[{audio}, {image}, {video}], {video}"), 1)
        .replacen(
            STUCK_AFTER_COMMENT,
            &format!("{audio} s for `audio`, {image} s for `image`, {video} s for `video`"),
            1,
        )
}

/// The thresholds in the order audio, image, video, and that of an unknown resource.
const STUCK_AFTER: &str = "[900, 900, 3600], 3600";
const STUCK_AFTER_COMMENT: &str = "900 s for `audio`, 900 s for `image`, 3600 s for `video`";

/// The statement that makes `jobs_kept_since` anew where jobs expire `days` after their created hour, or never again.
///
/// `lost_before` is what the view said so far: a longer TTL brings no hour back. An hour counts as lost one hour before it expires, so that
/// no refresh is at work on it then. To be made before the TTL of the table is shortened, and after it is lengthened.
pub fn jobs_kept_since_view(days: Option<u32>, lost_before: CreatedHour) -> String {
    let lost_before = format!("toDateTime({}, 'UTC')", lost_before.0);
    let kept = match days {
        None => lost_before,
        Some(days) => {
            format!("greatest({lost_before}, toStartOfHour(now('UTC') - INTERVAL {days} DAY) + INTERVAL 2 HOUR)")
        }
    };
    statement("CREATE OR REPLACE VIEW jobs_kept_since").replacen("toDateTime(0, 'UTC')", &kept, 1)
}

/// The question of the view `job_facts`, asked of `from` instead of `jobs FINAL`: a table with the columns of `jobs`, and a condition on
/// these, which reaches the table's key. The columns of the table in `also` stand beside those of the view.
pub fn job_facts_of(from: &str, also: &[&str]) -> String {
    let view = statement("CREATE OR REPLACE VIEW job_facts");
    let question = view.split_once("\nAS ").and_then(|(_, rest)| rest.rsplit_once("\nCOMMENT "));
    let question = question.map_or("", |(question, _)| question);
    let also: String = also.iter().map(|column| format!(",\n    {column}")).collect();
    question.replacen("FROM jobs FINAL", &format!("FROM {from}"), 1).replacen(
        "\nFROM joined",
        &format!("{also}\nFROM joined"),
        1,
    )
}

/// The statement of the migrations that starts with `start`, a whole name.
fn statement(start: &str) -> &'static str {
    let mut statements = MIGRATIONS.iter().flat_map(Migration::statements);
    statements.find(|statement| statement.lines().next() == Some(start)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever stands between each `start` and the next `end` in a migration.
    fn between(name: &str, start: &str, end: &str) -> Vec<&'static str> {
        let sql = MIGRATIONS.iter().find(|migration| migration.name == name).unwrap().sql;
        sql.split(start).skip(1).map(|rest| rest.split_once(end).unwrap().0).collect()
    }

    fn in_one_line(sql: &str) -> String {
        sql.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(")
    }

    #[test]
    fn the_migrations_repeat_the_same_figures() {
        for view in ["error_rates", "job_durations"] {
            let view = in_one_line(statement(&format!("CREATE OR REPLACE VIEW {view} AS")));
            let hours = created_hours_of("toStartOfMinute({from:DateTime('UTC')})");
            assert!(view.contains(&hours), "{hours} in {view}");
            let last = format!(
                "finished_at < toStartOfMinute(least({{to:DateTime('UTC')}}, toDateTime({}, 'UTC')) + 59)",
                u32::MAX - 59
            );
            assert!(view.contains(&last), "{last} in {view}");
        }
        assert_eq!(between("reports", "created_hour >= now() - INTERVAL ", " AND"), [LAST_WEBHOOK]);
        assert_eq!(between("reports", "quantilesDDIf(", ")"), [QUANTILE_LEVELS; 3]);
        assert_eq!(between("job_stats", "quantilesDD(", ")"), [QUANTILE_LEVELS; 12]);
    }

    #[test]
    fn the_facts_of_another_table_are_those_of_the_view() {
        let view = statement("CREATE OR REPLACE VIEW job_facts");
        let (question, _) = view.split_once("\nAS ").unwrap().1.rsplit_once("\nCOMMENT ").unwrap();
        assert_eq!(job_facts_of("jobs FINAL", &[]), question);
        let other = job_facts_of("other FINAL WHERE created_hour = 0", &["credits_errored"]);
        assert!(other.contains("FROM other FINAL WHERE created_hour = 0\n"), "{other}");
        assert!(other.ends_with("AS fold_version,\n    credits_errored\nFROM joined"), "{other}");
    }

    #[test]
    fn what_migrate_bakes_in_replaces_the_defaults() {
        let default = statement("CREATE OR REPLACE VIEW stuck_jobs");
        assert_eq!(default.matches(STUCK_AFTER).count(), 1);
        assert_eq!(default.matches(STUCK_AFTER_COMMENT).count(), 1);
        let view = stuck_jobs_view(|resource| match resource {
            Resource::Audio => 1,
            Resource::Image => 2,
            Resource::Video => 3,
        });
        assert!(view.contains("['audio', 'image', 'video'], [1, 2, 3], 3)"), "{view}");
        assert!(view.contains("1 s for `audio`, 2 s for `image`, 3 s for `video`"), "{view}");

        let ever = jobs_kept_since_view(None, CreatedHour(0));
        assert_eq!(ever, statement("CREATE OR REPLACE VIEW jobs_kept_since"));
        let kept = "greatest(toDateTime(3600, 'UTC'), toStartOfHour(now('UTC') - INTERVAL 30 DAY) + INTERVAL 2 HOUR) AS created_hour";
        assert!(jobs_kept_since_view(Some(30), CreatedHour(3_600)).contains(kept));
    }
}
