//! Secrets in every place where somebody may put one, also by mistake: no program shows any of them, anywhere.

use std::process::{Command, Stdio};
use std::time::Duration;

use hookline_simulator::pipeline::traffic::SECRET;
use hookline_testkit::{Daemon, Environment, Servers, eventually, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(60);
/// What is searched for. The second one could be the name of a variable.
const MARKERS: [&str; 2] = ["mhw_live_4711MARKER0815", "MARKER0815MARKER"];
/// Keys whose values are names. They are shown, so that they are the control of the search.
const NAMES: [&str; 7] = ["database", "user", "reader_user", "topic_prefix", "sasl_username", "id", "instance_id"];

const PROGRAMS: [(&str, &str); 4] = [
    ("hookline-ingest", "INGEST"),
    ("hookline-processor", "PROCESSOR"),
    ("hookline-analytics", "ANALYTICS"),
    ("hookline-simulator", "SIMULATOR"),
];

/// What a program printed, on both outputs.
fn output(program: &str, arguments: &[&str], environment: &Environment) -> String {
    let mut command = Command::new(Daemon::binary(program));
    command.args(arguments).env_clear().envs(environment.iter().cloned()).stdin(Stdio::null());
    let output = command.output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn shows_a_marker(text: &str) -> bool {
    MARKERS.iter().any(|marker| text.contains(marker))
}

fn valid() -> Environment {
    with(&[], &[("HOOKLINE_SOURCE", "magichour"), ("HOOKLINE_WEBHOOK_SECRET", SECRET)])
}

/// The sections and keys of a program, as it prints them.
fn keys(program: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in output(program, &["--print-config"], &valid()).lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.replace("SOURCE", "prod").replace("KEY", "default");
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            keys.push((section.clone(), key.to_owned()));
        }
    }
    assert!(keys.len() > 4, "{program}: {keys:?}");
    keys
}

#[test]
fn no_value_of_a_wrong_place_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let path = file.to_str().unwrap();
    let mut names_shown = 0;
    for (program, middle) in PROGRAMS {
        let mut plants: Vec<(String, Environment)> = Vec::new();
        for marker in MARKERS {
            for (section, key) in keys(program) {
                let variable = format!("HOOKLINE_{middle}__{}__{}", section.replace('.', "__"), key).to_uppercase();
                if NAMES.contains(&&*key) {
                    let printed = output(program, &["--print-config"], &with(&valid(), &[(&variable, marker)]));
                    names_shown += usize::from(shows_a_marker(&printed));
                    continue;
                }
                let (name, _) = variable.rsplit_once("__").unwrap();
                let url = [format!("http://me:{marker}@127.0.0.1:1"), format!("http://127.0.0.1:1/?password={marker}")];
                for value in [marker.to_owned(), format!("{marker}:x@127.0.0.1:1"), url[0].clone(), url[1].clone()] {
                    plants.push((String::new(), with(&[], &[(&variable, &value)])));
                    plants.push((format!("[{section}]\n{key} = {value:?}\n"), Vec::new()));
                }
                plants.push((String::new(), with(&[], &[(name, marker)])));
                plants.push((format!("[{section}]\n{key} = [{marker:?}]\n"), Vec::new()));
                plants.push((format!("[{section}]\n{key} = {{ {key} = {marker:?} }}\n"), Vec::new()));
                plants.push((format!("[{section}]\n{key} = {marker}\n"), Vec::new()));
                plants.push((format!("{section} = {marker:?}\n"), Vec::new()));
            }
            for sources in ["prod", "prod.keys", "prod.keys.default", "prod.keys.default.env", "prod.keys.default.file"]
            {
                plants.push((format!("[sources]\n{sources} = {marker:?}\n"), Vec::new()));
                plants.push((format!("[sources]\n{sources} = [{marker:?}]\n"), Vec::new()));
            }
            plants.push((format!("[sources.\"a b\".keys]\nx = {marker:?}\n"), Vec::new()));
            for (variable, value) in [
                ("HOOKLINE_WEBHOOK_SECRET", format!(" {marker}")),
                ("HOOKLINE_WEBHOOK_SECRET", format!("\u{feff}{marker}")),
                ("CLICKHOUSE_PASSWORD", format!("{marker}\t")),
                ("CLICKHOUSE_PASSWORD", marker.to_owned()),
                ("CLICKHOUSE_URL", marker.to_owned()),
                ("CLICKHOUSE_URL", format!("http://me:{marker}@127.0.0.1:1")),
                ("CLICKHOUSE_URL", format!("http://127.0.0.1:1/?password={marker}")),
                ("KAFKA_BOOTSTRAP_SERVERS", marker.to_owned()),
                ("KAFKA_BOOTSTRAP_SERVERS", format!("me:{marker}@127.0.0.1:1")),
                ("HOOKLINE_WEBHOOK_URL", marker.to_owned()),
                ("HOOKLINE_WEBHOOK_URL", format!("http://me:{marker}@127.0.0.1:1/webhooks/prod")),
                ("HOOKLINE_WEBHOOK_URL", format!("http://127.0.0.1:1/webhooks/prod?key={marker}")),
                ("HOOKLINE_LOG", marker.to_owned()),
            ] {
                plants.push((String::new(), with(&[], &[(variable, &value)])));
            }
        }
        plants.sort();
        plants.dedup();
        for (text, environment) in plants {
            std::fs::write(&file, &text).unwrap();
            let environment = with(&valid(), &environment.iter().map(|(a, b)| (&**a, &**b)).collect::<Vec<_>>());
            for arguments in [&["--config", path, "--check-config"], &["--config", path, "--print-config"]] {
                let printed = output(program, arguments, &environment);
                assert!(
                    !shows_a_marker(&printed),
                    "{program} {arguments:?} with {environment:?} and {text:?}:\n{printed}"
                );
            }
        }
    }
    // The control: the same search finds what may be shown.
    assert!(names_shown > 10, "{names_shown}");
}

#[test]
fn no_command_shows_a_url_with_a_password() {
    for marker in MARKERS {
        for url in
            [format!("http://me:{marker}@127.0.0.1:1"), format!("http://127.0.0.1:1/webhooks/a?password={marker}")]
        {
            for (program, arguments) in [
                ("hookline-analytics", &["migrate"][..]),
                ("hookline-analytics", &["report"]),
                ("hookline-processor", &[]),
                ("hookline-processor", &["replay", "--dry-run"]),
                ("hookline-simulator", &["check", "--ledger", "/dev/null"]),
                ("hookline-simulator", &["--jobs", "1", "--past", "4m"]),
                ("hookline-simulator", &["--help"]),
            ] {
                let environment = with(&valid(), &[("CLICKHOUSE_URL", &url), ("HOOKLINE_WEBHOOK_URL", &url)]);
                let printed = output(program, arguments, &environment);
                assert!(!shows_a_marker(&printed), "{program} {arguments:?}: {printed}");
                assert!(
                    printed.contains("password") || printed.contains("Usage"),
                    "{program} {arguments:?}: {printed}"
                );
            }
        }
    }
}

async fn pages(daemon: &mut Daemon) -> String {
    let admin = daemon.address("admin").await;
    let mut text = daemon.log().join("\n");
    for page in ["metrics", "health/ready", "health/live", "openapi.json", "docs"] {
        text += &reqwest::get(format!("http://{admin}/{page}")).await.unwrap().text().await.unwrap();
    }
    text + &std::fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_daemon_shows_a_secret_or_a_header() {
    let servers = Servers::fresh("secrets").await;
    let marker = MARKERS[0];
    let listen = [
        ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
        ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0"),
        ("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0"),
        ("HOOKLINE_LOG", "debug"),
        ("HOOKLINE_SOURCE", "magichour"),
        ("HOOKLINE_WEBHOOK_SECRET", marker),
        ("CLICKHOUSE_PASSWORD", marker),
        ("CLICKHOUSE_USER", "nobody"),
    ];
    let environment = with(&servers.environment(), &listen);
    let mut ingest = Daemon::start("hookline-ingest", &[], &environment);
    let mut processor = Daemon::start("hookline-processor", &[], &environment);
    let address = ingest.address("server").await;
    let right = format!("magic-hour-event-timestamp: 1\r\nmagic-hour-event-signature: {}\r\n", "0".repeat(64));
    for (target, headers) in [
        (
            "/webhooks/magichour".to_owned(),
            format!("magic-hour-event-signature: {marker}\r\nmagic-hour-event-timestamp: 1\r\n"),
        ),
        (
            "/webhooks/magichour".to_owned(),
            format!("magic-hour-event-signature: {}\r\nmagic-hour-event-timestamp: {marker}\r\n", "0".repeat(64)),
        ),
        ("/webhooks/magichour".to_owned(), format!("authorization: Bearer {marker}\r\n{right}")),
        ("/webhooks/magichour".to_owned(), format!("{marker}\r\n")),
        ("/webhooks/magichour".to_owned(), format!("content-length: {marker}\r\n")),
        (format!("/webhooks/{marker}"), right.clone()),
        (format!("/webhooks/magichour?secret={marker}"), right.clone()),
    ] {
        let body = format!("{{\"type\":\"{marker}\"}}");
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 4") && !shows_a_marker(&answer), "{target} {headers}: {answer}");
    }
    let of_ingest = pages(&mut ingest).await;
    let of_processor = eventually("the reason of the processor", DEADLINE, async || {
        Some(pages(&mut processor).await).filter(|text| text.contains("nobody"))
    })
    .await;
    // The control: the search finds what is no secret.
    assert!(of_ingest.contains("source=\"magichour\"") && of_ingest.contains("refused"), "{of_ingest}");
    for text in [of_ingest, of_processor] {
        assert!(!shows_a_marker(&text), "{text}");
    }
}
