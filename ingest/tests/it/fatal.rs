//! A broker that has lost what it confirmed, as a disk that dies with its cache does: librdkafka's producer fails for good,
//! since it can no longer promise order, and ingest makes another one.

use std::path::Path;
use std::process::Command;

use hookline_testkit::KafkaCluster;

use crate::records;
use crate::stage::{BUDGET, Stage};
use crate::webhook::Webhook;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fatal_error_of_the_producer_ingest_goes_on_with_another() {
    let mut cluster = KafkaCluster::start(&[]).await;
    let kafka = cluster.config("hookline");
    let topics = records::topics(&kafka);
    records::create(&kafka, topics.all(), (1, 1), &[]).await;
    let mut stage = Stage::ready(kafka, &[]).await;
    let partition = cluster.files(1).join("data").join(format!("{}-0", topics.all().next().unwrap()));
    let kept = tempfile::tempdir().unwrap();
    let copied = kept.path().join("partition");

    let before = stage.accepts().await;
    cluster.terminate(1).await;
    copy(&partition, &copied);
    cluster.restart(1).await;
    let lost = stage.accepts().await;
    cluster.terminate(1).await;
    std::fs::remove_dir_all(&partition).unwrap();
    copy(&copied, &partition);
    cluster.restart(1).await;
    stage.ingest.wait_ready().await;

    let (answer, took) = stage.timed(&Webhook::new()).await;
    answer.assert_problem(503);
    assert!(took < BUDGET, "{took:?}");
    let after = stage.accepts().await;
    assert_eq!(stage.metric("producers_recreated_total", &[]).await, 1);
    assert!(stage.ingest.log().iter().any(|line| line.contains("desynchronization")), "the log says why");
    let stored = records::read(&stage.kafka).await;
    records::assert_none_missing(&[before, after], &stored);
    assert!(!stored.iter().any(|record| record.value == lost.body), "the broker has lost nothing");
    stage.ends_well().await;
}
