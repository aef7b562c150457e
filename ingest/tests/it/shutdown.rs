//! SIGTERM in the midst of everything.

use std::time::{Duration, Instant};

use hookline_testkit::{KafkaCluster, eventually};
use nix::sys::signal::Signal;

use crate::connection::Connection;
use crate::load::{Load, acknowledged};
use crate::records;
use crate::stage::{DEADLINE, Stage};
use crate::webhook::{SOURCE, Webhook, post};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_and_cuts_nobody() {
    for workers in ["1", "2"] {
        let mut stage = Stage::shared("sigterm", &[("HOOKLINE_INGEST__SERVER__WORKERS", workers)]).await;
        let slow = Webhook::new();
        let length = format!("{}content-length: {}\r\n", slow.headers(), slow.body.len());
        let (front, back) = slow.body.split_at(10);
        let mut under_way = Connection::open(stage.address).await;
        under_way.send(post(SOURCE, &length, front)).await;
        // Longer without a word than is granted while it ends.
        let mut idle = Connection::open(stage.address).await;
        assert_eq!(idle.exchange(Webhook::new().request()).await.unwrap().status, 200);
        tokio::time::sleep(Duration::from_millis(1500)).await;

        let load = Load::start(stage.address, 32);
        load.acknowledges(1000).await;
        // While it cannot look: what is sent now it finds all at once, together with the signal.
        stage.ingest.signal(Signal::SIGSTOP);
        let mut unseen = vec![idle];
        for _ in 0..20 {
            unseen.push(Connection::open(stage.address).await);
        }
        for connection in &mut unseen {
            connection.send(Webhook::new().request()).await;
        }
        stage.ingest.signal(Signal::SIGTERM);
        stage.ingest.signal(Signal::SIGCONT);
        for connection in &mut unseen {
            let status = connection.answer().await.expect("an answer").status;
            assert!([200, 503].contains(&status), "{status}");
            connection.ended().await;
        }
        under_way.exchange(back).await.expect("an answer").assert_problem(503);
        let status = stage.ingest.wait().await;
        assert!(status.success(), "{status}: {}", stage.ingest.log().join("\n"));

        let sent = load.stop().await;
        let cut = sent.iter().filter(|sent| !matches!(sent.status, Some(200 | 503))).count();
        assert_eq!(cut, 0, "of {} webhooks", sent.len());
        records::assert_none_missing(&acknowledged(&sent), &records::read(&stage.kafka).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_says_nothing_holds_it_up() {
    let mut stage = Stage::shared("silent", &[]).await;
    let admin = stage.ingest.address("admin").await;
    let mut silent = Connection::open(stage.address).await;
    let mut half = Connection::open(stage.address).await;
    half.send("POST /webhooks/magichour HTTP/1.1\r\nhost: ").await;
    let mut half_of_admin = Connection::open(admin).await;
    half_of_admin.send("GET /metrics HTTP/1.1\r\nhost: ").await;
    eventually("both connections", DEADLINE, async || (stage.metric("connections", &[]).await == 2).then_some(()))
        .await;
    let began = Instant::now();
    stage.ends_well().await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    silent.ended().await;
    half.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_broker_frozen_it_answers_and_says_what_was_left() {
    let cluster = KafkaCluster::start(&[]).await;
    let kafka = cluster.config("hookline");
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let mut stage = Stage::ready(kafka, &[]).await;
    stage.accepts().await;
    cluster.signal(1, Signal::SIGSTOP);
    let mut waiting = Connection::open(stage.address).await;
    waiting.send(Webhook::new().request()).await;
    eventually("the webhook in flight", DEADLINE, async || {
        (stage.metric("requests_in_flight", &[]).await == 1).then_some(())
    })
    .await;
    let began = Instant::now();
    let status = stage.ingest.terminate().await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    waiting.answer().await.expect("an answer").assert_problem(503);
    let log = stage.ingest.log().join("\n");
    assert!(status.success() || status.code() == Some(1), "{status}: {log}");
    assert_eq!(log.contains("none of them was acknowledged"), !status.success(), "{log}");
    cluster.signal(1, Signal::SIGCONT);
}
