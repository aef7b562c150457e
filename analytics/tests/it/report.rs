//! A report that reads the facts and one that reads the roll-up have the same numbers, to the last digit.

use clap::Parser as _;
use hookline_analytics::config::AnalyticsConfig;
use hookline_analytics::report::{ReadFrom, Report, ReportArgs, ask};
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;

use crate::rollup::{HOURS, JOBS, insert_partial_row};
use crate::{config, execute, migrated};

/// The same jobs once more, for another source.
const OTHER_SOURCE: &str =
    "INSERT INTO jobs SELECT * REPLACE ('other' AS source) FROM jobs WHERE cityHash64(job_id) % 3 = 0";

/// Jobs that took 7 days, 8 days, up to which a question to the facts looks back by itself, and an hour more.
const LONG: &str = "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, job_type, completed_at, \
     first_received_at, last_received_at, fold_version) SELECT 's', 'video', toStartOfHour(created), concat('long', \
     toString(hours)), created, 'LONG', toDateTime64('2026-11-01 00:00:01', 3, 'UTC'), created, created, 1 FROM (SELECT \
     arrayJoin([168, 192, 193]) AS hours, toDateTime64('2026-11-01 00:00:00', 3, 'UTC') - toIntervalHour(hours) AS created)";

const RANGES: [&str; 5] = [
    "--from 2026-11-01T00:00:00Z --to 2026-11-01T00:01:00Z",
    "--from 2026-11-01T00:00:01Z --to 2026-11-01T00:10:00Z",
    "--from 2026-11-01T00:07:13.5Z --to 2026-11-01T01:31:47Z",
    "--from 2026-10-30T00:00:00Z --to 2026-11-03T00:00:00Z",
    "--from 2020-01-01T00:00:00Z --to 2020-01-02T00:00:00Z",
];
const DIMENSIONS: [&str; 5] =
    ["", "--by source", "--by error-code", "--by resource,error-code", "--by source,resource,job-type,error-code"];
const FILTERS: [&str; 5] = ["", "--source s", "--resource audio", "--source other --resource video", "--source nobody"];

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    report: ReportArgs,
}

async fn report(config: &AnalyticsConfig, arguments: &str) -> Report {
    let arguments = Cli::parse_from(["report"].into_iter().chain(arguments.split_whitespace())).report;
    ask(config, arguments).await.unwrap()
}

/// The JSON that is printed, without the line that says what was read.
async fn printed(config: &AnalyticsConfig, basis: &str, arguments: &str) -> String {
    let mut json = report(config, &format!("--basis {basis} {arguments}")).await.json();
    assert_eq!(json.as_object_mut().unwrap().remove("basis"), Some(basis.into()));
    serde_json::to_string_pretty(&json).unwrap()
}

#[tokio::test]
async fn facts_and_roll_up_give_the_same_report() {
    let servers = migrated("report").await;
    let (client, config) = (servers.clickhouse.client().unwrap(), config(&servers));
    for statement in [JOBS, OTHER_SOURCE, LONG] {
        execute(&client, statement).await;
    }
    // A job that sent `errored` and then `completed`.
    insert_partial_row(&client, "j9", "completed_at", "errored_at + toIntervalMinute(3)").await;
    let ago = |hours: i64| CreatedHour(HOURS[0].0 - hours * 3_600);
    let hours = [HOURS[0], HOURS[1], ago(168), ago(192), ago(193)];
    execute(&client, &refresh_statement(&hours)).await;

    let mut empty = 0;
    for range in RANGES {
        for by in DIMENSIONS {
            for filter in FILTERS {
                let arguments = format!("{range} {by} {filter}");
                let facts = printed(&config, "facts", &arguments).await;
                assert_eq!(facts, printed(&config, "rollup", &arguments).await, "{arguments}");
                empty += usize::from(facts.contains("\"groups\": []"));
            }
        }
    }
    let combinations = RANGES.len() * DIMENSIONS.len() * FILTERS.len();
    assert!(empty < combinations / 2, "{empty} of {combinations} reports are empty");

    for basis in ["facts", "rollup"] {
        let of = async |arguments: &str| report(&config, &format!("--basis {basis} {} {arguments}", RANGES[0])).await;
        let long: Vec<_> =
            of("").await.durations.into_iter().filter(|group| group.job_type.as_deref() == Some("LONG")).collect();
        assert!(matches!(&*long, [group] if group.completed == 3), "{basis}: {long:?}");
        let all = report(&config, &format!("--basis {basis} {} --by error-code", RANGES[3])).await.durations;
        assert!(all.iter().any(|group| group.errored > 0), "{basis}: {all:?}");
        assert!(
            all.iter().all(|group| (group.completed > 0) == (group.error_code.as_deref() == Some(""))),
            "{basis}: {all:?}"
        );
    }

    // Negative control: a roll-up that is not refreshed gives other numbers.
    insert_partial_row(&client, "j18", "completed_at", "errored_at + toIntervalMinute(3)").await;
    assert_ne!(printed(&config, "facts", RANGES[3]).await, printed(&config, "rollup", RANGES[3]).await);
}

#[tokio::test]
async fn long_ranges_are_read_from_the_roll_up() {
    let servers = migrated("report_basis").await;
    let config = config(&servers);
    for (range, read_from) in [
        ("--from 2026-11-01T00:00:00Z --to 2026-11-01T02:00:00Z", ReadFrom::Facts),
        ("--from 2026-11-01T00:00:00Z --to 2026-11-01T02:00:01Z", ReadFrom::Rollup),
        ("--last 1h", ReadFrom::Facts),
        ("--last 7d", ReadFrom::Rollup),
        ("--last 7d --basis facts", ReadFrom::Facts),
        ("--last 1h --basis rollup", ReadFrom::Rollup),
    ] {
        assert_eq!(report(&config, range).await.read_from, read_from, "{range}");
    }
}
