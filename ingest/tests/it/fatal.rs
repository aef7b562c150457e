//! A broker that has lost records it had confirmed, like after the loss of a disk's cache: librdkafka's idempotent
//! producer has a fatal error, since it can no longer promise order, and ingest replaces it.

use std::path::Path;
use std::process::Command;

use hookline_testkit::KafkaCluster;

use crate::ingest_under_test::{BUDGET, IngestUnderTest};
use crate::records;
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
    let mut ingest = IngestUnderTest::ready(kafka, &[]).await;
    let partition = cluster.files(1).join("data").join(format!("{}-0", topics.all().next().unwrap()));
    let kept = tempfile::tempdir().unwrap();
    let copied = kept.path().join("partition");

    let before = ingest.accepts().await;
    cluster.terminate(1).await;
    copy(&partition, &copied);
    cluster.restart(1).await;
    let lost = ingest.accepts().await;
    cluster.terminate(1).await;
    std::fs::remove_dir_all(&partition).unwrap();
    copy(&copied, &partition);
    cluster.restart(1).await;
    ingest.daemon.wait_ready().await;

    let (answer, took) = ingest.timed(&Webhook::new()).await;
    answer.assert_problem(503);
    assert!(took < BUDGET, "{took:?}");
    let after = ingest.accepts().await;
    assert_eq!(ingest.metric("producers_recreated_total", &[]).await, 1);
    assert!(ingest.daemon.log().iter().any(|line| line.contains("desynchronization")), "the log says why");
    let stored = records::read(&ingest.kafka).await;
    records::assert_none_missing(&[before, after], &stored);
    assert!(
        !stored.iter().any(|record| record.value == lost.body),
        "the broker still has the record that it should have lost"
    );
    ingest.ends_well().await;
}
