//! `hookline-ingest sign`, whose headers ingest accepts.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use hookline_testkit::Daemon;

use crate::webhook::{SECRET, Webhook};

fn ingest(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(Daemon::binary("hookline-ingest"))
        .args(arguments)
        // As in a shell that has read `.local/env`, whether a command is asked for or not.
        .env("HOOKLINE_WEBHOOK_URL", "http://127.0.0.1:2/webhooks/magichour")
        .env("HOOKLINE_SOURCE", "magichour")
        .env("HOOKLINE_WEBHOOK_SECRET", SECRET)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap()).concat()
}

#[test]
fn verify_accepts_what_sign_prints() {
    let body = Webhook::new().body;
    let signed = ingest(&["sign", "--body", "-"], &body);
    let headers = text(&signed);
    assert!(signed.status.success() && !headers.contains(SECRET), "{headers}");
    let value = |name: &str| headers.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let (timestamp, signature) = (value("magic-hour-event-timestamp: "), value("magic-hour-event-signature: "));
    let verify = ["verify", "--timestamp", &timestamp, "--signature", &signature, "--body", "-"];
    let verified = ingest(&verify, &body);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified));
    let other = ingest(&verify, &body.replace("video", "audio"));
    assert_eq!(other.status.code(), Some(1), "another body is not accepted: {}", text(&other));
}

#[test]
fn a_command_of_curl_is_printed_for_a_file() {
    let curl = ["sign", "--curl", "--body", "body of mine.json", "--url", "http://127.0.0.1:1/webhooks/magichour"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body of mine.json");
    std::fs::write(&file, Webhook::new().body).unwrap();
    let curl = curl.map(|argument| if argument.ends_with(".json") { file.to_str().unwrap() } else { argument });
    let printed = ingest(&curl, "");
    let command = text(&printed);
    assert!(printed.status.success() && !command.contains(SECRET), "{command}");
    assert!(command.starts_with("curl ") && command.contains("of mine.json' 'http://127.0.0.1:1/webhooks/magichour'"));
    let without_url = ingest(&curl[..curl.len() - 2], "");
    assert!(
        text(&without_url).trim_end().ends_with("'http://127.0.0.1:2/webhooks/magichour'"),
        "{}",
        text(&without_url)
    );
    for (arguments, part) in [
        (&["sign", "--body", "-", "--curl"][..], "--body must name a file"),
        (&["sign", "--body", "-", "--source", "other"], "no source is called \"other\": there are magichour"),
    ] {
        let output = ingest(arguments, "body");
        assert!(output.status.code() == Some(1) && text(&output).contains(part), "{}", text(&output));
    }
}
