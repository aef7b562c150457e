//! The archive is a source like the topics: the same facts come of it, to the last column, also where Kafka has nothing any more.

use hookline_schemas::ids::Resource;
use hookline_schemas::record::DeliveryMetadata;
use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::{ReceivedAt, SignedAt};
use hookline_testkit::{delete_records, delete_topics, record_headers, run, with};
use serde_json::Value;
use tempfile::TempDir;

use crate::processor_under_test::{DELIVERIES, ProcessorUnderTest, now, records_of_job};
use crate::replay::{STATS, filled};

/// A number that changes with any value of any column of the facts.
const FACTS: &str = "SELECT groupBitXor(cityHash64(toString(tuple(*)))) FROM \
    (SELECT * EXCEPT counted_ends FROM jobs FINAL)";
const ARCHIVE: &str = "SELECT groupBitXor(cityHash64(toString(tuple(*)))) FROM deliveries FINAL";

/// Replays, and gives what it prints as JSON.
pub async fn replay(under_test: &ProcessorUnderTest, folder: &TempDir, arguments: &[&str]) -> Value {
    let state = folder.path().join("state.json");
    let fixed = ["replay", "--json", "--rate", "0", "--state", state.to_str().unwrap()];
    let output = under_test.run(&[&fixed, arguments].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

impl ProcessorUnderTest {
    /// A delivery whose first attempt was refused, with a signed time whose text no number gives back, and half a surrogate pair.
    fn produce_odd_delivery(&self) {
        let [started, _] = records_of_job(Resource::Video, 900, now() - 600).try_into().unwrap();
        let metadata = DeliveryMetadata {
            source: "other",
            received_at: ReceivedAt(started.received_ms + 3_600_000),
            signed_at: SignedAt(started.signed_at + 3_600),
            signed_at_text: &format!("{:010}", started.signed_at + 3_600),
            signature: HexSignature::parse("ab".repeat(32).as_bytes()).unwrap(),
            key_name: "old",
            first_signed_at: Some(SignedAt(started.signed_at)),
        };
        let mut body = started.body.into_bytes();
        body.truncate(body.len() - 1);
        body.extend_from_slice(b",\"note\":\"\\ud83d \xc3\xa9\"}");
        let headers = record_headers(&metadata, Some(started.event), &started.job, None);
        self.produce_raw(self.topics.resource(Resource::Video), &started.job, &body, headers);
        self.flush();
    }

    async fn lose_the_facts(&self) {
        for table in ["jobs", "job_stats"] {
            self.execute(&format!("TRUNCATE TABLE {table}")).await;
        }
    }

    async fn digests(&self) -> (u64, u64) {
        (self.query_number(FACTS).await, self.query_number(ARCHIVE).await)
    }
}

#[tokio::test]
async fn both_sources_give_the_same_facts_to_the_last_column() {
    let (under_test, mut daemon, folder) = filled("archive_equal").await;
    under_test.produce_odd_delivery();
    under_test.wait_until(DELIVERIES, 601).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    // Each record twice in the archive: its rows are not merged yet.
    under_test.execute("SYSTEM STOP MERGES deliveries").await;
    under_test.execute("INSERT INTO deliveries SELECT * FROM deliveries").await;
    let (live, committed) = (under_test.digests().await, under_test.committed_offsets());
    for source in ["kafka", "deliveries", "kafka,deliveries"] {
        under_test.lose_the_facts().await;
        let replayed = replay(&under_test, &folder, &["--source", source]).await;
        assert_eq!(under_test.digests().await, live, "{source}: {replayed:#}");
        assert_eq!((&replayed["repaired"]["jobs"], &replayed["changed"]), (&301.into(), &true.into()), "{source}");
        assert_eq!(under_test.query_number(STATS).await, 300, "{source}");
        let replayed = replay(&under_test, &folder, &["--source", source]).await;
        assert_eq!(replayed["changed"], false, "over right tables, {source}: {replayed:#}");
    }
    assert_eq!(under_test.committed_offsets(), committed, "the live group's offsets");
    // A control: one fact that is another one.
    under_test.execute("INSERT INTO jobs SELECT * REPLACE (99999 AS width) FROM jobs LIMIT 1").await;
    assert_ne!(under_test.query_number(FACTS).await, live.0);
}

#[tokio::test]
async fn what_kafka_no_longer_has_comes_from_the_archive() {
    let (under_test, _daemon, folder) = filled("archive_head").await;
    let live = under_test.digests().await;
    let video = under_test.topics.resource(Resource::Video).to_owned();
    for partition in 0..3 {
        delete_records(&under_test.servers.kafka, &video, partition, 30).await;
    }
    under_test.lose_the_facts().await;
    let of_kafka = replay(&under_test, &folder, &[]).await;
    assert_eq!(of_kafka["records"], 601 - 90);
    assert_ne!(under_test.query_number(FACTS).await, live.0, "a control: Kafka alone is not enough");
    let of_both = replay(&under_test, &folder, &["--source", "kafka,deliveries"]).await;
    assert_eq!(of_both["records"], 601, "each record from one of them: {of_both:#}");
    assert_eq!(under_test.digests().await, live);
}

#[tokio::test]
async fn a_cluster_that_is_lost_is_not_needed() {
    let (under_test, mut daemon, folder) = filled("archive_alone").await;
    let live = under_test.digests().await;
    assert!(daemon.terminate().await.success());
    under_test.lose_the_facts().await;
    let state = folder.path().join("state.json");
    let environment = with(&under_test.servers.environment(), &[("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")]);
    let arguments = ["replay", "--json", "--source", "deliveries", "--state", state.to_str().unwrap()];
    let output = run("hookline-processor", &arguments, &environment).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(under_test.digests().await, live);
}

#[tokio::test]
async fn logs_that_are_gone_are_replayed_beside_the_one_that_is_there() {
    let (under_test, mut daemon, folder) = filled("archive_logs").await;
    let audio = under_test.topics.resource(Resource::Audio).to_owned();
    assert!(daemon.terminate().await.success());
    delete_topics(&under_test.servers.kafka, [&*audio]).await;
    under_test.servers.create_topics([&*audio], 3).await;
    for record in (600..700).flat_map(|number| records_of_job(Resource::Audio, number, now() - 600)) {
        under_test.produce(&record);
    }
    under_test.flush();
    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    under_test.wait_until(DELIVERIES, 800).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    let live = under_test.digests().await;

    under_test.lose_the_facts().await;
    replay(&under_test, &folder, &[]).await;
    assert_ne!(under_test.query_number(FACTS).await, live.0, "a control: the topic as it is now");
    let both = replay(&under_test, &folder, &["--source", "kafka,deliveries"]).await;
    assert_eq!(both["records"], 801 + 200 - 200, "{both:#}");
    assert_eq!(under_test.digests().await, live);
    under_test.lose_the_facts().await;
    replay(&under_test, &folder, &["--source", "deliveries"]).await;
    assert_eq!(under_test.digests().await, live);
}

#[tokio::test]
async fn columns_that_an_older_decoder_read_otherwise_are_written_anew() {
    let (under_test, _daemon, folder) = filled("archive_decoder").await;
    let live = under_test.digests().await;
    let other = "INSERT INTO deliveries SELECT * REPLACE ('started' AS action, created_at + 1 AS created_at) FROM deliveries \
                 WHERE cityHash64(job_id) % 10 = 0";
    under_test.execute(other).await;
    assert_ne!(under_test.query_number(ARCHIVE).await, live.1, "a control");
    let replayed = replay(&under_test, &folder, &["--source", "deliveries"]).await;
    assert_eq!(under_test.digests().await, live);
    assert!(replayed["repaired"]["deliveries_changed"].as_u64().unwrap() > 0, "{replayed:#}");
    assert_eq!(replayed["repaired"]["jobs"], 0, "{replayed:#}");
}
