//! SIGHUP under load: secrets change, and no request notices but those that are signed with them.

use hookline_testkit::eventually;
use nix::sys::signal::Signal;

use crate::connection::Connection;
use crate::load::{Load, acknowledged};
use crate::records;
use crate::stage::{self, DEADLINE, Stage};
use crate::webhook::{SECRET, SOURCE, Webhook, now};

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_read_again_without_dropping_a_request() {
    let (servers, kafka) = stage::fresh("reload").await;
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("ingest.toml"), folder.path().join("second"));
    let keys =
        format!("[sources.{SOURCE}.keys]\nlasting = {{ env = \"LASTING\" }}\nchanging = {{ file = {secret:?} }}\n");
    std::fs::write(&path, keys).unwrap();
    std::fs::write(&secret, "one").unwrap();
    let mut stage = Stage::start(kafka, &["--config", path.to_str().unwrap()], &[("LASTING", SECRET)]).await;
    stage.ingest.wait_ready().await;
    let load = Load::start(stage.address, 8);
    load.acknowledges(50).await;

    let mut connection = Connection::open(stage.address).await;
    for (reloaded, content, valid, result) in [
        (1, "two", ["two", "one"], "ok"),
        // An empty file, as half a change leaves it: the secrets of before stay, all of them.
        (2, "", ["two", "one"], "failed"),
        (3, "three\n", ["three", "two"], "ok"),
    ] {
        std::fs::write(&secret, content).unwrap();
        stage.ingest.signal(Signal::SIGHUP);
        eventually("secrets read again", DEADLINE, async || {
            (stage.metric("secret_reloads_total", &[]).await == reloaded).then_some(())
        })
        .await;
        load.acknowledges(50).await;
        for (secret, status) in valid.into_iter().zip([200, 401]) {
            let webhook = Webhook::signed_with(secret, now(), Webhook::new().body);
            assert_eq!(connection.exchange(webhook.request()).await.unwrap().status, status, "{secret}: {content:?}");
        }
        assert!(stage.metric("secret_reloads_total", &[&format!("result=\"{result}\"")]).await > 0);
    }
    // Many in a row, so that some meet a request at any point of its way.
    for _ in 0..200 {
        stage.ingest.signal(Signal::SIGHUP);
        tokio::task::yield_now().await;
    }
    load.acknowledges(50).await;

    let sent = load.stop().await;
    assert!(sent.iter().all(|sent| sent.status == Some(200)), "a request was dropped or refused");
    let log = stage.ingest.log().join("\n");
    assert!(
        log.contains("the old ones stay") && log.contains(&format!("sources.{SOURCE}.keys.changing.file")),
        "{log}"
    );
    records::assert_none_missing(&acknowledged(&sent), &records::read(&stage.kafka).await);
    stage.ends_well().await;
    drop(servers);
}
