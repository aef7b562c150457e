//! How the roll-up is brought up to date: created hours are computed anew from the facts and replaced whole.

use crate::sql::QUANTILE_LEVELS;
use crate::time::CreatedHour;

/// The statement that refreshes `job_stats` for the given created hours; for none of them it does nothing.
///
/// May run at any time, repeatedly, and beside another one for the same hours: the row that wins has seen every fact that was
/// there when any other began. Its version is two numbers. The upper half is the server's time, or one more than that of the
/// row that stands where a clock went back, so that versions of a group only grow. The lower half is the server's time alone:
/// of two statements that saw the same row stand, the one that began later wins, also where it ends first.
///
/// Both are taken before the facts are looked at, and the order is that of the join: its left side is resolved first, with
/// `now64` and the scalar subquery, and the snapshot of `jobs` is taken after it. `now64` beside a plain `FROM` would be
/// evaluated after the snapshot, and `nowInBlock` long after. Groups that are in the roll-up and have no finished job any more
/// become an empty row.
pub fn refresh_statement(hours: &[CreatedHour]) -> String {
    let hours = hours.iter().map(|hour| hour.0.to_string()).collect::<Vec<_>>().join(", ");
    let state = |seconds: &str| {
        format!("quantilesDDStateIf({QUANTILE_LEVELS})(assumeNotNull({seconds}), {seconds} IS NOT NULL)")
    };
    let (total, run, queue) = (state("total_seconds"), state("run_seconds"), state("queue_seconds"));
    format!(
        "INSERT INTO job_stats (created_hour, source, resource, version, cells)
SETTINGS insert_deduplicate = 0, async_insert = 0, max_partitions_per_insert_block = 0
SELECT
    created_hour,
    source,
    resource,
    bitShiftLeft(toUInt128(greatest(began, standing.2[indexOf(standing.1, (created_hour, source, resource))] + 1)), 64) + began,
    cells
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
SELECT created_hour, source, resource, groupArrayArray(cells) AS cells
FROM
(
    SELECT
        created_hour,
        source,
        resource,
        [tuple(
            toStartOfMinute(assumeNotNull(finished_at)) AS minute,
            job_type,
            if(outcome = 'errored', error_code, '') AS code,
            countIf(outcome = 'completed'),
            countIf(outcome = 'errored'),
            max(total_seconds),
            max(run_seconds),
            max(queue_seconds),
            {total},
            {run},
            {queue})] AS cells
    FROM job_facts
    WHERE created_hour IN ({hours}) AND outcome != 'open'
    GROUP BY created_hour, source, resource, minute, job_type, code
    UNION ALL
    SELECT DISTINCT created_hour, CAST(source, 'String') AS source, CAST(resource, 'String') AS resource, [] AS cells
    FROM job_stats
    WHERE created_hour IN ({hours})
)
GROUP BY created_hour, source, resource
) AS refreshed"
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
    }
}
