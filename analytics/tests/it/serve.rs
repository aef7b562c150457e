//! The API gives the numbers of the facts, as a user that may only read, and says what is wrong with a question.

use std::time::Duration;

use clickhouse::Client;
use hookline_analytics::config::AnalyticsConfig;
use hookline_analytics::query::Dimension;
use hookline_analytics::query::filter::Filter;
use hookline_analytics::query::finished::{Finished, Kind};
use hookline_analytics::query::range::Range;
use hookline_schemas::migrations::{MIGRATIONS, Migration};
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use hookline_testkit::{ClickHouseServer, Daemon, eventually, run_successfully, with};
use reqwest::header::HeaderValue;
use serde_json::Value;
use tokio::time::Instant;

use crate::execute;
use crate::rollup::{HOURS, JOBS};

/// Less than the 30 s after which ClickHouse would end a question by itself.
const DEADLINE: Duration = Duration::from_secs(20);

const WEBHOOK: &str = "INSERT INTO deliveries (log_id, topic, partition, offset, source, resource, action, job_id, created_at, signed_at, \
     signed_at_text, received_at, occurred_at, key_name, signature, body) SELECT 'c/t', 'hookline.video', 0, 9007199254740993, 's', \
     'video', 'started', job_id, created_at, created_at, '1', created_at + 1, created_at, 'k', 'SIGNATURE', 'BODY' FROM job_facts \
     WHERE job_id = {job:String}";

const RANGE: &str = "from=2026-11-01T00:07:00Z&to=2026-11-01T01:31:00Z";
/// The same beyond 2 hours, which the roll-up answers.
const LONG: &str = "from=2026-10-31T23:07:00Z&to=2026-11-01T01:31:00Z";

pub struct Api {
    pub server: ClickHouseServer,
    serve: Daemon,
    pub url: String,
}

impl Api {
    pub async fn start(more: &[(&str, &str)]) -> Self {
        let server = ClickHouseServer::start().await;
        let client = server.config().client().unwrap();
        for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
            execute(&client, statement).await;
        }
        execute(&client, JOBS).await;
        execute(&client, &refresh_statement(&HOURS)).await;
        let (serve, url) = serve(&server, more).await;
        Self { server, serve, url }
    }

    fn admin(&self) -> Client {
        self.server.config().client().unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}")))
    }

    pub async fn ok(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}\n{}", self.serve.log().join("\n"));
        body
    }
}

/// Starts the API on a server that has the tables, as its reader.
pub async fn serve(server: &ClickHouseServer, more: &[(&str, &str)]) -> (Daemon, String) {
    let config = server.config();
    let own = [
        ("CLICKHOUSE_URL", config.url.as_str()),
        ("CLICKHOUSE_DATABASE", config.database.as_str()),
        ("CLICKHOUSE_USER", "nobody"),
        ("CLICKHOUSE_READER_USER", "reader"),
        ("CLICKHOUSE_READER_PASSWORD", "test"),
        ("HOOKLINE_ANALYTICS__SERVE__LISTEN", "127.0.0.1:0"),
    ];
    let mut serve = Daemon::start("hookline-analytics", &["serve"], &with(&with(&[], &own), more));
    let url = format!("http://{}", serve.address("serve").await);
    (serve, url)
}

async fn text(client: &Client, question: &str) -> String {
    client.query_raw(question).fetch_one().await.unwrap_or_else(|error| panic!("{error}\n{question}"))
}

#[tokio::test]
async fn the_numbers_are_those_of_the_facts() {
    let api = Api::start(&[]).await;
    let client = api.admin();
    for (range, from, read_from) in [(RANGE, "2026-11-01 00:07:00", "facts"), (LONG, "2026-10-31 23:07:00", "rollup")] {
        let within = format!("outcome != 'open' AND finished_at >= '{from}' AND finished_at < '2026-11-01 01:31:00'");
        let summary = api.ok(&format!("/api/v1/summary?{range}")).await;
        assert_eq!(summary["read_from"], read_from);
        let expected = text(
            &client,
            &format!(
                "SELECT concat(toString(countIf(outcome = 'completed')), ' ', toString(countIf(outcome = 'errored')), ' ', \
                 toString(count(total_seconds)), ' ', toString(assumeNotNull(max(total_seconds))), ' ', \
                 toString(least(quantilesDD(0.01, 0.95)(assumeNotNull(total_seconds))[1], assumeNotNull(max(total_seconds))))) \
                 FROM job_facts WHERE {within}"
            ),
        )
        .await;
        let jobs = &summary["jobs"];
        let found = format!(
            "{} {} {} {} {}",
            jobs["completed"], jobs["errored"], jobs["total"]["jobs"], jobs["total"]["max"], jobs["total"]["p95"]
        );
        assert_eq!(found, expected, "{range}");

        let series = api.ok(&format!("/api/v1/series?{range}&step=5m&by=resource&by=error_code")).await;
        let rows: Vec<_> = series["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let word = |name: &str| row[name].as_str().unwrap().to_owned();
                format!(
                    "{} {} {} {} {}",
                    word("at"),
                    word("resource"),
                    word("error_code"),
                    row["completed"],
                    row["errored"]
                )
            })
            .collect();
        let question = format!(
            "SELECT concat(formatDateTime(at, '%Y-%m-%dT%H:%i:%SZ'), ' ', resource, ' ', code, ' ', toString(completed), ' ', \
             toString(errored)) FROM (SELECT toStartOfInterval(assumeNotNull(finished_at), INTERVAL 5 MINUTE) AS at, resource, \
             if(outcome = 'errored', error_code, '') AS code, countIf(outcome = 'completed') AS completed, \
             countIf(outcome = 'errored') AS errored FROM job_facts WHERE {within} GROUP BY at, resource, code \
             ORDER BY at, resource, code)"
        );
        assert_eq!(rows, client.query_raw(&question).fetch_all::<String>().await.unwrap(), "{range}");

        let errors = api.ok(&format!("/api/v1/errors?{range}&limit=500")).await;
        let errored: u64 = errors["rows"].as_array().unwrap().iter().map(|row| row["errored"].as_u64().unwrap()).sum();
        assert_eq!(
            errored.to_string(),
            text(&client, &format!("SELECT toString(countIf(outcome = 'errored')) FROM job_facts WHERE {within}"))
                .await
        );
        assert!(
            errors["rows"].as_array().unwrap().iter().all(|row| !row["examples"].as_array().unwrap().is_empty()),
            "{errors}"
        );
        let durations = api.ok(&format!("/api/v1/durations?{range}&resource=video&resource=audio&kind=run")).await;
        assert!(
            durations["rows"][0]["run"]["p50"].is_f64() && durations["rows"][0].get("total").is_none(),
            "{durations}"
        );
    }
}

#[tokio::test]
async fn every_page_once_and_every_question_answered() {
    let api = Api::start(&[]).await;
    let client = api.admin();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page =
            api.ok(&format!("/api/v1/jobs?{RANGE}&time=finished&source=s&error_code=code_1&limit=100{cursor}")).await;
        seen.extend(page["rows"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        let (status, problem) = api.get(&format!("/api/v1/jobs?{RANGE}&time=finished&source=s&cursor={next}")).await;
        assert_eq!((status, &problem["parameter"]), (400, &"cursor".into()), "a cursor of other filters");
        cursor = format!("&cursor={next}");
    }
    let all = text(
        &client,
        "SELECT toString(count()) FROM job_facts WHERE outcome = 'errored' AND error_code = 'code_1' AND \
         finished_at >= '2026-11-01 00:07:00' AND finished_at < '2026-11-01 01:31:00'",
    )
    .await;
    assert_eq!(seen.len().to_string(), all);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len().to_string(), all, "no job on two pages");

    // An odd id, in two sources, with more credits than a double holds.
    let odd = "a/b?c=%20'\\\"\t\nΩ";
    let insert = |source: &str| {
        format!(
            "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, credits_estimated, first_received_at, \
         last_received_at, fold_version) SELECT '{source}', 'video', toStartOfHour(now()), {{id:String}}, now64(3), \
         9007199254740993, now64(3), now64(3), 1"
        )
    };
    for source in ["one", "two"] {
        client.query_raw(&insert(source)).param("id", odd).execute().await.unwrap();
    }
    client.query_raw(WEBHOOK).param("job", odd).execute().await.unwrap();
    let encoded: String = odd.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let job = api.ok(&format!("/api/v1/jobs/{encoded}")).await;
    let jobs = job["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 2, "{job}");
    assert!(jobs.iter().all(|job| job["job_id"] == odd && job["credits_estimated"] == "9007199254740993"), "{job}");
    assert_eq!(job["deliveries"][0]["offset"], "9007199254740993", "{job}");
    assert!(!job.to_string().contains("BODY") && !job.to_string().contains("SIGNATURE"), "{job}");
    assert_eq!(api.get("/api/v1/jobs/nobody").await.0, 404);

    for path in ["credits?by=resource&", "distribution?", "distribution?step=30m&kind=queue&", "dead-letters?"] {
        for range in [RANGE, LONG, "from=2026-09-01T00:00:00Z&to=2026-11-02T00:00:00Z&step=1d"] {
            if path.starts_with("dead") && range.contains("step") || path.contains("step") && range.contains("step") {
                continue;
            }
            api.ok(&format!("/api/v1/{path}{range}")).await;
        }
    }
    assert!(!api.ok(&format!("/api/v1/credits?{RANGE}")).await["rows"].as_array().unwrap().is_empty());
    let binned = async |range: &str| {
        let bins = api.ok(&format!("/api/v1/distribution?{range}")).await;
        bins["rows"].as_array().unwrap().iter().map(|bin| bin["jobs"].as_f64().unwrap()).sum::<f64>()
    };
    let (exact, estimated) =
        (binned(RANGE).await, binned("from=2026-10-31T00:07:00Z&to=2026-11-01T01:31:00Z&step=1m").await);
    assert!(exact > 1_000.0 && (estimated - exact) / exact < 0.2 && estimated > exact, "{exact} {estimated}");
    for (from, counted) in [("-24h", true), ("-25h", false)] {
        let contradictions = &api.ok(&format!("/api/v1/summary?from={from}")).await["contradictions"];
        assert_eq!(contradictions.is_object(), counted, "{from}: {contradictions}");
    }
    api.ok("/api/v1/delays").await;
    api.ok("/api/v1/pipeline").await;
    for state in ["open", "stuck", "unresolved"] {
        api.ok(&format!("/api/v1/jobs?state={state}")).await;
    }
    for order in ["total", "run", "queue"] {
        api.ok(&format!("/api/v1/jobs?{RANGE}&time=finished&order={order}&limit=3")).await;
    }
}

#[tokio::test]
async fn the_reader_asks_every_view_and_sees_no_body() {
    let api = Api::start(&[]).await;
    let reader = api.server.reader().client().unwrap();
    let names = "SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name";
    let names = api.admin().query(names).fetch_all::<String>().await.unwrap();
    assert!(names.len() >= 14, "{names:?}");
    for name in names {
        let parameters = match name.as_str() {
            "error_rates" | "job_durations" => "(from = now() - 3600, to = now(), step = 60)",
            _ => "",
        };
        let columns = if matches!(name.as_str(), "deliveries" | "dead_letters") { "job_id" } else { "*" };
        let question = format!("SELECT toString(count()) FROM (SELECT {columns} FROM {name}{parameters})");
        text(&reader, &question).await;
    }
    for (forbidden, code) in [
        ("SELECT toString(any(body)) FROM deliveries", "Code: 497"),
        ("SELECT toString(any(signature)) FROM deliveries", "Code: 497"),
        ("SELECT toString(any(body)) FROM dead_letters", "Code: 497"),
        ("SELECT toString(any(signature)) FROM dead_letters", "Code: 497"),
        ("SELECT '' SETTINGS max_memory_usage = 0", "Code: 164"),
        ("SELECT '' SETTINGS max_execution_time = 60", "Code: 452"),
        ("INSERT INTO jobs (source) SELECT 's'", "Code: 497"),
    ] {
        let error = reader.query_raw(forbidden).fetch_one::<String>().await.unwrap_err().to_string();
        assert!(error.contains(code), "{forbidden}: {error}");
    }
    assert_eq!(text(&reader, "SELECT 'shorter' SETTINGS max_execution_time = 5").await, "shorter");
}

#[tokio::test]
async fn a_question_whose_client_goes_away_ends_in_clickhouse() {
    let server = ClickHouseServer::start().await;
    let ask = || {
        let reader = server.reader().client().unwrap().with_setting("max_execution_time", "30");
        tokio::spawn(async move {
            text(&reader, "SELECT toString(sum(cityHash64(number))) FROM numbers(1000000000000)").await
        })
    };
    let admin = server.config().client().unwrap();
    let running = async |wanted: &str| {
        let query = "SELECT toString(count()) FROM system.processes WHERE user = 'reader'";
        eventually("the questions that run", DEADLINE, async || (text(&admin, query).await == wanted).then_some(()))
            .await;
    };
    let (gone, stays) = (ask(), ask());
    running("2").await;
    gone.abort();
    // The control is the other one, which goes on.
    running("1").await;
    assert!(!stays.is_finished());
    stays.abort();
    running("0").await;
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let api = Api::start(&[]).await;
    for (path, parameter) in [
        ("/api/v1/series?from=yesterday", "from"),
        ("/api/v1/series?to=2026-13-01T00:00:00Z", "to"),
        ("/api/v1/series?from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "from"),
        ("/api/v1/series?from=1960-11-02T00:00:00Z", "from"),
        ("/api/v1/series?step=30s", "step"),
        ("/api/v1/series?step=now", "step"),
        ("/api/v1/series?from=-365d&step=1m", "step"),
        ("/api/v1/series?by=colour", "by"),
        ("/api/v1/series?kind=all", "kind"),
        ("/api/v1/series?outcome=lost", "outcome"),
        ("/api/v1/series?compare=0s", "compare"),
        ("/api/v1/series?compare=99999d", "compare"),
        ("/api/v1/series?colour=red", "colour"),
        ("/api/v1/series?step=1h&step=2h", "step"),
        ("/api/v1/jobs?limit=0", "limit"),
        ("/api/v1/jobs?limit=501", "limit"),
        ("/api/v1/jobs?cursor=x", "cursor"),
        ("/api/v1/jobs?state=lost", "state"),
        ("/api/v1/jobs?order=oldest", "order"),
        ("/api/v1/jobs?state=open&time=finished", "time"),
        ("/api/v1/delays?from=-8d", "from"),
        ("/api/v1/dead-letters?job_type=x", "job_type"),
        ("/api/v1/pipeline?from=-1h", "from"),
    ] {
        let (status, problem) = api.get(path).await;
        assert_eq!(
            (status, &problem["status"], &problem["parameter"]),
            (400, &400.into(), &parameter.into()),
            "{path}: {problem}"
        );
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    }
    assert_eq!(api.get("/api/v2").await.0, 404);
    let client = reqwest::Client::new();
    let url = format!("{}/api/v1/series?{RANGE}", api.url);
    assert_eq!(client.post(&url).send().await.unwrap().status(), 405);
    assert_eq!(client.get(&url).header("accept", "image/png").send().await.unwrap().status(), 406);
    assert_eq!(client.get(&url).header("host", "evil.example").send().await.unwrap().status(), 421);
    let csv = client.get(&url).header("accept", "text/csv").send().await.unwrap();
    assert!(csv.text().await.unwrap().starts_with("at,"), "a table");
    let first = client.get(&url).send().await.unwrap();
    let tag = first.headers()["etag"].clone();
    assert_eq!(first.headers()["x-content-type-options"], "nosniff");
    assert!(first.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    assert_eq!(client.get(&url).header("if-none-match", tag).send().await.unwrap().status(), 304);
}

/// The charts of a page that viewers leave open.
const CHARTS: [&str; 2] = ["summary?from=-24h", "series?from=-24h&step=15m&by=resource"];
const POLL_INTERVAL: Duration = Duration::from_secs(5);
const POLLS: u64 = 3;
/// Viewers do not ask in step: whoever does, waits for one answer in any case.
const OFFSET: Duration = Duration::from_millis(90);

/// Asks for all charts at every interval, the first time after `offset`, with the tags of the answers before; gives the statuses.
async fn look(url: String, offset: Duration) -> Vec<u16> {
    let client = reqwest::Client::new();
    let mut tags = CHARTS.map(|_| HeaderValue::from_static("none"));
    let mut statuses = Vec::new();
    let mut ticks = tokio::time::interval_at(Instant::now() + offset, POLL_INTERVAL);
    for _ in 0..POLLS {
        ticks.tick().await;
        for (chart, tag) in CHARTS.iter().zip(&mut tags) {
            let request = client.get(format!("{url}/api/v1/{chart}")).header("if-none-match", tag.clone());
            let answer = request.send().await.unwrap();
            statuses.push(answer.status().as_u16());
            *tag = answer.headers()["etag"].clone();
        }
    }
    statuses
}

#[tokio::test]
async fn fifty_viewers_cost_clickhouse_no_more_than_two() {
    let mut api = Api::start(&[]).await;
    let admin = api.admin();
    // By ClickHouse's own count, which has the questions whether it can be asked, too: one in 5 s.
    let asked = async || {
        let count =
            "SELECT toString(ProfileEvents['InitialSelectQuery']) FROM system.user_processes WHERE user = 'reader'";
        text(&admin, count).await.parse::<u64>().unwrap()
    };
    api.ok("/api/v1/series?from=-24h&resource=none").await;
    let before = asked().await;
    for chart in CHARTS {
        api.ok(&format!("/api/v1/{chart}&resource=audio")).await;
    }
    let one_poll = asked().await - before;

    let before = asked().await;
    let viewers: Vec<_> = (0..50).map(|number| tokio::spawn(look(api.url.clone(), OFFSET * number))).collect();
    let mut statuses = Vec::new();
    for viewer in viewers {
        statuses.extend(viewer.await.unwrap());
    }
    let cost = asked().await - before;
    assert!(statuses.iter().all(|status| matches!(status, 200 | 304)) && statuses.contains(&304), "{statuses:?}");
    assert!(
        (one_poll..=2 * POLLS * one_poll).contains(&cost),
        "{cost} questions of 50 viewers, {one_poll} of one poll"
    );

    // The control: fifty who ask otherwise cost fifty.
    let before = asked().await;
    for number in 0..50 {
        api.ok(&format!("/api/v1/series?from=-24h&job_type={number}")).await;
    }
    assert!(asked().await - before >= 50);
    assert!(api.serve.terminate().await.success());
}

#[tokio::test]
async fn the_reader_reads_a_month_of_the_roll_up_in_two_threads() {
    let server = ClickHouseServer::start().await;
    let admin = server.config().client().unwrap();
    for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
        execute(&admin, statement).await;
    }
    let jobs = "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, job_type, completed_at, first_received_at, \
                last_received_at, fold_version) SELECT 's', ['video', 'image', 'audio'][number % 3 + 1], hour, toString(number), \
                hour, 't', hour + 60, hour, hour, 1 FROM (SELECT number, toDateTime('2026-11-01 00:00:00', 'UTC') + \
                INTERVAL intDiv(number, 3) HOUR AS hour FROM numbers(2160))";
    execute(&admin, jobs).await;
    let month = Range::new(HOURS[0].0, HOURS[0].0 + 30 * 86_400).unwrap();
    let hours: Vec<_> = (0..720).map(|hour| CreatedHour(HOURS[0].0 + hour * 3_600)).collect();
    execute(&admin, &refresh_statement(&hours)).await;
    execute(&admin, "OPTIMIZE TABLE job_stats FINAL").await;
    let (by, kinds) = (vec![Dimension::Resource], vec![Kind::Total]);
    let question = Finished { range: month, filter: Filter::default(), by, step: None, kinds, read_from: None };
    let threads = async |client: Client| {
        let plan = format!("EXPLAIN PIPELINE {}", question.statement().sql);
        let plan = client.query_raw(&plan).fetch_all::<String>().await.unwrap();
        let reading = plan.iter().find(|line| line.contains("MergeTreeSelect")).unwrap_or_else(|| panic!("{plan:#?}"));
        if reading.contains("× 2") { 2 } else { 1 }
    };
    assert_eq!(threads(server.reader().client().unwrap()).await, 2);
    // The control: without its profile ClickHouse takes the rows of a month for few.
    assert_eq!(threads(admin.with_setting("max_threads", "2")).await, 1);
}

#[tokio::test]
async fn the_reader_of_the_local_stack_has_the_profile_of_print_grants() {
    let server = ClickHouseServer::start().await;
    let printed = run_successfully("hookline-analytics", &["migrate", "--print-grants"], &[]).await;
    let printed = String::from_utf8(printed).unwrap();
    let profile = printed.split_once("hookline_reader SETTINGS ").unwrap().1.split_once(';').unwrap().0;
    let reader = server.reader().client().unwrap();
    let mut compared = 0;
    for setting in profile.split(", ") {
        let (name, value) = setting.split_once(" = ").unwrap();
        let value = value.split(' ').next().unwrap();
        let found = text(&reader, &format!("SELECT value FROM system.settings WHERE name = '{name}'")).await;
        assert_eq!(found, value, "{name}");
        compared += 1;
    }
    assert!(compared >= 8, "{profile}");
}

#[tokio::test]
async fn a_token_is_asked_for_and_health_is_not() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "t0ken\n").unwrap();
    let api = Api::start(&[
        ("HOOKLINE_ANALYTICS__SERVE__BEARER_TOKEN_FILE", file.path().to_str().unwrap()),
        ("HOOKLINE_ANALYTICS__SERVE__BASE_PATH", "/hookline"),
    ])
    .await;
    let client = reqwest::Client::new();
    let status = async |path: &str, token: &str| {
        let request = client.get(format!("{}{path}", api.url)).header("authorization", token);
        request.send().await.unwrap().status().as_u16()
    };
    for path in ["/hookline/api/v1/summary", "/hookline/metrics", "/hookline/openapi.json"] {
        assert_eq!((status(path, "Bearer wrong").await, status(path, "Bearer t0ken").await), (401, 200), "{path}");
    }
    assert_eq!(status("/hookline/health/live", "").await, 200);
    assert_eq!(status("/health/live", "Bearer t0ken").await, 404);
    assert_eq!(status("/api/v1/health/x", "").await, 401, "only the paths of health are open");
    let refused = AnalyticsConfig {
        serve: hookline_analytics::config::ServeConfig { listen: ([0, 0, 0, 0], 0).into(), ..Default::default() },
        ..Default::default()
    };
    assert!(refused.serve.check().unwrap_err().to_string().starts_with("serve.listen"));
}

/// Runs schemathesis against the API, bounded in examples and in time.
fn schemathesis(document: &str, url: &str, paths: &str) -> std::process::Output {
    let python = std::env::var("HOOKLINE_PYTHON").unwrap();
    std::process::Command::new(python)
        .args(["-m", "schemathesis.cli", "run", document, "--url", url, "--seed", "1", "--max-examples", "5"])
        .args(["--include-path-regex", paths])
        .args(["--phases", "examples,coverage,fuzzing", "--warnings", "off", "--checks", "all"])
        // A time or a cursor is any text to the document: what is wrong with one is said by a 400.
        .args(["--exclude-checks", "positive_data_acceptance,unsupported_method"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_the_document_says() {
    let api = Api::start(&[]).await;
    let document = "../../docs/openapi-analytics.json";
    let output = schemathesis(document, &api.url, "");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("No issues found"), "{stdout}\n{}", api.serve.log().join("\n"));

    // The control: a document with another type for the same member must be found wrong.
    let wrong = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    let document = include_str!("../../../docs/openapi-analytics.json");
    let mut document: Value = serde_json::from_str(document).unwrap();
    document["components"]["schemas"]["Summary"]["properties"]["jobs"] = serde_json::json!({ "type": "integer" });
    std::fs::write(wrong.path(), document.to_string()).unwrap();
    let output = schemathesis(wrong.path().to_str().unwrap(), &api.url, "summary");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Response violates schema"), "it agrees with anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_documentation_asks_is_answered() {
    let api = Api::start(&[]).await;
    let examples = include_str!("../../../docs/api.md").lines().filter(|line| line.starts_with("curl "));
    let mut asked = 0;
    for example in examples {
        let output = std::process::Command::new("sh")
            .args(["-c", example])
            .envs([("HOOKLINE_ANALYTICS_URL", api.url.as_str()), ("JOB_ID", "j1")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
        asked += 1;
    }
    assert!(asked >= 14, "{asked}");
}
