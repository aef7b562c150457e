//! A rebuild reads what Kafka has and the archive what it has no more, up to a cluster that is gone.

use hookline_schemas::ids::Resource;
use hookline_testkit::{KafkaCluster, Servers, delete_records};
use serde_json::Value;

use crate::processor_under_test::{DELIVERIES, ProcessorUnderTest, now};
use crate::rebuild::{JOBS, OTHER, diff, refusal};
use crate::replay::{DIGEST, STATS, fill, filled, result};

#[tokio::test]
async fn what_kafka_has_no_more_comes_from_the_archive() {
    let (under_test, mut daemon, folder) = filled("rebuild_archive").await;
    let right = under_test.query_number(JOBS).await;
    let video = under_test.topics.resource(Resource::Video).to_owned();
    for partition in 0..3 {
        delete_records(&under_test.servers.kafka, &video, partition, 20).await;
    }
    let planned: Value = result(&under_test.rebuild(&folder, &["--dry-run"]).await);
    let of = |source: &str| {
        let parts = planned["parts"].as_array().unwrap().iter().filter(|part| part["source"] == source);
        parts.map(|part| part["end"].as_i64().unwrap() - part["start"].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!((of("deliveries"), of("kafka")), (60, 540), "{planned:#}");
    let built: Value = result(&under_test.rebuild(&folder, &[]).await);
    assert_eq!(built["changes"], false, "{built:#}");
    assert_eq!(under_test.query_number(OTHER).await, right);
    let _: Value = result(&under_test.rebuild(&folder, &["--drop"]).await);

    // From the archive alone, and what comes in meanwhile from the topics.
    let built: Value = result(&under_test.rebuild(&folder, &["--source", "deliveries"]).await);
    assert_eq!(built["changes"], false, "{built:#}");
    assert_eq!(under_test.query_number(OTHER).await, right);
    under_test.produce_jobs(300..330, now() - 600);
    under_test.wait_until(DELIVERIES, 660).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    let right = under_test.query_number(JOBS).await;
    let _: Value = result(&under_test.rebuild(&folder, &["--swap"]).await);
    assert_eq!(under_test.query_number(JOBS).await, right);
    let _: Value = result(&under_test.rebuild(&folder, &["--drop"]).await);

    // What the archive lacks as well is lost, and said to be.
    let lost =
        format!("DELETE FROM deliveries WHERE topic = '{video}' AND offset < 20 SETTINGS lightweight_deletes_sync = 2");
    under_test.execute(&lost).await;
    assert!(refusal(&under_test.rebuild(&folder, &[]).await).contains("--accept-loss"));
    assert!(diff(&folder)["lost"].as_u64() > Some(0), "{:#}", diff(&folder));
    assert_eq!(under_test.query_number(JOBS).await, right, "it stays live");
}

#[tokio::test]
async fn after_the_loss_of_a_cluster_the_archive_alone_gives_the_same_jobs() {
    let cluster = KafkaCluster::start(&[]).await;
    let mut servers = Servers::fresh("rebuild_lost").await;
    let lost = cluster.config(&servers.kafka.topic_prefix);
    let new_cluster = std::mem::replace(&mut servers.kafka, lost);
    let mut under_test = ProcessorUnderTest::on(servers, 3).await;
    let mut daemon = fill(&under_test).await;
    assert!(daemon.terminate().await.success());
    let right = (under_test.query_number(DIGEST).await, under_test.query_number(STATS).await);

    drop(cluster);
    under_test.move_to(new_cluster).await;
    under_test.execute("TRUNCATE TABLE jobs").await;
    assert_ne!(under_test.query_number(DIGEST).await, right.0, "a control: nothing is left of the jobs");
    let folder = tempfile::tempdir().unwrap();
    let built: Value = result(&under_test.rebuild(&folder, &["--source", "deliveries"]).await);
    let verdict = &built["verdict"];
    assert_eq!((&verdict["added"], &verdict["changed"], &verdict["lost"]), (&300.into(), &0.into(), &0.into()));
    assert_eq!(built["filled"]["records"], 600, "{built:#}");
    let _: Value = result(&under_test.rebuild(&folder, &["--swap"]).await);
    assert_eq!((under_test.query_number(DIGEST).await, under_test.query_number(STATS).await), right);

    // Live work goes on with the new cluster.
    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    daemon.wait_ready().await;
    under_test.produce_jobs(300..330, now() - 600);
    under_test.wait_until(DELIVERIES, 660).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.query_number(STATS).await, 330);
    let _: Value = result(&under_test.rebuild(&folder, &["--drop"]).await);
    let again: Value = result(&under_test.rebuild(&folder, &[]).await);
    assert_eq!(again["changes"], false, "of both clusters: {again:#}");
}
