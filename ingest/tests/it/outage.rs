//! The broker away, frozen, slow, killed: the right answer in time, the reason in readiness, and no need for a restart.

use std::time::Duration;

use hookline_testkit::KafkaCluster;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::load::{Load, acknowledged, longest};
use crate::records;
use crate::stage::{AT_ONCE, BUDGET, SESSION, Stage};
use crate::webhook::Webhook;

/// MiB that an outage may add to what ingest holds.
const MEMORY: u64 = 32;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_or_frozen_costs_answers_but_no_webhook() {
    let mut cluster = KafkaCluster::start(&SESSION).await;
    let kafka = cluster.config("hookline");
    records::create(&kafka, records::topics(&kafka).all(), (4, 1), &[]).await;
    cluster.terminate(1).await;

    // Away from the beginning.
    let settings = [("HOOKLINE_INGEST__LIMITS__IN_FLIGHT", "16")];
    let mut stage = Stage::start(kafka, &[], &settings).await;
    stage.is_not_ready_because("no broker answers").await;
    let (answer, took) = stage.timed(&Webhook::new()).await;
    answer.assert_problem(503);
    assert!(took < BUDGET, "{took:?}");
    cluster.restart(1).await;
    stage.ingest.wait_ready().await;
    let load = Load::start(stage.address, 48);
    load.acknowledges(200).await;

    // Slow: each pause is shorter than the budget, so it costs time and nothing else.
    for _ in 0..3 {
        cluster.signal(1, Signal::SIGSTOP);
        sleep(Duration::from_millis(1000)).await;
        cluster.signal(1, Signal::SIGCONT);
        load.acknowledges(20).await;
    }

    // Frozen: 16 wait for it, and every other one is told at once.
    let before = memory(&stage);
    cluster.signal(1, Signal::SIGSTOP);
    load.is_refused(2000).await;
    stage.is_not_ready_because("no broker answers").await;
    assert!(stage.metric("unavailable_total", &["reason=\"in_flight\""]).await > 1000);
    let grown = memory(&stage).saturating_sub(before);
    assert!(grown < MEMORY << 20, "{} KiB more while frozen", grown >> 10);
    cluster.signal(1, Signal::SIGCONT);
    load.acknowledges(200).await;
    stage.ingest.wait_ready().await;

    // Killed under load.
    cluster.kill(1).await;
    stage.is_not_ready_because("no broker answers").await;
    cluster.restart(1).await;
    load.acknowledges(200).await;
    stage.ingest.wait_ready().await;

    let sent = load.stop().await;
    assert!(sent.iter().all(|sent| matches!(sent.status, Some(200 | 503))), "every webhook has its answer");
    assert!(longest(&sent) < BUDGET, "{:?}", longest(&sent));
    let quick = sent.iter().filter(|sent| sent.status == Some(503) && sent.took < AT_ONCE).count();
    assert!(quick > 1000, "only {quick} were told at once");
    assert!(stage.metric("unavailable_total", &["reason=\"not_confirmed\""]).await > 0);
    records::assert_none_missing(&acknowledged(&sent), &records::read(&stage.kafka).await);
    stage.ends_well().await;
}

/// Bytes that ingest holds.
fn memory(stage: &Stage) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.ingest.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
