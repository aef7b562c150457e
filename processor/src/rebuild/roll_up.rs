//! Holds the roll-up of the live table against one that is computed from the other table: the created hours in which they differ.

use std::collections::BTreeSet;

use clickhouse::Client;
use hookline_schemas::sql::{QUANTILE_LEVELS, job_facts_of};

use super::tables::{Hours, of_hours};
use crate::clickhouse::columns::Table;

const DURATIONS: [&str; 3] = ["total", "run", "queue"];

/// The created hours, Unix seconds, whose roll-up is not what the facts of `table` give.
pub async fn differing_hours(client: &Client, table: Table, hours: &Hours) -> anyhow::Result<BTreeSet<i64>> {
    let found = client.query(&comparison(table, hours)).fetch_all::<u32>().await?;
    Ok(found.into_iter().map(i64::from).collect())
}

/// Cells that are on both sides cancel out. Quantiles are compared as texts, because an empty state gives nan, which equals nothing.
fn comparison(table: Table, hours: &Hours) -> String {
    let each = |column: &dyn Fn(&str) -> String| DURATIONS.map(column).join(", ");
    let condition = format!("created_hour >= {} AND created_hour < {}", hours.start, hours.end);
    let cell = format!(
        "created_hour, source, resource, hour, job_type, error_code, completed, errored, {}",
        each(&|kind| format!("{kind}_jobs, {kind}_max, {kind}_quantiles"))
    );
    let stored = each(&|kind| {
        format!("{kind}_jobs, {kind}_max, toString(finalizeAggregation({kind}_state)) AS {kind}_quantiles")
    });
    let computed = each(&|kind| {
        let seconds = format!("{kind}_seconds");
        format!(
            "count({seconds}) AS {kind}_jobs, max({seconds}) AS {kind}_max, \
             toString(quantilesDDIf({QUANTILE_LEVELS})(assumeNotNull({seconds}), {seconds} IS NOT NULL)) AS {kind}_quantiles"
        )
    });
    format!(
        "SELECT DISTINCT toUInt32(created_hour)
FROM
(
    SELECT {cell}, sum(side) AS balance
    FROM
    (
        SELECT created_hour, source, resource, hour, job_type, error_code, completed, errored, {stored}, toInt8(1) AS side
        FROM job_stats_by_hour
        WHERE {condition}
        UNION ALL
        SELECT
            created_hour, source, resource, toStartOfHour(assumeNotNull(finished_at)) AS hour, job_type,
            if(outcome = 'errored', error_code, '') AS code,
            countIf(outcome = 'completed') AS completed, countIf(outcome = 'errored') AS errored, {computed}, toInt8(-1) AS side
        FROM ({facts})
        WHERE outcome != 'open'
        GROUP BY created_hour, source, resource, hour, job_type, code
    )
    GROUP BY {cell}
    HAVING balance != 0
)",
        facts = job_facts_of(&of_hours(table, hours), &[]),
    )
}
