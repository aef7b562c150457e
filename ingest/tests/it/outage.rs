//! A broker that is stopped, frozen, slow or killed: each webhook is answered in time, `/health/ready` says why, and
//! ingest goes on without a restart.

use std::time::Duration;

use hookline_testkit::{KafkaCluster, Process};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::ingest_under_test::{AT_ONCE, BUDGET, IngestUnderTest, SESSION};
use crate::load::{Load, acknowledged, longest};
use crate::records;
use crate::webhook::Webhook;

/// Bytes that ingest may grow by during an outage.
const MEMORY: u64 = 32 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_or_frozen_costs_answers_but_no_webhook() {
    let mut cluster = KafkaCluster::start(&SESSION).await;
    let kafka = cluster.config("hookline");
    records::create(&kafka, records::topics(&kafka).all(), (4, 1), &[]).await;
    cluster.terminate(1).await;

    // Stopped before ingest starts.
    let settings = [("HOOKLINE_INGEST__LIMITS__IN_FLIGHT", "16")];
    let mut ingest = IngestUnderTest::start(kafka, &[], &settings).await;
    ingest.is_not_ready_because("no broker answers").await;
    let (answer, took) = ingest.timed(&Webhook::new()).await;
    answer.assert_problem(503);
    assert!(took < BUDGET, "{took:?}");
    cluster.restart(1).await;
    ingest.daemon.wait_ready().await;
    let load = Load::start(ingest.address, 48);
    load.acknowledges(200).await;

    // Slow: each pause is shorter than the budget, so it delays answers and refuses none.
    for _ in 0..3 {
        cluster.signal(1, Signal::SIGSTOP);
        sleep(Duration::from_millis(1000)).await;
        cluster.signal(1, Signal::SIGCONT);
        load.acknowledges(20).await;
    }

    // Frozen: 16 webhooks wait for the broker, and every other one is refused at once.
    let before = Process(ingest.daemon.pid()).memory("VmRSS");
    cluster.signal(1, Signal::SIGSTOP);
    load.is_refused(2000).await;
    ingest.is_not_ready_because("no broker answers").await;
    assert!(ingest.metric("unavailable_total", &["reason=\"in_flight\""]).await > 1000);
    let grown = Process(ingest.daemon.pid()).memory("VmRSS").saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more while frozen");
    cluster.signal(1, Signal::SIGCONT);
    load.acknowledges(200).await;
    ingest.daemon.wait_ready().await;

    // Killed under load.
    cluster.kill(1).await;
    ingest.is_not_ready_because("no broker answers").await;
    cluster.restart(1).await;
    load.acknowledges(200).await;
    ingest.daemon.wait_ready().await;

    let sent = load.stop().await;
    assert!(sent.iter().all(|sent| matches!(sent.status, Some(200 | 503))), "every webhook has its answer");
    assert!(longest(&sent) < BUDGET, "{:?}", longest(&sent));
    let quick = sent.iter().filter(|sent| sent.status == Some(503) && sent.took < AT_ONCE).count();
    assert!(quick > 1000, "only {quick} were refused at once");
    assert!(ingest.metric("unavailable_total", &["reason=\"not_confirmed\""]).await > 0);
    records::assert_none_missing(&acknowledged(&sent), &records::read(&ingest.kafka).await);
    ingest.ends_well().await;
}
