//! SIGHUP under load: the secrets are reloaded, which changes nothing but which signatures are valid.

use hookline_testkit::eventually;
use nix::sys::signal::Signal;

use crate::connection::Connection;
use crate::ingest_under_test::{self, DEADLINE, IngestUnderTest};
use crate::load::{Load, acknowledged};
use crate::records;
use crate::webhook::{SECRET, SOURCE, Webhook, now};

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_read_again_without_dropping_a_request() {
    let (servers, kafka) = ingest_under_test::fresh("reload").await;
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("ingest.toml"), folder.path().join("second"));
    let keys =
        format!("[sources.{SOURCE}.keys]\nlasting = {{ env = \"LASTING\" }}\nchanging = {{ file = {secret:?} }}\n");
    std::fs::write(&path, keys).unwrap();
    std::fs::write(&secret, "one").unwrap();
    let mut ingest = IngestUnderTest::start(kafka, &["--config", path.to_str().unwrap()], &[("LASTING", SECRET)]).await;
    ingest.daemon.wait_ready().await;
    let load = Load::start(ingest.address, 8);
    load.acknowledges(50).await;

    let mut connection = Connection::open(ingest.address).await;
    for (reloaded, content, valid, result) in [
        (1, "two", ["two", "one"], "ok"),
        // An empty file, which half a change leaves behind: all secrets of before stay in use.
        (2, "", ["two", "one"], "failed"),
        (3, "three\n", ["three", "two"], "ok"),
    ] {
        std::fs::write(&secret, content).unwrap();
        ingest.daemon.signal(Signal::SIGHUP);
        eventually("a reload of the secrets", DEADLINE, async || {
            (ingest.metric("secret_reloads_total", &[]).await == reloaded).then_some(())
        })
        .await;
        load.acknowledges(50).await;
        for (secret, status) in valid.into_iter().zip([200, 401]) {
            let webhook = Webhook::signed_with(secret, now(), Webhook::new().body);
            assert_eq!(connection.exchange(webhook.request()).await.unwrap().status, status, "{secret}: {content:?}");
        }
        assert!(ingest.metric("secret_reloads_total", &[&format!("result=\"{result}\"")]).await > 0);
    }
    // Many in a row, so that some come while a request is at any point of its way.
    for _ in 0..200 {
        ingest.daemon.signal(Signal::SIGHUP);
        tokio::task::yield_now().await;
    }
    load.acknowledges(50).await;

    let sent = load.stop().await;
    assert!(sent.iter().all(|sent| sent.status == Some(200)), "a request was dropped or refused");
    let log = ingest.daemon.log().join("\n");
    assert!(
        log.contains("the previous ones stay in use") && log.contains(&format!("sources.{SOURCE}.keys.changing.file")),
        "{log}"
    );
    records::assert_none_missing(&acknowledged(&sent), &records::read(&ingest.kafka).await);
    ingest.ends_well().await;
    drop(servers);
}
