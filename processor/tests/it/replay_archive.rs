//! The archive is a source like the topics: the same facts come of it, to the last column, also where Kafka has nothing any more.

use hookline_schemas::ids::Resource;
use hookline_schemas::record::DeliveryMetadata;
use hookline_schemas::signature::{HexSignature, SigningKey};
use hookline_schemas::time::{ReceivedAt, SignedAt};
use hookline_testkit::{delete_records, delete_topics, record_headers, run, with};
use serde_json::Value;
use tempfile::TempDir;

use crate::processor_under_test::{DELIVERIES, ProcessorUnderTest, WebhookRecord, now, records_of_job};
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

    fn produce_signed(&self, record: &WebhookRecord, secret: &str) {
        let signed_at_text = record.signed_at.to_string();
        let metadata = DeliveryMetadata {
            source: "test",
            received_at: ReceivedAt(record.received_ms),
            signed_at: SignedAt(record.signed_at),
            signed_at_text: &signed_at_text,
            signature: SigningKey::new(secret).sign(&signed_at_text, record.body.as_bytes()).to_hex(),
            key_name: "default",
            first_signed_at: None,
        };
        let headers = record_headers(&metadata, Some(record.event), &record.job, None);
        self.produce_raw(self.topics.resource(record.event.resource), &record.job, record.body.as_bytes(), headers);
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

#[tokio::test]
async fn jobs_that_expired_do_not_come_back_from_the_archive() {
    let (under_test, _daemon, folder) = filled("archive_expired").await;
    under_test.lose_the_facts().await;
    let from_the_archive = ["--source", "deliveries"];
    under_test.execute("CREATE OR REPLACE VIEW jobs_kept_since AS SELECT now('UTC') + 7200 AS created_hour").await;
    let replayed = replay(&under_test, &folder, &from_the_archive).await;
    assert_eq!((&replayed["changed"], &replayed["records"]), (&false.into(), &600.into()), "{replayed:#}");
    assert_eq!(under_test.query_number("SELECT count() FROM jobs").await, 0);
    let plan = replay(&under_test, &folder, &[&from_the_archive[..], &["--dry-run"]].concat()).await;
    assert!(plan["parts"].as_array().unwrap().iter().all(|part| part["lacking"]["jobs"] == 0), "{plan:#}");
    // A control: they do as long as they are kept.
    under_test.execute("CREATE OR REPLACE VIEW jobs_kept_since AS SELECT toDateTime(0, 'UTC') AS created_hour").await;
    let replayed = replay(&under_test, &folder, &from_the_archive).await;
    assert_eq!(replayed["repaired"]["jobs"], 300, "{replayed:#}");
}

const SECRET: &str = "mhw_test_0123456789abcdef";

#[tokio::test]
async fn what_no_secret_confirms_is_named_and_left_out() {
    let (under_test, mut daemon, folder) = filled("archive_verify").await;
    under_test.execute("TRUNCATE TABLE deliveries").await;
    under_test.produce_odd_delivery();
    let signed = |number| records_of_job(Resource::Audio, number, now() - 600);
    for record in (900..930).flat_map(signed) {
        under_test.produce_signed(&record, SECRET);
    }
    under_test.flush();
    under_test.wait_until(DELIVERIES, 61).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    let altered = "INSERT INTO deliveries SELECT * REPLACE (replaceOne(body, '\"fps\":30', '\"fps\":31') AS body) FROM deliveries \
                   WHERE job_id LIKE '%905' AND action != 'started'";
    under_test.execute(altered).await;
    under_test.execute("OPTIMIZE TABLE deliveries FINAL").await;

    let state = folder.path().join("state.json");
    let arguments = ["replay", "--json", "--source", "deliveries", "--verify", "--state", state.to_str().unwrap()];
    let refused = under_test.run(&arguments).await;
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("--verify needs the secrets of the sources: sources: none; configure"), "{stderr}");

    under_test.lose_the_facts().await;
    let secrets = [("HOOKLINE_SOURCE", "test"), ("HOOKLINE_WEBHOOK_SECRET", SECRET)];
    let output = run("hookline-processor", &arguments, &with(&under_test.servers.environment(), &secrets)).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let replayed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(replayed["left_out"]["signature_invalid"], 1, "{replayed:#}");
    assert_eq!(replayed["left_out"]["key_not_configured"], serde_json::json!({ "other/old": 1 }), "{replayed:#}");
    let named = "1 record signed with the key other/old, which is not configured: add its secret to `sources`";
    assert!(stderr.contains(named) && stderr.contains("1 record with a wrong signature"), "{stderr}");
    assert!(!stderr.contains(SECRET), "a secret is shown");
    assert!(!state.exists(), "all of it was read");
    assert_eq!(under_test.query_number("SELECT count() FROM job_facts").await, 30, "the odd one is left out");
    let ended = "SELECT count() FROM job_facts WHERE finished_at IS NOT NULL";
    assert_eq!(under_test.query_number(ended).await, 29, "so is the altered one");
    // A control: without the check both are facts.
    replay(&under_test, &folder, &["--source", "deliveries"]).await;
    assert_eq!(under_test.query_number("SELECT count() FROM job_facts").await, 31);
    assert_eq!(under_test.query_number("SELECT count() FROM job_facts WHERE fps = 31").await, 1);
}

#[tokio::test]
async fn a_dry_run_says_what_each_source_has_and_what_the_tables_lack() {
    let (under_test, _daemon, folder) = filled("archive_dry").await;
    let video = under_test.topics.resource(Resource::Video).to_owned();
    delete_records(&under_test.servers.kafka, &video, 1, 30).await;
    let video_1 = ["--dry-run", "--resource", "video", "--partition", "1"];
    let right = replay(&under_test, &folder, &video_1).await;
    let nothing = serde_json::json!({ "records": 0, "jobs": 0, "jobs_incomplete": 0 });
    assert_eq!((&right["parts"][0]["lacking"], &right["only_in_deliveries"][0]["lacking"]), (&nothing, &nothing));

    let head = "resource = 'video' AND partition = 1 AND offset < 30";
    let jobs = format!("(SELECT job_id FROM deliveries WHERE {head} AND cityHash64(job_id) % 3 = 0)");
    let lost = under_test.query_number(&format!("SELECT count(DISTINCT job_id) FROM {jobs}")).await;
    under_test.execute(&format!("DELETE FROM jobs WHERE job_id IN {jobs} SETTINGS lightweight_deletes_sync = 2")).await;
    under_test
        .execute("DELETE FROM deliveries WHERE resource = 'video' AND partition = 1 AND offset = 35 SETTINGS lightweight_deletes_sync = 2")
        .await;
    let plan = replay(&under_test, &folder, &video_1).await;
    let (of_kafka, archived) = (&plan["parts"][0], &plan["only_in_deliveries"][0]);
    assert_eq!((&of_kafka["source"], &of_kafka["start"]), (&"kafka".into(), &30.into()), "{plan:#}");
    assert_eq!((&archived["start"], &archived["end"]), (&0.into(), &30.into()), "{plan:#}");
    assert_eq!((&of_kafka["lacking"]["records"], &archived["lacking"]["records"]), (&1.into(), &0.into()), "{plan:#}");
    assert!(lost > 0 && archived["lacking"]["jobs"] == lost, "{lost} jobs: {plan:#}");

    let both = replay(&under_test, &folder, &[&video_1[..], &["--source", "deliveries,kafka"]].concat()).await;
    assert_eq!((both["parts"].as_array().unwrap().len(), &both["only_in_deliveries"]), (2, &serde_json::json!([])));
    let (whole, split) = (both["records"].as_u64().unwrap(), plan["records"].as_u64().unwrap());
    assert_eq!(whole, split + 30);
    let state = folder.path().join("s");
    let told = under_test.run(&["replay", "--dry-run", "--state", state.to_str().unwrap()]).await;
    let told = String::from_utf8_lossy(&told.stdout);
    let line = format!("not read: {video}/1  deliveries of log ");
    assert!(told.contains(&line) && told.contains("  0..30  30 records; the tables lack 0 records of it, "), "{told}");
    assert!(told.contains("--source kafka,deliveries reads it, too"), "{told}");
}
