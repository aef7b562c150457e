//! Three brokers, three replicas, at least two of them in sync: what is acknowledged survives the loss of a broker, and
//! with one broker left nothing is acknowledged.

use hookline_testkit::{KafkaCluster, eventually};
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::ingest_under_test::{BUDGET, DEADLINE, IngestUnderTest, SESSION};
use crate::load::{Load, acknowledged, longest};
use crate::records;
use crate::webhook::Webhook;

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_webhook_survives_the_loss_of_a_broker() {
    let options = [&["--nodes", "3"][..], &SESSION].concat();
    let mut cluster = KafkaCluster::start(&options).await;
    let kafka = cluster.config("hookline");
    records::create(&kafka, records::topics(&kafka).all(), (6, 3), &[("min.insync.replicas", "2")]).await;
    let mut ingest = IngestUnderTest::ready(kafka, &[]).await;
    let load = Load::start(ingest.address, 16);
    load.acknowledges(500).await;

    cluster.kill(1).await;
    load.acknowledges(1000).await;
    ingest.daemon.wait_ready().await;

    // Two of three brokers are down. Webhooks under way may still be confirmed; new ones are not.
    cluster.kill(2).await;
    load.is_refused(32).await;
    eventually("nothing acknowledged any more", DEADLINE, async || {
        let answers = statuses(&ingest).await;
        answers.iter().all(|status| *status == 503).then_some(())
    })
    .await;

    let mut sent = load.stop().await;
    // The controllers have no majority, so the last broker still names a killed one as a leader in sync.
    ingest.is_not_ready_because("the leader of").await;

    cluster.restart(2).await;
    ingest.daemon.wait_ready().await;
    let load = Load::start(ingest.address, 16);
    load.acknowledges(500).await;
    sent.extend(load.stop().await);
    assert!(sent.iter().all(|sent| matches!(sent.status, Some(200 | 503))), "every webhook has its answer");
    assert!(longest(&sent) < BUDGET, "{:?}", longest(&sent));
    records::assert_none_missing(&acknowledged(&sent), &records::read(&ingest.kafka).await);
    ingest.ends_well().await;
}

/// The answers to enough webhooks to reach every partition, most likely.
async fn statuses(ingest: &IngestUnderTest) -> Vec<u16> {
    let mut senders = JoinSet::new();
    for _ in 0..24 {
        let (address, request) = (ingest.address, Webhook::new().request());
        senders.spawn(async move { Connection::open(address).await.exchange(request).await.unwrap().status });
    }
    senders.join_all().await
}
