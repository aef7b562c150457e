//! Carries over which jobs the group has counted: the one column of `jobs` that no event tells, so no fill brings it back. Without it
//! a processor that gets partitions would count finished jobs again.

use super::tables::{Hours, of_hours};
use crate::clickhouse::columns::Table;

/// A job whose created hour the fold moved is looked for so far around it.
const MOVED: i64 = 25 * 3_600;

/// The statement that tells the jobs of `to` what `from` knows of their counting. A row is inserted together with its facts, which
/// join with themselves; a job that `to` does not have gets none.
pub fn carry_statement(from: Table, to: Table, hours: &Hours) -> String {
    let around = hours.start.saturating_sub(MOVED).max(0)..hours.end + MOVED;
    format!(
        "INSERT INTO {into} SETTINGS insert_deduplicate = 0, async_insert = 0, max_partitions_per_insert_block = 0
SELECT jobs.* REPLACE (counted.ends AS counted_ends)
FROM (SELECT * FROM {to}) AS jobs
INNER JOIN
(
    SELECT source, resource, job_id, groupBitOr(counted_ends) AS ends
    FROM {from}
    WHERE created_hour >= {start} AND created_hour < {end} AND counted_ends != 0
    GROUP BY source, resource, job_id
) AS counted
ON jobs.source = counted.source AND jobs.resource = counted.resource AND jobs.job_id = counted.job_id
WHERE bitAnd(counted.ends, bitNot(jobs.counted_ends)) != 0",
        into = to.as_str(),
        to = of_hours(to, hours),
        from = from.as_str(),
        start = around.start,
        end = around.end,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_also_where_its_created_hour_moved() {
        let statement = carry_statement(Table::Jobs, Table::JobsRebuild, &(3_600_000..3_603_600));
        assert!(statement.starts_with("INSERT INTO jobs_rebuild SETTINGS "), "{statement}");
        assert!(
            statement.contains("FROM jobs_rebuild FINAL WHERE created_hour >= 3600000 AND created_hour < 3603600)")
        );
        assert!(statement.contains("FROM jobs\n    WHERE created_hour >= 3510000 AND created_hour < 3693600 "));
        assert!(
            carry_statement(Table::Jobs, Table::JobsRebuild, &(0..3_600))
                .contains("created_hour >= 0 AND created_hour < 93600 ")
        );
    }
}
