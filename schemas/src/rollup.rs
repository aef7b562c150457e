//! How the roll-up is brought up to date: created hours are computed anew from the facts and replaced whole.

use crate::sql::QUANTILE_LEVELS;
use crate::time::CreatedHour;

/// The kinds of durations that the roll-up has quantiles of, as its columns are named.
const DURATIONS: [&str; 3] = ["total", "run", "queue"];

/// Which created hours still have all of their jobs. What expires goes part by part, so a refresh that came later would count some
/// of an hour's jobs, and one after it none.
const KEPT: &str = "created_hour >= (SELECT created_hour FROM jobs_kept_since)";

/// The statement that refreshes `job_stats` for the given created hours; for none of them it does nothing, and neither for an hour
/// whose facts may have expired.
///
/// May run at any time, repeatedly, and beside another one for the same hours: the row that wins has seen every fact that was
/// there when any other began. Its version is two numbers. The upper half is the server's time, or one more than that of the
/// row that stands where a clock went back, so that versions of a group only grow. The lower half is the server's time alone:
/// of two statements that saw the same row stand, the one that began later wins, also where it ends first.
///
/// Both are taken before the facts are looked at, and the order is that of the join: its left side is resolved first, with
/// `now64` and the scalar subquery, and the snapshot of `jobs` is taken after it. `now64` beside a plain `FROM` would be
/// evaluated after the snapshot, and `nowInBlock` long after. Groups that are in the roll-up and have no finished job any more
/// become an empty row, whose first end is after its last: each has an open job of 2106 among the jobs, which is in no cell.
///
/// The jobs are read once, for minutes and hours alike, and each state is put into an array once: that costs more than making it.
pub fn refresh_statement(hours: &[CreatedHour]) -> String {
    let hours = hours.iter().map(|hour| hour.0.to_string()).collect::<Vec<_>>().join(", ");
    let each = |column: &dyn Fn(&str) -> String| DURATIONS.map(column).join(",\n            ");
    format!(
        "INSERT INTO job_stats (created_hour, source, resource, version, first_finished_at, last_finished_at, minute_cells, hour_cells)
SETTINGS insert_deduplicate = 0, async_insert = 0, max_partitions_per_insert_block = 0, group_by_use_nulls = 0,
    force_grouping_standard_compatibility = 1
SELECT
    created_hour,
    source,
    resource,
    bitShiftLeft(toUInt128(greatest(began, standing.2[indexOf(standing.1, (created_hour, source, resource))] + 1)), 64) + began,
    first_finished_at,
    last_finished_at,
    minute_cells,
    hour_cells
FROM
(
    SELECT
        toUInt64(toUnixTimestamp64Nano(now64(9, 'UTC'))) AS began,
        (
            SELECT (groupArray(group), groupArray(upper))
            FROM
            (
                SELECT
                    (created_hour, CAST(source, 'String'), CAST(resource, 'String')) AS group,
                    toUInt64(bitShiftRight(max(version), 64)) AS upper
                FROM job_stats
                WHERE created_hour IN ({hours})
                GROUP BY group
            )
        ) AS standing
) AS started
CROSS JOIN
(
SELECT
    created_hour,
    source,
    resource,
    min(first) AS first_finished_at,
    max(last) AS last_finished_at,
    groupArrayIf(cell, jobs > 0 AND is_minute) AS minute_cells,
    groupArrayIf(cell, jobs > 0 AND NOT is_minute) AS hour_cells
FROM
(
    SELECT
        created_hour,
        source,
        resource,
        grouping(minute) = 0 AS is_minute,
        min(second) AS first,
        maxIf(second, outcome != 'open') AS last,
        countIf(outcome != 'open') AS jobs,
        tuple(
            if(is_minute, minute, hour),
            job_type,
            code,
            countIf(outcome = 'completed'),
            countIf(outcome = 'errored'),
            {jobs},
            {max},
            {state}) AS cell
    FROM
    (
        SELECT
            created_hour, source, resource, outcome, job_type, total_seconds, run_seconds, queue_seconds,
            toDateTime(assumeNotNull(finished_at), 'UTC') AS second,
            toStartOfMinute(second) AS minute,
            toStartOfHour(second) AS hour,
            if(outcome = 'errored', error_code, '') AS code
        FROM job_facts
        WHERE created_hour IN ({hours}) AND {KEPT} AND outcome != 'open'
        UNION ALL
        SELECT DISTINCT
            created_hour, CAST(source, 'String'), CAST(resource, 'String'), 'open', '', NULL, NULL, NULL,
            toDateTime(4294967295, 'UTC') AS second,
            toStartOfMinute(second) AS minute,
            toStartOfHour(second) AS hour,
            ''
        FROM job_stats
        WHERE created_hour IN ({hours}) AND {KEPT}
    )
    GROUP BY GROUPING SETS (
        (created_hour, source, resource, minute, job_type, code),
        (created_hour, source, resource, hour, job_type, code))
)
GROUP BY created_hour, source, resource
) AS refreshed",
        jobs = each(&|kind| format!("count({kind}_seconds)")),
        max = each(&|kind| format!("max({kind}_seconds)")),
        state = each(&|kind| format!(
            "quantilesDDStateIf({QUANTILE_LEVELS})(assumeNotNull({kind}_seconds), {kind}_seconds IS NOT NULL)"
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hour_is_named_wherever_a_table_is_read() {
        let statement = refresh_statement(&[CreatedHour(1_729_314_000), CreatedHour(1_729_317_600)]);
        assert_eq!(statement.matches("created_hour IN (1729314000, 1729317600)").count(), 3);
        assert_eq!(refresh_statement(&[]).matches("created_hour IN ()").count(), 3);
        assert_eq!(
            statement.matches(KEPT).count(),
            2,
            "neither an hour's facts nor its row are replaced once jobs may be gone"
        );
    }
}
