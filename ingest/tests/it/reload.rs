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
    std::fs::write(&secret, "one_0123456789abcdef").unwrap();
    let mut ingest = IngestUnderTest::start(kafka, &["--config", path.to_str().unwrap()], &[("LASTING", SECRET)]).await;
    ingest.daemon.wait_ready().await;
    let load = Load::start(ingest.address, 8);
    load.acknowledges(50).await;

    let mut connection = Connection::open(ingest.address).await;
    for (reloaded, content, valid, result) in [
        (1, "two_0123456789abcdef", ["two_0123456789abcdef", "one_0123456789abcdef"], "ok"),
        // An empty file, which half a change leaves behind: all secrets of before stay in use.
        (2, "", ["two_0123456789abcdef", "one_0123456789abcdef"], "failed"),
        (3, "three_0123456789abcdef\n", ["three_0123456789abcdef", "two_0123456789abcdef"], "ok"),
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

/// What SIGHUP changes of the configuration file, and what it leaves for a restart.
#[tokio::test(flavor = "multi_thread")]
async fn sources_and_keys_come_and_go_with_the_file() {
    const OLD: &str = "old_0123456789abcdef";
    const NEW: &str = "new_0123456789abcdef";
    let (servers, kafka) = ingest_under_test::fresh("reload_file").await;
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("old"), OLD).unwrap();
    std::fs::write(path("new"), format!("{NEW}\n")).unwrap();
    let (file, old, new) = (path("ingest.toml"), path("old"), path("new"));
    let prod = |keys: &str| format!("[sources.prod.keys]\n{keys}");
    let (old, new) = (format!("old = {{ file = {old:?} }}\n"), format!("new = {{ file = {new:?} }}\n"));
    let env = "env = { env = \"HOOKLINE_WEBHOOK_SECRET\" }\n";
    std::fs::write(&file, prod(&old)).unwrap();
    let mut ingest = IngestUnderTest::start(kafka, &["--config", file.to_str().unwrap()], &[]).await;
    ingest.daemon.wait_ready().await;

    let mut reloads = 0;
    let mut reload = async |ingest: &mut IngestUnderTest, text: &str| {
        std::fs::write(&file, text).unwrap();
        ingest.daemon.signal(Signal::SIGHUP);
        reloads += 1;
        eventually("a reload", DEADLINE, async || {
            (ingest.metric("secret_reloads_total", &[]).await == reloads).then_some(())
        })
        .await;
    };
    let check = async |ingest: &IngestUnderTest, expected: [(&str, &str, u16); 3]| {
        for (source, secret, status) in expected {
            let webhook = Webhook::signed_with(secret, now(), Webhook::new().body);
            let answer = Connection::open(ingest.address).await.exchange(webhook.request_to(source)).await.unwrap();
            assert_eq!(answer.status, status, "{source}, {secret}");
        }
    };
    check(&ingest, [("prod", OLD, 200), ("prod", NEW, 401), ("staging", NEW, 404)]).await;
    // A key and a source are added.
    let limits = "[limits]\nin_flight = 77\n";
    reload(&mut ingest, &format!("{limits}{}{new}[sources.staging.keys]\n{new}{env}", prod(&old))).await;
    check(&ingest, [("prod", OLD, 200), ("prod", NEW, 200), ("staging", SECRET, 200)]).await;
    // A file that cannot be used changes nothing.
    for broken in ["[admni]\n".to_owned(), "[sources".to_owned(), prod(&format!("{old}more = {{ env = \"GONE\" }}\n"))]
    {
        reload(&mut ingest, &broken).await;
        check(&ingest, [("prod", OLD, 200), ("prod", NEW, 200), ("staging", SECRET, 200)]).await;
    }
    assert_eq!(ingest.metric("secret_reloads_total", &["result=\"failed\""]).await, 3);
    // The old key and the second source are removed.
    reload(&mut ingest, &prod(&new)).await;
    check(&ingest, [("prod", OLD, 401), ("prod", NEW, 200), ("staging", SECRET, 404)]).await;

    let log = ingest.daemon.log().join("\n");
    for part in [
        "2 sources, 4 keys read again; the secrets of 1 keys come from variables",
        "changed, but not in use before a restart: limits.in_flight",
        "1 sources, 1 keys read again",
        "the previous ones stay in use: admni: unknown field `admni`",
        "sources.prod.keys.more.env",
    ] {
        assert!(log.contains(part), "{part:?} is not in\n{log}");
    }
    assert!(!log.contains(OLD) && !log.contains(NEW), "{log}");
    ingest.ends_well().await;
    drop(servers);
}

/// A file whose reading never ends, as on a file server that is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_to_its_end_stops_nothing() {
    let (servers, kafka) = ingest_under_test::fresh("reload_stuck").await;
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("ingest.toml"), folder.path().join("secret"));
    std::fs::write(&path, format!("[sources.{SOURCE}.keys]\nkey = {{ file = {secret:?} }}\n")).unwrap();
    std::fs::write(&secret, SECRET).unwrap();
    let mut ingest = IngestUnderTest::start(kafka, &["--config", path.to_str().unwrap()], &[]).await;
    ingest.daemon.wait_ready().await;
    std::fs::remove_file(&secret).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&secret).status().unwrap();
    assert!(made.success());
    ingest.daemon.signal(Signal::SIGHUP);
    eventually("a reload that failed", DEADLINE, async || {
        ingest.accepts().await;
        (ingest.metric("secret_reloads_total", &["result=\"failed\""]).await == 1).then_some(())
    })
    .await;
    assert!(ingest.daemon.log().iter().any(|line| line.contains("could not be read within")));
    ingest.ends_well().await;
    drop(servers);
}
