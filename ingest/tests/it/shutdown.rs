//! SIGTERM while requests, idle connections and half-sent heads are open.

use std::time::{Duration, Instant};

use hookline_testkit::{KafkaCluster, eventually};
use nix::sys::signal::Signal;

use crate::connection::Connection;
use crate::ingest_under_test::{DEADLINE, IngestUnderTest};
use crate::load::{Load, acknowledged};
use crate::records;
use crate::webhook::{SOURCE, Webhook, post};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_and_cuts_nobody() {
    for workers in ["1", "2"] {
        let mut ingest = IngestUnderTest::shared("sigterm", &[("HOOKLINE_INGEST__SERVER__WORKERS", workers)]).await;
        let slow = Webhook::new();
        let length = format!("{}content-length: {}\r\n", slow.headers(), slow.body.len());
        let (front, back) = slow.body.split_at(10);
        let mut under_way = Connection::open(ingest.address).await;
        under_way.send(post(SOURCE, &length, front)).await;
        // Idle for longer than connections may be at shutdown.
        let mut idle = Connection::open(ingest.address).await;
        assert_eq!(idle.exchange(Webhook::new().request()).await.unwrap().status, 200);
        tokio::time::sleep(Duration::from_millis(1500)).await;

        let load = Load::start(ingest.address, 32);
        load.acknowledges(1000).await;
        // Ingest is stopped, so that it finds what is sent now all at once, together with SIGTERM.
        ingest.daemon.signal(Signal::SIGSTOP);
        let mut unread = vec![idle];
        for _ in 0..20 {
            unread.push(Connection::open(ingest.address).await);
        }
        for connection in &mut unread {
            connection.send(Webhook::new().request()).await;
        }
        ingest.daemon.signal(Signal::SIGTERM);
        ingest.daemon.signal(Signal::SIGCONT);
        for connection in &mut unread {
            let status = connection.answer().await.expect("an answer").status;
            assert!([200, 503].contains(&status), "{status}");
            connection.ended().await;
        }
        under_way.exchange(back).await.expect("an answer").assert_problem(503);
        let status = ingest.daemon.wait().await;
        assert!(status.success(), "{status}: {}", ingest.daemon.log().join("\n"));

        let sent = load.stop().await;
        let cut = sent.iter().filter(|sent| !matches!(sent.status, Some(200 | 503))).count();
        assert_eq!(cut, 0, "webhooks without an answer, of {}", sent.len());
        records::assert_none_missing(&acknowledged(&sent), &records::read(&ingest.kafka).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_says_nothing_holds_it_up() {
    let mut ingest = IngestUnderTest::shared("idle", &[]).await;
    let admin = ingest.daemon.address("admin").await;
    let mut nothing_sent = Connection::open(ingest.address).await;
    let mut half_a_head = Connection::open(ingest.address).await;
    half_a_head.send("POST /webhooks/magichour HTTP/1.1\r\nhost: ").await;
    let mut half_of_admin = Connection::open(admin).await;
    half_of_admin.send("GET /metrics HTTP/1.1\r\nhost: ").await;
    eventually("both connections", DEADLINE, async || (ingest.metric("connections", &[]).await == 2).then_some(()))
        .await;
    let began = Instant::now();
    ingest.ends_well().await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    nothing_sent.ended().await;
    half_a_head.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_broker_frozen_it_answers_and_says_what_was_left() {
    let cluster = KafkaCluster::start(&[]).await;
    let kafka = cluster.config("hookline");
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let mut ingest = IngestUnderTest::ready(kafka, &[]).await;
    ingest.accepts().await;
    cluster.signal(1, Signal::SIGSTOP);
    let mut waiting = Connection::open(ingest.address).await;
    waiting.send(Webhook::new().request()).await;
    eventually("the webhook in flight", DEADLINE, async || {
        (ingest.metric("requests_in_flight", &[]).await == 1).then_some(())
    })
    .await;
    let began = Instant::now();
    let status = ingest.daemon.terminate().await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    waiting.answer().await.expect("an answer").assert_problem(503);
    let log = ingest.daemon.log().join("\n");
    assert!(status.success() || status.code() == Some(1), "{status}: {log}");
    assert_eq!(log.contains("none of them was acknowledged"), !status.success(), "{log}");
    cluster.signal(1, Signal::SIGCONT);
}
