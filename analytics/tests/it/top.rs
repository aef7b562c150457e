//! What `top` says is what the tables and the metrics have, and a terminal is left as it was.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser as _;
use hookline_analytics::config::{AdminUrls, AnalyticsConfig, PrometheusUrl};
use hookline_analytics::top::{Asking, TopArgs};
use hookline_testkit::{
    Daemon, Environment, PrometheusServer, Servers, Signal, eventually, run, run_successfully, with,
};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use serde_json::{Value, json};

use crate::pipeline::send;
use crate::{config, execute, migrated};

const DEADLINE: Duration = Duration::from_secs(60);

/// 300 jobs of the last minutes: two thirds are videos, one in five is open, of these half since two hours, and one in four errored.
const JOBS: &str = "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, job_type, completed_at, errored_at, error, \
     first_received_at, last_received_at, fold_version) \
     SELECT 's', if(number % 3 = 0, 'audio', 'video'), toStartOfHour(created), concat('j', toString(number)), created, 'T', \
     if(number % 5 = 0 OR number % 4 = 0, NULL, ended), if(number % 5 != 0 AND number % 4 = 0, ended, NULL), \
     if(number % 5 != 0 AND number % 4 = 0, 'code\\0why', ''), created, created, 1 FROM (SELECT number, \
     now64(3, 'UTC') - toIntervalSecond(if(number % 10 = 0, 7200, 60 + number)) AS created, \
     created + toIntervalMillisecond(1000 + number * 97 % 40000) AS ended FROM numbers(300))";

/// Dead letters whose reason a terminal would obey.
const DEAD_LETTERS: &str = "INSERT INTO dead_letters (log_id, topic, partition, offset, source, reason, received_at) \
     SELECT 'c/t', 'hookline.dead-letter', 0, number, 's', if(number < 2, '\\x1b[2J', 'stale'), now64(3, 'UTC') FROM numbers(5)";

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    top: TopArgs,
}

async fn filled(name: &str) -> Servers {
    let servers = migrated(name).await;
    let client = servers.clickhouse.client().unwrap();
    for statement in [JOBS, DEAD_LETTERS] {
        execute(&client, statement).await;
    }
    servers
}

/// An ingest, and the address of its listener for metrics.
async fn ingest(servers: &Servers) -> (Daemon, String, String) {
    let own = [
        ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
        ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0"),
        ("HOOKLINE_SOURCE", "test"),
        ("HOOKLINE_WEBHOOK_SECRET", "mhw_test_0123456789"),
    ];
    let mut ingest = Daemon::start("hookline-ingest", &[], &with(&servers.environment(), &own));
    let (webhooks, admin) = (ingest.address("server").await.to_string(), ingest.address("admin").await.to_string());
    (ingest, webhooks, format!("http://{admin}"))
}

fn environment(servers: &Servers, admin_urls: &str) -> Environment {
    with(&servers.environment(), &[("HOOKLINE_ANALYTICS__SERVE__ADMIN_URLS", admin_urls)])
}

#[tokio::test]
async fn once_says_what_the_tables_and_the_listeners_have() {
    let servers = filled("top").await;
    let client = servers.clickhouse.client().unwrap();
    let (_ingest, _, admin) = ingest(&servers).await;
    let environment = environment(&servers, &admin);
    let once = ["top", "--once", "--interval", "1s", "--last", "30m"];
    let printed = run_successfully("hookline-analytics", &[&once[..], &["--json"]].concat(), &environment).await;
    let overview: Value = serde_json::from_slice(&printed).unwrap();

    let tables = &overview["tables"];
    let question = "SELECT concat(toString(countIf(outcome = 'completed')), ' ', toString(countIf(outcome = 'errored')), ' ', \
         toString(assumeNotNull(max(total_seconds)))) FROM job_facts WHERE outcome != 'open'";
    let expected: String = client.query(question).fetch_one().await.unwrap();
    let jobs = &tables["jobs"];
    assert_eq!(format!("{} {} {}", jobs["completed"], jobs["errored"], jobs["total"]["max"]), expected);
    let resources: Vec<_> =
        tables["resources"].as_array().unwrap().iter().map(|group| group["resource"].clone()).collect();
    assert_eq!(resources, ["audio", "video"]);
    for state in ["open", "stuck"] {
        let question = format!("SELECT count() FROM {state}_jobs");
        let expected: u64 = client.query(&question).fetch_one().await.unwrap();
        let counts = tables["open"].as_array().unwrap().iter().filter(|count| count["state"] == state);
        let found: u64 = counts.map(|count| count["jobs"].as_u64().unwrap()).sum();
        assert_eq!((found, found > 0), (expected, true), "{state}: {tables}");
    }
    let letters: Vec<_> =
        tables["dead_letters"].as_array().unwrap().iter().map(|group| group["dead_letters"].clone()).collect();
    assert_eq!(letters, [3, 2]);
    assert_eq!((&tables["rollup_age_seconds"], &overview["clickhouse_error"]), (&Value::Null, &Value::Null));
    let pipeline = &overview["pipeline"];
    assert_eq!(
        (&pipeline["unreachable"], &pipeline["ingest"]["webhooks_per_second"]),
        (&json!([]), &json!(0.0)),
        "{pipeline}"
    );
    assert_eq!(pipeline["processors"], Value::Null, "none answered, which is not a lag of 0: {pipeline}");

    let text = String::from_utf8(run_successfully("hookline-analytics", &once, &environment).await).unwrap();
    assert!(text.contains("\\u001b[2J") && !text.contains('\u{1b}'), "{text}");
    let finished = jobs["completed"].as_u64().unwrap() + jobs["errored"].as_u64().unwrap();
    assert!(text.lines().any(|line| line.starts_with("all ") && line.contains(&format!(" {finished} "))), "{text}");
    assert!(text.contains("Dead letters: 5") && text.contains("lag – s"), "{text}");
}

#[tokio::test]
async fn who_does_not_answer_is_named_and_what_did_is_printed() {
    let servers = filled("top_away").await;
    let nobody = "http://127.0.0.1:1";
    let once = ["top", "--once", "--interval", "1s", "--last", "30m"];
    let output = run("hookline-analytics", &once, &environment(&servers, nobody)).await;
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{text}{error}");
    assert!(text.contains("Dead letters: 5") && text.contains("– verified"), "{text}");
    for told in [&text, &error] {
        assert!(told.contains("http://127.0.0.1:1/metrics"), "{told}");
    }
    let away = with(&environment(&servers, ""), &[("CLICKHOUSE_URL", nobody)]);
    let output = run("hookline-analytics", &[&once[..], &["--json"]].concat(), &away).await;
    let overview: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &overview["tables"], &overview["pipeline"]),
        (Some(1), &Value::Null, &Value::Null)
    );
    assert!(overview["clickhouse_error"].as_str().unwrap().contains(nobody), "{overview}");

    let output = run("hookline-analytics", &["top"], &environment(&servers, nobody)).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("--once") && output.stdout.is_empty(), "{error}");
}

#[tokio::test]
async fn rates_are_those_of_what_was_sent_between_two_readings() {
    let servers = migrated("top_rates").await;
    let (_ingest, webhooks, admin) = ingest(&servers).await;
    send(&webhooks, 3).await;
    let arguments = Cli::parse_from(["top"]).top;
    let sent = |overview: &Value| {
        let pipeline = &overview["pipeline"];
        let rate = pipeline["ingest"]["rejections_per_second"]["signature_missing"].as_f64()?;
        Some((rate * pipeline["rates_over_seconds"].as_f64()?).round())
    };
    let ask = async |asking: &mut Asking| serde_json::to_value(asking.ask().await).unwrap();

    let mut by_listener: AnalyticsConfig = config(&servers);
    by_listener.serve.admin_urls = AdminUrls::try_from(admin.clone()).unwrap();
    let mut asking = Asking::new(&by_listener, &arguments).unwrap();
    assert!(!asking.begin().await, "a listener says how it is now");
    send(&webhooks, 5).await;
    assert_eq!(sent(&ask(&mut asking).await), Some(5.0));
    send(&webhooks, 2).await;
    assert_eq!(sent(&ask(&mut asking).await), Some(7.0));

    // A Prometheus knows what was a minute ago, when this ingest was not there yet: no rate can be told.
    let prometheus = PrometheusServer::scraping(&[admin.trim_start_matches("http://").to_owned()]).await;
    let mut by_prometheus = config(&servers);
    by_prometheus.serve.prometheus_url = PrometheusUrl::try_from(prometheus.url().to_owned()).unwrap();
    let mut asking = Asking::new(&by_prometheus, &arguments).unwrap();
    assert!(asking.begin().await);
    let overview = ask(&mut asking).await;
    assert_eq!((sent(&overview), &overview["pipeline"]["unreachable"]), (None, &json!([])), "{overview}");
}

/// What a program wrote to its terminal so far.
fn reader(master: OwnedFd) -> Arc<Mutex<String>> {
    let written = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&written);
    std::thread::spawn(move || {
        let (mut master, mut buffer) = (File::from(master), [0; 4_096]);
        // Where no process has the other end any more, reading fails.
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            shared.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    written
}

#[tokio::test]
async fn a_terminal_is_left_as_it_was() {
    const ENTER: &str = "\u{1b}[?1049h";
    const LEAVE: &str = "\u{1b}[?1049l";
    let servers = filled("top_terminal").await;
    for ending in ["q", "\u{3}", "SIGTERM"] {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).unwrap();
        let before = tcgetattr(&terminal.slave).unwrap().local_flags;
        let slave = || Stdio::from(terminal.slave.try_clone().unwrap());
        let mut command = Command::new(Daemon::binary("hookline-analytics"));
        command.arg("top").envs(environment(&servers, "http://127.0.0.1:1"));
        let mut top = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        let written = reader(terminal.master.try_clone().unwrap());
        let text = || written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        eventually("the screen to be drawn", DEADLINE, async || text().contains("Webhooks a second").then_some(()))
            .await;
        assert!(text().contains(ENTER) && !text().contains(LEAVE), "{ending:?}: {:?}", text());
        assert!(!tcgetattr(&terminal.slave).unwrap().local_flags.contains(LocalFlags::ECHO), "raw mode echoes nothing");
        if ending == "SIGTERM" {
            let pid = nix::unistd::Pid::from_raw(top.id().try_into().unwrap());
            nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        } else {
            nix::unistd::write(terminal.master.as_fd(), ending.as_bytes()).unwrap();
        }
        let status = eventually("the end", DEADLINE, async || top.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(0), "{ending:?}: {:?}", text());
        eventually("the terminal to be left", DEADLINE, async || text().contains(LEAVE).then_some(())).await;
        assert_eq!(tcgetattr(&terminal.slave).unwrap().local_flags, before, "{ending:?}");
    }
}
