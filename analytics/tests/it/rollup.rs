//! The roll-up holds what the facts come to, after every kind of refresh.

use clickhouse::Client;
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;

use crate::{execute, migrated};

/// 2026-11-01T00:00:00Z and the hour after it.
pub const HOURS: [CreatedHour; 2] = [CreatedHour(1_793_491_200), CreatedHour(1_793_494_800)];

/// Twenty thousand jobs in two hours: a third of them without `started`, one in nine errored, one in seventeen open, and
/// one in a hundred started after its end.
pub const JOBS: &str = "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, job_type, started_at, completed_at,
        errored_at, error, first_received_at, last_received_at, fold_version)
    SELECT 's', ['video', 'image', 'audio'][number % 3 + 1], toStartOfHour(created), concat('j', toString(number)), created,
        concat('TYPE_', toString(number % 5)),
        if(number % 3 = 0, NULL, created + toIntervalMillisecond(if(number % 100 = 1, 900000, number * 31 % 4000))) AS started,
        if(number % 17 = 0 OR number % 9 = 0, NULL, ended), if(number % 17 != 0 AND number % 9 = 0, ended, NULL),
        if(number % 17 != 0 AND number % 9 = 0, concat('code_', toString(number % 4), '\\0why'), ''), created, created, 1
    FROM (SELECT number, toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + toIntervalMillisecond(number * 7919 % 7200000) AS created,
        created + toIntervalMillisecond(4000 + number * 104729 % 600000) AS ended FROM numbers(20000))";

/// Counts the rows that only the facts or only the roll-up have.
const DIFFERENCES: &str = "SELECT count() FROM (
    SELECT *, count() AS sides FROM (
        SELECT created_hour, toStartOfMinute(assumeNotNull(finished_at)) AS minute, source, resource, job_type,
            if(outcome = 'errored', error_code, '') AS code, countIf(outcome = 'completed') AS completed,
            countIf(outcome = 'errored') AS errored, max(total_seconds) AS t, max(run_seconds) AS r, max(queue_seconds) AS q,
            toString(quantilesDDIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull(total_seconds), total_seconds IS NOT NULL)) AS ts,
            toString(quantilesDDIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull(run_seconds), run_seconds IS NOT NULL)) AS rs,
            toString(quantilesDDIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull(queue_seconds), queue_seconds IS NOT NULL)) AS qs
        FROM job_facts WHERE outcome != 'open' GROUP BY created_hour, minute, source, resource, job_type, code
        UNION ALL
        SELECT created_hour, minute, source, resource, job_type, error_code, completed, errored, total_max, run_max, queue_max,
            toString(finalizeAggregation(total_state)), toString(finalizeAggregation(run_state)),
            toString(finalizeAggregation(queue_state))
        FROM job_stats_by_minute
    ) GROUP BY ALL HAVING sides != 2
)";

async fn number(client: &Client, question: &str) -> u64 {
    client.query_raw(question).fetch_one().await.unwrap_or_else(|error| panic!("{error}\n{question}"))
}

/// Inserts one more partial row of a job that exists, with `values` for `columns`.
pub async fn insert_partial_row(client: &Client, job: &str, columns: &str, values: &str) {
    let statement = format!(
        "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, first_received_at, last_received_at, \
         fold_version, {columns}) SELECT source, resource, created_hour, job_id, created_at, created_at, created_at, 1, {values} \
         FROM job_facts WHERE job_id = '{job}'"
    );
    execute(client, &statement).await;
}

#[tokio::test]
async fn the_roll_up_equals_the_facts_to_the_last_digit() {
    let servers = migrated("rollup").await;
    let client = servers.clickhouse.client().unwrap();
    let refresh = async || execute(&client, &refresh_statement(&HOURS)).await;
    let differences = async || number(&client, DIFFERENCES).await;
    execute(&client, JOBS).await;
    assert!(differences().await > 0, "a roll-up that was never filled must be seen");
    refresh().await;
    assert_eq!(differences().await, 0, "filled");
    assert!(number(&client, "SELECT count() FROM job_stats_by_minute WHERE errored > 0").await > 0);

    execute(&client, JOBS).await;
    refresh().await;
    refresh().await;
    assert_eq!(differences().await, 0, "duplicates and a repeated refresh");

    insert_partial_row(&client, "j9", "completed_at", "errored_at + toIntervalMinute(3)").await;
    assert!(differences().await > 0, "a stale roll-up must be seen");
    refresh().await;
    assert_eq!(differences().await, 0, "an errored job turned out completed");

    insert_partial_row(&client, "j17", "completed_at", "created_at + toIntervalHour(20)").await;
    tokio::join!(refresh(), refresh());
    assert_eq!(differences().await, 0, "a late event, and two refreshers at once");

    execute(&client, "DELETE FROM jobs WHERE resource = 'audio' SETTINGS lightweight_deletes_sync = 2").await;
    assert!(differences().await > 0, "an emptied group must be seen");
    refresh().await;
    assert_eq!(differences().await, 0, "emptied groups");
    execute(&client, "OPTIMIZE TABLE job_stats FINAL").await;
    assert_eq!(differences().await, 0, "merged");
    execute(&client, &refresh_statement(&[])).await;
    assert_eq!(differences().await, 0, "no hour at all");
}

#[tokio::test]
async fn a_refresh_counts_from_before_it_looked() {
    let servers = migrated("rollup_version").await;
    let client = servers.clickhouse.client().unwrap();
    execute(&client, JOBS).await;
    let slow = client.clone().with_setting("merge_tree_storage_snapshot_sleep_ms", "1500");
    let before = number(&client, "SELECT toUInt64(toUnixTimestamp64Milli(now64(3)))").await;
    slow.query_raw(&refresh_statement(&HOURS)).execute().await.unwrap();
    let version =
        number(&client, "SELECT toUInt64(intDiv(bitShiftRight(max(version), 64), 1000000)) FROM job_stats").await;
    let after = number(&client, "SELECT toUInt64(toUnixTimestamp64Milli(now64(3)))").await;
    assert!(after - before >= 1_500, "the snapshot was not delayed");
    assert!(version - before < 1_500, "the version was taken after the first snapshot: {} ms late", version - before);
}

#[tokio::test]
async fn views_have_the_promised_types() {
    let servers = migrated("types").await;
    let client = servers.clickhouse.client().unwrap();
    let state = "AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64)";
    let expected = format!(
        "created_hour DateTime('UTC'), minute DateTime('UTC'), source String, resource String, job_type String, error_code \
         String, completed UInt64, errored UInt64, total_max Nullable(Float64), run_max Nullable(Float64), queue_max \
         Nullable(Float64), total_state {state}, run_state {state}, queue_state {state}"
    );
    let columns = "SELECT arrayStringConcat(groupArray(concat(name, ' ', type)), ', ') FROM (SELECT name, type FROM \
                   system.columns WHERE database = currentDatabase() AND table = 'job_stats_by_minute' ORDER BY position)";
    assert_eq!(client.query_raw(columns).fetch_one::<String>().await.unwrap(), expected);
}
