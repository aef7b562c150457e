//! `--check-config` of each program names every mistake at once, and asks no server.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use hookline_testkit::{Daemon, run, with};

/// A mistake: a line of the file, and what is said of it.
type Mistake = (&'static str, &'static str);
type Section = (&'static str, &'static [Mistake]);

const KAFKA: Mistake = ("security_protocol = \"tls\"", "kafka.security_protocol: expected one of plaintext");
const CLICKHOUSE: Mistake = ("url = \"127.0.0.1:8123\"", "clickhouse.url: expected a URL such as http://");

/// Each program with the sections of a file and, for one of its keys, a variable with a mistake.
const PROGRAMS: [(&str, &[Section], &str, &str); 3] = [
    (
        "hookline-ingest",
        &[
            ("kafka", &[KAFKA]),
            (
                "server",
                &[
                    ("listen = \"80\"", "server.listen: expected an IP address and a port"),
                    ("lisen = 1", "server.lisen: unknown field `lisen`"),
                ],
            ),
            ("limits", &[("in_flight = 0", "limits.in_flight: 0, expected a whole number")]),
        ],
        "HOOKLINE_INGEST__TOLERANCE__PAST_SECONDS",
        "tolerance.past_seconds",
    ),
    (
        "hookline-processor",
        &[
            ("kafka", &[KAFKA]),
            (
                "batch",
                &[
                    ("max_rows = 0", "batch.max_rows: 0, expected a whole number, 1 to 1000000"),
                    ("rows = 1", "batch.rows: unknown field `rows`"),
                ],
            ),
        ],
        "HOOKLINE_PROCESSOR__GROUP__WATCHDOG_MS",
        "group.watchdog_ms",
    ),
    (
        "hookline-analytics",
        &[
            ("kafka", &[KAFKA]),
            ("topics", &[("partitions = 0", "topics.partitions: 0, expected a whole number")]),
            ("serve", &[("listen = \"everywhere\"", "serve.listen: expected an IP address and a port")]),
        ],
        "HOOKLINE_ANALYTICS__TOPICS__REPLICATION",
        "topics.replication",
    ),
];

fn check(program: &str, file: &Path, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(Daemon::binary(program));
    command.env_clear().arg("--config").arg(file).arg("--check-config");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_mistake_is_named_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    for (program, sections, variable, key) in PROGRAMS {
        let (mut text, mut expected) = (String::new(), Vec::new());
        for (section, mistakes) in sections {
            text += &format!("[{section}]\n");
            for (line, said) in *mistakes {
                text += &format!("{line}\n");
                expected.push(format!("{said}|line {} of {}", text.lines().count(), file.display()));
            }
        }
        std::fs::write(&file, text).unwrap();
        expected.push(format!("{key}: |set by {variable}"));
        let (code, printed) = check(program, &file, &[(variable, "soon")]);
        assert_eq!(code, Some(78), "{program}: {printed}");
        for expected in expected {
            let (said, place) = expected.split_once('|').unwrap();
            let is_said = |line: &str| line.contains(said) && line.contains(place);
            assert!(printed.lines().any(is_said), "{program}: {said:?} at {place:?} is not in\n{printed}");
        }
    }
}

#[test]
fn what_is_right_is_right_without_any_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("right.toml");
    std::fs::write(&file, "[kafka]\nbootstrap_servers = \"127.0.0.1:1\"\n").unwrap();
    let secret = [("HOOKLINE_SOURCE", "prod"), ("HOOKLINE_WEBHOOK_SECRET", "mhw_live_0123456789abcdef")];
    for (program, variables) in
        [("hookline-ingest", &secret[..]), ("hookline-processor", &[]), ("hookline-analytics", &[])]
    {
        assert_eq!(check(program, &file, variables), (Some(0), String::new()), "{program}");
    }
}

#[test]
fn what_does_not_fit_together_is_found_without_any_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    for (program, text, said) in [
        ("hookline-ingest", String::new(), "HOOKLINE_WEBHOOK_SECRET"),
        ("hookline-processor", format!("[clickhouse]\n{}\n", CLICKHOUSE.0), CLICKHOUSE.1),
        (
            "hookline-processor",
            "[group]\nsettle_timeout_ms = 25000\n".into(),
            "group.settle_timeout_ms: 25000, expected at most 17000",
        ),
        ("hookline-analytics", "[clickhouse]\npassword_file = \"/nowhere\"\n".into(), "clickhouse.password_file"),
        ("hookline-analytics", "[serve]\nlisten = \"0.0.0.0:80\"\n".into(), "serve."),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, printed) = check(program, &file, &[]);
        assert!(code == Some(78) && printed.contains(said), "{program}: {said:?} is not in\n{printed}");
    }
}

/// A listener that does not wait, so that it can be asked whether somebody has come.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn what_is_right_opens_no_port_and_asks_no_server() {
    for (program, arguments, listeners) in [
        ("hookline-ingest", &[][..], &["HOOKLINE_INGEST__SERVER__LISTEN", "HOOKLINE_INGEST__ADMIN__LISTEN"][..]),
        ("hookline-processor", &[], &["HOOKLINE_PROCESSOR__ADMIN__LISTEN"]),
        ("hookline-analytics", &["serve"], &["HOOKLINE_ANALYTICS__SERVE__LISTEN"]),
    ] {
        let [(kafka, kafka_address), (clickhouse, clickhouse_address)] = [listener(), listener()];
        // Addresses that are taken: whoever binds them fails.
        let taken: Vec<_> = listeners.iter().map(|key| (*key, listener())).collect();
        let listen: Vec<_> = taken.iter().map(|(key, (_, address))| (*key, &**address)).collect();
        let url = format!("http://{clickhouse_address}");
        let source = [("HOOKLINE_SOURCE", "prod"), ("HOOKLINE_WEBHOOK_SECRET", "mhw_live_0123456789abcdef")];
        let servers = [("KAFKA_BOOTSTRAP_SERVERS", &*kafka_address), ("CLICKHOUSE_URL", &*url)];
        let environment = with(&with(&with(&[], &source), &servers), &listen);
        let output = run(program, &[arguments, &["--check-config"]].concat(), &environment).await;
        assert_eq!(output.status.code(), Some(0), "{program}: {output:?}");
        assert!(kafka.accept().is_err() && clickhouse.accept().is_err(), "{program} asked a server");

        // The control: without the option the taken address ends it, and a visitor is seen.
        let output = run(program, arguments, &environment).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && text.contains("cannot bind"), "{program}: {text}");
        let visit = TcpStream::connect(&clickhouse_address).unwrap();
        assert!(clickhouse.accept().is_ok());
        drop(visit);
    }
}
