//! Holds the OpenAPI document against the running service: schemathesis sends requests that it allows, and others.

use std::process::{Command, Output};

use hookline_schemas::topics::Topics;
use hookline_testkit::{Daemon, Servers};

const SECRET: &str = "mhw_live_openapi_test";

/// Runs schemathesis against one listener. Requests are signed unless `secret` is empty.
fn schemathesis(document: &str, url: &str, secret: &str, arguments: &[&str]) -> Output {
    let python = std::env::var("HOOKLINE_PYTHON").expect("HOOKLINE_PYTHON: run the tests with `make test`");
    Command::new(python)
        .args(["-m", "schemathesis.cli", "run", document, "--url", url, "--seed", "1", "--max-examples", "50"])
        .args(["--phases", "examples,coverage,fuzzing", "--warnings", "off", "--checks", "all"])
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi"))
        .env("PYTHONPATH", ".")
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("HOOKLINE_SOURCE", "magichour")
        .env("HOOKLINE_WEBHOOK_SECRET", secret)
        .output()
        .expect("to run schemathesis")
}

fn assert_agrees(output: &Output) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("No issues found"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_do_what_the_document_says() {
    let servers = Servers::fresh("openapi").await;
    servers.create_topics(Topics::new(&servers.kafka.topic_prefix).unwrap().all(), 1).await;
    let mut environment = servers.environment();
    environment.extend(
        [
            ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_SOURCE", "magichour"),
            ("HOOKLINE_WEBHOOK_SECRET", SECRET),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let mut ingest = Daemon::start("hookline-ingest", &[], &environment);
    ingest.wait_ready().await;
    let webhooks = format!("http://{}", ingest.address("server").await);
    let admin = format!("http://{}", ingest.address("admin").await);

    // These checks expect the body to decide. Here the signature does: a request that has none is refused whatever its
    // body, and a signed one is stored whatever its body.
    let never = "negative_data_rejection,positive_data_acceptance,ignored_auth,missing_required_header";
    let of_webhooks = ["--exclude-checks", never, "--include-path-regex", "^/(webhooks|openapi)"];
    for secret in [SECRET, ""] {
        assert_agrees(&schemathesis("../../openapi.json", &webhooks, secret, &of_webhooks));
    }
    assert!(ingest.metric("hookline_ingest_answers_total", &["status=\"202\""]).await > 0.0, "something was signed");
    assert!(ingest.metric("hookline_ingest_answers_total", &["status=\"401\""]).await > 0.0, "something was not");
    assert_agrees(&schemathesis("../../openapi.json", &admin, "", &["--exclude-path-regex", "^/webhooks"]));

    // The control: a document with another type for the same member must be found wrong.
    let wrong = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    let document = include_str!("../../openapi.json").replace("\"const\": \"about:blank\"", "\"type\": \"integer\"");
    std::fs::write(wrong.path(), document).unwrap();
    let output = schemathesis(wrong.path().to_str().unwrap(), &webhooks, "", &of_webhooks);
    assert!(String::from_utf8_lossy(&output.stdout).contains("Response violates schema"), "it agrees with anything");
}
