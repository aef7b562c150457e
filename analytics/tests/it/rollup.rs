//! The roll-up holds what the facts come to, after every kind of refresh.

use clickhouse::Client;
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::rollup_range::RollupRange;
use hookline_schemas::sql::{QUANTILE_LEVELS, jobs_kept_since_view};
use hookline_schemas::time::CreatedHour;

use crate::{execute, migrated, number};

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

/// The views of the roll-up, the column of the time of the end, and how that follows from the time itself.
const VIEWS: [(&str, &str, &str); 2] =
    [("job_stats_by_minute", "minute", "toStartOfMinute"), ("job_stats_by_hour", "hour", "toStartOfHour")];

const NUMBERS: &str = "sum(completed), sum(errored), sum(total_jobs), sum(run_jobs), sum(queue_jobs), max(total_max), max(run_max), \
     max(queue_max)";

/// What the columns of the roll-up come to, one for each job.
const FACTS: &str = "SELECT finished_at AS ended, created_hour, source, resource, job_type, \
     if(outcome = 'errored', job_facts.error_code, '') AS error_code, outcome = 'completed' AS completed, outcome = 'errored' \
     AS errored, total_seconds IS NOT NULL AS total_jobs, run_seconds IS NOT NULL AS run_jobs, queue_seconds IS NOT NULL AS \
     queue_jobs, total_seconds AS total_max, run_seconds AS run_max, queue_seconds AS queue_max FROM job_facts \
     WHERE outcome != 'open'";

/// The quantiles of all kinds as text: every digit.
fn quantiles(from_states: bool) -> String {
    let of = |kind: &str| match from_states {
        true => format!("toString(quantilesDDMerge({QUANTILE_LEVELS})({kind}_state))"),
        false => {
            format!("toString(quantilesDDIf({QUANTILE_LEVELS})(assumeNotNull({kind}_max), {kind}_max IS NOT NULL))")
        }
    };
    ["total", "run", "queue"].map(of).join(", ")
}

/// Counts the rows that only the facts or only the roll-up have, over both views.
async fn differences(client: &Client) -> u64 {
    let mut found = 0;
    for (view, column, start_of) in VIEWS {
        let keys = "created_hour, source, resource, job_type, error_code";
        let question = format!(
            "SELECT count() FROM (SELECT *, count() AS sides FROM (
                SELECT {keys}, {start_of}(assumeNotNull(ended)) AS cell, {NUMBERS}, {facts} FROM ({FACTS}) GROUP BY cell, {keys}
                UNION ALL
                SELECT {keys}, {column}, {NUMBERS}, {states} FROM {view} GROUP BY {column}, {keys}
            ) GROUP BY ALL HAVING sides != 2)",
            facts = quantiles(false),
            states = quantiles(true),
        );
        found += number(client, &question).await;
    }
    found
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
    let differences = async || differences(&client).await;
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

/// Off the hour, on it, without a whole one, with one edge, and everything.
const RANGES: [(u32, u32); 6] = [(7, 151), (0, 120), (7, 52), (60, 119), (31, 120), (0, 3_000)];

#[tokio::test]
async fn hours_and_edges_are_the_facts_of_any_range_and_grouping() {
    let servers = migrated("rollup_range").await;
    let client = servers.clickhouse.client().unwrap();
    execute(&client, JOBS).await;
    insert_partial_row(&client, "j17", "completed_at", "created_at + toIntervalHour(20)").await;
    execute(&client, &refresh_statement(&HOURS)).await;
    let dimensions = ["source", "resource", "job_type", "error_code"];
    let columns = [
        &dimensions[..],
        &["completed", "errored", "total_jobs", "run_jobs", "queue_jobs", "total_max", "run_max", "queue_max"],
        &["total_state", "run_state", "queue_state"],
    ];
    let columns = columns.concat();
    let ask = async |keys: &str, rows: String, from_states: bool| {
        let quantiles = quantiles(from_states);
        let question = format!(
            "SELECT toString(({keys}, {NUMBERS}, {quantiles})) FROM ({rows}) GROUP BY ({keys}) HAVING count() > 0 ORDER BY 1"
        );
        let rows = client.query_raw(&question).fetch_all::<String>().await;
        rows.unwrap_or_else(|error| panic!("{error}\n{question}"))
    };
    for (from, to) in RANGES {
        let start = u32::try_from(HOURS[0].0).unwrap();
        let range = RollupRange { from: start + from * 60, to: start + to * 60 };
        let facts = format!(
            "{FACTS} AND finished_at >= toDateTime({}, 'UTC') AND finished_at < toDateTime({}, 'UTC')",
            range.from, range.to
        );
        for chosen in 0..16 {
            let mut keys: Vec<_> = (0..4).filter(|bit| chosen >> bit & 1 == 1).map(|bit| dimensions[bit]).collect();
            keys.push("'all'");
            let expected = ask(&keys.join(", "), facts.clone(), false).await;
            assert!(!expected.is_empty());
            for step in [None, Some(60)] {
                let found = ask(&keys.join(", "), range.rows(&columns, "", step), true).await;
                assert_eq!(found, expected, "{from} to {to} by {keys:?}, step {step:?}");
            }
        }
        for step in [60, 3_600, 7_200, 5_400] {
            let keys = format!("toStartOfInterval(assumeNotNull(ended), INTERVAL {step} SECOND, 'UTC')");
            let expected = ask(&format!("toUnixTimestamp({keys}), 'all'"), facts.clone(), false).await;
            let rows = range.rows(&columns, "", Some(step));
            assert_eq!(
                ask(&format!("toUnixTimestamp({keys}), 'all'"), rows, true).await,
                expected,
                "{from} to {to} by {step} s"
            );
        }
    }
}

/// Which bytes are read decides what a question costs: a view that unfolded whole cells would read every state to count.
#[tokio::test]
async fn to_count_reads_no_states() {
    let servers = migrated("rollup_bytes").await;
    let client = servers.clickhouse.client().unwrap();
    execute(&client, JOBS).await;
    execute(&client, &refresh_statement(&HOURS)).await;
    let start = u32::try_from(HOURS[0].0).unwrap();
    let rows = RollupRange { from: start, to: start + 4 * 3_600 + 60 };
    let read_bytes = async |question: String| {
        let mut rows = client.query_raw(&question).with_setting("wait_end_of_query", "1").fetch::<u64>().unwrap();
        while rows.next().await.unwrap().is_some() {}
        rows.summary().unwrap().read_bytes().unwrap()
    };
    let count = format!("SELECT sum(completed) FROM ({})", rows.rows(&["completed"], "", None));
    let merge = "toUInt64(quantilesDDMerge(0.01, 0.5)(total_state)[1])";
    let one = format!("SELECT {merge} FROM ({})", rows.rows(&["total_state"], "", None));
    let minutes = format!("SELECT {merge} FROM ({})", rows.rows(&["total_state"], "", Some(60)));
    let (count, one, minutes) = (read_bytes(count).await, read_bytes(one).await, read_bytes(minutes).await);
    assert!(count * 3 < one, "{count} bytes to count, {one} with a state");
    assert!(one * 3 < minutes, "{one} bytes from hours, {minutes} from minutes");
}

/// What expires goes part by part. A refresh that counted what is left would take jobs away from the roll-up.
#[tokio::test]
async fn an_hour_whose_jobs_may_have_expired_keeps_its_roll_up() {
    let servers = migrated("rollup_kept").await;
    let client = servers.clickhouse.client().unwrap();
    execute(&client, JOBS).await;
    execute(&client, &refresh_statement(&HOURS)).await;
    let counted = async || number(&client, "SELECT sum(completed + errored) FROM job_stats_by_hour").await;
    let all = counted().await;
    let expire =
        "DELETE FROM jobs WHERE created_hour = 1793491200 AND job_id < 'j5' SETTINGS lightweight_deletes_sync = 2";
    execute(&client, expire).await;

    execute(&client, &jobs_kept_since_view(None, HOURS[1])).await;
    execute(&client, &refresh_statement(&HOURS)).await;
    assert_eq!(counted().await, all, "the first hour is not looked at again");
    let late = "INSERT INTO jobs SELECT * REPLACE ('late' AS job_id) FROM jobs WHERE created_hour = 1793494800 \
                AND completed_at IS NOT NULL LIMIT 1";
    execute(&client, late).await;
    execute(&client, &refresh_statement(&HOURS)).await;
    assert_eq!(counted().await, all + 1, "the second one is");

    // Where nobody told of the TTL, jobs that expired are taken for gone.
    execute(&client, &jobs_kept_since_view(None, CreatedHour(0))).await;
    execute(&client, &refresh_statement(&HOURS)).await;
    assert!(counted().await < all, "the control");

    // With a TTL the view goes with the clock, and an hour counts as lost an hour or two before it expires.
    execute(&client, &jobs_kept_since_view(Some(30), CreatedHour(0))).await;
    let early = "SELECT toUInt64(dateDiff('second', now('UTC') - INTERVAL 30 DAY, created_hour)) FROM jobs_kept_since";
    let early = number(&client, early).await;
    assert!((3_600..=7_200).contains(&early), "{early} s");
}

#[tokio::test]
async fn views_have_the_promised_types() {
    let servers = migrated("types").await;
    let client = servers.clickhouse.client().unwrap();
    let state = "AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64)";
    for (view, column, _) in VIEWS {
        let expected = format!(
            "created_hour DateTime('UTC'), {column} DateTime('UTC'), source String, resource String, job_type String, \
             error_code String, completed UInt64, errored UInt64, total_jobs UInt64, run_jobs UInt64, queue_jobs UInt64, \
             total_max Nullable(Float64), run_max Nullable(Float64), queue_max Nullable(Float64), total_state {state}, \
             run_state {state}, queue_state {state}"
        );
        let columns = format!(
            "SELECT arrayStringConcat(groupArray(concat(name, ' ', type)), ', ') FROM (SELECT name, type FROM \
             system.columns WHERE database = currentDatabase() AND table = '{view}' ORDER BY position)"
        );
        assert_eq!(client.query_raw(&columns).fetch_one::<String>().await.unwrap(), expected);
    }
}
