//! The names that programs, dashboards and people outside this repository rely on, as the real binaries and the real servers
//! show them. A changed name changes a snapshot, so none is changed by accident.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hookline_simulator::ledger;
use hookline_simulator::oracle::Difference;
use hookline_simulator::oracle::difference::Receipt;
use hookline_simulator::pipeline::Pipeline;
use hookline_simulator::pipeline::assertions::wait_until_settled;
use hookline_simulator::pipeline::traffic::SECRET;
use hookline_testkit::{Daemon, OF_DATA, with};
use serde_json::{Value, json};

use crate::brokers::{client_id, groups, has_partitions, record_headers, topics};
use crate::shapes::{families, keys};

const INGEST: &str = "hookline-ingest";
const PROCESSOR: &str = "hookline-processor";
const ANALYTICS: &str = "hookline-analytics";
const SIMULATOR: &str = "hookline-simulator";

/// Partitions of all topics, as `migrate` creates them.
const PARTITIONS: usize = 4 * 2;

type Environment = [(String, String)];

#[test]
fn help_is_pinned() {
    let mut text = String::new();
    for (binary, commands) in [
        (INGEST, &["", "sign", "verify"][..]),
        (PROCESSOR, &["", "replay", "dead-letters", "redrive"]),
        (ANALYTICS, &["", "migrate", "report", "top"]),
        (SIMULATOR, &["", "check"]),
    ] {
        for command in commands {
            for flag in ["-h", "--help"] {
                let arguments: Vec<_> = command.split_whitespace().chain([flag]).collect();
                let output = run(binary, &arguments, &[]);
                assert!(output.status.success(), "{binary} {arguments:?}");
                writeln!(text, "$ {binary} {}\n{}", arguments.join(" "), stdout(&output)).unwrap();
            }
        }
    }
    pin(&[("help", text)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_outside_relies_on_is_pinned() {
    let mut pipeline = Pipeline::on_shared_servers("contract").await;
    // Nothing is set that has a default, so that the brokers show the defaults.
    let own = [("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0")];
    let mut processor = Daemon::start(PROCESSOR, &[], &with(&pipeline.environment, &own));
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let report = simulate(&pipeline, &ledger);
    wait_until_settled(&pipeline, &mut processor).await;
    has_partitions(&mut processor, PARTITIONS).await;

    let prefix = pipeline.kafka.topic_prefix.clone();
    let of_ingest = families(&pipeline.ingest.metrics().await, &prefix);
    let page = processor.metrics().await;
    for name in OF_DATA {
        assert!(page.0.contains(&format!("# TYPE {name} ")), "no series of {name} came with the data");
    }
    let metrics = format!("{INGEST}\n\n{of_ingest}\n{PROCESSOR}\n\n{}", families(&page, &prefix));
    let ids = kafka_ids(&pipeline, folder.path()).await;
    let headers = record_headers(&pipeline.kafka).await;
    let ddl = ddl(&pipeline).await;
    let admin_urls =
        format!("http://{},http://{}", pipeline.ingest.address("admin").await, processor.address("admin").await);
    let json_keys = json_keys(&pipeline, &admin_urls, &report, &ledger);
    let mut exit_codes = exit_codes(&pipeline, &ledger);
    for (name, daemon) in [(INGEST, &mut pipeline.ingest), (PROCESSOR, &mut processor)] {
        let status = daemon.terminate().await;
        writeln!(exit_codes, "{} {name}, at SIGTERM", status.code().unwrap()).unwrap();
    }
    pin(&[
        ("metrics", metrics),
        ("kafka_ids", ids),
        ("record_headers", headers),
        ("ddl", ddl),
        ("json_keys", json_keys),
        ("exit_codes", exit_codes),
    ]);
}

/// Compares each text with its snapshot, and fails with the names of all that differ.
fn pin(texts: &[(&str, String)]) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    let differing: Vec<_> = settings.bind(|| {
        let differs = |name: &str, text: &str| {
            catch_unwind(AssertUnwindSafe(|| insta::assert_snapshot!(name.to_owned(), text))).is_err()
        };
        texts.iter().filter(|(name, text)| differs(name, text)).map(|(name, _)| *name).collect()
    });
    assert!(
        differing.is_empty(),
        "other programs rely on these names, and their snapshots differ: {}",
        differing.join(", ")
    );
}

/// Runs a program to its end, with no environment but the given one.
fn run(binary: &str, arguments: &[&str], environment: &Environment) -> Output {
    let mut command = Command::new(Daemon::binary(binary));
    command.args(arguments).env_clear().envs(environment.iter().cloned()).stdin(Stdio::null());
    command.output().unwrap()
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

/// Sends jobs of every kind, and gives the report of `hookline-simulator --json`.
fn simulate(pipeline: &Pipeline, ledger: &Path) -> Value {
    let environment =
        with(&[], &[("HOOKLINE_WEBHOOK_URL", pipeline.url.as_str()), ("HOOKLINE_WEBHOOK_SECRET", SECRET)]);
    let options = "--json --past 4m --jobs 400 --seed 1 --foreign 0.05 --duplicates 0.05 --ledger";
    let arguments: Vec<_> = options.split(' ').chain([ledger.to_str().unwrap()]).collect();
    let output = run(SIMULATOR, &arguments, &environment);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn json_keys(pipeline: &Pipeline, admin_urls: &str, report: &Value, ledger: &Path) -> String {
    let mut text = String::new();
    let environment = with(&pipeline.environment, &[("HOOKLINE_ANALYTICS__SERVE__ADMIN_URLS", admin_urls)]);
    let mut tell = |command: &str, value: &Value| writeln!(text, "$ {command}\n{}", keys(value)).unwrap();
    tell(&format!("{SIMULATOR} --json"), report);
    let ledger = ledger.to_str().unwrap();
    let (state, plan) = (format!("{ledger}.state"), format!("{ledger}.plan"));
    for (binary, command, more) in [
        (SIMULATOR, "check --json", ["--ledger", ledger]),
        (ANALYTICS, "migrate --json", ["--partitions", "2"]),
        (ANALYTICS, "migrate --dry-run --json", ["--partitions", "2"]),
        (ANALYTICS, "report --json", ["--by", "source,resource,type,code"]),
        (ANALYTICS, "top --once --json", ["--interval", "1s"]),
        (PROCESSOR, "replay --json", ["--state", &state]),
        (PROCESSOR, "replay --dry-run --json", ["--state", &state]),
        (PROCESSOR, "dead-letters --json", ["--from", "1h"]),
        (PROCESSOR, "redrive --json", ["--state", &plan]),
        (PROCESSOR, "redrive --execute --json", ["--state", &plan]),
    ] {
        let arguments: Vec<_> = command.split(' ').chain(more).collect();
        let output = run(binary, &arguments, &environment);
        assert!(output.status.success(), "{binary} {command}: {}", String::from_utf8_lossy(&output.stderr));
        tell(&format!("{binary} {command}"), &serde_json::from_slice(&output.stdout).unwrap());
    }
    tell(&format!("{SIMULATOR} check --json, where the tables are wrong"), &json!({ "differences": differences() }));
    text
}

/// One difference of each kind, made here, because tables cannot differ in every way at once.
fn differences() -> [Difference; 8] {
    let (table, row, column) = ("t", String::new(), String::new());
    let receipt = Receipt { source: String::new(), signed_at_text: String::new(), signature: String::new() };
    [
        Difference::Lost { table, receipt: receipt.clone(), acknowledged: 1, rows: 0 },
        Difference::Invented { table, receipt: receipt.clone(), attempts: 0, rows: 1 },
        Difference::Body { table, receipt },
        Difference::Unreadable { position: String::new(), reason: String::new() },
        Difference::Column { table, row: row.clone(), column, expected: String::new(), actual: String::new() },
        Difference::MissingRow { table, row: row.clone() },
        Difference::ExtraRow { table, row },
        Difference::Time { job: String::new(), column: "c", allowed: vec![1], actual: Some(2) },
    ]
}

fn exit_codes(pipeline: &Pipeline, ledger: &Path) -> String {
    const CHECK: &str = "--check-config";
    let mut text = String::new();
    let folder = ledger.parent().unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut attempts = ledger::read(ledger).unwrap();
    attempts[0].signature = "0".repeat(64);
    let wrong_ledger = path("wrong.jsonl");
    let mut writer = ledger::Writer::append(Path::new(&wrong_ledger)).unwrap();
    attempts.iter().for_each(|attempt| writer.write(attempt).unwrap());
    writer.finish().unwrap();
    let [ledger, state, plan, missing] = ["ledger.jsonl", "state.json", "plan.json", "missing"].map(path);

    let url = with(&[], &[("HOOKLINE_WEBHOOK_URL", pipeline.url.as_str())]);
    let sound = |more: &[(&str, &str)]| with(&pipeline.environment, more);
    let of_ingest = |more: &[(&str, &str)]| {
        let own = [("HOOKLINE_SOURCE", "magichour"), ("HOOKLINE_WEBHOOK_SECRET", SECRET)];
        with(&with(&pipeline.environment, &own), more)
    };
    let forged = ["verify", "--body", &ledger, "--timestamp", "1", "--signature", "0"];
    let secret = [("HOOKLINE_WEBHOOK_SECRET", SECRET)];
    let nobody = "http://127.0.0.1:1/webhooks/nobody";
    let given_up = ["--jobs", "1", "--past", "4m", "--give-up-after", "1s", "--url", nobody];
    for (binary, arguments, environment, what) in [
        (INGEST, &[CHECK][..], of_ingest(&[]), CHECK),
        (INGEST, &["--unknown"], of_ingest(&[]), "an unknown option"),
        (INGEST, &[CHECK], of_ingest(&[("HOOKLINE_INGEST__LIMITS__IN_FLIGHT", "0")]), "a wrong value"),
        (INGEST, &["--config", &missing], of_ingest(&[]), "a file that is missing"),
        (INGEST, &forged, of_ingest(&[]), "verify of what is forged"),
        (PROCESSOR, &[CHECK], sound(&[]), CHECK),
        (PROCESSOR, &["--unknown"], sound(&[]), "an unknown option"),
        (PROCESSOR, &[CHECK], sound(&[("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "0")]), "a wrong value"),
        (PROCESSOR, &["--config", &missing], sound(&[]), "a file that is missing"),
        (PROCESSOR, &["replay", "--dry-run", "--state", &state], sound(&[]), "replay --dry-run"),
        (
            PROCESSOR,
            &["replay", "--dry-run", "--state", &state],
            sound(&[("HOOKLINE_TOPIC_PREFIX", "nobody")]),
            "replay of topics that are missing",
        ),
        (PROCESSOR, &["dead-letters"], sound(&[]), "dead-letters"),
        (PROCESSOR, &["redrive", "--state", &plan], sound(&[]), "redrive"),
        (PROCESSOR, &["redrive", "--execute", "--state", &missing], sound(&[]), "redrive of a plan that is missing"),
        (ANALYTICS, &[CHECK], sound(&[]), CHECK),
        (ANALYTICS, &[], sound(&[]), "nothing to do"),
        (ANALYTICS, &["--unknown"], sound(&[]), "an unknown option"),
        (ANALYTICS, &[CHECK], sound(&[("HOOKLINE_ANALYTICS__TOPICS__PARTITIONS", "0")]), "a wrong value"),
        (ANALYTICS, &["--config", &missing], sound(&[]), "a file that is missing"),
        (ANALYTICS, &["migrate"], sound(&[]), "migrate of what is there"),
        (ANALYTICS, &["report"], sound(&[]), "report"),
        (ANALYTICS, &["report"], sound(&[("CLICKHOUSE_DATABASE", "nobody")]), "report on tables that are missing"),
        (ANALYTICS, &["report", "--watch"], sound(&[]), "report --watch where no terminal is"),
        (ANALYTICS, &["top", "--once"], sound(&[]), "top --once"),
        (
            ANALYTICS,
            &["top", "--once"],
            sound(&[("CLICKHOUSE_DATABASE", "nobody")]),
            "top --once of tables that are missing",
        ),
        (ANALYTICS, &["top"], sound(&[]), "top where no terminal is"),
        (SIMULATOR, &["--jobs", "0"], with(&url, &secret), "nothing to send"),
        (SIMULATOR, &given_up, with(&[], &secret), "something given up"),
        (SIMULATOR, &["--unknown"], with(&url, &secret), "an unknown option"),
        (SIMULATOR, &[], url.clone(), "no secret"),
        (SIMULATOR, &["--secret-file", &missing], url.clone(), "a file that is missing"),
        (SIMULATOR, &["check", "--ledger", &ledger], sound(&[]), "check of tables that are right"),
        (
            SIMULATOR,
            &["check", "--within", "0s", "--ledger", &wrong_ledger],
            sound(&[]),
            "check of tables that are wrong",
        ),
        (SIMULATOR, &["check", "--ledger", &missing], sound(&[]), "check of a ledger that is missing"),
    ] {
        let output = run(binary, arguments, &environment);
        writeln!(text, "{} {binary}, {what}", output.status.code().unwrap()).unwrap();
    }
    text
}

/// The statements that create the tables and views, as ClickHouse shows them.
async fn ddl(pipeline: &Pipeline) -> String {
    let ask = async |query: &str| pipeline.clickhouse.query(query).fetch_all::<String>().await.unwrap();
    let database = ask("SELECT currentDatabase()").await.remove(0);
    let mut text = String::new();
    for name in ask("SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name").await {
        let statement = ask(&format!("SHOW CREATE TABLE `{name}`")).await.remove(0);
        writeln!(text, "{}\n", statement.replace(&database, "{database}")).unwrap();
    }
    text
}

async fn kafka_ids(pipeline: &Pipeline, folder: &Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let instance = format!("group.instance.id {}.", host.trim());
    let mut text = topics(&pipeline.kafka) + &groups(&pipeline.kafka);
    text = text.replace(&pipeline.kafka.topic_prefix, "{prefix}").replace(&instance, "group.instance.id {host name}.");
    let state = folder.join("state.json");
    let replay = ["replay", "--dry-run", "--state", state.to_str().unwrap()];
    let own = [
        ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
        ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0"),
        ("HOOKLINE_SOURCE", "magichour"),
        ("HOOKLINE_WEBHOOK_SECRET", SECRET),
    ];
    let environment = with(&pipeline.environment, &own);
    for (binary, arguments) in [(INGEST, &[][..]), (PROCESSOR, &replay), (ANALYTICS, &["migrate"])] {
        let id = client_id(binary, arguments, &environment).await;
        let command = arguments.first().map(|command| format!(" {command}")).unwrap_or_default();
        writeln!(text, "{binary}{command}\n    client.id {id}").unwrap();
    }
    text
}
