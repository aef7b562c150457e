//! A report that reads the facts and one that reads the roll-up have the same numbers, to the last digit, and these are the API's.

use clap::Parser as _;
use hookline_analytics::config::AnalyticsConfig;
use hookline_analytics::report::{ReadFrom, Report, ReportArgs, ask};
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use hookline_testkit::Daemon;
use serde_json::{Value, json};

use crate::rollup::{HOURS, JOBS, insert_partial_row};
use crate::serve::Api;
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
const DIMENSIONS: [&str; 5] = ["", "--by source", "--by code", "--by resource,code", "--by source,resource,type,code"];
const FILTERS: [&str; 5] = [
    "",
    "--source s",
    "--resource audio --resource image",
    "--source other --resource video --compare -1h",
    "--source nobody",
];

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    report: ReportArgs,
}

async fn report(config: &AnalyticsConfig, arguments: &str) -> Report {
    let arguments = Cli::parse_from(["report", "--json"].into_iter().chain(arguments.split_whitespace())).report;
    ask(config, &arguments, 60).await.unwrap()
}

/// The JSON that is printed, without the lines that say when and what was read.
async fn printed(config: &AnalyticsConfig, read_from: &str, arguments: &str) -> Value {
    let report = report(config, &format!("--read-from {read_from} {arguments}")).await;
    let mut json = serde_json::to_value(report).unwrap();
    let object = json.as_object_mut().unwrap();
    assert_eq!(object.remove("read_from"), Some(read_from.into()));
    object.remove("as_of").unwrap();
    // How old the oldest open job is depends on when that was asked.
    for count in json["summary"]["open"].as_array_mut().unwrap() {
        count["oldest_seconds"].take();
    }
    json
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
    // Every two of a range, a grouping and a filter meet once.
    for (at, range) in RANGES.into_iter().enumerate() {
        for (by, filter) in DIMENSIONS.into_iter().zip(FILTERS.into_iter().cycle().skip(at)) {
            let arguments = format!("{range} {by} {filter}");
            let facts = printed(&config, "facts", &arguments).await;
            assert_eq!(facts, printed(&config, "rollup", &arguments).await, "{arguments}");
            empty += usize::from(facts["durations"]["rows"] == json!([]));
        }
    }
    let combinations = RANGES.len() * DIMENSIONS.len();
    assert!(empty < combinations / 2, "{empty} of {combinations} reports are empty");

    for read_from in ["facts", "rollup"] {
        let of = async |arguments: &str| {
            let report = report(&config, &format!("--read-from {read_from} {arguments}")).await;
            serde_json::to_value(report.durations.rows).unwrap().as_array().unwrap().clone()
        };
        let long = of(&format!("--by type {}", RANGES[0])).await;
        let long: Vec<_> = long.iter().filter(|group| group["job_type"] == "LONG").collect();
        assert!(matches!(&*long, [group] if group["completed"] == 3), "{read_from}: {long:?}");
        let all = of(&format!("{} --by code", RANGES[3])).await;
        assert!(all.iter().any(|group| group["errored"] != 0), "{read_from}: {all:?}");
        assert!(
            all.iter().all(|group| (group["completed"] != 0) == (group["error_code"] == "")),
            "{read_from}: {all:?}"
        );
    }

    // Negative control: a roll-up that is not refreshed gives other numbers.
    insert_partial_row(&client, "j18", "completed_at", "errored_at + toIntervalMinute(3)").await;
    assert_ne!(printed(&config, "facts", RANGES[3]).await, printed(&config, "rollup", RANGES[3]).await);
}

#[tokio::test]
async fn long_ranges_are_read_from_the_roll_up() {
    let servers = migrated("report_view").await;
    let config = config(&servers);
    for (range, read_from) in [
        ("--from 2026-11-01T00:00:00Z --to 2026-11-01T02:00:00Z", ReadFrom::Facts),
        ("--from 2026-11-01T00:00:00Z --to 2026-11-01T02:01:01Z", ReadFrom::Rollup),
        ("--last 1h", ReadFrom::Facts),
        ("--last 2h", ReadFrom::Facts),
        ("--last 7d", ReadFrom::Rollup),
        ("--last 7d --outcome errored", ReadFrom::Facts),
        ("--last 7d --read-from facts", ReadFrom::Facts),
        ("--last 1h --read-from rollup", ReadFrom::Rollup),
    ] {
        assert_eq!(report(&config, range).await.read_from, read_from, "{range}");
    }
}

/// What the program prints to a pipe, its exit code, and what it says about a failure.
fn run(api: &Api, arguments: &str) -> (Option<i32>, String, String) {
    // A user without a right to change anything, or to read bodies, is enough.
    let config = api.server.reader();
    let output = std::process::Command::new(Daemon::binary("hookline-analytics"))
        .arg("report")
        .args(arguments.split_whitespace())
        .env("CLICKHOUSE_URL", config.url)
        .env("CLICKHOUSE_DATABASE", config.database)
        .env("CLICKHOUSE_USER", config.user)
        .env("CLICKHOUSE_PASSWORD", "test")
        .env_remove("COLUMNS")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const TYPES: &str = "--job-type TYPE_1 --job-type TYPE_2";

/// Rows by what they are of, since a report has those with the most jobs first and the API goes by name.
fn sorted(rows: &Value) -> Vec<String> {
    let mut rows: Vec<_> = rows.as_array().unwrap().iter().map(Value::to_string).collect();
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn the_printed_numbers_are_those_of_the_api() {
    let api = Api::start(&[]).await;
    let (from, to) = ("2026-11-01T00:07:00Z", "2026-11-01T01:31:00Z");
    let (code, printed, error) =
        run(&api, &format!("--json --from {from} --to {to} --by type,code --resource video --resource image {TYPES}"));
    assert_eq!(code, Some(0), "{error}");
    let report: Value = serde_json::from_str(&printed).unwrap();
    let question = format!("from={from}&to={to}&resource=video&resource=image&job_type=TYPE_1&job_type=TYPE_2");

    let summary = api.ok(&format!("/api/v1/summary?{question}")).await;
    assert_eq!(report["summary"]["jobs"], summary["jobs"]);
    assert_eq!(report["range"], summary["range"]);
    let durations = api.ok(&format!("/api/v1/durations?{question}&by=job_type&by=error_code")).await;
    assert!(durations["rows"].as_array().is_some_and(|rows| rows.len() > 1), "{durations}");
    assert_eq!(sorted(&report["durations"]["rows"]), sorted(&durations["rows"]));
    assert_eq!(report["durations"]["by"], json!(["job_type", "error_code"]));
    let errors = api.ok(&format!("/api/v1/errors?{question}&limit=500")).await;
    assert!(errors["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{errors}");
    assert_eq!(report["errors"]["rows"], errors["rows"]);
    assert_eq!(report["errors"]["groups"], errors["groups"]);
    let series = api.ok(&format!("/api/v1/series?{question}&step={}s", report["series"]["step"])).await;
    assert!(series["rows"].as_array().is_some_and(|rows| rows.len() > 1), "{series}");
    assert_eq!(report["series"]["rows"], series["rows"]);
    // Negative control: another range has other numbers.
    let other = api.ok(&format!("/api/v1/summary?from={from}&to=2026-11-01T01:00:00Z")).await;
    assert_ne!(report["summary"]["jobs"], other["jobs"]);

    let csv = reqwest::Client::new()
        .get(format!("{}/api/v1/errors?{question}&limit=500", api.url))
        .header("accept", "text/csv");
    let csv = csv.send().await.unwrap().text().await.unwrap();
    let arguments = format!("--csv=errors --from {from} --to {to} --resource video --resource image {TYPES}");
    assert_eq!(run(&api, &arguments), (Some(0), csv, String::new()));

    let (code, text, error) = run(&api, &format!("--from {from} --to {to} --compare -1h"));
    assert_eq!(code, Some(0), "{error}");
    let of_all = api.ok(&format!("/api/v1/summary?from={from}&to={to}")).await;
    let jobs = &of_all["jobs"];
    let text = text.replace(',', "");
    assert!(text.contains(&format!("{} completed  {} errored", jobs["completed"], jobs["errored"])), "{text}");
    assert!(text.contains(&format!(" {:.1}", jobs["total"]["p95"].as_f64().unwrap())), "{text}");

    let (code, text, error) = run(&api, "--watch");
    assert_eq!((code, &*text), (Some(2), ""), "{error}");
    assert!(error.contains("--watch redraws a terminal, and standard output is none"), "{error}");
    let (code, _, error) = run(&api, "--from now --to -1h");
    assert!(code == Some(2) && error.contains("change --from, --to or --last"), "{error}");
    let (code, text, error) = run(&api, "--from 2020-01-01T00:00:00Z --to 2020-01-02T00:00:00Z --source nobody");
    assert!(code == Some(0) && text.contains("No job finished.") && text.contains("Or leave out --source"), "{error}");
}
