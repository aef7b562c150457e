//! Commands whose server accepts connections and says nothing, or is not there: they end by themselves, name the server, and hear
//! SIGTERM.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use hookline_testkit::{Daemon, Environment, Servers, Signal, eventually, run, with};
use tokio::net::TcpListener;

const DEADLINE: Duration = Duration::from_secs(60);
/// A command that ends at once ends within this time, which is less than any wait for a server.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The commands, and whether it is Kafka that each of them waits for.
const COMMANDS: [(&str, &[&str], bool); 5] = [
    ("hookline-analytics", &["migrate"], false),
    ("hookline-analytics", &["report"], false),
    ("hookline-simulator", &["check", "--ledger", "/dev/null"], false),
    ("hookline-analytics", &["migrate"], true),
    ("hookline-processor", &["replay", "--dry-run", "--state", "/nowhere/state.json"], true),
];

fn environment(servers: &Servers, is_kafka: bool, silent: &TcpListener) -> Environment {
    let address = silent.local_addr().unwrap().to_string();
    let url = format!("http://{address}");
    let more = if is_kafka { [("KAFKA_BOOTSTRAP_SERVERS", &*address)] } else { [("CLICKHOUSE_URL", &*url)] };
    with(&servers.environment(), &more)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_ends_by_itself_and_names_the_server() {
    let servers = &Servers::fresh("silent").await;
    let ended = async |(binary, arguments, is_kafka): (&str, &[&str], bool)| {
        // The kernel accepts.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let output = run(binary, arguments, &environment(servers, is_kafka, &silent)).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{binary} {arguments:?}: {text}");
        assert!(text.contains(&silent.local_addr().unwrap().to_string()), "{binary} {arguments:?}: {text}");
    };
    let [a, b, c, d, e] = COMMANDS;
    let all = async { tokio::join!(ended(a), ended(b), ended(c), ended(d), ended(e)) };
    tokio::time::timeout(DEADLINE, all).await.expect("every command ends");
}

/// An address that nobody listens on.
async fn closed() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_names_the_server_that_refuses_it() {
    let servers = Servers::fresh("refusing").await;
    let commands: [(&str, &[&str]); 4] = [
        ("hookline-analytics", &["migrate"]),
        ("hookline-analytics", &["report"]),
        ("hookline-simulator", &["check", "--ledger", "/dev/null"]),
        ("hookline-processor", &["acknowledge"]),
    ];
    for (binary, arguments) in commands {
        let address = closed().await;
        let url = format!("http://{address}");
        let output = run(binary, arguments, &with(&servers.environment(), &[("CLICKHOUSE_URL", &*url)])).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{binary} {arguments:?}: {text}");
        assert!(text.contains(&url), "{binary} {arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_names_the_clickhouse_that_it_waits_for() {
    let servers = Servers::fresh("waiting").await;
    let url = format!("http://{}", closed().await);
    let more = [("CLICKHOUSE_URL", &*url), ("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0")];
    let mut processor = Daemon::start("hookline-processor", &[], &with(&servers.environment(), &more));
    eventually("readiness names the server", DEADLINE, async || {
        let (_, text) = processor.health().await;
        text.contains(&url).then_some(())
    })
    .await;
    assert!(processor.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_waits_ends_at_sigterm() {
    let servers = Servers::fresh("silent_sigterm").await;
    for (binary, arguments, is_kafka) in COMMANDS {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut command = Daemon::start(binary, arguments, &environment(&servers, is_kafka, &silent));
        // It is kept open.
        let _connection = tokio::time::timeout(DEADLINE, silent.accept()).await.expect("a connection").unwrap();
        let began = Instant::now();
        command.signal(Signal::SIGTERM);
        let status = command.wait().await;
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32), "{binary} {arguments:?}: {status}");
        assert!(began.elapsed() < AT_ONCE, "{binary} {arguments:?}: {:?}", began.elapsed());
    }
}

/// Output that nobody reads to its end, as with `| head -1`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_ends_no_command() {
    let servers = Servers::fresh("head").await;
    let binary = |name: &str| Daemon::binary(name).display().to_string();
    let run = |line: String| {
        let command = std::process::Command::new("bash")
            .args(["-o", "pipefail", "-c", &line])
            .envs(servers.environment())
            .output();
        let output = command.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let analytics = binary("hookline-analytics");
    // The reader is gone before the first line.
    assert_eq!(run(format!("{analytics} migrate --partitions 1 > >(true)")), (Some(0), String::new()));
    eventually("the tables", DEADLINE, async || {
        let (code, stderr) = run(format!("{analytics} report | true"));
        (code == Some(0) && stderr.is_empty()).then_some(())
    })
    .await;
    for command in ["--print-config", "completions bash"] {
        assert_eq!(run(format!("{analytics} {command} | true")), (Some(0), String::new()), "{command}");
    }
    // The control: a result that is lost for any other reason is an error.
    let (code, stderr) = run(format!("{analytics} report > /dev/full"));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cannot write to standard output"), "{stderr}");
}
