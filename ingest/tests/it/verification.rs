//! Which webhooks are accepted: several sources with several secrets each, the tolerance, and the metrics of both.

use hookline_schemas::topics::Topics;
use serde::Deserialize;
use tempfile::TempDir;

use crate::connection::Connection;
use crate::ingest_under_test::{self, IngestUnderTest};
use crate::records;
use crate::webhook::{Webhook, now, post};

#[derive(Deserialize)]
struct Vectors {
    secret: String,
    timestamp: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    body: String,
    signature: String,
}

/// Two sources with two secrets each, from the environment and from files.
const CONFIGURATION: &str = r#"
[sources.prod.keys]
old = { env = "PROD_OLD" }
new = { file = "FOLDER/prod-new" }
[sources.staging.keys]
first = { file = "FOLDER/staging-first" }
second = { env = "STAGING_SECOND" }
[tolerance]
past_seconds = 315360000
future_seconds = 30
"#;

async fn two_sources(secret_of_vectors: &str) -> IngestUnderTest {
    let (servers, kafka) = ingest_under_test::fresh("verification").await;
    records::create(&kafka, Topics::new(&kafka.topic_prefix).unwrap().all(), (2, 1), &[]).await;
    let folder: TempDir = tempfile::tempdir().unwrap();
    let path = folder.path().join("ingest.toml");
    std::fs::write(&path, CONFIGURATION.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
    std::fs::write(folder.path().join("prod-new"), format!("{secret_of_vectors}\n")).unwrap();
    std::fs::write(folder.path().join("staging-first"), "staging first 0123456789").unwrap();
    let settings = [("PROD_OLD", "prod old 0123456789"), ("STAGING_SECOND", "staging second 0123456789")];
    let mut ingest = IngestUnderTest::start(kafka, &["--config", path.to_str().unwrap()], &settings).await;
    ingest.daemon.wait_ready().await;
    ingest.keeping(servers)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_secret_of_its_source_and_no_other_lets_in() {
    let Vectors { secret, timestamp, vectors } =
        serde_json::from_str(include_str!("../../../schemas/examples/signatures.json")).unwrap();
    let mut ingest = two_sources(&secret).await;
    let mut connection = Connection::open(ingest.address).await;

    // The signatures that the provider published are of long ago, which this configuration tolerates.
    for Vector { name, body, signature } in &vectors {
        let status = if name.contains("minimal") { 202 } else { 200 };
        for signature in [signature.clone(), signature.to_uppercase()] {
            let webhook = Webhook { timestamp: timestamp.clone(), signature, body: body.clone() };
            let answer = connection.exchange(webhook.request_to("prod")).await.unwrap();
            assert_eq!((answer.status, &*answer.body), (status, ""), "{name}");
            connection.exchange(webhook.request_to("staging")).await.unwrap().assert_problem(401);
        }
    }
    let body = Webhook::new().body;
    let signed = |secret: &str| Webhook::signed_with(secret, now(), &*body);
    for (source, secret, status) in [
        ("prod", "prod old 0123456789", 200),
        ("prod", "staging first 0123456789", 401),
        ("staging", "staging first 0123456789", 200),
        ("staging", "staging second 0123456789", 200),
        ("staging", "staging second 0123456789\n", 401),
    ] {
        let answer = connection.exchange(signed(secret).request_to(source)).await.unwrap();
        assert_eq!(answer.status, status, "{source} {secret:?}");
    }
    for (ahead, status) in [(20, 200), (60, 401)] {
        let early = Webhook::signed_with("prod old 0123456789", now() + ahead, &*body);
        assert_eq!(connection.exchange(early.request_to("prod")).await.unwrap().status, status, "{ahead} s ahead");
    }

    let vectors = vectors.len() as u64;
    for (labels, count) in [
        (["source=\"prod\"", "key=\"new\""], 2 * vectors),
        (["source=\"prod\"", "key=\"old\""], 3),
        (["source=\"staging\"", "key=\"first\""], 1),
        (["source=\"staging\"", "key=\"second\""], 1),
    ] {
        assert_eq!(ingest.metric("verified_total", &labels).await, count, "{labels:?}");
    }
    for (labels, count) in [
        (["source=\"prod\"", "reason=\"signature_wrong\""], 1),
        (["source=\"prod\"", "reason=\"stale_future\""], 1),
        (["source=\"staging\"", "reason=\"signature_wrong\""], 2 * vectors + 1),
    ] {
        assert_eq!(ingest.metric("rejected_total", &labels).await, count, "{labels:?}");
    }
    assert_eq!(ingest.metric("clock_skew_seconds_count", &["source=\"prod\""]).await, 2 * vectors + 3);
    let ahead = ["source=\"prod\"", "direction=\"future\""];
    assert_eq!(ingest.metric("clock_skew_seconds_count", &ahead).await, 2, "the early ones");
    assert!(ingest.metric("clock_skew_seconds_sum", &ahead).await > 0);

    let stored = records::read(&ingest.kafka).await;
    assert_eq!(stored.len() as u64, 2 * vectors + 5, "what was let in, and the early one");
    let keys: Vec<_> =
        stored.iter().map(|record| record.decoded().metadata).filter(|s| s.source == "staging").collect();
    assert_eq!(keys.iter().filter(|metadata| metadata.key_name == "second").count(), 1);
    assert!(stored.iter().all(|record| record.decoded().metadata.signature.as_str().len() == 64), "lower case");
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_be_refused_is_counted_by_itself_and_answered_alike() {
    let mut ingest = IngestUnderTest::shared("refused", &[]).await;
    let webhook = Webhook::new();
    let Webhook { timestamp, signature, body } = &webhook;
    let (t, s) = ("magic-hour-event-timestamp", "magic-hour-event-signature");
    let mut connection = Connection::open(ingest.address).await;
    let mut bodies = Vec::new();
    for (reason, headers) in [
        ("timestamp_missing", format!("{s}: {signature}\r\n")),
        ("timestamp_repeated", format!("{t}: {timestamp}\r\n{t}: {timestamp}\r\n{s}: {signature}\r\n")),
        ("timestamp_malformed", format!("{t}: +{timestamp}\r\n{s}: {signature}\r\n")),
        ("timestamp_malformed", format!("{t}: 4294967296\r\n{s}: {signature}\r\n")),
        ("timestamp_malformed", format!("{t}: 01729314984\r\n{s}: {signature}\r\n")),
        ("timestamp_malformed", format!("{t}: \u{ff}\r\n{s}: {signature}\r\n")),
        ("timestamp_malformed", format!("{t}:\r\n{s}: {signature}\r\n")),
        ("signature_missing", format!("{t}: {timestamp}\r\n")),
        ("signature_repeated", format!("{t}: {timestamp}\r\n{s}: {signature}\r\n{s}: {}\r\n", "0".repeat(64))),
        ("signature_malformed", format!("{t}: {timestamp}\r\n{s}: {}\r\n", &signature[1..])),
        ("signature_malformed", format!("{t}: {timestamp}\r\n{s}: sha256={signature}\r\n")),
        ("signature_malformed", format!("{t}: {timestamp}\r\n{s}: \u{e4}{}\r\n", &signature[2..])),
        ("signature_wrong", format!("{t}: 4294967295\r\n{s}: {signature}\r\n")),
        ("signature_wrong", format!("{t}: {timestamp}\r\n{s}: {}\r\n", "0".repeat(64))),
    ] {
        let labels = [&*format!("reason=\"{reason}\"")];
        let before = ingest.metric("rejected_total", &labels).await;
        let request = post("magichour", &format!("{headers}content-length: {}\r\n", body.len()), body);
        let answer = connection.exchange(request).await.unwrap();
        answer.assert_problem(401);
        bodies.push(answer.body);
        assert_eq!(ingest.metric("rejected_total", &labels).await, before + 1, "{reason}: {headers}");
    }
    let stale = connection.exchange(Webhook::signed(now() - 301, &**body).request()).await.unwrap();
    bodies.push(stale.body);
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "the answer does not tell why");
    assert_eq!(connection.exchange(webhook.request()).await.unwrap().status, 200, "nothing but that was wrong");
    ingest.ends_well().await;
}
