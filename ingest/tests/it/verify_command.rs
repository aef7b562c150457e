//! `hookline-ingest verify`, which explains why a webhook was refused.

use std::process::{Command, Output};

use hookline_testkit::Daemon;

use crate::webhook::{SECRET, Webhook, now};

fn verify(webhook: &Webhook, body: &str, more: &[&str]) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), body).unwrap();
    Command::new(Daemon::binary("hookline-ingest"))
        .args(["verify", "--timestamp", &webhook.timestamp, "--signature", &webhook.signature, "--body"])
        .arg(file.path())
        .args(more)
        .env("HOOKLINE_SOURCE", "magichour")
        .env("HOOKLINE_WEBHOOK_SECRET", SECRET)
        .output()
        .unwrap()
}

#[test]
fn it_explains_and_its_exit_code_tells() {
    let webhook = Webhook::new();
    let body = &webhook.body;
    let malformed = Webhook { timestamp: "-1".into(), ..webhook.clone() };
    let old = Webhook::signed(now() - 400, &**body);
    let unknown = Webhook::signed(now(), r#"{"type":"test.event","payload":{"test":true}}"#);
    for (webhook, body, more, code, part) in [
        (&webhook, &**body, &[][..], 0, "authentic: source magichour, key default"),
        (&webhook, body, &[], 0, "processable: video.started of job job"),
        (&webhook, body, &["--source", "magichour"], 0, "within the tolerance"),
        (&old, body, &[], 0, "outside the tolerance now"),
        (&unknown, &unknown.body, &[], 0, "not processable (unknown_type)"),
        (&webhook, &body.replace("video", "audio"), &[], 1, "refused (signature_wrong)"),
        (
            &webhook,
            &format!("{body}\n"),
            &[],
            1,
            "hint: the signature is right for the body without its last line feed",
        ),
        (&malformed, body, &[], 1, "refused (timestamp_malformed)"),
        (&webhook, body, &["--source", "other"], 1, "no source is called \"other\""),
    ] {
        let output = verify(webhook, body, more);
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(part), "{part:?} is not in {text:?}");
        assert!(!text.contains(SECRET) && !text.contains("created_at"), "neither the secret nor the body: {text}");
    }
}
